"""Boxes of leader policies, each with one answer of the follower: what the leader may get in them at most.

A box says of each state and leader action from where to where its probability goes. For a given answer what is left is
a decision process of the leader whose choice in a state is a point of the box: its optimum is exact, and no policy in
the box that the follower answers so pays more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rllib_biac.equilibria.markov import MarkovGame, policies

_SLACK = 1e-12
_PRICED = 3  # times that corners of a box are priced
_TIGHTENED = 3  # times that a new box is cut to where its answer may be a best response


@dataclass(frozen=True)
class Boxes:
    """Many boxes.

    Attributes:
        low, high: (n, |S|, |A_l|), bounds of the leader's probabilities.
        answer: (n, |S|), the follower's policy.
        upper: (n,), what the leader gets at most from the start.
        best: (n, |S|, |A_l|), the policy that would get it.
        liked: (n, |S|, |A_l|), the policy with which the follower would like its answer most, step by step.
        matter: (n, |S|), how much what the leader does in a state matters to both.
    """

    low: np.ndarray
    high: np.ndarray
    answer: np.ndarray
    upper: np.ndarray
    best: np.ndarray
    liked: np.ndarray
    matter: np.ndarray

    def __len__(self) -> int:
        return len(self.low)

    def __getitem__(self, which: np.ndarray) -> Boxes:
        return Boxes(*(getattr(self, name)[which] for name in self.__dataclass_fields__))

    def joined(self, other: Boxes) -> Boxes:
        """Returns these boxes and others."""
        names = self.__dataclass_fields__
        return Boxes(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in names))

    def points(self) -> np.ndarray:
        """Returns policies of these boxes that may be good, (k, |S|, |A_l|)."""
        steps = np.array([0.0, 0.01, 0.1, 0.5, 1.0])[:, None, None, None]
        return (self.best + steps * (self.liked - self.best)).reshape(-1, *self.low.shape[1:])

    def halves(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cuts each box in two at the side that matters most: (2n, ...) lower and upper bounds, and answers."""
        n, _, leads = self.low.shape
        at, widest = np.arange(n), ((self.high - self.low) * self.matter[..., None]).reshape(n, -1).argmax(-1)
        state, action = widest // leads, widest % leads
        low, high = np.concatenate([self.low] * 2), np.concatenate([self.high] * 2)
        middle = (self.low[at, state, action] + self.high[at, state, action]) / 2
        high[at, state, action] = middle
        low[at + n, state, action] = middle
        return low, high, np.concatenate([self.answer] * 2)


def everything(game: MarkovGame, first: np.ndarray) -> Boxes:
    """Returns one box of all policies for every answer; arguments as for `bounded`."""
    answer = policies(game.num_actions[1], game.num_states)
    shape = len(answer), game.num_states, game.num_actions[0]
    return bounded(game, first, np.zeros(shape), np.ones(shape), answer)


def bounded(game: MarkovGame, first: np.ndarray, low: np.ndarray, high: np.ndarray, answer: np.ndarray) -> Boxes:
    """Cuts boxes to where their answers may be best responses, leaves those out where they cannot be, bounds the rest.

    Args:
        game: of two players.
        first: (|S|,) probabilities of the first state.
        low, high, answer: as in `Boxes`.
    """
    at = np.arange(game.num_states)
    for _ in range(_TIGHTENED):
        rewards = game.rewards[:, at, :, answer].swapaxes(0, 2).swapaxes(1, 2)  # (2, n, |S|, |A_l|)
        moves = game.transitions[at, :, answer]  # (n, |S|, |A_l|, |S|)
        most, _ = _highest(rewards[1], moves, game.gamma, low, high)
        least = -_highest(-rewards[1], moves, game.gamma, low, high)[0]
        ahead = _ahead(game, rewards[1], moves, least, most)
        low, high, possible = _cut(low, high, ahead)
        low, high, answer = low[possible], high[possible], answer[possible]
        rewards, moves, ahead = rewards[:, possible], moves[possible], ahead[possible]
        least, most = least[possible], most[possible]
    values, best = _highest(rewards[0], moves, game.gamma, low, high)
    upper, paid = values @ first, rewards[0]
    # Of two leader actions a box is all that the follower's likes leave; of more, corners of it are too good.
    for _ in range(_PRICED if low.shape[-1] > 2 else 0):
        paid = paid + _price(paid + game.gamma * np.einsum("nsat,nt->nsa", moves, values), ahead, low, high)
        values, best = _highest(paid, moves, game.gamma, low, high)
        upper = np.minimum(upper, values @ first)
    matter = np.zeros(answer.shape)
    for own, value in zip(rewards, (values, (least + most) / 2), strict=True):
        q = own + game.gamma * np.einsum("nsat,nt->nsa", moves, value)
        matter += np.ptp(q, axis=-1) / np.abs(q).max(initial=1e-300)
    return Boxes(low, high, answer, upper, best, point(ahead.min(-1), low, high), matter)


