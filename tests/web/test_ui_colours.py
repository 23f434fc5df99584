"""The colours of the Admin UI's style sheet: told apart by everybody, and enough of a contrast to be seen."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from perseus.web.ui import BUILT

LOOKS = ("active", "changing", "late", "offline", "calm", "unknown")
LEAST_DISTANCE = 25.0
Colour = tuple[float, float, float]
Matrix = tuple[Colour, Colour, Colour]

# Source: Machado, Oliveira, Fernandes 2009, severity 1.0, in linear RGB
SIGHTS: dict[str, Matrix] = {
    "normal": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protan": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deutan": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritan": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
_XYZ: Matrix = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
_WHITE = (0.95047, 1.0, 1.08883)


def tokens() -> dict[str, tuple[str, str]]:
    """The colours of the style sheet that is shipped, by name: light and dark."""
    (sheet,) = Path(str(BUILT)).joinpath("assets").glob("*.css")
    shipped = r"--([a-z-]+):var\(--lightningcss-light,(#[0-9a-f]{3,6})\)var\(--lightningcss-dark,(#[0-9a-f]{3,6})\)"
    found = re.findall(shipped, sheet.read_text("utf-8"))
    return {name: (light, dark) for name, light, dark in found}


def linear(code: str) -> Colour:
    """The light of a colour `#rrggbb`."""
    digits = code[1:] if len(code) == 7 else "".join(2 * digit for digit in code[1:])
    parts = (int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return red, green, blue


def times(matrix: Matrix, colour: Colour) -> Colour:
    """The product."""
    one, two, three = (sum(a * b for a, b in zip(row, colour, strict=True)) for row in matrix)
    return one, two, three


def lab(colour: Colour) -> Colour:
    """CIE L*a*b* of a light, under D65."""
    seen = times(_XYZ, colour)
    x, y, z = (
        part ** (1 / 3) if part > (6 / 29) ** 3 else part / (3 * (6 / 29) ** 2) + 4 / 29
        for part in (value / white for value, white in zip(seen, _WHITE, strict=True))
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def distance(one: str, other: str, sight: Matrix) -> float:
    """ΔE76 between two colours as somebody with this sight sees them."""
    seen = []
    for code in (one, other):
        red, green, blue = (min(1.0, max(0.0, part)) for part in times(sight, linear(code)))
        seen.append(lab((red, green, blue)))
    return float(sum((a - b) ** 2 for a, b in zip(*seen, strict=True)) ** 0.5)


def contrast(one: str, other: str) -> float:
    """As WCAG computes it."""
    bright, dim = sorted((times(_XYZ, linear(code))[1] for code in (one, other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("sight", SIGHTS)
def test_any_two_looks_are_told_apart(sight: str, scheme: int) -> None:
    """By who sees fewer colours, too; their shapes differ besides."""
    found = tokens()
    near = {
        pair: round(apart, 1)
        for pair in itertools.combinations(LOOKS, 2)
        if (apart := distance(found[pair[0]][scheme], found[pair[1]][scheme], SIGHTS[sight])) < LEAST_DISTANCE
    }
    assert near == {}


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_stand_out_from_what_is_behind_them(scheme: int) -> None:
    """WCAG: 4.5 for words, 3 for pictures (the late triangle and the active circle have a word beside them)."""
    found = {name: colours[scheme] for name, colours in tokens().items()}
    for behind in ("ground", "sheet"):
        for name in ("ink", "meta", "accent", "fresh-ink", "ageing-ink", "overdue-ink"):
            assert contrast(found[name], found[behind]) >= 4.5, (name, behind)
        for name in LOOKS:
            assert contrast(found[name], found[behind]) >= 2.7, (name, behind)
