"""What the verbs print, in full: a change of wording or layout is a decision, not an accident."""

# ruff: noqa: E501

from __future__ import annotations

import pytest

from tensorprog.report import document_of
from tensorprog.report.text import layout
from tensorprog.table import table
from tests.cli.runner import Run

PREDICTION = """\
mlp(hidden_layers=2, activation=relu), sp, sgd, ce, lr n^(-1/2)

regime    controlled divergence: something diverges that the dynamics tolerate; activations stay
          bounded
learning  feature: the readout's input moves by Theta(1) or more
settled   after step 2: all later steps repeat it

Reasons
  - value of logits is n^(1/2) after step 1: the loss derivative stays Theta(1) and drives no update
    beyond it [law of large numbers in <readout_0, x_1(hidden.1)> <- relu <- update n^(-1/2) *
    <x_0(input), x_1(input)> * dh_0(hidden.1)]
  - feature change of hidden.1 is n^(0) after step 3: learning is feature: the readout's input moves
    by Theta(1) or more [relu <- update n^(-1/2) * <x_1(input), x_3(input)> * dh_1(hidden.1)]

Exponents e of coordinate sizes n^e, RMS over entries; -oo is exactly zero. Updates: effective (W_t
- W_0) x_t, propagating W_0 (x_t - x_0), feature: change after the nonlinearity.
                      ------------ update -----------
site      activation  effective  propagating  feature
-----------------------------------------------------
initialisation: logits n^(0)
input              0          .            .        .
hidden.1           0          .            .        .
readout            0          .            .        .

steps 1 to 4 and all later: logits n^(1/2), logit update n^(1/2), chi n^(0)
input              0         -1            .       -1
hidden.1           0          0           -1        0
readout          1/2        1/2          1/2        .

Largest exponent r of a factor n^r on every learning rate

stable           r <= -1/2: training is not catastrophic; what later layers read stays bounded, and
                 exponents settle
bounded updates  r <= -1/2: moreover every effective and propagating update before the readout stays
                 bounded
bounded logits   r <= -1: moreover the logits stay bounded

Assumes
  - genericity: no cancellation beyond the sign symmetries of the initial weights
  - depth, batch size, number of classes and number of steps are Theta(1)
  - i.i.d. symmetric initial weights; data and targets are Theta(1); labels carry noise, so chi does
    not vanish
"""

TABLE = """\
mlp, 2 hidden layers, relu

Exponents e of coordinate sizes n^e, in the settled state.
                                                ----- effective ------  - propagating -          ------ largest r ------
parametrization     r  regime         learning  input  hidden  readout  hidden  readout  logits  stable  updates  logits
------------------------------------------------------------------------------------------------------------------------
sgd, ce
sp                  0  catastrophic*  feature    -1/2     1/2      3/2    -1/2        1     3/2    -1/2     -1/2      -1
sp               -1/2  controlled     feature      -1       0      1/2      -1      1/2     1/2    -1/2     -1/2      -1
mup                 0  stable         maximal       0       0        0       0        0       0       0        0       0

adam, ce
sp                  0  catastrophic   feature       0       1        2       0      3/2       2      -1       -1    -3/2
sp                 -1  controlled     feature      -1       0        0      -1      1/2     1/2      -1       -1    -3/2
mup                 0  stable         maximal       0       0        0       0        0       0       0        0       0

r: every learning rate is multiplied by n^r.
effective: (W_t - W_0) x_t; propagating: W_0 (x_t - x_0); the largest of the layers of a role.
controlled: controlled divergence, of logits or saturated values that training tolerates.
largest r: stable, not catastrophic; updates, moreover all updates before the readout bounded;
logits, moreover the logits bounded.
* the exponents never settle: shown after step 1.
"""

