"""The report of a run: all that is known is there, once, and no name becomes markup."""

import html.parser
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from tests.training.report.conftest import NASTY
from tinygrad_mnist.data import Dataset
from tinygrad_mnist.training import Outcome
from tinygrad_mnist.training.loop.history import History
from tinygrad_mnist.training.report import page as page_module
from tinygrad_mnist.training.report import pictures
from tinygrad_mnist.training.report.comparison import comparison_page, named
from tinygrad_mnist.training.report.drawn import Drawn
from tinygrad_mnist.training.report.markup import join
from tinygrad_mnist.training.report.page import SECTIONS, report_page
from tinygrad_mnist.training.report.results import key_numbers
from tinygrad_mnist.training.report.trained_run import TrainedRun
from tinygrad_mnist.training.report.write import write_report

Made = Callable[..., TrainedRun]

ALL = dict(pictures.DRAWINGS)
"""All that can be drawn, whatever a test leaves of it."""

VOID = {"meta", "img", "br", "hr", "link"}


class Reader(html.parser.HTMLParser):
    """A page as its tags, attributes and texts; wrong nesting is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attributes]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def read(run: TrainedRun) -> Reader:
    return Reader(write_report(run).read_text("utf-8"))


@pytest.fixture
def page(made: Made) -> Reader:
    return read(made())


@pytest.fixture(autouse=True)
def few_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing all of them takes most of the time; those in ``NEED_ALL`` look at them."""
    if request.function not in NEED_ALL:
        few = {name: pictures.DRAWINGS[name] for name in ("learning_rate", "weights")}
        monkeypatch.setattr(pictures, "DRAWINGS", few)


def test_the_page_has_all_sections_in_order(page: Reader) -> None:
    ids = [value for tag, name, value in page.attributes if tag == "section" and name == "id"]
    assert ids == [name for name, _, _ in SECTIONS]
    links = [value for tag, name, value in page.attributes if tag == "a" and name == "href"]
    assert links[: len(ids)] == [f"#{name}" for name in ids]


def test_headings_go_down_a_level_at_a_time(page: Reader) -> None:
    levels = [int(tag[1]) for tag in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below - above <= 1 for above, below in pairwise(levels))


def test_the_result_is_in_the_first_sentence(made: Made) -> None:
    run = made()
    assert run.right is not None
    right = int(run.right.sum())
    assert f"{right} right, {60 - right} wrong (95 % interval" in read(run).text


def test_nothing_is_fetched_and_nothing_runs(page: Reader) -> None:
    assert not {"script", "link", "iframe", "object", "embed"} & set(page.tags)
    for _, name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("src", "xlink:href", "href", "style"):
            assert not re.match(r"(https?:)?//|javascript:", value or "")
    assert len([1 for tag, name, value in page.attributes if tag == "meta" and name == "http-equiv"]) == 1


def test_names_never_become_markup(made: Made) -> None:
    found = read(made(names=NASTY))
    assert "script" not in found.tags
    assert not any(name.startswith("on") for _, name, _ in found.attributes)
    assert "<script>alert(1)</script>" in found.text
    assert "&amp;\\x1b[2J\\u202e" in found.text


def test_numbers_of_the_confusion_matrix_are_those_of_the_predictions(made: Made) -> None:
    probabilities = np.random.default_rng(1).dirichlet(np.ones(4), 60).astype(np.float32)
    run = made(given=probabilities)
    text = write_report(run).read_text("utf-8")
    body = re.search(r'class="wide matrix".*?<tbody>(.*?)</tbody>', text)
    assert body is not None
    rows = [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in body[1].split("</tr>")[:-1]]
    found = [[0 if cell == "·" else int(cell) for cell in row] for row in rows]
    assert run.dataset is not None
    assert run.predicted is not None
    for i, row in enumerate(found):
        of_class = run.predicted[run.dataset.test_labels == i]
        assert row == [int((of_class == j).sum()) for j in range(4)]


