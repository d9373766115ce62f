"""The torch optimizers against their formulas, written out densely."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from tensorprog.errors import SettingError
from tensorprog.exponent import ONE
from tensorprog.optimizers import SAM, Clipped, Decayed, optimizer
from tensorprog.program import Axis, Weight

torch = pytest.importorskip("torch")

OUT, INTO, BATCH = 7, 5, 3


def draw(*shape: int, seed: int = 0) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


FACTORS = draw(BATCH, OUT, seed=1), draw(BATCH, INTO, seed=2)
"""dh and x of a batch, whose gradient dh^T x has rank BATCH."""
GRADIENT = FACTORS[0].T @ FACTORS[1]


def stepped(name: str | Any, gradients: list[Any] | None = None, *, width: float = 1.0, **options: Any) -> Any:
    """(start, end) of a weight after steps with the given gradients at learning rate 0.1."""
    w = draw(OUT, INTO, seed=3).requires_grad_(True)
    start = w.detach().clone()
    entry = optimizer(name, **options)
    stepper = entry.torch([{"params": [w], "lr": 0.1, "factors": lambda: FACTORS}], width)
    for g in [GRADIENT] if gradients is None else gradients:
        w.grad = g.clone()
        stepper.step()
    return start, w.detach()


def direction(name: str | Any, **options: Any) -> Any:
    start, end = stepped(name, **options)
    return (start - end) / 0.1


def power(matrix: Any, p: float) -> Any:
    """A power of a symmetric matrix on its range."""
    values, vectors = torch.linalg.eigh(matrix)
    keep = values > 1e-9 * values[-1]
    return (vectors[:, keep] * values[keep] ** p) @ vectors[:, keep].T


def test_lion() -> None:
    one, two = GRADIENT, draw(OUT, INTO, seed=4) * 0.05
    start, end = stepped("lion", [one, two])
    mean = 0.01 * one
    expected = start - 0.1 * one.sign() - 0.1 * (0.9 * mean + 0.1 * two).sign()
    torch.testing.assert_close(end, expected)


@pytest.mark.parametrize(("p", "q"), [("1/4", "1/4"), ("1/2", "0"), ("1/8", "1/2"), ("1/2", "1/2")])
def test_shampoo(p: str, q: str) -> None:
    left, right = GRADIENT @ GRADIENT.T, GRADIENT.T @ GRADIENT
    numbers = [float(Fraction(x)) for x in (p, q)]
    expected = power(left, -numbers[0]) @ GRADIENT @ power(right, -numbers[1])
    torch.testing.assert_close(direction("shampoo", out_power=p, in_power=q), expected)


@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop", "adagrad", "lamb", "soap"])
def test_epsilon_is_a_constant_times_a_power_of_the_width(name: str) -> None:
    """A huge epsilon leaves a step along the gradient: g / eps, but for what the entry does besides."""
    options = {"decay_exponent": "-oo"} if name in ("adamw", "lamb") else {}
    found = direction(name, epsilon_exponent=3, epsilon=5e7, width=2.0, **options)
    expected = GRADIENT / (5e7 * 8)
    if name == "lamb":
        expected = GRADIENT / GRADIENT.norm() * draw(OUT, INTO, seed=3).norm()
    torch.testing.assert_close(found / expected.norm(), expected / expected.norm(), rtol=1e-5, atol=1e-6)


def test_shampoo_with_damping() -> None:
    def damped(gram: Any) -> Any:
        values, vectors = torch.linalg.eigh(gram)
        return (vectors * (values.clamp_min(0) + 16.0) ** -0.25) @ vectors.T

    expected = damped(GRADIENT @ GRADIENT.T) @ GRADIENT @ damped(GRADIENT.T @ GRADIENT)
    torch.testing.assert_close(direction("shampoo", damping_exponent=2, width=4.0), expected)
    torch.testing.assert_close(direction("shampoo", damping_exponent=1, damping=4.0, width=4.0), expected)


def test_soaps_first_step_is_orthogonal_up_to_signs_in_the_gradients_basis() -> None:
    """Adam makes the singular values one; what rounding leaves off the diagonal is dropped."""
    torch.testing.assert_close(direction("soap"), direction("muon"))


def test_soap_is_adam_where_the_basis_is_the_identity() -> None:
    """Diagonal gradients with the same order of entries at every step: eigenvectors are unit vectors."""
    gradients = [torch.diag(torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64)) * s for s in (1.0, 0.1, 2.0)]
    ends = []
    for name in ("soap", "adam"):
        w = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
        stepper = optimizer(name).torch([{"params": [w], "lr": 0.1}])
        if name == "adam":
            stepper = torch.optim.Adam([w], lr=0.1, betas=(0.95, 0.95), eps=1e-18)
        for g in gradients:
            w.grad = g.clone()
            stepper.step()
        ends.append(w.detach())
    torch.testing.assert_close(*ends)


@pytest.mark.parametrize(("e_b", "e_a"), [(1.0, 1.0), (0.5, 0.5), (1.0, 0.0), (0.25, 0.75)])
def test_kfac(e_b: float, e_a: float) -> None:
    """(B + damping)^-e_B g (A + damping)^-e_A; the loss is a mean, so per-example dh are BATCH times as large."""
    dh, x = FACTORS[0] * BATCH, FACTORS[1]
    b, a = dh.T @ dh / BATCH, x.T @ x / BATCH

    def damped(m: Any, e: float, damping: float) -> Any:
        values, vectors = torch.linalg.eigh(m)
        return (vectors * (values.clamp_min(0) + damping) ** -e) @ vectors.T

    options = {"out_power": str(e_b), "in_power": str(e_a)}
    expected = damped(b, e_b, 3.0) @ GRADIENT @ damped(a, e_a, 9.0)
    found = direction("kfac", width=3.0, out_damping_exponent=1, in_damping_exponent=2, **options)
    torch.testing.assert_close(found, expected)
    relative = [0.01 * torch.linalg.eigvalsh(m)[-1] for m in (b, a)]
    expected = damped(b, e_b, relative[0]) @ GRADIENT @ damped(a, e_a, relative[1])
    torch.testing.assert_close(direction("kfac", **options), expected)


def test_kfac_without_factors_takes_inputs_of_size_one() -> None:
    """Orthogonal inputs with coordinates of size one: the estimate is exact up to the relative damping."""
    n = 64
    x = torch.linalg.qr(draw(n, BATCH))[0].T * n**0.5
    dh = draw(BATCH, OUT, seed=5)
    ends = []
    for extra in ({}, {"factors": lambda: (dh, x)}):
        w = torch.zeros(OUT, n, dtype=torch.float64, requires_grad=True)
        w.grad = dh.T @ x
        optimizer("kfac", out_power=0).torch([{"params": [w], "lr": 1.0, **extra}]).step()
        ends.append(w.detach() / w.detach().norm())
    torch.testing.assert_close(*ends)


@pytest.mark.parametrize("name", ["lars", "lamb"])
def test_trust_ratios(name: str) -> None:
    """The step is 0.1 |w| long; it points along g, or along Adam's first step."""
    start, end = stepped(name, **({"decay_exponent": "-oo"} if name == "lamb" else {}))
    moved = start - end
    torch.testing.assert_close(moved.norm(), 0.1 * start.norm())
    along = GRADIENT if name == "lars" else GRADIENT.sign()
    torch.testing.assert_close(moved / moved.norm(), along / along.norm())


