"""Check that the speed tables of docs/speed.md and README.md come only from the stored results of asv."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SECONDS = 1_700_000_000  # 2023-11-14
PROBLEMS = ("cat_food_2e3x50_10", "csr_1e3x1e5_2")


@pytest.fixture(scope="module")
def speed_table():
    spec = importlib.util.spec_from_file_location("speed_table", ROOT / "benchmarks" / "speed_table.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["speed_table"] = module  # a dataclass looks for its annotations here
    spec.loader.exec_module(module)
    yield module
    del sys.modules["speed_table"]


@pytest.fixture
def entries(speed_table):
    return (
        speed_table.Entry("loss", "a loss", "bench_a.Loss", PROBLEMS, columns=("float32",)),
        speed_table.Entry("search", "a search", "bench_b.Search", ("cat_dog",), columns=("float64",), dtypes=False),
    )


def results(**changed):
    """Results as asv 0.6 writes them: a list over the product of the parameters, null for a skipped or failed run."""
    rows = {
        "bench_a.Loss.track_ratio_one_thread": [
            [None, 3.21, 1.0, 11.96],
            [[repr(problem) for problem in PROBLEMS], ["'float64'", "'float32'"]],
            "version",
            1000 * SECONDS,
        ],
        "bench_b.Search.track_ratio_one_thread": [[0.75], [["'cat_dog'"]], "version", 1000 * SECONDS],
        "bench_setting.Setting.track_share_of_rows": [[0.1], [["'avx9, numpy 9.8'"]], "version", 1000 * SECONDS + 1],
    }
    return {
        "commit_hash": "0123456789abcdef",
        "params": {"cpu": "Abacus 3000", "num_cpu": "2", "os": "Linux 6.1", "machine": "vm"},
        "result_columns": ["result", "params", "version", "started_at", "duration"],
        "results": rows | changed,
    }


def store(folder, stored, name="0123-existing.json"):
    (folder / "vm").mkdir(exist_ok=True)
    (folder / "vm" / "machine.json").write_text("{}")
    (folder / "vm" / name).write_text(json.dumps(stored))
    (folder / "benchmarks.json").write_text("{}")


def test_table(speed_table, entries, tmp_path):
    store(tmp_path, results())
    assert speed_table.table(speed_table.newest_run(tmp_path), entries) == (
        "| | compared with | on | float64 | float32 | float64, 2 threads |\n"
        "|---|---|---|---:|---:|---:|\n"
        "| loss | a loss | cat food 200 × 50, 10 classes |  | 3.2 |  |\n"
        "|  |  | CSR 100 × 100 000, 2 classes |  | 12.0 |  |\n"
        "| search | a search | cat dog | 0.8 |  |  |\n"
        "\n"
        "Measured on 2023-11-14 at commit 01234567. Abacus 3000, 2 cores, Linux; avx9, numpy 9.8."
    )


def test_newest_run_counts(speed_table, entries, tmp_path):
    later = results(**{"bench_b.Search.track_ratio_one_thread": [[4.0], [["'cat_dog'"]], "v", 1000 * SECONDS + 5000]})
    store(tmp_path, later, "89ab-existing.json")
    store(tmp_path, results())
    assert "| cat dog | 4.0 |" in speed_table.table(speed_table.newest_run(tmp_path), entries)


@pytest.mark.parametrize(
    "row",
    [
        [None, [["'cat_dog'"]], "version", SECONDS],  # every run failed
        [[None], [["'cat_dog'"]], "version", SECONDS],
        [[float("nan")], [["'cat_dog'"]], "version", SECONDS],  # skipped
        [[1.0], [["'dog'"]], "version", SECONDS],
    ],
)
def test_what_is_missing_is_refused(speed_table, entries, tmp_path, row):
    store(tmp_path, results(**{"bench_b.Search.track_ratio_one_thread": row}))
    with pytest.raises(SystemExit, match=r"no result of bench_b\.Search.*'cat_dog'.*speed_table --run"):
        speed_table.table(speed_table.newest_run(tmp_path), entries)


def test_no_results_at_all(speed_table, entries, tmp_path):
    with pytest.raises(SystemExit, match=r"no results in .*speed_table --run"):
        speed_table.newest_run(tmp_path)
    store(tmp_path, results(**{speed_table.SETTING: [None, [["'x'"]], "version", SECONDS]}))
    with pytest.raises(SystemExit, match=r"does not say what it was measured with.*speed_table --run"):
        speed_table.table(speed_table.newest_run(tmp_path), entries)


def test_only_the_lines_between_the_markers_change(speed_table):
    readme = f"before\n{speed_table.BEGIN}\nold\n{speed_table.END}\nafter\n"
    once = speed_table.written(readme, "| new |")
    assert once == f"before\n{speed_table.BEGIN}\n\n| new |\n\n{speed_table.END}\nafter\n"
    assert speed_table.written(once, "| new |") == once
    for damaged in (readme.replace(speed_table.BEGIN, ""), readme.replace(speed_table.END, "")):
        with pytest.raises(SystemExit, match="must hold the lines"):
            speed_table.written(damaged, "| new |")


def test_the_readme_shows_rows_of_the_page(speed_table):
    tables = []
    for path in (ROOT / "docs" / "speed.md", ROOT / "README.md"):
        page = path.read_text()
        speed_table.written(page, "")
        tables.append(page.partition(speed_table.BEGIN)[2].partition(speed_table.END)[0].strip())
    full, front = tables
    assert speed_table.front_table(full) == front
    assert front.count("\n") == 1 + 5  # the head, and five rows


def test_asv_is_asked_for_what_the_table_shows(speed_table, entries):
    patterns = [re.compile(name) for name in speed_table.names(entries)]
    asked = [
        "bench_a.Loss.track_ratio_one_thread('cat_food_2e3x50_10', 'float32')",
        "bench_b.Search.track_ratio_one_thread('cat_dog')",
        "bench_setting.Setting.track_share_of_rows('avx9')",
    ]
    spared = [
        "bench_a.Loss.track_ratio_one_thread('cat_food_2e3x50_10', 'float64')",
        "bench_a.Loss.track_ratio_two_threads('cat_food_2e3x50_10', 'float32')",
        "bench_b.Search.track_ratio_one_thread('dog')",
    ]
    for name in asked:
        assert any(pattern.search(name) for pattern in patterns), name
    for name in spared:
        assert not any(pattern.search(name) for pattern in patterns), name


def test_entries_name_benchmarks(speed_table, monkeypatch):
    # the repository is last, because its xentropy is a folder without compiled modules
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT)])
    for entry in speed_table.ENTRIES:
        file, name = entry.benchmark.split(".")
        benchmark = getattr(importlib.import_module(f"benchmarks.{file}"), name)
        parameters = dict(zip(benchmark.param_names, benchmark.params, strict=True))
        for column in entry.columns:
            assert hasattr(benchmark, speed_table.COLUMNS[column][0])
            for problem in entry.problems:
                values = entry.parameters(problem, column)
                assert len(values) == len(parameters)
                for value, (parameter, known) in zip(values, parameters.items(), strict=True):
                    assert value in known, (entry.benchmark, parameter, value)
    setting = importlib.import_module("benchmarks.bench_setting").Setting
    assert setting().track_share_of_rows(*setting.params[0]) > 0