def test_mistakes_are_shown_the_most_confident_first(made: Made) -> None:
    run = made(given=np.random.default_rng(1).dirichlet(np.ones(4), 60).astype(np.float32))
    found = pictures.choose_examples(run)
    assert found is not None
    assert run.right is not None
    assert run.probabilities is not None
    sure = run.probabilities[found.mistakes].max(axis=1)
    assert not run.right[found.mistakes].any()
    assert (np.diff(sure) <= 0).all()
    assert sure[0] == run.probabilities[~run.right].max()


def test_the_command_and_the_hashes_say_how_to_repeat_it(made: Made) -> None:
    run = made()
    text = read(run).text
    assert "tinygrad-mnist train" in text
    assert "--seed 3" in text
    assert set(run.hashes) == {"train", "test"}
    for digest in run.hashes.values():
        assert digest in text


SEVERAL = {"ranks": 3, "hosts": {"a": 2, "<b>": 1}, "waiting_share": 0.0712, "lost": ["rank 3 on <c>"]}


def test_processes_that_trained_together_are_told(made: Made) -> None:
    run = made()
    origin = {**run.checkpoint.origin, "extended": [[0.5, 8, False]]}
    text = read(
        replace(
            run,
            summary={**run.summary, "processes": SEVERAL},
            checkpoint=replace(run.checkpoint, origin=origin),
        )
    ).text
    assert "processes 3: 2 on a, 1 on <b>; 7.12 % of the time waiting; lost on the way: rank 3 on <c>" in text
    assert "Processes 3 7.12 % of the time waiting" in text
    assert text.count("--processes 3") == 2  # of the run, and of what made it longer
    assert "of the time waiting" not in read(run).text


@pytest.mark.parametrize("name", SEVERAL)
def test_processes_that_are_said_oddly_end_in_no_error(made: Made, outcome: Outcome, name: str) -> None:
    run = made()
    for value in (None, "many", [1], {}, True, -1, 10**400, float("nan"), {"a": "b"}):
        odd = replace(run, summary={**outcome.summary, "processes": {**SEVERAL, name: value}})
        assert "How to repeat it" in Reader(report_page(Drawn(odd, {}))).text


def test_a_run_that_was_made_longer_has_all_commands(made: Made) -> None:
    run = made()
    origin = {**run.checkpoint.origin, "extended": [[0.5, 8, False]]}
    text = read(replace(run, checkpoint=replace(run.checkpoint, origin=origin))).text
    assert "epochs = 0.5" in text
    assert "after 8 steps, where it had been interrupted" in text
    assert "tinygrad-mnist train --resume again --epochs" in text
    assert "The run was made longer after step 8." in text


def test_clipping_is_counted_where_there_was_some(made: Made, outcome: Outcome) -> None:
    recipe = outcome.checkpoint.recipe.changed(clip_norm=0.5)
    run = made(checkpoint=replace(outcome.checkpoint, recipe=recipe))
    assert "acted in 3 of 32 steps (9.4 %)" in read(run).text


def test_what_was_said_is_repeated(made: Made, outcome: Outcome) -> None:
    run = made(summary={**outcome.summary, "notices": ["labels <1> are odd"]})
    assert "labels <1> are odd" in read(run).text


def test_without_data_the_summary_is_all(made: Made, outcome: Outcome) -> None:
    run = made(dataset=None, missing=("The data is gone.",))
    found = read(run)
    assert "The data is gone." in found.text
    assert f"{outcome.summary['test_accuracy']:.2%}".replace("%", " %") in found.text
    assert "img" not in found.tags


def test_without_anything_but_a_checkpoint_there_is_a_page(made: Made) -> None:
    text = read(made(dataset=None, summary={}, history=History(1))).text
    assert "is not known" in text
    assert "The model" in text


