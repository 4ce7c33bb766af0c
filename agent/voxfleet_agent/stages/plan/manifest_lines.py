"""The lines of an input manifest, JSON Lines or CSV, each with where it stands. Pure."""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from voxfleet_agent.stages.plan.input_clip import invalid_input
from voxfleet_api.base import Sha256Hex
from voxfleet_api.failures import VoxFleetError

COLUMNS = ("id", "uri", "sha256", "text")
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_OTHER_NAMES = frozenset(
    {"audio", "audio_file", "audio_filepath", "audio_path", "file", "filename", "path", "url", "wav"}
)
"""What other tools call `uri`."""
_ENCODINGS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins like UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_FOREIGN = {
    b"\x1f\x8b": "a gzip file; unpack it",
    b"BZh": "a bzip2 file; unpack it",
    b"\xfd7zXZ": "an xz file; unpack it",
    b"\x28\xb5\x2f\xfd": "a zstd file; unpack it",
    b"PK\x03\x04": "a zip or spreadsheet file; export it as CSV",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet; export it as CSV",
    b"PAR1": "a Parquet file; export it as CSV",
}
_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"
"""A byte-order mark. One in the middle of a file begins what was joined to it."""
_BLANKS = f"{_MARK} \t\r\n\v\f"
_LINE = re.compile(rb"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")


class InputManifestLine(BaseModel):
    """A line of the input's manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1, max_length=128)
    uri: str | None = Field(min_length=1, max_length=1024, default=None)
    text: str | None = None
    sha256: Sha256Hex | None = None

    @field_validator("sha256", mode="before")
    @classmethod
    def _lower_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class Place:
    """Where a clip stands in the manifest, for messages."""

    line: int
    """From 1."""
    columns: dict[str, int]
    """From 1, by field: the character of a JSON line, or the column of a CSV file."""

    def of(self, field: str) -> str:
        return f"line {self.line}, column {self.columns.get(field, 1)} of the manifest"


def read_lines(content: bytes, example: str) -> Iterator[tuple[Place, InputManifestLine]]:
    """Every clip of the manifest. `example`: how a line of JSON would be right.

    Raises VoxFleetError(INVALID_INPUT) naming line, column and what to write.
    """
    lines = _Lines(to_utf8(content))
    number, first = next(((number, text) for number, text in lines if text.strip(_BLANKS)), (1, "{"))
    if first.lstrip(_BLANKS)[0] in "{[":
        yield from _json_lines(lines, example)
    else:
        yield from _csv_rows(lines, number, first, example)


def to_utf8(content: bytes) -> bytes:
    """Without byte-order mark at its beginning. Raises VoxFleetError(INVALID_INPUT)."""
    for magic, what in _FOREIGN.items():
        if content.startswith(magic):
            raise invalid_input(f"the manifest is {what}")
    mark, encoding = next(((m, e) for m, e in _ENCODINGS if content.startswith(m)), (b"", _guess(content)))
    content = content[len(mark) :]
    if encoding != "utf-8":
        try:
            content = content.decode(encoding).encode()
        except UnicodeError as error:
            raise invalid_input(f"the manifest is damaged {encoding.upper()}; save it as UTF-8") from error
    return content


def _guess(content: bytes) -> str:
    """UTF-16 without its mark shows in the zero beside the first character, which is a brace or a letter."""
    return {b"\0": "utf-16-be"}.get(content[:1]) or ("utf-16-le" if content[1:2] == b"\0" else "utf-8")


class _Lines:
    """Numbered lines, from 1, decoded one by one; may be read more than once. Each ends with LF, CRLF or CR."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[tuple[int, str]]:
        for number, found in enumerate(_LINE.finditer(self._content), start=1):
            line = found[0]
            try:
                yield number, line.decode()
            except UnicodeDecodeError as error:
                column = len(line[: error.start].decode()) + 1
                raise invalid_input(
                    f"line {number}, column {column} of the manifest: the byte 0x{line[error.start]:02X} is not UTF-8;"
                    " save the manifest as UTF-8"
                ) from None


def _json_lines(lines: _Lines, example: str) -> Iterator[tuple[Place, InputManifestLine]]:
    for number, line in lines:
        text = line.lstrip(_MARK)
        if text.strip():
            fields = _parse(number, text, example)
            yield _validated(Place(number, _Columns(text)), fields, f"write {example}")


def _parse(number: int, text: str, example: str) -> object:
    try:
        parsed: object = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError, _RepeatedField) as error:
        raise _syntax_error(number, text, error, example) from None
    if not isinstance(parsed, dict):
        raise invalid_input(
            f"line {number}, column {len(text) - len(text.lstrip()) + 1} of the manifest is no object; write one"
            f" object a line, without brackets around them or commas between them: {example}"
        )
    return parsed


class _RepeatedField(Exception):
    pass


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise _RepeatedField
    return fields


def _syntax_error(number: int, text: str, error: Exception, example: str) -> VoxFleetError:
    column = error.colno if isinstance(error, json.JSONDecodeError) else 1
    if isinstance(error, _RepeatedField):
        what = "names a field twice"
    elif text.lstrip().startswith("["):
        what = "begins a list; write one object a line, without brackets around them or commas between them"
    elif text.lstrip().startswith(("#", "//")):
        what = "is a comment; delete it"
    elif text.strip() == "{":
        what = "holds a part of an object; write each object on one line"
    elif isinstance(error, json.JSONDecodeError) and error.msg == "Extra data":
        what = "something follows the object; write one object a line, without a comma behind it"
    elif isinstance(error, json.JSONDecodeError):
        what = f"is not JSON ({error.msg})"
    else:
        what = (
            "is not read: it is nested too deeply" if isinstance(error, RecursionError) else "holds a number too long"
        )
    return invalid_input(f"line {number}, column {column} of the manifest: {what}; write {example}")


