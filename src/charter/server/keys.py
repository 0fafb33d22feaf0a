"""API keys with roles, kept as salted hashes in one JSON file.

A key is 32 random bytes, so one SHA-256 over salt and key is as good as a slow hash, which guards guessable passwords.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from charter.errors import UserError
from charter.records import write_text

Role = Literal["client", "reviewer", "admin"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Key:
    """Who it is for, what it may do, and the hash (hex) of salt (hex) and key."""

    name: str
    role: Role
    salt: str
    sha256: str


def new_key(name: str, role: Role) -> tuple[str, Key]:
    """(the key itself, which is nowhere kept; what is kept of it)."""
    key, salt = f"charter-{secrets.token_urlsafe(32)}", secrets.token_hex(16)
    return key, Key(name, role, salt, _hash(salt, key))


def read_keys(path: Path) -> list[Key]:
    """The keys of a file, none of one that is not there. Raises UserError for a file that cannot be read."""
    if not path.exists():
        return []
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        found = [Key(**row) for row in rows]
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: not a file of keys ({error}). Make one with `charter guard key`.") from None
    for key in found:
        if key.role not in ROLES:
            raise UserError(f'{path}: the key "{key.name}" has the role "{key.role}"; roles are {", ".join(ROLES)}.')
    return found


def add_key(path: Path, name: str, role: Role) -> str:
    """A new key into the file; returns the key. Raises UserError when the name is taken."""
    known = read_keys(path)
    if any(key.name == name for key in known):
        raise UserError(f'{path}: there is a key "{name}" already. Choose another name, or remove its entry first.')
    key, kept = new_key(name, role)
    write_text(path, json.dumps([asdict(one) for one in [*known, kept]], indent=1) + "\n")
    path.chmod(0o600)
    return key


def holder(keys: Sequence[Key], header: str | None) -> Key | None:
    """Whose key stands in an `Authorization` header; None when it is nobody's."""
    scheme, _, given = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not given:
        return None
    found = None
    for key in keys:
        # All are compared, each in constant time: how long it takes tells nothing.
        if hmac.compare_digest(_hash(key.salt, given.strip()), key.sha256):
            found = key
    return found


def _hash(salt: str, key: str) -> str:
    return hashlib.sha256(bytes.fromhex(salt) + key.encode()).hexdigest()
