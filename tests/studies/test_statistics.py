r"""Tests for the smile_core.studies.statistics module."""

import math
import numpy as np
import pandas as pd
import pytest
import scipy.stats

from hypothesis import given
from hypothesis import strategies as st
from itertools import product

from smile_core.studies.statistics import (
    against,
    critical_difference,
    friedman,
    holm,
    interval,
    mean_ranks,
    paired,
    summarise,
)

# Of Demsar (2006), table 5(a), Nemenyi: q for 2 to 10 methods
Q_05 = (1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164)
Q_10 = (1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920)

# Of Demsar (2006), table 6: AUC of C4.5, with m, with cf, and both, on 14 data sets. One value
# has a digit more, since it is ranked before another .975 there
AUC = """
    .763 .768 .771 .798
    .599 .591 .590 .569
    .954 .971 .968 .967
    .628 .661 .654 .657
    .882 .888 .886 .898
    .936 .931 .916 .931
    .661 .668 .609 .685
    .583 .583 .563 .625
    .775 .838 .866 .875
    1.00 1.00 1.00 1.00
    .940 .962 .965 .962
    .619 .666 .614 .669
    .972 .981 .9751 .975
    .957 .978 .946 .970
"""


def test_interval_coverage() -> None:
    r"""Tests that intervals hold the mean as often as is stated, of normal and of other values."""
    rng = np.random.default_rng(0)
    for n, draw, low, high in (
        (40, rng.standard_normal, 0.91, 0.97),
        (10, rng.standard_normal, 0.87, 0.93),
        (5, rng.standard_normal, 0.79, 0.87),
        (40, lambda size: rng.exponential(size=size) - 1, 0.89, 0.96),
    ):
        ends = [interval(draw(n), resamples=499, seed=k) for k in range(600)]
        assert low < np.mean([a < 0 < b for a, b in ends]) < high, n


def test_interval_of_scipy() -> None:
    x = np.random.default_rng(0).gamma(2.0, size=12)
    for level in (0.9, 0.95):
        options = {"confidence_level": level, "n_resamples": 20000, "method": "percentile"}
        other = scipy.stats.bootstrap((x,), np.mean, rng=1, **options).confidence_interval
        assert interval(x, level, 20000) == pytest.approx((other.low, other.high), abs=0.02)

    # The same seed, the same interval
    assert interval(x) == interval(x.tolist())
    assert interval(x) != interval(x, seed=1)


def test_interval_of_few() -> None:
    assert all(math.isnan(end) for end in interval([3.0]))
    assert interval([0.25, 0.25, 0.25]) == (0.25, 0.25)

    # Of two values, a quarter of the resamples holds one of them alone
    assert interval([0.0, 1.0], level=0.53, resamples=20000) == (0.0, 1.0)
    assert interval([0.0, 1.0], level=0.47, resamples=20000) == (0.5, 0.5)

    for values in ([], [1.0, math.nan], [[1.0, 2.0]]):
        with pytest.raises(ValueError, match="values should be"):
            interval(values)


@pytest.mark.parametrize("n", [3, 5, 10, 150])
def test_paired_of_scipy(n: int) -> None:
    rng = np.random.default_rng(n)
    for shift in (0.0, 0.3, 2.0):
        x, y = shift + rng.standard_normal(n), rng.standard_normal(n)
        test = paired(x, y)
        assert test.p == pytest.approx(scipy.stats.wilcoxon(x, y, method="exact").pvalue)
        assert test.n == n
        assert test.difference == pytest.approx(np.median(x - y))

    # The other way round
    assert paired(y, x).p == pytest.approx(test.p)
    assert paired(y, x).difference == pytest.approx(-test.difference)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=8))
def test_paired_by_enumeration(d: list[int]) -> None:
    r"""Tests ties and zeros against all 2^n signs."""
    left = [value for value in d if value]
    ranks = scipy.stats.rankdata(np.abs(left)) if left else np.empty(0)
    sums = np.array([ranks @ signs for signs in product((0, 1), repeat=len(left))])
    seen = ranks @ (np.array(left) > 0)
    expected = min(1.0, 2 * min((sums <= seen).mean(), (sums >= seen).mean()))

    assert paired(d, np.zeros(len(d))).p == pytest.approx(expected)


def test_paired_at_its_clearest() -> None:
    x = np.arange(1.0, 11.0)
    assert paired(x, np.zeros(10)).p == pytest.approx(2 / 2**10)
    assert paired(x[:5], np.zeros(5)).p == pytest.approx(0.0625)
    assert paired(x, x).p == 1

    for other in ([1.0], [math.inf] * 10):
        with pytest.raises(ValueError, match="y should be"):
            paired(x, other)


