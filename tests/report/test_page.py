"""The page: self-contained, accessible, safe with hostile text, and saying what the data say."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import itertools
import re
import unicodedata
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charter.report import ClauseRow, GateRule, MetricRow, ReportData, SampleRow
from charter.report.html import MAX_SAMPLES, MAX_TEXT, TEMPLATES, accounts, flips, report_html, shown_samples
from charter.report.words import visible

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """A small reading of the page by Python's own parser: elements, attributes, text, and whether tags nest."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.inside: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
            self.inside.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1:] == [tag], f"</{tag}> inside {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)
        for tag in set(self.open):
            self.inside[tag][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def test_it_asks_nothing_of_the_network(data: ReportData) -> None:
    text = report_html(data)
    page = Page(text)
    for _, attributes in page.elements:
        assert not {"src", "srcset", "action", "data", "background", "poster"} & attributes.keys()
        assert (attributes.get("href") or "#").startswith("#")
    assert not page.all("link")
    assert not page.all("iframe")
    assert "url(" not in text
    assert "@import" not in text
    assert "http:" not in text
    assert "https:" not in text
    for word in ("fetch(", "XMLHttpRequest", "innerHTML", "eval("):
        assert word not in page.inside["script"][0]


def test_only_its_own_script_may_run(data: ReportData) -> None:
    page = Page(report_html(data))
    scripts = page.inside["script"]
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert len(scripts) == 1
    assert scripts[0] == (TEMPLATES / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in (policy or "")
    assert "default-src 'none'" in (policy or "")


def test_it_can_be_read_without_eyes(data: ReportData) -> None:
    page = Page(report_html(data))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        for name in ("aria-labelledby", "for"):
            assert set((attributes.get(name) or "").split()) <= set(ids)
    assert all((a.get("href") or "")[1:] in ids for a in page.all("a"))
    assert len(page.all("svg")) == len(page.all("desc")) > 8
    assert all(svg.get("role") == "img" and svg.get("aria-labelledby") for svg in page.all("svg"))
    assert len(page.all("caption")) == len(page.all("table")) > 5
    assert all(th.get("scope") in ("row", "col") for th in page.all("th"))
    assert len(page.all("h1")) == 1
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels)), "a level is skipped"
    assert page.all("html")[0]["lang"] == "en"


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2) of #rrggbb."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_contrasts_in_light_and_dark() -> None:
    css = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    schemes = [dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block)) for block in re.findall(r":root \{([^}]*)\}", css)]
    assert len(schemes) == 3  # light, dark, print (which overrides only in part)
    for scheme in schemes[:2]:
        for ink in ("ink", "muted", "before", "after", "fail", "link"):
            for ground in ("page", "panel"):
                low, high = sorted((luminance(scheme[ink]), luminance(scheme[ground])))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground, scheme)


HOSTILE = (
    '<script>document.title="owned"</script></p></article><img src=x onerror=alert(1)>'
    "\u202egnp.exe\u202c \x00 \x1b[31m \U000e0041 \ud800 {{ 7*7 }} {% raw %} ]]> <!-- -->"
)


def test_hostile_text_stays_text(data: ReportData) -> None:
    clean = Page(report_html(data))
    sample = SampleRow(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, 0.0, 1.0)
    hostile = dataclasses.replace(
        data,
        title=HOSTILE,
        summary=HOSTILE,
        model=HOSTILE,
        samples=(*data.samples, sample),
        clauses=(*data.clauses, ClauseRow(HOSTILE, HOSTILE, HOSTILE, HOSTILE, (HOSTILE,), (HOSTILE,))),
        metrics=(*data.metrics, MetricRow(HOSTILE, 5, 0.5, 0.6, 0.1, 0.0, 0.2)),
        dropped={HOSTILE: {HOSTILE: 1}},
        commands=(HOSTILE,),
        hashes={HOSTILE: HOSTILE},
    )
    text = report_html(hostile)
    page = Page(text)
    assert page.inside["script"] == clean.inside["script"]
    assert not page.all("img")
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert "{{ 7*7 }}" in page.text
    assert "⟨U+202E⟩gnp.exe⟨U+202C⟩" in page.text
    text.encode("utf-8")
    completions = "".join(page.inside["article"])
    assert not [c for c in completions if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c not in "\n\t"]


