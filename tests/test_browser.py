r"""Tests in a real browser, of the report and of JupyterLab on a notebook.

They need the package playwright and a browser of the system, and are skipped where one is missing.
"""

import nbformat
import os
import pytest
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

from collections.abc import Iterator
from nbformat.v4 import new_code_cell, new_notebook
from pathlib import Path

from smile_core.bootstrap import ROOT

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# Width, height and theme: a phone in the dark and a desktop by day
SCREENS = {"phone": (390, 844, "dark"), "desktop": (1280, 900, "light")}

# The furthest to the right of what is neither scrolled in a box of its own nor hidden
RIGHTMOST = """() => Math.max(...[...document.querySelectorAll("main *")]
    .filter(e => !e.closest("pre, .table, main > table, .math"))
    .map(e => e.getBoundingClientRect().right))"""


@pytest.fixture(scope="module")
def browser() -> Iterator["sync_api.Browser"]:
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)}")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Watch:
    r"""What a page asked for, and what went wrong in it."""

    def __init__(self, page: "sync_api.Page") -> None:
        self.requests: list[str] = []
        self.errors: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on(
            "console",
            lambda message: (
                self.errors.append(message.text) if message.type in ("error", "warning") else None
            ),
        )


# The report


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("latex2mathml", reason="the extra 'report' is not installed")
    from smile_core.report import make

    return Path(make("quick", tmp_path_factory.mktemp("report") / "book")["page"])


@pytest.fixture(params=SCREENS.values(), ids=SCREENS.keys())
def page(browser: "sync_api.Browser", request: pytest.FixtureRequest) -> Iterator["sync_api.Page"]:
    width, height, theme = request.param
    viewport = {"width": width, "height": height}
    context = browser.new_context(viewport=viewport, color_scheme=theme, offline=True)
    yield context.new_page()
    context.close()


def test_report_is_read_offline(page: "sync_api.Page", book: Path) -> None:
    watch = Watch(page)
    width = page.viewport_size["width"]
    for path in sorted(book.parent.glob("*.html")):
        page.goto(path.as_uri())

        # Every figure is there, also those far below
        page.evaluate("document.querySelectorAll('img').forEach(img => img.scrollIntoView())")
        sizes = page.eval_on_selector_all("img", "all => all.map(img => img.naturalWidth)")
        assert all(sizes), path.name

        # Nothing is cut off, or scrolled sideways
        assert page.evaluate("document.documentElement.scrollWidth") == width, path.name
        assert page.evaluate(RIGHTMOST) <= width, path.name

    assert watch.errors == []
    assert [url for url in watch.requests if not url.startswith(("file:", "data:"))] == []


def test_report_draws_equations(page: "sync_api.Page", book: Path) -> None:
    # One for each pair of marks in the text
    text = (ROOT / "notebooks" / "03_relationship.py").read_text("utf-8")
    page.goto((book.parent / "03_relationship.html").as_uri())
    boxes = page.eval_on_selector_all(
        "main math[display=block]", "all => all.map(e => e.getBoundingClientRect().toJSON())"
    )
    assert len(boxes) == text.count("$$") // 2
    assert all(box["width"] > 20 and box["height"] > 15 for box in boxes)

    # Drawn in two dimensions: a numerator is above its denominator, a fraction higher than a line
    top, bottom = page.eval_on_selector_all(
        "main math[display=block] mfrac >> nth=0 >> xpath=*",
        "all => all.map(e => e.getBoundingClientRect().toJSON())",
    )
    assert top["bottom"] <= bottom["top"] + 1
    assert top["left"] < bottom["right"] and bottom["left"] < top["right"]


def test_report_leads_from_page_to_page(page: "sync_api.Page", book: Path) -> None:
    page.goto(book.as_uri())
    menu = page.locator("#menu")
    small = page.viewport_size["width"] < 1000
    assert menu.is_visible() == small

    # By the list of pages, which a phone opens and closes
    if small:
        assert not page.locator("#pages").is_visible()
        menu.click()
    page.locator("#pages a[href='03_relationship.html']").click()
    page.wait_for_url("**/03_relationship.html")
    assert page.locator("h1").inner_text().startswith("3. ")

    # To a section, whose heading is then in sight
    if small:
        menu.click()
    section = page.locator("#pages a[href^='#']").last
    section.click()
    assert page.locator(str(section.get_attribute("href"))).is_visible()
    top = page.locator(str(section.get_attribute("href"))).bounding_box()["y"]
    assert 0 < top < page.viewport_size["height"]

    # To the next page and back
    page.locator("a[rel=next]").click()
    page.wait_for_url("**/04_existence.html")
    page.locator("a[rel=prev]").click()
    page.wait_for_url("**/03_relationship.html")


