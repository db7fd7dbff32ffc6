"""The report and the displays of several labels: each label as a report of its own two classes."""

import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import MultiOutputClassifier

import xentropy as xe

RNG = np.random.default_rng(0)
N = 400
P = RNG.uniform(0.05, 0.95, (N, 3))
Y = (RNG.random((N, 3)) < P).astype(float)
PARTLY = np.where(RNG.random(Y.shape) < 0.2, np.nan, Y)
NAMES = ["a", "b", "c"]


def report(y=PARTLY, p=P, **options):
    return xe.cross_entropy_report(y, p, multilabel=True, output_dict=True, target_names=NAMES, **options)


@pytest.mark.parametrize("weight", [None, RNG.integers(0, 3, N).astype(float)])
def test_each_label_is_reported_as_two_classes(weight):
    found = report(sample_weight=weight)
    for k, name in enumerate(NAMES):
        known = ~np.isnan(PARTLY[:, k])
        s = None if weight is None else weight[known]
        alone = xe.cross_entropy_report(PARTLY[known, k], P[known, k], sample_weight=s, output_dict=True)
        label = found["labels"][name]
        for key in ("log_loss", "prior_entropy", "skill", "support", "accuracy"):
            assert label[key] == pytest.approx(alone[key])
        assert label["brier_score"] == pytest.approx(alone["brier_score"] / 2)
        for key in ("recall", "precision"):
            assert label[key] == pytest.approx(alone["classes"]["1.0"][key])
        assert label["base_rate"] == pytest.approx(np.average(PARTLY[known, k], weights=s))
    assert found["log_loss"] == pytest.approx(xe.binary_log_loss(PARTLY, P, sample_weight=weight))
    micro = xe.binary_log_loss(PARTLY, P, sample_weight=weight, average="micro")
    assert found["micro_log_loss"] == pytest.approx(micro)
    json.dumps(found)


def test_text_and_findings():
    p = P.copy()
    p[:, 1] = np.clip(p[:, 1] ** 3, 0.0, 1.0)  # wrong
    text = xe.cross_entropy_report(PARTLY, p, multilabel=True, target_names=NAMES, digits=3)
    assert "base rate" in text
    assert "b: " in text.split("Findings")[1]
    assert {finding["label"] for finding in report(p=p)["findings"]} == {"b"}
    assert "Findings: none" in xe.cross_entropy_report(PARTLY, P, multilabel=True)
    assert max(map(len, text.splitlines())) <= 150


def test_a_label_without_rows_has_no_numbers():
    y = PARTLY.copy()
    y[:, 1] = np.nan
    found = report(y)
    assert found["labels"]["b"]["log_loss"] is None
    assert found["log_loss"] == pytest.approx(np.nanmean(xe.binary_log_loss(y, P, average=None)))
    assert " - " in xe.cross_entropy_report(y, P, multilabel=True)
    with pytest.raises(ValueError, match="nothing to report"):
        report(np.full_like(P, np.nan))


def test_a_constant_label_has_no_skill():
    y = Y.copy()
    y[:, 0] = 0.0
    assert report(y)["labels"]["a"]["skill"] is None


def test_many_labels_are_summed_up():
    p = RNG.random((50, 60))
    text = xe.cross_entropy_report(RNG.integers(0, 2, (50, 60)), p, multilabel=True)
    assert "and 20 labels with smaller losses" in text


def test_wrong_names():
    with pytest.raises(ValueError, match="target_names has 2 names"):
        xe.cross_entropy_report(Y, P, multilabel=True, target_names=["a", "b"])
    with pytest.raises(ValueError, match="'a' names two labels"):
        xe.cross_entropy_report(Y, P, multilabel=True, target_names=["a", "a", "b"])


def test_an_indicator_without_the_word_says_how():
    with pytest.raises(ValueError, match="MultilabelClassifier"):
        xe.cross_entropy_report(Y, P)


@pytest.fixture
def fitted():
    X = RNG.standard_normal((N, 4))
    y = (X[:, :3] + RNG.standard_normal((N, 3)) > 0).astype(int)
    return xe.MultilabelClassifier().fit(X, y), X, y


def test_displays(fitted):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    model, X, y = fitted
    p = model.predict_proba(X)
    one = xe.ReliabilityDisplay.from_estimator(model, X, y, pos_label=1)
    same = xe.ReliabilityDisplay.from_predictions(y[:, 1], p[:, 1], pos_label=1)
    np.testing.assert_allclose(one.prob_true, same.prob_true)
    again = xe.ReliabilityDisplay.from_predictions(y, p, multilabel=True, pos_label=1)
    np.testing.assert_allclose(again.prob_pred, one.prob_pred)
    loss = xe.LossByClassDisplay.from_estimator(model, X, y, kind="distribution")
    np.testing.assert_allclose(loss.mean_loss, xe.binary_log_loss(y, p, average=None))
    np.testing.assert_allclose(loss.loss_share, loss.mean_loss / loss.mean_loss.sum())
    shares = xe.LossByClassDisplay.from_predictions(PARTLY, P, multilabel=True, target_names=NAMES)
    known = (~np.isnan(PARTLY)).sum(axis=0)
    np.testing.assert_allclose(shares.support_share, known / known.sum())
    other = MultiOutputClassifier(LogisticRegression()).fit(X, y)
    xe.LossByClassDisplay.from_estimator(other, X, y)
    pyplot.close("all")


def test_displays_ask_for_a_label(fitted):
    pytest.importorskip("matplotlib")
    model, X, y = fitted
    with pytest.raises(ValueError, match=r"pos_label is None.*\[0, 1, 2\]"):
        xe.ReliabilityDisplay.from_estimator(model, X, y)
    with pytest.raises(ValueError, match="pos_label=7 is none of the labels"):
        xe.ReliabilityDisplay.from_estimator(model, X, y, pos_label=7)
