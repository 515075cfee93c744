"""A hundred pages at once: each plays its own game, and when they are closed the memory is where it was."""

from __future__ import annotations

import gc
import json
import time
import urllib.request
from contextlib import ExitStack
from typing import Any

import psutil
import pytest
from websockets.sync.client import connect

from rl.play.web.rooms import PREPARING
from rl.play.web.table import Limits
from tests.rl.play.web.web_for_tests import agent, served

PAGES = 100
GROWTH = 20 * 2**20  # bytes that are no leak: what the allocator keeps, and rooms with their moves
LIMIT = 280.0  # seconds for all to be answered


def ask(url: str, path: str, body: Any) -> Any:
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"content-type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=LIMIT))


def round_of_pages(url: str) -> list[list[int]]:
    """Open them all, play a move in each while the others think, and close them; the moves of each game."""
    games = []
    with ExitStack() as stack:
        pages = []
        for _ in range(PAGES):
            room = ask(url, "api/rooms", {"agent": "go7", "simulations": 30})["id"]
            place = f"{url.replace('http', 'ws')}api/rooms/{room}/live"
            pages.append((room, stack.enter_context(connect(place, ping_interval=None, max_queue=None))))
        for number, (room, _) in enumerate(pages):
            ask(url, f"api/rooms/{room}/moves", {"action": number % 49, "ply": 0})
        for _, live in pages:
            while True:
                told = json.loads(live.recv(timeout=LIMIT))
                if told["type"] == "state" and len(told["moves"]) == 2:
                    games.append([move["action"] for move in told["moves"]])
                    break
    return games


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_hundred_pages_leave_memory_where_it_was() -> None:
    process = psutil.Process()
    with served(agent("go7", auxiliary={"ownership": 1.0}), limits=Limits(simulations=16)) as (url, desk):
        used = []
        for _ in range(3):  # of which the first two make what stays: threads, evaluators, the allocator's own
            games = round_of_pages(url)
            assert [game[0] for game in games] == [number % 49 for number in range(PAGES)]
            deadline = time.monotonic() + 20
            rooms: list[Any] = list(desk.rooms._rooms.values())
            while any(room._worker or room.viewers or room._explainer._search for room in rooms):
                assert time.monotonic() < deadline, "pages are gone, and somebody works on or keeps a tree"
                time.sleep(0.05)
            gc.collect()
            used.append((process.memory_info().rss, process.num_threads(), process.num_fds()))
        print("memory in MiB, threads, files:", [(rss // 2**20, *rest) for rss, *rest in used])
        assert used[2][0] - used[1][0] < GROWTH
        assert used[2][1] - used[1][1] < PREPARING, "of those threads some may begin late"
        assert used[2][2] == used[1][2]
