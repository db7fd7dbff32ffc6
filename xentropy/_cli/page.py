"""The report as one HTML file that needs nothing else: tables, pictures and the coefficients that matter most."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from html import escape
from typing import Any

import numpy as np
import sklearn

import xentropy as xe

from .errors import InputError
from .scores import Scored, report_dict, report_names
from .text import printable, short

_MOST_COEFFICIENTS = 25
_MOST_COLUMNS = 200

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #5a6570; --line: #d8dee4; --back: #fff; --box: #f6f8fa;
  --plus: #0072b2; --minus: #d55e00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9aa6b2; --line: #30363d; --back: #0d1117;
  --box: #161b22; --plus: #56b4e9; --minus: #e69f00; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 62rem; color: var(--ink); background: var(--back);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
p, li { max-width: 46rem; } .soft, footer { color: var(--soft); font-size: .9rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .95rem; }
th, td { padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top;
  overflow-wrap: break-word; border-bottom: 1px solid var(--line); }
th { font-weight: 600; } td.n, th.n { text-align: right; white-space: nowrap; overflow-wrap: normal; }
.verdict { border-left: 4px solid var(--minus); padding: .4rem .9rem; background: var(--box); }
.pictures { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
.pictures figure { margin: 0; background: #fff; border: 1px solid var(--line); border-radius: 6px; padding: .5rem; }
.pictures img { display: block; width: 100%; height: auto; } figcaption { color: #444; font-size: .85rem; }
pre { background: var(--box); border: 1px solid var(--line); border-radius: 6px; padding: .8rem; overflow-x: auto;
  font-size: .8rem; line-height: 1.35; overflow-wrap: normal; }
.bar { display: inline-block; height: .7em; border-radius: 2px; background: var(--plus); }
.bar.minus { background: var(--minus); } td.bars { min-width: 9rem; } details > summary { cursor: pointer; }
"""


@dataclass(frozen=True)
class Page:
    """What a page shows. `features` names the columns of `coef_`, or is None if they are not known."""

    title: str
    about: list[tuple[str, str]]
    scores: list[tuple[str, float, float]]
    verdict: str
    scored: Scored
    text: str
    classifier: Any
    features: list[str] | None
    columns: list[Any]
    notes: list[str]

    def html(self) -> str:
        title = escape(printable(self.title))
        body = [
            f"<h1>{title}</h1>",
            _table(["", ""], self.about, numeric=()),
            "<h2>Score</h2>",
            f"<p class=soft>On {len(self.scored.codes):,} rows that no fit has seen.</p>",
            _table(
                ["", "log loss", "accuracy"],
                [(name, f"{loss:.4f}", f"{accuracy:.4f}") for name, loss, accuracy in self.scores],
                numeric=(1, 2),
            ),
            f"<p class=verdict>{escape(self.verdict)}</p>" if self.verdict else "",
            "<h2>Findings</h2>",
            _findings(self.scored),
            "<h2>Pictures</h2>",
            f"<div class=pictures>{''.join(_pictures(self.scored, self.classifier))}</div>",
            "<h2>Report</h2>",
            f"<pre>{escape(self.text)}</pre>",
            self._coefficients(),
            self._columns(),
            self._notes(),
            f"<footer><p>Written on {date.today().isoformat()} by xentropy {escape(xe.__version__)} with scikit-learn "
            f"{escape(sklearn.__version__)}.</p></footer>",
        ]
        content = "\n".join(part for part in body if part)
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{content}\n</body>\n</html>\n"
        ).encode("utf-8", "replace").decode("utf-8")

    def _coefficients(self) -> str:
        coef = getattr(self.classifier, "coef_", None)
        if self.features is None or coef is None or coef.shape[1] != len(self.features):
            return ""
        coef = np.asarray(coef.todense() if hasattr(coef, "todense") else coef)
        names = report_names(self.scored.classes)
        size = np.abs(coef).max(axis=0)
        most = np.argsort(-size, kind="stable")[:_MOST_COEFFICIENTS]
        most = most[size[most] > 0]
        if not len(most):
            return "<h2>Coefficients</h2>\n<p>All coefficients are 0.</p>"
        scale = size[most[0]]
        rows = []
        for j in most:
            k = int(np.abs(coef[:, j]).argmax())
            value = float(coef[k, j])
            towards = names[1] if len(coef) == 1 else names[k]
            bar = f'<span class="bar{" minus" * (value < 0)}" style="width:{100 * abs(value) / scale:.0f}%"></span>'
            feature = escape(short(self.features[j], 60))
            rows.append((_Raw(feature), short(towards, 40), f"{value:+.3f}", _Raw(bar)))
        return (
            "<h2>Coefficients that matter most</h2>\n"
            "<p class=soft>Numbers are standardised, so a coefficient is the change of the logit of the class for one "
            "standard deviation; for a level or a word it is the change where the row has it. Each feature is shown "
            f"with the class that it changes most: {len(most)} of {len(self.features):,} features.</p>\n"
            + _table(["feature", "class", "coefficient", ""], rows, numeric=(2,), bars=3)
        )

    def _columns(self) -> str:
        if not self.columns:
            return ""
        rows = [
            (
                short(c.name, 60),
                str(c.kind),
                f"{c.n_distinct:,}",
                f"{c.n_missing:,}",
                ("" if c.kind.is_feature else "left out: ") + c.note,
            )
            for c in self.columns[:_MOST_COLUMNS]
        ]
        table = _table(["column", "kind", "distinct", "missing", ""], rows, numeric=(2, 3))
        more = len(self.columns) - len(rows)
        return f"<h2>Columns</h2>\n{table}" + (f"<p class=soft>and {more:,} more.</p>" if more else "")

    def _notes(self) -> str:
        items = "".join(f"<li>{escape(printable(note))}</li>" for note in self.notes)
        return f"<h2>Notes</h2>\n<ul>{items}</ul>" if items else ""


