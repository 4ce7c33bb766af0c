"""A process ends although a thread of it hangs: as on Linux and macOS alike, Python joins its threads first."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from tests.component.standalone.conftest import EXAMPLES, Home
from tests.rig.agent_config import write_agent_config

from voxfleet_agent.exit_deadline import EXIT_CODE

PRELUDE = """
import asyncio, sys, threading
from voxfleet_agent import exit_deadline
from voxfleet_agent.exit_deadline import run_to_the_end

def hang() -> None:
    asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)

exit_deadline.EXIT_SECONDS = 0.1
"""
PROGRAMS = {
    "told to stop": """
        async def main(stopping):
            stopping()
            await asyncio.Event().wait()
    """,
    "succeeded": """
        async def main(stopping):
            hang()
    """,
    "refused to start": """
        async def main(stopping):
            hang()
            raise ValueError("the journal is damaged")
    """,
}


def run_program(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PRELUDE + program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("how", PROGRAMS)
def test_a_process_that_does_not_end_is_ended(how: str) -> None:
    ended = run_program(textwrap.dedent(PROGRAMS[how]) + "\nrun_to_the_end(main, (ValueError,))\n")
    assert ended.returncode == EXIT_CODE
    assert "does not end by itself" in ended.stderr + ended.stdout
    assert ("the journal is damaged" in ended.stderr) == (how == "refused to start")


OBSTACLES = {
    "the log's disk does not answer": """
logs.configure()
logging.getLogger().handlers[0].acquire()
""",
    "standard error is full": """
reading, writing = os.pipe()
os.set_blocking(writing, False)
with suppress(BlockingIOError):
    while True: os.write(writing, bytes(4096))
with suppress(BlockingIOError):
    while True: os.write(writing, bytes(1))
os.set_blocking(writing, True)
os.dup2(writing, 2)
""",
    "standard error is closed": "os.close(2)",
}


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_a_process_that_cannot_tell_why_is_ended(obstacle: str) -> None:
    program = f"""
import logging, os
from contextlib import suppress
from voxfleet_agent import logs
exit_deadline.TELLING_SECONDS = 0.1
{OBSTACLES[obstacle]}
async def main(stopping):
    hang()

run_to_the_end(main)
"""
    ended = run_program(program)
    assert ended.returncode == EXIT_CODE
    assert ("a call does not come back" in ended.stderr) == ("log" in obstacle)


def test_a_process_that_ends_in_time_is_left_alone() -> None:
    program = """
async def main(stopping):
    stopping()
    return [each for each in threading.enumerate() if isinstance(each, threading.Timer)]

for timer in run_to_the_end(main):
    timer.join()  # the process would end here
sys.exit(3)
"""
    assert run_program(program).returncode == 3


HANGING_START = """
from voxfleet_agent import local_services
from voxfleet_agent.config import ConfigError
from voxfleet_agent.main import main

def refuse(*_):
    raise ConfigError("the lanes do not fit")

local_services.read_machine = lambda state: threading.Event().wait()
local_services.measure_confinement = refuse
main()
"""


def test_an_agent_and_a_run_that_fail_at_their_start_end(tmp_path: Path) -> None:
    config = write_agent_config(tmp_path)
    assert Home(tmp_path, tmp_path / "cache").invoke("init", "--config", config).returncode == 0
    job = Home(tmp_path, tmp_path / "cache").job("stuck", EXAMPLES / "clips", job={"output": {"uri": "file:///data/"}})
    commands: tuple[tuple[str | Path, ...], ...] = (("serve", "-c", config), ("run", "-f", job, "-c", config))
    for words in commands:
        ended = run_program(HANGING_START, *words)
        assert ended.returncode == EXIT_CODE and "the lanes do not fit" in ended.stderr, ended.stderr


def test_a_command_that_has_ended_keeps_its_exit_status() -> None:
    program = """
from voxfleet_agent import main as command
from concurrent.futures import ThreadPoolExecutor

@command.app.command()
def stuck() -> None:
    ThreadPoolExecutor(1).submit(threading.Event().wait)
    raise SystemExit(4)

command.main()
"""
    assert run_program(program, "stuck").returncode == 4
