"""Check the command: whole runs on tables of every kind, their output and saved models, and each kind of misuse."""

import csv
import gzip
import os
import re
import select
import signal
import stat
import subprocess
import sys
import time
from html.parser import HTMLParser

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

import xentropy
from xentropy.__main__ import main
from xentropy._cli import search

pd = pytest.importorskip("pandas")

NAMES = ["sepal length", "sepal width", "petal length", "petal width"]
SPECIES = ["setosa", "versi, color", 'vir"ginica']  # these fields need quotes
QUICK = ["--C", "1", "--folds", "2", "--no-compare"]


@pytest.fixture(scope="module")
def iris_csv(tmp_path_factory):
    X, y = load_iris(return_X_y=True)
    path = tmp_path_factory.mktemp("data") / "iris.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*NAMES, "species"])
        writer.writerows([*row, SPECIES[label]] for row, label in zip(X, y, strict=True))
    return path


def loans(n=400, seed=0):
    """A table with a column of every kind, in which `duration`, `purpose` and the word "arrears" matter."""
    rng = np.random.default_rng(seed)
    duration = rng.integers(4, 72, n)
    purpose = rng.choice(["car", "furniture", "business", "yacht"], n, p=[0.5, 0.3, 0.195, 0.005])
    bad = rng.random(n) < 1 / (1 + np.exp(-(duration - 40) / 8 - (purpose == "business")))
    words = ["late", "payment", "reminder", "asks", "longer", "term", "good", "record", "salary", "guarantor", "debts"]
    date = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 700, n), unit="D")
    return pd.DataFrame(
        {
            "number": rng.permutation(n) + 1000,
            "date": date.strftime("%Y-%m-%d"),
            "amount": np.round(np.exp(rng.normal(8, 1, n)), 2),
            "duration": duration,
            "purpose": purpose,
            "age": np.where(rng.random(n) < 0.1, np.nan, rng.integers(18, 80, n)),
            "owns_home": rng.random(n) < 0.5,
            "country": "DE",
            "empty": np.nan,
            "note": [" ".join(rng.choice(words, rng.integers(3, 9))) + a for a in np.where(bad, " arrears", "")],
            "customer": [f"C{rng.integers(10**9):09d}" for _ in range(n)],
            "risk": np.where(bad, "bad", "good"),
        }
    )


@pytest.fixture
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as error:  # argparse exits this way
        return error.code


def table_of(out, title):
    """The numbers of the table that follows a line with `title`."""
    lines = out.split(title)[1].split("\n\n")[1].splitlines()
    return {line[:36].strip(): [float(x) for x in line[36:].split()] for line in lines[1:]}


# Whole runs -----------------------------------------------------------------------------------------------------------


def test_whole_run_on_a_table(iris_csv, in_tmp, capsys):
    arguments = ["--C", "0.1,1,10", "--l1-ratio", "0,0.5", "--smoothing", "0,0.05", "--folds", "4"]
    assert run(iris_csv, "--target", "species", *arguments) == 0
    out, err = capsys.readouterr()
    assert err == ""  # progress is printed only on a terminal
    assert "150 rows, 4 columns to learn from, 3 classes" in " ".join(out.split())
    assert "114 rows to choose and fit with, 36 held out for the score." in out
    rows = re.findall(r"^ +([\d.]+) +([\d.]+) +([\d.]+) +(\d\.\d{4}) +\d\.\d{4}(  <- best)?$", out, re.MULTILINE)
    grid = [(C, r, s) for s in (0, 0.05) for r in (0, 0.5) for C in (0.1, 1, 10)]
    assert [(float(C), float(r), float(s)) for C, r, s, *_ in rows] == grid
    means = [float(mean) for *_, mean, _ in rows]
    assert [bool(best) for *_, best in rows].index(True) == means.index(min(means))

    model = joblib.load("xentropy-model.joblib")
    best = grid[means.index(min(means))]
    assert (model[-1].C, model[-1].l1_ratio, model[-1].label_smoothing) == best
    assert sorted(model.classes_) == sorted(SPECIES)
    frame = pd.read_csv(iris_csv)
    assert np.mean(model.predict(frame) == frame["species"]) > 0.9


