"""Compare the report with naive sums over rows, its parts with independent fits, and its findings with known faults."""

import doctest
import json
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.tree import DecisionTreeClassifier

from xentropy import SoftmaxClassifier, cross_entropy_report, log_loss_samples
from xentropy._diagnostics import calibration
from xentropy._diagnostics import report as report_module

NAMES = ["bird", "cat", "dog", "eel"]


def draw(rng, proba):
    """A label for each row, drawn from its probabilities, which are therefore right."""
    return np.minimum((proba.cumsum(axis=1) < rng.random((len(proba), 1))).sum(axis=1), proba.shape[1] - 1)


def right_rows(seed=0, n=400, n_classes=4, concentration=0.5):
    rng = np.random.default_rng(seed)
    proba = rng.dirichlet(np.full(n_classes, concentration), size=n)
    return draw(rng, proba), proba


def naive(target, proba, weight):
    """The numbers of the report that are sums over rows, computed row by row from a target of the shape (n, K)."""
    n_classes = proba.shape[1]
    eps = np.finfo(proba.dtype).eps
    mass, loss, held = np.zeros(n_classes), np.zeros(n_classes), np.zeros(n_classes)
    brier = hit = confidence = entropy = 0.0
    for t, p, s in zip(target, proba, weight, strict=True):
        for k in range(n_classes):
            mass[k] += s * t[k]
            loss[k] -= s * t[k] * np.log(min(max(p[k], eps), 1 - eps))
            held[k] += s * t[k] * p[k]
            outcome = np.eye(n_classes)[k]
            brier += s * t[k] * ((p - outcome) ** 2).sum()
            entropy -= s * t[k] * np.log(t[k]) if t[k] else 0.0
        hit += s * t[p.argmax()]
        confidence += s * p.max()
    total = weight.sum()
    prior = mass[mass > 0] / total
    prior_entropy = -(prior * np.log(prior)).sum()
    return {
        "log_loss": loss.sum() / total,
        "prior_entropy": prior_entropy,
        "target_entropy": entropy / total,
        "skill": 1 - loss.sum() / total / prior_entropy,
        "perplexity": np.exp(loss.sum() / total),
        "brier_score": brier / total,
        "accuracy": hit / total,
        "mean_confidence": confidence / total,
        "support": total,
        "classes": [
            {"support": m, "mean_loss": a / m, "loss_share": a / loss.sum(), "mean_proba": h / m}
            for m, a, h in zip(mass, loss, held, strict=True)
        ],
    }


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_numbers_are_those_of_the_naive_sums(dtype, soft, weighted):
    rng = np.random.default_rng(3)
    y, proba = right_rows(n=300)
    proba = proba.astype(dtype)
    target = rng.dirichlet(np.ones(4), size=300) if soft else np.eye(4)[y]
    weight = rng.integers(0, 4, size=300).astype(float) if weighted else np.ones(300)
    report = cross_entropy_report(
        target if soft else y, proba, sample_weight=weight if weighted else None, target_names=NAMES, output_dict=True
    )
    expected = naive(target, proba, weight)
    rtol = 1e-10 if dtype == np.float64 else 1e-5
    for name, by_class in zip(NAMES, expected.pop("classes"), strict=True):
        got = report["classes"][name]
        assert {k: got[k] for k in by_class} == pytest.approx(by_class, rel=rtol)
    assert {k: report[k] for k in expected} == pytest.approx(expected, rel=rtol, abs=1e-15)


def test_numbers_are_scikit_learns():
    y, proba = right_rows()
    report = cross_entropy_report(y, proba, output_dict=True)
    assert report["log_loss"] == pytest.approx(log_loss(y, proba), rel=1e-12)
    assert report["accuracy"] == accuracy_score(y, proba.argmax(axis=1))


def test_the_dict_holds_plain_numbers():
    def check(value):
        if isinstance(value, dict):
            for entry in value.values():
                check(entry)
        elif isinstance(value, list):
            for entry in value:
                check(entry)
        else:
            assert type(value) in (int, float, str, bool, type(None)), type(value)

    P = softmax(np.random.default_rng(0).normal(size=(50, 3)), axis=1)
    for y in (np.arange(50) % 3, P):
        check(cross_entropy_report(y, P, sample_weight=np.arange(50.0), output_dict=True))


