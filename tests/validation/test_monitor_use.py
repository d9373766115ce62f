"""The refined coordinate check of any module: what it refuses, what comes out, and how sizes are taken."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tensorprog.errors import SettingError, Unsupported
from validation.measure import OUTPUT, Quantity
from validation.monitor import RefinedCheck
from validation.sizes import Sizes, rms

Q = Quantity


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


# -- errors


class Function(nn.Module):
    def __init__(self, f: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.f, self.w = f, nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Any:
        return self.f(x, self.w)


REFUSED: dict[str, tuple[Callable[[Tensor, Tensor], Any], str]] = {
    "power": (lambda x, w: x**w, "torch.Tensor.__pow__ with parameter w|torch.Tensor.pow with parameter w"),
    "comparison": (lambda x, w: (x > w).float() * w, "with parameter w is not supported"),
    "two weights": (lambda x, w: torch.einsum("bi,i,i->b", x, w, w), "with parameter w, w"),
    "keyword": (lambda x, w: torch.div(x, w, rounding_mode="floor"), "torch.div with w is not supported: its rule"),
    "writes": (lambda x, w: x * w.mul_(2), "torch.Tensor.mul_ on w is not supported: the forward pass changes"),
    "writes data": (lambda x, w: x * w.data.clamp_(max=0.5), "clamp_ on w"),
    "graph": (lambda x, w: torch.enable_grad()(lambda: x * w)(), "records gradients"),
    "condition": (lambda x, w: torch.where(w > 0, x, w), "an index or a condition that is computed from parameter w"),
    "index": (lambda x, w: w[w.argmax(-1, keepdim=True)] * x[w.long()], "an index or a condition"),
    "no call": (lambda x, w: x * 2, "does not come from a torch call on its parameters"),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_is_not_understood_is_refused_by_name(name: str) -> None:
    f, message = REFUSED[name]
    model = Function(f)
    with pytest.raises(Unsupported, match=message):
        RefinedCheck(model, torch.ones(2, 3))
    assert torch.equal(model.w, torch.ones(3))


def test_recurrent_layers_name_what_to_do() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.rnn(x)[0]
            return y

    with pytest.raises(Unsupported) as error:
        RefinedCheck(Recurrent(), torch.ones(5, 2, 3))
    assert str(error.value) == (
        "torch.lstm with parameter rnn.weight_ih_l0, rnn.weight_hh_l0, rnn.bias_ih_l0, rnn.bias_hh_l0 is not "
        "supported: the refined coordinate check does not know how it depends on the parameter. Write it with linear, "
        "matmul, einsum, convolutions, embeddings, +, * or normalisations, or add a rule to "
        "validation/monitor/operators.py."
    )


@pytest.mark.parametrize("change", ["other", "fewer", "more", "last", "weight", "arguments"])
def test_control_flow_that_changes_is_an_error(change: str) -> None:
    class Changes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.now = ""
            self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            layer = self.second if self.now == "weight" else self.first
            x = functional.linear(x, layer.weight)
            x = functional.linear(x, 1 * self.first.weight, None if self.now == "arguments" else self.first.bias)
            x = x.tanh() if self.now == "other" else x.relu()
            if self.now != "fewer":
                x = self.second(x)
            x = x.exp() if self.now == "more" else x
            return x if self.now == "last" else x + 1

    model = Changes()
    check = RefinedCheck(model, torch.ones(2, 3))
    check.at(1)
    model.now = change
    with pytest.raises(Unsupported, match="a forward pass that changes between calls"):
        check.at(2)
    model.now = ""
    check.at(2)


def test_routing_that_changes_is_an_error() -> None:
    class Routed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.router, self.expert = nn.Linear(3, 1, bias=False), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = x * self.router(x)
            y: Tensor = self.expert(h[h[:, 0] > 0])
            return y

    model = Routed()
    nn.init.ones_(model.router.weight)
    check = RefinedCheck(model, torch.tensor([[1.0, 1, 1], [1, 1, 0], [1, -1, -1]]))
    nn.init.constant_(model.router.weight, -1)
    with pytest.raises(Unsupported, match=r"was about a tensor \[2, 3\] at initialisation, and is about one \[1, 3\]"):
        check.at(1)


@pytest.mark.parametrize("kind", ["generator", "state"])
def test_a_pass_that_gives_another_result_each_time_is_refused(kind: str) -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.calls = nn.Linear(3, 3), 0
            self.generator = torch.Generator().manual_seed(0)

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            y: Tensor = self.linear(x).tanh()
            return y * self.calls if kind == "state" else y + torch.randn(3, generator=self.generator)

    with pytest.raises(Unsupported, match="with the same weights and input, the logits of output changed by"):
        RefinedCheck(Noisy(), torch.ones(2, 3))


def test_wrong_use_is_explained() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout())
    x = torch.ones(2, 3)
    with pytest.raises(SettingError, match="targets: got None; chi needs both"):
        RefinedCheck(model, x, loss=functional.cross_entropy)
    check = RefinedCheck(model, x)
    model.eval()
    with pytest.raises(SettingError, match="mode of the model"):
        check.at(1)
    with pytest.raises(SettingError, match="run a lazy model once"):
        RefinedCheck(nn.LazyLinear(3), x)
    with pytest.raises(SettingError, match="output of the model: got 'str'"):
        RefinedCheck(Function(lambda x, w: str(x * w)), x)
    with pytest.raises(Unsupported, match="max_norm"):
        RefinedCheck(nn.Embedding(3, 2, max_norm=1.0), torch.tensor([1]))


def test_a_failed_pass_leaves_nothing_behind() -> None:
    class Fails(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.fail = nn.BatchNorm1d(3), False

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.norm(functional.dropout(x))
            if self.fail:
                raise KeyError("later")
            return y

    model = Fails()
    check = RefinedCheck(model, torch.ones(4, 3))
    state, stream = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    model.fail = True
    with pytest.raises(KeyError):
        check.at(1)
    assert all(torch.equal(b, state[name]) for name, b in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), stream)
    assert torch.is_grad_enabled()


def test_buffers_that_are_first_written_with_what_they_hold_are_kept_too() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.factor = nn.Linear(3, 2), 1.0
            self.register_buffer("scale", torch.ones(()))

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.linear(x) * self.scale.mul_(self.factor)
            return y

    model = Scaled()
    check = RefinedCheck(model, torch.ones(2, 3))
    model.factor = 2.0
    logits = [m.size for step in (0, 1) for m in check.at(step) if m.quantity is Q.LOGITS]
    assert float(model.scale) == 1.0
    assert logits[0] == logits[1] == pytest.approx(2 * rms(model.linear(torch.ones(2, 3))))


# -- what comes in and out


def test_the_probe_may_be_overwritten_by_the_model_and_by_the_caller() -> None:
    class Overwrites(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.linear(x.mul_(2))
            return y

    x = torch.ones(4, 3)
    check = RefinedCheck(model := Overwrites(), x)
    assert torch.equal(x, torch.ones(4, 3))
    x.zero_()
    with torch.no_grad():
        model.linear.weight.add_(1)
    for _ in range(2):
        assert [m.size for m in check.at(1) if m.quantity is Q.EFFECTIVE] == [6.0, 0.0]


def test_gradients_are_those_of_the_training_step() -> None:
    model = nn.Sequential(nn.Embedding(6, 3, sparse=True), nn.Linear(3, 2))
    check = RefinedCheck(model, tokens := torch.tensor([0, 1, 1, 4]))
    assert not [m for m in check.at(1) if m.quantity is Q.GRADIENT]
    model(tokens).square().sum().backward()
    got = {m.site: m.size for m in check.at(1) if m.quantity is Q.GRADIENT}
    assert got == {name: pytest.approx(rms(p.grad.to_dense())) for name, p in model.named_parameters()}
    assert set(got) == {"0.weight", "1.weight", "1.bias"}


def test_outputs_that_are_not_tensors() -> None:
    x = torch.ones(2, 3)
    plain = [m.size for m in RefinedCheck(Function(lambda x, w: x * w), x).at(0)]
    for f in (lambda x, w: (x * w, "more"), lambda x, w: {"logits": x * w}):
        assert [m.size for m in RefinedCheck(Function(f), x).at(0)] == plain
    also = RefinedCheck(Function(lambda x, w: (y := x * w, y.relu())), x)
    assert [m.size for m in also.at(0)] == plain  # what is returned is no activation, whatever else reads it
    named = RefinedCheck(Function(lambda x, w: {"y": x * w}), (x,), logits=lambda out: out["y"])
    assert [m.size for m in named.at(0)] == plain


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.compile itself
def test_long_form_and_a_training_loop() -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.4), nn.Linear(16, 16)]
    model = nn.Sequential(*layers, nn.Tanh(), nn.Linear(16, 3))
    x, y = torch.randn(20, 6), torch.randint(3, (20,))
    optimizer = torch.optim.Adam(model.parameters())
    check = RefinedCheck(torch.compile(model), probe=(x[:8],), loss=nn.CrossEntropyLoss(), targets=y[:8])
    check.at(0)
    for step in range(1, 4):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        assert check.at(step)[-1].quantity is Q.GRADIENT
    frame = check.frame()
    assert list(frame.columns) == ["site", "quantity", "step", "size"]
    assert set(frame.step) == {0, 1, 2, 3}
    assert set(frame.site) == {*check.sites, OUTPUT}
    assert len(frame) == sum(len(reading) for reading in check.readings)
    last = frame[(frame.site == "4.weight") & (frame.quantity == "effective")]["size"]
    assert last.is_monotonic_increasing


@pytest.mark.parametrize("targets", [torch.tensor([0, 2, 1]), torch.tensor([0, -100, 1]), torch.rand(3, 3)])
def test_chi_of_cross_entropy_is_the_gradient(targets: Tensor) -> None:
    model, x = nn.Linear(4, 3), torch.randn(3, 4)
    closed = RefinedCheck(model, x, loss=functional.cross_entropy, targets=targets)
    by_autograd = RefinedCheck(model, x, loss=lambda f, y: functional.cross_entropy(f, y), targets=targets)
    sizes = [{m.quantity: m.size for m in check.at(0)}[Q.LOSS_GRADIENT] for check in (closed, by_autograd)]
    assert sizes[0] == pytest.approx(sizes[1], rel=1e-5)


def test_alignment_is_one_for_aligned_and_a_half_for_independent_factors() -> None:
    model = nn.Sequential(nn.Linear(3, 4096, bias=False), nn.Linear(4096, 64, bias=False)).double()
    check = RefinedCheck(model, x := normal(1, 3))
    h = model[0](x).detach()
    with torch.no_grad():
        model[1].weight.add_(torch.outer(normal(64), h[0]))
    got = {m.quantity: m.size for m in RefinedCheck(model, x).at(0) if m.site == "1.weight"}
    moved_only = {m.quantity: m.size for m in check.at(1) if m.site == "1.weight"}
    assert moved_only[Q.ALIGNMENT_INITIAL] == pytest.approx(0.5, abs=0.02)
    assert moved_only[Q.ALIGNMENT_EFFECTIVE] == pytest.approx(1)
    assert Q.ALIGNMENT_PROPAGATING not in moved_only  # 0.weight has not moved: of zero there is no alignment
    assert got[Q.ALIGNMENT_INITIAL] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("shape", [(3,), (5000,), (90_001,), (256, 256), (64, 3, 3, 3), (4, 200, 500)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.complex64])
def test_sizes_are_exact_to_five_digits(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    for scale in (1.0, 1e-20, 1e30):
        for x in (torch.full(shape, 0.7213), torch.randn(shape, generator=torch.Generator().manual_seed(0))):
            x = (x * scale).to(dtype)
            wide = x.to(torch.complex128 if x.is_complex() else torch.float64)
            entries = wide.numel() * (2 if x.is_complex() else 1)
            want = float((wide.abs() / scale).square().sum() / entries) ** 0.5 * scale
            assert rms(x) == pytest.approx(want, rel=1e-5)


def test_many_sizes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = [torch.randn(3), torch.zeros(2, 2), torch.empty(0), torch.randn(5, dtype=torch.complex64)]
    tensors.append(torch.randn(300, 300))
    for at_once in (True, False):  # the second way is that of an accelerator
        monkeypatch.setattr("validation.sizes._at_once", lambda x, now=at_once: now)
        found = Sizes()
        assert [found.add(x) for x in tensors] == [0, 1, 2, 3, 4]
        assert found.note(2.5) == 5
        assert found[4] == (pytest.approx(rms(tensors[4])) if at_once else None)
        assert found.read() == pytest.approx([*map(rms, tensors), 2.5], rel=1e-6)


def test_readings_are_the_same_when_sizes_come_late(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 800), nn.Tanh(), nn.Linear(800, 700), nn.LayerNorm(700), nn.Linear(700, 3))
    check = RefinedCheck(model, torch.randn(5, 6))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p), alpha=0.01)
    want = [m.size for m in check.at(1)]
    monkeypatch.setattr("validation.sizes._at_once", lambda x: False)
    assert [m.size for m in check.at(1)] == pytest.approx(want, rel=1e-5)


def test_sizes_of_what_is_no_number() -> None:
    assert rms(torch.empty(0, 3)) == rms(torch.zeros(70_000)) == 0.0
    for n in (3, 70_000):
        assert np.isnan(rms(torch.tensor([1.0, float("nan")] * n)))
        assert rms(torch.tensor([1.0, float("-inf")] * n)) == float("inf")
    assert rms(torch.tensor([3, 4])) == pytest.approx(12.5**0.5)


def test_a_check_without_alignments_and_gradients_measures_the_rest_alike() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 800), nn.ReLU(), nn.Linear(800, 900), nn.Tanh(), nn.Linear(900, 3))
    x = torch.randn(6, 5)
    whole, part = RefinedCheck(model, x), RefinedCheck(model, x, alignments=False, gradients=False)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.01 * torch.randn_like(p))
            p.grad = torch.ones_like(p)
    left_out = {
        Quantity.GRADIENT,
        Quantity.ALIGNMENT_INITIAL,
        Quantity.ALIGNMENT_EFFECTIVE,
        Quantity.ALIGNMENT_PROPAGATING,
    }
    expected = {(m.site, m.quantity): m.size for m in whole.at(1)}
    found = {(m.site, m.quantity): m.size for m in part.at(1)}
    assert left_out <= {quantity for _, quantity in expected}
    assert found.keys() == {key for key in expected if key[1] not in left_out}
    assert list(found.values()) == pytest.approx([expected[key] for key in found], rel=1e-5)
