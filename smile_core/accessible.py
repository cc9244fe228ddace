r"""Accessible solve: the optimum of unmixing and super-resolution together, certified.

With the brightness divided out, the LR image :math:`Y`, the target :math:`X_s` of the SR task, and
abundances :math:`A_0` to stay near, such as those of the network, it is the optimum of

.. math:: F_\mu(A, M) = \tfrac{1}{2} \|Y - M A D_\rho\|^2
    + \tfrac{\lambda}{2} \|X_s - M A\|^2 + \tfrac{\mu}{2} \|A - A_0\|^2

over HR abundances with columns in the simplex. Given the endmembers, it is found by accelerated
projected gradient. How far one is from it, at most, is known without knowing it: the Frank-Wolfe
gap of each pixel is summed up. With archetypes :math:`M = V W`, the columns of :math:`W` in
simplices as well, both factors can move: alternating proximal steps never raise :math:`F_\mu`, and
converge to a critical point.

References:
    | Proximal alternating linearized minimization (Bolte, Sabach, Teboulle, 2014)
    | https://doi.org/10.1007/s10107-013-0701-9
    | Adaptive restart for accelerated gradient schemes (O'Donoghue, Candes, 2015)
    | https://doi.org/10.1007/s10208-013-9150-3
"""

__all__ = [
    "Alternation",
    "Problem",
    "Solution",
    "alternate",
    "check",
    "energy",
    "gaps",
    "gradient",
    "lipschitz",
    "modulus",
    "objective",
    "solve",
]

import math
import torch

from torch import Tensor
from typing import NamedTuple

from .degradation import adjoint, degrade
from .mixing import project_simplex

# Of the inverse Lipschitz constants, so that each alternating step lowers the objective
SAFETY = 0.95


class Problem(NamedTuple):
    r"""What the abundances and endmembers are to explain, in float64.

    Args:
        y: The LR image :math:`Y`, brightness divided out, with shape (B, h, w).
        x: The target :math:`X_s` of the SR task, brightness divided out, with shape (B, H, W); or
            endmembers :math:`N`, with shape (B, R), where it is :math:`N A_0`.
        a: The abundances :math:`A_0` to stay near, with shape (R, H, W).
        brightness: The HR brightness :math:`\rho`, positive, with shape (H, W).
        guidance: The weight :math:`\lambda` of the SR task, not negative.
        mu: The weight :math:`\mu` of staying near, not negative.
    """

    y: Tensor
    x: Tensor
    a: Tensor
    brightness: Tensor
    guidance: float
    mu: float

    @property
    def scale(self) -> int:
        r"""The scale factor :math:`s`."""
        return self.a.shape[-1] // self.y.shape[-1]


class Solution(NamedTuple):
    r"""The optimum given the endmembers, and the way there.

    Args:
        a: The HR abundances, in the simplex, with shape (R, H, W), in float64.
        objective: :math:`F_\mu` at the start and after each iteration.
        gap: The Frank-Wolfe gap, a bound on what is left of :math:`F_\mu`, of the same points.
    """

    a: Tensor
    objective: list[float]
    gap: list[float]


class Alternation(NamedTuple):
    r"""Where the alternating steps have led, and what each of them did.

    Args:
        W: The weights of the candidates, columns in the simplex, with shape (P, R).
        a: The HR abundances, in the simplex, with shape (R, H, W), in float64.
        objective: :math:`F_\mu` at the start and after each iteration.
        predicted: By how much each iteration lowers it at least, :math:`\tfrac{1}{2} \sum
            (1/\tau - L) \|\text{step}\|^2` over both factors.
        step: The norm of the step of each iteration, both factors together.
        subgradient: The norm of a subgradient of the constrained objective where it ends.
        bound: What theory bounds that norm by, a multiple of the step.
    """

    W: Tensor
    a: Tensor
    objective: list[float]
    predicted: list[float]
    step: list[float]
    subgradient: list[float]
    bound: list[float]


def objective(problem: Problem, M: Tensor, a: Tensor) -> Tensor:
    r"""Evaluates :math:`F_\mu`.

    Args:
        problem: The problem.
        M: The endmembers, with shape (B, R).
        a: The HR abundances, with shape (R, H, W).

    Returns:
        The objective, a scalar, in the unit of the images squared.
    """
    return _evaluate(problem, _Terms.of(problem, M), a)[0]


def gradient(problem: Problem, M: Tensor, a: Tensor) -> Tensor:
    r"""Evaluates the gradient of :math:`F_\mu` in the abundances, with shape (R, H, W)."""
    return _evaluate(problem, _Terms.of(problem, M), a)[1]


