r"""DeepTrans: an autoencoder with a transformer between encoder and abundances.

Three 1 x 1 convolutions turn the image into few features, whose 5 x 5 patches become tokens
:math:`t_1, \dots, t_n`. A class token :math:`t_0` gathers what they say of each other, by
attention in which it alone asks,

.. math:: t_0 \gets t_0 + \operatorname{softmax} \left( \frac{(Q t_0)^\top K t}{\sqrt{d}} \right)
    V t,

and is split into one vector for each endmember, which a linear map takes to an abundance image. A
3 x 3 convolution and a softmax follow. The decoder is linear mixing, with weights in [0, 1] that
start at the endmembers found by vertex component analysis.

References:
    | Hyperspectral Unmixing Using Transformer Network (Ghosh et al., 2022)
    | https://doi.org/10.1109/TGRS.2022.3196057
"""

__all__ = ["Autoencoder", "Block", "deeptrans"]

import torch
import torch.nn.functional as F

from torch import Tensor, nn

from ..progress import Progress
from .geometric import flatten, vca
from .training import check_finite, seeded, spectral_angle

PATCH = 5
DIM = 200
HEADS = 8

# Of the endmembers
BOUNDS = (1e-6, 1.0)


class Block(nn.Module):
    r"""Attention of the class token to all tokens, and a small perceptron for each.

    Args:
        dim: The length of the tokens.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()

        self.norm = nn.LayerNorm(dim)
        self.q, self.k, self.v = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        self.out = nn.Linear(dim, dim)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 12), nn.GELU(), nn.Linear(12, dim)
        )

    def forward(self, t: Tensor, norm: nn.LayerNorm) -> Tensor:
        r"""Updates the tokens.

        Args:
            t: The tokens, with shape (n + 1, dim), the class token first.
            norm: The normalisation of the patch tokens, which all blocks share.

        Returns:
            The tokens, with the shape of `t`.
        """
        t_ = self.norm(t)
        cls = t_[:1]
        # The whole attention is left out in 15 % of the steps
        if not self.training:
            cls = cls + self.attend(t_)
        elif torch.rand(()) >= 0.15:
            cls = cls + self.attend(t_) / 0.85

        t = torch.cat([cls, norm(t[1:])])
        return t + self.perceptron(t)

    def attend(self, t: Tensor) -> Tensor:
        r"""Returns what the class token gathers, with shape (1, dim)."""
        q, k, v = (
            f(x).unflatten(1, (HEADS, -1)).transpose(0, 1)  # (heads, tokens, dim / heads)
            for f, x in ((self.q, t[:1]), (self.k, t), (self.v, t))
        )
        gathered = F.scaled_dot_product_attention(q, k, v)

        return self.out(gathered.transpose(0, 1).flatten(1))


class Autoencoder(nn.Module):
    r"""The network, for images of one size.

    Args:
        M: The endmembers to start from, with shape (B, R).
        h: The number of rows.
        w: The number of columns.
    """

    def __init__(self, M: Tensor, h: int, w: int) -> None:
        super().__init__()
        B, R = M.shape
        self.shape = (R, h, w)

        self.encoder = nn.Sequential(
            nn.Conv2d(B, 128, 1),
            nn.BatchNorm2d(128, momentum=0.9),
            nn.Dropout(0.25),
            nn.LeakyReLU(),
            nn.Conv2d(128, 64, 1),
            nn.BatchNorm2d(64, momentum=0.9),
            nn.LeakyReLU(),
            nn.Conv2d(64, DIM * R // PATCH**2, 1),
            nn.BatchNorm2d(DIM * R // PATCH**2, momentum=0.5),
        )
        tokens = -(-h // PATCH) * -(-w // PATCH)
        self.position = nn.Parameter(torch.randn(tokens + 1, DIM * R))
        self.cls = nn.Parameter(torch.randn(1, DIM * R))
        self.norm = nn.LayerNorm(DIM * R)
        self.blocks = nn.ModuleList(Block(DIM * R) for _ in range(2))
        self.upscale = nn.Linear(DIM, h * w)
        self.smooth = nn.Conv2d(R, R, 3, padding=1)
        self.M = nn.Parameter(M.clamp(*BOUNDS))

        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)

    def tokens(self, x: Tensor) -> Tensor:
        r"""Turns an image (B, h, w) into tokens (n + 1, dim), the class token first."""
        features = self.encoder(x[None])
        padding = (0, -x.shape[2] % PATCH, 0, -x.shape[1] % PATCH)
        features = F.pad(features, padding, mode="replicate")
        patches = F.unfold(features, PATCH, stride=PATCH)[0].mT

        return torch.cat([self.cls, patches]) + self.position

    def encode(self, x: Tensor) -> Tensor:
        r"""Estimates the abundances, with shape (R, h, w), of an image (B, h, w)."""
        t = self.tokens(x)
        for block in self.blocks:
            t = block(t, self.norm)

        maps = self.upscale(t[0].reshape(-1, DIM)).reshape(self.shape)

        return self.smooth(maps[None])[0].softmax(dim=0)

    def decode(self, a: Tensor) -> Tensor:
        r"""Mixes the endmembers by abundances (R, h, w), to an image (B, h, w)."""
        return (self.M @ a.flatten(1)).unflatten(1, a.shape[1:])

    @torch.no_grad()
    def project(self) -> None:
        r"""Brings the endmembers into [0.000001, 1]."""
        self.M.clamp_(*BOUNDS)


def deeptrans(
    image: Tensor,
    R: int,
    seed: int = 0,
    *,
    epochs: int = 200,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Unmixes by the transformer network of Ghosh et al., DeepTrans-HSU.

    .. math:: \mathcal{L} = \frac{\beta}{B N} \|Y - \hat Y\|_F^2 +
        \gamma \sum_i \angle(y_i, \hat y_i)

    The whole image is one batch. Adam starts at the rate 0.006, multiplied by 0.8 every 15 epochs,
    with a weight decay of 0.00004, gradients clipped to an L1 norm of 10, and the endmembers
    clamped after each step.

    The authors set the weights and rates by scene. Taken for all images are those of most of their
    three scenes (200 epochs, rate, weight decay, patches of 5 x 5, 200 values per endmember), and
    where all three differ the middle one, :math:`\gamma = 0.03`; :math:`\beta = 5000` is common.

    Deviations: the image is divided by its largest value, and the endmembers multiplied by it;
    features of images whose sides are no multiples of 5 are padded by repetition; the cosines in
    the angle are kept below one; endmembers are clamped before the first step too, such that the
    ReLU after the decoder, which then never acts, is left out.

    Args:
        image: The image, with shape (B, h, w).
        R: The number of endmembers.
        seed: The seed.
        epochs: The number of steps.
        device: The device to work on.
        progress: Called with the name of the method, the epochs done and their number.

    Returns:
        The endmembers, with shape (B, R), and the abundances, with shape (R, h, w).

    Raises:
        ValueError: If the image or the number of endmembers cannot be worked with.
        RuntimeError: If the training diverges.
    """
    peak = image.max()
    M = vca(flatten(image, R) / peak, R, seed)

    with seeded(seed, device):
        x = (image / peak).to(device, torch.float32)
        network = Autoencoder(M.float(), *image.shape[1:]).to(device)
        optimizer = torch.optim.Adam(network.parameters(), lr=6e-3, weight_decay=4e-5, fused=True)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=15, gamma=0.8)

        for epoch in range(1, epochs + 1):
            x_hat = network.decode(network.encode(x))
            loss = 5e3 * F.mse_loss(x_hat, x) + 3e-2 * spectral_angle(x, x_hat, dim=0).sum()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), max_norm=10, norm_type=1)
            optimizer.step()
            network.project()
            scheduler.step()

            check_finite("DeepTrans", epoch, loss=loss)
            if progress is not None:
                progress("DeepTrans", epoch, epochs)

    network.eval()
    with torch.no_grad():
        a = network.encode(x)
        M = network.M.detach() * peak.to(device)
    check_finite("DeepTrans", epochs, endmembers=M, abundances=a)

    return M.cpu(), a.cpu()
