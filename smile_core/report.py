r"""The notebooks as one book of HTML pages, to read offline.

    smile report [--profile quick|full]

Where a notebook was executed in the profile, that is the source, otherwise the one that is
committed. Equations become MathML here, which browsers draw by themselves; style and script are in
the pages. An open page asks the network for nothing.

The text after a figure, which says what to see in it, becomes its caption; the heading above says
what it is where the figure cannot be seen.
"""

__all__ = ["make"]

import base64
import html
import json
import nbformat
import os
import re
import shutil
import struct

from collections.abc import Sequence
from latex2mathml.converter import convert
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from pathlib import Path
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from typing import Any

from .bootstrap import ROOT

PACKAGE = Path(__file__).resolve().parent

# By this a report is known
MARK = '<meta name="generator" content="smile_core.report">'

# That of pandas aligns headings apart from their columns
STYLE = re.compile(r"<style scoped>.*?</style>", re.DOTALL)

# Inline equations of more characters may be scrolled on a phone
LONG = 50


def make(profile: str, output: Path | None = None, root: Path = ROOT) -> dict[str, Any]:
    r"""Makes the report, as a whole or not at all.

    Args:
        profile: The profile whose executed notebooks are taken, `quick` or `full`.
        output: The folder of the report, `figures/<profile>/report` if `None`. A report that is
            there is replaced.
        root: The folder that holds `notebooks` and `figures`.

    Returns:
        The path of the first `page`, the number of `pages`, those that were `executed` in the
        profile, and the `bytes`.

    Raises:
        FileExistsError: If the folder holds something else than a report.
        ValueError: If there are no notebooks.
    """
    figures = root / "figures" / profile
    output = figures / "report" if output is None else output
    _check_replaceable(output)
    sources = {path.stem: _source(path, figures) for path in _committed(root)}
    if not sources:
        raise ValueError(f"There are no notebooks NN_name.ipynb in {root / 'notebooks'}.")

    books = {name: nbformat.read(path, as_version=4) for name, path in sources.items()}
    titles = {name: _title(nb) for name, nb in books.items()}
    executed = [name for name, path in sources.items() if path.is_relative_to(figures)]

    new = output.with_name(f".{output.name}.{os.getpid()}")
    (new / "images").mkdir(parents=True)
    try:
        for name, nb in books.items():
            origin = _origin(figures / f"{name}.json" if name in executed else None, profile)
            page = _Page(name, titles, new).render(nb, origin)
            (new / _file(name)).write_text(page, "utf-8")
        size = sum(path.stat().st_size for path in new.rglob("*.*"))
        if output.exists():
            shutil.rmtree(output)
        new.replace(output)
    finally:
        shutil.rmtree(new, ignore_errors=True)

    first = output / _file(next(iter(sources)))
    return {"page": str(first), "pages": len(books), "executed": executed, "bytes": size}


class _Math(IPythonRenderer):
    # Equations, drawn by the browser
    def block_math(self, body: str) -> str:
        return f'<div class="math">{_mathml(body, "block")}</div>'

    def inline_math(self, body: str) -> str:
        kind = "math long" if len(body) > LONG else "math"
        return f'<span class="{kind}">{_mathml(body, "inline")}</span>'


