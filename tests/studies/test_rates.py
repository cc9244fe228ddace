r"""Tests for the smile_core.studies.rates module."""

import numpy as np
import pytest
import torch

from dataclasses import replace
from torch import Tensor

from smile_core import scenes
from smile_core.accessible import Problem, alternate, energy, solve
from smile_core.degradation import degrade
from smile_core.metrics import score
from smile_core.result import Unmixing
from smile_core.scenes import Scene
from smile_core.studies.experiments import reference
from smile_core.studies.rates import (
    Start,
    accuracy,
    begin,
    conditioning,
    descent,
    distances,
    envelopes,
    finish,
    pose,
)
from smile_core.studies.variability import vary
from smile_core.unmixing import Settings, unmix

TINY = Settings(restarts=4, rounds=20, steps=10, channels=8, alternations=5)
WEIGHTS = {"guidance": TINY.guidance, "mu": TINY.mu}


@pytest.fixture(scope="module")
def scene() -> Scene:
    # With materials that vary, so that endmembers are archetypes, and move
    scene = scenes.synthetic(size=64, endmembers=3, smoothness=3.0, seed=0)
    return replace(scene, image=vary(scene, 0.03, 30))


@pytest.fixture(scope="module")
def begun(scene: Scene) -> Start:
    return begin(degrade(scene.image, 2), 3, 2, settings=TINY, device="cpu")


@pytest.fixture(scope="module")
def unmixed(scene: Scene) -> Unmixing:
    image = degrade(scene.image, 2)
    return unmix(image, 3, convention="share", settings=TINY, device="cpu")


def swing() -> tuple[Problem, Tensor, Tensor]:
    r"""Makes a problem of which everything is known: the problem, endmembers and minimiser.

    One LR pixel is the mean of 2 x 2 HR pixels, and the endmembers are 1 and -1. To get from equal
    abundances to the minimiser, two HR pixels exchange theirs, which the LR pixel does not see:
    there the curvature is :math:`m = 2`. It is :math:`L = 2.5` where all pixels change alike.
    """
    x = torch.tensor([[[1.0, -1.0], [0.0, 0.0]]], dtype=torch.float64)
    halves = torch.full((2, 2, 2), 0.5, dtype=torch.float64)
    problem = Problem(0 * x[:, :1, :1], x, halves, 1 + 0 * x[0], 1.0, 0.0)

    return (
        problem,
        torch.tensor([[1.0, -1.0]], dtype=torch.float64),
        halves + torch.cat([x, -x]) / 2,
    )


def test_stages(begun: Start, unmixed: Unmixing) -> None:
    # Those of `unmix`, bit by bit
    refined = finish(begun, **WEIGHTS, alternations=TINY.alternations)
    assert unmixed.history == begun.history | refined.history
    assert torch.equal(unmixed.M, refined.M)
    assert torch.equal(unmixed.a_hr, refined.a)
    assert torch.equal(unmixed.gap, refined.gap)

    # It has moved
    assert (refined.a - begun.up.a).abs().max() > 1e-4


def test_begin_without_guide() -> None:
    # Too small to be brought down, hence to rehearse
    y = 0.1 + torch.rand(5, 1, 3)
    options = {"scale": 2, "mode": "self", "settings": TINY, "device": "cpu"}
    assert "objective" not in unmix(y, 2, **options).history

    begun = begin(y, 2, 2, settings=TINY, device="cpu")
    assert begun.up.a.shape == (2, 2, 6)
    assert begun.history["rehearsal.share"] == [0.0]

    with pytest.raises(ValueError, match="no dead pixel"):
        begin(0 * y, 2, 2, settings=TINY)


def test_pose(begun: Start) -> None:
    # What the accessible solve records of its steps
    problem, V, W = pose(begun, **WEIGHTS)
    moved = alternate(problem, V, W, iterations=5)
    recorded = finish(begun, **WEIGHTS, alternations=5).history["alternation"]
    total = float(energy(problem).sum())
    assert [F / total for F in moved.objective] == pytest.approx(recorded, rel=1e-12)

    # The target is what the network's abundances mix to
    assert begun.up.a.shape[1:] == problem.a.shape[1:] == (64, 64)
    torch.testing.assert_close(V @ W, problem.x, rtol=0, atol=1e-6)


def test_corners_stay() -> None:
    begun = begin(scenes.synthetic(16, 3, snr=30).image, 3, 2, settings=TINY, device="cpu")
    assert begun.found is None
    assert "alternation" not in finish(begun, **WEIGHTS, alternations=5).history
    _, V, W = pose(begun, **WEIGHTS)
    assert torch.equal(W, torch.eye(3).double())
    torch.testing.assert_close((V / V.norm(dim=0)).float(), begun.M)


