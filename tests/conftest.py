"""What several rooms' tests share: the tiny model folder of tests/training/tiny.py, made once."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# On a shared machine the first example of a property can take seconds.
settings.register_profile("charter", deadline=None)
settings.load_profile("charter")
# Read when torch first loads its OpenMP: threads that spin for work slow a shared machine down tenfold.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
for folder in ("training", "evaluation"):
    sys.path.insert(0, str(Path(__file__).parent / folder))


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Llama over bytes, saved as transformers saves one."""
    from tiny import tiny_folder

    return tiny_folder(tmp_path_factory.mktemp("tiny") / "base", num_hidden_layers=2, max_position_embeddings=512)
