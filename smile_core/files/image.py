r"""Image: the pixels of a file, what is known of its bands, and what of it can be unmixed.

Numbers :math:`n` of a file become reflectance, or whatever the file holds, band by band,

.. math:: x_b = g_b n_b + o_b .

Bands in which the air lets no light through hold noise. Those that the file marks as bad are left
out, and those near 1400 and 1900 nm, where water vapour absorbs, and beyond 2450 nm.

References:
    | The first two windows are those that the National Ecological Observatory Network writes into
      its files of reflectance, as `Band_Window_1_Nanometers` and `Band_Window_2_Nanometers`
    | https://data.neonscience.org/data-products/DP3.30006.001
    | The third is the last domain that the R package biodivMapR excludes
    | https://rdrr.io/github/jbferet/biodivMapR/src/R/exclude_spectral_domains.R
"""

__all__ = ["WATER_VAPOUR", "Image", "Place", "Prepared", "Sliced", "prepare"]

import math
import numpy as np
import torch

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from torch import Tensor

from ..scene import Scene, find_corner, float32

#: Windows in nanometres whose bands are left out.
WATER_VAPOUR = ((1340.0, 1445.0), (1790.0, 1955.0), (2450.0, math.inf))

# So many numbers of a file are converted at once
BLOCK = 2**24


@dataclass(frozen=True)
class Place:
    r"""Where the pixels of an image lie on the map.

    Args:
        transform: From pixels to coordinates of the map, :math:`(a, b, c, d, e, f)` of
            :math:`x = a \, \text{col} + b \, \text{row} + c` and
            :math:`y = d \, \text{col} + e \, \text{row} + f`. The upper-left corner of the image
            is at column and row zero.
        crs: The coordinate reference system, an authority's code such as "EPSG:32610", or well
            known text; empty if unknown.
        envi: The `map info` of an ENVI header, if the image has one.
    """

    transform: tuple[float, float, float, float, float, float]
    crs: str = ""
    envi: tuple[str, ...] = ()

    def finer(self, scale: int) -> "Place":
        r"""Returns the place of pixels that are `scale` times smaller, with the same corner."""
        a, b, c, d, e, f = self.transform
        return replace(self, transform=(a / scale, b / scale, c, d / scale, e / scale, f))

    def crop(self, row: int, col: int) -> "Place":
        r"""Returns the place of an image whose first pixel is that at this row and column."""
        a, b, c, d, e, f = self.transform
        c, f = c + a * col + b * row, f + d * col + e * row
        return replace(self, transform=(a, b, c, d, e, f))


