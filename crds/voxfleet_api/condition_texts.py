"""What each reason of a condition means, and what to do. `voxfleet_api/failure_texts.py` has the failure classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from voxfleet_api.conditions import ConditionType, Reason


@dataclass(frozen=True, slots=True)
class ConditionText:
    of: str
    """Kinds that have the condition."""
    means: str
    normally: str
    """Its status on an object with which all is well."""


@dataclass(frozen=True, slots=True)
class ReasonText:
    means: str
    to_do: str = "Nothing."


CONDITIONS: Mapping[ConditionType, ConditionText] = {
    ConditionType.ACCEPTED: ConditionText(
        "AudioBatchJob, MacAgent, VoiceContract, VoiceEndpoint",
        "What the object asks for is complete, and will be done.",
        "True",
    ),
    ConditionType.READY: ConditionText("AudioBatchSchedule", "The schedule can make jobs.", "True"),
    ConditionType.COMPLETE: ConditionText(
        "AudioBatchJob", "The job has its results. Its reason is the job's state until then.", "True at its end"
    ),
    ConditionType.COMMITTED: ConditionText("AudioShard", "The shard has a result.", "True at its end"),
    ConditionType.FAILED: ConditionText(
        "AudioBatchJob, AudioShard", "It has ended and has no result, or not all of it.", "absent"
    ),
    ConditionType.SUSPENDED: ConditionText(
        "AudioBatchJob, AudioBatchSchedule, VoiceEndpoint", "`spec.suspend` is set.", "absent"
    ),
    ConditionType.HALTED: ConditionText(
        "AudioBatchJob", "No attempt starts any more; what was done is merged, and the job fails.", "absent"
    ),
    ConditionType.RECONCILING: ConditionText(
        "AudioBatchJob, VoiceEndpoint", "Something that it needs may still come, as kstatus understands it.", "absent"
    ),
    ConditionType.STALLED: ConditionText(
        "AudioBatchJob, AudioBatchSchedule, MacAgent, VoiceEndpoint",
        "A person has to do something, as kstatus understands it.",
        "absent",
    ),
    ConditionType.QUARANTINED: ConditionText("AudioBatchJob", "Some clips are in quarantine.", "absent"),
    ConditionType.OFFLINE_SLO_MET: ConditionText(
        "AudioBatchJob",
        "The p95 of a clip's inference keeps to the contract's `slo.offlineTailP95`. Absent without one, and until"
        " results are merged.",
        "True or absent",
    ),
    ConditionType.WITHIN_FAILURE_BUDGET: ConditionText(
        "AudioBatchJob",
        "Retries and quarantined audio keep to the contract's `failureBudget`. Absent without one, and until results"
        " are merged or it is exhausted.",
        "True or absent",
    ),
    ConditionType.AVAILABLE: ConditionText(
        "MacAgent, VoiceEndpoint", "The Mac takes attempts; as many lanes are warm as `lanes.min`.", "True"
    ),
    ConditionType.DEGRADED: ConditionText(
        "VoiceEndpoint", "A lane failed or is out of contact, or no Mac fits for one that is wanted.", "absent"
    ),
    ConditionType.SLO_MET: ConditionText(
        "VoiceEndpoint",
        "Of the turns of the last `spec.sloWindow`, 95 of 100 kept to the contract's `slo.interactiveP95`. Absent"
        " without one.",
        "True, or Unknown",
    ),
    ConditionType.REACHABLE: ConditionText("MacAgent", "The agent has proven its identity and answers.", "True"),
    ConditionType.RUNTIME_COMPATIBLE: ConditionText("MacAgent", "Its MLX, macOS and Python fit.", "True"),
    ConditionType.LEDGER_VERIFIED: ConditionText("MacAgent", "All rows of machine time that were read verify.", "True"),
    ConditionType.POOLS_MATCH: ConditionText(
        "MacAgent",
        "The agent has the pools and reservations of the spec. Present while the spec has some.",
        "True or absent",
    ),
    ConditionType.ACCEPTANCE_PASSED: ConditionText(
        "MacAgent", "The machine passed its acceptance. Present while the Mac requires or has one.", "True or absent"
    ),
    ConditionType.CONTENDED: ConditionText(
        "MacAgent",
        "Lanes have taken much longer for minutes than their ladder measured, so that something else seems to use the"
        " Mac. It goes on taking attempts.",
        "absent",
    ),
    ConditionType.DRAINING: ConditionText(
        "MacAgent", "Attempts of a Mac with `spec.drain` are still to end; False once it is empty.", "absent"
    ),
    ConditionType.ARCHIVED: ConditionText(
        "MachineHourStatement", "The rows of its totals are in the ledger archive.", "True"
    ),
    ConditionType.FINAL: ConditionText(
        "MachineHourStatement", "The month is over, all its rows are archived, and nothing changes.", "True at its end"
    ),
}

_SECRET = "Create the Secret in the namespace of the job or endpoint; the message names it."
_MAC_SECRET = "The message names the Secret; see docs/how-to/add-a-mac.md."
_CERTIFICATES = "The message says which one; docs/how-to/add-a-mac.md says how it is made."

REASONS: Mapping[Reason, ReasonText] = {
    Reason.ACCEPTED: ReasonText("It can be done as it is written."),
    Reason.INVALID_SPEC: ReasonText("A field cannot be used.", "Write what the message says; it names the field."),
    Reason.CONTRACT_NOT_FOUND: ReasonText(
        "No VoiceContract has the name in `spec.contractRef`.", "Create it in the same namespace, or mend the name."
    ),
    Reason.SECRET_NOT_FOUND: ReasonText("A Secret does not exist.", _SECRET),
    Reason.SECRET_FORBIDDEN: ReasonText(
        "The operator may not read a Secret.", "Create the Role and RoleBinding that the message prints."
    ),
    Reason.SECRET_INCOMPLETE: ReasonText("A Secret lacks a key.", "Add the key that the message names."),
    Reason.SECRET_UNREADABLE: ReasonText(
        "A Mac's Secret cannot be read now.", "Nothing, if the API server was away; the message says why."
    ),
    Reason.SHARD_NAME_TAKEN: ReasonText(
        "Another object has the name of one of the job's shards.", "Delete the AudioShard that the message names."
    ),
    Reason.SOURCE_NOT_FOUND: ReasonText("The job of `spec.source` does not exist.", "Mend the name."),
    Reason.SOURCE_NOT_ENDED: ReasonText("The job of `spec.source` still runs.", "Wait for it, or cancel it."),
    Reason.SOURCE_WITHOUT_RESULTS: ReasonText(
        "The job of `spec.source` ended without results that can be run again.", "Run that job anew."
    ),
    Reason.PENDING: ReasonText("The job is not accepted yet; a shard waits for its next attempt."),
    Reason.PLANNING: ReasonText("A Mac lists the input and reads headers."),
    Reason.RUNNING: ReasonText("Shards are worked on."),
    Reason.WAITING_FOR_MAC: ReasonText(
        "Nothing of the job runs, as no Mac takes its next shard.", "`voxfleet why JOB` counts what keeps Macs off."
    ),
    Reason.SUSPENDED: ReasonText(
        "`spec.suspend` is set.",
        "`voxfleet resume JOB` when it is to go on; of a schedule or an endpoint, take `spec.suspend` away.",
    ),
    Reason.FINALIZING: ReasonText("A Mac merges the results."),
    Reason.FINISHED: ReasonText("Every clip has its row."),
    Reason.FAILED: ReasonText("The job has ended as Failed.", "The condition Failed says why."),
    Reason.CLIPS_FAILED: ReasonText(
        "Clips have no result for reasons outside their data.", "errors.jsonl says why; `voxfleet retry JOB` runs them."
    ),
    Reason.QUARANTINE_LIMIT_EXCEEDED: ReasonText(
        "More clips were quarantined than the contract allows.", "`voxfleet quarantine ls JOB`; mend input or contract."
    ),
    Reason.ATTEMPTS_EXHAUSTED: ReasonText(
        "A shard failed more often than it may be retried.", "`voxfleet why shard/SHARD` lists its attempts."
    ),
    Reason.DEADLINE_EXCEEDED: ReasonText(
        "`spec.activeDeadlineSeconds` is over.", "Allow more time, or more lanes; `voxfleet plan` estimates it."
    ),
    Reason.MAX_MACHINE_SECONDS_EXCEEDED: ReasonText(
        "`spec.maxMachineSeconds` is used up.", "Allow more; `voxfleet plan` estimates it."
    ),
    Reason.CANCELLED: ReasonText("Somebody set `spec.cancel`."),
    Reason.FINALIZE_DEADLINE_EXCEEDED: ReasonText(
        "The results could not be merged within half an hour.", "See that a Mac can write the output; run it again."
    ),
    Reason.CLIPS_QUARANTINED: ReasonText(
        "Clips were refused for their own data.", "`voxfleet quarantine ls JOB` says which and why."
    ),
    Reason.TAIL_WITHIN_SLO: ReasonText("The p95 of a clip's inference is within the contract's `slo.offlineTailP95`."),
    Reason.TAIL_BEYOND_SLO: ReasonText(
        "The p95 of a clip's inference is beyond the contract's `slo.offlineTailP95`; the results count all the same.",
        "Read report.html: smaller batches (`batching.ladder`) or faster Macs make it shorter.",
    ),
    Reason.WITHIN_BUDGET: ReasonText("On every Mac, retries and quarantined audio are within `failureBudget`."),
    Reason.NOT_TOLD_BY_ROWS: ReasonText(
        "The whole job had more retries or quarantined audio than one Mac may have, and agents of an older version do"
        " not tell what each Mac had.",
        "Upgrade the agents.",
    ),
    Reason.ASSIGNED: ReasonText("An attempt of the shard is on a Mac."),
    Reason.COMMITTED: ReasonText("The shard's result is recorded."),
    Reason.SPLIT: ReasonText("The shard kept failing and was split into halves, which take over."),
    Reason.SCHEDULED: ReasonText("Jobs are made when they are due; status has the next times."),
    Reason.JOB_NAME_TAKEN: ReasonText(
        "A job that is not the schedule's has the name of a run's job.", "Delete or rename the job that is named."
    ),
    Reason.JOB_REFUSED: ReasonText("The API server refuses jobs of this template.", "Mend `spec.jobTemplate`."),
    Reason.JOB_FORBIDDEN: ReasonText(
        "The operator may not make jobs here.", "Raise the quota, or grant the right that the message names."
    ),
    Reason.LANES_WARM: ReasonText("As many lanes hold the model as `lanes.min` asks for."),
    Reason.LANES_LOADING: ReasonText("Lanes are placed, and load the model."),
    Reason.LANES_FAILED: ReasonText(
        "Lanes failed, and fewer are warm than `lanes.min` asks for.",
        "The condition Degraded has the class and the Mac; `voxfleet why ve/NAME` lists all lanes.",
    ),
    Reason.LANE_REFUSED: ReasonText(
        "An agent had no room for a lane that placement gave it, or refused it.",
        "Nothing at first: another Mac gets it. If it stays, see the agent's log for what the message says.",
    ),
    Reason.LANE_UNREACHABLE: ReasonText(
        "A Mac with a lane is out of contact; after a minute another Mac gets its lane.",
        "`voxfleet why mac/MAC` says why it is not reached.",
    ),
    Reason.NO_MAC_FITS: ReasonText(
        "No Mac takes a lane that is wanted.",
        "The message counts what keeps Macs off: give one an Interactive pool, access, or room.",
    ),
    Reason.TURNS_WITHIN_SLO: ReasonText("The p95 of turns is within the contract's `slo.interactiveP95`."),
    Reason.TURNS_BEYOND_SLO: ReasonText(
        "More than 5 % of the turns in the window took longer than the contract's `slo.interactiveP95`.",
        "`voxfleet why ve/NAME` names the part that takes longest, and the Mac; see"
        " docs/runbooks/VoxFleetEndpointSLOMissed.md.",
    ),
    Reason.NO_TURNS: ReasonText("Nobody has spoken within `spec.sloWindow`."),
    Reason.TOO_FEW_TURNS: ReasonText(
        "A turn took longer than the contract's `slo.interactiveP95`, but fewer than 5 in the window say nothing of a"
        " p95."
    ),
    Reason.AVAILABLE: ReasonText("The Mac takes attempts."),
    Reason.UNSCHEDULABLE: ReasonText("`spec.unschedulable` is set, or the MacAgent is being deleted."),
    Reason.DRAINING: ReasonText("`spec.drain` is set; what runs ends in time."),
    Reason.DRAINED: ReasonText(
        "Nothing runs on the Mac any more, and its machine time is settled.",
        "`voxfleet undrain MAC` when it is to go on.",
    ),
    Reason.ROWS_LEFT: ReasonText(
        "Nothing runs on the Mac any more, but not all of its machine time is settled.",
        "Keep the Mac, and its agent in contact, until this ends.",
    ),
    Reason.OUTSIDE_WINDOW: ReasonText(
        "None of the windows in `spec.availability` (an endpoint's: `spec.windows`) is open."
    ),
    Reason.OUTSIDE_RENTAL: ReasonText("The Mac's rental has not begun, or is over."),
    Reason.FAILS_TOO_OFTEN: ReasonText(
        "Attempts of several jobs failed there in a row.", "`voxfleet why mac/MAC`, then `voxfleet-agent doctor` there."
    ),
    Reason.REFUSES_ATTEMPTS: ReasonText(
        "The agent has no room for attempts, time after time, although it should.",
        "Look at the agent's log, and at what else runs on the Mac.",
    ),
    Reason.DELETION_HANGS: ReasonText(
        "The agent does not finish deleting an attempt.", "See docs/runbooks/VoxFleetDeletionHangs.md."
    ),
    Reason.LANES_SLOWED_DOWN: ReasonText(
        "Something else uses the Mac's processors or GPU, or its clock is lowered.",
        "See docs/runbooks/VoxFleetMacContended.md.",
    ),
    Reason.MEMORY_OVERCOMMITTED: ReasonText(
        "Pool caps and reserved memory of the spec exceed what the machine has for both.",
        "Lower `lanes`, `memoryCap` or `reserved`. Nothing new starts there meanwhile.",
    ),
    Reason.POOLS_MATCH: ReasonText("The agent has the pools and reservations of the spec."),
    Reason.POOLS_DIFFER: ReasonText(
        "The agent's own file has other pools or reservations than the spec, and the file wins.",
        "Change agent.yaml and restart the agent, or change the spec.",
    ),
    Reason.AWAITS_ACCEPTANCE: ReasonText(
        "The Mac requires acceptance, and this machine has not passed it.", "`voxfleet accept -f JOB --mac MAC`."
    ),
    Reason.ACCEPTANCE_PASSED: ReasonText("This machine passed all five lines of its acceptance."),
    Reason.ACCEPTANCE_FAILED: ReasonText(
        "A line of the acceptance failed.", "`voxfleet accept show mac/MAC`, then mend the Mac and try it again."
    ),
    Reason.OTHER_MACHINE_ACCEPTED: ReasonText(
        "The acceptance is of another machine or ledger key.", "`voxfleet accept -f JOB --mac MAC` tries this one."
    ),
    Reason.CONNECTED: ReasonText("The agent proved its identity and answers."),
    Reason.CONNECTING: ReasonText("The operator is dialling."),
    Reason.HOST_KEY_MISMATCH: ReasonText(
        "sshd shows another host key than the pinned ones.",
        "Ask who changed it; then write the new key into `spec.ssh.hostKeys`.",
    ),
    Reason.SSH_AUTHENTICATION_FAILED: ReasonText(
        "sshd refuses the operator's key.", "Add its public key to the user's authorized_keys."
    ),
    Reason.SSH_UNREACHABLE: ReasonText("sshd does not answer.", "See that the Mac is on, awake and on the network."),
    Reason.HTTPS_UNREACHABLE: ReasonText(
        "Nothing answers at `spec.https.url`.", "See that the Mac is on and its agent listens there."
    ),
    Reason.CONNECTION_RESET: ReasonText(
        "Something between operator and agent ends the connection.", "Look at proxies and firewalls on the way."
    ),
    Reason.TLS_NOT_SPOKEN: ReasonText("What answers at the port speaks no TLS.", "Mend `spec.https.url`."),
    Reason.TLS_HANDSHAKE_FAILED: ReasonText("Operator and agent agree on no TLS connection.", _CERTIFICATES),
    Reason.SERVER_CERTIFICATE_UNTRUSTED: ReasonText(
        "The agent's certificate is from another authority than `spec.https.caBundleRef`.", _CERTIFICATES
    ),
    Reason.SERVER_NAME_MISMATCH: ReasonText(
        "The agent's certificate is for another name than `spec.https.url` has.", _CERTIFICATES
    ),
    Reason.SERVER_CERTIFICATE_EXPIRED: ReasonText("The agent's certificate has expired.", _CERTIFICATES),
    Reason.SERVER_CERTIFICATE_NOT_YET_VALID: ReasonText(
        "The agent's certificate is not valid yet.", "Set the clocks of the Mac and of the operator's node."
    ),
    Reason.CLIENT_CERTIFICATE_REFUSED: ReasonText(
        "The agent does not trust the operator's certificate.", _CERTIFICATES
    ),
    Reason.CLIENT_CERTIFICATE_EXPIRED: ReasonText("The operator's certificate has expired.", _CERTIFICATES),
    Reason.CLIENT_CERTIFICATE_REVOKED: ReasonText("The agent's list of revoked certificates has ours.", _CERTIFICATES),
    Reason.CERTIFICATE_UNREADABLE: ReasonText("A Secret holds no usable certificate or key.", _CERTIFICATES),
    Reason.AGENT_UNREACHABLE: ReasonText(
        "sshd answers, the agent does not.", "Start the agent; `voxfleet-agent doctor` says what it lacks."
    ),
    Reason.AGENT_TOKEN_REFUSED: ReasonText("The agent refuses the token.", _MAC_SECRET),
    Reason.IDENTITY_MISMATCH: ReasonText(
        "The agent signs with another key than `spec.ledgerPublicKey`.", "Write the key that `init` printed there."
    ),
    Reason.OTHER_CONTROL_PLANE: ReasonText(
        "The agent belongs to another cluster.", "See docs/how-to/add-a-mac.md for how it changes hands."
    ),
    Reason.DUPLICATE_MACHINE: ReasonText(
        "An older MacAgent stands for the same machine.", "Delete one of the two; the message names the other."
    ),
    Reason.EPOCH_NOT_BELIEVED: ReasonText(
        "The agent claims an epoch that no Lease can have had.", "Upgrade the agent, or see who else drives it."
    ),
    Reason.COMPATIBLE: ReasonText("The runtime fits."),
    Reason.INCOMPATIBLE: ReasonText("MLX, macOS or Python does not fit.", "Install what the message says."),
    Reason.VERIFIED: ReasonText("All rows that were read verify."),
    Reason.ROW_REFUSED: ReasonText("A signed row does not verify.", "See docs/runbooks/VoxFleetLedgerNotVerified.md."),
    Reason.ARCHIVED: ReasonText("The rows of the totals are in the ledger archive."),
    Reason.NO_ARCHIVE: ReasonText(
        "The operator has no ledger archive, so no statement is ever final.",
        "Give it one: `--archive`, see docs/how-to/keep-a-ledger-archive.md.",
    ),
    Reason.ARCHIVE_UNAVAILABLE: ReasonText(
        "The ledger archive cannot be read or written; rows wait, and none is lost.",
        "See docs/runbooks/VoxFleetArchiveUnavailable.md.",
    ),
    Reason.FINAL: ReasonText("The statement never changes again."),
    Reason.MONTH_OPEN: ReasonText("The month, or the 48 hours after it, is not over."),
    Reason.ROWS_EXPECTED: ReasonText(
        "The month is over, and rows of it may still come.",
        "Bring the Mac back into contact; see the message. After 14 days without it the statement is final.",
    ),
    Reason.UNKNOWN: ReasonText("Nothing is known yet."),
}
