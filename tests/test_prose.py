"""Check that texts for people avoid words that have a plainer one, and that their links and codes lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXTS = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "docs/*.rst", "docs/examples/*.py", "benchmarks/*.md", "xentropy/**/*.py*")
    for path in ROOT.glob(pattern)
)
# A word that reads as if it were translated or old, and the plain one
PLAINER = {
    r"mend(s|ed|ing)?": "correct",
    r"dear(er|est)?": "expensive",
    r"no few": "many",
    r"tells? of": "describes",
    r"speaks? against": "contradicts",
    r"oftener": "more often",
    r"thrice": "three times",
    r"whither|hither|thither": "where",
    r"lest": "so that ... not",
    r"utili[sz]e[sd]?": "use",
    r"in order to": "to",
    r"very unique": "unique",
    r"(simply|obviously|of course)": "nothing",
}


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_plain_words(path):
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        for word, plainer in PLAINER.items():
            assert not re.search(rf"\b{word}\b", line, re.IGNORECASE), f"line {number}: {line.strip()}: say {plainer}"


@pytest.mark.parametrize("path", [path for path in TEXTS if path.suffix == ".md"], ids=lambda path: path.name)
def test_links_to_files_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target
