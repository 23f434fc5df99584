"""The API as a TypeScript module of nothing but types, for `createTRPCClient<AppRouter>()`. Pure.

It imports types of `@trpc/server` and nothing at run time. It has to be a `.ts` file: in a `.d.ts` a wrong name becomes
`any`, silently, under `skipLibCheck`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, TypeAlias, get_args, get_origin

from msgspec import UnsetType

from perseus.web.trpc import Procedure, Router, Tracked
from perseus.web.typescript_types import WIDTH, Declarations, Direction, jsdoc, property_name

_NAME = re.compile(r"(?:\btype |^  (?=TRPC))(\w+)", re.MULTILINE)  # declared or imported
_Tree: TypeAlias = "dict[str, Procedure | _Tree]"

_HEAD = """\
// The types of the Perseus API, written by `perseus types`. Do not edit.

import type {
  TRPCBuiltRouter,
  TRPCDefaultErrorShape,
  TRPCMutationProcedure,
  TRPCQueryProcedure,
  TRPCSubscriptionProcedure,
} from '@trpc/server';
"""
_FRAME = """\
/** What is wrong with an input, as a whole and by field, as zod's `flatten()` says it. */
export type FieldErrors = { formErrors: string[]; fieldErrors: Record<string, string[] | undefined> };

/** What the `data` of an error says besides code, status and path. */
export type ErrorData = {
  /** Of BAD_REQUEST: what is wrong with the input. */
  zodError?: FieldErrors | null | undefined;
  /** Of SERVICE_UNAVAILABLE: when the network was last read. What was true then is not known to be true now. */
  observedAt?: string | null | undefined;
  /** Of UNAUTHORIZED: why, in one word. */
  reason?: string | undefined;
  /** Of FORBIDDEN: the least role that may. */
  needed?: string | undefined;
  /** Of FORBIDDEN: the caller's role. */
  role?: string | undefined;
  /** Of TOO_MANY_REQUESTS: seconds to wait. */
  retryAfter?: number | undefined;
};

type ErrorShape = Omit<TRPCDefaultErrorShape, 'data'> & { data: TRPCDefaultErrorShape['data'] & ErrorData };
type Root = { ctx: object; meta: object; errorShape: ErrorShape; transformer: false };
type Definition<I, O> = { input: I; output: O; meta: object; errorShape: ErrorShape };
type Query<I, O> = TRPCQueryProcedure<Definition<I, O>>;
type Mutation<I, O> = TRPCMutationProcedure<Definition<I, O>>;
type Subscription<I, E> = TRPCSubscriptionProcedure<Definition<I, AsyncIterable<E, void, unknown>>>;
type Tracked<E> = { id: string; data: E };
"""


def typescript(router: Router) -> str:
    """The module that exports `AppRouter` and the types it is made of. The same router always gives the same text.

    Raises: TypeError for an input or output that TypeScript has no words for; ValueError if one path is the beginning
        of another, or two classes share a name.
    """
    declarations = Declarations(taken=["AppRouter", *_NAME.findall(_HEAD + _FRAME)])
    for procedure in router.procedures.values():
        for annotation, direction in _types_of(procedure):
            declarations.add(annotation, direction)
    record = "\n".join(_record(_tree(router), declarations, indent="  "))
    app_router = f"export type AppRouter = TRPCBuiltRouter<\n  Root,\n  {record}\n>;\n"
    return "\n".join([_HEAD, *(f"{each}\n" for each in declarations.declarations()), _FRAME, app_router])


def _types_of(procedure: Procedure) -> Iterator[tuple[Any, Direction]]:
    if procedure.input is not None:
        yield procedure.input, Direction.ACCEPTED
    yield _value(procedure), Direction.SENT


def _tree(router: Router) -> _Tree:
    """The procedures nested as clients call them."""
    for path in router:
        for other in router:
            if other.startswith(f"{path}."):
                raise ValueError(f'No client could call both "{path}" and "{other}": one lies within the other.')
    root: dict[str, Any] = {}
    for path, procedure in router.procedures.items():
        *groups, name = path.split(".")
        within = root
        for group in groups:
            within = within.setdefault(group, {})
        within[name] = procedure
    return root


def _record(tree: _Tree, declarations: Declarations, *, indent: str) -> Iterator[str]:
    yield "{"
    for name, entry in tree.items():
        inner = f"{indent}  "
        if isinstance(entry, Procedure):
            yield from jsdoc(entry.function.__doc__ or "", indent=inner)
            yield from _procedure(f"{inner}{property_name(name)}: ", entry, declarations, indent=inner)
        else:
            first, *rest = _record(entry, declarations, indent=inner)
            yield f"{inner}{property_name(name)}: {first}"
            yield from rest[:-1]
            yield f"{rest[-1]};"
    yield f"{indent}}}"


def _procedure(head: str, procedure: Procedure, declarations: Declarations, *, indent: str) -> list[str]:
    """`name: Query<Input, Output>;`, over several lines where it does not fit on one."""
    accepted, sent = _input(procedure, declarations), declarations.expression(_value(procedure), Direction.SENT)
    if procedure.returns_nothing:
        sent = "undefined"  # `void` would reach clients as `never`
    if get_origin(procedure.output) is Tracked:
        sent = f"Tracked<{sent}>"
    kind = procedure.kind.capitalize()
    one_line = f"{head}{kind}<{accepted}, {sent}>;"
    if len(one_line) <= WIDTH:
        return [one_line]
    return [f"{head}{kind}<", f"{indent}  {accepted},", f"{indent}  {sent}", f"{indent}>;"]


def _input(procedure: Procedure, declarations: Declarations) -> str:
    if procedure.input is None:
        return "void"
    if not procedure.input_is_optional:
        return declarations.expression(procedure.input, Direction.ACCEPTED)
    # No input says the same as null, which would hide from React clients that a `cursor` makes the query infinite.
    return declarations.expression(procedure.input | UnsetType, Direction.ACCEPTED, without_null=True)


def _value(procedure: Procedure) -> Any:
    """The type of a query's or mutation's answer, and of a subscription's values."""
    return get_args(procedure.output)[0] if get_origin(procedure.output) is Tracked else procedure.output
