"""SoftmaxClassifier: the optimum of LogisticRegression, from every kind of target, weight and storage."""

import gc
import pickle
import warnings
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import reference
import scipy.sparse as sp
import sklearn
from scipy.special import log_expit
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.preprocessing import StandardScaler

from xentropy import SoftmaxClassifier, SoftmaxClassifierCV

LOADERS = {"iris": load_iris, "wine": load_wine, "breast_cancer": load_breast_cancer, "digits": load_digits}
sklearn_version = tuple(int(part) for part in sklearn.__version__.split(".")[:2])

TIGHT = {"tol": 1e-9, "max_iter": 10_000}


def standardised(name, n_classes=None):
    X, y = LOADERS[name](return_X_y=True)
    keep = slice(None) if n_classes is None else y < n_classes
    return StandardScaler().fit_transform(X[keep]), y[keep]


def peer(X, y, sample_weight=None, **params):
    """LogisticRegression at its own optimum: by Newton steps, far below the tolerance of the comparison."""
    return LogisticRegression(solver="newton-cholesky", tol=1e-12, max_iter=1000, **params).fit(X, y, sample_weight)


@pytest.fixture(scope="module")
def iris():
    return standardised("iris")


# the optimum


@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("name", "n_classes"),
    [("iris", None), ("iris", 2), ("wine", None), ("wine", 2), ("breast_cancer", 2), ("digits", None), ("digits", 2)],
)
def test_same_optimum_as_logistic_regression(name, n_classes, weighted, class_weight):
    X, y = standardised(name, n_classes)
    sample_weight = np.random.default_rng(0).uniform(0, 2, len(y)) if weighted else None
    expected = peer(X, y, sample_weight, class_weight=class_weight)
    for dtype in (np.float64, np.float32):
        clf = SoftmaxClassifier(**TIGHT, class_weight=class_weight).fit(X.astype(dtype), y, sample_weight)
        assert clf.coef_.dtype == clf.intercept_.dtype == dtype
        np.testing.assert_allclose(clf.coef_, expected.coef_, atol=2e-5, rtol=0)
        np.testing.assert_allclose(clf.intercept_, expected.intercept_, atol=1e-4, rtol=0)
        assert clf.converged_


@pytest.mark.parametrize("C", [1e-3, 0.1, 10.0])
def test_penalty_and_intercept_as_logistic_regression(C, iris):
    X, y = iris
    for target in (y, y == 1):
        for fit_intercept in (True, False):
            expected = peer(X, target, C=C, fit_intercept=fit_intercept)
            clf = SoftmaxClassifier(C=C, fit_intercept=fit_intercept, **TIGHT).fit(X, target)
            np.testing.assert_allclose(clf.coef_, expected.coef_, atol=2e-5, rtol=0)
            np.testing.assert_allclose(clf.intercept_, expected.intercept_, atol=2e-5, rtol=0)
            if not fit_intercept:
                assert not clf.intercept_.any()


@pytest.mark.parametrize("name", ["iris", "wine", "digits"])
def test_class_weight_as_a_dict(name):
    X, y = standardised(name)
    class_weight = {0: 2.0, 2: 0.5}
    expected = peer(X, y, class_weight=class_weight)
    clf = SoftmaxClassifier(class_weight=class_weight, **TIGHT).fit(X, y)
    np.testing.assert_allclose(clf.coef_, expected.coef_, atol=2e-5, rtol=0)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_soft_targets_equal_rows_repeated_with_the_probabilities_as_weights(n_classes, iris):
    X, _ = iris
    rng = np.random.default_rng(1)
    y = rng.dirichlet(np.ones(n_classes), size=len(X))
    s = rng.uniform(0.5, 2, len(X))
    repeated = np.repeat(X, n_classes, axis=0)
    labels = np.tile(np.arange(n_classes), len(X))
    expected = peer(repeated, labels, (s[:, None] * y).ravel())
    clf = SoftmaxClassifier(**TIGHT).fit(X, y, s)
    np.testing.assert_allclose(clf.coef_, expected.coef_, atol=1e-5, rtol=0)
    np.testing.assert_allclose(clf.intercept_, expected.intercept_, atol=1e-5, rtol=0)
    # so does label smoothing, which is a soft target
    eps = 0.2
    labels = rng.integers(0, n_classes, len(X))
    smooth = SoftmaxClassifier(label_smoothing=eps, **TIGHT).fit(X, labels)
    spelled_out = SoftmaxClassifier(**TIGHT).fit(X, reference.smoothed(reference.one_hot(labels, n_classes), eps))
    np.testing.assert_allclose(smooth.coef_, spelled_out.coef_, atol=1e-7, rtol=0)


def test_balanced_soft_targets_equal_balanced_repeated_rows(iris):
    X, _ = iris
    y = np.random.default_rng(2).dirichlet([1.0, 3.0, 0.5], size=len(X))
    labels = np.tile(np.arange(3), len(X))
    mass = y.sum(axis=0)
    weights = (y * (mass.sum() / (3 * mass))).ravel()
    expected = peer(np.repeat(X, 3, axis=0), labels, weights)
    clf = SoftmaxClassifier(class_weight="balanced", **TIGHT).fit(X, y)
    np.testing.assert_allclose(clf.coef_, expected.coef_, atol=1e-5, rtol=0)


@pytest.mark.parametrize("two", [False, True])
def test_one_hot_targets_equal_labels(two, iris):
    X, y = iris
    y = (y == 1).astype(int) if two else y
    from_labels = SoftmaxClassifier().fit(X, y)
    for one_hot in (reference.one_hot(y, y.max() + 1), np.eye(y.max() + 1, dtype=int)[y], np.eye(y.max() + 1)[y] == 1):
        clf = SoftmaxClassifier().fit(X, one_hot)
        np.testing.assert_array_equal(clf.coef_, from_labels.coef_)
        np.testing.assert_array_equal(clf.classes_, from_labels.classes_)


