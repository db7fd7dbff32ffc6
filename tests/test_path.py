"""Early stopping: a path of penalties, from W = 0 to C, and which of its steps is kept."""

import warnings
from functools import cache

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from problems import cancer, digits, independent, labels, log_normal, standardised_cancer, text
from sklearn.datasets import load_iris, load_wine, make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

import xentropy._classifier
from xentropy import FocalLoss, GeneralizedCrossEntropy, LossCurveDisplay, SoftmaxClassifier, cross_entropy
from xentropy._objective import Objective


def split(X, y):
    """Every other row to fit, and the rest to validate on."""
    return X[::2], y[::2], {"X_val": X[1::2], "y_val": y[1::2]}


def shuffled(X, y):
    order = np.random.default_rng(0).permutation(len(y))
    return split(X[order], y[order])


def first_half(X, y):
    half = len(y) // 2
    return X[:half], y[:half], {"X_val": X[half:], "y_val": y[half:]}


def heavy_tails():
    rng = np.random.default_rng(5)
    X = rng.standard_t(1.5, size=(500, 30))
    return X, labels(np.arctan(X), 2, 2.0, rng)


def raw_units():
    rng = np.random.default_rng(6)
    X = rng.standard_normal((500, 30))
    return X * 10.0 ** rng.uniform(-2.0, 2.0, 30), labels(X[:, :10], 2, 2.0, rng)


def noise():
    rng = np.random.default_rng(7)
    return rng.standard_normal((300, 50)), rng.integers(3, size=300)


def standardised_wine():
    X, y = load_wine(return_X_y=True)
    return StandardScaler().fit_transform(X), y


def few_rows_of_text():
    X, y = text(300, 1500, 15, 2)
    return sp.csr_matrix(X), y


PROBLEMS = {
    "few of many features": lambda: first_half(*make_classification(400, 200, n_informative=5, random_state=0)),
    "wrong labels": lambda: first_half(
        *make_classification(1000, 100, n_informative=10, n_classes=4, flip_y=0.2, random_state=1)
    ),
    "cancer": lambda: split(*standardised_cancer()),
    "cancer, raw": lambda: split(*cancer()),
    "iris": lambda: shuffled(*load_iris(return_X_y=True)),
    "wine": lambda: split(*standardised_wine()),  # whose classes are separated
    "wine, raw": lambda: shuffled(*load_wine(return_X_y=True)),
    "digits": lambda: shuffled(digits()[0][:600], digits()[1][:600]),
    "text": lambda: first_half(*few_rows_of_text()),
    "log-normal": lambda: first_half(*log_normal(600, 30, 3, steep=4.0)),
    "heavy tails": lambda: first_half(*heavy_tails()),
    "raw units": lambda: first_half(*raw_units()),
    "noise": lambda: first_half(*noise()),
    "many rows": lambda: first_half(*independent(4000, 10, 3)),
}


def validation_loss(clf, X_val, y_val, sample_weight_val=None):
    Y = reference.one_hot(y_val, len(clf.classes_)) if np.ndim(y_val) == 1 else y_val
    z = clf.decision_function(X_val)
    log_p = reference.log_softmax(z if z.ndim == 2 else np.column_stack([np.zeros_like(z), z]))
    return float(np.average(-np.sum(Y * log_p, axis=1), weights=sample_weight_val))


def binary_loss(y, z, loss):
    return cross_entropy(y, np.column_stack([np.zeros_like(z), z]), loss=loss)


def stopped(X, y, validation, **options):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*no better than the shares")
        return SoftmaxClassifier(early_stopping=True, **options).fit(X, y, **validation)


def interrupt_after(monkeypatch, n_evaluations):
    n = 0

    class Interrupted(Objective):
        def __call__(self, theta, precision="float64"):
            nonlocal n
            n += 1
            if n == n_evaluations + 2:
                raise KeyboardInterrupt
            return super().__call__(theta, precision)

    monkeypatch.setattr(xentropy._classifier, "Objective", Interrupted)


