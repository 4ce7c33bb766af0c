"""Why a Secret cannot be used, as the condition's reason says it: of a Mac's token and of a job's credentials."""

from __future__ import annotations

from typing import cast

import pytest
from tests.unit.operator.decisions.job_objects import a_job

from voxfleet_api.conditions import Reason
from voxfleet_operator.fleet.fleet_secrets import secret_reader
from voxfleet_operator.fleet.mac_view import SecretMissing
from voxfleet_operator.kube import Kube
from voxfleet_operator.kube_errors import ApiUnavailable, KubeError, SecretForbidden, SecretNotFound
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.credentials import Blocked, job_credentials

Data = dict[str, bytes]
KEYS: Data = {"AWS_ACCESS_KEY_ID": b"id", "AWS_SECRET_ACCESS_KEY": b"secret"}


class Api:
    def __init__(self, answer: Data | KubeError) -> None:
        self._answer = answer
        self.api = self

    async def secret(self, namespace: str, name: str) -> Data:
        if isinstance(self._answer, KubeError):
            raise self._answer
        return self._answer


@pytest.mark.parametrize(
    ("answer", "reason", "advice"),
    [
        (SecretNotFound("system", "mac-a"), Reason.SECRET_NOT_FOUND, "create it with the key token"),
        (SecretForbidden("system", "mac-a", "jo"), Reason.SECRET_FORBIDDEN, "--resource-name=mac-a"),
        ({"other": b"x"}, Reason.SECRET_INCOMPLETE, "has no key token; add it"),
        (ApiUnavailable("GET /: no answer"), Reason.SECRET_UNREADABLE, "cannot be read now: GET /: no answer"),
    ],
)
async def test_a_mac_s_secret(answer: Data | KubeError, reason: Reason, advice: str) -> None:
    with pytest.raises(SecretMissing) as caught:
        await secret_reader(cast(Kube, Api(answer)), "system")("mac-a", "token")
    assert caught.value.reason is reason and advice in caught.value.message


@pytest.mark.parametrize(
    ("answer", "reason", "advice"),
    [
        (SecretNotFound("team", "s3"), Reason.SECRET_NOT_FOUND, "create it with the keys AWS_ACCESS_KEY_ID and"),
        (SecretForbidden("team", "s3", "jo"), Reason.SECRET_FORBIDDEN, "--user=jo"),
        ({"AWS_ACCESS_KEY_ID": b"id"}, Reason.SECRET_INCOMPLETE, "has no key AWS_SECRET_ACCESS_KEY; add it"),
        ({**KEYS, "AWS_REGION": b"\xff"}, Reason.SECRET_INCOMPLETE, "key AWS_REGION is no text; store it again"),
        ({**KEYS, "AWS_SECRET_ACCESS_KEY": b"\n"}, Reason.SECRET_INCOMPLETE, "has no key AWS_SECRET_ACCESS_KEY"),
    ],
)
async def test_a_job_s_secret(answer: Data | KubeError, reason: Reason, advice: str) -> None:
    job = a_job(credentialsSecretRef={"name": "s3"})
    with pytest.raises(Blocked) as caught:
        await job_credentials(cast(Context, Api(answer)), job)
    assert caught.value.blocker.reason is reason and advice in caught.value.blocker.message