def test_objective_is_the_formula(iris):
    X, y = iris
    clf = SoftmaxClassifier(C=0.7, label_smoothing=0.1).fit(X, y)
    expected = reference.objective(
        X, reference.one_hot(y, 3), clf.coef_, clf.intercept_, C=0.7, label_smoothing=0.1
    )
    assert clf.objective_ == pytest.approx(expected, rel=1e-12)
    worse = SoftmaxClassifier(C=0.7, label_smoothing=0.1, tol=0.1).fit(X, y)
    assert worse.objective_ > clf.objective_


def test_columns_of_coef_sum_to_zero():
    X, y = standardised("digits")
    clf = SoftmaxClassifier().fit(X, y)
    np.testing.assert_allclose(clf.coef_.sum(axis=0), 0, atol=1e-10)
    assert abs(clf.intercept_.sum()) < 1e-10


# storage, threads, determinism


def test_sparse_equals_dense():
    X, y = load_digits(return_X_y=True)
    X, y = X[:600] / 16, y[:600]
    dense = SoftmaxClassifier(**TIGHT).fit(X, y)
    csr = sp.csr_array(X)
    wide = sp.csr_array((csr.data, csr.indices.astype(np.int64), csr.indptr.astype(np.int64)), X.shape)
    for stored in (csr, sp.csr_matrix(X), sp.csc_array(X), sp.coo_array(X), sp.lil_array(X), wide):
        clf = SoftmaxClassifier(**TIGHT).fit(stored, y)
        np.testing.assert_allclose(clf.coef_, dense.coef_, atol=1e-5, rtol=0)
        np.testing.assert_allclose(clf.predict_proba(stored), clf.predict_proba(X), atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_layout_of_X_gives_the_same_bits(dtype, iris, tmp_path):
    X = iris[0].astype(dtype)
    y = iris[1]
    expected = SoftmaxClassifier().fit(X, y)
    spaced = np.zeros((2 * len(X), 8), dtype=dtype)[::2, ::2]
    spaced[:] = X
    frozen = X.copy()
    frozen.setflags(write=False)
    mapped = np.memmap(tmp_path / "X", dtype=dtype, shape=X.shape, mode="w+")
    mapped[:] = X
    swapped = X.astype(X.dtype.newbyteorder(">"))
    unaligned = np.frombuffer(b"x" + X.tobytes(), np.uint8)[1:].view(dtype).reshape(X.shape)
    listed = X.tolist() if dtype is np.float64 else X
    for stored in (np.asfortranarray(X), spaced, frozen, mapped, swapped, unaligned, listed):
        before = np.array(stored, copy=True)
        clf = SoftmaxClassifier().fit(stored, y)
        np.testing.assert_array_equal(clf.coef_, expected.coef_)
        np.testing.assert_array_equal(clf.predict_proba(stored), expected.predict_proba(X))
        np.testing.assert_array_equal(stored, before)


def test_what_the_kernels_read_is_aligned(iris):
    def unaligned(a):
        return np.frombuffer(b"x" + a.tobytes(), np.uint8)[1:].view(a.dtype).reshape(a.shape)

    X, y = unaligned(iris[0]), unaligned(np.eye(3)[iris[1]] * 0.5 + 1 / 6)
    rows, target, weight = SoftmaxClassifier()._training_data(X, y, unaligned(np.ones(len(X))))
    assert not any(a.flags.aligned for a in (X, y))
    assert all(a.flags.aligned for a in (rows, target.distribution, weight))


def test_float16_is_taken_as_float32_and_integers_as_float64(iris):
    X, y = iris
    half = X.astype(np.float16)
    expected = SoftmaxClassifier().fit(half.astype(np.float32), y)
    clf = SoftmaxClassifier().fit(half, y)
    assert clf.coef_.dtype == clf.predict_proba(half).dtype == np.float32
    np.testing.assert_array_equal(clf.coef_, expected.coef_)
    whole = np.round(X * 10)
    expected = SoftmaxClassifier().fit(whole, y)
    np.testing.assert_array_equal(SoftmaxClassifier().fit(whole.astype(int), y).coef_, expected.coef_)


def test_any_number_of_threads_gives_the_same_bits():
    from threadpoolctl import threadpool_limits

    X, y = standardised("digits")
    fits = []
    for n in (1, 2, 3):
        with threadpool_limits(limits=n, user_api="openmp"):
            fits.append(SoftmaxClassifier().fit(X, y).coef_)
    np.testing.assert_array_equal(fits[0], fits[1])
    np.testing.assert_array_equal(fits[0], fits[2])


# labels


@pytest.mark.parametrize("names", [["no", "yes"], [False, True], [-1, 1], ["a", "b", "c"], [10, 20, 30]])
def test_classes_are_given_back_in_their_own_kind(names, iris):
    X, y = iris
    names = np.asarray(names)
    labels = names[y % len(names)]
    clf = SoftmaxClassifier().fit(X, labels)
    np.testing.assert_array_equal(clf.classes_, names)
    assert clf.predict(X).dtype == names.dtype
    assert clf.score(X, labels) == np.mean(clf.predict(X) == labels)


def test_pandas_in_and_names_of_classes_and_features(iris):
    pd = pytest.importorskip("pandas")
    X, y = iris
    frame = pd.DataFrame(X, columns=list("abcd"))
    for labels in (np.array(["x", "y", "z"])[y], pd.Series(y, dtype="category"), pd.Series(y, dtype="Int64")):
        clf = SoftmaxClassifier().fit(frame, labels)
        assert clf.feature_names_in_.tolist() == list("abcd")
        assert set(clf.predict(frame)) <= set(labels)
    soft = pd.DataFrame(reference.smoothed(reference.one_hot(y, 3), 0.1), columns=["red", "green", "blue"])
    clf = SoftmaxClassifier().fit(frame, soft)
    assert clf.classes_.tolist() == ["red", "green", "blue"]
    assert clf.predict(frame[:1]).tolist() == ["red"]
    assert clf.score(frame, soft[["blue", "red", "green"]]) == clf.score(frame, soft)
    with pytest.raises(ValueError, match="feature names"):
        clf.predict(frame.rename(columns={"a": "A"}))


def test_score_of_soft_targets_is_the_mass_on_the_predicted_class(iris):
    X, y = iris
    rng = np.random.default_rng(0)
    soft = rng.dirichlet(np.ones(3), size=len(X))
    clf = SoftmaxClassifier().fit(X, y)
    s = rng.uniform(size=len(X))
    expected = np.average([soft[i, k] for i, k in enumerate(clf.predict(X))], weights=s)
    assert clf.score(X, soft, s) == pytest.approx(expected)
    assert clf.score(X, reference.one_hot(y, 3)) == pytest.approx(clf.score(X, y))


# predictions


def test_log_proba_is_finite_where_probabilities_underflow(iris):
    X, y = iris
    for labels in (y, y == 1):
        clf = SoftmaxClassifier().fit(X, labels)
        clf.coef_ = clf.coef_ * 1e4
        far = clf.predict_log_proba(X)
        assert np.all(np.isfinite(far))
        assert far.min() < -1000
        assert clf.predict_proba(X).min() == 0
        np.testing.assert_allclose(np.exp(far), clf.predict_proba(X), rtol=1e-12)


@pytest.mark.parametrize("method", ["predict", "decision_function", "predict_proba", "predict_log_proba"])
@pytest.mark.parametrize("make", [np.asarray, sp.csr_matrix])
@pytest.mark.parametrize(("bad", "message"), [(np.nan, "contains NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_predictions_refuse_what_is_not_finite(iris, n_classes, bad, message, make, method):
    X, y = iris[0].copy(), np.minimum(iris[1], n_classes - 1)
    clf = SoftmaxClassifier().fit(X, y)
    X[70, 2] = bad
    with pytest.raises(ValueError, match=message):
        getattr(clf, method)(make(X))
    with sklearn.config_context(assume_finite=True):  # the user's word is taken
        got = getattr(clf, method)(make(X))
    others = np.arange(len(X)) != 70
    np.testing.assert_array_equal(got[others], getattr(clf, method)(make(X[others])))


def exact_differences(X, coef, intercept):
    """Logits less the largest of their row, in rational numbers, and then as floats."""
    W, b = [[Fraction(float(w)) for w in row] for row in coef], [Fraction(float(v)) for v in intercept]
    rows = []
    for x in X:
        x = [Fraction(float(v)) for v in x]
        z = [sum(u * v for u, v in zip(w, x, strict=True)) + c for w, c in zip(W, b, strict=True)]
        z = [Fraction(0), *z] if len(z) == 1 else z
        rows.append([float(max(v - max(z), Fraction(-(10**300)))) for v in z])
    return np.array(rows)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("coef_as", [np.asarray, sp.csr_matrix])
@pytest.mark.parametrize("X_as", [np.asarray, sp.csr_matrix])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_predictions_are_limits_where_logits_overflow(dtype, X_as, coef_as, n_classes):
    rng = np.random.default_rng(0)
    top = np.log2(float(np.finfo(dtype).max))
    X = (rng.choice([-1.0, 0.0, 1.0], (60, 5)) * 2.0 ** (top * rng.uniform(-0.2, 0.99, (60, 5)))).astype(dtype)
    coef = (rng.choice([-1.0, 1.0], (3, 5)) * 2.0 ** (top * rng.uniform(-0.2, 0.99, (3, 5)))).astype(dtype)
    coef, intercept = coef[: n_classes if n_classes > 2 else 1], np.array([0.5, -1.0, 2.0], dtype=dtype)
    clf = SoftmaxClassifier()
    clf.classes_, clf.coef_, clf.intercept_ = np.arange(n_classes), coef_as(coef), intercept[: len(coef)]
    expected = exact_differences(X, coef, clf.intercept_)
    with np.errstate(all="ignore"):
        assert not np.isfinite(X @ coef.T).all(axis=1).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = X_as(X)
        top_class, proba, log_proba = clf.predict(rows), clf.predict_proba(rows), clf.predict_log_proba(rows)
        z = clf.decision_function(rows)
    np.testing.assert_array_equal(top_class, expected.argmax(axis=1))
    np.testing.assert_allclose(proba, np.exp(reference.log_softmax(expected).astype(float)), rtol=1e-5, atol=1e-5)
    assert not np.isnan(log_proba).any()
    assert not np.isnan(z).any()


def test_ties_of_logits_that_overflow_are_ties():
    clf = SoftmaxClassifier()
    clf.classes_, clf.intercept_ = np.array(["a", "b", "c"]), np.zeros(3)
    clf.coef_ = np.array([[1e300, 0.0], [1e300, 0.0], [0.0, 1e300]])
    X = np.array([[1e200, 1.0], [-1e200, -1e200], [1.0, 2.0]])
    np.testing.assert_array_equal(clf.predict_proba(X), [[0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3], [0.0, 0.0, 1.0]])
    np.testing.assert_array_equal(clf.predict_log_proba(X)[0], [-np.log(2.0), -np.log(2.0), -np.inf])
    np.testing.assert_array_equal(clf.decision_function(X)[1], [-np.inf, -np.inf, -np.inf])


@pytest.mark.parametrize("method", ["predict", "decision_function", "predict_proba", "predict_log_proba"])
@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"coef_": np.full((3, 4), np.nan)}, "coef_ holds nan"),
        ({"intercept_": np.array([0.0, np.inf, 0.0])}, "intercept_ holds inf"),
        ({"intercept_": np.zeros(2)}, r"coef_ has 3 rows, so intercept_ must hold as many .* shape \(2,\)"),
        ({"classes_": np.arange(4)}, "coef_ has 3 rows for 4 classes"),
        ({"classes_": np.arange(2)}, "coef_ has 3 rows for 2 classes"),
    ],
)
def test_edited_models_that_are_none_are_errors(iris, edit, message, method):
    clf = SoftmaxClassifier().fit(*iris)
    for name, value in edit.items():
        setattr(clf, name, value)
    for X in (iris[0], sp.csr_matrix(iris[0])):
        with pytest.raises(ValueError, match=message):
            getattr(clf, method)(X)


