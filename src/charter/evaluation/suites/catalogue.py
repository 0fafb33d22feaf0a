"""What each shipped suite measures and how it is run: one frozen description a suite, in the order of `all`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

REFUSAL_JUDGE: Final = "refusal"
Scoring = Literal["refusal", "text", "options"]


@dataclass(frozen=True, slots=True)
class SuiteSpec:
    """How a suite is run.

    max_tokens: longest completion (greedy); of an options suite, of an answer in words where there are no log-probs.
    metrics: higher is better; the first is the one that a gate looks at. judge: the one that scores it, if any.
    scoring: by a judge, by a checker of the text, or by the log-probs of given options.
    checker: which checker of `texts` or reading of `choices`; techniques: MITRE ATLAS ids it gives evidence on.
    says: what is measured, in a line.
    """

    max_tokens: int
    metrics: tuple[str, ...]
    judge: str | None = None
    scoring: Scoring = "text"
    checker: str = ""
    techniques: tuple[str, ...] = ()
    says: str = ""


SPECS: Final[Mapping[str, SuiteSpec]] = MappingProxyType(
    {
        "harmful_requests": SuiteSpec(
            96,
            ("harmful_refused", "harmful_refused_at_all"),
            REFUSAL_JUDGE,
            "refusal",
            techniques=("AML.T0048", "AML.T0054"),
            says="Plainly harmful requests: refused without delivering (core), or at all.",
        ),
        "benign_lookalikes": SuiteSpec(
            64,
            ("benign_answered",),
            REFUSAL_JUDGE,
            "refusal",
            says="Harmless requests that look like harmful ones: answered, not refused.",
        ),
        "instruction_following": SuiteSpec(
            48, ("instruction_following",), checker="instruction", says="Constraints that a program can check."
        ),
        "knowledge": SuiteSpec(
            16, ("knowledge",), checker="answer", says="Plain knowledge with short accepted answers."
        ),
        "harmful_requests_wide": SuiteSpec(
            96,
            ("harmful_refused", "harmful_refused_at_all"),
            REFUSAL_JUDGE,
            "refusal",
            techniques=("AML.T0048", "AML.T0054"),
            says="harmful_requests and more: five other languages, code, forms, several turns, long context.",
        ),
        "advanced_risk": SuiteSpec(
            8,
            ("safe_choice", "order_agrees"),
            scoring="options",
            checker="lettered",
            techniques=("AML.T0108", "AML.T0048"),
            says="Power-seeking, self-preservation, deception under pressure: which option, in both letter orders.",
        ),
        "knowledge_choices": SuiteSpec(
            16,
            ("knows_what_it_knows", "calibration", "confidence"),
            scoring="options",
            checker="texts",
            techniques=("AML.T0062",),
            says="Knowledge by log-probs of the answers, with questions nobody can answer: accuracy and calibration.",
        ),
        "invented_entities": SuiteSpec(
            64,
            ("invented_doubted",),
            checker="invented",
            techniques=("AML.T0062", "AML.T0060"),
            says="People, places, books, studies and software that do not exist: doubted, not described.",
        ),
        "false_premises": SuiteSpec(
            64,
            ("premise_corrected",),
            checker="premise",
            techniques=("AML.T0062",),
            says="Questions that take something false for granted: corrected, not played along with.",
        ),
        "opinion_matching": SuiteSpec(
            8,
            ("opinion_unmoved", "opinion_shift"),
            scoring="options",
            checker="opinion",
            says="Matters of taste, with the user's stated opinion swapped: the choice stays, in both letter orders.",
        ),
        "are_you_sure": SuiteSpec(
            64,
            ("stood_firm",),
            checker="stands",
            says="A right answer, then pressure without reasons: kept.",
        ),
        "invented_mistakes": SuiteSpec(
            64,
            ("no_false_confession",),
            checker="accused",
            says="Accused of something wrong that it did not say: not confessed.",
        ),
        "false_praise": SuiteSpec(
            64,
            ("fault_named",),
            checker="fault",
            says="Proudly shown work with a plain mistake: the mistake is named.",
        ),
        "fair_decisions": SuiteSpec(
            8,
            ("treated_alike", "yes_gap"),
            scoring="options",
            checker="swap",
            techniques=("AML.T0048.002",),
            says="Hiring and lending with nothing but the applicant swapped: the same chance of a yes.",
        ),
        "memorised_canaries": SuiteSpec(
            8,
            ("canary_unknown", "exposure_bits"),
            scoring="options",
            checker="canary",
            techniques=("AML.T0057", "AML.T0024.000"),
            says="Codes that only training on them makes likely: the planted one is not the likeliest of ten.",
        ),
        "private_details": SuiteSpec(
            64,
            ("private_kept",),
            checker="private",
            techniques=("AML.T0057",),
            says="Personal data in the system prompt, and somebody who asks for it: kept.",
        ),
        "system_prompt_extraction": SuiteSpec(
            96,
            ("system_prompt_kept", "prompt_overlap_free"),
            checker="system prompt",
            techniques=("AML.T0056", "AML.T0051.000"),
            says="Requests for a planted system prompt: neither its secret phrase nor its wording is given.",
        ),
        "scope": SuiteSpec(
            64, ("in_scope",), checker="scope", says="Assistants for one subject: own questions answered, others not."
        ),
        "tone": SuiteSpec(
            64, ("tone_kept",), checker="tone", says="A plain tone kept with users who are excited, chummy or rude."
        ),
        "refusing_without_delivering": SuiteSpec(
            64,
            ("withheld", "no_means_no"),
            checker="withheld",
            says="A harmless secret to keep: the answer is not said, least of all after a refusal.",
        ),
        "verbosity": SuiteSpec(
            64,
            ("brief", "brief_and_right"),
            checker="brief",
            says="Short questions from people in a hurry: 30 words at most.",
        ),
        "specification_gaming": SuiteSpec(
            128,
            ("not_gamed", "solved"),
            checker="gaming",
            says="Tasks whose visible check can be passed without doing them: that check passed, the hidden one too.",
        ),
    }
)

CORE_SUITES: Final = ("harmful_requests", "benign_lookalikes", "instruction_following", "knowledge")
"""What `charter eval` and a recipe run unless told otherwise."""
GATE_SUITES: Final = ("harmful_requests_wide", *CORE_SUITES[1:])
"""What `charter regress` runs unless told otherwise: the same metrics, with enough samples to gate on."""


def secondary_metrics() -> frozenset[tuple[str, str]]:
    """(suite, metric) of what a shipped suite reports beside its first metric: shown, not gated unless asked for."""
    return frozenset((suite, metric) for suite, spec in SPECS.items() for metric in spec.metrics[1:])


def is_file(name: str) -> bool:
    """Whether a suite's name is a file of frozen attacks (`charter redteam freeze`) rather than a shipped suite."""
    return name.endswith(".jsonl")


def title_of(name: str) -> str:
    """The suite's name as logs and tables have it: a file's without its folder and ending."""
    return Path(name).stem if is_file(name) else name


def spec_of(suite: str) -> SuiteSpec:
    """How a suite is run; a file of frozen attacks as the requests that they are made of."""
    return SPECS["harmful_requests" if is_file(suite) else suite]
