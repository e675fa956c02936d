import importlib
import importlib.metadata
import json
import subprocess
import sys

import numpy as np
import pytest

from auscult.core import device
from auscult.core.device import choose_device, choose_dtype, derive_seed, diagnose, generator, versions
from auscult.core.errors import InputError, MissingDependencyError


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Return a way to install a small distribution, first on the path."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(name, version, requires=(), files=None):
        information = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        information.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {requirement}" for requirement in requires]
        (information / "METADATA").write_text("\n".join(lines) + "\n")
        for path, text in (files or {}).items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        importlib.invalidate_caches()

    real = take_torch_out()
    yield install
    take_torch_out()
    sys.modules.update(real)


def take_torch_out():
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "torch"}


def torch_files(*, devices=(), cuda=None, mps=False, bfloat16=True):
    """Return a package with the answers that the real torch gives on such a machine."""
    return {
        "torch/version.py": f"cuda: 'str | None' = {cuda!r}\nhip = None\n",
        "torch/__init__.py": f"""
import contextlib, types
from torch import version
__version__ = "2.13.0"
devices = {devices!r}
cuda = types.SimpleNamespace(
    is_available=lambda: bool(devices), device_count=lambda: len(devices), get_device_name=lambda i: devices[i],
    device=lambda name: contextlib.nullcontext(), is_bf16_supported=lambda including_emulation: {bfloat16},
)
backends = types.SimpleNamespace(mps=types.SimpleNamespace(is_available=lambda: {mps}))
""",
    }


# ---------------------------------------------------------------- device and dtype


def test_without_torch_auto_is_the_cpu_and_the_cpu_needs_no_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(device.importlib.util, "find_spec", lambda name: None)
    assert choose_device() == choose_device("cpu") == "cpu"
    assert choose_dtype("cpu") == "float32"
    with pytest.raises(MissingDependencyError, match=r"the device 'cuda' needs torch.*auscult-core\[torch\]"):
        choose_device("cuda")


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ({}, "cpu"),
        ({"devices": ("H100", "H100"), "cuda": "13.0"}, "cuda"),
        ({"mps": True}, "mps"),
        ({"cuda": "13.0"}, "cpu"),
    ],
)
def test_auto_takes_the_accelerator_that_is_there(site, machine, expected):
    site("torch", "2.13.0", files=torch_files(**machine))
    assert choose_device("auto") == expected
    assert choose_device("cpu") == "cpu"


def test_a_named_device_has_to_be_there(site):
    site("torch", "2.13.0", files=torch_files(devices=("H100", "H100"), cuda="13.0"))
    assert choose_device("cuda:1") == "cuda:1"
    assert choose_device("cuda") == "cuda"
    with pytest.raises(InputError, match="'cuda:2' was asked for, but this machine shows 2 CUDA devices: use cpu"):
        choose_device("cuda:2")
    with pytest.raises(InputError, match="'mps' was asked for, but this machine or this torch has none"):
        choose_device("mps")


def test_a_cpu_build_says_so(site):
    site("torch", "2.13.0", files=torch_files())
    with pytest.raises(InputError, match=r"'cuda' was asked for, but torch 2\.13\.0 is a CPU build: use cpu or auto"):
        choose_device("cuda")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:-1", "cuda1", "CPU", ""])
def test_an_unknown_device_is_refused(name):
    with pytest.raises(InputError, match="is no device: use auto, cpu, cuda"):
        choose_device(name)


def test_the_cpu_never_computes_in_float16():
    assert choose_dtype("cpu") == "float32"
    assert choose_dtype("cpu", "bfloat16") == "bfloat16"
    assert choose_dtype("cpu", "float64") == "float64"
    with pytest.raises(InputError, match=r"float16 on a CPU .*: use auto, float32 or bfloat16"):
        choose_dtype("cpu", "float16")


