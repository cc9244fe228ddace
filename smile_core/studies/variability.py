r"""Synthetic scenes whose materials vary, and whether their endmembers are counted right.

No two leaves have the same spectrum. In each pixel every endmember is multiplied by a smooth curve
of its own,

.. math:: x_i = \rho_i \sum_{k = 1}^R a_{ki} \, m_k \odot (1 + v f_{ki}) + e_i, \qquad
    f_{ki}(\lambda) = \sum_{j = 0}^{5} z_{kij} \, b_j(\lambda),

with :math:`b_j` the cosines of the discrete cosine transform, scaled such that the relative
deviation :math:`v f` has the variance :math:`v^2`, and :math:`z` Gaussian fields of variance 1,
from pixel to pixel or in patches.
"""

__all__ = ["count", "vary"]

import math
import numpy as np
import torch

from torch import Tensor

from ..counting import estimate_endmembers, hysime
from ..scene import Scene
from ..synthetic import add_noise, draw_fields, synthetic

# The number of cosines
COSINES = 6


def vary(
    scene: Scene, variability: float, snr: float, *, patch: float = 0.0, seed: int = 0
) -> Tensor:
    r"""Draws the image of a square synthetic scene again, of materials that vary.

    Args:
        scene: The scene, with its endmembers, abundances and brightness.
        variability: The standard deviation :math:`v` of the spectra, relative.
        snr: The signal-to-noise ratio in dB; `math.inf` for no noise.
        patch: The correlation length of the variation, in pixels.
        seed: The seed of curves and noise.

    Returns:
        The image, with shape (B, H, W).
    """
    rng = np.random.default_rng([seed, 2])  # not the stream that the abundances came from
    B, H, W = scene.image.shape
    t = (np.arange(B) + 0.5) / B
    cosines = np.cos(np.pi * np.arange(COSINES)[:, None] * t)  # (cosines, bands)
    cosines /= np.sqrt(COSINES * np.square(cosines).mean(axis=1, keepdims=True))

    x = torch.zeros(B, H, W, dtype=torch.float64)
    for m, a in zip(scene.M.mT.double(), scene.a.double(), strict=True):
        z = draw_fields(rng, COSINES, H, patch)
        curve = 1 + variability * np.tensordot(cosines, z, axes=(0, 0))  # (bands, rows, cols)
        x += m[:, None, None] * torch.from_numpy(curve) * a

    return torch.from_numpy(add_noise((scene.brightness * x).numpy(), snr, rng)).float()


def count(
    *,
    endmembers: int,
    snr: float = 30.0,
    purity: float = 1.0,
    brightness: str = "smooth",
    variability: float = 0.0,
    patch: float = 0.0,
    size: int = 64,
    seed: int = 0,
) -> dict[str, int]:
    r"""Counts the endmembers of a synthetic scene by two rules.

    Args:
        endmembers: The true number.
        snr: The signal-to-noise ratio in dB.
        purity: The largest abundance of every endmember.
        brightness: The kind of brightness, see `smile_core.synthetic.synthetic`.
        variability: The relative standard deviation of the spectra.
        patch: The correlation length of their variation, in pixels.
        size: The number of rows and columns.
        seed: The seed of all that is random.

    Returns:
        The estimates of `estimate_endmembers`, `smile`, and of `hysime`.
    """
    options = {"purity": purity, "brightness": brightness, "snr": math.inf, "seed": seed}
    image = vary(synthetic(size, endmembers, **options), variability, snr, patch=patch, seed=seed)

    return {"smile": estimate_endmembers(image, seed=seed), "hysime": hysime(image, seed=seed)}
