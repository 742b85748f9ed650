"""Who may import whom: everybody what stands lower, nobody what stands higher or beside."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from paths import ROOT

# From the ground up; what stands on one line stands beside each other.
FLOORS = """
ggcp_schema.language
ggcp_schema.enums
ggcp_schema.order
ggcp_schema.history ggcp_schema.places
ggcp_schema.tensor
ggcp_schema.model
ggcp_schema.variants
ggcp_schema.optimizer
ggcp_schema.lora ggcp_schema.ggla ggcp_schema.magicless ggcp_schema.gguf
ggcp_schema.foreign
ggcp_schema.checkpoint
ggcp_schema.synthetic
ggcp_schema.document
ggcp_schema
converter.assumptions
converter.roles converter.version converter.threads
converter.errors converter.progress converter.parts
converter.shell
converter.plan converter.llama_tokenizer
converter.snapshot converter.facts
converter.disk converter.numeric
converter.gguf_io converter.hf_io
converter.layouts converter.resume converter.vocabulary
converter.inputs converter.report
converter.use_cases
converter.cli
converter
"""
PLACES = {room: floor for floor, rooms in enumerate(FLOORS.split("\n")) for room in rooms.split()}

Edge = tuple[str, str]


def modules(root: Path) -> dict[str, ast.Module]:
    """Every module of the two packages, by name."""
    found = {}
    for package in ("converter", "ggcp_schema"):
        for path in sorted((root / package).rglob("*.py")):
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports(trees: Mapping[str, ast.Module]) -> Iterator[Edge]:
    """Which module imports which, wherever in it the import stands."""
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from ((name, alias.name) for alias in node.names if _ours(alias.name))
            elif isinstance(node, ast.ImportFrom) and _ours(node.module or "") and not node.level:
                for alias in node.names:
                    whole = f"{node.module}.{alias.name}"
                    yield name, whole if whole in trees else node.module or ""


def _ours(name: str) -> bool:
    return name.split(".")[0] in ("converter", "ggcp_schema")


def room(module: str) -> str:
    """The package that a module belongs to; a module at the top is a room of its own."""
    return ".".join(module.split(".")[:2])


def against_the_rule(edges: Iterator[Edge] | list[Edge]) -> list[Edge]:
    """Imports of what stands higher or beside."""
    return [
        (one, other)
        for one, other in edges
        if room(one) != room(other) and PLACES[room(other)] >= PLACES[room(one)]
    ]


def circle(edges: Iterator[Edge] | list[Edge]) -> list[str]:
    """Modules that import each other in a circle; empty if there is none."""
    left: dict[str, set[str]] = {}
    for one, other in edges:
        left.setdefault(one, set()).add(other)
        left.setdefault(other, set())
    while True:
        free = {name for name, needs in left.items() if not needs}
        if not free:
            return sorted(left)
        left = {name: needs - free for name, needs in left.items() if name not in free}


@pytest.fixture(scope="module")
def edges() -> list[Edge]:
    return list(imports(modules(ROOT)))


def test_every_room_has_its_place(edges: list[Edge]) -> None:
    assert {room(module) for module in modules(ROOT)} - {"converter.__main__"} == set(PLACES)
    assert len(edges) > 200


def test_nobody_imports_what_stands_higher_or_beside(edges: list[Edge]) -> None:
    lazily = ("converter", "ggcp_schema")  # the public faces name what is above them
    assert against_the_rule([e for e in edges if e[0] not in (*lazily, "converter.__main__")]) == []


def test_there_is_no_circle(edges: list[Edge]) -> None:
    faces = ("converter", "ggcp_schema")
    assert circle([edge for edge in edges if edge[1] not in faces and edge[0] not in faces]) == []


def test_the_domain_does_not_know_the_command_line(edges: list[Edge]) -> None:
    above = ("converter.cli", "converter", "converter.__main__")
    assert [e for e in edges if room(e[1]) == "converter.cli" and room(e[0]) not in above] == []


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("converter.layouts.adapter", "from converter.resume import detect", True),
        ("converter.disk.output", "from converter.plan import Plan", False),
        ("converter.numeric.delta", "import converter.cli.terminal", True),
        ("ggcp_schema.tensor", "def f():\n    from ggcp_schema.model import Model", True),
        ("converter.errors", "from converter.progress import LOGGER", True),
        ("converter.cli.commands", "from converter import use_cases", False),
        ("ggcp_schema.language.fields", "import os", False),
    ],
)
def test_the_rule_is_kept_by_this_test(module: str, line: str, broken: bool) -> None:
    trees = {**modules(ROOT), module: ast.parse(line)}
    found = [edge for edge in imports(trees) if edge[0] == module]
    assert bool(against_the_rule(found)) == broken


def test_a_circle_is_found() -> None:
    assert circle([("a", "b"), ("b", "c"), ("c", "b"), ("d", "a")]) == ["a", "b", "c", "d"]
    assert circle([("a", "b"), ("b", "c"), ("a", "c")]) == []


def test_no_room_and_no_floor_is_too_large() -> None:
    """Files beyond 350 lines, and folders beyond fourteen modules, tell that something is."""
    for package in ("converter", "ggcp_schema"):
        for path in (ROOT / package).rglob("*.py"):
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 350, path
        for folder in (ROOT / package, *(ROOT / package).rglob("*/")):
            assert len(list(folder.glob("*.py"))) <= 14, folder
