r"""Tests for the smile_core.data module."""

import hashlib
import io
import pooch
import pytest
import requests

from collections.abc import Iterator
from pathlib import Path

from smile_core import data

CONTENT = b"spectra"
SHA256 = "e285cdd85064e369f2a8abef7052b621d9e596b3a29a8aadba8070de08c566c0"


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Path]]:
    r"""Makes one file the only one, its places empty folders, and the network unreachable."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise requests.ConnectionError("no network here")

    folders = {
        "named": tmp_path / "named",
        "shared": tmp_path / "shared" / "data",
        "cache": tmp_path / "cache",
    }
    for folder in folders.values():
        folder.mkdir(parents=True)

    monkeypatch.setenv("SMILE_DATA", str(folders["named"]))
    monkeypatch.setattr(data, "ROOT", tmp_path / "repository")
    monkeypatch.setattr(data, "FILES", {"toy.mat": ("https://host/Toy.mat", SHA256)})
    monkeypatch.setattr(data, "cache", lambda: folders["cache"])
    monkeypatch.setattr(requests, "get", refuse)

    data.downloadable.cache_clear()
    yield folders
    data.downloadable.cache_clear()


def test_find(places: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    assert data.find("toy.mat") is None

    # Each place comes before those that were filled earlier
    for place in ("cache", "shared", "named"):
        path = places[place] / "toy.mat"
        path.write_bytes(CONTENT)
        assert data.find("toy.mat") == path
        assert data.read(path) == CONTENT

    # The variable can be unset, empty, or name no folder
    monkeypatch.delenv("SMILE_DATA")
    assert data.find("toy.mat") == places["shared"] / "toy.mat"
    for value in ("", str(places["named"] / "none")):
        monkeypatch.setenv("SMILE_DATA", value)
        assert data.find("toy.mat") == places["shared"] / "toy.mat"


def test_corrupted(places: dict[str, Path]) -> None:
    path = places["named"] / "toy.mat"
    (places["shared"] / "toy.mat").write_bytes(CONTENT)
    path.write_bytes(CONTENT[:-1])

    # An error, not a reason to look further
    assert data.find("toy.mat") == path
    with pytest.raises(ValueError, match="is corrupted, truncated") as caught:
        data.read(path)
    actual = hashlib.sha256(CONTENT[:-1]).hexdigest()
    for part in (str(path), actual, SHA256, "Delete or replace it", data.HOW_TO_GET):
        assert part in str(caught.value)


def test_unavailable(places: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    retrieve = pooch.retrieve
    monkeypatch.setattr(pooch, "retrieve", lambda *a, **k: (calls.append(a), retrieve(*a, **k))[1])

    # Tried once
    assert not data.downloadable("toy.mat")
    assert not data.downloadable("toy.mat")
    assert len(calls) == 1

    # The message says how to get the data
    with pytest.raises(data.DataUnavailableError, match="no network here") as caught:
        data.download("toy.mat")
    assert data.HOW_TO_GET in str(caught.value)

    # Nothing half-written
    assert not list(places["cache"].iterdir())


def test_download(places: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    served = []

    def downloader(url: str, output_file: str, pooch: object) -> None:
        Path(output_file).write_bytes(served[-1])

    log = io.StringIO()
    monkeypatch.setattr(pooch.get_logger().handlers[0], "stream", log)
    pooch.get_logger().setLevel("INFO")
    monkeypatch.setattr(pooch, "HTTPDownloader", lambda **options: downloader)

    # A truncated download is refused, and leaves nothing
    served.append(CONTENT[:-1])
    with pytest.raises(data.DataUnavailableError, match="hash"):
        data.download("toy.mat")
    assert not list(places["cache"].iterdir())

    # A complete one is kept, so that it is not downloaded again
    served.append(CONTENT)
    assert data.downloadable("toy.mat")
    served.append(b"")
    assert data.download("toy.mat") == places["cache"] / "toy.mat" == data.find("toy.mat")
    assert data.read(places["cache"] / "toy.mat") == CONTENT
    assert [path.name for path in places["cache"].iterdir()] == ["toy.mat"]

    # Silence
    assert log.getvalue() == ""


def test_how_to_get(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the files of the project, not the toy

    for file, (url, sha256) in data.FILES.items():
        assert all(part in data.HOW_TO_GET for part in ("SMILE_DATA", file, url, sha256))