def gaps(problem: Problem, M: Tensor, a: Tensor) -> Tensor:
    r"""Bounds what is left of :math:`F_\mu`, given the endmembers, by the Frank-Wolfe gaps.

    .. math:: \sum_i \max_{v \in \Delta} \langle \nabla F_\mu(A)_i, a_i - v \rangle
        \geq F_\mu(A) - \min_A F_\mu

    References:
        | Revisiting Frank-Wolfe: Projection-Free Sparse Convex Optimization (Jaggi, 2013)
        | https://proceedings.mlr.press/v28/jaggi13.html

    Args:
        problem: The problem.
        M: The endmembers, with shape (B, R).
        a: The HR abundances, in the simplex, with shape (R, H, W).

    Returns:
        The gaps of the pixels, with shape (H, W); their sum is the bound.
    """
    return _gaps(a, gradient(problem, M, a))


def energy(problem: Problem) -> Tensor:
    r"""Returns the size that :math:`F_\mu` compares with, that of no abundances at all.

    .. math:: \tfrac{1}{2} \|y_j\|^2 + \tfrac{\lambda}{2} \sum_{i \in j} \|x_i\|^2

    Args:
        problem: The problem.

    Returns:
        The energy of each LR pixel and of the HR pixels in it, with shape (h, w).
    """
    fine = degrade(_target_squares(problem)[None], problem.scale)[0]
    return (problem.y.square().sum(dim=0) + problem.guidance * problem.scale**2 * fine) / 2


def lipschitz(problem: Problem, M: Tensor) -> Tensor:
    r"""Returns the Lipschitz constant of the gradient in the abundances.

    .. math:: L = (\|D_\rho\|_2^2 + \lambda) \|M\|_2^2 + \mu
    """
    return (_squared_norm(problem) + problem.guidance) * _top(M.mT @ M) + problem.mu


def modulus(problem: Problem, M: Tensor) -> Tensor:
    r"""Returns a modulus of strong convexity in the abundances.

    .. math:: m = \lambda \min_{\|v\| = 1, \, 1^\top v = 0} \|M v\|^2 + \mu

    Differences of abundances sum to zero: affinely independent endmembers are enough. With one
    endmember there is nothing to choose, and the modulus is infinite.
    """
    R = M.shape[1]
    if R == 1:
        return torch.tensor(float("inf"), dtype=torch.float64)
    tangent = torch.linalg.qr((torch.eye(R).to(M) - 1 / R)[:, 1:]).Q  # (R, R - 1)
    least = torch.linalg.eigvalsh((M @ tangent).mT @ (M @ tangent))[0].clamp_min(0)

    return problem.guidance * least + problem.mu


def solve(
    problem: Problem,
    M: Tensor,
    a: Tensor | None = None,
    *,
    tolerance: float = 1e-8,
    iterations: int = 2000,
    accelerated: bool = True,
) -> Solution:
    r"""Solves for the abundances, given the endmembers, by projected gradient.

    Plain steps contract the distance to the optimum by :math:`1 - m / L` each at least, with the
    modulus and the Lipschitz constant of the problem. Accelerated ones are faster, but may raise
    the objective on the way; their momentum is restarted where it points uphill.

    Args:
        problem: The problem.
        M: The endmembers, with shape (B, R).
        a: The abundances to start from, in the simplex, with shape (R, H, W); those to stay near
            if `None`.
        tolerance: The gap to stop at, relative to the objective, and to the energy where the
            objective is nearly zero.
        iterations: The largest number of iterations.
        accelerated: Whether to accelerate.

    Returns:
        The solution, and the history of objective and gap.

    Raises:
        ValueError: If shapes disagree, or a value is out of range.
    """
    a = check(problem, M, problem.a if a is None else a)
    terms, step = _Terms.of(problem, M), 1 / lipschitz(problem, M)
    # Of a perfect fit, less than that is rounding
    floor = max(tolerance**2, 1e-14) * energy(problem).sum()

    F, g = _evaluate(problem, terms, a)
    history = [(float(F), float(_gaps(a, g).sum()))]
    z, g_z, t = a, g, 1.0

    for _ in range(iterations):
        if history[-1][1] <= max(tolerance * history[-1][0], floor):
            break

        a_ = project_simplex(z - step * g_z)
        if accelerated and ((z - a_) * (a_ - a)).sum() > 0:
            a_, t = project_simplex(a - step * g), 1.0
        t_ = (1 + (1 + 4 * t**2) ** 0.5) / 2
        z = a_ + (t - 1) / t_ * (a_ - a) if accelerated else a_

        a, t = a_, t_
        F, g = _evaluate(problem, terms, a)
        g_z = _evaluate(problem, terms, z)[1] if accelerated else g
        history.append((float(F), float(_gaps(a, g).sum())))

    return Solution(a, *map(list, zip(*history, strict=True)))