def test_decomposition_adds_up_and_recalibrates_as_isotonic_regression_does():
    y, proba = right_rows(n=500)
    rng = np.random.default_rng(1)
    proba = rng.multinomial(64, proba) / 64  # this makes exact ties
    weight = rng.random(500)
    report = cross_entropy_report(y, proba, sample_weight=weight, target_names=NAMES, output_dict=True)
    events = {"top": (report["decomposition"], proba.max(axis=1), proba.argmax(axis=1) == y)}
    for k, name in enumerate(NAMES):
        events[name] = report["classes"][name]["decomposition"], proba[:, k], y == k
    eps = np.finfo(float).eps
    for d, p, hit in events.values():
        recalibrated = IsotonicRegression(y_min=0, y_max=1).fit(p, hit, sample_weight=weight).predict(p)
        rate = np.full(500, np.average(hit, weights=weight))
        losses = [
            -np.average(np.log(np.where(hit, q, 1 - q).clip(eps)), weights=weight) for q in (p, recalibrated, rate)
        ]
        assert d["log_loss"] == pytest.approx(losses[0], abs=1e-12)
        assert d["miscalibration"] == pytest.approx(losses[0] - losses[1], abs=1e-12)
        assert d["discrimination"] == pytest.approx(losses[2] - losses[1], abs=1e-12)
        assert d["uncertainty"] == pytest.approx(losses[2], abs=1e-12)
        assert d["miscalibration"] - d["discrimination"] + d["uncertainty"] == pytest.approx(d["log_loss"], abs=1e-12)
        assert min(d["miscalibration"], d["discrimination"]) >= 0


def test_decomposition_of_perfect_and_of_constant_probabilities():
    hit = np.array([False, True, True, False])
    perfect = calibration.decompose(hit.astype(float), hit, None, 1e-12)
    assert perfect.as_dict() == pytest.approx(
        {"log_loss": 0, "miscalibration": 0, "discrimination": np.log(2), "uncertainty": np.log(2)}, abs=1e-11
    )
    constant = calibration.decompose(np.full(4, 0.5), hit, None, 1e-12)
    assert constant.as_dict() == pytest.approx(
        {"log_loss": np.log(2), "miscalibration": 0, "discrimination": 0, "uncertainty": np.log(2)}, abs=1e-15
    )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ties", [False, True])
def test_bins_have_equal_mass_whatever_the_order_of_the_rows(ties, weighted):
    rng = np.random.default_rng(5)
    p = rng.random(600).round(1 if ties else 9)
    hit = rng.random(600) < p
    weight = rng.integers(1, 5, 600).astype(float) if weighted else None
    w = np.ones(600) if weight is None else weight
    bins = calibration.equal_mass_bins(p, hit, weight, 7)
    shuffled = rng.permutation(600)
    again = calibration.equal_mass_bins(
        p[shuffled], hit[shuffled], None if weight is None else weight[shuffled], 7
    )
    for field in ("mean_p", "mean_hit", "mass", "size"):
        np.testing.assert_allclose(getattr(again, field), getattr(bins, field), rtol=1e-12)
    largest_tie = max(w[p == value].sum() for value in p) / w.sum()
    assert np.all(np.abs(np.cumsum(bins.mass) * 7 - np.arange(1, len(bins.mass) + 1))[:-1] <= 7 * largest_tie) or ties
    assert np.all(np.diff(bins.mean_p) > 0)
    assert bins.mass.sum() == pytest.approx(1)
    assert bins.mass @ bins.mean_p == pytest.approx(np.average(p, weights=w))
    assert bins.mass @ bins.mean_hit == pytest.approx(np.average(hit, weights=w))


def test_bins_of_three_distinct_values_keep_ties_together():
    p = np.repeat([0.1, 0.5, 0.9], [3, 50, 7])
    hit = np.arange(60) % 2 == 0
    bins = calibration.equal_mass_bins(p, hit, None, 6)
    np.testing.assert_allclose(bins.mean_p * bins.size, np.array([bins.mean_p * bins.size])[0])
    assert set(bins.mean_p.round(12)) <= {0.1, 0.5, 0.9, round((3 * 0.1 + 50 * 0.5) / 53, 12)}
    assert calibration.equal_mass_bins(np.full(9, 0.3), np.ones(9, bool), None, 4).mass.tolist() == [1.0]


def test_calibration_error_of_planted_bias():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.6, 0.9, size=200_000)
    hit = rng.random(200_000) < p - 0.1
    assert calibration.equal_mass_bins(p, hit, None, 20).calibration_error == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("sharpen", [0.4, 1.0, 3.0])
