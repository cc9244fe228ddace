r"""Archetypes: endmembers that are mixtures of pixels, found without a reference.

Archetypal analysis looks for :math:`R` convex combinations of the pixels of which all pixels are
convex combinations,

.. math:: \min_{W, A} \sum_i v_i \|y_i - Y W a_i\|^2, \qquad M = Y W,
    \quad w_k \in \Delta^{N - 1}, \; a_i \in \Delta^{R - 1},

over pixels :math:`y_i` of unit norm, or, where the brightness is fixed, as they are. Entropic
(mirror) steps keep both factors inside their simplices, and start from many places at once: all
restarts are one batch of matrix products, in the subspace of the leading singular vectors. Four
choices, made without seeing a reference, decide the result:

- *Starts.* Pixels are drawn far from each other: each with a probability that grows with the
  square of its distance from the affine span of those before.
- *Weights.* The unit spectrum of a dark pixel is noisier. For shot noise its variance goes with
  :math:`1 / \rho_i`, beside that of the materials themselves, hence
  :math:`v_i \propto \rho_i / (\rho_i + \operatorname{median} \rho)`.
- *The restart.* Many restarts fit nearly as well. Among those whose misfit, a mean spectral angle,
  is within 3 % of the smallest, the one whose endmembers span the largest volume is taken.
- *Scale.* Endmembers are shared across scales, so that large images are first brought down by two:
  four times cheaper, and less noisy.

References:
    | Entropic Descent Archetypal Analysis for Blind Hyperspectral Unmixing (Zouaoui et al., 2023)
    | https://doi.org/10.1109/TIP.2023.3301769
    | Archetypal Analysis++: Rethinking the Initialization Strategy (Mair, Sjölund, 2024): starts
    | https://arxiv.org/abs/2301.13748
"""

__all__ = ["Archetypes", "archetypes", "candidates"]

import torch

from collections.abc import Callable
from torch import Tensor
from typing import NamedTuple

from .degradation import degrade, degrade_alive, pad_to_multiple
from .mixing import unit

# An image is brought down by two if this many pixels are left
COARSE_PIXELS = 2000

# Larger sets of pixels are sampled
MOST_PIXELS = 10_000


class Archetypes(NamedTuple):
    r"""Endmembers, and how the restarts compare.

    Args:
        M: The endmembers of the chosen restart, at their physical norms, with shape (B, R).
        W: The weights :math:`W` of the unit pixels in them, columns in the simplex, with shape
            (N, R).
        pixels: The pixels, with shape (B, N).
        misfit: The weighted mean spectral angle of each restart in radians, with shape
            (restarts,); for pixels as they are, the root mean square of their distances from the
            mixtures.
        volume: The squared volume that the endmembers of each restart span, with shape
            (restarts,): those of unit norm with the origin, or those as they are with a point at
            the mean norm from their subspace.
        chosen: The index of the chosen restart.
    """

    M: Tensor
    W: Tensor
    pixels: Tensor
    misfit: Tensor
    volume: Tensor
    chosen: int

    @property
    def history(self) -> dict[str, list[float]]:
        r"""How the restarts compare, by the name of the series."""
        misfit, volume = self.misfit.tolist(), self.volume.tolist()
        return {"misfit": misfit, "volume": volume, "chosen": [self.chosen]}


