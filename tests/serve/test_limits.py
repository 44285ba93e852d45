"""The page on the service tells the limits as they are."""

from pathlib import Path

from tinygrad_mnist.serve.limits import Limits

PAGE = Path(__file__).parents[2] / "docs" / "how_to" / "serve.md"


def test_the_page_on_the_service_tells_the_limits() -> None:
    limits = Limits()
    mib = 1 << 20
    header, body, answer = limits.header_seconds, limits.body_seconds, limits.request_seconds
    rows = {
        "body": f"{limits.body_bytes // mib} MiB; of JSON {limits.json_bytes // mib} MiB",
        "pictures in a request": f"{limits.pictures}; with `explain=1` {limits.explained}",
        "pixels of all pictures in a request": f"{limits.pixels:,}",
        "sides of a picture, and rows of all arrays of JSON": f"{limits.side:,}",
        "scans of a progressive JPEG": f"{limits.scans}",
        "bodies that are held at a time": f"{limits.held_bytes // mib} MiB",
        "requests with a body at a time": f"{limits.requests}",
        "connections": f"{limits.connections:,}, or half of what the system lets the process have open",
        "time for headers, body, answer": f"{header:g}, {body:g}, {answer:g} seconds",
        "idle connections": f"{limits.idle_seconds} seconds",
    }
    text = PAGE.read_text("utf-8")
    assert [
        f"| {name} | {value} |" for name, value in rows.items() if f"| {name} | {value} |" not in text
    ] == []
    assert f"{limits.stop_seconds} seconds at the" in text
