r"""Tests for the smile_core.studies.comparison module."""

import pytest
import torch

from dataclasses import replace
from imports import imported
from pathlib import Path
from torch import Tensor

from smile_core import Settings
from smile_core.baselines import METHODS
from smile_core.scenes import Scene, synthetic
from smile_core.studies import comparison
from smile_core.studies.comparison import (
    SMILE,
    angles_to_pure,
    compare,
    estimate,
    place,
    plan,
    sources,
)
from smile_core.studies.study import study

ORDER = [2, 0, 1]
SMALL = {"restarts": 4, "rounds": 10, "steps": 10, "channels": 8}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SMILE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    scene = synthetic(size=16, endmembers=3, brightness="off", snr=float("inf"))
    monkeypatch.setattr(comparison, "load", lambda name: scene)
    return scene


@pytest.fixture
def calls(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, float]]:
    r"""Has a method that knows the truth, in another order and at another scale."""
    calls = []

    def know(image: Tensor, R: int, seed: int = 0, *, gain: float = 1) -> tuple[Tensor, Tensor]:
        calls.append((seed, gain))
        scale = torch.tensor([1.0, gain, 1.0])
        a = scene.a / scale[:, None, None]
        return (scene.M * scale)[:, ORDER], (a / a.sum(dim=0))[ORDER]

    know.__module__ = "smile_core.baselines.volume"
    monkeypatch.setitem(METHODS, "KNOWS", know)
    return calls


def test_angles_to_pure() -> None:
    r"""Tests on two pixels of 30 and 50 degrees, whose mean is at 40, and on none."""
    degrees = torch.tensor([30.0, 50.0, 0.0, 90.0]).deg2rad()
    x = torch.stack([degrees.cos(), degrees.sin()])[:, None] * torch.tensor([1.0, 9, 2, 5])
    a = torch.tensor([[0.96, 0.99, 0.5, 0.0], [0.04, 0.01, 0.5, 1.0], [0, 0, 0, 0]])[:, None]
    M = torch.tensor([[1.0, 0.0, 1.0], [0.0, 7.0, 1.0]])
    scene = Scene("fan", x, M, a, ("up", "along", "between"), torch.tensor([500.0, 600.0]), "")
    angles = angles_to_pure(scene, M).rad2deg()
    assert angles[:2].tolist() == pytest.approx([40, 0], abs=1e-4)
    assert angles[2].isnan()


def test_compare_with_the_truth(calls: list[tuple[int, float]]) -> None:
    result = compare("some scene", "KNOWS", 0)
    assert [ORDER[k] for k in result["permutation"]] == [0, 1, 2]
    assert result["sad"] == pytest.approx([0, 0, 0], abs=1e-6)
    errors = ("sad_mean", "armse", "armse_matched", "angle", "rmse")
    assert [result[name] for name in errors] == pytest.approx([0] * 5, abs=1e-3)
    assert result["armse_per_endmember"] == pytest.approx([0, 0, 0], abs=1e-6)
    assert (result["convention"], result["device"]) == (None, "cpu")

    # At another scale, abundances differ, but not once that of the reference is imposed
    other = compare("some scene", "KNOWS", 0, gain=4.0)
    assert other["armse"] > 0.05
    assert [other[name] for name in errors if name != "armse"] == pytest.approx([0] * 4, abs=1e-3)


def test_compare_without_abundances(
    calls: list[tuple[int, float]], scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "load", lambda name: replace(scene, a=None))
    result = compare("some scene", "KNOWS", 0)

    assert result["sad_mean"] == pytest.approx(0, abs=1e-6)
    assert result["angle"] == pytest.approx(0, abs=1e-3)
    for name in ("armse", "armse_matched", "armse_per_endmember"):
        assert result[name] is None


def test_estimate_is_computed_once(calls: list[tuple[int, float]], scene: Scene) -> None:
    first, again = (estimate(scene.image, 3, "KNOWS", 1) for _ in range(2))
    assert calls == [(1, 1)]
    assert torch.equal(first.M, again.M)
    assert torch.equal(first.a, again.a)
    assert (first.seconds, first.memory) == (again.seconds, again.memory)

    # What it depends on
    estimate(scene.image, 3, "KNOWS", 2)
    estimate(scene.image, 3, "KNOWS", 1, gain=2.0)
    estimate(scene.image + 1e-3, 3, "KNOWS", 1)
    assert calls == [(1, 1), (2, 1), (1, 2), (1, 1)]

    with pytest.raises(ValueError, match="Unknown method 'NONE', expected one of"):
        estimate(scene.image, 3, "NONE", 0)