def archetypes(
    pixels: Tensor,
    R: int,
    *,
    area: Tensor | None = None,
    near: Tensor | None = None,
    normalised: bool = True,
    restarts: int = 48,
    rounds: int = 100,
    inner: int = 5,
    steps: tuple[float, ...] = (4.0, 8.0, 16.0),
    subspace: int = 12,
    tolerance: float = 0.03,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> Archetypes:
    r"""Finds archetypes by entropic descent from many restarts.

    Args:
        pixels: The pixels :math:`Y`, none of them zero, with shape (B, N).
        R: The number of endmembers.
        area: The area of each pixel in any unit, with shape (N,); equal areas if `None`.
        near: Endmembers to start near, in whose order they come, with shape (B, R). Then there is
            one restart for each step size.
        normalised: Whether to divide the pixels by their norm; if not, their brightness is fixed,
            and they all weigh the same.
        restarts: The number of restarts.
        rounds: The number of rounds, each of `inner` steps in A and `inner` in W.
        inner: The number of steps before the other factor's turn.
        steps: The step sizes, as multiples of the inverse Lipschitz constant at the start, dealt
            out to the restarts in turn.
        subspace: The number of leading singular vectors to work in, and R if that is larger.
        tolerance: How much worse than the best fit a restart may be to compete for volume,
            relative.
        seed: The seed of the restarts, drawn on the CPU for every device.
        progress: Called with a stage's name, the rounds done and their number.

    Returns:
        The archetypes.

    Raises:
        ValueError: If there are more endmembers than pixels.
    """
    N = pixels.shape[1]
    if N < R:
        raise ValueError(f"The pixels should be at least as many as endmembers, {R}, got {N}.")

    norms = pixels.norm(dim=0)
    y, v = (pixels / norms, norms / (norms + norms.median())) if normalised else (pixels, norms**0)
    v = v if area is None else v * area
    v = v / v.mean()

    # The leading left singular vectors, from the B x B Gram matrix; in float64, hence on the CPU
    y_ = y.cpu().double()
    basis = torch.linalg.eigh(y_ @ y_.mT).eigenvectors[:, -max(subspace, R) :].to(y)
    Y = basis.mT @ y  # (subspace, pixels)

    if near is not None:
        restarts = len(steps)
        near = (basis.mT @ (unit(near) if normalised else near).to(y)).cpu()
    # Both factors with the pixels last, as memory has them, and their logarithms up to a constant
    W = _start(Y.cpu(), R, restarts, seed, near).mT.contiguous().to(Y)
    logW, A = W.log(), Y.new_full((restarts, R, N), 1 / R)
    logA, vA = torch.zeros_like(A), torch.empty_like(A)
    step = torch.tensor(steps).to(Y)[torch.arange(restarts) % len(steps), None, None]
    step_a = step / torch.linalg.matrix_norm(Y @ W.mT, 2)[:, None, None].square()
    step_w = step_a * (R / N) ** 0.5

    for done in range(rounds):
        M = Y @ W.mT
        MtY, MtM = step_a * (M.mT @ Y), step_a * (M.mT @ M)
        for _ in range(inner):
            logA.baddbmm_(MtM, A, alpha=-1).add_(MtY)
            _softmax(logA, dim=1, out=A)

        torch.mul(v, A, out=vA)
        YA, AA = Y @ vA.mT, A @ vA.mT
        for _ in range(inner):
            residual = step_w * (YA - Y @ W.mT @ AA)
            logW.baddbmm_(residual.mT, Y.expand(restarts, -1, -1))
            _softmax(logW, dim=2, out=W)

        if progress is not None:
            progress("archetypes", done + 1, rounds)

    W = W.mT
    M = Y @ W
    if normalised:
        M = unit(M, dim=1)
        cosine = (unit(M @ A, dim=1) * unit(Y)).sum(dim=1)
        misfit = (v * cosine.clamp(-1, 1).arccos()).mean(dim=1).cpu()
    else:
        misfit = (v * (Y - M @ A).square().sum(dim=1)).mean(dim=1).sqrt().cpu()
        # The origin is no endmember, but may be near one, a shadow: it is moved out of the way
        M = torch.cat([M, norms.mean().expand(restarts, 1, R)], dim=1)
    volume = torch.linalg.det((M.mT @ M).cpu().double())
    eligible = misfit <= misfit.min() * (1 + tolerance)
    chosen = int(torch.where(eligible, volume, -1).argmax())

    # Back to all bands, and to the norms of the pixels that they are made of
    M = (y @ W[chosen]).clamp_min(0)
    M = unit(M) * (norms @ W[chosen]) if normalised else M

    return Archetypes(M, W[chosen], pixels, misfit, volume, chosen)


def candidates(
    image: Tensor,
    *,
    hr: Tensor | None = None,
    hr_mask: Tensor | None = None,
    coarse: bool = True,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    r"""Gathers the pixels that endmembers may be made of.

    Those of the HR image where it is shown, for it has purer pixels (Theorem 1); of the LR image
    elsewhere.

    Args:
        image: The LR image, with shape (B, h, w).
        hr: The HR image, with shape (B, H, W), if there is one.
        hr_mask: Where the HR image is shown, boolean, with shape (H, W). Everywhere if `None`.
        coarse: Whether to bring large images down by two.
        seed: The seed of the sample, if there are too many pixels.

    Returns:
        The pixels, without dead ones, with shape (B, N), and their area in HR pixels, or in LR
        pixels where there is no HR image, with shape (N,): a part that is seen finer must not
        count more.
    """
    if hr is None:
        images = [(image, 1)]
    elif hr_mask is None:
        images = [(hr, 1)]
    else:
        scale = hr.shape[-1] // image.shape[-1]
        hidden = degrade(hr_mask[None].to(hr), scale)[0] == 0
        images = [(hr * hr_mask, 1), (image * hidden, scale**2)]

    pixels, areas = [], []
    for x, area in images:
        x, areas_of_x = _coarse(x) if coarse else (x, torch.ones_like(x[0]))
        alive = x.sum(dim=0) > 0
        pixels.append(x[:, alive])
        areas.append(area * areas_of_x[alive])
    y, areas = torch.cat(pixels, dim=1), torch.cat(areas)

    if y.shape[1] > MOST_PIXELS:
        generator = torch.Generator().manual_seed(seed)
        sample = torch.randperm(y.shape[1], generator=generator)[:MOST_PIXELS].sort().values
        y, areas = y[:, sample], areas[sample]

    return y, areas


def _softmax(x: Tensor, dim: int, out: Tensor) -> None:
    # In place, for memory that is fresh costs more than the steps. Less than rounding is left of
    # what is cut off, which would end in denormal numbers, and those are slow.
    x -= x.amax(dim=dim, keepdim=True)
    torch.clamp(x, min=-40, out=out).exp_()
    out /= out.sum(dim=dim, keepdim=True)


def _start(Y: Tensor, R: int, restarts: int, seed: int, near: Tensor | None = None) -> Tensor:
    # Half of the weight on one pixel for each endmember, drawn or the nearest one, half spread
    generator = torch.Generator().manual_seed(seed)
    N = Y.shape[1]
    logits = 0.1 * torch.rand(restarts, N, R, generator=generator)
    for r in range(restarts):
        drawn = _draw(Y, R, generator) if near is None else _nearest(Y, near)
        logits[r, drawn, torch.arange(R)] += torch.tensor(float(N)).log()

    return logits.softmax(dim=1)


def _draw(Y: Tensor, R: int, generator: torch.Generator) -> list[int]:
    # The first at random, the others in proportion to the squared distance from the affine span
    # of those before
    drawn = [int(torch.randint(Y.shape[1], (1,), generator=generator))]
    left = Y - Y[:, drawn]
    while len(drawn) < R:
        distance = left.square().sum(dim=0)
        if not distance.sum() > 0:  # nothing is left outside
            distance = torch.ones_like(distance)
        drawn.append(int(torch.multinomial(distance, 1, generator=generator)))
        direction = unit(left[:, drawn[-1]])
        left = left - direction[:, None] * (direction @ left)

    return drawn


def _nearest(Y: Tensor, near: Tensor) -> list[int]:
    # By least squares, without an array of pixels times endmembers times bands
    distance = Y.square().sum(dim=0)[:, None] - 2 * Y.mT @ near  # (pixels, endmembers)
    return distance.argmin(dim=0).tolist()


def _coarse(image: Tensor) -> tuple[Tensor, Tensor]:
    # With the area of each pixel: what is dead or hidden is not mixed in
    if image[0].numel() < 4 * COARSE_PIXELS:
        return image, torch.ones_like(image[0])
    coarse, part = degrade_alive(pad_to_multiple(image, 2), 2)

    return coarse, 4 * part
