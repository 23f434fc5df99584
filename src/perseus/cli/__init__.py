"""The command line: parse, wire, call, print. The only place for signals and exit codes.

Commands are imported when they are used, so that `perseus --help` stays fast. Exit codes: 0 fine, 1 not as it should
be, 2 cannot tell, 3 exchange claimed by another instance, 4 lease lost, 64 bad usage, 78 bad configuration, 130 ended
by Ctrl-C, 137 killed.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from perseus.cli.output import complain
from perseus.errors import BadConfiguration, PerseusError
from perseus.settings import near_match

BAD_USAGE = 64
INTERRUPTED = 130
# name: where its command is, and the sentence `--help` shows without importing it
COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("perseus.cli.up:up", "The whole network on this machine; --simulate for simulated exchanges."),
    "serve": ("perseus.cli.serve:serve", "The API, the login and the watcher behind one port."),
    "run": ("perseus.cli.run:run", "One exchange instance in the foreground."),
    "status": ("perseus.cli.status:status", "A card for each exchange."),
    "log": ("perseus.cli.log:log", "The activity feed."),
    "candles": ("perseus.cli.candles:candles", "The candles an instance keeps."),
    "start": ("perseus.cli.control:start", "Ask an instance to start its work."),
    "stop": ("perseus.cli.control:stop", "Ask an instance to stop its work; its process stays."),
    "incidents": ("perseus.cli.incidents:incidents", "What is not served although it should be, and who knows of it."),
    "exchanges": ("perseus.cli.exchanges:exchanges", "Which exchanges the network knows, and which should run."),
    "admins": ("perseus.cli.admins:admins", "Who may look and command: passwords, login links, API tokens."),
    "doctor": ("perseus.cli.doctor:doctor", "What is wrong with store, database and settings, and how to fix it."),
    "simulate": ("perseus.cli.simulate:simulate", "The exchange simulator alone."),
    "types": ("perseus.cli.types:types", "TypeScript types of the API."),
}


class PerseusGroup(click.Group):
    """The root group: imports a command when it is used, and turns every failure into one paragraph and a code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command; None for a name that is none."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command. Raises: UsageError naming the one that was probably meant."""
        if args and args[0] not in COMMANDS:
            raise click.UsageError(f'There is no command "{args[0]}".{near_match(args[0], list(COMMANDS))}', ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table, importing none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, sentence) for name, (_, sentence) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a reader of its output who has seen enough (`perseus log | head`) is no failure."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            return _reader_is_gone()

    def main(self, args: Sequence[str] | None = None, *_: Any, **kwargs: Any) -> NoReturn:
        """Run and exit: no traceback unless `--debug` stands anywhere, and never click's exit code 2."""
        words = list(sys.argv[1:] if args is None else args)
        ours = words.index("--") if "--" in words else len(words)
        debug = "--debug" in words[:ours]
        words = [word for word in words[:ours] if word != "--debug"] + words[ours:]
        sys.exit(self._exit_code(words, debug=debug, **kwargs))

    def _exit_code(self, words: list[str], *, debug: bool, **kwargs: Any) -> int:
        try:
            result = super().main(words, **kwargs | {"standalone_mode": False, "prog_name": "perseus"})
            sys.stdout.flush()
        except (click.Abort, KeyboardInterrupt):
            return INTERRUPTED
        except click.ClickException as error:
            return _bad_usage(error, debug=debug)
        except PerseusError as error:
            complain(str(error), faults=error.faults if isinstance(error, BadConfiguration) else (), debug=debug)
            return error.exit_code
        except BrokenPipeError:
            return _reader_is_gone()
        except Exception as error:  # noqa: BLE001  the edge: no person should meet a traceback unasked
            complain(_unexpected(error), debug=debug)
            return 1
        return result if isinstance(result, int) else 0


def _bad_usage(error: click.ClickException, *, debug: bool) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
    else:
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "perseus"
        complain(f"{error.format_message()} See `{where} --help`.", debug=debug)
    return BAD_USAGE


def _unexpected(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = error.filename or "where it writes, or its output goes"
        return f"perseus could not write on: {error.strerror} ({where}). Make room there, then run the same again."
    return (
        f"perseus failed unexpectedly with {type(error).__name__}: {error}. This is a defect of perseus, not of your "
        f"settings; run the same with --debug and report what it prints."
    )


def _reader_is_gone() -> int:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered goes nowhere
    return 0


@click.group(cls=PerseusGroup, no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="perseus", message="perseus %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of a failure.")
def main(debug: bool) -> None:
    """Every exchange has exactly one live instance, and everyone can see it."""
