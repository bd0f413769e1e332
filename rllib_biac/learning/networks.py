"""Networks: perceptrons, convolutions in front of them, what is done with any network, threads, and normalisers."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from rllib_biac.files.policy import NORM_EPSILON
from rllib_biac.learning.several import average_over_learners

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
}


class MLP(nn.Module):
    """A multi-layer perceptron with a linear output.

    Args:
        sizes: widths of all layers, input first, output last.
        activation: a key of `ACTIVATIONS`.
        rms_norm: whether the sums of each hidden layer are brought to a root mean square near 1 where they are not
            small (RMSNorm, Zhang and Sennrich 2019, with a large epsilon and without gains of its own).
    """

    def __init__(self, sizes: Sequence[int], activation: str = "relu", rms_norm: bool = False) -> None:
        super().__init__()
        self.sizes = tuple(int(size) for size in sizes)
        self.activation, self.rms_norm = activation, rms_norm
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in zip(self.sizes, self.sizes[1:], strict=False))
        self.nonlinearity = ACTIVATIONS[activation]()

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (batch, sizes[0]) -> (batch, sizes[-1])
        *hidden, last = self.layers  # a slice would be a new module each time
        for layer in hidden:
            x = layer(x)
            x = self.nonlinearity(F.rms_norm(x, x.shape[-1:], eps=NORM_EPSILON) if self.rms_norm else x)
        return last(x)


class CNN(nn.Module):
    """Convolutions, each followed by a ReLU, on images (batch, height, width, channels).

    Args:
        input_shape: (height, width, channels).
        filters: [channels, kernel, stride] of each, padded like TensorFlow's `same`; kernel and stride are a number or
            one for each direction. A fourth entry, `valid`, says that it is not padded.
    """

    def __init__(self, input_shape: Sequence[int], filters: Sequence[Sequence[Any]]) -> None:
        super().__init__()
        *size, channels = (int(n) for n in input_shape)
        layers: list[nn.Module] = []
        for out_channels, kernel, stride, *padding in filters:
            kernels, strides = _pair(kernel), _pair(stride)
            if padding and padding[0] == "valid":
                size = [-(-(n - k + 1) // s) for n, k, s in zip(size, kernels, strides, strict=True)]
            else:
                after = [-(-n // s) for n, s in zip(size, strides, strict=True)]
                missing = [(m - 1) * s + k - n for n, m, k, s in zip(size, after, kernels, strides, strict=True)]
                (top, bottom), (left, right) = ((n // 2, n - n // 2) for n in missing)
                layers.append(nn.ZeroPad2d((left, right, top, bottom)))
                size = after
            layers += [nn.Conv2d(channels, out_channels, kernels, strides), nn.ReLU()]
            channels = out_channels
        self.cnn = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (batch, height, width, channels), in and out
        return self.cnn(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def _pair(n: int | Sequence[int]) -> tuple[int, int]:
    rows, columns = (n, n) if isinstance(n, int) else n
    return rows, columns


def build_network(input_shape: Sequence[int], num_outputs: int, model_config: Mapping[str, Any]) -> nn.Module:
    """Builds the network a model config describes.

    Args:
        input_shape: (features,) for an `MLP`, or (height, width, channels) for convolutions in front of it.
        num_outputs: width of the linear output.
        model_config: RLlib's names: `fcnet_hiddens`, `fcnet_activation`, and for images `conv_filters`
            (a list of [channels, kernel, stride]); beside them `fcnet_rms_norm`.

    Raises:
        ValueError: if the input is an image and no `conv_filters` are given.
    """
    hiddens, activation = list(model_config["fcnet_hiddens"]), model_config["fcnet_activation"]
    rms_norm = bool(model_config.get("fcnet_rms_norm"))
    if len(input_shape) == 1:
        return MLP([input_shape[0], *hiddens, num_outputs], activation, rms_norm)
    if not model_config.get("conv_filters"):
        raise ValueError(
            f"what the network sees is an image of shape {tuple(input_shape)}: say how to encode it, "
            "e.g. model_config: {conv_filters: [[16, 4, 2], [32, 4, 2]]} (channels, kernel, stride)."
        )
    encoder = CNN(input_shape, model_config["conv_filters"])
    with torch.no_grad():
        features = encoder(torch.zeros(1, *input_shape)).flatten(1).shape[1]
    return nn.Sequential(encoder, nn.Flatten(), MLP([features, *hiddens, num_outputs], activation, rms_norm))


def kind_of(network: str) -> str:
    """Returns what a network is by the first word of its name (`critic_twin`): critic, actor or approximator."""
    return network.partition("_")[0]


def call_frozen(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Computes a network through which gradients reach its input only."""
    learned = [p for p in network.parameters() if p.requires_grad]
    for p in learned:
        p.requires_grad_(False)
    try:
        return network(x)
    finally:
        for p in learned:
            p.requires_grad_(True)


