"""Draw the picture of README.md, docs/_static/report.png: `python tools/readme_picture.py`."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import xentropy as xe

PICTURE = Path(__file__).parents[1] / "docs" / "_static" / "report.png"


def main() -> None:
    # digits with noise
    rng = np.random.default_rng(0)
    X, y = load_digits(return_X_y=True)
    X = X / 16 + rng.normal(scale=0.25, size=X.shape)
    X_train, X_test, y_train, y_test = train_test_split(X, y, train_size=500, stratify=y, random_state=0)
    weak, strong = (xe.SoftmaxClassifier(C=C).fit(X_train, y_train) for C in (100.0, 1.0))

    figure, axes = pyplot.subplots(1, 3, figsize=(12.6, 3.6), layout="constrained")
    for model, name in ((weak, "C = 100"), (strong, "C = 1")):
        xe.ReliabilityDisplay.from_estimator(model, X_test, y_test, ax=axes[0], name=name, histogram=False)
    xe.LossByClassDisplay.from_estimator(strong, X_test, y_test, ax=axes[1])
    stopped = xe.SoftmaxClassifier(C=1e4, early_stopping=True, random_state=0).fit(X_train, y_train)
    xe.LossCurveDisplay.from_estimator(stopped, ax=axes[2])
    for ax, title in zip(axes, ("Are the probabilities right?", "Which classes cost?", "When to stop?"), strict=True):
        ax.set_title(title, pad=24)  # above the legend of the second plot
    axes[0].legend(loc="lower right", fontsize="small", frameon=False)
    figure.savefig(PICTURE, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
