"""Words: what the reports say about a case, a finding and a whole validation, in every format alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from math import isfinite
from typing import TYPE_CHECKING

from tensorprog.derive import derive_setting
from tensorprog.regimes import Regime
from validation.measure import OUTPUT, Quantity
from validation.verdict import Verdict

if TYPE_CHECKING:
    from validation.cases import Case
    from validation.fit import Fit
    from validation.run import Finding, Validation

__all__ = [
    "LIMITS",
    "MARKS",
    "RULE",
    "STYLES",
    "VERBS",
    "by_case",
    "cases",
    "counted",
    "data",
    "derived",
    "deviation",
    "failed",
    "fitted",
    "fixed",
    "headline",
    "interval",
    "judged_against",
    "learning_rate",
    "measured",
    "ordered",
    "power",
    "predicted",
    "quantity",
    "slope",
    "steps_of",
    "trained",
    "unsettled",
    "where",
]

STYLES = {Verdict.AGREES: "green", Verdict.DISAGREES: "bold red", Verdict.INCONCLUSIVE: "yellow"}
MARKS = {Verdict.AGREES: "✓", Verdict.DISAGREES: "✗", Verdict.INCONCLUSIVE: "?"}
VERBS = {Verdict.AGREES: "agree", Verdict.DISAGREES: "disagree", Verdict.INCONCLUSIVE: "inconclusive"}
WORST_FIRST = (Verdict.DISAGREES, Verdict.INCONCLUSIVE, Verdict.AGREES)

QUANTITIES = {
    Quantity.FEATURE: "feature change",
    Quantity.LOGIT_UPDATE: "logit update",
    Quantity.LOSS_GRADIENT: "chi",
}
"""Where a table's name is not the one in records and JSON."""

PARAMETRIZATIONS = {"sp": "SP", "ntp": "NTP", "mup": "µP", "mfp": "MFP", "sp-full-align": "SP-full-align"}
OPTIMIZERS = {"sgd": "SGD", "adam": "Adam", "signsgd": "SignSGD", "muon": "Muon"}
LOSSES = {"ce": "cross-entropy", "mse": "MSE", "huber": "Huber"}

RULE = (
    ("agrees", "the 95% interval of the slope, widened by the allowance, contains the prediction and neither rival"),
    ("disagrees", "the widened interval does not contain the prediction"),
    (
        "inconclusive",
        "it contains the prediction and a rival too; or a term that the theory knows still bends the slope at these "
        "widths; or there is no power law to fit",
    ),
)
"""The verdict rule in short, see :mod:`validation.verdict`."""

LIMITS = (
    "Coordinate sizes were judged, after the steps and at the widths named above: nothing here shows that the best "
    "learning rate transfers across widths, which takes a learning-rate sweep.",
    "Exponents say how a number grows with the width, not how large it is. The constants were calibrated so that the "
    "leading terms show at these widths; with other constants the same exponents may show only at larger ones.",
    "An interval covers the scatter between seeds and what a straight line leaves over, not the choice of data, "
    "architecture or constants.",
)
"""What a validation does not show."""


# -- a case ----------------------------------------------------------------------------------------------------------


def trained(case: Case) -> str:
    """The setting without its learning rate: model, parametrization, optimizer, loss, readout."""
    s = case.setting
    known = s.program.description or {}
    model = s.program.label
    if set(known) <= {"model", "hidden_layers", "activation", "bias"} and known.get("model") == "mlp":
        depth = int(str(known["hidden_layers"]))
        biases = ", biases" if known.get("bias") else ""
        model = f"{depth} hidden {_layers(depth)} ({known.get('activation', '')}{biases})"
    names = (
        PARAMETRIZATIONS.get(str(s.parametrization), str(s.parametrization)),
        OPTIMIZERS.get(str(s.optimizer), str(s.optimizer)),
        LOSSES.get(s.loss.name, s.loss.name),
    )
    readout = "zero readout" if s.zero_readout else "random readout"
    return ", ".join((model, *names, readout))


