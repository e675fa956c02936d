"""What a job runs on: device, dtype, random streams; and the doctor, which says what an installation has.

torch is imported only where the answer needs it; the doctor looks at it from a second process, so that a broken build
is a finding and not a crash.
"""

import atexit
import functools
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auscult.core.canonical import digest
from auscult.core.errors import InputError, missing_dependency

if TYPE_CHECKING:
    import numpy as np
    from packaging.requirements import Requirement

_CORE = "auscult-core"
_DTYPES = ("float32", "bfloat16", "float16", "float64")
# The CPU build of torch does not say which Triton belongs to its CUDA build.
_TRITON_OF_TORCH = {"2.13": "3.7.1", "2.15": "3.9.0"}
_REST = 0.5
"""Seconds."""
_PROBE = """
import json, sys, torch
names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
found = [f"cuda:{index} ({name})" for index, name in enumerate(names)] + ["mps"] * torch.backends.mps.is_available()
print(json.dumps(found), flush=True)
import importlib.util
if importlib.util.find_spec("torchvision"):
    import torchvision
"""


def choose_device(name: str = "auto") -> str:
    """Return the device to use: ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.

    Parameters
    ----------
    name
        One of these, checked; or ``"auto"``: CUDA if there is a device, else MPS, else the CPU (also where
        torch is not installed).

    Raises
    ------
    InputError
        The name is no device, or this machine or this build of torch lacks it.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise InputError(f"{name!r} is no device: use auto, cpu, cuda, cuda:0, cuda:1, ... or mps")
    if name == "cpu" or (name == "auto" and importlib.util.find_spec("torch") is None):
        return "cpu"
    torch = _import_torch(f"the device {name!r}")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda" if count else "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "mps" and not torch.backends.mps.is_available():
        raise InputError("the device 'mps' was asked for, but this machine or this torch has none: use cpu or auto")
    if name.startswith("cuda") and int(name.partition(":")[2] or 0) >= count:
        reason = (
            f"this machine shows {count} CUDA devices"
            if torch.version.cuda or torch.version.hip
            else f"torch {torch.__version__} is a CPU build"
        )
        raise InputError(f"the device {name!r} was asked for, but {reason}: use cpu or auto")
    return name


def choose_dtype(device: str, name: str = "auto") -> str:
    """Return the name of the floating-point type to compute in, as an attribute of torch.

    Parameters
    ----------
    device
        As :func:`choose_device` returns it.
    name
        ``"float32"``, ``"bfloat16"``, ``"float16"``, ``"float64"``, checked; or ``"auto"``: bfloat16 on a
        CUDA device that has it, else float32.

    Raises
    ------
    InputError
        The name is no dtype, or the device lacks it; and float16 on a CPU, where it is many times slower than
        float32.
    """
    if name not in ("auto", *_DTYPES):
        raise InputError(f"{name!r} is no dtype: use auto, {', '.join(_DTYPES)}")
    if device == "cpu" and name == "float16":
        raise InputError("float16 on a CPU is many times slower than float32: use auto, float32 or bfloat16")
    if device == "mps" and name == "float64":
        raise InputError("the device 'mps' has no float64: use auto or float32")
    if device.startswith("cuda") and name in ("auto", "bfloat16"):
        torch = _import_torch(f"the device {device!r}")
        with torch.cuda.device(device):
            native = torch.cuda.is_bf16_supported(including_emulation=False)
        if name == "bfloat16" and not native:
            raise InputError(f"the device {device!r} has no bfloat16: use auto, float32 or float16")
        return "bfloat16" if native else "float32"
    return "float32" if name == "auto" else name


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread, and put back what was set.

    The matrices of a model of some thousand parameters are done before a second thread has woken, and where cores are
    shared the threads wait for each other: training then takes several times as long.
    """
    torch = _import_torch("one thread")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@functools.cache
def leave_group_at_exit() -> None:
    """Have this process leave torch's process group, if it is in one, when it ends.

    A trainer that joined a group on its caller's behalf calls this. A thread of gloo that is still letting go of the
    last tensors when the interpreter ends aborts a process whose work is done, and the launcher then stops the others.
    """
    distributed = _import_torch("leaving a process group").distributed

    def leave() -> None:
        if distributed.is_available() and distributed.is_initialized():
            distributed.destroy_process_group()
            # Torch itself may keep the group and its threads, which cannot be joined from here: let them come to rest.
            time.sleep(_REST)

    atexit.register(leave)


