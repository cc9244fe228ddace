r"""Tests for the smile_core.plot module."""

import itertools
import matplotlib.pyplot as plt
import numpy as np
import os
import pytest
import seaborn as sns
import subprocess
import sys
import torch

from collections.abc import Iterator
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from pathlib import Path
from skimage.color import deltaE_ciede2000, rgb2lab
from torch import Tensor
from types import SimpleNamespace
from typing import Any

from smile_core import plot
from smile_core.record import Record

ROOT = Path(__file__).resolve().parents[1]

MATERIALS = ("canopy (simulated) 1", "soil", "concrete tile", "water", "dry grass", "r", "s", "t")

# A Physiologically-based Model for Simulation of Color Vision Deficiency (Machado et al., 2009)
BLIND = {
    "protan": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deutan": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritan": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


@pytest.fixture(autouse=True)
def figures() -> Iterator[None]:
    r"""Draws without a screen, and leaves neither figures nor settings behind."""
    plt.switch_backend("Agg")
    with plt.rc_context():
        yield
    plt.close("all")


def abundances(R: int, H: int = 12, W: int = 12) -> Tensor:
    return torch.rand(R, H, W).softmax(dim=0)


def unmixing(R: int = 3, h: int = 6, w: int = 5, scale: int = 2, **changes: Any) -> Any:
    return SimpleNamespace(
        M=torch.rand(20, R),
        a=abundances(R, h, w),
        a_hr=abundances(R, scale * h, scale * w),
        **{"mode": "self", "convention": "share", "scale": scale, "seed": 7, **changes},
    )


def history(steps: int = 25) -> dict[str, list[float]]:
    return {
        "unmixing": np.geomspace(0.4, 0.03, steps).tolist(),
        "sr": np.linspace(0.3, 0.2, steps).tolist(),
        "validation": [0.4, 0.3, 0.25, 0.26],
        "misfit": [0.03, 0.02, 0.05],
        "volume": [1e-4, 2e-3, 1e-6],
        "chosen": [1.0],
    }


def draw(name: str) -> Figure:
    if name == "maps":
        rows, errors = {"reference": abundances(4)}, torch.rand(4, 12, 12)
        return plot.maps(rows, MATERIALS[:4], convention="area", title="Toy", errors=errors)
    if name == "spectra":
        return plot.spectra(torch.arange(9.0), {"reference": torch.rand(9, 3)}, MATERIALS[:3])

    return plot.training(history()) if name == "training" else plot.result(unmixing(4))


drawn = pytest.mark.parametrize("name", ["maps", "spectra", "training", "result"])


def texts(fig: Figure) -> list[Text]:
    r"""Returns the texts that can be seen: tick labels count within the limits of their axis."""
    fig.draw_without_rendering()
    hidden = set()
    for ax in fig.axes:
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            for minor in (False, True):
                ticks = axis.get_ticklabels(minor=minor)
                places = axis.get_ticklocs(minor=minor)
                hidden |= {
                    label
                    for label, place in zip(ticks, places, strict=False)
                    if not low <= place <= high
                }

    found = fig.findobj(lambda artist: isinstance(artist, Text))
    return [t for t in found if t.get_visible() and t.get_text() and t not in hidden]


def assert_readable(fig: Figure) -> None:
    r"""Tests that texts overlap neither one another nor the border, and are large enough."""
    boxes = {text: text.get_window_extent() for text in texts(fig)}
    assert len(boxes) > 3

    for text, box in boxes.items():
        assert text.get_fontsize() >= 8, text
        assert min(box.x0, box.y0) >= 0.0, text
        assert box.x1 <= fig.bbox.width and box.y1 <= fig.bbox.height, text
        assert text.get_fontname() == "DejaVu Sans", text
    for one, other in itertools.combinations(boxes, 2):
        assert not boxes[one].shrunk(0.98, 0.98).overlaps(boxes[other]), (one, other)


def words(fig: Figure) -> set[str]:
    return {" ".join(text.get_text().split()) for text in texts(fig)}


def test_import_changes_nothing() -> None:
    code = """
import matplotlib.pyplot as plt, torch
torch.manual_seed(0)
before = dict(plt.rcParams), torch.get_rng_state(), torch.get_num_threads()
import smile_core.plot
assert before[0] == dict(plt.rcParams)
assert torch.equal(before[1], torch.get_rng_state()) and before[2] == torch.get_num_threads()
smile_core.plot.maps({"a": torch.ones(1, 2, 2)}, ["soil"], convention="share")
assert before[0] == dict(plt.rcParams)
assert plt.rcParams["figure.constrained_layout.use"] is False
smile_core.plot.use_style()
assert plt.rcParams["figure.constrained_layout.use"] is True
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, check=True)


def test_notebook(tmp_path: Path) -> None:
    # As the backend of notebooks does, which then shows each figure below its cell
    backend = "import matplotlib\nfrom matplotlib.backends.backend_agg import *\n"
    (tmp_path / "backend.py").write_text(backend + "matplotlib.interactive(True)\n")
    code = """
import matplotlib.pyplot as plt, torch, smile_core.plot
assert not plt.isinteractive()
smile_core.plot.maps({"a": torch.ones(1, 2, 2)}, ["soil"], convention="share")
assert plt.isinteractive()
"""
    env = {**os.environ, "MPLBACKEND": "module://backend", "PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, env=env, check=True)


def test_style() -> None:
    plot.use_style()
    assert plt.rcParams["font.family"] == ["DejaVu Sans"]
    assert plt.rcParams["figure.dpi"] == 100

    # What seaborn draws has it as well
    ax = sns.barplot(x=["a", "b"], y=[1.0, 2.0], hue=["c", "d"], saturation=1.0)
    colours = plt.rcParams["axes.prop_cycle"].by_key()["color"]
    drawn = [to_hex(bars.patches[0].get_facecolor()) for bars in ax.containers]
    assert drawn == [colour.lower() for colour in colours[:2]]
    assert {text.get_fontname() for text in texts(ax.figure)} == {"DejaVu Sans"}


@pytest.mark.parametrize("cones", ["protan", "deutan", "tritan"])
def test_colours(cones: str) -> None:
    plot.use_style()
    colours = plt.rcParams["axes.prop_cycle"].by_key()["color"]
    assert len(colours) >= 6

    # As seen without one kind of cones, every two are ten just noticeable differences apart
    linear = np.array([to_rgb(colour) for colour in colours]) ** 2.2
    seen = (linear @ np.array(BLIND[cones]).T).clip(0.0, 1.0) ** (1 / 2.2)
    for one, other in itertools.combinations(rgb2lab(seen), 2):
        assert deltaE_ciede2000(one, other) > 10.0


@pytest.mark.parametrize("R", [1, 4, 5, 8])
def test_maps_readable(R: int) -> None:
    rows = {"reference": abundances(R, 20, 20), "SMILE, supervised x2": abundances(R, 10, 10)}
    title = "A title that is a good deal longer than others are"
    errors = rows["reference"] - 1 / R
    fig = plot.maps(rows, MATERIALS[:R], convention="share", title=title, errors=errors)
    assert_readable(fig)

    # One map for each material in each row, and two colour bars
    assert len(fig.axes) == 3 * R + 2
    assert fig.get_size_inches().max() < 10

    # As close to each other as they can be
    boxes = [ax.get_window_extent() for ax in fig.axes[:R]]
    for left, right in itertools.pairwise(boxes):
        assert 0.0 < right.x0 - left.x1 < 0.1 * left.width

    # Not square, one row, no title
    rows = {"reference": abundances(R, 10, 18)}
    assert_readable(plot.maps(rows, MATERIALS[:R], convention="area"))


def test_maps_data() -> None:
    rows = {"HR": abundances(3, 8, 12), "LR": abundances(3, 4, 6)}
    errors = torch.rand(3, 8, 12) - 0.2
    fig = plot.maps(rows, MATERIALS[:3], convention="share", errors=errors)
    images = [ax.images[0] for ax in fig.axes if ax.images]
    assert len(images) == 9

    # What is drawn is what was given, in its order, on one scale
    for image, a in zip(images[:6], [*rows["HR"], *rows["LR"]], strict=True):
        assert np.array_equal(image.get_array(), a.numpy())
        assert image.get_clim() == (0.0, 1.0)

    # Errors have another, white at zero
    limit = errors.abs().max().item()
    for image, e in zip(images[6:], errors, strict=True):
        assert np.array_equal(image.get_array(), e.numpy())
        assert image.get_clim() == pytest.approx((-limit, limit))
        assert min(image.cmap(0.5)[:3]) > 0.95
    assert fig.axes[-1].get_yticks().tolist() == pytest.approx([-limit, 0.0, limit])

    # Lightness grows with the abundance
    shades = images[0].cmap(np.linspace(0.0, 1.0, 20))[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(shades) > 0).all()


def test_maps_blank() -> None:
    # Where nothing is to be shown, nothing is
    a = abundances(2, 4, 4)
    a[:, :2] = torch.nan
    fig = plot.maps({"shown": a}, MATERIALS[:2], convention="share", errors=a)
    assert np.array_equal(fig.axes[0].images[0].get_array().mask, a[0].isnan().numpy())
    assert fig.axes[2].images[0].get_clim()[1] == pytest.approx(a[:, 2:].max().item())

    # No error at all
    zero = torch.zeros(2, 4, 4)
    fig = plot.maps({"exact": zero}, MATERIALS[:2], convention="share", errors=zero)
    assert fig.axes[2].images[0].get_clim() == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("convention", "meaning"),
    [("share", "share of light"), ("area", "fraction of area"), ("plain", "plain mixing")],
)
def test_labels(convention: str, meaning: str) -> None:
    fig = plot.maps({"reference": abundances(2)}, ("soil", "tree"), convention=convention)
    assert {"soil", "tree", "reference", f"abundance ({meaning})"} < words(fig)

    fig = plot.result(unmixing(2, convention=convention, mode="partial"))
    assert f"abundance ({meaning})" in words(fig)
    assert f"SMILE: mode partial, convention {convention}, scale x2, seed 7" in words(fig)


@pytest.mark.parametrize("R", [1, 4, 5, 8])
def test_spectra_readable(R: int) -> None:
    x = torch.linspace(380.0, 2500.0, 30)
    sets = {"reference": torch.rand(30, R), "SMILE": torch.rand(30, R), "VCA": torch.rand(30, R)}
    fig = plot.spectra(x, sets, MATERIALS[:R])
    assert_readable(fig)
    assert len(fig.axes) == R
    assert fig.get_size_inches().max() < 10
    assert {*MATERIALS[:R], *sets, "wavelength (nm)", "spectrum (unit norm)"} < words(fig)


def test_spectra_data() -> None:
    # Bands 4 and 5 of 0, ..., 9 were removed
    x = 10.0 * torch.tensor([0, 1, 2, 3, 6, 7, 8, 9])
    sets = {"reference": torch.rand(8, 2), "SMILE": 3.0 * torch.rand(8, 2).requires_grad_()}
    fig = plot.spectra(x, sets, ("soil", "tree"))
    for k, ax in enumerate(fig.axes):
        for line, M in zip(ax.lines, sets.values(), strict=True):
            u, v = line.get_data()
            assert np.flatnonzero(np.isnan(u)).tolist() == [4]
            assert np.array_equal(np.isnan(u), np.isnan(v))

            # The norm is one, the angle zero
            v = v[~np.isnan(v)]
            assert np.array_equal(u[~np.isnan(u)], x.numpy())
            assert np.linalg.norm(v) == pytest.approx(1.0)
            m = M[:, k].detach().double().numpy()
            assert v @ m == pytest.approx(np.linalg.norm(m))

        # The reference is another kind of line than the rest
        styles = [(line.get_linestyle(), line.get_color()) for line in ax.lines]
        assert styles[0] == ("--", "black")
        assert styles[1][0] == "-" and styles[1][1] != "black"
        assert ax.get_ylim()[0] == 0.0

    # Without gaps
    fig = plot.spectra(x, sets, ("soil", "tree"), gaps=False)
    assert np.array_equal(fig.axes[0].lines[0].get_xdata(), x.numpy())

    # A grid that is nearly even has none, and a zero spectrum stays zero
    x = torch.linspace(400.0, 900.0, 8) + torch.rand(8)
    fig = plot.spectra(x, {"reference": torch.zeros(8, 1)}, ("water",))
    assert np.array_equal(fig.axes[0].lines[0].get_ydata(), np.zeros(8))


def test_image() -> None:
    rgb = torch.rand(4, 5, 3)
    _, ax = plt.subplots()
    plot.image(ax, rgb, "Samson")
    assert np.array_equal(ax.images[0].get_array(), rgb.numpy())
    assert ax.get_title() == "Samson"
    assert len(ax.get_xticks()) == len(ax.get_yticks()) == 0

    with pytest.raises(ValueError, match=r"rgb should have shape \(H, W, 3\), got \(3, 4, 5\)"):
        plot.image(ax, rgb.movedim(-1, 0), "Samson")


def test_training() -> None:
    series = history()
    fig = plot.training(series)
    assert_readable(fig)
    axes = {ax.get_title(loc="left"): ax for ax in fig.axes}
    assert list(axes) == ["unmixing", "SR", "restarts"]

    # Losses of each step
    for title, name in [("unmixing", "unmixing"), ("SR", "sr")]:
        line = axes[title].lines[0]
        assert line.get_xdata().tolist() == list(range(25))
        assert line.get_ydata().tolist() == series[name]
    assert [axes[t].get_yscale() for t in list(axes)[:2]] == ["log", "linear"]

    # The held-out loss at steps 0, 10, 20 and at the end, which is 25
    line = axes["SR"].lines[1]
    assert line.get_xdata().tolist() == [0, 10, 20, 25]
    assert line.get_ydata().tolist() == series["validation"]

    # Restarts, the chosen one marked
    restarts, chosen = axes["restarts"].collections
    assert restarts.get_offsets().tolist() == [[0.03, 1e-4], [0.02, 2e-3], [0.05, 1e-6]]
    assert chosen.get_offsets().tolist() == [[0.02, 2e-3]]


def test_training_parts() -> None:
    series = history()

    # Mode `single` trains nothing; where none is known to be chosen, none is marked
    fig = plot.training({k: series[k] for k in ("misfit", "volume")})
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["restarts"]
    assert len(fig.axes[0].collections) == 1
    assert_readable(fig)

    # Endmembers that are given need no restarts
    fig = plot.training({k: series[k] for k in ("unmixing", "sr", "validation")})
    assert len(fig.axes) == 2
    assert_readable(fig)

    with pytest.raises(ValueError, match=r"losses or misfits, got \['validation'\]"):
        plot.training({"validation": [0.1]})


@pytest.mark.parametrize("R", [1, 4, 5, 8])
def test_result(R: int) -> None:
    u = unmixing(R)
    fig = plot.result(u)
    assert_readable(fig)
    assert len(fig.axes) == 3 * R + 1

    # Spectra by band, of unit norm; maps at both resolutions
    for k in range(R):
        x, y = fig.axes[k].lines[0].get_data()
        assert list(x) == list(range(1, 21))
        np.testing.assert_allclose(y, u.M[:, k] / u.M[:, k].norm(), rtol=1e-6)
        lr, hr = (fig.axes[j * R + k].images[0].get_array() for j in (1, 2))
        assert np.array_equal(lr, u.a[k]) and np.array_equal(hr, u.a_hr[k])
    assert {"LR 6 x 5", "HR 12 x 10", *(f"endmember {k + 1}" for k in range(R))} < words(fig)


@drawn
def test_same_bytes(name: str, tmp_path: Path) -> None:
    plot.use_style()
    for folder in ("first", "second"):
        torch.manual_seed(1)
        Record("01_name", tmp_path / folder, seed=0).figure(draw(name))

    for kind in ("png", "pdf"):
        first, second = (tmp_path / folder / f"01_name.{kind}" for folder in ("first", "second"))
        assert first.read_bytes() == second.read_bytes(), kind


@drawn
def test_style_of_figures(name: str) -> None:
    # Whatever is set around them
    sns.set_theme(style="darkgrid", font="DejaVu Serif", font_scale=2.0)
    before = dict(plt.rcParams)
    fig = draw(name)
    assert dict(plt.rcParams) == before
    assert_readable(fig)
    assert max(text.get_fontsize() for text in texts(fig)) <= 10
    assert not fig.axes[0].get_xgridlines() or not fig.axes[0].get_xgridlines()[0].get_visible()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"convention": "fraction"}, r"'fraction', expected one of \['share', 'area', 'plain'\]"),
        ({"rows": {}}, "rows should hold .* at least one"),
        ({"rows": {"mine": torch.ones(3, 4, 4)}}, r"rows\['mine'\] .* R = 2 .* got \(3, 4, 4\)"),
        ({"rows": {"mine": torch.ones(2, 4)}}, r"rows\['mine'\] .* got \(2, 4\)"),
        ({"errors": torch.ones(4, 4, 2)}, r"errors should .* got \(4, 4, 2\)"),
    ],
)
def test_maps_bad(changes: dict[str, Any], message: str) -> None:
    given = {"rows": {"a": torch.ones(2, 4, 4)}, "materials": MATERIALS[:2], "convention": "area"}
    with pytest.raises(ValueError, match=message):
        plot.maps(**(given | changes))
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sets": {}}, "sets should hold .* at least one"),
        ({"sets": {"mine": torch.ones(2, 5)}}, r"sets\['mine'\] .* \(5, 2\), .* got \(2, 5\)"),
        ({"wavelengths": torch.arange(4.0)}, r"\(4, 2\), for 4 wavelengths .* got \(5, 2\)"),
        ({"wavelengths": torch.ones(5, 1)}, r"wavelengths .* \(B,\) .* got \(5, 1\)"),
        ({"wavelengths": torch.tensor([1.0, 3.0, 2.0, 4.0, 5.0])}, "increase, got 3.0 .* 2.0"),
        ({"wavelengths": torch.full((5,), torch.nan)}, "increase, got nan"),
    ],
)
def test_spectra_bad(changes: dict[str, Any], message: str) -> None:
    given = {
        "wavelengths": torch.arange(5.0),
        "sets": {"a": torch.ones(5, 2)},
        "materials": MATERIALS[:2],
    }
    with pytest.raises(ValueError, match=message):
        plot.spectra(**(given | changes))
    assert plt.get_fignums() == []
