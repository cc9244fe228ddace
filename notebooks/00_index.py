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
#     after: [01_quickstart, 02_scenes, 03_relationship, 04_existence, 05_accessibility, 06_network, 07_synthetic, 08_real, 09_guidance, 10_affinity, 11_convergence, 12_ablation, 13_comparison, 14_scaling, 15_your_scene, 16_transfer, 17_uncertainty]
# ---

# %% [markdown]
# # 0. What the paper claims, and where it is checked
#
# **Claim.** Every claim that we check has a notebook, a number and a verdict, and all of them come from one command.
# *Source: ours. The claims of the paper are those of its abstract: its full text was not at hand.*
#
# **Reads** the numbers that the other notebooks wrote to `figures/<profile>`. **Writes** `00_index.json` there.
#
# **Time** a few seconds.

# %% tags=["parameters"]
figures: str = "../figures/quick"  # folder of figures and numbers

# %%
import json
import pandas as pd

from pathlib import Path

from smile_core.record import Record

pd.options.display.max_colwidth = pd.options.display.max_rows = None
record = Record("00_index", figures, seed=0)

# %% [markdown]
# ## The map
#
# | the question, and whose it is | here it is | notebook |
# |---|---|---|
# | SMILE unmixes hyperspectral images | one call on a real scene | 01 quickstart |
# | low resolution is what makes unmixing hard | what bringing down does to scenes | 02 scenes |
# | *relationship* theorem: the tasks share what they look for | endmembers are the same, abundances tied by $D_\rho$; errors travel down | 03 relationship |
# | *existence* theorem: positive guidance | when a guided step helps, and the best weight | 04 existence |
# | *accessibility* theorem: the optimum is reached | a solve with a certificate, and when its optimum is the truth | 05 accessibility |
# | shared and task-specific representations; cross-attention (a summary of the paper) | the network taken apart, and what its branches hold; attention is off by default, for it earns nothing | 06 network, 12 ablation |
# | (ours) under noise, at coarse scales, without pure pixels | one factor at a time on scenes whose truth is known | 07 synthetic |
# | experiments on real scenes show that it is useful | native resolution, against references | 08 real |
# | super-resolution guides unmixing | four modes, LR and HR errors, what training adds | 09 guidance |
# | task affinity | cosines of gradients, the gate, the share of the guide | 10 affinity |
# | convergence | objective, gap and step inequalities on the scenes | 11 convergence |
# | (ours) what each part of the method is worth | the errors without it | 12 ablation |
# | (ours) compared with other methods | the same images and seeds, seven published methods | 13 comparison |
# | (ours) | what it costs, and images larger than memory | 14 scaling |
# | (ours) | your own image, from its path to maps | 15 your scene |
# | (ours) | what carries over to another scene, through a time series | 16 transfer |
# | (ours) | how far a number may be off | 17 uncertainty |
#
# What is not marked is from the abstract. The names of the theorems are the paper's; their statements and proofs are ours.

# %% [markdown]
# ## How data flows
#
# ```text
# scenes --> degradation, mixing --> endmembers ------> network, objective --> accessible --> Unmixing
#  data       D, simplex, solve      archetypes/corners  two tasks, guidance    both tasks     M, a, a_hr, gap
# ```
#
# Notebooks call, the package computes.

# %% [markdown]
# ## Claims, numbers, verdicts
#
# From the last run in the same folder. A notebook that was skipped for want of data, or has not run yet, is missing here.

# %%
rows, runs = [], []
for path in sorted(Path(figures).glob("[0-9][0-9]_*.json")):
    if path.stem == record.name:
        continue
    content = json.loads(path.read_text("utf-8"))
    runs.append({"notebook": content["name"], **content["provenance"]})
    for claim in content["claims"]:
        rows.append({"notebook": content["name"], **claim})
claims = pd.DataFrame(rows, columns=["notebook", "claim", "number", "holds", "source"])
claims

# %% [markdown]
# A claim that does not hold stays in the table: it is a result, too.

# %% [markdown]
# ## Where the numbers come from

# %%
provenance = pd.DataFrame(runs, columns=["notebook", "date", "device", "machine", "seconds"])
provenance

# %% [markdown]
# ## Figures
#
# The first one of each notebook that has one without a further name; all are in its output.

# %%
names = [p.name for p in sorted(Path(figures).glob("[0-9][0-9]_*.png")) if p.stem.count("_") == 1]
print("figures:", ", ".join(names) or "none yet")

# %% [markdown]
# ## What we found

# %%
record.numbers({"claims": len(claims), "holding": int(claims["holds"].sum())})
_ = record.save()
print(f"{int(claims['holds'].sum())} of {len(claims)} claims hold")

# %% tags=["nbval-check-output"]
sources = {"paper (abstract)", "ours", "standard"}
print("every claim says whose it is:", set(claims["source"]) <= sources)

# %% [markdown]
# ## Limits
#
# The paper's own figures are not here: neither its text nor its code was at hand.
