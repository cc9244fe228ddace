r"""Pictures of the theorems: the simplex of three endmembers, and slacks.

Three abundances that sum to one are a point of a triangle, whose corners are the pure pixels. The
corners of the drawing are :math:`(0, 0)`, :math:`(1, 0)` and :math:`(1/2, \sqrt 3 / 2)`, so that
all sides have the length one.
"""

__all__ = ["simplex_frame", "slacks", "to_plane"]

import matplotlib.pyplot as plt
import pandas as pd
import torch

from collections.abc import Sequence
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from .slack import ROUNDING

CORNERS = ((0.0, 0.0), (1.0, 0.0), (0.5, 0.75**0.5))


def to_plane(a: Tensor) -> tuple[Tensor, Tensor]:
    r"""Places abundances of three endmembers in the plane.

    .. math:: (x, y) = a_1 (0, 0) + a_2 (1, 0) + a_3 (1/2, \sqrt 3 / 2)

    Args:
        a: The abundances, with shape (3, \*). Outside of the simplex, they leave the triangle.

    Returns:
        The coordinates x and y, each with shape (\*,).

    Raises:
        ValueError: If there are not three endmembers.
    """
    if len(a) != 3:
        raise ValueError(f"The abundances should be those of 3 endmembers, got {len(a)}.")

    x, y = torch.tensordot(torch.tensor(CORNERS).to(a).T, a, dims=1)

    return x, y


def simplex_frame(ax: Axes, labels: Sequence[str]) -> None:
    r"""Draws the triangle of three endmembers.

    Args:
        ax: The axes, emptied of ticks and of its frame.
        labels: The names of the three endmembers, at the corners left, right and top.

    Raises:
        ValueError: If there are not three labels.
    """
    if len(labels) != 3:
        raise ValueError(f"There should be 3 labels, one for each corner, got {len(labels)}.")

    ax.plot(*zip(*CORNERS, CORNERS[0], strict=True), color="0.3", lw=0.8, zorder=1)
    for (x, y), label, place in zip(CORNERS, labels, ("top", "top", "bottom"), strict=True):
        shift = 3 if place == "bottom" else -3
        ax.annotate(label, (x, y), (0, shift), textcoords="offset points", ha="center", va=place)
    ax.set(aspect="equal", xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.margins(0.08)


def slacks(table: pd.DataFrame, title: str) -> Figure:
    r"""Draws slacks, one line for each statement and one colour for each family.

    Args:
        table: The slacks, with the columns `statement`, `family`, `instance` and `slack`; lines
            and colours are in the order in which they come.
        title: The title of the figure.

    Returns:
        The figure. The axis is logarithmic on both sides of zero; what lies in the grey band
        around it is rounding, what is left of the band has failed.

    Raises:
        ValueError: If the table is empty, lacks a column, or holds a slack that is not finite.
    """
    if missing := {"statement", "family", "instance", "slack"} - set(table.columns):
        raise ValueError(f"The table lacks the columns {sorted(missing)}.")
    if table.empty or not torch.tensor(table["slack"].to_numpy(float)).isfinite().all():
        raise ValueError("The table should hold slacks, all of them finite.")

    statements, families = table["statement"].unique(), table["family"].unique()
    fig, ax = plt.subplots(figsize=(6.4, 0.9 + 0.26 * len(statements)))
    ax.axvspan(-ROUNDING, ROUNDING, color="0.9", lw=0)
    ax.axvline(0, color="0.3", lw=0.8)
    for k, family in enumerate(families):
        part = table[table["family"] == family]
        lane = 0.6 * ((k + 0.5) / len(families) - 0.5)
        lines = [list(statements).index(statement) + lane for statement in part["statement"]]
        ax.scatter(part["slack"], lines, s=14, alpha=0.7, lw=0, color=f"C{k}", label=family)

    largest = max(float(table["slack"].abs().max()), 1.0)
    lowest = min(float(table["slack"].min()), -10 * ROUNDING)
    ax.set_xscale("symlog", linthresh=ROUNDING, linscale=0.7)
    ax.set_xlim(3 * lowest, 3 * largest)
    ticks = [sign * 10.0**power for sign in (-1, 1) for power in (-8, -4, 0, 4, 8)]
    ax.set_xticks([0, *(tick for tick in ticks if 3 * lowest < tick < 3 * largest)])
    ax.minorticks_off()
    ax.set_yticks(range(len(statements)), statements)
    ax.set_ylim(len(statements) - 0.5, -0.5)
    ax.grid(axis="y")
    ax.set_xlabel("slack, relative (holds where not negative)")
    ax.set_title(title, loc="left")
    fig.legend(loc="outside lower center", ncols=len(families), markerscale=1.5)

    return fig
