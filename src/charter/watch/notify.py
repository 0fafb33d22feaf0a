"""Telling people: a signed webhook and an e-mail for an incident. What was not delivered is an error."""

from __future__ import annotations

import hashlib
import hmac
import json
import smtplib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any, Final

from charter.errors import Unfinished, UserError
from charter.watch.incidents import Incident

TRIES: Final = 3
TIMEOUT_SECONDS: Final = 10.0
SIGNATURE: Final = "X-Charter-Signature"


def summary(incident: Incident) -> dict[str, Any]:
    """What is sent: no texts of users, only what happened and where to look."""
    return {
        "incident": incident.id, "state": incident.state, "severity": incident.severity, "clause": incident.clause,
        "kind": incident.kind, "opened_at": incident.opened_at, "alarms": [dict(alarm) for alarm in incident.alarms],
        "evidence_rows": len(incident.rows),
    }  # fmt: skip


def send_webhook(url: str, incident: Incident, secret: str | None = None, pause: float = 1.0) -> None:
    """POST the summary as JSON; again after a pause where the server fails, TRIES times in all.

    secret: signs the body, `X-Charter-Signature: sha256=…` (HMAC).  Raises UserError when the server refuses the
    request (4xx) or the URL is none, Unfinished when it could not be delivered.
    """
    import httpx

    if not url.startswith(("http://", "https://")):
        raise UserError(f'"{url}" is no webhook: it begins with http:// or https://.')
    body = json.dumps(summary(incident)).encode()
    headers = {"Content-Type": "application/json"}
    if secret:
        headers[SIGNATURE] = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    reason = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(pause * 2 ** (attempt - 1))
        try:
            answer = httpx.post(url, content=body, headers=headers, timeout=TIMEOUT_SECONDS)
        except httpx.InvalidURL as error:
            raise UserError(f'"{url}" is no webhook ({error}).') from None
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            continue
        if answer.is_success:
            return
        reason = f"HTTP {answer.status_code}"
        if 400 <= answer.status_code < 500 and answer.status_code != 429:
            raise UserError(f"The webhook refused incident {incident.id} ({reason}). Check its address and secret.")
    raise Unfinished(f"Incident {incident.id} could not be delivered to the webhook ({reason}) in {TRIES} tries.")


@dataclass(frozen=True)
class Mail:
    """How e-mail is sent. tls: STARTTLS before anything else; user and password: where the server wants them."""

    host: str
    port: int
    sender: str
    to: Sequence[str]
    tls: bool = True
    user: str | None = None
    password: str | None = None


def send_mail(mail: Mail, incident: Incident) -> None:
    """Send the incident with its runbook. UserError for an address that is none, Unfinished when not delivered."""
    message = EmailMessage()
    clause = incident.clause or "no single clause"
    try:
        message["Subject"] = f"[charter] {incident.severity}: {incident.kind}, {clause} ({incident.id})"
        message["From"] = mail.sender
        message["To"] = ", ".join(mail.to)
    except ValueError as error:
        raise UserError(f"The e-mail's addresses are not well formed ({error}).") from None
    message.set_content(incident.runbook)
    try:
        with smtplib.SMTP(mail.host, mail.port, timeout=TIMEOUT_SECONDS) as server:
            if mail.tls:
                server.starttls()
            if mail.user is not None:
                server.login(mail.user, mail.password or "")
            refused = server.send_message(message)
    except (OSError, smtplib.SMTPException) as error:
        raise Unfinished(f"Incident {incident.id} could not be sent by e-mail ({error}).") from None
    if refused:
        raise Unfinished(f"Incident {incident.id}: the mail server refused {', '.join(refused)}.")
