"""Optimizers: the numeric halves do what the entries say, one parameter group at a time."""

from __future__ import annotations

import pytest
import torch

from tensorprog.errors import SettingError
from tensorprog.optimizers import OPTIMIZERS, optimizer
from tensorprog.torch_optimizers import NEGLIGIBLE_EPSILON, Orthogonalised, SignDescent, orthogonalised


def parameter(*shape: int, seed: int = 0) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)))


def with_gradient(*shape: int, seed: int = 0) -> torch.nn.Parameter:
    w = parameter(*shape, seed=seed)
    w.grad = torch.randn(*shape, generator=torch.Generator().manual_seed(seed + 1))
    return w


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_every_entry_steps_every_group_at_its_own_rate(name: str) -> None:
    ws = [with_gradient(6, 4) for _ in range(3)]
    start = ws[0].detach().clone()
    stepper = optimizer(name).torch([{"params": w, "lr": lr} for w, lr in zip(ws, [0.0, 0.1, 0.3], strict=True)])
    stepper.step()
    still, one, three = (w.detach() - start for w in ws)
    assert not still.any()
    assert ws[0].grad is not None
    assert (one * ws[0].grad).sum() < 0
    torch.testing.assert_close(3 * one, three)


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_every_entry_steps_a_bias_and_skips_what_has_no_gradient(name: str) -> None:
    bias, idle = with_gradient(5, 1), parameter(2, 3)
    before = bias.detach().clone(), idle.detach().clone()
    optimizer(name).torch([{"params": bias, "lr": 0.1}, {"params": idle, "lr": 0.1}]).step()
    assert not torch.equal(bias, before[0])
    assert torch.equal(idle, before[1])


def test_sign_descent() -> None:
    w = parameter(2, 3)
    start = w.detach().clone()
    w.grad = torch.tensor([[1e-30, -2.0, 0.0], [3.0, -1e20, 1.0]])
    SignDescent([{"params": w, "lr": 0.5}]).step()
    torch.testing.assert_close(w.detach(), start - 0.5 * torch.tensor([[1.0, -1, 0], [1, -1, 1]]))


def test_adam_is_torch_adam_without_epsilon() -> None:
    mine, theirs = with_gradient(4, 3), with_gradient(4, 3)
    a = optimizer("adam").torch([{"params": mine, "lr": 0.01}])
    b = torch.optim.Adam([theirs], lr=0.01, eps=NEGLIGIBLE_EPSILON)
    start = mine.detach().clone()
    a.step()
    assert mine.grad is not None
    torch.testing.assert_close(mine.detach(), start - 0.01 * mine.grad.sign())  # the first step is a sign step
    b.step()
    for step in range(2, 6):
        for w in (mine, theirs):
            w.grad = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        a.step()
        b.step()
    torch.testing.assert_close(mine, theirs)


def test_adam_formula() -> None:
    w = with_gradient(3, 2)
    adam = optimizer("adam").torch([{"params": w, "lr": 0.1}])
    expected, m, v = w.detach().clone(), torch.zeros(3, 2), torch.zeros(3, 2)
    for t in range(1, 5):
        assert w.grad is not None
        m, v = 0.9 * m + 0.1 * w.grad, 0.999 * v + 0.001 * w.grad**2
        expected -= 0.1 * (m / (1 - 0.9**t)) / (v / (1 - 0.999**t)).sqrt()
        adam.step()
        torch.testing.assert_close(w.detach(), expected)
        w.grad = torch.randn(3, 2, generator=torch.Generator().manual_seed(10 + t))


def test_negligible_epsilon_is_harmless_at_both_ends() -> None:
    """Zero gradients stay zero, and gradients whose square underflows do not blow the step up."""
    w = torch.nn.Parameter(torch.zeros(6))
    w.grad = torch.tensor([0.0, 1e-45, 1e-30, 1e-20, 1e-15, 1.0])
    torch.optim.Adam([w], lr=1.0, eps=NEGLIGIBLE_EPSILON).step()
    assert torch.isfinite(w).all()
    assert w.abs().max() <= 1 + 1e-6
    torch.testing.assert_close(w.detach()[-2:], torch.tensor([-1.0, -1.0]), rtol=2e-3, atol=0)


