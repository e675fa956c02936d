"""Every check of the repository: a session builds wheels, installs those alone and runs against them.

Sessions run on the interpreter that runs nox; the CI matrix runs nox under each Python.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path

import nox

nox.needs_version = ">=2025.2"
nox.options.error_on_external_run = True
# uv does not read pip's configuration: without an index or a wheel folder of its own it takes the CUDA torch.
UV_KNOWS_TORCH = any(name in os.environ for name in ("UV_FIND_LINKS", "UV_INDEX", "UV_EXTRA_INDEX_URL"))
nox.options.default_venv_backend = "uv|virtualenv" if UV_KNOWS_TORCH else "virtualenv"

ROOT = Path(__file__).parent
CONSTRAINTS = "tests/constraints/torch-cpu.txt"
CORE = "auscult-core"
PACKAGES: dict[str, dict] = nox.project.load_toml(ROOT / "pyproject.toml")["tool"]["auscult"]["packages"]
LIBRARIES = [name for name in PACKAGES if name != CORE]
PEERS = "tests/peers"
EXTRA_MARKS = {"torch", "serve", "ray", "spark", "browser"}
# The models of tests are tiny: more threads than one only wait for each other, long where cores are shared.
TEST_ENV = {"PYTHONWARNINGS": "", "MPLBACKEND": "agg", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


@nox.session
@nox.parametrize("package", list(PACKAGES), ids=list(PACKAGES))
def tests(session: nox.Session, package: str) -> None:
    """Install one package alone, run its tests, check that nothing else came along."""
    install(session, package, requirements=group("test", package))
    run_pytest(session, *own_tests(package), "-m", f"not ({' or '.join(sorted(EXTRA_MARKS))} or gpu)")
    siblings = [f"auscult.{other.replace('-', '_')}" for other in PACKAGES if other not in (CORE, package)]
    torch = [] if PACKAGES[package]["torch"] else ["torch"]
    session.run("python", "-c", ASSERT_ABSENT, "torchvision", *torch, *siblings)


@nox.session
@nox.parametrize("package", list(PACKAGES), ids=list(PACKAGES))
def extras(session: nox.Session, package: str) -> None:
    """Run the tests of one package that need an optional requirement, a server or a browser."""
    marks = sorted(EXTRA_MARKS & used_marks(package))
    if not marks:
        session.skip(f"no test of {package} is marked {', '.join(sorted(EXTRA_MARKS))}")
    # Triton takes more room than torch, and only the kernels need it.
    optional = sorted(pyproject(package)["project"].get("optional-dependencies", {}).keys() - {"triton"})
    install(session, package, extras=optional, requirements=group("test", package) + group("extras", package))
    run_pytest(session, *own_tests(package), "-m", " or ".join(marks))


@nox.session(default=False)
@nox.parametrize("package", list(PACKAGES), ids=list(PACKAGES))
def peers(session: nox.Session, package: str) -> None:
    """Compare one package with other public tools of its field, in an environment that has them."""
    if not Path(folder(package), PEERS).is_dir():
        session.skip(f"there is no {folder(package)}/{PEERS}")
    install(session, package, requirements=group("peers", package))
    if alone := group("peers-alone", package):
        session.install("--no-deps", *alone)
    run_pytest(session, f"{folder(package)}/{PEERS}")


@nox.session
def root(session: nox.Session) -> None:
    """Check what holds for the repository as a whole, READMEs included."""
    install(session, *PACKAGES, requirements=group("root"))
    run_pytest(session, "tests")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types, strictly."""
    install(session, *PACKAGES, requirements=group("types"))
    session.run("mypy")


@nox.session
def kernels(session: nox.Session) -> None:
    """Run the kernels in the Triton interpreter."""
    if not any(Path(folder(CORE)).glob("src/auscult/core/kernels/*/_triton.py")):
        session.skip("there is no kernel yet")
    install(session, CORE, extras=["torch", "triton"], requirements=group("test", CORE))
    run_pytest(session, f"{folder(CORE)}/tests/kernels", TRITON_INTERPRET="1")


@nox.session(default=False)
def gpu(session: nox.Session) -> None:
    """Run the tests marked gpu; needs a CUDA device and takes the CUDA build of torch."""
    marked = [name for name in PACKAGES if "gpu" in used_marks(name)]
    if not marked:
        session.skip("no test is marked gpu yet")
    requirements = [item for name in marked for item in group("test", name)]
    install(session, *marked, requirements=["torch", "triton", *requirements], constrained=False)
    run_pytest(session, *(item for name in marked for item in own_tests(name)), "-m", "gpu")


