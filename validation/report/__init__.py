"""Reports of a validation: terminal, HTML, Markdown, a pandas frame and a figure.

One file per format; what they say in common is in ``words``, and where the numbers come from in ``provenance``.
"""

from __future__ import annotations

from validation.report.files import write
from validation.report.rows import frame
from validation.report.terminal import renderable, text
from validation.report.words import STYLES, measured

__all__ = ["STYLES", "frame", "measured", "renderable", "text", "write"]
