"""voxfleet and kubectl voxfleet."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console

from voxfleet_api.kinds import KINDS, AudioBatchJob, Resource
from voxfleet_api.quantities import duration_milliseconds
from voxfleet_cli.columns import header, row, table
from voxfleet_cli.explain import explain, failed, related_kinds
from voxfleet_cli.job_preview.documents import DocumentError, read_documents
from voxfleet_cli.job_preview.findings import find_out
from voxfleet_cli.job_preview.preview import COULD_RUN, preview
from voxfleet_cli.names import NoSuchObject, Target, UnknownKind, find_object, kind_of, parse_target
from voxfleet_cli.render import Output, document, print_explanation
from voxfleet_operator.command import operator
from voxfleet_operator.kube import Kube, KubeError, Unreadable

P = TypeVar("P")


class Exit(IntEnum):
    OK = 0
    FAILED_JOB = 1
    USAGE = 2
    NOT_FOUND = 3
    UNAVAILABLE = 4


class ListOutput(StrEnum):
    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"


EPILOG = "Exit codes: 0 fine, 1 the job has failed, 2 wrong usage, 3 not found, 4 the cluster gave no answer."

_NAMES = ", ".join(kind.crd.everyday_name for kind in KINDS)

app = typer.Typer(
    name="voxfleet",
    help="Batch speech work on a fleet of Macs.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode=None,
)
app.command(name="operator")(operator)

Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="Default: the one of the kubeconfig's context.")
]
Kubeconfig = Annotated[Path | None, typer.Option(help="Default: KUBECONFIG, then ~/.kube/config.")]
KubeContext = Annotated[str | None, typer.Option(help="Context of the kubeconfig. Default: its current one.")]


@app.command(epilog=f"Examples: voxfleet why nightly -n calls; voxfleet why mac/mac-01 -o json. {EPILOG}")
def why(
    target: Annotated[str, typer.Argument(metavar="KIND/NAME|NAME", help=f"{_NAMES}, or just a name.")],
    namespace: Namespace = None,
    output: Annotated[Output, typer.Option("--output", "-o", help="text, json or yaml.")] = Output.TEXT,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
) -> None:
    """Say where an object stands, why, and what to do next."""
    raise typer.Exit(_with_kube(kubeconfig, context, partial(_why, _parsed(parse_target, target), namespace, output)))


@app.command(name="get", epilog=f"Examples: voxfleet get jobs -A; voxfleet get macs -o wide. {EPILOG}")
def get_(
    kind: Annotated[str, typer.Argument(help=f"{_NAMES}, or in the plural.")],
    namespace: Namespace = None,
    all_namespaces: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Of all namespaces.")] = False,
    output: Annotated[ListOutput, typer.Option("--output", "-o", help="table, wide, json or yaml.")] = ListOutput.TABLE,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
) -> None:
    """List objects, with the columns of kubectl get."""
    raise typer.Exit(
        _with_kube(kubeconfig, context, partial(_get, _parsed(kind_of, kind), namespace, all_namespaces, output))
    )


@app.command(epilog=f"Example: voxfleet results nightly -n calls. {EPILOG}")
def results(
    name: Annotated[str, typer.Argument(help="The job.")],
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
) -> None:
    """Print where a job's results lie: the address of index.json, which names all result files."""
    raise typer.Exit(_with_kube(kubeconfig, context, partial(_results, name, namespace)))


@app.command(
    epilog="Examples: voxfleet plan -f job.yaml; voxfleet plan -f contract.yaml -f job.yaml --audio 300h -o json."
    " Exit codes: 0 it could run, 1 it could not, 2 wrong usage, 4 the cluster gave no answer."
)
def plan(
    files: Annotated[
        list[Path],
        typer.Option("--filename", "-f", help="YAML with the job, and its contract if that is new; - is stdin."),
    ],
    audio: Annotated[
        str | None, typer.Option(help="How much audio the input holds, such as 300h: only Plan reads it.")
    ] = None,
    namespace: Namespace = None,
    output: Annotated[Output, typer.Option("--output", "-o", help="text, json or yaml.")] = Output.TEXT,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
) -> None:
    """Say what would become of a job, without running it: is it valid, which Macs fit, what would it take."""
    try:
        milliseconds = None if audio is None else duration_milliseconds(audio)
    except ValueError as error:
        raise typer.Exit(_fail(ValueError(f"--audio: {error}"), Exit.USAGE)) from error
    raise typer.Exit(_with_kube(kubeconfig, context, partial(_plan, files, milliseconds, namespace, output)))


