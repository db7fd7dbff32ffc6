"""The display of the loss by class."""

from __future__ import annotations

import numpy as np

from .._messages import plain
from .drawing import BLUE, GREY, ORANGE, VERMILION, as_label, axes_for, tidy
from .labels import ScoredLabels, score_labels, score_labels_of
from .scored import ScoredRows, score_estimator, score_rows

_MAX_CLASSES = 20
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_LEAST_LOSS = 1e-3  # in nats, the start of the logarithmic axis; it is the loss of p = 0.999


class LossByClassDisplay:
    """Plot of the share of the loss, or of the distribution of the losses, by class.

    Create a display with :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    names : sequence of K strings
        Names of the classes.

    loss_share : array-like of shape (K,)
        Share of each class in the total loss.

    support_share : array-like of shape (K,)
        Share of each class in the rows.

    mean_loss : array-like of shape (K,)
        Mean loss of the rows of each class, in nats; NaN if it has none.

    quantiles : array-like of shape (K, 5)
        The 5, 25, 50, 75 and 95 % quantiles of these losses.

    Attributes
    ----------
    bars_ : matplotlib BarContainer or None
        Shares of the loss, if they are drawn.

    ax_ : matplotlib Axes

    figure_ : matplotlib Figure

    See Also
    --------
    cross_entropy_report : The same information as text.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from xentropy import LossByClassDisplay, SoftmaxClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = SoftmaxClassifier(C=0.01).fit(X[::2], y[::2])
    >>> LossByClassDisplay.from_estimator(clf, X[1::2], y[1::2])  # doctest: +SKIP
    """

    def __init__(self, names, loss_share, support_share, mean_loss, quantiles):
        self.names = list(names)
        self.loss_share = np.asarray(loss_share)
        self.support_share = np.asarray(support_share)
        self.mean_loss = np.asarray(mean_loss)
        self.quantiles = np.asarray(quantiles)

    def plot(self, ax=None, *, kind="share", max_classes=_MAX_CLASSES, **kwargs):
        """Draw the classes, with the largest share of the loss on top.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None creates a new figure.

        kind : {"share", "distribution"}, default="share"
            ``"share"`` draws the share of each class in the loss and in the rows. A class whose bar extends beyond its
            mark is hard. ``"distribution"`` draws the losses of its rows: the median, the central 50 % and 90 %, and
            the mean.

        max_classes : int, default=20
            The largest number of classes to draw. One line sums up the others. Classes without rows are omitted.

        **kwargs : dict
            Passed to `matplotlib.axes.Axes.barh` (``"share"``).

        Returns
        -------
        LossByClassDisplay
            This display.
        """
        if kind not in ("share", "distribution"):
            raise ValueError(f"kind={plain(kind)!r} is neither 'share' nor 'distribution'")
        if not isinstance(max_classes, (int, np.integer)) or max_classes < 1:
            raise ValueError(f"max_classes={plain(max_classes)!r} must be an integer, 1 or more")
        order = np.argsort(-self.loss_share, kind="stable")
        order = order[self.support_share[order] > 0]
        shown, rest = order[:max_classes], order[max_classes:]
        n_lines = len(shown) + bool(len(rest))
        self.figure_, self.ax_ = axes_for(ax, type(self).__name__, (6.4, 1.3 + 0.28 * max(n_lines, 3)))
        self.bars_ = None
        if kind == "share":
            self._draw_shares(shown, kwargs)
        else:
            self._draw_distributions(shown)
        self.ax_.set_yticks(np.arange(len(shown)), [as_label(self.names[k]) for k in shown])
        self.ax_.set_ylim(n_lines - 0.4, -0.6)
        self.ax_.tick_params(axis="y", length=0)
        tidy(self.ax_, grid="x")
        self.ax_.legend(
            frameon=False, loc="lower right", bbox_to_anchor=(1.01, 1.0), ncols=4, borderaxespad=0.2, columnspacing=1.2
        )
        if len(rest):
            self.ax_.annotate(
                f"and {len(rest)} classes with {self.loss_share[rest].sum():.0%} of the loss, "
                f"{self.support_share[rest].sum():.0%} of the rows",
                (0.01, len(shown)),
                xycoords=("axes fraction", "data"),
                verticalalignment="center",
                color=GREY,
            )
        return self

    def _draw_shares(self, shown, kwargs) -> None:
        y = np.arange(len(shown))
        loss, support = 100 * self.loss_share[shown], 100 * self.support_share[shown]
        style = {"height": 0.66, "color": BLUE, "label": "share of the loss", **kwargs}
        self.bars_ = self.ax_.barh(y, loss, **style)
        style = {"linestyle": "none", "marker": "|", "markersize": 13, "markeredgewidth": 2.5, "color": ORANGE}
        self.ax_.plot(support, y, label="share of the rows", **style)
        self.ax_.set_xlabel("share (%)")
        self.ax_.set_xlim(left=0)

    def _draw_distributions(self, shown) -> None:
        from matplotlib.ticker import LogLocator, NullFormatter

        y = np.arange(len(shown))
        q = np.maximum(self.quantiles[shown], _LEAST_LOSS).T
        mean = np.maximum(self.mean_loss[shown], _LEAST_LOSS)
        low, high = q.min(), max(q.max(), mean.max())
        self.ax_.set_xscale("log")
        self.ax_.set_xlim(low / 1.3, 1.3 * high)
        self.ax_.hlines(y, q[0], q[4], color=BLUE, linewidth=1.2, label="90 % of the rows")
        self.ax_.hlines(y, q[1], q[3], color=BLUE, linewidth=7, alpha=0.45, label="50 % of the rows")
        style = {"linestyle": "none", "zorder": 3}
        self.ax_.plot(q[2], y, marker="|", markersize=11, markeredgewidth=2.5, color=BLUE, label="median", **style)
        self.ax_.plot(mean, y, marker="D", markersize=5.5, color=VERMILION, label="mean", **style)
        self.ax_.xaxis.set_major_locator(LogLocator(subs=(1.0,) if high > 50 * low else (1.0, 2.0, 5.0)))
        self.ax_.xaxis.set_major_formatter(lambda loss, _: f"{'≤ ' if loss <= _LEAST_LOSS else ''}{loss:g}")
        self.ax_.xaxis.set_minor_formatter(NullFormatter())
        self.ax_.set_xlabel("loss of a row (nats)")

    @classmethod
    def from_estimator(
        cls, estimator, X, y, *, target_names=None, sample_weight=None, kind="share", ax=None, **kwargs
    ):
        """Draw the loss of a classifier by class.

        Parameters
        ----------
        estimator : classifier
            A fitted classifier with `predict_proba`.

        X : array-like of shape (n, n_features)

        y : array-like of shape (n,) or (n, K)
            Labels, or distributions over `estimator.classes_`, or an indicator if it predicts several labels.

        target_names : sequence of K strings, default=None
            Names of the classes.

        sample_weight : array-like of shape (n,), default=None

        kind : {"share", "distribution"}, default="share"
            What to draw; see :meth:`plot`.

        ax : matplotlib Axes, default=None
            Axes to draw on; None creates a new figure.

        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        LossByClassDisplay
        """
        names = {"target_names": target_names, "sample_weight": sample_weight}
        labels = score_labels_of(estimator, X, y, **names)
        if labels is not None:
            return cls._from_labels(labels).plot(ax=ax, kind=kind, **kwargs)
        rows = score_estimator(estimator, X, y, **names)
        return cls._from_rows(rows).plot(ax=ax, kind=kind, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        y_true,
        y_proba,
        *,
        labels=None,
        target_names=None,
        sample_weight=None,
        multilabel=False,
        kind="share",
        ax=None,
        **kwargs,
    ):
        """Draw the loss of probabilities by class.

        Parameters
        ----------
        y_true : array-like of shape (n,) or (n, K)
            Labels, or distributions.

        y_proba : array-like of shape (n, K), (n, 1) or (n,)
            Probabilities, with columns in the order of the sorted classes, or a DataFrame whose columns name them.

        labels : array-like of shape (K,), default=None
            All the classes, if `y_true` may lack some of them.

        target_names : sequence of K strings, default=None
            Names of the classes.

        sample_weight : array-like of shape (n,), default=None

        multilabel : bool, default=False
            Whether the columns are yes/no labels rather than classes, as in :func:`cross_entropy_report`. Each label is
            drawn with the losses of all rows that have it.

        kind : {"share", "distribution"}, default="share"
            What to draw; see :meth:`plot`.

        ax : matplotlib Axes, default=None
            Axes to draw on; None creates a new figure.

        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        LossByClassDisplay
        """
        arguments = {"labels": labels, "target_names": target_names, "sample_weight": sample_weight}
        if multilabel:
            return cls._from_labels(score_labels(y_true, y_proba, **arguments)).plot(ax=ax, kind=kind, **kwargs)
        rows = score_rows(y_true, y_proba, **arguments)
        return cls._from_rows(rows).plot(ax=ax, kind=kind, **kwargs)

    @classmethod
    def _from_rows(cls, rows: ScoredRows):
        support, loss = rows.support, rows.class_loss
        total = loss.sum()
        return cls(
            rows.names,
            loss / total if total > 0 else loss,
            support / support.sum(),
            np.divide(loss, support, out=np.full(len(loss), np.nan), where=support > 0),
            [rows.class_loss_quantiles(k, _QUANTILES) for k in range(rows.n_classes)],
        )

    @classmethod
    def _from_labels(cls, labels: ScoredLabels):
        """Labels in the place of classes, with all rows that have them."""
        loss, support = np.zeros(labels.n_labels), np.zeros(labels.n_labels)
        quantiles = np.full((labels.n_labels, len(_QUANTILES)), np.nan)
        for k, (_, rows) in enumerate(labels.each()):
            if rows is not None:
                support[k], loss[k] = rows.support.sum(), rows.log_loss * rows.support.sum()
                quantiles[k] = rows.loss_quantiles(_QUANTILES)
        total = loss.sum()
        return cls(
            labels.names,
            loss / total if total > 0 else loss,
            support / support.sum(),
            np.divide(loss, support, out=np.full(len(loss), np.nan), where=support > 0),
            quantiles,
        )
