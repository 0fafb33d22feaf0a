"""Rows from JSONL, JSON arrays, Parquet, CSV and the hub, each with the place that errors name."""

from __future__ import annotations

import csv
import gzip
import json
import sys
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from charter.errors import UserError
from charter.feedback.formats.source_rows import SourceRow
from charter.records import parse_jsonl

SUFFIXES = (".jsonl", ".json", ".parquet", ".csv", ".tsv", ".gz")
_KINDS = "JSONL, JSON, Parquet, CSV or TSV"


def is_file(source: str) -> bool:
    """Whether the source is meant as a file or folder rather than as a hub dataset id."""
    path = Path(source).expanduser()
    return path.exists() or path.suffix in SUFFIXES or source.startswith((".", "/", "~"))


def read_rows(source: str, split: str = "train") -> list[SourceRow]:
    """Every row of a file, of a folder that `datasets` can load, or of a hub dataset.

    Raises UserError naming file and row for what cannot be read, and for a source without rows.
    """
    path = Path(source).expanduser()
    found = _dataset_rows(source, split) if path.is_dir() or not is_file(source) else _file_rows(path)
    rows = list(found)
    if not rows:
        raise UserError(f"{source}: holds no rows. Give a file with one example a row.")
    return rows


def _file_rows(path: Path) -> Iterator[SourceRow]:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = suffixes[-1:] == [".gz"]
    kind = (suffixes[:-1] if packed else suffixes)[-1:] or [""]
    stem = path.name.split(".")[0] if packed else path.stem
    found: Iterator[tuple[str, int, Mapping[str, Any]]]
    if kind[0] == ".parquet":
        found = _parquet(path)
    else:
        content = _content(path, packed)
        if kind[0] in (".csv", ".tsv"):
            found = _csv(content, path, "\t" if kind[0] == ".tsv" else ",")
        elif kind[0] == ".json" or content.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"[":
            found = _json(content, path)
        else:
            found = (("line", number, row) for number, row in parse_jsonl(content.split(b"\n"), str(path)))
    for unit, number, row in found:
        yield SourceRow(f"{stem}-{number}", f"{path}, {unit} {number}", row)


def _content(path: Path, packed: bool) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if packed else content
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. Check the path; relative paths start at the current folder.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}).") from None


def _json(content: bytes, path: Path) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    """An array of objects; or objects one a line, which many a .json file holds."""
    try:
        rows = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}). Save it as UTF-8.") from None
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" or not content.strip():
            yield from (("line", number, row) for number, row in parse_jsonl(content.split(b"\n"), str(path)))
            return
        raise UserError(
            f"{path}, line {error.lineno}: not valid JSON ({error.msg} at column {error.colno}). Give one JSON array "
            "of objects, or one object a line."
        ) from None
    except RecursionError:
        raise UserError(f"{path}: nested too deeply. Give an array of flat objects.") from None
    if isinstance(rows, dict) and b"\n" in content.strip():
        raise UserError(
            f"{path}: is one JSON object with the keys {', '.join(list(rows)[:8])}. Give an array of rows, or one row "
            "a line."
        )
    for number, row in enumerate(rows if isinstance(rows, list) else [rows], 1):
        if not isinstance(row, dict):
            raise UserError(f"{path}, item {number}: a JSON object is needed, got {type(row).__name__}.")
        yield "item", number, row


def _csv(content: bytes, path: Path, delimiter: str) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}). Save it as UTF-8.") from None
    csv.field_size_limit(sys.maxsize)
    # Lines keep their ends: a quoted cell may hold one, and it belongs to the text.
    reader = csv.reader(_lines(text), delimiter=delimiter)
    try:
        header = next(reader, [])
        if len(set(header)) < len(header):
            raise UserError(f"{path}: every column of the first line needs a name of its own; got {header}.")
        number = 0
        for cells in reader:
            if not cells:
                continue
            number += 1
            if len(cells) != len(header):
                raise UserError(
                    f"{path}, row {number}: has {len(cells)} cells where the first line names {len(header)} columns. "
                    "Put text that holds the separator or a line end in double quotes."
                )
            yield "row", number, dict(zip(header, map(_cell, cells), strict=True))
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: not valid CSV ({error}).") from None


def _lines(text: str) -> Iterator[str]:
    """Lines with their ends, split at line feeds only: other separators belong to the text."""
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield text[start:end]
        start = end


def _cell(text: str) -> Any:
    """A cell's text, or the messages that it holds as JSON."""
    if text[:1] in ("[", "{"):
        try:
            value = json.loads(text)
        except (json.JSONDecodeError, RecursionError):
            return text
        turns = value if isinstance(value, list) else [value]
        # Only what is plainly messages: a prompt such as "[1, 2, 3]" is text.
        if turns and all(isinstance(turn, dict) and ("role" in turn or "from" in turn) for turn in turns):
            return value
    return text


def _parquet(path: Path) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.exists():
        raise UserError(f"{path}: no such file. Check the path; relative paths start at the current folder.")
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield "row", number, row
    except (pa.ArrowException, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path}: cannot be read as Parquet ({reason}). Write it again, or give {_KINDS}.") from None


def _dataset_rows(source: str, split: str) -> Iterator[SourceRow]:
    import datasets

    try:
        dataset = datasets.load_dataset(source, split=split)
    except Exception as error:
        # The hub client raises many kinds; to the user they mean that the dataset could not be had.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f'"{source}" is neither a file nor a dataset that could be loaded (split {split}): {reason} '
            f"Check the name and the network, or download it and give the {_KINDS} file."
        ) from error
    for number, row in enumerate(dataset):
        yield SourceRow(f"{source}-{number}", f"{source}[{number}]", row)
