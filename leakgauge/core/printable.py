"""Text from outside is text: names, labels, paths, reprs and tracebacks hide nothing and steer nothing where they are shown."""

from __future__ import annotations

import re

_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls, but for tabs and ends of lines: escape sequences begin with one
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what turns the direction of writing
    "\u2028\u2029\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"  # other ends of lines, the unseen, no letters
)


def printable(text: str) -> str:
    """Return text in which a character that steers a terminal, turns text around or is unseen stands as its number, escaped."""
    return _STEERING.sub(_escaped, text)


def line(text: str) -> str:
    """Return printable text in one line: a name with an end of line in it cannot pass for what the program says next."""
    return printable(text).replace("\n", "\\n")


def _escaped(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
