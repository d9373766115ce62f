"""Derivations, families and learning-rate suprema as documents."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby

from tensorprog.derivation import Derivation, SiteExponents, StepExponents, assumptions
from tensorprog.exponent import Exponent
from tensorprog.family import Family
from tensorprog.regimes import Regime
from tensorprog.region import Region
from tensorprog.report.document import (
    Block,
    Bullets,
    Cell,
    Column,
    Document,
    Fact,
    Facts,
    Grid,
    Paragraph,
    Section,
    Style,
)
from tensorprog.stability import StableRates, Supremum

__all__ = ["REGIME_STYLES", "bound", "derivation_document", "family_document", "rates_document"]

REGIME_STYLES: dict[Regime, Style] = {
    Regime.STABLE: "good",
    Regime.CONTROLLED_DIVERGENCE: "warn",
    Regime.CATASTROPHIC: "bad",
}

SIZES = "Exponents e of coordinate sizes n^e, RMS over entries; -oo is exactly zero."
UPDATES = "effective (W_t - W_0) x_t, propagating W_0 (x_t - x_0), feature: change after the nonlinearity."
PERTURBATION = " perturbation: E x~_t at the perturbed weights W_t + E, where the gradient is taken."

RATES = "Largest exponent r of a factor n^r on every learning rate"

CONDITIONS = (
    ("stable", "training is not catastrophic; what later layers read stays bounded, and exponents settle"),
    ("bounded updates", "moreover every effective and propagating update before the readout stays bounded"),
    ("bounded logits", "moreover the logits stay bounded"),
)

MERGED_SITES = 3
"""So many neighbouring layers with equal exponents become one row."""


def derivation_document(d: Derivation, rates: StableRates | None = None) -> Document:
    """Regime, learning, reasons, exponents per step, and the suprema where they are given."""
    verdict = (
        Fact("regime", f"{_words(d.regime.value)}: {d.regime.meaning}", REGIME_STYLES[d.regime]),
        Fact("learning", f"{d.learning.value}: {d.learning.meaning}"),
        Fact("settled", _settled(d)),
    )
    blocks: list[Block] = [Facts(verdict)]
    if d.reasons:
        blocks.append(Bullets("Reasons", tuple(str(r) for r in d.reasons)))
    blocks.append(_steps(d))
    if rates is not None:
        blocks += [Paragraph(RATES, "strong"), _rates(rates)]
    return Document.of(str(d.setting), [*blocks, Bullets("Assumes", assumptions(d.setting, d.path))])


def _words(value: str) -> str:
    return value.replace("_", " ")


def _settled(d: Derivation) -> str:
    at = d.path.settled_at
    if at is None:
        return "no: the exponents keep changing from step to step"
    return f"after step {at}: all later steps repeat it" if at else "from the start: no step changes an exponent"


def _steps(d: Derivation) -> Grid:
    columns = [
        Column("site"),
        Column("activation", numeric=True),
        *(Column(name, "update", numeric=True) for name in ("effective", "propagating", "feature")),
    ]
    perturbed = any(e.perturbation is not None for s in d.steps for e in s.sites.values())
    if perturbed:
        columns.append(Column("perturbation", numeric=True))
    runs = [list(run) for _, run in groupby(d.steps, key=_without_step)]
    rows = [tuple(_rows(run[0], REGIME_STYLES[d.regime], perturbed)) for run in runs]
    sections = tuple(Section(_title(d, run), of) for run, of in zip(runs, rows, strict=True))
    return Grid(tuple(columns), sections, f"{SIZES} Updates: {UPDATES}{PERTURBATION if perturbed else ''}")


def _without_step(s: StepExponents) -> object:
    return s.logits, s.logit_update, s.loss_gradient, tuple(s.sites.items()), bool(s.step)


def _title(d: Derivation, run: list[StepExponents]) -> str:
    first, last = run[0].step, run[-1].step
    if not first:
        return f"initialisation: logits n^({run[0].logits})"
    later = last == d.setting.steps and d.path.settled_at is not None and last >= d.path.settled_at
    name = f"step {first}" if first == last else f"steps {first} to {last}"
    sizes = f"logits n^({run[0].logits}), logit update n^({run[0].logit_update}), chi n^({run[0].loss_gradient})"
    return f"{name}{' and all later' if later else ''}: {sizes}"


def _rows(s: StepExponents, diverging: Style, perturbed: bool) -> Iterator[tuple[Cell, ...]]:
    for sites in _runs(_folded(s.sites.items())):
        (first, e), (last, _) = sites[0], sites[-1]
        if 1 < len(sites) < MERGED_SITES:
            yield from (_row(name, e, diverging, perturbed) for name, _ in sites)
        else:
            yield _row(first if first == last else f"{first} to {last}", e, diverging, perturbed)


def _folded(sites: Iterable[tuple[str, SiteExponents]]) -> Iterator[tuple[str, SiteExponents]]:
    """Consecutive blocks with equal exponents as one: block.2.mlp.in ... block.9.mlp.in as block.2-9.mlp.in."""
    numbered = [(BLOCK.fullmatch(name), name, e) for name, e in sites]
    blocks = [
        (key, [(m[3] if m else name, e) for m, name, e in of])
        for key, of in groupby(numbered, key=lambda item: (item[0][1], int(item[0][2])) if item[0] else None)
    ]
    i = 0
    while i < len(blocks):
        key, inside = blocks[i]
        last = i
        while key and last + 1 < len(blocks) and blocks[last + 1] == ((key[0], key[1] + last + 1 - i), inside):
            last += 1
        if key is None:
            yield from inside
        else:
            number = f"{key[1]}-{key[1] + last - i}" if last > i else str(key[1])
            yield from ((f"{key[0]}.{number}{tail}", e) for tail, e in inside)
        i = last + 1


BLOCK = re.compile(r"([^.]+)\.([0-9]+)(\..+)")
"""A site of a numbered block: its name, its number, the rest."""


def _runs(sites: Iterable[tuple[str, SiteExponents]]) -> Iterator[list[tuple[str, SiteExponents]]]:
    for _, run in groupby(sites, key=lambda item: item[1]):
        yield list(run)


def _row(name: str, e: SiteExponents, diverging: Style, perturbed: bool) -> tuple[Cell, ...]:
    exponents = [e.activation, e.effective, e.propagating, e.feature, *([e.perturbation] if perturbed else [])]
    return (Cell(name), *(Cell(v, diverging if v is not None and _diverges(v) else "") for v in exponents))


def _diverges(e: Exponent) -> bool:
    return not e.symbols and Exponent(0) < e


# -- suprema -------------------------------------------------------------------------------------------------------


def rates_document(rates: StableRates) -> Document:
    """The three suprema with what each means, and where the setting's own exponent lies."""
    s = rates.setting
    blocks: list[Block] = [Paragraph(RATES, "strong"), _rates(rates)]
    if s.lr_exponent.is_number:
        kept = [name for (name, _), sup in zip(CONDITIONS, _suprema(rates), strict=True) if _below(s.lr_exponent, sup)]
        none = "beyond the rules" if rates.stable.limit else "catastrophic"
        blocks.append(Paragraph(f"At r = {s.lr_exponent}, as in this setting: {', '.join(kept) or none}."))
    return Document.of(str(s), [*blocks, Bullets("Assumes", assumptions(s))])


