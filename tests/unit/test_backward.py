"""The backward program against autograd, for every instruction: shared weights, biases, scalar outputs, two widths."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

import tensorprog as tp
from tensorprog.architectures import resnet_mlp
from tensorprog.backward import backward
from tensorprog.nonlinearities import NONLINEARITIES
from tensorprog.program import MatMul, Program, Value
from tests.interpreter import derivative, gaussian, run, size

N = 16


def random_program(seed: int) -> Program:
    """A program with a tied readout or a scalar output, biases, a second axis of size n^(1/2), and a reused matrix."""
    rng = random.Random(seed)
    b = tp.Builder()
    narrow = b.axis("narrow", "1/2")
    x = b.data("x")
    first = b.weight("input", b.width, x.axis)
    matrices = [b.weight(f"hidden.{k}", b.width, b.width) for k in range(2)]
    down, vectors, scalars = b.weight("down", narrow, b.width), [b.matmul(first, x)], []
    for k in range(rng.randint(4, 9)):
        u, v = rng.choice(vectors), rng.choice(vectors[-2:])
        kind = rng.choice(["W", "phi", "product", "sum", "moment", "scaled", "bias", "gate", "bottleneck", "again"])
        if kind == "W":
            vectors.append(b.matmul(rng.choice(matrices), v, transposed=rng.random() < 0.5))
        elif kind == "phi":
            vectors.append(b.apply(rng.choice(list(NONLINEARITIES)), v))
        elif kind == "product":
            vectors.append(b.multiply(u, v))
        elif kind == "sum":
            vectors.append(b.add(u, v, u))
        elif kind == "moment":
            scalars.append(b.scaled(b.moment(u, v), -1))
        elif kind == "scaled":
            vectors.append(b.scaled(v, rng.choice(["-1/2", "1/4"])))
        elif kind == "bias":
            vectors.append(b.bias(f"bias.{k}", v))
        elif kind == "gate" and scalars:
            vectors.append(b.multiply(rng.choice(scalars), v))
        elif kind == "bottleneck":
            vectors.append(b.matmul(down, b.apply("tanh", b.matmul(down, v)), transposed=True))
        elif kind == "again":
            vectors.append(b.add(v, b.matmul(first, x)))
    return b.build(_output(b, rng, first, vectors[-1], scalars))


def _output(b: tp.Builder, rng: random.Random, first: object, last: Value, scalars: list[Value]) -> Value:
    kind = rng.choice(["tied", "scalar", "readout"])
    if kind == "tied":
        return b.matmul(first, last, transposed=True)  # type: ignore[arg-type]
    if kind == "scalar":
        return b.moment(last, last) if not scalars else b.multiply(scalars[-1], b.moment(last, last))
    return b.bias("readout.bias", b.matmul(b.weight("readout", b.finite("classes"), b.width), last))


def torch_values(program: Program, weights: dict, data: dict) -> list:
    """The forward program with tensors; autograd does the rest."""
    values: list = []
    for ins in program.instructions:
        args = [values[a] for a in ins.args]
        name = type(ins).__name__
        if name == "Data":
            values.append(data.get(ins.name, torch.ones(1, dtype=torch.float64)))
        elif isinstance(ins, MatMul):
            w = weights[ins.weight.name]
            values.append((w.T if ins.transposed else w) @ args[0])
        elif name == "Apply":
            values.append(ins.function.torch(args[0]))
        elif name == "Scaled":
            values.append(args[0] * float(N) ** float(ins.power.const))
        elif name == "Center":
            values.append(args[0] - args[0].mean())
        elif name == "Normalize":
            values.append(args[0] / args[0].square().mean().sqrt())
        else:
            values.append({"Add": sum, "Multiply": lambda a: a[0] * a[1], "Moment": lambda a: a[0] @ a[1]}[name](args))
    return values


NORMED = [
    resnet_mlp(2, "tanh", norm=norm, placement=placement, bias=True)
    for norm in ("layernorm", "rmsnorm")
    for placement in ("pre", "post")
]


@pytest.mark.parametrize(
    "program", [*map(random_program, range(60)), *NORMED], ids=[*map(str, range(60)), *map(str, NORMED)]
)
def test_backward_program_agrees_with_autograd(program: Program) -> None:
    seed = len(program.instructions)
    back = backward(program)
    rng = np.random.default_rng(seed)
    weights = gaussian(program, N, rng, lambda w: 0.5 / size(w.into, N) ** 0.5)
    axis = program.axes[program.output]
    data = {"x": rng.standard_normal(3), "chi": rng.standard_normal(size(axis, N) if axis else ())}

    values = run([*program.instructions, *back.instructions], weights, data, N)
    tensors = {name: torch.tensor(w, requires_grad=True) for name, w in weights.items()}
    theirs = torch_values(program, tensors, {k: torch.tensor(v) for k, v in data.items()})
    for mine, value in zip(values[: back.first], theirs, strict=True):
        np.testing.assert_allclose(mine, value.detach().numpy(), atol=1e-9)

    loss = (theirs[program.output] * torch.tensor(data["chi"])).sum()
    gradients = torch.autograd.grad(loss, [tensors[w.name] for w in program.weights], allow_unused=True)
    for w, gradient in zip(program.weights, gradients, strict=True):
        mine = sum((np.outer(values[o], values[i]) for o, i in back.gradients[w]), np.zeros(weights[w.name].shape))
        expected = 0 if gradient is None else gradient.numpy()
        np.testing.assert_allclose(mine, expected, atol=1e-7 * (1 + np.abs(mine).max()))


def test_a_shared_weight_has_one_gradient_pair_per_use() -> None:
    b = tp.Builder()
    x = b.data("x")
    first, w = b.weight("input", b.width, x.axis), b.weight("hidden", b.width, b.width)
    h = b.matmul(first, x)
    h = b.matmul(w, b.apply("tanh", b.matmul(w, b.matmul(w, h, transposed=True))))
    program = b.build(b.matmul(first, h, transposed=True))
    pairs = backward(program).gradients
    assert [len(pairs[weight]) for weight in program.weights] == [2, 3]


def test_data_receives_no_gradient() -> None:
    """The input's cotangent would be a wide contraction that nobody reads."""
    program = tp.mlp(2, bias=True)
    products = [ins for ins in backward(program).instructions if isinstance(ins, MatMul)]
    assert [(p.weight.name, p.transposed) for p in products] == [("readout", True), ("hidden.1", True)]


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", NONLINEARITIES)
def test_derivatives_of_the_interpreter(name: str, order: int) -> None:
    function = NONLINEARITIES[name]
    h = np.array([-2.3, -0.7, -0.2, 0.4, 1.1, 2.9])
    below, step = derivative(function, order - 1), 1e-4
    np.testing.assert_allclose(
        derivative(function, order)(h), (below(h + step) - below(h - step)) / (2 * step), atol=1e-5
    )
