r"""Uncertainty: how far abundances and endmembers may be off, by an ensemble.

Given the endmembers, the abundances of a pixel are the optimum of its own small problem, and noise
moves them. But the endmembers are found in the same image, and where they are off, all pixels are.
Two kinds of spread are therefore measured, and reported apart:

- *Endmembers.* Each member of the ensemble looks for them anew, from starts of its own, in an
  image that is put together of blocks drawn from the image, with replacement: a block bootstrap,
  for neighbouring pixels are much alike. Members are matched to the endmembers of the whole image
  by their angles; those that do not fit the image about as well as the others are left out.
  :math:`\delta_\text{M}^2` is the mean square by which their abundances differ.
- *Noise.* The residual shows nothing of the noise within the span of the endmembers, which is the
  noise that moves abundances. It is drawn as large there as the residual is in its R largest
  directions: for white noise that is its variance, and for materials that vary the right order.
  :math:`\delta_\text{e}^2` is the mean square by which it moves the abundances.

.. math:: \sigma^2 = \kappa^2 \delta_\text{M}^2 + \delta_\text{e}^2, \qquad
    a \pm z_\alpha \, \sigma \; \cap \; [0, 1]

Members share what is wrong with the model: no pixel is pure, corners are cut off, materials vary.
No resampling shows that, and the factor :math:`\kappa` stands for it: one constant, chosen on
synthetic scenes and tested on others (notebook 17). It is right on average, not for each scene.

References:
    | The Jackknife and the Bootstrap for General Stationary Observations (Künsch, 1989)
    | https://doi.org/10.1214/aos/1176347265
"""

__all__ = ["FACTOR", "Spread", "ensemble"]

import torch

from collections.abc import Iterable
from dataclasses import dataclass
from numpy.typing import ArrayLike
from statistics import NormalDist
from torch import Tensor
from typing import Literal

from .checks import check_images
from .endmembers import find_endmembers
from .metrics import match
from .mixing import Convention, unit, unmix_pixels
from .progress import Progress, bars
from .unmixing import Settings, find_device, unmix

#: What the spread of the endmembers is multiplied by, chosen on synthetic scenes.
FACTOR = 3.0

# Rows and columns of a block
BLOCK = 4

# A member is left out if it fits so much worse than the median of all, relative
WORSE = 0.1

# So many times the noise is drawn for each member, for it costs little
DRAWS = 4

# Blocks are drawn so many times at most, where they hardly show a pixel with light
ATTEMPTS = 100


