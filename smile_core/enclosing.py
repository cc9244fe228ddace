r"""Enclosing simplex: endmembers beyond the pixels, where none is pure.

Archetypes are mixtures of pixels, and stay inside their hull. Where no pixel is pure, endmembers
lie outside: at the corners of the smallest simplex around the pixels. With :math:`x_i` the pixels
in the :math:`R - 1` dimensions of their mixtures, :math:`V` the corners, :math:`s_{ki}` the
distance of pixel i from the facet opposite to corner k, positive inside, :math:`\tau_i` the noise
of the pixel and :math:`\tau` that of all,

.. math:: \min_V \; \frac{1}{2} \log \det \Bigl( I + \frac{C_V}{\tau^2} \Bigr) + \frac{\lambda}{N}
    \sum_{i, k} \frac{1}{2} \max \Bigl( 0, -\frac{s_{ki}}{\tau_i} \Bigr)^2, \qquad
    C_V = \frac{(V - \bar v 1^\top) (V - \bar v 1^\top)^\top}{R (R + 1)}.

The first term is the volume of the simplex, blurred by the noise: :math:`C_V` is the covariance of
mixtures that fill it evenly. With :math:`\lambda = 1` this is a joint maximum of the likelihood of
such mixtures; where :math:`-s_{ki}` is beyond :math:`4 \tau_i`, the square goes on as a straight
line, lest single bad pixels move corners. Pixels need not fill the simplex evenly, and then it may
cut some off. But of those on a facet, noise puts the part :math:`\Phi(-1)` outside by more than
its standard deviation, and :math:`\Phi(-2)` by more than twice that; of those cut off, more are
far. So :math:`\lambda` is raised, from one half on, until of all distances outside no more are far
than noise explains, and next to none beyond :math:`4 \tau_i`, as a rare material would be. Here
the noise is its root mean square over all directions of noise; in the formula :math:`\tau` is that
of the largest.

Many scenes have pixels without one material or the other, which lie on facets. They say where
these are much better than the outermost ones do. So, from the corners that were found, the
likelihood is climbed that each pixel is on the facet opposite to corner k with a probability
:math:`\pi_k`, and anywhere inside of it else,

.. math:: \max_{V, \pi} \; -\log \operatorname{vol} V + \frac{1}{N} \sum_{i, k} \log \Bigl( \pi_k
    \Bigl( 1 + \frac{h_k}{(R - 1) \tau_i} \Bigr) \varphi \Bigl( \frac{s_{ki}}{\tau_i} \Bigr) +
    (1 - \pi_k) \, \Phi \Bigl( \frac{s_{ki}}{\tau_i} \Bigr) \Bigr),

with :math:`h_k` the height of the simplex over that facet, over :math:`R - 1` its mean, and with a
tenth of the first term above, lest corners drift off that few pixels hold. Where pixels grow fewer
towards the facets instead, that cuts some of them off: what it finds is taken if the distances
outside are those of facets that are misplaced by a fifth of the noise at most, and the volume is
not larger than before.

References:
    | A Variable Splitting Augmented Lagrangian Approach to Linear Spectral Unmixing
    | (Bioucas-Dias, 2009): the volume, and a hinge for what is outside
    | https://doi.org/10.1109/WHISPERS.2009.5289072
    | Probabilistic Simplex Component Analysis (Wu et al., 2022): the likelihood
    | https://doi.org/10.1109/TSP.2021.3130977
"""

__all__ = ["enclose", "norms_of", "vertices"]

import math
import scipy.optimize
import torch
import torch.nn.functional as F

from collections.abc import Callable
from scipy.special import ndtr
from torch import Tensor

from .mixing import fcls

# Of pixels on a facet that are outside by the noise, so many are by twice the noise; and if the
# facet is inside of its place by a fifth of the noise
FAR, NEARLY = float(ndtr(-2) / ndtr(-1)), float(ndtr(-1.8) / ndtr(-0.8))

# Beyond so many times the noise, what is outside counts by its distance, not by its square
BEND = 4.0

# So large a part of the pixels may be further outside than that, and be no mixtures; more are a
# material that is rare
DEFECTS = 0.002

# The weights that are tried, in turn
WEIGHTS = [2 ** (k / 2) for k in range(-2, 11)]

# How much the volume counts where pixels on facets do
PULL = 0.1


