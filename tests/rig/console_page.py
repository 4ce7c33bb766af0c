"""A page of documentation whose commands are run, one after the other in one shell, and whose output is compared.

Blocks of `console` have commands behind `$ ` and below each what it prints; blocks of `sh` are one command that prints
nothing. `…` stands for whatever varies within a line, and alone in a line for any lines. A number with four or more
decimals, as hours and costs have, is that of one run and may be another. Runs of blanks are alike. A command ends with
0, unless the next one is `echo $?`.
"""

from __future__ import annotations

import os
import re
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

PROMPT = "$ "
ASKS_FOR_THE_CODE = "echo $?"
ANYTHING = "…"
_BLOCK = re.compile(r"^```(sh|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MEASURED = re.compile(r"(\d+\.\d{4,}|…)")
_END = "end of the output of a step, exit code"


@dataclass(frozen=True, slots=True)
class Step:
    where: str
    """Page and line."""
    command: str
    printed: tuple[str, ...]
    may_fail: bool = False


def steps(page: Path) -> list[Step]:
    """In the page's order."""
    text = page.read_text(encoding="utf-8")
    found: list[Step] = []
    for block in _BLOCK.finditer(text):
        language, content = block.groups()
        first = text.count("\n", 0, block.start()) + 2
        if language == "sh":
            found.append(Step(f"{page.name}:{first}", content, ()))
        else:
            found += _console_steps(page.name, first, content.splitlines())
    return [
        Step(step.where, step.command, step.printed, following is not None and following.command == ASKS_FOR_THE_CODE)
        for step, following in zip(found, [*found[1:], None], strict=True)
    ]


def _console_steps(page: str, first: int, lines: Sequence[str]) -> Iterator[Step]:
    assert lines and lines[0].startswith(PROMPT), f"{page}:{first}: the block begins with no command"
    starts = [number for number, line in enumerate(lines) if line.startswith(PROMPT)]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        yield Step(f"{page}:{first + start}", lines[start].removeprefix(PROMPT), tuple(lines[start + 1 : end]))


def fits(printed: Sequence[str], output: str) -> bool:
    """Whether the output is what the page prints."""
    pattern = "".join(_pattern(" ".join(line.split())) for line in printed)
    lines = [" ".join(line.split()) for line in output.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in lines)) is not None


def _pattern(line: str) -> str:
    if line == ANYTHING:
        return r"(?:[^\n]*\n)*?"
    found = []
    for number, part in enumerate(_MEASURED.split(line)):
        found.append(re.escape(part) if number % 2 == 0 else r"[^\n]*?" if part == ANYTHING else r"\d+\.\d{4,}")
    return "".join(found) + r"\n"


class Shell:
    """One bash for all steps, so that what one exports or where it goes holds for the next."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env={**environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends what a step left running in this session, too."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()

    def run(self, command: str, timeout_seconds: float) -> tuple[str, int]:
        """Output and exit code. Raises AssertionError when the shell ends or the time is over."""
        assert self._process.stdin is not None and self._process.stdout is not None
        lines = (
            f"eval {shlex.quote(command)} < /dev/null",
            f'_code=$?; printf \'\\n{_END} %d\\n\' "$_code"; (exit "$_code")',  # for the step that asks for it
        )
        self._process.stdin.write("".join(f"{line}\n" for line in lines).encode())
        self._process.stdin.flush()
        deadline, seen = time.monotonic() + timeout_seconds, b""
        while (found := re.search(rf"\n{_END} (\d+)\n".encode(), seen)) is None:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(self._process.stdout.fileno(), 65536) if ready else b""
            assert chunk, f"{command}\ndid not end in {timeout_seconds:g} s, or ended the shell:\n{seen.decode()}"
            seen += chunk
        return seen[: found.start()].decode(), int(found[1])

    def take(self, step: Step, timeout_seconds: float = 300.0) -> str:
        """Runs a step, asserts that the page tells what it does, and returns its output."""
        output, code = self.run(step.command, timeout_seconds)
        printed = "\n".join(step.printed)
        told = f"{step.where}: {step.command}\n--- the page\n{printed}\n--- it printed, and ended with {code}\n{output}"
        assert fits(step.printed, output), told
        assert step.may_fail or code == 0, told
        return output