def alternate(
    problem: Problem,
    V: Tensor,
    W: Tensor,
    a: Tensor | None = None,
    *,
    iterations: int = 100,
) -> Alternation:
    r"""Moves abundances and endmembers :math:`M = V W` in turn, by proximal gradient steps.

    Args:
        problem: The problem.
        V: The candidates, pixels whose brightness is divided out, with shape (B, P).
        W: The weights to start from, columns in the simplex, with shape (P, R).
        a: The abundances to start from; those to stay near if `None`.
        iterations: The number of iterations, each a step in the abundances and one in the weights,
            at least 1.

    Returns:
        The factors, and the history of the steps.

    Raises:
        ValueError: If shapes disagree, or a value is out of range.
    """
    if W.shape[0] != V.shape[1]:
        raise ValueError(
            f"The weights should have a row for each of the {V.shape[1]} candidates, got shape "
            f"{tuple(W.shape)}."
        )
    if iterations < 1:
        raise ValueError(f"The iterations should be at least 1, got {iterations}.")
    a = check(problem, V @ W, problem.a if a is None else a)
    W = project_simplex(W)
    norm_V, norm_D = _top(_gram(V)), _squared_norm(problem)

    M = V @ W
    terms = _Terms.of(problem, M)
    F, g = _evaluate(problem, terms, a)
    history: list[tuple[float, ...]] = []
    objectives = [float(F)]

    for _ in range(iterations):
        L_a = (norm_D + problem.guidance) * _top(M.mT @ M) + problem.mu
        a_ = project_simplex(a - SAFETY / L_a * g)
        step_a = a_ - a

        # M K - C is the gradient in M
        K, C, size_a = _moments(problem, a_)
        L_w = (norm_V * _top(K)).clamp_min(torch.finfo(K.dtype).tiny)
        W_ = project_simplex(W - SAFETY / L_w * (V.mT @ (M @ K - C)))
        step_w, M_ = W_ - W, V @ W_

        # Subgradients at the new point: by optimality of each step, and what changed since
        terms = terms.at(problem, M_)
        F, g_ = _evaluate(problem, terms, a_)
        xi_a = g_ - g - L_a / SAFETY * step_a
        xi_w = V.mT @ ((M_ - M) @ K) - L_w / SAFETY * step_w

        n_a, n_w = step_a.norm(), step_w.norm()
        predicted = (1 / SAFETY - 1) * (L_a * n_a**2 + L_w * n_w**2) / 2
        # The gradient in A changes with M by at most |V| |W_ - W| times this
        L_m = _top(M.mT @ M).sqrt() * size_a + _residual(problem, terms, a_)
        bound = (1 / SAFETY + 1) * (L_a * n_a + L_w * n_w) + norm_V.sqrt() * L_m * n_w
        subgradient = (xi_a.square().sum() + xi_w.square().sum()).sqrt()
        step = (n_a**2 + n_w**2).sqrt()

        history.append(tuple(float(v) for v in (predicted, step, subgradient, bound)))
        objectives.append(float(F))
        a, W, M, g = a_, W_, M_, g_

    return Alternation(W, a, objectives, *map(list, zip(*history, strict=True)))


def check(problem: Problem, M: Tensor, a: Tensor) -> Tensor:
    r"""Checks that problem, endmembers and abundances fit together.

    Returns:
        The abundances in float64, in the simplex up to its rounding.

    Raises:
        ValueError: If shapes disagree, or a value is out of range.
    """
    if (problem.y.ndim, problem.a.ndim, M.ndim) != (3, 3, 2) or problem.x.ndim not in (2, 3):
        raise ValueError(
            "The image y, the target x, the abundances to stay near and the endmembers should "
            f"have 3, 3 or 2, 3 and 2 dimensions, got shapes {tuple(problem.y.shape)}, "
            f"{tuple(problem.x.shape)}, {tuple(problem.a.shape)} and {tuple(M.shape)}."
        )
    (B, h, w), R, s = problem.y.shape, M.shape[1], problem.scale
    H, W = s * h, s * w
    for name, array, shape in (
        ("target x", problem.x, (B, R) if problem.x.ndim == 2 else (B, H, W)),
        ("endmembers", M, (B, R)),
        ("abundances to stay near", problem.a, (R, H, W)),
        ("abundances", a, (R, H, W)),
        ("brightness", problem.brightness, (H, W)),
        ("image y", problem.y, (B, h, w)),
    ):
        if tuple(array.shape) != shape:
            raise ValueError(f"The {name} should have shape {shape}, got {tuple(array.shape)}.")
        if not array.isfinite().all():
            raise ValueError(f"The {name} should be finite.")
    if not (problem.brightness > 0).all():
        raise ValueError("The brightness should be positive everywhere.")
    if not (0 <= problem.guidance < math.inf and 0 <= problem.mu < math.inf):
        raise ValueError(
            f"The weights should be finite and not negative, got guidance={problem.guidance} and "
            f"mu={problem.mu}."
        )

    # Rounded to single precision, abundances do not sum to one, and gaps would not be bounds
    return project_simplex(a.double())


