"""JSON lines on standard error. Events name job, shard and attempt, but never a secret, a transcript or a clip."""

from __future__ import annotations

import logging
import sys
import traceback

import structlog

Logger = structlog.stdlib.BoundLogger


def configure(level: int = logging.INFO) -> None:
    """Routes the agent's own events and those of libraries through one JSON formatter."""
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
    handler = logging.StreamHandler(sys.stderr)
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


def logger(name: str) -> Logger:
    bound: Logger = structlog.stdlib.get_logger(name)
    return bound


def frames(error: BaseException) -> list[str]:
    """The stack frames of an unforeseen error, as `<file>:<line> <function>`.

    The message is left out: a library may quote its input, which can be a transcript or a clip's name.
    """
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
