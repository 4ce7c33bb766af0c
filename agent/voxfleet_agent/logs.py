"""JSON lines on standard error. Events name job, shard and attempt, but never a secret, a transcript or a clip."""

from __future__ import annotations

import logging
import os
import stat
import sys
import traceback
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path

import structlog

Logger = structlog.stdlib.BoundLogger

ROTATED_FILE_BYTES = 20 * 2**20
ROTATED_FILES = 5
STANDARD_ERROR_BYTES = 2**20


def configure(level: int = logging.INFO, file: Path | None = None) -> None:
    """Routes the agent's own events and those of libraries through one JSON formatter.

    `file`: where they go instead of standard error; it is rotated. Raises OSError.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr) if file is None else _rotated(file)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for noisy in ("uvicorn.error", "httpx", "httpx2", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _rotated(file: Path) -> logging.Handler:
    return RotatingFileHandler(file, maxBytes=ROTATED_FILE_BYTES, backupCount=ROTATED_FILES - 1, encoding="utf-8")


def crash_file(log_file: Path) -> Path:
    """The file beside the log that a service's standard error goes to."""
    return log_file.with_name(f"{log_file.stem}-stderr{log_file.suffix}")


def bound_standard_error(log_file: Path) -> None:
    """Empties the service's crash file if standard error goes there and it has grown; no other file is touched.

    launchd appends to it for ever, and only native code and crashes of Python write there.
    """
    state = os.fstat(sys.stderr.fileno())
    if stat.S_ISREG(state.st_mode) and state.st_size > STANDARD_ERROR_BYTES:
        with suppress(OSError):  # there is no such file
            if os.path.samestat(state, crash_file(log_file).stat()):
                os.ftruncate(sys.stderr.fileno(), 0)


def logger(name: str) -> Logger:
    bound: Logger = structlog.stdlib.get_logger(name)
    return bound


def frames(error: BaseException) -> list[str]:
    """The stack frames of an unforeseen error, as `<file>:<line> <function>`.

    The message is left out: a library may quote its input, which can be a transcript or a clip's name.
    """
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
