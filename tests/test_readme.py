"""The README's example runs as printed and says what it claims."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_example_of_the_readme_prints_a_certified_point_and_a_limit(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(example, str(README), "exec"), {})
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("R(0.2) = 0.70381705")
    assert float(first.rsplit(" ", 1)[1]) <= 1e-9
    assert second.startswith("MRR among 2^40 items <= 0.97")


def test_the_readme_shows_files_that_exist():
    for target in re.findall(r"\]\(([^)]+)\)", README.read_text(encoding="utf-8")):
        assert (README.parent / target).is_file(), target
