"""What Inspect finds under the entry point group `inspect_ai`: what evaluation has for it, and attacks as a solver."""

from charter.evaluation.inspect_registry import TASKS, CharterAPI
from charter.redteam.solver import attack

__all__ = ["TASKS", "CharterAPI", "attack"]
