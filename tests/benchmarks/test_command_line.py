"""The command line of the benchmarks: what is wrong with it is one sentence; a regression fails."""

import importlib
import json
import re
from pathlib import Path

import pytest

from benchmarks import harness, quick

command = importlib.import_module("benchmarks.__main__")


@pytest.fixture(autouse=True)
def unpinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests keep their cores."""
    monkeypatch.setattr(harness, "pin_to_one_thread", lambda: None)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["chains"], "there is no subject 'chains' .* did you mean chain?"),
        (["qqq"], "there is no subject 'qqq' among training_step, .*"),
        (["chain", "--quick"], r"subjects \(chain\) are for a run; .*"),
        (["--rounds", "3", "--quick"], "--rounds 3 is for a run of subjects; .*"),
        (["--rounds", "0"], "--rounds must be at least 1, not 0"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert re.match(f"benchmarks: {sentence}", captured.err)


@pytest.mark.parametrize(("factor", "status"), [(1.0, 0), (1.1, 0), (1.3, 1)])
def test_a_clearly_worse_ratio_fails(
    factor: float, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = json.loads(quick.FILE.read_text("utf-8"))
    monkeypatch.setattr(quick, "ratio_on", lambda network: factor * stored[network.name])
    assert command.main(["--quick"]) == status
    assert ("WORSE" in capsys.readouterr().out) == bool(status)


@pytest.mark.parametrize("text", ["not json", "[]", "{}", '{"784-64-32-16-10": "x"}', None])
def test_ratios_that_cannot_be_read_are_one_sentence(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quick, "FILE", tmp_path / "quick.json")
    if text is not None:
        quick.FILE.write_text(text, "utf-8")
    assert command.main(["--quick"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("benchmarks: quick.json has no ratio for each network")
    assert error.count("\n") == 1


def test_results_that_cannot_be_read_are_said_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import chain, results

    def run(rounds: int) -> None:
        raise AssertionError("it is measured")

    monkeypatch.setattr(chain, "run", run)
    monkeypatch.setattr(results, "FILE", tmp_path / "results.json")
    results.FILE.write_text("half of {", "utf-8")
    assert command.main(["chain", "--rounds", "1"]) == 1
    assert capsys.readouterr().err.startswith("benchmarks: results.json is no JSON")


def test_a_ratio_that_was_bad_by_accident_is_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ratios = iter([9.0, 0.5, 9.0, 0.5])
    monkeypatch.setattr(quick, "ratio_on", lambda network: next(ratios))
    assert quick.compare()


def test_a_subject_that_disagrees_fails_and_the_others_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import chain, importing, results

    kept: dict[str, object] = {}

    def disagree(rounds: int) -> None:
        raise harness.DisagreementError("the losses differ")

    monkeypatch.setattr(chain, "run", disagree)
    monkeypatch.setattr(importing, "run", lambda rounds: [])
    monkeypatch.setattr(results, "keep", lambda entries, all_of_them: kept.update(entries) or "not kept")
    assert command.main(["chain", "importing", "--rounds", "1"]) == 1
    assert "chain: the losses differ" in capsys.readouterr().err
    assert list(kept) == ["chain", "importing"]
