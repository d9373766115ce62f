"""Bad input, line by line: exit code 2, nothing on stdout, one line that names the option and what is accepted."""

# ruff: noqa: E501

from __future__ import annotations

import shlex

import pytest

from tensorprog.architectures import ARCHITECTURES
from tests.cli.runner import Run
from validation.cases import CASES

NUMBERS = "accepted are exact rationals such as -1/2, 0 or 3"
LOSSES = (
    "ce, mse, huber, softmax-mse, logistic, hinge, label-smoothing, focal, squared-hinge, l1, z-loss, "
    "temperature, soft-capped"
)
PARAMETRIZATIONS = "sp, sp-stable, ntp, mfp, mup, sp-full-align"
OPTIMIZERS = (
    "sgd, signsgd, adam, muon, adamw, lion, rmsprop, adagrad, adafactor, normalised-gd, global-normalised-gd, lars, lamb, "
    "shampoo, soap, kfac, clipped, decayed, sam"
)
ROLES = "input, hidden, readout, hidden.1"
GROWTH = "needs a number of at least 0, the exponent p of n^p coordinates"
GROWING_DEPTH = (
    "needs an integer of at least 1. A depth that grows with n is derived for residual blocks whose branches are at most "
    "1/sqrt(depth): depth_exponent=p with branch_exponent=-p/2 or less, of resnet-mlp and transformer"
)

