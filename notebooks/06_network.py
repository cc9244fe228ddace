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
# # 6. The two branches hold nearly the same
#
# **Claim.** Trained for two tasks, the unmixing and the SR branch come to hold different things. We compare their features, and what can be read off them, and the claim does not hold.
# *Source: paper (abstract) for shared and task-specific representations; cross-attention is from a summary of the paper; architecture, measures and numbers are ours.*
#
# **Reads** the scenes Samson and Jasper Ridge. **Writes** `figures/quick/06_network*.{png,pdf}` and `06_network.json`.
#
# **Time** half a minute on a laptop CPU.

# %% tags=["parameters"]
names: list = ["samson", "jasper"]  # scenes to train on
seeds: int = 3  # number of trainings per scene, with seeds from 0 on
restarts: int = 24  # restarts of the endmember search
steps: int = 60  # training steps of the network
figures: str = "../figures/quick"  # folder of figures and numbers

# %%
import itertools
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
import torch

from smile_core import Settings, plot, scenes
from smile_core.degradation import degrade, enlarge
from smile_core.mixing import unit, unmix_pixels
from smile_core.network import Smile
from smile_core.objective import Level, features, make_pairs
from smile_core.record import Record
from smile_core.studies.diagram import SIZE, diagram
from smile_core.studies.experiments import fit, reference
from smile_core.studies.representation import (
    attention,
    blocks,
    cka,
    costs,
    probe,
    representations,
    snapshots,
)

plot.use_style()
record = Record("06_network", figures, seed=0)
settings = Settings(restarts=restarts, steps=steps, attention=True)

# %% [markdown]
# ## What the network sees
#
# Each scene is brought down by two, so that the truth is known at both resolutions.
# Endmembers are those that `unmix` finds; the network gets the spectrum, the constrained solve and the brightness of each LR pixel.

