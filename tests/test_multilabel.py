"""MultilabelClassifier: each label is fitted as by itself, whatever the other labels are."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from estimator_checks import each_check
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, TunedThresholdClassifierCV, cross_val_predict
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MultiLabelBinarizer, StandardScaler
from sklearn.utils import get_tags

import xentropy as xe
from xentropy import MultilabelClassifier, SoftmaxClassifier
from xentropy import _label_fits as label_fits
from xentropy._label_passes import LabelPasses

TIGHT = 1e-9


def problem(n=600, d=12, L=5, seed=0):
    """Rows in raw units, and labels of different shares, some of which the features explain better than others."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) * 10.0 ** rng.uniform(-1, 1, d) + 3.0
    z = (X - X.mean(axis=0)) / X.std(axis=0) @ rng.standard_normal((d, L)) * rng.uniform(0.2, 2.0, L)
    z -= rng.uniform(0, 2, L)
    return X, (rng.random((n, L)) < 1 / (1 + np.exp(-z))).astype(int)


def logistic(X, y, C=1.0, sample_weight=None, **options):
    model = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-12, max_iter=10_000, **options)
    return model.fit(X, y, sample_weight)


def check_same(model, k, other, rtol=2e-5):
    for got, want in ((model.coef_[k], other.coef_[0]), (model.intercept_[k], other.intercept_[0])):
        np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * np.abs(other.coef_).max())


@each_check(MultilabelClassifier())
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def test_tags():
    tags = get_tags(MultilabelClassifier())
    assert tags.classifier_tags.multi_label
    assert tags.target_tags.multi_output
    assert tags.input_tags.sparse


