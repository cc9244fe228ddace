r"""Tests for the smile_core.baselines.training module, and for what the deep baselines promise."""

import importlib
import pytest
import torch

from collections.abc import Callable
from torch import Tensor

from smile_core.baselines.cnnaeu import cnnaeu
from smile_core.baselines.deeptrans import deeptrans
from smile_core.baselines.pgmsu import pgmsu
from smile_core.baselines.training import check_finite, seeded, spectral_angle
from smile_core.metrics import angle

METHODS = (cnnaeu, deeptrans, pgmsu)

B, R = 24, 3


def make_scene(h: int = 16, w: int = 16) -> Tensor:
    r"""Mixes three bumps smoothly, from nearly pure pixels on."""
    t = torch.linspace(0, 1, B)
    M = torch.stack([torch.exp(-(((t - c) / 0.25) ** 2)) for c in (0.1, 0.5, 0.9)], dim=1)
    M = 0.1 + 0.8 * M
    rows, cols = torch.linspace(-1, 1, h)[:, None], torch.linspace(-1, 1, w)
    a = (6 * torch.stack([rows - cols, rows + cols, -rows.expand(h, w)])).softmax(dim=0)

    return torch.einsum("er,rhw->ehw", M, a)


def measure(M: Tensor, a: Tensor, image: Tensor) -> Tensor:
    r"""Measures the mean angle between an image and its mixture."""
    return angle(torch.einsum("er,rhw->ehw", M, a), image).mean()


def test_spectral_angle() -> None:
    x, x_hat = torch.rand(2, 5, 7, 4)

    # In double precision, by the arc tangent
    torch.testing.assert_close(
        spectral_angle(x, x_hat).double(), angle(x, x_hat, dim=1), rtol=0, atol=1e-5
    )
    torch.testing.assert_close(
        spectral_angle(x, -x), torch.full((5, 4), torch.pi), atol=1e-3, rtol=0
    )

    # Brightness
    brightness = 0.1 + torch.rand(5, 1, 4)
    torch.testing.assert_close(
        spectral_angle(brightness * x, 3 * x_hat), spectral_angle(x, x_hat), rtol=0, atol=1e-5
    )

    # A perfect fit, and a dead pixel
    for target in (x.clone(), torch.zeros_like(x)):
        x_hat = x.clone().requires_grad_()
        spectral_angle(target, x_hat).sum().backward()
        assert x_hat.grad.isfinite().all()


def test_seeded() -> None:
    before = torch.random.get_rng_state()
    draws = []
    for seed in (1, 1, 2):
        with seeded(seed):
            draws.append(torch.rand(3))

    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])

    # After an error too
    with pytest.raises(ZeroDivisionError), seeded(0):
        torch.rand(1)
        _ = 1 / 0
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_check_finite(value: float) -> None:
    check_finite("Method", 3, loss=torch.tensor(1.0), abundances=torch.rand(2, 3))

    with pytest.raises(RuntimeError, match=f"Method diverged after 3 epochs.*M.*got {value}"):
        check_finite("Method", 3, loss=torch.tensor(1.0), M=torch.tensor([[1.0, value]]))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(16, 16), (12, 16)])
def test_result(method: Callable, shape: tuple[int, int]) -> None:
    image = make_scene(*shape)
    before = torch.random.get_rng_state()
    calls = []
    M, a = method(image, R, epochs=2, progress=lambda *call: calls.append(call))

    assert torch.equal(torch.random.get_rng_state(), before)
    assert [call[1:] for call in calls] == [(1, 2), (2, 2)]
    assert M.shape == (B, R)
    assert a.shape == (R, *shape)
    assert (M >= 0).all()
    assert (a >= 0).all()
    torch.testing.assert_close(a.sum(dim=0), torch.ones(shape))

    # The seed decides, whatever was drawn before
    torch.rand(5)
    M_, a_ = method(image, R, epochs=2)
    assert torch.equal(M_, M)
    assert torch.equal(a_, a)
    assert not torch.equal(method(image, R, 1, epochs=2)[1], a)

    # The unit of the image is that of the endmembers (up to scale in CNNAEU)
    M_, a_ = method(1024 * image, R, epochs=2)
    assert torch.equal(a_, a)
    assert torch.equal(M_, M if method is cnnaeu else 1024 * M)


@pytest.mark.parametrize(("method", "epochs"), [(cnnaeu, 100), (deeptrans, 20), (pgmsu, 16)])
def test_learning(method: Callable, epochs: int) -> None:
    image = make_scene()
    before = measure(*method(image, R, epochs=1), image)
    after = measure(*method(image, R, epochs=epochs), image)

    assert after < 0.5 * before


@pytest.mark.parametrize("method", METHODS)
def test_divergence(method: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    image = make_scene()
    module = importlib.import_module(method.__module__)
    nan = torch.full((B, R), torch.nan)
    if method is cnnaeu:
        monkeypatch.setattr(module, "spectral_angle", lambda x, x_hat: x_hat + torch.nan)
    else:
        start = "vca" if method is deeptrans else "find_start"
        monkeypatch.setattr(module, start, lambda pixels, R, seed: nan)

    with pytest.raises(RuntimeError, match=r"diverged after 1 epochs.*loss.*got nan"):
        method(image, R, epochs=2)


@pytest.mark.parametrize("method", METHODS)
def test_bad_input(method: Callable) -> None:
    image = make_scene()

    with pytest.raises(ValueError, match="finite"):
        method(image + torch.nan, R)
    with pytest.raises(ValueError, match="R should be between 2"):
        method(image, B + 1)
