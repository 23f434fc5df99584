"""Which errors are worth an entry: the first of its kind at once, repeats at most once a minute with their count."""

from __future__ import annotations

from perseus.model import valid_text

REPEAT_S = 60.0
KINDS_KEPT = 100
TEXT_LENGTH = 300


class ErrorEpisodes:
    """Counts repeated errors. Pure: the time is given."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, int]] = {}

    def due(self, text: str, *, now: float) -> int:
        """How often `text` happened since its last entry if one is due now (this time included), else 0."""
        if text not in self._seen:
            if len(self._seen) >= KINDS_KEPT:
                del self._seen[min(self._seen, key=lambda kind: self._seen[kind][0])]
            self._seen[text] = (now, 0)
            return 1
        written, count = self._seen[text]
        if now - written < REPEAT_S:
            self._seen[text] = (written, count + 1)
            return 0
        self._seen[text] = (now, 0)
        return count + 1


def one_line(error: BaseException | str) -> str:
    """An error as one line for the log: its message, or its kind if it has none; long texts are cut."""
    text = valid_text(" ".join(str(error).split())) or type(error).__name__
    return text if len(text) <= TEXT_LENGTH else text[: TEXT_LENGTH - 1] + "…"
