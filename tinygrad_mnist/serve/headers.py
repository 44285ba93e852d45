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
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
"""The headers that every answer has; `cache-control` comes with them.

`cross-origin-opener-policy` is not among them: a browser ignores it where the address is neither of loopback
nor of https, and says so in its console at every page. A proxy that has https can add it.
"""

NOT_STORED: Final = "no-store"
REVALIDATED: Final = "no-cache"
"""The two values of `cache-control`: for answers, and for the files of the page, which have an `ETag`."""

_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.IGNORECASE)
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


def bare_host(text: str) -> str:
    """Return the name or address of a host as a `Host` header has it, without brackets and the last dot.

    Parameters
    ----------
    text : str
        A name, as ``digits.example``, or an address; nothing before or behind it. A name in other letters
        than ASCII's is encoded, as browsers do.

    Raises
    ------
    ValueError
        If it is neither: a name that no request can have would never be answered.

    Examples
    --------
    >>> bare_host("Digits.example."), bare_host("[::1]"), bare_host("zähler.example")
    ('digits.example', '::1', 'xn--zhler-gra.example')
    >>> bare_host("http://digits.example/")
    Traceback (most recent call last):
    ...
    ValueError: 'http://digits.example/' is no name of a host; name it alone, as digits.example or 192.0.2.7
    """
    try:
        return str(ipaddress.ip_address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        pass
    try:
        name = text.removesuffix(".").encode("idna").decode().lower()
    except UnicodeError:
        name = ""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{text!r} is no name of a host; name it alone, as digits.example or 192.0.2.7"
        ) from None
    return name
