"""MultilabelClassifier: a logistic regression for each of several labels, from common passes over X.

Each label is a minimisation of its own, by the same solver as a `SoftmaxClassifier` of two classes: SciPy's L-BFGS-B in
preconditioned variables, or the methods for an L1 penalty. They run in lock step, a thread for each, so that one pass
over X evaluates all labels that have not converged (`_label_fits.py`). A vectorised L-BFGS for all labels would also
share the passes, but it would be a second solver beside the one that has been tested on hard data, without its
preconditioners, its L1 penalty and its path of penalties. The lock step adds two switches of threads to an evaluation,
some 20 microseconds for a label, where L-BFGS itself takes 200.
"""

from __future__ import annotations

import warnings
from copy import copy
from numbers import Integral, Real
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.special import expit, log_expit
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from ._arrays import refuse_dask, refuse_masked
from ._classifier import as_stored, checked_weights, class_weights, sklearns_penalty
from ._indicator import Indicator, is_indicator, learn_indicator, match_indicator
from ._kernels._linear import check_csr, linear_predict
from ._kernels._pointwise import softmax
from ._kernels._threads import effective_n_threads
from ._label_fits import Label, LabelFit, Settings, fit_labels, target_of
from ._lbfgs import Status
from ._losses import LOSSES, Loss, check_loss, refuse_smoothing
from ._messages import plain
from ._row_blocks import RowBlocks
from ._row_loss import RowLoss
from ._targets import Target, learn_target, match_target, plain_labels

# Labels that a warning names.
_MOST_NAMED = 5


