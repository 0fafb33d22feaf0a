"""From options to a server that runs: the stack, who answers behind it, and how it ends."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from charter.document import Charter, load_charter
from charter.errors import UserError
from charter.guard.build import baseline, heads_for
from charter.guard.stack import Stack
from charter.server.holdback import Pace
from charter.server.keys import read_keys


@dataclass(frozen=True)
class Options:
    """What `charter guard serve` was asked for."""

    upstream: str | None
    model: str | None
    host: str
    port: int
    charter: Path | None
    heads: Path | None
    keys: Path | None
    audit: Path | None
    keep_texts: bool
    shadow: bool
    tokenizer: str | None
    overlap: int
    stall: float
    certificate: Path | None
    private_key: Path | None


def run(options: Options) -> None:
    """Serve until a signal. Raises UserError for what cannot be served, before the port is open."""
    try:
        import uvicorn

        from charter.server.app import Setup, build_app
        from charter.server.audit import Audit
        from charter.server.guarding import Guarding
        from charter.server.local import LocalUpstream
        from charter.server.upstream import HttpUpstream, Upstream
    except ImportError as error:
        raise UserError(f"The server needs {error.name}. Install it with: pip install 'charter[server]'") from None

    keys = read_keys(options.keys) if options.keys else []
    if options.keys and not keys:
        raise UserError(f"{options.keys}: holds no key. Make one with `charter guard key NAME --keys {options.keys}`.")
    charter = load_charter(options.charter) if options.charter else None
    guarding = Guarding(stack_of(charter, options.heads))
    refusals = _answers(charter)
    upstream: Upstream
    if options.upstream is not None:
        upstream = HttpUpstream(options.upstream, own_key=bool(keys), stall_seconds=options.stall)
    else:
        upstream = LocalUpstream(str(options.model))

    async def reload() -> None:
        """The charter as the file has it now; a file that is wrong leaves the old one in use."""
        again = load_charter(options.charter) if options.charter else None
        guarding.exchange(await asyncio.to_thread(stack_of, again, options.heads))
        refusals.clear()
        refusals.update(_answers(again))

    setup = Setup(
        upstream,
        guarding,
        keys,
        Audit(options.audit, keep_texts=options.keep_texts) if options.audit else None,
        refusals,
        options.shadow,
        Pace(options.overlap),
        decode=_decoder(options.tokenizer) if options.tokenizer else None,
        reload=reload if options.charter else None,
    )
    config = uvicorn.Config(
        build_app(setup), options.host, options.port, log_level="warning", access_log=False, timeout_keep_alive=15,
        timeout_graceful_shutdown=30,
        ssl_certfile=options.certificate, ssl_keyfile=options.private_key,
    )  # fmt: skip
    asyncio.run(_serve(uvicorn.Server(config), reload if options.charter else None))


def stack_of(charter: Charter | None, heads: Path | None) -> Stack:
    """The shipped layers and the charter's, warmed up, so that the first request does not wait for weights."""
    stack = baseline(charter=charter, heads=heads_for(charter, heads) if charter else ())
    stack.check_input("Hello.")
    stack.check_output("Hello.", "Hello.")
    return stack


def _answers(charter: Charter | None) -> dict[str, str]:
    """By clause, what is said in place of a text that it stops."""
    return {clause.id: clause.answer for clause in charter.clauses if clause.answer} if charter else {}


async def _serve(server: object, reload: Callable[[], Awaitable[None]] | None) -> None:
    import uvicorn

    assert isinstance(server, uvicorn.Server)
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    async def again() -> None:
        assert reload is not None
        try:
            await reload()
            print("charter read again", file=sys.stderr)
        except UserError as error:
            print(f"the charter stays as it was: {error}", file=sys.stderr)

    def on_hangup() -> None:
        task = loop.create_task(again())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    if reload is not None:
        loop.add_signal_handler(signal.SIGHUP, on_hangup)
    task = loop.create_task(server.serve())
    while not server.started and not task.done():
        await asyncio.sleep(0.01)
    if server.started:
        for listener in server.servers:
            for socket in listener.sockets:
                host, port, *_ = socket.getsockname()
                print(
                    f"The guard listens on http{'s' if server.config.is_ssl else ''}://{host}:{port}/v1",
                    file=sys.stderr,
                )
    await task
    if not server.started:
        raise UserError("The server could not start; its port may be taken. Choose another with --port.")


def _decoder(name: str) -> Callable[[Sequence[int]], str]:
    from charter.models.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(name)

    def decode(ids: Sequence[int]) -> str:
        return str(tokenizer.decode(list(ids)))

    return decode
