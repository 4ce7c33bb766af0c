"""The job of one run, in a namespace of its own: what is submitted, what its status says, its deletion."""

from __future__ import annotations

import json
from collections import Counter

import httpx
from tests.soak.fleet.faults import FleetSchedule
from tests.soak.fleet.rig import EXAMPLES, FleetRig

from voxfleet_api import API_VERSION
from voxfleet_api.conditions import ConditionType, is_true
from voxfleet_api.kinds import AudioBatchJob, AudioShard
from voxfleet_api.kinds.audio_shard import AttemptOutcome

CONTRACT_SPEC: dict[str, object] = {
    "input": {
        "containers": ["wav", "flac", "mp3", "m4a"],
        "sampleRatesHz": [16000, 22050, 44100, 48000],
        "channels": [1, 2],
    },
    "conversions": {"resample": {"toHz": 16000, "quality": "soxr_vhq"}, "downmix": {"mode": "Mean"}},
    "quarantine": {"maxClips": 1000, "maxPercent": 100},
}


class SoakJob:
    """Its calls raise what rig.NoAnswer names."""

    def __init__(self, rig: FleetRig, schedule: FleetSchedule, namespace: str) -> None:
        self.namespace = namespace
        self.clips: list[tuple[str, str | None]] = []
        """Id and expected text of each clip; no text: it is to be quarantined."""
        self.shards: list[AudioShard] = []
        self.largest_status_bytes: Counter[str] = Counter()
        self._rig = rig
        self._schedule = schedule
        self._latest: AudioBatchJob | None = None

    @property
    def latest(self) -> AudioBatchJob:
        """As it was last read."""
        assert self._latest is not None
        return self._latest

    @property
    def has_settled(self) -> bool:
        status = self.latest.status
        over = is_true(status.conditions, ConditionType.COMPLETE) or is_true(status.conditions, ConditionType.FAILED)
        return over and status.usage.settled

    @property
    def lost_a_mac(self) -> bool:
        """Whether a shard's status says that the Mac of one of its attempts was lost."""
        return any(_lost_macs(shard) for shard in self.shards)

    @property
    def takeovers(self) -> int:
        """How many shards another Mac finished for a lost one."""
        return sum(_was_taken_over(shard) for shard in self.shards)

    def submit(self) -> None:
        folder = self._rig.shared / self.namespace
        folder.mkdir()
        manifest = folder / "manifest.jsonl"
        manifest.write_text("".join(json.dumps(line) + "\n" for line in self._inputs()))
        self._rig.api("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}})
        self._create("voicecontracts", "VoiceContract", "contract", CONTRACT_SPEC)
        spec = {
            "contractRef": {"name": "contract"},
            "model": {"builtin": {"name": "commands"}},
            "input": {"manifest": {"uri": f"file://{manifest}"}},
            "output": {"uri": f"file://{folder}/results/"},
            "sharding": {"targetAudio": f"{self._schedule.shard_audio_seconds}s"},
            "parallelism": self._schedule.parallelism,
        }
        self._create("audiobatchjobs", "AudioBatchJob", "job", spec)

    def read(self) -> None:
        jobs = self._rig.objects("audiobatchjobs", self.namespace)
        shards = self._rig.objects("audioshards", self.namespace)
        around = (*self._rig.objects("macagents"), *self._rig.objects("machinehourstatements"))
        for item in (*jobs, *shards, *around):
            size = len(json.dumps(item.get("status", {})))
            self.largest_status_bytes[item["kind"]] = max(self.largest_status_bytes[item["kind"]], size)
        self._latest = AudioBatchJob.load(jobs[0])
        self.shards = [AudioShard.load(item) for item in shards]

    def delete(self) -> bool:
        """Whether the API server has taken it."""
        try:
            self._rig.api("DELETE", self._path("audiobatchjobs/job"))
        except httpx.HTTPStatusError as error:
            return error.response.status_code == httpx.codes.NOT_FOUND
        return True

    def explain(self) -> str:
        """What a run that got stuck prints."""
        found = [] if self._latest is None else [f"job: {json.dumps(self._latest.status.dump())[:3000]}"]
        found += [f"shard {one.metadata.name}: {json.dumps(one.status.dump())[:1500]}" for one in self.shards]
        return "\n".join(found)

    def _inputs(self) -> list[dict[str, str]]:
        """The example clips, over and over under other ids."""
        rows = [json.loads(line) for line in (EXAMPLES / "manifest.jsonl").read_text().splitlines()]
        heard = [json.loads(line) for line in (EXAMPLES / "expected.jsonl").read_text().splitlines()]
        texts = {row["id"]: row.get("text") for row in heard}
        inputs = []
        for number in range(self._schedule.clips):
            row = rows[number % len(rows)]
            name = f"{number:03d}-{row['id']}"
            self.clips.append((name, texts.get(row["id"])))
            inputs.append(row | {"id": name, "uri": f"file://{self._rig.clips}/{row['uri']}"})
        return inputs

    def _create(self, plural: str, kind: str, name: str, spec: dict[str, object]) -> None:
        body = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}
        self._rig.api("POST", self._path(plural), body)

    def _path(self, rest: str) -> str:
        return f"/apis/{API_VERSION}/namespaces/{self.namespace}/{rest}"


def _lost_macs(shard: AudioShard) -> set[str]:
    return {record.mac for record in shard.status.attempts if record.outcome == AttemptOutcome.LOST}


def _was_taken_over(shard: AudioShard) -> bool:
    commit, lost = shard.status.commit, _lost_macs(shard)
    finished = {record.mac for record in shard.status.attempts if commit and record.attempt == commit.attempt}
    return bool(lost) and bool(finished - lost)
