r"""Tests for the smile_core.theorems.accessibility module, with its truth and convergence."""

import itertools
import math
import numpy as np
import pytest
import torch

from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from torch import Tensor

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
from smile_core.degradation import degrade
from smile_core.mixing import project_simplex
from smile_core.theorems import accessibility, convergence, truth
from smile_core.theorems.accessibility import (
    bounded_change,
    certificate,
    contraction,
    envelope,
    slacks,
    strong_convexity,
    twin,
    twins,
    unique,
    violating,
)
from smile_core.theorems.convergence import convex_descent, descent, subgradients, summable
from smile_core.theorems.families import Instance, degenerate, instance, scaled, typical
from smile_core.theorems.problems import draw, hidden, make_problem, opposite, slowest
from smile_core.theorems.slack import ROUNDING, OutsideHypotheses
from smile_core.theorems.truth import accessible, mosaic, near_truth, nearer

FAMILIES = {**typical(), **scaled(), **degenerate()}
VIOLATING = violating()
LABELS = set(slacks(FAMILIES["plain"]))
EVERY = settings(deadline=None, derandomize=True, max_examples=40)
BLOCKS = {name: scene for name, scene in FAMILIES.items() if name != "gaussian"}

families = pytest.mark.parametrize("scene", FAMILIES.values(), ids=FAMILIES)
blocks = pytest.mark.parametrize("scene", BLOCKS.values(), ids=BLOCKS)


