"""What each failure class means, and what a person does about it."""

from __future__ import annotations

from typing import NamedTuple

from voxfleet_api.failures import FailureClass


class FailureText(NamedTuple):
    means: str
    to_do: str


_DATA_TO_DO = "Repair or remove the clip, then run a job with the repaired clips."

TEXTS: dict[FailureClass, FailureText] = {
    FailureClass.CHECKSUM_MISMATCH: FailureText(
        "The clip's bytes do not have the sha256 that the input names.",
        "Upload the clip again, or correct its sha256.",
    ),
    FailureClass.UNSUPPORTED_CONTAINER: FailureText(
        "The clip's first bytes belong to no known audio container, or to one that the contract does not accept.",
        "Convert the clip, or accept its container in the VoiceContract.",
    ),
    FailureClass.CONTRACT_VIOLATION: FailureText(
        "The clip's rate, channels, length or size is not accepted, and no declared conversion changes that; or a"
        " declared conversion would silence it.",
        "Record or convert as the contract says, or declare the conversion in the VoiceContract.",
    ),
    FailureClass.DECODE_ERROR: FailureText(
        "The clip is truncated or damaged, is joined with another file, or holds bytes that nobody reads.",
        "Repair, split or remove the clip, then run a job with the repaired clips; to take what a truncated file holds,"
        " declare `input.truncated: Accept` in the VoiceContract.",
    ),
    FailureClass.INPUT_CHANGED: FailureText(
        "The object is not the version that the plan recorded.",
        "Do not write to inputs while a job runs; run a new job.",
    ),
    FailureClass.INFERENCE_ERROR: FailureText(
        "The model failed on this clip alone, or gave none of the times that the contract asks for.", _DATA_TO_DO
    ),
    FailureClass.LANE_CRASHED: FailureText(
        "The clip ended the process that worked on it, more than once.", _DATA_TO_DO
    ),
    FailureClass.MEMORY_EXCEEDED: FailureText(
        "The clip alone, or the model as it is loaded, needs more memory than its lane may use.",
        "Shorten the clip, declare conversions.windows, use a smaller model, or raise memoryCap.",
    ),
    FailureClass.TRUNCATED_OUTPUT: FailureText(
        "The transcript covers too little of the speech, was cut by the token budget, or is empty although"
        " somebody speaks; this happened twice.",
        "Listen to the clip; raise transcription.maxTokens, declare conversions.windows, or use another model.",
    ),
    FailureClass.UNSPOKEN_TEXT: FailureText(
        "The model wrote a text where no speech is audible, or repeated a phrase faster than anybody speaks, and the"
        " contract says `completeness.unspokenText: Quarantine`.",
        "Listen to the clip where the reason says; remove it if nobody speaks, declare conversions.windows, use another"
        " model, or accept such texts with `completeness.unspokenText: Warn`.",
    ),
    FailureClass.INPUT_NOT_FOUND: FailureText(
        "The object does not exist.", "Correct the address, or upload the object."
    ),
    FailureClass.ACCESS_DENIED: FailureText(
        "The storage refused the credentials, or the address lies outside what MacAgent.spec.access opens to the job's"
        " namespace, or outside `allow` in the Mac's agent.yaml.",
        "Correct the Secret of credentialsSecretRef, or add the prefix to MacAgent.spec.access, or to `allow` in the"
        " Mac's agent.yaml.",
    ),
    FailureClass.TRANSPORT: FailureText(
        "The connection to the storage failed, or a file system does not answer.",
        "Nothing, unless it persists; a mount that the message names: check its server and mount it again.",
    ),
    FailureClass.THROTTLED: FailureText("The storage asked to slow down.", "Nothing, or lower the job's parallelism."),
    FailureClass.MACHINE_LOST: FailureText(
        "The Mac was out of contact for longer than its lease.",
        "Nothing: the shard runs elsewhere. Look at the Mac's Reachable condition.",
    ),
    FailureClass.MACHINE_RETURNED: FailureText(
        "The Mac was drained, its availability window or rental ended, or it served people first (VoiceEndpoint"
        " spec.yield, or memory that ran short). The clips that were done are kept.",
        "Nothing: the rest runs elsewhere, and it costs no retry.",
    ),
    FailureClass.RUNTIME_MISMATCH: FailureText(
        "The Mac cannot run the attempt: its agent does not understand it, its MLX packages do not fit together, its"
        " own file does not allow the model, or its lane does not start, load the model or reach its files.",
        "Read the message; upgrade the agent on this Mac, or correct models, laneUser, scratch or disk in its file.",
    ),
    FailureClass.SCRATCH_EXHAUSTED: FailureText(
        "The Mac's scratch folder has no room left, or its volume is not there, read-only or broken.",
        "Free, enlarge, mount or replace the scratch volume of this Mac.",
    ),
    FailureClass.GPU_ABORT_OUT_OF_MEMORY: FailureText(
        "The GPU or the Mac had no memory left, and the lane was below its own cap.",
        "Nothing at first; if it persists, use a smaller model or a larger Mac.",
    ),
    FailureClass.GPU_ABORT_TIMEOUT: FailureText(
        "The GPU driver ended work that took too long.",
        "Nothing at first; if it persists, look for other work on the Mac.",
    ),
    FailureClass.GPU_ABORT_INNOCENT_VICTIM: FailureText(
        "Another process made the GPU reset, and this work was lost with it.",
        "Nothing at first; if it persists, look for other work on the Mac.",
    ),
    FailureClass.INVALID_INPUT: FailureText(
        "The job's input cannot be read as written: a malformed manifest, a repeated id, a name that is not UTF-8 or"
        " that no file can have, a folder or a pipe in place of a file, no clips.",
        "Correct the input.",
    ),
    FailureClass.MODEL_UNAVAILABLE: FailureText(
        "The model's folder or revision does not exist, or cannot be loaded.",
        "Correct spec.model, or put the model on every Mac.",
    ),
    FailureClass.MODEL_MISMATCH: FailureText(
        "The model's files are not the ones that the plan recorded.",
        "Put the same files on every Mac.",
    ),
    FailureClass.FAILURE_BUDGET_EXHAUSTED: FailureText(
        "One Mac met more failures of this job than the contract's failureBudget allows.",
        "Repair the storage or the clips, or raise failureBudget.",
    ),
    FailureClass.PLAN_MISMATCH: FailureText(
        "The plan's files are not the ones that the job recorded.",
        "Let nothing but VoxFleet write below the job's output folder; run a new job.",
    ),
    FailureClass.INPUT_NOT_SHARED: FailureText(
        "A Mac does not see the file:// input that another one saw.", "Use s3://, or select one Mac with macSelector."
    ),
    FailureClass.OUTPUT_NOT_SHARED: FailureText(
        "A Mac does not see the file:// output that another one writes.",
        "Use s3://, or select one Mac with macSelector.",
    ),
    FailureClass.NONDETERMINISTIC_REPLAY: FailureText(
        "A clip of a finished run gave a different text, or different audio, when `voxfleet-agent repro verify` or"
        " `replay` ran it again. No job has this class.",
        "Look at the versions, the chip and the batch sizes that the command names; this run is not reproducible.",
    ),
}
