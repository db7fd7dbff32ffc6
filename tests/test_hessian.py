"""Hessians and Gram matrices of a design against central differences of the gradient, of all rows and of subsamples."""

import numpy as np
import pytest
import scipy.sparse as sp
from problems import (
    embeddings,
    embeddings_and_a_rare_feature,
    embeddings_and_rows_far_off,
    embeddings_apart,
    independent,
    mixed,
)
from reference import many_rows, problem
from scipy.linalg import eigvalsh
from threadpoolctl import threadpool_limits

from xentropy._design import Design, RowLoss
from xentropy._hessian import (
    class_hessians,
    correlation,
    covers_every_feature,
    each_class_hessian,
    full_hessian,
    gram_matrix,
    share_of_rows,
)
from xentropy._targets import learn_target

STORAGES = [np.asarray, sp.csr_array]
CASES = ["plain", "weighted", "no intercept", "offset", "class weights and smoothing"]


def numeric_hessian(design, theta, step=1e-5):
    """By central differences of the gradient."""
    columns = [
        (design.loss_gradient(theta + change)[1] - design.loss_gradient(theta - change)[1]) / (2.0 * step)
        for change in step * np.eye(design.n_theta)
    ]
    return np.array(columns).T


def small(n_classes, case="plain", storage=np.asarray):
    """A design of 41 rows and 7 features, and some theta."""
    X, y, coef, intercept, rng = problem(n_classes, soft=False)
    options = {}
    if case == "weighted":
        options["sample_weight"] = rng.integers(0, 3, len(X)) * 0.7
    if case == "no intercept":
        options["fit_intercept"] = False
    if case == "offset":
        options["row_loss"] = RowLoss(offset=np.linspace(-1.0, 2.0, len(coef)))
    if case == "class weights and smoothing":
        options["row_loss"] = RowLoss(class_weight=rng.uniform(0.5, 2.0, n_classes), label_smoothing=0.2)
    design = Design(storage(X + 0.5), learn_target(y), **options)
    return design, np.append(coef.T.ravel(), intercept)[: design.n_theta]


def symmetric(matrix):
    """Of the entries on and above the diagonal."""
    return np.triu(matrix) + np.triu(matrix, 1).T


def each_class(design, theta, *, negligible=0.0, precision="float64"):
    found = [np.empty(0)] * design.n_outputs

    def use(k, hessian):
        found[k] = symmetric(hessian)

    each_class_hessian(design, theta, use, gram_matrix(design), negligible=negligible, precision=precision)
    return np.array(found)


def of_classes(design, theta):
    return class_hessians(design, theta, gram_matrix(design))[0]


