r"""Lifting: abundances brought up such that they come down again.

By the relationship theorem, LR abundances are the HR ones under the brightness-weighted operator,
:math:`A_l = A D_\rho` with :math:`\rho_l = D^\top \rho`. Plain interpolation breaks both. Lifting
repairs them by a few steps of back-projection from there,

.. math:: \rho \gets \rho + U(\rho_l - D^\top \rho), \qquad
    A \gets P_\Delta \bigl( A + U(A_l - A D_\rho) \bigr),

with :math:`U` the bicubic interpolation and :math:`P_\Delta` the projection on the simplex. No
learning is involved; it is what the network starts from.

References:
    | Improving resolution by image registration (Irani, Peleg, 1991)
    | https://doi.org/10.1016/1049-9652(91)90045-L
"""

__all__ = ["interpolate", "lift", "reconcile"]

import torch

from torch import Tensor

from .degradation import degrade, upsample
from .mixing import project_simplex


def lift(
    a: Tensor, brightness: Tensor, scale: int, iterations: int = 3, *, without: str = ""
) -> tuple[Tensor, Tensor]:
    r"""Brings abundances and brightness up, consistent with the relationship theorem.

    Args:
        a: The LR abundances :math:`A_l`, with shape (R, h, w).
        brightness: The LR brightness :math:`\rho_l`, with shape (h, w).
        scale: The factor :math:`s`.
        iterations: The number of steps. More sharpen further, and amplify noise.
        without: The part to leave out, if any, see `smile_core.parts`: "brightness", for steps
            under the unweighted operator, or "lifting", for none.

    Returns:
        The HR abundances, in the simplex, with shape (R, s h, s w), and the HR brightness,
        positive, with shape (s h, s w).
    """
    iterations = 0 if without == "lifting" else iterations

    # Dead pixels weigh next to nothing, but are divided by their weight
    rho_l = brightness[None].clamp_min(1e-6 * brightness.mean() + torch.finfo(a.dtype).tiny)
    floor = rho_l.min() / 10

    rho = upsample(rho_l, scale, "bicubic").clamp_min(floor)
    for _ in range(iterations):
        residual = rho_l - degrade(rho, scale)
        rho = (rho + upsample(residual, scale, "bicubic")).clamp_min(floor)

    weight = torch.ones_like(rho) if without == "brightness" else rho

    return reconcile(interpolate(a, scale), a, weight[0], scale, iterations), rho[0]


def reconcile(
    a_hr: Tensor, a: Tensor, brightness_hr: Tensor, scale: int, iterations: int
) -> Tensor:
    r"""Moves HR abundances towards those that come down to the LR ones.

    Args:
        a_hr: The HR abundances, with shape (R, s h, s w).
        a: The LR abundances :math:`A_l`, with shape (R, h, w).
        brightness_hr: The HR brightness :math:`\rho`, positive, with shape (s h, s w).
        scale: The factor :math:`s`.
        iterations: The number of steps of back-projection.

    Returns:
        The HR abundances, in the simplex, with shape (R, s h, s w).
    """
    for _ in range(iterations):
        residual = a - degrade(a_hr, scale, brightness=brightness_hr[None])
        a_hr = project_simplex(a_hr + upsample(residual, scale, "bicubic"))

    return a_hr


def interpolate(a: Tensor, scale: int) -> Tensor:
    r"""Interpolates abundances bicubically, clamps and renormalises them.

    Args:
        a: The LR abundances, with shape (R, h, w).
        scale: The factor :math:`s`.

    Returns:
        The HR abundances, in the simplex, with shape (R, s h, s w).
    """
    a_hr = upsample(a, scale, "bicubic").clamp_min(0)
    return a_hr / a_hr.sum(dim=0)
