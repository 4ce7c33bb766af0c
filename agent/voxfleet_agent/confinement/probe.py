"""Tries what a lane must not be able to do, and prints what it could do as JSON.

    python -I -S probe.py QUESTIONS

QUESTIONS is JSON: {"read": {name: path}, "write": {name: folder}, "enter": [folder, …], "change": file or null,
"tcp": port, "udp": port, "unix": path, "agent": pid}. The standard library alone.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

PROBE_NAME = ".lane-probe"
_TIMEOUT_SECONDS = 2.0
_READ_ANY_FILE = 2
"""CAP_DAC_READ_SEARCH, the one capability that a lane may have."""


def main(arguments: list[str]) -> int:
    questions = json.loads(arguments[0])
    tries: list[tuple[str, Callable[[], object]]] = []
    for name, path in questions["read"].items():
        tries.append((name, partial(_read, path)))
    for name, folder in questions["write"].items():
        tries.append((name, partial(_write, folder)))
    tries += [
        ("TCP", partial(_connect, socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", questions["tcp"]))),
        ("UDP", partial(_connect, socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", questions["udp"]))),
        ("a socket in the file system", partial(_connect, socket.AF_UNIX, socket.SOCK_STREAM, questions["unix"])),
    ]
    for name, file in (("the agent's environment", "environ"), ("the agent's memory", "mem")):
        tries.append((name, partial(_read, f"/proc/{questions['agent']}/{file}")))
    if (file := questions["change"]) is not None:
        for change in (partial(os.chmod, file, 0o600), partial(os.utime, file), partial(_set_attribute, file)):
            tries.append(("rights and attributes of files", change))
        for flags in (os.O_WRONLY, os.O_RDONLY | os.O_TRUNC):
            tries.append(("the content of files", partial(_open, file, flags)))
        tries.append(("the content of files", partial(os.truncate, file, 0)))
    tries.append(("capabilities", _require_capabilities))
    reached = [*dict.fromkeys(name for name, attempt in tries if _succeeds(attempt))]
    print(json.dumps({"reached": reached, "closed": _closed(questions["enter"])}))
    return 0


def _closed(folders: list[str]) -> list[str]:
    """The first folder on the way to each that this account cannot pass through; folders that do not exist are open."""
    closed: list[str] = []
    for folder in folders:
        for path in (*reversed(Path(folder).parents), Path(folder)):
            if not os.access(path, os.F_OK):
                break
            if not os.access(path, os.X_OK):
                closed.append(str(path))
                break
    return sorted({*closed})


def _succeeds(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True


def _read(path: str) -> None:
    if Path(path).is_dir():
        next(Path(path).iterdir(), None)
        return
    _open(path, os.O_RDONLY | os.O_NONBLOCK)


def _open(path: str, flags: int) -> None:
    os.close(os.open(path, flags))


def _set_attribute(path: str) -> None:
    if sys.platform != "linux":
        raise OSError(errno.ENOTSUP, "Python sets attributes on Linux only")
    os.setxattr(path, "user.voxfleet", b"")


def _require_capabilities() -> None:
    """Raises OSError unless this process has capabilities that a lane should not have."""
    status = Path("/proc/self/status").read_text()
    effective = next((line for line in status.splitlines() if line.startswith("CapEff:")), "CapEff: 0")
    if not int(effective.split()[1], 16) & ~(1 << _READ_ANY_FILE):
        raise PermissionError


def _write(folder: str) -> None:
    file = Path(folder) / PROBE_NAME
    os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    file.unlink()


def _connect(family: int, kind: int, address: tuple[str, int] | str) -> None:
    with socket.socket(family, kind) as connection:
        connection.settimeout(_TIMEOUT_SECONDS)
        connection.connect(address)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
