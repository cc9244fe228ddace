r"""Tests for the smile_core.accessible module."""

import math
import numpy as np
import pytest
import torch

from itertools import pairwise
from scipy.optimize import lsq_linear, minimize
from torch import Tensor

from smile_core import accessible
from smile_core.accessible import (
    Alternation,
    Problem,
    alternate,
    energy,
    gaps,
    gradient,
    lipschitz,
    modulus,
    objective,
    solve,
)
from smile_core.mixing import fcls, gap, project_simplex

DOUBLE = {"dtype": torch.float64}


def simplices(*shape: int) -> Tensor:
    a = -torch.rand(*shape, **DOUBLE).log()
    return a / a.sum(dim=0)


def make_problem(
    R: int = 3,
    *,
    B: int = 6,
    h: int = 2,
    w: int = 3,
    scale: int = 2,
    guidance: float = 0.7,
    mu: float = 0.05,
    noise: float = 0.1,
) -> tuple[Problem, Tensor, Tensor]:
    r"""Makes a problem with noise, endmembers, and abundances to start from."""
    H, W = scale * h, scale * w
    M, rho = 0.1 + torch.rand(B, R, **DOUBLE), torch.randn(H, W, **DOUBLE).exp()
    x = torch.einsum("br,rhw->bhw", M, simplices(R, H, W))
    y = (x.flatten(1) @ write_operator(rho, scale)).reshape(B, h, w)
    y, x = (z + noise * torch.randn(z.shape, **DOUBLE) for z in (y, x))

    return Problem(y, x, simplices(R, H, W), rho, guidance, mu), M, simplices(R, H, W)


