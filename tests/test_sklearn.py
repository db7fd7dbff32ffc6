"""Check what scikit-learn, and tools that support it, expect of an estimator."""

import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp
from estimator_checks import each_check
from sklearn import config_context
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_iris
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import get_tags

import xentropy as xe
from xentropy import SoftmaxClassifier, SoftmaxClassifierCV

X, Y = load_iris(return_X_y=True)


@each_check(SoftmaxClassifier())
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def test_tags():
    assert is_classifier(SoftmaxClassifier())
    tags = get_tags(SoftmaxClassifier())
    assert tags.input_tags.sparse
    assert tags.target_tags.required


def test_pipeline_and_grid_search():
    search = GridSearchCV(
        make_pipeline(StandardScaler(), SoftmaxClassifier()),
        {"softmaxclassifier__C": [0.1, 1.0], "softmaxclassifier__label_smoothing": [0.0, 0.1]},
        scoring="neg_log_loss",
    ).fit(X, Y)
    assert search.best_score_ > -0.2
    assert cross_val_score(search.best_estimator_, X, Y).mean() > 0.9


def test_sample_weight_is_routed():
    s = np.where(Y == 0, 0.0, 1.0)
    with config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipe = make_pipeline(scaler, SoftmaxClassifier().set_fit_request(sample_weight=True))
        pipe.fit(X, Y, sample_weight=s)
    scaled = StandardScaler().fit_transform(X)
    np.testing.assert_allclose(pipe[-1].coef_, SoftmaxClassifier().fit(scaled, Y, s).coef_)


