r"""Geometric baselines: pixels at the vertices of the data, then fully constrained least squares.

Plain mixing puts the pixels in a simplex with the endmembers as vertices. Where each endmember has
a pure pixel, the vertices are pixels: those furthest out in directions that the vertices found so
far do not span.

- *VCA*, vertex component analysis, takes such directions at random, in the signal subspace. Bright
  data (SNR of at least :math:`15 + 10 \log_{10} R` dB) are first projected from the origin on a
  hyperplane, which takes brightness out; noisy ones orthogonally, on the affine subspace of
  dimension :math:`R - 1` through their mean.
- *SPA*, successive projections, takes the pixel of largest norm and projects it out, R times.

References:
    | Vertex Component Analysis (Nascimento, Bioucas-Dias, 2005)
    | https://doi.org/10.1109/TGRS.2005.844293

    | The Successive Projections Algorithm for Variable Selection (Araujo et al., 2001)
    | https://doi.org/10.1016/S0169-7439(01)00119-8

    | Fast and Robust Recursive Algorithms for Separable NMF (Gillis, Vavasis, 2014)
    | https://doi.org/10.1109/TPAMI.2013.226
"""

__all__ = ["flatten", "spa", "spa_fcls", "vca", "vca_fcls"]

import math
import torch

from torch import Tensor

from ..enclosing import vertices
from ..mixing import fcls


def vca_fcls(image: Tensor, R: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    r"""Unmixes by vertex component analysis and fully constrained least squares.

    Args:
        image: The image, with shape (B, h, w).
        R: The number of endmembers.
        seed: The seed of the directions.

    Returns:
        The endmembers, with shape (B, R), and the abundances, with shape (R, h, w).
    """
    M = vca(flatten(image, R), R, seed)
    return M, fcls(image, M)


def spa_fcls(image: Tensor, R: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    r"""Unmixes by successive projections and fully constrained least squares.

    Args:
        image: The image, with shape (B, h, w).
        R: The number of endmembers.
        seed: Not used, since nothing is random.

    Returns:
        The endmembers, with shape (B, R), and the abundances, with shape (R, h, w).
    """
    pixels = flatten(image, R)
    M = pixels[:, spa(pixels, R)]
    return M, fcls(image, M)


def vca(pixels: Tensor, R: int, seed: int = 0, threshold: float | None = None) -> Tensor:
    r"""Finds endmembers by vertex component analysis.

    The signal-to-noise ratio is that of the power inside and outside the signal subspace,

    .. math:: \text{SNR} = 10 \log_{10} \frac{P_x - \frac{R}{B} P_y}{P_y - P_x}.

    Args:
        pixels: The pixels, with shape (B, N).
        R: The number of endmembers.
        seed: The seed of the directions.
        threshold: The ratio in dB below which the data are taken for noisy; that of the paper,
            :math:`15 + 10 \log_{10} R`, if `None`.

    Returns:
        The endmembers, pixels projected on the signal subspace, with shape (B, R).
    """
    y = pixels.double()
    mean = y.mean(dim=1, keepdim=True)
    basis = _leading(y - mean, R)
    x = basis.mT @ (y - mean)  # (endmembers, pixels)

    power = y.square().sum(dim=0).mean()
    inside = x.square().sum(dim=0).mean() + mean.square().sum()
    tiny = torch.finfo(y.dtype).tiny
    signal = (inside - R / len(y) * power).clamp_min(tiny)
    noise = (power - inside).clamp_min(tiny)
    snr = 10 * (signal.log10() - noise.log10())

    if snr < (15 + 10 * math.log10(R) if threshold is None else threshold):
        basis, x = basis[:, : R - 1], x[: R - 1]
        far = x.norm(dim=0).max().expand(1, y.shape[1])
        coordinates = torch.cat([x, far])
    else:
        basis, mean = _leading(y, R), 0
        x = basis.mT @ y
        light = x.mean(dim=1) @ x
        # A pixel without light has no projection from the origin: at the origin, it is no vertex
        coordinates = torch.where(light > 0, x / torch.where(light > 0, light, 1), 0)

    M = basis @ x[:, vertices(coordinates, torch.Generator().manual_seed(seed))] + mean

    return M.to(pixels)


def spa(pixels: Tensor, R: int) -> Tensor:
    r"""Finds the pixels that are vertices by successive projections.

    Args:
        pixels: The pixels, with shape (B, N).
        R: The number of endmembers.

    Returns:
        The indices of the pixels, with shape (R,).

    Raises:
        ValueError: If the pixels span fewer than R dimensions.
    """
    residual = pixels.double()
    floor = 1e-20 * residual.square().sum(dim=0).max()
    chosen = []

    for _ in range(R):
        energy, j = residual.square().sum(dim=0).max(dim=0)
        if energy <= floor:
            raise ValueError(
                f"The pixels should span at least {R} dimensions, one for each endmember, "
                f"got {len(chosen)}."
            )
        direction = residual[:, j] / energy.sqrt()
        residual = residual - direction[:, None] * (direction @ residual)
        chosen.append(j)

    return torch.stack(chosen)


def flatten(image: Tensor, R: int) -> Tensor:
    r"""Returns the pixels of an image that R endmembers can be asked of.

    Args:
        image: The image, with shape (B, h, w).
        R: The number of endmembers.

    Returns:
        The pixels, with shape (B, N).

    Raises:
        ValueError: If `image` has not three dimensions, is not finite or is all zero, or if `R` is
            not between two and the numbers of bands and of pixels.
    """
    if image.ndim != 3:
        raise ValueError(f"image should have shape (B, h, w), got {tuple(image.shape)}.")
    if not image.isfinite().all() or not image.any():
        raise ValueError("image should be finite, and not zero everywhere.")

    pixels = image.flatten(1)
    if not 2 <= R <= min(pixels.shape):
        raise ValueError(
            f"R should be between 2 and the numbers of bands and of pixels, "
            f"{pixels.shape[0]} and {pixels.shape[1]}, got {R}."
        )

    return pixels


def _leading(y: Tensor, count: int) -> Tensor:
    # Leading left singular vectors, from the B x B Gram matrix, largest first
    return torch.linalg.eigh(y @ y.mT).eigenvectors.flip(1)[:, :count]
