"""Calls of the compiled functions, whose arrays the other modules place where they like."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from cases import assembled, chance, csr, distribution, numbers, pick, size, weights

from xentropy._kernels import _dispatch, _gram, _isotonic, _linear, _moments, _pointwise, _proba, _triangular


@dataclass
class Call:
    """A kernel, the arrays that it reads and writes, and the names of those whose values it checks itself."""

    name: str
    run: Callable[..., tuple]  # of the arrays, by name
    arrays: dict[str, np.ndarray | None]
    checked: tuple[str, ...] = ()


LOSSES = [None, ("cross_entropy", ()), ("focal", (2.0,)), ("generalized", (0.7,)), ("blend", (1.0, 2.0))]


def _target(rng, n, n_classes, dtype):
    """Labels or a distribution, and weights."""
    hard = chance(rng)
    return {
        "labels": rng.integers(0, n_classes, n, dtype=np.int32) if hard else None,
        "distribution": None if hard else distribution(rng, n, n_classes, dtype),
        "sample_weight": weights(rng, n),
        "class_weight": rng.uniform(0, 2, n_classes) if chance(rng) else None,
    }


def _checked(arrays):
    """All of them; but with labels the caller vouches that they are below the number of columns."""
    return tuple(name for name in arrays if name != "logits" or arrays["labels"] is None)


def _options(rng):
    return {"label_smoothing": float(pick(rng, [0.0, 0.1])), "loss": pick(rng, LOSSES)}


def _dtype(rng):
    return pick(rng, [np.float32, np.float64])


def softmax_loss(rng):
    n, n_classes, dtype = size(rng), size(rng, 1), _dtype(rng)
    options, n_threads = _options(rng), int(pick(rng, [1, 2, 3]))

    def run(logits, grad, row_loss, **target):
        value = _pointwise.softmax_loss(
            logits, grad=grad, row_loss=row_loss, **target, **options, n_threads=n_threads
        )
        return value, grad, row_loss

    arrays = {"logits": numbers(rng, (n, n_classes), dtype, odd=0.02), **_target(rng, n, n_classes, dtype)}
    arrays["grad"] = np.zeros((n, n_classes), dtype) if chance(rng, 0.8) else None
    arrays["row_loss"] = np.zeros(n) if chance(rng, 0.8) else None
    return Call("softmax_loss", run, arrays, _checked(arrays))


def binary_loss(rng):
    n, run_length, dtype = size(rng), int(pick(rng, [1, 2, 3])), _dtype(rng)
    n -= n % run_length
    options = _options(rng)

    def run(logits, y, sample_weight, pos_weight, grad, element_loss):
        value = _pointwise.binary_loss(
            logits, y, sample_weight=sample_weight, pos_weight=pos_weight, grad=grad, element_loss=element_loss,
            run=run_length, **options,
        )  # fmt: skip
        return value, grad, element_loss

    arrays = {
        "logits": numbers(rng, n, dtype, odd=0.02),
        "y": rng.random(n).astype(dtype),
        "sample_weight": weights(rng, n // run_length),
        "pos_weight": rng.uniform(0, 2, size(rng, 1)) if chance(rng) else None,
        "grad": np.zeros(n, dtype) if chance(rng, 0.8) else None,
        "element_loss": np.zeros(n) if chance(rng, 0.8) else None,
    }
    return Call("binary_loss", run, arrays, tuple(arrays))


def hessian_product(rng):
    n, n_classes, dtype, sigmoid = size(rng), size(rng, 1), _dtype(rng), chance(rng, 0.3)
    n_classes = 2 if sigmoid else n_classes
    width, options = 1 if sigmoid else n_classes, _options(rng)

    def run(logits, v, **target):
        return (_pointwise.hessian_product(logits, v, sigmoid=sigmoid, **target, **options),)

    arrays = {"logits": numbers(rng, (n, width), dtype), "v": numbers(rng, (n, width), dtype)}
    arrays |= _target(rng, n, n_classes, dtype)
    return Call("hessian_product", run, arrays, _checked(arrays))


def softmax(rng):
    log, n_threads = chance(rng), int(pick(rng, [1, 2, 3]))

    def run(logits):
        return (_pointwise.softmax(logits, log=log, n_threads=n_threads),)

    return Call("softmax", run, {"logits": numbers(rng, (size(rng), size(rng)), _dtype(rng), odd=0.02)}, ("logits",))


def encode_labels(rng):
    n, n_classes = size(rng), size(rng, 1)
    dtype = pick(rng, [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64])
    s, ignore = weights(rng, n), None
    if s is not None and chance(rng):
        ignore = int(pick(rng, [-1, 0, 3, 1 << 70]))

    def run(y, sample_weight, class_weight):
        found, mass, bad = _pointwise.encode_labels(y, n_classes, ignore, sample_weight, class_weight)
        return found if bad < 0 else None, mass if bad < 0 else None, bad, sample_weight

    arrays = {"y": rng.integers(0, n_classes + (chance(rng, 0.2)), n).astype(dtype), "sample_weight": s}
    arrays["class_weight"] = rng.uniform(0, 2, n_classes) if chance(rng) else None
    return Call("encode_labels", run, arrays, tuple(arrays))


def check_distribution(rng):
    n, n_classes, dtype = size(rng), size(rng, 1), _dtype(rng)

    def run(y, sample_weight, class_weight):
        return (
            _pointwise.first_bad_distribution(y, 1e-6, sample_weight),
            _pointwise.distribution_mass(y, sample_weight, class_weight),
            _pointwise.first_outside_unit(y.ravel(), None, 1),
        )

    y = distribution(rng, n, n_classes, dtype)
    if y.size and chance(rng, 0.3):
        y[rng.integers(n), rng.integers(n_classes)] = pick(rng, [np.nan, -1.0, 2.0])
    arrays = {"y": y, "sample_weight": weights(rng, n)}
    arrays["class_weight"] = rng.uniform(0, 2, n_classes) if chance(rng) else None
    return Call("check_distribution", run, arrays, tuple(arrays))


def _data(rng, n, d, dtype):
    """A dense X, or the three arrays of a CSR X, with what makes X of them."""
    if chance(rng):
        return {"X": numbers(rng, (n, d), dtype)}, lambda X: X
    X = csr(rng, n, d, dtype)
    parts = {"data": X.data, "indices": X.indices, "indptr": X.indptr}
    return parts, lambda data, indices, indptr: assembled(data, indices, indptr, (n, d))


def linear_pass(rng):
    n, d, n_classes, dtype, compute = size(rng), size(rng), size(rng, 1), _dtype(rng), _dtype(rng)
    sigmoid = n_classes == 2 and chance(rng)
    n_outputs = 1 if sigmoid else n_classes
    arrays, make = _data(rng, n, d, dtype)
    parts, is_dense = tuple(arrays), "X" in arrays
    options = _options(rng) | {"sigmoid": sigmoid, "compute": np.dtype(compute).name}
    n_rows = n
    if is_dense:
        if n and chance(rng, 0.3):
            n_rows = size(rng)
            arrays["rows"] = rng.integers(0, n, n_rows)
        if chance(rng, 0.3):
            arrays["shift"] = rng.standard_normal(d)
    else:
        options |= {"many_passes": chance(rng), "tile_rows": pick(rng, [None, 1, 7, 64])}
    arrays |= _target(rng, n_rows, n_classes, compute)
    bound = (*parts, "rows", "shift", "labels", "distribution", "sample_weight", "class_weight")
    arrays |= {
        "coef": rng.standard_normal((d, n_outputs)),
        "intercept": rng.standard_normal(n_outputs),
        "grad_coef": np.zeros((d, n_outputs)),
        "grad_intercept": np.zeros(n_outputs),
        "row_loss": np.zeros(n_rows) if chance(rng) else None,
        "grad_input": np.zeros((n, d), compute) if is_dense and "rows" not in arrays and chance(rng) else None,
    }
    n_threads = int(pick(rng, [1, 2, 3]))

    def run(**arrays):
        X = make(**{name: arrays[name] for name in parts})
        its = {name: arrays[name] for name in bound if name in arrays and name not in parts}
        work = _linear.LinearPass(X, n_classes, **its, **options)
        out = {name: arrays[name] for name in arrays if name not in bound}
        value = work.loss_gradient(
            out["coef"], out["intercept"], out["grad_coef"], out["grad_intercept"], n_threads,
            row_loss=out["row_loss"], grad_input=out["grad_input"],
        )  # fmt: skip
        return value, out["grad_coef"], out["grad_intercept"], out["row_loss"], out["grad_input"]

    return Call("LinearPass", run, arrays, tuple(arrays))


def labels_pass(rng):
    """Some of the labels of an indicator, one selection after the other."""
    n, d, n_labels, dtype = size(rng, 1), size(rng), size(rng, 1, 40), _dtype(rng)
    arrays, make = _data(rng, n, d, dtype)
    parts = tuple(arrays)
    y = rng.random((n, n_labels)).round(int(pick(rng, [0, 3])))
    y[rng.random(y.shape) < 0.1] = np.nan
    stored = np.where(np.isnan(y), 2, y.round()).astype(np.uint8) if chance(rng) else y.astype(_dtype(rng))
    n_selected = int(rng.integers(1, n_labels + 1))
    arrays |= {
        "indicator": stored,
        "sample_weight": weights(rng, n),
        "label": rng.permutation(n_labels)[:n_selected].astype(np.int64),
        "positive": rng.uniform(0.0, 2.0, n_selected),
        "negative": rng.uniform(0.0, 2.0, n_selected),
        "coef": rng.standard_normal((d, n_selected)),
        "intercept": rng.standard_normal(n_selected),
        "grad_coef": np.zeros((d, n_selected)),
        "grad_intercept": np.zeros(n_selected),
        "label_loss": np.zeros(n_selected),
    }
    options = {**_options(rng), "compute": np.dtype(_dtype(rng)).name, "many_passes": chance(rng)}
    if "indptr" in arrays:
        options["tile_rows"] = pick(rng, [None, 5, 16])
    n_threads = int(pick(rng, [1, 2, 3]))

    def run(indicator, sample_weight, label, positive, negative, **its):
        X = make(**{name: its.pop(name) for name in parts})
        work = _linear.LinearPass(X, n_labels, indicator=indicator, sample_weight=sample_weight, **options)
        work.select(label, positive, negative)
        out = its["coef"], its["intercept"], its["grad_coef"], its["grad_intercept"]
        value = work.loss_gradient(*out, n_threads, label_loss=its["label_loss"])
        return value, *out[2:], its["label_loss"]

    return Call("labels_pass", run, arrays, tuple(arrays))


def linear_predict(rng):
    n, d, n_classes, dtype = size(rng), size(rng), size(rng, 1), _dtype(rng)
    n_outputs = 1 if n_classes == 2 and chance(rng) else n_classes
    arrays, make = _data(rng, n, d, dtype)
    parts = tuple(arrays)
    options = {
        "kind": pick(rng, ["logits", "probabilities", "log_probabilities", "classes"]),
        "compute": np.dtype(_dtype(rng)).name,
        "n_threads": int(pick(rng, [1, 2, 3])),
    }

    def run(coef, intercept, **its):
        return _linear.linear_predict(make(**its), coef, intercept, n_classes=n_classes, **options)

    arrays |= {"coef": rng.standard_normal((d, n_outputs)), "intercept": rng.standard_normal(n_outputs)}
    return Call("linear_predict", run, arrays, (*parts, "coef", "intercept"))


def moments(rng):
    n, d = size(rng, 1), size(rng)
    arrays, make = _data(rng, n, d, _dtype(rng))

    def run(row_weight, **its):
        with np.errstate(all="ignore"):
            return _moments.moments(make(**its), row_weight)

    return Call("moments", run, arrays | {"row_weight": weights(rng, n)})


def add_grams(rng):
    n, d, m = size(rng), size(rng), size(rng, 0, 9)
    options = {"compute": np.dtype(_dtype(rng)).name, "n_threads": int(pick(rng, [1, 2, 3]))}

    def run(rows, weights, to):
        return _gram.add_grams(rows, weights, to, floor=0.1, **options), to

    arrays = {"rows": rng.standard_normal((n, d)), "weights": rng.random((n, m)), "to": np.zeros((m, d, d))}
    return Call("add_grams", run, arrays, tuple(arrays))


def pool_adjacent(rng):
    n = size(rng)

    def run(p, hit, weight):
        return _isotonic.pool_adjacent(p, hit, weight)

    arrays = {"p": np.sort(np.round(rng.random(n), 1)), "hit": rng.integers(0, 2, n).astype(float)}
    return Call("pool_adjacent", run, arrays | {"weight": weights(rng, n)}, ("p", "hit", "weight"))


def triangular(rng):
    m, n_factors = size(rng, 1), size(rng, 1, 9)
    n_columns = n_factors if n_factors > 1 else size(rng, 1, 33)
    precision = np.dtype(_dtype(rng)).name

    def run(factors, vector):
        stored = _triangular.TriangularFactors.from_factors(factors, n_columns=n_columns, precision=precision)
        return stored.to_x(vector), stored.to_theta(vector), stored.to_gradient(vector)

    factors = np.tril(rng.standard_normal((n_factors, m, m))) + 3 * m * np.eye(m)
    arrays = {"factors": factors, "vector": rng.standard_normal(m * n_columns)}
    return Call("TriangularFactors", run, arrays, tuple(arrays))


def coded_labels(rng):
    n, n_classes = size(rng), size(rng, 1)
    dtype = pick(rng, [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64, np.bool_])
    low = int(pick(rng, [0, 0, 1, 7]))

    def run(labels, table):
        numbered = _proba.number_records(labels, 128)
        return _proba.mark_labels(labels, low, n_classes), _proba.encode_labels(labels, low, table), *numbered

    arrays = {"labels": rng.integers(0, n_classes + 1, n).astype(dtype)}
    return Call("coded_labels", run, arrays | {"table": np.arange(n_classes, dtype=np.int32)}, ("labels", "table"))


def proba_rows(rng):
    n, n_classes, dtype, hard = size(rng), size(rng, 1), _dtype(rng), chance(rng)
    n_columns = 1 if hard and n_classes == 2 and chance(rng) else n_classes
    p = distribution(rng, n, n_classes, dtype)[:, :n_columns]
    p = np.ascontiguousarray(np.where(rng.random(p.shape) < 0.01, pick(rng, [np.nan, -1, 2, 0.5]), p).astype(dtype))
    n_threads = int(pick(rng, [1, 2, 3]))

    def run(proba, labels, table, distribution, sample_weight, row_loss):
        result = _proba.proba_rows(
            proba, n_classes, labels=labels, table=table, distribution=distribution, sample_weight=sample_weight,
            eps=1e-9, sum_tolerance=1e-3, row_loss=row_loss, n_threads=n_threads,
        )  # fmt: skip
        return *result, row_loss

    index = pick(rng, [np.int8, np.int64, np.uint64, np.uint16])
    arrays = {
        "proba": p,
        "labels": rng.integers(0, min(n_classes + 1, 127), n).astype(index) if hard else None,
        "table": np.arange(n_classes, dtype=np.int32) if hard else None,
        "distribution": None if hard else distribution(rng, n, n_classes, dtype),
        "sample_weight": weights(rng, n),
        "row_loss": np.zeros(n) if chance(rng) else None,
    }
    return Call("proba_rows", run, arrays, tuple(arrays))


def elementary(rng):
    dtype = _dtype(rng)

    def run(x, positive):
        return _dispatch.vector_exp(x), _dispatch.vector_log(positive), _dispatch.vector_log1p(positive)

    arrays = {"x": -np.abs(numbers(rng, size(rng), dtype, scale=50.0, odd=0.1))}
    return Call("elementary", run, arrays | {"positive": np.abs(numbers(rng, size(rng), odd=0.1))}, ("x", "positive"))


CALLS = [
    softmax_loss, binary_loss, hessian_product, softmax, encode_labels, check_distribution, linear_pass, labels_pass,
    linear_predict, moments, add_grams, pool_adjacent, triangular, coded_labels, proba_rows, elementary,
]  # fmt: skip
