"""The command `voxfleet plan`."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from voxfleet_api.quantities import duration_milliseconds
from voxfleet_billing.price_book import PriceBook, PriceBookError
from voxfleet_cli.bill import price_source
from voxfleet_cli.bill.price_source import NotRead, read_price_book
from voxfleet_cli.command_line import Exit, Kubeconfig, KubeContext, Namespace, fail, with_kube
from voxfleet_cli.job_preview.documents import DocumentError, read_documents
from voxfleet_cli.job_preview.findings import find_out
from voxfleet_cli.job_preview.preview import COULD_RUN, preview
from voxfleet_cli.render import Output, document, print_explanation
from voxfleet_operator.kube import Kube


def add_plan(app: typer.Typer) -> None:
    app.command(
        epilog="Examples: voxfleet plan -f job.yaml; voxfleet plan -f contract.yaml -f job.yaml --audio 300h -o json."
        " Exit codes: 0 it could run, 1 it could not, 2 wrong usage, 4 the cluster gave no answer."
    )(plan)


def plan(
    files: Annotated[
        list[Path],
        typer.Option("--filename", "-f", help="YAML with the job, and its contract if that is new; - is stdin."),
    ],
    audio: Annotated[
        str | None, typer.Option(help="How much audio the input holds, such as 300h: only Plan reads it.")
    ] = None,
    price_book: Annotated[str | None, typer.Option(metavar="FILE|configmap/NAME", help=price_source.HELP)] = None,
    namespace: Namespace = None,
    output: Annotated[Output, typer.Option("--output", "-o", help="text, json or yaml.")] = Output.TEXT,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
) -> None:
    """Say what would become of a job, without running it: is it valid, which Macs fit, what would it take."""
    try:
        milliseconds = None if audio is None else duration_milliseconds(audio)
    except ValueError as error:
        raise typer.Exit(fail(ValueError(f"--audio: {error}"), Exit.USAGE)) from error
    try:
        book = None if price_book is None else read_price_book(price_book, namespace, kubeconfig, context)
    except PriceBookError as error:
        raise typer.Exit(fail(error, Exit.USAGE)) from error
    except NotRead as error:
        raise typer.Exit(error.code) from error
    raise typer.Exit(with_kube(kubeconfig, context, partial(_plan, files, milliseconds, book, namespace, output)))


async def _plan(
    files: list[Path],
    audio_milliseconds: int | None,
    book: PriceBook | None,
    namespace: str | None,
    output: Output,
    kube: Kube,
) -> Exit:
    try:
        documents = read_documents(files, namespace, kube.namespace)
    except DocumentError as error:
        return fail(error, Exit.USAGE)
    plain = preview(await find_out(kube, documents, audio_milliseconds, book, datetime.now(UTC)))
    if output is Output.TEXT:
        print_explanation(Console(), plain)
    else:
        print(document(plain, output))
    return Exit.OK if plain["state"] == COULD_RUN else Exit.REFUSED
