"""The sums over rows of a design against an extended-precision oracle, whatever the storage, weights and units."""

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from problems import independent
from reference import many_rows, problem
from threadpoolctl import threadpool_limits

from xentropy import _design, softmax
from xentropy._arrays import with_usual_indices
from xentropy._design import Design, RowLoss
from xentropy._targets import Target, learn_target


def with_wide_indices(X):
    X = sp.csr_array(X)
    return sp.csr_array((X.data, X.indices.astype(np.int64), X.indptr.astype(np.int64)), shape=X.shape)


def two_labels(n):
    return learn_target(np.arange(n) % 2)


# moments


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_moments_are_those_of_extended_precision(dtype, weighted, offset):
    rng = np.random.default_rng(2)
    X = (rng.standard_normal((3000, 19)) * np.logspace(-3, 3, 19) + offset).astype(dtype)
    X[:, 2] = 5.1
    X[rng.random(X.shape) < 0.1] *= offset == 0.0  # some zeros
    weight = rng.random(3000) * (rng.random(3000) < 0.7) if weighted else None
    exact = X.astype(np.longdouble)
    mean = np.average(exact, axis=0, weights=weight)
    variance = np.average((exact - mean) ** 2, axis=0, weights=weight)
    mixed = sp.csr_array(X)
    mixed.indptr = mixed.indptr.astype(np.int64)
    for stored in (X, sp.csr_array(X), with_wide_indices(X), with_usual_indices(mixed)):
        designs = []
        for n_threads in (1, 2):
            with threadpool_limits(limits=n_threads, user_api="openmp"):
                designs.append(Design(stored, two_labels(3000), sample_weight=weight))
        one, two = designs
        usual = np.delete(np.arange(19), one.of_few_rows)  # zeros far from all others belong to few rows
        near = np.abs(one.centre - mean) <= 1e-13 * np.abs(mean) + 2e-14 * np.sqrt(variance)
        assert offset or len(usual) == 19
        assert near[usual].all()
        np.testing.assert_allclose(one.variance[usual], variance[usual].astype(float), rtol=1e-9, atol=1e-20)
        np.testing.assert_array_equal(two.centre, one.centre)
        np.testing.assert_array_equal(two.variance, one.variance)
        without = Design(stored, two_labels(3000), sample_weight=weight, fit_intercept=False)
        assert without.centre is None
        np.testing.assert_allclose(without.variance, (variance + mean**2).astype(float), rtol=1e-9, atol=1e-20)


@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
def test_rows_of_no_weight_do_not_count_whatever_they_hold(storage):
    X = storage(np.array([[1.0, 2.0], [3.0, 2.0], [np.nan, np.inf]]))
    design = Design(X, two_labels(3), sample_weight=np.array([1.0, 1.0, 0.0]))
    np.testing.assert_array_equal(design.centre, [2.0, 2.0])
    np.testing.assert_array_equal(design.variance, [1.0, 0.0])
    np.testing.assert_array_equal(design.constant, [1])


def test_the_largest_offset_is_in_standard_deviations():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.standard_normal(500), 1e3 * rng.standard_normal(500) - 5e4, np.full(500, 7.0)])
    design = Design(X, two_labels(500))
    assert design.largest_offset == pytest.approx(np.max(np.abs(X.mean(axis=0)[:2]) / X.std(axis=0)[:2]))
    assert Design(X, two_labels(500), fit_intercept=False).largest_offset == 0.0


# weights


@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.3])
def test_shares_and_weights_count_classes_and_smoothing(soft, label_smoothing):
    X, y, *_, rng = problem(3, soft=soft)
    s, w = rng.integers(0, 3, len(X)) * 0.7, np.array([1.0, 4.0, 0.5])
    design = Design(
        X, learn_target(y), row_loss=RowLoss(class_weight=w, label_smoothing=label_smoothing), sample_weight=s
    )
    plain = y if soft else reference.one_hot(y, 3)
    asked = s[:, None] * w * reference.smoothed(plain, label_smoothing)
    assert design.weight_sum == pytest.approx(np.sum(s[:, None] * w * plain))
    np.testing.assert_allclose(design.shares, asked.sum(axis=0) / asked.sum())
    np.testing.assert_allclose(design.row_weight, asked.sum(axis=1))
    weight = design.row_weight
    assert design.least_weight == weight[weight > 0.0].min()
    assert design.effective_size == pytest.approx(weight.sum() ** 2 / (weight**2).sum())
    assert design.has_hard_labels == (not soft and label_smoothing == 0.0)


