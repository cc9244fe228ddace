r"""Tests for the smile_core.studies.factors module."""

import inspect
import math
import pandas as pd
import pytest
import torch

from imports import imported
from pathlib import Path

from smile_core.baselines import METHODS
from smile_core.degradation import degrade
from smile_core.guidance import bring_up
from smile_core.metrics import armse, match
from smile_core.objective import Level
from smile_core.studies import factors
from smile_core.studies.experiments import reference
from smile_core.studies.factors import (
    CENTRE,
    SOURCES,
    around,
    by_factor,
    floor,
    gains,
    recover,
    restore,
)
from smile_core.studies.study import study
from smile_core.synthetic import synthetic
from smile_core.unmixing import Settings, unmix

SMALL = {"size": 32, "restarts": 4, "steps": 10}
PLAIN = {"endmembers": 3, "brightness": "off", "seed": 0, "size": 24, "restarts": 4}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMILE_CACHE", str(tmp_path / "fits"))


def test_around() -> None:
    cases = around({"snr": [20, 30, 40], "scale": [2, 4]}, 3, size=32)

    # The centre is there once, and no case differs from it in two things
    assert len(cases) == 3 * (1 + 2 + 1)
    assert len({tuple(case.items()) for case in cases}) == len(cases)
    different = [[name for name in CENTRE if case[name] != CENTRE[name]] for case in cases]
    assert sorted(map(len, different)) == 3 * [0] + 9 * [1]

    # What `restore` takes
    assert all(set(case) <= set(inspect.signature(restore).parameters) for case in cases)


def test_by_factor() -> None:
    table = pd.DataFrame(around({"snr": [20, 40], "brightness": ["off"]}, 2))
    odd = {**CENTRE, "snr": 20, "scale": 4, "seed": 0}  # differs in two things
    table = by_factor(pd.concat([table, pd.DataFrame([odd])], ignore_index=True))

    counts = table.groupby("factor")["value"].value_counts().to_dict()
    assert counts == {
        ("snr", 20): 2,
        ("snr", 30): 2,
        ("snr", 40): 2,
        ("brightness", "off"): 2,
        ("brightness", "smooth"): 2,
        ("scale", CENTRE["scale"]): 2,
        ("purity", CENTRE["purity"]): 2,
        ("endmembers", CENTRE["endmembers"]): 2,
    }


def test_gains() -> None:
    r"""Tests that seeds are paired: what is hard for both modes does not count."""
    table = pd.DataFrame(around({"snr": [20]}, 4)).assign(failed=None)
    hard = 1 + 100.0 * table["seed"]
    table = table.assign(lr_single=hard, lr_self=0.9 * hard, hr_single=hard, hr_self=hard)
    table.loc[table["snr"] == 20, "hr_self"] *= 1.5

    found = gains(by_factor(table)).set_index(["error", "factor", "value"])
    for column in ("mean", "low", "high"):
        assert found.loc[[("lr", "snr", 20)], column].item() == pytest.approx(-10)
        assert found.loc[[("lr", "scale", 2)], column].item() == pytest.approx(-10)
        assert found.loc[[("hr", "snr", 20)], column].item() == pytest.approx(50)
        assert found.loc[[("hr", "snr", 30)], column].item() == pytest.approx(0)
    assert (found["n"] == 4).all()


def test_floor() -> None:
    M = torch.eye(3)[:, :2].double()

    # By hand: the pixels nearest to the axes are 0.1 and 0.3 off
    angles = torch.tensor([0.1, 0.5, math.pi / 2 - 0.3], dtype=torch.float64)
    image = torch.stack([angles.cos(), angles.sin(), torch.zeros(3)])[:, None]
    assert floor(image, M) == pytest.approx(0.2)
    assert floor(torch.tensor([2.0, 0.1, 3.0]) * image, M) == pytest.approx(0.2)

    # Pure pixels
    assert floor(M[:, None] * 5, M) == pytest.approx(0, abs=1e-7)


def test_floor_grows_with_the_scale() -> None:
    r"""Tests Theorem 1.2: cones of nested means are nested."""
    scene = synthetic(32, 4, snr=math.inf)
    floors = [floor(degrade(scene.image, scale), scene.M) for scale in (2, 4, 8)]
    assert 0 <= floors[0] <= floors[1] <= floors[2]
    assert floors[2] > 0.01


