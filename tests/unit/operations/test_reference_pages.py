"""The generated pages name all that there is: each test looks for it in the code, and fails for what no page has."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.unit.operator.golden.condition_sections import states
from typer.core import TyperGroup
from typer.main import get_command

from voxfleet_agent import metric_list
from voxfleet_agent.clip_metrics import ClipMetrics
from voxfleet_agent.metrics import AgentMetrics, AgentReading
from voxfleet_agent.mlx_audio_names import UPSTREAM_NAMES
from voxfleet_api.condition_texts import CONDITIONS, REASONS
from voxfleet_api.conditions import ConditionType, Reason
from voxfleet_api.rows import ClipStatus, ResultRow, Timings
from voxfleet_api.run_record import LaneReadings
from voxfleet_gateway.command import app, gateway
from voxfleet_generate.exit_codes import AGENT, CLI, EXIT_CODES, LANE, OPERATOR
from voxfleet_generate.settings import ENVIRONMENT, flags_of
from voxfleet_operator.command import operator
from voxfleet_operator.reconcile.transitions import conditions_of
from voxfleet_shared import crash_points

REPOSITORY = Path(__file__).resolve().parents[3]
AGENT_FOLDER, OPERATOR_FOLDER = REPOSITORY / "agent" / "voxfleet_agent", REPOSITORY / "operator" / "voxfleet_operator"
CLI_FOLDER, GATEWAY_FOLDER = REPOSITORY / "operator" / "voxfleet_cli", REPOSITORY / "operator" / "voxfleet_gateway"
SETTING = re.compile(r"(AWS|XDG|MLX_AUDIO|VOXFLEET|OPENBLAS)_[A-Z_]+|KUBECONFIG|TMPDIR|LD_PRELOAD")
OF_TESTS = frozenset({crash_points.VARIABLE})


def trees(folder: Path) -> Iterator[tuple[Path, ast.Module]]:
    for file in sorted(folder.rglob("*.py")):
        yield file, ast.parse(file.read_text())


def test_every_condition_and_every_reason_has_its_meaning() -> None:
    assert set(CONDITIONS) == set(ConditionType) and set(REASONS) == set(Reason)
    for text in REASONS.values():
        assert text.means.endswith(".") and text.to_do.endswith(".")


def test_the_kinds_of_a_condition_are_those_that_have_it() -> None:
    seen = {
        (item.type, kind.crd.kind)
        for kind, found in states().items()
        for resource in found.values()
        for item in conditions_of(resource)
    }
    assert seen == {(str(type_), kind) for type_, text in CONDITIONS.items() for kind in text.of.split(", ")}


def codes_of(tree: ast.Module) -> Iterator[int]:
    """Whole numbers that a program ends with: typer.Exit(n), give_up(error, n), _exit(n), NAME_WITH_EXIT = n, and the
    members of Exit."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[-1], ast.Constant):
            called, code = ast.unparse(node.func), node.args[-1].value
            if called in ("typer.Exit", "os._exit", "give_up", "sys.exit") and isinstance(code, int):
                yield code
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            name, code = ast.unparse(node.targets[0]), node.value.value
            if re.search(r"^EXIT_(?!SECONDS)|_EXIT_CODE$|^EXIT_CODE$", name) and isinstance(code, int):
                yield code
        if isinstance(node, ast.ClassDef) and node.name == "Exit":
            yield from (int(ast.unparse(item.value)) for item in node.body if isinstance(item, ast.Assign))


@pytest.mark.parametrize(
    ("folder", "programs"),
    [(CLI_FOLDER, {CLI}), (OPERATOR_FOLDER, {OPERATOR}), (AGENT_FOLDER, {AGENT, LANE})],
    ids=["voxfleet", "operator", "agent"],
)
def test_every_exit_code_of_a_program_is_listed(folder: Path, programs: set[str]) -> None:
    listed = {code for program, code, _ in EXIT_CODES if program in programs}
    found = {(code, file.name) for file, tree in trees(folder) for code in codes_of(tree)}
    assert [item for item in sorted(found) if item[0] not in listed] == []
    assert found, "the search finds none any more"


def test_every_variable_that_is_read_is_a_setting() -> None:
    read = {
        node.value
        for folder in (AGENT_FOLDER, OPERATOR_FOLDER, GATEWAY_FOLDER, CLI_FOLDER)
        for _, tree in trees(folder)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SETTING.fullmatch(node.value)
    }
    flags = {flag.variable for command in (operator, gateway) for flag in flags_of(command) if flag.variable}
    assert read - OF_TESTS - set(UPSTREAM_NAMES) == {*ENVIRONMENT, *flags}


@pytest.mark.parametrize(("name", "command"), [("run", operator), ("gateway", gateway)])
def test_the_flags_of_the_page_are_those_of_the_command(name: str, command: Callable[..., None]) -> None:
    program = get_command(app)
    assert isinstance(program, TyperGroup)
    offered = {option.opts[0] for option in program.commands[name].params if "--help" not in option.opts}
    assert {flag.name for flag in flags_of(command)} == offered and all(flag.help for flag in flags_of(command))


def readings() -> LaneReadings:
    return LaneReadings(
        ring_bytes=1,
        ring_high_water_bytes=1,
        ring_underruns=1,
        ring_underruns_by_cause={"Disk": 1},
        ring_resets={"DecodeError": 1},
        peak_rss_bytes=1,
        metal_peak_bytes=1,
        batch_size=1,
        restarts={"Recycled": 1},
    )


def agent_metrics(clips: ClipMetrics) -> AgentMetrics:
    return AgentMetrics(lambda: AgentReading((), (), {"offline-0": readings()}, 1, 2, 3, 4, True), clips)


def test_a_scrape_of_an_agent_has_the_metrics_of_its_list_and_no_others() -> None:
    found = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in agent_metrics(ClipMetrics()).registry.collect()
    }
    assert found == {spec.name for spec in metric_list.METRICS}


def a_row(status: ClipStatus, timings: Timings | None) -> ResultRow:
    return ResultRow(index=0, custom_id="a", status=status, audio_milliseconds=2000, timings=timings)


def test_the_latency_of_a_clip_is_its_own() -> None:
    clips = ClipMetrics()
    timings = Timings(
        fetch_milliseconds=100,
        decode_milliseconds=200,
        wait_milliseconds=5000,
        infer_milliseconds=300,
        write_milliseconds=400,
    )
    clips.recorded(a_row(ClipStatus.SUCCEEDED, timings))
    clips.recorded(a_row(ClipStatus.SUCCEEDED, None))
    clips.recorded(a_row(ClipStatus.QUARANTINED, timings))
    registry = agent_metrics(clips).registry
    assert registry.get_sample_value("voxfleet_agent_clip_latency_seconds_sum") == 1.0
    assert registry.get_sample_value("voxfleet_agent_clip_latency_seconds_count") == 1
    assert registry.get_sample_value("voxfleet_agent_clip_part_latency_seconds_sum", {"part": "wait"}) == 5.0
    assert registry.get_sample_value("voxfleet_agent_clips_total", {"status": "quarantined"}) == 1
    assert registry.get_sample_value("voxfleet_agent_audio_seconds_total") == 4.0
