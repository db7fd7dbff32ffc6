"""The losses in extended precision, row by row, straight from the formulas of docs/losses.md."""

import numpy as np

LONG = np.longdouble


def without_own(a):
    """The sum of each row without the entry itself, which no subtraction rounds."""
    none = np.zeros((len(a), 1), LONG)
    before = np.cumsum(a[:, :-1], axis=1)
    after = np.cumsum(a[:, :0:-1], axis=1)[:, ::-1]
    return np.hstack([none, before]) + np.hstack([after, none])


def phi(loss, cost, u):
    """phi and its derivative at the cross-entropy -log p of a class, where u = 1 - p."""
    p = np.exp(-cost)
    if loss.name == "focal":
        ratio = np.where(np.isinf(cost), 0, p * np.where(u > 0, cost / np.where(u > 0, u, 1), 1))
        return u**loss.gamma * cost, u**loss.gamma * (1 + loss.gamma * ratio)
    if loss.name == "generalized":
        return -np.expm1(-LONG(loss.q) * cost) / loss.q, np.exp(-LONG(loss.q) * cost)
    if loss.name == "poly":
        return cost + loss.epsilon * u, 1 + loss.epsilon * p
    if loss.name == "symmetric":
        return loss.alpha * cost + 4 * loss.beta * u, loss.alpha + 4 * loss.beta * p
    return cost, np.ones_like(cost)


def rows(z, t, loss, *, sample_weight=None, class_weight=None, label_smoothing=0.0):
    """Losses (n,) and gradients (n, K) of logits z and targets t (n, K), and the largest -log p of each row.

    A row of weight 0 gives 0. A row without a distribution gives NaN.
    """
    n, n_classes = z.shape
    with np.errstate(all="ignore"):
        z, t = z.astype(LONG), t.astype(LONG)
        s = np.ones(n, LONG) if sample_weight is None else sample_weight.astype(LONG)
        w = np.ones(n_classes, LONG) if class_weight is None else class_weight.astype(LONG)
        is_open = z > -np.inf
        bad = np.isnan(z).any(axis=1) | (z == np.inf).any(axis=1) | ~is_open.any(axis=1)
        z[bad | (s == 0)] = 0
        top = z.max(axis=1, keepdims=True)
        e = np.exp(z - top)
        total, others = e.sum(axis=1, keepdims=True), without_own(e)
        rest = np.take_along_axis(others, z.argmax(axis=1)[:, None], axis=1)
        cost, u, p = (top - z) + np.log1p(rest), others / total, e / total
        smooth = np.where(is_open, LONG(label_smoothing) / np.maximum(is_open.sum(axis=1, keepdims=True), 1), 0)
        a = s[:, None] * w * ((1 - LONG(label_smoothing)) * t + smooth)
        value, slope = phi(loss, cost, u)
        value, slope = np.where(a == 0, 0, a * value), np.where(a == 0, 0, a * slope)
        losses, grad = value.sum(axis=1), p * without_own(slope) - u * slope
        losses[bad], grad[bad] = np.nan, np.nan
        losses[s == 0], grad[s == 0] = 0, 0
    return losses, grad, cost.max(axis=1)


def hot(y, n_classes):
    """Rows of the identity; a label out of range, in an ignored row, gives a row of zeros."""
    return (np.asarray(y).astype(object)[:, None] == np.arange(n_classes)).astype(LONG)