def test_predictions_agree_with_each_other_and_with_the_oracle(iris):
    X, y = iris
    clf = SoftmaxClassifier().fit(X, y)
    np.testing.assert_allclose(
        clf.predict_log_proba(X), reference.log_softmax(clf.decision_function(X)).astype(float), rtol=1e-13
    )
    np.testing.assert_allclose(clf.predict_proba(X).sum(axis=1), 1, rtol=1e-15)
    np.testing.assert_array_equal(clf.predict(X), clf.predict_proba(X).argmax(axis=1))
    two = SoftmaxClassifier().fit(X, y == 1)
    z = two.decision_function(X)
    assert z.shape == (len(X),)
    np.testing.assert_allclose(
        two.predict_log_proba(X), np.column_stack([log_expit(-z), log_expit(z)]), rtol=1e-13
    )
    np.testing.assert_array_equal(two.predict(X), z > 0)


# parameters, state


def test_warm_start_continues(iris):
    X, y = iris
    for labels in (y, y == 1):
        cold = SoftmaxClassifier(tol=1e-8).fit(X, labels)
        warm = SoftmaxClassifier(tol=1e-8, warm_start=True).fit(X, labels)
        assert warm.n_iter_[0] == cold.n_iter_[0] > 3
        warm.fit(X, labels)
        assert warm.n_iter_[0] <= 3
        np.testing.assert_allclose(warm.coef_, cold.coef_, atol=1e-6)
        with pytest.raises(ValueError, match="warm_start"):
            warm.fit(X[:, :2], labels)
        with pytest.raises(ValueError, match="warm_start"):
            warm.fit(X, np.where(labels == labels.max(), 7, labels))


