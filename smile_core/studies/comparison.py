r"""Comparison: this method and published ones, under one protocol.

Each gets the image, the number of endmembers and a seed, and nothing else; its hyper-parameters
are the same for all scenes. Endmembers are matched to the reference by the smallest sum of angles.
Abundances are compared with the reference twice: as the method returns them, and after the scale
of the reference's endmembers is imposed, since abundances depend on it.

What a method has found is kept as well as its errors, for maps and spectra to be drawn of what was
scored.
"""

__all__ = [
    "SMILE",
    "Estimate",
    "angles_to_pure",
    "compare",
    "estimate",
    "place",
    "plan",
    "sources",
]

import contextlib
import hashlib
import inspect
import itertools
import json
import numpy as np
import torch

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from torch import Tensor
from typing import Any

from ..baselines import METHODS
from ..metrics import angle, match, reconstruction, score
from ..mixing import unit
from ..record import replacing
from ..scenes import Scene, load
from ..unmixing import Settings, find_device
from .experiments import METHOD, fit
from .study import PACKAGE, Usage, hash_sources, keep_in, watch

#: The name of this method among the others.
SMILE = "SMILE"

# What one baseline or the other takes from
SHARED = ("baselines.geometric", "baselines.training", "enclosing", "mixing")


@dataclass(frozen=True, eq=False)
class Estimate:
    r"""What a method has found.

    Args:
        M: The endmembers, with shape (B, R).
        a: The abundances, with shape (R, h, w).
        convention: What an abundance is, see `smile_core.mixing`; `None` if the method does not
            say.
        seconds: The time it took.
        memory: The largest memory of the process in MB, see `smile_core.studies.study.Usage`;
            `None` if it was found before, by `smile_core.studies.experiments.fit`.
    """

    M: Tensor
    a: Tensor
    convention: str | None
    seconds: float
    memory: float | None


def plan(
    names: Sequence[str],
    methods: Sequence[str],
    seeds: int,
    deep_seeds: int | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    **common: Any,
) -> list[dict[str, Any]]:
    r"""Lists the cases of a comparison, seed after seed.

    Args:
        names: The names of the scenes.
        methods: The names of the methods, `SMILE` or one of `smile_core.baselines.METHODS`.
        seeds: The number of seeds, from 0 on.
        deep_seeds: The number of seeds of baselines that train a network; `seeds` if `None`.
        options: The options of each method by its name, see `estimate`.
        common: The other arguments of `compare`.

    Returns:
        The arguments of `compare`.
    """
    few = seeds if deep_seeds is None else deep_seeds

    return [
        {
            "scene": name,
            "method": method,
            "seed": seed,
            **common,
            **(options or {}).get(method, {}),
        }
        for seed, name, method in itertools.product(range(max(seeds, few)), names, methods)
        if seed < (few if _is_deep(method) else seeds)
    ]


def sources(method: str, **_: Any) -> tuple[str, ...]:
    r"""Returns the names of the modules that a case of `compare` depends on.

    Args:
        method: The name of the method.
    """
    return (*_modules(method), "metrics", "scene", "scenes", "synthetic")


def compare(
    scene: str,
    method: str,
    seed: int,
    size: int | None = None,
    device: str = "auto",
    **options: Any,
) -> dict[str, Any]:
    r"""Unmixes a scene by one method, and compares what it finds with the reference.

    The reference is that of the scene, whatever the method takes an abundance for: of synthetic
    scenes, fractions of area.

    Args:
        scene: The name of the scene.
        method: The name of the method.
        seed: The seed.
        size: The rows and columns of the part in the centre to unmix; all if `None`.
        device: The device of the methods that train.
        options: The options of the method, see `estimate`.

    Returns:
        What `smile_core.metrics.score` returns, `None` where the scene has no reference for it;
        `angle` and `rmse` of the reconstruction; `convention`, `seconds` and `memory` of
        `Estimate`; `device`, where the work was done.
    """
    data = place(scene, size)
    found = estimate(data.image, data.R, method, seed, device, **options)

    if data.a is None:
        permutation, sad = match(found.M, data.M)
        scores: dict[str, Any] = {
            "permutation": permutation.tolist(),
            "sad": sad.tolist(),
            "sad_mean": float(sad.mean()),
            **dict.fromkeys(("armse", "armse_per_endmember", "armse_matched")),
        }
    else:
        scores = score(found.M, found.a, data.M, data.a)

    x_hat = torch.einsum("br,rhw->bhw", found.M.double(), found.a.double())

    return {
        **scores,
        **reconstruction(data.image, x_hat),
        "convention": found.convention,
        "seconds": found.seconds,
        "memory": found.memory,
        "device": str(find_device(device)) if method == SMILE or _is_deep(method) else "cpu",
    }


