r"""Experiments: the protocol that notebooks share.

One for every method and scene: the input is an image, a number of endmembers and a seed.
Endmembers are matched to the reference by the smallest sum of angles, abundances follow the
permutation. The LR reference is the block mean of the HR reference. A fit is computed once: its
result is cached under a hash of everything that it depends on, the source of the method included.
"""

__all__ = ["METHOD", "errors", "fit", "guidance", "native", "reference", "start", "sweep"]

import contextlib
import hashlib
import itertools
import json
import pandas as pd
import torch

from collections.abc import Sequence
from dataclasses import asdict, replace
from torch import Tensor
from typing import Any, Literal

from ..degradation import degrade, upsample
from ..endmembers import find_endmembers
from ..guidance import bring_up, factors_of, learn, material
from ..metrics import armse, match, psnr, sam, score
from ..mixing import convert, unit, unmix_pixels
from ..objective import Level
from ..refinement import refine
from ..result import Unmixing
from ..scenes import Scene
from ..unmixing import Settings, find_device, unmix
from .study import PACKAGE, hash_sources, keep_in

ROWS = ("single", "lifted", "self", "partial", "supervised", "same data")

#: The modules that a result of `smile_core.unmix` depends on.
METHOD = (
    "accessible",
    "affinity",
    "application",
    "archetypes",
    "checks",
    "counting",
    "degradation",
    "enclosing",
    "endmembers",
    "evidence",
    "guidance",
    "lifting",
    "metrics",
    "mixing",
    "network",
    "objective",
    "parts",
    "refinement",
    "result",
    "unmixing",
    "weighting",
)


def fit(image: Tensor, endmembers: int | Tensor, **options: Any) -> Unmixing:
    r"""Calls `smile_core.unmix`, or returns what it returned for the same arguments before.

    The cache is the folder of `smile_core.studies.study.keep_in`.

    Args:
        image: The image, with shape (B, h, w).
        endmembers: As for `smile_core.unmix`.
        options: The options of `smile_core.unmix`.

    Returns:
        The result; `seconds` are those of the first call.
    """
    device = find_device(options.get("device", "auto"))
    modules = [f"{PACKAGE}.{name}" for name in METHOD]
    digest = hashlib.sha256(f"{hash_sources(*modules)} {device}".encode())
    for name, value in sorted({"image": image, "endmembers": endmembers, **options}.items()):
        if isinstance(value, Tensor):
            array = value.contiguous().numpy()
            digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
        elif name not in ("device", "progress"):
            plain = asdict(value) if isinstance(value, Settings) else value
            digest.update(f"{name} {json.dumps(plain)}".encode())

    path = keep_in() / f"{digest.hexdigest()[:32]}.npz"
    if path.exists():
        return Unmixing.load(path)

    result = unmix(image, endmembers, **options)
    with contextlib.suppress(OSError):  # where there is no place for a cache, there is none
        path.parent.mkdir(parents=True, exist_ok=True)
        result.save(path)

    return result


def reference(scene: Scene, convention: str = "share") -> Tensor | None:
    r"""Returns the reference abundances of a scene, if any, with shape (R, H, W).

    The truth of a synthetic scene is fractions of area, and is converted to `share`. What
    convention the reference of a real scene follows was its authors' choice: it is taken as it is.

    Args:
        scene: The scene, with reference endmembers.
        convention: The convention of the abundances to compare with.
    """
    if scene.brightness is None or convention != "share":
        return scene.a

    return convert(scene.a, scene.M, scene.brightness, scene.M.norm(dim=0), "share")[0]


