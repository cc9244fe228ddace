r"""Figures of studies: what methods differ by, and by how much they have to, to differ at all."""

__all__ = ["groups", "intervals", "ranks", "side_by_side"]

import matplotlib.pyplot as plt
import pandas as pd

from collections.abc import Mapping, Sequence
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from .statistics import summarise

# Of the method that the others are compared with
OWN, OTHERS = "C1", "C0"


def intervals(table: pd.DataFrame, labels: Mapping[str, str], own: str) -> Figure:
    r"""Draws the errors of methods, a panel for each scene and error, a line for each method.

    A light point is a seed, a full one the mean, a bar its bootstrap interval. Where seeds have
    failed, it says how many.

    Args:
        table: The study, with the columns `scene`, `method`, `failed` and those of the errors.
            Scenes where an error is missing altogether have no panel for it.
        labels: The labels of the errors, by their columns.
        own: The method that has a colour of its own.

    Returns:
        The figure.
    """
    scenes = table["scene"].unique().tolist()
    methods = table["method"].unique().tolist()
    height = 0.7 + 0.22 * len(methods)
    fig, axes = plt.subplots(
        len(labels),
        len(scenes),
        figsize=(1.2 + 2.4 * len(scenes), height * len(labels) + 0.2),
        squeeze=False,
    )
    for line, (column, label) in zip(axes, labels.items(), strict=True):
        names = methods  # on the first panel of a line
        for ax, scene in zip(line, scenes, strict=True):
            part = table[table["scene"] == scene]
            if part[column].notna().any():
                _draw_intervals(ax, part, column, methods, own)
                ax.set(title=scene, xlabel=label)
                ax.set_yticks(range(len(methods)), names)
                names = [""] * len(methods)
            else:
                ax.set_axis_off()

    return fig


def ranks(means: Mapping[str, pd.Series], critical: Mapping[str, float], own: str) -> Figure:
    r"""Draws mean ranks, and joins those that do not differ by the critical difference.

    References:
        | Statistical Comparisons of Classifiers over Multiple Data Sets (Demsar, 2006)
        | https://www.jmlr.org/papers/v7/demsar06a.html

    Args:
        means: The mean ranks of methods, by the title of their panel.
        critical: The critical difference, by the same titles.
        own: The method that has a colour of its own.

    Returns:
        The figure.
    """
    most = max(map(len, means.values()))
    height = 1.0 + 0.16 * most
    fig, axes = plt.subplots(len(means), 1, figsize=(6.4, height * len(means)), squeeze=False)
    for ax, (title, series) in zip(axes.flat, means.items(), strict=True):
        _draw_ranks(ax, series.sort_values(kind="stable"), critical[title], own)
        ax.set_title(f"{title}, critical difference {critical[title]:.2f}", loc="left")

    return fig


def side_by_side(maps: Mapping[str, Tensor], materials: Sequence[str], title: str) -> Figure:
    r"""Draws the abundances of many methods, on one scale from 0 to 1.

    Args:
        maps: The abundances by the label of their column, each with shape (R, H, W), those of the
            reference first.
        materials: The names of the R materials, one a line.
        title: The title of the figure.

    Returns:
        The figure.
    """
    H, W = next(iter(maps.values())).shape[1:]
    inch = min(1.05, 6.4 / len(maps))
    size = (0.9 + inch * len(maps), 0.6 + inch * len(materials) * H / W)
    fig = plt.figure(figsize=size, layout="compressed")
    axes = fig.subplots(len(materials), len(maps), squeeze=False)
    for column, (label, a) in zip(axes.T, maps.items(), strict=True):
        column[0].set_title(label)
        for ax, values in zip(column, a, strict=True):
            drawn = ax.imshow(values.numpy(), vmin=0.0, vmax=1.0)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set(visible=True, linewidth=0.5)
    for ax, material in zip(axes[:, 0], materials, strict=True):
        ax.set_ylabel(material)
    fig.colorbar(drawn, ax=axes, label="abundance", ticks=[0.0, 0.5, 1.0], aspect=30, pad=0.01)
    fig.suptitle(title)

    return fig


def groups(values: Sequence[float], critical: float) -> list[tuple[int, int]]:
    r"""Finds the largest runs of sorted values in which none is further from another than allowed.

    Args:
        values: The values, increasing.
        critical: The critical difference.

    Returns:
        The first and the last index of each run of two or more, none within another.
    """
    runs: list[tuple[int, int]] = []
    for first, low in enumerate(values):
        last = max(k for k, value in enumerate(values) if value - low < critical or k == first)
        if last > first and (not runs or last > runs[-1][1]):
            runs.append((first, last))

    return runs


def _draw_intervals(
    ax: Axes, part: pd.DataFrame, column: str, methods: Sequence[str], own: str
) -> None:
    for row in summarise(part, ["method"], column).itertuples():
        y, color = methods.index(row.method), OWN if row.method == own else OTHERS
        seeds = part.loc[part["method"] == row.method, column].dropna()
        ax.plot(seeds, [y] * len(seeds), "o", ms=3.5, mew=0, color=color, alpha=0.35)
        ax.plot([row.low, row.high], [y, y], color=color, lw=2.2, solid_capstyle="butt")
        ax.plot(row.mean, y, "o", ms=5, color=color)
        if row.failed:
            at = {"x": 0.02, "y": y, "va": "center", "size": 7, "color": color}
            ax.text(s=f"{row.failed} failed", transform=ax.get_yaxis_transform(), **at)
    ax.set(xlim=(0, 1.05 * part[column].max()), ylim=(len(methods) - 0.4, -0.6))
    ax.locator_params(axis="x", nbins=5)
    ax.grid(axis="x")
    ax.tick_params(axis="y", length=0)


def _draw_ranks(ax: Axes, series: pd.Series, critical: float, own: str) -> None:
    count = len(series)
    half = -(-count // 2)
    ax.set(xlim=(0.5, count + 0.5), ylim=(-half - 1.0, 1.5))
    ax.xaxis.tick_top()
    ax.set_xticks(range(1, count + 1))
    ax.spines[["left", "right", "bottom"]].set_visible(False)
    ax.spines["top"].set_visible(True)
    ax.set_yticks([])

    # The better half has its names on the left, from the best down
    for k, (method, rank) in enumerate(series.items()):
        left = k < half
        y = -1.0 - (k if left else count - 1 - k)
        end = 0.75 if left else count + 0.25
        color = OWN if method == own else "0.25"
        ax.plot([rank, rank, end], [1.5, y, y], color=color, lw=1.0, clip_on=False)
        ax.text(
            end,
            y,
            f"{method} {rank:.2f} " if left else f" {rank:.2f} {method}",
            ha="right" if left else "left",
            va="center",
            color=color,
            size=8,
        )

    for k, (first, last) in enumerate(groups(series.tolist(), critical)):
        ends = [series.iloc[first] - 0.05, series.iloc[last] + 0.05]
        ax.plot(ends, [0.9 - 0.35 * k] * 2, color="black", lw=3.0, solid_capstyle="butt")
