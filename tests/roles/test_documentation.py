"""doc/ROLES.md names tests; they have to be there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_test_that_the_documentation_names_is_there():
    text = (ROOT / "doc" / "ROLES.md").read_text()
    named = set(re.findall(r"`(test_\w+)`", text)) | set(re.findall(r"`mount/(test_\w+)`", text))
    modules = list((ROOT / "tests").glob("*/test_*.py"))
    functions = {name for module in modules for name in re.findall(r"def (test_\w+)", module.read_text())}
    assert len(named) > 20
    assert named <= functions | {module.stem for module in modules}
