r"""Tests on a GPU: a real one where there is one, else one that is pretended."""

import contextlib
import pytest
import torch

from collections.abc import Callable, Iterator
from dataclasses import replace
from pretend import GPU, OtherRounding, PretendedGPU, pretend
from torch import Tensor

from smile_core import scenes
from smile_core.archetypes import archetypes
from smile_core.baselines import METHODS
from smile_core.degradation import degrade
from smile_core.metrics import armse
from smile_core.mixing import unit
from smile_core.network import Smile
from smile_core.objective import Pair, make_pairs, train
from smile_core.scenes import Scene
from smile_core.studies.variability import vary
from smile_core.unmixing import Settings, find_device, unmix

REAL = torch.cuda.is_available()
QUICK = Settings(restarts=4, rounds=10, steps=5, channels=8)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with contextlib.nullcontext() if REAL else pretend(monkeypatch):
        yield


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Callable[[], PretendedGPU]:
    return lambda: pretend(monkeypatch)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return scenes.synthetic(size=24, endmembers=3, seed=0)


def test_pretended(pretended: Callable[[], PretendedGPU]) -> None:
    r"""Tests that the pretended device does what a real one does, as far as tests need it."""
    with pretended() as device:
        assert find_device() == find_device("cuda") == GPU
        x, y = torch.arange(6.0).view(2, 3), torch.ones(3, device="cuda:0")
        there = x.to(GPU)
        assert there.device == (there @ y).device == y.device == torch.zeros_like(y).device == GPU
        for mixed in (lambda: x + y, lambda: x @ y, lambda: torch.cat([x[0], y])):
            with pytest.raises(RuntimeError, match="both devices"):
                mixed()
        assert (2 * y).device == GPU  # numbers go anywhere
        assert not device.waits

        # Memory is shared as it is on any device
        there[0].mul_(2)
        there.mT[1] = 7
        torch.testing.assert_close(there.cpu(), torch.tensor([[0.0, 7, 4], [3, 7, 5]]))
        assert torch.equal(x[0], torch.arange(3.0))
        device.waits.clear()

        # What has to be known here is waited for
        for wait in (
            lambda: there.sum().item(),
            lambda: bool(y[0] > 0),
            lambda: there.tolist(),
            lambda: there[there > 3],
            lambda: x.copy_(there),
        ):
            before = device.waits.total()
            wait()
            assert device.waits.total() == before + 1

    with pytest.raises(RuntimeError, match="outside"):
        there + 1


@pytest.mark.parametrize("mode", ["single", "self", "partial", "supervised"])
def test_same_result(scene: Scene, gpu: None, mode: str) -> None:
    r"""Tests that the device makes no difference, with archetypes, which are found on it."""
    x = vary(scene, 0.03, 30)
    y, options = degrade(x, 2), {}
    if mode in ("partial", "supervised"):
        options["hr"] = x
    if mode == "partial":
        options["hr_mask"] = torch.arange(x.shape[-1]).expand_as(x[0]) < 12
    options |= {"mode": mode, "settings": QUICK}
    here, there = (unmix(y, 3, device=device, **options) for device in ("cpu", "cuda"))
    assert there.device == str(GPU)
    assert "misfit" in there.history

    # On a real one, sums come in another order; the pretended one computes as the CPU does
    limit = 1e-3 if REAL else 1e-6
    for name in ("a", "a_hr"):
        assert armse(getattr(there, name), getattr(here, name)) < limit
    torch.testing.assert_close(there.M, here.M, rtol=10 * limit, atol=limit)
    for name in ("M", "a", "a_hr", "brightness", "gap"):
        assert getattr(there, name).device.type == "cpu"


def test_attention_on_the_device(scene: Scene, gpu: None) -> None:
    settings = replace(QUICK, attention=True)
    y = degrade(scene.image, 2)
    here, there = (unmix(y, 3, device=device, settings=settings) for device in ("cpu", "cuda"))
    assert armse(there.a_hr, here.a_hr) < (1e-3 if REAL else 1e-6)


