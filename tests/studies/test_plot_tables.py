r"""Tests for the smile_core.studies.plot_tables module."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from collections.abc import Iterator
from matplotlib.axes import Axes

from smile_core.studies.plot_tables import groups, intervals, ranks, side_by_side


@pytest.fixture(autouse=True)
def close() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture
def table() -> pd.DataFrame:
    rows = [
        {"scene": scene, "method": method, "seed": seed, "sad": level * (1 + seed), "failed": None}
        for scene, method, level in (("a", "own", 1), ("a", "other", 2), ("b", "own", 3))
        for seed in range(3)
    ]
    rows += [{"scene": "b", "method": "other", "seed": 0, "failed": "ValueError: no"}]
    return pd.DataFrame(rows).assign(armse=lambda t: t["sad"].where(t["scene"] == "a"))


def dots(ax: Axes) -> list[tuple[list[float], list[float]]]:
    lines = [line for line in ax.lines if line.get_marker() == "o"]
    return [(np.asarray(x.get_xdata()).tolist(), x.get_ydata()) for x in lines]


def test_intervals(table: pd.DataFrame) -> None:
    fig = intervals(table, {"sad": "SAD (rad)", "armse": "aRMSE"}, "own")
    a, b, a_armse, b_armse = fig.axes
    assert [ax.get_title() for ax in fig.axes] == ["a", "b", "a", ""]
    assert [a.get_xlabel(), a_armse.get_xlabel()] == ["SAD (rad)", "aRMSE"]
    assert [label.get_text() for label in a.get_yticklabels()] == ["own", "other"]
    assert [label.get_text() for label in b.get_yticklabels()] == ["", ""]
    assert a.get_xlim()[0] == 0
    assert a.get_xlim()[1] > 6

    # Seeds, then their mean, on the line of each method
    (own, line), (mean, _), (other, other_line), _ = dots(a)
    assert (own, list(line), mean) == ([1, 2, 3], [0, 0, 0], [2])
    assert (other, list(other_line)) == ([2, 4, 6], [1, 1, 1])

    # What failed, and what there is nothing of
    assert [text.get_text() for text in b.texts] == ["1 failed"]
    assert dots(b)[0][0] == [3, 6, 9]
    assert not b_armse.axison
    assert not a.texts


def test_groups() -> None:
    assert groups([1.0, 1.5, 2.5, 2.75, 5.0], 1.3) == [(0, 1), (1, 3)]
    assert groups([1.0, 2.0, 3.0], 0.5) == []
    assert groups([1.0, 2.0, 3.0], 2.5) == [(0, 2)]
    assert groups([2.0, 2.0], 0.5) == [(0, 1)]

    # By their definition
    values = np.sort(np.random.default_rng(0).uniform(1, 8, 8))
    for critical in (0.3, 1.0, 2.0):
        found = groups(values.tolist(), critical)
        for i in range(8):
            for j in range(i + 1, 8):
                joined = any(first <= i and j <= last for first, last in found)
                assert joined == (values[j] - values[i] < critical)


def test_ranks() -> None:
    series = pd.Series({"worst": 2.9, "best": 1.2, "own": 1.9})
    fig = ranks({"SAD": series}, {"SAD": 0.9}, "own")
    [ax] = fig.axes
    assert ax.get_title(loc="left") == "SAD, critical difference 0.90"
    texts = {text.get_text().strip(): text for text in ax.texts}
    assert set(texts) == {"best 1.20", "own 1.90", "2.90 worst"}
    assert texts["best 1.20"].get_position()[0] < texts["2.90 worst"].get_position()[0]
    assert texts["own 1.90"].get_color() != texts["best 1.20"].get_color()

    # One bar, which joins the first two
    bars = [line for line in ax.lines if line.get_linewidth() == 3]
    [ends] = [bar.get_xdata() for bar in bars]
    assert ends[0] < 1.2 < 1.9 < ends[1] < 2.9


def test_side_by_side() -> None:
    maps = {name: torch.rand(2, 5, 4) for name in ("reference", "own", "other")}
    fig = side_by_side(maps, ["soil", "water"], "scene")
    axes = np.array(fig.axes[:6]).reshape(2, 3)
    assert [ax.get_title() for ax in axes[0]] == list(maps)
    assert [ax.get_ylabel() for ax in axes[:, 0]] == ["soil", "water"]
    for column, a in zip(axes.T, maps.values(), strict=True):
        for ax, values in zip(column, a, strict=True):
            [drawn] = ax.images
            np.testing.assert_array_equal(drawn.get_array(), values.numpy())
            assert drawn.get_clim() == (0, 1)
