import copy
import pickle
import tracemalloc
import warnings
from math import log

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn
import sklearn.metrics
from reference import log_losses, one_hot
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_iris
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import check_scoring, get_scorer_names, make_scorer
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    KFold,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits

import xentropy
from xentropy import cross_entropy_report, log_loss, log_loss_samples, make_log_loss_scorer, neg_log_loss_scorer

sklearn_version = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
EPS = np.finfo(np.float64).eps
Y = np.array([0, 1, 2, 2])
P = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.3, 0.3, 0.4]])
P1 = np.array([0.9, 0.2, 0.7, 0.4])


def random_problem(n, n_classes, dtype=np.float64, seed=0):
    """Labels and rows of probabilities, some of them near 0 and 1."""
    rng = np.random.default_rng(seed)
    z = rng.normal(scale=rng.choice([0.1, 3, 20], size=(n, 1)), size=(n, n_classes))
    p = np.exp(z - z.max(axis=1, keepdims=True))
    y = rng.integers(0, n_classes, n)
    y[:n_classes] = np.arange(n_classes)[:n]
    return y, (p / p.sum(axis=1, keepdims=True)).astype(dtype)


@pytest.mark.parametrize(("p", "loss"), [(0.9, 0.105), (0.1, 2.303), (0.33, 1.11), (0.70, 0.36), (0.95, 0.05)])
def test_worked_figures(p, loss):
    assert log_loss(["yes"], [p], labels=["no", "yes"]) == pytest.approx(loss, abs=5e-3)
    assert log_loss([1], [[1 - p, p]], labels=[0, 1]) == pytest.approx(-log(p), rel=1e-15)
    assert log_loss([[0.0, 1.0]], [[1 - p, p]]) == pytest.approx(-log(p), rel=1e-15)


# Comparison with scikit-learn and with the reference implementation


def as_pandas(kind):
    def make(values):
        pd = pytest.importorskip("pandas")
        return pd.DataFrame(values) if kind == "frame" else pd.Series(values, dtype=kind)

    return make


def big_endian(a):
    return a.astype(a.dtype.newbyteorder(">"))


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def strided(a):
    return np.repeat(a, 2, axis=-1)[..., ::2]


def unaligned(a):
    raw = np.zeros(a.nbytes + 1, dtype=np.uint8)
    raw[1:] = np.ascontiguousarray(a).view(np.uint8).ravel()
    return raw[1:].view(a.dtype).reshape(a.shape)


def column(a):
    return np.asarray(a)[:, np.newaxis]


def as_strings(y):
    return np.array(["ant", "bee", "cat"])[y]


@pytest.mark.parametrize(
    "form",
    [
        *(np.dtype(k).type for k in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8")),
        list,
        tuple,
        column,
        big_endian,
        read_only,
        strided,
        unaligned,
        as_strings,
        lambda y: as_strings(y).astype(object),
        lambda y: as_strings(y).tolist(),
        lambda y: y - 1,
        lambda y: 10 * y + 7,
        lambda y: np.array([-(10**15), 5, 10**15])[y],
        lambda y: np.array([0, 2**63, 2**64 - 1], dtype=np.uint64)[y],
        lambda y: np.array(["2026-01-01", "2026-01-02", "2026-01-03"], dtype="M8[D]")[y],
        lambda y: np.eye(3)[y],
        lambda y: np.eye(3, dtype=bool)[y],
        lambda y: np.asfortranarray(np.eye(3, dtype=np.uint8)[y]),
        lambda y: np.eye(3, dtype=int)[y].tolist(),
        as_pandas("int64"),
        as_pandas("Int64"),
        as_pandas("category"),
        as_pandas("frame"),
        lambda y: as_pandas("string")(as_strings(y)),
        lambda y: as_pandas("category")(as_strings(y)),
    ],
)
def test_every_form_of_labels(form):
    y = form(Y)
    before = copy.deepcopy(y)
    assert log_loss(y, P) == pytest.approx(sklearn.metrics.log_loss(y, P), rel=1e-15)
    np.testing.assert_array_equal(np.asarray(y), np.asarray(before))


@pytest.mark.parametrize("y", [[True, False, True, False], np.array([True, False, True, False]), ["y", "n", "y", "n"]])
@pytest.mark.parametrize("form", [list, column, read_only, lambda p: np.column_stack([1 - p, p])])
def test_two_classes_in_one_column_or_two(y, form):
    assert log_loss(y, form(P1)) == pytest.approx(sklearn.metrics.log_loss(y, form(P1)), rel=1e-15)


def test_one_hot_beside_one_column():
    y = np.eye(2)[[0, 1, 1, 0]]
    assert log_loss(y, P1) == pytest.approx(sklearn.metrics.log_loss(y, P1), rel=1e-15)


@pytest.mark.parametrize(
    "form",
    [
        np.asfortranarray,
        read_only,
        strided,
        unaligned,
        big_endian,
        np.longdouble,
        lambda p: p.astype(object),
        lambda p: p.tolist(),
        lambda p: np.ma.masked_array(p),
        as_pandas("frame"),
        lambda p: as_pandas("frame")(p).astype("Float64"),
        lambda p: one_hot(Y, 3).astype(int),
        lambda p: one_hot(Y, 3).astype(bool),
        lambda p: np.where(p == 0.1, -0.0, p) / np.where(p == 0.1, -0.0, p).sum(axis=1, keepdims=True),
    ],
)
def test_every_form_of_probabilities(form):
    p = form(P)
    before = copy.deepcopy(p)
    assert log_loss(Y, p) == pytest.approx(sklearn.metrics.log_loss(Y, p), rel=1e-15)
    np.testing.assert_array_equal(np.asarray(p), np.asarray(before))


def test_memory_mapped_probabilities(tmp_path):
    np.save(tmp_path / "p.npy", P)
    p = np.load(tmp_path / "p.npy", mmap_mode="r")
    assert log_loss(Y, p) == log_loss(Y, P)


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-14), (np.float32, 1e-6), (np.float16, 3e-3)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 17])
def test_agrees_with_scikit_learn(n_classes, weighted, dtype, rtol):
    y, p = random_problem(700, n_classes, dtype, seed=n_classes)
    weight = np.random.default_rng(1).uniform(0, 2, 700) if weighted else None
    for kwargs in ({}, {"normalize": False}, {"labels": np.arange(n_classes)}):
        with warnings.catch_warnings():  # float16 rows sum to one only roughly, and scikit-learn gives infinities
            warnings.simplefilter("error" if dtype == np.float64 else "ignore")
            expected = sklearn.metrics.log_loss(y, p.astype("f4") if dtype == np.float16 else p, sample_weight=weight)
        if dtype == np.float16:  # scikit-learn sums float16 logarithms, so only its clipping is a reference
            losses = log_losses(one_hot(y, n_classes), p, np.finfo(dtype).eps).astype(float)
            expected = np.average(losses, weights=weight)
        if "normalize" in kwargs:
            expected *= 700 if weight is None else weight.sum()
        assert log_loss(y, p, sample_weight=weight, **kwargs) == pytest.approx(expected, rel=rtol)