def derive_seed(seed: int, *stream: object) -> int:
    """Return the seed, in [0, 2**63), of one named stream of random numbers.

    Results then do not depend on batch size, on the order of the records or on the number of workers.

    Examples
    --------
    >>> derive_seed(0, "patient-7", 3) == derive_seed(0, "patient-7", 3) != derive_seed(0, "patient-7", 4)
    True
    """
    return int(digest([seed, *stream])[:16], 16) >> 1


def generator(seed: int, *stream: object) -> "np.random.Generator":
    """Return numpy's generator for one named stream of random numbers (see :func:`derive_seed`)."""
    import numpy as np

    return np.random.default_rng(derive_seed(seed, *stream))


def versions(package: str) -> dict[str, str | None]:
    """Return the versions of a distribution, of the core and of all they require; None where not installed."""
    names = [package, _CORE, *(requirement.name for _, requirement in _required(package))]
    return {name: _version(name) for name in dict.fromkeys(names)}


@dataclass(frozen=True)
class Problem:
    """What is wrong with an installation, and what to do."""

    what: str
    remedy: str


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor found.

    Attributes
    ----------
    package
        The distribution that was asked for.
    python, platform
        Version of Python, and the operating system with its machine type.
    cpu_count, memory_gib
        CPUs this process may use, and the machine's memory (None where the system does not say).
    versions
        The distribution, what it requires, and which optional requirements and further auscult distributions
        are installed; None for a requirement that is not.
    torch_build
        "CPU", "CUDA 13.0" and so on; None without torch.
    devices
        The CPU, and the accelerators torch sees (looked at only if the distribution requires torch).
    problems
        Empty in a healthy installation.
    """

    package: str
    python: str
    platform: str
    cpu_count: int
    memory_gib: float | None
    versions: dict[str, str | None]
    torch_build: str | None
    devices: tuple[str, ...]
    problems: tuple[Problem, ...]

    @property
    def healthy(self) -> bool:
        """Whether no problem was found."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return the findings for JSON, with ``healthy``."""
        return {"healthy": self.healthy, **asdict(self)}

    def to_text(self) -> str:
        """Return the findings for people."""
        memory = f", {self.memory_gib:.1f} GiB of memory" if self.memory_gib else ""
        width = max(map(len, self.versions))
        lines = [
            f"{self.package} {self.versions[self.package] or '(not installed)'}",
            f"Python {self.python} on {self.platform}, {self.cpu_count} CPUs{memory}",
            f"devices: {', '.join(self.devices)}",
            *(f"  {name:{width}}  {version or 'not installed'}" for name, version in self.versions.items()),
        ]
        if self.torch_build:
            lines.append(f"torch is a {self.torch_build} build")
        lines += [f"PROBLEM: {problem.what}\n  remedy: {problem.remedy}" for problem in self.problems]
        return "\n".join(lines if self.problems else [*lines, "no problem found"])


def diagnose(package: str = _CORE) -> Diagnosis:
    """Look at this installation on behalf of a distribution, without importing torch into this process."""
    found = versions(package)
    for name in (*_optional(package), *_siblings(), "torch", "torchvision", "triton"):
        if name not in found and (version := _version(name)):
            found[name] = version
    build = _torch_build() if found.get("torch") else None
    devices: tuple[str, ...] = ("cpu",)
    problems = [*_requirement_problems(package), *_namespace_problems(), *_triton_problems(found)]
    if build and any(requirement.name == "torch" for _, requirement in _required(package)):
        accelerators, more = _probe_torch(found)
        devices += accelerators
        problems += more
    return Diagnosis(
        package=package,
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu_count=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gib=_memory_gib(),
        versions=found,
        torch_build=build,
        devices=devices,
        problems=tuple(problems),
    )


def _import_torch(purpose: str) -> Any:
    try:
        import torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise missing_dependency("torch", purpose=purpose, install=f"{_CORE}[torch]") from None
    return torch


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _requirements(name: str) -> list["Requirement"]:
    from packaging.requirements import Requirement

    try:
        return [Requirement(text) for text in importlib.metadata.requires(name) or ()]
    except importlib.metadata.PackageNotFoundError:
        return []


