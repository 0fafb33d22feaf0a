"""From alarm to incident: opened with severity, clause, evidence and a runbook; every change of state recorded."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from charter.document import Charter
from charter.errors import UserError, nearest
from charter.watch.runbook import runbook

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

State = Literal["open", "acknowledged", "contained", "resolved", "closed"]
STATES: Final[tuple[State, ...]] = get_args(State)
NEXT: Final[Mapping[str, tuple[str, ...]]] = {
    "open": ("acknowledged", "contained", "closed"),
    "acknowledged": ("contained", "resolved", "closed"),
    "contained": ("acknowledged", "resolved"),
    "resolved": ("closed", "acknowledged"),
    "closed": ("open",),
}
"""From each state, where it may go. A false alarm is closed with a note; a closed incident may be opened again."""
SEVERE: Final = ("failed",)
"""Series that are severe whatever the clause: layers of the guard that fail."""


@dataclass(frozen=True)
class Incident:
    """One incident as it stands. alarms: rows as `charter watch replay` writes them, without their evidence rows;
    rows: the ids of these.  changes: oldest first."""

    id: str
    opened_at: float
    updated_at: float
    state: State
    severity: str
    clause: str | None
    kind: str
    alarms: tuple[Mapping[str, Any], ...]
    rows: tuple[str, ...]
    charter: str | None
    runbook: str
    changes: tuple[Mapping[str, Any], ...]


def open_incidents(
    engine: Engine, alarms: Sequence[Mapping[str, Any]], who: str, charter: Charter | None = None,
    contact: str | None = None,
) -> list[Incident]:  # fmt: skip
    """Incidents for alarms: one a clause (one for those without). Alarms join an incident that is not closed yet.

    who: recorded with the change.  contact: named in the runbook.  Raises UserError for an alarm that lacks its fields,
    or whose clause the charter does not have.
    """
    groups: dict[str | None, list[Mapping[str, Any]]] = {}
    for number, alarm in enumerate(alarms, 1):
        missing = [key for key in ("time", "kind", "clause", "statistic", "threshold", "evidence") if key not in alarm]
        if missing:
            raise UserError(f'Alarm {number} has no "{missing[0]}". Give alarms as `charter watch replay` writes them.')
        groups.setdefault(alarm["clause"], []).append(alarm)
    if charter is not None:
        for clause in groups:
            if clause is not None:
                charter.clause(clause)
    with engine.begin() as connection:
        ids = [_open_one(connection, clause, group, who, charter, contact) for clause, group in groups.items()]
    return [incident(engine, id) for id in ids]


def change_state(engine: Engine, id: str, state: str, who: str, note: str) -> Incident:
    """Move an incident on, and record who did and why. Raises UserError for a step that is not allowed, or no note."""
    from sqlalchemy import select, update

    from charter.store.tables import incidents

    if state not in STATES:
        raise UserError(f'"{state}" is no state.{nearest(state, list(STATES))} States: {", ".join(STATES)}.')
    if not note.strip():
        raise UserError("A change of state needs a note that says why: it is what an auditor reads.")
    with engine.begin() as connection:
        before = connection.execute(select(incidents.c.state).where(incidents.c.id == id).with_for_update()).scalar()
        if before is None:
            raise UserError(f"There is no incident {id}. `charter watch incidents` lists them.")
        if state not in NEXT[before]:
            raise UserError(f"Incident {id} is {before}; from there it can go to {' or '.join(NEXT[before])}.")
        # The condition on the state makes sure of one winner where two people act at once.
        moved = connection.execute(
            update(incidents).where(incidents.c.id == id, incidents.c.state == before)
            .values(state=state, updated_at=time.time())
        )  # fmt: skip
        if moved.rowcount != 1:
            raise UserError(f"Incident {id} was changed by somebody else in the meantime. Look at it again.")
        record_change(connection, id, before, state, who, note)
    return incident(engine, id)


def incident(engine: Engine, id: str) -> Incident:
    """The incident of that id. Raises UserError when there is none."""
    from sqlalchemy import select

    from charter.store.tables import incident_changes, incident_rows, incidents

    with engine.connect() as connection:
        found = connection.execute(select(incidents).where(incidents.c.id == id)).mappings().one_or_none()
        if found is None:
            raise UserError(f"There is no incident {id}. `charter watch incidents` lists them.")
        rows = connection.execute(
            select(incident_rows.c.row_id).where(incident_rows.c.incident == id).order_by(incident_rows.c.row_id)
        ).scalars()
        changes = connection.execute(
            select(incident_changes).where(incident_changes.c.incident == id).order_by(incident_changes.c.number)
        ).mappings()
        return Incident(
            **{key: value for key, value in found.items() if key != "alarms"}, alarms=tuple(found["alarms"]),
            rows=tuple(rows), changes=tuple(dict(change) for change in changes),
        )  # fmt: skip


def list_incidents(engine: Engine, states: Sequence[str] = ()) -> list[Incident]:
    """Incidents, newest first; of these states only where any are given."""
    from sqlalchemy import select

    from charter.store.tables import incidents

    query = select(incidents.c.id).order_by(incidents.c.opened_at.desc(), incidents.c.id)
    if states:
        query = query.where(incidents.c.state.in_(list(states)))
    with engine.connect() as connection:
        ids = list(connection.execute(query).scalars())
    return [incident(engine, id) for id in ids]


def severity_of(clause: str | None, alarms: Sequence[Mapping[str, Any]], charter: Charter | None) -> str:
    """The clause's severity; high where layers of the guard fail; otherwise medium."""
    if any(alarm["evidence"].get("of") in SEVERE for alarm in alarms):
        return "high"
    if clause is not None and charter is not None:
        return charter.clause(clause).severity
    return "medium"


