"""The search for C and l1_ratio: against fits one by one, and against LogisticRegressionCV."""

import warnings

import numpy as np
import pandas as pd
import pytest
import reference
from estimator_checks import each_check
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning, UnsetMetadataPassedError
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import (
    accuracy_score,
    get_scorer,
    get_scorer_names,
    make_scorer,
    precision_score,
    top_k_accuracy_score,
)
from sklearn.model_selection import GroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xentropy import SoftmaxClassifier, SoftmaxClassifierCV, log_loss, make_log_loss_scorer
from xentropy._path import _Walk

X, Y = load_iris(return_X_y=True)
CS = [0.01, 1.0, 100.0]
# without a warning of attributes that will change
NEW = "use_legacy_attributes" in LogisticRegressionCV().get_params()
PEER = {"use_legacy_attributes": False, "l1_ratios": (0.0,)} if NEW else {}


@each_check(SoftmaxClassifierCV(Cs=2, cv=3, tol=1e-8))
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_each_fit_is_that_of_its_rows(n_classes, weighted):
    y = np.minimum(Y, n_classes - 1)
    s = np.random.default_rng(0).random(150) if weighted else None
    clf = SoftmaxClassifierCV(Cs=CS, l1_ratios=(0.0, 0.5), cv=3, tol=1e-8).fit(X, y, s)
    rows = 1 if n_classes == 2 else 3
    assert clf.scores_.shape == clf.n_iter_.shape == (3, 2, 3)
    assert clf.coefs_paths_.shape == (3, 2, 3, rows, 5)
    for fold, (train, test) in enumerate(StratifiedKFold(3).split(X, y)):
        weights = (None, None) if s is None else (s[train], s[test])
        for i, l1_ratio in enumerate((0.0, 0.5)):
            for j, C in enumerate(CS):
                one = SoftmaxClassifier(C=C, l1_ratio=l1_ratio, tol=1e-8).fit(X[train], y[train], weights[0])
                found = clf.coefs_paths_[fold, i, j]
                np.testing.assert_allclose(found[:, :-1], one.coef_, atol=2e-4)
                loss = log_loss(y[test], one.predict_proba(X[test]), sample_weight=weights[1])
                assert clf.scores_[fold, i, j] == pytest.approx(-loss, rel=1e-4)
    mean = clf.scores_.mean(axis=0)
    i, j = np.unravel_index(mean.argmax(), mean.shape)
    assert (clf.C_, clf.l1_ratio_) == (CS[j], (0.0, 0.5)[i])
    best = SoftmaxClassifier(C=clf.C_, l1_ratio=clf.l1_ratio_, tol=1e-8).fit(X, y, s)
    np.testing.assert_allclose(clf.coef_, best.coef_, atol=1e-4)
    assert clf.objective_ == pytest.approx(best.objective_, rel=1e-9)
    assert clf.converged_
    assert "objective" in clf.history_


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
def test_scores_are_those_of_careful_fits(l1_ratio):
    X, y = load_wine(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    Cs, folds = np.logspace(-2, 4, 4), list(StratifiedKFold(3).split(X, y))
    clf = SoftmaxClassifierCV(Cs=Cs, cv=folds, l1_ratios=[l1_ratio], refit=False).fit(X, y)
    for (train, test), scores in zip(folds, clf.scores_[:, 0], strict=True):
        for C, score in zip(Cs, scores, strict=True):
            careful = SoftmaxClassifier(C=C, l1_ratio=l1_ratio, tol=1e-7, max_iter=10_000).fit(X[train], y[train])
            assert score == pytest.approx(-log_loss(y[test], careful.predict_proba(X[test])), rel=0.01)


def test_same_choice_and_layout_as_logistic_regression_cv():
    A, y = load_breast_cancer(return_X_y=True)
    A = StandardScaler().fit_transform(A)
    for data, Cs in (((A, y), 10), ((X, Y), [0.1, 1.0, 10.0, 1e3])):
        ours = SoftmaxClassifierCV(Cs=Cs, tol=1e-6).fit(*data)
        default = SoftmaxClassifierCV(Cs=Cs).fit(*data)
        assert default.C_ == ours.C_
        np.testing.assert_allclose(default.scores_, ours.scores_, rtol=0.05)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = LogisticRegressionCV(Cs=Cs, scoring="neg_log_loss", solver="newton-cholesky", tol=1e-8)
            if "use_legacy_attributes" not in theirs.get_params():
                # before 1.8 it scores three classes by other numbers than those of its own folds' predict_proba
                if len(ours.classes_) == 2:
                    assert theirs.fit(*data).C_[0] == ours.C_
                continue
            theirs.set_params(l1_ratios=(0.0,), use_legacy_attributes=False).fit(*data)
        np.testing.assert_allclose(ours.scores_, theirs.scores_, rtol=2e-3)
        np.testing.assert_array_equal(ours.Cs_, theirs.Cs_)
        np.testing.assert_array_equal(ours.l1_ratios_, theirs.l1_ratios_)
        np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=2e-3)
        assert ours.C_ == theirs.C_
        assert ours.l1_ratio_ == theirs.l1_ratio_
        assert type(ours.C_) is type(theirs.C_)
        for name in ("scores_", "coefs_paths_", "n_iter_", "Cs_", "l1_ratios_", "coef_", "intercept_"):
            assert getattr(ours, name).shape == getattr(theirs, name).shape, name


