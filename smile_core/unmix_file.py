r"""From the path of an image to a folder of results.

The folder appears with all of its files or none: what is being written lies in a folder within,
whose files get their place at the end, that of `summary.json` last.
"""

__all__ = ["FORMATS", "UNFINISHED", "unmix_file"]

import contextlib
import json
import math
import matplotlib.pyplot as plt
import shutil

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from .files.image import Image, Sliced, prepare
from .files.images import open_image
from .files.layouts import need
from .files.library import name_endmembers, read_library
from .files.writing import write_maps, write_spectra
from .large import unmix_large
from .result import Unmixing
from .scene import float32
from .unmixing import unmix

#: The ending of maps in each format, and the package that writes it.
FORMATS = {"envi": (".hdr", "spectral.io.envi"), "geotiff": (".tif", "rasterio")}

#: The folder, in that of the results, of files that are being written, and that of tiles.
UNFINISHED, TILES = ".unfinished", ".tiles"

#: The number of pixels from which on an image is unmixed tile by tile.
LARGE = 2**19


def unmix_file(
    path: Path,
    endmembers: int | Literal["auto"],
    output: Path,
    *,
    format: Literal["envi", "geotiff"] | None = None,
    library: str | None = None,
    size: int | None = None,
    variable: str | None = None,
    axis: int | None = None,
    force: bool = False,
    say: Callable[[str], None] = print,
    **options: Any,
) -> dict[str, Any]:
    r"""Unmixes the image of a file, and writes what comes out.

    Args:
        path: The path of the image, see `smile_core.files.images`.
        endmembers: Their number, or "auto" to estimate it.
        output: The folder of the results: `result.npz`, which `Unmixing.load` reads, or, of a
            large image, the folder `result`, which `smile_core.load_large` reads; maps of the
            abundances at both resolutions, where the image lies; `endmembers.csv`; `names.csv`,
            if there is a library; `result.png`; and `summary.json`.
        format: The format of the maps; GeoTIFF for GeoTIFF and ENVI for others if `None`.
        library: Spectra to compare the endmembers with, see
            `smile_core.files.library.read_library`.
        size: The most rows and columns to unmix, around the centre; all if `None`.
        variable: The name of the image in a file of several arrays.
        axis: The axis of the bands in a file that does not say it.
        force: Whether results that are there are replaced.
        say: What to call with what was found in the file.
        **options: Further options of `smile_core.unmix`.

    Returns:
        What `summary.json` holds: sizes, options, certificate, seconds and `paths`.

    Raises:
        FileExistsError: If the folder holds files, and `force` is not set.
        OSError: If the folder cannot be written to.
        ValueError: If the file cannot be read, or an argument does not fit.
    """
    if not force and _occupied(output):
        raise FileExistsError(f"The folder '{output}' is not empty: --force replaces results.")

    # What may be wrong is found before the work
    if format is None:
        format = "geotiff" if path.suffix.lower() in (".tif", ".tiff") else "envi"
    suffix, package = FORMATS[format]
    need(package)
    known = None if library is None else read_library(library)
    image = open_image(path, variable=variable, axis=axis)
    say(str(image))
    if size is not None:
        image = image.crop(*(min(size, length) for length in image.pixels.shape[1:]))
    pixels = math.prod(image.pixels.shape[1:])
    if pixels <= LARGE:
        prepared = prepare(image)
        bands, message = prepared.bands, prepared.message
    else:
        bands = Sliced(image).bands
        message = f"{len(bands)} bands are used, and {pixels} pixels, tile by tile."
    say(message)
    if known is not None and image.wavelengths is None:
        raise ValueError(f"To compare '{path}' with a library, its wavelengths are needed.")

    with _staging(output) as folder:
        if pixels <= LARGE:
            result = unmix(prepared.cube, endmembers, **options)
            result.save(folder / "result.npz")
        else:
            result = _unmix_tiles(image, endmembers, output / TILES, **options)

        figure = result.plot()
        figure.savefig(folder / "result.png", dpi=150)
        plt.close(figure)
        write_spectra(folder / "endmembers.csv", result.M, image, bands)
        if known is not None:
            near = name_endmembers(result.M, float32(image.wavelengths[bands]), known)
            near.to_csv(folder / "names.csv", index=False)
        write_maps(folder / f"abundances{suffix}", result, image, resolution="low")
        write_maps(folder / f"abundances_hr{suffix}", result, image, resolution="high")

        names = sorted(path.name for path in folder.iterdir())
        names = ["result", *names] if pixels > LARGE else names
        rows, cols = image.pixels.shape[1:]
        summary = {
            "image": str(path),
            "bands": len(bands),
            "rows": rows,
            "cols": cols,
            "endmembers": result.M.shape[1],
            "scale": result.scale,
            "mode": result.mode,
            "convention": result.convention,
            "seed": result.seed,
            "device": result.device,
            "dead_pixels": int(result.dead.sum()),
            "largest_gap": float(result.gap.max()),
            "seconds_of_stages": result.seconds,
            "versions": result.versions,
            "paths": [str(output / name) for name in [*names, "summary.json"]],
        }
        (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", "utf-8")
        if pixels > LARGE:  # the last thing that may fail, for what is in there took long
            (output / TILES).replace(folder / "result")

    return summary


def _unmix_tiles(image: Image, endmembers: int | str, folder: Path, **options: Any) -> Unmixing:
    # What an interrupted run has left is gone on with, if it was the same
    try:
        return unmix_large(image, endmembers, folder, **options)
    except FileExistsError:
        for path in (folder, folder.with_name(f"{folder.name}.partial")):
            shutil.rmtree(path, ignore_errors=True)
        return unmix_large(image, endmembers, folder, **options)


def _occupied(folder: Path) -> bool:
    ours = (UNFINISHED, TILES, f"{TILES}.partial")
    return folder.is_dir() and any(path.name not in ours for path in folder.iterdir())


def _clear(folder: Path) -> None:
    # What an earlier run says that it has written, its summary first
    summary = folder / "summary.json"
    try:
        names = [Path(path).name for path in json.loads(summary.read_text("utf-8"))["paths"]]
    except (OSError, ValueError, KeyError, TypeError):
        return
    for path in (summary, *(folder / name for name in names)):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    # What a killed run has left behind is removed by the next one
    new = folder / UNFINISHED
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    try:
        yield new
        _clear(folder)
        for path in sorted(new.iterdir(), key=lambda path: (path.name == "summary.json", path)):
            if path.is_dir():
                shutil.rmtree(folder / path.name, ignore_errors=True)
            path.replace(folder / path.name)
    finally:
        shutil.rmtree(new, ignore_errors=True)
