"""
Spam: one class in fifty
========================

The few rows of a rare class often have much of the loss. The report says so, but it is not always a fault: what to do
about it depends on how the probabilities are used.
"""

import numpy as np
from matplotlib import pyplot as plt
from sklearn.model_selection import train_test_split

import xentropy as xe

# %%
# The messages have 30 features, and 2 % of them are spam.

rng = np.random.default_rng(0)
n, d = 20_000, 30
y = np.where(rng.random(n) < 0.02, "spam", "ham")
X = rng.normal(size=(n, d)) + 0.5 * (y == "spam")[:, None] * (np.arange(d) < 10)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)

plain = xe.SoftmaxClassifier().fit(X_train, y_train)
print(xe.cross_entropy_report(y_test, plain.predict_proba(X_test), digits=3))

# %%
# The only finding is not an error of the probabilities, and the calibration error is small. The spam has most of the
# loss because its rows have low probabilities of spam. These are correct, because spam is rare.

xe.LossByClassDisplay.from_estimator(plain, X_test, y_test)

# %%
# Class weights
# -------------
# ``class_weight="balanced"`` trains as if half of the messages were spam. The classes then share the loss, but the
# probabilities are wrong for these data, in which 2 % are spam.

balanced = xe.SoftmaxClassifier(class_weight="balanced").fit(X_train, y_train)
fig, axes = plt.subplots(1, 2, figsize=(10, 5.2), layout="constrained")
for ax, (name, model) in zip(
    axes, {"plain": plain, "balanced": balanced}.items(), strict=True
):
    xe.ReliabilityDisplay.from_estimator(
        model, X_test, y_test, pos_label="spam", name=name, ax=ax
    )
plt.show()
for name, model in {"plain": plain, "balanced": balanced}.items():
    print(f"{name:>8}: log loss {xe.log_loss(y_test, model.predict_proba(X_test)):.3f}")

# %%
# A threshold instead
# -------------------
# Suppose that a missed spam costs ten times as much as a lost good message. With correct probabilities no weights are
# needed: the expected cost is least if messages with p > 1 / (1 + 10) are treated as spam.

p_spam = plain.predict_proba(X_test)[:, 1]
is_spam = y_test == "spam"
for threshold in (0.5, 1 / 11):
    cost = 10 * np.sum(is_spam & (p_spam <= threshold)) + np.sum(
        ~is_spam & (p_spam > threshold)
    )
    print(f"threshold {threshold:.3f}: cost {cost}")
