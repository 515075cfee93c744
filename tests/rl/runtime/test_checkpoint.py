"""Checkpoints: they come back as saved, and whatever interrupts a write, the newest complete one loads."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from rl.config import Config, parse_config
from rl.records import Tensors, Weights
from rl.runtime.checkpoint import CheckpointError, latest_checkpoint, load_checkpoint, save_checkpoint
from rl.weights import load_agent, resolve

SETTINGS = {"env": "tic_tac_toe", "net": {"encoder": {"kind": "mlp"}}, "run": {"learner_steps": 1}}
CONFIG: Config = parse_config(SETTINGS, "a test")
PARTS: dict[str, Tensors] = {
    "learner": {
        "matrix": np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4),
        "transposed": np.arange(12).reshape(3, 4).T,
        "step": np.array(7, np.int64),
        "flag": np.array(True),
        "mask": np.array([[True, False, True]]),
    },
    "experience": {"rows": np.array([2**62 + 1, -(2**62)], np.int64), "moves": np.arange(-3, 4, dtype=np.int16)},
    "actor-0": {"none": np.zeros((0, 9), np.int64)},
    "actor-1": {},
}


def save(root: str | Path, step: int, generation: int = 0, keep: int = 3, size: int = 4) -> str:
    """A checkpoint whose every piece tells its ``generation``; ``size`` elements in its one large array."""
    parts: dict[str, Tensors] = {"learner": {"generation": np.array(generation)}, "experience": {}}
    parts["experience"]["rows"] = np.full(size, generation)
    weights = Weights(step, {"generation": np.full(3, generation)})
    return save_checkpoint(root, step, parts, {"generation": generation}, weights, CONFIG, {"g": generation}, keep)


def generation_in(path: str) -> int:
    """The one generation that all pieces of the checkpoint tell; damage or a mixture fails."""
    found = load_checkpoint(path)
    generation = found.state["generation"]
    assert np.all(found.parts["learner"]["generation"] == generation)
    assert len(found.parts["experience"]["rows"]) and np.all(found.parts["experience"]["rows"] == generation)
    assert found.parts.keys() == {"learner", "experience"}
    return generation


def steps(root: Path) -> list[str]:
    return sorted(entry.name for entry in root.iterdir())


def one_sentence(error: pytest.ExceptionInfo[CheckpointError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.fixture(params=["local", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "local":
        yield str(tmp_path / "run/checkpoints")
    else:
        MemoryFileSystem.store.clear()
        MemoryFileSystem.pseudo_dirs[:] = [""]
        yield "memory://bucket/run/checkpoints"
        MemoryFileSystem.store.clear()
        MemoryFileSystem.pseudo_dirs[:] = [""]


def test_a_run_comes_back_as_it_was_saved(root: str) -> None:
    rng = np.random.Generator(np.random.PCG64(5))
    rng.random(3)
    state = {"rng": rng.bit_generator.state, "big": 2**200 + 1, "format": "bfloat16", "wandb": None, "share": 0.1}
    path = save_checkpoint(root, 1234, PARTS, state, Weights(1234, {"w": np.ones(2)}), CONFIG, {"games": 3}, keep=2)
    assert path.endswith("step-00001234")
    assert latest_checkpoint(root) == path
    expected = rng.random(5)

    found = load_checkpoint(path)
    assert found.step == 1234
    assert found.state == state
    assert found.parts.keys() == PARTS.keys()
    for part, tensors in PARTS.items():
        assert found.parts[part].keys() == tensors.keys()
        for name, saved in tensors.items():
            loaded = found.parts[part][name]
            assert loaded.dtype == saved.dtype and loaded.shape == saved.shape
            assert loaded.flags.writeable  # those who restore may take the arrays as their own
            np.testing.assert_array_equal(loaded, saved)
    again = np.random.Generator(np.random.PCG64(0))
    again.bit_generator.state = found.state["rng"]
    np.testing.assert_array_equal(again.random(5), expected)


def test_the_agent_in_a_checkpoint_is_found_and_loads(tmp_path: Path) -> None:
    save(tmp_path / "checkpoints", 8, generation=8)
    save(tmp_path / "checkpoints", 9, generation=9)
    agent = load_agent(resolve(tmp_path))
    assert agent.weights.version == 9 and agent.config == CONFIG and agent.info == {"g": 9}


def test_the_newest_are_kept(root: str) -> None:
    assert latest_checkpoint(root) is None
    saved: list[str] = []
    for step in (1, 2, 9, 10, 11):
        saved.append(save(root, step, generation=step, keep=2))
        assert latest_checkpoint(root) == saved[-1]
        assert [generation_in(path) for path in saved[-2:]] == [1, 2, 9, 10, 11][: len(saved)][-2:]
        for path in saved[:-2]:
            with pytest.raises(CheckpointError, match="there is no checkpoint"):
                load_checkpoint(path)
    # Never the one just written, whatever else lies there.
    assert generation_in(save(root, 5, generation=5, keep=1)) == 5


def test_a_step_saved_again_replaces_the_old_one(root: str) -> None:
    save(root, 3, generation=1)
    path = save(root, 3, generation=2)
    assert latest_checkpoint(root) == path
    assert generation_in(path) == 2
    with pytest.raises(CheckpointError):
        load_checkpoint(path + ".replaced")


def test_what_is_no_json_or_no_name_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    weights = Weights(1, {})
    with pytest.raises(TypeError):
        save_checkpoint(tmp_path, 1, {}, {"array": np.zeros(2)}, weights, CONFIG, {}, 1)
    for name in ("weights", "../learner", ""):
        with pytest.raises(ValueError, match="cannot be called"):
            save_checkpoint(tmp_path, 1, {name: {}}, {}, weights, CONFIG, {}, 1)
    assert steps(tmp_path) == []
    with pytest.raises(TypeError, match="words"):
        save_checkpoint(tmp_path, 1, {"a": {"words": np.array(["x"])}}, {}, weights, CONFIG, {}, 1)
    assert steps(tmp_path) == []


def truncate(folder: Path) -> None:
    file = folder / "experience.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def flip(folder: Path) -> None:
    content = bytearray((folder / "learner.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "learner.safetensors").write_bytes(content)


def edit_manifest(folder: Path, **changes: Any) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | changes))


DAMAGE = {
    "experience.safetensors has": truncate,
    "learner.safetensors does not match its checksum": flip,
    "lacks weights.safetensors": lambda folder: (folder / "weights.safetensors").unlink(),
    "its writing was interrupted": lambda folder: (folder / "manifest.json").unlink(),
    "damaged manifest.json": lambda folder: (folder / "manifest.json").write_text('{"format": 1, "fil'),
    "a damaged manifest": lambda folder: (folder / "manifest.json").write_text("[1]"),
    "has a damaged manifest": lambda folder: edit_manifest(folder, files={"../../x": {"bytes": 1, "sha256": ""}}),
    "format version 9": lambda folder: edit_manifest(folder, format=9),
}


@pytest.mark.parametrize("complaint", DAMAGE)
def test_a_damaged_checkpoint_is_named_and_skipped(
    complaint: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    older, newer = save(tmp_path, 1, generation=1), save(tmp_path, 2, generation=2)
    assert latest_checkpoint(tmp_path) == newer and not caplog.records
    DAMAGE[complaint](Path(newer))
    with pytest.raises(CheckpointError, match=complaint) as error:
        load_checkpoint(newer)
    assert newer in one_sentence(error)
    assert latest_checkpoint(tmp_path) == older
    [warning] = caplog.records
    assert warning.levelname == "WARNING" and newer in warning.message and complaint in warning.message
    # Incomplete ones are not counted among those to keep, so that they cannot push out sound ones. (Contents are not
    # read again at every save, so one with a flipped bit is counted.)
    save(tmp_path, 3, generation=3, keep=3 if DAMAGE[complaint] is flip else 2)
    assert generation_in(older) == 1


def test_leftovers_of_interrupted_writes_go_at_the_next_save(tmp_path: Path) -> None:
    save(tmp_path, 1)
    shutil.copytree(tmp_path / "step-00000001", tmp_path / ".step-00000002.123.partial")
    shutil.copytree(tmp_path / "step-00000001", tmp_path / "step-00000001.replaced")
    (tmp_path / "step-00000003").mkdir()
    (tmp_path / "step-00000003/learner.safetensors").write_bytes(b"half of it")
    (tmp_path / "notes.txt").write_text("the user's own")
    save(tmp_path, 4)
    assert steps(tmp_path) == ["notes.txt", "step-00000001", "step-00000004"]


def test_an_unknown_kind_of_url_is_named() -> None:
    with pytest.raises(CheckpointError, match="nosuch://bucket") as error:
        latest_checkpoint("nosuch://bucket/run")
    one_sentence(error)


# --- disks that are full ---------------------------------------------------------------------------------------------


def test_a_full_disk_is_named_and_harms_nothing(tmp_path: Path) -> None:
    """On a real file system of 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "fuseki-test", str(disk)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root; the file size limit below is tested instead")
    try:
        root = disk / "checkpoints"
        older = save(root, 1, generation=1, size=60_000)  # 480 kB
        with pytest.raises(CheckpointError, match="disk is full") as error:
            save(root, 2, generation=2, size=100_000)
        message = one_sentence(error)
        assert repr(str(root)) in message and "takes 0.8 MB" in message and "0.5 MB are free" in message
        assert steps(root) == ["step-00000001"]
        assert latest_checkpoint(root) == older and generation_in(older) == 1
        # The same step again, too: the one to be replaced stays.
        with pytest.raises(CheckpointError, match="disk is full"):
            save(root, 1, generation=2, size=100_000)
        assert steps(root) == ["step-00000001"] and generation_in(older) == 1
        assert generation_in(save(root, 3, generation=3, size=50_000, keep=1)) == 3
        assert steps(root) == ["step-00000003"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@contextlib.contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_size_limit_is_named_and_harms_nothing(tmp_path: Path) -> None:
    older = save(tmp_path, 1, generation=1)
    with file_size_limit(500_000), pytest.raises(CheckpointError, match="ulimit -f") as error:
        save(tmp_path, 2, generation=2, size=100_000)
    assert str(tmp_path) in one_sentence(error)
    assert steps(tmp_path) == ["step-00000001"]
    assert latest_checkpoint(tmp_path) == older and generation_in(older) == 1


def test_a_root_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    with pytest.raises(CheckpointError, match="cannot write the checkpoint of step 1") as error:
        save(tmp_path / "checkpoints", 1)
    assert str(tmp_path) in one_sentence(error)


# --- interruptions ---------------------------------------------------------------------------------------------------


def write_forever(root: Path, reports: int) -> None:
    """Save on and on, every step twice; tell the pipe ``reports`` of each generation once it is saved."""
    newest = latest_checkpoint(root)
    generation = load_checkpoint(newest).state["generation"] if newest else 0
    while True:
        generation += 1
        save(root, generation // 2, generation, keep=2, size=100_000)
        os.write(reports, generation.to_bytes(8, "little"))


def kill_writers(root: Path, kills: int) -> None:
    """Kill a writing process ``kills`` times at random moments; after each, what it reported as saved must load."""
    rng = random.Random(0)
    reported, amid = 0, 0
    for _ in range(kills):
        receive, send = os.pipe()
        child = os.fork()
        if child == 0:
            write_forever(root, send)
        os.close(send)
        reported = max(reported, int.from_bytes(os.read(receive, 8), "little"))  # the first, so that it is at work
        time.sleep(rng.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(receive, "rb") as pipe:
            while report := pipe.read(8):
                reported = int.from_bytes(report, "little")
        newest = latest_checkpoint(root)
        assert newest is not None
        # One further than reported: it was killed between the rename and the report.
        assert generation_in(newest) in (reported, reported + 1), (newest, reported)
        assert load_agent(resolve(root)).info == {"g": generation_in(newest)}
        amid += any(name.endswith(".partial") for name in steps(root))
        assert len(steps(root)) <= 5  # leftovers do not pile up
    print(json.dumps({"generations": reported, "amid": amid}))


def test_a_writer_killed_at_any_moment_leaves_a_checkpoint_that_loads(tmp_path: Path) -> None:
    # A process of its own, without pytest's threads, that forks the writers: one costs milliseconds.
    command = [sys.executable, __file__, str(tmp_path), "30"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["generations"] > 30
    assert counts["amid"] >= 5, "too few kills came amid a write for the test to mean anything"


def test_a_remote_write_cut_after_any_operation_leaves_a_checkpoint_that_loads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The store is copied before each operation on it; every copy is what a killed process would have left."""
    root = "memory://cut/checkpoints"
    copies: list[tuple[int, dict[str, bytes]]] = []
    saved = 0

    def watch(name: str) -> None:
        original = getattr(MemoryFileSystem, name)

        def watched(self: MemoryFileSystem, *args: Any, **options: Any) -> Any:
            copies.append((saved, {path: file.getvalue() for path, file in self.store.items()}))
            return original(self, *args, **options)

        monkeypatch.setattr(MemoryFileSystem, name, watched)

    MemoryFileSystem.store.clear()
    with monkeypatch.context():
        for name in ("_open", "cp_file", "rm_file"):
            watch(name)
        for generation in range(1, 9):
            save(root, generation // 2, generation, keep=1)
            saved = generation
    monkeypatch.undo()

    fs = MemoryFileSystem()
    older, newer = 0, 0
    for before, copy in copies:
        MemoryFileSystem.store.clear()
        MemoryFileSystem.pseudo_dirs[:] = [""]
        fs.pipe(copy)
        for manifest in fs.glob("/cut/checkpoints/*/manifest.json"):
            assert generation_in(f"memory://{manifest.removesuffix('/manifest.json')}") in (before, before + 1)
        newest = latest_checkpoint(root)
        if before == 0 and newest is None:
            continue
        assert newest is not None
        generation = generation_in(newest)
        assert generation in (before, before + 1)
        older, newer = older + (generation == before), newer + (generation > before)
    assert older >= 8 * 4 and newer >= 8  # five files a checkpoint; then the older one is removed file by file
    MemoryFileSystem.store.clear()


@pytest.mark.parametrize("failing", ["experience.safetensors", "weights.safetensors", "manifest.json"])
def test_a_remote_store_that_fails_is_named_and_harms_nothing(failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = "memory://failing/checkpoints"
    MemoryFileSystem.store.clear()
    older = save(root, 1, generation=1)
    original = MemoryFileSystem._open

    def fail(self: MemoryFileSystem, path: str, mode: str = "rb", **options: Any) -> Any:
        if path.endswith(failing) and mode == "wb":
            raise OSError("the bucket went away")
        return original(self, path, mode, **options)

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "_open", fail)
        with pytest.raises(CheckpointError, match=r"step 2.*the bucket went away") as error:
            save(root, 2, generation=2)
        assert root in one_sentence(error)
    assert latest_checkpoint(root) == older and generation_in(older) == 1
    assert not MemoryFileSystem().exists("/failing/checkpoints/step-00000002")


if __name__ == "__main__":
    kill_writers(Path(sys.argv[1]), int(sys.argv[2]))
