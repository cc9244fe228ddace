r"""Linear mixing: simplex, brightness, conventions, and the certified constrained solve.

A pixel is a brightness times a convex combination of endmembers,

.. math:: x_i = \rho_i M a_i + e_i, \qquad
    a_i \in \Delta = \{ a \in \mathbb{R}_+^R \mid 1^\top a = 1 \}.

Scaling the endmembers and the brightness changes the abundances: a number without its convention
means little. With physical endmembers :math:`m_k` and :math:`x = \sum_k c_k m_k`,
:math:`c_k \geq 0`,

======= ================================ ============== ========================================
name    abundances                       endmembers     brightness, and what an abundance is
======= ================================ ============== ========================================
`share` :math:`a_k \propto c_k \|m_k\|`  unit norm      free; share of the light of the pixel
`area`  :math:`a_k \propto c_k`          physical norms free; fraction of the area of the pixel
`plain` :math:`a_k = c_k`                physical norms one; plain linear mixing, Y = M A
======= ================================ ============== ========================================
"""

__all__ = ["Convention", "convert", "fcls", "gap", "project_simplex", "unit", "unmix_pixels"]

import torch

from torch import Tensor
from typing import Literal, get_args

Convention = Literal["share", "area", "plain"]

# Up to so many endmembers, the inverses for all 2^R - 1 supports are tabulated: always up to the
# first number, and up to the second one if there are more pixels than supports
ALWAYS, TABULATED = 6, 12

# So many pixels are solved at once, which bounds the memory
BLOCK = 2**16


def unit(x: Tensor, dim: int = 0) -> Tensor:
    r"""Divides spectra by their Euclidean norm; zero spectra stay zero.

    Args:
        x: The spectra, with the bands along `dim`.
        dim: The dimension of the bands.
    """
    return x / x.norm(dim=dim, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)


def project_simplex(a: Tensor, dim: int = 0) -> Tensor:
    r"""Projects onto the simplex, :math:`\arg \min_{z \in \Delta} \|z - a\|_2`.

    References:
        | Efficient Projections onto the l1-Ball (Duchi et al., 2008)
        | https://doi.org/10.1145/1390156.1390176

    Args:
        a: The point :math:`a`, with shape (\*, R, \*).
        dim: The dimension of the endmembers.

    Returns:
        The projection, with the shape of `a`.

    Example:
        >>> project_simplex(torch.tensor([0.5, 1.0, -1.0]))
        tensor([0.2500, 0.7500, 0.0000])
    """
    a = a.movedim(dim, -1)
    # A shift of all entries changes nothing, but next to large ones the 1 would be rounded away
    top = a.amax(dim=-1, keepdim=True)
    a = a - (top - top.clamp(0, 1))
    u = a.sort(dim=-1, descending=True).values
    # The threshold that the k largest entries would need, for k = 1, ..., R
    threshold = (u.cumsum(dim=-1) - 1) / torch.arange(1, a.shape[-1] + 1, device=a.device)
    k = (u > threshold).sum(dim=-1, keepdim=True)
    z = (a - threshold.gather(-1, k - 1)).clamp_min(0)

    return z.movedim(-1, dim)


def fcls(y: Tensor, M: Tensor) -> Tensor:
    r"""Solves fully constrained least squares, pixel by pixel, to the optimum.

    .. math:: a_i = \arg \min_{a \in \Delta} \frac{1}{2} \|y_i - M a\|^2

    The optimum solves a linear system on its support, the endmembers that it uses. An active set
    finds it, for all pixels at once: each takes its own endmembers in and out, one a round, from
    where the projection of the solution with all of them has come. Where endmembers are few, the
    systems of all supports are inverted beforehand. Endmembers may be repeated.

    References:
        | Fully constrained least squares linear spectral mixture analysis (Heinz, Chang, 2001)
        | https://doi.org/10.1109/36.911111

    Args:
        y: The pixels, with shape (B, \*).
        M: The endmembers, with shape (B, R).

    Returns:
        The abundances, with shape (R, \*), in the precision of `y`; computed in float64.

    Raises:
        ValueError: If the numbers of bands of `y` and `M` differ.
    """
    if y.shape[0] != M.shape[0]:
        raise ValueError(
            f"The endmembers should have the {y.shape[0]} bands of the pixels, "
            f"got {M.shape[0]} bands and {M.shape[1]} endmembers."
        )

    G, b = _normal_equations(y.reshape(len(y), -1), M)
    # The unit of the spectra changes nothing, but singular systems are told by absolute size
    size = G.diagonal().max().clamp_min(torch.finfo(G.dtype).tiny)
    G, b = G / size, b / size

    return _find_supports(G, b).to(y.dtype).reshape(M.shape[1], *y.shape[1:])