def _below(r: Exponent, s: Supremum) -> bool:
    return r < s.exponent or (s.attained and r == s.exponent)


def _suprema(rates: StableRates) -> tuple[Supremum, ...]:
    return rates.stable, rates.updates, rates.logits


def _rates(rates: StableRates) -> Facts:
    facts = []
    for (name, what), s in zip(CONDITIONS, _suprema(rates), strict=True):
        beyond = f"; larger r have no rules: {s.limit}" if s.limit else ""
        facts.append(Fact(name, f"{bound(s)}: {what}{beyond}"))
    return Facts(tuple(facts))


def bound(s: Supremum) -> str:
    """``r <= -1/2`` where the supremum is attained, ``r < -1/2`` where it is not."""
    if s.exponent.infinite:
        return "every r" if s.exponent.infinite > 0 else "no r"
    return f"r {'<=' if s.attained else '<'} {s.exponent}"


# -- families ------------------------------------------------------------------------------------------------------


def family_document(f: Family) -> Document:
    """Regimes and learning over symbol space, closed forms at step 1, and later ones where nothing is catastrophic."""
    calm = tuple(c for c in f.cells if c.result.regime is not Regime.CATASTROPHIC)
    later = [("not catastrophic", replace(f, cells=calm), f.setting.steps)] if calm else []
    blocks: list[Block] = [_cells("regime", f.regimes()), _cells("learning", f.learning())]
    blocks.append(_closed_forms(f, [("", f, 1), *later]))
    return Document.of(str(f.setting), [*blocks, Bullets("Assumes", assumptions(f.setting))])


def _cells(what: str, regions: list[tuple[Region, str]]) -> Grid:
    rows = tuple((Cell(str(region)), Cell(_words(value))) for region, value in regions)
    return Grid((Column("where"), Column(what)), (Section("", rows),))


Scope = tuple[str, Family, int]
"""(where, the cells there, step)."""


def _closed_forms(f: Family, scopes: list[Scope]) -> Grid:
    columns = (Column("exponent"), *(Column(f"step {t}", where) for where, _, t in scopes))
    sections = []
    for site in f.setting.program.sites:
        names = ["activation", "effective", *(["propagating"] if site.trained_input else [])]
        names += [] if site.product in f.setting.program.logit_terms else ["feature"]
        sections.append(Section("", tuple(_forms(scopes, f"{site.name}.{name}") for name in names)))
    for name, _ in f.setting.program.observed:
        sections.append(Section("", tuple(_forms(scopes, f"{name}.{q}") for q in ("activation", "feature"))))
    rows = tuple(_forms(scopes, target) for target in ("logits", "logit_update", "loss_gradient"))
    return Grid(columns, (*sections, Section("", rows)), f"Closed forms. {UPDATES}")


def _forms(scopes: list[Scope], target: str) -> tuple[Cell, ...]:
    import sympy

    forms = [f.closed_form(target, step=t).to_sympy() for _, f, t in scopes]
    return (Cell(target), *(Cell(str(form), math=sympy.latex(form)) for form in forms))
