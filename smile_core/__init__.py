r"""Companion to SMILE: super-resolution guided unmixing of hyperspectral images.

Example:
    >>> import smile_core
    >>> scene = smile_core.scenes.load("samson")  # doctest: +SKIP
    >>> result = smile_core.unmix(scene.image, 3)  # doctest: +SKIP
"""

import importlib
import os

__all__ = [
    "LIGHT",
    "Settings",
    "Unmixing",
    "apply",
    "load_large",
    "scenes",
    "unmix",
    "unmix_large",
]

# Before torch loads: threads that wait actively make small training steps ten times slower where
# several processes share few cores
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Where they are. The runner of the notebooks starts without torch, which takes seconds to load
_MODULES = {
    "LIGHT": "unmixing",
    "Settings": "unmixing",
    "Unmixing": "result",
    "apply": "application",
    "load_large": "large",
    "unmix": "unmixing",
    "unmix_large": "large",
}


def __getattr__(name: str) -> object:
    if name == "scenes":
        return importlib.import_module(".scenes", __name__)
    if name not in _MODULES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")

    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
