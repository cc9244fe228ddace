r"""Theorem 3, accessibility: the optimum exists, is reached, and is the truth.

With the brightness divided out, LR image :math:`Y`, target :math:`X_s` of super-resolution (SR),
abundances :math:`A_0` to stay near, and archetypes :math:`M = V W`,

.. math:: F_\mu(A, W) = \tfrac{1}{2} \|Y - M A D_\rho\|^2
    + \tfrac{\lambda}{2} \|X_s - M A\|^2 + \tfrac{\mu}{2} \|A - A_0\|^2,

is what `smile_core.accessible` minimises. Here its iterates and certificates are checked:

1.  A minimum is attained. That follows from compactness, and is no matter of checking; how much
    :math:`F_\mu` can change, hence its continuity, is.
2.  Given the endmembers, the abundances are unique and reached at a known rate.
3.  The alternating steps lower :math:`F_\mu`, and lead to a critical point; see
    `smile_core.theorems.convergence`.
4.  The truth is the optimum; see `smile_core.theorems.truth`.

The statements name what they need:

========= ===================================================================================
*simplex* the columns of the abundances, and of the weights, are in the simplex
*choice*  there are two endmembers or more
*modulus* :math:`m > 0`: :math:`\mu > 0`, or :math:`\lambda > 0` and :math:`M` is affinely
          independent
*step*    projected gradient steps have the length :math:`1 / L` at most
========= ===================================================================================

with the Lipschitz constant :math:`L` and the modulus :math:`m` of the problem. The name of the
theorem is the paper's (abstract). Statements are the project's own unless said otherwise, the
proofs are in the notebook 05; *size* is what a slack is relative to, the energy of the images
unless said otherwise.
"""

__all__ = [
    "bounded_change",
    "certificate",
    "contraction",
    "envelope",
    "slacks",
    "slacks_of_solver",
    "strong_convexity",
    "twin",
    "twins",
    "unique",
    "violating",
]

import contextlib
import torch

from collections.abc import Callable
from torch import Tensor
from typing import Any

from ..accessible import (
    Problem,
    alternate,
    check,
    energy,
    gaps,
    gradient,
    lipschitz,
    modulus,
    objective,
    solve,
)
from ..mixing import project_simplex
from . import convergence, truth
from .families import Instance, instance
from .hypotheses import check_hypothesis, check_simplex
from .problems import draw, hidden, make_problem, opposite
from .slack import ROUNDING, OutsideHypotheses, applicable, slack


def bounded_change(
    problem: Problem,
    V: Tensor,
    here: tuple[Tensor, Tensor],
    there: tuple[Tensor, Tensor],
    *,
    require: bool = True,
) -> float:
    r"""Checks 3.1, that :math:`F` is Lipschitz continuous where it has to have a minimum.

    .. math:: |F(A, W) - F(A', W')| \leq (1 + \lambda) \, r \, \bigl(
        \sqrt{R} \, v \, \|A - A'\| + \sqrt{N} \, \|V\|_2 \|W - W'\| \bigr)

    with :math:`v = \max_p \|v_p\|` and :math:`r = (\|Y\|^2 + \|X_s\|^2)^{1/2} + \sqrt{N} \, v`.
    Hypotheses: *simplex*, and :math:`\mu = 0`.

    Args:
        problem: The problem.
        V: The candidates, with shape (B, P).
        here: Weights, with shape (P, R), and abundances, with shape (R, H, W).
        there: Other ones.
        require: Whether to raise outside of the hypotheses.
    """
    (W, a), (W_, a_) = here, there
    for weights, abundances in (here, there):
        _check(problem, V @ weights, abundances, require=require)
        check_simplex("columns", weights, require)
    check_hypothesis(problem.mu == 0, "abundances have to stay near others, mu > 0", require)

    N, R, v = problem.brightness.numel(), W.shape[1], V.norm(dim=0).max()
    images = (2 * energy(problem._replace(guidance=1.0)).sum()).sqrt()
    by_a = R**0.5 * v * (a - a_).norm()
    by_W = N**0.5 * torch.linalg.matrix_norm(V, 2) * (W - W_).norm()
    change = objective(problem, V @ W, a) - objective(problem, V @ W_, a_)

    right = (1 + problem.guidance) * (images + N**0.5 * v) * (by_a + by_W)

    return float(slack(change.abs(), right))