# of all rows


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("case", [case for case in CASES if "smoothing" not in case])
@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_hessians_are_those_of_central_differences(n_classes, case, storage):
    design, theta = small(n_classes, case, storage)
    want, R = numeric_hessian(design, theta), design.n_outputs
    near = {"rtol": 1e-6, "atol": 1e-9}
    np.testing.assert_allclose(full_hessian(design, theta, np.arange(design.n_theta)), want, **near)
    some = np.random.default_rng(0).permutation(design.n_theta)[: design.n_theta // 2]
    np.testing.assert_allclose(full_hessian(design, theta, some), want[np.ix_(some, some)], **near)
    blocks = [want[k::R, k::R] for k in range(R)]
    np.testing.assert_allclose(of_classes(design, theta), blocks, rtol=2e-3, atol=2e-3 * np.abs(blocks).max())
    if R > 1:  # from curvatures in float32
        np.testing.assert_allclose(each_class(design, theta), blocks, rtol=1e-6, atol=1e-7 * np.abs(blocks).max())


@pytest.mark.parametrize("n_classes", [2, 3])
def test_hessians_count_class_weights_by_the_targets(n_classes):
    """Each row has the weight of its targets, of which the curvature of the cross-entropy is a multiple."""
    design, theta = small(n_classes, "class weights and smoothing")
    rows, weight = design.rows(slice(None)), design.row_weight / design.row_weight.sum()
    p = design.probabilities(rows, theta)
    for k, found in enumerate(of_classes(design, theta)):
        curvature = weight * p[:, k] * (1.0 - p[:, k])
        np.testing.assert_allclose(found, rows.T @ (curvature[:, None] * rows), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("case", ["plain", "weighted", "no intercept"])
def test_the_gram_matrix_is_the_covariance(case, storage):
    design, _ = small(3, case, storage)
    X = problem(3, soft=False)[0] + 0.5
    weight = np.ones(len(X)) if design.row_weight is None else design.row_weight
    centred = X if case == "no intercept" else X - np.average(X, axis=0, weights=weight)
    want = centred.T @ (weight[:, None] * centred) / weight.sum()
    np.testing.assert_allclose(gram_matrix(design), want, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_blocks_of_rows_without_weight_add_nothing(n_classes):
    X, y = independent(30_000, 7, n_classes)
    weight = np.ones(len(X))
    weight[:12_000] = weight[-12_000:] = 0.0
    design = Design(X, learn_target(y), sample_weight=weight)
    kept = slice(12_000, -12_000)
    there = Design(X[kept], learn_target(y[kept]))
    theta = np.random.default_rng(0).standard_normal(design.n_theta)
    entries = np.arange(design.n_theta)
    for find in (of_classes, lambda *at: full_hessian(*at, entries), lambda of, _: gram_matrix(of)):
        np.testing.assert_allclose(find(design, theta), find(there, theta), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("n_classes", [2, 8])
def test_one_and_two_threads_give_the_same_bits(n_classes):
    X, y = mixed(3000, 40, n_classes)
    found = []
    for n_threads in (1, 2):
        with threadpool_limits(limits=n_threads, user_api="openmp"):
            design = Design(X, learn_target(y))
        theta = np.random.default_rng(0).standard_normal(design.n_theta) / 40.0
        hessians = [of_classes(design, theta), full_hessian(design, theta, np.arange(design.n_theta))]
        if n_classes > 2:
            hessians += [each_class(design, theta, negligible=0.5, precision=of) for of in ("float32", "float64")]
        found.append([hessian.tobytes() for hessian in hessians])
    assert found[0] == found[1]


# rows that hardly matter


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("storage", STORAGES)
def test_negligible_rows_count_as_mean_ones(storage, fit_intercept, precision):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 20))
    coef = 0.2 * rng.normal(size=(20, 8))
    y = (X @ coef + rng.gumbel(size=(4000, 8))).argmax(axis=1)
    design = Design(storage(X + 3.0 * fit_intercept), learn_target(y), fit_intercept=fit_intercept)
    theta = np.append((coef - coef.mean(axis=1, keepdims=True)).ravel(), np.zeros(8))[: design.n_theta]
    near, exact = each_class(design, theta, negligible=1.0, precision=precision), of_classes(design, theta)
    p = design.probabilities(design.rows(slice(None)), theta)
    share = np.mean(p * (1.0 - p) > np.mean(p * (1.0 - p)))
    assert 0.3 < share < 0.6
    assert share_of_rows(design, theta, 1.0) == pytest.approx(share, rel=0.1)
    ratios = np.array([eigvalsh(one, other) for one, other in zip(near, exact, strict=True)])
    assert 0.8 < ratios.min() < ratios.max() < 1.3
    assert ratios.max() > 1.1  # something was neglected
    if fit_intercept:
        np.testing.assert_allclose(near[:, -1, -1], exact[:, -1, -1], rtol=1e-6)


@pytest.mark.parametrize("column", [1e30, 1e-30])
def test_units_beyond_float32_do_not_overflow_in_it(column):
    X, y = mixed(3000, 40, 8)
    unit = np.where(np.arange(41) == 7, column, 1.0)
    theta = np.random.default_rng(0).standard_normal((41, 8)) / 40.0
    usual = each_class(Design(X, learn_target(y)), theta.ravel(), precision="float32")
    scaled = Design(X * unit[:-1], learn_target(y))
    found = each_class(scaled, (theta / unit[:, None]).ravel(), precision="float32")
    np.testing.assert_allclose(found / unit / unit[:, None], usual, rtol=1e-4, atol=1e-6 * np.abs(usual).max())


# of subsamples


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_hessians_of_a_subsample_are_near_those_of_all_rows(n_classes, weighted, storage):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(8000, 5)) @ rng.normal(size=(5, 5)) + 3.0
    weight = np.where(rng.random(8000) < 0.5, 0.0, 10.0 ** rng.uniform(-6, 1, 8000)) if weighted else None
    design = Design(storage(X), learn_target(np.arange(8000) % n_classes), sample_weight=weight)
    sample = design.subsample(2400)
    theta = 0.1 * rng.normal(size=design.n_theta)
    entries = np.arange(design.n_theta)
    if n_classes > 2:
        entries = entries[entries % n_classes > 0]  # where all classes shift together there is no curvature
    want = numeric_hessian(design, theta, 1e-4)
    ratios = [eigvalsh(full_hessian(sample, theta, entries), want[np.ix_(entries, entries)])]
    R = design.n_outputs
    ratios += [eigvalsh(found, want[k::R, k::R]) for k, found in enumerate(of_classes(sample, theta))]
    ratios += [eigvalsh(gram_matrix(sample), gram_matrix(design))]
    ratios = np.concatenate(ratios)
    assert 0.75 < ratios.min() < ratios.max() < 1.3
    assert np.abs(ratios - 1.0).max() > 1e-3


def places_of(n, n_rows):
    """Where the rows of a subsample lie."""
    numbered = Design(np.arange(float(n))[:, None], learn_target(np.arange(n) % 2))
    return np.rint(numbered.subsample(n_rows).rows(slice(None))[:, 0] + numbered.centre[0]).astype(int)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("units", [1e-100, 1.0, 1e100])
def test_features_that_few_rows_show_keep_their_variance(units, fit_intercept, storage):
    """One that a subsample does not show, and one of which it shows more than there is."""
    rng = np.random.default_rng(0)
    X = np.hstack([rng.normal(size=(20_000, 3)), np.zeros((20_000, 2))])
    sampled = places_of(20_000, 600)
    X[np.setdiff1d(np.arange(20_000), sampled)[:5], 3] = 1.0
    X[sampled[:5], 4] = 1.0
    design = Design(storage(X * units), learn_target(rng.integers(0, 2, 20_000)), fit_intercept=fit_intercept)
    sample, theta = design.subsample(600), np.zeros(design.n_theta)
    want = of_classes(design, theta)[0].diagonal()
    gram = gram_matrix(design)
    rare = [3, 4]
    for found in (of_classes(sample, theta)[0], full_hessian(sample, theta, np.arange(design.n_theta))):
        np.testing.assert_allclose(found.diagonal()[3], want[3], rtol=1e-6)
        assert want[4] <= found[4, 4] < 2.0 * want[4]
        np.testing.assert_allclose(np.delete(found.diagonal(), rare), np.delete(want, rare), rtol=0.3)
    np.testing.assert_allclose(gram_matrix(sample).diagonal()[rare], gram.diagonal()[rare], rtol=0.02)
    np.testing.assert_allclose(gram_matrix(sample).diagonal()[:3], gram.diagonal()[:3], rtol=0.3)


@pytest.mark.parametrize("storage", STORAGES)
def test_a_sample_covers_features_that_many_of_its_rows_show(storage):
    X, y = many_rows()

    def covered(X):
        return covers_every_feature(Design(storage(X), learn_target(y)).subsample(5000))

    assert covered(X)
    for value in (1.0, 1e4):  # an indicator of few rows, and a few that lie far from the others
        for few in (slice(8), slice(-8, None), slice(3000, 3080, 10)):
            these = X.copy()
            these[:, 1] = 0.0 if value == 1.0 else X[:, 1]
            these[few, 1] = value
            assert not covered(these)
    constant = X.copy()
    constant[:, 1] = 3.0
    assert covered(constant)


def test_a_subsample_does_not_part_nearly_collinear_features():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20_000, 5))
    X[:, 4] = X[:, 0] + X[:, 1] + 1e-4 * X[:, 4]
    design = Design(X, learn_target(np.arange(20_000) % 3))
    theta = np.zeros(design.n_theta)
    few = design.subsample(2000)
    ratios = [eigvalsh(gram_matrix(few), gram_matrix(design))]
    ratios += [eigvalsh(*pair) for pair in zip(of_classes(few, theta), of_classes(design, theta), strict=True)]
    assert 0.8 < np.min(ratios[0]) < np.max(ratios[0]) < 1.25
    assert 0.8 < np.min(ratios[1:]) < np.max(ratios[1:]) < 1.25


