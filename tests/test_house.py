"""Check imports, access to private attributes, installed files, type stubs, and the map of CONTRIBUTING.md."""

import ast
import importlib.metadata
import importlib.util
import inspect
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import xentropy

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "xentropy"
SOURCES = sorted(PACKAGE.rglob("*.py"))
COMPILED = sorted(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in PACKAGE.rglob("*.pyx"))

# Each module is on a floor, and imports only from floors below it.
FLOORS = [
    {"_arrays", "_blas", "_covariance", "_kernels", "_lock_step", "_messages", "_spool"},
    {"_callbacks", "_config", "_diagnostics.calibration", "_losses", "_metric_arguments", "_preconditioner",
     "_row_blocks", "_targets"},
    {"_indicator", "_row_loss"},
    {"_design", "_lbfgs"},
    {"_summed_design"},
    {"_block_source"},
    {"_dask_tasks"},
    {"_dask_rows"},
    {"_dask"},
    {"_rows"},
    {"_gradient_subspace", "_hessian", "_label_passes", "_objective"},
    {"_monitor", "_preconditioning"},
    {"_proximal_newton"},
    {"_active_set"},
    {"_solver"},
    {"_binary_log_loss", "_path", "_prediction", "_separation"},
    {"_inference"},
    {"_coefficients", "_leave_one_out"},
    {"_classifier", "_functional", "_label_fits", "_metrics"},
    {"_classifier_cv", "_diagnostics.scored", "_diagnostics.tables", "_multilabel"},
    {"_onnx", "_diagnostics.drawing", "_diagnostics.findings", "_diagnostics.labels"},
    {"_diagnostics.label_report"},
    {f"_diagnostics.{name}" for name in ("coefficients", "loss_by_class", "loss_curve", "reliability", "report")},
    {"__init__"},
    {"_cli.errors", "_cli.text"},
    {f"_cli.{name}" for name in ("arguments", "csv_text", "files", "labels", "scores", "search", "splitting")},
    {"_cli.numbers_only", "_cli.page"},
    {"_cli.cells"},
    {"_cli.columns", "_cli.tables"},
    {"_cli.preparation"},
    {"_cli.problem"},
    {"_cli.fit", "_cli.predict"},
    {"_cli.command"},
    {"__main__"},
]

# Private attributes of other objects that a module may use, and why.
PRIVATE_ACCESS = {
    "_coefficients": {
        "model._covariance_of": "the covariance of a classifier's coefficients in the form that tables start from",
    },
    "_leave_one_out": {
        "model._as_fitted": "a classifier's coefficients with the rows that they were fitted to",
    },
    "_losses": {
        "loss._validate_params": "scikit-learn's check of the parameters of an estimator",
    },
    "_callbacks": {
        "estimator._init_callback_context": "scikit-learn's callbacks (experimental)",
        "self._estimator._fitted_attributes": "scikit-learn's callbacks are given the attributes of the search",
        "member._fitted_attributes": "... and of the classifier that it fits last",
    },
    "_classifier": {
        "copy(self)._predict": "lazy predictions are those of the classifier as it was",
        "super(SoftmaxClassifier, cls)._get_param_names": "scikit-learn's list of parameters, which is kept",
    },
    "_classifier_cv": {
        "SoftmaxClassifier._get_param_names": "scikit-learn's list of the parameters of an estimator",
        "SoftmaxClassifier._parameter_constraints": "scikit-learn's table of the valid parameters of an estimator",
        "member._objective": "the search fits SoftmaxClassifiers and shares their objective along a path",
        "scorer._score_func": "scikit-learn's scorer, whose metric may ask for all classes",
        "scorer._kwargs": "... and what it passes to the metric",
        "member._feature_names": "messages about the fits of those classifiers name features",
        "member._fitted_attributes": "the search gives scikit-learn's callbacks the attributes of those classifiers",
    },
}

