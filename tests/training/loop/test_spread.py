import pytest

from tinygrad_mnist.training.loop.spread import Spread


@pytest.mark.parametrize("steps", [1, 2, 7, 60])
@pytest.mark.parametrize("count", [0, 1, 2, 5, 7, 13, 60, 200])
def test_spread_steps_are_those_of_a_list(steps: int, count: int) -> None:
    expected = {max(1, round(steps * part / count)) for part in range(1, count + 1)}
    spread = Spread(steps, count)
    assert {step for step in range(steps + 2) if step in spread} == expected
    assert len(spread) == len(expected)
