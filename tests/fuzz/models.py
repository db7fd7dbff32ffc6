"""Fits of odd data, and fitted models whose attributes were edited before they predict."""

import warnings

import numpy as np
import reference
import scipy.sparse as sp
from cases import LAYOUTS, chance, csr, distribution, laid_out, loss, numbers, pick, size, weights
from functions import CLEAN
from sklearn.exceptions import NotFittedError

import xentropy as xe

METHODS = ["predict", "predict_proba", "predict_log_proba", "decision_function"]


def _y(rng, n, n_classes):
    """Labels of some kind, or distributions."""
    index = rng.integers(0, n_classes, n)
    index[: min(n, n_classes)] = np.arange(min(n, n_classes))
    kind = pick(rng, ["integers", "strings", "floats", "objects", "bytes", "large", "soft", "column"])
    if kind == "strings":
        return np.array([f"class {k}" for k in range(n_classes)])[index]
    if kind == "objects":
        return np.array([f"class {k}" for k in range(n_classes)], dtype=object)[index]
    if kind == "bytes":
        return np.array([f"class {k}" for k in range(n_classes)], dtype="S")[index]
    if kind == "floats":
        return index.astype(float)
    if kind == "large":
        return index * (1 << 40) - (1 << 62)
    if kind == "soft" and n_classes > 1:
        return distribution(rng, n, n_classes)
    return index[:, None] if kind == "column" else index


def _hostile(rng, X):
    """X in units that hardly fit together, or with numbers that stand for something else, or that do not vary."""
    how = pick(rng, ["units", "sentinels", "constant", "equal columns", "one row differs"])
    X = X.copy()
    if how == "units":
        reach = float(pick(rng, [3, 150, 307]))
        with np.errstate(over="ignore"):
            X *= 10.0 ** rng.uniform(-reach, reach, X.shape[1])
    elif how == "sentinels":
        X[rng.random(X.shape) < 0.1] = pick(rng, [-999.0, 1e9, -1e20, 1e300])
    elif how == "equal columns":
        X[:] = X[:, :1]
    elif len(X):
        X[:] = X[0]
        if how == "one row differs":
            X[rng.integers(len(X))] *= pick(rng, [0.0, 1.0 + 1e-12, 1e10])
    return X


def _options(rng):
    chosen = loss(rng)
    return {
        "C": float(pick(rng, [1.0, 1e-3, 10.0, np.inf, 10.0 ** rng.uniform(-300, 300)])),
        "l1_ratio": float(pick(rng, [0.0, 0.0, 0.5, 1.0])),
        "loss": chosen,
        "label_smoothing": 0.0 if chosen.one_hot_only else float(pick(rng, [0.0, 0.1])),
        "class_weight": pick(rng, [None, None, "balanced"]),
        "logit_adjustment": float(pick(rng, [0.0, 0.0, 1.0])),
        "fit_intercept": chance(rng, 0.8),
        "max_iter": int(pick(rng, [0, 1, 30, 1000])),
        "tol": float(pick(rng, [0.0, 1e-4, 1e-2])),
        "early_stopping": chance(rng, 0.15),
        "random_state": 0,
    }


def check_model(clf, X):
    """The attributes and the predictions of a fitted model agree with each other."""
    n_classes, d = len(clf.classes_), clf.n_features_in_
    n_outputs = 1 if n_classes == 2 else n_classes
    assert clf.coef_.shape == (n_outputs, d)
    assert clf.intercept_.shape == (n_outputs,)
    assert np.isfinite(clf.coef_).all()
    assert np.isfinite(clf.intercept_).all()
    p = clf.predict_proba(X)
    assert p.shape == (np.shape(X)[0], n_classes)
    finite = np.isfinite(clf.decision_function(X).reshape(len(p), -1)).all(axis=1)  # rows of weight 0 may be huge
    p[~finite] = 1.0 / n_classes
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-5)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(np.exp(clf.predict_log_proba(X)[finite]), p[finite], rtol=1e-4, atol=1e-6)
    assert set(clf.predict(X).tolist()) <= set(np.asarray(clf.classes_).tolist())


