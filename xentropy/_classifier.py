"""SoftmaxClassifier: multinomial logistic regression for scikit-learn."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from functools import cache, partial, wraps
from numbers import Integral, Real
from typing import Any

import numpy as np
import scipy.sparse as sp
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.fixes import parse_version
from sklearn.utils.validation import (
    _check_feature_names,
    _check_n_features,
    _check_sample_weight,
    check_is_fitted,
    validate_data,
)

from ._arrays import is_dask, refuse_dask, refuse_masked, with_usual_indices
from ._callbacks import CallbackSupportMixin, callbacks_of
from ._covariance import Covariance, blocks_of_rows, proba_interval
from ._inference import Fit, estimate_covariance
from ._kernels._linear import check_csr
from ._lbfgs import Status
from ._losses import LOSSES, CrossEntropy, Loss, check_loss, refuse_smoothing
from ._messages import plain
from ._monitor import Monitor
from ._objective import Objective
from ._path import stop_early
from ._prediction import predict_by_kernel, predict_by_sparse_coef, with_overflown
from ._row_blocks import RowBlocks, stored_array
from ._row_loss import RowLoss
from ._rows import rows_of
from ._separation import find_separation
from ._solver import minimise
from ._targets import Target, is_distribution, learn_target, match_target, plain_labels


def all_or_nothing(fit: Callable[..., Any]) -> Callable[..., Any]:
    """A `fit` that fails leaves the attributes of the fit before, or none, so that they are always those of one
    model. They are those of this fit if it has found coefficients, even if a warning was made an error then."""

    @wraps(fit)
    def wrapped(self: SoftmaxClassifier, *args: Any, **kwargs: Any) -> Any:
        before = self._fitted_attributes()
        try:
            return fit(self, *args, **kwargs)
        except BaseException:
            if vars(self).get("coef_") is before.get("coef_"):
                for name in self._fitted_attributes().keys() - before.keys():
                    delattr(self, name)
                for name, value in before.items():
                    setattr(self, name, value)
            raise

    return wrapped


class SoftmaxClassifier(CallbackSupportMixin, ClassifierMixin, BaseEstimator):
    r"""Linear classifier that minimises the cross-entropy of its softmax probabilities.

    With the logits :math:`z_i = W x_i + b` and the probabilities :math:`p_i = \mathrm{softmax}(z_i)`, it minimises

    .. math:: C \sum_i s_i \Bigl(\sum_k w_k t_{ik}\, \phi(-\log p_{ik})\Bigr)
              + \frac{1 - \rho}{2} \lVert W \rVert_2^2 + \rho \lVert W \rVert_1,
              \qquad t_{ik} = (1 - \epsilon)\, y_{ik} + \epsilon / K

    over W and b, with sample weights s, class weights w, label smoothing :math:`\epsilon` and the share :math:`\rho`
    (`l1_ratio`) of the L1 penalty. The default is the cross-entropy, :math:`\phi(\ell) = \ell`. It has the objective of
    :class:`~sklearn.linear_model.LogisticRegression`, and without label smoothing the same optimum. Targets are class
    labels or a distribution over the classes for each row (one-hot, or soft as in distillation, annotators' votes and
    mixup).

    Parameters
    ----------
    C : float, default=1.0
        Inverse of the strength of the penalty. Smaller values regularise more, and ``inf`` means no penalty. Without a
        penalty and with rows that are separated from those of other classes there is no minimum: a `ConvergenceWarning`
        names the classes and the direction. With up to 150 coefficients a linear program finds it, and with up to 600
        the way that the fit has gone; with more, it is found only if all rows are separated.

    l1_ratio : float, default=0.0
        Share of the L1 penalty, in [0, 1]. If it is above 0, some coefficients can be exactly zero.

    loss : str or loss object, default="cross_entropy"
        One of the names "cross_entropy", "focal", "generalized", "poly", "symmetric", or an object that holds
        parameters, such as ``FocalLoss(gamma=2.0)``, which a search can vary as ``loss__gamma``. If the loss is not
        convex, the objective may have several minima. The fit then starts from the solution for the cross-entropy, or
        with `early_stopping` from the previous step of the path, and descends to a local minimum.

    label_smoothing : float, default=0.0
        Share of each target, in [0, 1], that is spread evenly over the classes.

    class_weight : dict, "balanced" or None, default=None
        Weight of each class, ``{class: weight}``, with 1 for a class that is not named. If all classes in `y` are
        named, other names are ignored, so that a fold may lack a class. ``"balanced"`` gives each class the same total
        weight, as in scikit-learn: ``n / (K * mass of the class)``, where the mass includes `sample_weight`.

    logit_adjustment : float, default=0.0
        Strength tau, 0 or more, of the adjustment for imbalanced classes. The fit adds tau log(prior) to the logits,
        where the prior is the share of each class in the weighted rows. Predictions do not add it. With tau = 1 the
        classes are predicted as if they were equally frequent.

    fit_intercept : bool, default=True
        Whether the model has an intercept b. It is not penalised.

    tol : float, default=1e-4
        The iterations end when the norm of the gradient is below `tol` times the objective. The gradient is
        preconditioned, so that the Hessian of the objective is about the identity. `tol` therefore does not depend on
        the units of the features, nor on the numbers of features, rows and classes. The default gives the objective
        with a relative error of about 1e-7, and 1e-9 gives coefficients to about nine digits.

    max_iter : int, default=1000
        The largest number of iterations of L-BFGS on all rows, in all steps of `early_stopping` together. A
        `ConvergenceWarning` reports that it was reached.

    warm_start : bool, default=False
        Whether `fit` starts from the solution of the previous fit. Otherwise the coefficients start at zero and the
        intercepts at those of the class frequencies. With `early_stopping` the previous solution is kept unless a step
        of the path has a lower validation loss.

    early_stopping : bool, default=False
        Whether to follow a path of penalties to `C`, to stop when the validation loss no longer improves, and to keep
        the coefficients with the least validation loss. The path begins with a penalty so strong that the features
        hardly matter, and each of its steps increases C by a factor of about 3. `C` is therefore the weakest penalty
        that is tried, and may be infinite. As for every penalty, the units of the features matter: standardise them if
        they differ. If the rows are so many that the coefficients hardly overfit, the path has only its last step. The
        validation rows are those passed to `fit`, or else held-out training rows. If the kept coefficients are no
        better for them than the class frequencies, a warning says so.

    validation_fraction : float, default=0.1
        Share of the rows with weight that `early_stopping` holds out if no validation rows are passed. The rows are
        stratified by class if possible. A row of weight 2 is held out as a whole, but one of two equal rows can be held
        out.

    n_iter_no_change : int, default=5
        `early_stopping` ends the fit after this number of steps of the path without a better validation loss.

    random_state : int, RandomState instance or None, default=None
        Determines which rows `early_stopping` holds out. Nothing else is random.

    verbose : int, default=0
        1 prints a line for some iterations, and 2 prints a line for each iteration.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The sorted labels. For distributions, they are ``arange(n_classes)`` or the columns of the DataFrame.

    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Coefficients W, in the dtype of X. Two classes have one row, for the logit of ``classes_[1]``. With more
        classes, each column sums to zero.

    intercept_ : ndarray of shape (1,) or (n_classes,)
        Intercepts b, which are zeros without `fit_intercept`.

    n_features_in_ : int
        Number of features seen during fit.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if all names in X are strings.

    n_iter_ : ndarray of shape (1,)
        Number of iterations of L-BFGS on all rows, including those for the start of a loss that is not convex.

    history_ : dict of ndarrays of shape (n_iter_[0],), or (n_steps + 1,) with `early_stopping`
        For each iteration, the `objective`, the mean training `loss` (weighted, without penalty), the `gradient_norm`
        that is compared with `tol`, the number `n_evaluations` of evaluations of the objective so far, and, if there
        are validation rows, their mean loss `validation_loss`. The iterations for the start of a loss that is not
        convex are left out, because their objective is the cross-entropy. Early iterations on a large problem use low
        precision (float32), with a relative error of about 1e-7. The last values are exact if `tol` ended the fit. With
        `early_stopping` there is an entry for the start, which is iteration 0, and one for each step of the path, and
        `C` holds the value of each step. It is 0 for coefficients of zero, and NaN for a warm start. The gradient norm
        is that of the step, and NaN for the start.
        Losses are computed from logits and are not clipped. `log_loss` clips probabilities, so it is smaller where a
        row costs more than 36.04 (float64) or 15.94 (float32).

    converged_ : bool
        Whether the gradient norm reached `tol`, or the limit of float64 if `tol` is below it. With `early_stopping` it
        is True only if the kept coefficients are those of `C` itself. It is False if there is no minimum.

    objective_ : float
        The objective above at the solution, or the sum of the losses if C is infinite.

    See Also
    --------
    sklearn.linear_model.LogisticRegression : The same model for labels, with several solvers.

    Notes
    -----
    The objective and its gradient are computed in one pass over X, block by block, in float64 even if X is float32. X
    is not copied if it is a C-ordered array or a CSR matrix of float32 or float64. If the coefficients for a CSR matrix
    and their gradient take more than 1 MiB, `fit` stores a second copy of its values, ordered by column, which is two
    to three times as fast. If a dense X has hundreds of rows for each coefficient, and a pass over it takes
    milliseconds, `fit` starts from the solution for a subsample of at most an eighth of the rows. No attribute counts
    these iterations. The subsample is not used with an L1 penalty, with `early_stopping` in a path of several steps,
    when `warm_start` continues from a previous fit, or if a class or a feature occurs in few rows. Fits are
    deterministic: any number of threads gives the same bits.

    If X is `RowBlocks`, `fit` keeps a sample of at most 256 MB in memory, for the start and for Hessians. With an
    infinite `C` it notices separated classes only if all rows are separated.

    With an infinite `C` and more features than rows, many coefficients have the least objective, if any have. A fit
    that starts from zero gives, to about a percent, those with the least sum of squares in units of the features'
    standard deviations.

    References
    ----------
    Nocedal & Wright (2006), Numerical Optimization, chapter 7 (L-BFGS).
    Szegedy et al. (2016), Rethinking the Inception Architecture, arXiv:1512.00567, section 7 (label smoothing).
    Menon et al. (2021), Long-tail Learning via Logit Adjustment, arXiv:2007.07314, section 4.2.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from xentropy import SoftmaxClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = SoftmaxClassifier().fit(X, y)
    >>> clf.predict(X[[0, 60, 120]])
    array([0, 1, 2])
    >>> clf.predict_proba(X[[0, 60, 120]]).round(2)
    array([[0.98, 0.02, 0.  ],
           [0.06, 0.94, 0.01],
           [0.  , 0.02, 0.98]])
    >>> round(clf.score(X, y), 3)
    0.973
    """

    # scikit-learn's HTML shows what a parameter means only where there is a link: an anchor, as the site has no address
    _doc_link_module = "xentropy"
    _doc_link_template = "#{estimator_module}.{estimator_name}"

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012 (scikit-learn's protocol)
        "C": [Interval(Real, 0, None, closed="right")],
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
        "loss": [StrOptions(set(LOSSES)), Loss],
        "label_smoothing": [Interval(Real, 0, 1, closed="both")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "logit_adjustment": [Interval(Real, 0, None, closed="left")],
        "fit_intercept": ["boolean"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        *,
        C=1.0,
        l1_ratio=0.0,
        loss="cross_entropy",
        label_smoothing=0.0,
        class_weight=None,
        logit_adjustment=0.0,
        fit_intercept=True,
        tol=1e-4,
        max_iter=1000,
        warm_start=False,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=5,
        random_state=None,
        verbose=0,
    ):
        self.C = C
        self.l1_ratio = l1_ratio
        self.loss = loss
        self.label_smoothing = label_smoothing
        self.class_weight = class_weight
        self.logit_adjustment = logit_adjustment
        self.fit_intercept = fit_intercept
        self.tol = tol
        self.max_iter = max_iter
        self.warm_start = warm_start
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    @all_or_nothing
    def fit(self, X, y, sample_weight=None, X_val=None, y_val=None, sample_weight_val=None):
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix, RowBlocks, Dask array or DataFrame} of shape (n_samples, n_features)
            Training rows. C-ordered float32 or float64 arrays and CSR matrices are not copied, and must not change
            during `fit`. `RowBlocks` are read block by block in each pass. So are an ``h5py.Dataset``, a
            ``zarr.Array``, and an ``np.memmap`` of another dtype or order, if they are larger than 16 MB.
            Blocks of a Dask collection stay on the workers of the current client; `y` and `sample_weight` are then Dask
            collections of the same blocks, or arrays.

        y : array-like of shape (n_samples,) or (n_samples, n_classes)
            Class labels of any kind, or a distribution over the classes in each row, one-hot or soft. The columns of a
            DataFrame name the classes.

        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row, 0 or more, which multiplies `C`. A row of weight 0 is ignored.

        X_val, y_val : like X and y, default=None
            Validation rows. `history_` records their loss after each iteration or step, and `early_stopping` uses it.

        sample_weight_val : array-like, default=None
            Weight of each validation row.

        Returns
        -------
        self : SoftmaxClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            If X or y hold NaN or infinity, y has only one class, a row of y is not a distribution, weights are negative
            or all zero, the shapes do not agree, or y holds soft targets and the loss is not defined for them.

        KeyboardInterrupt
            If the fit was interrupted. The estimator holds the best coefficients so far.
        """
        X, target, sample_weight = self._training_data(X, y, sample_weight)
        self._covariance = None  # of other coefficients
        X, target, sample_weight, validation = self._split(X, target, sample_weight, X_val, y_val, sample_weight_val)
        loss = check_loss(self.loss)
        objective = self._objective(X, target, sample_weight, loss, C=self.C, l1_ratio=self.l1_ratio)

        def fitted(theta: np.ndarray) -> dict[str, Any]:
            coef, intercept = objective.unpack(theta)
            return {
                "classes_": target.classes,
                "coef_": as_stored(coef, objective.design.dtype),
                "intercept_": as_stored(intercept, objective.design.dtype),
            }

        n_tasks = None if self.early_stopping else self.max_iter
        callbacks, end_callbacks = callbacks_of(self, X, y, sample_weight, n_tasks, fitted)
        validation_loss = validation and objective.loss_on(*validation)
        monitor = Monitor(
            objective,
            tol=self.tol,
            verbose=self.verbose,
            validation=validation_loss,
            n_iter_no_change=self.n_iter_no_change if self.early_stopping else None,
            callbacks=callbacks,
        )
        theta, n_iter, surrogate = self._start(objective, target), 0, None
        goes_on = self.warm_start and hasattr(self, "coef_")
        limits = {"tol": self.tol, "max_iter": self.max_iter}
        if not (loss.convex or goes_on or self.early_stopping):
            cross_entropy = self._objective(X, target, sample_weight, CrossEntropy(), C=self.C, l1_ratio=self.l1_ratio)
            surrogate = minimise(cross_entropy, theta, **limits, from_subsample=True)
            theta, n_iter = surrogate.theta, surrogate.n_iter
        if surrogate is not None and surrogate.status is Status.INTERRUPTED:
            solution = replace(surrogate, value=objective.value(theta), n_iter=0)
        elif self.early_stopping:
            solution = stop_early(
                objective, theta, self.l1_ratio, **limits, monitor=monitor,
                validation=validation_loss, n_validation=len(validation[1]),
            )  # fmt: skip
        else:
            solution = minimise(objective, theta, **limits, monitor=monitor, from_subsample=not goes_on)
        theta = monitor.best if self.early_stopping and monitor.best is not None else solution.theta
        self.n_iter_ = np.array([n_iter + solution.n_iter], dtype=np.int32)
        self.converged_ = solution.converged and theta is solution.theta
        self.history_ = monitor.close(solution.status)
        is_known = theta is solution.theta and np.isfinite(solution.value)
        self.objective_ = objective.unscaled(solution.value if is_known else objective.value(theta))
        if monitor.best_C > 0.0:  # the penalty that has left zeros, which stay zeros
            objective.penalise(monitor.best_C, self.l1_ratio)
        for name, value in fitted(theta).items():
            setattr(self, name, value)
        end_callbacks(theta)
        if solution.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        if theta is solution.theta or solution.status is Status.MAX_ITER:
            rows = objective.design.in_memory
            is_infinite, has_all = np.isinf(float(self.C)), rows is objective.design
            separation = find_separation(rows, target, theta) if is_infinite and has_all else None
            if separation is not None:
                message = separation.message(self.classes_, self._feature_names())
                self.converged_ = False
                warnings.warn(message, ConvergenceWarning, stacklevel=4)
            elif solution.status is Status.SEPARATED:
                self.converged_ = False
                warnings.warn(
                    "C is infinite, and the classes are perfectly separable: larger coefficients always have a smaller "
                    "loss. The coefficients are those where the fit stopped. Set a finite C.",
                    ConvergenceWarning,
                    stacklevel=4,
                )
            else:
                solution.warn(self.tol, self.max_iter)
        if self.early_stopping:
            _warn_if_no_better(monitor.best_loss, validation_loss(objective.start()))
        return self

    def _training_data(self, X: Any, y: Any, sample_weight: Any) -> tuple[Any, Target, np.ndarray | None]:
        """X, y and the weights of a fit, checked."""
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but the target y is None."
            )
        if is_dask(X):
            from ._dask import rows_of_collection

            X, y, sample_weight = rows_of_collection(X, y, sample_weight)
        refuse_dask(y, "y")
        refuse_dask(sample_weight, "sample_weight")
        X = self._rows(X, reset=True)
        if sp.issparse(X):
            check_csr(X)  # before SciPy selects rows
        target = X.target if hasattr(X, "target") else learn_target(y)
        _check_length(X, target)
        if target.n_classes < 2:
            raise ValueError(
                f"This solver needs samples of at least 2 classes in the data, but the data contains only one class: "
                f"{plain(target.classes[0])!r}"
            )
        loss = check_loss(self.loss)
        refuse_smoothing(loss, self.label_smoothing)
        if loss.one_hot_only and target.distribution is not None:
            raise ValueError(f"{loss} is not defined for soft targets: y must hold labels, or one-hot rows")
        return X, target, checked_weights(sample_weight, target)

    def _objective(
        self,
        X: Any,
        target: Target,
        sample_weight: np.ndarray | None,
        loss: Loss,
        *,
        class_mass: np.ndarray | None = None,
        **penalty: float,
    ) -> Objective:
        """The objective of these rows. `class_mass` is that of the prior, if it is not theirs."""
        row_loss = RowLoss(
            loss,
            class_weight=class_weights(self.class_weight, target, sample_weight),
            label_smoothing=self.label_smoothing,
            offset=_logit_offset(self.logit_adjustment, target, sample_weight, class_mass),
        )
        design = rows_of(
            X, target, row_loss=row_loss, sample_weight=sample_weight, fit_intercept=self.fit_intercept
        )
        objective = Objective(design, **penalty)
        if np.isinf(objective.C):
            design.check_small_columns()
        return objective

    def _covariance_of(
        self, X: Any, y: Any, sample_weight: Any, kind: str, groups: Any
    ) -> tuple[Covariance, Fit]:
        fit = self._as_fitted(X, y, sample_weight)
        return estimate_covariance(fit, kind, groups), fit

    def _as_fitted(self, X: Any, y: Any, sample_weight: Any) -> Fit:
        """The coefficients with the rows of `fit`, which are passed again."""
        check_is_fitted(self)
        if getattr(self, "early_stopping", False):
            raise ValueError(
                "early_stopping has chosen the coefficients by validation rows, so they are no minimum for all rows: "
                "fit with early_stopping=False and the C of the step that was kept"
            )
        refuse_dask(X, "X")
        X = self._rows(X, reset=False)
        if not is_in_memory(X):
            raise ValueError("X is read in blocks, but the errors of coefficients need it in memory: pass X[:]")
        if sp.issparse(X):
            check_csr(X)
        target = match_target(y, self.classes_)
        check_consistent_length(X, target)
        if target.labels is not None and (target.labels < 0).any():
            row = int(np.argmax(target.labels < 0))
            label = np.asarray(y, dtype=object).ravel()[row]
            raise ValueError(f"y has label {plain(label)!r} (row {row}) that the fit did not see: pass the y of fit")
        weight = checked_weights(sample_weight, X)
        C, l1_ratio = (self.C_, self.l1_ratio_) if hasattr(self, "C_") else (self.C, self.l1_ratio)
        objective = self._objective(X, target, weight, check_loss(self.loss), C=C, l1_ratio=l1_ratio)
        theta = objective.pack(self._dense_coef().astype(np.float64), self._model()[1].astype(np.float64))
        return Fit(X, target, weight, objective, theta, self._feature_names(), getattr(self, "converged_", False))

    def _split(
        self, X: Any, target: Target, sample_weight: Any, X_val: Any, y_val: Any, sample_weight_val: Any
    ) -> tuple[Any, Target, np.ndarray | None, tuple[Any, Target, np.ndarray | None] | None]:
        """What is fitted, and the validation rows, which are passed, or held out for early stopping, or None."""
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val go together: pass both, or neither")
        class_weight = class_weights(self.class_weight, target, sample_weight)
        if X_val is not None:
            refuse_dask(X_val, "X_val")
            X_val = self._rows(X_val, reset=False)
            if sp.issparse(X_val):
                check_csr(X_val)  # before SciPy counts what it holds
            seen = match_target(y_val, target.classes, name="y_val")
            _check_length(X_val, seen)
            if seen.labels is not None and (seen.labels < 0).any():
                row = int(np.argmax(seen.labels < 0))
                label = np.asarray(y_val, dtype=object).ravel()[row]
                raise ValueError(f"y_val has label {plain(label)!r} (row {row}) that y does not hold; drop such rows")
            weight = checked_weights(sample_weight_val, seen, "sample_weight_val")
            mass = seen.row_mass(weight, class_weight, self.label_smoothing)
            if mass is not None and not mass.any():
                raise ValueError(
                    f"class_weight={plain(self.class_weight)} leaves every row of y_val without weight: there is "
                    "nothing to validate on"
                )
            return X, target, sample_weight, (X_val, seen, weight)
        if sample_weight_val is not None:
            raise ValueError("sample_weight_val weighs the rows of X_val: pass X_val and y_val as well")
        if not self.early_stopping:
            return X, target, sample_weight, None
        if not is_in_memory(X):
            raise ValueError("early_stopping cannot hold out rows of X, which is not in memory: pass X_val and y_val")
        mass = target.row_mass(sample_weight, class_weight, self.label_smoothing)
        parts = [
            (X[rows], target[rows], None if sample_weight is None else sample_weight[rows])
            for rows in _hold_out(target, mass, self.validation_fraction, check_random_state(self.random_state))
        ]
        return *parts[0], parts[1]

    def _start(self, objective: Objective, target: Target) -> np.ndarray:
        if not (self.warm_start and hasattr(self, "coef_")):
            return objective.start()
        shape = (objective.design.n_outputs, objective.design.n_columns)
        coef, intercept = self._model()
        if coef.shape != shape or not np.array_equal(self.classes_, target.classes):
            raise ValueError(
                f"warm_start=True continues from coefficients of shape {coef.shape} for the classes "
                f"{plain(self.classes_)}, but these data ask for shape {shape} and the classes "
                f"{plain(target.classes)}; set warm_start=False, or fit a clone"
            )
        return objective.pack(self._dense_coef(), intercept)

    def decision_function(self, X):
        """Compute the logits of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix, RowBlocks, Dask array or DataFrame} of shape (n_samples, n_features)

        Returns
        -------
        ndarray, or a lazy Dask array, of shape (n_samples,) or (n_samples, n_classes)
            The logit of ``classes_[1]`` for two classes, and otherwise a logit for each class.
        """
        z = self._predict(X, "logits")
        return z[:, 0] if z.shape[1] == 1 else z

    def predict(self, X):
        """Predict the most probable class of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix, RowBlocks, Dask array or DataFrame} of shape (n_samples, n_features)

        Returns
        -------
        ndarray, or a lazy Dask array, of shape (n_samples,)
        """
        top = self._predict(X, "classes")  # which asks whether there are classes
        classes = np.asarray(self.classes_)
        return top.map_blocks(partial(np.take, classes), dtype=classes.dtype) if is_dask(top) else classes[top]

    def predict_proba(self, X):
        """Compute the probability of each class, in the order of `classes_`.

        Parameters
        ----------
        X : {array-like, sparse matrix, RowBlocks, Dask array or DataFrame} of shape (n_samples, n_features)

        Returns
        -------
        ndarray, or a lazy Dask array, of shape (n_samples, n_classes)
        """
        return self._predict(X, "probabilities")

    def predict_log_proba(self, X):
        """Compute the logarithm of each probability from the logits. It is finite if the probability underflows.

        Parameters
        ----------
        X : {array-like, sparse matrix, RowBlocks, Dask array or DataFrame} of shape (n_samples, n_features)

        Returns
        -------
        ndarray, or a lazy Dask array, of shape (n_samples, n_classes)
        """
        return self._predict(X, "log_probabilities")

    def score(self, X, y, sample_weight=None):
        """Compute the accuracy of the predictions.

        For distributions it is the expected accuracy, the mean probability of the predicted class in the targets.

        Parameters
        ----------
        X : {array-like, sparse matrix, RowBlocks} of shape (n_samples, n_features)

        y : array-like of shape (n_samples,) or (n_samples, n_classes)
            Labels or distributions, as in `fit`.

        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        float
        """
        if is_dask(X):
            from ._dask import mean_over_blocks

            return mean_over_blocks(copy(self).score, X, y, sample_weight)[0]
        refuse_dask(y, "y")
        refuse_masked(y, "y")
        refuse_masked(sample_weight, "sample_weight")
        if not is_distribution(y):
            return super().score(X, plain_labels(y), sample_weight)
        top, target = self._predict(X, "classes"), match_target(y, self.classes_)
        check_consistent_length(top, target, sample_weight)
        hit = target.distribution[np.arange(len(top)), top]
        return float(np.average(hit, weights=sample_weight))

    def covariance(self, X, y, sample_weight=None, *, kind="model", groups=None):
        r"""Estimate the covariance of the coefficients, for their standard errors.

        With the weights :math:`s_i` and the Hessian of the losses and the gradient of one row,

        .. math:: H = \sum_i s_i \, x_i x_i^\top \otimes (\mathrm{diag}(p_i) - p_i p_i^\top), \qquad
                  g_i = s_i \, x_i \otimes (p_i - t_i)

        and with the penalty divided by `C`, :math:`\Lambda`, whose entries are 1 / C for coefficients and 0 for
        intercepts, it is

        ===============  ===================================================================================
        ``"model"``      :math:`(H + \Lambda)^{-1} H (H + \Lambda)^{-1}`, the inverse of H without a penalty
        ``"robust"``     :math:`(H + \Lambda)^{-1} (\sum_i g_i g_i^\top) (H + \Lambda)^{-1}`
        ``"laplace"``    :math:`(H + \Lambda)^{-1}`
        ===============  ===================================================================================

        ``"model"`` holds if the model is right and a row of weight 2 stands for two equal rows. ``"robust"``
        (White's HC0) also holds if the model is only the best of its kind, and takes weights as those of a survey. Both
        are about the minimum of the expected objective, from which a penalty keeps the coefficients of the
        population. ``"laplace"`` is Laplace's approximation to the posterior for normal priors of variance `C`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The rows of `fit`.

        y : array-like of shape (n_samples,) or (n_samples, n_classes)
            The targets of `fit`.

        sample_weight : array-like of shape (n_samples,), default=None
            The weights of `fit`.

        kind : {"model", "robust", "laplace"}, default="model"
            Which covariance. Only ``"robust"`` allows `class_weight` and `label_smoothing`, with which the objective is
            no likelihood. All take the prior of `logit_adjustment` as known.

        groups : array-like of shape (n_samples,), default=None
            Groups of rows that depend on each other, such as those of one person, for ``kind="robust"``: the gradients
            are summed by group before they are squared. No factor corrects for a small number of groups.

        Returns
        -------
        float64 ndarray of shape (n_coefs, n_coefs)
            Entries are in the order of ``np.column_stack([coef_, intercept_]).ravel()``, or of ``coef_.ravel()``
            without an intercept. With three or more classes the coefficients sum to zero over the classes, and so do
            their covariances: the matrix is singular, and serves for differences between classes.

        Raises
        ------
        ValueError
            If the loss is not the cross-entropy, the penalty has an L1 part, the classes are separated and C is
            infinite, a feature is a combination of others, a class has no rows, there are more than 8192 coefficients,
            or the coefficients are more than a standard error away from the minimum for these rows.

        Warns
        -----
        ConvergenceWarning
            If they are more than a tenth of a standard error away from it.

        See Also
        --------
        coefficient_table : The standard errors, tests and intervals of the coefficients.
        marginal_effects : Effects of the features on the probabilities.

        Notes
        -----
        The memory is about four such matrices, and the time grows with the rows times the squared number of
        coefficients, and with its cube.

        References
        ----------
        White (1982), Maximum likelihood estimation of misspecified models, Econometrica 50(1), 1-25.
        Gray (1992), Flexible methods for analyzing survival data using splines, JASA 87(420), 942-951, section 2.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_iris
        >>> from xentropy import SoftmaxClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> clf = SoftmaxClassifier(C=np.inf, tol=1e-6).fit(X[50:], y[50:])
        >>> np.sqrt(np.diag(clf.covariance(X[50:], y[50:]))).round(2)
        array([ 2.39,  4.48,  4.74,  9.74, 25.71])
        """
        self._covariance, _ = self._covariance_of(X, y, sample_weight, kind, groups)
        return self._covariance.coefficients()

    def predict_proba_interval(self, X, *, level=0.95):
        r"""Compute intervals of the probabilities, from the covariance that :meth:`covariance` has last estimated.

        They are those of :math:`\log(p_k / (1 - p_k))`, by the delta method, so that they lie in [0, 1]. They are about
        the probability of the class, not about which class a row has.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        level : float, default=0.95
            Probability that an interval is to cover.

        Returns
        -------
        float64 ndarray of shape (n_samples, n_classes, 2)
            The lower and the upper bound for each class.

        Raises
        ------
        ValueError
            If :meth:`covariance` has not been called since the fit.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_iris
        >>> from xentropy import SoftmaxClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> clf = SoftmaxClassifier(C=np.inf, tol=1e-6).fit(X[50:], y[50:])
        >>> _ = clf.covariance(X[50:], y[50:])
        >>> clf.predict_proba_interval(X[[70]]).round(2)
        array([[[0.08, 0.96],
                [0.04, 0.92]]])
        """
        check_is_fitted(self)
        covariance = getattr(self, "_covariance", None)
        if covariance is None:
            raise ValueError(
                f"predict_proba_interval needs the covariance of the coefficients: call covariance(X, y) with the rows "
                f"of fit first, and again after each fit of this {type(self).__name__}"
            )
        logits = self._predict(X, "logits").astype(np.float64)
        logits = np.hstack([np.zeros_like(logits), logits]) if logits.shape[1] == 1 else logits
        X = self._rows(X, reset=False)
        out = np.empty((*logits.shape, 2))
        for rows in blocks_of_rows(len(out), (X.shape[1] + logits.shape[1]) * logits.shape[1]):
            out[rows] = proba_interval(covariance, X[rows], logits[rows], level)
        return out

    def sparsify(self):
        """Convert `coef_` to a CSR matrix, which is smaller and faster if most coefficients are zero.

        Returns
        -------
        self : SoftmaxClassifier
        """
        check_is_fitted(self)
        self.coef_ = sp.csr_matrix(self.coef_)
        return self

    def densify(self):
        """Convert `coef_` back to an array.

        Returns
        -------
        self : SoftmaxClassifier
        """
        check_is_fitted(self)
        self.coef_ = self._dense_coef()
        return self

    def to_sklearn(self):
        """Create an equivalent fitted :class:`~sklearn.linear_model.LogisticRegression`.

        It has the same coefficients, predictions, penalty and class weights, but no other parameters and attributes of
        this class. Use it for skops and other tools that support scikit-learn's estimators. skl2onnx converts this
        class itself.

        Returns
        -------
        sklearn.linear_model.LogisticRegression
        """
        check_is_fitted(self)
        C, l1_ratio = (self.C_, self.l1_ratio_) if hasattr(self, "C_") else (self.C, self.l1_ratio)
        model = LogisticRegression(
            C=C,
            **sklearns_penalty(l1_ratio),
            class_weight=self.class_weight,
            fit_intercept=self.fit_intercept,
            tol=self.tol,
            max_iter=self.max_iter,
        )
        model.classes_ = np.array(self.classes_)
        model.coef_ = np.array(self._dense_coef())
        model.intercept_ = np.array(self._model()[1])
        model.n_iter_ = np.array([np.max(getattr(self, "n_iter_", 0))], dtype=np.int32)
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self, name):
                setattr(model, name, copy(getattr(self, name)))
        return model

    def _rows(self, X: Any, *, reset: bool) -> Any:
        """X as the kernels read it: a C-ordered array or a CSR matrix, float64 or float32, or blocks of rows."""
        if self._is_plain(X, reset=reset):
            with np.errstate(over="ignore", invalid="ignore"):
                if np.isfinite(X.sum()):  # a sum that overflows is looked at again, number by number
                    if reset:
                        self.n_features_in_ = X.shape[1]
                        if hasattr(self, "feature_names_in_"):
                            del self.feature_names_in_
                    return X
        if (blocks := stored_array(X)) is not None:
            first = blocks.first_rows()
            _check_feature_names(self, first, reset=reset)
            _check_n_features(self, first, reset=reset)
            return blocks
        refuse_masked(X, "X")
        if isinstance(X, np.ndarray) and X.dtype.kind == "f" and X.dtype.itemsize <= 4:
            X = X.astype(np.float32, copy=False)  # float16, and the other byte order, would become float64
        X = validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], order="C", reset=reset)
        if sp.issparse(X):
            return with_usual_indices(X)
        return np.require(X, requirements=["C", "A"])  # a view of bytes may not be aligned

    def _is_plain(self, X: Any, *, reset: bool = False) -> bool:
        """Whether X is what `validate_data` would give back as it is, if its numbers are finite: asked first, as that
        takes longer than a row, and as long as many iterations."""
        return (
            type(X) is np.ndarray
            and X.dtype in (np.float64, np.float32)
            and X.ndim == 2
            and X.shape[0] > 0
            and X.shape[1] > 0
            and X.flags.c_contiguous
            and X.flags.aligned
            and (reset or (X.shape[1] == self._n_features() and not hasattr(self, "feature_names_in_")))
        )

    def _feature_names(self) -> list[str]:
        names = getattr(self, "feature_names_in_", None)
        return [f"x{j}" for j in range(self._n_features())] if names is None else [str(name) for name in names]

    def _n_features(self) -> int:
        """The number of features, which of coefficients that were set by hand is their number of columns."""
        return self.n_features_in_ if hasattr(self, "n_features_in_") else np.shape(self.coef_)[-1]

    def _model(self) -> tuple[Any, np.ndarray]:
        """W (R, d), which may be sparse, and b (R,). Set by hand, they may be a vector and a number."""
        coef = self.coef_ if sp.issparse(self.coef_) else np.atleast_2d(self.coef_)
        intercept = np.asarray(self.intercept_)
        if intercept.size == 1 and coef.shape[0] != 1:
            intercept = np.broadcast_to(intercept.ravel(), coef.shape[:1])
        if intercept.size != coef.shape[0]:
            raise ValueError(
                f"coef_ has {coef.shape[0]} rows, so intercept_ must hold as many numbers, or one; it has the shape "
                f"{intercept.shape}"
            )
        return coef, intercept.ravel()

    def _dense_coef(self) -> np.ndarray:
        coef, _ = self._model()
        return coef.toarray() if sp.issparse(coef) else coef

    def _predict(self, X: Any, kind: str) -> np.ndarray:
        """Logits (n, R), probabilities or their logarithms (n, K), or the index of the most probable class (n,) of each
        row."""
        check_is_fitted(self)
        n_classes = len(self.classes_)
        coef, intercept = self._model()
        if coef.shape[0] != (1 if n_classes == 2 and coef.shape[0] == 1 else n_classes):
            raise ValueError(
                f"coef_ has {coef.shape[0]} rows for {n_classes} classes; it must have one for each, or one in all for "
                "two classes"
            )
        if is_dask(X):
            from ._dask import dtype_of, predictions

            nothing = np.zeros((1, coef.shape[1]), dtype_of(X))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # it has no names
                example = self._predict(nothing, kind)
            return predictions(partial(copy(self)._predict, kind=kind), X, example)
        is_plain = isinstance(coef, np.ndarray) and self._is_plain(X)  # the kernel reports numbers that are not finite
        X = X if is_plain else self._rows(X, reset=False)
        if isinstance(X, RowBlocks):
            return X.predictions(lambda rows: self._predict(rows, kind))
        if X.shape[1] != coef.shape[1]:  # only if the coefficients were set by hand
            raise ValueError(
                f"X has {X.shape[1]} features, but {type(self).__name__} is expecting {coef.shape[1]} features as "
                f"input."
            )
        if not isinstance(coef, np.ndarray):
            if sp.issparse(X):
                check_csr(X)  # before SciPy multiplies
            return predict_by_sparse_coef(X, coef, intercept, n_classes, kind)
        out, finite = predict_by_kernel(X, coef, intercept, n_classes, kind)
        if finite:
            return out
        if is_plain:
            self._rows(X, reset=False)  # raises where it is X that is not finite
        return with_overflown(out, X, coef, intercept, n_classes, kind)

    def __sklearn_is_fitted__(self) -> bool:
        return all(hasattr(self, name) for name in ("classes_", "coef_", "intercept_"))

    def _fitted_attributes(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name.endswith("_") and not name.startswith("_")}

    @classmethod
    def _get_param_names(cls):
        return list(_parameter_names(cls))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


