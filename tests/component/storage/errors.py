"""Helpers to check the errors that Storage raises."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable

import pytest

from voxfleet_agent.config import HttpsConfig
from voxfleet_api.failures import FailureClass, VoxFleetError

LOOPBACK = HttpsConfig(private_networks=("127.0.0.0/8", "::1/128"))


_EXAMPLES = (
    "file:///folder/name",
    "s3://bucket/name",
    "https://host/name",
    "https://host",
    "https://",
    "http://",
    "s3://",
    "Input/output",
)
"""Addresses that messages advise to write."""


async def error_of(call: Awaitable[object], *secrets: str) -> VoxFleetError:
    """The error that the call raises; asserts that no traceback of it contains an address or one of the secrets."""
    with pytest.raises(VoxFleetError) as caught:
        await call
    message = caught.value.message
    for example in _EXAMPLES:
        message = message.replace(example, "")
    assert "/" not in message, f"an address in {message!r}"
    shown = "".join(line for link in _chain(caught.value) for line in traceback.format_exception_only(link))
    for secret in secrets:
        assert secret not in message
        assert secret not in shown
    return caught.value


def _chain(error: BaseException | None) -> list[BaseException]:
    """The errors that a traceback prints: causes, and contexts that are not suppressed."""
    chain = []
    while error is not None:
        chain.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return chain


async def class_of(call: Awaitable[object], *secrets: str) -> FailureClass:
    return (await error_of(call, *secrets)).failure_class
