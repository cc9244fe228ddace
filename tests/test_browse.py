r"""Tests for the smile_core.browse module."""

import io
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from matplotlib.image import imread

from smile_core.browse import sheet, slider

LABELS = [f"band {k}" for k in range(9)]


@pytest.fixture
def maps() -> torch.Tensor:
    return torch.arange(9.0)[:, None, None] * torch.ones(9, 3, 5)


def test_sheet(maps: torch.Tensor) -> None:
    fig = sheet(maps, LABELS, quantity="radiance", number=5, limits=(-1, 9))
    *axes, bar = fig.axes
    assert [ax.get_title() for ax in axes] == [f"band {k}" for k in (0, 2, 4, 6, 8)]
    for ax, k in zip(axes, (0, 2, 4, 6, 8), strict=True):
        assert (ax.images[0].get_array() == k).all()
        assert ax.images[0].get_clim() == (-1, 9)
    assert bar.get_ylim() == (-1, 9) and bar.get_ylabel() == "radiance"
    plt.close(fig)

    # No more than there are
    fig = sheet(maps[:2], LABELS[:2])
    assert len(fig.axes) == 3
    plt.close(fig)


def test_slider(maps: torch.Tensor) -> None:
    widget = slider(maps, LABELS, limits=(0, 8))
    handle, label = widget.children[0].children

    # Each map in its colour, as large on the screen as it is long and wide
    for k in (0, 4, 8):
        handle.value = k
        pixels = imread(io.BytesIO(widget.children[1].value))
        assert label.value == f"band {k}"
        assert pixels.shape == (240, 400, 4)
        assert np.allclose(pixels, plt.get_cmap("viridis")(k / 8), atol=1 / 255)
    assert (handle.min, handle.max) == (0, 8)


def test_limits() -> None:
    # Single values beyond the others do not take the colours
    x = torch.linspace(0, 1, 10_000).reshape(1, 100, 100).clone()
    x[0, 0, 0], x[0, -1, -1] = -1e6, 1e6
    fig = sheet(x, ["one"])
    assert np.allclose(fig.axes[0].images[0].get_clim(), (0.02, 0.98), atol=1e-3)
    plt.close(fig)

    # A constant map is drawn
    fig = sheet(torch.zeros(1, 2, 2), ["dark"])
    fig.canvas.draw()
    plt.close(fig)


def test_errors(maps: torch.Tensor) -> None:
    for draw in (sheet, slider):
        with pytest.raises(ValueError, match="with a label for each"):
            draw(maps, LABELS[1:])
        with pytest.raises(ValueError, match=r"should have shape \(K, H, W\)"):
            draw(maps[0], LABELS[:3])
    with pytest.raises(ValueError, match="number of maps should be positive"):
        sheet(maps, LABELS, number=0)