@pytest.mark.parametrize("of", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_optimum_of_each_label_is_that_of_logistic_regression(of, fit_intercept):
    X, Y = problem()
    model = MultilabelClassifier(tol=TIGHT, fit_intercept=fit_intercept).fit(of(X), Y)
    assert model.converged_.all()
    for k in range(Y.shape[1]):
        check_same(model, k, logistic(X, Y[:, k], fit_intercept=fit_intercept))


def test_many_labels_go_through_the_kernels_of_many_outputs():
    X, Y = problem(n=400, L=40)
    model = MultilabelClassifier(tol=TIGHT).fit(X, Y)
    for k in range(0, 40, 7):
        check_same(model, k, logistic(X, Y[:, k]))


def test_float32():
    X, Y = problem()
    X = X.astype(np.float32)
    model = MultilabelClassifier(tol=TIGHT).fit(X, Y)
    assert model.coef_.dtype == np.float32
    for k in range(Y.shape[1]):
        check_same(model, k, logistic(X.astype(float), Y[:, k]))


def test_large_problem_in_low_precision_first():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((20_000, 30))
    Y = (X @ rng.standard_normal((30, 9)) + rng.logistic(size=(20_000, 9)) > 1.0).astype(int)
    model = MultilabelClassifier(tol=TIGHT).fit(X, Y)
    for k in (0, 8):
        check_same(model, k, logistic(X, Y[:, k]))


def test_offsets_of_a_million():
    X, Y = problem()
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    near = MultilabelClassifier(tol=TIGHT).fit(X, Y)
    Y_missing = Y.astype(float)
    Y_missing[::3, 1] = np.nan  # its mean is another
    for y in (Y, Y_missing):
        far = MultilabelClassifier(tol=TIGHT).fit(X + 1e6, y)
        for k in (0, 2):
            np.testing.assert_allclose(far.coef_[k], near.coef_[k], rtol=1e-6)


@pytest.mark.parametrize("l1_ratio", [0.5, 1.0])
def test_l1_penalty(l1_ratio):
    X, Y = problem()
    X = StandardScaler().fit_transform(X)
    model = MultilabelClassifier(C=0.02, l1_ratio=l1_ratio, tol=TIGHT).fit(X, Y)
    for k in range(Y.shape[1]):
        alone = SoftmaxClassifier(C=0.02, l1_ratio=l1_ratio, tol=TIGHT).fit(X, Y[:, k])
        check_same(model, k, alone)
        np.testing.assert_array_equal(model.coef_[k] == 0.0, alone.coef_[0] == 0.0)
    assert (model.coef_ == 0.0).any()


@pytest.mark.parametrize(
    "loss", [xe.FocalLoss(1.0), xe.PolyLoss(0.5), "generalized", xe.SymmetricCrossEntropy(0.5, 0.1)]
)
def test_other_losses(loss):
    X, Y = problem()
    model = MultilabelClassifier(C=0.1, loss=loss, tol=TIGHT).fit(X, Y)
    for k in range(Y.shape[1]):
        check_same(model, k, SoftmaxClassifier(C=0.1, loss=loss, tol=TIGHT).fit(X, Y[:, k]), rtol=1e-4)


def test_missing_labels_are_left_out():
    X, Y = problem()
    rng = np.random.default_rng(3)
    partly, weight = Y.astype(float), rng.integers(0, 3, len(X)).astype(float)
    partly[rng.random(Y.shape) < 0.3] = np.nan
    model = MultilabelClassifier(tol=TIGHT).fit(X, partly, weight)
    for k in range(Y.shape[1]):
        known = ~np.isnan(partly[:, k])
        check_same(model, k, logistic(X[known], Y[known, k], sample_weight=weight[known]))
    # None and pandas' NA are missing too
    of_objects = np.where(np.isnan(partly), None, partly.astype(object))
    np.testing.assert_array_equal(MultilabelClassifier(tol=TIGHT).fit(X, of_objects, weight).coef_, model.coef_)


def test_soft_labels_and_smoothing():
    X, Y = problem()
    soft = np.clip(0.8 * Y + 0.1 + np.random.default_rng(0).uniform(-0.1, 0.1, Y.shape), 0, 1)
    model = MultilabelClassifier(tol=TIGHT, label_smoothing=0.1).fit(X, soft)
    for k in range(Y.shape[1]):
        twice = np.vstack([X, X])
        t = 0.9 * soft[:, k] + 0.05
        labels, weight = np.repeat([0, 1], len(X)), np.concatenate([1 - t, t])
        check_same(model, k, logistic(twice, labels, sample_weight=weight))
    hard = MultilabelClassifier(tol=TIGHT, label_smoothing=0.2).fit(X, Y)
    mixed = MultilabelClassifier(tol=TIGHT).fit(X, 0.8 * Y + 0.1)
    np.testing.assert_allclose(hard.coef_, mixed.coef_, rtol=1e-6)


def test_weights_of_classes():
    X, Y = problem()
    balanced = MultilabelClassifier(tol=TIGHT, class_weight="balanced").fit(X, Y)
    one_dict = MultilabelClassifier(tol=TIGHT, class_weight={0: 2.0, 1: 0.5}).fit(X, Y)
    a_list = MultilabelClassifier(tol=TIGHT, class_weight=[{1: k + 1.0} for k in range(5)]).fit(X, Y)
    positive = MultilabelClassifier(tol=TIGHT, pos_weight=np.arange(1.0, 6.0)).fit(X, Y)
    for k in range(5):
        check_same(balanced, k, logistic(X, Y[:, k], class_weight="balanced"))
        check_same(one_dict, k, logistic(X, Y[:, k], class_weight={0: 2.0, 1: 0.5}))
        check_same(a_list, k, logistic(X, Y[:, k], class_weight={1: k + 1.0}))
        check_same(positive, k, logistic(X, Y[:, k], class_weight={1: k + 1.0}))
    number = MultilabelClassifier(tol=TIGHT, pos_weight=3.0).fit(X, Y)
    check_same(number, 0, logistic(X, Y[:, 0], class_weight={1: 3.0}))


def test_infinite_C_names_the_label_that_is_separated():
    X, Y = problem(n=300, d=4)
    Y[:, 2] = X[:, 0] > np.median(X[:, 0])
    with pytest.warns(ConvergenceWarning, match=r"Label 2: C is infinite") as caught:
        model = MultilabelClassifier(C=np.inf, tol=TIGHT).fit(X, Y)
    assert len(caught) == 1
    np.testing.assert_array_equal(model.converged_, [True, True, False, True, True])
    check_same(model, 0, logistic(X, Y[:, 0], C=np.inf))


def test_constant_and_empty_labels_get_constant_models():
    X, Y = problem()
    pd = pytest.importorskip("pandas")
    y = Y.astype(float)
    y[:, 1], y[:, 2], y[:, 3] = 1.0, np.nan, 0.0
    with pytest.warns(UserWarning, match="'all', 'none', 'never'"):
        model = MultilabelClassifier(tol=TIGHT).fit(X, pd.DataFrame(y, columns=["a", "all", "none", "never", "b"]))
    p = model.predict_proba(X)
    np.testing.assert_allclose(p[:, 1], 601 / 602)  # Laplace's rule of succession
    np.testing.assert_allclose(p[:, 2], 0.5)
    np.testing.assert_allclose(p[:, 3], 1 / 602)
    assert not model.coef_[1:4].any()
    check_same(model, 4, logistic(X, Y[:, 4]))
    assert model.converged_.all()


def test_every_label_may_be_constant():
    X, _ = problem()
    with pytest.warns(UserWarning, match="constant models"):
        model = MultilabelClassifier().fit(X, np.zeros((len(X), 3)))
    assert not model.predict(X).any()


KINDS = [
    np.asarray,
    lambda y: y.astype(bool),
    lambda y: y.astype(np.float32),
    lambda y: np.asfortranarray(y),
    lambda y: y.tolist(),
    sp.csr_matrix,
    sp.csc_array,
    lambda y: sp.coo_matrix(y.astype(float)),
]


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_indicators(kind):
    X, Y = problem()
    given = kind(Y)
    before = given.copy() if hasattr(given, "copy") else None
    model = MultilabelClassifier().fit(X, given)
    np.testing.assert_array_equal(model.coef_, MultilabelClassifier().fit(X, Y).coef_)
    np.testing.assert_array_equal(model.classes_, np.arange(5))
    if isinstance(before, np.ndarray):
        np.testing.assert_array_equal(given, before)


def test_data_frames_are_matched_by_name():
    pd = pytest.importorskip("pandas")
    X, Y = problem()
    frame = pd.DataFrame(Y, columns=list("abcde"))
    model = MultilabelClassifier().fit(pd.DataFrame(X).rename(columns=str), frame)
    assert model.classes_.tolist() == list("abcde")
    score = model.score(pd.DataFrame(X).rename(columns=str), frame[list("edcba")])
    assert score == np.mean((model.predict(pd.DataFrame(X).rename(columns=str)) == Y).all(axis=1))
    nullable = frame.astype("Int64")
    nullable.iloc[0, 0] = pd.NA
    MultilabelClassifier().fit(X, nullable)


def test_multi_label_binarizer_upstream():
    X, _ = problem(n=6)
    sets = [{"a", "b"}, {"b"}, set(), {"a"}, {"b", "c"}, {"c"}]
    binarizer = MultiLabelBinarizer()
    model = MultilabelClassifier(C=10.0).fit(X, binarizer.fit_transform(sets))
    assert len(binarizer.inverse_transform(model.predict(X))) == 6


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([[0, 1], [2, 0]], r"y holds 2 in row 1 for the label 0"),
        ([[0, 1], [0.5, -0.1]], r"y holds -0.1 in row 1 for the label 1"),
        ([[0, 1], [np.inf, 0]], "inf in row 1"),
        ([["a", "b"], ["b", "a"]], "MultiLabelBinarizer"),
        (sp.csr_array([[0, 3], [1, 0]]), "holds 3 in row 0 for the label 1"),
        ([[0, 1]], "inconsistent numbers of samples"),
        (sp.csr_array((2, 0)), "y has 0 columns"),
        ([1, 1], "at least 2 classes"),
        (None, "requires y to be passed"),
    ],
)
def test_wrong_labels(y, message):
    with pytest.raises(ValueError, match=message):
        MultilabelClassifier().fit([[0.0], [1.0]], y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pos_weight": [1.0, 2.0]}, "pos_weight has shape"),
        ({"pos_weight": [1.0, np.nan, 1.0, 1.0, 1.0]}, "pos_weight holds nan"),
        ({"class_weight": [{}]}, "class_weight has 1 dicts for 5 labels"),
        ({"class_weight": {"a": 2.0}}, "class_weight"),
        ({"C": 0.0}, "C"),
        ({"loss": "symmetric", "label_smoothing": 0.1}, "soft targets"),
    ],
)
def test_wrong_parameters(options, message):
    X, Y = problem(n=50)
    with pytest.raises(ValueError, match=message):
        MultilabelClassifier(**options).fit(X, Y)


