"""Training: reproducible, blind to being measured, and never stopped by a number that is not finite."""

from __future__ import annotations

import math

import pytest
import torch

from tensorprog.architectures import mlp
from tensorprog.losses import LOSSES
from tensorprog.optimizers import OPTIMIZERS
from tensorprog.setting import setting
from validation.data import Digits
from validation.measure import CoordinateCheck, Quantity
from validation.realize import Network, Realization
from validation.train import Run, train

DATA = Digits(batch=16, probe=32)


def trained(optimizer: str, loss: str, *, measured: bool) -> list[torch.Tensor]:
    s = setting(mlp(2), "sp", optimizer_=optimizer, loss_=loss)
    net = Network(s.program, s.exponents(), Realization(24, DATA.sizes, base_width=16, base_lr=0.01))
    check = CoordinateCheck(net, s.loss, DATA.probe_batch().to("cpu", torch.float32))
    batches = (DATA.batch_at(0, t).to("cpu", torch.float32) for t in range(4))
    torch.manual_seed(0)

    def observe(step: int) -> None:
        if measured:
            check.at(step)

    train(net, s.optimizer.torch(net.groups()), s.loss, batches, observe)
    return [w.detach().clone() for w in net.weights] + [torch.rand(1)]  # nor does it draw from the global stream


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_measurement_leaves_training_unchanged_bit_for_bit(optimizer: str) -> None:
    plain, watched = (trained(optimizer, "ce", measured=m) for m in (False, True))
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))
    assert all(torch.isfinite(w).all() for w in plain)


@pytest.mark.parametrize("loss", list(LOSSES))
def test_every_loss_trains(loss: str) -> None:
    start, end = (
        Network(s.program, s.exponents(), Realization(24, DATA.sizes, base_width=16)).weights
        for s in [setting(mlp(2), "sp", loss_=loss)] * 2
    )
    assert all(torch.equal(a, b) for a, b in zip(start, end, strict=True))
    assert not torch.equal(trained("sgd", loss, measured=False)[0], start[0])


def test_runs_are_reproducible_bit_for_bit() -> None:
    run = Run(setting(mlp(2), "mup", optimizer_="adam"), Realization(24, base_lr=0.01), DATA, (1, 2))
    first, second = run.execute(), run.execute()
    assert first.measurements == second.measurements
    assert first.losses == second.losses
    assert first.key == second.key
    assert {m.step for m in first.measurements} == {0, 1, 2}
    assert len(first.losses) == 2


def test_divergence_is_data() -> None:
    run = Run(setting(mlp(2), "sp", optimizer_="sgd", loss_="mse"), Realization(24, base_lr=1e12), DATA, (1, 6))
    record = run.execute()
    last = {m.quantity: m.size for m in record.measurements if m.step == 6 and m.site == "output"}
    assert not math.isfinite(last[Quantity.LOGITS])
    assert len(record.losses) == 6
    assert not math.isfinite(record.losses[-1])


def test_key_depends_on_everything_that_decides_the_result() -> None:
    s = setting(mlp(2), "sp")
    base = Run(s, Realization(24), DATA, (1,))
    others = [
        Run(setting(mlp(3), "sp"), Realization(24), DATA, (1,)),
        Run(setting(mlp(2, activation="tanh"), "sp"), Realization(24), DATA, (1,)),
        Run(setting(mlp(2), "mup"), Realization(24), DATA, (1,)),
        Run(setting(mlp(2), "sp", optimizer_="adam"), Realization(24), DATA, (1,)),
        Run(setting(mlp(2), "sp", loss_="mse"), Realization(24), DATA, (1,)),
        Run(setting(mlp(2), "sp", lr_exponent=-1), Realization(24), DATA, (1,)),
        Run(setting(mlp(2), "sp", zero_readout=True), Realization(24), DATA, (1,)),
        Run(s, Realization(25), DATA, (1,)),
        Run(s, Realization(24, seed=1), DATA, (1,)),
        Run(s, Realization(24, base_lr=2.0), DATA, (1,)),
        Run(s, Realization(24, output_scale=2.0), DATA, (1,)),
        Run(s, Realization(24, base_width=7), DATA, (1,)),
        Run(s, Realization(24, dtype=torch.float64), DATA, (1,)),
        Run(s, Realization(24), Digits(noise=0.1), (1,)),
        Run(s, Realization(24), DATA, (1, 2)),
    ]
    assert len({r.key for r in [base, *others]}) == len(others) + 1
    assert Run(setting(mlp(2), "sp", steps=9), Realization(24), DATA, (1,)).key == base.key


# -- data


def test_batches_are_fresh_deterministic_and_apart_from_the_probe() -> None:
    first, again, later, other = (DATA.batch_at(*at) for at in [(0, 0), (0, 0), (0, 1), (1, 0)])
    assert torch.equal(first.x, again.x)
    assert torch.equal(first.y, again.y)
    assert not torch.equal(first.x, later.x)
    assert not torch.equal(first.x, other.x)
    probe = DATA.probe_batch()
    assert probe.x.shape == (32, 64)
    assert torch.equal(probe.x, DATA.probe_batch().x)
    assert not (first.x[:, None] == probe.x[None]).all(-1).any()


def test_images_have_norm_one_and_labels_carry_irreducible_noise() -> None:
    everything = Digits(noise=0.0, batch=4000, probe=1).batch_at(0, 0)
    assert everything.x.square().sum(1).mean() == pytest.approx(1, rel=0.02)
    noisy, again = (Digits(noise=0.5, batch=4000, probe=1).batch_at(0, t) for t in (0, 0))
    assert torch.equal(noisy.y, again.y)
    assert torch.equal(noisy.x, everything.x)
    changed = (noisy.y != everything.y).double().mean()
    assert changed == pytest.approx(0.5 * 0.9, abs=0.03)  # a tenth of the uniform labels is right by chance
