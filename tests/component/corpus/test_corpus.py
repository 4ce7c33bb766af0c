"""The whole corpus through a real agent: each file gets one row of the expected class and leaves no other trace."""

from __future__ import annotations

import sys
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.component.corpus.witness import Bait, Trace, can_trace, tracing
from tests.rig.agent_process import AgentProcess
from tests.rig.job_specs import JobSpecs

from voxfleet_agent.stages.process.row_recorder import evidence_name
from voxfleet_api.kinds.job_input import JobInput, ManifestInput
from voxfleet_api.quantities import quantity_bytes
from voxfleet_api.results import ResultIndex
from voxfleet_api.rows import ClipStatus, ManifestRow, ResultRow
from voxfleet_api.run_record import RunRecord
from voxfleet_corpus.case import CONTRACT, Expected, Verdict
from voxfleet_corpus.folder import write_corpus

MEMORY_CAP = "1Gi"
LONGEST_MILLISECONDS = 5_000
REPOSITORY = Path(__file__).parents[3]
SYSTEM = (
    *("/usr/", "/lib/", "/lib64/", "/proc/", "/sys/", "/dev/", "/etc/ld.so.cache", "/etc/ssl/", "/etc/loca"),
    "/etc/fstab",  # which volumes should be mounted: read before each attempt
)


@dataclass(frozen=True)
class Run:
    """The finished job and what the agent showed."""

    root: Path
    expected: list[Expected]
    rows: dict[str, ResultRow]
    manifest: dict[str, ManifestRow]
    record: RunRecord
    log: str
    responses: str
    trace: Trace | None
    bait_opened: bool | None
    """None: this system cannot watch the bait."""
    residue_bytes: int


def run_corpus(root: Path) -> Run:
    corpus = root / "corpus"
    expected, _ = write_corpus(corpus)
    (root / "out").mkdir()
    inputs, outputs = (corpus / "input").as_uri() + "/", (root / "out").as_uri()
    specs = JobSpecs(
        JobInput(manifest=ManifestInput(uri=f"{inputs}manifest.jsonl")),
        outputs,
        CONTRACT,
        shard_audio_milliseconds=10**9,
    )
    pools = [{"name": "offline", "kind": "Offline", "lanes": 1, "memoryCap": MEMORY_CAP, "batchSize": 4}]
    with ExitStack() as stack:
        bait = stack.enter_context(closing(Bait(corpus / "bait"))) if sys.platform == "linux" else None
        agent = stack.enter_context(AgentProcess(root / "mac", [inputs, f"{outputs}/"], pools=pools))
        trace = None
        if can_trace():
            trace = stack.enter_context(tracing([agent.mac.agent.pid], root / "trace"))
        plan = agent.plan(specs)
        (spec,) = specs.process(plan)
        status = agent.run(spec)
        assert status.result is not None, status.failure
        agent.succeed(specs.finalize(plan, [(spec, status.result)]))
        log = agent.mac.agent.log_tail(10**6)
        bait_opened = None if bait is None else bait.opened()
    folder = specs.local_folder
    index = ResultIndex.model_validate_json((folder / "index.json").read_bytes())
    rows = [
        ResultRow.model_validate_json(line)
        for file in index.files
        if file.path in ("results.jsonl", "errors.jsonl")
        for line in (folder / file.path).read_bytes().splitlines()
    ]
    assert sorted(row.index for row in rows) == list(range(len(expected)))
    manifest = (folder / "plan" / "1" / "manifest.jsonl").read_bytes().splitlines()
    (record,) = folder.glob("parts/*/1/run.json")
    return Run(
        root,
        expected,
        {row.custom_id: row for row in rows},
        {row.custom_id: row for row in map(ManifestRow.model_validate_json, manifest)},
        RunRecord.model_validate_json(record.read_bytes()),
        log,
        "\n".join(agent.text),
        trace,
        bait_opened,
        status.scratch_residue_bytes,
    )


