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
# # 10. Super-resolution guides through the abundances, hardly through shared weights
#
# **Claim (Theorem 2, existence).** Super-resolution (SR) guides unmixing. We measure where: in the weights that the two tasks share, and in the abundances that they share.
# *Source: paper (abstract) names task affinity; measures, gate, choice of the share and numbers are ours.*
#
# **Reads** the scenes Samson and Jasper Ridge. **Writes** `figures/quick/10_affinity*.{png,pdf}` and `10_affinity.json`.
#
# **Time** 40 s on a laptop CPU with one seed; the full profile runs five.

# %% tags=["parameters"]
names: list = ["samson", "jasper"]  # scenes to bring down and to restore
scales: list = [2]  # scale factors
seeds: int = 1  # number of seeds, from 0 on
restarts: int = 24  # restarts of the endmember search
steps: int = 60  # training steps of the network
shares: int = 4  # number of shares of the correction to try, from 0 to 1
device: str = "auto"  # auto, cpu, cuda or mps
figures: str = "../figures/quick"  # folder of figures and numbers

# %%
import functools
import itertools
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
import time
import timeit
import torch

from smile_core import Settings, plot, scenes
from smile_core.affinity import cosine, gate
from smile_core.degradation import degrade
from smile_core.guidance import bring_up, factors_of, learn, material
from smile_core.metrics import armse, match
from smile_core.network import Smile
from smile_core.objective import losses, train
from smile_core.record import Record
from smile_core.studies.experiments import fit, reference, start, sweep
from smile_core.unmixing import find_device

plot.use_style()
record = Record("10_affinity", figures, seed=0, device=find_device(device))
settings = Settings(restarts=restarts, steps=steps)

# %% [markdown]
# ## What is measured
#
# The two tasks share the parameters $\theta$ of a stem and two blocks.
# On them, $g_u$ is the gradient of the unmixing loss $L_u$, and $g_s$ that of its guide, the SR loss.
#
# - The *cosine* of $g_u$ and $g_s$. Where it is negative, the tasks are in *conflict*.
# - The *task affinity* $Z_{s \to u} = 1 - L_u(\theta - \eta g_s) / L_u(\theta)$: the part of its loss that unmixing is spared by a step along the guide. The step has 1 % of the length of $\theta$. $Z_{u \to s}$ is the reverse.
# - The *gate*, which takes the opposing part out of the guide: $g_u + g_s - \min\bigl(0, \langle g_u, g_s \rangle / \|g_u\|^2\bigr) \, g_u$.
#
# In the abundances, Theorem 2 promises that consistent tasks do not conflict. In weights it promises nothing, so that there we have to look.

# %% [markdown]
# ## Trainings
#
# Each scene is brought down by block means, and unmixed alone.

