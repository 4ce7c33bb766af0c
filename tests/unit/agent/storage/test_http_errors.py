"""The failure class of a storage's errors, and when to retry."""

from __future__ import annotations

import math
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.storage import http_errors
from voxfleet_agent.storage.http_errors import error_code, retry_after_seconds, status_error
from voxfleet_api.failures import FailureClass

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "ExpiredToken", FailureClass.ACCESS_DENIED),
        (400, "TokenRefreshRequired", FailureClass.ACCESS_DENIED),
        (400, "InvalidToken", FailureClass.ACCESS_DENIED),
        (403, "RequestExpired", FailureClass.ACCESS_DENIED),
        (403, "InvalidAccessKeyId", FailureClass.ACCESS_DENIED),
        (403, "SignatureDoesNotMatch", FailureClass.ACCESS_DENIED),
        (400, "AuthorizationHeaderMalformed", FailureClass.ACCESS_DENIED),
        (403, "AccessDenied", FailureClass.ACCESS_DENIED),
        (403, "InvalidObjectState", FailureClass.INVALID_INPUT),
        (403, "QuotaExceeded", FailureClass.TRANSPORT),
        (400, "Throttling", FailureClass.THROTTLED),
        (400, "ThrottlingException", FailureClass.THROTTLED),
        (400, "RequestLimitExceeded", FailureClass.THROTTLED),
        (400, "BadDigest", FailureClass.TRANSPORT),
        (400, "XAmzContentSHA256Mismatch", FailureClass.TRANSPORT),
        (400, "IncompleteBody", FailureClass.TRANSPORT),
        (404, "NoSuchUpload", FailureClass.TRANSPORT),
        (400, "InvalidPart", FailureClass.TRANSPORT),
        (409, "ConditionalRequestConflict", FailureClass.TRANSPORT),
        (400, "InternalError", FailureClass.TRANSPORT),
        (200, "InternalError", FailureClass.TRANSPORT),
        (200, "Unheard", FailureClass.TRANSPORT),
        (400, "Unheard", FailureClass.INVALID_INPUT),
        (401, None, FailureClass.ACCESS_DENIED),
        (403, None, FailureClass.ACCESS_DENIED),
        (405, None, FailureClass.INVALID_INPUT),
        (407, None, FailureClass.ACCESS_DENIED),
        (408, None, FailureClass.TRANSPORT),
        (410, None, FailureClass.INPUT_NOT_FOUND),
        (412, None, FailureClass.INPUT_CHANGED),
        (413, None, FailureClass.INVALID_INPUT),
        (423, None, FailureClass.TRANSPORT),
        (425, None, FailureClass.TRANSPORT),
        (429, None, FailureClass.THROTTLED),
        (500, None, FailureClass.TRANSPORT),
        (501, None, FailureClass.INVALID_INPUT),
        (503, None, FailureClass.THROTTLED),
        (403, "RequestTimeTooSkewed", FailureClass.ACCESS_DENIED),
        (404, "NoSuchKey", FailureClass.INPUT_NOT_FOUND),
        (404, "NoSuchBucket", FailureClass.INPUT_NOT_FOUND),
        (404, "XAdminUserNotFound", FailureClass.ACCESS_DENIED),
        (400, "RequestTimeout", FailureClass.TRANSPORT),
        (409, "OperationAborted", FailureClass.TRANSPORT),
        (200, "SlowDown", FailureClass.THROTTLED),
        (404, None, FailureClass.INPUT_NOT_FOUND),
        (409, None, FailureClass.INVALID_INPUT),
        (416, None, FailureClass.INPUT_CHANGED),
        (507, None, FailureClass.TRANSPORT),
        (599, None, FailureClass.TRANSPORT),
        (302, None, FailureClass.ACCESS_DENIED),
        (204, None, FailureClass.TRANSPORT),
    ],
)
def test_the_error_code_takes_precedence_over_the_status(status: int, code: str | None, expected: FailureClass) -> None:
    body = b"" if code is None else f"<?xml?><Error><Code>{code}</Code><Message>m</Message></Error>".encode()
    assert status_error(status, {}, body, NOW).failure_class is expected


@given(status=st.integers(100, 999), body=st.binary(max_size=200), retry_after=st.text(max_size=40))
def test_every_status_has_a_class_and_a_message_of_ours(status: int, body: bytes, retry_after: str) -> None:
    error = status_error(status, {"retry-after": retry_after, "date": retry_after}, body, NOW)
    assert error.message.endswith(f"(HTTP {status})")
    assert error.retry_after_seconds is None or 0 <= error.retry_after_seconds < math.inf


@pytest.mark.parametrize(
    ("text", "date", "expected"),
    [
        ("120", None, 120.0),
        ("0", None, 0.0),
        ("1.5", None, 1.5),
        (" 7 ", None, 7.0),
        (formatdate(NOW + 30, usegmt=True), None, 30.0),
        (formatdate(NOW - 30, usegmt=True), None, 0.0),
        (formatdate(NOW + 30, usegmt=True), formatdate(NOW + 20, usegmt=True), 10.0),
        (formatdate(NOW + 30, usegmt=True), "yesterday", 30.0),
        ("-5", None, None),
        ("1e9", None, None),
        ("nan", None, None),
        ("٣", None, None),
        ("", None, None),
        (None, None, None),
    ],
)
def test_retry_after(text: str | None, date: str | None, expected: float | None) -> None:
    headers = {name: value for name, value in (("retry-after", text), ("date", date)) if value is not None}
    assert retry_after_seconds(headers, NOW) == expected


def test_retry_after_comes_only_with_errors_that_pass() -> None:
    assert status_error(503, {"retry-after": "7"}, b"", NOW).retry_after_seconds == 7
    assert status_error(500, {"retry-after": "7"}, b"", NOW).retry_after_seconds == 7
    assert status_error(403, {"retry-after": "7"}, b"", NOW).retry_after_seconds is None


def test_each_code_and_status_that_is_classified_has_a_case() -> None:
    (cases,) = [mark.args[1] for mark in test_the_error_code_takes_precedence_over_the_status.pytestmark]  # type: ignore[attr-defined]
    assert http_errors._BY_CODE.keys() <= {code for _, code, _ in cases}
    assert http_errors._BY_STATUS.keys() <= {status for status, code, _ in cases if code is None}


def test_an_error_code_is_letters_and_digits_only() -> None:
    assert error_code(b"<Error><Code>NoSuchKey</Code></Error>") == "NoSuchKey"
    assert error_code(b"<Code>secret/name</Code>") is None
