r"""Images that stay on disk: what `smile_core.unmix_large` costs, and how it errs."""

__all__ = ["SOURCES", "draw_image", "tiled"]

import numpy as np
import tempfile

from pathlib import Path
from scipy.special import softmax
from typing import Any

from ..large import unmix_large
from ..metrics import match
from ..scene import float32
from ..synthetic import draw_fields, synthetic
from ..unmixing import Settings
from .experiments import METHOD
from .study import watch

#: The modules that this experiment depends on.
SOURCES = (*METHOD, "large", "scene", "synthetic")

# So many rows are drawn at once
ROWS = 32


def draw_image(
    path: Path, side: int, bands: int = 180, R: int = 4, *, snr: float = 30.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    r"""Draws a square image to a file, in bounded memory.

    Args:
        path: The path of the `.npy` file.
        side: The number of rows and columns.
        bands: The number of bands, repeated if more than the spectra have.
        R: The number of endmembers.
        snr: The signal-to-noise ratio in dB.
        seed: The seed.

    Returns:
        The endmembers, with shape (bands, R), and the abundances, with shape (R, side, side). The
        brightness is one.
    """
    rng = np.random.default_rng(seed)
    M = synthetic(32, R, seed=seed).M.double().numpy()
    M = M[np.sort(np.arange(bands) % len(M))]
    # Cold enough for pure pixels
    a = softmax(draw_fields(rng, R, side, 4.0) / 0.2, axis=0)

    image = np.lib.format.open_memmap(path, "w+", dtype=np.float32, shape=(bands, side, side))
    size = np.sqrt(np.square(np.tensordot(M, a[:, :ROWS], 1)).mean())
    for top in range(0, side, ROWS):
        part = np.tensordot(M, a[:, top : top + ROWS], 1)
        noise = size * 10 ** (-snr / 20) * rng.standard_normal(part.shape)
        image[:, top : top + ROWS] = part + noise
    image.flush()

    return M, a


def tiled(
    side: int,
    *,
    bands: int = 180,
    mode: str = "single",
    tile: int = 256,
    sample: int = 2**16,
    restarts: int = Settings.restarts,
    steps: int = Settings.steps,
    seed: int = 0,
    device: str = "auto",
) -> dict[str, Any]:
    r"""Draws an image to disk, and unmixes it by tiles.

    Args:
        side: The number of rows and columns.
        bands: The number of bands.
        mode: `single` or `self`.
        tile: The rows and columns of a tile.
        sample: The number of pixels to learn from, at most.
        restarts: The number of restarts of the archetypes.
        steps: The number of training steps.
        seed: The seed.
        device: The device to learn on.

    Returns:
        `megabytes`, the size of the image; `sad` in radians and `lr`, the errors of endmembers and
        abundances; the `seconds` of learning and tiles, and the peak `memory` of the process in
        MiB meanwhile.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.npy"
        M, a = draw_image(path, side, bands, seed=seed)
        settings = Settings(restarts=restarts, steps=steps)
        options: dict[str, Any] = {"mode": mode, "tile": tile, "sample": sample, "seed": seed}
        with watch() as usage:
            result = unmix_large(
                path,
                M.shape[1],
                Path(folder) / "result",
                settings=settings,
                device=device,
                **options,
            )

        permutation, angles = match(result.M, float32(M))
        # By blocks of rows: all of them may not fit
        errors = [
            float(
                (result.a[permutation, top : top + ROWS] - float32(a[:, top : top + ROWS]))
                .square()
                .sum()
            )
            for top in range(0, side, ROWS)
        ]
        size = path.stat().st_size

    return {
        "megabytes": size / 1e6,
        "sad": float(angles.mean()),
        "lr": (sum(errors) / a.size) ** 0.5,
        "seconds": usage.seconds,
        "memory": usage.memory,
    }
