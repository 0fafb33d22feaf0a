"""The schema: what migrations make is what the code expects, on both databases, whoever comes first."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text

from charter.errors import Unfinished, UserError
from charter.store.database import open_store
from charter.store.tables import metadata


def test_migrations_make_exactly_the_tables_of_the_code(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_many_may_open_an_empty_store_at_once(url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        engines = list(pool.map(open_store, [url] * 4))
    with engines[0].connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM verdicts")).scalar() == 0
        assert connection.execute(text("SELECT count(*) FROM alembic_version")).scalar() == 1
    for engine in engines:
        engine.dispose()


def test_a_newer_schema_is_refused(engine: Engine, url: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(UserError, match="newer than this version"):
        open_store(url)


def test_sqlite_readers_do_not_wait_for_the_writer(tmp_path: Path) -> None:
    engine = open_store(f"sqlite:///{tmp_path}/a/b/charter.db")
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA secure_delete")).scalar() == 1
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "no database URL"),
        ("mysql://a@b/c", "no database that the store knows"),
        ("sqlite://", "needs a file"),
        ("sqlite:////proc/none/charter.db", "folder cannot be made"),
    ],
)
def test_a_url_that_cannot_be_is_explained(url: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        open_store(url)


def test_a_server_that_does_not_answer_is_not_the_users_input() -> None:
    with pytest.raises(Unfinished, match="cannot be opened") as caught:
        open_store("postgresql://someone:secret@127.0.0.1:9/none")
    assert "secret" not in str(caught.value)
