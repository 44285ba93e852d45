"""Results are kept whole, and the printed and the written tables say the same."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import SUBJECTS, page, results
from benchmarks.harness import FileError, Table, Target, Timing

MET = Target("tinygrad", "theirs", 0.6)
MISSED = Target("tinygrad", "by hand", 1.18)
ABSENT = Target("tinygrad", "nobody", 1.0)
TABLE = Table(
    "some work",
    "µs",
    "tinygrad",
    {
        "tinygrad": Timing(6e-4, 5.5e-4, 7e-4),
        "theirs": Timing(1e-3, 9e-4, 1.1e-3),
        "by hand": Timing(5e-4, 5e-4, 5e-4),
    },
    (MET, MISSED, ABSENT),
    ("a note",),
    0.5,
)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "results.json"
    monkeypatch.setattr(results, "FILE", path)
    monkeypatch.setattr(results, "machine", lambda: {"processor": "one"})
    return path


def test_a_target_is_met_missed_or_not_measured() -> None:
    assert [results.verdict(TABLE, target) for target in (MET, MISSED, ABSENT)] == [
        "met",
        "missed",
        "not measured",
    ]


def test_the_printed_table_says_all_of_it() -> None:
    text = results.printed(TABLE)
    assert "600 µs" in text
    assert "550 to 700" in text
    assert "at most 0.60 of theirs: 0.60, MET" in text
    assert "at most 1.18 of by hand: 1.20, MISSED" in text
    assert "at most 1.00 of nobody: NOT MEASURED" in text
    assert "a note" in text
    assert "got 50% of its core" in text


def test_the_summary_has_a_line_for_each_target() -> None:
    assert len(results.summary([TABLE, TABLE]).splitlines()) == 1 + 2 * 3


def test_a_table_comes_back_from_json() -> None:
    assert results.from_plain(json.loads(json.dumps(results.plain(TABLE)))) == TABLE


def test_a_run_of_all_replaces_what_was_there(file: Path) -> None:
    results.keep({"old": {}}, all_of_them=True)
    assert results.keep({"chain": {"skipped": "why"}}, all_of_them=True) is None
    assert results.read() == {"machine": {"processor": "one"}, "subjects": {"chain": {"skipped": "why"}}}


def test_a_run_of_some_replaces_those(file: Path) -> None:
    results.keep({"chain": {"load": 1}, "memory": {"load": 2}}, all_of_them=True)
    assert results.keep({"memory": {"load": 3}}, all_of_them=False) is None
    assert results.read()["subjects"] == {"chain": {"load": 1}, "memory": {"load": 3}}


def test_what_is_left_out_of_a_run_of_some_keeps_what_was_measured(file: Path) -> None:
    results.keep({"recipe": {"load": 1}}, all_of_them=True)
    assert results.keep({"recipe": {"skipped": "a"}, "memory": {"skipped": "b"}}, all_of_them=False) is None
    assert results.read()["subjects"] == {"recipe": {"load": 1}, "memory": {"skipped": "b"}}


@pytest.mark.parametrize("text", ["not json", "[]", "{}", '{"machine": {}}'])
def test_a_file_that_has_no_results_is_named(text: str, file: Path) -> None:
    file.write_text(text, "utf-8")
    with pytest.raises(FileError, match=r"results\.json .* or take it from git again"):
        results.keep({"chain": {}}, all_of_them=False)
    assert file.read_text("utf-8") == text
    assert results.keep({"chain": {}}, all_of_them=True) is None


def test_a_run_of_some_leaves_the_results_of_another_machine(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results.keep({"chain": 1}, all_of_them=True)
    before = file.read_bytes()
    monkeypatch.setattr(results, "machine", lambda: {"processor": "another"})
    assert "run all subjects" in str(results.keep({"chain": 2}, all_of_them=False))
    assert file.read_bytes() == before


def test_what_stands_around_the_sections_stays(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n", "utf-8")
    assert page.with_sections(file, "new") == f"before\n{page.BEGIN}\n\nnew\n\n{page.END}\nafter\n"
    file.write_text("no markers", "utf-8")
    with pytest.raises(FileError, match=r"page\.md needs the lines"):
        page.with_sections(file, "new")


def test_a_subject_that_was_left_out_says_why() -> None:
    found: dict[str, Any] = {
        "machine": {"processor": "one", "cores": 2, "system": "Linux", "versions": {"numpy": "2"}},
        "subjects": {"a": {**results.entry([TABLE], 0.1, 7)}, "b": {"skipped": "there is no data"}},
    }
    made = page.sections(found)
    assert "*b* was left out: there is no data." in made
    assert "| some work | theirs | 0.60 | 0.60 | met |" in made
    assert "**The machine was busy**" in made
    assert "*The machine was busy: this process got 50% of its core.*" in made
    assert "Rounds: a 7." in made


def test_a_way_of_ours_is_named_where_it_is_compared_with_another() -> None:
    several = replace(TABLE, ours="two threads")
    assert results.work(several, Target("two threads", "one thread", 1.5)) == "some work: two threads"
    assert results.work(TABLE, MET) == "some work"
    assert results.work(TABLE, replace(MET, ours="tinygrad, jit")) == "some work: tinygrad, jit"


def test_the_readme_has_the_ratios_of_the_training_steps() -> None:
    jit = {"tinygrad, jit": Timing(3e-4, 3e-4, 3e-4)}
    step = results.plain(replace(TABLE, timings={**TABLE.timings, **jit}))
    made = page.in_short({"subjects": {"training_step": {"tables": [step]}}})
    assert made.splitlines() == [
        "| our time, as a share of that of | theirs | by hand | nobody |",
        "|---|---|---|---|",
        "| some work: tinygrad | 0.60 | 1.20 | not measured |",
        "| some work: tinygrad, jit | 0.30 | 0.60 | not measured |",
    ]
    assert page.in_short({"subjects": {}}) == "Not measured here."


@pytest.mark.parametrize("subjects", [{}, {"chain": {"tables": [{}], "measured": "now"}}])
def test_results_that_lack_something_make_no_page(subjects: dict[str, Any], file: Path) -> None:
    results.keep(subjects, all_of_them=True)
    with pytest.raises(FileError, match=r"results\.json lacks what the page needs"):
        page.write()


def test_the_page_is_that_of_the_results() -> None:
    found = results.read()
    assert found["subjects"].keys() == set(SUBJECTS)
    for file, made in ((page.PAGE, page.sections(found)), (page.README, page.in_short(found))):
        assert file.read_text("utf-8") == page.with_sections(file, made), "python -m benchmarks --page"


def test_the_chart_shows_each_ratio_on_light_and_on_dark(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")
    from benchmarks import chart

    chart.draw([TABLE], tmp_path / "chart.svg")
    svg = (tmp_path / "chart.svg").read_text("utf-8")
    assert ">0.60</text>" in svg
    assert ">1.20</text>" in svg
    assert "prefers-color-scheme: dark" in svg
