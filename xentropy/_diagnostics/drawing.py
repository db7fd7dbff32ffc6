"""Axes, colours and labels for all displays. matplotlib is imported only when something is drawn."""

from __future__ import annotations

from typing import Any

from .scored import short_name

# Okabe & Ito (2008), Color universal design: these colours can be distinguished with any colour vision.
BLUE, VERMILION, GREEN, ORANGE, PURPLE = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7"
CURVES = (BLUE, VERMILION, GREEN, ORANGE, PURPLE)
GREY, PALE = "#595959", "#D0D0D0"


def axes_for(ax, caller: str, size: tuple[float, float]):
    """The figure and axes to draw on. They are new if `ax` is None."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(f"{caller} draws with matplotlib: pip install 'xentropy[plot]'") from error
    if ax is not None:
        return ax.figure, ax
    return pyplot.subplots(figsize=size, layout="constrained")


def tidy(ax, *, grid: str | None) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_axisbelow(True)
    if grid:
        ax.grid(axis=grid, color=PALE, linewidth=0.6)


def count_lines(ax, gid: str) -> int:
    """The number of lines of this kind in the axes, which selects the colour of the next curve."""
    return sum(line.get_gid() == gid for line in ax.get_lines())


def as_label(name: Any) -> str:
    """A name as a label, in which a dollar sign does not start a formula."""
    return short_name(str(name)).replace("$", r"\$")
