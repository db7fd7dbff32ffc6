"""
What the coefficients are worth
===============================

A coefficient without its error says little. Neither does the loss of rows that were fitted. Both follow from one more
look at the rows: at the curvature of the loss where the fit has ended.
"""

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler

import xentropy as xe

# %%
# Four measurements of cell nuclei tell benign from malignant tumours. In units of their standard deviations the
# coefficients can be compared, and without a penalty they have the usual standard errors.

X, y = load_breast_cancer(return_X_y=True, as_frame=True)
names = load_breast_cancer().target_names
features = ["mean radius", "mean texture", "mean smoothness", "mean concavity"]
X = StandardScaler().set_output(transform="pandas").fit_transform(X[features])
y = names[y]

model = xe.SoftmaxClassifier(C=np.inf, tol=1e-6).fit(X, y)
table = xe.coefficient_table(model, X, y, reference="benign")
print(table.drop(columns="class").round(3).to_string(index=False))

# %%
# The robust errors are also right if the logits are not quite linear in the features. They differ little here.

display = xe.CoefficientDisplay.from_estimator(
    model, X, y, reference="benign", kind="robust"
)
display.ax_.set_title("malignant rather than benign, robust intervals")

# %%
# Average effects are in units that need no logarithm of odds: how much the probability changes with one standard
# deviation.

effects = xe.marginal_effects(model, X, y)
of_malignant = effects[effects["class"] == "malignant"]
print(of_malignant[["feature", "effect", "se"]].round(3).to_string(index=False))

# %%
# A probability has an interval as well. It is wide where few tumours are alike.

model.covariance(X, y)
bounds = model.predict_proba_interval(X)[:, 1]
p = model.predict_proba(X)[:, 1]
for i in np.argsort(np.abs(p - 0.5))[:3]:
    print(f"tumour {i}: p = {p[i]:.2f}, from {bounds[i, 0]:.2f} to {bounds[i, 1]:.2f}")

# %%
# With all 30 features, leave-one-out shows how much of the loss the fit hides, for each penalty and from one fit for
# each. It is what a search over C needs.

X, _ = load_breast_cancer(return_X_y=True)
X = StandardScaler().fit_transform(X)
for C in (0.1, 1.0, 10.0, 100.0):
    model = xe.SoftmaxClassifier(C=C).fit(X, y)
    left_out = xe.leave_one_out(model, X, y)
    fitted = xe.log_loss(y, model.predict_proba(X))
    print(
        f"C = {C:5}: fitted {fitted:.3f}, left out {left_out.loss.mean():.3f}, "
        f"{left_out.leverage.sum():.1f} effective coefficients"
    )

search = xe.SoftmaxClassifierCV(cv="loo").fit(X, y)
print(f"chosen: C = {search.C_:.2g}")

# %%
# Rows that cost most when they are left out are the first to look at: a row of the wrong label bends its own fit.

model = xe.SoftmaxClassifier(C=search.C_).fit(X, y)
print(xe.cross_entropy_report(y, xe.leave_one_out(model, X, y).proba, digits=3))
