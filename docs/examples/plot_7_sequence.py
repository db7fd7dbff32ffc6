"""
Sequences with padding
======================

Sentences differ in length; a batch is padded to the longest. What a model says of the padding is of no interest,
and must count neither in the loss nor in its mean.
"""

import numpy as np
from matplotlib import pyplot as plt

import xentropy as xe

# %%
# Words of a small language, letter by letter: from each letter, which comes next? ``.`` ends a word.

words = """anna banana nan ban an cab bacca nab bean been bee ace cane acne dance deed bead
cede need dean candace decade abbe ebb bed add dad dead baba dada nana canna annex axe"""
alphabet = sorted(set("".join(words.split()))) + ["."]
code = {letter: i for i, letter in enumerate(alphabet)}
sequences = [[code["."], *(code[c] for c in word), code["."]] for word in words.split()]

PADDING = -1
longest = max(map(len, sequences))
batch = np.array([s + [PADDING] * (longest - len(s)) for s in sequences])
x, y = batch[:, :-1], batch[:, 1:]
print(f"{batch.shape[0]} words, {np.mean(y == PADDING):.0%} of the places are padding")

# %%
# A table of logits, next letter by letter, is the simplest language model. ``cross_entropy`` takes logits (batch,
# time, K) as they are; rows whose label is `ignore_index` have loss 0 and gradient exactly 0, and the mean is over
# the others.

k = len(alphabet)
table = np.zeros((k, k))
perplexity = []
for _ in range(200):
    loss, grad = xe.cross_entropy(y, table[x], ignore_index=PADDING, return_grad=True)
    perplexity.append(np.exp(loss))
    grad_table = np.zeros_like(table)
    np.add.at(grad_table, x, grad)
    table -= 10 * grad_table
assert not grad[y == PADDING].any()

# %%
# The *perplexity*, exp of the mean loss, says among how many letters the model is as good as lost: of all at first.

fig, ax = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
ax.plot(perplexity, color="#0072B2", linewidth=2)
ax.axhline(k, color="0.35", linewidth=1, linestyle="--")
ax.annotate(f"{k} letters", (120, k - 0.1), va="top", color="0.35")
ax.set(xlabel="step", ylabel="perplexity (letters)", ylim=(0, k + 0.5))
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# What goes wrong without it: a mean over all places counts the padding as predicted for free, and the more there
# is, the better the model seems.

per_place = xe.cross_entropy(y, table[x], ignore_index=PADDING, reduction="none")
print(f"over the letters   {per_place.sum() / np.sum(y != PADDING):.3f} nats")
print(f"over all places    {per_place.mean():.3f} nats")

# %%
# Which letters are hard to foresee?

real = y != PADDING
proba = xe.softmax(table[x[real]])
xe.LossByClassDisplay.from_predictions(
    y[real], proba, labels=range(k), target_names=alphabet
)
