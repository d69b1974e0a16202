import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from review_app.browser_session import COOKIE, BrowserSession, session_of, well_formed

PAGE = {"accept": "text/html,application/xhtml+xml"}


async def say_session(request: Request) -> PlainTextResponse:
    return PlainTextResponse(session_of(request.headers) or "none")


@pytest.fixture
def client():
    app = Starlette(routes=[Route("/", say_session)], middleware=[Middleware(BrowserSession)])
    return TestClient(app, base_url="http://127.0.0.1:8600")


def test_a_page_gets_a_session_once_that_scripts_cannot_read(client):
    first = client.get("/", headers=PAGE)
    second = client.get("/", headers=PAGE)

    cookie = first.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert len(client.cookies[COOKIE]) == 32
    assert "set-cookie" not in second.headers
    assert second.text == client.cookies[COOKIE]


def test_two_browsers_have_two_sessions(client):
    one = client.get("/", headers=PAGE).headers["set-cookie"]
    client.cookies.clear()
    other = client.get("/", headers=PAGE).headers["set-cookie"]

    assert one != other


def test_what_is_no_page_gets_no_session(client):
    answer = client.get("/", headers={"accept": "*/*"})

    assert "set-cookie" not in answer.headers
    assert answer.text == "none"


@pytest.mark.parametrize("value", ["", "short", "x" * 33, "x" * 31 + ";", "ä" * 32])
def test_a_cookie_of_another_form_is_none_of_ours(value):
    assert well_formed(value) is None
