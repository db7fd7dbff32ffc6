"""Check the command line: complete runs, their output and saved models, and an error message for each wrong input."""

import csv
import os
import re
import select
import signal
import subprocess
import sys
import time

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import xentropy
from xentropy import _read_csv
from xentropy.__main__ import main

NAMES = ["sepal length", "sepal width", "petal length", "petal width"]
SPECIES = ["setosa", "versi, color", 'vir"ginica']  # these fields need quotes


@pytest.fixture(scope="module")
def iris_csv(tmp_path_factory):
    X, y = load_iris(return_X_y=True)
    path = tmp_path_factory.mktemp("data") / "iris.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*NAMES, "species"])
        writer.writerows([*row, SPECIES[label]] for row, label in zip(X, y, strict=True))
    return path


@pytest.fixture
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as error:  # argparse exits this way
        return error.code


def as_read(X):
    """X as the command reads it, with column names if pandas is installed."""
    pd = pytest.importorskip("pandas")
    return pd.DataFrame(X, columns=NAMES)


def test_whole_run_on_a_table(iris_csv, in_tmp, capsys):
    assert run(iris_csv, "--target", "species", "--C", "0.1,1,10", "--smoothing", "0,0.05", "--folds", "4") == 0
    out, err = capsys.readouterr()
    assert err == ""  # progress is printed only on a terminal
    assert "150 rows, 4 features, 3 classes" in out
    assert "114 rows to choose and fit with, 36 held out" in out

    row = r"^ +([\d.]+) +([\d.]+) +((?:\d\.\d{4} +){4})(\d\.\d{4}) +\d\.\d{4}(  <- best)?$"
    rows = re.findall(row, out, re.MULTILINE)
    assert [(float(C), float(s)) for C, s, *_ in rows] == [(C, s) for C in (0.1, 1, 10) for s in (0, 0.05)]
    means = [float(mean) for *_, mean, _ in rows]
    for _, _, folds, mean, _ in rows:
        assert np.mean([float(loss) for loss in folds.split()]) == pytest.approx(float(mean), abs=1e-4)
    assert [bool(best) for *_, best in rows] == [mean == min(means) for mean in means]
    assert re.search(r"^LogisticRegression .* ms$", out, re.MULTILINE)

    model = joblib.load("xentropy-model.joblib")
    assert sorted(model.classes_) == sorted(SPECIES)
    X, y = load_iris(return_X_y=True)
    assert np.mean(model.predict(as_read(X)) == np.array(SPECIES)[y]) > 0.9


def test_held_out_loss_is_that_of_the_saved_model(iris_csv, in_tmp, capsys):
    # compute the rows of the held-out table again from the saved model and the seed of the splits
    assert run(iris_csv, "--target", "species", "--C", "1", "--smoothing", "0.1", "--folds", "2") == 0
    out = capsys.readouterr().out
    printed = float(re.search(r"^SoftmaxClassifier +1 +0\.1 +([\d.]+)", out, re.MULTILINE)[1])
    model = joblib.load("xentropy-model.joblib")
    X, y = load_iris(return_X_y=True)
    labels = np.array(SPECIES)[y]
    scaler = model[0]
    rng = np.random.default_rng(0)
    test = np.concatenate(
        [rng.permutation(np.flatnonzero(labels == c))[:12] for c in sorted(SPECIES)]  # round(0.25 * 50) = 12
    )
    train = np.setdiff1d(np.arange(150), test)
    np.testing.assert_allclose(scaler.mean_, X[train].mean(axis=0))
    p = model.predict_proba(as_read(X[test]))
    assert printed == pytest.approx(log_loss(labels[test], p, labels=sorted(SPECIES)), abs=6e-5)
    # check the two rows that minimise the same objective
    for name, tol in (("SoftmaxClassifier, same as below +1 +0", 1e-8), ("LogisticRegression +1", 1e-4)):
        peer = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, tol=tol)).fit(X[train], labels[train])
        expected = log_loss(labels[test], peer.predict_proba(X[test]), labels=sorted(SPECIES))
        assert float(re.search(rf"^{name} +([\d.]+)", out, re.MULTILINE)[1]) == pytest.approx(expected, abs=6e-5)


def test_digits_by_default(in_tmp, capsys):
    assert run("--C", "0.1", "--smoothing", "0", "--folds", "2", "--output", "digits.joblib") == 0
    assert "1797 rows, 64 features, 10 classes" in capsys.readouterr().out
    assert joblib.load("digits.joblib").predict(np.zeros((1, 64))).shape == (1,)
    assert os.listdir() == ["digits.joblib"]


def test_runs_repeat(iris_csv, in_tmp, capsys):
    printed = []
    for _ in range(2):
        run(iris_csv, "--target", "species", "--C", "1", "--smoothing", "0", "--folds", "2")
        printed.append(re.sub(r" *[\d.]+ (ms|s\)|times)", "", capsys.readouterr().out))
    assert printed[0] == printed[1]


