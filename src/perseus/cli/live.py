"""A view that stays: redrawn in place on a terminal, a line for each change anywhere else."""

from __future__ import annotations

import sys
import time

import click

from perseus.cli.output import painted, wrapped
from perseus.cli.words import block, duration, headline, progress, symbols, under_way, word
from perseus.clock import iso
from perseus.errors import PerseusError
from perseus.network.cards import Card
from perseus.network.observe import Observation

_HOME, _TO_LINE_END, _TO_SCREEN_END = "\x1b[H", "\x1b[K", "\x1b[J"
PERCENT_STEP = 20  # how much further a warm-up must be to be worth another line


class LiveView:
    """Shows observations as they come. `footer` lines stand below the cards on a terminal; `note` is told once."""

    def __init__(self, *, is_simulated: bool) -> None:
        self.footer: list[str] = []
        self._is_simulated = is_simulated
        self._notes: list[str] = []
        self._said: dict[str, str] = {}
        self._last: Observation | None = None
        self._warning: str | None = None
        self._blind_since: float | None = None
        self._is_terminal = sys.stdout.isatty()
        self._drawn = False

    def show(self, observation: Observation) -> None:
        """Show the cards."""
        if self._blind_since is not None:
            self._blind_since = None
            self.note("The store answers again.")
        self._last = observation
        if self._is_terminal:
            self._draw()
        else:
            self._say_changes(observation)

    def show_blind(self, error: PerseusError) -> None:
        """Say that the store cannot be read; the cards stay as last seen and say nothing about now."""
        if self._blind_since is None:
            self._blind_since = time.monotonic()
            if not self._is_terminal:
                click.echo(f"The store cannot be read, so nothing is known about the network: {error}")
        if self._is_terminal:
            self._draw(blind=str(error))

    def warn(self, text: str | None) -> None:
        """Say this below the cards, from the next view on, until there is something else to say, or nothing."""
        if text != self._warning and text is not None and not self._is_terminal:
            click.echo(text)
        self._warning = text

    def introduce(self, text: str) -> None:
        """What a person should know at once; on a terminal the footer says it."""
        if not self._is_terminal:
            click.echo(text)

    def note(self, text: str) -> None:
        """Something that happened, worth remembering: a line, or the lines above the footer."""
        stamp = time.strftime("%H:%M:%SZ", time.gmtime())
        self._notes = [*self._notes[-5:], f"{stamp} {text}"]
        if not self._is_terminal:
            click.echo(f"{stamp} {text}")
        elif self._last is not None:
            self._draw()

    def _draw(self, *, blind: str | None = None) -> None:
        lines = []
        if blind is not None and self._blind_since is not None:
            lost = duration((time.monotonic() - self._blind_since) * 1000)
            frozen = f", data frozen at {iso(self._last.store_ms)[11:19]}Z" if self._last else ""
            lines += [painted(f"Live view lost {lost} ago, reconnecting{frozen}.", "magenta", bold=True), blind]
        elif self._last is not None:
            says = headline(self._last.cards, observed_ms=self._last.store_ms, is_simulated=self._is_simulated)
            lines.append(painted(says, bold=True))
        for card in self._last.cards if self._last else ():
            lines += ["", *block(card, now_ms=card.observed_ms)]
        if self._warning is not None:
            warning = wrapped(self._warning, stream=sys.stdout)
            lines += ["", *(painted(line, "yellow") for line in warning.splitlines())]
        lines += ["", *self._notes, *self.footer]
        start = _HOME if self._drawn else "\x1b[2J" + _HOME
        self._drawn = True
        click.echo(start + "".join(f"{line}{_TO_LINE_END}\n" for line in lines) + _TO_SCREEN_END, nl=False)

    def _say_changes(self, observation: Observation) -> None:
        for card in observation.cards:
            line = summary(card)
            if line != self._said.get(card.exchange.name):
                self._said[card.exchange.name] = line
                click.echo(f"{iso(observation.store_ms)[11:19]}Z {line}")
        sys.stdout.flush()


def summary(card: Card) -> str:
    """What a line would say; two that differ are worth a new line."""
    parts = [f"{card.exchange.name}: {word(card)}"]
    status = card.status
    warmup = under_way(card)
    if warmup is not None and warmup.total and warmup.percent < 100:
        step = int(warmup.percent // PERCENT_STEP * PERCENT_STEP)
        parts.append(f"{step} % of {symbols(warmup.total)}")
    elif warmup is not None:
        parts.append(progress(warmup))
    elif status is not None and status.symbol_count:
        parts.append(symbols(status.symbol_count))
    if status is not None and status.last_error:
        parts.append(f"last error: {status.last_error}")
    if card.offline_since:
        parts.append(f"since {card.offline_since}")
    if card.reason:
        parts.append(card.reason)
    return " · ".join(parts)
