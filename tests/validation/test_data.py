"""Data: fresh, deterministic, of norm one, with irreducible noise; and the targets that losses accept."""

from __future__ import annotations

import json
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tensorprog.errors import SettingError, UnknownName
from tensorprog.losses import LOSSES, loss
from tests.validation.image_files import write_cifar10, write_mnist
from validation.data import (
    DATA,
    Batch,
    Characters,
    CharacterSequences,
    Data,
    Digits,
    Teacher,
    TeacherRegression,
    data,
)
from validation.data.characters import VOCABULARY, encode


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Data]:
    """Any entry by name; those that read files are given a folder with tiny ones."""
    folders = {
        "mnist": write_mnist(tmp_path_factory.mktemp("mnist")),
        "cifar10": write_cifar10(tmp_path_factory.mktemp("cifar10")),
    }

    def build(name: str, **options: object) -> Data:
        if name in folders:
            options = {"folder": folders[name], "probe": 8, **options}
        return data(name, **options)

    return build


Make = Callable[..., Data]


# -- every entry


@pytest.mark.parametrize("name", list(DATA))
def test_batches_are_a_function_of_seed_and_step_alone(make: Make, name: str) -> None:
    first, again = make(name), make(name)
    one, same = first.batch_at(3, 1), again.batch_at(3, 1)
    assert torch.equal(one.x, same.x)
    assert torch.equal(one.y, same.y)
    for other in (first.batch_at(3, 2), first.batch_at(4, 1), first.batch_at(1, 3)):
        assert not torch.equal(one.x, other.x)
    assert torch.equal(first.probe_batch().x, again.probe_batch().x)
    assert torch.equal(first.probe_batch().y, again.probe_batch().y)


@pytest.mark.parametrize("name", list(DATA))
def test_shapes_are_those_declared(make: Make, name: str) -> None:
    entry = make(name, batch=7, probe=5)
    for batch, count in ((entry.batch_at(0, 0), 7), (entry.probe_batch(), 5)):
        if name == "character-sequences":
            assert batch.x.shape == (count, entry.sizes["positions"])
            assert batch.y.shape == (batch.x.numel(),)
        else:
            assert batch.x.shape == (count, entry.sizes["x"])
        if batch.y.is_floating_point():
            assert batch.y.shape == (count, entry.sizes["classes"])
        else:
            assert batch.y.dtype == torch.int64
            assert 0 <= int(batch.y.min()) <= int(batch.y.max()) < entry.sizes["classes"]


@pytest.mark.parametrize("name", [n for n in DATA if n != "character-sequences"])
def test_the_mean_squared_norm_of_inputs_is_one(make: Make, name: str) -> None:
    x = make(name, batch=4000).batch_at(0, 0).x
    assert x.square().sum(1).mean() == pytest.approx(1, rel=0.03)


@pytest.mark.parametrize("name", [n for n in DATA if n != "teacher-regression"])
def test_half_of_the_labels_are_noise_unless_told_otherwise(make: Make, name: str) -> None:
    noisy = make(name, batch=4000, context=4) if "characters" in name else make(name, batch=4000)
    assert noisy.config["noise"] == 0.5
    kwargs = {"context": 4} if "characters" in name else {}
    clean = make(name, batch=4000, noise=0.0, **kwargs)
    assert torch.equal(noisy.batch_at(0, 0).x, clean.batch_at(0, 0).x)
    classes = noisy.sizes["classes"]
    changed = (noisy.batch_at(0, 0).y != clean.batch_at(0, 0).y).double().mean()
    assert changed == pytest.approx(0.5 * (1 - 1 / classes), abs=0.03)  # some uniform labels are right by chance
    assert (noisy.probe_batch().y != clean.probe_batch().y).any()


@pytest.mark.parametrize("name", list(DATA))
def test_the_configuration_is_json_and_tells_options_apart(make: Make, name: str) -> None:
    entry = make(name)
    assert entry.config["name"] == entry.name == name
    assert json.loads(json.dumps(entry.config, allow_nan=False)) == entry.config
    configs = [entry.config, *(make(name, **o).config for o in ({"noise": 0.25}, {"batch": 3}, {"probe": 7}))]
    assert len({json.dumps(c) for c in configs}) == 4


