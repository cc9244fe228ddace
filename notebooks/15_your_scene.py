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
#     needs: [samson, dc1]
#     fallback: {scene: synthetic, known: synthetic}
# ---

# %% [markdown]
# # 15. Your own scene goes in as a file, and comes out as maps that keep their place
#
# **Claim.** From the path of an image alone, the bands worth it are chosen, the image is unmixed, endmembers get names from a spectral library, and maps and spectra are written for other programs to read.
# *Source: ours. The paper (abstract) says nothing of files.*
#
# **Reads** the image named below: ENVI, GeoTIFF (EnMAP's included), NetCDF and HDF5 (EMIT, PRISMA and others), MATLAB or NumPy. Without one, it writes a stand-in of the scene Samson first. Also the scene DC1, whose materials are known, and the library it was made of. **Writes** maps and spectra to the folder `output`, `figures/quick/15_your_scene*.{png,pdf}` and `15_your_scene.json`.
#
# **Time** 30 s on a laptop CPU for 64 x 64 pixels and 156 bands.

# %% [markdown]
# Change `path` and `endmembers`, and run all cells.
# Begin with a part of a large image: `size` pixels around its centre.

# %% tags=["parameters"]
path: str = ""  # image, such as scene.hdr, scene.tif, scene.nc; if empty, a stand-in
variable: str = ""  # its name, where a file of MATLAB, NumPy or HDF5 holds several images
endmembers: int = 3  # number of materials to look for
size: int = 64  # rows and columns to unmix, around the centre; 0 for all
scale: int = 2  # how many times finer the super-resolved maps are
library: str = "earthlib"  # spectra to name materials by: earthlib, usgs, or .sli, .csv
output: str = "../figures/quick/your_scene"  # folder of the maps and spectra
steps: int = 50  # training steps of the network
seed: int = 0  # seed of restarts and training
device: str = "auto"  # auto, cpu, cuda or mps
scene: str = "samson"  # what the stand-in shows: samson, jasper, dc1, cuprite or synthetic
known: str = "dc1"  # scene whose materials are known, dc1 or synthetic, to check names on
figures: str = "../figures/quick"  # folder of figures and numbers

# %%
import matplotlib.pyplot as plt
import numpy as np
import spectral.io.envi as envi

from pathlib import Path

from smile_core import Settings, plot, scenes
from smile_core.files.image import WATER_VAPOUR, prepare
from smile_core.files.library import name_endmembers, read_library
from smile_core.files.writing import write_maps, write_spectra
from smile_core.record import Record
from smile_core.studies.experiments import fit
from smile_core.unmixing import find_device

plot.use_style()
record = Record("15_your_scene", figures, seed=seed, device=find_device(device))
folder = Path(output)
folder.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## The file
#
# A file of a sensor holds whole numbers, a factor that makes them reflectance, the wavelengths of its bands, and where it lies on the map.
# The stand-in is written by another library, `spectral`, as ENVI has it; its place in California is made up.

# %%
if not path:
    shown = scenes.load(scene)
    fields = {
        "wavelength": shown.wavelengths.tolist(),
        "wavelength units": "Nanometers",
        "reflectance scale factor": 10000,
        "map info": ["UTM", 1, 1, 612730.0, 4074488.0, 3, 3, 10, "North", "WGS-84"],
    }
    numbers = np.rint(1e4 * shown.image.movedim(0, -1).numpy()).astype(np.int16)
    envi.save_image(str(folder / "scene.hdr"), numbers, metadata=fields, force=True)

# %% [markdown]
# `open_image` reads what the header says, and leaves the pixels where they are.

# %%
image = scenes.open_image(path or folder / "scene.hdr", variable=variable or None)
print(image)

# %% [markdown]
# `prepare` then reads what is worth it. Left out are bands that the file marks as bad, those in which water vapour lets no light through, and those that are empty.
# Pixels without data become zero, and `unmix` passes them over.

# %%
if size:
    image = image.crop(*(min(size, n) for n in image.pixels.shape[1:]))
prepared = prepare(image)
print(prepared.message)

# %% [markdown]
# ## A look at it
#
# Before any method, eyes: is this the right part, are the bands in order, is there light in them?

