"""The keys of an endpoint, as its Secret has their hashes. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

MAX_KEYS = 4096
MAX_VALUE_BYTES = 2**19
_HASH = re.compile(r"sha256:([0-9a-fA-F]{64})")


@dataclass(frozen=True, slots=True)
class HashedKeys:
    names: Mapping[str, str]
    """Whose key it is (the name of the Secret's value), by the key's SHA-256 in hexadecimal digits."""
    troubles: tuple[str, ...] = ()
    """What was left out, by the name of its value alone."""


def read_keys(data: Mapping[str, bytes]) -> HashedKeys:
    """Lines `sha256:HEX`, empty ones and comments (#). What else stands there may be a key itself: it is no key here,
    for whoever reads the Secret could use it.
    """
    names: dict[str, str] = {}
    troubles: list[str] = []
    for name, value in sorted(data.items()):
        if len(value) > MAX_VALUE_BYTES:
            troubles.append(f"{name} is larger than {MAX_VALUE_BYTES} bytes")
            continue
        for number, line in enumerate(value.decode(errors="replace").splitlines(), start=1):
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            found = _HASH.fullmatch(text)
            if found is None:
                troubles.append(f"{name}, line {number} is not `sha256:` and 64 hexadecimal digits")
            elif len(names) < MAX_KEYS:
                names[found[1].lower()] = name
            else:
                troubles.append(f"{name}, line {number} is beyond {MAX_KEYS} keys")
    return HashedKeys(names, tuple(troubles))
