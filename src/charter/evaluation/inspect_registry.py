"""What Inspect finds under the entry point group `inspect_ai`: our provider, and every suite as a task."""

from charter.evaluation.provider import CharterAPI
from charter.evaluation.tasks import TASKS

__all__ = ["TASKS", "CharterAPI"]
