"""
Sequences with padding
======================

Sentences differ in length, so the sentences of a batch are padded to the longest one. Predictions for the padding must
count neither in the loss nor in its mean.
"""

import numpy as np
from matplotlib import pyplot as plt

import xentropy as xe

# %%
# The model predicts the next letter of a word from the letter before it. ``.`` ends a word.

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
# The simplest language model is a table of logits of the next letter for each letter. ``cross_entropy`` takes logits
# of the shape (batch, time, K). Rows with the label `ignore_index` have a loss of 0 and a gradient of exactly 0, and
# the mean is over the other rows.

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
# The *perplexity* is the exponential of the mean loss. It is the number of equally likely letters with the same
# uncertainty; at first it is the number of all letters.

fig, ax = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
ax.plot(perplexity, color="#0072B2", linewidth=2)
ax.axhline(k, color="0.35", linewidth=1, linestyle="--")
ax.annotate(f"{k} letters", (120, k - 0.1), va="top", color="0.35")
ax.set(xlabel="step", ylabel="perplexity (letters)", ylim=(0, k + 0.5))
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# Without `ignore_index` in the mean, the loss of 0 for the padding counts too. The model then seems better the more
# padding there is.

per_place = xe.cross_entropy(y, table[x], ignore_index=PADDING, reduction="none")
print(f"over the letters   {per_place.sum() / np.sum(y != PADDING):.3f} nats")
print(f"over all places    {per_place.mean():.3f} nats")

# %%
# Which letters are hard to predict?

real = y != PADDING
proba = xe.softmax(table[x[real]])
xe.LossByClassDisplay.from_predictions(
    y[real], proba, labels=range(k), target_names=alphabet
)
