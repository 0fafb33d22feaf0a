"""Injection and jailbreak by their wording and form: overrides, forged roles, prompt extraction, hidden text.

Transparent rules over the text and over everything that was decoded from it. Each rule that matches adds evidence in
logits; what they add up to is the score. The classifier (`layers.classifier`) reads the same text for meaning.
"""

# ruff: noqa: E501  (patterns)

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

from charter.guard.decoding import readable
from charter.guard.subject import Subject
from charter.guard.verdicts import STOP_AT, Finding, Span

PRIOR: Final = -5.0
"""Logit of the score where one point of evidence is missing to everything."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A wording, the evidence it gives in logits, and the evidence where it stands in text that no user wrote."""

    kind: str
    pattern: re.Pattern[str]
    evidence: float
    untrusted: float


def _rule(kind: str, evidence: float, untrusted: float, *patterns: str) -> Rule:
    return Rule(kind, re.compile("|".join(patterns), re.I), evidence, untrusted)


_EARLIER: Final = r"(?:previous|prior|above|earlier|preceding|former|original|initial|existing|foregoing|system|your)"
_ORDERS: Final = (
    r"(?:instructions?|directions?|directives?|commands?|prompts?|rules|guidelines|programming|orders|constraints|"
    r"polic(?:y|ies)|training|guardrails|safeguards|restrictions)"
)
_DROP: Final = r"(?:ignor(?:e|ing)|disregard(?:ing)?|forget(?:ting)?|bypass|overrid(?:e|ing)|discard|do not follow|stop following|neglect|skip|set aside|unlearn)"

RULES: Final = (
    _rule("override", 7.0, 8.0,
          rf"\b{_DROP}\b[^.!?\n]{{0,30}}\b{_EARLIER}\b[^.!?\n]{{0,25}}\b{_ORDERS}\b",
          rf"\b{_DROP}\b (?:all|any|every|everything|whatever)\b[^.!?\n]{{0,40}}\b(?:told|said|written|given|before|above|{_ORDERS})\b",
          rf"\b{_DROP}\b[^.!?\n]{{0,15}}\b{_ORDERS}\b[^.!?\n]{{0,25}}\b(?:given|told|above|before|previously)\b",
          rf"\b{_ORDERS}\b[^.!?\n]{{0,20}}\b(?:above|before|previously|given)\b[^.!?\n]{{0,20}}\b(?:void|no longer apply|cancelled|are over|obsolete|not apply)\b",
          r"\b(?:oublie[zr]?|ignore[zr]?|ignora|olvida|vergiss|ignoriere|vergeet|negeer|dimentica)\b[^.!?\n]{0,40}\b(?:instructions?|instrucciones|anweisungen|istruzioni|instructies|consignes|instruções)\b"),
    _rule("new instructions", 3.0, 6.0,
          r"(?:^|\n|[.!] )\s*(?:your )?(?:new|updated|real|actual|revised) (?:system )?(?:instructions?|task|prompt|orders)\s*(?::|are|is)",
          r"\b(?:from now on|instead|henceforth),? (?:you (?:are|will|must|shall)|act|obey|only)\b"),
    _rule("prompt extraction", 5.6, 7.0,
          r"\b(?:reveal|show|print|repeat|output|display|tell me|give me|leak|expose|dump|reproduce|recite|disclose|share|write out|paste|summari[sz]e|translate|encode)\b[^.!?\n]{0,40}\b(?:your|the|hidden|secret|full|entire|initial|original)\b[^.!?\n]{0,25}\b(?:system (?:prompt|message|instructions?|configuration)|(?:initial|original|hidden|secret|starting|first) (?:prompt|instructions?|message)|pre-?prompt|meta-?prompt)\b",
          r"\bwhat (?:is|are|was|were)\b[^.!?\n]{0,20}\byour\b[^.!?\n]{0,20}\b(?:system prompt|(?:initial|original|hidden|exact|first) (?:prompt|instructions?)|system message)\b",
          r"\b(?:repeat|print|output|copy|write|quote|put)\b[^.!?\n]{0,30}\b(?:everything|all (?:of )?(?:the )?(?:text|words)|the (?:text|words|lines?))\b[^.!?\n]{0,20}\b(?:above|before this|preceding|so far)\b",
          r"\b(?:instructions?|prompt|told|given)\b[^.!?\n]{0,40}\b(?:verbatim|word for word|(?:starting|beginning) with [\"'“]?you are)\b"),
    _rule("unrestricted persona", 4.6, 6.0,
          r"\bdo anything now\b", r"\b(?:jail ?broken|jailbreak mode|dan mode|dev(?:eloper)? mode (?:enabled|on|output)|god mode enabled|unfiltered mode)\b",
          r"\b(?:you (?:are|will be|act|have|can)|act as|pretend|role ?play|simulate|respond as|persona)\b[^\n]{0,160}\b(?:no|without(?: any)?|free (?:of|from)|not bound by|unbound by|broken free|ignore|disregards?|unrestricted by)\b[^.\n]{0,40}\b(?:restrictions?|filters?|rules|censorship|guidelines|ethic(?:s|al)|moral(?:s|ity)?|polic(?:y|ies)|limit(?:s|ations)?|constraints)\b",
          r"\b(?:unfiltered|uncensored|unrestricted|amoral|unethical)\b[^.\n]{0,30}\b(?:ai|assistant|chatbot|model|bot|language model|version|responses?|mode)\b",
          r"\b(?:never|not|cannot|can't|don't|must not|do not)\b[^.\n]{0,20}\b(?:refuse|decline|say (?:that )?(?:you|it) (?:can|ca)(?:'|no)?t|apologi[sz]e|add (?:any )?(?:warnings?|disclaimers?))\b"),
    _rule("forged role", 6.0, 7.0,
          r"<\|(?:im_start|im_end|system|assistant|user|endoftext|begin_of_text|start_header_id|end_header_id|eot_id)\|>",
          r"\[/?(?:INST|SYS(?:TEM)?)\]|<</?SYS>>|</?(?:system|assistant)(?:_prompt)?>|<(?:start|end)_of_turn>"),
    _rule("role line", 2.5, 5.5,
          r"(?:^|\n)\s*#{2,}\s*(?:system|assistant|new instruction)s?(?: (?:message|prompt|note))?\s*:?\s*(?:\n|$)",
          r"(?:^|\n)\s*\[?(?:system|admin|developer)(?: (?:message|prompt|override|note))?\]?\s*:\s*\S"),
    _rule("addressed to the model", 1.5, 6.5,
          r"\b(?:ai|assistant|chatbot|language model|llm|gpt|agent)s?\b[^.\n]{0,30}\b(?:reading|processing|summari[sz]ing|must|should now|please (?:ignore|send|forward|execute|run|call))\b",
          r"\b(?:do not|don't|without) (?:tell|mention|inform|alert|telling|mentioning|informing|notifying)\b[^.\n]{0,20}\b(?:the )?(?:user|human|anyone|this)\b",
          r"<!--[^>]{0,200}\b(?:assistant|ai|instruction|ignore|must)\b"),
    _rule("authority", 2.0, 3.5,
          r"\b(?:i am|i'm|this is|as) (?:your|an?|the)\b[^.\n]{0,20}\b(?:developer|creator|administrator|admin|openai|anthropic|engineer|red team)\b[^.\n]{0,60}\b(?:override|authori[sz]ed?|debug|disable|maintenance|test|show|reveal|unlock)",
          r"\b(?:admin|root|maintenance|debug|sudo)\b[^.\n]{0,15}\b(?:override|mode|access|privileges)\b"),
)  # fmt: skip
_HIDDEN_PER_LOG: Final = 1.2
_DECODED: Final = {"tag characters": 6.0, "rot13": 2.5, "reversed": 2.0, "binary": 2.0, "hex": 1.5, "base64": 1.5,
                   "spaced letters": 0.5, "url": 0.3, "html entities": 0.3, "escapes": 1.0}  # fmt: skip
