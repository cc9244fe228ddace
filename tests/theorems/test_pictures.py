r"""Tests for the smile_core.theorems.pictures module."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch

from collections.abc import Iterator
from itertools import pairwise
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from pathlib import Path

from smile_core import plot
from smile_core.record import Record
from smile_core.theorems import pictures
from smile_core.theorems.slack import ROUNDING

LABELS = ("soil", "tree", "water")
COLUMNS = ("statement", "family", "instance", "slack")


@pytest.fixture(autouse=True)
def figures() -> Iterator[None]:
    r"""Draws without a screen, in the style, and leaves neither figures nor settings behind."""
    plt.switch_backend("Agg")
    with plt.rc_context():
        plot.use_style()
        yield
    plt.close("all")


def make_table() -> pd.DataFrame:
    rows = [
        ("1.1 closure", "typical", "plain", -1e-16),
        ("1.2 purity", "typical", "plain", 0.25),
        ("1.2 purity", "scaled", "x 1e10", 1e-4),
        ("1.2 purity", "violating", "lobes", -0.5),
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def offsets(fig: Figure) -> dict[str, list[list[float]]]:
    found = fig.axes[0].findobj(PathCollection)
    return {points.get_label(): points.get_offsets().tolist() for points in found}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_to_plane(dtype: torch.dtype) -> None:
    # Distances in the plane are those in the simplex, over the square root of two
    a = torch.rand(3, 6, dtype=dtype).softmax(dim=0)
    x, y = pictures.to_plane(a)
    assert x.dtype == dtype
    distances = torch.pdist(torch.stack([x, y], dim=1))
    torch.testing.assert_close(distances, torch.pdist(a.T.contiguous()) / 2**0.5)

    # Corners, a centre, and a grid of pixels
    x, y = pictures.to_plane(torch.eye(3))
    torch.testing.assert_close(torch.stack([x, y]), torch.tensor([[0, 1, 0.5], [0, 0, 0.75**0.5]]))
    torch.testing.assert_close(pictures.to_plane(torch.full((3,), 1 / 3))[0], torch.tensor(0.5))
    assert pictures.to_plane(torch.rand(3, 4, 5))[0].shape == (4, 5)


def test_to_plane_errors() -> None:
    with pytest.raises(ValueError, match="those of 3 endmembers, got 4"):
        pictures.to_plane(torch.rand(4, 5))


def test_simplex_frame() -> None:
    fig, ax = plt.subplots(figsize=(3, 3))
    pictures.simplex_frame(ax, LABELS)

    # A closed triangle of the corners
    x, y = ax.lines[0].get_data()
    corners = pictures.to_plane(torch.eye(3))
    assert list(x) == pytest.approx([*corners[0].tolist(), 0])
    assert list(y) == pytest.approx([*corners[1].tolist(), 0])

    # Names next to their corners, within the figure
    fig.draw_without_rendering()
    assert [text.get_text() for text in ax.texts] == list(LABELS)
    for text, place in zip(ax.texts, torch.stack(corners, dim=1).tolist(), strict=True):
        assert text.xy == pytest.approx(place)
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.y0 >= 0
        assert box.x1 <= fig.bbox.width and box.y1 <= fig.bbox.height

    with pytest.raises(ValueError, match="3 labels, one for each corner, got 2"):
        pictures.simplex_frame(ax, LABELS[:2])


def test_slacks() -> None:
    fig = pictures.slacks(make_table(), "Theorem 1")
    ax = fig.axes[0]

    # Every slack is drawn, on the line of its statement and in the colour of its family
    assert [label.get_text() for label in ax.get_yticklabels()] == ["1.1 closure", "1.2 purity"]
    found = offsets(fig)
    assert [x for x, _ in found["typical"]] == [-1e-16, 0.25]
    assert [round(y) for _, y in found["typical"]] == [0, 1]
    assert [x for x, _ in found["violating"]] == [-0.5]
    assert len({y for points in found.values() for _, y in points if round(y) == 1}) == 3
    assert [text.get_text() for text in fig.legends[0].texts] == ["typical", "scaled", "violating"]

    # All in view, rounding apart from the rest
    low, high = ax.get_xlim()
    assert low < -0.5 and high > 0.25
    left, zero, right = (ax.transData.transform((x, 0))[0] for x in (-ROUNDING, 0, ROUNDING))
    width = ax.bbox.width
    assert 0.02 * width < zero - left == pytest.approx(right - zero)
    assert right - left < 0.2 * width


@pytest.mark.parametrize("value", [1e-13, 3e5, -2e4, 0.0])
def test_slacks_in_view(value: float) -> None:
    fig = pictures.slacks(make_table().assign(slack=value), "Theorem 1")
    fig.draw_without_rendering()
    low, high = fig.axes[0].get_xlim()
    assert low < value < high

    # Tick labels do not touch
    boxes = [label.get_window_extent() for label in fig.axes[0].get_xticklabels()]
    boxes.sort(key=lambda box: box.x0)
    assert all(a.x1 < b.x0 for a, b in pairwise(boxes))


def test_slacks_are_reproducible(tmp_path: Path) -> None:
    images = []
    for k in range(2):
        record = Record(f"slack{k}", tmp_path, seed=0)
        record.figure(pictures.slacks(make_table(), "Theorem 1"))
        images.append((record.folder / f"slack{k}.png").read_bytes())
    assert images[0] == images[1]


def test_slacks_errors() -> None:
    table = make_table()
    with pytest.raises(ValueError, match=r"lacks the columns \['family', 'slack'\]"):
        pictures.slacks(table[["statement", "instance"]], "")
    with pytest.raises(ValueError, match="all of them finite"):
        pictures.slacks(table.assign(slack=float("nan")), "")
    with pytest.raises(ValueError, match="should hold slacks"):
        pictures.slacks(table.iloc[:0], "")