# correlations


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_mean_squared_eigenvalue_of_correlations(weighted, storage):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3000, 30)) @ rng.standard_normal((30, 30)) * np.logspace(-3, 3, 30) + 5.0
    weight = rng.exponential(size=3000) if weighted else None
    X[:, 7] = 2.0  # is nobody's relative
    known = np.linalg.eigvalsh(np.corrcoef(np.delete(X, 7, axis=1), rowvar=False))
    known[-1] = 0.0  # the largest is left out
    assert np.mean(known**2) > 1.5
    target = learn_target(np.arange(3000) % 2)
    found = correlation(Design(storage(X), target, sample_weight=weight))
    assert found.mean_square == pytest.approx(np.mean(known**2), rel=0.2)
    apart = correlation(Design(storage(rng.standard_normal((3000, 30))), target))
    assert (apart.mean_square, apart.coverage) == pytest.approx((0.9, 0.26), abs=0.1)


def test_constant_features_are_not_correlated():
    found = correlation(Design(np.ones((2, 2)), learn_target(np.array([0, 1]))))
    assert (found.mean_square, found.coverage) == (0.0, np.inf)


def test_correlations_are_those_of_rows_with_weight():
    rng = np.random.default_rng(0)
    X, target, weight = rng.standard_normal((100, 30)), learn_target(np.arange(100) % 2), np.ones(100)
    weight[:40] = 0.0
    usual = correlation(Design(X, target, sample_weight=weight))
    X[:40] = 1e6
    assert correlation(Design(X, target, sample_weight=weight)) == usual


def test_coverage_is_the_share_of_rows_that_tell_of_the_rarest_feature():
    for make in (embeddings_and_a_rare_feature, embeddings_and_rows_far_off):
        X, y = make()
        assert correlation(Design(X, learn_target(y))).coverage < 0.01
    for X, y in (embeddings(4000, 300), embeddings_apart()):
        assert correlation(Design(X, learn_target(y))).coverage > 0.1
    signs = np.sign(embeddings(4000, 300)[0])
    assert correlation(Design(signs, learn_target(y))).coverage > 0.75


def test_the_correlation_of_rows_whose_squares_overflow_is_unknown():
    X, y = embeddings(4000, 300)
    X = X.copy()
    design = Design(X, learn_target(y))
    X[:] *= 1e160
    assert np.isnan(correlation(design).mean_square)
