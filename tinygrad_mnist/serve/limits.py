"""Limits on what one request, and all requests together, may take of the machine."""

from __future__ import annotations

from dataclasses import dataclass

_MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """The numbers beyond which a request is refused; the defaults keep a service below 500 MB.

    Parameters
    ----------
    body_bytes : int
        Bytes of the body of a request.
    json_bytes : int
        Bytes of a body of JSON, as the numbers in it take some 25 times the room while they are read.
    held_bytes : int
        Bytes of the bodies of all requests that are held at a time.
    pictures : int
        Pictures in a request.
    explained : int
        Pictures in a request that asks for explanations, each of which takes a backward pass.
    pixels : int
        Pixels of all pictures in a request together, by their headers, before they are decoded.
    side : int
        Pixels of the longer side of a picture; and rows of all arrays of JSON in a request together.
    scans : int
        Scans of a progressive JPEG, each of which goes over the whole picture.
    requests : int
        Requests that are answered at a time.
    connections : int
        Connections that are served at a time; a request on another one is answered by 503.
    header_seconds : float
        Time for the request line and the headers.
    body_seconds : float
        Time for the body.
    request_seconds : float
        Time for a request in all, from its headers to the end of its answer.
    idle_seconds : int
        Time that a connection is kept open for its next request.
    stop_seconds : int
        Time to finish what is held when the service is stopped.
    """

    body_bytes: int = 8 * _MIB
    json_bytes: int = 2 * _MIB
    held_bytes: int = 64 * _MIB
    pictures: int = 100
    explained: int = 10
    pixels: int = 1 << 24
    side: int = 1 << 14
    scans: int = 64
    requests: int = 256
    connections: int = 1000
    header_seconds: float = 10.0
    body_seconds: float = 15.0
    request_seconds: float = 30.0
    idle_seconds: int = 5
    stop_seconds: int = 10
