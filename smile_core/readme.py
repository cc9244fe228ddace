r"""What was found, in the README, from the numbers of the full profile.

    python -m smile_core.readme

No number of the README is typed: this writes them between two marks, and a test holds them to the
files.
"""

__all__ = ["main", "table"]

import json
import sys

from collections import Counter
from pathlib import Path

from .bootstrap import ROOT
from .record import replacing

BEGIN = "<!-- claims: written by `python -m smile_core.readme` from figures/full -->\n"
END = "<!-- end of claims -->\n"


def table(root: Path) -> str:
    r"""Makes the table of the notebooks and the list of the claims that do not hold, in Markdown.

    Args:
        root: The folder of `notebooks`, for their titles, and of `figures/full`, for their
            numbers, `NN_name.json`.
    """
    rows, lost, runs, sources = [], [], {}, Counter()
    for path in sorted((root / "figures" / "full").glob("[0-9][0-9]_*.json")):
        content = json.loads(path.read_text("utf-8"))
        run, name, claims = content["provenance"], content["name"], content["claims"]
        if name.startswith("00"):
            continue

        link = f"[{name[:2]}](notebooks/{name}.ipynb)"
        held = sum(claim["holds"] for claim in claims)
        sources.update(claim["source"] for claim in claims)
        # What counts most comes first
        first = f"{claims[0]['claim']}: {claims[0]['number']}" if claims else ""
        first += " **(does not hold)**" if claims and not claims[0]["holds"] else ""
        cells = [link, _title(root, name), first, f"{held} of {len(claims)}"]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lost += [f"- {link}: {c['claim']}: **{c['number']}**" for c in claims if not c["holds"]]

        commit = (run["commit"] or "none")[:7] + (" with changes" if run["dirty"] else "")
        where = f"{run['date'][:10]}, {run['machine']}, {run['device']}, commit {commit}"
        runs.setdefault(where, []).append(name[:2])

    lines = [
        "",
        "| | notebook | its first claim, measured | hold |",
        "|---|---|---|---|",
    ]
    lines += [
        *rows,
        "",
        f"Of {sources.total()} claims, these {len(lost)} do not hold:",
        "",
        *lost,
        "",
    ]
    told = "; ".join(f"{where} ({', '.join(names)})" for where, names in sorted(runs.items()))
    whose = ", ".join(f"{source} {number}" for source, number in sources.most_common())
    lines += [f"Whose the claims are: {whose}. Full profile: {told}.", ""]

    return "\n".join(lines) + "\n"


def main(root: Path = ROOT) -> int:
    r"""Writes the table to the README.

    Args:
        root: The folder of the README and the figures.

    Returns:
        The exit status: 1 where the README has lost its marks.
    """
    readme = root / "README.md"
    text = readme.read_text("utf-8")
    if BEGIN not in text or END not in text:
        print(f"{readme} should hold the lines\n{BEGIN}{END}", file=sys.stderr)
        return 1

    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    with replacing(readme) as path:
        path.write_text(before + BEGIN + table(root) + END + after, "utf-8")

    return 0


def _title(root: Path, name: str) -> str:
    lines = (root / "notebooks" / f"{name}.py").read_text("utf-8").splitlines()
    heading = next(line for line in lines if line.startswith("# # "))

    return heading.split(". ", 1)[1]


if __name__ == "__main__":
    sys.exit(main())
