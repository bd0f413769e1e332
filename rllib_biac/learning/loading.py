"""Loading what a setting names."""

from __future__ import annotations

import importlib
from typing import Any


def load_object(name: str) -> Any:
    """Loads `package.module:name`.

    Raises:
        ValueError: if there is no such object.
    """
    module_name, colon, attribute = name.partition(":")
    if not colon:
        raise ValueError(f"{name!r} names no object; write 'package.module:name'.")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{name!r} cannot be loaded: {error}.") from error
