"""
Several labels at once
======================

An article can be about sport *and* money. Each label is then a separate yes-or-no question with a sigmoid and a binary
cross-entropy, and the loss is the sum over the labels.
"""

import numpy as np
from scipy.optimize import minimize

import xentropy as xe

# %%
# The articles are counts of 50 words. Each of four labels applies to some of them, and the last label is rare.

rng = np.random.default_rng(0)
labels = ["politics", "sport", "money", "chess"]
n, d = 4000, 50
X = rng.poisson(0.5, size=(n, d)).astype(float)
true_coef = rng.normal(scale=0.8, size=(d, 4)) * (rng.random((d, 4)) < 0.3)
bias = np.array([-0.5, -0.5, -1.0, -4.0]) - X.mean(axis=0) @ true_coef
Y = (rng.random((n, 4)) < 1 / (1 + np.exp(-X @ true_coef - bias))).astype(float)
train, test = slice(0, 2000), slice(2000, None)
for name, share in zip(labels, Y.mean(axis=0), strict=True):
    print(f"{name:>8}: {share:.1%} of the articles")

# %%
# A custom model
# --------------
# ``binary_cross_entropy`` computes the loss of an array of logits and its gradient in one pass. The chain rule gives
# the gradient with respect to the coefficients, and an optimiser finds the minimum.


def objective(theta, penalty=1.0):
    coef, intercept = theta[:-4].reshape(d, 4), theta[-4:]
    loss, grad = xe.binary_cross_entropy(
        Y[train], X[train] @ coef + intercept, reduction="sum", return_grad=True
    )
    grad_coef = X[train].T @ grad + penalty * coef
    return loss + penalty / 2 * np.sum(coef**2), np.append(
        grad_coef.ravel(), grad.sum(axis=0)
    )


theta = minimize(objective, np.zeros(4 * d + 4), jac=True, method="L-BFGS-B").x
logits = X[test] @ theta[:-4].reshape(d, 4) + theta[-4:]

# %%
# The loss of each label can be compared with the loss of predicting its frequency:

each = xe.binary_cross_entropy(Y[test], logits, reduction="none").mean(axis=0)
rate = Y[test].mean(axis=0)
guess = -rate * np.log(rate) - (1 - rate) * np.log(1 - rate)
for name, loss, prior in zip(labels, each, guess, strict=True):
    skill = 1 - loss / prior
    print(
        f"{name:>8}: loss {loss:.3f}, of its frequency {prior:.3f}, skill {skill:.2f}"
    )

# %%
# Each label has its own report and its own reliability diagram.

proba = 1 / (1 + np.exp(-logits))
print(
    xe.cross_entropy_report(
        Y[test][:, 3], proba[:, 3], target_names=["other", "chess"], digits=3
    )
)

# %%
display = xe.ReliabilityDisplay.from_predictions(
    Y[test][:, 0], proba[:, 0], pos_label=1, name="politics"
)
xe.ReliabilityDisplay.from_predictions(
    Y[test][:, 1], proba[:, 1], pos_label=1, name="sport", ax=display.ax_
)
display.ax_.set_xlabel("mean probability of the label")
