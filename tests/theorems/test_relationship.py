r"""Tests for the smile_core.theorems.relationship module, with its errors and hypotheses."""

import itertools
import math
import numpy as np
import pytest
import torch

from collections.abc import Callable
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linprog
from torch import Tensor

from smile_core.mixing import unmix_pixels
from smile_core.theorems import errors, relationship
from smile_core.theorems.errors import (
    amplification,
    frobenius,
    largest_error,
    light_error,
    own_brightness,
    rmse,
    worst_errors,
)
from smile_core.theorems.families import (
    Instance,
    degenerate,
    instance,
    operator,
    resampling,
    scaled,
    typical,
)
from smile_core.theorems.hypotheses import bring_down, weights
from smile_core.theorems.relationship import (
    CONVEX,
    closure,
    division,
    hull,
    jensen,
    lobes,
    plain_closure,
    pure_pixels,
    purity,
    scatter,
    simplex,
    slacks,
    violating,
    volume,
)
from smile_core.theorems.slack import ROUNDING, OutsideHypotheses

FAMILIES = {**typical(), **scaled(), **degenerate()}
VIOLATING = violating()
LABELS = set(slacks(FAMILIES["plain"]))
EVERY = settings(deadline=None, derandomize=True, max_examples=60)

families = pytest.mark.parametrize("scene", FAMILIES.values(), ids=FAMILIES)


