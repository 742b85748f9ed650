"""The regions of the map: what each is called and how long it is, from offsets packed by hand."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from packed import VECTORS, Packed, checkpoint

from converter import inspect
from converter.report.text import as_text


def regions(path: Path) -> list[tuple[str, int]]:
    """Name and bytes of each line of the map."""
    lines = as_text(inspect(path), plain=True).splitlines()
    first = lines.index("Map of the file, to scale (bytes)") + 1
    found = [re.match(r"  (\S.*?)  +([\d,]+)  ", line) for line in lines[first:]]
    taken = itertools.takewhile(bool, found)
    return [(each[1], int(each[2].replace(",", ""))) for each in taken if each]


def expected(file: Packed, vectors: list[str], layers: int) -> list[tuple[str, int]]:
    """A region ends where the data of its last record do; past losses of none are no region."""
    ends = {
        "header": file.fields["model.tok_embeddings.n_dims"][0],
        "token embeddings": sum(file.fields["model.tok_embeddings.data"]),
        "last norm": sum(file.fields["model.norm.data"]),
        "output": sum(file.fields["model.output.data"]),
    }
    for layer in range(layers):
        ends[f"layer {layer}"] = sum(file.fields[f"model.layers[{layer}].feed_forward.w3.data"])
    ends["optimizer header"] = file.fields[f"optimizer.state.{vectors[0]}.n_dims"][0]
    for name in vectors:
        ends[name.replace("_", " ")] = sum(file.fields[f"optimizer.state.{name}.data"])
    ends["last numbers"] = len(file.data)
    lengths = [b - a for a, b in itertools.pairwise([0, *ends.values()])]
    return list(zip(ends, lengths, strict=True))


ADAM, LBFGS = VECTORS[0, "adam"], VECTORS["lbfgs"]
MEMORY = ["memory_alpha", "memory_ys", "memory_s", "memory_y"]
FILES = {
    "version 0 Adam": (checkpoint(n_layer=2), ADAM, 2),
    "past losses": (checkpoint(n_layer=1, past=3), [*ADAM, "past_loss_values"], 1),
    "version 1 Adam": (checkpoint(1), VECTORS[1, "adam"], 0),
    "version 1 L-BFGS": (checkpoint(1, "lbfgs", n_layer=2), LBFGS + MEMORY, 2),
}


@pytest.mark.parametrize("name", FILES)
def test_a_whole_file(name: str, tmp_path: Path) -> None:
    file, vectors, layers = FILES[name]
    path = tmp_path / "whole.bin"
    path.write_bytes(file.data)
    assert regions(path) == expected(file, vectors, layers)


def test_kinds_of_regions(tmp_path: Path) -> None:
    path = tmp_path / "whole.bin"
    path.write_bytes(checkpoint(n_layer=2).data)
    model = ["header", "table", "norm", "table", "layer", "layer"]
    state = ["numbers", *["optimizer"] * len(ADAM), "numbers"]
    assert [region.kind for region in inspect(path).regions] == [*model, *state]


@pytest.mark.parametrize(("layers", "lines"), [(16, 24), (17, 8)])
def test_layers_are_put_together_beyond_24_lines(layers: int, lines: int, tmp_path: Path) -> None:
    path = tmp_path / "layers.bin"
    file = checkpoint(1, n_layer=layers)
    path.write_bytes(file.data)
    found = regions(path)
    assert len(found) == lines + (lines == 8)
    whole = expected(file, VECTORS[1, "adam"], layers)
    assert found[:4] == whole[:4]
    assert found[-4:] == whole[-4:]
    if lines == 8:
        assert found[4] == ("layers 0 to 16", sum(length for _label, length in whole[4:21]))


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut(name: str, tmp_path: Path) -> None:
    """What is behind the last whole record was not read."""
    file, vectors, layers = FILES[name]
    path = tmp_path / "cut.bin"
    cut = file.fields[f"optimizer.state.{vectors[1]}.data"][0] + 3
    path.write_bytes(file.data[:cut])
    *whole, last = regions(path)
    assert whole == expected(file, vectors, layers)[: len(whole)]
    assert whole[-1][0] == vectors[0].replace("_", " ")
    assert last == ("not read", cut - sum(length for _label, length in whole))
