r"""PGMSU: a variational autoencoder in which every pixel has endmembers of its own.

The endmembers of a pixel are a network's image of a latent :math:`z_i`, of Gaussian prior,

.. math:: y_i = M(z_i) a_i + e_i, \qquad z_i \sim \mathcal{N}(0, I), \qquad
    q(z_i \mid y_i) = \mathcal{N} \left( \mu(y_i), \operatorname{diag} \sigma^2(y_i) \right),

and its abundances :math:`a_i` are another network's of the pixel. In the first half of the
training the endmembers are drawn to those of vertex component analysis, in the second to each
other (a small volume), and to the mean direction of their material (the same spectral shape).

References:
    | Probabilistic Generative Model for Hyperspectral Unmixing Accounting for Endmember
      Variability (Shi et al., 2022)
    | https://doi.org/10.1109/TGRS.2021.3121799
"""

__all__ = ["Autoencoder", "find_start", "kl_divergence", "pgmsu"]

import math
import torch

from itertools import pairwise
from torch import Tensor, nn

from ..progress import Progress
from .geometric import flatten, vca
from .training import check_finite, seeded, spectral_angle

LATENT = 4


class Autoencoder(nn.Module):
    r"""The network.

    Args:
        B: The number of bands.
        R: The number of endmembers.
    """

    def __init__(self, B: int, R: int) -> None:
        super().__init__()
        self.shape = (R, B)

        self.abundances = nn.Sequential(
            _hidden(B, 32 * R, 16 * R, 4 * R, 4 * R), nn.Linear(4 * R, R)
        )
        self.posterior = nn.Sequential(
            _hidden(B, 32 * R, 16 * R, 4 * R), nn.Linear(4 * R, 2 * LATENT)
        )
        self.endmembers = nn.Sequential(_hidden(LATENT, 4 * R, 64 * R), nn.Linear(64 * R, R * B))

        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
            elif isinstance(layer, nn.BatchNorm1d):
                nn.init.normal_(layer.weight, 1.0, 0.02)

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        r"""Draws the endmembers of pixels, and estimates their abundances.

        Args:
            y: The pixels, with shape (N, B).

        Returns:
            The endmembers :math:`M(z_i)`, in [0, 1], with shape (N, R, B); the abundances, with
            shape (N, R); the mean and the logarithm of the variance of :math:`z_i`, with shape
            (N, 4).
        """
        a = self.abundances(y).softmax(dim=1)
        mean, log_var = self.posterior(y).chunk(2, dim=1)
        z = mean + torch.randn_like(mean) * (log_var / 2).exp()
        M = self.endmembers(z).sigmoid().unflatten(1, self.shape)

        return M, a, mean, log_var


def kl_divergence(mean: Tensor, log_var: Tensor) -> Tensor:
    r"""Computes the divergence of diagonal Gaussians from the standard one.

    .. math:: \frac{1}{2} \sum_j \left( \mu_j^2 + \sigma_j^2 - 1 - \log \sigma_j^2 \right)

    Args:
        mean: The means :math:`\mu`, with shape (N, d).
        log_var: The logarithms of the variances, :math:`\log \sigma^2`, with shape (N, d).

    Returns:
        The divergences in nats, with shape (N,).
    """
    return (mean.square() + log_var.exp() - 1 - log_var).sum(dim=1) / 2


def find_start(pixels: Tensor, R: int, seed: int = 0) -> Tensor:
    r"""Finds the endmembers of vertex component analysis as the authors' code does.

    That takes data of less than :math:`18 + 10 \ln R` dB for noisy, where the original analysis
    says :math:`15 + 10 \log_{10} R`. Between the two is Jasper Ridge.

    Args:
        pixels: The pixels, with shape (B, N).
        R: The number of endmembers.
        seed: The seed of the directions.

    Returns:
        The endmembers, with shape (B, R).
    """
    return vca(pixels, R, seed, threshold=18 + 10 * math.log(R))


