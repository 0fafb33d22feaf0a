"""Verdicts to the database in batches, through a spool file, so that none is lost and none is written twice.

`put` returns when its rows stand in the spool, which the operating system keeps when this process is killed. A thread
reads the spool and inserts; a row's `event` is the table's key and known events are passed over, so a batch that is
inserted again after a crash changes nothing. While the database is away the spool grows, and is worked off afterwards.
(A host that loses power may lose what the operating system had not written to the disk yet.)
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from charter.errors import UserError
from charter.store.verdicts import table_row, verdict_columns

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

log = logging.getLogger(__name__)

BATCH: Final = 1000
READ_BYTES: Final = 8 << 20
KEEP_BYTES: Final = 1 << 20
"""A spool larger than this is emptied as soon as all of it is written."""
RETRY_SECONDS: Final = (0.05, 0.2, 0.5, 1.0)


class VerdictWriter:
    """Writes verdicts to a store. One writer a spool folder; use as a context manager, or call `close`."""

    def __init__(self, engine: Engine, spool: Path, wait: float = 0.1) -> None:
        """Begin with what an earlier writer left in the spool.

        wait: seconds that rows may gather for a batch.  Raises UserError when the folder cannot be used, or another
        writer uses it.
        """
        self._engine, self._wait = engine, wait
        try:
            spool.mkdir(parents=True, exist_ok=True)
            self._lock_file = (spool / "lock").open("w")
            self._file = os.open(spool / "verdicts.jsonl", os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            self._offset_file = os.open(spool / "written", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise UserError(
                f"{spool}: the spool cannot be used ({error.strerror}). Choose a writable folder."
            ) from None
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._shut()
            raise UserError(
                f"{spool}: another writer uses this spool. Give each process a folder of its own."
            ) from None
        self._rejected = spool / "rejected.jsonl"
        self._changed = threading.Condition()
        self._size = os.fstat(self._file).st_size
        self._offset = min(int(os.pread(self._offset_file, 32, 0).strip() or b"0"), self._size)
        self._drop_torn_end()
        self._closing = False
        self._problem: str | None = None
        self._thread = threading.Thread(target=self._work, name="verdict-writer", daemon=True)
        self._thread.start()

    def put(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Keep rows of `guard score` for writing; their events. They survive this process from here on.

        Raises UserError, and keeps none of them, when one of them cannot be stored or the spool cannot take them.
        """
        columns = [verdict_columns(row) for row in rows]
        data = "".join(json.dumps(one) + "\n" for one in columns).encode("ascii")
        with self._changed:
            if self._closing:
                raise UserError("The verdict writer is closed.")
            begun = self._size
            try:
                while data:
                    written = os.write(self._file, data)
                    self._size += written
                    data = data[written:]
            except OSError as error:
                # What was half written must not stand before the next row.
                os.ftruncate(self._file, begun)
                self._size = begun
                raise UserError(f"The spool cannot take more verdicts ({error.strerror}). Free some space.") from None
            self._changed.notify_all()
        return [one["event"] for one in columns]

    @property
    def pending_bytes(self) -> int:
        """How much of the spool is not in the database yet."""
        with self._changed:
            return self._size - self._offset

    @property
    def problem(self) -> str | None:
        """Why the database did not take the last batch; None when it did."""
        return self._problem

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything put so far is in the database; False when the time is over before."""
        with self._changed:
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._offset >= self._size, timeout)

    def close(self, timeout: float = 30.0) -> bool:
        """Write what is left and end; False when some stays in the spool, for the next writer."""
        done = self.flush(timeout)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self._shut()
        return done

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _shut(self) -> None:
        os.close(self._file)
        os.close(self._offset_file)
        self._lock_file.close()

    def _drop_torn_end(self) -> None:
        """A killed process may leave a last row without its end: its `put` never returned."""
        tail = b""
        at = self._size
        while at > self._offset and b"\n" not in tail:
            step = min(1 << 16, at - self._offset)
            at -= step
            tail = os.pread(self._file, step, at) + tail
        torn = len(tail) - (tail.rfind(b"\n") + 1)
        if torn:
            log.warning("verdict spool: %d bytes of a row that was never taken over are dropped", torn)
            os.ftruncate(self._file, self._size - torn)
            self._size -= torn

    def _work(self) -> None:
        failures = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._size > self._offset)
                if self._closing:
                    return
            if not failures:
                time.sleep(self._wait if self.pending_bytes < KEEP_BYTES else 0.0)
            try:
                self._insert(self._next())
                failures, self._problem = 0, None
            except Exception as error:
                # Whatever it was, the rows stay in the spool and are tried again: losing them is the one wrong answer.
                self._problem = str(getattr(error, "orig", None) or error).splitlines()[0]
                if not failures:
                    log.warning("verdict store: not reachable, verdicts wait in the spool (%s)", self._problem)
                self._engine.dispose()
                pause = RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)]
                failures += 1
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, pause)

    def _next(self) -> bytes:
        """The next whole lines of the spool, up to READ_BYTES; a longer line whole."""
        with self._changed:
            left = self._size - self._offset
        want = READ_BYTES
        while True:
            data = os.pread(self._file, min(want, left), self._offset)
            end = data.rfind(b"\n") + 1
            if end or want >= left:
                return data[:end]
            want *= 2

    def _insert(self, data: bytes) -> None:
        lines = data.splitlines(keepends=True)
        for start in range(0, len(lines), BATCH):
            part = lines[start : start + BATCH]
            self._insert_rows([table_row(json.loads(line)) for line in part])
            self._written(sum(map(len, part)))

    def _insert_rows(self, rows: list[dict[str, Any]]) -> None:
        """Insert in one transaction; halve a batch that holds a row the database refuses, until that row is alone."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self._engine.begin() as connection:
                _insert(connection, rows)
        except SQLAlchemyError as error:
            if not _refused(error):
                raise
            if len(rows) > 1:
                self._insert_rows(rows[: len(rows) // 2])
                self._insert_rows(rows[len(rows) // 2 :])
                return
            reason = str(getattr(error, "orig", None) or error).splitlines()[0]
            log.error(
                "verdict %s is refused by the database (%s); it is in %s", rows[0]["event"], reason, self._rejected
            )
            row = {**rows[0], "embedding": None}
            with self._rejected.open("a", encoding="utf-8") as out:
                out.write(json.dumps({"reason": reason, **row}) + "\n")

    def _written(self, size: int) -> None:
        with self._changed:
            self._offset += size
            os.pwrite(self._offset_file, f"{self._offset:<31}\n".encode(), 0)
            if self._offset == self._size and self._size > KEEP_BYTES:
                # First the mark, then the file: a crash between them only inserts known events again.
                os.pwrite(self._offset_file, f"{0:<31}\n".encode(), 0)
                os.ftruncate(self._file, 0)
                self._offset = self._size = 0
            self._changed.notify_all()


def _insert(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """Insert rows, passing over known events."""
    from sqlalchemy import text
    from sqlalchemy.dialects import sqlite

    from charter.store.tables import verdicts

    if connection.dialect.name == "sqlite":
        connection.execute(sqlite.insert(verdicts).on_conflict_do_nothing(index_elements=["event"]), rows)
        return
    # The driver would send one statement a row; so all go as one parameter.
    columns = ", ".join(f'"{name}"' for name in rows[0])
    statement = text(
        f"INSERT INTO verdicts ({columns}) SELECT {columns} "
        "FROM json_populate_recordset(NULL::verdicts, CAST(:rows AS json)) ON CONFLICT (event) DO NOTHING"
    )
    connection.execute(statement, {"rows": json.dumps([_with_hex(row) for row in rows])})


def _with_hex(row: dict[str, Any]) -> dict[str, Any]:
    packed = row["embedding"]
    return {**row, "embedding": None if packed is None else f"\\x{packed.hex()}"}


def _refused(error: Exception) -> bool:
    """Whether it is the row that the database does not take, rather than the database that is away."""
    from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, StatementError

    if isinstance(error, (DataError, IntegrityError)):
        return True
    if isinstance(error, DBAPIError):
        said = error.orig.args[0] if error.orig and error.orig.args else None
        # pg8000 gives the server's fields; classes 22 and 23 are bad data and broken constraints.
        return isinstance(said, dict) and str(said.get("C", ""))[:2] in ("22", "23")
    return isinstance(error, StatementError)