class _Columns(dict[str, int]):
    """The column of each field in a line of JSON, found when a message asks for it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def get(self, field: str, default: int = 1) -> int:  # type: ignore[override] # the one call that Place makes
        return self._text.find(json.dumps(field)) + 1 or default


def _csv_rows(lines: _Lines, number: int, first: str, example: str) -> Iterator[tuple[Place, InputManifestLine]]:
    announced = _bare(first) if _bare(first).startswith("sep=") else None
    header_line = next((text for _, text in lines if text.strip(_BLANKS) and _bare(text) != announced), "")
    delimiter = announced[4:5] if announced else _delimiter(header_line)
    if delimiter not in _DELIMITERS or not set(_names(header_line, delimiter)) & set(COLUMNS):
        raise invalid_input(
            f"line {number}, column 1 of the manifest begins neither a JSON object nor a CSV header; write {example} on"
            " each line, or CSV with a header such as id,uri,sha256; comments are not read"
        )
    line = 1
    marked = False

    def texts() -> Iterator[str]:
        nonlocal marked
        for number, text in lines:
            if number == line:  # the others go on with a quoted field, which keeps every character
                marked = text.startswith(_MARK)
                yield text.lstrip(_MARK)
            else:
                yield text

    reader = csv.reader(
        texts(),
        delimiter=delimiter,
        strict=True,
        skipinitialspace=f"{delimiter} " in header_line,  # whoever writes `id, uri` writes `a, "b.wav"`
    )
    header: list[str] | None = None
    names: list[str] = []
    try:
        for cells in reader:
            if any(cell.strip(_BLANKS) for cell in cells) and _bare(delimiter.join(cells)) != announced:
                bare_cells = [cell.strip(_BLANKS) for cell in cells]
                lower_cells = [cell.lower() for cell in bare_cells]
                if header is None:
                    header, names = bare_cells, _checked_header(line, lower_cells)
                elif bare_cells == header or (marked and lower_cells == names):
                    raise invalid_input(
                        f"line {line}, column 1 of the manifest repeats the header; delete the line, which begins what"
                        " was joined to the file"
                    )
                else:
                    yield _csv_row(line, names, cells)
            line = reader.line_num + 1
    except csv.Error as error:
        raise invalid_input(
            f"line {line} of the manifest is not CSV with {_DELIMITERS[delimiter]} between the fields ({error}); close"
            ' each quoted field, and write a quote inside one twice: "a ""b"" c"'
        ) from None


def _delimiter(header: str) -> str:
    """The delimiter with which most columns of the header are known."""
    return max(_DELIMITERS, key=lambda delimiter: len(set(_names(header, delimiter)) & set(COLUMNS)))


def _names(header: str, delimiter: str) -> list[str]:
    return [name.strip(_BLANKS).strip('"').strip().lower() for name in header.split(delimiter)]


def _bare(line: str) -> str:
    """A line without its end and a mark, for comparison. A tab at its end stays: it may be a delimiter."""
    return line.strip(f"{_MARK} \r\n").lower()


def _checked_header(line: int, names: list[str]) -> list[str]:
    def wrong(column: int, what: str) -> VoxFleetError:
        return invalid_input(
            f"line {line}, column {column} of the manifest: {what}; a CSV header is made of {', '.join(COLUMNS)}, in"
            " any order and with commas between them"
        )

    for column, name in enumerate(names, start=1):
        if name in _OTHER_NAMES:
            raise wrong(column, f"call {name} uri")
        if name not in COLUMNS:
            raise wrong(
                column, "there is no such column; delete it" if name else "the column has no name; name or delete it"
            )
        if name in names[: column - 1]:
            raise wrong(column, f"{name} stands already in column {names.index(name) + 1}; delete one of them")
    if "id" not in names:
        raise wrong(1, "there is no column id; add it, with a name for each clip")
    if "uri" not in names and "text" not in names:
        raise wrong(1, "there is neither a column uri nor a column text; add one")
    return names


def _csv_row(line: int, names: Sequence[str], cells: Sequence[str]) -> tuple[Place, InputManifestLine]:
    if len(cells) != len(names):
        raise invalid_input(
            f"line {line}, column {min(len(cells), len(names)) + 1} of the manifest: the row has {len(cells)} fields"
            f" and the header {len(names)}; quote a field that holds the delimiter"
        )
    fields = {name: cell for name, cell in zip(names, cells, strict=True) if cell}
    place = Place(line, {name: column for column, name in enumerate(names, start=1)})
    return _validated(place, fields, f"write a value for each of {', '.join(names)}")


def _validated(place: Place, fields: object, advice: str) -> tuple[Place, InputManifestLine]:
    try:
        return place, InputManifestLine.model_validate(fields)
    except ValidationError as error:
        wrong = error.errors()[0]
        field = str(wrong["loc"][0]) if wrong["loc"] else ""
        said = {"missing": "is missing", "extra_forbidden": "is not known; delete it"}.get(wrong["type"], wrong["msg"])
        if wrong["type"] == "extra_forbidden" and field in _OTHER_NAMES:
            said = "is called uri here"
        if field == "id" and wrong["type"] == "string_type":
            said = "is no text; put it into quotes"
        raise invalid_input(f"{place.of(field)}: {field[:64]} {said}; {advice}") from None
