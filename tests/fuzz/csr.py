"""CSR matrices whose three arrays were edited after they were made, at every door that takes one."""

import numpy as np
import scipy.sparse as sp
from cases import HARMFUL, HARMLESS, chance, csr, dense_of, pick, size, spoilt
from functions import CLEAN

import xentropy as xe
from xentropy._kernels._linear import LinearPass, linear_predict


def is_valid(X):
    """Whether the arrays of a CSR matrix describe a matrix, by the definition of the format."""
    data, indices, indptr = X.data, X.indices, X.indptr
    n, d = X.shape
    if not (data.ndim == indices.ndim == indptr.ndim == 1 and indices.dtype.kind in "iu" and indptr.dtype.kind in "iu"):
        return False
    at = indptr.astype(object)
    if len(at) != n + 1 or at[0] != 0 or any(at[1:] < at[:-1]) or at[-1] > len(indices) or len(indices) != len(data):
        return False
    return bool(((indices >= 0) & (indices < d)).all())


def _doors(rng, n, d, n_classes):
    """Functions of X that return numbers which are the same for a dense X, by name."""
    n_outputs = 1 if n_classes == 2 else n_classes
    coef, intercept = rng.standard_normal((n_outputs, d)), rng.standard_normal(n_outputs)
    y = np.arange(n) % n_classes
    fitted = xe.SoftmaxClassifier(max_iter=1)
    fitted.classes_, fitted.n_features_in_ = np.arange(n_classes), d
    fitted.coef_, fitted.intercept_ = coef, intercept
    sparsified = xe.SoftmaxClassifier()
    vars(sparsified).update(vars(fitted))
    sparsified.coef_ = sp.csr_matrix(coef)
    train = np.random.default_rng(0).standard_normal((40, d))
    options = {"C": 0.1, "tol": 1e-6}
    tile_rows = pick(rng, [None, 1, 5])

    known = xe.SoftmaxClassifier(C=0.1).fit(train, np.arange(40) % n_classes)
    known.covariance(train, np.arange(40) % n_classes)

    def refitted(X):
        return xe.SoftmaxClassifier(C=0.1, tol=1e-8).fit(X, y)

    def linear_pass(X):
        grad = np.zeros((d, n_outputs)), np.zeros(n_outputs)
        labels = y.astype(np.int32)
        work = LinearPass(X, n_classes, labels=labels, sigmoid=n_outputs == 1, tile_rows=tile_rows)
        return work.loss_gradient(coef.T.copy(), intercept, *grad), *grad

    return {
        "linear_cross_entropy": lambda X: xe.linear_cross_entropy(X, y, coef, intercept, return_grad=True)[0],
        "predict_proba": fitted.predict_proba,
        "predict": fitted.predict,
        "sparsified": sparsified.predict_log_proba,
        "scorer": lambda X: xe.neg_log_loss_scorer(fitted, X, y),
        "linear_predict": lambda X: linear_predict(X, coef.T.copy(), intercept, n_classes=n_classes)[0],
        "LinearPass": lambda X: linear_pass(X)[0],
        "fit": lambda X: xe.SoftmaxClassifier(**options).fit(X, y).objective_,
        "early stopping": lambda X: xe.SoftmaxClassifier(
            **options, early_stopping=True, random_state=0, validation_fraction=0.3
        ).fit(X, y).intercept_.shape,
        "X_val": lambda X: xe.SoftmaxClassifier(**options).fit(
            train, np.arange(40) % n_classes, X_val=X, y_val=y
        ).history_["validation_loss"][0],
        "covariance": lambda X: refitted(X).covariance(X, y, kind="robust"),
        "predict_proba_interval": known.predict_proba_interval,
        "leave_one_out": lambda X: xe.leave_one_out(refitted(X), X, y).leverage,
        "SoftmaxClassifierCV": lambda X: xe.SoftmaxClassifierCV(Cs=[0.1, 1.0], cv=2).fit(X, y).coef_.shape,
    }  # fmt: skip


def spoilt_csr(rng):
    """A matrix that is no matrix is an error, and one that is only odd gives what the dense one gives."""
    n, d, n_classes = size(rng, 8, 33), size(rng, 1, 33), int(pick(rng, [2, 3, 4]))
    dtype = pick(rng, [np.float64, np.float64, np.float32])
    good = csr(rng, n, d, dtype, density=float(pick(rng, [0.05, 0.4])))
    how = pick(rng, HARMLESS if chance(rng, 0.4) else HARMFUL)
    X = spoilt(rng, good, how)
    doors = _doors(rng, n, d, n_classes)
    name = str(pick(rng, list(doors)))
    kept = [a.tobytes() for a in (X.data, X.indices, X.indptr)]
    try:
        got = doors[name](X)
    except CLEAN:
        if how in HARMLESS:
            raise
        return
    assert kept == [a.tobytes() for a in (X.data, X.indices, X.indptr)], f"{name} writes to X ({how})"
    assert is_valid(X), f"{how} at {name} is no error: {got!r}"
    if X.data.dtype.kind == "f" and np.isfinite(X.data).all():
        tol = 1e-3 if dtype == np.float32 else 1e-5
        np.testing.assert_allclose(got, doors[name](dense_of(X)), rtol=tol, atol=tol, err_msg=f"{how} at {name}")
