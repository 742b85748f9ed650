"""The vocabulary in the folder of a checkpoint: found, suggested, and never taken by itself."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest
from command import run
from fuzz.corpus import sentencepiece
from packed import checkpoint
from vocabulary_files import SPECIAL, ggjt, gguf, tokenizer

from converter.vocabulary.beside import Beside, advice, vocabularies_beside
from ggcp_schema import Source

THREE = (b"<unk>", b"<s>", b"</s>")


def found(folder: Path, token_count: int = 3) -> list[str]:
    """The names that are found beside a checkpoint in the folder."""
    names = [each.name for each in vocabularies_beside(folder / "in.bin", token_count)]
    return [str(Path(name).relative_to(folder)) for name in names]


def test_every_kind_that_can_be_given_is_found_the_best_first(tmp_path: Path) -> None:
    (tmp_path / "in.bin").write_bytes(checkpoint(1, n_vocab=3).data)
    (tmp_path / "z.gguf").write_bytes(gguf(*tokenizer(*THREE)))
    (tmp_path / "old.bin").write_bytes(ggjt(*SPECIAL))
    (tmp_path / "older.bin").write_bytes(ggjt(*SPECIAL, magic=b"fmgg", version=1))
    (tmp_path / "four.bin").write_bytes(ggjt(*SPECIAL, (b"a", 0.0)))
    (tmp_path / "note.txt").write_text("the vocabulary is <unk>")
    (tmp_path / "empty").write_bytes(b"")
    assert found(tmp_path) == ["z.gguf", "old.bin", "older.bin"]
    assert found(tmp_path, 4) == ["four.bin"]
    assert found(tmp_path, 5) == []
    assert vocabularies_beside(tmp_path / "in.bin", 4) == (
        Beside(str(tmp_path / "four.bin"), "a LLaMA model file (ggjt) with 4 tokens"),
    )


def test_sentencepiece(tmp_path: Path) -> None:
    """The pieces are counted without the package that reads them."""
    model = sentencepiece()
    (tmp_path / "tokenizer.model").write_bytes(model)
    (tmp_path / "cut.model").write_bytes(model[:9])
    (tmp_path / "damaged.model").write_bytes(model + b"\x0b")  # a group, which no model has
    (tmp_path / "behind.model").write_bytes(model + b"\x82")  # the beginning of a number
    assert found(tmp_path, 5) == ["tokenizer.model"]


PIECE = b"\n\x03\n\x01a"  # pieces, 3 bytes: piece "a"


def test_a_sentencepiece_model_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    model = sentencepiece()
    left = (1 << 20) - len(model) - 4
    whole = model + b"\n" + bytes((left & 0x7F | 0x80, left >> 7 & 0x7F | 0x80, left >> 14))
    (tmp_path / "large.model").write_bytes(whole + bytes(left))  # one more piece, of a megabyte
    assert (tmp_path / "large.model").stat().st_size == 1 << 20
    assert found(tmp_path, 6) == ["large.model"]
    (tmp_path / "large.model").write_bytes(whole + bytes(left) + PIECE)
    assert found(tmp_path, 6) == found(tmp_path, 7) == []


def test_what_needs_a_package_comes_last(fixtures: Path, tmp_path: Path) -> None:
    (tmp_path / "a.model").write_bytes(sentencepiece() + 295 * PIECE)
    shutil.copy(fixtures / "base16.gguf", tmp_path / "b.gguf")
    shutil.copy(fixtures / "vocab300.ggjt", tmp_path / "c.bin")
    shutil.copy(fixtures / "vocab300.gguf", tmp_path / "d.gguf")
    assert found(tmp_path, 300) == ["d.gguf", "c.bin", "b.gguf", "a.model"]


def test_a_file_is_not_beside_itself(tmp_path: Path) -> None:
    (tmp_path / "in.bin").write_bytes(ggjt(*SPECIAL))
    (tmp_path / "other.bin").write_bytes(ggjt(*SPECIAL))
    assert found(tmp_path) == ["other.bin"]


def test_real_files(fixtures: Path, tmp_path: Path) -> None:
    for name in ("vocab300.ggjt", "vocab300.gguf", "base16.gguf", "v0_adam_one.bin"):
        shutil.copy(fixtures / name, tmp_path)
    names = ["vocab300.gguf", "vocab300.ggjt", "base16.gguf"]
    assert found(tmp_path, 300) == names


def test_the_name_is_as_the_checkpoint_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.bin").write_bytes(b"")
    (tmp_path / "v").write_bytes(ggjt(*SPECIAL))
    monkeypatch.chdir(tmp_path)
    for checkpoint_name, name in (("in.bin", "v"), ("./in.bin", "./v"), ("../x/in", "../x/v")):
        (tmp_path.parent / "x").mkdir(exist_ok=True)
        shutil.copy("v", tmp_path.parent / "x")
        assert [each.name for each in vocabularies_beside(checkpoint_name, 3)] == [name]


def test_no_link_pipe_or_folder_is_opened(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "vocab.bin").write_bytes(ggjt(*SPECIAL))
    (tmp_path / "link.bin").symlink_to(other / "vocab.bin")
    os.mkfifo(tmp_path / "vocab.pipe")
    (tmp_path / "circle").symlink_to("circle")
    assert found(tmp_path) == []


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert vocabularies_beside(tmp_path / "no" / "in.bin", 3) == ()
    (tmp_path / "file").touch()
    assert vocabularies_beside(tmp_path / "file" / "in.bin", 3) == ()


def test_so_many_files_and_the_likeliest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(70):
        (tmp_path / f"a{index:02}.bin").write_bytes(b"nothing")
    (tmp_path / "z.bin").write_bytes(ggjt(*SPECIAL))
    (tmp_path / "z-Vocab.bin").write_bytes(ggjt(*SPECIAL))
    opened = []
    good = Source.open

    def counting(path: str) -> Source:
        opened.append(path)
        return good(path)

    monkeypatch.setattr(Source, "open", counting)
    assert found(tmp_path) == ["z-Vocab.bin"]
    assert len(opened) == 64
    (tmp_path / "z-Tokenizer.bin").write_bytes(ggjt(*SPECIAL))
    assert found(tmp_path) == ["z-Tokenizer.bin", "z-Vocab.bin"]


def test_no_more_than_a_megabyte_is_read_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = [(b"%d" % index, 0.0) for index in range(100_000)]
    (tmp_path / "large.bin").write_bytes(ggjt(*SPECIAL, *tokens))
    (tmp_path / "large.gguf").write_bytes(gguf(*tokenizer(*(text for text, _ in tokens))))
    assert (tmp_path / "large.bin").stat().st_size > 1 << 20
    assert (tmp_path / "large.gguf").stat().st_size > 1 << 20
    read = []
    read_at = Source.read_at

    def counting(self: Source, offset: int, length: int) -> bytes:
        read.append((offset, length))
        return read_at(self, offset, length)

    monkeypatch.setattr(Source, "read_at", counting)
    assert found(tmp_path, 100_003) == ["large.bin"]  # whose number stands in front
    assert found(tmp_path, 100_000) == []
    assert set(read) == {(0, 1 << 20)}


def test_the_advice() -> None:
    assert advice(32_000, ()) == (
        "32,000 are LLaMA's: any GGUF or .bin of LLaMA 1 or 2 holds them, their tokenizer.model, "
        "and https://github.com/ggml-org/llama.cpp/raw/c392e5094deaf2d1a7c18683214f007fad3fe42b/"
        "models/ggml-vocab-llama-spm.gguf"
    )
    assert advice(300, ()) == (
        "not LLaMA's, which has 32,000: look for the file that was the trainer's --vocab-model, "
        "for its --model-out (ggml-NAME.bin), or for a tokenizer.model"
    )
    one = Beside("ggml-vocab.bin", "")
    assert advice(300, (one,)) == (
        "found ggml-vocab.bin with 300 tokens: if the model was trained with it, add --vocab "
        "ggml-vocab.bin"
    )
    assert advice(300, (Beside("a b", ""), one)) == (
        "found a b (and 1 more) with 300 tokens: if the model was trained with it, add --vocab "
        "'a b'"
    )


class TestWhereItIsMissing:
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "in.bin").write_bytes(checkpoint(1, n_vocab=3, n_layer=1).data)
        return tmp_path

    def test_export_says_which_and_where(self, tmp_path: Path) -> None:
        folder = self.folder(tmp_path)
        done = run("export", "in.bin", "out.gguf", cwd=folder)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.splitlines()[-1].endswith(
            "the following arguments are required: --vocab, a file with the 3 tokens that the "
            "model was trained with; not LLaMA's, which has 32,000: look for the file that was "
            "the trainer's --vocab-model, for its --model-out (ggml-NAME.bin), or for a "
            "tokenizer.model; see ggcp export --help"
        )
        (folder / "ggml-vocab.bin").write_bytes(ggjt(*SPECIAL))
        done = run("export", "in.bin", "out.gguf", cwd=folder)
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1].endswith(
            "; found ggml-vocab.bin with 3 tokens: if the model was trained with it, add --vocab "
            "ggml-vocab.bin; see ggcp export --help"
        )
        assert not (folder / "out.gguf").exists()

    def test_the_commands_of_inspect_have_it(self, tmp_path: Path) -> None:
        folder = self.folder(tmp_path)
        (folder / "a vocabulary.bin").write_bytes(ggjt(*SPECIAL))
        found = json.loads(run("inspect", "in.bin", "--json", cwd=folder).stdout)
        assert found["vocabulary"] == {
            "wanted_tokens": 3,
            "found": [
                {"name": "a vocabulary.bin", "what": "a LLaMA model file (ggjt) with 3 tokens"}
            ],
        }
        assert found["next"][0] == {
            "purpose": "Run the model (a vocabulary.bin has its 3 tokens)",
            "command": "ggcp export in.bin in-model.gguf --vocab 'a vocabulary.bin'",
        }

    def test_a_hostile_name_is_shown_as_escapes(self, tmp_path: Path) -> None:
        folder = self.folder(tmp_path)
        (folder / "\x1b[2J\n\u202e").write_bytes(ggjt(*SPECIAL))
        done = run("inspect", "in.bin", cwd=folder)
        assert r"found \x1b[2J\n\u202e with 3 tokens" in " ".join(done.stdout.split())
        assert r"--vocab $'\x1b[2J\x0a\xe2\x80\xae'" in done.stdout
        assert all(line.isprintable() for line in done.stdout.splitlines())

    def test_it_is_not_looked_for_where_none_is_wanted(
        self, fixtures: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "vocab.gguf").write_bytes((fixtures / "vocab300.gguf").read_bytes())
        for name in ("ggcl_v1_adam_1a5f0a30e.bin", "chk_aug23_rope.gguf"):
            shutil.copy(fixtures / name, tmp_path)
            found = json.loads(run("inspect", name, "--json", cwd=tmp_path).stdout)
            assert found["vocabulary"] == {"wanted_tokens": None, "found": []}
            assert not any("vocab" in step["command"] for step in found["next"])


def test_links_leave_room_for_files(tmp_path: Path) -> None:
    """Of so many files as are opened none is a link, whatever it promises."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").write_bytes(b"nothing")
    for index in range(64):
        (tmp_path / f"vocab{index}.bin").symlink_to(other / "file")
    (tmp_path / "z.bin").write_bytes(ggjt(*SPECIAL))
    assert found(tmp_path) == ["z.bin"]


def test_a_file_that_went_or_may_not_be_read_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.bin", "b.bin", "c.bin"):
        (tmp_path / name).write_bytes(ggjt(*SPECIAL))
    good = Source.open

    def opened(path: str) -> Source:
        if path.endswith("b.bin"):
            Path(path).unlink()
        return good(path)

    monkeypatch.setattr(Source, "open", opened)
    assert found(tmp_path) == ["a.bin", "c.bin"]


class _Entry:
    """An entry of a folder that is no file."""

    name = "vocab"

    def is_file(self, *, follow_symlinks: bool) -> bool:
        return follow_symlinks


@pytest.mark.parametrize(("others", "names"), [(4095, ["z.bin"]), (4096, [])])
def test_no_more_than_4096_names_are_looked_at(
    others: int, names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "z.bin").write_bytes(ggjt(*SPECIAL))
    with os.scandir(tmp_path) as entries:
        listed = [*[_Entry()] * others, *entries]
    monkeypatch.setattr(os, "scandir", lambda _: nullcontext(iter(listed)))
    assert found(tmp_path) == names
