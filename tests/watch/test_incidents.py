"""From alarm to closed incident: what is recorded, who is told, what a report holds."""

from __future__ import annotations

import email
import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from sqlalchemy import Engine

from charter.document import STARTER, Charter, load_charter
from charter.errors import Unfinished, UserError
from charter.store.database import open_store
from charter.store.writer import VerdictWriter
from charter.watch.export import incident_report
from charter.watch.incidents import change_state, incident, list_incidents, open_incidents
from charter.watch.notify import SIGNATURE, Mail, send_mail, send_webhook


def alarm(
    clause: str | None = "harm.crime",
    kind: str = "cusum",
    of: str = "clause harm.crime",
    rows: tuple[str, ...] = ("r1",),
) -> dict[str, Any]:
    return {"time": "2026-11-21T00:00:00Z", "kind": kind, "clause": clause, "statistic": 9.5, "threshold": 8.25,
            "evidence": {"of": of, "direction": "up", "rows": list(rows)}}  # fmt: skip


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = open_store(f"sqlite:///{tmp_path}/charter.db")
    yield opened
    opened.dispose()


@pytest.fixture(scope="module")
def charter() -> Charter:
    return load_charter(STARTER)


def test_one_incident_a_clause_with_its_severity_and_runbook(engine: Engine, charter: Charter) -> None:
    given = [alarm(), alarm(kind="drift", rows=("r2", "r1")), alarm(clause=None, of="score")]
    harm, rest = open_incidents(engine, given, "replay", charter, contact="the duty desk")
    assert (harm.clause, harm.severity, harm.state, harm.rows) == ("harm.crime", "high", "open", ("r1", "r2"))
    assert (rest.clause, rest.severity) == (None, "medium")
    for words in ("the duty desk", charter.clause("harm.crime").rule, "9.5", "8.25", "--suites harmful_requests",
                  "Tighten", "review", "previous adapter", "Stop serving"):  # fmt: skip
        assert words in harm.runbook
    assert harm.runbook.index("Tighten") < harm.runbook.index("previous adapter") < harm.runbook.index("Stop serving")
    assert "no single clause" in rest.runbook


def test_more_alarms_join_and_the_same_do_not_count_twice(engine: Engine) -> None:
    (first,) = open_incidents(engine, [alarm()], "a")
    (again,) = open_incidents(engine, [alarm()], "b")
    assert (again.id, len(again.alarms), len(again.changes)) == (first.id, 1, 1)
    (more,) = open_incidents(engine, [alarm(kind="adwin", rows=("r9",))], "c")
    assert (more.id, len(more.alarms), more.rows) == (first.id, 2, ("r1", "r9"))
    change_state(engine, first.id, "closed", "ops", "a holiday")
    (fresh,) = open_incidents(engine, [alarm()], "d")
    assert fresh.id != first.id
    assert [one.id for one in list_incidents(engine, ["open"])] == [fresh.id]


def test_layers_that_fail_are_severe(engine: Engine) -> None:
    assert open_incidents(engine, [alarm(None, of="failed")], "a")[0].severity == "high"


def test_every_step_is_recorded_and_wrong_ones_are_refused(engine: Engine) -> None:
    (made,) = open_incidents(engine, [alarm()], "a")
    change_state(engine, made.id, "acknowledged", "ann", "looking")
    change_state(engine, made.id, "contained", "ben", "threshold 0.4")
    found = incident(engine, made.id)
    assert [(c["who"], c["before"], c["after"], c["note"]) for c in found.changes[1:]] == [
        ("ann", "open", "acknowledged", "looking"), ("ben", "acknowledged", "contained", "threshold 0.4")]  # fmt: skip
    for state, note, said in (("closed", "x", "can go to"), ("done", "x", "no state"), ("resolved", " ", "note")):
        with pytest.raises(UserError, match=said):
            change_state(engine, made.id, state, "ann", note)
    with pytest.raises(UserError, match="no incident"):
        change_state(engine, "none", "closed", "ann", "x")


def test_two_people_at_once_and_one_wins(engine: Engine) -> None:
    (made,) = open_incidents(engine, [alarm()], "a")

    def close(who: str) -> bool:
        try:
            change_state(engine, made.id, "closed", who, "mine")
        except UserError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(close, "abcdef")) == 1
    assert len(incident(engine, made.id).changes) == 2


def test_alarms_that_are_none_are_refused(engine: Engine, charter: Charter) -> None:
    with pytest.raises(UserError, match='Alarm 1 has no "evidence"'):
        open_incidents(engine, [dict.fromkeys(("time", "kind", "clause", "statistic", "threshold"), 1)], "a")
    with pytest.raises(UserError, match=r"harm\.crim\b"):
        open_incidents(engine, [alarm("harm.crim")], "a", charter)
    assert list_incidents(engine) == []