def each_file_has_one_row_of_the_expected_class(run: Run) -> None:
    wrong = []
    for case in run.expected:
        row = run.rows[case.id]
        found = None if row.error is None else row.error.failure_class
        if found is not case.failure_class:
            reason = "" if row.error is None else row.error.reason
            wrong.append(f"{case.id} ({case.note}): {found or row.status} {reason}, owed: {case.failure_class}")
    assert not wrong, "\n".join(wrong)


def clips_refused_by_address_or_header_are_never_decoded(run: Run) -> None:
    refused = [case.id for case in run.expected if case.verdict is Verdict.REFUSED]
    assert refused
    assert [name for name in refused if run.manifest[name].refusal is None] == []
    assert [name for name in refused if run.rows[name].attestation is not None] == []
    succeeded = [case.id for case in run.expected if case.verdict is Verdict.SUCCEEDED]
    assert [name for name in succeeded if run.rows[name].attestation is None] == []


def whole_audio_is_transcribed_whole_in_every_container(run: Run) -> None:
    texts = {case.id: case.text for case in run.expected if case.text is not None}
    assert {name: run.rows[name].text for name in texts} == texts


def no_clip_takes_long_or_much_and_no_lane_ends(run: Run) -> None:
    for row in run.rows.values():
        if row.timings is not None:
            # The wait for the lane is left out: for the first clips it includes loading the model.
            spent = sum(row.timings.model_dump(exclude={"wait_milliseconds"}).values())
            assert spent <= LONGEST_MILLISECONDS, row.custom_id
    assert run.record.readings.restarts == {}
    assert 0 < run.record.readings.peak_rss_bytes < quantity_bytes(MEMORY_CAP)
    assert run.residue_bytes == 0
    assert [row.custom_id for row in run.rows.values() if row.retries] == []


def quarantined_clips_have_evidence(run: Run) -> None:
    folder = next((run.root / "out").iterdir())
    for row in run.rows.values():
        evidence = folder / evidence_name(row.index)
        assert evidence.exists() == (row.status is ClipStatus.QUARANTINED), row.custom_id


def responses_and_log_name_no_file_and_no_transcript(run: Run) -> None:
    names = [case.name.rpartition("/")[2] for case in run.expected if len(case.name) >= 8]
    assert [name for name in names if name in run.log or name in run.responses] == []
    assert "hello one two" not in run.log + run.responses


def nothing_follows_what_hostile_files_name(run: Run) -> None:
    if run.bait_opened is None:
        pytest.skip("needs inotify")
    assert not run.bait_opened


def no_file_is_opened_outside_scratch_and_sources(run: Run) -> None:
    if run.trace is None:
        pytest.skip("strace is not installed, or may not watch processes here")
    own = [run.root / "mac", run.root / "out", run.root / "corpus" / "input"]
    software = [
        Path(sys.prefix),
        Path(sys.base_prefix),
        *(REPOSITORY / name for name in ("agent", "crds", "operator", "hack")),
    ]
    allowed = tuple(f"{folder}" for folder in (*own, *software)) + SYSTEM
    opened = run.trace.opened()
    assert any(path.startswith(str(own[0] / "scratch")) for path in opened), "the trace saw nothing"
    assert sorted(path for path in opened if not path.startswith(allowed)) == []
    named = ("/dev/zero", "/proc/self/mem", "/proc/self/environ", "/dev/mem")
    assert sorted(path for path in opened if path.startswith(named)) == []
    programs = {str(Path(sys.executable)), str(Path(sys.executable).resolve())}
    other = [line for line in run.trace.other_calls() if not any(f'"{program}"' in line for program in programs)]
    assert other == []


CHECKS = (
    each_file_has_one_row_of_the_expected_class,
    clips_refused_by_address_or_header_are_never_decoded,
    whole_audio_is_transcribed_whole_in_every_container,
    no_clip_takes_long_or_much_and_no_lane_ends,
    quarantined_clips_have_evidence,
    responses_and_log_name_no_file_and_no_transcript,
    nothing_follows_what_hostile_files_name,
    no_file_is_opened_outside_scratch_and_sources,
)


def test_the_whole_corpus(tmp_path: Path, subtests: pytest.Subtests) -> None:
    run = run_corpus(tmp_path)
    for check in CHECKS:
        with subtests.test(check.__name__):
            check(run)
