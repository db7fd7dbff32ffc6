"""The site: `sphinx-build -W docs docs/_build`, with the package and its extra [docs] installed."""

import os
import re
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import xentropy

project = "xentropy"
copyright = "the xentropy developers"  # Sphinx's name
version = release = xentropy.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "myst_parser",
    "mathml",
]
exclude_patterns = ["_build", "examples", "generated/backreferences"]
templates_path = ["_templates"]
default_role = "code"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "doc_module": ("xentropy",),
    "reference_url": {"xentropy": None},
    "backreferences_dir": "generated/backreferences",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_signature": False,
    "capture_repr": (),
    "write_computation_times": False,
    "min_reported_time": float("inf"),
    "remove_config_comments": True,
    "matplotlib_animations": False,
}
# the examples print numbers of one thread on any machine
os.environ.setdefault("OMP_NUM_THREADS", "1")

html_theme = "furo"
html_title = f"xentropy {version}"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0072B2", "color-brand-content": "#0072B2"},
    "dark_css_variables": {"color-brand-primary": "#56B4E9", "color-brand-content": "#56B4E9"},
}


def plain_names(app, what, name, obj, options, lines):
    """Docstrings are written for readers of code: shape (n_features_in_,) is no link, and there is no glossary here."""
    for i, line in enumerate(lines):
        if " : " in line:
            line = re.sub(r"(?<=[( ])(\w+_)(?=[,)])", r"`\1`", line)
        lines[i] = re.sub(r":term:`([^`]+)`", r"*\1*", line)


def setup(app):
    app.connect("autodoc-process-docstring", plain_names, priority=400)  # before numpydoc, which has 500
