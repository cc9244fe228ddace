r"""Odd inputs of `smile_core.unmix`, drawn from a number: calls that fit, and calls that do not.

A call that fits is as odd as an image can be: any shape, unit, type of numbers and order in
memory; dead, repeated, dark and outlying pixels; endmembers that repeat or are near each other. In
a call that does not, one argument is spoiled, and known: it is the one that the error has to name.
"""

__all__ = ["MODES", "Call", "draw", "lay", "spoil"]

import numpy as np
import torch

from dataclasses import dataclass, replace
from typing import Any

from smile_core import Settings
from smile_core.degradation import degrade

MODES = ("single", "self", "partial", "supervised")
CONVENTIONS = ("auto", "share", "area", "plain")

# As little work as there can be
SETTINGS = Settings(restarts=2, rounds=5, steps=3, channels=4, alternations=3)

# Units of light, as far as float32 goes with room for sums and for darker endmembers
UNITS = (1e-40, 1e-35, 1e-20, 1e-6, 1.0, 1.0, 1.0, 1e4, 1e20, 1e35)
LARGEST, SMALLEST = 1e26, 1e-40


@dataclass(frozen=True)
class Call:
    r"""A call of `unmix`, and what is known of it.

    Args:
        image: The image.
        endmembers: The endmembers, or their number.
        options: The other arguments by name.
        kind: What is odd about it, in words.
        spoiled: The argument that does not fit, if there is one.
    """

    image: Any
    endmembers: Any
    options: dict[str, Any]
    kind: str
    spoiled: str = ""


def draw(number: int) -> Call:
    r"""Draws a call that fits, of no more than 8 x 8 pixels."""
    rng = np.random.default_rng(number)
    scale = int(rng.choice([2, 2, 2, 3, 4]))
    mode = str(rng.choice(MODES))
    B = int(rng.choice([1, 2, 3, 5, 12]))
    size = [(8, 8), (8, 8), (1, 8), (8, 1), (1, 1), (2, 3), (7, 5)][rng.integers(7)]
    kind, hr = _scene(rng, (B, scale * size[0], scale * size[1]))

    y = degrade(torch.from_numpy(hr), scale).numpy()
    unit = min(float(rng.choice(UNITS)), LARGEST / max(np.abs(hr).max(), 1))
    if y.any():
        unit = max(unit, SMALLEST / np.abs(y).max())
    alive = int(((unit * y).astype(np.float32).astype(float).sum(axis=0) > 0).sum())
    if not alive:
        y[:, 0, 0] = hr[:, 0, 0] = alive = 1
    words, endmembers = _endmembers(rng, y, alive)
    given = isinstance(endmembers, np.ndarray)
    if given:
        endmembers *= np.abs(y).max()

    layout, image = lay(rng, unit * y)
    options: dict[str, Any] = {"scale": scale, "mode": mode, "settings": SETTINGS}
    options |= {"convention": str(rng.choice(CONVENTIONS)), "seed": int(rng.integers(2**63))}
    if mode in ("partial", "supervised"):
        options["hr"] = lay(rng, unit * hr)[1]
    if mode == "partial":
        mask = rng.random(hr.shape[1:]) < rng.choice([0.1, 0.5, 1.0])
        mask[np.unravel_index(np.argmax(hr.sum(axis=0)), mask.shape)] = True
        options["hr_mask"] = mask

    kind = f"{kind}, {B} x {size[0]} x {size[1]}, unit {unit:.0e}, {layout}, endmembers {words}"
    return Call(image, lay(rng, unit * endmembers)[1] if given else endmembers, options, kind)


def lay(rng: np.random.Generator, x: np.ndarray) -> tuple[str, Any]:
    r"""Lays out an array in another way, its numbers being the same up to float32."""
    frozen = x.copy()
    frozen.flags.writeable = False
    ways = {
        "plain": lambda: x,
        "float32": lambda: x.astype(np.float32),
        "big-endian": lambda: x.astype(">f8"),
        "Fortran": lambda: np.asfortranarray(x),
        "read-only": lambda: frozen,
        "bands last in memory": lambda: np.moveaxis(np.moveaxis(x, 0, -1).copy(), -1, 0),
        "backwards": lambda: x[..., ::-1].copy()[..., ::-1],
        "every second": lambda: np.repeat(x, 2, axis=-1)[..., ::2],
        "unaligned": lambda: np.frombuffer(b"x" + x.tobytes(), offset=1).reshape(x.shape),
        "list": lambda: x.tolist(),
        "tensor": lambda: torch.from_numpy(x.copy()),
        "tensor with gradient": lambda: torch.from_numpy(x).float().requires_grad_(),
        "tensor, transposed": lambda: torch.from_numpy(x.T.copy()).permute(*range(x.ndim)[::-1]),
    }
    way = str(rng.choice(list(ways)))

    return way, ways[way]()


