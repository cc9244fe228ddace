r"""Result of unmixing: what was found, how, and how well the solve is certified."""

__all__ = ["Unmixing"]

import json
import numpy as np
import torch

from dataclasses import dataclass, field, fields
from pathlib import Path
from torch import Tensor
from typing import TYPE_CHECKING, Any

from .mixing import Convention
from .network import Smile
from .record import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Of the file that `save` writes
FORMAT = 2


@dataclass(frozen=True, eq=False)
class Unmixing:
    r"""Endmembers, abundances at two resolutions, and their provenance.

    All tensors are on the CPU.

    Args:
        M: The endmembers :math:`M`, with shape (B, R); unit norm for the convention `share`,
            physical norm, in the unit of the image, otherwise.
        M_first: The endmembers as they were found or given, in the same unit, with shape (B, R):
            the last solve can move archetypes.
        a: The LR abundances, with shape (R, h, w): the mean of the HR ones over the area of the
            pixel, or without guidance those of the constrained solve, in which bright parts of the
            pixel count for more. There is none in mode `single`, and where a rehearsal has shown
            that it does not help: then the history has no `share`.
        a_hr: The HR abundances, with shape (R, H, W).
        brightness: The LR brightness of the constrained solve, with shape (h, w); 0 where dead.
        brightness_hr: The HR brightness, with shape (H, W).
        gap: The certificate, with shape (h, w): how far, at most, the objective of the last solve
            is from its optimum given the endmembers, for each LR pixel and the HR pixels in it,
            relative to their energy. The last solve is the accessible one, of LR and HR abundances
            together (see `smile_core.refinement`), without guidance the constrained one at LR.
        dead: The dead pixels, whose sum over the bands is not positive, boolean, with shape
            (h, w). Their abundances are 1 / R.
        history: Series of the run by name: `evidence.structure` and so on (see
            `smile_core.endmembers`); `misfit` and `volume` of the restarts, and the index of the
            `chosen` one; errors of the rehearsal, `rehearsal.lifted` and so on, and the `share` of
            the network's correction that was taken (see `smile_core.guidance`); losses, held-out
            SR loss and affinities of the training (see `smile_core.objective.train`); objective
            and gap of the last solve (see `smile_core.refinement`). What did not run has left
            nothing.
        level: The mean norm of the pixels, in the unit of the image.
        mode: The mode, see `smile_core.unmix`.
        convention: What an abundance is, see `smile_core.mixing`.
        scale: The scale factor between LR and HR.
        seed: The seed.
        settings: The hyper-parameters by name, see `smile_core.Settings`.
        device: The device of the run.
        versions: The versions of Python and the packages.
        seconds: The seconds of `endmembers`, `solve`, `training` (with the rehearsal),
            `refinement`, and in `total`.
        network: The weights of the network by name; empty if none was trained.
    """

    M: Tensor
    M_first: Tensor
    a: Tensor
    a_hr: Tensor
    brightness: Tensor
    brightness_hr: Tensor
    gap: Tensor
    dead: Tensor
    history: dict[str, list[float]]
    level: float
    mode: str
    convention: Convention
    scale: int
    seed: int
    settings: dict[str, Any]
    device: str
    versions: dict[str, str]
    seconds: dict[str, float]
    network: dict[str, Tensor] = field(repr=False)

    def __repr__(self) -> str:
        (B, R), (h, w), (H, W) = self.M.shape, self.a.shape[1:], self.a_hr.shape[1:]
        return (
            f"Unmixing({R} endmembers, {B} bands, {h} x {w} -> {H} x {W} pixels, mode "
            f"'{self.mode}', convention '{self.convention}', largest gap {self.gap.max():.1e})"
        )

    @property
    def guided(self) -> bool:
        r"""Whether SR has guided unmixing: by choice not in `single`, or as it does not help."""
        return "share" in self.history

    @property
    def x_hr(self) -> Tensor:
        r"""The SR image, brightness times endmembers times HR abundances, with shape (B, H, W)."""
        return torch.einsum("br,rhw->bhw", self.M, self.a_hr) * self.brightness_hr

    def build_network(self) -> Smile:
        r"""Builds the trained network.

        Raises:
            ValueError: If no network was trained.
        """
        if not self.network:
            reason = "" if self.mode == "single" else ": the rehearsal gave it no share"
            raise ValueError(f"No network was trained in mode '{self.mode}'{reason}.")

        channels = len(self.network["stem.weight"])
        B, R = self.M.shape
        attention = "to_sr.temperature" in self.network
        factor = round((self.network["head_hr.weight"].shape[0] / R) ** 0.5)
        with torch.random.fork_rng(devices=[]):  # the caller's generator stays as it is
            network = Smile(B, R, factor, channels, attention=attention)
        network.load_state_dict(self.network)

        return network.eval()

    def save(self, path: str | Path) -> Path:
        r"""Saves the result to one file, as a whole or not at all.

        Args:
            path: The path of the file, ending in `.npz`.

        Returns:
            The path.

        Raises:
            ValueError: If the path does not end in `.npz`.
            OSError: If the file cannot be written.
        """
        path = Path(path)
        if path.suffix != ".npz":
            raise ValueError(f"The path should end in '.npz', got '{path}'.")

        arrays: dict[str, np.ndarray] = {}
        metadata: dict[str, Any] = {"format": FORMAT}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Tensor):
                arrays[item.name] = value.numpy()
            elif item.name in ("history", "network"):
                arrays |= {f"{item.name}.{k}": np.asarray(v) for k, v in value.items()}
            else:
                metadata[item.name] = value

        with replacing(path) as new, new.open("wb") as file:
            np.savez_compressed(file, metadata=np.array(json.dumps(metadata)), **arrays)

        return path

    @classmethod
    def load(cls, path: str | Path) -> "Unmixing":
        r"""Loads a result that `save` has written. Nothing in the file is executed.

        Args:
            path: The path of the file.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is not a result, or was written by a newer version.
        """
        try:
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            values = dict(json.loads(str(arrays.pop("metadata"))))
        except FileNotFoundError:
            raise
        except Exception as error:  # zipfile, zlib, numpy and json each raise their own
            raise ValueError(f"The file '{path}' is not a saved result: {error}") from error

        if values.pop("format", None) != FORMAT:
            raise ValueError(f"The file '{path}' has another format than {FORMAT}.")

        values |= {"history": {}, "network": {}}
        for name, array in arrays.items():
            group, _, key = name.partition(".")
            if group == "history":
                values[group][key] = array.tolist()
            elif group == "network":
                values[group][key] = torch.from_numpy(array)
            else:
                values[name] = torch.from_numpy(array)

        if missing := {item.name for item in fields(cls)} ^ set(values):
            raise ValueError(f"The file '{path}' lacks, or has unknown, {sorted(missing)}.")

        return cls(**values)

    def plot(self) -> "Figure":
        r"""Draws endmembers and abundances; see `smile_core.plot.result`."""
        from .plot import result  # matplotlib takes a second

        return result(self)
