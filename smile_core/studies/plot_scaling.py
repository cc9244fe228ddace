r"""Figures of what stages cost: floors, and power laws."""

__all__ = ["floors", "laws"]

import matplotlib.pyplot as plt
import pandas as pd

from collections.abc import Mapping
from matplotlib.figure import Figure


def floors(table: pd.DataFrame) -> Figure:
    r"""Draws the seconds of each stage, and how far they are from their floor.

    Args:
        table: `seconds` and `floor`, a row per stage.
    """
    fig, ax = plt.subplots(figsize=(4.8, 2.6))
    ax.hlines(table.index, table["floor"], table["seconds"], color="0.7", lw=2, zorder=0)
    ax.plot(table["floor"], table.index, "|", color="k", ms=12, mew=2, label="floor")
    ax.plot(table["seconds"], table.index, "o", color="C0", label="measured")
    ax.set(xscale="log", xlabel="seconds", ylim=(len(table) - 0.5, -0.5))
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))

    return fig


def laws(sweeps: Mapping[str, pd.DataFrame]) -> Figure:
    r"""Draws seconds against sizes, both logarithmic, a panel per part of the size.

    Args:
        sweeps: The seconds by the part that varies, a row per value and a column per stage.
    """
    width = 2.1 * len(sweeps)
    fig, axes = plt.subplots(
        1, len(sweeps), figsize=(width, 2.6), sharey=True, layout="constrained", squeeze=False
    )
    for ax, (name, sweep) in zip(axes[0], sweeps.items(), strict=True):
        for (stage, seconds), marker in zip(sweep.items(), "osD^", strict=True):
            ax.loglog(sweep.index, seconds, marker=marker, ms=4, label=stage)
        ax.set(xlabel=name)
        ax.set_xticks(sweep.index, [f"{n:.0e}" if n >= 1e5 else f"{n:g}" for n in sweep.index])
        ax.tick_params("x", labelrotation=45 if max(sweep.index) >= 1e5 else 0)
        ax.minorticks_off()
    axes[0, 0].set_ylabel("seconds")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)

    return fig