@dataclass(frozen=True, eq=False)
class Image:
    r"""An image as its file has it. The pixels may be mapped from the file: nothing is read yet.

    Args:
        pixels: The numbers of the file, with shape (bands, rows, cols).
        path: The path of the file.
        wavelengths: The band centres in nanometres, with shape (bands,), if known.
        good: False for bands that the file marks as bad, with shape (bands,); all good if `None`.
        gains: The factor of each band, with shape (bands,); ones if `None`.
        offsets: What is added after, with shape (bands,); zeros if `None`.
        no_data: The number that stands for no data, if any.
        names: The names of the bands, if any.
        place: Where the image lies on the map, if known.

    Raises:
        ValueError: If shapes disagree, or numbers are not what they should be.
    """

    pixels: np.ndarray
    path: Path
    wavelengths: np.ndarray | None = None
    good: np.ndarray | None = None
    gains: np.ndarray | None = None
    offsets: np.ndarray | None = None
    no_data: float | None = None
    names: tuple[str, ...] = ()
    place: Place | None = None

    def __post_init__(self) -> None:
        x = self.pixels
        if x.ndim != 3 or not x.size or x.dtype.kind not in "iuf":
            raise ValueError(
                "The pixels should be real numbers with shape (bands, rows, cols), got "
                f"{x.dtype} with shape {x.shape}."
            )

        B = len(x)
        defaults = {"good": np.ones(B, bool), "gains": np.ones(B), "offsets": np.zeros(B)}
        for key in ("wavelengths", *defaults):
            value = getattr(self, key)
            if value is None and key == "wavelengths":
                continue
            value = defaults[key] if value is None else np.asarray(value)
            value = value.astype(bool if key == "good" else np.float64)
            if value.shape != (B,) or not np.isfinite(value).all():
                raise ValueError(
                    f"The {key} should be {B} finite numbers, one for each band, got shape "
                    f"{value.shape} with {int((~np.isfinite(value)).sum())} that are not finite."
                )
            object.__setattr__(self, key, value)

        if self.wavelengths is not None and (self.wavelengths[self.good] <= 0).any():
            raise ValueError(
                f"The wavelengths should be positive, got {self.wavelengths[self.good].min()}."
            )
        if not self.gains.all():
            raise ValueError("The scale factor should not be zero, got a gain of zero.")
        if self.names and len(self.names) != B:
            raise ValueError(f"There should be {B} names of bands, got {len(self.names)}.")

    def __repr__(self) -> str:
        B, H, W = self.pixels.shape
        bands = f"{B} bands"
        if self.wavelengths is not None and self.good.any():
            nm = self.wavelengths[self.good]
            bands += f" from {nm.min():.0f} to {nm.max():.0f} nm"
        place = "no place on the map" if self.place is None else self.place.crs[:40] or "a map"
        return f"Image({self.path.name}: {bands}, {H} x {W} pixels, {self.pixels.dtype}, {place})"

    def crop(self, rows: int, cols: int, at: tuple[int, int] | None = None) -> "Image":
        r"""Returns the part of the image in a rectangle, and where it lies.

        Args:
            rows: The number of rows.
            cols: The number of columns.
            at: The first row and the first column. If `None`, the rectangle is in the centre.

        Raises:
            ValueError: If the rectangle is empty or leaves the image.
        """
        r, c = find_corner(self.pixels.shape[1:], rows, cols, at)
        place = None if self.place is None else self.place.crop(r, c)
        return replace(self, pixels=self.pixels[:, r : r + rows, c : c + cols], place=place)


@dataclass(frozen=True, eq=False)
class Prepared:
    r"""What of an image can be unmixed.

    Args:
        cube: The image, scaled, in float32, with shape (B, rows, cols). Bands are sorted by
            wavelength. Pixels without data are zero, which `smile_core.unmix` leaves out.
        bands: The index in the file of each band, with shape (B,).
        wavelengths: The band centres in nanometres, with shape (B,), if known.
        message: Which bands were left out and why, and how many pixels have no data.
    """

    cube: Tensor
    bands: np.ndarray
    wavelengths: Tensor | None
    message: str

    @property
    def rgb(self) -> Tensor:
        r"""The image in natural colours where its bands see them, false ones elsewhere.

        In [0, 1], with shape (rows, cols, 3).
        """
        nm = self.wavelengths
        if nm is None or nm[0] > 500 or nm[-1] < 620:
            nm = torch.linspace(400.0, 700.0, len(self.cube))

        return Scene("", self.cube, None, None, (), nm, "").rgb


def prepare(image: Image, *, windows: Sequence[tuple[float, float]] = WATER_VAPOUR) -> Prepared:
    r"""Reads the bands of an image that are worth it, scaled and sorted by wavelength.

    Left out are bands that the file marks as bad, those in the `windows`, and those without any
    number but zero. A pixel has no data where one of its numbers is missing: not finite, or the
    one that stands for that. Zero is also what a dark pixel has in single bands: where it stands
    for no data, it must do so in all bands.

    Args:
        image: The image.
        windows: Lower and upper bounds in nanometres of the bands to leave out. They are of no
            use where the wavelengths are unknown.

    Raises:
        ValueError: If nothing is left.
    """
    nm = image.wavelengths
    bands, reasons = _choose(image, windows)
    cube, lit, missing = _read(image, bands)
    reasons["without any number but zero"] = int((~lit).sum())
    message = _describe(len(image.pixels), int(lit.sum()), reasons, nm is not None)
    if not lit.any():
        raise ValueError(f"Nothing of '{image.path}' can be unmixed. {message}")

    if not lit.all():
        cube, bands, missing = cube[lit], bands[lit], missing[lit]
    missing = missing.any(axis=0)
    cube[:, missing] = 0
    if missing.any():
        message += f" {int(missing.sum())} of {missing.size} pixels have no data."

    return Prepared(
        cube=torch.from_numpy(cube),
        bands=bands,
        wavelengths=None if nm is None else float32(nm[bands]),
        message=message,
    )


