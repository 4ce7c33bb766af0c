"""The command voxfleet-operator: the operator, and the gateway beside it."""

from __future__ import annotations

from typing import Annotated

import typer

from voxfleet_gateway.options import GatewayOptions
from voxfleet_operator.command import HealthHost, HealthPort, Kubeconfig, LogFormatOption, listed, operator
from voxfleet_operator.logs import LogFormat, configure

DEFAULTS = GatewayOptions()

app = typer.Typer(
    help="What runs in the cluster: the operator, which places work on Macs, and the gateway, which lets clients speak"
    " to warm endpoints.",
    no_args_is_help=True,
    add_completion=False,
)
app.command("run")(operator)


@app.command("gateway")
def gateway(
    namespace: Annotated[
        str, typer.Option(envvar="VOXFLEET_NAMESPACE", help="Namespace of the MacAgents' Secrets.")
    ] = DEFAULTS.namespace,
    watch_namespaces: Annotated[
        str,
        typer.Option(
            envvar="VOXFLEET_WATCH_NAMESPACES",
            help="The namespaces whose endpoints it serves, with commas between them; empty for all.",
        ),
    ] = ",".join(DEFAULTS.watch_namespaces),
    host: Annotated[
        str, typer.Option(envvar="VOXFLEET_GATEWAY_HOST", help="Address that clients call; 0.0.0.0 in a pod.")
    ] = DEFAULTS.host,
    port: Annotated[
        int, typer.Option(envvar="VOXFLEET_GATEWAY_PORT", min=0, max=65535, help="Its port; 0 for any free one.")
    ] = DEFAULTS.port,
    health_port: HealthPort = DEFAULTS.health_port,
    health_host: HealthHost = DEFAULTS.health_host,
    max_sessions: Annotated[
        int,
        typer.Option(
            envvar="VOXFLEET_MAX_SESSIONS", min=1, max=10_000, help="How many calls it takes at a time; more get 503."
        ),
    ] = DEFAULTS.max_sessions,
    drain_seconds: Annotated[
        float,
        typer.Option(
            envvar="VOXFLEET_DRAIN_SECONDS",
            min=0.0,
            help="How long sessions may go on after SIGTERM; then sockets close with 1001.",
        ),
    ] = DEFAULTS.drain_seconds,
    kubeconfig: Kubeconfig = None,
    log_format: LogFormatOption = LogFormat.JSON,
) -> None:
    """Serve the endpoints' URLs until SIGTERM. Needs no Lease: run as many as you like.

    For example, on this machine: voxfleet-operator gateway --port 8780 --log-format text
    """
    configure(log_format)
    # Imported late: kopf and paramiko take a second, and `voxfleet-operator --help` need not wait for them.
    from voxfleet_gateway.main import run

    options = GatewayOptions(
        namespace=namespace,
        watch_namespaces=listed(watch_namespaces),
        host=host,
        port=port,
        health_host=health_host,
        health_port=health_port,
        max_sessions=max_sessions,
        drain_seconds=drain_seconds,
        kubeconfig=kubeconfig,
    )
    raise typer.Exit(run(options))


def main() -> None:
    app()