def enclose(
    pixels: Tensor, R: int, *, light: Tensor | None = None, starts: int = 4, seed: int = 0
) -> Tensor:
    r"""Finds the corners of the smallest simplex around pixels.

    Args:
        pixels: The pixels, with their brightness divided out or fixed, with shape (B, N), in
            float64.
        R: The number of endmembers, at least 2 and at most B.
        light: What the pixels were divided by, with shape (N,), if they were: the noise of each is
            taken as inversely proportional to it. If `None`, all have the same noise.
        starts: The number of sets of extreme pixels to start from.
        seed: The seed of these.

    Returns:
        The endmembers, with shape (B, R).
    """
    centre = pixels.mean(dim=1, keepdim=True)
    values, vectors = torch.linalg.eigh((pixels - centre) @ (pixels - centre).mT / pixels.shape[1])
    basis = vectors[:, -(R - 1) :]
    x = basis.mT @ (pixels - centre)  # (R - 1, pixels)
    # The largest noise in any direction, and the mean, but for a direction without, which division
    # by the light leaves; where there is none at all, there is a little room
    noises = values[: -(R - 1)]
    noises = noises[noises > 1e-12 * values[-1]]
    noises = noises if len(noises) else values.new_zeros(1)
    room = 1e-3 * values[-(R - 1)].clamp_min(0).sqrt()
    noise, mean = (v.sqrt().maximum(room) for v in (noises[-1], noises.mean()))
    relative = torch.ones_like(x[0]) if light is None else 1 / light
    relative = relative / relative.square().mean().sqrt()

    generator = torch.Generator().manual_seed(seed)
    raised = torch.cat([x, x.norm(dim=0).mean().expand(1, x.shape[1])])
    extremes = [x[:, vertices(raised, generator)] for _ in range(starts)]
    V, begun = extremes[0], extremes
    for weight in WEIGHTS:
        tried = (_shrink(x, start, noise, noise * relative, weight) for start in begun)
        V = min(tried, key=lambda v: v[1])[0]
        outside, far, lost = _count(x, V, mean * relative)
        if far <= FAR * outside + (FAR * outside) ** 0.5 and lost <= DEFECTS * x.shape[1]:
            break  # of those far, up to one standard deviation more
        begun = [V, extremes[0]]

    settled = _settle(x, V, mean, mean * relative)
    outside, far, lost = _count(x, settled, mean * relative)
    if far <= NEARLY * outside and lost <= DEFECTS * x.shape[1]:
        V = min(V, settled, key=lambda v: _volume(v, mean))

    return basis @ V + centre


def vertices(coordinates: Tensor, generator: torch.Generator) -> Tensor:
    r"""Finds vertices as the extremes along random directions, orthogonal to those found before.

    References:
        | Vertex Component Analysis: A Fast Algorithm to Unmix Hyperspectral Data
        | (Nascimento, Bioucas-Dias, 2005)
        | https://doi.org/10.1109/TGRS.2005.844293

    Args:
        coordinates: The points in R dimensions, in float64, with shape (R, N).
        generator: What the directions are drawn from, on the CPU.

    Returns:
        The indices of the points, with shape (R,).
    """
    R = len(coordinates)
    found = torch.zeros(R, R).to(coordinates)
    found[-1, 0] = 1
    chosen = []

    for k in range(R):
        w = torch.randn(R, generator=generator, dtype=torch.float64).to(coordinates)
        f = w - found @ (torch.linalg.pinv(found) @ w)
        j = (f @ coordinates).abs().argmax()
        found[:, k] = coordinates[:, j]
        chosen.append(j)

    return torch.stack(chosen)


def norms_of(M: Tensor, pixels: Tensor) -> Tensor:
    r"""Estimates the physical norms of endmembers, from the light of the pixels they mix into.

    A pixel of physical endmembers has the light :math:`1 / \sum_k a_k / l_k`, with :math:`a_k` its
    abundances after division by the sum over the bands and :math:`l_k` the light of the endmember.

    Args:
        M: The endmembers, with a sum over the bands of one, with shape (B, R).
        pixels: The pixels as they are, with positive sums over the bands, with shape (B, N).

    Returns:
        The norms, with shape (R,).
    """
    light = pixels.sum(dim=0).double()
    a = fcls(pixels.double() / light, M)
    inverse, _ = scipy.optimize.nnls((a * light).mT.numpy(), torch.ones_like(light).numpy())
    # Not much brighter than the brightest pixels, in which no endmember need be pure
    limit = 2 * light.quantile(0.99)

    return M.norm(dim=0) / torch.from_numpy(inverse).to(M).clamp_min(1 / limit)