def test_held_out_score_is_that_of_the_saved_model(iris_csv, in_tmp, capsys):
    # compute the scores again from the saved model and the seed of the splits
    assert run(iris_csv, "--target", "species", "--C", "1", "--folds", "2") == 0
    out = capsys.readouterr().out
    table = table_of(out, "held-out rows")
    frame = pd.read_csv(iris_csv)
    labels = frame["species"].to_numpy()
    rng = np.random.default_rng(0)
    test = np.concatenate(
        [rng.permutation(np.flatnonzero(labels == c))[:12] for c in sorted(SPECIES)]  # round(0.25 * 50) = 12
    )
    train = np.setdiff1d(np.arange(150), test)
    model = joblib.load("xentropy-model.joblib")
    np.testing.assert_allclose(model[0].named_transformers_["numeric"]["scale"].mean_, frame[NAMES].iloc[train].mean())
    p = model.predict_proba(frame.iloc[test])
    ours = log_loss(labels[test], p, labels=sorted(SPECIES))
    assert table["SoftmaxClassifier, the saved model"][0] == pytest.approx(ours, abs=6e-5)
    assert table["class frequencies, no features"] == pytest.approx([np.log(3), 1 / 3], abs=6e-5)

    scaler = StandardScaler().fit(frame[NAMES].iloc[train])
    peer = LogisticRegression(max_iter=1000).fit(scaler.transform(frame[NAMES].iloc[train]), labels[train])
    theirs = log_loss(labels[test], peer.predict_proba(scaler.transform(frame[NAMES].iloc[test])))
    line = " ".join(out[out.index("scikit-learn's LogisticRegression") :].split())
    assert f"has a log loss of {theirs:.4f}" in line
    assert theirs == pytest.approx(ours, abs=1e-3)


def test_a_table_with_a_column_of_every_kind(in_tmp, capsys):
    frame = loans()
    frame.to_csv("loans.csv", index=False)
    assert run("loans.csv", "--target", "risk", "--C", "0.1,1", "--no-compare", "--report", "loans.html") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert max(map(len, out.splitlines())) <= 80
    kinds = dict(re.findall(r"^  (\w+) +(numeric|categorical|boolean|date|text|constant|empty|id-like) ", out, re.M))
    assert kinds == {
        "number": "id-like", "date": "date", "amount": "numeric", "duration": "numeric", "purpose": "categorical",
        "age": "numeric", "owns_home": "boolean", "country": "constant", "empty": "empty", "note": "text",
        "customer": "id-like",
    }  # fmt: skip
    scores = table_of(out, "held-out rows")
    assert scores["SoftmaxClassifier, the saved model"][0] < scores["class frequencies, no features"][0] - 0.1

    # The saved pipeline takes the raw frame, in any order of its columns, beside others, and with what it has not seen
    model = joblib.load("xentropy-model.joblib")
    proba = model.predict_proba(frame)
    shuffled = frame.assign(new=1)[frame.columns[::-1].tolist() + ["new"]]
    np.testing.assert_array_equal(model.predict_proba(shuffled), proba)
    np.testing.assert_array_equal(model.predict_proba(frame.drop(columns=["number", "customer", "empty"])), proba)
    unseen = frame.assign(purpose="boat", date=np.nan, note=None, age=np.nan, owns_home=np.nan, amount="?")
    assert np.isfinite(model.predict_proba(unseen.assign(amount=np.nan))).all()

    page = (in_tmp / "loans.html").read_text(encoding="utf-8")
    assert "duration" in page
    assert "note: arrears" in page


def test_no_numbers_at_all(in_tmp, capsys):
    rng = np.random.default_rng(0)
    rows = [",".join(rng.choice(levels) for levels in (["a", "b", "c"], ["yes", ""], ["x", "z"])) for _ in range(90)]
    (in_tmp / "words.csv").write_text("\n".join(["u,v,y", *rows]))
    assert run("words.csv", "--target", "y", *QUICK) == 0
    assert joblib.load("xentropy-model.joblib").predict(pd.DataFrame({"u": ["a"], "v": [None]})).shape == (1,)


def test_digits_by_default(in_tmp, capsys):
    assert run(*QUICK, "--C", "0.1", "--output", "digits.joblib") == 0
    assert "1,797 rows, 64 columns to learn from, 10 classes" in capsys.readouterr().out
    assert joblib.load("digits.joblib").predict(np.zeros((1, 64))).shape == (1,)
    assert os.listdir() == ["digits.joblib"]