def tensor(*values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def simplices(R: int, N: int) -> Tensor:
    a = -torch.rand(R, N, dtype=torch.float64).log()
    return a / a.sum(dim=0)


@st.composite
def scenes(draw: st.DrawFn) -> Instance:
    r"""Draws scenes of a few pixels, with zeros wherever the hypotheses allow them."""
    R, n = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    N = draw(st.integers(n, 9))

    def values(low: float, high: float) -> st.SearchStrategy[float]:
        return st.just(0.0) | st.floats(low, high)

    A, D = (draw(arrays(float, shape, elements=values(1e-3, 1))) for shape in ((R, N), (N, n)))
    A[0, A.sum(axis=0) == 0] = 1
    rho = draw(arrays(float, N, elements=values(1e-6, 1e6)))
    M = draw(arrays(float, (3, R), elements=st.floats(0.01, 10)))
    assume((rho @ D > 0).all())

    M, A, rho, D = (torch.from_numpy(x) for x in (M, A / A.sum(axis=0), rho, D))
    return Instance(M, A, rho, D, 1)


def left_out(scene: Instance) -> set[str]:
    found = set()
    if len(scene.rho.unique()) > 1:
        found |= {"1.1 closure, constant light"}
    if scene.D_rho.sum(dim=1).std() > 1e-9:
        found |= {"1.4 RMSE"}
    if len(scene.A) == 1:
        found |= {"1.2 volume", "1.3 scatter", "1.4 Frobenius error, worst"}

    return found


# All statements


@families
def test_statements_hold(scene: Instance) -> None:
    found = slacks(scene)
    assert {label: value for label, value in found.items() if value < -ROUNDING} == {}

    # None is left out but for its hypotheses
    assert len(LABELS) == 21
    assert LABELS - set(found) == left_out(scene)


@EVERY
@given(scene=scenes())
def test_statements_hold_for_all(scene: Instance) -> None:
    found = slacks(scene)
    assert {label: value for label, value in found.items() if value < -ROUNDING} == {}


@pytest.mark.parametrize("name", VIOLATING)
def test_statements_fail(name: str) -> None:
    label, _, wrong = name.partition(": ")
    assert label in LABELS and wrong

    statement, args = VIOLATING[name]
    with pytest.raises(OutsideHypotheses, match=r"Outside of the hypotheses: .+"):
        statement(*args)
    assert statement(*args, require=False) < -1e-3


def test_every_statement_fails_somewhere() -> None:
    failing = {statement.__name__ for statement, _ in VIOLATING.values()}
    stated = {*relationship.__all__, *errors.__all__}
    stated -= {"CONVEX", "slacks", "violating", "worst_errors"}

    # These two hold for any operator: that they can fail is shown below
    assert stated - failing == {"closure", "frobenius"}


def test_checks_of_identities_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    # With the plain operator, and with a norm that is none of the operator
    monkeypatch.setattr(relationship, "weights", lambda rho, D, require: D)
    assert closure(*FAMILIES["bright and dark"][:4]) < -1e-2

    scene = FAMILIES["plain"]
    monkeypatch.setattr(torch.linalg, "matrix_norm", lambda W, order: W.abs().max())
    assert frobenius(*worst_errors(scene.rho, scene.D, 3), scene.rho, scene.D) < -1e-2


# Closure


@families
def test_weights(scene: Instance) -> None:
    A_l, W = bring_down(scene.A, scene.rho, scene.D)

    # An LR abundance vector is the centre of mass of HR ones
    for j, i in itertools.product(range(W.shape[1]), range(0, len(W), 7)):
        light = sum(scene.rho[k] * scene.D[k, j] for k in range(len(W)))
        torch.testing.assert_close(W[i, j], scene.rho[i] * scene.D[i, j] / light)

    # The constrained solve finds the same ones in the LR image
    if torch.linalg.matrix_rank(scene.M / scene.M.max()) == len(scene.A):
        a, rho, _ = unmix_pixels(scene.Y, scene.M, "area")
        torch.testing.assert_close(a, A_l, rtol=0, atol=1e-9)
        torch.testing.assert_close(rho, scene.rho @ scene.D, rtol=1e-9, atol=0)


@EVERY
@given(scene=scenes(), first=st.integers(1, 3), seed=st.integers(0, 9))
def test_nesting(scene: Instance, first: int, seed: int) -> None:
    # Brought down twice, with the brightness of each step, is brought down at once
    finer = torch.rand(first + len(scene.rho), len(scene.rho), dtype=torch.float64)
    rho = torch.rand(len(finer), dtype=torch.float64)
    assume((rho @ finer @ scene.D > 0).all())
    both = weights(rho, finer) @ weights(rho @ finer, scene.D)
    torch.testing.assert_close(weights(rho, finer @ scene.D), both)


def test_dark_pixels() -> None:
    # One that is dark at HR counts for nothing, one at LR has no abundances
    A, block = simplices(3, 4), torch.full((4, 1), 0.25, dtype=torch.float64)
    A_l, _ = bring_down(A, tensor(0, 1, 0, 0), block)
    torch.testing.assert_close(A_l, A[:, 1:2])
    for require in (True, False):
        with pytest.raises(OutsideHypotheses, match="an LR pixel is dark"):
            purity(A, torch.zeros(4).double(), block, require=require)


def test_division() -> None:
    scene = FAMILIES["bright and dark"]
    band = torch.rand(8, dtype=torch.float64)
    assert division(scene.X, scene.D, lambda x: band @ x) > -ROUNDING

    # The norm of a sum is below the sum of norms, by as much as the norm of the mean is too short
    norms = scene.X.norm(dim=0) @ scene.D / scene.Y.norm(dim=0) - 1
    found = division(scene.X, scene.D, lambda x: x.norm(dim=0), require=False)
    unit = scene.Y / scene.Y.norm(dim=0)
    short = scene.Y / (scene.X.norm(dim=0) @ scene.D)
    assert norms.min() >= 0
    assert found == pytest.approx(-float((unit - short).norm(dim=0).max()))


# Purity


@pytest.mark.parametrize("R", [2, 3, 4, 5])
@pytest.mark.parametrize("t", [0.0, 0.25, 1.0])
def test_shrinking(R: int, t: float) -> None:
    # Pure pixels that each take a part t from the mean of all: the simplex shrinks by 1 - t
    A = torch.eye(R, dtype=torch.float64)
    D, rho = (1 - t) * A + t / R, torch.ones(R, dtype=torch.float64)

    assert volume(A, rho, D) == pytest.approx(1 - (1 - t) ** (R - 1), abs=1e-12)
    assert scatter(A, rho, D) == pytest.approx(t, abs=1e-12)
    assert purity(A, rho, D) == pytest.approx(t * (1 - 1 / R), abs=1e-12)
    assert pure_pixels(A, rho, D) == pytest.approx(t * (1 - 1 / R), abs=1e-12)


def test_each_endmember_for_itself() -> None:
    # One pixel is kept, two are mixed: the second endmember loses nothing, the others do
    A = tensor([1, 0.5, 0.2], [0, 0.5, 0], [0, 0, 0.8])
    D, rho = tensor([0, 0.5], [1, 0], [0, 0.5]), torch.ones(3).double()
    torch.testing.assert_close(A @ D, tensor([0.5, 0.6], [0.5, 0], [0, 0.4]))
    assert purity(A, rho, D) == pytest.approx(0)
    assert pure_pixels(A, rho, D) == pytest.approx(0.6 - 0.5)

    # A triangle of half the side, in one that is not that of all abundances
    half = 0.5 * torch.eye(3).double() + 1 / 6
    assert volume(half, rho, half) == pytest.approx(3 / 4)
    assert scatter(half, rho, half) == pytest.approx(1 / 4)

    # Far from the centre, no ball around it fits
    corner = 0.2 * torch.eye(3).double() + tensor([0.8], [0], [0])
    assert scatter(corner, rho, half) == 0


@pytest.mark.parametrize("seed", range(12))
def test_hull(seed: int) -> None:
    # Half of the operators have negative weights; a linear program tells where that matters
    scene = instance(seed, R=2 + seed % 4, rows=4, cols=4, pure=False)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(scene.D.shape, generator=generator, dtype=torch.float64) - seed % 2
    D = scene.D + 0.4 * noise
    A_l, _ = bring_down(scene.A, scene.rho, D, require=False)

    points, targets = (np.vstack([x, np.ones(x.shape[1])]) for x in (scene.A, A_l))
    inside = [linprog(np.zeros(16), A_eq=points, b_eq=y).status == 0 for y in targets.T]
    assert all(inside) or seed % 2
    assert (hull(scene.A, scene.rho, D, require=False) > -1e-9) == all(inside)


@pytest.mark.parametrize("name", CONVEX)
def test_jensen(name: str) -> None:
    f, (p, q) = CONVEX[name], (simplices(4, 500), simplices(4, 500))
    t = torch.rand(500, dtype=torch.float64)

    # Convex, and not linear
    chord = t * f(p) + (1 - t) * f(q)
    assert (f(t * p + (1 - t) * q) <= chord + 1e-12).all()
    assert (f(t * p + (1 - t) * q) < chord - 1e-3).any()

    # Of the square, what mixing takes is the variance within an LR pixel
    scene = FAMILIES["one LR pixel"]
    A_l, W = bring_down(scene.A, scene.rho, scene.D)
    variance = float((scene.A - A_l).square().sum(dim=0) @ W[:, 0])
    size = 1 + float(scene.A.square().sum(dim=0) @ W[:, 0])
    found = jensen(scene.A, scene.rho, scene.D, CONVEX["squared norm"])
    assert found == pytest.approx(variance / size)


# Identifiability


@pytest.mark.parametrize("R", [2, 3, 5])
@pytest.mark.parametrize("scale", [2, 3])
def test_identifiability_has_no_converse(R: int, scale: int) -> None:
    # Every block holds pure pixels of two materials: all are pure at HR, none at LR
    first = torch.arange(R).repeat_interleave(scale**2)
    second = torch.arange(R * scale**2) % scale**2 == 0
    A = torch.eye(R, dtype=torch.float64)[:, torch.where(second, (first + 1) % R, first)]
    D = torch.kron(torch.eye(R), torch.ones(scale**2, 1)).double() / scale**2
    A_l, _ = bring_down(A, torch.ones(A.shape[1]).double(), D)

    assert (A.amax(dim=1) == 1).all()
    assert A_l.max() < 1
    assert pure_pixels(A, torch.ones(A.shape[1]).double(), D) == pytest.approx(1 / scale**2)


def test_pure_pixels_need_pure_pixels() -> None:
    # A pure LR pixel shows pure HR pixels only; what has no weight may be anything
    A = tensor([1, 1, 0.3], [0, 0, 0.7])
    D = tensor([0.5], [0.5], [0])
    A_l, W = bring_down(A, torch.ones(3).double(), D)
    assert A_l[0, 0] == 1
    assert (A[0, W[:, 0] > 0] == 1).all()


def test_scatter() -> None:
    # Six mixtures of two materials each: no pure pixel, and yet the inscribed circle fits
    t = 2 / 3
    pairs = itertools.permutations(range(3), 2)
    A = torch.zeros(3, 6, dtype=torch.float64)
    for column, (more, less) in enumerate(pairs):
        A[more, column], A[less, column] = t, 1 - t
    assert scatter(A, torch.ones(6).double(), torch.full((6, 1), 1 / 6).double()) == (
        pytest.approx(1)
    )

    # The cone of second order lies in that of the abundances
    angle = torch.linspace(0, 2 * math.pi, 100, dtype=torch.float64)
    plane = torch.linalg.qr(torch.eye(3, 2).double() - 1 / 3).Q
    circle = 1 / 3 + plane @ torch.stack([angle.cos(), angle.sin()]) / math.sqrt(6)
    for point in circle.T.numpy():
        assert linprog(np.zeros(6), A_eq=A.numpy(), b_eq=point).status == 0


# Errors


def test_growth_of_rmse() -> None:
    # A bright pixel with an error of length 0.3, in a block of dark ones
    rho, block = tensor(1, 0.01, 0.01, 0.01), torch.full((4, 1), 0.25).double()
    A = torch.full((2, 4), 0.5).double()
    A_hat = A + torch.outer(tensor(0.3, -0.3) / math.sqrt(2), tensor(1, 0, 0, 0))
    measured = [e.square().mean().sqrt() for e in (A_hat - A, (A_hat - A) @ weights(rho, block))]
    assert [round(float(e), 3) for e in measured] == [0.106, 0.206]
    assert rmse(A_hat, A, rho, block, require=False) == pytest.approx(1 - 2 / 1.03)

    # Weighted by light, it falls
    assert light_error(A_hat, A, rho, block) == pytest.approx(1 - 1 / 1.03)


@families
def test_worst_errors(scene: Instance) -> None:
    if len(scene.A) == 1:
        with pytest.raises(OutsideHypotheses, match="one endmember"):
            worst_errors(scene.rho, scene.D, 1)
        return

    # Attains the norm, which is that of the Gram matrix
    A_hat, A = worst_errors(scene.rho, scene.D, len(scene.A))
    W = weights(scene.rho, scene.D)
    growth = scene.scale * torch.linalg.eigvalsh(W.T @ W)[-1].sqrt()
    E = A_hat - A
    ratio = (E @ W).square().mean().sqrt() / E.square().mean().sqrt()
    torch.testing.assert_close(ratio, growth)
    assert simplex(A_hat, scene.rho, scene.D) >= -ROUNDING

    # None grows more
    for _ in range(20):
        E = simplices(*A.shape) - A
        ratio = (E @ W).square().mean().sqrt() / E.square().mean().sqrt()
        assert ratio <= growth


def test_amplification() -> None:
    # Of one LR pixel, the lower bound is the growth itself
    scene = FAMILIES["one LR pixel"]
    assert amplification(scene.rho, scene.D) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_equal_rows(scale: int) -> None:
    block, gaussian = (operator(6 * scale, 6 * scale, scale, psf) for psf in ("block", "gaussian"))
    rho, dim = torch.ones(len(block)).double(), scale**2
    A_hat, A = worst_errors(rho, gaussian, 3)

    # Block means of constant brightness: no RMSE grows, and some do not fall
    assert rmse(A_hat, A, rho, block) >= -ROUNDING
    assert rmse(*worst_errors(rho, block, 3), rho, block) == pytest.approx(0, abs=1e-12)
    assert amplification(rho, block) == pytest.approx(0, abs=1e-12)

    # The Gaussian has unequal rows at borders, and at some scales inside as well
    q = (dim * gaussian.sum(dim=1)).view(6 * scale, -1)
    inside = q[2 * scale : -2 * scale, 2 * scale : -2 * scale]
    assert q.std() > 0.01
    assert (inside.std() > 0.01) == (scale > 2)
    assert rmse(A_hat, A, rho, gaussian, require=False) < -1e-3


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, math.inf])
@families
def test_largest_error(scene: Instance, p: float) -> None:
    A_hat = simplices(*scene.A.shape)
    assert largest_error(A_hat, scene.A, scene.rho, scene.D, p) >= -ROUNDING

    # The same error everywhere stays what it is
    A = simplices(len(scene.A), 1).expand_as(scene.A)
    A_hat = simplices(len(scene.A), 1).expand_as(scene.A)
    same = largest_error(A_hat, A, scene.rho, scene.D, p)
    assert same == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("kappa", [1.0, 4.0, 100.0])