class MultilabelClassifier(ClassifierMixin, BaseEstimator):
    r"""Linear classifier for several yes/no labels at once, each with its own logistic regression.

    With the logits :math:`z_{il} = w_l x_i + b_l` and :math:`p_{il} = 1 / (1 + e^{-z_{il}})`, it minimises for each
    label l

    .. math:: C \sum_i s_i \bigl(v_{l1} t_{il}\, \phi(-\log p_{il})
              + v_{l0} (1 - t_{il})\, \phi(-\log (1 - p_{il}))\bigr)
              + \frac{1 - \rho}{2} \lVert w_l \rVert_2^2 + \rho \lVert w_l \rVert_1,
              \qquad t_{il} = (1 - \epsilon)\, y_{il} + \epsilon / 2

    over :math:`w_l` and :math:`b_l`, with sample weights s, class weights v of the label, label smoothing
    :math:`\epsilon` and the share :math:`\rho` (`l1_ratio`) of the L1 penalty. The default is the cross-entropy,
    :math:`\phi(\ell) = \ell`, the binary cross-entropy of each label. Without label smoothing the optimum is that of
    one :class:`~sklearn.linear_model.LogisticRegression` for each label. A label can be missing in some rows.

    It takes less time than a fit for each label, because all labels share each pass over X. Class labels, in a `y` of
    one column, are fitted one-vs-rest, as by :class:`~sklearn.multiclass.OneVsRestClassifier`.

    Parameters
    ----------
    C : float, default=1.0
        Inverse of the strength of the penalty, the same for all labels. Smaller values regularise more, and ``inf``
        means no penalty.

    l1_ratio : float, default=0.0
        Share of the L1 penalty, in [0, 1]. If it is above 0, some coefficients can be exactly zero.

    loss : str or loss object, default="cross_entropy"
        One of the names "cross_entropy", "focal", "generalized", "poly", "symmetric", or an object that holds
        parameters, such as ``FocalLoss(gamma=2.0)``. If the loss is not convex, the fit of a label starts from its
        solution for the cross-entropy, unless there is `early_stopping`.

    label_smoothing : float, default=0.0
        Share of each target, in [0, 1], that is spread evenly over 0 and 1.

    class_weight : dict, list of dict, "balanced" or None, default=None
        Weights of the classes 0 and 1 of each label, ``{0: weight, 1: weight}``: one dict for all labels, or a list
        with one for each. ``"balanced"`` gives both classes of a label the same total weight. For class labels, in a
        `y` of one column, it has the weight of each class, ``{class: weight}``, which multiplies the weights of its
        rows; ``"balanced"`` gives each class the same total weight.

    pos_weight : float, array-like of shape (n_labels,) or None, default=None
        Weight of the positive targets of each label, besides `class_weight`.

    fit_intercept : bool, default=True
        Whether the model has intercepts b. They are not penalised.

    tol : float, default=1e-4
        The fit of a label ends when the norm of its preconditioned gradient is below `tol` times its objective, as in
        :class:`SoftmaxClassifier`. Labels that have converged cost nothing more.

    max_iter : int, default=1000
        The largest number of iterations of L-BFGS for a label. A `ConvergenceWarning` names the labels that reached it.

    warm_start : bool, default=False
        Whether `fit` starts from the solution of the previous fit.

    early_stopping : bool, default=False
        Whether to follow, for each label, a path of penalties to `C`, to stop when the validation loss of the label no
        longer improves, and to keep its coefficients with the least validation loss; see :class:`SoftmaxClassifier`.
        The validation rows are those passed to `fit`, or else training rows that are held out for all labels.

    validation_fraction : float, default=0.1
        Share of the rows with weight that `early_stopping` holds out if no validation rows are passed.

    n_iter_no_change : int, default=5
        `early_stopping` ends the fit of a label after this number of steps without a better validation loss.

    random_state : int, RandomState instance or None, default=None
        Determines which rows `early_stopping` holds out. Nothing else is random.

    verbose : int, default=0
        1 prints a line for each label when its fit has ended.

    Attributes
    ----------
    classes_ : ndarray of shape (n_labels,)
        The labels: ``arange(n_labels)`` or the columns of the DataFrame. For class labels, the sorted classes.

    coef_ : ndarray of shape (n_labels, n_features)
        Coefficients, in the dtype of X. Two classes have one row, for ``classes_[1]``.

    intercept_ : ndarray of shape (n_labels,)
        Intercepts.

    multilabel_ : bool
        Whether the model was fitted to an indicator of labels, and not to classes.

    n_features_in_ : int
        Number of features seen during fit.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if all names in X are strings.

    n_iter_ : int32 ndarray of shape (n_labels,)
        Number of iterations for each label.

    converged_ : bool ndarray of shape (n_labels,)
        Whether the gradient norm of each label reached `tol`. A label without a minimum has not converged, nor has one
        that `early_stopping` has ended before `C`. A constant label has converged.

    objective_ : float64 ndarray of shape (n_labels,)
        The objective of each label at the solution, or the sum of its losses if C is infinite.

    history_ : list of dicts of ndarrays
        For each label its `objective`, training `loss`, `gradient_norm`, `n_evaluations` and, with validation rows,
        `validation_loss`, as in :class:`SoftmaxClassifier`. Empty arrays for a constant label.

    See Also
    --------
    SoftmaxClassifier : Exactly one class for each row.
    binary_cross_entropy : The loss of logits of several labels.
    binary_log_loss : The metric of their probabilities.
    sklearn.multioutput.MultiOutputClassifier : One fit for each label, with any classifier.

    Notes
    -----
    Rows in which a label is missing are left out of the loss of that label, and count for the others. A label that is
    the same in all rows that have it has no minimum with an intercept. It gets a constant model, with coefficients of
    zero and the probability :math:`(n_1 + 1) / (n + 2)` by Laplace's rule of succession, where n is the weight of its
    rows and :math:`n_1` that of the positive ones; a warning names it. A label that is missing in all rows gets the
    probability 1/2 in this way.

    The memory is that of the states of the labels at work, at most about 256 MB or those of eight labels, and a byte
    for each entry of y. X is not copied if it is a C-ordered array or a CSR matrix of float32 or float64. Fits are
    deterministic: any number of threads gives the same bits.

    References
    ----------
    Nocedal & Wright (2006), Numerical Optimization, chapter 7 (L-BFGS).
    Rifkin & Klautau (2004), In Defense of One-Vs-All Classification, JMLR 5, 101-141.

    Examples
    --------
    The labels of a digit: it is even, it is above 4, it has a loop.

    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from xentropy import MultilabelClassifier
    >>> X, digit = load_digits(return_X_y=True)
    >>> y = np.column_stack([digit % 2 == 0, digit > 4, np.isin(digit, [0, 6, 8, 9])])
    >>> clf = MultilabelClassifier(C=0.01).fit(X, y)
    >>> digit[:3], clf.predict(X[:3])
    (array([0, 1, 2]), array([[1, 0, 1],
           [0, 0, 0],
           [1, 0, 0]]))
    >>> clf.predict_proba(X[:2]).round(1)
    array([[1. , 0.1, 1. ],
           [0. , 0. , 0. ]])

    A label may be missing in some rows:

    >>> partly = y.astype(float)
    >>> partly[::2, 1] = np.nan
    >>> MultilabelClassifier(C=0.01).fit(X, partly).predict(X[:1])
    array([[1, 0, 1]])

    Class labels are fitted one-vs-rest, with one pass over X for all classes:

    >>> one_vs_rest = MultilabelClassifier(C=0.01).fit(X, digit)
    >>> one_vs_rest.coef_.shape, one_vs_rest.predict(X[:3])
    ((10, 64), array([0, 1, 2]))
    """

    # scikit-learn's HTML shows what a parameter means only where there is a link: an anchor, as the site has no address
    _doc_link_module = "xentropy"
    _doc_link_template = "#{estimator_module}.{estimator_name}"

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012 (scikit-learn's protocol)
        "C": [Interval(Real, 0, None, closed="right")],
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
        "loss": [StrOptions(set(LOSSES)), Loss],
        "label_smoothing": [Interval(Real, 0, 1, closed="both")],
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
        "pos_weight": [Interval(Real, 0, None, closed="left"), "array-like", None],
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
        pos_weight=None,
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
        self.pos_weight = pos_weight
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
    def fit(self, X, y, sample_weight=None, X_val=None, y_val=None, sample_weight_val=None):
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training rows. C-ordered float32 or float64 arrays and CSR matrices are not copied, and must not change
            during `fit`.

        y : {array-like, sparse matrix} of shape (n_samples, n_labels) or (n_samples,)
            An indicator: each label is 0 or 1, a probability between them, or NaN if it is missing in that row. The
            columns of a DataFrame name the labels. A `y` of one column holds class labels of any kind.

        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row, 0 or more, which multiplies `C`. A row of weight 0 is ignored.

        X_val, y_val : like X and y, default=None
            Validation rows. `history_` records their loss after each iteration or step, and `early_stopping` uses it.

        sample_weight_val : array-like, default=None
            Weight of each validation row.

        Returns
        -------
        self : MultilabelClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            If X holds NaN or infinity, y holds something else than the above or only one class, weights are negative
            or all zero, the shapes do not agree, or y holds probabilities and the loss is not defined for them.

        KeyboardInterrupt
            If the fit was interrupted. The estimator holds the best coefficients so far.
        """
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but the target y is None."
            )
        X = self._rows(X, reset=True)
        loss = check_loss(self.loss)
        refuse_smoothing(loss, self.label_smoothing)
        classes, indicator, classes_of_rows = self._learn(y)
        check_consistent_length(X, indicator)
        if loss.one_hot_only and indicator.values.dtype.kind == "f":
            raise ValueError(f"{loss} is not defined for probabilities: y must hold 0 and 1")
        weight = checked_weights(sample_weight, X)
        if classes_of_rows is not None:
            weight = self._weights_of_classes(classes_of_rows, weight)
        starts = self._starts(classes, indicator.n_labels, X.shape[1], classes_of_rows is None)
        X, indicator, weight, validation = self._split(
            X, indicator, weight, X_val, y_val, sample_weight_val, classes, classes_of_rows
        )
        labels, constant = self._labels(indicator, weight, starts, is_multilabel=classes_of_rows is None)
        settings = Settings(
            C=self.C,
            l1_ratio=self.l1_ratio,
            row_loss=RowLoss(loss, label_smoothing=self.label_smoothing),
            fit_intercept=self.fit_intercept,
            tol=self.tol,
            max_iter=self.max_iter,
            early_stopping=self.early_stopping,
            n_iter_no_change=self.n_iter_no_change,
            verbose=self.verbose,
        )
        found, is_interrupted = fit_labels(
            X, indicator, labels, settings, sample_weight=weight, validation=validation
        )
        fits = dict(constant)
        for label, fit in zip(labels, found, strict=True):
            fits[label.index] = fit if fit is not None else _not_begun(label, X.shape[1])
        ordered = [fits[k] for k in range(indicator.n_labels)]
        self.classes_, self.multilabel_ = classes, classes_of_rows is None
        self.coef_ = as_stored(np.array([fit.coef for fit in ordered]), X.dtype)
        self.intercept_ = as_stored(np.array([fit.intercept for fit in ordered]), X.dtype)
        self.n_iter_ = np.array([fit.n_iter for fit in ordered], dtype=np.int32)
        self.converged_ = np.array([fit.converged for fit in ordered])
        self.objective_ = np.array([fit.objective for fit in ordered])
        self.history_ = [fit.history or {} for fit in ordered]
        if is_interrupted:
            raise KeyboardInterrupt
        self._warn(indicator.labels, fits, constant)
        return self

    def decision_function(self, X):
        """Compute the logit of each label.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_labels)
            For two classes, in a `y` of one column, it has the shape (n_samples,).
        """
        z = self._logits(X)
        return z if self.multilabel_ or z.shape[1] > 1 else z[:, 0]

    def predict(self, X):
        """Predict each label: 1 if its probability is above 0.5.

        For other thresholds compare `predict_proba` with them.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_labels)
            An indicator of integers. For class labels, it has the shape (n_samples,) and holds the most probable class.
        """
        z = self._logits(X)
        if self.multilabel_:
            return (z > 0.0).astype(np.int64)
        return self.classes_[z.argmax(axis=1) if z.shape[1] > 1 else (z[:, 0] > 0.0).astype(np.intp)]

    def predict_proba(self, X):
        """Compute the probability of each label.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_labels)
            The probabilities of the labels, which are independent of each other. For class labels, those of the
            classes: the one-vs-rest probabilities, divided by their sum.
        """
        z = self._logits(X)
        if self.multilabel_:
            return expit(z)
        if z.shape[1] == 1:
            return np.hstack([expit(-z), expit(z)])
        return softmax(np.ascontiguousarray(log_expit(z)), n_threads=effective_n_threads())

    def predict_log_proba(self, X):
        """Compute the logarithm of each probability from the logits. It is finite if the probability underflows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_labels)
        """
        z = self._logits(X)
        if self.multilabel_:
            return log_expit(z)
        if z.shape[1] == 1:
            return np.hstack([log_expit(-z), log_expit(z)])
        return softmax(np.ascontiguousarray(log_expit(z)), log=True, n_threads=effective_n_threads())

    def score(self, X, y, sample_weight=None):
        """Compute the subset accuracy, the share of the rows of which all labels are predicted correctly.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        y : {array-like, sparse matrix} of shape (n_samples, n_labels) or (n_samples,)
            An indicator of 0 and 1; or class labels, for which this is the accuracy.

        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        float
        """
        check_is_fitted(self)
        refuse_masked(sample_weight, "sample_weight")
        if not self.multilabel_:
            return super().score(X, plain_labels(y), sample_weight)
        indicator = match_indicator(y, self.classes_)
        if indicator.values.dtype.kind == "f" or indicator.has_missing:
            raise ValueError(
                "the subset accuracy is that of labels 0 and 1, but y holds probabilities or missing labels: use "
                "binary_log_loss"
            )
        return super().score(X, indicator.values.astype(np.int64), sample_weight)

    def to_sklearn(self):
        """Create an equivalent fitted :class:`~sklearn.multiclass.OneVsRestClassifier` of `LogisticRegression`.

        It has the same coefficients and predictions. Use it for skops, ONNX and other tools that support
        scikit-learn's estimators.

        Returns
        -------
        sklearn.multiclass.OneVsRestClassifier
        """
        check_is_fitted(self)
        member = LogisticRegression(
            C=self.C,
            **sklearns_penalty(self.l1_ratio),
            fit_intercept=self.fit_intercept,
            tol=self.tol,
            max_iter=self.max_iter,
        )
        model = OneVsRestClassifier(member)
        if self.multilabel_:
            if len(self.classes_) < 2:
                raise ValueError("OneVsRestClassifier has no model of a single label: use LogisticRegression")
            shown = np.eye(len(self.classes_), dtype=np.int64)
        else:
            shown = self.classes_
        model.label_binarizer_ = LabelBinarizer(sparse_output=True).fit(shown)
        if not hasattr(model, "classes_"):  # a property in some versions
            model.classes_ = model.label_binarizer_.classes_
        model.estimators_ = []
        names = [name for name in ("n_features_in_", "feature_names_in_") if hasattr(self, name)]
        for k in range(len(self.coef_)):
            one = LogisticRegression(**member.get_params())
            one.classes_ = np.arange(2)
            one.coef_, one.intercept_ = self.coef_[k : k + 1].copy(), self.intercept_[k : k + 1].copy()
            one.n_iter_ = np.array(self.n_iter_[k : k + 1])
            for name in names:
                setattr(one, name, copy(getattr(self, name)))
            model.estimators_.append(one)
        for name in names:
            setattr(model, name, copy(getattr(self, name)))
        return model

    # What is fitted

    def _rows(self, X: Any, *, reset: bool) -> Any:
        """X as the kernels read it: a C-ordered array or a CSR matrix, float64 or float32."""
        refuse_dask(X, "X")
        if isinstance(X, RowBlocks):
            raise ValueError(f"X must be in memory for {type(self).__name__}, but it is RowBlocks")
        refuse_masked(X, "X")
        if isinstance(X, np.ndarray) and X.dtype.kind == "f" and X.dtype.itemsize <= 4:
            X = X.astype(np.float32, copy=False)  # float16, and the other byte order, would become float64
        X = validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], order="C", reset=reset)
        if sp.issparse(X):
            check_csr(X)  # before SciPy selects rows
            return X
        return np.require(X, requirements=["C", "A"])

    def _learn(self, y: Any) -> tuple[np.ndarray, Indicator, Target | None]:
        """The classes, what is fitted for each of them, and the classes of the rows if `y` holds class labels."""
        refuse_dask(y, "y")
        if is_indicator(y):
            indicator = learn_indicator(y)
            return indicator.labels, indicator, None
        target = learn_target(y)
        if target.n_classes < 2:
            raise ValueError(
                f"This solver needs samples of at least 2 classes in the data, but the data contains only one class: "
                f"{plain(target.classes[0])!r}"
            )
        return target.classes, _one_vs_rest(target), target

    def _weights_of_classes(self, target: Target, weight: np.ndarray | None) -> np.ndarray | None:
        if isinstance(self.class_weight, list):
            raise ValueError(
                f"class_weight is a list of {len(self.class_weight)} dicts, one for each label of an indicator, but y "
                "holds class labels: pass a dict {class: weight}"
            )
        of_class = class_weights(self.class_weight, target, weight)
        return weight if of_class is None else target.row_mass(weight, of_class)

    def _starts(self, classes: np.ndarray, n_labels: int, n_features: int, is_multilabel: bool) -> Any:
        """The coefficients and intercepts to start with, or None."""
        if not (self.warm_start and hasattr(self, "coef_")):
            return None
        is_same = self.multilabel_ == is_multilabel and np.array_equal(self.classes_, classes)
        if not is_same or self.coef_.shape != (n_labels, n_features):
            raise ValueError(
                f"warm_start=True continues from coefficients of shape {self.coef_.shape} for the labels "
                f"{plain(self.classes_)}, but these data ask for shape {(n_labels, n_features)} and the labels "
                f"{plain(classes)}; set warm_start=False, or fit a clone"
            )
        return self.coef_.astype(np.float64), self.intercept_.astype(np.float64)

    def _split(
        self,
        X: Any,
        indicator: Indicator,
        weight: np.ndarray | None,
        X_val: Any,
        y_val: Any,
        sample_weight_val: Any,
        classes: np.ndarray,
        classes_of_rows: Target | None,
    ) -> tuple[Any, Indicator, np.ndarray | None, tuple[Any, Indicator, np.ndarray | None] | None]:
        """What is fitted, and the validation rows, which are passed, or held out for early stopping, or None."""
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val go together: pass both, or neither")
        if X_val is not None:
            X_val = self._rows(X_val, reset=False)
            if classes_of_rows is None:
                seen = match_indicator(y_val, classes, name="y_val")
            else:
                labels = match_target(y_val, classes, name="y_val")
                if labels.labels is None or (labels.labels < 0).any():
                    raise ValueError("y_val holds a label that y does not hold; drop such rows")
                seen = _one_vs_rest(labels)
            check_consistent_length(X_val, seen)
            weight_val = checked_weights(sample_weight_val, X_val, "sample_weight_val")
            if classes_of_rows is not None:
                weight_val = self._weights_of_classes(labels, weight_val)
            return X, indicator, weight, (X_val, seen, weight_val)
        if sample_weight_val is not None:
            raise ValueError("sample_weight_val weighs the rows of X_val: pass X_val and y_val as well")
        if not self.early_stopping:
            return X, indicator, weight, None
        counted = np.arange(len(indicator)) if weight is None else np.flatnonzero(weight)
        n_held = max(1, round(self.validation_fraction * len(counted)))
        if n_held >= len(counted):
            raise ValueError(
                f"early_stopping has no rows to hold out: there are {len(counted)} rows with weight; pass X_val and "
                "y_val"
            )
        order = check_random_state(self.random_state).permutation(counted)
        held, fitted = np.sort(order[:n_held]), np.sort(order[n_held:])
        parts = [
            (X[rows], indicator[rows], None if weight is None else weight[rows]) for rows in (fitted, held)
        ]
        return *parts[0], parts[1]

    def _labels(
        self, indicator: Indicator, weight: np.ndarray | None, starts: Any, *, is_multilabel: bool
    ) -> tuple[list[Label], dict[int, LabelFit]]:
        """The labels to fit, and the constant models of the others."""
        pos_weight = _checked_pos_weight(self.pos_weight, indicator.n_labels)
        of_labels: list[Any] = [self.class_weight if is_multilabel else None] * indicator.n_labels
        if isinstance(self.class_weight, list):
            if len(self.class_weight) != indicator.n_labels:
                raise ValueError(
                    f"class_weight has {len(self.class_weight)} dicts for {indicator.n_labels} labels: pass one for "
                    "each label"
                )
            of_labels = self.class_weight
        labels, constant = [], {}
        for k, name in enumerate(indicator.labels.tolist()):
            target, of_rows = target_of(indicator, k, weight)
            mass = target.class_mass(of_rows)
            if not mass.all():
                constant[k] = _constant(mass, self.label_smoothing, self.n_features_in_)
                continue
            weights = class_weights(of_labels[k], target, of_rows)
            if pos_weight is not None:
                weights = (np.ones(2) if weights is None else weights) * [1.0, pos_weight[k]]
            start = None if starts is None else (starts[0][k], float(starts[1][k]))
            labels.append(Label(k, name, weights, start))
        return labels, constant

    def _warn(self, names: np.ndarray, fits: dict[int, LabelFit], constant: dict[int, LabelFit]) -> None:
        def named(of: list[int]) -> str:
            more = f" and {len(of) - _MOST_NAMED} more" if len(of) > _MOST_NAMED else ""
            return ", ".join(repr(plain(names[k])) for k in of[:_MOST_NAMED]) + more

        fitted = {k: fit for k, fit in sorted(fits.items()) if k not in constant}
        if constant and self.multilabel_:  # of classes, those whose rows have no weight
            warnings.warn(
                f"These labels are the same in all rows that have them, or missing in all: {named(sorted(constant))}. "
                "They get constant models. Drop them, or pass rows that show both values.",
                UserWarning,
                stacklevel=4,
            )
        features = getattr(self, "feature_names_in_", [f"x{j}" for j in range(self.n_features_in_)])
        for k, fit in fitted.items():
            if fit.separation is not None:
                message = fit.separation.message(np.arange(2), features)
                warnings.warn(f"Label {plain(names[k])!r}: {message}", ConvergenceWarning, stacklevel=4)
        slow = [k for k, fit in fitted.items() if fit.status is Status.MAX_ITER and fit.separation is None]
        if slow:
            warnings.warn(
                f"L-BFGS stopped at max_iter={self.max_iter} for the labels {named(slow)}. Increase max_iter or tol, "
                "or decrease C.",
                ConvergenceWarning,
                stacklevel=4,
            )
        stalled = [k for k, fit in fitted.items() if fit.status is Status.STALLED and fit.separation is None]
        if stalled:
            warnings.warn(
                f"L-BFGS found no further decrease for the labels {named(stalled)}, though their gradients are longer "
                f"than tol={self.tol:.1e} asks for. Increase tol, or decrease C.",
                ConvergenceWarning,
                stacklevel=4,
            )
        useless = [k for k, fit in fitted.items() if fit.is_no_better]
        if useless:
            warnings.warn(
                f"The coefficients that early_stopping has kept for the labels {named(useless)} predict the validation "
                "rows no better than the shares of these labels do. The features tell nothing about them, or the rows "
                "are too few or not like those that were fitted. Pass other validation rows, or raise "
                "validation_fraction.",
                UserWarning,
                stacklevel=4,
            )

    def _logits(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        X = self._rows(X, reset=False)
        out, _ = linear_predict(
            X,
            np.ascontiguousarray(self.coef_.T, dtype=np.float64),
            np.ascontiguousarray(self.intercept_, dtype=np.float64),
            n_classes=2 if len(self.coef_) == 1 else len(self.coef_),
            kind="logits",
            compute="float32" if X.dtype == self.coef_.dtype == np.float32 else "float64",
            n_threads=effective_n_threads(),
        )
        return out

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.multi_output = True
        tags.classifier_tags.multi_label = True
        return tags


def _one_vs_rest(target: Target) -> Indicator:
    """Each class against the others; of two classes, the second."""
    if target.n_classes == 2:
        return Indicator(target.classes[1:], np.asarray(target.labels == 1, dtype=np.uint8)[:, None])
    values = np.zeros((len(target), target.n_classes), dtype=np.uint8)
    values[np.arange(len(target)), target.labels] = 1
    return Indicator(target.classes, values)


def _constant(mass: np.ndarray, smoothing: float, n_features: int) -> LabelFit:
    """The model of a label of which all rows have the same value, or that is missing: Laplace's rule of succession."""
    odds = (mass[1] + 1.0) / (mass[0] + 1.0)
    if smoothing:
        share = (1.0 - smoothing) / (1.0 + 1.0 / odds) + 0.5 * smoothing
        odds = share / (1.0 - share)
    return LabelFit(np.zeros(n_features), float(np.log(odds)), converged=True, status=Status.CONVERGED)


def _not_begun(label: Label, n_features: int) -> LabelFit:
    """What an interrupt leaves of a label whose fit had not begun: its start."""
    coef, intercept = label.start or (np.zeros(n_features), 0.0)
    return LabelFit(coef, intercept)


def _checked_pos_weight(pos_weight: Any, n_labels: int) -> np.ndarray | None:
    if pos_weight is None:
        return None
    weights = np.asarray(pos_weight, dtype=np.float64)
    if weights.ndim and weights.shape != (n_labels,):
        raise ValueError(f"pos_weight has shape {weights.shape}, but there are {n_labels} labels: pass one for each")
    wrong = ~((weights >= 0.0) & np.isfinite(weights))
    if wrong.any():
        raise ValueError(f"pos_weight holds {weights[wrong].flat[0]}: weights are finite numbers, 0 or more")
    return np.broadcast_to(weights, n_labels)
