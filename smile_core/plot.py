r"""Figures of scenes and results, in one style.

Abundances are drawn on one scale, from 0 to 1, and the colour bar names their convention: a map
without it means little. Errors have a diverging scale, white at zero. Colours are such that the
colour-blind can tell them apart.

The figures made here have the style of `smile.mplstyle`; `use_style` gives it to figures made
elsewhere. Importing this module changes nothing.
"""

__all__ = ["image", "maps", "result", "spectra", "training", "use_style"]

import functools
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import textwrap
import torch

from collections.abc import Callable, Mapping, Sequence
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pathlib import Path
from torch import Tensor
from typing import TYPE_CHECKING, ParamSpec

from .mixing import Convention, unit

if TYPE_CHECKING:
    from .result import Unmixing

P = ParamSpec("P")

STYLE = Path(__file__).with_name("smile.mplstyle")

# What an abundance is
MEANING = {"share": "share of light", "area": "fraction of area", "plain": "plain mixing"}

LOSSES = {"unmixing": "unmixing", "sr": "SR"}

# Beside a title that is on the left
ABOVE = {"loc": "lower right", "bbox_to_anchor": (1.0, 0.97), "ncols": 2}

# Sizes in inches
WIDEST_MAP, WIDEST_ROW = 1.7, 8.0
GAP, LINE, BAR, MARGIN = 0.06, 0.17, 0.12, 1.4


def use_style() -> None:
    r"""Applies the style of this module to all figures to come, those of seaborn included."""
    plt.style.use(STYLE)


def _styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    @functools.wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with plt.style.context(STYLE, after_reset=True):
            fig = draw(*args, **kwargs)
            interactive = matplotlib.is_interactive()

        # The first figure of a notebook switches this on, and the context off again
        matplotlib.interactive(interactive)

        return fig

    return styled


@_styled
def maps(
    rows: Mapping[str, Tensor],
    materials: Sequence[str],
    *,
    convention: Convention,
    title: str | None = None,
    errors: Tensor | None = None,
) -> Figure:
    r"""Draws abundance maps, one row for each result and one column for each material.

    Args:
        rows: The abundances by the label of their row, each with shape (R, H, W). The resolution
            may differ from row to row. NaN is left blank.
        materials: The names of the R materials.
        convention: What an abundance is, see `smile_core.mixing`.
        title: The title of the figure.
        errors: Estimated abundances minus those of the reference, with shape (R, H, W), for a
            last row.

    Returns:
        The figure.

    Raises:
        ValueError: If there are no rows, or if a shape or the convention is not as expected.
    """
    R = len(materials)
    if convention not in MEANING:
        raise ValueError(f"Unknown convention '{convention}', expected one of {[*MEANING]}.")
    if not rows:
        raise ValueError("rows should hold the abundances of at least one row, got none.")
    arrays = [_maps(f"rows['{label}']", a, R) for label, a in rows.items()]
    if errors is not None:
        arrays.append(_maps("errors", errors, R))

    axes = _grid(materials, [a.shape[1] / a.shape[2] for a in arrays], title)
    _draw_abundances(axes[: len(rows)], list(rows), arrays, convention)
    if errors is not None:
        limit = float(np.nanmax(np.abs(arrays[-1]))) or 1.0
        _draw_row(axes[-1], "error", arrays[-1], cmap="RdBu_r", vmin=-limit, vmax=limit)
        _draw_bar(axes[-1:], "estimate\n$-$ reference", [-limit, 0.0, limit])

    return axes[0, 0].figure


