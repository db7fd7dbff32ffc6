import pickle

import numpy as np
import pytest
from reference import PHI, ExactLoss, one_hot
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.utils.estimator_checks import check_estimator

import xentropy as xe
from xentropy._kernels._pointwise import hessian_product
from xentropy._losses import LOSSES, check_loss


def ends(parameter):
    """The ends of the interval of a parameter of a loss, or numbers near them where they are not in it."""
    (interval,) = parameter
    low = interval.left if interval.closed in ("left", "both") else interval.left + 1e-3
    high = interval.left + 5 if interval.right is None else interval.right
    return low, high


def cases():
    """Each loss with its defaults, and with each of its parameters at the ends of its interval."""
    for loss in LOSSES.values():
        yield loss()
        for name, parameter in loss._parameter_constraints.items():
            yield from (loss(**{name: value}) for value in ends(parameter))


CASES = [
    *cases(),
    xe.FocalLoss(0.5),  # its second derivative is infinite at l = 0
    xe.FocalLoss(1),
    xe.SymmetricCrossEntropy(4, 1),  # the last that is convex
]
DTYPES = [np.float32, np.float64]

each_loss = pytest.mark.parametrize("loss", CASES, ids=repr)
both = pytest.mark.parametrize("dtype", DTYPES)
scales = pytest.mark.parametrize("scale", [8, 300])


def digits(scale):
    return 100 if scale <= 8 else 400


def tolerance(loss, dtype):
    """The relative error: u^gamma multiplies that of u by gamma, and u^(gamma - 1) in a derivative does once more."""
    return (1e-13 if dtype is np.float64 else 4e-6) * (2 + getattr(loss, "gamma", 0))


def rows(scale, dtype, n=2, n_classes=4):
    """Labels and logits; the first row is right, the second is wrong."""
    rng = np.random.default_rng(int(scale))
    z = (scale * rng.standard_normal((n, n_classes))).astype(dtype)
    y = rng.integers(0, n_classes, n)
    y[:2] = z[0].argmax(), z[1].argmin()
    return y, z


def targets(loss, y, scale, n_classes=4):
    """Pairs of arguments and oracle: (y for the functions, label smoothing, class weights, the rows a_k)."""
    rng = np.random.default_rng(0)
    w = rng.random(n_classes)
    yield y, 0.0, None, one_hot(y, n_classes)
    if scale > 8:
        return  # all saturate in the same way, and exact arithmetic is slow there
    yield one_hot(y, n_classes), 0.0, w, w * one_hot(y, n_classes)
    if not loss.one_hot_only:
        soft = rng.dirichlet(np.ones(n_classes), len(y)).astype(np.float32).astype(float)
        soft /= soft.sum(axis=1, keepdims=True)
        yield soft, 0.2, w, w * (0.8 * soft + 0.2 / n_classes)
        yield y, 0.2, None, 0.8 * one_hot(y, n_classes) + 0.2 / n_classes


def test_every_loss_has_an_oracle():
    assert set(PHI) == set(LOSSES)


def test_the_kernels_refuse_what_is_no_formula():
    z = np.zeros((1, 2))
    for loss in (("hinge", ()), ("focal", (1.0, 2.0, 3.0))):
        with pytest.raises(ValueError, match=r"is no formula of phi\.h"):
            hessian_product(z, z, labels=np.zeros(1, np.int32), loss=loss)


@each_loss
@both
@scales
def test_softmax_value_and_gradient(loss, dtype, scale):
    y, z = rows(scale, dtype)
    for target, eps, w, a in targets(loss, y, scale):
        options = {"loss": loss, "label_smoothing": eps, "class_weight": w, "reduction": "none", "return_grad": True}
        value, grad = xe.cross_entropy(target, z, **options)
        for i, k in enumerate(y):
            exact = ExactLoss(loss, a[i], digits(scale))
            expected = np.array([exact.slope(z[i], e) for e in np.eye(4)])
            if np.count_nonzero(a[i]) == 1:
                rtol, atol = tolerance(loss, dtype), np.finfo(dtype).tiny
                np.testing.assert_allclose(grad[i, k], expected[k], rtol=rtol, atol=atol)
                np.testing.assert_allclose(grad[i], expected, atol=rtol * np.abs(expected).max() + atol)
            else:  # several classes have weights, whose terms can cancel; and y is rounded to the dtype
                rtol, atol = max(tolerance(loss, dtype), np.finfo(dtype).eps), 1e-300
                np.testing.assert_allclose(grad[i], expected, atol=rtol * a[i].sum())
            np.testing.assert_allclose(value[i], exact.value(z[i]), rtol=rtol, atol=1e-300)


