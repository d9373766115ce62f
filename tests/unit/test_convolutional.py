"""Convolutional networks: kernels and pixels are finite, so they scale as dense layers do."""

from __future__ import annotations

from itertools import product

import pytest

import tensorprog as tp
from tensorprog.backward import backward
from tensorprog.errors import ProgramError, SettingError, TensorprogError, UnknownName
from tensorprog.program import Builder, MatMul


@pytest.mark.parametrize(("parametrization", "optimizer"), [*product(("sp", "mup", "ntp"), ("sgd", "adam", "muon"))])
def test_a_convolution_scales_as_a_dense_layer(parametrization: str, optimizer: str) -> None:
    options = {"optimizer": optimizer, "loss": "ce", "lr_exponent": "-1/2", "steps": 3}
    dense = tp.derive(tp.mlp(3), parametrization, **options)
    for halving in ("stride", "mean", "max", "none"):
        conv = tp.derive(tp.cnn(3, halving=halving), parametrization, **options)
        assert conv.regime is dense.regime
        assert [s.to_dict() for s in conv.steps] == [s.to_dict() for s in dense.steps]


def test_roles_and_kernels() -> None:
    program = tp.resnet(stages=2, plain_norm=True)
    assert {w.name: (w.role.value, w.kernel) for w in program.weights} == {
        "input": ("input", 3),
        "stage.1.block.1.in": ("hidden", 3),
        "stage.1.block.1.out": ("hidden", 3),
        "stage.2.block.1.in": ("hidden", 3),
        "stage.2.block.1.out": ("hidden", 3),
        "stage.2.block.1.skip": ("hidden", 1),
        "readout": ("readout", 1),
    }
    strides = {i.weight.name: i.stride for i in program.instructions if isinstance(i, MatMul) and i.stride > 1}
    assert strides == {"stage.2.block.1.in": 2, "stage.2.block.1.skip": 2}
    assert program.reads_images
    assert not program.reads_sequences
    assert {i.stride for i in backward(program).instructions if isinstance(i, MatMul)} == {1, 2}


def test_a_batch_norm_hides_the_size_of_what_it_reads() -> None:
    """A hidden layer that starts n^(1/2) too small is rescaled, and its gradient is as much larger."""
    from tensorprog.parametrizations import parametrization

    small = parametrization("sp").where("stage.1.block.1.in", b=1)
    usual, other = (
        tp.derive(tp.resnet(stages=1), p, optimizer="sgd", lr_exponent=-1, steps=1).steps for p in ("sp", small)
    )
    site = "stage.1.block.1.in"
    assert (str(usual[0].sites[site].activation), str(other[0].sites[site].activation)) == ("0", "-1/2")
    assert str(other[0].sites["stage.1.block.1.out"].activation) == "0"
    change = [str(s[1].sites[site].effective - s[0].sites[site].activation) for s in (usual, other)]
    assert change == ["-1/2", "1/2"]  # relative to the layer, n times as much


def test_normalized_networks_do_not_blow_up_by_one_step() -> None:
    """With plain norms everything that a layer reads is bounded, whatever the rate."""
    for norm in ("batchnorm", "layernorm", "rmsnorm"):
        rates = tp.max_stable_lr(tp.cnn(3, norm=norm, plain_norm=True), "sp", optimizer="sgd")
        assert (str(rates.exponent), str(rates.bounded_updates_exponent)) == ("oo", "-1/2")


def test_zero_gains_start_branches_as_nothing() -> None:
    d = tp.derive(tp.resnet(stages=1, zero_gain=True), "mup", optimizer="adam", steps=3)
    first, second = d.steps[1], d.steps[2]
    assert str(first.sites["stage.1.block.1.out.norm.gain"].effective) == "0"
    assert first.sites["stage.1.block.1.in"].effective.infinite
    assert str(second.sites["stage.1.block.1.in"].effective) == "0"


def test_norms_start_as_the_identity() -> None:
    d = tp.derive(tp.resnet(), "sp")
    for name, site in d.steps[0].sites.items():
        assert str(site.activation) == ("-oo" if name.endswith(".gain") else "0")
    zero = [w.name for w in d.setting.program.weights if w.zero]
    assert len(zero) == 2 * 6
    assert all(".norm." in name for name in zero)


def test_fine_tuned_convolutions() -> None:
    program = tp.lora(tp.cnn(3), "hidden.1")
    kernels = {w.name: w.kernel for w in program.weights if w.trained}
    assert kernels == {"hidden.1.lora.A": 3, "hidden.1.lora.B": 1}
    assert tp.derive(tp.freeze(tp.resnet()), "mup").learning is tp.Learning.KERNEL


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: tp.cnn(kernel=2), SettingError, "kernel: got 2; needs an odd number of pixels"),
        (lambda: tp.resnet(kernel=0), SettingError, "kernel: got 0; needs an integer of at least 1"),
        (lambda: tp.cnn(halving="half"), UnknownName, "halving: got 'half'; accepted are stride, mean, max, none"),
        (lambda: tp.resnet(norm="groupnorm"), UnknownName, "accepted are none, layernorm, rmsnorm, batchnorm"),
        (lambda: tp.resnet(stages=0), SettingError, "stages: got 0"),
        (lambda: tp.resnet(norm="none", zero_gain=True), SettingError, "zero_gain: got True; needs norm layers"),
        (lambda: tp.transformer(norm="batchnorm"), UnknownName, "norm: got 'batchnorm'; accepted are none, layernorm"),
        (lambda: Builder().weight("w", Builder().width, Builder().width, kernel=2), ProgramError, "must be odd"),
    ],
)
def test_mistakes_are_named(make, error: type[TensorprogError], message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=message):
        make()
