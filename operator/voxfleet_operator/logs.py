"""Logs to standard error, the libraries' records included, as JSON lines or as text."""

from __future__ import annotations

import logging
import sys
from enum import StrEnum

import structlog
from structlog.typing import Processor

# At INFO these libraries log what they do each second; only their warnings matter.
_CHATTY = ("kopf", "httpx", "httpcore", "paramiko", "aiohttp.access", "asyncio")


class LogFormat(StrEnum):
    JSON = "json"
    TEXT = "text"


def configure(log_format: LogFormat, level: int = logging.INFO) -> None:
    """To be called once, before anything logs. Tracebacks leave out local variables, which may hold secrets."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    render: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if log_format is LogFormat.JSON
        else [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    # kopf warns that it handles no signals, which is intended: see watch.py.
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
