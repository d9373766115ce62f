"""Seeds trained and measured as one batch agree with seeds one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tensorprog.architectures import mlp, resnet_mlp
from tensorprog.losses import LOSSES
from tensorprog.optimizers import OPTIMIZERS
from tensorprog.optimizers import optimizer as optimizer_of
from tensorprog.program import Builder, Program
from tensorprog.setting import setting
from validation.ensemble import ALONG_A_LEADING_AXIS, WIDEST, batchable, stacked, train_together
from validation.measure import OUTPUT, Quantity
from validation.realize import Network, Realization
from validation.train import Run, batched, execute_together, teams, train


def runs(
    optimizer: str = "sgd",
    loss: str = "ce",
    width: int = 32,
    seeds: int = 3,
    program: Program | None = None,
    dtype: torch.dtype = torch.float64,
) -> list[Run]:
    s = setting(program or mlp(2), "mup", optimizer_=optimizer, loss_=loss)
    real = Realization(width, base_width=4, base_lr=0.05, output_scale=0.5, dtype=dtype)
    return [Run(s, replace(real, seed=seed), steps=(1, 4)) for seed in range(seeds)]


def everything() -> Program:
    """A network with every instruction that can be batched, a transposed product and scalars among them."""
    b = Builder()
    x = b.data("x")
    assert x.axis is not None
    h = b.matmul(b.weight("in", b.width, x.axis), x)
    w = b.weight("tied", b.width, b.width)
    y = b.matmul(w, b.apply("relu", b.matmul(w, b.normalize(b.center(h)))), transposed=True)
    gated = b.multiply(b.scaled(b.moment(h, y), -1), b.add(h, y))
    return b.build(b.matmul(b.weight("out", b.finite("classes"), b.width), b.add(gated, h)))


PROGRAMS = {
    "plain": mlp(2),
    "bias": mlp(2, bias=True),
    "norm layers": resnet_mlp(2, norm="layernorm", bias=True),
    "everything": everything(),
}


def assert_agree(team: list[Run], *, rel: float, small: float) -> None:
    assert batched(team)
    for together, alone in zip(execute_together(team), [r.execute() for r in team], strict=True):
        assert together.key == alone.key
        assert [(m.site, m.quantity, m.step) for m in together.measurements] == [
            (m.site, m.quantity, m.step) for m in alone.measurements
        ]
        for a, b in zip(together.measurements, alone.measurements, strict=True):
            assert a.size == pytest.approx(b.size, rel=rel, abs=small), (a.site, a.quantity, a.step)
        assert together.losses == pytest.approx(alone.losses, rel=rel)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "signsgd"])
def test_programs_agree_with_the_plain_loop(program: str, optimizer: str) -> None:
    assert_agree(runs(optimizer, program=PROGRAMS[program]), rel=1e-9, small=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_agree_with_the_plain_loop(loss: str) -> None:
    assert_agree(runs("adam", loss), rel=1e-9, small=1e-12)


def test_float32_agrees_up_to_rounding() -> None:
    assert_agree(runs(dtype=torch.float32, width=WIDEST), rel=1e-3, small=1e-8)


def test_the_programs_above_have_every_instruction_that_is_batched() -> None:
    found = {type(ins) for program in PROGRAMS.values() for ins in program.instructions}
    assert found == set(ALONG_A_LEADING_AXIS.__args__)
    assert all(batchable(program) for program in PROGRAMS.values())


def test_every_optimizer_that_claims_to_be_elementwise_agrees() -> None:
    claimed = [name for name, entry in OPTIMIZERS.items() if entry().elementwise]
    assert {"sgd", "adam", "signsgd"} <= set(claimed)
    for name in claimed:
        assert_agree(runs(name), rel=1e-7, small=1e-10)


@pytest.mark.parametrize("measured", [False, True])
def test_measuring_leaves_training_unchanged_bit_for_bit(measured: bool) -> None:
    team = runs("adam", dtype=torch.float32)
    network, check = team[0]._built(range(3))
    batches = list(map(stacked, zip(*(r._batches() for r in team), strict=True)))

    def observe(step: int) -> None:
        if measured:
            check.of_each(step)

    train_together(network, team[0]._optimizer(network.groups()), team[0].setting.loss, batches, observe)
    plain, _ = team[0]._built(range(3))
    train_together(plain, team[0]._optimizer(plain.groups()), team[0].setting.loss, batches)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), plain.parameters(), strict=True))


def test_weights_start_and_end_where_those_of_the_loop_do() -> None:
    team = runs("adam")
    alone = [r._built()[0] for r in team]
    together, _ = team[0]._built(range(3))
    assert_same(together, alone, exact=True)
    for run, network in zip(team, alone, strict=True):
        train(network, run._optimizer(network.groups()), run.setting.loss, run._batches())
    batches = map(stacked, zip(*(r._batches() for r in team), strict=True))
    losses = train_together(together, team[0]._optimizer(together.groups()), team[0].setting.loss, batches)
    assert [len(v) for v in losses] == [4, 4, 4]
    assert_same(together, alone, exact=False)


def assert_same(together: Network, alone: list[Network], *, exact: bool) -> None:
    for i, network in enumerate(alone):
        for p, q in zip(network.parameters(), together.parameters(), strict=True):
            assert torch.equal(p, q[i]) if exact else torch.allclose(p, q[i], rtol=1e-9, atol=1e-12)


def test_what_is_not_batched() -> None:
    assert not batched(runs(width=WIDEST + 1))
    assert not batched(runs("muon"))  # its update is not elementwise: stacked matrices would be something else
    assert not batched(runs(seeds=1))
    muon = runs("muon")
    assert [r.key for r in execute_together(muon)] == [r.key for r in muon]


def test_clipping_by_a_norm_is_not_batched() -> None:
    clipped = optimizer_of("clipped")
    assert not clipped.elementwise


def test_teams_differ_in_seeds_only() -> None:
    mixed = [*runs("sgd"), *runs("adam"), *runs("sgd", width=64)]
    assert [len(team) for team in teams(mixed)] == [3, 3, 3]
    for team in teams(mixed):
        assert {(r.setting.optimizer.name, r.realization.width) for r in team} == {
            (team[0].setting.optimizer.name, team[0].realization.width)
        }


def test_a_network_that_diverges_does_not_disturb_its_neighbours() -> None:
    wild, calm, _ = runs()
    networks, _ = wild._built([0, 1])
    with torch.no_grad():
        networks.weights[0][0].mul_(1e300)
    batches = map(stacked, zip(wild._batches(), calm._batches(), strict=True))
    losses = train_together(networks, calm._optimizer(networks.groups()), calm.setting.loss, batches)
    assert not all(torch.isfinite(torch.tensor(losses[0])))
    (logits,) = [
        m.size for m in calm.execute().measurements if (m.site, m.quantity, m.step) == (OUTPUT, Quantity.LOGITS, 4)
    ]
    probe = calm.data.probe_batch().to("cpu", torch.float64)
    with torch.no_grad():
        found = networks(stacked([probe, probe]).x)[1]
    assert float(found.square().mean().sqrt()) == pytest.approx(logits, rel=1e-9)
