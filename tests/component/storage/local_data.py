"""Addresses and contents of local files."""

from __future__ import annotations

from pathlib import Path


def uri(path: Path) -> str:
    return f"file://{path}"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() if path.is_file() else b"" for path in folder.iterdir()}
