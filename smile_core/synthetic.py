r"""Synthetic scenes, from spectra of a library and random abundance fields.

.. math:: x_i = \rho_i \sum_{k = 1}^R a_{ki} m_k + e_i, \qquad a_i \in \Delta^{R - 1}

Abundances are the softmax of smooth random fields, hence there are regions where a material is
all of a pixel; what exceeds the purity asked for goes to the others.
"""

__all__ = ["add_noise", "synthetic"]

import functools
import numpy as np
import torch

from numpy.random import Generator
from scipy.special import ndtr, softmax
from typing import Literal

from .scene import Scene, float32


def synthetic(
    size: int = 64,
    endmembers: int = 4,
    *,
    purity: float = 1.0,
    smoothness: float = 4.0,
    snr: float = 40.0,
    brightness: Literal["off", "smooth", "rough"] = "smooth",
    min_angle: float = 5.0,
    shadow: bool = False,
    seed: int = 0,
) -> Scene:
    r"""Makes a scene from spectra of the `earthlib` library and random abundance fields.

    The spectra of soils, built surfaces, dry vegetation and burned ground are measured; those of
    green vegetation are simulated (PROSAIL), and named so. The noise is that of `add_noise`.

    A shadow is no spectrum of the library, but ours: what little light a dark place gets comes
    from the materials around it and from the blue sky,

    .. math:: m_R(\lambda) = 0.04 \, \Big(1.1 - 0.2 \, \frac{\lambda - \lambda_1}{\lambda_B -
        \lambda_1}\Big) \, \frac{1}{R - 1} \sum_{k < R} m_k(\lambda)

    so that it differs from a mixture of the others in brightness, and hardly in direction.

    References:
        | Earthlib: a global spectral library (Anderson)
        | https://github.com/earth-chris/earthlib

    Args:
        size: The number of rows and columns.
        endmembers: The number of endmembers :math:`R`, at least 2.
        purity: The largest abundance of every endmember, in [0.5, 1]: some pixels reach it, none
            exceeds it.
        smoothness: The correlation length of the abundances, in pixels.
        snr: The signal-to-noise ratio in dB; `math.inf` for no noise.
        brightness: Whether :math:`\rho` is 1, or a field in [0.5, 1] that varies over a quarter
            of the image ("smooth") or from pixel to pixel ("rough").
        min_angle: The smallest spectral angle between two endmembers, in degrees, the shadow
            apart.
        shadow: Whether the last endmember is a shadow.
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
    M, materials, wavelengths = _draw_spectra(rng, endmembers - shadow, min_angle)
    if shadow:
        blue = np.interp(wavelengths, wavelengths[[0, -1]], [1.1, 0.9])
        M = np.column_stack([M, 0.04 * blue * M.mean(axis=1)])
        materials = (*materials, "shadow (ours)")

    a = _draw_abundances(rng, endmembers, size, smoothness, purity)
    if brightness == "off":
        rho = np.ones((size, size))
    else:
        length = size / 4 if brightness == "smooth" else 0.0
        rho = 0.5 + 0.5 * ndtr(draw_fields(rng, 1, size, length)[0])

    # The image is made of the reference as stored, in float32
    M, a, rho = (float32(v) for v in (M, a, rho))
    x = rho.double() * torch.tensordot(M.double(), a.double(), dims=1)  # (bands, rows, cols)

    return Scene(
        name="synthetic",
        image=float32(add_noise(x.numpy(), snr, rng)),
        M=M,
        a=a,
        materials=materials,
        wavelengths=float32(wavelengths),
        source=(
            f"Synthetic, seed {seed}: linear mixtures of spectra of the earthlib library, "
            f"measured unless named simulated{' or ours' * shadow}; the reference is the truth."
        ),
        brightness=rho,
    )


def add_noise(x: np.ndarray, snr: float, rng: Generator) -> np.ndarray:
    r"""Adds white Gaussian noise of variance :math:`\sigma^2` to an image.

    .. math:: \text{SNR} = 10 \log_{10} \frac{\|X\|^2}{B H W \sigma^2}

    The negative values it brings about are kept: clipping would bias dark pixels.

    Args:
        x: The noiseless image :math:`X`, with shape :math:`(B, H, W)`.
        snr: The signal-to-noise ratio in dB; `math.inf` for no noise.
        rng: The generator of random numbers.

    Returns:
        The noisy image, with the shape of :math:`X`.
    """
    sigma = np.sqrt(np.square(x).mean()) * 10 ** (-snr / 20)

    return x + sigma * rng.standard_normal(x.shape)


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


def draw_fields(rng: Generator, n: int, size: int, length: float) -> np.ndarray:
    r"""Draws periodic Gaussian fields of Matern covariance (nu = 3/2), of mean 0 and variance 1.

    Args:
        rng: The generator.
        n: The number of fields.
        size: The number of rows and columns.
        length: The correlation length, in pixels.

    Returns:
        The fields, with shape (n, size, size).
    """
    f = 2 * np.pi * np.fft.fftfreq(size)
    response = (1.0 + length**2 * (f[:, None] ** 2 + f**2)) ** -1.25
    z = np.fft.ifft2(response * np.fft.fft2(rng.standard_normal((n, size, size)))).real
    z -= z.mean(axis=(1, 2), keepdims=True)

    return z / z.std(axis=(1, 2), keepdims=True)


def _draw_abundances(
    rng: Generator, R: int, size: int, smoothness: float, purity: float
) -> np.ndarray:
    z = draw_fields(rng, R, size, smoothness)

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
