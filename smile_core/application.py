r"""Application of what a scene has taught: its endmembers and network, on another image.

That can be a tile of a large scene, another scene of the same sensor, or the same area at another
date. Nothing is learned here: pixels are solved with the endmembers that are given, brought up by
the network that is given, and by the share of its correction that was found then, and solved again
at both resolutions. On the image that it was learned from, the result is the same in the modes
`single` and `self`; what an HR image has shown is not looked at again.
"""

__all__ = ["apply", "finish"]

import time
import torch

from dataclasses import replace
from numpy.typing import ArrayLike
from torch import Tensor

from .checks import APART, check_images
from .degradation import degrade, enlarge
from .guidance import bring_up
from .lifting import interpolate, lift
from .mixing import Convention, convert, unit, unmix_pixels
from .objective import Level
from .refinement import Refined, refine
from .result import Unmixing


@torch.no_grad()
def apply(learned: Unmixing, image: ArrayLike | Tensor, *, tile: bool = False) -> Unmixing:
    r"""Unmixes an image with the endmembers and the network of a result.

    Args:
        learned: The result, of any mode; without guidance there, there is none here.
        image: The image, with shape (B, h, w), in a unit proportional to light, in the convention
            `plain` in that of the image that `learned` is from.
        tile: Whether this image is a part of the one that `learned` is from, and is to be taken as
            it is there, for which its network must be without attention. If not, its brightness is
            measured anew.

    Returns:
        The result. Dead pixels get abundances 1 / R, without a warning; `history` and `network`
        are those of `learned`, `seconds` has the total.

    Raises:
        ValueError: If the image does not have the bands of `learned`, is not finite, or is in
            another unit where that matters; if it is a tile, and the network has attention.
    """
    start = time.perf_counter()
    if tile and "to_sr.temperature" in learned.network:
        raise ValueError(
            "The network of 'learned' should be without attention to be applied to a tile, which "
            "does not know what the whole image attends to."
        )
    Y = check_images(image, learned.M, learned.scale, "single", None, None, lit=False)[0]
    dead = Y.sum(dim=0) <= 0
    # A fixed brightness has a fixed unit
    plain = learned.convention == "plain"
    level = learned.level
    if not dead.all():
        light = float(Y[:, ~dead].double().norm(dim=0).mean())
        if learned.convention != "share" or tile:
            light = max(light, level / APART)  # a tile may be dark
            if light > level * APART:
                raise ValueError(
                    "The image should be in the unit of the one that was learned from, got pixels "
                    f"of the mean norm {light:.1e}, and of {level:.1e} there."
                )
        level = level if plain or tile else light

    Y, fitted = Y / level, "plain" if plain else "share"
    M, moved = _endmembers(learned)
    a, brightness, gap = unmix_pixels(Y, M, fitted)
    refined = None
    if learned.guided and not dead.all():
        network = learned.build_network() if learned.network else None
        share = learned.history["share"][0]
        scene = Level(Y, a, brightness)
        up = bring_up(scene, learned.scale, network, share)
        weights = {name: learned.settings[name] for name in ("guidance", "mu")}
        refined = refine(Y, up, M, fitted, alternations=0, moved=moved, **weights)

    maps = finish(
        Y,
        (a, brightness, gap),
        M,
        refined,
        convention=learned.convention,
        norms=(learned.M / level).norm(dim=0),
        scale=learned.scale,
        level=level,
        dead=dead,
        dead_hr=enlarge(dead, learned.scale),
    )
    maps |= {"M": learned.M, "dead": dead, "level": level}

    return replace(learned, **maps, seconds={"total": round(time.perf_counter() - start, 3)})


def finish(
    Y: Tensor,
    solved: tuple[Tensor, Tensor, Tensor],
    M: Tensor,
    refined: Refined | None,
    *,
    convention: Convention,
    norms: Tensor,
    scale: int,
    level: float,
    dead: Tensor,
    dead_hr: Tensor,
) -> dict[str, Tensor]:
    r"""Brings what was solved to its convention, its unit, and to both resolutions.

    Args:
        Y: The image, with pixels of about unit norm, with shape (B, h, w).
        solved: The abundances, brightness and gap of the constrained solve at LR.
        M: The endmembers that these go with, with shape (B, R).
        refined: The scene after the accessible solve; `None` without guidance.
        convention: What an abundance is to be, see `smile_core.mixing`.
        norms: The physical norms of the endmembers, for the convention `area`, with shape (R,).
        scale: The scale factor.
        level: What the image was divided by.
        dead: The dead pixels, with shape (h, w).
        dead_hr: Those at HR, with shape (H, W).

    Returns:
        The fields `M`, `a`, `a_hr`, `brightness`, `brightness_hr` and `gap` of an `Unmixing`.
    """
    a, brightness, gap = solved
    if refined is None:
        if convention == "area":
            a, M, brightness = convert(a, M, brightness, norms, "area")
        a_hr, brightness_hr = interpolate(a, scale), lift(a, brightness, scale)[1]
    else:
        M, a_hr, brightness_hr, gap, _ = refined
        a, brightness, _ = unmix_pixels(Y, M, "plain" if convention == "plain" else "share")
        if convention == "area":
            brightness = convert(a, M, brightness, norms, "area")[2]
            a_hr, M, brightness_hr = convert(a_hr, M, brightness_hr, norms, "area")

    a_hr[:, dead_hr], brightness_hr[dead_hr] = 1 / len(a), 0
    if refined is not None:
        a = degrade(a_hr, scale)
    a[:, dead], gap[dead] = 1 / len(a), 0

    # The level goes back to where the convention has it
    if convention == "share":
        brightness, brightness_hr = brightness * level, brightness_hr * level
    else:
        M = M * level

    return {
        "M": M,
        "a": a,
        "a_hr": a_hr,
        "brightness": brightness,
        "brightness_hr": brightness_hr,
        "gap": gap,
    }


def _endmembers(learned: Unmixing) -> tuple[Tensor, Tensor]:
    # Before and after the last solve, as the solves take them
    both = learned.M_first, learned.M
    if learned.convention != "share":
        both = both[0] / learned.level, both[1] / learned.level

    return both if learned.convention == "plain" else (unit(both[0]), unit(both[1]))
