"""Child processes of the rig: readiness, early death, and nothing left below them."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest

from voxfleet_dev.processes import Child, ChildFailed, wait_ended

# A child that ignores SIGTERM, with a child in a session of its own.
STUBBORN = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], start_new_session=True)
print("ready", flush=True)
signal.pause()
"""


def python(code: str, folder: Path) -> Child:
    return Child("example", [sys.executable, "-c", code], folder / "example.log")


def start_and_wait(child: Child) -> None:
    child.start()
    child.wait_until(lambda: False, timeout_seconds=60)


def test_early_death_is_told_with_the_log(tmp_path: Path) -> None:
    child = python("raise SystemExit('no such port')", tmp_path)
    child.start()
    with pytest.raises(ChildFailed, match=r"example ended with code 1 before it was ready.*\n.*no such port"):
        child.wait_until(lambda: False, timeout_seconds=60)
    child.stop()


def test_slow_start_is_told_with_the_limit(tmp_path: Path) -> None:
    child = python("import signal; signal.pause()", tmp_path)
    child.start()
    with pytest.raises(ChildFailed, match=r"was not ready after 0\.2 s"):
        child.wait_until(lambda: False, timeout_seconds=0.2)
    child.stop()
    assert not child.running


def test_missing_program_is_told(tmp_path: Path) -> None:
    child = Child("example", [tmp_path / "absent"], tmp_path / "example.log")
    with pytest.raises(ChildFailed, match="absent"):
        start_and_wait(child)
    child.stop()


def test_stop_ends_the_whole_tree(tmp_path: Path) -> None:
    child = python(STUBBORN, tmp_path)
    child.start()
    child.wait_until(lambda: "ready" in child.log_tail(), timeout_seconds=60)
    tree = [psutil.Process(child.pid), *child.descendants()]
    assert len(tree) == 2
    child.stop(grace_seconds=0.1)
    assert not wait_ended(tree, 0)


def test_stop_ends_what_a_killed_child_left(tmp_path: Path) -> None:
    child = python(STUBBORN, tmp_path)
    child.start()
    child.wait_until(lambda: "ready" in child.log_tail(), timeout_seconds=60)
    orphans = child.kill()
    assert len(orphans) == 1
    child.stop()
    assert not wait_ended(orphans, 0)


def test_restart_adds_to_the_environment(tmp_path: Path) -> None:
    child = python("import os; print(os.environ.get('CRASH_AT', 'nowhere'), flush=True)", tmp_path)
    child.start()
    assert child.wait_exit(60) == 0
    child.start({"CRASH_AT": "seal"})
    assert child.wait_exit(60) == 0
    assert child.log_tail().splitlines() == ["nowhere", "seal"]
    child.stop()
