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
#     needs: [samson, jasper]
#     fallback: {names: [synthetic]}
# ---

# %% [markdown]
# # 16. What one scene has taught serves the next where the materials are the same
#
# **Claim.** A network that was trained on one part of a scene, or on other scenes, is applied to another in a fraction of the time, through a time series endmembers keep their order, and a network of a few thousand parameters does as well.
# *Source: ours. The paper (abstract) names no transfer.*
#
# **Reads** nothing, each seed draws synthetic scenes; the full profile also reads Samson and Jasper Ridge. **Writes** `figures/quick/16_transfer*.{png,pdf}` and `16_transfer.json`.
#
# **Time** about a minute on a laptop CPU.

# %% tags=["parameters"]
names: list = ["synthetic"]  # scenes to cut in halves
scale: int = 2  # scale factor
seeds: int = 2  # number of seeds, from 0 on
numbers: list = [0, 1, 3]  # scenes of one flight to learn on; the first is 0, anew
dates: int = 4  # dates of the time series
widths: list = [0, 4, 32]  # channels of the network; 0 for none
adaptation: int = 40  # training steps where there is a network to start from
restarts: int = 16  # restarts of the endmember search
steps: int = 100  # training steps of a new network
jobs: int = 1  # fits that run at once
device: str = "auto"  # auto, cpu, cuda or mps
figures: str = "../figures/quick"  # folder of figures and numbers

# %%
import itertools
import matplotlib.pyplot as plt
import pandas as pd

from matplotlib.ticker import LogLocator

from smile_core import plot
from smile_core.record import Record
from smile_core.studies.study import study
from smile_core.studies.transfer import SOURCES, carry, follow, gather, narrow
from smile_core.unmixing import LIGHT, find_device

plot.use_style()
record = Record("16_transfer", figures, seed=0, device=find_device(device))
fit = {"restarts": restarts, "steps": steps, "device": device}

# %% [markdown]
# ## From one half of a scene to the other
#
# Each scene is cut in halves, which are brought down. The left one is unmixed in mode `self`. Then the right one is unmixed in four ways:
#
# - *single*: constrained least squares with endmembers of its own, no network;
# - *anew*: as if the left half had never been seen;
# - *applied*: endmembers and network of the left half, as they are, `apply(learned, image)`;
# - *adapted*: endmembers looked for near those of the left half, the network trained on for a few steps, `unmix(image, R, start=learned)`.

# %%
cases = [
    {"scene": name, "scale": scale, "seed": seed, "adaptation": adaptation, **fit}
    for name, seed in itertools.product(names, range(seeds))
]
halves = study(carry, cases, sources=SOURCES, jobs=jobs)
ways = ["single", "anew", "applied", "adapted"]
columns = [f"{way}.{error}" for way in ways for error in ("sad", "lr", "hr", "seconds")]
means = halves.groupby("scene", sort=False)[columns].mean()
means.columns = pd.MultiIndex.from_tuples(name.split(".") for name in means.columns)
means.stack(0).reindex(ways, level=1).round(4)

# %% [markdown]
# `sad` is the mean angle of the endmembers in radians, `lr` and `hr` are the errors (aRMSE) of the abundances of the right half at both resolutions.
# Seconds are of this machine, on which other fits may run: what counts is how they compare.

# %%
fig, axes = plt.subplots(1, len(names), figsize=(1.2 + 2.6 * len(names), 2.8), squeeze=False)
for ax, name in zip(axes[0], names, strict=True):
    part = halves[halves["scene"] == name]
    for way, marker in zip(ways, "osD^", strict=True):
        x, y = part[f"{way}.seconds"], part[f"{way}.hr"]
        _ = ax.plot(x, y, marker, label=way, alpha=0.8)
    _ = ax.set(xscale="log", xlabel="seconds", title=name)
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter("")
axes[0, 0].set_ylabel("HR aRMSE")
fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
record.figure(fig, "halves")
plt.show()

