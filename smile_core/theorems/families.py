r"""Families of inputs that the statements are checked on.

Small scenes, in float64, with every matrix written out: pixels are columns, as in the formulas,
and the operator :math:`D` is an N x n matrix. `typical` are scenes as they come, `scaled` the same
ones in other units, `degenerate` those at the edge of the hypotheses. What violates a hypothesis
depends on the statement, and is made beside it.
"""

__all__ = [
    "Instance",
    "Kernel",
    "degenerate",
    "instance",
    "operator",
    "resampling",
    "scaled",
    "typical",
]

import torch

from torch import Tensor
from typing import Literal, NamedTuple, get_args

from ..degradation import PSF, degrade

Kernel = Literal["bicubic", "lanczos"]


class Instance(NamedTuple):
    r"""A small scene that follows the mixing model without noise.

    Args:
        M: The endmembers, with shape (B, R).
        A: The HR abundances, columns in the simplex, with shape (R, N).
        rho: The brightness of the HR pixels, positive, with shape (N,).
        D: The operator, with shape (N, n).
        scale: The scale factor :math:`s`, N = s^2 n.
    """

    M: Tensor
    A: Tensor
    rho: Tensor
    D: Tensor
    scale: int

    @property
    def X(self) -> Tensor:
        r"""The HR image :math:`M A \operatorname{diag}(\rho)`, with shape (B, N)."""
        return self.M @ self.A * self.rho

    @property
    def Y(self) -> Tensor:
        r"""The LR image :math:`X D`, with shape (B, n)."""
        return self.X @ self.D

    @property
    def D_rho(self) -> Tensor:
        r"""The brightness-weighted operator, with shape (N, n)."""
        return self.rho[:, None] * self.D / (self.rho @ self.D)


def operator(rows: int, cols: int, scale: int, psf: PSF = "block") -> Tensor:
    r"""Writes `smile_core.degradation.degrade` as a matrix.

    Args:
        rows: The number of HR rows.
        cols: The number of HR columns.
        scale: The scale factor.
        psf: The weights.

    Returns:
        The matrix :math:`D`, with shape (rows * cols, rows * cols / scale^2).
    """
    impulses = torch.eye(rows * cols, dtype=torch.float64).reshape(-1, rows, cols)
    return degrade(impulses, scale, psf).flatten(1)


def resampling(rows: int, cols: int, scale: int, kernel: Kernel) -> Tensor:
    r"""Writes the resampling of image editors as a matrix: its kernels have negative lobes.

    References:
        | Cubic convolution interpolation for digital image processing (Keys, 1981)
        | https://doi.org/10.1109/TASSP.1981.1163711

    Args:
        rows: The number of HR rows.
        cols: The number of HR columns.
        scale: The scale factor, by which the kernel is widened.
        kernel: "bicubic" (Keys, a = -1/2) or "lanczos" (of three lobes).

    Returns:
        The matrix :math:`D`, columns summing to one, with shape (rows * cols, rows * cols /
        scale^2).
    """
    if kernel not in get_args(Kernel):
        raise ValueError(f"Unknown kernel '{kernel}', expected one of {get_args(Kernel)}.")

    return torch.kron(*(_resample_line(size, scale, kernel) for size in (rows, cols)))


def instance(
    seed: int = 0,
    *,
    B: int = 8,
    R: int = 3,
    rows: int = 8,
    cols: int = 8,
    scale: int = 2,
    psf: PSF = "block",
    contrast: float = 1.0,
    pure: bool = True,
) -> Instance:
    r"""Draws a scene.

    Args:
        seed: The seed.
        B: The number of bands.
        R: The number of endmembers.
        rows: The number of HR rows.
        cols: The number of HR columns.
        scale: The scale factor.
        psf: The weights of the operator.
        contrast: The standard deviation of the logarithm of the brightness.
        pure: Whether each endmember has a pure HR pixel.

    Returns:
        The scene.
    """
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    M = 0.1 + rand(B, R)
    A = -rand(R, rows * cols).log()  # exponential, hence uniform in the simplex
    A = A / A.sum(dim=0)
    if pure:
        pixels = torch.randperm(rows * cols, generator=generator)[:R]
        A[:, pixels] = torch.eye(R, dtype=torch.float64)
    else:
        A = 0.7 * A + 0.3 / R
    normal = torch.randn(rows * cols, generator=generator, dtype=torch.float64)

    return Instance(M, A, (contrast * normal).exp(), operator(rows, cols, scale, psf), scale)


def typical() -> dict[str, Instance]:
    r"""Draws scenes as they come: several sizes, scales, operators, contrasts."""
    return {
        "plain": instance(0, contrast=0.0),
        "bright and dark": instance(1, contrast=1.0),
        "gaussian": instance(2, psf="gaussian"),
        "x4": instance(3, scale=4),
        "x3, seven endmembers": instance(4, R=7, B=20, rows=9, cols=12, scale=3),
        "two endmembers": instance(5, R=2),
        "no pure pixel": instance(6, pure=False),
    }


def scaled() -> dict[str, Instance]:
    r"""Draws one scene in other units of reflectance and of light, from 1e-10 to 1e10."""
    scene = instance(1)
    units = (1e-10, 1e-5, 1e5, 1e10)
    spectra = {f"endmembers x {u:g}": scene._replace(M=u * scene.M) for u in units}
    light = {f"brightness x {u:g}": scene._replace(rho=u * scene.rho) for u in units}

    return spectra | light


def degenerate() -> dict[str, Instance]:
    r"""Draws scenes at the edge of hypotheses: repeated endmembers, few bands, few pixels."""
    scene = instance(1, R=4)
    dependent = torch.cat([scene.M[:, :3], scene.M[:, :3].mean(dim=1, keepdim=True)], dim=1)

    return {
        "one endmember": instance(7, R=1),
        "repeated endmembers": scene._replace(M=scene.M[:, [0, 0, 1, 2]]),
        "affinely dependent endmembers": scene._replace(M=dependent),
        "more endmembers than bands": instance(8, B=2, R=4),
        "one LR pixel": instance(9, rows=2, cols=2, R=2),
        "one constant image": scene._replace(A=scene.A[:, :1].expand(-1, 64).clone()),
    }


def _resample_line(size: int, scale: int, kernel: str) -> Tensor:
    # Distances of centres of HR pixels from those of LR pixels, in LR pixels
    hr, lr = (torch.arange(n, dtype=torch.float64) + 0.5 for n in (size, size // scale))
    t = (hr[:, None] / scale - lr).abs()
    if kernel == "bicubic":
        inner, outer = 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
        w = torch.where(t < 1, inner, torch.where(t < 2, outer, 0))
    else:
        w = torch.where(t < 3, torch.sinc(t) * torch.sinc(t / 3), 0)

    return w / w.sum(dim=0)