@each_loss
@both
@scales
def test_sigmoid_value_and_gradient(loss, dtype, scale):
    rng = np.random.default_rng(int(scale))
    z = (scale * rng.standard_normal(6)).astype(dtype)
    y = (np.array([z[0] > 0, z[1] < 0, 0, 1, 0, 1])).astype(dtype)
    eps, c = 0.0, 1.5
    if not loss.one_hot_only:
        eps, y[3:] = 0.2, [0.25, 0.75, 0.5]
    value, grad = xe.binary_cross_entropy(
        y, z, loss=loss, label_smoothing=eps, pos_weight=c, reduction="none", return_grad=True
    )
    rtol = tolerance(loss, dtype)
    for zi, yi, v, g in zip(z, y, value, grad, strict=True):
        t = (1 - eps) * yi.astype(float) + eps / 2
        exact = ExactLoss(loss, [1 - t, c * t], digits(scale))
        np.testing.assert_allclose(v, exact.value([0, zi]), rtol=rtol, atol=1e-300)
        atol = np.finfo(dtype).tiny if t in (0, 1) else rtol
        np.testing.assert_allclose(g, exact.slope([0, zi], [0, 1]), rtol=rtol, atol=atol)


@each_loss
@both
@scales
def test_hessian_product(loss, dtype, scale):
    y, z = rows(scale, dtype)
    rng = np.random.default_rng(1)
    v, u = rng.standard_normal(z.shape).astype(dtype), rng.standard_normal(4)
    for target, eps, w, a in targets(loss, y, scale):
        name = "labels" if target is y else "distribution"
        typed = {name: target.astype(np.int32 if target is y else dtype)}
        product = hessian_product(z, v, **typed, label_smoothing=eps, class_weight=w, loss=loss.kernel())
        for i, k in enumerate(y):
            exact = ExactLoss(loss, a[i], digits(scale))
            rtol = 4 * max(tolerance(loss, dtype), np.finfo(dtype).eps)
            of_target = exact.curvature(z[i], one_hot([k], 4)[0], v[i])
            if np.count_nonzero(a[i]) == 1:
                # a row that is nearly right keeps its digits; for a wrong one, the terms of PolyLoss(1) can cancel
                size = abs(of_target) if z[i].argmax() == k else exact_size(z[i], k, v[i], digits(scale))
                np.testing.assert_allclose(product[i, k], of_target, atol=rtol * size + np.finfo(dtype).tiny)
            expected = exact.curvature(z[i], u, v[i])
            np.testing.assert_allclose(product[i] @ u, expected, atol=rtol * a[i].sum() * np.abs(v[i]).max())


def exact_size(z, k, v, n_digits):
    target = one_hot([k], len(z))[0]
    return 10 * abs(ExactLoss(xe.CrossEntropy(), target, n_digits).curvature(z, target, v))


@each_loss
@both
@scales
def test_sigmoid_hessian(loss, dtype, scale):
    z = (scale * np.random.default_rng(int(scale)).standard_normal((6, 1))).astype(dtype)
    y = np.array([0, 1] * 3, dtype=np.int32)
    product = hessian_product(z, np.ones_like(z), sigmoid=True, labels=y, loss=loss.kernel())
    for zi, yi, h in zip(z[:, 0], y, product[:, 0], strict=True):
        a = one_hot([yi], 2)[0]
        expected = ExactLoss(loss, a, digits(scale)).curvature([0, zi], [0, 1], [0, 1])
        # PolyLoss(1) is just convex: far on the wrong side its curvature nearly cancels, from terms like p (1 - p)
        size = abs(expected) + 5 * ExactLoss(xe.CrossEntropy(), a, digits(scale)).curvature([0, zi], [0, 1], [0, 1])
        np.testing.assert_allclose(h, expected, atol=2 * tolerance(loss, dtype) * size + np.finfo(dtype).tiny)


