"""Verdicts in and out of the store: rows as the guard writes them, as columns of the table, and back."""

from __future__ import annotations

import base64
import secrets
import time
from array import array
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from charter.errors import UserError

if TYPE_CHECKING:
    from sqlalchemy import Engine

_CARRIED: Final = ("side", "verdict", "unscored", "run", "model", "charter", "language", "completion")
_LISTS: Final = ("clauses", "layers", "spans")


def new_event() -> str:
    """A name for one verdict: later ones sort later, so that the index grows at its end."""
    return f"{time.time_ns():016x}{secrets.token_hex(8)}"


def verdict_columns(row: Mapping[str, Any]) -> dict[str, Any]:
    """The table's columns of one row of `guard score`, JSON-ready (the embedding as base64 text).

    Text that databases refuse (NUL, lone surrogates) is replaced by U+FFFD. A row without `event` gets one, without
    `time` the present.  Raises UserError for a row without id, or with a field of the wrong kind.
    """
    if row.get("id") is None:
        raise UserError('A verdict needs an "id". Store rows as `charter guard score` writes them.')
    columns: dict[str, Any] = {name: _stored(row.get(name)) for name in _CARRIED}
    for name, value in columns.items():
        if value is not None and not isinstance(value, str):
            raise UserError(f'Verdict {row["id"]}: "{name}" must be text, got {type(value).__name__}.')
    score = row.get("score")
    if score is not None and (isinstance(score, bool) or not isinstance(score, (int, float))):
        raise UserError(f'Verdict {row["id"]}: "score" must be a number, got {type(score).__name__}.')
    caller = next((row[key] for key in ("caller", "user") if row.get(key) is not None), None)
    subject = next((row[key] for key in ("subject", "user", "caller") if row.get(key) is not None), None)
    return {
        **columns,
        "event": str(row.get("event") or new_event()),
        "row_id": _stored(str(row["id"])),
        "at": _seconds(row.get("time"), row["id"]),
        "score": None if score is None else float(score),
        **{name: _stored(row.get(name) or []) for name in _LISTS},
        "caller": None if caller is None else _stored(str(caller)),
        "subject": None if subject is None else _stored(str(subject)),
        "prompt": _prompt(row),
        "embedding": None if row.get("embedding") is None else _packed(row["embedding"], row["id"]),
    }


def table_row(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Columns as the database takes them."""
    packed = columns["embedding"]
    return {**columns, "embedding": None if packed is None else base64.b64decode(packed)}


def read_verdicts(
    engine: Engine, since: float | None = None, until: float | None = None, newest: int | None = None
) -> Iterator[dict[str, Any]]:
    """Rows as the guard wrote them, oldest first: those of [since, until), or the newest so many of these."""
    from sqlalchemy import select

    from charter.store.tables import verdicts

    query = select(verdicts)
    if since is not None:
        query = query.where(verdicts.c.at >= since)
    if until is not None:
        query = query.where(verdicts.c.at < until)
    with engine.connect() as connection:
        if newest is not None:
            last = query.order_by(verdicts.c.at.desc(), verdicts.c.event.desc()).limit(newest)
            for found in reversed(connection.execute(last).mappings().all()):
                yield _guard_row(dict(found))
            return
        query = query.order_by(verdicts.c.at, verdicts.c.event)
        for found in connection.execution_options(yield_per=2000).execute(query).mappings():
            yield _guard_row(dict(found))


def _guard_row(found: Mapping[str, Any]) -> dict[str, Any]:
    row = {key: value for key, value in found.items() if value is not None and key not in ("row_id", "at", "embedding")}
    row["id"] = found["row_id"]
    row["time"] = datetime.fromtimestamp(found["at"], UTC).isoformat()
    if found["embedding"] is not None:
        row["embedding"] = array("f", bytes(found["embedding"])).tolist()
    return row


def _prompt(row: Mapping[str, Any]) -> str | None:
    if isinstance(row.get("prompt"), str):
        return str(_stored(row["prompt"]))
    turns = row.get("messages") or row.get("prompt")
    if not isinstance(turns, list):
        return None
    said = [turn["content"] for turn in turns if isinstance(turn, Mapping) and isinstance(turn.get("content"), str)]
    asked = [t["content"] for t in turns if isinstance(t, Mapping) and t.get("role") == "user" and t.get("content")]
    return str(_stored((asked or said or [""])[-1]))


def _stored(value: Any) -> Any:
    """The value with text that every database can hold, all the way down."""
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd").encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    if isinstance(value, Mapping):
        return {_stored(str(key)): _stored(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_stored(one) for one in value]
    return value


def _seconds(value: Any, id: Any) -> float:
    if value is None:
        return time.time()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        raise UserError(
            f'Verdict {id}: "{str(value)[:40]}" is no time. Give ISO 8601 text or seconds since 1970.'
        ) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _packed(values: Any, id: Any) -> str:
    """Numbers as base64 of little-endian 32-bit floats."""
    import sys

    try:
        floats = array("f", values)
    except TypeError:
        raise UserError(f'Verdict {id}: "embedding" must be a list of numbers.') from None
    if sys.byteorder == "big":
        floats.byteswap()
    return base64.b64encode(floats.tobytes()).decode("ascii")