@pytest.mark.parametrize("name", ["lars", "lamb"])
def test_a_zero_weight_has_trust_one(name: str) -> None:
    w = torch.zeros(OUT, INTO, dtype=torch.float64, requires_grad=True)
    w.grad = GRADIENT.clone()
    optimizer(name).torch([{"params": [w], "lr": 0.1}]).step()
    torch.testing.assert_close(w.detach(), -0.1 * (GRADIENT if name == "lars" else GRADIENT.sign()))


def test_adafactor_is_a_scaled_sign_for_rank_one_gradients() -> None:
    g = torch.outer(draw(OUT), draw(INTO, seed=1))
    start, end = stepped("adafactor", [g])
    torch.testing.assert_close(start - end, 0.1 * start.square().mean().sqrt() * g.sign())


def test_adafactors_floor() -> None:
    w = torch.zeros(OUT, INTO, dtype=torch.float64, requires_grad=True)
    w.grad = torch.outer(draw(OUT), draw(INTO, seed=1))
    optimizer("adafactor", floor_exponent=2).torch([{"params": [w], "lr": 0.1}], 3.0).step()
    torch.testing.assert_close(w.detach().abs(), torch.full((OUT, INTO), 0.9, dtype=torch.float64))


def test_normalised_descent() -> None:
    torch.testing.assert_close(direction("normalised-gd"), GRADIENT / GRADIENT.norm())
    ws = [draw(2, 3, seed=i).requires_grad_(True) for i in range(2)]
    starts = [w.detach().clone() for w in ws]
    for w, size in zip(ws, (3.0, 4.0), strict=True):
        g = draw(2, 3)
        w.grad = size * g / g.norm()
    optimizer("global-normalised-gd").torch([{"params": [w], "lr": 1.0} for w in ws]).step()
    moved = [(s - w.detach()).norm().item() for s, w in zip(starts, ws, strict=True)]
    assert moved == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize("threshold", [0.5, 1e6])
