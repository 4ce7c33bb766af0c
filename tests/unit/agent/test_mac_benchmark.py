"""`bench mac`: what it chooses, compares and writes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from voxfleet_agent.engine.upstream_messages import UpstreamAnswer, UpstreamClip, UpstreamLoaded, read_answer
from voxfleet_agent.mac_benchmark.benchmark_job import BenchmarkJob, chosen_clips
from voxfleet_agent.mac_benchmark.html_report import html_report
from voxfleet_agent.mac_benchmark.measured_model import (
    MeasuredModel,
    compared_with_upstream,
)
from voxfleet_agent.mac_benchmark.measurement import STEPS, TimeBudget, child, measure_model
from voxfleet_agent.models.store import ModelStore
from voxfleet_agent.standalone.job_documents import read_files
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.job_model import BuiltinModel, BuiltinName, ModelSource
from voxfleet_api.rows import ClipStatus, ResultRow, RowError, Timings

ODD = "<script>alert('x')</script> & \"quotes\""


def row(clip_id: str, text: str | None, infer_milliseconds: int = 100, batch_size: int = 1) -> ResultRow:
    error = None if text is not None else RowError(failure_class=FailureClass.DECODE_ERROR, reason="damaged")
    return ResultRow(
        index=int(clip_id),
        custom_id=clip_id,
        status=ClipStatus.SUCCEEDED if text is not None else ClipStatus.QUARANTINED,
        text=text,
        error=error,
        audio_milliseconds=1000,
        batch_size=batch_size,
        timings=Timings(infer_milliseconds=infer_milliseconds),
    )


def heard(clip_id: str, seconds: float, text: str | None, error: str | None = None) -> UpstreamClip:
    return UpstreamClip(id=clip_id, seconds=seconds, text=text, error=error)


def test_clips_are_spread_over_the_folder() -> None:
    files = [Path(f"/clips/{number:02d}.wav") for number in range(10)]
    others = [Path("/clips/README.md"), Path("/clips/.hidden.wav")]
    assert list(chosen_clips([*others, *reversed(files)], 3).values()) == [files[0], files[3], files[6]]
    assert list(chosen_clips(files, 50).values()) == files
    assert chosen_clips(others, 5) == {}


def test_the_documents_are_a_job_that_runs(tmp_path: Path) -> None:
    model = ModelSource(builtin=BuiltinModel(name=BuiltinName.COMMANDS))
    job = BenchmarkJob(model, {"0000": Path("/clips/a b.wav")}, 16_000, 4)
    (tmp_path / "job.yaml").write_text(job.documents(tmp_path / "clips.jsonl", tmp_path / "results"))
    read = read_files([tmp_path / "job.yaml"])
    ladder = read.contract.spec.batching.ladder
    assert ladder is not None and ladder.to == 4
    assert read.job.spec.model == model
    assert job.manifest_text() == '{"id": "0000", "uri": "file:///clips/a b.wav"}\n'


def test_the_same_clips_are_compared() -> None:
    rows = [row("0", "one two"), row("1", "one two", 300, 3), row("2", None), row("3", "lost"), row("4", "not reached")]
    upstream = {
        "0": heard("0", 0.4, "one two"),
        "1": heard("1", 0.6, "one three four"),
        "2": heard("2", 0.1, "x"),
        "3": heard("3", 0.1, None, "ValueError"),
    }
    found = compared_with_upstream(rows, upstream)
    assert (found.clips, found.equal_texts, found.words, found.word_errors) == (2, 1, 5, 2)
    assert (found.agent_infer_seconds, found.upstream_generate_seconds) == (0.2, 1.0)
    assert (found.only_agent, found.only_upstream) == (1, 1)


def test_the_sides_are_compared_from_start_to_end_and_only_when_both_heard_all_clips() -> None:
    both = MeasuredModel(
        "m",
        2,
        ladder_seconds=4.0,
        rows=(row("0", "a", 1), row("1", "b", 1)),
        upstream=UpstreamAnswer(None, {"0": heard("0", 1.0, "a"), "1": heard("1", 1.0, "b")}),
        agent_process_seconds=12.0,
        upstream_process_seconds=6.0,
    )
    assert (both.agent_seconds, both.times_faster) == (8.0, 0.75)
    assert replace(both, clips=3).times_faster is None
    assert replace(both, agent_process_seconds=None).times_faster is None


def test_neither_the_home_nor_a_models_folders_are_shown() -> None:
    path = "/Users/ada/client-x/whisper"
    model = MeasuredModel(path, 1, notes=(f"{path} is no model", "/Users/ada/Library/log tells more"))
    report = html_report(
        {"python": "/Users/ada/bin"}, [("ok", "cache", "/Users/ada/c", "see /Users/ada/d")], [model], "/Users/ada"
    )
    assert "ada" not in report and "client-x" not in report
    assert "Model whisper" in report and "whisper is no model" in report and "~/Library/log" in report


def test_a_child_that_does_not_end_is_ended() -> None:
    deaf = (
        "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('said', flush=True); time.sleep(600)"
    )
    assert child(["-c", deaf], 1.0, stop_seconds=0.1)[0] is None
    took, output = child(["-c", "print('said')"], 60.0)
    assert took is not None and output == "said\n"


def test_files_of_a_model_that_do_not_come_take_their_share_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(ModelStore, "resolve", never)
    model = ModelSource(builtin=BuiltinModel(name=BuiltinName.COMMANDS))
    budget = TimeBudget(0.3, STEPS)
    measured = measure_model("commands", model, {}, 1, tmp_path, tmp_path, budget, lambda _: None)
    assert "its files were not here" in measured.notes[0]
    assert budget.next_step_seconds() > 0


def test_a_loop_that_was_ended_leaves_what_it_had() -> None:
    loaded = UpstreamLoaded(load_seconds=2.5, widened=True)
    lines = [message.model_dump_json(by_alias=True) for message in (loaded, heard("0", 0.5, "a"))]
    assert read_answer([*lines, lines[1][:12]]) == UpstreamAnswer(loaded, {"0": heard("0", 0.5, "a")})
    assert read_answer([]) == UpstreamAnswer()


def test_each_step_may_take_its_share_of_what_is_left() -> None:
    now = 0.0
    budget = TimeBudget(100, 4, lambda: now)
    assert budget.next_step_seconds() == 25
    now = 10.0
    assert budget.next_step_seconds() == 30
    budget.skip_steps(1)
    assert budget.next_step_seconds() == 90
    now = 200.0
    assert budget.next_step_seconds() == 0


def test_the_report_is_one_file_that_shows_everything_as_text() -> None:
    rows = (row("0", "a secret sentence"),)
    loaded = UpstreamLoaded(load_seconds=1.0, widened=True)
    upstream = UpstreamAnswer(loaded, {"0": heard("0", 0.5, "a secret sentence")})
    model = MeasuredModel(ODD, 2, notes=(ODD,), rows=rows, upstream=upstream)
    report = html_report({"chip": ODD}, [("fail", ODD, ODD, ODD)], [model], "/Users/ada")
    found: list[tuple[str, dict[str, str | None]]] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append((tag, dict(attrs)))

    Tags().feed(report)
    tags = {tag for tag, _ in found}
    assert tags <= {"html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "table", "tr", "td", "th"}
    assert not any(name in ("src", "href", "style") or name.startswith("on") for _, attrs in found for name in attrs)
    assert "secret" not in report and "url(" not in report
    assert "1 of 2 with a result" in report and "1, 1 of them the same words" in report
