"""Fine-tuning: programs with frozen weights, and with low-rank adapters on them.

Both are maps from programs to programs, so they work for every architecture. A frozen weight keeps its initial value:
it is part of the forward and backward pass, no optimizer sees it, and its effective update is exactly zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from tensorprog.architectures.options import growth, one_of
from tensorprog.errors import SettingError, UnknownName, Unsupported
from tensorprog.exponent import ZERO, Exponent, ExponentLike, exponent
from tensorprog.program import ONE, Add, Axis, Instruction, MatMul, Program, Scaled, Weight

__all__ = ["freeze", "lora"]

SCALES = {"1/r": Exponent(-1), "1/sqrt(r)": exponent("-1/2"), "1": ZERO}
RANK = "rank"


def freeze(program: Program, trained: str = "readout") -> Program:
    """The program with all weights frozen but some.

    Args:
        program: any network.
        trained: the weights that are trained, by name or role: ``readout`` is last-layer training; several are
            separated by commas. ``block.1`` names all weights of that block, ``query`` the queries of all blocks.

    Raises:
        UnknownName: for a name that is no part of a weight's name, and no role.

    Example: training the last layer alone is a kernel method.
        >>> import tensorprog as tp
        >>> d = tp.derive(tp.freeze(tp.mlp(hidden_layers=2), "readout"), "sp", optimizer="sgd", lr_exponent=-1)
        >>> d.learning.value, [str(s.effective) for s in d.steps[1].sites.values()]
        ('kernel', ['-oo', '-oo', '0'])
    """
    kept = _chosen(program, trained, "trained")
    result = _replaced(program, lambda w: replace(w, trained=w.trained and w in kept))
    return _described(result, trained=trained)


def lora(
    program: Program,
    lora: str = "hidden",
    rank_exponent: ExponentLike = ZERO,
    lora_scale: str = "1/r",
    lora_zero: str = "B",
    trained: str = "",
) -> Program:
    """The program with all weights frozen and low-rank adapters beside some: W_0 x + alpha s(r) B (A x).

    A is rank x in, B is out x rank. An adapted weight ``hidden.1`` gets the sites ``hidden.1.lora.A`` and
    ``hidden.1.lora.B``. Their roles follow from their axes: with a finite rank A is readout-like (wide to finite), B is
    input-like; with a rank that grows both are hidden.

    Args:
        program: any network.
        lora: the weights that get adapters, by name or role, as for :func:`freeze`.
        rank_exponent: the rank r is n^p, 0 for a finite one.
        lora_scale: s(r), ``1/r``, ``1/sqrt(r)`` (rsLoRA) or ``1``.
        lora_zero: the factor that starts at zero, ``B`` or ``A``; the other one's init is the parametrization's.
        trained: weights that are trained besides the adapters, such as ``readout``.

    Raises:
        SettingError, UnknownName: for values that are not accepted.
        Unsupported: for a weight that also acts transposed, such as a tied embedding.

    Example:
        >>> import tensorprog as tp
        >>> [site.name for site in lora(tp.mlp(hidden_layers=2)).sites]
        ['input', 'hidden.1', 'hidden.1.lora.A', 'hidden.1.lora.B', 'readout']

    Ref: Hu et al. 2021 (arXiv 2106.09685), Equation 3; scale: Kalajdzievski 2023 (arXiv 2312.03732).
    """
    one_of("lora_scale", lora_scale, SCALES)
    one_of("lora_zero", lora_zero, ("A", "B"))
    rank = growth("rank_exponent", rank_exponent)
    adapted = {w for w in _chosen(program, lora, "lora") if w.into is not ONE}
    if not adapted:
        raise SettingError("lora", lora, "names biases and gains only; adapters stand beside matrices")
    base = _chosen(program, trained, "trained") if trained else set()
    adapter = _Adapter(Axis(RANK, rank), SCALES[lora_scale], lora_zero)
    frozen = _inserted(program, adapted, adapter)
    result = _replaced(frozen, lambda w: w if w in adapter.made else replace(w, trained=w in base))
    chosen = {"lora": lora, "rank_exponent": str(rank), "lora_scale": lora_scale, "lora_zero": lora_zero}
    usual = {"rank_exponent": "0", "lora_scale": "1/r", "lora_zero": "B", "trained": ""}
    return _described(result, **{k: v for k, v in (chosen | {"trained": trained}).items() if v != usual.get(k)})


class _Adapter:
    """Emits A and B beside a weight; one pair per weight, however often it is used."""

    def __init__(self, rank: Axis, scale: Exponent, zero: str) -> None:
        self.rank, self.scale, self.zero = rank, scale, zero
        self.pairs: dict[Weight, tuple[Weight, Weight]] = {}

    @property
    def made(self) -> set[Weight]:
        """All its weights."""
        return {w for pair in self.pairs.values() for w in pair}

    def beside(self, product: MatMul, x: int, at: int) -> list[tuple[Instruction, Axis | None]]:
        """The instructions after a product at index ``at``: A x, B A x, its scaling, the sum."""
        w = product.weight
        if w.like is not None:
            raise Unsupported(
                f"lora on {w.like.name} over a growing vocabulary",
                "the factors of one adapter reach the rows of all tokens",
                "Adapt other weights, or take vocabulary_exponent=0.",
            )
        if w.side_by_side:
            raise Unsupported(
                f"lora on {w.name} of a growing depth",
                "the factors of one adapter would be shared by all blocks",
                "Adapt other weights, or take depth_exponent=0.",
            )
        if product.transposed:
            raise Unsupported(
                f"lora on {w.name}",
                "it also acts transposed, as a readout",
                "Adapt other weights, or untie the readout.",
            )
        if w not in self.pairs:
            a = replace(w, name=f"{w.name}.lora.A", out=self.rank, zero=self.zero == "A")
            b = Weight(f"{w.name}.lora.B", w.out, self.rank, zero=self.zero == "B")
            self.pairs[w] = a, b
        a, b = self.pairs[w]
        found: list[tuple[Instruction, Axis | None]] = [
            (replace(product, weight=a, args=(x,)), self.rank),
            (MatMul(b, (at + 1,)), w.out),
        ]
        if self.scale != ZERO:
            found.append((Scaled((at + 2,), self.scale, self.rank), w.out))
        return [*found, (Add((at, at + len(found))), w.out)]


def _inserted(program: Program, adapted: set[Weight], adapter: _Adapter) -> Program:
    """The program with an adapter beside every product of some weights."""
    instructions: list[Instruction] = []
    axes: list[Axis | None] = []
    place: list[int] = []  # old index -> new index
    for ins, axis in zip(program.instructions, program.axes, strict=True):
        moved = replace(ins, args=tuple(place[a] for a in ins.args))  # type: ignore[arg-type]
        instructions.append(moved)
        axes.append(axis)
        if isinstance(moved, MatMul) and moved.weight in adapted:
            for added, of in adapter.beside(moved, moved.args[0], len(instructions) - 1):
                instructions.append(added)
                axes.append(of)
        place.append(len(instructions) - 1)
    weights = dict.fromkeys(i.weight for i in instructions if isinstance(i, MatMul))
    return replace(
        program,
        instructions=tuple(instructions),
        axes=tuple(axes),
        weights=tuple(weights),
        output=place[program.output],
        observed=tuple((name, place[i]) for name, i in program.observed),
    )


def _replaced(program: Program, change: Callable[[Weight], Weight]) -> Program:
    """The program with other weights in the same places."""
    changed = {w: change(w) for w in program.weights}

    def moved(ins: Instruction) -> Instruction:
        return replace(ins, weight=changed[ins.weight]) if isinstance(ins, MatMul) else ins

    return replace(
        program,
        instructions=tuple(map(moved, program.instructions)),
        weights=tuple(changed[w] for w in program.weights),
    )


def _described(program: Program, **options: str) -> Program:
    label = f"{program.label}, {', '.join(f'{k}={v}' for k, v in options.items())}"
    return replace(program, label=label, description={**program.description, **options})


def _chosen(program: Program, names: str, option: str) -> set[Weight]:
    """The weights that a comma list names: by a part of their dotted names, else by their role."""
    found: set[Weight] = set()
    for name in (part.strip() for part in names.split(",")):
        named = {w for w in program.weights if f".{name}." in f".{w.name}."}
        known = named or {w for w in program.weights if w.role.value == name}
        if not known:
            raise UnknownName(option, name, _known(program.weights))
        found |= known
    return found


def _known(weights: Iterable[Weight]) -> list[str]:
    return list(dict.fromkeys([*(w.role.value for w in weights), *(w.name for w in weights)]))
