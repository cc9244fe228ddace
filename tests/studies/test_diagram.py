r"""Tests for the smile_core.studies.diagram module."""

import itertools
import matplotlib.pyplot as plt
import pytest

from collections.abc import Iterator
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from smile_core.network import Smile
from smile_core.studies.diagram import SIZE, diagram


@pytest.fixture
def ax() -> Iterator[Axes]:
    fig, ax = plt.subplots(figsize=SIZE, layout="constrained")
    yield ax
    plt.close(fig)


@pytest.mark.parametrize(("B", "R", "scale", "channels"), [(156, 3, 2, 32), (200, 12, 4, 64)])
def test_diagram(ax: Axes, B: int, R: int, scale: int, channels: int) -> None:
    network = Smile(B, R, scale, channels, attention=True)
    diagram(ax, network, 46, 50)
    ax.figure.canvas.draw()

    # Boxes do not overlap, and lie in the figure
    boxes = [patch.get_window_extent() for patch in ax.patches if type(patch) is FancyBboxPatch]
    assert len(boxes) == 13
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    for box in boxes:
        assert ax.figure.bbox.x0 < box.x0 < box.x1 < ax.figure.bbox.x1
        assert ax.figure.bbox.y0 < box.y0 < box.y1 < ax.figure.bbox.y1

    # Texts lie in boxes, three in each, or outside of all
    texts = {text: text.get_window_extent() for text in ax.texts}
    inside = {box: [] for box in map(id, boxes)}
    for text, area in texts.items():
        for box in boxes:
            if area.overlaps(box):
                assert box.x0 < area.x0 < area.x1 < box.x1, text.get_text()
                assert box.y0 < area.y0 < area.y1 < box.y1, text.get_text()
                inside[id(box)].append(text.get_text())
    assert all(len(lines) == 3 for lines in inside.values())
    for one, other in itertools.combinations(texts.values(), 2):
        assert not one.overlaps(other)

    # Arrows enter no box, but come near to those that they join
    arrows = [patch.get_window_extent() for patch in ax.patches if type(patch) is FancyArrowPatch]
    assert len(arrows) == 14
    for arrow in arrows:
        assert not any(arrow.overlaps(box) for box in boxes)
        near = arrow.padded(0.05 * ax.figure.dpi)
        assert sum(near.overlaps(box) for box in boxes) >= 2

    # The shapes, by hand
    shapes = {lines[0]: lines[2] for lines in inside.values()}
    wide, low, high = (
        f"{channels} x 46 x 50",
        f"{R} x 46 x 50",
        f"{R} x {46 * scale} x {50 * scale}",
    )
    assert shapes == {
        "pixels": f"{B + R + 1} x 46 x 50",
        **dict.fromkeys(("stem", "shared", "unmixing", "sr", "to_unmixing", "to_sr"), wide),
        "head": low,
        "head_hr": f"{R * scale**2} x 46 x 50",
        **dict.fromkeys(("LR output", "LR solve"), low),
        **dict.fromkeys(("HR output", "HR lifted"), high),
    }

    # Nothing is left behind
    assert not any(part._forward_hooks for part in network.children())


def test_details(ax: Axes) -> None:
    r"""Tests that what parts consist of is read off the network."""
    diagram(ax, Smile(6, 3, 2, 16, attention=True), 4, 4)
    details = [text.get_text() for text in ax.texts]

    assert details.count("2 blocks") == 2
    assert details.count("1 block") == 1
    assert details.count("4 heads of 4") == 2