def test_runs_repeat(iris_csv, in_tmp, capsys):
    printed = []
    for _ in range(2):
        run(iris_csv, "--target", "species", *QUICK)
        printed.append(re.sub(r"\([\d.]+ s\)", "", capsys.readouterr().out))
    assert printed[0] == printed[1]


def test_rare_classes(in_tmp, capsys):
    rng = np.random.default_rng(0)
    labels = ["common"] * 40 + ["usual"] * 30 + ["rare"] * 3 + ["single"]
    (in_tmp / "rare.csv").write_text(
        "a,b,y\n" + "".join(f"{rng.normal()},{rng.normal()},{label}\n" for label in labels)
    )
    assert run("rare.csv", "--target", "y", "--C", "0.1,1") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "1 class with fewer rows than the 5 folds, some of which lack it: rare." in out
    assert "1 class with one row to fit with: every fit uses it, and no score: single." in out
    assert set(joblib.load("xentropy-model.joblib").classes_) == set(labels)
    assert "nan" not in out


def test_weights(in_tmp, capsys):
    # a weight of 2 for half of the rows is the same as their repetition, but for the split: compare coefficients
    frame = loans()[["duration", "purpose", "risk"]].assign(w=1.0)
    frame.to_csv("t.csv", index=False)
    frame.assign(w=10.0).to_csv("ten.csv", index=False)
    assert run("t.csv", "--target", "risk", "--weight", "w", *QUICK, "--C", "1") == 0
    assert "2 columns to learn from" in capsys.readouterr().out
    one = joblib.load("xentropy-model.joblib")
    assert run("ten.csv", "--target", "risk", "--weight", "w", *QUICK, "--C", "0.1") == 0
    ten = joblib.load("xentropy-model.joblib")
    np.testing.assert_allclose(one[-1].coef_, ten[-1].coef_, rtol=1e-3, atol=1e-5)
    frame.assign(w=-1.0).to_csv("bad.csv", index=False)
    assert run("bad.csv", "--target", "risk", "--weight", "w") == 2
    assert "row 0 has -1; weights are finite and 0 or more" in capsys.readouterr().err


def test_options_reach_the_classifier(in_tmp):
    loans().to_csv("t.csv", index=False)
    more = ["--loss", "focal", "--class-weight", "balanced", "--l1-ratio", "1", "--jobs", "2"]
    assert run("t.csv", "--target", "risk", *QUICK, *more, "--categorical", "duration", "--drop", "note") == 0
    model = joblib.load("xentropy-model.joblib")
    assert (model[-1].loss, model[-1].class_weight, model[-1].l1_ratio) == ("focal", "balanced", 1.0)
    assert "duration" in model[0].named_transformers_["levels"].feature_names_in_
    assert "note" not in model.feature_names_in_


@pytest.mark.parametrize("labels", ["measurement", "row names", "fractions"])
def test_a_doubtful_target_asks(in_tmp, capsys, labels):
    rng = np.random.default_rng(0)
    n = np.arange(300)
    y = {"measurement": n % 60, "row names": [f"r{i}" for i in n], "fractions": n / 10}
    pd.DataFrame({"a": rng.normal(size=300), "y": y[labels]}).to_csv("t.csv", index=False)
    assert run("t.csv", "--target", "y", *QUICK) == 2
    err = capsys.readouterr().err
    assert "--yes" in err
    assert err.count("\n") == 1
    if labels == "measurement":
        assert run("t.csv", "--target", "y", *QUICK, "--yes") == 0


def test_labels_that_are_missing(in_tmp, capsys):
    frame = loans()
    frame.loc[:9, "risk"] = ["nan", "NaN", "", "nan", None, "NA", "None", "NA", "None", "NA"]
    frame.to_csv("t.csv", index=False)
    assert run("t.csv", "--target", "risk", *QUICK) == 0
    assert "5 rows without a label in 'risk' are left out." in capsys.readouterr().out
    assert set(joblib.load("xentropy-model.joblib").classes_) == {"bad", "good", "NA", "None"}


