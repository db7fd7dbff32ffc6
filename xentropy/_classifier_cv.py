"""SoftmaxClassifierCV: SoftmaxClassifier with the strength and the kind of its penalty chosen by cross-validation."""

from __future__ import annotations

import inspect
import warnings
from copy import copy
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from sklearn import config_context
from sklearn.base import _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer, get_scorer_names
from sklearn.metrics._scorer import _BaseScorer
from sklearn.model_selection import check_cv
from sklearn.utils import _safe_indexing, indexable
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metadata_routing import (
    UNUSED,
    MetadataRouter,
    MethodMapping,
    _raise_for_params,
    _routing_enabled,
    process_routing,
)
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _check_method_params, check_is_fitted

from ._arrays import refuse_dask
from ._callbacks import FoldTasks, SearchTasks
from ._classifier import SoftmaxClassifier, all_or_nothing, as_stored, class_weights, is_in_memory
from ._inference import MAX_VARIABLES, Fit
from ._lbfgs import Status
from ._leave_one_out import leave_each_out
from ._losses import check_loss
from ._messages import plain
from ._metrics import make_log_loss_scorer
from ._path import Path
from ._targets import Target, is_distribution, plain_labels

# The default score; where metadata is routed it takes the weights as well
with config_context(enable_metadata_routing=True):
    _LOG_LOSS = make_log_loss_scorer().set_score_request(sample_weight=True)
# Parameters of SoftmaxClassifier that the search sets, or that make no sense in it
_NOT_SHARED = (
    "C", "l1_ratio", "warm_start", "early_stopping", "validation_fraction", "n_iter_no_change", "random_state",
)  # fmt: skip


