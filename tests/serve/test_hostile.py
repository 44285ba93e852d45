"""What a stranger sends gets a clear answer, and the service lives on: 500 requests, and 10,000 at once."""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

for package in ("starlette", "uvicorn", "python_multipart", "prometheus_client", "PIL"):
    pytest.importorskip(package, reason=f"{package} is not installed: it is of the extra serve")

from PIL import Image

from tests.serve.exchanges import Answer, Server, exchange, post, serving
from tests.serve.hostile import Case, cases
from tinygrad_mnist.data import load_digits
from tinygrad_mnist.training import choose, train
from tinygrad_mnist.training.runs import run as run_module

MOST_MEMORY = 500e6
"""Bytes that the process of the service may hold at most."""
AT_A_TIME = 4
STRICT = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the bundled digits."""
    chosen = choose("digits", {"epochs": 3})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "draw_pictures", lambda *_: ((), ()))
        folder = tmp_path_factory.mktemp("served") / "run"
        train(chosen.recipe, chosen.dataset, out=folder, report=False)
    return folder


@pytest.fixture(scope="module")
def server(run: Path) -> Iterator[Server]:
    """A service of its own, for all tests here."""
    with serving(run) as started:
        yield started


def fault(case: Case, answer: Answer) -> str | None:
    """Return what is wrong with an answer; None if nothing is."""
    if answer.status is None:
        return None if not case.is_http and "time" not in answer.why else f"no answer: {answer.why}"
    if answer.status not in case.statuses:
        return f"{answer.status}, not one of {sorted(case.statuses)}: {answer.body[:200]!r}"
    if not case.is_http and answer.headers.get("content-type", "").startswith("text/plain"):
        return None  # the server of HTTP itself could not read it
    if lacking := [name for name, value in STRICT.items() if answer.headers.get(name) != value]:
        return f"the headers lack {lacking}"
    try:
        found = answer.json()
    except ValueError as error:
        return None if answer.status < 300 else f"no JSON: {error}"
    if answer.status >= 400:
        sentence = found.get("error", "") if set(found) == {"error"} else ""
        is_clear = 15 < len(sentence) < 400 and "\n" not in sentence and "Traceback" not in sentence
        return None if is_clear else f"no sentence: {found}"
    rows = [one["probabilities"] for one in found.get("predictions", ())]
    return None if np.allclose(np.sum(rows, axis=-1), 1, atol=1e-4) else f"probabilities {rows}"


def faults(server: Server, given: list[Case]) -> list[str]:
    """Send requests, some at a time, and return what is wrong with the answers."""
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        answers = list(pool.map(lambda case: exchange(server.port, case.pieces), given))
    found = [(case, fault(case, answer)) for case, answer in zip(given, answers, strict=True)]
    return [f"{case.name}, {case.pieces[0][0][:80]!r}: {wrong}" for case, wrong in found if wrong]


def assert_it_lives(server: Server) -> None:
    """An ordinary request is answered right, and the memory was bounded."""
    digits = load_digits()
    file = io.BytesIO()
    Image.fromarray(digits.test_images[0]).save(file, "PNG")
    answer = exchange(server.port, post(file.getvalue()))
    assert answer.status == 200
    assert answer.json()["predictions"][0]["class"] == str(digits.test_labels[0])
    assert server.process.poll() is None
    peak = server.peak()
    assert peak is None or peak < MOST_MEMORY


def test_a_request_of_each_family_gets_a_clear_answer(server: Server) -> None:
    given = cases()
    some = [
        case
        for number, case in enumerate(given)
        if number % 5 == 0 and sum(len(piece) * times for piece, times in case.pieces) < 100_000
    ]
    assert len(some) > 80
    assert faults(server, some) == []
    assert_it_lives(server)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0])
def test_500_hostile_requests_get_clear_answers(server: Server, seed: int) -> None:
    given = cases(seed)
    assert len(given) == 500
    assert faults(server, given) == []
    assert_it_lives(server)
