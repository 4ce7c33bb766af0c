"""What a storage's answers mean. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from voxfleet_api.failures import FailureClass, VoxFleetError

_CODE = re.compile(rb"<Code>([A-Za-z]{1,64})</Code>")

_BY_CODE: dict[str, tuple[FailureClass, str]] = {
    "ExpiredToken": (FailureClass.ACCESS_DENIED, "the storage credentials have expired; renew the job's Secret"),
    "InvalidAccessKeyId": (FailureClass.ACCESS_DENIED, "the storage does not know the access key of the job's Secret"),
    "XAdminUserNotFound": (FailureClass.ACCESS_DENIED, "the storage does not know the access key of the job's Secret"),
    "SignatureDoesNotMatch": (FailureClass.ACCESS_DENIED, "the secret key of the job's Secret is wrong"),
    "RequestTimeTooSkewed": (FailureClass.ACCESS_DENIED, "this Mac's clock is wrong: the storage refuses its requests"),
    "AuthorizationHeaderMalformed": (
        FailureClass.ACCESS_DENIED,
        "the storage refuses the signature; check AWS_REGION of the job's Secret",
    ),
    "NoSuchBucket": (FailureClass.INPUT_NOT_FOUND, "the bucket does not exist"),
    "SlowDown": (FailureClass.THROTTLED, "the storage asks to slow down"),
    "RequestTimeout": (FailureClass.TRANSPORT, "the storage did not get the request in time"),
    "InternalError": (FailureClass.TRANSPORT, "the storage has an internal error"),
    "OperationAborted": (FailureClass.TRANSPORT, "another request is changing the same object"),
    "ConditionalRequestConflict": (FailureClass.TRANSPORT, "another request is changing the same object"),
}

_BY_STATUS: dict[int, tuple[FailureClass, str]] = {
    401: (FailureClass.ACCESS_DENIED, "the storage wants credentials, or other ones"),
    403: (FailureClass.ACCESS_DENIED, "the storage denies access; check the credentials and the object's permissions"),
    404: (FailureClass.INPUT_NOT_FOUND, "the object does not exist"),
    405: (FailureClass.INVALID_INPUT, "the storage does not support this kind of request"),
    407: (FailureClass.ACCESS_DENIED, "a proxy in between wants credentials"),
    408: (FailureClass.TRANSPORT, "the storage did not get the request in time"),
    410: (FailureClass.INPUT_NOT_FOUND, "the object is gone"),
    412: (FailureClass.INPUT_CHANGED, "the object is not the version that Plan saw"),
    413: (FailureClass.INVALID_INPUT, "the storage refuses an object of this size"),
    416: (FailureClass.INPUT_CHANGED, "the object is shorter than the version that Plan saw"),
    423: (FailureClass.TRANSPORT, "the object is locked"),
    425: (FailureClass.TRANSPORT, "the storage wants the request again"),
    429: (FailureClass.THROTTLED, "the storage asks to slow down"),
    501: (FailureClass.INVALID_INPUT, "the storage does not support this kind of request"),
    503: (FailureClass.THROTTLED, "the storage asks to slow down"),
    507: (FailureClass.TRANSPORT, "the storage is full; make room"),
}


def refusal(status: int, headers: Mapping[str, str], body: bytes, now: float) -> VoxFleetError:
    """The error of a status that is not success. `headers` by lower-case name; `now`: seconds since the epoch.

    The body's error code, as S3 has it, is more exact than the status.
    """
    failure_class, reason = _meaning(status, error_code(body))
    waits = retry_after_seconds(headers, now) if failure_class in _WAITING else None
    return VoxFleetError(failure_class, f"{reason} (HTTP {status})", retry_after_seconds=waits)


_WAITING = frozenset({FailureClass.TRANSPORT, FailureClass.THROTTLED})


def _meaning(status: int, code: str | None) -> tuple[FailureClass, str]:
    if code in _BY_CODE:
        return _BY_CODE[code]
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if 300 <= status < 400:
        return FailureClass.ACCESS_DENIED, "the storage points elsewhere, which is not followed; name the right host"
    if 400 <= status < 500:
        return FailureClass.INVALID_INPUT, "the storage does not accept the request"
    return FailureClass.TRANSPORT, "the storage has a fault"


def error_code(body: bytes) -> str | None:
    """`NoSuchKey` and the like, of an S3 error document."""
    match = _CODE.search(body)
    return match.group(1).decode() if match else None


def retry_after_seconds(headers: Mapping[str, str], now: float) -> float | None:
    """Retry-After, in seconds from now: a number, or a date, which the answer's own Date makes independent of clocks.

    None when there is none that can be read.
    """
    text = headers.get("retry-after", "").strip()
    try:
        seconds = float(text) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) else _date(text) - _now(headers, now)
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _now(headers: Mapping[str, str], now: float) -> float:
    try:
        return _date(headers["date"])
    except (KeyError, ValueError, TypeError, OverflowError):
        return now


def _date(text: str) -> float:
    return parsedate_to_datetime(text).timestamp()
