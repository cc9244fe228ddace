r"""Scenes: images to unmix, with the reference to compare with.

A scene is a high-resolution image, its reference endmembers and its reference abundances,

.. math:: x_i = \rho_i \sum_{k = 1}^R a_{ki} m_k + e_i, \qquad a_i \in \Delta^{R - 1}

with :math:`\rho_i` the brightness of pixel :math:`i` and :math:`e_i` its noise. In a synthetic
scene all of them are known. The reference of a real scene is computed from the image, by its
authors: it is not a field measurement, and the model holds only roughly. Its file comes through
`smile_core.data`.
"""

__all__ = [
    "HOW_TO_GET",
    "SCENES",
    "DataUnavailableError",
    "Scene",
    "available",
    "fingerprint",
    "load",
    "synthetic",
]

import functools
import io
import numpy as np
import scipy.io
import torch

from dataclasses import dataclass, replace
from importlib.metadata import version
from numpy.random import Generator
from scipy.special import ndtr, softmax
from torch import Tensor
from typing import Literal

from .data import FILES, HOW_TO_GET, DataUnavailableError, download, downloadable, find, read

SCENES = ("samson", "jasper", "synthetic")


@dataclass(frozen=True, eq=False)
class Scene:
    r"""An image and its reference.

    Args:
        name: The name of the scene.
        image: The image :math:`X`, reflectance in about [0, 1], with shape :math:`(B, H, W)`,
            in float32.
        M: The reference endmembers :math:`M`, with shape :math:`(B, R)`, if any.
        a: The reference abundances :math:`A`, with shape :math:`(R, H, W)`, if any.
        materials: The names of the :math:`R` endmembers.
        wavelengths: The band centres in nanometres, with shape :math:`(B,)`.
        source: One sentence: real or synthetic, where from, what the reference is.
        brightness: The true :math:`\rho`, with shape :math:`(H, W)`, if known.

    Raises:
        ValueError: If shapes disagree, or values are not finite.
    """

    name: str
    image: Tensor
    M: Tensor | None
    a: Tensor | None
    materials: tuple[str, ...]
    wavelengths: Tensor
    source: str
    brightness: Tensor | None = None

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.dtype != torch.float32:
            raise ValueError(
                f"The image of scene '{self.name}' should be float32 with shape (bands, rows, "
                f"cols), got {self.image.dtype} with shape {tuple(self.image.shape)}."
            )

        (B, H, W), R = self.image.shape, self.R
        shapes = {"wavelengths": (B,), "M": (B, R), "a": (R, H, W), "brightness": (H, W)}
        for key, shape in {"image": (B, H, W), **shapes}.items():
            value = getattr(self, key)
            if value is None and key not in ("image", "wavelengths"):
                continue
            if value.shape != shape:
                raise ValueError(
                    f"The {key} of scene '{self.name}' should have shape {shape}, got "
                    f"{tuple(value.shape)}: the image was read as (bands, rows, cols) = "
                    f"({B}, {H}, {W}), with {R} materials."
                )
            if not value.isfinite().all():
                raise ValueError(
                    f"The {key} of scene '{self.name}' should be finite, got "
                    f"{int((~value.isfinite()).sum())} values that are NaN or infinite."
                )

    def __repr__(self) -> str:
        B, H, W = self.image.shape
        return f"Scene({self.name}: {B} bands, {H} x {W} pixels, {', '.join(self.materials)})"

    @property
    def R(self) -> int:
        r"""The number of endmembers :math:`R`."""
        return len(self.materials)

    @property
    def rgb(self) -> Tensor:
        r"""The image in natural colours, in [0, 1], with shape :math:`(H, W, 3)`.

        The bands nearest to 650, 550 and 450 nm, stretched together from their 2nd to their 98th
        percentile.
        """
        bands = (self.wavelengths - torch.tensor([[650.0], [550.0], [450.0]])).abs().argmin(dim=1)
        x = self.image[bands].movedim(0, -1)
        low, high = np.percentile(x.numpy(), [2, 98]).tolist()

        return ((x - low) / max(high - low, 1e-6)).clamp(0.0, 1.0)

    def crop(self, rows: int, cols: int, at: tuple[int, int] | None = None) -> "Scene":
        r"""Returns the part of the scene in a rectangle.

        Args:
            rows: The number of rows.
            cols: The number of columns.
            at: The first row and the first column. If `None`, the rectangle is in the centre.

        Raises:
            ValueError: If the rectangle is empty or leaves the image.
        """
        _, H, W = self.image.shape
        r, c = ((H - rows) // 2, (W - cols) // 2) if at is None else at
        if min(r, c) < 0 or min(rows, cols) < 1 or r + rows > H or c + cols > W:
            raise ValueError(
                f"A crop of {rows} x {cols} pixels at {(r, c)} does not fit in scene "
                f"'{self.name}' of {H} x {W} pixels."
            )

        maps = {key: getattr(self, key) for key in ("image", "a", "brightness")}
        return replace(
            self,
            **{k: v[..., r : r + rows, c : c + cols] for k, v in maps.items() if v is not None},
        )


def load(name: str) -> Scene:
    r"""Loads a scene by its name.

    Args:
        name: One of `SCENES`; "synthetic" is `synthetic` with its defaults.

    Raises:
        ValueError: If the name is unknown, or the checksum of the file is not the expected one.
        DataUnavailableError: If the file is found nowhere and cannot be downloaded.
    """
    file = _file(name)
    if file is None:
        return synthetic()

    data = scipy.io.loadmat(io.BytesIO(read(find(file) or download(file))))
    H, W = data["lines"].item(), data["cols"].item()
    y = data["Y"].reshape(-1, W, H).swapaxes(1, 2)  # pixels are column-major in the file
    y = y / y.max()

    if name == "samson":
        materials = ("soil", "tree", "water")
        wavelengths = np.linspace(400.938721, 899.074585, 156)
        source = (
            "Real: Samson, 95 x 95 pixels with 3 endmembers, the copy in hu_autoencoders, divided "
            "by its maximum, negative values set to zero; the reference is computed from the "
            "image, not measured in the field, and its endmembers are each scaled to maximum 1."
        )
    else:
        materials = ("tree", "water", "soil", "road")
        # Channels 1-3, 108-112, 154-166 and 220-224 of AVIRIS were removed
        wavelengths = np.linspace(380, 2500, 224)[np.r_[3:107, 112:153, 166:219]]
        source = (
            "Real: Jasper Ridge (AVIRIS), 100 x 100 pixels with 4 endmembers, the copy in "
            "Hyperspectral-Unmixing-Models, divided by its maximum; the reference is computed "
            "from the image, not measured in the field; wavelengths are nominal, an even grid."
        )

    return Scene(
        name=name,
        image=_float32(y),
        M=_float32(data["GT"].T),
        a=_float32(np.moveaxis(data["S_GT"], -1, 0)),
        materials=materials,
        wavelengths=_float32(wavelengths),
        source=source,
    )


def available(name: str) -> bool:
    r"""Returns whether the data of a scene are at hand, or could be downloaded.

    A corrupted file counts as available, so that `load` gets to say what is wrong. Where there is
    none, a download is tried, once in the life of the process.
    """
    file = _file(name)
    return file is None or find(file) is not None or downloadable(file)


def fingerprint(name: str) -> str:
    r"""Returns the SHA-256 of the file of a scene, be it there or not.

    For the synthetic scene, it is the version of the generator and that of its spectra.
    """
    file = _file(name)
    return f"synthetic-1-earthlib-{version('earthlib')}" if file is None else FILES[file][1]


def synthetic(
    size: int = 64,
    endmembers: int = 4,
    *,
    purity: float = 1.0,
    smoothness: float = 4.0,
    snr: float = 40.0,
    brightness: Literal["off", "smooth", "rough"] = "smooth",
    min_angle: float = 5.0,
    seed: int = 0,
) -> Scene:
    r"""Makes a scene from spectra of the `earthlib` library and random abundance fields.

    The spectra of soils, built surfaces, dry vegetation and burned ground are measured; those of
    green vegetation are simulated (PROSAIL), and named so. The noise is white and Gaussian, of
    variance :math:`\sigma^2` such that :math:`\text{SNR} = 10 \log_{10}(\|X\|^2 / (B H W
    \sigma^2))`, where :math:`X` is noiseless. The negative values it brings about are kept:
    clipping would bias dark pixels.

    References:
        | Earthlib: a global spectral library (Anderson)
        | https://github.com/earth-chris/earthlib

    Args:
        size: The number of rows and columns.
        endmembers: The number of endmembers :math:`R`, at least 2.
        purity: The largest abundance of every endmember, in [0.5, 1].
        smoothness: The correlation length of the abundances, in pixels.
        snr: The signal-to-noise ratio in dB; `math.inf` for no noise.
        brightness: Whether :math:`\rho` is 1, or a field in [0.5, 1] that varies over a quarter
            of the image ("smooth") or from pixel to pixel ("rough").
        min_angle: The smallest spectral angle between two endmembers, in degrees.
        seed: The seed of all that is random. The same seed gives the same bytes.

    Returns:
        The scene, with :math:`B = 180` bands. Its reference is the truth.

    Raises:
        ValueError: If an argument is out of range, or no such scene was found.
    """
    if size < 8 or endmembers < 2 or not (0.5 <= purity <= 1.0 and smoothness >= 0.0):
        raise ValueError(
            "size should be at least 8, endmembers at least 2, purity in [0.5, 1] and smoothness "
            f"at least 0, got {size}, {endmembers}, {purity} and {smoothness}."
        )
    if not snr > -np.inf:
        raise ValueError(f"snr should be a number of dB, or infinite, got {snr}.")
    if brightness not in ("off", "smooth", "rough"):
        raise ValueError(f"brightness should be 'off', 'smooth' or 'rough', got '{brightness}'.")

    rng = np.random.default_rng(seed)
    M, materials, wavelengths = _draw_spectra(rng, endmembers, min_angle)
    a = _draw_abundances(rng, endmembers, size, smoothness, purity)
    if brightness == "off":
        rho = np.ones((size, size))
    else:
        length = size / 4 if brightness == "smooth" else 0.0
        rho = 0.5 + 0.5 * ndtr(_draw_fields(rng, 1, size, length)[0])

    # The image is made of the reference as stored, in float32
    M, a, rho = (_float32(v) for v in (M, a, rho))
    x = rho.double() * torch.tensordot(M.double(), a.double(), dims=1)  # (bands, rows, cols)
    sigma = x.square().mean().sqrt().item() * 10 ** (-snr / 20)
    x = x.numpy() + sigma * rng.standard_normal(x.shape)

    return Scene(
        name="synthetic",
        image=_float32(x),
        M=M,
        a=a,
        materials=materials,
        wavelengths=_float32(wavelengths),
        source=(
            f"Synthetic, seed {seed}: linear mixtures of spectra of the earthlib library, "
            "measured unless named simulated; the reference is the truth."
        ),
        brightness=rho,
    )


def _float32(x: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))


