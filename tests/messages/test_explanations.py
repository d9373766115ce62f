"""Every rule that the engine writes down can be told, and the sign arguments are true."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensorprog
from tensorprog.architectures import mlp
from tensorprog.calculus import Calculus
from tensorprog.derive import derive
from tensorprog.explain import Node, signed_sum
from tensorprog.exponent import ZERO, Exponent, exponent
from tensorprog.flips import Flips, _shared, _witness
from tensorprog.losses import LOSSES
from tensorprog.nonlinearities import NONLINEARITIES
from tensorprog.optimizers import OPTIMIZERS
from tensorprog.parametrizations import Parametrization
from tensorprog.pattern import Pattern, affine
from tensorprog.rules import RULES

BITS = 8
PATTERNS = st.builds(affine, st.integers(0, 2**BITS - 1), st.lists(st.integers(0, 2**BITS - 1), max_size=4))


def members(p: Pattern) -> set[int]:
    found = {p.offset}
    for row in p.spanning():
        found |= {m ^ row for m in found}
    return found


def test_every_rule_of_the_engine_can_be_told() -> None:
    source = "".join(p.read_text(encoding="utf-8") for p in Path(tensorprog.__file__).parent.rglob("*.py"))
    written = set(re.findall(r'(?:Reason|explained)\(\s*"([a-z-]+)"', source)) | set(
        re.findall(r'rule="([a-z-]+)"', source)
    )
    assert written <= set(RULES)
    assert {"fresh", "back-reaction", "update", "value"} <= written


def test_flips_are_numbered_as_in_the_calculus() -> None:
    weights = mlp(hidden_layers=3, bias=True).weights
    names = Flips.of(weights).names
    bits = Calculus(weights, dict.fromkeys(weights, exponent(0)))._bit
    for (weight, transposed), bit in bits.items():
        at = "[:, i]" if transposed else "[i, :]"
        assert names[bit.bit_length() - 1] == f"{weight.name}_0{at}"


@given(PATTERNS, PATTERNS)
def test_a_shared_sign_is_carried_by_both(x: Pattern, y: Pattern) -> None:
    if (x * y).has_mean and (shared := _shared(x, y)) is not None:
        assert shared in members(x) & members(y)


@given(PATTERNS)
def test_a_witness_flips_every_character(p: Pattern) -> None:
    if not p.has_mean:
        assert all((_witness(p) & m).bit_count() % 2 for m in members(p))


@given(PATTERNS)
def test_a_term_with_a_fixed_part_is_odd_in_nothing(p: Pattern) -> None:
    flips = Flips(tuple(f"w{i}_0[i, :]" for i in range(BITS)))
    assert bool(flips.odd_in(p)) == (not p.has_mean)


def test_sums_are_written_as_people_write_them() -> None:
    assert signed_sum(map(exponent, ("-1/2", "0", "1"))) == "-1/2 + 0 + 1"
    assert signed_sum(map(exponent, ("0", "-1/2"))) == "0 - 1/2"
    assert signed_sum(map(exponent, ("1", "r - 1"))) == "1 + (r - 1)"
    assert signed_sum(map(exponent, ("1", "-r"))) == "1 - r"


@pytest.mark.parametrize("seed", range(6))
def test_random_settings_are_explained(seed: int) -> None:
    """Every number of a random setting has a derivation whose exponents add up, in words and as JSON."""
    rng = random.Random(seed)
    layers = rng.choice([1, 2, 3])
    program = mlp(hidden_layers=layers, activation=rng.choice(list(NONLINEARITIES)), bias=seed % 2 == 0)

    def exponents() -> list[Exponent]:
        return [exponent(f"{rng.randint(-1, 4)}/4") for _ in range(layers + 1)]

    free = Parametrization.from_layers(exponents(), exponents(), exponents())
    d = derive(program, free, optimizer=rng.choice(list(OPTIMIZERS)), loss=rng.choice(list(LOSSES)), lr_exponent="-1/2")
    for record in d.records():
        if record["step"] > 2:
            continue
        prefix = "" if record["site"] == "network" else record["site"] + "."
        e = d.explanation(prefix + record["quantity"], step=record["step"])
        assert str(e.exponent) == record["exponent"]
        assert str(e)
        for node in [] if e.root is None else walk(e.root):
            if node.summands:
                assert sum(node.summands, ZERO) == node.exponent, node


def walk(node: Node) -> list[Node]:
    found, stack = {id(node): node}, [node]
    while stack:
        for source in stack.pop().sources:
            if id(source) not in found:
                found[id(source)] = source
                stack.append(source)
    return list(found.values())
