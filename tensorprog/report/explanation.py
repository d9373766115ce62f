"""The derivation of one exponent as a document."""

from __future__ import annotations

from collections.abc import Iterator

from tensorprog.derivation import assumptions
from tensorprog.explain import Explanation, Node, signed_sum
from tensorprog.report.document import Block, Bullets, Document, Paragraph, Step, Steps

__all__ = ["explanation_document"]

NOTATION = (
    "n^(e): coordinate size, RMS over entries. h, x: values of a layer before and after its nonlinearity; dh, dx: the "
    "loss gradients there; chi = dL/df. Index t: after t steps, Delta x_t = x_t - x_0; a sum stands by its dominating "
    "term. "
    "W_0[i, :], W_0[:, i]: row and column i of the initial weight W."
)


def explanation_document(e: Explanation) -> Document:
    """Title, the steps of the derivation from the result down, references, assumptions."""
    when = "at initialisation" if not e.step else f"after step {e.step}"
    size = "= 0 exactly" if e.root is None else f"~ n^({e.exponent})"
    title = f"{e.target} {when}, {e.meaning} {size}"
    blocks: list[Block] = [Paragraph(str(e.setting))]
    if e.derived_at < e.step:
        blocks.append(Paragraph(f"The exponents have settled: step {e.step} repeats step {e.derived_at}, shown here."))
    if e.parts:
        blocks.append(Paragraph("Sum of " + ", ".join(f"{name} ~ n^({size})" for name, size in e.parts) + "."))
    if e.root is None:
        return Document.of(title, [*blocks, Paragraph("No term reaches it.")])
    refs = {ref: i for i, ref in enumerate(e.references, 1)}
    told: set[str] = set()
    seen: set[str] = set()
    steps = [(n.initial and n is not e.root, _step(n, refs, told, seen)) for n in e.values]
    blocks.append(Steps("Dominating term, from the result down", tuple(s for initial, s in steps if not initial)))
    if any(initial for initial, _ in steps):
        blocks.append(Steps("Of initial weights and data alone", tuple(s for initial, s in steps if initial)))
    if e.others:
        blocks.append(Bullets("Further terms of the sum", tuple(_other(n) for n in e.others)))
    if e.subleading:
        blocks.append(Bullets("Sub-leading powers", tuple(map(str, e.subleading))))
    blocks += [Paragraph(NOTATION, "dim"), Bullets("References", tuple(refs), numbered=True)]
    return Document.of(title, [*blocks, Bullets("Assumes", assumptions(e.setting))])


def _step(node: Node, refs: dict[str, int], told: set[str], seen: set[str]) -> Step:
    size = f"n^({node.exponent})"
    title = f"{node.name}, another term" if node.name in seen else node.name
    seen.add(node.name)
    if node.cut:
        return Step(size, f"{title}: not unfolded here, a larger depth does")
    text = f"{title} ~ {node.formula}" if node.formula and node.formula != node.name else title
    return Step(size, text, tuple(_notes(node, refs, told)))


def _notes(node: Node, refs: dict[str, int], told: set[str]) -> Iterator[str]:
    """The rules of one step; the facts about a weight, the loss and a normalisation are told once."""
    here: set[str] = set()
    for part in node.inline():
        adds_up = len(part.summands) > 1 and any(str(e) != "0" for e in part.summands)
        sums = f"{signed_sum(part.summands)} = {part.exponent}" if adds_up else ""
        why = part.why + (f" [{refs[part.ref]}]" if part.why and part.ref else "")
        if part is not node and why:
            why = f"{_subject(part)}: {why}" if part.rule != "learning-rate" else why
        note = ", ".join(filter(None, (sums, why))) if part is node else _inserted(why, sums)
        once = told if not part.sources else here
        if note and note not in once:
            once.add(note)
            yield note
    if node.odd and not node.initial:
        yield f"changes sign with {node.odd}"


def _subject(part: Node) -> str:
    return "sign(.)" if part.rule == "sign" else part.name.removesuffix("^T")


def _inserted(why: str, sums: str) -> str:
    """``<x, y>: aligned, ...`` with the sum after the colon."""
    if not sums:
        return why
    subject, colon, rest = why.partition(": ")
    return f"{subject}: {sums}, {rest}" if colon else sums


def _other(node: Node) -> str:
    return f"n^({node.exponent}) {node.name}" + (f": {node.why}" if node.why else "")
