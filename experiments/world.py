"""A small world in which the truth is known: a language of 32 words, a gold reward, models that speak the language.

The gold reward is a fixed random network on pairs of neighbouring words plus a term for length, in units of its
standard deviation over what the reference model says, whose mean is 0. Where the language does not live, nothing holds
it to what a proxy has learned; and a completion of more than 8 words is too long, which few of the reference's are.
The reference is a Llama with random weights after SFT on sentences of the language.

Everything follows from seeds; models are fp32 also where the processor has bf16, so that a KL is not rounding.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

if Path(sys.argv[0]).resolve().parent == Path(__file__).resolve().parent:
    # A script here runs. Read when torch is loaded: without native bf16 models are fp32.
    os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")

import gc
import json
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from charter.records import Demonstration, Exchange, Preference, Prompt, Rewarded, Sampling, user_prompt, write_text

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs" / "experiments"
WORDS = [first + second for first in "bdfklmst" for second in ("a", "e", "i", "o")]
PLACES = {word: i for i, word in enumerate(WORDS)}
SPECIAL = ("<pad>", "<unk>", "<user>", "<assistant>", "<end>")
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}> {{ m.content }} <end> {% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)
LONGEST = 16
"""Words at which a completion is cut."""
NEGATIONS = ("ko", "ki")
BEST_LENGTH, LENGTH_SPREAD, LENGTH_WEIGHT = 8, 4.0, 0.6


@dataclass(frozen=True)
class Size:
    """Sizes of a Llama."""

    hidden: int
    layers: int
    heads: int = 4


POLICY = Size(64, 1)


@dataclass(frozen=True)
class World:
    """A language and what is good in it, drawn from a seed.

    reward: "gold", the network; or "sentiment", the chance that a completion is positive: words have values, two of
    them turn the value of the next one round.
    """

    seed: int = 0
    reward: Literal["gold", "sentiment"] = "gold"
    sharpness: float = 1.6
    width: int = 48
    embedding: int = 12

    @cached_property
    def follows(self) -> list[list[float]]:
        """Chance of each word after each word."""
        drawn = random.Random(self.seed)
        rows = [[math.exp(self.sharpness * drawn.gauss(0, 1)) for _ in WORDS] for _ in WORDS]
        return [[weight / sum(row) for weight in row] for row in rows]

    def sentence(self, drawn: random.Random, before: str) -> str:
        """What is said after a word: 2 words at least, then with a chance of 1/4 no further one."""
        said: list[str] = []
        while len(said) < LONGEST - 1 and (len(said) < 2 or drawn.random() > 1 / 4):
            (word,) = drawn.choices(WORDS, self.follows[WORDS.index(said[-1] if said else before)])
            said.append(word)
        return " ".join(said)

    def prompts(self, count: int, seed: int) -> list[Prompt]:
        """Requests of three words; one may come twice, under another id: runs on prompts then take it once."""
        drawn = random.Random(f"prompts {seed}")
        return [Prompt(f"{seed}-{i:05}", user_prompt(" ".join(drawn.choices(WORDS, k=3)))) for i in range(count)]

    def demonstrations(self, count: int, seed: int) -> list[Demonstration]:
        """Sentences of the language to imitate."""
        drawn = random.Random(f"said {seed}")
        return [
            Demonstration(one.id, one.prompt, self.sentence(drawn, said_of(one)[-1]))
            for one in self.prompts(count, seed)
        ]

    @cached_property
    def _network(self) -> tuple[Any, ...]:
        import torch

        draw = torch.Generator().manual_seed(self.seed + 1)

        def normal(*shape: int) -> Any:
            return torch.randn(*shape, generator=draw, dtype=torch.float64)

        table = torch.cat([normal(len(WORDS), self.embedding), torch.zeros(1, self.embedding, dtype=torch.float64)])
        first, second = (normal(self.embedding, self.width) / math.sqrt(self.embedding) for _ in "ab")
        return table, first, second, normal(self.width, self.width) / math.sqrt(self.width), normal(self.width)

    def sentiment(self, rows: Sequence[Exchange]) -> list[float]:
        """The chance that a completion is positive: logistic in its words' values over the root of their number."""
        drawn = random.Random(f"values {self.seed}")
        values = {word: drawn.gauss(0, 1) for word in WORDS}
        found = []
        for row in rows:
            said = [word for word in row.completion.split() if word in PLACES]
            total = sum(
                -values[word] if before in NEGATIONS else values[word]
                for before, word in zip(["", *said], said, strict=False)
                if word not in NEGATIONS
            )
            found.append(1 / (1 + math.exp(-2 * total / math.sqrt(max(len(said), 1)))))
        return found

    def raw_gold(self, rows: Sequence[Exchange]) -> list[float]:
        """The gold reward before it is brought to units of the reference's: a network of pairs of words, and length."""
        import torch

        table, first, second, mix, out = self._network
        said = [
            [PLACES[word] for word in (said_of(row)[-1], *row.completion.split()) if word in PLACES] for row in rows
        ]
        longest = max(map(len, said))
        ids_RL = torch.tensor([words + [len(WORDS)] * (longest - len(words)) for words in said])
        words_RLe = table[ids_RL]
        pairs_RLw = torch.tanh(1.5 * (words_RLe[:, :-1] @ first + words_RLe[:, 1:] @ second))
        length_R = torch.tensor([len(words) - 1 for words in said])
        real_RL1 = (ids_RL[:, 1:, None] < len(WORDS)).double()
        mean_Rw = (pairs_RLw * real_RL1).sum(1) / length_R.clamp(min=1)[:, None]
        value_R = torch.tanh(3 * (mean_Rw @ mix)) @ out / math.sqrt(self.width)
        value_R -= LENGTH_WEIGHT * ((length_R - BEST_LENGTH) / LENGTH_SPREAD) ** 2
        return [float(value) for value in value_R]


