"""The failure class of a storage's HTTP errors. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from voxfleet_api.failures import FailureClass, VoxFleetError

_CODE = re.compile(rb"<Code>([A-Za-z0-9]{1,64})</Code>")

_EXPIRED = (FailureClass.ACCESS_DENIED, "the storage credentials have expired; renew the job's Secret")
_SLOW_DOWN = (FailureClass.THROTTLED, "the storage asks to slow down")
_BY_CODE: dict[str, tuple[FailureClass, str]] = {
    "ExpiredToken": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "InvalidToken": (FailureClass.ACCESS_DENIED, "AWS_SESSION_TOKEN of the job's Secret is wrong"),
    "InvalidAccessKeyId": (FailureClass.ACCESS_DENIED, "the storage does not know the access key of the job's Secret"),
    "XAdminUserNotFound": (FailureClass.ACCESS_DENIED, "the storage does not know the access key of the job's Secret"),
    "SignatureDoesNotMatch": (FailureClass.ACCESS_DENIED, "the secret key of the job's Secret is wrong"),
    "RequestExpired": (FailureClass.ACCESS_DENIED, "this Mac's clock is wrong: the storage refuses its requests"),
    "RequestTimeTooSkewed": (FailureClass.ACCESS_DENIED, "this Mac's clock is wrong: the storage refuses its requests"),
    "AuthorizationHeaderMalformed": (
        FailureClass.ACCESS_DENIED,
        "the storage refuses the signature; check AWS_REGION of the job's Secret",
    ),
    "NoSuchBucket": (FailureClass.INPUT_NOT_FOUND, "the bucket does not exist"),
    "InvalidObjectState": (FailureClass.INVALID_INPUT, "the object is archived; restore it first"),
    "QuotaExceeded": (FailureClass.TRANSPORT, "the storage is full; make room"),
    "Throttling": _SLOW_DOWN,
    "ThrottlingException": _SLOW_DOWN,
    "RequestLimitExceeded": _SLOW_DOWN,
    "SlowDown": _SLOW_DOWN,
    "RequestTimeout": (FailureClass.TRANSPORT, "the storage did not get the request in time"),
    "InternalError": (FailureClass.TRANSPORT, "the storage has an internal error"),
    # The bytes did not arrive as they were sent, or an upload in parts was ended meanwhile: sending them again helps.
    "BadDigest": (FailureClass.TRANSPORT, "the storage got other bytes than were sent"),
    "XAmzContentSHA256Mismatch": (FailureClass.TRANSPORT, "the storage got other bytes than were sent"),
    "IncompleteBody": (FailureClass.TRANSPORT, "the storage got fewer bytes than were sent"),
    "NoSuchUpload": (FailureClass.TRANSPORT, "the storage has ended the upload in parts"),
    "InvalidPart": (FailureClass.TRANSPORT, "the storage has lost a part of the upload"),
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
    429: _SLOW_DOWN,
    501: (FailureClass.INVALID_INPUT, "the storage does not support this kind of request"),
    503: _SLOW_DOWN,
    507: (FailureClass.TRANSPORT, "the storage is full; make room"),
}


def status_error(status: int, headers: Mapping[str, str], body: bytes, now: float) -> VoxFleetError:
    """The error for an unsuccessful status. `headers`: by lower-case name. `now`: seconds since the epoch.

    An S3 error code in the body takes precedence over the less exact status.
    """
    failure_class, reason = _class_and_reason(status, error_code(body))
    wait_seconds = retry_after_seconds(headers, now) if failure_class in _RETRIED else None
    return VoxFleetError(failure_class, f"{reason} (HTTP {status})", retry_after_seconds=wait_seconds)


_RETRIED = frozenset({FailureClass.TRANSPORT, FailureClass.THROTTLED})


def _class_and_reason(status: int, code: str | None) -> tuple[FailureClass, str]:
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
    """The code of an S3 error document, for example `NoSuchKey`."""
    match = _CODE.search(body)
    return match.group(1).decode() if match else None


def retry_after_seconds(headers: Mapping[str, str], now: float) -> float | None:
    """Retry-After in seconds from now; None when it is missing or unreadable.

    A date is compared with the response's own Date header, so that differing clocks do not matter.
    """
    text = headers.get("retry-after", "").strip()
    try:
        seconds = (
            float(text)
            if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text)
            else _epoch_seconds(text) - _server_time(headers, now)
        )
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _server_time(headers: Mapping[str, str], now: float) -> float:
    try:
        return _epoch_seconds(headers["date"])
    except (KeyError, ValueError, TypeError, OverflowError):
        return now


def _epoch_seconds(text: str) -> float:
    return parsedate_to_datetime(text).timestamp()
