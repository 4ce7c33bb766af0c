"""The job that `bench mac` runs with each model: which clips, and its documents. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from voxfleet_api.kinds.contract_input import Container
from voxfleet_api.kinds.job_model import ModelSource

NAMESPACE = "bench"
LONGEST_CLIP = "10m"
_SUFFIXES = frozenset({f".{container.value}" for container in Container} | {".aif", ".mp4"})


def chosen_clips(files: Sequence[Path], count: int) -> dict[str, Path]:
    """At most `count` of the recordings, spread over all of them by name, by a number that serves as id."""
    recordings = sorted(file for file in files if file.suffix.lower() in _SUFFIXES and not file.name.startswith("."))
    taken = min(count, len(recordings))
    return {f"{number:04d}": recordings[number * len(recordings) // taken] for number in range(taken)}


@dataclass(frozen=True, slots=True)
class BenchmarkJob:
    model: ModelSource
    clips: Mapping[str, Path]
    rate_hz: int
    """The model's input rate, to which all clips are converted."""
    largest_batch: int

    def manifest_text(self) -> str:
        lines = ({"id": clip_id, "uri": f"file://{file}"} for clip_id, file in self.clips.items())
        return "".join(json.dumps(line) + "\n" for line in lines)

    def documents(self, manifest: Path, output: Path) -> str:
        """Both documents as YAML, of which JSON is a part."""
        both = (
            ("VoiceContract", "bench", self._contract()),
            ("AudioBatchJob", "bench", self._job(manifest, output)),
        )
        return "".join(f"---\n{json.dumps(_document(*document), indent=1)}\n" for document in both)

    def _contract(self) -> dict[str, object]:
        return {
            "input": {
                "containers": [container.value for container in Container],
                "sampleRatesHz": [8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000],
                "channels": [1, 2],
                "minClip": "10ms",
                "maxClip": LONGEST_CLIP,
            },
            "conversions": {"resample": {"toHz": self.rate_hz, "quality": "soxr_vhq"}, "downmix": {"mode": "Mean"}},
            "batching": {"ladder": {"from": 1, "to": self.largest_batch}},
            "quarantine": {"maxPercent": 100},
        }

    def _job(self, manifest: Path, output: Path) -> dict[str, object]:
        return {
            "contractRef": {"name": "bench"},
            "task": "Transcribe",
            "model": self.model.dump(),
            "input": {"manifest": {"uri": f"file://{manifest}"}},
            "output": {"uri": f"file://{output}/"},
            "billingKey": "bench",
        }


def _document(kind: str, name: str, spec: dict[str, object]) -> dict[str, object]:
    return {
        "apiVersion": "voxfleet.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec,
    }
