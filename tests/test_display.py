"""Compare the numbers of the displays with independent sums, and check that their elements do not overlap."""

import doctest
import subprocess
import sys
from itertools import pairwise

import matplotlib
import numpy as np
import pytest
from scipy.optimize import brentq
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

matplotlib.use("Agg")

from matplotlib import pyplot

from xentropy import (
    LossByClassDisplay,
    LossCurveDisplay,
    ReliabilityDisplay,
    SoftmaxClassifier,
    cross_entropy_report,
    log_loss_samples,
)
from xentropy._diagnostics import drawing, loss_by_class, loss_curve, reliability


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def iris():
    return load_iris(return_X_y=True)


def drawn(n=500, n_classes=4, seed=0):
    rng = np.random.default_rng(seed)
    proba = rng.dirichlet(np.full(n_classes, 0.5), size=n)
    y = np.minimum((proba.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1), n_classes - 1)
    return y, proba


# Loss curves ----------------------------------------------------------------------------------------------------------


def test_loss_curve_draws_both_losses_and_marks_the_best():
    display = LossCurveDisplay([1.0, 0.5, 0.2, 0.1], validation_loss=[1.0, 0.6, 0.4, 0.7]).plot()
    assert display.line_.get_xdata().tolist() == [1, 2, 3, 4]
    assert display.line_.get_ydata().tolist() == [1.0, 0.5, 0.2, 0.1]
    assert display.validation_line_.get_ydata().tolist() == [1.0, 0.6, 0.4, 0.7]
    assert display.best_iteration == 3
    assert display.best_point_.get_xydata().tolist() == [[3, 0.4]]
    assert display.ax_.figure is display.figure_
    assert "nats" in display.ax_.get_ylabel()
    assert "best: 0.4 at iteration 3" in [t.get_text() for t in display.ax_.get_legend().get_texts()]


def test_loss_curve_without_validation():
    display = LossCurveDisplay([1.0]).plot()
    assert display.best_iteration is None
    assert display.validation_line_ is None
    assert display.best_point_ is None
    assert display.line_.get_marker() == "o"  # a single point needs a marker to be visible


def test_loss_curve_of_validation_losses_that_are_nan():
    display = LossCurveDisplay([1.0, 0.5], validation_loss=[np.nan, np.nan]).plot()
    assert display.best_iteration is None
    assert display.best_point_ is None
    assert LossCurveDisplay([1.0, 0.5], validation_loss=[np.nan, 1.0]).best_iteration == 2


def test_loss_curve_of_an_estimator_and_of_a_pipeline(iris):
    X, y = iris
    clf = SoftmaxClassifier().fit(X[::2], y[::2], X_val=X[1::2], y_val=y[1::2])
    display = LossCurveDisplay.from_estimator(clf, name="mine", color="k")
    np.testing.assert_array_equal(display.line_.get_ydata(), clf.history_["loss"])
    np.testing.assert_array_equal(display.validation_line_.get_ydata(), clf.history_["validation_loss"])
    assert len(display.loss) == clf.n_iter_[0]
    assert display.line_.get_color() == "k"
    assert display.line_.get_label() == "mine: training"
    pipeline = make_pipeline(StandardScaler(), clf)
    again = LossCurveDisplay.from_estimator(pipeline, ax=display.ax_)
    assert again.ax_ is display.ax_
    assert again.line_.get_color() != display.line_.get_color()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (([[1.0]],), "a number for each iteration"),
        (([],), "a number for each iteration"),
        (([1.0, 2.0], [1.0]), "same iterations"),
    ],
)
def test_loss_curve_refuses_what_is_no_curve(args, message):
    with pytest.raises(ValueError, match=message):
        LossCurveDisplay(args[0], validation_loss=args[1] if len(args) > 1 else None)


def test_loss_curve_of_an_estimator_without_history(iris):
    with pytest.raises(ValueError, match="DecisionTreeClassifier has no history_"):
        LossCurveDisplay.from_estimator(DecisionTreeClassifier())


# Reliability ----------------------------------------------------------------------------------------------------------


