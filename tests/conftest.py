r"""Set-up of the tests, of the package and of the notebooks alike."""

import os
import pytest

from smile_core.bootstrap import ENVIRONMENT

# Before torch is loaded, here and in the kernels of the notebooks: one thread, the same everywhere
os.environ.update({"OMP_NUM_THREADS": "1", **ENVIRONMENT})

import torch

from nbval.plugin import IPyNbCell

NO_DATA = "no data"


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def threads() -> None:
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    cells = [item for item in items if isinstance(item, IPyNbCell)]

    # Of a checked cell, neither warnings nor the dress of tables are compared
    for notebook in {cell.parent for cell in cells}:
        notebook.skip_compare += ("stderr", "text/html")

    # Of a strict notebook, every cell is checked
    for cell in cells:
        if cell.parent.nb.metadata.get("smile", {}).get("check") == "strict":
            cell.options["check"] = "nbval-ignore-output" not in cell.cell.metadata.get("tags", [])

    # Scenes are named by a mark in tests, by the header in notebooks
    for item in items:
        scenes = [name for mark in item.iter_markers("data") for name in mark.args]
        if isinstance(item, IPyNbCell):
            scenes += item.parent.nb.metadata.get("smile", {}).get("needs", [])
        if lacking := [name for name in scenes if not _available(name)]:
            item.add_marker(pytest.mark.skip(reason=f"{NO_DATA}: {', '.join(lacking)}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = [str(report.longrepr[2]) for report in skipped]
    lacking = sum(reason.startswith(f"Skipped: {NO_DATA}") for reason in reasons)
    terminalreporter.line(f"{lacking} skipped: {NO_DATA}")


def _available(name: str) -> bool:
    from smile_core.scenes import available

    return available(name)
