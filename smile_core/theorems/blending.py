r"""Theorem 2.3: when a blend of two estimates is better than the first, and which one is best.

Of the same abundances, unmixing has the estimate :math:`a_u` and super-resolution (SR) the
estimate :math:`a_s`, with errors :math:`e_u` and :math:`e_s`. The guided estimate solves

.. math:: \min_a \|y - M a\|^2 + \lambda \|y_s - M a\|^2, \qquad
    a(\lambda) = \frac{a_u + \lambda a_s}{1 + \lambda},

and its error depends on three moments of the errors only, their mean squares :math:`v_u` and
:math:`m` and their mean inner product c: some weight helps if and only if :math:`c < v_u`. The
proofs are in the notebook 04.
"""

__all__ = [
    "Trials",
    "best_guidance",
    "best_weight",
    "blend",
    "check_shapes",
    "closed_form",
    "draw",
    "estimate",
    "full_rank",
    "largest_weight",
    "moments",
    "monte_carlo",
    "mse",
    "no_weight_helps",
    "slacks",
    "some_weight_helps",
    "violating",
]

import math
import torch

from collections.abc import Callable
from functools import partial
from torch import Tensor
from typing import NamedTuple

from ..mixing import fcls
from .hypotheses import check_hypothesis
from .slack import ROUNDING, check_arrays, slack


class Trials(NamedTuple):
    r"""LR pixels that both tasks have observed, each column a trial of equal probability.

    Args:
        M: The endmembers, with shape (B, R).
        a: The true abundances, with shape (R, T), or (R, 1) where they are the same.
        y: The pixels that unmixing sees, with shape (B, T).
        y_s: The pixels that the SR task says they are, with shape (B, T).
    """

    M: Tensor
    a: Tensor
    y: Tensor
    y_s: Tensor


def mse(
    weight: Tensor | float, v_u: Tensor | float, m: Tensor | float, c: Tensor | float
) -> Tensor:
    r"""Returns the mean squared error (MSE) of a blend of two estimates.

    .. math:: \text{MSE}(\lambda) = \frac{v_u + 2 \lambda c + \lambda^2 m}{(1 + \lambda)^2}, \qquad
        v_u = E\|e_u\|^2, \quad m = E\|e_s\|^2, \quad c = E\langle e_u, e_s \rangle

    Args:
        weight: The weight :math:`\lambda \geq 0` of the SR task. At infinity the MSE is m.
        v_u: The mean square of the errors of unmixing.
        m: That of the errors of SR: their variance plus their squared bias.
        c: The mean inner product of both.

    Raises:
        ValueError: If a weight is negative, or if no errors have such moments.
    """
    weight = torch.as_tensor(weight, dtype=torch.float64)
    v_u, m, c = _admissible(v_u, m, c)
    if not (weight >= 0).all():
        raise ValueError(f"The weight should not be negative, got {weight.min():g}.")
    share = 1 / (1 + 1 / weight)

    return (1 - share) ** 2 * v_u + 2 * share * (1 - share) * c + share**2 * m


def best_weight(v_u: Tensor | float, m: Tensor | float, c: Tensor | float) -> Tensor:
    r"""Returns the weight with the smallest MSE, :math:`\lambda^* = (v_u - c) / (m - c)`.

    There the MSE is :math:`(v_u m - c^2) / (v_u + m - 2 c)`. If :math:`c \geq v_u` the best
    weight is zero, if :math:`m \leq c < v_u` it is infinite. Arguments are those of `mse`.
    """
    v_u, m, c = _admissible(v_u, m, c)
    best = torch.where(m > c, (v_u - c) / (m - c), torch.inf)

    return torch.where(c < v_u, best, 0.0)


def largest_weight(v_u: Tensor | float, m: Tensor | float, c: Tensor | float) -> Tensor:
    r"""Returns the weight up to which SR helps, :math:`\bar\lambda = 2 (v_u - c) / (m - v_u)`.

    If :math:`c \geq v_u` it is zero, if :math:`m \leq v_u` otherwise, infinite. Arguments are
    those of `mse`.
    """
    v_u, m, c = _admissible(v_u, m, c)
    largest = torch.where(m > v_u, 2 * (v_u - c) / (m - v_u), torch.inf)

    return torch.where(c < v_u, largest, 0.0)


