"""YAML read into plain values that remember their lines, so that an error can say where it is.

Stricter than `yaml.safe_load`: a key given twice is an error, and so are aliases that blow a small file up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml
from yaml.constructor import ConstructorError, SafeConstructor
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from charter.errors import UserError

Location = tuple[str | int, ...]
MAX_VALUES: Final = 100_000
"""A charter of thousands of clauses stays far below; nested aliases pass it at once."""


@dataclass(frozen=True)
class Marked:
    """The values of one YAML file and the line (from 1) of each key, item and value by its location."""

    path: Path
    value: Any
    lines: dict[Location, int] = field(repr=False)

    def line(self, location: Location) -> int:
        """The line of `location`, or of the nearest thing around it that is in the file."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location, 1)


def read_yaml(path: Path, absent: str = "") -> Marked:
    """Read one YAML file. Raises UserError naming file and line when it cannot be read or understood.

    absent: what else to do when there is no such file, as a sentence.
    """
    text = _read_text(path, absent)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            return Marked(path, None, {(): 1})
        reader = _Reader(path)
        return Marked(path, reader.plain(node, ()), reader.lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        raise UserError(
            f"{where}: not valid YAML ({reason}). Look at this line and the one before it: indentation, a missing "
            "colon, or a quote that is not closed."
        ) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UserError(
            f"{path}, line {line}: holds a character that YAML does not allow (U+{ord(str(error.character)):04X}). "
            "Remove it."
        ) from None
    except RecursionError:
        raise UserError(f"{path}: nested too deeply. Flatten it.") from None


def _read_text(path: Path, absent: str) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. Check the path. {absent}".rstrip()) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). Give the path of a YAML file.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}). Save the file as UTF-8.") from None


class _Reader:
    """Turns composed nodes into plain values, noting lines as it goes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[Location, int] = {}
        self._seen = 0

    def plain(self, node: Node, at: Location) -> Any:
        self._seen += 1
        if self._seen > MAX_VALUES:
            raise UserError(f"{self.path}: more than {MAX_VALUES:,} values, aliases included. Split it or cut it down.")
        self.lines.setdefault(at, node.start_mark.line + 1)
        if isinstance(node, MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._mapping(node, at)
        if isinstance(node, SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self.plain(item, (*at, index)) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: MappingNode, at: Location) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, ScalarNode):
                raise UserError(f"{self.path}, line {line}: a key must be a word, not a list or a mapping.")
            # The text as written: `no:` or `1:` as a key then shows up as an unknown key, by its own spelling.
            key = str(key_node.value)
            if key in values:
                first = self.lines[(*at, key)]
                raise UserError(
                    f'{self.path}, line {line}: the key "{_one_line(key)}" is given twice; the first is on line '
                    f"{first}. Keep one of them."
                )
            self.lines[(*at, key)] = line
            values[key] = self.plain(value_node, (*at, key))
        return values

    def _scalar(self, node: Node) -> Any:
        try:
            if not isinstance(node, ScalarNode):  # a list or mapping with a tag of its own
                raise ConstructorError
            return SafeConstructor().construct_object(node)
        except ConstructorError:
            raise UserError(
                f"{self.path}, line {node.start_mark.line + 1}: the tag {node.tag} is not understood. Remove it."
            ) from None
        except ValueError as error:  # such as the date 2026-13-45
            raise UserError(
                f'{self.path}, line {node.start_mark.line + 1}: "{_one_line(node.value)}" cannot be read '
                f"({error}). Put it in quotes if it is meant as text."
            ) from None


def _one_line(text: object) -> str:
    return " ".join(str(text).split())
