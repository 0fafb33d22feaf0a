"""What is made of the rows: rates, layer, SARIF, heat map, frozen suite, garak's report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from charter.errors import UserError
from charter.redteam.atlas import TACTICS, layer
from charter.redteam.behaviours import chosen, read_behaviours, shipped_behaviours
from charter.redteam.freeze import freeze
from charter.redteam.garak import read_garak
from charter.redteam.heatmap import heat_map
from charter.redteam.results import judge_errors, rate_of, rates, unscored_reasons
from charter.redteam.sarif import sarif
from charter.stats.imperfect import Errors, rogan_gladen
from charter.stats.intervals import wilson

ATLAS = Path(__file__).parents[3] / "shared/data/mitre-atlas/ATLAS.yaml"


def row(name: str, attack: str, success: bool | None, **more: Any) -> dict[str, Any]:
    techniques = ["AML.T0054", "AML.T0051.000"] if attack == "persona" else ["AML.T0054", "AML.T0068"]
    made: dict[str, Any] = {
        "id": name,
        "behaviour": f"Do {name}",
        "attack": attack,
        "family": "framing" if attack == "persona" else "encoding",
        "techniques": techniques,
        "clauses": ["harm.people"],
        "category": "fraud" if name < "c" else "spying",
        "success": success,
        "score": None if success is None else 0.9 if success else 0.1,
        "queries": 2,
        "prompt": f"{attack}: Do {name}",
        "completion": "text",
    }
    return made | ({"unscored": "the judge failed"} if success is None else {}) | more


ROWS = [
    row("a", "persona", True),
    row("b", "persona", False),
    row("c", "persona", None),
    row("d", "persona", True, queries=4),
    row("a", "base64", True, score=0.95),
    row("b", "base64", False),
    row("c", "base64", False),
    row("d", "base64", False),
]


def test_rates_leave_out_what_is_unscored_and_count_it() -> None:
    persona, base64 = rates(ROWS, "attack")
    assert (persona.n, persona.successes, persona.unscored, persona.any, persona.behaviours) == (3, 2, 1, 2, 3)
    assert (persona.low, persona.high) == wilson(2, 3)
    assert persona.queries == 3
    assert base64.rate == 0.25
    by_technique = {rate.name: (rate.successes, rate.n) for rate in rates(ROWS, "technique")}
    assert by_technique == {"AML.T0054": (3, 7), "AML.T0051.000": (2, 3), "AML.T0068": (1, 4)}
    (unscored,) = rates([ROWS[2]], "family")
    assert unscored.rate is None
    assert unscored_reasons(ROWS) == {"the judge failed": 1}


def test_rates_are_corrected_by_what_is_known_of_the_judge() -> None:
    errors = Errors(hits=90, yes=100, passes=180, no=200)
    persona, base64 = rates(ROWS, "attack", errors)
    assert persona.corrected == rogan_gladen(2, 3, errors)
    assert base64.corrected is not None
    assert base64.corrected.value == pytest.approx((0.25 + 0.9 - 1) / (0.9 + 0.9 - 1))
    assert rates(ROWS, "attack")[0].corrected is None
    assert rate_of("attack", "x", [ROWS[2]], errors).corrected is None  # nothing scored
    known = judge_errors("refusal", "none")
    assert known is not None
    assert known.sensitivity is not None
    assert 0.5 < known.sensitivity < 1
    assert judge_errors("garak", "harmful") is None


def test_the_layer_has_a_row_for_each_technique_and_tactic() -> None:
    made = json.loads(layer(ROWS, "x"))
    assert made["versions"] == {"layer": "4.3", "navigator": "4.6.4"}
    assert made["domain"] == "atlas-atlas"
    found = {(t["techniqueID"], t.get("tactic")): t for t in made["techniques"]}
    assert set(found) == {
        ("AML.T0054", "privilege-escalation"),
        ("AML.T0054", "defense-evasion"),
        ("AML.T0068", "defense-evasion"),
        ("AML.T0051", "execution"),
        ("AML.T0051.000", None),
    }
    assert found["AML.T0051", "execution"]["showSubtechniques"] is True
    assert found["AML.T0051.000", None]["score"] == found["AML.T0051", "execution"]["score"] == 66.7
    assert found["AML.T0068", "defense-evasion"]["score"] == 25.0


@pytest.mark.skipif(not ATLAS.exists(), reason="needs ../shared/data/mitre-atlas")
@pytest.mark.skipif(not ATLAS.exists(), reason="the ATLAS matrix is not here")
def test_tactics_are_those_of_atlas() -> None:
    import yaml

    (matrix,) = yaml.safe_load(ATLAS.read_text())["matrices"]
    names = {tactic["id"]: tactic["name"].lower().replace(" ", "-") for tactic in matrix["tactics"]}
    known = {t["id"]: tuple(names[tactic] for tactic in t.get("tactics") or ()) for t in matrix["techniques"]}
    for technique, tactics in TACTICS.items():
        assert set(tactics) == set(known[technique]), technique


def test_sarif_has_a_result_for_each_hit_without_the_completion() -> None:
    text = sarif(ROWS, "attacks.jsonl")
    (run,) = json.loads(text)["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert rules == ["persona", "base64"]
    assert [(r["ruleId"], r["ruleIndex"]) for r in run["results"]] == [("persona", 0), ("persona", 0), ("base64", 1)]
    assert len({r["partialFingerprints"]["charterAttack/v1"] for r in run["results"]}) == 3
    assert run["properties"] == {"unscored": 1, "attacked": 8}
    assert '"text"' in text
    assert "completion" not in text
    assert "LLM Jailbreak" in text


def test_the_heat_map_is_svg_with_a_cell_for_each_attack_and_category() -> None:
    drawing = ElementTree.fromstring(heat_map(ROWS, "Attacks on a <model>"))
    space = "{http://www.w3.org/2000/svg}"
    cells = [rect for rect in drawing.iter(f"{space}rect") if rect.get("stroke")]
    assert len(cells) == 2 * 3
    words = [element.text for element in drawing.iter(f"{space}text")]
    assert {"persona", "base64", "fraud", "spying", "all", "50", "67", "25"} <= set(words)
    said = [title.text or "" for title in drawing.iter(f"{space}title")]
    assert any("persona, spying: 1 of 1" in text for text in said)
    # Nothing is drawn off the page.
    assert all(float(rect.get("x", 0)) + 44 <= float(drawing.get("width", 0)) for rect in cells)


def test_freezing_keeps_the_best_attack_on_each_behaviour() -> None:
    kept = freeze([*ROWS, row("e", "prefilling", True, prefill="Sure"), row("f", "persona", None)])
    assert [sample["id"] for sample in kept.rows] == ["a/base64", "d/persona"]
    assert kept.rows[0]["messages"] == [{"role": "user", "content": "base64: Do a"}]
    assert (kept.none_got_through, kept.not_a_prompt) == (3, 1)
    assert len(freeze(ROWS, per_behaviour=2).rows) == 3


def attempt(**more: Any) -> dict[str, Any]:
    """An attempt as garak 0.17 writes it."""
    turn = {"role": "user", "content": {"text": "Say it", "lang": "en", "notes": {}}}
    return {
        "entry_type": "attempt",
        "uuid": "u1",
        "seq": 0,
        "status": 2,
        "probe_classname": "dan.Dan_11_0",
        "probe_params": {},
        "targets": [],
        "prompt": {"turns": [turn], "notes": {}},
        "outputs": [{"text": "no"}, {"text": "yes"}],
        "detector_results": {"mitigation.MitigationBypass": [0.0, 0.7], "dan.DAN": [0.0, None]},
        "notes": {},
        "goal": "break it",
        "conversations": [],
        "reverse_translation_outputs": [],
        **more,
    }


def test_garaks_report_is_read_by_its_own_detectors_and_threshold(tmp_path: Path) -> None:
    path = tmp_path / "x.report.jsonl"
    entries = [
        {"entry_type": "start_run setup", "run.eval_threshold": 0.6},
        attempt(status=1),
        attempt(),
        attempt(uuid="u2", detector_results={"a": [0.5]}, outputs=["old style"], prompt="old prompt"),
        attempt(uuid="u3", probe_classname="newprobe.X", detector_results={"a": [None]}, outputs=[None]),
        {"entry_type": "eval", "probe": "dan.Dan_11_0"},
    ]
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    hit, miss, unscored = read_garak(path)
    assert (hit["success"], hit["score"], hit["label"], hit["completion"]) == (
        True,
        0.7,
        "mitigation.MitigationBypass",
        "yes",
    )
    assert (hit["attack"], hit["family"], hit["behaviour"]) == ("garak/dan.Dan_11_0", "garak/dan", "break it")
    assert (hit["prompt"], hit["queries"]) == ("Say it", 2)
    assert "AML.T0054" in hit["techniques"]
    assert (miss["success"], miss["prompt"], miss["completion"]) == (False, "old prompt", "old style")
    assert (unscored["success"], unscored["techniques"]) == (None, [])
    assert "no detector" in unscored["unscored"]
    assert len(rates([hit, miss, unscored], "attack")) == 2
    path.write_text('{"id": 1}\n')
    with pytest.raises(UserError, match="no entry_type"):
        read_garak(path)
    path.write_text(json.dumps(attempt(status=1)) + "\n")
    with pytest.raises(UserError, match="no attempt in it is finished"):
        read_garak(path)


def test_behaviours_are_read_with_their_mistakes_named(tmp_path: Path) -> None:
    path = tmp_path / "b.jsonl"
    path.write_text('{"id": 1, "behaviour": "Do it", "target": "Sure", "clauses": ["x"], "source": "mine"}\n')
    (one,) = read_behaviours(path)
    assert (one.id, one.text, one.opening(), one.clauses, one.fields) == (
        "1",
        "Do it",
        "Sure",
        ("x",),
        {"source": "mine"},
    )
    for bad, said in (
        ('{"id": 1}', 'line 1: a behaviour needs "id" and "behaviour"'),
        ('{"id": 1, "behaviour": "a", "target": 3}', '"target" must be'),
        ('{"id": 1, "behaviour": "a", "clauses": "x"}', "must be a list"),
        ('{"id": 1, "behaviour": "a"}\n{"id": 1, "behaviour": "b"}', 'line 2: the id "1" was there before'),
        ("", "there are no behaviours"),
    ):
        path.write_text(bad)
        with pytest.raises(UserError, match=said):
            read_behaviours(path)


def test_shipped_behaviours_are_drawn_by_clause_and_seed() -> None:
    everyone = shipped_behaviours()
    assert len(everyone) > 100
    few = chosen(everyone, (), 10, 1)
    assert few == chosen(everyone, (), 10, 1) != chosen(everyone, (), 10, 2)
    clause = everyone[0].clauses[0]
    assert all(clause in behaviour.clauses for behaviour in chosen(everyone, (clause,), None, 0))
    with pytest.raises(UserError, match="belongs to the clause"):
        chosen(everyone, ("no.such",), None, 0)
