r"""ENVI: images that have a header of text beside their data.

The header's `map info` says where a pixel lies, counted from 1 at its upper-left corner, how large
pixels are, and by how much the image is rotated, :math:`\alpha`:

.. math:: x = x_0 + \Delta_x \cos \alpha \, \text{col} + \Delta_y \sin \alpha \, \text{row},
    \qquad y = y_0 + \Delta_x \sin \alpha \, \text{col} - \Delta_y \cos \alpha \, \text{row}.
"""

__all__ = ["describe_place", "find_pair", "read_envi"]

import math
import numpy as np

from pathlib import Path
from typing import Any

from .image import Image, Place
from .layouts import in_nanometres, need

# Of data beside a header
SUFFIXES = ("", ".img", ".dat", ".bsq", ".bil", ".bip", ".raw", ".bin", ".sli")

FORMATS = "ENVI (.hdr), GeoTIFF (.tif), HDF5 (.nc, .h5, .he5), MATLAB (.mat), NumPy (.npy, .npz)"


def find_pair(path: Path) -> tuple[Path, Path]:
    r"""Finds the header of an image, and its data.

    Args:
        path: The path of either.

    Raises:
        ValueError: If the other one is missing.
    """
    if path.suffix.lower() == ".hdr":
        stem = path.with_suffix("")
        names = [stem.name + end for s in SUFFIXES for end in (s, s.upper())]
        data = next((path.with_name(n) for n in names if path.with_name(n).is_file()), None)
        if data is None:
            raise ValueError(f"Beside a header of ENVI should lie its data, one of {names[1::2]}.")
        return path, data

    names = [path.stem + ".hdr", path.stem + ".HDR", path.name + ".hdr", path.name + ".HDR"]
    header = next((path.with_name(n) for n in names if path.with_name(n).is_file()), None)
    if header is None:
        raise ValueError(
            f"Its format should be one of {FORMATS}; for data of ENVI, the header "
            f"'{names[0]}' or '{names[2]}' should lie beside it, and is missing."
        )

    return header, path


def read_envi(header: Path, data: Path) -> Image:
    r"""Reads a header, and maps the data.

    Args:
        header: The path of the header.
        data: The path of the data.

    Raises:
        ValueError: If the header is broken, or the data are fewer than it announces.
    """
    envi = need("spectral.io.envi")
    fields = envi.read_envi_header(str(header))
    envi.check_compatibility(fields)
    order, kind = str(fields["interleave"]).lower(), str(fields["data type"])
    if fields.get("file type") == "ENVI Spectral Library":
        raise ValueError("It is a library of spectra: smile_core.library.read_library reads it.")
    if order not in ("bsq", "bil", "bip") or fields["byte order"] not in ("0", "1"):
        raise ValueError(
            "The header should say bsq, bil or bip, and byte order 0 or 1, got "
            f"'{fields['interleave']}' and '{fields['byte order']}'."
        )
    if fields.get("file compression", "0") != "0" or kind not in envi.envi_to_dtype:
        raise ValueError(f"Data of type {kind}, or compressed, cannot be read.")

    # What the header announces must be there
    shape = tuple(int(fields[key]) for key in ("bands", "lines", "samples"))
    offset = int(fields.get("header offset", 0))
    size = math.prod(shape) * np.dtype(envi.envi_to_dtype[kind]).itemsize
    if min(shape) < 1 or offset < 0 or offset + size > data.stat().st_size:
        raise ValueError(
            f"The header announces (bands, lines, samples) = {shape}, that is {offset + size} "
            f"bytes, and '{data.name}' has {data.stat().st_size}."
        )

    nm, names = _numbers(fields, "wavelength"), _texts(fields, "band names")
    scale = float(fields.get("reflectance scale factor", 1.0))
    gains = _numbers(fields, "data gain values")
    if not scale > 0:
        raise ValueError(f"The reflectance scale factor should be positive, got {scale}.")
    none = fields.get("data ignore value")
    return Image(
        pixels=envi.open(str(header), str(data)).open_memmap(interleave="bsq"),
        path=data,
        wavelengths=None if nm is None else in_nanometres(nm, fields.get("wavelength units", "")),
        good=_numbers(fields, "bbl"),
        gains=(np.ones(shape[0]) if gains is None else gains) / scale,
        offsets=_numbers(fields, "data offset values"),
        no_data=None if none is None else float(none),
        names=names if len(names) == shape[0] else (),  # names with commas fall apart
        place=_read_place(fields),
    )


