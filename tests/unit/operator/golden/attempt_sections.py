"""What the operator decides about attempts, asked for every cell of the golden table."""

from __future__ import annotations

from itertools import product

from tests.unit.operator.decisions.attempt_objects import DIGEST, record, report, shard_with, view_with
from tests.unit.operator.decisions.job_states import job_states
from tests.unit.operator.decisions.memory_api import sha
from tests.unit.operator.golden.markdown_tables import Section

from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AttemptUsage, AudioShardStatus, FoldedAttempts, Stage
from voxfleet_api.protocol import AttemptState, AttemptStatus, Problem, ShardResult
from voxfleet_operator.fleet.mac_view import AgentRefused, MacView
from voxfleet_operator.metering.usage import NO_ROWS
from voxfleet_operator.reconcile.job_life import JobWish, wish_of
from voxfleet_operator.reconcile.lost_mac import ContactState
from voxfleet_operator.reconcile.mac.decide import orphans
from voxfleet_operator.reconcile.mac_closing import Recall
from voxfleet_operator.reconcile.shard.decide import (
    MOST_FORGOTTEN_ATTEMPTS,
    MOST_FREE_ENDS,
    ReportedState,
    decide,
    put_refusal,
    refused_as,
    reported_state,
    superseded,
)

INTRODUCTION = """# What the operator does about an attempt

Remote state (what a Mac reports) x local state (what the shard's status and the job say) -> action. Every cell is asked
of the code by `test_attempt_actions.py`, and a state without a row fails it. The actions:

- **Wait**: nothing; the next report, the end of the lease or a deadline decides.
- **Put**: send the attempt, so that it starts or resumes. **Commit**: record its result. **Fail**: record its failure.
- **Revoke**: delete it on its Mac, then record its end. **Recall**: the same for a Mac that drains or closes.
- **Replace**: its Mac is lost; placement may assign the next attempt. **Lose**: the same, and no other one follows.
"""

OTHER_DIGEST = f"sha256:{sha('other')}"
ALL_ROWS = AttemptUsage(chain_id="c", first_sequence=0, last_sequence=1, rows=2, work_milliseconds=5, complete=True)
SOME_ROWS = ALL_ROWS.model_copy(update={"last_sequence": 0, "rows": 1, "complete": False})

CALLED_BACK = {
    Recall.NONE: "in contact",
    Recall.AT_NEXT_CLIP: "called back at the next clip",
    Recall.NOW: "called back now",
}
"""What a Mac in contact may ask of its attempts."""
OURS = 5
REFUSALS = (400, 401, 403, 404, 408, 409, 410, 412, 413, 422, 429, 500, 503, 507)
NAMED = {
    "an older attempt": OURS - 1,
    "this attempt": OURS,
    "a newer attempt": OURS + 1,
    "the newest that is believed": OURS + MOST_FORGOTTEN_ATTEMPTS,
    "one that is not believed": OURS + MOST_FORGOTTEN_ATTEMPTS + 1,
}
TOLD = {
    JobWish.WORK: "Attempts start, resume, and are taken over from lost Macs.",
    JobWish.FINISH: "What runs may end; nothing starts, resumes or is taken over.",
    JobWish.STOP: "What runs is taken back; a result that is there counts.",
    JobWish.DISCARD: "The job has ended: nothing that its attempts deliver counts any more.",
}


def attempt_sections() -> list[Section]:
    return [
        *(_newest(wish) for wish in JobWish),
        _wishes(),
        _reports(),
        _ended(),
        _unrecorded(),
        _refusals(),
    ]


def _newest(wish: JobWish) -> Section:
    rows = {
        how.value: {
            **{told: _action(wish, ContactState.CONNECTED, how, recall) for recall, told in CALLED_BACK.items()},
            **{
                contact.value.lower(): _one({_action(wish, contact, how, recall) for recall in Recall})
                for contact in ContactState
                if contact is not ContactState.CONNECTED
            },
        }
        for how in ReportedState
    }
    text = f"{TOLD[wish]} Rows: the shard's newest attempt as its Mac last reported it. Columns: the Mac."
    return Section(f"The newest attempt, while the job wants {wish.value}", text, "reported", rows)


def _action(wish: JobWish, contact: ContactState, how: ReportedState, recall: Recall) -> str:
    """From the shard and the view, not from the table itself."""
    shard = shard_with(record(1, "mac-a", AttemptOutcome.ASSIGNED))
    connected = contact is ContactState.CONNECTED
    if how is ReportedState.ABSENT:
        view = view_with(connected=connected)
    elif how is ReportedState.FOREIGN:
        view = view_with(report(1, AttemptState.RUNNING, OTHER_DIGEST), connected=connected)
    else:
        view = view_with(report(1, AttemptState(how.value)), connected=connected)
    return decide(shard, view, contact, wish, recall).value


def _one(actions: set[str]) -> str:
    return " or ".join(sorted(actions))


def _wishes() -> Section:
    rows = {
        name: {stage.value: wish_of(job, stage).value for stage in Stage}
        for name, job in job_states().items()
        if job.status.contract is not None
    }
    return Section(
        "What a job wants of its attempts",
        "Rows: a job's states, as in [conditions.md](conditions.md); before it is accepted it has no attempts."
        " Columns: the stage of the shard.",
        "job",
        rows,
    )


