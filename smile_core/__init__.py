r"""Companion to SMILE: super-resolution guided unmixing of hyperspectral images.

Example:
    >>> import smile_core
    >>> scene = smile_core.scenes.load("samson")  # doctest: +SKIP
    >>> result = smile_core.unmix(scene.image, 3)  # doctest: +SKIP
"""

import os

__all__ = ["Settings", "Unmixing", "scenes", "unmix"]

# Before torch loads: threads that wait actively make small training steps ten times slower where
# several processes share few cores
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def __getattr__(name: str) -> object:
    # The runner of the notebooks starts without torch, which takes seconds to load
    if name in ("unmix", "Settings"):
        from . import unmixing as module
    elif name == "Unmixing":
        from . import result as module
    elif name == "scenes":
        import importlib

        return importlib.import_module(".scenes", __name__)
    else:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")

    return getattr(module, name)