def test_a_model_without_skill_is_said_to_have_none(in_tmp, capsys):
    rng = np.random.default_rng(3)
    pd.DataFrame({"a": rng.normal(size=400), "y": rng.choice(["x", "z"], 400)}).to_csv("t.csv", index=False)
    assert run("t.csv", "--target", "y", *QUICK) == 0
    assert "better than the class frequencies" in " ".join(capsys.readouterr().out.split())


def test_the_edge_note_leads_to_a_wider_grid(iris_csv, in_tmp, capsys):
    tried = [1e-4, 1e-3]
    for _ in range(6):
        run(iris_csv, "--target", "species", *QUICK, "--C", ",".join(map(str, tried)))
        further = re.search(r"To search further: --C=(\S+)", capsys.readouterr().out)
        if further is None:
            break
        wider = [float(C) for C in further[1].split(",")]
        assert set(np.round(np.log10(tried), 6)) < set(np.round(np.log10(wider), 6))
        tried = wider
    else:
        pytest.fail("the note never ends")


def test_the_comparison_is_bounded(iris_csv, in_tmp, capsys, monkeypatch):
    def endless(self, X, y, sample_weight=None):
        while True:
            time.sleep(0.01)

    monkeypatch.setattr(LogisticRegression, "fit", endless)
    monkeypatch.setattr("xentropy._cli.fit._LEAST_SECONDS", 0.1)
    start = time.monotonic()
    assert run(iris_csv, "--target", "species", "--C", "1", "--folds", "2") == 0
    assert time.monotonic() - start < 30
    assert "LogisticRegression did not finish the same search" in " ".join(capsys.readouterr().out.split())
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    with pytest.raises(search.TimeIsUp), search.time_limit(0.05):
        time.sleep(5)


# The same table in other forms ----------------------------------------------------------------------------------------


def german(frame):
    """The table as a German spreadsheet writes it."""
    amount = [f"{x:,.2f}".translate(str.maketrans(",.", ".,")) for x in frame["amount"]]
    date = pd.to_datetime(frame["date"]).dt.strftime("%d.%m.%Y")
    return frame.assign(amount=amount, date=date).to_csv(sep=";", decimal=",", index=False)


@pytest.mark.parametrize(
    "form", ["utf-8", "gzip", "utf-16", "bare utf-16", "latin-1", "german", "parquet", "tabs", "pipe"]
)
def test_every_form_of_a_table_gives_the_same_model(in_tmp, capsys, monkeypatch, request, form):
    frame = loans(n=200).assign(purpose=lambda f: f["purpose"].replace("furniture", "Möbel"))
    text = frame.to_csv(index=False)
    (in_tmp / "plain.csv").write_text(text, encoding="utf-8")
    path = in_tmp / "other.csv"
    match form:
        case "utf-8":
            path.write_text("\ufeff" + text.replace("\n", "\r\n"), encoding="utf-8", newline="")
        case "gzip":
            path.write_bytes(gzip.compress(text.encode()))
        case "utf-16" | "latin-1":
            path.write_text(text, encoding=form)
        case "bare utf-16":
            path.write_bytes(text.encode("utf-16-le"))
        case "german":
            path.write_text(german(frame), encoding="latin-1")
        case "tabs":
            path.write_text(frame.to_csv(index=False, sep="\t"), encoding="utf-8")
        case "parquet":
            pytest.importorskip("pyarrow")
            frame.to_parquet(path)
        case "pipe":
            reader, writer = os.pipe()
            with os.fdopen(writer, "wb") as file:
                file.write(text.encode())
            stdin = os.fdopen(reader)
            monkeypatch.setattr(sys, "stdin", stdin)
            request.addfinalizer(stdin.close)
            path = "-"
    probabilities = []
    for source, model in [("plain.csv", "a.joblib"), (path, "b.joblib")]:
        assert run(source, "--target", "risk", *QUICK, "--output", model) == 0
        probabilities.append(joblib.load(model).named_steps["classifier"].coef_)
    np.testing.assert_allclose(*probabilities, rtol=1e-9, atol=1e-12)
    out = " ".join(capsys.readouterr().out.split())
    assert ("is read as UTF-16 text" in out) == (form in ("utf-16", "bare utf-16"))
    assert ("it is read as Latin-1" in out) == (form in ("latin-1", "german"))
    assert ("Numbers have a decimal comma." in out) == (form == "german")


