"""`train_distill` and SFT near its base on real (tiny) model folders: learning, prompts, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from test_divergence import dense_kl, dense_logits
from tiny import CHATML, byte_tokenizer, metrics, tiny_folder

from charter.errors import UserError
from charter.models.loading import load_model
from charter.models.lora import LoraSettings
from charter.models.template import chat_format
from charter.recipes.single import train_single
from charter.records import Conversation, Demonstration, Message, read_jsonl, user_prompt
from charter.training.divergence import Comparison
from charter.training.layout import Group
from charter.training.methods import DistillSettings, SftSettings, train_distill, train_sft

LORA = LoraSettings(r=4, alpha=8)
ROWS = [Demonstration(f"d{i}", user_prompt(f"Say {i}."), f"It is {i}, {'so ' * (i % 3)}there.") for i in range(8)]


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("student") / "model", initializer_range=0.2)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wider and deeper, with padding at the end of its output table, as larger models of a family have."""
    folder = tiny_folder(
        tmp_path_factory.mktemp("teacher") / "model",
        seed=3,
        hidden_size=48,
        num_hidden_layers=4,
        vocab_size=len(byte_tokenizer(eos_token="<|im_end|>")) + 20,
        initializer_range=0.2,
    )
    return folder


def distill(student: Path, teacher: Path, run: Path, rows: Any = ROWS, prompt: Any = None, **options: Any) -> Any:
    how = DistillSettings.model_validate({"teacher": str(teacher), "batch_size": 4, **options})
    return train_distill(str(student), rows, how, run, *([prompt] if prompt else []))


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("lora", [None, LORA])
def test_the_student_comes_nearer_to_the_teacher(
    student: Path, teacher: Path, tmp_path: Path, lora: LoraSettings | None, direction: str
) -> None:
    rate = 1e-2 if lora else 3e-3
    done = distill(student, teacher, tmp_path, epochs=10, learning_rate=rate, lora=lora, direction=direction)
    seen = metrics(tmp_path)
    assert (done.rows, done.result.steps, len(seen)) == (8, 20, 20)
    assert seen[-1]["kl"] < 0.8 * seen[0]["kl"]
    assert seen[0]["loss"] == pytest.approx(seen[0]["kl"])
    assert (done.model / "config.json").exists() == (lora is None)


def instructed(row: Demonstration) -> Conversation:
    return (Message("system", "Answer as a pirate."), *row.prompt)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_teacher_answers_its_own_prompt(student: Path, teacher: Path, tmp_path: Path, temperature: float) -> None:
    how = {"batch_size": 8, "top_k": 20, "temperature": temperature, "lora": LORA, "nll_weight": 0.25}
    distill(student, teacher, tmp_path / "run", prompt=instructed, **how)
    models = [load_model(str(name)) for name in (student, teacher)]
    format_ = chat_format(models[0].tokenizer)
    answers = {r.id: format_.completion_ids(r.prompt, r.completion) for r in ROWS}
    asked = [[Group(r.id, format_.prompt_ids(of(r)), (answers[r.id],)) for r in ROWS] for of in (_plain, instructed)]
    with torch.no_grad():
        policy, reference = (dense_logits(m.model, groups).float() for m, groups in zip(models, asked, strict=True))
    nll = -policy.log_softmax(1).gather(1, torch.tensor([t for r in ROWS for t in answers[r.id]])[:, None]).mean()
    kl = dense_kl(policy, reference[:, : policy.shape[1]], Comparison("forward", temperature), 20).mean()
    (first,) = metrics(tmp_path / "run")
    # The folders load as bf16 where the processor has it.
    assert first["kl"] == pytest.approx(kl.item(), rel=0.03)
    assert first["loss"] == pytest.approx((temperature**2 * kl + 0.25 * nll).item(), rel=0.03)


def _plain(row: Demonstration) -> Conversation:
    return row.prompt


def test_a_model_distilled_into_itself_has_nothing_to_learn_until_it_is_asked_otherwise(
    student: Path, tmp_path: Path
) -> None:
    distill(student, student, tmp_path / "same", lora=LORA)
    distill(student, student, tmp_path / "context", lora=LORA, prompt=instructed)
    assert metrics(tmp_path / "same")[0]["kl"] == pytest.approx(0, abs=2e-3)
    assert metrics(tmp_path / "context")[0]["kl"] > 0.01


