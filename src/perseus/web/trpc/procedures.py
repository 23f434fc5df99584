"""What can be called: procedures, read from the annotations of plain functions, and the router that names them."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

from perseus.web.trpc.inputs import InputDecoder

Kind = Literal["query", "mutation", "subscription"]
_ITERATORS: Final = (AsyncIterator, AsyncGenerator, AsyncIterable)


@dataclass(frozen=True, slots=True, eq=False)
class Procedure:
    """One function clients can call. Made by `query`, `mutation` and `subscription`.

    `input` is the annotated type, None where the function takes none. `output` is the annotated type, of a
    subscription the type of its values (`Tracked[T]` where they are tracked).
    """

    kind: Kind
    function: Callable[..., Any]
    input: Any
    output: Any
    input_is_optional: bool
    """Whether a client may leave the input out: the parameter has a default, or its type takes None."""
    decoder: InputDecoder | None
    iterates: bool
    """Whether calling the function gives an async iterator at once, not something to await."""
    returns_nothing: bool
    """Annotated `-> None`: clients see undefined, not null."""


def query(function: Callable[..., Any], *, output: Any = None) -> Procedure:
    """A procedure that only reads. `output` replaces the return annotation where that is `Encoded`."""
    return _procedure("query", function, output)


def mutation(function: Callable[..., Any], *, output: Any = None) -> Procedure:
    """A procedure that changes something, never called by GET."""
    return _procedure("mutation", function, output)


def subscription(function: Callable[..., Any], *, output: Any = None) -> Procedure:
    """A procedure that goes on sending values: an async generator, or an async function that returns an iterator.

    The client is told that it is connected when a generator first waits for something, or the function returned: what
    is listened to before that loses no event. A client that resumes sends `lastEventId`, which the input must declare.
    """
    return _procedure("subscription", function, output)


def _procedure(kind: Kind, function: Callable[..., Any], output: Any) -> Procedure:
    name = getattr(function, "__qualname__", repr(function))
    parameters = list(inspect.signature(function).parameters.values())
    if len(parameters) not in {1, 2}:
        raise TypeError(f"{name} takes {len(parameters)} parameters; a procedure takes (context) or (context, input)")
    iterates = inspect.isasyncgenfunction(inspect.unwrap(function))
    if not iterates and not inspect.iscoroutinefunction(function):
        raise TypeError(f"{name} is neither an async function nor an async generator")
    hints = typing.get_type_hints(function, include_extras=True)
    returned = output if output is not None else hints.get("return", Any)
    if kind == "subscription" and typing.get_origin(returned) in _ITERATORS:
        returned = typing.get_args(returned)[0]
    input_type, decoder = None, None
    if len(parameters) == 2:
        parameter = parameters[1]
        input_type = hints.get(parameter.name, Any)
        decoder = InputDecoder(input_type, default=parameter.default)
    return Procedure(
        kind=kind,
        function=function,
        input=input_type,
        output=returned,
        input_is_optional=decoder is None or decoder.is_optional,
        decoder=decoder,
        iterates=iterates,
        returns_nothing=returned in (None, types.NoneType),
    )


class Router:
    """Procedures by their dotted path, fixed once made. Iterating gives the paths, in the order given.

    Raises: ValueError for a path no client could call.
    """

    def __init__(self, procedures: Mapping[str, Procedure]) -> None:
        for path in procedures:
            if not path or "," in path or path != path.strip("/"):
                raise ValueError(
                    f"No client can call the path {path!r}: it is empty, has a comma, or a slash at an end"
                )
        self.procedures: Mapping[str, Procedure] = MappingProxyType(dict(procedures))

    def __iter__(self) -> Iterator[str]:
        return iter(self.procedures)

    def __len__(self) -> int:
        return len(self.procedures)

    def __getitem__(self, path: str) -> Procedure:
        return self.procedures[path]

    def get(self, path: str) -> Procedure | None:
        """The procedure of a path, or None."""
        return self.procedures.get(path)
