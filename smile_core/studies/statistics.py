r"""Statistics: what differences between methods mean, over few seeds and scenes.

The mean of :math:`n` values gets an interval from the bootstrap. Two methods are compared on the
same blocks, each a scene and a seed, by the signed-rank test: it asks whether the differences
:math:`d_i = x_i - y_i` are symmetric around zero. Many methods are compared by their ranks within
each block. Two mean ranks differ, by the test of Nemenyi, if they are further apart than

.. math:: \text{CD} = q_\alpha \sqrt{\frac{k (k + 1)}{6 n}}

with :math:`k` methods, :math:`n` blocks and :math:`q_\alpha` the quantile of the studentized range
over :math:`\sqrt{2}`. Seeds of one scene are treated as independent blocks: what is found speaks
of these scenes, not of others.

References:
    | Statistical Comparisons of Classifiers over Multiple Data Sets (Demsar, 2006)
    | https://www.jmlr.org/papers/v7/demsar06a.html
"""

__all__ = [
    "Paired",
    "against",
    "critical_difference",
    "friedman",
    "holm",
    "interval",
    "mean_ranks",
    "paired",
    "summarise",
]

import numpy as np
import pandas as pd
import scipy.stats

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from numpy.typing import ArrayLike

# Two-sided, as published tables are
LEVEL = 0.95


@dataclass(frozen=True)
class Paired:
    r"""The result of `paired`.

    Args:
        n: The number of pairs.
        difference: The median of :math:`x_i - y_i`.
        p: The probability, where there is no difference, of one as clear as this, either way.
    """

    n: int
    difference: float
    p: float


def interval(
    values: ArrayLike, level: float = LEVEL, resamples: int = 9999, seed: int = 0
) -> tuple[float, float]:
    r"""Computes the percentile bootstrap interval of a mean.

    It is too narrow for few values: of intervals of level 0.95, 0.90 hold the mean of normal
    variables with ten values, and 0.83 with five.

    References:
        | Bootstrap Methods: Another Look at the Jackknife (Efron, 1979)
        | https://doi.org/10.1214/aos/1176344552

    Args:
        values: The values, with shape (n,).
        level: The level, in (0, 1).
        resamples: The number of resamples.
        seed: The seed of the resamples.

    Returns:
        The lower and the upper end; NaN if there is one value only.

    Raises:
        ValueError: If there is no value, or one is not finite.
    """
    x = _finite("values", values)
    if len(x) < 2:
        return float("nan"), float("nan")

    chosen = np.random.default_rng(seed).integers(len(x), size=(resamples, len(x)))
    low, high = np.quantile(x[chosen].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])

    return float(low), float(high)


def paired(x: ArrayLike, y: ArrayLike) -> Paired:
    r"""Tests with Wilcoxon's signed ranks whether paired values differ.

    Pairs that are equal are left out. The distribution under the null hypothesis is exact for any
    number of pairs, and with ties: each rank has either sign with probability 1/2. The smallest
    `p` is :math:`2^{1 - n}`, which is above 0.05 for five pairs or fewer.

    References:
        | Individual Comparisons by Ranking Methods (Wilcoxon, 1945)
        | https://doi.org/10.2307/3001968

    Args:
        x: The values of one method, with shape (n,).
        y: The values of another in the same blocks, with shape (n,).

    Returns:
        The number of pairs, the median difference and the two-sided `p`, 1 if all are equal.

    Raises:
        ValueError: If shapes disagree, there is no pair, or a value is not finite.
    """
    x, y = _finite("x", x), _finite("y", y)
    if len(x) != len(y):
        raise ValueError(f"x and y should be pairs, got {len(x)} and {len(y)} values.")

    d = (x - y)[x != y]
    ranks = (2 * scipy.stats.rankdata(np.abs(d))).astype(int)  # means of ties are halves

    # Probabilities of the sums of positive ranks
    density = np.ones(1)
    for rank in ranks:
        longer = np.zeros(len(density) + rank)
        longer[: len(density)] += 0.5 * density
        longer[rank:] += 0.5 * density
        density = longer
    total = ranks[d > 0].sum()
    tail = min(density[: total + 1].sum(), density[total:].sum())

    return Paired(len(x), float(np.median(x - y)), float(min(1.0, 2 * tail)))


def holm(p: Sequence[float]) -> list[float]:
    r"""Adjusts several `p`, such that the chance of any false one stays below the level.

    References:
        | A Simple Sequentially Rejective Multiple Test Procedure (Holm, 1979)
        | https://www.jstor.org/stable/4615733

    Args:
        p: The values of `p`.

    Returns:
        The adjusted ones, in the same order.
    """
    p = np.asarray(p, dtype=float)
    order = p.argsort(kind="stable")
    adjusted = np.empty_like(p)
    steps = p[order] * np.arange(len(p), 0, -1)
    adjusted[order] = np.maximum.accumulate(steps).clip(max=1.0)

    return adjusted.tolist()


