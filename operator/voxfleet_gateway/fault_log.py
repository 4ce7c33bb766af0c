"""The log of aiohttp's server: which exception ended a call, and where, and never what it says.

What a parser or a validator says quotes the request, and with it keys and texts. What is wrong with a request itself is
told to its sender, and is no news here.
"""

from __future__ import annotations

import logging
import traceback

from aiohttp.http_exceptions import HttpProcessingError

_MOST_FRAMES = 12


def quoteless_logger() -> logging.Logger:
    logger = logging.getLogger("voxfleet_gateway.http_server")
    logger.addFilter(_without_quotes)
    return logger


def _without_quotes(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        return False
    if error is not None:
        record.msg, record.args = "a call failed: %s", ("; ".join(_places(error)),)
        record.exc_info = record.exc_text = None
    return True


def _places(error: BaseException) -> list[str]:
    """Of a group: its own, then one for each exception in it."""
    frames = traceback.extract_tb(error.__traceback__)[-_MOST_FRAMES:]
    called = " > ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames)
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return [f"{type(error).__name__} in {called}", *(place for each in inner for place in _places(each))]