def test_tensor_float() -> None:
    r"""Tests the pretended rounding: 10 bits of the fraction are left, and sums err both ways."""
    x = torch.tensor([1.0, 1 + 2.0**-10, 1 + 2.0**-12, -3.1415927])[None, None]
    with OtherRounding(size=0.0):
        y = torch.nn.functional.conv1d(x, torch.ones(1, 1, 1))[0, 0]
    assert y[:3].tolist() == [1.0, 1 + 2.0**-10, 1.0]
    assert 0 < abs(float(y[3]) + 3.1415927) < 4 * 2.0**-11

    a, b = torch.randn(40, 300), torch.randn(300, 40)
    with OtherRounding():
        errors = (a @ b).double() - a.double() @ b.double()
    assert 0.4 < (errors > 0).double().mean() < 0.6
    assert 0.2 * 2.0**-23 < errors.abs().mean() / (a.abs() @ b.abs()).mean() < 2.0**-23


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.data(name)) for name in ("samson", "jasper")]
)
def test_other_rounding(name: str) -> None:
    r"""Tests that abundances are the same within 5e-4 if float32 is rounded as on a GPU."""
    data = scenes.load(name)
    y = degrade(data.image[:, :94, :94], 2)
    here = unmix(y, data.R, device="cpu")
    with OtherRounding():
        there = unmix(y, data.R, device="cpu")
    assert not torch.equal(there.a_hr, here.a_hr)
    for name in ("a", "a_hr"):
        assert armse(getattr(there, name), getattr(here, name)) < 5e-4


def draw_pairs(scene: Scene) -> tuple[list[Pair], Tensor]:
    M, x = unit(scene.M), scene.image / scene.image.norm(dim=0).mean()
    return make_pairs(x, M, torch.ones_like(x[0]).bool(), 2, "share", 0), M


@pytest.mark.parametrize("weighting", ["sum", "gate", "uncertainty", "pcgrad", "mgda"])
def test_training_does_not_wait(
    scene: Scene, pretended: Callable[[], PretendedGPU], weighting: str
) -> None:
    r"""Tests that no step of the training waits for the device, with a validation or without."""
    pairs, M = draw_pairs(scene)
    waits = {}
    for steps, interval in ((4, 100), (8, 100), (8, 2)):
        with pretended() as device:
            network = Smile(*M.shape, 2, 8).to(GPU)
            moved = [[Pair(*(x.to(GPU) for x in pair)) for pair in pairs]]
            options = {"steps": steps, "interval": interval, "weighting": weighting}
            train(network, moved, M.to(GPU), learning_rate=3e-3, **options)
            waits[steps, interval] = device.waits.total()

    assert waits[4, 100] == waits[8, 100] == waits[8, 2]


def test_restarts_do_not_wait(scene: Scene, pretended: Callable[[], PretendedGPU]) -> None:
    r"""Tests that neither rounds nor restarts wait, and that these are one batch."""
    waits, calls = {}, {}
    for restarts, rounds in ((2, 5), (2, 10), (6, 5)):
        with pretended() as device:
            archetypes(scene.image.flatten(1).to(GPU), 3, restarts=restarts, rounds=rounds)
            waits[restarts, rounds], calls[restarts, rounds] = device.waits.total(), device.calls

    assert len(set(waits.values())) == 1
    assert calls[2, 5] == calls[6, 5] < calls[2, 10]


@pytest.mark.parametrize("method", ["CNNAEU", "DeepTrans", "PGMSU"])
def test_deep_baselines(
    scene: Scene, gpu: None, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    r"""Tests that the deep baselines work on the device."""
    if not REAL:  # there is no generator to put back
        monkeypatch.setattr(torch.random, "fork_rng", lambda **_: contextlib.nullcontext())
    M, a = METHODS[method](scene.image, 3, 0, epochs=2, device="cuda:0")
    assert M.device.type == a.device.type == "cpu"
    assert M.isfinite().all()
    assert a.isfinite().all()
