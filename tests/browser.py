"""What tests in a browser share: Chromium, and what a page asks for and complains about.

It needs Playwright. A test file says `pytest.importorskip("playwright", ...)` before it imports this: a skip
in here would skip only the first file that does. The fixture `browser` is in `tests/conftest.py`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from shutil import which

import pytest
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

expect.set_options(timeout=60_000)  # for what must come, on whatever machine; nothing waits so long

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium, the system's before Playwright's own; skip the test where none starts."""
    found = next(filter(None, map(which, BROWSERS)), None)
    with sync_playwright() as playwright:
        try:
            # The pages are our own; as root, and in most containers, there is no sandbox to be had.
            started = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except Error as error:
            pytest.skip(f"no Chromium starts here: {str(error).splitlines()[0]}")
        yield started
        started.close()


@dataclass
class Heard:
    """The addresses that pages ask for, and what they complain of: the console, and errors nobody caught."""

    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def listen(self, page: Page) -> None:
        """Hear a page from now on."""
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def elsewhere(self, home: str) -> list[str]:
        """Return the addresses that do not begin with `home`, and are no data within the page."""
        return [url for url in self.asked if not url.startswith((home, "data:", "blob:"))]