def _reports() -> Section:
    success = report(1, AttemptState.SUCCEEDED)
    unknown = report(1, AttemptState.RUNNING).model_copy(update={"state": "Dreaming"})
    ended = unknown.model_copy(update={"ended": True})
    reports: dict[str, AttemptStatus | None] = {
        "nothing": None,
        **{state.value: report(1, state) for state in AttemptState},
        "Succeeded, without a result": success.model_copy(update={"result": None}),
        "Succeeded, without what its stage is for": success.model_copy(
            update={"result": ShardResult(commit_sha256="0" * 64)}
        ),
        "any state, with the digest of another spec": report(1, AttemptState.RUNNING, OTHER_DIGEST),
        "a state of an agent to come": unknown,
        "a state of an agent to come, and that it has ended": ended,
    }
    return Section(
        "How a report is read",
        "Rows: what the agent lists for the shard's newest attempt. Columns: the row of the tables above.",
        "the agent says",
        {told: {"reported": reported_state(found, Stage.PROCESS, DIGEST).value} for told, found in reports.items()},
    )


def _ended() -> Section:
    views: dict[str, tuple[MacView, ...]] = {
        "holds it": (view_with(report(1, AttemptState.PARKED), usage=ALL_ROWS),),
        "holds it, and not all rows are read": (view_with(report(1, AttemptState.PARKED), usage=SOME_ROWS),),
        "has forgotten it": (view_with(),),
        "silent, held it": (view_with(report(1, AttemptState.PARKED), usage=ALL_ROWS, connected=False),),
        "gone for good": (),
    }
    recorded: dict[str, AttemptUsage | None] = {
        "no machine time is recorded": None,
        "machine time is recorded in part": SOME_ROWS,
        "all machine time is recorded": ALL_ROWS,
    }
    rows = {
        f"{outcome.value}, {told}": {name: _left(outcome, usage, found) for name, found in views.items()}
        for (outcome, (told, usage)) in product(AttemptOutcome, recorded.items())
        if outcome is not AttemptOutcome.ASSIGNED
    }
    text = (
        "Late results are ignored, machine time is recorded, copies are deleted. Rows: how it ended, as the shard's"
        " status says. Columns: the Mac that had it."
    )
    return Section("An attempt that has ended", text, "recorded", rows)


def _left(outcome: AttemptOutcome, usage: AttemptUsage | None, views: tuple[MacView, ...]) -> str:
    newest = record(2, "mac-b", AttemptOutcome.ASSIGNED)
    found = superseded(shard_with(record(1, "mac-a", outcome, usage), newest), {view.name: view for view in views})
    noted = ["record no rows" if item == NO_ROWS else "record rows" for _, item in found.usages]
    return ", ".join([*noted, *("delete" for _ in found.deletes)]) or "nothing"


def _unrecorded() -> Section:
    rows = {
        f"{whose}, {told}": {"action": _orphaned(control_plane, recorded)}
        for whose, control_plane in (("of this control plane", "cp"), ("of another control plane", "another"))
        for told, recorded in (("a shard records it for this machine", True), ("no shard does", False))
    }
    return Section(
        "An attempt that a Mac reports",
        "Whether it is an orphan, once the operator has read all shards.",
        "the attempt is",
        rows,
    )


def _orphaned(control_plane: str, recorded: bool) -> str:
    found = report(1, AttemptState.RUNNING).model_copy(update={"control_plane": control_plane})
    return "delete" if orphans(view_with(found), "cp", lambda uid, attempt, view: recorded) else "leave alone"


def _refusals() -> Section:
    """Each status that an agent answers, with and without a class or an attempt that it names."""
    asked: dict[str, AgentRefused] = {
        **{str(status): _refused(status) for status in REFUSALS},
        **{
            f"{status}, naming {told}": _refused(status, held_attempt=held)
            for status, (told, held) in product((409, 410), NAMED.items())
        },
        "422 with PlanMismatch": _refused(422, FailureClass.PLAN_MISMATCH),
        "422 with a class of an agent to come": _refused(422, "OfAnAgentToCome"),
        "429 with InvalidInput": _refused(429, FailureClass.INVALID_INPUT),
        "507 with InvalidInput": _refused(507, FailureClass.INVALID_INPUT),
    }
    return Section(
        "What follows from a refused PUT",
        f"The PUT was of attempt {OURS}. An attempt that ends here is deleted on that Mac first, and the next one goes"
        " elsewhere.",
        "HTTP status",
        {told: _refusal(refusal) for told, refusal in asked.items()},
    )


def _refused(status: int, failure_class: str | None = None, held_attempt: int | None = None) -> AgentRefused:
    return AgentRefused(status, Problem(failure_class=failure_class, message="no", held_attempt=held_attempt))


def _refusal(refusal: AgentRefused) -> dict[str, str]:
    meaning = put_refusal(refusal, OURS)
    if not meaning.final:
        return {"then": "the same PUT later", "recorded as": "", "costs a retry": "", "the next attempt": ""}
    fresh, tried = (
        refused_as(meaning, AudioShardStatus(folded=FoldedAttempts(attempts=count))) for count in (0, MOST_FREE_ENDS)
    )
    costs = {outcome: "yes" if record(OURS, "mac-a", outcome).costs_retry else "no" for outcome in (fresh, tried)}
    return {
        "then": "the attempt ends",
        "recorded as": meaning.failure_class or fresh.value,
        "costs a retry": costs[fresh] if fresh is tried else f"{costs[fresh]}; {costs[tried]} after {MOST_FREE_ENDS}",
        "the next attempt": str(1 + (meaning.used_attempt or OURS)),
    }