def test_temperature_is_the_minimum(sharpen, soft):
    rng = np.random.default_rng(0)
    y, proba = right_rows(n=900)
    proba = proba**sharpen / (proba**sharpen).sum(axis=1, keepdims=True)
    weight = rng.random(900)
    target = 0.8 * np.eye(4)[y] + 0.05 if soft else y
    distribution = target if soft else np.eye(4)[y]

    def loss(temperature):
        z = np.log(proba) / temperature
        return np.average(np.log(np.exp(z).sum(axis=1)) - (distribution * z).sum(axis=1), weights=weight)

    best = minimize_scalar(loss, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-8})
    found = calibration.best_temperature(proba, target, weight)
    assert found.value == pytest.approx(best.x, rel=1e-3)
    assert found.saving == pytest.approx(loss(1.0) - best.fun, abs=1e-7)


def test_temperature_of_separated_rows_stays_finite():
    p = np.array([[0.9, 0.1], [0.2, 0.8]] * 4)
    assert calibration.best_temperature(p, np.array([0, 1] * 4), None).value == pytest.approx(1 / 32)
    assert calibration.best_temperature(p, np.array([1, 0] * 4), None).value == pytest.approx(32)


@pytest.mark.parametrize("p", [np.full((50, 3), 1 / 3), np.eye(3)[np.arange(50) % 3], np.full((1, 3), 1 / 3)])
def test_no_temperature_where_any_fits_as_well(p):
    y = np.arange(len(p)) % 3
    assert calibration.best_temperature(p, y, None) is None
    report = cross_entropy_report(y, p, labels=[0, 1, 2], output_dict=True)
    assert report["temperature"] == {"value": None, "log_loss": None}
    assert "temperature - any fits about as well" in " ".join(cross_entropy_report(y, p, labels=[0, 1, 2]).split())


def test_temperature_is_that_of_the_rows_it_can_change():
    y, proba = right_rows(n=3000)
    right = cross_entropy_report(y, proba, output_dict=True)
    proba = np.vstack([proba, np.tile([0.0, 0.1, 0.3, 0.6], (60, 1))])
    report = cross_entropy_report(np.append(y, np.zeros(60, int)), proba, output_dict=True)
    assert report["temperature"]["value"] == right["temperature"]["value"] == pytest.approx(1, abs=0.05)
    saving = right["log_loss"] - right["temperature"]["log_loss"]
    assert report["log_loss"] - report["temperature"]["log_loss"] == pytest.approx(saving * 3000 / 3060, rel=1e-9)
    names = {f["name"] for f in report["findings"]}
    assert "confidently wrong" in names
    assert not names & {"overconfident", "underconfident"}


# Findings -------------------------------------------------------------------------------------------------------------


def found(*args, **kwargs):
    return {f["name"] for f in cross_entropy_report(*args, output_dict=True, **kwargs)["findings"]}


@pytest.mark.parametrize("n_classes", [2, 3, 30])
@pytest.mark.parametrize("n", [10, 100, 1000, 10_000])
def test_no_finding_where_probabilities_are_right(n, n_classes):
    for seed in range(6):
        for concentration in (0.03, 0.5, 5.0):
            y, proba = right_rows(seed, n, n_classes, concentration)
            assert found(y, proba, labels=np.arange(n_classes)) == set(), (seed, concentration)


