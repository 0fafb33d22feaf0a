"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    counter = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "verdicts",
        sa.Column("event", sa.String(64), nullable=False),
        sa.Column("row_id", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("side", sa.String(8)),
        sa.Column("verdict", sa.String(16)),
        sa.Column("score", sa.Double),
        sa.Column("unscored", sa.Text),
        sa.Column("clauses", sa.JSON, nullable=False),
        sa.Column("layers", sa.JSON, nullable=False),
        sa.Column("spans", sa.JSON, nullable=False),
        sa.Column("caller", sa.Text),
        sa.Column("subject", sa.Text),
        sa.Column("run", sa.String(64)),
        sa.Column("model", sa.Text),
        sa.Column("charter", sa.String(64)),
        sa.Column("language", sa.String(16)),
        sa.Column("prompt", sa.Text),
        sa.Column("completion", sa.Text),
        sa.Column("embedding", sa.LargeBinary),
        sa.PrimaryKeyConstraint("event", name="pk_verdicts"),
    )
    op.create_index("ix_verdicts_at", "verdicts", ["at"])
    op.create_index("ix_verdicts_subject", "verdicts", ["subject"])
    op.create_index("ix_verdicts_verdict_at", "verdicts", ["verdict", "at"])
    op.create_table(
        "reviews",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("event", sa.String(64), sa.ForeignKey("verdicts.event", name="fk_reviews_event", ondelete="CASCADE")),
        sa.Column("subject", sa.Text),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("clause", sa.Text),
        sa.Column("reviewer", sa.Text),
        sa.Column("opened_at", sa.Double, nullable=False),
        sa.Column("decided_at", sa.Double),
        sa.Column("content", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_reviews"),
    )
    op.create_index("ix_reviews_event", "reviews", ["event"])
    op.create_index("ix_reviews_subject", "reviews", ["subject"])
    op.create_index("ix_reviews_state", "reviews", ["state"])
    op.create_table(
        "labels",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("review", sa.String(64), sa.ForeignKey("reviews.id", name="fk_labels_review", ondelete="CASCADE")),
        sa.Column("event", sa.String(64), sa.ForeignKey("verdicts.event", name="fk_labels_event", ondelete="CASCADE")),
        sa.Column("subject", sa.Text),
        sa.Column("rater", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("content", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_labels"),
    )
    op.create_index("ix_labels_review", "labels", ["review"])
    op.create_index("ix_labels_event", "labels", ["event"])
    op.create_index("ix_labels_subject", "labels", ["subject"])
    op.create_index("ix_labels_at", "labels", ["at"])
    op.create_table(
        "incidents",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("opened_at", sa.Double, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("severity", sa.String(8), nullable=False),
        sa.Column("clause", sa.Text),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("alarms", sa.JSON, nullable=False),
        sa.Column("charter", sa.String(64)),
        sa.Column("runbook", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_incidents"),
    )
    op.create_index("ix_incidents_opened_at", "incidents", ["opened_at"])
    op.create_index("ix_incidents_state", "incidents", ["state"])
    op.create_table(
        "incident_rows",
        sa.Column(
            "incident",
            sa.String(64),
            sa.ForeignKey("incidents.id", name="fk_incident_rows_incident", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("row_id", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("incident", "row_id", name="pk_incident_rows"),
    )
    op.create_table(
        "incident_changes",
        sa.Column("number", counter, nullable=False, autoincrement=True),
        sa.Column(
            "incident",
            sa.String(64),
            sa.ForeignKey("incidents.id", name="fk_incident_changes_incident", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("before", sa.String(16)),
        sa.Column("after", sa.String(16), nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_incident_changes"),
    )
    op.create_index("ix_incident_changes_incident", "incident_changes", ["incident"])
    op.create_table(
        "runs",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("finished_at", sa.Double),
        sa.Column("model", sa.Text),
        sa.Column("charter", sa.String(64)),
        sa.Column("content", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
    )
    op.create_index("ix_runs_started_at", "runs", ["started_at"])
    op.create_table(
        "deletions",
        sa.Column("number", counter, nullable=False, autoincrement=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("counts", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_deletions"),
    )


def downgrade() -> None:
    for name in (
        "deletions",
        "runs",
        "incident_changes",
        "incident_rows",
        "incidents",
        "labels",
        "reviews",
        "verdicts",
    ):
        op.drop_table(name)
