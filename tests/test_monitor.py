"""What a fit tells: history, printed lines, callbacks, interrupts, early stopping."""

import numpy as np
import pytest
import reference
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.ensemble import BaggingClassifier

import xentropy._classifier
from xentropy import SoftmaxClassifier

X, Y = load_iris(return_X_y=True)


def mean_loss(clf, X, y, sample_weight=None):
    Y = reference.one_hot(y, len(clf.classes_)) if np.ndim(y) == 1 else y
    z = clf.decision_function(X)
    log_p = reference.log_softmax(z if z.ndim == 2 else np.column_stack([np.zeros_like(z), z]))
    return float(np.average(-np.sum(Y * log_p, axis=1), weights=sample_weight))


# history


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_history_tells_each_iteration(n_classes, l1_ratio):
    y = np.minimum(Y, n_classes - 1)
    clf = SoftmaxClassifier(C=0.5, l1_ratio=l1_ratio).fit(X, y)
    history = clf.history_
    assert set(history) == {"objective", "loss", "gradient_norm", "n_evaluations"}
    assert all(values.shape == (clf.n_iter_[0],) for values in history.values())
    assert np.all(np.diff(history["objective"]) < 1e-9)
    assert np.all(np.diff(history["n_evaluations"]) >= 1)
    assert history["objective"][-1] == clf.objective_
    assert history["gradient_norm"][-1] <= clf.tol < history["gradient_norm"][-2]
    assert history["loss"][-1] == pytest.approx(mean_loss(clf, X, y), rel=1e-12)
    penalty = 0.5 * (1 - l1_ratio) * np.sum(clf.coef_**2) + l1_ratio * np.abs(clf.coef_).sum()
    assert 0.5 * len(X) * history["loss"][-1] + penalty == pytest.approx(clf.objective_, rel=1e-12)


# printing


def test_verbose_prints_now_and_then(capsys):
    SoftmaxClassifier().fit(X, Y)
    assert capsys.readouterr().out == ""
    clf = SoftmaxClassifier(verbose=1).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < clf.n_iter_[0]
    assert lines[0].startswith("[xentropy] iteration     1  objective ")
    assert "gradient" in lines[0]
    assert "tol 1.0e-04" in lines[0]
    assert lines[-1] == f"[xentropy] converged after {clf.n_iter_[0]} iterations"
    clf.set_params(verbose=2).fit(X, Y, X_val=X, y_val=Y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == clf.n_iter_[0] + 1
    assert "validation loss" in lines[0]


# interrupts


def test_an_interrupt_leaves_the_best_coefficients(monkeypatch):
    n = 0

    class Interrupted(xentropy._classifier.Objective):
        def __call__(self, theta, precision="float64"):
            nonlocal n
            n += 1
            if n == 9:
                raise KeyboardInterrupt
            return super().__call__(theta, precision)

    monkeypatch.setattr(xentropy._classifier, "Objective", Interrupted)
    clf = SoftmaxClassifier()
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X, Y)
    monkeypatch.undo()
    assert 3 < clf.n_iter_[0] < 9
    assert not clf.converged_
    same = SoftmaxClassifier(max_iter=clf.n_iter_[0], tol=0.0)
    with pytest.warns(match="max_iter"):
        same.fit(X, Y)
    np.testing.assert_array_equal(clf.coef_, same.coef_)
    assert clf.objective_ == same.objective_ == clf.history_["objective"][-1]
    assert clf.predict(X).shape == Y.shape


# scikit-learn's callbacks


class Recorder:
    """A callback that keeps what it is told, and asks to stop after some iterations."""

    def __init__(self, stop_after=None):
        self.stop_after = stop_after
        self.events = []
        self.accuracy = []

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.events.append(("begin", context.task_name))

    def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
        self.events.append(("end", context.task_name))
        self.accuracy.append(fitted_estimator.score(X, y))
        return context.task_name == "iteration" and len(self.accuracy) == self.stop_after


def test_callbacks():
    pytest.importorskip("sklearn.callback")
    recorder = Recorder()
    clf = SoftmaxClassifier().set_callbacks(recorder).fit(X, Y)
    begins = [event for event in recorder.events if event[0] == "begin"]
    assert recorder.events[:2] == ["setup", ("begin", "fit")]
    assert recorder.events[-2:] == [("end", "fit"), "teardown"]
    assert len(begins) == 1 + clf.n_iter_[0]
    assert recorder.accuracy[-1] == clf.score(X, Y)
    stopping = Recorder(stop_after=4)
    stopped = SoftmaxClassifier().set_callbacks(stopping).fit(X, Y)
    assert stopped.n_iter_[0] == 4
    assert not stopped.converged_
    assert "teardown" in stopping.events


def test_scikit_learns_own_callbacks():
    callback = pytest.importorskip("sklearn.callback")
    monitor = callback.ScoringMonitor(scoring="accuracy")
    clf = SoftmaxClassifier().set_callbacks(monitor).fit(X, Y)
    scores = [row["accuracy"] for row in monitor.get_logs().data]
    assert len(scores) == clf.n_iter_[0] + 1
    assert scores[-1] == clf.score(X, Y)
    pytest.importorskip("rich")
    SoftmaxClassifier().set_callbacks(callback.ProgressBar()).fit(X, Y)


