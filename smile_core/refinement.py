r"""Refinement: the accessible solve on the scene, as the last stage of unmixing.

The theorems speak of images whose brightness is divided out, and it has to be a linear functional
of the spectrum. Here it is the sum over the bands: pixels and endmembers are divided by it, the
problem of `smile_core.accessible` is solved, and the result is brought back to endmembers of unit
norm. In the convention `plain` there is nothing to divide.

Where an HR image is shown, it is the target of the SR task; elsewhere that are the mixtures which
the network has arrived at, so that its spatial prior is kept.
"""

__all__ = ["Refined", "candidates_of", "pose", "refine"]

import torch

from torch import Tensor
from typing import Literal, NamedTuple

from .accessible import Problem, alternate, energy, gaps, solve
from .archetypes import Archetypes
from .degradation import degrade
from .mixing import Convention, unit
from .objective import Level

# Pixels that are darker than so many times the mean are noise once their light is divided out
DIM = 0.01


class Refined(NamedTuple):
    r"""The scene after the accessible solve.

    Args:
        M: The endmembers, with shape (B, R).
        a: The HR abundances, with shape (R, H, W).
        brightness: The HR brightness, with shape (H, W).
        gap: The Frank-Wolfe gap of each LR pixel and the HR pixels in it, relative to their
            energy, with shape (h, w).
        history: The objective over the alternating steps (`alternation`); the objective and its
            gap while the abundances are solved for (`objective`, `gap`). All relative to the
            energy of the scene.
    """

    M: Tensor
    a: Tensor
    brightness: Tensor
    gap: Tensor
    history: dict[str, list[float]]


def refine(
    Y: Tensor,
    up: Level,
    M: Tensor,
    convention: Convention,
    *,
    guidance: float,
    mu: float,
    alternations: int,
    hr: Tensor | None = None,
    shown: Tensor | None = None,
    found: Archetypes | None = None,
    moved: Tensor | None = None,
    without: str = "",
) -> Refined:
    r"""Refines HR abundances, and the archetypes with them.

    Args:
        Y: The LR image, with shape (B, h, w).
        up: The HR abundances and brightness to start from and to stay near.
        M: The endmembers, with unit norm for the convention `share`, with shape (B, R).
        convention: `share` or `plain`, see `smile_core.mixing`.
        guidance: The weight :math:`\lambda` of the SR task.
        mu: The weight :math:`\mu` of staying near.
        alternations: The number of alternating steps of abundances and archetypes, before the
            abundances are solved for. There are none in the convention `plain`.
        hr: The HR image, if there is one, with shape (B, H, W).
        shown: Where it is shown, boolean, with shape (H, W).
        found: The archetypes; `None` if the endmembers were given, and stay.
        moved: Where the endmembers have moved to already, with shape (B, R), if they have: the
            abundances are solved for there, and stay near what `M` says.
        without: The part to leave out, if any, see `smile_core.parts`: "accessible solve". Then
            the gap is that of the abundances to start from.

    Returns:
        The refined scene, in the same convention.
    """
    weights = {"guidance": guidance, "mu": mu}
    problem, M, size = pose(Y, up, M, convention, **weights, hr=hr, shown=shown)
    a, history = problem.a, {}
    total = float(energy(problem).sum())
    limits = {}
    if without == "accessible solve":
        alternations, limits = 0, {"iterations": 0}

    if found is not None and convention != "plain" and alternations:
        V, W = candidates_of(found, size)
        steps = alternate(problem, V, W, iterations=alternations)
        a, M = steps.a, V @ steps.W
        history["alternation"] = [F / total for F in steps.objective]
    elif moved is not None:
        M = moved.double() if convention == "plain" else moved.double() / moved.double().sum(dim=0)
        M = M / size

    solution = solve(problem, M, a, **limits)
    history["objective"] = [F / total for F in solution.objective]
    history["gap"] = [gap / total for gap in solution.gap]
    gap = problem.scale**2 * degrade(gaps(problem, M, solution.a)[None], problem.scale)[0]
    gap, a, rho, M = gap / energy(problem), solution.a, problem.brightness, M * size

    # Brightness in
    if convention != "plain":
        c = a * M.norm(dim=0)[:, None, None]
        a, rho, M = c / c.sum(dim=0), rho * c.sum(dim=0), unit(M)

    return Refined(M.float(), a.float(), rho.float(), gap, history)


def pose(
    Y: Tensor,
    up: Level,
    M: Tensor,
    convention: Convention,
    *,
    guidance: float,
    mu: float,
    hr: Tensor | None = None,
    shown: Tensor | None = None,
) -> tuple[Problem, Tensor, Tensor]:
    r"""Poses the problem of a scene, with the brightness divided out.

    Args:
        Y: The LR image, with shape (B, h, w).
        up: The HR abundances and brightness to start from and to stay near.
        M: The endmembers, with shape (B, R).
        convention: `share` or `plain`, see `smile_core.mixing`.
        guidance: The weight :math:`\lambda` of the SR task.
        mu: The weight :math:`\mu` of staying near.
        hr: The HR image, if there is one, with shape (B, H, W).
        shown: Where it is shown, boolean, with shape (H, W).

    Returns:
        The problem; the endmembers in its units, with shape (B, R); and the largest norm of an
        endmember, by which all spectra are divided, so that weights mean the same on every scene.
    """
    free = convention != "plain"
    Y, M, a, rho = (v.double() for v in (Y, M, up.a, up.brightness))
    if free:
        c = a * M.sum(dim=0)[:, None, None]
        a, rho, M = c / c.sum(dim=0), rho * c.sum(dim=0), M / M.sum(dim=0)
        rho = rho.clamp_min(1e-6 * rho.mean())
    else:
        rho = torch.ones_like(rho)

    # What was not seen, or is too dark to say anything, is explained already
    down = degrade(a, a.shape[-1] // Y.shape[-1], brightness=rho[None])
    y, x = _seen(Y, torch.einsum("br,rhw->bhw", M, down), free), M
    if hr is not None:
        mixed = torch.einsum("br,rhw->bhw", M, a)
        x = _seen(hr.double(), mixed, free, shown)
    size = M.norm(dim=0).max()

    return Problem(y / size, x / size, a, rho, guidance, mu), M / size, size


def candidates_of(found: Archetypes, size: Tensor) -> tuple[Tensor, Tensor]:
    r"""Brings the archetypes to the units of the problem, :math:`M = V W`.

    Args:
        found: The archetypes.
        size: What `pose` has divided spectra by.

    Returns:
        The candidates :math:`V`, with shape (B, P), and their weights :math:`W`, columns in the
        simplex, with shape (P, R).
    """
    V, W = found.pixels.double(), found.W.double()
    lit = _lit(V, free=True)
    V, W = V[:, lit], W[lit]
    # Weights of unit pixels become those of pixels whose sum over the bands is one
    W = W * (V.sum(dim=0) / V.norm(dim=0))[:, None]

    return V / V.sum(dim=0) / size, W / W.sum(dim=0)


def _lit(image: Tensor, free: bool) -> Tensor:
    # Divided by their brightness, pixels without are huge noise
    light = image.sum(dim=0)
    alive = light > 0

    return light > DIM * light[alive].mean() if free and alive.any() else alive


def _seen(
    image: Tensor, otherwise: Tensor, free: bool, shown: Tensor | Literal[True] = True
) -> Tensor:
    seen = _lit(image, free) & shown
    return torch.where(seen, image / image.sum(dim=0) if free else image, otherwise)
