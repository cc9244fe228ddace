r"""Tests for the smile_core.theorems.families module, and for its slack."""

import math
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from PIL import Image
from typing import get_args

from smile_core.degradation import PSF
from smile_core.theorems.families import (
    Instance,
    Kernel,
    degenerate,
    instance,
    operator,
    resampling,
    scaled,
    typical,
)
from smile_core.theorems.slack import OutsideHypotheses, applicable, check_arrays, slack

EVERY = {**typical(), **scaled(), **degenerate()}

every = pytest.mark.parametrize("scene", EVERY.values(), ids=EVERY)


# Operators


@pytest.mark.parametrize("scale", [2, 3])
@pytest.mark.parametrize("psf", get_args(PSF))
def test_operator(psf: PSF, scale: int) -> None:
    D = operator(2 * scale, 3 * scale, scale, psf).view(2 * scale, 3 * scale, 2, 3)

    # Weights by the distance of centres: a block, or a Gaussian cut where its kernel ends
    t = torch.arange(3 * scale) + 0.5
    centres = scale * (torch.arange(3) + 0.5)
    far = (t[:, None] - centres).abs().double()
    if psf == "block":
        w = (far < scale / 2).double()
    else:
        reach = scale / 2 + (scale + 1) // 2
        w = torch.exp2(-((2 * far / scale) ** 2)) * (far < reach)
    w_rows, w_cols = (x / x.sum(dim=0) for x in (w[: 2 * scale, :2], w))
    torch.testing.assert_close(D, torch.einsum("ik,jl->ijkl", w_rows, w_cols))


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("kernel", get_args(Kernel))
def test_resampling(kernel: Kernel, scale: int) -> None:
    # An image editor has the same kernels, in single precision
    rows, cols = 24, 36
    D = resampling(rows, cols, scale, kernel)
    x = torch.rand(rows, cols, dtype=torch.float64)
    resized = Image.fromarray(x.numpy().astype(np.float32)).resize(
        (cols // scale, rows // scale), Image.Resampling[kernel.upper()]
    )
    y = (x.flatten() @ D).view(rows // scale, cols // scale)
    torch.testing.assert_close(y, torch.tensor(np.array(resized)).double(), rtol=0, atol=1e-6)

    # So has torch, for one of them
    if kernel == "bicubic":
        size = (rows // scale, cols // scale)
        expected = F.interpolate(x[None, None], size=size, mode="bicubic", antialias=True)
        torch.testing.assert_close(y, expected[0, 0])

    # Lobes
    torch.testing.assert_close(D.sum(dim=0), torch.ones(D.shape[1]).double())
    assert D.min() < -1e-3


def test_resampling_errors() -> None:
    with pytest.raises(ValueError, match="Unknown kernel 'cubic', expected one of"):
        resampling(4, 4, 2, "cubic")


# Scenes


@every
def test_instance(scene: Instance) -> None:
    (B, R), (N, n) = scene.M.shape, scene.D.shape
    assert scene.A.shape == (R, N) and scene.rho.shape == (N,)
    assert scene.scale**2 * n == N
    assert {x.dtype for x in scene[:4]} == {torch.float64}

    # In the simplex, under a non-negative operator and in the light
    ones = torch.ones(N, dtype=torch.float64)
    torch.testing.assert_close(scene.A.sum(dim=0), ones)
    torch.testing.assert_close(scene.D.sum(dim=0), ones[:n])
    assert min(x.min() for x in (scene.A, scene.D)) >= 0
    assert scene.rho.min() > 0

    # The model, entry by entry
    b, i, j = B - 1, N - 1, n - 1
    x = scene.rho[i] * sum(scene.M[b, k] * scene.A[k, i] for k in range(R))
    torch.testing.assert_close(scene.X[b, i], x)
    y = sum(scene.X[b, p] * scene.D[p, j] for p in range(N))
    torch.testing.assert_close(scene.Y[b, j], y)
    light = sum(scene.rho[p] * scene.D[p, j] for p in range(N))
    torch.testing.assert_close(scene.D_rho[i, j], scene.rho[i] * scene.D[i, j] / light)


@pytest.mark.parametrize("pure", [True, False])
@pytest.mark.parametrize("R", [2, 5])
def test_purity(pure: bool, R: int) -> None:
    A = instance(3, R=R, pure=pure).A
    if pure:
        assert (A.amax(dim=1) == 1).all()
    else:
        assert A.max() <= 0.7 + 0.3 / R
        assert A.min() >= 0.3 / R


def test_seed() -> None:
    first, again, other = (instance(seed) for seed in (0, 0, 1))
    assert all(torch.equal(x, y) for x, y in zip(first[:4], again[:4], strict=True))
    assert not torch.equal(first.A, other.A)

    # The seed of torch is left alone
    state = torch.get_rng_state()
    instance(0)
    assert torch.equal(state, torch.get_rng_state())


def test_contrast() -> None:
    assert (instance(0, contrast=0.0).rho == 1).all()
    deviations = [instance(0, contrast=c).rho.log().std() for c in (0.5, 2.0)]
    torch.testing.assert_close(deviations[1], 4 * deviations[0])


def test_scaled() -> None:
    scene, found = instance(1), scaled()
    assert len(found) == 8
    for name, other in found.items():
        unit = float(name.split(" x ")[1])
        torch.testing.assert_close(other.X, unit * scene.X, rtol=1e-12, atol=0)
        torch.testing.assert_close(other.D_rho, scene.D_rho, rtol=1e-12, atol=0)


def test_degenerate() -> None:
    found = degenerate()
    ranks = {name: int(torch.linalg.matrix_rank(scene.M)) for name, scene in found.items()}
    assert ranks == {
        "one endmember": 1,
        "repeated endmembers": 3,
        "affinely dependent endmembers": 3,
        "more endmembers than bands": 2,
        "one LR pixel": 2,
        "one constant image": 4,
    }
    assert found["one LR pixel"].Y.shape[1] == 1
    assert (found["one constant image"].A.std(dim=1) < 1e-12).all()


# Slack


@pytest.mark.parametrize(
    ("left", "right", "size", "expected"),
    [
        (1.0, 2.0, None, 0.5),
        (3.0, 2.0, None, -0.5),
        (1e-10, 2e-10, None, 0.5),
        (-1.0, -2.0, None, -0.5),
        (0.0, 0.0, None, 0.0),
        (1.0, 2.0, 10.0, 0.1),
        (0.5, 0.0, 2.0, -0.25),
    ],
)
def test_slack(left: float, right: float, size: float | None, expected: float) -> None:
    assert float(slack(left, right, size)) == pytest.approx(expected)

    # Entry by entry
    one = torch.ones(3)
    found = slack(left * one, right, size)
    torch.testing.assert_close(found, torch.full((3,), expected, dtype=torch.float64))


def test_slack_fails_next_to_zero() -> None:
    assert slack(1e-20, 0) < -1e200


def test_slack_errors() -> None:
    with pytest.raises(ValueError, match="The right should be finite, got 1 NaN or infinite"):
        slack(1.0, math.inf)
    with pytest.raises(ValueError, match="The left should be finite, got 2 NaN"):
        slack(torch.tensor([1.0, math.nan, math.nan]), 1.0)
    with pytest.raises(ValueError, match="The rho should be finite"):
        check_arrays(M=torch.ones(2), rho=torch.tensor(math.nan))
    check_arrays(M=torch.ones(2), rho=torch.zeros(()))


def test_outside_hypotheses() -> None:
    error = OutsideHypotheses("the kernel is negative")
    assert isinstance(error, ValueError)
    assert str(error) == "Outside of the hypotheses: the kernel is negative."


def test_applicable() -> None:
    def excluded() -> float:
        raise OutsideHypotheses("there is one endmember")

    def wrong() -> float:
        raise ValueError("The M should be finite.")

    assert applicable({"holds": lambda: 0.5, "excluded": excluded}) == {"holds": 0.5}

    # Bad input is no hypothesis
    with pytest.raises(ValueError, match="should be finite"):
        applicable({"wrong": wrong})
