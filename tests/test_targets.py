"""Check each kind of y, valid and invalid."""

import numpy as np
import pytest
import scipy.sparse as sp

from xentropy._targets import (
    check_distribution,
    code_labels,
    column_names,
    is_distribution,
    learn_labels,
    learn_target,
    match_labels,
    match_target,
)

INTEGER_DTYPES = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]


@pytest.mark.parametrize("dtype", [*INTEGER_DTYPES, "float64", "float16", "object", "str", ">i4"])
def test_labels_of_any_dtype(dtype):
    y = np.array([5, 3, 5, 9]).astype(dtype)
    target = learn_target(y)
    assert target.labels.dtype == np.int32
    np.testing.assert_array_equal(target.classes[target.labels], y)
    np.testing.assert_array_equal(target.classes, np.unique(y))


def test_labels_of_other_kinds():
    pd = pytest.importorskip("pandas")
    for y in (
        [True, False, True],
        ["no", "yes", "no"],
        pd.Series(["no", "yes", "no"]),
        pd.Series(["no", "yes", "no"], dtype="category"),
        pd.Series([2, 1, 2], dtype="Int64"),
        pd.Series([2, 1, 2], name="y"),
        np.array(["no", "yes", "no"], dtype=object),
        [-(2**62), 2**62, 5],
        np.array([2**64 - 1, 2**63, 2**64 - 1], dtype=np.uint64),
    ):
        target = learn_target(y)
        assert target.classes[target.labels].tolist() == list(y)
        assert target.classes.tolist() == sorted(set(y))


def test_a_column_of_labels_is_ravelled_with_a_warning():
    with pytest.warns(UserWarning, match="column-vector"):
        target = learn_target(np.array([[1], [0], [1]]))
    np.testing.assert_array_equal(target.labels, [1, 0, 1])


def test_rank_decides_between_labels_and_distributions():
    assert is_distribution([[0.5, 0.5]])
    assert not is_distribution([[1], [2]])
    assert not is_distribution([0.5, 0.5])


def test_soft_rows_are_kept_and_one_hot_rows_become_labels():
    soft = np.array([[0.25, 0.75], [1.0, 0.0]])
    np.testing.assert_array_equal(learn_target(soft).distribution, soft)
    one_hot = learn_target(np.array([[0, 1, 0], [1, 0, 0]]))
    assert one_hot.distribution is None
    np.testing.assert_array_equal(one_hot.labels, [1, 0])
    np.testing.assert_array_equal(one_hot.classes, [0, 1, 2])  # a column without rows is a class too


def test_columns_of_a_dataframe_name_the_classes():
    pd = pytest.importorskip("pandas")
    y = pd.DataFrame({"sun": [0.5, 0.1], "rain": [0.5, 0.9]})
    target = learn_target(y)
    assert target.classes.tolist() == ["sun", "rain"]
    # columns in another order are sorted into the order of the classes
    np.testing.assert_allclose(match_target(y[["rain", "sun"]], target.classes).distribution, target.distribution)
    assert learn_target(y.set_axis([0, 1], axis=1)).classes.tolist() == [0, 1]


def test_columns_of_other_names_than_the_classes_are_refused():
    pd = pytest.importorskip("pandas")
    y = pd.DataFrame([[0.5, 0.5]], columns=["sun", "hail"])
    with pytest.raises(ValueError, match=r"y_val has columns \['sun', 'hail'\].*\['sun', 'rain'\].*'hail' is none"):
        match_target(y, np.array(["sun", "rain"]), name="y_val")
    with pytest.raises(ValueError, match="y_val has two columns named 'sun'"):
        match_target(y.set_axis(["sun", "sun"], axis=1), np.array(["sun", "rain"]), name="y_val")
    with pytest.raises(ValueError, match="y has two columns named 'sun'"):
        learn_target(y.set_axis(["sun", "sun"], axis=1))
    several_levels = y.set_axis(pd.MultiIndex.from_product([["sky"], ["sun", "rain"]]), axis=1)
    with pytest.raises(ValueError, match=r"\('sky', 'sun'\) is none of them"):
        match_target(several_levels, np.array(["sun", "rain"]))


