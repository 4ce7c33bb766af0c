"""A MacAgent in every state that its conditions tell apart."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.operator.decisions.bodies import mac_agent
from tests.unit.operator.decisions.job_objects import NOW
from tests.unit.operator.decisions.memory_api import Clock
from tests.unit.operator.decisions.memory_fleet import Agent, facts
from tests.unit.operator.decisions.world import World

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.conditions import Reason
from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.mac_acceptance import AcceptanceCheck
from voxfleet_api.kinds.mac_agent import MacExclusion
from voxfleet_api.ledger import Activity
from voxfleet_api.machine_messages import LaneContention, MachineFacts
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.fleet.verified_row import VerifiedRow
from voxfleet_operator.reconcile.mac.status import NOTHING_LEFT, LeftToEnd, mac_status
from voxfleet_operator.reconcile.refusing_macs import REFUSALS, Refusing

FACTS = facts(Agent("mac-a", Clock(), World().random))
FACTS = FACTS.model_copy(
    update={"pools": tuple(pool.model_copy(update={"memory_cap_bytes": 4 * 2**30}) for pool in FACTS.pools)}
)
CONNECTED = MacView("mac-a", connected=True, reason=Reason.CONNECTED, message="", machine=FACTS)
ROW = VerifiedRow("chain-1", 0, "0" * 64, "2026-11", AttemptKey("uid", 1), True, Activity.WORK, 1000, 0)
SILENT = replace(CONNECTED, connected=False, machine=None)
OUT_OF_REACH = (
    Reason.UNKNOWN,
    Reason.CONNECTING,
    Reason.INVALID_SPEC,
    Reason.SECRET_NOT_FOUND,
    Reason.SECRET_FORBIDDEN,
    Reason.SECRET_INCOMPLETE,
    Reason.SECRET_UNREADABLE,
    Reason.SSH_UNREACHABLE,
    Reason.SSH_AUTHENTICATION_FAILED,
    Reason.HOST_KEY_MISMATCH,
    Reason.HTTPS_UNREACHABLE,
    Reason.CONNECTION_RESET,
    Reason.TLS_NOT_SPOKEN,
    Reason.TLS_HANDSHAKE_FAILED,
    Reason.SERVER_CERTIFICATE_UNTRUSTED,
    Reason.SERVER_NAME_MISMATCH,
    Reason.SERVER_CERTIFICATE_EXPIRED,
    Reason.SERVER_CERTIFICATE_NOT_YET_VALID,
    Reason.CLIENT_CERTIFICATE_REFUSED,
    Reason.CLIENT_CERTIFICATE_EXPIRED,
    Reason.CLIENT_CERTIFICATE_REVOKED,
    Reason.CERTIFICATE_UNREADABLE,
    Reason.AGENT_UNREACHABLE,
    Reason.AGENT_TOKEN_REFUSED,
    Reason.IDENTITY_MISMATCH,
    Reason.OTHER_CONTROL_PLANE,
    Reason.DUPLICATE_MACHINE,
    Reason.EPOCH_NOT_BELIEVED,
)
"""Why a session is not in contact with its Mac."""
NIGHT: dict[str, object] = {"timeZone": "UTC", "windows": [{"start": "10:00", "end": "11:00"}]}
EXCLUSION = MacExclusion(until="2026-11-20T22:10:00Z", failures=5, failure_class="GpuAbortTimeout", times=1)

LINES: list[dict[str, object]] = [
    {"name": name, "passed": True, "value": "1 s", "limit": "2 s"} for name in AcceptanceCheck
]
PASSED: dict[str, object] = {
    "recordSha256": "0" * 64,
    "hardwareId": FACTS.hardware_id,
    "ledgerPublicKey": mac_agent("mac-a")["spec"]["ledgerPublicKey"],
    "acceptedAt": "2026-11-20T20:00:00Z",
    "passed": True,
    "lines": LINES,
}
CONTENDED = (LaneContention(lane="offline-0", slowdown_percent=200),)
POOL: dict[str, object] = {"name": "offline", "kind": "Offline", "lanes": FACTS.pools[0].lanes, "memoryCap": "4Gi"}
FAILED_LINES = [{**LINES[0], "passed": False}, *LINES[1:]]
REFUSING = Refusing(REFUSALS, 429, "every lane is taken", at_seconds=0.0, until_seconds=60.0)


def mac_states() -> dict[str, MacAgent]:
    incompatible = _facts(runtime_compatible=False, runtime_message="mlx 0.1 is too old")
    return {
        "nobody has seen it": MacAgent.load(mac_agent("mac-a")),
        "takes attempts": _mac(CONNECTED),
        **{f"never reached, {reason}": _mac(replace(SILENT, reason=reason, message="why")) for reason in OUT_OF_REACH},
        "out of contact since": _mac(
            replace(CONNECTED, connected=False, reason=Reason.SSH_UNREACHABLE, message="no route to host")
        ),
        "rebooted": _mac(replace(CONNECTED, machine=_facts(boot_id="next"))),
        "with an upgraded agent": _mac(replace(CONNECTED, machine=_facts(versions={"voxfleet": "9"}))),
        "with another machine behind its name": _mac(replace(CONNECTED, machine=_facts(hardware_id="other"))),
        "with an incompatible runtime": _mac(replace(CONNECTED, machine=incompatible)),
        "with a row that does not verify": _mac(replace(CONNECTED, ledger_error="ledger row c#0: was changed")),
        "with a deletion that hangs": _mac(replace(CONNECTED, hung_deletions=(AttemptKey("shard-a", 1),))),
        "slowed down by something else on it": _mac(replace(CONNECTED, machine=_facts(contended_lanes=CONTENDED))),
        "unschedulable": _mac(CONNECTED, unschedulable=True),
        "draining": _mac(CONNECTED, left=LeftToEnd(["team/job-00000"]), drain={}),
        "empty but for rows": _mac(replace(CONNECTED, rows=(ROW,)), drain={}),
        "drained": _mac(CONNECTED, drain={}),
        "outside its window": _mac(CONNECTED, availability=NIGHT),
        "outside its rental": _mac(CONNECTED, availability={"rentalEnd": "2026-01-01T00:00:00Z"}),
        "in a zone that does not exist": _mac(CONNECTED, availability={**NIGHT, "timeZone": "Europe/Berln"}),
        "excluded because it fails too often": _mac(CONNECTED, exclusion=EXCLUSION),
        "refusing attempts although it seems to have room": _mac(CONNECTED, refusing=REFUSING),
        "not yet tried, and acceptance is required": _mac(CONNECTED, requireAcceptance=True),
        "accepted": _mac(CONNECTED, requireAcceptance=True, acceptance=PASSED),
        "accepted, and never reached since": _mac(
            replace(SILENT, reason=Reason.SSH_UNREACHABLE, message="why"), requireAcceptance=True, acceptance=PASSED
        ),
        "not accepted, for a line that failed": _mac(
            CONNECTED, requireAcceptance=True, acceptance={**PASSED, "passed": False, "lines": FAILED_LINES}
        ),
        "accepted, but another machine since": _mac(
            replace(CONNECTED, machine=_facts(hardware_id="other")), requireAcceptance=True, acceptance=PASSED
        ),
        "tried, though acceptance is not required": _mac(
            CONNECTED, acceptance={**PASSED, "passed": False, "lines": FAILED_LINES}
        ),
        "with the pools of its spec": _mac(CONNECTED, pools=[POOL]),
        "with other pools than its spec": _mac(CONNECTED, pools=[{**POOL, "name": "night"}]),
        "never reached, and it declares pools": _mac(
            replace(SILENT, reason=Reason.SSH_UNREACHABLE, message="why"), pools=[POOL]
        ),
        "with more promised than its memory": _mac(CONNECTED, pools=[{**POOL, "memoryCap": "900Gi"}]),
        "being deleted": _mac(CONNECTED, deleted=True),
    }


def _facts(**changes: object) -> MachineFacts:
    return FACTS.model_copy(update=changes)


def _mac(
    view: MacView,
    *,
    left: LeftToEnd = NOTHING_LEFT,
    exclusion: MacExclusion | None = None,
    refusing: Refusing | None = None,
    deleted: bool = False,
    **spec: object,
) -> MacAgent:
    body = mac_agent("mac-a", **spec)
    if deleted:
        body["metadata"]["deletionTimestamp"] = NOW
    mac = MacAgent.load(body)
    return mac.model_copy(update={"status": mac_status(mac, view, NOW, exclusion, left, refusing)})