@each_loss
@both
def test_finite_at_saturation(loss, dtype):
    z = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 0], [800, 0, 0], [0, 800, 1], [1e30, -1e30, 0], [1e-30, 0, 0]], dtype)
    y = np.zeros(len(z), np.int32)
    for target, eps in [(y, 0.0), (one_hot(y, 3), 0.0)] + ([] if loss.one_hot_only else [(y, 0.1)]):
        value, grad = xe.cross_entropy(target, z, loss=loss, label_smoothing=eps, reduction="none", return_grad=True)
        assert np.isfinite(value).all()
        assert np.isfinite(grad).all()
        assert (value >= 0).all()
    product = hessian_product(z, np.full_like(z, 0.5) + np.eye(3, dtype=dtype)[y], labels=y, loss=loss.kernel())
    assert np.isfinite(product).all()
    for sign in (-1, 1):
        value, grad = xe.binary_cross_entropy(
            np.eye(2)[y[:4] % 2], sign * np.array([[1e4, -1e4]] * 4, dtype), loss=loss, return_grad=True
        )
        assert np.isfinite(value)
        assert np.isfinite(grad).all()


@each_loss
@both
def test_masked_target_is_the_limit(loss, dtype):
    """At l = inf an unbounded loss is inf, a bounded one is at its bound, and the gradient is finite."""
    masked = np.array([[0.0, -np.inf, 1.0]], dtype)
    far = np.array([[0.0, -1e9, 1.0]], dtype)
    value, grad = xe.cross_entropy([1], masked, loss=loss, return_grad=True)
    limit, grad_limit = xe.cross_entropy([1], far, loss=loss, return_grad=True)
    assert value == (np.inf if limit > 1e6 else limit)
    np.testing.assert_allclose(grad, grad_limit, rtol=1e-6)
    value, grad = xe.binary_cross_entropy([1], np.array([-np.inf], dtype), loss=loss, return_grad=True)
    assert value == (np.inf if limit > 1e6 else pytest.approx(limit))
    assert np.isfinite(grad).all()
    value, grad = xe.binary_cross_entropy([1], np.array([np.inf], dtype), loss=loss, return_grad=True)
    assert (value, grad[0]) == (0, 0)


@each_loss
def test_nan_stays_nan(loss):
    for z in ([[0.0, np.nan]], [[np.nan, 0.0]]):
        value, grad = xe.cross_entropy([0], z, loss=loss, return_grad=True)
        assert np.isnan(value)
        assert np.isnan(grad).all()
    value, grad = xe.binary_cross_entropy([1.0], [np.nan], loss=loss, return_grad=True)
    assert np.isnan(value)
    assert np.isnan(grad).all()


@pytest.mark.parametrize(
    ("loss", "factor"),
    [
        (xe.FocalLoss(0), 1),
        (xe.GeneralizedCrossEntropy(1e-12), 1),
        (xe.PolyLoss(0), 1),
        (xe.SymmetricCrossEntropy(1, 0), 1),
        (xe.SymmetricCrossEntropy(3, 0), 3),
    ],
    ids=repr,
)
def test_limits_are_the_cross_entropy(loss, factor):
    y, z = rows(5, np.float64, n=20)
    value, grad = xe.cross_entropy(y, z, return_grad=True)
    found, grad_found = xe.cross_entropy(y, z, loss=loss, return_grad=True)
    assert found == pytest.approx(factor * value, rel=1e-9)
    np.testing.assert_allclose(grad_found, factor * grad, rtol=1e-9)


def test_generalized_with_q_1_is_the_mean_absolute_error():
    y, z = rows(2, np.float64, n=20)
    error = 0.5 * np.abs(xe.softmax(z) - one_hot(y, 4)).sum(axis=1)
    np.testing.assert_allclose(
        xe.cross_entropy(y, z, loss=xe.GeneralizedCrossEntropy(1), reduction="none"), error, rtol=1e-13
    )


@each_loss
def test_convex_means_no_negative_curvature(loss):
    rng = np.random.default_rng(0)
    least = 0.0
    for scale in (0.3, 1, 3, 6):
        z = scale * rng.standard_normal((200, 3))
        for y in range(3):
            labels = np.full(200, y, np.int32)
            columns = [
                hessian_product(z, np.tile(e, (200, 1)), labels=labels, loss=loss.kernel()) for e in np.eye(3)
            ]
            least = min(least, np.linalg.eigvalsh(np.stack(columns, axis=2)).min())
    assert loss.convex == (least > -1e-12)


