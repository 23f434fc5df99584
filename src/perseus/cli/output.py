"""What the terminal is told: errors, colour where it is wanted, and characters it can show."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import traceback
from collections.abc import Callable, Container, Sequence
from typing import TextIO

import click

LONGEST_LINE = 120
SENDERS_OF_SIGKILL = (
    "its own fence, if it had been paused or had hung past its lease; the kernel, if memory ran out; or a person"
)


def complain(text: str, *, faults: tuple[str, ...] = (), debug: bool = False) -> None:
    """Print an error on stderr as one paragraph, wrapped for a person; several faults as a list.

    With `debug` the traceback of the exception being handled comes first. Where stderr is no terminal each paragraph
    is one line, as log collectors need it.
    """
    if debug:
        traceback.print_exc()
    if len(faults) < 2:
        click.echo(wrapped(text, stream=sys.stderr), err=True)
        return
    for fault in faults:
        text = text.replace(fault, "")
    click.echo(wrapped(" ".join(text.split()), stream=sys.stderr), err=True)
    for fault in faults:
        click.echo(wrapped(f"  - {fault}", stream=sys.stderr, indent="    "), err=True)


def say(text: str) -> None:
    """A remark to the person, on stderr, so that stdout stays what was asked for."""
    click.echo(wrapped(text, stream=sys.stderr), err=True)


def wrapped(text: str, *, stream: TextIO, indent: str = "") -> str:
    """The text in lines of the terminal's width, or unchanged where `stream` is none."""
    if not stream.isatty():
        return text
    return textwrap.fill(text, width(), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def width() -> int:
    """Columns to use."""
    return min(shutil.get_terminal_size((100, 24)).columns, LONGEST_LINE)


def painted(text: str, colour: str | None = None, *, bold: bool = False, dim: bool = False) -> str:
    """The text in colour, where stdout is a terminal and NO_COLOR is not set."""
    return click.style(text, fg=colour, bold=bold or None, dim=dim or None) if has_colour() else text


def has_colour() -> bool:
    """Whether stdout wants colour."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def columns(
    rows: Sequence[Sequence[str]], *, right: Container[int] = (), dim: Callable[[Sequence[str]], bool] = lambda _: False
) -> list[str]:
    """The rows under each other, the first one as their head; the columns of `right` are numbers."""
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for at, row in enumerate(rows):
        cells = [cell.rjust(wide[n]) if n in right else cell.ljust(wide[n]) for n, cell in enumerate(row)]
        lines.append(painted("  ".join(cells).rstrip(), dim=at == 0 or dim(row)))
    return lines


def glyph(symbol: str, plain: str) -> str:
    """The symbol, or its plain stand-in where stdout cannot encode it."""
    try:
        symbol.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return plain
    return symbol


def echo_json(encoded: bytes) -> None:
    """Print one line of JSON on stdout."""
    click.echo(encoded.decode("utf-8", "replace"))