def strong_convexity(
    problem: Problem, M: Tensor, a: Tensor, b: Tensor, *, require: bool = True
) -> float:
    r"""Checks 3.2, :math:`\langle \nabla F(A) - \nabla F(B), A - B \rangle \geq m \|A - B\|^2`.

    The modulus counts only what differences of abundances can be: they sum to zero, so that
    affinely independent endmembers are enough. Hypotheses: *simplex*, *choice*. Size:
    :math:`L \|A - B\|^2`. Source: standard, for this modulus.
    """
    m, L = _constants(problem, M, a, b, require)
    turn = ((gradient(problem, M, a) - gradient(problem, M, b)) * (a - b)).sum()

    return float(slack(m * (a - b).square().sum(), turn, L * (a - b).square().sum()))


def unique(problem: Problem, M: Tensor, a: Tensor, b: Tensor, *, require: bool = True) -> float:
    r"""Checks 3.2, that abundances whose gaps :math:`g` are small are near each other.

    .. math:: \|A - B\| \leq \sqrt{2 g(A) / m} + \sqrt{2 g(B) / m}

    In particular there is one minimiser only. Hypotheses: *simplex*, *choice*, *modulus*; where
    it is zero and not required, :math:`L` is in its place. Size: :math:`\sqrt N`.
    """
    m, L = _constants(problem, M, a, b, require)
    check_hypothesis(m > ROUNDING * L, "nothing makes the abundances unique, m = 0", require)
    m = m if m > ROUNDING * L else L
    right = sum((2 * gaps(problem, M, c).sum().clamp_min(0) / m).sqrt() for c in (a, b))

    return float(slack((a - b).norm(), right, a[0].numel() ** 0.5))


def certificate(
    problem: Problem, M: Tensor, a: Tensor, b: Tensor, *, require: bool = True
) -> float:
    r"""Checks 3.2, that none is better by more than the gap, :math:`F(A) - F(B) \leq g(A)`.

    Hypotheses: *simplex*. Source: standard (Jaggi, 2013).
    """
    _check(problem, M, a, b, require=require)
    left = objective(problem, M, a) - objective(problem, M, b)

    return float(slack(left, gaps(problem, M, a).sum(), _size(problem, M, a)))


def contraction(
    problem: Problem,
    M: Tensor,
    a: Tensor,
    b: Tensor,
    step: Tensor | float | None = None,
    *,
    require: bool = True,
) -> float:
    r"""Checks 3.2, that a projected gradient step :math:`T` brings any two points together.

    .. math:: \|T(A) - T(B)\| \leq (1 - m \tau) \|A - B\|

    The minimiser stays where it is, and is one of them. Hypotheses: *simplex*, *choice*, *step*.
    Size: :math:`\|A - B\|`. Source: standard, for this modulus.

    Args:
        problem: The problem.
        M: The endmembers, with shape (B, R).
        a: Abundances, with shape (R, H, W).
        b: Other ones.
        step: The length :math:`\tau`, :math:`1 / L` if `None`.
        require: Whether to raise outside of the hypotheses.
    """
    m, L = _constants(problem, M, a, b, require)
    step = _check_step(step, L, require)
    a_, b_ = (project_simplex(c - step * gradient(problem, M, c)) for c in (a, b))

    return float(slack((a_ - b_).norm(), (1 - m * step) * (a - b).norm(), (a - b).norm()))


