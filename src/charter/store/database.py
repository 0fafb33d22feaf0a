"""Opening the store: a SQLite file by default, PostgreSQL where several hosts share it; always at the newest schema."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from charter.errors import Unfinished, UserError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

DEFAULT: Final = "sqlite:///runs/charter.db"
INSTALL: Final = "pip install 'charter[store]'"
INSTALL_POSTGRESQL: Final = "pip install 'charter[postgresql]'"
_LOCK: Final = 0x63686172
_BUSY_MS: Final = 5000


def open_store(url: str = DEFAULT) -> Engine:
    """The database of that URL, created or migrated where needed.

    url: `sqlite:///path` or `postgresql://user@host/name`.  Raises UserError for a URL that is neither, a library that
    is missing, or a folder that cannot be written; Unfinished when the database does not answer.
    """
    try:
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError:
        raise UserError(f"The store needs sqlalchemy and alembic. Install them with `{INSTALL}`.") from None
    engine = connect(url)
    try:
        with _alone(engine):
            _migrate(engine)
    except (SQLAlchemyError, OSError) as error:
        engine.dispose()
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise Unfinished(
            f"{engine.url.render_as_string(hide_password=True)}: the database cannot be opened ({reason}). Check "
            "that it runs and that the URL is right."
        ) from None
    return engine


def connect(url: str) -> Engine:
    """An engine for the URL that has not been connected yet, with the settings that the store counts on."""
    from sqlalchemy import create_engine, event
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except ArgumentError:
        raise UserError(f'"{url}" is no database URL. Give sqlite:///path or postgresql://user@host/name.') from None
    name = parsed.get_backend_name()
    if name == "postgresql":
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+pg8000")
        try:
            return create_engine(parsed, pool_pre_ping=True)
        except ImportError:
            raise UserError(f"PostgreSQL needs the package pg8000. Install it with `{INSTALL_POSTGRESQL}`.") from None
    if name != "sqlite":
        raise UserError(
            f'"{name}" is no database that the store knows. Give sqlite:///path or postgresql://user@host/name.'
        )
    if not parsed.database or parsed.database == ":memory:":
        raise UserError(
            "The store needs a file: sqlite:///path/to/charter.db. A database in memory would lose everything."
        )
    try:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{parsed.database}: its folder cannot be made ({error.strerror}). Choose another place."
        ) from None
    engine = create_engine(parsed, connect_args={"timeout": _BUSY_MS / 1000})
    event.listen(engine, "connect", _sqlite_settings)
    return engine


def _sqlite_settings(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    # Readers never wait for the writer; a commit is on the disk when it returns; deleted text is overwritten.
    for setting in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        cursor.execute(f"PRAGMA {setting}")
    cursor.close()


@contextmanager
def _alone(engine: Engine) -> Iterator[None]:
    """One process migrates at a time. PostgreSQL: `_migrate` locks inside its transaction."""
    if engine.dialect.name != "sqlite":
        yield
        return
    with Path(f"{engine.url.database}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _migrate(engine: Engine) -> None:
    from alembic import command
    from alembic.migration import MigrationContext
    from sqlalchemy import text

    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        config = alembic_config(connection)
        known = MigrationContext.configure(connection).get_current_revision()
        if known is not None and known not in _revisions(config):
            raise UserError(
                f"{engine.url.render_as_string(hide_password=True)}: its schema ({known}) is newer than this version "
                "of charter knows. Upgrade charter, or give another database."
            )
        command.upgrade(config, "head")


def alembic_config(connection: Connection) -> Any:
    """Alembic's configuration for an open connection; no ini file is involved."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def _revisions(config: Any) -> set[str]:
    from alembic.script import ScriptDirectory

    return {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
