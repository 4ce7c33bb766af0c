"""Where commands log that a person has in front of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from voxfleet_agent import logs


@contextmanager
def log_into(file: Path) -> Iterator[None]:
    """Appends JSON lines to the file; standard error stays for progress and messages. Raises OSError."""
    with file.open("a") as opened:
        logs.configure()
        handlers = [found for found in logging.getLogger().handlers if isinstance(found, logging.StreamHandler)]
        before = [handler.setStream(opened) for handler in handlers]
        try:
            yield
        finally:
            for handler, stream in zip(handlers, before, strict=True):
                if stream is not None:
                    handler.setStream(stream)
