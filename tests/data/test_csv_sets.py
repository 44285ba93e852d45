"""Data sets in CSV files: headings, delimiters, labels of all kinds, several files, faults by their line."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinygrad_mnist.data import DataError, csv_sets, load, read_unlabelled
from tinygrad_mnist.data.csv_sets import read_csv

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (20, 3, 3)).astype(np.uint8)
LABELS = np.arange(20) % 4
HEADING = "label," + ",".join(f"pixel{k}" for k in range(9))


def rows(delimiter: str = ",", label_last: bool = False, labelled: bool = True) -> list[str]:
    found = []
    for label, image in zip(LABELS, IMAGES, strict=True):
        cells = [*map(str, image.reshape(-1))]
        if labelled:
            cells.insert(9 if label_last else 0, str(label))
        found.append(delimiter.join(cells))
    return found


def write(path: Path, lines: list[str], name: str = "train.csv", end: str = "\n") -> Path:
    (path / name).write_bytes(end.join([*lines, ""]).encode())
    return path / name


def fault(path: Path, lines: list[str]) -> str:
    file = write(path, lines)
    with pytest.raises(DataError) as raised:
        load(file)
    message = str(raised.value)
    assert str(file) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    "lines",
    [
        [HEADING, *rows()],
        rows(),
        [",".join(map(str, range(10))), *rows()],
        [",".join(f"5.{k}" if k else "5" for k in range(10)), *rows()],
        [HEADING.removeprefix("label,") + ",class", *rows(label_last=True)],
        [HEADING.replace(",", ";"), *rows(";")],
        [HEADING.replace(",", "\t"), *rows("\t")],
        ["id," + HEADING, *(f"{k},{row}" for k, row in enumerate(rows()))],
        [HEADING, *(re.sub(r"(\d+)", r'"\1"', row) for row in rows())],
        [HEADING, *(row.replace(",", ", ") for row in rows())],
        [HEADING, *(re.sub(r"(\d+)", r"\1.0", row) for row in rows())],
        ["", *rows()[:5], "", *rows()[5:], "  "],
        ["\ufeff", " ", HEADING, "", *rows()],
        ["\ufeff" + HEADING, *rows()],
        [",".join(map(str, range(9))) + ",label", *rows(label_last=True)],
    ],
    ids=[
        *(
            "heading",
            "no heading",
            "counted heading",
            "repeats as heading",
            "label last",
            "semicolons",
            "tabs",
        ),
        *("id column", "quotes", "blanks", "decimals", "empty lines", "empty lines before the heading"),
        *("byte order mark", "counted heading with the label last"),
    ],
)
def test_every_usual_form_gives_the_same_pictures(tmp_path: Path, lines: list[str]) -> None:
    table = read_csv(write(tmp_path, lines))
    np.testing.assert_array_equal(table.pixels, IMAGES)
    np.testing.assert_array_equal(table.labels, LABELS)


def test_lines_may_end_as_on_windows_and_the_last_one_need_not_end(tmp_path: Path) -> None:
    file = write(tmp_path, [HEADING, *rows()], end="\r\n")
    file.write_bytes(file.read_bytes().removesuffix(b"\r\n"))
    np.testing.assert_array_equal(read_csv(file).pixels, IMAGES)


def test_a_file_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, [HEADING, *rows()])
    for chunk in (40, 64, 97):
        monkeypatch.setattr(csv_sets, "_CHUNK", chunk)
        table = read_csv(file)
        np.testing.assert_array_equal(table.pixels, IMAGES)
        np.testing.assert_array_equal(table.labels, LABELS)


def test_shares_and_wide_numbers_are_scaled_with_a_word(tmp_path: Path) -> None:
    said: list[str] = []
    wide = [
        ",".join([str(label), *map(str, image.reshape(-1) * 257)])
        for label, image in zip(LABELS, IMAGES.astype(int), strict=True)
    ]
    dataset = load(write(tmp_path, wide), notify=said.append)
    assert "values from 0 to 65535 are scaled to 0 to 255" in said[0]
    assert {bytes(image) for image in dataset.train_images} <= {bytes(image) for image in IMAGES}
    shares = [
        ",".join([str(label), *map(str, image.reshape(-1) / 255)])
        for label, image in zip(LABELS, IMAGES, strict=True)
    ]
    dataset = load(write(tmp_path, shares), notify=said.append)
    assert "values from 0 to 1 are scaled" in said[1]
    assert {bytes(image) for image in dataset.train_images} <= {bytes(image) for image in IMAGES}


def test_texts_are_the_names_of_classes(tmp_path: Path) -> None:
    lines = [HEADING, *(f"kind {11 - label % 3}{row[1:]}" for label, row in zip(LABELS, rows(), strict=True))]
    assert load(write(tmp_path, lines)).class_names == ("kind 9", "kind 10", "kind 11")
    assert load(write(tmp_path, lines[1:])).class_names == ("kind 9", "kind 10", "kind 11")


def test_quotes_hold_delimiters_and_quotes(tmp_path: Path) -> None:
    names = ('"cat, 0"', '"a ""dog"""', "'bird'", '"7, 8; 9"')
    lines = [f"{names[label]}{row[1:]}" for label, row in zip(LABELS, rows(), strict=True)]
    expected = ["cat, 0", 'a "dog"', "'bird'", "7, 8; 9"] * 5
    for heading in ([HEADING], []):
        table = read_csv(write(tmp_path, [*heading, *lines]))
        np.testing.assert_array_equal(table.pixels, IMAGES)
        assert table.labels is not None
        assert table.labels.tolist() == expected


