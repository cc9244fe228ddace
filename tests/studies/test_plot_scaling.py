r"""Tests for the smile_core.studies.plot_scaling module."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from smile_core.studies import plot_scaling
from smile_core.studies.scaling import STAGES


def test_floors() -> None:
    table = pd.DataFrame({"seconds": [3.0, 0.5], "floor": [1.0, 0.1]}, index=["training", "solve"])
    [ax] = plot_scaling.floors(table).axes

    assert ax.get_xscale() == "log"
    drawn = {line.get_label(): line.get_xdata().tolist() for line in ax.lines}
    assert drawn == {"floor": [1.0, 0.1], "measured": [3.0, 0.5]}
    # The first stage on top
    assert [label.get_text() for label in ax.get_yticklabels()] == ["training", "solve"]
    assert ax.yaxis_inverted()
    plt.close("all")


@pytest.mark.parametrize("names", [["bands"], ["pixels", "bands", "scale"]])
def test_laws(names: list[str]) -> None:
    rows = [[1.0, 2.0, 3.0, 4.0], [2.0, 4.0, 6.0, 8.0]]
    sweep = pd.DataFrame(rows, columns=list(STAGES), index=[10, 20])
    fig = plot_scaling.laws(dict.fromkeys(names, sweep))

    assert [ax.get_xlabel() for ax in fig.axes] == names
    for ax in fig.axes:
        assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
        assert [line.get_ydata().tolist() for line in ax.lines] == sweep.T.to_numpy().tolist()
        assert [tick.get_text() for tick in ax.get_xticklabels()] == ["10", "20"]
    [legend] = fig.legends
    assert [text.get_text() for text in legend.texts] == list(STAGES)
    plt.close("all")
