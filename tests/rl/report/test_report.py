"""`fuseki report`: what the page holds, that it needs nothing else, and what is refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import envs
from rl.curves import read_runs
from rl.report import write_report
from rl.report.charts import groups_of, run_data
from rl.report.games import chosen, from_json, from_sgf, samples
from rl.report.ladder import pairings_of, ratings_of
from rl.report.settings import differences
from rl.report.workspace import save_workspace, workspace
from rl.sgf import write_sgf
from tests.rl.small import small_config
from tests.rl.test_plot import write_run

CHROMIUM = shutil.which("chromium")
ROOMS = Path(__file__).parents[3] / "rl"


def with_config(folder: Path, **changes: Any) -> Path:
    """The run of write_run with a configuration, in which nested sections are given as mappings."""
    config = small_config("connect_four", **changes)
    (folder / "config.yaml").write_text(config.to_yaml())
    return folder


def with_games(folder: Path) -> Path:
    """A match of two games at each of two evaluations."""
    game = {
        "env": "connect_four",
        "first": "v50",
        "second": "random",
        "outcome": 1,
        "ending": "played out",
        "random_moves": 1,
        "moves": [3, 0, 3, 0, 3, 0, 3],
    }
    for version in (50, 300):
        match = folder / "games" / f"{version:08d}-1-random"
        match.mkdir(parents=True)
        (match / "1.json").write_text(json.dumps(game))
        lost = {"first": "random", "second": "v50", "moves": [3, 0, 3, 0, 3, 1, 3]}
        (match / "2.json").write_text(json.dumps(game | lost))
    (folder / "games" / "00000050-random-1.txt").write_text("a game as text")
    return folder


def embedded(page: str) -> dict[str, Any]:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_the_page_holds_the_runs_own_numbers(tmp_path: Path) -> None:
    folder = with_games(with_config(write_run(tmp_path / "one"), evaluation={"games": 20}))
    page = write_report([folder], tmp_path / "page.html").read_text()
    data = embedded(page)
    [run] = read_runs([folder])
    shown = data["runs"][0]
    accuracy = shown["metrics"]["eval/accuracy_search"]
    at = [shown["clock"]["evaluations"][row] for row in accuracy["rows"]]
    x, y = run.series("evaluations", "eval/accuracy_search")
    np.testing.assert_allclose(at, x)
    np.testing.assert_allclose(accuracy["y"], y, rtol=1e-4)
    titles = [panel["title"] for section in data["sections"] for panel in section["panels"]]
    assert {"Elo", "Policy loss", "Where time goes"} <= set(titles)
    assert "share of solved positions in which the network alone plays a best move" in page
    assert len(data["games"]) == 3  # both of the last evaluation, one of the first
    assert data["games"][0]["positions"][-1].count("X") == 4
    assert "connect_four" in page and "100.0%" in page


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    page = write_report([with_config(write_run(tmp_path / "one"))], tmp_path / "page.html").read_text()
    assert "default-src 'none'" in page
    assert not re.search(r"""(src|href)\s*=\s*["'](?!#|data:)""", page), "something is fetched"
    assert "@import" not in page and "url(http" not in page


def test_words_from_a_run_cannot_become_markup(tmp_path: Path) -> None:
    bad = "</script><script>alert(1)</script>"
    folder = with_config(write_run(tmp_path / "one", opponents=(bad,)), wandb={"name": bad})
    page = write_report([folder], tmp_path / "page.html").read_text()
    assert "<script>alert" not in page
    assert any(bad in curve["label"] for p in embedded(page)["sections"][0]["panels"] for curve in p["curves"])


def test_seeds_are_one_line_with_its_interval(tmp_path: Path) -> None:
    runs = [with_config(write_run(tmp_path / f"slow-seed-{s}", every=10.0 + s), seed=s) for s in range(3)]
    runs.append(with_config(write_run(tmp_path / "other"), learner={"learning_rate": 0.5}))
    read = read_runs(runs)
    assert groups_of(read) == [[0, 1, 2], [3]]
    data = embedded(write_report(runs, tmp_path / "page.html").read_text())
    assert [group["name"] for group in data["groups"]] == ["slow (3 seeds)", "other"]
    mean = data["groups"][0]["means"]["learner_steps"]["eval/elo"]
    np.testing.assert_allclose(mean["mean"], np.array(mean["x"]) / 5 * 10, rtol=1e-3)  # all the same by updates
    np.testing.assert_allclose(mean["low"], mean["high"], rtol=1e-3)
    by_time = data["groups"][0]["means"]["seconds"]["eval/elo"]
    assert by_time["low"][5] < by_time["mean"][5] < by_time["high"][5]
    assert [key for key, _ in differences(read)] == ["seed", "learner.learning_rate"]


