r"""Endmembers of a scene: archetypes or corners, with the brightness free or fixed, by the data.

Where a scene is a linear mixture up to its noise, the corners of the smallest simplex around the
pixels are its endmembers, be there pure pixels or not (`smile_core.enclosing`). Real materials
vary: then corners would follow the outermost pixels, and archetypes are taken, which stay among
them (`smile_core.archetypes`). With ``convention="auto"`` the brightness is fixed where that
explains the pixels as well (`smile_core.evidence`).
"""

__all__ = ["Endmembers", "decide", "find_endmembers"]

import math
import torch

from torch import Tensor
from typing import Any, Literal, NamedTuple

from .archetypes import Archetypes, archetypes, candidates
from .enclosing import enclose, norms_of
from .evidence import DARK, ordinary, weigh
from .metrics import match
from .mixing import unit, unmix_pixels

# The brightness is fixed if the residual is at most so many times that with a free one
WORSE = 1.1

# The restarts of either kind of brightness, where the residuals decide
AUDITION = 12


class Endmembers(NamedTuple):
    r"""Endmembers that were found.

    Args:
        M: The endmembers, at their physical norms, with shape (B, R).
        convention: Whether the brightness is free, `share`, or fixed, `plain`.
        found: The archetypes, `None` if the endmembers are corners.
        history: What was decided on, and how the restarts compare, by the name of the series.
    """

    M: Tensor
    convention: Literal["share", "plain"]
    found: Archetypes | None
    history: dict[str, list[float]]


def find_endmembers(
    image: Tensor,
    R: int,
    convention: str = "auto",
    *,
    hr: Tensor | None = None,
    hr_mask: Tensor | None = None,
    near: Tensor | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    **options: Any,
) -> Endmembers:
    r"""Finds the endmembers of a scene.

    Args:
        image: The LR image, with pixels of about unit norm, with shape (B, h, w).
        R: The number of endmembers.
        convention: What an abundance is, see `smile_core.mixing`; "auto" for `share` or `plain`,
            whichever the data support.
        hr: The HR image, with shape (B, H, W), if there is one.
        hr_mask: Where it is shown, boolean, with shape (H, W). Everywhere if `None`.
        near: Endmembers to start near, in whose order they come, with shape (B, R), if any.
        seed: The seed.
        device: The device to look for archetypes on.
        options: The other options of `archetypes`.

    Returns:
        The endmembers, on the CPU.
    """
    shown = {"hr": hr, "hr_mask": hr_mask, "seed": seed}
    fine, _ = _ordinary(*candidates(image, coarse=False, **shown), R)
    pixels, area = _ordinary(*candidates(image, **shown), R)
    pixels, options = pixels.to(device), {"area": area.to(device), "seed": seed, **options}

    given, ratio = None if convention == "auto" else convention == "plain", None
    evidence = weigh(fine, R, given)
    plain = evidence.fixed if given is None else given
    if plain is None:
        # An audition, with half of the rounds, and with few restarts: with fewer, either side may
        # lose by chance
        restarts, rounds = options.get("restarts", 48), options.get("rounds", 100)
        few = {"restarts": min(restarts, AUDITION), "rounds": -(-rounds // 2), "progress": None}
        M, M_plain = (
            archetypes(pixels, R, normalised=normalised, **options | few).M.cpu()
            for normalised in (True, False)
        )
        ratio = _ratio(pixels.cpu(), M, M_plain)
        plain = ratio <= WORSE
        evidence = weigh(fine, R, plain)
    fitted = "plain" if plain else "share"
    told = evidence._asdict() | ({} if ratio is None else {"ratio": ratio})
    history = {f"evidence.{name}": [v] for name, v in told.items() if math.isfinite(v)}

    if evidence.enclosable:
        light = fine.sum(dim=0)
        fine = (fine if plain else fine[:, light > DARK * light.mean()]).double()
        light = None if plain else fine.sum(dim=0)
        M = enclose(fine if plain else fine / light, R, light=light, seed=seed).clamp_min(0)
        if (M.sum(dim=0) > 0).all():
            M = M if plain else unit(M) * norms_of(M / M.sum(dim=0), fine)
            M = M if near is None else M[:, match(M, near)[0]]
            return Endmembers(M.float(), fitted, None, history)

    near = None if near is None else near.to(device)
    found = archetypes(pixels, R, near=near, normalised=not plain, **options)
    found = found._replace(M=found.M.cpu(), W=found.W.cpu(), pixels=pixels.cpu())

    return Endmembers(found.M, fitted, found, history | found.history)


def decide(image: Tensor, M: Tensor) -> Literal["share", "plain"]:
    r"""Decides whether the brightness is fixed, given the endmembers.

    Args:
        image: The image, with shape (B, h, w).
        M: The endmembers, in the unit of the image, with shape (B, R).

    Returns:
        "plain" where the pixels are about as near to mixtures with a fixed brightness as to those
        with a free one, and, if the scene is linear, nothing speaks for another brightness.
    """
    pixels, _ = _ordinary(*candidates(image, coarse=False), M.shape[1])
    varies = weigh(pixels, M.shape[1]).fixed is False

    return "plain" if _ratio(pixels, M, M) <= WORSE and not varies else "share"


def _ordinary(pixels: Tensor, area: Tensor, R: int) -> tuple[Tensor, Tensor]:
    kept = ordinary(pixels, R)
    return pixels[:, kept], area[kept]


def _ratio(pixels: Tensor, M: Tensor, M_plain: Tensor) -> float:
    # Of the residuals with a fixed brightness and with a free one, on a sample
    sample = pixels[:, :: -(-pixels.shape[1] // 1000)]
    free, fixed = (
        float((sample - rho * (M @ a)).norm())
        for M, (a, rho, _) in (
            (M, unmix_pixels(sample, M, "share")),
            (M_plain, unmix_pixels(sample, M_plain, "plain")),
        )
    )

    return fixed / max(free, 1e-6 * float(sample.norm()))