def test_40_000_columns(in_tmp):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 9, (24, 40_000))
    lines = [",".join(f"c{j}" for j in range(X.shape[1])) + ",y"]
    lines += [",".join(map(str, row)) + f",{'xz'[i % 2]}" for i, row in enumerate(X)]
    (in_tmp / "wide.csv").write_text("\n".join(lines))
    start = time.process_time()
    assert run("wide.csv", "--target", "y", *QUICK, "--C", "0.001") == 0
    assert time.process_time() - start < 60


# Without pandas -------------------------------------------------------------------------------------------------------


def without_pandas(folder, *arguments):
    (folder / "hidden" / "pandas").mkdir(parents=True, exist_ok=True)
    (folder / "hidden" / "pandas" / "__init__.py").write_text("raise ImportError('hidden')")
    environment = {**os.environ, "PYTHONPATH": str(folder / "hidden")}
    return subprocess.run(
        [sys.executable, "-P", "-m", "xentropy", *map(str, arguments)],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_tables_of_numbers_need_no_pandas(iris_csv, tmp_path):
    done = without_pandas(tmp_path, iris_csv, "--target", "species", *QUICK)
    assert (done.returncode, done.stderr) == (0, "")
    model = joblib.load(tmp_path / "xentropy-model.joblib")
    X, y = load_iris(return_X_y=True)
    assert np.mean(model.predict(X) == np.array(SPECIES)[y]) > 0.9


def test_other_tables_are_refused_with_the_way_out(tmp_path):
    (tmp_path / "t.csv").write_text("a,b,c,y\n1,2,,x\n3,blue,4,z\n5,6,1e309,z\n")
    done = without_pandas(tmp_path, "t.csv", "--target", "y")
    assert done.returncode == 2
    for part in ("line 3: column 'b' holds 'blue'", "line 2: column 'c' has no value", "pip install 'xentropy[cli]'"):
        assert part in done.stderr
    done = without_pandas(tmp_path, "t.csv", "--target", "y", "--text", "b")
    assert "--text needs pandas" in done.stderr


# predict and report ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def loan_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    loans().to_csv(folder / "loans.csv", index=False)
    path = folder / "loans.joblib"
    assert run(folder / "loans.csv", "--target", "risk", *QUICK, "--output", path) == 0
    return path


def test_predict(loan_model, in_tmp, capsys):
    new = loans(n=50, seed=1).drop(columns="risk")
    new[new.columns[::-1]].to_csv("new.csv", index=False)
    assert run("predict", loan_model, "new.csv", "-o", "out.csv") == 0
    assert capsys.readouterr().out == "Wrote 50 rows to out.csv\n"
    assert run("predict", loan_model, "new.csv") == 0
    assert capsys.readouterr().out == (in_tmp / "out.csv").read_text()
    out = pd.read_csv("out.csv")
    model = joblib.load(loan_model)
    assert list(out.columns) == ["predicted", "p_bad", "p_good"]
    assert out["predicted"].tolist() == model.predict(new).tolist()
    np.testing.assert_allclose(out[["p_bad", "p_good"]], model.predict_proba(new), rtol=1e-9)


def test_predict_tells_what_is_new(loan_model, in_tmp, capsys):
    new = loans(n=50, seed=1).astype({"duration": object})
    new.loc[:2, "duration"] = "many"
    new.loc[3:, "purpose"] = "boat"
    new.to_csv("new.csv", index=False)
    assert run("predict", loan_model, "new.csv") == 0
    err = capsys.readouterr().err
    assert "duration has 3 values (such as 'many') that count as missing" in err
    assert "purpose has 1 value that the model has not seen: boat." in err
    new.assign(duration="many").to_csv("new.csv", index=False)
    assert run("predict", loan_model, "new.csv") == 2
    assert "column 'duration' holds no numbers" in capsys.readouterr().err
    new.drop(columns=["age", "amount"]).to_csv("new.csv", index=False)
    assert run("predict", loan_model, "new.csv") == 2
    assert "new.csv lacks 2 columns of the model: 'amount', 'age'" in capsys.readouterr().err


def test_report(loan_model, in_tmp, capsys):
    new = loans(n=300, seed=1)
    new.to_csv("new.csv", index=False)
    assert run("report", loan_model, "new.csv", "--target", "risk", "--report", "new.html") == 0
    out = capsys.readouterr().out
    expected = log_loss(new["risk"], joblib.load(loan_model).predict_proba(new))
    assert table_of(out, "2 classes")["the model"][0] == pytest.approx(expected, abs=6e-5)
    assert max(map(len, out.splitlines())) <= 80
    assert "note: arrears" in (in_tmp / "new.html").read_text(encoding="utf-8")
    new.replace("bad", "ugly").to_csv("new.csv", index=False)
    assert run("report", loan_model, "new.csv", "--target", "risk") == 2
    assert "labels that the model does not know: ugly; it knows bad, good" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"a,y\n1,2\n", "is not a model that xentropy saved"), (None, "cannot read the model"), ({}, "holds a dict")],
)
def test_files_that_are_no_models(in_tmp, capsys, content, message):
    if isinstance(content, bytes):
        (in_tmp / "model.joblib").write_bytes(content)
    elif content is not None:
        joblib.dump(content, "model.joblib")
    (in_tmp / "t.csv").write_text("a\n1\n")
    assert run("predict", "model.joblib", "t.csv") == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


