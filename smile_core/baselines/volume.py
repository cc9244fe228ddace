r"""Minimum volume: the smallest simplex that holds the pixels, up to a price for those outside.

Without pure pixels, the vertices are no pixels, but the simplex is still the smallest one around
them, if enough pixels lie on its facets. SISAL looks for the inverse :math:`Q = M^{-1}` of the
endmembers in the coordinates of the signal subspace,

.. math:: \min_Q - \log |\det Q| + \tau \sum_{k, i} h\bigl( (Q Y)_{ki} \bigr)
    \quad \text{s.t.} \quad 1^\top Q = q^\top, \qquad h(z) = \max(-z, 0),

where :math:`q` makes the abundances :math:`Q y_i` sum to one. The logarithm is replaced by its
tangent, with a small quadratic term, round after round. Within a round, variable splitting
:math:`Z = Q Y` alternates a constrained least squares problem in :math:`Q`, solved in closed form,
with a soft threshold in :math:`Z`.

All constants are those of the author's program. There, each round repeats its inner steps until
the quadratic model has not grown; here, it fails after `PASSES` times. The simplex may reach out
of the positive orthant: before abundances are solved for, negative entries are set to zero, which
brings the endmembers of real scenes nearer to their reference.

References:
    | A Variable Splitting Augmented Lagrangian Approach to Linear Spectral Unmixing
    | (Bioucas-Dias, 2009)
    | https://doi.org/10.1109/WHISPERS.2009.5289072
"""

__all__ = ["sisal", "sisal_fcls"]

import torch

from torch import Tensor

from ..enclosing import vertices
from ..mixing import fcls
from .geometric import flatten

# Weights of the quadratic term, and of the identity in the sphering of pixels of unit mean norm
QUADRATIC = 1e-6
SPHERING = 1e-8

# Inner steps of a round, and of the last one
STEPS, LAST_STEPS = 3, 99

# A round whose quadratic model grows so many times in a row has failed
PASSES = 100

# After so many halvings, there is no step left to take
HALVINGS = 50


def sisal_fcls(image: Tensor, R: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    r"""Unmixes by a simplex of minimum volume and fully constrained least squares.

    Args:
        image: The image, with shape (B, h, w).
        R: The number of endmembers.
        seed: The seed of the vertex component analysis to start from.

    Returns:
        The endmembers, with shape (B, R), and the abundances, with shape (R, h, w).
    """
    M = sisal(flatten(image, R), R, seed=seed).clamp_min(0)
    return M, fcls(image, M)


def sisal(
    pixels: Tensor,
    R: int,
    *,
    tau: float = 1.0,
    mu: float | None = None,
    rounds: int = 80,
    seed: int = 0,
) -> Tensor:
    r"""Finds endmembers as the vertices of a simplex of minimum volume.

    Args:
        pixels: The pixels, with shape (B, N).
        R: The number of endmembers, at least two.
        tau: The price :math:`\tau` of negative abundances.
        mu: The weight of the augmented Lagrangian; 1000 R / N if `None`.
        rounds: The number of rounds, each linearising the logarithm once.
        seed: The seed of the vertex component analysis to start from.

    Returns:
        The endmembers, which may have negative entries, with shape (B, R).

    Raises:
        RuntimeError: If a round cannot get the quadratic model down, or the result is not finite.
    """
    y = pixels.double()
    mu = 1000 * R / y.shape[1] if mu is None else mu

    # Pixels of unit mean norm, on their best affine subspace, sphered, lifted by a constant
    scale = y.norm(dim=0).mean()
    mean = y.mean(dim=1, keepdim=True) / scale
    centred = y / scale - mean
    values, vectors = torch.linalg.eigh(centred @ centred.mT / y.shape[1])
    spread = (values[-(R - 1) :].clamp_min(0) + SPHERING).sqrt()
    basis = vectors[:, -(R - 1) :]
    x = (basis / spread).mT @ centred
    Y = torch.cat([x, torch.ones_like(x[:1])]) / R**0.5  # (endmembers, pixels)

    # The simplex to start from holds the data: that of vertex component analysis, blown up
    M = Y[:, vertices(Y, torch.Generator().manual_seed(seed))]
    M = M + R * (M - M.mean(dim=1, keepdim=True))
    Q = _shrink(torch.linalg.inv(M), Y, tau, mu, rounds)

    M = torch.linalg.inv(Q)[:-1] * R**0.5
    M = (basis * spread @ M + mean) * scale
    if not M.isfinite().all():
        raise RuntimeError("The endmembers of minimum volume are not finite.")

    return M.to(pixels)


def _shrink(Q: Tensor, Y: Tensor, tau: float, mu: float, rounds: int) -> Tensor:
    R = len(Y)
    gram = Y @ Y.mT
    q = torch.linalg.solve(gram, Y.sum(dim=1))
    inverse = torch.linalg.inv(mu * gram + QUADRATIC * torch.eye(R).to(Y))
    Z, D = Q @ Y, torch.zeros_like(Y)

    def price(Q: Tensor) -> Tensor:
        return tau * (Q @ Y).clamp_max(0).sum().neg()

    def volume(Q: Tensor) -> Tensor:
        return price(Q) - torch.linalg.slogdet(Q).logabsdet

    for k in range(rounds):
        start, slope = Q, torch.linalg.inv(Q).mT

        def model(Q: Tensor, start: Tensor = start, slope: Tensor = slope) -> Tensor:
            step = Q - start
            return (QUADRATIC / 2 * step * step - slope * step).sum() + price(Q)

        for _ in range(PASSES):
            before, highest = model(Q), volume(Q)
            for _ in range(STEPS if k < rounds - 1 else LAST_STEPS):
                Q = (QUADRATIC * start + slope + mu * (Z + D) @ Y.mT) @ inverse
                Q = Q - (Q.sum(dim=0) - q) / R  # the columns sum to q
                Z = _soft(Q @ Y - D, tau / mu)
                D = D - (Q @ Y - Z)
            if model(Q) <= before:
                break
        else:
            raise RuntimeError(
                f"The minimum-volume simplex diverged in round {k + 1} of {rounds}: its quadratic "
                f"model grew {PASSES} times in a row."
            )

        # Back towards the start, as long as the objective itself has grown
        for _ in range(HALVINGS):
            if volume(Q) <= highest:
                break
            Q = (Q + start) / 2
        else:
            Q = start

    return Q


def _soft(z: Tensor, threshold: float) -> Tensor:
    # The proximal operator of the hinge
    return z.clamp_min(0) + (z + threshold).clamp_max(0)
