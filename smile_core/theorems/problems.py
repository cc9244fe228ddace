r"""Problems that the accessible solve is checked on.

The scenes of `smile_core.theorems.families` write pixels as columns and operators as matrices; the
solver has images and block means. Here the former become the latter. Beside them are directions
and problems in which bounds are attained: what the LR image cannot see, where the objective is
curved least, and a problem where it is curved as much as it can be all over.
"""

__all__ = ["draw", "hidden", "make_problem", "opposite", "slowest"]

import torch

from torch import Tensor

from ..accessible import Problem
from .families import Instance
from .hypotheses import check_hypothesis


def make_problem(
    scene: Instance,
    seed: int = 0,
    *,
    guidance: float = 1.0,
    mu: float = 0.0,
    noise: float = 0.1,
) -> Problem:
    r"""Makes the problem of a scene: its images without brightness, and with noise.

    Args:
        scene: The scene, whose LR pixels are block means.
        seed: The seed of the noise, and of the abundances to stay near.
        guidance: The weight :math:`\lambda`.
        mu: The weight :math:`\mu`, in units of :math:`\|M\|_2^2`.
        noise: The standard deviation of the noise, relative to the mean of the image.

    Raises:
        OutsideHypotheses: If the LR pixels are no block means.
    """
    s, (N, n) = scene.scale, scene.D.shape
    block = scene.D[:, 0].nonzero()[:, 0]
    check_hypothesis(len(block) == s**2, "LR pixels are no block means, as the solver has them")
    cols = int(block[s]) if s > 1 else N

    X = scene.M @ scene.A
    generator = torch.Generator().manual_seed(seed)
    x, y = (
        Z + noise * X.abs().mean() * torch.randn(Z.shape, generator=generator, dtype=Z.dtype)
        for Z in (X, X @ scene.D_rho)
    )

    return Problem(
        y.reshape(-1, n * s // cols, cols // s),
        x.reshape(-1, N // cols, cols),
        draw(len(scene.A), N // cols, cols, seed=seed),
        scene.rho.reshape(-1, cols),
        guidance,
        mu * float(torch.linalg.matrix_norm(scene.M, 2)) ** 2,
    )


def draw(*shape: int, seed: int) -> Tensor:
    r"""Draws points uniformly from the simplex along the first dimension, in float64."""
    generator = torch.Generator().manual_seed(seed)
    a = -torch.rand(*shape, generator=generator, dtype=torch.float64).log()

    return a / a.sum(dim=0)


def hidden(problem: Problem) -> Tensor:
    r"""Makes a change :math:`z` of HR pixels that the LR image does not see, :math:`z D_\rho = 0`.

    What the first pixel of the first LR pixel gains in light, its neighbour loses.

    Returns:
        The change, of unit norm, with shape (H, W).

    Raises:
        OutsideHypotheses: If HR and LR pixels are the same.
    """
    check_hypothesis(problem.scale > 1, "HR and LR pixels are the same")
    z = torch.zeros_like(problem.brightness)
    z[0, 0], z[0, 1] = 1 / problem.brightness[0, 0], -1 / problem.brightness[0, 1]

    return z / z.norm()


def slowest(problem: Problem, M: Tensor) -> Tensor:
    r"""Makes the change of abundances along which the objective is curved least.

    It is hidden from the LR image, and takes the endmembers where they differ least. Along it, the
    modulus is attained.

    Returns:
        The change, of unit norm, entries of each pixel summing to zero, with shape (R, H, W).
    """
    R = M.shape[1]
    tangent = torch.linalg.qr(torch.eye(R, R - 1).to(M) - 1 / R).Q
    v = tangent @ torch.linalg.svd(M @ tangent).Vh[-1]

    return v[:, None, None] * hidden(problem)


def opposite(tilt: float) -> tuple[Problem, Tensor, Tensor]:
    r"""Makes a problem with two opposite endmembers, curved alike for all that LR pixels see.

    One band, 2 x 2 HR pixels in one LR pixel, and all images are zero, so that halves of both
    endmembers are the optimum. The curvature is the Lipschitz constant.

    Args:
        tilt: How much more there is of the first endmember, in all pixels.

    Returns:
        The problem, the endmembers and the abundances.
    """
    ones = torch.ones(1, 2, 2, dtype=torch.float64)
    M = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    a = torch.cat([ones / 2 + tilt, ones / 2 - tilt])

    return Problem(0 * ones[:, :1, :1], 0 * ones, a, ones[0], 1.0, 0.0), M, a
