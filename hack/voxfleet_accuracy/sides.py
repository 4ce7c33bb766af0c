"""The two sides of a comparison as processes: jobs of `voxfleet-agent run`, and mlx-audio's own loop."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from voxfleet_accuracy.heard import Heard, heard_by_product, heard_by_upstream
from voxfleet_accuracy.takes import MODEL_RATE_HZ, GivenPath, Take
from voxfleet_agent import blas
from voxfleet_agent.engine.upstream_messages import UPSTREAM_MODULE, UpstreamOrder, read_answer
from voxfleet_api.kinds.contract_input import Container, ContractInput, Conversions, Downmix, Resample, Windows
from voxfleet_api.kinds.contract_limits import Quarantine
from voxfleet_api.kinds.contract_output import ContractOutput, Timestamps
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_dev.local_run import LocalRun, RunFailedError
from voxfleet_dev.mac import agent_environment
from voxfleet_dev.processes import Child

_WINDOW_LENGTHS = {GivenPath.WINDOWS_60: "60s", GivenPath.WINDOWS_30: "30s"}
_ONE_THREAD = {blas.THREADS_VARIABLE: "1"}
"""As a lane has it; and with another number of threads a text may differ."""


@dataclass(frozen=True, slots=True)
class SideRun:
    """One process that hears some takes."""

    title: str
    takes: tuple[Take, ...]
    path: GivenPath | None
    """None: mlx-audio's own."""
    process: Child
    heard: Callable[[], Mapping[str, Heard]]
    """By the take's name, once the process has ended. Raises RunFailedError."""

    @property
    def seconds(self) -> float:
        return sum(take.seconds for take in self.takes)


def windows_of(path: GivenPath) -> Windows | None:
    """What the contract declares for a path."""
    length = _WINDOW_LENGTHS.get(path)
    return None if length is None else Windows(length=length)


def product_run(name: str, takes: Sequence[Take], path: GivenPath, model: Path, folder: Path) -> SideRun:
    """A job whose contract declares every conversion that the takes need and asks for the times of words."""
    clips = takes[0].file.parent
    manifest = clips / f"{name}.jsonl"
    lines = [json.dumps({"id": take.name, "uri": take.file.name}) for take in takes]
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    job = {"path": str(model)}
    run = LocalRun(name, folder / name, _contract(path), job, manifest, _ONE_THREAD)

    def heard() -> Mapping[str, Heard]:
        return {row.custom_id: heard_by_product(row) for row in run.rows(len(takes))}

    return SideRun(f"product, {path}", tuple(takes), path, run.prepared(), heard)


def upstream_run(name: str, takes: Sequence[Take], model: Path, folder: Path) -> SideRun:
    folder = folder / name
    folder.mkdir(parents=True)
    order, answer = folder / "order.json", folder / "answer.jsonl"
    clips = {take.name: str(take.file) for take in takes}
    told = UpstreamOrder(model=str(model), clips=clips, word_timestamps=True)
    order.write_text(told.model_dump_json(by_alias=True))
    process = Child(
        name,
        [sys.executable, "-m", UPSTREAM_MODULE, order, answer],
        folder / "log",
        env={**agent_environment(), **_ONE_THREAD},
    )

    def heard() -> Mapping[str, Heard]:
        answers = read_answer(answer.read_text().splitlines() if answer.exists() else ()).clips
        texts = {name: heard_by_upstream(clip) for name, clip in answers.items() if clip.error is None}
        if texts.keys() != clips.keys():
            errors = {clip.error for clip in answers.values()} - {None}
            raise RunFailedError(
                f"{name}: {len(texts)} texts for {len(takes)} files {sorted(map(str, errors))}:\n{process.log_tail(8)}"
            )
        return texts

    return SideRun("mlx-audio", tuple(takes), None, process, heard)


def _contract(path: GivenPath) -> VoiceContractSpec:
    return VoiceContractSpec(
        input=ContractInput(
            containers=(Container.WAV,),
            sample_rates_hz=(8_000, 16_000, 44_100, 48_000),
            channels=(1, 2),
            max_clip="30m",
            max_clip_bytes="500Mi",
        ),
        conversions=Conversions(resample=Resample(to_hz=MODEL_RATE_HZ), downmix=Downmix(), windows=windows_of(path)),
        output=ContractOutput(timestamps=Timestamps.WORD),
        quarantine=Quarantine(max_clips=100_000, max_percent=100),
    )
