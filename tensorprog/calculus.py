"""The calculus: what each instruction does to scales.

One rule per instruction, for a value and for its change under training. The rules that carry the theory are
:meth:`Calculus.initial_product` (a random initial weight: fresh field and back-reaction, the two parts of Z^{Wx} in the
Tensor Programs master theorem) and :func:`tensorprog.scale.moment` (law of large numbers or central limit).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product

from tensorprog import nonlinearities
from tensorprog.alignment import DERIVED, Alignment
from tensorprog.bound import Bound
from tensorprog.contraction import mean, moment, projections, spread
from tensorprog.exponent import ZERO, Exponent, known_le, largest
from tensorprog.norms import Mean, normalized, normalized_change, normalized_gradient
from tensorprog.pattern import LEVELS, TRIVIAL, Layout, Pattern, odd_span, reaching
from tensorprog.program import (
    Add,
    Apply,
    Axis,
    Builder,
    Center,
    Data,
    Instruction,
    MatMul,
    Moment,
    Multiply,
    Normalize,
    NormalizeGradient,
    Repeat,
    Rotate,
    Scaled,
    Weight,
)
from tensorprog.program.graph import saturable
from tensorprog.scale import NOTHING, Reason, Scale, Term

__all__ = ["Calculus", "Field", "Piece", "sizes"]


@dataclass(frozen=True)
class Field:
    """W_0 x as it entered the program: the argument x and the fresh Gaussian part of the product."""

    argument: Scale
    fresh: Scale


@dataclass(frozen=True)
class Piece:
    """A rank-one-like piece of an update: coefficient * out (x) into, applied as coefficient * out * <into, x>.

    Args:
        coefficient: a scalar scale (trivial pattern), learning rate and multipliers included.
        out: vector on the weight's output axis.
        into: vector on the weight's input axis.
        step: the optimizer step that made it.
    """

    coefficient: Scale
    out: Scale
    into: Scale
    step: int

    @property
    def key(self) -> tuple[object, ...]:
        return (self.coefficient.key, self.out.key, self.into.key)


class Calculus:
    """Scale arithmetic for one program: the state is its fields and its updates so far.

    Args:
        weights: the program's weights; each wide axis of each weight is a source of sign flips.
        saturable: values that a bounded function reads; where one is near zero is a source of its own.
        initial: exponent of each initial *effective* weight entry, -(a + b).
        levels: mixing levels kept apart in sign patterns (:mod:`tensorprog.pattern`).
        bound: everything, or cheap bounds.
        alignment: how weights are contracted with what they act on, derived or assumed.
    """

    def __init__(
        self,
        weights: Sequence[Weight],
        initial: Mapping[Weight, Exponent],
        saturable: Sequence[int] = (),
        *,
        levels: int = LEVELS,
        bound: Bound = Bound.EXACT,
        alignment: Alignment = DERIVED,
    ) -> None:
        self.initial, self.alignment = dict(initial), alignment
        self._bit: dict[tuple[Weight, bool], int] = {}
        for w in weights:
            for transposed, axis in ((False, w.out), (True, w.into)):
                if axis.wide:
                    self._bit[w, transposed] = 1 << len(self._bit)
        blocks = any(axis.blocks for w in weights for axis in (w.out, w.into))
        self._near = {value: Pattern(1 << len(self._bit) + i) for i, value in enumerate(saturable)}
        self.layout = Layout.of(len(self._bit) + len(self._near), levels, blocks=blocks)
        widest = largest(axis.size for w in weights for axis in (w.out, w.into))
        self.resolution = None if bound is Bound.LOWER else widest / 2
        self.bound = bound
        self.fields: dict[tuple[Weight, bool], dict[object, Field]] = {}
        self.pieces: dict[Weight, dict[object, Piece]] = {w: {} for w in weights}
        self.multiples: dict[Weight, Exponent] = {}

    # -- weights --------------------------------------------------------------------------------------------

    def initial_product(self, weight: Weight, x: Scale, transposed: bool = False) -> Scale:
        """W_0 x or W_0^T x.

        Both axes wide: per term of x a *fresh field*, one central-limit sum over the input axis, with W's own bit
        and the mixed pattern of x; and for every field W^T y already in the program the *back-reaction*, y with the
        coefficient that makes <W x, y> = <x, W^T y>. The coefficient takes the law-of-large-numbers part of x against
        the *fresh* part of W^T y (Stein's lemma): what is not fresh there is already in <W x, y>.

        One axis wide: a finite family of vector-like sources.
        """
        if x.is_zero or self.initial[weight].infinite:
            return NOTHING
        into, out = (weight.out, weight.into) if transposed else (weight.into, weight.out)
        name = f"{weight.name}_0^T" if transposed else f"{weight.name}_0"
        std = self.initial[weight]
        if not out.wide:
            source = self._source(weight, not transposed, name) if into.wide else _entry(std, Pattern(), name)
            return self.alignment.initial(source, x, into, f"<{name}, .>", self.layout)
        bit = Pattern(self._bit[weight, transposed])
        if not into.wide:
            return _entry(std, bit, name) * x
        return self._fresh_and_back(weight, x, transposed, bit, name)

    def _source(self, weight: Weight, transposed: bool, name: str) -> Scale:
        return _entry(self.initial[weight], Pattern(self._bit[weight, transposed]), name)

    def _fresh_and_back(self, weight: Weight, x: Scale, transposed: bool, bit: Pattern, name: str) -> Scale:
        into = weight.out if transposed else weight.into
        known = self.fields.setdefault((weight, transposed), {})
        gain = self.initial[weight] + into.size / 2
        # Terms of one size enter one Gaussian field. Giving it the odd span of their patterns, not their union, keeps
        # the number of terms bounded in depth; it can only add odd combinations of three or more of them.
        groups: dict[Exponent, list[Term]] = {}
        for t in x:
            groups.setdefault(t.exponent, []).append(t)
        fresh = Scale(
            Term(
                e + gain,
                odd_span(t.pattern for t in terms).mixed(self.layout) * bit,
                Reason("fresh", name, gain, tuple(terms)),
            )
            for e, terms in groups.items()
        )
        known.setdefault(x.key, Field(x, fresh))
        result = fresh
        for field in self.fields.get((weight, not transposed), {}).values():
            result = result + self._back_reaction(weight, x, transposed, field, name, fresh)
        return result.resolved(self.resolution)

    def _back_reaction(
        self, weight: Weight, x: Scale, transposed: bool, field: Field, name: str, fresh: Scale
    ) -> Scale:
        """The part of W_0 x along the y of one transposed field W^T y, character by character.

        Fields of different characters of y are independent, so a character k of y comes back only through terms of x
        that depend on the field of k; its size is the field's coefficient times y, and no more than what such
        a term of x can carry.

        Args:
            fresh: the fresh field of x, which back-reaction adds to.
        """
        into, out = (weight.out, weight.into) if transposed else (weight.into, weight.out)
        overlap = self.alignment.initial(x, field.fresh, into, f"<., {name}^T y>", self.layout, only_mean=True)
        if overlap.is_zero:
            return NOTHING
        y, bit = field.argument, self._bit[weight, not transposed]
        divisor = self.bound.divisor(y)
        if divisor is None:
            return NOTHING
        coefficients = overlap.shift(-out.size - divisor * 2, "projection", f"/ |y|^2 over {out.name}")
        most = self.initial[weight] + into.size - out.size / 2
        terms = []
        for t, s in product(y, x):
            for seen in projections(s.pattern, self.layout):
                pattern = reaching(t.pattern, seen, bit, self.layout)
                if pattern is None:
                    continue
                for c in coefficients:
                    sizes = c.exponent + t.exponent, s.exponent + most
                    if any(known_le(e, f.exponent) and pattern in f.pattern for f in fresh for e in sizes):
                        continue  # which of them is smaller plays no part
                    e = self.bound.smaller(*sizes)
                    if e is not None:
                        terms.append(Term(e, pattern, Reason("back-reaction", name, ZERO, (c, t)), t.fraction))
        return Scale(terms)

    def update_product(self, weight: Weight, x: Scale, transposed: bool = False, *, initial: Scale) -> Scale:
        """(W_t - W_0) x or its transpose: never materialised.

        A piece gives coefficient * out * <into, x>; a multiple of the initial weight, which decay leaves, that multiple
        of W_0 x.

        Args:
            initial: W_0 x, fresh field and back-reaction (or the transpose).
        """
        result = self.piece_product(weight, self.pieces[weight].values(), x, transposed)
        multiple = self.multiples.get(weight)
        if multiple is not None:
            result = result + initial.shift(multiple, "decay", f"{weight.name}_0 decayed")
        return result.resolved(self.resolution)

    def piece_product(self, weight: Weight, pieces: Iterable[Piece], x: Scale, transposed: bool = False) -> Scale:
        """The product of a sum of pieces with x."""
        result = NOTHING
        axis = weight.out if transposed else weight.into
        for piece in pieces:
            left, right = (piece.into, piece.out) if transposed else (piece.out, piece.into)
            name = "out" if transposed else "in"
            what = f"<{name}_{piece.step}({weight.name}), .>"
            if self.bound is Bound.UPPER:
                left = self._with_all_signs(left, weight.into if transposed else weight.out)
            overlap = self.alignment.updates(right, x, axis, what, self.layout)
            result = result + _outer(piece.coefficient, overlap, left, f"Delta {weight.name}")
        return result.resolved(self.resolution)

    def _with_all_signs(self, x: Scale, axis: Axis) -> Scale:
        """A scale that no sum over its axis sees the signs of."""
        if not axis.wide:
            return x
        everything = Pattern(free=(1 << self.layout.span * (3 if axis.blocks else 1)) - 1)
        return Scale(replace(t, pattern=everything) for t in x)

    def add_piece(self, weight: Weight, piece: Piece) -> None:
        """Record an update; one that equals an earlier one in scale adds nothing new."""
        self.pieces[weight].setdefault(piece.key, piece)

    def add_multiple(self, weight: Weight, power: Exponent) -> None:
        """Record W <- W + n^power W, with the weight as it is: the initial weight and every piece so far.

        For power <= 0 a piece's multiple has the shape of the piece and is no larger, so only that of W_0 is new: in
        W_t - W_0 it is the one full-rank term. For power > 0 all of them grow.
        """
        old = self.multiples.get(weight)
        if power > ZERO:
            pieces, self.pieces[weight] = self.pieces[weight].values(), {}
            for piece in pieces:
                grown = piece.coefficient.shift(power, "decay", f"{weight.name} decayed")
                self.add_piece(weight, replace(piece, coefficient=grown))
            power = power if old is None else max(power, power + old)
        if old is None or old < power:
            self.multiples[weight] = power

    @contextmanager
    def perturbed(self, pieces: Mapping[Weight, Sequence[Piece]]) -> Iterator[None]:
        """Pieces on top of the weights for a while: what is derived inside sees them, what comes after does not."""
        kept = self.pieces
        self.pieces = {w: {**known, **{p.key: p for p in pieces.get(w, ())}} for w, known in kept.items()}
        try:
            yield
        finally:
            self.pieces = kept

    def entries(self, weight: Weight) -> Exponent:
        """The exponent of the entries (RMS) of the effective weight W_t: the largest of its summands (genericity)."""
        initial = self.initial[weight]
        sizes = [p.coefficient.top + p.out.top + p.into.top for p in self.pieces[weight].values()]
        multiple = self.multiples.get(weight)
        return largest([initial, *([] if multiple is None else [initial + multiple]), *sizes])

    @property
    def knowledge(self) -> tuple[object, ...]:
        """What is known of the weights: equal before and after a step means that it repeats.

        The number of distinct pieces and of fields, and the multiples of the initial weights.
        """
        return (
            sum(len(p) for p in self.pieces.values()),
            sum(len(f) for f in self.fields.values()),
            *self.multiples.items(),
        )

    # -- instructions -----------------------------------------------------------------------------------------

    def moment(
        self, x: Scale, y: Scale, axis: Axis, what: str, *, over: Axis | None = None, only_mean: bool = False
    ) -> Scale:
        """sum x y over an axis or one factor of it; see :func:`tensorprog.contraction.moment`."""
        return moment(x, y, axis, what, self.layout, over=over, only_mean=only_mean)

    def _mean(self, axis: Axis, over: Axis | None) -> Mean:
        return lambda x, y, what: mean(x, y, axis, what, self.layout, over=over)

    def value(self, ins: Instruction, args: Sequence[Scale], *, trained: bool = False) -> Scale:
        """The scale of an instruction's result, with initial weights or (``trained``) with current ones."""
        return self._value(ins, args, trained).resolved(self.resolution)

    def _value(self, ins: Instruction, args: Sequence[Scale], trained: bool) -> Scale:
        match ins:
            case MatMul(weight, _, transposed):
                result = self.initial_product(weight, args[0], transposed)
                if not trained:
                    return result
                return result + self.update_product(weight, args[0], transposed, initial=result)
            case Apply(function, (of,), order):
                near, label = self._near.get(of, TRIVIAL), _label(function.name, order)
                return nonlinearities.apply(function.derivative_facts(order), args[0], label, near)
            case Add():
                return _sum(args)
            case Multiply(_, (at_x, at_y)):
                return spread(args[0], at_x, self.layout) * spread(args[1], at_y, self.layout)
            case Moment(_, axis, over):
                return self.moment(args[0], args[1] if len(args) > 1 else CONSTANT, axis, "<x, y>", over=over)
            case Repeat(_, _, block):
                return spread(args[0], block, self.layout)
            case Scaled():
                return args[0].shift(ins.exponent, "multiplier", f"n^({ins.exponent})")
            case Rotate():
                return args[0]
            case Center():
                # The mean is at most as large as x and, where it is not smaller by a whole central-limit factor, its
                # pattern, the trivial one, is among those of x: nothing is added.
                return args[0]
            case Normalize():
                return normalized(args[0])
            case NormalizeGradient(_, axis, over):
                return normalized_gradient(args[0], args[1], self._mean(axis, over))
        raise TypeError(ins)

    def change(self, ins: Instruction, initial: Sequence[Scale], delta: Sequence[Scale]) -> Scale:
        """The scale of an instruction's change, given initial arguments and their changes.

        A product with a weight is the caller's: it wants the effective and the propagating part apart.
        """
        return self._change(ins, initial, delta).resolved(self.resolution)

    def _change(self, ins: Instruction, initial: Sequence[Scale], delta: Sequence[Scale]) -> Scale:
        match ins:
            case Apply(function, (of,), order):
                near, label = self._near.get(of, TRIVIAL), _label(function.name, order)
                return nonlinearities.change(function.derivative_facts(order), initial[0], delta[0], label, near)
            case Add():
                return _sum(delta)
            case Multiply() | Moment() if len(initial) > 1:
                (x, y), (dx, dy) = initial, delta
                pairs = ((dx, y), (x, dy), (dx, dy))
                return _sum([self.value(ins, pair) for pair in pairs])
            case Moment() | Repeat() | Rotate() | Scaled() | Center():
                return self.value(ins, delta)
            case Normalize(_, axis, over):
                return normalized_change(initial[0], delta[0], self._mean(axis, over))
        raise TypeError(ins)


CONSTANT = Scale.source(ZERO, rule="constant", what="1")
"""The number one."""


def sizes(builder: Builder, *, levels: int = LEVELS) -> list[Scale]:
    """The scale of every value of a program under construction, at initialisation.

    Vector-like weights have entries Theta(1), wide-to-wide ones n^{-in/2}, readouts n^{-in/2}: every product of
    a fresh weight with Theta(1) coordinates has Theta(1) coordinates.

    Args:
        builder: its instructions so far.
        levels: mixing levels kept apart.
    """
    weights = builder.weights
    initial = {w: -w.into.size / 2 for w in weights}
    calculus = Calculus(weights, initial, saturable(builder.instructions, builder.axes), levels=levels)
    values: list[Scale] = []
    for ins in builder.instructions:
        if isinstance(ins, Data):
            values.append(Scale.source(ZERO, rule="data", what=ins.name))
        else:
            values.append(calculus.value(ins, [values[a] for a in ins.args]))
    return values


def _sum(parts: Sequence[Scale]) -> Scale:
    result = NOTHING
    for part in parts:
        result = result + part
    return result


def _entry(std: Exponent, pattern: Pattern, name: str) -> Scale:
    return Scale.source(std, pattern, rule="initial-weight", what=name)


def _outer(coefficient: Scale, overlap: Scale, left: Scale, what: str) -> Scale:
    """coefficient * overlap * left, explained as one rule with three sources."""
    return Scale(
        # scalars have the trivial pattern
        Term(c.exponent + o.exponent + v.exponent, v.pattern, Reason("update", what, ZERO, (c, o, v)), v.fraction)
        for c in coefficient
        for o in overlap
        for v in left
    )


def _label(name: str, order: int) -> str:
    return name + "'" * order
