"""The tutorial runs as printed, from `make demo KEEP=1` on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.e2e.fleet import wait_for_processes_to_end
from tests.e2e.test_demo import below
from tests.rig.console_page import Shell, Step, steps

from voxfleet_dev.locations import REPOSITORY

PAGE = REPOSITORY / "docs" / "tutorials" / "from-nightly-batch-to-invoice.md"
MAKE = """#!/bin/sh
case "$*" in
"demo KEEP=1") exec {python} -m voxfleet_dev.demo --folder .demo --keep ;;
"demo-stop") exec {python} -m voxfleet_dev.demo --folder .demo --stop ;;
*) echo "no target: $*" >&2; exit 2 ;;
esac
"""
"""What the Makefile's targets run, with the demo's folder below the working one."""
DEMO_STARTS = 2
"""Steps until the shell knows the demo's cluster."""
DEMO_STOPS = 2
TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True)
class Walk:
    """A newcomer's shell in a folder like the checkout, with the demo running."""

    shell: Shell
    folder: Path
    steps: list[Step]


def environment(folder: Path) -> Mapping[str, str]:
    programs = folder / "programs"
    programs.mkdir()
    make = programs / "make"
    make.write_text(MAKE.format(python=sys.executable))
    make.chmod(0o755)
    return {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "TERM": "dumb", "COLUMNS": "120", "TZ": "UTC"}


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    """`make demo KEEP=1` as the page has it, and at the end its `make demo-stop`."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "examples").symlink_to(REPOSITORY / "examples")
    told = steps(PAGE)
    assert [step.command for step in told[:DEMO_STARTS]] == ["make demo KEEP=1", "source .demo/env"]
    assert [step.command for step in told[-DEMO_STOPS:]] == ["cd ../..", "make demo-stop"]
    with Shell(folder, environment(folder)) as shell:
        try:
            for step in told[:DEMO_STARTS]:
                shell.take(step)
            running = below(folder / ".demo")
            assert len(running) > 3, "the demo goes on when make returns"
            yield Walk(shell, folder, told[DEMO_STARTS:-DEMO_STOPS])
            shell.run(f"cd {folder}", TIMEOUT_SECONDS)
            shell.take(told[-1])
            wait_for_processes_to_end(running)
            assert below(folder / ".demo") == []
        finally:  # whatever became of the shell
            stop = [sys.executable, "-m", "voxfleet_dev.demo", "--folder", str(folder / ".demo"), "--stop"]
            subprocess.run(stop, check=False, capture_output=True)


def test_what_a_newcomer_copies_works_as_printed(walk: Walk) -> None:
    for step in walk.steps:
        walk.shell.take(step)
