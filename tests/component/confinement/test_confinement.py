"""What a confined child can reach, measured in a real one, on systems that offer all, some and none of the guards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.rig.lane_account import ENTRY, as_account, needs_root

from voxfleet_agent.confinement.confinement import Confinement
from voxfleet_agent.confinement.guards import UNGUARDED, FileGuard, Guards, NetworkGuard, preferred
from voxfleet_agent.confinement.measurement import Measured, Secrets, measure

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Landlock and seccomp are Linux's")

ALL = preferred("linux")
NETWORK = {"TCP", "UDP", "a socket in the file system"}
FILES = {"key", "token", "configuration", "state", "other lane", "model of another job"}
AGENT = {"the agent's environment", "the agent's memory"}


@pytest.fixture
def secrets(open_folder: Path) -> Secrets:
    for name in ("state", "lanes/offline-1", "models/other", "clips"):
        (open_folder / name).mkdir(parents=True)
    for name in ("ledger.pem", "token", "agent.yaml"):
        (open_folder / name).write_text("secret")
        (open_folder / name).chmod(0o600)
    (open_folder / "models" / "other" / "config.json").write_text("{}")
    return Secrets(
        read={
            "key": open_folder / "ledger.pem",
            "token": open_folder / "token",
            "configuration": open_folder / "agent.yaml",
            "state": open_folder / "state",
            "other lane": open_folder / "lanes" / "offline-1",
            "model of another job": open_folder / "models" / "other" / "config.json",
        },
        write={"clips": open_folder / "clips", "the model cache": open_folder / "models"},
    )


def asked(guards: Guards, secrets: Secrets, account: tuple[int, int] | None = None) -> Measured:
    clips = secrets.write["clips"]
    measured = measure(Confinement(guards, clips), secrets, (clips,), account, os.getpid())
    assert measured.error == ""
    return measured


def test_a_child_without_guards_reaches_everything(secrets: Secrets) -> None:
    """Otherwise the tests below would prove nothing."""
    assert {*asked(UNGUARDED, secrets).reached} == NETWORK | FILES | AGENT | {*secrets.write}


def test_a_fully_confined_child_reaches_nothing(secrets: Secrets) -> None:
    measured = asked(ALL, secrets)
    assert (measured.guards, measured.reached, dict(measured.refused)) == (ALL, (), {})


def test_a_namespace_leaves_only_sockets_in_the_file_system(secrets: Secrets) -> None:
    measured = asked(Guards(FileGuard.LANDLOCK, NetworkGuard.NAMESPACE), secrets)
    assert measured.reached == ("a socket in the file system",)


def test_without_landlock_the_files_are_told_as_reached(secrets: Secrets) -> None:
    measured = asked(Guards(FileGuard.NONE, NetworkGuard.SECCOMP), secrets)
    assert measured.reached_network == () and {*measured.reached_files} >= FILES


def test_a_container_that_forbids_the_guards_is_told_and_lanes_still_start(secrets: Secrets) -> None:
    """As a container's own seccomp profile does, which gives EPERM."""
    clips, others = secrets.write["clips"], json.dumps({name: str(path) for name, path in secrets.read.items()})
    program = f"""
import json, os, pathlib
from voxfleet_agent.confinement import linux_syscalls, seccomp
from voxfleet_agent.confinement.confinement import Confinement
from voxfleet_agent.confinement.guards import preferred
from voxfleet_agent.confinement.measurement import Secrets, measure
here = seccomp.ARCHITECTURES[os.uname().machine]
unshare = 272 if here.has_x32 else 97
refused = (444, here.seccomp_number, unshare)
seccomp.ARCHITECTURES[os.uname().machine] = seccomp.Architecture(here.audit_number, here.seccomp_number, refused)
linux_syscalls.forbid_new_privileges()
seccomp.restrict()
read = {{name: pathlib.Path(path) for name, path in json.loads({others!r}).items()}}
found = measure(Confinement(preferred("linux"), pathlib.Path({str(clips)!r})), Secrets(read), (), None, os.getpid())
print(json.dumps([found.guards.files, found.guards.network, dict(found.refused), sorted(found.reached), found.error]))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    files, network, refused, reached, error = json.loads(ran.stdout)
    assert (files, network, error) == ("none", "none", "")
    assert {name: "not permitted" in why for name, why in refused.items()} == {
        "landlock": True,
        "seccomp": True,
        "namespace": True,
    }
    assert {*reached} >= FILES | NETWORK


@needs_root
def test_the_memory_of_a_supervisor_is_hidden_from_its_own_account(account_python: Path) -> None:
    """The account's own processes may read each other; a lane without `laneUser` is such a process."""
    program = """
import subprocess, sys
from voxfleet_agent import core_dumps
if sys.argv[1] == "hidden":
    core_dumps.hide_memory()
look = "import os\\nfor name in ('environ', 'mem', 'maps'):\\n" \
    "  try: open(f'/proc/{os.getppid()}/{name}', 'rb').close(); print(name)\\n  except OSError: pass"
print(subprocess.run([sys.executable, "-I", "-c", look], capture_output=True, text=True).stdout.split())
"""
    found = {kind: as_account(account_python, "-c", program, kind) for kind in ("open", "hidden")}
    assert {kind: ran.stdout.strip() for kind, ran in found.items()} == {
        "open": "['environ', 'mem', 'maps']",
        "hidden": "[]",
    }, found
    assert ENTRY.pw_uid != 0


def test_the_folder_that_the_agent_was_started_in_is_not_read(
    secrets: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -m` puts it on sys.path, and a service starts in the root."""
    monkeypatch.setattr(sys, "path", ["/", "", *sys.path])
    assert asked(ALL, secrets).reached == ()