def fits(rng):
    """A fit of any data with any options: an error that says why, or a model that hangs together."""
    n, d = size(rng, 0, 65), size(rng, 0, 33)
    n_classes = int(pick(rng, [1, 2, 2, 3, 3, 5, 9, max(1, n)]))
    dtype = pick(rng, [np.float64, np.float64, np.float32, np.float16, np.int32, bool])
    scale = float(pick(rng, [1.0, 1.0, 1e-3, 1e3]))
    odd = float(pick(rng, [0.0, 0.0, 0.0, 0.02]))
    if chance(rng, 0.3):
        X = csr(rng, n, d, pick(rng, [np.float32, np.float64]))
        X.data[:] = numbers(rng, len(X.data), X.dtype, odd=odd)
    else:
        is_float = np.dtype(dtype).kind == "f"
        X = numbers(rng, (n, d), np.float64 if not is_float else dtype, scale=scale)
        if dtype == np.float64 and d and chance(rng):
            X = _hostile(rng, X)
            if chance(rng, 0.2):
                with np.errstate(over="ignore"):
                    X = X.astype(np.float32)
        if is_float and odd:
            at = rng.random(X.shape) < odd
            X[at] = rng.choice([np.nan, np.inf, 0.0, -0.0], np.count_nonzero(at))
        X = laid_out(rng, X if is_float else X.astype(dtype), pick(rng, LAYOUTS))
    y, s = _y(rng, n, n_classes), weights(rng, n)
    clf = xe.SoftmaxClassifier(**_options(rng))
    if chance(rng, 0.15):
        options = clf.get_params(deep=False) | {"Cs": int(pick(rng, [1, 3])), "cv": 2, "early_stopping": False}
        names = xe.SoftmaxClassifierCV().get_params(deep=False)
        clf = xe.SoftmaxClassifierCV(**{name: value for name, value in options.items() if name in names})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # NumPy's, of an overflow that nobody expected
            warnings.filterwarnings("ignore", "invalid value encountered in reduce")  # scikit-learn's, of inf - inf
            clf.fit(X, y, sample_weight=s)
    except CLEAN:
        return
    check_model(clf, X)
    plain = clf.class_weight is None and clf.logit_adjustment == 0 and clf.loss.name == "cross_entropy"
    if plain and not getattr(clf, "early_stopping", False) and not sp.issparse(X) and np.asarray(X).dtype == np.float64:
        Xd = np.asarray(X, np.float64)
        index = np.searchsorted(clf.classes_, np.ravel(y)) if np.ndim(y) == 1 or y.shape[1] == 1 else None
        t = np.eye(len(clf.classes_))[index] if index is not None else y
        C, l1_ratio = (clf.C_, clf.l1_ratio_) if hasattr(clf, "C_") else (clf.C, clf.l1_ratio)
        coef, intercept = clf.coef_, clf.intercept_
        if len(coef) == 1:
            coef, intercept = reference.two_columns(coef, intercept)
        data = reference.linear_loss(Xd, t, coef, intercept, sample_weight=s, label_smoothing=clf.label_smoothing)
        penalty = (1 - l1_ratio) / 2 * np.sum(clf.coef_**2) + l1_ratio * np.abs(clf.coef_).sum()
        want = float(C * data + penalty if np.isfinite(C) else data)
        # before the minimum, L-BFGS may count an L1 penalty for both parts of a coefficient
        above = clf.objective_ if l1_ratio > 0 and not clf.converged_ else want
        # where terms of a logit cancel, the sum of the losses has their rounding
        terms = np.abs(Xd) @ np.abs(coef).T + np.abs(intercept)
        rounding = np.finfo(np.float64).eps * terms.max(axis=1, initial=0.0) @ (np.ones(n) if s is None else s)
        tol = 1e-6 * abs(want) + 1e-9 + (C if np.isfinite(C) else 1.0) * rounding
        is_right = want == clf.objective_ or (want - clf.objective_ <= tol and clf.objective_ - above <= tol)
        assert is_right, f"objective_ {clf.objective_!r}, not {want!r}"


