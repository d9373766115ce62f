"""Synthetic findings: sizes that follow the predictions of a case, up to planted errors; nothing is trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from validation.cases import CASES, Case
from validation.claims import Key, predictions
from validation.constants import Constants
from validation.measure import Quantity
from validation.report.html import html
from validation.report.markdown import markdown
from validation.report.provenance import provenance
from validation.run import Finding, Validation, judged
from validation.verdict import Verdict

WIDTHS, SEEDS, STEPS = (64, 128, 256, 512), 3, (1, 3)
HOSTILE = '<script>alert("x")</script> | `a` *b* & c'


def law(exponent: float, *, noise: float, draw: np.random.Generator, bend: float = 0.0) -> dict[int, dict[int, float]]:
    """0.3 n^exponent with log-normal noise; ``bend`` makes a straight line a bad fit."""
    return {
        n: {s: 0.3 * n**exponent * math.exp(noise * draw.standard_normal() + bend * (-1) ** i) for s in range(SEEDS)}
        for i, n in enumerate(WIDTHS)
    }


Change = Callable[[Key], tuple[float, float]]


def synthetic(case: Case, change: Change = lambda key: (0.0, 0.0)) -> list[Finding]:
    """Judged findings of a case whose sizes follow its predictions, up to changes (slope, bend) of some."""
    draw = np.random.default_rng(0)
    table: dict[Key, dict[int, dict[int, float]]] = {}
    for p in predictions(case.setting, STEPS):
        if p.regime is not None:
            table["hidden.1", Quantity.ACTIVATION, STEPS[-1]] = law(1.0, noise=0.02, draw=draw)
        elif p.exponent.infinite:
            table[p.key] = {n: dict.fromkeys(range(SEEDS), 0.0) for n in WIDTHS}
        else:
            off, bend = change(p.key)
            table[p.key] = law(float(p.exponent.const) + off, noise=0.02, draw=draw, bend=bend)
    return judged(case, table, STEPS)


def known(name: str) -> Case:
    """A registered case with constants that need no calibration."""
    return replace(CASES[name], fixed=Constants(1.0))


def validation(findings: list[Finding], tmp: Path, **changes: Any) -> Validation:
    whole = Validation(
        tuple(findings),
        tmp / "records.jsonl",
        trained=12,
        resumed=3,
        widths=WIDTHS,
        seeds=SEEDS,
        steps=STEPS,
        device="cpu, x86_64",
    )
    return replace(whole, **changes)


def renamed(findings: list[Finding], name: str) -> list[Finding]:
    case = replace(findings[0].case, name=name)
    case.settle(findings[0].case.lr_exponent, Constants(1.0))
    return [replace(f, case=case) for f in findings]


WRONG = ("readout", Quantity.EFFECTIVE, 3)
BENT = ("hidden.1", Quantity.FEATURE, 1)


def mixed(tmp: Path) -> Validation:
    """Four cases: one that agrees, one with exact zeros, a regime, and one with a wrong and an undecidable number."""

    def change(key: Key) -> tuple[float, float]:
        return {WRONG: (0.5, 0.0), BENT: (0.0, 0.6)}.get(key, (0.0, 0.0))

    bad = replace(known("sp-sgd-ce-2"), name=HOSTILE, claim=f"claimed: {HOSTILE} at n^-1/2")
    findings = [
        *synthetic(known("mup-adam-ce-2")),
        *synthetic(
            replace(known("mup-adam-ce-2"), name="zeros", base=replace(known("mup-adam-ce-2").base, zero_readout=True))
        ),
        *synthetic(known("sp-sgd-ce-2-beyond")),
        *synthetic(bad, change),
    ]
    found = {v: sum(f.verdict is v for f in findings) for v in Verdict}
    assert found[Verdict.DISAGREES] == 1
    assert found[Verdict.INCONCLUSIVE] == 1
    return validation(findings, tmp)


def many(mixed: Validation) -> Validation:
    """Ninety cases, the last of them with a wrong and an undecidable number."""
    agreeing = [f for f in mixed.findings if f.case.name == "mup-adam-ce-2"]
    bad = [f for f in mixed.findings if f.case.name == HOSTILE]
    findings = [f for i in range(89) for f in renamed(agreeing, f"good-{i}")] + renamed(bad, "bad")
    return replace(mixed, findings=tuple(findings))


def page(result: Validation) -> str:
    return html(result, provenance(result, result.records.parent))


def comment(result: Validation) -> str:
    return markdown(result, provenance(result, result.records.parent))


class Parsed(HTMLParser):
    """The text, the attributes and the ids of a page; fails on tags that are not closed in order."""

    VOID = frozenset({"meta", "br", "link", "img"})

    def __init__(self, source: str) -> None:
        super().__init__()
        self.text, self.tags, self.ids, self.open = "", [], [], []  # type: ignore[var-annotated]
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.ids += [v for k, v in attrs if k == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]