@pytest.mark.parametrize("eps", ["auto", 0, 1e-15, 1e-3, 0.3])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("n", "n_classes"), [(1, 2), (15, 2), (17, 3), (65, 10), (300, 40), (3, 5000)])
def test_agrees_with_the_oracle(n, n_classes, dtype, eps):
    y, p = random_problem(n, n_classes, dtype)
    clip = np.finfo(dtype).eps if eps == "auto" else eps
    expected = log_losses(one_hot(y, n_classes), p, clip).astype(float)
    got = log_loss_samples(y, p, labels=np.arange(n_classes), eps=eps)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, expected, rtol=4e-16)
    assert log_loss(y, p, labels=np.arange(n_classes), eps=eps) == pytest.approx(expected.mean(), rel=1e-15)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("target_dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n_classes", [2, 3, 17])
def test_soft_targets(n_classes, target_dtype, dtype):
    _, p = random_problem(200, n_classes, dtype)
    t = random_problem(200, n_classes, target_dtype, seed=1)[1]
    weight = np.random.default_rng(2).integers(0, 3, 200)
    expected = log_losses(t, p, np.finfo(dtype).eps).astype(float)
    np.testing.assert_allclose(log_loss_samples(t, p), expected, rtol=1e-14)
    got = log_loss(t, p, sample_weight=weight)
    assert got == pytest.approx(np.average(expected, weights=weight), rel=1e-14)
    assert log_loss(np.asfortranarray(t), np.asfortranarray(p), sample_weight=weight) == got


# Names of columns


def frame(values, columns, library="pandas"):
    """A DataFrame, or an object with no more of one than the columns and the values, as other libraries' have."""
    if library == "pandas":
        return pytest.importorskip("pandas").DataFrame(values, columns=columns)
    return OtherFrame(np.asarray(values), list(columns))


class OtherFrame:
    def __init__(self, values, columns):
        self.values, self.columns, self.shape = values, columns, values.shape

    def __len__(self):
        return len(self.values)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype=dtype)


PETS = np.array([[0.9, 0.1], [0.2, 0.8]])  # of a dog and of a cat
RIGHT = -(log(0.9) + log(0.8)) / 2


@pytest.mark.parametrize("library", ["pandas", "other"])
def test_columns_that_are_the_classes_are_put_in_their_order(library):
    p = frame(PETS, ["dog", "cat"], library)
    assert log_loss(["dog", "cat"], p) == pytest.approx(RIGHT, rel=1e-15)
    assert log_loss(["dog", "cat"], p, labels=["cat", "dog"]) == pytest.approx(RIGHT, rel=1e-15)
    np.testing.assert_allclose(log_loss_samples(["dog", "cat"], p), [-log(0.9), -log(0.8)], rtol=1e-15)
    np.testing.assert_array_equal(np.asarray(p), PETS)


@pytest.mark.parametrize(
    ("classes", "columns"),
    [
        ([3, 7, 30], [30, 3, 7]),
        ([3, 7, 30], ["30", "3", "7"]),  # as read from a file
        (["3", "7", "30"], [30, 3, 7]),
        ([0, 1, 2], [2, 0, 1]),
        ([1.0, 3.0, 20.0], [20, 1, 3]),
        (np.array(["a", "b", "c"], dtype=object), ["c", "a", "b"]),
        ([f"{k}" for k in range(11)], [f"{k}" for k in range(11)]),  # sorted: 0, 1, 10, 2, ...
    ],
)
def test_columns_are_matched_by_value_or_by_text(classes, columns):
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(len(classes)), size=40)
    y = np.asarray(classes)[rng.permutation(np.arange(40) % len(classes))]
    by_name = {str(c): k for k, c in enumerate(columns)}
    expected = -np.mean([log(p[i, by_name[f"{label}".removesuffix(".0")]]) for i, label in enumerate(y)])
    assert log_loss(y, frame(p, columns)) == pytest.approx(expected, rel=1e-14)


def test_booleans_name_columns():
    assert log_loss([True, False], frame(PETS, [True, False])) == pytest.approx(RIGHT, rel=1e-15)


@pytest.mark.parametrize("columns", [[0, 1, 2], ["0", "1", "2"], ["column_0", "column_1", "column_2"]])
@pytest.mark.parametrize("y", [Y, as_strings(Y), Y + 1], ids=["integers", "strings", "from 1"])
def test_numbered_columns_are_no_names(y, columns):
    assert log_loss(y, frame(P, columns)) == log_loss(y, P)


def test_columns_declare_classes_that_do_not_occur():
    p = frame(P[:, [2, 0, 1]], ["c", "a", "b"])
    assert log_loss(["c", "c"], p.iloc[2:]) == log_loss(["c", "c"], P[2:], labels=["a", "b", "c"])
    assert log_loss(["a", "c", "c", "c"], p) == log_loss(["a", "c", "c", "c"], P, labels=["a", "b", "c"])


@pytest.mark.parametrize(
    ("y", "columns", "kwargs", "message"),
    [
        (Y, ["a", "b", "c"], {}, r"y_proba has columns \['a', 'b', 'c'\].*classes \[0, 1, 2\].*'a' is none of them"),
        (as_strings(Y), ["ant", "bee", "dog"], {}, r"columns \['ant', 'bee', 'dog'\].*'dog' is none of them"),
        (as_strings(Y), ["ant", "bee", "dog"], {"labels": ["ant", "bee", "cat"]}, "'dog' is none of them"),
        (as_strings(Y), [0, 2, 1], {}, r"columns \[0, 2, 1\].*0 is none of them"),
        (as_strings(Y), ["ant", "bee", "bee"], {}, "y_proba has two columns named 'bee'"),
        (np.eye(3)[Y] * 0.7 + 0.1, ["ant", "bee", "dog"], {"labels": ["ant", "bee", "cat"]}, "'dog' is none of them"),
    ],
)
def test_columns_of_other_names_are_refused(y, columns, kwargs, message):
    with pytest.raises(ValueError, match=message):
        log_loss(y, frame(P, columns), **kwargs)


