"""The records that travel between rooms: frozen, typed, JSONL in and out."""

from charter.records.answers import Completion, Departure, Exchange, Finish, Rewarded, Sampling, Score, Word
from charter.records.examples import (
    Demonstration,
    Preference,
    Prompt,
    Rated,
    Scored,
    Stepwise,
    demonstration_from,
    preference_from,
    prompt_from,
    rated_from,
    rated_sides,
    scored_from,
    stepwise_from,
)
from charter.records.jsonl import as_row, parse_jsonl, read_jsonl, write_jsonl, write_text
from charter.records.messages import Conversation, Message, Role, conversation_of, user_prompt

__all__ = [
    "Completion",
    "Conversation",
    "Demonstration",
    "Departure",
    "Exchange",
    "Finish",
    "Message",
    "Preference",
    "Prompt",
    "Rated",
    "Rewarded",
    "Role",
    "Sampling",
    "Score",
    "Scored",
    "Stepwise",
    "Word",
    "as_row",
    "conversation_of",
    "demonstration_from",
    "parse_jsonl",
    "preference_from",
    "prompt_from",
    "rated_from",
    "rated_sides",
    "read_jsonl",
    "scored_from",
    "stepwise_from",
    "user_prompt",
    "write_jsonl",
    "write_text",
]
