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

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from fractions import Fraction
from math import gcd
from numbers import Rational
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from tensorprog.errors import ExponentError, Undecided

if TYPE_CHECKING:
    import sympy

__all__ = [
    "INFINITE",
    "ONE",
    "ZERO",
    "ZERO_SIZE",
    "Exponent",
    "ExponentLike",
    "known_le",
    "known_lt",
    "largest",
    "maximal",
]

ExponentLike = Any  # int | Fraction | str | sympy.Expr | Exponent: spelled out by `exponent`


class SignOracle(Protocol):
    """What a region offers to comparisons."""

    def sign(self, form: Exponent) -> int:
        """The constant sign of a form; raises Undecided where it is not constant."""

    def known_le(self, a: Exponent, b: Exponent) -> bool:
        """True where ``a <= b`` is certain; False where it is wrong or undecided."""


current_region: ContextVar[SignOracle | None] = ContextVar("current_region", default=None)


class Table(dict[Any, Any]):
    """A dictionary that computes what it does not hold yet: a hit costs one lookup."""

    __slots__ = ("_compute",)

    def __init__(self, compute: Callable[[Any], Any]) -> None:
        self._compute = compute

    def __missing__(self, key: Any) -> Any:
        value = self[key] = self._compute(key)
        return value


class Linear:
    """The linear part q1 s1 + q2 s2 + ... of exponents, interned: equal parts are one object.

    A derivation adds and compares the same few linear parts millions of times. Interned, their sums are looked up by
    identity, and a region remembers the range of each of them: a comparison then costs no more than one of numbers.

    Args:
        items: (symbol, non-zero coefficient) pairs, sorted by symbol.
    """

    __slots__ = ("items", "minus", "negative", "plus")

    items: tuple[tuple[str, Fraction], ...]
    negative: Linear
    plus: Mapping[Linear, Linear]
    minus: Mapping[Linear, Linear]

    _known: ClassVar[dict[tuple[tuple[str, Fraction], ...], Linear]] = {}

    @classmethod
    def of(cls, items: tuple[tuple[str, Fraction], ...]) -> Linear:
        known = cls._known.get(items)
        if known is None:
            known = cls._known[items] = cls._new(items)
            opposite = tuple((s, -q) for s, q in items)
            known.negative = cls._known.setdefault(opposite, known if not items else cls._new(opposite))
            known.negative.negative = known
        return known

    @classmethod
    def _new(cls, items: tuple[tuple[str, Fraction], ...]) -> Linear:
        made = object.__new__(cls)
        made.items, made.plus, made.minus = items, Table(made._sum), Table(made._difference)
        return made

    def _sum(self, other: Linear) -> Linear:
        merged = dict(self.items)
        for symbol, value in other.items:
            merged[symbol] = merged.get(symbol, _NOUGHT) + value
        return Linear.of(_normal(merged))

    def _difference(self, other: Linear) -> Linear:
        return self.plus[other.negative]


_NOUGHT = Fraction(0)
CONSTANT = Linear.of(())
"""The linear part of a plain number."""


