"""binary_log_loss against sklearn.metrics.log_loss of each label, and the scorer of several labels."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import make_multilabel_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import cross_validate
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import xentropy as xe
from xentropy import _binary_log_loss as module

RNG = np.random.default_rng(0)
Y = RNG.integers(0, 2, (80, 4))
P = RNG.uniform(0.01, 0.99, (80, 4))


@pytest.mark.parametrize("weight", [None, RNG.integers(0, 3, 80).astype(float)])
def test_losses_of_the_labels_are_scikit_learns(weight):
    want = [log_loss(Y[:, k], P[:, k], labels=[0, 1], sample_weight=weight) for k in range(4)]
    got = xe.binary_log_loss(Y, P, average=None, sample_weight=weight)
    np.testing.assert_allclose(got, want, rtol=1e-12)
    for average in ("macro", "micro"):
        assert xe.binary_log_loss(Y, P, average=average, sample_weight=weight) == pytest.approx(np.mean(want))


def test_it_is_the_binary_cross_entropy_of_the_logits():
    z = np.log(P / (1 - P))
    assert xe.binary_log_loss(Y, P) == pytest.approx(xe.binary_cross_entropy(Y.astype(float), z), rel=1e-12)


def test_blocks_do_not_matter(monkeypatch):
    want = xe.binary_log_loss(Y, P, average=None)
    monkeypatch.setattr(module, "_BLOCK_VALUES", 28)
    np.testing.assert_allclose(xe.binary_log_loss(Y, P, average=None), want, rtol=1e-14)


def test_missing_labels():
    partly = np.where(RNG.random(Y.shape) < 0.3, np.nan, Y)
    known = ~np.isnan(partly)
    want = np.array([log_loss(Y[known[:, k], k], P[known[:, k], k], labels=[0, 1]) for k in range(4)])
    np.testing.assert_allclose(xe.binary_log_loss(partly, P, average=None), want)
    assert xe.binary_log_loss(partly, P) == pytest.approx(want.mean())
    assert xe.binary_log_loss(partly, P, average="micro") == pytest.approx(want @ known.sum(axis=0) / known.sum())
    partly[:, 2] = np.nan
    assert np.isnan(xe.binary_log_loss(partly, P, average=None)[2])
    with pytest.warns(UserWarning, match=r"labels \[2\] of y_true are missing"):
        assert xe.binary_log_loss(partly, P) == pytest.approx(want[[0, 1, 3]].mean())
    with pytest.raises(ValueError, match="nothing to score"):
        xe.binary_log_loss(np.full_like(P, np.nan), P)


def test_soft_labels():
    t = RNG.random(Y.shape)
    want = -(t * np.log(P) + (1 - t) * np.log(1 - P)).mean()
    assert xe.binary_log_loss(t, P) == pytest.approx(want, rel=1e-12)


def test_clipping():
    assert xe.binary_log_loss([1], [0.0]) == pytest.approx(-np.log(np.finfo(float).eps))
    assert xe.binary_log_loss([1], np.zeros(1, np.float32)) == pytest.approx(-np.log(np.finfo(np.float32).eps))
    assert xe.binary_log_loss([1], [0.0], eps=0) == np.inf
    assert xe.binary_log_loss([0, 1], [0.0, 1.0], eps=0) == 0.0
    assert xe.binary_log_loss([0], [0.1], eps=0.2) == pytest.approx(-np.log(0.8))


def test_kinds_of_arguments():
    pd = pytest.importorskip("pandas")
    want = xe.binary_log_loss(Y, P)
    assert xe.binary_log_loss(sp.csr_array(Y), P) == want
    assert xe.binary_log_loss(Y.tolist(), P.tolist()) == want
    assert xe.binary_log_loss(Y, [np.column_stack([1 - p, p]) for p in P.T]) == want
    named = pd.DataFrame(Y, columns=list("abcd"))
    assert xe.binary_log_loss(named, pd.DataFrame(P, columns=list("abcd"))[list("dcba")]) == pytest.approx(want)
    with pytest.raises(ValueError, match="columns"):
        xe.binary_log_loss(named, pd.DataFrame(P, columns=list("abce")))


def test_a_row_of_weight_zero_is_not_read():
    broken, weight = P.copy(), np.ones(80)
    broken[3], weight[3] = np.nan, 0.0
    assert np.isfinite(xe.binary_log_loss(Y, broken, sample_weight=weight))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((Y, P + 1), {}, "y_proba holds .* in row 0 for the label 0"),
        ((Y, np.where(P > 0.9, np.nan, P)), {}, "y_proba holds nan"),
        ((2 * Y, P), {}, "y_true holds 2"),
        ((Y, P[:, :3]), {}, "3 columns for the 4 labels"),
        ((Y[:10], P), {}, "inconsistent numbers"),
        ((Y, P), {"average": "weighted"}, "average='weighted'"),
        ((Y, P), {"eps": 0.7}, "eps=0.7"),
        ((Y, P), {"sample_weight": -np.ones(80)}, "Negative"),
    ],
)
def test_wrong_arguments(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        xe.binary_log_loss(*arguments, **options)


CLASSIFIERS = [
    xe.MultilabelClassifier(),
    make_pipeline(StandardScaler(), xe.MultilabelClassifier()),
    MultiOutputClassifier(LogisticRegression(max_iter=1000)),
    OneVsRestClassifier(LogisticRegression(max_iter=1000)),
    RandomForestClassifier(n_estimators=5, random_state=0),
    MLPClassifier(max_iter=5, random_state=0),
]


@pytest.mark.parametrize("classifier", CLASSIFIERS, ids=lambda c: type(c).__name__)
def test_the_scorer_knows_classifiers_of_several_labels(classifier):
    X, y = make_multilabel_classification(150, n_classes=3, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier.fit(X, y)
    p = classifier.predict_proba(X)
    want = -xe.binary_log_loss(y, p)
    assert xe.neg_log_loss_scorer(classifier, X, y) == pytest.approx(want)
    weight = np.random.default_rng(0).random(150)
    got = xe.make_log_loss_scorer(eps=1e-3)(classifier, X, y, sample_weight=weight)
    assert got == pytest.approx(-xe.binary_log_loss(y, p, sample_weight=weight, eps=1e-3))


def test_the_scorer_beside_others_and_with_missing_labels():
    X, y = make_multilabel_classification(150, n_classes=3, random_state=0)
    scores = cross_validate(
        xe.MultilabelClassifier(), X, y, scoring={"loss": xe.neg_log_loss_scorer, "accuracy": "accuracy"}
    )
    assert np.isfinite(scores["test_loss"]).all()
    model, partly = xe.MultilabelClassifier().fit(X, y), y.astype(float)
    partly[::2, 0], partly[:, 1] = np.nan, np.nan
    assert np.isfinite(xe.neg_log_loss_scorer(model, X, partly))


def test_distributions_are_scored_as_before():
    from sklearn.datasets import load_iris

    X, y = load_iris(return_X_y=True)
    clf = xe.SoftmaxClassifier().fit(X, y)
    t = np.eye(3)[y]
    assert xe.neg_log_loss_scorer(clf, X, t) == pytest.approx(xe.neg_log_loss_scorer(clf, X, y))
    one_vs_rest = xe.MultilabelClassifier().fit(X, y)
    assert xe.neg_log_loss_scorer(one_vs_rest, X, t) == pytest.approx(-xe.log_loss(y, one_vs_rest.predict_proba(X)))