def test_distances() -> None:
    # Of a swing, 1 - m / L = 0.2 is left in every step
    problem, M, best = swing()
    found = distances(problem, M, problem.a, best, iterations=5)
    assert found == pytest.approx([0.2**k for k in range(6)], rel=1e-12)


def test_envelopes() -> None:
    problem, M, _ = swing()
    bounds = envelopes(problem, M, 1.0, 6)

    k = torch.arange(1.0, 7.0, dtype=torch.float64)
    torch.testing.assert_close(bounds["plain"], 0.25 * 0.2 ** (2 * k - 2))
    torch.testing.assert_close(bounds["accelerated"], 5 / (k + 1) ** 2)


def test_descent() -> None:
    problem, M, _ = swing()
    plain = descent(problem, M, iterations=10)[:10]
    assert plain.method.eq("plain").all()
    assert plain.iteration.tolist() == list(range(1, 11))

    # What is too near to tell is left out
    assert plain.contraction.isna().tolist() == [0.2**k < 1e-4 for k in range(1, 11)]

    # F is the squared distance, the energy one, the gap twice as much as what is left
    plain = plain[:5]
    assert plain.left.tolist() == pytest.approx([0.04**k for k in range(1, 6)], rel=1e-6)
    assert plain.gap.tolist() == pytest.approx([2] * 5, rel=1e-6)
    assert plain.contraction.tolist() == pytest.approx([0.2] * 5, rel=1e-4)
    assert plain.bound.tolist() == pytest.approx([0.25 * 0.04**k for k in range(5)])


def test_descent_of_a_scene(begun: Start) -> None:
    problem, V, W = pose(begun, **WEIGHTS)
    table = descent(problem, V @ W, iterations=60)
    assert len(table) == 2 * 60

    # What is left is what `solve` has left
    least = solve(problem, V @ W, tolerance=1e-12).objective[-1]
    equal = torch.full_like(problem.a, 1 / 3)
    for method, run in table.groupby("method"):
        options = {"iterations": 60, "accelerated": method == "accelerated"}
        F = np.array(solve(problem, V @ W, equal, tolerance=0.0, **options).objective[1:])
        left = (F - least) / float(energy(problem).sum())
        np.testing.assert_allclose(run.left, left, rtol=0, atol=1e-12)
        assert (run.left <= run.bound).all()


def test_conditioning(begun: Start) -> None:
    problem, V, W = pose(begun, **WEIGHTS)
    crop = {"y": (4, 3), "a": (8, 6)}
    parts = {k: getattr(problem, k)[:, :h, :w] for k, (h, w) in crop.items()}
    problem, M = problem._replace(**parts, brightness=torch.ones(8, 6).double()), V @ W
    table = conditioning(problem, M, [0.01, 1.0], [0.0, 0.1], iterations=200)

    # Curvatures of the whole problem, written out as a matrix: LR pixels are means of four
    D = torch.kron(torch.eye(12), torch.full((4, 1), 0.25)).double()
    for row in table.itertuples():
        H = torch.kron(D @ D.mT + row.guidance * torch.eye(48).double(), M.mT @ M)
        H = H + row.mu * torch.eye(len(H)).double()
        tangent = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [0.0, -2.0]], dtype=torch.float64)
        T = torch.kron(torch.eye(48).double(), tangent / tangent.norm(dim=0))
        expected = torch.linalg.eigvalsh(H)[-1] / torch.linalg.eigvalsh(T.mT @ H @ T)[0]
        assert row.condition == pytest.approx(float(expected), rel=1e-9)

    # The better conditioned, the sooner
    assert table.groupby("mu").condition.max().is_monotonic_decreasing
    assert table.iterations[2] < table.iterations[0]
    assert table.reached.tolist() == (table.iterations < 200).tolist()
    assert not conditioning(problem, M, [1.0], [0.0], iterations=1).reached.any()


def test_accuracy(scene: Scene, begun: Start, unmixed: Unmixing) -> None:
    table, truth = accuracy(scene, begun, [TINY.mu, 1e9], TINY), reference(scene)
    assert table.mu.tolist() == [TINY.mu, 1e9]

    # After the solve, that of the result
    a, a_hr = unmixed.a, unmixed.a_hr
    assert table.hr[0] == pytest.approx(score(unmixed.M, a_hr, scene.M, truth)["armse"])
    assert table.lr[0] == pytest.approx(score(unmixed.M, a, scene.M, degrade(truth, 2))["armse"])

    # Before it, that of a solve in which nothing can move
    still = accuracy(scene, begun, [1e9], replace(TINY, alternations=0))
    assert still.hr[0] == pytest.approx(table.hr_before[0], rel=1e-6)
    assert still.lr[0] == pytest.approx(table.lr_before[0], rel=1e-6)
    assert table.hr[0] != pytest.approx(table.hr_before[0], rel=1e-5)
