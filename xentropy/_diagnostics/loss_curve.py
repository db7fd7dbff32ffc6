"""The display of the loss by iteration."""

from __future__ import annotations

import numpy as np

from .drawing import CURVES, axes_for, count_lines, tidy


class LossCurveDisplay:
    """Training and validation loss by iteration.

    Create a display with :meth:`from_estimator`.

    Parameters
    ----------
    loss : array-like of shape (n_iter,)
        Mean training loss after each iteration, in nats.

    validation_loss : array-like of shape (n_iter,), default=None
        Mean validation loss after each iteration.

    first_iteration : int, default=1
        Number of the iteration of the first losses. 0 means that they are those of the start.

    name : str, default=None
        Name of the estimator in the legend.

    Attributes
    ----------
    line_ : matplotlib Line2D
        Training loss.

    validation_line_ : matplotlib Line2D or None
        Validation loss.

    best_point_ : matplotlib Line2D or None
        The iteration with the least validation loss.

    ax_ : matplotlib Axes

    figure_ : matplotlib Figure

    See Also
    --------
    ReliabilityDisplay : Plot of the calibration.
    LossByClassDisplay : Plot of the losses of the classes.

    Examples
    --------
    >>> import numpy as np
    >>> from xentropy import LossCurveDisplay
    >>> display = LossCurveDisplay(loss=[1.1, 0.6, 0.3], validation_loss=[1.1, 0.7, 0.8])
    >>> display.best_iteration
    2
    >>> display.plot()  # doctest: +SKIP
    """

    def __init__(self, loss, *, validation_loss=None, first_iteration=1, name=None):
        self.loss = np.asarray(loss, dtype=np.float64)
        self.validation_loss = None if validation_loss is None else np.asarray(validation_loss, dtype=np.float64)
        self.first_iteration = first_iteration
        self.name = name
        if self.loss.ndim != 1 or not len(self.loss):
            raise ValueError(f"loss must hold a number for each iteration; its shape is {self.loss.shape}")
        if self.validation_loss is not None and self.validation_loss.shape != self.loss.shape:
            raise ValueError(
                f"validation_loss has shape {self.validation_loss.shape}, but loss has {self.loss.shape}: they are of "
                f"the same iterations"
            )

    @property
    def best_iteration(self) -> int | None:
        """The iteration with the least validation loss, or None without validation."""
        if self.validation_loss is None or np.isnan(self.validation_loss).all():
            return None
        return int(np.nanargmin(self.validation_loss)) + self.first_iteration

    def plot(self, ax=None, *, name=None, **kwargs):
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None creates a new figure.

        name : str, default=None
            Name of the estimator in the legend; None means the `name` of the display.

        **kwargs : dict
            Passed to `matplotlib.axes.Axes.plot` for both curves.

        Returns
        -------
        LossCurveDisplay
            This display.
        """
        self.figure_, self.ax_ = axes_for(ax, type(self).__name__, (6.4, 4.0))
        name = self.name if name is None else name
        prefix = f"{name}: " if name else ""
        iteration = self.first_iteration + np.arange(len(self.loss))
        color = CURVES[count_lines(self.ax_, "loss curve") % len(CURVES)]
        style = {"color": color, "linewidth": 1.8, **({"marker": "o"} if len(self.loss) == 1 else {}), **kwargs}
        # with validation the training loss is less important, so it is dashed, in the same colour
        training = style if self.validation_loss is None else {"linestyle": (0, (4, 2)), **style}
        (self.line_,) = self.ax_.plot(iteration, self.loss, label=f"{prefix}training", gid="loss curve", **training)
        self.validation_line_ = self.best_point_ = None
        if self.validation_loss is not None:
            (self.validation_line_,) = self.ax_.plot(
                iteration, self.validation_loss, label=f"{prefix}validation", **style
            )
        best = self.best_iteration
        if self.validation_line_ is not None and best is not None:
            value = self.validation_loss[best - self.first_iteration]
            (self.best_point_,) = self.ax_.plot(
                [best],
                [value],
                linestyle="none",
                marker="o",
                markersize=8,
                markerfacecolor="white",
                markeredgewidth=1.8,
                markeredgecolor=self.validation_line_.get_color(),
                label=f"{prefix}best: {value:.4g} at iteration {best}",
                zorder=3,
            )
        self.ax_.set(xlabel="iteration", ylabel="mean loss of a row (nats)")
        self.ax_.xaxis.get_major_locator().set_params(integer=True)
        tidy(self.ax_, grid="both")
        self.ax_.legend(frameon=False)
        return self

    @classmethod
    def from_estimator(cls, estimator, *, name=None, ax=None, **kwargs):
        """Draw the losses that an estimator recorded during its fit.

        Parameters
        ----------
        estimator : SoftmaxClassifier, or a Pipeline that ends in one
            A fitted estimator whose `history_` holds ``"loss"``, and ``"validation_loss"`` if it had validation rows.
            The iterations of early stopping are the steps of its path, and iteration 0 is the start.

        name : str, default=None
            Name of the estimator in the legend.

        ax : matplotlib Axes, default=None
            Axes to draw on; None creates a new figure.

        **kwargs : dict
            Passed to `matplotlib.axes.Axes.plot` for both curves.

        Returns
        -------
        LossCurveDisplay
        """
        if hasattr(estimator, "steps"):
            estimator = estimator.steps[-1][1]
        history = getattr(estimator, "history_", None)
        if history is None:
            raise ValueError(
                f"{type(estimator).__name__} has no history_ of its losses: pass a fitted SoftmaxClassifier, or losses "
                f"of your own as LossCurveDisplay(loss, validation_loss=...)"
            )
        display = cls(
            history["loss"],
            validation_loss=history.get("validation_loss"),
            first_iteration=0 if "C" in history else 1,
            name=name,
        )
        return display.plot(ax=ax, **kwargs)