@pytest.mark.parametrize("base", ["sgd", "adam", "muon"])
def test_clipping_is_torchs(threshold: float, base: str) -> None:
    ends = []
    for clip in (True, False):
        ws = [draw(4, 3, seed=i).requires_grad_(True) for i in range(2)]
        groups = [{"params": [w], "lr": 0.1} for w in ws]
        how = Clipped(base, threshold=threshold) if clip else optimizer(base)
        stepper = how.torch(groups)
        for t in range(3):
            for i, w in enumerate(ws):
                w.grad = draw(4, 3, seed=10 * t + i)
            if not clip:
                torch.nn.utils.clip_grad_norm_(ws, threshold)
            stepper.step()
        ends.append(torch.cat([w.detach() for w in ws]))
    torch.testing.assert_close(*ends, rtol=1e-5, atol=1e-8)  # torch adds 1e-6 to the norm


def test_decoupled_decay_is_adamw() -> None:
    gradients = [draw(OUT, INTO, seed=i) for i in range(3)]
    for k, width in ((0, 1.0), ("1/2", 4.0)):
        one = stepped("adamw", gradients, decay_exponent=k, decay=0.3, width=width)[1]
        two = stepped(Decayed("adam", decay_exponent=k, decay=0.3), gradients, width=width)[1]
        torch.testing.assert_close(one, two)


def test_coupled_decay_adds_to_the_gradient() -> None:
    start, end = stepped(Decayed("signsgd", decay=0.3, coupled=True))
    torch.testing.assert_close(end, start - 0.1 * (GRADIENT + 0.3 * start).sign())


# -- perturbed gradients


def quadratic(ws: list[Any], scales: tuple[float, ...]) -> Any:
    return sum(s * w.square().sum() / 2 for s, w in zip(scales, ws, strict=True))


@pytest.mark.parametrize("layerwise", [False, True])
def test_sam_takes_the_gradient_of_the_base_step_at_perturbed_weights(layerwise: bool) -> None:
    """L = sum_l s_l |w_l|^2 / 2 has gradient s_l w_l, and s_l (w_l + e_l) at perturbed weights."""
    scales, factors = (2.0, 5.0), (3.0, 0.5)
    ws = [draw(4, 3, seed=i).requires_grad_(True) for i in range(2)]
    starts = [w.detach().clone() for w in ws]
    wide, narrow = Axis("width", ONE), Axis("classes")
    weights = [Weight("first", wide, narrow), Weight("last", narrow, wide)]
    groups = [{"params": [w], "lr": 0.1, "weight": v} for w, v in zip(ws, weights, strict=True)]
    how = SAM("sgd", radius=0.7, layer_exponents="first=1,last=-1/2", layerwise=layerwise)
    stepper = how.torch(groups, 1.0)
    for group, factor in zip(groups, factors, strict=True):
        group["perturbation"] = factor
    calls = []

    def closure() -> Any:
        for w in ws:
            w.grad = None
        value = quadratic(ws, scales)
        value.backward()
        calls.append(float(value.detach()))
        return value

    value = stepper.step(closure)
    v = [f * s * w for f, s, w in zip(factors, scales, starts, strict=True)]
    together = torch.cat(v).norm()
    for w, start, s, x in zip(ws, starts, scales, v, strict=True):
        perturbed = start + 0.7 * x / (x.norm() if layerwise else together)
        torch.testing.assert_close(w.detach(), start - 0.1 * s * perturbed)
    assert len(calls) == 2
    assert float(value.detach()) == calls[0] < calls[1]


def test_sams_factors_are_powers_of_the_width() -> None:
    wide, narrow = Axis("width", ONE), Axis("classes")
    groups = [
        {"params": [draw(2, 2)], "lr": 1.0, "weight": w}
        for w in (Weight("a", wide, narrow), Weight("b", wide, wide), Weight("c", narrow, wide))
    ]
    SAM(layer_exponents={"input": "1/2", "c": -1}).torch(groups, 16.0)
    assert [g["perturbation"] for g in groups] == [4.0, 1.0, 1 / 16]


# -- several, and what all of them share


