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
# # 12. Changing one part at a time tells what each is worth
#
# **Claim.** Each part of the method earns its place: somewhere, the errors are larger without it, or at least the training takes longer. What is not a part of it, attention and other weightings of the tasks, would make no error smaller.
# *Source: paper (abstract) names shared and task-specific representations, a summary of the paper cross-attention; parts, protocol and numbers are ours.*
#
# **Reads** nothing, for each seed draws a synthetic scene; the full profile also reads Samson and Jasper Ridge. **Writes** `figures/quick/12_ablation*.{png,pdf}` and `12_ablation.json`.
#
# **Time** half a minute on a laptop CPU; the full profile takes hours, and resumes where it stopped.

# %% tags=["parameters"]
names: list = ["synthetic"]  # scenes to bring down and to restore
scales: list = [2]  # scale factors
modes: list = ["self"]  # what the SR task learns from: self, partial
seeds: int = 2  # number of seeds, from 0 on
changes: list = ["shared encoder", "network", "lifting", "attention", "gate"]  # leave out, put in
size: int = 0  # rows and columns of the part in the centre to unmix; 0 for all
restarts: int = 16  # restarts of the endmember search
steps: int = 50  # training steps of the network
jobs: int = 1  # fits that run at once
device: str = "auto"  # auto, cpu, cuda or mps
figures: str = "../figures/quick"  # folder of figures and numbers

# %%
import matplotlib.pyplot as plt
import pandas as pd

from smile_core import plot
from smile_core.parts import PARTS
from smile_core.record import Record
from smile_core.studies.ablation import CHANGES, SOURCES, ablate, cost, plan, worth
from smile_core.studies.study import study
from smile_core.unmixing import find_device

plot.use_style()
record = Record("12_ablation", figures, seed=0, device=find_device(device))

# %% [markdown]
# ## Protocol
#
# Each scene is brought down by block means and unmixed; the scene itself is what the result is compared with.
# `lr` and `hr` are the errors (aRMSE) of the abundances at the resolution of the image and at that of the scene, `sad` is the mean angle of the endmembers.
#
# - In mode `self`, SR learns from the image alone, and the errors are those of the whole scene.
# - In mode `partial`, it is shown the left half of the scene, and the errors are those in the right half.
#
# One thing is changed at a time. Where a part is left out, something plain is done instead:

# %%
changes = sorted(changes, key=CHANGES.index)
parts = [change for change in changes if change in PARTS]
others = [change for change in changes if change not in PARTS]
pd.set_option("display.max_colwidth", None)
pd.DataFrame({"instead": PARTS}).loc[parts].rename_axis("without")

# %% [markdown]
# The other way round, what the method does without is put in: `attention`, by which each task looks at the other, as a summary of the paper has it, and other weightings of the two tasks.
#
# All else is equal, the seed included.
# The errors with and without a change are therefore pairs, and what we look at is their difference: **positive where the method is better as it is, negative where it would be better with the change**.

# %%
options = {"size": size or None, "restarts": restarts, "steps": steps, "device": device}
cases = plan(names, scales, modes, seeds, changes, **options)
table = study(ablate, cases, sources=SOURCES, jobs=jobs)
done = table[table["failed"].isna()]
print(f"{len(done)} of {len(table)} fits, {table['failed'].notna().sum()} failed")

# %% [markdown]
# The whole method, to compare the differences with.
# `share` is how much of the network's correction it takes, which the rehearsal decides; where it is small, no part of the network can matter.

# %%
whole = done[done["change"] == ""]
place = ["scene", "scale", "mode"]
base = whole.groupby(place, sort=False)[["sad", "lr", "hr", "share"]].mean()
base.round(4)

# %% [markdown]
# ## Differences
#
# Over the seeds, each difference has a mean, and a 95 % interval by the bootstrap.

# %%
found = worth(done)
found["place"] = found["scene"] + ", x" + found["scale"].astype(str) + ", " + found["mode"]
abundances = found[found["error"] != "sad"]
columns = ["mean", "low", "high"]
keys = ["change", "place", "error"]
(1000 * abundances.set_index(keys)[columns]).unstack("error").swaplevel(axis=1).round(2)

# %% [markdown]
# The unit is a thousandth of aRMSE.

# %%
for (mode, s), group in abundances.groupby(["mode", "scale"], sort=False):
    inches = (1.6 + 1.9 * len(names), 1.1 + 0.28 * len(changes))
    fig, axes = plt.subplots(
        1, len(names), figsize=inches, squeeze=False, sharex=True, sharey=True
    )
    for (name, error), part in group.groupby(["scene", "error"], sort=False):
        ax, shift = axes[0, names.index(name)], {"lr": -0.15, "hr": 0.15}[error]
        y = part["change"].map(changes.index) + shift
        ends = 1000 * part[["low", "high"]].sub(part["mean"], axis=0).abs().T
        _ = ax.errorbar(1000 * part["mean"], y, xerr=ends, fmt="o", ms=4, label=error.upper())
        _ = ax.set(title=f"{name}, x{s}, {mode}", yticks=range(len(changes)), yticklabels=changes)
        _ = ax.set_xscale("symlog", linthresh=0.1)
    for ax in axes[0]:
        ax.xaxis.set_major_formatter("{x:g}")
        _ = ax.axvline(0, color="0.5", zorder=0)
        _ = ax.axhline(len(parts) - 0.5, color="0.5", linestyle=":", zorder=0)
        _ = ax.set(ylim=(len(changes) - 0.5, -0.5))
    fig.supxlabel("increase of the aRMSE, thousandths", fontsize="medium")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    record.figure(fig, f"{mode}_x{s}")