def test_warning_at_max_iter_says_what_to_do(iris):
    X, y = iris
    with pytest.warns(ConvergenceWarning, match="Increase max_iter"):
        clf = SoftmaxClassifier(max_iter=2).fit(X, y)
    assert not clf.converged_
    assert clf.n_iter_[0] == 2


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_not_finite_is_refused_and_what_is_huge_is_not(value, dtype, iris):
    X, y = iris
    clf = SoftmaxClassifier().fit(X.astype(dtype), y)
    rows = X[:4].astype(dtype)
    rows[2, 1] = value
    with pytest.raises(ValueError, match="contains"):
        clf.predict_proba(rows)
    rows[2, 1], rows[3, 1] = np.inf, -np.inf
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match="contains"):  # scikit-learn's sum warns
        clf.predict_proba(rows)
    huge = np.full((3, 4), np.finfo(dtype).max / 8)  # their sum overflows
    assert clf.predict(huge).shape == (3,)


def test_sparsify_and_densify(iris):
    X, y = iris
    clf = SoftmaxClassifier().fit(X, y)
    dense = clf.coef_
    proba = clf.predict_proba(X)
    assert sp.issparse(clf.sparsify().coef_)
    np.testing.assert_allclose(clf.predict_proba(X), proba, rtol=1e-13)
    np.testing.assert_allclose(clf.predict_proba(sp.csr_array(X)), proba, rtol=1e-13)
    for rows in (X.astype(np.float32), sp.csr_array(X.astype(np.float32))):
        np.testing.assert_allclose(clf.predict_proba(rows), proba, rtol=1e-5)
    np.testing.assert_array_equal(clf.to_sklearn().coef_, dense)
    np.testing.assert_array_equal(clf.densify().coef_, dense)


def test_pickle_and_clone(iris):
    X, y = iris
    clf = SoftmaxClassifier(C=0.5).fit(X, y)
    again = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    assert clone(clf).get_params() == clf.get_params()


def test_repr_documents_the_parameters():
    html = SoftmaxClassifier(C=0.5)._repr_html_()
    assert "label_smoothing" in html
    assert "href" not in html.replace('href="#xentropy.SoftmaxClassifier', "")  # no page of another project
    if sklearn_version >= (1, 8):
        assert "Inverse of the strength" in html
    assert repr(SoftmaxClassifier(C=0.5)) == "SoftmaxClassifier(C=0.5)"


# weights


def test_rows_of_weight_zero_count_for_nothing(iris):
    X, y = iris
    s = (np.arange(len(X)) % 3 > 0).astype(float)
    kept = SoftmaxClassifier(**TIGHT).fit(X[s > 0], y[s > 0])
    clf = SoftmaxClassifier(**TIGHT).fit(X, y, s)
    np.testing.assert_allclose(clf.coef_, kept.coef_, atol=1e-6)