@dataclass(frozen=True, eq=False)
class Spread:
    r"""Abundances and endmembers with their uncertainty.

    Args:
        M: The endmembers of the whole image, as those of `smile_core.unmix`, with shape (B, R).
        M_spread: The root mean square by which those of the members differ, with shape (B, R).
        a: The abundances, those of mode `single`, with shape (R, h, w).
        a_spread: The root mean square :math:`\delta_\text{M}` by which those of the members
            differ, with shape (R, h, w).
        a_noise: The root mean square :math:`\delta_\text{e}` by which noise moves them, given the
            endmembers, with shape (R, h, w); 1 where the pixel is dead, which says nothing.
        convention: What an abundance is, see `smile_core.mixing`.
        misfit: The residual of each member on the image, relative to the median of all, with shape
            (members,); empty if the endmembers were given.
        factor: The factor :math:`\kappa`.
    """

    M: Tensor
    M_spread: Tensor
    a: Tensor
    a_spread: Tensor
    a_noise: Tensor
    convention: Convention
    misfit: Tensor
    factor: float = FACTOR

    def __repr__(self) -> str:
        (B, R), (h, w) = self.M.shape, self.a.shape[1:]
        return (
            f"Spread({R} endmembers, {B} bands, {h} x {w} pixels, convention "
            f"'{self.convention}', {int(self.kept.sum())} of {len(self.kept)} members)"
        )

    @property
    def kept(self) -> Tensor:
        r"""Which members fit about as well as the others, boolean, with shape (members,)."""
        return self.misfit <= 1 + WORSE

    @property
    def a_std(self) -> Tensor:
        r"""The standard deviation :math:`\sigma` of the abundances, with shape (R, h, w)."""
        return (self.factor * self.a_spread).hypot(self.a_noise)

    @property
    def M_std(self) -> Tensor:
        r"""The standard deviation of the endmembers, with shape (B, R)."""
        return self.factor * self.M_spread

    def interval(self, level: float = 0.9) -> tuple[Tensor, Tensor]:
        r"""Returns the lower and the upper end of the interval of each abundance.

        Args:
            level: How often the truth should be inside, in (0, 1).

        Returns:
            The ends, in [0, 1], with shape (R, h, w).

        Raises:
            ValueError: If the level is out of range.
        """
        reach = _quantile(level) * self.a_std
        return (self.a - reach).clamp_min(0), (self.a + reach).clamp_max(1)

    def band(self, level: float = 0.9) -> tuple[Tensor, Tensor]:
        r"""Returns the lower and the upper end of the interval of each endmember, band by band.

        Args:
            level: How often the truth should be inside, in (0, 1).

        Returns:
            The ends, the lower one not negative, with shape (B, R).

        Raises:
            ValueError: If the level is out of range.
        """
        reach = _quantile(level) * self.M_std
        return (self.M - reach).clamp_min(0), self.M + reach


