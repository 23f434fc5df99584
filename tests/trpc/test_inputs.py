"""Inputs: strict types, every wrong field at once, and whatever bytes a client sends."""

from __future__ import annotations

import json
from typing import Annotated, Any

import msgspec
import pytest

from perseus.web.trpc import TRPCError
from perseus.web.trpc.encoding import encode
from perseus.web.trpc.inputs import InputDecoder
from tests.trpc.wire import get, post


class Inner(msgspec.Struct, rename="camel"):
    deep_count: int


class Wanted(msgspec.Struct, rename="camel"):
    exchange_id: int
    count: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    name: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    inner: Inner | None = None
    tags: list[str] = []

    def __post_init__(self) -> None:
        if self.name == "forbidden":
            raise ValueError("not together")


def refusal(raw: Any, type_: Any = Wanted) -> TRPCError:
    """What a client is told of an input."""
    with pytest.raises(TRPCError) as caught:
        InputDecoder(type_).read(raw if isinstance(raw, bytes | None) else json.dumps(raw).encode())
    assert caught.value.code == "BAD_REQUEST"
    return caught.value


@pytest.mark.parametrize("value", [True, "1", 1.5, None, [], {}])
def test_integers_are_strict(value: Any) -> None:
    """`true` and "1" are mistakes, and would be taken for an exchange otherwise."""
    assert list(refusal({"exchangeId": value}).data["zodError"]["fieldErrors"]) == ["exchangeId"]


def test_every_wrong_field_is_named_at_once() -> None:
    """A form shows all its errors, not the first."""
    error = refusal({"count": 500, "name": "", "inner": {"deepCount": "x"}, "tags": ["a", 1]})
    assert error.data["zodError"] == {
        "formErrors": [],
        "fieldErrors": {
            "exchangeId": ["Required"],
            "count": ["Expected int <= 200"],
            "name": ["Expected str of length >= 1"],
            "inner": ["Expected int, got str"],
            "tags": ["Expected str, got int"],
        },
    }
    issues = json.loads(error.message)
    assert [(issue["code"], issue["path"]) for issue in issues] == [
        ("invalid_type", ["exchangeId"]),
        ("too_big", ["count"]),
        ("too_small", ["name"]),
        ("invalid_type", ["inner", "deepCount"]),
        ("invalid_type", ["tags", 1]),
    ]
    assert all(issue["message"] for issue in issues)


def test_faults_of_the_whole_are_form_errors() -> None:
    """A wrong type of the input itself, and what fields are wrong about together."""
    for raw in ([1], "x", 1, None):
        error = refusal(json.dumps(raw).encode())
        assert error.data["zodError"]["formErrors"]
        assert error.data["zodError"]["fieldErrors"] == {}
    assert refusal({"exchangeId": 1, "name": "forbidden"}).data["zodError"]["formErrors"] == ["not together"]


def test_unknown_fields_are_ignored() -> None:
    """Infinite queries add `direction`."""
    assert InputDecoder(Wanted).read(b'{"exchangeId":1,"direction":"forward"}').exchange_id == 1


def test_undefined_is_no_null() -> None:
    """A default stands for an input that was left out, and for no other."""
    assert InputDecoder(Wanted, default=None).read(None) is None
    assert InputDecoder(Wanted | None).read(None) is None
    assert InputDecoder(Any).read(None) is None
    assert refusal(None).data["zodError"]["formErrors"]
    with pytest.raises(TRPCError):
        InputDecoder(Wanted, default=None).read(b"null")


@pytest.mark.parametrize(
    "raw",
    [b"{", b"", b"}", b"nope", b"NaN", b"1 2", b"'x'", b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe", b"\x00"],
)
def test_no_json_is_a_bad_request(raw: bytes) -> None:
    """With the parser's words, and never with an exception that nobody expected."""
    assert refusal(raw, Any).data == {}


@pytest.mark.parametrize("raw", [b"9" * 5000, b"1e999", b'{"deepCount":1e999}', b'{"deepCount":' + b"9" * 5000 + b"}"])
def test_huge_numbers_have_an_answer(raw: bytes) -> None:
    """Python refuses to read integers of thousands of digits, by an exception of its own."""
    refusal(raw, Annotated[int, msgspec.Meta(le=1)] | Inner)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'"\\ud800"', "�"),
        (b'"a\\uDC00b"', "a�b"),
        (b'"\\ud83d\\ude00"', "😀"),
        (b'"\\ud83d\\ud83d\\ude00"', "�😀"),
        (b'"\\\\ud800\\ud800"', "\\ud800�"),
        (b'"\xff"', "�"),
        (b'"\xed\xa0\x80"', "���"),
    ],
)
def test_half_surrogate_pairs_are_replaced(raw: bytes, value: str) -> None:
    """JavaScript strings may hold them, UTF-8 cannot; text cut in the middle of an emoji is no reason to fail."""
    assert InputDecoder(Any).read(raw) == value
    assert InputDecoder(Any).read(b'{"x":[' + raw + b"]}") == {"x": [value]}


def test_everything_has_an_encoding() -> None:
    """Values from stores and operating systems hold what JSON does not."""
    assert encode({"a": float("nan"), "b": [float("inf"), float("-inf")]}) == b'{"a":null,"b":[null,null]}'
    assert json.loads(encode({"na\ud800me": ["x\udc00", {"y": "\ud83d"}]})) == {"na�me": ["x�", {"y": "�"}]}
    assert encode(msgspec.Raw(b"[1,\r\n2]")) == b"[1,  2]"
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(TRPCError, match="nested too deeply"):
        encode(deep)


@pytest.mark.parametrize("depth", [10, 500, 900, 950, 975, 990, 1000, 5000, 100_000])
async def test_deep_nesting_over_the_wire(url: str, depth: int) -> None:
    """It is echoed or refused, never a failure of the server's."""
    answer = await post(url, "/test.echoMutation", b"[" * depth + b"]" * depth)
    assert answer.status in {200, 400, 422}
    assert depth > 500 or answer.status == 200


async def test_bad_input_over_the_wire(url: str) -> None:
    """The path is that of the call, and `zodError` stands where frontends look."""
    answer = await get(url, "/demo.paged?input=%7B%22count%22%3A500%2C%22cursor%22%3A1%7D")
    assert answer.status == 400
    assert set(answer.error["data"]["zodError"]["fieldErrors"]) == {"count", "cursor"}
    assert answer.error["data"]["path"] == "demo.paged"
    assert (await get(url, "/demo.paged?input=%7B%22cursor%22:%22zz%22%7D")).error["message"] == "Unknown cursor zz"