@pytest.mark.parametrize(("bfloat16", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_cuda_computes_in_bfloat16_where_it_has_it(site, bfloat16, expected):
    site("torch", "2.13.0", files=torch_files(devices=("GPU",), cuda="13.0", bfloat16=bfloat16))
    assert choose_dtype("cuda:0") == expected
    assert choose_dtype("cuda", "float16") == "float16"
    if bfloat16:
        assert choose_dtype("cuda", "bfloat16") == "bfloat16"
    else:
        with pytest.raises(InputError, match="'cuda' has no bfloat16: use auto, float32 or float16"):
            choose_dtype("cuda", "bfloat16")


def test_other_dtypes_are_refused():
    with pytest.raises(InputError, match="'half' is no dtype: use auto, float32"):
        choose_dtype("cpu", "half")
    with pytest.raises(InputError, match="'mps' has no float64"):
        choose_dtype("mps", "float64")
    assert choose_dtype("mps") == "float32"


@pytest.mark.torch
def test_the_real_torch_has_what_was_chosen():
    torch = pytest.importorskip("torch")
    chosen = choose_device()
    assert torch.zeros(1, device=chosen, dtype=getattr(torch, choose_dtype(chosen))).sum() == 0
    findings = diagnose()
    assert findings.torch_build
    assert (findings.torch_build == "CPU") == (torch.version.cuda is None)


# ---------------------------------------------------------------- randomness


def test_streams_are_reproducible_and_apart():
    names = [("a", 0), ("a", 1), ("b", 0), ("a0",), ()]
    seeds = [derive_seed(seed, *name) for seed in (0, 1) for name in names]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert np.array_equal(generator(0, "a", 1).random(4), generator(0, "a", np.int64(1)).random(4))
    assert not np.array_equal(generator(0, "a", 1).random(4), generator(0, "a", 2).random(4))


# ---------------------------------------------------------------- the doctor


def test_versions_name_the_distribution_the_core_and_what_both_require(site):
    site("my-library", "1.2", ["auscult-core>=0.1", "absent-thing", "numpy", 'only-extra; extra == "more"'])
    found = versions("my-library")
    assert found["my-library"] == "1.2"
    assert found["absent-thing"] is None
    assert found["numpy"] == np.__version__
    assert found["pyarrow"] == importlib.metadata.version("pyarrow")
    assert "only-extra" not in found
    assert versions("never-installed")["never-installed"] is None


def problems(package="my-library"):
    return [problem.what for problem in diagnose(package).problems]


def test_this_installation_is_healthy_and_torch_is_not_imported():
    program = "import sys; from auscult.core.device import diagnose; print(diagnose().to_text())"
    program += "; sys.exit('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", program + "; sys.exit('torch' in sys.modules)"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0
    assert "PROBLEM" not in result.stdout
    assert "no problem found" in result.stdout
    assert f"auscult-core {importlib.metadata.version('auscult-core')}" in result.stdout


def test_the_findings_as_json_and_text(site):
    site("my-library", "1.2", ["auscult-core>=9"])
    findings = diagnose("my-library")
    found = json.loads(json.dumps(findings.to_dict()))
    assert found["healthy"] is False
    assert found["versions"]["my-library"] == "1.2"
    assert found["cpu_count"] >= 1
    assert found["devices"] == ["cpu"]
    assert found["problems"][0]["remedy"] == "pip install 'auscult-core>=9'"
    text = findings.to_text()
    assert text.startswith("my-library 1.2\n")
    assert "PROBLEM: my-library requires auscult-core>=9, but auscult-core 0." in text


def test_missing_and_outdated_requirements_are_problems(site):
    core = importlib.metadata.version("auscult-core")
    site(
        "my-library",
        "1.0",
        ["auscult-core<0.1", "numpy>=1", "absent-thing>=2", "not-here; python_version < '3'", 'no-extra; extra == "x"'],
    )
    assert problems() == [
        f"my-library requires auscult-core<0.1, but auscult-core {core} is installed",
        "my-library requires absent-thing>=2, which is not installed",
    ]
    assert problems("never-installed") == ["the distribution never-installed is not installed"]


def test_an_init_file_in_the_namespace_is_a_problem(site, tmp_path):
    site("my-library", "1.0", ["auscult-core"])
    assert problems() == []
    (tmp_path / "auscult").mkdir()
    (tmp_path / "auscult" / "__init__.py").touch()
    assert problems() == [f"{tmp_path / 'auscult' / '__init__.py'} hides the auscult libraries in other folders"]


@pytest.mark.parametrize(
    ("torch", "requires", "triton", "expected"),
    [
        ("2.13.0+cpu", [], "3.9.0", "triton 3.9.0 is not the one that torch 2.13.0+cpu is built with (triton==3.7.1)"),
        ("2.13.0+cpu", [], "3.7.1", None),
        ("2.14.0", ['triton==3.8.0; platform_system == "Linux"'], "3.7.1", "(triton==3.8.0)"),
        ("2.14.0", ['triton==3.8.0; platform_system == "Linux"'], "3.8.0", None),
        ("2.14.0+cpu", [], "3.9.0", None),
    ],
)
def test_a_triton_of_another_torch_is_a_problem(site, torch, requires, triton, expected):
    site("my-library", "1.0", ["auscult-core"])
    site("torch", torch, requires, torch_files())
    site("triton", triton)
    found = problems()
    assert len(found) == (expected is not None)
    assert expected is None or expected in found[0]


@pytest.mark.parametrize(("cuda", "build"), [(None, "CPU"), ("13.0", "CUDA 13.0")])
def test_a_library_without_torch_learns_the_build_without_importing_it(site, cuda, build):
    site("my-library", "1.0", ["auscult-core"])
    site("torch", "2.13.0", files={**torch_files(cuda=cuda), "torch/__init__.py": "raise RuntimeError('imported')"})
    findings = diagnose("my-library")
    assert findings.healthy
    assert findings.torch_build == build
    assert findings.versions["torch"] == "2.13.0"
    assert f"torch is a {build} build" in findings.to_text()


def test_a_library_with_torch_learns_its_devices(site):
    site("my-library", "1.0", ["auscult-core[torch]"])
    site("torch", "2.13.0", files=torch_files(devices=("H100",), cuda="13.0"))
    findings = diagnose("my-library")
    assert findings.healthy, findings.problems
    assert findings.devices == ("cpu", "cuda:0 (H100)")
    assert "torch" not in sys.modules


def test_a_torch_that_cannot_be_imported_is_a_problem(site):
    site("my-library", "1.0", ["torch>=2"])
    site("torch", "2.13.0", files={"torch/__init__.py": "raise OSError('libcudart.so is missing')"})
    assert problems() == ["torch 2.13.0 cannot be imported: OSError: libcudart.so is missing"]


def test_a_torchvision_of_another_build_is_a_problem(site):
    site("my-library", "1.0", ["torch>=2"])
    site("torch", "2.13.0", files=torch_files())
    broken = "raise RuntimeError('operator torchvision::nms does not exist')"
    site("torchvision", "0.28.0", files={"torchvision/__init__.py": broken})
    findings = diagnose("my-library")
    (problem,) = findings.problems
    assert "torchvision 0.28.0 cannot be imported beside torch 2.13.0" in problem.what
    assert "operator torchvision::nms does not exist" in problem.what
    assert "pip uninstall torchvision" in problem.remedy
    assert findings.devices == ("cpu",)


def test_a_torchvision_that_imports_is_none(site):
    site("my-library", "1.0", ["torch>=2"])
    site("torch", "2.13.0", files=torch_files())
    site("torchvision", "0.28.0", files={"torchvision/__init__.py": ""})
    assert problems() == []


def test_a_system_that_does_not_tell_its_memory(monkeypatch):
    def sysconf(name):
        raise ValueError(f"unrecognized configuration name {name}")

    monkeypatch.setattr(device.os, "sysconf", sysconf)
    findings = diagnose()
    assert findings.memory_gib is None
    assert "GiB" not in findings.to_text()


def test_importing_the_module_loads_neither_numpy_nor_torch():
    program = "import sys, auscult.core.device; sys.exit(bool({'numpy', 'pandas', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.torch
def test_one_thread_gives_the_caller_s_threads_back_after_an_error_too():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with device.one_thread():
            assert torch.get_num_threads() == 1
        with pytest.raises(ZeroDivisionError), device.one_thread():
            raise ZeroDivisionError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.torch
def test_a_process_leaves_its_group_before_it_ends(tmp_path):
    """And one that is in none, or that has left, ends as always."""
    pytest.importorskip("torch")
    script = """
import atexit, sys
import torch.distributed as group
from auscult.core.device import leave_group_at_exit

atexit.register(lambda: print(group.is_initialized()))
leave_group_at_exit()
leave_group_at_exit()
if sys.argv[1] != "never":
    group.init_process_group("gloo", store=group.HashStore(), rank=0, world_size=1)
if sys.argv[1] == "left":
    group.destroy_process_group()
"""
    for when in ("joined", "left", "never"):
        done = subprocess.run([sys.executable, "-c", script, when], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