# The page -------------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """The text of a page, and what it would load. It raises if tags do not match."""

    def __init__(self, html):
        super().__init__()
        self.open, self.loads, self.text, self.scripts = [], [], [], 0
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.loads += [value for name, value in attrs if name in ("src", "href")]
        self.scripts += tag == "script"
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_needs_nothing_else_and_escapes_what_the_table_holds(in_tmp):
    frame = loans().rename(columns={"purpose": "<script>alert(1)</script>"})
    frame["risk"] = frame["risk"].replace("bad", "<b>bad\x1b[31m")
    frame.to_csv("t.csv", index=False)
    assert run("t.csv", "--target", "risk", *QUICK, "--report", "t.html") == 0
    page = Page((in_tmp / "t.html").read_text(encoding="utf-8"))
    assert page.scripts == 0
    assert len(page.loads) == 3
    assert all(load.startswith("data:image/svg+xml;base64,") for load in page.loads)
    text = " ".join(page.text)
    assert "<script>alert(1)</script> = business" in text
    assert r"<b>bad\x1b[31m" in text
    assert "\x1b" not in text


# Misuse ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"a,y\n", "no rows below it"),
        (b"a,Species\n1,x\n", "no column 'y' for --target; its columns are 'a', 'Species'"),
        (b"a,Y\n1,x\n", "did you mean 'Y'"),
        (b"y\nx\nz\nx\nz\nx\n", "no column besides 'y'"),
        (b"a,y\n1,x\n1,z\n1,x\n1,z\n", "no column besides 'y' to learn from: 'a' holds 1 in every row"),
        (b"a,y\n1e309,x\n1e308,z\n-inf,x\n1e200,z\n", "'a' holds no number that can be used"),
        (b"a,b,y\n1,2,x\n3,4\n", "line 3: 2 fields, but the first line names 3 columns"),
        (b"a,b,y\n1,2,x\n3,4,z,5\n", "line 3: 4 fields"),
        (b'a,b,y\n1,2,x\n3,"4\n5,6,z\n', "line 3: 2 fields.*a quote opens there"),
        (b"a,y\n1,\n2,nan\n", "holds no labels in any of the 2 rows"),
        (b"a,y\n1,1.5\n2,2\n", "'y' holds 1.5: it is a measurement rather than a class"),
        (b"a,y\n1,x\n2,x\n", "holds one class only, x, in all 2 rows"),
        (b"a,y\n1,x\n2,z\n", "it names rows rather than classes"),
        (b"a,y\n1,x\n3,x\n2,z\n", "it names rows rather than classes"),
        (b"a,y\n\x00,x\n", "holds bytes of zero"),
        (bytes(range(256)) * 20, "is not UTF-8 text"),
        (b"PK\x03\x04 and so on", "is a spreadsheet or a zip archive"),
        (b"\x1f\x8b and so on", "cannot be uncompressed"),
        (b"PAR1 and so on", "a Parquet file"),
        (b"a,y\n1," + b"q" * 120_000 + b"\n2,z\n3,z\n4,z\n5,q\n6,q\n", "holds 120,000 characters in row 0"),
    ],
)
def test_unusable_tables(in_tmp, capsys, text, message):
    (in_tmp / "table.csv").write_bytes(text)
    assert run("table.csv", "--target", "y") == 2
    out, err = capsys.readouterr()
    assert re.search(message, err), err
    assert out == ""
    assert err.count("\n") == 1
    assert os.listdir() == ["table.csv"]


