r"""Products: images in HDF5, as satellites and MATLAB deliver them.

- *PRISMA* (`.he5`, level 2): two cubes, visible and infrared, with shapes (rows, bands, cols), in
  16 bits between a smallest and a largest value. Wavelengths fall; bands that were not acquired
  have none. The level 2D lies on a map.
- *EMIT* (`.nc`, level 2A): one cube `reflectance` with shape (downtrack, crosstrack, bands), in
  which -9999 stands for no data, beside `wavelengths` and `good_wavelengths`. Pixels are as the
  sensor saw them: the place in the file is that of another, orthorectified image.
- Anything else with one cube and, maybe, wavelengths: other files of NetCDF 4, those of the
  National Ecological Observatory Network, and MATLAB 7.3, whose axes are reversed.

Links to other files, and arrays whose numbers lie in other files, are not followed.

References:
    | PRISMA Products Specification Document, issue 2.3 (Agenzia Spaziale Italiana, 2020)
    | https://prisma.asi.it/missionselect/docs/PRISMA%20Product%20Specifications_Is2_3.pdf
    | EMIT L2A Estimated Surface Reflectance and Uncertainty and Masks, version 1 (Green et al.,
      2023)
    | https://doi.org/10.5067/EMIT/EMITL2ARFL.001
"""

__all__ = ["SUFFIXES", "read_product"]

import numpy as np
import re

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .image import Image, Place
from .layouts import (
    WAVELENGTHS,
    bands_first,
    check_size,
    choose,
    find_vector,
    in_nanometres,
    need,
)

if TYPE_CHECKING:
    from h5py import Dataset, File

#: Of files in HDF5.
SUFFIXES = (".nc", ".nc4", ".h5", ".hdf5", ".he5")

PRISMA = re.compile(r"HDFEOS/SWATHS/PRS_L2[BCD]_HCO/Data Fields/(VNIR|SWIR)_Cube")
PRISMA_PIXEL = 30.0

SCALE = (
    "scale_factor",
    "add_offset",
    "_FillValue",
    "missing_value",
    "Scale_Factor",
    "Data_Ignore_Value",
)

GOOD = ("good_wavelengths", "good_bands")


def read_product(
    path: Path,
    variable: str | None,
    axis: int | None,
    wavelengths: np.ndarray | None,
    *,
    matlab: bool = False,
) -> Image:
    r"""Reads an image from a file in HDF5.

    Args:
        path: The path of the file.
        variable: The name of the image, with those of the groups that it is in; if `None`, that
            of the only array of three axes.
        axis: The axis of the bands, see `smile_core.files.layouts.bands_first`.
        wavelengths: The band centres in nanometres, where the file does not name them.
        matlab: Whether axes are reversed.

    Raises:
        ValueError: If the file does not hold an image.
    """
    h5py = need("h5py")
    with path.open("rb") as start:
        if start.read(3) == b"CDF":
            raise ValueError("It is a classic NetCDF file, expected NetCDF 4: nccopy -k nc4")

    with h5py.File(path, "r") as file:
        arrays = _find_arrays(file)
        cubes = [name for name in arrays if PRISMA.fullmatch(name)]
        if cubes and variable is None:
            return _read_prisma(path, file, [arrays[name] for name in cubes])

        shapes = {k: v.shape[::-1] if matlab else v.shape for k, v in arrays.items()}
        name = choose(shapes, variable)
        cube = _read_array(path, arrays[name])
        found = find_vector(shapes, WAVELENGTHS, cube.shape)
        if wavelengths is None and found is not None:
            unit = _text(arrays[found].attrs.get("units", ""))
            wavelengths = in_nanometres(_read_array(path, arrays[found]).ravel(), unit)
        pixels = bands_first(cube.T if matlab else cube, wavelengths, axis)
        good = find_vector(shapes, GOOD, pixels.shape[:1])

        return Image(
            pixels=pixels,
            path=path,
            wavelengths=wavelengths,
            good=None if good is None else _read_array(path, arrays[good]).ravel() != 0,
            **_read_scale(arrays[name], len(pixels)),
            place=_read_place(arrays, name),
        )


def _find_arrays(file: "File") -> dict[str, "Dataset"]:
    arrays: dict[str, Dataset] = {}

    def visit(name: str, item: Any) -> None:  # not called for links
        if hasattr(item, "shape") and item.shape is not None and item.dtype.kind in "iuf":
            arrays[name] = item

    file.visititems(visit)

    return arrays


