"""The workflows of CI: they can be read, and every command in them exists here and does what it says."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import rdsim

ROOT = Path(__file__).parents[2]
WORKFLOWS = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
    for path in (ROOT / ".github" / "workflows").glob("*.yml")
}


def commands():
    return [
        step["run"]
        for workflow in WORKFLOWS.values()
        for job in workflow["jobs"].values()
        for step in job["steps"]
        if "run" in step
    ]


def test_every_make_target_and_script_of_a_workflow_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    run = "\n".join(commands())
    assert {"figures", "docs", "lint", "test", "newest"} == set(re.findall(r"make (\w+)", run))
    assert set(re.findall(r"make (\w+)", run)) <= targets
    scripts = re.findall(r"python (\S+\.py)", run)
    assert scripts
    assert all((ROOT / script).is_file() for script in scripts)


def test_the_workflows_run_on_every_python_that_the_package_names():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {c.rpartition(" ")[2] for c in project["classifiers"] if re.search(r":: 3\.\d+$", c)}
    for job in ("pinned", "newest"):
        assert named == set(WORKFLOWS["tests"]["jobs"][job]["strategy"]["matrix"]["python"])


@pytest.mark.parametrize(
    ("tag", "accepted"), [("v" + rdsim.__version__, True), ("v9.9.9", False), ("v0", False)]
)
def test_a_release_is_refused_whose_tag_is_another_version(tag, accepted):
    (check,) = (command for command in commands() if "GITHUB_REF_NAME" in command)
    done = subprocess.run(
        ["bash", "-c", check], cwd=ROOT, env=os.environ | {"GITHUB_REF_NAME": tag}, check=False
    )
    assert (done.returncode == 0) == accepted


def test_the_hooks_before_a_commit_are_what_make_lint_runs():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook["entry"].split()[0] for repo in config["repos"] for hook in repo["hooks"]]
    recipe = (ROOT / "Makefile").read_text().partition("\nlint:")[2].partition("\n\n")[0]
    assert sorted(Path(hook).name for hook in hooks) == sorted(
        re.findall(r"\$\(VENV\)/bin/(\S+)", recipe)
    )
