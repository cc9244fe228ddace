r"""Theorem 1.4: errors of abundances travel down, from HR to LR.

An estimate :math:`\hat A` with the errors :math:`E = \hat A - A` is brought down as the truth is,
with the same brightness. Its errors are then :math:`E D_\rho`, means of HR errors. No LR pixel is
further off than the worst HR pixel; the root mean square error (RMSE) over all entries can grow
all the same, where an LR pixel shows little more than one bright HR pixel. The names of the
hypotheses are those of `smile_core.theorems.hypotheses`, the proofs are in the notebook 03.
"""

__all__ = [
    "amplification",
    "frobenius",
    "largest_error",
    "light_error",
    "own_brightness",
    "rmse",
    "worst_errors",
]

import math
import torch

from torch import Tensor

from .hypotheses import bring_down, check_hypothesis, weights
from .slack import ROUNDING, slack


def frobenius(A_hat: Tensor, A: Tensor, rho: Tensor, D: Tensor, *, require: bool = True) -> float:
    r"""Checks 1.4, :math:`\|E D_\rho\|_F \leq \|D_\rho\|_2 \|E\|_F`, :math:`E = \hat A - A`.

    Divided by the numbers of entries it is :math:`\text{RMSE}_l \leq s \|D_\rho\|_2 \,
    \text{RMSE}_h`, with the same slack. Hypotheses: *simplex*, *kernel*, *light*, though any
    operator would do. Source: standard.
    """
    E, W = _errors(A_hat, A, rho, D, require=require)
    return float(slack((E @ W).norm(), torch.linalg.matrix_norm(W, 2) * E.norm()))


def largest_error(
    A_hat: Tensor, A: Tensor, rho: Tensor, D: Tensor, p: float = 2.0, *, require: bool = True
) -> float:
    r"""Checks 1.4, :math:`\max_j \|(E D_\rho)_j\|_p \leq \max_i \|e_i\|_p`.

    It holds in every norm; here in those of order :math:`p \geq 1`. Hypotheses: *simplex*,
    *kernel*, *light*.
    """
    E, W = _errors(A_hat, A, rho, D, require=require)
    return float(slack(*(e.norm(p, dim=0).max() for e in (E @ W, E))))


def light_error(
    A_hat: Tensor, A: Tensor, rho: Tensor, D: Tensor, *, require: bool = True
) -> float:
    r"""Checks 1.4, that squared errors weighted by light never grow.

    .. math:: \sum_j (\rho_l)_j \|(E D_\rho)_j\|^2 \leq \sum_i \omega_i \|e_i\|^2, \qquad
        \omega_i = \rho_i \sum_j D_{ij}, \quad \sum_i \omega_i = \sum_j (\rho_l)_j

    For block means, :math:`\omega` is the brightness over :math:`s^2`. Hypotheses: *simplex*,
    *kernel*, *light*.
    """
    E, W = _errors(A_hat, A, rho, D, require=require)
    left, right = (e.square().sum(dim=0) for e in (E @ W, E))

    return float(slack((rho @ D) @ left, (rho * D.sum(dim=1)) @ right))


def rmse(A_hat: Tensor, A: Tensor, rho: Tensor, D: Tensor, *, require: bool = True) -> float:
    r"""Checks 1.4, :math:`\text{RMSE}_l \leq \text{RMSE}_h`.

    Hypotheses: *simplex*, *kernel*, *light*, and *equal rows*: those of :math:`D_\rho` sum to
    :math:`n / N = 1 / s^2`. For two endmembers or more, no other operator has this property for
    every estimate and truth, see `worst_errors`.
    """
    E, W = _errors(A_hat, A, rho, D, require=require)
    rows = W.sum(dim=1) * len(W) / W.shape[1]
    equal = (rows - 1).abs().max() <= ROUNDING
    check_hypothesis(equal, "the rows of D_rho do not all have the same sum", require)

    return float(slack(*(e.square().mean().sqrt() for e in (E @ W, E))))


def amplification(rho: Tensor, D: Tensor, *, require: bool = True) -> float:
    r"""Checks 1.4, how much an RMSE can grow, given the sums of the rows of :math:`D_\rho`.

    .. math:: 1 + \operatorname{Var}(q) \leq (s \|D_\rho\|_2)^2 \leq \max_i q_i, \qquad
        q_i = s^2 \sum_j (D_\rho)_{ij}

    The mean of :math:`q` is one: RMSE cannot grow if and only if all of its entries are one.
    Hypotheses: *kernel*, *light*. The upper bound is standard (Schur).
    """
    W = weights(rho, D, require=require)
    q = W.sum(dim=1) * len(W) / W.shape[1]
    growth = torch.linalg.matrix_norm(W, 2).square() * len(W) / W.shape[1]

    return float(min(slack(1 + q.var(correction=0), growth), slack(growth, q.max())))


def worst_errors(rho: Tensor, D: Tensor, R: int) -> tuple[Tensor, Tensor]:
    r"""Makes the estimate and the truth whose RMSE grows by :math:`s \|D_\rho\|_2`.

    Args:
        rho: The brightness, with shape (N,).
        D: The operator, with shape (N, n).
        R: The number of endmembers, two or more: one alone leaves no room for errors.

    Returns:
        The estimate and the truth, columns in the simplex, with shape (R, N).
    """
    check_hypothesis(R >= 2, "there is one endmember, and its abundance is known")
    # Of a non-negative matrix, the top singular vector has one sign
    top = torch.linalg.svd(weights(rho, D), full_matrices=False).U[:, 0].abs()
    A = torch.full((R, len(rho)), 1 / R, dtype=rho.dtype)
    A_hat = A.clone()
    A_hat[0], A_hat[1] = (1 + top / top.max()) / R, (1 - top / top.max()) / R

    return A_hat, A


def own_brightness(
    A_hat: Tensor, A: Tensor, rho_hat: Tensor, rho: Tensor, D: Tensor, *, require: bool = True
) -> float:
    r"""Checks 1.4 where the estimate is brought down with a brightness of its own.

    .. math:: \max_j \|(\hat A D_{\hat\rho} - A D_\rho)_j\| \leq \max_i \|e_i\|
        + \sqrt 2 \, \frac{\sqrt\kappa - 1}{\sqrt\kappa + 1}, \qquad
        \kappa = \frac{\max_i \hat\rho_i / \rho_i}{\min_i \hat\rho_i / \rho_i}

    Hypotheses: *simplex* and *light* for both, *kernel*, and brightness positive.
    """
    E, W = _errors(A_hat, A, rho, D, require=require)
    W_hat = weights(rho_hat, D, require=require)
    positive = min(rho.min(), rho_hat.min()) > 0
    check_hypothesis(positive, "the brightness of some HR pixel is not positive", require)
    ratio = rho_hat / rho
    root = (ratio.max() / ratio.min()).sqrt()
    left = (A_hat @ W_hat - A @ W).norm(dim=0).max()

    return float(slack(left, E.norm(dim=0).max() + math.sqrt(2) * (root - 1) / (root + 1)))


def _errors(
    A_hat: Tensor, A: Tensor, rho: Tensor, D: Tensor, require: bool
) -> tuple[Tensor, Tensor]:
    _, W = bring_down(A, rho, D, require=require)
    bring_down(A_hat, rho, D, require=require)

    return A_hat - A, W