def place(name: str, size: int | None = None) -> Scene:
    r"""Loads a scene, or the part in its centre.

    Args:
        name: The name of the scene.
        size: The rows and columns of the part, where the scene has as many; all if `None`.
    """
    data = load(name)
    if size is None:
        return data

    H, W = data.image.shape[1:]
    return data.crop(min(size, H), min(size, W))


def angles_to_pure(scene: Scene, M: Tensor, least: float = 0.95) -> Tensor:
    r"""Measures how far endmembers are from the pixels that the reference calls pure.

    Args:
        scene: The scene, with reference abundances.
        M: Endmembers in the order of the reference, with shape (B, R).
        least: The abundance from which on a pixel is called pure.

    Returns:
        The angle of each endmember to the mean of these pixels, each divided by its norm, in
        radians, with shape (R,); NaN where there are none.
    """
    pixels = unit(scene.image.double()).flatten(1)
    pure = (scene.a.flatten(1) >= least).double()
    means = pixels @ pure.mT / pure.sum(dim=1)  # NaN for none

    return angle(M.double(), means)


def estimate(
    image: Tensor, R: int, method: str, seed: int, device: str = "auto", **options: Any
) -> Estimate:
    r"""Unmixes an image by one method, or returns what it found before.

    Args:
        image: The image, with shape (B, h, w).
        R: The number of endmembers.
        method: The name of the method, `SMILE` or one of `smile_core.baselines.METHODS`.
        seed: The seed.
        device: The device of the methods that train.
        options: The options of a baseline, or the fields of `smile_core.Settings`.

    Returns:
        What was found; `seconds` and `memory` are those of the first call.

    Raises:
        ValueError: If the method is unknown.
    """
    if method != SMILE and method not in METHODS:
        raise ValueError(f"Unknown method '{method}', expected one of {[SMILE, *METHODS]}.")

    modules = [f"{PACKAGE}.{name}" for name in _modules(method)]
    case = [R, method, seed, str(find_device(device)), options]
    digest = hashlib.sha256(
        f"{hash_sources(*modules)} {json.dumps(case, sort_keys=True)}".encode()
    )
    digest.update(f"{tuple(image.shape)}".encode() + image.contiguous().numpy().tobytes())
    path = keep_in() / f"estimate-{digest.hexdigest()[:32]}.npz"
    if path.exists():
        return _load(path)

    with watch() as usage:
        if method == SMILE:
            settings = Settings(**options)
            result = fit(image, R, mode="self", seed=seed, settings=settings, device=device)
            M, a, convention = result.M, result.a, result.convention
        else:
            if _is_deep(method):
                options["device"] = find_device(device)
            M, a = METHODS[method](image, R, seed, **options)
            convention = None
    if method == SMILE and usage.seconds < result.seconds["total"]:  # that of another notebook
        usage = Usage(result.seconds["total"])

    found = Estimate(M.cpu().float(), a.cpu().float(), convention, **asdict(usage))
    with contextlib.suppress(OSError):  # where there is no place for a cache, there is none
        path.parent.mkdir(parents=True, exist_ok=True)
        _save(found, path)

    return found


def _modules(method: str) -> tuple[str, ...]:
    if method not in METHODS:
        return (*METHOD, "studies.experiments")

    return (METHODS[method].__module__.removeprefix(f"{PACKAGE}."), *SHARED)


def _is_deep(method: str) -> bool:
    return method in METHODS and "device" in inspect.signature(METHODS[method]).parameters


def _save(found: Estimate, path: Path) -> None:
    rest = {"convention": found.convention, "seconds": found.seconds, "memory": found.memory}
    with replacing(path) as new, new.open("wb") as file:
        np.savez_compressed(
            file, M=found.M.numpy(), a=found.a.numpy(), rest=np.array(json.dumps(rest))
        )


def _load(path: Path) -> Estimate:
    with np.load(path, allow_pickle=False) as archive:
        M, a = (torch.from_numpy(archive[name]) for name in ("M", "a"))
        return Estimate(M, a, **json.loads(str(archive["rest"])))
