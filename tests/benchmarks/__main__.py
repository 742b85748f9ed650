"""Measures whole commands against what any program would have to do: ``python tests/benchmarks``.

Prints a table of figures and targets. All but memory and seconds are ratios of medians of runs in
turns, each with the rival it is against. Takes 13 GB in a temporary folder, and time. Nothing
is asserted: a machine that is busy gives other figures.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from convert import conversion, parsing, start_up, statistics
from export import export
from folder import folder
from merge import merge
from timing import print_table
from trainer_gguf import trainer_gguf

PARTS = {
    "conversion": conversion,
    "statistics": statistics,
    "export": export,
    "trainer-gguf": trainer_gguf,
    "merge": merge,
    "folder": folder,
    "parsing": parsing,
    "start-up": start_up,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--folder", help="where to write 13 GB (default: the temporary folder)")
    parser.add_argument("--rounds", type=int, default=7, help="runs of each (default: 7)")
    parser.add_argument("--only", choices=PARTS, help="measure only this")
    options = parser.parse_args()
    figures = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for name, part in PARTS.items():
            if options.only in (None, name):
                figures += part(Path(folder), options.rounds)
    print_table(figures)


if __name__ == "__main__":
    main()
