"""All algorithms, by the name a user types: one line each."""

from __future__ import annotations

from typing import Any

from rllib_biac.learning.loading import load_object

ALGORITHMS: dict[str, str] = {
    "BiAC": "rllib_biac.rllib.biac:BiAC",
    "BiLevelQ": "rllib_biac.rllib.bilevel_q:BiLevelQ",
    "CommitmentDQN": "rllib_biac.rllib.commitment_dqn:CommitmentDQN",
    "IDQN": "rllib_biac.rllib.idqn:IDQN",
    "HystereticDQN": "rllib_biac.rllib.hysteretic_dqn:HystereticDQN",
    "LenientDQN": "rllib_biac.rllib.lenient_dqn:LenientDQN",
    "MADDPG": "rllib_biac.rllib.maddpg:MADDPG",
    "MATD3": "rllib_biac.rllib.matd3:MATD3",
}


def load_algorithm(name: str) -> Any:
    """Returns an algorithm's class, by its name in `ALGORITHMS` or as `package.module:Name`.

    Raises:
        ValueError: if there is none of that name.
    """
    return load_object(ALGORITHMS.get(name, name))


def config_class(name: str) -> Any:
    """Returns the class of an algorithm's config.

    Raises:
        ValueError: as `load_algorithm`; or if that is no algorithm of this library's kind.
    """
    found = getattr(load_algorithm(name), "config_class", None)
    if found is None:
        raise ValueError(f"{name!r} is no algorithm made with rllib_biac: see `rllib_biac.rllib.register`.")
    return found
