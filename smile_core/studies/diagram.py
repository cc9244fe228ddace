r"""Diagram of the network, with the shapes of the tensors that pass through it.

Every number in it comes from a forward pass or from the network itself: what is drawn is what
runs. Lengths are in inches, in axes without ticks.
"""

__all__ = ["SIZE", "diagram"]

import torch

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path
from torch import nn

from ..network import Block, Smile

#: Width and height of the figure that the diagram is made for, in inches.
SIZE = (10.2, 3.5)

# Of a box, from which the arrows keep their distance
WIDTH, HEIGHT, GAP = 1.12, 0.68, 0.03

# Centres of the boxes
COLUMNS = (0.7, 2.06, 3.42, 4.98, 6.72, 8.08, 9.44)
GIVEN, TOP, MIDDLE, BOTTOM, GIVEN_HR = 3.12, 2.28, 1.75, 1.22, 0.38

NEUTRAL, UNMIXING, SR = "0.35", "C0", "C1"


def diagram(ax: Axes, network: Smile, rows: int, cols: int) -> None:
    r"""Draws the network, its data flowing from left to right.

    Boxes have the names of the parts in the code. They tell what a part consists of and the shape
    of what comes out of it: channels, rows, columns.

    Args:
        ax: The axes to draw in, in a figure of `SIZE`.
        network: The network, with attention.
        rows: The number of rows of the LR image.
        cols: The number of columns of the LR image.
    """
    C, heads = network.stem.out_channels, network.to_sr.heads
    made_of = {
        name: f"{count} block{'s' if count > 1 else ''}"
        for name, part in network.named_children()
        if (count := sum(isinstance(m, Block) for m in part.modules()))
    }
    attention, convolution = f"{heads} heads of {C // heads}", "1 x 1 convolution"
    boxes = {
        "pixels": (0, MIDDLE, NEUTRAL, "spectrum, a, light"),
        "stem": (1, MIDDLE, NEUTRAL, convolution),
        "shared": (2, MIDDLE, NEUTRAL, made_of["shared"]),
        "unmixing": (3, TOP, UNMIXING, made_of["unmixing"]),
        "sr": (3, BOTTOM, SR, made_of["sr"]),
        "to_unmixing": (4, TOP, UNMIXING, attention),
        "to_sr": (4, BOTTOM, SR, attention),
        "head": (5, TOP, UNMIXING, convolution),
        "head_hr": (5, BOTTOM, SR, convolution),
        "LR output": (6, TOP, UNMIXING, "corrected a"),
        "HR output": (6, BOTTOM, SR, "shuffled, corrected"),
        "LR solve": (6, GIVEN, NEUTRAL, "a"),
        "HR lifted": (6, GIVEN_HR, NEUTRAL, "a, brought up"),
    }
    shapes = _shapes(network, rows, cols)

    ax.set(xlim=(0, SIZE[0]), ylim=(0, SIZE[1]), aspect="equal")
    ax.set_axis_off()
    for name, (column, y, color, detail) in boxes.items():
        _box(ax, COLUMNS[column], y, color, name, detail, " x ".join(map(str, shapes[name])))

    for left, right in ((0, 1), (1, 2)):
        _arrow(ax, [(left, 1, MIDDLE), (right, -1, MIDDLE)], NEUTRAL)
    for own, other, color, toward in ((TOP, BOTTOM, UNMIXING, -1), (BOTTOM, TOP, SR, 1)):
        bend = (COLUMNS[2] + COLUMNS[3]) / 2
        _arrow(ax, [(2, 1, MIDDLE), (bend, MIDDLE), (bend, own), (3, -1, own)], NEUTRAL)
        _arrow(ax, [(3, 1, own), (4, -1, own)], color)
        _arrow(ax, [(3, 1, own + 0.2 * toward), (4, -1, other - 0.2 * toward)], color)
        for left, right in ((4, 5), (5, 6)):
            _arrow(ax, [(left, 1, own), (right, -1, own)], color)
    for given, own, down in ((GIVEN, TOP, 1), (GIVEN_HR, BOTTOM, -1)):
        edge = down * (HEIGHT / 2 + GAP)
        _arrow(ax, [(COLUMNS[6], given - edge), (COLUMNS[6], own + edge)], NEUTRAL)

    style = {"ha": "center", "va": "center", "size": 7, "color": NEUTRAL}
    between = (COLUMNS[3] + COLUMNS[4]) / 2
    ax.text(between, TOP + 0.13, "queries", **style)
    ax.text(between, BOTTOM - 0.13, "queries", **style)
    ax.text(COLUMNS[4] + 0.08, MIDDLE, "crossing: keys, values", **style)


@torch.no_grad()
def _shapes(network: Smile, rows: int, cols: int) -> dict[str, tuple[int, ...]]:
    like, R, s = network.stem.weight, network.head.out_channels, network.scale
    pixels = like.new_zeros(1, network.stem.in_channels, rows, cols)
    a = like.new_full((1, R, rows, cols), 1 / R)
    a_hr = like.new_full((1, R, s * rows, s * cols), 1 / R)
    tensors = {"pixels": pixels, "LR solve": a, "HR lifted": a_hr}

    def watch(name: str, part: nn.Module) -> torch.utils.hooks.RemovableHandle:
        return part.register_forward_hook(lambda _, args, out: tensors.update({name: out}))

    handles = [watch(name, part) for name, part in network.named_children()]
    tensors["LR output"], tensors["HR output"] = network(pixels, a, a_hr)
    for handle in handles:
        handle.remove()

    return {name: tuple(x.shape[1:]) for name, x in tensors.items()}


def _box(ax: Axes, x: float, y: float, color: str, name: str, detail: str, shape: str) -> None:
    corner = x - WIDTH / 2, y - HEIGHT / 2
    style = {"boxstyle": "round,pad=0,rounding_size=0.06", "edgecolor": color, "linewidth": 1.2}
    ax.add_patch(FancyBboxPatch(corner, WIDTH, HEIGHT, facecolor="white", **style))

    style = {"ha": "center", "va": "center"}
    ax.text(x, y + 0.2, name, size=8, weight="bold", color=color, **style)
    ax.text(x, y, detail, size=7, color="0.35", **style)
    ax.text(x, y - 0.2, shape, size=8, **style)


def _arrow(ax: Axes, points: list[tuple[float, ...]], color: str) -> None:
    # A point is a place, or (column, side, height), at the side of a box
    places = [
        p if len(p) == 2 else (COLUMNS[p[0]] + p[1] * (WIDTH / 2 + GAP), p[2]) for p in points
    ]
    style = {"arrowstyle": "-|>,head_length=3,head_width=1.6", "shrinkA": 0, "shrinkB": 0}
    ax.add_patch(FancyArrowPatch(path=Path(places), color=color, linewidth=1.2, **style))