def test_integer_weights_repeat_rows_and_scale_with_C(iris):
    X, y = iris
    s = np.arange(len(X)) % 3 + 1
    repeated = SoftmaxClassifier(**TIGHT).fit(np.repeat(X, s, axis=0), np.repeat(y, s))
    clf = SoftmaxClassifier(**TIGHT).fit(X, y, s)
    np.testing.assert_allclose(clf.coef_, repeated.coef_, atol=1e-5)
    scaled = SoftmaxClassifier(C=0.25, **TIGHT).fit(X, y, 4 * s)
    np.testing.assert_allclose(scaled.coef_, clf.coef_, atol=1e-6)


def test_a_fold_may_lack_a_class_of_class_weight():
    X, y = standardised("iris")
    weights = {0: 1.0, 1: 2.0, 2: 3.0}
    named = SoftmaxClassifier(class_weight=weights, **TIGHT).fit(X[:100], y[:100])
    np.testing.assert_allclose(named.coef_, peer(X[:100], y[:100], class_weight=weights).coef_, atol=2e-5)
    with pytest.raises(ValueError, match=r"class_weight\[2\]=-1"):  # which is wrong in every fold
        SoftmaxClassifier(class_weight={**weights, 2: -1}).fit(X[:100], y[:100])


@pytest.mark.parametrize("values", [[0, 1], [False, True], [0.0, 1.0], ["no", "yes"]])
def test_labels_in_an_array_of_objects(values):
    X, y = standardised("iris", 2)
    labels = np.array(values, dtype=object)[y]
    clf = SoftmaxClassifier().fit(X, labels)
    assert clf.score(X, labels) == clf.score(X, np.array(values)[y]) == 1.0
    assert clf.score(X, labels[::-1].copy()) == 0.0
    np.testing.assert_array_equal(cross_val_score(clf, X, labels), 1.0)


# wrong input


@pytest.mark.parametrize(
    ("params", "X", "y", "sample_weight", "message"),
    [
        ({}, [[1.0], [2.0]], [1, 1], None, "one class"),
        ({}, [[1.0], [2.0]], None, None, "target y is None"),
        ({}, [[1.0], [2.0]], [0, 1, 1], None, "inconsistent numbers of samples"),
        ({}, [[1.0], [np.nan]], [0, 1], None, "NaN"),
        ({}, [[1.0], [np.inf]], [0, 1], None, "infinity"),
        ({}, np.empty((0, 2)), [], None, "0 sample"),
        ({}, np.empty((2, 0)), [0, 1], None, "0 feature"),
        ({}, [[1.0], [2.0]], [0.5, 0.7], None, "Unknown label type"),
        ({}, [[1.0], [2.0]], [[0.5, 0.6], [1, 0]], None, "sums to 1.1 in row 0"),
        ({}, [[1.0], [2.0]], [[1.5, -0.5], [1, 0]], None, "holds -0.5 in row 0"),
        ({}, [[1.0], [2.0]], ["a", None], None, "contains None in row 1"),
        ({}, [[1.0], [2.0]], [0, 1], [1.0, -1.0], "[Nn]egative"),
        ({}, [[1.0], [2.0]], [0, 1], [1.0, np.nan], "NaN"),
        ({}, [[1.0], [2.0]], [0, 1], [0.0, 0.0], "[Ss]ample.weight"),
        ({}, [[1.0], [2.0]], [0, 1], [1.0], "sample_weight.shape"),
        ({"class_weight": {2: 1.0}}, [[1.0], [2.0]], [0, 1], None, r"^The classes, \[0, 1\], are not in"),
        ({"class_weight": {1: -1.0}}, [[1.0], [2.0]], [0, 1], None, r"class_weight\[1\]"),
        ({"class_weight": {1: "2"}}, [[1.0], [2.0]], [0, 1], None, r"class_weight\[1\]='2' must be a finite number"),
        ({"class_weight": {1: 10**400}}, [[1.0], [2.0]], [0, 1], None, r"class_weight\[1\]"),
        ({"class_weight": {0: 1e308, 1: 1e308}}, [[1.0], [2.0]], [0, 1], None, "sums to inf: divide .* multiply C"),
        ({"class_weight": "balanced"}, [[1.0], [2.0]], [0, 1], [1e308, 1e308], "sample_weight sums to inf: divide"),
        ({"class_weight": "balanced"}, [[1.0], [2.0]], [0, 1], [1e-320, 1.0], r"infinite weights to the classes \[0\]"),
        (
            {"class_weight": {0: 1e300, 1: 1.0}, "label_smoothing": 0.1},
            [[1.0], [2.0]], [0, 1], [1e-10, 1e10], "sums to inf: divide",
        ),
        ({"class_weight": {0: 1e-200, 1: 1e-200}}, [[1.0], [2.0]], [0, 1], [1e-200, 1e-200], "sums to 0.0: multiply"),
        ({"C": 1e10}, [[1.0], [2.0]], [0, 1], [1e300, 1.0], "C=10000000000.0 times .* use a smaller C, or C=inf"),
        ({"C": 1e-300}, [[1.0], [2.0]], [0, 1], [1e-10, 1e-10], "C=1e-300 times .* use a larger C"),
        ({"C": 1e-300}, [[1.0], [2.0]], [0, 1], [1e-100, 1e-100], "use a larger C"),  # the product is 0
        ({"C": 5e-324}, [[1.0], [2.0]], [0, 1], None, "C=5e-324 times the sum of the weights of the rows, 2.0"),
        ({"C": 10**400}, [[1.0], [2.0]], [0, 1], None, "use C=inf"),
        ({"class_weight": {0: 0, 1: 0}}, [[1.0], [2.0]], [0, 1], None, "without weight"),
        ({"class_weight": "balanced"}, [[1.0], [2.0]], [0, 1], [1.0, 0.0], "weigh nothing"),
        ({"C": 0}, [[1.0], [2.0]], [0, 1], None, "'C' parameter"),
        ({"C": np.nan}, [[1.0], [2.0]], [0, 1], None, "'C' parameter"),
        ({"label_smoothing": 1.1}, [[1.0], [2.0]], [0, 1], None, "'label_smoothing' parameter"),
        ({"tol": -1}, [[1.0], [2.0]], [0, 1], None, "'tol' parameter"),
        ({"max_iter": 1.5}, [[1.0], [2.0]], [0, 1], None, "'max_iter' parameter"),
        ({"class_weight": "equal"}, [[1.0], [2.0]], [0, 1], None, "'class_weight' parameter"),
    ],
)
def test_wrong_input_is_named(params, X, y, sample_weight, message):
    with pytest.raises(ValueError, match=message):
        SoftmaxClassifier(**params).fit(X, y, sample_weight)