@pytest.mark.parametrize("seed", range(3))
def test_no_finding_in_a_model_that_was_fitted_well(seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(6000, 5))
    logits = X @ rng.normal(size=(5, 3))
    y = draw(rng, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    clf = SoftmaxClassifier().fit(X[:4000], y[:4000])
    assert found(y[4000:], clf.predict_proba(X[4000:])) == set()


@pytest.mark.parametrize("n", [30, 300, 3000])
def test_no_finding_in_soft_targets_that_are_met(n):
    target = np.random.default_rng(n).dirichlet(np.ones(5) / 2, size=n)
    assert found(target, target) == set()


# Names of the tests' weights: none; of features; of classes, which sampled rows for their class; and of both.
WEIGHTS = ["none", "features", "classes", "both"]


def right_weighted_rows(kind, seed, n, n_classes):
    """Rows of right probabilities, and the weights that undo how they were sampled."""
    rng = np.random.default_rng(seed)
    proba = rng.dirichlet(np.full(n_classes, 0.5), size=10 * n)
    y = draw(rng, proba)
    kept = np.ones(len(y))
    if kind in ("features", "both"):
        kept *= np.exp(-proba[:, 0])
    if kind in ("classes", "both"):
        kept *= np.where(y == 0, 0.15, 1.0)
    rows = np.flatnonzero(rng.random(len(y)) < kept)[:n]
    return y[rows], proba[rows], None if kind == "none" else 1 / kept[rows]


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("n", [100, 3000])
def test_no_finding_where_weights_undo_sampling(n, n_classes, kind):
    for seed in range(10):
        y, proba, weight = right_weighted_rows(kind, seed, n, n_classes)
        assert found(y, proba, labels=range(n_classes), sample_weight=weight) == set(), seed


def test_findings_count_weights():
    """Rows of a rare class that was sampled twenty times as often are as rare as they should be."""
    rng = np.random.default_rng(0)
    p = rng.beta(0.05, 5, size=60_000)
    y = (rng.random(60_000) < p).astype(int)
    kept = np.flatnonzero((y == 1) | (rng.random(60_000) < 0.05))
    y, p, weight = y[kept], p[kept], np.where(y[kept] == 1, 1.0, 20.0)
    assert {"confidently wrong", "miscalibrated"} <= found(y, p)
    assert found(y, p, sample_weight=weight) <= {"neglected class"}
    wrong = np.where(p < 0.05, p / 50, p)
    report = cross_entropy_report(y, wrong, sample_weight=weight, output_dict=True)
    message = next(f["message"] for f in report["findings"] if f["name"] == "confidently wrong")
    times, q = weight[(y == 1) & (wrong <= 0.001)].sum() / weight.sum(), 0.001
    assert f"Rows with {100 * times:.2g}% of the weight have a true class with p <= {q:g}" in message


def tilted(proba, factors):
    tilted = proba * factors
    return tilted / tilted.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_classes", [2, 5])
def test_miscalibration_that_no_temperature_mends_is_found(n_classes, weighted):
    y, proba = right_rows(n=4000, n_classes=n_classes, concentration=1.0)
    weight = np.random.default_rng(0).uniform(0.5, 1, 4000) if weighted else None
    wrong = tilted(proba, np.where(np.arange(n_classes) == 1, 2.0, 1.0))
    report = cross_entropy_report(y, wrong, sample_weight=weight, output_dict=True)
    assert [f["name"] for f in report["findings"]] == ["miscalibrated"]
    message = report["findings"][0]["message"]
    assert "the class '1'" in message
    assert f"{np.average(wrong[:, 1], weights=weight):.1%}" in message
    assert f"{np.average(y == 1, weights=weight):.1%} of the rows" in message


def test_miscalibration_of_the_top_label_beside_its_noise():
    """As of a linear model of prices: the calibration error is 0.085 where right probabilities give 0.015."""
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.4, 0.9, size=10_000)
    frequency = confidence + np.where((10 * confidence).astype(int) % 2, 0.075, -0.075)
    proba = np.column_stack([confidence, *[(1 - confidence) / 4] * 4])
    y = np.where(rng.random(10_000) < frequency, 0, rng.integers(1, 5, size=10_000))
    report = cross_entropy_report(y, proba, output_dict=True)
    assert report["calibration_error"] == pytest.approx(0.085, abs=0.01)
    assert report["calibration_noise"] == pytest.approx(0.015, abs=0.003)
    assert [f["name"] for f in report["findings"]] == ["miscalibrated"]
    assert "calibration error of the top label is 0.08" in report["findings"][0]["message"]
    assert f"about {report['calibration_noise']:.4f} if p is right" in cross_entropy_report(y, proba)


def test_a_temperature_that_saves_little_is_found_where_it_mends_a_miscalibration():
    y, proba = right_rows(n=20_000, concentration=5.0)
    timid = tilted(proba**0.8, 1)
    report = cross_entropy_report(y, timid, output_dict=True)
    assert report["temperature"]["log_loss"] > 0.98 * report["log_loss"]
    assert report["calibration_error"] > 0.02
    assert [f["name"] for f in report["findings"]] == ["underconfident"]


def test_what_a_temperature_mends_is_one_finding():
    y, proba = right_rows(n=20_000)
    assert found(y, tilted(proba**2, 1)) == {"confidently wrong", "overconfident"}
    both = tilted(proba**2, [1, 3, 0.3, 1])
    report = cross_entropy_report(y, both, output_dict=True)
    message = next(f["message"] for f in report["findings"] if f["name"] == "miscalibrated")
    assert message.startswith(f"At the temperature of {report['temperature']['value']:.3g}, too, ")