def errors(result: Unmixing, scene: Scene, first: int = 0) -> dict[str, float]:
    r"""Computes the errors of a result against the scene that was brought down.

    Args:
        result: The result.
        scene: The scene at HR, with a reference.
        first: The first column of the scene to compare abundances in, a multiple of the scale.

    Returns:
        The mean angle `sad` of the endmembers in radians; `lr` and `hr`, the errors of the
        abundances at both resolutions, in the convention of the result.
    """
    permutation, angles = match(result.M, scene.M)
    a_ref = reference(scene, result.convention)
    part, part_lr = (..., slice(first, None)), (..., slice(first // result.scale, None))
    lr = armse(result.a[permutation][part_lr], degrade(a_ref, result.scale)[part_lr])
    hr = armse(result.a_hr[permutation][part], a_ref[part])

    return {"sad": float(angles.mean()), "lr": float(lr), "hr": float(hr)}


def native(
    scene: Scene,
    seeds: int,
    settings: Settings = Settings(),
    mode: Literal["single", "self"] = "self",
    device: str = "auto",
) -> pd.DataFrame:
    r"""Unmixes a scene at its native resolution, where the reference is.

    Args:
        scene: The scene.
        seeds: The number of seeds, from 0 on.
        settings: The hyper-parameters.
        mode: What the SR task learns from.
        device: The device.

    Returns:
        A row per seed: `sad` in radians, `armse`, `armse_matched` (the reference's scale imposed),
        the largest relative `gap`, and `seconds`.
    """
    rows = []
    for seed in range(seeds):
        options = {"mode": mode, "seed": seed, "settings": settings, "device": device}
        result = fit(scene.image, scene.R, **options)
        scores = score(result.M, result.a, scene.M, reference(scene, result.convention))
        rows.append(
            {
                "scene": scene.name,
                "mode": mode,
                "seed": seed,
                "sad": scores["sad_mean"],
                "armse": scores["armse"],
                "armse_matched": scores["armse_matched"],
                "gap": float(result.gap.max()),
                "seconds": result.seconds["total"],
            }
        )

    return pd.DataFrame(rows)


def guidance(
    scene: Scene,
    scale: int,
    seeds: int,
    settings: Settings = Settings(),
    device: str = "auto",
) -> pd.DataFrame:
    r"""Compares the four modes on the scene brought down, the scene itself being the HR image.

    In mode `partial` the left half of the HR image is shown. Every row is scored on the whole
    scene and on the right half, which `partial` has not seen. Two rows are no modes: `lifted` is
    `single` brought up by `smile_core.lifting`, from where the network starts, without training;
    `same data` is plain unmixing of the HR image that `supervised` was given.

    Args:
        scene: The scene, cropped to a multiple of `scale`.
        scale: The scale factor.
        seeds: The number of seeds, from 0 on.
        settings: The hyper-parameters.
        device: The device.

    Returns:
        A line per seed and row: `sad` in radians; `lr`, `hr`, `lr_hidden` and `hr_hidden`, the
        errors of the abundances at both resolutions, everywhere and where hidden; `lr_light`, the
        error of what the light of the LR pixels shows, :math:`A D_\rho`, where `lr` is that of
        means over the area, :math:`A D`; `psnr` in dB and `sam` in radians of the SR image where
        hidden, those of bicubic interpolation being `psnr_bicubic` and `sam_bicubic`.
    """
    x = scene.image
    y = degrade(x, scale)
    half = x.shape[-1] // (2 * scale) * scale
    shown = torch.zeros_like(x[0]).bool()
    shown[:, :half] = True
    hr_of = {"partial": {"hr": x, "hr_mask": shown}, "supervised": {"hr": x}}
    hidden, hidden_lr = slice(half, None), slice(half // scale, None)
    bicubic, peak = upsample(y, scale, "bicubic"), float(x.max())
    psnr_bicubic = psnr(bicubic[..., hidden], x[..., hidden], peak)
    sam_bicubic = sam(bicubic[..., hidden], x[..., hidden])

    rows = []
    for seed, mode in itertools.product(range(seeds), ROWS):
        options = {"seed": seed, "settings": settings, "device": device}
        if mode == "same data":
            result = fit(x, scene.R, mode="single", **options)
            a_hr, rho_hr = result.a, result.brightness
            result = replace(result, a=degrade(a_hr, scale), a_hr=a_hr, brightness_hr=rho_hr)
        elif mode == "lifted":
            result = fit(y, scene.R, scale=scale, mode="single", **options)
            _, a_hr, rho_hr = bring_up(Level(y, result.a, result.brightness), scale)
            result = replace(result, a=degrade(a_hr, scale), a_hr=a_hr, brightness_hr=rho_hr)
        else:
            hr = hr_of.get(mode, {})
            result = fit(y, scene.R, scale=scale, mode=mode, **options, **hr)

        a_ref, a_ref_lr, a_ref_light = _references(scene, scale, result.convention)
        permutation, angles = match(result.M, scene.M)
        a, a_hr, x_hr = result.a[permutation], result.a_hr[permutation], result.x_hr
        rho_hr = result.brightness_hr[None]
        guided = mode != "single" and (mode != "self" or "share" in result.history)
        light = degrade(a_hr, scale, brightness=rho_hr) if guided else a
        rows.append(
            {
                "scene": scene.name,
                "scale": scale,
                "mode": mode,
                "seed": seed,
                "sad": float(angles.mean()),
                "lr": float(armse(a, a_ref_lr)),
                "lr_light": float(armse(light, a_ref_light)),
                "hr": float(armse(a_hr, a_ref)),
                "lr_hidden": float(armse(a[..., hidden_lr], a_ref_lr[..., hidden_lr])),
                "hr_hidden": float(armse(a_hr[..., hidden], a_ref[..., hidden])),
                "psnr": psnr(x_hr[..., hidden], x[..., hidden], peak),
                "psnr_bicubic": psnr_bicubic,
                "sam": sam(x_hr[..., hidden], x[..., hidden]),
                "sam_bicubic": sam_bicubic,
                "convention": result.convention,
                "seconds": result.seconds["total"],
            }
        )

    return pd.DataFrame(rows)


def start(
    scene: Scene, scale: int, seed: int, settings: Settings = Settings(), device: str = "auto"
) -> tuple[Level, Tensor]:
    r"""Brings a scene down and unmixes it alone, which is where the guide starts from.

    Args:
        scene: The scene, cropped to a multiple of `scale`.
        scale: The scale factor.
        seed: The seed.
        settings: The hyper-parameters.
        device: The device.

    Returns:
        The scene at LR, with pixels of about unit norm, and the endmembers, with shape (B, R).

    Raises:
        ValueError: If the brightness is found to be fixed.
    """
    y = degrade(scene.image, scale)
    options = {"scale": scale, "seed": seed, "settings": settings, "device": device}
    alone = fit(y, scene.R, mode="single", **options)
    if alone.convention != "share":
        raise ValueError(
            f"Scene '{scene.name}' should have a brightness that varies, got one that is fixed: "
            f"the convention was found to be '{alone.convention}'."
        )
    size = y.double().norm(dim=0).mean()

    return Level(y / size, alone.a, alone.brightness / size), alone.M


def sweep(
    scene: Scene,
    scale: int,
    seed: int,
    shares: Sequence[float],
    settings: Settings = Settings(),
    device: str = "auto",
) -> pd.DataFrame:
    r"""Takes one share of the network's correction after the other, whatever the rehearsal says.

    All else is as in mode `self`. Where that trains no network, because the rehearsal gave it no
    share, one is trained here, if there is enough to train on.

    Args:
        scene: The scene, cropped to a multiple of `scale`.
        scale: The scale factor.
        seed: The seed.
        shares: The shares, in [0, 1].
        settings: The hyper-parameters.
        device: The device.

    Returns:
        A row per share, the one that the rehearsal chose among them: `share`; `lr` and `hr`, the
        errors of the abundances. The same in all rows: `chosen`; `best_lr` and `best_hr`, the
        shares of the smallest errors; `trained`, whether mode `self` trained a network, and
        `fallback`, whether it returned the result of `single`.
    """
    level, M = start(scene, scale, seed, settings, device)
    options = {"scale": scale, "seed": seed, "settings": settings, "device": device}
    history = fit(degrade(scene.image, scale), scene.R, mode="self", **options).history
    chosen = history["rehearsal.share"][0]

    # The same as in mode `self`, where that trains one
    factors, torch_device = factors_of(scale), find_device(device)
    network, pairs = None, material(level.image, M, factors, "share", seed)
    if any(pairs):
        names = ("channels", "attention", "steps", "learning_rate", "weighting")
        options = {name: getattr(settings, name) for name in names}
        network, _ = learn(pairs, M, factors[0], seed=seed, device=torch_device, **options)

    # The archetypes of `start`, with their weights
    options = {name: getattr(settings, name) for name in ("restarts", "rounds")}
    options |= {"seed": seed, "device": torch_device}
    found = find_endmembers(level.image, scene.R, "share", **options).found
    options = {name: getattr(settings, name) for name in ("guidance", "mu", "alternations")}

    rows, a_ref = [], reference(scene)
    for share in sorted({*shares, chosen}):
        up = bring_up(level, scale, network, share)
        refined = refine(level.image, up, M, "share", found=found, **options)
        a = refined.a[match(refined.M, scene.M)[0]]
        lr, hr = armse(degrade(a, scale), degrade(a_ref, scale)), armse(a, a_ref)
        rows.append({"share": share, "lr": float(lr), "hr": float(hr)})
    table = pd.DataFrame(rows)

    return table.assign(
        scene=scene.name,
        scale=scale,
        seed=seed,
        chosen=chosen,
        best_lr=table["share"][table["lr"].idxmin()],
        best_hr=table["share"][table["hr"].idxmin()],
        trained="sr" in history,
        fallback="share" not in history,
    )


def _references(scene: Scene, scale: int, convention: str) -> tuple[Tensor, Tensor, Tensor]:
    # At HR; their means over the area of LR pixels; what the light of these shows
    a = reference(scene, convention)
    M = scene.M if convention == "plain" else unit(scene.M)
    rho = unmix_pixels(scene.image, M, convention)[1]

    return a, degrade(a, scale), degrade(a, scale, brightness=rho[None])
