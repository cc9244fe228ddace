r"""Evidence: what the pixels themselves say about how they are mixed.

Three questions are answered before endmembers are looked for, from eigenvalues alone. With
:math:`g_1 \geq g_2 \geq \dots` those of the pixels' second moments :math:`Y Y^\top / N`, and
:math:`c_1 \geq c_2 \geq \dots` those of their covariance:

- *Is the scene a linear mixture, up to its noise?* Then R endmembers leave noise only beyond the
  first R directions. White noise of N pixels in B bands spreads its eigenvalues up to
  :math:`(1 + \sqrt{B / N})^2` times their mean (Marchenko and Pastur, 1967); materials that vary
  leave a few that are much larger. `structure` is :math:`g_{R + 1}` over that edge.
- *Is the brightness fixed?* Then the mixtures span :math:`R - 1` dimensions about their mean, and
  R with a brightness that varies. `offset` is :math:`(c_R - g_{R + 1}) / (g_R - g_{R + 1})`, what
  is left about the mean of the last direction: nothing if it is fixed. If that direction is not
  above the noise even about the origin (`rank` is :math:`g_R / g_{R + 1}`), R endmembers in
  :math:`R - 1` dimensions are told apart only if the brightness is fixed, as a shadow is. Where
  materials vary, none of this says anything, and mixtures of either kind are fitted instead.
- *Is the simplex thicker than the noise?* Only then can its corners be extrapolated. `thickness`
  is :math:`c_{R - 1} / c_R`, of pixels with their brightness divided out, unless it is fixed.

The limits were chosen on synthetic scenes with known answers (notebook 07).
"""

__all__ = ["Evidence", "ordinary", "weigh"]

import torch

from torch import Tensor
from typing import NamedTuple

# A scene is linear up to this structure, and its brightness fixed up to this offset, which counts
# from this rank on
STRUCTURE, OFFSET, RANK = 4.0, 0.1, 1.3

# Less than this part of the light is the rounding of float32
TINY = 1e-14

# Corners are extrapolated from this thickness on, and from so many pixels for each endmember
THICKNESS, PIXELS = 3.0, 30

# A pixel that holds more than this part of the energy of a direction is no mixture, but a defect;
# so many times, those that are left are looked at again
HELD, AGAIN = 0.3, 20

# Divided by their brightness, pixels darker than so many times the mean are noise
DARK = 0.1


class Evidence(NamedTuple):
    r"""What eigenvalues say about a scene.

    Args:
        structure: The largest eigenvalue that R endmembers leave, relative to white noise.
        rank: The smallest eigenvalue of R endmembers, relative to noise.
        offset: What a varying brightness has left of it about the mean, as a part.
        thickness: The smallest extent of the simplex, relative to noise, as a ratio of variances.
        pixels: The number of pixels for each endmember.
    """

    structure: float
    rank: float
    offset: float
    thickness: float
    pixels: float

    @property
    def linear(self) -> bool:
        r"""Whether the scene is a linear mixture of R endmembers, up to its noise."""
        return self.structure <= STRUCTURE

    @property
    def fixed(self) -> bool | None:
        r"""Whether the brightness is fixed; `None` if eigenvalues do not tell."""
        if not self.linear:
            return None
        if self.rank >= RANK:
            return self.offset <= OFFSET

        return True if self.thickness >= THICKNESS else None

    @property
    def enclosable(self) -> bool:
        r"""Whether the corners of the simplex can be extrapolated."""
        return self.linear and self.thickness >= THICKNESS and self.pixels >= PIXELS


def weigh(pixels: Tensor, R: int, fixed: bool | None = None) -> Evidence:
    r"""Weighs the evidence of pixels.

    Args:
        pixels: The pixels, with positive sums over the bands, with shape (B, N).
        R: The number of endmembers.
        fixed: Whether the brightness is fixed, if that is known.

    Returns:
        The evidence. With one endmember, or without a band or pixel to spare, there is none: then
        the structure is infinite.
    """
    B, N = pixels.shape
    if R < 2 or min(B, N) <= R + 1:
        return Evidence(float("inf"), 1.0, float("inf"), 0.0, N / R)

    y = pixels.double()
    g, c = _moments(y), _moments(y - y.mean(dim=1, keepdim=True))
    edge = (1 + (B / N) ** 0.5) ** 2
    structure, rank = float(g[R] / g[R:].mean() / edge), float(g[R - 1] / g[R])
    offset = float((c[R - 1] - g[R]) / (g[R - 1] - g[R]).clamp_min(TINY * g[0]))

    if fixed is None:
        fixed = offset <= OFFSET or rank < RANK
    if not fixed:
        light = y.sum(dim=0)
        y = y[:, light > DARK * light.mean()]
        y = y / y.sum(dim=0)
        c = _moments(y - y.mean(dim=1, keepdim=True))

    return Evidence(structure, rank, offset, float(c[R - 2] / c[R - 1]), N / R)


def ordinary(pixels: Tensor, R: int) -> Tensor:
    r"""Tells mixtures from defects: pixels that have a leading direction nearly to themselves.

    One hot value would else pass for a material.

    Args:
        pixels: The pixels, with shape (B, N).
        R: The number of endmembers.

    Returns:
        Where they are mixtures, boolean, with shape (N,).
    """
    y, kept = pixels.double(), torch.ones(pixels.shape[1]).bool()
    if min(y.shape) <= R + 1:
        return kept

    for _ in range(AGAIN):
        left = y[:, kept]
        values, vectors = torch.linalg.eigh(left @ left.mT)
        leading = slice(-(R + 1), None)
        energy = values[leading].clamp_min(TINY * values[-1])
        part = (vectors[:, leading].mT @ y).square() / energy[:, None]
        defects = (part > HELD).any(dim=0) & kept
        if not defects.any() or (kept & ~defects).sum() <= R + 1:
            break
        kept &= ~defects

    return kept


def _moments(y: Tensor) -> Tensor:
    # Largest first
    values = torch.linalg.eigvalsh(y @ y.mT / y.shape[1]).flip(0)
    return values.clamp_min(TINY * values[0]).clamp_min(torch.finfo(values.dtype).tiny)