def test_a_long_completion_is_cut_and_says_so(data: ReportData) -> None:
    short = len(report_html(data))
    long = SampleRow("long", "harmful", "why?", "A" * 1_000_000, "no", "none", "full", None, 0.0, 1.0)
    text = report_html(dataclasses.replace(data, samples=(*data.samples, long)))
    assert len(text) < short + MAX_TEXT + 3000
    assert f"{1_000_000 - MAX_TEXT:,} more characters are not shown" in text


@given(st.text())
def test_visible_hides_nothing(text: str) -> None:
    shown = visible(text)
    assert visible(shown) == shown
    kinds = {unicodedata.category(c) for c in shown if c not in "\n\t\u200c\u200d"}
    assert not kinds & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert [c for c in shown if c.isalnum() and c.isascii()] or not [c for c in text if c.isalnum() and c.isascii()]


@pytest.mark.parametrize(
    ("verdict", "word", "code"),
    [
        ("pass", "Pass", 0),
        ("regressed", "Regressed", 1),
        ("inconclusive", "Inconclusive", 3),
        ("unfinished", "Unfinished", 4),
    ],
)
def test_the_verdict_and_its_exit_code_stand_at_the_top(data: ReportData, verdict: str, word: str, code: int) -> None:
    page = Page(report_html(dataclasses.replace(data, verdict=verdict, gate=())))
    assert page.inside["h1"] == [word]
    assert page.inside["title"][0] == f"demo: {word}"
    assert f"Exit code {code} " in page.text.replace("Exit code  ", "Exit code ")


def test_a_pass_that_a_rule_contradicts_is_called_out(data: ReportData) -> None:
    failed = GateRule("knowledge", -0.1, "falls by less than 10 points", "regressed")
    text = report_html(dataclasses.replace(data, gate=(failed,)))
    assert "Do not rely on this run" in text
    assert "Do not rely on this run" not in report_html(data)


def test_untested_clauses_are_undefined_controls_in_the_charters_order(data: ReportData) -> None:
    shown = accounts(data)
    assert [a.clause.id for a in shown] == [c.id for c in data.clauses]
    assert [a.clause.id for a in shown if a.undefined] == ["honesty", "advice.person"]
    page = Page(report_html(data))
    assert page.text.count("undefined control ") == 2
    assert "2 of 6 clauses are undefined controls" in page.text


def test_a_clause_gets_its_own_number_else_its_suites_and_stale_ones_are_marked(data: ReportData) -> None:
    numbers = {a.clause.id: [(n.row.name, n.row.n, n.scope, n.stale) for n in a.numbers] for a in accounts(data)}
    assert numbers["harm.weapons"] == [("harmful_refused", 130, "this clause", False)]
    assert numbers["help.over-caution"] == [("benign_answered", 420, "whole suite", False)]
    assert numbers["tone"] == [("instruction_following", 400, "whole suite", True)]
    assert numbers["honesty"] == []


def test_flips_are_counted_over_all_samples_and_come_first(data: ReportData) -> None:
    assert dict(flips(data))["harmful"] == {"worsened": 0, "improved": 12, "changed": 0, "same": 0}
    same = [SampleRow(f"s{i}", "knowledge", "q", "a", "a", "right", "right") for i in range(2 * MAX_SAMPLES)]
    many = dataclasses.replace(data, samples=(*same, *data.samples))
    shown = shown_samples(many)
    assert len([s for s in shown if s.suite == "knowledge"]) == MAX_SAMPLES
    assert shown[0].change == "worsened"
    assert {s.id for s in data.samples if s.change != "same"} <= {s.id for s in shown}
    assert dict(flips(many))["knowledge"]["same"] == 2 * MAX_SAMPLES + 1
    assert f"{len(shown)} of {len(many.samples)} samples are shown" in report_html(many)


def test_completions_are_collapsed_behind_a_warning(data: ReportData) -> None:
    page = Page(report_html(data))
    assert all("open" not in details for details in page.all("details"))
    text = report_html(data)
    assert text.index("<details") < text.index("Warning: prompts here ask for harmful things") < text.index("frightens")


def test_a_run_with_nothing_in_it_still_makes_a_page() -> None:
    empty = ReportData("run", "unfinished", "", "m", "", "c", "")
    page = Page(report_html(empty))
    assert "did not finish" in page.text
    assert "nan" not in page.text.lower().replace("provenance", "")
