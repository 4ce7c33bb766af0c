"""`voxfleet-agent install`: installs the agent as a launchd or systemd service."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from voxfleet_agent.commands.config_option import ConfigOption, give_up, loaded
from voxfleet_agent.config import AgentConfig
from voxfleet_agent.service_definitions import LABEL, PLIST_PATH, UNIT_PATH, Service, launchd_plist, systemd_unit

INSTALL_EXAMPLES = """Examples:

\b
  voxfleet-agent install -c agent.yaml --print        look at it first
  sudo voxfleet-agent install -c agent.yaml --user voxfleet
"""


def install(
    config: ConfigOption,
    user: Annotated[str | None, typer.Option("--user", help="The account to run as; absent: yours.")] = None,
    only_print: Annotated[bool, typer.Option("--print", help="Print the definition and write nothing.")] = False,
) -> None:
    """Writes a launchd plist (macOS) or a systemd unit (Linux) and tells how to start it.

    The macOS service is a LaunchDaemon: it needs no graphical session, and keeps the Mac awake while it runs. Which
    account it runs as goes to standard error: with laneUser in the configuration it is root, because only root may
    start lanes as another account.
    """
    agent = loaded(config)
    service = _service(config.resolve(), agent, user or getpass.getuser())
    for line in account_lines(service, agent.lane_user):
        typer.echo(line, err=True)
    if sys.platform == "darwin":
        path, content = PLIST_PATH, launchd_plist(service)
        start_command = f"sudo launchctl bootstrap system {path}  # and: sudo launchctl bootout system/{LABEL}"
    else:
        path, content = UNIT_PATH, systemd_unit(service).encode()
        start_command = f"systemctl daemon-reload && systemctl enable --now {path.name}"
    if only_print:
        typer.echo(content.decode(), nl=False)
        return
    try:
        _write(path, content)
    except OSError as error:
        raise give_up(
            f"{path}: {error.strerror}; run it with sudo, or with --print and put it there yourself"
        ) from error
    typer.echo(f"written {path}; start it with:\n  {start_command}", err=True)


def account_lines(service: Service, lane_user: str | None) -> list[str]:
    """Says as whom the service and its lanes run, and what is wrong with that."""
    if lane_user is not None:
        lines = [f"the agent runs as root, and its lanes, which decode strangers' audio, as {lane_user} (laneUser)"]
        if service.user not in ("root", lane_user):
            lines.append(
                f"{service.user} is not used: only root may start lanes as {lane_user}; to use it, drop laneUser"
            )
        return lines
    lines = [f"the agent and its lanes run as {service.account}"]
    if service.account == "root":
        lines.append(
            "warning: strangers' audio would be decoded as root; give the agent an account of its own with --user, or"
            " its lanes one with laneUser in the configuration"
        )
    return lines


def _service(config_file: Path, config: AgentConfig, user: str) -> Service:
    local = [Path(prefix.removeprefix("file://")) for prefix in config.allow if prefix.startswith("file://")]
    preload = os.environ.get("LD_PRELOAD")
    return Service(
        python=Path(sys.executable),
        config=config_file,
        user=user,
        log_file=config.state_dir / "agent.log",
        writable=(config.state_dir, config.scratch.path, config.cached_models.path, *local),
        switches_user=config.lane_user is not None,
        environment=(("LD_PRELOAD", preload),) if preload and sys.platform == "linux" else (),
    )


def _write(path: Path, content: bytes) -> None:
    """Writes the file with mode 0644: launchd refuses a plist that others may write."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o644)
        file.write(content)
    temporary.replace(path)
