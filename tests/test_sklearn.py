"""Check what scikit-learn, and tools that support it, expect of an estimator."""

import numpy as np
import pytest
from estimator_checks import each_check
from sklearn import config_context
from sklearn.base import is_classifier
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from xentropy import SoftmaxClassifier

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