def best_guidance(weight: Tensor | float, v_u: float, m: float, c: float) -> Tensor:
    r"""Checks 2.3: no weight is better than :math:`\lambda^*`, one slack per weight.

    Hypotheses: none but that the moments are those of errors. Source: ours.
    """
    other = mse(weight, v_u, m, c)
    return slack(mse(best_weight(v_u, m, c), v_u, m, c), other, torch.full_like(other, v_u + m))


def estimate(M: Tensor, y: Tensor, y_s: Tensor, weight: float, *, simplex: bool = False) -> Tensor:
    r"""Solves :math:`\min_a \|y - M a\|^2 + \lambda \|y_s - M a\|^2`, by least squares.

    Args:
        M: The endmembers, with shape (B, R).
        y: The pixels, with shape (B, T).
        y_s: What the SR task says they are, with shape (B, T).
        weight: The weight :math:`\lambda`.
        simplex: Whether abundances are constrained to the simplex.

    Returns:
        The abundances, with shape (R, T).

    Raises:
        ValueError: If the weight is negative or not finite.
    """
    if not 0 <= weight < math.inf:
        raise ValueError(f"The weight should be finite and not negative, got {weight}.")

    stacked = torch.cat([M, weight**0.5 * M])
    pixels = torch.cat([y, weight**0.5 * y_s])

    return fcls(pixels, stacked) if simplex else torch.linalg.lstsq(stacked, pixels).solution


def moments(trials: Trials) -> tuple[Tensor, Tensor, Tensor]:
    r"""Returns the moments :math:`v_u`, :math:`m` and :math:`c` of trials, see `mse`."""
    e_u, e_s = (estimate(trials.M, y, y, 0) - trials.a for y in (trials.y, trials.y_s))
    return tuple((x * y).sum(dim=0).mean() for x, y in ((e_u, e_u), (e_s, e_s), (e_u, e_s)))


def blend(
    trials: Trials, weight: float, start: Tensor | float = 0.0, *, require: bool = True
) -> Tensor:
    r"""Checks 2.3: the guided estimate is :math:`(a_u + \lambda a_s) / (1 + \lambda)`.

    Hypotheses: M has full column rank. Source: standard (normal equations).

    Args:
        trials: The trials.
        weight: The weight :math:`\lambda`.
        start: Where to start from. Of several solutions, the nearest is found.
        require: Whether to raise an error outside of the hypotheses.
    """
    _check_trials(trials)
    M, _, y, y_s = trials
    check_hypothesis(full_rank(M), "M does not have full column rank", require)

    start = torch.as_tensor(start, dtype=M.dtype).expand(M.shape[1], y.shape[1])
    guided = start + estimate(M, y - M @ start, y_s - M @ start, weight)
    a_u, a_s = (estimate(M, pixels, pixels, 0) for pixels in (y, y_s))
    expected = (a_u + weight * a_s) / (1 + weight)

    return slack((guided - expected).norm(), 0.0, a_u.norm() + a_s.norm())


def closed_form(
    trials: Trials, weight: float, *, simplex: bool = False, require: bool = True
) -> Tensor:
    r"""Checks 2.3: the mean squared error is `mse` of the moments of the trials.

    An identity, whatever the distribution and the bias of either estimate.
    Hypotheses: (1) M has full column rank; (2) abundances are not constrained to the simplex.
    Source: ours.
    """
    _check_trials(trials)
    check_hypothesis(full_rank(trials.M), "M does not have full column rank", require)
    check_hypothesis(not simplex, "abundances are constrained to the simplex", require)
    v_u, m, c = moments(trials)
    measured = _errors(trials, weight, simplex).mean()

    return slack((measured - mse(weight, v_u, m, c)).abs(), 0.0, v_u + m)