ODD = {
    **{"null": None, "text": "many", "list": [1], "table": {}, "true": True, "negative": -1},
    **{"huge": 10**400, "NaN": float("nan"), "infinite": float("inf")},
}
"""What a summary that another program wrote may hold in place of a number."""


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
def test_no_value_of_a_summary_ends_in_an_error(made: Made, outcome: Outcome, value: object) -> None:
    odd = dict.fromkeys((*outcome.summary, "notices"), value)
    run = made(dataset=None, summary=odd)
    assert "The model" in Reader(report_page(Drawn(run, {}))).text
    assert Reader(comparison_page(named([run, made("second", summary=odd)]), [])).text


def test_a_summary_may_lack_any_of_its_values(made: Made, outcome: Outcome) -> None:
    run = made()
    for name in outcome.summary:
        alone = replace(run, summary={name: outcome.summary[name]})
        others = {key: value for key, value in outcome.summary.items() if key != name}
        without = replace(run, summary=others)
        for odd in (alone, without):
            assert key_numbers(Drawn(odd, {})) is not None
    assert "1 epoch" in join(key_numbers(Drawn(replace(run, summary={"epochs": 1}), {})))


def test_threads_that_nothing_told_are_not_none(made: Made, outcome: Outcome) -> None:
    text = Reader(report_page(Drawn(made(summary={**outcome.summary, "threads": None}), {}))).text
    assert "threads not known (the package threadpoolctl tells it)" in text