def _ahead(game: MarkovGame, rewards: np.ndarray, moves: np.ndarray, least: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Returns by how much the follower may like its answer more than each action, at most.

    Args:
        game: of two players.
        rewards: (n, |S|, |A_l|), the follower's for its answer.
        moves: (n, |S|, |A_l|, |S|), where that leads.
        least, most: (n, |S|), between which the answer's values lie in the box.

    Returns:
        (n, |S|, |A_l|, |A_f|).
    """
    more = moves[:, :, :, None] - game.transitions  # (n, |S|, |A_l|, |A_f|, |S|)
    middle, half = (most + least) / 2, (most - least) / 2
    future = np.einsum("nsabt,nt->nsab", more, middle) + np.einsum("nsabt,nt->nsab", np.abs(more), half)
    return rewards[..., None] - game.rewards[1] + game.gamma * future


def _cut(low: np.ndarray, high: np.ndarray, ahead: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cuts boxes to where sum_a z(s, a) ahead(s, a, b) >= 0 for all b, and probabilities can sum to 1.

    Returns:
        The bounds, and which boxes have anything left, (n,) bool.
    """
    low, high = low.copy(), high.copy()
    leads = low.shape[-1]
    for a in range(leads):
        others = np.delete(ahead, a, axis=2)
        # All that a does not get goes to the action with which the follower likes its answer most.
        rest = others.max(2) if leads > 1 else np.zeros_like(ahead[:, :, 0])  # (n, |S|, |A_f|)
        slope = ahead[:, :, a] - rest  # z_a slope + rest >= 0
        scale = np.abs(ahead).max(initial=1e-300)
        with np.errstate(divide="ignore", invalid="ignore"):
            border = -rest / slope
        falls, rises, flat = slope < -_SLACK * scale, slope > _SLACK * scale, np.abs(slope) <= _SLACK * scale
        high[:, :, a] = np.minimum(high[:, :, a], np.where(falls, border, np.inf).min(-1) + _SLACK)
        low[:, :, a] = np.maximum(low[:, :, a], np.where(rises, border, -np.inf).max(-1) - _SLACK)
        high[:, :, a] = np.where((flat & (rest < -4 * _SLACK * scale)).any(-1), -1.0, high[:, :, a])
    high = np.minimum(high, 1 - (low.sum(-1, keepdims=True) - low) + _SLACK)
    low = np.maximum(low, 1 - (high.sum(-1, keepdims=True) - high) - _SLACK)
    possible = (low <= high + 4 * _SLACK).all((1, 2)) & (low.sum(-1) <= 1 + 1e-9).all(1)
    return np.clip(low, 0, 1), np.clip(np.maximum(high, low), 0, 1), possible & (high.sum(-1) >= 1 - 1e-9).all(1)


def _price(q: np.ndarray, ahead: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Returns what to add to the leader's rewards so that policies which the follower answers otherwise look worse.

    Where its answer is a best response, sum_a z(s, a) ahead(s, a, b) >= 0: any multiple of that may be added to the
    leader's reward, and what is highest then is still an upper bound. The multiple is taken that makes it lowest.

    Args:
        q: (n, |S|, |A_l|), what the leader gets by its actions now.
        ahead: (n, |S|, |A_l|, |A_f|).
        low, high: (n, |S|, |A_l|).

    Returns:
        (n, |S|, |A_l|).
    """
    one, two = np.triu_indices(q.shape[-1], 1)
    slopes = ahead.swapaxes(2, 3)  # (n, |S|, |A_f|, |A_l|)
    with np.errstate(divide="ignore", invalid="ignore"):  # where two actions change places is the minimum
        multiple = (q[..., one] - q[..., two])[:, :, None] / (slopes[..., two] - slopes[..., one])
    multiple = np.where(np.isfinite(multiple) & (multiple > 0), multiple, 0.0)  # (n, |S|, |A_f|, pairs)
    added = multiple[..., None] * slopes[:, :, :, None]  # (n, |S|, |A_f|, pairs, |A_l|)
    total = q[:, :, None, None] + added
    shape = total.shape
    low, high = (np.broadcast_to(bound[:, :, None, None], shape).reshape(-1, 1, shape[-1]) for bound in (low, high))
    total = total.reshape(low.shape)
    worth = (point(total, low, high) * total).sum(-1).reshape(*shape[:2], shape[2] * shape[3])
    least = worth.argmin(-1)[..., None, None]
    return np.take_along_axis(added.reshape(*shape[:2], shape[2] * shape[3], shape[-1]), least, 2)[:, :, 0]


def point(liked: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Returns the point of each box and of the simplex that has the largest sum of z · liked; (n, |S|, |A_l|) each."""
    order = np.argsort(-liked, axis=-1)
    point, left = low.copy(), 1 - low.sum(-1)  # (n, |S|)
    for k in range(liked.shape[-1]):
        at = order[..., k : k + 1]
        more = np.clip(np.minimum(np.take_along_axis(high - low, at, -1)[..., 0], left), 0, None)
        np.put_along_axis(point, at, np.take_along_axis(point, at, -1) + more[..., None], -1)
        left = left - more
    return point


def _highest(
    rewards: np.ndarray, moves: np.ndarray, gamma: float, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Solves decision processes in which a state's choice is a point of its box, by policy iteration.

    Args:
        rewards, moves: (n, |S|, |A_l|) and (n, |S|, |A_l|, |S|), of each pure choice.
        gamma: discount.
        low, high: (n, |S|, |A_l|).

    Returns:
        The highest values (n, |S|), and the points that reach them (n, |S|, |A_l|).
    """
    chosen = point(rewards, low, high)
    unit = np.eye(low.shape[1])
    while True:
        reward = (rewards * chosen).sum(-1)
        move = np.einsum("nsat,nsa->nst", moves, chosen)
        values = np.linalg.solve(unit - gamma * move, reward[..., None])[..., 0]
        q = rewards + gamma * np.einsum("nsat,nt->nsa", moves, values)
        better = point(q, low, high)
        gain = ((better - chosen) * q).sum(-1)
        # Only what is truly better is taken, so that rounding errors send nobody round in circles.
        worth_it = gain > 1e-12 * np.abs(q).max(initial=0.0)
        if not worth_it.any():
            return values, chosen
        chosen = np.where(worth_it[..., None], better, chosen)
