"""msgspec types as TypeScript: an `export type` for each class, an expression for everything else. Pure.

What is sent and what is accepted of one class may differ: a field with a default may be left out of what is accepted,
and is always sent unless the class omits defaults. Such a class, used in both directions, becomes two types; the
accepted one is named `…Received`. JSON that is already encoded is `unknown`, unless it is declared what it holds:
`Annotated[msgspec.Raw, msgspec.Meta(extra={"holds": InstanceStatus})]`.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Iterator
from enum import Enum, auto
from types import UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin

from msgspec import NODEFAULT, UnsetType
from msgspec import inspect as types

WIDTH = 120
_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_SIMPLE: dict[type[types.Type], str] = {
    types.AnyType: "unknown",
    types.RawType: "unknown",
    types.NoneType: "null",
    types.BoolType: "boolean",
    types.IntType: "number",
    types.FloatType: "number",
}
_TEXTS: dict[type[types.Type], str] = {  # sent as text, and what a reader should know about it
    types.StrType: "",
    types.BytesType: "Base64",
    types.ByteArrayType: "Base64",
    types.MemoryViewType: "Base64",
    types.DateTimeType: "RFC 3339 date and time",
    types.DateType: "RFC 3339 date",
    types.TimeType: "RFC 3339 time",
    types.TimeDeltaType: "ISO 8601 duration",
    types.UUIDType: "UUID",
    types.DecimalType: "exact decimal",
}
_LIMITS = {
    "ge": "at least {}",
    "gt": "more than {}",
    "le": "at most {}",
    "lt": "less than {}",
    "multiple_of": "a multiple of {}",
    "min_length": "length at least {}",
    "max_length": "length at most {}",
    "pattern": "matches {}",
}
_LAST = ("null", "undefined")
_Array = types.ListType | types.SetType | types.FrozenSetType | types.VarTupleType | types.CollectionType
_Object = types.StructType | types.DataclassType | types.TypedDictType | types.NamedTupleType
_Named = _Object | types.EnumType


class Direction(Enum):
    """Which way values of a type go. What `Raw` holds was accepted by us before, and is handed on as it came."""

    SENT = auto()
    ACCEPTED = auto()


class _Use(NamedTuple):
    cls: Any  # a class, or a generic one with its arguments
    direction: Direction


class Declarations:
    """The named types that some types need: `add` those first, then ask for expressions and the declarations.

    `taken`: names that mean something else where the declarations will stand.
    """

    def __init__(self, *, taken: Iterable[str] = ()) -> None:
        self._taken = {"Partial", "Record", *taken}
        self._described: dict[_Use, _Named] = {}
        self._needs: dict[Any, set[Any]] = {}  # by class, the classes it refers to

    def add(self, annotation: Any, direction: Direction) -> None:
        """Take in a type and everything it refers to.

        Raises: TypeError for a type that needs hooks of our own to be encoded: nobody can tell its shape.
        """
        for each in _members(annotation):
            if each is not UnsetType:
                self._collect(types.type_info(each), direction, within=None)

    def expression(self, annotation: Any, direction: Direction, *, without_null: bool = False) -> str:
        """The TypeScript expression of a type that was added; UNSET is JavaScript's undefined."""
        alternatives: list[str] = []
        for each in _members(annotation):
            is_unset = each is UnsetType
            alternatives += ["undefined"] if is_unset else self._alternatives(types.type_info(each), direction)
        return union(each for each in alternatives if not (without_null and each == "null"))

    def declarations(self) -> list[str]:
        """Every named type as `export type …`, by name.

        Raises: ValueError if two classes share a name, or one has a name that is taken.
        """
        declared: dict[str, tuple[_Use, str]] = {}
        for use, described in self._described.items():
            name = self._name(use)
            if name in self._taken:
                raise ValueError(f"{_place(use.cls)} would be {name}, which means something else there. Rename it.")
            first, _ = declared.setdefault(name, (use, self._declaration(name, described, use.direction)))
            if first.cls != use.cls:
                raise ValueError(f"{_place(first.cls)} and {_place(use.cls)} are both {name} then. Rename one of them.")
        return [text for _, (_, text) in sorted(declared.items())]

    def _collect(self, found: types.Type, direction: Direction, *, within: Any) -> None:
        held = _held(found)
        if held is not None:
            self._collect(held, Direction.ACCEPTED, within=within)
            return
        if isinstance(found, _Named):
            self._needs.setdefault(within, set()).add(found.cls)
            within, use = found.cls, _Use(found.cls, direction)
            if use in self._described:
                return
            self._described[use] = found
        for part in _parts(found):
            self._collect(part, direction, within=within)

    def _name(self, use: _Use) -> str:
        name = _class_name(use.cls)
        is_second = use.direction is Direction.ACCEPTED and _Use(use.cls, Direction.SENT) in self._described
        return f"{name}Received" if is_second and self._differs(use.cls) else name

    def _differs(self, cls: Any) -> bool:
        """Whether what is accepted of a class is not what is sent, for its own or what it refers to."""
        ahead, within = [cls], {cls}
        while ahead:
            new = self._needs.get(ahead.pop(), set()) - within
            ahead += new
            within |= new
        return any(
            _is_optional(found, field, Direction.SENT) != _is_optional(found, field, Direction.ACCEPTED)
            for use, found in self._described.items()
            if use.cls in within
            for field in _fields(found)
        )

    def _declaration(self, name: str, described: _Named, direction: Direction) -> str:
        head = [*jsdoc(_documentation(described.cls)), f"export type {name} ="]
        if isinstance(described, types.EnumType):
            return _assigned(head, [literal(member.value) for member in described.cls])
        if _is_array_like(described):
            elements = [literal(value) for _, value in _tags(described)]
            elements += [self._property(described, field, direction) for field in _fields(described)]
            return _assigned(head, [f"[{', '.join(elements)}]"])
        return _assigned(head, ["\n".join(self._object(described, direction))])

    def _object(self, described: _Object, direction: Direction) -> Iterator[str]:
        properties = [f"  {property_name(name)}: {literal(value)};" for name, value in _tags(described)]
        for field in _fields(described):
            optional = _is_optional(described, field, direction)
            properties += jsdoc(_remark(field, with_default=optional), indent="  ")
            properties.append(f"  {self._property(described, field, direction)};")
        yield from ["{", *properties, "}"] if properties else ["Record<string, never>"]

    def _property(self, described: _Object, field: types.Field, direction: Direction) -> str:
        name = field.name if _is_array_like(described) else property_name(field.encode_name)
        alternatives = self._alternatives(field.type, direction)
        if _is_optional(described, field, direction):
            return f"{name}?: {union([*alternatives, 'undefined'])}"
        return f"{name}: {union(alternatives)}"

    def _expression(self, found: types.Type, direction: Direction) -> str:
        return union(self._alternatives(found, direction))

    def _alternatives(self, found: types.Type, direction: Direction) -> list[str]:
        """The members of a union; one for anything else."""
        held = _held(found)
        if held is not None:
            return self._alternatives(held, Direction.ACCEPTED)
        match found:
            case types.Metadata():
                return self._alternatives(found.type, direction)
            case types.UnionType():
                return [text for each in found.types for text in self._alternatives(each, direction)]
            case types.LiteralType():
                return [literal(value) for value in found.values]
            case _:
                return [self._single(found, direction)]

    def _single(self, found: types.Type, direction: Direction) -> str:
        if isinstance(found, _Named):
            return self._name(_Use(found.cls, direction))
        if isinstance(found, _Array):
            item = self._expression(found.item_type, direction)
            return f"({item})[]" if " | " in item else f"{item}[]"
        if isinstance(found, types.TupleType):
            return f"[{', '.join(self._expression(each, direction) for each in found.item_types)}]"
        if isinstance(found, types.DictType | types.FrozenDictType):
            key, value = _bare(found.key_type), self._expression(found.value_type, direction)
            if isinstance(key, types.EnumType | types.LiteralType):
                return f"Partial<Record<{self._expression(key, direction)}, {value}>>"
            return f"Record<string, {value}>"  # whatever a key is here, in JSON it is text
        return _SIMPLE.get(type(found)) or "string"


