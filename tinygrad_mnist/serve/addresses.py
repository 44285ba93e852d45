"""The addresses that others reach this machine by. Nothing is sent to find them out."""

from __future__ import annotations

import socket
import struct
import sys
from contextlib import suppress
from ipaddress import ip_address
from typing import Final

_ELSEWHERE: Final = {socket.AF_INET: ("192.0.2.1", 9), socket.AF_INET6: ("2001:db8::1", 9)}
"""Addresses of nobody (RFC 5737 and 3849), by family; the way to them begins as that to anybody does."""
_ADDRESS_OF_INTERFACE: Final = {"linux": 0x8915, "darwin": 0xC0206921}
"""The number of the request SIOCGIFADDR, by system."""


def own_addresses(family: socket.AddressFamily) -> list[str]:
    """Return the addresses of this machine in its networks, that of the way to other networks first.

    Parameters
    ----------
    family : AddressFamily
        ``AF_INET`` or ``AF_INET6``. Of IPv6 only the first is found.

    Returns
    -------
    list of str
        Without those that others cannot use: of loopback, and of one cable alone (link-local). Empty where
        the machine is in no network.
    """
    found = [_source(family)]
    if family == socket.AF_INET:
        found += _addresses_of_interfaces()
    return [text for text in dict.fromkeys(found) if text and _is_for_others(text)]


def _source(family: socket.AddressFamily) -> str | None:
    """Return the address that this machine would send from; to connect a socket of UDP sends nothing."""
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.connect(_ELSEWHERE[family])
        return str(asking.getsockname()[0])
    return None


def _addresses_of_interfaces() -> list[str]:
    """Return the first address of IPv4 of each interface, where the system tells them."""
    if sys.platform not in _ADDRESS_OF_INTERFACE:
        return []
    import fcntl

    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # one without an address
                request = struct.pack("256s", name.encode()[:15])
                answer = fcntl.ioctl(asking.fileno(), _ADDRESS_OF_INTERFACE[sys.platform], request)
                found.append(socket.inet_ntoa(answer[20:24]))
    return found


def _is_for_others(text: str) -> bool:
    address = ip_address(text.partition("%")[0])
    return not (address.is_loopback or address.is_link_local or address.is_unspecified)