def test_columns_of_a_table_whose_columns_are_values():
    class Table:  # as pyarrow's
        column_names = ("sun", "rain")
        columns = [[0.5, 0.1], [0.5, 0.9]]  # noqa: RUF012

    assert column_names(Table()).tolist() == ["sun", "rain"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0.5, 0.6], r"y sums to 1.1 in row 2, not to 1"),
        ([0.0, 0.0], r"y sums to 0 in row 2, not to 1"),
        ([-0.5, 1.5], r"y holds -0.5 in row 2"),
        ([np.nan, 1.0], r"y holds nan in row 2"),
        ([np.inf, 0.0], r"y sums to inf in row 2"),
        ([1.0, 1.0], r"y sums to 2 in row 2"),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_no_distribution_is_named(row, message, dtype):
    y = np.array([[1, 0], [0.5, 0.5], row, [0, 1]], dtype=dtype)
    with pytest.raises(ValueError, match=message):
        learn_target(y)


@pytest.mark.parametrize("row", [[1, 1, 0], [0, 0, 0]])
@pytest.mark.parametrize("dtype", [int, float])
def test_rows_of_several_labels_name_what_takes_them(row, dtype):
    with pytest.raises(ValueError, match=r"several labels.*MultilabelClassifier.*binary_log_loss"):
        learn_target(np.array([[0, 1, 0], row], dtype=dtype))
    with pytest.raises(ValueError, match="divide the row by its sum") as error:
        learn_target(np.array([[0, 1, 0], [0.5, 0.6, 0]]))
    assert "several labels" not in str(error.value)


def test_rounding_of_the_type_is_allowed_and_no_more():
    third = np.full((1, 3), 1 / 3)
    check_distribution(third.astype(np.float32))
    check_distribution(third.astype(np.float16))
    check_distribution(third * (1 + 5e-7))
    with pytest.raises(ValueError, match="row 0"):
        check_distribution(third * (1 + 5e-6))
    check_distribution((third * (1 + 5e-4)).astype(np.float32))
    with pytest.raises(ValueError, match="row 0"):
        check_distribution((third * (1 + 5e-3)).astype(np.float32))


def test_words_or_sparse_matrices_are_no_distribution():
    with pytest.raises(ValueError, match="must hold numbers"):
        learn_target([["a", "b"], ["c", "d"]])
    with pytest.raises(ValueError, match=r"sparse matrix.*pass y.toarray\(\)"):
        learn_target(sp.csr_array(np.eye(3)))


def test_a_sparse_data_frame_has_its_own_way_out():
    pd = pytest.importorskip("pandas")
    y = pd.DataFrame(np.eye(3)).astype(pd.SparseDtype("float64", 0.0))
    with pytest.raises(ValueError, match=r"sparse DataFrame.*pass y.sparse.to_dense\(\)"):
        learn_target(y)
    np.testing.assert_array_equal(learn_target(y.sparse.to_dense()).labels, [0, 1, 2])
    with pytest.raises(ValueError, match=r"sparse DataFrame.*pass y.sparse.to_dense\(\)"):
        learn_target(y[[0]])
    np.testing.assert_array_equal(learn_target(y[0]).labels, [1, 0, 0])


def test_regression_targets_are_refused():
    for refuse in (learn_target, learn_labels):
        with pytest.raises(ValueError, match=r"^Unknown label type: continuous\. Maybe .* continuous values\."):
            refuse([0.1, 1.7, 2.2])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_missing_labels_are_refused(bad):
    with pytest.raises(ValueError, match=rf"^Input y contains (NaN|infinity)\b.*\. Row 2 has {bad}; drop rows"):
        learn_target([0.0, 1.0, bad])