LINES = [
    # verbs and options
    (
        "",
        "VERB: is missing; accepted are predict, table, max-lr, explain, formula, phase, solve, check, validate, crossing, sweep, --help, --version",
    ),
    (
        "predikt",
        "VERB: got 'predikt'; accepted are predict, table, max-lr, explain, formula, phase, solve, check, validate, crossing, sweep, --help, --version",
    ),
    (
        "--json predict",
        "VERB: got '--json'; accepted are predict, table, max-lr, explain, formula, phase, solve, check, validate, crossing, sweep, --help, --version",
    ),
    ("predict --bias=yes", "--bias: got 'yes'; it is a switch and takes no value"),
    ("predict --loss ce --loss mse", "--loss: given 2 times ('ce', 'mse'); give it once"),
    ("predict --loss ce --loss ce", "--loss: given 2 times ('ce', 'ce'); give it once"),
    ("predict --lr-exponent", "--lr-exponent: got no value; needs R, r: every learning rate times n^r [0]"),
    ("predict --lr-exponent --json", "--lr-exponent: got no value; needs R, r: every learning rate times n^r [0]"),
    # symbols
    (
        "formula logits --free r,zz --model mlp --hidden-layers 1",
        "--free: got 'zz'; accepted are r, c, a_input, a_readout, b_input, b_readout, c_input, c_readout",
    ),
    (
        "formula x --free r --hidden-layers 1",
        "TARGET: got 'x'; accepted at step 1 are input.activation, input.effective, "
        "input.feature, readout.activation, readout.effective, readout.propagating, logits, logit_update, loss_gradient",
    ),
    ("solve --bounded x", "--bounded: got 'x'; accepted are activations, updates, logits"),
    ("phase --free r", "--free: got 'r'; needs two symbols, such as r,b_readout"),
    ("phase --window 0:1", "--window: got '0:1'; needs LEFT:RIGHT,LOW:HIGH, such as -2:0,0:3/2"),
    ("phase --window=1:0,0:1", "--window: got '1:0,0:1'; needs exact numbers, LEFT < RIGHT and LOW < HIGH"),
    ("phase --picture x.jpg", "--picture: got 'x.jpg'; needs one of the endings .png, .svg, .pdf"),
    # names
    ("predict --model rnn", "--model: got 'rnn'; accepted are " + ", ".join(ARCHITECTURES)),
    ("predict --activation swish", "--activation: got 'swish'; accepted are relu, tanh, gelu, silu, identity"),
    ("predict --parametrization SP", f"--parametrization: got 'SP'; accepted are {PARAMETRIZATIONS}"),
    ("predict --optimizer sdg", f"--optimizer: got 'sdg'; accepted are {OPTIMIZERS}"),
    ("predict --loss ''", f"--loss: got ''; accepted are {LOSSES}"),
    ("max-lr --loss ce,mse", f"--loss: got 'ce,mse'; accepted are {LOSSES}"),
    ("table --loss ce,foo", f"--loss: got 'foo'; accepted are {LOSSES}, all"),
    ("table --loss ce,,mse", "--loss: got 'ce,,mse'; needs values separated by single commas"),
    ("table --optimizer sgd,sgd", "--optimizer: got 'sgd,sgd'; 'sgd' is listed twice"),
    # integers
    ("predict --hidden-layers 0", "--hidden-layers: got '0'; needs an integer from 1 to 256"),
    ("predict --hidden-layers -3", "--hidden-layers: got '-3'; needs an integer from 1 to 256"),
    ("predict --hidden-layers 2.0", "--hidden-layers: got '2.0'; needs an integer from 1 to 256"),
    ("predict --hidden-layers 100000", "--hidden-layers: got '100000'; needs an integer from 1 to 256"),
    ("table --hidden-layers 1,x", "--hidden-layers: got 'x'; needs an integer from 1 to 256"),
    ("predict --hidden-layers n", f"--hidden-layers: got 'n'; {GROWING_DEPTH}"),
    ("predict --model transformer --blocks n^(1/2)", f"--blocks: got 'n^(1/2)'; {GROWING_DEPTH}"),
    ("table --model resnet --stages 1,1/2", f"--stages: got '1/2'; {GROWING_DEPTH}"),
    ("predict --model cnn --kernel 1/2", "--kernel: got '1/2'; needs an integer of at least 1"),
    (
        "predict --batch-size n^(1/2)",
        "--batch-size: there is no such option: a derivation is for a fixed number. There are no rules for a batch that "
        "grows with n; its size as it is changes constants only",
    ),
    (
        "predict --model resnet-mlp --depth-exponent 1/2",
        "--branch-exponent: got '0'; needs at most -1/4 with depth_exponent=1/2: branches above 1/sqrt(depth) make a residual "
        "stream without norms grow exponentially with depth; with norms, gradients grow by powers that depend on more than "
        "exponents. Take 1/sqrt(L) (Yang et al. 2023, arXiv 2310.02244) or 1/L (Dey et al. 2025, arXiv 2505.01618)",
    ),
    (
        "predict --model transformer --depth-exponent 1 --branch-exponent=-1",
        "--plain-norm: got 'False'; needs True with a growing depth: vectors and routers of single blocks stand beside those "
        "of n^p others, which has no rule here",
    ),
    (
        "predict --model resnet-mlp --depth-exponent 1 --branch-exponent=-1 --optimizer muon",
        "the optimizer muon over a growing depth is not supported: it would take block.1.in of all blocks for one matrix. "
        "Take one that acts entry by entry, such as adam, or depth_exponent=0.",
    ),
    (
        "predict --depth=n",
        "--depth: there is no such option: give --hidden-layers or --blocks, or --depth-exponent for a depth that grows",
    ),
    (
        "predict --width 1",
        "--width: there is no such option: the width is n itself; validate and sweep train at --widths",
    ),
    (
        "predict --model transformer --ff-exponent x",
        f"--ff-exponent: got 'x'; {NUMBERS}; predict --free x would make it a symbol",
    ),
    ("max-lr --model resnet-mlp --branch-exponent 1-x", f"--branch-exponent: got '1-x'; {NUMBERS}"),
    (
        "predict --lora hidden --rank-exponent p",
        f"--rank-exponent: got 'p'; {NUMBERS}; predict --free p would make it a symbol",
    ),
    (
        "predict --model transformer --ff-exponent p --free p --assume p<0",
        "no point satisfies the assumptions p<0, p > 0",
    ),
    (
        "predict --model transformer --vocabulary-exponent 1 --optimizer muon",
        "the optimizer muon over a growing vocabulary is not supported: its step of one row of readout depends on the "
        "n^(1) others. Take one that acts entry by entry on readout, such as hidden=muon,else=adam, or vocabulary_exponent=0.",
    ),
    (
        "predict --model transformer --vocabulary-exponent 1 --loss mse",
        "the loss mse over a growing vocabulary is not supported: it depends on more than the label's logit and the "
        "normaliser of the others. Take ce or focal, or vocabulary_exponent=0.",
    ),
    (
        "predict --model transformer --vocabulary-exponent 1 --parametrization sp --optimizer adam",
        "a softmax over a growing number of tokens with logits n^(1) is not supported: it concentrates on a vanishing share "
        "of them. Take a finite number of tokens (vocabulary_exponent=0), or rates at which the logits stay bounded.",
    ),
    (
        "validate --model transformer --vocabulary-exponent 1",
        "training over a growing vocabulary is not supported: data sets have the tokens that they have. Take "
        "vocabulary_exponent=0.",
    ),
    ("predict --model transformer --vocabulary-exponent n", f"--vocabulary-exponent: got 'n'; {NUMBERS}"),
    ("predict --model transformer --ff-exponent -1", f"--ff-exponent: got '-1'; {GROWTH}"),
    (
        "predict --model transformer --experts softmax --experts-exponent -1/2",
        f"--experts-exponent: got '-1/2'; {GROWTH}",
    ),
    ("predict --steps 0", "--steps: got '0'; needs an integer from 1 to 1000"),
    ("predict --steps 1000000000", "--steps: got '1000000000'; needs an integer from 1 to 1000"),
    ("predict --steps 10**9", "--steps: got '10**9'; needs an integer from 1 to 1000"),
    ("explain logits --step -1", "--step: got '-1'; needs an integer from 0 to 1000"),
    ("explain logits --depth 0", "--depth: got '0'; needs an integer from 1 to 100"),
    ("table --step 0", "--step: got '0'; needs an integer from 1 to 1000"),
    # exponents
    ("predict --lr-exponent half", f"--lr-exponent: got 'half'; {NUMBERS}; predict --free half would make it a symbol"),
    ("predict --lr-exponent 1/0", f"--lr-exponent: got '1/0', which divides by zero; {NUMBERS}"),
    ("predict --lr-exponent 1/2/3", f"--lr-exponent: got '1/2/3'; {NUMBERS}"),
    ("predict --lr-exponent '1 2'", f"--lr-exponent: got '1 2'; {NUMBERS}"),
    ("predict --lr-exponent 1e-3", f"--lr-exponent: got '1e-3'; {NUMBERS}"),
    ("predict --lr-exponent nan", f"--lr-exponent: got 'nan'; {NUMBERS}; predict --free nan would make it a symbol"),
    ("predict --lr-exponent oo", f"--lr-exponent: got 'oo', which is infinite; {NUMBERS}"),
    ("predict --lr-exponent=-oo", f"--lr-exponent: got '-oo', which is infinite; {NUMBERS}"),
    ("predict --lr-exponent=", f"--lr-exponent: got ''; {NUMBERS}"),
    (
        "table --lr-exponent 0,maximum",
        f"--lr-exponent: got 'maximum'; {NUMBERS}; predict --free maximum would make it a symbol",
    ),
    # entries' own options
    (
        "predict --shape-factor spectral",
        "--shape-factor: the optimizer sgd has no such option; its options are: --momentum",
    ),
    (
        "predict --optimizer signsgd --momentum 0",
        "--momentum: the optimizer signsgd has no such option; its options are: none",
    ),
    (
        "predict --optimizer muon --shape-factor x",
        "--shape-factor: got 'x'; accepted are none, original, transposed, spectral, match-rms, kimi, max",
    ),
    (
        "predict --optimizer clipped --shape-factor spectral",
        "--shape-factor: the optimizer clipped or sgd has no such option; its options are: --base-optimizer, --momentum, "
        "--threshold-exponent, --threshold",
    ),
    (
        "predict --base-optimizer adam",
        "--base-optimizer: the optimizer sgd has no such option; its options are: --momentum",
    ),
    ("predict --optimizer clipped --base-optimizer sdg", f"--base-optimizer: got 'sdg'; accepted are {OPTIMIZERS}"),
    ("predict --optimizer clipped --threshold 0", "--threshold: got '0.0'; needs a positive number"),
    (
        "predict --optimizer clipped --threshold-exponent=-oo",
        "--threshold-exponent: got '-oo'; needs a finite exponent",
    ),
    (
        "predict --optimizer adam --epsilon-exponent half",
        f"--epsilon-exponent: got 'half', whose 'half' is not declared with --free; {NUMBERS}",
    ),
    (
        "predict --optimizer shampoo --in-power=-1",
        "--in-power: got '-1'; needs an exact number of at least 0, such as 1/4",
    ),
    ("predict --optimizer hidden=muon,else=adm", f"--optimizer: got 'adm'; accepted are {OPTIMIZERS}"),
    (
        "predict --optimizer hidden=muon",
        "--optimizer: got 'hidden=muon'; gives nothing for input, readout; add else=...",
    ),
    (
        "predict --optimizer hiden=muon,else=adam",
        "--optimizer: got 'hiden'; accepted are input, hidden, readout, vector, finite, hidden.1, else",
    ),
    (
        "predict --optimizer hidden=sam,else=adam",
        "--optimizer: sam for some of the weights (optimizer groups of hidden) is not supported: its second gradient belongs "
        "to the whole network. Put the groups inside: SAM(base_optimizer={...}).",
    ),
    (
        "predict --optimizer sam --layer-exponents input",
        "--layer-exponents: got 'input'; needs ROLE=VALUE,..., such as hidden=...,else=...",
    ),
    (
        "predict --optimizer sam --layer-exponents embedding=1",
        "--layer-exponents: got 'embedding'; accepted are input, hidden, readout, vector, finite, hidden.1, else",
    ),
    (
        "predict --optimizer decayed --base-optimizer muon --coupled",
        "coupled weight decay with the optimizer muon is not supported: a singular value decomposition of gradient plus "
        "weight has no rule. Use decoupled decay (coupled=False), or an optimizer that acts entry by entry.",
    ),
    (
        "predict --loss ce --coefficient-exponent 1",
        "--coefficient-exponent: the loss ce has no such option; its options are: none",
    ),
    (
        "predict --loss z-loss --coefficient-exponent oo",
        "--coefficient-exponent: got 'oo'; needs a finite exponent, or -oo for no penalty",
    ),
    ("predict --loss temperature --base-loss x", f"--base-loss: got 'x'; accepted are {LOSSES}"),
    ("predict --momentum 1", "--momentum: got '1.0'; needs a number with 0 <= momentum < 1"),
    ("predict --momentum fast", "--momentum: got 'fast'; needs a number"),
    (
        "predict --optimizer adam --epsilon-exponent oo",
        "--epsilon-exponent: got 'oo'; needs a finite exponent, or -oo for eps = 0",
    ),
    (
        "predict --optimizer adam --epsilon-exponent 1/0",
        f"--epsilon-exponent: got '1/0', which divides by zero; {NUMBERS}",
    ),
    # --set
    ("predict --set readout.b", "--set: got 'readout.b'; needs ROLE.KEY=VALUE, such as readout.b=3/4"),
    ("predict --set readout=1", "--set: got 'readout=1'; needs ROLE.KEY=VALUE, such as readout.b=3/4"),
    ("predict --set readout.b=", "--set: got 'readout.b='; needs ROLE.KEY=VALUE, such as readout.b=3/4"),
    ("predict --set readout.d=1", "--set: got 'readout.d=1'; the key 'd' must be one of a, b, c"),
    ("predict --set output.b=1", f"--set: got 'output.b=1'; 'output' is no role or weight of the network: {ROLES}"),
    (
        "predict --set hidden.2.b=1",
        f"--set: got 'hidden.2.b=1'; 'hidden.2' is no role or weight of the network: {ROLES}",
    ),
    (
        "predict --set readout.b=one",
        f"--set: got 'readout.b=one'; {NUMBERS}, or oo for a zero init; predict --free one would make it a symbol",
    ),
    ("predict --set readout.c=1/0", f"--set: got '1/0', which divides by zero; {NUMBERS}"),
    ("predict --set readout.c=oo", f"--set: got 'readout.c=oo', which is infinite; {NUMBERS}"),
    ("predict --set readout.b=-oo", f"--set: got 'readout.b=-oo', which is infinite; {NUMBERS}, or oo for a zero init"),
    (
        "predict --set readout.b=1,readout.c=2",
        f"--set: got 'readout.b=1,readout.c=2'; {NUMBERS}, or oo for a zero init",
    ),
    ("predict --set readout.b=1;", f"--set: got 'readout.b=1;'; {NUMBERS}, or oo for a zero init"),
    ("predict --set readout.b=1 --set readout.b=2", "--set: gives readout.b twice, 1 and 2; give one of them"),
    # contradictions
    ("predict --zero-readout --set readout.b=1", "--zero-readout: contradicts --set readout.b=1; give one of them"),
    (
        "predict --parametrization sp --b 0,0,0 --c 0,0,0",
        "--b: contradicts --parametrization; give the name or the lists",
    ),
    ("predict --b 0,0,0", "--c: is missing: --b needs it too, one value per layer: input, hidden..., readout"),
    ("predict --a 0,0,0", "--b: is missing: --a needs it too, one value per layer: input, hidden..., readout"),
    ("predict --b 0,0,0 --c 0,0", "--c: has 2 values but --b has 3; needs one per layer"),
    ("predict --a 0 --b 0,0,0 --c 0,0,0", "--a: has 1 values but --b has 3; needs one per layer"),
    (
        "predict --b 0,0 --c 0,0",
        "--b: has 2 values, but the program mlp(hidden_layers=2, activation=relu) has 3: input, hidden.1, readout; needs one per layer",
    ),
    ("predict --b 0,,0 --c 0,0,0", f"--b: got '0,,0'; {NUMBERS}, or oo for a zero init"),
    ("predict --b 0,0,0 --c 0,oo,0", f"--c: got '0,oo,0', which is infinite; {NUMBERS}"),
    (
        "predict --b 0,0,0 --c 0,0,0 --set hidden.b=1",
        "--set: got 'hidden.b=1', but --b gives every b already; give one of them",
    ),
    (
        "predict --b 0,0,0 --c 0,0,0 --zero-readout",
        "--zero-readout: contradicts --b, which gives the readout's init; write oo there instead",
    ),
    ("explain logits --step 9 --steps 4", "--step: got 9, but --steps derives 4 only; needs at most as many"),
    ("table --step 9 --steps 4", "--step: got 9, but --steps derives 4 only; needs at most as many"),
    # symbols
    ("predict --free r", "--free: got 'r', which no exponent contains; leave it out or use it"),
    ("predict --free n --lr-exponent n", "--free: got 'n'; needs names such as r or b_readout (not n, oo, lr)"),
    ("predict --free 2 --lr-exponent 2", "--free: got '2'; needs names such as r or b_readout (not n, oo, lr)"),
    (
        "predict --free r --lr-exponent r+s",
        f"--lr-exponent: got 'r+s', whose 's' is not declared with --free; {NUMBERS}",
    ),
    (
        "predict --free r --lr-exponent r*r",
        f"--lr-exponent: got 'r*r', which is not an affine expression with rational coefficients; {NUMBERS}",
    ),
    ("predict --assume 'r<0'", "--assume: needs symbols to speak of; declare them with --free"),
    ("predict --free r --lr-exponent r --assume 's<0'", "--assume: got 's<0', whose 's' is not declared with --free"),
    # targets
    ("explain", "TARGET: is missing; name an exponent, such as readout.propagating or logits"),
    (
        "explain readout.feature --hidden-layers 1",
        "TARGET: got 'readout.feature'; accepted at step 1 are logits, logit_update, loss_gradient, input.activation, input.effective, input.feature, readout.activation, readout.effective, readout.propagating",
    ),
    (
        "explain logit_update --step 0 --hidden-layers 1",
        "TARGET: got 'logit_update'; accepted at step 0 are logits, input.activation, readout.activation",
    ),
    # output
    ("predict --format pdf", "--format: got 'pdf'; accepted are text, md, latex, csv, json, html"),
    ("table --json --format csv", "--format: got 'csv', which contradicts --json; give one of them"),
    (
        "explain logits --format csv",
        "--format: got 'csv', but this result is no list of records; accepted are text, md, latex, json, html",
    ),
    (
        "table --output table.pdf",
        "--output: got 'table.pdf'; needs a --format or one of the endings .txt, .md, .tex, .csv, .json, .html",
    ),
    (
        "table --output /no/such/t.md",
        "--output: got '/no/such/t.md', which has no folder '/no/such' to go to; needs a file in an existing folder",
    ),
    # validate
    ("validate --suite slow", "--suite: got 'slow'; accepted are quick, full"),
    ("validate --suite full --quick", "--quick: contradicts --suite; give one of them"),
    (
        "validate --suite quick --optimizer adam",
        "--suite: contradicts --optimizer; give a suite, cases, or one setting",
    ),
    ("validate --cases sp-sgd-ce-2 --loss mse", "--cases: contradicts --loss; give a suite, cases, or one setting"),
    (
        "validate --cases nonsense",
        "--cases: got 'nonsense'; accepted are sp-sgd-ce-2, sp-sgd-mse-2, sp-adam-ce-2, mup-adam-ce-2, "
        "sp-signsgd-huber-1-zero, ntp-adam-mse-3-zero, ... (" + f"{len(CASES)} in all)",
    ),
    (
        "validate --against nothing",
        "--against: got 'nothing'; accepted are sp, sp-stable, ntp, mfp, mup, sp-full-align",
    ),
    (
        "validate --parametrization spp",
        "--parametrization: got 'spp'; accepted are sp, sp-stable, ntp, mfp, mup, sp-full-align",
    ),
    ("validate --quick --widths 64 128", "--widths: got '64,128'; needs at least 3 widths, or no slope can be judged"),
    ("validate --quick --device tpu", "--device: got 'tpu'; accepted are auto, cpu, cuda"),
    ("validate --quick --widths 64", "--widths: got '64'; needs at least 3 widths, or no slope can be judged"),
    ("validate --quick --widths 64,128,0", "--widths: got '0'; needs an integer from 1 to 1048576"),
    ("validate --quick --seeds 0", "--seeds: got '0'; needs an integer from 1 to 10000"),
    ("validate --quick --steps 1,1", "--steps: got '1,1'; '1' is listed twice"),
]


