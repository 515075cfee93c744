"""The page in a real browser: Chromium without a screen, driven by playwright.

apt-get install chromium
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

import envs
import rl
from envs.game import ONGOING, STATUS
from rl.cli.web import insights
from rl.play.web.requests import Seat, Start
from rl.play.web.server import Desk
from rl.play.web.table import Limits
from tests.rl.play.web.web_for_tests import agent, gym_agent, served

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",  # CI's machines are root's
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SECONDS = 30.0  # for the page to get somewhere
PHONE = {"width": 340, "height": 740}
TRANSFORMER = {"kind": "transformer", "width": 8, "depth": 2, "heads": 2}

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def faults() -> Iterator[list[str]]:
    """What the page's console complains of; there must be nothing."""
    found: list[str] = []
    yield found
    assert not found


def visit(browser: Any, url: str, faults: list[str], script: str = "", **context: Any) -> Any:
    """``script`` runs before the page's own; the rest is the browser's context."""
    page = browser.new_context(viewport=context.pop("viewport", {"width": 1280, "height": 860}), **context).new_page()
    page.add_init_script(script)
    page.set_default_timeout(1000 * SECONDS)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.goto(url)
    wait(page, "document.querySelector('#loading').hidden")
    return page


def wait(page: Any, expression: str) -> Any:
    """The value of a JavaScript expression, once it is true. Playwright's own waiting is eval; the page forbids it."""
    deadline = time.monotonic() + SECONDS
    while not (value := page.evaluate(expression)):
        assert time.monotonic() < deadline, f"never came true: {expression}"
        page.wait_for_timeout(30)
    return value


def cell(page: Any, row: int, column: int) -> Any:
    return page.locator(f"[role=row]:nth-child({row + 1}) > .cell:nth-child({column + 1})")


def wait_for_status(page: Any, *words: str) -> str:
    """The line above the panel, once one of these words stands in it."""
    text = "document.querySelector('#status').textContent"
    found = wait(page, f"{json.dumps(words)}.some((word) => {text}.includes(word)) && {text}")
    assert isinstance(found, str)
    return found


def table(desk: Desk, number: int = 0) -> Any:
    return list(desk.rooms._rooms.values())[number]


def test_a_whole_game_by_clicks_and_then_back(browser: Any, faults: list[str]) -> None:
    with served(agent("tic_tac_toe"), limits=Limits(simulations=20)) as (url, desk):
        page = visit(browser, url, faults)
        played = 0
        while "Your move" in wait_for_status(page, "Your move", "wins", "draw"):
            # The status may be that from before the move that ended the game.
            with contextlib.suppress(pytest.importorskip("playwright.sync_api").TimeoutError):
                page.locator('.cell[aria-disabled="false"]').first.click(timeout=3000)
            played = wait(page, f"(n => n > {played} && n)(document.querySelectorAll('#moves button').length)")
        session = table(desk).session
        assert session.game.replay(session.moves)[STATUS] != ONGOING
        assert page.text_content("#announce").endswith(page.text_content("#status"))
        assert page.locator("#moves button").count() == len(session.moves)
        assert page.locator('.cell[aria-label*="empty"]').count() == 9 - len(session.moves)
        page.click("#first")
        wait_for_status(page, "Before the first move")
        assert page.locator('.cell[aria-label*="empty"]').count() == 9
        page.click("#last")
        wait_for_status(page, "wins", "draw")
        page.click("#undo")
        wait_for_status(page, "Your move")
        page.reload()
        wait_for_status(page, "Your move")
        assert page.locator("#moves button").count() == len(table(desk).session.moves), "a reload goes on"


def test_a_game_by_keys_alone(browser: Any, faults: list[str]) -> None:
    with served(agent("connect_four"), start=Start(agent="connect_four", seats=[Seat(), Seat()], explain=False)) as (
        url,
        desk,
    ):
        page = visit(browser, url, faults)
        page.evaluate("document.activeElement.blur()")
        for _ in range(30):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.getAttribute('role')") == "gridcell":
                break
        assert page.evaluate("document.activeElement.ariaLabel") == "column 3, row 4, empty"
        assert page.locator('.cell[tabindex="0"]').count() == 1, "Tab stops at the board once"
        keys = ["Enter", "ArrowRight", "Enter", "ArrowLeft", "Enter", "u", "Enter"]
        for key, moves in zip(keys, [1, 1, 2, 2, 3, 2, 3], strict=True):
            page.keyboard.press(key)
            wait(page, f"document.querySelectorAll('#moves button').length === {moves}")
        assert table(desk).session.moves == [3, 4, 3]
        assert page.evaluate("document.activeElement.getAttribute('role')") == "gridcell", "the focus stays"
        assert page.text_content("#announce") == "Yellow plays 3. Red to move."
        page.keyboard.press(",")
        wait_for_status(page, "After move 2 of 3")
        page.keyboard.press("n")
        assert page.locator("#new-dialog").is_visible()
        page.keyboard.press("Escape")
        assert page.evaluate("document.activeElement.getAttribute('role')") == "gridcell", "and comes back"