def test_estimate_of_smile(scene: Scene) -> None:
    first = estimate(scene.image, 3, SMILE, 0, "cpu", **SMALL)
    direct = comparison.fit(
        scene.image, 3, mode="self", seed=0, settings=Settings(**SMALL), device="cpu"
    )
    assert torch.equal(first.M, direct.M)
    assert torch.equal(first.a, direct.a)
    assert first.convention == direct.convention
    assert first.seconds >= direct.seconds["total"]

    result = compare("some scene", SMILE, 0, None, "cpu", **SMALL)
    assert result["convention"] == direct.convention
    assert result["seconds"] == first.seconds


def test_estimate_of_smile_found_elsewhere(scene: Scene) -> None:
    r"""Tests that time and memory of reading a result are not taken for those of finding it."""
    direct = comparison.fit(
        scene.image, 3, mode="self", seed=0, settings=Settings(**SMALL), device="cpu"
    )
    found = estimate(scene.image, 3, SMILE, 0, "cpu", **SMALL)
    assert found.seconds == direct.seconds["total"]
    assert found.memory is None


def test_deep_baselines_get_the_device(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = []

    def train(
        image: Tensor, R: int, seed: int = 0, *, device: torch.device | None = None
    ) -> tuple[Tensor, Tensor]:
        devices.append(device)
        return scene.M, scene.a

    train.__module__ = "smile_core.baselines.volume"
    monkeypatch.setitem(METHODS, "TRAINS", train)
    assert compare("some scene", "TRAINS", 0, device="cpu")["device"] == "cpu"
    assert devices == [torch.device("cpu")]

    # Fewer seeds
    cases = plan(["samson", "jasper"], [SMILE, "TRAINS", "VCA"], 3, 2, {"VCA": {"x": 1}}, size=8)
    assert len(cases) == 2 * (3 + 2 + 3)
    assert cases[0] == {"scene": "samson", "method": SMILE, "seed": 0, "size": 8}
    assert cases[2] == {"scene": "samson", "method": "VCA", "seed": 0, "size": 8, "x": 1}
    assert [case["seed"] for case in cases] == sorted(case["seed"] for case in cases)
    assert {case["seed"] for case in cases if case["method"] == "TRAINS"} == {0, 1}
    assert len(plan(["samson"], ["TRAINS"], 3)) == 3


def test_which_baselines_are_deep() -> None:
    cases = plan(["samson"], [*METHODS], 2, 1)
    few = {case["method"] for case in cases} - {c["method"] for c in cases if c["seed"] == 1}
    assert few == {"CNNAEU", "DeepTrans", "PGMSU"}


def test_place() -> None:
    whole = place("synthetic")
    part = place("synthetic", 20)
    assert part.image.shape[1:] == (20, 20)
    assert torch.equal(part.image, whole.image[:, 22:42, 22:42])
    assert place("synthetic", 1000).image.shape == whole.image.shape


@pytest.mark.parametrize("method", METHODS)
def test_sources_are_all_that_a_baseline_depends_on(method: str) -> None:
    r"""Tests that modules of the package import none that is not named, but for show."""
    named = set(comparison._modules(method))
    for name in named:
        assert imported(name) <= named | {"progress"}, name

    assert not named & {"unmixing", "network", "archetypes"}
    assert named < set(sources(method, seed=0))


def test_failing_method(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(image: Tensor, R: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        return scene.M * float("nan"), scene.a

    diverge.__module__ = "smile_core.baselines.volume"
    monkeypatch.setitem(METHODS, "DIVERGES", diverge)
    cases = plan(["synthetic"], ["DIVERGES", "VCA"], 1)
    table = study(compare, cases, sources=sources)
    assert table["failed"][0] == "ValueError: M should be finite, got NaN or infinite values."
    assert table["failed"].isna().tolist() == [False, True]
    assert table["sad_mean"][1] < 0.5
