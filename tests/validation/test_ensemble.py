"""Seeds trained as one batch agree with seeds trained one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tensorprog.architectures import mlp
from tensorprog.setting import setting
from validation.ensemble import WIDEST, train_together
from validation.measure import OUTPUT, Quantity
from validation.realize import Realization
from validation.train import Run, batched, execute_together, teams, train


def runs(optimizer: str = "sgd", loss: str = "ce", width: int = 32, seeds: int = 3, bias: bool = False) -> list[Run]:
    s = setting(mlp(2, bias=bias), "mup", optimizer_=optimizer, loss_=loss)
    real = Realization(width, base_width=4, base_lr=0.05, output_scale=0.5, dtype=torch.float64)
    return [Run(s, replace(real, seed=seed), steps=(1, 4)) for seed in range(seeds)]


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "signsgd"])
@pytest.mark.parametrize("loss", ["ce", "mse", "huber"])
@pytest.mark.parametrize("bias", [False, True])
def test_equal_to_the_plain_loop(optimizer: str, loss: str, bias: bool) -> None:
    team = runs(optimizer, loss, bias=bias)
    assert batched(team)
    for together, alone in zip(execute_together(team), [r.execute() for r in team], strict=True):
        assert together.key == alone.key
        assert [(m.site, m.quantity, m.step) for m in together.measurements] == [
            (m.site, m.quantity, m.step) for m in alone.measurements
        ]
        for a, b in zip(together.measurements, alone.measurements, strict=True):
            assert a.size == pytest.approx(b.size, rel=1e-9, abs=1e-12), (a.site, a.quantity, a.step)
        assert together.losses == pytest.approx(alone.losses, rel=1e-9)


def test_weights_are_views_and_end_where_the_loop_ends() -> None:
    team = runs("adam")
    alone = [r._built()[0] for r in team]
    together = [r._built()[0] for r in team]
    for run, network in zip(team, alone, strict=True):
        train(network, run._optimizer(network.groups()), run.setting.loss, run._batches())
    losses = train_together(
        together, team[0]._optimizer, team[0].setting.loss, zip(*(r._batches() for r in team), strict=True)
    )
    assert [len(v) for v in losses] == [4, 4, 4]
    for a, b in zip(alone, together, strict=True):
        for p, q in zip(a.parameters(), b.parameters(), strict=True):
            torch.testing.assert_close(p, q)


def test_what_is_not_batched() -> None:
    assert not batched(runs(width=WIDEST + 1))
    assert not batched(runs("muon"))  # its update is not elementwise: stacked matrices would be something else
    assert not batched(runs(seeds=1))
    muon = runs("muon")
    assert [r.key for r in execute_together(muon)] == [r.key for r in muon]


def test_teams_differ_in_seeds_only() -> None:
    mixed = [*runs("sgd"), *runs("adam"), *runs("sgd", width=64)]
    assert [len(team) for team in teams(mixed)] == [3, 3, 3]
    for team in teams(mixed):
        assert {(r.setting.optimizer.name, r.realization.width) for r in team} == {
            (team[0].setting.optimizer.name, team[0].realization.width)
        }


def test_a_network_that_diverges_does_not_disturb_its_neighbours() -> None:
    wild, calm, _ = runs()
    networks = [r._built()[0] for r in (wild, calm)]
    with torch.no_grad():
        networks[0].weights[0].mul_(1e300)
    zipped = zip(wild._batches(), calm._batches(), strict=True)
    losses = train_together(networks, calm._optimizer, calm.setting.loss, zipped)
    assert not all(torch.isfinite(torch.tensor(losses[0])))
    (logits,) = [
        m.size for m in calm.execute().measurements if (m.site, m.quantity, m.step) == (OUTPUT, Quantity.LOGITS, 4)
    ]
    with torch.no_grad():
        found = networks[1](calm.data.probe_batch().to("cpu", torch.float64).x)
    assert float(found.square().mean().sqrt()) == pytest.approx(logits, rel=1e-9)
