"""All networks of an algorithm in one file to give away: plain numbers, nothing that could be executed."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from rllib_biac.files import policy as files
from rllib_biac.files.damage import DamagedFile
from rllib_biac.files.policy import Arrays, Description

_NETWORKS = "networks"  # metadata that a file of a policy alone does not have
_PERCEPTRONS = "hidden_layers"


Weights = Mapping[str, Mapping[str, np.ndarray]]  # agent -> parameter -> its values
Perceptrons = Mapping[
    str, Collection[tuple[str, bool]]
]  # agent -> activation, and whether layers are normalised, of all


def save_weights(
    path: str | Path,
    weights: Weights,
    policy: tuple[Description, Arrays] | str,
    algorithm: str,
    perceptrons: Perceptrons | None = None,
) -> None:
    """Writes all agents' networks and normalisers, target networks too, as tensors `<agent>/<parameter>`.

    `StackelbergPolicy.load` plays the file, unless networks are of the user's own making.

    Args:
        path: of the safetensors file.
        weights: all of them.
        policy: description and arrays of what is played; or why there are none.
        algorithm: its name.
        perceptrons: how the networks compute with these numbers, where it is known.

    Raises:
        ValueError: if a number is not finite, or so large that float32 overflows.
    """
    tensors: Arrays = {f"{agent}/{name}": values for agent, own in weights.items() for name, values in own.items()}
    computed = {agent: sorted(how) for agent, how in (perceptrons or {}).items()}
    about = {"algorithm": algorithm, _NETWORKS: " ".join(weights), _PERCEPTRONS: json.dumps(computed)}
    if isinstance(policy, str):
        files.write(path, tensors, None, about=about | {"undescribed": policy})
        return
    description, arrays = policy
    # What a policy plays with are some of these very numbers, under names of its own.
    known = {_content(tensor): name for name, tensor in tensors.items()}
    names = {}
    for name, array in arrays.items():
        names[name] = known.setdefault(_content(array), f"policy/{name}")
        tensors.setdefault(names[name], array)
    files.write(path, tensors, description, names=names, about=about)


def load_weights(
    path: str | Path, like: Weights, perceptrons: Perceptrons | None = None
) -> dict[str, dict[str, np.ndarray]]:
    """Reads what `save_weights` wrote, for networks like these. Nothing in the file is executed.

    Args:
        path: of the file.
        like: weights of the same shapes.
        perceptrons: how these networks compute with their numbers, where it is known.

    Returns:
        agent -> parameter -> its values.

    Raises:
        FileNotFoundError: if there is no such file.
        DamagedFile: if it is damaged, or made to do harm. It is a ValueError.
        ValueError: if it has not all networks, or they are not like these.
    """
    about, tensors = files.read_tensors(path)
    if _NETWORKS not in about:
        raise ValueError(
            f"{path} has a policy to play, not all networks it was trained with: write those with algo.save_weights() "
            "or `rllib export`."
        )
    weights: dict[str, dict[str, np.ndarray]] = {}
    for agent, own in like.items():
        start = f"{agent}/"
        found = {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
        if not found:
            raise ValueError(
                f"{path} has no networks of {agent}: it has those of {about[_NETWORKS]}. Take a file of the same "
                "hierarchy."
            )
        for name in [*own, *found]:
            here = own[name].shape if name in own else None
            there = found[name].shape if name in found else None
            if here != there:
                raise ValueError(
                    f"the networks of {agent} are not those of {path}, which {about.get('algorithm')} trained: {name} "
                    f"has shape {here} here and {there} there. Set the same algorithm, hierarchy, "
                    "model_config and num_atoms."
                )
        weights[agent] = found
    for agent, theirs in _perceptrons_in(path, about).items():
        ours = set((perceptrons or {}).get(agent, theirs))
        for activation, normalised in sorted(theirs - ours):
            if activation not in (known := {each for each, _ in ours}):
                raise ValueError(
                    f"the networks of {agent} have {' and '.join(sorted(known))} between their layers here, and "
                    f"{activation} in {path}: the same numbers would play otherwise. Write model_config: "
                    f"{{fcnet_activation: {activation}}}."
                )
            raise ValueError(
                f"layers of the networks of {agent} {'are' if normalised else 'are not'} normalised in {path}: the "
                "same numbers would play otherwise here. Write model_config: {fcnet_rms_norm: "
                f"{str(normalised).lower()}}}."
            )
    return weights


def _perceptrons_in(path: str | Path, about: Mapping[str, str]) -> dict[str, set[tuple[str, bool]]]:
    """Returns how the networks of a file compute; of files of before as far as their policy says it."""
    if _PERCEPTRONS not in about:
        description = files.description_in(path, about)
        played = description.networks.items() if description else ()
        return {agent: {(network.activation, network.rms_norm)} for agent, network in played}
    try:
        read = json.loads(about[_PERCEPTRONS])
        return {agent: {(str(how), bool(normalised)) for how, normalised in own} for agent, own in read.items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedFile(path, f"{path}: how its networks compute cannot be read ({error}).") from error


def _content(array: np.ndarray) -> tuple[str, tuple[int, ...], bytes]:
    return str(array.dtype), array.shape, array.tobytes()
