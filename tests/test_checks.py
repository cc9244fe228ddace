r"""Tests for the smile_core.checks module."""

import numpy as np
import pytest
import re
import torch

from collections.abc import Callable
from torch import Tensor

from smile_core import scenes
from smile_core.degradation import degrade
from smile_core.result import Unmixing
from smile_core.scenes import Scene
from smile_core.unmixing import Settings, unmix

TINY = Settings(restarts=4, rounds=20, steps=20, channels=8)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return scenes.synthetic(size=24, endmembers=3, smoothness=2.0, seed=0).crop(24, 20)


def assert_same(u: Unmixing, v: Unmixing) -> None:
    for name in ("M", "a", "a_hr", "brightness", "brightness_hr", "gap"):
        assert torch.equal(getattr(u, name), getattr(v, name)), name


def make_readonly(x: Tensor) -> np.ndarray:
    array = x.numpy().copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.numpy(),
        lambda x: x.double().numpy(),
        lambda x: x.double().requires_grad_(),
        lambda x: x.numpy().astype(">f8"),
        lambda x: np.asfortranarray(x.numpy()),
        lambda x: x.numpy()[:, ::-1].copy()[:, ::-1],
        lambda x: x.mT.contiguous().mT,
        lambda x: make_readonly(x),
        lambda x: x.tolist(),
    ],
    ids="numpy float64 gradient endian fortran reversed transposed readonly list".split(),
)
def test_inputs(scene: Scene, change: Callable[[Tensor], object]) -> None:
    hr, mask = scene.image, torch.zeros(24, 20).bool()
    mask[:, :10] = True
    y = degrade(hr, 2)
    expected = unmix(y, scene.M, mode="partial", hr=hr, hr_mask=mask, settings=TINY)
    before = y.clone(), hr.clone(), scene.M.clone()
    u = unmix(
        change(y),
        scene.M.numpy(),
        mode="partial",
        scale=np.int64(2),
        hr=change(hr),
        hr_mask=make_readonly(mask),
        settings=TINY,
    )

    assert_same(u, expected)
    for value, value_ in zip((y, hr, scene.M), before, strict=True):
        assert torch.equal(value, value_)


def test_integers(scene: Scene) -> None:
    counts = (1000 * scene.image).clamp_min(0).round()
    expected = unmix(counts, 3, mode="single", settings=TINY)

    for dtype in (np.uint16, np.int32, np.float64):
        u = unmix(counts.numpy().astype(dtype), np.int64(3), mode="single", settings=TINY)
        assert_same(u, expected)


