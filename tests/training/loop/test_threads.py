"""Each in an interpreter of its own: BLAS reads its number of threads once."""

import os
import subprocess
import sys

import pytest

from tinygrad_mnist.training.loop.threads import VARIABLES, WORTH_SHARING, set_threads


def answer(code: str, **environment: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", f"from tinygrad_mnist.training.loop.threads import *\n{code}"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **environment},
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_one_thread_is_one_thread() -> None:
    pytest.importorskip("threadpoolctl")
    assert answer("print(set_threads(1), threads_in_use())", OPENBLAS_NUM_THREADS="4") == "None 1"


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="there is one core only")
def test_two_threads_are_two_threads() -> None:
    pytest.importorskip("threadpoolctl")
    assert answer("print(set_threads(2), threads_in_use())") == "None 2"


def test_more_threads_than_cores_are_said_to_wait() -> None:
    pytest.importorskip("threadpoolctl")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    said = answer(f"print(set_threads({cores + 1}))")
    assert f"{cores + 1} threads wait for each other on {cores} core" in said
    assert said.endswith(f"ask for {cores} at most")


def test_after_numpy_threadpoolctl_sets_the_number() -> None:
    pytest.importorskip("threadpoolctl")
    code = "import numpy\nprint(set_threads(1), threads_in_use())"
    environment = dict.fromkeys(VARIABLES, "2")
    assert answer(code, **environment) == "None 1"


def test_without_threadpoolctl_the_environment_does_it() -> None:
    pytest.importorskip("threadpoolctl")
    code = (
        "import sys\nsys.modules['threadpoolctl'] = None\nprint(set_threads(1), threads_in_use())\n"
        "del sys.modules['threadpoolctl']\nprint(threads_in_use())"
    )
    assert answer(code, **dict.fromkeys(VARIABLES, "2")).split() == ["None", "None", "1"]


def test_without_threadpoolctl_and_too_late_it_is_said() -> None:
    code = "import sys\nsys.modules['threadpoolctl'] = None\nimport numpy\nprint(set_threads(1))"
    assert "NumPy was imported before" in answer(code)


def test_recipes_and_threads_need_no_numpy() -> None:
    code = (
        "import sys, tinygrad_mnist.training as t\nt.RECIPES, t.find_recipe('default')\n"
        "print('numpy' in sys.modules)"
    )
    assert answer(code) == "False"


def test_less_than_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        set_threads(0)


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="there is one core only")
@pytest.mark.parametrize(("multiplications", "inside"), [(WORTH_SHARING - 1, 1), (WORTH_SHARING, 2)])
def test_small_products_are_left_to_one_thread(multiplications: int, inside: int) -> None:
    pytest.importorskip("threadpoolctl")
    code = f"set_threads(2)\nwith threads_for({multiplications}):\n    print(threads_in_use())\n"
    code += "print(threads_in_use())"
    assert answer(code).split() == [str(inside), "2"]


def test_without_threadpoolctl_small_products_change_nothing() -> None:
    code = "import sys\nsys.modules['threadpoolctl'] = None\nwith threads_for(1):\n    print('here')"
    assert answer(code) == "here"


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="there is one core only")
def test_training_a_small_model_takes_one_thread() -> None:
    pytest.importorskip("threadpoolctl")
    code = (
        "set_threads(2)\n"
        "from tinygrad_mnist.data import load\nfrom tinygrad_mnist.training import *\n"
        "class Seen(Callback):\n"
        "    on_notice = lambda self, training, sentence: 'thread' in sentence and print(sentence[:10])\n"
        "    def on_step_end(self, training):\n"
        "        training.step > 1 or print(threads_in_use())\n"
        "from tinygrad_mnist.training.runs import run\nrun.draw_pictures = lambda *_: ((), ())\n"
        "recipe = find_recipe('digits').changed(epochs=1)\n"
        "train(recipe, load('digits'), out='run', callbacks=[Seen()], report=False)\n"
        "print(threads_in_use())"
    )
    assert answer(code).splitlines() == ["one thread", "1", "2"]


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="there is one core only")
def test_of_two_trainings_at_a_time_the_last_to_end_takes_the_limit_away() -> None:
    pytest.importorskip("threadpoolctl")
    code = (
        "set_threads(2)\nfirst, second = threads_for(1), threads_for(1)\n"
        "first.__enter__(), second.__enter__()\nseen = [threads_in_use()]\n"
        "first.__exit__(None, None, None)\nseen.append(threads_in_use())\n"
        "second.__exit__(None, None, None)\nprint(seen, threads_in_use())"
    )
    assert answer(code) == "[1, 1] 2"
