"""RLlib's classes of an algorithm of one's own, from one line."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable
from typing import Any

from ray.rllib.algorithms.algorithm_config import NotProvided

from rllib_biac.learning.algorithm import Algorithm
from rllib_biac.learning.loading import load_object
from rllib_biac.learning.settings import Settings
from rllib_biac.rllib.algorithm import JointAlgorithm
from rllib_biac.rllib.config import JointConfig
from rllib_biac.rllib.documented import documented, own_fields


def register(algorithm: Algorithm, module: str) -> type[JointAlgorithm]:
    """Makes an RLlib algorithm of settings, a team and losses.

    .. code-block:: python

        QMIX = register(Algorithm("QMIX", QMIXSettings, QMIXTeam, QMIXLosses), __name__)

    From then on `run: package.module:QMIX` trains it from an experiment file, and `QMIX.config_class()` is its config.

    Args:
        algorithm: what it is. Its `name` is that of the variable that the result is assigned to.
        module: the module that does so, `__name__`: checkpoints, Tune and remote learners find the class by it.

    Returns:
        The algorithm's class.
    """
    config = _config_class(algorithm, module)
    return type(
        algorithm.name,
        (JointAlgorithm,),
        {"__module__": module, "__qualname__": algorithm.name, "config_class": config, "Config": config},
    )


class _OwnConfig(JointConfig):
    """Config of an algorithm of one's own; its fluent methods know the algorithm's own settings."""

    def __init__(self, algo_class: type | None = None) -> None:
        # By name: Ray follows classes in the attributes of a class, and would go round between the two for ever.
        super().__init__(algo_class=algo_class or load_object(f"{self.__module__}:{self.algorithm.name}"))


def _config_class(algorithm: Algorithm, module: str) -> Any:
    # Found as an attribute of the algorithm, which is all that the module has of it.
    names = {"__module__": module, "__qualname__": f"{algorithm.name}.Config", "algorithm": algorithm}
    known = {f.name for f in dataclasses.fields(Settings)}
    own = own_fields(algorithm.settings)
    methods = {
        group: _fluent(
            algorithm.settings, group, [f.name for f in own if f.metadata["group"] == group and f.name not in known]
        )
        for group in {f.metadata["group"] for f in own}
    }
    return type(f"{algorithm.name}Config", (_OwnConfig,), names | methods)


def _fluent(settings: type[Settings], group: str, names: list[str]) -> Callable[..., Any]:
    """Returns a config's method that sets these settings, and hands the others on."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        given = {name: kwargs.pop(name) for name in names if name in kwargs}
        return getattr(super(_OwnConfig, self), group)(*args, **kwargs)._set_given(**given)

    hints = typing.get_type_hints(settings)
    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    parameters += [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=NotProvided) for name in names]
    parameters.append(inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD))
    method.__name__, method.__doc__ = group, f"Sets the algorithm's own settings of `{group}`."
    method.__annotations__ = {name: hints[name] for name in names}
    method.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return documented(settings, group)(method)