def label_fits(rng):
    """A fit of any labels, of which some are missing, soft, constant or classes."""
    n, d, n_labels = size(rng, 0, 65), size(rng, 0, 17), size(rng, 0, 20)
    dtype = pick(rng, [np.float64, np.float32])
    if chance(rng, 0.3):
        X = csr(rng, n, d, dtype)
        X.data[:] = numbers(rng, len(X.data), X.dtype)
    else:
        X = numbers(rng, (n, d), dtype)
        X = _hostile(rng, X) if d and dtype == np.float64 and chance(rng) else X
        X = laid_out(rng, X, pick(rng, LAYOUTS))
    kind = pick(rng, ["hard", "hard", "missing", "soft", "bool", "CSR", "classes", "wrong"])
    y = (rng.random((n, n_labels)) < rng.random(n_labels)).astype(float)
    if kind == "missing":
        y[rng.random(y.shape) < rng.random()] = np.nan
    elif kind == "soft":
        y = rng.random(y.shape)
    elif kind == "wrong":
        y[rng.random(y.shape) < 0.1] = pick(rng, [2.0, -1.0, np.inf])
    elif kind == "bool":
        y = y.astype(bool)
    elif kind == "CSR":
        y = sp.csr_array(y)
    elif kind == "classes":
        y = _y(rng, n, int(pick(rng, [1, 2, 3, 9])))
    options = {name: value for name, value in _options(rng).items() if name != "logit_adjustment"}
    options["max_iter"] = min(options["max_iter"], 50)  # of each label: a tol of 0 takes all of them
    s = weights(rng, n)
    clf = xe.MultilabelClassifier(**options, pos_weight=pick(rng, [None, None, 0.0, 3.0]))
    try:
        clf.fit(X, y, sample_weight=s)
    except CLEAN:
        return
    n_outputs = len(clf.coef_)
    assert clf.coef_.shape == (n_outputs, d)
    assert np.isfinite(clf.coef_).all()
    assert np.isfinite(clf.intercept_).all()
    for name in ("intercept_", "n_iter_", "converged_", "objective_", "history_"):
        assert len(getattr(clf, name)) == n_outputs
    p = clf.predict_proba(X)
    assert p.shape == (n, len(clf.classes_))
    finite = np.isfinite(p)
    assert ((p[finite] >= 0.0) & (p[finite] <= 1.0)).all()
    if clf.multilabel_:
        np.testing.assert_array_equal(clf.predict(X), clf.decision_function(X) > 0.0)  # p rounds to 0.5
        with np.errstate(all="ignore"):
            np.testing.assert_allclose(np.exp(clf.predict_log_proba(X)[finite]), p[finite], rtol=1e-4, atol=1e-6)
    else:
        assert set(clf.predict(X).tolist()) <= set(np.asarray(clf.classes_).tolist())