def test_long_runs_are_thinned_but_keep_every_evaluation(tmp_path: Path) -> None:
    [run] = read_runs([write_run(tmp_path / "long", rows=3000)])
    from rl.curves import choose_panels

    panels = choose_panels([run])
    found = run_data(run, panels)["metrics"]
    assert len(found["learner/policy_loss"]["y"]) < 800
    assert len(found["eval/elo"]["y"]) == 300


def test_the_ladder_rates_versions_and_yardsticks(tmp_path: Path) -> None:
    rows = [
        {"learner_steps": 10.0, "eval/score/random": 0.75, "eval/score/mcts:100": 0.25},
        {"learner_steps": 20.0, "eval/score/random": 0.975, "eval/score/mcts:100": 0.75, "eval/score/previous": 0.8},
        {"learner_steps": 25.0, "learner/policy_loss": 1.0},
        {"learner_steps": 30.0, "eval/score/gnugo:1": 0.5, "eval/forfeits/gnugo:1": 2.0, "eval/score/random": 1.0},
    ]
    assert [p.a for p in pairings_of(rows, 20, [7, 17, 27])][::2] == ["v7", "v17", "v17"]
    pairings = pairings_of(rows, 20, [7, 17])  # of one evaluation there are no games: then by the clock
    assert [(p.a, p.b) for p in pairings] == [
        ("v10", "random"),
        ("v10", "mcts:100"),
        ("v20", "random"),
        ("v20", "mcts:100"),
        ("v20", "v10"),
        ("v30", "random"),
    ]
    for pairing, score in zip(pairings, (0.75, 0.25, 0.975, 0.75, 0.8, 1.0)):
        assert pairing.result.games == 20 and pairing.result.score == score
    folder = with_config(write_run(tmp_path / "one", opponents=("random", "mcts:10")), evaluation={"games": 20})
    [run] = read_runs([folder])
    ladder = ratings_of(run)
    assert ladder == sorted(ladder, key=lambda r: -r.elo) and {"random", "mcts:10"} <= {r.name for r in ladder}
    [without] = read_runs([write_run(tmp_path / "two", opponents=("mcts:10",))])
    assert ratings_of(without) == []


def test_games_are_positions_that_the_rules_give() -> None:
    game = envs.make("go5")
    moves = [12, 7, 11, 25, 2, 25, 6, 25, 8, 25]  # the white stone at 7 is taken by the last black one
    text = write_sgf(game, moves, names=("one", "two"), result=None, opening=2)
    sample = from_sgf("a match", text)
    assert sample.look == "go" and (sample.height, sample.width) == (5, 5) and sample.random_moves == 2
    assert sample.positions[2][7] == "O" and sample.positions[-1][7] == "."
    assert sample.last[0] == 12 and sample.last[3] == -1 and len(sample.positions) == 11
    with pytest.raises(ValueError, match="not legal"):
        from_json("", {"env": "tic_tac_toe", "first": "a", "second": "b", "outcome": 1, "moves": [0, 0]})
    own = from_json(
        "",
        {
            "env": "tests/examples/connect_three.py:connect_three",
            "first": "a",
            "second": "b",
            "outcome": 1,
            "moves": [0],
        },
    )
    assert own.look == "text" and "X" in own.positions[1]


def test_one_game_of_each_result_comes_first(tmp_path: Path) -> None:
    [run] = read_runs([with_games(write_run(tmp_path / "one"))])
    games = samples(run)
    assert [g.title.split(",")[0] for g in games] == ["last evaluation"] * 2 + ["first evaluation"]
    assert len(chosen(games, 1)) == 1


