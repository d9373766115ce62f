"""Orthogonalised updates: singular values replaced by one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

from tensorprog.errors import UnknownName, Unsupported
from tensorprog.exponent import ZERO, Exponent
from tensorprog.optimizers.entry import Entry, Fact
from tensorprog.optimizers.gradient import Outer, Parameter
from tensorprog.program import Axis
from tensorprog.scale import Scale

if TYPE_CHECKING:
    import torch

__all__ = ["Muon", "ShapeFactor", "normalised", "outer_parts"]


def normalised(x: Scale, by: Exponent, what: str) -> Scale:
    """x times n^{-top - by}: with by = size/2, a vector of L2 norm one."""
    return x.shift(-x.top - by, "normalised", what)


def outer_parts(p: Parameter, entry: Entry) -> Iterator[Outer]:
    """The outer products of the current gradient.

    Raises:
        Unsupported: where the gradient contains a multiple of the weight, a full-rank matrix whose singular vectors the
            calculus does not know.
    """
    for part in p.gradient.parts:
        if not isinstance(part, Outer):
            raise Unsupported(
                f"coupled weight decay with the optimizer {entry.name}",
                "a singular value decomposition of gradient plus weight has no rule",
                "Use decoupled decay (coupled=False), or an optimizer that acts entry by entry.",
            )
        yield part


class ShapeFactor(Enum):
    """Muon's competing shape factors; each is an exponent of n too."""

    NONE = "none"
    ORIGINAL = "original"
    TRANSPOSED = "transposed"
    SPECTRAL = "spectral"
    MATCH_RMS = "match-rms"
    KIMI = "kimi"
    MAX = "max"

    def exponent(self, out: Axis, into: Axis) -> Exponent:
        """The exponent of the factor."""
        match self:
            case ShapeFactor.NONE:
                return ZERO
            case ShapeFactor.ORIGINAL:
                return max(ZERO, (out.size - into.size) / 2)
            case ShapeFactor.TRANSPOSED:
                return max(ZERO, (into.size - out.size) / 2)
            case ShapeFactor.SPECTRAL:
                return (out.size - into.size) / 2
            case _:
                return max(out.size, into.size) / 2

    def number(self, out: int, into: int) -> float:
        """The factor of an out x into matrix."""
        match self:
            case ShapeFactor.NONE:
                return 1.0
            case ShapeFactor.ORIGINAL:
                return math.sqrt(max(1.0, out / into))
            case ShapeFactor.TRANSPOSED:
                return math.sqrt(max(1.0, into / out))
            case ShapeFactor.SPECTRAL:
                return math.sqrt(out / into)
            case ShapeFactor.MAX:
                return math.sqrt(max(out, into))
            case _:
                return 0.2 * math.sqrt(max(out, into))


@dataclass(frozen=True)
class Muon(Entry):
    """w <- w - eta * factor * orthogonalised(g): singular values replaced by one.

    A gradient of finite rank becomes a sum of outer products of unit vectors: each factor is normalised to L2 norm
    one on its axis, coordinates n^{-size/2}.

    Args:
        shape_factor: ``none`` (plain), ``original`` sqrt(max(1, out/in)), ``spectral`` sqrt(out/in),
            ``match-rms`` and ``kimi`` 0.2 sqrt(max(out, in)), ``max`` sqrt(max(out, in)); ``transposed`` is what
            ``original`` becomes where a matrix is stored as in x out, as embeddings are: sqrt(max(1, in/out)).

    Assumes: momentum, which adds earlier gradients, changes constants only; the leading parts of the examples' vectors
    are linearly independent up to the rank of the gradient (equalising singular values would raise smaller parts).

    Ref: Jordan et al. 2024 (Muon), ``original``; Yang et al. 2023 (arXiv 2310.17813), ``spectral``; Liu et al. 2025
    (arXiv 2502.16982), ``match-rms``, kept by Kimi Team 2025 (arXiv 2507.20534); ``max`` is Megatron-LM's "spectral".
    """

    name: ClassVar[str] = "muon"
    ref: ClassVar[str] = "Jordan et al. 2024 (Muon)"
    facts: ClassVar[Fact] = Fact.MONOTONE
    shape_factor: ShapeFactor | str = ShapeFactor.NONE

    def __post_init__(self) -> None:
        if not isinstance(self.shape_factor, ShapeFactor):
            accepted = {f.value: f for f in ShapeFactor}
            if self.shape_factor not in accepted:
                raise UnknownName("optimizer muon, shape_factor", self.shape_factor, accepted)
            object.__setattr__(self, "shape_factor", accepted[self.shape_factor])

    @property
    def factor(self) -> ShapeFactor:
        assert isinstance(self.shape_factor, ShapeFactor)
        return self.shape_factor

    def options(self) -> dict[str, str]:
        return {} if self.factor is ShapeFactor.NONE else {"shape_factor": self.factor.value}

    def direction(self, p: Parameter) -> Iterator[Outer]:
        out, into = p.weight.out, p.weight.into
        for part in outer_parts(p, self):
            # Orthogonalisation equalises singular values, so a part counts as much as the largest one.
            yield Outer(
                self.factor.exponent(out, into),
                normalised(part.out, out.size / 2, "dh / |dh|"),
                normalised(part.into, into.size / 2, "x / |x|"),
            )

    def torch(self, groups: list[dict[str, Any]], width: float = 1.0) -> torch.optim.Optimizer:
        from tensorprog.torch_optimizers import Orthogonalised

        return Orthogonalised(groups, self.factor.number)
