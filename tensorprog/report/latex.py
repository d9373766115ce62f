"""LaTeX: booktabs tables with exponents in math mode, ready to paste; plain ASCII, every special character escaped."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tensorprog.exponent import Exponent
from tensorprog.report.document import Bullets, Cell, Document, Facts, Grid, Paragraph, Steps

__all__ = ["latex"]

SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"$\sim$",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$|$",
    "*": r"$\ast$",
}

# Formulas that texts contain: products with weights, powers of n, orders, relations, negative numbers, variables.
FORMULA = re.compile(
    r"(?P<product>\(W_\w - W_0\) x_\w|W_0 \(x_\w - x_0\))"
    r"|n\^\((?P<power>[^()]*)\)|(?P<plain>n\^[er])\b|Theta\((?P<order>[^()]*)\)"
    r"|(?P<relation><=|>=|<-)|(?P<infinite>-oo)|(?<![\w.)\]])(?P<number>-\d+(?:/\d+)?)"
    r"|(?<![\w(.,])(?P<name>[ner]|[hxW]_[t0-9])(?![\w(])"
)
RELATIONS = {"<=": r"$\le$", ">=": r"$\ge$", "<-": r"$\leftarrow$"}


def latex(document: Document) -> str:
    """A document as LaTeX; ``\\usepackage{booktabs}`` is all that it needs."""
    blocks: list[str] = []
    grids = [b for b in document.blocks if isinstance(b, Grid)]
    alone = len(grids) == len(document.blocks) == 1
    if not alone and document.title:
        blocks.append(rf"\paragraph{{{inline(document.title)}}}")
    for block in document.blocks:
        match block:
            case Paragraph(body):
                blocks.append(inline(body) + "\n")
            case Facts(facts):
                pairs = [(f.name, "; ".join((f.value, *f.support))) for f in facts]
                blocks.append(_list("description", [f"[{inline(name)}] {inline(value)}" for name, value in pairs]))
            case Grid():
                blocks.append("\n".join(_grid(block, document.title if alone else "")))
            case Bullets(title, items, numbered):
                kind = "enumerate" if numbered else "itemize"
                blocks.append(rf"\textbf{{{inline(title)}}}" + "\n" + _list(kind, [inline(item) for item in items]))
            case Steps(title, steps):
                lines = [
                    f"[{inline(s.size)}] " + r" \\ ".join((rf"\texttt{{{escape(s.text)}}}", *map(inline, s.notes)))
                    for s in steps
                ]
                blocks.append(rf"\textbf{{{inline(title)}}}" + "\n" + _list("description", lines))
    return "\n".join(blocks)


def escape(text: str) -> str:
    """Text with every special character escaped."""
    return "".join(SPECIAL.get(ch, ch) for ch in text)


def inline(text: str) -> str:
    """Running text: formulas in math mode, everything else escaped."""
    parts, at = [], 0
    for found in FORMULA.finditer(text):
        parts += [escape(text[at : found.start()]), _formula(found)]
        at = found.end()
    return "".join([*parts, escape(text[at:])])


def _formula(found: re.Match[str]) -> str:
    kind, text = found.lastgroup, found.group(found.lastgroup or 0)
    match kind:
        case "power":
            return f"$n^{{{_math(text)}}}$"
        case "order":
            return rf"$\Theta({_math(text)})$"
        case "relation":
            return RELATIONS[text]
        case "infinite":
            return r"$-\infty$"
        case _:
            return f"${text}$"


def _math(text: str) -> str:
    return text.replace("oo", r"\infty").replace("*", "").replace("_", r"\_")


def _list(kind: str, items: list[str]) -> str:
    return "\n".join(
        [rf"\begin{{{kind}}}", *(rf"  \item{' ' * (not i.startswith('['))}{i}" for i in items), rf"\end{{{kind}}}"]
    )


# -- tables --------------------------------------------------------------------------------------------------------


def _grid(grid: Grid, title: str) -> Iterator[str]:
    count = len(grid.columns)
    yield "% needs \\usepackage{booktabs}"
    yield r"\begin{table}"
    yield r"\centering\small\setlength{\tabcolsep}{4pt}"
    caption = " ".join(filter(None, (f"{title}." if title else "", grid.caption, *grid.notes)))
    if caption:
        yield rf"\caption{{{inline(caption)}}}"
    yield rf"\begin{{tabular}}{{@{{}}{''.join('r' if c.numeric else 'l' for c in grid.columns)}@{{}}}}"
    yield r"\toprule"
    yield from _head(grid)
    for section in grid.sections:
        yield r"\midrule"
        if section.title:
            yield rf"\multicolumn{{{count}}}{{@{{}}l}}{{\emph{{{inline(section.title)}}}}} \\"
            yield r"\addlinespace[2pt]"
        for row in section.rows:
            yield " & ".join(map(_cell, row)) + r" \\"
    yield r"\bottomrule"
    yield r"\end{tabular}"
    yield r"\end{table}"


def _head(grid: Grid) -> Iterator[str]:
    if any(c.group for c in grid.columns):
        cells, rules, at = [], [], 1
        for group, span in grid.groups():
            cells.append(rf"\multicolumn{{{span}}}{{c}}{{{inline(group)}}}" if group else "")
            if group:
                rules.append(rf"\cmidrule(lr){{{at}-{at + span - 1}}}")
            at += span
        yield " & ".join(cells) + r" \\"
        yield " ".join(rules)
    yield " & ".join(inline(c.title) for c in grid.columns) + r" \\"


def _cell(cell: Cell) -> str:
    if cell.value is None:
        return "--"
    mark = f"$^{{{escape(cell.mark).strip('$')}}}$" if cell.mark else ""
    if isinstance(cell.value, Exponent):
        return f"${'{<}' if cell.below else ''}{number(cell.value)}$" + mark
    return (f"${cell.math}$" if cell.math else inline(cell.value)) + mark


def number(e: Exponent) -> str:
    """An exponent in math mode, without the dollars."""
    if e.infinite:
        return r"-\infty" if e.infinite < 0 else r"\infty"
    if e.symbols:
        import sympy

        return str(sympy.latex(e.to_sympy()))
    return str(e)
