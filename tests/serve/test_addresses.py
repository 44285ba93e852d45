"""The addresses that others reach this machine by."""

import socket
from typing import Any

import pytest

from tinygrad_mnist.serve import addresses
from tinygrad_mnist.serve.addresses import own_addresses


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_they_are_of_this_machine_and_not_of_loopback(family: socket.AddressFamily) -> None:
    found = own_addresses(family)
    assert len(set(found)) == len(found)
    for address in found:
        assert not address.startswith("127.")
        assert address != "::1"
        with socket.socket(family) as one:  # nobody else's can be bound
            one.bind((address, 0))


def test_a_machine_in_no_network_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", unreachable)
    monkeypatch.setattr(addresses, "_addresses_of_interfaces", lambda: ["127.0.0.1", "169.254.0.9"])
    assert own_addresses(socket.AF_INET) == []
    assert own_addresses(socket.AF_INET6) == []


def test_the_address_of_the_way_to_others_is_the_first_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_source", lambda family: "192.0.2.7")
    monkeypatch.setattr(addresses, "_addresses_of_interfaces", lambda: ["127.0.0.1", "10.0.0.3", "192.0.2.7"])
    assert own_addresses(socket.AF_INET) == ["192.0.2.7", "10.0.0.3"]
