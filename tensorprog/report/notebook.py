"""Notebook display: results show themselves as HTML, and as LaTeX where a notebook is exported."""

from __future__ import annotations

from typing import Any

__all__ = ["Display"]


class Display:
    """What results share: ``_repr_html_`` and ``_repr_latex_``, through the reports."""

    def _repr_html_(self) -> str:
        from tensorprog.report import document_of
        from tensorprog.report.html import fragment

        value: Any = self
        return fragment(document_of(value))

    def _repr_latex_(self) -> str:
        from tensorprog.report import document_of
        from tensorprog.report.latex import latex

        value: Any = self
        return latex(document_of(value))
