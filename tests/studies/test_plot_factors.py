r"""Tests for the smile_core.studies.plot_factors module."""

import itertools
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from collections.abc import Iterator
from matplotlib.axes import Axes

from smile_core import endmembers, evidence
from smile_core.studies import plot_factors
from smile_core.studies.factors import CENTRE, around, by_factor, gains

FACTORS = {"snr": [20, 30], "brightness": ["off", "smooth"]}


@pytest.fixture(autouse=True)
def close() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture
def table() -> pd.DataFrame:
    r"""Makes errors that depend on the noise, and halve with guidance at LR."""
    table = pd.DataFrame(around(FACTORS, 3)).assign(failed=None)
    table["lr_single"] = 1 / table["snr"] + 0.001 * table["seed"]
    table["lr_self"] = table["lr_single"] / 2
    table["hr_single"] = table["hr_self"] = 3 * table["lr_single"]
    return table


def points(ax: Axes, marker: str) -> list[list[float]]:
    lines = [line for line in ax.lines if line.get_marker() == marker]
    return [np.asarray(line.get_ydata(), dtype=float).tolist() for line in lines]


def labels(ax: Axes, axis: str = "x") -> list[str]:
    return [text.get_text() for text in getattr(ax, f"get_{axis}ticklabels")()]


def test_errors(table: pd.DataFrame) -> None:
    fig = plot_factors.errors(by_factor(table), FACTORS)
    snr, brightness, snr_hr, brightness_hr = fig.axes
    assert [ax.get_xlabel() for ax in fig.axes] == ["", "", "SNR (dB)", "brightness"]
    assert labels(snr_hr) == ["20", "30"]
    assert labels(brightness_hr) == ["off", "smooth"]

    # The means, of single and of self
    means = np.array([1 / 20 + 0.001, 1 / 30 + 0.001])
    assert points(snr, "o") == [pytest.approx(means), pytest.approx(means / 2)]
    assert points(snr_hr, "o") == [pytest.approx(3 * means)] * 2
    assert points(brightness, "o")[0] == pytest.approx([means[1]] * 2)
    assert snr.get_ylim()[0] == snr_hr.get_ylim()[0] == 0
    assert [text.get_text() for text in snr.get_legend().get_texts()] == ["single", "self"]


def test_changes(table: pd.DataFrame) -> None:
    change = gains(by_factor(table)).query("factor == 'snr'")
    change["setting"] = change["value"].map({20: "noisy", 30: "centre"})
    fig = plot_factors.changes(change)

    lr, hr = fig.axes
    assert labels(lr, "y") == ["centre", "noisy"]
    [line] = [line for line in lr.lines if line.get_marker() == "o"]
    assert line.get_xdata() == pytest.approx([-50, -50])
    [line] = [line for line in hr.lines if line.get_marker() == "o"]
    assert line.get_xdata() == pytest.approx([0, 0])


def test_shares() -> None:
    table = pd.DataFrame({"scale": [2, 4, 2], "share": [0.1, 0.2, 0.3], "best": [0.4, 0.5, 0.6]})
    [ax] = plot_factors.shares(table).axes
    assert points(ax, "o") == [[0.4, 0.6]]
    assert points(ax, "s") == [[0.5]]
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["scale 2", "scale 4"]


def test_methods() -> None:
    rows = [
        {"brightness": b, "purity": p, "method": m, "seed": seed, "sad": e * p, "armse": e / p}
        for b, p, (m, e), seed in itertools.product(
            ["off", "rough"], [0.5, 1.0], {"SMILE": 0.1, "VCA": 0.2}.items(), range(2)
        )
    ]
    table = pd.DataFrame(rows).assign(failed=None, floor=lambda t: 1 - t["purity"])
    fig = plot_factors.methods(table)
    for sad, armse in (fig.axes[:2], fig.axes[2:]):
        assert points(sad, "o") == [pytest.approx([0.05, 0.1]), pytest.approx([0.1, 0.2])]
        assert points(armse, "o") == [pytest.approx([0.2, 0.1]), pytest.approx([0.4, 0.2])]
        assert points(sad, "_") == [[0.5]]  # there is none at purity 1
        assert points(armse, "_") == []
    assert [ax.get_title() for ax in fig.axes[::2]] == ["brightness off", "brightness rough"]


def test_conventions() -> None:
    kinds = list(itertools.product(["share", "auto"], ["off", "smooth"], [4, 6]))
    table = pd.DataFrame(kinds, columns=["convention", "brightness", "endmembers"])
    table = table.assign(armse=np.arange(8.0), failed=None)[::-1]  # in any order
    [ax] = plot_factors.conventions(table).axes
    assert points(ax, "o") == [[4, 5, 6, 7], [0, 1, 2, 3]]
    assert labels(ax)[1] == "brightness off\n6 endmembers"
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["auto", "share"]


def test_decisions() -> None:
    table = pd.DataFrame(
        {
            "brightness": ["off", "off", "rough", "rough"],
            "variability": [0.0, 0.1, 0.0, 0.1],
            "structure": [1.0, 2.0, 3.0, 4.0],
            "offset": [5.0, 6.0, 7.0, 8.0],
            "thickness": [0.5, 1.5, 2.5, 3.5],
            "sad": [0.1, 0.2, 0.3, 0.4],
            "ratio": [np.nan, 1.5, np.nan, 2.5],
        }
    )
    fig = plot_factors.decisions(table, ["off", "rough"])
    offsets, angles, ratios = fig.axes
    assert points(offsets, "o") == [[5], [7]]
    assert points(offsets, "x") == [[6], [8]]
    assert points(angles, "x") == [[0.2], [0.4]]
    assert points(ratios, "x") == [[1.5], [2.5]]
    assert labels(ratios) == ["off", "rough"]

    # The limits are those of the method
    def limits(ax: Axes) -> list[tuple[list[float], list[float]]]:
        return [(list(x.get_xdata()), list(x.get_ydata())) for x in ax.lines if x._dash_pattern[1]]

    assert limits(offsets) == [
        ([evidence.STRUCTURE] * 2, [0, 1]),
        ([0, 1], [evidence.OFFSET] * 2),
    ]
    assert limits(angles) == [([evidence.THICKNESS] * 2, [0, 1])]
    assert limits(ratios) == [([0, 1], [endmembers.WORSE] * 2)]

    # Where all scenes are linear, no fits were compared
    *_, ratios = plot_factors.decisions(table.drop(columns="ratio"), ["off", "rough"]).axes
    assert points(ratios, "x") == []


def test_hits() -> None:
    columns = ["rule", "variation", "brightness", "endmembers", "snr"]
    rows = itertools.product(["ours", "other"], ["none", "pixels"], ["off"], [3, 5], [20, 40])
    table = pd.DataFrame(rows, columns=columns)
    table["hit"] = (table["rule"] == "ours") & (table["endmembers"] == 3) & (table["snr"] == 40)
    fig = plot_factors.hits(pd.concat([table, table]))
    texts = [[text.get_text() for text in ax.texts] for ax in fig.axes]
    assert texts == [["0.0", "1.0", "0.0", "0.0"]] * 2 + [["0.0"] * 4] * 2
    assert fig.axes[1].get_title() == "varies: pixels\nbrightness off"
    assert [fig.axes[k].get_ylabel() for k in (0, 2)] == ["ours\nendmembers", "other\nendmembers"]


def test_labels_are_of_factors() -> None:
    assert set(plot_factors.LABELS) <= set(CENTRE)