@each_loss
def test_hessian_annihilates_a_common_shift(loss):
    y, z = rows(3, np.float64, n=20)
    product = hessian_product(z, np.ones_like(z), labels=y.astype(np.int32), loss=loss.kernel())
    np.testing.assert_allclose(product, 0, atol=1e-15)


@each_loss
def test_linear_takes_the_loss(loss):
    rng = np.random.default_rng(0)
    X, W, y = rng.standard_normal((50, 3)), rng.standard_normal((4, 3)), rng.integers(0, 4, 50)
    expected, G = xe.cross_entropy(y, X @ W.T, loss=loss, return_grad=True)
    value, (grad, _) = xe.linear_cross_entropy(X, y, W, loss=loss, return_grad=True)
    assert value == pytest.approx(expected, rel=1e-13)
    np.testing.assert_allclose(grad, G.T @ X, atol=1e-14)
    pair = np.column_stack([np.zeros(50), X @ W[0]])
    expected, G = xe.cross_entropy(y % 2, pair, loss=loss, return_grad=True)
    value, (grad, _) = xe.linear_cross_entropy(X, y % 2, W[:1], loss=loss, return_grad=True)
    assert value == pytest.approx(expected, rel=1e-13)
    np.testing.assert_allclose(grad, G[:, 1:].T @ X, atol=1e-14)


@pytest.mark.parametrize(
    ("loss", "least"),
    [
        (xe.CrossEntropy(), 0.80),
        (xe.FocalLoss(gamma=2.0), 0.63),
        (xe.PolyLoss(epsilon=1.0), 0.87),
        (xe.GeneralizedCrossEntropy(q=0.7), 0.99),
        (xe.SymmetricCrossEntropy(alpha=0.1, beta=1.0), 0.99),
    ],
    ids=repr,
)
def test_where_the_expected_loss_is_least(loss, least):
    """docs/losses.md: only the cross-entropy is proper, with its least expected loss at the true probability."""
    p = np.arange(0.5, 1.0, 0.0005)
    logits = np.column_stack([np.log(p), np.log1p(-p)])
    of_class = [
        xe.cross_entropy(np.full(len(p), k), logits, loss=loss, reduction="none") for k in (0, 1)
    ]
    assert p[np.argmin(0.8 * of_class[0] + 0.2 * of_class[1])] == pytest.approx(least, abs=0.005)


def test_symmetric_needs_one_hot_targets():
    loss, z = xe.SymmetricCrossEntropy(), np.zeros((3, 2))
    soft = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    with pytest.raises(ValueError, match=r"SymmetricCrossEntropy\(alpha=0.1, beta=1.0\) is not defined .* row 1"):
        xe.cross_entropy(soft, z, loss=loss)
    assert xe.cross_entropy(soft, z, loss=loss, sample_weight=[1, 0, 1]) == xe.cross_entropy([0, 1], z[:2], loss=loss)
    with pytest.raises(ValueError, match=r"y_true holds 0.5 \(position \(1, 0\)\)"):
        xe.binary_cross_entropy(soft, z, loss=loss)
    xe.binary_cross_entropy(soft, z, loss=loss, sample_weight=[1, 0, 1])
    for function, y in [(xe.cross_entropy, [0, 1, 0]), (xe.binary_cross_entropy, np.eye(3, 2))]:
        with pytest.raises(ValueError, match=r"label_smoothing=0\.1 must be 0"):
            function(y, z, loss=loss, label_smoothing=0.1)


# the objects


@pytest.mark.parametrize("name", LOSSES)
def test_names(name):
    loss = check_loss(name)
    assert type(loss) is LOSSES[name]
    assert loss.name == name
    y, z = rows(1, np.float64)
    assert xe.cross_entropy(y, z, loss=name) == xe.cross_entropy(y, z, loss=LOSSES[name]())
    assert type(loss).__name__ in xe.__all__


@each_loss
def test_objects_print_as_they_are_written_and_clone(loss):
    assert eval(repr(loss), vars(xe)).get_params() == loss.get_params()
    assert repr(clone(loss)) == repr(loss)
    assert clone(loss) is not loss


def test_repr():
    assert repr(xe.FocalLoss()) == "FocalLoss(gamma=2.0)"
    assert repr(xe.SymmetricCrossEntropy(beta=2)) == "SymmetricCrossEntropy(alpha=0.1, beta=2)"
    assert repr(xe.CrossEntropy()) == "CrossEntropy()"


