"""Inputs of calls: JSON to the annotated type, strictly, with every wrong field named at once."""

from __future__ import annotations

import inspect
import re
import types
import typing
from typing import Any, Final

import msgspec

from perseus.web.trpc.encoding import decode
from perseus.web.trpc.errors import TRPCError

_AT: Final = re.compile(r"^(?P<what>.*?)(?: - at (?:the key of )?`\$(?P<path>.*)`)?$", re.DOTALL)
_STEP: Final = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_CODES: Final = (
    (re.compile(r"missing required field|^Required"), "invalid_type"),
    (re.compile(r"<=? |length <="), "too_big"),
    (re.compile(r">=? |length >="), "too_small"),
    (re.compile(r"^Invalid enum value"), "invalid_value"),
    (re.compile(r"regex|^Invalid "), "invalid_format"),
    (re.compile(r"unknown field"), "unrecognized_keys"),
    (re.compile(r"^Expected"), "invalid_type"),
)
Issue = dict[str, Any]
_ANYTHING: Final = msgspec.json.Decoder()


class InputDecoder:
    """Reads the inputs of one procedure: the JSON decoder of its type is built once."""

    def __init__(self, type_: Any, *, default: Any = inspect.Parameter.empty) -> None:
        self._type = type_
        self._default = default
        self._decoder = msgspec.json.Decoder(type_, strict=True)
        self._takes_none = _takes(type_, types.NoneType)
        self._takes_undefined = _takes(type_, msgspec.UnsetType)

    @property
    def is_optional(self) -> bool:
        """Whether a call may come without an input."""
        return self._default is not inspect.Parameter.empty or self._takes_none or self._takes_undefined

    def read(self, raw: bytes | msgspec.Raw | None) -> Any:
        """The input of a call from its JSON, None where the client sent none.

        Raises: TRPCError BAD_REQUEST with `data.zodError` and all issues as the message, or with the JSON's fault.
        """
        if raw is None:
            return self._absent()
        try:
            return decode(self._decoder, raw)
        except msgspec.ValidationError as error:
            raise invalid_input(self._issues(raw, error)) from error
        except (ValueError, RecursionError) as error:
            raise malformed_json(error) from error

    def _absent(self) -> Any:
        if self._default is not inspect.Parameter.empty:
            return self._default
        if self._takes_undefined:
            return msgspec.UNSET
        if self._takes_none:
            return None
        raise invalid_input([_issue("Required: the procedure takes an input", [])])

    def _issues(self, raw: bytes | msgspec.Raw, error: msgspec.ValidationError) -> list[Issue]:
        """Every fault of an input; msgspec stops at the first, so each field of a struct is tried by itself."""
        try:
            value = decode(_ANYTHING, raw)
        except (ValueError, RecursionError):
            return [_from_message(str(error), [])]
        return list(_faults(value, self._type, [])) or [_from_message(str(error), [])]


def malformed_json(error: Exception) -> TRPCError:
    """BAD_REQUEST with what is wrong with the text."""
    if isinstance(error, RecursionError):
        return TRPCError("BAD_REQUEST", "The input is nested too deeply")
    return TRPCError("BAD_REQUEST", f"The input is no valid JSON: {error}")


def invalid_input(issues: list[Issue]) -> TRPCError:
    """BAD_REQUEST as zod's frontends expect it. Shape: `data.zodError = {formErrors, fieldErrors}`."""
    form_errors: list[str] = []
    field_errors: dict[str, list[str]] = {}
    for issue in issues:
        if issue["path"]:
            field_errors.setdefault(str(issue["path"][0]), []).append(issue["message"])
        else:
            form_errors.append(issue["message"])
    message = msgspec.json.format(msgspec.json.encode(issues), indent=2).decode()
    return TRPCError("BAD_REQUEST", message, {"zodError": {"formErrors": form_errors, "fieldErrors": field_errors}})


def _faults(value: Any, type_: Any, path: list[str | int]) -> typing.Iterator[Issue]:
    struct = _struct_of(type_)
    if struct is None or not isinstance(value, dict):
        yield from _fault(value, type_, path)
        return
    found = False
    for field in msgspec.structs.fields(struct):
        at = [*path, field.encode_name]
        if field.encode_name in value:
            for issue in _faults(value[field.encode_name], field.type, at):
                found = True
                yield issue
        elif field.required:
            found = True
            yield _issue("Required", at)
    if not found:
        yield from _fault(value, type_, path)


def _fault(value: Any, type_: Any, path: list[str | int]) -> typing.Iterator[Issue]:
    try:
        msgspec.convert(value, type_, strict=True, str_keys=True)
    except msgspec.ValidationError as error:
        yield _from_message(str(error), path)


def _from_message(text: str, path: list[str | int]) -> Issue:
    """An issue from msgspec's words, which end in ` - at `$.where``."""
    match = _AT.match(text)
    what, where = (match["what"], match["path"] or "") if match else (text, "")
    steps = [int(index) if index.isdigit() else name or index for name, index in _STEP.findall(where)]
    return _issue(what.replace("`", ""), [*path, *steps])


def _issue(message: str, path: list[str | int]) -> Issue:
    code = next((code for pattern, code in _CODES if pattern.search(message)), "custom")
    return {"code": code, "path": path, "message": message}


def _takes(type_: Any, wanted: type) -> bool:
    if type_ is Any or type_ is None:
        return wanted is types.NoneType
    return type_ is wanted or wanted in _alternatives(type_)


def _alternatives(type_: Any) -> tuple[Any, ...]:
    if typing.get_origin(type_) is typing.Annotated:
        return _alternatives(typing.get_args(type_)[0])
    if typing.get_origin(type_) in {typing.Union, types.UnionType}:
        return typing.get_args(type_)
    return (type_,)


def _struct_of(type_: Any) -> type[msgspec.Struct] | None:
    """The only struct among a type's alternatives."""
    structs = [one for one in _alternatives(type_) if isinstance(one, type) and issubclass(one, msgspec.Struct)]
    return structs[0] if len(structs) == 1 else None
