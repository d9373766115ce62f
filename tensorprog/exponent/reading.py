"""Reading exponents: integers, fractions, text such as "1/2" or "1 - c", sympy expressions."""

from __future__ import annotations

import ast
import re
from fractions import Fraction
from numbers import Rational
from typing import Any

from tensorprog.errors import ExponentError
from tensorprog.exponent.value import INFINITE, ZERO_SIZE, Exponent, ExponentLike, _exact, _normal

__all__ = ["exponent", "symbol"]


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