def pgmsu(
    image: Tensor,
    R: int,
    seed: int = 0,
    *,
    epochs: int = 200,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Unmixes by the probabilistic generative model of Shi et al., PGMSU.

    .. math:: \mathcal{L} = \frac{1}{n} \sum_i \left( \|y_i - M_i a_i\|^2 + \begin{cases}
        0.1 \|M_i - M_\text{VCA}\|_F^2 & \text{first half} \\
        \frac{\lambda_v}{R B} \|M_i - \bar m_i 1^\top\|_F^2 +
        \frac{\lambda_a}{R} \sum_k \angle(m_{ik}, \bar m_k) & \text{second half}
        \end{cases} \right) + \lambda_k \max(\text{KL}, 0.2)

    where :math:`\bar m_i` is the mean over the endmembers of a pixel and :math:`\bar m_k` over the
    :math:`n` pixels of a batch, a tenth of the image. Adam works at the rate 0.001.

    The authors set the three weights by scene. Taken for all images are those that their script
    runs with as it is distributed, :math:`\lambda_k = 0.1`, :math:`\lambda_a = 3` and
    :math:`\lambda_v = 7`, which are those for Jasper Ridge. (The HySUPP package takes 0.1, 0 and
    0.5 for all images, the authors' for a synthetic one.)

    Deviations: the image is divided by its largest value whatever that is, and the endmembers
    multiplied by it; a last batch of one pixel is left out; the cosines in the angle are kept
    below one by a bound on them instead of on the norms.

    Args:
        image: The image, with shape (B, h, w), of at least 20 pixels.
        R: The number of endmembers.
        seed: The seed.
        epochs: The number of passes over the pixels.
        device: The device to work on.
        progress: Called with the name of the method, the epochs done and their number.

    Returns:
        The endmembers, means over the pixels, with shape (B, R), and the abundances, with shape
        (R, h, w).

    Raises:
        ValueError: If the image or the number of endmembers cannot be worked with.
        RuntimeError: If the training diverges.
    """
    pixels, peak = flatten(image, R).mT.float(), image.max()
    M_vca = find_start(pixels.mT / peak, R, seed).to(device, torch.float32).mT

    with seeded(seed, device):
        pixels = (pixels / peak).to(device).contiguous()
        network = Autoencoder(len(image), R).to(device)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

        for epoch in range(1, epochs + 1):
            for index in torch.randperm(len(pixels)).split(len(pixels) // 10):
                if len(index) < 2:  # the normalisation needs two
                    continue
                y = pixels[index]
                loss = _loss(network, y, M_vca if epoch <= epochs // 2 else None)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

            check_finite("PGMSU", epoch, loss=loss)
            if progress is not None:
                progress("PGMSU", epoch, epochs)

        network.eval()
        with torch.no_grad():
            M, a, _, _ = network(pixels)

    M, a = M.mean(dim=0).mT * peak.to(device), a.mT.unflatten(1, image.shape[1:])
    check_finite("PGMSU", epochs, endmembers=M, abundances=a)

    return M.cpu(), a.cpu()


def _loss(network: Autoencoder, y: Tensor, M_vca: Tensor | None) -> Tensor:
    M, a, mean, log_var = network(y)
    y_hat = (a[:, None] @ M)[:, 0]
    loss = (y_hat - y).square().sum(dim=1).mean()
    loss = loss + 0.1 * kl_divergence(mean, log_var).mean().clamp_min(0.2)

    if M_vca is not None:
        return loss + 0.1 * (M - M_vca).square().sum(dim=(1, 2)).mean()

    volume = (M - M.mean(dim=1, keepdim=True)).square().mean()
    angle = spectral_angle(M, M.mean(dim=0, keepdim=True), dim=2).mean()

    return loss + 7 * volume + 3 * angle


def _hidden(*sizes: int) -> nn.Sequential:
    layers = [(nn.Linear(i, o), nn.BatchNorm1d(o), nn.ReLU()) for i, o in pairwise(sizes)]
    return nn.Sequential(*(layer for group in layers for layer in group))