def _read_array(path: Path, array: "Dataset") -> np.ndarray:
    if array.external or array.is_virtual:
        raise ValueError(f"The numbers of '{array.name}' lie in other files, which is not safe.")
    check_size(path, array.shape, array.dtype)

    return array[()]


def _read_scale(array: "Dataset", B: int) -> dict[str, Any]:
    numbers = {key: _number(array.attrs[key]) for key in SCALE if key in array.attrs}
    gain, offset = numbers.get("scale_factor"), numbers.get("add_offset")
    if gain is None and numbers.get("Scale_Factor"):  # the observatory's, which divides
        gain = 1 / numbers["Scale_Factor"]
    none = [numbers.get(key) for key in ("_FillValue", "missing_value", "Data_Ignore_Value")]

    return {
        "gains": None if gain is None else np.full(B, gain),
        "offsets": None if offset is None else np.full(B, offset),
        "no_data": next((number for number in none if number is not None), None),
    }


def _read_place(arrays: dict[str, "Dataset"], name: str) -> Place | None:
    # As GDAL and xarray write it, in an array beside the image
    beside = _text(arrays[name].attrs.get("grid_mapping", ""))
    mapping = arrays.get((name.rpartition("/")[0] + "/" + beside).lstrip("/"))
    if mapping is None or "GeoTransform" not in mapping.attrs:
        return None

    c, a, b, f, d, e = (float(v) for v in _text(mapping.attrs["GeoTransform"]).split())
    crs = mapping.attrs.get("crs_wkt", mapping.attrs.get("spatial_ref", ""))
    return Place((a, b, c, d, e, f), _text(crs))


def _read_prisma(path: Path, file: "File", arrays: list["Dataset"]) -> Image:
    attributes = file.attrs
    cubes, wavelengths, good, gains, offsets = [], [], [], [], []
    for array in arrays:
        arm = array.name.rpartition("/")[2][:4].capitalize()
        cube = np.moveaxis(_read_array(path, array), 1, 0)
        nm = np.asarray(attributes[f"List_Cw_{arm}"], dtype=np.float64)
        flags = np.asarray(attributes.get(f"List_Cw_{arm}_Flags", np.ones(len(nm))))
        low, high = (_number(attributes[f"L2Scale{arm}{end}"]) for end in ("Min", "Max"))
        if nm.shape != cube.shape[:1] or low is None or high is None:
            raise ValueError(f"The bands of '{array.name}' do not fit its attributes.")
        cubes.append(cube)
        wavelengths.append(nm)
        good.append((flags != 0) & (nm > 0))
        gains.append(np.full(len(nm), (high - low) / 65535))
        offsets.append(np.full(len(nm), low))

    pixels = np.concatenate(cubes)
    return Image(
        pixels=pixels,
        path=path,
        wavelengths=np.concatenate(wavelengths),
        good=np.concatenate(good),
        gains=np.concatenate(gains),
        offsets=np.concatenate(offsets),
        no_data=0.0,
        place=_place_prisma(attributes, *pixels.shape[1:]),
    )


def _place_prisma(attributes: Any, H: int, W: int) -> Place | None:
    names = ("UL", "easting"), ("LR", "easting"), ("UL", "northing"), ("LR", "northing")
    corners = [attributes.get(f"Product_{corner}corner_{axis}") for corner, axis in names]
    if "Epsg_Code" not in attributes or None in corners:
        return None

    # Corners are the centres of pixels, or their outer edges, as the size of a pixel tells
    left, right, top, bottom = map(float, corners)
    width, height = right - left, top - bottom
    centres = abs(width - (W - 1) * PRISMA_PIXEL) < abs(width - W * PRISMA_PIXEL)
    dx, dy = width / max(W - centres, 1), height / max(H - centres, 1)
    c, f = left - centres * dx / 2, top + centres * dy / 2

    return Place((dx, 0.0, c, 0.0, -dy, f), f"EPSG:{int(attributes['Epsg_Code'])}")


def _number(value: Any) -> float | None:
    x = np.asarray(value)
    return float(x.ravel()[0]) if x.size and x.dtype.kind in "iuf" else None


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
