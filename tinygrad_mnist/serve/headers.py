"""Headers of every answer, and the check of the `Host` that a request was sent to."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What the page may load and do: its own files, and no code that stands in HTML."""

STRICT: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
"""The headers that every answer has; `cache-control` comes with them."""

LARGEST_HEADERS: Final = 1 << 14
LARGEST_ADDRESS: Final = 1 << 13
"""Bytes of a request line with all headers, and of the path and query in it."""

NOT_STORED: Final = "no-store"
REVALIDATED: Final = "no-cache"
"""The two values of `cache-control`: for answers, and for the files of the page, which have an `ETag`."""

_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]@/\\\s]+)(?::\d{1,5})?", re.IGNORECASE)


def is_loopback(host: str) -> bool:
    """Return whether an address, or the name ``localhost``, leads to this machine alone.

    Examples
    --------
    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def host_name(header: str) -> str | None:
    """Return the name in a `Host` header, without the port and brackets; None if it is none.

    Examples
    --------
    >>> host_name("localhost:8000"), host_name("[::1]:8000"), host_name("a b")
    ('localhost', '::1', None)
    """
    found = _HOST.fullmatch(header)
    return None if found is None else found[1].strip("[]").lower().rstrip(".")
