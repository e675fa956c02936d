import math
import os

import pytest

torch = pytest.importorskip("torch", reason="the kernels need torch")

from auscult.core.errors import InputError  # noqa: E402
from auscult.core.kernels.target_nll import banded, op, target_nll  # noqa: E402
from auscult.core.kernels.target_nll.reference import target_nll_reference  # noqa: E402
from auscult.core.testing.kernels import assert_close, check_gradients, check_operator, poisoned_memory  # noqa: E402

pytestmark = pytest.mark.torch
INTERPRETED = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") != "1", reason="TRITON_INTERPRET=1 runs the kernel on a CPU"
)


def make(rows=3, length=4, features=5, words=7, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, length, features, generator=generator).to(dtype)
    weight = torch.randn(words, features, generator=generator).to(dtype)
    return hidden, weight, torch.randint(words, (length,), generator=generator)


def test_reference_against_a_loop():
    hidden, weight, target = make()
    found = target_nll_reference(hidden, weight, target)
    for b in range(3):
        total = 0.0
        for t in range(4):
            scores = [sum(float(hidden[b, t, f] * weight[v, f]) for f in range(5)) for v in range(7)]
            total += math.log(sum(map(math.exp, scores))) - scores[target[t]]
        assert float(found[b]) == pytest.approx(total / 4, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("band", [1, 40, 1 << 22])
def test_bands_are_the_whole(monkeypatch, dtype, band):
    monkeypatch.setattr(banded, "_SCORES", band)
    monkeypatch.setattr(banded, "_ROWS", 1)
    hidden, weight, target = make(9, 5, 33, 37, dtype)
    with poisoned_memory():
        found = target_nll(hidden, weight, target)
    assert_close(found, target_nll_reference(hidden.double(), weight.double(), target))


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 1 << 23), (100_000, 50), (0, 5)])
def test_bands_cover_every_row_once(rows, columns):
    assert [row for band in banded.bands(rows, columns) for row in range(band.start, band.stop)] == list(range(rows))


def test_equals_cross_entropy_of_torch():
    hidden, weight, target = make(6, 3, 8, 20, torch.float32)
    scores = (hidden @ weight.T).flatten(0, 1)
    expected = torch.nn.functional.cross_entropy(scores, target.repeat(6), reduction="none").view(6, 3).mean(1)
    assert_close(target_nll(hidden, weight, target), expected)


def test_large_scores_do_not_overflow():
    hidden, weight, target = make(dtype=torch.float32)
    found = target_nll(hidden * 1e4, weight, target)
    assert torch.isfinite(found).all()
    assert_close(found, target_nll_reference(hidden.double() * 1e4, weight.double(), target))


def test_gradients_by_differences(monkeypatch):
    monkeypatch.setattr(banded, "_SCORES", 14)
    monkeypatch.setattr(banded, "_ROWS", 1)
    hidden, weight, target = make()
    check_gradients(lambda h, w: target_nll(h, w, target), hidden, weight)


def test_gradient_of_a_frozen_head_is_not_computed():
    hidden, weight, target = make(dtype=torch.float32)
    hidden.requires_grad_()
    target_nll(hidden, weight, target).sum().backward()
    assert weight.grad is None
    other = hidden.detach().clone().requires_grad_()
    target_nll_reference(other, weight, target).sum().backward()
    assert_close(hidden.grad, other.grad)


def test_the_operator_keeps_torch_s_rules():
    hidden, weight, target = make()
    rows = hidden.flatten(0, 1).requires_grad_()
    check_operator(op.row_operator, (rows, weight.requires_grad_(), target.repeat(3), "torch"))


def test_half_inputs_are_summed_in_float32():
    hidden, weight, target = make(5, 4, 64, 300, torch.bfloat16)
    found = target_nll(hidden, weight, target)
    assert found.dtype == torch.float32
    assert_close(found, target_nll_reference(hidden.double(), weight.double(), target), dtype=torch.bfloat16)


def test_autocast_does_not_round_inside():
    arguments = make(5, 4, 64, 300, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = target_nll(*arguments)
    assert torch.equal(found, target_nll(*arguments))


def test_what_does_not_fit_is_refused():
    hidden, weight, target = make()
    for wrong in ((hidden[0], weight, target), (hidden, weight[:, :2], target), (hidden, weight, target[:2])):
        with pytest.raises(InputError, match="do not fit"):
            target_nll(*wrong)
    wrongs = (hidden[:, :0], weight, target[:0]), (hidden.float(), weight, target), (hidden, weight, target.int())
    for wrong in wrongs:
        with pytest.raises(InputError, match="int64 id"):
            target_nll(*wrong)


@INTERPRETED
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(("rows", "length", "features", "words"), [(9, 3, 37, 100), (1, 1, 1, 1), (5, 4, 63, 65)])
def test_kernel_against_reference(dtype, rows, length, features, words):
    pytest.importorskip("triton")
    hidden, weight, target = make(rows, length, features, words, dtype)
    with poisoned_memory():
        found = target_nll(hidden, weight, target, implementation="triton")
    assert_close(found, target_nll_reference(hidden.double(), weight.double(), target), dtype=dtype)


@INTERPRETED
def test_gradient_through_the_kernel():
    pytest.importorskip("triton")
    hidden, weight, target = make(5, 4, 20, 70, torch.float32)
    slopes = []
    for implementation in ("torch", "triton"):
        leaf = hidden.clone().requires_grad_()
        target_nll(leaf, weight, target, implementation=implementation).square().sum().backward()
        slopes.append(leaf.grad)
    assert_close(slopes[1], slopes[0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_kernel_on_cuda(dtype):
    pytest.importorskip("triton")
    hidden, weight, target = make(64, 20, 256, 3001, dtype)
    hidden, weight, target = hidden.cuda(), weight.cuda(), target.cuda()
    expected = target_nll_reference(hidden.double(), weight.double(), target)
    for implementation in ("torch", "triton"):
        assert_close(target_nll(hidden, weight, target, implementation=implementation), expected, dtype=dtype)