def test_rows_without_weights_weigh_one():
    design = Design(np.ones((5, 2)), two_labels(5))
    assert (design.row_weight, design.least_weight) == (None, 1.0)
    assert (design.effective_size, design.weight_sum) == (5.0, 5.0)
    np.testing.assert_array_equal(design.shares, [0.6, 0.4])


# the loss and its gradient


def loss_of(design, X, distribution, theta, **options):
    """The mean loss at theta, in extended precision."""
    X = X.astype(np.longdouble) - (0.0 if design.centre is None else design.centre)
    coef, intercept = (part.astype(np.longdouble).T for part in design.views(theta))
    offset = options.pop("offset", 0.0)
    if design.n_outputs == 1:
        coef, intercept = reference.two_columns(coef, intercept)
        offset = np.append(0.0, offset)
    return float(reference.linear_loss(X, distribution, coef, intercept + offset, **options)) / design.weight_sum


@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("asked", ["nothing", "weights", "smoothing", "offset", "no intercept"])
@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize("n_classes", [2, 3, 17])
def test_the_loss_and_its_gradient_are_those_of_the_formula(n_classes, soft, asked, storage):
    X, y, coef, intercept, rng = problem(n_classes, soft=soft)
    options, design_options = {}, {}
    if asked == "weights":
        options = {"sample_weight": rng.integers(0, 3, len(X)) * 0.7, "class_weight": rng.uniform(0.1, 2, n_classes)}
        design_options = {
            "sample_weight": options["sample_weight"],
            "row_loss": RowLoss(class_weight=options["class_weight"]),
        }
    if asked == "smoothing":
        options, design_options = {"label_smoothing": 0.3}, {"row_loss": RowLoss(label_smoothing=0.3)}
    if asked == "offset":
        options["offset"] = rng.normal(size=len(coef))
        design_options = {"row_loss": RowLoss(offset=options["offset"])}
    if asked == "no intercept":
        design_options = {"fit_intercept": False}
    design = Design(storage(X), learn_target(y), **design_options)
    theta = np.append(coef.T.ravel(), intercept)[: design.n_theta]
    distribution = y if soft else reference.one_hot(y, n_classes)
    loss, grad = design.loss_gradient(theta)
    assert loss == pytest.approx(loss_of(design, X, distribution, theta, **options), rel=1e-13)
    want = reference.central_difference(lambda at: loss_of(design, X, distribution, at, **options), theta)
    np.testing.assert_allclose(grad, want, rtol=1e-7, atol=1e-8)
    if not soft and storage is np.asarray:
        near, near_grad = design.loss_gradient(theta, "float32")
        assert 0.0 < abs(near - loss) < 1e-6 * loss
        np.testing.assert_allclose(near_grad, grad, atol=1e-6)
        assert design.loss_gradient(theta)[0] == loss