def test_holm() -> None:
    # By hand: 0.005 * 4; 0.01 * 3; max(0.03, 0.03 * 2); max(0.06, 0.04)
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1, 1]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_ranks_of_published_example() -> None:
    r"""Tests ranks, critical difference and Friedman's test against the example of Demsar."""
    auc = pd.DataFrame([line.split() for line in AUC.split("\n") if line.strip()]).astype(float)
    errors = 1 - auc.set_axis(["C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf"], axis=1)

    ranks = mean_ranks(errors.round(4))
    assert ranks.index.tolist() == ["C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5"]
    expected = {"C4.5": 3.143, "C4.5+m": 2.0, "C4.5+cf": 2.893, "C4.5+m+cf": 1.964}
    assert ranks.to_dict() == pytest.approx(expected, abs=5e-4)

    # "The critical difference is 1.25" with alpha 0.05, and 1.12 with 0.10
    assert critical_difference(4, 14) == pytest.approx(2.569 * math.sqrt(20 / 84), rel=1e-3)
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)
    assert critical_difference(4, 14, level=0.9) == pytest.approx(1.12, abs=0.005)

    # Chi-squared is 9.28 there, not corrected for ties: four in one block, two in three others
    ties = (4**3 - 4) + 3 * (2**3 - 2)
    expected = scipy.stats.chi2.sf(9.28 / (1 - ties / (14 * 4 * (4**2 - 1))), 3)
    assert friedman(errors.round(4)) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize(("level", "table"), [(0.95, Q_05), (0.9, Q_10)])
def test_critical_difference_of_published_table(level: float, table: tuple[float, ...]) -> None:
    for methods, q in enumerate(table, start=2):
        expected = q * math.sqrt(methods * (methods + 1) / (6 * 20))
        assert critical_difference(methods, 20, level) == pytest.approx(expected, rel=5e-4)


def test_friedman_by_hand() -> None:
    # All four blocks agree: the largest value of the statistic, n (k - 1) = 8
    scores = pd.DataFrame([[1, 2, 3], [0.1, 0.2, 0.3], [4, 5, 6], [1, 5, 9]])
    assert friedman(scores) == pytest.approx(math.exp(-8 / 2))

    with pytest.raises(ValueError, match="at least three methods, got 2"):
        friedman(scores[[0, 1]])
    for function in (friedman, mean_ranks):
        with pytest.raises(ValueError, match="scores should be"):
            function(scores.assign(bad=math.nan))
    for methods, blocks in ((1, 5), (3, 0)):
        with pytest.raises(ValueError, match=f"got {methods} and {blocks}"):
            critical_difference(methods, blocks)


def make_table() -> pd.DataFrame:
    rows = [
        {"scene": scene, "seed": seed, "method": method, "error": level + 0.1 * seed}
        for scene, method, level in (
            ("b", "own", 1.0),
            ("b", "far", 5.0),
            ("b", "near", 2.0),
            ("a", "own", 3.0),
            ("a", "near", 2.5),
        )
        for seed in range(3)
    ]
    table = pd.DataFrame(rows).assign(failed=None)
    table.loc[(table["method"] == "far") & (table["seed"] > 0), ["error", "failed"]] = (None, "no")
    return table.astype({"error": float})


def test_summarise() -> None:
    result = summarise(make_table(), ["scene", "method"], "error").set_index(["scene", "method"])
    assert result.index.tolist()[:3] == [("b", "own"), ("b", "far"), ("b", "near")]
    assert result["n"].tolist() == [3, 1, 3, 3, 3]
    assert result["failed"].tolist() == [0, 2, 0, 0, 0]
    assert result["mean"].tolist() == pytest.approx([1.1, 5.0, 2.1, 3.1, 2.6])

    low, high = interval([1.0, 1.1, 1.2])
    assert tuple(result.loc[("b", "own"), ["low", "high"]]) == (low, high)
    assert result["text"].tolist()[:2] == [f"1.100 [{low:.3f}, {high:.3f}]", "5.000"]

    # Nothing to average
    none = summarise(make_table().assign(error=math.nan), ["scene"], "error")
    assert none["n"].tolist() == [0, 0]
    assert none["text"].tolist() == ["", ""]
    assert none[["mean", "low", "high"]].isna().all(axis=None)


def test_against() -> None:
    result = against(make_table(), "own", "error")

    # The nearest first, each in the blocks that it shares with the one method
    assert result["method"].tolist() == ["near", "far"]
    assert result["n"].tolist() == [6, 1]
    assert result["mean"].tolist() == pytest.approx([2.35, 5.0])
    assert result["own"].tolist() == pytest.approx([2.1, 1.0])
    assert result["difference"].tolist() == pytest.approx([-0.25, -4.0])
    other = paired([-1.0] * 3 + [0.5] * 3, [0.0] * 6).p
    assert result["p"].tolist() == pytest.approx([other, 1.0])
    assert result["adjusted"].tolist() == holm([other, 1.0])

    # Nobody to compare with
    table = make_table()
    assert against(table[table["method"] == "own"], "own", "error").empty
    assert against(table.assign(error=math.nan), "own", "error").empty
