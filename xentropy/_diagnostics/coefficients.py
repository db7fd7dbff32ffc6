"""The display of coefficients with their intervals."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._coefficients import coefficient_table
from .drawing import CURVES, GREY, as_label, axes_for, tidy

# Markers of the classes after the first colours have been used.
_MARKERS = "osD^v"


class CoefficientDisplay:
    """Coefficients or marginal effects with their intervals, feature by feature.

    Create a display with :meth:`from_estimator`, or with a table of :func:`coefficient_table` or
    :func:`marginal_effects`.

    Parameters
    ----------
    table : DataFrame or structured ndarray
        With the columns `class`, `feature`, `low`, `high`, and `coef` or `effect`.

    Attributes
    ----------
    containers_ : list of matplotlib ErrorbarContainer
        The points and intervals of each class.

    ax_ : matplotlib Axes

    figure_ : matplotlib Figure

    See Also
    --------
    coefficient_table : The numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> import xentropy as xe
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> model = xe.SoftmaxClassifier(C=np.inf, tol=1e-6).fit(X[50:], y[50:])
    >>> xe.CoefficientDisplay.from_estimator(model, X[50:], y[50:])  # doctest: +SKIP
    """

    def __init__(self, table: Any) -> None:
        self.table = table
        named = table.columns if hasattr(table, "columns") else getattr(getattr(table, "dtype", None), "names", None)
        names = [] if named is None else list(named)
        self._what = next((name for name in ("coef", "effect") if name in names), "")
        missing = [name for name in ("class", "feature", "low", "high") if name not in names]
        if missing or not self._what:
            raise ValueError(
                f"table has the columns {names}, but must be one that coefficient_table or marginal_effects returns"
            )

    def plot(self, ax=None, *, intercept=False, **kwargs):
        """Draw a point and an interval for each coefficient.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None creates a new figure.

        intercept : bool, default=False
            Whether to draw the intercepts, which are often much larger.

        **kwargs : dict
            Passed to `matplotlib.axes.Axes.errorbar`.

        Returns
        -------
        CoefficientDisplay
            This display.
        """
        classes, names, centre, low, high = (
            np.asarray(self.table[name]) for name in ("class", "feature", self._what, "low", "high")
        )
        n = len(names) // len(set(classes.tolist()))  # the same features for each class, one after the other
        places = [j for j in range(n) if intercept or self._what == "effect" or names[j] != "intercept"]
        n_classes = len(names) // n
        size = (6.4, 1.2 + 0.18 * len(places) * (1 + n_classes))
        self.figure_, self.ax_ = axes_for(ax, type(self).__name__, size)
        self.ax_.axvline(0.0, color=GREY, linewidth=0.8, zorder=0)
        self.containers_ = []
        for k in range(n_classes):
            at = k * n + np.array(places, dtype=np.intp)
            style = {
                "color": CURVES[k % len(CURVES)],
                "marker": _MARKERS[k // len(CURVES) % len(_MARKERS)],
                "markersize": 4,
                "linestyle": "none",
                "elinewidth": 1.4,
                "label": f"class {as_label(classes[at[0]])}" if len(at) else None,
                **kwargs,
            }
            offset = (k - 0.5 * (n_classes - 1)) * 0.7 / n_classes
            lengths = np.vstack([centre[at] - low[at], high[at] - centre[at]])
            self.containers_.append(
                self.ax_.errorbar(centre[at], np.arange(len(places)) + offset, xerr=lengths, **style)
            )
        self.ax_.set_yticks(np.arange(len(places)), [as_label(names[j]) for j in places])
        self.ax_.set_ylim(len(places) - 0.5, -0.5)
        self.ax_.set_xlabel("coefficient" if self._what == "coef" else "average effect on the probability")
        tidy(self.ax_, grid="x")
        self.ax_.legend(frameon=False)
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y,
        sample_weight=None,
        *,
        kind="model",
        groups=None,
        reference=None,
        level=0.95,
        intercept=False,
        ax=None,
        **kwargs,
    ):
        """Draw the coefficients of a fitted classifier.

        Parameters
        ----------
        estimator : SoftmaxClassifier, SoftmaxClassifierCV, or a Pipeline that ends in one
            A fitted model.

        X, y, sample_weight : as in `coefficient_table`
            Those of its fit.

        kind, groups, reference, level : as in `coefficient_table`

        intercept : bool, default=False
            Whether to draw the intercepts.

        ax : matplotlib Axes, default=None
            Axes to draw on; None creates a new figure.

        **kwargs : dict
            Passed to `matplotlib.axes.Axes.errorbar`.

        Returns
        -------
        CoefficientDisplay
        """
        table = coefficient_table(
            estimator, X, y, sample_weight, kind=kind, groups=groups, reference=reference, level=level
        )
        return cls(table).plot(ax=ax, intercept=intercept, **kwargs)