@pytest.mark.parametrize("form", ["frame", "series"])
def test_one_column_named_like_the_first_class_holds_its_probabilities(form):
    pd = pytest.importorskip("pandas")
    p = frame(PETS, ["dog", "cat"])
    for name in ("dog", "cat"):
        one = p[name] if form == "series" else p[[name]]
        assert log_loss(["dog", "cat"], one) == pytest.approx(RIGHT, rel=1e-15), name
    renamed = pd.Series(PETS[:, 0], name="p_dog")
    assert log_loss(["dog", "cat"], renamed) == pytest.approx(RIGHT, rel=1e-15)


def test_soft_targets_named_by_a_data_frame():
    t = frame([[0.2, 0.8], [0.9, 0.1]], ["b", "a"])
    p = np.array([[0.7, 0.3], [0.4, 0.6]])
    assert log_loss(t, p, labels=["a", "b"]) == log_loss(t[["a", "b"]].to_numpy(), p)
    assert log_loss(t, p) == log_loss(t.to_numpy(), p)  # p has no names, so its columns are those of t
    expected = log_loss(t[["a", "b"]].to_numpy(), p)
    assert log_loss(t, frame(p, ["a", "b"])) == expected
    assert log_loss(t, frame(p[:, ::-1], ["b", "a"])) == expected
    assert log_loss(t[["a", "b"]].to_numpy(), frame(p, ["a", "b"])) == expected
    assert log_loss(t, frame(p, ["a", "b"]), labels=["a", "b"]) == expected
    with pytest.raises(ValueError, match=r"y_true has columns \['b', 'a'\].*classes \['a', 'c'\]"):
        log_loss(t, p, labels=["a", "c"])
    with pytest.raises(ValueError, match=r"y_proba has columns \['b', 'c'\].*classes \['b', 'a'\]"):
        log_loss(t, frame(p, ["b", "c"]))


def test_label_indicator_of_several_labels():
    y = [[1, 1, 0], [0, 0, 0], [1, 0, 0], [0, 1, 1]]
    assert log_loss(y, P) == pytest.approx(sklearn.metrics.log_loss(y, P), rel=1e-15)


def test_loss_keeps_its_digits_however_near_to_one():
    p = 1 - np.arange(1, 200) * 1e-13
    expected = log_losses(np.ones((199, 1)), p[:, None], EPS).astype(float)
    y = np.ones(199, dtype=int)
    assert log_loss(y, p, labels=[0, 1]) == pytest.approx(expected.mean(), rel=1e-15)


def test_mixed_magnitudes_in_one_sum():
    p = np.tile([1 - 1e-12, 1e-300, 0.5, 1e-17, 1e-12, 0.999, 1e-19, 0.3], 40)
    expected = log_losses(np.ones((320, 1)), p[:, None], 0).astype(float)
    y = np.ones(320, dtype=int)
    assert log_loss(y, p, labels=[0, 1], eps=0) == pytest.approx(expected.mean(), rel=1e-15)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_probability_zero_at_the_target(dtype):
    p = np.array([[0, 1], [1, 0]], dtype=dtype)
    eps = float(np.finfo(dtype).eps)
    assert log_loss([0, 1], p) == pytest.approx(-log(eps), rel=1e-15)
    assert log_loss([0, 1], p, eps=0) == np.inf
    assert log_loss([1, 0], p, eps=0) == 0.0
    assert log_loss([1, 0], p) == pytest.approx(-np.log1p(-eps), rel=1e-12)
    assert log_loss([0, 1], p, eps=1e-3) == pytest.approx(-log(1e-3), rel=1e-15)


def test_tiny_probability_is_not_clipped_with_eps_0():
    assert log_loss([0], [[1e-20, 1.0]], labels=[0, 1], eps=0) == pytest.approx(46.0517018598809, rel=1e-15)
    assert log_loss_samples([0], [[1e-20, 1.0]], labels=[0, 1], eps=0)[0] == pytest.approx(46.0517018598809, rel=1e-15)


def test_class_that_nobody_asks_for_costs_nothing():
    assert log_loss([[1.0, 0.0], [0.5, 0.5]], [[1.0, 0.0], [0.5, 0.5]], eps=0) == pytest.approx(log(2) / 2, rel=1e-15)


@pytest.mark.parametrize("n_classes", [1000, 100_000])
def test_many_classes(n_classes):
    y, p = random_problem(3, n_classes)
    expected = log_losses(p[np.arange(3), y][:, None] * 0 + 1, p[np.arange(3), y][:, None], EPS).astype(float)
    assert log_loss(y, p, labels=np.arange(n_classes)) == pytest.approx(expected.mean(), rel=1e-15)


# Weights and ignored rows


@pytest.mark.parametrize("form", [list, np.float32, np.int64, as_pandas("float64"), lambda w: np.array(w, object)])
def test_every_form_of_weights(form):
    weight = form([1.0, 2.0, 3.0, 4.0])
    expected = sklearn.metrics.log_loss(Y, P, sample_weight=weight)
    assert log_loss(Y, P, sample_weight=weight) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0, 7.0])
@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray])
@pytest.mark.parametrize("y", [Y, np.eye(3)[Y]], ids=["labels", "distribution"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_ignored_row_counts_nothing(dtype, y, layout, bad):
    p = P.astype(dtype)
    p[1] = bad
    weight = [1, 0, 2, 1]
    kept = [0, 2, 3]
    expected = log_loss(y[kept], P.astype(dtype)[kept], sample_weight=[1, 2, 1], labels=[0, 1, 2])
    assert log_loss(y, layout(p), sample_weight=weight) == pytest.approx(expected, rel=1e-15)
    with pytest.raises(ValueError, match="row 1"):
        log_loss(y, layout(p))


@pytest.mark.parametrize("normalize", [False, True])
def test_every_row_ignored(normalize):
    with pytest.raises(ValueError, match="at least one non-zero"):
        log_loss(Y, P, sample_weight=np.zeros(4), normalize=normalize)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1, 1, -1, 1], r"^Negative values in .*`sample_weight`. Row 2 has -1.0"),
        ([1, np.nan, 1, 1], r"^Input sample_weight contains NaN\. Row 1 "),
        ([1, 1, 1, np.inf], r"^Input sample_weight contains infinity .*\. Row 3 "),
        ([1e308] * 4, "sample_weight sums to inf: divide it"),
        (np.ma.array(np.ones(4), mask=[0, 0, 1, 0]), "sample_weight is a masked array.*in row 2"),
        ([1, 1, 1], "inconsistent numbers of samples"),
        (np.ones((4, 1)), "1-D"),
        (2.0, "1-D"),
        (["a", "b", "c", "d"], "could not convert"),
    ],
)
def test_bad_weights(weight, message):
    with pytest.raises(ValueError, match=message):
        log_loss(Y, P, sample_weight=weight)


