"""Reads what MacAgents name of the Secrets in the operator's namespace."""

from __future__ import annotations

from voxfleet_api.conditions import Reason
from voxfleet_operator.fleet.dialer import SecretReader
from voxfleet_operator.fleet.mac_view import SecretMissing
from voxfleet_operator.kube import Kube
from voxfleet_operator.kube_errors import KubeError, SecretForbidden, SecretNotFound


def secret_reader(kube: Kube, namespace: str) -> SecretReader:
    async def read(name: str, key: str) -> bytes:
        try:
            data = await kube.secret(namespace, name)
        except SecretNotFound as error:
            raise SecretMissing(f"{error} with the key {key}") from error
        except SecretForbidden as error:
            raise SecretMissing(str(error), Reason.SECRET_FORBIDDEN) from error
        except KubeError as error:
            message = f"Secret {namespace}/{name} cannot be read now: {error}"
            raise SecretMissing(message, Reason.SECRET_UNREADABLE) from error
        if key not in data:
            raise SecretMissing(f"Secret {namespace}/{name} has no key {key}; add it", Reason.SECRET_INCOMPLETE)
        return data[key]

    return read
