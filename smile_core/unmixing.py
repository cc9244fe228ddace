r"""Unmixing and super-resolution of a scene, in one call.

The stages: endmembers, found or given; the constrained solve at LR; lifting to HR, and corrections
of the network, trained on pairs of neighbouring resolutions and trusted as far as a rehearsal has
shown; where an HR image is shown, its own constrained solve; the accessible solve of both tasks
together, with its certificate. The LR abundances that are returned are the HR ones brought down:
an LR pixel's share of a material is the mean over its area. Where the rehearsal shows that the
guide does not help, mode `self` returns what mode `single` does.

======================= =============================== =====================================
mode                    sees                            trains on
======================= =============================== =====================================
`single`                the image                       nothing: the constrained solve
`self`                  the image                       the image against itself brought down
`partial`               an HR image of a part, as well  the above, and the part that is shown
`supervised`            an HR image of all, as well     the above, and the HR image
======================= =============================== =====================================
"""

__all__ = ["LIGHT", "Mode", "Settings", "find_device", "limit_threads", "unmix"]

import contextlib
import math
import platform
import time
import torch

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from numbers import Integral, Real
from numpy.typing import ArrayLike
from torch import Tensor
from typing import Literal

from .application import finish
from .checks import (
    Mode,
    check_images,
    check_memory,
    check_options,
    check_start,
    check_unit,
    warn_of_dead,
)
from .counting import estimate_endmembers
from .degradation import enlarge
from .endmembers import decide, find_endmembers
from .guidance import factors_of, guide
from .mixing import Convention, unit, unmix_pixels
from .objective import Level
from .parts import PARTS
from .progress import Progress, bars
from .refinement import refine
from .result import Unmixing
from .weighting import WEIGHTINGS


@dataclass(frozen=True)
class Settings:
    r"""Hyper-parameters, one set of values for all scenes.

    Args:
        restarts: The number of restarts of the archetypes.
        rounds: The number of rounds of the archetypes.
        steps: The number of training steps.
        learning_rate: The largest learning rate.
        channels: The width of the network, a multiple of 4 for the heads of its attention.
        attention: Whether its two tasks attend to each other. In a summary of the paper they do;
            here that makes no error smaller, see notebook 12.
        alternations: The number of alternating steps of endmembers and abundances at the end.
        guidance: The weight :math:`\lambda` of the SR task in the accessible solve.
        mu: The weight :math:`\mu` of the network's abundances there; 0 leaves the data alone.
        weighting: How the gradients of the two tasks are combined, see `smile_core.weighting`.
        without: The part to leave out, to see what it is worth, see `smile_core.parts`; none if
            empty.

    Raises:
        ValueError: If a number is not positive, or a count is not a whole number; `alternations`,
            `guidance` and `mu` may be zero. If `attention` is not a truth value, or there is no
            such weighting or part.
    """

    restarts: int = 48
    rounds: int = 100
    steps: int = 100
    learning_rate: float = 3e-3
    channels: int = 32
    attention: bool = False
    alternations: int = 30
    guidance: float = 1.0
    mu: float = 0.1
    weighting: str = "sum"
    without: str = ""

    def __post_init__(self) -> None:
        choices = {
            "weighting": WEIGHTINGS,
            "without": ("", *PARTS),
        }
        if not isinstance(self.attention, bool):
            raise ValueError(f"The attention should be True or False, got {self.attention!r}.")
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                value = getattr(self, name)
                raise ValueError(f"The {name} should be one of {allowed}, got {value!r}.")
        for name, value in vars(self).items():
            if name in choices or name == "attention":
                continue
            count = name not in ("learning_rate", "guidance", "mu")
            free = name in ("alternations", "guidance", "mu")
            number = isinstance(value, Integral if count else Real) and value is not True
            if not number or not 0 <= value < math.inf or (value == 0 and not free):
                kind = "a whole number" if count else "a finite number"
                least = "not negative" if free else "positive"
                raise ValueError(f"The {name} should be {kind}, {least}, got {value!r}.")
            object.__setattr__(self, name, (int if count else float)(value))  # as JSON can hold
        if self.channels % 4:
            raise ValueError(f"The channels should be a multiple of 4, got {self.channels}.")


