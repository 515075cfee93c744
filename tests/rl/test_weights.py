"""Agent files: what is saved is loaded, damage is named, and nothing half-written is ever seen."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from rl.config import Config, parse_config
from rl.records import Tensors, Weights
from rl.weights import AgentError, Publisher, load_agent, resolve, save_agent

TENSORS: Tensors = {
    "matrix": np.arange(12, dtype=np.float32).reshape(3, 4),
    "transposed": np.arange(12, dtype=np.float32).reshape(3, 4).T,
    "half": np.array([1.5, -2.0], np.float16),
    "scalar": np.array(7, np.int64),
    "flag": np.array(True),
    "empty": np.zeros((0, 5), np.float64),
    "bytes": np.arange(5, dtype=np.uint8),
}
INFO = {"games": 12, "note": "é", "nested": {"score": 0.5}}


@pytest.fixture
def config() -> Config:
    settings = {"env": "tic_tac_toe", "net": {"encoder": {"kind": "mlp", "width": 8}}, "run": {"learner_steps": 1}}
    return parse_config(settings, "a test")


@pytest.fixture
def agent_file(tmp_path: Path, config: Config) -> Path:
    path = tmp_path / "agent.safetensors"
    save_agent(path, Weights(41, TENSORS), config, INFO)
    return path


def problem(path: Path) -> str:
    """The one sentence that loading ``path`` fails with; it names the file."""
    with pytest.raises(AgentError) as caught:
        load_agent(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    return message


def edit_metadata(path: Path, **changes: Any) -> None:
    """Rewrite an agent file's metadata with the safetensors library itself."""
    from safetensors import safe_open

    with safe_open(str(path), framework="numpy") as opened:
        about = json.loads(opened.metadata()["fuseki"])
    save_file(load_file(path), path, metadata={"fuseki": json.dumps(about | changes)})


def test_an_agent_comes_back_as_it_was_saved(agent_file: Path, config: Config) -> None:
    agent = load_agent(agent_file)
    assert agent.weights.version == 41
    assert agent.config == config
    assert agent.info == INFO
    assert agent.weights.tensors.keys() == TENSORS.keys()
    for name, saved in TENSORS.items():
        loaded = agent.weights.tensors[name]
        assert loaded.dtype == saved.dtype and loaded.shape == saved.shape
        np.testing.assert_array_equal(loaded, saved)


def test_the_safetensors_library_reads_our_files_and_we_read_its(agent_file: Path) -> None:
    theirs = load_file(agent_file)
    for name, saved in TENSORS.items():
        np.testing.assert_array_equal(theirs[name], saved)
    edit_metadata(agent_file, info={"written by": "the library"})
    assert load_agent(agent_file).info == {"written by": "the library"}


def test_a_failed_save_leaves_the_old_file_and_no_other(agent_file: Path, config: Config) -> None:
    before = agent_file.read_bytes()
    unsuitable = {"good": np.zeros(3), "words": np.array(["a", "b"])}
    with pytest.raises(TypeError, match="words"):
        save_agent(agent_file, Weights(42, unsuitable), config, {})
    with pytest.raises(TypeError, match="JSON"):
        save_agent(agent_file, Weights(42, TENSORS), config, {"set": {1, 2}})
    assert agent_file.read_bytes() == before
    assert list(agent_file.parent.iterdir()) == [agent_file]


def test_a_missing_file_or_a_folder_is_named(tmp_path: Path) -> None:
    assert "no file" in problem(tmp_path / "nothing.safetensors")
    assert "cannot read" in problem(tmp_path)


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    for content in (b"", b"PK\x03\x04 a zip archive, say", b"\x93NUMPY" * 40):
        path = tmp_path / "other.safetensors"
        path.write_bytes(content)
        assert "not a safetensors file" in problem(path)


def test_a_file_cut_anywhere_is_refused(agent_file: Path) -> None:
    whole = agent_file.read_bytes()
    for length in [*range(9, len(whole), 97), len(whole) - 1]:
        agent_file.write_bytes(whole[:length])
        assert "truncated or corrupt" in problem(agent_file), length


