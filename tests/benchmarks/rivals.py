"""What the converter is measured against: the least that any program would have to do.

``python rivals.py copy SOURCE SPANS TARGET`` copies runs of bytes inside the kernel, nothing else.
``python rivals.py memmap SOURCE SPANS TARGET`` does it as the historical converter did.
``python rivals.py parse FILE REPEATS`` prints the times of the schema and of a `struct` loop.
``python rivals.py loop SOURCE SPANS`` looks at all numbers with NumPy, as a plain script would.
``python rivals.py quantize SOURCE SPANS TARGET TYPE`` rounds whole matrices by the gguf package.
``python rivals.py cast SOURCE SPANS TARGET TYPE`` reads, casts once with NumPy and writes: the
floor, as no type takes less (Q8_0 needs the largest number of each block besides).
``python rivals.py merge LORA BASE PAIRS TARGET`` adds the product of each pair to a whole matrix.
``python rivals.py digest SOURCE`` computes its SHA-256 alone.
``python rivals.py hashed FOLDER TARGET`` copies files in the kernel, and hashes them meanwhile.

SPANS is a JSON file with offset, length and offset in the target of each run; PAIRS one with offset
and length of each matrix, and offset and dimensions of the halves that change it.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import statistics
import struct
import sys
import threading
import time
from pathlib import Path

BLOCK_BYTES = 1 << 20
"""As in the package: what is read at once."""


def copy(source: str, spans: str, target: str) -> None:
    """Import what every converter to GGUF must import, then let the kernel copy."""
    import construct  # noqa: F401 - its time counts
    import gguf  # noqa: F401 - likewise

    with Path(source).open("rb") as one, Path(target).open("wb") as other:
        for offset, length, place in json.loads(Path(spans).read_text()):
            done = 0
            while done < length:
                done += os.copy_file_range(
                    *(one.fileno(), other.fileno(), length - done, offset + done, place + done)
                )


def memmap(source: str, spans: str, target: str) -> None:
    """Map the source and write arrays of it."""
    import gguf  # noqa: F401 - its time counts
    import numpy as np

    whole = np.memmap(source, dtype=np.uint8, mode="r")
    with Path(target).open("wb") as file:
        for offset, length, place in json.loads(Path(spans).read_text()):
            file.seek(place)
            whole[offset : offset + length].tofile(file)


def records(path: str) -> list[tuple[bytes, tuple[int, ...], int]]:
    """Name, dimensions and offset of the data of each tensor, with nothing but `struct`."""
    found = []
    with Path(path).open("rb") as file:
        header = struct.unpack("<11I", file.read(44))
        count = 3 + 9 * header[9]
        for _ in range(count):
            n_dims, length, _type = struct.unpack("<3I", file.read(12))
            dims = struct.unpack(f"<{n_dims}I", file.read(4 * n_dims))
            name = file.read(length)
            offset = -(-file.tell() // 32) * 32
            size = 4
            for dimension in dims:
                size *= dimension
            file.seek(offset + size)
            found.append((name, dims, offset))
    return found


def parse(path: str, repeats: str) -> None:
    """Print the medians of both, in turns in one process; nothing here waits for a disk."""
    from ggcp_schema import parse as parse_by_schema

    times: dict[str, list[float]] = {"schema": [], "struct": []}
    for _ in range(int(repeats)):
        gc.collect()  # each pays for its own garbage only
        start = time.process_time()
        parse_by_schema(path).close()
        times["schema"].append(time.process_time() - start)
        gc.collect()
        start = time.process_time()
        records(path)
        times["struct"].append(time.process_time() - start)
    print(json.dumps({name: statistics.median(some) for name, some in times.items()}))


def loop(source: str, spans: str) -> None:
    """Print least, largest, mean and zeros of each run, read in blocks."""
    import numpy as np

    with Path(source).open("rb") as file:
        for offset, length, _place in json.loads(Path(spans).read_text()):
            file.seek(offset)
            found = []
            for start in range(0, length, BLOCK_BYTES):
                values = np.fromfile(file, "<f4", min(BLOCK_BYTES, length - start) // 4)
                mean = float(values.mean())
                found.append((values.min(), values.max(), mean, np.count_nonzero(values)))
            print(found[-1:])


def quantize(source: str, spans: str, target: str, outtype: str) -> None:
    """Do what a plain converter does: whole matrices through the gguf package."""
    import construct  # noqa: F401 - its time counts
    import gguf
    import numpy as np

    kind = gguf.GGMLQuantizationType[outtype.upper()]
    with Path(source).open("rb") as one, Path(target).open("wb") as other:
        for offset, length, _place in json.loads(Path(spans).read_text()):
            one.seek(offset)
            values = np.fromfile(one, "<f4", length // 4)
            if length > 4 * 1024:  # matrices, here
                values = gguf.quants.quantize(values.reshape(-1, 1024), kind)
            values.tofile(other)


def cast(source: str, spans: str, target: str, outtype: str) -> None:
    """Cast in blocks that stay in the cache."""
    import construct  # noqa: F401 - its time counts
    import gguf  # noqa: F401 - likewise
    import numpy as np

    kind = {"f16": np.float16, "bf16": np.uint16, "q8_0": np.int8}[outtype]
    with Path(source).open("rb") as one, Path(target).open("wb") as other:
        for offset, length, _place in json.loads(Path(spans).read_text()):
            one.seek(offset)
            for start in range(0, length, BLOCK_BYTES):
                values = np.fromfile(one, "<f4", min(BLOCK_BYTES, length - start) // 4)
                values.astype(kind).tofile(other)


def merge(lora: str, base: str, pairs: str, target: str) -> None:
    """Do what a plain script does, with the product as the linear algebra library makes it."""
    import construct  # noqa: F401 - its time counts
    import gguf  # noqa: F401 - likewise
    import numpy as np

    with (
        Path(lora).open("rb") as one,
        Path(base).open("rb") as two,
        Path(target).open("wb") as file,
    ):
        for offset, length, halves in json.loads(Path(pairs).read_text()):
            a, b = (
                np.fromfile(one, "<f4", rank * sum(size), offset=place - one.tell()).reshape(
                    -1, rank
                )
                for place, rank, *size in halves
            )
            weights = np.fromfile(two, "<f4", length // 4, offset=offset - two.tell())
            (weights.reshape(len(b), -1) + b @ a.T).tofile(file)


def digest(source: str | Path) -> None:
    """Compute a SHA-256, and print nothing."""
    sha256 = hashlib.sha256()
    with Path(source).open("rb", buffering=0) as file:
        while block := file.read(BLOCK_BYTES):
            sha256.update(block)


def hashed(source: str, target: str) -> None:
    """Do the least that a folder with checksums takes."""
    Path(target).mkdir()
    for path in Path(source).iterdir():
        hashing = threading.Thread(target=digest, args=(path,))
        hashing.start()
        with path.open("rb") as one, (Path(target) / path.name).open("wb") as other:
            while os.copy_file_range(one.fileno(), other.fileno(), 1 << 30):
                pass
        hashing.join()


RIVALS = (copy, memmap, parse, loop, quantize, cast, merge, digest, hashed)

if __name__ == "__main__":
    {rival.__name__: rival for rival in RIVALS}[sys.argv[1]](*sys.argv[2:])
