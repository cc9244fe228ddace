r"""Tests for the smile_core.theorems.existence module."""

import math
import pytest
import torch

from torch import Tensor

from smile_core.theorems.blending import estimate
from smile_core.theorems.existence import (
    Tasks,
    affinity,
    affinity_identity,
    consistency_alone,
    gated,
    guided_step,
    guided_step_identity,
    joint_weight,
    largest_step,
    make_tasks,
    slacks,
    violating,
)
from smile_core.theorems.families import Instance, degenerate, instance, scaled, typical
from smile_core.theorems.slack import OutsideHypotheses

FAMILIES = {"typical": typical(), "scaled": scaled(), "degenerate": degenerate()}
SCENES = {
    f"{f}: {name}": scene for f, scenes in FAMILIES.items() for name, scene in scenes.items()
}

# The reason that each violation is refused for
VIOLATIONS = {
    "target against the image": "contradicts the image",
    "gradients in M": "not those in the abundances",
    "gradients in softmax logits": "not those in the abundances",
    "gradients in network weights": "not those in the abundances",
    "brightness in the loss, plain D": "not those in the abundances",
    "step beyond 2 / ||M||^2": "step is not in",
    "projection on the simplex": "projected on the simplex",
    "inconsistent target, finite step": "not consistent",
    "inconsistent target, identity": "not consistent",
    "M of deficient rank": "full column rank",
    "weight beyond lambda_bar": "between 0 and lambda_bar",
    "SR amplifies, c > v_u": "c >= v_u",
    "unmixing without error, v_u = 0": "c >= v_u",
    "simplex, closed form": "constrained to the simplex",
    "simplex, c < v_u": "constrained to the simplex",
    "simplex, c > v_u": "constrained to the simplex",
    "SR copies less than all, c < v_u": "c < v_u",
    "overlapping LR pixels": "in two LR pixels",
    "target that denoises": "not consistent",
    "no gate": "opposes that of unmixing",
}

scenes = pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES.keys())


