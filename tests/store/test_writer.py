"""Nothing is lost and nothing is written twice: after kill -9, with the database away, with rows it refuses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from postgres_cluster import Cluster
from sqlalchemy import Engine, func, select, text

from charter.errors import UserError
from charter.store.database import open_store
from charter.store.tables import verdicts
from charter.store.verdicts import read_verdicts
from charter.store.writer import VerdictWriter

HOSTILE = "<script>alert(1)</script> \u202e \x00 \ud800 " + "x" * 100_000


def row(n: int, **more: object) -> dict[str, object]:
    return {"id": f"r{n}", "time": 1_700_000_000 + n, "verdict": "allow", "score": 0.25, "clauses": ["a.b"],
            "prompt": f"Question {n}?", **more}  # fmt: skip


def count(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(verdicts)).scalar() or 0)


def test_what_is_put_is_read_again(engine: Engine, tmp_path: Path) -> None:
    given = [
        row(0),
        row(1, verdict=None, score=None, unscored="too long", embedding=[0.5, -1.25]),
        row(2, prompt=HOSTILE),
    ]
    with VerdictWriter(engine, tmp_path / "spool") as writer:
        writer.put(given)
        assert writer.flush(20)
    found = list(read_verdicts(engine))
    assert [one["id"] for one in found] == ["r0", "r1", "r2"]
    assert found[0]["score"] == 0.25
    assert found[0]["clauses"] == ["a.b"]
    assert found[0]["time"] == "2023-11-14T22:13:20+00:00"
    assert found[1]["unscored"] == "too long"
    assert "score" not in found[1]
    assert found[1]["embedding"] == [0.5, -1.25]
    assert found[2]["prompt"] == HOSTILE.replace("\x00", "\ufffd").replace("\ud800", "\ufffd\ufffd\ufffd")
    assert [one["id"] for one in read_verdicts(engine, newest=2)] == ["r1", "r2"]
    assert [one["id"] for one in read_verdicts(engine, since=1_700_000_001, until=1_700_000_002)] == ["r1"]


def test_the_same_event_is_written_once(engine: Engine, tmp_path: Path) -> None:
    with VerdictWriter(engine, tmp_path / "spool") as writer:
        (event,) = writer.put([row(0)])
        writer.put([row(0, event=event), row(1)])
        assert writer.flush(20)
        assert count(engine) == 2
    assert not (tmp_path / "spool/rejected.jsonl").exists()


def test_a_row_that_cannot_be_stored_is_refused_before_the_spool(engine: Engine, tmp_path: Path) -> None:
    with VerdictWriter(engine, tmp_path / "spool") as writer:
        for bad in ({"prompt": "no id"}, row(1, score="high"), row(1, time="yesterday"), row(1, embedding="x")):
            with pytest.raises(UserError):
                writer.put([row(0), bad])
        assert writer.flush(20)
        assert count(engine) == 0


def test_a_row_that_the_database_refuses_does_not_hold_up_the_others(engine: Engine, tmp_path: Path) -> None:
    with VerdictWriter(engine, tmp_path / "spool") as writer:
        # SQLite has no lengths of text, PostgreSQL does; neither takes a row without its key columns.
        writer.put([row(n) for n in range(50)])
        with writer._changed:
            line = json.dumps({**json.loads((tmp_path / "spool/verdicts.jsonl").read_text().splitlines()[0]),
                               "event": "e", "row_id": None}) + "\n"  # fmt: skip
        with (tmp_path / "spool/verdicts.jsonl").open("a") as spool, writer._changed:
            writer._size += spool.write(line)
        writer.put([row(n) for n in range(50, 100)])
        assert writer.flush(20)
    assert count(engine) == 100
    refused = [json.loads(one) for one in (tmp_path / "spool/rejected.jsonl").read_text().splitlines()]
    assert [one["event"] for one in refused] == ["e"]


def test_one_writer_a_spool(engine: Engine, tmp_path: Path) -> None:
    with VerdictWriter(engine, tmp_path / "spool"), pytest.raises(UserError, match="another writer"):
        VerdictWriter(engine, tmp_path / "spool")


_PUTS = """
import sys
from pathlib import Path
from charter.store.database import open_store
from charter.store.writer import VerdictWriter
writer = VerdictWriter(open_store(sys.argv[1]), Path(sys.argv[2]), wait=0.0)
n = int(sys.argv[3])
while True:
    writer.put([{"id": f"r{n + i}", "prompt": "word " * 40} for i in range(7)])
    n += 7
    print(n, flush=True)
