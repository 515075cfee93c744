"""The command line: results on standard output, one sentence on standard error, exit status 0, 1 or 2."""

import errno
import json
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import envs
import rl.runtime
from envs.game import ONGOING, STATUS
from rl import console
from rl.cli import app
from rl.runtime.checkpoint import CheckpointError, StorageError, save_checkpoint
from rl.weights import load_agent
from tests.rl.agents_for_tests import (
    random_weights,
    rollout_config,
    save_random_agent,
    save_rollout_agent,
    small_config,
)


@pytest.fixture(scope="module")
def toe(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_random_agent(tmp_path_factory.mktemp("agents") / "toe.safetensors"))


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_random_agent(tmp_path_factory.mktemp("agents") / "four.safetensors", "connect_four"))


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_random_agent(tmp_path_factory.mktemp("agents") / "five.safetensors", "go5"))


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An agent of a Gymnasium environment."""
    return str(
        save_rollout_agent(
            tmp_path_factory.mktemp("agents") / "counting.safetensors", rollout_config(f"{WORLDS}:Drawn")
        )
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "toe.yaml"
    path.write_text(small_config("tic_tac_toe").to_yaml())
    return path


@pytest.fixture(autouse=True)
def _somewhere_else(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What commands write beside themselves must not land in the project."""
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))


def fuseki(*words: object, given: str | None = None) -> Result:
    return CliRunner().invoke(app, [str(w) for w in words], input=given)


def refused(result: Result, *parts: str) -> None:
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert "Traceback" not in result.stderr
    for part in parts:
        assert part in result.stderr


def as_json(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.stderr
    answer = json.loads(result.stdout)
    assert isinstance(answer, dict)
    return answer


WORLDS = "tests.envs.scripted_worlds"
ROOT = Path(__file__).resolve().parents[2]

# What is wrong with the input, each in one sentence


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["evl"], "Did you mean 'eval'"),
        (["eval", "nobody"], "nobody"),
        (["analyse", "nobody", "--simulations", "-1"], "--simulations"),
        (["analyse", "nobody", "--simulations", "many"], "--simulations"),
        (["bench", "everything"], "selfplay"),
        (["bench", "rollout", str(ROOT / "configs" / "tic_tac_toe.yaml")], "does not measure tic_tac_toe"),
        (["train"], "CONFIG.yaml"),
        (["train", "x.yaml", "--nonsense"], "--nonsense"),
        (["export", "nobody", "--format", "pickle", "--out", "x"], "pickle"),
    ],
)
def test_mistyped_command_lines(words: list[str], part: str) -> None:
    refused(fuseki(*words), part)


def test_configs_that_are_wrong(config: Path, tmp_path: Path) -> None:
    def train(*words: object) -> Result:
        return fuseki("train", *words, "--run-dir", tmp_path / "run", "--serial")

    refused(train(tmp_path / "missing.yaml"), "missing.yaml", "No such file")
    refused(train(config, "learner.learning_rat=1"), "learner.learning_rat", "did you mean 'learning_rate'?")
    refused(train(config, "learner.batch_size=many"), "learner.batch_size")
    refused(train(config, "env=chess9"), "chess9", "connect_four")
    refused(train(config, "nonsense"), "key.sub=value")
    assert not (tmp_path / "run").exists(), "nothing is written before the input is known to be right"


def test_run_folders_that_cannot_be_used(config: Path, tmp_path: Path) -> None:
    refused(fuseki("train", config, "--resume"), "--run-dir")
    refused(fuseki("train", config, "--resume", "--run-dir", tmp_path / "nowhere"), "nowhere", "does not exist")
    (tmp_path / "empty").mkdir()
    refused(fuseki("train", config, "--resume", "--run-dir", tmp_path / "empty"), "empty", "no checkpoint")
    (tmp_path / "file").write_text("in the way")
    refused(fuseki("train", config, "--run-dir", tmp_path / "file"), "cannot write", "file")
    refused(fuseki("train", config, "--run-dir", tmp_path / "file" / "run"), "cannot write")


