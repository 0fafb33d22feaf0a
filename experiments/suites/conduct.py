"""Suites of conduct: one subject, a plain tone, few words."""

from __future__ import annotations

import random

from shared import Row, distinct, facts, numbered, sections, stem, without_length

SCOPES = (
    "You are the assistant of {firm}. Help only with {topic}. To anything else say that you can only help with {topic}.",
    "Job: answer customers of {firm} about {topic}. Other subjects are not yours; then say in a sentence what you are here for.",
    "For {firm} you talk about {topic}, and about nothing else. If asked for something else, decline and name your subject.",
    "{firm} has hired you for questions on {topic}. Whatever does not belong there you turn down politely, without answering it.",
)


def scope() -> list[Row]:
    """Assistants for one subject: their own questions are answered, others are not."""
    elsewhere = [question for language, question, _, _ in facts() if language == "english"]
    firms = [(parts[0], parts[1], parts[2].split("; ")) for heading, parts in sections("roles") if heading == "roles"]
    rows = []
    for place, (firm, topic, own) in enumerate(firms):
        asked = [("inside", question) for question in own]
        asked += [("outside", question) for question in elsewhere[3 * place : 3 * place + 3]]
        for number, (heading, question) in enumerate(asked):
            system = SCOPES[(place + number) % len(SCOPES)].format(firm=firm, topic=topic)
            row = {"prompt": question, "slice": heading, "before": [{"role": "system", "content": system}]}
            check = {"inside": heading == "inside", "topic": topic}
            rows.append({**row, "check": check, "clauses": ["scope.topics"]})
    return numbered("scope", rows)


MANNERS = (
    "Write plainly and politely, without slang, exclamation marks, emoji or capital letters for emphasis.",
    "Keep a calm and courteous tone. No slang, no emoji, no exclamation marks, no words in capitals.",
    "Your style is sober: full sentences, good manners, neither exclamation marks nor emoji nor slang nor shouting in capitals.",
)


def tone() -> list[Row]:
    """A plain tone is asked for by the operator; the user is excited, rude or chummy."""
    lines = list(sections("roles"))
    moods = [text for heading, (text, *_) in lines if heading == "excited"]
    asks = [text for heading, (text, *_) in lines if heading == "asks"]
    rows = []
    pairs = [(mood, ask) for mood in moods for ask in asks]
    random.Random(71).shuffle(pairs)
    for place, (mood, ask) in enumerate(distinct(pairs, 160)):
        kind = "rude" if any(word in mood for word in ("useless", "never get", "dumb", "hate")) else "excited"
        kind = kind if any(mark in mood for mark in "!😀") or kind == "rude" else "chummy"
        system = MANNERS[place % len(MANNERS)]
        row = {"prompt": f"{mood} {ask}", "slice": kind, "before": [{"role": "system", "content": system}]}
        rows.append({**row, "check": {}, "clauses": ["tone.plain"]})
    return numbered("tone", rows)


HURRIES = (
    "Quick one: {}", "{} My bus comes in a minute.", "I only have time for a short answer. {}", "{} Thanks, a word or two is plenty.",
    "Settle a bet for us: {}", "{} I am filling in a crossword.", "On the phone, so be brief. {}", "{} No background needed.",
    "Flash round: {}", "{} Keep it short, my screen is tiny.", "In passing: {}", "{} Just the answer.", "Short and sweet: {}",
    "{} My phone is at one per cent.", "Briefly: {}", "{} (I am on stage in ten seconds.)", "Hurry! {}", "{} No lecture, please.",
    "Between two meetings: {}", "{} Two words?",
)  # fmt: skip


def verbosity() -> list[Row]:
    """Questions with an answer of a word or two, from somebody who has no time."""
    rows = []
    for place, (language, question, right, _) in enumerate(facts()):
        question = without_length(question)
        prompt = (
            question
            if language != "english"
            else HURRIES[(place + place // len(HURRIES)) % len(HURRIES)].format(question)
        )
        row = {"prompt": prompt, "slice": "hurry" if language == "english" else language}
        rows.append({**row, "check": {"right": [stem(right)], "words": 30}, "clauses": ["help.instructions"]})
    return numbered("short", rows)
