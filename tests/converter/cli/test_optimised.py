"""`python -O`, the C locale, closed and broken streams: the same bytes, messages and exit codes."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import ENVIRONMENT, ROOT
from tiny_files import write_inputs

LINES = [
    "convert in.bin OUT",
    "convert in.bin OUT --verify",
    "convert in.bin OUT --resume-with flash",
    "convert cut.bin OUT",
    "convert damaged.bin OUT",
    "convert vocab.gguf OUT",
    "export in.bin OUT --vocab vocab.gguf --outtype f16",
    "export in.bin OUT --vocab in.bin",
    "export cut.bin OUT --vocab vocab.gguf --rescue",
    "export lora.bin OUT",
    "export lora.bin OUT --merge base.gguf --outtype q8_0",
    "export lora.bin OUT --merge vocab.gguf",
    "inspect cut.bin --stats",
    "inspect in.bin --json",
    "inspect in.bin --html OUT",
    "verify in.bin base.gguf",
    "verify in.bin damaged.bin",
    "synth OUT --n-head 5",
    "synth OUT --n-layer 1",
    "document --check in.bin",
    "convert",
]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    whole = (folder / "in.bin").read_bytes()
    (folder / "cut.bin").write_bytes(whole[:-100])
    (folder / "damaged.bin").write_bytes(whole[:50] + b"\xff" + whole[51:])
    return folder


# Every line in one process: 21 starts of Python would take twelve seconds.
EACH = """
import io, sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from converter.cli import main
assert not __debug__ or sys.argv[1] == "plain", "not optimised"
for line in sys.argv[2:]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main(line.split())
        except SystemExit as exit:
            code = exit.code
    made = Path("OUT").read_bytes() if Path("OUT").exists() else None
    Path("OUT").unlink(missing_ok=True)
    print(repr((line, code, out.getvalue(), err.getvalue(), made)))
"""


def outcomes(inputs: Path, *options: str) -> list[tuple[str, int, str, str, bytes | None]]:
    kind = "optimised" if options else "plain"
    done = subprocess.run(
        [sys.executable, *options, "-c", EACH, kind, *LINES],
        cwd=inputs,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ast.literal_eval(line) for line in done.stdout.splitlines()]


def test_optimised_python_does_the_same(inputs: Path) -> None:
    plain = outcomes(inputs)
    assert {code for _, code, *_ in plain} == {0, 1, 2}
    assert outcomes(inputs, "-O") == plain
    assert outcomes(inputs, "-OO") == plain


def sources() -> Iterator[Path]:
    for package in ("converter", "ggcp_schema"):
        yield from (ROOT / package).rglob("*.py")


def test_no_behaviour_hangs_on_an_assertion() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assert) or (isinstance(node, ast.Name) and node.id == "__debug__")
    ]
    assert found == []


SHOWING = [line for line in LINES if "OUT" not in line] + ["--help", "export --help", "document"]


def shell(line: str, inputs: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", line.replace("ggcp", f"{sys.executable} -m converter")],
        cwd=inputs,
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("line", SHOWING)
def test_streams_that_are_closed_or_break(line: str, inputs: Path) -> None:
    whole = shell(f"ggcp {line}", inputs)
    closed = f"ggcp {line} >&-; ggcp {line} 2>&-; ggcp {line} >&- 2>&- <&-"
    broken = f"ggcp {line} | head -1; ggcp {line} 2>&1 >/dev/null | head -c 1 >/dev/null"
    for command in (closed, broken):
        done = shell(command, inputs)
        assert b"Traceback" not in done.stderr
        assert b"Exception" not in done.stderr
        # argparse sends its help to standard error where there is no standard output.
        assert len(done.stderr) <= 3 * len(whole.stderr or whole.stdout)


@pytest.mark.parametrize(
    "locale",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "POSIX"},
    ],
    ids=["ASCII", "ASCII streams", "POSIX"],
)
def test_c_locale(locale: dict[str, str], inputs: Path) -> None:
    (inputs / "é🦙.bin").write_bytes((inputs / "in.bin").read_bytes()[:-1])
    for line in ("inspect é🦙.bin", "document", "convert é🦙.bin OUT", "verify in.bin base.gguf"):
        done = shell(f"ggcp {line}", inputs, **locale)
        said = done.stdout + done.stderr
        assert b"Traceback" not in said
        assert b"UnicodeEncodeError" not in said
        assert done.returncode == (0 if line == "document" else 1)
        if "🦙" in line:
            escaped = rb"\xe9\U0001f999.bin", rb"\xc3\xa9\xf0\x9f\xa6\x99.bin"
            assert any(name in done.stderr for name in (*escaped, "é🦙.bin".encode()))
    assert not os.path.exists(inputs / "OUT")  # noqa: PTH110 - as the shell sees it