# Errors, with scikit-learn's messages where it has them


@pytest.mark.parametrize(
    ("y", "p", "kwargs", "message"),
    [
        (Y, P * 2, {}, r"y_prob contains values greater than 1: 1\.6 \(row 1\)"),
        (Y, P - 0.5, {}, r"y_prob contains values lower than 0: -0\.4 \(row 0\)"),
        (Y, np.nextafter(P + 0.3, 2), {}, "greater than 1"),
        ([0, 1], [[0, 1 + EPS], [1, 0]], {}, r"greater than 1: 1\.0000000000000002"),
        ([0, 1], [[-5e-324, 1], [1, 0]], {}, "lower than 0"),
        (Y, [[np.nan] * 3] * 4, {}, "Input contains NaN"),
        (Y, [[np.inf] * 3] * 4, {}, "Input contains infinity"),
        ([0, 1], [0.5, np.nan], {}, r"Input contains NaN.*row 1"),
        ([0, 1], [0.5, 1.5], {}, r"greater than 1: 1\.5 \(row 1\)$"),
        (Y, Y, {}, r"pass predict_proba\(X\), not predict\(X\)"),
        (Y, Y, {"labels": [0, 1, 2]}, r"pass predict_proba\(X\), not predict\(X\)"),
        ([0, 1, 1, 0], [1, 2, 2, 1], {}, r"greater than 1: 2.*pass predict_proba\(X\), not predict\(X\)"),
        (["a", "b"], ["a", "b"], {}, r"y_proba holds strings: pass predict_proba\(X\), not predict\(X\)"),
        (["a", "b"], np.array(["a", "b"], object), {}, r"y_proba holds strings: pass predict_proba\(X\)"),
        (P, Y, {}, r"pass predict_proba\(X\).* after y_true"),
        (P1, [0, 1, 0, 1], {}, r"Are y_true and y_proba swapped\?"),
        (np.ma.array(Y, mask=Y == 2), P, {}, "y_true is a masked array.*in row 2"),
        (np.ma.array(np.eye(3, dtype=int)[Y], mask=np.eye(3)[Y]), P, {}, "y_true is a masked array.*in row 0"),
        (Y, np.ma.array(P, mask=np.eye(4, 3, -1)), {}, "y_proba is a masked array.*in row 1"),
        (np.ones(4), P1, {}, r"y_true contains only one label \(1\.0\)"),
        ([1, 1, 1, 1], P1, {}, r"y_true contains only one label \(1\)"),
        ([1, 1, 1, 1], P1, {"labels": [1]}, "at least two"),
        ([0, 1, 1, 0], P, {}, "y_true and y_prob contain different number of classes: 2 vs 3"),
        ([0, 1, 1, 0], P, {"labels": [0, 1]}, "number of classes in labels is different from that in y_prob"),
        (Y, P1, {}, "different number of classes: 3 vs 2"),
        ([0, 1, 2, 3], P, {}, r"different number of classes: 4 vs 3.*Classes found in y_true: \[0 1 2 3\]"),
        (np.array([0, 1, 2, -1]), P, {}, r"classes: 4 vs 3.*found in y_true: \[-1  0  1  2\]"),
        (np.array([0, 1, 2, 2**64 - 1], dtype=np.uint64), P, {}, "different number of classes: 4 vs 3"),
        (np.array([0, 1, 1, 7]), P1, {}, "different number of classes: 3 vs 2"),
        (np.eye(4)[Y], P, {}, "different number of classes: 4 vs 3"),
        (Y, P, {"labels": [0, 1, 5]}, r"y_true contains values \{2\} not belonging to the passed labels.*row 2"),
        (Y, P, {"labels": ["a", "b", "c"]}, r"not belonging to the passed labels"),
        (["a", "b", "x", "x"], P, {"labels": ["a", "b", "c"]}, r"\{'x'\} not belonging"),
        (Y, P, {"labels": [0, 1, 2, 2]}, "labels holds 2 2 times"),
        (Y, P, {"labels": []}, "labels is empty"),
        (Y, P, {"labels": [[0, 1, 2]]}, "labels must be"),
        (Y, P, {"labels": "abc"}, "labels must be"),
        (Y, P, {"labels": {0, 1, 2}}, "labels must be"),
        (Y[:2], P, {}, "inconsistent numbers of samples"),
        ([], np.empty((0, 3)), {}, "0 sample"),
        (Y, P[None], {}, "dim 3"),
        (Y, 0.5, {}, "y_proba must be"),
        (Y, None, {}, "y_proba must be"),
        (Y, sp.csr_array(P), {}, "y_proba must be"),
        (Y, P + 0j, {}, "Complex"),
        (None, P, {}, "y_true must hold"),
        ("abcd", P, {}, "y_true must hold"),
        (sp.csr_array(np.eye(3)[Y]), P, {}, "sparse"),
        ([0.5, 1, 2, 2], P, {}, "Unknown label type"),
        ([np.nan, 1, 2, 2], P, {}, "contains NaN"),
        ([0, "a", 0, "a"], P1, {}, "Mix of label input types"),
        ([[0.5, 0.5], [0.5, 0.4]], P1[:2], {}, r"y_true sums to 0\.9 in row 1"),
        ([[0.5, 0.5], [0.0, 0.0]], P1[:2], {}, r"y_true sums to 0 in row 1"),
        ([[0.5, 0.5], [np.nan, 0.5]], P1[:2], {}, r"y_true holds nan in row 1"),
        ([[0.5, 0.5], [-0.5, 1.5]], P1[:2], {}, r"y_true holds -0\.5 in row 1"),
        ([[2, 0], [0, 1]], P1[:2], {}, r"y_true sums to 2 in row 0"),
        (Y, P, {"normalize": "yes"}, "normalize='yes'"),
        (Y, P, {"eps": 0.5}, r"eps=0\.5"),
        (Y, P, {"eps": -1e-9}, "eps="),
        (Y, P, {"eps": "tiny"}, "eps='tiny'"),
        (Y, P, {"eps": True}, "eps=True"),
        (Y, P, {"eps": np.nan}, "eps=nan"),
    ],
)
def test_refused(y, p, kwargs, message):
    with pytest.raises(ValueError, match=message):
        log_loss(y, p, **kwargs)


