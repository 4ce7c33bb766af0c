"""The operator's command line. Most flags can be given as environment variables, too."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from voxfleet_operator.logs import LogFormat, configure
from voxfleet_operator.options import OperatorOptions

DEFAULTS = OperatorOptions()

# Of every process of the operator's image.
HealthPort = Annotated[
    int | None,
    typer.Option(envvar="VOXFLEET_HEALTH_PORT", min=0, max=65535, help="Serves /livez, /readyz and /metrics."),
]
HealthHost = Annotated[
    str, typer.Option(envvar="VOXFLEET_HEALTH_HOST", help="Address of the health server; 0.0.0.0 in a pod.")
]
Kubeconfig = Annotated[
    Path | None, typer.Option(help="Default: KUBECONFIG, then ~/.kube/config, then this pod's service account.")
]
LogFormatOption = Annotated[LogFormat, typer.Option(envvar="VOXFLEET_LOG_FORMAT", help="json or text.")]


def listed(names: str) -> tuple[str, ...]:
    """Names with commas between them."""
    return tuple(name.strip() for name in names.split(",") if name.strip())


MAX_GATEWAY_URL_CHARACTERS = 256
"""With an endpoint's namespace and name it has to fit into `status.url`."""


def checked_gateway_url(url: str) -> str:
    """Without the slash at its end. Raises BadParameter: with another address no endpoint's status could be written."""
    if url and not _is_address(url):
        raise typer.BadParameter("write an address such as https://speech.example, without a key or a question mark")
    if len(url) > MAX_GATEWAY_URL_CHARACTERS:
        raise typer.BadParameter(f"it is longer than {MAX_GATEWAY_URL_CHARACTERS} characters")
    return url.rstrip("/")


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    plain = not (parts.username or parts.query or parts.fragment)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and plain


def operator(
    namespace: Annotated[
        str, typer.Option(envvar="VOXFLEET_NAMESPACE", help="Namespace of the Lease and of the MacAgents' Secrets.")
    ] = DEFAULTS.namespace,
    watch_namespaces: Annotated[
        str,
        typer.Option(
            envvar="VOXFLEET_WATCH_NAMESPACES",
            help="The namespaces whose jobs it looks after, with commas between them; empty for all.",
        ),
    ] = ",".join(DEFAULTS.watch_namespaces),
    lost_margin_seconds: Annotated[
        float,
        typer.Option(
            envvar="VOXFLEET_LOST_MARGIN_SECONDS",
            min=0.0,
            help="How much longer than its agent the operator waits before a silent Mac counts as lost.",
        ),
    ] = DEFAULTS.lost_margin_seconds,
    progress_interval_seconds: Annotated[
        float,
        typer.Option(
            envvar="VOXFLEET_PROGRESS_INTERVAL_SECONDS",
            min=0.0,
            help="Least time between two progress writes of a job.",
        ),
    ] = DEFAULTS.progress_interval_seconds,
    retry_limit: Annotated[
        int,
        typer.Option(
            envvar="VOXFLEET_RETRY_LIMIT",
            min=0,
            max=100,
            help="How often a shard is tried again after an attempt failed, was refused or lost; 0: never."
            " Macs without room cost nothing.",
        ),
    ] = DEFAULTS.retry_limit,
    health_port: HealthPort = DEFAULTS.health_port,
    health_host: HealthHost = DEFAULTS.health_host,
    archive: Annotated[
        str,
        typer.Option(
            envvar="VOXFLEET_ARCHIVE",
            help="Where rows of machine time are kept for ever: file:///FOLDER or s3://BUCKET/PREFIX; empty: nowhere,"
            " and no statement is ever final. S3 takes endpoint, region and keys from the AWS_ variables.",
        ),
    ] = DEFAULTS.archive or "",
    price_book: Annotated[
        Path | None,
        typer.Option(
            envvar="VOXFLEET_PRICE_BOOK",
            help="YAML file with prices, teams and budgets; it is read again when it changes.",
        ),
    ] = DEFAULTS.price_book,
    gateway_url: Annotated[
        str,
        typer.Option(
            envvar="VOXFLEET_GATEWAY_URL",
            help="Where clients call the gateway, such as https://speech.example; it stands in the status of endpoints."
            " Empty: there is none.",
            callback=checked_gateway_url,
        ),
    ] = DEFAULTS.gateway_url or "",
    kubeconfig: Kubeconfig = None,
    log_format: LogFormatOption = LogFormat.JSON,
) -> None:
    """Run the operator until SIGTERM."""
    configure(log_format)
    # Imported late: kopf and paramiko take a second, and `voxfleet --help` need not wait for them.
    from voxfleet_operator.main import run

    options = OperatorOptions(
        namespace=namespace,
        lost_margin_seconds=lost_margin_seconds,
        progress_interval_seconds=progress_interval_seconds,
        retry_limit=retry_limit,
        health_host=health_host,
        health_port=health_port,
        archive=archive or None,
        kubeconfig=kubeconfig,
        gateway_url=gateway_url or None,
        price_book=price_book,
        watch_namespaces=listed(watch_namespaces),
    )
    raise typer.Exit(run(options))


def main() -> None:
    typer.run(operator)
