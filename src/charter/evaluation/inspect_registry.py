"""What Inspect finds under the entry point group `inspect_ai`: our provider, tasks and scorers."""

from charter.evaluation.provider import CharterAPI
from charter.evaluation.tasks import benign_lookalikes, harmful_requests, instruction_following, knowledge

__all__ = ["CharterAPI", "benign_lookalikes", "harmful_requests", "instruction_following", "knowledge"]