def _required(name: str, extras: Iterable[str] = ()) -> Iterator[tuple[str, "Requirement"]]:
    """Yield who requires what, down through the core (with the extras a leaf asks of it)."""
    for requirement in _requirements(name):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield name, requirement
            if requirement.name == _CORE:
                yield from _required(_CORE, requirement.extras)


def _optional(package: str) -> Iterator[str]:
    return (requirement.name for name in (package, _CORE) for requirement in _requirements(name))


def _siblings() -> list[str]:
    """Return the installed distributions that stand on the core."""
    names = []
    for distribution in importlib.metadata.distributions():
        if any(re.match(rf"{_CORE}\b(?!-)", text) for text in distribution.requires or ()):
            names.append(distribution.name)
    return sorted(names)


def _requirement_problems(package: str) -> Iterator[Problem]:
    if _version(package) is None:
        yield Problem(f"the distribution {package} is not installed", f"pip install {package}")
    for owner, requirement in _required(package):
        version = _version(requirement.name)
        wanted = f"{requirement.name}{requirement.specifier}"
        if version is None:
            yield Problem(f"{owner} requires {wanted}, which is not installed", f"pip install '{wanted}'")
        elif not requirement.specifier.contains(version, prereleases=True):
            yield Problem(
                f"{owner} requires {wanted}, but {requirement.name} {version} is installed",
                f"pip install '{wanted}'",
            )


def _namespace_problems() -> Iterator[Problem]:
    import auscult

    folders = dict.fromkeys([*map(Path, auscult.__path__), *(Path(entry) / "auscult" for entry in sys.path)])
    for folder in folders:
        if (folder / "__init__.py").exists():
            yield Problem(
                f"{folder / '__init__.py'} hides the auscult libraries in other folders",
                "delete that file: auscult is a namespace and has no __init__.py",
            )


def _triton_problems(found: dict[str, str | None]) -> Iterator[Problem]:
    torch, triton = found.get("torch"), found.get("triton")
    if not torch or not triton:
        return
    named = [r.specifier for r in _requirements("torch") if r.name == "triton" and r.specifier]
    pinned = _TRITON_OF_TORCH.get(".".join(torch.split(".")[:2]))
    wanted = str(named[0]) if named else f"=={pinned}" if pinned else ""
    from packaging.specifiers import SpecifierSet

    if not SpecifierSet(wanted).contains(triton, prereleases=True):
        yield Problem(
            f"triton {triton} is not the one that torch {torch} is built with (triton{wanted})",
            f"pip install 'triton{wanted}'",
        )


def _torch_build() -> str:
    """Read what torch was built for from its version file; importing torch takes seconds."""
    spec = importlib.util.find_spec("torch")
    text = ""
    if spec and spec.origin:
        file = Path(spec.origin).with_name("version.py")
        text = file.read_text("utf-8") if file.exists() else ""
    for name, label in (("cuda", "CUDA"), ("hip", "ROCm"), ("xpu", "XPU")):
        if match := re.search(rf"^{name}\b[^=\n]*=\s*['\"]([^'\"]+)", text, re.MULTILINE):
            return f"{label} {match[1]}"
    return "CPU"


def _probe_torch(found: dict[str, str | None]) -> tuple[tuple[str, ...], list[Problem]]:
    """Import torch, then torchvision if it is there, in a second process; return accelerators and problems."""
    try:
        probe = subprocess.run(
            [sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=300, check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return (), [Problem("torch does not answer within 300 seconds", "reinstall torch, or look at its driver")]
    accelerators = tuple(json.loads(probe.stdout)) if probe.stdout.startswith("[") else None
    if probe.returncode == 0 and accelerators is not None:
        return accelerators, []
    reason = (probe.stderr.strip().splitlines() or [f"exit code {probe.returncode}"])[-1]
    if accelerators is None:
        return (), [Problem(f"torch {found['torch']} cannot be imported: {reason}", "reinstall torch")]
    return accelerators, [
        Problem(
            f"torchvision {found.get('torchvision')} cannot be imported beside torch {found['torch']}: {reason}; "
            "transformers imports it whenever it is installed, and fails with it",
            "pip uninstall torchvision (no auscult library uses it), or install the build that matches torch",
        )
    ]


def _memory_gib() -> float | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        return None