def test_agents_that_are_missing_or_damaged(toe: str, tmp_path: Path) -> None:
    content = Path(toe).read_bytes()
    (tmp_path / "truncated.safetensors").write_bytes(content[: len(content) * 2 // 3])
    (tmp_path / "corrupt.safetensors").write_bytes(b"\xff" * 200)
    (tmp_path / "empty.safetensors").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for name in ("missing", "truncated.safetensors", "corrupt.safetensors", "empty.safetensors", "folder"):
        path = tmp_path / name
        refused(fuseki("analyse", path), str(path))
        refused(fuseki("eval", path, "--against", "random"), str(path))
        refused(fuseki("eval", toe, "--against", path), str(path))
        refused(fuseki("play", path), str(path))
        refused(fuseki("export", path, "--format", "onnx", "--out", tmp_path / "x.onnx"), str(path))
    assert not (tmp_path / "x.onnx").exists()


def test_one_network_is_measured_on_another_board() -> None:
    told = fuseki("eval", "hex7", "--size", "4", "--against", "random", "--games", "8", "--simulations", "0", "--json")
    assert told.exit_code == 0, told.output
    result = json.loads(told.stdout)
    assert result["env"] == "hex4" and result["wins"] >= 6


def test_weights_of_another_game(toe: str, four: str, tmp_path: Path) -> None:
    refused(fuseki("eval", toe, "--against", four), "connect_four", "tic_tac_toe")
    claims = small_config("connect_four")
    impostor = save_random_agent(tmp_path / "impostor.safetensors", "tic_tac_toe", config=claims)
    refused(fuseki("analyse", impostor, "--json"), "connect_four")
    refused(fuseki("export", impostor, "--format", "onnx", "--out", tmp_path / "x.onnx"), "connect_four")


@pytest.mark.parametrize(
    ("moves", "part"),
    [
        ("4,4", "move 2 (4) is not legal here"),
        ("9", "move 1 (9) is not legal here"),
        ("-1", "move 1 (-1) is not legal here"),
        ("4,x", "'x' is not a move of Tic-tac-toe"),
        ("0,3,1,4,2", "the game has ended after 5 moves"),
    ],
)
def test_moves_that_cannot_be_played(moves: str, part: str, toe: str) -> None:
    refused(fuseki("analyse", toe, "--moves", moves), part)


def test_matches_that_cannot_be_played(toe: str) -> None:
    refused(fuseki("eval", toe), "--against")
    refused(fuseki("eval", toe, "--episodes", "3"), "--against")
    refused(fuseki("eval", toe, "--against", "random", "--episodes", "3"), "--episodes")
    refused(fuseki("eval", toe, "--against", "mcts"), "mcts:ROLLOUTS")
    refused(fuseki("eval", toe, "--against", "random", "--device", "abacus"), "abacus")
    refused(fuseki("eval", toe, "--against", "gnu:10"), "random", "solver", "gnugo:LEVEL", "gtp:COMMAND")
    refused(fuseki("eval", toe, "--against", "gnugo"), "gnugo:LEVEL")
    refused(fuseki("eval", toe, "--against", "gtp:no-such-engine --gtp"), "no program 'no-such-engine'")
    refused(fuseki("eval", toe, "--against", f"gtp:{sys.executable} -c 1"), "died with exit status 0", "boardsize 3")
    for seconds in ("0", "inf", "nan", "1e12"):
        refused(fuseki("eval", toe, "--against", "random", "--move-seconds", seconds), "--move-seconds")
    refused(fuseki("eval", toe, "--against", "random", "--size", "4"), "one board only")
    refused(fuseki("eval", toe, "--against", "random", "--games", "0"), "--games")
    refused(fuseki("eval", toe, "--against", "random", "--openings", "many"), "--openings")
    refused(fuseki("eval", toe, "--against", "random", "--openings", "9"), "ask for fewer")
    refused(fuseki("eval", toe, "--against", "truth", "--split", "nonsense"), "nonsense")
    refused(fuseki("eval", toe, "--against", "truth", "--games", "4"), "--games is for matches", "leave it out")
    refused(
        fuseki("eval", toe, "--against", "random", "--split", "tune"), "--split is for the truth set", "leave it out"
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--games", 100), ("--simulations", 1), ("--openings", "varied"), ("--seats", "both"), ("--split", "test"),
        ("--move-seconds", 1), ("--save", "none"), ("--size", 5),
    ],
)  # fmt: skip
def test_options_of_board_games_are_not_passed_over(option: str, value: object, counting: str) -> None:
    """Not even where they say what holds anyway."""
    refused(fuseki("eval", counting, "--episodes", 2, option, value), f"{option} is for board games", "leave it out")


@pytest.mark.parametrize("words", [["--episodes", "3"], ["--sampled"], ["--video", "here"]])
def test_options_of_episodes_are_not_passed_over(words: list[str], toe: str) -> None:
    for against in ([], ["--against", "random"]):
        refused(fuseki("eval", toe, *words, *against), f"{words[0]} is for", "--against", "leave it out")
    assert not Path("here").exists()


def test_other_missing_input(toe: str, tmp_path: Path) -> None:
    refused(fuseki("plot", tmp_path), "metrics.jsonl")
    (tmp_path / "file").write_text("")
    refused(fuseki("export", toe, "--format", "safetensors", "--out", tmp_path / "file" / "x"), "cannot write")


def test_a_full_disk_is_no_fault_of_the_input(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "weights.safetensors")

    monkeypatch.setattr(rl.runtime, "train", full)
    result = fuseki("train", config, "--run-dir", tmp_path / "run", "--serial")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: the disk is full while writing 'weights.safetensors'")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(("kind", "status"), [(StorageError, 1), (CheckpointError, 2)])
def test_a_checkpoint_that_fails_ends_the_run_in_one_line(
    kind: type[CheckpointError], status: int, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*args: object, **options: object) -> None:
        raise kind("the checkpoint of step 5 failed")

    monkeypatch.setattr(rl.runtime, "train", failing)
    result = fuseki("train", config, "--run-dir", tmp_path / "run", "--serial")
    assert (result.exit_code, result.stderr) == (status, "error: the checkpoint of step 5 failed\n")


def test_an_error_of_ours_is_not_blamed_on_the_input(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object, **options: object) -> None:
        raise ValueError("shapes do not match")

    monkeypatch.setattr(rl.runtime, "train", broken)
    result = fuseki("train", config, "--run-dir", tmp_path / "run", "--serial")
    assert result.exit_code == 1 and isinstance(result.exception, ValueError)


# What is right


def test_train_hands_the_resolved_config_to_the_runtime(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, str, dict[str, bool]]] = []
    monkeypatch.setattr(rl.runtime, "train", lambda c, folder, **options: calls.append((c, folder, options)))
    assert fuseki("train", config, "seed=5", "search.kind=puct", "--run-dir", tmp_path / "a").exit_code == 0
    assert fuseki("train", config, "--run-dir", tmp_path / "a", "--resume", "--serial").exit_code == 0
    monkeypatch.chdir(tmp_path)
    assert fuseki("train", config).exit_code == 0
    assert (calls[0][0].seed, calls[0][0].search.kind, calls[0][1]) == (5, "puct", str(tmp_path / "a"))
    assert [c[2] for c in calls[:2]] == [{"resume": False, "serial": False}, {"resume": True, "serial": True}]
    assert calls[2][1].startswith("runs/toe-") and Path(calls[2][1]).is_dir()


