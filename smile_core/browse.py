r"""Looking through many maps, such as the bands of an image or the abundances of many endmembers.

A `sheet` shows some of them side by side and is good everywhere; a `slider` shows each, one at a
time, where a kernel answers: in JupyterLab, and not in a stored or printed notebook.
"""

__all__ = ["sheet", "slider"]

import io
import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import torch

from collections.abc import Sequence
from matplotlib.figure import Figure
from torch import Tensor

# Pixels on the screen, of the longer side of a map
SIDE = 400


def sheet(
    maps: Tensor,
    labels: Sequence[str],
    *,
    quantity: str = "reflectance",
    limits: tuple[float, float] | None = None,
    number: int = 6,
) -> Figure:
    r"""Draws some of many maps, evenly spread from the first to the last, on one scale.

    Args:
        maps: The maps, with shape (K, H, W).
        labels: The label of each map.
        quantity: What the values are.
        limits: The values of the darkest and of the lightest colour; those between which the
            middle 96 % of all values lie if `None`.
        number: How many maps to draw at most.

    Returns:
        The figure.

    Raises:
        ValueError: If shapes disagree, or nothing is to be drawn.
    """
    x, (low, high) = _check(maps, labels, limits)
    if number < 1:
        raise ValueError(f"The number of maps should be positive, got {number}.")

    chosen = np.linspace(0, len(x) - 1, min(number, len(x))).round().astype(int)
    height = 1.5 * x.shape[1] / x.shape[2]
    fig, axes = plt.subplots(
        1, len(chosen), figsize=(1.6 * len(chosen) + 0.8, height + 0.4), squeeze=False
    )
    for ax, k in zip(axes[0], chosen, strict=True):
        drawn = ax.imshow(x[k], vmin=low, vmax=high, cmap="viridis")
        ax.set(title=labels[k], xticks=[], yticks=[])
    fig.colorbar(drawn, ax=list(axes[0]), fraction=0.03, pad=0.01, label=quantity)

    return fig


def slider(
    maps: Tensor, labels: Sequence[str], *, limits: tuple[float, float] | None = None
) -> ipywidgets.VBox:
    r"""Creates a slider through many maps, on one scale.

    Args:
        maps: The maps, with shape (K, H, W).
        labels: The label of each map.
        limits: See `sheet`.

    Returns:
        The widget: the slider with the label of the map beside it, above the picture.

    Raises:
        ValueError: If shapes disagree.
    """
    x, (low, high) = _check(maps, labels, limits)
    times = max(SIDE // max(x.shape[1:]), 1)

    handle = ipywidgets.IntSlider(max=len(x) - 1, readout=False)
    label = ipywidgets.Label()
    picture = ipywidgets.Image(format="png", layout={"align_self": "flex-start"})

    def show(change: object = None) -> None:
        pixels = x[handle.value].repeat(times, axis=0).repeat(times, axis=1)
        buffer = io.BytesIO()
        plt.imsave(buffer, pixels, vmin=low, vmax=high, cmap="viridis", format="png")
        picture.value, label.value = buffer.getvalue(), labels[handle.value]

    handle.observe(show, "value")
    show()

    return ipywidgets.VBox([ipywidgets.HBox([handle, label]), picture])


def _check(
    maps: Tensor, labels: Sequence[str], limits: tuple[float, float] | None
) -> tuple[np.ndarray, tuple[float, float]]:
    x = torch.as_tensor(maps).detach().cpu().numpy()
    if x.ndim != 3 or not x.size or len(labels) != len(x):
        raise ValueError(
            f"maps should have shape (K, H, W), with a label for each of them, got {x.shape} and "
            f"{len(labels)} labels."
        )
    low, high = np.percentile(x, [2, 98]).tolist() if limits is None else limits

    return x, (low, max(high, low + 1e-6))
