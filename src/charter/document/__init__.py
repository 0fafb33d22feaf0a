"""The charter file: types, loading, lint, diff, and rendering into prompts."""

from charter.document.diff import ClauseChange, Difference, FieldChange, compare_charters
from charter.document.evidence import Evidence, measured_model, read_evidence
from charter.document.lint import Finding, lint
from charter.document.loading import STARTER, load_charter
from charter.document.render import (
    ASSISTANT,
    clause_instruction,
    critique_request,
    opposite_instruction,
    revision_request,
    system_prompt,
)
from charter.document.types import GUARD_LAYERS, KINDS, WATCH_RULES, Charter, Clause, When
from charter.document.variants import compare_variants, lint_variants

__all__ = [
    "ASSISTANT",
    "GUARD_LAYERS",
    "KINDS",
    "STARTER",
    "WATCH_RULES",
    "Charter",
    "Clause",
    "ClauseChange",
    "Difference",
    "Evidence",
    "FieldChange",
    "Finding",
    "When",
    "clause_instruction",
    "compare_charters",
    "compare_variants",
    "critique_request",
    "lint",
    "lint_variants",
    "load_charter",
    "measured_model",
    "opposite_instruction",
    "read_evidence",
    "revision_request",
    "system_prompt",
]