@pytest.mark.parametrize("n", [20, 200, 2000])
@pytest.mark.parametrize("a", [0.05, 0.5, 5.0])
def test_calibration_noise_and_limit_are_those_of_simulated_hits(n, a):
    rng = np.random.default_rng(0)
    p = rng.beta(a, a, size=n)
    bins = [calibration.equal_mass_bins(p, rng.random(n) < p, None, calibration.auto_bins(n)) for _ in range(2000)]
    errors = [b.calibration_error for b in bins]
    # a bin is computed as if its rows had one probability, which is exact for narrow bins
    assert np.mean(errors) <= 1.05 * bins[0].calibration_noise
    assert np.mean(errors) >= (0.7 if n > 20 else 0.5) * bins[0].calibration_noise
    assert np.mean(np.array(errors) > bins[0].calibration_limit(n, -np.log(0.05))) <= 0.05
    assert bins[0].calibration_limit(n, 0.0) >= np.mean(errors)


def test_a_class_that_the_model_does_not_know_comes_first():
    y, proba = right_rows(n=2000)
    proba = np.column_stack([proba, np.zeros(2000)])
    y[:100] = 4
    report = cross_entropy_report(y, proba, target_names=[*NAMES, "fox"], output_dict=True)
    assert [f["name"] for f in report["findings"]] == ["unknown class"]
    assert "The class 'fox' has 5.00% of the rows, and p = 0 in every row" in report["findings"][0]["message"]
    soft = np.eye(5)[y] * 0.9 + 0.02
    assert cross_entropy_report(soft, proba, output_dict=True)["findings"][0]["name"] == "unknown class"
    assert found([1, 1], [[1.0, 0.0], [1.0, 0.0]], labels=[0, 1]) == {"unknown class"}


@pytest.mark.parametrize(
    ("loss", "C", "name", "advice"),
    [
        ("cross_entropy", 1e-4, "underconfident", r"a larger C"),
        ("focal", 1e3, "underconfident", r"loss='focal', which is not proper"),
        ("generalized", 1e3, "overconfident", r"not proper \(loss='generalized'"),
    ],
)
def test_advice_of_confidence_names_the_penalty_and_the_loss(loss, C, name, advice):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(6000, 4))
    logits = X @ rng.normal(size=(4, 3))
    y = draw(rng, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    clf = SoftmaxClassifier(C=C, loss=loss).fit(X[:3000], y[:3000])
    report = cross_entropy_report(y[3000:], clf.predict_proba(X[3000:]), output_dict=True)
    finding = next(f for f in report["findings"] if f["name"] == name)
    assert re.search(advice, finding["advice"])


def test_mislabelled_rows_are_found():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, size=2000)
    proba = np.full((2000, 3), 0.0005)
    proba[np.arange(2000), y] = 0.999
    assert found(y, proba) == set() or "underconfident" in found(y, proba)  # each row is right
    y = draw(rng, proba)
    assert found(y, proba) == set()
    y[:20] = (y[:20] + 1) % 3
    report = cross_entropy_report(y, proba, output_dict=True)
    finding = next(f for f in report["findings"] if f["name"] == "confidently wrong")
    assert "p <= 0.001" in finding["message"]
    assert "labels" in finding["advice"]
    assert {r["row"] for r in report["costliest_rows"]} <= set(range(20)) | set(
        np.flatnonzero(proba[np.arange(2000), y] < 0.01)
    )


def test_probability_zero_of_the_true_class_is_always_reported():
    y, proba = right_rows(n=1000)
    proba[7] = 0.0
    proba[7, (y[7] + 1) % 4] = 1.0
    report = cross_entropy_report(y, proba, output_dict=True)
    message = report["findings"][0]["message"]
    assert "1 row has p = 0 for the true class. An infinite loss is counted as -log(2.2e-16) = 36.04" in message
    assert report["costliest_rows"][0]["row"] == 7


def test_an_overgrown_tree_is_saturated():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1200, 3))
    y = (X[:, 0] + rng.normal(size=1200) > 0).astype(int)
    tree = DecisionTreeClassifier(random_state=0).fit(X[:600], y[:600])
    names = found(y[600:], tree.predict_proba(X[600:]))
    assert {"saturated", "worse than guessing", "confidently wrong"} <= names
    assert "overconfident" not in names  # its probabilities are 0 and 1, and stay so at any temperature


def test_guessing_the_frequencies_is_not_worse_than_guessing():
    y = np.random.default_rng(0).choice(3, size=500, p=[0.6, 0.3, 0.1])
    learnt_elsewhere = np.tile([0.57, 0.32, 0.11], (500, 1))
    assert found(y, learnt_elsewhere) == set()
    assert "worse than guessing" in found(y, np.tile([0.1, 0.3, 0.6], (500, 1)))


