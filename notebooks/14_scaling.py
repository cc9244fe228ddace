# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   smile:
#     needs: []
# ---

# %% [markdown]
# # 14. The cost grows about in proportion to the scene
#
# **Claim.** The seconds and the memory of every stage grow about in proportion to the pixels, and in total hardly with the bands; the last solve grows with the square of the endmembers and of the scale.
# *Source: ours. The paper says nothing of seconds or memory that we know of.*
#
# **Reads** nothing: scenes of every size are made. **Writes** `figures/quick/14_scaling*.{png,pdf}` and `14_scaling.json`.
#
# **Time** about a minute on a laptop CPU; the full profile has scenes of up to 512 x 512 pixels, and a million of them for the constrained solve.

# %% tags=["parameters"]
sides: list = [32, 64, 96]  # rows, and columns, of the scenes
side: int = 32  # those of the scenes that differ in something else
bands: list = [50, 100, 200]  # numbers of bands
endmembers: list = [3, 4, 6]  # numbers of endmembers
restarts: list = [4, 8, 16]  # numbers of restarts of the endmember search
scales: list = [2, 4]  # scale factors
solved: list = [3, 4, 5, 6]  # numbers of endmembers of the constrained solve alone
pixels: list = [10000, 40000, 160000]  # numbers of its pixels, squares
large: list = [96, 192]  # rows, and columns, of images that stay on disk
tile: int = 48  # those of their tiles
sample: int = 4096  # pixels that is learned from
rounds: int = 5  # rounds of the endmember search
steps: int = 2  # training steps of the network
repeats: int = 2  # repeats of each measurement, the best of which counts
threads: int = 1  # threads of torch
device: str = "auto"  # auto, cpu, cuda or mps
figures: str = "../figures/quick"  # folder of figures and numbers

# %%
import matplotlib.pyplot as plt
import pandas as pd
import torch

from smile_core import plot
from smile_core.record import Record
from smile_core.studies import machine, plot_scaling, scaling
from smile_core.studies.scaling import STAGES, Size, exponents, slope
from smile_core.studies.study import study
from smile_core.studies.tiling import SOURCES, tiled
from smile_core.unmixing import find_device

plot.use_style()
torch.set_num_threads(threads)
place = find_device(device)
record = Record("14_scaling", figures, seed=0, device=place)
options = {"rounds": rounds, "steps": steps, "device": place, "repeats": repeats}

# %% [markdown]
# Scenes of random spectra serve as well as real ones here: for most stages, the cost does not depend on what is in the image.

# %% [markdown]
# ## The machine
#
# What a stage costs means little without what it could cost.
# Its *floor* is the time in which this machine would do the operations of the matrix products, or move the bytes of all arrays through the cache, whichever is longer.
# Both rates are measured here, on the device and with the threads that the stages run with.

# %%
rates = machine.measure(place)
print(f"{place}, {threads} thread(s) of the CPU; a GPU is measured: {place.type == 'cuda'}")
pd.Series({"GB/s": rates.bandwidth / 1e9, "GFLOP/s": rates.operations / 1e9}).round(0)

# %% [markdown]
# Without a GPU, all that follows says nothing about one.
#
# ## The stages and their floors
#
# Four stages take nearly all of the time: the search for endmembers, the constrained solve, the training of the network, and the accessible solve that refines both tasks.
# A few rounds and training steps are enough to measure them, for the cost is proportional to their number.
# Operations and bytes are counted while the stage runs.

# %%
table = scaling.profile(Size(side), rates, **options)
table.map("{:.3g}".format)

# %% [markdown]
# `operations` and `moved` are the operations and bytes that were counted; `ratio` is how many times the floor a stage takes.

# %%
record.figure(plot_scaling.floors(table), "floors")
plt.show()

# %% [markdown]
# The line from the floor of a stage to its seconds is what could be gained at best; the axis is logarithmic.
# It goes to exponentials, to sorting, and to arrays so small that to begin an operation takes longer than to do it.
#
# ## Cost against size
#
# One part of the size varies at a time, the others stay as they are.
# The slope in logarithms is the exponent of the power law: 1 is proportional, 0 is free.

# %%
parts = {
    "side": sides,
    "bands": bands,
    "endmembers": endmembers,
    "restarts": restarts,
    "scale": scales,
}
sweeps = {
    name: scaling.sweep(name, values, size=Size(side), **options) for name, values in parts.items()
}
sweeps = {"pixels": sweeps.pop("side").rename(lambda n: n**2)} | sweeps

# %% [markdown]
# The exponents, a column per part of the size:

# %%
slopes = pd.DataFrame({name: exponents(costs) for name, costs in sweeps.items()})
slopes.round(2)

# %% [markdown]
# Bands enter the search for endmembers by one Gram matrix, the training by the first layer, and the other stages by the products of pixels and endmembers.
# The total of a fit weighs the stages by rounds, steps and restarts; here it is that of the few above.
# The seconds behind the exponents:

# %%
record.figure(plot_scaling.laws(sweeps))
plt.show()

# %% [markdown]
# Each panel varies one part of the size; both axes are logarithmic, and the seconds are the same in all panels.
# From 8000 pixels on, the search for endmembers has fewer to look at: large images are brought down by two, and sampled where they still have more than 10 000 pixels.
#
# ## Memory
#
# Each stage runs once in a process of its own, whose largest resident memory is what the operating system has seen.

