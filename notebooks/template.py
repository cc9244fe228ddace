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
# # NN. A claim with a verb, in one line
#
# **Claim.** What the notebook shows, in one or two sentences.
# *Source: paper (abstract), ours or standard.*
#
# **Reads** the scene Samson (3.7 MB, downloaded once). **Writes** `figures/quick/NN_name*.{png,pdf}` and `NN_name.json`.
#
# **Time** some seconds on a laptop CPU.

# %% tags=["parameters"]
scene: str = "samson"  # scene to unmix
size: int = 32  # rows and columns of the part in the centre
steps: int = 20  # training steps of the network
seed: int = 0  # seed of everything that is random
figures: str = "../figures/quick"  # folder of figures and numbers

# %%
from smile_core import Settings, metrics, plot, scenes
from smile_core.record import Record
from smile_core.studies.experiments import fit, reference

plot.use_style()
record = Record("NN_name", figures, seed=seed)

# %% [markdown]
# ## What we look at
#
# One idea in a section: text, two to six lines of code, text.
# Functions belong in `smile_core`, with a test; choices, numbers and sentences belong here.

# %%
data = scenes.load(scene).crop(size, size)
result = fit(data.image, data.R, seed=seed, settings=Settings(steps=steps))
scores = metrics.score(result.M, result.a, data.M, reference(data))

# %% [markdown]
# The result, before we judge it.

# %%
fig = result.plot()
record.figure(fig)

# %% [markdown]
# What to see in the figure, in the sentence after it: the report makes it the caption.

# %% [markdown]
# ## What we found

# %%
record.numbers({"scores": scores})
record.claim(
    f"{scene}: mean SAD below 0.5 rad",
    number=f"{scores['sad_mean']:.3f} rad",
    holds=scores["sad_mean"] < 0.5,
    source="ours",
)
record.save()

# %% tags=["nbval-check-output"]
print("mean spectral angle below 0.5 rad:", scores["sad_mean"] < 0.5)

# %% [markdown]
# ## Limits
#
# What this does not show.