@pytest.mark.parametrize(
    ("y", "p", "kwargs"),
    [
        (Y, P[:3], {}),
        (Y, P, {"sample_weight": [1.0, 2.0]}),
        (Y, P, {"sample_weight": [1.0, np.nan, 1.0, 1.0]}),
        (Y, P, {"sample_weight": [1.0, np.inf, 1.0, 1.0]}),
        (Y, P, {"sample_weight": np.zeros(4)}),
        (Y, np.where(P == 0.8, np.nan, P), {}),
        (Y, np.where(P == 0.8, np.inf, P), {}),
        (Y, P1, {}),
        (Y, P1, {"labels": [0, 1, 2]}),
        (Y, P, {"labels": np.array([0, 1, 3])}),
        (Y, P * 2, {}),
        (Y, -P, {}),
        (Y * 0, P1, {}),
        (["a", 1, "a", 1], P1, {}),
    ],
)
def test_messages_begin_with_scikit_learns_sentence(y, p, kwargs):
    with pytest.raises(ValueError, match=r".") as ours:
        log_loss(y, p, **kwargs)
    if "sample_weight" in kwargs and sklearn_version < (1, 8) and len(kwargs["sample_weight"]) == len(y):
        pytest.skip("scikit-learn checks the weights of log_loss since 1.8")
    with pytest.raises(ValueError, match=r".") as theirs:
        sklearn.metrics.log_loss(y, p, **kwargs)
    assert str(ours.value).startswith(str(theirs.value).replace("np.int64(2)", "2"))


def test_refused_types():
    with pytest.raises(TypeError, match="bytes"):
        log_loss([b"a", b"b"], P1[:2])
    with pytest.warns(PendingDeprecationWarning, match="matrix"):
        matrix = np.matrix(P)
    with pytest.raises(TypeError, match="matrix"):
        log_loss(Y, matrix)


@pytest.mark.parametrize("row", [0, 63, 64, 1000, 4999])
@pytest.mark.parametrize("n_columns", [1, 2, 3, 12, 2000])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_bad_row_is_named_wherever_it_stands(dtype, n_columns, row):
    n = 5000 if n_columns < 100 else 70
    row = min(row, n - 1)
    p = np.full((n, n_columns), 1 / n_columns, dtype=dtype)
    y = np.arange(n) % max(n_columns, 2)
    labels = np.arange(max(n_columns, 2))
    for bad, message in ((np.nan, "NaN"), (-np.nan, "NaN"), (-np.inf, "infinity"), (-0.25, "lower than 0")):
        p[row, -1] = bad
        with pytest.raises(ValueError, match=rf"{message}.*row {row}\b"):
            log_loss(y, p, labels=labels)
    p[row, -1] = 1 / n_columns
    p[row, 0] = 1 + np.finfo(dtype).eps
    with pytest.raises(ValueError, match=rf"greater than 1.*row {row}\b"):
        log_loss(y, p, labels=labels)


@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rows_that_do_not_sum_to_one_warn(dtype, layout):
    y, p = random_problem(1000, 5, dtype)
    p[[700, 800]] *= dtype(0.9)
    with pytest.warns(UserWarning, match=r"The y_prob values do not sum to one\..*Row 700 sums to 0\.[89]") as record:
        got = log_loss(y, layout(p))
    assert record[0].filename == __file__
    with pytest.warns(UserWarning, match=r"The y_prob values do not sum to one\."):
        expected = sklearn.metrics.log_loss(y, p)
    assert got == pytest.approx(expected, rel=1e-14 if dtype == np.float64 else 1e-6)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("times_tolerance", [0.9, 1.1, -0.9, -1.1])
def test_tolerance_of_the_sum_is_scikit_learns(times_tolerance, dtype):
    p = np.full((2, 4), 0.25, dtype=dtype)
    p[1, 0] += times_tolerance * np.sqrt(np.finfo(dtype).eps)
    off = abs(times_tolerance) > 1
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        log_loss([0, 1], p, labels=[0, 1, 2, 3])
    assert len(record) == off


def test_unsorted_labels_warn():
    with pytest.warns(UserWarning, match=r"Labels passed were \[2, 1, 0\].*ordered labels=\[0, 1, 2\]") as record:
        assert log_loss(Y, P, labels=[2, 1, 0]) == log_loss(Y, P)
    assert record[0].filename == __file__


def test_labels_that_do_not_all_occur():
    assert log_loss([2, 2], P[2:], labels=[0, 1, 2]) == pytest.approx(-(log(0.6) + log(0.4)) / 2, rel=1e-15)
    with pytest.raises(ValueError, match="only one label"):
        log_loss([2, 2], P[2:])


# Threads and memory


@pytest.mark.parametrize("soft", [False, True])
def test_same_bits_for_any_number_of_threads(soft):
    y, p = random_problem(60_000, 10)
    y = random_problem(60_000, 10, seed=3)[1] if soft else y
    results = []
    for n_threads in (1, 2, 3, 8):
        with threadpool_limits(n_threads, user_api="openmp"):
            results.append((log_loss(y, p), log_loss_samples(y, p).tobytes()))
    assert len(set(results)) == 1


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray])
def test_no_temporary_of_the_size_of_the_probabilities(layout, dtype):
    y, p = random_problem(200_000, 10, dtype)
    p = layout(p)
    log_loss(y, p)
    tracemalloc.start()
    try:
        log_loss(y, p)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # the probabilities are read in place, or block by block
    assert peak < (100_000 if layout is np.ascontiguousarray else p.nbytes / 3)


# Scorers


class Fixed(ClassifierMixin, BaseEstimator):
    """A classifier whose predictions do not depend on the data."""

    def __init__(self, proba, classes):
        self.proba = proba
        self.classes = classes

    def fit(self, X, y):
        self.fitted_ = True
        return self

    @property
    def classes_(self):
        return self.classes

    def predict_proba(self, X):
        return self.proba