def test_all_problems_come_in_one_message(in_tmp, capsys):
    (in_tmp / "t.csv").write_text("a,b,y\n1,2,x\n3,4\n5,6,z,7\n")
    assert run("t.csv", "--target", "Z", "--drop", "c", "--text", "q") == 2
    err = capsys.readouterr().err
    for part in ("'Z' for --target", "'c' for --drop", "'q' for --text", "line 3: 2 fields", "line 4: 4 fields"):
        assert part in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.csv", "--target", "y"], "cannot read nowhere.csv: No such file"),
        (["folder", "--target", "y"], "folder is a folder"),
        (["/dev/null", "--target", "y"], "is empty"),
        (["IRIS"], "DATA and --target go together"),
        (["--target", "species"], "DATA and --target go together"),
        (["--drop", "a"], "--drop needs DATA"),
        (["IRIS", "--target", "spezies"], "did you mean 'species'"),
        (["IRIS", "--target", "species", "--drop", "petals"], "no column 'petals' for --drop"),
        (["IRIS", "--target", "species", "--drop", "species"], "both"),
        (["IRIS", "--target", "species", "--text", "petal width", "--numeric", "petal width"], "both"),
        (["IRIS", "--target", "petal width", "--drop", "species"], "a measurement rather than a class"),
        (["IRIS", "--target", "species", "--output", "IRIS"], "would overwrite"),
        (["IRIS", "--target", "species", "--report", "IRIS"], "would overwrite"),
        (["IRIS", "--target", "species", "--loss", "symmetric", "--smoothing", "0.1"], "the model cannot be fitted: "),
        (["--output", "folder"], "is a folder"),
        (["--output", "none/model.joblib"], "there is no folder .*none"),
        (["--output", "x" * 300], "File name too long"),
        (["--folds", "1"], "--folds: 1 is less than 2"),
        (["--folds", "many"], "--folds: invalid whole number value: 'many'"),
        (["--C", "0,1"], "--C: 0,1: each number must be greater than 0"),
        (["--C", "1;2"], "--C: invalid list of numbers value"),
        (["--C", "nan"], "greater than 0"),
        (["--smoothing", "1"], r"in \[0, 1\)"),
        (["--l1-ratio", "2"], r"in \[0, 1\]"),
        (["--test-size", "1"], "not between 0 and 1"),
        (["--seed", "-1"], "--seed"),
        (["--unknown"], "unrecognized arguments: --unknown"),
    ],
)
def test_unusable_options(iris_csv, in_tmp, capsys, arguments, message):
    (in_tmp / "folder").mkdir()
    before = iris_csv.read_bytes()
    assert run(*(iris_csv if argument == "IRIS" else argument for argument in arguments)) == 2
    err = capsys.readouterr().err
    assert re.search(message, err), err
    assert os.listdir() == ["folder"]
    assert iris_csv.read_bytes() == before


# Files ----------------------------------------------------------------------------------------------------------------


def test_unwritable_output_is_exit_1_and_keeps_the_last_model(iris_csv, in_tmp, capsys, monkeypatch):
    (in_tmp / "model.joblib").write_text("the last one")

    def full(model, file):
        file.write(b"half a mo")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(joblib, "dump", full)
    assert run(iris_csv, "--target", "species", *QUICK, "--output", "model.joblib") == 1
    assert capsys.readouterr().err == "xentropy: error: No space left on device: model.joblib\n"
    assert (in_tmp / "model.joblib").read_text() == "the last one"
    assert os.listdir() == ["model.joblib"]