def _shrink(
    x: Tensor, start: Tensor, noise: Tensor, noises: Tensor, weight: float
) -> tuple[Tensor, float]:
    centre, forward, inverse = _frame(start, noise)
    y, V = inverse @ (x - centre), (inverse @ (start - centre)).requires_grad_(True)

    def objective() -> Tensor:
        outside = (-_distances(y, V, inverse) / noises).clamp_min(0)
        hinge = torch.where(outside < BEND, outside.square() / 2, BEND * (outside - BEND / 2))

        return _volume(forward @ V, noise) + weight * hinge.sum(dim=0).mean()

    loss = _minimise(objective, [V])

    return forward @ V.detach() + centre, loss


def _settle(x: Tensor, start: Tensor, noise: Tensor, noises: Tensor) -> Tensor:
    if not start.isfinite().all():
        return start
    centre, forward, inverse = _frame(start, noise)
    y, V = inverse @ (x - centre), (inverse @ (start - centre)).requires_grad_(True)
    R = V.shape[1]
    logits = V.new_zeros(R, 1).requires_grad_(True)  # of the parts of the pixels on each facet

    def objective() -> Tensor:
        z = _distances(y, V, inverse) / noises
        near = z.clamp_min(-BEND)
        heights = _distances(V, V, inverse).diagonal()[:, None]
        gain = torch.log1p(heights / ((R - 1) * noises)) - math.log(2 * math.pi) / 2
        on = F.logsigmoid(logits) + gain - near.square() / 2
        inside = F.logsigmoid(-logits) + torch.special.log_ndtr(near)
        fit = torch.logaddexp(on, inside) + BEND * (z - near)
        volume = torch.linalg.slogdet(_raise(V)).logabsdet

        return volume + PULL * _volume(forward @ V, noise) - fit.sum(dim=0).mean()

    loss = _minimise(objective, [V, logits])

    return forward @ V.detach() + centre if math.isfinite(loss) else start


def _frame(start: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    # Coordinates in which a simplex is about regular: their origin, from and to them
    centre = start.mean(dim=1, keepdim=True)
    u, s, _ = torch.linalg.svd(start - centre, full_matrices=False)
    s = s.clamp_min(1e-3 * s[0]).maximum(noise)

    return centre, u * s, (u / s).mT


def _volume(V: Tensor, noise: Tensor) -> Tensor:
    # Blurred by the noise, its logarithm
    spread, R = V - V.mean(dim=1, keepdim=True), V.shape[1]
    blurred = spread @ spread.mT / (noise**2 * R * (R + 1))

    return torch.logdet(torch.eye(len(V), dtype=V.dtype) + blurred) / 2


def _minimise(objective: Callable[[], Tensor], variables: list[Tensor]) -> float:
    optimizer = torch.optim.LBFGS(
        variables,
        max_iter=300,
        history_size=20,
        tolerance_change=1e-9,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = objective()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    loss = float(objective().detach())

    return loss if loss == loss else math.inf


def _count(x: Tensor, V: Tensor, noises: Tensor) -> tuple[int, int, int]:
    # Of the distances of pixels from facets, those outside by the noise, and by twice that; and
    # the pixels that are outside by more than noise explains
    outside = -_distances(x, V) / noises
    lost = (outside > BEND).any(dim=0)

    return int((outside > 1).sum()), int((outside > 2).sum()), int(lost.sum())


def _distances(x: Tensor, V: Tensor, inverse: Tensor | None = None) -> Tensor:
    # Barycentric coordinates over the lengths of their gradients, in the metric before `inverse`
    rows = torch.linalg.inv_ex(_raise(V)).inverse
    gradients = rows[:, :-1] if inverse is None else rows[:, :-1] @ inverse

    return (rows[:, :-1] @ x + rows[:, -1:]) / gradients.norm(dim=1, keepdim=True)


def _raise(V: Tensor) -> Tensor:
    return torch.cat([V, V.new_ones(1, V.shape[1])])
