"""tensorprog: a symbolic width-scaling calculator for neural networks.

Given a network, a parametrization, an optimizer and a loss it derives how every quantity scales with the width n,
whether training is stable, diverges in a controlled way or catastrophically, and the largest stable learning rate.
"""

from tensorprog import torch
from tensorprog.architectures import cnn, mlp, resnet, resnet_mlp, transformer
from tensorprog.derivation import Derivation
from tensorprog.derive import derive
from tensorprog.equivalence import Equivalence, equivalence, symmetry
from tensorprog.errors import TensorprogError
from tensorprog.exponent import Exponent
from tensorprog.family import Family
from tensorprog.finetuning import freeze, lora
from tensorprog.formula import Formula, formula
from tensorprog.layerwise import layer_rates
from tensorprog.parametrizations import Parametrization
from tensorprog.phase import PhaseDiagram, phase
from tensorprog.program import Builder, Program
from tensorprog.regimes import Learning, Regime
from tensorprog.solve import Solutions, solve
from tensorprog.stability import max_stable_lr
from tensorprog.trace import trace

__version__ = "0.1.0"
__all__ = [
    "Builder",
    "Derivation",
    "Equivalence",
    "Exponent",
    "Family",
    "Formula",
    "Learning",
    "Parametrization",
    "PhaseDiagram",
    "Program",
    "Regime",
    "Solutions",
    "TensorprogError",
    "cnn",
    "derive",
    "equivalence",
    "formula",
    "freeze",
    "layer_rates",
    "lora",
    "max_stable_lr",
    "mlp",
    "phase",
    "resnet",
    "resnet_mlp",
    "solve",
    "symmetry",
    "torch",
    "trace",
    "transformer",
]