@pytest.mark.parametrize("name", list(DATA))
@pytest.mark.parametrize(
    ("option", "value", "need"),
    [
        ("noise", 1.5, "needs a fraction from 0 to 1"),
        ("noise", -0.1, "needs a fraction"),
        ("noise", float("nan"), "needs a fraction"),
        ("batch", 0, "needs an integer of at least 1"),
        ("probe", -3, "needs an integer"),
        ("batch", 2.5, "needs an integer"),
        ("batch", True, "needs an integer"),
    ],
)
def test_options_out_of_range_are_refused(make: Make, name: str, option: str, value: object, need: str) -> None:
    with pytest.raises(SettingError, match=f"data {name}, {option}: got .*{need}"):
        make(name, **{option: value})


def test_every_count_is_checked_by_its_own_name(make: Make) -> None:
    own = [("teacher", "classes"), ("teacher-regression", "outputs"), ("characters", "context"), ("teacher", "inputs")]
    for name, option in [*own, ("teacher", "directions"), ("character-sequences", "context")]:
        with pytest.raises(SettingError, match=f"data {name}, {option}: got 0; needs an integer of at least 1"):
            make(name, **{option: 0})


def test_the_registry() -> None:
    with pytest.raises(UnknownName, match="data: got 'imagenet'; accepted are digits, teacher"):
        data("imagenet")
    own = Digits(batch=3)
    assert data(own) is own
    assert data("digits", batch=3) == own


def test_batches_move_floats_and_keep_integers() -> None:
    moved = Batch(torch.zeros(2, 3, dtype=torch.float64), torch.tensor([1, 0])).to("cpu", torch.float32)
    assert (moved.x.dtype, moved.y.dtype) == (torch.float32, torch.int64)
    moved = Batch(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 1, dtype=torch.float64)).to("cpu", torch.float32)
    assert (moved.x.dtype, moved.y.dtype) == (torch.int64, torch.float32)


# -- digits


def test_digits_are_bit_for_bit_what_they_were() -> None:
    """Committed records depend on these numbers."""
    batch, probe = Digits().batch_at(3, 5), Digits().probe_batch()
    assert batch.y[:12].tolist() == [4, 7, 3, 5, 5, 8, 7, 5, 0, 1, 3, 1]
    assert probe.y[:12].tolist() == [6, 1, 7, 2, 5, 6, 6, 2, 2, 1, 1, 5]
    assert float(batch.x.sum()) == pytest.approx(-5.035379955282804, rel=1e-13)
    assert float(batch.x.square().sum()) == pytest.approx(67.9052033411936, rel=1e-13)
    assert probe.x[7, 20:24].tolist() == pytest.approx(
        [0.22797237438829177, -0.0809623016929687, -0.05159881769605421, -0.0014448953306300184], rel=1e-13
    )


def test_images_of_the_probe_are_never_trained_on() -> None:
    entry = Digits(probe=1700)
    probe, batches = entry.probe_batch().x, [entry.batch_at(0, t).x for t in range(20)]
    assert not (torch.cat(batches)[:, None] == probe[None]).all(-1).any()
    with pytest.raises(SettingError, match="data digits, probe: got 1797; needs fewer than the 1797 images"):
        Digits(probe=1797).probe_batch()


# -- teachers


def test_labels_depend_on_a_few_directions_of_the_inputs() -> None:
    """The gradient of a smooth score spans k directions; here: perturbations off the subspace change no label."""
    entry = TeacherRegression(noise=0.0, batch=4000, inputs=12, directions=3, outputs=5)
    batch = entry.batch_at(0, 0)
    x, y = batch.x, batch.y
    # E[y He_2-free part]: the linear part of y in x, as a matrix [inputs, outputs], has rank k up to sampling noise.
    linear = torch.linalg.svdvals(x.T @ y / len(x) * 12**0.5)
    assert linear[2] > 5 * linear[3]


def test_regression_targets_have_variance_one_and_the_noise_its_share() -> None:
    noisy = TeacherRegression(noise=0.3, batch=20_000).batch_at(0, 0)
    clean = TeacherRegression(noise=0.0, batch=20_000).batch_at(0, 0)
    assert noisy.y.square().mean(0).numpy() == pytest.approx(1, rel=0.05)
    rest = noisy.y - 0.7**0.5 * clean.y
    assert rest.square().mean() == pytest.approx(0.3, rel=0.03)
    assert abs((rest * clean.y).mean()) < 0.02


