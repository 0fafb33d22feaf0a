"""The server over real sockets, asked by the official client: what reaches the model, what reaches the client."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from layers import SECRET, Hangs, Raises, stack
from starlette.responses import JSONResponse
from upstreams import Model, Served, finish

from charter.server.app import Setup, build_app
from charter.server.audit import Audit, entries, forget, verify
from charter.server.guarding import Guarding
from charter.server.holdback import Pace
from charter.server.keys import add_key, read_keys
from charter.server.upstream import HttpUpstream

PACE = Pace(overlap=12, step=16, least=4)
ASK: list[Any] = [{"role": "user", "content": "Hi."}]
GO_ON = {"role": "user", "content": "Go on."}


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    found = Model()
    found.served = Served(found.app)  # type: ignore[attr-defined]
    yield found
    found.served.stop()  # type: ignore[attr-defined]


Start = Callable[..., openai.OpenAI]


@pytest.fixture
def start(model: Model, tmp_path: Path) -> Iterator[Start]:
    """A guard before the model, and the official client before the guard."""
    served: list[Served] = []
    clients: list[openai.OpenAI] = []

    def begin(*layers: Any, deadline: float = 5.0, key: str = "none", stall: float = 5.0, **more: Any) -> openai.OpenAI:
        upstream = HttpUpstream(model.served.url + "/v1", own_key=bool(more.get("keys")), stall_seconds=stall)  # type: ignore[attr-defined]
        guarding = Guarding(stack(*layers, deadline=deadline))
        app = build_app(Setup(upstream, guarding, pace=PACE, audit=Audit(tmp_path / "audit", keep_texts=True), **more))
        served.append(Served(app))
        clients.append(openai.OpenAI(base_url=served[-1].url + "/v1", api_key=key, max_retries=0))
        return clients[-1]

    model.says, model.pieces = "Hello.", []
    model.bodies.clear()
    model.headers.clear()
    yield begin
    for client in clients:
        client.close()
    for one in served:
        one.stop()


def url_of(client: openai.OpenAI) -> str:
    return str(client.base_url).removesuffix("/v1/")


def test_what_is_fine_passes_untouched_both_ways(start: Start, model: Model) -> None:
    client = start()
    raw = client.chat.completions.with_raw_response.create(
        model="m", messages=ASK, temperature=0.3, extra_body={"vendor_option": {"deep": [1]}}
    )
    sent = model.bodies[-1]
    assert sent == {"model": "m", "messages": ASK, "temperature": 0.3, "vendor_option": {"deep": [1]}}
    body = json.loads(raw.text)
    assert body["choices"][0]["message"]["content"] == "Hello."
    assert body["vendor"] == {"kept": True}
    assert body["choices"][0]["logprobs"]["content"][0]["token"] == "Hello."
    assert raw.headers["x-charter-verdict"] == "allow"
    assert "input/word=ran" in raw.headers["x-charter-layers"]
    assert "output/phone=ran" in raw.headers["x-charter-layers"]
    assert client.models.list().data[0].id == "m"
    assert client.embeddings.create(model="m", input="x", encoding_format="float").data[0].embedding == [1.0]


def test_a_stopped_prompt_never_reaches_the_model(start: Start, model: Model) -> None:
    client = start(refusals={"no-magic": "We do no magic here."})
    answer = client.chat.completions.create(model="m", messages=[{"role": "user", "content": f"Say {SECRET}."}])
    assert answer.choices[0].finish_reason == "content_filter"
    assert answer.choices[0].message.content == answer.choices[0].message.refusal == "We do no magic here."
    chunks = list(
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": SECRET}], stream=True)
    )
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "We do no magic here."
    assert chunks[-1].choices[0].finish_reason == "content_filter"
    text = client.completions.create(model="m", prompt=["fine", SECRET])
    assert (text.choices[0].finish_reason, text.choices[0].text) == ("content_filter", "We do no magic here.")
    assert model.bodies == []


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": SECRET}, {"role": "assistant", "content": "No."}, GO_ON],
        [*ASK, {"role": "assistant", "content": f"Sure, {SECRET}"}, GO_ON],
        [{"role": "user", "content": [{"type": "text", "text": "Hi. "}, {"type": "text", "text": SECRET}]}],
    ],
)  # fmt: skip
def test_every_turn_is_checked_not_the_last_alone(start: Start, model: Model, messages: Any) -> None:
    assert start().chat.completions.create(model="m", messages=messages).choices[0].finish_reason == "content_filter"
    assert model.bodies == []


def test_what_was_redacted_reaches_neither_side(start: Start, model: Model) -> None:
    client = start()
    model.says = "Call 555-1234."
    raw = client.chat.completions.with_raw_response.create(
        model="m", messages=[{"role": "user", "content": "I am at 555-9876."}], logprobs=True
    )
    assert model.bodies[-1]["messages"] == [{"role": "user", "content": "I am at [PHONE]."}]
    choice = json.loads(raw.text)["choices"][0]
    assert choice["message"]["content"] == "Call [PHONE]."
    assert choice["logprobs"] is None
    assert "555" not in raw.text
    client.completions.create(model="m", prompt=["a", "b 555-1111"])
    assert model.bodies[-1]["prompt"] == ["a", "b [PHONE]"]


def test_each_choice_and_every_text_in_it_is_checked(start: Start, model: Model) -> None:
    client = start()
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": json.dumps({"q": SECRET})}}
    model.says = [
        "Fine.",
        f"It is {SECRET}.",
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "assistant", "content": "Fine.", "reasoning_content": f"Hm, {SECRET}"},
        {"role": "assistant", "content": "Fine.", "reasoning_content": "Hm."},
    ]
    raw = client.chat.completions.with_raw_response.create(model="m", messages=ASK, n=5)
    answer = raw.parse()
    ends = [choice.finish_reason for choice in answer.choices]
    assert ends == ["stop", "content_filter", "content_filter", "content_filter", "stop"]
    assert SECRET not in raw.text
    assert json.loads(raw.text)["choices"][4]["message"]["reasoning_content"] == "Hm."


def said(client: openai.OpenAI, **more: Any) -> tuple[dict[int, str], dict[int, str | None]]:
    texts: dict[int, str] = {}
    ends: dict[int, str | None] = {}
    for chunk in client.chat.completions.create(model="m", messages=ASK, stream=True, **more):
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
            ends[choice.index] = choice.finish_reason or ends.get(choice.index)
    return texts, ends


def test_a_stream_goes_on_whole_or_ends_before_what_is_forbidden(start: Start, model: Model) -> None:
    client = start()
    text = "All is well. " * 5
    usage = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}
    model.pieces = [*text, finish("length"), usage]
    assert said(client) == ({0: text}, {0: "length"})
    for cut in range(1, len(SECRET)):
        model.pieces = ["All is well. ", "Then: ", SECRET[:cut], SECRET[cut:], " and more.", finish()]
        texts, ends = said(client)
        assert "All is well. Then: ".startswith(texts.get(0, ""))
        assert ends == {0: "content_filter"}
    model.pieces = ["Call 55", "5-12", "34 now, or 555-0000.", finish()]
    assert said(client) == ({0: "Call [PHONE] now, or [PHONE]."}, {0: "stop"})


def test_streams_of_several_choices_end_each_by_itself(start: Start, model: Model) -> None:
    def piece(index: int, text: str) -> dict[str, Any]:
        return {"choices": [{"index": index, "delta": {"content": text}, "finish_reason": None}]}

    model.pieces = [
        piece(0, "Fine so far, "), piece(1, f"Now {SECRET[:5]}"), piece(0, "and fine to the end."),
        piece(1, SECRET[5:] + " goes on for long"), finish(index=1), finish(index=0),
    ]  # fmt: skip
    texts, ends = said(start(), n=2)
    assert texts[0] == "Fine so far, and fine to the end."
    assert "xyzzy" not in texts.get(1, "")
    assert ends == {0: "stop", 1: "content_filter"}


@pytest.mark.parametrize("bad", [False, True])
def test_tool_calls_are_held_until_they_are_whole(start: Start, model: Model, bad: bool) -> None:
    def call(**part: Any) -> dict[str, Any]:
        return {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, **part}]}, "finish_reason": None}]}

    word = SECRET if bad else "harmless"
    arguments = [f'{{"q": "{word[:4]}', f'{word[4:]}"}}']
    model.pieces = [
        call(id="a", type="function", function={"name": "f", "arguments": ""}),
        *(call(function={"arguments": part}) for part in arguments),
        finish("tool_calls"),
    ]
    chunks = list(start().chat.completions.create(model="m", messages=ASK, stream=True))
    parts = [p for c in chunks for choice in c.choices for p in choice.delta.tool_calls or ()]
    assert chunks[-1].choices[0].finish_reason == ("content_filter" if bad else "tool_calls")
    told = "".join(p.function.arguments or "" for p in parts if p.function)
    assert told == ("" if bad else "".join(arguments))
    assert bad or parts[0].function.name == "f"  # type: ignore[union-attr]


def test_multibyte_characters_cut_anywhere_arrive_whole(start: Start, model: Model) -> None:
    text = "Grüße 😀 aus Łódź! "
    event = b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}, ensure_ascii=False).encode()
    whole = event + b"\n\n" + b"data: " + json.dumps(finish()).encode() + b"\n\n"
    model.pieces = [whole[i : i + 1] for i in range(len(whole))]
    assert said(start()) == ({0: text}, {0: "stop"})


def test_log_probs_do_not_run_ahead_of_the_text(start: Start, model: Model) -> None:
    words = ["One ", "two ", "three. ", "And so on, ", "to the end. ", "Four ", "five ", f"{SECRET} ", "six "]
    tops = [{"content": [{"token": w, "logprob": -1.0, "top_logprobs": []}]} for w in words]
    pieces = [{"index": 0, "delta": {"content": w}, "logprobs": top} for w, top in zip(words, tops, strict=True)]
    model.pieces = [*({"choices": [piece]} for piece in pieces), finish()]
    text, tokens = "", ""
    for chunk in start().chat.completions.create(model="m", messages=ASK, stream=True, logprobs=True):
        for choice in chunk.choices:
            text += choice.delta.content or ""
            tokens += "".join(t.token for t in (choice.logprobs.content or [])) if choice.logprobs else ""
            assert text.startswith(tokens)
    assert tokens
    assert "xyzzy" not in text + tokens


@pytest.mark.parametrize(
    ("pieces", "reason"), [(["Half a sent", None], "broke off"), (["Half a sent", 3.0, "ence."], "in time")]
)
def test_an_upstream_that_dies_or_stalls_shows_nothing_unchecked(
    start: Start, model: Model, pieces: Any, reason: str
) -> None:
    model.pieces = pieces
    client, text = start(stall=0.3), ""
    with pytest.raises(openai.APIError, match=reason):  # noqa: PT012
        for chunk in client.chat.completions.create(model="m", messages=ASK, stream=True):
            text += chunk.choices[0].delta.content or ""
    assert text == ""


def test_nobody_behind_the_guard_and_errors_of_who_is(start: Start, model: Model) -> None:
    client = start()
    model.says = JSONResponse({"error": {"message": "slow down", "code": "busy"}}, 429, {"retry-after": "7"})
    with pytest.raises(openai.RateLimitError, match="slow down") as raised:
        client.chat.completions.create(model="m", messages=ASK)
    assert raised.value.response.headers["retry-after"] == "7"
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="m", messages=ASK, stream=True)
    app = build_app(Setup(HttpUpstream("http://127.0.0.1:9/v1", own_key=False), Guarding(stack())))
    alone = Served(app)
    assert httpx.post(alone.url + "/v1/chat/completions", json={"model": "m", "messages": ASK}).status_code == 502
    assert httpx.get(alone.url + "/ready").status_code == 503
    assert httpx.get(alone.url + "/health").status_code == 200
    alone.stop()


def test_a_layer_that_hangs_or_raises_keeps_everything_back_and_the_others_are_named(
    start: Start, model: Model
) -> None:
    client = start(Hangs(2.0), Raises(), deadline=0.2)
    for word in ("wait", "break"):
        begun = time.monotonic()
        raw = client.chat.completions.with_raw_response.create(model="m", messages=[{"role": "user", "content": word}])
        assert time.monotonic() - begun < 1.5
        assert raw.parse().choices[0].finish_reason == "content_filter"
        assert raw.headers["x-charter-verdict"] == "error"
        assert f"input/{'hangs' if word == 'wait' else 'raises'}=failed" in raw.headers["x-charter-layers"]
        assert "input/word=ran" in raw.headers["x-charter-layers"]
    assert model.bodies == []
    model.pieces = ["Please ", "break this", ".", finish()]
    assert said(client)[1] == {0: "content_filter"}


def test_a_client_that_goes_away_ends_the_models_work(start: Start, model: Model) -> None:
    model.pieces = ["A sentence that goes on. ", 0.02] * 400
    client = start()
    stream = client.chat.completions.create(model="m", messages=ASK, stream=True)
    next(iter(stream))
    stream.close()
    until = time.monotonic() + 5
    while not model.left and time.monotonic() < until:
        time.sleep(0.02)
    assert model.left
    assert model.sent < 200


@pytest.mark.usefixtures("model")
def test_bodies_that_are_wrong_are_refused_and_the_server_still_answers(start: Start) -> None:
    client = start(largest=100_000)
    url = url_of(client) + "/v1/chat/completions"
    deep = b'{"messages": ' + b"[" * 5000 + b"]" * 5000 + b"}"
    wrong: list[tuple[bytes, int]] = [
        (b"", 400), (b"{", 400), (b"[]", 400), (b"\xff\xfe", 400), (b"null", 400), (deep, 400), (b'{"a": 1}', 400),
        (b'{"messages": []}', 400), (b'{"messages": [1]}', 400),
        (b'{"messages": [{"role": "pope", "content": ""}]}', 400),
        (b'{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}', 400),
        (b'{"messages": [{"role": "user", "content": 7}]}', 400), (b" " * 200_000, 413),
    ]  # fmt: skip
    for body, status in wrong:
        answer = httpx.post(url, content=body)
        assert (answer.status_code, "error" in answer.json()) == (status, True), body[:40]
    surrogate = httpx.post(url, content=b'{"messages": [{"role": "user", "content": "\\ud800"}]}')
    assert surrogate.status_code in (200, 400)
    tokens = httpx.post(url_of(client) + "/v1/completions", json={"prompt": [1, 2, 3]})
    assert "--tokenizer" in tokens.json()["error"]["message"]
    assert client.chat.completions.create(model="m", messages=ASK).choices[0].message.content == "Hello."


def test_keys_and_their_roles(start: Start, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys.json"
    keys = {role: add_key(file, role, role) for role in ("client", "admin")}  # type: ignore[arg-type]
    assert not any(key in file.read_text() for key in keys.values())
    monkeypatch.setenv("CHARTER_UPSTREAM_KEY", "theirs")
    client = start(key=keys["client"], keys=read_keys(file))
    assert client.chat.completions.create(model="m", messages=ASK).choices[0].message.content == "Hello."
    assert model.headers[-1]["authorization"] == "Bearer theirs"
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="charter-guess").chat.completions.create(model="m", messages=ASK)
    url = url_of(client) + "/metrics"
    assert httpx.get(url).status_code == 401
    assert httpx.get(url, headers={"authorization": f"Bearer {keys['client']}"}).status_code == 403
    seen = httpx.get(url, headers={"authorization": f"Bearer {keys['admin']}"}).text
    assert 'charter_verdicts_total{side="input",verdict="allow"} 1.0' in seen
    assert 'status="401"' in seen


def test_the_record_says_what_was_decided_and_shows_a_change(start: Start, model: Model, tmp_path: Path) -> None:
    client = start()
    model.says = f"It is {SECRET}."
    raw = client.chat.completions.with_raw_response.create(model="m", messages=ASK)
    identity, folder = raw.headers["x-charter-id"], tmp_path / "audit"
    first, second = entries(folder, identity)
    assert (first["side"], first["verdict"]) == ("input", "allow")
    assert (second["side"], second["verdict"], second["clauses"]) == ("output", "block", ["no-magic"])
    (chain,) = folder.glob("*.jsonl")
    assert SECRET not in chain.read_text()
    assert verify(folder).wrong == ()
    (text,) = (folder / "texts").glob(f"{identity}-output*")
    text.write_text(text.read_text().replace("It is", "It was"))
    assert "is not the text that was recorded" in verify(folder).wrong[0]
    assert forget(folder, identity) == 2
    assert verify(folder).wrong == ()
    lines = chain.read_text().splitlines()
    chain.write_text("\n".join([lines[0].replace('"allow"', '"block"'), *lines[1:]]) + "\n")
    assert "line 2: does not follow" in verify(folder).wrong[0]


def test_in_the_shadow_everything_passes_and_is_recorded(start: Start, model: Model, tmp_path: Path) -> None:
    client = start(shadow=True)
    ask: Any = [{"role": "user", "content": f"Say {SECRET}, 555-1234."}]
    model.says = f"It is {SECRET}."
    raw = client.chat.completions.with_raw_response.create(model="m", messages=ask)
    assert raw.parse().choices[0].message.content == model.says
    assert model.bodies[-1]["messages"] == ask
    assert raw.headers["x-charter-verdict"] == "block"
    model.pieces = ["It is ", SECRET, finish()]
    assert said(client) == ({0: f"It is {SECRET}"}, {0: "stop"})
    found = [
        json.loads(line) for file in (tmp_path / "audit").glob("*.jsonl") for line in file.read_text().splitlines()
    ]
    assert [(row["side"], row["verdict"]) for row in found] == [
        ("input", "block"), ("output", "block"), ("input", "allow"), ("output", "block"),
    ]  # fmt: skip
    assert all(row["shadow"] for row in found)
