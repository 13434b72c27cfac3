"""The language of conditions: `workflow.amount > 100 AND tracer-validate.body.decision == "ALLOW"`.

Parsed once, when a workflow is saved, with a real grammar; evaluated as a tree of closures with a bound on depth and
steps. What is wrong with a condition whatever the data is refused when it is parsed. docs/conditions.md is the page
for authors; flowker.domain.values says what the values mean to each other.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, NoReturn

import re2
from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from flowker.domain.errors import InvalidCondition
from flowker.domain.paths import MISSING, PATH, TEXT_LITERAL, InvalidPath, parse_path, unquote
from flowker.domain.values import (
    FUNCTIONS,
    ORDERINGS,
    Budget,
    ConditionError,
    Kind,
    Named,
    add,
    compare,
    contains,
    equal,
    kind_of,
    parse_number,
    subtract,
)

__all__ = ["Condition", "ConditionError", "parse"]

CHARACTERS_MAX = 10_000
"""The document allows 500; this bound holds for whoever calls."""

DEPTH_MAX = 50
"""Far from the recursion limit: each level of the tree is one or two Python frames."""

PATTERN_BYTES_MAX = 1 << 17
"""Memory of one compiled regular expression; it also bounds the time to compile one to about a millisecond."""

PATTERN_WORK_PER_STEP = 400
"""Instructions of a pattern times characters of the text that take as long as one comparison, at worst."""

GRAMMAR = rf"""
?start: either
?either: both (OR both)*
?both: negated (AND negated)*
?negated: comparison
    | NOT negated                      -> negation
?comparison: sum
    | sum EQUALITY sum                 -> equality
    | sum ORDERING sum                 -> ordering
    | sum IN sum                       -> membership
    | sum CONTAINS sum                 -> containment
    | sum MATCHES sum                  -> matching
?sum: operand ((PLUS | MINUS) operand)*
?operand: PATH                         -> path
    | TEXT                             -> text
    | NUMBER                           -> number
    | MINUS NUMBER                     -> negative_number
    | CONSTANT                         -> constant
    | FUNCTION "(" either ")"          -> call
    | LIST_START [either ("," either)*] "]" -> list_
    | "(" either ")"