def said_of(row: Prompt | Exchange | Demonstration) -> list[str]:
    """The words of a request."""
    return row.prompt[-1].content.split()


def words_tokenizer() -> Any:
    """A token a word, and the special ones."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate((*SPECIAL, *WORDS))}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>", eos_token="<end>",
        additional_special_tokens=["<user>", "<assistant>"],
    )  # fmt: skip
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def blank_model(folder: Path, size: Size, seed: int) -> Path:
    """The folder of a Llama with random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    if (folder / "config.json").exists():
        return folder
    tokenizer = words_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=size.hidden, intermediate_size=2 * size.hidden,
        num_hidden_layers=size.layers, num_attention_heads=size.heads, num_key_value_heads=size.heads,
        max_position_embeddings=128, tie_word_embeddings=False, pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(seed)
    tokenizer.save_pretrained(folder)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class Lab:
    """A world with its reference model, and where what was made is kept: an interrupted experiment continues.

    folder: holds the models of one world; nothing in it depends on which experiment made it.
    """

    folder: Path
    world: World = World()

    @cached_property
    def reference(self) -> str:
        """The folder of the model that every run starts from, and that its KL is measured to."""
        from charter.training.methods.sft import SftSettings, train_sft

        how = SftSettings(
            lora=None,
            batch_size=128,
            epochs=2,
            learning_rate=3e-3,
            row_tokens=4096,
            save_every=10**6,
            seed=self.world.seed,
        )
        model = self.folder / "reference" / "model"
        if not model.exists():
            base = blank_model(self.folder / "blank", POLICY, self.world.seed)
            train_sft(str(base), self.world.demonstrations(DEMONSTRATIONS, 1), how, self.folder / "reference")
        return str(model)

    @cached_property
    def units(self) -> tuple[float, float]:
        """Mean and standard deviation of the raw gold reward over what the reference says."""
        import statistics

        def work() -> dict[str, float]:
            raw = self.world.raw_gold(
                [one for own in sampled(self.reference, self.world.prompts(1000, 2), 2, 2) for one in own]
            )
            return {"mean": statistics.fmean(raw), "std": statistics.stdev(raw)}

        found = kept(self.folder / "units.json", work)
        return found["mean"], found["std"]

    def gold(self, rows: Sequence[Exchange]) -> list[float]:
        """The truth: the gold reward in units of its standard deviation over what the reference says, whose mean is 0;
        or the sentiment as it is.
        """
        if self.world.reward == "sentiment":
            return self.world.sentiment(rows)
        mean, std = self.units
        return [(value - mean) / std for value in self.world.raw_gold(rows)]

    def preferences(self, count: int, seed: int) -> list[Preference]:
        """Pairs of what the reference says; the label is drawn by Bradley and Terry's model from the gold rewards, or
        goes to the more positive one.
        """

        def work() -> dict[str, Any]:
            prompts = self.world.prompts(count, seed)
            pairs = sampled(self.reference, prompts, 2, seed)
            flat = self.gold([one for own in pairs for one in own])
            drawn = random.Random(f"labels {seed}")
            found = []
            for prompt, (one, other), first, second in zip(prompts, pairs, flat[::2], flat[1::2], strict=True):
                chance = 1 / (1 + math.exp(SURENESS * (second - first)))
                better = first > second if self.world.reward == "sentiment" else drawn.random() < chance
                chosen, rejected = (one, other) if better else (other, one)
                found.append([prompt.id, said_of(prompt), chosen.completion, rejected.completion])
            return {"pairs": found}

        file = self.folder / f"pairs-{self.world.reward}-{count}-{seed}.json"
        return [
            Preference(key, user_prompt(" ".join(asked)), chosen, rejected)
            for key, asked, chosen, rejected in kept(file, work)["pairs"]
        ]

    def pool(self, count: int, n: int, seed: int) -> list[list[Exchange]]:
        """n completions by the reference of each of `count` requests."""

        def work() -> dict[str, Any]:
            said = sampled(self.reference, self.world.prompts(count, seed), n, seed)
            return {"said": [[one.completion for one in own] for own in said]}

        found = kept(self.folder / f"pool-{count}-{n}-{seed}.json", work)["said"]
        return [
            [Exchange(f"{prompt.id}/{i}", prompt.prompt, text) for i, text in enumerate(own)]
            for prompt, own in zip(self.world.prompts(count, seed), found, strict=True)
        ]

    def proxy(self, size: Size, pairs: Sequence[Preference], name: str, seed: int = 0) -> str:
        """The folder of a reward model that was trained on these pairs from random weights."""
        from charter.training.methods.reward import RewardSettings, train_reward

        folder = self.folder / "proxies" / name
        if not (folder / "model").exists():
            base = blank_model(self.folder / "blank proxies" / f"{size.hidden}x{size.layers}-{seed}", size, seed)
            epochs = max(2, math.ceil(PAIRS_SEEN / len(pairs)))
            how = RewardSettings(
                lora=None, batch_size=128, epochs=epochs, learning_rate=4e-3, row_tokens=4096, weight_decay=0.01,
                save_every=10**6, seed=seed,
            )  # fmt: skip
            train_reward(str(base), pairs, how, folder)
        return str(folder / "model")