async def _plan(
    files: list[Path], audio_milliseconds: int | None, namespace: str | None, output: Output, kube: Kube
) -> Exit:
    documents = read_documents(files, namespace, kube.namespace)
    plain = preview(await find_out(kube, documents, audio_milliseconds))
    if output is Output.TEXT:
        print_explanation(Console(), plain)
    else:
        print(document(plain, output))
    return Exit.OK if plain["state"] == COULD_RUN else Exit.FAILED_JOB


async def _why(target: Target, namespace: str | None, output: Output, kube: Kube) -> Exit:
    resource = await find_object(kube, target, namespace or kube.namespace)
    plain = explain(resource, await _related(kube, resource))
    if output is Output.TEXT:
        print_explanation(Console(), plain)
    else:
        print(document(plain, output))
    return Exit.FAILED_JOB if failed(resource) else Exit.OK


async def _related(kube: Kube, resource: Resource) -> list[Resource]:
    """Of the object's namespace, or of all namespaces for one that has none."""
    found: list[Resource] = []
    for kind in related_kinds(resource):
        found.extend((await kube.list(kind, resource.metadata.namespace))[0])
    return found


async def _get(
    kind: type[Resource], namespace: str | None, all_namespaces: bool, output: ListOutput, kube: Kube
) -> Exit:
    found, _ = await kube.list(kind, "" if all_namespaces else namespace or kube.namespace)
    if output in (ListOutput.JSON, ListOutput.YAML):
        items = [{"kind": kind.crd.kind, **resource.dump()} for resource in found]
        print(document({"kind": "List", "items": items}, Output(output.value)))
        return Exit.OK
    wide, namespaced = output is ListOutput.WIDE, all_namespaces and kind.crd.scope == "Namespaced"
    now = datetime.now(UTC)
    rows = [row(resource, now, wide=wide, namespaced=namespaced) for resource in found]
    if rows:
        print(table(header(kind, wide=wide, namespaced=namespaced), rows))
    else:
        print(f"no {kind.crd.plural} found", file=sys.stderr)
    return Exit.OK


async def _results(name: str, namespace: str | None, kube: Kube) -> Exit:
    job = await kube.get(AudioBatchJob, namespace or kube.namespace, name)
    if job is None:
        raise NoSuchObject(f"there is no AudioBatchJob {name} (namespace {namespace or kube.namespace})")
    if job.status.results is None:
        raise NoSuchObject(f"job {name} has no results yet; voxfleet why {name} says where it stands")
    print(job.status.results.uri)
    return Exit.FAILED_JOB if failed(job) else Exit.OK


def _parsed(parse: Callable[[str], P], text: str) -> P:
    try:
        return parse(text)
    except UnknownKind as error:
        raise typer.Exit(_fail(error, Exit.USAGE)) from error


def _with_kube(kubeconfig: Path | None, context: str | None, work: Callable[[Kube], Awaitable[Exit]]) -> int:
    async def run() -> Exit:
        async with await Kube.connect(kubeconfig, context=context, user_agent="voxfleet-cli") as kube:
            return await work(kube)

    try:
        return asyncio.run(run())
    except DocumentError as error:
        return _fail(error, Exit.USAGE)
    except NoSuchObject as error:
        return _fail(error, Exit.NOT_FOUND)
    except (KubeError, Unreadable) as error:
        return _fail(error, Exit.UNAVAILABLE)


def _fail(error: Exception, code: Exit) -> Exit:
    print(f"voxfleet: {error}", file=sys.stderr)
    return code


def main() -> None:
    app()


if __name__ == "__main__":
    main()
