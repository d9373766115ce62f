"""Reports: derivations, explanations and tables as text, Markdown, LaTeX, HTML, CSV and JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from tensorprog.derivation import Derivation
    from tensorprog.explain import Explanation
    from tensorprog.family import Family
    from tensorprog.formula import Formulas
    from tensorprog.phase import PhaseDiagram
    from tensorprog.report.document import Document
    from tensorprog.solve import Solutions
    from tensorprog.stability import StableRates
    from tensorprog.table import Table

    Reportable: TypeAlias = (
        Derivation | Explanation | Family | Formulas | PhaseDiagram | Solutions | StableRates | Table
    )

__all__ = ["derivation_text", "document_of", "explanation_text", "table_text"]

# Renderers are imported where they are used: importing tensorprog costs nothing for output that nobody asks for.


def document_of(value: Reportable, rates: StableRates | None = None) -> Document:
    """What there is to say about a result; ``rates`` are added to a derivation."""
    from tensorprog.derivation import Derivation
    from tensorprog.explain import Explanation
    from tensorprog.family import Family
    from tensorprog.formula import Formulas
    from tensorprog.phase import PhaseDiagram
    from tensorprog.report.derivation import derivation_document, family_document, rates_document
    from tensorprog.report.explanation import explanation_document
    from tensorprog.report.table import table_document
    from tensorprog.solve import Solutions
    from tensorprog.table import Table

    if isinstance(value, Solutions):
        from tensorprog.report.solve import solutions_document

        return solutions_document(value)
    if isinstance(value, Formulas):
        from tensorprog.report.formula import formulas_document

        return formulas_document(value)
    if isinstance(value, PhaseDiagram):
        from tensorprog.report.phase import phase_document

        return phase_document(value)
    if isinstance(value, Derivation):
        return derivation_document(value, rates)
    if isinstance(value, Explanation):
        return explanation_document(value)
    if isinstance(value, Family):
        return family_document(value)
    return table_document(value) if isinstance(value, Table) else rates_document(value)


def derivation_text(d: Derivation) -> str:
    """A derivation as plain text."""
    return _text(d)


def explanation_text(e: Explanation) -> str:
    """The derivation of one exponent as plain text."""
    return _text(e)


def table_text(t: Table) -> str:
    """A table as plain text."""
    return _text(t)


def _text(value: Reportable) -> str:
    from tensorprog.report.text import text

    return text(document_of(value))