def test_a_run_of_episodes_has_its_returns(tmp_path: Path) -> None:
    folder = tmp_path / "pole"
    folder.mkdir()
    clock = {"env_steps": 0, "games": 0, "learner_steps": 0, "evaluations": 0, "seconds": 0}
    rows = []
    for i in range(1, 6):
        row = dict.fromkeys(clock, 10.0 * i) | {"rollout/steps_per_second": 1000.0, "rollout/evaluator_share": 0.6}
        rows.append(row | {"rollout/environment_share": 0.3, "learner/wait_fraction": 0.25})
        rows.append(dict.fromkeys(clock, 10.0 * i) | {"eval/return_mean": 9.0 * i, "eval/seconds": 2.0})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = write_report([folder], tmp_path / "page").read_text()
    assert "Returns 45.0 an episode" in page and "in the environments 30 %" in page and "training 75 %" in page
    assert "10 seconds in all, of 50 seconds" in page
    with pytest.raises(ValueError, match="different kinds"):
        write_report([folder, write_run(tmp_path / "games")], tmp_path / "page.html")


def test_what_cannot_be_reported_on_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one run"):
        write_report([], tmp_path / "page.html")
    with pytest.raises(ValueError, match="is no run folder"):
        write_report([tmp_path], tmp_path / "page.html")
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "metrics.jsonl").touch()
    with pytest.raises(ValueError, match="no metrics yet"):
        write_report([empty], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def drawn_by_a_browser(page: Path, tmp_path: Path) -> str:
    """The page's elements once its script has run, without a complaint."""
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    command = [str(CHROMIUM), *flags.split(), "--disable-component-update", "--disable-sync", "--enable-logging=stderr"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000", "--dump-dom", page.as_uri()]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env=os.environ | {"HOME": str(tmp_path)}
    )
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not console, console
    return done.stdout


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (apt install chromium)")
@pytest.mark.parametrize("several", [False, True])
def test_a_browser_draws_it(several: bool, tmp_path: Path) -> None:
    runs = [with_games(with_config(write_run(tmp_path / f"seed-{s}"), seed=s)) for s in range(1 + 2 * several)]
    page = write_report(runs, tmp_path / "page.html")
    drawn = drawn_by_a_browser(page, tmp_path)
    panels = sum(len(section["panels"]) for section in embedded(page.read_text())["sections"])
    assert drawn.count("<canvas") == panels > 10
    assert "Move 7 of 7: 3. First player won." in drawn
    assert drawn.count('fill="var(--yellow)"') == 4  # the winner's discs
    assert drawn.count('<button type="button" class="random"') == 1


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (apt install chromium)")
def test_colours_are_those_of_the_page_to_play_on(tmp_path: Path) -> None:
    run = with_config(write_run(tmp_path / "one"))
    match = run / "games" / "one-against-two-20260101-000000"
    match.mkdir(parents=True)
    game = {"env": "hex3", "first": "one", "second": "two", "outcome": 1, "moves": [0, 1, 3, 4, 6]}
    (match / "1.json").write_text(json.dumps(game))
    drawn = drawn_by_a_browser(write_report([run], tmp_path / "page.html"), tmp_path)
    assert drawn.count('fill="var(--hex-red)"') == 3 and drawn.count('fill="var(--hex-blue)"') == 2
    ours, theirs = (
        dict(re.findall(r"--(yellow|red|hex-red|hex-blue): (#\w+)", (ROOMS / sheet).read_text()))
        for sheet in ("report/static/page.css", "play/web/static/board.css")
    )
    assert ours == theirs and len(ours) == 4


def test_the_workspace_has_the_same_panels() -> None:
    from rl.curves import LEARNING, SELF_PLAY, SPEED

    layout = workspace("somebody", "something")
    assert [section.name for section in layout.sections] == ["Strength", "Learning", "Play", "Speed"]
    for section, panels in zip(layout.sections[1:], (LEARNING, SELF_PLAY, SPEED)):
        assert [p.title for p in section.panels] == [p.title for p in panels]
        for drawn, panel in zip(section.panels, panels):
            assert list(drawn.y) == [curve.metric for curve in panel.curves]
    sent = layout._to_model().model_dump_json(by_alias=True)  # what saving would send
    assert "learner/policy_loss" in sent and "somebody" in sent


def test_a_workspace_needs_an_address_and_an_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ENTITY/PROJECT"):
        save_workspace("project")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(ValueError, match="wandb login"):
        save_workspace("somebody/something")
