r"""CNNAEU: a convolutional autoencoder whose decoder is one wide convolution.

The encoder maps an image patch to abundances, by a 3 x 3 and a 1 x 1 convolution, and a softmax
of three times their output. The decoder is a single convolution with non-negative weights,

.. math:: \hat y_i = \sum_{\delta} W_\delta a_{i + \delta}, \qquad
    M = \operatorname{mean}_\delta W_\delta,

such that the spectra of a pixel come from the abundances around it. The loss is the mean spectral
angle :math:`\angle(y_i, \hat y_i)`, which no brightness changes; the scale of the endmembers is
therefore not identified.

References:
    | Convolutional Autoencoder for Spectral-Spatial Hyperspectral Unmixing (Palsson et al., 2021)
    | https://doi.org/10.1109/TGRS.2020.2992743
    | Image Processing and Machine Learning for Hyperspectral Unmixing: An Overview and the HySUPP
      Python Package (Rasti et al., 2024)
    | https://doi.org/10.1109/TGRS.2024.3393570
"""

__all__ = ["Autoencoder", "cnnaeu"]

import torch
import torch.nn.functional as F

from torch import Tensor, nn

from ..progress import Progress
from .geometric import flatten
from .training import check_finite, seeded, spectral_angle

PATCH = 40
BATCH = 15

# Patches per value of the image: 250 for Urban, of 307 x 307 pixels in 162 bands
DENSITY = 250 / (307 * 307 * 162)


class Autoencoder(nn.Module):
    r"""The network.

    Args:
        B: The number of bands.
        R: The number of endmembers.
        kernel: The width of the convolution of the decoder in pixels, odd.
    """

    def __init__(self, B: int, R: int, kernel: int = 11) -> None:
        super().__init__()

        self.encoder = nn.Sequential(
            nn.Conv2d(B, 48, 3, padding=1, padding_mode="reflect", bias=False),
            nn.LeakyReLU(0.02),
            nn.BatchNorm2d(48),
            nn.Dropout2d(0.2),
            nn.Conv2d(48, R, 1, bias=False),
            nn.LeakyReLU(0.02),
            nn.BatchNorm2d(R),
            nn.Dropout2d(0.2),
        )
        self.decoder = nn.Parameter(nn.Conv2d(R, B, kernel).weight.detach())

    def encode(self, x: Tensor) -> Tensor:
        r"""Estimates the abundances, with shape (N, R, h, w), of patches (N, B, h, w)."""
        return (3.0 * self.encoder(x)).softmax(dim=1)

    def decode(self, a: Tensor) -> Tensor:
        r"""Convolves abundances, reflected at the border, with the weights of the decoder.

        The Fourier transform does that in half the time of a direct convolution.

        Args:
            a: The abundances, with shape (N, R, h, w).

        Returns:
            The patches, with shape (N, B, h, w).
        """
        border = self.decoder.shape[-1] // 2
        padded = F.pad(a, (border,) * 4, mode="reflect")
        a_ = torch.fft.rfft2(padded).permute(2, 3, 0, 1)
        W_ = torch.fft.rfft2(self.decoder, s=padded.shape[2:]).conj().permute(2, 3, 1, 0)
        # Complex products of what is not contiguous are slow
        x_ = a_.contiguous() @ W_.contiguous()  # (frequencies, frequencies, patches, bands)
        x = torch.fft.irfft2(x_.permute(2, 3, 0, 1), s=padded.shape[2:])

        return x[..., : a.shape[2], : a.shape[3]]

    @torch.no_grad()
    def project(self) -> None:
        r"""Sets negative weights of the decoder to zero."""
        self.decoder.clamp_(min=0)


def cnnaeu(
    image: Tensor,
    R: int,
    seed: int = 0,
    *,
    epochs: int = 320,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Unmixes by the convolutional autoencoder of Palsson et al., CNNAEU.

    Random patches of 40 x 40 pixels of the image, divided by its largest value, are drawn once and
    shown 15 at a time to RMSprop. After each step the decoder is projected on the non-negative
    weights.

    Two sets of further settings are in use: those of the authors' notebook (decoder 13 x 13, rate
    0.003, 250 patches of any image) and those of the HySUPP package (decoder 11 x 11, rate 0.0003,
    250 patches of the image Urban, and of others in proportion to their values). Taken are the
    second, for all images: initial weights by PyTorch's defaults and reflected borders with them.
    The projection, which HySUPP leaves out, is from the authors.

    Deviations: patches are as small as the image, where that is smaller than 40 x 40, at least one
    is drawn, and the decoder works in the Fourier domain.

    Args:
        image: The image, with shape (B, h, w), of at least 6 x 6 pixels.
        R: The number of endmembers.
        seed: The seed.
        epochs: The number of passes over the patches.
        device: The device to work on.
        progress: Called with the name of the method, the epochs done and their number.

    Returns:
        The endmembers, up to scale, with shape (B, R), and the abundances, with shape (R, h, w).

    Raises:
        ValueError: If the image or the number of endmembers cannot be worked with.
        RuntimeError: If the training diverges.
    """
    image = flatten(image, R).unflatten(1, image.shape[1:]).float() / image.max()

    with seeded(seed, device):
        network = Autoencoder(len(image), R).to(device)
        patches = _draw_patches(image).to(device)
        optimizer = torch.optim.RMSprop(network.parameters(), lr=3e-4)

        for epoch in range(1, epochs + 1):
            for index in torch.randperm(len(patches)).split(BATCH):
                x = patches[index]
                loss = spectral_angle(x, network.decode(network.encode(x))).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                network.project()

            check_finite("CNNAEU", epoch, loss=loss)
            if progress is not None:
                progress("CNNAEU", epoch, epochs)

    network.eval()
    with torch.no_grad():
        a = network.encode(image[None].to(device))[0]
        M = network.decoder.mean(dim=(2, 3))
    check_finite("CNNAEU", epochs, endmembers=M, abundances=a)

    return M.cpu(), a.cpu()


def _draw_patches(image: Tensor) -> Tensor:
    _, h, w = image.shape
    number = max(1, int(DENSITY * image.numel()))
    rows, cols = min(PATCH, h), min(PATCH, w)
    top = torch.randint(h - rows + 1, (number,)).tolist()
    left = torch.randint(w - cols + 1, (number,)).tolist()

    return torch.stack(
        [image[:, i : i + rows, j : j + cols] for i, j in zip(top, left, strict=True)]
    )
