r"""Tests for the smile_core.theorems.blending module."""

import math
import pytest
import torch

from collections.abc import Callable
from scipy.optimize import minimize_scalar
from torch import Tensor

from smile_core.theorems.blending import (
    Trials,
    best_guidance,
    best_weight,
    blend,
    closed_form,
    draw,
    estimate,
    largest_weight,
    moments,
    monte_carlo,
    mse,
    no_weight_helps,
    some_weight_helps,
    violating,
)
from smile_core.theorems.families import instance

# v_u, m, c; best weight, the MSE there, largest weight
REGIMES = {
    "independent": ((1.0, 4.0, 0.0), (0.25, 0.8, 2 / 3)),
    "opposite": ((1.0, 4.0, -2.0), (0.5, 0.0, 2.0)),
    "SR the better": ((4.0, 1.0, 0.0), (4.0, 0.8, math.inf)),
    "as good": ((1.0, 1.0, 0.5), (1.0, 0.75, math.inf)),
    "SR alone": ((4.0, 1.0, 1.5), (math.inf, 1.0, math.inf)),
    "copies": ((1.0, 4.0, 1.0), (0.0, 1.0, 0.0)),
    "is the same": ((1.0, 1.0, 1.0), (0.0, 1.0, 0.0)),
    "amplifies": ((1.0, 4.0, 1.5), (0.0, 1.0, 0.0)),
    "without error": ((0.0, 4.0, 0.0), (0.0, 0.0, 0.0)),
}

regimes = pytest.mark.parametrize("regime", REGIMES.values(), ids=REGIMES.keys())


def rows(*values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@regimes
@pytest.mark.parametrize("unit", [1e-20, 1.0, 1e20])
def test_weights(regime: tuple, unit: float) -> None:
    (best, smallest, largest), values = regime[1], [unit * v for v in regime[0]]
    v_u, m, _ = values

    # By hand, and in any unit
    assert float(best_weight(*values)) == pytest.approx(best)
    assert float(largest_weight(*values)) == pytest.approx(largest)
    assert float(mse(best, *values)) == pytest.approx(unit * smallest, abs=1e-12 * unit)
    assert float(mse(0, *values)) == v_u
    assert float(mse(math.inf, *values)) == m

    # By search, over the share of the SR task
    def error(share: float) -> float:
        return float(mse(share / (1 - share), *values)) / unit

    found = minimize_scalar(error, bounds=(0, 1 - 1e-12), method="bounded")
    assert found.fun >= smallest - 1e-9
    assert found.fun == pytest.approx(smallest, abs=1e-4)
    weights = torch.logspace(-6, 6, 200, dtype=torch.float64)
    assert best_guidance(weights, *values).min() >= -1e-12

    # Helps below the largest weight, and not beyond
    helps = mse(weights, *values) < v_u * (1 - 1e-14)
    expected = weights < largest
    near = (weights / largest - 1).abs() < 1e-6 if 0 < largest < math.inf else weights < 0
    assert torch.equal(helps[~near], expected[~near])

    # The slope at zero
    slope = (mse(1e-6, *values) - mse(0, *values)) / 1e-6
    assert float(slope) == pytest.approx(2 * (values[2] - v_u), abs=1e-4 * unit)


@pytest.mark.parametrize("function", [best_weight, largest_weight, lambda *v: mse(1.0, *v)])
def test_impossible_moments(function: Callable[..., Tensor]) -> None:
    for values in ((1, 4, 2.1), (1, 4, -2.1), (-1, 1, 0), (1, -1, 0), (0, 4, 0.1)):
        with pytest.raises(ValueError, match="Cauchy-Schwarz"):
            function(*values)
    with pytest.raises(ValueError, match="v_u should be finite"):
        function(math.nan, 1.0, 0.0)


def test_estimate() -> None:
    M, y, y_s = (torch.randn(7, n, dtype=torch.float64) for n in (3, 5, 5))
    for weight in (0.0, 0.3, 20.0):
        a = estimate(M, y, y_s, weight)
        mean = (y + weight * y_s) / (1 + weight)
        torch.testing.assert_close(a, torch.linalg.solve(M.mT @ M, M.mT @ mean))

        # Constrained, it is the constrained solution of the mean
        a = estimate(M, y, y_s, weight, simplex=True)
        others = torch.randn(3, 200, dtype=torch.float64).softmax(dim=0)
        assert a.min() >= 0
        torch.testing.assert_close(a.sum(dim=0), torch.ones(5, dtype=torch.float64))
        residuals = (M @ others)[:, :, None] - mean[:, None]
        assert (residuals.norm(dim=0) >= (M @ a - mean).norm(dim=0) - 1e-12).all()

    for weight in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="weight should be finite and not negative"):
            estimate(M, y, y_s, weight)


def test_sum_to_one_alone_does_no_harm() -> None:
    # Endmembers that are dependent, but not affinely: solved on the plane of sums of one
    M = rows([0, 1, 2], [0, 1, 4])
    plane = torch.cat([M, 1e6 * torch.ones(1, 3, dtype=torch.float64)])
    y, y_s = torch.randn(2, 2, 8, dtype=torch.float64)
    ones = 1e6 * torch.ones(1, 8, dtype=torch.float64)
    trials = Trials(plane, rows([0.2], [0.3], [0.5]), *(torch.cat([p, ones]) for p in (y, y_s)))

    assert blend(trials, 0.7) > -1e-9
    a = estimate(*trials[:1], *trials[2:], 0.7)
    torch.testing.assert_close(M @ a, (y + 0.7 * y_s) / 1.7)


