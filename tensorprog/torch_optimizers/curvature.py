"""Shampoo, SOAP and K-FAC."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tensorprog.torch_optimizers.orthogonal import singular_parts
from tensorprog.torch_optimizers.stepper import Stepper, as_matrix, require_matrices

__all__ = ["KFAC", "SOAP", "Preconditioned"]

RELATIVE_DAMPING = 0.01
"""Of the largest eigenvalue, where K-FAC is given no damping of its own: it changes constants, never exponents."""

NULL = 1e-9
"""Rotated gradient entries below this fraction of the largest are rounding noise."""


class Preconditioned(Stepper):
    """w <- w - lr L^-p g R^-q with L = g g^T + eps, R = g^T g + eps, on the gradient's range: Shampoo, one step.

    Args:
        groups: dictionaries with ``params`` (one or two axes each, out x in) and ``lr``.
        out_power, in_power: p and q.
        damping: eps.

    Ref: Gupta et al. 2018 (arXiv 1802.09568), Algorithm 1, with the statistics of the current gradient.
    """

    def __init__(
        self, groups: list[dict[str, Any]], out_power: float = 0.25, in_power: float = 0.25, *, damping: float = 0.0
    ) -> None:
        super().__init__(groups)
        self.power, self.damping = out_power + in_power, damping
        require_matrices(self)

    def direction(self, w: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
        parts = singular_parts(as_matrix(gradient))
        if parts is None:
            return torch.full_like(w, torch.nan)
        u, s, vh = parts
        return ((u * s * (s.square() + self.damping) ** -self.power) @ vh).view_as(w)


class SOAP(Stepper):
    """Adam in the eigenbasis of running means of g g^T and g^T g, recomputed at every step.

    Args:
        groups: dictionaries with ``params`` (one or two axes each, out x in) and ``lr``.
        betas: of the first and second moment.
        basis_beta: of the running means that give the basis.
        epsilon: Adam's.

    Ref: Vyas et al. 2024 (arXiv 2409.11321), Algorithm 3, with f = 1 and exact eigenvectors.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        betas: tuple[float, float] = (0.95, 0.95),
        *,
        basis_beta: float = 0.95,
        epsilon: float = 0.0,
    ) -> None:
        super().__init__(groups)
        self.betas, self.basis_beta, self.epsilon = betas, basis_beta, epsilon
        require_matrices(self)

    def direction(self, w: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
        g = as_matrix(gradient)
        if not torch.isfinite(g).all():
            return torch.full_like(w, torch.nan)
        state = self.state[w]
        if not state:
            out, into = g.shape
            state |= {"t": 0, "left": g.new_zeros(out, out), "right": g.new_zeros(into, into)}
            state |= {"mean": torch.zeros_like(g), "square": g.new_zeros(0, 0)}
            state |= {"left basis": g.new_zeros(out, 0), "right basis": g.new_zeros(into, 0)}
        state["t"] += 1
        state["left"].lerp_(g @ g.T, 1 - self.basis_beta)
        state["right"].lerp_(g.T @ g, 1 - self.basis_beta)
        state["mean"].lerp_(g, 1 - self.betas[0])
        left, right = _eigenbasis(state["left"]), _eigenbasis(state["right"])
        # Second moments in the new basis, of entries that were uncorrelated in the old one.
        turned = [(old.T @ new).square() for old, new in ((state["left basis"], left), (state["right basis"], right))]
        square = self.betas[1] * (turned[0].T @ state["square"] @ turned[1])
        square += (1 - self.betas[1]) * (left.T @ g @ right).square()
        state |= {"square": square, "left basis": left, "right basis": right}
        if not square.numel():
            return torch.zeros_like(w)
        root = (square / (1 - self.betas[1] ** state["t"])).sqrt()
        mean = left.T @ state["mean"] @ right / (1 - self.betas[0] ** state["t"])
        step: Tensor = torch.where(root > NULL * root.max(), mean / (root + self.epsilon), 0)
        whole: Tensor = left @ step @ right.T
        return whole.view_as(w)


def _eigenbasis(gram: Tensor) -> Tensor:
    """Eigenvectors of the range, largest eigenvalue first."""
    values, vectors = torch.linalg.eigh(gram)
    keep = values > values[-1].clamp_min(0) * gram.shape[0] * torch.finfo(gram.dtype).eps
    basis: Tensor = vectors[:, keep].flip(1)
    return basis


class KFAC(Stepper):
    """w <- w - lr (B + damping)^-e_B g (A + damping)^-e_A with A = E x x^T, B = E dh dh^T over the current batch.

    Args:
        groups: dictionaries with ``params`` (one or two axes each, out x in), ``lr`` and, where they are known,
            ``factors``: a function that returns (dh [batch, out], x [batch, in]) with gradient = dh^T x. Without them
            inputs are taken to have coordinates of size one, as in a network whose activations neither vanish nor
            explode: that fixes how the gradient's singular values split into |dh| |x|.
        out, into: (power, damping) of either side; damping 0 is ``RELATIVE_DAMPING`` of the largest eigenvalue.

    Ref: Martens & Grosse 2015 (arXiv 1503.05671); powers: Ishikawa & Karakida 2024 (arXiv 2312.12226).
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        out: tuple[float, float] = (1.0, 0.0),
        into: tuple[float, float] = (1.0, 0.0),
    ) -> None:
        super().__init__(groups)
        self.out, self.into = out, into
        require_matrices(self)

    def direction(self, w: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
        g = as_matrix(gradient)
        if not torch.isfinite(g).all():
            return torch.full_like(w, torch.nan)
        if "factors" in group:
            dh, x = group["factors"]()
            batch = len(x)
            # The mean loss puts 1/batch into dh: B = E (batch dh)(batch dh)^T = batch dh^T dh.
            left, right = _whitening(dh, batch, *self.out), _whitening(x, 1 / batch, *self.into)
            return (left @ (left.T @ g @ right) @ right.T).view_as(w)
        parts = singular_parts(g)
        assert parts is not None
        u, s, vh = parts
        size = g.shape[1]
        step = u * s * _power(s.square() / size, *self.out) * _power(torch.full_like(s, size), *self.into)
        return (step @ vh).view_as(w)


def _whitening(vectors: Tensor, weight: float, power: float, damping: float) -> Tensor:
    """H [coordinates, rank] with H H^T = (weight v^T v + damping)^-power on the range of the rows v."""
    _, s, vh = torch.linalg.svd(vectors, full_matrices=False)
    root: Tensor = vh.T * _power(weight * s.square(), power, damping).sqrt()
    return root


def _power(eigenvalues: Tensor, power: float, damping: float) -> Tensor:
    if not eigenvalues.numel() or not eigenvalues.max() > 0:
        return torch.zeros_like(eigenvalues)
    result: Tensor = (eigenvalues + (damping or RELATIVE_DAMPING * eigenvalues.max())) ** -power
    return result