def test_own_brightness(kappa: float) -> None:
    # Abundances right, brightness wrong, and two pure pixels such that it shows most
    root = math.sqrt(kappa)
    A, D = torch.eye(2).double(), torch.full((2, 1), 0.5).double()
    rho, rho_hat = tensor(1, root), tensor(kappa, root)
    assert own_brightness(A, A, rho_hat, rho, D) == pytest.approx(0, abs=1e-12)

    # Its unit does not matter
    A_hat = simplices(2, 2)
    same = own_brightness(A_hat, A, 1e6 * rho, rho, D)
    left, right = ((e.norm(dim=0)).max() for e in ((A_hat - A) @ weights(rho, D), A_hat - A))
    assert same == pytest.approx(float(1 - left / right))


# Negative lobes


def test_lobes() -> None:
    # As much as a lobe weighs, and no more
    A, D = tensor([0, 1], [1, 0]), tensor([1.25], [-0.25])
    torch.testing.assert_close(A @ weights(torch.ones(2).double(), D, kernel=False), D.flip(0))
    assert lobes(A, torch.ones(2).double(), D) == 0

    # Below zero only
    third = tensor([0.625], [0.625], [-0.25])
    assert lobes(torch.eye(3).double(), torch.ones(3).double(), third) == 0


@pytest.mark.parametrize("kernel", ["bicubic", "lanczos"])
@pytest.mark.parametrize("statement", [simplex, purity, hull, volume, pure_pixels, scatter])
def test_resampling_breaks(statement: Callable[..., float], kernel: str) -> None:
    # Somewhere among scenes with pure pixels in patches, or with none
    D = resampling(12, 12, 2, kernel)
    rho, found = torch.ones(len(D)).double(), []
    for seed in range(8):
        patches = simplices(3, 16).argmax(dim=0).view(4, 4).repeat_interleave(3, dim=0)
        A = torch.eye(3).double()[:, patches.repeat_interleave(3, dim=1).flatten()]
        A = A if seed % 2 else 0.8 * A + 0.2 / 3
        found.append(statement(A, rho, D, require=False))
        assert lobes(A, rho, D) >= -ROUNDING
    assert min(found) < -1e-3


