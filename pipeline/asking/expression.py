"""Read a wish: conditions on metrics and axes, and the share of realisations that must meet them.

The text is parsed by Python's own parser, and only the nodes of a short list are accepted. Nothing of the text is executed.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from pipeline.asking.units import Unit, read_unit, unknown_unit
from pipeline.errors import UsageError, near_miss

MOST_LETTERS, MOST_NODES = 2_000, 300
DEFAULT_SHARE = Fraction(9, 10)
"""Share of realisations where a wish names none."""
FUNCTIONS = {"abs": (1, 1), "log10": (1, 1), "min": (2, 99), "max": (2, 99)}
"""Functions of a wish, each with the least and the largest number of its arguments."""

Sign = Literal["<", "<=", ">", ">=", "==", "!="]


@dataclass(frozen=True)
class Constant:
    """A number, exact as it is written, with the unit that stands behind it."""

    value: Fraction
    unit: Unit | None


@dataclass(frozen=True)
class Name:
    """A metric, an axis, or a member of a coupled axis."""

    name: str


@dataclass(frozen=True)
class Apply:
    """Arithmetic: ``+ - * /`` and the functions of :data:`FUNCTIONS`; ``-`` of one argument is the negative."""

    how: str
    arguments: tuple[Number, ...]
    text: str


Number = Constant | Name | Apply


@dataclass(frozen=True)
class Compare:
    """A comparison of two numbers."""

    sign: Sign
    left: Number
    right: Number
    text: str


@dataclass(frozen=True)
class HasLabel:
    """Whether a text axis has a label, or has it not."""

    name: str
    label: str
    equal: bool
    text: str


@dataclass(frozen=True)
class Both:
    """Conditions joined by ``and``."""

    parts: tuple[Condition, ...]
    text: str


@dataclass(frozen=True)
class Either:
    """Conditions joined by ``or``."""

    parts: tuple[Condition, ...]
    text: str


Condition = Compare | HasLabel | Both | Either


@dataclass(frozen=True)
class Wish:
    """A wish: the conditions that must hold together, and the share of realisations in which they must hold."""

    text: str
    parts: tuple[Condition, ...]
    share: Fraction | None
    """None if the text names no share."""

    @property
    def condition(self) -> Both:
        """Return all parts as one condition."""
        return Both(self.parts, self.text)


_SHARE = re.compile(
    r"\bin\s+(?:at\s+least\s+)?(?P<share>[\d.]+|all|every|each)\s*(?P<percent>%|percent|per\s+cent)?\s*"
    r"(?:of\s+)?(?:the\s+|all\s+)?(?P<what>[A-Za-z_]+)?\s*\Z"
)
_NUMBER = re.compile(
    r"(?<![\w.])(?P<number>(?>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?))\s*(?P<unit>(?:[^\W\d_]+|%|\N{DEGREE SIGN})\S*)"
)
_QUANTITY = re.compile(r"\(([\d.eE+-]+) @ '([^']*)'\)|([\d.eE+-]+) @ '([^']*)'")
_LITERALS = re.compile(r"('[^']*'|\"[^\"]*\")")
_WORDS = {"and", "or", "not", "in", "if", "else", "is", "for"}
_WRITTEN = {
    "\N{LESS-THAN OR EQUAL TO}": "<=", "\N{GREATER-THAN OR EQUAL TO}": ">=", "\N{NOT EQUAL TO}": "!=",
    "\N{MINUS SIGN}": "-", "\N{MULTIPLICATION SIGN}": "*",
}  # fmt: skip
_HINTS = (
    (re.compile(r"(?<![<>=!])=(?![=<>])"), "write == for 'equals'"),
    (re.compile(r"=<|=>"), "write <= or >="),
    (re.compile(r"&|\|"), "write 'and' and 'or'"),
    (re.compile(r"\b(?:AND|OR|NOT)\b"), "write 'and', 'or' and 'not' in small letters"),
    (re.compile(r"\bin\b"), "a share stands at the end, as 'in 90 % of realisations'"),
)
_ACCEPTED = "comparisons of metrics and axes with numbers, and, or, not, + - * /, abs, min, max, log10"
_SIGNS: dict[type[ast.cmpop], Sign] = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
_OPPOSITE: dict[Sign, Sign] = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}
_ARITHMETIC: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}


def read_wish(text: str) -> Wish:
    """Read a wish such as ``rcrb_m <= 5 cm and se_bps_hz >= 4 in 90 % of realisations``.

    Raises
    ------
    UsageError
        If the text is no wish; the error names the word, what is accepted and the near miss.
    """
    conditions, share = _split_share(_checked(text))
    tree, source = _parsed(conditions, text)
    try:
        found = _Reader(source).condition(tree)
    except RecursionError as error:
        raise _too_deep(text) from error
    return Wish(" ".join(text.split()), tuple(_flat(found)), share)


def read_numbers(text: str) -> tuple[tuple[str, Number], ...]:
    """Read numbers to be minimised, separated by commas: ``node_count,-se_bps_hz``; each stands beside its text.

    Raises
    ------
    UsageError
        If a part is no number that can be computed from metrics and axes.
    """
    tree, source = _parsed(f"({_checked(text)},)", text)
    if not isinstance(tree, ast.Tuple):
        raise UsageError(f"'{text}' cannot be minimised: expected names of axes or metrics, separated by commas")
    reader = _Reader(source)
    try:
        return tuple((reader.text(node), reader.number(node)) for node in tree.elts)
    except RecursionError as error:
        raise _too_deep(text) from error


def names_in(node: Number | Condition) -> Iterator[str]:
    """Yield the names of metrics and axes in an expression; names may repeat."""
    if isinstance(node, Name | HasLabel):
        yield node.name
    elif isinstance(node, Compare):
        yield from names_in(node.left)
        yield from names_in(node.right)
    elif isinstance(node, Apply | Both | Either):
        for part in node.arguments if isinstance(node, Apply) else node.parts:
            yield from names_in(part)


def _checked(text: str) -> str:
    if len(text) > MOST_LETTERS:
        raise UsageError(f"a wish has at most {MOST_LETTERS} letters, this one has {len(text)}")
    if not text.strip():
        raise UsageError('the wish is empty; write for example "rcrb_m <= 5 cm in 90 % of realisations"')
    for written, meant in _WRITTEN.items():
        text = text.replace(written, meant)
    return " ".join(text.split())


def _split_share(text: str) -> tuple[str, Fraction | None]:
    found = _SHARE.search(text)
    if found is None:
        return text, None
    if not found["share"][0].isdigit() and found["share"][0] != ".":
        raise UsageError(
            f"'{found[0]}': no sample proves that all realisations meet a wish; ask for a share, such as 'in 99 %'"
        )
    if found["percent"] is None:
        raise UsageError(f"'{found[0]}': expected a share in per cent, such as 'in 90 % of realisations'")
    try:
        share = Fraction(found["share"]) / 100
    except ValueError as error:
        raise UsageError(f"'{found[0]}': '{found['share']}' is no number") from error
    if not 0 < share < 1:
        raise UsageError(f"'{found[0]}': the share must lie between 0 % and 100 %, both excluded; no sample proves 100 %")
    return text[: found.start()].rstrip(), share


def _with_quantities(text: str) -> str:
    """Write each number with a unit as ``(10 @ 'cm')``, which Python parses; texts in quotes stay as they are."""
    parts = _LITERALS.split(text)
    return "".join(part if n % 2 else _NUMBER.sub(_as_quantity, part) for n, part in enumerate(parts))


def _as_quantity(found: re.Match[str]) -> str:
    written = found["unit"]
    word = re.match(r"[^\W\d_]+|%|\N{DEGREE SIGN}", written)
    assert word is not None
    if word[0].lower() in _WORDS:
        return found[0]
    # The longest beginning that is a unit: the rest, such as "/count", is arithmetic.
    for end in range(len(written), 0, -1):
        inside = end < len(written) and re.match(r"\w", written[end]) is not None and re.match(r"\w", written[end - 1])
        if not inside and read_unit(written[:end]) is not None:
            return f"({found['number']} @ '{written[:end]}'){written[end:]}"
    raise unknown_unit(re.split(r"[\s()<>=!,+-]", written)[0])


def _parsed(text: str, typed: str) -> tuple[ast.expr, str]:
    source = _with_quantities(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python's parser, on texts that are refused below
            tree = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise UsageError(f"'{_short(typed)}' is not understood{_hint(text)}; accepted: {_ACCEPTED}") from error
    if sum(1 for _ in ast.walk(tree)) > MOST_NODES:
        raise UsageError(f"'{_short(typed)}' has more than {MOST_NODES} parts")
    return tree, source


def _hint(text: str) -> str:
    bare = _LITERALS.sub("", text)
    return "".join(f" ({hint})" for pattern, hint in _HINTS if pattern.search(bare))


def _too_deep(text: str) -> UsageError:
    return UsageError(f"'{_short(text)}' is nested too deeply")


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]} ..."


def _flat(condition: Condition) -> Iterator[Condition]:
    if isinstance(condition, Both):
        for part in condition.parts:
            yield from _flat(part)
    else:
        yield condition


def _as_written(segment: str | None) -> str:
    """Return a part of the parsed text as the person wrote it."""
    return _QUANTITY.sub(lambda found: " ".join(group for group in found.groups() if group), segment or "")


class _Reader:
    """Conversion of Python's nodes to ours; every node that is not listed is refused."""

    def __init__(self, source: str) -> None:
        self._source = source

    def text(self, node: ast.AST) -> str:
        """Return the text of a node as the person wrote it."""
        return _as_written(ast.get_source_segment(self._source, node))

    def _refused(self, node: ast.AST, why: str) -> UsageError:
        text = self.text(node)
        return UsageError(f"'{_short(text)}' {why}{_hint(text)}; accepted: {_ACCEPTED}")

    def condition(self, node: ast.expr, negated: bool = False) -> Condition:
        """Convert a condition; ``not`` is carried down to the comparisons."""
        text = f"not ({self.text(node)})" if negated else self.text(node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return self.condition(node.operand, not negated)
        if isinstance(node, ast.BoolOp):
            parts = tuple(self.condition(value, negated) for value in node.values)
            return (Both if isinstance(node.op, ast.And) != negated else Either)(parts, text)
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            pairs = zip(sides[:-1], sides[1:], node.ops, strict=True)
            parts = tuple(self._comparison((left, right), op, node, negated) for left, right, op in pairs)
            return parts[0] if len(parts) == 1 else (Either if negated else Both)(parts, text)
        raise self._refused(node, "is not a condition")

    def _comparison(self, sides: tuple[ast.expr, ast.expr], op: ast.cmpop, node: ast.Compare, negated: bool) -> Condition:
        if type(op) not in _SIGNS:
            raise self._refused(node, "holds a comparison that a wish does not know")
        sign = _OPPOSITE[_SIGNS[type(op)]] if negated else _SIGNS[type(op)]
        text = " ".join((self.text(sides[0]), sign, self.text(sides[1])))
        labels = [side for side in sides if isinstance(side, ast.Constant) and isinstance(side.value, str)]
        if labels:
            other = sides[0] if sides[1] is labels[0] else sides[1]
            if not isinstance(other, ast.Name) or sign not in ("==", "!="):
                raise self._refused(node, "compares a text; write axis == 'label' or axis != 'label'")
            return HasLabel(other.id, str(labels[0].value), sign == "==", text)
        left, right = self.number(sides[0]), self.number(sides[1])
        if not [*names_in(left), *names_in(right)]:
            raise self._refused(node, "names no metric and no axis")
        return Compare(sign, left, right, text)

    def number(self, node: ast.expr) -> Number:
        """Convert a number: a name, a constant, a quantity, or arithmetic."""
        if isinstance(node, ast.Name):
            return Name(node.id)
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
            return Constant(self._exact(node, node.value), None)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            return self._quantity(node)
        if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
            return Apply(_ARITHMETIC[type(node.op)], (self.number(node.left), self.number(node.right)), self.text(node))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            value = self.number(node.operand)
            if isinstance(node.op, ast.UAdd):
                return value
            if isinstance(value, Constant):
                return Constant(-value.value, value.unit)
            return Apply("-", (value,), self.text(node))
        if isinstance(node, ast.Call):
            return self._call(node)
        raise self._refused(node, "is not a number")

    def _exact(self, node: ast.AST, value: float) -> Fraction:
        try:
            float(value)  # an integer may have more digits than a number holds
            return Fraction(repr(value))
        except (OverflowError, ValueError) as error:
            raise self._refused(node, "is no finite number") from error

    def _quantity(self, node: ast.BinOp) -> Constant:
        number, unit = node.left, node.right
        if isinstance(number, ast.Constant) and isinstance(unit, ast.Constant) and isinstance(number.value, int | float):
            known = read_unit(str(unit.value))
            if known is not None and not isinstance(number.value, bool):
                return Constant(self._exact(node, number.value), known)
        raise self._refused(node, "is not a number")

    def _call(self, node: ast.Call) -> Apply:
        name = node.func.id if isinstance(node.func, ast.Name) else self.text(node.func)
        if name not in FUNCTIONS:
            raise self._refused(node.func, f"is no function of a wish{near_miss(name, FUNCTIONS)}")
        least, most = FUNCTIONS[name]
        if node.keywords or not least <= len(node.args) <= most:
            raise self._refused(node, f"needs {least} {'or more arguments' if most > least else 'argument'}")
        return Apply(name, tuple(self.number(argument) for argument in node.args), self.text(node))