def test_set_params():
    loss = xe.FocalLoss(1.0)
    assert loss.set_params(gamma=3.0) is loss
    assert loss.get_params() == {"gamma": 3.0}
    with pytest.raises(ValueError, match="Invalid parameter 'q'"):
        loss.set_params(q=0.5)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (xe.FocalLoss(-0.1), "'gamma' parameter of FocalLoss must be"),
        (xe.FocalLoss(np.inf), "'gamma'"),
        (xe.FocalLoss(np.nan), "'gamma'"),
        (xe.FocalLoss("2"), "'gamma'"),
        (xe.GeneralizedCrossEntropy(0), "'q' parameter of GeneralizedCrossEntropy must be"),
        (xe.GeneralizedCrossEntropy(1.1), "'q'"),
        (xe.PolyLoss(-1.1), "'epsilon' parameter of PolyLoss must be"),
        (xe.SymmetricCrossEntropy(alpha=-1), "'alpha' parameter of SymmetricCrossEntropy must be"),
        (xe.SymmetricCrossEntropy(beta=-1), "'beta' parameter of SymmetricCrossEntropy must be"),
    ],
    ids=lambda v: v if isinstance(v, str) else repr(v),
)
def test_parameters_are_validated_where_they_are_used(loss, message):
    with pytest.raises(ValueError, match=message):
        xe.cross_entropy([0], [[1.0, 2.0]], loss=loss)


# the classifier


def iris(n_classes, dtype=np.float64):
    X, y = load_iris(return_X_y=True)
    X = (X[y < n_classes] - X.mean(axis=0)) + np.random.default_rng(0).normal(scale=0.5, size=X[y < n_classes].shape)
    return X.astype(dtype), y[y < n_classes]


def objective_gradient(clf, X, y, **options):
    """Largest entry of the gradient of the objective, by the loss of the logits."""
    value, (grad, grad_b) = xe.linear_cross_entropy(
        X.astype(float), y, clf.coef_, clf.intercept_, loss=clf.loss, reduction="sum", return_grad=True, **options
    )
    penalised = clf.C * grad + clf.coef_
    assert clf.objective_ == pytest.approx(clf.C * value + 0.5 * np.sum(clf.coef_**2), rel=1e-9)
    return max(np.abs(penalised).max(), clf.C * np.abs(grad_b).max())


@each_loss
@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_classifier_ends_in_a_minimum(loss, n_classes):
    X, y = iris(n_classes)
    rng = np.random.default_rng(0)
    s, w = rng.random(len(y)), rng.random(n_classes) + 0.5
    clf = xe.SoftmaxClassifier(loss=loss, class_weight=dict(enumerate(w)), tol=1e-9).fit(X, y, sample_weight=s)
    assert clf.converged_
    assert objective_gradient(clf, X, y, sample_weight=s, class_weight=w) < 1e-5
    easier = xe.SoftmaxClassifier(class_weight=dict(enumerate(w)), tol=1e-9).fit(X, y, sample_weight=s)
    here = xe.linear_cross_entropy(
        X, y, easier.coef_, easier.intercept_, loss=loss, sample_weight=s, class_weight=w, reduction="sum"
    )
    assert clf.objective_ <= here + 0.5 * np.sum(easier.coef_**2) + 1e-9  # not above the solution for the cross-entropy


def test_the_default_is_the_cross_entropy():
    X, y = iris(3)
    for loss in (xe.CrossEntropy(), xe.FocalLoss(gamma=0)):
        np.testing.assert_allclose(
            xe.SoftmaxClassifier(loss=loss, tol=1e-10).fit(X, y).coef_,
            xe.SoftmaxClassifier(tol=1e-10).fit(X, y).coef_,
            atol=1e-5,
        )


@pytest.mark.parametrize("name", LOSSES)
def test_the_classifier_takes_names(name):
    X, y = iris(3)
    by_name, by_object = (xe.SoftmaxClassifier(loss=loss).fit(X, y) for loss in (name, LOSSES[name]()))
    np.testing.assert_array_equal(by_name.coef_, by_object.coef_)
    proba = by_name.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    np.testing.assert_allclose(by_name.to_sklearn().predict_proba(X), proba, atol=1e-12)
    assert by_name.score(X, y) > 0.85
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(by_name)).predict_proba(X), proba)