def rows(*values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def solve_jointly(tasks: Tasks, weight: float) -> Tensor:
    r"""Minimises L_u + weight L_s over all HR abundances at once, as one system of equations."""
    M, A, X_s, D, Y = tasks
    eye = torch.eye(len(D), dtype=D.dtype)
    system = torch.cat([torch.kron(M, D.mT.contiguous()), weight**0.5 * torch.kron(M, eye)])
    target = torch.cat([Y.flatten(), weight**0.5 * X_s.flatten()])

    return torch.linalg.lstsq(system, target[:, None]).solution.view_as(A)


# All statements


@scenes
def test_slacks(scene: Instance) -> None:
    values = slacks(scene)
    assert {label: value for label, value in values.items() if value < -1e-12} == {}

    # What is left out is what the hypotheses exclude
    full = int(torch.linalg.matrix_rank(scene.M)) == scene.M.shape[1]
    apart = bool(((scene.D > 0).sum(dim=1) == 1).all())
    assert len(values) == 7 + 6 * full + (full and apart)
    if not full:
        with pytest.raises(OutsideHypotheses, match="full column rank"):
            consistency_alone(make_tasks(scene), 0.5)


@pytest.mark.parametrize("name", VIOLATIONS)
def test_violating(name: str) -> None:
    case = violating()[name]
    assert case() < -0.01

    with pytest.raises(OutsideHypotheses, match=VIOLATIONS[name]):
        case(require=True)


def test_violations_are_all() -> None:
    assert violating().keys() == VIOLATIONS.keys()


# 2.1 and 2.2: both tasks


@scenes
def test_gradients(scene: Instance) -> None:
    tasks = make_tasks(scene, conflict=0.4)
    A = tasks.A.clone().requires_grad_()
    sr = (tasks.X_s - tasks.M @ A).square().sum() / 2
    expected = [torch.autograd.grad(loss, A)[0] for loss in (tasks.loss(A), sr)]
    for gradient, g in zip(tasks.gradients, expected, strict=True):
        torch.testing.assert_close(gradient, g, rtol=1e-9, atol=1e-12 * float(g.norm()))

    u, s = (g / g.norm() for g in expected)
    cosine = (u * s).sum()
    through = (tasks.A, lambda A: tasks.M @ A)
    for value in (affinity(tasks), affinity(tasks, through, require=False)):
        torch.testing.assert_close(value, cosine, rtol=1e-9, atol=0)


@pytest.mark.parametrize("seed", range(50))
def test_affinity(seed: int) -> None:
    R, scale = 1 + seed % 5, 2 + seed % 3
    scene = instance(seed, B=6, R=R, rows=2 * scale, cols=3 * scale, scale=scale)
    tasks = make_tasks(scene, seed)

    # In any direction, M' delta may be as long as G; longer, against G, it turns the sign
    M = torch.linalg.pinv(tasks.M.mT)
    other = torch.randn(tasks.pull.shape, dtype=torch.float64)
    for direction in (other, -tasks.pull):
        ratio = float(tasks.pull.norm() / direction.norm())
        torn = tasks._replace(Y=tasks.Y + 0.999 * ratio * M @ direction)
        assert affinity(torn) > 0
        assert affinity_identity(torn) > -1e-12
    against = tasks._replace(Y=tasks.Y - 1.001 * M @ tasks.pull)
    assert affinity(against, require=False) < 0
    with pytest.raises(OutsideHypotheses, match="contradicts"):
        affinity(against)


@scenes
def test_steps(scene: Instance) -> None:
    # The longest step is no longer where the residual is the first singular vector of M
    tasks = make_tasks(scene)
    left, size, _ = torch.linalg.svd(tasks.M)
    X_s = tasks.M @ tasks.A + float(size[0]) * left[:, :1]
    worst = tasks._replace(X_s=X_s, Y=X_s @ tasks.D)
    limit = 2 / float(size[0]) ** 2
    torch.testing.assert_close(largest_step(worst), torch.tensor(limit, dtype=torch.float64))
    assert abs(guided_step(worst, limit)) < 1e-9
    assert guided_step(worst, 0.99 * limit) > 0.01
    assert guided_step(worst, 1.01 * limit, require=False) < -0.01

    # Of any target, the loss is the same again after the largest step
    for conflict in (0.0, 0.7):
        tasks = make_tasks(scene, conflict=conflict)
        step, g = largest_step(tasks), tasks.gradients[1]
        before = tasks.loss(tasks.A)
        torch.testing.assert_close(tasks.loss(tasks.A - step * g), before, rtol=1e-9, atol=0)
        assert tasks.loss(tasks.A - 0.9 * step * g) < before
        assert tasks.loss(tasks.A - 1.1 * step * g) > before
        assert conflict or step >= (1 - 1e-12) * limit
    assert largest_step(make_tasks(scene, conflict=1.5)) == 0


def test_consistency_is_what_endmembers_see() -> None:
    # An inconsistency that M is orthogonal to does no harm, though X_s D is not Y
    tasks = make_tasks(instance(1))
    noise = torch.randn(tasks.Y.shape, dtype=torch.float64)
    tasks = tasks._replace(Y=tasks.Y + noise - tasks.M @ (torch.linalg.pinv(tasks.M) @ noise))
    step = 1 / float(torch.linalg.matrix_norm(tasks.M, 2)) ** 2

    assert (tasks.Y - tasks.X_s @ tasks.D).norm() > 0.1
    assert affinity(tasks) > 0
    assert guided_step(tasks, step) > 0
    assert guided_step_identity(tasks, step) > -1e-12
    assert consistency_alone(tasks, 0.5) > -1e-12


def test_at_the_truth() -> None:
    # Where all is zero but for rounding, nothing is made of it
    scene = instance(3)
    X = scene.M @ scene.A
    A = scene.A + 1e-16 * torch.randn_like(scene.A)
    tasks = Tasks(scene.M, A, X, scene.D_rho, X @ scene.D_rho)
    assert 0 < tasks.loss(A) < 1e-28
    step = 1 / float(torch.linalg.matrix_norm(scene.M, 2)) ** 2
    for value in (affinity_identity(tasks), affinity(tasks), guided_step(tasks, step)):
        assert abs(value) < 1e-12


def test_examples_by_hand() -> None:
    cases = violating()

    # Gradients of the endmembers: (-0.075, -0.025) at LR and (0.4, -0.6) at HR, but for the sign
    expected = -0.015 / math.sqrt((0.075**2 + 0.025**2) * (0.4**2 + 0.6**2))
    assert float(cases["gradients in M"]()) == pytest.approx(expected)

    # One weight: the gradients point in opposite directions
    assert float(cases["gradients in network weights"]()) == pytest.approx(-1)

    # Before projection the LR pixel is (0.75, 0.25), after it (0.525, 0.475), it should be (1, 0)
    assert float(cases["projection on the simplex"]()) == pytest.approx(1 - 0.475**2 / 0.25**2)

    # From 1 to -1.7
    assert float(cases["inconsistent target, finite step"]()) == pytest.approx(1 - 1.7**2)
    far = Tasks(rows([1]), rows([1]), rows([-2]), rows([1]), rows([0]))
    assert float(affinity(far)) == 1
    assert float(largest_step(far)) == pytest.approx(2 / 3)


def test_gated() -> None:
    u, s = rows([1, 0]), rows([-1, 1])

    # Dropped where it opposes, kept where it does not
    assert gated(u, s) == 0
    assert float(gated(u, -s)) == pytest.approx(1 / (1 + math.sqrt(2)))
    assert float(gated(u, s, gate=False, require=False)) == pytest.approx(-1 / (1 + math.sqrt(2)))


# 2.3 and 2.4: the joint problem


@pytest.mark.parametrize("contrast", [0.0, 1.0])
@pytest.mark.parametrize("weight", [0.05, 1.0])
def test_joint_weight(contrast: float, weight: float) -> None:
    scene = instance(3, rows=4, cols=6, contrast=contrast)
    tasks = make_tasks(scene, conflict=0.8)
    assert joint_weight(tasks, weight) > -1e-12

    # Without that formula
    a = solve_jointly(tasks, weight) @ tasks.D
    a_u, a_s = (torch.linalg.pinv(tasks.M) @ y for y in (tasks.Y, tasks.X_s @ tasks.D))
    ratio = ((a - a_u) / (a_s - a)).mean(dim=0) / weight
    torch.testing.assert_close((a - a_u), weight * ratio * (a_s - a))
    if contrast == 0:
        torch.testing.assert_close(ratio, torch.full_like(ratio, 4))
    else:
        # Bright pixels count for more, so that fewer of them count
        assert ratio.min() > 1
        assert ratio.max() < 4
        assert ratio.max() - ratio.min() > 0.5


@pytest.mark.parametrize("psf", ["block", "gaussian"])
def test_consistency_alone(psf: str) -> None:
    tasks = make_tasks(instance(4, rows=4, cols=6, psf=psf))
    a_u = torch.linalg.pinv(tasks.M) @ tasks.Y
    for weight in (0.01, 1.0, 100.0):
        A = solve_jointly(tasks, weight)
        torch.testing.assert_close(A @ tasks.D, a_u, rtol=1e-9, atol=1e-9)
        assert consistency_alone(tasks, weight) > -1e-12

        # It is the SR task that decides on the HR abundances, alone and with any weight
        torch.testing.assert_close(A, torch.linalg.pinv(tasks.M) @ tasks.X_s, rtol=0, atol=1e-9)


def test_constraints_change_what_consistency_does_not() -> None:
    # Consistent, but outside of the simplex: constrained, the LR pixel moves from (1, 0) away
    tasks = violating()["projection on the simplex"].args[0]
    assert consistency_alone(tasks, 1.0) > -1e-12
    pixels = estimate(tasks.M, tasks.X_s, tasks.X_s, 0, simplex=True)
    low = estimate(tasks.M, tasks.Y, tasks.Y, 0, simplex=True)
    torch.testing.assert_close(low, rows([1], [0]), rtol=0, atol=1e-13)  # as exact as the solve
    torch.testing.assert_close(pixels @ tasks.D, rows([0.5], [0.5]))


# Bad input


def test_bad_input() -> None:
    tasks = make_tasks(instance(0))

    with pytest.raises(ValueError, match=r"Y should have shape \(8, 16\), got \(8, 1\)"):
        affinity(tasks._replace(Y=tasks.Y[:, :1]), require=False)
    with pytest.raises(ValueError, match="X_s should be finite, got 1"):
        X_s = tasks.X_s.clone()
        X_s[0, 0] = math.nan
        guided_step(tasks._replace(X_s=X_s), 0.1, require=False)
    with pytest.raises(ValueError, match="finite"):
        guided_step(tasks, math.nan, require=False)
    with pytest.raises(OutsideHypotheses, match="not positive"):
        joint_weight(tasks, 0.0)