@pytest.mark.parametrize(("name", "drawn"), [("flat", "X"), ("worded", "#")])
def test_a_game_of_ones_own_whose_actions_are_no_places(name: str, drawn: str, browser: Any, faults: list[str]) -> None:
    ours = agent(f"tests.rl.play.web.web_for_tests:{name}", name)
    with served(ours, limits=Limits(simulations=4)) as (url, desk):
        page = visit(browser, url, faults)
        page.locator(".text-moves button").first.click()
        wait(page, "document.querySelectorAll('#moves button').length === 2")
        assert table(desk).session.moves[0] == 0
        assert drawn in page.text_content(".board-text")
        wait(page, "document.querySelectorAll('#candidates tbody tr:not(.blank)').length > 1")
        assert not page.locator("#overlay").is_visible(), "there is no board to show it on"
        page.locator(".board-text").focus()
        page.keyboard.press("u")
        wait(page, "document.querySelectorAll('#moves button').length === 0")


LATE_ANSWERS = """const quick = fetch;
window.fetch = async (path, options) => {
  const answer = await quick(path, options);
  if (options.method !== "POST" || path === "/api/rooms") return answer;
  await new Promise((after) => setTimeout(after, 4000));
  setTimeout(() => (window.answered = true), 300);
  return answer;
};"""
SLOW_SERVER = (
    "const quick = fetch; window.fetch = (...all) => new Promise((r) => setTimeout(r, 250)).then(() => quick(...all))"
)


def test_keys_typed_faster_than_the_server_answers(browser: Any, faults: list[str]) -> None:
    people = Start(agent="connect_four", seats=[Seat(), Seat()], explain=False)
    with served(agent("connect_four"), start=people) as (url, desk):
        page = visit(browser, url, faults, script=SLOW_SERVER)
        page.locator('.cell[tabindex="0"]').focus()
        for key in ["Enter", "ArrowRight", "Enter", "ArrowLeft", "Enter", "u", "Enter", ",", ",", ".", "ArrowLeft"]:
            page.keyboard.press(key)
        wait_for_status(page, "After move 2 of 3")
        assert table(desk).session.moves == [3, 4, 3]
        assert page.evaluate("document.activeElement.ariaLabel").startswith("column 2")


def test_an_answer_that_comes_late_takes_nothing_back(browser: Any, faults: list[str]) -> None:
    """What is going on comes by another way too, and may be further on by then."""
    people = Start(agent="tic_tac_toe", seats=[Seat(), Seat()], simulations=30)
    with served(agent("tic_tac_toe"), start=people) as (url, _):
        page = visit(browser, url, faults, script=LATE_ANSWERS)
        cell(page, 1, 1).click()
        wait(page, "document.querySelectorAll('#moves button').length === 1")
        known = "document.querySelector('#candidates').textContent.includes('%')"
        wait(page, f"document.querySelector('#progress.busy') === null && {known}")
        assert not page.evaluate("window.answered")
        wait(page, "window.answered")
        assert page.evaluate(known)


def test_the_focus_stays_where_it_is(browser: Any, faults: list[str]) -> None:
    """Also on buttons that are told anew, cannot be used any more, or are gone."""
    people = Start(agent="go5", seats=[Seat(), Seat()], simulations=30)
    with served(agent("go5"), start=people) as (url, _):
        page = visit(browser, url, faults)
        focused = "document.activeElement.textContent.trim() || document.activeElement.ariaLabel"
        page.evaluate("window.passing = document.querySelector('#others button')")
        for moves in (1, 2):
            page.locator("#others button", has_text="Pass").press("Enter")
            wait(page, f"document.querySelectorAll('#moves button').length === {moves}")
            assert page.evaluate(focused) == "Pass"
        wait_for_status(page, "wins", "draw")
        assert page.evaluate("document.activeElement === passing && passing.ariaDisabled") == "true"
        page.locator("#moves button").first.press("Enter")
        wait_for_status(page, "After move 1")
        assert page.evaluate("document.activeElement.ariaLabel") == "Move 1: Black pass"
        page.locator("#back").press("Enter")
        wait_for_status(page, "Before the first move")
        assert page.evaluate(focused) == "Previous position"
        page.locator("#from-here").press("Enter")
        wait(page, "document.querySelector('#from-here').hidden")
        assert page.evaluate("document.activeElement.getAttribute('role')") == "gridcell", "the button is gone"
        wait(page, "document.querySelectorAll('#candidates button').length")
        page.locator("#candidates button").first.press("Enter")
        wait(page, "document.querySelectorAll('#moves button').length === 1")
        assert page.evaluate("document.querySelector('#game').contains(document.activeElement)")