def envelope(
    problem: Problem,
    M: Tensor,
    a: Tensor,
    b: Tensor,
    step: Tensor | float | None = None,
    *,
    iterations: int = 50,
    require: bool = True,
) -> float:
    r"""Checks 3.2, the envelope of accelerated projected gradient, without restarts.

    .. math:: F(A^{(k)}) - F(B) \leq \frac{2 \|A^{(0)} - B\|^2}{\tau (k + 1)^2}

    for every :math:`B`, the minimiser among them. Hypotheses: *simplex*, *step*. Size: the
    right-hand side. Source: standard.

    References:
        | A Fast Iterative Shrinkage-Thresholding Algorithm (Beck, Teboulle, 2009)
        | https://doi.org/10.1137/080716542
    """
    _check(problem, M, a, b, require=require)
    step = _check_step(step, lipschitz(problem, M), require)
    least, far = objective(problem, M, b), (a - b).square().sum()
    found, z, t = [], a, 1.0

    for k in range(1, iterations + 1):
        a_ = project_simplex(z - step * gradient(problem, M, z))
        t_ = (1 + (1 + 4 * t**2) ** 0.5) / 2
        z, a, t = a_ + (t - 1) / t_ * (a_ - a), a_, t_
        found.append(slack(objective(problem, M, a) - least, 2 * far / (step * (k + 1) ** 2)))

    return float(min(found))


def twin(problem: Problem, a: Tensor) -> Tensor:
    r"""Makes other abundances that come down to the same ones, as far from these as can be.

    In two HR pixels, the first two endmembers change places, see `hidden`.

    Raises:
        OutsideHypotheses: If there is nothing to change, or if it would leave the simplex.
    """
    check_hypothesis(len(a) > 1, "there is one endmember, and nothing to choose")
    z, change = hidden(problem), torch.zeros_like(a)
    change[0], change[1] = z, -z
    most = torch.where(change < 0, -a / change, torch.inf).min()
    check_hypothesis(most > 0, "abundances that would have to give are zero")

    return (a + most * change).clamp_min(0)


def twins(problem: Problem, M: Tensor, a: Tensor, *, require: bool = True) -> float:
    r"""Checks 3.2, that without SR task there are many minimisers: a `twin` is as good.

    Hypotheses: *simplex*, *choice*, :math:`\lambda = \mu = 0`, and abundances that are not zero.
    """
    _check(problem, M, a, require=require)
    free = problem.guidance == 0 == problem.mu
    check_hypothesis(free, "the SR task chooses, or what abundances have to stay near", require)
    change = objective(problem, M, twin(problem, a)) - objective(problem, M, a)

    return float(slack(change.abs(), 0, _size(problem, M, a)))


def slacks(scene: Instance, seed: int = 0) -> dict[str, float]:
    r"""Checks every statement whose hypotheses hold on a scene, those of 3.4 included.

    Where LR pixels are no block means, all that is about the solver is left out. With one
    endmember, or endmembers that are affinely dependent, what needs a choice or a modulus is.

    Args:
        scene: The scene.
        seed: The seed of all that is drawn.

    Returns:
        The slacks by statement.
    """
    found = {}
    with contextlib.suppress(OutsideHypotheses):
        problem = make_problem(scene, seed)
        found = slacks_of_solver(problem, scene.M, scene.M @ scene.A, seed)

    return found | truth.slacks(scene, seed)