# %% [markdown]
# A point is one seed: lower is better, and further to the left is faster.
# Where both halves hold the same materials, *applied* comes near *anew* at a fraction of its time; where one lacks a material, its endmembers are missing or wrong in the other, and nothing that was learned of them can be right. So it is on Samson and Jasper Ridge in the full run: there *applied* and *adapted* are worse than *single*, which has no network.

# %% [markdown]
# ## From several scenes
#
# Synthetic scenes of one flight hold the same materials in other places, in other light. Some are put side by side and unmixed as one image; what this has taught is applied to a scene that was not among them.
# The more places a network has seen, the less of what it has learned should be of one place only.

# %%
cases = [
    {"number": number, "seed": seed, **fit}
    for number, seed in itertools.product(numbers, range(seeds))
]
flight = study(gather, cases, sources=SOURCES, jobs=jobs)
gathered = flight.groupby("number")[["sad", "lr", "hr", "trained", "seconds"]].mean()
gathered.round(4)

# %% [markdown]
# In the row of zero scenes, the scene was unmixed anew. `trained` is the part of the runs in which there was a network: where the rehearsal gives it no share, none is trained. `seconds` are those for the scene itself, once the others are known.

# %%
fig, axes = plt.subplots(1, 3, figsize=(7.4, 2.4))
labels = {"sad": "SAD in radians", "lr": "LR aRMSE", "hr": "HR aRMSE"}
for ax, (error, label) in zip(axes, labels.items(), strict=True):
    for k, number in enumerate(numbers):
        part = flight.loc[flight["number"] == number, error]
        _ = ax.plot([k] * len(part), part, "o", color="C0", alpha=0.5)
        _ = ax.plot([k - 0.2, k + 0.2], 2 * [part.mean()], color="C1")
    _ = ax.set(xticks=range(len(numbers)), xticklabels=["anew", *map(str, numbers[1:])])
    _ = ax.set(xlabel="scenes learned on", ylabel=label, ylim=(0, 1.1 * flight[error].max()))
record.figure(fig, "several")
plt.show()

# %% [markdown]
# A point is one seed, a line their mean; lower is better.
# What other scenes have taught comes near to *anew* at a fraction of its time; how near, the claims below say. That several teach more than one is not seen; steps and restarts are the same however many there are.

# %% [markdown]
# ## Through a time series
#
# A synthetic area is seen at several dates: abundances wander from one random field to another, spectra change by up to 5 % along the bands, and illumination, variation of the materials and noise are new each time.
# *Cold* unmixes each date anew. *Warm* starts from the date before.

# %%
cases = [
    {"warm": warm, "seed": seed, "number": dates, "adaptation": adaptation, **fit}
    for warm, seed in itertools.product([False, True], range(seeds))
]
series = study(follow, cases, sources=SOURCES, jobs=jobs)
series["start"] = series["warm"].map({False: "cold", True: "warm"})
columns = ["sad", "lr", "hr", "turn", "swaps", "seconds"]
followed = series.groupby("start")[columns].mean()
followed.round(4)

# %% [markdown]
# `turn` is how far the change of an endmember from one date to the next is from the true one, in radians; `swaps` is how often endmembers change their order, in one series.
# Who follows one material through the dates needs none of these swaps.

# %% [markdown]
# ## How small the network may be
#
# The width of the network is its number of channels. Zero stands for mode `single`, without lifting and without a network.

# %%
cases = [
    {"scene": name, "channels": width, "scale": scale, "seed": seed, **fit}
    for name, seed, width in itertools.product(names, range(seeds), widths)
]
sizes = study(narrow, cases, sources=SOURCES, jobs=jobs)
small = sizes.groupby(["scene", "channels"], sort=False)[["lr", "hr", "parameters"]].mean()
small.round(4)

# %%
fig, axes = plt.subplots(1, 2, figsize=(6.2, 2.6), sharex=True)
for ax, error in zip(axes, ("lr", "hr"), strict=True):
    for name, marker in zip(names, "osD", strict=False):
        y = small.loc[name, error]
        _ = ax.plot([str(n) for n in y.index], y / y.iloc[-1], f"-{marker}", label=name)
    _ = ax.axhline(1.05, color="0.5", linestyle=":")
    _ = ax.set(xlabel="channels", ylabel=f"{error.upper()} aRMSE, relative")
