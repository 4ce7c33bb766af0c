"""The log file of commands that a person runs in a terminal."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from voxfleet_agent import logs


@contextmanager
def log_into(file: Path) -> Iterator[None]:
    """Logs JSON lines to the file, so that standard error only shows progress and messages. Raises OSError."""
    with file.open("a") as opened:
        logs.configure()
        handlers = [handler for handler in logging.getLogger().handlers if isinstance(handler, logging.StreamHandler)]
        streams = [handler.setStream(opened) for handler in handlers]
        try:
            yield
        finally:
            for handler, stream in zip(handlers, streams, strict=True):
                if stream is not None:
                    handler.setStream(stream)
