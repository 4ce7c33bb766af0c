"""The commands that change a job or make one of it: suspend, resume, cancel, retry, quarantine."""

from __future__ import annotations

from enum import StrEnum
from functools import partial, wraps
from inspect import signature
from typing import Annotated, Any

import typer

from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.kinds.job_source import SourceSelect
from voxfleet_api.results import job_folder
from voxfleet_cli.columns import table
from voxfleet_cli.command_line import (
    CLI_MANAGER,
    EPILOG,
    Exit,
    Kubeconfig,
    KubeContext,
    Namespace,
    Refused,
    job_named,
    parsed,
    with_kube,
)
from voxfleet_cli.job_verbs import Verb, change_of
from voxfleet_cli.render import Output, document
from voxfleet_cli.reruns import counted, parsed_clips, rerun_of
from voxfleet_operator.kube import Kube
from voxfleet_operator.kube_errors import AlreadyExists


class Chosen(StrEnum):
    FAILED = "failed"
    NOT_RUN = "not-run"
    QUARANTINED = "quarantined"


SELECTS = {
    Chosen.FAILED: SourceSelect.FAILED,
    Chosen.NOT_RUN: SourceSelect.NOT_RUN,
    Chosen.QUARANTINED: SourceSelect.QUARANTINED,
}


class Manifest(StrEnum):
    YAML = "yaml"
    JSON = "json"


