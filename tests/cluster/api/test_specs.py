"""What the API server accepts and refuses, asked of a real one with our CRDs."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from tests.cluster.api.specs import CONTRACT, JOB, MAC, REMOVE, RERUN, SHARD, SPEAK, Json, changed

from voxfleet_dev.controlplane import ControlPlane, KubectlFailed

REPOSITORY = Path(__file__).resolve().parents[3]
CRDS = sorted((REPOSITORY / "crds").glob("voxfleet.dev_*.yaml"))


@dataclass(frozen=True)
class Bad:
    """One wrong spec, the field that the answer names and words of the advice."""

    base: Json
    changes: dict[str, object]
    field: str
    advice: str


BAD: dict[str, Bad] = {
    "contract without containers": Bad(
        CONTRACT, {"spec.input.containers": []}, "spec.input.containers", "at least 1 items"
    ),
    "contract with an unbuilt container": Bad(
        CONTRACT, {"spec.input.containers": ["ogg"]}, "spec.input.containers", 'supported values: "wav"'
    ),
    "contract with a container twice": Bad(
        CONTRACT, {"spec.input.containers": ["wav", "wav"]}, "spec.input.containers", "Duplicate value"
    ),
    "contract with a rate that no file has": Bad(
        CONTRACT, {"spec.input.sampleRatesHz": [1]}, "spec.input.sampleRatesHz", "greater than or equal to 4000"
    ),
    "contract whose clips cannot exist": Bad(
        CONTRACT, {"spec.input.minClip": "11m"}, "spec.input.minClip", "write minClip shorter than or equal to maxClip"
    ),
    "contract with a duration in words": Bad(
        CONTRACT, {"spec.input.maxClip": "ten minutes"}, "spec.input.maxClip", "should match"
    ),
    "contract with the platform's default resampler": Bad(
        CONTRACT,
        {"spec.conversions": {"resample": {"toHz": 16000, "quality": "default"}}},
        "spec.conversions.resample.quality",
        "soxr_vhq",
    ),
    "contract with a field that is not built": Bad(
        CONTRACT, {"spec.slo": {"interactiveP95": "1s"}}, "spec.slo", "unknown field"
    ),
    "contract with a bound for a ladder that it does not have": Bad(
        CONTRACT,
        {"spec.slo": {"offlineTailP95": "30s"}},
        "spec.slo.offlineTailP95",
        "offlineTailP95 bounds a ladder; write batching.ladder too",
    ),
    "job with a pattern of folders": Bad(
        JOB,
        {"spec.input": {"prefix": {"uri": "file:///data/", "include": ["**/*.wav"]}}},
        "spec.input.prefix.include",
        "a pattern applies to a file's own name, in every folder",
    ),
    "job with a pattern twice": Bad(
        JOB,
        {"spec.input": {"prefix": {"uri": "file:///data/", "include": ["*.wav", "*.wav"]}}},
        "spec.input.prefix.include",
        "write each value once",
    ),
    "job with a format twice": Bad(
        JOB,
        {"spec.output": {"uri": "file:///data/results/", "formats": ["txt", "txt"]}},
        "spec.output.formats",
        "write each value once",
    ),
    "contract with an encoding that is not read": Bad(
        CONTRACT, {"spec.input.encodings": ["mulaw"]}, "spec.input.encodings", "supported values"
    ),
    "contract with another decoder": Bad(
        CONTRACT, {"spec.input.decoders": ["ffmpeg"]}, "spec.input.decoders", 'supported values: "mlx-audio-io"'
    ),
    "contract with a downmix that does not work": Bad(
        CONTRACT,
        {"spec.conversions": {"downmix": {"mode": "EqualPower"}}},
        "spec.conversions.downmix.mode",
        "write mode: Mean",
    ),
    "contract whose windows end before they begin": Bad(
        CONTRACT,
        {"spec.conversions": {"windows": {"length": "5s", "seek": "5s"}}},
        "spec.conversions.windows.seek",
        "write a seek of a few seconds",
    ),
    "contract with subtitles without times": Bad(
        CONTRACT, {"spec.output": {"formats": ["srt"]}}, "spec.output.timestamps", "write timestamps: Segment or Word"
    ),
    "contract with flac of floats": Bad(
        CONTRACT,
        {"spec.output": {"audio": {"container": "flac", "encoding": "float32"}}},
        "spec.output.audio.encoding",
        "pcm16 or pcm24 for flac",
    ),
    "contract with a ladder upside down": Bad(
        CONTRACT,
        {"spec.batching": {"ladder": {"from": 4, "to": 2}}},
        "spec.batching.ladder.from",
        "write the smaller batch size first",
    ),
    "contract with a ladder beyond eight": Bad(
        CONTRACT, {"spec.batching": {"ladder": {"to": 9}}}, "spec.batching.ladder.to", "less than or equal to 8"
    ),
    "contract that retries what waiting cannot mend": Bad(
        CONTRACT, {"spec.retries": {"classes": ["DecodeError"]}}, "spec.retries.classes", '"Transport", "Throttled"'
    ),
    "contract that retries for ever": Bad(
        CONTRACT, {"spec.retries": {"maxRetries": 1000}}, "spec.retries.maxRetries", "less than or equal to 10"
    ),
    "contract that halts at nothing": Bad(
        CONTRACT,
        {"spec.quarantine": {"haltFanOutPercent": 0}},
        "spec.quarantine.haltFanOutPercent",
        "greater than or equal to 1",
    ),
    "contract that quarantines more than everything": Bad(
        CONTRACT, {"spec.quarantine": {"maxPercent": 101}}, "spec.quarantine.maxPercent", "less than or equal to 100"
    ),
    "job without a contract": Bad(JOB, {"spec.contractRef": REMOVE}, "spec.contractRef", "Required value"),
    "job with two inputs": Bad(
        JOB,
        {"spec.input.prefix": {"uri": "file:///data/"}},
        "spec.input",
        "exactly one of input.prefix, input.manifest and input.clips",
    ),
    "job without input": Bad(JOB, {"spec.input": {}}, "spec.input", "exactly one of input.prefix"),
    "job without input and source": Bad(
        JOB, {"spec.input": REMOVE}, "spec.input", "write exactly one of input and source"
    ),
    "job with input and source": Bad(
        JOB,
        {"spec.source": {"jobRef": {"name": "night"}, "select": "Failed"}},
        "spec.input",
        "write exactly one of input and source",
    ),
    "job of some indexes and no indexes": Bad(
        RERUN, {"spec.source.select": "Indexes"}, "spec.source.indexes", "select Indexes needs indexes"
    ),
    "rerun of a kind of clips that there is not": Bad(
        RERUN, {"spec.source.select": "Slow"}, "spec.source.select", "supported values"
    ),
    "rerun of itself": Bad(
        RERUN, {"spec.source.jobRef.name": "case"}, "spec.source.jobRef.name", "names this very job"
    ),
    "rerun of only some": Bad(RERUN, {"spec.only": "1"}, "spec.only", "write source.indexes instead"),
    "job of only nothing": Bad(JOB, {"spec.only": ""}, "spec.only", "at least 1 chars"),
    "job of only words": Bad(JOB, {"spec.only": "all"}, "spec.only", "should match"),
    "job of only too many words": Bad(JOB, {"spec.only": "1," * 2048 + "1"}, "spec.only", "Too long"),
    "job without machine time": Bad(
        JOB, {"spec.maxMachineSeconds": 0}, "spec.maxMachineSeconds", "greater than or equal to 1"
    ),
    "job with two models": Bad(
        JOB,
        {"spec.model.hub": {"id": "a/b", "revision": "main"}},
        "spec.model",
        "exactly one of model.builtin, model.path, model.uri and model.hub",
    ),
    "job without a model": Bad(JOB, {"spec.model": REMOVE}, "spec.model", "Required value"),
    "job with an unknown built-in model": Bad(
        JOB, {"spec.model.builtin.name": "whisper"}, "spec.model.builtin.name", 'supported values: "commands"'
    ),
    "job with a relative model path": Bad(
        JOB, {"spec.model": {"path": "models/mine"}}, "spec.model.path", "absolute folder on the Mac"
    ),
    "job whose output is a web address without TLS": Bad(
        JOB, {"spec.output.uri": "http://example.com/out/"}, "spec.output.uri", "should match"
    ),
    "job that reads a model from s3 without credentials": Bad(
        JOB, {"spec.model": {"uri": "s3://models/mine/"}}, "spec", "s3:// needs credentialsSecretRef"
    ),
    "job with a clip that is sound and text": Bad(
        JOB,
        {"spec.input": {"clips": [{"id": "a", "uri": "file:///a.wav", "text": "one"}]}},
        "spec.input.clips[0]",
        "write uri for a clip to transcribe, or text for one to speak",
    ),
    "job with the checksum of a text": Bad(
        SPEAK,
        {"spec.input": {"clips": [{"id": "a", "text": "one", "sha256": "0" * 64}]}},
        "spec.input.clips[0]",
        "sha256 is of the object at uri",
    ),
    "job that transcribes a text": Bad(
        JOB, {"spec.input": {"clips": [{"id": "a", "text": "one"}]}}, "spec.input", "write uri for each of input.clips"
    ),
    "job that speaks a recording": Bad(
        SPEAK,
        {"spec.input": {"clips": [{"id": "a", "uri": "file:///a.wav"}]}},
        "spec.input",
        "write input.clips with text",
    ),
    "job that speaks without a voice": Bad(
        JOB, {"spec.task": "Synthesize"}, "spec.synthesis", "task Synthesize needs synthesis"
    ),
    "job with a preset voice of no name": Bad(
        SPEAK, {"spec.synthesis": {"mode": "Preset"}}, "spec.synthesis.voice", "mode Preset needs voice"
    ),
    "job with a custom voice of nobody": Bad(
        SPEAK,
        {"spec.synthesis": {"mode": "CustomVoice", "voice": "anna"}},
        "spec.synthesis.reference",
        "needs a reference, or a voice with an instruction",
    ),
    "job with a designed voice that has a name": Bad(
        SPEAK,
        {"spec.synthesis": {"mode": "VoiceDesign", "instruction": "old and calm", "voice": "anna"}},
        "spec.synthesis.instruction",
        "mode VoiceDesign needs instruction",
    ),
    "job with a format that is not built": Bad(
        JOB, {"spec.output.formats": ["docx"]}, "spec.output.formats", "supported values"
    ),
    "job whose output has no slash at the end": Bad(
        JOB, {"spec.output.uri": "file:///data/results"}, "spec.output.uri", "should match"
    ),
    "job that reads s3 without credentials": Bad(
        JOB, {"spec.input": {"prefix": {"uri": "s3://calls/2026/"}}}, "spec", "s3:// needs credentialsSecretRef"
    ),
    "job with two clips of one id": Bad(
        JOB,
        {"spec.input": {"clips": [{"id": "a", "uri": "file:///a.wav"}, {"id": "a", "uri": "file:///b.wav"}]}},
        "spec.input.clips",
        "Duplicate value",
    ),
    "job with a checksum that is none": Bad(
        JOB,
        {"spec.input": {"clips": [{"id": "a", "uri": "file:///a.wav", "sha256": "abc"}]}},
        "spec.input.clips[0].sha256",
        "should match",
    ),
    "job without time": Bad(
        JOB, {"spec.activeDeadlineSeconds": 0}, "spec.activeDeadlineSeconds", "greater than or equal to 1"
    ),
    "job that runs nowhere": Bad(JOB, {"spec.parallelism": 0}, "spec.parallelism", "greater than or equal to 1"),
    "job with a task that is not built": Bad(JOB, {"spec.task": "Translate"}, "spec.task", "supported values"),
    "job with a field that is not built": Bad(JOB, {"spec.managedBy": "me"}, "spec.managedBy", "unknown field"),
    "job above all others": Bad(JOB, {"spec.priority": 1001}, "spec.priority", "less than or equal to 1000"),
    "job that tolerates a value of no taint": Bad(
        JOB, {"spec.tolerations": [{"value": "night"}]}, "spec.tolerations[0]", "write operator: Exists"
    ),
    "job that tolerates any value, but one": Bad(
        JOB,
        {"spec.tolerations": [{"key": "rented", "operator": "Exists", "value": "night"}]},
        "spec.tolerations[0]",
        "leave value out",
    ),
    "job that tolerates an effect that is not built": Bad(
        JOB,
        {"spec.tolerations": [{"operator": "Exists", "effect": "NoExecute"}]},
        "spec.tolerations[0].effect",
        'supported values: "NoSchedule"',
    ),
    "job that needs no memory at all": Bad(
        JOB, {"spec.requirements": {"memory": "0"}}, "spec.requirements.memory", "should match"
    ),
    "job with a chip twice": Bad(
        JOB, {"spec.requirements": {"chips": ["M2", "M2"]}}, "spec.requirements.chips", "write each value once"
    ),
    "job with a chip without a name": Bad(
        JOB, {"spec.requirements": {"chips": [" "]}}, "spec.requirements.chips[0]", "should match"
    ),
    "mac with one taint twice": Bad(
        MAC, {"spec.taints": [{"key": "rented"}, {"key": "rented", "value": "night"}]}, "spec.taints[1]", "Duplicate"
    ),
    "mac with a taint that is not built": Bad(
        MAC, {"spec.taints": [{"key": "rented", "effect": "NoExecute"}]}, "spec.taints[0].effect", "supported values"
    ),
    "job with a name that leaves no room for shards": Bad(
        JOB, {"metadata.name": "n" * 53}, "metadata.name", "shorten it"
    ),
    "selector with In and no values": Bad(
        JOB,
        {"spec.macSelector": {"matchExpressions": [{"key": "site", "operator": "In"}]}},
        "spec.macSelector.matchExpressions[0]",
        "In and NotIn need values",
    ),
    "process shard without an ordinal": Bad(
        SHARD, {"spec.ordinal": REMOVE}, "spec", "ordinal and indexes belong to the Process stage"
    ),
    "shard with an ordinal and no indexes": Bad(
        SHARD, {"spec.indexes": REMOVE}, "spec", "ordinal and indexes belong to the Process stage"
    ),
    "plan shard with clips": Bad(
        SHARD, {"spec.stage": "Plan"}, "spec", "ordinal and indexes belong to the Process stage"
    ),
    "plan shard that is a part": Bad(
        SHARD,
        {
            "spec.stage": "Plan",
            "spec.ordinal": REMOVE,
            "spec.indexes": REMOVE,
            "spec.piece": {"path": "0", "inherits": ["parent-uid"], "afterAttempt": 3},
        },
        "spec",
        "piece belongs to the Process stage",
    ),
    "part of a shard with a path of other digits": Bad(
        SHARD, {"spec.piece": {"path": "02", "inherits": ["uid"], "afterAttempt": 3}}, "spec.piece.path", "should match"
    ),
    "part of a shard that comes from none": Bad(
        SHARD, {"spec.piece": {"path": "0", "inherits": [], "afterAttempt": 3}}, "spec.piece.inherits", "at least 1"
    ),
    "shard with broken ranges": Bad(SHARD, {"spec.indexes": "0-3,,7"}, "spec.indexes", "should match"),
    "mac without a pinned host key": Bad(MAC, {"spec.ssh.hostKeys": []}, "spec.ssh.hostKeys", "at least 1 items"),
    "mac with a host key of a broken type": Bad(
        MAC, {"spec.ssh.hostKeys": ["ssh-dss " + "A" * 68]}, "spec.ssh.hostKeys[0]", "should match"
    ),
    "mac with a short ledger key": Bad(MAC, {"spec.ledgerPublicKey": "AAAA"}, "spec.ledgerPublicKey", "at least 44"),
    "mac with an impossible port": Bad(MAC, {"spec.ssh.port": 70000}, "spec.ssh.port", "less than or equal to 65535"),
    "mac whose access says nothing of namespaces": Bad(
        MAC,
        {"spec.access": [{"uriPrefixes": ["file:///data/"]}]},
        "spec.access[0].namespaceSelector",
        "Required value",
    ),
    "mac without a token": Bad(MAC, {"spec.tokenSecretRef": REMOVE}, "spec.tokenSecretRef", "Required value"),
    "mac that opens a prefix without a slash": Bad(
        MAC, {"spec.access": [{"uriPrefixes": ["file:///data"]}]}, "spec.access[0].uriPrefixes[0]", "should match"
    ),
    "mac with windows of no time zone": Bad(
        MAC,
        {"spec.availability": {"windows": [{"start": "20:00", "end": "06:00"}]}},
        "spec.availability",
        "write timeZone beside windows",
    ),
    "mac with a window of no length": Bad(
        MAC,
        {"spec.availability": {"timeZone": "UTC", "windows": [{"start": "20:00", "end": "20:00"}]}},
        "spec.availability.windows[0]",
        "a whole day is start: '00:00', end: '24:00'",
    ),
    "mac with a window at no time": Bad(
        MAC,
        {"spec.availability": {"timeZone": "UTC", "windows": [{"start": "20:60", "end": "6:00"}]}},
        "spec.availability.windows[0].start",
        "should match",
    ),
    "mac with a day of no week": Bad(
        MAC,
        {"spec.availability": {"timeZone": "UTC", "windows": [{"days": ["Monday"], "start": "20:00", "end": "06:00"}]}},
        "spec.availability.windows[0].days[0]",
        "supported values",
    ),
    "mac whose rental ends before it begins": Bad(
        MAC,
        {"spec.availability": {"rentalStart": "2026-12-01T00:00:00Z", "rentalEnd": "2026-12-01T00:30:00+01:00"}},
        "spec.availability",
        "write a rentalEnd after rentalStart",
    ),
    "mac whose rental ends on no day": Bad(
        MAC, {"spec.availability": {"rentalEnd": "2026-02-30T00:00:00Z"}}, "spec.availability.rentalEnd", "date-time"
    ),
    "mac with a time zone of blanks": Bad(
        MAC, {"spec.availability": {"timeZone": "Europe Berlin"}}, "spec.availability.timeZone", "should match"
    ),
    "mac that drains in a way that is none": Bad(
        MAC, {"spec.drain": {"mode": "Kill"}}, "spec.drain.mode", "supported values"
    ),
    "mac that drains for ever": Bad(
        MAC, {"spec.drain": {"deadlineSeconds": 604801}}, "spec.drain.deadlineSeconds", "less than or equal to 604800"
    ),
    "job that writes to a web address": Bad(
        JOB, {"spec.output.uri": "https://example.com/out/"}, "spec.output.uri", "should match"
    ),
}

GOOD: dict[str, Json] = {
    "contract": CONTRACT,
    "contract with equal shortest and longest clip": changed(
        CONTRACT, {"spec.input.minClip": "60s", "spec.input.maxClip": "1m"}
    ),
    "contract with a bound for its ladder": changed(
        CONTRACT, {"spec.slo": {"offlineTailP95": "30s"}, "spec.batching": {"ladder": {}}}
    ),
    "contract with bytes as a number": changed(CONTRACT, {"spec.input.maxClipBytes": 1048576}),
    "contract with everything": changed(
        CONTRACT,
        {
            "spec.input.encodings": ["pcm16", "float32"],
            "spec.input.decoders": ["mlx-audio-io"],
            "spec.conversions": {
                "resample": {"toHz": 16000, "quality": "soxr_hq"},
                "downmix": {"mode": "Mean"},
                "windows": {"length": "60s"},
            },
            "spec.output": {"formats": ["jsonl", "srt", "vtt"], "timestamps": "Word"},
            "spec.buffer": {"headroomPercent": 50},
            "spec.batching": {"ladder": {"from": 1, "to": 4}, "memoryCap": "4Gi"},
            "spec.retries": {"maxRetries": 0, "classes": []},
            "spec.quarantine": {"haltFanOutPercent": 10, "retainFor": "24h"},
            "spec.failureBudget": {"retriesPerHour": 50, "quarantinedMinutes": 30},
            "spec.completeness": {"minCoveragePercent": 80, "unspokenText": "Quarantine"},
            "spec.scratch": {"maxBytes": "1Gi"},
        },
    ),
    "job": JOB,
    "job that speaks": SPEAK,
    "job of only some clips": changed(JOB, {"spec.only": "0-3,7", "spec.maxMachineSeconds": 100000}),
    "rerun": RERUN,
    "rerun of some clips": changed(RERUN, {"spec.source.select": "Indexes", "spec.source.indexes": "3,7-9"}),
    "rerun that speaks": changed(RERUN, {"spec.task": "Synthesize", "spec.synthesis": {"voice": "default"}}),
    "job that speaks with a recorded voice": changed(
        SPEAK, {"spec.synthesis": {"mode": "CustomVoice", "reference": {"uri": "file:///v.wav", "text": "one two"}}}
    ),
    "job that speaks a manifest of texts": changed(
        SPEAK, {"spec.input": {"manifest": {"uri": "https://example.com/texts.jsonl"}}}
    ),
    "job with a model of objects": changed(
        JOB, {"spec.model": {"uri": "https://example.com/model/", "digest": "sha256:" + "0" * 64}}
    ),
    "job with a hub model": changed(JOB, {"spec.model": {"hub": {"id": "org/model", "revision": "main"}}}),
    "job with an absolute model path": changed(JOB, {"spec.model": {"path": "/models/mine"}}),
    "job with s3 and credentials": changed(
        JOB, {"spec.input": {"prefix": {"uri": "s3://calls/2026/"}}, "spec.credentialsSecretRef": {"name": "s3"}}
    ),
    "job with the longest name": changed(JOB, {"metadata.name": "n" * 52}),
    "job with a selector": changed(
        JOB,
        {
            "spec.macSelector": {
                "matchExpressions": [
                    {"key": "site", "operator": "In", "values": ["berlin"]},
                    {"key": "retired", "operator": "DoesNotExist"},
                ]
            }
        },
    ),
    "job with tolerations": changed(
        JOB,
        {
            "spec.tolerations": [
                {"key": "rented", "value": "night", "effect": "NoSchedule"},
                {"key": "example.com/noisy", "operator": "Exists"},
                {"operator": "Exists"},
            ]
        },
    ),
    "job with requirements": changed(
        JOB,
        {"spec.requirements": {"memory": "16Gi", "chips": ["M2", "M4 Pro"], "homogeneous": True}, "spec.priority": -9},
    ),
    "mac with taints": changed(
        MAC, {"spec.taints": [{"key": "rented", "value": "night"}, {"key": "noisy", "effect": "NoSchedule"}]}
    ),
    "process shard": SHARD,
    "plan shard": changed(SHARD, {"spec.stage": "Plan", "spec.ordinal": REMOVE, "spec.indexes": REMOVE}),
    "mac": MAC,
    "mac with hours, a rental and a drain": changed(
        MAC,
        {
            "spec.availability": {
                "timeZone": "America/Argentina/Buenos_Aires",
                "windows": [
                    {"days": ["Sat", "Sun"], "start": "00:00", "end": "24:00"},
                    {"start": "20:00", "end": "06:00"},
                ],
                "rentalStart": "2026-12-01T00:00:00Z",
                "rentalEnd": "2027-01-01T00:00:00+01:00",
            },
            "spec.drain": {},
        },
    ),
}


def refused(control_plane: ControlPlane, *arguments: str, manifest: Json | None = None) -> str:
    with pytest.raises(KubectlFailed) as caught:
        control_plane.kubectl(*arguments, input=json.dumps(manifest) if manifest else None)
    return caught.value.stderr


@pytest.mark.parametrize("name", BAD)
def test_a_bad_spec_is_refused_with_its_field_and_what_to_write(installed_crds: ControlPlane, name: str) -> None:
    case = BAD[name]
    error = refused(installed_crds, "create", "--dry-run=server", "-f", "-", manifest=changed(case.base, case.changes))
    assert re.search(rf"{re.escape(case.field)}\b|{re.escape(case.field)}[:\"]", error), error
    assert case.advice in error, error


@pytest.mark.parametrize("name", GOOD)
def test_a_good_spec_is_accepted(installed_crds: ControlPlane, name: str) -> None:
    assert "created" in installed_crds.kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(GOOD[name]))


@pytest.mark.parametrize("path", sorted((REPOSITORY / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_examples_are_accepted(installed_crds: ControlPlane, path: Path) -> None:
    text = path.read_text().replace("namespace: speech", "namespace: default")
    assert "dry run" in installed_crds.kubectl("apply", "--dry-run=server", "-f", "-", input=text)


def test_every_kind_starts_unobserved(installed_crds: ControlPlane) -> None:
    """kstatus: an object that no controller has seen is in progress, not ready."""
    for name, base in (("contract", CONTRACT), ("job", JOB), ("shard", SHARD), ("mac", MAC)):
        made = installed_crds.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", input=json.dumps(base))
        assert json.loads(made)["status"]["observedGeneration"] == -1, name


def test_every_rule_of_the_crds_has_a_case() -> None:
    """A new CEL rule needs a case that it refuses; transition rules have theirs in test_transitions."""
    tested = {case.advice for case in BAD.values()} | transition_advice()
    untested = [
        message
        for crd in CRDS
        for message in _messages(yaml.safe_load(crd.read_text()))
        if not any(advice in message for advice in tested)
    ]
    assert CRDS and not untested


def transition_advice() -> set[str]:
    from tests.cluster.api.test_transitions import ADVICE

    return set(ADVICE)


def _messages(node: object) -> list[str]:
    if isinstance(node, dict):
        scalar = node.get("type") not in ("object", "array")  # test_bounds asks each of them
        own = [] if scalar else [rule["message"] for rule in node.get("x-kubernetes-validations", [])]
        return own + [message for child in node.values() for message in _messages(child)]
    if isinstance(node, list):
        return [message for child in node for message in _messages(child)]
    return []