@pytest.mark.parametrize("n_classes", [2, 4])
def test_any_storage_gives_the_same_numbers(n_classes):
    X, y, coef, intercept, _ = problem(n_classes, soft=False)
    X = X.astype(np.float32).astype(np.float64)
    target, theta = learn_target(y), np.append(coef.T.ravel(), intercept)
    loss, grad = Design(X, target).loss_gradient(theta)
    single = X.astype(np.float32)
    for stored in (single, sp.csr_array(X), sp.csr_matrix(X), sp.csr_array(single), with_wide_indices(X)):
        design = Design(stored, target)
        assert design.is_dense == isinstance(stored, np.ndarray)
        assert design.nnz == (X.size if design.is_dense else np.count_nonzero(X))
        other_loss, other_grad = design.loss_gradient(theta)
        assert other_loss == pytest.approx(loss, rel=1e-14)
        np.testing.assert_allclose(other_grad, grad, rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(design.rows(np.array([3, 1])), Design(X, target).rows(np.array([3, 1])), rtol=1e-14)


@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("offset", [1.0, 1e4, 1e8])
@pytest.mark.parametrize("n_classes", [2, 5])
def test_offsets_of_the_features_leave_the_loss_as_exact_as_they_can(n_classes, offset, storage):
    """A dense design centres large offsets value by value; the products of CSR rows are as large as the offsets."""
    X, y, coef, intercept, rng = problem(n_classes, soft=False)
    X = X + offset * rng.uniform(0.5, 1.0, X.shape[1])
    design = Design(storage(X), learn_target(y))
    theta = np.append(coef.T.ravel(), intercept)
    loss, grad = design.loss_gradient(theta)
    distribution = reference.one_hot(y, n_classes)
    rel = 1e-12 + 1e-16 * (min(offset, 1e4) if design.is_dense else offset)
    assert loss == pytest.approx(loss_of(design, X, distribution, theta), rel=20 * rel)
    want = reference.central_difference(lambda at: loss_of(design, X, distribution, at), theta)
    np.testing.assert_allclose(grad, want, rtol=1e-7, atol=1e-8 + (0.0 if design.is_dense else 1e-15 * offset**2))


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_constant_features_have_no_gradient(fit_intercept):
    X, y, coef, intercept, _ = problem(3, soft=False)
    X[:, 4] = 7.1 * fit_intercept
    design = Design(X, learn_target(y), fit_intercept=fit_intercept)
    np.testing.assert_array_equal(design.constant, [4])
    _, grad = design.loss_gradient(np.append(coef.T.ravel(), intercept)[: design.n_theta])
    np.testing.assert_array_equal(design.views(grad)[0][4], 0.0)
    assert np.count_nonzero(grad) == design.n_theta - 3


@pytest.mark.parametrize("scale", [1e-300, 1e-40, 1e40, 1e300])
def test_the_scale_of_all_weights_changes_nothing(scale):
    X, y = many_rows()
    weight = np.random.default_rng(0).uniform(1.0, 2.0, len(X))
    usual, scaled = (Design(X, learn_target(y), sample_weight=weight * unit) for unit in (1.0, scale))
    theta = np.linspace(-1.0, 1.0, usual.n_theta)
    for one, other in ((usual, scaled), (usual.subsample(3000), scaled.subsample(3000))):
        for got, want in zip(other.loss_gradient(theta), one.loss_gradient(theta), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-9)
        near, near_grad = other.loss_gradient(theta, "float32")
        assert near == pytest.approx(one.loss_gradient(theta)[0], rel=1e-6)
        np.testing.assert_allclose(near_grad, one.loss_gradient(theta)[1], atol=1e-6)
        assert other.effective_size == pytest.approx(one.effective_size, rel=1e-9)
    np.testing.assert_allclose(scaled.centre, usual.centre, rtol=1e-12)
    np.testing.assert_allclose(scaled.variance, usual.variance, rtol=1e-12)


def test_float32_pays_where_it_saves_more_than_it_converts():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((70_000, 30)), rng.integers(8, size=70_000)
    assert Design(X, learn_target(y)).float32_pays
    assert Design(X.astype(np.float32), learn_target(y % 2)).float32_pays
    assert not Design(sp.csr_matrix(X), learn_target(y)).float32_pays
    assert not Design(X, learn_target(y % 2)).float32_pays  # to make floats takes longer than they save
    assert not Design(X, learn_target(rng.dirichlet(np.ones(8), 70_000))).float32_pays
    assert not Design(X + 1e5, learn_target(y)).float32_pays
    assert not Design(X[:1000], learn_target(y[:1000])).float32_pays


def test_an_interrupt_between_two_precisions_leaves_a_design_that_works(monkeypatch):
    X, y = independent(2000, 30, 4)
    design, theta = Design(X, learn_target(y)), np.zeros(31 * 4)
    design.loss_gradient(theta, "float32")

    def press_ctrl_c(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(_design, "LinearPass", press_ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            design.loss_gradient(theta)
    assert design.loss_gradient(theta)[0] == pytest.approx(np.log(4.0))


# columns


@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csr_array])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_many_empty_columns_are_no_features(n_classes, kind):
    rng = np.random.default_rng(0)
    n, d = 200, 50
    dense = np.zeros((n, d))
    stored = np.r_[3, 7:20, 41]
    dense[:, stored] = rng.standard_normal((n, len(stored))) * (rng.random((n, len(stored))) < 0.5)
    X, target = kind(dense), learn_target(rng.integers(n_classes, size=n))
    design, narrow = Design(X, target), Design(np.ascontiguousarray(dense[:, stored]), target)
    assert (design.n_features, design.n_columns) == (len(stored), d)
    assert design.n_theta == design.n_outputs * (len(stored) + 1)
    np.testing.assert_array_equal(design.columns, stored)
    assert X.shape == (n, d)
    theta = rng.standard_normal(design.n_theta)
    for got, want in zip(design.loss_gradient(theta), narrow.loss_gradient(theta), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-15)
    assert design.subsample(50).n_columns == d
    np.testing.assert_array_equal(design.subsample(50).columns, stored)


def test_a_few_empty_columns_stay():
    X = sp.csr_matrix(np.eye(40)[:39])
    assert Design(X, two_labels(39)).n_features == 40
    nothing = Design(sp.csr_matrix((39, 40)), two_labels(39))
    assert (nothing.n_features, nothing.n_columns) == (40, 40)
    assert nothing.loss_gradient(np.zeros(41))[0] == pytest.approx(np.log(2.0))


def test_a_column_whose_squares_overflow_is_named_as_in_the_given_matrix():
    X = np.random.default_rng(0).standard_normal((30, 7)) * (np.arange(7) != 2)
    Design(sp.csr_array(X), two_labels(30)).check_variances()
    X[5, 4] = 1e200
    with pytest.raises(ValueError, match="squares of column 4 of X overflow"):
        Design(sp.csr_array(X), two_labels(30)).check_variances()


@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("unit", [1e-20, 1e20])
@pytest.mark.parametrize("scale", [1e-300, 1e-310, 1e300, 2e305])
def test_the_scale_of_all_weights_changes_no_moment(storage, unit, scale):
    rng = np.random.default_rng(0)
    X, weight = storage(rng.standard_normal((300, 5)) * unit), rng.uniform(1.0, 2.0, 300)
    usual, scaled = (Design(X, two_labels(300), sample_weight=weight * s) for s in (1.0, scale))
    np.testing.assert_allclose(scaled.centre, usual.centre, rtol=1e-9)
    np.testing.assert_allclose(scaled.variance, usual.variance, rtol=1e-9)


@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_a_column_whose_squares_underflow_is_named(storage, fit_intercept):
    X = np.random.default_rng(0).standard_normal((30, 7)) * (np.arange(7) != 2)
    X[:, 1], X[3, 1] = 0.0, 1e-200  # the weight of this row is zero
    weight = (np.arange(30) != 3).astype(float)
    design = Design(storage(X), two_labels(30), sample_weight=weight, fit_intercept=fit_intercept)
    design.check_small_columns()
    X[:, 4] *= 1e-170
    design = Design(storage(X), two_labels(30), sample_weight=weight, fit_intercept=fit_intercept)
    with pytest.raises(ValueError, match=r"squares of column 4 of X underflow.*set a finite C"):
        design.check_small_columns()
    X[:, 4] = 1e-170
    design = Design(storage(X), two_labels(30), sample_weight=weight, fit_intercept=fit_intercept)
    if fit_intercept:  # it is constant
        design.check_small_columns()
    else:
        with pytest.raises(ValueError, match="squares of column 4"):
            design.check_small_columns()


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("scale", [1e-80, 1e80])
def test_class_weights_beyond_the_range_of_float32(soft, scale):
    rng = np.random.default_rng(0)
    X, theta = rng.standard_normal((60, 4)).astype(np.float32), rng.standard_normal(15)
    y = softmax(rng.standard_normal((60, 3))) if soft else np.arange(60) % 3
    found = []
    for s in (1.0, scale):
        row_loss = RowLoss(class_weight=np.array([1.0, 0.25, 3.0]) * s, label_smoothing=0.1)
        found.append(Design(X, learn_target(y), row_loss=row_loss).loss_gradient(theta, "float64"))
        if not soft:
            found.append(Design(X, learn_target(y), row_loss=row_loss).loss_gradient(theta, "float32"))
    for value, grad in found[1:]:
        assert value == pytest.approx(found[0][0], rel=1e-6)
        np.testing.assert_allclose(grad, found[0][1], rtol=1e-4, atol=1e-7)


# views, blocks and rows


@pytest.mark.parametrize("n_classes", [2, 3])
def test_views_are_parts_of_theta(n_classes):
    X, y, *_ = problem(n_classes, soft=False)
    design = Design(X, learn_target(y))
    theta = np.zeros(design.n_theta)
    coef, intercept = design.views(theta)
    coef[2] = 1.0
    intercept[:] = 2.0
    R = design.n_outputs
    assert (coef.shape, intercept.shape) == ((7, R), (R,))
    np.testing.assert_array_equal(theta, np.append(np.repeat(np.arange(7) == 2, R), np.full(R, 2.0)))
    without = Design(X, learn_target(y), fit_intercept=False)
    coef, intercept = without.views(np.ones(without.n_theta))
    assert coef.shape == (7, R)
    np.testing.assert_array_equal(intercept, np.zeros(R))


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
def test_blocks_hold_every_row_of_positive_weight_once(storage, weighted, fit_intercept):
    X, y = independent(30_000, 7, 3)
    weight = np.random.default_rng(0).integers(0, 3, len(X)) * 0.7 if weighted else np.ones(len(X))
    weight[:12_000] *= not weighted  # all of a block
    design = Design(
        storage(X), learn_target(y), sample_weight=weight if weighted else None, fit_intercept=fit_intercept
    )
    blocks = list(design.blocks())
    assert len(blocks) > 2
    at = np.concatenate([np.arange(len(X))[where] for where, _ in blocks])
    np.testing.assert_array_equal(at, np.flatnonzero(weight))
    of_rows = np.concatenate([of_block for _, of_block in blocks])
    np.testing.assert_allclose(of_rows, weight[at] / weight.sum())
    rows = np.concatenate([design.rows(where) for where, _ in blocks])
    if fit_intercept:
        np.testing.assert_allclose(rows[:, :-1], X[at] - np.average(X, axis=0, weights=weight), atol=1e-12)
        np.testing.assert_array_equal(rows[:, -1], 1.0)
    else:
        np.testing.assert_array_equal(rows, X[at])


@pytest.mark.parametrize("offset", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_probabilities_are_those_of_the_logits(n_classes, offset):
    X, y, coef, intercept, _ = problem(n_classes, soft=False)
    of_classes = np.linspace(-1.0, 2.0, len(coef)) if offset else None
    design = Design(X, learn_target(y), row_loss=RowLoss(offset=of_classes))
    logits = (X - X.mean(axis=0)) @ coef.T + intercept + (of_classes if offset else 0.0)
    logits = np.hstack([np.zeros_like(logits), logits]) if n_classes == 2 else logits
    found = design.probabilities(design.rows(slice(None)), np.append(coef.T.ravel(), intercept))
    np.testing.assert_allclose(found, np.exp(reference.log_softmax(logits)).astype(float), rtol=1e-12)


# subsamples


def rows_of(sample):
    """Where the rows of a subsample lie, of which the first feature is the place."""
    return np.rint(sample.rows(slice(None))[:, 0] + sample.centre[0]).astype(int)


def numbered(n, **options):
    """n rows that tell where they lie."""
    return Design(np.arange(float(n))[:, None], learn_target(np.arange(n) // 2 % 2), **options)


ASKED = [{}, {"class_weight": [1.0, 4.0, 0.5]}, {"label_smoothing": 0.1, "class_weight": [1.0, 4.0, 0.5]}]


@pytest.mark.parametrize("asked", ASKED, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
def test_a_subsample_has_nearly_the_same_loss_and_gradient(storage, fit_intercept, soft, weighted, asked):
    rng = np.random.default_rng(1)
    X, y = many_rows()
    if soft:
        y = 0.8 * np.eye(3)[y] + 0.2 * rng.dirichlet(np.ones(3), len(y))
    weight = rng.exponential(size=len(X)) * (rng.random(len(X)) < 0.5) if weighted else None
    options = {name: np.array(value) if name == "class_weight" else value for name, value in asked.items()}
    design = Design(
        storage(X), learn_target(y), row_loss=RowLoss(**options), sample_weight=weight, fit_intercept=fit_intercept
    )
    few = design.subsample(4000)
    assert few.is_subsample
    assert 0.5 * 4000 < few.n_rows <= 4000
    assert few.n_rows == few.rows(slice(None)).shape[0]
    theta = 0.3 * rng.standard_normal(design.n_theta)
    loss, grad = design.loss_gradient(theta)
    near, near_grad = few.loss_gradient(theta)
    assert near != loss
    assert near == pytest.approx(loss, rel=0.05)
    assert np.linalg.norm(near_grad - grad) < 0.2 * np.linalg.norm(grad)
    np.testing.assert_array_equal(few.variance, design.variance)
    assert (few.centre is None) if design.centre is None else np.array_equal(few.centre, design.centre)


def test_a_subsample_of_a_subsample_holds_some_of_its_rows():
    weight = np.random.default_rng(0).exponential(size=40_000)
    few = numbered(40_000, sample_weight=weight).subsample(4000)
    fewer = few.subsample(500)
    assert fewer.n_rows <= 500
    assert np.isin(rows_of(fewer), rows_of(few)).all()
    theta = np.array([1e-5, 0.3])
    assert fewer.loss_gradient(theta)[0] == pytest.approx(few.loss_gradient(theta)[0], rel=0.01)


def test_rows_come_in_by_their_weight_once():
    """The loss of a subsample is that of all rows, if each had the weight of those that it stands for."""
    X, y = many_rows()
    X = np.column_stack([np.arange(float(len(X))), X])
    weight = np.where(np.arange(len(X)) < 100, 1000.0, 1.0)
    few = Design(X, learn_target(y), sample_weight=weight).subsample(5000)
    at, times = rows_of(few), few.row_weight
    assert np.count_nonzero(at < 100) == 100
    assert times[at < 100].sum() / times.sum() == pytest.approx(1e5 / 139_900, rel=0.01)
    same = Design(X[at], learn_target(y)[at], sample_weight=times)
    theta = np.append(np.linspace(-0.1, 0.1, 15) * np.repeat([1e-4, 1.0], [3, 12]), [0.1, 0.0, -0.1])
    there = theta.copy()
    coef, intercept = same.views(there)
    intercept += (same.centre - few.centre) @ coef
    assert few.loss_gradient(theta)[0] == pytest.approx(same.loss_gradient(there)[0], rel=1e-12)


def test_rows_of_a_subsample_have_weight_and_share_no_period():
    weights = np.array([0.0, 1.0] * 500 + [0.0, 9.0] * 500)
    few = numbered(2000, sample_weight=weights).subsample(1000)
    at, times = rows_of(few), few.row_weight
    assert times.sum() == pytest.approx(1000)
    assert (weights[at] > 0.0).all()
    assert times[at < 1000].sum() == pytest.approx(100, abs=2)
    at = rows_of(numbered(2000).subsample(200))
    np.testing.assert_array_equal(at, np.unique(at))
    np.testing.assert_allclose(np.bincount(at % 10) / 200, 0.1, atol=0.02)


@pytest.mark.parametrize("lightest", [1e-16, 1e-10])
def test_a_first_row_of_next_to_no_weight_is_not_sampled(lightest):
    weight = np.ones(8000)
    weight[0] = lightest
    assert 0 not in rows_of(numbered(8000, sample_weight=weight).subsample(500))


# curvature


def curvature_by_hand(design, theta):
    """The curvature of each row in each logit, and the squares of its centred features."""
    (_, weight), = design.blocks()
    rows = design.rows(slice(None))
    p = design.probabilities(rows, theta)
    return (weight[:, None] * p * (1.0 - p))[:, -design.n_outputs :], np.square(rows[:, : design.n_features])


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_curvature_is_that_of_the_rows(kind, n_classes, fit_intercept):
    rng = np.random.default_rng(n_classes)
    X = rng.normal(size=(200, 5)) * (rng.random((200, 5)) < 0.8) + 0.3
    X[7, 2] = 1e6
    y = np.arange(200) % n_classes
    weight = rng.exponential(size=200)
    design = Design(kind(X), learn_target(y), sample_weight=weight, fit_intercept=fit_intercept)
    np.testing.assert_array_equal(design.of_few_rows, [2])
    theta = 0.3 * rng.normal(size=design.n_theta)
    theta[2 * design.n_outputs : 3 * design.n_outputs] *= 1e-6
    squares, mass = design.curvature(theta)
    c, x2 = curvature_by_hand(design, theta)
    np.testing.assert_allclose(squares, x2.T @ c, rtol=1e-9)
    np.testing.assert_allclose(mass, c.sum(axis=0), rtol=1e-10)
    shared = design.shared_curvature(theta, squares, 0.05)
    owned = x2[:, 2] * c.sum(axis=1) > 0.05 * squares[2].sum()
    assert owned[7]
    np.testing.assert_allclose(shared[2], (x2[:, 2] * ~owned) @ c, rtol=1e-9)
    np.testing.assert_array_equal(np.delete(shared, 2, axis=0), np.delete(squares, 2, axis=0))


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_few_rows_do_not_move_the_centre(kind):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 5)) + [0.0, 3.0, 1e4, 0.0, 0.0]
    X[:, 3] = rng.random(1000) < 0.01  # rare, but alike
    X[:, 4] = rng.random(1000) < 0.1
    X[[7, 9], 1], X[5, 2], X[11, 4] = 1e9, -999999.0, 1e6
    design = Design(kind(X), two_labels(1000))
    np.testing.assert_array_equal(design.of_few_rows, [1, 2, 4])
    np.testing.assert_allclose(design.centre, [0.0, 3.0, 1e4, 0.01, 0.0], atol=0.3)
    np.testing.assert_allclose(design.variance, np.square(X - design.centre).mean(axis=0), rtol=1e-9)
    np.testing.assert_array_equal(design.subsample(200).centre, design.centre)
    assert not len(Design(kind(X[20:]), two_labels(980)).of_few_rows)


def test_rows_of_the_least_weight_are_sampled():
    X, target = np.arange(6.0)[:, None], two_labels(6)
    sample = Design(X, target, sample_weight=np.array([0.0, 5e-324, 0.0, 5e-324, 0.0, 0.0])).subsample(4)
    np.testing.assert_array_equal(sample.rows(slice(None))[:, 0] + sample.centre, [1.0, 3.0])


def test_a_huge_weight_of_a_class_without_rows():
    X, class_weight = np.arange(6.0)[:, None], np.array([1e-30, 1e-30, 1e300])
    target = Target(np.arange(3), labels=np.arange(6, dtype=np.int32) % 2)
    design = Design(X, target, row_loss=RowLoss(class_weight=class_weight))
    value, grad = design.loss_gradient(np.zeros(6))
    assert value == pytest.approx(np.log(3.0))
    np.testing.assert_allclose(grad[3:], [-1 / 6, -1 / 6, 1 / 3])


def test_labels_of_next_to_no_weight_beside_what_smoothing_adds():
    weight, X = np.array([2.2e-277, 2.4e-6, 8.66e109]), np.arange(24.0).reshape(3, 8) ** 2
    row_loss = RowLoss(class_weight=np.array([1.0, 0.0]), label_smoothing=0.1)
    target = Target(np.arange(2), labels=np.array([0, 1, 1], dtype=np.int32))
    with pytest.raises(ValueError, match="their ratio overflows: use label_smoothing"):
        Design(X, target, row_loss=row_loss, sample_weight=weight)
    design = Design(X, target, row_loss=row_loss, sample_weight=np.minimum(weight, 1e10))
    assert np.isfinite(design.loss_gradient(np.zeros(9))[0])