# %%
loaded = {name: scenes.load(name) for name in names}
for name, data in loaded.items():
    H, W = (n // 4 * 4 for n in data.image.shape[1:])
    loaded[name] = data.crop(H, W, at=(0, 0))
cases = [(name, s, seed) for s in scales for name in names for seed in range(seeds)]

# %% [markdown]
# A network is then trained as `unmix` does it in mode `self`, by the plain sum of the gradients, and with the gate, from the same seed.

# %%
options = {"channels": settings.channels, "steps": steps, "learning_rate": settings.learning_rate}
begun, trained = {}, {}
for name, s, seed in cases:
    level, M = start(loaded[name], s, seed, settings, device)
    pairs = material(level.image, M, factors_of(s), "share", seed)
    begun[name, s, seed] = level, M, pairs
    for gated in (True, False):
        run = {"weighting": "gate" if gated else "sum", "device": find_device(device), **options}
        trained[name, s, seed, gated] = learn(pairs, M, factors_of(s)[0], seed=seed, **run)

# %% [markdown]
# Beside it, the results of `unmix` itself, with the single task and guided.

# %%
fits = {}
for name, s, seed in cases:
    data, run = loaded[name], {"scale": s, "seed": seed, "settings": settings, "device": device}
    y = degrade(data.image, s)
    fits[name, s, seed] = {m: fit(y, data.R, mode=m, **run) for m in ("single", "self")}

# %% [markdown]
# Where an image is too small to rehearse on, or the rehearsal speaks against it, `unmix` trains no network. We train one all the same, and say so.

# %%
used = {case: result["self"].history for case, result in fits.items()}
for case, history in used.items():
    if "sr" not in history:
        print("Trained here only: {}, x{}, seed {}".format(*case))
same = all(h["sr"] == trained[*case, False][1]["sr"] for case, h in used.items() if "sr" in h)
print("Elsewhere the plain trainings are those of unmix:", same)

# %% [markdown]
# ## Cosine over the training
#
# It is recorded at every step. At step zero the heads are zero, and there is nothing to compare.

# %%
frames = []
for (name, s, seed, gated), (_, history) in trained.items():
    frame = {"scene": name, "scale": s, "seed": seed, "gated": gated, "step": range(steps)}
    frames.append(pd.DataFrame({**frame, "cosine": history["cosine"]})[1:])
curves = pd.concat(frames, ignore_index=True)
curves["conflict"] = curves["cosine"] < 0

# %% [markdown]
# A point for each step, and the mean over seeds and neighbouring steps:

# %%
size = (3.3 * len(names), 0.4 + 2.1 * len(scales))
grid = {"figsize": size, "squeeze": False, "sharex": True, "sharey": True}
fig, axes = plt.subplots(len(scales), len(names), **grid)
panels = curves[~curves.gated].groupby(["scale", "scene"], sort=False)
for ax, ((s, name), part) in zip(axes.flat, panels, strict=True):
    smooth = part.groupby("step")["cosine"].mean().rolling(15, center=True, min_periods=1).mean()
    _ = ax.axhline(0, color="0.5", lw=0.8)
    _ = ax.scatter(part.step, part.cosine, s=5, alpha=0.5, lw=0, label="step")
    _ = ax.plot(smooth, color="C1", label="mean of 15 steps")
    _ = ax.set(title=f"{name}, x{s}: {part.conflict.mean():.0%} in conflict", ylim=(-1, 1))
_ = axes[0, 0].legend(loc="lower left", ncols=2)
fig.supxlabel("step")
fig.supylabel("cosine of the gradients")
record.figure(fig)
plt.show()

# %% [markdown]
# Plain trainings. Each point is a step, below zero it is one in conflict.
# The points scatter on both sides of zero all along. Their mean stays near it; no order in time is common to all scenes, scales and seeds.

# %% [markdown]
# The mean cosine, and the share of conflicting steps, with and without the gate:

# %%
conflict = curves.groupby(["scale", "scene", "gated"], sort=False)[["cosine", "conflict"]].mean()
conflict.round(3)

# %% [markdown]
# ## Layer by layer
#
# Every tenth step, the cosine is recorded for each shared layer as well, and the task affinities.

# %%
layers = ["stem", "shared.0", "shared.1"]
ways = {"sr_to_unmixing": "SR to unmixing", "unmixing_to_sr": "unmixing to SR"}
frames = []
for (name, s, seed, gated), (_, history) in trained.items():
    if not gated:
        frame = {"scene": name, "scale": s, "seed": seed, "step": range(0, steps, 10)}
        frame |= {layer: history[f"cosine.{layer}"] for layer in layers}
        frame |= {way: history[f"affinity.{way}"] for way in ways}
        frames.append(pd.DataFrame(frame)[1:])
sampled = pd.concat(frames, ignore_index=True)

# %% [markdown]
# Time runs to the right, the encoder from top to bottom:

# %%
fig, axes = plt.subplots(len(scales), len(names), **grid)
panels = sampled.groupby(["scale", "scene"], sort=False)
for ax, ((s, name), part) in zip(axes.flat, panels, strict=True):
    mean = part.groupby("step")[layers].mean().T
    edges = [*(mean.columns - 5), mean.columns[-1] + 5]
    shown = ax.pcolormesh(edges, range(4), mean, cmap="RdBu", vmin=-0.6, vmax=0.6)
    _ = ax.set(title=f"{name}, x{s}", ylim=(3, 0), yticks=[0.5, 1.5, 2.5], yticklabels=layers)
_ = fig.colorbar(shown, ax=axes, label="cosine", extend="both", shrink=0.9)
fig.supxlabel("step")
record.figure(fig, "layers")
plt.show()

# %% [markdown]
# Blue is agreement, red is conflict, white neither; means over seeds.
# A row that stayed blue would be a layer in which SR guides unmixing. There is none: colours change along the time, much alike in all layers.

# %% [markdown]
# The share of conflicting steps by layer:

# %%
negative = sampled.set_index(["scale", "scene"])[layers] < 0
negative.groupby(level=["scale", "scene"], sort=False).mean().round(2)

# %% [markdown]
# ## Task affinity, in both directions
#
# The cosine says where a short step goes. The affinity says what a step of some length does.

# %%
fig, axes = plt.subplots(len(scales), len(names), **grid)
for ax, ((s, name), part) in zip(axes.flat, panels, strict=True):
    _ = ax.axhline(0, color="0.5", lw=0.8)
    for k, (way, label) in enumerate(ways.items()):
        z = part.groupby("step")[way].agg(["mean", "min", "max"])
        _ = ax.plot(z["mean"], "o-", ms=3, color=f"C{k}", label=label)
        _ = ax.fill_between(z.index, z["min"], z["max"], color=f"C{k}", alpha=0.2, lw=0)
    _ = ax.set_title(f"{name}, x{s}")
_ = axes[0, 0].legend(loc="lower left")
fig.supxlabel("step")
fig.supylabel("task affinity $Z$")
record.figure(fig, "affinity")
plt.show()

# %% [markdown]
# Above zero, a step for one task spares the other a part of its loss. Lines are means over seeds, bands reach from the smallest value to the largest.
# Affinities are small on the real scenes; in the full run SR costs unmixing several percent on the synthetic scene at x4. They are more often a cost than a gift.

# %% [markdown]
# On average over the training:

# %%
affinity = panels[[*ways]].mean()
affinity.round(4)

# %% [markdown]
# ## What the gate guarantees
#
# In conflict, $\langle g_u, g_u + g_s - \langle g_u, g_s \rangle g_u / \|g_u\|^2 \rangle = \|g_u\|^2$, and else it is $\|g_u\|^2 + \langle g_u, g_s \rangle$: never negative.
# So, to first order, a step against the gated gradient does not raise the unmixing loss.
# We look at it in the trained networks, on all of their pairs, beside the plain sum $g_u + g_s$.

# %%
rows = []
for (name, s, seed, _), (network, _) in trained.items():
    _, M, pairs = begun[name, s, seed]
    shared = list(itertools.chain(*network.shared_parameters().values()))
    for pair in pairs[0]:
        tasks = losses(network, pair, M.mT @ M, pair.training)
        g_u = torch.autograd.grad(tasks.pop("unmixing"), shared, retain_graph=True)
        g_s = torch.autograd.grad(sum(tasks.values()), shared)
        u, g = (torch.cat([x.flatten() for x in each]) for each in (g_u, g_s))
        row = {"guide": cosine(u, g), "sum": cosine(u, u + g), "gated": cosine(u, gate(u, g))}
        row["length"] = g.norm() / u.norm()
        rows.append({k: float(v) for k, v in row.items()})
against = pd.DataFrame(rows)
against.agg(["min", "mean", "max"]).round(3)

# %% [markdown]
# Cosines with the unmixing gradient, and the length of the guide relative to it.
# The guide is some tens of times longer, so that a plain sum goes where the guide goes, against unmixing too. With the gate, it does not.

# %% [markdown]
# ## What the gate changes
#
# We compare the held-out losses of both tasks, and the error of the HR abundances if *all* of the network's correction is taken, before the last solve.

# %%
rows = []
for (name, s, seed, gated), (network, _) in trained.items():
    level, M, pairs = begun[name, s, seed]
    up = bring_up(level, s, network)
    with torch.no_grad():
        row = losses(network, pairs[0][0], M.mT @ M, pairs[0][0].validation)
    row["hr"] = armse(up.a[match(M, loaded[name].M)[0]], reference(loaded[name]))
    row = {k: float(v) for k, v in row.items()}
    rows.append({"scene": name, "scale": s, "seed": seed, "gated": gated, **row})
gating = pd.DataFrame(rows)

# %% [markdown]
# The change by the gate in percent, means over seeds; negative is better.

# %%
means = gating.groupby(["scale", "scene", "gated"], sort=False)[["unmixing", "sr", "hr"]].mean()
effect = 100 * (means.xs(True, level="gated") / means.xs(False, level="gated") - 1)
effect.round(2)

# %% [markdown]
# Most changes are fractions of a percent, and to SR they are more often a cost than a gain: what opposes unmixing is worth something there. The gate is an insurance, and this is its premium: too much for what it insures, so that `unmix` goes without (notebook 12).
# And what does training change, gate or not? The held-out SR loss after the last step against that of step zero, in percent:

# %%
validation = {case: history["validation"] for case, (_, history) in trained.items()}
learned = pd.Series({case: 100 * (v[-1] / v[0] - 1) for case, v in validation.items()})
learned = learned.rename_axis(["scene", "scale", "seed", "gated"])
learned.groupby(level=["scale", "scene", "gated"], sort=False).mean().round(2)

# %% [markdown]
# Above zero, the weights are worse on held-out tiles than those of step zero: training has overfitted. `unmix` takes the correction only as far as the rehearsal supports it.

# %% [markdown]
# ## What the recording costs
#
# The seconds of CPU of a training on the first scene, with affinities and validation every tenth step against none on the way. They are those of one machine.

# %%
level, M, pairs = begun[cases[0]]
shape, gram = (*M.shape, factors_of(cases[0][1])[0], settings.channels), M.mT @ M
seconds = {10: [], 21: []}
for _, interval in itertools.product(range(3), seconds):
    network, begin = Smile(*shape), time.process_time()
    _ = train(network, pairs, M, steps=20, learning_rate=1e-3, interval=interval)
    seconds[interval].append(time.process_time() - begin)
recording = min(seconds[10]) / min(seconds[21]) - 1
print(f"Affinities and validation every tenth step: {recording:+.0%} of the time of training")

# %% [markdown]
# The cosine of every step comes on top: both gradients are needed apart, where training without them needs only their sum.

# %%
pair, shared = pairs[0][0], list(itertools.chain(*network.shared_parameters().values()))


def evaluate(apart: bool) -> None:
    tasks = losses(network, pair, gram, pair.training)
    _ = apart and torch.autograd.grad(tasks["unmixing"], shared, retain_graph=True)
    sum(tasks.values()).backward()


# %%
clock = {"timer": time.process_time, "number": 10}
runs = [timeit.repeat(functools.partial(evaluate, both), **clock) for both in (False, True)]
apart = min(runs[1]) / min(runs[0]) - 1
print(f"Two gradients rather than one: {apart:+.0%} of the time of a gradient")

# %% [markdown]
# ## How far to follow the network
#
# The network corrects lifted abundances. With $v_u$ the error of these, $m$ that of the corrected ones and $c$ the mean product of both errors, Theorem 2.3 has the best weight of the correction, and its share,
#
# $$ \lambda^* = \frac{v_u - c}{m - c}, \qquad \frac{\lambda^*}{1 + \lambda^*} = \frac{v_u - c}{v_u + m - 2 c}. $$
#
# The errors are not known where there is no reference, so that `unmix` takes those of a rehearsal one octave below.
# We try other shares, and see with the reference what would have been best.

# %%
tries = [k / (shares - 1) for k in range(shares)]
tables = [sweep(loaded[name], s, seed, tries, settings, device) for name, s, seed in cases]
swept = pd.concat(tables, ignore_index=True)

# %% [markdown]
# The lower axis is the share, the upper one the weight; the error is relative to that without the network.

# %%
size = (3.3 * len(names), 0.6 + 2.7 * len(scales))
fig, axes = plt.subplots(len(scales), len(names), figsize=size, squeeze=False)
panels = swept.groupby(["scale", "scene"], sort=False)
for ax, ((s, name), part) in zip(axes.flat, panels, strict=True):
    _ = ax.axhline(0, color="0.5", lw=0.8)
    for (k, error), seed in itertools.product(enumerate(("lr", "hr")), range(seeds)):
        line = part[part.seed == seed].set_index("share")
        change = 100 * (line[error] / line[error][0] - 1)
        first = seed == 0
        _ = ax.plot(change, color=f"C{k}", lw=1.2, label=error.upper() if first else None)
        for mark, size, column in (("o", 8, "chosen"), ("*", 6, f"best_{error}")):
            share, label = line[column].iloc[0], column.split("_")[0] if first and k else None
            style = {"ms": size, "mfc": "white", "mec": f"C{k}", "label": label}
            _ = ax.plot(share, change[share], mark, **style)
    top = ax.secondary_xaxis("top")
    top.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "1/3", "1", "3", "$\\infty$"])
    _ = top.set_xlabel("weight $\\lambda$")
    _ = ax.set(title=f"{name}, x{s}", xlabel="share of the correction")
fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
fig.supylabel("error against share 0 (%)")
record.figure(fig, "share")
plt.show()

# %% [markdown]
# Errors of the LR and of the HR abundances after the last solve, lower is better, a line is a seed. Circles mark the share that the rehearsal chose, stars the one that is best for the reference.

# %% [markdown]
# The chosen share beside the best ones, for LR and for HR:

# %%
rows = []
for (s, name, seed), part in swept.groupby(["scale", "scene", "seed"], sort=False):
    first, line = part.iloc[0], part.set_index("share")
    row = {"scene": name, "scale": s, "seed": seed, "trained": first.trained}
    row |= {"chosen": first.chosen, "best LR": first.best_lr, "best HR": first.best_hr}
    for k in ("LR", "HR"):
        error, at = line[k.lower()], {"none": 0, "chosen": first.chosen, "all": 1}
        row |= {f"{k} {share}": error[value] for share, value in at.items()}
        row[f"{k} best"] = error.min()
    rows.append(row)
choice = pd.DataFrame(rows)
choice[["scene", "scale", "seed", "trained", "chosen", "best LR", "best HR"]].round(2)

# %% [markdown]
# Where `trained` is false, the rehearsal gave no share, and `unmix` did not train at all.
# What the choice is worth is the error with the *chosen* share over that with *none* of the correction, with *all* of it, and with the *best* share; in percent, means over seeds:

# %%
mean = choice.groupby(["scale", "scene"], sort=False).mean(numeric_only=True)
over = pd.DataFrame(index=mean.index)
for other, k in itertools.product(("none", "all", "best"), ("LR", "HR")):
    over[f"{k} over {other}"] = 100 * (mean[f"{k} chosen"] / mean[f"{k} {other}"] - 1)
over.round(2)

# %% [markdown]
# Negative is what the choice gains, positive what it costs.
# There are scenes that want all of the correction, and scenes that want hardly any. The rehearsal tells some of them apart, not all, for it measures the step below and not this one. The last solve sees the data again, and forgives most of a wrong choice.

# %% [markdown]
# ## Is guided ever worse than single?
#
# The whole method against the single task: mode `self`, with the chosen share, against mode `single`.

# %%
rows = []
for (name, s, seed), results in fits.items():
    data, row = loaded[name], {"scene": name, "scale": s, "seed": seed}
    for mode, result in results.items():
        order, a_ref = match(result.M, data.M)[0], reference(data)
        row[f"{mode} LR"] = float(armse(result.a[order], degrade(a_ref, s)))
        row[f"{mode} HR"] = float(armse(result.a_hr[order], a_ref))
    row |= {f"ratio {k}": row[f"self {k}"] / row[f"single {k}"] for k in ("LR", "HR")}
    rows.append({**row, "fallback": "share" not in results["self"].history})