# %%
memory = scaling.memory([sides[0], sides[-1]], rounds, steps)
(memory / 1e6).astype(int)

# %% [markdown]
# Megabytes beyond those of the interpreter and its packages, on the CPU, with the image itself and what the other stages need of it.
#
# ## The constrained solve
#
# It is the one stage that every pixel of a large scene has to go through, whatever the mode.

# %%
solving = scaling.solving(pixels, solved, repeats)
(1e6 * solving.div(solving.index, axis=0)).round(2)

# %% [markdown]
# Microseconds per pixel, with the products of pixels and endmembers in 30 bands, and with the certificate.
# Where a column stays the same, the cost is in proportion to the pixels.
#
# ## Images larger than memory
#
# `unmix_large` learns from windows that are spread over the image, and unmixes it tile by tile, from disk to disk.
# Images are drawn to disk, and unmixed in mode `single`, each in a process of its own, which says how much memory it has taken.

# %%
cases = [{"side": n, "tile": tile, "sample": sample, "device": device} for n in large]
disk = study(tiled, cases, sources=SOURCES, jobs=2)
disk["microseconds per pixel"] = 1e6 * disk["seconds"] / disk["side"] ** 2
columns = ["side", "megabytes", "memory", "seconds", "microseconds per pixel", "sad", "lr"]
disk[columns].round(3)

# %% [markdown]
# `megabytes` are those of the image, `memory` is the peak of the process in MiB, packages included; `sad` is in radians, `lr` is the aRMSE of the abundances against the truth.
# Learning costs the same for each of them, tiles in proportion to the pixels. What is resident of a file that is mapped counts as memory, but the system can take it back.
#
# ## What we found

# %%
counts = scaling.sweep("side", sides, size=Size(side), counted=True, **options)
worked = (exponents(counts) / 2).max()  # a side squared are the pixels
steepest, widest = slopes.loc[list(STAGES), "pixels"].max(), slopes.loc["total", "bands"]
alone = exponents(solving).max()
grown = slope(memory.index, memory.max(axis=1))
per_pixel = (memory.iloc[-1] - memory.iloc[0]) / (memory.index[-1] - memory.index[0])
record.claim(
    "Seconds grow in proportion to the pixels at most, up to a quarter in the exponent",
    number=f"exponents of stages up to {steepest:.2f}, of the constrained solve {alone:.2f}",
    holds=bool(max(steepest, alone) <= 1.25),
    source="ours",
)

# %% [markdown]
# A quarter in the exponent is what small sizes, caches and other programs may add.
# The operations are the same at every run, and need no such room.

# %%
record.claim(
    "Operations grow in proportion to the pixels at most",
    number=f"exponents of stages up to {worked:.2f}",
    holds=bool(worked <= 1.05),
    source="ours",
)
record.claim(
    "Seconds grow more slowly than the bands",
    number=f"exponent {widest:.2f} of all stages together",
    holds=bool(widest <= 0.75),
    source="ours",
)
record.claim(
    "Memory grows in proportion to the pixels at most",
    number=f"exponent {grown:.2f}, at most {per_pixel.max() / 1e3:.1f} kB per pixel",
    holds=bool(grown <= 1.1),
    source="ours",
)

# %% [markdown]
# Of the images on disk:

# %%
first, last = disk.iloc[0], disk.iloc[-1]
known = bool(disk["memory"].notna().all())
more = (
    (last["memory"] - first["memory"]) / (last["megabytes"] - first["megabytes"]) if known else 0
)
record.claim(
    "By tiles, memory grows by no more than twice the image, which is mapped",
    number=f"{more:.2f} MiB per MB of the image" if known else "not told by this system",
    holds=bool(more <= 2),
    source="ours",
)
record.claim(
    "By tiles, errors do not grow with the image",
    number=f"aRMSE {first['lr']:.4f} to {last['lr']:.4f}",
    holds=bool(last["lr"] <= 1.5 * first["lr"]),
    source="ours",
)

# %% [markdown]
# All numbers are kept with the claims.

# %%
record.numbers({"disk": disk[columns]})
record.numbers({"slopes": slopes.to_dict(), "stages": table.T.to_dict()})
record.numbers({"bytes per pixel": per_pixel.to_dict(), "rates": rates._asdict()})
_ = record.save()

# %% tags=["nbval-check-output"]
print("no fit failed:", bool(disk["failed"].isna().all()))
print("by tiles, errors do not grow with the image:", bool(last["lr"] <= 1.5 * first["lr"]))
print(
    "every cost was measured:", bool(slopes.notna().all(axis=None) and (table > 0).all(axis=None))
)
print("pixels, operations of every stage: exponent at most 1.05:", bool(worked <= 1.05))

# %% [markdown]
# ## Limits
#
# Seconds are those of one machine, at one moment; of the repeats the best counts, for other programs can only add to it.
# With one thread and no GPU they are seconds of the processor, else those of the clock on the wall.
# Exponents are fitted to few sizes, and small sizes are dominated by the time that it takes to begin an operation: their slopes are too small for larger ones.
# The scenes are linear mixtures with noise; the accessible solve takes as many steps as its tolerance asks for, which differs from scene to scene.
