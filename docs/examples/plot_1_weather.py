"""
A weather forecaster with three outcomes
========================================

A forecast of dry 70 %, rain 20 %, snow 10 % is a distribution over three outcomes, and one of them occurs. The
cross-entropy of the forecast, also called surprise, is minus the logarithm of the probability that it gave to this
outcome.
"""

# %%
# Surprise
# --------
# The surprise depends on no other part of the forecast, and it has no bound: it is infinite for an outcome with
# probability 0. With natural logarithms it is measured in *nats*: a probability of 1/2 costs ln 2 = 0.69, and one of
# 1/3 costs ln 3 = 1.10.

import numpy as np
from matplotlib import pyplot as plt

import xentropy as xe

outcomes = ["dry", "rain", "snow"]  # sorted, as the columns of the forecasts are
forecast = [0.7, 0.2, 0.1]
for outcome in outcomes:
    surprise = xe.log_loss([outcome], [forecast], labels=outcomes)
    print(f"{outcome:>5} after {forecast}: {surprise:.3f} nats")

# %%
# A year of forecasts
# -------------------
# Each day has true probabilities. An honest forecaster states them, a bold one exaggerates, and a timid one hedges. The
# last one states the climate, which is the frequencies over the year.

rng = np.random.default_rng(0)
chances = rng.dirichlet([2.0, 1.0, 0.4], size=365)
weather = np.array([rng.choice(outcomes, p=p) for p in chances])


def sharpened(proba, power):
    proba = proba**power
    return proba / proba.sum(axis=1, keepdims=True)


climate = np.array([np.mean(weather == outcome) for outcome in outcomes])
forecasters = {
    "honest": chances,
    "bold": sharpened(chances, 3),
    "timid": sharpened(chances, 1 / 3),
    "climate": np.tile(climate, (365, 1)),
}
for name, proba in forecasters.items():
    print(f"{name:>8}: {xe.log_loss(weather, proba):.3f} nats")

# %%
# The expected loss is least for the true probabilities, so no other forecast can do better on average: the logarithmic
# score is *proper*. The loss of the climate is the entropy of the frequencies. A forecaster with a larger loss is worse
# than the climate. The *skill* is 0 for the climate and 1 for a perfect forecast.

print(xe.cross_entropy_report(weather, forecasters["bold"], digits=3))

# %%
# The cost of a wrong probability
# -------------------------------
# If the true probability of rain is 30 %, the expected surprise of a forecast q is least at q = 0.3. For any other q,
# the additional loss is the Kullback-Leibler divergence.

q = np.linspace(0.005, 0.995, 400)
chance = 0.3
expected = -chance * np.log(q) - (1 - chance) * np.log(1 - q)
entropy = expected.min()

fig, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
ax.plot(q, expected, color="#0072B2", linewidth=2)
ax.axhline(entropy, color="0.35", linewidth=1, linestyle="--")
ax.plot([chance], [entropy], "o", color="#D55E00", markersize=8)
ax.annotate(
    "honest: the entropy, 0.611",
    (chance, entropy),
    xytext=(0.34, 0.35),
    color="#D55E00",
)
said = np.searchsorted(q, 0.75)
ax.plot([q[said]] * 2, [entropy, expected[said]], color="#0072B2", linewidth=1)
ax.annotate("divergence", (0.765, 0.72), color="#0072B2")
ax.set(xlabel="probability said for rain", ylabel="expected loss (nats)", ylim=(0, 2.2))
ax.spines[["top", "right"]].set_visible(False)
plt.show()
