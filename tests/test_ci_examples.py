"""The CI files are YAML, their scripts are shell, and every option they pass is one that `charter regress` has."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import typer
import yaml

from charter.cli import evaluate

FOLDER = Path(__file__).parent.parent / "examples" / "ci"
FILES = sorted(FOLDER.glob("**/*.yml"))


def scripts(node: object) -> list[str]:
    """Every shell script in a parsed file: `run:` of steps, `script:` of jobs."""
    if isinstance(node, dict):
        own = [value for key, value in node.items() if key == "run" and isinstance(value, str)]
        own += ["\n".join(value) for key, value in node.items() if key == "script" and isinstance(value, list)]
        return own + [found for value in node.values() for found in scripts(value)]
    return [found for value in node for found in scripts(value)] if isinstance(node, list) else []


def known_options() -> set[str]:
    app = typer.Typer()
    app.command("regress")(evaluate.regress)
    command = typer.main.get_command(app)
    return {name for parameter in command.params for name in [*parameter.opts, *parameter.secondary_opts]}


def test_the_files_are_there() -> None:
    assert [path.relative_to(FOLDER).as_posix() for path in FILES] == [
        "github/action.yml",
        "github/workflow.yml",
        "gitlab/charter-regress.yml",
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scripts_are_shell_and_options_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = scripts(yaml.safe_load(text))
    for script in found:
        # Expressions in a script would put a branch's name, which anyone chooses, into the shell.
        assert "${{" not in script
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    ours = "\n".join(script for script in found if "charter regress" in script)
    assert set(re.findall(r"(?<!\S)--[a-z-]+", ours)) <= known_options()
    if path.stem != "workflow":
        assert "--junit" in ours
