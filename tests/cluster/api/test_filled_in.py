"""What the API server adds to objects by itself. Operators and commands of the version before have to read it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.cluster.api.specs import CONTRACT, ENDPOINT, HTTPS_MAC, JOB, MAC, SCHEDULE, SHARD, SPEAK, STATEMENT, Json
from tests.rig.api_server import ApiServer

OF_EVERY_JOB = """
    spec.cancel spec.macSelector.matchExpressions spec.macSelector.matchLabels spec.output.formats spec.parallelism
    spec.sharding.targetAudio spec.suspend spec.transcription
"""
FILLED_IN: dict[str, tuple[Json, str]] = {
    "contract": (
        CONTRACT,
        """
        spec.batching spec.buffer.headroomPercent spec.completeness.minCoveragePercent spec.conversions
        spec.failureBudget spec.input.decoders spec.input.encodings spec.input.maxClip spec.input.maxClipBytes
        spec.input.minClip spec.input.truncated spec.output.audio.channels spec.output.audio.clipping
        spec.output.audio.container spec.output.audio.encoding spec.output.audio.sampleRateHz spec.output.formats
        spec.output.timestamps spec.quarantine.maxClips spec.quarantine.maxPercent spec.retries.backoff.cap
        spec.retries.backoff.factorPercent spec.retries.backoff.initial spec.retries.classes spec.retries.maxRetries
        spec.scratch.maxBytes spec.slo
        """,
    ),
    "job": (JOB, f"{OF_EVERY_JOB} spec.task"),
    "speaking job": (SPEAK, f"{OF_EVERY_JOB} spec.synthesis.speedPercent spec.synthesis.streamingInterval"),
    "schedule": (
        SCHEDULE,
        f"""
        {" ".join(path.replace("spec.", "spec.jobTemplate.spec.", 1) for path in f"{OF_EVERY_JOB} spec.task".split())}
        spec.concurrencyPolicy spec.failedJobsHistoryLimit spec.successfulJobsHistoryLimit spec.suspend spec.timeZone
        """,
    ),
    "endpoint": (
        ENDPOINT,
        """
        spec.aliases spec.lanes.max spec.lanes.min spec.macSelector.matchExpressions spec.macSelector.matchLabels
        spec.session.idleSeconds spec.session.maxFrameBytes spec.session.maxPerLane spec.session.maxSeconds
        spec.session.maxTurnSeconds spec.session.maxUploadBytes spec.streaming.interval spec.streaming.partial
        spec.suspend spec.task spec.tolerations spec.transcription spec.turnDetection.prefixPadding
        spec.turnDetection.silence spec.turnDetection.thresholdPercent spec.turnDetection.type spec.windows
        """,
    ),
    "shard": (SHARD, ""),
    "Mac": (MAC, "spec.access spec.disconnect.lostAfter spec.ssh.agentPort spec.ssh.port spec.unschedulable"),
    "Mac over HTTPS": (HTTPS_MAC, "spec.access spec.disconnect.lostAfter spec.unschedulable"),
    "statement": (STATEMENT, ""),
}
"""An object that uses no new field, and what is added to it. The lists never become longer."""


def added(written: Any, stored: Any, path: str) -> Iterator[str]:
    """The fields that `stored` alone has. An object without fields counts as one."""
    if not isinstance(stored, dict):
        return
    for name, value in stored.items():
        before = written.get(name) if isinstance(written, dict) else None
        if before is None and not (isinstance(value, dict) and value):
            yield f"{path}.{name}"
        yield from added(before, value, f"{path}.{name}")


@pytest.mark.parametrize("name", FILLED_IN)
def test_a_field_that_nobody_uses_is_not_there(server: ApiServer, name: str) -> None:
    """A new field with a default is marked NOT_FILLED_IN."""
    written, expected = FILLED_IN[name]
    answer = server.create(written, dry_run=True)
    assert sorted(added(written["spec"], answer["spec"], "spec")) == sorted(expected.split())
