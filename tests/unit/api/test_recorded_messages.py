"""The oldest messages of every kind, as they were sent and stored, in the hands of today's operator and agent.

The files are never written again: a message that has to change gets another file beside the old one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from voxfleet_agent.attempts.spec_check import check_spec
from voxfleet_agent.machine import LocalMachine
from voxfleet_agent.storage import Storage
from voxfleet_api import protocol
from voxfleet_api.attempt_spec import AttemptKey, AttemptSpec
from voxfleet_api.base import ApiModel
from voxfleet_api.digest import digest_of
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent, VoiceContract
from voxfleet_api.kinds.audio_shard import AttemptOutcome
from voxfleet_api.kinds.job_task import Transcription
from voxfleet_api.ledger import public_key, verify
from voxfleet_api.machine_messages import Identity, MachineFacts
from voxfleet_api.protocol import (
    AttemptList,
    AttemptRequest,
    AttemptState,
    AttemptStatus,
    Event,
    EventAck,
    LadderList,
    LedgerChains,
    LedgerPage,
    Problem,
    RenewAnswer,
    RenewRequest,
)
from voxfleet_operator.fleet.ledger_book import LedgerBook
from voxfleet_operator.fleet.mac_record import MacRecord
from voxfleet_operator.reconcile.namespace_access import keeps_within_prefixes
from voxfleet_operator.reconcile.shard.attempt_spec import attempt_spec

FOLDER = Path(__file__).parent / "recorded"
KINDS: dict[str, type[ApiModel]] = {
    "identity": Identity,
    "machine_facts": MachineFacts,
    "attempt_list": AttemptList,
    "attempt_status": AttemptStatus,
    "event_of_attempt": Event,
    "event_of_row": Event,
    "event_of_heartbeat": Event,
    "ladder_list": LadderList,
    "ledger_page": LedgerPage,
    "ledger_page_of_owner": LedgerPage,
    "ledger_chains": LedgerChains,
    "renew_request": RenewRequest,
    "renew_answer": RenewAnswer,
    "problem_409": Problem,
    "problem_422": Problem,
    "attempt_request_plan": AttemptRequest,
    "attempt_request_plan_of_manifest": AttemptRequest,
    "attempt_request_process": AttemptRequest,
    "attempt_request_finalize": AttemptRequest,
    "event_ack": EventAck,
    "stored_contract": VoiceContract,
    "stored_job": AudioBatchJob,
    "stored_shard": AudioShard,
    "stored_mac_agent": MacAgent,
}
MACHINE = LocalMachine("hardware-1", "boot-1", "Apple M4", 2**34, "Darwin 26.1", {}, True, "")
REQUESTS = [name for name in KINDS if name.startswith("attempt_request_")]


def text(name: str) -> bytes:
    return (FOLDER / f"{name}.json").read_bytes()


def recorded(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(text(name))
    return content


def lost(old: object, new: object, path: str) -> Iterator[str]:
    """Where `new` no longer says what `old` said. Fields that are new do not matter."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key, value in old.items():
            yield from lost(value, new[key], f"{path}.{key}") if key in new else (f"{path}.{key}",)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (left, right) in enumerate(zip(old, new, strict=True)):
            yield from lost(left, right, f"{path}[{number}]")
    elif old != new and new != "**********":
        yield path


def test_every_message_and_kind_is_recorded() -> None:
    bodies = {
        value
        for value in vars(protocol).values()
        if isinstance(value, type) and issubclass(value, ApiModel) and "/v1/" in (value.__doc__ or "")
    }
    assert bodies | {AttemptStatus, AttemptList, RenewAnswer, Problem} <= set(KINDS.values())
    assert {file.stem for file in FOLDER.iterdir()} == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_nothing_that_a_message_said_is_lost(name: str) -> None:
    parsed = KINDS[name].load_json(text(name))
    assert [*lost(recorded(name), parsed.dump(), name)] == []


@pytest.mark.parametrize("name", REQUESTS)
def test_an_agent_runs_what_an_older_operator_sends(name: str) -> None:
    request = AttemptRequest.load_json(text(name))
    key = AttemptKey(str(request.spec["shardUid"]), 1)
    found = check_spec(request, key, MACHINE, lambda _, namespace: Storage(["file:///data/"], namespace=namespace))
    if name == "attempt_request_plan_of_manifest":
        assert isinstance(found, Problem) and found.failure_class is FailureClass.RUNTIME_MISMATCH  # ADR 35
    else:
        assert isinstance(found, AttemptSpec), found


@pytest.mark.parametrize("name", REQUESTS)
def test_an_older_agent_knows_every_field_that_it_is_sent_and_fills_in_the_same_defaults(name: str) -> None:
    old = AttemptRequest.load_json(text(name)).spec
    spec = AttemptSpec.load(old)
    sent = spec.dump()
    assert [*lost(sent, old, "spec")] == []
    assert AttemptSpec.load(sent) == spec, "a default has changed"


class LaterTranscription(Transcription):
    beams: int = 1


class LaterSpec(AttemptSpec):
    """A spec with fields that this version does not know."""

    priority: int = 0
    transcription: Transcription = LaterTranscription()


