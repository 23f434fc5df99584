"""Passwords: argon2id with today's parameters, and nobody learns who exists from how long an answer takes."""

from __future__ import annotations

import asyncio
import statistics
import time

import pytest
from argon2 import PasswordHasher, extract_parameters

from perseus.database.passwords import LONGEST, SHORTEST, hashed, verify
from perseus.errors import BadUsage

RIGHT = "correct horse battery"


async def test_right_password_is_right_and_others_are_not() -> None:
    """One case, one space, one look-alike apart."""
    kept = await hashed(RIGHT)
    assert await verify(RIGHT, kept) == (True, None)
    for wrong in ("", RIGHT.title(), f"{RIGHT} ", "x" * (LONGEST + 1), "\x00", "\ud800"):
        assert not (await verify(wrong, kept)).is_right
        assert not (await verify(wrong, None)).is_right


async def test_hash_has_the_parameters_we_promise_and_its_own_salt() -> None:
    """Weaker ones would go unnoticed for years."""
    one, other = await hashed(RIGHT), await hashed(RIGHT)
    found = extract_parameters(one)
    assert one != other
    assert (found.type.name, found.time_cost, found.memory_cost, found.parallelism) == ("ID", 2, 19_456, 1)


async def test_hash_of_older_parameters_is_renewed_at_login() -> None:
    """Only then is the password known."""
    old = PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(RIGHT)
    verdict = await verify(RIGHT, old)
    assert verdict.is_right
    assert verdict.new_hash is not None
    assert await verify(RIGHT, verdict.new_hash) == (True, None)
    assert await verify("wrong password", old) == (False, None)


@pytest.mark.parametrize("password", ["", "x" * (SHORTEST - 1), "x" * (LONGEST + 1)])
async def test_password_too_short_or_too_long_is_refused(password: str) -> None:
    """The one is guessed, the other keeps a server busy."""
    with pytest.raises(BadUsage, match="12 to 1024 characters"):
        await hashed(password)


async def test_password_of_any_script_is_one_whatever_the_keyboard_sends() -> None:
    """macOS decomposes what others compose."""
    kept = await hashed("pässwört mit ümlaut \x00")
    assert (await verify("pa\u0308sswo\u0308rt mit u\u0308mlaut \x00", kept)).is_right


async def test_unknown_person_takes_as_long_as_a_wrong_password() -> None:
    """A faster answer would tell who has an account here."""
    kept = await hashed(RIGHT)
    await verify(RIGHT, None)

    async def took(of: str | None) -> float:
        began = time.process_time()
        await verify("wrong password", of)
        return time.process_time() - began

    known, unknown = [], []
    for _ in range(7):
        known.append(await took(kept))
        unknown.append(await took(None))
    assert 0.5 < statistics.median(unknown) / statistics.median(known) < 2


async def test_event_loop_goes_on_while_passwords_are_hashed() -> None:
    """A login must not hold up everybody's page."""
    kept = await hashed(RIGHT)
    for look in (verify(RIGHT, kept), verify(RIGHT, None), hashed(RIGHT)):
        work = asyncio.ensure_future(look)
        turns = 0
        while not work.done():
            await asyncio.sleep(0)
            turns += 1
        assert turns > 10
