r"""Scenes: images to unmix, by their names.

Each is an image with what is known of its endmembers and abundances, a `Scene`. The files of real
scenes come through `smile_core.data`; the synthetic scene is made by `smile_core.synthetic`.
"""

__all__ = [
    "HOW_TO_GET",
    "SCENES",
    "SIZES",
    "DataUnavailableError",
    "Scene",
    "available",
    "fingerprint",
    "load",
    "open_image",
    "synthetic",
]

import io
import numpy as np
import scipy.io

from importlib.metadata import version
from typing import Any

from .data import FILES, HOW_TO_GET, DataUnavailableError, download, downloadable, find, read
from .files.images import open_image
from .scene import Scene, float32
from .synthetic import add_noise, synthetic

#: The files of each scene.
SCENES = {
    "samson": ("samson.mat",),
    "jasper": ("jasper.mat",),
    "dc1": ("dc1_Yclean.mat", "dc1_abundance240.mat", "library_usgs1995.mat"),
    "cuprite": ("cuprite_crop50x90x188.mat", "cuprite_gt_end12.mat"),
    "synthetic": (),
}

#: The bands, rows, cols and endmembers of each scene.
SIZES = {
    "samson": (156, 95, 95, 3),
    "jasper": (198, 100, 100, 4),
    "dc1": (224, 75, 75, 5),
    "cuprite": (188, 50, 90, 12),
    "synthetic": (180, 64, 64, 4),
}

# Rows 1 to 5 of the abundances of DC1: each spectrum of its own library equals, to the last bit,
# the one of this name in the library of the USGS, sorted by wavelength
DC1 = (
    "Jarosite GDS101 Na,Sy 200",
    "Anorthite HS349.3B",
    "Calcite WS272",
    "Alunite GDS83 Na63",
    "Howlite GDS155",
)


def load(name: str) -> Scene:
    r"""Loads a scene by its name.

    Args:
        name: One of `SCENES`; "synthetic" is `synthetic` with its defaults.

    Raises:
        ValueError: If the name is unknown, or the checksum of a file is not the expected one.
        DataUnavailableError: If a file is found nowhere and cannot be downloaded.
    """
    contents = [read(find(file) or download(file)) for file in _files(name)]
    files = [scipy.io.loadmat(io.BytesIO(content)) for content in contents]

    if name == "samson":
        return _samson(*files)
    elif name == "jasper":
        return _jasper(*files)
    elif name == "dc1":
        return _dc1(*files)
    elif name == "cuprite":
        return _cuprite(*files)
    else:
        return synthetic()


def available(name: str) -> bool:
    r"""Returns whether the data of a scene are at hand, or could be downloaded.

    A corrupted file counts as available, so that `load` gets to say what is wrong. Where there is
    none, a download is tried, once in the life of the process.
    """
    return all(find(file) is not None or downloadable(file) for file in _files(name))


def fingerprint(name: str) -> str:
    r"""Returns the SHA-256 of the files of a scene, be they there or not, joined by "+".

    For the synthetic scene, it is the version of the generator and that of its spectra.
    """
    if name == "synthetic":
        return f"synthetic-1-earthlib-{version('earthlib')}"

    return "+".join(FILES[file][1] for file in _files(name))


def _files(name: str) -> tuple[str, ...]:
    if name not in SCENES:
        raise ValueError(f"Unknown scene '{name}', expected one of {', '.join(SCENES)}.")

    return SCENES[name]


def _samson(data: dict[str, Any]) -> Scene:
    return Scene(
        name="samson",
        **_columns(data),
        materials=("soil", "tree", "water"),
        wavelengths=float32(np.linspace(400.938721, 899.074585, 156)),
        source=(
            "Real: Samson, 95 x 95 pixels with 3 endmembers, the copy in hu_autoencoders, divided "
            "by its maximum, negative values set to zero; the reference is computed from the "
            "image, not measured in the field, and its endmembers are each scaled to maximum 1."
        ),
    )


def _jasper(data: dict[str, Any]) -> Scene:
    return Scene(
        name="jasper",
        **_columns(data),
        materials=("tree", "water", "soil", "road"),
        # Channels 1-3, 108-112, 154-166 and 220-224 of AVIRIS were removed
        wavelengths=float32(np.linspace(380, 2500, 224)[np.r_[3:107, 112:153, 166:219]]),
        source=(
            "Real: Jasper Ridge (AVIRIS), 100 x 100 pixels with 4 endmembers, the copy in "
            "Hyperspectral-Unmixing-Models, divided by its maximum; the reference is computed "
            "from the image, not measured in the field; wavelengths are nominal, an even grid."
        ),
    )


def _columns(data: dict[str, Any]) -> dict[str, Any]:
    # Image and reference of files whose pixels are column-major
    H, W = data["lines"].item(), data["cols"].item()
    y = data["Y"].reshape(-1, W, H).swapaxes(1, 2)

    return {
        "image": float32(y / y.max()),
        "M": float32(data["GT"].T),
        "a": float32(np.moveaxis(data["S_GT"], -1, 0)),
    }


def _dc1(clean: dict[str, Any], abundances: dict[str, Any], library: dict[str, Any]) -> Scene:
    # Columns of the library are wavelength, resolution, channel, spectra; rows are not sorted
    spectra = library["datalib"][library["datalib"][:, 0].argsort()]
    names = [bytes(row).decode().strip() for row in library["names"]]

    # The background sums to 0.9999, which is a matter of brightness
    a = abundances["XT"][1:6]
    rho = a.sum(axis=0)
    rng = np.random.default_rng(0)

    return Scene(
        name="dc1",
        image=float32(add_noise(np.moveaxis(clean["Y_clean"], -1, 0), 30.0, rng)),
        M=float32(spectra[:, [names.index(name) for name in DC1]]),
        a=float32(a / rho),
        materials=tuple(name.split()[0].lower() for name in DC1),
        wavelengths=float32(1e3 * spectra[:, 0]),
        source=(
            "Synthetic: DC1, 75 x 75 pixels, linear mixtures of 5 spectra of the USGS library "
            "(1995), the copy in SUnCNN; white noise at 30 dB is ours; the reference is the truth."
        ),
        brightness=float32(rho),
    )


def _cuprite(crop: dict[str, Any], reference: dict[str, Any]) -> Scene:
    # Band choices are counted from 1. Channel k of the image has the wavelength of channel k - 3
    # of the reference, of which the first band chosen lacks one
    channels = reference["slctBnds"].ravel().astype(int) - 1 - 3
    nm = 1e3 * reference["waveLength"].ravel()
    nm = np.where(channels < 0, 2 * nm[0] - nm[1], nm[channels])

    # The spectrometers of the sensor overlap
    order = nm.argsort()

    return Scene(
        name="cuprite",
        image=float32(np.moveaxis(crop["Rcuprite50x90x188"], -1, 0)[order] / 1e4),
        M=float32(reference["M"][channels.clip(min=0)][order]),
        a=None,
        # Such as "#5 Kaolinite_1"
        materials=tuple(
            cell.item().split()[1].replace("_", " ").lower() for cell in reference["cood"].flat
        ),
        wavelengths=float32(nm[order]),
        source=(
            "Real: Cuprite (AVIRIS), a crop of 50 x 90 pixels, the copy in NMF-QMV_demo; the "
            "reference is 12 spectra of minerals said to be in the scene around it, the copy in "
            "NEBEAE, without abundances: not all of them need be in the crop."
        ),
    )