def test_reliability_is_what_the_report_says():
    y, proba = drawn(1000)
    display = ReliabilityDisplay.from_predictions(y, proba)
    report = cross_entropy_report(y, proba, output_dict=True)
    assert len(display.prob_pred) == report["n_bins"] == 10
    assert display.calibration_error == pytest.approx(report["calibration_error"])
    assert display.calibration_noise == pytest.approx(report["calibration_noise"])
    label = display.ax_.get_legend().get_texts()[0].get_text()
    assert label.endswith(f"error {report['calibration_error']:.3f}, noise {report['calibration_noise']:.3f}")
    confidence, hit = proba.max(axis=1), proba.argmax(axis=1) == y
    for rows, p, rate in zip(
        np.split(np.argsort(confidence), 10), display.prob_pred, display.prob_true, strict=True
    ):
        assert p == pytest.approx(confidence[rows].mean())
        assert rate == pytest.approx(hit[rows].mean())
    share = np.histogram(confidence, bins=20, range=(0, 1))[0] / 1000
    np.testing.assert_allclose(display.histogram, share)
    np.testing.assert_allclose(display.line_.get_xydata(), np.column_stack([display.prob_pred, display.prob_true]))


def test_reliability_intervals_are_wilsons():
    y, proba = drawn(1000)
    display = ReliabilityDisplay.from_predictions(y, proba, pos_label=1, n_bins=5)
    assert len(display.prob_true) == 5
    z = 1.959963984540054
    for (low, high), rate in zip(display.interval.T, display.prob_true, strict=True):
        # the bounds are the frequencies whose distance from the observed one is z of their own standard errors
        def away(p, rate=rate):
            return (p - rate) ** 2 - z**2 * p * (1 - p) / 200

        assert low == pytest.approx(brentq(away, 0, rate) if rate > 0 else 0, abs=1e-9)
        assert high == pytest.approx(brentq(away, rate, 1), abs=1e-9)


def test_reliability_of_one_class_names_it():
    y, proba = drawn()
    labels = np.array(["bird", "cat", "dog", "eel"])
    display = ReliabilityDisplay.from_predictions(labels[y], proba, pos_label="dog")
    assert "dog" in display.ax_.get_xlabel()
    rate = np.average(y == 2)
    report = cross_entropy_report(y, proba, output_dict=True)
    assert rate == pytest.approx(np.average(display.prob_true), abs=0.02)
    assert report["n_bins"] == len(display.prob_true)
    with pytest.raises(ValueError, match=r"pos_label='cow' is none of the classes \['bird', 'cat', 'dog', 'eel'\]"):
        ReliabilityDisplay.from_predictions(labels[y], proba, pos_label="cow")


def test_two_reliability_curves_share_axes_and_histogram():
    y, proba = drawn()
    first = ReliabilityDisplay.from_predictions(y, proba, name="before")
    second = ReliabilityDisplay.from_predictions(y, proba**2 / (proba**2).sum(axis=1, keepdims=True), ax=first.ax_)
    assert second.ax_ is first.ax_
    assert second.ax_histogram_ is first.ax_histogram_
    assert len(first.figure_.axes) == 2
    assert first.line_.get_color() != second.line_.get_color()
    diagonals = [line for line in first.ax_.get_lines() if list(line.get_xdata()) == [0, 1]]
    assert len(diagonals) == 1


def test_reliability_without_histogram_or_diagonal_keeps_the_axes_as_they_are():
    y, proba = drawn()
    _, ax = pyplot.subplots()
    display = ReliabilityDisplay.from_predictions(y, proba, ax=ax, histogram=False, ref_line=False, color="k")
    assert display.ax_histogram_ is None
    assert ax.figure.axes == [ax]
    assert display.line_.get_color() == "k"


def test_reliability_of_an_estimator(iris):
    clf = LogisticRegression(max_iter=1000).fit(*iris)
    display = ReliabilityDisplay.from_estimator(clf, *iris, sample_weight=np.arange(150.0))
    direct = ReliabilityDisplay.from_predictions(iris[1], clf.predict_proba(iris[0]), sample_weight=np.arange(150.0))
    np.testing.assert_allclose(display.prob_true, direct.prob_true)
    assert "LogisticRegression" in display.ax_.get_legend().get_texts()[0].get_text()


