r"""Theorem 1, relationship: one set of endmembers, and abundances tied by a linear map.

An HR image :math:`X = M A \operatorname{diag}(\rho)` is brought down to :math:`Y = X D`. Then

.. math:: Y = M A_l \operatorname{diag}(\rho_l), \qquad A_l = A D_\rho, \qquad
    \rho_l = D^\top \rho

with the operator :math:`D_\rho` of `smile_core.theorems.hypotheses`: an LR abundance vector is a
mean of HR ones, in which each pixel weighs as much as the light that it sends. All else follows.
The hypotheses have the names given there. Statements are the project's own unless said otherwise,
the proofs are in the notebook 03; *size* is what a slack is relative to, where it is not the
right-hand side. Statement 1.4, on errors, is in `smile_core.theorems.errors`.
"""

__all__ = [
    "CONVEX",
    "closure",
    "division",
    "hull",
    "jensen",
    "lobes",
    "plain_closure",
    "pure_pixels",
    "purity",
    "scatter",
    "simplex",
    "slacks",
    "violating",
    "volume",
]

import math
import torch

from collections.abc import Callable
from scipy.optimize import nnls
from scipy.spatial import ConvexHull
from torch import Tensor
from typing import Any

from .errors import (
    amplification,
    frobenius,
    largest_error,
    light_error,
    own_brightness,
    rmse,
    worst_errors,
)
from .families import Instance, instance, resampling
from .hypotheses import bring_down, check_hypothesis, weights
from .slack import ROUNDING, OutsideHypotheses, applicable, check_arrays, slack

#: Convex functions of an abundance vector, the first dimension.
CONVEX: dict[str, Callable[[Tensor], Tensor]] = {
    "squared norm": lambda a: a.square().sum(dim=0),
    "negative entropy": lambda a: torch.xlogy(a, a.clamp_min(0)).sum(dim=0),
    "largest entry": lambda a: a.amax(dim=0),
    "distance to the centre": lambda a: (a - 1 / len(a)).norm(dim=0),
}


def closure(M: Tensor, A: Tensor, rho: Tensor, D: Tensor, *, require: bool = True) -> float:
    r"""Checks 1.1, :math:`M A \operatorname{diag}(\rho) D = M A_l \operatorname{diag}(\rho_l)`.

    Hypotheses: *kernel*, *light*; the equation itself needs :math:`\rho_l \neq 0` only. Size: for
    each LR pixel, its brightness times the largest norm of an endmember.
    """
    return _closure(M, A, rho, D, weights(rho, D, require=require))


def plain_closure(M: Tensor, A: Tensor, rho: Tensor, D: Tensor, *, require: bool = True) -> float:
    r"""Checks 1.1 with :math:`D` itself in the place of :math:`D_\rho`.

    Hypotheses: *kernel*, *light*, and a *constant brightness*; the columns of :math:`D` sum to
    one. Size: as for `closure`.
    """
    weights(rho, D, require=require)
    ones = (D.sum(dim=0) - 1).abs().max() <= ROUNDING
    check_hypothesis(ones, "the columns of D do not sum to one", require)
    constant = rho.max() - rho.min() <= ROUNDING * rho.max()
    check_hypothesis(constant, "the brightness is not constant", require)

    return _closure(M, A, rho, D, D)


def division(
    X: Tensor, D: Tensor, light: Callable[[Tensor], Tensor], *, require: bool = True
) -> float:
    r"""Checks 1.1 of pixels divided by their light :math:`\ell`.

    .. math:: \bar Y = \bar X D_\rho, \qquad \bar x_i = x_i / \ell(x_i), \quad
        \bar y_j = y_j / \ell(y_j), \quad \rho_i = \ell(x_i)

    Hypotheses: *kernel*, *light*, :math:`\ell` is *linear*, and pixels without light are *dark*,
    :math:`x_i = 0`. Size: the norm of each :math:`\bar y_j`.

    Args:
        X: The HR image, with shape (B, N).
        D: The operator, with shape (N, n).
        light: The light of each pixel, from shape (B, \*) to shape (\*,).
        require: Whether to raise outside of the hypotheses.
    """
    check_arrays(X=X)
    rho, Y = light(X), X @ D
    W = weights(rho, D, require=require)
    linear = (light(Y) - rho @ D).abs().max() <= ROUNDING * rho.abs().max()
    check_hypothesis(linear, "the light divided out is not linear in the spectrum", require)
    dark = (X[:, rho == 0] == 0).all()
    check_hypothesis(dark, "a pixel without light is not dark in all bands", require)
    x = X / torch.where(rho == 0, 1, rho)  # dark pixels weigh nothing
    y = Y / light(Y)

    return float(slack((y - x @ W).norm(dim=0), 0, y.norm(dim=0)).min())


