"""Who may talk to the page's server: other sites' pages may not, and off loopback nobody without the token."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketDenialResponse

from rl.play.web.guard import is_loopback
from rl.play.web.server import PORT
from tests.rl.play.web.web_for_tests import HERE, agent, live, opened, serving, until

TOKEN = "correct-horse"
AWAY = f"http://192.0.2.7:{PORT}"


@pytest.fixture(scope="module")
def local() -> Iterator[TestClient]:
    with serving(agent("tic_tac_toe")) as client:
        yield client


@pytest.fixture
def remote() -> Iterator[TestClient]:
    with serving(agent("tic_tac_toe"), host=AWAY, token=TOKEN) as client:
        yield client


@pytest.mark.parametrize("host", [f"localhost:{PORT}", f"127.0.0.1:{PORT}", f"127.8.9.1:{PORT}", f"[::1]:{PORT}"])
def test_this_machines_own_names_are_answered(host: str, local: TestClient) -> None:
    assert local.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        f"evil.example:{PORT}",
        "localhost",
        f"localhost:{PORT + 1}",
        f"localhost.evil:{PORT}",
        "",
        "[::1",
        "a:b:c",
    ],
)
def test_a_name_that_was_made_to_point_here_is_not(host: str, local: TestClient) -> None:
    for path in ("/", "/api/agents", "/static/app.js"):
        answer = local.get(path, headers={"host": host})
        assert answer.status_code == 403
        assert f"answers at localhost:{PORT}" in answer.json()["error"]


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://["},
        {"origin": f"http://localhost:{PORT + 1}"},
        {"origin": f"http://localhost:{PORT}.evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_another_sites_page_changes_nothing_and_hears_nothing(headers: dict[str, str], local: TestClient) -> None:
    room = opened(local, "tic_tac_toe", explain=False)
    place = f"/api/rooms/{room['id']}"
    answer = local.post(f"{place}/moves", json={"action": 4, "ply": 0}, headers=headers)
    assert answer.status_code == 403 and "may not do this here" in answer.json()["error"]
    assert local.delete(place, headers=headers).status_code == 403
    with (
        pytest.raises(WebSocketDenialResponse) as denied,
        live(local, room["id"], headers=headers),
    ):
        pass
    assert denied.value.status_code == 403
    assert local.get(place).json() == room


def test_our_own_page_may(local: TestClient) -> None:
    room = opened(local, "tic_tac_toe", explain=False)
    own = {"origin": HERE, "sec-fetch-site": "same-origin"}
    place = f"/api/rooms/{room['id']}"
    assert local.post(f"{place}/moves", json={"action": 4, "ply": 0}, headers=own).status_code == 200
    with live(local, room["id"], headers=own) as heard:
        until(heard, type="state")


def test_without_the_token_nothing_is_told(remote: TestClient) -> None:
    for method, path in (("GET", "/"), ("GET", "/static/app.js"), ("GET", "/api/agents"), ("POST", "/api/rooms")):
        for wrong in (
            {},
            {"authorization": "Bearer wrong"},
            {"cookie": f"fuseki-{PORT}=wrong"},
            {"authorization": "Bearer"},
        ):
            answer = remote.request(method, path, headers=wrong)
            assert answer.status_code == 401 and "needs the token" in answer.json()["error"]
    assert remote.get("/?token=wrong", follow_redirects=False).status_code == 401
    assert remote.get("/?token=%C3%A4", follow_redirects=False).status_code == 401
    with pytest.raises(WebSocketDenialResponse) as denied, live(remote, "x"):
        pass
    assert denied.value.status_code == 401


def test_the_printed_url_leaves_a_cookie_and_no_trace_of_the_token(remote: TestClient) -> None:
    answer = remote.get(f"/?token={TOKEN}&size=7", follow_redirects=False)
    assert answer.status_code == 303 and answer.headers["location"] == "/?size=7"
    cookie = answer.headers["set-cookie"]
    assert f"fuseki-{PORT}={TOKEN}" in cookie and "HttpOnly" in cookie and "SameSite=Lax" in cookie
    page = remote.get("/")  # the client keeps cookies
    assert page.status_code == 200 and TOKEN not in page.text
    room = opened(remote, "tic_tac_toe", explain=False)
    with live(remote, room["id"], headers={"origin": AWAY}) as heard:
        until(heard, type="state")
    assert (
        remote.post("/api/rooms", json={"agent": "tic_tac_toe"}, headers={"origin": "http://evil.example"}).status_code
        == 403
    )
    assert (
        remote.get(f"{AWAY}//evil.example/?token={TOKEN}", follow_redirects=False)
        .headers["location"]
        .startswith("/evil")
    )


def test_another_applications_odd_cookie_hides_no_token(remote: TestClient) -> None:
    odd = f'a={{"x":1}}; fuseki-{PORT}={TOKEN}; b="'
    assert remote.get("/api/agents", headers={"cookie": odd}).status_code == 200


def test_programs_send_the_token_as_a_bearer(remote: TestClient) -> None:
    assert remote.get("/api/agents", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("192.0.2.7", False),
        ("example", False),
    ],
)
def test_what_is_reached_from_this_machine_alone(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