def test_what_the_agent_sees_of_go(browser: Any, faults: list[str]) -> None:
    ours = agent("go5", auxiliary={"ownership": 1.0}, encoder=TRANSFORMER)
    people = Start(agent="go5", seats=[Seat(), Seat()], simulations=40)
    with served(ours, start=people, insights=insights()) as (url, _):
        page = visit(browser, url, faults, color_scheme="dark", viewport=PHONE)
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        cell(page, 2, 2).click()
        wait(page, "document.querySelectorAll('#candidates tbody tr:not(.blank)').length > 1")
        wait(page, "document.querySelectorAll('.heat circle').length > 1")
        assert "policy" in page.locator('.cell[aria-label*="policy"]').first.get_attribute("aria-label")
        page.locator("#candidates button").first.focus()
        assert page.locator(".pv > g").count() >= 1, "the line that it expects, on the board"
        page.check('input[value="ownership"]')
        wait(page, "document.querySelectorAll('.own-first, .own-second').length")
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"], "nothing is cut off"
        page.click("#theme")
        page.reload()
        page.wait_for_selector("[role=grid]")
        assert page.evaluate("document.documentElement.dataset.theme") == "light", "the choice is kept"
        page.set_input_files(
            "#file", {"name": "a.sgf", "mimeType": "text/plain", "buffer": b"(;GM[1]SZ[7];B[dd];W[cc])"}
        )
        wait(page, "document.querySelectorAll('.cell').length === 49")
        page.set_input_files("#file", {"name": "b.sgf", "mimeType": "text/plain", "buffer": b"no game"})
        wait(page, "document.querySelector('#toast').textContent.includes('no readable SGF')")
        faults[:] = [text for text in faults if "422" not in text]  # which the console tells of that


def test_what_the_network_looks_at(browser: Any, faults: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("captum.attr")
    ours = agent("hex3", encoder=TRANSFORMER)
    people = Start(agent="hex3", seats=[Seat(), Seat()], simulations=20)
    with served(ours, start=people, insights=insights()) as (url, _):
        page = visit(browser, url, faults)
        cell(page, 1, 1).click()
        legend = "document.querySelector('#legend').textContent"
        labels = "[...document.querySelectorAll('.cell')].map((cell) => cell.ariaLabel).join(';')"
        page.check('input[value="saliency"]')
        wait(page, f"{legend}.startsWith('Why ') && document.querySelector('.heat :is(.share, .against)')")
        assert re.search(r"b2, Red, last move, speaks (for|against) \w+, \d+ of 100", page.evaluate(labels))
        page.check('input[value="attention"]')
        wait(page, f"{legend}.startsWith('Where the network looks')")
        assert page.evaluate(labels).count("attention, ") > 4
        assert not page.locator('input[value="ownership"]').is_visible(), "Hex has no territory"
        monkeypatch.setitem(sys.modules, "captum", None)  # as where it is not installed
        cell(page, 0, 0).click()
        page.check('input[value="saliency"]')
        wait(page, f"{legend}.includes(\"pip install 'fuseki[insight]'\")")
        faults[:] = [text for text in faults if "501" not in text]  # which the console tells of that


def test_episodes_are_watched(browser: Any, faults: list[str]) -> None:
    pytest.importorskip("pygame")
    with served(agent("tic_tac_toe"), gym_agent("CartPole-v1")) as (url, _):
        page = visit(browser, url, faults)
        cell(page, 0, 0).press("n")  # whose focus comes back to a board that is gone by then
        page.select_option("#new-agent", "acting")
        page.locator("#new-form [type=submit]").press("Enter")
        wait(page, "!document.querySelector('#show').hidden")
        page.select_option("#show-speed", "10")
        wait(page, "document.querySelectorAll('#show-list li:not(.muted)').length > 0")
        assert page.evaluate("[screen.width, document.querySelector('canvas').width][1]") == 600
        colours = "c => new Set(c.getContext('2d').getImageData(0, 0, 600, 400).data).size"
        assert page.eval_on_selector("canvas", colours) > 2, "something is drawn"
        page.click("#show-pause")
        wait(page, "document.querySelector('#show-pause').textContent === 'Play'")
        page.click("#show-step")


@pytest.mark.slow
def test_four_browsers_at_once_play_four_games(browser: Any, faults: list[str]) -> None:
    """The shipped Connect Four: every page sees its own game, answered by the one agent that they share."""
    with served(
        rl.load("connect_four", "cpu"), limits=Limits(simulations=64), start=Start(agent="connect_four", simulations=50)
    ) as (url, desk):
        pages = [visit(browser, url, faults) for _ in range(4)]
        columns = [1, 3, 5, 0]
        for turn in range(40):
            waiting = [p for p in pages if "Your move" in wait_for_status(p, "Your move", "wins", "draw")]
            if not waiting:
                break
            for page in waiting:
                before = page.locator("#moves button").count()
                free = page.locator('.cell[aria-disabled="false"]')
                free.nth((columns[pages.index(page)] + turn) % free.count()).click()
                wait(page, f"document.querySelectorAll('#moves button').length > {before}")
        games = [table(desk, number).session for number in range(len(desk.rooms))]
        assert len(games) == 4 and all(game.over for game in games)
        for page in pages:
            room: Any = desk.rooms.get(page.evaluate("location.hash.slice(1)"))
            session = room.session
            names = [b.strip() for b in page.locator("#moves button").all_text_contents()]
            assert names == [str(a) for a in session.moves]
            assert envs.make("connect_four").replay(session.moves)[STATUS] != ONGOING
        assert len({tuple(game.moves) for game in games}) > 1
