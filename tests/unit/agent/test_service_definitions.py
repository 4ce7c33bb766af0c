"""Service definitions, read back by the formats' own parsers. Nothing here was run by launchd."""

from __future__ import annotations

import configparser
import os
import plistlib
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from voxfleet_agent.commands.install import account_lines
from voxfleet_agent.main import app
from voxfleet_agent.service_definitions import LABEL, Service, launchd_plist, systemd_unit

SERVICE = Service(
    python=Path("/opt/vox fleet/bin/python"),
    config=Path("/Users/voxfleet/agent.yaml"),
    user="voxfleet",
    log_file=Path("/Users/voxfleet/state/agent.log"),
    writable=(Path("/Users/voxfleet/state"), Path("/Volumes/100% scratch")),
    environment=(("LD_PRELOAD", "/usr/lib/blas.so"),),
)


def test_the_plist_is_a_daemon_that_keeps_the_machine_awake_and_dumps_no_core() -> None:
    plist = plistlib.loads(launchd_plist(SERVICE))
    assert plist["Label"] == LABEL and plist["UserName"] == "voxfleet"
    shell, flag, script, python, *_ = plist["ProgramArguments"]
    assert (shell, flag, python) == ("/bin/sh", "-c", "/opt/vox fleet/bin/python")
    assert script.startswith("/usr/bin/caffeinate -i -s -w $$ &")
    state = "/Users/voxfleet/state"
    assert plist["ProgramArguments"][-4:] == [
        *("--config", "/Users/voxfleet/agent.yaml"),
        *("--log-file", f"{state}/agent.log"),
    ]
    assert plist["StandardErrorPath"] == plist["StandardOutPath"] == f"{state}/agent-stderr.log"
    assert plist["KeepAlive"] is True and plist["RunAtLoad"] is True
    assert plist["SoftResourceLimits"]["Core"] == plist["HardResourceLimits"]["Core"] == 0
    assert "LimitLoadToSessionType" not in plist, "a LaunchDaemon, not an agent of a session"


def test_the_agent_is_the_process_that_launchd_signals(tmp_path: Path) -> None:
    """The script is run with a stand-in for caffeinate: what it starts must be the very process."""
    plist = plistlib.loads(launchd_plist(replace(SERVICE, python=Path("/bin/echo"))))
    script = plist["ProgramArguments"][2].replace("/usr/bin/caffeinate", "true")
    ran = subprocess.run(
        ["/bin/sh", "-c", script, "/bin/sh", "-c", "echo $$; echo $PPID"], capture_output=True, text=True
    )
    assert ran.returncode == 0
    own, parent = ran.stdout.split()
    assert own != parent and parent == str(os.getpid())


def unit_of(service: Service) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign] # systemd's keys have capitals
    parser.read_string(systemd_unit(service))
    return parser


def test_the_unit_ends_the_agent_first_and_dumps_no_core() -> None:
    unit = unit_of(SERVICE)["Service"]
    assert unit["ExecStart"].startswith('"/opt/vox fleet/bin/python" -m voxfleet_agent serve')
    assert unit["KillMode"] == "mixed" and unit["LimitCORE"] == "0" and unit["User"] == "voxfleet"
    assert unit["NoNewPrivileges"] == "yes"


def test_an_agent_with_a_lane_user_starts_as_root() -> None:
    unit = unit_of(replace(SERVICE, switches_user=True))["Service"]
    assert unit["User"] == "root" and "NoNewPrivileges" not in unit
    assert plistlib.loads(launchd_plist(replace(SERVICE, switches_user=True)))["UserName"] == "root"


def test_the_user_of_the_service_is_named() -> None:
    assert account_lines(SERVICE, None) == ["the agent and its lanes run as voxfleet"]
    root = account_lines(replace(SERVICE, user="root"), None)
    assert root[0] == "the agent and its lanes run as root"
    assert root[1].startswith("warning:") and "--user" in root[1] and "laneUser" in root[1]
    apart = replace(SERVICE, switches_user=True)
    assert account_lines(replace(apart, user="root"), "_voxlane") == [
        "the agent runs as root, and its lanes, which decode strangers' audio, as _voxlane (laneUser)"
    ]
    assert "voxfleet is not used" in account_lines(apart, "_voxlane")[1]


def test_percent_signs_of_a_path_are_not_specifiers() -> None:
    assert 'ReadWritePaths=-"/Volumes/100%% scratch"' in systemd_unit(SERVICE)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_itself_finds_no_fault(tmp_path: Path) -> None:
    unit = tmp_path / "voxfleet-agent.service"
    unit.write_text(systemd_unit(replace(SERVICE, python=Path("/usr/bin/env"), user="root")))
    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert verified.returncode == 0 and str(unit.name) not in verified.stderr


def test_the_command_prints_a_definition_for_this_platform(tmp_path: Path) -> None:
    config = tmp_path / "agent.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "stateDir": str(tmp_path / "state"),
                "tokenFile": str(tmp_path / "token"),
                "ledgerKeyFile": str(tmp_path / "key"),
                "scratch": {"path": str(tmp_path / "scratch"), "quota": "1Gi"},
                "allow": [f"file://{tmp_path}/data/"],
            }
        )
    )
    shown = CliRunner().invoke(app, ["install", "-c", str(config), "--user", "voxfleet", "--print"])
    assert shown.exit_code == 0, shown.output
    assert str(config) in shown.stdout and "voxfleet" in shown.stdout and str(tmp_path / "scratch") in shown.stdout
    assert "the agent and its lanes run as voxfleet" in shown.stderr
    as_root = CliRunner().invoke(app, ["install", "-c", str(config), "--user", "root", "--print"])
    assert "warning:" in as_root.stderr and "warning:" not in as_root.stdout