def test_without_refit_the_best_of_the_folds_are_averaged():
    clf = SoftmaxClassifierCV(Cs=CS, cv=3, refit=False).fit(X, Y)
    at = clf.scores_[:, 0].argmax(axis=1)
    assert np.mean(np.array(CS)[at]) == clf.C_
    best = clf.coefs_paths_[np.arange(3), 0, at].mean(axis=0)
    np.testing.assert_allclose(clf.coef_, best[:, :-1])
    np.testing.assert_allclose(clf.intercept_, best[:, -1])
    assert clf.predict_proba(X).shape == (150, 3)
    bare = SoftmaxClassifierCV(Cs=CS, cv=3, refit=False, fit_intercept=False).fit(X, Y)
    assert bare.coefs_paths_.shape == (3, 1, 3, 3, 4)
    np.testing.assert_array_equal(bare.intercept_, 0.0)


def each_class_left_out(n_classes):
    """Labels, and folds whose training rows lack the class of the rows that are left out."""
    y = np.minimum(Y, n_classes - 1)
    return y, [(np.flatnonzero(y != k), np.flatnonzero(y == k)) for k in range(n_classes)]


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("params", [{}, {"fit_intercept": False}, {"label_smoothing": 0.1}, {"logit_adjustment": 1.0}])
def test_a_fold_without_some_class(n_classes, params):
    y, folds = each_class_left_out(n_classes)
    for tol in (1e-2, 1e-8):  # the probability of what was not seen is 0, and does not depend on it
        for dtype in (np.float64, np.float32):
            clf = SoftmaxClassifierCV(Cs=[0.1, 10.0], cv=folds, tol=tol, **params).fit(X.astype(dtype), y)
            np.testing.assert_allclose(clf.scores_, np.log(np.finfo(dtype).eps), rtol=1e-6)
            assert np.isfinite(clf.coefs_paths_).all()
            assert np.isfinite(clf.intercept_).all()
    assert clf.score(X, y) > -0.7


def test_a_class_that_weighs_nothing_in_a_fold_is_not_seen_in_it():
    def probability(clf, X, y, sample_weight):
        return clf.predict_proba(X)[:, 0].max()

    halves = [(np.arange(0, 150, 2), np.arange(1, 150, 2))]
    weights = np.where((Y == 0) & (np.arange(150) % 2 == 0), 0.0, 1.0)
    clf = SoftmaxClassifierCV(Cs=[1.0], cv=halves, scoring=probability)
    assert clf.fit(X, Y, weights).scores_[0, 0, 0] == 0.0
    assert clf.fit(X, Y, np.ones(150)).scores_[0, 0, 0] > 0.9


