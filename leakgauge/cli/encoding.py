"""Output in whatever letters the terminal, the pipe or the log has: what it lacks is written in ASCII, and nothing crashes."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata

_HANDLER = "leakgauge.plain"
_PLAIN = {
    "−": "-",
    "–": "-",
    "—": "-",
    "×": "x",
    "·": ".",
    "•": "*",
    "≥": ">=",
    "≤": "<=",
    "±": "+/-",
    "→": "->",
    "“": '"',
    "”": '"',
    "’": "'",
}


def tolerate() -> None:
    """Let standard output and errors replace letters that their encoding lacks."""
    codecs.register_error(_HANDLER, _replaced)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_plain(letter) for letter in error.object[error.start : error.end]), error.end


def _plain(letter: str) -> str:
    """A letter in ASCII: without its accent, a Greek one by its name, and what has neither as a question mark."""
    if letter in _PLAIN:
        return _PLAIN[letter]
    name = unicodedata.name(letter, "")
    if name.startswith("GREEK"):
        return name.rpartition(" ")[2].lower()
    parts = (_PLAIN.get(part, part) for part in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(part))
    return "".join(part if part.isascii() else "?" for part in parts)
