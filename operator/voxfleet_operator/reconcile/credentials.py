"""Reads the Secret of a job."""

from __future__ import annotations

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.protocol import S3Credentials
from voxfleet_operator.kube import SecretForbidden, SecretNotFound
from voxfleet_operator.reconcile.attempt_spec import CredentialsIncomplete, s3_credentials
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.job_plan import Problem


class Blocked(Exception):
    """A person has to mend something first."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


async def job_credentials(context: Context, job: AudioBatchJob) -> S3Credentials | None:
    """None: the job names no Secret. Raises Blocked."""
    if job.spec.credentials_ref is None:
        return None
    namespace, name = job.metadata.namespace, job.spec.credentials_ref.name
    try:
        return s3_credentials(await context.api.secret(namespace, name), namespace, name)
    except SecretNotFound as error:
        message = (
            f"Secret {namespace}/{name}, which spec.credentialsRef names, does not exist; create it"
            " with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
        raise Blocked(Problem(Reason.SECRET_NOT_FOUND, message)) from error
    except SecretForbidden as error:
        raise Blocked(Problem(Reason.SECRET_FORBIDDEN, str(error))) from error
    except CredentialsIncomplete as error:
        raise Blocked(Problem(Reason.SECRET_NOT_FOUND, str(error))) from error
