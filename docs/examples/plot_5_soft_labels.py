"""
Soft labels: what the annotators could not agree on
===================================================

Five people label each picture, and often they disagree. A vote of 3 to 2 is not the same as 5 to 0: train on the
votes, not on the majority.
"""

import numpy as np

import xentropy as xe

# %%
# Each picture has a true distribution over three classes: what people would say of it. Five of them are asked.

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
# ``fit`` takes a distribution in each row as it takes labels.

hard = xe.SoftmaxClassifier().fit(X[train], majority[train])
soft = xe.SoftmaxClassifier().fit(X[train], share[train])
for name, model in {"majority": hard, "votes": soft}.items():
    loss = xe.log_loss(share[test], model.predict_proba(X[test]))
    print(f"trained on the {name:>8}: log loss {loss:.3f}")

# %%
# The majority hides doubt, so the model that learnt from it is too sure of itself.

print(xe.cross_entropy_report(share[test], hard.predict_proba(X[test]), digits=3))

# %%
# Targets that disagree with themselves have a floor: not even their own distribution has less loss than its
# entropy. What is above the floor is the divergence, and that is all that a model can save.

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
