"""The pytest plugin: a fixture, Hypothesis profiles beside those of the project, and no cost without use."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from tinygrad_mnist.testing import plugin
from tinygrad_mnist.testing.properties import literal


def test_the_fixture_is_the_check(pytestconfig: pytest.Config) -> None:
    check = plugin.gradcheck_fixture.__wrapped__()  # type: ignore[attr-defined]
    assert check(np.exp, np.ones(2)).passed


def test_the_profiles_are_registered(pytestconfig: pytest.Config) -> None:
    plugin.pytest_configure(pytestconfig)
    assert settings.get_profile("fast").max_examples == 10
    assert settings.get_profile("thorough").max_examples == 1000


# ---- in sessions of other projects -----------------------------------------------------------------------


def session(folder: Path, test: str, *options: str) -> str:
    """Run pytest on a project of one file; return what it printed, and ``loaded:`` with the modules there."""
    (folder / "test_one.py").write_text(test, encoding="utf-8")
    (folder / "conftest.py").write_text(
        "import sys\n"
        "def pytest_sessionfinish():\n"  # at its very end Hypothesis's own plugin imports it in any case
        "    packages = {name.split('.')[0] for name in sys.modules}\n"
        "    print('\\nloaded:', *sorted(packages & {'numpy', 'hypothesis', 'tinygrad_mnist'}),\n"
        "          *(name for name in sys.modules if name.startswith('tinygrad_mnist.')))\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", *options, "test_one.py"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def loaded(said: str) -> list[str]:
    return next(line.split()[1:] for line in said.splitlines() if line.startswith("loaded:"))


def test_a_session_that_does_not_use_it_loads_neither_numpy_nor_hypothesis(tmp_path: Path) -> None:
    said = session(tmp_path, "def test_one(): pass")
    own = ["_version", "testing", "testing.plugin"]
    assert loaded(said) == ["tinygrad_mnist", *(f"tinygrad_mnist.{name}" for name in own)]


@pytest.mark.parametrize(("profile", "examples"), [("fast", 10), ("thorough", 1000)])
def test_a_profile_can_be_chosen_in_any_project(profile: str, examples: int, tmp_path: Path) -> None:
    test = (
        "from hypothesis import settings\n"
        "def test_one():\n"
        f"    assert settings.get_current_profile_name() == {profile!r}\n"
        f"    assert settings().max_examples == {examples}\n"
        "    assert settings().deadline is None\n"
    )
    assert "1 passed" in session(tmp_path, test, f"--hypothesis-profile={profile}")


def test_a_profile_of_the_project_wins(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").touch()
    (tmp_path / "project.py").write_text(
        "from hypothesis import settings\nsettings.register_profile('fast', max_examples=7)\n",
        encoding="utf-8",
    )
    test = "from hypothesis import settings\ndef test_one(): assert settings().max_examples == 7"
    session(tmp_path, test, "-p", "project", "--hypothesis-profile=fast")


def test_the_fixture_serves_any_project_also_one_without_hypothesis(tmp_path: Path) -> None:
    test = "def test_one(gradcheck): assert gradcheck(lambda x: x * x, 3.0).passed"
    said = session(tmp_path, test, "-p", "no:hypothesispytest")
    assert "1 passed" in said
    assert "hypothesis" not in loaded(said)


# ---- scripts that repeat a failure -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        np.array([[1.5, np.inf], [np.nan, 0.0]]), np.zeros((0, 2)), (1, (slice(None), None, Ellipsis)),
        {"axis": np.intp(1), "keepdims": True}, [np.array(True)],
    ],
)  # fmt: skip
def test_a_literal_makes_the_same_value_again(value: Any) -> None:
    made = eval(literal(value), {"np": np})
    np.testing.assert_equal(made, value)
