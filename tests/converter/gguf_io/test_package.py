"""What the writer leans on inside the gguf package is still there, in each version allowed."""

from __future__ import annotations

import inspect
import io
from importlib.metadata import version

import pytest
from gguf import GGUFValueType, GGUFWriter
from gguf.gguf_writer import WriterState

CHANGED = (
    f"gguf {version('gguf')} is not inside as the writer needs it: adapt _HeadWriter in "
    "converter/gguf_io/writer.py, or lower the bound in pyproject.toml"
)

# fmt: off
METHODS = {
    "open_output_file": ["self", "path"],
    "write_header_to_file": ["self", "path"],
    "write_kv_data_to_file": ["self"],
    "write_ti_data_to_file": ["self"],
    "add_key_value": ["self", "key", "val", "vtype", "sub_type"],
    "_pack": ["self", "fmt", "value", "skip_pack_prefix"],
    "_pack_val": ["self", "val", "vtype", "add_vtype", "sub_type"],
}
# fmt: on


@pytest.mark.parametrize("name", METHODS)
def test_the_methods(name: str) -> None:
    method = getattr(GGUFWriter, name, None)
    assert method is not None, CHANGED
    assert list(inspect.signature(method).parameters) == METHODS[name], CHANGED


def test_the_members() -> None:
    """Of a writer without a path: whatever opens the file sets ``fout`` and ``state``."""

    class Writer(GGUFWriter):
        def open_output_file(self, path: object = None) -> None:
            self.fout = [file]  # type: ignore[list-item]
            self.state = WriterState.EMPTY

    file = io.BytesIO()
    writer = Writer(None, "llama")
    writer.add_key_value("k", [7], GGUFValueType.ARRAY, GGUFValueType.UINT8)
    assert writer.data_alignment == 32, CHANGED
    writer.write_header_to_file()
    assert file.getvalue() == b"GGUF\3\0\0\0" + bytes(8) + b"\2" + bytes(7), CHANGED
    assert writer.state is WriterState.HEADER, CHANGED
    assert list(writer.kv_data[0]) == ["general.architecture", "k"], CHANGED
    item = writer.kv_data[0]["k"]
    found = (item.value, item.type, item.sub_type)
    assert found == ([7], GGUFValueType.ARRAY, GGUFValueType.UINT8), CHANGED
    assert writer._pack("Q", 5) == b"\5" + bytes(7), CHANGED
    assert writer._pack_val("k", GGUFValueType.STRING, add_vtype=False) == b"\1" + bytes(7) + b"k"
    writer.state = WriterState.KV_DATA
    writer.write_ti_data_to_file()
    assert writer.state is WriterState.TI_DATA, CHANGED