Job = Annotated[str, typer.Argument(metavar="JOB", help="Name of the job.")]
Clips = Annotated[
    str | None, typer.Option("--clips", help="Only these, by their index in the job, such as 3,7-9.", metavar="RANGES")
]
NewName = Annotated[
    str | None, typer.Option("--name", help="Name of the new job. Default: JOB-retry-1, or the next number.")
]
Contract = Annotated[
    str | None, typer.Option("--contract", help="VoiceContract of the new job. Default: the same.", metavar="NAME")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Ask the API server whether it would take it; create nothing.")]
Printed = Annotated[
    Manifest | None, typer.Option("--output", "-o", help="Print the new job as yaml or json; create nothing.")
]

quarantine_app = typer.Typer(help="List the clips in quarantine, and run them again.", no_args_is_help=True)


def add_job_verbs(app: typer.Typer) -> None:
    app.command(epilog=f"Example: voxfleet suspend nightly -n calls. {EPILOG}")(suspend)
    app.command(epilog=f"Example: voxfleet resume nightly -n calls. {EPILOG}")(resume)
    app.command(epilog=f"Example: voxfleet cancel nightly -n calls. {EPILOG}")(cancel)
    app.command(
        epilog="Examples: voxfleet retry nightly -n calls; voxfleet retry nightly --select not-run --name nightly-rest;"
        f" voxfleet retry nightly -o yaml > nightly-retry-1.yaml. {EPILOG}"
    )(retry)


def suspend(job: Job, namespace: Namespace = None, kubeconfig: Kubeconfig = None, context: KubeContext = None) -> None:
    """Take back what runs of a job and start nothing until it is resumed. What was delivered is kept.

    Sets spec.suspend; where GitOps applies the job, change it there, or it is changed back.
    """
    raise typer.Exit(with_kube(kubeconfig, context, partial(_change, job, namespace, Verb.SUSPEND)))


def resume(job: Job, namespace: Namespace = None, kubeconfig: Kubeconfig = None, context: KubeContext = None) -> None:
    """Let a suspended job go on where it was. Its activeDeadlineSeconds count anew."""
    raise typer.Exit(with_kube(kubeconfig, context, partial(_change, job, namespace, Verb.RESUME)))


def cancel(job: Job, namespace: Namespace = None, kubeconfig: Kubeconfig = None, context: KubeContext = None) -> None:
    """Stop a job for good: what was done is merged, and it is Failed with the reason Cancelled.

    There is no way back; voxfleet retry --select not-run runs the rest as a new job.
    """
    raise typer.Exit(with_kube(kubeconfig, context, partial(_change, job, namespace, Verb.CANCEL)))


def retry(
    job: Job,
    select: Annotated[
        Chosen, typer.Option("--select", help="Which clips: those that failed, did not run, or are in quarantine.")
    ] = Chosen.FAILED,
    clips: Clips = None,
    name: NewName = None,
    contract: Contract = None,
    dry_run: DryRun = False,
    output: Printed = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
) -> None:
    """Run the clips of an ended job again that failed, did not run, or are in quarantine.

    It makes a new job, with results of its own, which has the spec of the old one and takes the very versions of the
    clips that the old one planned; the old one stays as it is. Refused while the old one runs, when it has no such
    clips, and when another job already runs them again.
    """
    asked = None if clips is None else parsed(parsed_clips, clips)
    work = partial(_rerun, job, namespace, SELECTS[select], asked, name, contract, dry_run, output)
    raise typer.Exit(with_kube(kubeconfig, context, work))


@quarantine_app.command(name="ls", epilog=f"Example: voxfleet quarantine ls nightly -n calls -o json. {EPILOG}")
def list_quarantine(
    job: Job,
    output: Annotated[Output, typer.Option("--output", "-o", help="text, json or yaml.")] = Output.TEXT,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
) -> None:
    """List the first clips that a job refused for their own data, with the reasons; errors.jsonl has all of them."""
    raise typer.Exit(with_kube(kubeconfig, context, partial(_list_quarantine, job, namespace, output)))


@wraps(retry)
def _release(**options: Any) -> None:
    retry(select=Chosen.QUARANTINED, **options)


_asked = signature(retry, eval_str=True)
_release.__signature__ = _asked.replace(  # type: ignore[attr-defined] # what typer reads: all options but --select
    parameters=[option for name, option in _asked.parameters.items() if name != "select"]
)
quarantine_app.command(
    name="release",
    help="Run the quarantined clips of an ended job again, all or some: a new job, perhaps with another contract.\n\n"
    "The new job is the release: nothing else marks a clip as released, and the old job keeps its rows.",
    epilog="Examples: voxfleet quarantine release nightly -n calls --contract call-center-lenient; voxfleet quarantine"
    f" release nightly --clips 3,7-9 -o yaml. {EPILOG}",
)(_release)


async def _change(name: str, namespace: str | None, verb: Verb, kube: Kube) -> Exit:
    job = await job_named(kube, namespace, name)
    change = change_of(job, verb)
    if change.spec:
        await kube.change_spec(AudioBatchJob, job.metadata.namespace, name, change.spec, field_manager=CLI_MANAGER)
    print(change.done)
    return Exit.OK


async def _rerun(
    name: str,
    namespace: str | None,
    select: SourceSelect,
    clips: str | None,
    new_name: str | None,
    contract: str | None,
    dry_run: bool,
    output: Manifest | None,
    kube: Kube,
) -> Exit:
    job = await job_named(kube, namespace, name)
    others, _ = await kube.list(AudioBatchJob, job.metadata.namespace)
    rerun = rerun_of(job, others, select, clips, new_name)
    if contract is not None:
        rerun["spec"]["contractRef"] = {"name": contract}
    if output is not None:
        print(document(rerun, Output(output.value)))
        return Exit.OK
    made, place = rerun["metadata"]["name"], job.metadata.namespace
    try:
        await kube.create(rerun, field_manager=CLI_MANAGER, dry_run=dry_run)
    except AlreadyExists as error:
        raise Refused(f"there is a job {made} already; write another --name") from error
    what = counted(job, select, clips)
    if dry_run:
        print(f"job {made} would run {what} of {name} again; nothing was created")
    else:
        print(f"job {made} runs {what} of {name} again; voxfleet why {made} -n {place} says where it stands")
    return Exit.OK


async def _list_quarantine(name: str, namespace: str | None, output: Output, kube: Kube) -> Exit:
    job = await job_named(kube, namespace, name)
    clips = job.status.quarantine
    if output is not Output.TEXT:
        print(document([clip.dump() for clip in clips], output))
        return Exit.OK
    total = job.status.clips.quarantined
    if not total:
        print(f"job {name} has no clips in quarantine")
        return Exit.OK
    rows = [[str(clip.index), clip.id, str(clip.failure_class), clip.reason] for clip in clips]
    print(table(["INDEX", "ID", "CLASS", "REASON"], rows))
    if total > len(clips):
        folder = job_folder(job.spec.output.uri, job.metadata.name, job.metadata.uid)
        print(f"{len(clips)} of {total} are shown; all are in {folder}/errors.jsonl")
    return Exit.OK
