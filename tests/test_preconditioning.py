"""Which preconditioner is used next: its level, its cost, and that its variables are those of the Hessian."""

from math import inf

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
    separable_by_planes,
    text,
)
from reference import N, many_rows, problem

from xentropy import _preconditioning
from xentropy._design import Design, RowLoss
from xentropy._hessian import full_hessian
from xentropy._losses import FocalLoss
from xentropy._objective import Objective
from xentropy._preconditioner import Diagonal
from xentropy._preconditioning import Level, Preconditioning, Rates
from xentropy._solver import minimise
from xentropy._targets import learn_target

LONG = 1_000_000  # evaluations that pay for anything


@pytest.fixture(autouse=True)
def rates(monkeypatch):
    """The rates of one computer, whatever those of the package were measured on."""
    rates = Rates(evaluation=0.16, row=3.2, gram=0.03, factor=0.015, entry=22.0, call=200_000.0)
    monkeypatch.setattr(_preconditioning, "RATES", rates)


def objective_of(X, y, *, C=1.0, l1_ratio=0.0, sample_weight=None, fit_intercept=True, loss=None):
    row_loss = RowLoss() if loss is None else RowLoss(loss)
    design = Design(X, learn_target(y), row_loss=row_loss, sample_weight=sample_weight, fit_intercept=fit_intercept)
    return Objective(design, C=C, l1_ratio=l1_ratio)


def started(X, y, **options):
    """The objective, where it starts, and its preconditioning there."""
    objective = objective_of(X, y, **options)
    theta, preconditioning = objective.start(), Preconditioning(objective)
    objective(theta)
    preconditioning.start(theta)
    return objective, theta, preconditioning


