"""Matrix preconditioners: Shampoo, SOAP, K-FAC.

For a part dh (x) x of the gradient, s = |dh| |x| is its singular value. Preconditioners built from the gradient see s,
those built from layer inputs and output gradients see |x| and |dh| apart; either changes the part's size and leaves its
two directions alone. Statistics are those of the current step: with fresh batches of Theta(1) examples every step's
directions are new, and a running mean changes constants.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tensorprog.exponent import ONE, ZERO_SIZE, Exponent, ExponentLike, largest
from tensorprog.optimizers.entry import Entry
from tensorprog.optimizers.gradient import Outer, Parameter
from tensorprog.optimizers.orthogonal import normalised, outer_parts
from tensorprog.optimizers.sign import epsilon_at
from tensorprog.options import power_of, read_exponents, read_positive, read_powers
from tensorprog.scale import Scale

if TYPE_CHECKING:
    import torch

    from tensorprog.program import Axis

__all__ = ["KFAC", "SOAP", "Shampoo"]


@dataclass(frozen=True)
class Shampoo(Entry):
    """w <- w - eta L^-p g R^-q with L = g g^T + eps, R = g^T g + eps.

    A part of singular value s is multiplied by max(s^2, eps)^-(p + q). For p + q = 1/2, the default, singular values
    become one: Muon's step.

    Args:
        out_power: p, of the preconditioner on the output side.
        in_power: q, of the preconditioner on the input side.
        damping_exponent: eps = damping * n^damping_exponent; the default -oo is eps = 0 on the gradient's range.
        damping: its constant, which exponents do not see.

    Ref: Gupta et al. 2018 (arXiv 1802.09568), Algorithm 1; powers: Ishikawa & Karakida 2024 (arXiv 2312.12226).
    """

    name: ClassVar[str] = "shampoo"
    ref: ClassVar[str] = "Gupta et al. 2018 (arXiv 1802.09568)"
    out_power: ExponentLike = ONE / 4
    in_power: ExponentLike = ONE / 4
    damping_exponent: ExponentLike = ZERO_SIZE
    damping: float = 1.0

    def __post_init__(self) -> None:
        read_powers(self, "out_power", "in_power")
        read_exponents(self, "damping_exponent", zero="no damping")
        read_positive(self, "damping")

    @property
    def monotone(self) -> bool:
        """Below p + q = 1/2 a larger gradient still gives a larger step."""
        return bool(self.out_power + self.in_power <= ONE / 2)

    def direction(self, p: Parameter) -> Iterator[Outer]:
        power = self.out_power.const + self.in_power.const
        for part in outer_parts(p, self):
            eigenvalue = max(p.norm(part.size) * 2, self.damping_exponent)
            yield part.shift(-eigenvalue * power)

    def torch(self, groups: list[dict[str, Any]], width: float = 1.0) -> torch.optim.Optimizer:
        from tensorprog.torch_optimizers import Preconditioned

        powers = float(self.out_power.const), float(self.in_power.const)
        return Preconditioned(groups, *powers, damping=self.damping * power_of(width, self.damping_exponent))


@dataclass(frozen=True)
class SOAP(Entry):
    """Adam in the eigenbasis of Shampoo's L and R: w <- w - eta Q_L (m / (sqrt(v) + eps)) Q_R^T.

    In that basis a gradient of finite rank has a finite block of entries, its singular values; Adam makes them
    Theta(1), so the step is a sum of outer products of unit vectors, as Muon's is. Epsilon is held against singular
    values.

    Args:
        epsilon_exponent: eps = epsilon * n^epsilon_exponent; the default -oo is eps = 0 on the gradient's range.
        epsilon: its constant, which exponents do not see.

    Ref: Vyas et al. 2024 (arXiv 2409.11321), Algorithm 3.
    """

    name: ClassVar[str] = "soap"
    ref: ClassVar[str] = "Vyas et al. 2024 (arXiv 2409.11321)"
    epsilon_exponent: ExponentLike = ZERO_SIZE
    epsilon: float = 1.0

    def __post_init__(self) -> None:
        read_exponents(self, "epsilon_exponent", zero="eps = 0")
        read_positive(self, "epsilon")

    def direction(self, p: Parameter) -> Iterator[Outer]:
        remembered = p.norm(p.remembered)
        if remembered < self.epsilon_exponent:
            yield from (part.shift(-self.epsilon_exponent) for part in outer_parts(p, self))
            return
        for part in outer_parts(p, self):
            yield Outer(
                p.norm(part.size) - remembered,
                normalised(part.out, p.weight.out.size / 2, "dh / |dh|"),
                normalised(part.into, p.weight.into.size / 2, "x / |x|"),
            )

    def torch(self, groups: list[dict[str, Any]], width: float = 1.0) -> torch.optim.Optimizer:
        from tensorprog.torch_optimizers import SOAP as TorchSOAP

        return TorchSOAP(groups, epsilon=epsilon_at(width, self.epsilon_exponent, self.epsilon))


@dataclass(frozen=True)
class KFAC(Entry):
    """w <- w - eta (B + damping)^-e_B g (A + damping)^-e_A with A = E x x^T and B = E dh dh^T.

    The factor x is divided by max(|x|^2, damping)^e_A, dh by max(|dh|^2, damping)^e_B, with L2 norms. dh is the
    gradient with respect to w x for the raw weight w: it includes the multiplier n^-a.

    Args:
        out_power: e_B, of the gradient side.
        in_power: e_A, of the input side.
        out_damping_exponent: B's damping is damping * n^out_damping_exponent; the default -oo follows the largest
            eigenvalue at a constant fraction.
        in_damping_exponent: A's damping is damping * n^in_damping_exponent; the default -oo likewise.
        damping: the constant of both, which exponents do not see.

    Ref: Martens & Grosse 2015 (arXiv 1503.05671); powers and damping: Ishikawa & Karakida 2024 (arXiv 2312.12226).
    """

    name: ClassVar[str] = "kfac"
    ref: ClassVar[str] = "Martens & Grosse 2015 (arXiv 1503.05671)"
    out_power: ExponentLike = ONE
    in_power: ExponentLike = ONE
    out_damping_exponent: ExponentLike = ZERO_SIZE
    in_damping_exponent: ExponentLike = ZERO_SIZE
    damping: float = 1.0

    def __post_init__(self) -> None:
        read_powers(self, "out_power", "in_power")
        read_exponents(self, "out_damping_exponent", "in_damping_exponent", zero="damping relative to eigenvalues")
        read_positive(self, "damping")

    def direction(self, p: Parameter) -> Iterator[Outer]:
        parts = list(outer_parts(p, self))
        # One A and one B for all uses of the weight: the largest part decides their leading eigenvalues.
        out = _eigenvalue((part.out for part in parts), p.weight.out, self.out_damping_exponent)
        into = _eigenvalue((part.into for part in parts), p.weight.into, self.in_damping_exponent)
        for part in parts:
            yield part.shift(-out * self.out_power.const - into * self.in_power.const)

    def torch(self, groups: list[dict[str, Any]], width: float = 1.0) -> torch.optim.Optimizer:
        from tensorprog.torch_optimizers import KFAC as TorchKFAC

        sides = (
            (float(power.const), self.damping * power_of(width, damping))
            for power, damping in (
                (self.out_power, self.out_damping_exponent),
                (self.in_power, self.in_damping_exponent),
            )
        )
        return TorchKFAC(groups, *sides)


def _eigenvalue(vectors: Iterator[Scale], axis: Axis, damping: Exponent) -> Exponent:
    """Of the mean of v v^T plus damping, along the vectors: their squared L2 norm, or the damping."""
    return max(largest(v.top for v in vectors) * 2 + axis.size, damping)
