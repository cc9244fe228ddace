r"""Images: files of the formats that the field uses, opened as an `Image`.

======== ================================ =====================================================
format   file                             what is read
======== ================================ =====================================================
ENVI     `.hdr`, or the data beside it    pixels, wavelengths, scale factor, bad bands, map
GeoTIFF  `.tif`, `.tiff`                  the same; of EnMAP's, `METADATA.XML` beside it as well
HDF5     `.nc`, `.h5`, `.hdf5`, `.he5`    see `smile_core.files.products`: EMIT, PRISMA and others
MATLAB   `.mat` of version 5 to 7.3       an array of three axes, and wavelengths if so named
NumPy    `.npy`, `.npz`                   the same
======== ================================ =====================================================

The pixels of ENVI and `.npy` files are mapped, those of others are read. Nothing in a file of
unknown origin is executed: no object is unpickled, and no file is opened because it says so.
"""

__all__ = ["open_image"]

import numpy as np
import re
import warnings
import xml.etree.ElementTree as ET

from dataclasses import replace
from numpy.typing import ArrayLike
from pathlib import Path
from typing import Any

from .envi import find_pair, read_image
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
from .matlab import read_arrays
from .products import SUFFIXES, read_product

# "450.5 nm", "band 1 (0.45 Micrometers)"
WAVELENGTH = re.compile(r"(\d+(?:\.\d+)?)\s*\(?(nm|nanomet|um|μm|µm|micro)", re.IGNORECASE)


def open_image(
    path: str | Path,
    *,
    variable: str | None = None,
    axis: int | None = None,
    wavelengths: ArrayLike | None = None,
) -> Image:
    r"""Opens an image. `smile_core.files.image.prepare` makes of it what can be unmixed.

    Args:
        path: The path of the file, see above for the formats. Of ENVI, that of the header or that
            of the data.
        variable: The name of the image in a file of MATLAB, NumPy or HDF5 that holds several
            arrays of three axes.
        axis: The axis of the bands in such a file. If `None`, the one that has as many bands as
            there are wavelengths, and without these the last one.
        wavelengths: The band centres in nanometres, with shape (bands,), where the file does not
            know them, or better ones.

    Returns:
        The image, as the file has it.

    Raises:
        ValueError: If the file is missing, not of these formats, broken, or holds no image, or if
            a package is not installed; the message names the file, what was expected and what
            came.
    """
    path = Path(path).expanduser()
    try:
        nm = None if wavelengths is None else np.asarray(wavelengths, dtype=np.float64)
        return _open(path, variable, axis, nm)
    except Exception as error:  # of broken files, each library raises its own
        raise ValueError(f"The file '{path}' could not be opened as an image. {error}") from error


def _open(
    path: Path, variable: str | None, axis: int | None, wavelengths: np.ndarray | None
) -> Image:
    suffix, options = path.suffix.lower(), (variable, axis, wavelengths)
    if not path.is_file():
        raise ValueError("There is no such file.")
    if suffix in SUFFIXES:
        image = read_product(path, *options)
    elif suffix == ".mat":
        image = _read_matlab(path, *options)
    elif suffix in (".npy", ".npz"):
        image = _read_numpy(path, *options)
    elif variable is not None or axis is not None:
        raise ValueError("`variable` and `axis` are for files of MATLAB, NumPy and HDF5.")
    elif suffix in (".tif", ".tiff"):
        image = _read_geotiff(path)
    elif suffix == ".sli":
        raise ValueError(
            "It is a library of spectra: smile_core.files.library.read_library reads it."
        )
    else:
        image = read_image(*find_pair(path))

    return image if wavelengths is None else replace(image, wavelengths=wavelengths)


def _read_geotiff(path: Path) -> Image:
    rasterio = need("rasterio")
    with warnings.catch_warnings():
        # An image without a place on the map is no fault
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        # By no other driver: some formats are texts that name any file or address
        with rasterio.open(path, driver="GTiff") as file:
            check_size(path, (file.count, *file.shape), np.dtype(file.dtypes[0]))
            pixels = file.read()
            gains, offsets = np.array(file.scales), np.array(file.offsets)
            nm = [_wavelength(file, band) for band in file.indexes]
            crs = file.crs.to_string() if file.crs else ""
            place = Place(tuple(file.transform)[:6], crs)
            names = tuple(name or "" for name in file.descriptions)
            no_data = file.nodata

    image = Image(
        pixels=pixels,
        path=path,
        wavelengths=None if None in nm else np.array(nm),
        gains=gains,
        offsets=offsets,
        no_data=no_data,
        names=names if any(names) else (),
        place=None if place.transform == (1, 0, 0, 0, 1, 0) else place,
    )

    return _describe_enmap(image)


def _wavelength(file: Any, band: int) -> float | None:
    # Where GDAL has put it from version 3.10 on, where it did before, and where people do
    micrometres = file.tags(band, ns="IMAGERY").get("CENTRAL_WAVELENGTH_UM")
    if micrometres is not None:
        return 1e3 * float(micrometres)

    tags = {key.lower(): value for key, value in file.tags(band).items()}
    text, unit = tags.get("wavelength"), tags.get("wavelength_units", "")
    if text is None:
        match = WAVELENGTH.search(file.descriptions[band - 1] or "")
        if match is None:
            return None
        text, unit = match.groups()

    return float(in_nanometres(np.array([float(text)]), unit)[0])


def _describe_enmap(image: Image) -> Image:
    # The bands of EnMAP are described in a file beside the image
    name = image.path.with_suffix(".XML").name.replace("SPECTRAL_IMAGE", "METADATA")
    path = image.path.with_name(name)
    if "METADATA" not in name or not path.is_file():
        return image

    bands = list(ET.parse(path).iterfind(".//bandCharacterisation/bandID"))
    keys = ("wavelengthCenterOfBand", "GainOfBand", "OffsetOfBand")
    numbers = np.array([[float(band.findtext(key)) for key in keys] for band in bands])
    if numbers.shape != (len(image.pixels), 3):
        raise ValueError(
            f"'{name}' should describe the {len(image.pixels)} bands of the image, and describes "
            f"{len(bands)}."
        )

    return replace(image, wavelengths=numbers[:, 0], gains=numbers[:, 1], offsets=numbers[:, 2])


def _read_matlab(
    path: Path, variable: str | None, axis: int | None, wavelengths: np.ndarray | None
) -> Image:
    with path.open("rb") as file:
        start = file.read(520)
    if b"\x89HDF" in (start[:4], start[512:516]):
        return read_product(path, variable, axis, wavelengths, matlab=True)

    return _choose(path, read_arrays(path), variable, axis, wavelengths)


def _read_numpy(
    path: Path, variable: str | None, axis: int | None, wavelengths: np.ndarray | None
) -> Image:
    if path.suffix.lower() == ".npy":
        arrays = {"the array": np.lib.format.open_memmap(path, mode="r")}
    else:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}

    return _choose(path, arrays, variable, axis, wavelengths)


def _choose(
    path: Path,
    arrays: dict[str, np.ndarray],
    variable: str | None,
    axis: int | None,
    wavelengths: np.ndarray | None,
) -> Image:
    shapes = {name: array.shape for name, array in arrays.items()}
    array = arrays[choose(shapes, variable)]
    found = find_vector(shapes, WAVELENGTHS, array.shape)
    if wavelengths is None and found is not None:
        wavelengths = in_nanometres(arrays[found].ravel())

    return Image(bands_first(array, wavelengths, axis), path, wavelengths=wavelengths)