DEMONSTRATIONS = 5000
"""Sentences that the reference learns from."""
SURENESS = 1.5
"""How sure labels are: log-odds per unit of gold reward."""
PAIRS_SEEN = 9600
"""Pairs that a proxy is trained on, repeats counted: at least two passes over them."""


@dataclass(frozen=True)
class Truth:
    """The gold reward as a Reward."""

    lab: Lab
    name: str = "gold"

    def reward(self, rows: Sequence[Exchange], progress: Any = None) -> list[Rewarded]:  # noqa: ARG002
        """One per row."""
        return [Rewarded(row.id, value) for row, value in zip(rows, self.lab.gold(rows), strict=True)]


def sampled(model: str, prompts: Sequence[Prompt], n: int, seed: int) -> list[list[Exchange]]:
    """n completions of each prompt."""
    from charter.models.generation.local import LocalTextModel
    from charter.models.loading import load_model

    speaker = LocalTextModel(load_model(model), max_rows=256)
    answers = speaker.generate([one.prompt for one in prompts], Sampling(LONGEST, 1.0, n=n, seed=seed))
    return [
        [Exchange(f"{prompt.id}/{i}", prompt.prompt, answer.text) for i, answer in enumerate(own)]
        for prompt, own in zip(prompts, answers, strict=True)
    ]


def kept(file: Path, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `work` gave when it was done, now or by an earlier process."""
    if not file.exists():
        found = work()
        gc.collect()
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(found, indent=1))
    read: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return read


def spent(file: Path) -> Callable[[], float]:
    """A clock of processor seconds: of this process and of earlier ones that were cut off; kept when it is read."""
    before = float(file.read_text()) if file.exists() else 0.0

    def read() -> float:
        total = before + time.process_time()
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, str(total))
        return total

    return read


def tell(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)