def simplex(A: Tensor, rho: Tensor, D: Tensor, *, require: bool = True) -> float:
    r"""Checks 1.1, :math:`D_\rho \geq 0`, :math:`A_l \geq 0` and their columns sum to one.

    Hypotheses: *simplex*, *kernel*, *light*. Size: one.
    """
    A_l, W = bring_down(A, rho, D, require=require)
    parts = [W.min(), A_l.min()]
    parts += [-(x.sum(dim=0) - 1).abs().max() for x in (W, A_l)]

    return float(slack(0, torch.stack(parts), 1).min())


def purity(A: Tensor, rho: Tensor, D: Tensor, *, require: bool = True) -> float:
    r"""Checks 1.2, :math:`\max_j (A_l)_{kj} \leq \max_i A_{ki}` for every endmember.

    Hypotheses: *simplex*, *kernel*, *light*.
    """
    A_l, _ = bring_down(A, rho, D, require=require)
    return float(slack(A_l.amax(dim=1), A.amax(dim=1)).min())


def hull(A: Tensor, rho: Tensor, D: Tensor, *, require: bool = True) -> float:
    r"""Checks 1.2, :math:`\operatorname{conv}(A_l) \subseteq \operatorname{conv}(A)`.

    A constrained solve looks for non-negative weights that make each LR abundance vector of HR
    ones, and sum to one since these do. Its misfit is zero in the hull, and only there.
    Hypotheses: *simplex*, *kernel*, *light*. Size: one.
    """
    A_l, _ = bring_down(A, rho, D, require=require)
    misfits = [nnls(A.numpy(), a)[1] for a in A_l.T.numpy()]

    return float(slack(max(misfits), 0, 1))


def volume(A: Tensor, rho: Tensor, D: Tensor, *, require: bool = True) -> float:
    r"""Checks 1.2, that the (R - 1)-dimensional volume of the hull does not grow.

    Hypotheses: *simplex*, *kernel*, *light*, *two endmembers* or more.
    """
    A_l, _ = bring_down(A, rho, D, require=require)
    return float(slack(_measure(A_l)[1], _measure(A)[1]))


def jensen(
    A: Tensor,
    rho: Tensor,
    D: Tensor,
    f: Callable[[Tensor], Tensor],
    *,
    require: bool = True,
) -> float:
    r"""Checks 1.2, :math:`f((A_l)_j) \leq \sum_i (D_\rho)_{ij} f(a_i)` for a convex :math:`f`.

    Hypotheses: *simplex*, *kernel*, *light*; :math:`f` is convex, which is not checked. Size:
    :math:`1 + \sum_i |(D_\rho)_{ij} f(a_i)|`. Source: standard (Jensen).
    """
    A_l, W = bring_down(A, rho, D, require=require)
    return float(slack(f(A_l), f(A) @ W, 1 + f(A).abs() @ W.abs()).min())


def pure_pixels(A: Tensor, rho: Tensor, D: Tensor, *, require: bool = True) -> float:
    r"""Checks 1.3, that if all endmembers have a pure LR pixel, all have a pure HR pixel.

    .. math:: \max_k (1 - \max_i A_{ki}) \leq \max_k (1 - \max_j (A_l)_{kj})

    For each endmember by itself, `purity` tells. Hypotheses: *simplex*, *kernel*, *light*. Size:
    one.
    """
    A_l, _ = bring_down(A, rho, D, require=require)
    impurity, impurity_l = (1 - a.amax(dim=1).min() for a in (A, A_l))

    return float(slack(impurity, impurity_l, 1))


