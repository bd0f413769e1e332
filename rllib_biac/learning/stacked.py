"""The grouping of networks into one stacked computation where their shapes are equal.

Parameters belong to the networks. A `NetworkGroup` only decides where in memory they lie: row g of one matrix holds
network g, so that G equal networks are one batched matrix product, one fused Adam step runs over a row, and a soft
target update of all of them is one operation. State dicts, learning rates and export never see the grouping.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

from rllib_biac.files.policy import NORM_EPSILON
from rllib_biac.learning.networks import MLP, call_frozen, kind_of
from rllib_biac.learning.team import APPROXIMATOR, Team

NetworkKey = tuple[str, str]  # (agent, network name)
Outputs = dict[NetworkKey, torch.Tensor]  # (batch, outputs) each

# The same without a module around it, which costs as much as the arithmetic of a small network.
_FORWARD: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "silu": F.silu,
    "elu": F.elu,
    "gelu": F.gelu,
}
_aten = torch.ops.aten
# By the gradient of an activation's output, its input and its output.
_BACKWARD: dict[str, Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "relu": lambda grad, x, y: _aten.threshold_backward.default(grad, y, 0),
    "tanh": lambda grad, x, y: _aten.tanh_backward.default(grad, y),
    "silu": lambda grad, x, y: _aten.silu_backward.default(grad, x),
    "elu": lambda grad, x, y: _aten.elu_backward.default(grad, 1, 1, 1, False, x),
    "gelu": lambda grad, x, y: _aten.gelu_backward.default(grad, x),
}


class _Kept(NamedTuple):
    """What a backward pass needs of the forward one, layer by layer."""

    inputs: list[torch.Tensor]  # (G, in, batch)
    sums: list[torch.Tensor]  # that activations were applied to, normalised where they are, (G, out, batch)
    factors: list[torch.Tensor]  # where they are, by what each row's were multiplied, (G, 1, batch)
    weights: list[torch.Tensor]  # (G, out, in)


def _forward(how: tuple[str, bool], h: torch.Tensor, parameters: Sequence[torch.Tensor]) -> tuple[torch.Tensor, _Kept]:
    """Computes G equal MLPs.

    Args:
        how: a key of `ACTIVATIONS`, and whether the sums of hidden layers are normalised.
        h: (G, in, batch), features first and rows last: weights multiply, and their gradients come out, in the order
            in which they lie.
        parameters: weights (G, out, in) and biases (G, out, 1) in turn, a pair per layer.

    Returns:
        (G, out, batch), and what `_backward` needs.
    """
    activation, normalised = how
    nonlinearity = _FORWARD[activation]
    kept = _Kept([h], [], [], list(parameters[::2]))
    inputs, sums, factors, _ = kept
    for weight, bias in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
        h = torch.baddbmm(bias, weight, inputs[-1])
        if normalised:
            factors.append(h.square().mean(1, keepdim=True).add_(NORM_EPSILON).rsqrt_())
            h.mul_(factors[-1])
        sums.append(h)
        inputs.append(nonlinearity(h))
    return torch.baddbmm(parameters[-1], parameters[-2], inputs[-1]), kept


def _backward(
    how: tuple[str, bool], grad: torch.Tensor, kept: _Kept, of_input: bool = False, of_parameters: bool = True
) -> tuple[torch.Tensor | None, list[torch.Tensor]]:
    """Returns the gradients of the input and of all parameters, by that of the output: grad (G, out, batch)."""
    inputs, sums, factors, weights = kept
    found: list[torch.Tensor] = []  # last layer first, bias before weight
    for layer in reversed(range(len(weights))):
        if of_parameters:
            found += [grad.sum(2, keepdim=True), grad.bmm(inputs[layer].transpose(1, 2))]
        if layer:
            grad = weights[layer].transpose(1, 2).bmm(grad)
            grad = _BACKWARD[how[0]](grad, sums[layer - 1], inputs[layer])
            if factors:  # Zhang and Sennrich 2019
                along = (grad * sums[layer - 1]).mean(1, keepdim=True)
                grad = grad.addcmul(sums[layer - 1], along, value=-1).mul_(factors[layer - 1])
    return weights[0].transpose(1, 2).bmm(grad) if of_input else None, found[::-1]


class _StackedMLPs(torch.autograd.Function):
    """G equal MLPs as one node of the graph: autograd's own bookkeeping per layer would cost as much as the arithmetic.

    Arguments and result are those of `_forward`.
    """

    @staticmethod
    def forward(ctx: Any, how: tuple[str, bool], h: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        # Kept as it is, without packing and unpacking: no argument's values change before the one backward pass.
        ctx.how = how
        output, ctx.kept = _forward(how, h, parameters)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        _, of_input, *wanted = ctx.needs_input_grad
        kept, ctx.kept = ctx.kept, None  # what it holds is freed here, though losses live on
        of_h, found = _backward(ctx.how, grad, kept, of_input, any(wanted))
        return None, of_h, *(found if any(wanted) else [None] * len(wanted))


class NetworkGroup:
    """Networks of one shape, computed together.

    After construction the parameters of network g are views of row g of `flat`, and `rows[g]` is that row as one leaf
    for an optimizer, with its gradient. Equal `MLP`s are computed as one batched product; any other kind of network
    forms a group of one and is simply called (the plain form, to which the stacked one is equal).

    Args:
        networks: G networks, on their final device. Networks may not share parameters.

    Attributes:
        flat, grad: (G, parameters of one network).
        rows: G leaves (parameters of one network,), whose `.grad` is the row of `grad`.
        leaves: what the networks' outputs are differentiated by.
        grads: views of `grad` in the leaves' shapes, for `torch.autograd.grad`'s results.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self.networks = list(networks)
        parameters = [list(network.parameters()) for network in self.networks]
        shapes = [p.shape for p in parameters[0]]
        stops = list(itertools.accumulate(shape.numel() for shape in shapes))
        spans = [slice(stop - shape.numel(), stop) for stop, shape in zip(stops, shapes, strict=True)]
        self.flat = parameters[0][0].new_empty(len(self.networks), stops[-1]).detach()
        self.grad = torch.zeros_like(self.flat)
        for row, own in zip(self.flat, parameters, strict=True):
            for p, span in zip(own, spans, strict=True):
                row[span] = p.detach().flatten()
                p.data = row[span].view(p.shape)
        self.rows = [row.detach().requires_grad_() for row in self.flat]
        for leaf, grad in zip(self.rows, self.grad, strict=True):
            leaf.grad = grad
        self._stacked = len(self.networks) > 1
        if self._stacked:
            self.leaves = [self._columns(self.flat, *at).requires_grad_() for at in zip(spans, shapes, strict=True)]
            self.grads = [self._columns(self.grad, *at) for at in zip(spans, shapes, strict=True)]
            self._how = str(self.networks[0].activation), bool(self.networks[0].rms_norm)
        else:
            self.leaves = [p for p in parameters[0] if p.requires_grad]
            self.grads = [
                self.grad[0, span].view(p.shape)
                for p, span in zip(parameters[0], spans, strict=True)
                if p.requires_grad
            ]

    @staticmethod
    def _columns(flat: torch.Tensor, span: slice, shape: torch.Size) -> torch.Tensor:
        columns = flat[:, span].detach()
        # (G, out, in) or (G, out, 1)
        return columns.view(len(flat), *shape) if len(shape) > 1 else columns.unsqueeze(2)

    def __call__(
        self, x: torch.Tensor | Sequence[torch.Tensor], *, frozen: bool = False
    ) -> torch.Tensor | list[torch.Tensor]:
        """Computes every network, on the same input or each on its own.

        Args:
            x: (batch, *input shape), or one such tensor per network.
            frozen: whether gradients reach the inputs only, not the networks.

        Returns:
            One (batch, outputs) tensor per network: a (G, batch, outputs) tensor where they are stacked.
        """
        if not self._stacked:
            (network,), (own,) = self.networks, [x] if isinstance(x, torch.Tensor) else x
            return [call_frozen(network, own) if frozen else network(own)]
        if isinstance(x, torch.Tensor):
            h = x.T.expand(len(self.networks), *x.T.shape)  # (G, in, batch)
        else:
            h = torch.stack(list(x)).transpose(1, 2)
        if not torch.is_grad_enabled():
            return _forward(self._how, h, self.leaves)[0].transpose(1, 2)
        leaves = [leaf.detach() for leaf in self.leaves] if frozen else self.leaves
        return _StackedMLPs.apply(self._how, h, *leaves).transpose(1, 2)

    @property
    def stacked(self) -> bool:
        """Whether the networks are computed as one."""
        return self._stacked

    def some(self, rows: Sequence[int]) -> Callable[[torch.Tensor], Iterable[torch.Tensor]]:
        """Returns a function that computes some of the networks, without gradients.

        Args:
            rows: which, equally far apart.
        """
        if len(rows) == len(self.networks):
            return self
        step = rows[1] - rows[0] if len(rows) > 1 else 1
        chosen = slice(rows[0], rows[-1] + 1, step)
        assert list(range(*chosen.indices(len(self.networks)))) == list(rows)
        leaves = [leaf.detach()[chosen] for leaf in self.leaves]
        return lambda x: _forward(self._how, x.T.expand(len(rows), *x.T.shape), leaves)[0].transpose(1, 2)

    def run(self, x: torch.Tensor) -> tuple[torch.Tensor, Callable[[torch.Tensor], None]]:
        """Computes stacked networks without a graph, for losses whose gradient is known.

        Args:
            x: (batch, *input shape).

        Returns:
            (G, batch, outputs), and a function that takes the gradient of it, of the same shape, and sets `grads`.
        """
        h = x.T.expand(len(self.networks), *x.T.shape)  # (G, in, batch)
        output, kept = _forward(self._how, h, self.leaves)

        def backpropagate(grad: torch.Tensor) -> None:
            _, found = _backward(self._how, grad.transpose(1, 2), kept)
            torch._foreach_copy_(self.grads, found)

        return output.transpose(1, 2), backpropagate