BAD = [
    # The image
    ({"image": torch.rand(8, 8)}, r"image .* \(bands, rows, cols\), got \(8, 8\)"),
    ({"image": torch.rand(1, 5, 8, 8)}, r"image .* \(bands, rows, cols\), got \(1, 5, 8, 8\)"),
    ({"image": torch.full((5, 8, 8), torch.nan)}, r"image .* finite, got 320 .* \(0, 0, 0\)"),
    ({"image": np.full((5, 8, 8), np.inf)}, r"image .* finite, got 320 NaN or infinite values"),
    ({"image": np.full((5, 8, 8), 1e300)}, r"image .* finite"),  # in float32
    ({"image": np.full((5, 8, 8), 1e31)}, r"image .* up to 1e\+30, got 1.0e\+31"),
    ({"image": "samson"}, r"image .* array of real numbers"),
    ({"image": None}, r"image .* array of real numbers"),
    ({"image": [[1.0], [1.0, 2.0]]}, r"image .* array of real numbers"),
    ({"image": torch.rand(5, 8, 8) + 1j}, r"image .* array of real numbers: complex"),
    ({"image": torch.zeros(5, 8, 8), "endmembers": torch.ones(5, 2)}, r"image has no pixel"),
    ({"image": torch.rand(5, 0, 8)}, r"got 3 for 5 bands and 0 such pixels"),
    # The endmembers
    ({"endmembers": 0}, r"number of endmembers .* at least 1"),
    ({"endmembers": 6}, r"endmembers .* got 6 for 5 bands and 64 .* \(5, 8, 8\)"),
    ({"image": torch.rand(9, 1, 2)}, r"endmembers .* got 3 for 9 bands and 2 such pixels"),
    ({"image": -torch.rand(5, 8, 8)}, r"endmembers .* got 3 for 5 bands and 0 such pixels"),
    ({"endmembers": True}, r"endmembers .* whole number, 'auto', or an array .* \(5, R\)"),
    ({"endmembers": 2.5}, r"endmembers .* whole number, 'auto', or an array .* \(5, R\)"),
    ({"endmembers": torch.rand(4, 3)}, r"endmembers .* \(5, R\), .* \(5, 8, 8\).* \(4, 3\)"),
    ({"endmembers": torch.rand(5)}, r"endmembers .* \(5, R\), .* got shape \(5,\)"),
    ({"endmembers": torch.rand(5, 0)}, r"endmembers .* got shape \(5, 0\)"),
    ({"endmembers": torch.full((5, 2), torch.nan)}, r"endmembers .* finite, got 10"),
    ({"endmembers": torch.full((5, 2), 1e20)}, r"endmembers .* unit of the image, .* 1.0e\+20"),
    ({"endmembers": torch.full((5, 2), 1e-20)}, r"endmembers .* unit of the image, .* 1.0e-20"),
    ({"endmembers": torch.eye(5)[:, :2] - 1}, r"Each endmember .* positive sum"),
    ({"endmembers": "many"}, r"endmembers .* whole number, 'auto', or .* \(5, R\), got 'many'"),
    ({"image": torch.zeros(5, 8, 8), "endmembers": "auto"}, r"image has no pixel"),
    # The options
    ({"scale": 1}, r"scale .* whole number of at least 2, got 1"),
    ({"scale": 2.0}, r"scale .* whole number of at least 2, got 2.0"),
    ({"scale": True}, r"scale .* whole number of at least 2, got True"),
    ({"seed": -1}, r"seed .* whole number of at least 0, got -1"),
    ({"seed": "0"}, r"seed .* whole number of at least 0, got '0'"),
    ({"seed": 2**64}, r"seed .* less than 2\^63"),
    ({"settings": {"steps": 3}}, r"settings .* of class Settings, got {'steps': 3}"),
    ({"threads": 0}, r"threads .* whole number of at least 1, got 0"),
    ({"threads": 2**10}, r"threads .* less than 2\^10"),  # of many more, the process dies
    ({"mode": np.array(["self", "single"])}, r"mode should be one of .*, got array"),
    ({"mode": "both"}, r"mode .*'single', 'self', 'partial', 'supervised'\), got 'both'"),
    ({"convention": "volume"}, r"convention .*'auto', 'share', 'area', 'plain'\), got 'volume'"),
    ({"device": "abacus"}, r"device .* got 'abacus'"),
    ({"device": 3.5}, r"device .* got '3.5'"),
    ({"device": "cuda:99"}, r"device .* got 'cuda:99'"),
    # The HR image
    ({"hr": torch.rand(5, 16, 16)}, r"mode 'self' sees no HR image, but hr"),
    ({"mode": "single", "hr_mask": torch.ones(16, 16).bool()}, r"'single' sees no HR image"),
    ({"mode": "supervised"}, r"needs hr .* 'supervised', hr missing, hr_mask missing"),
    ({"mode": "partial", "hr": torch.rand(5, 16, 16)}, r"'partial', hr given, hr_mask missing"),
    (
        {
            "mode": "supervised",
            "hr": torch.rand(5, 16, 16),
            "hr_mask": torch.ones(16, 16).bool(),
        },
        r"'supervised', hr given, hr_mask given",
    ),
    ({"mode": "supervised", "hr": torch.rand(5, 16, 15)}, r"hr .* \(5, 16, 16\).* \(5, 16, 15\)"),
    ({"mode": "supervised", "hr": torch.rand(4, 16, 16)}, r"hr .* \(5, 16, 16\).* \(4, 16, 16\)"),
    (
        {"mode": "supervised", "hr": torch.rand(5, 16, 16), "scale": 4},
        r"hr .* \(5, 32, 32\), 4 times .* \(5, 16, 16\)",
    ),
    ({"mode": "supervised", "hr": torch.full((5, 16, 16), torch.nan)}, r"hr .* finite, got 1280"),
    ({"mode": "supervised", "hr": torch.full((5, 16, 16), 1e20)}, r"hr .* unit of the image"),
    ({"mode": "supervised", "hr": torch.zeros(5, 16, 16)}, r"hr image shows no pixel"),
    *(
        ({"mode": "partial", "hr": torch.rand(5, 16, 16), "hr_mask": mask}, f"hr_mask .* {text}")
        for mask, text in (
            (torch.ones(16, 16), r"boolean .* got torch.float32"),
            (torch.ones(8, 8).bool(), r"\(16, 16\) .* got torch.bool with shape \(8, 8\)"),
            (torch.zeros(16, 16).bool(), r"true somewhere"),
            ("left", r"array of real numbers"),
        )
    ),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_bad_input(changes: dict[str, object], message: str) -> None:
    arguments = {"image": torch.rand(5, 8, 8), "endmembers": 3, "settings": TINY} | changes

    with pytest.raises(ValueError, match=re.compile(message, re.DOTALL)):
        unmix(arguments.pop("image"), arguments.pop("endmembers"), **arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps should be a whole number, positive, got 0"),
        ({"steps": "4"}, "steps should be a whole number, positive, got '4'"),
        ({"steps": True}, "steps should be a whole number, positive, got True"),
        ({"rounds": 2.0}, "rounds should be a whole number, positive, got 2.0"),
        ({"learning_rate": None}, "learning_rate should be a finite number, positive, got None"),
        ({"learning_rate": np.inf}, "learning_rate should be a finite number, positive, got inf"),
        ({"learning_rate": np.nan}, "learning_rate should be a finite number, positive, got nan"),
        ({"alternations": -1}, "alternations should be a whole number, not negative, got -1"),
        ({"guidance": np.inf}, "guidance should be a finite number, not negative, got inf"),
        ({"mu": -0.1}, "mu should be a finite number, not negative, got -0.1"),
        ({"channels": 6}, "channels should be a multiple of 4, got 6"),
        ({"attention": 1}, "attention should be True or False, got 1"),
        ({"weighting": "fair"}, r"weighting should be one of \('sum', 'gate', .*, got 'fair'"),
        ({"without": "gate"}, r"without should be one of \('', 'shared .*, got 'gate'"),
        ({"without": ["network"]}, r"without should be one of .*, got \['network'\]"),
    ],
)
def test_bad_settings(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(**changes)


def test_odd_settings() -> None:
    # What may be zero, and numbers of NumPy
    steps, mu = np.int64(3), np.float32(1)
    settings = Settings(steps=steps, channels=8, alternations=0, guidance=0, mu=mu)
    assert unmix(torch.rand(5, 8, 8), 2, settings=settings).a.isfinite().all()
