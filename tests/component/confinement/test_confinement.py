"""What a confined child can reach, measured in a real one, on systems that offer all, some and none of the guards."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.rig.lane_account import ENTRY, as_account, needs_root

from voxfleet_agent.confinement import launch
from voxfleet_agent.confinement.confinement import Confinement, library_folders
from voxfleet_agent.confinement.guards import UNGUARDED, FileGuard, Guards, NetworkGuard, preferred
from voxfleet_agent.confinement.measurement import Measured, Secrets, measure
from voxfleet_agent.confinement.probe import PROBE_NAME

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Landlock and seccomp are Linux's")

ALL = preferred("linux")
NETWORK = {"TCP", "UDP", "a socket in the file system"}
FILES = {"key", "token", "configuration", "state", "other lane", "model of another job"}
AGENT = {"the agent's environment", "the agent's memory"}
CHANGES = {"rights and attributes of files", "the content of files"}
RIGHTS = {"capabilities"} if os.geteuid() == 0 else set()


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
        own=open_folder / "state",
    )


def asked(guards: Guards, secrets: Secrets, drops_rights: bool = True) -> Measured:
    clips = secrets.write["clips"]
    measured = measure(Confinement(guards, clips, drops_rights=drops_rights), secrets, (clips,), None, os.getpid())
    assert measured.error == ""
    return measured


def test_a_child_without_guards_reaches_everything(secrets: Secrets) -> None:
    """Otherwise the tests below would prove nothing."""
    reached = {*asked(UNGUARDED, secrets, drops_rights=False).reached}
    assert reached == NETWORK | FILES | AGENT | CHANGES | RIGHTS | {*secrets.write}


@pytest.mark.parametrize("own", ["models", "not there", None])
def test_only_a_file_of_the_agents_own_folder_is_tried_to_be_changed(own: str | None, secrets: Secrets) -> None:
    """Lanes may write to temporary folders on macOS: a file there would always be told as changed."""
    folder = None if own is None else secrets.write["the model cache"].parent / own
    reached = {*asked(UNGUARDED, replace(secrets, own=folder), drops_rights=False).reached}
    assert reached & CHANGES == (CHANGES if own == "models" else set())
    assert not [*secrets.write["the model cache"].parent.rglob(f"{PROBE_NAME}*")]


def test_a_child_without_guards_has_none_of_the_rights_of_root(secrets: Secrets) -> None:
    reached = {*asked(UNGUARDED, secrets).reached}
    assert reached >= NETWORK | FILES and not reached & {"capabilities"}


def test_a_fully_confined_child_reaches_nothing(secrets: Secrets) -> None:
    measured = asked(ALL, secrets)
    assert (measured.guards, measured.reached, dict(measured.refused)) == (ALL, (), {})


def test_a_namespace_leaves_only_sockets_in_the_file_system(secrets: Secrets) -> None:
    measured = asked(Guards(FileGuard.LANDLOCK, NetworkGuard.NAMESPACE), secrets)
    assert measured.reached == ("a socket in the file system", "rights and attributes of files")


def test_without_landlock_the_files_are_told_as_reached(secrets: Secrets) -> None:
    measured = asked(Guards(FileGuard.NONE, NetworkGuard.SECCOMP), secrets)
    assert measured.reached_network == () and {*measured.reached_files} >= FILES
    assert "rights and attributes of files" not in measured.reached


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
capset = 126 if here.has_x32 else 91
refused = (444, here.seccomp_number, unshare, capset)
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
        **({"capabilities": True} if os.geteuid() == 0 else {}),
    }
    assert {*reached} >= FILES | NETWORK


@pytest.mark.parametrize("as_root", [pytest.param(True, marks=needs_root), False])
def test_a_service_that_may_not_drop_capabilities_starts_lanes_and_tells_what_it_could_not(
    as_root: bool, secrets: Secrets, request: pytest.FixtureRequest
) -> None:
    """As with systemd's SystemCallFilter=~@privileged; an account without capabilities has none to drop."""
    program = f"""
import json, os, pathlib
from voxfleet_agent.confinement import linux_syscalls, seccomp
from voxfleet_agent.confinement.confinement import Confinement
from voxfleet_agent.confinement.guards import preferred
from voxfleet_agent.confinement.measurement import Secrets, measure
here = seccomp.ARCHITECTURES[os.uname().machine]
capset = 126 if here.has_x32 else 91
seccomp.ARCHITECTURES[os.uname().machine] = seccomp.Architecture(here.audit_number, here.seccomp_number, (capset,))
linux_syscalls.forbid_new_privileges()
seccomp.restrict()
clips = pathlib.Path({str(secrets.write["clips"])!r})
found = measure(Confinement(preferred("linux"), clips), Secrets(), (), None, os.getpid())
print(json.dumps([found.guards.files, found.guards.network, dict(found.refused), found.reached, found.error]))
"""
    if as_root or os.geteuid() != 0:
        ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    else:
        ran = as_account(request.getfixturevalue("account_python"), "-c", program)
    assert ran.returncode == 0, ran.stderr
    refused = {"capabilities": "Operation not permitted"} if as_root else {}
    assert json.loads(ran.stdout) == ["landlock", "seccomp", refused, [], ""]


def test_a_path_that_cannot_be_opened_costs_no_guard(secrets: Secrets, tmp_path: Path) -> None:
    """As on a mount that is dead: opening it fails in a way that is neither absence nor a lack of rights."""
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    wanted = Confinement(ALL, secrets.write["clips"], libraries=(loop, tmp_path / "missing"))
    measured = measure(wanted, secrets, (), None, os.getpid())
    assert (measured.guards, measured.reached, dict(measured.refused), measured.error) == (ALL, (), {}, "")