guided = pd.DataFrame(rows)
guided.round(4)

# %% [markdown]
# Errors of the abundances, and those of guided over those of single. In a *fallback*, guided is single, and the ratio is one.

# %% [markdown]
# The ratios, case by case:

# %%
ratios = guided.melt(["scene", "scale"], ["ratio LR", "ratio HR"], "error", "ratio")
ratios["case"] = ratios.scene + ", x" + ratios.scale.astype(str)
ratios["error"] = ratios["error"].str.removeprefix("ratio ")
fig, ax = plt.subplots(figsize=(6.4, 0.9 + 0.45 * len(names) * len(scales)))
_ = sns.stripplot(ratios, x="ratio", y="case", hue="error", dodge=True, alpha=0.8, ax=ax)
for at, style in ((1, "-"), (1.01, "--"), (1.05, ":")):
    _ = ax.axvline(at, color="0.5", ls=style, lw=0.8, zorder=0)
_ = ax.set(xlabel="error of guided over error of single", ylabel="")
sns.move_legend(ax, "center left", bbox_to_anchor=(1, 0.5), title=None)
record.figure(fig, "guided")
plt.show()

# %% [markdown]
# Left of the solid line, guided is better; each point is a seed. Broken and dotted lines are at 1 % and 5 % above.

# %% [markdown]
# How much of it is the network's? With none of its correction, what is left is lifting and the last solve. In percent, means over seeds:

# %%
alone = guided.groupby(["scale", "scene"], sort=False).mean(numeric_only=True)
gain = pd.DataFrame(index=alone.index)
for k in ("LR", "HR"):
    gain[f"{k} without network"] = 100 * (mean[f"{k} none"] / alone[f"single {k}"] - 1)
    gain[f"{k} by network"] = over[f"{k} over none"]
gain.round(2)

# %% [markdown]
# Most of the gain is there without training: it comes from HR abundances that have to agree with the image, and from solving for both resolutions at once.

# %% [markdown]
# Every ratio above one is an exception, and is listed. Its cause is the share, if with another one it would have been below, or else what comes without the network: lifting and the last solve.

# %%
exceptions = []
for row, tried in zip(guided.to_dict("records"), choice.to_dict("records"), strict=True):
    for k in ("LR", "HR"):
        if row[f"ratio {k}"] > 1:
            share = tried[f"{k} best"] <= row[f"single {k}"]
            cause = "the share" if share else "lifting and the last solve"
            exception = {key: row[key] for key in ("scene", "scale", "seed")}
            exceptions.append(exception | {"error": k, "ratio": row[f"ratio {k}"], "cause": cause})

# %%
print(len(exceptions), "exceptions among", len(ratios), "ratios")
pd.DataFrame(exceptions, columns=["scene", "scale", "seed", "error", "ratio", "cause"])

# %% [markdown]
# ## What we found

# %%
tables = {"conflict": conflict, "affinity": affinity, "gate": effect, "gain": gain, "over": over}
tables = {k: table.reset_index() for k, table in tables.items()}
tables |= {"layers": sampled, "share": swept, "choice": choice, "guided": guided}
record.numbers({k: table.to_dict("records") for k, table in tables.items()})
record.numbers({"exceptions": exceptions, "recording": recording, "two gradients": apart})
record.numbers({"gradients": against.mean().to_dict()})

# %% [markdown]
# Of the method as a whole:

# %%
by_mean = pd.concat([alone[f"self {k}"] / alone[f"single {k}"] for k in ("LR", "HR")])
claim = "Guided errors are below those of single, on the mean of every scene and scale"
number = f"ratio {by_mean.min():.2f} to {by_mean.max():.2f} (n={seeds})"
record.claim(claim, number=number, holds=by_mean.max() < 1, source="ours")