def slacks_of_solver(problem: Problem, M: Tensor, V: Tensor, seed: int = 0) -> dict[str, float]:
    r"""Checks 3.1 to 3.3 where their hypotheses hold.

    Args:
        problem: The problem.
        M: The endmembers, with shape (B, R).
        V: The candidates, with shape (B, P).
        seed: The seed of the abundances and weights that are compared.

    Returns:
        The slacks by statement.
    """
    free, alone = problem._replace(mu=0.0), problem._replace(guidance=0.0, mu=0.0)
    (W, W_), (a, b) = (
        [draw(*shape, seed=seed + k) for k in (1, 2)]
        for shape in ((V.shape[1], M.shape[1]), problem.a.shape)
    )
    best = solve(problem, M, tolerance=1e-9).a
    statements: dict[str, Callable[[], float]] = {
        "3.1 bounded change": lambda: bounded_change(free, V, (W, a), (W_, b)),
        "3.2 strong convexity": lambda: strong_convexity(problem, M, a, b),
        "3.2 unique": lambda: unique(problem, M, a, best),
        "3.2 gap": lambda: certificate(problem, M, a, best),
        "3.2 contraction": lambda: contraction(problem, M, a, b),
        "3.2 contraction, to the optimum": lambda: contraction(problem, M, a, best),
        "3.2 envelope": lambda: envelope(problem, M, a, best),
        "3.2 twins without SR": lambda: twins(alone, M, a),
    }

    return applicable(statements) | convergence.slacks(problem, alternate(problem, V, W, a))


def violating() -> dict[str, tuple[Callable[..., float], tuple[Any, ...]]]:
    r"""Makes inputs that break one hypothesis each, and the statement that then fails.

    Returns:
        The statement and its arguments, by what is wrong.
    """
    scene = instance(1)
    problem, M, V = make_problem(scene), scene.M, scene.M @ scene.A
    a, b = (draw(*problem.a.shape, seed=seed) for seed in (1, 2))
    W = draw(V.shape[1], M.shape[1], seed=3)
    best = solve(problem, M, tolerance=1e-9).a
    beyond = best - gradient(problem, M, best) / lipschitz(problem, M)
    alone = problem._replace(guidance=0.0)
    single = solve(alone, M, a, tolerance=1e-9).a
    again = M[:, [0, 0, 1]]
    repeated = solve(problem, again, a, tolerance=1e-9).a

    # Steps that are too long where all is curved alike
    line, opposed, tilted = opposite(0.01)
    centre, long = opposite(0.0)[2], 3 / lipschitz(line, opposed)
    # A change that the endmembers do not show, and that no abundances make
    flat = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    more = centre + 0.1 * torch.tensor([[[2.0]], [[-1.0]]], dtype=torch.float64)

    return {
        "weights outside of the simplex": (bounded_change, (problem, V, (99 * W, a), (W, b))),
        "difference that does not sum to zero": (strong_convexity, (line, flat, more, centre)),
        "no SR task, two minimisers": (unique, (alone, M, single, twin(alone, single))),
        "repeated endmembers": (unique, (problem, again, repeated, repeated[[1, 0, 2]])),
        "better outside of the simplex": (certificate, (problem, M, best, beyond)),
        "step 3 / L, contraction": (contraction, (line, opposed, tilted, centre, long)),
        "step 3 / L, envelope": (envelope, (line, opposed, tilted, centre, long)),
        "SR task that chooses": (twins, (problem, M, a)),
        **convergence.violating(),
        **truth.violating(),
    }


def _constants(
    problem: Problem, M: Tensor, a: Tensor, b: Tensor, require: bool
) -> tuple[Tensor, Tensor]:
    _check(problem, M, a, b, require=require)
    check_hypothesis(M.shape[1] > 1, "there is one endmember, and nothing to choose")

    return modulus(problem, M), lipschitz(problem, M)


def _check(problem: Problem, M: Tensor, *abundances: Tensor, require: bool) -> None:
    for a in abundances:
        check(problem, M, a)
        check_simplex("columns", a, require)


def _check_step(step: Tensor | float | None, L: Tensor, require: bool) -> Tensor:
    step = 1 / L if step is None else torch.as_tensor(step, dtype=torch.float64)
    check_hypothesis(step * L <= 1 + ROUNDING, "the step is longer than 1 / L", require)

    return step


def _size(problem: Problem, M: Tensor, a: Tensor) -> Tensor:
    return torch.maximum(objective(problem, M, a), energy(problem).sum())
