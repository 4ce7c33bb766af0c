"""Runs files through `voxfleet-agent run` and reads the rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from voxfleet_api.kinds.contract_input import Container, ContractInput, Conversions, Downmix, Resample
from voxfleet_api.kinds.contract_limits import Quarantine
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.rows import ResultRow

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


class RunFailedError(Exception):
    """The run gave no rows; the text is the end of what it said."""


def run_files(contents: Sequence[bytes], folder: Path) -> list[ResultRow]:
    """Returns the rows in the order of `contents`; `folder` is empty and keeps everything that the run writes."""
    clips = folder / "input"
    clips.mkdir(parents=True)
    manifest = []
    for index, content in enumerate(contents):
        (clips / f"{index:04d}").write_bytes(content)
        manifest.append(json.dumps({"id": f"{index:04d}", "uri": f"{index:04d}"}))
    (folder / "input" / "manifest.jsonl").write_text("\n".join(manifest) + "\n", encoding="utf-8")
    for name in ("output", "home", "tmp"):
        (folder / name).mkdir()
    documents = folder / "job.yaml"
    documents.write_text(yaml.safe_dump_all(_documents(folder), sort_keys=False), encoding="utf-8")
    agent = Path(sys.executable).with_name("voxfleet-agent")
    environment = {**os.environ, "HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp")}
    ended = subprocess.run(
        [agent, "run", "-f", documents, "-o", "json"], env=environment, capture_output=True, text=True, check=False
    )
    rows = sorted(_rows(folder / "output"), key=lambda row: row.index)
    if len(rows) != len(contents):
        said = "\n".join((ended.stderr or ended.stdout).strip().splitlines()[-5:])
        raise RunFailedError(f"{len(rows)} rows for {len(contents)} files, exit {ended.returncode}:\n{said}")
    return rows


def _documents(folder: Path) -> list[dict[str, object]]:
    return [
        {
            "apiVersion": "voxfleet.dev/v1alpha1",
            "kind": "VoiceContract",
            "metadata": {"name": _JOB},
            "spec": _CONTRACT.dump(),
        },
        {
            "apiVersion": "voxfleet.dev/v1alpha1",
            "kind": "AudioBatchJob",
            "metadata": {"name": _JOB},
            "spec": {
                "contractRef": {"name": _JOB},
                "model": {"builtin": {"name": "commands"}},
                "input": {"manifest": {"uri": f"{(folder / 'input').as_uri()}/manifest.jsonl"}},
                "output": {"uri": f"{(folder / 'output').as_uri()}/"},
            },
        },
    ]


def _rows(output: Path) -> list[ResultRow]:
    return [
        ResultRow.model_validate_json(line)
        for name in ("results.jsonl", "errors.jsonl")
        for path in output.glob(f"*/{name}")
        for line in path.read_bytes().splitlines()
        if line
    ]
