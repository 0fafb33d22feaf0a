"""Completions kept by content: keys, files that a kill cannot spoil, and models that are told apart."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from charter.models.completions import CompletionCache, completion_cache, completion_key
from charter.records import Completion, Sampling, user_prompt

ASKED, GREEDY = user_prompt("Hi"), Sampling(max_tokens=8)
SAID = [Completion("Hello\n\u2028there", (5, 6), -1.5, (-1.0, -0.5), "length")]


def test_what_was_said_comes_back_whole_in_another_process(tmp_path: Path) -> None:
    cache = CompletionCache(tmp_path / "c.jsonl")
    assert cache.get(ASKED, GREEDY) is None
    cache.put(ASKED, GREEDY, SAID)
    assert CompletionCache(cache.path).get(ASKED, GREEDY) == SAID
    cache.put(ASKED, GREEDY, [Completion("other")])
    assert CompletionCache(cache.path).get(ASKED, GREEDY) == SAID
    cache.put(user_prompt("x"), GREEDY, [Completion("", finish="error", error="down")])
    assert len(CompletionCache(cache.path)) == 1
    assert [json.loads(line)["key"] for line in cache.path.read_text().splitlines(keepends=False) if line] == [
        completion_key(ASKED, GREEDY)
    ]


def test_keys_are_of_prompt_and_sampling() -> None:
    same = completion_key(ASKED, GREEDY)
    assert completion_key(user_prompt("Hi"), Sampling(max_tokens=8, seed=9)) == same  # greedy: no seed
    others = [
        completion_key(user_prompt("Hi "), GREEDY),
        completion_key(user_prompt("Hi", system="s"), GREEDY),
        completion_key(ASKED, Sampling(max_tokens=9)),
        completion_key(ASKED, Sampling(max_tokens=8, stop=("x",))),
        completion_key(ASKED, Sampling(max_tokens=8, temperature=1.0)),
        completion_key(ASKED, Sampling(max_tokens=8, temperature=1.0, seed=1)),
        completion_key(ASKED, Sampling(max_tokens=8, temperature=1.0, n=2)),
    ]
    assert len({same, *others}) == len(others) + 1


def test_a_torn_line_costs_itself_alone(tmp_path: Path) -> None:
    cache = CompletionCache(tmp_path / "c.jsonl")
    cache.put(ASKED, GREEDY, SAID)
    with cache.path.open("ab") as file:
        file.write(b'{"key": "abc", "comple')  # a writer was killed here
    again = CompletionCache(cache.path)
    assert again.get(ASKED, GREEDY) == SAID
    again.put(user_prompt("next"), GREEDY, SAID)
    last = CompletionCache(cache.path)
    assert len(last) == 2
    assert last.get(user_prompt("next"), GREEDY) == SAID


def test_killed_writers_leave_a_file_that_reads(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    code = (
        "import sys, itertools\n"
        "from pathlib import Path\n"
        "from charter.models.completions import CompletionCache\n"
        "from charter.records import Completion, Sampling, user_prompt\n"
        "cache = CompletionCache(Path(sys.argv[1]))\n"
        "for i in itertools.count():\n"
        "    cache.put(user_prompt(f'{sys.argv[2]} {i}'), Sampling(), [Completion('word ' * 2000)])\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), str(i)]) for i in range(2)]
    deadline = time.monotonic() + 60
    while (not path.exists() or path.stat().st_size < 400_000) and time.monotonic() < deadline:
        time.sleep(0.02)
    for writer in writers:
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
    lines = [line for line in path.read_bytes().split(b"\n") if line]
    kept = CompletionCache(path)
    assert len(kept) >= len(lines) - 2
    # Whole lines but for those that were being written: the two never wrote into one another's.
    assert sum(len(line) < 10_000 for line in lines) <= 2
    kept.put(ASKED, GREEDY, SAID)
    assert CompletionCache(path).get(ASKED, GREEDY) == SAID


def test_threads_share_one_cache(tmp_path: Path) -> None:
    cache = CompletionCache(tmp_path / "c.jsonl")
    work = [
        threading.Thread(
            target=lambda k=k: [cache.put(user_prompt(f"{i % 30}"), GREEDY, SAID) for i in range(k, k + 60)]
        )
        for k in range(4)
    ]
    for one in work:
        one.start()
    for one in work:
        one.join()
    assert len(CompletionCache(cache.path)) == 30
    assert len(cache.path.read_text().splitlines()) == 30 or "\u2028" in cache.path.read_text()


def test_other_weights_or_another_template_are_another_model(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    from tiny import tiny_folder

    monkeypatch.setenv("CHARTER_CACHE", str(tmp_path / "cache"))
    first = completion_cache(str(tiny_base))
    assert first is not None
    copy = tmp_path / "copy"
    shutil.copytree(tiny_base, copy)
    same = completion_cache(str(copy))
    assert same is not None
    assert same.path == first.path  # by content, wherever it lies
    (copy / "chat_template.jinja").write_text("{{ messages }}")
    retold = completion_cache(str(copy))
    other = completion_cache(str(tiny_folder(tmp_path / "other", seed=1)))
    assert retold is not None
    assert other is not None
    assert len({first.path, retold.path, other.path}) == 3
    assert completion_cache("openai:http://127.0.0.1:1/v1#m") is None
    assert completion_cache("someone/on-the-hub") is None
