r"""Tests for the smile_core.affinity module."""

import pytest
import torch

from torch import Tensor
from torch.nn.utils import parameters_to_vector
from torchjd.autogram import Engine

from smile_core import scenes
from smile_core.affinity import best_share, cosine, gate, task_affinity
from smile_core.guidance import learn, material
from smile_core.mixing import unit
from smile_core.objective import losses


def gradients() -> tuple[Tensor, Tensor]:
    return torch.randn(12).double(), torch.randn(12).double()


def test_cosine() -> None:
    g, h = gradients()
    expected = torch.nn.functional.cosine_similarity(g, h, dim=0)
    torch.testing.assert_close(cosine(g, h), expected)

    # Whatever the lengths
    torch.testing.assert_close(cosine(1e8 * g, -1e-8 * h), -expected)
    zero = torch.zeros_like(g)
    assert cosine(g, zero) == cosine(zero, zero) == 0


def test_cosine_of_the_tasks() -> None:
    r"""Tests the cosine in a real training against the Gramian of another library."""
    data = scenes.synthetic(size=32, endmembers=3, seed=0)
    M = unit(data.M)
    pairs = material(data.image, M, [2], "share", 0)
    options = {"channels": 8, "steps": 21, "learning_rate": 1e-2, "seed": 0}
    network, history = learn(pairs, M, 2, device=torch.device("cpu"), **options)
    assert history["cosine"][0] == 0  # the heads start at zero
    assert len(history["cosine"]) == 21
    for head in (network.head, network.head_hr):
        torch.nn.init.normal_(head.weight, std=0.1)

    shared = network.shared_parameters()
    parameters = [p for layer in shared.values() for p in layer]
    pair = pairs[0][0]
    evaluated = losses(network, pair, M.mT @ M, pair.training)
    tasks = [evaluated["unmixing"], evaluated["sr"]]
    gradients = (torch.autograd.grad(t, parameters, retain_graph=True) for t in tasks)
    ours = cosine(*(parameters_to_vector(g) for g in gradients))

    encoder = torch.nn.Sequential(network.stem, network.shared)
    engine = Engine(encoder, batch_dim=None)
    evaluated = losses(network, pair, M.mT @ M, pair.training)
    stacked = torch.stack([evaluated["unmixing"], evaluated["sr"]])
    gram = engine.compute_gramian(stacked)
    theirs = gram[0, 1] / (gram[0, 0] * gram[1, 1]).sqrt()
    assert theirs.abs() > 1e-3
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_gate() -> None:
    g, h = gradients()
    h = h * cosine(g, h).sign()

    # In agreement, the sum
    torch.testing.assert_close(gate(g, h), g + h)

    # In conflict, the main task is served as if it were alone, and the rest of the guide is kept
    gated = gate(g, -h)
    torch.testing.assert_close(gated @ g, g @ g)
    across = torch.linalg.qr(torch.stack([g, h], dim=1)).Q[:, 1]
    torch.testing.assert_close(gated @ across, -h @ across)

    # What is not there cannot be opposed
    zero = torch.zeros_like(g)
    torch.testing.assert_close(gate(zero, h), h)


def test_task_affinity() -> None:
    r"""Tests against the closed form of a quadratic loss."""
    theta = [torch.tensor([[3.0]]).double(), torch.tensor(4.0).double()]
    before = [p.clone() for p in theta]

    def loss() -> Tensor:
        return sum(p.square().sum() for p in theta)

    # A step of 1 % of |theta| = 5 along theta, against it, and across
    for g, expected in (
        ([3.0, 4.0], 1 - 0.99**2),
        ([-30.0, -40.0], 1 - 1.01**2),
        ([-0.4, 0.3], -(0.01**2)),
        ([0.0, 0.0], 0.0),
    ):
        z = task_affinity(loss(), loss, theta, torch.tensor(g, dtype=torch.float64))
        assert z == pytest.approx(expected, abs=1e-12)
        torch.testing.assert_close(theta, before)


def test_best_share() -> None:
    truth = torch.rand(3, 50).double()
    e, f = torch.randn(2, 3, 50).double()
    alone, guided = truth + e, truth + f
    share = best_share(alone, guided, truth)

    # No other share is better
    def error(t: float) -> float:
        return float((alone + t * (guided - alone) - truth).square().mean())

    assert 0 < share < 1
    assert all(error(share) <= error(t) for t in torch.linspace(0, 1, 101).tolist())

    # The weight of the theorem, as a share
    v, m, c = e.square().mean(), f.square().mean(), (e * f).mean()
    weight = (v - c) / (m - c)
    assert share == pytest.approx(float(weight / (1 + weight)))

    # At the ends
    assert best_share(alone, alone, truth) == 0
    assert best_share(alone, truth, truth) == pytest.approx(1)
    assert best_share(alone, truth + 2 * e, truth) == 0
