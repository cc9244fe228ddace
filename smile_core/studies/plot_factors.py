r"""Figures of synthetic studies: what errors depend on, and what was decided from the image."""

__all__ = ["changes", "conventions", "decisions", "errors", "hits", "methods", "shares"]

import itertools
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from collections.abc import Mapping, Sequence
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from typing import Any

from ..endmembers import WORSE
from ..evidence import OFFSET, STRUCTURE, THICKNESS
from .statistics import summarise

# How the factors of `smile_core.studies.factors` are called where they are an axis
LABELS = {"snr": "SNR (dB)"}


def errors(table: pd.DataFrame, factors: Mapping[str, Sequence[Any]]) -> Figure:
    r"""Draws the errors of the modes `single` and `self`, a column for each factor.

    Args:
        table: The cases, as from `smile_core.studies.factors.by_factor`.
        factors: The values of each factor, in their order.

    Returns:
        The figure. Bars are bootstrap intervals of the means.
    """
    fig, axes = plt.subplots(2, len(factors), figsize=(7.2, 3.6), sharex="col", sharey="row")
    for column, (factor, values) in zip(axes.T, factors.items(), strict=True):
        part = table[table["factor"] == factor]
        for ax, error in zip(column, ("lr", "hr"), strict=True):
            for mode, at in zip(("single", "self"), _places(values, 2), strict=True):
                line = summarise(part, ["value"], f"{error}_{mode}").set_index("value")
                _draw_means(ax, at, line.loc[values], fmt="o-", label=mode)
        column[1].set_xticks(range(len(values)), values)
        column[1].set_xlabel(LABELS.get(factor, factor))
        column[1].margins(x=0.15)
    for ax, label in zip(axes[:, 0], ("LR aRMSE", "HR aRMSE"), strict=True):
        ax.set(ylabel=label, ylim=(0, None))
    axes[0, 0].legend()

    return fig


def changes(table: pd.DataFrame) -> Figure:
    r"""Draws by how much guidance changes the errors, a line for each setting.

    Args:
        table: The changes, as from `smile_core.studies.factors.gains`, with the column `setting`.

    Returns:
        The figure. Bars are bootstrap intervals of the means.
    """
    settings = table["setting"].unique().tolist()
    size = (6.4, 0.9 + 0.2 * len(settings))
    fig, axes = plt.subplots(1, 2, figsize=size, sharey=True)
    for ax, error in zip(axes, ("lr", "hr"), strict=True):
        line = table[table["error"] == error].set_index("setting").loc[settings]
        ends = [line["mean"] - line["low"], line["high"] - line["mean"]]
        ax.errorbar(line["mean"], range(len(settings)), xerr=ends, fmt="o", ms=4, color="C1")
        ax.axvline(0, color="0.5", zorder=0)
        ax.set_xlabel(f"{error.upper()} error of self against single (%)")
    axes[0].set_yticks(range(len(settings)), settings)
    axes[0].set_ylim(len(settings) - 0.5, -0.5)

    return fig


def shares(table: pd.DataFrame) -> Figure:
    r"""Draws the shares of the correction that were best against those that were taken.

    Args:
        table: The cases of `smile_core.studies.factors.restore` in which a network was trained.

    Returns:
        The figure.
    """
    fig, ax = plt.subplots(figsize=(3.6, 3.0))
    for marker, (scale, part) in zip("osD^v", table.groupby("scale"), strict=False):
        ax.plot(part["share"], part["best"], marker, ms=5, alpha=0.7, label=f"scale {scale}")
    ax.plot([0, 1], [0, 1], color="0.5", lw=0.8, zorder=0)
    ax.set(xlim=(-0.05, 1.05), ylim=(-0.05, 1.05))
    ax.set(xlabel="share from the rehearsal", ylabel="best share by the truth")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))

    return fig


def methods(table: pd.DataFrame) -> Figure:
    r"""Draws the errors of methods against the purity, a row for each kind of brightness.

    Args:
        table: The cases of `smile_core.studies.factors.recover` and their results.

    Returns:
        The figure. Bars are bootstrap intervals of the means, dashes the floor of mixtures.
    """
    lights = table["brightness"].unique()
    fig, axes = plt.subplots(
        len(lights), 2, figsize=(6.4, 2.1 * len(lights)), sharex=True, sharey="col", squeeze=False
    )
    names = {"sad": "SAD (rad)", "armse": "aRMSE"}
    for line, light in zip(axes, lights, strict=True):
        part = table[table["brightness"] == light]
        for ax, (error, label) in zip(line, names.items(), strict=True):
            for k, (method, group) in enumerate(part.groupby("method", sort=False)):
                means = summarise(group, ["purity"], error)
                at = means["purity"] + 0.004 * (k - 1.5)
                _draw_means(ax, at, means, fmt="o-", label=method)
            ax.set(title=f"brightness {light}", ylabel=label, yscale="log")
        floor = part.groupby("purity")["floor"].mean()
        line[0].plot(floor[floor > 1e-3], "k_", ms=16, label="floor of mixtures")
    fig.supxlabel("largest abundance", fontsize="medium")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=5)

    return fig