@pytest.mark.parametrize("shape", [(8, 8), (12, 5), (5, 12), (1, 7), (7, 1)])
def test_orthogonalised_has_singular_values_one(shape: tuple[int, int]) -> None:
    g = torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    q = orthogonalised(1e-6 * g)
    torch.testing.assert_close(torch.linalg.svdvals(q), torch.ones(min(shape), dtype=torch.float64))
    # The polar factor is the nearest one: g q^T is symmetric and positive.
    inner = g @ q.T
    torch.testing.assert_close(inner, inner.T)
    assert torch.linalg.eigvalsh(inner).min() > -1e-9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_null_directions_are_dropped(dtype: torch.dtype) -> None:
    left, right = (torch.randn(n, 3, generator=torch.Generator().manual_seed(n), dtype=dtype) for n in (40, 30))
    values = torch.linalg.svdvals(orthogonalised(left @ right.T))
    torch.testing.assert_close(values[:3], torch.ones(3, dtype=dtype))
    assert values[3:].max() < 1e-5


def test_orthogonalised_of_nothing_and_of_divergence() -> None:
    assert not orthogonalised(torch.zeros(3, 4)).any()
    assert orthogonalised(torch.tensor([[1.0, torch.inf], [0, 1]])).isnan().all()


def test_orthogonalised_steps_use_the_shape_factor() -> None:
    w, bias = with_gradient(6, 3), with_gradient(5)
    start, bias_start = w.detach().clone(), bias.detach().clone()
    groups = [{"params": w, "lr": 0.5}, {"params": bias, "lr": 0.1}]
    Orthogonalised(groups, lambda out, into: out / into).step()
    assert w.grad is not None
    assert bias.grad is not None
    torch.testing.assert_close(w.detach(), start - 0.5 * 2 * orthogonalised(w.grad))
    torch.testing.assert_close(bias.detach(), bias_start - 0.1 * 5 * bias.grad / bias.grad.norm())


def test_closures_are_evaluated() -> None:
    w = parameter(3, 3)

    def closure() -> torch.Tensor:
        value = w.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    for stepper in (
        SignDescent([{"params": w, "lr": 0.1}]),
        Orthogonalised([{"params": w, "lr": 0.1}], lambda a, b: 1.0),
    ):
        stepper.zero_grad()
        expected = w.detach().square().sum()
        assert stepper.step(closure) == expected


def test_errors() -> None:
    w = parameter(3, 3)
    with pytest.raises(SettingError, match="SignDescent, group 0: got"):
        SignDescent([{"params": w}])
    with pytest.raises(SettingError, match="needs 'params' and 'lr'"):
        Orthogonalised([w], lambda a, b: 1.0)  # type: ignore[list-item]
    with pytest.raises(SettingError, match=r"got \(2, 2, 2\); needs one or two axes"):
        Orthogonalised([{"params": parameter(2, 2, 2), "lr": 1.0}], lambda a, b: 1.0)


@pytest.mark.parametrize("rank", [1, 60, 200, 512])
def test_polar_factor_of_a_large_matrix_of_low_rank(rank: int) -> None:
    """The decomposition within the range equals the whole one, at any rank, wide or tall."""
    draw = torch.Generator().manual_seed(rank)
    g = torch.randn(640, rank, generator=draw, dtype=torch.float64) @ torch.randn(
        rank, 512, generator=draw, dtype=torch.float64
    )
    u, s, vh = torch.linalg.svd(g, full_matrices=False)
    whole = (u * (s > 1e-9 * s[0])) @ vh
    torch.testing.assert_close(orthogonalised(g), whole)
    torch.testing.assert_close(orthogonalised(g.T), whole.T)
