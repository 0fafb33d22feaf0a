"""What is deleted is gone, from the tables and from the file, and nothing else is."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, insert, select

from charter.errors import UserError
from charter.store.database import open_store
from charter.store.retention import delete_older, delete_subject
from charter.store.tables import deletions, incident_rows, incidents, labels, reviews, verdicts
from charter.store.verdicts import table_row, verdict_columns

SECRET = "the-secret-of-anna"


def filled(engine: Engine) -> None:
    """Six verdicts, anna's and ben's in turns, a day apart; a review and a label of each; an incident over all."""
    with engine.begin() as connection:
        connection.execute(insert(incidents).values(
            id="i", opened_at=1.0, updated_at=1.0, state="open", severity="high", kind="drift", runbook="",
            alarms=[{"evidence": {"caller": "anna"}}, {"evidence": {"caller": "ben"}}]))  # fmt: skip
        for n in range(6):
            who = ("anna", "ben")[n % 2]
            given = {"id": f"r{n}", "event": f"e{n}", "time": 86400.0 * n, "subject": who, "prompt": f"{SECRET} {who}"}
            connection.execute(insert(verdicts).values(table_row(verdict_columns(given))))
            connection.execute(insert(reviews).values(id=f"v{n}", event=f"e{n}", subject=who, kind="preference",
                               state="decided", opened_at=86400.0 * n, decided_at=86400.0 * n, content={}))  # fmt: skip
            connection.execute(insert(labels).values(id=f"l{n}", review=f"v{n}", event=f"e{n}", subject=who,
                               rater="c", at=86400.0 * n, content={}))  # fmt: skip
            connection.execute(insert(incident_rows).values(incident="i", row_id=f"r{n}"))


def left(engine: Engine) -> dict[str, int]:
    with engine.connect() as connection:
        return {table.name: int(connection.execute(select(func.count()).select_from(table)).scalar() or 0)
                for table in (verdicts, reviews, labels, incident_rows)}  # fmt: skip


def test_by_subject(engine: Engine) -> None:
    filled(engine)
    counts = delete_subject(engine, "anna", who="dpo")
    assert counts == {"labels": 3, "reviews": 3, "verdicts": 3}
    assert left(engine) == {"verdicts": 3, "reviews": 3, "labels": 3, "incident_rows": 3}
    with engine.connect() as connection:
        assert set(connection.execute(select(verdicts.c.subject)).scalars()) == {"ben"}
        alarms = connection.execute(select(incidents.c.alarms)).scalar()
        assert [alarm["evidence"]["caller"] for alarm in alarms or []] == [None, "ben"]
        record = connection.execute(select(deletions.c.what, deletions.c.counts)).one()
    assert "anna" not in record.what
    assert record.counts == counts


def test_by_age(engine: Engine) -> None:
    filled(engine)
    delete_older(engine, before=86400.0 * 4, who="cron")
    assert left(engine) == {"verdicts": 2, "reviews": 2, "labels": 2, "incident_rows": 2}


def test_a_time_to_come_would_delete_everything(engine: Engine) -> None:
    with pytest.raises(UserError, match="past"):
        delete_older(engine, before=time.time() + 60, who="cron")
    with pytest.raises(UserError, match="subject"):
        delete_subject(engine, "", who="cron")


def test_deleted_text_is_not_left_in_the_file(tmp_path: Path) -> None:
    engine = open_store(f"sqlite:///{tmp_path}/charter.db")
    filled(engine)
    delete_subject(engine, "anna", who="dpo")
    everything = b"".join(path.read_bytes() for path in tmp_path.glob("charter.db*"))
    assert f"{SECRET} ben".encode() in everything
    assert f"{SECRET} anna".encode() not in everything
    engine.dispose()
