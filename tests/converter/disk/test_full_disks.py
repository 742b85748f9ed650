"""Real file systems that are full, read-only or another than the input's, and limits on files."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import COMMAND, ENVIRONMENT
from tiny_files import WRITING, perform, write_inputs

from converter import ConversionError
from ggcp_schema import FormatError

every_writer = pytest.mark.parametrize("line", WRITING.values(), ids=WRITING.keys())
FULL = "the disk is full; make room on it, or write to another one"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    return folder


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB, which is another than that of the inputs."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "ggcp-test", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small disk takes root's rights")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(disk: Path, leave: int) -> None:
    """Leave no more than some bytes, in whole pages."""
    with (disk / "filling").open("wb", buffering=0) as file:
        while file.write(bytes(4096)) == 4096:
            status = os.statvfs(disk)
            if status.f_bavail * status.f_frsize <= leave:
                return


@every_writer
def test_a_full_disk(line: str, inputs: Path, disk: Path) -> None:
    perform(line, folder=inputs, out=disk / "out")  # from one disk to another
    whole = (disk / "out").read_bytes()
    fill(disk, 0)
    for force in ([], ["--force"]):
        output = disk / ("out" if force else "new")
        with pytest.raises(ConversionError) as caught:
            perform(line, *force, folder=inputs, out=output)
        assert FULL in str(caught.value)
    assert {path.name for path in disk.iterdir()} == {"out", "filling"}
    assert (disk / "out").read_bytes() == whole


def test_a_disk_nearly_full_is_noticed_before_anything_is_copied(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    perform("synth {out} --n-vocab 2000", out=tmp_path / "in.bin")
    copied: list[object] = []
    for name in ("copy_file_range", "sendfile", "pwrite"):
        monkeypatch.setattr(os, name, lambda *arguments: copied.append(arguments))
    with pytest.raises(ConversionError, match="the disk is full; "):
        perform("convert {folder}/in.bin {out}", folder=tmp_path, out=disk / "out")
    assert copied == []
    assert list(disk.iterdir()) == []


@every_writer
def test_a_read_only_disk(line: str, inputs: Path, disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(ConversionError) as caught:
        perform(line, folder=inputs, out=disk / "out")
    found = "out: the disk is read-only; write to another one"
    assert found in str(caught.value)


@pytest.mark.parametrize("limit", [1, 100, 1000, 1500])
@pytest.mark.parametrize("name", [*WRITING])
def test_a_limit_on_the_size_of_files(name: str, limit: int, inputs: Path, folder: Path) -> None:
    """The system writes a part, then refuses the rest."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python itself does
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises((ConversionError, FormatError)) as caught:
            perform(WRITING[name], folder=inputs, out=folder / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert "this disk or shell allows no file of this size; " in str(caught.value)
    assert list(folder.iterdir()) == []


def test_a_limit_on_the_size_of_files_in_a_shell(inputs: Path, folder: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "convert", str(inputs / "in.bin"), str(folder / "out"), "--quiet"],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"ggcp: {folder}/out: this disk or shell allows no file of this size; "
        "write to another disk\n"
    )
    assert list(folder.iterdir()) == []


@every_writer
def test_a_folder_that_may_not_be_written(line: str, tmp_path: Path) -> None:
    """Root may write everywhere, so it gives that right away; the packages stay readable."""
    write_inputs(tmp_path)
    tmp_path.chmod(0o555)
    as_anyone = ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []
    if as_anyone and shutil.which("setpriv") is None:
        pytest.skip("root needs setpriv to give the right to write everywhere away")
    arguments = [word.format(folder=".", out="out") for word in line.split()]
    done = subprocess.run(
        [*as_anyone, *COMMAND, *arguments, "--quiet"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        check=False,
    )
    tmp_path.chmod(0o755)
    assert done.returncode == 1
    assert "no permission to write there; ask for it" in done.stderr
    assert not (tmp_path / "out").exists()
