r"""Library: spectra of known materials, and the names that they suggest for endmembers.

An endmember is compared with a spectrum by their angle, which the brightness does not change,

.. math:: \theta = \arccos \frac{\langle m, z \rangle}{\|m\| \|z\|},

on the bands that both have: the spectrum is interpolated there, though not across its gaps.
A small angle is no proof: endmembers are of the image, with its light and its mixtures.
"""

__all__ = ["Library", "name_endmembers", "read_library"]

import numpy as np
import pandas as pd
import re
import torch

from dataclasses import dataclass
from numpy.typing import ArrayLike
from pathlib import Path
from torch import Tensor

from ..data import download, find
from ..metrics import angle
from .envi import find_pair, read_spectra
from .layouts import in_nanometres
from .matlab import read_arrays

# Wavelengths in nanometres that are the same but for rounding
TOUCH = 0.01

# A gap is wider than so many times the median distance of bands
GAP = 3.0

# A spectrum is compared if it covers this part of the bands that any does
COVERAGE = 0.8

# Below, the spectral library of the United States Geological Survey has no value
DELETED = -1e30


@dataclass(frozen=True, eq=False)
class Library:
    r"""Spectra of known materials.

    Args:
        spectra: The spectra, NaN where missing, with shape (bands, number).
        wavelengths: The band centres in nanometres, increasing, with shape (bands,).
        names: The name of each spectrum.

    Raises:
        ValueError: If shapes disagree, or wavelengths are not positive and finite.
    """

    spectra: np.ndarray
    wavelengths: np.ndarray
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        shape = (len(self.wavelengths), len(self.names))
        if self.spectra.shape != shape or not min(shape):
            raise ValueError(
                f"The spectra should have shape {shape}, for as many wavelengths and names, got "
                f"{self.spectra.shape}."
            )
        if not (np.isfinite(self.wavelengths) & (self.wavelengths > 0)).all():
            raise ValueError("The wavelengths should be positive and finite.")

    def __repr__(self) -> str:
        low, high = self.wavelengths[[0, -1]]
        return f"Library({len(self.names)} spectra from {low:.0f} to {high:.0f} nm)"


def read_library(path: str | Path) -> Library:
    r"""Reads a spectral library.

    Args:
        path: The path of a library of ENVI (`.sli`, or its header); of a table (`.csv`) whose
            first column has the wavelengths, in nanometres or micrometres, and each other one a
            spectrum, with its name on top; or of the library of the United States Geological
            Survey as a file of MATLAB, `library_usgs1995.mat` (see data/README.md). Or "usgs" for
            that one, found or downloaded, mostly minerals; or "earthlib" for the one that comes
            with the package of this name, of soils, built surfaces and plants.

    Returns:
        The library, sorted by wavelength.

    Raises:
        ValueError: If the file is missing, of another format, or broken; the message names it.
        DataUnavailableError: If that of the survey is found nowhere and cannot be downloaded.
    """
    if path == "earthlib":
        return _read_earthlib()
    if path == "usgs":
        path = find("library_usgs1995.mat") or download("library_usgs1995.mat")

    path = Path(path).expanduser()
    try:
        if not path.is_file():
            raise ValueError("There is no such file.")
        if path.suffix.lower() == ".csv":
            spectra, wavelengths, names = _read_table(path)
        elif path.suffix.lower() == ".mat":
            spectra, wavelengths, names = _read_usgs(path)
        elif path.suffix.lower() in (".sli", ".hdr"):
            spectra, wavelengths, names = read_spectra(*find_pair(path))
        else:
            raise ValueError("A library should be a file .sli, .hdr, .csv or .mat.")

        order = np.argsort(wavelengths, kind="stable")
        spectra = spectra[order].astype(np.float64)
        spectra[spectra < DELETED] = np.nan
        return Library(spectra, wavelengths[order], tuple(names))
    except Exception as error:  # of broken files, each library raises its own
        raise ValueError(f"The file '{path}' could not be read as spectra. {error}") from error


