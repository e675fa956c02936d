"""Every check of the repository; ARCHITECTURE in one line: a session builds wheels and installs those.

Sessions run on the interpreter that runs nox; the CI matrix runs nox under each Python.
"""

import json
import os
import shutil
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2"
# uv does not read pip's configuration: without an index or a wheel folder of its own it takes the CUDA torch.
UV_KNOWS_TORCH = any(name in os.environ for name in ("UV_FIND_LINKS", "UV_INDEX", "UV_EXTRA_INDEX_URL"))
nox.options.default_venv_backend = "uv" if UV_KNOWS_TORCH and shutil.which("uv") else "virtualenv"
nox.options.error_on_external_run = True

ROOT = Path(__file__).parent
CONSTRAINTS = str(ROOT / "tests/constraints/torch-cpu.txt")
WHEELS = ROOT / ".nox/wheels"
OUT = ROOT / "out"
CORE = "auscult-core"
PACKAGES: dict[str, dict] = nox.project.load_toml(ROOT / "pyproject.toml")["tool"]["auscult"]["packages"]
BUILT = [name for name, package in PACKAGES.items() if package["built"]]
EXTRA_MARKS = "torch or serve or ray or spark or browser"


@nox.session
@nox.parametrize("package", list(PACKAGES), ids=list(PACKAGES))
def tests(session: nox.Session, package: str) -> None:
    """Install one package alone, from wheels; run its tests; check that nothing else came along."""
    install(session, package, groups=["test"])
    pytest(session, package, "-m", f"not ({EXTRA_MARKS} or gpu)")
    absent = [import_name(other) for other in PACKAGES if other not in (CORE, package)]
    absent += ["torchvision"] + ["torch"] * (not PACKAGES[package]["torch"])
    session.run("python", "-c", ASSERT_ABSENT, *absent)


@nox.session
@nox.parametrize("package", list(PACKAGES), ids=list(PACKAGES))
def extras(session: nox.Session, package: str) -> None:
    """Run the tests that need an optional requirement, a server or a browser."""
    folder = ROOT / PACKAGES[package]["folder"]
    marked = [path for path in folder.glob("tests/**/*.py") if "pytest.mark." in path.read_text("utf-8")]
    if not any(f"pytest.mark.{mark}" in path.read_text("utf-8") for path in marked for mark in EXTRA_MARKS.split(" or ")):
        session.log(f"{package} has no test marked {EXTRA_MARKS}")
        return
    install(session, package, groups=["test", "extras"], extras=["all"])
    pytest(session, package, "-m", EXTRA_MARKS)


@nox.session
def root(session: nox.Session) -> None:
    """Check what holds for the repository as a whole."""
    install(session, *BUILT, groups=["test"], requirements=["hatch", "pyyaml"])
    session.run("pytest", "tests", *session.posargs, env=TEST_ENV)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    session.install("ruff==0.17.6")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types, strictly."""
    install(session, *PACKAGES, requirements=["mypy==2.4.1", "pandas-stubs", "types-PyYAML"])
    session.run("mypy")


@nox.session
def kernels(session: nox.Session) -> None:
    """Run the kernels in the Triton interpreter."""
    if not any((ROOT / "shared-core/src/auscult/core").glob("kernels/*/_triton.py")):
        session.log("there is no kernel yet")
        return
    install(session, CORE, groups=["test"], extras=["torch", "triton"])
    session.run("pytest", "shared-core/tests/kernels", env={**TEST_ENV, "TRITON_INTERPRET": "1"})


@nox.session(default=False)
def gpu(session: nox.Session) -> None:
    """Run the tests marked gpu; needs a CUDA device and takes the CUDA build of torch."""
    install(session, *PACKAGES, groups=["test"], constrained=False)
    session.run(
        "pytest", "-m", "gpu", *(PACKAGES[name]["folder"] + "/tests" for name in PACKAGES),
        env=TEST_ENV, success_codes=[0, 5],
    )  # fmt: skip


@nox.session(default=False)
def demo(session: nox.Session) -> None:
    """Run the main job of every library that exists on embedded data, into out/ with an index.html."""
    install(session, *BUILT)
    for name in BUILT:
        session.run(name, "demo", "--out", str(OUT / name))
    session.run("python", "-c", WRITE_INDEX, str(OUT))


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure ours against baselines in the same run; rows go to docs/benchmarks/."""
    scripts = sorted(ROOT.glob("**/benchmarks/bench_*.py"))
    install(session, *BUILT, groups=["bench"])
    for script in scripts:
        if not session.posargs or any(word in str(script) for word in session.posargs):
            session.run("python", str(script))


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning is an error."""
    install(session, *BUILT, requirements=["mkdocs-material==9.*", "mkdocstrings-python==2.*", "mkdocs-same-dir==0.1.*"])
    session.run("mkdocs", "build", "--strict", "-f", "docs/mkdocs.yml", "-d", str(ROOT / "site"), env={"NO_MKDOCS_2_WARNING": "1"})


TEST_ENV = {"PYTHONWARNINGS": "", "MPLBACKEND": "agg", "HF_HUB_OFFLINE": "1"}

ASSERT_ABSENT = """
import importlib.util, sys
def there(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
found = [name for name in sys.argv[1:] if there(name)]
sys.exit(f"installed beside the package: {found}" if found else 0)
"""

WRITE_INDEX = "import sys; from auscult.core.report import write_index; print(write_index(sys.argv[1]))"


def install(
    session: nox.Session,
    *packages: str,
    groups: list[str] = [],
    extras: list[str] = [],
    requirements: list[str] = [],
    constrained: bool = True,
) -> None:
    """Build wheels of the packages and the core, then install them and nothing of ours beside them."""
    names = list(dict.fromkeys((CORE, *packages)))
    wheels = [build_wheel(session, name) for name in names]
    tables = {name: nox.project.load_toml(ROOT / PACKAGES[name]["folder"] / "pyproject.toml") for name in packages}
    for name, table in tables.items():
        for group in groups:
            if group in table.get("dependency-groups", {}):
                requirements = [*requirements, *nox.project.dependency_groups(table, group)]
        wanted = table["project"].get("optional-dependencies", {})
        for extra in wanted if extras == ["all"] else extras:
            requirements = [*requirements, *(item for item in wanted.get(extra, []) if not item.startswith(CORE))]
    pins = ["-c", CONSTRAINTS] if constrained else []
    session.install(*pins, *wheels, *requirements)


def build_wheel(session: nox.Session, package: str) -> str:
    """Build one wheel in a folder of its own and return its path."""
    target = WHEELS / package
    shutil.rmtree(target, ignore_errors=True)
    folder = str(ROOT / PACKAGES[package]["folder"])
    if session.venv_backend == "uv":
        session.run_install("uv", "build", "--wheel", "-q", "-o", str(target), folder, external=True)
    else:
        session.run_install("python", "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(target), folder)
    (wheel,) = target.glob("*.whl")
    return str(wheel)


def pytest(session: nox.Session, package: str, *options: str) -> None:
    """Run the tests of one package against what is installed."""
    folder = ROOT / PACKAGES[package]["folder"]
    session.run("pytest", str(folder / "tests"), *options, *session.posargs, env=TEST_ENV)


def import_name(package: str) -> str:
    """Return the module that a distribution brings."""
    return "auscult." + ("core" if package == CORE else package.replace("-", "_"))