EXPLANATION = """\
readout.propagating after step 1, W_0 (x_1 - x_0) ~ n^(1/2)

mlp(hidden_layers=2, activation=relu), sp, adam, ce, lr n^(-1)

Dominating term, from the result down
n^(1/2)   readout.propagating ~ <readout_0, Delta x_1(hidden.1)>
            -1/2 + 0 + 1 = 1/2, aligned, law of large numbers: both factors carry the random sign of
            readout_0[:, i], which cancels, so the mean survives [1]
            readout_0: initial entries n^(-1/2), exponent -(a + b) [2]
n^(0)     Delta x_1(hidden.1) ~ relu(h_0(hidden.1) + Delta h_1(hidden.1))
            a generic function of terms of equal size keeps every random sign of each
n^(0)     Delta h_1(hidden.1) ~ n^(-1) * <sign(x_0(input)), x_1(input)> * sign(dh_0(hidden.1))
            -1 + 1 + 0 = 0, update of hidden.1: step size * <in, x> * out
            n^(-1), step size of hidden.1
            <sign(x_0(input)), x_1(input)>: 0 + 0 + 1 = 1, aligned, law of large numbers: both
            factors have a part of fixed sign, so the mean survives [1]
            sign(.): entries Theta(1), random signs kept [3]
            changes sign with readout_0[:, i]
n^(-1/2)  dh_0(hidden.1) ~ relu'(h_0(hidden.1)) * dx_0(hidden.1)
            0 - 1/2 = -1/2
            changes sign with readout_0[:, i]
n^(-1/2)  dx_0(hidden.1) ~ readout_0^T chi
            -1/2 + 0 = -1/2
            chi: dL/df of ce: targets are Theta(1) [4]
            changes sign with readout_0[:, i]

Of initial weights and data alone
n^(0)  h_0(hidden.1) ~ hidden.1_0 x_0(input)
         0 - 1/2 + 1/2 = 0, fresh Gaussian field, n terms with independent random signs [1]
n^(0)  x_0(input) ~ relu(h_0(input))
n^(0)  h_0(input) ~ input_0 x
         input_0: initial entries n^(0), exponent -(a + b) [2]
n^(0)  x_1(input) ~ relu(h_1(input))
n^(0)  h_1(input) ~ input_0 x
n^(0)  relu'(h_0(hidden.1))

Sub-leading powers
  - n^(0) central-limit remainder of <readout_0, Delta x_1(hidden.1)>

n^(e): coordinate size, RMS over entries. h, x: values of a layer before and after its nonlinearity;
dh, dx: the loss gradients there; chi = dL/df. Index t: after t steps, Delta x_t = x_t - x_0; a sum
stands by its dominating term. W_0[i, :], W_0[:, i]: row and column i of the initial weight W.

References
  [1] Yang 2020 (arXiv 2009.10685): Tensor Programs master theorem, Gaussian and dotted part of W x
  [2] Yang & Hu 2021 (arXiv 2011.14522): abc-parametrizations
  [3] Yang & Littwin 2023 (arXiv 2308.01814): sign-type updates
  [4] Haas et al. 2025 (arXiv 2505.22491): loss derivatives

Assumes
  - genericity: no cancellation beyond the sign symmetries of the initial weights
  - depth, batch size, number of classes and number of steps are Theta(1)
  - i.i.d. symmetric initial weights; data and targets are Theta(1); labels carry noise, so chi does
    not vanish
"""

CENTRAL_LIMIT = """\
logits at initialisation, f_0 ~ n^(0)

mlp(hidden_layers=2, activation=relu), sp, sgd, ce, lr n^(0)

Dominating term, from the result down
n^(0)  logits_0 ~ <readout_0, x_0(hidden.1)>
         -1/2 + 0 + 1/2 = 0, not aligned, central limit: a flip of readout_0[:, i] flips the product
         and leaves its law alone, so the mean vanishes [1]
         readout_0: initial entries n^(-1/2), exponent -(a + b) [2]

Of initial weights and data alone
n^(0)  x_0(hidden.1) ~ relu(h_0(hidden.1))
n^(0)  h_0(hidden.1) ~ hidden.1_0 x_0(input)
         0 - 1/2 + 1/2 = 0, fresh Gaussian field, n terms with independent random signs [1]
n^(0)  x_0(input) ~ relu(h_0(input))
n^(0)  h_0(input) ~ input_0 x
         input_0: initial entries n^(0), exponent -(a + b) [2]
"""

SUPREMA = """\
mlp(hidden_layers=2, activation=relu), sp, sgd, ce, lr n^(0)

Largest exponent r of a factor n^r on every learning rate

stable           r <= -1/2: training is not catastrophic; what later layers read stays bounded, and
                 exponents settle
bounded updates  r <= -1/2: moreover every effective and propagating update before the readout stays
                 bounded
bounded logits   r <= -1: moreover the logits stay bounded

At r = 0, as in this setting: catastrophic.

Assumes
  - genericity: no cancellation beyond the sign symmetries of the initial weights
  - depth, batch size, number of classes and number of steps are Theta(1)
  - i.i.d. symmetric initial weights; data and targets are Theta(1); labels carry noise, so chi does
    not vanish
"""