def literal(value: object) -> str:
    """A constant as TypeScript."""
    if isinstance(value, str):
        return "'" + json.dumps(value)[1:-1].replace('\\"', '"').replace("'", "\\'") + "'"
    return json.dumps(value)


def property_name(name: str) -> str:
    """The name of a property, quoted where TypeScript needs that."""
    return name if _IDENTIFIER.fullmatch(name) else literal(name)


def jsdoc(text: str, *, indent: str = "") -> list[str]:
    """The text as the lines of a JSDoc comment; none where there is no text."""
    lines = inspect.cleandoc(text).replace("*/", "*\\/").splitlines()
    if len(lines) < 2:
        return [f"{indent}/** {line} */" for line in lines]
    return [f"{indent}/**", *(f"{indent} * {line}".rstrip() for line in lines), f"{indent} */"]


def union(alternatives: Iterable[str]) -> str:
    """The alternatives as one expression, each once; null and undefined come last."""
    each = list(dict.fromkeys(alternatives))
    if "unknown" in each:
        return "unknown"  # it takes everything, also null and undefined
    return " | ".join([*(one for one in each if one not in _LAST), *(one for one in _LAST if one in each)])


def _members(annotation: Any) -> tuple[Any, ...]:
    """The members of a union: msgspec itself takes no untagged structs together, as it could not decode them."""
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _assigned(head: list[str], alternatives: list[str]) -> str:
    """`export type X = …;`, one alternative a line where they do not fit on one."""
    one_line = f"{head[-1]} {union(alternatives)};"
    if len(alternatives) == 1 or len(one_line) <= WIDTH:
        return "\n".join([*head[:-1], one_line])
    return "\n".join([*head, *(f"  | {each}" for each in alternatives)]) + ";"