def test_a_link_stays_a_link_and_the_mode_of_its_target_is_kept(iris_csv, in_tmp):
    (in_tmp / "target.joblib").write_text("old")
    (in_tmp / "target.joblib").chmod(0o640)
    (in_tmp / "link.joblib").symlink_to("target.joblib")
    (in_tmp / "link.joblib.part").write_text("mine")
    (in_tmp / "target.joblib.part").write_text("mine too")
    assert run(iris_csv, "--target", "species", *QUICK, "--output", "link.joblib") == 0
    assert (in_tmp / "link.joblib").is_symlink()
    assert stat.S_IMODE((in_tmp / "target.joblib").stat().st_mode) == 0o640
    assert joblib.load("target.joblib").classes_.shape == (3,)
    assert (in_tmp / "link.joblib.part").read_text() == "mine"
    assert (in_tmp / "target.joblib.part").read_text() == "mine too"
    assert len(os.listdir()) == 4


@pytest.mark.skipif(os.name != "posix", reason="needs a FIFO")
def test_what_is_no_regular_file_is_not_replaced(iris_csv, in_tmp, capsys):
    os.mkfifo("fifo")
    (in_tmp / "device").symlink_to("/dev/null")
    for name in ("fifo", "device", "/dev/null"):
        assert run(iris_csv, "--target", "species", *QUICK, "--output", name) == 2
        assert "is not a regular file" in capsys.readouterr().err
    assert stat.S_ISFIFO(os.stat("fifo").st_mode)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_permission(in_tmp, capsys):
    in_tmp.chmod(0o500)
    assert run() == 1
    out, err = capsys.readouterr()
    assert out == ""  # the error precedes any work
    assert err == "xentropy: error: Permission denied: xentropy-model.joblib\n"


# The terminal ---------------------------------------------------------------------------------------------------------


def test_help_and_version(capsys):
    assert run("--help") == 0
    out = capsys.readouterr().out
    for word in ("--target", "--folds", "--test-size", "--seed", "--output", "--version", "examples:", "exit status"):
        assert word in out
    assert max(map(len, out.splitlines())) <= 80
    for command in ("predict", "report"):
        assert run(command, "--help") == 0
        assert "which can run any program" in capsys.readouterr().out
    assert run("--version") == 0
    assert capsys.readouterr().out == f"xentropy {xentropy.__version__}\n"


def test_labels_cannot_control_the_terminal(in_tmp, capsys):
    frame = loans().replace({"risk": {"bad": "\x1b[31mbad", "good": "go\x07od"}, "purpose": {"car": "\x1b]0;x"}})
    frame.rename(columns={"age": "a\x9bge"}).to_csv("t.csv", index=False)
    assert run("t.csv", "--target", "risk", *QUICK) == 0
    assert run("t.csv", "--target", "\x1b[2J") == 2
    out, err = capsys.readouterr()
    assert not set(out + err) & set("\x1b\x07\x9b")


def command(*arguments, **options):
    # -P, because the current folder may be the repository, whose xentropy/ has no compiled modules
    return subprocess.Popen([sys.executable, "-P", "-m", "xentropy", *map(str, arguments)], **options)


def test_closed_pipe_is_quiet(iris_csv, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    process = command(iris_csv, "--target", "species", cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert process.communicate()[1] == b""
    assert process.returncode == 141


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_closed_and_full_outputs_are_one_line(iris_csv, tmp_path):
    arguments = [iris_csv, "--target", "species", *QUICK]
    with open("/dev/full", "w") as full:
        process = command(*arguments, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True)
        assert process.communicate()[1] == "xentropy: error: No space left on device: standard output\n"
    assert process.returncode == 1
    shell = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-P", "-m", "xentropy", *map(str, arguments)]
    done = subprocess.run(shell, cwd=tmp_path, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "xentropy: error: standard output is closed\n")


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a terminal")
def test_terminal_sees_progress_and_ctrl_c_is_quiet(tmp_path):
    terminal, side = os.openpty()
    process = command("--folds", "200", cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=side)
    os.close(side)
    seen = b""
    deadline = time.monotonic() + 60
    while b"fit 3 of 2000" not in seen and time.monotonic() < deadline:
        if select.select([terminal], [], [], 1)[0]:
            seen += os.read(terminal, 4096)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    while select.select([terminal], [], [], 0.2)[0]:
        try:
            rest = os.read(terminal, 4096)
        except OSError:  # Linux signals the end of a terminal this way
            break
        if not rest:
            break
        seen += rest
    os.close(terminal)
    assert b"\rCross-validation, fit 3 of 2000" in seen
    assert b"Traceback" not in seen
    assert os.listdir(tmp_path) == []