@dataclass(frozen=True, eq=False)
class Sliced:
    r"""The bands of an image that are worth it, each part read when it is asked for.

    As `prepare` reads them, but bands without any number but zero are among them: that is known
    only of the whole image.

    Args:
        image: The image.
        windows: Lower and upper bounds in nanometres of the bands to leave out.

    Raises:
        ValueError: If no band is left.
    """

    image: Image
    windows: Sequence[tuple[float, float]] = WATER_VAPOUR

    def __post_init__(self) -> None:
        if not len(self.bands):
            raise ValueError(f"No band of '{self.image.path}' can be unmixed.")

    @cached_property
    def bands(self) -> np.ndarray:
        r"""The index in the file of each band, with shape (B,)."""
        return _choose(self.image, self.windows)[0]

    @property
    def shape(self) -> tuple[int, int, int]:
        r"""The numbers of bands, rows and columns."""
        return (len(self.bands), *self.image.pixels.shape[1:])

    def __getitem__(self, key: tuple[slice, slice, slice]) -> np.ndarray:
        r"""Reads a part, all bands of a range of rows and one of columns."""
        _, rows, cols = key
        (top, bottom, _), (left, right, _) = (
            part.indices(n) for part, n in zip((rows, cols), self.shape[1:], strict=True)
        )
        part = self.image.crop(bottom - top, right - left, at=(top, left))
        cube, _, missing = _read(part, self.bands)
        cube[:, missing.any(axis=0)] = 0

        return cube


def _choose(
    image: Image, windows: Sequence[tuple[float, float]]
) -> tuple[np.ndarray, dict[str, int]]:
    # The bands to read, and how many were left out for what reason
    left = image.good.copy()
    reasons = {"marked as bad in the file": int((~left).sum())}
    nm = image.wavelengths
    if nm is None:
        return np.flatnonzero(left), reasons

    for low, high in windows:
        outside = (nm < low) | (nm > high)
        where = f"beyond {low:.0f} nm" if high == math.inf else f"{low:.0f} to {high:.0f} nm"
        reasons[f"in water vapour ({where})"] = int((left & ~outside).sum())
        left &= outside
    bands = np.flatnonzero(left)
    bands = bands[np.unique(nm[bands], return_index=True)[1]]  # sorted, each once
    reasons["with the wavelength of another"] = int(left.sum()) - len(bands)

    return bands, reasons


def _read(image: Image, bands: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # Numbers as reflectance, bands with a number other than zero, and what is missing
    _, H, W = image.pixels.shape
    dtype, limit = image.pixels.dtype, np.finfo(np.float32).max
    none = image.no_data
    if none is not None and dtype.kind == "f":
        with np.errstate(over="ignore"):  # a number that the file cannot hold is in no pixel
            none = float(dtype.type(none))

    cube = np.empty((len(bands), H, W), np.float32)
    missing = np.empty(cube.shape, bool)
    lit = np.zeros(len(bands), bool)
    rows = max(BLOCK // max(len(bands) * W, 1), 1)
    for start in range(0, H, rows):
        part = np.s_[:, start : start + rows]
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows, or is NaN, is missing
            n = image.pixels[bands, start : start + rows].astype(np.float64)
            x = image.gains[bands, None, None] * n + image.offsets[bands, None, None]
        lost = ~(np.abs(x) <= limit)
        if none is not None:
            lost |= (n == 0).all(axis=0) if none == 0 else n == none
        cube[part], missing[part] = np.where(lost, 0, x), lost
        lit |= (~lost & (n != 0)).any(axis=(1, 2))

    return cube, lit, missing


def _describe(total: int, used: int, reasons: dict[str, int], known: bool) -> str:
    out = ", ".join(f"{count} {reason}" for reason, count in reasons.items() if count)
    message = f"{used} of {total} bands are used"
    message += f"; left out: {out}." if out else "."

    return message if known else message + " Wavelengths are unknown, and so is water vapour."