class _Page:
    def __init__(self, name: str, titles: dict[str, str], folder: Path) -> None:
        self.name = name
        self.titles = titles
        self.folder = folder
        self.heading = ""
        self.sections: list[tuple[str, str]] = []
        self.figures = 0

    def render(self, nb: NotebookNode, origin: str) -> str:
        cells = [cell for cell in nb.cells if cell.source.strip()]
        captions = _take_captions(cells)
        body = []
        for cell, caption in zip(cells, captions, strict=True):
            if cell.cell_type == "markdown":
                body.append(self._text(cell.source))
            elif cell.cell_type == "code":
                body.append(highlight(cell.source, PythonLexer(), HtmlFormatter(cssclass="code")))
                last = max((k for k, o in enumerate(cell.outputs) if _is_figure(o)), default=None)
                for k, output in enumerate(cell.outputs):
                    body.append(self._output(output, caption if k == last else ""))

        names = list(self.titles)
        k = names.index(self.name)
        if k == 0:
            body.insert(1, f'<nav class="contents" aria-label="Contents">{self._links()}</nav>')
        near = [("prev", names[k - 1])] if k else []
        near += [("next", names[k + 1])] if k + 1 < len(names) else []

        return _fill(
            (PACKAGE / "report.html").read_text("utf-8"),
            {
                "mark": MARK,
                "title": html.escape(re.sub(r"[$`\\]", "", self.titles[self.name])),
                "style": (PACKAGE / "report.css").read_text("utf-8"),
                "script": (PACKAGE / "report.js").read_text("utf-8"),
                "links": self._links(self.sections),
                "body": "\n".join(body),
                "near": " ".join(
                    f'<a rel="{rel}" href="{_file(name)}">{_inline(self.titles[name])}</a>'
                    for rel, name in near
                ),
                "origin": html.escape(origin),
            },
        )

    def _links(self, sections: Sequence[tuple[str, str]] | None = None) -> str:
        items = []
        for name, title in self.titles.items():
            here = name == self.name and sections is not None
            current = ' aria-current="page"' if here else ""
            items.append(f'<li><a href="{_file(name)}"{current}>{_inline(title)}</a>')
            if here:
                inner = [f'<li><a href="#{anchor}">{text}</a></li>' for anchor, text in sections]
                items.append(f"<ul>{''.join(inner)}</ul>")
            items.append("</li>")

        return f"<ul>{''.join(items)}</ul>"

    def _text(self, source: str) -> str:
        text = _markdown(source)
        for level, heading in re.findall(r"<h([1-6])>(.*?)</h\1>", text):
            self.heading = html.unescape(re.sub(r"<[^>]+>", "", heading))
            anchor = f"section-{len(self.sections) + 1}"
            if level == "2":
                self.sections.append((anchor, heading))
                text = text.replace(f"<h2>{heading}", f'<h2 id="{anchor}">{heading}', 1)

        return self._cross_references(text)

    def _cross_references(self, text: str) -> str:
        numbers = {name[:2]: name for name in self.titles}

        def link(match: re.Match[str]) -> str:
            name = numbers.get(match[2])
            return f'{match[1]}<a href="{_file(name)}">{match[2]}</a>' if name else match[0]

        return re.sub(r"([Nn]otebooks? )(\d\d)\b", link, text)

    def _output(self, output: NotebookNode, caption: str) -> str:
        data = output.get("data", {})
        if _is_figure(output):
            return self._figure(base64.b64decode(data["image/png"]), caption)
        if "text/html" in data:
            return f'<div class="table">{re.sub(STYLE, "", data["text/html"])}</div>'

        text = html.escape(output.get("text", data.get("text/plain", "")).rstrip())
        return f'<pre class="output">{text}</pre>'

    def _figure(self, png: bytes, caption: str) -> str:
        self.figures += 1
        path = f"images/{self.name}-{self.figures}.png"
        (self.folder / path).write_bytes(png)
        width, height = struct.unpack(">II", png[16:24])
        alt = html.escape(f"{self.heading} (figure {self.figures})")
        note = self._cross_references(_inline(caption)) if caption else html.escape(self.heading)

        return (
            f'<figure><a href="{path}"><img src="{path}" width="{width}" height="{height}" '
            f'alt="{alt}"></a><figcaption>Figure {self.figures}. {note}</figcaption></figure>'
        )


def _take_captions(cells: list[NotebookNode]) -> list[str]:
    # The paragraph after a figure goes into its caption
    captions = []
    for cell, after in zip(cells, [*cells[1:], None], strict=True):
        captions.append("")
        if after is None or after.cell_type != "markdown":
            continue
        if not any(map(_is_figure, cell.get("outputs", []))):
            continue
        first, _, rest = after.source.strip().partition("\n\n")
        if re.match(r"#|\||- |\* |\d+\. |>|```|\$\$", first):
            continue

        # A last sentence such as "The same as a table:" belongs to what comes next
        lines = first.splitlines()
        kept = [lines.pop()] if first.endswith(":") else []
        captions[-1] = "\n".join(lines)
        after.source = "\n\n".join([*kept, rest])

    return captions


def _is_figure(output: NotebookNode) -> bool:
    return "image/png" in output.get("data", {})


def _committed(root: Path) -> list[Path]:
    return sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def _source(committed: Path, figures: Path) -> Path:
    # An execution that failed has left no key
    executed = figures / "notebooks" / committed.name
    return executed if executed.exists() and executed.with_suffix(".key").exists() else committed


def _title(nb: NotebookNode) -> str:
    # Such as "# 3. A claim", where "3." would begin a list
    return nb.cells[0].source.splitlines()[0].removeprefix("# ").replace(".", "\\.", 1)


def _file(name: str) -> str:
    return "index.html" if name.startswith("00") else f"{name}.html"


def _origin(record: Path | None, profile: str) -> str:
    if record is None:
        return "The committed notebook, executed in the quick profile."

    origin = f"Executed in the {profile} profile"
    if record.exists():
        run = json.loads(record.read_text("utf-8"))["provenance"]
        origin += f", {run['date'][:10]}, {run['machine']}, {run['device']}"

    return origin + "."


def _markdown(text: str) -> str:
    return MarkdownWithMath(renderer=_Math(escape=False, exclude_anchor_links=True)).render(text)


def _inline(text: str) -> str:
    return re.sub(r"</?p>", "", _markdown(text)).strip()


def _mathml(latex: str, display: str) -> str:
    return convert(latex.strip(), display=display)


def _fill(template: str, values: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)


def _check_replaceable(output: Path) -> None:
    index = output / "index.html"
    ours = index.is_file() and MARK in index.read_text("utf-8", errors="replace")
    if output.exists() and not ours:
        raise FileExistsError(f"The folder '{output}' holds something else than a report.")
