"""The functions on logits and probabilities, in every layout and dtype, against the oracle."""

import contextlib
import math
import warnings

import numpy as np
import oracle
import reference
import scipy.sparse as sp
from cases import (
    chance,
    csr,
    dense_of,
    distribution,
    labels,
    laid_out,
    loss,
    numbers,
    pick,
    size,
    weights,
)

import xentropy as xe

CLEAN = (ValueError, TypeError)  # what bad input raises


def raises(call, *args, errors=CLEAN, **options):
    """Check that bad input is an error that says something."""
    try:
        got = call(*args, **options)
    except errors as error:
        message = str(error)
    else:
        raise AssertionError(f"bad input gives {got!r}")
    assert len(message) > 10, message


def called(call, *args, **options):
    """The result, after a check that the arguments were not written to."""
    arrays = [a for a in (*args, *options.values()) if isinstance(a, np.ndarray)]
    before = [a.tobytes() for a in arrays]
    got = call(*args, **options)
    assert before == [a.tobytes() for a in arrays], "an argument was written to"
    return got


def same_bits(a, b):
    a, b = np.asarray(a), np.asarray(b)
    assert a.dtype == b.dtype
    assert a.shape == b.shape
    np.testing.assert_array_equal(a, b)


def close(got, want, rtol, atol=0.0, overflows=False):
    """Whether numbers agree with extended precision. Infinity will do where something `overflows`, and where a number,
    or one within the tolerance of it, is beyond the dtype."""
    with np.errstate(all="ignore"):
        got, want = np.asarray(got), np.asarray(want)
        wanted, tol = want.astype(np.float64), rtol * np.abs(want).astype(np.float64) + atol
        fine = (got == wanted) | (np.isnan(got) & np.isnan(wanted))
        fine |= np.isfinite(wanted) & (np.abs(got - wanted) <= tol)
        fine |= np.isinf(got) & (overflows | (np.abs(wanted) + tol >= float(np.finfo(got.dtype).max)))
    assert fine.all(), f"{got[~fine].ravel()[:4]} instead of {wanted[~fine].ravel()[:4]}, rtol={np.max(rtol):.2g}"


def faint(s, mass):
    """Rows that have weights, whose products underflow in part."""
    with np.errstate(all="ignore"):
        return (s != 0) & (np.asarray(s * mass, np.float64) < np.finfo(np.float64).tiny)


def is_divisor(mass):
    """Whether a mean can be taken of rows that weigh so much together. All rows of no weight have a mean of 0."""
    info = np.finfo(np.float64)
    return mass == 0 or 1 / np.longdouble(info.max) < mass <= info.max


def mean_or_error(call, args, options, want, rtol):
    """A mean of weights whose sum is none of float64's numbers or has no inverse there: an error, or the right mean."""
    try:
        value = called(call, *args, **options)
    except ValueError:
        return
    close(value, want, rtol, 1e-30)


def options_of(rng, n_classes, soft):
    """Options of a loss, as keyword arguments."""
    chosen = loss(rng)
    smoothing = float(pick(rng, [0.0, 0.0, 0.1, 1.0]))
    if chosen.one_hot_only:
        smoothing = 0.0
    w = None if chance(rng) else np.round(rng.uniform(0, 3, n_classes))
    if soft and chosen.one_hot_only:
        chosen = xe.CrossEntropy()
    return chosen, smoothing, w


def shape_of(rng):
    """The leading axes of logits."""
    return pick(rng, [(), (size(rng),), (size(rng),), (size(rng),), (size(rng, 0, 9), size(rng, 0, 9))])


def tolerance(dtype, z):
    """Relative error of losses: each exponent is rounded to its own unit in the last place."""
    finite = np.where(np.isfinite(z), z, 0).astype(np.longdouble)
    gap = np.minimum(np.ptp(finite, axis=-1).astype(float), 800.0) if z.size else np.zeros(z.shape[:-1])
    return 4.0 * float(np.finfo(dtype).eps) * (8.0 + gap)