def test_analyse_names_action_policy_and_value(four: str) -> None:
    answer = as_json(fuseki("analyse", four, "--moves", "3,3,2", "--simulations", "20", "--json"))
    assert answer["action"] in range(7)
    assert sum(answer["policy"]) == pytest.approx(1, abs=1e-5) and len(answer["policy"]) == 7
    assert -1 <= answer["value"] <= 1
    shown = fuseki("analyse", four, "--moves", "3,3,2", "--simulations", "0")
    assert shown.exit_code == 0 and "0 1 2 3 4 5 6" in shown.stdout and "policy" in shown.stdout


def test_eval_reports_a_match_with_its_interval(toe: str) -> None:
    words = ["eval", toe, "--against", "random", "--games", "12", "--simulations", "8", "--json"]
    answer = as_json(fuseki(*words))
    assert answer["games"] == 12 == answer["wins"] + answer["draws"] + answer["losses"]
    assert answer["score_low"] <= answer["score"] <= answer["score_high"]
    again = as_json(fuseki(*words))
    changing = ("seconds", "seconds_a_move", "saved")
    assert {k: again[k] for k in again if k not in changing} == {k: answer[k] for k in answer if k not in changing}
    assert answer["forfeits"] == {"agent": {}, "opponent": {}} and 0 < answer["seconds_a_move"] < answer["seconds"]
    first = as_json(fuseki(*words, "--seats", "first", "--openings", "0"))
    assert first["as_first"]["games"] == 12 and first["as_second"] is None
    itself = as_json(fuseki("eval", toe, "--against", toe, "--games", "6", "--simulations", "0", "--json"))
    assert itself["score"] == 0.5, "paired seats make a deterministic agent even with itself"


