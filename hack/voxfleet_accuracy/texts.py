"""Reads the words that come with recordings. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

MIN_PROMPT_WORDS = 4
_MISSPELT = {
    "umute": "unmute",
    "represenatives": "representatives",
    "indentified": "identified",
    "witheld": "withheld",
    "thru": "through",
}
"""What the file of texts misspells; the speaker does not."""
_UNSPOKEN = re.compile(r"[\[\]<>(){}*#@|~\"/]|\bwww\.")
"""Signs that say that a text describes a sound, or whose reading is not written."""
_LINE = re.compile(r"<s>(?P<text>.*)</s>\s*\((?P<name>[^)]+)\)")


def pocketsphinx_lines(content: str) -> Mapping[str, str]:
    """Reads lines such as `<s> ten of clubs </s> (001)` into texts by name."""
    return {match["name"]: " ".join(match["text"].split()) for match in _LINE.finditer(content)}


def english_prompts(content: str) -> Mapping[str, str]:
    """Reads lines such as `agent-pass: Please enter your password` into texts by name.

    Only those whose text has at least MIN_PROMPT_WORDS words and no number or sign that can be read in several ways.
    """
    found: dict[str, str] = {}
    for line in content.splitlines():
        name, colon, text = line.partition(": ")
        if line.startswith(";") or not colon:
            continue
        if len(text.split()) < MIN_PROMPT_WORDS or _UNSPOKEN.search(text) or re.search(r"\d\d|\d\.\d", text):
            continue
        found[name] = _corrected(text)
    return found


def _corrected(text: str) -> str:
    for wrong, right in _MISSPELT.items():
        text = re.sub(rf"\b{wrong}\b", right, text)
    return " ".join(text.replace("...", " ").split())
