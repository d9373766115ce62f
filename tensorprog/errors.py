"""The typed errors of tensorprog.

Every error says what was asked, what was got, what is needed and what to do. All derive from
:class:`TensorprogError`, so a caller can catch the whole family; the data of an error are attributes and the
message is composed in one place.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tensorprog.exponent import Exponent

__all__ = [
    "BeyondRules",
    "Concentrated",
    "Exploding",
    "ExponentError",
    "ProgramError",
    "RegionError",
    "SettingError",
    "TensorprogError",
    "Undecided",
    "UnknownName",
    "Unsupported",
]


class TensorprogError(Exception):
    """Base of every error that tensorprog raises on purpose."""


class ExponentError(TensorprogError, ValueError):
    """Something that was meant as an exponent cannot be read as an exact one."""

    def __init__(self, what: str, got: object, why: str) -> None:
        self.what, self.got, self.why = what, got, why
        super().__init__(
            f"{what}: got {got!r}, {why}; accepted are integers, exact fractions such as '1/2', "
            "sympy numbers and affine expressions in symbols such as '1 - c'"
        )


class UnknownName(TensorprogError, ValueError):
    """A name that no registry entry carries."""

    def __init__(self, what: str, got: object, accepted: Iterable[str]) -> None:
        self.what, self.got, self.accepted = what, got, tuple(accepted)
        super().__init__(f"{what}: got {got!r}; accepted are {', '.join(self.accepted)}")


class SettingError(TensorprogError, ValueError):
    """An option whose value is out of range, of the wrong length, or contradicts another one."""

    def __init__(self, what: str, got: object, need: str) -> None:
        self.what, self.got, self.need = what, got, need
        super().__init__(f"{what}: got {got!r}; {need}")


class ProgramError(TensorprogError, ValueError):
    """An ill-typed program: axes that do not match, a value of another program, no output."""


class Unsupported(TensorprogError, NotImplementedError):
    """A well-formed request that the calculus has no rule for."""

    def __init__(self, what: str, why: str, instead: str) -> None:
        self.what, self.why, self.instead = what, why, instead
        super().__init__(f"{what} is not supported: {why}. {instead}")


class BeyondRules(Unsupported):
    """Values so large that no power of n describes what follows; smaller learning rates have exponents.

    Args:
        top: the exponent of what is too large.
        limit: why larger learning rates have none.
    """

    def __init__(self, what: str, why: str, instead: str, *, top: Exponent, limit: str) -> None:
        self.top, self.limit = top, limit
        super().__init__(what, why, instead)


class Concentrated(BeyondRules):
    """A softmax over a growing axis whose logits diverge.

    Args:
        over: what the axis counts.
        top: the exponent of the logits.
    """

    def __init__(self, over: str, top: Exponent, instead: str) -> None:
        super().__init__(
            f"a softmax over a growing number of {over} with logits n^({top})",
            "it concentrates on a vanishing share of them",
            instead,
            top=top,
            limit=f"a softmax over a growing number of {over} concentrates there",
        )


class Exploding(BeyondRules):
    """An exponential whose argument diverges: no power of n is as large.

    Args:
        top: the exponent of the argument.
    """

    def __init__(self, top: Exponent) -> None:
        super().__init__(
            f"an exponential of values n^({top})",
            "no power of n is as large as its largest values",
            "Take rates at which it stays bounded; of logits, take a softmax, which has a rule of its own.",
            top=top,
            limit="the argument of an exponential diverges there",
        )


class RegionError(TensorprogError, ValueError):
    """Assumptions on the symbols that no point satisfies, or that are not affine."""


class Undecided(TensorprogError):
    """The sign of an affine form is not constant on the current region.

    Carries the form, so that the explorer can split the region along its zero set.
    """

    def __init__(self, form: Exponent) -> None:
        self.form = form
        super().__init__(
            f"the sign of {form} is not decided by the assumptions on its symbols; "
            "derive explores such cases by itself: pass the symbols to tensorprog.derive, or assume a sign"
        )