def some_weight_helps(
    trials: Trials, weight: float, *, simplex: bool = False, require: bool = True
) -> Tensor:
    r"""Checks 2.3: if :math:`c < v_u`, then every weight below :math:`\bar\lambda` helps.

    Hypotheses: (1) M has full column rank; (2) :math:`c < v_u`; (3) :math:`0 < \lambda <
    \bar\lambda`; (4) abundances are not constrained to the simplex. Source: ours.

    Returns:
        The slack, relative to the larger of both errors.
    """
    _check_trials(trials)
    v_u, m, c = moments(trials)
    inside = 0 < weight < largest_weight(v_u, m, c)
    check_hypothesis(full_rank(trials.M), "M does not have full column rank", require)
    check_hypothesis(
        bool(c < v_u), "errors of SR copy or amplify those of unmixing, c >= v_u", require
    )
    check_hypothesis(inside, "the weight is not between 0 and lambda_bar", require)
    check_hypothesis(not simplex, "abundances are constrained to the simplex", require)

    before, after = (_errors(trials, w, simplex).mean() for w in (0, weight))

    return slack(after, before, torch.maximum(before, after))


def no_weight_helps(
    trials: Trials, weight: float, *, simplex: bool = False, require: bool = True
) -> Tensor:
    r"""Checks 2.3: if :math:`c \geq v_u`, then no weight helps.

    Hypotheses: (1) M has full column rank; (2) :math:`c \geq v_u`; (3) abundances are not
    constrained to the simplex. Source: ours.

    Returns:
        The slack, relative to the larger of both errors.
    """
    _check_trials(trials)
    v_u, _, c = moments(trials)
    check_hypothesis(full_rank(trials.M), "M does not have full column rank", require)
    check_hypothesis(
        bool(c >= v_u), "errors of SR do not copy those of unmixing, c < v_u", require
    )
    check_hypothesis(not simplex, "abundances are constrained to the simplex", require)

    before, after = (_errors(trials, w, simplex).mean() for w in (0, weight))

    return slack(before, after, torch.maximum(before, after))


def draw(
    M: Tensor,
    a: Tensor,
    v_u: float,
    v_s: float,
    c: float,
    bias: Tensor | float = 0.0,
    *,
    trials: int,
    seed: int,
) -> Trials:
    r"""Draws pixels whose estimates have errors of given moments, normally distributed.

    Errors of the abundances are mapped to the pixels by M, and noise is added that M cannot see.

    Args:
        M: The endmembers, of full column rank, with shape (B, R).
        a: The true abundances, with shape (R, 1).
        v_u: The variance (trace) of unmixing, without bias.
        v_s: The variance (trace) of SR, without its bias.
        c: The covariance of both.
        bias: The bias of SR, with shape (R, 1), or the same in all abundances.
        trials: The number of trials.
        seed: The seed.

    Raises:
        ValueError: If no errors have such moments, or if M has not full column rank.
    """
    _admissible(v_u, v_s, c)
    if not full_rank(M):
        raise ValueError("M should have full column rank, so that errors can be mapped by it.")

    generator = torch.Generator().manual_seed(seed)
    e_u, e = torch.randn(2, M.shape[1], trials, generator=generator, dtype=M.dtype)
    e_u, e = (v_u / len(e)) ** 0.5 * e_u, e / len(e) ** 0.5
    slope = c / v_u if v_u > 0 else 0.0
    e_s = bias + slope * e_u + max(v_s - slope * c, 0.0) ** 0.5 * e
    noise = M.abs().mean() * torch.randn(2, len(M), trials, generator=generator, dtype=M.dtype)
    y, y_s = noise - M @ (torch.linalg.pinv(M) @ noise)

    return Trials(M, a, y + M @ (a + e_u), y_s + M @ (a + e_s))


def monte_carlo(trials: Trials, weights: Tensor) -> tuple[Tensor, Tensor]:
    r"""Measures the error of the guided estimate, through the solver.

    Args:
        trials: The trials. All weights see the same, so that their errors are correlated.
        weights: The weights, with shape (K,).

    Returns:
        The mean squared error and its standard error, each with shape (K,).
    """
    errors = torch.stack([_errors(trials, float(w)) for w in weights])  # (weights, trials)
    return errors.mean(dim=1), errors.std(dim=1) / errors.shape[1] ** 0.5


