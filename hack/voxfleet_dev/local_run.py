"""A job on this machine through `voxfleet-agent run`, in a folder of its own, and the rows that it leaves."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.rows import ResultRow
from voxfleet_dev.mac import agent_environment
from voxfleet_dev.processes import Child

_VERSION = "voxfleet.dev/v1alpha1"


class RunFailedError(Exception):
    """The run gave no rows; the text is the end of what it said."""


@dataclass(frozen=True, slots=True)
class LocalRun:
    """`folder` keeps everything that the run writes; it must not hold another run's."""

    name: str
    folder: Path
    contract: VoiceContractSpec
    model: Mapping[str, object]
    """`spec.model` of the job."""
    manifest: Path
    """JSON Lines; the clips lie below its folder."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Variables of the run's environment."""

    def prepared(self) -> Child:
        """Writes the documents. Returns the process, not started; its log is `log` in the folder."""
        for name in ("output", "home", "tmp"):
            (self.folder / name).mkdir(parents=True)
        documents = self.folder / "job.yaml"
        documents.write_text(yaml.safe_dump_all(self._documents(), sort_keys=False), encoding="utf-8")
        own = {"HOME": str(self.folder / "home"), "TMPDIR": str(self.folder / "tmp")}
        agent = Path(sys.executable).with_name("voxfleet-agent")
        return Child(
            self.name,
            [agent, "run", "-f", documents, "-o", "json"],
            self.folder / "log",
            env={**agent_environment(), **own, **self.settings},
        )

    def rows(self, count: int) -> list[ResultRow]:
        """The rows of an ended run, in the manifest's order. Raises RunFailedError unless they are `count`."""
        rows = sorted(
            (
                ResultRow.model_validate_json(line)
                for name in ("results.jsonl", "errors.jsonl")
                for path in (self.folder / "output").glob(f"*/{name}")
                for line in path.read_bytes().splitlines()
                if line
            ),
            key=lambda row: row.index,
        )
        if len(rows) != count:
            said = (self.folder / "log").read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
            raise RunFailedError("\n".join([f"{self.name}: {len(rows)} rows for {count} clips:", *said]))
        return rows

    def _documents(self) -> list[dict[str, object]]:
        metadata = {"name": self.name}
        job = {
            "contractRef": metadata,
            "model": dict(self.model),
            "input": {"manifest": {"uri": self.manifest.as_uri()}},
            "output": {"uri": f"{(self.folder / 'output').as_uri()}/"},
        }
        return [
            {"apiVersion": _VERSION, "kind": "VoiceContract", "metadata": metadata, "spec": self.contract.dump()},
            {"apiVersion": _VERSION, "kind": "AudioBatchJob", "metadata": metadata, "spec": job},
        ]