class SoftmaxClassifierCV(SoftmaxClassifier):
    """`SoftmaxClassifier` with `C` and `l1_ratio` chosen by cross-validation.

    Each fold fits a path of solutions from the strongest penalty to the weakest, in which each fit starts from the
    solutions before it. The left-out rows score each solution, and the pair with the best mean score is fitted to all
    rows.

    Parameters
    ----------
    Cs : int or array-like of float, default=10
        The values of `C`. An int is a number of values, spaced evenly on a log scale from 1e-4 to 1e4.

    l1_ratios : array-like of float, default=(0.0,)
        The values of `l1_ratio`, each in [0, 1].

    cv : int, splitter, iterable or None, default=None
        How to split, as in :func:`~sklearn.model_selection.check_cv`. None means 5 folds, stratified by class, or fewer
        if the largest class has fewer rows. Distributions are stratified by their most probable class. A fold may lack
        a class. ``"loo"`` leaves out each row, approximately, as `leave_one_out` does: with one fit for each `C`, for
        the cross-entropy without an L1 penalty. Its score is the negative mean loss of the rows, with their weights,
        and it counts as one fold. With more than 8192 coefficients the folds of None are used instead, and a warning
        says so.

    scoring : str, callable or None, default=None
        How to score the left-out rows, where larger is better. None means the negative log loss. A scorer is called
        with a fitted `SoftmaxClassifier`, in which a class that no training row of the fold holds has the probability
        0. If the metric takes `labels`, it is given all classes, since the left-out rows may lack one.

    refit : bool, default=True
        Whether to fit the best pair to all rows. Otherwise the coefficients, intercepts, `C_` and `l1_ratio_` are the
        means over the folds of the best solution in each fold.

    n_jobs : int or None, default=None
        Number of folds that are fitted in parallel; see :term:`n_jobs`.

    loss, label_smoothing, class_weight, logit_adjustment, fit_intercept, tol, max_iter
        As in `SoftmaxClassifier`. ``class_weight="balanced"`` balances all rows, not those of each fold, and the prior
        of `logit_adjustment` is that of all rows. `tol` applies to the final fit. The fits of the folds are only
        compared with each other, so they end earlier: when the gradient norm is a tenth of its value at the solution
        for the previous `C`, but between `tol` and 100 times `tol`, or 3 times with an L1 penalty.

    verbose : int, default=0
        1 prints a line for each fold, and the output of `SoftmaxClassifier` for the final fit.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        As in `SoftmaxClassifier`. The same holds for `coef_`, `intercept_`, `n_features_in_`, `feature_names_in_`, and,
        with `refit`, for `converged_`, `objective_` and `history_`.

    C_, l1_ratio_ : float
        The best pair.

    Cs_, l1_ratios_ : ndarray of shape (n_cs,) and (n_l1_ratios,)
        The values that were tried.

    scores_ : ndarray of shape (n_folds, n_l1_ratios, n_cs)
        Score of each fit on its left-out rows.

    coefs_paths_ : ndarray of shape (n_folds, n_l1_ratios, n_cs, 1 or n_classes, n_features (+ 1))
        Coefficients of each fit, followed by its intercept if there is one.

    n_iter_ : ndarray of shape (n_folds, n_l1_ratios, n_cs)
        Number of iterations of each fit.

    See Also
    --------
    sklearn.linear_model.LogisticRegressionCV : The same search. Its attributes have these shapes with
        ``use_legacy_attributes=False``.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from xentropy import SoftmaxClassifierCV
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = SoftmaxClassifierCV(Cs=[0.01, 1.0, 100.0]).fit(X, y)
    >>> clf.C_
    100.0
    >>> clf.scores_.mean(axis=0).round(3)
    array([[-0.639, -0.14 , -0.055]])
    """

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012 (scikit-learn's protocol)
        **{k: v for k, v in SoftmaxClassifier._parameter_constraints.items() if k not in _NOT_SHARED},
        "Cs": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "l1_ratios": ["array-like"],
        "cv": ["cv_object", StrOptions({"loo"})],
        "scoring": [StrOptions(set(get_scorer_names())), callable, None],
        "refit": ["boolean"],
        "n_jobs": [Integral, None],
    }

    # `score` passes sample_weight to the scorer, as in scikit-learn, and does not ask for it itself
    __metadata_request__score = {"sample_weight": UNUSED}  # noqa: RUF012 (scikit-learn's protocol)

    def __init__(
        self,
        *,
        Cs=10,
        l1_ratios=(0.0,),
        cv=None,
        scoring=None,
        refit=True,
        n_jobs=None,
        loss="cross_entropy",
        label_smoothing=0.0,
        class_weight=None,
        logit_adjustment=0.0,
        fit_intercept=True,
        tol=1e-4,
        max_iter=1000,
        verbose=0,
    ):
        self.Cs = Cs
        self.l1_ratios = l1_ratios
        self.cv = cv
        self.scoring = scoring
        self.refit = refit
        self.n_jobs = n_jobs
        self.loss = loss
        self.label_smoothing = label_smoothing
        self.class_weight = class_weight
        self.logit_adjustment = logit_adjustment
        self.fit_intercept = fit_intercept
        self.tol = tol
        self.max_iter = max_iter
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    @all_or_nothing
    def fit(self, X, y, sample_weight=None, **params):
        """Choose the penalty by cross-validation, and fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training rows, which must not change during `fit`.

        y : array-like of shape (n_samples,) or (n_samples, n_classes)
            Class labels or distributions, as in `SoftmaxClassifier.fit`.

        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row, in the fits and in the scores.

        **params : dict
            Metadata that routing passes to the splitter and the scorer, such as ``groups``.

        Returns
        -------
        self : SoftmaxClassifierCV
            The fitted estimator.
        """
        _raise_for_params(params, self, "fit")
        refuse_dask(X, "X")
        rows, target, weight = self._training_data(X, y, sample_weight)
        if not is_in_memory(rows):
            raise ValueError(
                f"{type(self).__name__} selects the rows of its folds, so X must be in memory, and is read in blocks: "
                f"pass X[:], or fit SoftmaxClassifier with X_val and y_val for each C"
            )
        self._covariance = None  # of other coefficients
        Cs = np.logspace(-4, 4, self.Cs) if isinstance(self.Cs, Integral) else _values("Cs", self.Cs)
        l1_ratios = _values("l1_ratios", self.l1_ratios)
        split_params, score_params = self._routed("fit", sample_weight, params)
        shares = target.labels if target.labels is not None else target.distribution.argmax(axis=1)
        leaves_one_out = self._leaves_one_out(target, rows.shape[1], l1_ratios)
        if leaves_one_out:
            folds: list[tuple[Any, Any]] = [(slice(None), None)]
        else:
            given = self.cv is not None and not isinstance(self.cv, str)
            cv = self.cv if given else max(2, min(5, np.bincount(shares).max()))
            folds = list(check_cv(cv, shares, classifier=True).split(rows, shares, **split_params))
        (y_rows,) = indexable(y if target.labels is None or is_distribution(y) else target.classes[target.labels])
        scorer = _told_classes(self._scorer, target.classes)
        class_mass = target.class_mass(weight)

        tasks = SearchTasks(self, X, y, sample_weight, len(folds), len(Cs) * len(l1_ratios), refit=self.refit)
        member = self._member(target, weight)
        results = Parallel(n_jobs=self.n_jobs)(
            delayed(_follow_path)(
                member, rows, target, weight, class_mass, train, test, Cs, l1_ratios, scorer, y_rows,
                {} if leaves_one_out else _check_method_params(X, score_params, test),
                ("leave-one-out" if leaves_one_out else f"fold {i + 1} of {len(folds)}") if self.verbose else "",
                tasks.folds[i],
            )
            for i, (train, test) in enumerate(folds)
        )
        self.classes_, self.Cs_, self.l1_ratios_ = target.classes, Cs, l1_ratios
        self.coefs_paths_ = np.array([r.coefs for r in results])
        self.scores_ = np.array([r.scores for r in results])
        self.n_iter_ = np.array([r.n_iter for r in results], dtype=np.int32)
        self._warn_of_unfinished(sum(r.n_unfinished for r in results))

        if self.refit:
            mean = self.scores_.mean(axis=0)
            at_C, at_l1 = np.unravel_index(np.argmax(mean.T), mean.T.shape)
            self.C_, self.l1_ratio_ = float(Cs[at_C]), float(l1_ratios[at_l1])
            member.set_params(C=self.C_, l1_ratio=self.l1_ratio_, warm_start=True, verbose=self.verbose)
            member.classes_ = target.classes
            member.coef_, member.intercept_ = self._unstack(self.coefs_paths_[:, at_l1, at_C].mean(axis=0))
            tasks.refit(member, lambda: member.fit(X, y, sample_weight))
            for name in ("coef_", "intercept_", "converged_", "objective_", "history_"):
                setattr(self, name, getattr(member, name))
        else:
            best = self.scores_.reshape(len(folds), -1).argmax(axis=1)
            at_l1, at_C = np.unravel_index(best, self.scores_.shape[1:])
            self.C_, self.l1_ratio_ = float(Cs[at_C].mean()), float(l1_ratios[at_l1].mean())
            coef, intercept = self._unstack(self.coefs_paths_[np.arange(len(folds)), at_l1, at_C].mean(axis=0))
            self.coef_, self.intercept_ = as_stored(coef, rows.dtype), as_stored(intercept, rows.dtype)
        tasks.end()
        return self

    def score(self, X, y, sample_weight=None, **score_params):
        """Score with `scoring`, which is the negative log loss by default.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        y : array-like of shape (n_samples,) or (n_samples, n_classes)

        sample_weight : array-like of shape (n_samples,), default=None

        **score_params : dict
            Metadata that routing passes to the scorer.

        Returns
        -------
        float
        """
        _raise_for_params(score_params, self, "score")
        _, score_params = self._routed("score", sample_weight, score_params)
        check_is_fitted(self)
        y = y if is_distribution(y) else plain_labels(y)
        return _told_classes(self._scorer, self.classes_)(self, X, y, **score_params)

    def get_metadata_routing(self):
        """Get the metadata routing for the splitter and the scorer.

        Returns
        -------
        sklearn.utils.metadata_routing.MetadataRouter
        """
        return (
            MetadataRouter(owner=self)
            .add_self_request(self)
            .add(splitter=self.cv, method_mapping=MethodMapping().add(caller="fit", callee="split"))
            .add(
                scorer=self._scorer,
                method_mapping=MethodMapping().add(caller="fit", callee="score").add(caller="score", callee="score"),
            )
        )

    @property
    def _scorer(self) -> Any:
        return _LOG_LOSS if self.scoring is None else get_scorer(self.scoring)

    def _routed(
        self, caller: str, sample_weight: Any, params: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The parameters of the splitter, and those of the scorer."""
        weighted = {} if sample_weight is None else {"sample_weight": sample_weight}
        if not _routing_enabled():
            return {}, {**params, **weighted}
        routed = process_routing(self, caller, **weighted, **params)
        return routed.splitter.split if caller == "fit" else {}, routed.scorer.score

    def _member(self, target: Target, weight: np.ndarray | None) -> SoftmaxClassifier:
        """The classifier whose penalty is sought."""
        names = SoftmaxClassifier._get_param_names()
        shared = {name: value for name, value in self.get_params(deep=False).items() if name in names}
        class_weight = class_weights(self.class_weight, target, weight)
        if class_weight is not None:  # of all rows: a fold without some class has no balance of its own
            shared["class_weight"] = dict(zip(target.classes.tolist(), class_weight.tolist(), strict=True))
        return SoftmaxClassifier(**{**shared, "verbose": 0})

    def _leaves_one_out(self, target: Target, n_features: int, l1_ratios: np.ndarray) -> bool:
        """Whether to leave out single rows, which some parameters do not allow."""
        if not isinstance(self.cv, str):
            return False
        if l1_ratios.any():
            raise ValueError(
                f"cv='loo' approximates fits with an L2 penalty only, but l1_ratios={plain(self.l1_ratios)!r}: use "
                "l1_ratios=(0.0,), or a number of folds"
            )
        if self.scoring is not None:
            raise ValueError("cv='loo' scores by the log loss: leave scoring=None, or use a number of folds")
        m = (n_features + self.fit_intercept) * (target.n_classes - 1)
        if m <= MAX_VARIABLES:
            return True
        warnings.warn(
            f"cv='loo' needs the inverse of a matrix of {m} x {m}, one row for each coefficient, which for more than "
            f"{MAX_VARIABLES} takes too much memory and time: folds are used instead, as with cv=None.",
            UserWarning,
            stacklevel=4,
        )
        return False

    def _unstack(self, coefs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients and intercepts of an entry of `coefs_paths_`."""
        return (coefs[:, :-1], coefs[:, -1]) if self.fit_intercept else (coefs, np.zeros(len(coefs)))

    def _warn_of_unfinished(self, n_unfinished: int) -> None:
        if n_unfinished:
            warnings.warn(
                f"{n_unfinished} of the {self.n_iter_.size} fits of the cross-validation did not converge within "
                f"max_iter={self.max_iter} iterations (tol={self.tol:.1e}). Increase max_iter or tol, or leave out the "
                "largest Cs.",
                ConvergenceWarning,
                stacklevel=5,
            )


@dataclass(frozen=True)
class _Path:
    """The solutions of one fold, for each l1_ratio and C."""

    coefs: np.ndarray
    scores: np.ndarray
    n_iter: np.ndarray
    n_unfinished: int


def _follow_path(
    member: SoftmaxClassifier,
    X: Any,
    target: Target,
    sample_weight: np.ndarray | None,
    class_mass: np.ndarray,
    train: np.ndarray | slice,
    test: np.ndarray | None,
    Cs: np.ndarray,
    l1_ratios: np.ndarray,
    scorer: Any,
    y: Any,
    score_params: dict[str, Any],
    announced: str,
    tasks: FoldTasks | None,
) -> _Path:
    """Fit the rows `train` for each pair of penalties, from the strongest on, and score the rows `test`, or each of the
    fitted rows as if it were left out if `test` is None."""
    weight = None if sample_weight is None else sample_weight[train]
    if weight is not None and not weight.any():
        raise ValueError("sample_weight is zero for every training row of a fold; drop the rows of weight zero")
    seen = target[train].class_mass(weight) > 0.0
    objective = member._objective(
        X[train], target[train], weight, check_loss(member.loss), class_mass=class_mass, C=Cs.max()
    )
    path = Path(objective, member.tol)
    X_test, y_test = (None, None) if test is None else (X[test], _safe_indexing(y, test))
    if tasks is not None:
        tasks.begin(X[train], y if test is None else _safe_indexing(y, train), weight)
    shape = (len(l1_ratios), len(Cs))
    scores, n_iter, n_unfinished = np.empty(shape), np.empty(shape, dtype=np.int64), 0
    coefs = np.empty((*shape, objective.design.n_outputs, objective.design.n_columns + objective.design.fit_intercept))
    for i, l1_ratio in enumerate(l1_ratios):
        path.begin(objective.start())
        for j in np.argsort(Cs, kind="stable"):
            if tasks is not None:
                tasks.begin_fit()
            solution = path.minimise(Cs[j], l1_ratio, member.max_iter, is_last=test is None)
            if solution.status is Status.INTERRUPTED:
                raise KeyboardInterrupt
            coef, intercept = objective.unpack(solution.theta)
            coefs[i, j] = np.column_stack([coef, intercept]) if objective.design.fit_intercept else coef
            n_iter[i, j], n_unfinished = solution.n_iter, n_unfinished + (not solution.converged)
            member.classes_, member.n_features_in_ = target.classes, X.shape[1]
            member.coef_ = as_stored(coef, X.dtype)
            member.intercept_ = _excluding(as_stored(intercept, X.dtype), seen)
            if test is None:
                fit = Fit(X, target, sample_weight, objective, solution.theta, member._feature_names())
                scores[i, j] = -np.average(leave_each_out(fit).loss, weights=sample_weight)
            else:
                scores[i, j] = scorer(member, X_test, y_test, **score_params)
            if tasks is not None:
                tasks.end_fit(member._fitted_attributes())
    if tasks is not None:
        tasks.end(member._fitted_attributes())
    if announced:
        print(f"[xentropy] {announced}: best score {scores.max():.6g}", flush=True)
    return _Path(coefs, scores, n_iter, n_unfinished)


def _told_classes(scorer: Any, classes: np.ndarray) -> Any:
    """The scorer, told all classes if its metric asks for them, as rows that are scored may lack a class. This is what
    LogisticRegressionCV does, except that what the scorer says of classes itself is kept."""
    asked = inspect.signature(scorer._score_func).parameters if isinstance(scorer, _BaseScorer) else {}
    if "labels" not in asked:
        return scorer
    told = {"labels": classes}
    if len(classes) == 2 and "pos_label" in asked:
        told["pos_label"] = classes[-1]
    scorer = copy(scorer)
    scorer._kwargs = {**told, **scorer._kwargs}
    return scorer


def _excluding(intercept: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """The intercepts with which each class that is not `seen` has the probability 0. In the solution it has next to
    none, and how little depends on `tol`."""
    if seen.all():
        return intercept
    least = np.finfo(intercept.dtype).min / 4  # finite, as metrics of logits ask, and finite after X @ W is added
    if len(intercept) == 1:
        return np.full_like(intercept, -least if seen[1] else least)
    return np.where(seen, intercept, least)


def _values(name: str, values: Any) -> np.ndarray:
    """The values of a grid of penalties, checked."""
    grid = np.asarray(values, dtype=np.float64)
    right = (grid > 0.0) if name == "Cs" else (grid >= 0.0) & (grid <= 1.0)
    if grid.ndim != 1 or not len(grid) or not right.all():
        meant = "numbers above 0" if name == "Cs" else "numbers in [0, 1]"
        raise ValueError(f"{name}={plain(values)!r} must be one or more {meant}")
    return grid
