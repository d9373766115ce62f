"""Sharpness-aware minimisation: the gradient is taken at perturbed weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tensorprog.errors import SettingError, Unsupported
from tensorprog.exponent import ZERO, Exponent, ExponentLike, exponent
from tensorprog.optimizers.entry import Parts, weight_of
from tensorprog.optimizers.gradient import Parameter
from tensorprog.optimizers.norm import global_norm
from tensorprog.optimizers.roles import ByRole
from tensorprog.optimizers.wrappers import Wrapper
from tensorprog.options import power_of, read_exponents, read_positive
from tensorprog.program import Weight

if TYPE_CHECKING:
    import torch

__all__ = ["SAM"]


@dataclass(frozen=True)
class SAM(Wrapper):
    """w~_l = w_l + rho n^radius_exponent v_l / |v| with v_l = n^(layer exponent) g_l; the base steps with g(w~).

    |v| is the L2 norm over all weights together, or of each layer by itself (``layerwise``). In the notation of muP^2,
    radius_exponent = -d and layer exponents = -d_l.

    Args:
        base_optimizer: the optimizer that takes the step.
        radius_exponent: the radius rho is radius * n^radius_exponent.
        layer_exponents: of a factor on each layer's gradient inside the perturbation, by role or weight name, such as
            input=1/2,hidden=-1/2,readout=-3/2; others have 0.
        layerwise: divide each layer by its own norm.
        radius: the constant of rho, which exponents do not see.

    Ref: Foret et al. 2021 (arXiv 2010.01412); layerwise exponents: Haas et al. 2024 (arXiv 2411.00075), Definition 2.
    """

    name: ClassVar[str] = "sam"
    ref: ClassVar[str] = "Foret et al. 2021 (arXiv 2010.01412)"
    radius_exponent: ExponentLike = ZERO
    layer_exponents: str | Mapping[str, ExponentLike] | ByRole[Exponent] = ""
    layerwise: bool = False
    radius: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        read_exponents(self, "radius_exponent")
        read_positive(self, "radius")
        what = "optimizer sam, layer_exponents"
        object.__setattr__(self, "layer_exponents", ByRole.read(self.layer_exponents, what, _finite_exponent))

    def layer_exponent(self, weight: Weight) -> Exponent:
        """The exponent of a layer's factor."""
        assert isinstance(self.layer_exponents, ByRole)
        return self.layer_exponents.get(weight) or ZERO

    def by_parts(self, weight: Weight) -> bool:
        return super().by_parts(weight) and not self.layerwise

    def treatment(self, weight: Weight) -> object:
        return self.layer_exponent(weight), super().treatment(weight)

    def check(self, weights: Sequence[Weight]) -> None:
        assert isinstance(self.layer_exponents, ByRole)
        self.layer_exponents.check(weights, "optimizer sam, layer_exponents")
        super().check(weights)

    def perturbation(self, network: Sequence[Parameter]) -> Parts:
        if self.base.perturbation(network):
            raise Unsupported(
                "sam around sam", "a perturbation of a perturbation has no rule", "Use one of them around an optimizer."
            )
        layers = [(p, p.gradient.shift(self.layer_exponent(p.weight))) for p in network if p.gradient.parts]
        together = global_norm(layers)
        return {
            p.weight: g.shift(self.radius_exponent - (p.norm(g.size) if self.layerwise else together)).parts
            for p, g in layers
        }

    def torch(self, groups: list[dict[str, Any]], width: float = 1.0) -> torch.optim.Optimizer:
        from tensorprog.torch_optimizers import SharpnessAware

        assert isinstance(self.layer_exponents, ByRole)
        for group in groups if self.layer_exponents.items else ():
            e = self.layer_exponent(weight_of(group, "layer_exponents of sam"))
            group["perturbation"] = power_of(width, e)
        radius = self.radius * power_of(width, self.radius_exponent)
        return SharpnessAware(self.base.torch(groups, width), radius, layerwise=self.layerwise)


def _finite_exponent(value: ExponentLike, what: str) -> Exponent:
    e = exponent(value, what)
    if e.infinite:
        raise SettingError(what, str(e), "needs a finite exponent")
    return e