def name_endmembers(
    M: Tensor, wavelengths: ArrayLike | Tensor, library: Library, n: int = 3
) -> pd.DataFrame:
    r"""Finds the spectra of a library that are nearest to each endmember.

    Args:
        M: The endmembers, with shape (B, R).
        wavelengths: Their band centres in nanometres, with shape (B,), in any order.
        library: The library.
        n: The number of spectra for each endmember.

    Returns:
        A table with columns `endmember`, counted from 1, `rank`, `name`, `angle` in radians, and
        `bands`, the number of bands that were compared.

    Raises:
        ValueError: If shapes disagree, or fewer than two bands are shared.
    """
    nm = np.asarray(wavelengths, dtype=np.float64)
    if M.ndim != 2 or nm.shape != M.shape[:1]:
        raise ValueError(
            f"There should be one wavelength for each band of M, got {nm.shape} for "
            f"{tuple(M.shape)}."
        )
    if not (M.isfinite().all() and np.isfinite(nm).all()):
        raise ValueError("M and the wavelengths should be finite.")
    if n < 1:
        raise ValueError(f"The number n of spectra should be positive, got {n!r}.")

    spectra = np.stack([_resample(nm, library.wavelengths, z) for z in library.spectra.T], axis=1)
    shared = np.isfinite(spectra)
    counts = shared.sum(axis=0)
    candidates = np.flatnonzero(counts >= max(COVERAGE * counts.max(), 2))
    if not len(candidates):
        raise ValueError(
            f"Endmembers from {nm.min():.0f} to {nm.max():.0f} nm share fewer than two bands with "
            f"{library}."
        )

    # Spectra with the same bands at once
    angles = np.empty((M.shape[1], len(candidates)))
    masks, group = np.unique(shared[:, candidates], axis=1, return_inverse=True)
    for k, both in enumerate(masks.T):
        same = group.ravel() == k
        z = torch.from_numpy(spectra[np.ix_(both, candidates[same])])
        angles[:, same] = angle(M[both][:, :, None], z[:, None]).numpy()

    rows = [
        {
            "endmember": r + 1,
            "rank": rank + 1,
            "name": library.names[candidates[j]],
            "angle": float(angles[r, j]),
            "bands": int(counts[candidates[j]]),
        }
        for r in range(M.shape[1])
        for rank, j in enumerate(np.argsort(angles[r], kind="stable")[:n])
    ]

    return pd.DataFrame(rows)


def _resample(nm: np.ndarray, wavelengths: np.ndarray, spectrum: np.ndarray) -> np.ndarray:
    there = np.isfinite(spectrum)
    x, z = wavelengths[there], spectrum[there]
    if len(x) < 2:
        return np.full(len(nm), np.nan)

    # The bands of the library around each wavelength
    right = np.searchsorted(x, nm).clip(1, len(x) - 1)
    near = x[right] - x[right - 1] <= GAP * np.median(np.diff(wavelengths))
    near |= np.isin(nm, x)

    inside = (nm >= x[0] - TOUCH) & (nm <= x[-1] + TOUCH)

    return np.where(near & inside, np.interp(nm, x, z), np.nan)


def _read_table(path: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    table = pd.read_csv(path)
    if table.shape[1] < 2:
        raise ValueError(f"A table should have two columns or more, got {table.shape[1]}.")
    numbers = table.to_numpy(dtype=np.float64)
    unit = re.search(r"nm|nanomet|um|[µμ]m|micro", str(table.columns[0]).lower())

    nm = in_nanometres(numbers[:, 0], unit.group() if unit else "")
    return numbers[:, 1:], nm, [str(name) for name in table.columns[1:]]


def _read_usgs(path: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    content = read_arrays(path)
    if {"datalib", "names"} - set(content) or content["datalib"].ndim != 2:
        raise ValueError("It should hold the variables 'datalib' and 'names'.")

    # Columns are wavelength in micrometres, resolution, channel, spectra
    table = content["datalib"].astype(np.float64)
    names = [bytes(row).decode("latin-1").strip() for row in content["names"].astype(np.uint8)]
    return table[:, 3:], 1e3 * table[:, 0], names[3:]


def _read_earthlib() -> Library:
    import earthlib  # slow

    library = earthlib.full_library
    columns = library.metadata[["LEVEL_3", "NAME", "LEVEL_4"]].to_numpy(str)
    names = [
        f"{material.replace('_', ' ')} {name}" + f" ({kind})" * (kind != "measured")
        for material, name, kind in columns
    ]
    wavelengths = np.round(1e3 * library.sensor.band_centers.astype(np.float64))

    return Library(library.data.T.astype(np.float64), wavelengths, tuple(names))
