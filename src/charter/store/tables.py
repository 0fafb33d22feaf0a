"""The one schema: verdicts, reviews, labels, incidents, runs, and a record of what was deleted.

Times are seconds since 1970 (UTC). `event` names one verdict for good: writing it twice changes nothing.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_name)s", "pk": "pk_%(table_name)s",
                       "fk": "fk_%(table_name)s_%(column_0_name)s"}
)  # fmt: skip
_Counter = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts up by itself only in a column that is called INTEGER."""

verdicts = Table(
    "verdicts",
    metadata,
    Column("event", String(64), primary_key=True),
    Column("row_id", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("side", String(8)),
    Column("verdict", String(16)),
    Column("score", Double),
    Column("unscored", Text),
    Column("clauses", JSON, nullable=False),
    Column("layers", JSON, nullable=False),
    Column("spans", JSON, nullable=False),
    Column("caller", Text),
    Column("subject", Text),
    Column("run", String(64)),
    Column("model", Text),
    Column("charter", String(64)),
    Column("language", String(16)),
    Column("prompt", Text),
    Column("completion", Text),
    Column("embedding", LargeBinary),
    Index("ix_verdicts_at", "at"),
    Index("ix_verdicts_subject", "subject"),
    Index("ix_verdicts_verdict_at", "verdict", "at"),
)

reviews = Table(
    "reviews",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("event", String(64), ForeignKey("verdicts.event", ondelete="CASCADE"), index=True),
    Column("subject", Text, index=True),
    Column("kind", String(16), nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("clause", Text),
    Column("reviewer", Text),
    Column("opened_at", Double, nullable=False),
    Column("decided_at", Double),
    Column("content", JSON, nullable=False),
)

labels = Table(
    "labels",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("review", String(64), ForeignKey("reviews.id", ondelete="CASCADE"), index=True),
    Column("event", String(64), ForeignKey("verdicts.event", ondelete="CASCADE"), index=True),
    Column("subject", Text, index=True),
    Column("rater", Text, nullable=False),
    Column("at", Double, nullable=False, index=True),
    Column("content", JSON, nullable=False),
)

incidents = Table(
    "incidents",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("opened_at", Double, nullable=False, index=True),
    Column("updated_at", Double, nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("severity", String(8), nullable=False),
    Column("clause", Text),
    Column("kind", String(32), nullable=False),
    Column("alarms", JSON, nullable=False),
    Column("charter", String(64)),
    Column("runbook", Text, nullable=False),
)

incident_rows = Table(
    "incident_rows",
    metadata,
    Column("incident", String(64), ForeignKey("incidents.id", ondelete="CASCADE"), primary_key=True),
    Column("row_id", Text, primary_key=True),
)

incident_changes = Table(
    "incident_changes",
    metadata,
    Column("number", _Counter, primary_key=True, autoincrement=True),
    Column("incident", String(64), ForeignKey("incidents.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("at", Double, nullable=False),
    Column("who", Text, nullable=False),
    Column("before", String(16)),
    Column("after", String(16), nullable=False),
    Column("note", Text, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("started_at", Double, nullable=False, index=True),
    Column("finished_at", Double),
    Column("model", Text),
    Column("charter", String(64)),
    Column("content", JSON, nullable=False),
)

deletions = Table(
    "deletions",
    metadata,
    Column("number", _Counter, primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False),
    Column("who", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("counts", JSON, nullable=False),
)
