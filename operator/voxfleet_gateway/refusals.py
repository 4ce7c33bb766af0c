"""Why a call is refused: one error for every format that clients speak."""

from __future__ import annotations


class CallRefused(Exception):
    """`message` says which field, key or endpoint it is about and what to do; it holds no text, audio or key.

    `code` is for programs, in the words of OpenAI's API where it has one, such as `model_not_found`.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.retry_after_seconds = retry_after_seconds

    def error_object(self) -> dict[str, dict[str, str | None]]:
        """As OpenAI's API writes errors."""
        return {
            "error": {"message": self.message, "type": _error_type(self.status), "param": self.param, "code": self.code}
        }


def _error_type(status: int) -> str:
    if status == 401:
        return "authentication_error"
    if status == 403:
        return "permission_error"
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"