#: The preset with the fewest parameters: errors are those of the default, see notebook 16.
LIGHT = Settings(channels=4)


def unmix(
    image: ArrayLike | Tensor,
    endmembers: int | Literal["auto"] | ArrayLike | Tensor,
    *,
    scale: int = 2,
    mode: Mode = "self",
    convention: Convention | Literal["auto"] = "auto",
    hr: ArrayLike | Tensor | None = None,
    hr_mask: ArrayLike | Tensor | None = None,
    start: Unmixing | None = None,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
    settings: Settings = Settings(),
) -> Unmixing:
    r"""Unmixes an image, and super-resolves it on the way.

    Pixels whose sum over the bands is not positive are dead: they are left out, reported by a
    warning and in the result, and get abundances 1 / R. Single negative values, as noise brings
    them about, are kept.

    Args:
        image: The image :math:`Y`, with shape (B, h, w), bands first, in any unit proportional to
            light. `np.moveaxis(cube, -1, 0)` turns (rows, cols, bands) into that.
        endmembers: Their number :math:`R`, to find them in the image, or the endmembers :math:`M`
            themselves, with shape (B, R); "auto" to estimate their number as well, which on real
            scenes is a guess (see `smile_core.counting`).
        scale: The scale factor :math:`s` of the SR task, at least 2.
        mode: What the SR task learns from, see `smile_core.unmixing`.
        convention: What an abundance is, see `smile_core.mixing`; "auto" for `share` or `plain`,
            whichever the data support. The result names it.
        hr: The HR image for the modes `partial` and `supervised`, with shape (B, s h, s w).
        hr_mask: Where the HR image is shown in mode `partial`, boolean, with shape (s h, s w). The
            rest of the HR image is not looked at, and may hold anything.
        start: A result to start from, of another scene or date with the same bands and materials.
            Endmembers are looked for near its own, and come in its order; the network is trained
            from its weights on, for which fewer steps do. See `smile_core.apply` for none at all.
        seed: The seed of everything that is random.
        device: A device of torch, or "auto", the first that is there of CUDA, Apple's MPS and CPU.
        threads: The number of CPU threads; that of torch if `None`.
        progress: Called with a stage's name, the steps done and their number. If `None`, a bar is
            drawn where the standard error is a terminal.
        settings: The hyper-parameters.

    Returns:
        The result.

    Raises:
        ValueError: If an argument does not fit; the message names it, what was expected and what
            came.
        MemoryError: If there is too little memory.
    """
    if not isinstance(settings, Settings):
        raise ValueError(f"The settings should be of class Settings, got {settings!r}.")
    check_options(mode, convention, scale, seed, threads)
    scale, seed = int(scale), int(seed)  # JSON knows no integers of NumPy
    Y, M, X, mask = check_images(image, endmembers, scale, mode, hr, hr_mask)
    check_memory(Y.numel(), "see smile_core.unmix_large, or choose a part of the image")
    R = check_start(start, Y, endmembers if M is None else M.shape[1])
    if start is not None and convention == "auto":
        convention = start.convention
    torch_device = find_device(device)
    history: dict[str, list[float]] = {}
    network = None
    watch = _Watch()

    with limit_threads(threads), bars() as show:
        progress = progress or show

        # Pixels of about unit norm, whatever the unit of the image
        dead = Y.sum(dim=0) <= 0
        # Tiny and huge units have room in float64
        level = float(Y[:, ~dead].double().norm(dim=0).mean())
        check_unit("endmembers", M, level)
        check_unit("hr image", X, level)
        Y, X = Y / level, None if X is None else X / level

        found = None
        if M is None:
            R = R or estimate_endmembers(Y, seed=seed)
            options = {"tolerance": 0.0} if settings.without == "restart choice" else {}
            M, fitted, found, history = find_endmembers(
                Y,
                R,
                convention,
                hr=X,
                hr_mask=mask,
                near=_near(start, level),
                restarts=settings.restarts,
                rounds=settings.rounds,
                seed=seed,
                device=torch_device,
                progress=progress,
                **options,
            )
        else:
            M = M / level
            fitted = decide(Y, M) if convention == "auto" else convention
        watch.stop("endmembers")

        # The convention `area` is `share` with other norms, and comes last
        convention = fitted if convention == "auto" else convention
        norms, fitted = M.norm(dim=0), "plain" if convention == "plain" else "share"
        M = M if fitted == "plain" else unit(M)
        a, brightness, gap = unmix_pixels(Y, M, fitted)
        watch.stop("solve")

        up = shown = None
        if X is not None:
            shown = torch.ones_like(X[0]).bool() if mask is None else mask
        if mode != "single":
            up, network, learned = guide(
                Level(Y, a, brightness),
                M,
                scale,
                fitted,
                hr=X,
                shown=shown,
                weights=_weights(start, scale, settings),
                channels=settings.channels,
                attention=settings.attention,
                steps=settings.steps,
                learning_rate=settings.learning_rate,
                weighting=settings.weighting,
                without=settings.without,
                seed=seed,
                device=torch_device,
                progress=progress,
            )
            history |= learned
            watch.stop("training")

        refined = None
        if up is not None:  # else a single task, by choice or because the guide does not help
            refined = refine(
                Y,
                up,
                M,
                fitted,
                guidance=settings.guidance,
                mu=settings.mu,
                alternations=settings.alternations,
                hr=X,
                shown=shown,
                found=found,
                without=settings.without,
            )
            history |= refined.history
        # Dead pixels say nothing; where the HR image is shown, it says which they are
        dead_hr = enlarge(dead, scale)
        if X is not None:
            dead_hr = torch.where(shown, X.sum(dim=0) <= 0, dead_hr)
        maps = finish(
            Y,
            (a, brightness, gap),
            M,
            refined,
            convention=convention,
            norms=norms,
            scale=scale,
            level=level,
            dead=dead,
            dead_hr=dead_hr,
        )
        # At their physical norms, or without, as those of the result
        M_first = {"share": M, "plain": M * level, "area": M * norms * level}[convention]
        watch.stop("refinement")

    warn_of_dead(int(dead.sum()), dead.numel())

    return Unmixing(
        **maps,
        M_first=M_first,
        dead=dead,
        history=history,
        level=level,
        mode=mode,
        convention=convention,
        scale=scale,
        seed=seed,
        settings=asdict(settings),
        device=str(torch_device),
        versions=_versions(),
        seconds=watch.seconds(),
        # That of an ablation is another network
        network={} if network is None or settings.without else network.state_dict(),
    )