def ensemble(
    image: ArrayLike | Tensor,
    endmembers: int | Literal["auto"] | ArrayLike | Tensor,
    *,
    members: int = 16,
    resample: bool = True,
    convention: Convention | Literal["auto"] = "auto",
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
    settings: Settings = Settings(),
) -> Spread:
    r"""Unmixes an image, and measures by an ensemble how far the result may be off.

    Members search with a quarter of the restarts and half of the rounds, and take about a quarter
    of the time of mode `single` each, or as much where endmembers are corners. Memory is that of
    a few copies of the image.

    Args:
        image: The image, as for `smile_core.unmix`, with shape (B, h, w).
        endmembers: Their number, or "auto", to find them in the image, or the endmembers
            themselves, with shape (B, R): then they are taken for certain, and the noise is all.
        members: The number of members, at least 2.
        resample: Whether members see a resampled image; if not, they differ by their starts alone.
        convention: What an abundance is, see `smile_core.mixing`.
        seed: The seed of everything that is random.
        device: A device of torch, or "auto".
        progress: Called with the stage's name, the members done and their number.
        settings: The hyper-parameters.

    Returns:
        The result with its spread.

    Raises:
        ValueError: If an argument does not fit; the message names it, what was expected and what
            came.
    """
    if isinstance(members, bool) or not isinstance(members, int) or members < 2:
        raise ValueError(f"The members should be a whole number of at least 2, got {members!r}.")

    options = {"convention": convention, "seed": seed, "device": device, "settings": settings}
    whole = unmix(image, endmembers, mode="single", progress=_silent, **options)
    Y, given, _, _ = check_images(image, endmembers, whole.scale, "single", None, None)
    convention, unit_free = whole.convention, whole.convention == "share"
    Y, M = Y / whole.level, whole.M if unit_free else whole.M / whole.level
    fitted = "plain" if convention == "plain" else "share"
    search = {
        "restarts": -(-settings.restarts // 4),
        "rounds": -(-settings.rounds // 2),
        "device": find_device(device),
    }
    generator = torch.Generator().manual_seed(seed)

    # Members
    drawn: list[Tensor] = []
    with bars() as show:
        progress = progress or show or _silent
        for k in range(members if given is None else 0):
            y = _resample(Y, M.shape[1], generator) if resample else Y
            start = int(torch.randint(2**31, (), generator=generator))
            N = find_endmembers(y, M.shape[1], fitted, seed=start, **search).M
            N = unit(N) if unit_free else N
            drawn.append(N[:, match(N, M)[0]])
            progress("members", k + 1, members)

    # Half of them are never worse than the median
    misfit = torch.tensor([float(_solve(Y, N, convention)[1].norm()) for N in drawn])
    misfit = misfit / misfit.median().clamp_min(1e-12) if drawn else misfit
    kept = [N for N, ratio in zip(drawn, misfit.tolist(), strict=True) if ratio <= 1 + WORSE]
    a, residual = _solve(Y, M, convention)
    a_spread = _spread((_solve(Y, N, convention)[0] for N in kept), a)

    # Noise
    level = _level(residual[:, ~whole.dead], M.shape[1])
    basis = level * torch.linalg.qr(M.double()).Q.float()
    shape = basis.shape[1], *a.shape[1:]
    draws = (torch.randn(shape, generator=generator) for _ in range(DRAWS * members))
    noisy = (Y - residual + torch.einsum("br,rhw->bhw", basis, z) for z in draws)
    a_noise = _spread((_solve(y, M, convention)[0] for y in noisy), a)

    size = 1.0 if unit_free else whole.level
    return Spread(
        M=M * size,
        M_spread=_spread(kept, M) * size,
        a=a,
        a_spread=a_spread,
        a_noise=torch.where(whole.dead, 1.0, a_noise),
        convention=convention,
        misfit=misfit,
    )


def _resample(image: Tensor, R: int, generator: torch.Generator) -> Tensor:
    # Blocks from anywhere, side by side: pixels that are brought down together are neighbours.
    # Drawn again if they show next to nothing, as they may of an image that is mostly dead
    for _ in range(ATTEMPTS):
        drawn = _draw_blocks(image, generator)
        if (drawn.sum(dim=0) > 0).sum() > R:
            return drawn

    return image


def _draw_blocks(image: Tensor, generator: torch.Generator) -> Tensor:
    sides = [(n, min(BLOCK, n), -(-n // min(BLOCK, n))) for n in image.shape[1:]]
    (h, bh, rows), (w, bw, cols) = sides
    top = torch.randint(h - bh + 1, (rows, 1, cols, 1), generator=generator)
    left = torch.randint(w - bw + 1, (rows, 1, cols, 1), generator=generator)
    i, j = top + torch.arange(bh)[:, None, None], left + torch.arange(bw)

    return image[:, i, j].reshape(len(image), rows * bh, cols * bw)[:, :h, :w]


def _solve(image: Tensor, M: Tensor, convention: Convention) -> tuple[Tensor, Tensor]:
    # Abundances and residual
    a, brightness, _ = unmix_pixels(image, M, convention)
    return a, image - brightness * torch.einsum("br,rhw->bhw", M, a)


def _level(residual: Tensor, R: int) -> float:
    # Of the noise in R directions that the residual does not show. The largest eigenvalues of
    # white noise are above its variance by the edge, see `smile_core.evidence`
    (B, N), e = residual.shape, residual.double()
    values = torch.linalg.eigvalsh(e @ e.mT / N).clamp_min(0)
    edge = (1 + (B / N) ** 0.5) ** 2
    white = values.sum() / max(B - R, 1)

    return float(torch.maximum(values[-R:].mean() / edge, white).sqrt())


def _spread(values: Iterable[Tensor], centre: Tensor) -> Tensor:
    # The root mean square of differences from the centre, one value at a time in memory
    squares, number = torch.zeros_like(centre, dtype=torch.float64), 0
    for value in values:
        squares += (value - centre).double().square()
        number += 1

    return (squares / max(number, 1)).sqrt().to(centre.dtype)


def _quantile(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"The level should be above 0 and below 1, got {level!r}.")

    return NormalDist().inv_cdf((1 + level) / 2)


def _silent(stage: str, done: int, total: int) -> None:
    pass