@pytest.mark.parametrize(("power", "name"), [(2.0, "overconfident"), (0.5, "underconfident")])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_wrong_temperature_is_found_and_put_right(power, name, weighted):
    y, proba = right_rows(n=3000)
    weight = np.random.default_rng(2).random(3000) if weighted else None
    tempered = proba**power / (proba**power).sum(axis=1, keepdims=True)
    report = cross_entropy_report(y, tempered, sample_weight=weight, output_dict=True)
    assert name in {f["name"] for f in report["findings"]}
    assert report["temperature"]["value"] == pytest.approx(power, rel=0.1)
    assert report["temperature"]["log_loss"] < report["log_loss"]


def test_a_neglected_class_is_found():
    rng = np.random.default_rng(0)
    y = (rng.random(2000) < 0.03).astype(int)
    p = np.where(y == 1, 0.08, 0.02) * rng.uniform(0.5, 1.5, size=2000)
    report = cross_entropy_report(y, p, target_names=["ham", "spam"], output_dict=True)
    finding = next(f for f in report["findings"] if f["name"] == "neglected class")
    assert "'spam' is 3." in finding["message"]
    assert "class_weight='balanced'" in finding["advice"]


def test_each_finding_has_its_rule_and_a_way_out_in_the_text():
    y = np.arange(200) % 2
    proba = np.eye(2)[1 - y]
    report = cross_entropy_report(y, proba, output_dict=True)
    text = " ".join(cross_entropy_report(y, proba).split())
    assert len(report["findings"]) >= 3
    for finding in report["findings"]:
        assert all(" ".join(finding[part].split()) in text for part in ("message", "rule", "advice"))


def test_costliest_rows_are_those_of_the_largest_weighted_loss():
    y, proba = right_rows(n=300)
    weight = np.random.default_rng(1).lognormal(size=300) * (np.arange(300) % 3 > 0)
    cost = weight * log_loss_samples(y, proba)
    rows = cross_entropy_report(y, proba, sample_weight=weight, output_dict=True)["costliest_rows"]
    assert [r["row"] for r in rows] == np.argsort(-cost)[:5].tolist()
    for r in rows:
        assert r["cost"] == pytest.approx(cost[r["row"]])
        assert r["weight"] == weight[r["row"]]
        assert r["index"] is None
    text = cross_entropy_report(y, proba, sample_weight=weight)
    assert re.search(rf"\n +{rows[0]['row']} +{rows[0]['weight']:.4g} +{rows[0]['cost']:.4f} ", text)
    assert "weight" not in cross_entropy_report(y, proba)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("soft", [False, True])
def test_labels_of_rows_are_shown(soft, weighted):
    y, proba = right_rows(n=50)
    weight = np.arange(50) % 2 + 0.0 if weighted else None
    index = pd.Index([f"id {k}" for k in np.random.default_rng(0).permutation(50)])
    named = pd.DataFrame(np.eye(4)[y], index=index) if soft else pd.Series(y, index=index)
    report = cross_entropy_report(named, proba, sample_weight=weight, output_dict=True)
    for r in report["costliest_rows"]:
        assert r["index"] == index[r["row"]]
        assert re.search(rf"\n +{r['row']} +{r['index']} ", cross_entropy_report(named, proba, sample_weight=weight))
    json.dumps(report, allow_nan=False)
    split = pd.Series(y, index=pd.date_range("2026-01-01", periods=50))
    first = cross_entropy_report(split, proba, output_dict=True)["costliest_rows"][0]
    assert first["index"] == str(split.index[first["row"]])
    for unlabelled in (y, y.tolist(), pd.Series(y)):
        assert "index" not in cross_entropy_report(unlabelled, proba)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("soft", [False, True])
def test_recall_precision_and_confusions(soft, weighted):
    rng = np.random.default_rng(0)
    y, proba = right_rows(n=400)
    weight = rng.random(400) if weighted else None
    target = rng.dirichlet(np.ones(4), size=400) if soft else np.eye(4)[y]
    w = np.ones(400) if weight is None else weight
    confusion = np.zeros((4, 4))
    for t, k, s in zip(target, proba.argmax(axis=1), w, strict=True):
        confusion[:, k] += s * t
    given = target if soft else y
    report = cross_entropy_report(given, proba, sample_weight=weight, target_names=NAMES, output_dict=True)
    for k, name in enumerate(NAMES):
        assert report["classes"][name]["recall"] == pytest.approx(confusion[k, k] / confusion[k].sum())
        assert report["classes"][name]["precision"] == pytest.approx(confusion[k, k] / confusion[:, k].sum())
    wrong = [(confusion[a, b], a, b) for a in range(4) for b in range(4) if a != b]
    for c, (mass, a, b) in zip(report["confusions"], sorted(wrong, key=lambda c: (-c[0], *c[1:]))[:3], strict=True):
        assert (c["true_class"], c["predicted_class"]) == (NAMES[a], NAMES[b])
        assert c["support"] == pytest.approx(mass)
        assert c["share"] == pytest.approx(mass / confusion[a].sum())
    text = cross_entropy_report(given, proba, sample_weight=weight, target_names=NAMES)
    assert text.index("Largest confusions") < text.index("Rows that cost most")


