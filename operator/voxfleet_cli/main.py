"""voxfleet and kubectl voxfleet."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import Annotated

import typer
from rich.console import Console

from voxfleet_api.kinds import KINDS, Resource
from voxfleet_cli.acceptance.app import app as accept_app
from voxfleet_cli.bill.app import app as bill_app
from voxfleet_cli.columns import header, row, table
from voxfleet_cli.command_line import (
    EPILOG,
    Exit,
    Kubeconfig,
    KubeContext,
    Namespace,
    job_named,
    parsed,
    with_kube,
)
from voxfleet_cli.explain import explain, failed, looks_around, related_kinds
from voxfleet_cli.job_commands import add_job_verbs, quarantine_app
from voxfleet_cli.mac_commands import add_mac_verbs
from voxfleet_cli.names import NoSuchObject, Target, find_object, kind_of, parse_target
from voxfleet_cli.plan_command import add_plan
from voxfleet_cli.render import Output, document, print_explanation
from voxfleet_cli.report.command import add_report
from voxfleet_cli.schedule_commands import add_schedule_verbs
from voxfleet_cli.speech.probe_command import endpoint_app
from voxfleet_cli.speech.speak_command import add_speak
from voxfleet_cli.speech.transcribe_command import add_transcribe
from voxfleet_cli.surroundings import read_surroundings
from voxfleet_operator.command import operator
from voxfleet_operator.kube import Kube


class ListOutput(StrEnum):
    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"


_NAMES = ", ".join(kind.crd.everyday_name for kind in KINDS)

app = typer.Typer(
    name="voxfleet",
    help="Speech work on a fleet of Macs: in batches, and live.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode=None,
)
app.command(name="operator")(operator)


@app.command(epilog=f"Examples: voxfleet why nightly -n calls; voxfleet why mac/mac-01 -o json. {EPILOG}")
def why(
    target: Annotated[str, typer.Argument(metavar="KIND/NAME|NAME", help=f"{_NAMES}, or just a name.")],
    namespace: Namespace = None,
    output: Annotated[Output, typer.Option("--output", "-o", help="text, json or yaml.")] = Output.TEXT,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
) -> None:
    """Say where an object stands, why, and what to do next."""
    raise typer.Exit(with_kube(kubeconfig, context, partial(_why, parsed(parse_target, target), namespace, output)))


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
        with_kube(kubeconfig, context, partial(_get, parsed(kind_of, kind), namespace, all_namespaces, output))
    )


@app.command(epilog=f"Example: voxfleet results nightly -n calls. {EPILOG}")
def results(
    name: Annotated[str, typer.Argument(help="The job.")],
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
) -> None:
    """Print where a job's results lie: the address of index.json, which names all result files."""
    raise typer.Exit(with_kube(kubeconfig, context, partial(_results, name, namespace)))


add_plan(app)
add_report(app)
add_job_verbs(app)
add_mac_verbs(app)
add_schedule_verbs(app)
add_transcribe(app)
add_speak(app)
app.add_typer(endpoint_app, name="endpoint")
app.add_typer(quarantine_app, name="quarantine")
app.add_typer(bill_app, name="bill")
app.add_typer(accept_app, name="accept")


async def _why(target: Target, namespace: str | None, output: Output, kube: Kube) -> Exit:
    resource = await find_object(kube, target, namespace or kube.namespace)
    around = await read_surroundings(kube, resource, datetime.now(UTC)) if looks_around(resource) else None
    plain = explain(resource, await _related(kube, resource), around)
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
    job = await job_named(kube, namespace, name)
    if job.status.results is None:
        raise NoSuchObject(f"job {name} has no results yet; voxfleet why {name} says where it stands")
    print(job.status.results.uri)
    return Exit.FAILED_JOB if failed(job) else Exit.OK


def main() -> None:
    app()


if __name__ == "__main__":
    main()