# Bad input


def test_errors() -> None:
    M, A, rho, D, _ = instance(0)
    bad = A.clone()
    bad[0, 0] = math.nan
    with pytest.raises(ValueError, match="A should be finite, got 1 NaN"):
        purity(bad, rho, D)
    with pytest.raises(ValueError, match="rho should be finite"):
        hull(A, rho / 0, D, require=False)
    with pytest.raises(ValueError, match=r"shapes \(N,\) and \(N, n\), got \(63,\)"):
        simplex(A, rho[1:], D)
    with pytest.raises(ValueError, match=r"shape \(R, N\) with N = 64, got \(3, 63\)"):
        scatter(A[:, 1:], rho, D)
    with pytest.raises(ValueError, match=r"shape \(R, N\) = \(2, 64\), got \(3, 64\)"):
        closure(M[:, 1:], A, rho, D)
    with pytest.raises(ValueError, match="X should be finite"):
        division(M @ bad, D, lambda x: x.sum(dim=0))
    with pytest.raises(OutsideHypotheses, match="some are negative"):
        purity(A - 0.1, rho, D)
    with pytest.raises(OutsideHypotheses, match="they do not sum to one"):
        rmse(A, 2 * A, rho, D)
    with pytest.raises(OutsideHypotheses, match="they do not sum to one"):
        largest_error(2 * A, A, rho, D)
    with pytest.raises(OutsideHypotheses, match="columns of D do not sum to one"):
        plain_closure(M, A, torch.ones_like(rho), 2 * D)
    with pytest.raises(OutsideHypotheses, match="some HR pixel is not positive"):
        own_brightness(A, A, rho, rho * (A[0] < 1), D)
