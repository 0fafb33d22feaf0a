"""Deleting what may not be kept: by age and by subject. What was deleted is counted and recorded, not what it said."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any, Final

from charter.errors import UserError

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Engine

CHUNK: Final = 5000


def delete_older(engine: Engine, before: float, who: str) -> dict[str, int]:
    """Delete verdicts, reviews, labels and closed incidents from before that time; how many of each.

    before: seconds since 1970, in the past. Reviews and labels of a deleted verdict go with it, decided or not; an
    incident stays until it is closed.  Raises UserError for a time that is not past.
    """
    from charter.store.tables import incidents, labels, reviews, verdicts

    if before > time.time():
        raise UserError("Deletion by age needs a time in the past: the time given would delete everything.")
    counts = {
        "labels": _delete(engine, labels, labels.c.at < before),
        "reviews": _delete(engine, reviews, (reviews.c.opened_at < before) & reviews.c.decided_at.is_not(None)),
        "verdicts": _delete_verdicts(engine, verdicts.c.at < before),
        "incidents": _delete(engine, incidents, (incidents.c.updated_at < before) & (incidents.c.state == "closed")),
    }
    _record(engine, who, f"older than {before:.0f}", counts)
    return counts


def delete_subject(engine: Engine, subject: str, who: str) -> dict[str, int]:
    """Delete everything about one subject: verdicts with their texts, reviews, labels, and their rows in incidents.

    Verdicts that still wait in a writer's spool are not seen: flush it first. The record keeps a digest of the
    subject's name.  Raises UserError for an empty name.
    """
    from charter.store.tables import labels, reviews, verdicts

    if not subject:
        raise UserError("Deletion by subject needs the subject's name as it stands with the verdicts.")
    counts = {
        "labels": _delete(engine, labels, labels.c.subject == subject),
        "reviews": _delete(engine, reviews, reviews.c.subject == subject),
        "verdicts": _delete_verdicts(engine, verdicts.c.subject == subject),
    }
    _forget_caller(engine, subject)
    _record(engine, who, f"subject sha256:{hashlib.sha256(subject.encode()).hexdigest()}", counts)
    return counts


def _delete(engine: Engine, table: Any, where: ColumnElement[bool]) -> int:
    """Chunk by chunk, so that writers wait for no more than one of them."""
    from sqlalchemy import delete, select

    key = next(iter(table.primary_key.columns))
    total = 0
    while True:
        with engine.begin() as connection:
            found = connection.execute(select(key).where(where).limit(CHUNK)).scalars().all()
            if found:
                connection.execute(delete(table).where(key.in_(found)))
        total += len(found)
        if len(found) < CHUNK:
            return total


def _delete_verdicts(engine: Engine, where: ColumnElement[bool]) -> int:
    """Verdicts, and where incidents name them. Reviews and labels of a verdict go with it (the schema cascades)."""
    from sqlalchemy import delete, select

    from charter.store.tables import incident_rows, verdicts

    total = 0
    while True:
        with engine.begin() as connection:
            found = connection.execute(select(verdicts.c.event, verdicts.c.row_id).where(where).limit(CHUNK)).all()
            if found:
                connection.execute(delete(verdicts).where(verdicts.c.event.in_([event for event, _ in found])))
                _forget_rows(connection, [row_id for _, row_id in found], incident_rows)
        total += len(found)
        if len(found) < CHUNK:
            return total


def _forget_caller(engine: Engine, subject: str) -> None:
    """Alarms about one caller carry the caller's name."""
    from sqlalchemy import select, update

    from charter.store.tables import incidents

    with engine.begin() as connection:
        for id, alarms in connection.execute(select(incidents.c.id, incidents.c.alarms)).all():
            cleared = [
                {**alarm, "evidence": {**alarm["evidence"], "caller": None}}
                if alarm.get("evidence", {}).get("caller") == subject
                else alarm
                for alarm in alarms
            ]
            if cleared != alarms:
                connection.execute(update(incidents).where(incidents.c.id == id).values(alarms=cleared))


def _forget_rows(connection: Connection, row_ids: list[str], incident_rows: Any) -> None:
    from sqlalchemy import delete

    connection.execute(delete(incident_rows).where(incident_rows.c.row_id.in_(row_ids)))


def _record(engine: Engine, who: str, what: str, counts: dict[str, int]) -> None:
    from sqlalchemy import text

    from charter.store.tables import deletions

    with engine.begin() as connection:
        connection.execute(deletions.insert().values(at=time.time(), who=who, what=what, counts=counts))
    if engine.dialect.name == "sqlite":
        # The write-ahead log still holds the old pages until it is folded into the file and cut.
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