def gap(a: Tensor, y: Tensor, M: Tensor) -> Tensor:
    r"""Bounds how far abundances are from the optimum, by the Frank-Wolfe gap of each pixel.

    .. math:: g_i = \max_{v \in \Delta} \langle \nabla f(a_i), a_i - v \rangle
        \geq f(a_i) - \min_{a \in \Delta} f(a), \qquad f(a) = \frac{1}{2} \|y_i - M a\|^2

    References:
        | Revisiting Frank-Wolfe: Projection-Free Sparse Convex Optimization (Jaggi, 2013)
        | https://proceedings.mlr.press/v28/jaggi13.html

    Args:
        a: The abundances, in the simplex, with shape (R, \*).
        y: The pixels, with shape (B, \*).
        M: The endmembers, with shape (B, R).

    Returns:
        The gaps, in the unit of `y` squared, with shape (\*,), in float64.
    """
    G, b = _normal_equations(y.reshape(len(y), -1), M)
    a_ = a.reshape(len(a), -1).double()
    gradient = G @ a_ - b  # (endmembers, pixels)

    return ((gradient * a_).sum(dim=0) - gradient.amin(dim=0)).reshape(a.shape[1:])


def unmix_pixels(
    image: Tensor, M: Tensor, convention: Convention = "share"
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Finds the abundances and the brightness of every pixel, given the endmembers.

    Where the brightness is free, pixels and endmembers are divided by their sum over the bands.
    That is linear in the spectrum, so that mixtures stay mixtures: the model holds exactly, as it
    would not after a division by the norm.

    Args:
        image: The image, with shape (B, \*). Pixels whose sum over the bands is not positive are
            dead: they get abundances 1 / R, brightness 0 and gap 0.
        M: The endmembers :math:`M`, with shape (B, R) and positive sums over the bands, with unit
            norm for `share` and physical norm for `area` and `plain`.
        convention: What an abundance is, see `smile_core.mixing`.

    Returns:
        The abundances, with shape (R, \*); the brightness, in the unit of `image` over that of
        `M`, with shape (\*,); the Frank-Wolfe gaps of the constrained solve relative to the energy
        :math:`\frac{1}{2} \|y_i\|^2` of the pixel, with shape (\*,), in float64.
    """
    if convention not in get_args(Convention):
        raise ValueError(
            f"Unknown convention '{convention}', expected one of {get_args(Convention)}."
        )

    blocks = image.reshape(len(image), -1).split(BLOCK, dim=1)
    solved = [_unmix_block(x.double(), M.double(), convention) for x in blocks]
    a, brightness, gaps = (torch.cat(parts, dim=-1) for parts in zip(*solved, strict=True))
    shape = image.shape[1:]

    return (
        a.to(image.dtype).reshape(M.shape[1], *shape),
        brightness.to(image.dtype).reshape(shape),
        gaps.reshape(shape),
    )


def convert(
    a: Tensor, M: Tensor, brightness: Tensor, norms: Tensor, convention: Convention
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Converts abundances between `share` and `area`: the same pixels, other endmember scales.

    .. math:: \rho \, M a = \rho' M' a', \qquad m'_k = n_k \frac{m_k}{\|m_k\|}, \quad
        a'_k \propto a_k \frac{\|m_k\|}{n_k}

    Args:
        a: The abundances, with shape (R, \*).
        M: The endmembers that they go with, with shape (B, R).
        brightness: The brightness, with shape (\*,).
        norms: The physical norms of the endmembers, with shape (R,).
        convention: The convention to go to; from and to `plain` there is no conversion, because
            there the brightness is not free.

    Returns:
        The abundances, endmembers and brightness in the new convention.

    Raises:
        ValueError: If `convention` is neither `share` nor `area`.
    """
    if convention not in ("share", "area"):
        raise ValueError(
            f"Abundances can be converted to 'share' and 'area', not to '{convention}': where the "
            "brightness is fixed, the pixels have to be solved again."
        )

    ratio = M.norm(dim=0) / (norms if convention == "area" else 1)
    c = a * ratio.reshape(-1, *[1] * (a.ndim - 1))
    total = c.sum(dim=0)

    return c / total, M / ratio, brightness * total


def _unmix_block(x: Tensor, M: Tensor, convention: str) -> tuple[Tensor, Tensor, Tensor]:
    light, scale = x.sum(dim=0), M.sum(dim=0)
    dead = light <= 0
    safe = torch.where(dead, 1, light)

    y, N = (x, M) if convention == "plain" else (x / safe, M / scale)
    a = fcls(y, N)
    energy = y.square().sum(dim=0).clamp_min(1e-300) / 2
    gaps = gap(a, y, N) / energy
    brightness = torch.ones_like(light)

    if convention != "plain":
        c = a / scale[:, None]
        a, brightness = c / c.sum(dim=0), c.sum(dim=0) * safe

    return (
        torch.where(dead, 1 / len(a), a),
        torch.where(dead, 0, brightness),
        torch.where(dead, 0, gaps),
    )


def _normal_equations(y: Tensor, M: Tensor) -> tuple[Tensor, Tensor]:
    M = M.double()
    return M.mT @ M, M.mT @ y.double()  # (R, R), (R, N)


def _find_supports(G: Tensor, b: Tensor) -> Tensor:
    # Primal active sets, all pixels at once: each takes its own endmembers in and out, one a round
    R, N = b.shape
    tables = _tabulate(G) if R <= ALWAYS or (R <= TABULATED and 2**R <= N) else None
    bits = 2 ** torch.arange(R, device=b.device)
    b = b.mT.contiguous()  # (pixels, endmembers)
    a = project_simplex(_solve_on(torch.ones_like(b).bool(), G, b, tables, bits), dim=1)
    used = a > 0
    todo = torch.arange(N, device=b.device)

    for _ in range(20 * R):
        x, target, free = a[todo], b[todo], used[todo]
        z = _solve_on(free, G, target, tables, bits)

        # As far as the constraints allow; the endmember that ends the step goes out
        reach = torch.where(z < 0, x / (x - z), float("inf"))
        step, last = reach.min(dim=1, keepdim=True)
        blocked = step < 1
        x = torch.where(blocked, (x + step * (z - x)).clamp_min(0), z)
        x, free = (v.scatter(1, last, v.gather(1, last) * ~blocked) for v in (x, free))

        # At the optimum of a support, the one that promises most comes in
        gradient = x @ G - target
        promise = (x * gradient).sum(dim=1, keepdim=True) - gradient
        most, best = promise.max(dim=1, keepdim=True)
        done = ~blocked & (most <= 1e-13)
        free = free.scatter(1, best, free.gather(1, best) | ~blocked)

        a[todo], used[todo] = x, free
        todo = todo[~done[:, 0]]
        if not len(todo):
            break

    return (a / a.sum(dim=1, keepdim=True)).mT


def _solve_on(
    free: Tensor, G: Tensor, b: Tensor, tables: tuple[Tensor, Tensor] | None, bits: Tensor
) -> Tensor:
    # Stationarity and the sum to one, on the support S of each pixel: G_S a + nu 1 = b_S, 1' a = 1
    if tables is not None:
        index = (free * bits).sum(dim=1) - 1
        return (tables[0][index] @ b[:, :, None])[:, :, 0] + tables[1][index]

    right = torch.cat([free * b, b.new_ones(len(b), 1)], dim=1)
    return torch.linalg.solve(_systems(free, G), right)[:, :-1] * free


def _tabulate(G: Tensor) -> tuple[Tensor, Tensor]:
    # The inverse for every support, where its part of b goes and where the sum to one goes
    R = len(G)
    masks = torch.arange(1, 2**R, device=G.device)[:, None] >> torch.arange(R, device=G.device)
    free = (masks & 1).bool()
    K = _systems(free, G)
    inverse = torch.linalg.inv_ex(K).inverse
    # Where endmembers repeat
    singular = ~((K @ inverse - torch.eye(R + 1).to(K)).abs().amax(dim=(1, 2)) <= 1e-6)
    inverse[singular] = torch.linalg.pinv(K[singular], rtol=1e-10, hermitian=True)
    inverse = inverse[:, :R] * free[:, :, None]

    return inverse[:, :, :R] * free[:, None, :], inverse[:, :, R]


def _systems(free: Tensor, G: Tensor) -> Tensor:
    # A ridge below rounding lets endmembers repeat
    N, R = free.shape
    mask = free.to(G)
    K = G.new_zeros(N, R + 1, R + 1)
    K[:, :R, :R] = mask[:, :, None] * mask[:, None, :] * G
    K[:, :R, :R] += torch.diag_embed(1 - mask) + 1e-14 * torch.eye(R).to(G)
    K[:, :R, R] = K[:, R, :R] = mask

    return K