def test_a_rare_class_and_one_that_no_row_has():
    rare = np.where(np.arange(150) == 3, 2, np.minimum(Y, 1))
    with pytest.warns(UserWarning, match="least populated class"):
        assert len(SoftmaxClassifierCV(Cs=[0.1, 1.0]).fit(X, rare).classes_) == 3
    soft = np.c_[0.9 * reference.one_hot(Y, 3) + 0.1 / 3, np.zeros(150)]
    clf = SoftmaxClassifierCV(Cs=[1.0], cv=3).fit(X, soft)
    assert np.all(clf.scores_ > -0.7)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "scoring", ["neg_log_loss", "neg_brier_score", "d2_log_loss_score", "top_k_accuracy", "accuracy", "f1_micro"]
)
def test_metrics_are_told_all_classes(scoring, n_classes):
    if scoring not in get_scorer_names():
        pytest.skip("scikit-learn has d2_log_loss_score as a scorer since 1.8")
    y, folds = each_class_left_out(n_classes)
    names = np.array(["a", "b", "c"])[y]
    both = [(np.arange(0, 150, 3), np.arange(1, 150, 3)), *folds]
    if scoring == "top_k_accuracy":
        scoring = make_scorer(top_k_accuracy_score, response_method="decision_function", k=1)
    clf = SoftmaxClassifierCV(Cs=[1.0], cv=both, scoring=scoring).fit(X, names)
    assert np.isfinite(clf.scores_).all()
    scorer = get_scorer(scoring)
    one = SoftmaxClassifier().fit(X[::3], names[::3])
    if not (scoring == "neg_brier_score" and n_classes == 2):  # which scikit-learn does not give for names
        assert clf.scores_[0, 0, 0] == pytest.approx(scorer(one, X[1::3], names[1::3]), rel=0.01)
        assert clf.score(X, names) == scorer(clf, X, names)
    assert np.all(clf.scores_[1:] < clf.scores_[0])
    assert np.isfinite(clf.score(X[:50], names[:50]))


def test_metrics_keep_what_they_are_told_of_classes():
    names = np.array(["bad", "good"])[np.minimum(Y, 1)]
    halves = [(np.arange(0, 150, 2), np.arange(1, 150, 2))]
    one = SoftmaxClassifier().fit(X[::2], names[::2])
    for kwargs, expected in (({}, "good"), ({"pos_label": "bad"}, "bad")):
        scorer = make_scorer(precision_score, **kwargs)
        clf = SoftmaxClassifierCV(Cs=[1.0], cv=halves, scoring=scorer).fit(X, names)
        assert clf.scores_[0, 0, 0] == precision_score(names[1::2], one.predict(X[1::2]), pos_label=expected)
        assert scorer._kwargs == kwargs  # which is the caller's


def test_soft_targets():
    soft = 0.1 / 3 + 0.9 * reference.one_hot(Y, 3)
    clf = SoftmaxClassifierCV(Cs=CS, cv=3, tol=1e-8).fit(X, soft)
    for fold, (train, test) in enumerate(StratifiedKFold(3).split(X, Y)):
        one = SoftmaxClassifier(C=100.0, tol=1e-8).fit(X[train], soft[train])
        expected = np.sum(soft[test] * one.predict_log_proba(X[test]), axis=1).mean()
        assert clf.scores_[fold, 0, 2] == pytest.approx(expected, rel=1e-5)
    assert clf.score(X, soft) == pytest.approx(np.sum(soft * clf.predict_log_proba(X), axis=1).mean())
    frame = SoftmaxClassifierCV(Cs=CS, cv=3).fit(pd.DataFrame(X), pd.DataFrame(soft, columns=["a", "b", "c"]))
    assert frame.classes_.tolist() == ["a", "b", "c"]


def test_labels_of_any_kind_and_any_scoring():
    names = np.array(["setosa", "versicolor", "virginica"])[Y]
    for y in (names, pd.Series(names), names.tolist()):
        for scoring in ("accuracy", "neg_log_loss", make_log_loss_scorer(eps=1e-3), None):
            clf = SoftmaxClassifierCV(Cs=CS, cv=3, scoring=scoring).fit(X, y)
            assert clf.classes_.tolist() == ["setosa", "versicolor", "virginica"]
            assert clf.score(X, y) == pytest.approx(
                (clf.predict(X) == names).mean() if scoring == "accuracy" else clf._scorer(clf, X, y)
            )


@pytest.mark.parametrize("values", [[0, 1], [False, True]])
def test_labels_in_an_array_of_objects(values):
    labels = np.array(values, dtype=object)[Y % 2]
    for scoring in ("accuracy", None):
        clf = SoftmaxClassifierCV(Cs=CS, cv=3, scoring=scoring).fit(X, labels)
        plain = SoftmaxClassifierCV(Cs=CS, cv=3, scoring=scoring).fit(X, np.array(values)[Y % 2])
        np.testing.assert_array_equal(clf.scores_, plain.scores_)
        assert clf.score(X, labels) == plain.score(X, np.array(values)[Y % 2])
        np.testing.assert_array_equal(clf.classes_, values)


