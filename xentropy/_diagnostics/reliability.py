"""The reliability diagram."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import ndtri

from .._messages import plain
from .calibration import Bins
from .drawing import CURVES, GREY, as_label, axes_for, count_lines, tidy
from .labels import ScoredLabels, score_labels, score_labels_of
from .scored import ScoredRows, score_estimator, score_rows

_LEVEL = 0.95


class ReliabilityDisplay:
    """Reliability diagram: predicted probabilities against observed frequencies.

    Create a display with :meth:`from_estimator` or :meth:`from_predictions`. Rows are grouped by their
    probability in bins of equal mass, so each point is based on the same number of rows. Bars are Wilson's 95 %
    intervals. If a bar does not meet the diagonal, the probabilities are wrong; below the diagonal they are too high.

    Parameters
    ----------
    prob_pred : array-like of shape (n_bins,)
        Mean probability in each bin.

    prob_true : array-like of shape (n_bins,)
        Frequency of the event in each bin.

    interval : array-like of shape (2, n_bins)
        Lower and upper bounds of the intervals for `prob_true`.

    histogram : array-like of shape (n_bars,), default=None
        Shares of the rows in bars of equal width, from probability 0 to 1.

    calibration_error : float, default=None
        Mean distance between `prob_pred` and `prob_true`, as in :func:`cross_entropy_report`.

    calibration_noise : float, default=None
        About the calibration error that right probabilities would have.

    pos_label : default=None
        The class whose probability is shown; None means the most probable class of each row.

    name : str, default=None
        Name of the curve in the legend.

    Attributes
    ----------
    line_ : matplotlib Line2D
        The curve.

    errorbar_ : matplotlib ErrorbarContainer
        The intervals.

    ax_ : matplotlib Axes

    ax_histogram_ : matplotlib Axes or None
        The histogram of the probabilities, above `ax_`.

    figure_ : matplotlib Figure

    See Also
    --------
    cross_entropy_report : The same information as text.
    sklearn.calibration.CalibrationDisplay : The diagram for two classes, in bins of equal width.

    References
    ----------
    - Murphy & Winkler (1977), Reliability of subjective probability forecasts, J. R. Stat. Soc. C 26(1), 41-47.
    - Wilson (1927), Probable inference, the law of succession, and statistical inference, JASA 22, 209-212.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from xentropy import ReliabilityDisplay, SoftmaxClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = SoftmaxClassifier(C=0.01).fit(X[::2], y[::2])
    >>> ReliabilityDisplay.from_estimator(clf, X[1::2], y[1::2])  # doctest: +SKIP
    """

    def __init__(
        self,
        prob_pred,
        prob_true,
        *,
        interval,
        histogram=None,
        calibration_error=None,
        calibration_noise=None,
        pos_label=None,
        name=None,
    ):
        self.prob_pred = np.asarray(prob_pred)
        self.prob_true = np.asarray(prob_true)
        self.interval = np.asarray(interval)
        self.histogram = None if histogram is None else np.asarray(histogram)
        self.calibration_error = calibration_error
        self.calibration_noise = calibration_noise
        self.pos_label = pos_label
        self.name = name

    def plot(self, ax=None, *, name=None, ref_line=True, histogram=True, **kwargs):
        """Draw the diagram. Pass the `ax_` of another display to compare the two.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None creates a new figure. The histogram takes their upper part.

        name : str, default=None
            Name of the curve in the legend; None means the `name` of the display.

        ref_line : bool, default=True
            Whether to draw the diagonal.

        histogram : bool, default=True
            Whether to draw the histogram of the probabilities.

        **kwargs : dict
            Passed to `matplotlib.axes.Axes.errorbar`.

        Returns
        -------
        ReliabilityDisplay
            This display.
        """
        self.figure_, self.ax_ = axes_for(ax, type(self).__name__, (5.2, 5.8))
        ax = self.ax_
        name = self.name if name is None else name
        color = CURVES[count_lines(ax, "reliability curve") % len(CURVES)]
        if ref_line and not count_lines(ax, "reliability reference"):
            ax.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=(0, (4, 3)), gid="reliability reference")
        label = name or "observed"
        if self.calibration_error is not None:
            noise = "" if self.calibration_noise is None else f", noise {self.calibration_noise:.3f}"
            label += f"\ncalibration error {self.calibration_error:.3f}{noise}"
        distance = np.abs(self.interval - self.prob_true)
        style = {"color": color, "marker": "o", "markersize": 5, "linewidth": 1.6, "elinewidth": 1.2, "capsize": 2.5}
        self.errorbar_ = ax.errorbar(
            self.prob_pred, self.prob_true, yerr=distance, **{**style, "label": label, "zorder": 3, **kwargs}
        )
        self.line_ = self.errorbar_.lines[0]
        self.line_.set_gid("reliability curve")
        of = "of the most probable class" if self.pos_label is None else f"of {as_label(self.pos_label)}"
        ax.set(
            xlim=(-0.02, 1.02),
            ylim=(-0.02, 1.02),
            xlabel=f"mean probability {of}",
            ylabel="how often it was right" if self.pos_label is None else "how often it came true",
        )
        tidy(ax, grid="both")
        ax.legend(frameon=False, loc="upper left")
        self.ax_histogram_ = None
        if histogram and self.histogram is not None:
            self.ax_histogram_ = _axes_above(ax)
            edges = np.linspace(0, 1, len(self.histogram) + 1)
            self.ax_histogram_.stairs(100 * self.histogram, edges, fill=True, color=self.line_.get_color(), alpha=0.25)
            self.ax_histogram_.stairs(100 * self.histogram, edges, color=self.line_.get_color(), linewidth=1.4)
        return self

    @classmethod
    def from_estimator(
        cls, estimator, X, y, *, pos_label=None, sample_weight=None, n_bins=None, name=None, ax=None, **kwargs
    ):
        """Draw the reliability of a classifier's probabilities.

        Parameters
        ----------
        estimator : classifier
            A fitted classifier with `predict_proba`.

        X : array-like of shape (n, n_features)

        y : array-like of shape (n,) or (n, K)
            Labels, or distributions over `estimator.classes_`, or an indicator if it predicts several labels.

        pos_label : default=None
            The class whose probabilities are shown, against the rest; None means the most probable class of each row.
            If there are several labels it is one of them, and cannot be None.

        sample_weight : array-like of shape (n,), default=None

        n_bins : int, default=None
            Number of bins; None means n^(1/3), and at most 20.

        name : str, default=None
            Name of the curve in the legend; None means the class of the estimator.

        ax : matplotlib Axes, default=None
            Axes to draw on; None creates a new figure.

        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        ReliabilityDisplay
        """
        name = type(estimator).__name__ if name is None else name
        labels = score_labels_of(estimator, X, y, sample_weight=sample_weight)
        if labels is not None:
            return cls._from_labels(labels, pos_label, n_bins, name).plot(ax=ax, **kwargs)
        rows = score_estimator(estimator, X, y, sample_weight=sample_weight)
        return cls._from_rows(rows, pos_label, n_bins, name).plot(ax=ax, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        y_true,
        y_proba,
        *,
        labels=None,
        pos_label=None,
        sample_weight=None,
        multilabel=False,
        n_bins=None,
        name=None,
        ax=None,
        **kwargs,
    ):
        """Draw the reliability of probabilities.

        Parameters
        ----------
        y_true : array-like of shape (n,) or (n, K)
            Labels, or distributions.

        y_proba : array-like of shape (n, K), (n, 1) or (n,)
            Probabilities, with columns in the order of the sorted classes, or a DataFrame whose columns name them.

        labels : array-like of shape (K,), default=None
            All the classes, if `y_true` may lack some of them.

        pos_label : default=None
            The class whose probabilities are shown, against the rest; None means the most probable class of each row.
            With `multilabel` it is the label, which cannot be None.

        sample_weight : array-like of shape (n,), default=None

        multilabel : bool, default=False
            Whether the columns are yes/no labels rather than classes, as in :func:`cross_entropy_report`.

        n_bins : int, default=None
            Number of bins; None means n^(1/3), and at most 20.

        name : str, default=None
            Name of the curve in the legend.

        ax : matplotlib Axes, default=None
            Axes to draw on; None creates a new figure.

        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        ReliabilityDisplay
        """
        arguments = {"labels": labels, "sample_weight": sample_weight}
        if multilabel:
            of_labels = score_labels(y_true, y_proba, **arguments)
            return cls._from_labels(of_labels, pos_label, n_bins, name).plot(ax=ax, **kwargs)
        rows = score_rows(y_true, y_proba, **arguments)
        return cls._from_rows(rows, pos_label, n_bins, name).plot(ax=ax, **kwargs)

    @classmethod
    def _from_rows(cls, rows: ScoredRows, pos_label: Any, n_bins: int | None, name: str | None):
        _check_n_bins(n_bins)
        if pos_label is None:
            p, bins = rows.confidence, rows.top_bins if n_bins is None else rows.bins(n_bins)
        else:
            k = _class_index(rows, pos_label)
            p, bins = rows.proba[:, k], rows.class_bins(k, n_bins)
        return cls._of_bins(p, bins, rows.weight, pos_label, name)

    @classmethod
    def _from_labels(cls, labels: ScoredLabels, pos_label: Any, n_bins: int | None, name: str | None):
        _check_n_bins(n_bins)
        if pos_label is None:
            raise ValueError(
                f"pos_label is None, but there are several labels: pass one of {plain(labels.indicator.labels)}"
            )
        rows = labels.rows(labels.index_of(pos_label))
        if rows is None:
            raise ValueError(f"no row has the label {plain(pos_label)!r}: there is nothing to draw")
        return cls._of_bins(rows.proba[:, 1], rows.class_bins(1, n_bins), rows.weight, pos_label, name)

    @classmethod
    def _of_bins(cls, p: np.ndarray, bins: Bins, weight: np.ndarray | None, pos_label: Any, name: str | None):
        mass, _ = np.histogram(p, bins=20, range=(0, 1), weights=weight)
        return cls(
            bins.mean_p,
            bins.mean_hit,
            interval=_wilson(bins),
            histogram=mass / mass.sum(),
            calibration_error=bins.calibration_error,
            calibration_noise=bins.calibration_noise,
            pos_label=pos_label,
            name=name,
        )


def _axes_above(ax):
    """Axes for the histogram, split from the top of `ax`, or the axes that an earlier curve split from it."""
    from mpl_toolkits.axes_grid1 import make_axes_locatable

    for other in ax.figure.axes:
        if other.get_gid() == "reliability histogram" and ax.get_shared_x_axes().joined(ax, other):
            return other
    above = make_axes_locatable(ax).append_axes("top", size="22%", pad=0.12, sharex=ax)
    above.set_gid("reliability histogram")
    above.set_ylabel("rows (%)")
    above.tick_params(axis="x", labelbottom=False)
    tidy(above, grid=None)
    return above


def _check_n_bins(n_bins: Any) -> None:
    if n_bins is not None and (not isinstance(n_bins, (int, np.integer)) or n_bins < 1):
        raise ValueError(f"n_bins={plain(n_bins)!r} must be an integer, 1 or more; None chooses it")


def _class_index(rows: ScoredRows, label: Any) -> int:
    index = np.flatnonzero(rows.classes == label)
    if len(index) != 1:
        raise ValueError(f"pos_label={plain(label)!r} is none of the classes {plain(rows.classes)}")
    return int(index[0])


def _wilson(bins: Bins) -> np.ndarray:
    """Wilson's interval for the frequency in each bin, with the shape (2, n_bins)."""
    z2 = ndtri(0.5 + _LEVEL / 2) ** 2
    n, rate = bins.size, bins.mean_hit
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (rate * (1 - rate) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return np.array([np.maximum(centre - half, 0), np.minimum(centre + half, 1)])