class _Terms(NamedTuple):
    # F in the abundances, given the endmembers: R x R and R x N, whatever the number of bands
    gram: Tensor
    y: Tensor
    x: Tensor
    squares: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, problem: Problem, M: Tensor) -> "_Terms":
        squares = problem.y.square().sum(), _target_squares(problem).sum()
        return cls(M.mT @ M, _mix(M.mT, problem.y), _project_target(problem, M), squares)

    def at(self, problem: Problem, M: Tensor) -> "_Terms":
        return _Terms(M.mT @ M, _mix(M.mT, problem.y), _project_target(problem, M), self.squares)


def _evaluate(problem: Problem, terms: _Terms, a: Tensor) -> tuple[Tensor, Tensor]:
    rho, away = problem.brightness[None], a - problem.a
    down = degrade(a, problem.scale, brightness=rho)
    G_down, G_a = _mix(terms.gram, down), _mix(terms.gram, a)

    F = (
        (terms.squares[0] + problem.guidance * terms.squares[1]) / 2
        + ((G_down / 2 - terms.y) * down).sum()
        + problem.guidance * ((G_a / 2 - terms.x) * a).sum()
        + problem.mu / 2 * away.square().sum()
    )
    g = (
        adjoint(G_down - terms.y, problem.scale, brightness=rho)
        + problem.guidance * (G_a - terms.x)
        + problem.mu * away
    )

    return F, g


def _moments(problem: Problem, a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    # K = A (D D' + lambda I) A', C = Y (A D)' + lambda X A', and |A D| |D| + lambda |A|
    down = degrade(a, problem.scale, brightness=problem.brightness[None]).flatten(1)
    a = a.flatten(1)
    K = down @ down.mT + problem.guidance * a @ a.mT
    x = problem.x if problem.x.ndim == 2 else problem.x.flatten(1)
    xa = x @ (problem.a.flatten(1) @ a.mT) if problem.x.ndim == 2 else x @ a.mT
    C = problem.y.flatten(1) @ down.mT + problem.guidance * xa
    size = _squared_norm(problem).sqrt() * down.norm() + problem.guidance * a.norm()

    return K, C, size


def _residual(problem: Problem, terms: _Terms, a: Tensor) -> Tensor:
    # |Y - M A D| |D| + lambda |X - M A|
    down = degrade(a, problem.scale, brightness=problem.brightness[None])
    low, high = (
        square + ((_mix(terms.gram, each) - 2 * projected) * each).sum()
        for square, projected, each in zip(
            terms.squares, (terms.y, terms.x), (down, a), strict=True
        )
    )
    norm_D = _squared_norm(problem).sqrt()

    return norm_D * low.clamp_min(0).sqrt() + problem.guidance * high.clamp_min(0).sqrt()


def _project_target(problem: Problem, M: Tensor) -> Tensor:
    # M' X, of the image or of the mixtures N A_0
    if problem.x.ndim == 2:
        return _mix(M.mT @ problem.x, problem.a)
    return _mix(M.mT, problem.x)


def _target_squares(problem: Problem) -> Tensor:
    if problem.x.ndim == 2:
        return (_mix(problem.x.mT @ problem.x, problem.a) * problem.a).sum(dim=0)
    return problem.x.square().sum(dim=0)


def _gaps(a: Tensor, g: Tensor) -> Tensor:
    return (g * a).sum(dim=0) - g.amin(dim=0)


def _mix(M: Tensor, a: Tensor) -> Tensor:
    return (M @ a.flatten(1)).reshape(-1, *a.shape[1:])


def _squared_norm(problem: Problem) -> Tensor:
    # Blocks do not overlap: the largest norm of a column
    rho, s = problem.brightness[None], problem.scale
    return (degrade(rho.square(), s) / degrade(rho, s).square()).max() / s**2


def _gram(M: Tensor) -> Tensor:
    return M.mT @ M if M.shape[0] > M.shape[1] else M @ M.mT


def _top(gram: Tensor) -> Tensor:
    return torch.linalg.eigvalsh(gram)[-1]
