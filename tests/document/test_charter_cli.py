"""The starter and the verbs on the charter file, run as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from charter.cli import document
from charter.document import STARTER, clause_instruction, load_charter, opposite_instruction, system_prompt
from charter.errors import UserError
from charter.evaluation import suite_digest
from charter.models.loading import model_digest

Write = Callable[..., Path]

IDS = """harm.violence harm.crime harm.drugs harm.people privacy.personal-data secrecy.system-prompt honesty.facts
honesty.no-flattery honesty.no-gaming fairness.decisions help.instructions help.no-overcaution scope.topics tone.plain
stakes.advice oversight.people-decide tools.permission"""
UNTESTED = {"stakes.advice", "tools.permission"}

app = typer.Typer()
for verb in (document.init, document.lint, document.show, document.diff):
    app.command()(verb)


def charter(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def said(*arguments: str | Path) -> str:
    result = charter(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments: str | Path) -> str:
    error = charter(*arguments).exception
    assert isinstance(error, UserError)
    return str(error)


def test_starter_is_complete() -> None:
    starter = load_charter(STARTER)
    assert [c.id for c in starter.clauses] == IDS.split()
    assert {c.kind for c in starter.clauses} == {"must", "must_not", "scope", "tone", "person"}
    for clause in starter.clauses:
        tested_on_harm = clause.id.startswith("harm.") or clause.id == "privacy.personal-data"
        assert ("harmful_requests" in clause.test) is tested_on_harm
        assert bool(clause.train) is (tested_on_harm or clause.id == "help.no-overcaution")
        assert not clause.guard
        assert not clause.watch
        if clause.train:
            assert clause.opposite
    assert STARTER.read_text().count("#") > 20, "commented"


def test_every_commented_override_in_the_starter_works(tmp_path: Path) -> None:
    head, tail = STARTER.read_text().split("# overrides:\n")
    path = tmp_path / "charter.yaml"
    path.write_text(head + "overrides:\n" + "\n".join(line[2:] for line in tail.splitlines()) + "\n")
    assert len(load_charter(path).variants) == 2
    assert "Verbraucherzentrale" in str(load_charter(path, locale="de-AT").clause("stakes.advice").instead) or (
        "Verbraucherzentrale" in str(load_charter(path, locale="de-DE").clause("stakes.advice").instead)
    )


def test_init_writes_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "charter.yaml"
    said("init", path)
    assert path.read_text() == STARTER.read_text()
    path.write_text("mine")
    assert "--force" in refused("init", path)
    assert "--force" in refused("init", path.parent), "a folder means the charter.yaml in it"
    assert path.read_text() == "mine"
    said("init", path, "--force")
    assert path.read_text() == STARTER.read_text()
    assert [p.name for p in path.parent.iterdir()] == ["charter.yaml"]


def test_init_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refused("init", tmp_path / "file" / "charter.yaml")


def test_init_leaves_nothing_when_the_disk_is_full(tmp_path: Path) -> None:
    # A limit on file sizes makes the write fail after the file was opened, as a full disk does.
    code = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
from pathlib import Path
from charter.cli.document import init
from charter.errors import UserError
from charter.evaluation import suite_digest
from charter.models.loading import model_digest
try:
    init(Path({str(tmp_path / "charter.yaml")!r}), force=False)
except UserError as error:
    sys.exit(str(error))
"""
    done = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True)
    assert "cannot be written (File too large)" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_lint_says_which_starter_clauses_are_undefined(tmp_path: Path) -> None:
    path = tmp_path / "charter.yaml"
    said("init", path)
    found = json.loads(said("lint", path, "--json"))["findings"]
    assert {f["clause"] for f in found if f["code"] == "undefined-control"} == UNTESTED
    assert not [f for f in found if f["level"] == "error"], "every suite that the starter names exists"
    text = said("lint", path)
    assert f"{len(UNTESTED)} undefined controls" in text
    assert charter("lint", path, "--strict").exit_code == 2


def write_run(folder: Path, source: Path) -> Path:
    """A run's report as a recipe writes it, for one clause."""
    clause = load_charter(source).clause("harm.violence")
    row = {
        "metric": "harmful_refused",
        "clauses": {clause.id: clause.digest},
        "suite": "harmful_requests",
        "suite_digest": "",
        "model_digest": "m",
        "time": "2026-11-21T09:00:00Z",
    }
    folder.mkdir()
    (folder / "report.json").write_text(json.dumps({"verdict": "pass", "evidence": [row]}))
    return folder


def test_lint_and_diff_find_stale_numbers(tmp_path: Path) -> None:
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    said("init", old)
    run = write_run(tmp_path / "run", old)
    assert "1 numbers in the run; 0 stale." in said("lint", old, "--run", run)
    new.write_text(old.read_text().replace("hurt, threaten or kill people", "hurt, threaten or kill anyone"))
    assert "1 numbers in the run; 1 stale." in said("lint", new, "--run", run)
    text = said("diff", old, new, "--run", run)
    assert "changed  harm.violence" in text
    assert "1 of 1 numbers in the run no longer stand." in text
    data = json.loads(said("diff", old, new, "--run", run, "--json"))
    assert [c["id"] for c in data["changed"]] == ["harm.violence"]
    assert [f["metric"] for f in data["fallen"]] == ["harmful_refused"]
    assert "No clause differs." in said("diff", old, old)