@cache
def best_of_13(name, l1_ratio):
    """The least validation loss of fits with 13 values of C, which are not those of the path to 1e6."""
    X, y, validation = PROBLEMS[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fits = (SoftmaxClassifier(C=C, l1_ratio=l1_ratio).fit(X, y) for C in 1.5 * np.logspace(-6, 6, 13))
        return min(validation_loss(clf, **validation) for clf in fits)


@pytest.mark.parametrize("l1_ratio", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("name", PROBLEMS)
def test_early_stopping_finds_about_the_best_C(name, l1_ratio):
    X, y, validation = PROBLEMS[name]()
    best = best_of_13(name, l1_ratio)
    for C in (1e6, np.inf):
        clf = stopped(X, y, validation, C=C, l1_ratio=l1_ratio)
        curve = clf.history_["validation_loss"]
        assert curve.min() <= min(1.05 * best, curve[0])
        assert validation_loss(clf, **validation) == pytest.approx(curve.min(), rel=1e-9)


@pytest.mark.parametrize("loss", [FocalLoss(), GeneralizedCrossEntropy()], ids=str)
def test_early_stopping_of_losses_that_are_not_convex(loss):
    X, y, validation = PROBLEMS["few of many features"]()
    clf = stopped(X, y, validation, C=1e6, loss=loss)
    curve = clf.history_["validation_loss"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for C in (0.01, 0.1, 1.0, 1e6):
            alone = SoftmaxClassifier(C=C, loss=loss).fit(X, y)
            logits = (alone.decision_function(validation["X_val"]), clf.decision_function(validation["X_val"]))
            alone_loss, loss_kept = (binary_loss(validation["y_val"], z, loss) for z in logits)
            assert loss_kept == pytest.approx(curve.min(), rel=1e-9)
            assert loss_kept <= 1.05 * alone_loss


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_early_stopping_keeps_the_least_validation_loss(soft, weighted):
    X, y, validation = PROBLEMS["few of many features"]()
    if weighted:
        validation["sample_weight_val"] = np.random.default_rng(1).random(len(validation["y_val"]))
    if soft:
        y, validation["y_val"] = (0.1 + 0.8 * reference.one_hot(t, 2) for t in (y, validation["y_val"]))
    clf = stopped(X, y, validation, C=1e6, n_iter_no_change=4)
    curve = clf.history_["validation_loss"]
    assert np.argmin(curve) == len(curve) - 1 - 4
    assert validation_loss(clf, **validation) == pytest.approx(curve.min(), rel=1e-9)
    assert not clf.converged_


@pytest.mark.parametrize("C", [1e6, np.inf])
def test_history_tells_each_step(C):
    X, y, validation = PROBLEMS["digits"]()
    clf = stopped(X, y, validation, C=C)
    history = clf.history_
    assert set(history) == {"objective", "loss", "gradient_norm", "n_evaluations", "validation_loss", "C"}
    n_steps = len(history["C"]) - 1
    assert all(len(values) == n_steps + 1 for values in history.values())
    assert n_steps < clf.n_iter_[0] < 200
    assert history["C"][0] == 0.0
    assert np.isnan(history["gradient_norm"][0])
    np.testing.assert_allclose(history["C"][2:] / history["C"][1:-1], 10.0**0.5)
    assert history["loss"][0] == pytest.approx(np.log(10.0), rel=0.01)
    assert 0.95 * history["loss"][0] <= history["loss"][1] < history["loss"][0]
    assert np.all(np.diff(history["objective"]) < 0.0)
    assert np.all(np.diff(history["n_evaluations"]) > 0)
    best = np.argmin(history["validation_loss"])
    assert clf.objective_ == pytest.approx(history["objective"][best], rel=1e-12)
    at_best = SoftmaxClassifier(C=history["C"][best], tol=1e-8).fit(X, y, **validation)
    assert history["validation_loss"][best] == pytest.approx(at_best.history_["validation_loss"][-1], rel=0.01)


def test_a_path_that_reaches_its_end_is_a_fit():
    X, y, validation = PROBLEMS["many rows"]()
    for C in (1e-4, 1.0, np.inf):
        clf, alone = stopped(X, y, validation, C=C), SoftmaxClassifier(C=C).fit(X, y)
        assert clf.history_["C"][-1] == C
        assert clf.converged_ == (np.argmin(clf.history_["validation_loss"]) == len(clf.history_["C"]) - 1)
        assert clf.history_["objective"][-1] == pytest.approx(alone.objective_, rel=1e-7)
    assert stopped(X, y, validation, C=1e-4).converged_
    # where the penalty no longer matters there are no more steps
    assert len(stopped(X, y, validation, C=1e12, n_iter_no_change=100).history_["C"]) < 12


def rare_columns():
    """Columns of which each is in four rows: to learn them by heart raises the loss on other rows."""
    rng = np.random.default_rng(8)
    X = np.hstack([rng.standard_normal((24_000, 3)), np.zeros((24_000, 150))])
    X[rng.integers(len(X), size=600), 3 + np.repeat(np.arange(150), 4)] = 1.0
    return X, labels(X[:, :3], 2, 1.0, rng)


@pytest.mark.parametrize("l1_ratio", [0.0, 1.0])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_the_end_is_the_only_step_where_rows_are_many(n_classes, l1_ratio):
    X, y, validation = first_half(*independent(24_000, 10, n_classes))
    clf = stopped(X, y, validation, C=10.0, l1_ratio=l1_ratio)
    assert clf.history_["C"].tolist() == [0.0, 10.0]
    assert clf.converged_
    alone = SoftmaxClassifier(C=10.0, l1_ratio=l1_ratio).fit(X, y)
    np.testing.assert_array_equal(clf.coef_, alone.coef_)
    assert clf.n_iter_ == alone.n_iter_
    fits = (SoftmaxClassifier(C=C, l1_ratio=l1_ratio).fit(X, y) for C in np.logspace(-4, 4, 9))
    losses = (validation_loss(fit, **validation) for fit in fits)
    assert clf.history_["validation_loss"].min() <= 1.02 * min(losses)


def test_many_rows_that_say_little_of_some_columns_have_a_path():
    """There are rows enough for each coefficient, so that the end is looked at first, but it is not taken."""
    X, y, validation = first_half(*rare_columns())
    clf = stopped(X, y, validation, C=1e6, max_iter=10_000)
    curve = clf.history_["validation_loss"]
    assert len(curve) > 5
    assert curve.min() < 0.9 * validation_loss(SoftmaxClassifier(C=1e6).fit(X, y), **validation)
    losses = (validation_loss(SoftmaxClassifier(C=C).fit(X, y), **validation) for C in np.logspace(-4, 2, 7))
    assert curve.min() <= 1.05 * min(losses)


@pytest.mark.parametrize("n_interrupted", [1, 4])
def test_an_interrupt_in_the_only_step_leaves_the_start(monkeypatch, n_interrupted):
    X, y, validation = first_half(*independent(24_000, 10, 2))
    interrupt_after(monkeypatch, n_interrupted)
    clf = SoftmaxClassifier(early_stopping=True)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X, y, **validation)
    assert clf.history_["C"].tolist() == [0.0]
    assert not clf.coef_.any()
    assert not clf.converged_


@pytest.mark.parametrize("l1_ratio", [0.0, 1.0])
@pytest.mark.parametrize(("unit", "weight"), [(1e150, 1e150), (1e-140, 1e-20), (1e-3, 1e300), (1e3, 1e-300)])
def test_a_path_begins_within_float64(unit, weight, l1_ratio):
    X, y, validation = split(*independent(200, 3, 2))
    clf = SoftmaxClassifier(early_stopping=True, l1_ratio=l1_ratio, C=1e-3 / weight)
    validation["X_val"] = validation["X_val"] * unit
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of the features in these units hardly matter
        warnings.simplefilter("error", RuntimeWarning)
        clf.fit(X * unit, y, np.full(len(y), weight), **validation)
    assert np.isfinite(clf.coef_).all()
    assert (clf.history_["C"] > 0.0)[1:].all()


def test_small_C_is_a_path_of_one_step():
    X, y, validation = PROBLEMS["iris"]()
    clf = stopped(X, y, validation, C=1e-6)
    assert clf.history_["C"].tolist() == [0.0, 1e-6]
    assert clf.converged_
    X = np.ones((len(X), 2))
    clf = stopped(X, y, {**validation, "X_val": X})
    assert clf.history_["C"].tolist() == [0.0, 1.0]


@pytest.mark.parametrize("C", [1e6, np.inf])
def test_zeros_of_an_l1_penalty_are_kept(C):
    X, y, validation = PROBLEMS["wrong labels"]()
    clf = stopped(X, y, validation, C=C, l1_ratio=1.0)
    assert 0.5 < np.mean(clf.coef_ == 0.0) < 1.0


def test_a_warm_start_competes():
    X, y, validation = PROBLEMS["few of many features"]()
    clf = stopped(X, y, validation, C=1e6)
    coef, least = clf.coef_, clf.history_["validation_loss"].min()
    clf.set_params(warm_start=True, C=1e-3).fit(X, y, **validation)
    assert clf.history_["validation_loss"][0] == pytest.approx(least, rel=1e-9)
    assert np.isnan(clf.history_["C"][0])
    np.testing.assert_allclose(clf.coef_, coef, rtol=1e-12)
    clf.coef_ = 100.0 * coef
    clf.set_params(C=1e6).fit(X, y, **validation)
    assert clf.history_["validation_loss"][0] > 2.0 * least
    assert clf.history_["validation_loss"].min() == pytest.approx(least, rel=0.01)


def test_no_better_than_the_shares_of_the_classes_is_said():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 100)), np.arange(60) % 2
    message = "no better than the shares of the classes do: .* 0.693147 and 0.693147"
    with pytest.warns(UserWarning, match=message):
        clf = SoftmaxClassifier(early_stopping=True).fit(X, y, X_val=X, y_val=1 - y)
    np.testing.assert_array_equal(clf.coef_, 0.0)
    clf.coef_ = rng.standard_normal((1, 100))  # no better either
    with pytest.warns(UserWarning, match="no better than the shares"):
        clf.set_params(warm_start=True, max_iter=10**6, n_iter_no_change=1).fit(X, y, X_val=X, y_val=1 - y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SoftmaxClassifier(early_stopping=True).fit(X, y, X_val=X, y_val=y)


def test_the_iterations_of_all_steps_are_limited():
    X, y, validation = PROBLEMS["digits"]()
    with pytest.warns(ConvergenceWarning, match="max_iter=20"):
        clf = SoftmaxClassifier(C=1e6, early_stopping=True, max_iter=20).fit(X, y, **validation)
    assert clf.n_iter_.tolist() == [20]
    assert clf.history_["validation_loss"].min() < 1.0


@pytest.mark.parametrize("n_interrupted", [1, 12, 40])
def test_an_interrupt_leaves_the_best_step(monkeypatch, n_interrupted):
    X, y, validation = PROBLEMS["digits"]()
    interrupt_after(monkeypatch, n_interrupted)
    clf = SoftmaxClassifier(C=1e6, early_stopping=True)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X, y, **validation)
    curve = clf.history_["validation_loss"]
    assert len(curve) >= 1
    assert not clf.converged_
    assert validation_loss(clf, **validation) == pytest.approx(curve.min(), rel=1e-9)