OR.3: /(?i:or)(?![\w.-])|\|\|/
AND.3: /(?i:and)(?![\w.-])|&&/
NOT.3: /(?i:not)(?![\w.-])|!(?!=)/
IN.3: /(?i:in)(?![\w.-])/
CONTAINS.3: /(?i:contains)(?![\w.-])/
MATCHES.3: /(?i:matches)(?![\w.-])/
CONSTANT.3: /(?i:true|false|null)(?![\w.-])/
FUNCTION.3: /(?i:exists|length|lower|upper|number|date)(?=\s*\()/
NUMBER.2: /[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![\w.\[-])/
PATH.1: /{PATH}/
TEXT: /{TEXT_LITERAL}/
EQUALITY: "==" | "!="
ORDERING: "<=" | ">=" | "<" | ">"
PLUS: "+"
MINUS: "-"
LIST_START: "["
%ignore /\s+/
"""


_SIGNS = {"+": add, "-": subtract}


class _Run(Budget):
    """One evaluation: the data and the steps that are left."""

    __slots__ = ("context",)

    def __init__(self, context: Mapping[str, Any]) -> None:
        super().__init__()
        self.context = context


_Evaluate = Callable[[_Run], Any]


@dataclass(frozen=True, slots=True)
class _Node:
    """A part of a condition: how to evaluate it, and what is known of it without data."""

    evaluate: _Evaluate
    name: str
    is_boolean: bool
    depth: int = 1
    roots: frozenset[str] = frozenset()
    is_path: bool = False
    is_constant: bool = False

    def value(self, run: _Run) -> Named:
        return Named(self.evaluate(run), self.name)


@dataclass(frozen=True, slots=True)
class Condition:
    """A parsed condition. `paths` are the names that its paths start with: node ids, `workflow`, `$` and the like."""

    text: str
    paths: frozenset[str]
    _evaluate: _Evaluate = field(compare=False, repr=False)

    def evaluate(self, context: Mapping[str, Any]) -> bool:
        """True or false, or `ConditionError` when there is no answer for this data."""
        return bool(self._evaluate(_Run(context)))


def parse(text: str) -> Condition:
    """Parse a condition. Raises `InvalidCondition`, which names the position and does not repeat the text."""
    if len(text) > CHARACTERS_MAX:
        raise InvalidCondition(f"The condition is longer than {CHARACTERS_MAX} characters.")
    try:
        root: _Node = _parser.parse(text)  # type: ignore[assignment]  # the transformer makes nodes, not trees
    except UnexpectedInput as unexpected:
        raise _invalid(*_position_and_reason(unexpected, text)) from None
    return Condition(text, root.roots, _truth(root, None).evaluate)


def _position_and_reason(unexpected: UnexpectedInput, text: str) -> tuple[int, int, str]:
    if isinstance(unexpected, UnexpectedToken) and unexpected.token.type == "$END":
        before = text.split("\n")
        return len(before), len(before[-1]) + 1, "the condition ends too early"
    if isinstance(unexpected, UnexpectedCharacters):
        quoted = unexpected.char in {'"', "'"}
        reason = "the quote is not closed" if quoted else "this character is not expected here"
    else:
        reason = "this is not expected here"
    return unexpected.line, unexpected.column, reason


def _invalid(line: int, column: int, reason: str) -> InvalidCondition:
    return InvalidCondition(f"The condition is not valid at line {line}, column {column}: {reason}.")


def _refuse(token: Token | None, reason: str) -> NoReturn:
    """Refuse what stands at a token; no token stands for the condition as a whole."""
    raise _invalid((token and token.line) or 1, (token and token.column) or 1, reason) from None


@v_args(inline=True)
class _Builder(Transformer[Token, _Node]):
    """Makes nodes out of what the parser recognises; called bottom up, without recursion."""

    def either(self, *parts: Any) -> _Node:
        return _logical(parts, _any)

    def both(self, *parts: Any) -> _Node:
        return _logical(parts, _all)

    def negation(self, token: Token, operand: _Node) -> _Node:
        truth = _truth(operand, token).evaluate
        return _combine(token, lambda run: not truth(run), "the negation", [operand], is_boolean=True)

    def equality(self, left: _Node, symbol: Token, right: _Node) -> _Node:
        one, other, wanted = left.evaluate, right.evaluate, symbol == "=="

        def evaluate(run: _Run) -> bool:
            return equal(one(run), other(run), run) is wanted

        return _comparison(symbol, evaluate, left, right)

    def ordering(self, left: _Node, token: Token, right: _Node) -> _Node:
        symbol = str(token)
        left, right = _side(left, f"the left side of {symbol}"), _side(right, f"the right side of {symbol}")
        for side in (left, right):
            _refuse_constant(token, side, {Kind.NUMBER, Kind.TEXT, Kind.DATE}, "has no order")
        one, other, order = left.evaluate, right.evaluate, ORDERINGS[symbol]

        def evaluate(run: _Run) -> bool:
            left_value, right_value = one(run), other(run)
            if type(left_value) is int and type(right_value) is int:
                return order(left_value, right_value)
            return compare(symbol, Named(left_value, left.name), Named(right_value, right.name))

        return _comparison(token, evaluate, left, right)

    def membership(self, item: _Node, token: Token, container: _Node) -> _Node:
        return _membership(token, container, item)

    def containment(self, container: _Node, token: Token, item: _Node) -> _Node:
        return _membership(token, container, item)

    def matching(self, text: _Node, token: Token, pattern: _Node) -> _Node:
        search = _compile_pattern(token, pattern)
        text = _side(text, "the left side of matches")
        return _comparison(token, lambda run: search(text.value(run), run), text, pattern)

    def sum(self, first: _Node, *rest: Any) -> _Node:
        signs, operands = rest[0::2], rest[1::2]
        for sign, operand in zip((signs[0], *signs), (first, *operands), strict=True):
            _refuse_constant(sign, operand, {Kind.NUMBER}, "is not a number")
        terms = [(_SIGNS[sign], operand) for sign, operand in zip(signs, operands, strict=True)]

        def evaluate(run: _Run) -> Any:
            total = first.value(run)
            for operation, operand in terms:
                run.spend(1)
                total = Named(operation(total, operand.value(run)), "the sum")
            return total.value

        return _combine(signs[0], evaluate, "the sum", [first, *operands])

    def path(self, token: Token) -> _Node:
        try:
            path = parse_path(token)
        except InvalidPath as invalid:
            _refuse(token, invalid.reason)
        if path.text.replace(".", "").replace("-", "").isdigit():
            _refuse(token, "this is not a number (there are spaces around a minus)")
        read = path.read

        def evaluate(run: _Run) -> Any:
            value = read(run.context)
            return None if value is MISSING else value

        def evaluate_wildcard(run: _Run) -> Any:
            value = read(run.context, run.spend)
            return None if value is MISSING else value

        chosen = evaluate_wildcard if path.has_wildcard else evaluate
        name = path.text if len(path.text) <= 100 else f"{path.text[:100]}…"
        return _Node(chosen, name, is_boolean=True, roots=frozenset({path.root}), is_path=True)

    def text(self, token: Token) -> _Node:
        try:
            return _constant(unquote(token))
        except InvalidPath as invalid:
            _refuse(token, invalid.reason)

    def number(self, token: Token) -> _Node:
        number = parse_number(token)
        if number is None:
            _refuse(token, "the number is too large")
        return _constant(_plain(number))

    def negative_number(self, _: Token, token: Token) -> _Node:
        number = parse_number(f"-{token}")
        if number is None:
            _refuse(token, "the number is too large")
        return _constant(_plain(number))

    def constant(self, token: Token) -> _Node:
        return _constant({"true": True, "false": False, "null": None}[token.lower()])

    def call(self, token: Token, argument: _Node) -> _Node:
        name = token.lower()
        if name == "exists":
            return _exists(token, argument)
        function, operand = FUNCTIONS[name], _side(argument, f"what {name}(…) is given")
        return _combine(token, lambda run: function(operand.value(run), run), f"{name}(…)", [operand])

    def list_(self, token: Token, *elements: _Node | None) -> _Node:
        given = [element for element in elements if element is not None]
        evaluates = [element.evaluate for element in given]
        return _combine(token, lambda run: [evaluate(run) for evaluate in evaluates], "the list", given)


def _constant(value: Any) -> _Node:
    return _Node(lambda _: value, "a constant", is_boolean=isinstance(value, bool), is_constant=True)


def _plain(number: Decimal) -> int | Decimal:
    """An integer where the literal is one: comparing two integers is the fast way."""
    _, digits, exponent = number.as_tuple()
    return int(number) if exponent == 0 and len(digits) <= 18 else number


def _side(node: _Node, name: str) -> _Node:
    """The operand with a name for messages: a path has its own."""
    return node if node.is_path else replace(node, name=name)


def _combine(
    token: Token, evaluate: _Evaluate, name: str, operands: Sequence[_Node], *, is_boolean: bool = False
) -> _Node:
    """A node over its operands. What depends on no data is evaluated here, so that its errors show when saved."""
    depth = 1 + max((operand.depth for operand in operands), default=0)
    if depth > DEPTH_MAX:
        _refuse(token, f"the condition is nested over {DEPTH_MAX} levels")
    if all(operand.is_constant for operand in operands):
        try:
            return replace(_constant(evaluate(_Run({}))), depth=depth)
        except ConditionError as error:
            _refuse(token, str(error))
    roots = frozenset[str]().union(*(operand.roots for operand in operands))
    return _Node(evaluate, name, is_boolean, depth, roots)


def _comparison(token: Token, evaluate: _Evaluate, *operands: _Node) -> _Node:
    return _combine(token, evaluate, "the comparison", operands, is_boolean=True)


def _logical(parts: Sequence[Any], join: Callable[[Sequence[_Evaluate]], _Evaluate]) -> _Node:
    operands, tokens = parts[0::2], parts[1::2]
    evaluates = [
        _truth(operand, token).evaluate for operand, token in zip(operands, (tokens[0], *tokens), strict=True)
    ]
    return _combine(tokens[0], join(evaluates), "the comparison", operands, is_boolean=True)


def _any(evaluates: Sequence[_Evaluate]) -> _Evaluate:
    def evaluate(run: _Run) -> bool:
        for operand in evaluates:  # noqa: SIM110 - a generator would take longer than the operands
            if operand(run):
                return True
        return False

    return evaluate


def _all(evaluates: Sequence[_Evaluate]) -> _Evaluate:
    def evaluate(run: _Run) -> bool:
        for operand in evaluates:  # noqa: SIM110 - as above
            if not operand(run):
                return False
        return True

    return evaluate


def _truth(node: _Node, token: Token | None) -> _Node:
    """The node as true or false: null and what is missing are false, anything else but a boolean is an error."""
    if not node.is_boolean:
        _refuse(token, f"{node.name} is neither true nor false")
    if not node.is_path:
        return node
    read = node.evaluate

    def evaluate(run: _Run) -> bool:
        value = read(run)
        if isinstance(value, bool):
            return value
        if value is None:
            return False
        raise Named(value, node.name).mismatch("true or false")

    return replace(node, evaluate=evaluate, is_path=False)


def _membership(token: Token, container: _Node, item: _Node) -> _Node:
    word = token.lower()
    sides = ("right", "left") if word == "in" else ("left", "right")
    container = _side(container, f"the {sides[0]} side of {word}")
    item = _side(item, f"the {sides[1]} side of {word}")
    _refuse_constant(token, container, {Kind.LIST, Kind.TEXT, Kind.NULL}, "is neither a list nor text")
    return _comparison(token, lambda run: contains(container.value(run), item.value(run), run), container, item)


def _exists(token: Token, argument: _Node) -> _Node:
    if not argument.is_path:
        _refuse(token, "exists(…) is given a path")
    read = argument.evaluate
    return _combine(token, lambda run: read(run) is not None, "exists(…)", [argument], is_boolean=True)


def _refuse_constant(token: Token, node: _Node, kinds: set[Kind], reason: str) -> None:
    if node.is_constant and kind_of(node.evaluate(_Run({}))) not in kinds:
        _refuse(token, f"{node.name} {reason}")


def _compile_pattern(token: Token, pattern: _Node) -> Callable[[Named, Budget], bool]:
    text = pattern.evaluate(_Run({})) if pattern.is_constant else None
    if not isinstance(text, str):
        _refuse(token, "the right side of matches is a regular expression in quotes")
    options = re2.Options()
    options.max_mem = PATTERN_BYTES_MAX
    options.log_errors = False
    try:
        compiled = re2.compile(text, options)  # type: ignore[no-untyped-call]
    except re2.error:
        _refuse(token, "the regular expression is not valid or too large")

    def search(subject: Named, budget: Budget) -> bool:
        if subject.kind is not Kind.TEXT:
            raise subject.mismatch("text")
        budget.spend(1 + len(subject.value) * compiled.programsize // PATTERN_WORK_PER_STEP)
        try:
            return compiled.search(subject.value) is not None
        except UnicodeEncodeError:
            raise ConditionError(f"{subject.name} has half of a surrogate pair") from None

    return search


# Made while there is one thread: Lark uses `ast`, which fails at times in Python 3.11 when two threads use it.
_parser = Lark(GRAMMAR, parser="lalr", lexer="basic", transformer=_Builder())