def _layers(count: int) -> str:
    return "layer" if count == 1 else "layers"


def learning_rate(case: Case) -> str:
    """The global factor on the learning rates, and where it lies relative to the edge: the largest exponent that is
    predicted not to be catastrophic."""
    rate = f"learning rate n^({case.lr_exponent})"
    if case.edge is None:
        return rate
    if not case.edge:
        return f"{rate}, the predicted edge"
    return f"{rate}, n^({abs(case.edge)}) {'beyond' if case.edge > 0 else 'below'} the predicted edge"


def data(case: Case) -> str:
    """What a case is trained on, with its options."""
    options = ", ".join(f"{k} {v}" for k, v in case.data.config.items() if k != "name")
    return f"{case.data.name} ({options})" if options else case.data.name


@lru_cache(maxsize=1024)
def derived(case: Case) -> str:
    """What the theory says of the setting as a whole; a deep network takes a second to derive."""
    d = derive_setting(case.setting)
    regime = f"{d.regime.value.replace('_', ' ')}: {d.regime.meaning}"
    if d.regime is Regime.CATASTROPHIC:
        return regime
    return f"{regime}; {d.learning.value} learning: {d.learning.meaning}"


# -- a finding -------------------------------------------------------------------------------------------------------


def quantity(q: Quantity) -> str:
    """The name of a quantity in tables."""
    return QUANTITIES.get(q, q.value.replace("_", " "))


def where(f: Finding) -> str:
    """Site, quantity and step of a finding."""
    p = f.prediction
    # What belongs to the whole network says so by its name.
    site = "" if p.site == OUTPUT else f"{p.site} "
    return f"{site}{quantity(p.quantity)}, {f'step {p.step}' if p.step else 'initialisation'}"


def power(exponent: object) -> str:
    """n^(e), or the word for what is exactly zero."""
    return "exactly 0" if str(exponent) == "-oo" else f"n^({exponent})"


def predicted(f: Finding) -> str:
    """The predicted exponent, or the predicted regime."""
    p = f.prediction
    if p.regime is not None:
        return p.stated.replace("_", " ")
    return "exactly 0" if p.exponent.infinite < 0 else p.stated


def growth(f: Finding) -> str:
    """Which value grows fastest and how fast, where a regime was judged; empty where nothing was measured."""
    if f.grown is None:
        return ""
    site, q, _ = f.grown
    return f"fastest: {site} {quantity(q)}, n^({measured(f)})"


def measured(f: Finding) -> str:
    """The slope and half the width of its interval, for people."""
    if f.fit.all_zero:
        return "exactly 0"
    if not isfinite(f.fit.slope):
        return "not finite" if f.fit.excluded else "no slope"
    return slope(f.fit)


def slope(fitted: Fit) -> str:
    """A finite slope and half the width of its interval, where that is not too wide to say anything."""
    half = (fitted.high - fitted.low) / 2
    return f"{fixed(fitted.slope)}±{half:.2f}" if half < 10 else fixed(fitted.slope)


def interval(f: Finding) -> str:
    """The 95% interval of the slope; empty where there is none."""
    if not (isfinite(f.fit.low) and isfinite(f.fit.high)):
        return ""
    return f"{fixed(f.fit.low)} to {fixed(f.fit.high)}"


def fitted(f: Finding) -> str:
    """How the slope was fitted, and which error its interval comes from."""
    if f.fit.all_zero or not isfinite(f.fit.slope):
        return ""
    if f.fit.correction is None:
        return f"line, {f.fit.source.value}"
    # The correction's exponent is the largest known one: the only one that is ever fitted.
    second = f"n^({f.prediction.corrections[0]})" if f.prediction.corrections else "a correction"
    if f.fit.correction.crossing < 1:
        return f"two terms, {second} not seen"
    return f"two terms, {second} leads below width {float(f'{f.fit.correction.crossing:.2g}'):,.0f}"


