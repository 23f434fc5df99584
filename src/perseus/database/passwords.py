"""Passwords: hashed with argon2id on a thread, so that the event loop goes on meanwhile.

Parameters are OWASP's: t=2, m=19 MiB, one lane; about 25 ms a look. Hashes carry theirs, so that they may change.
"""

from __future__ import annotations

import asyncio
import secrets
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from perseus.errors import BadUsage
from perseus.model import valid_text

SHORTEST = 12
LONGEST = 1024
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_threads = ThreadPoolExecutor(2, thread_name_prefix="passwords")  # many logins at once take turns, and 38 MiB at most
_nobody: list[str] = []  # the hash that is verified where there is none


class Verdict(NamedTuple):
    """Whether the password is right, and the hash to keep from now on if the parameters have changed since."""

    is_right: bool
    new_hash: str | None = None


async def hashed(password: str) -> str:
    """The hash to keep. Raises: BadUsage if the password is too short or too long."""
    password = _normal(password)
    if not SHORTEST <= len(password) <= LONGEST:
        raise BadUsage(f"A password must have {SHORTEST} to {LONGEST} characters; this has {len(password)}.")
    return await _hash(password)


async def verify(password: str, kept: str | None) -> Verdict:
    """Whether this is the password of the hash. With None, for someone unknown, it takes as long and is wrong.

    Raises: argon2's InvalidHashError if `kept` is no hash of ours.
    """
    if len(password) > LONGEST:
        return Verdict(is_right=False)
    password = _normal(password)
    if kept is None:
        if not _nobody:
            _nobody.append(await _hash(secrets.token_urlsafe(32)))
        await _is_right(password, _nobody[0])
        return Verdict(is_right=False)
    if not await _is_right(password, kept):
        return Verdict(is_right=False)
    return Verdict(is_right=True, new_hash=await _hash(password) if _hasher.check_needs_rehash(kept) else None)


def _normal(password: str) -> str:
    """One spelling of what keyboards and systems encode differently."""
    return unicodedata.normalize("NFKC", valid_text(password))


async def _hash(password: str) -> str:
    return await asyncio.get_running_loop().run_in_executor(_threads, _hasher.hash, password)


async def _is_right(password: str, kept: str) -> bool:
    try:
        return await asyncio.get_running_loop().run_in_executor(_threads, _hasher.verify, kept, password)
    except VerifyMismatchError:
        return False