def test_without_matplotlib_there_are_tables_and_digits(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    run = made()
    found = read(run)
    assert "No curves were drawn: matplotlib is needed" in found.text
    assert found.tags.count("table") >= 4
    assert found.tags.count("img") > 20
    assert not (run.path / "pictures").exists()


def test_without_a_graph_the_page_says_what_draws_it(made: Made) -> None:
    run = made()
    (run.path / "graph.svg").unlink()
    assert "There is no graph.svg" in read(run).text


@pytest.mark.parametrize("text", ["no picture", "<svg><script>alert(1)</script></svg>", "<svg>", "\x00"])
def test_a_graph_that_is_none_is_left_out(made: Made, text: str) -> None:
    run = made()
    (run.path / "graph.svg").write_text(text)
    found = read(run)
    assert "script" not in found.tags
    assert "graph.svg is no picture" in found.text


def test_all_pictures_are_in_the_page_with_words_and_beside_it_as_files(made: Made) -> None:
    run = made()
    page = read(run)
    words = [value for tag, name, value in page.attributes if tag == "img" and name == "alt"]
    assert len(words) == page.tags.count("img") > 20
    assert all(words)
    drawings = [value for tag, name, value in page.attributes if tag == "svg" and name == "role"]
    assert len(drawings) == page.tags.count("svg") >= 7
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    names = sorted(path.name for path in (run.path / "pictures").iterdir())
    stems = (
        "calibration",
        "confusion",
        "curves",
        "gradients",
        "learning_rate",
        "samples",
        "saliency",
        "weights",
    )
    assert {f"{stem}{suffix}" for stem in stems for suffix in (".png", ".svg")} <= set(names)


NEED_ALL = (test_all_pictures_are_in_the_page_with_words_and_beside_it_as_files,)


def test_equal_runs_give_equal_pages(made: Made) -> None:
    run = made()
    assert write_report(run).read_bytes() == write_report(run).read_bytes()


def test_a_page_that_cannot_be_written_leaves_the_old_one(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made()
    (run.path / "report.html").write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(Exception, match="No space left"):
            write_report(run)
    assert (run.path / "report.html").read_text() == "old"
    assert [path.name for path in run.path.iterdir() if path.name.startswith(".")] == []


@pytest.fixture
def many(made: Made, patterns: Dataset) -> TrainedRun:
    """A run of more classes than a table can hold."""
    names = tuple(f"class {k}" for k in range(25))
    probabilities = np.random.default_rng(0).dirichlet(np.ones(25), 60).astype(np.float32)
    return made(names=names, dataset=replace(patterns, classes=25, class_names=names), given=probabilities)


def test_the_matrix_of_many_classes_is_drawn_in_the_page(
    many: TrainedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "DRAWINGS", {"confusion": ALL["confusion"]})
    text = write_report(many).read_text("utf-8")
    section = text[text.index('<section id="mistakes"') :]
    assert "<svg" in section[: section.index("</section>")]
    assert "Taken most often" in text


def test_without_its_picture_many_classes_are_a_list_of_mistakes(many: TrainedRun) -> None:
    text = read(many).text
    assert "A confusion matrix of so many classes is a picture" in text
    assert "Taken most often" in text


def matrices(run: TrainedRun) -> list[str]:
    return re.findall(r'class="wide matrix".*?</table>', report_page(Drawn(run, {})))


def shaded(table: str) -> dict[str, int]:
    """Return the depth of the colour of each number that has one."""
    return {text: int(depth) for depth, text in re.findall(r"--share:(\d+)%[^>]*>([^<]*)<", table)}


def test_each_matrix_is_shaded_by_what_it_shows(made: Made, patterns: Dataset) -> None:
    labels = np.repeat([0, 1], [50, 10])
    said = np.concatenate([np.repeat([0, 1], [46, 4]), np.repeat([1, 2], [8, 2])])
    data = replace(patterns, test_labels=labels, test_images=patterns.test_images[:60])
    run = made(dataset=data, given=np.eye(4, dtype=np.float32)[said])
    counts, shares = map(shaded, matrices(run))
    assert counts == {"4": 45, "2": 22}
    assert shares == {"8.0": 18, "20.0": 45}


def test_long_names_leave_the_matrix_its_shape_and_are_told_whole(made: Made) -> None:
    names = ("x" * 40, "a name of some words", "short", "W" * 40)
    for table in matrices(made(names=names)):
        assert 'class="turned"' in table
        assert "--classes:4;" in table
        assert "--name:14" in table
        for name in names[:2]:
            assert table.count(f'title="{name}"') == 2
    assert 'class="turned"' not in matrices(made("second"))[0]


def test_weights_are_said_to_be_the_largest_only_where_some_are_left_out(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made()
    first = pictures.first_layer(run)
    assert first is not None
    monkeypatch.setattr(page_module, "WEIGHTS", len(first.weight))
    assert "The weights of the first layer, all on one scale" in read(run).text
    monkeypatch.setattr(page_module, "WEIGHTS", len(first.weight) - 1)
    assert "The weights of the first layer, those with the largest norm, all on one scale" in read(run).text


def test_one_mistake_is_one_time(made: Made, patterns: Dataset) -> None:
    said = patterns.test_labels.copy()
    said[0] = (said[0] + 1) % 4
    text = read(made(given=np.eye(4, dtype=np.float32)[said])).text
    assert "(1 time)" in text
    assert "1 times" not in text


def test_pictures_of_an_earlier_report_go_where_there_is_nothing_to_draw(
    made: Made, patterns: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "DRAWINGS", {"mistakes": ALL["mistakes"]})
    wrong = made(given=np.eye(4, dtype=np.float32)[(patterns.test_labels + 1) % 4])
    write_report(wrong)
    folder = wrong.path / "pictures"
    (folder / "mine.png").write_bytes(b"mine")
    assert {path.name for path in folder.iterdir()} == {"mine.png", "mistakes.png", "mistakes.svg"}
    write_report(replace(wrong, given=np.eye(4, dtype=np.float32)[patterns.test_labels]))
    assert {path.name for path in folder.iterdir()} == {"mine.png"}


@pytest.mark.parametrize("name", ["confusion", "class_accuracy", "samples", "mistakes"])
def test_pictures_are_as_narrow_as_a_telephone_needs_them(made: Made, name: str) -> None:
    run = made(given=np.random.default_rng(1).dirichlet(np.ones(4), 60).astype(np.float32))
    figure = ALL[name](run, pictures.choose_examples(run))
    assert figure is not None
    assert figure.get_size_inches()[0] == pictures.WIDTH