def test_a_flipped_bit_in_any_tensor_is_noticed(agent_file: Path) -> None:
    whole = agent_file.read_bytes()
    begin = 8 + int.from_bytes(whole[:8], "little")
    for position in range(begin, len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        agent_file.write_bytes(damaged)
        assert "checksum" in problem(agent_file), position


def test_tensors_without_an_agent_are_named(tmp_path: Path) -> None:
    path = tmp_path / "plain.safetensors"
    save_file({"a": np.zeros(2)}, path)
    assert "no agent" in problem(path)
    for unreadable in ("{", "[]", "{}"):
        save_file({"a": np.zeros(2)}, path, metadata={"fuseki": unreadable})
        assert "unreadable metadata" in problem(path)


def test_another_format_version_is_named(agent_file: Path) -> None:
    edit_metadata(agent_file, format=2)
    assert re.search("format version 2.*reads version 1", problem(agent_file))


def test_a_configuration_from_elsewhere_is_named(agent_file: Path) -> None:
    edit_metadata(agent_file, config={"env": "tic_tac_toe", "wings": 2})
    assert "wings" in problem(agent_file)


def make_checkpoint(folder: Path, config: Config, version: int, complete: bool = True) -> Path:
    """A checkpoint as runs write them, of nothing but an agent; an incomplete one is one byte short."""
    folder.mkdir(parents=True)
    path = folder / "weights.safetensors"
    save_agent(path, Weights(version, {"a": np.zeros(1)}), config, {})
    size = path.stat().st_size + (0 if complete else 1)
    (folder / "manifest.json").write_text(json.dumps({"files": {path.name: {"bytes": size}}}))
    return path


def test_resolve_takes_run_folders_checkpoints_and_files(tmp_path: Path, config: Config) -> None:
    run = tmp_path / "run"
    make_checkpoint(run / "checkpoints/step-00000900", config, 900)
    # By step, not by the alphabet: nine digits sort before eight.
    newest = make_checkpoint(run / "checkpoints/step-100000000", config, 100_000_000)
    make_checkpoint(run / "checkpoints/step-200000000", config, 200_000_000, complete=False)
    make_checkpoint(run / "checkpoints/.step-00009999.77.partial", config, 9999)
    (run / "checkpoints/step-300000000").mkdir()
    (run / "checkpoints/step-400000000").mkdir()
    (run / "checkpoints/step-400000000/manifest.json").write_text("[]")
    assert resolve(run) == newest
    assert resolve(str(run / "checkpoints")) == newest
    assert resolve(newest.parent) == newest
    assert resolve(newest) == newest


def test_resolve_prefers_a_checkpoint_to_the_one_it_replaces(tmp_path: Path, config: Config) -> None:
    aside = make_checkpoint(tmp_path / "checkpoints/step-00000005.replaced", config, 5)
    assert resolve(tmp_path) == aside
    new = make_checkpoint(tmp_path / "checkpoints/step-00000005", config, 5)
    assert resolve(tmp_path) == new


def test_resolve_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match=r"nothing at '.*nowhere'"):
        resolve(tmp_path / "nowhere")
    with pytest.raises(AgentError, match="neither a run folder"):
        resolve(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(AgentError, match="no complete checkpoint yet"):
        resolve(tmp_path)


def test_a_publisher_hands_the_newest_to_those_behind() -> None:
    publisher: Publisher[Weights] = Publisher()
    assert publisher.newer_than(-1) is None and publisher.version == -1
    first, second = Weights(0, {}), Weights(20, {})
    publisher.publish(first)
    assert publisher.newer_than(-1) is first
    publisher.publish(second)
    assert publisher.newer_than(0) is second and publisher.newer_than(19) is second
    assert publisher.newer_than(20) is None and publisher.newer_than(21) is None
    for stale in (second, first):
        with pytest.raises(ValueError, match="not newer"):
            publisher.publish(stale)
    assert publisher.newer_than(0) is second


def test_of_many_threads_that_publish_the_newest_version_stays() -> None:
    publisher: Publisher[Weights] = Publisher()
    refused = []

    def publish(offset: int) -> None:
        for version in range(offset, 4000, 4):
            try:
                publisher.publish(Weights(version, {}))
            except ValueError:
                refused.append(version)

    threads = [threading.Thread(target=publish, args=(offset,)) for offset in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert publisher.version == 3999 and 3999 not in refused
