"""Every msgspec construct that may stand in an API: what msgspec encodes compiles, what it refuses does not."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Generic, Literal, NamedTuple, Required, TypedDict, TypeVar

import msgspec
import pytest

from perseus.web.trpc import Router, query
from perseus.web.typescript import typescript
from tests.support.typescript import faults

T = TypeVar("T")


class State(StrEnum):
    """A state, with a quote's trouble: */ it's."""

    ON = "on"
    OFF = "it's off"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Plain(msgspec.Struct, rename="camel"):
    """Names as in JSON."""

    exchange_id: int
    display_name: str | None
    is_active: bool = True


class Omitting(msgspec.Struct, omit_defaults=True):
    name: str
    count: int = 0
    more: list[str] = []


class Unset(msgspec.Struct):
    name: str
    since: int | msgspec.UnsetType = msgspec.UNSET


class Odd(msgspec.Struct, rename={"a": "x-y", "b": "it's", "c": "$ok"}):
    a: int
    b: int
    c: int


class Empty(msgspec.Struct, forbid_unknown_fields=True):
    pass


class Circle(msgspec.Struct, tag="circle", tag_field="kind"):
    radius: float


class Square(msgspec.Struct, tag="square", tag_field="kind"):
    side: float


class Small(msgspec.Struct, tag=1):
    x: int


class Large(msgspec.Struct, tag=2):
    y: int


class Point(msgspec.Struct, array_like=True):
    x: int
    y: int = 0


class Mark(msgspec.Struct, array_like=True, tag="mark"):
    x: int


class Online(msgspec.Struct):
    online: Literal[True]
    status: str


class Offline(msgspec.Struct):
    online: Literal[False]
    status: None


class Node(msgspec.Struct):
    name: str
    children: list[Node] = []


class Page(msgspec.Struct, Generic[T]):
    entries: list[T]
    next: str | None


class Carrying(msgspec.Struct):
    status: Annotated[msgspec.Raw, msgspec.Meta(extra={"holds": Plain})] | None
    anything: msgspec.Raw


class Bounded(msgspec.Struct):
    count: Annotated[int, msgspec.Meta(ge=1, le=200, description="How many.")] = 50
    name: Annotated[str, msgspec.Meta(min_length=1, pattern="^[a-z]+$")] = "x"


@dataclass
class Remark:
    name: str
    tags: list[str] = field(default_factory=list)


class Dictionary(TypedDict, total=False):
    name: Required[str]
    size: int


class Pair(NamedTuple):
    left: int
    right: str = "r"


class Construct(NamedTuple):
    """One type: values that are sent and accepted, JSON that is neither, and JSON that is accepted but never sent."""

    type: Any
    values: list[Any]
    wrong: list[str]
    never_sent: Sequence[str] = ()


MOMENT = datetime(2026, 2, 10, 3, 12, 5, tzinfo=UTC)
CONSTRUCTS = {
    "boolean": Construct(bool, [True, False], ["1", '"true"', "null"]),
    "integer": Construct(int, [0, -3], ['"1"', "true"]),
    "floating": Construct(float, [1.5, 2.0], ['"1"', "[1]"]),
    "text": Construct(str, ["", "a'b\"c\\ é"], ["1", "null"]),
    "bytes": Construct(bytes, [b"\x00\xff"], ["[0]"]),
    "moment": Construct(datetime, [MOMENT], ["1.5e9", "{}"]),
    "day": Construct(date, [MOMENT.date()], ["20260210"]),
    "clock": Construct(time, [time(3, 12)], ["312"]),
    "duration": Construct(timedelta, [timedelta(seconds=90)], ["[]"]),
    "uuid": Construct(uuid.UUID, [uuid.UUID(int=1)], ["1"]),
    "decimal": Construct(Decimal, [Decimal("1.10")], ["[1.1]"]),
    "optional": Construct(str | None, ["a", None], ["1"]),
    "mixed": Construct(int | str | None, [1, "a", None], ["true", "[1]"]),
    "anything": Construct(Any, [1, None, {"a": [1]}], []),
    "literal": Construct(Literal["a", "it's", 3, None], ["a", "it's", 3, None], ['"b"', "4"]),
    "text_enum": Construct(State, list(State), ['"ON"', '"gone"']),
    "number_enum": Construct(Level, list(Level), ["3", '"LOW"']),
    "list": Construct(list[int], [[], [1, 2]], ['["a"]', "1", "{}"]),
    "list_of_union": Construct(list[int | None], [[1, None]], ['["a"]']),
    "set": Construct(set[str], [{"a"}, set()], ["[1]"]),
    "frozenset": Construct(frozenset[int], [frozenset({1})], ['["a"]']),
    "open_tuple": Construct(tuple[int, ...], [(), (1, 2, 3)], ['["a"]']),
    "fixed_tuple": Construct(tuple[int, str], [(1, "a")], ["[1]", '["a", 1]', '[1, "a", 2]']),
    "no_tuple": Construct(tuple[()], [()], ["[1]"]),
    "bare_list": Construct(list, [[1, "a"]], ["{}"]),
    "dict": Construct(dict[str, int], [{}, {"a": 1}], ['{"a": "b"}', "[1]"]),
    "dict_by_number": Construct(dict[int, str], [{1: "a"}], ['{"1": 1}']),
    "dict_by_enum": Construct(dict[State, int], [{State.ON: 1}, {}], ['{"gone": 1}', '{"on": "x"}']),
    "dict_by_literal": Construct(dict[Literal["a", "b"], int], [{"a": 1}], ['{"c": 1}']),
    "struct": Construct(
        Plain,
        [Plain(1, "a"), Plain(2, None, False)],
        ['{"exchangeId": 1}', '{"exchangeId": "1", "displayName": null, "isActive": true}', "null"],
        never_sent=['{"exchangeId": 1, "displayName": null}'],
    ),
    "omitting": Construct(
        Omitting, [Omitting("a"), Omitting("a", 1, ["b"])], ["{}", '{"name": "a", "count": "1"}', '{"name": null}']
    ),
    "unset": Construct(Unset, [Unset("a"), Unset("a", 1)], ['{"name": "a", "since": null}', '{"since": 1}']),
    "odd_names": Construct(Odd, [Odd(1, 2, 3)], ['{"a": 1, "b": 2, "c": 3}', '{"x-y": 1, "it\'s": 2}']),
    "empty": Construct(Empty, [Empty()], ['{"a": 1}', "1"]),
    "tagged": Construct(
        Circle | Square,
        [Circle(1.5), Square(2.0)],
        ['{"kind": "circle", "side": 2}', '{"kind": "other", "side": 2}', '{"side": 2}'],
    ),
    "tagged_by_number": Construct(Small | Large, [Small(1), Large(2)], ['{"type": 1, "y": 1}', '{"type": 3, "x": 1}']),
    "array_like": Construct(
        Point, [Point(1), Point(1, 2)], ["[]", '["a"]', '{"x": 1}', '[1, "b"]'], never_sent=["[1]"]
    ),
    "tagged_array": Construct(Mark, [Mark(1)], ["[1]", '["other", 1]', '["mark", "a"]']),
    "recursive": Construct(
        Node,
        [Node("a"), Node("a", [Node("b")])],
        ['{"name": "a", "children": [{"name": 1, "children": []}]}'],
        never_sent=['{"name": "a"}', '{"name": "a", "children": [{"name": "b"}]}'],
    ),
    "generic": Construct(
        Page[Circle], [Page([Circle(1.0)], None)], ['{"entries": [{"radius": "1"}], "next": null}', '{"entries": []}']
    ),
    "generic_twice": Construct(Page[int], [Page([1], "x")], ['{"entries": ["a"], "next": null}']),
    "bounded": Construct(
        Bounded, [Bounded(), Bounded(7, "b")], ['{"count": "1"}', '{"name": 1}'], never_sent=["{}", '{"count": 3}']
    ),
    "dataclass": Construct(
        Remark, [Remark("a"), Remark("a", ["b"])], ['{"tags": []}', '{"name": 1}'], never_sent=['{"name": "a"}']
    ),
    "typed_dict": Construct(
        Dictionary, [{"name": "a"}, {"name": "a", "size": 1}], ["{}", '{"name": "a", "size": "1"}']
    ),
    "named_tuple": Construct(Pair, [Pair(1), Pair(1, "b")], ["[]", '["a"]', "[1, 2]"], never_sent=["[1]"]),
    "described": Construct(Annotated[Plain, msgspec.Meta(title="x")], [Plain(1, "a")], ['{"exchangeId": 1}']),
}


def procedure(annotation: Any) -> Any:
    """A query that takes any number of this type and gives one."""

    async def function(context: object, input: Any) -> Any: ...

    function.__annotations__ = {"context": object, "input": list[annotation], "return": annotation}
    return query(function)


def encoded(value: object) -> str:
    """As the server sends it."""
    return msgspec.json.encode(value).decode()


def lines(name: str, construct: Construct) -> Iterator[str]:
    """Assignments to the input and the output of a procedure; those that must not compile are marked."""
    sent = [encoded(value) for value in construct.values]
    kinds = {
        f"RouterOutputs['{name}']": (sent, [*construct.wrong, *construct.never_sent]),
        f"RouterInputs['{name}'][number]": ([*sent, *construct.never_sent], construct.wrong),
    }
    for type_, (right, wrong) in kinds.items():
        for number, text in enumerate([*right, *wrong]):
            if number >= len(right):
                yield "// @ts-expect-error"
            yield f"export const {type_[6].lower()}{number}: {type_} = {text};"


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What the compiler says about each construct; one run for all of them."""
    router = Router({name: procedure(construct.type) for name, construct in CONSTRUCTS.items()})
    head = (
        "import type { inferRouterInputs, inferRouterOutputs } from '@trpc/server';\n"
        "import type { AppRouter } from './generated.ts';\n"
        "type RouterInputs = inferRouterInputs<AppRouter>;\ntype RouterOutputs = inferRouterOutputs<AppRouter>;\n"
    )
    files = {f"{name}.ts": head + "\n".join(lines(name, each)) for name, each in CONSTRUCTS.items()}
    return faults(tmp_path_factory.mktemp("constructs"), {"generated.ts": typescript(router), **files})


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_construct_takes_what_msgspec_encodes_and_nothing_else(said: dict[str, list[str]], name: str) -> None:
    """A type that is too wide hides mistakes until run time; one that is too narrow refuses true answers."""
    construct = CONSTRUCTS[name]
    decoder = msgspec.json.Decoder(construct.type)
    for text in construct.never_sent:
        decoder.decode(text)
    assert said[f"{name}.ts"] == []


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_what_must_not_compile_is_refused_by_the_server_too(name: str) -> None:
    """The table above must not call something wrong that is right."""
    for text in CONSTRUCTS[name].wrong:
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(text, type=CONSTRUCTS[name].type)
