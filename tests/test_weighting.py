r"""Tests for the smile_core.weighting module."""

import math
import pytest
import torch

from torch import Tensor
from torchjd.aggregation import MGDA, PCGrad

from smile_core.affinity import cosine, gate
from smile_core.weighting import WEIGHTINGS, combine, mgda, pcgrad, uncertain


def gradients(agreement: float) -> tuple[Tensor, Tensor]:
    r"""Draws two gradients, of lengths 1 and 2, with a given cosine."""
    e, f = torch.linalg.qr(torch.randn(12, 2).double()).Q.T

    return e, 2 * (agreement * e + math.sqrt(1 - agreement**2) * f)


@pytest.mark.parametrize("agreement", [-0.9, -0.3, 0.0, 0.3, 0.9])
def test_against_another_library(agreement: float) -> None:
    g, h = gradients(agreement)
    assert float(cosine(g, h)) == pytest.approx(agreement, abs=1e-12)
    jacobian = torch.stack([g, h])

    torch.testing.assert_close(pcgrad(g, h), PCGrad()(jacobian))
    torch.testing.assert_close(mgda(g, h), MGDA()(jacobian))


def test_pcgrad() -> None:
    # In conflict, the gate serves the main task as if alone; this serves neither so well
    g, h = gradients(-0.6)
    ours, gated = pcgrad(g, h), gate(g, h)
    torch.testing.assert_close(gated @ g, g @ g)
    torch.testing.assert_close(ours @ g, (1 - 0.36) * g @ g)
    torch.testing.assert_close(ours @ h, (1 - 0.36) * h @ h)


@pytest.mark.parametrize("agreement", [-0.9, 0.0, 0.45, 0.55, 0.9])
def test_mgda(agreement: float) -> None:
    g, h = gradients(agreement)
    ours = mgda(g, h)

    # No other convex combination is shorter
    for gamma in torch.linspace(0, 1, 101).double():
        assert ours.norm() <= (gamma * g + (1 - gamma) * h).norm() + 1e-12

    # Both losses fall alike, until the shorter gradient does it alone
    if agreement < 0.5:
        torch.testing.assert_close(ours @ g, ours @ h)
    else:
        torch.testing.assert_close(ours, g)

    # Two that are the same, or nothing
    torch.testing.assert_close(mgda(g, g), g)
    zero = torch.zeros_like(g)
    assert not mgda(g, zero).any()
    torch.testing.assert_close(pcgrad(zero, h), h)


def test_uncertain() -> None:
    r"""Tests that what is learned is the variance, and against the normal likelihood."""
    losses = {"unmixing": torch.tensor(0.3).double(), "sr": torch.tensor(7.0).double()}
    log_variances = torch.zeros(2).double().requires_grad_()
    optimizer = torch.optim.Adam([log_variances], lr=0.1)
    for _ in range(400):
        optimizer.zero_grad()
        sum(uncertain(losses, log_variances).values()).backward()
        optimizer.step()
    torch.testing.assert_close(log_variances.exp().tolist(), [0.3, 7.0], rtol=1e-3, atol=0)

    # A squared error is weighed as in a normal distribution, up to a constant
    x, variances = torch.tensor([1.3, 0.2]).double(), torch.tensor([0.5, 4.0]).double()
    squares = {"unmixing": x[0] ** 2, "sr": x[1] ** 2}
    weighed = torch.stack([*uncertain(squares, variances.log()).values()])
    likelihood = torch.distributions.Normal(0, variances.sqrt()).log_prob(x)
    torch.testing.assert_close(weighed, -likelihood - math.log(2 * math.pi) / 2)


def test_combine() -> None:
    g, h = gradients(-0.5)
    for name, expected in (
        ("gate", gate(g, h)),
        ("pcgrad", pcgrad(g, h)),
        ("mgda", mgda(g, h)),
        ("sum", g + h),
    ):
        torch.testing.assert_close(combine(g, h, name), expected)

    # They all differ, but where the weights are in the losses already
    combined = {name: tuple(combine(g, h, name).tolist()) for name in WEIGHTINGS}
    assert combined["uncertainty"] == combined["sum"]
    assert len(set(combined.values())) == len(WEIGHTINGS) - 1

    # Where the tasks agree, gate and PCGrad are the sum
    g, h = gradients(0.5)
    for name in ("gate", "pcgrad", "uncertainty"):
        torch.testing.assert_close(combine(g, h, name), combine(g, h, "sum"))