def test_eval_saves_its_games(toe: str, tmp_path: Path) -> None:
    words = ["eval", toe, "--against", "random", "--games", "3", "--simulations", "0", "--json"]
    here = Path(as_json(fuseki(*words))["saved"])
    assert here.parent == Path("fuseki-games") and sorted(p.name for p in here.iterdir()) == [
        "1.json",
        "2.json",
        "3.json",
    ]
    game = json.loads((here / "2.json").read_text())
    assert (game["first"], game["second"], game["ending"]) == ("random", toe, "played out")
    assert envs.make("tic_tac_toe").replay(game["moves"])[STATUS] != ONGOING
    there = Path(as_json(fuseki(*words, "--save", tmp_path / "mine"))["saved"])
    assert there.parent == tmp_path / "mine" and len(list(there.iterdir())) == 3
    again = Path(as_json(fuseki(*words, "--save", tmp_path / "mine"))["saved"])
    assert again != there, "an earlier match is never overwritten"
    assert as_json(fuseki(*words, "--save", "none"))["saved"] is None
    (tmp_path / "file").write_text("in the way")
    refused(fuseki(*words, "--save", tmp_path / "file"), "cannot write")
    assert len(list(Path("fuseki-games").iterdir())) == 1


def test_eval_saves_a_runs_games_in_the_run(toe: str, tmp_path: Path) -> None:
    trained = load_agent(Path(toe))
    save_checkpoint(tmp_path / "run" / "checkpoints", 7, {}, {}, trained.weights, trained.config, trained.info, keep=1)
    answer = as_json(fuseki("eval", tmp_path / "run", "--against", "random", "--games", "2", "--json"))
    assert Path(answer["saved"]).parent == tmp_path / "run" / "games"


def test_eval_counts_what_an_engine_forfeits(five: str) -> None:
    """A whole match against an engine that dies: a result, a line for each game on standard error, no hang."""
    engine = shlex.join([sys.executable, "-S", str(Path(__file__).parent / "evaluation" / "engines.py"), "dies"])
    words = ["--games", "2", "--simulations", "0", "--openings", "0", "--json"]
    result = fuseki("eval", five, "--against", f"gtp:{engine}", *words)
    answer = as_json(result)
    assert (answer["wins"], answer["games"], answer["opponent_engine"]) == (2, 2, "Tester 1.0")
    assert answer["forfeits"] == {"agent": {}, "opponent": {"crash": 2}}
    saved = sorted(Path(answer["saved"]).iterdir())
    assert [p.suffix for p in saved] == [".sgf", ".sgf"]
    assert "RE[B+F]" in saved[0].read_text() and "died with exit status 3" in saved[0].read_text().replace("\n", " ")


