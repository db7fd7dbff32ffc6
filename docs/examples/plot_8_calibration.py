"""
Calibration before and after
============================

Probabilities can have the right order and the wrong size. The decomposition of the loss separates the two errors, and
one parameter, the temperature, often corrects the size.
"""

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split

import xentropy as xe

# %%
# The data are handwritten digits with noise. A model with almost no regularisation separates its 400 training rows, and
# is overconfident on the other rows.

X, y = load_digits(return_X_y=True)
X = X / 16 + np.random.default_rng(0).normal(scale=0.3, size=X.shape)
X_train, X_rest, y_train, y_rest = train_test_split(
    X, y, train_size=400, random_state=0
)
X_cal, X_test, y_cal, y_test = train_test_split(X_rest, y_rest, random_state=0)

before = xe.SoftmaxClassifier(C=1e4).fit(X_train, y_train)
print(xe.cross_entropy_report(y_test, before.predict_proba(X_test), digits=3))

# %%
# The report advises a temperature. scikit-learn fits it to rows that were not used for training.

after = CalibratedClassifierCV(FrozenEstimator(before), method="temperature").fit(
    X_cal, y_cal
)
display = xe.ReliabilityDisplay.from_estimator(before, X_test, y_test, name="before")
xe.ReliabilityDisplay.from_estimator(
    after, X_test, y_test, name="after", ax=display.ax_
)

# %%
# The miscalibration falls. The discrimination measures the order of the probabilities and hardly changes, because a
# temperature changes no prediction.

for name, model in {"before": before, "after": after}.items():
    report = xe.cross_entropy_report(
        y_test, model.predict_proba(X_test), output_dict=True
    )
    d = report["decomposition"]
    print(
        f"{name:>6}: log loss {report['log_loss']:.3f}, accuracy {report['accuracy']:.3f}"
    )
    for part in ("miscalibration", "discrimination", "uncertainty"):
        print(f"{part:>22} {d[part]:.3f}")

# %%
# Stronger regularisation helps as well, and needs no separate rows.

regularised = xe.SoftmaxClassifier(C=1).fit(X_train, y_train)
print(f"C=1: log loss {xe.log_loss(y_test, regularised.predict_proba(X_test)):.3f}")
