r"""Tests for the smile_core.studies.ablation module."""

import inspect
import numpy as np
import pandas as pd
import pytest

from imports import imported
from pathlib import Path

from smile_core.degradation import degrade
from smile_core.metrics import armse, match
from smile_core.parts import PARTS
from smile_core.studies import ablation
from smile_core.studies.ablation import SOURCES, ablate, cost, plan, worth
from smile_core.studies.experiments import reference
from smile_core.studies.statistics import interval
from smile_core.studies.study import study
from smile_core.synthetic import synthetic
from smile_core.unmixing import Settings, unmix
from smile_core.weighting import WEIGHTINGS

SMALL = {"size": 32, "restarts": 4, "steps": 20}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMILE_CACHE", str(tmp_path / "fits"))


def test_plan() -> None:
    cases = plan(["samson", "synthetic"], [2, 4], ["self"], 3, size=48)

    # Every change in every place with every seed, once, and the whole method among them
    assert len({tuple(case.items()) for case in cases}) == len(cases)
    assert len(cases) == 2 * 2 * 3 * (1 + len(PARTS) + 1 + len(WEIGHTINGS) - 1)
    assert {case["change"] for case in cases} == {"", *PARTS, "attention", *WEIGHTINGS[1:]}

    # What `ablate` takes
    assert all(set(case) <= set(inspect.signature(ablate).parameters) for case in cases)


def test_ablate() -> None:
    r"""Tests against the protocol, step by step."""
    scene = synthetic(seed=1).crop(32, 32)
    settings = Settings(restarts=4, steps=20, without="lifting")
    u = unmix(degrade(scene.image, 2), scene.R, seed=1, settings=settings)
    permutation, angles = match(u.M, scene.M)
    truth = reference(scene, u.convention)

    ours = ablate("synthetic", 2, seed=1, change="lifting", **SMALL)
    assert ours["sad"] == pytest.approx(float(angles.mean()), rel=1e-6)
    assert ours["hr"] == pytest.approx(float(armse(u.a_hr[permutation], truth)), rel=1e-6)
    expected = armse(u.a[permutation], degrade(truth, 2))
    assert ours["lr"] == pytest.approx(float(expected), rel=1e-6)
    assert ours["alone"] == ("share" not in u.history)

    # The whole method, another seed, another change: something else
    for change in ({}, {"change": "lifting", "seed": 2}, {"change": "accessible solve"}):
        other = ablate("synthetic", 2, **({"seed": 1} | change), **SMALL)
        assert other["hr"] != ours["hr"], change


