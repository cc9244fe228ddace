r"""Layouts: which array of a file is the image, and which of its axes has the bands.

Files of MATLAB, NumPy and HDF5 hold arrays with names, and do not say what they are.
"""

__all__ = [
    "WAVELENGTHS",
    "bands_first",
    "check_size",
    "choose",
    "find_vector",
    "in_nanometres",
    "need",
]

import importlib
import math
import numpy as np

from collections.abc import Collection, Mapping
from pathlib import Path
from types import ModuleType

#: How arrays of wavelengths are called, in lower case.
WAVELENGTHS = ("wavelength", "wavelengths", "wavelengths_nm", "wl", "lambda", "band_centers")

# Of one micrometre or nanometre, and of numbers that can only be micrometres
UNITS = {"nm": 1.0, "nanomet": 1.0, "um": 1e3, "μm": 1e3, "µm": 1e3, "micro": 1e3}
LARGEST_MICROMETRE = 100.0

# Deflate makes numbers up to a thousand times smaller
RATIO = 1100


def need(name: str) -> ModuleType:
    r"""Imports a package that the formats of the field need, and nothing else does.

    Args:
        name: The name of the package.

    Raises:
        ValueError: If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"The package '{name.partition('.')[0]}' is needed, and it is not installed: "
            "pip install 'smile-companion[geo]'"
        ) from error


def choose(shapes: Mapping[str, tuple[int, ...]], variable: str | None) -> str:
    r"""Chooses the image among the arrays of a file.

    Args:
        shapes: The shape of each array of numbers, by its name.
        variable: The name of the image; if `None`, it is the only array of three axes.

    Raises:
        ValueError: If there is none, or more than one.
    """
    shapes = {name.lstrip("/"): shape for name, shape in shapes.items()}
    listed = ", ".join(f"'{k}' {v}" for k, v in list(shapes.items())[:20]) or "none"
    if variable is not None:
        if len(shapes.get(variable.lstrip("/"), ())) != 3:
            raise ValueError(
                f"The variable '{variable}' should be an array of three axes, the arrays are "
                f"{listed}."
            )
        return variable.lstrip("/")

    cubes = [name for name, shape in shapes.items() if len(shape) == 3]
    if len(cubes) != 1:
        raise ValueError(
            f"It should hold one array of three axes, or `variable` should name one; it holds "
            f"{len(cubes)}, and the arrays are {listed}."
        )

    return cubes[0]


def find_vector(
    shapes: Mapping[str, tuple[int, ...]], names: Collection[str], image: tuple[int, ...]
) -> str | None:
    r"""Finds what a file says of the bands of an image.

    Args:
        shapes: The shape of each array of numbers, by its name.
        names: How it may be called, in lower case and without groups.
        image: The shape of the image: one of its axes should be as long.

    Returns:
        The name of the first such array, `None` if there is none.
    """
    for name, shape in shapes.items():
        length = max(shape, default=0)
        if name.rpartition("/")[2].lower() in names and math.prod(shape) == length > 1:
            if length in image:
                return name

    return None


def bands_first(array: np.ndarray, wavelengths: np.ndarray | None, axis: int | None) -> np.ndarray:
    r"""Moves the axis of the bands to the front.

    Args:
        array: The image, with three axes, the rows before the columns.
        wavelengths: The band centres, if known: the axis of the bands has their number.
        axis: The axis of the bands. If `None`, the last one that fits the wavelengths, and
            without these the last one, as most files have it.

    Raises:
        ValueError: If no axis fits.
    """
    if axis is None:
        fits = [i for i in (2, 1, 0) if wavelengths is None or array.shape[i] == len(wavelengths)]
        if not fits:
            raise ValueError(
                f"One axis of the image should have the {len(wavelengths)} bands of the "
                f"wavelengths, got shape {array.shape}."
            )
        axis = fits[0]
    if axis not in (-3, -2, -1, 0, 1, 2):
        raise ValueError(f"The axis of the bands should be 0, 1 or 2, got {axis!r}.")

    return np.moveaxis(array, axis, 0)


def in_nanometres(wavelengths: np.ndarray, unit: str = "") -> np.ndarray:
    r"""Converts wavelengths to nanometres.

    Args:
        wavelengths: The band centres.
        unit: Their unit; where it says neither nanometres nor micrometres, numbers of which the
            largest is below 100 are taken for micrometres.
    """
    wavelengths = np.asarray(wavelengths, dtype=np.float64)
    for name, factor in UNITS.items():
        if unit.strip().lower().startswith(name):
            return factor * wavelengths

    largest = wavelengths.max(initial=0.0)
    return 1e3 * wavelengths if largest < LARGEST_MICROMETRE else wavelengths


def check_size(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
    r"""Checks that a file can hold an array, before there is memory for what it only announces.

    Args:
        path: The path of the file, which may be compressed.
        shape: The shape of the array.
        dtype: The type of its numbers.

    Raises:
        ValueError: If the file is too small.
    """
    size, there = math.prod(shape) * dtype.itemsize, path.stat().st_size
    if size > RATIO * there:
        raise ValueError(
            f"It announces {size} bytes of shape {shape}, which the {there} bytes of the file "
            "cannot hold, compressed or not."
        )
