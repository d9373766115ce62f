"""max-lr: three suprema, whether they are attained, and where the setting lies."""

from __future__ import annotations

import pytest

from tests.cli.runner import Run


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--loss", "ce"), ("-1/2", "-1/2", "-1")),
        (("--loss", "mse"), ("-1", "-1", "-1")),
        (("--optimizer", "adam"), ("-1", "-1", "-3/2")),
        (("--hidden-layers", "1"), ("0", "0", "-1")),
        (("--parametrization", "mup"), ("0", "0", "0")),
    ],
)
def test_published_suprema(run: Run, options: tuple[str, ...], expected: tuple[str, ...]) -> None:
    d = run("max-lr", *options, "--json").json
    keys = ("max_stable_lr", "bounded_updates_lr", "bounded_logits_lr")
    assert tuple(d[f"{k}_exponent"] for k in keys) == expected
    assert all(isinstance(d[f"{k}_attained"], bool) for k in keys)
    assert d["setting"]["model"] == "mlp"


def test_the_settings_own_exponent_is_placed(run: Run) -> None:
    assert "At r = -1/2, as in this setting: stable, bounded updates." in run("max-lr", "--lr-exponent", "-1/2").out
    assert "At r = 0, as in this setting: catastrophic." in run("max-lr").out
    assert "stable, bounded updates, bounded logits." in run("max-lr", "--lr-exponent", "-1").out


def test_it_does_not_depend_on_the_given_exponent(run: Run) -> None:
    here, there = (run("max-lr", "--lr-exponent", r, "--json").json for r in ("0", "-7"))
    assert here["max_stable_lr_exponent"] == there["max_stable_lr_exponent"]
