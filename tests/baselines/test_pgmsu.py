r"""Tests for the smile_core.baselines.pgmsu module."""

import importlib
import math
import pytest
import torch

from torch import Tensor, nn
from torch.distributions import Normal, kl

from smile_core.baselines.geometric import vca
from smile_core.baselines.pgmsu import Autoencoder, find_start, kl_divergence, pgmsu
from smile_core.metrics import angle, match

# Not by attribute, for the package has a function of that name
module = importlib.import_module("smile_core.baselines.pgmsu")

B, R = 12, 3


def test_kl_divergence() -> None:
    mean, log_var = torch.randn(2, 9, 4, dtype=torch.float64)
    prior = Normal(torch.zeros_like(mean), torch.ones_like(mean))
    expected = kl.kl_divergence(Normal(mean, (log_var / 2).exp()), prior).sum(dim=1)

    torch.testing.assert_close(kl_divergence(mean, log_var), expected)
    assert torch.equal(kl_divergence(torch.zeros(2, 4), torch.zeros(2, 4)), torch.zeros(2))


def test_network() -> None:
    network = Autoencoder(B, R)
    M, a, mean, log_var = network(torch.rand(20, B))

    assert M.shape == (20, R, B)
    assert (M >= 0).all()
    assert (M <= 1).all()
    assert a.shape == (20, R)
    assert (a >= 0).all()
    torch.testing.assert_close(a.sum(dim=1), torch.ones(20))
    assert mean.shape == log_var.shape == (20, 4)


def test_posterior() -> None:
    r"""Tests that the latent is drawn from the posterior: with its mean, with its spread."""
    network, y = Autoencoder(B, R).eval(), torch.rand(1, B).expand(4000, B)
    network.endmembers = nn.Identity()
    network.shape = (2, 2)
    head = network.posterior[-1]
    nn.init.zeros_(head.weight)
    mean, std = torch.tensor([0.5, -0.5, 0.0, 1.0]), torch.tensor([0.1, 0.2, 0.5, 1.0])
    with torch.no_grad():
        head.bias.copy_(torch.cat([mean, 2 * std.log()]))
    z = network(y)[0].flatten(1).logit()

    # Five standard deviations of a mean and of a standard deviation
    assert ((z.mean(dim=0) - mean).abs() < 5 * std / 4000**0.5).all()
    assert ((z.std(dim=0) - std).abs() < 5 * std / 8000**0.5).all()


def test_loss() -> None:
    r"""Tests both losses against their formula, pixel by pixel."""
    M, a, y = torch.rand(5, R, B), torch.rand(5, R).softmax(dim=1), torch.rand(5, B)
    mean, log_var = torch.randn(2, 5, 4)
    M_vca = torch.rand(R, B)

    def network(y: Tensor) -> tuple[Tensor, ...]:
        return M, a, mean, log_var

    common = 0.1 * kl_divergence(mean, log_var).mean()
    first = second = 0.0
    for i in range(5):
        common += (y[i] - a[i] @ M[i]).square().sum() / 5
        first += 0.1 * (M[i] - M_vca).square().sum() / 5
        for k in range(R):
            second += 7 * (M[i, k] - M[i].mean(dim=0)).square().sum() / (5 * R * B)
            second += 3 * angle(M[i, k], M[:, k].mean(dim=0)).float() / (5 * R)

    torch.testing.assert_close(module._loss(network, y, M_vca), common + first)
    torch.testing.assert_close(module._loss(network, y, None), common + second)

    # A posterior near the prior costs the same as one at it
    log_var *= 0
    mean = torch.full_like(mean, 0.3)  # 0.18 nats
    with_some = module._loss(network, y, None)
    mean = torch.zeros_like(mean)
    torch.testing.assert_close(module._loss(network, y, None), with_some)


@pytest.mark.parametrize(("snr", "noisy"), [(18, True), (27, True), (31, False)])
def test_start(snr: float, noisy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    r"""Tests that three endmembers are found, by vertex component analysis from 29 dB on."""
    M = torch.rand(B, R, dtype=torch.float64)
    a = torch.rand(R, 500, dtype=torch.float64) ** 4
    a[:, :R] = torch.eye(R)
    signal = M @ (a / a.sum(dim=0))

    # Noise that no projection on the signal subspace keeps
    noise = torch.randn_like(signal)
    noise -= M @ torch.linalg.lstsq(M, noise).solution
    noise *= signal.norm() / noise.norm() * 10 ** (-snr / 20)
    given: list[float] = []
    monkeypatch.setattr(
        module, "vca", lambda *args, threshold: given.append(threshold) or vca(*args, threshold)
    )
    found = find_start(signal + noise, R)

    # 27 dB is between 19.8, the threshold of the original, and 29.0
    assert given == [pytest.approx(18 + 10 * math.log(R))]
    affine = vca(signal + noise, R, 0, threshold=math.inf)
    assert torch.equal(found, affine) == noisy
    assert (match(found, M)[1] < 0.05).all()


def test_attraction(monkeypatch: pytest.MonkeyPatch) -> None:
    r"""Tests that the endmembers remember those of the first half of the training."""
    image = torch.rand(B, 10, 10)
    starts, found = torch.rand(2, B, R), []
    for M_vca in starts:
        monkeypatch.setattr(module, "find_start", lambda pixels, R, seed, M=M_vca: M)
        found.append(pgmsu(image, R, epochs=6)[0])

    # By chance, the cosine is within 0.17 (one standard deviation) of zero
    differences = torch.stack([found[1] - found[0], starts[1] - starts[0]]).flatten(1)
    assert torch.cosine_similarity(*differences, dim=0) > 0.5


def test_last_batch() -> None:
    r"""Tests that images of 10 n + 1 pixels, whose last batch is one pixel, are fine."""
    M, a = pgmsu(torch.rand(B, 3, 7), R, epochs=2)
    assert M.shape == (B, R)
    assert a.shape == (R, 3, 7)