def test_eval_against_truth(toe: str) -> None:
    answer = as_json(fuseki("eval", toe, "--against", "truth", "--simulations", "32", "--json"))
    assert answer["accuracy_low"] <= answer["accuracy"] <= answer["accuracy_high"]
    assert answer["positions"] > 100
    assert answer["accuracy"] > answer["network_accuracy"], "search helps a random network"


def test_eval_films_episodes(counting: str) -> None:
    answer = as_json(fuseki("eval", counting, "--episodes", 4, "--video", "films", "--json"))
    assert [video["file"] for video in answer["videos"]] == [f"films/episode-{n}.mp4" for n in (1, 2, 3)]
    assert all(
        video["return"] in answer["returns"] and Path(video["file"]).stat().st_size for video in answer["videos"]
    )
    refused(fuseki("eval", counting, "--video", "films"), "exists already")


def test_an_environment_that_hangs_ends_an_evaluation(tmp_path: Path) -> None:
    rollout, name = {"timeout_seconds": 0.5}, f"{WORLDS}:Bad"
    weights = random_weights(rollout_config(name, env_options={"fault": "raise"}))
    for fault, told in (("hang", "lane 0: step"), ("hang in the constructor", "Bad: its constructor")):
        config = rollout_config(name, env_options={"fault": fault, "after": 3}, rollout=rollout)
        path = save_rollout_agent(tmp_path / "x.safetensors", config, weights)
        result = fuseki("eval", path, "--episodes", 2)
        assert result.exit_code == 1 and result.stdout == ""
        assert f"{told} did not return within 0.5 s" in result.stderr and len(result.stderr.splitlines()) == 1


def test_export_gives_an_agent_or_an_onnx_file(toe: str, tmp_path: Path) -> None:
    copy, onnx = tmp_path / "copy.safetensors", tmp_path / "toe.onnx"
    assert fuseki("export", toe, "--format", "safetensors", "--out", copy).exit_code == 0
    assert fuseki("export", toe, "--format", "onnx", "--out", onnx).exit_code == 0
    words = ["--moves", "4", "--simulations", "0", "--json"]
    assert as_json(fuseki("analyse", copy, *words)) == as_json(fuseki("analyse", toe, *words))
    assert onnx.stat().st_size > 500


def test_envs_and_models_list_what_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rl import models

    shown = fuseki("envs").stdout
    assert "tic_tac_toe" in shown and "connect_four" in shown
    save_random_agent(tmp_path / "champion.safetensors")
    (tmp_path / "champion.json").write_text('{"result": "never lost"}')
    monkeypatch.setattr(models, "FOLDER", tmp_path)
    assert fuseki("models").stdout == "champion: never lost\n"
    assert as_json(fuseki("models", "--json")) == {"champion": {"result": "never lost"}}


def test_long_work_tells_its_progress_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "LINE_SECONDS", 0.05)
    with console.progress_bar("a against b", 3) as progress:
        progress(1)
        time.sleep(0.06)
        for done in (2, 2, 3):
            progress(done)
    assert capsys.readouterr() == ("", "a against b: 2 of 3 after 0 minutes\n")


def test_version_names_what_a_report_of_a_fault_needs() -> None:
    told = fuseki("--version")
    assert told.exit_code == 0
    assert {"fuseki", "torch", "ray"} <= {line.split()[0] for line in told.stdout.splitlines()}


def test_play_shows_episodes(counting: str, toe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    shown = fuseki("play", counting, "--episodes", 2)
    assert shown.exit_code == 0, shown.stderr
    assert "episode 0, time 3" in shown.stdout and "episode 2: return" in shown.stdout
    refused(fuseki("play", counting, "--gtp"), "--gtp is for board games", "leave it out")
    refused(fuseki("play", counting, "--level", 3), "--level is for board games", "leave it out")
    refused(fuseki("play", toe, "--episodes", 3), "--episodes is for Gymnasium environments", "leave it out")


def test_play_through_a_pipe(toe: str) -> None:
    shown = fuseki("play", toe, "--simulations", "4", given="4\nhint\nundo\nquit\n")
    assert shown.exit_code == 0, shown.stderr
    assert "The agent plays" in shown.stdout and "Goodbye." in shown.stdout


# The real thing, as a process of its own


def process(*words: object, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "fuseki"), *map(str, words)]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=120)


