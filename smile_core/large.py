r"""Large images in bounded memory: learned on a sample, applied tile by tile.

The image stays on disk. Endmembers and network are learned, once, from windows that are spread
over it: it is divided into equal parts, and each gives a window at a random place. Then it is
unmixed in tiles, each read with a margin that is as wide as what pixels know of each other, and
cut off afterwards. An image that is no larger than the sample is its own sample, and the result
that of `smile_core.unmix`.

Results go to a folder, tile by tile. While it grows, its name ends in `.partial`: a run that was
interrupted is resumed by the same call, and loses no more than the tile in progress.
"""

__all__ = ["load_large", "unmix_large"]

import functools
import hashlib
import itertools
import json
import math
import numpy as np
import shutil
import time
import torch
import warnings

from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, replace
from numbers import Integral
from numpy.typing import ArrayLike
from pathlib import Path
from torch import Tensor
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from .application import apply
from .checks import DeadPixelsWarning, check_memory, check_options, warn_of_dead
from .distributed import compute
from .files.image import Image, Sliced
from .mapped import Mapped
from .mixing import Convention
from .progress import Progress, bars
from .record import replacing
from .result import Unmixing
from .unmixing import Settings, limit_threads, unmix

if TYPE_CHECKING:
    from distributed import Client

# The rows and cols of a window of the sample
WINDOW = 32

# So far do pixels know of each other: four convolutions, and back-projections that fade
MARGIN = 16

# The maps of a result, at LR and at HR
MAPS, MAPS_HR = ("a", "brightness", "gap", "dead"), ("a_hr", "brightness_hr")


class Box(NamedTuple):
    r"""A tile: its first row and col, and the row and col after its last."""

    top: int
    left: int
    bottom: int
    right: int

    def slices(self, scale: int = 1, top: int = 0, left: int = 0) -> tuple[slice, slice]:
        r"""Returns where it is in an array that begins at a row and col, so many times finer."""
        return (
            slice(scale * (self.top - top), scale * (self.bottom - top)),
            slice(scale * (self.left - left), scale * (self.right - left)),
        )


def unmix_large(
    image: str | Path | Image | ArrayLike | Tensor,
    endmembers: int | Literal["auto"] | ArrayLike | Tensor,
    folder: str | Path,
    *,
    scale: int = 2,
    mode: Literal["single", "self"] = "self",
    convention: Convention | Literal["auto"] = "auto",
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    settings: Settings = Settings(),
    sample: int = 2**16,
    tile: int = 256,
    client: "Client | None" = None,
    progress: Progress | None = None,
) -> Unmixing:
    r"""Unmixes an image that need not fit into memory, or returns what is there already.

    Args:
        image: The image, with shape (B, h, w): that of a file, opened by
            `smile_core.scenes.open_image`; the path of a `.npy` file; or anything that is sliced
            like an array, such as one that is mapped to a file.
        endmembers: As for `smile_core.unmix`.
        folder: The folder to write to. If it holds the result of the same call, that is returned;
            an image is the same if its sample is and, where it is mapped to a file, this was not
            written since.
        scale: The scale factor.
        mode: What the SR task learns from, `single` or `self`.
        convention: What an abundance is.
        seed: The seed of sample and fit.
        device: The device to learn on.
        threads: The number of CPU threads; that of torch if `None`.
        settings: The hyper-parameters.
        sample: The number of pixels to learn from, at most.
        tile: The rows and cols of a tile.
        client: A client of `dask.distributed`, whose workers do the tiles, on this machine or
            others that reach the same files; then the image should be mapped to one.
        progress: Called with a stage's name, the steps done and their number. If `None`, a bar is
            drawn where the standard error is a terminal.

    Returns:
        The result, see `load_large`.

    Raises:
        ValueError: If an argument does not fit.
        FileExistsError: If the folder holds anything else, finished or not.
        MemoryError: If there is too little memory.
        OSError: If there is too little room on the disk, or files cannot be read or written.
    """
    image = _open(image)
    if mode not in ("single", "self"):
        raise ValueError(f"The mode of a large image should be 'single' or 'self', got {mode!r}.")
    for name, number, least in (("tile", tile, 1), ("sample", sample, WINDOW**2)):
        if not isinstance(number, Integral) or number < least:
            raise ValueError(
                f"The {name} should be a whole number of at least {least}, got {number!r}."
            )
    check_options(mode, convention, scale, seed, threads)
    if not isinstance(settings, Settings):
        raise ValueError(f"The settings should be of class Settings, got {settings!r}.")
    if settings.attention:
        raise ValueError(
            "The setting 'attention' of a large image should be False: a tile does not know what "
            "the whole image attends to."
        )
    sent = None if client is None else _pack(image)
    folder = Path(folder)
    pixels = math.prod(image.shape[1:])
    for name, number in (("sample", sample), ("tile", (tile + 2 * MARGIN) ** 2)):
        check_memory(image.shape[0] * min(number, pixels), f"choose a smaller {name}")
    scale, seed, tile = int(scale), int(seed), int(tile)  # JSON holds no numbers of NumPy
    options = {"scale": scale, "mode": mode, "convention": convention, "seed": seed}
    start = time.perf_counter()

    with limit_threads(threads), bars() as show:
        progress = progress or show
        windows = _draw(image, sample, seed)
        partial = folder.with_name(f"{folder.name}.partial")
        arguments = _arguments(windows, endmembers, image.shape, tile, settings, options)
        arguments["written"] = _written(image)
        if folder.exists():
            _compare(folder, arguments)
            return load_large(folder)
        before = _begin(partial, arguments)

        def seconds() -> float:
            return round(before + time.perf_counter() - start, 3)

        if not (partial / "learned.npz").exists():
            with warnings.catch_warnings():  # of dead pixels; they are counted at the end
                warnings.simplefilter("ignore", DeadPixelsWarning)
                options |= {"device": device, "settings": settings, "progress": progress}
                try:
                    learned = unmix(windows, endmembers, **options)
                except ValueError:  # the next call may be another one
                    shutil.rmtree(partial, ignore_errors=True)
                    raise
                learned.save(partial / "learned.npz")
        learned = Unmixing.load(partial / "learned.npz")
        del windows

        maps, done = _open_maps(partial, learned, image.shape[1:], tile)
        boxes = [box for box in _divide(image.shape[1:], tile) if not done[_place(box, tile)]]
        tasks = {box: (learned, image, box) for box in boxes}
        work = _solve
        if client is not None:
            path = (partial / "learned.npz").resolve()
            known = str(path), path.stat().st_mtime_ns
            tasks = {box: (*known, sent, box) for box in boxes}
            work = _solve_remotely

        with closing(compute(work, tasks, client)) as solved:
            for box, values in solved:
                _write(maps, box, scale, values)
                done[_place(box, tile)] = True
                done.flush()
                _save_json(partial / "run.json", {**arguments, "seconds": seconds()})
                if progress is not None:
                    progress("tiles", int(done.sum()), done.size)

    dead = int(maps["dead"].sum())
    del maps, done
    _save_json(partial / "run.json", {**arguments, "seconds": seconds()})
    partial.rename(folder)
    warn_of_dead(dead, pixels)

    return load_large(folder)