def test_a_class_of_next_to_no_weight_has_a_finite_adjustment():
    X, y, weight = [[1.0], [2.0], [3.0], [4.0]], [0, 1, 1, 1], [1e-300, 1.0, 1e300, 1e300]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf = SoftmaxClassifier(logit_adjustment=1.0, fit_intercept=False).fit(X, y, weight)
    assert np.isfinite(clf.coef_).all()
    assert clf.converged_


def test_masks_are_refused(iris):
    X, y = iris
    mask = np.arange(len(y)) == 7
    hides, weight = np.ma.array(X, mask=np.repeat(mask[:, None], 4, axis=1)), np.ma.array(np.ones(len(y)), mask=mask)
    labels, soft = np.ma.array(y, mask=mask), np.ma.array(np.eye(3)[y], mask=np.repeat(mask[:, None], 3, axis=1))
    clf = SoftmaxClassifier().fit(np.ma.array(X), np.ma.array(y))  # which hide nothing
    np.testing.assert_array_equal(clf.coef_, SoftmaxClassifier().fit(X, y).coef_)
    for name, call in {
        "X": lambda: clf.fit(hides, y),
        "y": lambda: clf.fit(X, labels),
        "sample_weight": lambda: clf.fit(X, y, weight),
        "y_val": lambda: clf.fit(X, y, X_val=X, y_val=labels),
        "sample_weight_val": lambda: clf.fit(X, y, X_val=X, y_val=y, sample_weight_val=weight),
    }.items():
        with pytest.raises(ValueError, match=f"^{name} is a masked array that hides entries, the first in row 7"):
            call()
    for call in (lambda: clf.predict(hides), lambda: clf.score(X, labels), lambda: clf.score(X, y, weight)):
        with pytest.raises(ValueError, match="is a masked array"):
            call()
    with pytest.raises(ValueError, match="y is a masked array"):
        clf.fit(X, soft)
    with pytest.raises(ValueError, match="X is a masked array"):
        SoftmaxClassifierCV().fit(hides, y)


def test_large_integers_are_numbers(iris):
    X, y = iris
    for number in (10**30, 1e30):
        clf = SoftmaxClassifier(C=number, class_weight=dict.fromkeys(range(3), number)).fit(X, np.roll(y, 7))
        assert clf.objective_ == pytest.approx(1e60 * SoftmaxClassifier(C=np.inf).fit(X, np.roll(y, 7)).objective_)
    with pytest.warns(ConvergenceWarning, match="max_iter=0"):
        SoftmaxClassifier(logit_adjustment=10**20, max_iter=0).fit(X, y)


@pytest.mark.parametrize("storage", [np.asarray, sp.csr_matrix])
def test_features_whose_squares_or_coefficients_no_float_can_hold(storage, iris):
    X, y = iris
    X, y = X * np.array([1.0, 1.0, 1.0, 1e-170]), np.roll(y, 7)
    with pytest.raises(ValueError, match="squares of column 3 of X underflow"):
        SoftmaxClassifier(C=np.inf).fit(storage(X), y)
    with pytest.raises(ValueError, match="squares of column 3 of X underflow"):
        SoftmaxClassifierCV(Cs=[1.0, np.inf]).fit(storage(X), y)
    np.testing.assert_allclose(
        SoftmaxClassifier(C=1e6).fit(storage(X), y).coef_[:, :3],
        SoftmaxClassifier(C=1e6).fit(storage(X[:, :3]), y).coef_,
        rtol=1e-6,
    )
    small = (X * np.array([1.0, 1.0, 1e-40, 0.0])).astype(np.float32)
    with pytest.raises(ValueError, match=r"coefficient of column 2 of X is .*e\+40, which float32.*as float64"):
        SoftmaxClassifier(C=np.inf).fit(storage(small), y)
    with pytest.raises(ValueError, match="coefficient of column 2 of X is"):
        SoftmaxClassifierCV(Cs=[np.inf]).fit(storage(small), y)
    assert SoftmaxClassifier(C=np.inf).fit(storage(small.astype(float)), y).converged_