def write_operator(rho: Tensor, scale: int) -> Tensor:
    r"""Writes the operator out, pixel by pixel, with shape (H W, h w)."""
    H, W = rho.shape
    D = torch.zeros(H, W, H // scale, W // scale, **DOUBLE)
    for i in range(H):
        for j in range(W):
            D[i, j, i // scale, j // scale] = rho[i, j]
    D = D.reshape(H * W, -1)

    return D / D.sum(dim=0)


def write_objective(problem: Problem, M: Tensor, a: Tensor) -> Tensor:
    D, a = write_operator(problem.brightness, problem.scale), a.flatten(1)
    return (
        (problem.y.flatten(1) - M @ a @ D).square().sum()
        + problem.guidance * (problem.x.flatten(1) - M @ a).square().sum()
        + problem.mu * (a - problem.a.flatten(1)).square().sum()
    ) / 2


def write_hessian(problem: Problem, M: Tensor) -> Tensor:
    D = write_operator(problem.brightness, problem.scale)
    curved = D @ D.mT + problem.guidance * torch.eye(len(D), **DOUBLE)
    return torch.kron(M.mT @ M, curved) + problem.mu * torch.eye(M.shape[1] * len(D), **DOUBLE)


def solve_by_scipy(problem: Problem, M: Tensor) -> float:
    r"""Returns the least objective, by sequential quadratic programming."""
    R, N = M.shape[1], problem.brightness.numel()
    unit = float(write_objective(problem, M, problem.a))

    def fun(a: np.ndarray) -> tuple[float, np.ndarray]:
        leaf = torch.tensor(a.reshape(problem.a.shape), requires_grad=True)
        F = write_objective(problem, M, leaf) / unit
        return float(F.detach()), torch.autograd.grad(F, leaf)[0].numpy().ravel()

    found = minimize(
        fun,
        np.full(R * N, 1 / R),
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * (R * N),
        constraints={
            "type": "eq",
            "fun": lambda a: a.reshape(R, N).sum(axis=0) - 1,
            "jac": lambda a: np.tile(np.eye(N), R),
        },
        options={"ftol": 1e-15, "maxiter": 500},
    )
    assert found.success

    return unit * found.fun


def assert_in_simplex(a: Tensor) -> None:
    assert (a >= 0).all()
    torch.testing.assert_close(a.sum(dim=0), torch.ones_like(a[0]))


# Objective


@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize(("guidance", "mu"), [(0.0, 0.0), (0.7, 0.05), (3.0, 0.0)])
def test_objective(scale: int, guidance: float, mu: float) -> None:
    problem, M, a = make_problem(scale=scale, guidance=guidance, mu=mu)
    leaf = a.clone().requires_grad_()
    expected = write_objective(problem, M, leaf)

    assert problem.scale == scale
    torch.testing.assert_close(objective(problem, M, a), expected.detach())
    torch.testing.assert_close(
        gradient(problem, M, a), torch.autograd.grad(expected, leaf)[0], rtol=1e-9, atol=1e-12
    )

    # Without abundances nothing is explained, nor is anything near
    nothing = problem._replace(a=0 * a)
    torch.testing.assert_close(energy(problem).sum(), write_objective(nothing, M, 0 * a))


@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize("R", [2, 3, 5])
def test_constants(R: int, scale: int) -> None:
    problem, M, _ = make_problem(R, h=1, w=2, scale=scale)
    H = write_hessian(problem, M)

    torch.testing.assert_close(lipschitz(problem, M), torch.linalg.eigvalsh(H)[-1])

    # On changes that sum to zero in every pixel; what LR pixels see in addition is more
    N = problem.brightness.numel()
    tangent = torch.linalg.svd(torch.ones(1, R, **DOUBLE)).Vh[1:].mT.contiguous()
    basis = torch.kron(tangent, torch.eye(N, **DOUBLE))
    least = torch.linalg.eigvalsh(basis.mT @ H @ basis)[0]
    if scale > 1:
        torch.testing.assert_close(modulus(problem, M), least)
    else:
        assert problem.mu < modulus(problem, M) < least


def test_norm_of_operator() -> None:
    # Not that of the plain operator, which knows no brightness
    problem, M, _ = make_problem(guidance=0.0, mu=0.0)
    norms = [
        torch.linalg.matrix_norm(write_operator(rho, 2), 2) ** 2
        for rho in (problem.brightness, torch.ones_like(problem.brightness))
    ]
    found = lipschitz(problem, M) / torch.linalg.matrix_norm(M, 2) ** 2
    torch.testing.assert_close(found, norms[0])
    torch.testing.assert_close(norms[1], torch.tensor(0.25, **DOUBLE))
    assert norms[0] > 1.1 * norms[1]


def test_modulus_of_dependent_endmembers() -> None:
    problem, M, _ = make_problem(3, guidance=1.0, mu=0.0)

    # Affinely independent is enough: three in the plane, of linear rank two
    torch.testing.assert_close(
        modulus(problem, torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], **DOUBLE)),
        torch.tensor(1 / 3, **DOUBLE),  # along (-2, 1, 1)
    )

    # Far from zero, endmembers differ by little of what they are
    shifted = M + 1e3
    expected = modulus(problem, M)
    torch.testing.assert_close(modulus(problem, shifted), expected, rtol=1e-6, atol=0)

    # Repeated ones, and more than bands can hold
    for dependent in (M[:, [0, 0, 1]], M[:1], M[:, [0, 1, 1]]):
        assert modulus(problem, dependent) < 1e-15
    assert modulus(problem, M[:, :1]) == math.inf


# Given the endmembers


@pytest.mark.parametrize("accelerated", [True, False])
@pytest.mark.parametrize(("R", "scale"), [(2, 2), (3, 2), (3, 1), (4, 3)])
def test_solve(R: int, scale: int, accelerated: bool) -> None:
    problem, M, a = make_problem(R, h=1, w=2, scale=scale, noise=1.0)
    least = solve_by_scipy(problem, M)
    options = {"tolerance": 1e-9, "iterations": 20_000, "accelerated": accelerated}
    found = solve(problem, M, a, **options)

    assert_in_simplex(found.a)
    assert found.a.dtype == torch.float64
    assert (found.a == 0).any()
    assert float(write_objective(problem, M, found.a)) == pytest.approx(least, rel=1e-8)

    # What is recorded is that of the iterates
    assert found.gap[-1] <= 1e-9 * found.objective[-1]
    assert len(found.gap) == len(found.objective)
    for k in (0, 1, 4):
        early = solve(problem, M, a, **options | {"iterations": k}).a
        assert found.objective[k] == pytest.approx(float(write_objective(problem, M, early)))
        assert found.gap[k] == pytest.approx(float(gaps(problem, M, early).sum()), rel=1e-6)

    # The gap bounds what is left, all the way
    left = np.array(found.objective) - least
    assert (np.array(found.gap) >= left - 1e-9 * least).all()
    assert left[0] > 0.01 * least


