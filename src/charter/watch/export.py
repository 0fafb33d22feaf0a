"""An incident as a draft of a serious-incident report: what is known, filled in; what only people know, left null.

The form follows what article 73 of the EU AI Act asks a provider to report, and its time limits. It is a draft for the
person who reports, not legal advice, and says nothing that the record does not hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from charter.document import Charter
from charter.errors import UserError
from charter.watch.incidents import Incident

if TYPE_CHECKING:
    from sqlalchemy import Engine

Harm = Literal["serious", "death", "widespread"]
DAYS: Final = {"serious": 15, "death": 10, "widespread": 2}
"""Days after the provider became aware: article 73(2), (4) and (3)."""


def incident_report(
    engine: Engine, incident: Incident, harm: Harm, charter: Charter | None = None, texts: bool = False
) -> dict[str, Any]:
    """JSON-ready. texts: with the prompts and completions of the evidence rows, as far as the store still has them.

    Raises UserError for a kind of harm that has no time limit of its own.
    """
    if harm not in DAYS:
        raise UserError(f'"{harm}" has no time limit of its own. Choose from {", ".join(get_args(Harm))}.')
    aware = datetime.fromtimestamp(incident.opened_at, UTC)
    clause = charter.clause(incident.clause) if charter is not None and incident.clause else None
    missing, rows = _evidence(engine, incident, texts)
    return {
        "incident": incident.id,
        "kind_of_harm": harm,
        "aware_at": aware.isoformat(),
        "report_due_at": (aware + timedelta(days=DAYS[harm])).isoformat(),
        "provider": None,
        "system": {"name": None, "charter": charter.name if charter else None, "charter_digest": incident.charter,
                   "models": sorted({row["model"] for row in rows if row.get("model")})},
        "clause": {"id": clause.id, "rule": clause.rule, "frameworks": clause.frameworks.model_dump(mode="json")}
        if clause else {"id": incident.clause, "rule": None, "frameworks": None},
        "severity": incident.severity,
        "state": incident.state,
        "description": None,
        "persons_affected": None,
        "causal_link_to_the_system": None,
        "alarms": [dict(alarm) for alarm in incident.alarms],
        "evidence": {"rows": rows, "no_longer_stored": missing},
        "history": [dict(change) for change in incident.changes],
        "corrective_measures": [change["note"] for change in incident.changes if _is_measure(change)],
        "to_be_filled_in": ["provider", "system.name", "description", "persons_affected", "causal_link_to_the_system"],
    }  # fmt: skip


def _is_measure(change: Mapping[str, Any]) -> bool:
    return change["after"] in ("contained", "resolved") and change["before"] != change["after"]


def _evidence(engine: Engine, incident: Incident, texts: bool) -> tuple[list[str], list[dict[str, Any]]]:
    """(ids that the store does not have any more, the others with their verdicts)."""
    from sqlalchemy import select

    from charter.store.tables import verdicts

    wanted = [
        verdicts.c.row_id,
        verdicts.c.at,
        verdicts.c.verdict,
        verdicts.c.score,
        verdicts.c.clauses,
        verdicts.c.model,
    ]
    wanted += [verdicts.c.prompt, verdicts.c.completion] if texts else []
    found: list[dict[str, Any]] = []
    with engine.connect() as connection:
        for start in range(0, len(incident.rows), 500):
            query = select(*wanted).where(verdicts.c.row_id.in_(incident.rows[start : start + 500]))
            found += [dict(row) for row in connection.execute(query.order_by(verdicts.c.at)).mappings()]
    have = {row["row_id"] for row in found}
    return [row for row in incident.rows if row not in have], found