def deviation(f: Finding) -> float | None:
    """Measured slope minus predicted exponent; None for a regime, for exact zeros and where there is no slope."""
    p = f.prediction
    if p.regime is not None or not p.exponent.is_number or not isfinite(f.fit.slope):
        return None
    return f.fit.slope - float(p.exponent.const)


def fixed(value: float, *, signed: bool = False) -> str:
    """Two decimals, and no minus zero."""
    rounded = round(value, 2) + 0.0
    return f"{rounded:+.2f}" if signed and rounded else f"{rounded:.2f}"


# -- all findings ----------------------------------------------------------------------------------------------------


def by_case(validation: Validation) -> Iterator[tuple[str, list[Finding]]]:
    """Findings grouped by case, in order."""
    for name, group in groupby(validation.findings, key=lambda f: f.case.name):
        yield name, list(group)


def ordered(findings: Sequence[Finding]) -> list[Finding]:
    """The findings of one case in the order of tables: by site along the network, quantity, step."""
    sites = [*dict.fromkeys(f.prediction.site for f in findings if f.prediction.site != OUTPUT), OUTPUT]
    quantities = list(Quantity)

    def place(f: Finding) -> tuple[int, int, int]:
        p = f.prediction
        return sites.index(p.site), quantities.index(p.quantity), p.step

    return sorted(findings, key=place)


def unsettled(findings: Iterable[Finding]) -> list[Finding]:
    """The findings that do not agree: what disagrees first, then what is inconclusive."""
    rest = [f for f in findings if f.verdict is not Verdict.AGREES]
    return sorted(rest, key=lambda f: WORST_FIRST.index(f.verdict))


def counted(findings: Iterable[Finding]) -> dict[Verdict, int]:
    """How many findings have each verdict."""
    found = list(findings)
    return {v: sum(f.verdict is v for f in found) for v in Verdict}


def headline(validation: Validation) -> str:
    """The result in one sentence."""
    n, counts = len(validation.findings), counted(validation.findings)
    agree, wrong, open_ = (counts[v] for v in (Verdict.AGREES, Verdict.DISAGREES, Verdict.INCONCLUSIVE))
    if not n:
        return "Nothing was judged"
    if wrong:
        return f"{wrong} of {n} predicted numbers {'disagrees' if wrong == 1 else 'disagree'} with what was measured"
    if agree == n:
        return f"All {n} predicted numbers agree with what was measured" if n > 1 else "The prediction agrees"
    if not agree:
        return f"Nothing was decided: all {n} predictions are inconclusive"
    return f"No predicted number disagrees: {agree} of {n} agree, {open_} {'is' if open_ == 1 else 'are'} inconclusive"


def judged_against(validation: Validation) -> str:
    """The warning that the predictions are not the cases' own; empty where they are."""
    if validation.against is None:
        return ""
    name = PARAMETRIZATIONS.get(validation.against, validation.against)
    return (
        f"Judged against: {validation.against}. The networks were trained in the parametrization of their case, "
        f"and held against the predictions of {name}."
    )


def failed(validation: Validation) -> list[str]:
    """Runs without measurements, one line per case, width and reason."""
    groups: dict[tuple[str, int, str], list[int]] = {}
    for failure in validation.failures:
        groups.setdefault((failure.case, failure.width, failure.why), []).append(failure.seed)
    return [
        f"{name}, width {width}, {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, sorted(seeds)))}: {why}"
        for (name, width, why), seeds in groups.items()
    ]


def cases(count: int) -> str:
    """So many cases."""
    return f"{count} case" if count == 1 else f"{count} cases"


def steps_of(findings: Iterable[Finding]) -> Mapping[int, str]:
    """The measured steps of findings and their names in a table's head."""
    return {t: f"step {t}" if t else "start" for t in sorted({f.prediction.step for f in findings})}
