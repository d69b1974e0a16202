import asyncio

import pytest

from review_app.downloads import Grants
from review_app.local_only import LocalOnly


async def answer(kind, headers):
    sent = []

    async def inner(scope, receive, send):
        await send({"type": f"{kind}.reached", "status": 200, "headers": []})

    async def receive():
        return {"type": "http.request"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": kind,
        "method": "GET",
        "path": "/",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    await LocalOnly(inner, 8600)(scope, receive, send)
    return sent[0]


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({"host": "127.0.0.1:8600"}, True),
        ({"host": "localhost:8600", "origin": "http://localhost:8600"}, True),
        ({"host": "127.0.0.1:8600", "origin": "http://evil.example"}, False),
        ({"host": "127.0.0.1:8600", "origin": "null"}, False),
        ({"host": "127.0.0.1:8600", "origin": "http://127.0.0.1:9999"}, False),
        ({"host": "evil.example:8600"}, False),
        ({}, False),
    ],
)
def test_only_this_machine_s_own_pages_pass(kind, headers, passes):
    first = asyncio.run(answer(kind, headers))

    refused = {"http": "http.response.start", "websocket": "websocket.close"}[kind]
    assert first["type"] == (f"{kind}.reached" if passes else refused)
    if not passes and kind == "http":
        assert first["status"] == 403


def offered(grants, name="a", reader="anna"):
    return grants.offer(reader=reader, case_id="c-1", file_name=name, make=lambda: b"x")


def test_address_has_192_bits_and_stays_the_same_for_one_file():
    grants = Grants()

    first = offered(grants)

    assert len(first.rsplit("/", 1)[1]) == 32
    assert offered(grants) == first
    assert len({first, offered(grants, "b"), offered(grants, reader="bert")}) == 3


def test_unknown_token_finds_nothing():
    assert Grants().find("guess") is None
