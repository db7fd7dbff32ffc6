"""Check the parts of the command: the kinds of columns, the cells of saved models, text for terminals, and files."""

import os

import numpy as np
import pytest

from xentropy._cli import csv_text, files, labels, scores, text
from xentropy._cli.errors import InputError

pd = pytest.importorskip("pandas")
cells = pytest.importorskip("xentropy._cli.cells")
preparation = pytest.importorskip("xentropy._cli.preparation")
columns = pytest.importorskip("xentropy._cli.columns")
Kind, classify, features_of = columns.Kind, columns.classify, columns.features_of

N = 40
RNG = np.random.default_rng(0)


def kind_of(values, name="x", forced=None):
    (column,) = classify(pd.DataFrame({name: values}), {} if forced is None else {name: forced})
    return column


@pytest.mark.parametrize(
    ("values", "name", "kind"),
    [
        (RNG.normal(size=N), "x", Kind.NUMERIC),
        (RNG.integers(0, 5, N), "x", Kind.NUMERIC),
        (RNG.permutation(10**6)[:N], "population", Kind.NUMERIC),  # all differ, and nothing else says that they are ids
        (RNG.permutation(10**6)[:N], "user_id", Kind.ID),
        (RNG.permutation(10**6)[:N], "customerID", Kind.ID),
        (RNG.permutation(10**6)[:N], "humid", Kind.NUMERIC),
        (np.arange(N), "x", Kind.ID),
        (np.arange(N)[::-1] * 7, "x", Kind.ID),
        (RNG.permutation(N) + 500, "x", Kind.ID),
        (np.repeat(np.arange(N // 4 * 3), 2)[:N], "x", Kind.NUMERIC),
        (np.sort(RNG.integers(0, 10 * N, N)), "x", Kind.ID),
        (np.sort(RNG.integers(2000, 2005, N)), "year", Kind.NUMERIC),  # sorted, but few years
        (np.sort(RNG.normal(size=N)), "x", Kind.NUMERIC),
        (np.full(N, 3), "x", Kind.CONSTANT),
        (["a"] * N, "x", Kind.CONSTANT),
        (["a"] * (N - 1) + [None], "x", Kind.CATEGORICAL),  # present or missing
        ([None] * N, "x", Kind.EMPTY),
        ([np.inf, 1e308, -np.inf, 1e101] * (N // 4), "x", Kind.EMPTY),
        ([True, False] * (N // 2), "x", Kind.BOOLEAN),
        ([True, None] * (N // 2), "x", Kind.BOOLEAN),
        (["yes", "no"] * (N // 2), "x", Kind.CATEGORICAL),
        (["1.5", " ", "2"] * (N // 3), "x", Kind.NUMERIC),
        (["1.5"] + [str(i) for i in range(30)] + ["unknown"], "x", Kind.NUMERIC),
        (["1.5", "low", "2", "high"] * (N // 4), "x", Kind.CATEGORICAL),
        ([f"C{i:05d}" for i in range(N)], "x", Kind.ID),
        ([f"C{i % 30:05d}" for i in range(N)], "x", Kind.ID),
        (["frequent"] * 10 + [f"C{i:05d}" for i in range(N - 10)], "x", Kind.CATEGORICAL),
        ([f"the quick brown fox number {i}" for i in range(N)], "x", Kind.TEXT),
        (["the quick brown fox", "jumps over the dog"] * (N // 2), "x", Kind.CATEGORICAL),
        ([[1], [2]] * (N // 2), "x", Kind.OTHER),
        (pd.Categorical(list("abcd") * (N // 4)), "x", Kind.CATEGORICAL),
        (pd.date_range("2024-01-01", periods=N), "x", Kind.DATE),
        ([f"2024-01-{i % 28 + 1:02d}" for i in range(N)], "x", Kind.DATE),
        ([f"{i % 28 + 1}.01.2024" for i in range(N)], "x", Kind.DATE),
        ([f"192.168.0.{i}" for i in range(N)], "x", Kind.ID),
    ],
)
def test_kinds(values, name, kind):
    assert kind_of(values, name).kind is kind


def test_forced_kinds():
    assert kind_of(np.arange(N), forced=Kind.NUMERIC).kind is Kind.NUMERIC
    assert kind_of(np.arange(N), forced=Kind.CATEGORICAL).kind is Kind.CATEGORICAL
    assert kind_of(["a", "b"] * 20, forced=Kind.TEXT).kind is Kind.TEXT
    column = kind_of(["1", "b"] * 20, forced=Kind.NUMERIC)
    assert (column.kind, column.n_missing) == (Kind.NUMERIC, 20)
    assert "20 values (such as 'b') are not numbers" in column.note
    assert kind_of(["a", "b"] * 20, forced=Kind.NUMERIC).kind is Kind.EMPTY


@pytest.mark.parametrize(
    ("texts", "form"),
    [
        (["2024-01-31", "1999-12-01"], "%Y-%m-%d"),
        (["2024-01-31 10:00:00"], "%Y-%m-%d %H:%M:%S"),
        (["2024-01-31T10:00:00Z", "2024-01-31T10:00:00Z"], "ISO8601"),
        (["31.01.2024"], "%d.%m.%Y"),
        (["01/31/2024", "01/02/2024"], "%m/%d/%Y"),
        (["01/02/2024", "31/01/2024"], "%d/%m/%Y"),
        (["31 Jan 2024"], "%d %b %Y"),
        (["January 31, 2024"], "%B %d, %Y"),
        (["2024-01-31", "soon"], None),
        (["2024-13-31"], None),
        (["12-1234-99"], None),
        (["a"], None),
    ],
)
def test_date_formats(texts, form):
    assert columns.find_date_format(texts) == form


def test_dates_have_parts():
    frame = pd.DataFrame({"d": ["2024-01-01 06:30:00", None, "2023-12-31 23:00:00"]})
    parts = cells.date_parts(frame, form="%Y-%m-%d %H:%M:%S", hours=True)
    assert parts.columns.tolist() == ["d year", "d month", "d weekday", "d hour"]
    assert parts.iloc[0].tolist() == [2024.0, "January", "Monday", "06"]
    assert parts.iloc[1].isna().all()
    assert parts.iloc[2].tolist()[1:] == ["December", "Sunday", "23"]
    assert parts["d year"][2] == pytest.approx(2023 + 364 / 366)


def test_levels_are_the_same_however_they_were_read():
    frames = [
        pd.DataFrame({"a": [1, 2, 3]}), pd.DataFrame({"a": [1.0, 2.0, 3.0]}), pd.DataFrame({"a": ["1", " 2", "3 "]}),
    ]  # fmt: skip
    for frame in frames:
        assert cells.as_text(frame)["a"].tolist() == ["1", "2", "3"]
    with_missing = cells.as_text(pd.DataFrame({"a": [True, None]}))["a"]
    assert with_missing[0] == "True"
    assert np.isnan(with_missing[1])


def test_numbers_that_cannot_be_used_are_missing():
    frame = pd.DataFrame({"a": [1.0, np.inf, -1e308], "b": ["2", "x", None]})
    np.testing.assert_array_equal(cells.as_numbers(frame), [[1, 2], [np.nan, np.nan], [np.nan, np.nan]])
    with pytest.raises(ValueError, match=r"column 'b' holds no numbers.*row 0 holds 'x'"):
        cells.as_numbers(pd.DataFrame({"b": ["x", "y"]}))


def test_features_have_names_and_rare_levels_are_pooled():
    frame = pd.DataFrame(
        {
            "age": [1.0, np.nan] * 20,
            "city": ["Paris"] * 30 + ["Rome"] * 6 + list("abcd"),
            "when": [f"2024-0{i % 3 + 4}-11" for i in range(N)],
            "note": [f"a good house {i}" for i in range(N)],
        }
    )
    features = features_of(classify(frame, {}))
    prepare = preparation.build(features).fit(frame)
    names = preparation.feature_names(prepare)
    assert len(names) == prepare.transform(frame).shape[1]
    assert names[:2] == ["age", "age is missing"]
    levels = {"city = Paris", "city = Rome", "city = (rare)"}
    assert {*levels, "when year", "when month = May", "note: house"} <= set(names)
    new = prepare.transform(frame.assign(city="Oslo"))
    new = new.toarray() if hasattr(new, "toarray") else new
    assert (new[:, names.index("city = (rare)")] == 1).all()


# Text -----------------------------------------------------------------------------------------------------------------


def test_printable_text_controls_nothing():
    assert text.printable("a\x1b[31m\x9b\u202eb\n") == r"a\x1b[31m\x9b\u202eb\n"
    assert text.printable("Möbel 東京") == "Möbel 東京"
    assert text.printable("\ud800") == r"\ud800"


@pytest.mark.parametrize("name", ["short", "x" * 100, "\x1b" * 100, "東京" * 50, "a" * 20, "a" * 21])
def test_short_text_fits(name):
    shown = text.short(name, 20)
    assert text.display_width(shown) <= 20
    if len(name) <= 20 and name.isprintable():
        assert shown == name
    else:
        assert "…" in shown


def test_tables_are_aligned_by_what_a_terminal_shows():
    lines = text.in_columns([["東京", "1"], ["Rome", "10"]]).splitlines()
    assert lines == ["  東京   1", "  Rome  10"]


def test_counts_have_the_right_noun():
    assert [text.count(n, "class") for n in (1, 2)] == ["1 class", "2 classes"]
    assert text.count(1200, "row") == "1,200 rows"
    assert text.some(range(7)) == "0, 1, 2, 3, 4 and 2 more"


# Labels, CSV text, files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "classes"),
    [
        (["3", "4", "3"], [3, 4]),
        (["1.0", "2.0"], [1, 2]),
        (["007", "7"], ["007", "7"]),
        (["NA", "None"], ["NA", "None"]),
        (["123456789012345678", "123456789012345679"], ["123456789012345678", "123456789012345679"]),
        ([" x ", "x", "z"], ["x", "z"]),
        (["1_0", "2"], ["1_0", "2"]),
        (["inf", "1"], ["1", "inf"]),
    ],
)
def test_labels(texts, classes):
    found = labels.read_labels(texts, "t.csv", "y")
    assert found.classes.tolist() == classes
    assert [str(found.classes[c]) for c in found.codes] == [t.strip().removesuffix(".0") for t in texts]


def test_names_of_columns_become_different():
    names, notes = csv_text.own_names(["a", "a ", "", "a.1", "a", ""])
    assert names == ["a", "a.2", "Unnamed: 2", "a.1", "a.3", "Unnamed: 5"]
    assert len(notes) == 2
    assert len(set(csv_text.own_names(["same"] * 50_000)[0])) == 50_000  # in linear time


def test_comma_columns():
    sample = [["1,5", "2.000,5", "01.02.2024", "a,b"], ["2", "3", "02.02.2024", "1,5"]]
    assert csv_text.comma_columns(sample) == ([0, 1], [1])


def test_a_file_is_complete_or_as_it_was(tmp_path):
    path = tmp_path / "f"

    def fail(file):
        file.write(b"half")
        raise KeyboardInterrupt

    for before in (None, b"old"):
        if before is not None:
            path.write_bytes(before)
        with pytest.raises(KeyboardInterrupt):
            files.replace_file(str(path), fail)
        assert (path.read_bytes() if path.exists() else None) == before
        assert len(os.listdir(tmp_path)) == (before is not None)
    files.replace_file(str(path), lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"
    with pytest.raises(InputError, match="would overwrite"):
        files.check_output("--output", str(path), str(tmp_path / "." / "f"))


# Scores ---------------------------------------------------------------------------------------------------------------


def scored(p, n=200):
    proba = np.column_stack([1 - p, p])
    return scores.Scored(np.arange(n) % 2, proba, np.array(["x", "z"]), None)


def test_verdicts():
    n, y = 200, np.arange(200) % 2
    guess = scored(np.full(n, 0.5))
    good = scored(np.where(y == 1, 0.8, 0.2))
    assert scores.verdict(good, guess) == ""
    wrong = scored(np.where(y == 1, 0.2, 0.8))
    assert "no better than the class frequencies" in scores.verdict(wrong, guess)
    # right in 110 rows of 200, which is within two standard errors of a half
    barely = scored(np.where((np.arange(n) < 110) == (y == 1), 0.51, 0.49))
    assert "may be no better than the class frequencies" in scores.verdict(barely, guess)
    # a lower loss without a better answer: 80 % of class x in each half, known a little better in one of them
    y = np.arange(1000) % 5 == 0
    p = np.where(y, 0.4, 0.15)
    better = scores.Scored(y.astype(int), np.column_stack([1 - p, p]), np.array(["x", "z"]), None)
    assert "right no more often than the answer 'x'" in scores.verdict(better, better.constant(np.array([0.8, 0.2])))
