"""MacAgents and AudioShards that the API server refuses."""

from __future__ import annotations

from typing import cast

from tests.cluster.api.specs import ACCEPTANCE, HTTPS_MAC, MAC, REMOVE, SHARD, Bad, Json

MAC_SSH = cast(Json, MAC["spec"])["ssh"]
POOL: Json = {"name": "night", "kind": "Offline", "lanes": 1, "memoryCap": "24Gi"}
LINES = cast(list[Json], ACCEPTANCE["lines"])
BAD_MACS_AND_SHARDS: dict[str, Bad] = {
    "mac that passed in spite of a line": Bad(
        MAC,
        {"spec.acceptance": {**ACCEPTANCE, "lines": [*LINES[:4], {**LINES[4], "passed": False}]}},
        "spec.acceptance.passed",
        "exactly where every line has passed",
    ),
    "mac that failed with every line passed": Bad(
        MAC, {"spec.acceptance": {**ACCEPTANCE, "passed": False}}, "spec.acceptance.passed", "exactly where every line"
    ),
    "mac with four lines": Bad(
        MAC, {"spec.acceptance": {**ACCEPTANCE, "lines": LINES[:4]}}, "spec.acceptance.lines", "at least 5 items"
    ),
    "mac with one line twice": Bad(
        MAC,
        {"spec.acceptance": {**ACCEPTANCE, "lines": [*LINES[:4], LINES[0]]}},
        "spec.acceptance.lines[4]",
        "Duplicate",
    ),
    "mac tried by a job without a uid": Bad(
        MAC, {"spec.acceptanceJob": {"namespace": "team", "name": "job"}}, "spec.acceptanceJob.uid", "Required value"
    ),
    "mac with one taint twice": Bad(
        MAC, {"spec.taints": [{"key": "rented"}, {"key": "rented", "value": "night"}]}, "spec.taints[1]", "Duplicate"
    ),
    "mac with a taint that is not built": Bad(
        MAC, {"spec.taints": [{"key": "rented", "effect": "NoExecute"}]}, "spec.taints[0].effect", "supported values"
    ),
    "mac with one pool twice": Bad(MAC, {"spec.pools": [POOL, {**POOL, "lanes": 2}]}, "spec.pools[1]", "Duplicate"),
    "mac with an empty list of pools": Bad(MAC, {"spec.pools": []}, "spec.pools", "at least 1 items"),
    "mac with nine pools": Bad(
        MAC,
        {"spec.pools": [{**POOL, "name": f"pool-{number}"} for number in range(9)]},
        "spec.pools",
        "at most 8 items",
    ),
    "mac with a pool of another kind": Bad(
        MAC, {"spec.pools": [{**POOL, "kind": "Live"}]}, "spec.pools[0].kind", "supported values"
    ),
    "mac with a pool without a kind": Bad(
        MAC, {"spec.pools": [{"name": "a", "lanes": 1, "memoryCap": "1Gi"}]}, "spec.pools[0].kind", "Required value"
    ),
    "mac with a pool without lanes": Bad(
        MAC, {"spec.pools": [{**POOL, "lanes": 0}]}, "spec.pools[0].lanes", "greater than or equal to 1"
    ),
    "mac with a pool of seventeen lanes": Bad(
        MAC, {"spec.pools": [{**POOL, "lanes": 17}]}, "spec.pools[0].lanes", "less than or equal to 16"
    ),
    "mac with a pool without memory": Bad(
        MAC, {"spec.pools": [{**POOL, "memoryCap": 0}]}, "spec.pools[0].memoryCap", "greater than or equal to 1"
    ),
    "mac with a pool's memory in no unit": Bad(
        MAC, {"spec.pools": [{**POOL, "memoryCap": "24 GB"}]}, "spec.pools[0].memoryCap", "should match"
    ),
    "mac with a pool that no agent could have": Bad(
        MAC, {"spec.pools": [{**POOL, "name": "Night"}]}, "spec.pools[0].name", "should match"
    ),
    "mac with one co-tenant twice": Bad(
        MAC,
        {"spec.reserved": [{"name": "llm", "memory": "1Gi"}, {"name": "llm", "memory": "2Gi"}]},
        "spec.reserved[1]",
        "Duplicate",
    ),
    "mac with a co-tenant without a size": Bad(
        MAC, {"spec.reserved": [{"name": "llm"}]}, "spec.reserved[0].memory", "Required value"
    ),
    "mac with seventeen co-tenants": Bad(
        MAC,
        {"spec.reserved": [{"name": f"llm-{number}", "memory": "1Gi"} for number in range(17)]},
        "spec.reserved",
        "at most 16 items",
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
    "shard of clips with the job's machine time": Bad(
        SHARD,
        {"spec.machineTime": {"macs": [], "audioMilliseconds": 0, "openAttempts": 0, "unverifiedAttempts": 0}},
        "spec",
        "machineTime belongs to the Finalize stage",
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
    "mac with two transports": Bad(HTTPS_MAC, {"spec.ssh": MAC_SSH}, "spec", "write exactly one of ssh and https"),
    "mac with no transport": Bad(MAC, {"spec.ssh": REMOVE}, "spec", "write exactly one of ssh and https"),
    "mac over plain http": Bad(
        HTTPS_MAC, {"spec.https.url": "http://mac.example:8765"}, "spec.https.url", "should match"
    ),
    "mac over https below a path": Bad(
        HTTPS_MAC, {"spec.https.url": "https://mac.example/agent"}, "spec.https.url", "should match"
    ),
    "mac over https with a password": Bad(
        HTTPS_MAC, {"spec.https.url": "https://me:secret@mac.example"}, "spec.https.url", "should match"
    ),
    "mac over https without an authority": Bad(
        HTTPS_MAC, {"spec.https.caBundleRef": REMOVE}, "spec.https.caBundleRef", "Required value"
    ),
    "mac that takes one billing key twice": Bad(
        MAC,
        {"spec.access": [{"namespaceSelector": {}, "uriPrefixes": ["file:///data/"], "billingKeys": ["a", "a"]}]},
        "spec.access[0].billingKeys[1]",
        "Duplicate",
    ),
    "mac with a short ledger key": Bad(MAC, {"spec.ledgerPublicKey": "AAAA"}, "spec.ledgerPublicKey", "at least 44"),
    "mac with an impossible port": Bad(MAC, {"spec.ssh.port": 70000}, "spec.ssh.port", "less than or equal to 65535"),
    "mac that takes no billing key": Bad(
        MAC,
        {"spec.access": [{"namespaceSelector": {}, "uriPrefixes": ["file:///data/"], "billingKeys": []}]},
        "spec.access[0].billingKeys",
        "at least 1 items",
    ),
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
    "mac with a blank in its SKU": Bad(
        MAC, {"spec.billing": {"lessor": "mac-rentals", "sku": "M4 Pro"}}, "spec.billing.sku", "should match"
    ),
    "mac with a billing key of 64 characters": Bad(
        MAC, {"spec.billing": {"billingKey": "k" * 64}}, "spec.billing.billingKey", "may not be more than 63"
    ),
    "mac with an empty lessor": Bad(MAC, {"spec.billing": {"lessor": ""}}, "spec.billing.lessor", "at least 1 char"),
    "mac that drains for ever": Bad(
        MAC, {"spec.drain": {"deadlineSeconds": 604801}}, "spec.drain.deadlineSeconds", "less than or equal to 604800"
    ),
}