def test_balanced_weights_are_those_of_all_rows():
    y = Y[20:]
    clf = SoftmaxClassifierCV(Cs=[1.0], cv=[(np.arange(0, 130, 2), np.arange(1, 130, 2))], class_weight="balanced")
    clf.set_params(tol=1e-6).fit(X[20:], y)
    weights = {k: 130 / (3 * np.sum(y == k)) for k in range(3)}
    one = SoftmaxClassifier(class_weight=weights).fit(X[20::2], y[::2])
    np.testing.assert_allclose(clf.coefs_paths_[0, 0, 0, :, :-1], one.coef_, atol=1e-3)


def test_workers_change_nothing():
    alone = SoftmaxClassifierCV(Cs=CS, cv=3).fit(X, Y)
    two = SoftmaxClassifierCV(Cs=CS, cv=3, n_jobs=2).fit(X, Y)
    np.testing.assert_array_equal(two.coefs_paths_, alone.coefs_paths_)
    np.testing.assert_array_equal(two.coef_, alone.coef_)


def test_metadata_is_routed():
    groups, s = np.arange(150) % 5, np.random.default_rng(0).random(150)
    with config_context(enable_metadata_routing=True):
        clf = SoftmaxClassifierCV(Cs=CS, cv=GroupKFold(5)).set_fit_request(sample_weight=True)
        clf.fit(X, Y, sample_weight=s, groups=groups)
        pipe = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), clone(clf))
        pipe.fit(X, Y, sample_weight=s, groups=groups)
        scorer = make_log_loss_scorer().set_score_request(sample_weight=False)
        unweighted = SoftmaxClassifierCV(Cs=CS, cv=GroupKFold(5), scoring=scorer).set_fit_request(sample_weight=True)
        unweighted.fit(X, Y, sample_weight=s, groups=groups)
    folds = list(GroupKFold(5).split(X, Y, groups))
    plain = SoftmaxClassifierCV(Cs=CS, cv=folds).fit(X, Y, s)
    np.testing.assert_array_equal(clf.scores_, plain.scores_)
    np.testing.assert_array_equal(unweighted.coefs_paths_, plain.coefs_paths_)
    assert not np.allclose(unweighted.scores_, plain.scores_)
    with pytest.raises(ValueError, match="groups"):
        SoftmaxClassifierCV(Cs=CS).fit(X, Y, groups=groups)


def test_score_passes_weights_to_the_scorer_as_scikit_learn_does():
    s = np.random.default_rng(0).random(150)
    y = np.roll(Y, 7)
    with config_context(enable_metadata_routing=True):
        weighted = get_scorer("accuracy").set_score_request(sample_weight=True)
        refused = get_scorer("accuracy").set_score_request(sample_weight=False)
        # before 1.8 theirs could not be in a pipeline that passes weights
        for cls, kwargs in ((SoftmaxClassifierCV, {}), (LogisticRegressionCV, {**PEER, "max_iter": 1000}))[: 1 + NEW]:
            clf = cls(Cs=[1.0], cv=3, scoring=weighted, **kwargs).set_fit_request(sample_weight=True)
            pipe = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), clf)
            pipe.fit(X, y, sample_weight=s)
            accuracy = accuracy_score(y, pipe.predict(X), sample_weight=s)
            assert pipe.score(X, y, sample_weight=s) == pytest.approx(accuracy)
            assert pipe[-1].score(pipe[0].transform(X), y, sample_weight=s) == pytest.approx(accuracy)
            pipe[-1].set_params(scoring=refused)
            with pytest.raises(TypeError, match="not routed to any object"):
                pipe.score(X, y, sample_weight=s)
            clf = cls(Cs=[1.0], cv=3, scoring="accuracy", **kwargs).fit(X, y)
            with pytest.raises((UnsetMetadataPassedError, TypeError), match="sample_weight"):
                clf.score(X, y, sample_weight=s)
        clf = SoftmaxClassifierCV(Cs=[1.0], cv=3).fit(X, y)  # the default scorer takes them
        loss = log_loss(y, clf.predict_proba(X), sample_weight=s)
        assert make_pipeline(clf).score(X, y, sample_weight=s) == pytest.approx(-loss)
    assert clf.score(X, y, s) == pytest.approx(-loss)


