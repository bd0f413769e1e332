"""Bi-AC with several hypotheses: a search for the fixed point of the bi-level Bellman equation best for the leader.

The equation (Eqs. 7, 12-14) may have several solutions, and which of them training reaches depends on where it starts.
But every solution is what its own leader's policy is worth while the follower best-responds to it. So starting points
are drawn among the leader's policies, of which there are far fewer than of values, or of joint policies.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from rllib_biac.algorithms.biac.fourier_policies import draw_policies, policy_actions
from rllib_biac.algorithms.biac.hypotheses_team import HypothesesTeam
from rllib_biac.algorithms.biac.losses import JOINT_ACTION, BiACLosses
from rllib_biac.learning.losses import Measured, Rows
from rllib_biac.learning.networks import RunningMoments, renormalise, rescale_output
from rllib_biac.learning.stacked import Outputs
from rllib_biac.learning.transitions import ACTION_MASK, NEXT_ACTION_MASK, NEXT_STATE, REWARDS, START, STATE
from rllib_biac.walk import best, picked, restrict

COMMITTED = 0.5  # of a round: challengers' leaders keep to the policies they were given; then they are free
WATCHED = 0.75  # of a round: from here on it counts whether play still changes
LOOKS = 2  # at play, before it counts: the first one is what later ones are compared with
SETTLED = 0.05  # share of states in which play may then differ, on average, from what it was at first
AHEAD = 0.01  # by how much a challenger must promise more than what is played, in spreads of Q-values
REFERENCE_ROWS = 256  # states in which play is watched


class HypothesesLosses(BiACLosses):
    """Losses of one leader and one follower that holds `num_hypotheses` pairs of critics, and as many actors.

    All learn from the same replay. Hypothesis 0 is played, and learns as `BiACLosses` does. The others are
    challengers. Time is cut into rounds of `updates_per_round`. In each

    1. every challenger's leader commits to a policy of its own, drawn at random: targets follow that policy and the
       follower's answers to it (Eq. 13 with a_1 given), which is a contraction, so that critics learn what it is worth;
    2. then it is free: targets follow its own equilibrium again (Eqs. 12-14). If the policy was that of a fixed point
       nothing changes; else it moves on, to a fixed point or into a cycle;
    3. in the end it is seen whether its play has come to rest. If not, its values are no promise. Of those at rest the
       one that promises the leader most where games start is selected, and changes places with hypothesis 0.

    A challenger's follower answers by its critic: what it values changes from round to round, and an actor that was
    sure of another answer would keep to it. Its actor learns beside, from no preference, for when it is selected.
    What hypothesis 0 promises counts only where its actor answers as its critic would.
    """

    team: HypothesesTeam

    def __init__(self, team: HypothesesTeam, *args: Any, **kwargs: Any) -> None:
        super().__init__(team, *args, **kwargs)
        self.num_hypotheses = self.settings.num_hypotheses
        self._device = self.generator.device
        horizon = self.settings.normalizer_horizon
        self._challengers_statistics = {
            agent: [RunningMoments(horizon) for _ in range(1, self.num_hypotheses)] for agent in self.agents
        }
        self._round_began = 0
        self._policies: dict[str, torch.Tensor] = {}  # of committed leaders: frequencies and phases
        self._watched: Rows = {}
        self._play = torch.empty(0)
        self._changed = torch.zeros(self.num_hypotheses, dtype=torch.float64, device=self._device)
        self._start_values = torch.zeros_like(self._changed)
        self._num_looks = self._num_starts = 0

    # All hypotheses at once. Hypotheses come first, in tables, values and normalisers.

    def _names(self, network: str) -> list[str]:
        return [network, *(f"{network}_{k}" for k in range(1, self.num_hypotheses))]

    def _tables(self, outputs: Outputs, agent: str, network: str) -> torch.Tensor:
        tables = torch.stack([outputs[agent, name] for name in self._names(network)])
        return tables.unflatten(2, self.team[agent].num_actions)  # (H, batch, |A_1|, |A_2|)

    def _normaliser(self, agent: str) -> tuple[torch.Tensor, torch.Tensor]:
        module = self.team[agent]
        mean = torch.cat([module.q_mean.unsqueeze(0), module.challengers_mean])
        return mean.unsqueeze(1), torch.cat([module.q_std.unsqueeze(0), module.challengers_std]).unsqueeze(1)  # (H, 1)

    def joint_play(
        self,
        outputs: Outputs,
        rows: Rows,
        column: str,
        a1: torch.Tensor | None = None,
        enumerated: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What every hypothesis plays (Eqs. 12-13).

        Args:
            outputs: of the online networks.
            rows: for their action masks.
            column: which of these, `ACTION_MASK` or `NEXT_ACTION_MASK`.
            a1: (H - 1, batch), what challengers' leaders are committed to, if they are.
            enumerated: whether hypothesis 0 answers by its critic too, whatever `response` says.

        Returns:
            (H, batch) indices into |A_1| · |A_2|, and (H, batch) the leader's values of them, normalised.
        """
        q1, q2 = (self._tables(outputs, agent, "critic") for agent in self.agents)  # (H, batch, |A_1|, |A_2|)
        mask1, mask2 = (rows.get((column, agent)) for agent in self.agents)
        responses = best(q2, None if mask2 is None else mask2[:, None])  # (H, batch, |A_1|)
        if not enumerated:
            responses[0] = self.play(outputs, rows, column).responses
        values = restrict(picked(q1, responses), mask1)  # (H, batch, |A_1|)
        chosen = best(values)  # (H, batch)  Eq. 12
        if a1 is not None:
            chosen = torch.cat([chosen[:1], a1])
        a2 = picked(responses, chosen)  # (H, batch)  Eq. 13
        return chosen * q1.shape[3] + a2, picked(values, chosen)

    @torch.no_grad()
    def all_targets(self, rows: Rows) -> dict[str, torch.Tensor]:
        """Returns the raw targets of every hypothesis' critics (Eq. 14), agent -> (H, rows)."""
        rewards = {agent: rows[REWARDS, agent].expand(self.num_hypotheses, -1) for agent in self.agents}
        if not self.bootstraps(rows):
            return rewards
        committed = None
        if self._are_committed:
            mask1 = rows.get((NEXT_ACTION_MASK, self.leader))
            committed = policy_actions(self._policies, rows[NEXT_STATE].flatten(1), mask1)  # (H - 1, rows)
        outputs = self.networks.forward(rows[NEXT_STATE])
        joint, _ = self.joint_play(outputs, rows, NEXT_ACTION_MASK, committed)  # (H, rows)
        next_q = self.networks.forward(rows[NEXT_STATE], target=True)
        targets = {}
        for agent in self.agents:
            tables = self._tables(next_q, agent, "critic").flatten(2)  # (H, rows, |A_1| · |A_2|)
            mean, std = self._normaliser(agent)
            value = std * tables.gather(2, joint.unsqueeze(2)).squeeze(2) + mean
            targets[agent] = self.target(rows, agent, value)  # (H, rows)
        return targets

    def compute_targets(self, rows: Rows) -> dict[str, torch.Tensor]:
        return {agent: targets[0] for agent, targets in self.all_targets(rows).items()}

    def losses(self, batch: Rows, outputs: Outputs) -> Measured:
        losses = {}
        joint = batch[JOINT_ACTION].expand(self.num_hypotheses, -1, 1)  # (H, batch, 1)
        targets = self.all_targets(batch)
        for agent in self.agents:
            mean, std = self._normaliser(agent)
            q = self._tables(outputs, agent, "critic").flatten(2).gather(2, joint).squeeze(2)  # (H, batch)
            each = F.mse_loss(q, (targets[agent] - mean) / std, reduction="none").mean(1)  # (H,)  Eq. 15
            losses[agent, "qf_loss"] = each[0]
            losses[agent, "challengers_qf_loss"] = each[1:].sum()
        losses[self.follower, "actor_loss"] = self.actor_loss(outputs, batch)
        # The same of all challengers, as if their rows were more rows of one.
        stacked: Outputs = {
            (self.follower, network): self._tables(outputs, self.follower, network)[1:].flatten(0, 1)
            for network in ("critic", "actor")
        }
        others = self.num_hypotheses - 1
        mask2 = (ACTION_MASK, self.follower)
        masks: Rows = {mask2: batch[mask2].repeat(others, 1)} if mask2 in batch else {}
        losses[self.follower, "challengers_actor_loss"] = others * self.actor_loss(stacked, masks)
        return losses

    def normalise_targets(self, rows: Rows) -> None:
        self._follow_round(rows)
        if not self.settings.normalize_targets:
            return
        with torch.no_grad():
            for agent, targets in self.all_targets(rows).items():
                module = self.team[agent]
                means, stds = [module.q_mean, *module.challengers_mean], [module.q_std, *module.challengers_std]
                statistics = [self.target_statistics[agent], *self._challengers_statistics[agent]]
                least = self.least_spread(agent) if self.bootstraps(rows) else 0.0
                for k, name in enumerate(self._names("critic")):
                    rescale = partial(module.rescale_critics, [module.networks()[name], module.target_networks()[name]])
                    renormalise(rescale, targets[k], statistics[k], means[k], stds[k], least=least)

    # Rounds.

    @property
    def _elapsed(self) -> float:
        """How much of the round is over, in [0, 1]."""
        return (self.num_updates - self._round_began) / self.settings.updates_per_round

    @property
    def _are_committed(self) -> bool:
        return bool(self._policies) and self._elapsed < COMMITTED

    @torch.no_grad()
    def _follow_round(self, rows: Rows) -> None:
        # A call may be longer than what is left of the round.
        if self._elapsed >= 1.0 and self._watched and self._num_looks >= LOOKS:
            self._select()
            self._policies, self._watched = {}, {}
            self._round_began = self.num_updates
        if not self._policies:
            self._commit(rows)
        elif self._elapsed >= WATCHED:
            self._watch(rows)

    def _commit(self, rows: Rows) -> None:
        """Gives every challenger's leader a policy, each unlike the others in the states at hand."""
        mask1, num_actions = rows.get((ACTION_MASK, self.leader)), self.num_actions[0]
        count, states = self.num_hypotheses - 1, rows[STATE].flatten(1)
        self._policies = draw_policies(states, mask1, num_actions, count, self.generator)
        actors = self.team[self.follower].networks()
        for name in self._names("actor")[1:]:
            rescale_output(actors[name], torch.zeros(()), torch.zeros(()))

    def _watch(self, rows: Rows) -> None:
        """Notes where play has changed since it is watched, and what is promised where games start."""
        if not self._watched:
            columns = (STATE, (ACTION_MASK, self.leader), (ACTION_MASK, self.follower))
            self._watched = {key: rows[key][:REFERENCE_ROWS].clone() for key in columns if key in rows}
            self._play, _ = self._plays(self._watched, enumerated=True)
            self._changed.zero_()
            self._start_values.zero_()
            self._num_looks = self._num_starts = 0
        self._changed += (self._plays(self._watched)[0] != self._play).double().mean(1)
        self._num_looks += 1
        if bool(rows[START].any()):
            starts = {key: column[rows[START]] for key, column in rows.items()}
            mean, std = self._normaliser(self.leader)
            self._start_values += (std * self._plays(starts)[1] + mean).sum(1)
            self._num_starts += int(rows[START].sum())

    def _plays(self, rows: Rows, enumerated: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        return self.joint_play(self.networks.forward(rows[STATE]), rows, ACTION_MASK, enumerated=enumerated)

    def _select(self) -> None:
        """Lets the hypothesis be played that promises the leader most, of those whose play has come to rest."""
        if not self._watched or not self._num_starts:
            return
        settled = self._changed / self._num_looks <= SETTLED  # (H,)
        promised = torch.where(settled, self._start_values / self._num_starts, -torch.inf)
        best = int(promised.argmax())
        if best and promised[best] > promised[0] + AHEAD * self.team[self.leader].challengers_std[best - 1]:
            self._swap(best)

    def _swap(self, challenger: int) -> None:
        """Makes a challenger hypothesis 0, and hypothesis 0 that challenger: networks, optimizers, normalisers."""
        self.averaged_since = self.num_updates
        pairs: list[tuple[Mapping[str, torch.Tensor], Mapping[str, torch.Tensor]]] = []
        for agent in self.agents:
            module = self.team[agent]
            for networks in (module.networks(), module.target_networks()):
                for name in ("critic", "actor"):
                    if name in networks:
                        pairs.append((networks[name].state_dict(), networks[f"{name}_{challenger}"].state_dict()))
            for name in ("critic", "actor"):
                if name in module.networks():
                    adams = self.optimizers.state
                    pairs.append((adams[agent, name], adams[agent, f"{name}_{challenger}"]))
            i = challenger - 1
            own = {"mean": module.q_mean, "std": module.q_std}
            pairs.append((own, {"mean": module.challengers_mean[i], "std": module.challengers_std[i]}))
            others = self._challengers_statistics[agent]
            self.target_statistics[agent], others[i] = others[i], self.target_statistics[agent]
        for one, other in pairs:
            for name, values in one.items():
                held = values.clone()
                values.copy_(other[name])
                other[name].copy_(held)

    # State.

    def get_state(self) -> dict[str, Any]:
        state = super().get_state()
        state["hypotheses"] = {
            "round_began": self._round_began,
            "policies": _as_arrays(self._policies),
            "watched": _as_arrays(self._watched),
            "play": self._play.cpu().numpy(),
            "changed": self._changed.cpu().numpy(),
            "start_values": self._start_values.cpu().numpy(),
            "num_looks": self._num_looks,
            "num_starts": self._num_starts,
            "statistics": {
                agent: [one.state() for one in moments] for agent, moments in self._challengers_statistics.items()
            },
        }
        return state

    def set_state(self, state: Mapping[str, Any]) -> None:
        super().set_state(state)
        own = state["hypotheses"]
        self._round_began = own["round_began"]
        self._num_looks, self._num_starts = own["num_looks"], own["num_starts"]
        self._policies, self._watched = (self._as_tensors(own[name]) for name in ("policies", "watched"))
        self._play, self._changed, self._start_values = (
            torch.as_tensor(own[name], device=self._device).clone() for name in ("play", "changed", "start_values")
        )
        for agent, moments in own["statistics"].items():
            for one, saved in zip(self._challengers_statistics[agent], moments, strict=True):
                one.restore(saved)

    def _as_tensors(self, arrays: Mapping[Any, Any]) -> dict[Any, torch.Tensor]:
        return {key: torch.as_tensor(array, device=self._device).clone() for key, array in arrays.items()}


def _as_arrays(tensors: Mapping[Any, torch.Tensor]) -> dict[Any, Any]:
    return {key: tensor.cpu().numpy() for key, tensor in tensors.items()}