def scatter(A: Tensor, rho: Tensor, D: Tensor, *, require: bool = True) -> float:
    r"""Checks 1.3, that a sufficiently scattered LR image comes from such an HR image.

    The ball around the centre of the simplex that fits into the hull of the abundances cannot
    grow. Where it is the largest one that fits into the simplex, the cone condition of
    sufficient scattering holds. Hypotheses: *simplex*, *kernel*, *light*, *two endmembers* or
    more. Size: the radius of that largest ball.

    References:
        | Identifiability of the Simplex Volume Minimization Criterion for Blind Hyperspectral
          Unmixing: The No-Pure-Pixel Case (Lin et al., 2015)
        | https://arxiv.org/abs/1406.5273
    """
    A_l, _ = bring_down(A, rho, D, require=require)
    return float(slack(_measure(A_l)[0], _measure(A)[0], 1))


def lobes(A: Tensor, rho: Tensor, D: Tensor, *, require: bool = True) -> float:
    r"""Checks 1.5, that negative weights carry abundances no further than they weigh.

    .. math:: -\nu_j \leq (A_l)_{kj} \leq 1 + \nu_j, \qquad
        \nu_j = \sum_i \max(-(D_\rho)_{ij}, 0)

    Hypotheses: *simplex*, and :math:`\rho_l \neq 0`. Size: one.
    """
    A_l, W = bring_down(A, rho, D, require=require, kernel=False)
    outside = torch.maximum(A_l - 1, -A_l).amax(dim=0)

    return float(slack(outside, (-W).clamp_min(0).sum(dim=0), 1).min())


def slacks(scene: Instance, seed: int = 0) -> dict[str, float]:
    r"""Checks every statement whose hypotheses hold on a scene.

    With one endmember the hull is a point, and errors are zero: volume, scatter and the worst
    errors are left out. Plain closure is left out where brightness varies, RMSE where the rows of
    :math:`D_\rho` are not equal.

    Args:
        scene: The scene.
        seed: The seed of the estimates with errors, uniform in the simplex.

    Returns:
        The slacks by statement.
    """
    M, A, rho, D, _ = scene
    generator = torch.Generator().manual_seed(seed)
    draws = -torch.rand(len(A) + 1, A.shape[1], generator=generator, dtype=A.dtype).log()
    A_hat, rho_hat = draws[:-1] / draws[:-1].sum(dim=0), rho * draws[-1].exp()
    statements: dict[str, Callable[[], float]] = {
        "1.1 closure": lambda: closure(M, A, rho, D),
        "1.1 closure, constant light": lambda: plain_closure(M, A, rho, D),
        "1.1 closure, divided by light": lambda: division(scene.X, D, lambda x: x.sum(dim=0)),
        "1.1 simplex": lambda: simplex(A, rho, D),
        "1.2 purity": lambda: purity(A, rho, D),
        "1.2 hull": lambda: hull(A, rho, D),
        "1.2 volume": lambda: volume(A, rho, D),
        **{f"1.2 {name}": lambda f=f: jensen(A, rho, D, f) for name, f in CONVEX.items()},
        "1.3 pure pixels": lambda: pure_pixels(A, rho, D),
        "1.3 scatter": lambda: scatter(A, rho, D),
        "1.4 Frobenius error": lambda: frobenius(A_hat, A, rho, D),
        "1.4 Frobenius error, worst": lambda: frobenius(*worst_errors(rho, D, len(A)), rho, D),
        "1.4 largest error": lambda: largest_error(A_hat, A, rho, D),
        "1.4 error by light": lambda: light_error(A_hat, A, rho, D),
        "1.4 RMSE": lambda: rmse(A_hat, A, rho, D),
        "1.4 amplification": lambda: amplification(rho, D),
        "1.4 own brightness": lambda: own_brightness(A_hat, A, rho_hat, rho, D),
        "1.5 lobes": lambda: lobes(A, rho, D),
    }

    return applicable(statements)


