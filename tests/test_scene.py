r"""Tests for the smile_core.scene module."""

import math
import numpy as np
import pytest
import torch

from smile_core.scene import Scene, float32


def make_scene(**changes: object) -> Scene:
    fields = {
        "name": "toy",
        "image": torch.arange(30.0).reshape(5, 2, 3) / 30.0,
        "M": torch.ones(5, 2),
        "a": torch.full((2, 2, 3), 0.5),
        "materials": ("soil", "tree"),
        "wavelengths": torch.linspace(450.0, 650.0, 5),
        "source": "Made by hand.",
        "brightness": torch.ones(2, 3),
    }
    return Scene(**(fields | changes))


def test_scene() -> None:
    scene = make_scene()
    assert scene.R == 2
    assert repr(scene) == "Scene(toy: 5 bands, 2 x 3 pixels, soil, tree)"

    # Without reference
    assert make_scene(M=None, a=None, brightness=None).M is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"wavelengths": torch.ones(4)}, r"wavelengths .* \(bands, rows, cols\) = \(5, 2, 3\)"),
        ({"image": torch.ones(2, 3)}, r"image .* \(bands, rows, cols\), .* shape \(2, 3\)"),
        ({"image": torch.ones(5, 2, 3).double()}, "image .* float32 .* got torch.float64"),
        ({"image": torch.full((5, 2, 3), math.nan)}, "image .* got 30 values that are NaN"),
        ({"M": torch.full((5, 2), math.inf)}, "M .* got 10 values that are NaN or infinite"),
        ({"M": torch.ones(2, 5)}, r"M .* shape \(5, 2\), got \(2, 5\)"),
        ({"a": torch.ones(2, 3, 2)}, r"a .* shape \(2, 2, 3\), got \(2, 3, 2\)"),
        ({"materials": ("soil",)}, r"M .* shape \(5, 1\), got \(5, 2\)"),
        ({"brightness": torch.ones(3, 2)}, r"brightness .* shape \(2, 3\), got \(3, 2\)"),
    ],
)
def test_scene_bad(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_scene(**changes)


def test_crop() -> None:
    scene = make_scene()

    # From the top left corner
    crop = scene.crop(1, 2, at=(1, 0))
    assert torch.equal(crop.image, scene.image[:, 1:2, 0:2])
    assert crop.a.shape == (2, 1, 2)
    assert crop.brightness.shape == (1, 2)
    assert torch.equal(crop.M, scene.M)

    # In the centre
    assert torch.equal(scene.crop(2, 1).image, scene.image[:, :, 1:2])

    # Without reference
    assert make_scene(M=None, a=None, brightness=None).crop(1, 1).a is None

    # Out of the image
    for rows, cols, at in [(3, 1, None), (1, 1, (0, 3)), (1, 1, (-1, 0)), (0, 1, (0, 0))]:
        with pytest.raises(ValueError, match=f"crop of {rows} x {cols} pixels .* 2 x 3 pixels"):
            scene.crop(rows, cols, at=at)


def test_rgb() -> None:
    # Bands are 450, 500, 550, 600, 650 nm
    image = torch.zeros(5, 10, 10)
    image[4, :, :5] = 1.0  # red on the left
    image[0, :, 5:] = 1.0  # blue on the right
    scene = make_scene(image=image, M=None, a=None, brightness=None)
    assert torch.equal(scene.rgb[0, 0], torch.tensor([1.0, 0.0, 0.0]))
    assert torch.equal(scene.rgb[0, 9], torch.tensor([0.0, 0.0, 1.0]))

    # A flat image divides by nothing
    assert make_scene(image=torch.ones(5, 2, 3)).rgb.isfinite().all()


def test_float32() -> None:
    x = np.arange(12.0).reshape(3, 4)
    tensor = float32(x.T[::2])
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous()
    assert tensor.tolist() == [[0.0, 4.0, 8.0], [2.0, 6.0, 10.0]]