def test_report_is_dark_and_light(page: "sync_api.Page", book: Path) -> None:
    def brightness() -> float:
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, colour.removeprefix("rgb(").rstrip(")").split(","))) / (3 * 255)

    # As the system has it; then as the reader wants it, on every page
    page.goto(book.as_uri())
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert brightness() < 0.2 if dark else brightness() > 0.8
    page.locator("#theme").click()
    assert brightness() > 0.8 if dark else brightness() < 0.2
    page.goto((book.parent / "01_quickstart.html").as_uri())
    assert brightness() > 0.8 if dark else brightness() < 0.2

    # Without the code, the figures stay
    assert page.locator(".code").first.is_visible()
    page.locator("#code").click()
    assert not page.locator(".code").first.is_visible()
    assert page.locator("figure").first.is_visible()


# JupyterLab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[str]:
    pytest.importorskip("jupyterlab", reason="jupyterlab is not installed")
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]

    # Neither settings of the user nor news from the network
    folders = {f"JUPYTER_{kind}_DIR": tmp_path / kind for kind in ("CONFIG", "DATA", "RUNTIME")}
    folders |= {"JUPYTERLAB_SETTINGS_DIR": tmp_path / "s", "JUPYTERLAB_WORKSPACES_DIR": tmp_path}
    env = {**os.environ, **{key: str(path) for key, path in folders.items()}}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    command += [f"--ServerApp.root_dir={tmp_path}", "--IdentityProvider.token="]
    command += [
        "--LabApp.news_url=",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    log = tmp_path / "lab.log"
    with log.open("w") as file:
        server = subprocess.Popen(command, env=env, stdout=file, stderr=file)
    try:
        url = f"http://localhost:{port}"
        wait_for(url, server, log)
        yield url
    finally:
        server.terminate()
        server.wait(timeout=20)


def wait_for(url: str, server: subprocess.Popen, log: Path) -> None:
    for _ in range(300):
        assert server.poll() is None, log.read_text("utf-8")
        try:
            urllib.request.urlopen(f"{url}/api", timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    pytest.fail(f"JupyterLab did not start.\n{log.read_text('utf-8')}")


@pytest.mark.slow
def test_lab_runs_a_notebook(browser: "sync_api.Browser", lab: str, tmp_path: Path) -> None:
    draw = """
import torch
from smile_core import browse, plot
a = torch.rand(3, 8, 8).softmax(dim=0)
names = ["soil", "tree", "water"]
fig = plot.maps({"drawn": a}, names, convention="share")
"""
    notebook = new_notebook(
        cells=[new_code_cell(draw.strip()), new_code_cell("browse.slider(a, names)")]
    )
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, tmp_path / "small.ipynb")

    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{lab}/lab/tree/small.ipynb", wait_until="commit")
    page.get_by_text("| Idle").wait_for(timeout=60_000)  # a kernel that begins hears nothing
    page.locator(".jp-CodeCell .cm-content").first.click(timeout=60_000)
    page.keyboard.press("Shift+Enter")
    page.keyboard.press("Shift+Enter")

    # The figure is seen
    image = page.locator(".jp-RenderedImage img")
    image.wait_for(timeout=60_000)
    page.wait_for_function("document.querySelector('.jp-RenderedImage img').naturalWidth > 100")
    box = image.bounding_box()
    assert box["width"] > 100 and 0 <= box["y"] < 900

    # The slider shows another map
    picture = page.locator("img.widget-image")
    picture.wait_for(timeout=60_000)
    before = picture.get_attribute("src")
    assert page.get_by_text("soil", exact=True).count() == 1
    page.locator(".noUi-handle").focus()
    page.keyboard.press("ArrowRight")
    page.get_by_text("tree", exact=True).wait_for()
    assert picture.get_attribute("src") != before
    assert page.locator("[data-mime-type*='error'], [data-mime-type*='stderr']").count() == 0
    page.close()
