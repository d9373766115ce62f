"""Yang et al. 2022, Tensor Programs V (arXiv 2203.03466), Table 3: rates and variances of muP."""

from __future__ import annotations

import pytest

import tensorprog as tp
from tests.literature.scalings import assert_maximal, rule


@pytest.mark.parametrize(
    ("how", "rates"),
    [
        ("sgd", {"input": "-1", "hidden.1": "0", "hidden.2": "0", "readout": "1"}),
        ("adam", {"input": "0", "hidden.1": "1", "hidden.2": "1", "readout": "1"}),
    ],
)
def test_mup_rates(how: str, rates: dict[str, str]) -> None:
    """Input fan_out and 1, hidden 1 and 1/fan_in, output 1/fan_in and 1/fan_in; biases as input weights."""
    assert rule("mup", how) == rates
    biased = rule("mup", how, bias=True)
    assert {k: v for k, v in biased.items() if not k.endswith("bias")} == rates
    hidden = [v for k, v in biased.items() if k.endswith("bias") and k != "readout.bias"]
    assert set(hidden) == {rates["input"]}
    assert biased["readout.bias"] == "0"  # fan_out of the last layer is the number of classes


@pytest.mark.parametrize("how", ["sgd", "adam"])
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("bias", [False, True])
def test_mup_is_maximal(how: str, depth: int, bias: bool) -> None:
    d = tp.derive(tp.mlp(depth, bias=bias), "mup", optimizer=how)
    assert_maximal(d)
    if bias:
        assert {str(s.effective) for s in d.steps[1].sites.values() if s.role == "vector"} == {"0"}
    else:
        assert str(d.steps[0].logits) == "-1/2"


def test_mup_init() -> None:
    """Variances 1/fan_in, 1/fan_in, 1/fan_in^2 with a finite input."""
    exponents = tp.derive(tp.mlp(2), "mup").setting.exponents().values()
    assert [str(abc.b) for abc in exponents] == ["0", "1/2", "1"]