# %%
close, worst = (ratios.ratio <= 1.01).mean(), ratios.ratio.max()
claim = "In single cases, guided is at most 1 % worse in 90 %, and at most 5 % in the worst"
number = f"{close:.0%}, worst {100 * (worst - 1):+.1f} % (of {len(ratios)})"
record.claim(claim, number=number, holds=bool(close >= 0.9 and worst <= 1.05), source="ours")

# %% [markdown]
# Of the gradients:

# %%
lowest, opposed = against["gated"].min(), (against["sum"] < 0).mean()
number = f"smallest cosine {lowest:.2f}; {opposed:.0%} of plain sums oppose unmixing"
claim = "To first order, the gate never lets the guide raise the unmixing loss (by construction)"
record.claim(claim, number=number, holds=lowest >= 0, source="ours")

# %%
often = conflict.xs(False, level="gated")["conflict"]
number = f"{often.min():.0%} to {often.max():.0%} of steps conflict (n={seeds})"
claim = "On shared parameters the tasks agree more often than not, on every scene and scale"
record.claim(claim, number=number, holds=often.max() < 0.5, source="ours")

# %%
for way, label in ways.items():
    z, (task, other) = affinity[way], label.split(" to ")
    claim = f"{task} guides {other} through shared parameters (mean task affinity > 0)"
    number = f"{z.mean():+.4f} ({z.min():+.4f} to {z.max():+.4f}, n={seeds})"
    record.claim(claim, number=number, holds=z.mean() > 0, source="ours")

# %%
for column, label in (("unmixing", "held-out unmixing loss"), ("hr", "error at HR")):
    claim = f"The gate lowers the {label} of the network on every scene and scale"
    number = f"{effect[column].min():+.2f} % to {effect[column].max():+.2f} % (n={seeds})"
    record.claim(claim, number=number, holds=effect[column].max() < 0, source="ours")

# %% [markdown]
# Of the share:

# %%
span = {}
for other in ("none", "all", "best"):
    values = over.filter(like=other).to_numpy()
    span[other] = values.min(), values.max()
number = {k: f"{low:+.2f} % to {high:+.2f} % (n={seeds})" for k, (low, high) in span.items()}

# %%
claim = "The share chosen from the data is no worse than none, on every scene and scale"
record.claim(claim, number=number["none"], holds=span["none"][1] <= 0, source="ours")
claim = "Taking all of the correction is worse than the chosen share, on some scene and scale"
record.claim(claim, number=number["all"], holds=span["all"][0] < 0, source="ours")
claim = "The chosen share costs at most 1 % against the best one, on every scene and scale"
record.claim(claim, number=number["best"], holds=span["best"][1] <= 1, source="ours")
claim = "The network lowers the errors by 1 % or more beyond lifting and last solve, everywhere"
record.claim(claim, number=number["none"], holds=span["none"][1] <= -1, source="ours")
record.save()

# %% tags=["nbval-check-output"]
print("plain trainings are those of unmix:", same)
print("to first order, the gate protects unmixing:", bool(lowest >= 0))
print("guided is below single on the mean of every scene:", bool(by_mean.max() < 1))

# %% [markdown]
# In the weights that they share, the tasks are strangers: gradients that conflict in a third to a half of the steps, affinities about zero, a gate that changes little.
# What guides are the abundances: those at HR have to agree with the image, and are solved for together with those at LR. What the network adds to that is small, and not always a gain.

# %% [markdown]
# ## Limits
#
# The gate keeps the gradient from opposing unmixing, not the step: the optimiser scales each parameter by the history of its own gradients, and its steps are not short.
# Losses are those of one random pair and orientation at a time, so that a part of the scatter of the cosines is the noise of drawing.
# Task affinity depends on the length of the step; ours is the same for both tasks. A step of some length costs curvature whatever its direction, which is a part of what is below zero.
# The best share is that of a grid, for references that were computed from the images. On real scenes these are no truth.
# The quick profile has one seed, one scale, and fewer steps and restarts than the defaults: of conflicts and affinities it shows the first moments only.
