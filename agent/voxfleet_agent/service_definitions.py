"""The launchd and systemd service definitions, as text. Pure.

launchd: launchd.plist(5); a LaunchDaemon needs no graphical session, so a screen lock or a logout does not touch it.
systemd: systemd.service(5), systemd.exec(5).
"""

from __future__ import annotations

import plistlib
from dataclasses import dataclass
from pathlib import Path

from voxfleet_agent import logs

LABEL = "dev.voxfleet.agent"
PLIST_PATH = Path(f"/Library/LaunchDaemons/{LABEL}.plist")
UNIT_PATH = Path("/etc/systemd/system/voxfleet-agent.service")
STOP_SECONDS = 60
"""Parking every attempt takes up to 20 s; then the journal and the lanes close."""
_RESTART_SECONDS = 5
_AWAKE = '/usr/bin/caffeinate -i -s -w $$ & exec "$0" "$@"'
_OPEN_FILES = 8192


@dataclass(frozen=True, slots=True)
class Service:
    """The values of a service definition."""

    python: Path
    config: Path
    user: str
    log_file: Path
    """The log file on macOS, which the agent rotates; systemd keeps logs itself."""
    writable: tuple[Path, ...]
    """The folders that the agent writes to."""
    switches_user: bool = False
    """Whether lanes run as another user, which the agent must be allowed to become."""
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def crash_file(self) -> Path:
        """Where native code and crashes of Python write on macOS; the agent empties it at its start if it is large."""
        return logs.crash_file(self.log_file)

    @property
    def account(self) -> str:
        """The user that the agent runs as: only root may start lanes as another user."""
        return "root" if self.switches_user else self.user

    @property
    def command(self) -> list[str]:
        return [str(self.python), "-m", "voxfleet_agent", "serve", "--config", str(self.config)]


def launchd_plist(service: Service) -> bytes:
    """A LaunchDaemon that keeps the machine from sleeping while the agent runs.

    `caffeinate -w` holds the power assertion while the agent runs; `exec` makes the agent the process that launchd
    knows, so that it and no wrapper receives SIGTERM.
    """
    return plistlib.dumps(
        {
            "Label": LABEL,
            "ProgramArguments": ["/bin/sh", "-c", _AWAKE, *service.command, "--log-file", str(service.log_file)],
            "UserName": service.account,
            "RunAtLoad": True,
            "KeepAlive": True,
            "ThrottleInterval": _RESTART_SECONDS,
            "ExitTimeOut": STOP_SECONDS,
            "ProcessType": "Interactive",  # other types are throttled when nobody is logged in
            "StandardErrorPath": str(service.crash_file),
            "StandardOutPath": str(service.crash_file),
            "Umask": 0o077,
            "EnvironmentVariables": dict(service.environment),
            "SoftResourceLimits": {"Core": 0, "NumberOfFiles": _OPEN_FILES},
            "HardResourceLimits": {"Core": 0, "NumberOfFiles": _OPEN_FILES},
        }
    )


def systemd_unit(service: Service) -> str:
    lines = [
        "[Unit]",
        "Description=VoxFleet agent",
        "After=network-online.target",
        "Wants=network-online.target",
        "",
        "[Service]",
        "Type=exec",
        f"User={service.account}",
        f"ExecStart={' '.join(_quoted(word) for word in service.command)}",
        *(f"Environment={_quoted(f'{name}={value}')}" for name, value in service.environment),
        "Restart=always",
        f"RestartSec={_RESTART_SECONDS}",
        # Only the agent receives SIGTERM; it parks its attempts, and its lanes end with it.
        "KillMode=mixed",
        f"TimeoutStopSec={STOP_SECONDS}",
        "UMask=0077",
        "LimitCORE=0",
        f"LimitNOFILE={_OPEN_FILES}",
        "ProtectSystem=strict",
        "ProtectKernelTunables=yes",
        "ProtectControlGroups=yes",
        "RestrictSUIDSGID=yes",
        *([] if service.switches_user else ["NoNewPrivileges=yes", "CapabilityBoundingSet="]),
        # The minus sign lets the agent start when a folder does not exist yet.
        *(f"ReadWritePaths=-{_quoted(str(path))}" for path in service.writable),
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines) + "\n"


def _quoted(word: str) -> str:
    """Escapes a word of a unit file: doubles percent signs and dollars, and quotes it where necessary."""
    word = word.replace("%", "%%").replace("$", "$$")
    if any(character in word for character in " \t\"'\\;"):
        return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return word