def test_coefficients_of_any_layout_predict(iris):
    X, y = iris
    clf = SoftmaxClassifier().fit(X, y)
    expected = clf.predict_proba(X)
    stacked = np.column_stack([clf.coef_, clf.intercept_])
    clf.coef_, clf.intercept_ = stacked[:, :-1], stacked[:, -1]
    np.testing.assert_array_equal(clf.predict_proba(X), expected)
    np.testing.assert_array_equal(clf.sparsify().predict(X), expected.argmax(axis=1))
    clf.densify().set_params(warm_start=True).fit(X, y)
    assert clf.n_iter_[0] <= 1


def test_sparse_indices_that_are_no_integers():
    for name in ("indices", "indptr"):
        X = sp.csr_matrix(np.eye(3))
        setattr(X, name, getattr(X, name).astype(float))
        with pytest.raises(ValueError, match=f"X.{name} of the CSR matrix holds float64, not integers"):
            SoftmaxClassifier().fit(X, [0, 1, 0])


def test_sparse_indices_out_of_range_are_never_read():
    X = sp.csr_matrix(np.eye(3))
    for attribute, value in (("indices", 3), ("indices", -1), ("indices", 10**6), ("indptr", 10**6), ("indptr", -1)):
        broken = X.copy()
        getattr(broken, attribute)[1] = value
        with pytest.raises(ValueError, match=r"X\.ind"):
            SoftmaxClassifier().fit(broken, [0, 1, 0])


@pytest.mark.parametrize(
    "use",
    [
        lambda X, y: SoftmaxClassifier().fit(X, y),
        lambda X, y: SoftmaxClassifier(early_stopping=True, random_state=0).fit(X, y),
        lambda X, y: SoftmaxClassifier().fit(np.eye(40, 6), y, X_val=X, y_val=y),
        lambda X, y: SoftmaxClassifierCV(Cs=2, cv=2).fit(X, y),
        lambda X, y: SoftmaxClassifier().fit(np.eye(40, 6), y).sparsify().predict(X),
    ],
    ids=["fit", "early stopping", "X_val", "CV", "sparsified"],
)
@pytest.mark.parametrize(
    ("attribute", "at", "value"), [("indices", 30, -(1 << 20)), ("indptr", 20, 1 << 20), ("indptr", 3, -(1 << 20))]
)
def test_sparse_indices_are_checked_before_scipy_reads_them(attribute, at, value, use):
    X, y = sp.csr_array(np.ones((40, 6))), np.arange(40) % 2
    getattr(X, attribute)[at] = value
    with pytest.raises(ValueError, match=rf"X\.{attribute} of the CSR matrix"):
        use(X, y)


@pytest.mark.parametrize("dtype", ["i1", "u1", "<i2", ">i2", "u2", ">i4", "u4", ">i8", "u8"])
@pytest.mark.parametrize("both", [False, True])
def test_sparse_indices_of_any_integer_type(both, dtype, iris):
    X, y = iris[0][::5], iris[1][::5]
    odd = sp.csr_matrix(X)
    odd.indices = odd.indices.astype(dtype)
    odd.indptr = odd.indptr.astype(dtype) if both else odd.indptr
    clf, expected = SoftmaxClassifier().fit(odd, y), SoftmaxClassifier().fit(sp.csr_matrix(X), y)
    np.testing.assert_array_equal(clf.coef_, expected.coef_)
    np.testing.assert_array_equal(clf.predict_proba(odd), expected.predict_proba(sp.csr_matrix(X)))
    np.testing.assert_array_equal(clf.sparsify().predict(odd), expected.predict(X))
    path = SoftmaxClassifierCV(Cs=[1.0], cv=3).fit(odd, y)
    np.testing.assert_array_equal(path.scores_, SoftmaxClassifierCV(Cs=[1.0], cv=3).fit(sp.csr_matrix(X), y).scores_)


def test_before_fit(iris):
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        with pytest.raises(NotFittedError):
            getattr(SoftmaxClassifier(), method)(iris[0])
    for method in ("sparsify", "densify", "to_sklearn"):
        with pytest.raises(NotFittedError):
            getattr(SoftmaxClassifier(), method)()


@pytest.mark.parametrize("make", [SoftmaxClassifier, lambda: SoftmaxClassifierCV(Cs=2, cv=3)])
def test_a_fit_that_fails_leaves_no_model(make, iris):
    X, y = iris
    clf = make()
    for data in ((X, np.zeros(len(y))), (1e200 * X, y), (X, y[:-1])):
        with pytest.raises(ValueError, match=r"only one class|overflow|inconsistent"):
            clf.fit(*data)
        for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
            with pytest.raises(NotFittedError):
                getattr(clf, method)(X)
        for method in ("sparsify", "densify", "to_sklearn"):
            with pytest.raises(NotFittedError):
                getattr(clf, method)()
        with pytest.raises(NotFittedError):
            clf.score(X, y)
        assert not [name for name in vars(clf) if name.endswith("_")]


@pytest.mark.parametrize("make", [SoftmaxClassifier, lambda: SoftmaxClassifierCV(Cs=2, cv=3)])
def test_a_fit_that_fails_leaves_the_model_before(make, iris):
    X, y = iris
    frame = pd.DataFrame(X, columns=list("abcd"))
    clf = make().fit(frame, y)
    before, proba = vars(clf).copy(), clf.predict_proba(frame)
    for data in ((X[:, :2], np.zeros(len(y))), (1e200 * X[:, :3], y), (frame[["b", "a"]], y[:-1])):
        with pytest.raises(ValueError, match=r"only one class|overflow|inconsistent"):
            clf.fit(*data)
        assert vars(clf).keys() == before.keys()
        assert all(value is before[name] for name, value in vars(clf).items())
        np.testing.assert_array_equal(clf.predict_proba(frame), proba)