def describe_place(place: Place) -> dict[str, Any]:
    r"""Returns what a header says of the place of an image.

    Args:
        place: The place.

    Raises:
        ValueError: If a header cannot say it.
    """
    a, b, c, d, e, f = place.transform
    dx, dy, angle = math.hypot(a, d), math.hypot(b, e), math.atan2(d, a)
    if not np.allclose((b, e), (dy * math.sin(angle), -dy * math.cos(angle)), atol=1e-9 * dy):
        raise ValueError(
            f"ENVI has no place for pixels that are sheared or upside down, as {place.transform} "
            "has them: write a GeoTIFF."
        )

    code = place.crs.removeprefix("EPSG:") if place.crs.startswith("EPSG:") else ""
    if place.envi:
        name, rest = place.envi[0], list(place.envi[7:])
    else:
        if code[:3] in ("326", "327") and len(code) == 5:
            north = "North" if code[:3] == "326" else "South"
            name, rest = "UTM", [str(int(code[3:])), north, "WGS-84", "units=Meters"]
        elif code == "4326":
            name, rest = "Geographic Lat/Lon", ["WGS-84", "units=Degrees"]
        else:
            name, rest = "Arbitrary", ["0", "North"]
        if angle:
            rest.append(f"rotation={math.degrees(angle):.12g}")

    fields: dict[str, Any] = {
        "map info": [name, "1", "1", repr(c), repr(f), repr(dx), repr(dy), *rest]
    }
    if place.envi and place.crs and not code:
        fields["coordinate system string"] = f"{{{place.crs}}}"
    elif name == "Arbitrary" and place.crs:
        crs = need("rasterio.crs").CRS.from_user_input(place.crs)
        fields["coordinate system string"] = f"{{{crs.to_wkt(version='WKT1_ESRI')}}}"

    return fields


def _texts(fields: dict[str, Any], key: str) -> tuple[str, ...]:
    value = fields.get(key, ())
    return (value,) if isinstance(value, str) else tuple(value)


def _numbers(fields: dict[str, Any], key: str) -> np.ndarray | None:
    return np.array([float(v) for v in _texts(fields, key)]) if key in fields else None


def _read_place(fields: dict[str, Any]) -> Place | None:
    info = _texts(fields, "map info")
    if len(info) < 7:
        return None

    # One pixel of the image, counted from 1 at its corner, has known coordinates
    col, row, x, y, dx, dy = (float(text) for text in info[1:7])
    angles = [text.partition("=")[2] for text in info if text.lower().startswith("rotation")]
    angle = math.radians(float(angles[0])) if angles else 0.0
    a, b, d, e = (
        dx * math.cos(angle),
        dy * math.sin(angle),
        dx * math.sin(angle),
        -dy * math.cos(angle),
    )
    c, f = x - a * (col - 1) - b * (row - 1), y - d * (col - 1) - e * (row - 1)

    # The code says more than text, which is often broken
    name, rest = info[0].lower(), [text.lower().replace(" ", "") for text in info[7:]]
    crs = ",".join(_texts(fields, "coordinate system string"))
    if "wgs-84" in rest and name == "utm":
        crs = f"EPSG:{327 if 'south' in rest else 326}{int(info[7]):02d}"
    elif "wgs-84" in rest and name.startswith("geographic"):
        crs = "EPSG:4326"

    return Place((a, b, c, d, e, f), crs, info)
