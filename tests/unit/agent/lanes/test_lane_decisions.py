"""Groups of pieces, joined windows, merged readings, the ring's arithmetic and the child's environment."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.lane_protocol.messages import SessionLimits, WorkerReadings
from voxfleet_agent.lanes.child_environment import child_environment, runbook_names
from voxfleet_agent.lanes.hang_detection import HangTimeouts
from voxfleet_agent.lanes.lane_reports import ReadingsTotal
from voxfleet_agent.lanes.lane_types import LaneSpec
from voxfleet_agent.lanes.model_pace import ModelPace
from voxfleet_agent.worker.memory_needs import MemoryNeeds, SessionNeeds, hearing_needs
from voxfleet_agent.worker.transcribe import MAX_STRETCH, group_by_length
from voxfleet_api.kinds.contract_input import ContractInput, Conversions, Resample, Windows
from voxfleet_api.kinds.contract_limits import Retries
from voxfleet_api.kinds.job_task import Synthesis, Task, Transcription
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.run_record import UnderrunCause

MIB = 2**20


def contract(max_clip: str = "10m", conversions: Conversions | None = None) -> VoiceContractSpec:
    return VoiceContractSpec(
        input=ContractInput.model_validate(
            {"containers": ("wav",), "sample_rates_hz": (16_000,), "channels": (1,), "max_clip": max_clip}
        ),
        conversions=conversions or Conversions(),
        retries=Retries(max_retries=5),
    )


@given(st.lists(st.integers(1, 10_000), max_size=20), st.integers(1, 8))
def test_groups_hold_every_piece_once_and_are_of_similar_length(lengths: list[int], size: int) -> None:
    found = group_by_length(lengths, size)
    assert sorted(position for group in found for position in group) == list(range(len(lengths)))
    for group in found:
        assert len(group) <= size
        assert max(lengths[position] for position in group) <= MAX_STRETCH * min(
            lengths[position] for position in group
        )


def test_equal_pieces_fill_their_groups() -> None:
    assert group_by_length([5, 5, 5, 5, 5], 2) == [[0, 1], [2, 3], [4]]
    assert group_by_length([30, 5, 9, 11], 8) == [[1, 2], [3], [0]]


def test_readings_outlive_a_child() -> None:
    totals = ReadingsTotal(ring_bytes=64)
    totals.current_child = WorkerReadings(
        ring_high_water_bytes=40,
        ring_underruns=2,
        ring_underruns_by_cause={UnderrunCause.DISK: 2},
        ring_resets={"DecodeError": 1},
        peak_rss_bytes=500,
    )
    totals.child_ended()
    totals.restarts["LaneCrashed"] += 1
    totals.resets["Restart"] += 1
    totals.current_child = WorkerReadings(
        ring_high_water_bytes=30,
        ring_underruns=3,
        ring_underruns_by_cause={UnderrunCause.DISK: 1, UnderrunCause.DECODE: 2},
        ring_resets={"DecodeError": 2},
        peak_rss_bytes=600,
        metal_peak_bytes=9,
    )
    readings = totals.readings(batch_size=2)
    assert readings.model_dump() == {
        "ring_bytes": 64,
        "ring_high_water_bytes": 40,
        "ring_underruns": 5,
        "ring_underruns_by_cause": {"Disk": 3, "Decode": 2},
        "ring_resets": {"DecodeError": 3, "Restart": 1},
        "peak_rss_bytes": 600,
        "metal_peak_bytes": 9,
        "restarts": {"LaneCrashed": 1},
        "batch_size": 2,
    }
    assert totals.readings(batch_size=2) == readings


def test_a_ring_that_does_not_fit_is_refused_with_the_arithmetic() -> None:
    needs = MemoryNeeds(contract(), 16_000, decode_bytes=50 * MIB, model_bytes=370 * MIB, work_bytes=30 * MIB)
    refusal = needs.refusal(560 * MIB)
    assert refusal is not None
    for part in (
        "needs 567.2 MiB",
        "the cap is 560.0 MiB",
        "ring 43.9 MiB (input.maxClip 600 s x 120 % x 16000 Hz x 4 B)",
        "decoding 50.0 MiB",
        "one piece that waits 36.6 MiB + its batch 36.6 MiB",
        "model 370.0 MiB + its work 30.0 MiB",
        "raise batching.memoryCap",
    ):
        assert part in refusal
    assert needs.refusal(568 * MIB) is None


def test_the_sessions_that_a_lane_is_loaded_for_are_part_of_its_memory() -> None:
    limits = SessionLimits(most_sessions=4, max_turn_milliseconds=30_000)
    needs = hearing_needs(limits, contract("4h"), 16_000, model_bytes=370 * MIB, work_bytes=30 * MIB)
    session_bytes = 36 * 16_000 * 4 + MIB + 4 * MIB  # a ring, the most that waits as it came, a detector of speech
    turn_bytes = 30 * 16_000 * 4
    assert needs.least_bytes == 400 * MIB + turn_bytes + 4 * session_bytes, "the clips of batches are no part of it"
    assert needs.refusal(needs.least_bytes) is None
    refusal = needs.refusal(needs.least_bytes - 1)
    assert refusal is not None and "+ a turn of 30 s 1.8 MiB + 4 sessions 28.8 MiB; take fewer sessions" in refusal
    short = hearing_needs(limits, contract("5s"), 16_000, model_bytes=370 * MIB, work_bytes=30 * MIB)
    assert short.session_bytes == 6 * 16_000 * (4 + 2) + 4 * MIB, "no turn is longer than what the contract allows"
    assert 0 <= needs.uploads_bytes(needs.least_bytes - 1) <= needs.uploads_bytes(needs.least_bytes) == 0
    assert needs.uploads_bytes(needs.least_bytes + 80 * MIB) == 40 * MIB


@given(st.integers(0, 4096), st.booleans())
def test_sessions_and_what_mlx_keeps_for_reuse_fit_under_any_cap(spare_mib: int, in_mlx: bool) -> None:
    limits = SessionLimits(most_sessions=8, max_turn_milliseconds=30_000)
    needs = SessionNeeds(limits, model_bytes=370 * MIB, work_bytes=30 * MIB, session_bytes=20 * MIB)
    cap_bytes = needs.least_bytes + spare_mib * MIB
    found = needs.mlx_limits(cap_bytes, 100 * MIB, in_mlx=in_mlx)
    uploads_bytes = 0 if in_mlx else needs.uploads_bytes(cap_bytes)
    assert needs.least_bytes + uploads_bytes + found.cache_bytes <= cap_bytes
    assert found.cache_bytes <= found.memory_bytes < cap_bytes


@given(st.integers(0, 4096))
def test_waiting_audio_and_its_batch_fit_under_any_cap(spare_mib: int) -> None:
    needs = MemoryNeeds(contract(), 16_000, decode_bytes=50 * MIB, model_bytes=370 * MIB, work_bytes=30 * MIB)
    cap_bytes = needs.least_bytes + spare_mib * MIB
    limits = needs.limits(cap_bytes, 100 * MIB)
    room_bytes = needs.room_bytes(cap_bytes, limits.cache_bytes)
    assert room_bytes >= needs.piece_bytes
    fixed_bytes = needs.ring_bytes + needs.decode_bytes + needs.model_bytes + needs.work_bytes
    assert fixed_bytes + 2 * room_bytes + limits.cache_bytes <= cap_bytes
    assert limits.cache_bytes <= limits.memory_bytes < cap_bytes


@pytest.mark.parametrize(
    ("inferring", "decoding", "seconds"),
    [
        (None, 20, 15.001),
        (None, 30_000, 16.5),
        (None, 600_000, 45.0),
        (30_000, None, 420.0),
        (30_000, 30_000, 420.0),  # decoding may wait for room in the ring
        (None, None, 120.0),
    ],
)
def test_timeouts_follow_what_the_child_works_on(inferring: int | None, decoding: int | None, seconds: float) -> None:
    assert (
        HangTimeouts().message_timeout_seconds(inferring_milliseconds=inferring, decoding_milliseconds=decoding)
        == seconds
    )


@pytest.mark.parametrize(
    ("audio_milliseconds", "tells_progress", "slowest_seconds", "seconds"),
    [
        (4_000, False, 0.5, 160.0),
        (4_000, False, 14.0, 180.0),  # 4 s of silence in float16 on a CPU, tried six times, took 140 s
        (1_200_000, False, 0.5, 12_120.0),
        (4_000, True, 0.5, 120.0),
        (1_200_000, True, 0.5, 120.0),  # 20 minutes that are told bit by bit: the same
        (1_200_000, True, 32.6, 326.0),
        (1_200_000, True, 600.0, 900.0),  # however slow it is
        (4_000, False, 600.0, 940.0),
    ],
)
def test_a_slow_model_has_more_time_within_bounds(
    audio_milliseconds: int, tells_progress: bool, slowest_seconds: float, seconds: float
) -> None:
    allowed_seconds = HangTimeouts().message_timeout_seconds(
        inferring_milliseconds=audio_milliseconds,
        decoding_milliseconds=None,
        tells_progress=tells_progress,
        slowest_seconds=slowest_seconds,
    )
    assert allowed_seconds == pytest.approx(seconds)


def test_a_models_pace_is_the_longest_time_without_a_sign_of_life() -> None:
    pace = ModelPace(warm_up_seconds=2.0)
    pace.announced(100.0, works=True)
    pace.told(101.0)
    assert pace.slowest_seconds == 2.0, "its warm-up was slower"
    pace.told(105.0)
    pace.announced(108.0, works=True)
    pace.announced(109.0, works=False)
    assert pace.slowest_seconds == 4.0
    pace.told(300.0)
    pace.announced(400.0, works=True)
    assert pace.slowest_seconds == 4.0, "it had nothing to do"
    pace.told(410.0)
    assert pace.slowest_seconds == 10.0


@pytest.mark.parametrize(
    ("audio_milliseconds", "size_bytes", "seconds"),
    [
        (2_000, 64_000, 3.12),
        (600_000, 100_000_000, 39.0),
        (600_000, 118_612, 9 + 23.7224),  # ten minutes of silence in flac; one second of work was measured
        (1_800_000, 18_000, 21 + 3.6),  # half an hour of it, packed as tightly as possible; resampling takes 7 s
        (30_000, 1_000, 3.5),  # a lying header
        (180_000, 1_000, 5.0),
    ],
)
def test_the_processor_time_of_a_decoder_follows_length_and_size(
    audio_milliseconds: int, size_bytes: int, seconds: float
) -> None:
    assert HangTimeouts().cpu_limit_seconds(audio_milliseconds, size_bytes) == pytest.approx(seconds)


def test_windows_make_the_ring_small() -> None:
    windowed = contract("8h", Conversions(windows=Windows(length="30s")))
    needs = MemoryNeeds(windowed, 16_000, decode_bytes=0, model_bytes=0, work_bytes=0)
    assert needs.refusal(6 * MIB) is None
    refusal = needs.refusal(5 * MIB)
    assert refusal is not None and "conversions.windows.length 30 s" in refusal


@pytest.mark.skipif(sys.platform != "linux", reason="MLX uses no BLAS of the system's there")
@pytest.mark.parametrize(("given", "threads"), [("4", "4"), ("", "1")])
def test_a_childs_blas_has_the_threads_that_the_agent_was_given(given: str, threads: str) -> None:
    assert child_environment({"OPENBLAS_NUM_THREADS": given}, Path("/lane"))["OPENBLAS_NUM_THREADS"] == threads


def test_a_childs_environment_holds_no_secret_and_no_resampler_override() -> None:
    inherited = {
        "PATH": "/bin",
        "AWS_SECRET_ACCESS_KEY": "x",
        "HF_TOKEN": "x",
        "MLX_AUDIO_IO_RESAMPLE_QUALITY": "fastest",
        "PYTHONPATH": "/elsewhere",
        "LD_PRELOAD": "/lib/blas.so",
    }
    linux = {}
    if sys.platform == "linux":
        linux = {"LD_PRELOAD": "/lib/blas.so", "MLX_DISABLE_COMPILE": "1", "OPENBLAS_NUM_THREADS": "1"}
    assert child_environment(inherited, Path("/lane")) == {
        "PATH": "/bin",
        "LANG": "C.UTF-8",
        "HOME": "/lane",
        "TMPDIR": "/lane",
        "HF_HUB_OFFLINE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONSAFEPATH": "1",
        "PYTHONNOUSERSITE": "1",
        **linux,
    }


@pytest.mark.parametrize(
    ("spec", "rate"),
    [
        (LaneSpec(Task.TRANSCRIBE, contract(), Transcription()), None),
        (
            LaneSpec(
                Task.TRANSCRIBE, contract(conversions=Conversions(resample=Resample(to_hz=8000))), Transcription()
            ),
            "8000",
        ),
        (LaneSpec(Task.SYNTHESIZE, contract(), Transcription(), Synthesis(voice="serena")), "24000"),
    ],
)
def test_the_names_of_the_runbook_come_from_the_contract(spec: LaneSpec, rate: str | None) -> None:
    names = runbook_names(spec, 6, Path("/lane"), None)
    assert names.pop("MLX_AUDIO_SAMPLE_RATE_HZ", None) == rate
    assert names == {
        "TMPDIR": "/lane",
        "MLX_AUDIO_BATCH_SIZE": "6",
        "MLX_AUDIO_MAX_RETRIES": "5",
        "MLX_AUDIO_QUARANTINE_DIR": "/lane/quarantine",
    }
    assert runbook_names(spec, 6, Path("/lane"), Path("/kept"))["MLX_AUDIO_QUARANTINE_DIR"] == "/kept"
