"""`perseus types`: the API for programs in TypeScript."""

from __future__ import annotations

from pathlib import Path

import click

from perseus.cli.output import say
from perseus.errors import PerseusError


@click.command()
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write there, a name that ends in .ts, instead of on stdout.",
)
def types(*, out: Path | None) -> int:
    """The types of the API as a TypeScript module, for `createTRPCClient<AppRouter>()`.

    Every server of this version has exactly these procedures. Needs neither store nor settings.
    """
    from perseus.web.router import ROUTER
    from perseus.web.typescript import typescript

    text = typescript(ROUTER)
    if out is None:
        click.echo(text, nl=False)
        return 0
    if out.suffix != ".ts" or out.name.endswith(".d.ts"):
        raise click.BadParameter(
            f"{out.name} must end in .ts, and not in .d.ts, where a wrong name would silently become `any`.",
            param_hint="--out",
        )
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise PerseusError(f"{out} cannot be written: {error.strerror}. Nothing was changed.") from error
    say(f"{len(ROUTER)} procedures are in {out} now.")
    return 0
