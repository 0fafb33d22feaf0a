"""Bad input is one paragraph on stderr and exit code 2, before anything is written."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import COMMAND, ENVIRONMENT, charter, everything_in, forked, pairs, paragraph, write_rows

RECIPE = """\
recipe: 1
name: small
model: {model}
suites: []
data:
  files: [{{path: pairs.jsonl}}]
train:
  - method: sft
"""


@pytest.fixture
def place(tmp_path: Path, tiny_base: Path) -> Path:
    """A folder with a recipe and data that are right, for a test to break in one way."""
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(model=tiny_base))
    write_rows(tmp_path / "pairs.jsonl", pairs(3))
    return tmp_path


def refused(place: Path, *arguments: str | Path) -> str:
    before = everything_in(place)
    done = forked(*arguments, cwd=place)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert everything_in(place) == before
    return paragraph(done)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_missing_recipe(place: Path) -> None:
    assert "nothing.yaml: no such file" in refused(place, "align", "nothing.yaml")


def test_missing_charter(place: Path) -> None:
    edit(place / "recipe.yaml", "suites: []", "suites: []\ncharter: nothing.yaml")
    assert "nothing.yaml: no such file" in refused(place, "align", "recipe.yaml")


def test_missing_data(place: Path) -> None:
    (place / "pairs.jsonl").unlink()
    assert "pairs.jsonl: no such file" in refused(place, "align", "recipe.yaml")


def test_malformed_yaml(place: Path) -> None:
    edit(place / "recipe.yaml", "suites: []", "suites: [")
    assert "recipe.yaml, line " in refused(place, "align", "recipe.yaml")


def test_unknown_key(place: Path) -> None:
    edit(place / "recipe.yaml", "  - method: sft", "  - method: sft\n    epoch: 3")
    said = refused(place, "align", "recipe.yaml")
    assert "recipe.yaml, line 9" in said
    assert 'Did you mean "epochs"?' in said


def test_empty_dataset(place: Path) -> None:
    (place / "pairs.jsonl").write_text("\n")
    assert "pairs.jsonl: holds no rows" in refused(place, "align", "recipe.yaml")


def test_row_without_chosen(place: Path) -> None:
    write_rows(place / "pairs.jsonl", [*pairs(2), {"prompt": "Hi", "rejected": "No."}])
    said = refused(place, "align", "recipe.yaml")
    assert "pairs.jsonl, line 3" in said
    assert '"chosen"' in said


def test_template_that_cannot_be_masked(place: Path, tiny_base: Path) -> None:
    from tiny import CHATML, byte_tokenizer

    shutil.copytree(tiny_base, place / "model")
    # The answer is written before the question: no prefix of it is the prompt.
    byte_tokenizer(
        "{% for m in messages|reverse %}" + CHATML.split("%}", 1)[1], eos_token="<|im_end|>"
    ).save_pretrained(place / "model")
    (place / "recipe.yaml").write_text(RECIPE.format(model="./model"))
    assert "cannot be masked" in refused(place, "align", "recipe.yaml")


@pytest.mark.parametrize("name", ["./nowhere", "./pairs.jsonl", "./folder"])
def test_model_that_is_none(place: Path, name: str) -> None:
    (place / "folder").mkdir()
    (place / "recipe.yaml").write_text(RECIPE.format(model=name))
    said = refused(place, "align", "recipe.yaml")
    assert name in said
    assert "model" in said


def test_model_folder_with_broken_weights(place: Path, tiny_base: Path) -> None:
    shutil.copytree(tiny_base, place / "model")
    (place / "model" / "model.safetensors").write_bytes(b"these are no tensors")
    done = forked("logprobs", "--model", "./model", "--in", write_answers(place), "--out", "out.jsonl", cwd=place)
    assert done.returncode == 2, done.stderr
    assert "./model" in paragraph(done)
    assert not (place / "out.jsonl").exists()


def write_answers(place: Path) -> Path:
    return write_rows(place / "answers.jsonl", [{"id": 1, "prompt": "Hi", "completion": "Yes?"}])


@pytest.mark.parametrize("arguments", [["align", "recipe.yaml"], ["train", "sft", "--data", "pairs.jsonl"]])
def test_unwritable_run_folder(place: Path, tiny_base: Path, arguments: list[str]) -> None:
    (place / "file").write_text("")
    model = ["--model", str(tiny_base)] if arguments[0] == "train" else []
    assert "file/run: the run folder cannot be written" in refused(place, *arguments, *model, "--out", "file/run")


def test_unwritable_output_is_found_before_the_work(place: Path, tiny_base: Path) -> None:
    (place / "file").write_text("")
    said = refused(place, "logprobs", "--model", tiny_base, "--in", write_answers(place), "--out", "file/out.jsonl")
    assert "file" in said


def test_unwritable_charter(place: Path) -> None:
    (place / "file").write_text("")
    assert "file/charter.yaml" in refused(place, "init", "file/charter.yaml")


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_train_says_the_same(place: Path, tiny_base: Path, method: str) -> None:
    (place / "bad.yaml").write_text("epochs: 1\nlearning_rat: 0.1\n")
    with_model = ["train", method, "--model", tiny_base, "--out", "run"]
    assert "no such file" in refused(place, *with_model, "--data", "nothing.jsonl")
    assert "bad.yaml, line 2" in refused(place, *with_model, "--data", "pairs.jsonl", "--config", "bad.yaml")
    assert "./nowhere" in refused(
        place, "train", method, "--model", "./nowhere", "--data", "pairs.jsonl", "--out", "run"
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte. Root only; the limit on file sizes below is the other way."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = os.geteuid() == 0 and shutil.which("mount") is not None
    if made:
        made = (
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], capture_output=True).returncode == 0
        )
    if not made:
        pytest.skip("a small file system can be mounted by root only")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("room", [80_000, 200_000], ids=["to begin", "for a checkpoint"])
def test_full_disk_and_the_same_command_once_there_is_room(
    place: Path, tiny_base: Path, small_disk: Path, room: int
) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * (2**20 - room))
    arguments = ["train", "sft", "--model", tiny_base, "--data", "pairs.jsonl", "--out", small_disk / "run"]
    done = charter(*arguments, cwd=place)
    assert done.returncode == 2, done.stderr
    assert "disk is full" in paragraph(done)
    assert not (small_disk / "run" / "model").exists()
    filler.unlink()
    again = charter(*arguments, cwd=place)
    assert again.returncode == 0, again.stderr
    assert (small_disk / "run" / "model" / "adapter_config.json").exists()


@pytest.mark.slow
def test_full_disk_in_the_middle_of_a_recipe(place: Path, small_disk: Path) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * (2**20 - 60_000))
    done = charter("align", "recipe.yaml", "--out", small_disk / "run", cwd=place)
    assert done.returncode == 2, done.stderr
    assert "disk is full" in paragraph(done)
    filler.unlink()
    again = charter("align", "recipe.yaml", "--out", small_disk / "run", cwd=place)
    assert again.returncode == 3, again.stderr  # no suites, so nothing was gated
    assert (small_disk / "run" / "report.html").exists()


def test_full_disk_while_writing_rows(place: Path, tiny_base: Path, small_disk: Path) -> None:
    (small_disk / "out.jsonl").write_text("old")
    with contextlib.suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(b"x" * 512)
    rows = write_answers(place)
    done = charter("logprobs", "--model", tiny_base, "--in", rows, "--out", small_disk / "out.jsonl", cwd=place)
    assert done.returncode == 2, done.stderr
    assert "out.jsonl" in paragraph(done)
    assert sorted(os.listdir(small_disk)) == ["filler", "out.jsonl"]
    assert (small_disk / "out.jsonl").read_text() == "old"


def test_a_limit_on_file_sizes_is_a_full_disk_too(place: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    done = subprocess.run(
        [*COMMAND, "init", "charter.yaml"],
        cwd=place, capture_output=True, text=True, env=ENVIRONMENT, check=False, preexec_fn=limit,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "charter.yaml" in paragraph(done)
    assert not (place / "charter.yaml").exists()
    assert not list(place.glob(".charter*"))


def test_standard_output_that_is_full() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "--help"], stdout=full, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, check=False
        )
    assert done.returncode == 2
    assert "disk is full" in paragraph(done)


def test_an_unknown_option_or_verb_is_two() -> None:
    for arguments in (["align", "recipe.yaml", "--no-such-option"], ["no-such-verb"], ["train", "sft"]):
        done = charter(*arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


def test_a_defect_is_four_with_its_traceback(place: Path) -> None:
    """An install that lost a module: the import of the pipeline fails where nobody expects it."""
    code = textwrap.dedent(
        """\
        import sys
        sys.modules["charter.recipes.pipeline"] = None
        sys.argv = ["charter", "align", "recipe.yaml"]
        from charter.cli.main import run
        run()
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=place, capture_output=True, text=True, env=ENVIRONMENT, check=False
    )
    assert done.returncode == 4
    assert "Traceback" in done.stderr
    assert "defect in charter" in done.stderr
