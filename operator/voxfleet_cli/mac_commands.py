"""The commands that change a Mac: drain, undrain."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from voxfleet_api.kinds.mac_agent import Drain, DrainMode
from voxfleet_api.quantities import duration_milliseconds
from voxfleet_cli.command_line import EPILOG, Exit, Kubeconfig, KubeContext, fail, with_kube
from voxfleet_cli.drain import BadDeadline, set_drain, what_follows
from voxfleet_operator.kube import Kube

Mac = Annotated[str, typer.Argument(metavar="MAC", help="The MacAgent, with or without mac/ before it.")]


def add_mac_verbs(app: typer.Typer) -> None:
    app.command(epilog=f"Examples: voxfleet drain mac-03; voxfleet drain mac-03 --mode ReturnAtNextClip. {EPILOG}")(
        drain
    )
    app.command(epilog=f"Example: voxfleet undrain mac-03. {EPILOG}")(undrain)


def drain(
    mac: Mac,
    mode: Annotated[
        DrainMode, typer.Option(help="Finish: attempts run to their end. ReturnAtNextClip: other Macs go on with them.")
    ] = DrainMode.FINISH,
    deadline: Annotated[
        str, typer.Option(help="After this time Finish becomes ReturnAtNextClip, as 30m or 2h; at most 168h.")
    ] = "1h",
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
) -> None:
    """Empty a Mac: it takes nothing new, and what runs there ends in time."""
    wanted = _drain_of(mode, deadline)
    raise typer.Exit(with_kube(kubeconfig, context, partial(_set_drain, mac.removeprefix("mac/"), wanted)))


def undrain(mac: Mac, kubeconfig: Kubeconfig = None, context: KubeContext = None) -> None:
    """End the drain of a Mac, which then takes attempts again."""
    raise typer.Exit(with_kube(kubeconfig, context, partial(_set_drain, mac.removeprefix("mac/"), None)))


async def _set_drain(name: str, wanted: Drain | None, kube: Kube) -> Exit:
    await set_drain(kube, name, wanted)
    print(f"mac/{name} drains no longer" if wanted is None else what_follows(name, wanted))
    return Exit.OK


def _drain_of(mode: DrainMode, deadline: str) -> Drain:
    try:
        return Drain(mode=mode, deadline_seconds=duration_milliseconds(deadline) // 1000)
    except ValueError as error:
        raise typer.Exit(fail(BadDeadline(deadline), Exit.USAGE)) from error
