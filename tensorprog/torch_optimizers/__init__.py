"""Torch optimizers that torch itself does not have: the numeric halves of :mod:`tensorprog.optimizers`.

Every parameter group carries its own ``lr``. Where the theory takes one step's statistics (orthogonalised descent,
Shampoo, K-FAC) so do they, so that one step is one application of the theory's update map.
"""

from tensorprog.torch_optimizers.curvature import KFAC, SOAP, Preconditioned
from tensorprog.torch_optimizers.norm import (
    AdamDirection,
    NormalisedDescent,
    ParameterScaled,
    TrustRatio,
    gradient_itself,
)
from tensorprog.torch_optimizers.orthogonal import Orthogonalised, orthogonalised
from tensorprog.torch_optimizers.sign import Lion, SignDescent
from tensorprog.torch_optimizers.stepper import NEGLIGIBLE_EPSILON
from tensorprog.torch_optimizers.wrappers import Clipping, Decaying, Several, SharpnessAware

__all__ = [
    "KFAC",
    "NEGLIGIBLE_EPSILON",
    "SOAP",
    "AdamDirection",
    "Clipping",
    "Decaying",
    "Lion",
    "NormalisedDescent",
    "Orthogonalised",
    "ParameterScaled",
    "Preconditioned",
    "Several",
    "SharpnessAware",
    "SignDescent",
    "TrustRatio",
    "gradient_itself",
    "orthogonalised",
]