class Hook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((body, self.headers[SIGNATURE]))  # type: ignore[attr-defined]
        answers = self.server.answers  # type: ignore[attr-defined]
        self.send_response(answers.pop(0) if answers else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def hook(*answers: int) -> Iterator[tuple[str, list[tuple[bytes, str]]]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    server.got, server.answers = [], list(answers)  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/x", server.got  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()


def test_the_webhook_is_signed_and_tried_again(engine: Engine) -> None:
    (made,) = open_incidents(engine, [alarm()], "a")
    with hook(503, 200) as (url, got):
        send_webhook(url, made, secret="s", pause=0.01)
    assert len(got) == 2
    body, signature = got[-1]
    assert signature == "sha256=" + hmac.new(b"s", body, hashlib.sha256).hexdigest()
    sent = json.loads(body)
    assert (sent["incident"], sent["clause"], sent["evidence_rows"]) == (made.id, "harm.crime", 1)


def test_a_webhook_that_refuses_or_fails_is_an_error(engine: Engine) -> None:
    (made,) = open_incidents(engine, [alarm()], "a")
    with hook(403) as (url, got), pytest.raises(UserError, match="refused"):
        send_webhook(url, made, pause=0.01)
    assert len(got) == 1
    with hook(500, 500, 500) as (url, _), pytest.raises(Unfinished, match="HTTP 500"):
        send_webhook(url, made, pause=0.01)
    with pytest.raises(Unfinished, match="could not be delivered"):
        send_webhook(url, made, pause=0.01)
    with pytest.raises(UserError, match="no webhook"):
        send_webhook("ftp://x", made)


class Box:
    def __init__(self) -> None:
        self.letters: list[Any] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        self.letters.append((envelope.rcpt_tos, email.message_from_bytes(envelope.content, policy=default)))
        return "250 OK"


def test_the_runbook_comes_by_mail(engine: Engine, charter: Charter) -> None:
    (made,) = open_incidents(engine, [alarm()], "a", charter)
    box = Box()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        send_mail(
            Mail("127.0.0.1", port, "charter@example.org", ["ann@example.org", "ben@example.org"], tls=False), made
        )
        with pytest.raises(Unfinished, match="by e-mail"):
            send_mail(Mail("127.0.0.1", port, "a@example.org", ["b@example.org"], tls=True), made)
    finally:
        controller.stop()
    ((to, letter),) = box.letters
    assert to == ["ann@example.org", "ben@example.org"]
    assert letter["Subject"] == f"[charter] high: cusum, harm.crime ({made.id})"
    assert charter.clause("harm.crime").rule in letter.get_content().replace("\r\n", "\n")
    with pytest.raises(UserError, match="well formed"):
        send_mail(Mail("127.0.0.1", 1, "a@example.org", ["b@example.org\nBcc: c@example.org"]), made)


@pytest.mark.parametrize(("harm", "days"), [("serious", 15), ("death", 10), ("widespread", 2)])
def test_the_report_holds_what_is_known_and_leaves_the_rest_open(
    engine: Engine, charter: Charter, tmp_path: Path, harm: Any, days: int
) -> None:
    with VerdictWriter(engine, tmp_path / "spool") as writer:
        writer.put([{"id": "r1", "prompt": "p", "model": "m1", "verdict": "block"}])
        assert writer.flush(20)
    (made,) = open_incidents(engine, [alarm(rows=("r1", "gone"))], "a", charter)
    moved = change_state(engine, made.id, "contained", "ops", "switched the adapter back")
    report = incident_report(engine, moved, harm, charter)
    aware, due = (datetime.fromisoformat(report[key]) for key in ("aware_at", "report_due_at"))
    assert due - aware == timedelta(days=days)
    assert report["clause"]["rule"] == charter.clause("harm.crime").rule
    assert report["clause"]["frameworks"]["eu_ai_act"] == ["9", "15"]
    assert report["system"]["models"] == ["m1"]
    assert report["corrective_measures"] == ["switched the adapter back"]
    assert report["evidence"]["no_longer_stored"] == ["gone"]
    assert "prompt" not in report["evidence"]["rows"][0]
    assert incident_report(engine, moved, harm, charter, texts=True)["evidence"]["rows"][0]["prompt"] == "p"
    for open_field in ("provider", "description", "persons_affected"):
        assert report[open_field] is None
    json.dumps(report)