# validation rows


@pytest.fixture
def halves():
    rng = np.random.default_rng(0)
    A, y = load_breast_cancer(return_X_y=True)
    order = rng.permutation(len(y))
    return A[order[:200]], y[order[:200]], A[order[200:]], y[order[200:]]


def test_validation_rows_without_early_stopping_are_only_recorded(halves):
    A, y, A_val, y_val = halves
    watched = SoftmaxClassifier().fit(A, y, X_val=A_val, y_val=y_val)
    alone = SoftmaxClassifier().fit(A, y)
    np.testing.assert_array_equal(watched.coef_, alone.coef_)
    assert watched.history_["validation_loss"][-1] == pytest.approx(mean_loss(watched, A_val, y_val), rel=1e-10)


def test_rows_are_held_out_of_each_class():
    clf = SoftmaxClassifier(early_stopping=True, validation_fraction=0.2, random_state=0, C=1e4)
    fitted = clone(clf).fit(X, Y)
    assert "validation_loss" in fitted.history_
    np.testing.assert_array_equal(fitted.coef_, clone(clf).fit(X, Y).coef_)
    assert not np.array_equal(fitted.coef_, clone(clf).set_params(random_state=1).fit(X, Y).coef_)
    for n_each in ((50, 50, 50), (90, 9, 1), (2, 1, 1)):
        y = np.repeat([0, 1, 2], n_each)
        target = xentropy._classifier.learn_target(y)
        train, held = xentropy._classifier._hold_out(target, None, 0.2, np.random.RandomState(0))
        np.testing.assert_array_equal(np.sort(np.r_[train, held]), np.arange(len(y)))
        assert len(held) == max(1, round(0.2 * len(y)))
        assert set(y[train]) == {0, 1, 2}
        assert np.all(np.abs(np.bincount(y[held], minlength=3) - 0.2 * np.array(n_each)) <= 1)


@pytest.mark.parametrize("seed", range(20))
def test_rows_are_held_out_of_those_with_weight(seed):
    rng = np.random.RandomState(seed)
    y, weight = rng.randint(3, size=30), rng.randint(2, size=30) * rng.random_sample(30)
    target = xentropy._classifier.learn_target(y)
    train, held = xentropy._classifier._hold_out(target, weight, 0.3, rng)
    np.testing.assert_array_equal(np.sort(np.r_[train, held]), np.arange(30))
    counted = weight > 0.0
    assert counted[held].all()
    assert len(held) == round(0.3 * counted.sum())
    assert set(y[train][counted[train]]) == set(y[counted])


@pytest.mark.parametrize("seed", range(20))
def test_few_rows_with_weight_are_enough_to_stop_early(seed):
    rng = np.random.RandomState(seed)
    rows = np.array([0, 1, 2, 3, 60, 61, 62, 63, 120, 121])
    weight = np.zeros(150)
    weight[rng.permutation(rows)[:8]] = 1.0
    clf = SoftmaxClassifier(early_stopping=True, random_state=seed, C=1e3).fit(X, Y, weight)
    learned = np.unique(Y[weight > 0.0])
    assert set(clf.predict(X)) == set(learned)


def test_bagging_fits_with_early_stopping():
    clf = SoftmaxClassifier(early_stopping=True)
    bag = BaggingClassifier(clf, n_estimators=20, random_state=0).fit(X[::3], Y[::3])
    assert bag.score(X, Y) > 0.9


def test_rows_whose_class_has_no_weight_are_not_held_out():
    clf = SoftmaxClassifier(early_stopping=True, class_weight={0: 0.0}, validation_fraction=0.01, random_state=0)
    for seed in range(5):
        assert np.isfinite(clf.set_params(random_state=seed).fit(X, Y).history_["validation_loss"]).all()
    with pytest.raises(ValueError, match="leaves every row of y_val without weight"):
        clf.fit(X, Y, X_val=X[:5], y_val=Y[:5])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"X_val": X}, "X_val and y_val go together"),
        ({"y_val": Y}, "X_val and y_val go together"),
        ({"sample_weight_val": np.ones(3)}, "pass X_val and y_val"),
        ({"X_val": X, "y_val": Y + 1}, r"y_val has label 3 \(row 100\)"),
        ({"X_val": X[:, :2], "y_val": Y}, "features"),
        ({"X_val": X[:9], "y_val": Y}, "inconsistent"),
        ({"X_val": X, "y_val": Y, "sample_weight_val": np.zeros(150)}, "sample_weight_val is zero|non-zero"),
    ],
)
def test_wrong_validation_rows_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        SoftmaxClassifier(early_stopping=True).fit(X, Y, **kwargs)


def test_nothing_to_hold_out_is_said():
    with pytest.raises(ValueError, match="no row to hold out"):
        SoftmaxClassifier(early_stopping=True).fit(X[[0, 60, 120]], Y[[0, 60, 120]])
    with pytest.raises(ValueError, match="each of the 1 rows with weight is the only one"):
        SoftmaxClassifier(early_stopping=True, random_state=0).fit(X, Y, np.arange(150) == 0)
