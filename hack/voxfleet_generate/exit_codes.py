"""Generates docs/reference/exit-codes.md. A test looks through the programs for codes that are not listed here."""

from __future__ import annotations

from voxfleet_agent.commands import run
from voxfleet_agent.confinement import launch
from voxfleet_agent.exit_deadline import EXIT_CODE as AGENT_HANGS
from voxfleet_agent.lane_protocol import messages
from voxfleet_agent.standalone.run_verdict import RunEnding
from voxfleet_cli.command_line import Exit
from voxfleet_generate.tables import page, table
from voxfleet_operator.leader import LOST_EXIT_CODE

CLI, OPERATOR, AGENT, LANE = "voxfleet, kubectl voxfleet", "voxfleet operator", "voxfleet-agent", "a lane's process"
INTERRUPTED = run.EXIT_CODES[RunEnding.PARKED]

EXIT_CODES: tuple[tuple[str, int, str], ...] = (
    (CLI, Exit.OK, "Fine."),
    (
        CLI,
        Exit.FAILED_JOB,
        "The job has failed, the request was refused, or a bill does not fit; the message says why.",
    ),
    (
        CLI,
        Exit.USAGE,
        "Wrong usage: an option, a name, a kind, a file that cannot be read; `speak`, `transcribe`: no audio device.",
    ),
    (CLI, Exit.NOT_FOUND, "There is no such object, or no such endpoint for this key."),
    (
        CLI,
        Exit.UNAVAILABLE,
        "The cluster, the ledger archive or the gateway gave no answer, or there is no access to one; an endpoint has"
        " no room, or lost the session. The same command may succeed later.",
    ),
    (CLI, Exit.INTERRUPTED, "`transcribe`, `speak`, `endpoint probe`: interrupted."),
    (OPERATOR, 0, "It was told to end (SIGTERM, SIGINT)."),
    (
        OPERATOR,
        1,
        "It cannot run: no cluster, no CRDs, watches that ended, a port that is taken; see its last line.",
    ),
    (OPERATOR, 2, "Wrong usage: a flag or an environment variable."),
    (
        OPERATOR,
        LOST_EXIT_CODE,
        "It may not act any more: it lost the Lease, or the API server was restored. Start it again.",
    ),
    (AGENT, 0, "Fine; of `serve`: it was told to end."),
    (
        AGENT,
        1,
        "The command failed; `run`: the job failed or is beyond the contract's limits; `compare`, `replay`, `repro"
        " verify`: something differs; `doctor`: something fails; `bench mac`: something could not be measured.",
    ),
    (AGENT, run.EXIT_UNUSABLE, "Arguments, documents, environment, input or model are wrong, and nothing ran."),
    (AGENT, AGENT_HANGS, "It could not end because a disk or a file server does not answer. The same command goes on."),
    (AGENT, INTERRUPTED, "`run` was interrupted; the same command goes on."),
    (LANE, 0, "Its agent closed the pipe."),
    (LANE, messages.EXIT_GPU_FAULT, "The GPU aborted the work; the agent starts another process."),
    (LANE, messages.EXIT_LANE_BUSY, "An earlier process of the lane is still alive; the agent ends it."),
    (LANE, launch.EXIT_NOT_CONFINED, "A guard of the lane could not be had; the agent tries the next one."),
    (LANE, launch.EXIT_NO_COMMAND, "The worker cannot be started; the message names the file."),
)
"""Program, code, meaning."""


def exit_codes_page() -> str:
    programs = dict.fromkeys(program for program, _, _ in EXIT_CODES)
    return page(
        "Exit codes",
        "What each program ends with. A process that a signal ended has no code of its own; a shell shows 128 and the"
        " signal's number.",
        *(
            (
                program,
                table(
                    ("code", "meaning"),
                    ((str(int(code)), text) for owner, code, text in EXIT_CODES if owner == program),
                ),
            )
            for program in programs
        ),
    )