@pytest.mark.parametrize("mu", [0.0, 0.1])
def test_solve_two_endmembers(mu: float) -> None:
    # With one free number in every pixel, between bounds: solved by an active set
    problem, M, a = make_problem(2, noise=0.3, mu=mu)
    D, d = write_operator(problem.brightness, 2), M[:, :1] - M[:, 1:]
    y, x = (z.flatten(1) - M[:, 1:] for z in (problem.y, problem.x))
    eye = torch.eye(24, **DOUBLE)
    rows = torch.kron(d, D.T.contiguous()), 0.7**0.5 * torch.kron(d, eye), (2 * mu) ** 0.5 * eye
    sides = y, 0.7**0.5 * x, (2 * mu) ** 0.5 * problem.a[0]
    system = torch.cat(rows).numpy(), torch.cat([side.flatten() for side in sides]).numpy()
    expected = lsq_linear(*system, (0, 1), method="bvls", tol=1e-14)

    found = solve(problem, M, a, tolerance=1e-14).a
    torch.testing.assert_close(found[0].flatten(), torch.from_numpy(expected.x), rtol=0, atol=1e-6)


def test_without_anything_else_is_constrained_least_squares() -> None:
    problem, M, a = make_problem(4, scale=1, guidance=0.0, mu=0.0, noise=0.3)
    found = solve(problem, M, a, tolerance=1e-12, iterations=20_000)

    best = fcls(problem.y, M)
    energies = problem.y.square().sum(dim=0) / 2
    assert (gap(found.a, problem.y, M) <= 1e-12 * energies.sum()).all()
    torch.testing.assert_close(found.a, best, rtol=0, atol=1e-6)
    torch.testing.assert_close(gaps(problem, M, a), gap(a, problem.y, M))
    assert found.objective[-1] == pytest.approx(
        float((problem.y.flatten(1) - M @ best.flatten(1)).square().sum()) / 2, rel=1e-12
    )