def test_a_path_is_followed_ahead():
    """What goes straight on with the logarithm of C is guessed exactly; of what bends, half of the bend is."""
    straight, bend = np.array([1.0, -2.0]), np.array([0.5, 3.0])

    def theta(C):
        return 7.0 + straight * np.log(C) + bend * np.log(C) ** 2

    walk = _Walk(np.zeros(2))
    for C in (0.1, 1.0):
        last, guess = walk.starts(C)
        assert guess is None
        walk.went_to(C, theta(C))
    last, guess = walk.starts(20.0)  # the line through two
    np.testing.assert_array_equal(last, theta(1.0))
    np.testing.assert_allclose(guess, theta(1.0) + (theta(1.0) - theta(0.1)) * np.log(20.0) / np.log(10.0))
    walk.went_to(20.0, theta(20.0))
    _, guess = walk.starts(50.0)
    line = theta(20.0) + (theta(20.0) - theta(1.0)) * np.log(50.0 / 20.0) / np.log(20.0)
    np.testing.assert_allclose(guess, 0.5 * (line + theta(50.0)))
    assert walk.starts(np.inf)[1] is None
    assert walk.starts(20.0)[1] is None


def test_infinite_C_and_unfinished_fits():
    clf = SoftmaxClassifierCV(Cs=[1.0, np.inf], cv=3).fit(X, np.roll(Y, 7))
    assert np.isfinite(clf.scores_).all()
    with pytest.warns(ConvergenceWarning, match=r"of the 6 fits .* max_iter=3 .* Increase max_iter"):
        SoftmaxClassifierCV(Cs=[1.0, 1e4], cv=3, max_iter=3, refit=False).fit(X, Y)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"Cs": []}, "Cs=.* one or more numbers above 0"),
        ({"Cs": [1.0, 0.0]}, "Cs=.*above 0"),
        ({"Cs": [1.0, np.nan]}, "Cs=.*above 0"),
        ({"Cs": 0}, "Cs"),
        ({"l1_ratios": [0.5, 1.5]}, r"l1_ratios=.*in \[0, 1\]"),
        ({"l1_ratios": []}, "l1_ratios"),
        ({"scoring": "best"}, "scoring"),
    ],
)
def test_wrong_parameters_are_named(params, message):
    with pytest.raises(ValueError, match=message):
        SoftmaxClassifierCV(**params).fit(X, Y)


def test_weights_that_leave_a_fold_nothing_are_named():
    s = np.r_[np.ones(50), np.zeros(100)]
    folds = [(np.arange(50, 150), np.arange(50))]
    with pytest.raises(ValueError, match="every training row of a fold"):
        SoftmaxClassifierCV(cv=folds).fit(X, Y, s)


def test_verbose_says_where_it_is(capsys):
    SoftmaxClassifierCV(Cs=CS, cv=3, verbose=1, refit=False).fit(X, Y)
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == [
        f"[xentropy] fold {i} of 3" for i in (1, 2, 3)
    ]


def test_to_sklearn_and_callbacks():
    clf = SoftmaxClassifierCV(Cs=CS, cv=3).fit(X, Y)
    np.testing.assert_allclose(clf.to_sklearn().predict_proba(X), clf.predict_proba(X))
    assert clf.to_sklearn().C == clf.C_
    callback = pytest.importorskip("sklearn.callback")
    for n_jobs in (None, 2):
        monitor = callback.ScoringMonitor(scoring="accuracy")
        search = SoftmaxClassifierCV(Cs=CS, cv=3, n_jobs=n_jobs).set_callbacks(monitor).fit(X, Y)
        np.testing.assert_array_equal(search.coef_, clf.coef_)
        accuracies = [row["accuracy"] for row in monitor.get_logs().data]
        assert len(accuracies) == 3 * (1 + len(CS)) + 2  # folds, their fits, the refit and all
        assert np.mean(clf.predict(X) == Y) in accuracies
        assert min(accuracies) < 0.9 < max(accuracies)


def test_scikit_learns_progress_bar():
    callback = pytest.importorskip("sklearn.callback")
    pytest.importorskip("rich")
    for refit in (True, False):
        clf = SoftmaxClassifierCV(Cs=CS, cv=3, refit=refit).set_callbacks(callback.ProgressBar()).fit(X, Y)
        assert clf.scores_.shape == (3, 1, 3)
