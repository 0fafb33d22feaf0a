"""A store to test on: a SQLite file, and a real PostgreSQL on loopback in a temporary folder where it is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_cluster import Cluster, programs_folder
from sqlalchemy import Engine, create_engine, text

from charter.store.database import open_store


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    programs = programs_folder()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    user = None
    if os.geteuid() == 0:
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        user = "postgres"
    with tempfile.TemporaryDirectory(prefix="charter-pg-") as name:
        folder = Path(name)
        if user:
            shutil.chown(folder, user)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        made = Cluster(programs, folder, port, user)
        made.run("initdb", "-D", str(folder / "data"), "-U", "charter", "-A", "trust", "--no-sync", "-E", "UTF8")
        made.start()
        try:
            yield made
        finally:
            made.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/charter.db"
    made: Cluster = request.getfixturevalue("cluster")
    name = f"t{uuid.uuid4().hex}"
    admin = create_engine(made.url("postgres").replace("postgresql://", "postgresql+pg8000://"))
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    return made.url(name)


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """A store of either kind, at the newest schema."""
    opened = open_store(url)
    yield opened
    opened.dispose()
