"""The workflows, the scripts beside them, and the names of nox sessions wherever they are written."""

import ast
import json
import re
import shlex

import pytest
import yaml


@pytest.fixture(scope="module")
def noxfile(root):
    return ast.parse((root / "noxfile.py").read_text("utf-8"))


@pytest.fixture(scope="module")
def sessions(noxfile):
    """Return each session's name and whether plain `nox` runs it."""
    found = {}
    for node in noxfile.body:
        decorators = [ast.unparse(item) for item in getattr(node, "decorator_list", [])]
        if any(text.startswith("nox.session") for text in decorators):
            found[node.name] = not any("default=False" in text for text in decorators)
    return found


@pytest.fixture(params=["ci", "gpu", "release"])
def workflow(root, request):
    return yaml.safe_load((root / f".github/workflows/{request.param}.yml").read_text("utf-8"))


def runs(workflow):
    return [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]


def named_sessions(text):
    """Return the session names of every `nox -s` in a text, expressions that are filled in later left out."""
    for tail in re.findall(r"\bnox (?:-[rR] )?-s ([^\n`]+)", re.sub(r"\$\{\{.*?\}\}", "$", text)):
        names = shlex.split(tail, comments=True)
        yield from names[: names.index("--")] if "--" in names else names


def exists(name, sessions, packages):
    session, _, package = name.removesuffix(")").partition("(")
    return session in sessions and (not package or package in {item.name for item in packages})


def test_no_workflow_is_left_out(root):
    assert {path.stem for path in root.glob(".github/workflows/*")} == {"ci", "gpu", "release"}


def test_a_workflow_is_whole(workflow):
    # YAML 1.1 reads the key `on` as true.
    assert workflow[True]
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["runs-on"]
        assert all(("run" in step) != ("uses" in step) for step in job["steps"])
        assert set(job.get("needs", "").split()) <= set(workflow["jobs"])


def test_ci_runs_what_nox_runs(root, sessions):
    jobs = yaml.safe_load((root / ".github/workflows/ci.yml").read_text("utf-8"))["jobs"]
    named = set(jobs["sessions"]["strategy"]["matrix"]["session"])
    assert {name for name, default in sessions.items() if default} <= named | {"tests"}
    assert named <= set(sessions)
    assert 'nox -s "tests(${{ matrix.package }})"' in [step.get("run") for step in jobs["tests"]["steps"]]


def test_sessions_named_anywhere_exist(root, files, sessions, packages):
    texts = [path.read_text("utf-8") for path in files if path.suffix in (".md", ".yml")]
    names = [name for text in texts for name in named_sessions(text) if "$" not in name]
    assert {"demo", "gpu", "docs", "tests(m3fair)"} <= set(names)
    assert not [name for name in names if not exists(name, sessions, packages)]
    assert not exists("absent", sessions, packages)
    assert not exists("tests(absent)", sessions, packages)


def test_every_mark_is_run_by_a_session(noxfile, settings):
    assigned = {ast.unparse(node.targets[0]): node.value for node in noxfile.body if isinstance(node, ast.Assign)}
    declared = {line.split(":")[0] for line in settings["pytest"]["ini_options"]["markers"]}
    assert declared == ast.literal_eval(assigned["EXTRA_MARKS"]) | {"gpu"}


def test_the_matrix_is_the_list_of_packages(run_script, packages, settings):
    printed = json.loads(run_script(".github/matrix.py").stdout)
    assert printed == {
        "package": [package.name for package in packages],
        "python": settings["auscult"]["pythons"],
    }


def test_a_release_tag_names_a_distribution_and_its_version(run_script, root, package):
    finished = run_script(".github/release_folder.py", f"{package.name}-v{package.version}")
    assert root / finished.stdout.strip() == package.folder


@pytest.mark.parametrize("tag", ["m3fair-v0.0.0", "m3fair", "absent-v1.0", "-v1.0", "m3fair-v0.1.0-v0.1.0"])
def test_another_release_tag_is_refused(run_script, tag):
    finished = run_script(".github/release_folder.py", tag)
    assert finished.returncode == 1
    assert not finished.stdout
    assert repr(tag) in finished.stderr
    assert "Traceback" not in finished.stderr
