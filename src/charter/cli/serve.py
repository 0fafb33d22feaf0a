"""`charter guard serve` and `charter guard key`; `charter why` and `charter audit` read what a server recorded."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from charter.errors import UserError

audit_app = typer.Typer(
    help="Check what a guard recorded, and delete what has to be forgotten.",
    epilog="Example: charter audit verify audit",
    no_args_is_help=True,
)
_LOCAL = ("127.0.0.1", "localhost", "::1")
_Folder = Annotated[Path, typer.Option("--audit", help="the folder that `charter guard serve --audit` wrote")]


def serve(
    upstream: Annotated[
        str | None, typer.Option(metavar="URL", help="base URL of an OpenAI-compatible server, with its /v1")
    ] = None,
    model: Annotated[str | None, typer.Option(help="or a local model: smollm2, a folder, a hub id")] = None,
    host: Annotated[
        str, typer.Option(help="address to listen on; other than this machine's own it needs --keys")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="port; 0 takes a free one")] = 8080,
    charter: Annotated[Path | None, typer.Option(help="also its clauses: scope, high stakes, languages")] = None,
    heads: Annotated[Path | None, typer.Option(help="folder of `charter guard train`; needs --charter")] = None,
    keys: Annotated[Path | None, typer.Option(help="file of API keys, see `charter guard key`")] = None,
    audit: Annotated[Path | None, typer.Option(help="folder for the record of every decision")] = None,
    keep_texts: Annotated[bool, typer.Option(help="also keep the texts there, in files that can be deleted")] = False,
    shadow: Annotated[bool, typer.Option(help="decide and record, and keep nothing back")] = False,
    tokenizer: Annotated[
        str | None, typer.Option(metavar="MODEL", help="whose tokenizer reads prompts of token ids in /v1/completions")
    ] = None,
    overlap: Annotated[int, typer.Option(min=1, help="characters of a stream that are held back")] = 200,
    stall: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="longest silence of the upstream")] = 120.0,
    certificate: Annotated[Path | None, typer.Option(help="TLS certificate chain (PEM)")] = None,
    private_key: Annotated[Path | None, typer.Option(help="its key (PEM)")] = None,
) -> None:
    """Put the guard before a model, as a server that speaks the OpenAI protocol.

    /v1/chat/completions and /v1/completions are checked on both sides, streams behind what was checked; /v1/models and
    /v1/embeddings are passed on. CHARTER_UPSTREAM_KEY is sent to the upstream. /metrics, /health and /ready are for who
    runs it; SIGHUP, or POST /admin/reload, reads the charter again without dropping requests.
    """
    from charter.server.run import Options, run

    if (upstream is None) == (model is None):
        raise UserError("Give --upstream URL or --model NAME, one of them: the guard stands before one model.")
    if heads and not charter:
        raise UserError("--heads needs --charter: the heads belong to the clauses of one charter.")
    if keep_texts and audit is None:
        raise UserError("--keep-texts does nothing without --audit FOLDER.")
    if (certificate is None) != (private_key is None):
        raise UserError("TLS needs both --certificate and --private-key.")
    if host not in _LOCAL and keys is None:
        raise UserError(
            f"--host {host} can be reached from other machines, so callers need keys: make one with `charter guard key "
            "NAME --keys keys.json` and give --keys keys.json."
        )
    run(
        Options(
            upstream, model, host, port, charter, heads, keys, audit, keep_texts, shadow, tokenizer, overlap, stall,
            certificate, private_key,
        )
    )  # fmt: skip


def key(
    name: Annotated[str, typer.Argument(help="whose key it is")],
    keys: Annotated[Path, typer.Option(help="file of keys, made when there is none")] = Path("keys.json"),
    role: Annotated[str, typer.Option(help="client: may ask; reviewer: also read; admin: also change")] = "client",
) -> None:
    """Make an API key and print it, once: the file keeps a salted hash of it."""
    from charter.server.keys import ROLES, add_key

    found = next((one for one in ROLES if one == role), None)
    if found is None:
        raise UserError(f'--role "{role}" is none of {", ".join(ROLES)}.')
    typer.echo(add_key(keys, name, found))
    print(f"{keys}: kept its hash, for {name} ({role}). It is not shown again.", file=sys.stderr)


def why(
    identity: Annotated[str, typer.Argument(metavar="ID", help="x-charter-id of a response")],
    audit: _Folder = Path("audit"),
) -> None:
    """Say what was decided about a response: verdicts, clauses, and what every layer found."""
    from rich.console import Console
    from rich.table import Table

    from charter.server.audit import entries

    found = entries(audit, identity)
    if not found:
        raise UserError(f'{audit}: nothing is recorded of "{identity}". The id is in the header x-charter-id.')
    console = Console()
    for row in found:
        head = f"{row['side']}: {row['verdict']}, score {row['score']:.3f}"
        head += f", clauses {', '.join(row['clauses'])}" if row["clauses"] else ""
        table = Table(title=f"{head} · {row['time']}", title_justify="left")
        for column in ("layer", "status", "verdict", "score", "ms", "reason"):
            table.add_column(column)
        for layer in row["layers"]:
            score = "–" if layer["score"] is None else f"{layer['score']:.3f}"
            cells = (layer["name"], layer["status"], layer["verdict"], score, f"{layer['ms']:.1f}")
            table.add_row(*cells, layer.get("reason", ""))
        console.print(table)


@audit_app.command(epilog="Example: charter audit verify audit")
def verify(folder: Annotated[Path, typer.Argument(help="the folder of `charter guard serve --audit`")]) -> None:
    """Follow every chain of hashes, and compare the texts that are kept. Exit code 1 when something was changed."""
    from charter.errors import EXIT_REGRESSED
    from charter.server.audit import verify as follow

    found = follow(folder)
    typer.echo(f"{found.lines} lines in {found.chains} chains, {found.open} of them without an end")
    for wrong in found.wrong:
        typer.echo(wrong)
    if found.wrong:
        raise typer.Exit(EXIT_REGRESSED)


@audit_app.command(epilog="Example: charter audit forget guard-1f… --audit audit")
def forget(
    identity: Annotated[str, typer.Argument(metavar="ID", help="x-charter-id of a response")],
    audit: _Folder = Path("audit"),
) -> None:
    """Delete the texts of a response. Its verdicts and their hashes stay, so the chain still fits."""
    from charter.server.audit import forget as delete

    typer.echo(f"{delete(audit, identity)} texts deleted")


def add_to(guard: typer.Typer, top: typer.Typer) -> None:
    """Name the commands in the guard's group and at the top."""
    example = "Example: charter guard serve --upstream http://127.0.0.1:8000/v1 --audit audit"
    guard.command(epilog=example)(serve)
    guard.command(epilog="Example: charter guard key alice --keys keys.json --role client")(key)
    top.command(epilog="Example: charter why guard-1f… --audit audit")(why)
    top.add_typer(audit_app, name="audit")
