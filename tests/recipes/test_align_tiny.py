"""`align` from file to report on a tiny random model: stages done once, rows accounted for, resume to the same end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from charter.errors import UserError
from charter.evaluation.gate import GateResult
from charter.recipes.pipeline import align
from charter.recipes.single import train_single

RECIPE = """\
recipe: 1
name: tiny
model: {model}
seed: 5
suites: []
data:
  files:
    - path: {data}
      holdout: 0.25
train:
  - {{method: sft, epochs: 1, batch_size: 4, learning_rate: 0.001, lora: {{r: 2}}}}
  - {{method: dpo, epochs: 1, batch_size: 4, learning_rate: 0.001, beta: {beta}, lora: {{r: 2}}, watch: null}}
"""
QUESTIONS = 20


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_data(folder: Path) -> Path:
    rows: list[dict[str, Any]] = [
        {"prompt": f"Question {i}{j}: what is {word}?", "chosen": f"It is {word}.", "rejected": f"No {word}"}
        for i, word in enumerate(["rain", "snow", "hail", "wind", "fog"])
        for j in range(QUESTIONS // 5)
    ]
    rows.append({**rows[0], "id": "twin", "rejected": rows[0]["chosen"]})  # nothing to prefer: dropped, counted
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(folder: Path, base: Path, beta: float = 0.1) -> tuple[Path, GateResult]:
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.format(model=base, data=folder / "pairs.jsonl", beta=beta))
    return align(recipe, folder / "run")


def stages(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Per stage, the text and the time of its done.json."""
    return {
        path.parent.name: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted((folder / "run" / "stages").glob("*/done.json"))
    }


def test_from_file_to_report_and_again(tmp_path: Path, tiny_base: Path) -> None:
    write_data(tmp_path)
    folder, verdict = run(tmp_path, tiny_base)
    assert folder == tmp_path / "run"
    first = stages(tmp_path)
    assert list(first) == ["01-data", "02-sft", "03-dpo", "04-preferences"]
    report = json.loads((folder / "report.json").read_text())
    # Five held-out pairs cannot show a gain over chance, however they come out: no pass.
    assert report["verdict"] == verdict.verdict == "inconclusive"
    assert report["exit_code"] == verdict.exit_code() == 3
    assert [stage["name"] for stage in report["stages"]] == ["data", "sft", "dpo", "preferences"]
    (metric,) = report["metrics"]
    assert (metric["name"], metric["base"], metric["slice"]) == ("preference_accuracy", 0.5, None)
    assert metric["ci_low"] < metric["delta"] <= metric["ci_high"]
    page = (folder / "report.html").read_text()
    assert "preference_accuracy" in page or "reference accuracy" in page
    assert "http://" not in page.replace("http://www.w3.org", "")

    def rows(name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (folder / "stages" / "01-data" / name).read_text().splitlines()]

    def asked(name: str) -> set[str]:
        return {row["prompt"][0]["content"] for row in rows(name)}

    # The same question never stands on both sides, and every row is somewhere.
    assert len(asked("heldout.jsonl")) == QUESTIONS // 4
    assert not asked("heldout.jsonl") & asked("preferences.jsonl")
    dropped = json.loads((folder / "stages" / "01-data" / "counts.json").read_text())["dropped"]
    kept = asked("preferences.jsonl") | asked("heldout.jsonl")
    assert len(kept) + sum(dropped.values()) == QUESTIONS
    used = {name: json.loads(text)["result"] for name, (text, _) in first.items()}
    assert used["03-dpo"]["rows"] + sum(used["03-dpo"]["dropped"].values()) == len(rows("preferences.jsonl"))
    assert used["04-preferences"]["n"] + sum(used["04-preferences"]["dropped"].values()) == len(rows("heldout.jsonl"))

    run(tmp_path, tiny_base)
    assert stages(tmp_path) == first
    again = json.loads((folder / "report.json").read_text())
    assert all(stage["reused"] for stage in again["stages"])
    assert again["metrics"] == report["metrics"]

    run(tmp_path, tiny_base, beta=0.3)
    changed = stages(tmp_path)
    assert {name for name in first if changed[name] == first[name]} == {"01-data", "02-sft"}


def test_the_run_folder_may_be_moved(tmp_path: Path, tiny_base: Path) -> None:
    write_data(tmp_path)
    run(tmp_path, tiny_base)
    before = stages(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    for name in ("pairs.jsonl", "run"):
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    (tmp_path / "elsewhere" / "pairs.jsonl").rename(tmp_path / "pairs.jsonl")
    recipe = tmp_path / "recipe.yaml"
    align(recipe, tmp_path / "elsewhere" / "run")
    assert stages(tmp_path / "elsewhere") == before
    report = json.loads((tmp_path / "elsewhere" / "run" / "report.json").read_text())
    assert all(stage["reused"] for stage in report["stages"])


def test_two_files_with_the_same_row_ids_keep_all_their_rows(tmp_path: Path, tiny_base: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        row = {"id": 1, "prompt": f"Tell me about {name * 9}", "chosen": f"{name}!", "rejected": "no"}
        (tmp_path / name / "pairs.jsonl").write_text(json.dumps(row) + "\n")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"recipe: 1\nname: two\nmodel: {tiny_base}\nsuites: []\n"
        f"data: {{files: [{{path: {tmp_path}/a/pairs.jsonl}}, {{path: {tmp_path}/b/pairs.jsonl}}]}}\n"
        "train: [{method: dpo, lora: {r: 2}, watch: null}]\n"
    )
    folder, _ = align(recipe, tmp_path / "run")
    lines = (folder / "stages" / "01-data" / "preferences.jsonl").read_text().splitlines()
    assert len({json.loads(line)["id"] for line in lines}) == 2
    assert json.loads((folder / "stages" / "02-dpo" / "done.json").read_text())["result"]["rows"] == 2


def test_train_single_settings_are_checked_by_name(tmp_path: Path, tiny_base: Path) -> None:
    data, config = write_data(tmp_path), tmp_path / "sft.yaml"
    config.write_text("epochs: 1\nlora:\n  rr: 4\n")
    with pytest.raises(UserError, match=r"sft\.yaml, line 3: lora\.rr: unknown key.*\"r\""):
        train_single("sft", str(tiny_base), str(data), tmp_path / "out", config)
    assert not (tmp_path / "out").exists()