def violating() -> dict[str, tuple[Callable[..., float], tuple[Any, ...]]]:
    r"""Makes inputs that break one hypothesis each, and the statement that then fails.

    Returns:
        The statement and its arguments, by the label of the statement and what is wrong.
    """
    double = {"dtype": torch.float64}
    # A line of four pixels, brought down to two by the kernel (1.25, -0.25)
    edge = torch.tensor([[0, 1, 1, 0], [1, 0, 0, 1]], **double)
    soft, half = 0.8 * edge + 0.1, torch.full_like(edge, 0.5)
    line = torch.kron(torch.eye(2, **double), torch.tensor([[1.25], [-0.25]], **double))
    even = torch.ones(4, **double)
    # One block, whose first pixel outshines the others, or takes light away
    block = torch.full((4, 1), 0.25, **double)
    bright, signed = (torch.tensor(rho, **double) for rho in ([1, *[0.01] * 3], [-1, 2, 1, 1]))

    # In the first band, the first pixel is dark, and in the second it is not
    bands = torch.tensor([[0, 1, 1, 1], [1, 1, 2, 1]], **double)

    scene = instance(1)
    flat = instance(2, psf="gaussian", contrast=0.0)
    resampled = {
        f"1.1 simplex: {kernel} kernel": (simplex, (flat.A, flat.rho, resampling(8, 8, 2, kernel)))
        for kernel in ("bicubic", "lanczos")
    }

    return {
        "1.1 closure, constant light: varying light": (plain_closure, scene[:4]),
        "1.1 closure, divided by light: Euclidean norm": (
            division,
            (scene.X, scene.D, lambda x: x.norm(dim=0)),
        ),
        "1.1 closure, divided by light: one band": (division, (bands, block, lambda x: x[0])),
        "1.1 simplex: abundances above one": (simplex, (1.1 * scene.A, scene.rho, scene.D)),
        "1.1 simplex: negative abundances": (simplex, (2 * edge - 0.5, bright, block)),
        "1.1 simplex: brightness of both signs": (simplex, (edge, signed, block)),
        **resampled,
        "1.1 simplex: negative lobe": (simplex, (edge, even, line)),
        "1.2 purity: negative lobe": (purity, (edge, even, line)),
        "1.2 hull: negative lobe": (hull, (edge, even, line)),
        "1.2 volume: negative lobe": (volume, (edge, even, line)),
        "1.2 squared norm: negative lobe": (jensen, (edge, even, line, CONVEX["squared norm"])),
        "1.3 pure pixels: negative lobe": (pure_pixels, (soft, even, line)),
        "1.3 scatter: negative lobe": (scatter, (soft, even, line)),
        "1.4 largest error: negative lobe": (largest_error, (half, edge, even, line)),
        "1.4 error by light: negative lobe": (light_error, (half, edge, even, line)),
        "1.4 amplification: negative lobe": (amplification, (even, line)),
        "1.4 own brightness: negative lobe": (own_brightness, (half, edge, even, even, line)),
        "1.5 lobes: abundances above one": (lobes, (1.5 * edge, even, line)),
        "1.4 RMSE: one bright pixel": (rmse, (*worst_errors(bright, block, 2), bright, block)),
        "1.4 RMSE: Gaussian": (rmse, (*worst_errors(flat.rho, flat.D, 3), flat.rho, flat.D)),
    }


def _closure(M: Tensor, A: Tensor, rho: Tensor, D: Tensor, W: Tensor) -> float:
    check_arrays(M=M, A=A)
    if A.shape != (M.shape[-1], len(rho)):
        raise ValueError(
            f"The abundances should have shape (R, N) = {(M.shape[-1], len(rho))}, got "
            f"{tuple(A.shape)}."
        )

    rho_l = rho @ D
    error = M @ A * rho @ D - M @ (A @ W) * rho_l

    return float(slack(error.norm(dim=0), 0, rho_l * M.norm(dim=0).max()).min())


def _measure(A: Tensor) -> tuple[float, float]:
    # Radius of the ball around the centre in the hull, relative to that in the simplex, and volume
    R = len(A)
    if R < 2:
        raise OutsideHypotheses("there is one endmember, and the hull is a point")

    plane = torch.linalg.qr(torch.eye(R, R - 1).to(A) - 1 / R).Q
    points = plane.T @ A
    centred = points - points.mean(dim=1, keepdim=True)
    if A.shape[1] < R or torch.linalg.svdvals(centred)[-1] < ROUNDING:
        return 0.0, 0.0  # flat

    if R == 2:
        distance, content = min(points.max(), -points.min()), points.max() - points.min()
    else:
        polytope = ConvexHull(points.T.numpy())
        distance, content = -polytope.equations[:, -1].max(), polytope.volume

    return max(float(distance), 0.0) * math.sqrt(R * (R - 1)), float(content)