def test_draw() -> None:
    M, a = instance(0).M, rows([0.5], [0.3], [0.2])
    bias = rows([0.2], [-0.1], [0.0])
    trials = draw(M, a, 0.04, 0.09, -0.03, bias, trials=40000, seed=0)

    # The errors of the estimates, found without the solver of the module
    e_u, e_s = (torch.linalg.pinv(M) @ y - a for y in (trials.y, trials.y_s))
    products = {0.04: e_u * e_u, 0.09: (e_s - bias) ** 2, -0.03: e_u * e_s, 0.14: e_s * e_s}
    for expected, product in products.items():
        product = product.sum(dim=0)
        assert abs(product.mean() - expected) < 4 * product.std() / 200
    torch.testing.assert_close(e_s.mean(dim=1, keepdim=True), bias, rtol=0, atol=4 * 0.3 / 200)
    for value, expected in zip(moments(trials), (e_u * e_u, e_s * e_s, e_u * e_s), strict=True):
        torch.testing.assert_close(value, expected.sum(dim=0).mean())

    # Noise that the endmembers do not see
    assert (trials.y - M @ (a + e_u)).norm(dim=0).min() > 0.01

    with pytest.raises(ValueError, match="Cauchy-Schwarz"):
        draw(M, a, 0.04, 0.09, 0.061, trials=2, seed=0)
    with pytest.raises(ValueError, match="full column rank"):
        draw(M[:, [0, 0, 1]], a, 0.04, 0.09, 0.0, trials=2, seed=0)


@pytest.mark.parametrize(
    ("v_u", "v_s", "c", "bias"),
    [
        (0.04, 0.09, 0.0, 0.1),
        (0.09, 0.01, 0.0, 0.0),
        (0.04, 0.09, -0.03, 0.0),
        (0.04, 0.16, 0.06, 0.2),
    ],
)
def test_monte_carlo(v_u: float, v_s: float, c: float, bias: float) -> None:
    # Weights share their trials: these are four comparisons rather than 28
    M, a = instance(0).M, rows([0.5], [0.3], [0.2])
    trials = draw(M, a, v_u, v_s, c, bias, trials=20000, seed=1)
    weights = torch.tensor([0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0], dtype=torch.float64)
    mean, error = monte_carlo(trials, weights)

    expected = mse(weights, v_u, v_s + 3 * bias**2, c)
    assert ((mean - expected).abs() < 3 * error).all()
    assert (error < 0.01 * mean).all()


def test_simplex() -> None:
    cases = violating()
    weights = torch.logspace(-2, 2, 20, dtype=torch.float64).tolist()

    # (i) The errors are +0.1, clipped, and -0.1; SR is off by 0.2, inwards: with any weight the
    # second grows towards 0.2, while the first stays zero until it grows as well
    biased = cases["simplex, c < v_u"].args[0]
    assert moments(biased) == pytest.approx((0.02, 0.08, 0.0))
    for weight in weights:
        errors = [max(0.2 * weight + e, 0) / (1 + weight) for e in (-0.1, 0.1)]
        a = estimate(*biased[:1], *biased[2:], weight, simplex=True)
        assert (1 - a[0]).tolist() == pytest.approx(errors)
        assert errors[1] > 0.1
        assert some_weight_helps(biased, weight, simplex=True, require=False) < 0
    assert some_weight_helps(biased, 0.25) > 0

    # Off by as much outwards, it helps: the direction of the bias decides
    outwards = biased._replace(y_s=2 * biased.a - biased.y_s)
    assert some_weight_helps(outwards, 0.25, simplex=True, require=False) > 0

    # (ii) The larger error is clipped, the other one is halved by a weight of one
    amplified = cases["simplex, c > v_u"].args[0]
    assert moments(amplified) == pytest.approx((0.02, 0.09, 0.03))
    for weight in weights:
        a = estimate(*amplified[:1], *amplified[2:], weight, simplex=True)
        assert (1 - a[0]).tolist() == pytest.approx([0, 0.1 / (1 + weight)])
        assert no_weight_helps(amplified, weight, simplex=True, require=False) < 0
    assert no_weight_helps(amplified, 0.5) > 0


def test_bad_input() -> None:
    trials = draw(instance(0).M, rows([0.5], [0.3], [0.2]), 1, 1, 0, trials=4, seed=0)

    with pytest.raises(ValueError, match=r"y_s should have shape \(8, 4\), got \(8, 3\)"):
        closed_form(trials._replace(y_s=trials.y_s[:, :3]), 1.0, require=False)
    with pytest.raises(ValueError, match=r"a should have shape \(3, 4\), got \(3, 2\)"):
        closed_form(trials._replace(a=trials.a.expand(3, 2)), 1.0)
    with pytest.raises(ValueError, match="weight should not be negative"):
        mse(-1.0, 1.0, 1.0, 0.0)