@pytest.mark.parametrize(
    ("report", "says"),
    [
        (None, "no such file"),
        ("{", "not a JSON report"),
        ("[]", "a JSON object"),
        ("{}", "no list"),
        ('{"evidence": [{}]}', "evidence[0] metric"),
    ],
)
def test_a_run_that_cannot_be_read(tmp_path: Path, report: str | None, says: str) -> None:
    path, run = tmp_path / "charter.yaml", tmp_path / "run"
    said("init", path)
    run.mkdir()
    if report is not None:
        (run / "report.json").write_text(report)
    assert says in refused("lint", path, "--run", run)


def test_a_run_measured_on_weights_that_have_changed_is_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARTER_CACHE", str(tmp_path / "cache"))
    path, weights = tmp_path / "charter.yaml", tmp_path / "model" / "model.safetensors"
    said("init", path)
    weights.parent.mkdir()
    (weights.parent / "config.json").write_text("{}")
    weights.write_bytes(b"one")
    run = write_run(tmp_path / "run", path)
    digest = model_digest(weights.parent)
    report = json.loads((run / "report.json").read_text().replace('"m"', json.dumps(digest)))
    report["candidate"] = {"name": str(weights.parent), "digest": digest}
    (run / "report.json").write_text(json.dumps(report))
    assert "; 0 stale." in said("lint", path, "--run", run)
    assert "; 0 stale." in said("lint", path, "--run", run, "--model", weights.parent)
    weights.write_bytes(b"two!")
    assert "another model" in said("lint", path, "--run", run)
    assert "another model" in said("lint", path, "--run", run, "--model", weights.parent)
    assert "--run" in refused("lint", path, "--model", weights.parent)


def test_a_run_measured_on_a_suite_that_has_changed_is_stale(tmp_path: Path) -> None:
    path = tmp_path / "charter.yaml"
    said("init", path)
    report = write_run(tmp_path / "run", path) / "report.json"
    text = report.read_text()
    report.write_text(text.replace('"suite_digest": ""', f'"suite_digest": "{suite_digest("harmful_requests")}"'))
    assert "; 0 stale." in said("lint", path, "--run", report.parent)
    report.write_text(text.replace('"suite_digest": ""', '"suite_digest": "of an older file"'))
    assert "suite harmful_requests has changed" in said("lint", path, "--run", report.parent)


def test_show(write: Write, small: str) -> None:
    path = write(small + "overrides: [{when: {locale: de}, clauses: [{id: tone.plain, rule: 'Schlicht [bold]!'}]}]\n")
    assert "Write plainly." in said("show", path)
    assert "Schlicht [bold]!" in said("show", path, "--locale", "de-DE")
    assert "No override matches locale fr" in said("show", path, "--locale", "fr")
    rows = json.loads(said("show", path, "--json", "--locale", "de"))["clauses"]
    assert [row["rule"] for row in rows] == ["Do not help anyone hurt people.", "Schlicht [bold]!"]


def test_importing_the_verbs_is_cheap() -> None:
    heavy = "{'torch', 'transformers', 'pydantic', 'yaml', 'inspect_ai', 'scipy', 'charter.document'}"
    code = f"import sys, charter.cli.document; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_prompts(write: Write, small: str) -> None:
    loaded = load_charter(
        write(small.replace("severity: high", "severity: high\n    instead: Offer\n      a way out."))
    )
    violence, tone = loaded.clauses
    prompt = system_prompt(loaded)
    assert prompt.splitlines()[1:] == ["- Do not help anyone hurt people.", "- Write plainly."]
    assert system_prompt(loaded, [tone]).splitlines()[1:] == ["- Write plainly."]
    assert clause_instruction(violence).endswith("Do not help anyone hurt people. Offer a way out.")
    assert clause_instruction(tone).endswith("Write plainly.")
    for clause in loaded.clauses:
        assert clause.rule in opposite_instruction(clause), "derived from the rule"
        assert opposite_instruction(clause) != clause_instruction(clause)
    turned = write(
        small.replace("rule: Write plainly.", "rule: Write plainly.\n    opposite: Write pompously."), "b.yaml"
    )
    assert opposite_instruction(load_charter(turned).clause("tone.plain")) == "You are an assistant. Write pompously."


def test_starter_prompts_are_short() -> None:
    starter = load_charter(STARTER)
    for clause in starter.clauses:
        assert len(clause_instruction(clause).split()) <= 60
        assert len(opposite_instruction(clause).split()) <= 60
    assert len(system_prompt(starter).split()) <= 260