def wrong_options(rng, lead, n_classes, y):
    """An option that is an error, whatever the others."""
    n = math.prod(lead)
    return pick(
        rng,
        [
            {"sample_weight": np.full((*lead, 2), 1.0)},
            {"class_weight": np.ones(n_classes + 1)},
            {"class_weight": np.full(n_classes, -1.0)},
            {"class_weight": np.full(n_classes, np.nan)},
            {"label_smoothing": float(pick(rng, [-0.1, 1.5, np.nan]))},
            {"loss": "squared"},
            {"reduction": "median"},
            *([{"sample_weight": np.full(lead, pick(rng, [-1.0, np.nan, np.inf]))}] if n else []),
            *([{"y_true": y[..., None, None]}]),
        ],
    )


def cross_entropy(rng):
    """cross_entropy of any logits, in any layout."""
    lead, n_classes = shape_of(rng), size(rng, 1)
    n = math.prod(lead)
    dtype, soft = pick(rng, [np.float32, np.float64, np.float16]), chance(rng, 0.3)
    compute = np.float32 if dtype == np.float16 else dtype
    scale = float(pick(rng, [1.0, 10.0, 100.0, 1e4]))
    z = numbers(rng, (*lead, n_classes), dtype, scale=scale, odd=float(pick(rng, [0, 0, 0.03, 0.5])))
    y = distribution(rng, n, n_classes, pick(rng, [np.float32, np.float64])) if soft else labels(rng, n, n_classes)
    y = y.reshape((*lead, n_classes) if soft else lead)
    chosen, smoothing, w = options_of(rng, n_classes, soft)
    s = weights(rng, n)
    s = s if s is None else s.reshape(lead)
    options = {"sample_weight": s, "class_weight": w, "label_smoothing": smoothing, "loss": chosen}
    ignored = None
    if not soft and chance(rng, 0.2):
        ignored = int(pick(rng, [-1, 0, 10**9, -(10**30)]))
        options["ignore_index"] = ignored
    if chance(rng, 0.1):
        wrong = options | wrong_options(rng, lead, n_classes, y)
        raises(xe.cross_entropy, wrong.pop("y_true", y), z, **wrong)
        return
    if not soft and n and ignored is None and s is None and chance(rng, 0.1):
        raises(xe.cross_entropy, labels(rng, n, n_classes, wrong=True).reshape(lead), z, **options)
        return
    moved = {k: laid_out(rng, v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    args = laid_out(rng, y), laid_out(rng, z)
    flat_z = np.asarray(z, compute).reshape(n, n_classes)
    flat_s = np.ones(n) if s is None else s.ravel().copy()
    if ignored is not None:
        flat_s[np.asarray(y).ravel().astype(object) == ignored] = 0
    t = y.reshape(n, n_classes).astype(compute) if soft else oracle.hot(y.ravel(), n_classes)
    with np.errstate(all="ignore"):
        want, want_grad, most = oracle.rows(
            flat_z, t, chosen, sample_weight=flat_s, class_weight=w, label_smoothing=smoothing
        )
        rtol, size_of = tolerance(compute, flat_z), flat_s * (1.0 if w is None else w.max())
        huge = most.astype(float) * np.maximum(size_of, 1.0) > np.finfo(compute).max / 1e4
        mass = (flat_s[:, None] * t.astype(np.longdouble) * (1.0 if w is None else w)).sum()
        asked = np.sum(((1 - smoothing) * t + smoothing) * (1 if w is None else w), axis=1, dtype=np.longdouble)
        asked[np.isnan(asked)] = 0
    free = faint(flat_s, asked)  # of class weights of 0: NaN or 0
    losses, grads = called(xe.cross_entropy, *args, **moved, reduction="none", return_grad=True)
    assert np.shape(losses) == lead
    assert grads.shape == z.shape
    assert grads.dtype == compute
    losses, grads = np.ravel(losses), grads.reshape(n, n_classes)
    tiny = 4 * float(np.finfo(compute).tiny)
    close(losses[~free], want[~free], rtol[~free], tiny * np.maximum(1, size_of[~free]), overflows=huge[~free])
    far = free | huge
    close(grads[~far], want_grad[~far], 8 * rtol[~far, None], (rtol * size_of)[~far, None] * 2 + tiny)
    for reduction in ("sum", "mean"):
        if reduction == "mean" and not is_divisor(mass):
            if not free.any() and not huge.any():
                mean_or_error(xe.cross_entropy, args, moved, want.sum() / mass, rtol.max(initial=1e-15))
            continue
        value, grad = called(xe.cross_entropy, *args, **moved, reduction=reduction, return_grad=True)
        plain, plain_grad = xe.cross_entropy(y, z, **options, reduction=reduction, return_grad=True)
        same_bits(value, plain)
        same_bits(grad, plain_grad)
        scale = 1.0 if reduction == "sum" else float(1.0 / mass if mass else 0.0)
        free = faint(flat_s, asked * np.longdouble(scale))
        if not free.any() and not huge.any() and scale:
            close(value, want.sum() * scale, rtol.max(initial=1e-15), tiny * max(1, size_of.max(initial=0) * scale))


def binary_cross_entropy(rng):
    """binary_cross_entropy of any logits, in any layout."""
    shape = (*shape_of(rng), *pick(rng, [(), (size(rng, 0, 9),)]))
    dtype = pick(rng, [np.float32, np.float64, np.float16])
    compute = np.float32 if dtype == np.float16 else dtype
    z = numbers(rng, shape, dtype, scale=float(pick(rng, [1, 10, 1e3])), odd=float(pick(rng, [0, 0, 0.03, 0.5])))
    chosen, smoothing, _ = options_of(rng, 2, False)
    hard = chosen.one_hot_only or chance(rng)
    y = rng.integers(0, 2, shape).astype(dtype) if hard else rng.random(shape).astype(dtype)
    n_led = int(rng.integers(len(shape) + 1))
    s = weights(rng, math.prod(shape[:n_led]))
    s = s if s is None else s.reshape(shape[:n_led])
    c = None
    if chance(rng, 0.3):
        c = np.round(rng.uniform(0, 3, shape[int(rng.integers(len(shape) + 1)) :]), 1)
    options = {"sample_weight": s, "pos_weight": c, "label_smoothing": smoothing, "loss": chosen}
    if chance(rng, 0.1):
        outside = np.array(y)
        outside.flat[:1] = pick(rng, [np.nan, -0.5, 1.5, np.inf])
        bad = {"sample_weight": np.ones((*shape, 2))}
        if z.size and s is None and chance(rng):
            raises(xe.binary_cross_entropy, outside, z, **options)
        else:
            raises(xe.binary_cross_entropy, y, z, **options | bad)
        return
    moved = {k: laid_out(rng, v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    args = laid_out(rng, y), laid_out(rng, z)
    flat_y, flat_z = np.asarray(y, compute).ravel(), np.asarray(z, compute).ravel()
    flat_s = np.ones(z.size) if s is None else np.repeat(s.ravel(), math.prod(shape[n_led:]))
    flat_c = np.ones(z.size) if c is None else np.broadcast_to(c, shape).ravel()
    two = np.column_stack([np.zeros_like(flat_z), flat_z])
    # a logit of infinity is a limit: the other one is infinitely far
    two[flat_z == np.inf] = [-np.inf, 0]
    t1 = (1 - oracle.LONG(smoothing)) * flat_y + oracle.LONG(smoothing) / 2
    t0 = (1 - oracle.LONG(smoothing)) * (1 - oracle.LONG(1) * flat_y) + oracle.LONG(smoothing) / 2
    want, want_grad, most = oracle.rows(two, np.column_stack([t0, t1 * flat_c]), chosen, sample_weight=flat_s)
    want_grad = want_grad[:, 1]
    rtol = tolerance(compute, two)
    size_of = flat_s * np.maximum(flat_c, 1)
    with np.errstate(over="ignore"):
        huge = most.astype(float) * np.maximum(size_of, 1) > np.finfo(compute).max / 1e4
    free = faint(flat_s, t0 + t1 * flat_c)
    losses, grads = called(xe.binary_cross_entropy, *args, **moved, reduction="none", return_grad=True)
    assert np.shape(losses) == grads.shape == shape
    assert grads.dtype == compute
    tiny = 4 * float(np.finfo(compute).tiny)
    least = tiny * np.maximum(1, size_of)
    close(np.ravel(losses)[~free], want[~free], rtol[~free], least[~free], overflows=huge[~free])
    far = free | (huge & ~np.isinf(flat_z))
    close(grads.ravel()[~far], want_grad[~far], 8 * rtol[~far], (rtol * size_of)[~far] * 2 + tiny)
    for reduction in ("sum", "mean"):
        mass = flat_s.astype(np.longdouble).sum()
        if reduction == "mean" and not is_divisor(mass):
            if not free.any() and not huge.any():
                mean_or_error(xe.binary_cross_entropy, args, moved, want.sum() / mass, rtol.max(initial=1e-15))
            continue
        value = called(xe.binary_cross_entropy, *args, **moved, reduction=reduction)
        same_bits(value, xe.binary_cross_entropy(y, z, **options, reduction=reduction))


def softmax(rng):
    """softmax and log_softmax of any logits, in any layout."""
    shape, dtype = (*shape_of(rng), size(rng)), pick(rng, [np.float32, np.float64, np.float16])
    compute = np.float32 if dtype == np.float16 else dtype
    z = numbers(rng, shape, dtype, scale=float(pick(rng, [1, 10, 1e3])), odd=float(pick(rng, [0, 0, 0.03, 0.5])))
    moved = laid_out(rng, z)
    p, log_p = called(xe.softmax, moved), called(xe.log_softmax, moved)
    same_bits(p, xe.softmax(z))
    same_bits(log_p, xe.log_softmax(z))
    assert p.dtype == log_p.dtype == compute
    assert p.shape == log_p.shape == shape
    if not z.size:
        return
    rows = np.asarray(z, compute).reshape(-1, shape[-1])
    with np.errstate(all="ignore"):
        want = reference.log_softmax(rows)
    ok = ~(np.isnan(rows).any(axis=1) | (rows == np.inf).any(axis=1) | (rows == -np.inf).all(axis=1))
    p, log_p, rtol = p.reshape(rows.shape), log_p.reshape(rows.shape), tolerance(compute, rows)[:, None]
    assert np.isnan(p[~ok]).all()
    assert np.isnan(log_p[~ok]).all()
    with np.errstate(all="ignore"):
        close(p[ok], np.exp(want[ok]), rtol[ok], 4 * float(np.finfo(compute).tiny))
        huge = -want[ok] > np.finfo(compute).max / 1e4
        close(log_p[ok], want[ok], rtol[ok], float(np.finfo(compute).eps), overflows=huge)


def linear_cross_entropy(rng):
    """linear_cross_entropy of dense and sparse X, in any layout."""
    n, d, n_outputs = size(rng), size(rng), size(rng, 1)
    n_classes = max(2, n_outputs)
    dtype, is_sparse, soft = pick(rng, [np.float32, np.float64]), chance(rng, 0.4), chance(rng, 0.3)
    scale = float(pick(rng, [1.0, 10.0]))
    coef = (scale * rng.standard_normal((n_outputs, d)) / math.sqrt(max(d, 1))).astype(dtype)
    b = None if chance(rng, 0.3) else rng.standard_normal(n_outputs).astype(dtype)
    X = csr(rng, n, d, dtype) if is_sparse else numbers(rng, (n, d), dtype)
    rows = dense_of(X) if is_sparse else X
    y = distribution(rng, n, n_classes, dtype) if soft else labels(rng, n, n_classes)
    chosen, smoothing, w = options_of(rng, n_classes, soft)
    s = weights(rng, n)
    options = {"sample_weight": s, "class_weight": w, "label_smoothing": smoothing, "loss": chosen}
    if chance(rng, 0.1):
        wrong = options | wrong_options(rng, (n,), n_classes, y)
        raises(xe.linear_cross_entropy, X, wrong.pop("y_true", y), coef, b, **wrong)
        return
    if chance(rng, 0.1):
        shape = pick(rng, [(n_outputs, d + 1), (0, d), (n_outputs,), (n_outputs, d, 1)])
        raises(xe.linear_cross_entropy, X, y, np.zeros(shape), **options)
        return
    if s is not None and not is_sparse:  # what an ignored row holds does not count
        X = X.copy()
        X[s == 0] = numbers(rng, (np.count_nonzero(s == 0), d), dtype, odd=0.5)
    given = X if is_sparse else laid_out(rng, X)
    args = given, laid_out(rng, y), laid_out(rng, coef), b if b is None else laid_out(rng, b)
    moved = {k: laid_out(rng, v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    z = rows.astype(np.longdouble) @ coef.T.astype(np.longdouble) + (0 if b is None else b)
    z = np.hstack([np.zeros_like(z), z]) if n_outputs == 1 else z
    t = y if soft else oracle.hot(y, n_classes)
    want, want_g, _ = oracle.rows(z, t, chosen, sample_weight=s, class_weight=w, label_smoothing=smoothing)
    reach = np.abs(rows).astype(float) @ np.abs(coef.T.astype(float)) + (0 if b is None else np.abs(b))
    weight = (np.ones(n) if s is None else s) * (1.0 if w is None else max(w.max(), 1.0))
    unit = 8 * float(np.finfo(dtype).eps) * (4 + reach.max(initial=0.0))
    # an error of the logits moves a loss by as much, whatever the loss
    steep = 1 + 5 * (chosen.name == "poly") + 4 * (chosen.name in ("symmetric", "focal"))
    losses = called(xe.linear_cross_entropy, *args, **moved, reduction="none")
    close(losses, want, 2 * unit, 2 * steep * unit * weight + 1e-30)
    value, grad = called(
        xe.linear_cross_entropy, *args, **moved, reduction="sum", return_grad=True, return_input_grad=not is_sparse
    )
    plain, plain_grad = xe.linear_cross_entropy(
        X, y, coef, b, **options, reduction="sum", return_grad=True, return_input_grad=not is_sparse
    )
    same_bits(value, plain)
    for got, again in zip(grad, plain_grad, strict=True):
        same_bits(got, again)
    g = want_g[:, 1:] if n_outputs == 1 else want_g
    error = steep * unit * weight
    close(value, want.sum(), 2 * unit, 2 * error.sum() + 1e-30)
    close(grad[0], g.T @ rows, 2 * unit, 4 * (error @ np.abs(rows).astype(float)) + 1e-25)
    close(grad[1], g.sum(axis=0), 2 * unit, 4 * error.sum() + 1e-25)
    if not is_sparse:
        close(grad[2], g @ coef, 2 * unit, 4 * np.outer(error, np.abs(coef).sum(axis=0)) + 1e-25)


def probabilities(rng, n, n_classes, dtype):
    """Rows of probabilities, of which some are 0, 1 or subnormal."""
    p = rng.dirichlet(np.full(n_classes, float(pick(rng, [0.01, 0.3, 1.0]))), n).reshape(n, n_classes)
    return np.nan_to_num(p, nan=1 / n_classes).astype(dtype)


def metrics(rng):
    """log_loss, the losses of each row, the scorer's sum and the report."""
    n, n_classes = size(rng, 1), size(rng, 2, 33)
    dtype = pick(rng, [np.float16, np.float32, np.float64])
    p = probabilities(rng, n, n_classes, dtype)
    eps = pick(rng, ["auto", 0.0, 1e-7, 0.1])
    kind = pick(rng, ["integers", "strings", "floats", "objects", "soft"])
    index = labels(rng, n, n_classes)
    classes = np.arange(n_classes)
    t = oracle.hot(index, n_classes).astype(float)
    y = index
    if kind == "strings":
        classes = np.array([f"class {k:03d}" for k in range(n_classes)])
        y = classes[index.astype(int)]
    elif kind == "floats":
        y = index.astype(float)
    elif kind == "objects":
        classes = np.array([f"{k:03d}" for k in range(n_classes)], dtype=object)
        y = classes[index.astype(int)]
    elif kind == "soft":
        y = t = distribution(rng, n, n_classes, dtype if dtype != np.float16 else np.float32)
    given = {"labels": None if kind == "soft" else classes, "eps": eps}
    s = weights(rng, n)
    if s is not None and not s.any():
        raises(xe.log_loss, y, p, sample_weight=s, **given)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if chance(rng, 0.15):
            bad = p.copy()
            wrong = pick(rng, [np.nan, np.inf, -0.5, 1.5, -np.inf])
            bad[rng.integers(n), rng.integers(n_classes)] = wrong
            raises(xe.log_loss, y, laid_out(rng, bad, pick(rng, ["C", "F", "strided"])), **given)
            raises(xe.log_loss_samples, y, bad, **given)
            raises(xe.cross_entropy_report, y, bad)
            return
        if chance(rng, 0.1):
            raises(xe.log_loss, y, pick(rng, [p[:-1], p[:, :-1] if n_classes > 2 else p[:-1], p[None]]), **given)
            return
        moved = laid_out(rng, y) if kind != "objects" else y, laid_out(rng, p)
        losses = called(xe.log_loss_samples, *moved, **given)
        same_bits(losses, xe.log_loss_samples(y, p, **given))
        value = called(xe.log_loss, *moved, sample_weight=s, **given)
        clip = float(np.finfo(dtype).eps) if eps == "auto" else eps
        # float16 is computed in float32, where 1 - eps is rounded
        compute = np.float32 if dtype == np.float16 else dtype
        want = reference.log_losses(t, p.astype(float), clip)
        rtol, atol = 16 * float(np.finfo(compute).eps), 4 * float(np.finfo(compute).eps)
        close(losses, want, rtol, atol)
        s = np.ones(n) if s is None else s
        with np.errstate(invalid="ignore"):
            mean = (np.where(s > 0, want, 0) * s).sum() / s.sum()
        if s.sum() > np.finfo(np.float64).tiny:  # products with weights below are rounded to few digits
            close(value, mean, 4 * rtol, 2 * atol)
        if chance(rng, 0.1) and len(np.unique(index)) > 1:
            report = xe.cross_entropy_report(y, p, labels=given["labels"], output_dict=True)
            assert isinstance(report, dict)


def containers(rng):
    """Numbers in something else than a plain array, at every door: the result of the array, or an error."""
    n, n_classes = size(rng, 4, 33), int(pick(rng, [2, 3]))
    y = np.arange(n) % n_classes
    p = distribution(rng, n, n_classes)
    clf = xe.SoftmaxClassifier(C=0.1).fit(p, y)
    doors = {
        "softmax": xe.softmax,
        "cross_entropy": lambda z: xe.cross_entropy(y, z),
        "binary_cross_entropy": lambda z: xe.binary_cross_entropy(p, z),
        "targets": lambda t: xe.cross_entropy(t, p),
        "linear_cross_entropy": lambda X: xe.linear_cross_entropy(X, y, np.eye(n_classes)),
        "log_loss": lambda q: xe.log_loss(y, q),
        "fit": lambda X: xe.SoftmaxClassifier(C=0.1).fit(X, y).coef_,
        "predict_proba": clf.predict_proba,
    }
    name = str(pick(rng, list(doors)))
    none = p.astype(object)
    none[0, 0] = pick(rng, [None, "a", [1.0], 1j])
    record = np.zeros((n, n_classes), [("p", float), ("q", float)])
    mask = rng.random(p.shape) < 0.3
    mask[0, 0] = True  # a mask that hides nothing is no error
    given = {  # what must be an error, and what may be one
        "masked": (np.ma.masked_array(p, mask=mask), True),
        "objects": (none, True),
        "strings": (p.astype(str), False),
        "words": (np.full(p.shape, "a"), True),
        "complex": (p * 1j, True),
        "records": (record, True),
        "ragged": ([[1.0] * n_classes] * (n - 1) + [[1.0]], True),
        "nothing": (None, True),
        "no mask": (np.ma.masked_array(p), False),
        "a matrix": (np.asmatrix(p), False),
        "numbers in objects": (p.astype(object), False),
        "long double": (p.astype(np.longdouble), False),
        "lists": (p.tolist(), False),
        "tuples": (tuple(map(tuple, p.tolist())), False),
        "COO": (sp.coo_array(p), False),
        "bytes": (p.tobytes(), True),
    }
    how = str(pick(rng, list(given)))
    there, is_wrong = given[how]
    if is_wrong:
        raises(doors[name], there)
        return
    with contextlib.suppress(*CLEAN):
        np.testing.assert_allclose(doors[name](there), doors[name](p), rtol=1e-9, err_msg=f"{how} at {name}")
