r"""Hypotheses of the relationship theorem, and what they are about.

Abundances come down under the brightness-weighted operator,

.. math:: A_l = A D_\rho, \qquad
    D_\rho = \operatorname{diag}(\rho) \, D \operatorname{diag}(\rho_l)^{-1}, \qquad
    \rho_l = D^\top \rho

The statements name what they need:

========= ==========================================================================
*simplex* the columns of :math:`A` are non-negative and sum to one
*kernel*  :math:`D` is non-negative
*light*   :math:`\rho` is non-negative, and no LR pixel is dark, :math:`\rho_l > 0`
========= ==========================================================================

That the columns of :math:`D` sum to one is not among them, nor that every HR pixel is bright: the
columns of :math:`D_\rho` sum to one in any case, and a dark HR pixel counts for nothing.
"""

__all__ = ["bring_down", "check_hypothesis", "check_simplex", "weights"]

from torch import Tensor

from .slack import ROUNDING, OutsideHypotheses, check_arrays


def check_hypothesis(holds: Tensor | bool, reason: str, require: bool = True) -> None:
    r"""Raises an error where a hypothesis fails, unless it is not required.

    Args:
        holds: Whether the hypothesis holds.
        reason: What is the case where it fails.
        require: Whether it is required.

    Raises:
        OutsideHypotheses: If it fails and is required.
    """
    if require and not holds:
        raise OutsideHypotheses(reason)


def weights(rho: Tensor, D: Tensor, *, require: bool = True, kernel: bool = True) -> Tensor:
    r"""Returns the brightness-weighted operator :math:`D_\rho`.

    Args:
        rho: The brightness, with shape (N,).
        D: The operator, with shape (N, n).
        require: Whether *kernel* and *light* are required; that no LR pixel is dark always is.
        kernel: Whether they are hypotheses at all.

    Returns:
        The operator, with shape (N, n).

    Raises:
        OutsideHypotheses: If a hypothesis fails.
        ValueError: If shapes disagree or values are not finite.
    """
    check_arrays(rho=rho, D=D)
    if D.ndim != 2 or rho.shape != D.shape[:1]:
        raise ValueError(
            "The brightness and the operator should have shapes (N,) and (N, n), got "
            f"{tuple(rho.shape)} and {tuple(D.shape)}."
        )

    rho_l = rho @ D
    # Without light, the weights are not defined
    check_hypothesis((rho_l != 0).all(), "an LR pixel is dark, rho_l = 0")
    check_hypothesis((D >= 0).all(), "the kernel D has negative weights", require and kernel)
    check_hypothesis((rho >= 0).all(), "the brightness has negative values", require and kernel)

    return rho[:, None] * D / rho_l


def bring_down(
    A: Tensor, rho: Tensor, D: Tensor, *, require: bool = True, kernel: bool = True
) -> tuple[Tensor, Tensor]:
    r"""Returns the LR abundances :math:`A_l = A D_\rho`, and the operator :math:`D_\rho`.

    Args:
        A: The abundances, with shape (R, N).
        rho: The brightness, with shape (N,).
        D: The operator, with shape (N, n).
        require: Whether *simplex*, *kernel* and *light* are required.
        kernel: Whether the last two are hypotheses at all.

    Returns:
        The LR abundances, with shape (R, n), and the operator, with shape (N, n).

    Raises:
        OutsideHypotheses: If a hypothesis fails.
        ValueError: If shapes disagree or values are not finite.
    """
    check_arrays(A=A)
    W = weights(rho, D, require=require, kernel=kernel)
    if A.ndim != 2 or A.shape[1] != len(W):
        raise ValueError(
            f"The abundances should have shape (R, N) with N = {len(W)}, got {tuple(A.shape)}."
        )

    check_simplex("the abundances", A, require)

    return A @ W, W


def check_simplex(name: str, columns: Tensor, require: bool) -> None:
    r"""Raises `OutsideHypotheses` where required columns are not in the simplex."""
    outside = f"{name} are not in the simplex"
    check_hypothesis((columns >= 0).all(), f"{outside}: some are negative", require)
    ones = (columns.sum(dim=0) - 1).abs().max() <= ROUNDING
    check_hypothesis(ones, f"{outside}: they do not sum to one", require)
