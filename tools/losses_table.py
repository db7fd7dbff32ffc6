"""Writes the table of the losses in docs/losses.md, from their docstrings: python tools/losses_table.py"""

import re
from pathlib import Path

from xentropy._losses import LOSSES

PAGE = Path(__file__).resolve().parents[1] / "docs" / "losses.md"
BEGIN, END = "<!-- losses, written by `python tools/losses_table.py` -->\n", "<!-- end of the losses -->\n"


def table() -> str:
    lines = ["| `loss=` | object | formula | use, and whether it is convex in a linear model's coefficients | paper |"]
    lines.append("|---|---|---|---|---|")
    for name, loss in LOSSES.items():
        paragraph = re.sub(r":math:`(.*?)`", r"$\1$", " ".join(loss.__doc__.split("\n\n")[0].split()))
        formula, use = re.fullmatch(r".*?: (\$.*?\$)\. (.*)", paragraph).groups()
        papers = ", ".join(re.findall(r"arXiv:[\d.]+\d", loss.__doc__))
        lines.append(f'| `"{name}"` | `{loss()}` | {formula} | {use} | {papers} |')
    return "\n".join(lines) + "\n"


def with_table(page: str) -> str:
    before, rest = page.split(BEGIN)
    return before + BEGIN + "\n" + table() + "\n" + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