def spoil(call: Call, number: int) -> Call:
    r"""Spoils one argument of a call that fits."""
    rng = np.random.default_rng([number, 1])
    hr = call.options.get("hr")
    Y = np.array(_plain(call.image), dtype=np.float64)

    B, h, w = Y.shape
    M = np.ones((B, 2))
    one = tuple(rng.integers(Y.shape))
    X = None if hr is None else np.array(_plain(hr), dtype=np.float64)

    spoils: dict[str, list[Any]] = {
        "image": [
            *(_with(Y, one, bad) for bad in (np.nan, np.inf, -np.inf, 1e300)),
            *(Y[0], Y[None], Y[:0], Y[:, :0], Y[:, :, :0], 0 * Y, -abs(Y), 1e-60 * Y / Y.max()),
            *(Y + 1j, Y.astype(str), np.full(Y.shape, None), np.zeros(Y.shape, "M8[s]")),
            *(np.zeros(Y.shape, [("x", float)]), [[1.0], [2.0, 3.0]], None, {}, "image", 1.0),
            torch.full(Y.shape, torch.nan),
        ],
        "endmembers": [
            *(0, -1, B + 1, h * w + 1, 10**30, 2.5, np.nan, None, True, "three", "", {}),
            *(np.ones(B), np.ones((B + 1, 2)), np.ones((B, 0)), np.ones((1, B, 2)), np.ones(())),
            *(_with(M, (0, 1), bad) for bad in (np.nan, np.inf, -1e9, 1e300)),
            *(0 * M, -M, M.astype(str), M + 1j, torch.zeros(B, 2)),
        ],
        "scale": [0, 1, -2, 2.5, np.nan, None, True, "2", 2**70, [2], np.array([2, 2])],
        "mode": ["", "Self", None, 3, ["self"], np.array(["self", "single"])],
        "convention": ["", "Share", None, 3, ["share"], np.array(["share", "plain"])],
        "seed": [-1, 1.5, None, True, "0", 2**63, [0]],
        "threads": [0, -1, 1.5, True, "1", 10**5],
        "device": ["abacus", "", "cuda:99", 3.5, []],
        "settings": [None, {}, "light"],
        "start": ["result", 0, {}, M],
        "hr": [
            *([np.ones((B, h, w))] if X is None else [None, X[0], X[:, 1:], X + 1j, 0 * X, "hr"]),
            *([] if X is None else [np.full(X.shape, np.nan), np.full(X.shape, 1e300)]),
        ],
        "hr_mask": [
            *([np.ones((h, w), bool)] if "hr_mask" not in call.options else [None, "mask"]),
            *(np.ones((h, w), bool), np.zeros((h, w), bool), 0.5, np.ones((h, w))),
        ],
    }
    name = str(rng.choice(list(spoils)))
    bad = spoils[name][rng.integers(len(spoils[name]))]
    call = replace(call, kind=f"{call.kind}, but the {name} {str(bad)[:40]!r}", spoiled=name)
    if name in ("image", "endmembers"):
        return replace(call, **{name: bad})

    return replace(call, options={**call.options, name: bad})


def _scene(rng: np.random.Generator, shape: tuple[int, int, int]) -> tuple[str, np.ndarray]:
    # At HR, in numbers of about one, without a sum over the bands that overflows
    B, H, W = shape
    R = int(rng.integers(1, 5))
    M, a = rng.uniform(0.05, 1, (B, R)), rng.dirichlet(np.full(R, 0.5), (H, W))
    mixed = np.einsum("br,hwr->bhw", M, a) * rng.uniform(0.2, 1, (H, W))
    where = rng.random((H, W))
    kinds = {
        "mixtures": lambda: mixed,
        "mixtures and noise": lambda: mixed + 0.02 * rng.standard_normal(shape),
        "uniform noise": lambda: rng.random(shape),
        "noise about zero": lambda: rng.standard_normal(shape),
        "a constant": lambda: np.full(shape, 0.3),
        "one spectrum": lambda: M[:, :1, None] * where,
        "repeated pixels": lambda: M[:, rng.integers(0, R, (H, W))],
        "nothing but one pixel": lambda: np.where(np.arange(H * W).reshape(H, W) == 0, mixed, 0),
        "dead pixels": lambda: np.where(where < 0.6, mixed, 0),
        "negative pixels": lambda: np.where(where < 0.3, -mixed, mixed),
        "an outlier": lambda: np.where(where == where.max(), 1e6 * mixed, mixed),
        "a dark half": lambda: np.where(where < 0.5, 1e-7 * mixed, mixed),
        "any magnitudes": lambda: 10.0 ** rng.uniform(-12, 2, shape),
        "a zero band": lambda: mixed * (np.arange(B) > 0)[:, None, None] + (B == 1),
        "one band alone": lambda: mixed * (np.arange(B) == 0)[:, None, None],
        "a ramp": lambda: mixed[:, :1, :1] + np.linspace(0, 1, H * W).reshape(H, W),
        "whole numbers": lambda: np.round(3 * mixed),
    }
    kind = str(rng.choice(list(kinds)))

    return kind, np.ascontiguousarray(kinds[kind]())


def _endmembers(rng: np.random.Generator, y: np.ndarray, alive: int) -> tuple[str, Any]:
    B, most = len(y), min(len(y), alive)
    number = int(rng.integers(1, most + 1))
    R = int(rng.integers(1, 7))  # can be more than bands
    M = rng.uniform(0.05, 1, (B, R))
    kinds = {
        "one": lambda: 1,
        "some": lambda: number,
        "some of NumPy": lambda: np.int32(number),
        "most": lambda: most,
        "auto": lambda: "auto",
        "any": lambda: M,
        "repeated": lambda: M[:, :1].repeat(R, axis=1),
        "collinear": lambda: M[:, :1] * 10.0 ** rng.uniform(-2, 2, R),
        "nearly repeated": lambda: M[:, :1] * (1 + 1e-7 * M),
        "on a line": lambda: M[:, :1] + np.linspace(0, 1, R) * M[:, -1:],
        "with negative values": lambda: np.where((M == M.min(axis=0)) & (B > 1), -0.5 * M, M),
        "brighter than the pixels": lambda: 50 * M,
    }
    kind = str(rng.choice(list(kinds)))

    return kind, kinds[kind]()


def _plain(x: Any) -> Any:
    return x.detach().numpy() if isinstance(x, torch.Tensor) else x


def _with(x: np.ndarray, place: tuple[int, ...], value: float) -> np.ndarray:
    x = x.copy()
    x[place] = value
    return x
