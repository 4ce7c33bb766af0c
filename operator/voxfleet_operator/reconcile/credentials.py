"""The S3 credentials in the Secret of a job or an endpoint."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import SecretStr

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds import AudioBatchJob, VoiceEndpoint
from voxfleet_api.protocol import S3Credentials
from voxfleet_operator.kube_errors import SecretForbidden, SecretNotFound
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.job_findings import Blocker

CREDENTIALS_CHECK_SECONDS = 60.0

CredentialsOwner = AudioBatchJob | VoiceEndpoint
"""What may name a Secret in spec.credentialsSecretRef."""


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


async def job_credentials(context: Context, job: CredentialsOwner) -> S3Credentials | None:
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


class CredentialReadings:
    """Job Secrets, each read about once a minute for all attempts that run with it, so that rotated ones are found.

    A watch would need the right to list Secrets; this needs only the right to get those that jobs name.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._read: dict[tuple[str, str], tuple[float, S3Credentials | None]] = {}

    async def credentials(self, job: CredentialsOwner) -> S3Credentials | None:
        """As read within the last minute. None if the job names no Secret. Raises Blocked."""
        if job.spec.credentials_secret_ref is None:
            return None
        self._forget_old()
        known = self._read.get((job.metadata.namespace, job.spec.credentials_secret_ref.name))
        return await self.read(job) if known is None else known[1]

    async def read(self, job: CredentialsOwner) -> S3Credentials | None:
        """Reads them now, for all that ask within the next minute. None if the job names no Secret. Raises Blocked."""
        if job.spec.credentials_secret_ref is None:
            return None
        self._forget_old()
        place, asked_seconds = (job.metadata.namespace, job.spec.credentials_secret_ref.name), self._context.clock()
        credentials = await job_credentials(self._context, job)
        known = self._read.get(place)
        if known is not None and known[0] > asked_seconds:
            return known[1]  # asked for later, and answered earlier
        self._read[place] = asked_seconds, credentials
        return credentials

    def _forget_old(self) -> None:
        now = self._context.clock()
        self._read = {place: known for place, known in self._read.items() if now - known[0] < CREDENTIALS_CHECK_SECONDS}