def test_missing_labels_of_other_kinds_are_refused():
    pd = pytest.importorskip("pandas")
    times = np.array(["2020-01-01", "NaT", "2021-01-01", "NaT"], dtype="M8[s]")
    objects = [["a", pd.NA, "b"], ["a", None, "b"], ["a", np.nan, "b"], [0, None, 1], [0, pd.NA, 1]]
    zoned = pd.Series(times).dt.tz_localize("UTC")
    arrays = [np.array(values, dtype=object) for values in objects]
    for y in (times, times - times[0], pd.Series(times), zoned, *arrays):
        for refuse in (learn_target, learn_labels):
            with pytest.raises(ValueError, match=r"y contains (NaT|None|nan|<NA>) in row 1; drop rows"):
                refuse(y)
    assert len(learn_target(times[[0, 2]]).classes) == 2


@pytest.mark.parametrize(
    ("classes", "y", "expected"),
    [
        ([3, 5, 9], [3, 7, 5, -9, 2**40], [0, -1, 1, -1, -1]),
        ([9, 3, 5], [3, 9], [1, 0]),
        ([0, 10**12], [10**12, 5, 0], [1, -1, 0]),
        (["a", "b"], ["b", "zz", "a", ""], [1, -1, 0, -1]),
        ([False, True], [True, False, True], [1, 0, 1]),
        ([0, 1], [True, False], [1, 0]),
        ([0.0, 1.5], [1.5, 1.0], [1, -1]),
        ([0, 1], ["0", "1"], [-1, -1]),
        (["0", "1"], [0, 1], [-1, -1]),
        (np.array([1, "a"], dtype=object), np.array(["a", 1, "b"], dtype=object), [1, 0, -1]),
    ],
)
def test_code_labels(classes, y, expected):
    found = code_labels(np.asarray(y), np.asarray(classes)).indices()
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, expected)


def test_code_labels_of_every_integer_pair():
    for kind in INTEGER_DTYPES:
        for other in INTEGER_DTYPES:
            found = code_labels(np.array([0, 100, 3, 1], dtype=kind), np.array([1, 3], dtype=other)).indices()
            np.testing.assert_array_equal(found, [-1, -1, 1, 0])
    found = code_labels(np.array([2**64 - 1], dtype=np.uint64), np.array([-1, 3])).indices()
    np.testing.assert_array_equal(found, [-1])


def test_class_mass():
    s = np.array([1.0, 2.0, 4.0])
    np.testing.assert_allclose(learn_target(["b", "a", "b"]).class_mass(s), [2, 5])
    np.testing.assert_allclose(learn_target([[0.5, 0.5], [1, 0], [0, 1]]).class_mass(s), [2.5, 4.5])
    np.testing.assert_allclose(learn_target([[0.5, 0.5], [1, 0], [0, 1]]).class_mass(), [1.5, 1.5])


@pytest.mark.parametrize("n_classes", [1, 7, 4096, 4097])
@pytest.mark.parametrize("order", ["=", "S"])
def test_strings_are_numbered_as_sorted(n_classes, order):
    """The kernel hashes few different strings and sorts many. The classes and labels must be the same."""
    names = np.array([f"é{k * 7919 % 10007}" + "x" * (k % 11) for k in range(n_classes)])
    y = names[np.random.default_rng(0).integers(0, n_classes, 3 * n_classes)]
    y = y.astype(y.dtype.newbyteorder(order))
    classes, labels = np.unique(y, return_inverse=True)
    found, coded = learn_labels(y)
    np.testing.assert_array_equal(found, classes)
    np.testing.assert_array_equal(coded.indices(), labels)
    known = names[::-1][: n_classes // 2 + 1]
    expected = [list(known).index(v) if v in set(known) else -1 for v in y.tolist()] if n_classes < 100 else None
    if expected is not None:
        np.testing.assert_array_equal(match_labels(y, known).indices(), expected)