def follow(network: nn.Module) -> nn.Module:
    """Returns a target network: a copy that takes no gradients."""
    return copy.deepcopy(network).requires_grad_(False)


# On how many threads they are computed.

# Multiplications of one pass over a batch, from which on a second thread gains more than it costs to wake it.
# On a busy machine threads that wait for each other cost a hundred times what they gain.
WORTH_SHARING = 2**26


@contextmanager
def threads_for(parts: Iterable[nn.Module], rows: int) -> Iterator[None]:
    """Computes on one thread meanwhile what is too small to be shared among several.

    Args:
        parts: of a team; the largest one has at least as many parameters as its largest network.
        rows: that it is computed of at once.
    """
    threads = torch.get_num_threads()
    if threads == 1 or rows * max(sum(p.numel() for p in part.parameters()) for part in parts) >= WORTH_SHARING:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


# In what units they see and answer.


class RunningMoments:
    """Running mean and standard deviation of rows, whose memory ends at `horizon` rows (older ones fade)."""

    def __init__(self, horizon: float) -> None:
        self.horizon = horizon
        self.count = 0.0
        self.mean: torch.Tensor | None = None
        self.square: torch.Tensor | None = None

    def update(
        self, rows: torch.Tensor, num_learners: int = 1, least: float = 0.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Takes rows (n, ...) float64 in, as all learners do.

        Args:
            rows: which are taken in.
            num_learners: how many take some in, each its own.
            least: what the standard deviation is at least said to be.

        Returns:
            The mean of all rows and their standard deviation, > 0.
        """
        mean, square = rows.mean(0), rows.square().mean(0)
        if num_learners > 1:
            average_over_learners([mean, square])
        n = float(len(rows) * num_learners)
        if self.mean is None or self.square is None:
            self.mean, self.square = mean, square
        else:
            weight = n / min(self.count + n, self.horizon) if self.horizon > n else 1.0
            self.mean = torch.lerp(self.mean, mean, weight)
            self.square = torch.lerp(self.square, square, weight)
        self.count += n
        variance = (self.square - self.mean.square()).clamp_(min=0.0)
        # Rows that never differed have no spread. Nothing much smaller than themselves may stand for it: networks that
        # answer in its units would overflow.
        size = torch.where(self.square > 0.0, self.square.sqrt(), 1.0)
        return self.mean, torch.where(variance > 1e-12 * self.square, variance.sqrt(), size).clamp(min=least)

    def start(self, mean: torch.Tensor, std: torch.Tensor, count: float) -> None:
        """Begins anew, as if `count` rows of this mean and standard deviation (...) had been taken in."""
        self.count = count
        self.mean = mean.to(torch.float64, copy=True)
        self.square = std.to(torch.float64).square() + self.mean.square()

    def state(self) -> dict[str, Any]:
        """Returns what `restore` needs."""
        arrays = {"mean": self.mean, "square": self.square}
        return {"count": self.count} | {name: None if m is None else m.cpu().numpy() for name, m in arrays.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state` returned."""
        self.count = state["count"]
        self.mean = None if state["mean"] is None else torch.as_tensor(state["mean"])
        self.square = None if state["square"] is None else torch.as_tensor(state["square"])


@torch.no_grad()
def renormalise(
    rescale: Callable[[torch.Tensor, torch.Tensor], None],
    targets: torch.Tensor,
    statistics: RunningMoments,
    mean: torch.Tensor,
    std: torch.Tensor,
    num_learners: int = 1,
    least: float = 0.0,
) -> None:
    """Takes targets into the statistics of a normaliser, and keeps the Q-values that its critics stand for.

    Args:
        rescale: given a scale and a shift, () each, makes all critics whose Q = std · value + mean say
            scale · value + shift.
        targets: (rows,), raw.
        statistics: of the targets before.
        mean, std: () each, changed in place.
        num_learners: how many do so at once, each with rows of its own.
        least: what the spread of the targets is at least taken for.
    """
    first = statistics.count == 0
    new_mean, new_std = statistics.update(targets.to(torch.float64), num_learners, least)
    scale, shift = std / new_std, (mean - new_mean) / new_std
    # What a fresh network says is worth nothing yet; kept, it would lie far off in units of the spread.
    if not first:
        rescale(scale.to(torch.float32), shift.to(torch.float32))
    mean.copy_(new_mean)
    std.copy_(new_std)


@torch.no_grad()
def rescale_output(network: nn.Module, scale: torch.Tensor, shift: torch.Tensor) -> None:
    """Makes a network return scale · output + shift, by its last linear layer (output-preserving, as in PopArt)."""
    last = [m for m in network.modules() if isinstance(m, nn.Linear)][-1]
    last.weight.mul_(scale)
    last.bias.mul_(scale).add_(shift)


@torch.no_grad()
def check_rescalable(network: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Tries `rescale_output` on a copy of a critic.

    Raises:
        ValueError: if the critic's last linear layer, in the order of its attributes, is not its output layer.
    """
    tried = copy.deepcopy(network)
    values = torch.linspace(0.0, 1.0, 4 * math.prod(input_shape), device=next(tried.parameters()).device)
    inputs = values.view(4, *input_shape)
    before = tried(inputs)
    try:
        rescale_output(tried, torch.tensor(2.0, device=before.device), torch.tensor(1.0, device=before.device))
        fits = torch.allclose(tried(inputs), 2.0 * before + 1.0, atol=1e-4)
    except (IndexError, AttributeError):  # no linear layer, or one without bias
        fits = False
    if not fits:
        raise ValueError(
            f"the critic {type(network).__name__} cannot learn normalised targets: let the last nn.Linear among its "
            "attributes, with a bias, be its output layer; or write normalize_targets: false."
        )


class QUnits(nn.Module):
    """Networks among which critics answer in units of the spread of their targets.

    Attributes:
        q_mean, q_std: of who has a critic: the normaliser of its targets, Q = q_std · critic + q_mean.
    """

    q_mean: torch.Tensor
    q_std: torch.Tensor

    def register_q_normalizer(self) -> None:
        """Makes the normaliser of the critic's targets, Q = q_std · critic + q_mean: buffers () each."""
        self.register_buffer("q_mean", torch.zeros(()))
        self.register_buffer("q_std", torch.ones(()))

    def rescale_critics(self, critics: Iterable[nn.Module], scale: torch.Tensor, shift: torch.Tensor) -> None:
        """Makes critics of this one say scale · value + shift, () each, of what they say now."""
        for critic in critics:
            rescale_output(critic, scale, shift)

    def take_units_over(self, critics: Iterable[nn.Module], latest: QUnits) -> None:
        """Makes critics that speak in these units say the same in those of `latest`."""
        self.rescale_critics(critics, *self.units_in(latest))

    def units_in(self, latest: QUnits) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the scale and the shift, () each, that make normalised values of this one those of `latest`."""
        return self.q_std / latest.q_std, (self.q_mean - latest.q_mean) / latest.q_std

    def raw(self, normalised: torch.Tensor) -> torch.Tensor:
        """Returns Q-values in the game's own units of reward, by what the critic says."""
        return self.q_std * normalised + self.q_mean

    def in_units(self, targets: torch.Tensor) -> torch.Tensor:
        """Returns raw Q-values in units of their spread, as the critic says them: the inverse of `raw`."""
        return (targets - self.q_mean) / self.q_std
