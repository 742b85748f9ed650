"""What a model says of itself, from a JSON file that anybody may have written; and file names."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest
from exported import VOCABULARY, export
from gguf_bytes import ARRAY, STRING, Key, read

from converter.errors import ConversionError
from converter.use_cases.carry_out import Writing, Written
from converter.use_cases.export import export as run_export
from converter.use_cases.export_options import ExportOptions
from ggcp_schema import FormatError

TEXTS = [
    "name",
    "author",
    "version",
    "organization",
    "finetune",
    "basename",
    "description",
    "quantized_by",
    "size_label",
    "license",
    "license.name",
    "license.link",
    "url",
    "doi",
    "uuid",
    "repo_url",
    "source.url",
    "source.doi",
    "source.uuid",
    "source.repo_url",
]
KNOWN = ", ".join(f"general.{name}" for name in [*TEXTS, "tags", "languages"])
EXAMPLE = 'give a file such as {"general.author": "Me", "general.tags": ["tiny"]}'


@pytest.fixture
def checkpoint(fixtures: Path) -> Path:
    return fixtures / "v1_adam_one.bin"


@pytest.fixture
def metadata(tmp_path: Path) -> Path:
    return tmp_path / "metadata.json"


def general(path: Path) -> list[Key]:
    fixed = ("general.architecture", "general.file_type")
    keys = (key for key in read(path).keys if key.name.startswith("general."))
    return [key for key in keys if key.name not in fixed]


def test_every_key(checkpoint: Path, metadata: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {f"general.{name}": f"{name}: ü 🙂 \n" for name in TEXTS}
    given |= {"general.languages": ["de", "en"], "general.tags": ["tiny"]}
    metadata.write_text(json.dumps(dict(reversed(given.items()))))
    path = export(checkpoint, tmp_path / "model.gguf", metadata=metadata)
    assert general(path) == [
        *(Key(f"general.{name}", STRING, f"{name}: ü 🙂 \n") for name in TEXTS),
        Key("general.tags", ARRAY, (STRING, ["tiny"])),
        Key("general.languages", ARRAY, (STRING, ["de", "en"])),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_of_json(encoding: str, checkpoint: Path, metadata: Path, tmp_path: Path) -> None:
    metadata.write_text('{"general.author": "Ünal"}', encoding=encoding)
    path = export(checkpoint, tmp_path / "model.gguf", metadata=metadata)
    assert general(path)[1] == Key("general.author", STRING, "Ünal")


@pytest.mark.parametrize(
    ("given", "option", "name"),
    [
        ({}, None, "v1_adam_one"),
        ({"general.name": "From JSON"}, None, "From JSON"),
        ({"general.name": "From JSON"}, "From the option", "From the option"),
        ({"general.name": ""}, "", "v1_adam_one"),
    ],
)
def test_the_name(
    given: dict[str, str],
    option: str | None,
    name: str,
    checkpoint: Path,
    metadata: Path,
    tmp_path: Path,
) -> None:
    metadata.write_text(json.dumps(given))
    path = export(checkpoint, tmp_path / "model.gguf", metadata=metadata, model_name=option)
    assert general(path) == [Key("general.name", STRING, name)]


UNKNOWN = f"expected one of {KNOWN}, found another key; leave it out, or correct its name"
FOLLOWS = (
    "expected keys that describe the model, found one that follows from the checkpoint and the "
    "options; leave it out"
)
TEXT = "expected a text, found {}; correct the value, or leave the key out"
LIST = "expected a list of at least one text, found {}; correct the value, or leave the key out"

HOSTILE: dict[str, tuple[str | bytes, str]] = {
    "nothing": (
        "",
        f"file: expected JSON, found 'Expecting value: line 1 column 1 (char 0)'; {EXAMPLE}",
    ),
    "no JSON": (
        "general.author: Me",
        f"file: expected JSON, found 'Expecting value: line 1 column 1 (char 0)'; {EXAMPLE}",
    ),
    "no object": ("[]", f"file: expected a JSON object, found an empty list; {EXAMPLE}"),
    "a number": ("7", f"file: expected a JSON object, found the number 7; {EXAMPLE}"),
    "a null": ("null", f"file: expected a JSON object, found null; {EXAMPLE}"),
    "too large": (
        '{"general.author": "' + "a" * 2**20 + '"}',
        "file: expected a JSON file of at most 1048576 bytes, found 1048598 bytes; give the file "
        "that describes the model, not the model",
    ),
    "the architecture": ('{"general.architecture": "gpt2"}', f"general.architecture: {FOLLOWS}"),
    "the alignment": ('{"general.alignment": 8}', f"general.alignment: {FOLLOWS}"),
    "the type": ('{"general.file_type": 1}', f"general.file_type: {FOLLOWS}"),
    "another key": ('{"author": "Me"}', f"author: {UNKNOWN}"),
    "a key of the model": ('{"llama.block_count": 1}', f"llama.block_count: {UNKNOWN}"),
    "a template": ('{"tokenizer.chat_template": ""}', f"tokenizer.chat_template: {UNKNOWN}"),
    "a key that tricks a terminal": (r'{"\u001b[2J": 1}', rf"\x1b[2J: {UNKNOWN}"),
    "a key twice": (
        '{"general.url": "a", "general.url": "b"}',
        "general.url: expected each key once, found a second value; leave one of them out",
    ),
    "a number for a text": ('{"general.name": 1}', f"general.name: {TEXT.format('the number 1')}"),
    "true for a text": ('{"general.name": true}', f"general.name: {TEXT.format('true')}"),
    "null for a text": ('{"general.name": null}', f"general.name: {TEXT.format('null')}"),
    "a list for a text": (
        '{"general.name": ["a"]}',
        f"general.name: {TEXT.format('a list')}",
    ),
    "an object for a text": (
        '{"general.name": {"a": {"b": 1}}}',
        f"general.name: {TEXT.format('an object')}",
    ),
    "half a character": (
        r'{"general.name": "\ud800"}',
        f"general.name: {TEXT.format('half a character (a surrogate)')}",
    ),
    "a text for a list": ('{"general.tags": "a"}', f"general.tags: {LIST.format('a text')}"),
    "an empty list": ('{"general.tags": []}', f"general.tags: {LIST.format('an empty list')}"),
    "a list of lists": (
        '{"general.tags": ["a", ["b"]]}',
        f"general.tags: {LIST.format('a list')}",
    ),
    "half a character in a list": (
        r'{"general.tags": ["a", "\udfff"]}',
        f"general.tags: {LIST.format('a list')}",
    ),
}


@pytest.mark.parametrize(("data", "message"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_json(
    data: str, message: str, checkpoint: Path, metadata: Path, folder: Path
) -> None:
    metadata.write_text(data)
    with pytest.raises(FormatError) as caught:
        export(checkpoint, folder / "model.gguf", metadata=metadata)
    assert str(caught.value) == f"{metadata}: {message}"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 100_000,
        b'{"general.tags": ' + b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"general.name": ' + b"9" * 100_000 + b"}",
        b'{"general.name": "\xff"}',
        b"\x00" * 100,
        b'{"general.name": NaN',
    ],
)
def test_json_that_python_fails_on(
    data: bytes, checkpoint: Path, metadata: Path, folder: Path
) -> None:
    metadata.write_bytes(data)
    start = time.process_time()
    with pytest.raises(FormatError) as caught:
        export(checkpoint, folder / "model.gguf", metadata=metadata)
    assert time.process_time() - start < 5
    assert (caught.value.expected, caught.value.hint) == ("JSON", EXAMPLE)
    assert "\n" not in str(caught.value)
    assert list(folder.iterdir()) == []


def test_no_such_file(checkpoint: Path, metadata: Path, folder: Path) -> None:
    with pytest.raises(FormatError) as caught:
        export(checkpoint, folder / "model.gguf", metadata=metadata)
    assert str(caught.value) == (f"{metadata}: no such file; check the name and the folder")


def test_a_name_that_is_no_text(checkpoint: Path, folder: Path) -> None:
    with pytest.raises(ConversionError) as caught:
        export(checkpoint, folder / "model.gguf", model_name="\udcff")
    assert str(caught.value) == (
        f"{checkpoint}: expected a model's name in UTF-8, found \\xff; give another --model-name"
    )
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["mistral", "Mistral", "mistral 7b"])
def test_the_name_that_transformers_refuses(
    name: str, checkpoint: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    export(checkpoint, folder / "model.gguf", model_name=name, epsilon=1e-5)
    warning = (
        "transformers does not load a GGUF whose name is exactly 'mistral' (NotImplementedError); "
        "give another with --model-name if it should"
    )
    warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert warnings == ([warning] if name == "mistral" else [])


def written(checkpoint: Path, path: Path, **options: Any) -> Written:
    return run_export(
        checkpoint, path, ExportOptions(VOCABULARY, **options), writing=Writing(sync=False)
    )


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("m.{ftype}.gguf", "m.bf16.gguf"),
        ("m.{FTYPE}.gguf", "m.BF16.gguf"),
        ("{outtype}-{OUTTYPE}", "bf16-BF16"),
        ("m.{other}{}{0}{ftype.x}.gguf", "m.{other}{}{0}{ftype.x}.gguf"),
        ("{", "{"),
    ],
)
def test_templates_of_names(template: str, name: str, checkpoint: Path, folder: Path) -> None:
    result = written(checkpoint, folder / template, outtype="bf16")
    assert result.path == str(folder / name)
    assert [path.name for path in folder.iterdir()] == [name]


@pytest.mark.parametrize(
    ("given", "outtype", "name"),
    [
        ({}, "f32", "v1_adam_one-16K-F32.gguf"),
        ({}, "q8_0", "v1_adam_one-16K-Q8_0.gguf"),
        ({"general.name": "Ein Modell"}, "f16", "Ein-Modell-16K-F16.gguf"),
        (
            {
                "general.name": "Long name",
                "general.basename": "Base",
                "general.finetune": "chat",
                "general.version": "v2.1",
                "general.size_label": "0.02M",
            },
            "bf16",
            "Base-0.02M-chat-v2.1-BF16.gguf",
        ),
        (
            {"general.name": "../../a\\b", "general.version": "/etc/\n\0x"},
            "f32",
            "..-..-a-b-16K--etc---x-F32.gguf",
        ),
    ],
)
def test_names_in_a_folder(
    given: dict[str, str],
    outtype: str,
    name: str,
    checkpoint: Path,
    metadata: Path,
    folder: Path,
) -> None:
    metadata.write_text(json.dumps(given))
    result = written(checkpoint, folder, metadata=metadata, outtype=outtype)
    assert result.path == str(folder / name)
    assert [path.name for path in folder.iterdir()] == [name]


def test_a_name_in_a_folder_that_is_taken(checkpoint: Path, folder: Path) -> None:
    result = written(checkpoint, folder)
    before = Path(result.path).read_bytes()
    with pytest.raises(ConversionError) as caught:
        written(checkpoint, folder)
    assert str(caught.value) == (
        f"{result.path}: expected a name that is free, found a file of that name; give another "
        "name, or --force to replace it"
    )
    assert Path(result.path).read_bytes() == before
