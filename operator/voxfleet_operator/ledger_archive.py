"""The ledger archive as the event loop may use it: elsewhere than in it, a few calls at once, and none for long.

While it does not answer it is asked again only now and then, so that whoever waits for it holds no worker.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import structlog

from voxfleet_billing.archive_access import ArchiveError, ArchiveStore, ObjectDamaged, ObjectMissing
from voxfleet_billing.archive_probe import OverwritesObjects, check_creates_once
from voxfleet_operator.metrics import ArchiveMetrics

CALLS_AT_ONCE = 2
"""Of eight workers so many can wait for it."""
CALL_SECONDS = 90.0
PROBE_SECONDS = 15.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 5.0, 300.0

T = TypeVar("T")

log = structlog.get_logger(__name__)


class ArchiveBusy(Exception):
    """Others use it; to be tried again in a moment."""


class RunElsewhere(Protocol):
    """Runs what blocks where it does not hold up the event loop."""

    def __call__(self, work: Callable[[], T]) -> Awaitable[T]: ...


def in_a_thread(work: Callable[[], T]) -> Awaitable[T]:
    """In a thread that does not keep the process alive: a call to a volume that hangs never returns."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, error: BaseException | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)  # type: ignore[arg-type] # of the work, which has not failed

    def run() -> None:
        try:
            result, error = work(), None
        except BaseException as failure:  # noqa: BLE001 # it is raised where the answer is awaited
            result, error = None, failure
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, result, error)

    threading.Thread(target=run, name="archive", daemon=True).start()
    return answer


class LedgerArchive:
    def __init__(
        self,
        store: ArchiveStore,
        *,
        clock: Callable[[], float],
        run: RunElsewhere = in_a_thread,
        metrics: ArchiveMetrics | None = None,
    ) -> None:
        """`clock`: monotonic, in seconds."""
        self._store = store
        self._clock = clock
        self._run = run
        self._metrics = metrics or ArchiveMetrics()
        self._calls = 0
        self._checked = False
        self._failed: str | None = None
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._again_at_seconds = 0.0

    @property
    def answers(self) -> bool:
        """Whether the last call came to an end, as far as is known."""
        return self._failed is None

    @property
    def again_seconds(self) -> float:
        """After how long it may be tried again."""
        return max(1.0, self._again_at_seconds - self._clock())

    async def refuse_overwriting(self) -> None:
        """At the start. Raises OverwritesObjects; an archive that is down is asked again later."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await self.call(lambda _: None)
        except OverwritesObjects:
            raise
        except (ArchiveError, TimeoutError) as error:
            log.warning("the ledger archive does not answer yet", error=str(error))

    async def call(self, work: Callable[[ArchiveStore], T]) -> T:
        """Raises ArchiveError, at once while the archive is down, and ArchiveBusy.

        One object that is damaged or missing is its reader's trouble: the archive answers, for all others too.
        """
        if self._failed is not None and self._clock() < self._again_at_seconds:
            raise ArchiveError(self._failed)
        if self._calls >= CALLS_AT_ONCE:
            raise ArchiveBusy
        self._calls += 1
        started = self._clock()
        running = asyncio.ensure_future(self._run(lambda: work(self._checked_store())))
        running.add_done_callback(self._ended)
        try:
            async with asyncio.timeout(CALL_SECONDS):
                result = await asyncio.shield(running)
        except TimeoutError:
            error = ArchiveError(
                f"{self._store.uri}: does not answer within {CALL_SECONDS:.0f} s; is it mounted, or up?"
            )
            self._fails(error)
            raise error from None
        except (ObjectDamaged, ObjectMissing):
            self._answered(started)
            raise
        except ArchiveError as error:
            self._fails(error)
            raise
        self._answered(started)
        return result

    def _checked_store(self) -> ArchiveStore:
        """Before its first use, which may be long after the start: it may have been down."""
        if not self._checked:
            check_creates_once(self._store)
            self._checked = True
        return self._store

    def _ended(self, running: asyncio.Future[T]) -> None:
        self._calls -= 1
        if not running.cancelled():
            running.exception()  # whether anyone waits for it or not

    def _answered(self, started: float) -> None:
        self._failed, self._pause_seconds = None, FIRST_PAUSE_SECONDS
        self._metrics.answered(self._clock() - started)

    def _fails(self, error: ArchiveError) -> None:
        self._metrics.failed()
        if self._failed != str(error):  # before there is a statement, no condition tells it
            log.warning("the ledger archive failed", reason=str(error))
        self._failed = str(error)
        self._again_at_seconds = self._clock() + self._pause_seconds
        self._pause_seconds = min(LONGEST_PAUSE_SECONDS, 2 * self._pause_seconds)