@pytest.mark.parametrize("name", REQUESTS)
def test_a_field_that_nobody_uses_changes_neither_what_is_sent_nor_its_digest(name: str) -> None:
    old = AttemptRequest.load_json(text(name)).spec
    spec = AttemptSpec.load(old)
    fields = {"transcription": LaterTranscription.load(old["transcription"])}
    later = LaterSpec.load(old).model_copy(update=fields)
    assert later.dump() == spec.dump() and digest_of(later) == digest_of(spec)
    with pytest.raises(ValidationError, match="priority"):
        AttemptSpec.load(later.model_copy(update={"priority": 1}).dump())


def test_a_job_that_an_older_operator_accepted_runs_under_its_old_digest() -> None:
    job, stored = AudioBatchJob.load_json(text("stored_job")), recorded("stored_job")["status"]["contract"]
    shard = AudioShard.load_json(text("stored_shard"))
    assert job.dump()["status"]["contract"] == stored
    spec = attempt_spec(job, shard, 2, [shard])
    assert spec.contract_digest == stored["digest"] == digest_of(spec.dump()["contract"]) == digest_of(spec.contract)
    assert shard.status.attempts[1].outcome is AttemptOutcome.ASSIGNED


def test_a_contract_of_a_version_without_some_fields_keeps_its_digest() -> None:
    """As if every field that has a default were new."""
    job = recorded("stored_job")
    short = {"input": {"containers": ["wav"], "sampleRatesHz": [16000], "channels": [1]}}
    job["status"]["contract"] = {"digest": digest_of(short), "spec": short}
    shard = AudioShard.load_json(text("stored_shard"))
    spec = attempt_spec(AudioBatchJob.load(job), shard, 2, [shard])
    request = AttemptRequest(
        spec_digest=digest_of(spec), spec=spec.dump(), lease_seconds=60, uri_prefixes=("file:///data/",)
    )
    found = check_spec(
        request, AttemptKey(spec.shard_uid, 2), MACHINE, lambda _, opened: Storage(["file:///data/"], namespace=opened)
    )
    assert isinstance(found, AttemptSpec), found
    assert AttemptSpec.load(json.loads(json.dumps(found.dump()))).contract.dump() == short, "as the journal keeps it"


def a_record() -> MacRecord:
    key = public_key(recorded("identity")["publicKey"])
    return MacRecord("mac-a", "cluster-1", LedgerBook(key, "cluster-1", lambda: datetime(2026, 11, 30, tzinfo=UTC)))


def test_an_operator_follows_an_older_agent() -> None:
    record = a_record()
    facts = MachineFacts.load_json(text("machine_facts"))
    record.machine_reported(facts)
    assert not keeps_within_prefixes(facts), "an older agent keeps to nothing that it does not know"
    page = LedgerPage.load_json(text("ledger_page"))
    record.book.resume(page.chain_id, facts.ledger_sequence)
    record.rows_delivered(page.rows)
    record.attempts_listed(AttemptList.load_json(text("attempt_list")).attempts)
    assert record.view.ledger_error is None and len(record.view.usage) == 1
    states = [status.state for status in record.view.attempts.values()]
    assert states == [AttemptState.RUNNING, AttemptState.SUCCEEDED, AttemptState.SUCCEEDED, AttemptState.FAILED]
    event = Event.load_json(text("event_of_row"))
    assert event.row is not None and verify([event.row], public_key(recorded("identity")["publicKey"])) is not None


def test_rows_of_an_owner_verify_as_they_were_signed() -> None:
    page = LedgerPage.load_json(text("ledger_page_of_owner"))
    key = LedgerChains.load_json(text("ledger_chains")).chains[1].ledger_key
    assert verify(page.rows, public_key(key or "")) is not None and page.rows[0].row.held_for.name == "nightly"


@pytest.mark.parametrize("change", [{"activity": "idle"}, {"energyJoules": 12}, {"lane": None}])
def test_a_row_that_only_a_newer_operator_reads_marks_the_mac_and_ends_no_session(
    change: dict[str, object],
) -> None:
    page = recorded("ledger_page")
    page["rows"][0]["row"] |= change
    read = LedgerPage.load_json(json.dumps(page))
    assert read.rows == () and read.damaged_sequence == 0
    event = recorded("event_of_row")
    event["row"]["row"] |= change
    assert Event.load_json(json.dumps(event)).row is None
    record = a_record()
    record.book.resume(read.chain_id, 0)
    record.book.refuse_damaged(read.chain_id, read.damaged_sequence)
    record.rows_delivered(read.rows)
    assert "chain-1#0" in (record.view.ledger_error or "") and "upgrade" in (record.view.ledger_error or "")


def test_a_failure_that_only_a_newer_agent_knows_is_the_macs() -> None:
    listed = recorded("attempt_list")
    listed["attempts"][3]["failure"] |= {"class": "GpuAbortThermal", "celsius": 104}
    listed["attempts"][3] |= {"state": "Cooling", "stage": "Compress"}
    record = a_record()
    record.attempts_listed(AttemptList.load_json(json.dumps(listed)).attempts)
    last = [*record.view.attempts.values()][-1]
    assert len(record.view.attempts) == 4 and last.failure is not None
    assert last.failure.failure_class == "GpuAbortThermal" and last.stage == "Compress"