def _file(name: str) -> str | None:
    if name not in SCENES:
        raise ValueError(f"Unknown scene '{name}', expected one of {', '.join(SCENES)}.")

    return None if name == "synthetic" else f"{name}.mat"


@functools.cache
def _library() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    # Slow to import
    import earthlib

    library = earthlib.full_library
    spectra = library.data.astype(np.float64)  # (spectra, bands)
    wavelengths = np.round(1e3 * library.sensor.band_centers.astype(np.float64))
    classes, names, kinds = library.metadata[["LEVEL_2", "LEVEL_3", "LEVEL_4"]].to_numpy(str).T

    # Spikes and dropouts show in second differences, those across gaps between bands apart
    even = np.diff(wavelengths, n=2) == 0.0
    roughness = np.sqrt(np.square(np.diff(spectra, n=2)[:, even]).mean(axis=1))
    vague = ("npv", "mixed", "other")
    small = ("bridge", "driveway", "glass", "manhole", "metal", "paint")
    keep = (
        (spectra.min(axis=1) > 0.0)
        & (spectra.max(axis=1) <= 1.0)
        & (roughness < 0.05 * spectra.mean(axis=1))
        & ~np.isin(names, vague + small)
    )
    names = np.where(kinds == "measured", names, np.char.add(names, " (simulated)"))

    return spectra[keep], classes[keep], np.char.replace(names, "_", " ")[keep], wavelengths