@pytest.mark.parametrize("n_bins", [0, 2.5, "auto"])
def test_reliability_refuses_bins_that_are_no_number(n_bins):
    with pytest.raises(ValueError, match="n_bins="):
        ReliabilityDisplay.from_predictions(*drawn(), n_bins=n_bins)


# Loss by class --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
def test_loss_by_class_holds_shares_and_quantiles(weighted):
    y, proba = drawn()
    weight = np.random.default_rng(0).integers(1, 4, len(y)) if weighted else np.ones(len(y), int)
    display = LossByClassDisplay.from_predictions(y, proba, sample_weight=weight.astype(float))
    y_each, loss = np.repeat(y, weight), np.repeat(log_loss_samples(y, proba), weight)
    for k in range(4):
        mine = np.sort(loss[y_each == k])
        assert display.loss_share[k] == pytest.approx(mine.sum() / loss.sum())
        assert display.support_share[k] == pytest.approx(len(mine) / len(loss))
        assert display.mean_loss[k] == pytest.approx(mine.mean())
        expected = np.quantile(mine, [0.05, 0.25, 0.5, 0.75, 0.95], method="inverted_cdf")
        np.testing.assert_allclose(display.quantiles[k], expected)
    widths = [bar.get_width() for bar in display.bars_]
    np.testing.assert_allclose(widths, 100 * np.sort(display.loss_share)[::-1])


def test_loss_by_class_of_soft_targets_weighs_by_mass():
    rng = np.random.default_rng(0)
    target, proba = rng.dirichlet(np.ones(3), size=40), rng.dirichlet(np.ones(3), size=40)
    display = LossByClassDisplay.from_predictions(target, proba)
    np.testing.assert_allclose(display.support_share, target.mean(axis=0))
    np.testing.assert_allclose(display.mean_loss, -(target * np.log(proba)).sum(axis=0) / target.sum(axis=0))
    loss = -np.log(proba[:, 0])
    order = np.argsort(loss)
    mass = np.cumsum(target[order, 0]) / target[:, 0].sum()
    assert display.quantiles[0, 2] == loss[order][np.flatnonzero(mass >= 0.5)[0]]


@pytest.mark.parametrize("kind", ["share", "distribution"])
def test_loss_by_class_leaves_out_classes_without_rows(kind):
    y, proba = drawn()
    display = LossByClassDisplay.from_predictions(y % 2, proba, labels=range(4), target_names=list("abcd"), kind=kind)
    assert {t.get_text() for t in display.ax_.get_yticklabels()} == {"a", "b"}


def test_loss_by_class_of_an_estimator(iris):
    clf = LogisticRegression(max_iter=1000).fit(*iris)
    names = load_iris().target_names
    display = LossByClassDisplay.from_estimator(clf, *iris, target_names=names, max_classes=2)
    assert [t.get_text() for t in display.ax_.get_yticklabels()] == ["versicolor", "virginica"]
    assert "and 1 classes with 7% of the loss, 33% of the rows" in [t.get_text() for t in display.ax_.texts]