def test_predictions_agree():
    X, Y = problem()
    model = MultilabelClassifier().fit(X, Y)
    z, p = model.decision_function(X), model.predict_proba(X)
    np.testing.assert_allclose(z, X @ model.coef_.T + model.intercept_, rtol=1e-9)
    np.testing.assert_allclose(p, 1 / (1 + np.exp(-z)), rtol=1e-12)
    np.testing.assert_allclose(model.predict_log_proba(X), -np.logaddexp(0, -z), rtol=1e-12)
    np.testing.assert_array_equal(model.predict(X), p > 0.5)
    assert model.score(X, Y) == np.mean((model.predict(X) == Y).all(axis=1))
    far = MultilabelClassifier().fit(X, Y).predict_log_proba(1e6 * X)
    assert np.isfinite(far).all()
    with pytest.raises(NotFittedError):
        MultilabelClassifier().predict(X)
    with pytest.raises(ValueError, match="binary_log_loss"):
        model.score(X, 0.5 * Y)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_class_labels_are_fitted_one_against_the_rest(n_classes):
    X, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    X, names = X[y < n_classes], names[y < n_classes]
    model = MultilabelClassifier(tol=TIGHT).fit(X, names)
    other = OneVsRestClassifier(LogisticRegression(tol=1e-12, max_iter=10_000, solver="newton-cholesky")).fit(X, names)
    np.testing.assert_array_equal(model.classes_, other.classes_)
    np.testing.assert_array_equal(model.predict(X), other.predict(X))
    np.testing.assert_allclose(model.predict_proba(X), other.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), model.predict_proba(X))
    assert model.score(X, names) == other.score(X, names)
    assert len(model.coef_) == (1 if n_classes == 2 else 3)


