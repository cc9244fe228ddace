r"""Files of the real scenes: found, verified, downloaded.

A file is looked for in the folder named by the environment variable ``SMILE_DATA``, in
``../shared/data`` beside the repository, and in the user's download cache. The first one found is
used, and must have the right checksum; one found nowhere is downloaded into the cache.
``data/README.md`` has sources, licences and layouts.
"""

__all__ = [
    "FILES",
    "HOW_TO_GET",
    "DataUnavailableError",
    "cache",
    "download",
    "downloadable",
    "find",
    "read",
]

import functools
import hashlib
import os
import platformdirs

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

#: The address, pinned to a commit, and the SHA-256 of each file.
FILES = {
    "samson.mat": (
        "https://raw.githubusercontent.com/burknipalsson/hu_autoencoders/"
        "8fa704ef8a82cf7f03981392204fe8cd872b0ccf/Datasets/Samson.mat",
        "49530e80d0dabf6b1fb9cde2d6cf257f89a344afe9c13b2cc912eb22f344de18",
    ),
    "jasper.mat": (
        "https://raw.githubusercontent.com/UPCGIT/Hyperspectral-Unmixing-Models/"
        "3ec77a26ce726c2843b4e29070b435056941df39/Datasets/Jasper.mat",
        "834a3ef14426140bd76f5731755e9338e98ce18e4816b552533ab288b3799468",
    ),
    "dc1_Yclean.mat": (
        "https://raw.githubusercontent.com/BehnoodRasti/SUnCNN/"
        "1c35015ffa204b6795d03fef239f187e1aede09a/Data/DC1/Y_clean.mat",
        "c28230d26616a0b0e2f9934d2efa18266033a1c807f1e7a89f6237db9758dcaa",
    ),
    "dc1_abundance240.mat": (
        "https://raw.githubusercontent.com/BehnoodRasti/SUnCNN/"
        "1c35015ffa204b6795d03fef239f187e1aede09a/Data/DC1/XT.mat",
        "2ae49874b71aa3166643e73bac44c789eb57c9cbc9958b4a9cf24198ea9484aa",
    ),
    "library_usgs1995.mat": (
        "https://raw.githubusercontent.com/ricardoborsoi/MUA_SparseUnmixing/"
        "089f5d61162807a5304759e293b132ed9d0d6ab4/USGS_1995_Library.mat",
        "fe2be84e4da2abf6ab00091b36f30a1a8dd247d18a78146f61235c8b5229da63",
    ),
    "cuprite_crop50x90x188.mat": (
        "https://raw.githubusercontent.com/LinaZhuang/NMF-QMV_demo/"
        "571b93010acc6fbd10aff3f3fe07b1172f2eeb09/Rcuprite50x90x188.mat",
        "755772e67f6dd58d5bbcb650007f8e22198b46b27c7afcfe74f84b1d8abfc73a",
    ),
    "cuprite_gt_end12.mat": (
        "https://raw.githubusercontent.com/Alex-CruzG/NEBEAE/"
        "b64034da343151002f21a3bcb263e83505f10170/groundTruth_Cuprite_nEnd12.mat",
        "011be17bb753b7d608745d5130fbb1bf326a6cb984421207ef72091fc7a33503",
    ),
}

#: What to tell a user who lacks them.
HOW_TO_GET = "\n".join(
    [
        "The real scenes are not part of this repository: they are downloaded on first use. Where",
        "no download is possible, get these files elsewhere, name them as below, and set the",
        "environment variable SMILE_DATA to the folder that holds them.",
        *(f"  {file}: {url}\n    SHA-256 {sha256}" for file, (url, sha256) in FILES.items()),
    ]
)


class DataUnavailableError(RuntimeError):
    r"""Raised when the file of a scene is found nowhere and cannot be downloaded."""


def cache() -> Path:
    r"""Returns the user's cache folder for this project, which may not exist yet."""
    return Path(platformdirs.user_cache_dir("smile"))


def find(file: str) -> Path | None:
    r"""Finds a file in the folders where it may lie, without a look inside.

    Args:
        file: The name of the file.

    Returns:
        The path, or `None` where no folder has it.
    """
    folders = [ROOT.parent / "shared" / "data", cache()]
    if os.environ.get("SMILE_DATA"):
        folders.insert(0, Path(os.environ["SMILE_DATA"]).expanduser())

    return next((folder / file for folder in folders if (folder / file).is_file()), None)


def read(path: Path) -> bytes:
    r"""Reads a file and verifies its checksum.

    Args:
        path: The path of the file, whose name is one of `FILES`.

    Returns:
        The content.

    Raises:
        ValueError: If the checksum is not the expected one.
    """
    content = path.read_bytes()
    actual, expected = hashlib.sha256(content).hexdigest(), FILES[path.name][1]
    if actual != expected:
        raise ValueError(
            f"The file {path} is corrupted, truncated or not the right one: its SHA-256 should "
            f"be {expected}, got {actual}. Delete or replace it.\n{HOW_TO_GET}"
        )

    return content


def download(file: str) -> Path:
    r"""Downloads a file into the user's cache, as a whole or not at all.

    Args:
        file: The name of the file, one of `FILES`.

    Returns:
        The path in the cache.

    Raises:
        DataUnavailableError: If that fails; the message says how to get the file otherwise.
    """
    import pooch  # loads progress bars, which complain in a notebook

    url, sha256 = FILES[file]
    # Notebooks write nothing on stderr
    pooch.get_logger().setLevel("WARNING")
    try:
        # The file gets its name only once complete, its checksum verified
        path = pooch.retrieve(
            url,
            known_hash=f"sha256:{sha256}",
            fname=file,
            path=cache(),
            downloader=pooch.HTTPDownloader(timeout=(5, 30)),
        )
    except (OSError, ValueError) as error:
        raise DataUnavailableError(
            f"The file {file} was found in no folder, and its download failed: {error}\n"
            f"{HOW_TO_GET}"
        ) from error

    return Path(path)


@functools.cache
def downloadable(file: str) -> bool:
    r"""Tells whether a file can be downloaded, by doing so, once in the life of the process.

    Args:
        file: The name of the file, one of `FILES`.
    """
    try:
        download(file)
    except DataUnavailableError:
        return False

    return True