@pytest.mark.parametrize("change", [{"kind": "box"}, {"max_classes": 0}])
def test_loss_by_class_refuses_what_it_does_not_know(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        LossByClassDisplay.from_predictions(*drawn(), **change)


def test_displays_align_columns_with_classes_in_any_order():
    class Backwards:
        classes_ = np.array(["b", "a"])

        def predict_proba(self, X):
            return np.column_stack([X, 1 - X])

    class Framed(Backwards):
        def predict_proba(self, X):
            return pandas.DataFrame({"a": 1 - X, "b": X})

    pandas = pytest.importorskip("pandas")
    p_b = np.random.default_rng(0).random(400)
    y = np.where(np.random.default_rng(1).random(400) < p_b, "b", "a")
    straight = ReliabilityDisplay.from_predictions(y, p_b, pos_label="b")
    shares = LossByClassDisplay.from_predictions(y, p_b).loss_share
    for clf in (Backwards(), Framed()):
        display = ReliabilityDisplay.from_estimator(clf, p_b, y, pos_label="b")
        np.testing.assert_array_equal(display.prob_true, straight.prob_true)
        np.testing.assert_array_equal(LossByClassDisplay.from_estimator(clf, p_b, y).loss_share, shares)
    frame = pandas.DataFrame({"b": p_b, "a": 1 - p_b})
    np.testing.assert_array_equal(LossByClassDisplay.from_predictions(y, frame).loss_share, shares)
    display = ReliabilityDisplay.from_predictions(y, frame, pos_label="b")
    np.testing.assert_array_equal(display.prob_true, straight.prob_true)


def test_an_estimator_without_probabilities_is_an_error(iris):
    for display in (ReliabilityDisplay, LossByClassDisplay):
        with pytest.raises(AttributeError, match="LinearSVC has no predict_proba"):
            display.from_estimator(LinearSVC().fit(*iris), *iris)


def test_a_dollar_in_a_name_is_no_formula():
    y, proba = drawn(n_classes=2)
    display = LossByClassDisplay.from_predictions(y, proba, target_names=["under $5 or $6", "b_c^"])
    display.figure_.draw_without_rendering()
    assert {t.get_text() for t in display.ax_.get_yticklabels()} == {r"under \$5 or \$6", "b_c^"}


def test_perfect_predictions_can_be_drawn():
    y = np.arange(20) % 2
    for kind in ("share", "distribution"):
        LossByClassDisplay.from_predictions(y, np.eye(2)[y], kind=kind).figure_.draw_without_rendering()
    ReliabilityDisplay.from_predictions(y, np.eye(2)[y]).figure_.draw_without_rendering()


# Legibility -----------------------------------------------------------------------------------------------------------


def texts(figure):
    """Each visible text, and its box."""
    figure.canvas.draw()
    found = []
    for ax in figure.axes:
        labels = [ax.xaxis.label, ax.yaxis.label, *ax.texts]
        for axis, (low, high) in ((ax.xaxis, sorted(ax.get_xlim())), (ax.yaxis, sorted(ax.get_ylim()))):
            labels += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
        if ax.get_legend():
            labels += ax.get_legend().get_texts()
        found += [t for t in labels if t.get_visible() and t.get_text()]
    return [(t.get_text(), t.get_window_extent()) for t in found]


def pictures(n_classes):
    y, proba = drawn(3000, n_classes)
    names = [f"the class of things whose number is {k}" for k in range(n_classes)]
    declared = {"labels": np.arange(n_classes)}
    yield ReliabilityDisplay.from_predictions(y, proba, **declared)
    yield ReliabilityDisplay.from_predictions(y, proba, pos_label=1, **declared)
    for kind in ("share", "distribution"):
        yield LossByClassDisplay.from_predictions(y, proba, target_names=names, kind=kind, **declared)
    yield LossCurveDisplay(np.geomspace(1, 0.01, 300), validation_loss=np.geomspace(1, 0.1, 300)).plot()


@pytest.mark.parametrize("n_classes", [2, 100])
def test_no_text_covers_another_or_leaves_the_figure(n_classes):
    for display in pictures(n_classes):
        boxes = texts(display.figure_)
        width, height = display.figure_.canvas.get_width_height()
        for i, (text, box) in enumerate(boxes):
            assert box.x0 >= -1, text
            assert box.x1 <= width + 1, text
            assert box.y0 >= -1, text
            assert box.y1 <= height + 1, text
            for other, other_box in boxes[i + 1 :]:
                assert not box.padded(-1).overlaps(other_box.padded(-1)), (type(display).__name__, text, other)


def test_colours_stay_apart_without_colour():
    """Grey levels (luminance, CIE Y) of the first two curves and of the marks on the bars differ by a third."""

    def luminance(color):
        rgb = np.array(matplotlib.colors.to_rgb(color))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    for a, b in (*pairwise(drawing.CURVES[:2]), (drawing.BLUE, drawing.ORANGE)):
        light, dark = sorted((luminance(a), luminance(b)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) > 1.3


# Import ---------------------------------------------------------------------------------------------------------------


def test_matplotlib_is_imported_by_drawing_alone():
    code = "import sys, xentropy; xentropy.LossCurveDisplay([1.0]); assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"LossCurveDisplay draws with matplotlib: pip install 'xentropy\[plot\]'"):
        LossCurveDisplay([1.0]).plot()


@pytest.mark.parametrize("module", [loss_by_class, loss_curve, reliability], ids=lambda module: module.__name__)
def test_examples_of_the_docstrings_run(module):
    assert doctest.testmod(module).failed == 0
