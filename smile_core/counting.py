r"""The number of endmembers, estimated from the image alone.

Pixels :math:`x_i = \rho_i M a_i + e_i` of :math:`R` materials span :math:`R` dimensions, with or
without brightness, so that :math:`R` could be read from the rank. Real materials vary, however,
and each way in which they vary adds a dimension. What tells a material from the variation of
another is that pixels agree on it. Hence three steps:

- *Rank.* In units of the noise, whose variance is that of what the other bands do not predict of
  a band, an eigenvalue of :math:`Y Y^\top / N` is signal if noise alone would not reach it. For
  noise, the largest one follows the Tracy-Widom law around :math:`(1 + \sqrt{B / N})^2`.
- *Cliff.* If the last eigenvalue of the signal is at least twice the first of the noise, the
  rank is the answer. Variation leaves no such gap: its eigenvalues fade into the noise.
- *Agreement.* Otherwise, corners of the cone of the pixels are found in the signal space, one
  after the other. Of the :math:`m = 0.03 N` unit pixels furthest from the span of the corners
  before, each stands for the mean of the :math:`m` pixels nearest to it in angle; the corner is
  the mean that is furthest. With :math:`d` its distance and :math:`r` the smallest distance of
  the :math:`m` pixels, it is a material if :math:`d \geq 0.8 \, r`: around a material, many
  pixels are nearly as far; what is far by chance, or alone, has neighbours that are not. The
  first corner that fails ends the count.

The three constants were chosen on synthetic scenes, half of them with spectral variability. A
material that fills less than :math:`m` pixels is only found if there is a cliff; variation that
comes in patches of that size is counted as a material.

References:
    | Determining the number of components in a factor model from limited noisy data
    | (Kritchman, Nadler, 2008)
    | https://doi.org/10.1016/j.chemolab.2008.06.002

    | Hyperspectral Subspace Identification (Bioucas-Dias, Nascimento, 2008)
    | https://doi.org/10.1109/TGRS.2008.918089
"""

__all__ = ["estimate_endmembers", "hysime"]

import torch

from torch import Tensor

from .archetypes import candidates

# How many times the first eigenvalue of the noise the last of the signal is at a cliff
CLIFF = 2.0

# A corner is the mean of so large a part of the pixels, and of no fewer than so many
PART = 0.03
FEWEST = 3

# The agreement from which a corner is a material
AGREEMENT = 0.8

# Pixels darker than this, relative to the median, have no reliable direction
DARK = 0.1

# The quantile of the Tracy-Widom law (real case) that noise exceeds once in 200 times
TRACY_WIDOM = 2.42

# Less than this part of the light is rounding
ROUNDING = 1e-12


def estimate_endmembers(image: Tensor, *, largest: int = 20, seed: int = 0) -> int:
    r"""Estimates the number of endmembers of an image.

    It depends neither on the unit nor on the order of pixels and bands, but for the sample that
    is drawn from more than 10,000 pixels.

    Args:
        image: The image :math:`Y`, with shape (B, h, w). Dead pixels, whose sum over the bands is
            not positive, are left out.
        largest: The largest number to consider, at least 1.
        seed: The seed of the sample.

    Returns:
        A number between 1 and the least of `largest`, the bands and the pixels.

    Raises:
        ValueError: If `largest` is not positive, or all pixels are dead.
    """
    if largest < 1:
        raise ValueError(f"The largest number of endmembers should be at least 1, got {largest}.")

    y = _gather(image, seed)
    B, N = y.shape
    G = y @ y.mT / N

    # Too few pixels do not tell the noise of the bands apart: it is then white
    if N >= 2 * B:
        y = y / _regress(G)[1].sqrt()[:, None]
        G = y @ y.mT / N

    values, vectors = torch.linalg.eigh(G)
    values, vectors = values.flip(0), vectors.flip(1)
    rank = _rank(values, N)
    if rank <= largest and rank < B and values[rank - 1] >= CLIFF * values[rank]:
        return rank

    return _corners(vectors[:, :largest][:, :rank].mT @ y)


