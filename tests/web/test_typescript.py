"""The generated module as real clients see it: inferred exactly, and what is wrong does not compile."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest

from perseus.web import router
from perseus.web.errors import CODES, described
from perseus.web.trpc import Router, Tracked, mutation, query, subscription
from perseus.web.typescript import typescript
from tests.support.typescript import faults

GENERATED = Path(__file__).parents[2] / "ui/src/api/generated.ts"
PROGRAMS = {path.name: path.read_text(encoding="utf-8") for path in (Path(__file__).parent / "programs").glob("*.ts")}


class Snapshot(msgspec.Struct, rename="camel"):
    """What another program wrote."""

    exchange_name: str
    epoch: int | None = None


class Card(msgspec.Struct, rename="camel"):
    """One exchange."""

    exchange_id: int
    status: Annotated[msgspec.Raw, msgspec.Meta(extra={"holds": Snapshot})] | None
    last: Snapshot | None = None


class Entry(msgspec.Struct):
    id: str
    level: Literal["info", "error"]


class Page(msgspec.Struct, rename="camel"):
    entries: list[Entry]
    next_cursor: str | None


class PageAsked(msgspec.Struct, rename="camel"):
    exchange_name: str | None = None
    count: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    cursor: str | None = None


class CardAsked(msgspec.Struct, rename="camel"):
    exchange_id: int


class StopAsked(msgspec.Struct, rename="camel"):
    exchange_id: int
    reason: str = ""


class Resume(msgspec.Struct, rename="camel"):
    last_event_id: str | None = None


class CardChange(msgspec.Struct, tag="card", tag_field="kind"):
    card: Card


class EntryChange(msgspec.Struct, tag="entry", tag_field="kind"):
    entry: Entry


Change = CardChange | EntryChange


async def get_cards(context: object) -> list[Card]:
    """Every card.

    Raises: SERVICE_UNAVAILABLE.
    """
    raise NotImplementedError


async def get_card(context: object, asked: CardAsked | None = None) -> Card | msgspec.UnsetType:
    raise NotImplementedError


async def get_page(context: object, asked: PageAsked) -> Page:
    raise NotImplementedError


async def stop(context: object, asked: StopAsked) -> None:
    raise NotImplementedError


async def on_change(context: object, resume: Resume = Resume()) -> AsyncIterator[Tracked[Change]]:  # noqa: B008  frozen
    raise NotImplementedError
    yield


async def on_tick(context: object) -> AsyncIterator[int]:
    raise NotImplementedError
    yield


ROUTER = Router(
    {
        "network.getCards": query(get_cards),
        "network.getCard": query(get_card),
        "network.getPage": query(get_page),
        "network.onChange": subscription(on_change),
        "network.onTick": subscription(on_tick),
        "control.stop": mutation(stop),
    }
)


def test_programs_are_told_exactly_what_they_get_and_give(tmp_path: Path) -> None:
    """The promise of the generated types: inputs, outputs, events and errors, with both public clients."""
    files = {"generated.ts": typescript(ROUTER), **PROGRAMS}
    assert faults(tmp_path, files) == {name: [] for name in files}


@pytest.mark.parametrize(
    ("written", "blurred"),
    [
        ("Query<void, Card[]>", "Query<any, Card[]>"),
        ("Query<void, Card[]>", "Query<void, any>"),
        ("Query<PageAsked, Page>", "Query<any, Page>"),
        ("Query<PageAsked, Page>", "Query<PageAsked, any>"),
        ("Mutation<StopAsked, undefined>", "Mutation<any, undefined>"),
        ("Mutation<StopAsked, undefined>", "Mutation<StopAsked, any>"),
        ("Tracked<CardChange | EntryChange>", "any"),
        ("Tracked<CardChange | EntryChange>", "Tracked<any>"),
        ("Subscription<Resume | undefined,", "Subscription<any,"),
        ("level: 'error' | 'info';", "level: any;"),
        ("TRPCDefaultErrorShape['data'] & ErrorData", "any"),
        ("zodError?: FieldErrors | null | undefined", "zodError?: any"),
        ("observedAt?: string | null | undefined", "observedAt?: any"),
        ("TRPCBuiltRouter<", "any; type Unused = TRPCBuiltRouter<"),
    ],
)
def test_types_that_became_any_would_be_noticed(tmp_path: Path, written: str, blurred: str) -> None:
    """`any` compiles with everything, so a check that only looks for errors would pass on types that say nothing."""
    text = typescript(ROUTER)
    assert written in text
    found = faults(tmp_path, {"generated.ts": text.replace(written, blurred), **PROGRAMS})
    assert found["generated.ts"] == []
    assert found["vanilla.ts"] or found["react.ts"]


def test_checked_in_types_are_those_of_the_router() -> None:
    """Programs are compiled against the file: once it is old, mistakes show at run time only."""
    written = GENERATED.read_text(encoding="utf-8")
    assert written == typescript(router.ROUTER), (
        "the API has changed: run `perseus types --out ui/src/api/generated.ts`"
    )


def test_module_imports_nothing_at_run_time() -> None:
    """A program that only wants types must not load a server."""
    text = typescript(ROUTER)
    assert re.findall(r"^import (?!type )", text, re.MULTILINE) == []
    assert re.findall(r"^(?:export )?(?:const|let|class|function|enum)\b", text, re.MULTILINE) == []


def test_error_data_has_whatever_our_exceptions_tell() -> None:
    """What a program cannot see in the types it does not use."""
    (declared,) = re.findall(r"^export type ErrorData = \{(.+?)^\};", typescript(ROUTER), re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"^  (\w+)\?: ", declared, re.MULTILINE)) == told()


def told() -> set[str]:
    """The names in the data of the errors that `described` makes."""
    facts = {"field": "count", "reason": "x", "needed": "x", "role": "x", "retry_after_s": 1, "observed_at": None}
    found: set[str] = set()
    for error in CODES:
        error_told = described(error("said", **facts))
        assert error_told is not None
        found |= set(error_told.data)
    return found


def test_same_router_gives_the_same_text() -> None:
    """Otherwise every run would look like a change of the API."""
    assert typescript(Router(dict(ROUTER.procedures))) == typescript(ROUTER)


def test_docstrings_become_comments() -> None:
    """Editors show them where the call is written."""
    text = typescript(ROUTER)
    assert "/** One exchange. */\nexport type Card =" in text
    assert "      /**\n       * Every card.\n       *\n       * Raises: SERVICE_UNAVAILABLE.\n       */\n" in text


def router_of(**annotations: Any) -> Router:
    """Queries that answer these types."""

    def answering(annotation: Any) -> Any:
        async def function(context: object) -> Any: ...

        return query(function, output=annotation)

    return Router({name: answering(annotation) for name, annotation in annotations.items()})


def test_encoded_json_is_what_it_is_declared_to_hold() -> None:
    """A payload of another program was accepted, not made by us: what may be missing there is optional."""
    text = typescript(ROUTER)
    assert "status: SnapshotReceived | null;" in text
    assert "epoch?: number | null | undefined;" in text
    assert "raw: Query<void, unknown>;" in typescript(router_of(raw=msgspec.Raw))


def test_untagged_answers_are_a_union() -> None:
    """Nobody decodes an answer in Python, so it needs no tag; a client tells them apart by a literal."""
    text = typescript(router_of(one=Entry | Page | None))
    assert "one: Query<void, Entry | Page | null>;" in text


class Hidden:
    """Nothing msgspec knows."""


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        (Hidden, "Hidden"),
        (list[Hidden], "Hidden"),
        (Annotated[str, msgspec.Meta(extra={"holds": Entry})], "holds"),
    ],
)
def test_a_type_without_words_is_refused(annotation: Any, said: str) -> None:
    """`unknown`, written silently, would take the types away from everyone."""
    with pytest.raises(TypeError, match=said):
        typescript(router_of(one=annotation))


def test_two_classes_of_one_name_are_refused() -> None:
    """One of them would be lost."""
    other = msgspec.defstruct("Card", [("x", int)])
    with pytest.raises(ValueError, match=r"test_typescript\.Card and .*\.Card are both Card"):
        typescript(router_of(one=Card, two=other))


@pytest.mark.parametrize("name", ["Record", "Query", "Partial", "TRPCBuiltRouter", "AppRouter"])
def test_a_class_named_like_something_of_typescript_is_refused(name: str) -> None:
    """It would hide what the module itself needs under that name."""
    with pytest.raises(ValueError, match=f"would be {name}"):
        typescript(router_of(one=msgspec.defstruct(name, [("x", int)])))


def test_a_path_within_another_is_refused() -> None:
    """`network` cannot be a procedure and a group of procedures."""
    with pytest.raises(ValueError, match=r'"a" and "a\.b"'):
        typescript(router_of(**{"a": int, "a.b": int}))


def test_odd_names_are_quoted() -> None:
    """A path may hold what is no identifier."""
    text = typescript(router_of(**{"my-group.it's": int}))
    assert "'my-group': {\n      'it\\'s': Query<void, number>;" in text