@nox.session(default=False)
def demo(session: nox.Session) -> None:
    """Run the main job of every library on embedded data, into out/ with an index.html."""
    install(session, *LIBRARIES)
    for name in LIBRARIES:
        session.run(name, "demo", "--out", f"out/{name}")
    session.run("python", "-c", WRITE_INDEX, "out")


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure ours against baselines in one run; words after -- choose scripts by a part of their path."""
    folders = [Path(folder(name), "benchmarks") for name in PACKAGES]
    scripts = [str(path) for place in folders for path in sorted(place.glob("bench_*.py"))]
    chosen = [path for path in scripts if any(word in path for word in session.posargs or [""])]
    if not chosen:
        session.skip("there is no such benchmark")
    install(session, *LIBRARIES, requirements=[item for name in PACKAGES for item in group("bench", name)])
    for path in chosen:
        session.run("python", path)


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """Build the documentation into site/; a warning is an error."""
    install(session, *PACKAGES, requirements=group("docs"))
    # The theme and a plugin each advertise a successor of mkdocs.
    env = {"NO_MKDOCS_2_WARNING": "1", "DISABLE_MKDOCS_2_WARNING": "true"}
    session.run("mkdocs", "build", "--strict", "-f", "docs/mkdocs.yml", "-d", str(ROOT / "site"), env=env)


ASSERT_ABSENT = """
import sys
from importlib.util import find_spec

found = [name for name in sys.argv[1:] if find_spec(name)]
sys.exit(f"installed beside the package: {found}" if found else 0)
"""

WRITE_INDEX = "import sys; from auscult.core.report import write_index; print(write_index(sys.argv[1]))"


def install(
    session: nox.Session,
    *packages: str,
    extras: Iterable[str] = (),
    requirements: Iterable[str] = (),
    constrained: bool = True,
) -> None:
    """Install the wheels of the core and of the packages, with extras, and nothing of ours beside them."""
    wheels = {name: build_wheel(session, name) for name in dict.fromkeys((CORE, *packages))}
    # A reused environment holds these versions already, and pip would keep them.
    session.install("--force-reinstall", "--no-deps", *wheels.values())
    pins = ["-c", CONSTRAINTS] if constrained else []
    wanted = f"[{','.join(extras)}]" if extras else ""
    paths = [path + wanted if name in packages else path for name, path in wheels.items()]
    # Of torch and transformers a session imports little: modules are compiled as they are imported, as with uv.
    session.install(*pins, *paths, *requirements, env={"PIP_NO_COMPILE": "1"})


WHEELS: dict[str, str] = {}


def build_wheel(session: nox.Session, package: str) -> str:
    """Build a package's wheel, once in a run of nox, and return its path."""
    if package not in WHEELS:
        target = Path(".nox/wheels", package)
        uv = session.venv_backend == "uv"
        tool = ["uv", "build", "--wheel", "-o"] if uv else ["python", "-m", "pip", "wheel", "--no-deps", "-w"]
        session.run_install(*tool, str(target), f"./{folder(package)}", external=uv, silent=True)
        WHEELS[package] = f"./{max(target.glob('*.whl'), key=os.path.getmtime)}"
    return WHEELS[package]


def run_pytest(session: nox.Session, *arguments: str, **environment: str) -> None:
    """Run pytest; what follows -- on nox's command line is passed on."""
    session.run("pytest", *arguments, *session.posargs, env=TEST_ENV | environment)


def own_tests(package: str) -> tuple[str, ...]:
    """Return pytest's arguments for a package's tests without those that compare it with other tools."""
    return f"{folder(package)}/tests", f"--ignore={folder(package)}/{PEERS}"


def folder(package: str) -> str:
    """Return a package's folder, relative to the root."""
    return PACKAGES[package]["folder"]


def pyproject(package: str | None = None) -> dict:
    """Return the pyproject.toml of a package, or the root's."""
    return nox.project.load_toml(ROOT / (folder(package) if package else ".") / "pyproject.toml")


def group(name: str, package: str | None = None) -> tuple[str, ...]:
    """Return a dependency group of a package, or of the root; none where it is not declared."""
    table = pyproject(package)
    return nox.project.dependency_groups(table, name) if name in table.get("dependency-groups", {}) else ()


def used_marks(package: str) -> set[str]:
    """Return the marks that a package's tests carry."""
    sources = [path.read_text("utf-8") for path in Path(folder(package)).glob("tests/**/*.py")]
    return set(re.findall(r"\bpytest\.mark\.(\w+)", "\n".join(sources)))