def check_variables(preconditioner, objective, theta, *, one_class=False, rel=1e-6, step=1e-5):
    """In the variables the curvature is one: x^T x = theta^T H theta."""
    rng = np.random.default_rng(0)
    R = objective.design.n_outputs
    for _ in range(3):
        direction = rng.normal(size=(objective.design.n_theta // R, R))
        if one_class:
            direction[:, 1:] = 0.0
        elif R > 1:  # what all classes share changes nothing
            direction -= direction.mean(axis=1, keepdims=True)
        change = step * direction.ravel()
        product = objective(theta + change)[1] - objective(theta - change)[1]
        x = preconditioner.to_x(change)
        assert x @ x == pytest.approx(0.5 * change @ product, rel=rel)
    objective(theta)


def renewed_to(level, preconditioning, theta):
    """The preconditioner of this level, by renewals."""
    while preconditioning.level < level:
        assert np.isfinite(preconditioning.cost_of_renewal(LONG))
        preconditioning.count(LONG)
        found = preconditioning.renewed(theta)
    assert preconditioning.level is level
    return found


# what the variables are


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_renewals_end_with_the_variables_of_the_hessian(n_classes, weighted, fit_intercept):
    X, y, coef, intercept, rng = problem(n_classes, soft=False)
    weight = rng.integers(0, 3, N) * 0.7 if weighted else None
    objective = objective_of(X, y, C=0.3, sample_weight=weight, fit_intercept=fit_intercept)
    coef = coef - coef.mean(axis=0) * (n_classes > 2)
    theta = objective.pack(coef, intercept * fit_intercept)
    preconditioning = Preconditioning(objective)
    objective(theta)
    preconditioning.start(theta)
    assert preconditioning.level is Level.GRAM
    while np.isfinite(preconditioning.cost_of_renewal(LONG)):
        before = preconditioning.level
        preconditioning.count(LONG)
        found = preconditioning.renewed(theta)
        assert found is preconditioning.current
        assert preconditioning.level > before
        one_class = n_classes > 2 and preconditioning.level is Level.PER_CLASS
        check_variables(found, objective, theta, one_class=one_class)
    assert preconditioning.level is (Level.FULL if n_classes > 2 else Level.PER_CLASS)
    objective(0.5 * theta)  # where the loss is another
    assert np.isfinite(preconditioning.cost_of_renewal(LONG))


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_the_first_variables_are_those_of_the_classes_shares(n_classes, fit_intercept):
    X, y = mixed(3000, 40, n_classes)
    X = X + 0.5
    objective, _, preconditioning = started(X, y, C=1e-3, fit_intercept=fit_intercept)
    p = np.bincount(y) / len(y)
    of_indicator = p[0] * p[1] if n_classes == 2 else (p * (1.0 - p)).mean()
    gram = np.cov(X, rowvar=False, bias=True) if fit_intercept else X.T @ X / len(X)
    curvature = of_indicator * gram + objective.l2_weight * np.eye(40)
    change = np.random.default_rng(0).standard_normal((40 + fit_intercept, objective.design.n_outputs))
    for coupled, found in ((True, preconditioning.current), (False, preconditioning.diagonal())):
        expected = curvature if coupled else np.diag(curvature.diagonal())
        want = np.vdot(change[:40], expected @ change[:40]) + of_indicator * np.sum(change[40:] ** 2)
        x = found.to_x(change.ravel())
        assert x @ x == pytest.approx(want, rel=1e-10)


@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
def test_constant_features_have_variables_of_their_own(storage):
    X, y, *_ = problem(3, soft=False)
    X[:, 4] = 7.0
    _, theta, preconditioning = started(storage(X), y, C=inf)
    found = [preconditioning.current, preconditioning.diagonal()]
    for preconditioner in found:
        x = preconditioner.to_x(np.repeat(np.arange(8) == 4, 3).astype(float))
        assert x @ x > 0.1
    found.append(renewed_to(Level.FULL, preconditioning, theta))
    change = np.random.default_rng(0).standard_normal((8, 3))
    change = (change - change.mean(axis=1, keepdims=True)).ravel()
    for preconditioner in found:
        x = preconditioner.to_x(change)
        assert np.isfinite(x).all()
        np.testing.assert_allclose(preconditioner.to_theta(x), change, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("weighted", [True, False])
def test_variables_of_some_of_many_rows_are_near_those_of_the_hessian(weighted, n_classes, monkeypatch):
    X, y = independent(30_000, 5, n_classes)
    rng = np.random.default_rng(0)
    weight = np.where(rng.random(len(X)) < 0.5, 0.0, 10.0 ** rng.uniform(-6, 1, len(X))) if weighted else None
    objective, theta, preconditioning = started(X, y, C=0.3, sample_weight=weight)
    used, find = [], _preconditioning.full_hessian if n_classes > 2 else _preconditioning.class_hessians
    monkeypatch.setattr(_preconditioning, find.__name__, lambda of, *at: used.append(of.n_rows) or find(of, *at))
    found = renewed_to(Level.FULL if n_classes > 2 else Level.PER_CLASS, preconditioning, theta)
    check_variables(found, objective, theta, rel=0.3, step=1e-4)
    assert len(used) == 1
    assert used[0] <= 100 * objective.design.n_theta


# at the start


def one_common_factor():
    rng = np.random.default_rng(0)
    return rng.standard_normal((4000, 300)) + 0.4 * rng.standard_normal((4000, 1)), np.arange(4000) % 2


STARTS = {
    "few features": (lambda: mixed(3000, 40, 2), 1.0, Level.GRAM),
    "embeddings": (lambda: embeddings(4000, 300), 1.0, Level.GRAM),
    "embeddings, weak penalty": (lambda: embeddings(4000, 300), 100.0, Level.GRAM),
    "embeddings apart": (embeddings_apart, 100.0, Level.DIAGONAL),
    "embeddings, one feature rare": (embeddings_and_a_rare_feature, 100.0, Level.DIAGONAL),
    "embeddings, some rows far off": (embeddings_and_rows_far_off, 100.0, Level.DIAGONAL),
    "one common factor": (one_common_factor, 1.0, Level.DIAGONAL),
    "text": (text, 1.0, Level.DIAGONAL),
}


@pytest.mark.parametrize("name", STARTS)
def test_a_gram_matrix_is_the_start_where_it_is_cheap_or_needed(name):
    make, C, level = STARTS[name]
    *_, preconditioning = started(*make(), C=C)
    assert preconditioning.level is level
    assert isinstance(preconditioning.current, Diagonal) == (level is Level.DIAGONAL)


@pytest.mark.parametrize(
    ("make", "least", "most"),
    [
        (lambda: embeddings(4000, 300), 4 * 300, 2000),
        (lambda: (np.sign(embeddings(6000, 300)[0]), embeddings(6000, 300)[1]), 4 * 300, 6000),
    ],
    ids=["normal", "signs"],  # of which 128 rows tell all
)
def test_a_gram_matrix_is_of_four_rows_or_more_for_each_feature(make, least, most, monkeypatch):
    used, find = [], _preconditioning.gram_matrix
    monkeypatch.setattr(_preconditioning, "gram_matrix", lambda design: used.append(design.n_rows) or find(design))
    started(*make(), C=100.0)
    assert len(used) == 1
    assert least <= used[0] <= most


def test_a_gram_matrix_that_would_not_pay_is_not_asked_for(monkeypatch):
    X, y = text()
    objective = objective_of(X, y)

    def refuse(*_):
        raise AssertionError("asked for rows")

    monkeypatch.setattr(objective.design, "rows", refuse)
    monkeypatch.setattr(objective.design, "subsample", refuse)
    objective(objective.start())
    assert isinstance(Preconditioning(objective).start(objective.start()), Diagonal)


def test_rows_whose_fourth_powers_overflow_are_no_sign_of_anything(monkeypatch):
    X, y = embeddings(4000, 300)
    X, at = X.copy(), np.arange(650, 778)
    weight = np.ones(len(X))
    weight[[0, 700]] = 1e-160
    X[[0, 700]] = 1e80
    objective = objective_of(X, y, C=100.0, sample_weight=weight)
    design = objective.design
    sample = Design(X, learn_target(y)[at], rows=at, sampled_from=design)
    monkeypatch.setattr(design, "subsample", lambda _: sample)
    objective(objective.start())
    assert isinstance(Preconditioning(objective).start(objective.start()), Diagonal)


# renewals


def test_a_preconditioner_is_renewed_once_its_cost_was_spent():
    _, theta, preconditioning = started(*mixed(3000, 40, 8))
    cost = preconditioning.cost_of_renewal(LONG)
    assert 5.0 < cost < inf
    assert preconditioning.cost_of_renewal(int(cost) - 1) == inf
    preconditioning.count(5)
    assert preconditioning.cost_of_renewal(int(cost) - 5) == inf
    assert preconditioning.cost_of_renewal(int(cost) - 4) == cost
    preconditioning.count(int(cost) - 4)
    preconditioning.renewed(theta)
    assert preconditioning.level is Level.PER_CLASS
    of_full = preconditioning.cost_of_renewal(LONG)  # the full Hessian
    assert cost < of_full < inf
    assert preconditioning.cost_of_renewal(int(of_full) - 1) == inf  # what was spent counts once


def test_hessians_of_a_level_are_made_again_where_the_loss_has_fallen():
    X, y = separable_by_planes(2000, 110, 10)
    objective, theta, preconditioning = started(X, y, C=10.0)
    first = renewed_to(Level.PER_CLASS, preconditioning, theta)
    there = minimise(objective_of(X, y, C=10.0), theta, tol=1e-2, max_iter=100).theta
    assert preconditioning.cost_of_renewal(40) == inf
    objective(there)
    assert np.isfinite(preconditioning.cost_of_renewal(40))
    preconditioning.count(40)
    again = preconditioning.renewed(there)
    assert preconditioning.level is Level.PER_CLASS
    assert preconditioning.cost_of_renewal(40) == inf
    check_variables(again, objective, there, one_class=True, rel=0.1)
    x, before = again.to_x(np.ones(len(theta))), first.to_x(np.ones(len(theta)))
    assert x @ x < 0.5 * before @ before


def test_the_hessian_of_the_cross_entropy_says_nothing_of_other_losses():
    X, y = mixed(3000, 40, 3)
    *_, preconditioning = started(X, y, loss=FocalLoss())
    assert preconditioning.level is Level.GRAM
    assert preconditioning.cost_of_renewal(LONG) == inf
    assert preconditioning.hessian_cost(3) == inf


# a path of penalties


def path(n_evaluations):
    """The levels at the start of fits with weaker and weaker penalties, each of so many evaluations."""
    X, y = mixed(3000, 40, 8)
    objective = objective_of(X, y)
    preconditioning, theta, levels = Preconditioning(objective), objective.start(), []
    objective(theta)
    for C in (0.1, 1.0, 10.0, 100.0):
        objective.penalise(C, 0.0)
        found = preconditioning.start(theta)
        levels.append(preconditioning.level)
        preconditioning.count(n_evaluations)
        if preconditioning.level >= Level.PER_CLASS:
            check_variables(found, objective, theta, one_class=preconditioning.level is Level.PER_CLASS)
    return levels


@pytest.mark.parametrize(
    ("n_evaluations", "later"),
    [
        (2, [Level.GRAM, Level.GRAM, Level.GRAM]),
        (20, [Level.PER_CLASS, Level.PER_CLASS, Level.PER_CLASS]),
        (60, [Level.PER_CLASS, Level.PER_CLASS, Level.PER_CLASS]),
    ],
)
def test_a_fit_starts_with_a_hessian_where_the_last_one_took_long(n_evaluations, later):
    assert path(n_evaluations) == [Level.GRAM, *later]


def test_a_kept_hessian_is_left_as_it_is():
    objective, theta, preconditioning = started(*mixed(3000, 40, 4))
    found = renewed_to(Level.PER_CLASS, preconditioning, theta)
    some = np.random.default_rng(0).standard_normal(len(theta))
    for C in (1e-4, 100.0):
        objective.penalise(C, 0.0)
        weak = preconditioning.start(theta)
        assert preconditioning.level is Level.PER_CLASS
        check_variables(weak, objective, theta, one_class=True)
    objective.penalise(1.0, 0.0)
    np.testing.assert_array_equal(preconditioning.start(theta).to_x(some), found.to_x(some))


def test_a_kept_hessian_is_not_made_again_where_the_loss_is_the_same(monkeypatch):
    objective, theta, preconditioning = started(*mixed(3000, 40, 4))
    kept = renewed_to(Level.PER_CLASS, preconditioning, theta).to_x(theta + 1.0)

    def refuse(*_):
        raise AssertionError("made a Hessian")

    monkeypatch.setattr(_preconditioning, "class_hessians", refuse)
    np.testing.assert_array_equal(preconditioning.start(theta).to_x(theta + 1.0), kept)
    objective(theta + np.random.default_rng(0).standard_normal(len(theta)) / 20.0)
    with pytest.raises(AssertionError, match="made a Hessian"):
        preconditioning.start(objective.last_theta.copy())


def test_a_kept_hessian_is_made_again_where_the_loss_is_another():
    X, y = mixed(3000, 40, 4)
    objective, theta, preconditioning = started(X, y)
    renewed_to(Level.PER_CLASS, preconditioning, theta)
    preconditioning.count(20)
    there = theta + np.random.default_rng(0).standard_normal(len(theta)) / 20.0
    objective(there)
    check_variables(preconditioning.start(there), objective, there, one_class=True, rel=0.2)


# large classes


@pytest.fixture(scope="module")
def large_classes():
    """Hessians of 60 classes with 300 features each are too large to be kept."""
    X, y = embeddings(3000, 300, 60, 6.0)
    fitted = minimise(objective_of(X, y, C=300.0), objective_of(X, y).start(), tol=0.03, max_iter=30)
    return X, y, fitted.theta


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_classes_have_packed_factors_and_are_not_kept(large_classes, dtype, monkeypatch):
    monkeypatch.setattr(_preconditioning, "_NEGLIGIBLE_IN_LARGE", 0.0)
    X, y, theta = large_classes
    if dtype == "float64":
        monkeypatch.setattr("xentropy._design._MIN_FLOAT32_WORK", inf)
    asked, find = [], _preconditioning.each_class_hessian
    monkeypatch.setattr(
        _preconditioning, "each_class_hessian", lambda *at, **of: asked.append(of["precision"]) or find(*at, **of)
    )
    objective = objective_of(X, y, C=300.0)
    objective(theta)
    preconditioning = Preconditioning(objective)
    preconditioning.start(theta)
    packed = renewed_to(Level.PER_CLASS, preconditioning, theta)
    assert asked == [dtype]
    assert packed.precision == "float32"
    check_variables(packed, objective, theta, one_class=True, rel=1e-4)
    objective.penalise(30.0, 0.0)  # another C begins with what is at hand
    preconditioning.start(theta)
    assert preconditioning.level < Level.PER_CLASS


def test_later_hessians_of_large_classes_wait_longer(large_classes):
    X, y, there = large_classes
    objective, theta, preconditioning = started(X, y, C=300.0)
    costs = []
    for at in (theta, there, theta, there):
        objective(at)
        costs.append(preconditioning.cost_of_renewal(LONG) - 5.0)
        preconditioning.count(LONG)
        preconditioning.renewed(at)
        assert preconditioning.level is Level.PER_CLASS
        assert preconditioning.cost_of_renewal(LONG) == inf  # where the loss is the same
    assert costs[2] == pytest.approx(2.0 * costs[0])
    assert costs[3] == pytest.approx(4.0 * costs[1])
    objective(theta)
    preconditioning.start(theta)
    assert preconditioning.cost_of_renewal(LONG) - 5.0 == pytest.approx(costs[0])


def test_hessians_of_large_classes_cost_what_their_rows_do():
    X, y = separable_by_planes(3000, 300, 60)
    rng = np.random.default_rng(0)
    rng.standard_normal((3000, 300))
    coef = rng.standard_normal((300, 60))  # the planes between the classes, which are drawn after the rows
    objective, _, preconditioning = started(X, y)
    assert preconditioning.subsample() is None
    theta = objective.pack(coef.T - coef.mean(axis=1), np.zeros(60))
    objective(0.01 * theta)
    half_of_the_rows = preconditioning.cost_of_renewal(LONG)
    objective(theta)
    assert 10.0 < preconditioning.cost_of_renewal(LONG) < 0.5 * half_of_the_rows < inf
    preconditioning.count(LONG)
    assert preconditioning.renewed(theta).precision == "float32"


@pytest.mark.parametrize(("n_bytes", "affordable"), [(1 << 27, True), (1 << 23, False)])
def test_factors_of_large_classes_take_limited_memory(large_classes, n_bytes, affordable, monkeypatch):
    monkeypatch.setattr(_preconditioning, "_MAX_BYTES", n_bytes)  # they take 11 MB
    *_, preconditioning = started(*large_classes[:2])
    assert np.isfinite(preconditioning.cost_of_renewal(LONG)) == affordable


@pytest.mark.parametrize(("n", "affordable"), [(500, True), (30_000, False)])
def test_rows_of_large_classes_take_limited_memory(n, affordable, monkeypatch):
    monkeypatch.setattr(_preconditioning, "_MAX_KEPT", 2)
    monkeypatch.setattr(_preconditioning, "_MAX_BYTES", 200_000)  # the full Hessian takes more, packed factors 3 kB
    *_, preconditioning = started(*independent(n, 8, 20))
    assert preconditioning.level is Level.GRAM
    assert np.isfinite(preconditioning.cost_of_renewal(LONG)) == affordable


# a start from a subsample


def test_a_subsample_of_many_rows_is_a_start_and_gives_a_hessian():
    X, y = independent(90_000, 25, 8)
    objective = objective_of(X, y)
    preconditioning = Preconditioning(objective)
    sample = preconditioning.subsample()
    assert 0.9 * 90_000 / 8 < sample.n_rows <= 90_000 / 8
    few = Objective(sample, C=90_000 * objective.C / sample.weight_sum)
    theta = minimise(few, few.start(), tol=0.02, max_iter=20).theta
    preconditioning.learn(theta, sample)
    found = preconditioning.start(theta)
    assert preconditioning.level is Level.PER_CLASS
    check_variables(found, objective, theta, one_class=True, rel=0.15)
    assert preconditioning.cost_of_renewal(3) == inf


@pytest.mark.parametrize("weighted", [True, False])
def test_a_hessian_is_learned_from_a_subsample_of_weighted_rows(weighted, monkeypatch):
    monkeypatch.setattr(_preconditioning, "_MIN_SUBSAMPLED_NS", 0.0)
    X, y = many_rows()
    rng = np.random.default_rng(0)
    weight = rng.exponential(size=len(X)) * (rng.random(len(X)) < 0.5) if weighted else None
    objective = objective_of(X, y, sample_weight=weight)
    preconditioning = Preconditioning(objective)
    theta = objective.start() + 0.2 * rng.standard_normal(15)
    preconditioning.learn(theta, preconditioning.subsample())
    assert preconditioning.level is Level.PER_CLASS
    check_variables(preconditioning.start(theta), objective, theta, one_class=True, rel=0.25)


def changed(X, y, *, labels=None, **columns):
    """A copy of X with other columns, and y or other labels."""
    X = X.copy()
    for name, column in columns.items():
        X[:, int(name.removeprefix("column_"))] = column
    return X, y if labels is None else labels


def rare_class(y, n):
    y = np.where(y == 7, 0, y)
    y[:n] = 7
    return y


def indicator(n, *rows):
    column = np.zeros(n)
    column[rows] = 1.0
    return column


@pytest.mark.parametrize(
    ("change", "is_start"),
    [
        (lambda X, y: (X, y, {}), True),
        (lambda X, y: (X.astype(np.float32), y, {}), True),
        (lambda X, y: (*changed(X, y, column_1=3.0), {}), True),
        (lambda X, y: (X[:20_000], y[:20_000], {}), False),  # an evaluation takes a millisecond
        (lambda X, y: (sp.csr_matrix(X), y, {}), False),
        (lambda X, y: (X, y, {"l1_ratio": 0.5}), False),
        (lambda X, y: (X, y, {"loss": FocalLoss()}), False),
        (lambda X, y: (*changed(X, y, column_1=indicator(len(X), slice(8))), {}), False),
        (lambda X, y: (*changed(X, y, column_1=indicator(len(X), slice(-8, None))), {}), False),
        (lambda X, y: (*changed(X, y, column_1=indicator(len(X), slice(3000, 3240, 10))), {}), False),
        (lambda X, y: (*changed(X, y, column_1=X[:, 1] + 1e4 * indicator(len(X), slice(0, None, 9000))), {}), False),
        (lambda X, y: (*changed(X, y, column_1=1e200 * X[:, 1]), {}), False),  # whose squares overflow: no warning
        (lambda X, y: (X, rare_class(y, 700), {}), False),
        (lambda X, y: (X, rare_class(y, 900), {}), True),
    ],
    ids=[
        "as it is",
        "float32",
        "constant feature",
        "fewer rows",
        "CSR",
        "L1",
        "not convex",
        "indicator of the first rows",
        "indicator of the last rows",
        "indicator of some rows",
        "rows far off",
        "squares that overflow",
        "rare class",
        "class with enough rows",
    ],
)
def test_where_a_subsample_is_a_start(change, is_start):
    X, y, options = change(*independent(90_000, 25, 8))
    assert (Preconditioning(objective_of(X, y, **options)).subsample() is not None) == is_start


@pytest.mark.parametrize(("n", "is_start"), [(2000, False), (6000, True)])
def test_a_subsample_has_25_rows_for_each_variable(n, is_start, monkeypatch):
    monkeypatch.setattr(_preconditioning, "_MIN_SUBSAMPLED_NS", 0.0)
    monkeypatch.setattr(_preconditioning, "_MAX_SUBSAMPLED_COST", inf)
    X, y = many_rows()  # 15 variables
    assert (Preconditioning(objective_of(X[:n], y[:n])).subsample() is not None) == is_start


def test_large_classes_do_not_start_with_a_subsample(monkeypatch):
    monkeypatch.setattr(_preconditioning, "_MAX_SUBSAMPLED_COST", inf)
    objective = objective_of(*independent(90_000, 25, 8))
    assert Preconditioning(objective).subsample() is not None
    monkeypatch.setattr(_preconditioning, "_MAX_KEPT", 2)
    assert Preconditioning(objective).subsample() is None


def test_a_subsample_whose_hessian_takes_too_long_is_no_start(monkeypatch):
    monkeypatch.setattr(_preconditioning, "_MAX_SUBSAMPLED_COST", 0.1)
    assert Preconditioning(objective_of(*independent(90_000, 25, 8))).subsample() is None


# Hessians of some entries


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_the_hessian_of_some_entries_is_that_of_the_objective(n_classes):
    X, y, coef, intercept, rng = problem(n_classes, soft=False)
    objective = objective_of(X, y, C=0.3, l1_ratio=0.4)
    theta = objective.pack(coef, intercept)
    free = np.flatnonzero(rng.random(theta.size) < 0.5)
    preconditioning = Preconditioning(objective)
    assert 0.0 < preconditioning.hessian_cost(len(free)) < preconditioning.hessian_cost(2 * len(free)) < inf
    hessian = preconditioning.hessian_of(theta, free)
    change = np.zeros(theta.size)
    change[free] = 1e-5 * rng.normal(size=len(free))
    product = 0.5 * (objective(theta + change)[1] - objective(theta - change)[1])
    np.testing.assert_allclose(hessian @ change[free], product[free], rtol=1e-6, atol=1e-6 * np.abs(product).max())


def test_what_all_classes_share_has_variables_too():
    X, y, coef, intercept, _ = problem(3, soft=False)
    objective = objective_of(X, y, C=inf)
    theta, preconditioning = objective.pack(coef, intercept), Preconditioning(objective)
    objective(theta)
    preconditioning.start(theta)
    found = renewed_to(Level.FULL, preconditioning, theta)
    x = found.to_x(np.ones(24))  # of which the loss has no curvature
    of_classes = full_hessian(objective.design, theta, np.arange(24)).diagonal().reshape(-1, 3)
    assert x @ x == pytest.approx(3.0 * of_classes.min(axis=1).sum(), rel=1e-6)


def test_a_hessian_that_takes_too_much_memory_is_not_asked_for():
    preconditioning = Preconditioning(objective_of(*text(n_classes=3), l1_ratio=1.0))
    assert preconditioning.hessian_cost(4000) < inf
    assert preconditioning.hessian_cost(5000) == inf
