"""Target: folders like those of ``export --format hf``: verify, inspect, replace with --force."""

from __future__ import annotations

import functools
import hashlib
import json
import random
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fuzz import common
from fuzz.members import HUGE, lay, mutated, packed, read, unpacked

_NEW = b"new\n"


def _checkpoints() -> tuple[tuple[bytes, dict[str, Any]], ...]:
    """Checkpoints, and the options of ``export --format hf`` with each."""
    from fuzz.corpus import (
        TOKENIZER_PIECES,
        lora,
        resumable,
        sentencepiece,
        training,
        whole_models,
        written,
    )
    from ggcp_schema.enums import OptimizerType
    from ggcp_schema.order import Order
    from ggcp_schema.synthetic import Synthetic, SyntheticMagicless

    sizes = {
        "vocabulary_size": len(TOKENIZER_PIECES),
        "embedding_length": 4,
        "head_count": 1,
        "block_count": 1,
    }
    tokens = common.file("folder-vocabulary")
    tokens.fill(sentencepiece(TOKENIZER_PIECES))
    base = common.file("folder-base")
    base.fill(next(whole_models()))
    known = {"order": Order.SCRATCH, "batch": 1}
    adam = written(Synthetic(**sizes, feed_forward_multiple=4, unseen_token_count=1))
    lbfgs = written(Synthetic(**sizes, feed_forward_multiple=4, optimizer_type=OptimizerType.LBFGS))
    return (
        (training(), known),
        (adam, {**known, "vocabulary": tokens.name}),
        (lbfgs, {"vocabulary": tokens.name, "outtype": "f16"}),
        (written(SyntheticMagicless(**sizes, feed_forward_multiple=4)), {"context_length": 8}),
        (lora(), {"base": base.name}),
        (resumable(training()), {"outtype": "bf16"}),
        (training()[:-300], {"rescue": True}),
    )


@functools.cache
def _inputs() -> tuple[tuple[str, str | None], ...]:
    """For each checkpoint its name, and that of its base."""
    return tuple(
        (common.file(f"checkpoint {number}").fill(data), options.get("base"))
        for number, (data, options) in enumerate(_checkpoints())
    )


def seeds() -> Iterator[bytes]:
    """Inputs to start from: a folder of each checkpoint."""
    from converter.use_cases.carry_out import Writing
    from converter.use_cases.export_folder import export_folder
    from converter.use_cases.export_options import FolderOptions

    with tempfile.TemporaryDirectory() as temporary:
        for number, (_, options) in enumerate(_checkpoints()):
            folder = Path(temporary, str(number))
            export_folder(
                _inputs()[number][0], folder, FolderOptions(**options), writing=Writing(sync=False)
            )
            yield packed(number, read(folder))


def fresh(chance: random.Random) -> bytes:
    """A new input."""
    return chance.choice(_seeds())


@functools.cache
def _seeds() -> list[bytes]:
    return list(seeds())


def target(data: bytes) -> None:
    """Verify and inspect a folder, then replace it, which must do all or nothing."""
    from converter import ConversionError
    from ggcp_schema import FormatError

    number, members = unpacked(data)
    checkpoint, base = _inputs()[number % len(_inputs())]
    with tempfile.TemporaryDirectory(dir=common.memory()) as place:
        folder = Path(place, "folder")
        lay(members, folder)
        for action in (_verify, _inspect, _replace):
            try:
                action(folder, checkpoint, base)
            except (FormatError, ConversionError) as error:
                common.require_good_message(error, opening=True)


def _verify(folder: Path, checkpoint: str, base: str | None) -> None:
    from converter.use_cases.verify import verify

    before = _tree(folder)
    found = verify(checkpoint, folder, base=base)
    assert len(found) <= 101
    for line in found:
        assert common.is_one_line(line), repr(line)
        assert len(line) < 1000, line[:1000]
    assert found or _holds_what_it_lists(folder)
    assert _tree(folder) == before


def _inspect(folder: Path, _checkpoint: str, _base: str | None) -> None:
    from converter.report.json import folder_as_json
    from converter.use_cases.folders import files_of, manifest_of

    manifest = manifest_of(str(folder))
    if manifest is None:
        files_of(str(folder))
    else:
        assert json.dumps(folder_as_json(str(folder), manifest), allow_nan=False).isascii()


def _replace(folder: Path, _checkpoint: str, _base: str | None) -> None:
    from converter import ConversionError
    from converter.disk.folder_output import FolderOutput

    before = _tree(folder)
    links = any(map(Path.is_symlink, folder.iterdir()))
    as_written = _holds_what_it_lists(folder) and not links
    try:
        with FolderOutput(folder, force=True, sync=False) as output:
            output.file("new", len(_NEW)).write((_NEW,))
            output.commit({})
        assert as_written
        assert sorted(path.name for path in folder.iterdir()) == ["ggcp.json", "new"]
        assert (folder / "new").read_bytes() == _NEW
    except ConversionError:
        assert _tree(folder) == before
        raise
    finally:
        assert list(folder.parent.iterdir()) == [folder]


def _tree(folder: Path) -> dict[str, tuple[int, int, int, int]]:
    """What tells that something in a folder was touched."""
    found = ((path.name, path.lstat()) for path in folder.iterdir())
    return {
        name: (status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns)
        for name, status in found
    }


def _holds_what_it_lists(folder: Path) -> bool:
    """Whether a folder holds the files of its ggcp.json; links count as what they lead to."""
    listing = folder / "ggcp.json"
    try:
        status = listing.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size >= HUGE:
            return False  # it could be read for ever
        files = json.loads(listing.read_bytes())["files"]
        names = {path.name for path in folder.iterdir()}
        return names == {*files, "ggcp.json"} and all(
            _is_as_listed(folder / name, listed) for name, listed in files.items()
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return False


def _is_as_listed(path: Path, listed: dict[str, Any]) -> bool:
    if not path.is_file() or not path.stat().st_size == listed["size"] < HUGE:
        return False
    return hashlib.sha256(path.read_bytes()).hexdigest() == listed["sha256"]


def load() -> Any:
    """Import what is tested."""
    from fuzz.mutation import mutator

    return target, mutator(fresh, mutated)


if __name__ == "__main__":
    common.main(load)