def load_large(folder: str | Path) -> Unmixing:
    r"""Opens what `unmix_large` has written. Maps stay on disk until they are looked at.

    Args:
        folder: The folder.

    Returns:
        The result, whose tensors of pixels are mapped to files: writing to them does not change
        these. History and network are those of the sample.

    Raises:
        FileNotFoundError: If there is no such result.
        ValueError: If a file is damaged.
    """
    folder = Path(folder)
    seconds = json.loads((folder / "run.json").read_text("utf-8"))["seconds"]
    maps = {
        name: torch.from_numpy(np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False))
        for name in MAPS + MAPS_HR
    }

    return replace(Unmixing.load(folder / "learned.npz"), **maps, seconds={"total": seconds})


def _open(image: str | Path | Image | ArrayLike | Tensor) -> Any:
    if isinstance(image, str | Path):
        try:
            image = np.load(image, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            raise ValueError(f"The image '{image}' should be a .npy file: {error}") from error
    if isinstance(image, Image):
        image = Sliced(image)
    elif isinstance(image, Tensor):
        image = image.detach().cpu().numpy()
    image = image if hasattr(image, "shape") else np.asarray(image)
    if len(image.shape) != 3 or not math.prod(image.shape):
        raise ValueError(
            f"The image should have shape (bands, rows, cols), got {tuple(image.shape)}."
        )

    return image


def _written(image: Any) -> list[int]:
    # The size and time of the file of an image, if it has one: a sample does not show all changes
    try:
        path = Mapped(image.image.pixels if isinstance(image, Sliced) else image).path
    except (AttributeError, ValueError):
        return []
    stat = Path(path).stat()

    return [stat.st_size, stat.st_mtime_ns]


def _pack(image: Any) -> Any:
    # For workers, without its numbers
    if isinstance(image, Sliced):
        pixels = Mapped(image.image.pixels)
        return replace(image, image=replace(image.image, pixels=pixels))

    return Mapped(image)


def _read(image: Any, box: Box) -> Tensor:
    return torch.from_numpy(np.array(image[:, *box.slices()], dtype=np.float32))


def _draw(image: Any, sample: int, seed: int) -> Tensor:
    # One window of each part of a grid, side by side as in the image
    _, h, w = image.shape
    if h * w <= sample:
        return _read(image, Box(0, 0, h, w))

    height, width = min(WINDOW, h), min(WINDOW, w)
    number = sample // (height * width)
    rows = min(max(round((number * h / w) ** 0.5), 1), h // height, number)
    cols = min(number // rows, w // width)
    tops, lefts = (np.linspace(0, n, parts + 1).astype(int) for n, parts in ((h, rows), (w, cols)))

    generator = np.random.default_rng(seed)
    windows = []
    for top, bottom in itertools.pairwise(tops):
        row = []
        for left, right in itertools.pairwise(lefts):
            i = generator.integers(top, bottom - height, endpoint=True)
            j = generator.integers(left, right - width, endpoint=True)
            row.append(_read(image, Box(i, j, i + height, j + width)))
        windows.append(torch.cat(row, dim=2))

    return torch.cat(windows, dim=1)


def _solve(learned: Unmixing, image: Any, box: Box) -> dict[str, np.ndarray]:
    _, h, w = image.shape
    wide = Box(
        max(box.top - MARGIN, 0),
        max(box.left - MARGIN, 0),
        min(box.bottom + MARGIN, h),
        min(box.right + MARGIN, w),
    )
    try:
        result = apply(learned, _read(image, wide), tile=True)
    except ValueError as error:
        raise ValueError(f"In the tile of rows and cols {tuple(wide)}: {error}") from error

    return {
        name: getattr(result, name)[..., *box.slices(scale, wide.top, wide.left)].numpy()
        for name, scale in _scales(learned.scale).items()
    }


def _solve_remotely(learned: str, written: int, image: Any, box: Box) -> dict[str, np.ndarray]:
    return _solve(_load(learned, written), image, box)


@functools.lru_cache(maxsize=1)
def _load(learned: str, written: int) -> Unmixing:
    # By the time as well: workers outlive a run, and the next one may take the same folder
    return Unmixing.load(learned)


def _scales(scale: int) -> dict[str, int]:
    return dict.fromkeys(MAPS, 1) | dict.fromkeys(MAPS_HR, scale)


def _divide(shape: tuple[int, int], tile: int) -> Iterator[Box]:
    h, w = shape
    for top in range(0, h, tile):
        for left in range(0, w, tile):
            yield Box(top, left, min(top + tile, h), min(left + tile, w))


def _place(box: Box, tile: int) -> tuple[int, int]:
    return box.top // tile, box.left // tile


def _write(
    maps: dict[str, np.memmap], box: Box, scale: int, values: dict[str, np.ndarray]
) -> None:
    for name, factor in _scales(scale).items():
        maps[name][..., *box.slices(factor)] = values[name]
        maps[name].flush()


def _open_maps(
    folder: Path, learned: Unmixing, shape: tuple[int, int], tile: int
) -> tuple[dict[str, np.memmap], np.memmap]:
    h, w = shape
    shapes = {}
    for name, scale in _scales(learned.scale).items():
        of_sample = getattr(learned, name).numpy()
        shapes[name] = of_sample.dtype, (*of_sample.shape[:-2], scale * h, scale * w)
    shapes["tiles"] = (np.dtype(bool), (-(-h // tile), -(-w // tile)))

    missing = {name for name in shapes if not (folder / f"{name}.npy").exists()}
    needed = sum(shapes[name][0].itemsize * math.prod(shapes[name][1]) for name in missing)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"The result needs {needed / 1e9:.1f} GB of disk in '{folder.parent}', where "
            f"{free / 1e9:.1f} GB are free: choose another folder, or a smaller scale than "
            f"{learned.scale}."
        )

    maps = {}
    for name, (dtype, size) in shapes.items():
        path = folder / f"{name}.npy"
        if name in missing:
            with replacing(path) as new:
                np.lib.format.open_memmap(new, mode="w+", dtype=dtype, shape=size).flush()
        maps[name] = np.load(path, mmap_mode="r+", allow_pickle=False)
    done = maps.pop("tiles")

    return maps, done


def _begin(partial: Path, arguments: dict[str, Any]) -> float:
    # The seconds of the run that is resumed, if there is one
    if (partial / "run.json").exists():
        return float(_compare(partial, arguments).get("seconds", 0))

    partial.mkdir(parents=True, exist_ok=True)
    _save_json(partial / "run.json", arguments)

    return 0.0


def _compare(folder: Path, arguments: dict[str, Any]) -> dict[str, Any]:
    try:
        before = json.loads((folder / "run.json").read_text("utf-8"))
    except (OSError, ValueError):
        before = {}
    if {name: before.get(name) for name in arguments} != arguments:
        raise FileExistsError(
            f"The folder '{folder}' holds something else than what comes of this image with these "
            "arguments: delete it, or choose another folder."
        )

    return before


def _arguments(
    windows: Tensor,
    endmembers: Any,
    shape: tuple[int, ...],
    tile: int,
    settings: Settings,
    options: dict[str, Any],
) -> dict[str, Any]:
    # What a result depends on, and the image by its sample
    digest = hashlib.sha256(windows.numpy().tobytes())
    if isinstance(endmembers, Tensor):
        endmembers = endmembers.detach().cpu().numpy()
    if isinstance(endmembers, Integral):
        endmembers = int(endmembers)
    if not isinstance(endmembers, int | str):
        digest.update(np.ascontiguousarray(endmembers, dtype=np.float32).tobytes())
        endmembers = "given"
    values = {
        "endmembers": endmembers,
        "shape": [int(n) for n in shape],
        "tile": tile,
        "settings": asdict(settings),
        "digest": digest.hexdigest(),
    }

    return values | options


def _save_json(path: Path, values: dict[str, Any]) -> None:
    with replacing(path) as new:
        new.write_text(json.dumps(values, indent=1) + "\n", "utf-8")
