"""Exact exponents of the width n: rationals, or affine forms in named symbols.

A quantity of size Theta(n^e) has exponent e = q0 + q1 s1 + q2 s2 + ... with ``Fraction`` coefficients; a
quantity that is exactly zero has exponent -oo. Exponents add where sizes multiply, and the larger one wins where
sizes add. Comparisons of forms with symbols are decided by the :mod:`tensorprog.region` that is in force; a
comparison it cannot decide raises :class:`~tensorprog.errors.Undecided`. The derivation code never knows
whether it runs on numbers or on symbols.

sympy reads and writes exponents (user input, ``Max``, LaTeX) but is not the normal form: sympy 1.14 does not
identify ``Max(a, b) + 1`` with ``Max(a + 1, b + 1)``. It is imported only when it is asked for.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from fractions import Fraction
from numbers import Rational
from typing import TYPE_CHECKING, Any, Protocol

from tensorprog.errors import ExponentError, Undecided

if TYPE_CHECKING:
    import sympy

__all__ = ["INFINITE", "ONE", "ZERO", "ZERO_SIZE", "Exponent", "ExponentLike", "exponent", "known_le", "largest"]

ExponentLike = Any  # int | Fraction | str | sympy.Expr | Exponent: spelled out by `exponent`


class SignOracle(Protocol):
    """What a region offers to comparisons: the constant sign of a form, or Undecided."""

    def sign(self, form: Exponent) -> int: ...


current_region: ContextVar[SignOracle | None] = ContextVar("current_region", default=None)


class Exponent:
    """An exact exponent of n.

    Args:
        const: the rational part.
        coefficients: (symbol, non-zero coefficient) pairs, sorted by symbol; empty for a plain rational.
        infinite: -1 for -oo (the quantity is exactly zero), +1 for +oo (an unattained supremum), else 0.

    Equality is structural (and hashable); order is decided by the region in force.

    Example:
        >>> exponent("1/2") + exponent("c") - 1
        Exponent('c - 1/2')
        >>> exponent("1/3") < exponent("1/2")
        True
    """

    __slots__ = ("_hash", "coefficients", "const", "infinite")

    const: Fraction
    coefficients: tuple[tuple[str, Fraction], ...]
    infinite: int

    def __init__(
        self, const: Fraction | int, coefficients: tuple[tuple[str, Fraction], ...] = (), infinite: int = 0
    ) -> None:
        self.const = const if isinstance(const, Fraction) else _exact(const)
        self.coefficients = coefficients
        self.infinite = infinite
        self._hash: int | None = None

    # -- algebra ------------------------------------------------------------------------------------------

    def __add__(self, other: Exponent | int | Fraction) -> Exponent:
        if not isinstance(other, Exponent):
            other = Exponent(other)
        if self.infinite or other.infinite:
            if self.infinite and other.infinite and self.infinite != other.infinite:
                raise ExponentError("sum of exponents", f"{self} + {other}", "which is not defined")
            return self if self.infinite else other
        if not other.coefficients:
            return Exponent(self.const + other.const, self.coefficients) if other.const else self
        if not self.coefficients:
            return Exponent(self.const + other.const, other.coefficients)
        merged = dict(self.coefficients)
        for symbol, value in other.coefficients:
            merged[symbol] = merged.get(symbol, Fraction(0)) + value
        return Exponent(self.const + other.const, _normal(merged))

    __radd__ = __add__

    def __neg__(self) -> Exponent:
        return Exponent(-self.const, tuple((s, -q) for s, q in self.coefficients), -self.infinite)

    def __sub__(self, other: Exponent | int | Fraction) -> Exponent:
        return self + (-other)

    def __rsub__(self, other: int | Fraction) -> Exponent:
        return Exponent(other) - self

    def __mul__(self, factor: int | Fraction) -> Exponent:
        factor = _exact(factor)
        if self.infinite:
            return self if factor > 0 else (-self if factor < 0 else ZERO)
        if not factor:
            return ZERO
        return Exponent(self.const * factor, tuple((s, q * factor) for s, q in self.coefficients))

    __rmul__ = __mul__

    def __truediv__(self, divisor: int | Fraction) -> Exponent:
        return self * (1 / _exact(divisor))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, int | Fraction):
            return not self.infinite and not self.coefficients and self.const == other
        if not isinstance(other, Exponent):
            if not hasattr(other, "free_symbols"):
                return NotImplemented
            try:
                other = exponent(other)  # a sympy expression
            except ExponentError:
                return False
        return self is other or (
            self.const == other.const and self.coefficients == other.coefficients and self.infinite == other.infinite
        )

    def __hash__(self) -> int:
        if self._hash is None:
            # A plain number equals its Fraction, so it must hash like it.
            plain = not (self.coefficients or self.infinite)
            self._hash = hash(self.const) if plain else hash((self.const, self.coefficients, self.infinite))
        return self._hash

    def __lt__(self, other: Exponent | int | Fraction) -> bool:
        return self.compare(other if isinstance(other, Exponent) else Exponent(other)) < 0

    def __le__(self, other: Exponent | int | Fraction) -> bool:
        return self.compare(other if isinstance(other, Exponent) else Exponent(other)) <= 0

    def __gt__(self, other: Exponent | int | Fraction) -> bool:
        return self.compare(other if isinstance(other, Exponent) else Exponent(other)) > 0

    def __ge__(self, other: Exponent | int | Fraction) -> bool:
        return self.compare(other if isinstance(other, Exponent) else Exponent(other)) >= 0

    def compare(self, other: Exponent) -> int:
        """The sign of ``self - other`` on the region in force: -1, 0 or +1.

        Raises:
            Undecided: where the sign is not constant on the region.
        """
        if not (self.coefficients or other.coefficients or self.infinite or other.infinite):
            return (self.const > other.const) - (self.const < other.const)
        if self.infinite or other.infinite:
            return (self.infinite > other.infinite) - (self.infinite < other.infinite)
        difference = self - other
        if not difference.coefficients:
            return (difference.const > 0) - (difference.const < 0)
        region = current_region.get()
        if region is None:
            raise Undecided(difference)
        return region.sign(difference)

    def __float__(self) -> float:
        """For plots; exponents are never computed in floats."""
        if self.coefficients:
            raise ExponentError("float of an exponent", str(self), "which has symbols")
        return float("inf") * self.infinite if self.infinite else float(self.const)

    # -- symbols ------------------------------------------------------------------------------------------

    @property
    def symbols(self) -> frozenset[str]:
        """The names of the symbols that the form depends on."""
        return frozenset(symbol for symbol, _ in self.coefficients)

    @property
    def is_number(self) -> bool:
        """True for a finite rational."""
        return not self.coefficients and not self.infinite

    def substitute(self, values: Mapping[str, Exponent]) -> Exponent:
        """The form with symbols replaced by forms; symbols that are not named stay."""
        if not self.coefficients or not values:
            return self
        result = Exponent(self.const)
        for symbol, value in self.coefficients:
            result = result + values.get(symbol, Exponent(0, ((symbol, Fraction(1)),))) * value
        return result

    # -- reading ------------------------------------------------------------------------------------------

    def __str__(self) -> str:
        if self.infinite:
            return "-oo" if self.infinite < 0 else "oo"
        text = ""
        for symbol, value in self.coefficients:
            size = abs(value)
            factor = symbol if size == 1 else f"{size}*{symbol}" if size.denominator == 1 else f"({size})*{symbol}"
            if not text:
                text = factor if value > 0 else f"-{factor}"
            else:
                text += f" + {factor}" if value > 0 else f" - {factor}"
        if not text:
            return str(self.const)
        if self.const:
            text += f" + {self.const}" if self.const > 0 else f" - {-self.const}"
        return text

    def __repr__(self) -> str:
        return f"Exponent({str(self)!r})"

    def to_sympy(self) -> sympy.Expr:
        """The exponent as a sympy expression in real symbols."""
        import sympy

        if self.infinite:
            return sympy.S.NegativeInfinity if self.infinite < 0 else sympy.S.Infinity
        result: Any = sympy.Rational(self.const.numerator, self.const.denominator)
        for symbol, value in self.coefficients:
            result += sympy.Rational(value.numerator, value.denominator) * sympy.Symbol(symbol, real=True)
        return result


def _exact(value: object) -> Fraction:
    """A number as a Fraction; floats never enter, by no operation."""
    if isinstance(value, Fraction):
        return value
    if isinstance(value, Rational) and not isinstance(value, bool):
        return Fraction(int(value.numerator), int(value.denominator))
    raise ExponentError("exponent", value, f"which is of type {type(value).__name__} and not exact")


def _normal(coefficients: Mapping[str, Fraction]) -> tuple[tuple[str, Fraction], ...]:
    return tuple(sorted((s, q) for s, q in coefficients.items() if q))


ZERO = Exponent(0)
ONE = Exponent(1)
ZERO_SIZE = Exponent(0, (), -1)
"""-oo: the exponent of a quantity that is exactly zero."""
INFINITE = Exponent(0, (), 1)
"""+oo: only as the supremum of an unbounded set, or as the init exponent b of a zero initialisation."""


def known_le(a: Exponent, b: Exponent) -> bool:
    """True where ``a <= b`` is certain on the region in force; False where it is wrong or undecided.

    Pruning asks this instead of ``<=``: dropping a term is optional, so it never forces a split.
    """
    if not (a.coefficients or b.coefficients or a.infinite or b.infinite):
        return a.const <= b.const
    try:
        return a.compare(b) <= 0
    except Undecided:
        return False


def largest(exponents: Iterable[Exponent]) -> Exponent:
    """The largest exponent, -oo of none: the exponent of a sum of positive quantities."""
    result = ZERO_SIZE
    for e in exponents:
        if result < e:
            result = e
    return result


def exponent(value: ExponentLike, what: str = "exponent") -> Exponent:
    """Read an exact exponent from an int, a Fraction, a string, a sympy expression or an Exponent.

    Args:
        value: ``1``, ``Fraction(1, 2)``, ``"1/2"``, ``"-oo"``, ``"1 - c"``, ``sympy.Symbol("c") / 2``.
        what: how an error names the thing that was read.

    Raises:
        ExponentError: for floats (they are not exact), malformed text, zero denominators and forms that are
            not affine with rational coefficients.

    Example:
        >>> exponent("3/4"), exponent("2*(r - 1/2)")
        (Exponent('3/4'), Exponent('2*r - 1'))
    """
    if isinstance(value, Exponent):
        return value
    if isinstance(value, bool):
        raise ExponentError(what, value, "which is a truth value")
    if isinstance(value, Rational):
        return Exponent(_exact(value))
    if isinstance(value, float):
        raise ExponentError(what, value, "but a float is not exact")
    if isinstance(value, str):
        return _parse(value, what)
    if hasattr(value, "free_symbols") and hasattr(value, "as_coefficients_dict"):
        return _from_sympy(value, what)
    raise ExponentError(what, value, f"which is of type {type(value).__name__}")


def _parse(text: str, what: str) -> Exponent:
    stripped = text.strip()
    if stripped in ("oo", "+oo", "-oo"):
        return ZERO_SIZE if stripped[0] == "-" else INFINITE
    try:
        return Exponent(_fraction(stripped))
    except ZeroDivisionError:
        raise ExponentError(what, text, "which divides by zero") from None
    except ValueError:
        pass
    if len(stripped) > 200:
        raise ExponentError(what, stripped[:40] + "...", "which is too long")
    try:
        tree = ast.parse(stripped, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ExponentError(what, text, "which is not an expression") from None
    return _affine(tree, text, what)


def _fraction(text: str) -> Fraction:
    # Fraction() also reads '1e5', '1_0', 'nan': only plain rationals and decimals are meant here.
    # Blanks may stand around the bar and the sign, never inside a number: '1 2' is not 12.
    if not _RATIONAL.fullmatch(text):
        raise ValueError(text)
    return Fraction(text.replace(" ", ""))


_RATIONAL = re.compile(r"[+-]? *(?:[0-9]+ */ *[0-9]+|[0-9]+\.?[0-9]*|\.[0-9]+)")


_NOT_SYMBOLS = {"oo", "zoo", "inf", "infinity", "nan"}


def _affine(node: ast.expr, text: str, what: str) -> Exponent:
    """Evaluate the syntax tree of an affine expression; nothing is ever executed."""
    if isinstance(node, ast.Constant):
        literal = ast.get_source_segment(text.strip(), node) or ""
        try:
            return Exponent(_fraction(literal))  # refuses 0x10, 1_000 and 1e5, which Python reads
        except ValueError:
            pass
        raise ExponentError(what, text, f"whose part {node.value!r} is not an exact number")
    if isinstance(node, ast.Name) and node.id.lower() not in _NOT_SYMBOLS:
        return Exponent(0, ((node.id, Fraction(1)),))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        inner = _affine(node.operand, text, what)
        return -inner if isinstance(node.op, ast.USub) else inner
    if isinstance(node, ast.BinOp):
        left, right = _affine(node.left, text, what), _affine(node.right, text, what)
        if isinstance(node.op, ast.Add):
            return left + right
        if isinstance(node.op, ast.Sub):
            return left - right
        if isinstance(node.op, ast.Mult) and (left.is_number or right.is_number):
            return right * left.const if left.is_number else left * right.const
        if isinstance(node.op, ast.Div) and right.is_number:
            if not right.const:
                raise ExponentError(what, text, "which divides by zero")
            return left / right.const
    raise ExponentError(what, text, "which is not an affine expression with rational coefficients")


def _from_sympy(value: Any, what: str) -> Exponent:
    import sympy

    if value is sympy.S.Infinity:
        return INFINITE
    if value is sympy.S.NegativeInfinity:
        return ZERO_SIZE
    const, coefficients = Fraction(0), {}
    for basis, factor in sympy.expand(value).as_coefficients_dict().items():
        if not getattr(factor, "is_Rational", False):
            raise ExponentError(what, str(value), "whose coefficients are not exact rationals")
        q = Fraction(int(factor.p), int(factor.q))
        if basis == 1:
            const = q
        elif basis.is_Symbol:
            coefficients[str(basis)] = q
        else:
            raise ExponentError(what, str(value), f"which is not affine in {basis}")
    return Exponent(const, _normal(coefficients))


def symbol(name: str) -> Exponent:
    """The exponent that is the symbol ``name``."""
    return Exponent(0, ((name, Fraction(1)),))