def tensor(*values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@st.composite
def problems(draw_: st.DrawFn) -> tuple[Problem, Tensor, Tensor, Tensor]:
    r"""Draws problems, their endmembers, and two points of the simplex, some on its faces."""
    R, s, h, w = (draw_(st.integers(*limits)) for limits in ((2, 5), (1, 3), (1, 2), (1, 3)))
    generator = torch.Generator().manual_seed(draw_(st.integers(0, 10_000)))

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    spread, size = (10.0 ** draw_(st.integers(-3, 3)) for _ in range(2))
    M, shape = size * randn(draw_(st.integers(1, 6)), R), (R, s * h, s * w)
    a, b, near = (project_simplex(draw_(st.sampled_from([0.1, 3])) * randn(*shape)) for _ in "abc")
    problem = Problem(
        size * randn(len(M), h, w),
        size * randn(len(M), *shape[1:]),
        near,
        (math.log(1 + spread) * randn(*shape[1:])).exp(),
        draw_(st.just(0.0) | st.floats(1e-3, 1e3)),
        size**2 * draw_(st.just(0.0) | st.floats(1e-3, 1e3)),
    )

    return problem, M, a, b


def left_out(scene: Instance) -> set[str]:
    found, R = set(), scene.M.shape[1]
    tangent = scene.M[:, 1:] - scene.M[:, :1]
    dependent = torch.linalg.matrix_rank(tangent / scene.M.norm()) < R - 1
    pure = bool((scene.A.amax(dim=1) == 1).all())
    if scene is FAMILIES["gaussian"]:
        found |= {label for label in LABELS if not label.startswith("3.4")}
    if R == 1:
        found |= {
            "3.2 strong convexity",
            "3.2 unique",
            "3.2 contraction",
            "3.2 contraction, to the optimum",
            "3.2 twins without SR",
        }
    if dependent:
        found |= {"3.2 unique", "3.4 near zero, near truth"}
    if not pure:
        found |= {"3.4 truth is a zero", "3.4 near zero, near truth"}

    return found


# All statements


@families
def test_statements_hold(scene: Instance) -> None:
    found = slacks(scene)
    assert {label: value for label, value in found.items() if not value >= -ROUNDING} == {}

    # None is left out but for its hypotheses
    assert len(LABELS) == 16
    assert LABELS - set(found) == left_out(scene)


@pytest.mark.parametrize("name", VIOLATING)
def test_statements_fail(name: str) -> None:
    statement, args = VIOLATING[name]
    with pytest.raises(OutsideHypotheses, match=r"Outside of the hypotheses: .+"):
        statement(*args)
    assert statement(*args, require=False) < -1e-4


def test_every_statement_fails_somewhere() -> None:
    statements = {getattr(case, "func", case).__name__ for case, _ in VIOLATING.values()}
    stated = {*accessibility.__all__, *convergence.__all__, *truth.__all__}
    stated -= {"slacks", "slacks_of_solver", "violating", "twin", "accessible", "mosaic"}
    assert stated == statements


@EVERY
@given(drawn=problems(), step=st.floats(1e-3, 1))
def test_statements_hold_for_all(
    drawn: tuple[Problem, Tensor, Tensor, Tensor], step: float
) -> None:
    problem, M, a, b = drawn
    tau = step / lipschitz(problem, M)
    assert strong_convexity(problem, M, a, b) >= -ROUNDING
    assert certificate(problem, M, a, b) >= -ROUNDING
    assert contraction(problem, M, a, b, tau) >= -ROUNDING
    assert envelope(problem, M, a, b, tau, iterations=10) >= -1e-9
    if modulus(problem, M) > ROUNDING * lipschitz(problem, M):
        assert unique(problem, M, a, b) >= -ROUNDING
    if problem.mu == 0:
        W, W_ = (draw(M.shape[1], 3, seed=seed) for seed in (0, 1))
        three = problem._replace(a=problem.a[[0, 0, 0]])
        points = [(w, draw(3, *a.shape[1:], seed=k)) for k, w in enumerate((W, W_))]
        assert bounded_change(three, M, *points) >= -ROUNDING


@pytest.mark.parametrize("seed", range(5))
def test_alternation_holds_for_all(seed: int) -> None:
    scene = instance(seed, R=2 + seed, scale=(2, 4)[seed % 2])
    problem = make_problem(scene, seed, guidance=(0.0, 1.0, 30.0)[seed % 3], mu=0.1 * (seed % 2))
    V, W = scene.M @ scene.A, draw(64, 2 + seed, seed=seed)
    moved = alternate(problem, V, W, iterations=500)
    found = convergence.slacks(problem, moved)
    assert {label: value for label, value in found.items() if not value >= -ROUNDING} == {}

    # Monotone to float precision
    F = np.array(moved.objective)
    assert (F[1:] <= F[:-1] * (1 + 1e-15) + 1e-15 * float(energy(problem).sum())).all()


def test_bad_inputs() -> None:
    scene = FAMILIES["plain"]
    problem, M = make_problem(scene), scene.M
    a, b = (draw(*problem.a.shape, seed=seed) for seed in (1, 2))
    hole = torch.full_like(a, math.nan)
    for statement in (strong_convexity, unique, certificate, contraction, envelope):
        for args in ((M, hole, b), (M, a, b[:, :-1]), (M[:, :2], a, b), (math.nan * M, a, b)):
            for require in (True, False):
                with pytest.raises(ValueError, match="should") as caught:
                    statement(problem, *args, require=require)
                assert not isinstance(caught.value, OutsideHypotheses)

    V, W, eye = M @ scene.A, draw(64, 3, seed=0), torch.eye(3).double()
    with pytest.raises(ValueError, match="should be finite"):
        bounded_change(problem, V, (math.nan * W, a), (W, a))
    with pytest.raises(ValueError, match="should be finite"):
        twins(problem, M, hole)
    for args in ((V[:-1], W, scene.A), (V, W[:-1], scene.A), (V, W[:, :2], scene.A)):
        with pytest.raises(ValueError, match="The candidates, weights and abundances should"):
            near_truth(scene, *args, require=False)
    with pytest.raises(ValueError, match=r"should have shape \(B, R\) with R = 3"):
        nearer(scene._replace(M=M[:, :2]))
    with pytest.raises(ValueError, match="The M should be finite"):
        truth.truth(scene._replace(M=math.nan * M))
    with pytest.raises(ValueError, match="The W should be finite"):
        near_truth(scene, M, math.nan * eye, scene.A)


# Problems


@blocks
def test_make_problem(scene: Instance) -> None:
    # Images of the pixels in columns, where the matrix of the operator is the one of images
    problem = make_problem(scene, noise=0.0)
    X = scene.M @ scene.A
    x, rho = problem.x, problem.brightness
    assert torch.equal(x.flatten(1), X)
    assert torch.equal(rho.flatten(), scene.rho)
    for y in (problem.y, degrade(x, scene.scale, brightness=rho[None])):
        torch.testing.assert_close(y.flatten(1), X @ scene.D_rho)


def test_make_problem_needs_block_means() -> None:
    with pytest.raises(OutsideHypotheses, match="no block means"):
        make_problem(FAMILIES["gaussian"])


@blocks
def test_hidden(scene: Instance) -> None:
    z = hidden(make_problem(scene))
    assert float(z.norm()) == pytest.approx(1)
    assert (z.flatten() @ scene.D_rho).abs().max() < 1e-15


# Given the endmembers


def test_curvature_is_attained() -> None:
    # Least along the slowest change, for affinely independent endmembers of deficient rank too
    for M in (FAMILIES["plain"].M, tensor([0, 1, 0], [0, 0, 1])):
        problem = make_problem(FAMILIES["plain"]._replace(M=M), guidance=0.3, mu=0.01)
        a, m = torch.full_like(problem.a, 1 / 3), modulus(problem, M)
        b = a + 0.1 * slowest(problem, M)
        assert strong_convexity(problem, M, a, b) == pytest.approx(0, abs=1e-12)
        turn = (gradient(problem, M, b) - gradient(problem, M, a)).norm() / (b - a).norm()
        assert m > 0.01 * 0.01
        assert turn >= m


def test_unique_is_attained() -> None:
    # Of one pixel with two orthogonal endmembers, half the gap is what the square needs
    ones = torch.ones(1, 1, 1).double()
    M, near = tensor([1, 0], [0, 1]), torch.cat([ones, ones]) / 2
    problem = Problem(
        torch.cat([ones, 0 * ones]), torch.cat([ones, 0 * ones]), near, ones[0], 1.0, 0.0
    )
    best, other = torch.cat([ones, 0 * ones]), torch.cat([0.6 * ones, 0.4 * ones])
    assert float(gaps(problem, M, best).sum()) == 0
    # Its gap is 2 <(-0.4, 0.4), (-0.4, 0.4)> = 0.64, the modulus 1: 0.4 sqrt 2 <= sqrt 1.28
    assert unique(problem, M, best, other) == pytest.approx(math.sqrt(1.28) - 0.4 * math.sqrt(2))


@pytest.mark.parametrize("name", ["plain", "bright and dark", "x4", "endmembers x 1e-10"])
def test_contraction_of_the_solver(name: str) -> None:
    # The observed ratio never exceeds the predicted one, step by step, on the way to an optimum
    # that is known: the gradient there presses on the faces of the simplex
    scene = FAMILIES[name]
    problem = make_problem(scene, guidance=0.5, mu=0.01)
    M, best = scene.M, draw(*problem.a.shape, seed=5)
    best = project_simplex(best + 0.3 * (best - best.mean(dim=0)))
    pressed = torch.where(best == 0, 0.1 * problem.mu, 0.0).double()
    problem = problem._replace(
        a=best + (gradient(problem._replace(a=best), M, best) - pressed) / problem.mu
    )
    assert (best == 0).any()
    assert gaps(problem, M, best).sum() < 1e-12 * energy(problem).sum()

    rate, a = 1 - modulus(problem, M) / lipschitz(problem, M), draw(*problem.a.shape, seed=6)
    for _ in range(30):
        before = (a - best).norm()
        a = solve(problem, M, a, iterations=1, tolerance=0, accelerated=False).a
        assert (a - best).norm() <= rate * before + 1e-13
    assert contraction(problem, M, a, best) >= 0


@pytest.mark.parametrize(("guidance", "mu"), [(1.0, 0.0), (0.1, 0.0), (1.0, 0.1), (0.0, 0.1)])
def test_contraction_is_attained(guidance: float, mu: float) -> None:
    # An optimum inside of the simplex, and an error along the slowest change
    scene = FAMILIES["bright and dark"]
    problem, M = make_problem(scene, guidance=guidance, mu=mu, noise=0.0), scene.M
    best = draw(*problem.a.shape, seed=3) / 2 + 1 / 6
    x = torch.einsum("br,rhw->bhw", M, best)
    y = degrade(x, 2, brightness=problem.brightness[None])
    problem = problem._replace(x=x, y=y, a=best)
    a = best + 0.05 * slowest(problem, M)

    rate, ratios = 1 - modulus(problem, M) / lipschitz(problem, M), []
    for _ in range(20):
        before = (a - best).norm()
        a = solve(problem, M, a, iterations=1, tolerance=0, accelerated=False).a
        ratios.append(float((a - best).norm() / before))
    assert ratios == pytest.approx([float(rate)] * 20, rel=1e-9)
    # Of the part that is gained, not only of what is left
    assert [1 - r for r in ratios] == pytest.approx([1 - float(rate)] * 20, rel=0.05)


def test_envelope_is_that_of_the_solver() -> None:
    # Before its first restart, the accelerated solver is the one that the envelope is proved for
    scene = FAMILIES["x4"]
    problem, M = make_problem(scene, guidance=0.1), scene.M
    a = draw(*problem.a.shape, seed=1)
    best = solve(problem, M, tolerance=1e-10, iterations=20_000).a
    least, far = objective(problem, M, best), (a - best).square().sum()
    F = torch.tensor(solve(problem, M, a, iterations=8, tolerance=0).objective).double()
    k = torch.arange(1, 9)
    room = 1 - (F[1:] - least) * (k + 1) ** 2 / (2 * lipschitz(problem, M) * far)
    assert envelope(problem, M, a, best, iterations=8) == pytest.approx(float(room.min()))
    assert room.min() > 0


@blocks
def test_twins(scene: Instance) -> None:
    problem, M = make_problem(scene, guidance=0.0), scene.M
    if M.shape[1] == 1:
        with pytest.raises(OutsideHypotheses, match="one endmember"):
            twin(problem, problem.a)
        return

    # Two minimisers from one, where it is positive: any start is one for images made of it
    a = draw(*problem.a.shape, seed=2)
    y = degrade(
        torch.einsum("br,rhw->bhw", M, a), scene.scale, brightness=problem.brightness[None]
    )
    problem, b = problem._replace(y=y), twin(problem, a)
    assert (b >= 0).all()
    torch.testing.assert_close(b.sum(dim=0), torch.ones_like(b[0]))
    assert (b[:2] == 0).any()
    assert (a - b).norm() > 1e-3
    for c in (a, b):
        assert gaps(problem, M, c).sum() < 1e-12 * energy(problem).sum()

    # What the SR task says of them differs
    x = torch.einsum("br,rhw->bhw", M, a)
    guided = problem._replace(x=x, guidance=1.0)
    apart = (M @ (a - b).flatten(1)).norm() > 1e-9 * x.norm()
    assert (twins(guided, M, a, require=False) < -1e-9) == apart


def test_without_sr_unique_all_the_same() -> None:
    # Only pure pixels can mix to a pure one: here nothing can change places
    scene = FAMILIES["plain"]
    problem, M = make_problem(scene, guidance=0.0), scene.M
    pure = torch.zeros_like(problem.a)
    pure[0] = 1
    problem = problem._replace(y=torch.einsum("br,rhw->bhw", M, pure)[:, ::2, ::2].clone())
    with pytest.raises(OutsideHypotheses, match="would have to give are zero"):
        twin(problem, pure)
    found = solve(problem, M).a

    # What is not of the first endmember shows in the LR pixel, by a fourth of it at least
    left = 2 * gaps(problem, M, found).sum()
    sigma = modulus(problem._replace(guidance=1.0), M).sqrt()
    assert (found - pure).abs().max() <= 4 * left.sqrt() / sigma < 1e-4


# Endmembers as well


@pytest.mark.parametrize(
    ("multiple", "monotone"), [(0.5, True), (1.5, True), (1.9, True), (2.1, False)]
)
def test_descent_needs_half_of_the_length(multiple: float, monotone: bool) -> None:
    # The simplex is convex: steps up to 2 / L lower the objective, not only those up to 1 / L
    problem, M, a = opposite(0.01)
    step = multiple / lipschitz(problem, M)
    a_ = project_simplex(a - step * gradient(problem, M, a))
    before, after = (float(objective(problem, M, z)) for z in (a, a_))
    sharp = (1 / step - lipschitz(problem, M) / 2) * (a_ - a).square().sum()
    assert after == pytest.approx(before - float(sharp))
    assert (after < before) == monotone


def test_convex_descent_predicts_more() -> None:
    scene = FAMILIES["plain"]
    problem, V = make_problem(scene), scene.M @ scene.A
    moved = alternate(problem, V, draw(64, 3, seed=3), iterations=50)
    falls = -np.diff(moved.objective)

    # By 0.5526 instead of 0.0263 times L step^2, at the steps of 0.95 / L
    more = (1 / 0.95 - 0.5) / ((1 / 0.95 - 1) / 2)
    assert (falls >= more * np.array(moved.predicted)).all()
    assert more == pytest.approx(21)

    # Predictions that are larger still are too large
    larger = moved._replace(predicted=[2 * p for p in moved.predicted])
    assert descent(problem, moved) > convex_descent(problem, moved) > 0
    assert convex_descent(problem, larger) < -1e-9


def test_histories_that_are_wrong() -> None:
    scene = FAMILIES["plain"]
    problem, V = make_problem(scene), scene.M @ scene.A
    moved = alternate(problem, V, draw(64, 3, seed=3), iterations=50)
    up = moved._replace(objective=moved.objective[::-1])
    assert max(descent(problem, up), summable(problem, up)) < -1e-6
    small = moved._replace(bound=[0.1 * b for b in moved.bound])
    assert subgradients(problem, small) < -1e-3


def test_summable() -> None:
    # Falls by 3 and 1, steps 2 and 1, and at least 0.5 and 0.25 times their squares are predicted
    problem, _, a = opposite(0.0)
    moved = Alternation(a, a, [5.0, 2.0, 1.0], [2.0, 0.25], [2.0, 1.0], [0.0] * 2, [0.0] * 2)
    assert summable(problem, moved) == pytest.approx((4 - 0.25 * 5) / 5)
    assert descent(problem, moved) == pytest.approx(min((3 - 2) / 5, (1 - 0.25) / 2))


# Truth


@pytest.mark.parametrize("guidance", [1e-2, 1.0, 1e2])
@pytest.mark.parametrize("R", [2, 3, 5])
def test_near_truth(R: int, guidance: float) -> None:
    # Drawn around the truth, in another order of endmembers
    scene = instance(R, R=R, B=10)
    V, order = scene.M @ scene.A, torch.randperm(R)
    pure = scene.A.argmax(dim=1)
    for part, seed in itertools.product((0.0, 1e-6, 1e-3, 1e-2), range(5)):
        W = (1 - part) * torch.eye(64).double()[:, pure] + part * draw(64, R, seed=seed)
        A = (1 - part) * scene.A + part * draw(R, 64, seed=seed)
        try:
            found = near_truth(scene, V, W[:, order], A[order], guidance=guidance)
        except OutsideHypotheses as error:
            assert "too large to tell" in str(error)
            assert part == 1e-2
            continue
        assert found >= -ROUNDING
        assert part > 0 or abs(found) < 1e-12


def test_near_truth_is_attained() -> None:
    # One endmember is a little off, and one pixel shows it; the LR image hardly counts
    scene = instance(0, R=2, contrast=0.0)
    A = torch.full_like(scene.A, 0.5)
    A[:, :2] = torch.eye(2)
    scene, off = scene._replace(A=A), 0.03
    W = tensor([1 - off, 0], [off, 1])
    fitted = torch.linalg.solve(W, A)
    fitted[:, 0] = tensor(1, 0)
    found = near_truth(scene, scene.M, W, fitted, guidance=1e9)
    assert found == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("seed", range(4))
def test_solved_from_several_starts(seed: int) -> None:
    # Whatever the alternating steps come to, it is near the truth where it is nearly zero
    scene = instance(seed, R=2, B=4, rows=4, cols=4)
    scene = scene._replace(M=scene.M - scene.M.mean(dim=1, keepdim=True))
    problem, V = make_problem(scene, noise=0.0), scene.M @ scene.A
    solved = 0
    for start in range(3):
        a = draw(*problem.a.shape, seed=start)
        moved = alternate(problem, V, draw(16, 2, seed=start), a, iterations=400)
        try:
            found = near_truth(scene, V, moved.W, moved.a.flatten(1))
        except OutsideHypotheses as error:
            assert "too large to tell" in str(error)
            continue
        solved += 1
        assert found >= 0
        off = torch.cdist((V @ moved.W).T, scene.M.T).amin(dim=0).max()
        assert off < 0.1 * (scene.M[:, 0] - scene.M[:, 1]).norm()
    assert solved > 0


@pytest.mark.parametrize("pure", [True, False])
def test_truth_needs_pure_pixels(pure: bool) -> None:
    # The least objective over all weights of the candidates: zero, or not
    scene = instance(3, pure=pure)
    V = torch.cat([scene.M @ scene.A, torch.ones(1, 64)])
    inside = [
        linprog(np.zeros(64), A_eq=V.numpy(), b_eq=np.append(m, 1)).status == 0 for m in scene.M.T
    ]
    assert all(inside) == pure == accessible(scene.A)


def test_light_of_endmembers() -> None:
    # Bright endmembers count for more once the light is divided out
    scene = FAMILIES["bright and dark"]
    light = scene.M.sum(dim=0)
    X = scene.X / scene.X.sum(dim=0)
    a = light[:, None] * scene.A
    torch.testing.assert_close(X, scene.M / light @ (a / a.sum(dim=0)))
    assert truth.truth(scene, lambda x: x.sum(dim=0)) == truth.truth(scene)
    assert truth.truth(scene, lambda x: x[0] + 2 * x[3]) >= -ROUNDING


def test_nearer() -> None:
    # In the middle between two endmembers, pixels are half of their distance away from each
    M = tensor([0, 2], [0, 0])
    A, D = torch.eye(2).double(), torch.full((2, 1), 0.5).double()
    scene = Instance(M, A, torch.ones(2).double(), D, 1)
    assert nearer(scene) == pytest.approx(1 / 2, rel=1e-5)  # of the larger, 2
    same = scene._replace(D=torch.eye(2).double())
    assert nearer(same) == pytest.approx(0, abs=1e-12)


# Purity


@EVERY
@given(purity=st.floats(0, 1), R=st.integers(1, 4), seed=st.integers(0, 99))
def test_mosaic(purity: float, R: int, seed: int) -> None:
    a = mosaic(purity, size=6, patch=3, R=R, seed=seed)
    assert a.shape == (R, 36)
    torch.testing.assert_close(a.sum(dim=0), torch.ones(36).double())
    image = a.reshape(R, 2, 3, 2, 3)
    assert torch.equal(image, image[:, :, :1, :, :1].expand_as(image))
    assert accessible(a) == bool((a.amax(dim=1) == 1).all())
    assert purity > 0 or not accessible(a) or R == 1


@pytest.mark.parametrize("purity", [0.1, 0.3, 0.6])
def test_share_of_accessible_scenes(purity: float) -> None:
    # Sixteen patches, each pure with the chance p / 3 in every material: inclusion, exclusion
    chance = sum((-1) ** j * math.comb(3, j) * (1 - j * purity / 3) ** 16 for j in range(4))
    drawn = [mosaic(purity, seed=seed) for seed in range(1000)]
    share = np.mean([accessible(a) for a in drawn])
    assert abs(share - chance) < 4 * math.sqrt(chance * (1 - chance) / 1000)

    # What is accessible at LR is so at HR, and there is more of it
    images = [a.reshape(3, 12, 12) for a in drawn]
    low = [accessible(degrade(a, 2).flatten(1)) for a in images]
    assert not any(lr and not accessible(a) for lr, a in zip(low, drawn, strict=True))
    assert np.mean(low) <= share
