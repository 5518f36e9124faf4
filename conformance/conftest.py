"""Fixtures: one server for the whole session, clients of it, names that nobody else uses."""

import itertools
import pathlib
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from kmslib.cam import Account  # noqa: E402
from kmslib.server import GM, INTL, MAIN, Server  # noqa: E402

_names = itertools.count(1)


@pytest.fixture(scope="session")
def server():
    """The binary with three regions of the three profiles; stopped gracefully, which must succeed."""
    with tempfile.TemporaryDirectory(prefix="jadeseal-conformance-") as base:
        running = Server(pathlib.Path(base) / "data").start()
        try:
            yield running
        finally:
            assert running.stop() == 0


@pytest.fixture(scope="session")
def account(server):
    """The main account, which makes principals and policies."""
    return Account(server.endpoint, server.creds)


@pytest.fixture
def kms(server):
    """Our own client of the default region."""
    client = server.client(MAIN)
    yield client
    client.close()


@pytest.fixture
def intl(server):
    """Our own client of the region with profile `intl`."""
    client = server.client(INTL)
    yield client
    client.close()


@pytest.fixture
def gm(server):
    """Our own client of the region with profile `gm`."""
    client = server.client(GM)
    yield client
    client.close()


@pytest.fixture
def alias():
    """Makes aliases that are unique in the session."""
    return lambda stem="key": f"{stem}-{next(_names)}"


@pytest.fixture
def key(kms, alias):
    """Id of a fresh enabled key."""
    return kms.call("CreateKey", Alias=alias())["KeyId"]


@pytest.fixture(scope="session")
def keys(server):
    """Ids of asymmetric keys by usage, made when first asked for; no test may change them."""

    class Keys(dict):
        def __missing__(self, usage):
            client = server.client(MAIN)
            self[usage] = client.call("CreateKey", Alias=f"shared-{usage.lower()}", KeyUsage=usage)["KeyId"]
            client.close()
            return self[usage]

    return Keys()