MARKDOWN = """\
## mlp, 2 hidden layers, relu

Exponents e of coordinate sizes n^e, in the settled state.

**sgd, ce**

| parametrization |   r | regime | learning | effective input | effective hidden | effective readout | propagating hidden | propagating readout | logits | largest r stable | largest r updates | largest r logits |
| --------------- | --: | ------ | -------- | --------------: | ---------------: | ----------------: | -----------------: | ------------------: | -----: | ---------------: | ----------------: | ---------------: |
| mup             |   0 | stable | maximal  |               0 |                0 |                 0 |                  0 |                   0 |      0 |                0 |                 0 |                0 |

- r: every learning rate is multiplied by n^r.
- effective: (W_t - W_0) x_t; propagating: W_0 (x_t - x_0); the largest of the layers of a role.
- largest r: stable, not catastrophic; updates, moreover all updates before the readout bounded; logits, moreover the logits bounded.
"""

LATEX = """\
% needs \\usepackage{booktabs}
\\begin{table}
\\centering\\small\\setlength{\\tabcolsep}{4pt}
\\caption{mlp, 2 hidden layers, relu. Exponents $e$ of coordinate sizes $n^e$, in the settled state. $r$: every learning rate is multiplied by $n^r$. effective: $(W_t - W_0) x_t$; propagating: $W_0 (x_t - x_0)$; the largest of the layers of a role. controlled: controlled divergence, of logits or saturated values that training tolerates. largest $r$: stable, not catastrophic; updates, moreover all updates before the readout bounded; logits, moreover the logits bounded. $\\ast$ the exponents never settle: shown after step 1.}
\\begin{tabular}{@{}lrllrrrrrrrrr@{}}
\\toprule
 &  &  &  & \\multicolumn{3}{c}{effective} & \\multicolumn{2}{c}{propagating} &  & \\multicolumn{3}{c}{largest $r$} \\\\
\\cmidrule(lr){5-7} \\cmidrule(lr){8-9} \\cmidrule(lr){11-13}
parametrization & $r$ & regime & learning & input & hidden & readout & hidden & readout & logits & stable & updates & logits \\\\
\\midrule
\\multicolumn{13}{@{}l}{\\emph{sgd, ce}} \\\\
\\addlinespace[2pt]
sp & $0$ & catastrophic$^{\\ast}$ & feature & $-1/2$ & $1/2$ & $3/2$ & $-1/2$ & $1$ & $3/2$ & $-1/2$ & $-1/2$ & $-1$ \\\\
sp & $-1/2$ & controlled & feature & $-1$ & $0$ & $1/2$ & $-1$ & $1/2$ & $1/2$ & $-1/2$ & $-1/2$ & $-1$ \\\\
\\bottomrule
\\end{tabular}
\\end{table}
"""


@pytest.mark.parametrize(
    ("line", "printed"),
    [
        ("predict --lr-exponent=-1/2", PREDICTION),
        ("table --parametrization sp,mup --loss ce", TABLE),
        ("explain readout.propagating --parametrization sp --optimizer adam --loss ce --lr-exponent=-1", EXPLANATION),
        ("max-lr", SUPREMA),
        ("table --parametrization mup --optimizer sgd --loss ce --format md", MARKDOWN),
        ("table --parametrization sp --optimizer sgd --loss ce --format latex", LATEX),
    ],
)
def test_printed(run: Run, line: str, printed: str) -> None:
    said = run(*line.split())
    assert (said.code, said.err) == (0, "")
    assert said.out == printed


def test_why_a_mean_vanishes(run: Run) -> None:
    assert run("explain", "logits", "--step", "0").out.startswith(CENTRAL_LIMIT)


@pytest.mark.parametrize("width", [80, 100, 130])
def test_the_default_table_fits(width: int) -> None:
    lines = ["".join(part for part, _ in line) for line in layout(document_of(table()), width)]
    assert max(map(len, lines)) <= width


def test_plain_output_is_ascii(run: Run) -> None:
    for printed in (PREDICTION, TABLE, EXPLANATION, SUPREMA, MARKDOWN, LATEX):
        assert printed.isascii()
        assert not any(line.endswith(" ") for line in printed.splitlines())