@pytest.mark.parametrize("two", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_to_sklearn_is_equivalent(two, dtype):
    y = Y == 1 if two else Y
    data = X.astype(dtype)
    clf = SoftmaxClassifier(C=0.5).fit(data, y)
    model = clf.to_sklearn()
    assert type(model) is LogisticRegression
    np.testing.assert_array_equal(model.predict(data), clf.predict(data))
    rtol = 1e-12 if dtype is np.float64 else 1e-5
    np.testing.assert_allclose(model.predict_proba(data), clf.predict_proba(data), rtol=rtol, atol=rtol * 1e-3)
    model.coef_[:] = 0
    assert clf.coef_.any()


@pytest.mark.parametrize("two", [False, True])
def test_onnx_export(two):
    skl2onnx = pytest.importorskip("skl2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    y = Y == 1 if two else Y
    clf = SoftmaxClassifier().fit(X, y.astype(int))
    model = skl2onnx.to_onnx(clf.to_sklearn(), X[:1].astype(np.float32), options={"zipmap": False})
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    label, proba = session.run(None, {session.get_inputs()[0].name: X.astype(np.float32)})
    np.testing.assert_array_equal(label, clf.predict(X))
    np.testing.assert_allclose(proba, clf.predict_proba(X), atol=1e-5)


def run_onnx(model, X, **options):
    skl2onnx = pytest.importorskip("skl2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    exported = skl2onnx.to_onnx(model, X[:1], **options)
    session = onnxruntime.InferenceSession(exported.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: X})


@pytest.mark.parametrize("two", [False, True])
@pytest.mark.parametrize("estimator", [SoftmaxClassifier(), SoftmaxClassifierCV(Cs=2, cv=3)])
def test_onnx_export_of_the_classifier_itself(estimator, two):
    data = X.astype(np.float32)
    names = np.where(Y == 1, "b", "a") if two else np.array(["a", "b", "c"])[Y]
    pipe = make_pipeline(StandardScaler(), estimator).fit(data, names)
    bare = clone(estimator).fit(data, names)
    search = GridSearchCV(clone(estimator), {"tol": [1e-5]}, cv=2).fit(data, names)
    for model in (pipe, bare, search):
        label, proba = run_onnx(model, data)
        np.testing.assert_array_equal(label, model.predict(data))
        assert sorted(proba[0]) == np.unique(names).tolist()
        expected = model.predict_proba(data)
        np.testing.assert_allclose([list(row.values()) for row in proba], expected, atol=2e-6)
    _, proba = run_onnx(pipe, data.astype(np.float64), options={"zipmap": False})
    np.testing.assert_allclose(proba, pipe.predict_proba(data.astype(np.float64)), atol=1e-12)
    _, logits = run_onnx(bare, data, options={id(bare): {"zipmap": False, "raw_scores": True}})
    np.testing.assert_allclose(logits[:, 1] if two else logits, bare.decision_function(data), rtol=1e-4, atol=1e-5)


LOOK = "assert importlib.util.find_spec('skl2onnx')"  # which finds it without importing it


@pytest.mark.parametrize("order", ["import skl2onnx, xentropy", f"import xentropy\n{LOOK}\nimport skl2onnx"])
def test_onnx_converters_are_registered_whichever_is_imported_first(order):
    pytest.importorskip("skl2onnx")
    code = (
        f"import importlib.util\n{order}\n"
        "from skl2onnx._supported_operators import sklearn_operator_name_map as names\n"
        "assert names[xentropy.SoftmaxClassifier] == 'XentropySoftmaxClassifier', names\n"
        "assert names[xentropy.SoftmaxClassifierCV] == 'XentropySoftmaxClassifierCV', names\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_importing_loads_no_optional_package():
    code = "import sys, xentropy\nassert not {'skl2onnx', 'onnx', 'matplotlib'} & sys.modules.keys()"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "params", [{}, {"l1_ratio": 0.5}, {"l1_ratio": 1.0}, {"C": np.inf}, {"class_weight": "balanced"}]
)
def test_to_sklearn_has_the_same_objective(params):
    data = StandardScaler().fit_transform(X)
    y = np.minimum(Y, 1) if np.isinf(params.get("C", 1.0)) else Y
    y = np.where(np.arange(150) % 7 == 0, 1 - y, y) if np.isinf(params.get("C", 1.0)) else y
    clf = SoftmaxClassifier(tol=1e-9, max_iter=10_000, **params).fit(data, y)
    model = clf.to_sklearn()
    for name in ("class_weight", "C"):
        assert getattr(model, name) == getattr(clf, name)
    again = clone(model).set_params(tol=1e-7).fit(data, y)
    np.testing.assert_allclose(again.coef_, clf.coef_, atol=2e-4)
    weights = {0: 1.0, 1: 2.0, 2: 3.0}
    search = SoftmaxClassifierCV(Cs=[0.1, 1.0], l1_ratios=[0.5], cv=3, class_weight=weights).fit(data, Y)
    model = search.to_sklearn()
    assert (model.C, model.l1_ratio, model.class_weight) == (search.C_, 0.5, weights)


@pytest.mark.parametrize("two", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
def test_coefficients_set_by_hand_predict(two, sparse):
    peer = LogisticRegression(max_iter=1000).fit(X, Y == 1 if two else Y)
    data = sp.csr_matrix(X) if sparse else X
    for intercept in (peer.intercept_, 0.0, np.zeros(1)):
        ours, theirs = SoftmaxClassifier(), LogisticRegression()
        for model in (ours, theirs):
            model.coef_, model.intercept_, model.classes_ = peer.coef_, intercept, peer.classes_
        for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
            expected = getattr(theirs, method)(data)
            np.testing.assert_allclose(getattr(ours, method)(data), expected, rtol=1e-7, atol=1e-12)
        assert ours.score(data, peer.predict(X)) == theirs.score(data, peer.predict(X))
        np.testing.assert_allclose(ours.to_sklearn().predict_proba(data), theirs.predict_proba(data))
        np.testing.assert_allclose(ours.sparsify().predict_proba(data), theirs.predict_proba(data), atol=1e-12)
        with pytest.raises(ValueError, match=r"X has 3 features, .* is expecting 4 features as input\."):
            ours.predict(data[:, :3])
        with pytest.raises(ValueError, match="NaN"):
            ours.predict(np.full((2, 4), np.nan))
    ours = SoftmaxClassifier()
    ours.coef_, ours.intercept_, ours.classes_ = peer.coef_.tolist(), peer.intercept_.tolist(), peer.classes_.tolist()
    np.testing.assert_array_equal(ours.predict(data), peer.predict(data))


def test_coefficients_set_by_hand_are_continued_from():
    fitted = SoftmaxClassifier(tol=1e-9).fit(X, Y)
    clf = SoftmaxClassifier(tol=1e-6, warm_start=True)
    clf.coef_, clf.intercept_, clf.classes_ = fitted.coef_, fitted.intercept_, fitted.classes_
    assert clf.fit(X, Y).n_iter_[0] < fitted.n_iter_[0]
    clf = SoftmaxClassifier(warm_start=True)
    clf.coef_, clf.intercept_, clf.classes_ = fitted.coef_, 0.0, fitted.classes_
    np.testing.assert_allclose(clf.fit(X, Y).coef_, fitted.coef_, atol=1e-2)


def test_stacking_and_iterations_are_as_in_scikit_learn():
    stack = StackingClassifier([("tree", DecisionTreeClassifier(random_state=0)), ("ours", SoftmaxClassifier())])
    stack.set_params(final_estimator=SoftmaxClassifier(), cv=3).fit(X, Y)
    assert stack.score(X, Y) > 0.9
    ours, theirs = SoftmaxClassifier().fit(X, Y).n_iter_, LogisticRegression(max_iter=1000).fit(X, Y).n_iter_
    assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype) == ((1,), np.int32)
    assert SoftmaxClassifierCV(Cs=2, cv=3).fit(X, Y).n_iter_.dtype == np.int32


class Columns:
    """Two rows of probabilities with names of their columns."""

    shape = (2, 2)

    def __init__(self, columns):
        self.columns = columns

    def __len__(self):
        return 2

    def __array__(self, dtype=None, copy=None):
        return np.full((2, 2), 0.5, dtype=dtype)


@pytest.mark.parametrize(
    "fail",
    [
        lambda i, f, s: SoftmaxClassifier().fit(X[:3], [i, i, i]),
        lambda i, f, s: SoftmaxClassifier().fit(X[:3], [s, s, s]),
        lambda i, f, s: SoftmaxClassifier().fit(X[:2], np.array([s, i], dtype=object)),
        lambda i, f, s: SoftmaxClassifier().fit(X[:3], [0, 1, 2], X_val=X[:1], y_val=np.array([s], dtype=object)),
        lambda i, f, s: SoftmaxClassifier().fit(X[:3], [0, 1, 2], X_val=X[:1], y_val=[i]),
        lambda i, f, s: SoftmaxClassifier(class_weight={i: f}).fit(X, Y),
        lambda i, f, s: SoftmaxClassifier(class_weight={np.int64(0): -f}).fit(X, Y),
        lambda i, f, s: SoftmaxClassifier(class_weight={np.int64(k): 0 * f for k in range(3)}).fit(X, Y),
        lambda i, f, s: SoftmaxClassifier(class_weight={np.int64(0): 0 * f}).fit(X, Y, X_val=X[:5], y_val=Y[:5]),
        lambda i, f, s: SoftmaxClassifier(C=f * 1e-323).fit(X, Y),
        lambda i, f, s: SoftmaxClassifierCV(Cs=np.array([f * 1e-323])).fit(X, Y),
        lambda i, f, s: SoftmaxClassifierCV(Cs=[-f]).fit(X, Y),
        lambda i, f, s: SoftmaxClassifierCV(l1_ratios=np.array([f])).fit(X, Y),
        lambda i, f, s: SoftmaxClassifier(loss=xe.SymmetricCrossEntropy(alpha=f), label_smoothing=0.1).fit(X, Y),
        lambda i, f, s: xe.log_loss([0, i], [0.5, 0.5], labels=[np.int64(0), np.int64(1)]),
        lambda i, f, s: xe.log_loss(np.array([s, "b"], dtype=object), [0.5, 0.5], labels=[s, "c"]),
        lambda i, f, s: xe.log_loss([0, 1], [0.5, 0.5], labels=[i, i, np.int64(0)]),
        lambda i, f, s: xe.log_loss(np.array([s, s], dtype=object), [0.5, 0.5]),
        lambda i, f, s: xe.log_loss(np.array([s, np.str_("b")], dtype=object), np.full((2, 3), 1 / 3)),
        lambda i, f, s: xe.log_loss(np.array([s], dtype=object), [[0.5, 0.5]], labels=np.array([s], dtype=object)),
        lambda i, f, s: xe.cross_entropy_report([0, 1], [0.5, 0.5], target_names=[s]),
        lambda i, f, s: xe.log_loss([0, 1], [0.5, 0.5], eps=f),
        lambda i, f, s: xe.log_loss([0, 1], [0.5, 0.5], normalize=i),
        lambda i, f, s: xe.log_loss(i, [0.5, 0.5]),
        lambda i, f, s: xe.log_loss([0, 1], f),
        lambda i, f, s: xe.log_loss([0, 1], [0.5, 0.5], labels=i),
        lambda i, f, s: xe.cross_entropy([0], [[1.0, 2.0]], label_smoothing=f),
        lambda i, f, s: xe.cross_entropy([0], [[1.0, 2.0]], ignore_index=f),
        lambda i, f, s: xe.cross_entropy([0], [[1.0, 2.0]], reduction=s),
        lambda i, f, s: xe.cross_entropy([0], [[1.0, 2.0]], loss=s),
        lambda i, f, s: xe.cross_entropy([i], [[1.0, 2.0]]),
        lambda i, f, s: xe.cross_entropy([0], np.array([[1.0, s]], dtype=object)),
        lambda i, f, s: xe.cross_entropy([0], [[1.0, 2.0]], class_weight={i: f}),
        lambda i, f, s: xe.log_loss(["b", "c"], Columns([i, i])),
        lambda i, f, s: xe.log_loss(["b", "c"], Columns([(i, s), (s, i)])),
        lambda i, f, s: xe.cross_entropy_report([0, 1], [0.5, 0.5], digits=-i),
        lambda i, f, s: xe.ReliabilityDisplay.from_predictions([0, 1], [0.5, 0.5], n_bins=-i),
        lambda i, f, s: xe.ReliabilityDisplay.from_predictions([0, 1], [0.5, 0.5], pos_label=i),
        lambda i, f, s: xe.neg_log_loss_scorer(SoftmaxClassifier().fit(X, Y), X[:2], [s, s]),
    ],
)
def test_messages_hold_no_numpy_types(fail):
    with pytest.raises((ValueError, TypeError), match=r".") as raised:
        fail(np.int64(7), np.float64(1.5), np.str_("a"))
    assert "np." not in str(raised.value)
    assert "array(" not in str(raised.value)


def test_skops_round_trip(tmp_path):
    sio = pytest.importorskip("skops.io")
    clf = SoftmaxClassifier(class_weight={0: 2.0}).fit(X, Y)
    sio.dump(clf, tmp_path / "model.skops")
    unknown = sio.get_untrusted_types(file=tmp_path / "model.skops")
    assert set(unknown) <= {"xentropy._classifier.SoftmaxClassifier"}
    again = sio.load(tmp_path / "model.skops", trusted=unknown)
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    sio.dump(clf.to_sklearn(), tmp_path / "peer.skops")
    assert sio.get_untrusted_types(file=tmp_path / "peer.skops") == []