@cache
def _parameter_names(cls: type[SoftmaxClassifier]) -> tuple[str, ...]:
    """scikit-learn inspects the signature anew in each fit, which takes as long as some iterations."""
    return tuple(super(SoftmaxClassifier, cls)._get_param_names())  # type: ignore[misc]


def sklearns_penalty(l1_ratio: float) -> dict[str, Any]:
    """The parameters of LogisticRegression for this share of the L1 penalty, with a solver that knows it."""
    if l1_ratio == 0.0:
        return {}
    before_1_8 = parse_version(sklearn.__version__) < parse_version("1.8")
    return {"l1_ratio": l1_ratio, "solver": "saga", **({"penalty": "elasticnet"} if before_1_8 else {})}


def _hold_out(
    target: Target, mass: np.ndarray | None, fraction: float, random: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Rows to fit and rows to validate on: about that fraction of each class (for distributions: of the most probable
    class), one of each class to fit, and at least one to validate on. Rows without mass are no rows to validate on, nor
    are they that one of their class."""
    labels = target.labels if target.labels is not None else target.distribution.argmax(axis=1)  # type: ignore[union-attr]
    counted = np.arange(len(labels)) if mass is None else np.flatnonzero(mass)
    order = counted[random.permutation(len(counted))]
    held = np.zeros(len(labels), dtype=bool)
    # the first of each class stay; of the others, spread over the classes, every so many is held out
    by_class = order[np.argsort(labels[order], kind="stable")]
    first = np.r_[True, labels[by_class][1:] != labels[by_class][:-1]]
    spare = by_class[~first]
    n_held = min(max(1, round(fraction * len(counted))), len(spare))
    if n_held == 0:
        raise ValueError(
            f"early_stopping has no row to hold out: each of the {len(counted)} rows with weight is the only one of "
            "its class; pass X_val and y_val"
        )
    held[spare[((np.arange(n_held) + random.uniform()) * len(spare) / n_held).astype(np.intp)]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def as_stored(coef: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Coefficients or intercepts in the dtype of X."""
    with np.errstate(over="ignore"):
        stored = coef.astype(dtype, copy=False)
    if not np.isfinite(stored).all():
        at = np.argwhere(~np.isfinite(stored))[0]
        what = f"the coefficient of column {at[-1]} of X" if coef.ndim == 2 else "an intercept"
        raise ValueError(
            f"{what} is {coef[tuple(at)]:.4g}, which {dtype}, the dtype of X, cannot hold: pass X as float64, or in "
            f"units that give larger numbers"
        )
    return stored


def is_in_memory(X: Any) -> bool:
    """Whether what `SoftmaxClassifier._rows` has given is an array or a CSR matrix."""
    return isinstance(X, np.ndarray) or sp.issparse(X)


def _check_length(X: Any, target: Target) -> None:
    """Raise a ValueError unless X has as many rows as the target, as far as that is known."""
    if is_in_memory(X):
        check_consistent_length(X, target)
    elif X.n_rows not in (None, len(target)):
        raise ValueError(f"Found input variables with inconsistent numbers of samples: {[X.n_rows, len(target)]}")


def _warn_if_no_better(loss: float, of_prior: float) -> None:
    if loss >= of_prior:
        warnings.warn(
            f"The coefficients that early_stopping has kept predict the validation rows no better than the shares of "
            f"the classes do: their mean losses are {loss:.6g} and {of_prior:.6g}. The features tell nothing about "
            "these rows, or the rows are too few or not like those that were fitted. Pass other validation rows, or "
            "raise validation_fraction.",
            UserWarning,
            stacklevel=5,
        )


def checked_weights(sample_weight: Any, X: Any, name: str = "sample_weight") -> np.ndarray | None:
    if sample_weight is None:
        return None
    refuse_masked(sample_weight, name)
    weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if not weights.any():
        raise ValueError(
            f"Sample weights must contain at least one non-zero number. {name} is zero for every row: there is nothing "
            f"to fit"
        )
    with np.errstate(over="ignore"):
        if not np.isfinite(weights.sum()):
            raise ValueError(f"{name} sums to inf: divide it by its largest entry, and multiply C by that")
    return np.require(weights, requirements=["C", "A"])


def class_weights(class_weight: Any, target: Target, sample_weight: np.ndarray | None) -> np.ndarray | None:
    """The weight of each class, (K,), or None where all are 1."""
    if class_weight is None:
        return None
    if isinstance(class_weight, str):  # "balanced"
        mass = target.class_mass(sample_weight)
        if not mass.all():
            missing = plain(target.classes[mass == 0])
            raise ValueError(
                f"class_weight='balanced' has no weight for the classes {missing}, whose samples weigh nothing; drop "
                f"them, or pass class_weight as a dict"
            )
        with np.errstate(over="ignore"):
            balanced = mass.sum() / (target.n_classes * mass)
        if not np.isfinite(balanced).all():
            light = plain(target.classes[~np.isfinite(balanced)])
            raise ValueError(
                f"class_weight='balanced' gives infinite weights to the classes {light}, whose samples weigh next to "
                f"nothing; drop them, or pass class_weight as a dict"
            )
        return balanced
    weights = np.ones(target.n_classes)
    index = {c: k for k, c in enumerate(target.classes.tolist())}
    unknown = plain([c for c in class_weight if c not in index])
    unnamed = [c for c in index if c not in class_weight]
    if unknown and unnamed:  # a fold may lack a class, but one that has another name is a mistake
        raise ValueError(
            f"The classes, {unnamed}, are not in class_weight. It names {unknown} instead, which y does not hold: name "
            f"each class of y, or only classes of y"
        )
    for c, weight in class_weight.items():
        if not (isinstance(weight, Real) and 0 <= weight <= sys.float_info.max):  # type: ignore[operator]
            raise ValueError(f"class_weight[{plain(c)!r}]={plain(weight)!r} must be a finite number, 0 or more")
        if c in index:
            weights[index[c]] = weight
    if not weights[target.class_mass(sample_weight) > 0.0].any():
        raise ValueError(
            f"class_weight={plain(class_weight)} leaves every row of y without weight: there is nothing to fit"
        )
    return weights


def _logit_offset(
    tau: float, target: Target, sample_weight: np.ndarray | None, mass: np.ndarray | None
) -> np.ndarray | None:
    """tau log prior, for the logits of the fit: (K,), or (1,) for the sigmoid form. `mass` is that of the prior, if it
    is not that of the target."""
    if tau == 0.0:
        return None
    if mass is None:
        mass = target.class_mass(sample_weight)
    if not mass.all():
        missing = plain(target.classes[mass == 0])
        raise ValueError(
            f"logit_adjustment={tau} has no prior for the classes {missing}, whose samples weigh nothing; drop "
            f"them, or set logit_adjustment=0"
        )
    offset = float(tau) * (np.log(mass) - np.log(mass.sum()))  # shares may underflow
    return offset[1:] - offset[0] if target.n_classes == 2 else offset
