"""`charter watch` as a script calls it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from commands import forked, paragraph, write_rows

sys.path.insert(0, str(Path(__file__).parents[1] / "watch"))

from guard_rows import guard_rows


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    reference = write_rows(tmp_path / "reference.jsonl", guard_rows(300, 0))
    return reference, write_rows(tmp_path / "stream.jsonl", guard_rows(60, 1) + guard_rows(200, 2, mixture=0.3))


@pytest.mark.slow
def test_from_traffic_to_a_report(files: tuple[Path, Path], tmp_path: Path) -> None:
    reference, stream = files
    given = ["--reference", reference, "--stream", stream, "--embed", "none"]
    for name in ("a.jsonl", "b.jsonl"):
        done = forked("watch", "replay", *given, "--out", name, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    alarms = lines(tmp_path / "a.jsonl")
    assert alarms
    for alarm in alarms:
        assert list(alarm) == ["time", "kind", "clause", "statistic", "threshold", "evidence"]
        assert alarm["statistic"] > alarm["threshold"]  # type: ignore[operator]
    assert "note: Embeddings: not used" in done.stderr
    assert f"{len(alarms)} alarms over 260 rows" in done.stderr

    store = f"sqlite:///{tmp_path}/charter.db"
    done = forked("watch", "record", "--in", stream, "--store", store, "--spool", "spool", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = forked("watch", "open", "--alarms", "a.jsonl", "--store", store, "--who", "test", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    opened = [json.loads(line) for line in done.stdout.splitlines()]
    (harm,) = [one for one in opened if one["clause"] == "harm.crime"]
    done = forked(
        "watch", "move", harm["id"], "contained", "--note", "x", "--who", "ops", "--store", store, cwd=tmp_path
    )
    assert json.loads(done.stdout)["state"] == "contained"
    done = forked("watch", "incidents", "--state", "contained", "--store", store, cwd=tmp_path)
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == [harm["id"]]
    done = forked("watch", "report", harm["id"], "--out", "r.json", "--texts", "--store", store, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["corrective_measures"] == ["x"]
    assert report["evidence"]["rows"][0]["prompt"]
    done = forked("watch", "forget", "--subject", "u1", "--who", "dpo", "--store", store, cwd=tmp_path)
    wanted = sum(row["caller"] == "u1" for row in lines(stream))
    assert json.loads(done.stdout)["verdicts"] == wanted > 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"id": 1, "score": "x"}', '"score" must be a number'),
        ("{", "not valid JSON"),
        ('{"score": 0.1}', 'needs an "id"'),
        ('{"id": 1, "verdict": "blok"}', 'Did you mean "block"?'),
        ("\udcff", "not UTF-8"),
    ],
)
def test_bad_input_names_file_and_line(line: str, said: str, files: tuple[Path, Path], tmp_path: Path) -> None:
    reference, stream = files
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(stream.read_bytes() + line.encode("utf-8", "surrogateescape") + b"\n")
    done = forked("watch", "replay", "--reference", reference, "--stream", bad, "--out", "h", cwd=tmp_path)
    assert done.returncode == 2
    assert f"{bad}, line 261" in paragraph(done)
    assert said in paragraph(done)
    assert not (tmp_path / "h").exists()


def test_what_cannot_be_is_refused_before_the_work(files: tuple[Path, Path], tmp_path: Path) -> None:
    reference, stream = files
    few = write_rows(tmp_path / "few.jsonl", guard_rows(10, 0))
    for given, said in (
        (["--reference", few, "--stream", stream, "--out", "h"], "fewer than 50"),
        (["--reference", tmp_path / "none", "--stream", stream, "--out", "h"], "no such file"),
        (["--reference", reference, "--stream", stream, "--out", tmp_path], "is a folder"),
    ):
        done = forked("watch", "replay", *given, "--embed", "none", cwd=tmp_path)
        assert (done.returncode, said in paragraph(done)) == (2, True)
    done = forked("watch", "canary", "--model", "x", "--reference", "none", "--out", "h", cwd=tmp_path)
    assert (done.returncode, "no such file" in paragraph(done)) == (2, True)
    done = forked("watch", "forget", "--who", "x", "--store", f"sqlite:///{tmp_path}/c.db", cwd=tmp_path)
    assert (done.returncode, "what to delete" in paragraph(done)) == (2, True)
    done = forked("watch", "move", "nr", "closed", "--note", "n", "--who", "x", "--store", f"sqlite:///{tmp_path}/c.db",
                  cwd=tmp_path)  # fmt: skip
    assert (done.returncode, "no incident nr" in paragraph(done)) == (2, True)
