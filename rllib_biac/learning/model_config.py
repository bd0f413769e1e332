"""How networks are to be built, in RLlib's names."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from rllib_biac.learning.networks import ACTIVATIONS

MODEL_DEFAULTS: dict[str, Any] = {
    "fcnet_hiddens": [64, 64],
    "fcnet_activation": None,
    "fcnet_rms_norm": None,
    "conv_filters": None,
}
_WIDEST = 2**16  # of a layer; beyond that its weights are most likely a mistake, and more than the memory
_DEEPEST = 100  # layers
_NARROWEST = 8  # layer that is normalised where nobody asked for it: of few numbers little is left then


def check_model_config(given: Mapping[str, Any]) -> None:
    """Refuses what no network can be built by.

    Args:
        given: all keys of `MODEL_DEFAULTS`.

    Raises:
        ValueError: if a key is unknown, or widths, depth or activation are none we have.
    """
    for key in given:
        if key not in MODEL_DEFAULTS:
            near = difflib.get_close_matches(key, MODEL_DEFAULTS, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise ValueError(f"model_config: {key} is unknown here: {hint}Known: {', '.join(MODEL_DEFAULTS)}.")
    hiddens = given["fcnet_hiddens"]
    if not isinstance(hiddens, list | tuple) or not all(is_count(size) for size in hiddens):
        raise ValueError(f"model_config: fcnet_hiddens: {hiddens!r}: write a list of widths, e.g. [64, 64].")
    if max(hiddens, default=0) > _WIDEST:
        raise ValueError(f"model_config: fcnet_hiddens: {hiddens!r}: write widths of at most {_WIDEST:,}.")
    if len(hiddens) > _DEEPEST:
        raise ValueError(f"model_config: fcnet_hiddens: {len(hiddens):,} layers: write at most {_DEEPEST}.")
    if (activation := given["fcnet_activation"]) not in (None, *ACTIVATIONS):
        raise ValueError(f"model_config: fcnet_activation: {activation!r} is none of {', '.join(ACTIVATIONS)}.")
    if not isinstance(normalised := given["fcnet_rms_norm"], bool | None):
        raise ValueError(f"model_config: fcnet_rms_norm: {normalised!r}: write true or false, or leave it out.")


def completed(given: Mapping[str, Any], *, smooth: bool, rms_norm: bool) -> dict[str, Any]:
    """Returns a model config that says everything.

    Args:
        given: the model config.
        smooth: whether actions climb by the slopes of networks, as continuous ones do: then they have `silu`, else
            `relu`, where no activation is given.
        rms_norm: whether layers are normalised where `fcnet_rms_norm` is None and no layer is very narrow. Where
            the key is missing, the config is of before there was one, and they are not.
    """
    normalised = given.get("fcnet_rms_norm", False)
    rms_norm = rms_norm and min(given["fcnet_hiddens"], default=0) >= _NARROWEST
    return dict(given) | {
        "fcnet_activation": given.get("fcnet_activation") or ("silu" if smooth else "relu"),
        "fcnet_rms_norm": rms_norm if normalised is None else normalised,
    }


def is_count(value: Any) -> bool:
    """Tells whether a value is a whole number of at least 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