def test_no_confusions_where_all_is_right():
    y, _ = right_rows(n=50)
    assert cross_entropy_report(y, np.eye(4)[y], output_dict=True)["confusions"] == []
    assert "confusions" not in cross_entropy_report(y, np.eye(4)[y])


def test_small_numbers_are_not_shown_as_zero():
    text = cross_entropy_report([0, 1, 1, 0], [3e-5, 1.0, 0.9, 0.2])
    assert re.search(r" 0 +3e-05 +0 +1\.0000 ", text)  # a loss
    text = cross_entropy_report([1, 1, 1, 0], [3e-5, 1.0, 0.9, 0.2])
    assert re.search(r" 0 +10\.4143 +1 +3e-05 ", text)  # a probability


# Inputs ---------------------------------------------------------------------------------------------------------------


def test_weights_count_as_repetitions_and_zero_as_absence():
    y, proba = right_rows(n=200)
    weight = np.random.default_rng(0).integers(0, 3, size=200)
    weighted = cross_entropy_report(y, proba, sample_weight=weight, output_dict=True)
    rows = np.repeat(np.arange(200), weight)
    repeated = cross_entropy_report(y[rows], proba[rows], output_dict=True)
    for key in ("log_loss", "brier_score", "accuracy", "prior_entropy", "support", "decomposition", "temperature"):
        assert weighted[key] == pytest.approx(repeated[key], rel=1e-6), key
    assert all(weight[r["row"]] > 0 for r in weighted["costliest_rows"])


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_weights_of_any_scale(scale):
    y, proba = right_rows(n=100)
    weight = np.random.default_rng(0).random(100)
    one, scaled = (cross_entropy_report(y, proba, sample_weight=w, output_dict=True) for w in (weight, scale * weight))
    for key in ("log_loss", "calibration_error", "decomposition", "brier_score", "accuracy"):
        assert scaled[key] == pytest.approx(one[key], rel=1e-9), key


def test_names_of_several_lines_stay_on_one():
    text = cross_entropy_report([0, 1], [0.4, 0.9], target_names=["the\nham", "the\tspam"])
    assert "  the ham " in text
    assert "  the spam " in text


def test_scaled_weights_change_nothing_but_support():
    y, proba = right_rows(n=200)
    one = cross_entropy_report(y, proba, output_dict=True)
    seven = cross_entropy_report(y, proba, sample_weight=np.full(200, 7.0), output_dict=True)
    assert seven["support"] == 7 * one["support"]
    assert seven["n_bins"] == one["n_bins"]
    assert seven["calibration_error"] == pytest.approx(one["calibration_error"])
    assert [f["name"] for f in seven["findings"]] == [f["name"] for f in one["findings"]]


def test_strings_frames_and_one_column():
    y, proba = right_rows(n=100)
    plain = cross_entropy_report(y, proba, target_names=NAMES)
    labels = np.array(NAMES)[y]
    assert cross_entropy_report(labels, proba) == plain
    named = pd.DataFrame(proba, columns=NAMES)
    assert cross_entropy_report(pd.Series(labels), named) == plain
    assert cross_entropy_report(pd.Series(labels), named[["eel", "bird", "dog", "cat"]]) == plain
    assert cross_entropy_report(pd.Series(labels), pd.DataFrame(proba)) == plain
    assert cross_entropy_report(pd.Series(labels, dtype="category"), proba) == plain
    assert cross_entropy_report(labels.tolist(), proba.tolist()) == plain
    binary = cross_entropy_report(y > 1, proba[:, 2:].sum(axis=1), output_dict=True)
    both = np.column_stack([proba[:, :2].sum(axis=1), proba[:, 2:].sum(axis=1)])
    assert binary["log_loss"] == pytest.approx(cross_entropy_report(y > 1, both, output_dict=True)["log_loss"])
    assert list(binary["classes"]) == ["False", "True"]


def test_soft_targets_name_their_floor():
    target = np.random.default_rng(0).dirichlet(np.ones(3), size=50)
    text = cross_entropy_report(target, target)
    report = cross_entropy_report(target, target, output_dict=True)
    assert report["log_loss"] == pytest.approx(report["target_entropy"])
    assert "floor" in text
    assert "mean entropy of the targets, the least loss" in text
    assert "floor" not in cross_entropy_report(target.argmax(axis=1), target)


