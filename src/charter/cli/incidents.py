"""What `charter watch` does with the store: record verdicts, open and move incidents, report, forget."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from charter.errors import Unfinished, UserError

if TYPE_CHECKING:
    from charter.document import Charter
    from charter.watch.incidents import Incident
    from charter.watch.notify import Mail

Store = Annotated[str, typer.Option("--store", help="sqlite:///path or postgresql://user@host/name.")]
Who = Annotated[str, typer.Option("--who", help="Recorded with what is done.")]
CharterFile = Annotated[
    Path | None, typer.Option("--charter", help="The charter: rules and severities of its clauses.")
]
_STORE = "sqlite:///runs/charter.db"
_PASSWORD = "CHARTER_MAIL_PASSWORD"
_SECRET = "CHARTER_WEBHOOK_SECRET"


def record(
    source: Annotated[str, typer.Option("--in", help="JSONL of `guard score`; - is standard input.")],
    store: Store = _STORE,
    spool: Annotated[Path, typer.Option(help="Folder where rows wait for the database.")] = Path("runs/spool"),
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for the database at the end.")] = 600.0,
) -> None:
    """Write guard verdicts to the store. Rows that carry an `event` already stored are passed over.

    Example: charter watch record --in scored.jsonl --store sqlite:///runs/charter.db
    """
    from charter.cli.rows import read_rows
    from charter.progress import Bar
    from charter.store.database import open_store
    from charter.store.writer import VerdictWriter

    rows = [row for _, row in read_rows(source)]
    writer = VerdictWriter(open_store(store), spool)
    try:
        with Bar("recording", len(rows), "rows") as bar:
            for start in range(0, len(rows), 500):
                writer.put(rows[start : start + 500])
                bar.update(min(start + 500, len(rows)))
    finally:
        written = writer.close(timeout)
    if not written:
        raise Unfinished(
            f"The database did not take all rows in time ({writer.problem}). They wait in {spool}: the next "
            "`charter watch record` with this spool writes them first."
        )


def open_(
    alarms: Annotated[str, typer.Option("--alarms", help="JSONL of `watch replay` or `watch canary`.")],
    store: Store = _STORE,
    charter: CharterFile = None,
    who: Who = "charter watch",
    contact: Annotated[str | None, typer.Option(help="Whom the runbook says to call.")] = None,
    webhook: Annotated[str | None, typer.Option(help=f"POSTed each incident; signed where {_SECRET} is set.")] = None,
    mail_to: Annotated[list[str] | None, typer.Option(help="Gets each incident's runbook. May be repeated.")] = None,
    mail_from: Annotated[str, typer.Option(help="Sender of the e-mail.")] = "charter@localhost",
    mail_server: Annotated[str, typer.Option(help=f"host:port; the password stands in {_PASSWORD}.")] = "localhost:25",
    mail_user: Annotated[str | None, typer.Option(help="Signs in at the mail server.")] = None,
    mail_tls: Annotated[bool, typer.Option(help="STARTTLS before anything is sent.")] = True,
) -> None:
    """Open incidents for alarms, one a clause; more alarms of a clause join its incident until it is closed.

    Example: charter watch open --alarms alarms.jsonl --charter charter.yaml --webhook https://hooks.example/charter
    """
    from charter.records import read_jsonl
    from charter.store.database import open_store
    from charter.watch.incidents import open_incidents

    rows = [row for _, row in read_jsonl(Path(alarms))]
    mail = _mail(mail_to, mail_from, mail_server, mail_user, mail_tls)
    engine = open_store(store)
    for incident in open_incidents(engine, rows, who, _charter(charter), contact):
        typer.echo(json.dumps(_brief(incident)))
        _tell(engine, incident, who, webhook, mail)


def list_(
    store: Store = _STORE,
    state: Annotated[list[str] | None, typer.Option(help="Only these states. May be repeated.")] = None,
    runbook: Annotated[str | None, typer.Option(metavar="ID", help="Print this incident's runbook instead.")] = None,
) -> None:
    """List incidents, newest first, one JSON object a line.

    Example: charter watch incidents --state open --state acknowledged
    """
    from charter.errors import nearest
    from charter.store.database import open_store
    from charter.watch.incidents import STATES, incident, list_incidents

    for one in state or ():
        if one not in STATES:
            raise UserError(f'"{one}" is no state.{nearest(one, list(STATES))} States: {", ".join(STATES)}.')
    engine = open_store(store)
    if runbook is not None:
        typer.echo(incident(engine, runbook).runbook)
        return
    for found in list_incidents(engine, state or ()):
        typer.echo(json.dumps(_brief(found)))


def move(
    id: Annotated[str, typer.Argument(metavar="ID")],
    state: Annotated[str, typer.Argument(help="acknowledged, contained, resolved, closed or open.")],
    note: Annotated[str, typer.Option("--note", help="Why; an auditor reads it.")],
    who: Who,
    store: Store = _STORE,
) -> None:
    """Move an incident to another state; who did it, when and why is recorded.

    Example: charter watch move 20261121-0a1b2c3d contained --who ops --note "threshold 0.4"
    """
    from charter.store.database import open_store
    from charter.watch.incidents import change_state

    typer.echo(json.dumps(_brief(change_state(open_store(store), id, state, who, note))))


def report(
    id: Annotated[str, typer.Argument(metavar="ID")],
    target: Annotated[Path, typer.Option("--out", help="JSON to write.")],
    harm: Annotated[
        Literal["serious", "death", "widespread"], typer.Option(help="Decides the time limit: 15, 10 or 2 days.")
    ] = "serious",
    texts: Annotated[bool, typer.Option("--texts", help="Include prompts and completions of the evidence.")] = False,
    charter: CharterFile = None,
    store: Store = _STORE,
) -> None:
    """Draft a serious-incident report (EU AI Act, article 73) from an incident; what only people know is left null.

    Example: charter watch report 20261121-0a1b2c3d --charter charter.yaml --out incident.json
    """
    from charter.records import write_text
    from charter.store.database import open_store
    from charter.watch.export import incident_report
    from charter.watch.incidents import incident

    engine = open_store(store)
    found = incident_report(engine, incident(engine, id), harm, _charter(charter), texts)
    write_text(target, json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def forget(
    who: Who,
    store: Store = _STORE,
    subject: Annotated[str | None, typer.Option(help="Delete everything about this subject.")] = None,
    older_than: Annotated[float | None, typer.Option(min=0, metavar="DAYS", help="Delete what is older.")] = None,
) -> None:
    """Delete stored verdicts, reviews and labels by subject or by age; prints and records how many.

    Example: charter watch forget --older-than 180 --who retention
    """
    import time

    from charter.store.database import open_store
    from charter.store.retention import delete_older, delete_subject

    if (subject is None) == (older_than is None):
        raise UserError("Say what to delete: either --subject NAME or --older-than DAYS.")
    engine = open_store(store)
    if subject is not None:
        counts = delete_subject(engine, subject, who)
    else:
        counts = delete_older(engine, time.time() - 86400 * (older_than or 0.0), who)
    typer.echo(json.dumps(counts))


def _charter(path: Path | None) -> Charter | None:
    from charter.document import load_charter

    return load_charter(path) if path is not None else None


def _brief(incident: Incident) -> dict[str, Any]:
    return {
        "id": incident.id, "state": incident.state, "severity": incident.severity, "clause": incident.clause,
        "kind": incident.kind, "opened_at": incident.opened_at, "alarms": len(incident.alarms),
        "rows": len(incident.rows),
    }  # fmt: skip


def _mail(to: list[str] | None, sender: str, server: str, user: str | None, tls: bool) -> Mail | None:
    from charter.watch.notify import Mail

    if not to:
        return None
    host, _, port = server.rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f'--mail-server "{server}" is not host:port.')
    return Mail(host, int(port), sender, to, tls, user, os.environ.get(_PASSWORD))


def _tell(engine: Any, incident: Incident, who: str, webhook: str | None, mail: Mail | None) -> None:
    """Send, and record what was sent in the incident's history; the incident stands whether or not it could be sent."""
    from charter.watch.incidents import record_change
    from charter.watch.notify import send_mail, send_webhook

    ways = []
    if webhook is not None:
        ways.append(("webhook", lambda: send_webhook(webhook, incident, os.environ.get(_SECRET))))
    if mail is not None:
        ways.append(("e-mail", lambda: send_mail(mail, incident)))
    failed: UserError | None = None
    for name, send in ways:
        try:
            send()
            note = f"told by {name}"
        except UserError as error:
            failed, note = error, f"could not be told by {name}: {error}"
            print(f"note: {note}", file=sys.stderr)
        with engine.begin() as connection:
            record_change(connection, incident.id, incident.state, incident.state, who, note)
    if failed is not None:
        raise failed