@_styled
def spectra(
    wavelengths: Tensor,
    sets: Mapping[str, Tensor],
    materials: Sequence[str],
    *,
    gaps: bool = True,
) -> Figure:
    r"""Draws spectra, each scaled to unit norm, one panel for each material.

    Args:
        wavelengths: The band centres in nanometres, increasing, with shape (B,).
        sets: The spectra by the label of their set, each with shape (B, R). The first set is the
            reference, drawn dashed and black.
        materials: The names of the R materials.
        gaps: Whether lines are broken where bands were removed, which is where two neighbours are
            more than 1.5 times as far apart as the median.

    Returns:
        The figure.

    Raises:
        ValueError: If there are no sets, or if a shape or the wavelengths are not as expected.
    """
    x, R = _array(wavelengths), len(materials)
    if x.ndim != 1 or len(x) < 2:
        raise ValueError(f"wavelengths should have shape (B,) with B > 1, got {x.shape}.")
    if not (np.diff(x) > 0).all():
        k = int(np.flatnonzero(~(np.diff(x) > 0))[0])
        raise ValueError(f"wavelengths should increase, got {x[k]} and then {x[k + 1]}.")
    if not sets:
        raise ValueError("sets should hold the spectra of at least one set, got none.")
    arrays = {k: _unit_spectra(f"sets['{k}']", M, len(x), R) for k, M in sets.items()}

    # At most four panels a line
    lines = -(-R // 4)
    cols = -(-R // lines)
    fig = plt.figure(figsize=(0.4 + 2.2 * cols, 0.8 + 1.6 * lines))
    for k, material in enumerate(materials):
        ax = fig.add_subplot(lines, cols, k + 1, title=material)
        style = {"color": "black", "linestyle": "--", "zorder": 3}
        for label, M in arrays.items():
            ax.plot(*(_break(x, M[:, k]) if gaps else (x, M[:, k])), label=label, **style)
            style = {}
        ax.set_ylim(bottom=min(0.0, *(M[:, k].min() for M in arrays.values())))

    fig.supxlabel("wavelength (nm)")
    fig.supylabel("spectrum (unit norm)")
    fig.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=4)

    return fig


def image(ax: Axes, rgb: Tensor, title: str) -> None:
    r"""Draws an image in natural colours, without ticks.

    Args:
        ax: The axes to draw in.
        rgb: The image, in [0, 1], with shape (H, W, 3), such as `Scene.rgb`.
        title: The title of the axes.

    Raises:
        ValueError: If the shape is not as expected.
    """
    x = _array(rgb)
    if x.ndim != 3 or x.shape[2] != 3:
        raise ValueError(f"rgb should have shape (H, W, 3), got {x.shape}.")

    _draw_image(ax, x)
    ax.set_title(title)


@_styled
def training(history: Mapping[str, Sequence[float]], *, interval: int = 10) -> Figure:
    r"""Draws how the training went, and how the restarts of the archetypes compare.

    Args:
        history: The series of a run, as in `Unmixing.history`. Of the training, `unmixing` and
            `sr` are the losses of each step, `validation` is the held-out SR loss. Of the
            restarts, `misfit` is an angle in radians or, with a fixed brightness, a distance,
            `volume` is squared, and `chosen` holds the index of one. Series that are not there
            are left out. Losses have a logarithmic scale where they span more than a decade.
        interval: The number of steps between two values of `validation`.

    Returns:
        The figure.

    Raises:
        ValueError: If there are neither losses nor restarts.
    """
    losses = [name for name in LOSSES if history.get(name)]
    panels = len(losses) + bool(history.get("misfit"))
    if not panels:
        raise ValueError(f"history should hold losses or misfits, got {sorted(history)}.")

    fig, axes = plt.subplots(1, panels, figsize=(3.3 * panels, 2.3), squeeze=False)
    for ax, name in zip(axes.flat, losses, strict=False):
        ax.plot(history[name], label="training")
        held_out = history.get("validation", []) if name == "sr" else []
        if held_out:
            # At step zero, every `interval` steps, and at the end
            steps = np.minimum(interval * np.arange(len(held_out)), len(history["sr"]))
            ax.plot(steps, held_out, "k.--", label="held out")
            ax.legend(**ABOVE)

        values = [*history[name], *held_out]
        decade = max(values) > 10 * min(values)
        ax.set_title(LOSSES[name], loc="left")
        ax.set(xlabel="step", ylabel="loss", yscale="log" if decade else "linear")
    if history.get("misfit"):
        _draw_restarts(axes[-1, -1], history)

    return fig


@_styled
def result(unmixing: "Unmixing") -> Figure:
    r"""Draws the result of unmixing, one column for each endmember.

    Args:
        unmixing: The result.

    Returns:
        The figure: the endmembers, scaled to unit norm, above the abundances at both resolutions.
    """
    u, R = unmixing, unmixing.M.shape[1]
    arrays = [_maps("a", u.a, R), _maps("a_hr", u.a_hr, R)]
    labels = [
        f"{name} {a.shape[1]} x {a.shape[2]}" for name, a in zip(("LR", "HR"), arrays, strict=True)
    ]
    axes = _grid(
        [f"endmember {k + 1}" for k in range(R)],
        [0.6, *(a.shape[1] / a.shape[2] for a in arrays)],
        f"SMILE: mode {u.mode}, convention {u.convention}, scale x{u.scale}, seed {u.seed}",
    )

    spectra = _unit_spectra("M", u.M, len(u.M), R)
    for k, ax in enumerate(axes[0]):
        ax.plot(range(1, len(spectra) + 1), spectra[:, k])
        ax.set(xlabel="band", ylim=(min(0.0, spectra.min()), 1.05 * spectra.max()))
        ax.tick_params(labelleft=k == 0)
    axes[0, 0].set_ylabel("unit spectrum")
    _draw_abundances(axes[1:], labels, arrays, u.convention)

    return axes[0, 0].figure


def _array(x: Tensor) -> np.ndarray:
    return torch.as_tensor(x).detach().cpu().numpy()


def _maps(name: str, a: Tensor, R: int) -> np.ndarray:
    x = _array(a)
    if x.ndim != 3 or len(x) != R:
        raise ValueError(
            f"{name} should have shape (R, H, W), one map for each of R = {R} materials, got "
            f"{x.shape}."
        )

    return x


def _unit_spectra(name: str, M: Tensor, B: int, R: int) -> np.ndarray:
    x = _array(M)
    if x.shape != (B, R):
        raise ValueError(
            f"{name} should have shape (B, R) = {(B, R)}, for {B} wavelengths and {R} materials, "
            f"got {x.shape}."
        )

    return unit(torch.from_numpy(x).double()).numpy()


def _break(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    steps = np.diff(x)
    gaps = np.flatnonzero(steps > 1.5 * np.median(steps)) + 1

    return np.insert(x, gaps, np.nan), np.insert(y, gaps, np.nan)


def _wrap(text: str, inches: float) -> str:
    return textwrap.fill(text, max(int(inches * 13), 8))  # letters of 9 points


def _map_width(R: int) -> float:
    return min(WIDEST_MAP, WIDEST_ROW / R)


def _grid(materials: Sequence[str], aspects: list[float], title: str | None) -> np.ndarray:
    R = len(materials)
    width = _map_width(R)
    total = R * (width + GAP) + MARGIN
    names = [_wrap(name, width) for name in materials]
    head = "" if title is None else _wrap(title, total)

    lines = max(name.count("\n") + 1 for name in names) + head.count("\n") + 2 * bool(head)
    fig = plt.figure(
        figsize=(total, max(sum(width * aspect + GAP for aspect in aspects), 1.0) + lines * LINE),
        layout="compressed",
    )
    axes = fig.subplots(len(aspects), R, height_ratios=aspects, squeeze=False)
    for ax, name in zip(axes[0], names, strict=True):
        ax.set_title(name)
    fig.suptitle(head)

    return axes


def _draw_image(ax: Axes, x: np.ndarray, **style: object) -> None:
    ax.imshow(x, **style)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(visible=True, linewidth=0.5)


def _draw_abundances(
    axes: np.ndarray, labels: list[str], arrays: list[np.ndarray], convention: str
) -> None:
    for line, label, a in zip(axes, labels, arrays, strict=False):
        _draw_row(line, label, a, cmap="viridis", vmin=0.0, vmax=1.0)
    _draw_bar(axes, f"abundance\n({MEANING[convention]})", [0.0, 0.5, 1.0])


def _draw_row(axes: np.ndarray, label: str, maps: np.ndarray, **style: object) -> None:
    for ax, a in zip(axes, maps, strict=True):
        _draw_image(ax, a, **style)

    height = _map_width(len(maps)) * maps.shape[1] / maps.shape[2]
    axes[0].set_ylabel(_wrap(label, height))


def _draw_bar(axes: np.ndarray, label: str, ticks: list[float]) -> None:
    width = _map_width(axes.shape[1])
    shapes = [line[0].images[0].get_array().shape for line in axes]
    height = sum(width * H / W + GAP for H, W in shapes)
    bar = axes[0, 0].figure.colorbar(
        axes[0, 0].images[0],
        ax=axes,
        fraction=BAR / (axes.shape[1] * width),
        aspect=height / BAR,
        pad=0.02,
        ticks=ticks,
        format="%.2g",
    )
    bar.set_label(label, size=8)
    bar.outline.set_linewidth(0.5)


def _draw_restarts(ax: Axes, history: Mapping[str, Sequence[float]]) -> None:
    misfit, volume = np.asarray(history["misfit"]), np.asarray(history["volume"])
    ax.scatter(misfit, volume, s=18, alpha=0.7, linewidths=0, label="restart")
    if history.get("chosen"):
        k = int(history["chosen"][0])
        ax.scatter(misfit[k], volume[k], s=80, facecolors="none", edgecolors="C1", label="chosen")

    ax.set_title("restarts", loc="left")
    ax.set(xlabel="misfit (mean angle, rad)", ylabel="squared volume", yscale="log")
    ax.locator_params(axis="x", nbins=5)
    ax.legend(**ABOVE)