plt.show()

# %% [markdown]
# Right of the line, the method is better as it is; left of it, it would be better with the change.
# Above the dotted line a part is missing, below it something is put in.
# A line that crosses zero tells neither. The axis is linear up to a tenth of a thousandth, and logarithmic beyond.

# %% [markdown]
# ## Verdicts
#
# A change is tried in several places: scenes, scales, modes, and the two errors of the abundances.
# `larger` counts those where errors are clearly larger with the change, its interval above zero; `smaller` those where they are clearly smaller. A part earns its place if somewhere they are larger without it, and what is not in the method should nowhere make them smaller.

# %%
verdicts = pd.DataFrame(
    {
        "larger": (abundances["low"] > 0).groupby(abundances["change"]).sum(),
        "smaller": (abundances["high"] < 0).groupby(abundances["change"]).sum(),
        "places": abundances.groupby("change").size(),
        "most": 1000 * abundances.groupby("change")["mean"].max(),
        "least": 1000 * abundances.groupby("change")["mean"].min(),
    }
).loc[changes]
verdicts.round(2)

# %% [markdown]
# `most` and `least` are the largest and the smallest of the means, in thousandths: what a part saves in one place, it may cost in another. The rehearsal is such an insurance.

# %% [markdown]
# Errors are not all that a part may be for. Relative to the method as it is, this is what becomes of the training where a network is trained, over all places and seeds: the number of `weights`, and the `seconds`, those of the rehearsal included.

# %%
costs = cost(done).set_index("change")
costs.round(2)

# %% [markdown]
# ## What is put in
#
# Attention lets each task weigh the features of the other, channel by channel; notebook 06 shows what it attends to.
#
# On the parameters that the tasks share, their gradients have to be combined.
# The method adds them up. The gate knows which task is the main one, and takes from the other what opposes it; other rules treat both alike: weights by the uncertainty of each task (`uncertainty`), projected gradients (`pcgrad`), the shortest convex combination (`mgda`), see `smile_core.weighting`.
# Attention and weightings alike can only matter as far as the network's correction is taken.

# %%
kept = done[done["change"].isin(["", *others])].replace({"change": {"": "as it is"}})
shares = kept.groupby([*place, "change"], sort=False)["share"].mean().unstack("change")
shares.round(2)

# %% [markdown]
# The larger the share, the more of the correction was right where that could be tested: one octave below, or on tiles that were held out.

# %% [markdown]
# ## What we found

# %%
by_change = abundances.groupby("change")["mean"]
largest, smallest = (
    abundances.loc[index].set_index("change") for index in (by_change.idxmax(), by_change.idxmin())
)
for change in changes:
    verdict = verdicts.loc[change]
    claim, holds = f"Somewhere, errors are larger without: {change}", verdict["larger"] > 0
    row, bound = largest.loc[change], "at most"
    if change in others:
        claim, holds = f"No error is clearly smaller with: {change}", verdict["smaller"] == 0
        row, bound = smallest.loc[change], "at least"
    number = f"larger in {verdict['larger']:.0f}, smaller in {verdict['smaller']:.0f} of "
    number += f"{verdict['places']:.0f}; {bound} {1000 * row['mean']:+.2f} thousandths "
    number += f"({row['error'].upper()}, {row['place']}), n={row['n']}"
    record.claim(claim, number=number, holds=bool(holds), source="ours")
idle = [part for part in parts if verdicts.loc[part, "larger"] == 0 and part in costs.index]
for part in idle:
    row = costs.loc[part]
    ends = f"[{row['low'] - 1:+.0%}, {row['high'] - 1:+.0%}]"
    number = f"{row['seconds'] - 1:+.0%} {ends}, {row['weights']:.2f} times the weights, "
    record.claim(
        f"Errors are nowhere larger, but the training takes longer without: {part}",
        number=number + f"n={row['n']:.0f}",
        holds=bool(row["low"] > 1),
        source="ours",
    )
record.numbers({"worth": found, "method": base.reset_index(), "costs": costs.reset_index()})
record.save()

# %% [markdown]
# Errors can be compared where what an abundance is was decided alike.

# %%
alike = done.groupby(["scene", "scale", "mode", "seed"])["convention"].nunique() == 1
print(f"{(~alike).sum()} of {len(alike)} scenes and seeds are in more than one convention")

# %% tags=["nbval-check-output"]
print("every fit returned finite errors:", len(done) == len(table))
print("each pair is in one convention:", bool(alike.all()))
print("each change is paired with the method on every seed:", bool((found["n"] == seeds).all()))

# %% [markdown]
# ## Limits
#
# The intervals are over seeds, on few scenes: what is worth something here may be worth nothing elsewhere, and the reverse.
# With two seeds an interval is no more than the two values, and one in four of a part that is worth nothing is above zero by chance; with ten seeds, one in twenty.
# Over many places, "somewhere" is therefore a weak verdict: a part that helps in one of them only may help nowhere. For what is put in it is the reverse: that no error is smaller may fail by chance in one place of many.
# Corners and the choice of the convention are looked at in notebook 07, not here. Where the endmembers are corners, the choice of a restart has nothing to do: its difference is zero.
# One thing is changed at a time: two parts that stand in for each other both seem to be worth nothing.
# Parts are judged by errors and by the time of the training; the certificate that the last solve gives is not counted.
# Seconds are those of a machine that had other work to do; over many cases this evens out.