def need_matplotlib() -> None:
    """Raise before any work if the page of a report cannot be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise InputError("--report draws with matplotlib: pip install 'xentropy[cli]'") from None


class _Raw(str):
    """Text that is HTML already."""


def _table(
    head: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[int], *, bars: int = -1
) -> str:
    """A table with a first row of names if any is not empty. Columns in `numeric` are aligned to the right."""

    def cell(tag: str, j: int, text: str) -> str:
        kind = " class=n" if j in numeric else " class=bars" if j == bars else ""
        return f"<{tag}{kind}>{text if isinstance(text, _Raw) else escape(printable(text))}</{tag}>"

    first = f"<tr>{''.join(cell('th', j, text) for j, text in enumerate(head))}</tr>" if any(head) else ""
    body = "".join(f"<tr>{''.join(cell('td', j, text) for j, text in enumerate(row))}</tr>\n" for row in rows)
    return f"<div class=scroll><table>{first}\n{body}</table></div>"


def _findings(scored: Scored) -> str:
    findings = report_dict(scored)["findings"]
    if not findings:
        return "<p>None. The rows are consistent with these probabilities.</p>"
    items = [
        f"<li><strong>{escape(f['name'].capitalize())}.</strong> {escape(f['message'])} {escape(f['advice'])}</li>"
        for f in findings
    ]
    return f"<ol>{''.join(items)}</ol>"


def _pictures(scored: Scored, classifier: Any) -> list[str]:
    names = report_names(scored.classes)
    given = {
        "labels": np.arange(len(names)),
        "sample_weight": scored.weight,
    }
    drawings: list[tuple[str, Callable[[Any], Any]]] = [
        (
            "Reliability: how often the top label is right, by its probability.",
            lambda ax: xe.ReliabilityDisplay.from_predictions(
                scored.codes, scored.proba, ax=ax, name="held-out rows", **given
            ),
        ),
        (
            "Loss by class: the share of each class in the loss, beside its share of the rows.",
            lambda ax: xe.LossByClassDisplay.from_predictions(
                scored.codes, scored.proba, ax=ax, target_names=[short(n, 24) for n in names], **given
            ),
        ),
    ]
    if getattr(classifier, "history_", None):
        drawings.append(
            (
                "Loss curve: the mean loss of the training rows, without the penalty, by iteration.",
                lambda ax: xe.LossCurveDisplay.from_estimator(classifier, ax=ax),
            )
        )
    return [
        f'<figure><img alt="{escape(caption)}" src="data:image/svg+xml;base64,{_draw(draw)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for caption, draw in drawings
    ]


def _draw(draw: Callable[[Any], Any]) -> str:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 4.2), layout="constrained")
    FigureCanvasSVG(figure)
    draw(figure.subplots())
    file = io.BytesIO()
    figure.savefig(file, format="svg")
    return base64.b64encode(file.getvalue()).decode("ascii")
