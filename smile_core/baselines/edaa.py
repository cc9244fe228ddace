r"""Entropic archetypal analysis, as published: endmembers as convex combinations of pixels.

EDAA fits the pixels, divided by their norm, by archetypes,

.. math:: \min_{A, W} f(A, W) = \frac{1}{2} \|Y - Y W A\|_F^2, \qquad
    a_i \in \Delta^{R - 1}, \; w_k \in \Delta^{N - 1},

with entropic descent, which stays inside the simplices: in turn, a few steps

.. math:: A \gets \operatorname{softmax}(\log A - \eta_A \nabla_A f), \qquad
    W \gets \operatorname{softmax}(\log W - \eta_W \nabla_W f).

From a start of nearly equal weights, :math:`\eta_A = \gamma / \|Y W\|_2^2` and
:math:`\eta_W = \eta_A \sqrt{R / N}`, with a factor :math:`\gamma` drawn from
:math:`2^{-3}, \dots, 2^3`. Fifty restarts differ in the start and in the factor. Among those whose
absolute residual :math:`\|Y - Y W A\|_1` is within 5 % of the best, the one of least coherence is
chosen, which is the largest correlation between two of its endmembers.

The updates are those of the authors' program, and with seed 0 the restarts too; but they run in
batches, and products that stay the same through a few steps are computed once. Large steps amplify
rounding until another restart wins, hence float64. The paper takes 5 + 5 inner steps, as is done
here; the program was last released with 20 + 20, and subtracts the minimum of the image first.

References:
    | Entropic Descent Archetypal Analysis for Blind Hyperspectral Unmixing (Zouaoui et al., 2023)
    | https://doi.org/10.1109/TIP.2023.3301769
"""

__all__ = ["coherence", "descend", "edaa"]

import numpy as np
import torch

from torch import Tensor

from ..mixing import unit
from .geometric import flatten

# So many restarts are run at once, which bounds the memory
BATCH = 10

# The factors of the step size are two to the power of -EXPONENT, ..., EXPONENT
EXPONENT = 3


def edaa(
    image: Tensor,
    R: int,
    seed: int = 0,
    *,
    restarts: int = 50,
    rounds: int = 100,
    inner: int = 5,
    tolerance: float = 0.05,
) -> tuple[Tensor, Tensor]:
    r"""Unmixes by entropic archetypal analysis.

    Args:
        image: The image, with shape (B, h, w). Pixels that are zero stay zero.
        R: The number of endmembers.
        seed: The seed; no two seeds share a restart, if there are equally many of them.
        restarts: The number of restarts.
        rounds: The number of rounds.
        inner: The number of steps in either factor in a round.
        tolerance: How much worse than the best a restart may fit to compete, relative to its own
            residual.

    Returns:
        The endmembers, combinations of unit spectra, with shape (B, R), and the abundances, with
        shape (R, h, w).

    Raises:
        RuntimeError: If no restart gives a finite result.
    """
    Y = unit(flatten(image, R).double())
    M, A = [], []

    for first in range(0, restarts, BATCH):
        numbers = range(first, min(first + BATCH, restarts))
        W, factor = _start(Y, R, [restarts * seed + m for m in numbers])
        A_, W = descend(Y, W, factor, rounds=rounds, inner=inner)
        M.extend((W @ Y.mT).mT)
        A.extend(A_)

    residual = torch.stack([(Y - m @ a).abs().sum() for m, a in zip(M, A, strict=True)])
    correlation = torch.stack([coherence(m) for m in M])
    finite = residual.isfinite() & correlation.isfinite()
    if not finite.any():
        raise RuntimeError(f"None of the {restarts} restarts of archetypal analysis is finite.")

    eligible = finite & (residual - residual[finite].min() <= tolerance * residual)
    chosen = int(torch.where(eligible, correlation, torch.inf).argmin())

    return M[chosen].to(image), A[chosen].to(image).reshape(R, *image.shape[1:])


def descend(
    Y: Tensor, W: Tensor, factor: Tensor, *, rounds: int, inner: int
) -> tuple[Tensor, Tensor]:
    r"""Descends from equal abundances and given weights, all restarts at once.

    Args:
        Y: The pixels, with shape (B, N).
        W: The weights of the pixels in the endmembers, transposed, with shape (restarts, R, N).
        factor: The factor :math:`\gamma` of the step size, with shape (restarts,).
        rounds: The number of rounds.
        inner: The number of steps in either factor in a round.

    Returns:
        The abundances and the weights, both with shape (restarts, R, N).
    """
    R, N = W.shape[1:]
    A = torch.full_like(W, 1 / R)
    step = (factor / torch.linalg.matrix_norm(W @ Y.mT, 2).square())[:, None, None]

    for _ in range(rounds):
        M = W @ Y.mT  # (restarts, endmembers, bands)
        MY, MM = M @ Y, M @ M.mT
        for _ in range(inner):
            A = (A.log() + step * (MY - MM @ A)).softmax(dim=1)

        YA, AA = A @ Y.mT, A @ A.mT
        for _ in range(inner):
            residual = YA - AA @ (W @ Y.mT)
            W = (W.log() + step * (R / N) ** 0.5 * (residual @ Y)).softmax(dim=2)

    return A, W


def coherence(M: Tensor) -> Tensor:
    r"""Computes the largest correlation between two endmembers.

    Args:
        M: The endmembers, at least two, with shape (B, R).
    """
    R = M.shape[1]
    return torch.corrcoef(M.mT)[~torch.eye(R).bool()].max()


def _start(Y: Tensor, R: int, seeds: list[int]) -> tuple[Tensor, Tensor]:
    weights, factors = [], []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        logits = 0.1 * torch.rand(Y.shape[1], R, generator=generator)
        weights.append(logits.softmax(dim=0).mT)
        power = np.random.RandomState(seed).randint(-EXPONENT, EXPONENT + 1)
        factors.append(2.0**power)

    return torch.stack(weights).to(Y), torch.tensor(factors).to(Y)
