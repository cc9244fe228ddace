r"""ENVI: images and spectral libraries that have a header of text beside their data.

The header's `map info` says where a pixel lies, counted from 1 at its upper-left corner, how large
pixels are, and by how much the image is rotated, :math:`\alpha`:

.. math:: x = x_0 + \Delta_x \cos \alpha \, \text{col} + \Delta_y \sin \alpha \, \text{row},
    \qquad y = y_0 + \Delta_x \sin \alpha \, \text{col} - \Delta_y \cos \alpha \, \text{row}.

References:
    | ENVI Header Files (NV5 Geospatial)
    | https://www.nv5geospatialsoftware.com/docs/enviheaderfiles.html
"""

__all__ = ["describe_place", "find_pair", "read_image", "read_spectra"]

import math
import numpy as np

from pathlib import Path

from .image import Image, Place
from .layouts import in_nanometres, need

# Of data beside a header
SUFFIXES = ("", ".img", ".dat", ".bsq", ".bil", ".bip", ".raw", ".bin", ".sli")

FORMATS = "ENVI (.hdr), GeoTIFF (.tif), HDF5 (.nc, .h5, .he5), MATLAB (.mat), NumPy (.npy, .npz)"

TYPES = {"1": "u1", "2": "i2", "3": "i4", "4": "f4", "5": "f8", "6": "c8", "9": "c16"}
TYPES |= {"12": "u2", "13": "u4", "14": "i8", "15": "u8"}

# Where the bands are among the axes
BANDS = {"bsq": 0, "bil": 1, "bip": 2}

LIBRARY = "envi spectral library"


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


def read_image(header: Path, data: Path) -> Image:
    r"""Reads the header of an image, and maps its data.

    Args:
        header: The path of the header.
        data: The path of the data.

    Raises:
        ValueError: If the header is broken, or the data are fewer than it announces.
    """
    fields = _read_header(header)
    if fields.get("file type", "").lower() == LIBRARY:
        raise ValueError(
            "It is a library of spectra: smile_core.files.library.read_library reads it."
        )
    pixels = _map(fields, data)

    nm, names = _numbers(fields, "wavelength"), _texts(fields, "band names")
    scale = float(fields.get("reflectance scale factor", 1.0))
    gains = _numbers(fields, "data gain values")
    if not scale > 0:
        raise ValueError(f"The reflectance scale factor should be positive, got {scale}.")
    none = fields.get("data ignore value")

    return Image(
        pixels=pixels,
        path=data,
        wavelengths=None if nm is None else in_nanometres(nm, fields.get("wavelength units", "")),
        good=_numbers(fields, "bbl"),
        gains=(np.ones(len(pixels)) if gains is None else gains) / scale,
        offsets=_numbers(fields, "data offset values"),
        no_data=None if none is None else float(none),
        names=names if len(names) == len(pixels) else (),  # names with commas fall apart
        place=_read_place(fields),
    )


def read_spectra(header: Path, data: Path) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    r"""Reads a spectral library.

    Args:
        header: The path of the header.
        data: The path of the data.

    Returns:
        The spectra, with shape (bands, number), the band centres in nanometres, and the names.

    Raises:
        ValueError: If the header is broken, or the data are fewer than it announces.
    """
    fields = _read_header(header)
    if fields.get("file type", "").lower() != LIBRARY:
        raise ValueError("It is an image: smile_core.scenes.open_image opens it.")
    spectra = np.array(_map(fields, data)[0]).T  # samples are bands, lines are spectra
    nm, names = _numbers(fields, "wavelength"), _texts(fields, "spectra names")
    if nm is None:
        raise ValueError("Its header should list wavelengths.")
    if len(names) != spectra.shape[1]:
        names = tuple(f"spectrum {k + 1}" for k in range(spectra.shape[1]))

    return spectra, in_nanometres(nm, fields.get("wavelength units", "")), names


def describe_place(place: Place) -> dict[str, str | list[str]]:
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

    fields: dict[str, str | list[str]] = {
        "map info": [name, "1", "1", repr(c), repr(f), repr(dx), repr(dy), *rest]
    }
    if place.envi and place.crs and not code:
        fields["coordinate system string"] = f"{{{place.crs}}}"
    elif name == "Arbitrary" and place.crs:
        crs = need("rasterio.crs").CRS.from_user_input(place.crs)
        fields["coordinate system string"] = f"{{{crs.to_wkt(version='WKT1_ESRI')}}}"

    return fields


def _read_header(path: Path) -> dict[str, str]:
    # Of headers that are not in UTF-8, texts suffer, and they say least
    lines = iter(path.read_bytes().decode("utf-8", errors="replace").splitlines())
    if not next(lines, "").strip().startswith("ENVI"):
        raise ValueError("A header of ENVI should begin with 'ENVI'.")

    fields = {}
    for line in lines:
        key, equals, value = line.partition("=")
        if not equals or line.startswith(";"):
            continue
        parts = [value.strip()]
        while parts[0].startswith("{") and "}" not in parts[-1]:
            if (part := next(lines, None)) is None:
                raise ValueError(f"The braces of '{key.strip()}' in the header do not close.")
            parts.append(part.strip())
        fields[key.strip().lower()] = " ".join(parts)

    return fields


def _map(fields: dict[str, str], data: Path) -> np.ndarray:
    keys = ("bands", "lines", "samples", "data type", "interleave", "byte order")
    if missing := [key for key in keys if key not in fields]:
        raise ValueError(f"The header lacks {', '.join(missing)}.")

    kind, interleave, order = (fields[key].lower() for key in keys[3:])
    if interleave not in BANDS or order not in ("0", "1"):
        raise ValueError(
            "The header should say bsq, bil or bip, and byte order 0 or 1, got "
            f"'{interleave}' and '{order}'."
        )
    if fields.get("file compression", "0") != "0" or kind not in TYPES:
        raise ValueError(f"Data of type {kind}, or compressed, cannot be read.")

    # What the header announces must be there
    B, H, W = shape = tuple(int(fields[key]) for key in keys[:3])
    offset, dtype = int(fields.get("header offset", 0)), np.dtype("<>"[int(order)] + TYPES[kind])
    size = offset + math.prod(shape) * dtype.itemsize
    if min(shape) < 1 or offset < 0 or size > data.stat().st_size:
        raise ValueError(
            f"The header announces (bands, lines, samples) = {shape}, that is {size} bytes, and "
            f"'{data.name}' has {data.stat().st_size}."
        )

    axes = {"bsq": (B, H, W), "bil": (H, B, W), "bip": (H, W, B)}[interleave]
    return np.moveaxis(np.memmap(data, dtype, "r", offset, axes), BANDS[interleave], 0)


def _texts(fields: dict[str, str], key: str) -> tuple[str, ...]:
    value = fields.get(key, "").strip("{}, ")
    return tuple(text.strip() for text in value.split(",")) if value else ()


def _numbers(fields: dict[str, str], key: str) -> np.ndarray | None:
    return np.array([float(v) for v in _texts(fields, key)]) if key in fields else None


def _read_place(fields: dict[str, str]) -> Place | None:
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
