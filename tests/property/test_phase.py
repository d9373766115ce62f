"""Phase diagrams are exact: at random rational points and on every boundary they agree with direct derivations."""

from __future__ import annotations

import random
from fractions import Fraction
from functools import cache

import numpy as np
import pytest

import tensorprog as tp
from tensorprog.phase import Phase
from tensorprog.regimes import Regime

TRAINED = [("sgd", "ce"), ("adam", "ce"), ("sgd", "mse"), ("adam", "mse")]
WINDOW = ((-2, "1/4"), (0, "3/2"))


@cache
def diagram(optimizer: str, loss: str) -> tp.PhaseDiagram:
    return tp.phase(tp.mlp(hidden_layers=2), "sp", optimizer=optimizer, loss=loss, window=WINDOW)


def derived(optimizer: str, loss: str, r: Fraction, b: Fraction) -> Phase:
    sp = tp.parametrizations.SP.where("readout", b=b)
    d = tp.derive(tp.mlp(hidden_layers=2), sp, optimizer=optimizer, loss=loss, lr_exponent=r, steps=1)
    return Phase(d.regime, None if d.regime is Regime.CATASTROPHIC else d.learning)


@pytest.mark.parametrize(("optimizer", "loss"), TRAINED)
def test_random_points_agree_with_direct_derivations(optimizer: str, loss: str) -> None:
    d = diagram(optimizer, loss)
    draw = random.Random(f"{optimizer} {loss}")
    for denominator in (4, 4, 8, 8, 7, 30, 1009, 1013) * 2:
        r = Fraction(draw.randint(-2 * denominator, denominator // 4), denominator)
        b = Fraction(draw.randint(0, 3 * denominator // 2), denominator)
        assert d.at(r, b) == derived(optimizer, loss, r, b), (r, b)


@pytest.mark.parametrize(("optimizer", "loss"), TRAINED)
def test_edges_and_corners_agree_with_direct_derivations(optimizer: str, loss: str) -> None:
    d = diagram(optimizer, loss)
    for e in d.edges:
        t = Fraction(3, 7)
        at = [p + t * (q - p) for p, q in zip(e.start, e.end, strict=True)]
        assert e.phase == derived(optimizer, loss, *at), e
    for point, phase in d.corners:
        assert phase == derived(optimizer, loss, *point), point


@pytest.mark.parametrize(("optimizer", "loss"), TRAINED)
def test_regions_cover_the_window_once(optimizer: str, loss: str) -> None:
    def area(loop: tuple[tuple[Fraction, Fraction], ...]) -> Fraction:
        pairs = zip(loop, (*loop[1:], loop[0]), strict=True)
        return sum((p[0] * q[1] - q[0] * p[1] for p, q in pairs), Fraction(0)) / 2

    d = diagram(optimizer, loss)
    covered = sum((area(loop) for r in d.regions for loop in (r.outline, *r.holes)), Fraction(0))
    assert covered == area(d.window.corners)


def test_the_regimes_of_haas_2025() -> None:
    """SP, SGD, CE: stable up to -1, controlled up to -1/2; features are learned on the last edge. MSE has no middle."""
    d = diagram("sgd", "ce")
    assert [str(d.at(r, "1/2")) for r in (-1, "-3/4", "-1/2", "-1/4")] == [
        "stable, kernel",
        "controlled divergence, kernel",
        "controlled divergence, feature",
        "catastrophic",
    ]
    assert [str(diagram("sgd", "mse").at(r, "1/2")) for r in (-1, "-3/4")] == ["stable, kernel", "catastrophic"]


def test_mup_is_a_point() -> None:
    """Over the learning rates of hidden and readout, muP is the only maximal stable point."""
    d = tp.phase(tp.mlp(hidden_layers=2), "mup", optimizer="adam", free=("c_hidden", "c_readout"))
    maximal = [p for p, phase in d.corners if str(phase) == "stable, maximal"]
    assert maximal == [(Fraction(1), Fraction(1))]
    assert not [e for e in d.edges if str(e.phase) == "stable, maximal"]


def test_the_grid_agrees_with_the_cells() -> None:
    d = diagram("adam", "ce")
    grid = d.grid(45, 30)
    assert grid.shape == (30, 45)
    x0, x1, y0, y1 = Fraction(-2), Fraction(1, 4), Fraction(0), Fraction(3, 2)
    for column, row in np.random.default_rng(1).integers(0, (45, 30), (40, 2)).tolist():
        x = x0 + (column + Fraction(1, 2)) * (x1 - x0) / 45
        y = y0 + (row + Fraction(1, 2)) * (y1 - y0) / 30
        at = d.at(x, y)
        assert d.phases[grid[row, column]] == at or not any(c.holds((x, y)) for r in d.regions for c in r.cells)


def test_without_a_window_every_corner_is_shown() -> None:
    whole = tp.phase(tp.mlp(hidden_layers=1), "sp", optimizer="sgd")
    assert {p for p, _ in whole.corners} >= {(Fraction(-1), Fraction(1, 2))}
    assert whole.to_dict()["symbols"] == ["r", "b_readout"]


def test_what_is_no_plane_is_refused() -> None:
    net = tp.mlp(hidden_layers=1)
    for free, window in ((("r",), None), (("r", "b_x"), None), (("r", "c"), ((1, 0), (0, 1))), (("r", "c"), ((0, 1),))):
        with pytest.raises(tp.TensorprogError):
            tp.phase(net, "sp", free=free, window=window)