def test_the_teachers_own_answers_are_sampled_once_and_kept(student: Path, teacher: Path, tmp_path: Path) -> None:
    empty = [Demonstration(r.id, r.prompt, "") for r in ROWS]
    how = {"completions": "teacher", "sample_tokens": 12, "lora": LORA}
    done = distill(student, teacher, tmp_path, rows=empty, **how)
    (answers,) = (tmp_path / "teacher").glob("answers-*.jsonl")
    said = [row for _, row in read_jsonl(answers)]
    assert [row["id"] for row in said] == [r.id for r in ROWS]
    assert done.rows + sum(done.dropped.values()) == 8
    assert len({row["text"] for row in said}) > 1
    before = sorted(p.stat().st_mtime_ns for p in (tmp_path / "teacher").iterdir())
    distill(student, teacher, tmp_path, rows=empty, **how)
    assert sorted(p.stat().st_mtime_ns for p in (tmp_path / "teacher").iterdir()) == before


def test_a_resumed_run_needs_the_teacher_no_more(
    student: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import charter.training.teacher as module

    distill(student, teacher, tmp_path, lora=LORA)
    monkeypatch.setattr(module, "load_model", lambda *_: pytest.fail("the teacher was loaded again"))
    distill(student, teacher, tmp_path, lora=LORA)


def test_teachers_that_do_not_fit_are_refused(student: Path, tmp_path: Path) -> None:
    other = tiny_folder(tmp_path / "other")
    byte_tokenizer(special=("<|im_start|>", "<|im_end|>", "<|more|>"), eos_token="<|im_end|>").save_pretrained(other)
    with pytest.raises(UserError, match=r"does not share the student's vocabulary: .* tokens differ, such as"):
        distill(student, other, tmp_path / "a")
    swapped = CHATML.replace("<|im_end|>", "<|swap|>").replace("<|im_start|>", "<|im_end|>")
    byte_tokenizer(swapped.replace("<|swap|>", "<|im_start|>"), eos_token="<|im_end|>").save_pretrained(other)
    with pytest.raises(UserError, match="would not learn to stop"):
        distill(student, other, tmp_path / "b")
    with pytest.raises(UserError, match="is an endpoint"):
        distill(student, Path("openai:http:/x/v1#m"), tmp_path / "c")
    with pytest.raises(UserError, match="leave no others"):
        distill(student, student, tmp_path / "d", top_k=5000)
    with pytest.raises(UserError, match=r"no default: teacher\. .*`teacher: …`.*--config"):
        train_single("distill", str(student), str(data(tmp_path)), tmp_path / "e", None)


def data(folder: Path) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"Say {i}.", "completion": f"It is {i}."}) + "\n" for i in range(3)))
    return path


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        (DistillSettings, {"teacher": "x", "sample_tokens": 9}, "sample_tokens does nothing"),
        (DistillSettings, {"teacher": "x", "sample_temperature": 0}, "sample_temperature does nothing"),
        (SftSettings, {"kl_top_k": 9}, "kl_top_k does nothing"),
        (SftSettings, {"kl_direction": "reverse"}, "kl_direction does nothing"),
        (SftSettings, {"kl_weight": 0.1, "lora": None}, "kl_top_k is needed"),
    ],
)
def test_options_that_would_do_nothing_are_errors(kind: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        kind.model_validate(options)


@pytest.mark.parametrize("options", [{"lora": LORA}, {"lora": LORA, "kl_top_k": 20}, {"lora": None, "kl_top_k": 20}])
def test_sft_with_a_kl_weight_stays_nearer_to_the_base(student: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    how = {"epochs": 8, "batch_size": 4, "learning_rate": 1e-2 if options["lora"] else 1e-3, **options}
    seen = {}
    for weight in (0.01, 5.0):
        run = tmp_path / str(weight)
        train_sft(str(student), ROWS, SftSettings.model_validate({**how, "kl_weight": weight}), run)
        seen[weight] = metrics(run)
        assert seen[weight][0]["kl"] == pytest.approx(0, abs=2e-3)
        one = seen[weight][3]
        assert one["loss"] == pytest.approx(one["nll"] + weight * one["kl"], rel=1e-4)
    assert seen[5.0][-1]["kl"] < 0.5 * seen[0.01][-1]["kl"]
    assert seen[0.01][-1]["nll"] < seen[5.0][-1]["nll"]


def test_sft_on_an_adapter_stays_near_the_base_under_it(student: Path, tmp_path: Path) -> None:
    first = train_sft(str(student), ROWS, SftSettings(epochs=6, learning_rate=2e-2, lora=LORA), tmp_path / "first")
    kls = []
    for name, top_k in (("whole", None), ("kept", 40)):
        how = SftSettings(kl_weight=1.0, kl_top_k=top_k, lora=LORA, batch_size=8)
        train_sft(str(first.model), ROWS, how, tmp_path / name)
        kls.append(metrics(tmp_path / name)[0]["kl"])
    assert min(kls) > 0.02
    assert kls[1] <= kls[0] * 1.03
    assert kls[1] > 0.5 * kls[0]