def conventions(table: pd.DataFrame) -> Figure:
    r"""Draws the errors by the convention that was asked for.

    Args:
        table: The cases of `smile_core.studies.factors.recover` and their results.

    Returns:
        The figure. Bars are bootstrap intervals of the means.
    """
    fig, ax = plt.subplots(figsize=(6.4, 2.4))
    means = summarise(table, ["convention", "brightness", "endmembers"], "armse")
    kinds = list(means.groupby(["brightness", "endmembers"]).groups)
    groups = list(means.groupby("convention", sort=False))
    for at, (convention, part) in zip(_places(kinds, len(groups)), groups, strict=True):
        line = part.set_index(["brightness", "endmembers"]).loc[kinds]
        _draw_means(ax, at, line, fmt="o", label=convention)
    ax.set_xticks(range(len(kinds)), [f"brightness {b}\n{R} endmembers" for b, R in kinds])
    ax.set(ylabel="aRMSE", ylim=(0, None), xlim=(-0.5, len(kinds) - 0.5))
    ax.legend(title="convention", loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=True)

    return fig


def decisions(table: pd.DataFrame, lights: Sequence[str]) -> Figure:
    r"""Draws what the convention, and corners or archetypes, were decided on, and the limits.

    Args:
        table: The cases of `smile_core.studies.factors.recover`, with `convention="auto"`, and
            their results.
        lights: The kinds of brightness, in the order of their colours.

    Returns:
        The figure. Scenes whose spectra vary are crosses.
    """
    fig, axes = plt.subplots(1, 3, figsize=(7.2, 2.7))
    for (color, light), vary in itertools.product(enumerate(lights), (False, True)):
        part = table[(table["brightness"] == light) & ((table["variability"] > 0) == vary)]
        style = {"ls": "", "marker": "x" if vary else "o", "ms": 4.5, "alpha": 0.8}
        style |= {"color": f"C{color}"}
        axes[0].plot(part["structure"], part["offset"], **style)
        axes[1].plot(part["thickness"], part["sad"], **style)
        if "ratio" in part:
            ratio = part["ratio"].dropna()
            at = color + 0.6 * (np.arange(1, len(ratio) + 1) / (len(ratio) + 1) - 0.5)
            axes[2].plot(at, ratio, **style)

    limit = {"color": "0.4", "lw": 0.8, "ls": "--"}
    axes[0].axvline(STRUCTURE, **limit)
    axes[0].axhline(OFFSET, **limit)
    axes[1].axvline(THICKNESS, **limit)
    axes[2].axhline(WORSE, **limit)
    axes[0].set(xlabel="structure", ylabel="offset")
    axes[1].set(xlabel="thickness", ylabel="SAD (rad)")
    axes[2].set(xlabel="brightness", ylabel="ratio of residuals", xlim=(-0.5, len(lights) - 0.5))
    axes[2].set_xticks(range(len(lights)), lights)
    axes[0].set(xscale="log")
    axes[1].set(xscale="log", yscale="log")
    for axis in (axes[0].xaxis, axes[1].xaxis, axes[1].yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(plt.NullFormatter())

    return fig


def hits(table: pd.DataFrame) -> Figure:
    r"""Draws how often endmembers are counted right, a row for each rule.

    Args:
        table: The estimates, a row for each scene and `rule`, with `endmembers`, `snr`,
            `brightness`, `variation`, and `hit`.

    Returns:
        The figure.
    """
    rules, kinds, lights = (table[c].unique() for c in ("rule", "variation", "brightness"))
    columns = list(itertools.product(kinds, lights))
    fig, axes = plt.subplots(
        len(rules), len(columns), figsize=(6.4, 2.9), sharex=True, sharey=True, squeeze=False
    )
    style = {"vmin": 0, "vmax": 1, "cmap": "cividis", "annot": True, "fmt": ".1f", "cbar": False}
    for line, rule in zip(axes, rules, strict=True):
        for ax, (kind, light) in zip(line, columns, strict=True):
            same = table[["rule", "variation", "brightness"]] == [rule, kind, light]
            part = table[same.all(axis=1)]
            rates = part.pivot_table(index="endmembers", columns="snr", values="hit")
            sns.heatmap(rates, ax=ax, linewidths=0.5, annot_kws={"size": 6}, **style)
            ax.tick_params(labelsize=7, left=False, bottom=False)
            ax.set(xlabel="", ylabel="")
        line[0].set_ylabel(f"{rule}\nendmembers")
        line[0].tick_params(axis="y", rotation=0)
    for ax, (kind, light) in zip(axes[0], columns, strict=True):
        ax.set_title(f"varies: {kind}\nbrightness {light}", fontsize=6)
    fig.supxlabel("SNR (dB)", fontsize="medium")

    return fig


def _places(values: Sequence[Any], lines: int) -> np.ndarray:
    # Of points of several lines, side by side at each value
    return np.arange(len(values)) + 0.06 * np.arange(1 - lines, lines, 2)[:, None]


def _draw_means(ax: Axes, at: Any, line: pd.DataFrame, **style: Any) -> None:
    ends = [line["mean"] - line["low"], line["high"] - line["mean"]]
    ax.errorbar(at, line["mean"], yerr=ends, ms=3.5, **style)
