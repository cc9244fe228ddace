r"""Theorem 3.4: the truth is the optimum, and at HR more often than at LR.

Without noise, and with the HR image as the target, the true endmembers and abundances make

.. math:: F(A, W) = \tfrac{1}{2} \|Y - V W A D_\rho\|^2 + \tfrac{\lambda}{2} \|X - V W A\|^2

zero, if the candidates :math:`V` hold a pure pixel of each endmember. The other way round, what
makes it nearly zero is nearly the truth, if there are no candidates beyond it:

========== ============================================================================
*pure*     each endmember has a pure HR pixel
*hull*     the candidates :math:`V` are mixtures of the true endmembers
*affine*   the endmembers :math:`M` are affinely independent
*number*   as many endmembers are looked for as there are
*SR*       :math:`\lambda > 0`
*linear*   the light :math:`\ell` that is divided out is linear in the spectrum
========== ============================================================================

*simplex*, *kernel* and *light* are those of `smile_core.theorems.hypotheses`. Statements are the
project's own, the proofs are in the notebook 05.
"""

__all__ = [
    "accessible",
    "mosaic",
    "near_truth",
    "nearer",
    "slacks",
    "truth",
    "violating",
]

import math
import torch

from collections.abc import Callable
from functools import partial
from scipy.optimize import linear_sum_assignment, nnls
from torch import Tensor
from typing import Any

from ..degradation import enlarge
from ..mixing import fcls
from .families import Instance, instance
from .hypotheses import bring_down, check_hypothesis
from .problems import draw
from .relationship import pure_pixels
from .slack import ROUNDING, applicable, check_arrays, slack

NO_PURE = "an endmember has no pure HR pixel"


def truth(
    scene: Instance,
    light: Callable[[Tensor], Tensor] | None = None,
    *,
    guidance: float = 1.0,
    require: bool = True,
) -> float:
    r"""Checks 3.4, that :math:`F` is zero at the truth, with the HR pixels as candidates.

    Divided by their light, pixels are mixtures of :math:`\bar m_k = m_k / \ell(m_k)`, with the
    abundances :math:`\bar a_k \propto \ell(m_k) a_k`. Each endmember is made of its purest pixel.
    Hypotheses: *simplex*, *kernel*, *light*, *pure*, *linear*. Size: the energy of the images.

    Args:
        scene: The scene.
        light: The light of each pixel, from shape (B, \*) to shape (\*,); the sum over the bands
            if `None`.
        guidance: The weight :math:`\lambda`.
        require: Whether to raise outside of the hypotheses.
    """
    light = (lambda x: x.sum(dim=0)) if light is None else light
    _check(scene, require)
    check_hypothesis(accessible(scene.A), NO_PURE, require)
    rho, rho_l = light(scene.X), light(scene.Y)
    linear = (rho_l - rho @ scene.D).abs().max() <= ROUNDING * rho.abs().max()
    check_hypothesis(linear, "the light that is divided out is not linear", require)

    X, Y, a = scene.X / rho, scene.Y / rho_l, light(scene.M)[:, None] * scene.A
    M, D = X[:, scene.A.argmax(dim=1)], rho[:, None] * scene.D / (rho @ scene.D)
    F, energy = (
        _objective(X, Y, D, M_A, guidance) for M_A in (M @ (a / a.sum(dim=0)), torch.zeros_like(X))
    )

    return float(slack(F, 0, energy))


