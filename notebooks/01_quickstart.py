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
#     needs: [samson]
#     fallback: {scene: synthetic}
# ---

# %% [markdown]
# # 1. One call unmixes and super-resolves a real scene
#
# **Claim.** Given an image and a number of materials, and nothing else, `smile_core.unmix` finds the materials, their fractions in every pixel, and fractions and image at twice the resolution.
# *Source: paper (abstract) for the idea; method, code and numbers are ours.*
#
# **Reads** the scene Samson (3.7 MB, downloaded once). **Writes** `figures/quick/01_quickstart*.{png,pdf}` and `01_quickstart.json`.
#
# **Time** under a minute on a laptop CPU.

# %% tags=["parameters"]
scene: str = "samson"  # scene to unmix: samson, jasper or synthetic
scale: int = 2  # how many times finer the super-resolved maps are
steps: int = 100  # training steps of the network
seed: int = 0  # seed of restarts and training
device: str = "auto"  # auto, cpu, cuda or mps
figures: str = "../figures/quick"  # folder of figures and numbers
readme: bool = False  # also write the figure of the README

# %%
import smile_core

from smile_core import metrics, plot, scenes
from smile_core.record import Record
from smile_core.studies.experiments import fit, reference
from smile_core.unmixing import find_device

plot.use_style()
record = Record("01_quickstart", figures, seed=seed, device=find_device(device))

# %% [markdown]
# ## The image
#
# A hyperspectral image has a spectrum of many bands in each pixel.
# A pixel is metres wide, of other sensors tens of metres, so that most pixels mix several materials.

# %%
data = scenes.load(scene)
print(data)

# %% [markdown]
# The reference that comes with the scene is used at the end, to compare with.
# The method does not see it.

# %%
print(data.source)

# %% [markdown]
# ## One call
#
# `fit` is `smile_core.unmix` with a cache on disk: the same call in another notebook costs nothing.
# In mode `self` the network has only the image to learn from. It is trained to super-resolve the image brought down, whose answer is the image.
# How far to trust it is rehearsed one octave below, where the answer is known.

# %%
settings = smile_core.Settings(steps=steps)
result = fit(data.image, data.R, scale=scale, seed=seed, device=device, settings=settings)
result

# %% [markdown]
# ## What comes back
#
# Endmembers, abundances at the resolution of the image, and abundances at twice that resolution.
# The convention says what a number means: with `share`, an abundance is the part of a pixel's light that comes from a material.

# %%
fig = result.plot()
record.figure(fig, "result")

# %% [markdown]
# Look at the borders between materials: the HR maps in the last row are sharper, and their block means are the LR maps above.

# %% [markdown]
# ## Against the reference
#
# The order of the endmembers is arbitrary.
# They are matched to the reference by the smallest sum of spectral angles, and the maps follow.

# %%
scores = metrics.score(result.M, result.a, data.M, reference(data))
permutation = scores["permutation"]
print("spectral angles (rad):", [round(v, 3) for v in scores["sad"]])
print("abundance errors (RMSE):", [round(v, 3) for v in scores["armse_per_endmember"]])

# %%
a_hr = result.a_hr[permutation]
rows = {"reference": reference(data), "SMILE": result.a[permutation], f"SMILE, x{scale}": a_hr}
errors = result.a[permutation] - reference(data)
fig = plot.maps(rows, data.materials, convention=result.convention, errors=errors)
record.figure(fig)
if readme:
    fig.savefig("../figures/readme.png", dpi=100, metadata={"Software": None})

# %% [markdown]
# The first two rows should look alike; the last row shows where they differ, on a scale of its own.
# The super-resolved maps have no reference here: notebook 09 brings the scene down first, so that there is one.

# %%
sets = {"reference": data.M, "SMILE": result.M[:, permutation]}
fig = plot.spectra(data.wavelengths, sets, data.materials)
record.figure(fig, "spectra")

# %% [markdown]
# Dashed is the reference. The endmembers are mixtures of pixels of the image, found without it.

# %% [markdown]
# ## The certificate
#
# The last stage solves for the abundances once more: near those of the network, they are to explain the image at both resolutions.
# Given the endmembers this is a convex problem, and the Frank-Wolfe gap bounds how far a solution is from the best one, without knowing it.

# %%
certificate = float(result.gap.max())
print(f"largest gap of a pixel, relative to its energy: {certificate:.0e}")

# %% [markdown]
# ## Training
#
# How much of the network's correction is taken, the rehearsal one octave below tells. Where there is nothing to gain, the share is zero, and no network is trained.

# %%
share = result.history.get("share", [0.0])[0]
print(f"share of the network's correction: {share:.2f}")

# %% [markdown]
# Each point is a restart of the endmember search; the marked one was taken. If a network was trained, its losses are on the left.
# The held-out loss is that of tiles which training has not seen; it is watched, and chooses nothing.

# %%
fig = plot.training(result.history)
record.figure(fig, "training")

# %% [markdown]
# Losses are chords between unit spectra, close to angles in radians; they zigzag because each step draws one of four grids and eight orientations.
# What remains of the SR loss is what no mixture of these endmembers explains, and what cannot be foreseen.

# %% [markdown]
# ## What we found

# %%
record.numbers({"scores": scores, "gap": certificate, "seconds": result.seconds})
record.claim(
    f"{scene}: SAD and aRMSE below 0.05 from the image alone",
    number=f"SAD {scores['sad_mean']:.3f} rad, aRMSE {scores['armse']:.3f}",
    holds=scores["sad_mean"] < 0.05 and scores["armse"] < 0.05,
    source="ours",
)
record.claim(
    "The abundances are at the optimum of their objective, within 1e-6 of the energy of a pixel",
    number=f"gap {certificate:.0e}",
    holds=certificate < 1e-6,
    source="ours",
)
record.save()

# %% tags=["nbval-check-output"]
print("mean spectral angle below 0.05 rad:", scores["sad_mean"] < 0.05)
print("abundance RMSE below 0.05:", scores["armse"] < 0.05)
print("abundances certified:", certificate < 1e-6)
print("abundances sum to one:", bool((result.a_hr.sum(dim=0) - 1).abs().max() < 1e-5))

# %% [markdown]
# ## Limits
#
# One scene and one seed. Where the share of the network is zero, what is shown here is the work of endmember search, lifting and solve.
# The reference of a real scene is itself computed from the image; small differences to it mean little.
# Notebook 08 has more scenes, notebook 09 what super-resolution brings.
