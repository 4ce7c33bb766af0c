"""Runs files through `voxfleet-agent run` and reads the rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from voxfleet_api.kinds.contract_input import Container, ContractInput, Conversions, Downmix, Resample
from voxfleet_api.kinds.contract_limits import Quarantine
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.rows import ResultRow
from voxfleet_dev.local_run import LocalRun

_RATES_HZ = (5_512, 6_000, 8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200)
_HIGH_RATES_HZ = (96_000, 176_400, 192_000)
_CONTRACT = VoiceContractSpec(
    input=ContractInput(
        containers=tuple(Container),
        sample_rates_hz=(*_RATES_HZ, *_HIGH_RATES_HZ),
        channels=tuple(range(1, 9)),
        min_clip="1ms",
        max_clip="5m",
        max_clip_bytes="500Mi",
    ),
    conversions=Conversions(resample=Resample(to_hz=16_000), downmix=Downmix()),
    quarantine=Quarantine(max_clips=100_000, max_percent=100),
)
"""As generous as a contract can be: what is refused under it is refused for its bytes."""
_JOB = "package-corpus"
_LIMIT_SECONDS = 7200.0


def run_files(contents: Sequence[bytes], folder: Path) -> list[ResultRow]:
    """Returns the rows in the order of `contents`; `folder` is empty and keeps everything that the run writes.

    Raises RunFailedError, and ChildFailed after two hours.
    """
    clips = folder / "input"
    clips.mkdir(parents=True)
    manifest = []
    for index, content in enumerate(contents):
        (clips / f"{index:04d}").write_bytes(content)
        manifest.append(json.dumps({"id": f"{index:04d}", "uri": f"{index:04d}"}))
    (clips / "manifest.jsonl").write_text("\n".join(manifest) + "\n", encoding="utf-8")
    model = {"builtin": {"name": "commands"}}
    run = LocalRun(_JOB, folder / "run", _CONTRACT, model, clips / "manifest.jsonl")
    process = run.prepared()
    process.start()
    try:
        process.wait_exit(_LIMIT_SECONDS)
    finally:
        process.stop()
    return run.rows(len(contents))
