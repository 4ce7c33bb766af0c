"""Child processes that never outlive this process, the rig.

A child runs in a session of its own, so that Ctrl-C in a terminal reaches only the rig, which then stops its children
in order. On Linux the kernel also kills a child when the rig itself is killed with SIGKILL.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from types import FrameType

import psutil

POLL_SECONDS = 0.05
LOG_TAIL_LINES = 40
KILL_TIMEOUT_SECONDS = 10.0


class ChildFailed(RuntimeError):
    """A child died or was not ready in time. The message ends with the tail of its log."""


_running: list[Child] = []
_ports_given: set[int] = set()
_ports_lock = Lock()
_spawns: SimpleQueue[Callable[[], None]] = SimpleQueue()


def _spawn_forever() -> None:
    while True:
        _spawns.get()()


# The kernel sends the parent-death signal when the *thread* that started the child ends, so one thread that
# lives until the interpreter ends starts all of them.
Thread(target=_spawn_forever, name="voxfleet-dev-spawn", daemon=True).start()


class Child:
    """One child process with its log file. `start` may be called again after the process has ended."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.argv = [str(word) for word in argv]
        self.log = log
        self.env = dict(os.environ if env is None else env)
        self.cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None
        self._known_descendants: set[psutil.Process] = set()

    def start(self, extra_env: Mapping[str, str] | None = None) -> None:
        """Start the process; its output is appended to the log. Raises ChildFailed when it runs already."""
        if self.running:
            raise ChildFailed(f"{self.name} runs already (pid {self.pid})")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._process = None
        spawned: Future[None] = Future()
        _running.append(self)  # before the spawn, so that an interrupt in between still finds it
        _spawns.put(lambda: self._spawn({**self.env, **(extra_env or {})}, spawned))
        try:
            spawned.result()
        except OSError as error:
            _running.remove(self)
            raise ChildFailed(f"{self.name} could not be started: {error}") from error

    def _spawn(self, environment: Mapping[str, str], spawned: Future[None]) -> None:
        try:
            with self.log.open("ab") as output:
                self._process = subprocess.Popen(
                    [*_dies_with_parent(), *self.argv],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    cwd=self.cwd,
                    start_new_session=True,
                )
        except OSError as error:
            spawned.set_exception(error)
        else:
            spawned.set_result(None)

    @property
    def pid(self) -> int:
        """Process id of the latest start. Raises ChildFailed before the first."""
        if self._process is None:
            raise ChildFailed(f"{self.name} was never started")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Exit code (negative: the signal) of the latest start, None while it runs."""
        return None if self._process is None else self._process.poll()

    def log_tail(self, lines: int = LOG_TAIL_LINES) -> str:
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def wait_until(self, ready: Callable[[], bool], timeout_seconds: float, what: str = "ready") -> None:
        """Poll until `ready()` holds. Raises ChildFailed at once when the process dies, or after the timeout."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            if not self.running:
                raise self._failure(f"ended with code {self.exit_code} before it was {what}")
            if ready():
                return
            if time.monotonic() > deadline:
                raise self._failure(f"was not {what} after {timeout_seconds:g} s")
            time.sleep(POLL_SECONDS)

    def wait_exit(self, timeout_seconds: float) -> int:
        """Wait until the process ends by itself; returns its exit code. Raises ChildFailed after the timeout."""
        if self._process is None:
            raise ChildFailed(f"{self.name} was never started")
        try:
            return self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise self._failure(f"still ran after {timeout_seconds:g} s") from None

    def descendants(self) -> list[psutil.Process]:
        """Every live descendant of this process, including those in sessions of their own."""
        if self._process is None:
            return []
        try:
            found = psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        self._known_descendants.update(found)
        return found

    def kill(self) -> list[psutil.Process]:
        """SIGKILL only this process. Returns its descendants, so that a test can watch them end."""
        descendants = self.descendants()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        return descendants

    def freeze(self) -> None:
        """SIGSTOP only this process, if it runs."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT after `freeze`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)  # does nothing once it has ended

    def stop(self, grace_seconds: float = 10.0) -> None:
        """End the process and everything below it: SIGTERM, then SIGKILL after `grace_seconds`. Safe to repeat."""
        process = self._process
        if process is None:
            return
        self.descendants()
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(grace_seconds)
            except subprocess.TimeoutExpired:
                self.descendants()
                process.kill()
                process.wait()
        for descendant in self._known_descendants:
            if _is_alive(descendant):
                with contextlib.suppress(psutil.NoSuchProcess):
                    descendant.kill()
        alive = wait_ended(self._known_descendants, KILL_TIMEOUT_SECONDS)
        while self in _running:
            _running.remove(self)
        if alive:
            raise ChildFailed(f"{self.name}: still alive after SIGKILL: {[child.pid for child in alive]}")
        self._known_descendants.clear()

    def _failure(self, what: str) -> ChildFailed:
        return ChildFailed(f"{self.name} {what}. Last lines of {self.log}:\n{self.log_tail()}")


def wait_ended(processes: Iterable[psutil.Process], timeout_seconds: float) -> list[psutil.Process]:
    """Wait until all have ended (a zombie has ended); returns those that still live after the timeout."""
    deadline = time.monotonic() + timeout_seconds
    alive = [process for process in processes if _is_alive(process)]
    while alive and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        alive = [process for process in alive if _is_alive(process)]
    return alive


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _dies_with_parent() -> list[str]:
    """Prefix that asks the kernel for SIGKILL when the rig dies (Linux, util-linux; elsewhere empty)."""
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


def stop_all(children: Sequence[Child] | None = None) -> None:
    """Stop the given children (default: all running ones), the youngest first; raise the first error at the end."""
    errors: list[ChildFailed] = []
    for child in reversed(list(_running if children is None else children)):
        try:
            child.stop()
        except ChildFailed as error:
            errors.append(error)
    if errors:
        raise errors[0]


atexit.register(stop_all)


def exit_on_signals() -> None:
    """Turn SIGTERM and SIGHUP into SystemExit, so that `finally` blocks and exit hooks stop what was started."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    # A shell starts background processes with SIGINT ignored, and Python leaves it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGHUP, leave)


def free_port() -> int:
    """Returns a loopback TCP port that nothing listens on now and that this function has not returned before."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.bind(("127.0.0.1", 0))
            port: int = listener.getsockname()[1]
        with _ports_lock:
            if port not in _ports_given:
                _ports_given.add(port)
                return port


def accepts_connections(port: int) -> bool:
    """Whether something listens on a loopback port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.settimeout(1.0)
        return client.connect_ex(("127.0.0.1", port)) == 0