"""


def test_kill_9_loses_nothing_and_doubles_nothing(url: str, tmp_path: Path) -> None:
    engine = open_store(url)
    begin = 0
    for _ in range(3):
        command = [sys.executable, "-c", _PUTS, url, str(tmp_path / "spool"), str(begin)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(60):
                begin = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            # What was acknowledged before the signal arrived counts as well.
            for line in process.stdout:
                begin = int(line) if line.endswith("\n") else begin
        begin += 7  # one more put may have reached the spool without its line reaching us
    with VerdictWriter(engine, tmp_path / "spool") as writer:
        assert writer.flush(30)
    with engine.connect() as connection:
        ids = [int(one[1:]) for one in connection.execute(select(verdicts.c.row_id)).scalars()]
    assert len(ids) == len(set(ids))
    assert not (tmp_path / "spool/rejected.jsonl").exists()
    # Between two processes one put of seven may be missing: it was never acknowledged.
    missing = set(range(begin)) - set(ids)
    assert len(missing) <= 3 * 7
    assert all(any(gap - 7 <= n for gap in range(begin + 1)) for n in missing)
    assert len(ids) >= 3 * 60 * 7
    engine.dispose()


def test_a_torn_last_row_is_dropped(engine: Engine, tmp_path: Path) -> None:
    with VerdictWriter(engine, tmp_path / "spool") as writer:
        writer.put([row(0)])
        assert writer.flush(20)
    with (tmp_path / "spool/verdicts.jsonl").open("a") as spool:
        spool.write('{"event": "half')
    with VerdictWriter(engine, tmp_path / "spool") as writer:
        writer.put([row(1)])
        assert writer.flush(20)
    assert count(engine) == 2


def _puts_while_away(writer: VerdictWriter, away: threading.Event) -> int:
    """Rows put while `away` is not set yet: `put` must not wait for the database."""
    n = 0
    while not away.wait(0.01):
        started = time.monotonic()
        writer.put([row(n), row(n + 1)])
        assert time.monotonic() - started < 5
        n += 2
    return n


@pytest.mark.slow
def test_sqlite_locked_for_ten_seconds(tmp_path: Path) -> None:
    engine = open_store(f"sqlite:///{tmp_path}/charter.db")
    over = threading.Event()

    def lock() -> None:
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN EXCLUSIVE")
            time.sleep(10)
            connection.rollback()
        over.set()

    with VerdictWriter(engine, tmp_path / "spool") as writer:
        holder = threading.Thread(target=lock)
        holder.start()
        time.sleep(0.3)
        n = _puts_while_away(writer, over)
        holder.join()
        assert n > 100
        assert writer.flush(30)
        assert writer.problem is None
    assert count(engine) == n
    engine.dispose()


@pytest.mark.slow
def test_postgresql_away_for_ten_seconds(cluster: Cluster, tmp_path: Path) -> None:
    engine = open_store(cluster.url("postgres"))
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM verdicts"))
    over = threading.Event()

    def stop() -> None:
        cluster.stop()
        time.sleep(10)
        cluster.start()
        over.set()

    with VerdictWriter(engine, tmp_path / "spool") as writer:
        first = [writer.put([row(n)]) for n in range(100)]
        stopper = threading.Thread(target=stop)
        stopper.start()
        n = _puts_while_away(writer, over)
        stopper.join()
        assert n > 100
        assert writer.flush(30)
    assert count(engine) == n + len(first)
    engine.dispose()


def test_two_thousand_a_second(tmp_path: Path) -> None:
    # Processor time, not the clock: other work on this machine is not the writer's doing.
    engine = open_store(f"sqlite:///{tmp_path}/charter.db")
    total = 6000
    batches = [[row(n + i, prompt="word " * 60) for i in range(200)] for n in range(0, total, 200)]
    with VerdictWriter(engine, tmp_path / "spool") as writer:
        writer.put(batches[0])
        assert writer.flush(60)
        started = time.process_time()
        for batch in batches[1:]:
            writer.put(batch)
        assert writer.flush(60)
        seconds = time.process_time() - started
    assert count(engine) == total
    assert (total - 200) / seconds > 2000
    engine.dispose()
