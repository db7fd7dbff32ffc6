"""Fits without a penalty whose classes are separated, in full or in part: which, and in which direction."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from problems import drawn, independent
from scipy.optimize import OptimizeResult, linprog
from sklearn.exceptions import ConvergenceWarning

from xentropy import FocalLoss, GeneralizedCrossEntropy, PolyLoss, SoftmaxClassifier, SymmetricCrossEntropy, _separation
from xentropy._design import Design
from xentropy._separation import find_separation
from xentropy._targets import learn_target

LOSSES = [FocalLoss(), GeneralizedCrossEntropy(), PolyLoss(), SymmetricCrossEntropy()]


def problem(seed, n_classes):
    """Overlapping classes, in raw units far from zero."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(60, 300)), int(rng.integers(1, 8))
    Z = rng.standard_normal((n, d))
    y = drawn(0.5 * Z @ rng.standard_normal((d, n_classes)), rng)
    y[:n_classes] = np.arange(n_classes)
    return Z * 10.0 ** rng.uniform(-4.0, 4.0, d) + 10.0 ** rng.uniform(-3.0, 3.0, d), y


def with_a_flag(X, y, seed=0):
    """One more feature, which only rows of the first class have."""
    flag = np.random.default_rng(seed).random(len(y)) < 0.1
    flag[:3] = True
    return np.column_stack([X, flag]), np.where(flag, 0, y)


def is_separated(X, y):
    """The linear program of all margins."""
    Z, classes = np.column_stack([(X - X.mean(axis=0)) / X.std(axis=0), np.ones(len(X))]), np.unique(y)
    margins = []
    for k in range(len(classes)):
        for i in np.flatnonzero(y != k):
            of_class = np.zeros((len(classes), Z.shape[1]))
            of_class[y[i]] += Z[i]
            of_class[k] -= Z[i]
            margins.append(of_class.ravel())
    A = np.array(margins)
    return -linprog(-A.sum(axis=0), A_ub=-A, b_ub=np.zeros(len(A)), bounds=(-1, 1)).fun > 1e-6


def fitted(X, y, weight=None, **options):
    return SoftmaxClassifier(C=np.inf, **options).fit(X, y, weight)


def test_separation_in_part_is_said():
    X, y = np.array([[0.0]] * 5 + [[1.0]] * 3), np.array([0, 1, 0, 1, 0, 1, 1, 1])
    message = r"classes \[0, 1\] are separable, at least in part: .* x0 towards class 1, .* for 3 of 8 rows .* finite C"
    with pytest.warns(ConvergenceWarning, match=message):
        clf = fitted(X, y)
    assert not clf.converged_
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted(np.vstack([X, [[1.0]]]), np.append(y, 0))
    names = np.array([np.str_("a"), np.str_("b")], dtype=object)
    with pytest.warns(ConvergenceWarning, match=r"classes \['a', 'b'\] are separable"):
        fitted(X, names[y])


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_overlapping_classes_are_not_separated(n_classes):
    n_separated = 0
    for seed in range(100):
        X, y = problem(seed, n_classes)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            clf = fitted(X, y)
        said = any("separable" in str(warning.message) for warning in caught)
        if seed % 10 == 0 or said:
            assert said == is_separated(X, y)
        n_separated += said
        assert clf.converged_ != said
    assert n_separated <= 3


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_classes_that_are_separated_in_part_are_named(n_classes):
    for seed in range(100):
        X, y = with_a_flag(*problem(seed, n_classes), seed)
        target = learn_target(y)
        design = Design(X, target)
        found = find_separation(design, target, np.zeros(design.n_theta))
        assert found is not None
        assert 0 in found.classes
        assert found.n_moved >= X[:, -1].sum()
        assert found.coef[-1].argmax() == 0
        if seed % 10 == 0:
            with pytest.warns(ConvergenceWarning, match=f"separable.* x{X.shape[1] - 1} towards class 0"):
                fitted(X, y)