def near_truth(
    scene: Instance,
    V: Tensor,
    W: Tensor,
    A: Tensor,
    *,
    guidance: float = 1.0,
    require: bool = True,
) -> float:
    r"""Checks 3.4, that what makes :math:`F` small is near the truth, up to a permutation.

    .. math:: \max_k \|(V W)_k - m_k\| \leq \delta \max_{k, l} \|m_k - m_l\|, \qquad
        \|A - A_\text{true}\| \leq \eta / \sigma_T + \sqrt{2 N} \, \delta, \\
        \eta = \sqrt{2 F / \lambda}, \qquad \delta = \sqrt{1 - 1 / R} \; \eta / \sigma_T < 1 / 2

    with the smallest singular value :math:`\sigma_T` of :math:`M` on vectors that sum to zero. So
    where F is zero, this is the truth. Hypotheses: *simplex*, *kernel*, *light*, *pure*, *hull*,
    *affine*, *number*, *SR*; where :math:`\lambda = 0` is not required to be more, one is in its
    place. Size: the norm of the largest endmember; :math:`\sqrt N`.

    Args:
        scene: The scene; its brightness is divided out.
        V: The candidates, with shape (B, P).
        W: The weights, columns in the simplex, with shape (P, R).
        A: The abundances, columns in the simplex, with shape (R, N).
        guidance: The weight :math:`\lambda`.
        require: Whether to raise outside of the hypotheses.
    """
    (M, true, rho, D, _), R = scene, scene.M.shape[1]
    _check(scene, require)
    _check_factors(scene, V, W, A)
    bring_down(A, rho, D, require=require)
    check_hypothesis(guidance > 0, "there is no SR task, lambda = 0", require)
    check_hypothesis(W.shape[1] == R, "the number of endmembers is not the true one", require)
    check_hypothesis(accessible(true), NO_PURE, require)
    outside = (M @ fcls(V, M) - V).norm(dim=0).max()
    inside = outside <= 1e-9 * V.norm(dim=0).max()
    check_hypothesis(inside, "a candidate is outside of the hull of the endmembers", require)
    sigma = _tangent(M)
    independent = sigma > ROUNDING * torch.linalg.matrix_norm(M, 2)
    check_hypothesis(independent, "the endmembers are affinely dependent", require)
    sigma = sigma if independent else torch.linalg.matrix_norm(M, 2)

    X, E = M @ true, V @ W
    F = _objective(X, X @ scene.D_rho, scene.D_rho, E @ A, guidance)
    eta = (2 * F / (guidance if guidance > 0 else 1)).sqrt()
    delta = math.sqrt(1 - 1 / R) * eta / sigma
    check_hypothesis(delta < 1 / 2, "the objective is too large to tell endmembers", require)

    distance = torch.cdist(M.T, E.T)
    order = linear_sum_assignment(distance.square().numpy())[1]
    off = (E[:, order] - M).norm(dim=0).max()
    by = delta * torch.cdist(M.T, M.T).max()
    N = true.shape[1]
    off_a, by_a = (A[order] - true).norm(), eta / sigma + math.sqrt(2 * N) * delta

    return float(min(slack(off, by, M.norm(dim=0).max()), slack(off_a, by_a, math.sqrt(N))))


def nearer(scene: Instance, *, require: bool = True) -> float:
    r"""Checks 3.4, that archetypes of HR pixels come nearer to the truth than those of LR pixels.

    .. math:: \min_{w \in \Delta} \|m_k - X w\| \leq \min_{w \in \Delta} \|m_k - Y w\|

    for every endmember, brightness divided out. Hypotheses: *simplex*, *kernel*, *light*. Size:
    the norm of the largest endmember.
    """
    A_l = _check(scene, require)
    M = scene.M / scene.M.norm(dim=0).max()
    targets = _lift(M).T.numpy()
    high, low = (
        torch.tensor([nnls(_lift(M @ a).numpy(), target)[1] for target in targets])
        for a in (scene.A, A_l)
    )

    return float(slack(high, low, 1).min())


def accessible(A: Tensor) -> bool:
    r"""Tells whether each endmember has a pure pixel, up to rounding."""
    check_arrays(A=A)
    return bool((A.amax(dim=1) >= 1 - ROUNDING).all())