class TeamNetworks:
    """All (target) networks of a team, equal ones computed together.

    Args:
        team: on its final device.
        label: (agent, network name) -> a label; only networks of one label and shape are computed together.

    Raises:
        ValueError: if two networks share a parameter, which each would then update.
    """

    def __init__(self, team: Team, label: Callable[[str, str], Hashable]) -> None:
        members = team.members().items()
        online = {(owner, name): each for owner, member in members for name, each in member.networks().items()}
        targets = {(owner, name): each for owner, member in members for name, each in member.target_networks().items()}
        apart = {key: label(*key) for key in online}
        self.groups = group_networks(online, apart)
        self.target_groups = group_networks(targets, apart)
        self._leaves = [leaf for _, group in self.groups for leaf in group.leaves]
        self._grads = [grad for _, group in self.groups for grad in group.grads]
        self._followed = self._pair_targets()

    def _pair_targets(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Returns pairs of equal shape, a matrix of targets and the rows they follow, group by group."""
        pairs = []
        for keys, targets in self.target_groups:
            for online_keys, group in self.groups:
                rows = [online_keys.index(key) for key in keys if key in online_keys]
                if not rows:
                    continue
                start, stop = rows[0], rows[-1] + 1
                if rows == list(range(start, stop)) and len(rows) == len(keys):
                    pairs.append((targets.flat, group.flat[start:stop]))
                else:
                    pairs += [(targets.flat[keys.index(online_keys[r])], group.flat[r]) for r in rows]
        return pairs

    def rows(self) -> dict[NetworkKey, torch.Tensor]:
        """Returns the parameters of every network as one leaf (parameters,) with its gradient."""
        return {key: row for keys, group in self.groups for key, row in zip(keys, group.rows, strict=True)}

    def forward(self, x: torch.Tensor, *, target: bool = False) -> Outputs:
        """Computes all (target) networks of states, except approximators.

        Args:
            x: (batch, *state shape), normalised.
            target: whether to compute the target networks.

        Returns:
            (agent, network name) -> (batch, outputs).
        """
        outputs: Outputs = {}
        for keys, group in self.target_groups if target else self.groups:
            if kind_of(keys[0][1]) != APPROXIMATOR:
                outputs.update(zip(keys, group(x), strict=True))
        return outputs

    def some(self, wanted: Collection[NetworkKey]) -> Callable[[torch.Tensor], Outputs]:
        """Returns a function that does what `forward` does, of some networks and without gradients.

        Args:
            wanted: which, no approximators.
        """
        parts = []
        for keys, group in self.groups:
            if rows := [row for row, key in enumerate(keys) if key in wanted]:
                parts.append(([keys[row] for row in rows], group.some(rows)))

        def compute(x: torch.Tensor) -> Outputs:
            return {key: output for keys, part in parts for key, output in zip(keys, part(x), strict=True)}

        return compute

    def compute(
        self,
        kind: str,
        inputs: torch.Tensor | Mapping[str, torch.Tensor],
        *,
        target: bool = False,
        frozen: bool = False,
    ) -> Outputs:
        """Computes all (target) networks of one kind, where they do not all see the state alone.

        Args:
            kind: the first word of their names, such as `"critic"`.
            inputs: (batch, *input shape) for all agents, or agent -> its own.
            target: whether to compute the target networks.
            frozen: whether gradients reach the inputs only.

        Returns:
            (agent, network name) -> (batch, outputs).
        """
        outputs: Outputs = {}
        for keys, group in self.target_groups if target else self.groups:
            if kind_of(keys[0][1]) == kind:
                x = inputs if isinstance(inputs, torch.Tensor) else [inputs[agent] for agent, _ in keys]
                outputs.update(zip(keys, group(x, frozen=frozen), strict=True))
        return outputs

    def differentiate(self, total: torch.Tensor) -> None:
        """Sets all networks' gradients to those of a scalar."""
        # A network of the user's own may hold parameters that its output does not depend on.
        gradients = torch.autograd.grad(total, self._leaves, allow_unused=True, materialize_grads=True)
        torch._foreach_copy_(self._grads, gradients)

    def clip(self, limit: float, by: str) -> None:
        """Clips every network's gradient on its own.

        Args:
            limit: the bound.
            by: `value`: of each number; else of the norm, which is the same as the global one for one network.
        """
        for _, group in self.groups:
            if by == "value":
                group.grad.clamp_(-limit, limit)
            else:
                norm = group.grad.norm(dim=1, keepdim=True)  # (G, 1)
                group.grad.mul_((limit / (norm + 1e-6)).clamp_(max=1.0))

    def follow(self, tau: float) -> None:
        """Moves all target networks towards those they follow."""
        for target, online in self._followed:
            target.lerp_(online, tau)


def group_networks(
    networks: Mapping[NetworkKey, nn.Module], apart: Mapping[NetworkKey, Hashable] | None = None
) -> list[tuple[list[NetworkKey], NetworkGroup]]:
    """Groups networks by shape: equal `MLP`s together, everything else alone.

    Args:
        networks: (agent, name) -> network. Targets are grouped by the same rule, so both groupings agree.
        apart: (agent, name) -> a label; networks of different labels are never grouped.

    Returns:
        (keys, group) pairs; keys in the order of the group's rows.

    Raises:
        ValueError: if two networks share a parameter, which each would then update.
    """
    seen: dict[int, NetworkKey] = {}
    shapes: dict[Any, list[NetworkKey]] = {}
    for key, network in networks.items():
        for p in network.parameters():
            if (other := seen.setdefault(id(p), key)) != key:
                raise ValueError(
                    f"networks {'/'.join(other)!r} and {'/'.join(key)!r} share parameters; give each network its own "
                    "(copy.deepcopy)."
                )
        # A subclass may compute something else from the same layers.
        alike = (network.sizes, network.activation, network.rms_norm) if type(network) is MLP else key
        shapes.setdefault((alike, apart and apart[key]), []).append(key)
    return [(keys, NetworkGroup([networks[key] for key in keys])) for keys in shapes.values()]
