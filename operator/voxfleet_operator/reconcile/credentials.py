"""The S3 credentials in a job's Secret."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import SecretStr

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.protocol import S3Credentials
from voxfleet_operator.kube import SecretForbidden, SecretNotFound
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.job_findings import Blocker


class Blocked(Exception):
    """The job's attempts cannot be sent until a person fixes something."""

    def __init__(self, blocker: Blocker) -> None:
        super().__init__(blocker.message)
        self.blocker = blocker


class CredentialsIncomplete(Exception):
    """The job's Secret lacks a key; the message names the Secret, the key and the namespace."""


def s3_credentials(data: Mapping[str, bytes], namespace: str, name: str) -> S3Credentials:
    """Parses a Secret's data. Raises CredentialsIncomplete."""

    def text(key: str) -> str | None:
        try:
            return data[key].decode().strip() if key in data else None
        except UnicodeDecodeError:
            raise CredentialsIncomplete(f"Secret {namespace}/{name}, key {key} is no text; store it again") from None

    def required(key: str) -> SecretStr:
        value = text(key)
        if not value:
            raise CredentialsIncomplete(f"Secret {namespace}/{name} has no key {key}; add it")
        return SecretStr(value)

    token = text("AWS_SESSION_TOKEN")
    return S3Credentials(
        access_key_id=required("AWS_ACCESS_KEY_ID"),
        secret_access_key=required("AWS_SECRET_ACCESS_KEY"),
        session_token=SecretStr(token) if token else None,
        region=text("AWS_REGION"),
        endpoint_url=text("AWS_ENDPOINT_URL"),
    )


async def job_credentials(context: Context, job: AudioBatchJob) -> S3Credentials | None:
    """None if the job names no Secret. Raises Blocked."""
    if job.spec.credentials_secret_ref is None:
        return None
    namespace, name = job.metadata.namespace, job.spec.credentials_secret_ref.name
    try:
        return s3_credentials(await context.api.secret(namespace, name), namespace, name)
    except SecretNotFound as error:
        message = (
            f"Secret {namespace}/{name}, which spec.credentialsSecretRef names, does not exist; create it"
            " with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
        raise Blocked(Blocker(Reason.SECRET_NOT_FOUND, message)) from error
    except SecretForbidden as error:
        raise Blocked(Blocker(Reason.SECRET_FORBIDDEN, str(error))) from error
    except CredentialsIncomplete as error:
        raise Blocked(Blocker(Reason.SECRET_INCOMPLETE, str(error))) from error