def test_rare_classes(in_tmp, capsys):
    rng = np.random.default_rng(0)
    labels = ["common"] * 40 + ["usual"] * 30 + ["rare"] * 3 + ["single"]
    (in_tmp / "rare.csv").write_text(
        "a,b,y\n" + "".join(f"{rng.normal()},{rng.normal()},{label}\n" for label in labels)
    )
    assert run("rare.csv", "--target", "y", "--C", "0.1,1") == 0
    out = capsys.readouterr().out
    assert "fewer rows to fit with than there are folds (5): some lack them: rare" in out
    assert "one row to fit with: it is in every fit and in no score: single" in out
    assert set(joblib.load("xentropy-model.joblib").classes_) == set(labels)
    assert "nan" not in out


@pytest.mark.parametrize("pandas", [True, False], ids=["pandas", "numpy"])
def test_reads_the_same_with_and_without_pandas(iris_csv, monkeypatch, pandas):
    if pandas:
        pytest.importorskip("pandas")
    else:
        monkeypatch.setitem(sys.modules, "pandas", None)
    table = _read_csv.read_csv(iris_csv, "species")
    X, y = load_iris(return_X_y=True)
    assert hasattr(table.X, "columns") == pandas
    np.testing.assert_array_equal(np.asarray(table.X), X)
    np.testing.assert_array_equal(table.y, np.array(SPECIES)[y])


@pytest.mark.parametrize("pandas", [True, False], ids=["pandas", "numpy"])
@pytest.mark.parametrize(
    ("text", "X", "y"),
    [
        ("a,y\n1,x\n2,z\n", [[1], [2]], ["x", "z"]),
        ("\ufeffa;y\r\n1.5;x\r\n\r\n2;z\r\n", [[1.5], [2]], ["x", "z"]),
        ("a\ty\n1\t3\n2\t4", [[1], [2]], [3, 4]),
        (" a , y \n 1 , x \n 2 , z \n", [[1], [2]], ["x", "z"]),
        ('a,y\n"1","x, ""w"""\n2,"z\nz"\n', [[1], [2]], ['x, "w"', "z\nz"]),
        ("a,y\nTrue,x\nfalse,z\n", [[1], [0]], ["x", "z"]),
        ("a,y\n1e3,1.0\n-.5,2.0\n", [[1000], [-0.5]], [1, 2]),
        ("a,y\n1,007\n2,7\n", [[1], [2]], ["007", "7"]),
        ("a,y\n1,NA\n2,None\n", [[1], [2]], ["NA", "None"]),  # labels are text, even if pandas reads them as missing
        ("a,y\n1,123456789012345678\n2,123456789012345679\n", [[1], [2]], ["123456789012345678", "123456789012345679"]),
        ("a,y\n1,x,\n2,z,\n", [[1], [2]], ["x", "z"]),
    ],
)
def test_reads(tmp_path, monkeypatch, text, X, y, pandas):
    if pandas:
        pytest.importorskip("pandas")
    else:
        monkeypatch.setitem(sys.modules, "pandas", None)
    path = tmp_path / "table.csv"
    path.write_text(text, encoding="utf-8", newline="")
    table = _read_csv.read_csv(path, "y")
    np.testing.assert_array_equal(np.asarray(table.X), X)
    assert table.y.tolist() == y