def _parts(found: types.Type) -> list[types.Type]:
    """The types this one is made of."""
    if isinstance(found, types.Metadata):
        return [found.type]
    if isinstance(found, types.UnionType):
        return list(found.types)
    if isinstance(found, types.TupleType):
        return list(found.item_types)
    if isinstance(found, types.DictType | types.FrozenDictType):
        return [found.key_type, found.value_type]
    if isinstance(found, _Array):
        return [found.item_type]
    if not isinstance(found, _Named | types.LiteralType) and type(found) not in _SIMPLE | _TEXTS:
        raise TypeError(f"{getattr(found, 'cls', found)!r} cannot be described in TypeScript. Give it as a Struct.")
    return [field.type for field in _fields(found)]


def _held(found: types.Type) -> types.Type | None:
    """What `Raw` or `Any` is declared to hold."""
    if not isinstance(found, types.Metadata) or "holds" not in (found.extra or {}):
        return None
    if not isinstance(found.type, types.RawType | types.AnyType):
        raise TypeError(f'"holds" says what Raw or Any holds, not {found.type}. Write Annotated[Raw, …] | None.')
    return types.type_info((found.extra or {})["holds"])


def _bare(found: types.Type) -> types.Type:
    return found.type if isinstance(found, types.Metadata) else found


def _fields(found: types.Type) -> tuple[types.Field, ...]:
    return found.fields if isinstance(found, _Object) else ()


def _tags(described: _Object) -> list[tuple[str, str | int]]:
    """The tag's field and value, if there is one."""
    if isinstance(described, types.StructType) and described.tag_field is not None and described.tag is not None:
        return [(described.tag_field, described.tag)]
    return []


def _is_array_like(described: _Object) -> bool:
    return isinstance(described, types.NamedTupleType) or (
        isinstance(described, types.StructType) and described.array_like
    )


def _is_optional(described: _Named, field: types.Field, direction: Direction) -> bool:
    """Whether the field may be missing from the JSON."""
    if field.required:
        return False
    is_unset = field.default is NODEFAULT and field.default_factory is NODEFAULT  # its default is UNSET
    if direction is Direction.ACCEPTED or isinstance(described, types.TypedDictType) or is_unset:
        return True
    if not isinstance(described, types.StructType) or described.array_like:
        return False
    return bool((get_origin(described.cls) or described.cls).__struct_config__.omit_defaults)


def _remark(field: types.Field, *, with_default: bool) -> str:
    """What a reader should know about the property: its description, limits and default."""
    found, said = field.type, []
    if isinstance(found, types.Metadata):
        said.append((found.extra_json_schema or {}).get("description", "").rstrip("."))
        found = found.type
    said.append(_TEXTS.get(type(found), ""))
    said += [text.format(limit) for name, text in _LIMITS.items() if (limit := getattr(found, name, None)) is not None]
    if with_default and isinstance(field.default, str | int | float) and field.default != "":
        said.append(f"default {literal(field.default)}")
    text = "; ".join(each for each in said if each)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _documentation(cls: Any) -> str:
    """The class's own docstring; none where Python wrote one."""
    origin = get_origin(cls) or cls
    text = origin.__dict__.get("__doc__") or ""
    return "" if text.startswith(f"{origin.__name__}(") else text


def _class_name(cls: Any) -> str:
    """`Page[Entry]` is `PageEntry`."""
    return "".join(each.__name__ for each in (get_origin(cls) or cls, *get_args(cls)))


def _place(cls: Any) -> str:
    return f"{(get_origin(cls) or cls).__module__}.{_class_name(cls)}"
