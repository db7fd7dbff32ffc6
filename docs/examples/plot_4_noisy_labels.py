"""
Noisy labels: which rows are wrong?
===================================

A good model is confident, so it has a large loss on a row whose label is wrong. Look for wrong labels among the rows
with the largest loss.
"""

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_predict

import xentropy as xe

# %%
# In these handwritten digits, 36 labels (2 %) are replaced with wrong ones.

X, y = load_digits(return_X_y=True)
X /= 16
rng = np.random.default_rng(0)
wrong = rng.choice(len(y), 36, replace=False)
y_noisy = y.copy()
y_noisy[wrong] = (y[wrong] + rng.integers(1, 10, size=len(wrong))) % 10

# %%
# The probabilities must be those of rows that the model was not trained on, because it may overfit its own rows.

clf = xe.SoftmaxClassifier(C=1.0)
proba = cross_val_predict(clf, X, y_noisy, method="predict_proba", cv=5)
print(xe.cross_entropy_report(y_noisy, proba, digits=3))

# %%
# The report finds confidently wrong rows, and that the model is timid about the others, as the wrong labels taught it.
# Are the confidently wrong rows the mislabelled ones?

losses = xe.log_loss_samples(y_noisy, proba)
costliest = np.argsort(-losses)
for n_rows in (10, 20, 36, 72):
    found = np.isin(costliest[:n_rows], wrong).sum()
    print(f"among the {n_rows:2d} rows that cost most, {found} are mislabelled")

# %%
fig, axes = plt.subplots(2, 6, figsize=(9, 3.6), layout="constrained")
for ax, i in zip(axes.ravel(), costliest, strict=False):
    ax.imshow(X[i].reshape(8, 8), cmap="gray_r")
    ax.set_title(f"labelled {y_noisy[i]}, was {y[i]}", fontsize=9)
    ax.set_axis_off()
plt.show()

# %%
# There are two ways out. One is to fix the labels of the rows with the largest loss, here
# with the predictions of the model. The other is to keep the labels, and to use a loss that
# is bounded.

y_fixed = y_noisy.copy()
y_fixed[costliest[:36]] = proba[costliest[:36]].argmax(axis=1)
robust = xe.SoftmaxClassifier(C=1.0, loss="generalized")
each = {
    "noisy labels": proba,
    "fixed labels": cross_val_predict(clf, X, y_fixed, method="predict_proba", cv=5),
    "bounded loss": cross_val_predict(robust, X, y_noisy, method="predict_proba", cv=5),
}
for name, p in each.items():
    print(f"{name:>13}: log loss of the true labels {xe.log_loss(y, p):.3f}")