@pytest.mark.parametrize("pandas", [True, False], ids=["pandas", "numpy"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"a,y\n", "no rows below it"),
        (b"a,Species\n1,x\n", "no column 'y' for --target; its first line names 'a', 'Species'"),
        (b"a,Y\n1,x\n", "did you mean 'Y'"),
        (b"a,a,y\n1,2,x\n", "two columns that are named 'a'"),
        (b",a,y\n1,2,x\n", "column 1 of .* has no name"),
        (b"y\nx\n", "no column besides 'y'"),
        (b"a,b,y\n1,2,x\n3,blue,z\n", "line 3: column 'b' holds 'blue', which is not a number.*--drop b"),
        (b"a,b,y\n1,2,x\n3,1_000,z\n", "line 3: column 'b' holds '1_000'"),
        (b"a,my col,y\n1,2,x\n\n3,,z\n", "line 4: column 'my col' has no value.*--drop 'my col'"),
        (b"a,b,y\n1,2,x\n3,NA,z\n", "line 3: column 'b' has no value"),
        (b"a,b,y\n1,2,x\n3,-inf,z\n", "line 3: column 'b' holds -inf"),
        (b"a,b,y\n1,2,x\n3,4\n", "line 3: 2 fields, but the first line names 3 columns"),
        (b"a,b,y\n1,2,x\n3,4,z,5\n", "line 3: 4 fields"),
        (b"a,b,y\n1,2,3,x\n3,4,5,z\n", "line 2: 4 fields"),
        (b'a,b,y\n1,2,x\n3,"4\n5,6,z\n', "line 3: 2 fields.*a quote opens there"),
        (b"a,y\n1,x\n2,\n", "line 3: 'y' is empty"),
        (b"a,y\n1,1.5\n2,2\n", "line 2: 'y' holds 1.5, a measurement rather than a class"),
        (b"a,y\n1,x\n2,x\n", "holds one class only, x, in all 2 rows"),
        (b"a,y\n1,x\n2,z\n", "no class has enough rows to hold out"),
        (b"a,y\n1,caf\xe9\n2,z\n", "is not UTF-8 text"),
        (b"a,y\n\x00,x\n", "line 2"),
        (bytes(range(256)) * 20, "is not UTF-8 text"),
    ],
)
def test_unusable_tables(in_tmp, monkeypatch, capsys, text, message, pandas):
    if pandas:
        pytest.importorskip("pandas")
    else:
        monkeypatch.setitem(sys.modules, "pandas", None)
    (in_tmp / "table.csv").write_bytes(text)
    assert run("table.csv", "--target", "y") == 2
    out, err = capsys.readouterr()
    assert re.search(message, err), err
    assert out == ""
    assert err.count("\n") == 1
    assert os.listdir() == ["table.csv"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.csv", "--target", "y"], "cannot read nowhere.csv: No such file"),
        (["folder", "--target", "y"], "folder is a folder"),
        (["/dev/null", "--target", "y"], "not a regular file"),
        (["IRIS"], "DATA and --target go together"),
        (["--target", "species"], "DATA and --target go together"),
        (["--drop", "a"], "--drop needs DATA"),
        (["IRIS", "--target", "spezies"], "did you mean 'species'"),
        (["IRIS", "--target", "species", "--drop", "petals"], "no column 'petals' for --drop"),
        (["IRIS", "--target", "species", "--drop", "species"], "both"),
        (["IRIS", "--target", "petal width", "--drop", "species"], "a measurement rather than a class"),
        (["IRIS", "--target", "species", "--output", "IRIS"], "would overwrite the data"),
        (["--output", "folder"], "is a folder"),
        (["--output", "none/model.joblib"], "there is no folder none"),
        (["--folds", "1"], "--folds: 1 is less than 2"),
        (["--folds", "many"], "--folds: invalid whole number value: 'many'"),
        (["--C", "0,1"], "--C: 0,1: each number must be greater than 0"),
        (["--C", "1;2"], "--C: invalid list of numbers value"),
        (["--C", "nan"], "greater than 0"),
        (["--smoothing", "1"], r"in \[0, 1\)"),
        (["--test-size", "1"], "not between 0 and 1"),
        (["--seed", "-1"], "--seed"),
        (["--unknown"], "unrecognized arguments: --unknown"),
    ],
)
def test_unusable_options(iris_csv, in_tmp, capsys, arguments, message):
    (in_tmp / "folder").mkdir()
    before = iris_csv.read_bytes()
    assert run(*(iris_csv if argument == "IRIS" else argument for argument in arguments)) == 2
    out, err = capsys.readouterr()
    assert re.search(message, err), err
    assert out == ""
    assert os.listdir() == ["folder"]
    assert iris_csv.read_bytes() == before


def test_unwritable_output_is_exit_1_and_keeps_the_last_model(iris_csv, in_tmp, capsys, monkeypatch):
    (in_tmp / "model.joblib").write_text("the last one")

    def full(model, path):
        path.write_text("half a mo")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(joblib, "dump", full)
    quick = ["--C", "1", "--smoothing", "0", "--folds", "2"]
    assert run(iris_csv, "--target", "species", *quick, "--output", "model.joblib") == 1
    assert capsys.readouterr().err == "xentropy: error: No space left on device: model.joblib\n"
    assert (in_tmp / "model.joblib").read_text() == "the last one"
    assert os.listdir() == ["model.joblib"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_permission(in_tmp, capsys):
    in_tmp.chmod(0o500)
    assert run() == 1
    out, err = capsys.readouterr()
    assert out == ""  # the error precedes any work
    assert err == "xentropy: error: Permission denied: xentropy-model.joblib\n"


def test_help_and_version(capsys):
    assert run("--help") == 0
    out = capsys.readouterr().out
    for word in ("--target", "--folds", "--test-size", "--seed", "--output", "--version", "examples:", "exit status"):
        assert word in out
    assert run("--version") == 0
    assert capsys.readouterr().out == f"xentropy {xentropy.__version__}\n"


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


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a terminal")
def test_terminal_sees_progress_and_ctrl_c_is_quiet(tmp_path):
    terminal, side = os.openpty()
    process = command("--folds", "200", cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=side)
    os.close(side)
    seen = b""
    deadline = time.monotonic() + 60
    while b"fit 3 of 1600" not in seen and time.monotonic() < deadline:
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
    assert b"\rSoftmaxClassifier: cross-validation, fit 3 of 1600" in seen
    assert b"Traceback" not in seen
    assert os.listdir(tmp_path) == []