def _draw_spectra(
    rng: Generator, R: int, min_angle: float
) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    spectra, classes, names, wavelengths = _library()
    unit = spectra / np.linalg.norm(spectra, axis=1, keepdims=True)
    turns = ("vegetation", "bare", "built", "npv", "burned")

    # A greedy choice can run into a dead end, and then starts again
    for _ in range(10):
        chosen: list[int] = []
        far = np.ones(len(unit), dtype=bool)
        while len(chosen) < R and far.any():
            turn = far & (classes == turns[len(chosen) % len(turns)])
            chosen.append(int(rng.choice(np.flatnonzero(turn if turn.any() else far))))
            far &= unit @ unit[chosen[-1]] < np.cos(np.deg2rad(min_angle))
        if len(chosen) == R:
            break
    else:
        raise ValueError(
            f"No {R} endmembers were found that differ by {min_angle} degrees from each other: "
            "lower endmembers or min_angle."
        )

    drawn = names[chosen].tolist()
    materials = [
        name if drawn.count(name) == 1 else f"{name} {drawn[:k].count(name) + 1}"
        for k, name in enumerate(drawn)
    ]
    return spectra[chosen].T, tuple(materials), wavelengths


def _draw_fields(rng: Generator, n: int, size: int, length: float) -> np.ndarray:
    # Periodic Gaussian fields of Matern covariance (nu = 3/2), of mean 0 and variance 1
    f = 2 * np.pi * np.fft.fftfreq(size)
    response = (1.0 + length**2 * (f[:, None] ** 2 + f**2)) ** -1.25
    z = np.fft.ifft2(response * np.fft.fft2(rng.standard_normal((n, size, size)))).real
    z -= z.mean(axis=(1, 2), keepdims=True)

    return z / z.std(axis=(1, 2), keepdims=True)


def _draw_abundances(
    rng: Generator, R: int, size: int, smoothness: float, purity: float
) -> np.ndarray:
    z = _draw_fields(rng, R, size, smoothness)

    # The colder the softmax, the larger the pure regions: it is cooled until all have some
    for temperature in (0.35, 0.2, 0.1, 0.05):
        # Offsets give the endmembers equal parts of the scene
        for _ in range(30):
            a = softmax(z / temperature, axis=0)
            z -= temperature * np.log(R * a.mean(axis=(1, 2), keepdims=True))

        # Small abundances become zero, hence large ones one
        a = np.maximum(a - 0.02, 0.0)
        a /= a.sum(axis=0)
        if ((a == 1.0).sum(axis=(1, 2)) >= 4).all():
            break
    else:
        raise ValueError(
            f"{R} endmembers do not all find pure pixels among {size} x {size}: lower endmembers "
            "or smoothness, or raise size."
        )

    # What exceeds the purity goes to the other endmembers of the pixel
    excess = np.maximum(a - purity, 0.0)
    others = np.where(excess > 0.0, 0.0, softmax(z, axis=0))
    return np.minimum(a, purity) + excess.sum(axis=0) * others / others.sum(axis=0)