def test_a_loss_that_is_not_convex_continues_a_warm_start():
    X, y = iris(3)
    clf = xe.SoftmaxClassifier(loss="focal", warm_start=True, tol=1e-8).fit(X, y)
    n_iter = clf.n_iter_[0]
    first = clf.coef_
    assert clf.fit(X, y).n_iter_[0] < 3 < n_iter
    np.testing.assert_allclose(clf.coef_, first, atol=1e-6)


def test_grid_search_over_a_parameter_of_the_loss():
    X, y = iris(3)
    clf = xe.SoftmaxClassifier(loss=xe.FocalLoss())
    search = GridSearchCV(clf, {"loss__gamma": [0.5, 1, 2]}, cv=3).fit(X, y)
    assert search.best_params_["loss__gamma"] in (0.5, 1, 2)
    assert search.best_estimator_.loss.gamma == search.best_params_["loss__gamma"]
    assert clf.loss.gamma == 2.0
    losses = [xe.CrossEntropy(), xe.PolyLoss(epsilon=2)]
    assert repr(GridSearchCV(clf, {"loss": losses}, cv=3).fit(X, y).best_params_["loss"]) in map(repr, losses)
    assert clf.set_params(loss__gamma=3).loss.gamma == 3
    assert "loss=FocalLoss(gamma=3)" in repr(clf)
    assert clone(clf).loss is not clf.loss


@pytest.mark.parametrize("loss", ["hinge", 2, None, xe.FocalLoss, xe.FocalLoss(gamma=-1)], ids=repr)
def test_the_classifier_refuses_what_is_no_loss(loss):
    with pytest.raises(ValueError, match=r"'(loss|gamma)' parameter of (SoftmaxClassifier|FocalLoss)"):
        xe.SoftmaxClassifier(loss=loss).fit(*iris(2))


def test_the_classifier_refuses_soft_targets_where_the_loss_is_not_defined():
    X, y = iris(3)
    clf = xe.SoftmaxClassifier(loss="symmetric")
    with pytest.raises(ValueError, match=r"SymmetricCrossEntropy\(.*\) is not defined for soft targets: y must"):
        clf.fit(X, np.full((len(y), 3), 1 / 3))
    np.testing.assert_array_equal(clf.fit(X, one_hot(y, 3)).coef_, clf.fit(X, y).coef_)
    with pytest.raises(ValueError, match=r"label_smoothing=0\.1 must be 0"):
        clf.set_params(label_smoothing=0.1).fit(X, y)


@pytest.mark.parametrize("loss", [name for name in LOSSES if name != "cross_entropy"])
def test_scikit_learns_checks(loss):
    check_estimator(xe.SoftmaxClassifier(loss=loss, max_iter=5000, logit_adjustment=0.5), on_skip=None)


# logit adjustment: Menon et al. 2021


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_logit_adjustment_shifts_the_intercept(n_classes, weighted):
    """The intercept is not penalised: a fit with the prior added has it inside, and predicts without it."""
    X, y = iris(n_classes)
    s = np.random.default_rng(0).random(len(y)) * (1 + y) if weighted else None
    plain = xe.SoftmaxClassifier(tol=1e-10).fit(X, y, sample_weight=s)
    adjusted = xe.SoftmaxClassifier(logit_adjustment=0.7, tol=1e-10).fit(X, y, sample_weight=s)
    prior = np.bincount(y, s) / np.sum(np.bincount(y, s))
    np.testing.assert_allclose(adjusted.coef_, plain.coef_, atol=1e-6)
    expected = plain.predict_log_proba(X) - 0.7 * np.log(prior)
    np.testing.assert_allclose(adjusted.predict_log_proba(X), xe.log_softmax(expected), atol=1e-5)
    assert adjusted.objective_ == pytest.approx(plain.objective_, rel=1e-9)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_logit_adjustment_without_intercept(n_classes):
    X, y = iris(n_classes)
    X, y = X[y != 0][:70].repeat(2, axis=0), y[y != 0][:70].repeat(2)
    X, y = np.vstack([X, iris(n_classes)[0][:20]]), np.append(y, np.zeros(20, int))
    clf = xe.SoftmaxClassifier(logit_adjustment=1.0, fit_intercept=False, tol=1e-10).fit(X, y)
    log_prior = np.log(np.bincount(y) / len(y))
    offset = log_prior[1:] - log_prior[0] if n_classes == 2 else log_prior
    value, (grad, _) = xe.linear_cross_entropy(X, y, clf.coef_, offset, reduction="sum", return_grad=True)
    assert np.abs(grad + clf.coef_).max() < 1e-6
    assert clf.objective_ == pytest.approx(value + 0.5 * np.sum(clf.coef_**2), rel=1e-9)
    np.testing.assert_array_equal(clf.intercept_, 0)