def test_restore() -> None:
    r"""Tests against the protocol, step by step, without noise to draw."""
    ours = restore(**CENTRE | {"snr": 200}, seed=1, **SMALL)
    scene = synthetic(32, 4, snr=math.inf, seed=1)
    y = degrade(scene.image, 2)
    settings = Settings(restarts=4, steps=10)
    for mode in ("single", "self"):
        u = unmix(y, 4, mode=mode, seed=1, settings=settings)
        permutation, angles = match(u.M, scene.M)
        truth = reference(scene, u.convention)
        lr = armse(u.a[permutation], degrade(truth, 2))
        hr = armse(u.a_hr[permutation], truth)
        assert ours[f"sad_{mode}"] == pytest.approx(float(angles.mean()), abs=1e-4)
        assert ours[f"lr_{mode}"] == pytest.approx(float(lr), rel=0.01, abs=1e-4)
        assert ours[f"hr_{mode}"] == pytest.approx(float(hr), rel=0.01, abs=1e-4)
    assert ours["floor"] == floor(y, scene.M)


def test_noise() -> None:
    r"""Tests that noise is that of the image that is unmixed, at any scale."""
    images = []

    def catch(y: torch.Tensor, *_: object, **options: object) -> None:
        images.append(y)
        raise LookupError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(factors, "fit", catch)
        for scale in (2, 4):
            with pytest.raises(LookupError):
                restore(**CENTRE | {"scale": scale, "snr": 20}, seed=0, **SMALL)

    scene = synthetic(32, 4, snr=math.inf, seed=0)
    for scale, y in zip((2, 4), images, strict=True):
        clean = degrade(scene.image, scale).double()
        snr = 10 * torch.log10(clean.square().mean() / (y - clean).square().mean())
        assert float(snr) == pytest.approx(20, abs=0.2)


def test_best_share() -> None:
    r"""Tests that the errors of other shares are not smaller."""
    scene = synthetic(48, 4, snr=math.inf, brightness="rough", seed=0)
    y = degrade(scene.image, 2)
    options = {"seed": 0, "settings": Settings(restarts=4, steps=20)}
    single, guided = (unmix(y, 4, mode=mode, **options) for mode in ("single", "self"))
    best = factors._best(single, guided, y, scene)
    assert 0 < best < 1

    norm = y.norm(dim=0).mean()
    level = Level(y / norm, single.a, single.brightness / norm)
    permutation, _ = match(single.M, scene.M)
    errors = {}
    for share in (0.0, best - 0.2, best, min(best + 0.2, 1.0)):
        a = bring_up(level, 2, guided.build_network(), share).a[permutation]
        errors[share] = float(armse(a, reference(scene)))
    assert min(errors, key=errors.get) == best


@pytest.mark.parametrize("method", ["SMILE", "archetypes", "VCA", "SISAL"])
def test_recover(method: str) -> None:
    r"""Tests that all are near the truth where pixels are pure, and there is next to no noise."""
    found = recover(method=method, snr=60, **PLAIN)
    assert found["decided"] == "plain"
    assert found["sad"] < 0.05
    assert found["given"] < 0.002
    assert 0.99 * found["given"] < found["armse"] < 0.05  # as near as the noise lets be
    assert found["floor"] == pytest.approx(0, abs=1e-6)


def test_recover_archetypes_stay_inside() -> None:
    r"""Tests Theorem 1.2 on methods whose endmembers are pixels, or mixtures of pixels."""
    case = PLAIN | {"purity": 0.7, "snr": 200}
    for method in ("archetypes", "VCA"):
        found = recover(method=method, **case)
        assert found["sad"] > (1 - 1e-3) * found["floor"] > 0.02, method


def test_recover_convention() -> None:
    r"""Tests that the convention asked for is that of result and reference."""
    for convention in ("share", "plain"):
        found = recover(convention=convention, snr=60, **PLAIN)
        assert found["decided"] == convention
        assert found["armse"] < 0.02

    # Where spectra vary, fits are compared
    assert "ratio" not in recover(**PLAIN)
    found = recover(variability=0.05, snr=60, **PLAIN)
    assert found["ratio"] > 0
    assert not found["corners"]


def test_study() -> None:
    table = study(restore, around({}, 1, **SMALL), sources=SOURCES)
    assert table["failed"].isna().all()


def test_sources() -> None:
    r"""Tests that a change of any module that errors depend on is noticed."""
    # The baselines themselves are there, and statistics sum up afterwards
    assert imported("studies.factors") - {"baselines", "studies.statistics"} <= set(SOURCES)
    for method in ("VCA", "SISAL"):
        assert METHODS[method].__module__.removeprefix("smile_core.") in SOURCES