@pytest.mark.parametrize("heading", ["id", "ImageId", "Filename", ""])
def test_a_column_of_ids_is_kept_with_its_name(tmp_path: Path, heading: str) -> None:
    lines = [f'"é, {5 * k}",{row}' for k, row in enumerate(rows(labelled=False))]
    table = read_csv(write(tmp_path, [HEADING.replace("label", heading, 1), *lines]))
    np.testing.assert_array_equal(table.pixels, IMAGES)
    assert (table.labels, table.id_heading) == (None, heading)
    assert table.ids == tuple(f"é, {5 * k}" for k in range(20))


def test_of_two_columns_of_ids_the_named_one_is_kept_beside_the_labels(tmp_path: Path) -> None:
    lines = [f"{k},{row},n{k}" for k, row in enumerate(rows())]
    table = read_csv(write(tmp_path, [f",{HEADING},ID", *lines]))
    np.testing.assert_array_equal(table.pixels, IMAGES)
    np.testing.assert_array_equal(table.labels, LABELS)
    assert (table.id_heading, table.ids) == ("ID", tuple(f"n{k}" for k in range(20)))
    assert read_csv(write(tmp_path, rows())).ids is None


# ---- several files -------------------------------------------------------------------------------------


def test_kaggle_s_folder_has_a_test_file_without_labels(tmp_path: Path) -> None:
    write(tmp_path, [HEADING, *rows()])
    test = write(tmp_path, [HEADING.removeprefix("label,"), *rows(labelled=False)], "test.csv")
    write(tmp_path, ["ImageId,Label", "1,0"], "sample_submission.csv")
    said: list[str] = []
    dataset = load(tmp_path, notify=said.append)
    assert (len(dataset.train_images), len(dataset.test_images)) == (16, 4)
    (sentence,) = said
    assert "test.csv has no labels, and is left out" in sentence
    assert "so 4 of its 20 pictures are set aside" in sentence
    np.testing.assert_array_equal(read_unlabelled(test), IMAGES)


def test_a_test_file_with_labels_is_the_test_part(tmp_path: Path) -> None:
    write(tmp_path, rows(), "mnist_train.csv")
    write(tmp_path, rows()[:8], "mnist_test.csv")
    dataset = load(tmp_path, notify=pytest.fail)
    np.testing.assert_array_equal(dataset.train_images, IMAGES)
    np.testing.assert_array_equal(dataset.test_labels, LABELS[:8])