def test_scorer_gives_scikit_learns_number_where_that_is_right():
    X, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    clf = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, names)
    expected = sklearn.metrics.get_scorer("neg_log_loss")(clf, X, names)
    assert neg_log_loss_scorer(clf, X, names) == pytest.approx(expected, rel=1e-14)
    weight = np.random.default_rng(0).uniform(size=len(y))
    expected = sklearn.metrics.get_scorer("neg_log_loss")(clf, X, names, sample_weight=weight)
    assert neg_log_loss_scorer(clf, X, names, sample_weight=weight) == pytest.approx(expected, rel=1e-14)


def test_columns_are_those_of_classes():
    """scikit-learn assumes that the columns are the sorted classes of the fold or of the target."""
    clf = Fixed(P[:, [2, 0, 1]], np.array(["c", "a", "b"]))
    y = np.array(["a", "b", "c", "c"])
    assert neg_log_loss_scorer(clf, None, y) == -log_loss(y, P)
    assert neg_log_loss_scorer(clf, None, y[1:2].repeat(4)) == -log_loss(["b"] * 4, P, labels=["a", "b", "c"])


def test_columns_of_a_frame_are_those_they_name():
    y = np.array(["a", "b", "c", "c"])
    classes = np.array(["c", "a", "b"])
    for columns in (["a", "b", "c"], ["c", "a", "b"], ["b", "c", "a"]):
        clf = Fixed(frame(P, ["a", "b", "c"])[columns], classes)
        assert neg_log_loss_scorer(clf, None, y) == pytest.approx(-log_loss(y, P), rel=1e-15)
    unnamed = Fixed(frame(P[:, [2, 0, 1]], None), classes)
    assert neg_log_loss_scorer(unnamed, None, y) == -log_loss(y, P)
    with pytest.raises(ValueError, match=r"Fixed\.predict_proba has columns \['a', 'b', 'd'\].*'d' is none of them"):
        neg_log_loss_scorer(Fixed(frame(P, ["a", "b", "d"]), classes), None, y)
    two = Fixed(frame(PETS, ["dog", "cat"])[["cat"]], np.array(["cat", "dog"]))
    assert neg_log_loss_scorer(two, None, ["dog", "cat"]) == pytest.approx(-RIGHT, rel=1e-15)


@pytest.mark.parametrize("columns", [["dog", "cat"], ["dog", "cat", "eel"], ["cat"], ["dog"]])
def test_scorers_share_columns_by_name(columns):
    values = {1: PETS[:, [["dog", "cat"].index(columns[0])]], 2: PETS, 3: np.column_stack([0.9 * PETS, [0.1, 0.1]])}
    clf = Fixed(frame(values[len(columns)], columns), np.unique(["cat", "dog", *columns]))
    X, y = np.zeros((2, 1)), np.array(["dog", "cat"])
    scoring = {"first": neg_log_loss_scorer, "second": make_log_loss_scorer(eps=1e-9), "third": make_log_loss_scorer()}
    expected = -RIGHT + (np.log(0.9) if len(columns) == 3 else 0.0)
    for name, score in check_scoring(clf, scoring=scoring)(clf, X, y).items():
        assert score == pytest.approx(expected, rel=1e-14), name


def test_fold_without_a_class_scores():
    X, y = load_iris(return_X_y=True)
    three_folds = KFold(3)  # each test fold is a class that the training fold lacks
    clf = DecisionTreeClassifier(random_state=0)
    with pytest.warns(UserWarning, match="Scoring failed"):
        assert np.isnan(cross_val_score(clf, X, y, cv=three_folds, scoring="neg_log_loss")).all()
    np.testing.assert_allclose(cross_val_score(clf, X, y, cv=three_folds, scoring=neg_log_loss_scorer), np.log(EPS))
    scores = cross_val_score(clf, X, y, cv=three_folds, scoring=make_log_loss_scorer(eps=1e-3))
    np.testing.assert_allclose(scores, np.log(1e-3))
    scores = cross_val_score(clf, X, y, cv=three_folds, scoring=make_log_loss_scorer(eps=0))
    np.testing.assert_array_equal(scores, -np.inf)


def test_sparse_data_frames_are_refused():
    pd = pytest.importorskip("pandas")
    sparse, one_hot = pd.DataFrame(P).astype(pd.SparseDtype(float)), pd.get_dummies(Y, sparse=True, dtype=int)
    for y, p, name in ((Y, sparse, "y_proba"), (sparse, P, "y_true"), (one_hot, P, "y_true")):
        with pytest.raises(ValueError, match=rf"{name} is a sparse DataFrame.* pass {name}.sparse.to_dense\(\)"):
            log_loss(y, p)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rounding_of_a_foreign_model_loses_no_fold(dtype):
    eps = np.finfo(dtype).eps
    near = np.array([[1 + eps, -eps], [1 + 2 * eps, 0], [0.5, 0.5]], dtype=dtype)
    exact = np.array([[1, 0], [1, 0], [0.5, 0.5]], dtype=dtype)
    for y, weight in (([0, 0, 1], None), ([0, 1, 1], [1.0, 2.0, 3.0])):
        found = neg_log_loss_scorer(Fixed(near, np.arange(2)), np.zeros((3, 1)), y, weight)
        assert found == neg_log_loss_scorer(Fixed(exact, np.arange(2)), np.zeros((3, 1)), y, weight)
    for wrong in (1 + 3 * eps, np.nan):
        near[0, 0] = wrong
        with pytest.raises(ValueError, match=r"row 0"):
            neg_log_loss_scorer(Fixed(near, np.arange(2)), np.zeros((3, 1)), [0, 0, 1])


def test_rounding_of_a_foreign_model_loses_no_report():
    eps = np.finfo(np.float64).eps
    near = np.array([[1 + eps, -eps], [1 + 2 * eps, 0], [0.5, 0.5]])
    exact = np.array([[1, 0], [1, 0], [0.5, 0.5]])
    kept = near.copy()
    assert cross_entropy_report([0, 0, 1], near) == cross_entropy_report([0, 0, 1], exact)
    np.testing.assert_array_equal(near, kept)
    for y, p in (([0, 0, 1], near), ([0, 0, 1], near[:, 0])):
        with pytest.raises(ValueError, match="greater than 1"):  # scikit-learn's error
            log_loss(y, p)


def test_training_fold_of_one_class():
    clf = DummyClassifier().fit([[0], [0]], ["a", "a"])
    assert neg_log_loss_scorer(clf, [[0], [0]], ["a", "a"]) == pytest.approx(np.log1p(-EPS))
    assert neg_log_loss_scorer(clf, [[0], [0]], ["a", "b"]) == pytest.approx(np.log(EPS) / 2)