def test_a_coefficient_that_float32_cannot_hold_leaves_the_model_before(iris):
    X, y = iris[0].astype(np.float32), iris[1]
    clf = SoftmaxClassifier(C=np.inf, label_smoothing=0.1).fit(X, y)
    before = vars(clf).copy()
    with pytest.raises(ValueError, match="cannot hold"):
        clf.fit(X * np.float32(1e-40), y)
    assert all(value is before[name] for name, value in vars(clf).items())


def test_a_warning_that_is_an_error_leaves_the_new_model(iris):
    X, y = iris
    clf = SoftmaxClassifier().fit(X[:, :2], y).set_params(max_iter=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConvergenceWarning):
            clf.fit(X, y)
    assert clf.coef_.shape == (3, 4)
    assert clf.predict(X).shape == (len(y),)


def test_warnings_of_a_fit_point_to_its_caller(iris):
    X, y = iris
    fits = [
        lambda: SoftmaxClassifier(max_iter=1).fit(X, y),
        lambda: SoftmaxClassifier(C=np.inf).fit(X[y < 2], y[y < 2]),
        lambda: SoftmaxClassifier(early_stopping=True, max_iter=0, random_state=0).fit(X, y),
        lambda: SoftmaxClassifierCV(Cs=2, cv=3, max_iter=1, refit=False).fit(X, y),
    ]
    for fit in fits:
        with warnings.catch_warnings(record=True) as record:
            warnings.simplefilter("always")
            fit()
        assert {w.filename for w in record} == {__file__}


def test_soft_target_of_another_number_of_classes(iris):
    clf = SoftmaxClassifier().fit(*iris)
    with pytest.raises(ValueError, match=r"y has 2 columns.*3 classes"):
        clf.score(iris[0], np.full((len(iris[0]), 2), 0.5))


# shapes at the edge


@pytest.mark.filterwarnings("ignore:The number of unique classes is greater than 50%")
@pytest.mark.parametrize("n_classes", [2, 3, 17, 300])
def test_one_row_a_class(n_classes):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_classes, 5))
    expected = peer(X, np.arange(n_classes), C=0.1)
    clf = SoftmaxClassifier(C=0.1, **TIGHT).fit(X, np.arange(n_classes))
    np.testing.assert_allclose(clf.coef_, expected.coef_, atol=2e-5, rtol=0)


def test_one_row_with_a_soft_target():
    clf = SoftmaxClassifier(C=100.0, **TIGHT).fit([[1.0]], [[0.25, 0.75]])
    np.testing.assert_allclose(clf.predict_proba([[1.0]]), [[0.25, 0.75]], atol=1e-6)


def test_constant_and_duplicated_columns(iris):
    X, y = iris
    X = np.column_stack([X, X[:, 0], np.zeros(len(X)), np.full(len(X), 3.0)])
    expected = peer(X, y)
    clf = SoftmaxClassifier(**TIGHT).fit(X, y)
    np.testing.assert_allclose(clf.coef_[:, 4], clf.coef_[:, 0], atol=2e-5)
    np.testing.assert_allclose(clf.coef_[:, 5:], 0, atol=2e-5)
    np.testing.assert_allclose(clf.coef_, expected.coef_, atol=2e-5)


def test_a_thousand_fits_do_not_grow_memory(iris):
    resource = pytest.importorskip("resource")
    X, y = iris[0][::4], iris[1][::4]
    targets = (y, reference.one_hot(y, 3) * 0.9 + 0.1 / 3)
    sparse = sp.csr_array(X)

    def fits(n):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            for i in range(n):
                clf = SoftmaxClassifier(max_iter=3).fit((X, sparse)[i % 2], targets[i // 2 % 2])
                clf.predict_proba(X)
        gc.collect()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    settled = fits(200)
    assert fits(1000) - settled < 4000  # kB: 4 kB a fit would show


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5])
def test_empty_columns_of_sparse_data(l1_ratio):
    rng = np.random.default_rng(0)
    dense = np.zeros((120, 30))
    dense[:, 4:12] = rng.standard_normal((120, 8))
    y = (dense[:, 4:7] + rng.standard_normal((120, 3))).argmax(axis=1)
    want = SoftmaxClassifier(l1_ratio=l1_ratio, tol=1e-9).fit(dense, y)
    got = SoftmaxClassifier(l1_ratio=l1_ratio, tol=1e-9, warm_start=True).fit(sp.csr_matrix(dense), y)
    np.testing.assert_allclose(got.coef_, want.coef_, atol=1e-6)
    assert not got.coef_[:, :4].any()
    assert got.objective_ == pytest.approx(want.objective_, rel=1e-9)
    got.coef_[:, 0] = 1.0  # as if other data had filled the column
    again = got.fit(sp.csr_matrix(dense), y)
    assert not again.coef_[:, 0].any()
    val = np.zeros((10, 30))
    val[:, 20] = 1.0  # a column that the training rows do not fill
    assert SoftmaxClassifier().fit(sp.csr_matrix(dense), y, X_val=sp.csr_matrix(val), y_val=y[:10]).converged_
    searches = [SoftmaxClassifierCV(Cs=3, cv=3, l1_ratios=(l1_ratio,), tol=1e-9) for _ in range(2)]
    for search, X in zip(searches, (dense, sp.csr_matrix(dense)), strict=True):
        search.fit(X, y)
    np.testing.assert_allclose(searches[0].scores_, searches[1].scores_, rtol=1e-3)
    assert searches[0].coef_.shape == searches[1].coef_.shape == (3, 30)


def test_the_list_of_parameter_names_belongs_to_the_caller():
    SoftmaxClassifier._get_param_names().append("nothing")
    assert "nothing" not in SoftmaxClassifier().get_params()