def test_a_system_without_the_peak_of_memory_costs_no_guard(secrets: Secrets, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels may lack /proc/self/clear_refs (CONFIG_PROC_PAGE_MONITOR)."""
    program = Path(launch.__file__).read_text().replace('"/proc/self/clear_refs"', '"/proc/self/not_there"')
    package = secrets.write["clips"].parent / "agent" / "voxfleet_agent"
    shutil.copytree(Path(launch.__file__).parent, package / "confinement")
    (package / "__init__.py").touch()
    (package / "confinement" / "launch.py").write_text(program)
    monkeypatch.setattr(launch, "__file__", str(package / "confinement" / "launch.py"))
    measured = asked(ALL, secrets)
    assert (measured.guards, measured.reached, dict(measured.refused)) == (ALL, (), {})


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


def test_the_filter_refuses_what_landlock_does_not_govern(secrets: Secrets, tmp_path: Path) -> None:
    """Asked with arguments that are worth nothing: the filter answers before the kernel looks at them."""
    file = tmp_path / "file"
    file.write_text("kept")
    program = f"""
import ctypes, errno, os
from voxfleet_agent.confinement import seccomp
libc = ctypes.CDLL(None, use_errno=True)
here = seccomp.ARCHITECTURES[os.uname().machine]
def answer(call, *arguments):
    libc.syscall(call, *(ctypes.c_long(argument) for argument in (*arguments, 0, 0, 0, 0)))
    return ctypes.get_errno()
print({{answer(call, -1, -1, -1) for call in here.refused}} == {{errno.EPERM}})
print({{answer(call, -1, -1, -1) for call in here.unknown}} == {{errno.ENOSYS}})
print(answer(56 if here.has_x32 else 220, 0x10000000) == errno.EPERM)
for flags in (os.O_RDONLY | os.O_TRUNC, 3 | os.O_TRUNC):
    try: os.open({str(file)!r}, flags)
    except PermissionError: print(True)
"""
    guards = Guards(FileGuard.NONE, NetworkGuard.SECCOMP)
    command = Confinement(guards, secrets.write["clips"]).command((sys.executable, "-c", program), tmp_path, None)
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["True"] * 5 and file.read_text() == "kept"


def test_threads_and_processes_start_within_the_filter(secrets: Secrets, tmp_path: Path) -> None:
    """The C library asks for clone3 first, and must fall back on clone."""
    program = """
import subprocess, sys, threading
thread = threading.Thread(target=print, args=("thread",)); thread.start(); thread.join()
print(subprocess.run([sys.executable, "-c", "print('process')"], capture_output=True, text=True).stdout.strip())
"""
    command = Confinement(ALL, secrets.write["clips"]).command((sys.executable, "-c", program), tmp_path, None)
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["thread", "process"]


@needs_root
def test_rights_that_a_service_gave_to_its_account_do_not_reach_a_lane(account_python: Path, tmp_path: Path) -> None:
    """Ambient capabilities, as of systemd, outlast the start of another program, and no bounding set is theirs."""
    program = """
import ctypes, os, pathlib, sys
libc = ctypes.CDLL(None)
header = (ctypes.c_uint32 * 2)(0x20080522, 0)
libc.prctl(8, 1)  # keeps what is permitted when the account changes
os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
libc.capset(header, (ctypes.c_uint32 * 6)(1 << 10, 1 << 10, 1 << 10, 0, 0, 0))
if libc.prctl(47, 2, 10, 0, 0) != 0: sys.exit("no ambient capabilities")
from voxfleet_agent.confinement.confinement import Confinement
from voxfleet_agent.confinement.guards import UNGUARDED
shown = (sys.executable, "-c", "print(*[l for l in open('/proc/self/status') if l.startswith('CapEff')])")
bounds = Confinement(UNGUARDED, pathlib.Path("/"), drops_rights=sys.argv[2] == "drops")
command = bounds.command(shown, pathlib.Path("/"), None)
os.execv(command[0], command)
"""
    found = {}
    for how in ("keeps", "drops"):
        ran = subprocess.run(
            [str(account_python), "-c", program, str(ENTRY.pw_uid), how], capture_output=True, text=True, cwd="/"
        )
        found[how] = ran.stdout.split()[-1:] or ran.stderr
    assert found == {"keeps": ["0000000000000400"], "drops": ["0000000000000000"]}


@pytest.mark.parametrize(
    ("mapped", "granted"),
    [
        (
            "/home/linuxbrew/.linuxbrew/Cellar/openssl@3/3.3.1/lib/libssl.so.3",
            "/home/linuxbrew/.linuxbrew/Cellar/openssl@3/3.3.1/lib",
        ),
        ("/gnu/store/0a-gcc-11-lib/lib/libstdc++.so.6", "/gnu/store/0a-gcc-11-lib/lib"),
        ("/home/voice/shim.so", "/home/voice/shim.so"),
        ("/var/lib/libshim.so", "/var/lib/libshim.so"),
        ("/opt/a b/lib/liba.so.1 (deleted)", "/opt/a b/lib"),
        ("/home/voice/notes.txt", None),
        ("[heap]", None),
        ("", None),
    ],
)
def test_libraries_of_the_interpreter_are_found_wherever_they_lie(mapped: str, granted: str | None) -> None:
    line = f"7f0000000000-7f0000001000 r-xp 00000000 08:01 12 {mapped}"
    assert library_folders(line) == ([] if granted is None else [Path(granted)])