def test_two_classes_in_one_column():
    clf = Fixed(P1, np.array(["no", "yes"]))
    y = np.array(["yes", "no", "yes", "no"])
    assert neg_log_loss_scorer(clf, None, y) == pytest.approx(-log_loss(y, P1))


@pytest.mark.parametrize("search", [GridSearchCV, RandomizedSearchCV])
def test_search(search):
    X, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    pipe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    grid = {"logisticregression__C": [1e-3, 1.0, 10.0]}
    kwargs = {"n_iter": 3, "random_state": 0} if search is RandomizedSearchCV else {}
    ours = search(pipe, grid, scoring=neg_log_loss_scorer, cv=3, **kwargs).fit(X, names)
    theirs = search(pipe, grid, scoring="neg_log_loss", cv=3, **kwargs).fit(X, names)
    np.testing.assert_allclose(
        ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"], rtol=1e-13
    )
    assert ours.best_params_ == theirs.best_params_
    assert ours.score(X, names) == pytest.approx(theirs.score(X, names), rel=1e-13)
    copy_of_it = pickle.loads(pickle.dumps(clone(ours)))
    assert repr(copy_of_it.scoring) == repr(neg_log_loss_scorer)


def test_several_scorers_at_once():
    X, y = load_iris(return_X_y=True)
    for target in (y, y == 1):  # scikit-learn's cache keeps one of two columns
        scoring = {"ours": neg_log_loss_scorer, "theirs": "neg_log_loss", "brier": "neg_brier_score"}
        if len(np.unique(target)) > 2:
            scoring["brier"] = "accuracy"
        result = cross_validate(LogisticRegression(max_iter=500), X, target, scoring=scoring, cv=3)
        np.testing.assert_allclose(result["test_ours"], result["test_theirs"], rtol=1e-13)
        search = GridSearchCV(
            LogisticRegression(max_iter=500), {"C": [0.1, 1.0]}, scoring=scoring, refit="ours", cv=3
        ).fit(X, target, sample_weight=np.ones(len(y)))
        np.testing.assert_allclose(
            search.cv_results_["mean_test_ours"], search.cv_results_["mean_test_theirs"], rtol=1e-13
        )


class Counted(LogisticRegression):
    """Counts the calls of predict_proba."""

    n_calls = 0

    def predict_proba(self, X):
        Counted.n_calls += 1
        return super().predict_proba(X)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_several_scorers_share_predict_proba(n_classes, first):
    X, y = load_iris(return_X_y=True)
    X, names = X[y < n_classes], np.array(["a", "b", "c"])[y[y < n_classes]]
    scoring = {"ours": neg_log_loss_scorer, "theirs": "neg_log_loss", "clipped": make_log_loss_scorer(eps=0.01)}
    if first == "theirs":
        scoring = dict(reversed(scoring.items()))
    Counted.n_calls = 0
    result = cross_validate(Counted(max_iter=500), X, names, scoring=scoring)
    assert Counted.n_calls == 5
    np.testing.assert_allclose(result["test_ours"], result["test_theirs"], rtol=1e-13)
    alone = cross_val_score(Counted(max_iter=500), X, names, scoring=make_log_loss_scorer(eps=0.01))
    np.testing.assert_allclose(result["test_clipped"], alone, rtol=1e-13)


def test_shared_probabilities_may_be_those_of_another_class():
    """scikit-learn's cache then gives neg_log_loss the loss of the wrong class."""
    X, y = load_iris(return_X_y=True)
    names = np.where(y == 1, "good", "bad")
    brier = make_scorer(
        sklearn.metrics.brier_score_loss, response_method="predict_proba", greater_is_better=False, pos_label="bad"
    )
    moved = FixedThresholdClassifier(LogisticRegression(), threshold=0.99)
    for clf in (LogisticRegression(), DummyClassifier(), moved):
        expected = cross_val_score(clf, X, names, scoring=neg_log_loss_scorer, cv=3)
        for scoring in ({"brier": brier, "ours": neg_log_loss_scorer}, {"ours": neg_log_loss_scorer, "brier": brier}):
            result = cross_validate(clf, X, names, scoring=scoring, cv=3)
            np.testing.assert_allclose(result["test_ours"], expected, rtol=1e-13)


def test_scorers_of_shared_probabilities_keep_what_they_need():
    """scikit-learn's cache holds one column of two, in which a small probability of the first class has no digits."""
    p = np.array([[1e-20, 1.0], [0.5, 0.5]])
    clf, y = Fixed(p, np.array([0, 1])), np.array([0, 1])
    exact = check_scoring(clf, scoring={"theirs": "neg_log_loss", "ours": make_log_loss_scorer(eps=0)})
    assert exact(clf, p, y)["ours"] == pytest.approx(np.log(1e-20 * 0.5) / 2)
    # and what it refuses: classes that are not there, and one column
    few = DummyClassifier().fit([[0], [0]], ["a", "a"])
    scoring = {"ours": neg_log_loss_scorer, "clipped": make_log_loss_scorer(eps=1e-3), "accuracy": "accuracy"}
    assert check_scoring(few, scoring=scoring)(few, [[0], [0]], ["a", "b"])["ours"] == pytest.approx(np.log(EPS) / 2)
    clf, y = Fixed(P1, np.array(["no", "yes"])), np.array(["yes", "no", "yes", "no"])
    both = {name: scoring[name] for name in ("ours", "clipped")}
    assert check_scoring(clf, scoring=both)(clf, y, y)["ours"] == pytest.approx(-log_loss(y, P1))


def test_threshold_is_tuned_as_with_scikit_learns_scorer():
    X, y = load_iris(return_X_y=True)
    y = (y == 1).astype(int)
    ours, theirs = (
        TunedThresholdClassifierCV(LogisticRegression(), scoring=scoring, cv=3).fit(X, y)
        for scoring in (neg_log_loss_scorer, "neg_log_loss")
    )
    assert ours.best_threshold_ == theirs.best_threshold_
    assert ours.best_score_ == pytest.approx(theirs.best_score_, rel=1e-13)


