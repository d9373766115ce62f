"""What the printed figures share: how they look, numbers as they are set, and the line of a predicted slope."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from tensorprog.exponent import Exponent

__all__ = ["DASHED", "FAINT", "GRID", "INK", "STYLE", "horizontal_grid", "through_centre", "typeset"]

INK, FAINT, GRID = "#222222", "#8c8c8c", "#e9e9e9"
DASHED = (0, (4, 2.5))
"""Of predicted slopes."""
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "mathtext.fontset": "stix",
    "pdf.fonttype": 42,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
}


def through_centre(ends: np.ndarray, widths: np.ndarray, means: np.ndarray, exponent: Exponent) -> np.ndarray:
    """The line of a predicted slope at its ends: it has no prefactor of its own and goes through the points' centre."""
    centre, size = np.exp(np.log(widths).mean()), np.exp(np.log(means).mean())
    line: np.ndarray = size * (ends / centre) ** float(exponent.const)
    return line


def horizontal_grid(ax: Axes) -> None:
    """Fine lines behind the data."""
    ax.grid(axis="y", color=GRID, linewidth=0.5)
    ax.set_axisbelow(True)


def typeset(number: str) -> str:
    """A number with its error, with the signs of print."""
    return number.replace("-", "−").replace("±", " ± ")
