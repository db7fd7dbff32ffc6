"""
Soft labels: training on the votes of annotators
================================================

Five people label each picture, and they often disagree. A vote of 3 to 2 holds different information than a vote of
5 to 0, so a model should be trained on the votes, not on the majority.
"""

import numpy as np

import xentropy as xe

# %%
# Each picture has a true distribution over three classes, from which the five labels are drawn.

rng = np.random.default_rng(0)
n, d, k = 3000, 20, 3
X = rng.normal(size=(n, d))
logits = X @ rng.normal(size=(d, k)) * 0.4
truth = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
votes = np.array([rng.multinomial(5, p) for p in truth])
share = votes / 5
majority = votes.argmax(axis=1)
train, test = slice(0, 300), slice(300, None)

# %%
# ``fit`` takes labels, or a distribution in each row.

hard = xe.SoftmaxClassifier().fit(X[train], majority[train])
soft = xe.SoftmaxClassifier().fit(X[train], share[train])
for name, model in {"majority": hard, "votes": soft}.items():
    loss = xe.log_loss(share[test], model.predict_proba(X[test]))
    print(f"trained on the {name:>8}: log loss {loss:.3f}")

# %%
# The majority hides the disagreement, so the model that was trained on it is overconfident.

print(xe.cross_entropy_report(share[test], hard.predict_proba(X[test]), digits=3))

# %%
# The least possible loss of soft targets is their mean entropy. The rest of the loss is the divergence of the model
# from the targets, and a model can only reduce this part.

floor = xe.log_loss(share[test], share[test])
print(f"floor {floor:.3f}")
for name, proba in {"truth": truth[test], "votes": soft.predict_proba(X[test])}.items():
    print(f"{name}: {xe.log_loss(share[test], proba) - floor:.3f} above it")

# %%
xe.ReliabilityDisplay.from_estimator(
    hard, X[test], share[test], name="trained on the majority"
)
display = xe.ReliabilityDisplay.from_estimator(
    soft, X[test], share[test], name="trained on the votes"
)