def test_classes_and_features_have_their_names():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((300, 2)), rng.integers(3, size=300)
    X[:, 0] += np.where(y == 2, 20.0, 0.0)  # the others overlap
    message = r"classes \['a', 'b', 'c'\] are separable, at least in part: .* x0 towards class c"
    with pytest.warns(ConvergenceWarning, match=message):
        fitted(X, np.array(["a", "b", "c"])[y])
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame(X, columns=["age", "size"])
    with pytest.warns(ConvergenceWarning, match=r"classes \[0, 1\] are perfectly separable: .* age towards class 1"):
        fitted(table, (y == 2).astype(int))


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_perfect_separation_is_said_for_every_loss(loss, n_classes):
    X, y = independent(200, 3, n_classes)
    y = X[:, :n_classes].argmax(axis=1)
    with pytest.warns(ConvergenceWarning, match="separable"):
        clf = fitted(X, y, loss=loss)
    assert not clf.converged_
    X, y = problem(1, n_classes)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted(X, y, loss=loss)
    assert not any("separable" in str(warning.message) for warning in caught)


@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_rows_without_weight_do_not_count(storage, fit_intercept):
    X, y = with_a_flag(*problem(3, 3))
    X = X - X.min(axis=0)
    overlap = np.append(X[:1], X[:1], axis=0)
    X, y = np.vstack([X, overlap]), np.append(y, [1, 2])  # the flag is of these classes too
    weight = np.random.default_rng(0).random(len(y)) + 0.1
    X = storage(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fitted(X, y, weight, fit_intercept=fit_intercept).converged_
    weight[-2:] = 0.0
    with pytest.warns(ConvergenceWarning, match="separable, at least in part"):
        fitted(X, y, weight, fit_intercept=fit_intercept)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_weights_do_not_decide_what_is_separated(n_classes):
    X, y = with_a_flag(*problem(3, n_classes))
    weight = np.logspace(-300, 300, len(y))[np.random.default_rng(0).permutation(len(y))]
    target = learn_target(y)
    for rows in (X[:, -1] >= 0, X[:, -1] == 0):  # the flag separates, and without its rows nothing does
        design = Design(X[rows], target[rows], sample_weight=weight[rows])
        found = find_separation(design, target[rows], np.zeros(design.n_theta))
        assert (found is not None) == rows.all()


@pytest.mark.parametrize("answer", [None, "zero", "wrong"])
def test_a_linear_program_without_a_sound_answer_says_nothing(monkeypatch, answer):
    X, y = with_a_flag(*problem(3, 3))

    def unsound(c, A_ub, **kwargs):
        x = {None: None, "zero": np.zeros_like(c), "wrong": -np.sign(A_ub[0]) - np.sign(c)}[answer]
        return OptimizeResult(x=x)

    monkeypatch.setattr(_separation, "linprog", unsound)
    design = Design(X, learn_target(y))
    assert find_separation(design, learn_target(y), np.zeros(design.n_theta)) is None


@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n_classes", "d"), [(2, 170), (2, 400), (3, 90)])
def test_separation_in_part_is_found_with_many_coefficients(n_classes, d, weighted, storage):
    rng = np.random.default_rng(d)
    X = rng.standard_normal((2500, d))
    y = drawn(X[:, :4] @ rng.standard_normal((4, n_classes)) / 2, rng)
    X[:, 7] = rng.random(len(y)) < 0.04
    X[:, 9] = X[:, 10] + X[:, 11]  # which leaves directions in which nothing changes
    weight = 10.0 ** rng.uniform(-1, 1, len(y)) if weighted else None
    assert fitted(storage(X), y, weight).converged_
    of_class = np.where(X[:, 7] > 0.0, 1, y)
    message = f"at least in part: .* along x7 towards class 1, .* for {int(X[:, 7].sum())} of 2500 rows"
    with pytest.warns(ConvergenceWarning, match=message):
        clf = fitted(storage(X), of_class, weight)
    assert not clf.converged_


def test_weights_near_the_probabilities_save_the_linear_program(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("solved a linear program")

    monkeypatch.setattr(_separation, "linprog", refuse)
    for n_classes in (2, 3):
        X, y = independent(2000, 8, n_classes)
        assert fitted(X, y).converged_
        with pytest.warns(ConvergenceWarning, match="perfectly separable"):
            fitted(X, X[:, :n_classes].argmax(axis=1))


def test_a_penalty_and_smoothing_need_no_search(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("looked for a direction")

    X, y = with_a_flag(*problem(0, 2))
    monkeypatch.setattr(_separation._Margins, "least", refuse)
    assert SoftmaxClassifier(C=1e3).fit(X, y).converged_
    assert fitted(X, y, label_smoothing=0.1).converged_
