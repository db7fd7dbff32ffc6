"""
Several labels at once
======================

A digit can be even *and* have a loop. Each label is then a yes-or-no question of its own, with a sigmoid and a binary
cross-entropy. ``MultilabelClassifier`` answers all of them with common passes over the data.
"""

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import xentropy as xe

# %%
# scikit-learn's digits are images of 8 by 8 pixels. The columns of a DataFrame name the labels.

X, digit = load_digits(return_X_y=True)
Y = pd.DataFrame(
    {
        "even": digit % 2 == 0,
        "above four": digit > 4,
        "loop": np.isin(digit, [0, 6, 8, 9]),
        "seven": digit == 7,
    }
)
X_train, X_test, Y_train, Y_test = train_test_split(X, Y, random_state=0)
clf = xe.MultilabelClassifier(C=0.01).fit(X_train, Y_train)
print(clf.classes_, clf.coef_.shape)

# %%
# ``predict`` gives an indicator, in the order of ``classes_``, and ``score`` the share of the images of which all
# labels are right.

print(digit[:3])
print(clf.predict(X[:3]))
print(f"all labels are right for {clf.score(X_test, Y_test):.1%} of the images")

# %%
# The metric
# ----------
# ``binary_log_loss`` is the mean of the log losses of the labels. ``log_loss`` of an indicator is another number, as it
# is in scikit-learn: there each row is one distribution. The scorer of a classifier of several labels uses
# ``binary_log_loss``.

proba = pd.DataFrame(clf.predict_proba(X_test), columns=clf.classes_)
print(f"{xe.binary_log_loss(Y_test, proba):.4f}")
print(xe.binary_log_loss(Y_test, proba, average=None).round(4))
print(f"{xe.neg_log_loss_scorer(clf, X_test, Y_test):.4f}")

# %%
# The report compares each label with guessing how frequent it is.

print(xe.cross_entropy_report(Y_test, proba, multilabel=True, digits=3))

# %%
# Each label also has its reliability diagram and its share of the loss.

display = xe.ReliabilityDisplay.from_estimator(
    clf, X_test, Y_test, pos_label="even", name="even"
)
xe.ReliabilityDisplay.from_estimator(
    clf, X_test, Y_test, pos_label="above four", name="above four", ax=display.ax_
)
display.ax_.set_xlabel("mean probability of the label")

# %%
xe.LossByClassDisplay.from_estimator(clf, X_test, Y_test)

# %%
# Missing labels
# --------------
# Often nobody has looked at every label of every row. NaN stands for a missing label: the row is left out of the loss
# of that label, and counts for the others. Half of the labels are enough for nearly the same model.

seen = np.random.default_rng(0).random(Y_train.shape) < 0.5
partly = clf.fit(X_train, Y_train.astype(float).where(seen))
print(xe.binary_log_loss(Y_test, partly.predict_proba(X_test), average=None).round(4))

# %%
# One class against the rest
# --------------------------
# With class labels, in one column, the classifier is the one-vs-rest model, again with one pass over the data for all
# classes: what ``OneVsRestClassifier(LogisticRegression())`` fits class by class. ``to_sklearn`` makes such a model of
# it.

one_vs_rest = xe.MultilabelClassifier(C=0.01).fit(X[:1000], digit[:1000])
print(f"{one_vs_rest.score(X[1000:], digit[1000:]):.3f}")
print(one_vs_rest.to_sklearn())

# %%
# A model of your own
# -------------------
# ``binary_cross_entropy`` is the loss of logits, with its gradient, for any model of several labels.

logits = clf.decision_function(X_test)
loss, grad = xe.binary_cross_entropy(
    Y_test.to_numpy(dtype=float), logits, return_grad=True
)
print(f"{loss:.4f}", grad.shape)
