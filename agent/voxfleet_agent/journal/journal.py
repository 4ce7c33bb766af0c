"""Opens the journal and runs all work on its single thread."""

from __future__ import annotations

import asyncio
import os
import secrets
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self, TypeVar

from voxfleet_agent.folder_lock import lock_folder
from voxfleet_agent.journal import schema

T = TypeVar("T")


class JournalError(Exception):
    """The journal cannot be opened; the message names the file and says what to do."""


class Journal:
    """An async facade: `write` runs one transaction and returns once it is synced; `read` sees every earlier write."""

    def __init__(self, connection: sqlite3.Connection, thread: ThreadPoolExecutor, lock: int, journal_id: str) -> None:
        self._connection = connection
        self._thread = thread
        self._lock = lock
        self.journal_id = journal_id
        self._changed = asyncio.Event()

    @classmethod
    async def open(cls, state_dir: Path, file: Path) -> Self:
        """Locks the state folder and opens or creates the file. Raises FolderInUseError or JournalError."""
        lock = lock_folder(state_dir)
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        try:
            loop = asyncio.get_running_loop()
            connection, journal_id = await loop.run_in_executor(thread, _open, file)
        except BaseException:
            thread.shutdown()
            os.close(lock)
            raise
        return cls(connection, thread, lock, journal_id)

    async def write(
        self,
        work: Callable[[sqlite3.Connection], T],
        *,
        after_commit: Callable[[], None] | None = None,
        wake: bool = True,
    ) -> T:
        """Runs `work` in one transaction. After the commit it wakes the event streams, unless `wake` is false."""
        # Shielded: once submitted, a write completes even if its caller is cancelled, so its outcome is always known.
        result = await asyncio.shield(
            asyncio.get_running_loop().run_in_executor(self._thread, self._transact, work, after_commit)
        )
        if wake:
            self.wake()
        return result

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, self._connection)

    def _transact(self, work: Callable[[sqlite3.Connection], T], after_commit: Callable[[], None] | None) -> T:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(self._connection)
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        if after_commit is not None:
            after_commit()
        return result

    @property
    def changed(self) -> asyncio.Event:
        """Set at the next write. Get it before reading, so that no write in between is missed."""
        return self._changed

    def wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown()
        os.close(self._lock)


def open_read_only(file: Path) -> sqlite3.Connection:
    """Opens the journal from another process, whether or not the agent is running. Raises JournalError."""
    try:
        connection = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)
        connection.execute("SELECT count(*) FROM meta").fetchone()
        version = connection.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.Error as error:
        raise JournalError(f"{file}: {error}; has this agent run yet?") from error
    if version != schema.VERSION:
        connection.close()
        raise JournalError(
            f"{file} has format {version}, this version reads {schema.VERSION}; start the agent once with this version"
            if version < schema.VERSION
            else f"{file} has format {version}, this version reads {schema.VERSION}; use the version that wrote it"
        )
    return connection


def _open(file: Path) -> tuple[sqlite3.Connection, str]:
    os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone leaves data in the drive's cache
        connection.execute("PRAGMA checkpoint_fullfsync = ON")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            connection.executescript(f"BEGIN; {schema.TABLES} PRAGMA user_version = {schema.VERSION}; COMMIT;")
        elif version > schema.VERSION:
            raise JournalError(
                f"{file} has format {version}, this agent reads {schema.VERSION}; run the version that wrote it"
            )
        else:
            for older in range(version, schema.VERSION):
                connection.executescript(f"BEGIN; {schema.UPGRADES[older]} PRAGMA user_version = {older + 1}; COMMIT;")
        connection.execute("INSERT OR IGNORE INTO meta VALUES ('journal_id', ?)", (secrets.token_hex(8),))
        (journal_id,) = connection.execute("SELECT value FROM meta WHERE name = 'journal_id'").fetchone()
    except sqlite3.DatabaseError as error:
        connection.close()
        raise JournalError(f"{file}: {error}; move the folder away to start anew under a new chain") from error
    except JournalError:
        connection.close()
        raise
    return connection, str(journal_id)