def hysime(image: Tensor, *, seed: int = 0) -> int:
    r"""Estimates the dimension of the signal subspace by HySime.

    It is the number of directions whose signal outweighs the noise that they let in: of the
    eigenvectors :math:`e` of the signal, those with :math:`e^\top R_y e > 2 e^\top R_n e`. Here
    to compare with.

    References:
        | Hyperspectral Subspace Identification (Bioucas-Dias, Nascimento, 2008)
        | https://doi.org/10.1109/TGRS.2008.918089

    Args:
        image: The image :math:`Y`, with shape (B, h, w), of more pixels than bands.
        seed: The seed of the sample, if there are more than 10,000 pixels.
    """
    y = _gather(image, seed)
    B, N = y.shape
    Ry = y @ y.mT / N
    residual, _ = _regress(Ry)
    signal = torch.eye(B).to(y) - residual
    Rx, Rn = signal @ Ry @ signal.mT, (residual @ Ry @ residual.mT).diagonal()
    Rn = Rn + 1e-5 * Rx.trace() / B
    e = torch.linalg.eigh(Rx).eigenvectors

    return int(((e * (Ry @ e)).sum(dim=0) > 2 * (Rn[:, None] * e.square()).sum(dim=0)).sum())


def _gather(image: Tensor, seed: int) -> Tensor:
    # Live pixels in float64, of mean square one
    y = candidates(image, coarse=False, seed=seed)[0].cpu().double()
    if not y.shape[1]:
        raise ValueError("The image has no pixel whose sum over the bands is positive.")

    y = y / y.abs().max()
    return y / y.square().mean().sqrt()


def _regress(G: Tensor) -> tuple[Tensor, Tensor]:
    # The matrix that leaves of each band what the others do not predict, and its variance
    inverse = torch.linalg.inv(G + ROUNDING * G.trace() * torch.eye(len(G)).to(G))
    variance = 1 / inverse.diagonal()

    return variance[:, None] * inverse, variance


def _rank(values: Tensor, N: int) -> int:
    # How many eigenvalues, from the largest on, exceed what noise of the variance of the rest can
    B = len(values)
    floor = ROUNDING * values.sum()
    most = min(B, N)
    for k in range(most):
        n, p = (N - 0.5) ** 0.5, (B - k - 0.5) ** 0.5
        edge = (n + p) ** 2 + TRACY_WIDOM * (n + p) * (1 / n + 1 / p) ** (1 / 3)
        sigma2 = values[k:].sum() * most / ((most - k) * B)
        if values[k] <= max(sigma2 * edge / N, floor):
            return max(k, 1)

    return most


def _corners(y: Tensor) -> int:
    # How many corners, one after the other, many pixels agree on
    norm = y.norm(dim=0)
    y = y[:, norm > DARK * norm.median()]
    u = y / y.norm(dim=0)
    K, N = u.shape
    m = min(max(round(PART * N), FEWEST), N)

    # What the corners do not span; all unit pixels being as far from none, the mean goes first
    rest = u
    outside = _reject(u, u.mean(dim=1))
    for k in range(K):
        r, furthest = outside.norm(dim=0).topk(m)
        near = (u[:, furthest].mT @ u).topk(m, dim=1).indices
        d, best = outside[:, near].mean(dim=2).norm(dim=0).max(dim=0)
        if k and d < max(AGREEMENT * r[-1], ROUNDING):
            return k
        rest = outside = _reject(rest, rest[:, near[best]].mean(dim=1))

    return K


def _reject(x: Tensor, direction: Tensor) -> Tensor:
    direction = direction / direction.norm().clamp_min(torch.finfo(x.dtype).tiny)
    return x - direction[:, None] * (direction @ x)
