"""Keep doc/SEMANTICS.md true to the tests it names."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "doc/SEMANTICS.md").read_text()


def named_tests(text):
    """Yield (path of the module, name of the test) for every mention."""
    module = ""
    for word in re.findall(r"`([\w/]+)`", text):
        if re.match(r"test_|[A-Z]\w+$", word):
            if module and not word.isupper():
                yield module, word
        else:
            room, _, name = word.rpartition("/")
            path = ROOT / "tests" / (room or "fs") / f"test_{name}.py"
            module = path if path.exists() else module


@pytest.mark.parametrize(("module", "name"), sorted(set(named_tests(DOCUMENT))))
def test_every_test_that_the_document_names_exists(module, name):
    assert re.search(rf"^(async def|def|class) {name}\b", module.read_text(), re.MULTILINE)


def test_every_paragraph_names_a_test():
    for paragraph in DOCUMENT.split("\n\n"):
        if paragraph.startswith("#"):
            continue
        assert list(named_tests(paragraph)), paragraph