def test_requests_follow_scikit_learns_rules():
    theirs = sklearn.metrics.get_scorer("neg_log_loss")
    for scorer in (neg_log_loss_scorer, make_log_loss_scorer(), theirs):
        with pytest.raises(RuntimeError, match="only available when metadata routing is enabled"):
            scorer.set_score_request(sample_weight=True)
    with sklearn.config_context(enable_metadata_routing=True):
        own = make_log_loss_scorer(eps=1e-3)
        assert own.set_score_request(sample_weight="w") is own
        assert own.get_metadata_routing().score.requests["sample_weight"] == "w"
        copied = neg_log_loss_scorer.set_score_request(sample_weight=True)
        assert copied is not neg_log_loss_scorer
        assert copied.get_metadata_routing().score.requests["sample_weight"] is True
        assert neg_log_loss_scorer.get_metadata_routing().score.requests.get("sample_weight") is None
        with pytest.raises(ValueError, match="valid identifier"):
            neg_log_loss_scorer.set_score_request(sample_weight=3)


def test_soft_targets_are_scored():
    clf = Fixed(P, np.array(["a", "b", "c"]))
    t = random_problem(4, 3, seed=5)[1]
    assert neg_log_loss_scorer(clf, None, t) == -log_loss(t, P)
    assert neg_log_loss_scorer(clf, None, frame(t[:, [2, 0, 1]], ["c", "a", "b"])) == -log_loss(t, P)
    with pytest.raises(ValueError, match=r"y has columns \['c', 'a', 'd'\].*'d' is none of them"):
        neg_log_loss_scorer(clf, None, frame(t, ["c", "a", "d"]))
    X, y = load_iris(return_X_y=True)
    order = np.random.default_rng(0).permutation(150)
    X, soft = X[order], 0.9 * np.eye(3)[y[order]] + 0.1 / 3
    scores = cross_val_score(xentropy.SoftmaxClassifier(), X, soft, cv=KFold(3), scoring=neg_log_loss_scorer)
    assert np.all((scores < -0.3) & (scores > -0.6))


def test_weights_are_routed():
    X, y = load_iris(return_X_y=True)
    weight = np.random.default_rng(0).uniform(size=150)
    cv = KFold(3, shuffle=True, random_state=0)
    with sklearn.config_context(enable_metadata_routing=True):
        clf = LogisticRegression(max_iter=500).set_fit_request(sample_weight=True)
        theirs = make_scorer(
            sklearn.metrics.log_loss, greater_is_better=False, response_method="predict_proba", labels=[0, 1, 2]
        )
        scores = {}
        for name, scorer in (("ours", make_log_loss_scorer()), ("theirs", theirs)):
            for ask in (True, False):
                scorer = copy.deepcopy(scorer).set_score_request(sample_weight=ask)
                result = cross_validate(clf, X, y, cv=cv, scoring=scorer, params={"sample_weight": weight})
                scores[name, ask] = result["test_score"]
                both = cross_validate(clf, X, y, cv=cv, scoring={"a": scorer}, params={"sample_weight": weight})
                np.testing.assert_array_equal(both["test_a"], result["test_score"])
            scorer = copy.deepcopy(scorer).set_score_request(sample_weight=True)
            search = GridSearchCV(clf, {"C": [1.0]}, cv=cv, scoring=scorer)
            search.fit(X, y, sample_weight=weight)
            scores[name, "search"] = search.cv_results_["mean_test_score"]
        for key in (True, False, "search"):
            np.testing.assert_allclose(scores["ours", key], scores["theirs", key], rtol=1e-13)
        assert not np.allclose(scores["ours", True], scores["ours", False], rtol=1e-3)
        with pytest.raises(Exception, match="not explicitly set as requested"):
            cross_validate(clf, X, y, cv=cv, scoring=neg_log_loss_scorer, params={"sample_weight": weight})


def test_scorer_is_an_ordinary_object():
    scorer = make_log_loss_scorer(eps=1e-6)
    assert repr(scorer) == "make_log_loss_scorer(eps=1e-06)"
    assert repr(neg_log_loss_scorer) == "make_log_loss_scorer()"
    again = pickle.loads(pickle.dumps(scorer))
    clf = Fixed(P, np.arange(3))
    assert again(clf, None, Y) == copy.deepcopy(scorer)(clf, None, Y) == scorer(clf, None, Y)
    assert scorer(clf, None, Y) == -log_loss(Y, P, eps=1e-6)
    assert check_scoring(clf, scoring=scorer) is scorer
    assert check_scoring(clf, scoring={"a": scorer})(clf, None, Y) == {"a": scorer(clf, None, Y)}
    assert clone(scorer, safe=False) is not scorer
    assert "neg_log_loss" in get_scorer_names()
    assert not any("xentropy" in repr(sklearn.metrics.get_scorer(name)) for name in get_scorer_names())


@pytest.mark.parametrize(
    ("estimator", "y", "error", "message"),
    [
        (RidgeClassifier(), Y, AttributeError, "RidgeClassifier has no predict_proba"),
        (Fixed([P, P], [np.arange(3)] * 2), np.c_[Y, Y], ValueError, "several outputs"),
        (Fixed(P, np.arange(2)), Y % 2, ValueError, "gave 3 columns for the 2 classes"),
        (Fixed(P, None), Y, AttributeError, "no classes_"),
        (Fixed(np.where(P == 0.8, np.nan, P), np.arange(3)), Y, ValueError, r"NaN.*row 1"),
        (Fixed(P, np.arange(3)), Y[:2], ValueError, "inconsistent"),
        (Fixed(P, np.arange(3)), Y + 0.5, ValueError, "Unknown label type"),
        (Fixed(P, np.arange(3)), ["a", "b", "c", "c"], ValueError, "y holds 'a'"),
        (Fixed(P, np.arange(3)), None, ValueError, "y"),
        (Fixed(P, np.arange(3)), np.eye(4), ValueError, "4 columns"),
        (Fixed(P, np.arange(3)), 0.9 * np.eye(3)[Y], ValueError, r"sums to 0\.9 in row 0"),
        (Fixed(np.empty((0, 3)), np.arange(3)), [], ValueError, "0 sample"),
    ],
)
def test_scorer_refuses(estimator, y, error, message):
    with pytest.raises(error, match=message):
        neg_log_loss_scorer(estimator, np.zeros((len(Y), 1)), y)


def test_scorer_refuses_weights_that_leave_nothing():
    with pytest.raises(ValueError, match="at least one non-zero"):
        neg_log_loss_scorer(Fixed(P, np.arange(3)), None, Y, sample_weight=np.zeros(4))
    with pytest.raises(ValueError, match="eps=1"):
        make_log_loss_scorer(eps=1)
