r"""Writing: maps and spectra in the formats of the field, where the image lies.

A map of HR abundances has pixels `scale` times smaller than those of the image, and the same
upper-left corner. A file appears as a whole or not at all; of the two files of ENVI, the header
comes last, and data without a header cannot be taken for anything.
"""

__all__ = ["write_maps", "write_spectra"]

import contextlib
import numpy as np
import pandas as pd
import tempfile
import warnings

from collections.abc import Iterator, Sequence
from pathlib import Path
from torch import Tensor
from typing import Any, Literal

from ..degradation import enlarge
from ..record import replacing
from ..result import Unmixing
from .envi import describe_place
from .image import Image, Place
from .layouts import need

#: What stands for no data, in dead pixels.
NO_DATA = -9999.0


def write_maps(
    path: str | Path,
    result: Unmixing,
    image: Image,
    names: Sequence[str] | None = None,
    *,
    resolution: Literal["high", "low"] = "high",
) -> Path:
    r"""Writes abundance maps as GeoTIFF or ENVI, one band for each endmember.

    Args:
        path: The path of the file, ending in `.tif` or `.tiff`, or in `.hdr` or `.img`, of which
            ENVI has both.
        result: The result.
        image: The image that was unmixed, for its place on the map.
        names: The names of the endmembers, "endmember 1" and so on if `None`.
        resolution: Whether to write the HR abundances or the LR ones.

    Returns:
        The path of the file, that of the header for ENVI.

    Raises:
        ValueError: If the path has another ending or the name of the image, the names or the
            image do not fit, or the format cannot hold the place.
        OSError: If the file cannot be written.
    """
    path, scale = _check_path(path, image), result.scale if resolution == "high" else 1
    a = {"high": result.a_hr, "low": result.a}.get(resolution)
    if a is None:
        raise ValueError(f"The resolution should be 'high' or 'low', got {resolution!r}.")
    if image.pixels.shape[1:] != result.dead.shape:
        raise ValueError(
            f"The image should have the {tuple(result.dead.shape)} rows and cols of the result, "
            f"got {image.pixels.shape[1:]}."
        )
    names = _check_names(names, len(a))
    maps = (
        a.masked_fill(enlarge(result.dead, scale), NO_DATA).numpy().astype(np.float32, copy=False)
    )
    place = None if image.place is None else image.place.finer(scale)

    if path.suffix.lower() in (".tif", ".tiff"):
        return _write_geotiff(path, maps, names, place)
    elif path.suffix.lower() in (".hdr", ".img"):
        return _write_envi(path, maps, names, place)
    else:
        raise ValueError(f"The path should end in .tif, .tiff, .hdr or .img, got '{path}'.")


def write_spectra(
    path: str | Path,
    M: Tensor,
    image: Image,
    bands: np.ndarray,
    names: Sequence[str] | None = None,
) -> Path:
    r"""Writes endmembers as a table or as a spectral library of ENVI, on the bands of the image.

    Bands that were not unmixed are empty cells in the table, and NaN in the library.

    Args:
        path: The path of the file, ending in `.csv`, or in `.sli`, beside which comes a header.
        M: The endmembers, with shape (B, R).
        image: The image that was unmixed.
        bands: The index in the image of each band of `M`, see `smile_core.files.image.Prepared`.
        names: The names of the endmembers, "endmember 1" and so on if `None`.

    Returns:
        The path of the file.

    Raises:
        ValueError: If the path has another ending or the name of the image, or shapes disagree.
        OSError: If the file cannot be written.
    """
    path, nm = _check_path(path, image), image.wavelengths
    if M.ndim != 2 or M.shape[0] != len(bands):
        raise ValueError(f"M should have shape ({len(bands)}, R), got {tuple(M.shape)}.")
    names = _check_names(names, M.shape[1])
    spectra = np.full((len(image.pixels), M.shape[1]), np.nan, np.float32)
    spectra[bands] = M.numpy()

    if path.suffix.lower() == ".csv":
        table = pd.DataFrame(spectra, columns=names)
        first = ("band", np.arange(1, len(table) + 1)) if nm is None else ("wavelength (nm)", nm)
        table.insert(0, *first)
        with replacing(path) as new:
            table.to_csv(new, index=False)
    elif path.suffix.lower() == ".sli":
        path, header = path.with_suffix(".sli"), {"spectra names": names}
        if nm is not None:
            header |= {"wavelength": nm.tolist(), "wavelength units": "Nanometers"}
        with _folder_beside(path) as folder:
            library = need("spectral.io.envi").SpectralLibrary(spectra.T, header)
            library.save(str(folder / path.stem))
            _move(folder, path)
    else:
        raise ValueError(f"The path should end in .csv or .sli, got '{path}'.")

    return path


def _check_path(path: str | Path, image: Image) -> Path:
    # Of ENVI, other endings belong to the same image
    path = Path(path).expanduser()
    if path.resolve().with_suffix("") == image.path.resolve().with_suffix(""):
        raise ValueError(f"'{path}' should not have the name of the image, '{image.path}'.")

    return path


def _check_names(names: Sequence[str] | None, R: int) -> list[str]:
    names = [f"endmember {k + 1}" for k in range(R)] if names is None else list(names)
    for name in names:
        if not isinstance(name, str) or not name.strip() or set(name) & set("{}\r\n"):
            raise ValueError(f"A name should be a line of text without braces, got {name!r}.")
    if len(names) != R or len(set(names)) != R:
        raise ValueError(f"There should be {R} different names, one each, got {names}.")

    return names


def _write_geotiff(path: Path, maps: np.ndarray, names: list[str], place: Place | None) -> Path:
    rasterio = need("rasterio")
    options: dict[str, Any] = {}
    if place is not None:
        options["transform"] = rasterio.Affine(*place.transform)
    if place is not None and place.crs:
        try:
            options["crs"] = rasterio.crs.CRS.from_user_input(place.crs)
        except rasterio.errors.CRSError:
            warnings.warn(
                f"The coordinate reference system of the image is left out of '{path}', for it "
                f"is not valid: {place.crs}",
                stacklevel=3,
            )

    R, H, W = maps.shape
    shape = {"count": R, "height": H, "width": W, "dtype": "float32", "nodata": NO_DATA}
    with replacing(path) as new, warnings.catch_warnings():
        # An image without a place on the map is no fault
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(
            new, "w", driver="GTiff", compress="deflate", **shape, **options
        ) as file:
            file.write(maps)
            file.descriptions = names

    return path


def _write_envi(path: Path, maps: np.ndarray, names: list[str], place: Place | None) -> Path:
    envi = need("spectral.io.envi")
    fields = {
        "description": "Abundances of endmembers",
        "band names": names,
        "data ignore value": NO_DATA,
        **({} if place is None else describe_place(place)),
    }
    header = path.with_suffix(".hdr")
    with _folder_beside(path) as folder:
        envi.save_image(
            str(folder / header.name), np.moveaxis(maps, 0, -1), interleave="bsq", metadata=fields
        )
        _move(folder, path.with_suffix(".img"))

    return header


@contextlib.contextmanager
def _folder_beside(path: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        yield Path(folder)


def _move(folder: Path, data: Path) -> None:
    header = data.with_suffix(".hdr")
    header.unlink(missing_ok=True)
    (folder / data.name).replace(data)
    (folder / header.name).replace(header)
