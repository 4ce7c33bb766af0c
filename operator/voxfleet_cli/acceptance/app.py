"""The commands `voxfleet accept`, `accept show` and `accept verify`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from voxfleet_api.acceptance import AcceptanceRecord
from voxfleet_api.conditions import ConditionType, find
from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.mac_acceptance import AcceptanceLine
from voxfleet_api.quantities import duration_milliseconds
from voxfleet_cli.acceptance.checks import AllowedDifference
from voxfleet_cli.acceptance.finished_run import LocalFolder, UnreadableRun, read_run
from voxfleet_cli.acceptance.flow import Order, tell, tried
from voxfleet_cli.acceptance.peak_slice import DEFAULT_CLIPS, MAX_CLIPS
from voxfleet_cli.acceptance.record_file import NotProven, UnusableFile, read_key, verified_record, write_record
from voxfleet_cli.columns import table
from voxfleet_cli.command_line import Exit, Kubeconfig, KubeContext, Namespace, fail, with_kube
from voxfleet_cli.job_preview.documents import DocumentError, read_documents
from voxfleet_cli.names import no_such
from voxfleet_cli.render import Output, document
from voxfleet_operator.kube import Kube

EPILOG = (
    "Exit codes: 0 passed, 1 not passed, not proven or refused, 2 wrong usage or a file that cannot be read, 3 not"
    " found, 4 the cluster gave no answer."
)
DEFAULTS = AllowedDifference()

app = typer.Typer(name="accept", rich_markup_mode=None)


@app.callback(
    invoke_without_command=True,
    epilog="Example: voxfleet accept -f job.yaml --mac mac-03 --baseline /tmp/results/nightly-1a2b3c4d --key"
    f" acceptance-key. {EPILOG}",
)
def accept(
    call: typer.Context,
    files: Annotated[
        list[Path] | None, typer.Option("--filename", "-f", help="YAML with the job that the baseline ran; - is stdin.")
    ] = None,
    mac: Annotated[str | None, typer.Option(help="The MacAgent, with or without mac/ before it.")] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="The output folder of `voxfleet-agent run` with the same job.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="Ed25519 private key that signs the record, of OpenSSH or in PEM.")
    ] = None,
    clips: Annotated[
        int, typer.Option("--peak-slice", min=1, max=MAX_CLIPS, help="How many of the longest clips are run.")
    ] = DEFAULT_CLIPS,
    out: Annotated[Path, typer.Option(help="The record; its signature is written beside it, as FILE.sig.")] = Path(
        "acceptance.json"
    ),
    machine_time: Annotated[
        int, typer.Option("--machine-time-percent", min=1, help="Work allowed, of the baseline's time of the model.")
    ] = DEFAULTS.machine_time_percent,
    word_errors: Annotated[
        int, typer.Option("--word-errors-percent", min=0, max=100, help="Word errors allowed, of the baseline's words.")
    ] = DEFAULTS.word_errors_percent,
    results: Annotated[
        Path | None, typer.Option(help="A copy of the job's output folder, where its address is not on this machine.")
    ] = None,
    timeout: Annotated[str, typer.Option(help="How long the job may take, waiting included, such as 2h.")] = "2h",
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
) -> None:
    """Try a Mac with the peak slice of a job, and record whether it may be given work.

    The longest clips of the baseline run on that Mac alone. Five lines are checked: machine hours, disk quota, realtime
    SLO, failure budget, repro bundle. The record is signed, and the MacAgent names its sha256.
    """
    if call.invoked_subcommand is not None:
        return
    if not files or mac is None or baseline is None or key is None:
        raise typer.Exit(fail(ValueError("write all of -f, --mac, --baseline and --key"), Exit.USAGE))
    try:
        signer, run = read_key(key), read_run(LocalFolder(baseline))
        timeout_seconds = duration_milliseconds(timeout) / 1000
    except (UnusableFile, UnreadableRun, ValueError) as error:
        raise typer.Exit(fail(error, Exit.USAGE)) from error

    template = Order(
        {}, mac.removeprefix("mac/"), run, clips, AllowedDifference(machine_time, word_errors), results, timeout_seconds
    )
    raise typer.Exit(with_kube(kubeconfig, context, partial(_accept, files, namespace, template, signer, out)))


@app.command(epilog=f"Example: voxfleet accept show mac/mac-03. {EPILOG}")
def show(
    mac: Annotated[str, typer.Argument(metavar="MAC", help="The MacAgent, with or without mac/ before it.")],
    output: Annotated[Output, typer.Option("--output", "-o", help="text, json or yaml.")] = Output.TEXT,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
) -> None:
    """Show what a MacAgent says of its acceptance, and whether that counts for the machine which is there now."""
    raise typer.Exit(with_kube(kubeconfig, context, partial(_show, mac.removeprefix("mac/"), output)))


@app.command(epilog=f"Example: voxfleet accept verify acceptance.json --public-key acceptance-key.pub. {EPILOG}")
def verify(
    record: Annotated[Path, typer.Argument(help="The record; its signature lies beside it, as FILE.sig.")],
    public_keys: Annotated[
        list[str], typer.Option("--public-key", help="Whom to trust: a file, or the text of a key. Repeatable.")
    ],
) -> None:
    """Check the signature of a record, and print what it says. Needs no cluster."""
    try:
        found, fingerprint = verified_record(record, public_keys)
    except NotProven as error:
        raise typer.Exit(fail(error, Exit.REFUSED)) from error
    except UnusableFile as error:
        raise typer.Exit(fail(error, Exit.USAGE)) from error
    raise typer.Exit(_told(found, record, fingerprint))


async def _accept(
    files: list[Path], namespace: str | None, order: Order, key: Ed25519PrivateKey, out: Path, kube: Kube
) -> Exit:
    try:
        documents = read_documents(files, namespace, kube.namespace)
    except DocumentError as error:
        return fail(error, Exit.USAGE)
    record = await tried(kube, replace(order, job=documents.job))
    try:
        fingerprint = write_record(out, record, key)
    except UnusableFile as error:
        return fail(error, Exit.USAGE)
    await tell(kube, record)  # only once the record is there that the MacAgent names
    return _told(record, out, fingerprint)


async def _show(name: str, output: Output, kube: Kube) -> Exit:
    mac = await kube.get(MacAgent, "", name)
    if mac is None:
        raise no_such((MacAgent,), name, "")
    found, condition = mac.spec.acceptance, find(mac.status.conditions, ConditionType.ACCEPTANCE_PASSED)
    counts = condition is not None and condition.status == "True"
    state = "nothing is known of an acceptance" if condition is None else f"{condition.reason}: {condition.message}"
    if output is Output.TEXT:
        _print_lines(() if found is None else found.lines)
        print(f"mac/{name}: {state}")
    else:
        plain = {"mac": name, "counts": counts, "state": state, **({} if found is None else found.dump())}
        print(document(plain, output))
    return Exit.OK if counts else Exit.REFUSED


def _told(record: AcceptanceRecord, file: Path, fingerprint: str) -> Exit:
    machine = record.machine
    _print_lines(record.lines)
    verdict = "passed" if record.passed else "not passed"
    print(f"mac/{machine.mac}, hardware id {machine.hardware_id}: {verdict}, {record.accepted_at}")
    print(f"{file}: sha256 {record.acceptance().record_sha256}, signed by {fingerprint}")
    return Exit.OK if record.passed else Exit.REFUSED


def _print_lines(lines: Sequence[AcceptanceLine]) -> None:
    if lines:
        rows = [[line.name.value, "passed" if line.passed else "FAILED", line.value, line.limit] for line in lines]
        print(table(["LINE", "RESULT", "VALUE", "LIMIT"], rows))
