"""HTML: one self-contained page, no scripts, no fonts to load, readable in print and in the dark."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape as _escape

from tensorprog.report.document import Bullets, Cell, Document, Facts, Grid, Paragraph, Steps

__all__ = ["fragment", "html"]

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --faint: #6a737d; --line: #d5dae0; --band: #f4f6f8;
  --good: #1a7f37; --warn: #9a6700; --bad: #c01c28; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --paper: #14171b; --faint: #98a2ad; --line: #343b43;
  --band: #1d2228; --good: #57c26f; --warn: #e0ae3d; --bad: #ff7b72; } }
body { color: var(--ink); background: var(--paper); font: 15px/1.5 system-ui, "Segoe UI", Helvetica, Arial, sans-serif;
  margin: 2rem auto; max-width: 72rem; padding: 0 1.25rem; }
h1 { font-size: 1.25rem; line-height: 1.3; } h2 { font-size: 1rem; margin: 1.4rem 0 .3rem; }
p, li, dd { max-width: 56rem; } .dim, caption, .notes { color: var(--faint); font-size: .9em; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { caption-side: top; text-align: left; padding-bottom: .5rem; }
th, td { padding: .22rem .6rem; text-align: left; white-space: nowrap; } .n { text-align: right; }
thead tr:first-child th { border-top: 1.5px solid var(--ink); }
thead tr:last-child th { border-bottom: 1px solid var(--ink); }
th.group { text-align: center; font-weight: 500; border-bottom: 1px solid var(--line); }
th.section { text-align: left; font-weight: 600; padding-top: .8rem; border-bottom: 1px solid var(--line); }
tbody tr:hover td { background: var(--band); }
tbody:last-of-type tr:last-child td { border-bottom: 1.5px solid var(--ink); }
.good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); } .strong { font-weight: 600; }
dt { font-weight: 600; } dd { margin: 0 0 .4rem 1.5rem; } .steps dt { font-weight: 400; margin-top: .6rem; }
code { font: .92em ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
""".strip()

# Powers of n, orders, the exponent of zero, minus signs of numbers, and relations, on escaped text.
FORMULA = re.compile(
    r"n\^\(([^()]*)\)|n\^([er])\b|Theta\(|-oo|(?<![\w.\])])-(?=\d)|&lt;=|&gt;=|&lt;-|(?<![\w(.,&])[ner](?![\w(;])"
    r"|\b([Wx])_([t0-9])\b"
)
SIGNS = {
    "Theta(": "&Theta;(",
    "-oo": "&minus;&infin;",
    "-": "&minus;",
    "&lt;=": "&le;",
    "&gt;=": "&ge;",
    "&lt;-": "&larr;",
}


def html(document: Document) -> str:
    """A document as a page."""
    body = "\n".join(_body(document))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_ascii(document.title)}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n{body}\n</body>\n</html>"
    )


def fragment(document: Document) -> str:
    """A document as part of another page, such as a notebook: its style touches nothing else."""
    colours, _, rules = STYLE.partition("body {")
    own = f"{colours.replace(':root', '.tensorprog')}.tensorprog {{ {rules.partition('}')[2]} }}"
    return f'<div class="tensorprog">\n<style>\n{own}\n</style>\n{chr(10).join(_body(document))}\n</div>'


def _ascii(text: str) -> str:
    """Escaped text; entities instead of characters that a terminal or file may not be able to encode."""
    return _escape(text).encode("ascii", "xmlcharrefreplace").decode()


def inline(text: str) -> str:
    """Running text with formulas set in HTML."""
    return FORMULA.sub(_formula, _ascii(text))


def _formula(found: re.Match[str]) -> str:
    power = found.group(1) or found.group(2)
    if found.group(3):
        return f"<i>{found.group(3)}</i><sub>{found.group(4)}</sub>"
    if power:
        return f"<i>n</i><sup>{inline(power)}</sup>"
    return SIGNS.get(found.group()) or f"<i>{found.group()}</i>"


def _body(document: Document) -> Iterator[str]:
    if document.title:
        yield f"<h1>{inline(document.title)}</h1>"
    for block in document.blocks:
        match block:
            case Paragraph(body, style):
                yield f'<p class="{style}">{inline(body)}</p>' if style else f"<p>{inline(body)}</p>"
            case Facts(facts):
                yield "<dl>"
                for f in facts:
                    yield f'<dt>{inline(f.name)}</dt><dd class="{f.style}">{inline(f.value)}</dd>'
                    yield from (f"<dd>{inline(line)}</dd>" for line in f.support)
                yield "</dl>"
            case Grid():
                yield from _grid(block)
            case Bullets(title, items, numbered):
                tag = "ol" if numbered else "ul"
                yield f"<h2>{inline(title)}</h2>\n<{tag}>"
                yield from (f"<li>{inline(item)}</li>" for item in items)
                yield f"</{tag}>"
            case Steps(title, steps):
                yield f'<h2>{inline(title)}</h2>\n<dl class="steps">'
                for step in steps:
                    yield f"<dt>{inline(step.size)} &nbsp; <code>{inline(step.text)}</code></dt>"
                    yield from (f'<dd class="dim">{inline(note)}</dd>' for note in step.notes)
                yield "</dl>"


# -- tables --------------------------------------------------------------------------------------------------------


def _grid(grid: Grid) -> Iterator[str]:
    yield '<div class="scroll"><table>'
    if grid.caption:
        yield f"<caption>{inline(grid.caption)}</caption>"
    yield "<thead>"
    if any(c.group for c in grid.columns):
        cells = (
            f'<th class="group" colspan="{span}">{inline(group)}</th>' if group else "<th></th>"
            for group, span in grid.groups()
        )
        yield f"<tr>{''.join(cells)}</tr>"
    titles = (
        f'<th class="n">{inline(c.title)}</th>' if c.numeric else f"<th>{inline(c.title)}</th>" for c in grid.columns
    )
    yield f"<tr>{''.join(titles)}</tr>"
    yield "</thead>"
    for section in grid.sections:
        yield "<tbody>"
        if section.title:
            yield f'<tr><th class="section" colspan="{len(grid.columns)}">{inline(section.title)}</th></tr>'
        for row in section.rows:
            cells = (_cell(cell, column.numeric) for cell, column in zip(row, grid.columns, strict=True))
            yield f"<tr>{''.join(cells)}</tr>"
        yield "</tbody>"
    yield "</table></div>"
    if grid.notes:
        yield '<ul class="notes">'
        yield from (f"<li>{inline(note)}</li>" for note in grid.notes)
        yield "</ul>"


def _cell(cell: Cell, numeric: bool) -> str:
    classes = " ".join(filter(None, ("n" if numeric else "", cell.style if cell.value is not None else "dim")))
    shown = "&ndash;" if cell.value is None else inline(cell.text())
    return f'<td class="{classes}">{shown}</td>' if classes else f"<td>{shown}</td>"