# %%
nm = np.arange(1, len(image.pixels) + 1) if image.wavelengths is None else image.wavelengths
used = nm[prepared.bands]
alive = prepared.cube[:, prepared.cube.sum(dim=0) > 0]
low, middle, high = np.quantile(alive, [0.05, 0.5, 0.95], axis=1)
steps_between = np.diff(used)
gaps = np.flatnonzero(steps_between > 1.5 * np.median(steps_between)) + 1
x, *lines = (np.insert(v, gaps, np.nan) for v in (used.astype(float), low, middle, high))

# %% [markdown]
# In the figure, a line is broken where bands are left out, and grey are the windows of water vapour, if the sensor sees that far.

# %%
fig, (left, axis) = plt.subplots(1, 2, figsize=(7.5, 2.8), width_ratios=[1, 1.8])
plot.image(left, prepared.rgb, image.path.name)
_ = axis.fill_between(x, lines[0], lines[2], alpha=0.3, lw=0, label="9 of 10 pixels")
_ = axis.plot(x, lines[1], label="median")
for start, end in WATER_VAPOUR if image.wavelengths is not None else ():
    if nm.min() < end and start < nm.max():
        _ = axis.axvspan(start, min(end, nm.max()), color="0.9", lw=0)
_ = axis.set(xlabel="band" if image.wavelengths is None else "wavelength (nm)")
_ = axis.set(ylabel="value, scaled", ylim=(0, None))
_ = axis.legend()
record.figure(fig, "look")
plt.show()

# %% [markdown]
# On the left, the part of the image that is unmixed, in natural colours where its bands see them.
# On the right, its spectra.
# A single band that sticks out here is one to mark as bad in the file.

# %% [markdown]
# ## Unmixing
#
# One call, as in notebook 01.

# %%
options = {"seed": seed, "device": device, "settings": Settings(steps=steps)}
result = fit(prepared.cube, endmembers, scale=scale, **options)
result

# %% [markdown]
# ## What is it?
#
# Each endmember is compared with every spectrum of the library, by their angle: brightness does not count.
# Bands that one of them lacks are left out.

# %%
names = [f"{k + 1} unknown" for k in range(endmembers)]
spectra = read_library(library)
print(spectra)
if prepared.wavelengths is not None:
    nearest = name_endmembers(result.M, prepared.wavelengths, spectra)
    first = nearest[nearest["rank"] == 1].set_index("endmember")
    for k, row in first[first.angle < 0.1].iterrows():
        names[k - 1] = f"{k} {row['name'].split()[0]}"
    record.numbers({"nearest": nearest.to_dict("records")})
    print(nearest.round(3).to_string(index=False))

# %% [markdown]
# Below 0.1 rad we take the name of the nearest spectrum; above, the library has nothing like it, whatever is nearest, and the endmember stays unknown.
# Names of `earthlib` begin with the kind of material; where three spectra of one kind are nearest, the kind is rather sure, and the specimen is not.

# %%
if prepared.wavelengths is not None:
    fig, axes = plt.subplots(1, endmembers, figsize=(8, 2.5), squeeze=False)
    for ax, m, name, row in zip(axes[0], result.M.T, names, first.itertuples(), strict=True):
        z = spectra.spectra[:, spectra.names.index(row.name)]
        at = np.interp(used, spectra.wavelengths, z)
        inside = (spectra.wavelengths >= used.min()) & (spectra.wavelengths <= used.max())
        gain = float(m.numpy() @ at / (at @ at))
        _ = ax.plot(spectra.wavelengths[inside], gain * z[inside], "k--", label="library")
        _ = ax.plot(x, np.insert(m.numpy(), gaps, np.nan), label="endmember")
        _ = ax.set(title=f"{name}, {row.angle:.2f} rad", ylim=(0, None))
    _ = axes[0, 0].set_ylabel("spectrum")
    fig.supxlabel("wavelength (nm)")
    fig.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    record.figure(fig, "spectra")
    plt.show()

# %% [markdown]
# Dashed is the nearest spectrum, scaled to the endmember.
# Where the two part, the endmember is another material, or one with other light, water or grain size than the specimen had.