def module_name(path: Path) -> str:
    """The name of a module below xentropy: "_metrics", "_diagnostics.report"."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


MODULES = {module_name(path): path for path in SOURCES if path.name != "__init__.py" or path.parent == PACKAGE}
MODULES = {name: path for name, path in MODULES.items() if not name.startswith("_kernels.")}


def floor(module: str) -> int:
    found = [i for i, modules in enumerate(FLOORS) if module in modules]
    assert found, f"module {module} is on no floor: add it to FLOORS"
    return found[0]


def our_module(name: str) -> str:
    """The module of this package that a name such as "xentropy._metrics.log_loss" is, or is in."""
    parts = name.split(".")[1:]
    if parts[:1] == ["_kernels"]:
        return "_kernels"
    for n in range(len(parts), 0, -1):
        if ".".join(parts[:n]) in MODULES:
            return ".".join(parts[:n])
    return "__init__"


def imported_modules(path: Path, package: str = "xentropy") -> set[str]:
    """The modules of this package that a file imports, at any depth of its code."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                module = importlib.util.resolve_name("." * node.level + module, package)
            names += [f"{module}.{alias.name}" for alias in node.names]
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return {our_module(name) for name in names if name.split(".")[0] == "xentropy"}


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module):
    path = MODULES[module]
    package = ".".join(path.parent.relative_to(ROOT).parts)
    for imported in imported_modules(path, package):
        assert floor(imported) < floor(module), f"{module} imports {imported}, which is not on a floor below"


def test_each_module_on_a_floor_exists():
    assert set().union(*FLOORS) == {*MODULES, "_kernels"}


def test_kernels_import_nothing_of_ours_from_above():
    for path in (PACKAGE / "_kernels").glob("*.py*"):
        assert not re.search(r"^\s*(from|import)\s+(\.\.|xentropy)", path.read_text(), flags=re.MULTILINE), path.name


@pytest.mark.parametrize("package", ["_cli", "_diagnostics"])
def test_packages_hold_no_logic_of_their_own(package):
    (docstring,) = ast.parse((PACKAGE / package / "__init__.py").read_text()).body
    assert isinstance(docstring, ast.Expr)


def test_imported_modules_finds_every_form(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        "from . import _targets, SoftmaxClassifier\nfrom ._kernels._linear import LinearPass\nimport xentropy._solver\n"
        "def f():\n    from xentropy._metrics import log_loss\n    import numpy\n"
    )
    assert imported_modules(path) == {"_targets", "__init__", "_kernels", "_solver", "_metrics"}
    path.write_text("from . import drawing\nfrom .scored import score_rows\nfrom .._targets import encode\n")
    expected = {"_diagnostics.drawing", "_diagnostics.scored", "_targets"}
    assert imported_modules(path, "xentropy._diagnostics") == expected


