"""Oracles, which are naive, slow, independent of the code under test, and in extended precision where that matters."""

from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext

import numpy as np


def log_softmax(z):
    """Rows of log-probabilities in extended precision."""
    z = np.asarray(z, dtype=np.longdouble)
    top = z.max(axis=1, keepdims=True)
    return (z - top) - np.log(np.exp(z - top).sum(axis=1, keepdims=True))


def one_hot(labels, n_classes):
    return np.eye(n_classes)[np.asarray(labels)]


def smoothed(y, eps):
    return (1 - eps) * y + eps / y.shape[1]


def linear_loss(X, y, coef, intercept, *, sample_weight=None, class_weight=None, label_smoothing=0.0):
    """sum_i s_i sum_k w_k t_ik (-log p_ik) for a distribution y (n, K) and coef (K, d)."""
    X = np.asarray(X, dtype=np.longdouble)
    n, n_classes = y.shape
    s = np.ones(n) if sample_weight is None else sample_weight
    w = np.ones(n_classes) if class_weight is None else class_weight
    log_p = log_softmax(X @ np.asarray(coef, dtype=np.longdouble).T + intercept)
    return np.sum(s[:, None] * w * smoothed(y, label_smoothing) * -log_p)


def two_columns(coef, intercept):
    """The softmax form (2, d) of coefficients in the sigmoid form (1, d): the first class has the logit 0."""
    return np.vstack([np.zeros_like(coef), coef]), np.append(0.0, intercept)


def objective(X, y, coef, intercept, *, C=1.0, **kwargs):
    """C sum_i loss_i + |W|^2 / 2, with coef in the shape that the estimators have."""
    penalty = 0.5 * np.sum(np.asarray(coef, dtype=np.longdouble) ** 2)
    if len(coef) == 1:
        coef, intercept = two_columns(coef, intercept)
    return float(C * linear_loss(X, y, coef, intercept, **kwargs) + penalty)


def central_difference(fun, x, step=1e-5):
    """Gradient of a scalar function of an array, entry by entry."""
    x = np.array(x, dtype=float)
    grad = np.empty_like(x)
    for i in np.ndindex(x.shape):
        kept = x[i]
        x[i] = kept + step
        up = fun(x)
        x[i] = kept - step
        grad[i] = (up - fun(x)) / (2 * step)
        x[i] = kept
    return grad


def log_losses(target, proba, eps):
    """-sum_k t_k log(clip(p_k, eps, 1 - eps)) of each row, one number at a time; 0 log 0 = 0."""
    losses = []
    for t_row, p_row in zip(np.asarray(target), np.asarray(proba), strict=True):
        loss = np.longdouble(0)
        for t, p in zip(t_row, p_row, strict=True):
            if t:
                clipped = np.longdouble(min(max(float(p), float(eps)), 1.0 - float(eps)))
                loss += np.longdouble(t) * (-np.log(clipped) if clipped else np.inf)
        losses.append(loss)
    return np.array(losses)


# Exact arithmetic: the formulas are those of the papers, and there are so many digits that nothing cancels.

# phi as a function of the probability p of the class, which is the loss of a one-hot target
PHI = {
    "cross_entropy": lambda loss, p: -p.ln(),
    "focal": lambda loss, p: (1 - p) ** Decimal(loss.gamma) * -p.ln(),
    "generalized": lambda loss, p: (1 - p ** Decimal(loss.q)) / Decimal(loss.q),
    "poly": lambda loss, p: -p.ln() + Decimal(loss.epsilon) * (1 - p),
    "symmetric": lambda loss, p: Decimal(loss.alpha) * -p.ln() + Decimal(loss.beta) * 4 * (1 - p),
}


class ExactLoss:
    """sum_k a_k phi(p_k) of one row of logits, and its gradient and Hessian by difference quotients.

    exp(-range of the logits) and the square of the step, 10^(-2 digits / 7), must be well above 10^-digits.
    """

    def __init__(self, loss, a, digits=420):
        self.loss = loss
        self.a = [Decimal(float(ak)) for ak in a]
        self.context = Context(prec=digits, Emax=MAX_EMAX, Emin=MIN_EMIN)
        self.step = Decimal(10) ** (-digits // 7)

    def _value(self, z):
        e = [zk.exp() for zk in z]
        total = sum(e)
        phi = PHI[self.loss.name]
        return sum((ak * phi(self.loss, ek / total) for ak, ek in zip(self.a, e, strict=True) if ak), Decimal(0))

    def _at(self, z, *moves):
        """The value after a step in the direction of each move."""
        return self._value([sum((self.step * Decimal(float(m[k])) for m in moves), zk) for k, zk in enumerate(z)])

    def value(self, z):
        with localcontext(self.context):
            return float(self._value([Decimal(float(zk)) for zk in z]))

    def slope(self, z, v):
        """The derivative along v."""
        v = np.asarray(v)
        with localcontext(self.context):
            z = [Decimal(float(zk)) for zk in z]
            return float((self._at(z, v) - self._at(z, -v)) / (2 * self.step))

    def curvature(self, z, u, v):
        """u^T H v."""
        u, v = np.asarray(u), np.asarray(v)
        with localcontext(self.context):
            z = [Decimal(float(zk)) for zk in z]
            corners = self._at(z, u, v) - self._at(z, u, -v) - self._at(z, -u, v) + self._at(z, -u, -v)
            return float(corners / (4 * self.step**2))


N, D = 41, 7


def problem(n_classes, *, soft, seed=0):
    """N rows of D features, their labels or distributions, coefficients, intercepts, and a generator for more."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, D)) * (rng.random((N, D)) < 0.7)
    y = rng.dirichlet(np.ones(n_classes), size=N) if soft else np.arange(N) % n_classes
    n_outputs = 1 if n_classes == 2 else n_classes
    coef = rng.normal(size=(n_outputs, D))
    intercept = rng.normal(size=n_outputs)
    return X, y, coef, intercept, rng


def many_rows(K=3, n=40_000, d=4):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d)) + 0.5
    return X, (X @ rng.standard_normal((d, K)) + rng.gumbel(size=(n, K))).argmax(axis=1)
