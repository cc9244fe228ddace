r"""Tests for the smile_core.baselines.edaa module."""

import numpy as np
import pytest
import torch

from torch import Tensor

import smile_core.baselines.edaa as module

from smile_core.baselines.edaa import coherence, descend, edaa
from smile_core.metrics import match
from smile_core.mixing import fcls, project_simplex, unit


def loss(Y: Tensor, W: Tensor, A: Tensor) -> Tensor:
    r"""Computes the objective of the paper, with W of shape (N, R)."""
    return (Y - Y @ W @ A).square().sum() / 2


def test_descend() -> None:
    r"""Tests the steps, of all restarts, against the gradients that torch finds by itself."""
    Y, W = torch.rand(7, 20).double(), torch.rand(2, 3, 20).double().softmax(dim=2)
    factor = torch.tensor([0.5, 4.0]).double()
    A_hat, W_hat = descend(Y, W, factor, rounds=3, inner=2)

    for s in range(2):
        w, a = W[s].mT, torch.full((3, 20), 1 / 3).double()
        eta = factor[s] / torch.linalg.svdvals(Y @ w)[0] ** 2
        for k in range(12):
            in_a = k % 4 < 2
            gradient_w, gradient_a = torch.func.grad(loss, argnums=(1, 2))(Y, w, a)
            if in_a:
                a = a * torch.exp(-eta * gradient_a)
                a = a / a.sum(dim=0)
            else:
                w = w * torch.exp(-eta * (3 / 20) ** 0.5 * gradient_w)
                w = w / w.sum(dim=0)

        torch.testing.assert_close(A_hat[s], a)
        torch.testing.assert_close(W_hat[s], w.mT)


def test_start() -> None:
    Y = torch.rand(5, 40)
    W, factor = module._start(Y, 3, list(range(200)))

    # Nearly equal weights, in the simplex
    torch.testing.assert_close(W.sum(dim=2), torch.ones(200, 3))
    assert (W.amax(dim=2) / W.amin(dim=2)).max() <= np.exp(0.1) * (1 + 1e-5)

    # Seven factors, equally often: 29 expected of each
    values, counts = factor.unique(return_counts=True)
    assert values.tolist() == [2.0**k for k in range(-3, 4)]
    assert counts.min() > 10

    # A restart has its own seed, whatever is run beside it, and is that of the authors' program
    one, power = module._start(Y, 3, [17])
    assert torch.equal(one[0], W[17])
    _ = torch.manual_seed(17)
    assert torch.equal(one[0], (0.1 * torch.rand(40, 3)).softmax(dim=0).mT)
    assert power.item() == 2 ** np.random.RandomState(17).randint(-3, 4)


def test_coherence() -> None:
    M = torch.rand(30, 4).double()
    expected = np.max(np.corrcoef(M.numpy().T) - 2 * np.eye(4))
    assert coherence(M).item() == pytest.approx(expected)

    # Correlation, not cosine: neither offset nor unit counts
    assert coherence(M * 3 + 5).item() == pytest.approx(expected)


def test_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    r"""Tests the rule on restarts whose residuals and coherences are set."""
    Y = torch.eye(4).double()[:, :3].repeat(1, 10)
    a = torch.eye(3).double().repeat(1, 10)
    # The norms of the abundances set the residuals, the weights the correlations
    W = torch.zeros(4, 3, 30).double()
    spread = torch.tensor([0.3, 0.2, 0.1, 0.0])
    W[:, :, :3] = torch.eye(3) + spread[:, None, None]
    A = torch.linalg.inv(W[:, :, :3].mT) @ a
    shrink = torch.tensor([0.500, 0.490, 0.480, 0.400])  # residuals relative to the pixels
    A = shrink[:, None, None] * A
    monkeypatch.setattr(module, "BATCH", 4)
    monkeypatch.setattr(module, "descend", lambda *_, **__: (A, W))

    def choose(**options: float) -> int:
        _, chosen = edaa(Y.reshape(4, 5, 6), 3, restarts=4, **options)
        return next(i for i in range(4) if torch.equal(A[i], chosen.flatten(1)))

    # Residuals 15, 15.3, 15.6 and 18: the last is the least coherent, but too far off
    assert choose() == 2
    assert choose(tolerance=0.03) == 1
    assert choose(tolerance=0.2) == 3

    # One that is not finite does not compete, and if none is, it is said
    A[2] = torch.nan
    assert choose() == 1
    A[:] = torch.nan
    with pytest.raises(RuntimeError, match="None of the 4 restarts"):
        choose()


@pytest.mark.parametrize("seed", [0, 1])
def test_pure_pixels(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    r"""Tests recovery from pure pixels in any light, and that batches change nothing."""
    M = 0.1 + torch.rand(20, 3).square()
    drawn = torch.arange(90) % 3
    image = (M[:, drawn] * (0.2 + torch.rand(90))).reshape(20, 9, 10)
    options = {"restarts": 10, "rounds": 60}
    M_hat, a = edaa(image, 3, seed, **options)

    permutation, angles = match(M_hat, M)
    assert angles.max() < 0.02
    assert (a[permutation].flatten(1).argmax(dim=0) == drawn).all()
    assert a.shape == (3, 9, 10)
    torch.testing.assert_close(project_simplex(a), a)

    # Neither the unit nor the size of a batch counts, and the same seed gives the same
    monkeypatch.setattr(module, "BATCH", 3)
    again, _ = edaa(1024 * image, 3, seed, **options)
    torch.testing.assert_close(again, M_hat)
    assert not torch.equal(edaa(image, 3, seed + 2, **options)[0], M_hat)


def test_hull() -> None:
    r"""Tests that endmembers are convex combinations of unit spectra."""
    image = torch.rand(6, 3, 4)
    image[:, 1, 2] = 0
    M, _ = edaa(image, 3, restarts=4, rounds=20)
    Y = unit(image.flatten(1))

    torch.testing.assert_close(Y @ fcls(M, Y), M, rtol=0, atol=1e-5)
    assert M.norm(dim=0).max() < 1
