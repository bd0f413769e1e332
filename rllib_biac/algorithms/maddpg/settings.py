"""What MADDPG and MATD3 can be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from rllib_biac.learning.peers import PeersSettings
from rllib_biac.learning.settings import setting


@dataclass(kw_only=True)
class MADDPGSettings(PeersSettings):
    """Settings of MADDPG, with discrete (Gumbel-Softmax) or continuous actions."""

    continuous_actions: ClassVar[bool] = True

    gumbel_temperature: float = setting(
        1.0, "of the relaxed samples of discrete actions, greater than 0.", low=0.0, above=True
    )
    actor_regularization: float = setting(
        1e-3,
        "weight of the mean square of an actor's outputs, which keeps them off saturation; at least 0. The authors' "
        "code has 1e-3.",
        low=0.0,
    )
    exploration_noise: float = setting(
        0.1,
        "standard deviation of the noise on continuous actions that are not drawn at random altogether (`epsilon`), in "
        "half their range; at least 0. There is none where epsilon is 0.",
        low=0.0,
        group="env_runners",
    )

    def check_game(self, spec: Any) -> None:
        super().check_game(spec)
        if len(shape := spec.state_space.shape or ()) != 1:
            raise ValueError(
                f"the state has shape {shape}: the critics of {self.algorithm()} put it beside the actions, which "
                "takes a vector. Write state: observations, or give the game such a state."
            )


@dataclass(kw_only=True)
class MATD3Settings(MADDPGSettings):
    """Settings of MATD3: `MADDPGSettings`, and what TD3 adds."""

    target_network_update_freq: int = setting(2, "updates between such moves; 2 with the policies, as in TD3.", low=1)
    policy_delay: int = setting(
        2,
        "updates of the critics per update of the actors, at least 1. Targets follow at `target_network_update_freq`, "
        "2 by default as well.",
        low=1,
    )
    target_noise: float = setting(
        0.2,
        "standard deviation of the noise on continuous target actions, in half their range; at least 0. Discrete "
        "target actions are Gumbel-Softmax samples, whose noise does the same.",
        low=0.0,
    )
    target_noise_clip: float = setting(0.5, "the noise's bound, at least 0.", low=0.0)

    def update_period(self, kind: str) -> int:
        return self.policy_delay if kind == "actor" else 1