def test_the_teacher_is_one_for_all_seeds_and_every_class_occurs() -> None:
    first, second = (Teacher(noise=0.0, batch=4000).batch_at(seed, 0) for seed in (0, 1))
    for batch in (first, second):
        share = batch.y.bincount(minlength=10) / 4000
        assert share.min() > 0.02
        assert share.max() < 0.3
    # A linear classifier fitted to one seed's batch predicts the other's far above chance.
    target = torch.nn.functional.one_hot(first.y, 10).double()
    w = torch.linalg.lstsq(first.x, target).solution
    assert ((second.x @ w).argmax(1) == second.y).double().mean() > 0.4


def test_a_teacher_has_no_more_directions_than_inputs() -> None:
    for entry in (Teacher, TeacherRegression):
        with pytest.raises(SettingError, match="directions: got 5; needs at most the 4 inputs"):
            entry(inputs=4, directions=5)


# -- characters


def test_the_text_is_that_of_the_standard_library() -> None:
    text = Path(sysconfig.get_path("stdlib"), "ast.py").read_text(encoding="utf-8")
    tokens = encode("a\tb\r\né~ \x7f")
    assert "".join(VOCABULARY[i] for i in tokens) == "a    b\n~ "
    assert len(VOCABULARY) == 96
    modules = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    everything = "\n".join(path.read_text(encoding="utf-8", errors="ignore") for path in modules)
    assert text in everything
    windows = CharacterSequences(noise=0.0, batch=20, context=12).batch_at(0, 0)
    known = everything.replace("\t", "    ")
    found = ["".join(VOCABULARY[i] for i in row) for row in windows.x.tolist()]
    assert sum(window in known for window in found) >= 18  # others cross the border of two modules, or lost characters


def test_the_target_is_the_next_character() -> None:
    sequences = CharacterSequences(noise=0.0, batch=9, context=6).batch_at(2, 3)
    following = sequences.y.reshape(9, 6)
    assert torch.equal(sequences.x[:, 1:], following[:, :-1])
    flat = Characters(noise=0.0, batch=9, context=6).batch_at(2, 3)
    hot = flat.x.reshape(9, 6, 96)
    assert torch.equal(hot.argmax(-1), sequences.x)
    assert torch.equal(flat.y, following[:, -1])
    assert flat.x.square().sum(1).numpy() == pytest.approx(1)


def test_the_probe_comes_from_modules_that_are_held_out() -> None:
    long = CharacterSequences(noise=0.0, batch=2000, probe=2000, context=60)
    trained = {tuple(row) for row in long.batch_at(0, 0).x.tolist()}
    probe = {tuple(row) for row in long.probe_batch().x.tolist()}
    assert not trained & probe


def test_a_python_without_sources_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from validation.data import characters

    characters._texts.cache_clear()
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(SettingError, match=r"0 \.py files in .*needs a Python that was installed with its sources"):
        Characters().probe_batch()


# -- targets and losses


def test_real_targets_pass_through_where_a_loss_has_a_meaning_for_them() -> None:
    f, y = torch.tensor([[1.0, 2.0], [0.0, -4.0]]), torch.tensor([[0.0, 0.0], [0.5, -1.0]])
    assert float(loss("mse").torch(f, y)) == pytest.approx(((1 + 4) + (0.25 + 9)) / 2 / 2)
    assert float(loss("huber").torch(f, y)) == pytest.approx(((0.5 + 1.5) + (0.125 + 2.5)) / 2)
    hard = torch.tensor([1, 0])
    one_hot = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    for name in ("mse", "huber", "softmax-mse"):
        assert torch.equal(loss(name).torch(f, hard), loss(name).torch(f, one_hot))


@pytest.mark.parametrize("name", ["ce", "logistic", "hinge", "label-smoothing", "focal", "squared-hinge", "z-loss"])
def test_losses_of_classes_say_so(name: str) -> None:
    with pytest.raises(SettingError, match=f"targets of the loss {name}: got 'floats'; needs class indices .*use mse"):
        loss(name).torch(torch.zeros(3, 2), torch.zeros(3, 2))


@pytest.mark.parametrize("name", ["mse", "huber", "softmax-mse", "l1"])
def test_targets_of_another_shape_do_not_broadcast(name: str) -> None:
    with pytest.raises(SettingError, match=r"needs one for every output, \[3, 1\]"):
        loss(name).torch(torch.zeros(3, 1), torch.zeros(3))


def test_every_loss_was_asked() -> None:
    of_classes = {"ce", "logistic", "hinge", "label-smoothing", "focal", "squared-hinge", "z-loss"}
    assert set(LOSSES) == of_classes | {"mse", "huber", "softmax-mse", "l1"}
