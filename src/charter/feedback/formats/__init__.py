"""Training data in the shapes people have, as records.

`read_preferences`, `read_demonstrations`, `read_rated`, `read_scored` and `read_stepwise` read a file, a folder or a
hub dataset; `load` tells first what it is. The shapes are listed in docs/data.md.
"""

from charter.feedback.formats.convert import chosen_sides, desirable_ones, score_pairs
from charter.feedback.formats.detect import Kind
from charter.feedback.formats.files import is_file
from charter.feedback.formats.preferences import preference_of
from charter.feedback.formats.prompts import distinct_prompts, read_prompts
from charter.feedback.formats.reading import (
    Loaded,
    load,
    read_demonstrations,
    read_preferences,
    read_rated,
    read_scored,
    read_stepwise,
)
from charter.feedback.formats.turns import parse_transcript

__all__ = [
    "Kind",
    "Loaded",
    "chosen_sides",
    "desirable_ones",
    "distinct_prompts",
    "is_file",
    "load",
    "parse_transcript",
    "preference_of",
    "read_demonstrations",
    "read_preferences",
    "read_prompts",
    "read_rated",
    "read_scored",
    "read_stepwise",
    "score_pairs",
]
