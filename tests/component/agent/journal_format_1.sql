BEGIN TRANSACTION;
CREATE TABLE attempts (
    shard_uid TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    spec_digest TEXT NOT NULL,
    control_plane TEXT NOT NULL,
    spec TEXT NOT NULL,
    state TEXT NOT NULL,
    lane TEXT,
    failure TEXT,
    result TEXT,
    progress_done INTEGER NOT NULL DEFAULT 0,
    progress_total INTEGER NOT NULL DEFAULT 0,
    scratch_high_water_bytes INTEGER NOT NULL DEFAULT 0,
    scratch_residue_bytes INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (shard_uid, attempt)
) STRICT, WITHOUT ROWID;
INSERT INTO "attempts" VALUES('shard-8e',1,'sha256:b4a6339ca4642c158d840649e42361b988a6df26b691b74274a14fb413fe788d','cp','{"namespace": "speech", "job": {"name": "calls", "uid": "job-uid-1"}, "shardName": "calls-shard-8e", "shardUid": "shard-8e", "attempt": 1, "stage": "Process", "task": "Transcribe", "contract": {"input": {"containers": ["wav"], "encodings": ["pcm16", "pcm24", "pcm32", "float32", "flac", "mp3", "aac"], "sampleRatesHz": [16000], "channels": [1], "minClip": "100ms", "maxClip": "10m", "maxClipBytes": "200Mi", "truncated": "Refuse", "decoders": ["mlx-audio-io"]}, "conversions": {}, "output": {"formats": ["jsonl"], "timestamps": "None", "audio": {"container": "wav", "encoding": "pcm16", "sampleRateHz": 24000, "channels": 1, "clipping": "Refuse"}}, "buffer": {"headroomPercent": 20}, "batching": {}, "retries": {"maxRetries": 3, "backoff": {"initial": "1s", "factorPercent": 200, "cap": "60s"}, "classes": ["Transport", "Throttled"]}, "quarantine": {"maxClips": 100, "maxPercent": 2}, "failureBudget": {}, "completeness": {"minCoveragePercent": 90}, "slo": {}, "scratch": {"maxBytes": "20Gi"}}, "contractDigest": "sha256:3688eba16c03405a524df830c8f66b81b024dfb8b87300368c12bc83a7075807", "outputFolder": "file:///data/out/calls-job-uid-", "billingKey": "team-speech", "process": {"planAttempt": 1, "manifestSha256": "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "model": {"builtin": {"name": "commands"}}, "modelDigest": "sha256:0000000000000000000000000000000000000000000000000000000000000000", "boundariesDigest": "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc", "ordinal": 0, "indexes": "0-3"}}','Running','offline-0',NULL,NULL,0,0,0,0);
INSERT INTO "attempts" VALUES('shard-d2',1,'sha256:e39faad7668d480989825068c8b71801fc9917257e227343135e046f2facfef2','cp','{"namespace": "speech", "job": {"name": "calls", "uid": "job-uid-1"}, "shardName": "calls-shard-d2", "shardUid": "shard-d2", "attempt": 1, "stage": "Process", "task": "Transcribe", "contract": {"input": {"containers": ["wav"], "encodings": ["pcm16", "pcm24", "pcm32", "float32", "flac", "mp3", "aac"], "sampleRatesHz": [16000], "channels": [1], "minClip": "100ms", "maxClip": "10m", "maxClipBytes": "200Mi", "truncated": "Refuse", "decoders": ["mlx-audio-io"]}, "conversions": {}, "output": {"formats": ["jsonl"], "timestamps": "None", "audio": {"container": "wav", "encoding": "pcm16", "sampleRateHz": 24000, "channels": 1, "clipping": "Refuse"}}, "buffer": {"headroomPercent": 20}, "batching": {}, "retries": {"maxRetries": 3, "backoff": {"initial": "1s", "factorPercent": 200, "cap": "60s"}, "classes": ["Transport", "Throttled"]}, "quarantine": {"maxClips": 100, "maxPercent": 2}, "failureBudget": {}, "completeness": {"minCoveragePercent": 90}, "slo": {}, "scratch": {"maxBytes": "20Gi"}}, "contractDigest": "sha256:3688eba16c03405a524df830c8f66b81b024dfb8b87300368c12bc83a7075807", "outputFolder": "file:///data/out/calls-job-uid-", "billingKey": "team-speech", "process": {"planAttempt": 1, "manifestSha256": "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "model": {"builtin": {"name": "commands"}}, "modelDigest": "sha256:0000000000000000000000000000000000000000000000000000000000000000", "boundariesDigest": "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc", "ordinal": 0, "indexes": "0-3"}}','Running','offline-0',NULL,NULL,0,0,0,0);
CREATE TABLE bases (
    shard_uid TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (shard_uid, attempt)
) STRICT;
CREATE TABLE clip_rows (
    shard_uid TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    clip INTEGER NOT NULL,
    line BLOB NOT NULL,
    part INTEGER,
    PRIMARY KEY (shard_uid, attempt, clip)
) STRICT, WITHOUT ROWID;
CREATE TABLE events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    type TEXT NOT NULL,
    content TEXT NOT NULL
) STRICT;
INSERT INTO "events" VALUES(1,'Row','{"row": {"chainId": "d2249e8aa236e09a", "sequence": 0, "previousHash": "0000000000000000000000000000000000000000000000000000000000000000", "controlPlane": "cp", "hardwareId": "hw-1", "bootId": "boot", "namespace": "speech", "jobName": "calls", "jobUid": "job-uid-1", "shardUid": "shard-d2", "attempt": 1, "lane": "offline-0", "activity": "Setup", "billingKey": "team-speech", "wallStart": "2026-10-31T23:59:50.000Z", "wallEnd": "2026-10-31T23:59:58.000Z", "monotonicMilliseconds": 8000, "audioMilliseconds": 0, "clips": 0, "pausedMilliseconds": 0}, "hash": "925df7a205d740a7ca7ea5791d33eed54cddb75c53ddf540c8c6ce07980150e6", "signature": "d7EAjpJtIZZdbcVAjg9KAM6nc7uDC5BtXBwnhfX2aZNcF70ydZu1UlpSTaohflyjKQ0uf2SVO4c9NWxqQ8GwBw=="}');
INSERT INTO "events" VALUES(2,'Row','{"row": {"chainId": "8e84bbe76c3a0c3b", "sequence": 0, "previousHash": "0000000000000000000000000000000000000000000000000000000000000000", "controlPlane": "cp", "hardwareId": "hw-1", "bootId": "boot", "namespace": "speech", "jobName": "calls", "jobUid": "job-uid-1", "shardUid": "shard-8e", "attempt": 1, "lane": "offline-0", "activity": "Setup", "billingKey": "team-speech", "wallStart": "2026-10-31T23:59:50.000Z", "wallEnd": "2026-10-31T23:59:58.000Z", "monotonicMilliseconds": 8000, "audioMilliseconds": 0, "clips": 0, "pausedMilliseconds": 0}, "hash": "228f432ca8f5031ffc0787944b451b0091239ce966be45a398fba757d4b8dbcc", "signature": "+jUwPYxNudHz9Zfkqa+6NQ2/bgWi5ExOM3+we4A/m2rs6FwDUKOqmbzbGwSxdIxYli9PEj2eIqCc5y4DNn17Aw=="}');
CREATE TABLE lane_holds (
    shard_uid TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    lane TEXT NOT NULL,
    activity TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    wall_start TEXT NOT NULL,
    wall_end TEXT NOT NULL,
    milliseconds INTEGER NOT NULL,
    audio_milliseconds INTEGER NOT NULL,
    PRIMARY KEY (shard_uid, attempt, lane, activity)
) STRICT, WITHOUT ROWID;
INSERT INTO "lane_holds" VALUES('shard-8e',1,'offline-0','Work','boot','2026-10-31T23:59:58.000Z','2026-11-01T00:00:09.000Z',10000,5000);
CREATE TABLE ledger_rows (
    chain_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    shard_uid TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    content TEXT NOT NULL,
    PRIMARY KEY (chain_id, sequence)
) STRICT, WITHOUT ROWID;
INSERT INTO "ledger_rows" VALUES('8e84bbe76c3a0c3b',0,'shard-8e',1,'{"row": {"chainId": "8e84bbe76c3a0c3b", "sequence": 0, "previousHash": "0000000000000000000000000000000000000000000000000000000000000000", "controlPlane": "cp", "hardwareId": "hw-1", "bootId": "boot", "namespace": "speech", "jobName": "calls", "jobUid": "job-uid-1", "shardUid": "shard-8e", "attempt": 1, "lane": "offline-0", "activity": "Setup", "billingKey": "team-speech", "wallStart": "2026-10-31T23:59:50.000Z", "wallEnd": "2026-10-31T23:59:58.000Z", "monotonicMilliseconds": 8000, "audioMilliseconds": 0, "clips": 0, "pausedMilliseconds": 0}, "hash": "228f432ca8f5031ffc0787944b451b0091239ce966be45a398fba757d4b8dbcc", "signature": "+jUwPYxNudHz9Zfkqa+6NQ2/bgWi5ExOM3+we4A/m2rs6FwDUKOqmbzbGwSxdIxYli9PEj2eIqCc5y4DNn17Aw=="}');
INSERT INTO "ledger_rows" VALUES('d2249e8aa236e09a',0,'shard-d2',1,'{"row": {"chainId": "d2249e8aa236e09a", "sequence": 0, "previousHash": "0000000000000000000000000000000000000000000000000000000000000000", "controlPlane": "cp", "hardwareId": "hw-1", "bootId": "boot", "namespace": "speech", "jobName": "calls", "jobUid": "job-uid-1", "shardUid": "shard-d2", "attempt": 1, "lane": "offline-0", "activity": "Setup", "billingKey": "team-speech", "wallStart": "2026-10-31T23:59:50.000Z", "wallEnd": "2026-10-31T23:59:58.000Z", "monotonicMilliseconds": 8000, "audioMilliseconds": 0, "clips": 0, "pausedMilliseconds": 0}, "hash": "925df7a205d740a7ca7ea5791d33eed54cddb75c53ddf540c8c6ce07980150e6", "signature": "d7EAjpJtIZZdbcVAjg9KAM6nc7uDC5BtXBwnhfX2aZNcF70ydZu1UlpSTaohflyjKQ0uf2SVO4c9NWxqQ8GwBw=="}');
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;
INSERT INTO "meta" VALUES('journal_id','8c318fbe7e3a9a71');
INSERT INTO "meta" VALUES('chain_id','8e84bbe76c3a0c3b');
INSERT INTO "meta" VALUES('chain_public_key','gyClGXfYw4yopJJ8Zw31gh5El2GUXhXp77JqFQnSMOo=');
CREATE TABLE parts (
    shard_uid TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    number INTEGER NOT NULL,
    ref TEXT NOT NULL,
    content BLOB NOT NULL,
    uploaded INTEGER NOT NULL,
    PRIMARY KEY (shard_uid, attempt, number)
) STRICT;
CREATE TABLE tombstones (
    shard_uid TEXT PRIMARY KEY,
    attempt INTEGER NOT NULL,
    created_at_seconds INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX unfrozen_clip_rows ON clip_rows (shard_uid, attempt, clip) WHERE part IS NULL;
CREATE INDEX ledger_rows_of_attempt ON ledger_rows (shard_uid, attempt);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('events',2);
COMMIT;
PRAGMA user_version = 1;
