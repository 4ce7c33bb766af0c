"""AudioBatchJobs that the API server refuses."""

from __future__ import annotations

from tests.cluster.api.specs import JOB, REMOVE, RERUN, SPEAK, Bad

BAD_JOBS: dict[str, Bad] = {
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
    "job with a name that leaves no room for shards": Bad(
        JOB, {"metadata.name": "n" * 53}, "metadata.name", "shorten it"
    ),
    "selector with In and no values": Bad(
        JOB,
        {"spec.macSelector": {"matchExpressions": [{"key": "site", "operator": "In"}]}},
        "spec.macSelector.matchExpressions[0]",
        "In and NotIn need values",
    ),
    "job that writes to a web address": Bad(
        JOB, {"spec.output.uri": "https://example.com/out/"}, "spec.output.uri", "should match"
    ),
}