def test_groups_step_by_their_own_optimizers() -> None:
    wide, narrow = Axis("width", ONE), Axis("classes")
    weights = [Weight("input", wide, narrow), Weight("hidden.1", wide, wide), Weight("readout", narrow, wide)]
    ws = [draw(4, 4, seed=i).requires_grad_(True) for i in range(3)]
    starts = [w.detach().clone() for w in ws]
    groups = [{"params": [w], "lr": 0.1 * i, "weight": v} for i, (w, v) in enumerate(zip(ws, weights, strict=True), 1)]
    stepper = optimizer({"hidden": "muon", "readout": "sgd", "else": "signsgd"}).torch(groups)
    for w in ws:
        w.grad = draw(4, 4, seed=9)
    stepper.step()
    g = draw(4, 4, seed=9)
    u, _, vh = torch.linalg.svd(g)
    for w, start, rate, step in zip(ws, starts, (0.1, 0.2, 0.3), (g.sign(), u @ vh, g), strict=True):
        torch.testing.assert_close(w.detach(), start - rate * step)
    assert len(stepper.param_groups) == 3
    for group in stepper.param_groups:
        group["lr"] = 0.0  # a schedule reaches the optimizers inside
    before = [w.detach().clone() for w in ws]
    stepper.step()
    assert all(torch.equal(w.detach(), b) for w, b in zip(ws, before, strict=True))


def test_groups_without_their_weights_say_what_is_missing() -> None:
    with pytest.raises(SettingError, match=r"a parameter group with params, lr.*; needs its 'weight', the program's"):
        optimizer("hidden=muon,else=adam").torch([{"params": [draw(2, 2)], "lr": 1.0}])
    with pytest.raises(SettingError, match="layer_exponents of sam: got 'a parameter group with params, lr'"):
        SAM(layer_exponents="hidden=1").torch([{"params": [draw(2, 2)], "lr": 1.0}])
    SAM().torch([{"params": [draw(2, 2)], "lr": 1.0}])


def test_sam_without_a_closure_says_what_is_missing() -> None:
    with pytest.raises(SettingError, match="sam, step: got 'no closure'; needs one that evaluates the loss"):
        SAM().torch([{"params": [draw(2, 2)], "lr": 1.0}]).step()


@pytest.mark.parametrize("name", ["lion", "soap", "lamb", "adafactor", "clipped", "decayed"])
def test_state_is_saved_and_restored(name: str) -> None:
    """Four steps in one go, and two, saved, and two more: the same weights."""
    gradients = [draw(OUT, INTO, seed=i) for i in range(4)]
    how = optimizer(name, base_optimizer="adam") if name in ("clipped", "decayed") else optimizer(name)

    def run(w: Any, stepper: Any, part: list[Any]) -> None:
        for g in part:
            w.grad = g.clone()
            stepper.step()

    whole = draw(OUT, INTO, seed=3).requires_grad_(True)
    run(whole, how.torch([{"params": [whole], "lr": 0.1}]), gradients)
    w = draw(OUT, INTO, seed=3).requires_grad_(True)
    first = how.torch([{"params": [w], "lr": 0.1}])
    run(w, first, gradients[:2])
    second = how.torch([{"params": [w], "lr": 0.1}])
    second.load_state_dict(first.state_dict())
    run(w, second, gradients[2:])
    torch.testing.assert_close(w.detach(), whole.detach())


@pytest.mark.parametrize("name", ["muon", "shampoo", "soap", "kfac"])
def test_matrix_optimizers_refuse_tensors_and_report_divergence(name: str) -> None:
    with pytest.raises(SettingError, match=r"got \(2, 2, 2\); needs one or two axes"):
        optimizer(name).torch([{"params": [draw(2, 2, 2)], "lr": 1.0}])
    w = draw(3, 3).requires_grad_(True)
    w.grad = torch.full((3, 3), torch.nan, dtype=torch.float64)
    optimizer(name).torch([{"params": [w], "lr": 1.0}]).step()
    assert w.detach().isnan().all()


@pytest.mark.parametrize("name", ["muon", "shampoo", "soap", "kfac", "lars", "lamb", "adafactor", "normalised-gd"])
def test_zero_gradients_are_harmless(name: str) -> None:
    w = draw(3, 3).requires_grad_(True)
    start = w.detach().clone()
    w.grad = torch.zeros(3, 3, dtype=torch.float64)
    options = {"decay_exponent": "-oo"} if name == "lamb" else {}
    optimizer(name, **options).torch([{"params": [w], "lr": 1.0}]).step()
    assert torch.equal(w.detach(), start)