# %% [markdown]
# ## Are such names right?
#
# On a scene whose materials are known, we can tell.
# DC1 is made of five spectra of a library of 498, with noise; the synthetic scene of spectra of `earthlib`.
# We find the endmembers in the image alone, and ask that library.

# %%
truth = scenes.load(known)
alone = fit(truth.image, truth.R, mode="single", seed=seed, device=device)
source = read_library("usgs" if known == "dc1" else "earthlib")
table = name_endmembers(alone.M, truth.wavelengths, source, n=1)
print("materials:", ", ".join(truth.materials))
print(table.round(3).to_string(index=False))

# %%
kinds = [material.partition(" (")[0] for material in truth.materials]
right = sum(any(name.lower().startswith(kind) for name in table.name) for kind in kinds)
print(f"{right} of {truth.R} materials are named")

# %% [markdown]
# Here the library has the very spectra, and pixels of one material alone. That is as good as it gets.

# %% [markdown]
# ## Maps

# %%
rows = {"LR": result.a, f"HR, x{scale}": result.a_hr}
fig = plot.maps(rows, names, convention=result.convention)
record.figure(fig)

# %% [markdown]
# Yellow is all of a pixel, dark is none.
# The upper row has the pixels of the image, the lower one those that are finer by the scale.

# %% [markdown]
# ## Files to take away
#
# GeoTIFF and ENVI for maps, a table and a library of ENVI for spectra, bands named after the endmembers.
# Pixels of the maps are smaller by the scale; their upper-left corner is that of the image.

# %%
tiff = write_maps(folder / "abundances.tif", result, image, names)
header = write_maps(folder / "abundances.hdr", result, image, names)
_ = write_spectra(folder / "endmembers.csv", result.M, image, prepared.bands, names)
_ = write_spectra(folder / "endmembers.sli", result.M, image, prepared.bands, names)
for file in sorted(folder.glob("[ae]*.*")):
    print(file.name)

# %% [markdown]
# We read them back, to be sure, and compare with what was written: numbers, place and names.

# %%
again = [scenes.open_image(file) for file in (tiff, header)]
for written in again:
    print(written)

# %% [markdown]
# Dead pixels, of which the image has none or some, are no data in the maps.

# %%
maps = np.stack([written.pixels for written in again])
off = float(np.abs(np.where(maps < 0, 0, maps - result.a_hr.numpy())).max())
places = [None if written.place is None else written.place.transform for written in again]
expected = None if image.place is None else image.place.finer(scale).transform
kept = all(place == expected or np.allclose(place, expected) for place in places)
named = all(written.names == tuple(names) for written in again)

# %% [markdown]
# ## What we found

# %%
unknown = sum(name.endswith("unknown") for name in names)
record.numbers({"bands": len(prepared.bands), "off": off, "names": names})
record.claim(
    "Maps come back from GeoTIFF and ENVI as they were, with their place and names",
    number=f"off by {off:.0e}",
    holds=off == 0 and kept and named,
    source="ours",
)
record.claim(
    f"Materials of {known} are named right from the image and the library it was made of",
    number=f"{right} of {truth.R}",
    holds=right == truth.R,
    source="ours",
)
record.claim(
    f"Every endmember has a spectrum of the library {library} within 0.1 rad",
    number=f"{endmembers - unknown} of {endmembers}",
    holds=unknown == 0,
    source="ours",
)
record.save()

# %% tags=["nbval-check-output"]
print("maps come back as they were:", off == 0)
print("their place is kept:", kept)
print("bands are named after endmembers:", named)
print("known materials are named right:", right == truth.R)

# %% [markdown]
# ## Limits
#
# The number of endmembers is a guess of yours: try one more and one less, and look at the maps.
# Names are hints. Libraries hold what somebody measured: few have water or shadow, and endmembers of a scene carry its haze and its mixtures.
# Spectra of a library are interpolated to the bands of the image, and not convolved with their widths.
# Images of EMIT come as the sensor saw them, off the map; their maps have no place, until they are orthorectified by the tables in their file.
# Where the two spectrometers of PRISMA overlap, bands of both are kept.
