"""Input manifests as people have them: what is read, and with which words the rest is refused."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.stages.plan.input_clip import InputClip
from voxfleet_agent.stages.plan.input_manifest import InputManifest
from voxfleet_agent.stages.plan.manifest_lines import COLUMNS
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_task import Task

MANIFEST = "file:///data/in/manifest.jsonl"
A, B = '{"id": "a", "uri": "a.wav"}', '{"id": "b", "uri": "b.wav"}'
SHA256 = "0123456789abcdef" * 4


def read(content: bytes | str, task: Task = Task.TRANSCRIBE, uri: str = MANIFEST) -> list[InputClip]:
    return InputManifest(uri, content.encode() if isinstance(content, str) else content, task)[:]


def refusal(content: bytes | str, task: Task = Task.TRANSCRIBE, uri: str = MANIFEST) -> str:
    with pytest.raises(VoxFleetError) as caught:
        read(content, task, uri)
    assert caught.value.failure_class is FailureClass.INVALID_INPUT
    return caught.value.message


def test_lines_become_clips() -> None:
    lines = [{"id": "a", "uri": "a.wav", "sha256": SHA256}, {"id": "b", "uri": "s3://other/b.wav"}]
    first, second = read("".join(json.dumps(line) + "\n" for line in lines) + "\n")
    assert first == InputClip("a", "file:///data/in/a.wav", SHA256)
    assert second == InputClip("b", "s3://other/b.wav")


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + f"{A}\n{B}\n".encode(),
        f"\ufeff{A}\n{B}\n".encode("utf-16-le"),
        f"\ufeff{A}\n{B}\n".encode("utf-16-be"),
        f"{A}\n{B}\n".encode("utf-16-le"),
        f"{A}\n{B}\n".encode("utf-16-be"),
        f"\ufeff{A}\n{B}\n".encode("utf-32-le"),
        f"{A}\r\n\r\n{B}\r\n".encode(),
        f"{A}\r{B}".encode(),
        f"{A}\r{B}\r\n\n".encode(),
        f"\ufeff\n{A}\n\ufeff{B}\n".encode(),
        f"\ufeff\ufeff{A}\n{B}".encode("utf-16-le"),
        f"\n\n  \n{A}\n\t\n\t{B} \t".encode(),
        f"{A}\n{B}".encode(),
        b"id,uri\na,a.wav\nb,b.wav\n",
        b"\xef\xbb\xbfid,uri\r\na,a.wav\r\n,\r\nb,b.wav\r\n",
        b"ID;Uri\na;a.wav\nb;b.wav",
        b"id,uri\ra,a.wav\r\nb,b.wav\n",
        b'id, uri\na, a.wav\nb, "b.wav"\n',
        b"sep=\t\nid\turi\na\ta.wav\nb\tb.wav\n",
        b"sep=;\r\nid;uri\r\na;a.wav\r\nb;b.wav",
        b"\n uri\tid\na.wav\ta\n\nb.wav\tb\n",
        b'"uri","text","id","sha256"\ra.wav,,a,\r"b.wav","","b",""\r',
        "\ufeffid,uri\na,a.wav\nb,b.wav\n".encode("utf-16-le"),
        "id,uri\na,a.wav\n\ufeffb,b.wav\n".encode(),
        'id,uri\na,a.wav\n\ufeff"b","b.wav"\n'.encode(),
    ],
)
def test_what_spreadsheets_and_editors_write_is_read(content: bytes) -> None:
    assert read(content) == [InputClip("a", "file:///data/in/a.wav"), InputClip("b", "file:///data/in/b.wav")]


def test_csv_keeps_every_character_of_a_field() -> None:
    content = f'id,uri,sha256\n" 1","a, ""b"";\n c.wav ",{SHA256.upper()}\n'
    assert read(content) == [InputClip(" 1", 'file:///data/in/a, "b";\n c.wav ', SHA256)]
    assert read('id,uri\r\n"a\rb",a.wav\r\n') == [InputClip("a\rb", "file:///data/in/a.wav")]
    assert read('text,id\n"one,\n\ufefftwo",a\n', Task.SYNTHESIZE) == [InputClip("a", text="one,\n\ufefftwo")]
    assert read("id,text\nid,Text\n", Task.SYNTHESIZE) == [InputClip("id", text="Text")]


@pytest.mark.parametrize(
    ("manifest", "uri", "address"),
    [
        (MANIFEST, "a.wav", "file:///data/in/a.wav"),
        (MANIFEST, "./sub//a.wav", "file:///data/in/sub/a.wav"),
        (MANIFEST, "../b/a.wav", "file:///data/b/a.wav"),
        (MANIFEST, "/mnt/calls/a.wav", "file:///mnt/calls/a.wav"),
        (MANIFEST, "//mnt/calls/../a.wav", "file:///mnt/a.wav"),
        (MANIFEST, "back\\slash.wav", "file:///data/in/back\\slash.wav"),
        (MANIFEST, "MBMBaM 758: Ostrich.wav", "file:///data/in/MBMBaM 758: Ostrich.wav"),
        ("s3://b/k/m.jsonl", "./a//../b.wav", "s3://b/k/a//../b.wav"),
        ("s3://b/k/m.jsonl", "../a.wav", "s3://b/a.wav"),
        ("https://h/k/m.jsonl?signed=a/b", "a.wav", "https://h/k/a.wav"),
    ],
)
def test_a_name_is_relative_to_its_manifest(manifest: str, uri: str, address: str) -> None:
    (clip,) = read(json.dumps({"id": "a", "uri": uri}), uri=manifest)
    assert clip.uri == address


@pytest.mark.parametrize(
    ("second_line", "words"),
    [
        ("not json", "line 2, column 1 of the manifest: is not JSON"),
        ('{"id": "b"}', "line 2, column 1 of the manifest needs either uri or text"),
        ('{"uri": "b.wav"}', "line 2, column 1 of the manifest: id is missing; write {"),
        ('{"id": "", "uri": "b.wav"}', "line 2, column 2 of the manifest: id String should have"),
        ('{"id": 7, "uri": "b.wav"}', "line 2, column 2 of the manifest: id is no text; put it into quotes"),
        ('{"id": "b", "uri": "b.wav", "sha256": "123"}', "line 2, column 29 of the manifest: sha256 "),
        ('{"id": "b", "uri": "b.wav", "weight": 1}', "column 29 of the manifest: weight is not known; delete it"),
        ('{"audio_filepath": "b.wav", "id": "b"}', "line 2, column 2 of the manifest: audio_filepath is called uri"),
        ('{"id": "a", "uri": "b.wav"}', "line 2, column 2 of the manifest has the id of line 1"),
        ('{"id": "b", "id": "c", "uri": "b.wav"}', "line 2, column 1 of the manifest: names a field twice"),
        ('{"id": "b", "uri": "b.wav"},', "line 2, column 28 of the manifest: something follows the object"),
        ('[{"id": "b", "uri": "b.wav"},', "line 2, column 30 of the manifest: begins a list; write one object a line"),
        ('[{"id": "b", "uri": "b.wav"}]', "line 2, column 1 of the manifest is no object; write one object a line"),
        ("# mine", "line 2, column 1 of the manifest: is a comment; delete it"),
        ("{", "holds a part of an object; write each object on one line"),
        ("{" * 100_000, "line 2, column "),
        ("[" * 100_000, "line 2, column "),
        (f'{{"id": "b", "uri": {"1" * 5000}}}', "line 2, column 1 of the manifest: holds a number too long"),
        ('{"id": "b", "text": "hello"}', "line 2, column 13 of the manifest is a text, but task Transcribe needs rec"),
        ('{"id": "b", "uri": "b.wav", "text": "hello"}', "line 2, column 29 of the manifest needs either uri or text"),
        ('{"id": "\\ud800", "uri": "b.wav"}', "line 2, column 2 of the manifest: id "),
        (
            '{"id": "b", "uri": "C:\\\\calls\\\\b.wav"}',
            "column 13 of the manifest: uri is a path of Windows; write file:",
        ),
        ('{"id": "b", "uri": "\\\\\\\\nas\\\\b.wav"}', "uri is a path of Windows"),
        ('{"id": "b", "uri": "file:/calls/b.wav"}', "uri has a scheme without ://; write file:///folder/name"),
        ('{"id": "b", "uri": "~/b.wav"}', "uri names somebody's home"),
        (b'{"id": "\xe9", "uri": "b.wav"}', "line 2, column 9 of the manifest: the byte 0xE9 is not UTF-8; save"),
    ],
)
def test_a_wrong_line_of_json_is_named_without_its_content(second_line: str | bytes, words: str) -> None:
    second_line = second_line.encode() if isinstance(second_line, str) else second_line
    message = refusal(b'{"id": "a", "uri": "private.wav"}\n' + second_line)
    assert words in message
    assert "private" not in message and "b.wav" not in message and len(message) <= 1024


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("id,uri,speaker\na,a.wav,x\n", "line 1, column 3 of the manifest: there is no such column; delete it"),
        ("id,uri,\na,a.wav,\n", "line 1, column 3 of the manifest: the column has no name"),
        ("id,uri,id\na,a.wav,a\n", "line 1, column 3 of the manifest: id stands already in column 1"),
        ("id,path\na,a.wav\n", "line 1, column 2 of the manifest: call path uri"),
        ("uri,text\na.wav,\n", "line 1, column 1 of the manifest: there is no column id"),
        ("\nid,sha256\na,\n", "line 2, column 1 of the manifest: there is neither a column uri nor a column text"),
        ("a,a.wav\nb,b.wav\n", "line 1, column 1 of the manifest begins neither a JSON object nor a CSV header"),
        ("# clips\nid,uri\na,a.wav\n", "line 1, column 1 of the manifest begins neither"),
        ('id,uri\n"a\nb",a.wav\nc\n', "line 4, column 2 of the manifest: the row has 1 fields and the header 2"),
        ("id,uri\na,b,c.wav\n", "line 2, column 3 of the manifest: the row has 3 fields and the header 2"),
        ("id,uri\na,a.wav\n\ufeffID,uri\nb,b.wav\n", "line 3, column 1 of the manifest repeats the header; delete"),
        ("ID,uri\na,a.wav\nID, uri\n", "line 3, column 1 of the manifest repeats the header; delete"),
        ("id,uri\na,a.wav\na,b.wav\n", "line 3, column 1 of the manifest has the id of line 2"),
        ("uri,id\na.wav,a\nb.wav,\n", "line 3, column 2 of the manifest: id is missing; write a value for each of"),
        ("id,uri,sha256\na,a.wav,123\n", "line 2, column 3 of the manifest: sha256 "),
        ("id,text\na,hello\n", "line 2, column 2 of the manifest is a text, but task Transcribe needs recordings"),
        ('id,uri\na,a.wav\nb,"b.wav\nc,c.wav\n', "line 3 of the manifest is not CSV with commas between the fields"),
        ('id,uri\na,a.wav\nb,"b"x.wav\n', "line 3 of the manifest is not CSV"),
        (f'id,uri\na,"{"x" * 200_000}', "line 2 of the manifest is not CSV"),
        ("id,uri\na,/data/a.wav\n", ""),
        (b"id,uri\na,a.wav\n\xe9,b.wav\n", "line 3, column 1 of the manifest: the byte 0xE9 is not UTF-8"),
        (b"\xff\xfei\0d\0,", "the manifest is damaged UTF-16-LE"),
        (b"\x1f\x8b\x08", "the manifest is a gzip file; unpack it"),
        (b"PK\x03\x04", "the manifest is a zip or spreadsheet file; export it as CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "the manifest is an old spreadsheet; export it as CSV"),
        (b"\x28\xb5\x2f\xfd\x04", "the manifest is a zstd file; unpack it"),
    ],
)
def test_a_wrong_csv_file_is_told_by_line_and_column(content: str | bytes, words: str) -> None:
    if not words:
        assert read(content)[0].uri == "file:///data/a.wav"
        return
    message = refusal(content)
    assert words in message and "a.wav" not in message


def test_a_path_of_a_machine_is_no_name_in_an_object_store() -> None:
    message = refusal('{"id": "a", "uri": "/data/a.wav"}', uri="s3://calls/m.jsonl")
    assert "line 1, column 13 of the manifest: uri is a path of a machine" in message
    assert "climbs out" in refusal('{"id": "a", "uri": "../../a.wav"}', uri="s3://calls/k/m.jsonl")


def test_clips_are_read_in_any_order() -> None:
    manifest = InputManifest(MANIFEST, f"{A}\n{B}\n".encode(), Task.TRANSCRIBE)
    assert (manifest[-1].custom_id, [clip.custom_id for clip in manifest[1:]], len(manifest)) == ("b", ["b"], 2)


def test_a_row_of_blanks_alone_is_no_clip() -> None:
    assert read('id,text\n" ","\x0c"\na,one\n', Task.SYNTHESIZE) == [InputClip("a", text="one")]


def test_an_empty_manifest_has_no_clips() -> None:
    assert read(b"") == read(b"\xef\xbb\xbf\r\n \n") == read("id,uri\n") == []


_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), min_size=1, max_size=40)
_rows = st.tuples(_texts, _texts).filter(lambda row: "".join(row).strip())
"""Without rows of blanks alone, which spreadsheets leave behind and no clip is made of."""


@given(
    st.lists(_rows, min_size=1, max_size=8, unique_by=lambda row: row[0]),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.permutations(COLUMNS),
)
def test_csv_and_json_name_the_same_clips(
    rows: list[tuple[str, str]], delimiter: str, encoding: str, columns: list[str]
) -> None:
    written = io.StringIO()
    writer = csv.DictWriter(written, columns, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows({"id": name, "text": text} for name, text in rows)
    lines = "".join(json.dumps({"id": name, "text": text}) + "\n" for name, text in rows)
    expected = [InputClip(name, text=text) for name, text in rows]
    assert read(lines.encode(encoding), Task.SYNTHESIZE) == expected
    assert read(written.getvalue().encode(encoding), Task.SYNTHESIZE) == expected
