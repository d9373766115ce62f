"""Softmax over n^p classes of which three are labels: trained in float64 against the derived exponents.

The networks have one readout matrix and the cross-entropy of all classes; its rows are told apart when measured.
"""

from __future__ import annotations

import pytest

from tests.sampling.trained import Trained, check

pytest.importorskip("torch")

SP, MUP = ("0", "1/2", "1/2"), ("0", "1/2", "1")
WIDTHS = (64, 128, 256, 512)
SETTINGS = {
    ("sp", "sgd"): Trained("sgd", SP, ("1/2",) * 3),
    ("sp", "adam"): Trained("adam", SP, ("1",) * 3, rate=0.3),
    ("mup", "sgd"): Trained("sgd", MUP, ("-1", "0", "1"), rate=0.5),
    ("mup", "adam"): Trained("adam", MUP, ("0", "1", "1"), rate=0.1),
}
SLOW = [pytest.param(power, marks=pytest.mark.slow) for power in ("1/2", "3/2")]


@pytest.mark.parametrize("power", ["1", *SLOW])
@pytest.mark.parametrize("name", SETTINGS)
def test_trained_readouts(name: tuple[str, str], power: str) -> None:
    found = check(SETTINGS[name].with_(vocabulary=power, widths=WIDTHS, seeds=10))
    rest = [x for x in found if x.key[1] == "readout.rest"]
    assert len(rest) == 6
