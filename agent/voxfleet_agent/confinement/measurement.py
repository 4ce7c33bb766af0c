"""Chooses the guards of an agent's lanes by trying them in a real child, which also says what it can still reach."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from voxfleet_agent.confinement import probe
from voxfleet_agent.confinement.confinement import Confinement
from voxfleet_agent.confinement.guards import FileGuard, Guards, NetworkGuard, weaker
from voxfleet_agent.confinement.launch import CAPABILITIES, EXIT_NOT_CONFINED

PROBE_SECONDS = 60
NETWORK = frozenset({"TCP", "UDP", "a socket in the file system"})


@dataclass(frozen=True, slots=True)
class Secrets:
    """What a lane must not reach, by the name that messages use."""

    read: Mapping[str, Path] = field(default_factory=dict)
    """Files and folders that exist."""
    write: Mapping[str, Path] = field(default_factory=dict)
    """Folders in which a lane must not make files."""
    own: Path | None = None
    """A folder whose files a lane must not change; while the child is asked, one lies there to be tried. Not asked
    where the folder does not exist."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The bounds that were chosen, and what was found in a child within them."""

    confinement: Confinement
    reached: tuple[str, ...] = ()
    """What the child could reach nevertheless."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Why the system refused a guard, by the guard's name."""
    closed: tuple[str, ...] = ()
    """Folders on the way to what lanes work with that their account cannot pass through."""
    error: str = ""
    """Why no child could be asked at all; empty when one answered."""

    @property
    def guards(self) -> Guards:
        return self.confinement.guards

    @property
    def reached_network(self) -> tuple[str, ...]:
        return tuple(name for name in self.reached if name in NETWORK)

    @property
    def reached_files(self) -> tuple[str, ...]:
        return tuple(name for name in self.reached if name not in NETWORK)


def measure(
    wanted: Confinement,
    secrets: Secrets,
    needed: Sequence[Path],
    account: tuple[int, int] | None,
    agent_pid: int,
) -> Measured:
    """Tries the wanted guards, then weaker ones. Takes about 0.1 s for each try.

    `needed`: folders that lanes must be able to pass through, so far as they exist.
    `account`: (uid, gid) that lanes run as, when it is not the agent's.
    """
    refused: dict[str, str] = {}
    with ExitStack() as stack:
        questions = json.dumps(_questions(stack, secrets, needed, agent_pid))
        current = wanted
        while True:
            answer = _ask(current, questions, account)
            guard = _refused_guard(current, answer)
            if guard is None:
                break
            refused[guard] = answer.stderr.strip().rpartition("\n")[2].partition(": ")[2] or f"exit {answer.returncode}"
            current = _weaker(current, guard)
    if answer.returncode != 0:
        return Measured(current, refused=refused, error=(answer.stderr.strip() or f"exit {answer.returncode}")[-300:])
    found = json.loads(answer.stdout)
    return Measured(current, tuple(found["reached"]), refused, tuple(found["closed"]))


def _questions(stack: ExitStack, secrets: Secrets, needed: Sequence[Path], agent_pid: int) -> dict[str, object]:
    """Opens the sockets and the file that the child shall try to reach; they close with the stack.

    The sockets lie in a temporary folder, as their names must be short; the file does not, as seatbelt lets lanes write
    there.
    """
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    folder.chmod(0o711)
    tcp, udp, local = (
        stack.enter_context(socket.socket(*kind))
        for kind in (
            (socket.AF_INET, socket.SOCK_STREAM),
            (socket.AF_INET, socket.SOCK_DGRAM),
            (socket.AF_UNIX, socket.SOCK_STREAM),
        )
    )
    for inet in (tcp, udp):
        inet.bind(("127.0.0.1", 0))
    local.bind(str(folder / "s"))
    (folder / "s").chmod(0o666)
    for stream in (tcp, local):
        stream.listen()
    file = None
    if secrets.own is not None and secrets.own.is_dir():
        file = secrets.own / f"{probe.PROBE_NAME}-{os.getpid()}"  # one name, so that a kill leaves no more than one
        stack.callback(file.unlink, missing_ok=True)
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600))
    return {
        "read": {name: str(path) for name, path in secrets.read.items()},
        "write": {name: str(path) for name, path in secrets.write.items()},
        "enter": [str(path) for path in needed],
        "change": None if file is None else str(file),
        "tcp": tcp.getsockname()[1],
        "udp": udp.getsockname()[1],
        "unix": str(folder / "s"),
        "agent": agent_pid,
    }


def _ask(confinement: Confinement, questions: str, account: tuple[int, int] | None) -> subprocess.CompletedProcess[str]:
    worker = (sys.executable, "-I", "-S", str(Path(probe.__file__)), questions)
    uid, gid = account or (None, None)
    try:
        return subprocess.run(  # noqa: S603 -- our own interpreter and our own program
            confinement.command(worker, Path("/nonexistent"), None),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
            check=False,
            cwd="/",
            env={},
            user=uid,
            group=gid,
            extra_groups=None if account is None else (),
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess([], 1, "", f"no answer within {PROBE_SECONDS} s")
    except OSError as error:
        return subprocess.CompletedProcess([], 1, "", f"{sys.executable}: {error.strerror}")


def _weaker(confinement: Confinement, refused: str) -> Confinement:
    if refused == CAPABILITIES:
        return replace(confinement, keeps_undroppable_rights=True)
    return replace(confinement, guards=weaker(confinement.guards, refused))


def _refused_guard(confinement: Confinement, answer: subprocess.CompletedProcess[str]) -> str | None:
    """The guard that the child could not have; None when it ended for another reason or answered."""
    guards = confinement.guards
    if answer.returncode == 0:
        return None
    if FileGuard.SEATBELT in (guards.files, guards.network):
        return NetworkGuard.SEATBELT.value
    named = answer.stderr.strip().rpartition("\n")[2].partition(":")[0]
    tried = {guards.files.value, guards.network.value} - {FileGuard.NONE.value, NetworkGuard.NONE.value}
    if not confinement.keeps_undroppable_rights:
        tried.add(CAPABILITIES)
    return named if answer.returncode == EXIT_NOT_CONFINED and named in tried else None
