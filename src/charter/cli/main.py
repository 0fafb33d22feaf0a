"""The `charter` command: one app, one way to fail.

Exit codes: 0 done or passed, 1 gate regressed, 2 usage or input error, 3 gate inconclusive, 4 could not finish,
130 interrupted (run the same command again to continue).
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
import traceback
from typing import Annotated, Any

import typer

from charter import __version__
from charter.cli import align, data, document, evaluate, generate, guard, judge, logprobs, reward, train
from charter.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_UNFINISHED, EXIT_USAGE, UserError
from charter.training.devices import end, launched, leave

# typer carries its own click inside since 0.26; the public exceptions are the only way to both.
UsageError: Any = typer.BadParameter.__mro__[1]
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_UNWRITABLE = (
    errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG,
)  # fmt: skip
_SHARED = ("train", "align")
_SECONDS_FOR_THE_FIRST = 5.0
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
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Options before the verb."""
    rank, processes = launched()
    if processes > 1 and context.invoked_subcommand not in _SHARED:
        raise UserError(
            f"`charter {context.invoked_subcommand}` runs in one process, and torchrun started {processes}. Start it "
            f"without torchrun; {' and '.join(_SHARED)} can share their work."
        )
    if rank:
        _drop_stdout()


app.command("init")(document.init)
app.command("lint")(document.lint)
app.command("show")(document.show)
app.command("diff")(document.diff)
app.command("align")(align.align)
app.add_typer(train.app, name="train")
app.add_typer(data.app, name="data")
app.command("generate")(generate.generate)
app.command("logprobs")(logprobs.logprobs)
app.command("eval")(evaluate.eval_)
app.command("compare")(evaluate.compare)
app.command("regress")(evaluate.regress)
app.add_typer(judge.app, name="judge")
app.add_typer(reward.app, name="reward")
app.add_typer(guard.app, name="guard")


def run() -> None:
    """Entry point: errors meant for a person become one paragraph on stderr and an exit code, never a traceback."""
    # Read when torch first loads its OpenMP. By default its threads spin while they wait for work, which slows a
    # machine that other processes share by a factor of ten and more; set it yourself to have it otherwise.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    code = _run()
    # The interpreter closes the streams after this: what cannot be delivered then would end in an exit code of its own.
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    if launched()[1] > 1:
        end(code)
    sys.exit(code)


def _run() -> int:
    try:
        # typer's standalone mode would turn its own errors into exit code 1, which here means "regressed".
        code = app(standalone_mode=False)
        sys.stdout.flush()
        leave()
    except UsageError as error:
        error.show()
        return EXIT_USAGE
    except UserError as error:
        rank, _ = launched()
        if rank:
            # Mostly all processes fail alike, and one paragraph is enough: torchrun ends this one as the first ends.
            time.sleep(_SECONDS_FOR_THE_FIRST)
        _say(f"process {rank}: {error}" if rank else str(error))
        return error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        code = EXIT_INTERRUPTED
    except SystemExit:
        # What typer makes of a pipe whose reader has gone.
        return _reader_gone()
    except Exception as error:
        return _unexpected(error)
    if code == EXIT_INTERRUPTED:
        _say(_INTERRUPTED)
    return code if isinstance(code, int) else EXIT_DONE


def _unexpected(error: Exception) -> int:
    if isinstance(error, BrokenPipeError):
        return _reader_gone()
    where = getattr(error, "filename", None) or "while writing"
    number = getattr(error, "errno", None)
    # The libraries that write tensors have exceptions of their own, which carry the system's reason as text only.
    if number in _FULL or (number is None and "No space left on device" in str(error)):
        if number == errno.ENOSPC and where == "while writing":
            _drop_stdout()
        _say(
            f"The disk is full ({where}). Free some space and run the same command again: what was finished is kept, "
            "and nothing half-written is in its place."
        )
        return EXIT_USAGE
    if isinstance(error, OSError) and error.filename and number in _UNWRITABLE:
        _say(f"{where}: cannot be written or read ({error.strerror}). Choose another place, or change its permissions.")
        return EXIT_USAGE
    traceback.print_exc()
    _say("This is a defect in charter, not in your input. Please report it with the lines above.")
    return EXIT_UNFINISHED


def _reader_gone() -> int:
    """Whoever read our output stopped early (`charter show | head`): quiet, but not a success."""
    _drop_stdout()
    return EXIT_UNFINISHED


def _drop_stdout() -> None:
    """Nothing more can be written there; without this the interpreter would complain as it closes."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())  # type: ignore[union-attr]


def _say(text: str) -> None:
    print(f"\ncharter: {text}", file=sys.stderr)


if __name__ == "__main__":
    run()
