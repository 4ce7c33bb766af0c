"""Deterministic ways to damage bytes."""

from __future__ import annotations

import random


def cut(content: bytes, percent: int) -> bytes:
    return content[: len(content) * percent // 100]


def hole(content: bytes, from_percent: int, to_percent: int) -> bytes:
    """Replaces a part by zeros, as a lost block does."""
    start, end = (len(content) * percent // 100 for percent in (from_percent, to_percent))
    return content[:start] + bytes(end - start) + content[end:]


def flip(content: bytes, seed: int, count: int, start: int, end: int | None = None) -> bytes:
    """Flips `count` bits of content[start:end]."""
    damaged = bytearray(content)
    rng = random.Random(seed)
    stop = len(content) if end is None else end
    for bit in rng.sample(range(start * 8, stop * 8), count):
        damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def noise(seed: int, count: int) -> bytes:
    return random.Random(seed).randbytes(count)


def put(content: bytes, offset: int, patch: bytes) -> bytes:
    """Overwrites bytes in place."""
    return content[:offset] + patch + content[offset + len(patch) :]


def swap(content: bytes, old: bytes, new: bytes) -> bytes:
    """Replaces the first occurrence, which must exist."""
    if old not in content:
        raise ValueError(f"{old!r} is not in the content: the encoder writes another form now")
    return content.replace(old, new, 1)
