"""What can become of a call of the API server, as errors that callers tell apart."""

from __future__ import annotations

import json
import os
import re

import aiohttp

SERVICE_ACCOUNT_PREFIX = "system:serviceaccount:"


class KubeError(Exception):
    """The API server refused a call or did not answer."""


class Conflict(KubeError):
    """The object has changed since it was read, or has another UID. The caller reads and decides again."""


class NotFound(KubeError):
    pass


class AlreadyExists(KubeError):
    pass


class Invalid(KubeError):
    """The API server refused the object; the message names the field."""


class Forbidden(KubeError):
    pass


class ApiUnavailable(KubeError):
    """There was no answer, or one that asks to retry. A write may or may not have happened."""


class Gone(KubeError):
    """A continue token has expired."""


class SecretNotFound(KubeError):
    def __init__(self, namespace: str, name: str) -> None:
        super().__init__(f"Secret {namespace}/{name} does not exist; create it")
        self.namespace = namespace
        self.name = name


class SecretForbidden(KubeError):
    """`user`: who was refused, as the API server names the operator."""

    def __init__(self, namespace: str, name: str, user: str) -> None:
        role = f"voxfleet-reads-{name}"
        account = user.removeprefix(SERVICE_ACCOUNT_PREFIX)
        subject = f"--user={user}" if account == user else f"--serviceaccount={account}"
        super().__init__(
            f"the operator may not read Secret {namespace}/{name}. Name it in the chart's values (credentialNamespaces,"
            f" or fleetSecrets for a Mac's), or run: kubectl create role {role} -n {namespace} --verb=get"
            f" --resource=secrets --resource-name={name} && kubectl create rolebinding {role} -n {namespace}"
            f" --role={role} {subject}"
        )
        self.namespace = namespace
        self.name = name


class NoCluster(KubeError):
    """There is no kubeconfig, and this process does not run in a cluster."""


def refused_user(error: Forbidden) -> str:
    """Who was refused, as the API server's message says."""
    found = re.search(r'User "([^"]+)" cannot', str(error))
    return found[1] if found else "THE-OPERATOR"


def no_answer(call: str, server: str, error: Exception, timeout_seconds: float) -> str:
    if isinstance(error, aiohttp.ClientConnectorError) and not isinstance(error, aiohttp.ClientSSLError):
        number = error.os_error.errno
        reason = os.strerror(number) if number is not None and number > 0 else str(error.os_error)
        return (
            f"the API server {server} does not answer ({reason}); is it running, and is it the one that KUBECONFIG"
            " should name?"
        )
    if isinstance(error, TimeoutError):
        return f"{call}: the API server {server} gave no answer within {timeout_seconds:g} s"
    return f"{call}: {str(error) or type(error).__name__}"


def error_of(call: str, status: int, content: bytes) -> KubeError:
    try:
        answer = json.loads(content)
        message, reason = str(answer["message"]), answer.get("reason")
    except (ValueError, KeyError, TypeError):
        message, reason = content[:500].decode(errors="replace"), None
    text = f"{call}: HTTP {status}: {message}"
    match status:
        case 404:
            return NotFound(text)
        case 409:
            return AlreadyExists(text) if reason == "AlreadyExists" else Conflict(text)
        case 400 | 413 | 415 | 422:
            return Invalid(message)
        case 401 | 403:
            return Forbidden(message)
        case 410:
            return Gone(text)
        case _:
            return ApiUnavailable(text)
