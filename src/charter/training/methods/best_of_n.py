"""Best-of-n sampling, and fine-tuning on what it finds: rejection sampling as in Llama 2 and RAFT.

Of each prompt n completions are sampled from the model as the run finds it; the one with the highest reward becomes a
demonstration, and the model is fine-tuned on those. Stiennon et al. 2020 (arXiv 2009.01325) for best-of-n; Touvron et
al. 2023 (arXiv 2307.09288), section 3.2.3; Dong et al. 2023 (arXiv 2304.06767).
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from charter.errors import UserError
from charter.ports import Observer, Reward
from charter.progress import Bar
from charter.records import Demonstration, Prompt, as_row, read_jsonl, write_jsonl, write_text
from charter.stats.overoptimization import best_of_n_kl
from charter.training.layout import Group
from charter.training.loop import train
from charter.training.methods.base import Method, Trained, finish, need_rows
from charter.training.methods.likelihood import SftObjective
from charter.training.metrics import resumed_file
from charter.training.observing import observation
from charter.training.policy import trainable_policy
from charter.training.rollouts import Rollout, Rollouts, RolloutSettings, usable_prompts
from charter.training.rows import PromptIds
from charter.training.source import in_turn, steps_per_epoch

BEST = "best.jsonl"
SUMMARY = "best_of_n.json"


class BestOfNSettings(RolloutSettings):
    """Best-of-n sampling and fine-tuning on the best."""

    method: Literal["best_of_n"] = "best_of_n"
    samples: int = Field(8, ge=2, description="Completions sampled of each prompt: n.")
    min_reward: float | None = Field(
        None, description="Prompts whose best completion scores less are dropped (counted); null keeps all."
    )


@dataclass(frozen=True)
class Best:
    """The best completion of a prompt, or why there is none.

    tokens: as sampled.  scored: how many samples had a reward.  mean: their mean reward.
    """

    key: str
    completion: str = ""
    tokens: tuple[int, ...] = ()
    finished: bool = True
    reward: float | None = None
    mean: float | None = None
    scored: int = 0
    unscored: str | None = None


def best_of(rollout: Rollout) -> Best:
    """The sample with the highest reward, the first of equals."""
    known = [(sample, sample.reward) for sample in rollout.samples if sample.reward is not None]
    if not known:
        return Best(rollout.key, unscored=rollout.samples[-1].unscored)
    best, reward = max(known, key=lambda one: one[1])
    mean = statistics.fmean(value for _, value in known)
    return Best(rollout.key, best.text, best.tokens, best.finished, reward, mean, len(known))


def sample_best(rollouts: Rollouts, settings: BestOfNSettings, folder: Path, identity: str) -> list[Best]:
    """The best of every prompt, in the order sampled; kept in `folder/best.jsonl` batch by batch, and gone on with.

    Raises UserError when other prompts, rewards, weights or settings of sampling made what is there.
    """
    fields = {"seed", "batch_size", "samples", "sample_tokens", "temperature", "missing_eos_penalty"}
    how = settings.model_dump_json(include=fields | {"missing_eos_reward"})
    digest = hashlib.sha256(f"{identity} {rollouts.digest()} {how}".encode()).hexdigest()
    mark = folder / "sampling.json"
    if mark.exists() and json.loads(mark.read_text())["digest"] != digest:
        raise UserError(
            f"{folder}: the samples there were made with other data or settings. Continue with what made them, or "
            "choose another run folder, or remove that folder to start anew."
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_text(mark, json.dumps({"digest": digest}))
    batches = steps_per_epoch(len(rollouts.prompts), settings)
    sizes = [len(in_turn(rollouts.prompts, settings, batch)) for batch in range(batches)]
    done = _whole_batches(folder / BEST, sizes)
    with resumed_file(folder / BEST, done) as file, Bar("best of n", batches, "batches") as bar:
        bar.update(done)
        for batch in range(done, batches):
            found, _ = rollouts.draw(batch)
            for rollout in found:
                file.write(json.dumps({"step": batch + 1, **as_row(best_of(rollout))}, ensure_ascii=False) + "\n")
            file.flush()
            bar.update(batch + 1)
    rows = (row for _, row in read_jsonl(folder / BEST))
    return [_read(row) for row in rows]


def _read(row: Mapping[str, Any]) -> Best:
    values = {name: value for name, value in row.items() if name != "step"}
    return Best(**{**values, "tokens": tuple(row["tokens"])})


def _whole_batches(path: Path, sizes: Sequence[int]) -> int:
    """How many batches from the first on have all their lines; a kill can leave half of one, and half a line."""
    if not path.exists():
        return 0
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1].splitlines()
    lines = Counter(json.loads(line)["step"] for line in whole)
    return next((batch for batch, size in enumerate(sizes) if lines[batch + 1] != size), len(sizes))


def kept(found: Sequence[Best], min_reward: float | None) -> tuple[list[Best], Counter[str]]:
    """(what is trained on, dropped by reason)."""
    dropped: Counter[str] = Counter()
    good = []
    for one in found:
        if one.reward is None:
            dropped["no sample got a reward"] += 1
        elif min_reward is not None and one.reward < min_reward:
            dropped[f"best reward below {min_reward}"] += 1
        else:
            good.append(one)
    return good, dropped


def summary(found: Sequence[Best], n: int) -> dict[str, Any]:
    """What best-of-n gained and how far it went from the model.

    kl_bound: log n - (n - 1) / n nats, at most KL(best-of-n || model) and equal to it where no two samples are alike;
    with fewer scored samples, of as many; mean over prompts.  Beirami et al. 2024 (arXiv 2401.01879).
    """
    known = [one for one in found if one.reward is not None]
    result: dict[str, Any] = {"n": n, "prompts": len(found), "unscored_prompts": len(found) - len(known)}
    if known:
        result |= {
            "reward": statistics.fmean(one.mean or 0.0 for one in known),
            "best_reward": statistics.fmean(one.reward or 0.0 for one in known),
            "kl_bound": statistics.fmean(best_of_n_kl(one.scored) for one in known),
        }
    return result


def demonstrations(found: Sequence[Best], prompts: Mapping[str, PromptIds]) -> list[Demonstration]:
    """The best completions as rows to imitate; one that was cut is a beginning."""
    return [
        Demonstration(one.key, prompts[one.key].prompt, one.completion, source="best_of_n", finished=one.finished)
        for one in found
    ]


def train_best_of_n(
    model: str,
    rows: Sequence[Prompt],
    settings: BestOfNSettings,
    folder: Path,
    reward: Reward,
    *,
    observer: Observer | None = None,
) -> Trained:
    """Sample, choose by `reward`, and fine-tune `model` on the best; the result is `folder/model`.

    `folder/demonstrations.jsonl` holds the best as demonstrations, `folder/best_of_n.json` what they gained. Raises
    UserError when no prompt can be used or none is left, or under torchrun.
    """
    title = "best of n"
    policy = trainable_policy(model, settings.lora, settings.seed)
    prompts, dropped = usable_prompts(policy, rows, settings, title)
    rollouts = Rollouts(policy, prompts, reward, settings, folder)
    found = sample_best(rollouts, settings, folder, policy.digest)
    write_text(folder / SUMMARY, json.dumps(summary(found, settings.samples), indent=1))
    good, why = kept(found, settings.min_reward)
    dropped += why
    by_key = {one.key: one for one in prompts}
    write_jsonl(folder / "demonstrations.jsonl", [as_row(one) for one in demonstrations(good, by_key)])
    groups = [Group(one.key, by_key[one.key].ids, (one.tokens,)) for one in good]
    need_rows(groups, rows, dropped, title)
    objective = SftObjective({one.key: 1.0 for one in good})
    looks = observation(policy, observer, folder, settings.max_tokens)
    result = train(
        policy.model, objective, groups, settings, folder, title=title, identity=policy.digest, observation=looks
    )
    return finish(policy, folder, len(groups), dropped, result)


METHOD = Method(BestOfNSettings, train_best_of_n)