def test_logit_adjustment_of_soft_targets_takes_their_mass():
    X, y = iris(3)
    soft = 0.8 * one_hot(y, 3) + 0.2 * np.array([0.7, 0.2, 0.1])
    plain = xe.SoftmaxClassifier(tol=1e-10).fit(X, soft)
    adjusted = xe.SoftmaxClassifier(logit_adjustment=1.0, tol=1e-10).fit(X, soft)
    expected = plain.predict_log_proba(X) - np.log(soft.mean(axis=0))
    np.testing.assert_allclose(adjusted.predict_log_proba(X), xe.log_softmax(expected), atol=1e-5)


def test_logit_adjustment_needs_a_prior():
    X, y = iris(3)
    with pytest.raises(ValueError, match=r"no prior for the classes \[1\], whose samples weigh nothing"):
        xe.SoftmaxClassifier(logit_adjustment=1.0).fit(X, y, sample_weight=(y != 1).astype(float))
    with pytest.raises(ValueError, match="'logit_adjustment' parameter"):
        xe.SoftmaxClassifier(logit_adjustment=-1.0).fit(X, y)


# their purpose: the tables of docs/losses.md


def test_bounded_losses_withstand_wrong_labels():
    """Digits: 30 % of the training labels are moved to another class, and the test rows are clean."""
    X, y = load_digits(return_X_y=True)
    accuracy, log_loss = {}, {}
    for seed in range(3):
        rng = np.random.default_rng(seed)
        X_train, X_test, y_train, y_test = train_test_split(X / 16, y, test_size=0.4, random_state=seed, stratify=y)
        wrong = rng.random(len(y_train)) < 0.3
        y_noisy = np.where(wrong, (y_train + rng.integers(1, 10, len(y_train))) % 10, y_train)
        for loss in ("cross_entropy", "generalized", "symmetric"):
            clf = xe.SoftmaxClassifier(loss=loss).fit(X_train, y_noisy)
            accuracy.setdefault(loss, []).append(clf.score(X_test, y_test))
            log_loss.setdefault(loss, []).append(xe.cross_entropy(y_test, clf.decision_function(X_test)))
    for loss in ("generalized", "symmetric"):
        assert np.mean(accuracy[loss]) > np.mean(accuracy["cross_entropy"]) + 0.02
        assert np.mean(log_loss[loss]) < 0.5 * np.mean(log_loss["cross_entropy"])


def test_what_helps_rare_classes_costs_log_loss():
    """Three overlapping normal classes have the shares 0.9, 0.08 and 0.02, in training and test rows."""

    def draw(n, rng):
        y = rng.choice(3, n, p=[0.9, 0.08, 0.02])
        centres = np.zeros((3, 5))
        centres[1, 0] = centres[2, 1] = 1.5
        return centres[y] + rng.standard_normal((n, 5)), y

    rng = np.random.default_rng(0)
    (X, y), (X_test, y_test) = draw(3000, rng), draw(10_000, rng)
    log_loss, balanced = {}, {}
    for name, options in {
        "plain": {},
        "balanced": {"class_weight": "balanced"},
        "focal": {"loss": xe.FocalLoss(gamma=2.0)},
        "adjusted": {"logit_adjustment": 1.0},
    }.items():
        clf = xe.SoftmaxClassifier(**options).fit(X, y)
        log_loss[name] = xe.cross_entropy(y_test, clf.decision_function(X_test))
        balanced[name] = balanced_accuracy_score(y_test, clf.predict(X_test))
    for name in ("balanced", "adjusted"):  # the classes as if equally frequent
        assert balanced[name] > balanced["plain"] + 0.15
        assert log_loss[name] > log_loss["plain"] + 0.3
    assert abs(balanced["focal"] - balanced["plain"]) < 0.05  # focal loss spreads probabilities, and decides alike
    assert log_loss["focal"] > log_loss["plain"] + 0.05
