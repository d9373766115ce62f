"""A user's own model, trained: every exponent that the trace predicts, held against the measured slope.

The models are built, trained with the user's own optimizer and measured by the refined check at every width. Sites of a
fused matrix are measured together and hold the largest of their exponents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tensorprog.errors import SettingError
from tensorprog.exponent import Exponent
from tensorprog.trace.examples import read
from tensorprog.trace.export import pick
from tensorprog.trace.model import Traced
from tensorprog.trace.probe import several
from validation.fit import Fit
from validation.monitor import RefinedCheck
from validation.verdict import Verdict, assess, rival_gap

__all__ = ["Outcome", "Row", "validate_model"]

QUANTITIES = ("effective", "propagating")
"""What is judged at every matrix: the two parts of its product's change."""


Measured = dict[tuple[str, str], dict[int, dict[int, float]]]
"""Sizes by site and quantity, width and seed."""


@dataclass(frozen=True)
class Row:
    """One predicted exponent and its measured slope.

    Args:
        site: the parameter, with #2 for its second use.
        quantity: ``effective`` or ``propagating``.
        predicted: the exponent.
        fit: of the measured sizes.
        verdict, reason: of the comparison.
    """

    site: str
    quantity: str
    predicted: Exponent
    fit: Fit
    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class Outcome:
    """All rows of one model.

    Args:
        step: after so many optimizer steps.
        widths, seeds: that were trained.
    """

    rows: tuple[Row, ...]
    step: int
    widths: tuple[int, ...]
    seeds: int

    @property
    def holds(self) -> bool:
        """Whether no prediction is refuted."""
        return all(r.verdict is not Verdict.DISAGREES for r in self.rows)

    def __str__(self) -> str:
        size = max(len(r.site) for r in self.rows)
        lines = [f"after step {self.step}, widths {', '.join(map(str, self.widths))}, {self.seeds} seeds"]
        lines.append(f"{'site':{size}}  quantity     predicted  measured  verdict")
        for r in self.rows:
            lines.append(f"{r.site:{size}}  {r.quantity:11}  {r.predicted!s:>9}  {r.fit.slope:8.2f}  {r.verdict.value}")
        return "\n".join(lines)


def validate_model(
    traced: Traced,
    optimizer: Callable[[torch.nn.Module], Any],
    loss: Callable[[Tensor, Any], Tensor],
    inputs: Any,
    targets: Any,
    *,
    widths: Sequence[int] = (64, 128, 256, 512),
    seeds: int = 3,
    step: int = 1,
) -> Outcome:
    """Train the models of a trace and judge every predicted update.

    Args:
        traced: from :func:`tensorprog.trace`; its ``build`` makes the models.
        optimizer: the function that was traced, model -> torch optimizer or list of them.
        loss: (logits, targets) -> mean loss.
        inputs, targets: a batch, which is the probe as well; several inputs as a tuple or a dictionary of keywords.
        widths: at least three.
        seeds: models of each width.
        step: measure after so many steps.

    Raises:
        SettingError: for fewer than three widths, steps or seeds below one.
    """
    if len(set(widths)) < 3:
        raise SettingError("widths", list(widths), "needs at least three, for a slope with an error")
    if step < 1 or seeds < 1:
        raise SettingError("step and seeds", (step, seeds), "need integers of at least 1")
    measured: Measured = {}
    for seed in range(seeds):
        for n in widths:
            for key, size in _sizes(traced, optimizer, loss, inputs, targets, n, seed, step).items():
                measured.setdefault(key, {}).setdefault(n, {})[seed] = size
    measured = _of_sites(measured)
    d, gap = traced.derivation, rival_gap(traced.derivation.setting)
    rows = []
    for (site, quantity), names in _predicted(traced).items():
        sizes = measured.get((site, quantity))
        found = {name: getattr(d.step(step).sites[name], quantity) for name in names}
        found = {name: e for name, e in found.items() if e is not None}
        if sizes is None or not found:
            continue
        first = max(found, key=lambda name: found[name])
        below = [s.exponent for s in d.subleading(f"{first}.{quantity}", step=step)]
        fit, judged = assess(sizes, found[first], below, gap)
        rows.append(Row(site, quantity, found[first], fit, judged.verdict, judged.reason))
    return Outcome(tuple(rows), step, tuple(widths), seeds)


def _of_sites(measured: Measured) -> Measured:
    """Without uses of a tied weight that read exact zeros, such as a first state: a program has no site for them."""
    uses: dict[str, list[str]] = {}
    for site, _ in measured:
        uses.setdefault(site.split("#")[0], [])
        if site not in uses[site.split("#")[0]]:
            uses[site.split("#")[0]].append(site)
    names: dict[str, str] = {}
    for parameter, sites in uses.items():
        moved = [site for site in sites if any(_moves(measured.get((site, q), {})) for q in QUANTITIES)]
        for k, site in enumerate(moved or sites):
            names[site] = parameter + (f"#{k + 1}" if k else "")
    return {(names[site], quantity): sizes for (site, quantity), sizes in measured.items() if site in names}


def _moves(sizes: Mapping[int, Mapping[int, float]]) -> bool:
    return any(size for row in sizes.values() for size in row.values())


def _predicted(traced: Traced) -> Mapping[tuple[str, str], list[str]]:
    """(site of the refined check, quantity) to the sites of the program."""
    found: dict[tuple[str, str], list[str]] = {}
    for site in traced.program.sites:
        if site.weight.role.value in ("vector", "finite"):
            continue
        use = site.name.removeprefix(site.weight.name)
        for quantity in QUANTITIES:
            found.setdefault((traced.blocks[site.weight.name].parameter + use, quantity), []).append(site.name)
    return found


def _sizes(
    traced: Traced,
    optimizer: Callable[[torch.nn.Module], Any],
    loss: Callable[[Tensor, Any], Tensor],
    inputs: Any,
    targets: Any,
    width: int,
    seed: int,
    step: int,
) -> dict[tuple[str, str], float]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = traced.built.build(width)
        made = several(optimizer(model))
        for group in (group for one in made for group in one.param_groups):
            group["lr"] = group.get("initial_lr", group["lr"])  # no schedule is stepped here

        def logits(output: Any) -> Tensor:
            found: Tensor = pick(output, traced.output)
            return found

        args, keywords = read(inputs, width)
        check = RefinedCheck(model, probe=keywords or args, loss=loss, targets=targets, logits=logits)
        for _ in range(step):
            model.zero_grad()
            loss(logits(model(*args, **keywords)), targets).backward()  # type: ignore[no-untyped-call]
            for one in made:
                one.step()
        return {(m.site, m.quantity.value): m.size for m in check.at(step) if m.quantity.value in QUANTITIES}