def mosaic(purity: float, *, size: int = 12, patch: int = 3, R: int = 3, seed: int = 0) -> Tensor:
    r"""Draws abundances that are constant on square patches.

    Args:
        purity: The probability that a patch is pure, of a material drawn uniformly.
        size: The number of rows and columns.
        patch: Those of a patch; a divisor of `size`.
        R: The number of endmembers.
        seed: The seed.

    Returns:
        The abundances, with shape (R, size * size).
    """
    generator = torch.Generator().manual_seed(seed)
    n = (size // patch) ** 2
    a = -torch.rand(R, n, generator=generator, dtype=torch.float64).log()
    pure = torch.eye(R, dtype=torch.float64)[torch.randint(R, (n,), generator=generator)].T
    chosen = torch.rand(n, generator=generator, dtype=torch.float64) < purity
    a = torch.where(chosen, pure, a / a.sum(dim=0)).reshape(R, size // patch, size // patch)

    return enlarge(a, patch).flatten(1)


def slacks(scene: Instance, seed: int = 0) -> dict[str, float]:
    r"""Checks every statement whose hypotheses hold on a scene.

    Args:
        scene: The scene.
        seed: The seed of the weights and abundances, drawn near the truth.

    Returns:
        The slacks by statement.
    """
    M, A, rho, D, _ = scene
    statements: dict[str, Callable[[], float]] = {
        "3.4 truth is a zero": lambda: truth(scene),
        "3.4 near zero, near truth": lambda: near_truth(scene, M @ A, *_around(scene, 1e-3, seed)),
        "3.4 nearer at HR": lambda: nearer(scene),
        "3.4 pure at LR, pure at HR": lambda: pure_pixels(A, rho, D),
    }

    return applicable(statements)


def violating() -> dict[str, tuple[Callable[..., float], tuple[Any, ...]]]:
    r"""Makes inputs that break one hypothesis each, and the statement that then fails.

    Returns:
        The statement and its arguments, by what is wrong.
    """
    double = {"dtype": torch.float64}
    scene, mixed, three = instance(1), instance(6, pure=False), torch.eye(3, **double)

    # Without pure pixels, a smaller simplex holds all pixels as well
    less = 0.9 * three + 0.1 / 3
    inside = mixed.M, less, torch.linalg.solve(less, mixed.A)
    # With candidates beyond the endmembers, a larger one does
    more = torch.linalg.inv(less)
    outside = scene.M @ more, three, less @ scene.A
    # Without SR, pixels of a block may differ as long as they come down to the same
    block = torch.full((3, 4), 1 / 3, **double)
    block[:, :2] += 0.1 * torch.tensor([[1, -1], [-1, 1], [0, 0]], **double)
    pixels = torch.cat([three.repeat_interleave(4, dim=1), block], dim=1)
    D = torch.kron(torch.eye(4, **double), torch.full((4, 1), 0.25, **double))
    swapped = Instance(scene.M, pixels, torch.ones(16, **double), D, 2)
    flat = pixels.clone()
    flat[:, 12:] = 1 / 3
    # One endmember too many, in the middle of the others
    extra = torch.cat([three, torch.full((3, 1), 1 / 3, **double)], dim=1)
    shared = torch.cat([scene.A - scene.A.amin(dim=0), 3 * scene.A.amin(dim=0)[None]])
    # An endmember between two others
    between = scene.M.clone()
    between[:, 2] = between[:, :2].mean(dim=1)
    moved = torch.cat([(scene.A + scene.A[2] / 2)[:2], 0 * scene.A[2:]])

    # Two LR pixels that overshoot the HR ones, by the kernel (1.25, -0.25)
    edge = 0.8 * torch.tensor([[0, 1, 1, 0], [1, 0, 0, 1]], **double) + 0.1
    kernel = torch.kron(torch.eye(2, **double), torch.tensor([[1.25], [-0.25]], **double))
    lobes = Instance(scene.M[:, :2], edge, torch.ones(4, **double), kernel, 1)

    return {
        "light not linear, Euclidean norm": (truth, (scene, lambda x: x.norm(dim=0))),
        "no pure pixel, truth": (truth, (mixed,)),
        "no pure pixel": (near_truth, (mixed, *inside)),
        "candidates outside of the hull": (near_truth, (scene, *outside)),
        "no SR task": (partial(near_truth, guidance=0.0), (swapped, scene.M, three, flat)),
        "one endmember too many": (near_truth, (scene, scene.M, extra, shared)),
        "affinely dependent endmembers": (
            near_truth,
            (scene._replace(M=between), between, three, moved),
        ),
        "negative lobes": (nearer, (lobes,)),
    }


def _check(scene: Instance, require: bool) -> Tensor:
    check_arrays(M=scene.M)
    if scene.M.ndim != 2 or scene.M.shape[1] != len(scene.A):
        raise ValueError(
            f"The endmembers should have shape (B, R) with R = {len(scene.A)}, got "
            f"{tuple(scene.M.shape)}."
        )

    return bring_down(scene.A, scene.rho, scene.D, require=require)[0]


def _check_factors(scene: Instance, V: Tensor, W: Tensor, A: Tensor) -> None:
    check_arrays(V=V, W=W, A=A)
    shapes = (len(scene.M), len(W)), (V.shape[1], len(A))
    if (tuple(V.shape), tuple(W.shape)) != shapes:
        raise ValueError(
            "The candidates, weights and abundances should have shapes (B, P), (P, R) and (R, N) "
            f"with B = {len(scene.M)}, got {tuple(V.shape)}, {tuple(W.shape)} and "
            f"{tuple(A.shape)}."
        )


def _objective(X: Tensor, Y: Tensor, D: Tensor, M_A: Tensor, guidance: float) -> Tensor:
    return ((Y - M_A @ D).square().sum() + guidance * (X - M_A).square().sum()) / 2


def _tangent(M: Tensor) -> Tensor:
    R = M.shape[1]
    if R == 1:
        return torch.tensor(torch.inf, dtype=M.dtype)
    if R - 1 > len(M):
        return torch.zeros((), dtype=M.dtype)

    return torch.linalg.svdvals(M @ torch.linalg.qr(torch.eye(R, R - 1).to(M) - 1 / R).Q)[-1]


def _lift(M: Tensor) -> Tensor:
    # A heavy row of ones, so that weights sum to one
    return torch.cat([M, torch.full_like(M[:1], 1e3)])


def _around(scene: Instance, part: float, seed: int) -> tuple[Tensor, Tensor]:
    # The true weights of the HR pixels, and abundances, with a part that is drawn at random
    R, N = scene.A.shape
    W = torch.eye(N, dtype=torch.float64)[:, scene.A.argmax(dim=1)]

    return (
        (1 - part) * W + part * draw(N, R, seed=seed),
        (1 - part) * scene.A + part * draw(R, N, seed=seed + 1),
    )
