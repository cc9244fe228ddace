r"""Tests for the smile_core.studies.experiments module."""

import pytest
import torch

from imports import imported
from pathlib import Path

from smile_core import Settings, guidance, scenes, unmix
from smile_core.degradation import degrade
from smile_core.guidance import Rehearsal, bring_up
from smile_core.metrics import armse, match
from smile_core.mixing import unit, unmix_pixels
from smile_core.network import Smile
from smile_core.objective import Level
from smile_core.studies import experiments

SMALL = Settings(restarts=4, rounds=10, steps=10, channels=8)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SMILE_CACHE", str(tmp_path / "fits"))
    return tmp_path / "fits"


def test_fit_is_computed_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = scenes.synthetic(size=16, endmembers=3)
    first = experiments.fit(scene.image, 3, mode="single", settings=SMALL)
    assert len(list(cache.iterdir())) == 1

    # Other arguments, another result
    other = experiments.fit(scene.image, 3, mode="single", settings=SMALL, seed=1)
    assert len(list(cache.iterdir())) == 2
    assert not torch.equal(first.M, other.M)

    # The same arguments, without another computation
    monkeypatch.delattr(experiments, "unmix")
    again = experiments.fit(scene.image, 3, mode="single", settings=SMALL)
    assert torch.equal(first.a, again.a)
    assert first.seconds == again.seconds
    with pytest.raises(NameError):
        experiments.fit(scene.image + 1e-3, 3, mode="single", settings=SMALL)


def test_fit_without_a_place_for_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("SMILE_CACHE", str(tmp_path / "file" / "fits"))
    scene = scenes.synthetic(size=16, endmembers=2)

    assert experiments.fit(scene.image, 2, mode="single", settings=SMALL).a.shape == (2, 16, 16)


def test_method_is_all_that_a_fit_depends_on() -> None:
    r"""Tests that modules of the package import none that is not on the list, but for show."""
    needed = set.union(*map(imported, experiments.METHOD))
    assert needed - {"plot", "progress", "record"} == set(experiments.METHOD) - {"unmixing"}


def test_reference() -> None:
    scene = scenes.synthetic(size=16, endmembers=3, snr=float("inf"), brightness="rough")

    # Truth: what the pixels themselves say, given the true endmembers
    a = unmix_pixels(scene.image, unit(scene.M))[0]
    torch.testing.assert_close(experiments.reference(scene), a, atol=1e-4, rtol=0)
    assert torch.equal(experiments.reference(scene, "area"), scene.a)


def test_native() -> None:
    scene = scenes.synthetic(size=16, endmembers=3)
    table = experiments.native(scene, 2, SMALL, mode="single")

    assert table["seed"].tolist() == [0, 1]
    assert (table[["sad", "armse", "armse_matched"]] > 0).all(axis=None)
    assert (table["gap"] < 1e-9).all()


def test_guidance() -> None:
    scene = scenes.synthetic(size=16, endmembers=3)
    table = experiments.guidance(scene, 2, 1, SMALL).set_index("mode")
    assert table.index.tolist() == list(experiments.ROWS)

    # What the tables say of the single task, computed by hand
    y, a_ref = degrade(scene.image, 2), experiments.reference(scene)
    result = experiments.fit(y, 3, scale=2, mode="single", seed=0, settings=SMALL, device="auto")
    cost = (result.a[:, None] - degrade(a_ref, 2)[None]).square().mean(dim=(2, 3))
    order = [int(cost[:, k].argmin()) for k in range(3)]
    assert sorted(order) == [0, 1, 2]
    error = (result.a[order] - degrade(a_ref, 2)).square()
    assert table.loc["single", "lr"] == pytest.approx(float(error.mean().sqrt()), rel=1e-4)
    hidden = error[..., 4:].mean().sqrt()
    assert table.loc["single", "lr_hidden"] == pytest.approx(float(hidden), rel=1e-4)

    # Lifting moves what the light shows by little, and its mean over the area towards the truth
    assert table.loc["lifted", "hr"] < table.loc["single", "hr"]

    # The HR image is worth having
    assert table.loc["same data", "hr"] < table.loc["single", "hr"]


def test_start() -> None:
    r"""Tests that guidance starts from the solve of the image, by the spectra themselves."""
    scene = scenes.synthetic(size=32, endmembers=3, snr=float("inf"))
    level, M = experiments.start(scene, 2, 0, SMALL)
    assert level.a.shape == (3, 16, 16)

    # Pixels of about unit norm, and of unit endmembers
    assert level.image.norm(dim=0).mean() == pytest.approx(1, rel=1e-5)
    torch.testing.assert_close(M.norm(dim=0), torch.ones(3))
    mixed = torch.einsum("br,rhw->bhw", M, level.a) * level.brightness
    assert (mixed - level.image).norm() < 0.05 * level.image.norm()


@pytest.mark.parametrize("scale", [2, 4])
def test_sweep(scale: int, monkeypatch: pytest.MonkeyPatch) -> None:
    r"""Tests the errors against those of `unmix`, told to take the same shares."""
    scene = scenes.synthetic(size=64, endmembers=3, smoothness=1.0)
    y, a_ref = degrade(scene.image, scale), experiments.reference(scene)

    monkeypatch.setattr(guidance, "rehearse", lambda *_, **__: Rehearsal(3.0, 2.0, 1.0, 0.4))
    table = experiments.sweep(scene, scale, 0, [1], SMALL)
    assert table["share"].tolist() == [0.4, 1]
    for row in table.itertuples():
        rehearsal = Rehearsal(3.0, 2.0, 1.0, row.share)
        monkeypatch.setattr(guidance, "rehearse", lambda *_, r=rehearsal, **__: r)
        result = unmix(y, 3, scale=scale, mode="self", seed=0, settings=SMALL)
        order = match(result.M, scene.M)[0]
        hr, lr = armse(result.a_hr[order], a_ref), armse(result.a[order], degrade(a_ref, scale))
        assert (row.hr, row.lr) == pytest.approx((float(hr), float(lr)), rel=1e-4)
    assert table["hr"].nunique() == 2

    # What is the same in all rows
    assert (table["chosen"] == 0.4).all()
    assert (table["best_lr"] == table["share"][int(table["lr"].argmin())]).all()
    assert (table["best_hr"] == table["share"][int(table["hr"].argmin())]).all()
    assert table["trained"].all()
    assert not table["fallback"].any()


@pytest.mark.parametrize("errors", [(3.0, 2.0, 2.0, 0.0), (1.0, 2.0, 2.0, 0.4)])
def test_sweep_where_unmix_trains_nothing(
    errors: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guidance, "rehearse", lambda *_, **__: Rehearsal(*errors))
    scene = scenes.synthetic(size=64, endmembers=3, smoothness=1.0)
    table = experiments.sweep(scene, 2, 0, [0, 1], SMALL)

    # Shares are taken all the same, of a network that is trained for that
    assert set(table["share"]) == {0, errors[3], 1}
    assert table["hr"].nunique() == len(table)
    assert not table["trained"].any()
    assert (table["fallback"] == (errors[3] > 0)).all()


def test_sweep_of_small_images(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = []

    def watch(level: Level, scale: int, network: Smile | None, share: float) -> Level:
        networks.append(network)
        return bring_up(level, scale, network, share)

    monkeypatch.setattr(experiments, "bring_up", watch)
    table = experiments.sweep(scenes.synthetic(size=16, endmembers=3), 2, 0, [0, 1], SMALL)

    # Nothing to learn from: whatever the share, this is lifting
    assert networks == [None, None]
    assert table["hr"].nunique() == 1
    assert (table["chosen"] == 0).all()