# %%
loaded, runs, endmembers, pixels, material = {}, {}, {}, {}, {}
for name in names:
    data = scenes.load(name)
    H, W = (n // 4 * 4 for n in data.image.shape[1:])
    loaded[name] = data.crop(H, W, at=(0, 0))
    print(loaded[name])

# %%
for name, data in loaded.items():
    y = degrade(data.image, 2)
    runs[name] = fit(y, data.R, scale=2, seed=0, settings=settings, device="cpu")
    y, M = y / y.norm(dim=0).mean(), unit(runs[name].M)
    endmembers[name] = M
    pixels[name] = features(Level(y, *unmix_pixels(y, M)[:2]))
    material[name] = make_pairs(y, M, torch.ones_like(y[0]).bool(), 2, "share", seed=0)

# %% [markdown]
# ## The architecture
#
# One stem and two shared blocks, then a branch for each task; after it cross-attention, through which each task looks at the other.
# Attention is looked at here because a summary of the paper names it. `unmix` leaves it out unless told otherwise, by `Settings(attention=True)`: it makes no error smaller (notebook 12).
# Numbers are channels, rows and columns on the first scene.

# %%
data, (h, w) = loaded[names[0]], pixels[names[0]].shape[2:]
_ = torch.manual_seed(0)
network = Smile(len(data.image), data.R, 2, settings.channels, attention=True)
fig, ax = plt.subplots(figsize=SIZE)
diagram(ax, network, h, w)
record.figure(fig, "diagram")
plt.show()

# %% [markdown]
# Grey is shared, blue is for unmixing, orange for SR; arrows that cross are what one task shows to the other.
# A block mixes each pixel with its eight neighbours, channel by channel, and then the channels of the pixel.
# The heads correct abundances that are already good, from the right: the constrained solve at LR, and the same brought up at HR.

# %% [markdown]
# ## A walk through it
#
# The untrained network on the pixels of the first scene, part by part. *Spread* is the root mean square of the numbers that come out.

# %%
walk = {"pixels": pixels[names[0]][0], **representations(network, pixels[names[0]])}
shape = [" x ".join(map(str, x.shape)) for x in walk.values()]
spread = [round(float(x.square().mean().sqrt()), 3) for x in walk.values()]
pd.DataFrame({"shape": shape, "spread": spread}, index=list(walk))

# %% [markdown]
# From the stem on, all rows are the same numbers: blocks and attention start as the identity, so that an untrained network holds one representation, not two.

# %% [markdown]
# ## Training, watched
#
# The network is trained as `unmix` trains it in mode `self` with attention, but with the endmembers that `unmix` returns, which its last solve has moved a little, and with several seeds. Copies are kept on the way, the last one after the last step.

# %%
at = [round(steps * t) for t in (0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1)]
options = {"at": at, "steps": steps, "learning_rate": settings.learning_rate}
print("copied after steps", at)

# %% [markdown]
# Training draws pairs of resolutions in eight orientations; the copies are compared on the scene itself, which training has seen as the finer one of a pair.

# %%
trained = {}
for name, seed in itertools.product(names, range(seeds)):
    _ = torch.manual_seed(seed)
    network = Smile(*endmembers[name].shape, 2, settings.channels, attention=True)
    M, pairs = endmembers[name], material[name]
    trained[name, seed] = snapshots(network, pairs, M, **options, seed=seed)

# %% [markdown]
# ## How similar the branches are
#
# Linear CKA compares two representations of the same pixels, whatever their rotation and scale: one is the same, zero is unrelated.
# We compare the branches with each other, each with the shared features that it starts from, and what the two *add* to these.

# %%
rows = []
for (name, seed), copies in trained.items():
    for step, network in copies.items():
        x = representations(network, pixels[name])
        u, g, shared = x["unmixing"], x["sr"], x["shared"]
        row = {"scene": name, "seed": seed, "step": step, "unmixing and SR": cka(u, g)}
        row |= {"unmixing and shared": cka(u, shared), "SR and shared": cka(g, shared)}
        if step > 0:  # before, they add nothing
            row["added by both"] = cka(u - shared, g - shared)
        rows.append(row)
similarity = pd.DataFrame(rows)

# %%
lines = similarity[similarity.step > 0].melt(["scene", "seed", "step"], var_name="pair")
lines["difference"] = 1 - lines["value"]
size = (3.6 * len(names), 3.0)
fig, axes = plt.subplots(1, len(names), figsize=size, squeeze=False, sharey=True)
for ax, name in zip(axes[0], names, strict=True):
    part = lines[lines.scene == name]
    style = {"errorbar": ("pi", 100), "marker": "o", "ms": 4, "legend": name == names[-1]}
    _ = sns.lineplot(part, x="step", y="difference", hue="pair", ax=ax, **style)
    _ = ax.set(title=name, yscale="log", ylim=(1e-6, 1.2), ylabel="1 $-$ linear CKA")
sns.move_legend(axes[0, -1], "center left", bbox_to_anchor=(1, 0.5), title=None)
record.figure(fig)
plt.show()

# %% [markdown]
# Lines are means over seeds, bands reach from the smallest value to the largest, lower is more alike; at step zero all would be at zero.
# The branches start as one and part slowly, by thousandths. It is the SR branch that leaves the shared features; the unmixing branch stays much nearer, so that two of the lines nearly coincide. What the two add differs more.

# %% [markdown]
# CKA goes by the directions of large variance, and in a scene of a few materials these are few.
# As a yardstick, the shared features of two networks whose random weights have nothing in common:

# %%
held = {k: representations(copies[steps], pixels[k[0]]) for k, copies in trained.items()}
for name in names:
    pairs = itertools.combinations([held[name, seed]["shared"] for seed in range(seeds)], 2)
    others = [cka(x, y) for x, y in pairs]
    print(f"{name}, networks of other seeds:", [round(v, 3) for v in others])

# %% [markdown]
# They are nearly as similar as the two branches of one network: what CKA sees most is the scene.
# We ask for more: can each channel of one branch be predicted from the other?

# %% [markdown]
# ## What can be read off them
#
# A linear probe is ridge regression from features of unit variance, scored by $R^2$ on blocks of pixels that it has not seen.
# First each branch from the other, and from the shared features: the mean over channels and seeds.

# %%
folds = {name: blocks(*pixels[name].shape[2:]) for name in names}
ways = [("shared", "unmixing"), ("shared", "sr"), ("sr", "unmixing"), ("unmixing", "sr")]
rows = []
for (name, seed), x in held.items():
    r2 = {f"{a} tells {b}": float(probe(x[a], x[b], folds[name]).mean()) for a, b in ways}
    rows.append({"scene": name, "seed": seed, **r2})
predicted = pd.DataFrame(rows).drop(columns="seed").groupby("scene", sort=False).mean()
predicted.round(3)

# %% [markdown]
# One is what can be predicted whole. The SR branch has slightly more to itself: its second block sees neighbours of neighbours once more.

# %% [markdown]
# Then the reference abundances, at both resolutions.
# HR detail is what HR abundances are beyond the mean of their LR pixel: all that an SR task can add.

# %%
targets = {}
for name, data in loaded.items():
    a = reference(data)
    a_l = degrade(a, 2)
    detail = a - enlarge(a_l, 2)
    targets[name] = {"LR abundances": a_l, "HR abundances": a, "HR detail": detail}

# %%
rows = []
for (name, seed), parts in held.items():
    parts = {"pixels": pixels[name][0], **parts}
    for (part, x), (target, t) in itertools.product(parts.items(), targets[name].items()):
        for kind, r2 in zip(loaded[name].materials, probe(x, t, folds[name]), strict=True):
            row = {"scene": name, "seed": seed, "part": part, "target": target}
            rows.append({**row, "material": kind, "R2": float(r2)})
probes = pd.DataFrame(rows)

# %%
size = (9, 0.6 + 2.0 * len(names))
fig, axes = plt.subplots(len(names), 3, figsize=size, squeeze=False, sharey=True)
for (name, target), ax in zip(itertools.product(names, targets[names[0]]), axes.flat, strict=True):
    part = probes[(probes.scene == name) & (probes.target == target)]
    style = {"size": 4, "legend": target == "HR detail"}
    _ = sns.stripplot(part, x="R2", y="part", hue="material", ax=ax, **style)
    _ = ax.set(title=f"{name}: {target}", xlabel="$R^2$ on held-out blocks", ylabel="")
    ax.locator_params(axis="x", nbins=4)
for ax in axes[:, -1]:
    sns.move_legend(ax, "center left", bbox_to_anchor=(1, 0.5), title=None)
record.figure(fig, "probes")
plt.show()

# %% [markdown]
# Each point is a material with a seed, further right is better; the panels have scales of their own.
# LR abundances are in the pixels from the start, and no part loses much of them, on Jasper Ridge up to 0.04 of R². Detail rises from the stem to the shared blocks, which see neighbours; the branches tell it alike. The pixels tell more of it than the stem, which keeps a fifth of their numbers or less; on Jasper Ridge they tell more of it than any part of the network, which only regains what the stem has lost.

# %%
told = probes.groupby(["scene", "target", "part"], sort=False)["R2"].mean().unstack("part")
told.round(3)

# %% [markdown]
# ## What the tasks attend to
#
# Attention runs over channels: in each of four heads, eight channels of one task weigh eight channels of the other.
# For one training on the first scene, before and after:

# %%
watched = trained[names[0], 0]
weights = {k: attention(watched[k], pixels[names[0]]) for k in (0, steps)}

# %% [markdown]
# In the figure, rows are channels of the task itself, columns those of the other task; a row sums to one.

# %%
fig, axes = plt.subplots(4, 4, figsize=(5.8, 5.0), layout="compressed")
for line, (part, k) in zip(axes, itertools.product(weights[0], weights), strict=True):
    for head, ax in enumerate(line):
        shown = ax.imshow(weights[k][part][head], vmin=0, vmax=1)
        _ = ax.set(xticks=[], yticks=[], title=f"head {head + 1}" if ax in axes[0] else "")
    _ = line[0].set_ylabel(f"{part}\nafter {k} steps")
_ = fig.colorbar(shown, ax=axes, label="weight", ticks=[0, 0.5, 1], shrink=0.5)
record.figure(fig, "attention")
plt.show()

# %% [markdown]
# Training makes other choices than chance did. A row often has one or two bright cells: channels are picked, not averaged.
# Before training the weights are there, but what they gather is not used yet.

# %% [markdown]
# What is it that they pick? For each head, the channel of the other task that is weighed most, and the material whose abundances it follows most closely.

# %%
fig, axes = plt.subplots(2, 4, figsize=(7.4, 4.0), layout="compressed")
names_of, a_l = loaded[names[0]].materials, targets[names[0]]["LR abundances"]
for line, part, other in zip(axes, ("to_unmixing", "to_sr"), ("sr", "unmixing"), strict=True):
    value = watched[steps].get_submodule(part).value(held[names[0], 0][other][None])
    value = value[0].detach().unflatten(0, (4, -1))
    for head, ax in enumerate(line):
        picked = value[head, weights[steps][part][head].mean(dim=0).argmax()]
        r = torch.cat([picked[None], a_l]).flatten(1).corrcoef()[0, 1:]
        k = int(r.abs().argmax())
        _ = ax.imshow(picked)
        _ = ax.set(xticks=[], yticks=[], title=f"{names_of[k]}, r = {r[k]:+.2f}")
    _ = line[0].set_ylabel(f"{part}: values of {other}")
record.figure(fig, "picked")
plt.show()

# %% [markdown]
# Above is what unmixing takes from SR, below what SR takes from unmixing. Most channels follow a material, with either sign; some follow edges as well, the shore first of all.
# The frames along the borders come from convolutions that are padded with zeros.

# %% [markdown]
# How much is added on the way? The root mean square of what a part adds to its input, relative to the input, mean over seeds.

# %%
steps_of = {"unmixing": "shared", "sr": "shared", "to_unmixing": "unmixing", "to_sr": "sr"}
rows = []
for (name, _), x in held.items():
    added = {k: float((x[k] - x[v]).norm() / x[v].norm()) for k, v in steps_of.items()}
    rows.append({"scene": name, **added})
added = pd.DataFrame(rows).groupby("scene", sort=False).mean()
added.round(3)

# %% [markdown]
# ## What it costs
#
# Parameters, floating-point operations of a forward pass over the first scene, and its seconds on one CPU, for each part.

# %%
cost = costs(watched[steps], pixels[names[0]])
cost.assign(seconds=cost.seconds.round(5))

# %% [markdown]
# Beside it the seconds of the stages of `unmix`, as they were measured when the calls first ran. The first one in a process also loads code.

# %%
stages = pd.DataFrame({name: run.seconds for name, run in runs.items()}).fillna(0)
stages = stages.drop(index="total")
stages

# %%
percent = 100 * cost / cost.sum()
fig, axes = plt.subplots(1, 2, figsize=(8.6, 3.0))
_ = percent[::-1].plot.barh(ax=axes[0], width=0.75)
_ = axes[0].set(xlabel="percent of the network", ylabel="", title="parts of the network")
_ = stages[::-1].plot.barh(ax=axes[1], width=0.6)
_ = axes[1].set(xlabel="seconds", title="stages of unmix")
record.figure(fig, "costs")
plt.show()

# %% [markdown]
# Within the network, blocks take most, and more or less in proportion to their parameters.
# Of a call, the search for endmembers and all that is trained take most, and the accessible solve (`refinement`) the rest; the constrained solve is nearly free, and a forward pass takes milliseconds.

# %% [markdown]
# ## What we found

# %%
last = similarity[similarity.step == steps].groupby("scene", sort=False).mean(numeric_only=True)
start = similarity.loc[similarity.step == 0, "unmixing and SR"]
lr, detail = (told.xs(t, level="target") for t in ("LR abundances", "HR detail"))
own = pd.DataFrame({"LR": lr.unmixing - lr.sr, "detail": detail.sr - detail.unmixing})
rise = detail.shared - detail.stem
less = bool((added.to_unmixing < added.unmixing).all() and (added.to_sr < added.sr).all())
record.numbers({"similarity": last.to_dict("index"), "predicted": predicted.to_dict("index")})
record.numbers({"probes": told.reset_index().to_dict("records"), "added": added.to_dict("index")})
record.numbers({"costs": cost.to_dict("index"), "seconds": stages.to_dict()})

# %%
apart = last["unmixing and SR"]
other = predicted[["unmixing tells sr", "sr tells unmixing"]]
record.claim(
    "Trained, the branches hold different things: CKA below 0.9 on every scene",
    number=f"CKA {apart.min():.3f} to {apart.max():.3f} (n={seeds})",
    holds=apart.max() < 0.9,
    source="ours",
)
record.claim(
    "Trained, each branch holds what the other does not tell: R2 below 0.9 on every scene",
    number=f"R2 {other.min(axis=None):.2f} to {other.max(axis=None):.2f} (n={seeds})",
    holds=other.max(axis=None) < 0.9,
    source="ours",
)
record.claim(
    "Untrained, the two branches hold the same (by construction)",
    number=f"CKA {start.min():.3f}",
    holds=start.min() > 0.9999,
    source="ours",
)

# %%
record.claim(
    "Each branch tells what its own task needs better, by 0.05 of R2 on every scene",
    number=f"LR {own.LR.min():+.3f}, HR detail {own.detail.min():+.3f} at least (n={seeds})",
    holds=own.min(axis=None) >= 0.05,
    source="ours",
)
record.claim(
    "The shared blocks find HR detail: it is read off them better than off the stem",
    number=f"R2 {rise.min():+.3f} to {rise.max():+.3f} (n={seeds})",
    holds=rise.min() > 0,
    source="ours",
)
record.claim(
    "Attention adds less to either branch than the branch adds to the shared features",
    number=f"{added.to_unmixing.max():.2f}, {added.to_sr.max():.2f} of the input (n={seeds})",
    holds=less,
    source="ours",
)
solve = stages.loc["solve"] / stages.sum()
record.claim(
    "The constrained solve takes less than 5 % of the seconds of a call",
    number=f"{100 * solve.max():.1f} % at most",
    holds=solve.max() < 0.05,
    source="ours",
)
record.save()

# %% tags=["nbval-check-output"]
print("untrained, the branches are one:", bool(start.min() > 0.9999))
print("trained, they are no longer:", bool(apart.max() < 0.9999))
print("but CKA stays above one half:", bool(apart.min() > 0.5))
tied = bool(own.abs().max(axis=None) < 0.1)
print("neither branch tells LR abundances or HR detail much better:", tied)

# %% [markdown]
# ## Limits
#
# All of this is the network with attention, which `unmix` leaves out unless told otherwise.
# Small networks, trained for seconds on one scene: with more data, branches may part further. The full profile trains longer than the quick one.
# Linear measures see linear content only. Blocks of pixels that are held out touch others whose neighbourhoods reach into them, so that all $R^2$ are somewhat too good, in all rows alike.
# Operations count matrix products and convolutions. Seconds are those of one machine.