def _edited(rng, clf):
    """Edits an attribute, and returns its name and what was done."""
    coef, intercept, classes = clf.coef_, clf.intercept_, clf.classes_
    edits = {
        "coef_": {
            "shorter": coef[:, :-1],
            "longer": np.hstack([coef, coef]),
            "one row more": np.vstack([coef, coef[:1]]),
            "no row": coef[:0],
            "flat": coef.ravel(),
            "3-D": coef[None],
            "transposed": coef.T,
            "NaN": np.where(rng.random(coef.shape) < 0.3, np.nan, coef),
            "infinity": np.where(rng.random(coef.shape) < 0.3, np.inf, coef),
            "huge": coef * 1e308,
            "float32": coef.astype(np.float32),
            "float16": coef.astype(np.float16),
            "longdouble": coef.astype(np.longdouble),
            "integers": np.round(coef).astype(int),
            "bool": coef > 0,
            "objects": coef.astype(object),
            "strings": coef.astype(str),
            "complex": coef.astype(complex),
            "a list": coef.tolist(),
            "a matrix": np.asmatrix(coef),
            "F": np.asfortranarray(coef),
            "strided": np.repeat(coef, 2, axis=1)[:, ::2],
            "reversed": coef[:, ::-1],
            "byte-swapped": coef.astype(">f8"),
            "CSR": sp.csr_matrix(coef),
            "CSR array": sp.csr_array(coef),
            "CSC": sp.csc_matrix(coef),
            "None": None,
            "a number": 1.0,
        },
        "intercept_": {
            "shorter": intercept[:-1],
            "longer": np.append(intercept, intercept),
            "2-D": intercept[:, None],
            "a number": 0.0,
            "NaN": np.full_like(intercept, np.nan),
            "float32": intercept.astype(np.float32),
            "objects": intercept.astype(object),
            "strings": intercept.astype(str),
            "complex": intercept.astype(complex),
            "a list": intercept.tolist(),
            "None": None,
            "strided intercept": np.repeat(intercept, 2)[::2],
        },
        "classes_": {
            "shorter": classes[:-1],
            "longer": np.append(classes, classes),
            "one": classes[:1],
            "empty": classes[:0],
            "a list": classes.tolist(),
            "2-D": classes[:, None],
            "None": None,
        },
        "n_features_in_": {"fewer": clf.n_features_in_ - 1, "more": clf.n_features_in_ + 1, "None": None, "text": "5"},
    }
    name = str(pick(rng, list(edits)))
    how = str(pick(rng, list(edits[name])))
    setattr(clf, name, edits[name][how])
    return name, how


def _fitted(n_classes, d):
    clf = xe.SoftmaxClassifier()
    rng = np.random.default_rng([n_classes, d])
    n_outputs = 1 if n_classes == 2 else n_classes
    clf.classes_, clf.n_features_in_ = np.arange(n_classes), d
    clf.coef_, clf.intercept_ = rng.standard_normal((n_outputs, d)), rng.standard_normal(n_outputs)
    return clf


# An edit that is no model any more. Python says so, if we do not.
NO_MODEL = (*CLEAN, NotFittedError, AttributeError, IndexError)


def attributes(rng):
    """A model with an edited attribute: an error, or the predictions that it describes."""
    n_classes, d = int(pick(rng, [2, 3, 3, 5])), size(rng, 1, 33)
    clf = _fitted(n_classes, d)
    name, how = _edited(rng, clf)
    X = csr(rng, size(rng, 1), d) if chance(rng, 0.3) else numbers(rng, (size(rng, 1), d))
    method = str(pick(rng, METHODS))
    before = repr(vars(clf))
    try:
        with np.errstate(all="ignore"):
            got = getattr(clf, method)(X)
    except NO_MODEL:
        return
    assert repr(vars(clf)) == before
    coef = clf.coef_.toarray() if sp.issparse(clf.coef_) else np.atleast_2d(np.asarray(clf.coef_, np.float64))
    intercept, classes = np.asarray(clf.intercept_, np.float64), np.asarray(clf.classes_)
    n_outputs = len(classes) if len(classes) != 2 or len(coef) == 2 else 1  # two classes may have a row each
    where = f"{name} {how}, {method}: {np.shape(got)}"
    assert coef.shape == (n_outputs, d), where
    assert intercept.ravel().shape == (n_outputs,) or intercept.size == 1, where
    with np.errstate(all="ignore"):
        z = (X.toarray() if sp.issparse(X) else X) @ coef.T + intercept.ravel()
        if not np.isfinite(z).all():
            return
        full = np.hstack([np.zeros_like(z), z]) if len(classes) == n_outputs + 1 else z
        log_p = reference.log_softmax(full).astype(float)
    want = {
        "predict": classes.ravel()[full.argmax(axis=1)],
        "predict_proba": np.exp(log_p),
        "predict_log_proba": log_p,
        "decision_function": z[:, 0] if n_outputs == 1 else z,
    }[method]
    if method == "predict":
        assert np.mean(np.ravel(got) == want) >= 0.9, where  # rounding decides between equal logits
    else:
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * max(1.0, np.abs(z).max()), err_msg=where)
