"""The `charter` command: one app, one way to fail.

Exit codes: 0 done or passed, 1 gate regressed, 2 usage or input error, 3 gate inconclusive, 4 could not finish,
130 interrupted (run the same command again to continue).
"""

from __future__ import annotations

import errno
import sys
import traceback
from typing import Annotated, Any

import typer

from charter import __version__
from charter.cli import align, document, evaluate, generate, judge, logprobs, train
from charter.errors import EXIT_INTERRUPTED, EXIT_UNFINISHED, EXIT_USAGE, UserError

# typer carries its own click inside since 0.26; the public exceptions are the only way to both.
UsageError: Any = typer.BadParameter.__mro__[1]
_INTERRUPTED = "Interrupted. What was finished is kept: run the same command again to continue."

app = typer.Typer(
    name="charter",
    help="Align a causal language model to one written file, and measure that it worked.\n\n"
    "Example: charter init && charter align examples/demo/recipe.yaml",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="rich",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback(help=app.info.help)
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Options before the verb."""


app.command("init")(document.init)
app.command("lint")(document.lint)
app.command("show")(document.show)
app.command("diff")(document.diff)
app.command("align")(align.align)
app.add_typer(train.app, name="train")
app.command("generate")(generate.generate)
app.command("logprobs")(logprobs.logprobs)
app.command("eval")(evaluate.eval_)
app.command("compare")(evaluate.compare)
app.command("regress")(evaluate.regress)
app.add_typer(judge.app, name="judge")


def run() -> None:
    """Entry point: errors meant for a person become one paragraph on stderr and an exit code, never a traceback."""
    try:
        # typer's standalone mode would turn Ctrl-C and its own errors into exit code 1, which here means "regressed".
        code = app(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except UsageError as error:
        error.show()
        sys.exit(EXIT_USAGE)
    except typer.Abort:
        _say(_INTERRUPTED)
        sys.exit(EXIT_INTERRUPTED)
    except UserError as error:
        _say(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _say(_INTERRUPTED)
        sys.exit(EXIT_INTERRUPTED)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            _say(
                f"The disk is full ({error.filename or 'while writing'}). Free some space and run the same command "
                "again: what was finished is kept, and nothing half-written is in its place."
            )
            sys.exit(EXIT_USAGE)
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            _say(f"{error.filename}: cannot be written ({error.strerror}). Choose another folder.")
            sys.exit(EXIT_USAGE)
        traceback.print_exc()
        sys.exit(EXIT_UNFINISHED)
    except Exception:
        traceback.print_exc()
        _say("This is a defect in charter, not in your input. Please report it with the lines above.")
        sys.exit(EXIT_UNFINISHED)


def _say(text: str) -> None:
    print(f"\ncharter: {text}", file=sys.stderr)


if __name__ == "__main__":
    run()
