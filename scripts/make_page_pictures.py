"""Take the pictures of the page to draw on: a seven on a desk, a two on a telephone in the dark.

    python scripts/make_page_pictures.py RUN CHROMIUM

Serves the model of a run directory, draws in the Chromium at that path, and writes docs/images/page.png and
docs/images/page_dark_phone.png. Needs the extra `serve` and the package playwright.
"""

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

IMAGES = Path(__file__).parents[1] / "docs" / "images"

# Points of strokes on a square pad of side 1, as (across, down); each stroke is a smooth curve through them.
Stroke = Sequence[tuple[float, float]]
SEVEN: Sequence[Stroke] = [
    [(0.27, 0.23), (0.42, 0.22), (0.57, 0.21), (0.72, 0.2)],
    [(0.72, 0.2), (0.63, 0.38), (0.54, 0.57), (0.46, 0.82)],
    [(0.4, 0.5), (0.55, 0.48), (0.7, 0.46)],
]
TWO: Sequence[Stroke] = [
    [
        *((0.3, 0.36), (0.36, 0.23), (0.51, 0.18), (0.65, 0.25)),
        *((0.67, 0.4), (0.55, 0.58), (0.42, 0.7), (0.3, 0.8)),
    ],
    [(0.3, 0.8), (0.42, 0.78), (0.56, 0.8), (0.73, 0.79)],
]


@contextmanager
def served(run: str) -> Iterator[str]:
    """Serve a model on a free port, for as long as the context lasts; yield the address of the page."""
    command = [sys.executable, "-m", "tinygrad_mnist", "serve", run, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        try:
            assert service.stdout is not None
            line = service.stdout.readline()
            found = re.search(r"http://\S+", line)
            if found is None:
                raise SystemExit(f"no address was printed by {' '.join(command)}, but {line!r}")
            yield found[0]
        finally:
            service.terminate()


def curve(points: Stroke, count: int = 40) -> list[tuple[float, float]]:
    """Return points on the polynomial through those of a stroke."""
    known = np.linspace(0, 1, len(points))
    across, down = (np.polyfit(known, axis, len(points) - 1) for axis in zip(*points, strict=True))
    times = np.linspace(0, 1, count)
    places = np.stack([np.polyval(across, times), np.polyval(down, times)], axis=1)
    return [(float(x), float(y)) for x, y in places]


def photograph(browser: Any, page: str, strokes: Sequence[Stroke], name: str, **options: Any) -> None:
    """Draw on the page and take a picture of it, once the answer to the whole drawing is there."""
    view = browser.new_page(reduced_motion="reduce", **options)
    view.goto(page)
    box = view.locator("#pad").bounding_box()
    view.locator("#bars li").first.wait_for()
    for stroke in strokes:
        for step, (across, down) in enumerate(curve(stroke)):
            view.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"])
            if step == 0:
                view.mouse.down()
        view.mouse.up()
    view.get_by_text(f"Stroke {len(strokes)}").wait_for(state="attached")
    view.mouse.move(0, 0)
    view.screenshot(path=IMAGES / name, animations="disabled")
    view.close()


def main() -> None:
    from playwright.sync_api import sync_playwright

    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    run, chromium = sys.argv[1:]
    with served(run) as page, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        photograph(browser, page, SEVEN, "page.png", viewport={"width": 1200, "height": 720})
        phone = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "color_scheme": "dark"}
        photograph(browser, page, TWO, "page_dark_phone.png", **phone)
        browser.close()


if __name__ == "__main__":
    main()
