"""Workers take keys from the queue and reconcile them. An error with one key never affects another."""

from __future__ import annotations

import time
from collections.abc import Mapping

import structlog

from voxfleet_operator.kube_errors import ApiUnavailable, Conflict, KubeError
from voxfleet_operator.leader import Leader, NotLeader
from voxfleet_operator.metrics import OperatorMetrics
from voxfleet_operator.queue import Key, QueueClosed, WorkQueue
from voxfleet_operator.reconcile.registration import Reconciler

log = structlog.get_logger(__name__)


class Workers:
    def __init__(
        self, queue: WorkQueue, reconcilers: Mapping[str, Reconciler], leader: Leader, metrics: OperatorMetrics
    ) -> None:
        self._queue = queue
        self._reconcilers = reconcilers
        self._leader = leader
        self._metrics = metrics

    async def run(self) -> None:
        """Runs one worker until the queue is closed."""
        while True:
            try:
                key = await self._queue.get()
            except QueueClosed:
                return
            try:
                await self._reconcile(key)
            finally:
                self._queue.done(key)

    async def _reconcile(self, key: Key) -> None:
        started = time.perf_counter()
        result = "error"
        try:
            self._leader.check()
            again_seconds = await self._reconcilers[key.kind].reconcile(key)
            self._queue.forget(key)
            if again_seconds is not None:
                self._queue.add_after(key, again_seconds)
            result = "success"
        except Conflict as error:
            # This is normal: the cache was slightly out of date.
            result = "conflict"
            log.debug("reconcile again after a conflict", key=str(key), error=str(error))
            self._queue.add_rate_limited(key)
        except NotLeader:
            result = "not-leader"
            self._queue.add_rate_limited(key)
        except ApiUnavailable as error:
            seconds = self._queue.add_rate_limited(key)
            log.warning("API server unavailable", key=str(key), error=str(error), retry_seconds=seconds)
        except KubeError as error:
            seconds = self._queue.add_rate_limited(key)
            log.error("write refused", key=str(key), error=str(error), retry_seconds=seconds)
        except Exception:
            seconds = self._queue.add_rate_limited(key)
            log.exception("reconcile failed", key=str(key), retry_seconds=seconds)
        finally:
            self._metrics.reconciled(key.kind, result, time.perf_counter() - started)
