"""Layers that grow with different powers of n in ``mup``: trained in float64 against the derived exponents.

What initial weights pass on is a sum of an aligned part and a random one, n^(-|p - 1|/2) below it: rates are large
enough for the aligned one to lead at these widths. At a tenth of them the same settings show the slope of the random
part, 0.2 to 0.3 lower, in what n^2 neurons send to n.
"""

from __future__ import annotations

from typing import Any

import pytest

from tensorprog.optimizers import optimizer
from tensorprog.parametrizations import MUP
from tests.literature.scalings import chain
from tests.sampling.trained import Trained, check

pytest.importorskip("torch")

WIDENS, NARROWS = ("1", "2", "1"), ("1", "1/2", "1")
BIG: dict[str, Any] = {"widths": (32, 64, 128), "seeds": 32}


def mup(name: str, axes: tuple[str, ...], **options: Any) -> Trained:
    found = MUP.assign(chain(axes), optimizer(name)).values()
    b, c = (tuple(str(getattr(abc, key)) for abc in found) for key in "bc")
    return Trained(name, b, c, axes=axes, **options)


SETTINGS = {
    "n^2 neurons, adam": mup("adam", WIDENS, **BIG),
    "n^2 neurons, sgd": mup("sgd", WIDENS, rate=6.0, **BIG),
    "n^2 neurons, muon": mup("muon", WIDENS, steps=2, **BIG),
    "n^(1/2) neurons, adam": mup("adam", NARROWS, rate=0.6, widths=(64, 128, 256, 512, 1024)),
    "n^(1/2) neurons, a saddle of sgd": mup("sgd", NARROWS, rate=0.3, widths=(64, 128, 256, 512, 1024)),
}


@pytest.mark.parametrize(
    "name", [pytest.param(k, marks=[pytest.mark.slow] * (s.axes == WIDENS)) for k, s in SETTINGS.items()]
)
def test_trained_layers_of_different_sizes(name: str) -> None:
    check(SETTINGS[name])


def test_the_saddle_is_predicted() -> None:
    """Nothing inside is Theta(1), from the first step on."""
    d = SETTINGS["n^(1/2) neurons, a saddle of sgd"].derive()
    last = {name: str(s.effective) for name, s in d.steps[3].sites.items()}
    assert last == {"input": "-1/4", "hidden.1": "-1/4", "hidden.2": "-1/2", "readout": "-1/2"}
