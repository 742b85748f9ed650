"""The commits of llama.cpp that the page names, and when they were made."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ggcp_schema.document.page import Block, Bullets, Paragraph, Table

MASTER = {
    "e32089b2c": "2023-06-13",
    "eaa6ca5a6": "2023-06-26",
    "43033b7bb": "2023-08-28",
    "44c117f41": "2023-08-28",
}
"""Commits of the master branch."""

# d39c8e686 to bfc311913 were written from 2023-06-15 on and rebased on the day given.
BRANCHES = {
    "42d9b4cfc": "2023-05-21",
    "d39c8e686": "2023-07-28",
    "d395b19c8": "2023-07-28",
    "51dc77092": "2023-07-28",
    "bfc311913": "2023-07-28",
    "4ed096c6b": "2023-08-14",
    "4072f20bb": "2023-08-24",
    "5ce92aed3": "2023-08-29",
    "ecb1b20c8": "2023-08-29",
    "0564f4ed1": "2023-08-29",
}
"""Commits of the branches on which the trainers were developed (github.com/xaedes/llama.cpp)."""

_COMMIT = re.compile(r"\b(?=[a-f]*[0-9])[0-9a-f]{9}\b")


def named(blocks: Iterable[Block]) -> set[str]:
    """Return the commits that the text of a page names."""
    return {
        commit for block in blocks for text in _texts(block) for commit in _COMMIT.findall(text)
    }


def dates(commits: set[str]) -> str:
    """Return commits with their dates, in the order of time, as a sentence.

    Raises:
        LookupError: the date of one of them is not known.
    """
    unknown = commits - {*MASTER, *BRANCHES}
    if unknown:
        raise LookupError(", ".join(sorted(unknown)))
    lists = (
        ", ".join(f"{commit} {date}" for commit, date in known.items() if commit in commits)
        for known in (MASTER, BRANCHES)
    )
    master, branches = lists
    return (
        f"Words such as e32089b2c are commits of llama.cpp. On its master branch: {master}. On "
        f"the branches where the trainers were developed: {branches} (those of July were written "
        "from June on)."
    )


def _texts(block: Block) -> Iterator[str]:
    if isinstance(block, Paragraph):
        yield block.words
    elif isinstance(block, Bullets):
        yield from block.entries
    elif isinstance(block, Table):
        for row in block.rows:
            yield from row
