"""Matches as files: SGF or JSON, under names that never collide and hold no path."""

import json
from pathlib import Path

import envs
from rl.evaluation.arena import Match, MatchGame, play_match
from rl.evaluation.game_files import file_name, match_files, match_folder, write_files
from rl.evaluation.players import Forfeit, RandomPlayer
from rl.sgf import read_sgf


def test_a_go_match_is_sgf_and_each_file_names_the_seats(tmp_path: Path) -> None:
    game = envs.make("go5", komi=0.5)
    match = play_match(game, RandomPlayer(game, 1), RandomPlayer(game, 2), 10, seed=1)
    folder = match_folder(tmp_path, "a", "gtp:/usr/bin/b --x")
    write_files(folder, match_files(game, match, "a", "gtp:b"))
    names = sorted(p.name for p in folder.iterdir())
    assert names == [f"{n:02d}.sgf" for n in range(1, 11)]
    for g, name in zip(match.games, names, strict=True):
        found = read_sgf((folder / name).read_bytes())
        assert found.moves == tuple(g.moves) and found.game.params == game.params
        assert found.names == (("a", "gtp:b") if g.a_first else ("gtp:b", "a"))
        assert found.result is not None and (found.result[0] == "B") == (g.outcome == 1)
        assert ("random" in (folder / name).read_text()) == bool(g.opening)


def test_a_forfeited_game_says_who_and_how() -> None:
    game = envs.make("hex5")
    lost = MatchGame(True, (), [3], -1, "x (black) died", Forfeit("crash", "died"))
    slow = MatchGame(False, (), [3, 4], 1, "x (white) was slow", Forfeit("time-out", "was slow"))
    texts = list(match_files(game, Match([lost, slow]), "x", "y").values())
    assert [read_sgf(text).result for text in texts] == ["W+F", "B+T"]
    assert "Ending: x (black) died" in texts[0].replace("\n", "")


def test_a_game_without_sgf_is_json() -> None:
    game = envs.make("connect_four")
    match = play_match(game, RandomPlayer(game, 1), RandomPlayer(game, 2), 2, seed=1)
    files = match_files(game, match, "a", "b")
    assert list(files) == ["1.json", "2.json"]
    second = json.loads(files["2.json"])
    assert (second["env"], second["first"], second["second"]) == ("connect_four", "b", "a")
    assert second["moves"] == match.games[1].moves and second["outcome"] == match.games[1].outcome


def test_folders_are_new_and_within_their_place(tmp_path: Path) -> None:
    names = [match_folder(tmp_path, "../up", "gtp:" + "x" * 300).name for _ in range(3)]
    assert len(set(names)) == 3 and all(len(name) < 160 and "/" not in name for name in names)
    assert file_name("..") == "player" and file_name("gnugo:10") == "gnugo-10"
