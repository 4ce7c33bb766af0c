"""A web server with one object, and a storage that may read from it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from tests.component.storage.certificates import Authority
from tests.component.storage.web_server import CONTENT, Page, WebServer

from voxfleet_agent.config import HttpsConfig
from voxfleet_agent.storage import Storage


@pytest.fixture
def server(authority: Authority) -> Iterator[WebServer]:
    with WebServer(authority) as running:
        running.pages["/in/x.wav"] = Page(CONTENT)
        yield running


@pytest.fixture
def https(authority: Authority) -> HttpsConfig:
    return HttpsConfig(ca_bundle=authority.ca_file, private_networks=("127.0.0.0/8",))


@pytest.fixture
async def storage(server: WebServer, https: HttpsConfig) -> AsyncIterator[Storage]:
    async with Storage([server.url("/in/"), server.url("/in/", "storage.test")], None, https) as opened:
        yield opened
