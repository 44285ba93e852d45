"""The inside of uvicorn that `serve/connections.py` and `serve/server.py` build on is there.

A newer uvicorn may have another inside. What is missing then is named here; `pyproject.toml` says up to which
version this was tried.
"""

import ast
import asyncio
import inspect
from types import ModuleType
from typing import Any
from unittest.mock import Mock

import pytest
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from tinygrad_mnist.serve import connections, server
from tinygrad_mnist.serve.connections import Connection
from tinygrad_mnist.serve.server import Server

CYCLE = {"response_started", "response_complete", "disconnected", "more_body", "message_event"}
"""What is asked of the last request, which our code calls `last` or `_last`."""


def used(module: ModuleType, owner: str, name: str = "self") -> set[str]:
    """Return the attributes that a class in our source reads, sets or calls of an object by a name."""
    (found,) = (
        node
        for node in ast.parse(inspect.getsource(module)).body
        if isinstance(node, ast.ClassDef) and node.name == owner
    )
    objects = {name, "super()"} if name == "self" else {name}
    return {
        node.attr
        for node in ast.walk(found)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in objects
    }


def missing(names: set[str], there: object, ours: type) -> list[str]:
    """Return what an object of uvicorn does not have and our class does not bring."""
    brought = {name for name in vars(ours) if not name.startswith("__")} | set(ours.__annotations__)
    return sorted(name for name in names - brought if not hasattr(there, name))


def config() -> uvicorn.Config:
    return uvicorn.Config(lambda *_: None, lifespan="off", log_config=None)


@pytest.fixture
def protocol() -> Any:
    loop = asyncio.new_event_loop()
    yield H11Protocol(config(), ServerState(), {}, loop)
    loop.close()


OWN = {
    *("since", "has_sent", "is_half_closed", "is_ending"),
    *("unsent_since", "is_served", "_gate", "_tell_started"),
}
"""The attributes that our classes set themselves."""


def test_a_connection_has_what_ours_uses(protocol: Any) -> None:
    assert missing(used(connections, "Connection") - OWN, protocol, Connection) == []
    assert {"cycle", "flow", "transport", "loop"} <= used(connections, "Connection")


def test_a_connection_is_told_of_by_the_methods_that_ours_has() -> None:
    replaced = {"connection_made", "connection_lost", "data_received", "send_400_response", "shutdown"}
    assert replaced <= set(vars(Connection))
    assert [name for name in replaced if name not in vars(H11Protocol)] == []
    assert "send_400_response(" in inspect.getsource(H11Protocol.handle_events)


def test_a_request_has_what_ours_uses() -> None:
    given = inspect.signature(RequestResponseCycle).parameters
    cycle = RequestResponseCycle(**{name: Mock() for name in given})
    asked = used(connections, "Connection", "last") | used(connections, "Connection", "self._last")
    assert asked == CYCLE
    assert [name for name in sorted(CYCLE) if not hasattr(cycle, name)] == []
    flow = used(connections, "Connection", "self.flow")
    assert [name for name in flow if not hasattr(FlowControl, name)] == []


def test_a_server_has_what_ours_uses() -> None:
    assert missing(used(server, "Server") - OWN, uvicorn.Server(config()), Server) == []
    replaced = {"startup", "capture_signals", "on_tick"}
    assert [name for name in replaced if name not in vars(uvicorn.Server)] == []


def test_what_is_missing_is_named() -> None:
    assert missing({"cycle", "flow", "gate"}, object(), Connection) == ["cycle", "flow"]