def slacks(M: Tensor, a: Tensor, seed: int = 0) -> dict[str, Tensor]:
    r"""Returns the slack of every statement of this module, on drawn pixels.

    Args:
        M: The endmembers, of full column rank, with shape (B, R).
        a: The true abundances, with shape (R, 1).
        seed: The seed.
    """
    # Errors of SR that differ from those of unmixing, and errors that amplify them
    apart = draw(M, a, 0.04, 0.09, 0.01, 0.1, trials=200, seed=seed)
    alike = draw(M, a, 0.04, 0.16, 0.06, 0.1, trials=200, seed=seed)
    found = moments(apart)

    return {
        "2.3 blend": blend(apart, 0.7),
        "2.3 closed form": closed_form(apart, 0.7),
        "2.3 some weight helps": some_weight_helps(apart, 0.9 * float(largest_weight(*found))),
        "2.3 no weight helps": no_weight_helps(alike, 0.1),
        "2.3 best weight": best_guidance(torch.logspace(-2, 2, 41), *found).min(),
    }


def violating() -> dict[str, Callable[..., Tensor]]:
    r"""Breaks one hypothesis each: statements to be called, on inputs on which they fail.

    Called as they are, they return a negative slack. With `require=True`, they raise.
    """
    one, two = _rows([1]), torch.eye(2, dtype=torch.float64)

    # Two endmembers, the truth is the first, and the errors of unmixing are +-0.1
    corner, error = _rows([1], [0]), _rows([0.1, -0.1], [-0.1, 0.1])
    biased = Trials(two, corner, corner + error, corner + _rows([-0.2], [0.2]).expand(2, 2))
    amplified = Trials(two, corner, corner + error, corner + error * _rows([3, 0]))
    perfect = biased._replace(y=corner.expand(2, 2))
    flat = Trials(_rows([1, 1]), corner, one, one)

    cases = {
        "M of deficient rank": partial(blend, flat, 0.5, corner),
        "weight beyond lambda_bar": partial(some_weight_helps, biased, 0.7),
        "SR amplifies, c > v_u": partial(some_weight_helps, amplified, 0.1),
        "unmixing without error, v_u = 0": partial(some_weight_helps, perfect, 0.1),
        "simplex, closed form": partial(closed_form, biased, 0.25, simplex=True),
        "simplex, c < v_u": partial(some_weight_helps, biased, 0.25, simplex=True),
        "simplex, c > v_u": partial(no_weight_helps, amplified, 0.5, simplex=True),
        "SR copies less than all, c < v_u": partial(no_weight_helps, biased, 0.25),
    }

    return {name: partial(case, require=False) for name, case in cases.items()}


def check_shapes(arrays: NamedTuple, **shapes: tuple[int, int]) -> None:
    r"""Checks the shapes of named arrays, and that they are finite."""
    for name, shape in shapes.items():
        got = tuple(getattr(arrays, name).shape)
        if got != shape:
            raise ValueError(f"The {name} should have shape {shape}, got {got}.")
    check_arrays(**arrays._asdict())


def full_rank(M: Tensor) -> bool:
    r"""Returns whether M has full column rank."""
    return bool(torch.linalg.matrix_rank(M) == M.shape[1])


def _rows(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def _errors(trials: Trials, weight: float, simplex: bool = False) -> Tensor:
    a = estimate(trials.M, trials.y, trials.y_s, weight, simplex=simplex)
    return (a - trials.a).square().sum(dim=0)  # (trials,)


def _admissible(*values: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
    v_u, m, c = (torch.as_tensor(v, dtype=torch.float64) for v in values)
    check_arrays(v_u=v_u, m=m, c=c)
    bound = v_u.clamp_min(0).sqrt() * m.clamp_min(0).sqrt()
    if not ((v_u >= 0) & (m >= 0) & (c.abs() <= (1 + ROUNDING) * bound)).all():
        raise ValueError(
            "Mean squares should not be negative, nor the mean product larger than the root of "
            f"theirs (Cauchy-Schwarz), got {v_u.tolist()}, {m.tolist()} and {c.tolist()}."
        )

    return v_u, m, c


def _check_trials(trials: Trials) -> None:
    (B, R), T = trials.M.shape[-2:], trials.y.shape[-1]
    check_shapes(trials, M=(B, R), a=(R, T if trials.a.shape[-1] > 1 else 1), y=(B, T), y_s=(B, T))
