r"""Theorem 3.3: alternating steps lower the objective, and settle down.

The theory of proximal alternating linearized minimization asks for two inequalities at every
iteration of `smile_core.accessible.alternate`: the objective falls by a multiple of the squared
step, and a subgradient at the new point is bounded by a multiple of the step. The objective is
semi-algebraic; the iterates then have a finite length, and converge to a critical point. That it
is a global optimum is not claimed.

Steps have the lengths :math:`\tau`, blocks of variables the Lipschitz constants :math:`L`. The
hypothesis *step* is :math:`\tau \leq 1 / L`, for abundances and weights; *size* is what a slack is
relative to. Proofs are in the notebook 05.

References:
    | Proximal alternating linearized minimization (Bolte, Sabach, Teboulle, 2014)
    | https://doi.org/10.1007/s10107-013-0701-9
"""

__all__ = [
    "convex_descent",
    "descent",
    "slacks",
    "subgradients",
    "summable",
    "violating",
]

import torch

from collections.abc import Callable
from functools import partial
from torch import Tensor
from typing import Any

from ..accessible import SAFETY, Alternation, Problem, energy, gradient, lipschitz, objective
from ..mixing import project_simplex
from .hypotheses import check_hypothesis
from .problems import opposite
from .slack import slack


def descent(problem: Problem, moved: Alternation, *, require: bool = True) -> float:
    r"""Checks 3.3, that every iteration lowers the objective as predicted.

    .. math:: F_{k + 1} \leq F_k - \tfrac{1}{2} \sum (1/\tau - L) \|\text{step}\|^2

    with the sum over abundances and weights. Hypotheses: *step*. Size: the objective, or the
    energy of the images if that is larger. Source: standard.
    """
    F, predicted, _ = _read(moved, require)
    return float(slack(F[1:] + predicted, F[:-1], F[:-1].clamp_min(_energy(problem))).min())


def convex_descent(problem: Problem, moved: Alternation, *, require: bool = True) -> float:
    r"""Checks 3.3, that it is lowered by more, for simplices are convex.

    .. math:: F_{k + 1} \leq F_k - \sum (1/\tau - L/2) \|\text{step}\|^2

    Hypotheses: *step*; here the one that `alternate` has, which is
    :math:`\tau L = \text{SAFETY}`. Size: as for `descent`. Source: standard.
    """
    more = (2 - SAFETY) / (1 - SAFETY)
    larger = [more * predicted for predicted in moved.predicted]

    return descent(problem, moved._replace(predicted=larger), require=require)


def subgradients(
    problem: Problem, moved: Alternation, *, euclidean: bool = True, require: bool = True
) -> float:
    r"""Checks 3.3, that a subgradient is bounded by a multiple of the step at every iteration.

    Hypotheses: steps are *Euclidean*, not entropic. Size: the bound, or the energy of the images
    if that is larger. Source: standard.
    """
    check_hypothesis(euclidean, "the steps are entropic", require)
    left, right = (torch.tensor(v, dtype=torch.float64) for v in (moved.subgradient, moved.bound))

    return float(slack(left, right, right.clamp_min(_energy(problem))).min())


def summable(problem: Problem, moved: Alternation, *, require: bool = True) -> float:
    r"""Checks 3.3, that steps are square-summable.

    .. math:: \frac{\kappa}{2} \sum_k \|\text{step}_k\|^2 \leq F_0 - F_K, \qquad
        \kappa = \min_k \bigl( 1 / \tau_k - L_k \bigr)

    where :math:`1 / \tau_k - L_k` is the mean over abundances and weights, weighted by their
    squared steps. Hypotheses: *step*. Size: as for `descent`.
    """
    F, predicted, step = _read(moved, require)
    kappa = 2 * (predicted / step.square())[step > 0]
    left = kappa.min() / 2 * step.square().sum() if len(kappa) else 0.0

    return float(slack(left, F[0] - F[-1], F[0].clamp_min(_energy(problem))))


def slacks(problem: Problem, moved: Alternation) -> dict[str, float]:
    r"""Checks every statement on an alternation.

    Args:
        problem: The problem.
        moved: The alternation.

    Returns:
        The slacks by statement.
    """
    return {
        "3.3 descent": descent(problem, moved),
        "3.3 descent, convex": convex_descent(problem, moved),
        "3.3 subgradients": subgradients(problem, moved),
        "3.3 summable": summable(problem, moved),
    }


def violating() -> dict[str, tuple[Callable[..., float], tuple[Any, ...]]]:
    r"""Makes inputs that break one hypothesis each, and the statement that then fails.

    Returns:
        The statement and its arguments, by what is wrong.
    """
    problem, M, near = opposite(0.01)
    L = lipschitz(problem, M)
    leap = _walk(problem, M, near, 3 / L, lambda z, _: project_simplex(z))

    # Entries that are nearly zero move by next to nothing, wherever the gradient points
    problem, M, corner = opposite(0.5 - 1e-9)
    creep = _walk(problem, M, corner, 0.9 / L, lambda z, a: (a.log() + z - a).softmax(dim=0))

    return {
        "step 3 / L, descent": (descent, (problem, leap)),
        "step 3 / L, convex descent": (convex_descent, (problem, leap)),
        "step 3 / L, summable": (summable, (problem, leap)),
        "entropic steps": (partial(subgradients, euclidean=False), (problem, creep)),
    }


def _read(moved: Alternation, require: bool) -> tuple[Tensor, Tensor, Tensor]:
    F, predicted, step = (
        torch.tensor(v, dtype=torch.float64)
        for v in (moved.objective, moved.predicted, moved.step)
    )
    check_hypothesis((predicted >= 0).all(), "a step is longer than 1 / L", require)

    return F, predicted.clamp_min(0), step


def _energy(problem: Problem) -> float:
    return float(energy(problem).sum())


def _walk(
    problem: Problem,
    M: Tensor,
    a: Tensor,
    step: Tensor,
    move: Callable[[Tensor, Tensor], Tensor],
    iterations: int = 8,
) -> Alternation:
    # Steps in the abundances alone, recorded as `alternate` does: the endmembers are candidates
    L, F, history = lipschitz(problem, M), [float(objective(problem, M, a))], []
    for _ in range(iterations):
        a_ = move(a - step * gradient(problem, M, a), a)
        n, g_ = (a_ - a).norm(), gradient(problem, M, a_)
        subgradient = (g_ - g_.mean(dim=0)).norm()  # inside of the simplex, the smallest one
        row = (1 / step - L) * n**2 / 2, n, subgradient, (1 / step + L) * n
        history.append([float(v) for v in row])
        F.append(float(objective(problem, M, a_)))
        a = a_

    W = torch.eye(M.shape[1], dtype=torch.float64)
    return Alternation(W, a, F, *map(list, zip(*history, strict=True)))
