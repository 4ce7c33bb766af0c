"""`make demo`, run to its end and interrupted. test_invoice_tutorial keeps it running."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from tests.e2e.fleet import wait_for_processes_to_end

TIMEOUT_SECONDS = 180.0


@contextmanager
def demo(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    argv = [sys.executable, "-m", "voxfleet_dev.demo", "--folder", str(folder), *arguments]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: subprocess.Popen[bytes], words: bytes) -> bytes:
    """Returns the output up to these words; raises AssertionError when the process ends or times out first."""
    assert process.stdout is not None
    seen = b""
    while words not in seen:
        ready, _, _ = select.select([process.stdout], [], [], TIMEOUT_SECONDS)
        chunk = os.read(process.stdout.fileno(), 65536) if ready else b""
        assert chunk, seen.decode()
        seen += chunk
    return seen


def below(folder: Path) -> list[psutil.Process]:
    """Returns the processes with this folder in their command line, which are those of a demo."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if process.pid != os.getpid() and any(str(folder) in word for word in process.info["cmdline"] or ()):
            found.append(process)
    return found


def test_it_ends_with_a_proven_bill_and_leaves_no_process(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with demo(folder) as process:
        output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 0, output.decode()
    assert b"heard live: hello one two three\n" in output and b"spoken live: " in output
    with wave.open(str(folder / "spoken.wav")) as spoken:
        assert spoken.getframerate() == 24_000 and spoken.getnframes() > 0
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["clips"] == {"total": 35, "succeeded": 32, "failed": 0, "quarantined": 3}
    assert summary["ledgerVerified"] is True and summary["scratchResidueBytes"] == 0
    assert summary["machineSeconds"] > 0 and Path(summary["results"], "index.json").is_file()
    assert below(folder) == []


def test_ctrl_c_leaves_no_process(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with demo(folder) as process:
        read_until(process, b"Running")
        started = below(folder)
        assert len(started) > 3
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT_SECONDS) == 130
    wait_for_processes_to_end(started)
    assert below(folder) == []