@pytest.mark.parametrize("kind", ["labels", "classes", "two classes"])
def test_to_sklearn(kind):
    X, Y = problem()
    y = {"labels": Y, "classes": Y[:, 0] + Y[:, 1], "two classes": np.array(["no", "yes"])[Y[:, 0]]}[kind]
    model = MultilabelClassifier().fit(X, y)
    other = model.to_sklearn()
    np.testing.assert_array_equal(other.predict(X), model.predict(X))
    np.testing.assert_allclose(other.predict_proba(X), model.predict_proba(X), rtol=1e-9, atol=1e-12)
    assert other.multilabel_ == model.multilabel_
    assert other.score(X, y) == model.score(X, y)


def test_warm_start():
    X, Y = problem()
    model = MultilabelClassifier(warm_start=True, tol=1e-6).fit(X, Y)
    first = model.n_iter_.copy()
    model.fit(X, Y)
    assert model.n_iter_.max() <= 2 < first.max()
    with pytest.raises(ValueError, match="warm_start=True continues"):
        model.fit(X, Y[:, :3])
    with pytest.raises(ValueError, match="warm_start=True continues"):
        model.fit(X, np.arange(len(X)) % 5)


def test_early_stopping_keeps_the_best_penalty_of_each_label():
    X, Y = problem(n=300, d=40)
    X = StandardScaler().fit_transform(X)
    model = MultilabelClassifier(C=1e4, early_stopping=True).fit(X[:200], Y[:200], X_val=X[200:], y_val=Y[200:])
    for k, history in enumerate(model.history_):
        loss = xe.binary_log_loss(Y[200:], model.predict_proba(X[200:]), average=None)[k]
        assert loss == pytest.approx(history["validation_loss"].min(), rel=1e-9)
        alone = SoftmaxClassifier(C=1e4, early_stopping=True)
        alone.fit(X[:200], Y[:200, k], X_val=X[200:], y_val=Y[200:, k])
        check_same(model, k, alone, rtol=1e-3)
    held = MultilabelClassifier(C=1e4, early_stopping=True, random_state=0).fit(X, Y)
    again = MultilabelClassifier(C=1e4, early_stopping=True, random_state=0).fit(X, Y)
    np.testing.assert_array_equal(held.coef_, again.coef_)


def test_history_and_validation():
    X, Y = problem()
    model = MultilabelClassifier().fit(X[:400], Y[:400], X_val=X[400:], y_val=Y[400:])
    loss = xe.binary_log_loss(Y[400:], model.predict_proba(X[400:]), average=None)
    for k, history in enumerate(model.history_):
        assert len(history["objective"]) == model.n_iter_[k]
        assert history["objective"][-1] == pytest.approx(model.objective_[k])
        assert history["validation_loss"][-1] == pytest.approx(loss[k], rel=1e-6)


