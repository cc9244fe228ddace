r"""Tests for the smile_core.report module."""

import base64
import nbformat
import pytest
import re
import xml.etree.ElementTree as ET

from html.parser import HTMLParser
from pathlib import Path

pytest.importorskip("latex2mathml", reason="the extra 'report' is not installed")

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from smile_core.bootstrap import ROOT
from smile_core.report import make

# One white pixel
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAG7buVgAAAABJRU5ErkJggg=="
)

# Elements without an end
VOID = {"meta", "link", "img", "br", "hr"}


class Page(HTMLParser):
    r"""What a page holds; raises where elements are not nested."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.images: list[dict[str, str | None]] = []
        self.feed(path.read_text("utf-8"))
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.open += [] if tag in VOID else [tag]
        self.anchors.add(values.get("id") or "")
        self.images += [values] if tag == "img" else []
        self.links += [v for k, v in attrs if k in ("href", "src", "srcset", "action") and v]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def equations(path: Path) -> list[ET.Element]:
    found = re.findall(r"<math .*?</math>", path.read_text("utf-8"), re.DOTALL)
    return [ET.fromstring(text) for text in found]


def tag(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def figure(text: str) -> list[nbformat.NotebookNode]:
    output = new_output("display_data", {"image/png": PNG, "text/plain": "<Figure>"})
    return [new_code_cell("plt.show()", outputs=[output]), new_markdown_cell(text)]


def write(root: Path, name: str, *cells: nbformat.NotebookNode, folder: str = "notebooks") -> Path:
    path = root / folder / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=list(cells)), path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, "00_index", new_markdown_cell("# 0. All of it\n\nSee notebook 01."))
    write(
        tmp_path,
        "01_sun",
        new_markdown_cell(
            r"# 1. The sun is $\frac{a}{b}$ hot" + "\n\n## A & B\n\n$$x_i \\geq 0$$"
        ),
        *figure("Look at the sun.\nIt is *round*.\n\nAnother paragraph."),
        *figure("Look again.\nAnd now:"),
        *figure("## Night"),
        new_code_cell("1 < 2", outputs=[new_output("stream", text="True <&>\n")]),
    )

    return tmp_path


def test_pages(root: Path) -> None:
    summary = make("quick", root=root)
    folder = root / "figures" / "quick" / "report"
    assert summary["page"] == str(folder / "index.html")
    assert summary["pages"] == 2 and summary["executed"] == []
    assert summary["bytes"] == sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())

    # From page to page
    assert '<a href="01_sun.html">01</a>' in (folder / "index.html").read_text("utf-8")
    assert Page(folder / "index.html").links.count("01_sun.html") == 4
    assert "index.html" in Page(folder / "01_sun.html").links
    assert "#section-2" in Page(folder / "01_sun.html").links

    # Figures with what is said about them, which is not said twice
    text = (folder / "01_sun.html").read_text("utf-8")
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", text, re.DOTALL)
    assert captions == [
        "Figure 1. Look at the sun.\nIt is <em>round</em>.",
        "Figure 2. Look again.",
        "Figure 3. A &amp; B",
    ]
    assert text.count("Look at the sun.") == text.count("Look again.") == 1
    assert "<p>Another paragraph.</p>" in text and "<p>And now:</p>" in text

    images = Page(folder / "01_sun.html").images
    assert [image["alt"] for image in images] == [f"A & B (figure {k})" for k in (1, 2, 3)]
    assert {(image["width"], image["height"]) for image in images} == {("1", "1")}
    for image in images:
        assert (folder / str(image["src"])).read_bytes() == base64.b64decode(PNG)

    # Text is text
    assert "True &lt;&amp;&gt;" in text


def test_equations(root: Path) -> None:
    make("quick", root=root)
    page = root / "figures" / "quick" / "report" / "01_sun.html"

    # The title is in two places, and in those that lead to the page
    *titles, display = sorted(equations(page), key=lambda math: math.get("display") == "block")
    assert display.get("display") == "block"
    for math in titles:
        [fraction] = [e for e in math.iter() if tag(e) == "mfrac"]
        assert [child.text or child[0].text for child in fraction] == ["a", "b"]
    [low] = [e for e in display.iter() if tag(e) == "msub"]
    assert [child.text for child in low] == ["x", "i"]
    assert "≥" in [e.text for e in display.iter()]


def test_executed_notebook_comes_first(root: Path) -> None:
    executed = new_markdown_cell("# 1. Executed")
    path = write(root, "01_sun", executed, folder="figures/quick/notebooks")

    # One that failed has left no key
    assert make("quick", root=root)["executed"] == []
    path.with_suffix(".key").write_text("{}")
    assert make("quick", root=root)["executed"] == ["01_sun"]
    assert make("full", root=root)["executed"] == []

    text = (root / "figures" / "quick" / "report" / "01_sun.html").read_text("utf-8")
    assert "Executed in the quick profile." in text


def test_folder(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    output = tmp_path_factory.mktemp("out") / "book"
    make("quick", output, root)

    # A page that is no more
    (root / "notebooks" / "01_sun.ipynb").unlink()
    make("quick", output, root)
    assert sorted(path.name for path in output.iterdir()) == ["images", "index.html"]

    # A failure leaves what was there, and nothing else
    write(root, "01_sun", *figure("Look."), new_code_cell("1"))
    path = root / "notebooks" / "01_sun.ipynb"
    path.write_text(path.read_text("utf-8").replace(PNG, "AAAA"), "utf-8")
    with pytest.raises(Exception, match="unpack requires"):
        make("quick", output, root)
    assert [path.name for path in output.parent.iterdir()] == ["book"]
    assert (output / "index.html").exists()

    # A folder of the user's
    (output / "index.html").write_text("my page")
    with pytest.raises(FileExistsError, match="something else than a report"):
        make("quick", output, root)

    with pytest.raises(ValueError, match="There are no notebooks"):
        make("quick", output / "new", output)


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("report") / "book"
    make("quick", output)
    return output


def test_book_is_whole(book: Path) -> None:
    pages = {path.name: Page(path) for path in book.glob("*.html")}
    assert len(pages) == len(list((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")))
    assert sum(path.stat().st_size for path in book.rglob("*.*")) < 15e6

    # Nothing is fetched, every link leads somewhere
    for name, page in pages.items():
        for link in page.links:
            if link.startswith("https://"):
                continue
            file, _, anchor = link.partition("#")
            assert link == "data:," or (book / (file or name)).is_file(), f"{name}: {link}"
            assert not anchor or anchor in pages[file or name].anchors, f"{name}: {link}"
        text = (book / name).read_text("utf-8")
        assert not re.search(r"(src|srcset|data)=\"?(https?:)?//|@import|url\(", text)

    # Figures can be told apart without being seen
    for page in pages.values():
        texts = [image["alt"] for image in page.images]
        assert all(texts) and len(set(texts)) == len(texts)


def test_book_has_its_equations(book: Path) -> None:
    found = [e for path in book.glob("*.html") for math in equations(path) for e in math.iter()]
    assert sum(tag(e) == "math" for e in found) > 500

    # A command that the converter does not know stays as it is written
    assert [e.text for e in found if "\\" in (e.text or "") and e.text != "\\"] == []

    # No dollar is left over
    for path in book.glob("*.html"):
        text = path.read_text("utf-8")
        text = re.sub(r"<(pre|code|script)\b.*?</\1>", "", text, flags=re.DOTALL)
        assert "$" not in text, path.name