def test_stays_near() -> None:
    problem, M, a = make_problem()
    distances = []
    for mu in (0.0, 0.1, 1.0, 1e3, 1e9):
        found = solve(problem._replace(mu=mu), M, a, tolerance=1e-6).a
        distances.append(float((found - problem.a).norm()))
    assert all(nearer < farther for farther, nearer in pairwise(distances))
    assert distances[0] > 0.5
    assert distances[-1] < 1e-7

    # What one has to stay near may be out of reach
    far = problem._replace(a=3 * problem.a, mu=1e9)
    expected = project_simplex(far.a)
    torch.testing.assert_close(solve(far, M).a, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("unit", [1e-10, 1e-5, 1e5, 1e10])
def test_units(unit: float) -> None:
    problem, M, a = make_problem()
    scaled = problem._replace(y=unit * problem.y, x=unit * problem.x, mu=unit**2 * problem.mu)
    light = problem._replace(brightness=unit * problem.brightness)
    found = solve(problem, M, a)
    for other, E in ((scaled, unit * M), (light, M)):
        again = solve(other, E, a)
        torch.testing.assert_close(again.a, found.a, rtol=0, atol=1e-9)
        assert len(again.gap) == len(found.gap)


def test_start() -> None:
    problem, M, a = make_problem(noise=0.3)
    first = [solve(problem, M, *start, iterations=0).a for start in ((), (problem.a,))]
    assert torch.equal(*first)

    # In single precision abundances sum to one by chance only, and gaps would not be bounds
    rounded = solve(problem, M, a.float(), iterations=0)
    torch.testing.assert_close(
        rounded.a.sum(dim=0), torch.ones(4, 6, **DOUBLE), rtol=0, atol=1e-15
    )

    # At the optimum nothing is left to be done
    best = solve(problem, M, a, tolerance=1e-10)
    again = solve(problem, M, best.a, tolerance=1e-9)
    assert len(again.objective) == 1
    torch.testing.assert_close(again.a, best.a)

    # A perfect fit is found as well
    for guidance in (0.0, 0.7):
        exact, M, a = make_problem(noise=0.0, mu=0.0, guidance=guidance)
        found = solve(exact, M, a, tolerance=1e-12)
        assert len(found.gap) < 1000
        assert found.gap[-1] <= 1e-14 * float(energy(exact).sum())


def test_acceleration() -> None:
    # Endmembers that are alike make it slow
    problem, M, a = make_problem(h=1, w=2, guidance=0.1, mu=0.0)
    M = M.mean(dim=1, keepdim=True) + 0.5 * (M - M.mean(dim=1, keepdim=True))
    fast, slow = (
        solve(problem, M, a, tolerance=1e-6, iterations=20_000, accelerated=accelerated)
        for accelerated in (True, False)
    )
    assert fast.objective[-1] == pytest.approx(slow.objective[-1], rel=1e-6)
    assert len(fast.gap) < len(slow.gap) / 3

    # Plain steps never raise the objective
    assert all(after <= before * (1 + 1e-14) for before, after in pairwise(slow.objective))


# Endmembers as well


def joint(name: str) -> tuple[Problem, Tensor, Tensor]:
    shapes = {"typical": {}, "one endmember": {"R": 1}, "x3": {"scale": 3, "R": 4}}
    shapes |= {"one LR pixel": {"h": 1, "w": 1, "R": 2}, "no SR task": {"guidance": 0.0}}
    shapes |= {"nothing to stay near": {"mu": 0.0}, "perfect fit": {"noise": 0.0, "mu": 0.0}}
    problem, M, _ = make_problem(**shapes.get(name, {}))
    V = torch.cat([M, problem.x.flatten(1)], dim=1)
    W = simplices(V.shape[1], M.shape[1])
    if name == "repeated endmembers":
        W = W[:, [0, 0, 1]]
    if name == "one candidate":
        V, W = V[:, :1], torch.ones(1, 3, **DOUBLE)
    if name == "images out of reach":
        # From the best abundances, whose gradients then change much with the endmembers
        problem = problem._replace(y=100 * problem.y, x=100 * problem.x, mu=0.0)
        problem = problem._replace(a=solve(problem, V @ W).a)
    for unit in (1e-10, 1e10):
        if name == f"units of {unit:g}":
            V = unit * V
            problem = problem._replace(
                y=unit * problem.y, x=unit * problem.x, mu=unit**2 * problem.mu
            )

    return problem, V, W


FAMILIES = [
    "typical",
    "x3",
    "one endmember",
    "repeated endmembers",
    "one LR pixel",
    "one candidate",
    "no SR task",
    "nothing to stay near",
    "perfect fit",
    "images out of reach",
    "units of 1e-10",
    "units of 1e+10",
]


@pytest.mark.parametrize("name", FAMILIES)
def test_alternate(name: str) -> None:
    problem, V, W = joint(name)
    moved = alternate(problem, V, W, iterations=150)
    size = float(energy(problem).sum())
    F, predicted, subgradient, bound = (
        np.array(v) for v in (moved.objective, moved.predicted, moved.subgradient, moved.bound)
    )
    assert len(F) == 151
    assert {len(v) for v in (moved.predicted, moved.step, subgradient, bound)} == {150}

    # Both inequalities at every iteration
    assert (F[:-1] - F[1:] >= predicted - 1e-14 * size).all()
    assert (predicted >= 0).all()
    assert (subgradient <= bound + 1e-13 * size).all()
    assert F[-1] <= F[0]

    # What is recorded is where it leads
    assert_in_simplex(moved.W)
    assert_in_simplex(moved.a)
    assert F[-1] == pytest.approx(float(write_objective(problem, V @ moved.W, moved.a)))
    assert F[0] == pytest.approx(float(write_objective(problem, V @ W, problem.a)))


def test_alternate_moves_both() -> None:
    problem, V, W = joint("typical")
    moved = alternate(problem, V, W, iterations=500)
    alone = solve(problem, V @ W, tolerance=1e-8)

    assert (moved.W - W).norm() > 0.1
    assert (moved.a - problem.a).norm() > 0.1
    assert moved.objective[-1] < 0.9 * alone.objective[-1]

    # Monotone, and the steps become shorter
    assert all(after <= before * (1 + 1e-14) for before, after in pairwise(moved.objective))
    first, second = np.square(moved.step).reshape(2, -1).sum(axis=1)
    assert second < first / 2


def step_by_autograd(
    problem: Problem, V: Tensor, W: Tensor, a: Tensor
) -> tuple[Tensor, Tensor, float, float]:
    r"""Takes one alternating step; returns what it predicts, and the norm of the subgradient."""
    a, W = (z.clone().requires_grad_() for z in (a, W))
    D = write_operator(problem.brightness, problem.scale)

    def grad(W: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        return torch.autograd.grad(write_objective(problem, V @ W, a), (W, a))

    L_a = torch.linalg.eigvalsh(write_hessian(problem, (V @ W).detach()))[-1]
    a_ = project_simplex(a - 0.95 / L_a * grad(W, a)[1]).detach().requires_grad_()
    A = a_.detach().flatten(1)
    K = A @ (D @ D.mT + problem.guidance * torch.eye(len(D))) @ A.mT
    L_w = torch.linalg.eigvalsh(torch.kron(V.mT @ V, K))[-1]
    W_ = project_simplex(W - 0.95 / L_w * grad(W, a_)[0]).detach().requires_grad_()

    # What the projections left over are normals of the simplices
    normal_a = (a - a_) * L_a / 0.95 - grad(W, a)[1]
    normal_w = (W - W_) * L_w / 0.95 - grad(W, a_)[0]
    xi_w, xi_a = grad(W_, a_)
    xi = torch.cat([(xi_w + normal_w).flatten(), (xi_a + normal_a).flatten()]).norm().detach()
    steps = (L_a * (a_ - a).square().sum() + L_w * (W_ - W).square().sum()).detach()

    return W_.detach(), a_.detach(), float((1 / 0.95 - 1) / 2 * steps), float(xi)


@pytest.mark.parametrize("name", ["typical", "x3", "no SR task"])
def test_alternate_step_by_step(name: str) -> None:
    problem, V, W = joint(name)
    moved, a, W_ = alternate(problem, V, W, iterations=3), problem.a, W
    for k in range(3):
        before = torch.cat([W_.flatten(), a.flatten()])
        W_, a, predicted, subgradient = step_by_autograd(problem, V, W_, a)
        length = (torch.cat([W_.flatten(), a.flatten()]) - before).norm()
        assert moved.predicted[k] == pytest.approx(predicted)
        assert moved.subgradient[k] == pytest.approx(subgradient)
        assert moved.step[k] == pytest.approx(float(length))
    torch.testing.assert_close(moved.W, W_)
    torch.testing.assert_close(moved.a, a)


def test_alternate_settles_at_a_critical_point() -> None:
    problem, _, W = joint("one LR pixel")
    V = torch.randn(6, len(W), **DOUBLE)
    moved = alternate(problem, V, W, iterations=1000)

    # Neither factor can be improved, the other one given: two certificates
    M, size = V @ moved.W, float(energy(problem).sum())
    assert gaps(problem, M, moved.a).sum() < 1e-6 * size
    leaf = moved.W.clone().requires_grad_()
    g = torch.autograd.grad(write_objective(problem, V @ leaf, moved.a), leaf)[0]
    assert ((g * moved.W).sum(dim=0) - g.amin(dim=0)).sum() < 1e-6 * size


@pytest.mark.parametrize(("safety", "monotone"), [(0.95, True), (1.9, True), (2.5, False)])
def test_steps_beyond_twice_the_inverse(
    safety: float, monotone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two opposite endmembers, curved alike: a step is off by the factor 1 - safety
    monkeypatch.setattr(accessible, "SAFETY", safety)
    ones = torch.ones(1, 2, 2, **DOUBLE)
    a = torch.cat([0.51 * ones, 0.49 * ones])
    problem = Problem(0 * ones[:, :1, :1], 0 * ones, a, ones[0], 1.0, 0.0)
    V = torch.tensor([[1.0, -1.0]], **DOUBLE)
    moved = alternate(problem, V, torch.eye(2, **DOUBLE), iterations=1)

    off = (1 - safety) * 0.01
    torch.testing.assert_close(moved.a[0], (0.5 + off) * ones[0])
    assert (objective(problem, V, moved.a) < objective(problem, V, a)) == monotone


def test_target_of_mixtures() -> None:
    r"""Tests that endmembers stand for their mixtures with the abundances to stay near."""
    problem, M, a = make_problem()
    N = 0.1 + torch.rand(*M.shape, **DOUBLE)
    short = problem._replace(x=N)
    written = problem._replace(x=torch.einsum("br,rhw->bhw", N, problem.a))

    for f in (objective, gradient, gaps):
        torch.testing.assert_close(f(short, M, a), f(written, M, a))
    torch.testing.assert_close(energy(short), energy(written))
    W = torch.eye(3, **DOUBLE)
    one, other = (alternate(p, M, W, a, iterations=5) for p in (short, written))
    torch.testing.assert_close(one.a, other.a)
    assert one.bound == pytest.approx(other.bound)


# Bad input


def nan(z: Tensor) -> Tensor:
    z = z.clone()
    z.view(-1)[3] = float("nan")
    return z


def test_bad_problem() -> None:
    problem, M, a = make_problem()
    y, x, rho = problem.y, problem.x, problem.brightness
    for change, match in (
        ({"y": y[:, :, :-1]}, "The target x should have shape"),
        ({"y": y[:-1]}, r"The target x should have shape \(5, 4, 6\), got \(6, 4, 6\)"),
        ({"y": y[0]}, "should have 3, 3 or 2, 3 and 2 dimensions"),
        ({"x": x[:, :-1]}, "The target x should have shape"),
        ({"x": x[:, 0, :2]}, r"The target x should have shape \(6, 3\), got \(6, 2\)"),
        ({"a": problem.a[:, :-1]}, "The abundances to stay near should have shape"),
        ({"brightness": rho[None]}, "The brightness should have shape"),
        ({"y": nan(y)}, "The image y should be finite"),
        ({"x": nan(x)}, "The target x should be finite"),
        ({"a": nan(problem.a)}, "The abundances to stay near should be finite"),
        ({"brightness": nan(rho)}, "The brightness should be finite"),
        ({"brightness": rho - rho.min()}, "The brightness should be positive everywhere"),
        ({"brightness": -rho}, "The brightness should be positive everywhere"),
        ({"guidance": -1.0}, "finite and not negative, got guidance=-1.0"),
        ({"guidance": math.nan}, "finite and not negative, got guidance=nan"),
        ({"mu": -1.0}, "finite and not negative, got .* mu=-1.0"),
        ({"mu": math.inf}, "finite and not negative, got .* mu=inf"),
    ):
        bad = problem._replace(**change)
        with pytest.raises(ValueError, match=match):
            solve(bad, M, a)
        with pytest.raises(ValueError, match=match):
            alternate(bad, M, torch.eye(3, **DOUBLE), a)


def test_bad_arguments() -> None:
    problem, M, a = make_problem()
    eye = torch.eye(3, **DOUBLE)
    for E, start, match in (
        (M[:-1], a, r"The endmembers should have shape \(6, 3\)"),
        (M[:, :2], a, "abundances to stay near should have shape"),
        (nan(M), a, "The endmembers should be finite"),
        (M, a[:-1], r"The abundances should have shape \(3, 4, 6\)"),
        (M, nan(a), "The abundances should be finite"),
    ):
        with pytest.raises(ValueError, match=match):
            solve(problem, E, start)
        with pytest.raises(ValueError, match=match):
            alternate(problem, E, torch.eye(E.shape[1], **DOUBLE), start)
    with pytest.raises(ValueError, match="a row for each of the 3 candidates"):
        alternate(problem, M, eye[:2], a)
    with pytest.raises(ValueError, match="The endmembers should be finite"):
        alternate(problem, M, nan(eye), a)


def test_inputs_stay_as_they_are() -> None:
    problem, M, a = make_problem()
    W = simplices(3, 3)
    inputs = [problem.y, problem.x, problem.a, problem.brightness, M, a, W]
    before = [z.clone() for z in inputs]
    solve(problem, M, a, iterations=20)
    moved = alternate(problem, M, W, a, iterations=20)
    assert all(torch.equal(z, copy) for z, copy in zip(inputs, before, strict=True))

    # The same at every call
    again = alternate(problem, M, W, a, iterations=20)
    assert isinstance(again, Alternation)
    assert torch.equal(again.a, moved.a)
    assert again.objective == moved.objective
