"""
Cat, dog, bird: a loss falls from 1.11 to 0.05
==============================================

A picture shows a cat. A network gives each of three classes a logit, the softmax turns the logits into probabilities,
and the cross-entropy is minus the logarithm of the probability of the cat.
"""

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import make_blobs

import xentropy as xe

animals = ["bird", "cat", "dog"]
snapshots = {
    "untrained": [0.33, 0.33, 0.34],
    "half-way": [0.10, 0.70, 0.20],
    "trained": [0.02, 0.95, 0.03],
}
for name, proba in snapshots.items():
    loss = xe.log_loss(["cat"], [proba], labels=animals)
    print(f"{name:>9}: p(cat) = {proba[1]:.2f}, loss {loss:.2f}")

# %%
# The gradient is the error
# -------------------------
# The gradient with respect to the logits is p - t, the predicted minus the target probability. A step against it
# raises the logit of the cat in proportion to 1 - p, and lowers the logit of each other animal in proportion to p.

logits = np.log([snapshots["untrained"]])
loss, grad = xe.cross_entropy([1], logits, return_grad=True)
for name, p, g in zip(animals, xe.softmax(logits)[0], grad[0], strict=True):
    print(f"{name:>4}: p = {p:.2f}, gradient {g:+.2f}")

# %%
# Gradient descent lowers the loss:

path = []
for _ in range(600):
    loss, grad = xe.cross_entropy([1], logits, return_grad=True)
    path.append([loss, *xe.softmax(logits)[0]])
    logits -= 0.05 * grad
loss, *proba = np.transpose(path)

fig, axes = plt.subplots(1, 2, figsize=(9.2, 3.4), layout="constrained")
for name, p, color in zip(
    animals, proba, ("#009E73", "#0072B2", "#D55E00"), strict=True
):
    axes[0].plot(p, color=color, linewidth=2)
    axes[0].annotate(
        name,
        (615, p[-1] + {"bird": 0.015, "cat": 0, "dog": 0.06}[name]),
        color=color,
        va="center",
    )
axes[1].plot(loss, color="#0072B2", linewidth=2)
for p in (0.33, 0.7, 0.95):
    step = np.argmax(proba[1] >= p - 1e-9)
    axes[1].plot(step, loss[step], "o", color="#D55E00")
    axes[1].annotate(
        f"p(cat) = {p}: {-np.log(p):.2f}",
        (step + 15, loss[step] + 0.03),
        color="#D55E00",
    )
axes[0].set(xlabel="step", ylabel="probability", xlim=(0, 720), ylim=(0, 1))
axes[1].set(xlabel="step", ylabel="loss (nats)", ylim=(0, None))
for ax in axes:
    ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# A thousand pictures
# -------------------
# The loss of pictures that the model was not trained on shows when to stop. Here each
# picture has 40 measurements. The solver takes long steps, so the model begins to
# overfit its 200 pictures after a few of them, and the loss of the others rises.

X, kind = make_blobs(1000, 40, centers=3, cluster_std=14.0, random_state=0)
y = np.array(animals)[kind]
seen, unseen = slice(0, 200), slice(200, None)
model = xe.SoftmaxClassifier().fit(X[seen], y[seen], X_val=X[unseen], y_val=y[unseen])
display = xe.LossCurveDisplay.from_estimator(model)
