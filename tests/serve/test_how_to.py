"""The lines of the page on the service that are typed into a shell."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.serve.exchanges import Server
from tests.serve.pictures import encoded, stroke

PAGE = Path(__file__).parents[2] / "docs" / "how_to" / "serve.md"
LINES = re.findall(r"^curl .*$", PAGE.read_text("utf-8"), re.MULTILINE)
ADDRESS = "http://127.0.0.1:8000"


@pytest.fixture
def curl() -> str:
    """The program, if it knows all options."""
    found = shutil.which("curl")
    if found is None:
        pytest.skip("curl is not installed")
    if "--json" not in subprocess.run([found, "--help", "all"], capture_output=True, text=True).stdout:
        pytest.skip("curl is older than 7.82, and does not know --json")
    return found


def test_every_line_of_curl_has_predictions(
    curl: str, digits_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name, kind in (("seven.png", "PNG"), ("photo.jpg", "JPEG"), ("two.jpg", "JPEG")):
        (tmp_path / name).write_bytes(encoded(stroke(), kind))
    (tmp_path / "many.json").write_text(json.dumps([stroke(20, 20).tolist()] * 3))
    counts, classes = [], []
    for line in LINES:
        assert ADDRESS in line
        _, *words = shlex.split(line.replace(ADDRESS, digits_server.address))
        answer = json.loads(
            subprocess.run([curl, "-s", *words], cwd=tmp_path, capture_output=True, check=True).stdout
        )
        assert "error" not in answer, line
        counts.append(len(answer["predictions"]))
        classes.append(answer["predictions"][0]["class"])
    assert counts == [1, 1, 2, 3, 1, 1]
    assert classes[-2:] == ["7", "7"]


def test_the_example_of_the_description_is_the_seven_of_the_page() -> None:
    from tinygrad_mnist.serve.limits import Limits
    from tinygrad_mnist.serve.openapi import document

    model = {"name": "a", "version": "b", "classes": ["0", "1"], "image_shape": [8, 8]}
    content = document(model, Limits())["paths"]["/predict"]["post"]["requestBody"]["content"]
    examples = content["application/json"]["examples"]
    shown = [json.loads(found) for line in LINES for found in re.findall(r"--json '(.*?)'", line)]
    assert shown[0] == examples["one"]["value"]
    np.testing.assert_array_equal(shown[1]["image"], np.array(shown[0]) / 255)