def find_device(device: str = "auto") -> torch.device:
    r"""Returns a device that is there.

    Args:
        device: A device of torch, or "auto", the first that is there of CUDA, MPS and the CPU.

    Raises:
        ValueError: If torch does not have the device here.
    """
    if device == "auto":
        there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        device = next((name for name in there if there[name]), "cpu")

    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise ValueError(
            f"The device should be 'auto' or one that torch has here, got '{device}': {error}"
        ) from error


@contextlib.contextmanager
def limit_threads(threads: int | None) -> Iterator[None]:
    r"""Sets the number of CPU threads of torch for a block of code, or leaves it if `None`."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _near(start: Unmixing | None, level: float) -> Tensor | None:
    # In the unit of the pixels, whose norm is about one, as is that of endmembers of light
    if start is None:
        return None

    return start.M if start.convention == "share" else start.M / level


def _weights(start: Unmixing | None, scale: int, settings: Settings) -> dict[str, Tensor] | None:
    # Those of a network for the same step and of the same kind, if one was trained
    if start is None or not start.network or settings.without:
        return None
    network = start.build_network()
    kind = network.scale, len(network.stem.bias), network.attention
    same = kind == (factors_of(scale)[0], settings.channels, settings.attention)

    return start.network if same else None


class _Watch:
    def __init__(self) -> None:
        self.times = [("start", time.perf_counter())]

    def stop(self, stage: str) -> None:
        self.times.append((stage, time.perf_counter()))

    def seconds(self) -> dict[str, float]:
        pairs = zip(self.times, self.times[1:], strict=False)
        seconds = {stage: round(t - before, 3) for (_, before), (stage, t) in pairs}

        return seconds | {"total": round(sum(seconds.values()), 3)}


def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("torch", "numpy", "smile-companion")}
    return {"python": platform.python_version(), **packages}
