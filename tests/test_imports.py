"""Who may import whom, read from the source; and what an import does, watched in a fresh interpreter."""

import ast
import json
import subprocess
import sys
from typing import NamedTuple

import pytest

DYNAMIC = {"importlib.import_module", "import_module", "__import__"}


class Import(NamedTuple):
    name: str
    # Whether importing the module runs it, so not inside a function or under TYPE_CHECKING.
    at_top: bool


def find_imports(source, module):
    """Return what a module imports; its dotted name ends in __init__ for a package."""

    def walk(node, at_top):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (Import(alias.name, at_top) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                parents = module.split(".")[: -child.level] if child.level else []
                base = ".".join([*parents, *([child.module] if child.module else [])])
                yield from (Import(f"{base}.{alias.name}", at_top) for alias in child.names)
            elif isinstance(child, ast.Call) and ast.unparse(child.func) in DYNAMIC:
                named = [item.value for item in child.args[:1] if isinstance(item, ast.Constant)]
                yield from (Import(name, at_top) for name in named)
            lazy = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) or (
                isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            )
            yield from walk(child, at_top and not lazy)

    return list(walk(ast.parse(source), True))


def find_faults(source, module, part, *, torch):
    """Return the imports of a module that the architecture forbids."""
    last = module.split(".")[-1]
    own_torch = torch or last == "torch" or module.startswith(("auscult.core.kernels.", "auscult.core.testing."))
    faults = []
    for name, at_top in find_imports(source, module):
        top, *rest = name.split(".")
        wrong_arrow = top == "auscult" and bool(rest) and rest[0] not in ("core", part)
        wrong_triton = top == "triton" and last != "_triton"
        wrong_torch = top == "torch" and at_top and not own_torch
        if wrong_arrow or wrong_triton or wrong_torch or top == "torchvision":
            faults.append(name)
    return faults


def test_sources_import_only_what_they_may(root, package):
    faults = {}
    for path in package.source.rglob("*.py"):
        module = ".".join(path.relative_to(package.folder / "src").with_suffix("").parts)
        found = find_faults(path.read_text("utf-8"), module, package.part, torch=package.torch)
        faults |= {str(path.relative_to(root)): found} if found else {}
    assert not faults


def test_nothing_imports_or_requires_torchvision(root, files, packages):
    tested = [path for path in files if path.suffix == ".py"]
    found = [
        str(path.relative_to(root))
        for path in tested
        if any(name.split(".")[0] == "torchvision" for name, _ in find_imports(path.read_text("utf-8"), "x"))
    ]
    assert tested
    assert not found
    assert not [item for package in packages for item in package.requirements if item.startswith("torchvision")]


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("auscult.m3fair.cli", "import auscult.agfsync.cli", "auscult.agfsync.cli"),
        ("auscult.m3fair.cli", "from auscult import agfsync", "auscult.agfsync"),
        ("auscult.m3fair.cli", "def f():\n    from auscult.agfsync import x", "auscult.agfsync.x"),
        ("auscult.m3fair.cli", "from ..agfsync import x", "auscult.agfsync.x"),
        ("auscult.m3fair.__init__", "from .. import agfsync", "auscult.agfsync"),
        (
            "auscult.m3fair.cli",
            "import importlib; importlib.import_module('auscult.agfsync')",
            "auscult.agfsync",
        ),
        ("auscult.m3fair.cli", "if TYPE_CHECKING:\n    import auscult.agfsync", "auscult.agfsync"),
        ("auscult.m3fair.cli", "import torch.nn", "torch.nn"),
        ("auscult.m3fair.cli", "try:\n    from torch import nn\nexcept ImportError:\n    pass", "torch.nn"),
        ("auscult.m3fair.torch", "import torchvision", "torchvision"),
        ("auscult.m3fair.op", "def f():\n    import triton", "triton"),
    ],
)
def test_a_forbidden_import_is_found(module, source, fault):
    assert find_faults(source, module, "m3fair", torch=False) == [fault]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "auscult.m3fair.cli",
            "import auscult.core.errors\nfrom auscult.core import cli\nfrom .table import x",
        ),
        ("auscult.core.device", "import auscult\nauscult.__path__"),
        ("auscult.m3fair.cli", "def f():\n    import torch"),
        ("auscult.m3fair.cli", "if TYPE_CHECKING:\n    import torch"),
        ("auscult.m3fair.torch", "import torch"),
        ("auscult.m3fair._triton", "import triton.language as tl"),
    ],
)
def test_an_allowed_import_is_no_fault(module, source):
    assert find_faults(source, module, "m3fair", torch=False) == []


# Run with a module's name and folders to find it in; prints what its import loaded and did.
PROBE = """
import json, os, sys, threading

module, folders = sys.argv[1], sys.argv[2:]
sys.path[:0] = folders
before = set(sys.modules)
effects = []
writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT
watched = ("socket.", "subprocess.", "os.", "shutil.", "tempfile.", "urllib.")
reading = ("os.listdir", "os.scandir", "os.walk")

def watch(event, arguments):
    if event == "open" and arguments[2] & writing:
        effects.append(f"open {arguments[0]}")
    elif event.startswith(watched) and event not in reading:
        effects.append(event)

sys.addaudithook(watch)
threading.Thread.start = lambda thread: effects.append("thread")
__import__(module)
loaded = {name.split(".")[0] for name in set(sys.modules) - before}
print(json.dumps({"loaded": sorted(loaded - set(sys.stdlib_module_names)), "effects": effects}))
"""


def probe(module, *folders):
    command = [sys.executable, "-I", "-B", "-c", PROBE, module, *folders]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def test_import_is_light_and_free_of_effects(package):
    seen = probe(f"auscult.{package.part}")
    assert "auscult" in seen["loaded"]
    assert set(seen["loaded"]) <= {"auscult", "numpy"}
    assert seen["effects"] == []


@pytest.mark.parametrize(
    ("source", "effect"),
    [
        ("open('written', 'w')", "open written"),
        ("import os; os.mkdir('folder')", "os.mkdir"),
        ("import socket; socket.socket()", "socket.__new__"),
        ("import threading; threading.Thread(target=int).start()", "thread"),
        ("import os; os.system('true')", "os.system"),
    ],
)
def test_an_effect_of_an_import_is_seen(tmp_path, monkeypatch, source, effect):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "careless.py").write_text(source)
    assert effect in probe("careless", str(tmp_path))["effects"]


def test_a_heavy_import_is_seen(tmp_path):
    (tmp_path / "heavy.py").write_text("import pandas")
    assert {"heavy", "pandas", "numpy"} <= set(probe("heavy", str(tmp_path))["loaded"])