axes[0].legend()
record.figure(fig, "widths")
plt.show()

# %% [markdown]
# Errors are relative to those of the widest network, and the dotted line is 5 % above.
# From zero on, most of what is gained is that of lifting (notebook 09); what the network adds takes few parameters. The preset `LIGHT` has the narrowest one.

# %% [markdown]
# ## What we found

# %%
for name, part in halves.groupby("scene", sort=False):
    mean = part.mean(numeric_only=True)
    number = f"{mean['applied.seconds'] / mean['anew.seconds']:.2f} of the time, "
    number += f"HR {mean['applied.hr'] / mean['anew.hr'] - 1:+.1%} (n={len(part)})"
    near = mean["applied.hr"] <= 1.05 * mean["anew.hr"]
    record.claim(
        f"Applied to the other half of {name}, HR error within 5 % of anew",
        number=number,
        holds=bool(near),
        source="ours",
    )

# %% [markdown]
# Of several scenes:

# %%
anew, most = gathered.loc[0], gathered.loc[numbers[-1]]
record.claim(
    f"Learned on {numbers[-1]} scenes of one flight, applied to another: LR and HR errors within "
    "5 % of anew",
    number=f"LR {most['lr'] / anew['lr'] - 1:+.1%}, HR {most['hr'] / anew['hr'] - 1:+.1%}, "
    f"{most['seconds'] / anew['seconds']:.2f} of the time (n={seeds})",
    holds=bool((most[["lr", "hr"]] <= 1.05 * anew[["lr", "hr"]]).all()),
    source="ours",
)

# %% [markdown]
# Of the time series:

# %%
cold, warm = followed.loc["cold"], followed.loc["warm"]
number = f"{warm['swaps']:.1f} and {cold['swaps']:.1f} swaps a series of {dates} dates (n={seeds})"
claim = "Started from the date before, endmembers keep their order"
record.claim(claim, number=number, holds=bool(warm["swaps"] == 0), source="ours")
number = (
    f"LR {warm['lr'] / cold['lr'] - 1:+.1%}, HR {warm['hr'] / cold['hr'] - 1:+.1%} (n={seeds})"
)
holds = bool((warm[["lr", "hr"]] <= 1.02 * cold[["lr", "hr"]]).all())
claim = "Started from the date before, errors are at most 2 % above those of a cold start"
record.claim(claim, number=number, holds=holds, source="ours")

# %%
light = small.xs(LIGHT.channels, level="channels")
default = small.xs(widths[-1], level="channels")
worst = (light[["lr", "hr"]] / default[["lr", "hr"]] - 1).max().max()
record.claim(
    f"With {LIGHT.channels} channels, errors are within 5 % of those with {widths[-1]}",
    number=f"{worst:+.1%} at most, {light['parameters'].max():.0f} parameters for "
    f"{default['parameters'].max():.0f} (n={seeds})",
    holds=bool(worst <= 0.05),
    source="ours",
)
tables = {"halves": means.stack(0), "several": gathered, "series": followed, "widths": small}
record.numbers({name: table.reset_index() for name, table in tables.items()})
record.save()

# %% tags=["nbval-check-output"]
fits = pd.concat([halves, flight, series, sizes])
print("no fit failed:", bool(fits["failed"].isna().all()))
print("scenes of one flight are in one convention:", flight["convention"].nunique() == 1)
print("started from the date before, endmembers keep their order:", bool(warm["swaps"] == 0))

# %% [markdown]
# ## Limits
#
# The halves of a scene share sensor, light and day: how far a network carries to another flight is not measured here, for we have no such pair with a reference.
# *Applied* cannot know of a material that it has not seen. `gap` does not tell: it certifies the solve, not the endmembers. The residual of the image does.
# The series is synthetic, and its materials change slowly; at each date all of them are there.
# The flight is synthetic as well: its spectra are the same in all places but for a variation of 3 %. Scenes that lie side by side have seams, of which the network learns too.
# Networks are small beside the search for endmembers: a narrower one saves parameters more than seconds.
