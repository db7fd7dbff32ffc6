"""
Cross-entropy, squared error and hinge loss
===========================================

Why not minimise the squared error of the probabilities, or the hinge loss of the margin? The gradients of the losses
show the difference.
"""

import numpy as np
from matplotlib import pyplot as plt

import xentropy as xe

# %%
# For a row of two classes, the margin z is the logit of the true class. Each loss is a function of z:

z = np.linspace(-6, 6, 601)
ones = np.ones_like(z)
p = 1 / (1 + np.exp(-z))
loss, slope = {}, {}
loss["cross-entropy"], slope["cross-entropy"] = xe.binary_cross_entropy(
    ones, z, reduction="none", return_grad=True
)
loss["squared error of p"], slope["squared error of p"] = (
    (1 - p) ** 2,
    -2 * p * (1 - p) ** 2,
)
loss["hinge"], slope["hinge"] = np.maximum(0, 1 - z), 0.0 - (z < 1)

styles = {
    "cross-entropy": ("#0072B2", "-"),
    "squared error of p": ("#D55E00", "--"),
    "hinge": ("#009E73", "-."),
}
fig, axes = plt.subplots(1, 2, figsize=(9.6, 3.8), layout="constrained")
for name, (color, dashes) in styles.items():
    axes[0].plot(z, loss[name], color=color, linestyle=dashes, linewidth=2, label=name)
    axes[1].plot(z, slope[name], color=color, linestyle=dashes, linewidth=2)
axes[0].set(xlabel="margin z of the true class", ylabel="loss", ylim=(-0.1, 6.2))
axes[1].set(xlabel="margin z of the true class", ylabel="gradient by z")
axes[0].legend(frameon=False)
for ax in axes:
    ax.axvline(0, color="0.8", linewidth=0.8, zorder=0)
    ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# - The **squared error** has almost no gradient on a row that is confidently wrong (z = -6), so the model does not
#   learn such a row. It is not convex in z either.
# - The **hinge loss** has the same gradient on each wrong row, and none beyond a margin of 1. It gives good decisions,
#   but no probabilities.
# - The gradient of the **cross-entropy** is the error 1 - p. It is large on wrong rows, small on correct ones, and
#   never 0. The loss is convex, and its expectation is least where p is the true probability.

for margin in (-6, 0, 6):
    at = np.argmin(np.abs(z - margin))
    print(
        f"z = {margin:+d}: "
        + ", ".join(f"{name} {g[at]:+.4f}" for name, g in slope.items())
    )

# %%
# Losses in between
# -----------------
# The cross-entropy has no bound, which is a weakness if labels are wrong. The generalized cross-entropy lies between
# the cross-entropy (q near 0) and the absolute error of p (q = 1), and is bounded. The focal loss gives less weight to
# rows that are already correct.

fig, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
logits = np.column_stack([np.zeros_like(z), z])
losses = {
    "cross-entropy": xe.CrossEntropy(),
    "generalized, q = 0.7": xe.GeneralizedCrossEntropy(q=0.7),
    "focal, gamma = 2": xe.FocalLoss(gamma=2.0),
}
for (name, each), (color, dashes) in zip(losses.items(), styles.values(), strict=True):
    value = xe.cross_entropy(ones.astype(int), logits, loss=each, reduction="none")
    ax.plot(z, value, color=color, linestyle=dashes, linewidth=2, label=name)
ax.set(xlabel="margin z of the true class", ylabel="loss", ylim=(-0.1, 6.2))
ax.legend(frameon=False)
ax.spines[["top", "right"]].set_visible(False)
plt.show()