def test_emnist_s_files_are_transposed(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write(tmp_path, rows(), f"emnist-letters-{part}.csv")
    (tmp_path / "emnist-letters-mapping.txt").write_text("0 64\n1 65 97\n2 66 98\n3 67 99\n")
    dataset = load(tmp_path)
    np.testing.assert_array_equal(dataset.train_images, IMAGES.transpose(0, 2, 1))
    assert dataset.class_names == ("@", "Aa", "Bb", "Cc")


def test_files_that_are_not_told_apart_are_named(tmp_path: Path) -> None:
    write(tmp_path, rows(), "a.csv")
    write(tmp_path, rows(), "b.csv")
    with pytest.raises(DataError, match=r"2 CSV files, a.csv, b.csv, none of which is called train.csv"):
        load(tmp_path)
    write(tmp_path, rows(), "a_train.csv")
    write(tmp_path, rows(), "b_train.csv")
    with pytest.raises(DataError, match=r"a_train.csv and b_train.csv both are for train"):
        load(tmp_path)


def test_a_labelled_file_is_read_without_its_labels(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_unlabelled(write(tmp_path, [HEADING, *rows()])), IMAGES)


# ---- faults --------------------------------------------------------------------------------------------


def changed(line: int, text: str) -> list[str]:
    lines = [HEADING, *rows()]
    lines[line] = text
    return lines


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (changed(3, "1,2,3"), "line 4: there are 2 pixels, where the first row has 9"),
        (changed(3, "1" + ",2" * 10), "line 4: there are 10 pixels"),
        (changed(3, "1" + ",2" * 8 + ","), "line 4: pixel 8 is nothing, where a number was expected"),
        (changed(3, "1" + ",2" * 8 + ",x"), "line 4: pixel 8 is 'x', where a number was expected"),
        (changed(3, "1" + ",2" * 8 + ",nan"), "no finite numbers .NaN or infinite. in 1 of 20 pictures"),
        (changed(3, "1" + ",2" * 8 + ",1e999"), "no finite numbers"),
        (changed(3, "1" + ",2" * 8 + ",-7"), "holds values from -7 to"),
        (changed(3, "1" + ",2" * 8 + ",70000"), "to 70000, where 0 to 255"),
        (changed(3, "1" + ",2" * 8 + ",123456789012"), "where 0 to 255"),
        (changed(3, "1" + ",1_0" * 9), "line 4: pixel 0 is '1_0', where a number was expected"),
        (["1,2,3,12x,4,5,6,7,8,9", *rows()], "line 1: pixel 2 is '12x', where a number was expected"),
        (["", "1,2,3,1_055,4,5,6,7,8,9", *rows()], "line 2: pixel 2 is '1_055', where a number was expected"),
        (["cat,2,3,?,4,5,6,7,8,", *rows()], "line 1: pixel 2 is '.', where a number was expected"),
        ([f"{row}x" for row in rows(label_last=True)], "line 1: pixel 8 is '0x'"),
        (["", " ", "\t"], "has no rows of pixels"),
        (changed(3, ",2" * 9), "an empty label at position 2"),
        ([HEADING], "has no rows of pixels"),
        ([HEADING.removeprefix("label,"), *rows(labelled=False)], "has no labels: it has 9 columns"),
        (["a,b,c", "1,2,3"], "has 3 columns, where a label and a square number of pixels"),
        (["hello"], "has 1 column,"),
        (["label,pixel0", "3,4"], "has 2 columns"),
        (
            [HEADING, *(f"{k}{row[1:]}" for k, row in enumerate(["0,0,0,0,0,0,0,0,0,0"] * 2500))],
            "more than 2,000",
        ),
        ([HEADING, *(f"7{row[1:]}" for row in rows())], "all pictures have the label 7"),
        (changed(3, "x"), "line 4: there is 1 pixel, where the first row has 9"),
        (changed(3, '"a,' + "1," * 9 + "2"), "line 4: a quotation mark is in the wrong place"),
        (changed(3, '"a"b,,' + "1," * 9 + "2"), "line 4: a quotation mark is in the wrong place"),
        (["label,\x00"], "it has zero bytes"),
    ],
)
def test_a_fault_is_named(tmp_path: Path, lines: list[str], message: str) -> None:
    assert re.search(message, found := fault(tmp_path, lines)), found


def test_a_text_that_is_not_utf_8_is_told_so(tmp_path: Path) -> None:
    file = tmp_path / "train.csv"
    file.write_bytes(b"\xff\xfe\n1,2\n")
    with pytest.raises(DataError, match="no CSV file in UTF-8"):
        load(file)
    file.write_bytes(b"\n".join(b"\xff" + row.encode() for row in rows()))
    with pytest.raises(DataError, match="UTF-8"):
        load(file)


def test_a_line_without_an_end_takes_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_sets, "_CHUNK", 1 << 10)
    assert "it has a line of more than 1,024 bytes" in fault(tmp_path, ["1" * 10_000])


def test_a_huge_file_is_refused_by_its_size(tmp_path: Path) -> None:
    file = tmp_path / "train.csv"
    with file.open("wb") as stream:
        stream.write(HEADING.encode() + b"\n")
        stream.truncate(5 << 30)
    with pytest.raises(DataError, match="and CSV files of at most 4,294,967,296 are read"):
        load(file)


SOUND = "\n".join([HEADING, *rows()]).encode()


@settings(max_examples=80)
@given(
    changes=st.lists(
        st.tuples(
            st.integers(0, len(SOUND)),
            st.integers(0, 5),
            st.text("0123456789,;\t\n\r.-e\"' xé\0", max_size=6).map(str.encode) | st.binary(max_size=3),
        ),
        min_size=1,
        max_size=5,
    ),
)
def test_a_damaged_file_gives_a_set_or_a_sentence(
    changes: list[tuple[int, int, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    damaged = bytearray(SOUND)
    for place, removed, new in changes:
        damaged[place : place + removed] = new
    file = tmp_path_factory.getbasetemp() / "damaged.csv"
    file.write_bytes(damaged)
    sentence = ""
    try:
        load(file)
    except DataError as error:
        sentence = str(error)
    if sentence:
        assert str(file) in sentence
        assert "\n" not in sentence