def test_max_iter_names_the_labels():
    X, Y = problem()
    with pytest.warns(ConvergenceWarning, match="max_iter=1 for the labels 0, 1"):
        model = MultilabelClassifier(max_iter=1).fit(X, Y)
    assert not model.converged_.any()


def test_verbose(capsys):
    X, Y = problem()
    MultilabelClassifier(verbose=1).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert all("converged after" in line for line in lines)


def test_labels_that_wait_for_their_turn(monkeypatch):
    """With few labels at work at a time, others take the places of those that have ended."""
    X, Y = problem(L=12)
    want = MultilabelClassifier(tol=TIGHT).fit(X, Y)
    monkeypatch.setattr(label_fits, "_BYTES_AT_WORK", 1)
    monkeypatch.setattr(label_fits, "_LEAST_AT_WORK", 3)
    got = MultilabelClassifier(tol=TIGHT).fit(X, Y)
    np.testing.assert_allclose(got.coef_, want.coef_, rtol=1e-7, atol=1e-12)


def test_one_pass_serves_all_labels(monkeypatch):
    """Labels ask together, and those that have converged ask no more."""
    X, Y = problem(L=10)
    Y[:, 0] = np.random.default_rng(0).integers(0, 2, len(X))
    asked = []
    evaluate = LabelPasses.evaluate

    def counted(self, precision, requests):
        asked.append(len(requests))
        evaluate(self, precision, requests)

    monkeypatch.setattr(LabelPasses, "evaluate", counted)
    model = MultilabelClassifier(tol=1e-6).fit(X, Y)
    evaluations = sum(history["n_evaluations"][-1] for history in model.history_)
    assert asked[0] == 10
    assert asked[-1] < 10
    assert len(asked) < 0.3 * evaluations


def test_threads_do_not_change_a_bit():
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(0)
    X = rng.standard_normal((20_000, 40))
    Y = (X[:, :8] + rng.standard_normal((20_000, 8)) > 0.5).astype(int)
    found = []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            found.append(MultilabelClassifier().fit(X, Y).coef_)
    np.testing.assert_array_equal(found[0], found[1])


def test_interrupt_keeps_what_was_found(monkeypatch):
    X, Y = problem(L=6)
    evaluate, n = LabelPasses.evaluate, [0]

    def interrupted(self, precision, requests):
        n[0] += 1
        if n[0] == 6:
            raise KeyboardInterrupt
        evaluate(self, precision, requests)

    monkeypatch.setattr(LabelPasses, "evaluate", interrupted)
    model = MultilabelClassifier(tol=TIGHT)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    assert model.coef_.shape == (6, X.shape[1])
    assert model.coef_.any()
    assert not model.converged_.any()
    assert xe.binary_log_loss(Y, model.predict_proba(X)) < 0.69


def test_errors_in_the_fit_of_a_label_are_raised():
    X, Y = problem()
    X[:, 3] *= 1e200
    with pytest.raises(ValueError, match="squares of column 3 of X overflow"):
        MultilabelClassifier().fit(X, Y)


def test_searches_pipelines_and_thresholds():
    X, Y = make_multilabel_classification(200, n_classes=4, random_state=0)
    pipe = make_pipeline(StandardScaler(), MultilabelClassifier())
    search = GridSearchCV(pipe, {"multilabelclassifier__C": [0.1, 1.0]}, scoring=xe.neg_log_loss_scorer).fit(X, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    p = cross_val_predict(pipe, X, Y, method="predict_proba")
    assert -search.best_score_ == pytest.approx(xe.binary_log_loss(Y, p), rel=0.05)
    tuned = TunedThresholdClassifierCV(MultilabelClassifier(), scoring="f1").fit(X, Y[:, 0])
    assert 0.0 < tuned.best_threshold_ < 1.0


def test_clone_and_digits():
    X, digit = load_digits(return_X_y=True)
    y = np.column_stack([digit % 2 == 0, digit > 4])
    model = clone(MultilabelClassifier(C=0.01, pos_weight=[1.0, 2.0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model.fit(X, y).score(X, y) > 0.75
