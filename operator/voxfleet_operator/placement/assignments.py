"""Writes assignments. Each is assumed before it is written, so that nobody else acts on the attempt that it replaces.

A write without an answer may have happened, or may still happen. It stays assumed and is sent again, to the very
version that it was decided on, until it is known what became of it; a lost Mac that returns meanwhile resumes nothing.
"""

from __future__ import annotations

import structlog

from voxfleet_api.kinds import AudioShard
from voxfleet_api.kinds.audio_shard import AudioShardStatus
from voxfleet_operator.cache import key_of
from voxfleet_operator.kube_errors import ApiUnavailable, Forbidden, Invalid
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.status_writer import write_status

log = structlog.get_logger(__name__)


class AssignmentWriter:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._unanswered: dict[str, tuple[AudioShard, AudioShardStatus]] = {}
        """By shard UID: the shard as it was decided on, and the status that was sent. The oldest comes first."""

    async def write(self, shard: AudioShard, status: AudioShardStatus) -> bool:
        """Returns False if the shard has changed meanwhile. Raises what the write raises.

        What refuses a write that is sent again says nothing about the first one, unless it refuses the content.
        """
        context, uid = self._context, shard.metadata.uid
        context.leader.check()
        context.cache.assume(shard.model_copy(update={"status": status}))
        try:
            written = await write_status(context, shard, status)
        except ApiUnavailable:
            self._unanswered[uid] = shard, status
            raise
        except Invalid:
            self._settle(shard)
            raise
        except BaseException:
            if uid not in self._unanswered:
                self._withdraw(shard)
            raise
        self._settle(shard)
        return written is not None

    async def resend(self) -> bool:
        """Sends the writes again that got no answer, oldest first; stops at the first that gets none again.

        Returns whether all are settled. One that stays unanswered holds up no other shard: its turn comes last next.
        """
        for uid in list(self._unanswered):
            shard, status = self._unanswered.pop(uid)
            if not self._context.cache.is_assumed(uid):
                continue  # a newer version came in, or the shard is gone
            self._unanswered[uid] = shard, status
            try:
                await self.write(shard, status)
            except ApiUnavailable:
                return False
            except (Invalid, Forbidden) as error:
                log.error("assignment refused", shard_uid=uid, error=str(error))
        return not self._unanswered

    def _settle(self, shard: AudioShard) -> None:
        """It is known what became of the write."""
        self._unanswered.pop(shard.metadata.uid, None)
        self._withdraw(shard)

    def _withdraw(self, shard: AudioShard) -> None:
        """Does nothing once a newer version is known."""
        if self._context.cache.is_assumed(shard.metadata.uid):
            self._context.cache.withdraw(shard.metadata.uid)
        self._context.queue.add(key_of(shard))