def test_separable_rows_are_only_named_where_the_path_ends_with_them():
    X, y = independent(200, 3, 2)
    y = (X[:, 0] > 0.5).astype(int)
    with pytest.warns(ConvergenceWarning, match="perfectly separable"):
        clf = SoftmaxClassifier(C=np.inf, early_stopping=True).fit(X[::2], y[::2], X_val=X[::2], y_val=y[::2])
    assert np.isfinite(clf.coef_).all()
    X, y, validation = PROBLEMS["few of many features"]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SoftmaxClassifier(C=np.inf, early_stopping=True).fit(X, y, **validation)


def test_each_step_is_printed(capsys):
    X, y, validation = PROBLEMS["iris"]()
    clf = stopped(X, y, validation, C=1e3, verbose=2)
    lines = capsys.readouterr().out.splitlines()
    n_steps = len(clf.history_["C"]) - 1
    assert lines[0].startswith("[xentropy] step   0  C 0  objective ")
    assert len(lines) == n_steps + 2
    assert lines[-1].endswith(f"after {n_steps} steps")


def test_callbacks_see_each_step():
    callback = pytest.importorskip("sklearn.callback")
    monitor = callback.ScoringMonitor(scoring="accuracy")
    X, y, validation = PROBLEMS["iris"]()
    clf = SoftmaxClassifier(early_stopping=True, C=1e6).set_callbacks(monitor).fit(X, y, **validation)
    scores = [row["accuracy"] for row in monitor.get_logs().data]
    assert len(scores) == len(clf.history_["C"]) + 1
    assert scores[-1] == clf.score(X, y)


def test_the_display_counts_the_start_as_iteration_0():
    pytest.importorskip("matplotlib")
    X, y, validation = PROBLEMS["iris"]()
    clf = stopped(X, y, validation, C=1e6)
    display = LossCurveDisplay.from_estimator(clf)
    np.testing.assert_array_equal(display.line_.get_xdata(), np.arange(len(clf.history_["C"])))
    assert display.best_iteration == np.argmin(clf.history_["validation_loss"])
    (best,) = display.best_point_.get_ydata()
    assert best == clf.history_["validation_loss"].min()
