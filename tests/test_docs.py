"""Check that the examples of docs/ run without a warning, and that their output agrees with their text."""

import re
import runpy
from pathlib import Path

import pytest
import sklearn
from scipy.special import log_softmax
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.preprocessing import StandardScaler

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib import pyplot  # noqa: E402

import xentropy  # noqa: E402
from xentropy import SoftmaxClassifier, SoftmaxClassifierCV  # noqa: E402

DOCS = Path(__file__).parents[1] / "docs"
EXAMPLES = sorted((DOCS / "examples").glob("plot_*.py"))

# Patterns for lines of the output that the text of an example mentions.
SAID = {
    "plot_1_weather": [r"dry after .*: 0\.357", r"Worse than guessing", r"Overconfident"],
    "plot_2_cat_dog_bird": [r"p\(cat\) = 0\.33, loss 1\.11", r"= 0\.70, loss 0\.36", r"= 0\.95, loss 0\.05"],
    "plot_3_spam": [r"1\. Neglected class\n     The class 'spam'"],
    "plot_4_noisy_labels": [
        r"1\. Confidently wrong",
        r"2\. Underconfident",
        r"among the 10 rows that cost most, (9|10) are mislabelled",
    ],
    "plot_5_soft_labels": [r"floor +0\.5\d\d +mean entropy", r"Overconfident"],
    "plot_8_calibration": [r"Saturated", r"Overconfident"],
    "plot_9b_coefficients": [r"mean texture +1\.6", r"C = 100.0: fitted 0\.03\d, left out 0\.21\d"],
    "plot_a_large_data": [r"objectives: ([0-9]e-(0[89]|[1-9]\d)|0e\+00)", r"passes over all rows: [5-8]\n"],
}


@pytest.fixture(autouse=True)
def nothing_on_the_screen(monkeypatch):
    monkeypatch.setattr(pyplot, "show", lambda: None)
    yield
    pyplot.close("all")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(path, capsys):
    if 'method="temperature"' in path.read_text() and tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 8):
        pytest.skip("CalibratedClassifierCV(method='temperature') is new in scikit-learn 1.8")
    runpy.run_path(str(path), run_name="__main__")
    printed = capsys.readouterr().out
    for pattern in SAID.get(path.stem, []):
        assert re.search(pattern, printed), pattern
    for number in pyplot.get_fignums():
        pyplot.figure(number).draw_without_rendering()


def test_there_is_an_example_for_each_theme():
    assert len(EXAMPLES) == 11
    assert set(SAID) <= {path.stem for path in EXAMPLES}


def test_api_reference_names_what_is_public():
    listed = re.findall(r"^   (\w+)$", (DOCS / "api.rst").read_text(), flags=re.MULTILINE)
    # neg_log_loss_scorer is an instance, which the page of make_log_loss_scorer describes
    assert sorted([*listed, "neg_log_loss_scorer"]) == sorted(xentropy.__all__)


@pytest.mark.parametrize("pair", [(LogisticRegression, SoftmaxClassifier), (LogisticRegressionCV, SoftmaxClassifierCV)])
def test_the_guide_names_the_parameters_that_only_scikit_learn_has(pair):
    theirs, ours = (set(estimator().get_params()) for estimator in pair)
    text = (DOCS / "user_guide.rst").read_text().partition("Names and texts differ too")[2]
    about = text.partition(f"- ``{pair[1].__name__}``")[2].partition("\n- ")[0]
    missing = {name for name in theirs - ours if f"``{name}``" not in about}
    assert missing <= {"multi_class"}  # which scikit-learn 1.8 dropped


def test_the_table_of_the_losses_is_that_of_the_registry():
    tool = runpy.run_path(str(DOCS.parent / "tools" / "losses_table.py"))
    page = (DOCS / "losses.md").read_text()
    assert tool["with_table"](page) == page, "run python tools/losses_table.py"


def test_nothing_is_fetched_when_the_site_is_built_or_read():
    for path in [DOCS / "conf.py", *DOCS.glob("_static/*"), *DOCS.glob("_ext/*.py")]:
        content = path.read_bytes().replace(b'xmlns="http://www.w3.org/2000/svg"', b"")  # a name, which is not fetched
        assert b"http" not in content, path.name


def test_the_figures_of_the_readme():
    readme = (DOCS.parent / "README.md").read_text()
    assert "The loss of the logits [100, 0] for the first class is 3.7e-44" in readme
    assert float(f"{xentropy.cross_entropy([0], [[100.0, 0.0]]):.1e}") == 3.7e-44
    assert log_softmax([100.0, 0.0])[0] == 0.0
    assert "fewer than 20 iterations" in readme
    X, y = load_breast_cancer(return_X_y=True)
    for features in (X, StandardScaler().fit_transform(X)):
        model = SoftmaxClassifier().fit(features, y)
        assert model.converged_
        assert model.n_iter_[0] < 20
    peer = LogisticRegression(max_iter=2000)
    with pytest.warns(ConvergenceWarning):
        peer.fit(X, y)