"""Evidence of having hidden readable words at all, by how: some forms have everyday uses, others have none."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Something that speaks for an injection: how much in logits, and where it stands, or None outside the text."""

    kind: str
    logits: float
    span: Span | None


def wordings(text: str, untrusted: bool) -> list[Evidence]:
    """Every rule that the text matches, once each, at its first place."""
    out = []
    for rule in RULES:
        match = rule.pattern.search(text)
        if match:
            logits = rule.untrusted if untrusted else rule.evidence
            out.append(Evidence(rule.kind, logits, Span(*match.span(), rule.kind)))
    return out


def evidence_in(subject: Subject) -> list[Evidence]:
    """All evidence in the text, in what it hides, and in the untrusted text beside it."""
    text, plain = subject.text, subject.plain
    same = plain.text == text
    # Where disguises were taken off, places no longer agree: the finding then covers the whole text.
    out = [e if same else Evidence(e.kind, e.logits, Span(0, len(text), e.kind)) for e in wordings(plain.text, False)]
    for piece in plain.decoded:
        place = Span(piece.start, piece.end, f"encoded ({piece.kind})")
        inside = sum(e.logits for e in wordings(piece.text, False))
        hiding = max(_DECODED[part] for part in piece.kind.split(", ")) if readable(piece.text) >= 0.15 else 0.0
        if inside or hiding:
            out.append(Evidence(f"encoded ({piece.kind})", inside + hiding, place))
    if plain.hidden >= 3:
        out.append(Evidence("invisible characters", _HIDDEN_PER_LOG * math.log(plain.hidden), None))
    if plain.lookalikes >= 2:
        out.append(Evidence("look-alike letters", 1.5 + math.log(plain.lookalikes), None))
    for text in subject.earlier:
        out += [Evidence(f"{e.kind} in an earlier message", e.logits, None) for e in wordings(text, False)]
    if subject.untrusted:
        out += [Evidence(f"{e.kind} in context", e.logits, None) for e in wordings(subject.untrusted, True)]
    return out


def score_of(evidence: list[Evidence]) -> float:
    """Evidence added up: the strongest counts whole, each further one half of the one before, so that many weak hints
    in a long text do not add up to a strong one. 0 without any."""
    if not evidence:
        return 0.0
    ordered = sorted((e.logits for e in evidence), reverse=True)
    total = PRIOR + sum(logits * 0.5**i for i, logits in enumerate(ordered))
    return 1 / (1 + math.exp(-total))


class InjectionLayer:
    """Wordings and forms of injections and jailbreaks. Blocks from STOP_AT on."""

    name = "injection"

    def __init__(self, clauses: tuple[str, ...] = ("injection",)) -> None:
        self._clauses = clauses

    def check(self, subject: Subject) -> Finding:
        evidence = evidence_in(subject)
        score = score_of(evidence)
        spans = tuple(e.span for e in evidence if e.span)
        if score < STOP_AT:
            return Finding(score=score)
        reason = ", ".join(dict.fromkeys(e.kind for e in sorted(evidence, key=lambda e: -e.logits)))
        return Finding("block", score, self._clauses, spans, reason)