@pytest.mark.parametrize(
    ("change", "settings"),
    [
        ("", Settings()),
        ("branches", Settings(without="branches")),
        ("attention", Settings(attention=True)),
        ("pcgrad", Settings(weighting="pcgrad")),
    ],
)
def test_change(change: str, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    r"""Tests that a change is one setting, all else being the default."""
    seen = {}
    monkeypatch.setattr(ablation, "unmix", lambda *_, **options: seen.update(options) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ablate("synthetic", 2, seed=0, change=change, size=16)
    assert seen["settings"] == settings
    with pytest.raises(ValueError, match="change should be one of"):
        ablate("synthetic", 2, seed=0, change="x")


def test_ablate_partially() -> None:
    r"""Tests that the shown half counts for nothing."""
    scene = synthetic(seed=0).crop(32, 32)
    hr_mask = np.zeros((32, 32), dtype=bool)
    hr_mask[:, :16] = True
    options = {"mode": "partial", "hr": scene.image, "hr_mask": hr_mask}
    settings = Settings(restarts=4, steps=20)
    u = unmix(degrade(scene.image, 2), scene.R, **options, settings=settings)
    permutation, _ = match(u.M, scene.M)

    ours = ablate("synthetic", 2, "partial", seed=0, **SMALL)
    error = armse(u.a_hr[permutation][..., 16:], reference(scene, u.convention)[..., 16:])
    assert ours["hr"] == pytest.approx(float(error), rel=1e-6)
    assert ours["share"] == pytest.approx(u.history["share"][0])
    assert ours["weights"] == sum(p.numel() for p in u.build_network().parameters()) > 0
    assert ours["training"] > 0

    # An encoder for each task has more of them
    other = ablate("synthetic", 2, "partial", seed=0, change="shared encoder", **SMALL)
    assert other["weights"] > ours["weights"]


def test_worth() -> None:
    r"""Tests the pairing on made-up errors, whatever the order of the rows."""
    rng = np.random.default_rng(0)
    hard = {seed: rng.random() for seed in range(8)}  # what a seed costs, whatever the method
    gain = {"": 0.0, "network": 0.3, "mgda": -0.2}
    rows = []
    for case in plan(["samson", "jasper"], [2], ["self"], 8, ["network", "mgda"]):
        change = gain[case["change"]] * (case["scene"] == "jasper")
        noise = 0.01 * case["seed"] * (change != 0)
        error = hard[case["seed"]] + change + noise
        rows.append(case | {"sad": error, "lr": 2 * error, "hr": -error})
    table = pd.DataFrame(rows).sample(frac=1, random_state=0)

    found = worth(table).set_index(["change", "scene", "error"])
    assert len(found) == 2 * 2 * 3
    assert (found["n"] == 8).all()

    # Seeds are paired: what is hard for all is gone
    noise = 0.01 * np.arange(8)
    for change, mean in (("network", 0.3), ("mgda", -0.2)):
        part = found.loc[change]
        row = part.loc["jasper", "sad"]
        assert row["mean"] == pytest.approx(mean + noise.mean())
        assert row["low"] < row["mean"] < row["high"]
        assert row["high"] - row["low"] < 0.04
        assert part.loc["jasper", "lr"]["mean"] == pytest.approx(2 * row["mean"])
        assert part.loc["jasper", "hr"]["high"] == pytest.approx(-row["low"])
        assert (part.loc["samson"][["mean", "low", "high"]] == 0).all().all()

    # The interval is that of the differences
    ends = interval(0.3 + noise, seed=0)
    row = found.loc["network", "jasper", "sad"]
    assert row["high"] - row["low"] == pytest.approx(ends[1] - ends[0], rel=0.1)


def test_cost() -> None:
    r"""Tests the ratios on made-up seconds, of networks that were trained."""
    rows = []
    for case in plan(["samson"], [2], ["self"], 9, ["branches", "network"]):
        hard, change = 2.0 ** case["seed"], case["change"]
        seconds = hard * {"": 1, "branches": 0.5, "network": 0.001}[change]
        # On the last seed, the method itself trains none
        trained = change == "branches" or (change == "" and case["seed"] < 8)
        weights = {"": 100, "branches": 60}[change] if trained else 0
        rows.append(case | {"training": seconds, "weights": weights})
    table = pd.DataFrame(rows).sample(frac=1, random_state=0)

    found = cost(table).set_index("change")
    assert list(found.index) == ["branches"]
    row = found.loc["branches"]
    assert row.to_dict() == pytest.approx(
        {"weights": 0.6, "seconds": 0.5, "low": 0.5, "high": 0.5, "n": 8}
    )

    # Twice as long, half as long: about the same
    noise = np.where(table["seed"] % 2, 2.0, 0.5)
    table["training"] *= np.where(table["change"] == "branches", noise, 1)
    row = cost(table).set_index("change").loc["branches"]
    assert row["seconds"] == pytest.approx(0.5)
    assert 0.25 < row["low"] < 0.5 < row["high"] < 1


def test_study() -> None:
    cases = plan(["synthetic"], [2], ["self"], 1, ["accessible solve"], **SMALL)
    table = study(ablate, cases, sources=SOURCES)
    assert table["failed"].isna().all()
    assert (worth(table)["n"] == 1).all()


def test_sources() -> None:
    r"""Tests that a change of any module that errors depend on is noticed."""
    # Statistics sum up afterwards
    assert imported("studies.ablation") - {"studies.statistics"} <= set(SOURCES)
