"""What all commands share: options, exit codes, and how a command reaches the cluster and gives up."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from enum import IntEnum
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from voxfleet_api.kinds import AudioBatchJob
from voxfleet_cli.names import NoSuchObject, UnknownKind, no_such
from voxfleet_operator.kube import Kube
from voxfleet_operator.kube_errors import AlreadyExists, Invalid, KubeError
from voxfleet_operator.kube_objects import Unreadable

CLI_MANAGER = "voxfleet-cli"
P = TypeVar("P")


class Exit(IntEnum):
    OK = 0
    FAILED_JOB = 1
    REFUSED = 1
    USAGE = 2
    NOT_FOUND = 3
    UNAVAILABLE = 4
    INTERRUPTED = 130


class Refused(Exception):
    """What was asked for makes no sense as things stand; the message says why, and what to do."""


EPILOG = (
    "Exit codes: 0 fine, 1 the job has failed or the request was refused, 2 wrong usage, 3 not found, 4 the cluster"
    " gave no answer."
)

Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="Default: the one of the kubeconfig's context.")
]
Kubeconfig = Annotated[Path | None, typer.Option(help="Default: KUBECONFIG, then ~/.kube/config.")]
KubeContext = Annotated[str | None, typer.Option(help="Context of the kubeconfig. Default: its current one.")]


def parsed(parse: Callable[[str], P], text: str) -> P:
    """Ends the command with the exit code for wrong usage when `parse` does not understand the text."""
    try:
        return parse(text)
    except (UnknownKind, ValueError) as error:
        raise typer.Exit(fail(error, Exit.USAGE)) from error


def with_kube(kubeconfig: Path | None, context: str | None, work: Callable[[Kube], Awaitable[Exit]]) -> int:
    async def run() -> Exit:
        async with await Kube.connect(kubeconfig, context=context, user_agent=CLI_MANAGER) as kube:
            return await work(kube)

    try:
        return asyncio.run(run())
    except NoSuchObject as error:
        return fail(error, Exit.NOT_FOUND)
    except (Refused, Invalid, AlreadyExists) as error:
        return fail(error, Exit.REFUSED)
    except (KubeError, Unreadable) as error:
        return fail(error, Exit.UNAVAILABLE)


async def job_named(kube: Kube, namespace: str | None, name: str) -> AudioBatchJob:
    """Raises NoSuchObject."""
    place = namespace or kube.namespace
    job = await kube.get(AudioBatchJob, place, name)
    if job is None:
        raise no_such((AudioBatchJob,), name, place)
    return job


def fail(error: Exception, code: Exit) -> Exit:
    print(f"voxfleet: {error}", file=sys.stderr)
    return code