@pytest.mark.parametrize(("line", "message"), LINES, ids=[line or "(nothing)" for line, _ in LINES])
def test_bad_input_is_one_line(run: Run, line: str, message: str) -> None:
    argv = shlex.split(line)
    said = run(*argv)
    verb = f" {argv[0]}" if argv and not message.startswith("VERB") else ""
    assert said.code == 2
    assert said.out == ""
    assert said.err == f"tensorprog{verb}: {message}\n"


@pytest.mark.parametrize("verb", ["predict", "table", "max-lr", "explain", "validate"])
@pytest.mark.parametrize("wrong", ["--los", "--learning-rate=1", "-x", "stray"])
def test_unknown_options_list_the_known_ones(run: Run, verb: str, wrong: str) -> None:
    said = run(verb, *(["logits"] if verb == "explain" else []), wrong)
    assert (said.code, said.out) == (2, "")
    assert said.err.count("\n") == 1
    assert wrong.split("=")[0] in said.err
    assert "--json" in said.err


def test_accepted_lists_of_large_networks_stay_short(run: Run) -> None:
    said = run("explain", "nowhere", "--hidden-layers", "60", "--steps", "1")
    assert said.code == 2
    assert said.err.count("\n") == 1
    assert "in all)" in said.err
    assert len(said.err) < 2000


def test_line_breaks_in_values_do_not_break_the_line(run: Run) -> None:
    said = run("predict", "--loss", "c\ne\r\x1b[31m")
    assert said.err == f"tensorprog predict: --loss: got 'c\\ne\\r\\x1b[31m'; accepted are {LOSSES}\n"
