"""Builder, roles, sites, the backward program (against autograd), and the frame: imports and cost."""

from __future__ import annotations

import random
import subprocess
import sys
import time

import pytest

import tensorprog as tp
from tensorprog.backward import backward
from tensorprog.errors import ExponentError, ProgramError, SettingError, UnknownName
from tensorprog.program import Add, Apply, Data, MatMul, Moment, Multiply, Program, Scaled, Value, Weight

torch = pytest.importorskip("torch")


def test_roles_follow_from_axes() -> None:
    roles = {w.name: w.role.value for w in tp.mlp(hidden_layers=2, bias=True).weights}
    assert roles == {
        "input": "input",
        "input.bias": "vector",
        "hidden.1": "hidden",
        "hidden.1.bias": "vector",
        "readout": "readout",
        "readout.bias": "finite",
    }


def test_sites_follow_products_into_their_activations() -> None:
    program = tp.mlp(hidden_layers=2, bias=True)
    sites = {s.name: s for s in program.sites}
    assert sites["input"].activation == sites["input.bias"].activation
    assert isinstance(program.instructions[sites["hidden.1"].activation], Apply)
    assert sites["readout"].activation == program.output
    assert [s.name for s in program.sites if not s.trained_input][:2] == ["input", "input.bias"]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda b, x, w, h: b.matmul(w, h), "the weight needs x"),
        (lambda b, x, w, h: b.weight("input", b.width, x.axis), "declared twice"),
        (lambda b, x, w, h: b.add(x, h), "different axes"),
        (lambda b, x, w, h: b.moment(x, h), "one axis"),
        (lambda b, x, w, h: b.multiply(x, h), "differ"),
        (lambda b, x, w, h: b.build(h), "wide axis"),
        (lambda b, x, w, h: b.apply("relu", Value(99, b.width)), "does not belong"),
        (lambda b, x, w, h: b.matmul(Weight("other", b.width, b.width), h), "does not belong"),
        (lambda b, x, w, h: b.axis("depth", "-1/2"), "cannot shrink"),
    ],
)
def test_ill_typed_programs_are_refused(build, message: str) -> None:
    b = tp.Builder()
    x = b.data("x")
    w = b.weight("input", b.width, x.axis)
    h = b.matmul(w, x)
    with pytest.raises(ProgramError, match=message):
        build(b, x, w, h)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: tp.mlp(0), SettingError, "at least 1"),
        (lambda: tp.mlp(True), SettingError, "at least 1"),
        (lambda: tp.mlp(2, "sine"), UnknownName, "relu, tanh"),
        (lambda: tp.derive(tp.mlp(), "foo"), UnknownName, "sp-full-align"),
        (lambda: tp.derive(tp.mlp(), optimizer="foo"), UnknownName, "signsgd"),
        (lambda: tp.derive(tp.mlp(), loss="foo"), UnknownName, "softmax-mse"),
        (lambda: tp.derive(tp.mlp(), lr_exponent=0.5), ExponentError, "float is not exact"),
        (lambda: tp.derive(tp.mlp(), lr_exponent="1/0"), ExponentError, "divides by zero"),
        (lambda: tp.derive(tp.mlp(), lr_exponent="oo"), SettingError, "finite"),
        (lambda: tp.derive(tp.mlp(), lr_exponent="r**2"), ExponentError, "not an affine"),
        (lambda: tp.derive(tp.mlp(), lr_exponent="__import__('os')"), ExponentError, "not an affine"),
        (lambda: tp.derive(tp.mlp(), steps=0), SettingError, "from 1 to"),
        (lambda: tp.derive("mlp"), SettingError, "needs a Program"),
        (lambda: tp.Parametrization.from_layers(a=[0], b=[0, 0], c=[0, 0]), SettingError, "one length"),
        (lambda: tp.Parametrization.from_layers(a=[], b=[], c=[]), SettingError, "one length"),
        (
            lambda: tp.derive(tp.mlp(3), tp.Parametrization.from_layers([0] * 2, [0] * 2, [0] * 2)),
            SettingError,
            "has 4",
        ),
        (lambda: tp.derive(tp.mlp(), "sp").explain("readout.feature"), UnknownName, "readout.effective"),
        (lambda: tp.derive(tp.mlp(), "sp").step(-1), SettingError, "at least 0"),
    ],
)
def test_bad_requests_teach(call, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        call()
    assert isinstance(caught.value, tp.TensorprogError)
    assert "\n" not in str(caught.value)


# -- the backward program against autograd -----------------------------------------------------------------------------


def interpret(instructions, values: list, weights: dict[Weight, torch.Tensor], n: int) -> list:
    """Run instructions with tensors; ``values`` holds the data by position and is extended."""
    given = iter(list(values))
    values.clear()
    for ins in instructions:
        values.append(execute(ins, values, weights, n, given))
    return values


def execute(ins, values: list, weights: dict[Weight, torch.Tensor], n: int, given):
    args = [values[a] for a in ins.args]
    match ins:
        case Data():
            return next(given)
        case MatMul(weight, _, transposed):
            return (weights[weight].T if transposed else weights[weight]) @ args[0]
        case Apply(function, _, order):
            result = args[0]
            if not order:
                return function.torch(result)
            point = result.detach().requires_grad_(True)
            value = function.torch(point)
            for _ in range(order):
                (value,) = torch.autograd.grad(value.sum(), point, create_graph=True)
            return value.detach()
        case Add():
            return sum(args)
        case Multiply():
            return args[0] * args[1]
        case Moment():
            return args[0] @ args[1]
        case Scaled(_, power):
            return args[0] * float(n) ** float(power.const)
    raise TypeError(ins)


def random_program(seed: int) -> Program:
    rng = random.Random(seed)
    b = tp.Builder()
    x = b.data("x")
    vectors = [b.matmul(b.weight("input", b.width, x.axis), x)]
    matrices = [b.weight(f"hidden.{k}", b.width, b.width) for k in range(2)]
    for _ in range(rng.randint(4, 9)):
        u, v = rng.choice(vectors), rng.choice(vectors[-2:])
        kind = rng.choice(["W", "W^T", "tanh", "gelu", "product", "sum", "moment", "scaled"])
        if kind in ("W", "W^T"):
            vectors.append(b.matmul(rng.choice(matrices), v, transposed=kind == "W^T"))
        elif kind in ("tanh", "gelu"):
            vectors.append(b.apply(kind, v))
        elif kind == "product":
            vectors.append(b.multiply(u, v))
        elif kind == "sum":
            vectors.append(b.add(u, v))
        elif kind == "moment":
            vectors.append(b.multiply(b.scaled(b.moment(u, v), -1), u))
        else:
            vectors.append(b.scaled(v, "-1/2"))
    return b.build(b.matmul(b.weight("readout", b.finite("classes"), b.width), vectors[-1]))


@pytest.mark.parametrize("seed", range(40))
def test_backward_program_agrees_with_autograd(seed: int) -> None:
    program = random_program(seed)
    back = backward(program)
    n, rng = 7, torch.Generator().manual_seed(seed)

    def size(axis) -> int:
        return n if axis.wide else 3

    weights = {
        w: (torch.randn(size(w.out), size(w.into), generator=rng, dtype=torch.float64) / 2).requires_grad_(True)
        for w in program.weights
    }
    data = torch.randn(3, generator=rng, dtype=torch.float64)
    chi = torch.randn(3, generator=rng, dtype=torch.float64)
    values = interpret(program.instructions, [data], weights, n)
    expected = torch.autograd.grad(values[program.output] @ chi, list(weights.values()), allow_unused=True)
    with torch.no_grad():
        values = [v.detach() for v in values]
        given = iter([chi])
        for ins in back.instructions:
            with torch.enable_grad():
                result = execute(ins, values, weights, n, given)
            values.append(result.detach())
    for w, gradient in zip(weights, expected, strict=True):
        mine = sum((torch.outer(values[o], values[i]) for o, i in back.gradients[w]), torch.zeros_like(weights[w]))
        theirs = torch.zeros_like(mine) if gradient is None else gradient
        assert torch.allclose(mine, theirs, atol=1e-9), w.name


# -- the frame ---------------------------------------------------------------------------------------------------------


def test_import_is_light() -> None:
    code = (
        "import sys, tensorprog; "
        "heavy = {'torch', 'sympy', 'pandas', 'matplotlib', 'sklearn', 'scipy'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_deriving_is_linear_in_depth() -> None:
    """A ratio in one run: four times the depth costs about four times as much, never nine times."""

    def cost(depth: int) -> float:
        program = tp.mlp(depth)
        best = float("inf")
        for _ in range(3):
            start = time.process_time()
            tp.derive(program, "sp", optimizer="adam", loss="ce", lr_exponent=-1, steps=3)
            best = min(best, time.process_time() - start)
        return best

    cost(4)
    assert cost(96) / cost(24) < 9


def test_ninety_six_layers() -> None:
    d = tp.derive(tp.mlp(96), "sp", optimizer="adam", loss="ce", lr_exponent=-1, steps=3)
    assert d.settled
    assert d.regime is tp.Regime.CONTROLLED_DIVERGENCE
    assert {str(s.effective) for n, s in d.steps[1].sites.items() if n.startswith("hidden")} == {"0"}