def summarise(table: pd.DataFrame, by: Sequence[str], column: str) -> pd.DataFrame:
    r"""Averages a column of a study over its seeds.

    Args:
        table: The study, a row per case, with a column `failed`.
        by: The columns that name what is averaged, such as scene and method.
        column: The column to average. Rows where it is missing are left out.

    Returns:
        A row for each group, in the order of the table: `n`, the number of values; `failed`, of
        cases that failed; `mean`, NaN if there is no value; `low` and `high`, see `interval`;
        `text`, the mean with its interval, if it has one.
    """
    rows = []
    for key, group in table.groupby(list(by), sort=False):
        values = group[column].dropna().to_numpy(float)
        mean = float(values.mean()) if len(values) else float("nan")
        low, high = interval(values) if len(values) else (mean, mean)
        text = f"{mean:.3f} [{low:.3f}, {high:.3f}]" if len(values) > 1 else f"{mean:.3f}"
        rows.append(
            {
                **dict(zip(by, key, strict=True)),
                "n": len(values),
                "failed": int(group["failed"].notna().sum()),
                "mean": mean,
                "low": low,
                "high": high,
                "text": text if len(values) else "",
            }
        )

    return pd.DataFrame(rows)


def against(table: pd.DataFrame, method: str, column: str) -> pd.DataFrame:
    r"""Compares one method with each of the others, paired over scenes and seeds.

    Args:
        table: The study, a row for each `scene`, `seed` and `method`.
        method: The one method.
        column: The column to compare, an error. Blocks that lack either value are left out.

    Returns:
        A row for each other method, the one of the smallest mean first: `method`; `mean`, and
        that of the one method in the same blocks, `own`; `n`, `difference` (one method minus the
        other) and `p` of `paired`; `adjusted`, see `holm`.
    """
    wide = table.pivot(index=["scene", "seed"], columns="method", values=column).astype(float)
    rows = []
    for other in wide.columns.drop(method):
        pairs = wide[[method, other]].dropna()
        if len(pairs):
            test = paired(pairs[method], pairs[other])
            means = {"mean": pairs[other].mean(), "own": pairs[method].mean()}
            rows.append({"method": other, **means, **asdict(test)})

    columns = ["method", "mean", "own", "n", "difference", "p"]
    result = pd.DataFrame(rows, columns=columns).sort_values("mean", kind="stable")

    return result.assign(adjusted=holm(result["p"])).reset_index(drop=True)


def mean_ranks(scores: pd.DataFrame) -> pd.Series:
    r"""Ranks methods within each block, 1 for the smallest error, and averages over blocks.

    Args:
        scores: The errors, a row per block and a column per method. Ties share their mean rank.

    Returns:
        The mean rank of each method, from the best to the worst.

    Raises:
        ValueError: If there is no block, or an error is not finite.
    """
    _finite("scores", scores.to_numpy().ravel())
    return scores.rank(axis=1).mean().sort_values(kind="stable")


def friedman(scores: pd.DataFrame) -> float:
    r"""Tests with Friedman's ranks whether any of several methods differ.

    The distribution is that of many blocks, chi-squared.

    Args:
        scores: The errors, a row per block and a column per method, at least three.

    Returns:
        The value of `p`.

    Raises:
        ValueError: If there are fewer than three methods, no block, or an error is not finite.
    """
    _finite("scores", scores.to_numpy().ravel())
    if scores.shape[1] < 3:
        raise ValueError(f"scores should have at least three methods, got {scores.shape[1]}.")

    return float(scipy.stats.friedmanchisquare(*scores.to_numpy().T).pvalue)


def critical_difference(methods: int, blocks: int, level: float = LEVEL) -> float:
    r"""Computes how far apart two mean ranks have to be to differ, by the test of Nemenyi.

    Args:
        methods: The number of methods :math:`k`, at least 2.
        blocks: The number of blocks :math:`n`.
        level: The level :math:`1 - \alpha`.

    Returns:
        The difference CD.

    Raises:
        ValueError: If there are fewer than two methods, or no block.
    """
    if methods < 2 or blocks < 1:
        raise ValueError(
            f"methods should be at least 2 and blocks at least 1, got {methods} and {blocks}."
        )
    q = scipy.stats.studentized_range.ppf(level, methods, np.inf) / np.sqrt(2)

    return float(q * np.sqrt(methods * (methods + 1) / (6 * blocks)))


def _finite(name: str, values: ArrayLike) -> np.ndarray:
    x = np.asarray(values, dtype=float)
    if x.ndim != 1 or not len(x) or not np.isfinite(x).all():
        raise ValueError(
            f"{name} should be a list of one or more finite numbers, got {x.shape} with "
            f"{int((~np.isfinite(x)).sum())} that are not."
        )

    return x