class Exponent:
    """An exact exponent of n.

    Args:
        const: the rational part.
        coefficients: (symbol, non-zero coefficient) pairs, sorted by symbol; empty for a plain rational.
        infinite: -1 for -oo (the quantity is exactly zero), +1 for +oo (an unattained supremum), else 0.

    Equality is structural (and hashable); order is decided by the region in force.

    Example:
        >>> from tensorprog.exponent import exponent
        >>> exponent("1/2") + exponent("c") - 1
        Exponent('c - 1/2')
        >>> exponent("1/3") < exponent("1/2")
        True
    """

    # The rational part is kept as two integers in lowest terms: Fraction arithmetic is several times slower.
    __slots__ = ("_hash", "den", "infinite", "linear", "num")

    num: int
    den: int
    linear: Linear
    infinite: int

    def __init__(
        self, const: Fraction | int, coefficients: tuple[tuple[str, Fraction], ...] = (), infinite: int = 0
    ) -> None:
        exact = const if isinstance(const, Fraction) else _exact(const)
        self.num, self.den = exact.numerator, exact.denominator
        self.linear = Linear.of(coefficients) if coefficients else CONSTANT
        self.infinite = infinite
        self._hash: int | None = None

    @classmethod
    def _of(cls, num: int, den: int, linear: Linear) -> Exponent:
        """A finite exponent from its parts, num / den in lowest terms."""
        made = object.__new__(cls)
        made.num, made.den, made.linear, made.infinite, made._hash = num, den, linear, 0, None
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return Exponent, (self.const, self.coefficients, self.infinite)

    @property
    def const(self) -> Fraction:
        """The rational part."""
        return Fraction(self.num, self.den)

    @property
    def coefficients(self) -> tuple[tuple[str, Fraction], ...]:
        """(symbol, non-zero coefficient) pairs, sorted by symbol."""
        return self.linear.items

    # -- algebra ------------------------------------------------------------------------------------------

    def __add__(self, other: Exponent | int | Fraction) -> Exponent:
        if not isinstance(other, Exponent):
            other = Exponent(other)
        if self.infinite or other.infinite:
            if self.infinite and other.infinite and self.infinite != other.infinite:
                raise ExponentError("sum of exponents", f"{self} + {other}", "which is not defined")
            return self if self.infinite else other
        linear = self.linear if other.linear is CONSTANT else self.linear.plus[other.linear]
        if not other.num:
            return self if other.linear is CONSTANT else Exponent._of(self.num, self.den, linear)
        return Exponent._of(*_added(self.num, self.den, other.num, other.den), linear)

    __radd__ = __add__

    def __neg__(self) -> Exponent:
        if self.infinite:
            return INFINITE if self.infinite < 0 else ZERO_SIZE
        return Exponent._of(-self.num, self.den, self.linear.negative)

    def __sub__(self, other: Exponent | int | Fraction) -> Exponent:
        if not isinstance(other, Exponent) or self.infinite or other.infinite:
            return self + (-other)
        linear = self.linear if other.linear is CONSTANT else self.linear.minus[other.linear]
        return Exponent._of(*_added(self.num, self.den, -other.num, other.den), linear)

    def __rsub__(self, other: int | Fraction) -> Exponent:
        return Exponent(other) - self

    def __mul__(self, factor: int | Fraction) -> Exponent:
        factor = _exact(factor)
        if self.infinite:
            return self if factor > 0 else (-self if factor < 0 else ZERO)
        if not factor:
            return ZERO
        if self.linear is CONSTANT:
            return Exponent(self.const * factor)
        return Exponent(self.const * factor, tuple((s, q * factor) for s, q in self.coefficients))

    __rmul__ = __mul__

    def __truediv__(self, divisor: int | Fraction) -> Exponent:
        exact = _exact(divisor)
        if exact.denominator != 1 or exact <= 0 or self.infinite or self.linear is not CONSTANT:
            return self * (1 / exact)
        shared = gcd(self.num, exact.numerator)
        return Exponent._of(self.num // shared, self.den * (exact.numerator // shared), CONSTANT)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Exponent):
            if isinstance(other, int | Fraction):
                return not self.infinite and self.linear is CONSTANT and self.const == other
            if not hasattr(other, "free_symbols"):
                return NotImplemented
            try:
                from tensorprog.exponent.reading import exponent

                other = exponent(other)  # a sympy expression
            except ExponentError:
                return False
        return self is other or (
            self.num == other.num
            and self.linear is other.linear
            and self.den == other.den
            and self.infinite == other.infinite
        )

    def __hash__(self) -> int:
        if self._hash is None:
            # A plain number equals its Fraction, so it must hash like it.
            plain = self.linear is CONSTANT and not self.infinite
            if plain:
                self._hash = hash(self.num) if self.den == 1 else hash(self.const)
            else:
                self._hash = hash((self.num, self.den, id(self.linear), self.infinite))
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
        if self.infinite or other.infinite:
            return (self.infinite > other.infinite) - (self.infinite < other.infinite)
        if self.linear is other.linear:
            left, right = self.num * other.den, other.num * self.den
            return (left > right) - (left < right)
        difference = self - other
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


def _added(p: int, q: int, r: int, s: int) -> tuple[int, int]:
    """p/q + r/s in lowest terms."""
    if q == s:
        total = p + r
        if q == 1:
            return total, 1
    else:
        total, q = p * s + r * q, q * s
    shared = gcd(total, q)
    return total // shared, q // shared


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
    if a.infinite or b.infinite:
        return a.infinite <= b.infinite
    if a.linear is b.linear:
        return a.num * b.den <= b.num * a.den
    region = current_region.get()
    return region is not None and region.known_le(a, b)


def known_lt(a: Exponent, b: Exponent) -> bool:
    """True where ``a < b`` is certain: a form that is nowhere negative on a region is positive or zero on all of it."""
    return known_le(a, b) and not known_le(b, a)


def largest(exponents: Iterable[Exponent]) -> Exponent:
    """The largest exponent, -oo of none: the exponent of a sum of positive quantities."""
    result = ZERO_SIZE
    for e in exponents if current_region.get() is None else maximal(exponents):
        if result < e:
            result = e
    return result


def maximal(exponents: Iterable[Exponent]) -> list[Exponent]:
    """The exponents that are not certainly below another one: comparing the others would split a region for nothing."""
    found: list[Exponent] = []
    for e in exponents:
        if not any(known_le(e, m) for m in found):
            found = [m for m in found if not known_le(m, e)]
            found.append(e)
    return found
