"""charter init, lint, show, diff: the verbs on the charter file itself."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charter.errors import EXIT_USAGE, UserError

if TYPE_CHECKING:
    from charter.document import Charter, Difference, Finding, When

CharterPath = Annotated[Path, typer.Argument(metavar="CHARTER", help="The charter file.")]
Locale = Annotated[str | None, typer.Option(help="Apply the overrides for this locale, such as de-DE.")]
Audience = Annotated[str | None, typer.Option(help="Apply the overrides for this audience.")]
Jurisdiction = Annotated[str | None, typer.Option(help="Apply the overrides for this jurisdiction.")]
Run = Annotated[Path | None, typer.Option(metavar="RUN", help="Also check the evidence of this finished run.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

_COLOURS = {"error": "red", "warning": "yellow", "note": "dim"}


def init(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The file, or a folder to put it in.")] = Path(
        "charter.yaml"
    ),
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is already there.")] = False,
) -> None:
    """Write a commented starter charter.

    Example: charter init charter.yaml
    """
    from charter.document import STARTER
    from charter.records import write_text

    if path.is_dir():
        path = path / "charter.yaml"
    if path.exists() and not force:
        raise UserError(f"{path}: is already there. Choose another name, or overwrite it with --force.")
    try:
        write_text(path, STARTER.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}). Free some space or choose another place."
        ) from None
    typer.echo(f'Wrote {path}. Read it, change it, then run "charter lint {path}".')


def lint(
    charter: CharterPath = Path("charter.yaml"),
    run: Run = None,
    model: Annotated[
        str | None, typer.Option(help="The model in use: numbers of RUN measured on another one are stale.")
    ] = None,
    as_json: AsJson = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 2 when anything but a note is found, for use in CI.")
    ] = False,
    locale: Locale = None,
    audience: Audience = None,
    jurisdiction: Jurisdiction = None,
) -> None:
    """List clauses that nothing trains, tests, guards or watches, and numbers gone stale.

    Example: charter lint charter.yaml --run runs/demo
    """
    from charter import evaluation
    from charter.document import lint as check
    from charter.document import lint_variants, load_charter, read_evidence

    if model and not run:
        raise UserError("--model is compared with the numbers of a run. Add --run RUN, or leave --model out.")
    loaded = load_charter(charter, locale=locale, audience=audience, jurisdiction=jurisdiction)
    evidence = read_evidence(run) if run else ()
    slices = evaluation.suite_names()
    suites = {*slices, *(f"{suite}/{name}" for suite, names in slices.items() for name in names)}
    found: list[tuple[When | None, Finding]]
    found = [
        (None, finding)
        for finding in check(
            loaded,
            suites=suites,
            evidence=evidence,
            suite_digests={suite: evaluation.suite_digest(suite) for suite in slices} if evidence else {},
            model_digest=_model_digest(model, run),
        )
    ]
    if not (locale or audience or jurisdiction):
        found += lint_variants(loaded, suites=suites)
    if as_json:
        rows = [{"level": f.level, **asdict(f), "when": str(when) if when else None} for when, f in found]
        _print_json({"charter": _identity(loaded), "findings": rows, "evidence": len(evidence)})
    else:
        _print_findings(loaded, found, len(evidence) if run else None)
    if strict and any(finding.level != "note" for _, finding in found):
        raise typer.Exit(EXIT_USAGE)


def show(
    charter: CharterPath = Path("charter.yaml"),
    as_json: AsJson = False,
    locale: Locale = None,
    audience: Audience = None,
    jurisdiction: Jurisdiction = None,
) -> None:
    """Print the clauses as a table, with `extends` and the asked-for overrides worked in.

    Example: charter show charter.yaml --locale de-DE
    """
    from charter.document import When, load_charter

    loaded = load_charter(charter, locale=locale, audience=audience, jurisdiction=jurisdiction)
    if as_json:
        rows = [{**clause.model_dump(mode="json"), "digest": clause.digest} for clause in loaded.clauses]
        _print_json({"charter": _identity(loaded), "clauses": rows})
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    table = Table(title=_title(loaded), title_justify="left", show_lines=True)
    for heading in ("clause", "rule", "backed by"):
        table.add_column(heading, overflow="fold")
    for clause in loaded.clauses:
        rule = Text(clause.rule)
        if clause.instead:
            rule.append(f"\nInstead: {clause.instead}", style="dim")
        backing = [(verb, getattr(clause, verb)) for verb in ("train", "test", "guard", "watch")]
        lines = [f"{verb}: {', '.join(names)}" for verb, names in backing if names]
        table.add_row(
            Text.assemble((clause.id, "bold"), f"\n{clause.kind}, {clause.severity}"),
            rule,
            Text("\n".join(lines)) if lines else Text("nothing", style="yellow"),
        )
    console.print(table)
    asked = When(locale=locale or None, audience=audience or None, jurisdiction=jurisdiction or None)
    if asked != When() and not any(when.matches(asked) for when in loaded.variants):
        console.print(Text(f"No override matches {asked}; this is the charter for everyone.", style="yellow"))
    elif asked == When() and loaded.variants:
        console.print(Text(f"Overrides, not shown here, for: {'; '.join(map(str, loaded.variants))}."))


def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The charter as it was.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The charter as it is now.")],
    run: Run = None,
    as_json: AsJson = False,
) -> None:
    """Say which clauses changed between two charters and which numbers no longer stand.

    Example: charter diff old.yaml charter.yaml --run runs/demo
    """
    from charter.document import compare_charters, compare_variants, load_charter, read_evidence

    before, after = load_charter(old), load_charter(new)
    evidence = read_evidence(run) if run else ()
    general = compare_charters(before, after, evidence)
    special = compare_variants(before, after)
    if as_json:
        overrides = [{"when": str(when), **asdict(difference)} for when, difference in special]
        sides = {"old": _identity(before), "new": _identity(after)}
        _print_json({**sides, **asdict(general), "evidence": len(evidence), "overrides": overrides})
        return
    typer.echo(f"{_title(before)}  ->  {_title(after)}")
    _print_difference(general)
    for when, difference in special:
        typer.echo(f"\nOnly for {when}:")
        _print_difference(difference)
    if not general and not special:
        typer.echo("No clause differs.")
    if run:
        _print_fallen(general, len(evidence))


def _model_digest(model: str | None, run: Path | None) -> str | None:
    """What the weights are now: of the model in use, or of the folder that the run measured, while it is there."""
    from charter.document import measured_model
    from charter.models.loading import model_digest, resolve

    if model is None:
        measured = measured_model(run) if run else None
        if measured is None or not Path(measured[0]).is_dir():
            return None
        model = measured[0]
    # The same digest as a recipe records (recipes.train_stage.digest_of), without importing what trains.
    return model_digest(resolve(model))


def _print_findings(charter: Charter, found: list[tuple[When | None, Finding]], evidence: int | None) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(_title(charter)))
    for when, finding in found:
        about = f"{finding.clause} ({finding.severity})" if finding.clause else ""
        scope = f" [only for {when}]" if when else ""
        place = f"  ({finding.place})" if finding.place else ""
        label = finding.code.replace("-", " ")
        console.print(
            Text.assemble(
                (f"{finding.level}: {label}: ", _COLOURS[finding.level]),
                f"{about}{scope}{': ' if about else ''}{finding.message}",
                (place, "dim"),
            )
        )
    levels = [finding.level for _, finding in found]
    undefined = sum(finding.code == "undefined-control" for _, finding in found)
    console.print(
        f"{len(charter.clauses)} clauses; {levels.count('error')} errors, {undefined} undefined controls (nothing "
        f"tests them), {levels.count('note')} notes."
    )
    if evidence is not None:
        stale = sum(finding.code == "stale-evidence" for _, finding in found)
        console.print(f"{evidence} numbers in the run; {stale} stale.")


def _print_difference(difference: Difference) -> None:
    for id in difference.added:
        typer.echo(f"added    {id}")
    for id in difference.removed:
        typer.echo(f"removed  {id}")
    for change in difference.changed:
        typer.echo(f"changed  {change.id}")
        for field in change.fields:
            typer.echo(f"    {field.field}: {_plain(field.old)}")
            typer.echo(f"    {' ' * (len(field.field) - 1)}-> {_plain(field.new)}")
    if difference.reordered:
        typer.echo("The clauses stand in another order.")
    if difference.suites:
        typer.echo(f"To measure again: {', '.join(difference.suites)}.")


def _print_fallen(difference: Difference, total: int) -> None:
    typer.echo(f"\n{len(difference.fallen)} of {total} numbers in the run no longer stand.")
    for fallen in difference.fallen:
        typer.echo(
            f"    {fallen.metric} ({fallen.suite}): {fallen.reason}"
            if fallen.suite
            else f"    {fallen.metric}: {fallen.reason}"
        )


def _plain(value: Any) -> str:
    if value is None or value == [] or value == {}:
        return "(nothing)"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _title(charter: Charter) -> str:
    return f"{charter.name} {charter.version} ({charter.path}, {charter.digest[:12]})"


def _identity(charter: Charter) -> dict[str, str]:
    return {"name": charter.name, "version": charter.version, "path": str(charter.path), "digest": charter.digest}


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False))