def record_change(connection: Connection, id: str, before: str | None, after: str, who: str, note: str) -> None:
    """One line in the incident's history; the same state twice for what happened without a change of state."""
    from charter.store.tables import incident_changes

    connection.execute(
        incident_changes.insert().values(incident=id, at=time.time(), who=who, before=before, after=after, note=note)
    )


def _open_one(
    connection: Connection, clause: str | None, alarms: Sequence[Mapping[str, Any]], who: str,
    charter: Charter | None, contact: str | None,
) -> str:  # fmt: skip
    """Open an incident, or add to the one that is not closed yet; its id."""
    from sqlalchemy import insert, select, update

    from charter.store.tables import incident_rows, incidents

    same = incidents.c.clause.is_(None) if clause is None else incidents.c.clause == clause
    live = select(incidents).where(same, incidents.c.state != "closed").order_by(incidents.c.opened_at).limit(1)
    found = connection.execute(live.with_for_update()).mappings().one_or_none()
    known = list(found["alarms"]) if found else []
    fresh = [alarm for alarm in map(_without_rows, alarms) if alarm not in known]
    every = [*known, *fresh]
    severity = severity_of(clause, every, charter)
    page = runbook(clause, severity, every, charter, contact)
    now = time.time()
    if found is None:
        id = f"{time.strftime('%Y%m%d', time.gmtime(now))}-{secrets.token_hex(4)}"
        connection.execute(
            insert(incidents).values(id=id, opened_at=now, updated_at=now, state="open", severity=severity,
                                     clause=clause, kind=str(every[0]["kind"]), alarms=every,
                                     charter=charter.digest if charter else None, runbook=page)
        )  # fmt: skip
        record_change(connection, id, None, "open", who, f"opened by {len(every)} alarms")
    else:
        id = str(found["id"])
        if fresh:
            values = {"alarms": every, "severity": severity, "runbook": page, "updated_at": now}
            connection.execute(update(incidents).where(incidents.c.id == id).values(**values))
            record_change(connection, id, found["state"], found["state"], who, f"{len(fresh)} more alarms")
    had = set(connection.execute(select(incident_rows.c.row_id).where(incident_rows.c.incident == id)).scalars())
    rows = {str(row) for alarm in alarms for row in alarm["evidence"].get("rows", ())} - had
    if rows:
        connection.execute(insert(incident_rows), [{"incident": id, "row_id": row} for row in sorted(rows)])
    return id


def _without_rows(alarm: Mapping[str, Any]) -> dict[str, Any]:
    """Row ids stand in a table of their own, from which a subject's can be deleted."""
    return {**alarm, "evidence": {key: value for key, value in alarm["evidence"].items() if key != "rows"}}