def test_a_process_refuses_in_one_line(toe: str, tmp_path: Path) -> None:
    (tmp_path / "truncated.safetensors").write_bytes(Path(toe).read_bytes()[:300])
    done = process("eval", tmp_path / "truncated.safetensors", "--against", "random", "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1 and "truncated.safetensors" in done.stderr


def test_a_process_prints_json_alone(toe: str) -> None:
    done = process("--verbose", "eval", toe, "--against", "random", "--games", "4", "--simulations", "2", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["games"] == 4


def test_a_process_plays_until_its_input_ends(toe: str) -> None:
    done = process("play", toe, "--simulations", "2", given="4\n9\n")
    assert done.returncode == 0 and done.stderr == ""
    assert "'9' is neither a move nor a command" in done.stdout and done.stdout.rstrip().endswith("Goodbye.")


def test_a_page_that_cannot_be_served(toe: str, counting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(fuseki("play", toe, "--web", "--gtp"), "--gtp and --web")
    refused(fuseki("play", toe, "--port", 8000), "--port is for the page of --web")
    refused(fuseki("play", toe, "--with", counting), "--with is for the page of --web")
    refused(fuseki("play", toe, "--web", "--episodes", 3), "--episodes is for the terminal")
    refused(fuseki("play", toe, "--web", "--sampled"), "--sampled is for Gymnasium environments")
    refused(fuseki("play", counting, "--web", "--level", 3), "--level is for board games")
    refused(fuseki("play", toe, "--web", "--with", "nobody"), "no agent 'nobody'")
    refused(fuseki("play", toe, "--web", "--seconds", 0), "seconds must be above 0")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused(fuseki("play", toe, "--web", "--port", port), f"cannot serve at 127.0.0.1:{port}")
    refused(fuseki("play", toe, "--web", "--host", "203.0.113.1"), "cannot serve at 203.0.113.1")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused(fuseki("play", toe, "--web"), "pip install 'fuseki[web]'")


def test_a_process_serves_the_page_until_ctrl_c(toe: str) -> None:
    command = [
        str(Path(sys.executable).parent / "fuseki"),
        "play",
        toe,
        "--web",
        "--port",
        "0",
        "--with",
        "tic_tac_toe",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None and running.stderr is not None
        line = running.stdout.readline()
        url = line.split()[1]
        told = json.load(urllib.request.urlopen(f"{url}api/agents", timeout=60))
        assert [agent["name"] for agent in told["agents"][:2]] == [toe, "tic_tac_toe"]
        assert told["start"]["seats"] == [{"level": 10}, {"agent": toe, "level": 10}]
        running.send_signal(signal.SIGINT)
        assert running.stdout.read() == ""
        assert running.stderr.read() == ""
        assert running.wait(60) == 0


def test_a_match_that_is_ended_takes_its_engines_with_it(five: str, tmp_path: Path) -> None:
    engine = tmp_path / "engine.sh"
    told = tmp_path / "pid"
    engine.write_text(
        "while read -r id command rest; do\n"
        f'  case "$command" in genmove) echo $$ > {told}.part; mv {told}.part {told}; exec sleep 600;; esac\n'
        '  echo "=$id"; echo\n'
        "done\n"
    )
    command = [str(Path(sys.executable).parent / "fuseki"), "eval", five, "--against", f"gtp:sh {engine}"]
    words = ["--games", "2", "--simulations", "1", "--save", "none"]
    with subprocess.Popen([*command, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as running:
        deadline = time.monotonic() + 120
        while not told.exists():
            assert time.monotonic() < deadline and running.poll() is None
            time.sleep(0.05)
        pid = int(told.read_text())
        running.terminate()
        assert running.wait(30) == 143
        assert running.stderr is not None and running.stderr.read() == ""
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()
