"""A policy as a program of its own: for ONNX runtimes (phones, C++, browsers), or for PyTorch without this library.

Inputs are named `state` or `observation_<agent>`, float32, (batch, *shape), with any number of rows; where the game
masks actions also `mask_<agent>`, (batch, |A_i|) bool, of a continuous action (batch, 1); of one agent's program, to
whom actions are announced, those as `action_<agent>`. A leader that committed to probabilities also takes in the number
that its action is drawn by, `uniform_<agent>`, (batch,) float32 in [0, 1): who runs the program draws it. Outputs are
named `action_<agent>`: (batch,) int64, or (batch, size) float32 of a continuous action. Networks are computed in
float32. Programs of a commitment hold its SHA-256 under the name `commitment`, so that those of two agents can be
told to belong together.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from rllib_biac.execution.greedy import GreedyPlay
from rllib_biac.files.policy import NORM_EPSILON, STATE, Actions, Arrays, Description, NetworkDescription

OPSET = 18  # ArgMax, GatherND and Gelu of old and new runtimes


class Policy(Protocol):
    """What is exported of a `StackelbergPolicy`."""

    description: Description
    arrays: Arrays
    agents: tuple[str, ...]

    def agent(self, name: str) -> Any: ...

    def arrays_of(self, agent: str) -> Arrays: ...


class TorchNetwork(nn.Module):
    """`execution.networks.Network` in PyTorch, float32."""

    def __init__(self, description: NetworkDescription, arrays: Arrays) -> None:
        super().__init__()
        self._convolutions = description.convolutions
        self._nonlinearity = getattr(F, description.activation)
        self._rms_norm, self._num_atoms = description.rms_norm, description.num_atoms
        if self._num_atoms != 1:
            self.atoms = nn.Parameter(_tensor(arrays["atoms"]), requires_grad=False)
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for k in range(len(self._convolutions) + description.num_layers):
            self.weights.append(nn.Parameter(_tensor(arrays[f"{k}/weight"]), requires_grad=False))
            self.biases.append(nn.Parameter(_tensor(arrays[f"{k}/bias"]), requires_grad=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        layers = list(zip(self.weights, self.biases, strict=True))
        if self._convolutions:
            x = x.permute(0, 3, 1, 2)
            for how, (weight, bias) in zip(self._convolutions, layers, strict=False):
                top, bottom, left, right = how.padding
                x = F.relu(F.conv2d(F.pad(x, (left, right, top, bottom)), weight, bias, how.stride))
            x = x.permute(0, 2, 3, 1).flatten(1)
        *hidden, (weight, bias) = layers[len(self._convolutions) :]
        for own_weight, own_bias in hidden:
            x = F.linear(x, own_weight, own_bias)
            x = self._nonlinearity(F.rms_norm(x, x.shape[-1:], eps=NORM_EPSILON) if self._rms_norm else x)
        x = F.linear(x, weight, bias)
        return x if self._num_atoms == 1 else x.unflatten(-1, (-1, self._num_atoms)).softmax(-1) @ self.atoms


class TorchPolicy(nn.Module):
    """A policy in PyTorch, named inputs to named outputs.

    Args:
        policy: what is played.
        agent: whose action is returned; None returns everybody's.

    Raises:
        ValueError: if there is no such agent.
    """

    def __init__(self, policy: Policy, agent: str | None = None) -> None:
        super().__init__()
        if agent is not None:
            policy.agent(agent)
        about = policy.description
        self._returned = policy.agents if agent is None else (agent,)
        own = about.by_observations
        self._seen = {
            f"observation_{name}" if own else STATE: name for name in about.inputs if not own or name in self._returned
        }
        heard = [] if agent is None else about.above(agent)
        self._announced = {f"action_{name}": name for name in heard}
        self._masks = {
            f"mask_{name}": name for name in policy.agents if about.masked and (not own or name in self._returned)
        }
        self._drawn = f"uniform_{about.draws}" if about.draws in self._returned else None
        self.example_inputs = {
            **{name: torch.zeros(2, *about.inputs[of]) for name, of in self._seen.items()},
            **{
                name: torch.ones(2, _width_of_mask(about.actions[of]), dtype=torch.bool)
                for name, of in self._masks.items()
            },
            **{name: _any_action(about.actions[of]) for name, of in self._announced.items()},
            **({self._drawn: torch.zeros(2)} if self._drawn else {}),
        }
        self.output_names = [f"action_{name}" for name in self._returned]
        networks = {name: TorchNetwork(own, policy.arrays_of(name)) for name, own in about.networks.items()}
        self.networks = nn.ModuleList(networks.values())
        self._walk = GreedyPlay(about, policy.arrays, networks, _tensor)

    def forward(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        seen = {of: inputs[name] for name, of in self._seen.items()}
        announced = {of: inputs[name] for name, of in self._announced.items()}
        masks = {of: inputs[name] for name, of in self._masks.items()}
        actions = self._walk(seen, masks, announced, inputs[self._drawn] if self._drawn else None)
        return {f"action_{name}": actions[name] for name in self._returned}

    def traced(self) -> torch.export.ExportedProgram:
        """Returns the policy as a program for any number of rows."""
        rows = torch.export.Dim("rows")
        dynamic = {name: {0: rows} for name in self.example_inputs}
        return torch.export.export(self.eval(), (self.example_inputs,), dynamic_shapes=(dynamic,))


def export_torch(policy: Policy, file: str | Path, agent: str | None = None) -> None:
    """Writes a policy as a program that PyTorch runs without this library.

    `torch.export.load(file).module()({"state": states})` returns `{"action_main_0": actions, ...}`.

    Args:
        policy: what is played.
        file: ends in `.pt2`.
        agent: whose action is returned; None returns everybody's.

    Raises:
        ValueError: if there is no such agent, or the file has another ending.
    """
    if Path(file).suffix != ".pt2":
        raise ValueError(f"{file}: torch.export.load opens only files whose names end in .pt2.")
    torch.export.save(TorchPolicy(policy, agent).traced(), str(file), extra_files=_about(policy))


def export_onnx(policy: Policy, file: str | Path, agent: str | None = None) -> None:
    """Writes a policy as one ONNX file. Needs the packages of the extra `onnx`.

    Args:
        policy: what is played.
        file: usually ends in `.onnx`.
        agent: whose action is returned; None returns everybody's.

    Raises:
        ImportError: if onnx or onnxscript are not installed.
        ValueError: if there is no such agent.
    """
    module = TorchPolicy(policy, agent)
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(f'{error}: write pip install -e ".[onnx]" in a clone of rllib_biac.') from error
    with _quiet():
        program = torch.onnx.export(
            module.traced(),
            input_names=list(module.example_inputs),
            output_names=module.output_names,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props.update(_about(policy))
    program.save(str(file), external_data=False)


def _about(policy: Policy) -> dict[str, str]:
    """Returns what a program says of itself beside what it computes."""
    how = policy.description.commitment
    return {} if how is None else {"commitment": how.sha256}


def _width_of_mask(actions: Actions) -> int:
    return actions.size if actions.discrete else 1


def _any_action(actions: Actions) -> torch.Tensor:
    if actions.bounds is None:
        return torch.zeros(2, dtype=torch.int64)
    return torch.tensor([actions.bounds[0]] * 2, dtype=torch.float32)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps back what torch says to its own developers: of parts of torchvision that are not there, of its future."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.setLevel(before)


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(array, np.float32).copy())