def test_columns_of_soft_targets_name_the_classes():
    target, proba = (np.random.default_rng(seed).dirichlet(np.ones(3), size=50) for seed in (0, 1))
    plain = cross_entropy_report(target, proba, target_names=["dog", "cat", "eel"])
    named = pd.DataFrame(target, columns=["dog", "cat", "eel"])
    assert cross_entropy_report(named, proba) == plain
    assert cross_entropy_report(named, pd.DataFrame(proba, columns=named.columns)[["eel", "dog", "cat"]]) == plain
    assert cross_entropy_report(target, pd.DataFrame(proba, columns=named.columns)) == plain


def test_a_class_without_rows_has_a_dash_and_warns_of_nothing():
    y, proba = right_rows(n=100)
    y = y % 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = cross_entropy_report(y, proba, labels=range(4), target_names=NAMES)
        report = cross_entropy_report(y, proba, labels=range(4), target_names=NAMES, output_dict=True)
    eel = next(line for line in text.splitlines() if line.split()[:1] == ["eel"])
    assert eel.split() == ["eel", "0", "-", "0.0000", "-", "-", "0.0000"]
    assert report["classes"]["eel"]["mean_loss"] is None
    json.dumps(report, allow_nan=False)


def test_one_class_that_is_certain():
    report = cross_entropy_report([1, 1, 1], [[0.0, 1.0]] * 3, labels=[0, 1], output_dict=True)
    assert report["skill"] is None
    assert report["log_loss"] == pytest.approx(0, abs=1e-15)
    assert report["findings"] == []
    json.dumps(report, allow_nan=False)


def test_one_row():
    json.dumps(cross_entropy_report(["a"], [[0.3, 0.7]], labels=["a", "b"], output_dict=True), allow_nan=False)


def test_inputs_are_not_modified():
    y, proba = right_rows(n=50)
    weight = np.ones(50)
    for a in (y, proba, weight):
        a.flags.writeable = False
    cross_entropy_report(y, proba, sample_weight=weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target_names": ["a", "b"]}, "target_names has 2 names, but there are 4 classes"),
        ({"target_names": ["a", "b", "a", "c"]}, "'a' names two classes"),
        ({"digits": -1}, "digits=-1"),
        ({"digits": 2.5}, r"digits=2\.5"),
        ({"sample_weight": np.full(50, -1.0)}, "sample_weight"),
        ({"sample_weight": np.zeros(50)}, "zero"),
        ({"labels": [0, 1, 2]}, "labels"),
        ({"y_proba": np.full((50, 4), 2.0)}, "greater than 1"),
        ({"y_proba": np.full((50, 4), np.nan)}, "NaN"),
        ({"y_true": np.zeros(49, int)}, "inconsistent|only one label"),
    ],
)
def test_errors_name_the_argument(change, message):
    y, proba = right_rows(n=50)
    with pytest.raises(ValueError, match=message):
        cross_entropy_report(**{"y_true": y, "y_proba": proba, **change})


# Text -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 20, 21, 100])
def test_text_is_aligned_and_short(n_classes):
    y, proba = right_rows(n=1500, n_classes=n_classes)
    names = [f"the class of things whose number is {k}" for k in range(n_classes)]
    text = cross_entropy_report(y, proba, labels=range(n_classes), target_names=names)
    lines = text.splitlines()
    table = lines[: next(i for i, line in enumerate(lines) if line.lstrip().startswith("all ")) + 1]
    assert len({len(line) for line in table if line}) == 1
    assert max(map(len, lines)) <= 80
    assert len(lines) < 60
    if n_classes > 20:
        assert f"{n_classes - 20} other classes" in text
        shares = [float(line.split()[-4]) for line in table[2:22]]
        assert shares == sorted(shares, reverse=True)
        assert float(table[22].split()[-4]) == pytest.approx(1 - sum(shares), abs=0.003)
    for k in range(min(n_classes, 20)):
        if n_classes <= 20:
            assert f"mber is {k}"[-9:] in text


def test_examples_of_the_docstrings_run():
    assert doctest.testmod(report_module).failed == 0


def test_wide_characters_keep_the_tables_aligned():
    text = cross_entropy_report([0, 1, 1], [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]], target_names=["東京", "Rome"])
    lines = text.splitlines()
    assert lines[2].index("1") - lines[3].index("2") == -2  # two characters take four columns
    assert lines[3].startswith("  Rome  ")
    assert lines[2].startswith("  東京  ")