def private_accesses(code: str) -> set[str]:
    """Uses of the form x._name, where x is neither self nor cls nor the name of an imported module."""
    tree = ast.parse(code)
    plain = {"self", "cls"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            plain.update(alias.asname or alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level and not node.module:
            plain.update(alias.asname or alias.name for alias in node.names)
    return {
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__")
        if not (isinstance(node.value, ast.Name) and node.value.id in plain)
    }


@pytest.mark.parametrize("module", sorted(MODULES))
def test_no_object_reads_the_private_attributes_of_another(module):
    assert private_accesses(MODULES[module].read_text()) == set(PRIVATE_ACCESS.get(module, {}))


def test_private_accesses_finds_every_form():
    code = (
        "import numpy as np\nfrom . import _targets\n"
        "def f(self, other):\n"
        "    self._a, np._b, _targets._c, other.__dict__\n"
        "    other._d, self.other._e, f()._g, other[0]._h\n"
        "    other._i = 1\n"
    )
    assert private_accesses(code) == {"other._d", "self.other._e", "f()._g", "other[0]._h", "other._i"}


# what the intrinsics of a header need of the compiler
FLAGS = {"simd_avx2.h": ["-march=x86-64-v3"], "simd_avx512.h": ["-march=x86-64-v4"]}


@pytest.mark.parametrize("of_float", [0, 1])
@pytest.mark.parametrize("path", sorted((PACKAGE / "_kernels").glob("*.h")), ids=lambda path: path.name)
def test_headers_open_alone(path, of_float):
    compiler = shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        pytest.skip("needs a compiler")
    if path.name in FLAGS and platform.machine() != "x86_64":
        pytest.skip("the intrinsics are those of x86-64")
    text = path.read_text()
    assert f"#ifndef XENTROPY_{path.stem.upper()}_H\n" in text or '#ifndef REAL\n#include "vectors.h"\n#else\n' in text
    flags = ["-fsyntax-only", "-std=c11", f"-DXE_OF_FLOAT={of_float}", *FLAGS.get(path.name, [])]
    done = subprocess.run([compiler, *flags, "-x", "c", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("of_float", [0, 1])
@pytest.mark.parametrize("name", ["kernels.c", "dispatch.c", "labels.c", "tiles.c", "phi.c"])
def test_plain_c_needs_no_extensions(name, of_float):
    # what compilers without the vector extensions of GCC get, as MSVC
    compiler = shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        pytest.skip("needs a compiler")
    flags = ["-std=c11", "-pedantic-errors", "-Wall", "-Wextra", "-Werror", '-DXE_SIMD="simd_scalar.h"']
    command = [compiler, *flags, f"-DXE_OF_FLOAT={of_float}", "-fsyntax-only", str(PACKAGE / "_kernels" / name)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("folder", sorted({path.parent for path in SOURCES}), ids=lambda path: path.name)
def test_meson_installs_each_file(folder):
    build = (folder / "meson.build").read_text()
    for path in folder.iterdir():
        if path.suffix in {".py", ".pyi"} or path.name == "py.typed":
            assert f"'{path.name}'" in build, f"{folder.name}/meson.build does not install {path.name}"
        elif path.suffix == ".pyx":
            assert f"'{path.stem}'" in build, f"{folder.name}/meson.build does not compile {path.name}"
            assert path.with_suffix(".pyi").exists(), f"{path.name} has no stub"
        elif (path / "meson.build").exists():
            assert f"subdir('{path.name}')" in build, f"{folder.name}/meson.build leaves out {path.name}"


def test_the_layout_says_what_each_module_is():
    layout = (ROOT / "CONTRIBUTING.md").read_text().split("\nxentropy/  ")[1].split("\ntests/")[0]
    for path in MODULES.values():
        assert re.search(rf"(?<!\w){path.name} ", layout), f"the map does not say what {path.relative_to(ROOT)} is"


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_modules_declare_free_threading(name):
    module = importlib.import_module(name)
    assert module.__file__.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES))
    assert "freethreading_compatible=True" in (PACKAGE / "_kernels" / "meson.build").read_text()


def is_fused(function) -> bool:
    return "fused" in type(function).__name__


def test_stubs_agree_with_the_compiled_modules(tmp_path):
    pytest.importorskip("mypy")
    allowed = [r".*\.__test__", r".*\.__(reduce|setstate)_cython__"]  # Cython adds these to each module and class
    for name in COMPILED:
        module = importlib.import_module(name)
        allowed.append(re.escape(f"{name}.__pyx_capi__"))  # other compiled modules import from it
        # Cython 3.3 assigns keyword-only defaults of fused functions to the wrong parameters; the next test checks them
        allowed += [re.escape(f"{name}.{function}") for function, it in vars(module).items() if is_fused(it)]
    (tmp_path / "allowed").write_text("\n".join(allowed))
    (tmp_path / "mypy.ini").write_text("[mypy]\nfollow_imports = skip\n")
    # Another folder makes stubtest import the installed modules. The stubs come from the repository, where mypy finds
    # them for an editable install too.
    result = subprocess.run(
        [
            *(sys.executable, "-m", "mypy.stubtest", "--ignore-disjoint-bases", "--ignore-unused-allowlist"),
            *("--allowlist", "allowed", "--mypy-config-file", "mypy.ini"),
            *COMPILED,
        ],
        cwd=tmp_path,
        env=os.environ | {"MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("name", COMPILED)
def test_stubs_of_fused_functions(name):
    module = importlib.import_module(name)
    stub = ast.parse((ROOT / Path(*name.split("."))).with_suffix(".pyi").read_text())
    stubbed = {node.name: node.args for node in stub.body if isinstance(node, ast.FunctionDef)}
    for function, it in vars(module).items():
        if is_fused(it) and not function.startswith("_"):
            of_kind = {kind: [] for kind in ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD", "KEYWORD_ONLY")}
            for parameter in inspect.signature(it).parameters.values():
                of_kind[parameter.kind.name].append(parameter.name)
            args = stubbed[function]
            assert [a.arg for a in args.posonlyargs] == of_kind["POSITIONAL_ONLY"]
            assert [a.arg for a in args.args] == of_kind["POSITIONAL_OR_KEYWORD"]
            assert [a.arg for a in args.kwonlyargs] == of_kind["KEYWORD_ONLY"]


def test_version_has_one_home():
    (version,) = re.findall(r"^  version: '(.+)',$", (ROOT / "meson.build").read_text(), flags=re.MULTILINE)
    assert xentropy.__version__ == importlib.metadata.version("xentropy") == version
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_reference_lists_what_is_public():
    page = (ROOT / "docs" / "api.rst").read_text()
    listed = re.findall(r"^   (\w+)$", page, flags=re.MULTILINE)
    assert sorted([*listed, "neg_log_loss_scorer"]) == sorted(xentropy.__all__)
    assert "``neg_log_loss_scorer``" in page


def test_public_names_exist_and_are_documented():
    assert len(set(xentropy.__all__)) == len(xentropy.__all__)
    for name in xentropy.__all__:
        public = getattr(xentropy, name)
        if callable(public) and (inspect.isclass(public) or inspect.isfunction(public)):
            assert public.__doc__, name
            assert "Examples\n    --------" in public.__doc__, f"{name} has no example"


def test_readme_has_two_commands():
    commands = re.findall(r"^python3 -m venv --without-pip .*$", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    # .ci/run runs these two commands unchanged
    assert [command.rpartition(" && ")[2] for command in commands] == [".venv/bin/xentropy", ".venv/bin/pytest -q"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_importing_needs_only_the_declared_dependencies(path):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert [re.match(r"[\w.-]+", needed)[0] for needed in project["dependencies"]] == ["numpy", "scipy", "scikit-learn"]
    allowed = {"numpy", "scipy", "sklearn", "joblib", "threadpoolctl", "xentropy"} | sys.stdlib_module_names
    imported = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            imported.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            imported.add(node.module.split(".")[0])
    # these are imported only after pandas was found (test_main.py runs the command without it)
    with_pandas = path.parent.name == "_cli" and path.name in ("cells.py", "columns.py", "tables.py")
    assert imported - allowed == ({"pandas"} if with_pandas else set())


def test_tests_are_no_package():
    # __init__.py would make pytest import the source folder, which has no compiled modules
    assert not (ROOT / "tests" / "__init__.py").exists()


def test_source_folder_without_compiled_modules_says_how_to_install(tmp_path):
    for path in SOURCES:
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(path.read_bytes())
    code = (
        "import sys\n"
        # an editable install would find xentropy before any folder
        "sys.meta_path = [finder for finder in sys.meta_path if 'editable' not in type(finder).__module__]\n"
        "import xentropy"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "ImportError: xentropy was imported from" in done.stderr
    assert "pip install ." in done.stderr
