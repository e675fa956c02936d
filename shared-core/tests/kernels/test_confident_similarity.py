import os

import pytest

torch = pytest.importorskip("torch", reason="the kernels need torch")

from auscult.core.errors import InputError  # noqa: E402
from auscult.core.kernels.confident_similarity import (  # noqa: E402
    confident_similarity,
    most_similar,
    op,
    similarity_pool,
    tiled,
)
from auscult.core.kernels.confident_similarity.reference import (  # noqa: E402
    confident_similarity_reference,
    most_similar_reference,
    similarity_pool_reference,
)
from auscult.core.testing.kernels import assert_close, check_gradients, check_operator, poisoned_memory  # noqa: E402

pytestmark = pytest.mark.torch
INTERPRETED = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") != "1", reason="TRITON_INTERPRET=1 runs the kernel on a CPU"
)


def make(rows=7, others=5, features=3, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x, c = torch.randn(rows, features, generator=generator), torch.rand(rows, features, generator=generator)
    y, d = torch.randn(others, features, generator=generator), torch.rand(others, features, generator=generator)
    return [tensor.to(dtype) for tensor in (x, c, y, d, torch.tensor(0.05))]


def test_reference_against_a_loop():
    x, c, y, d, zeta = make()
    found = confident_similarity_reference(x, c, y, d, zeta)
    for i in range(7):
        for j in range(5):
            terms = [
                0.95 * (x[i, f] - y[j, f]) ** 2 + 0.05 * torch.exp(1 - c[i, f]) * torch.exp(1 - d[j, f])
                for f in range(3)
            ]
            torch.testing.assert_close(found[i, j], 3 / sum(terms), rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_product_form_is_the_direct_form(dtype):
    arguments = make(63, 100, 37, dtype)
    assert_close(confident_similarity(*arguments), confident_similarity_reference(*(a.double() for a in arguments)))


def test_far_from_the_origin_the_distance_does_not_cancel():
    x, c, y, d, zeta = make(20, 30, 5, torch.float32)
    near = confident_similarity(x, c, y, d, zeta)
    far = confident_similarity(x + 1000, c, y + 1000, d, zeta)
    assert_close(far, near, dtype=torch.float16)
    alone = confident_similarity(x + 1000, c, x + 1000, c, zeta)
    assert (alone.diagonal() <= 20.01).all()


def test_a_distance_that_rounding_makes_negative_counts_as_none():
    """Two groups far apart: centring helps neither, and with the distance below 0 similarity has no bound."""
    x, _, _, _, zeta = make(40, 1, 5, torch.float32)
    x = torch.cat([x[:20] + 1000, x[20:] - 1000])
    sure = torch.ones_like(x)
    found = confident_similarity(x, sure, x, sure, zeta)
    assert (found > 0).all()
    assert (found <= 20.001).all()


def test_symmetric_bounded_and_monotone():
    """Property 3 and 4 of the method."""
    x, c, y, d, zeta = make(40, 40)
    found = confident_similarity(x, c, y, d, zeta)
    assert_close(found, confident_similarity(y, d, x, c, zeta).T)
    assert (found > 0).all()
    assert (found <= 1 / zeta).all()
    for f in range(3):
        more = 0.01 * torch.nn.functional.one_hot(torch.tensor(f), 3)
        assert (confident_similarity(x, c + more, y, d, zeta) > found).all()
        assert (confident_similarity(x, c, y, d + more, zeta) > found).all()


@pytest.mark.parametrize("confidence", [0.0, 1.0])
def test_of_the_same_values_doubt_alone_counts(confidence):
    """Property 3: 1/zeta where all is sure, and exp(2) times less where nothing is."""
    x, _, _, _, zeta = make(4, 1)
    c = torch.full_like(x, confidence)
    expected = 1 / (zeta * torch.exp(torch.tensor(2 - 2 * confidence, dtype=torch.float64)))
    assert_close(confident_similarity(x, c, x, c, zeta).diagonal(), expected.expand(4), dtype=torch.float32)


def test_the_similarity_falls_with_every_distance():
    x, c, y, d, zeta = make(1, 1)
    before = confident_similarity(x, c, y, d, zeta)
    for f in range(3):
        moved = x.clone()
        moved[0, f] += 0.1 * torch.sign(x[0, f] - y[0, f])
        assert confident_similarity(moved, c, y, d, zeta) < before


def test_sure_rows_are_ranked_by_euclidean_distance():
    x, _, y, _, zeta = make(10, 50)
    one = torch.ones_like
    found = confident_similarity(x, one(x), y, one(y), zeta)
    assert_close(found, 1 / (0.95 * torch.cdist(x, y) ** 2 / 3 + 0.05), dtype=torch.float32)
    assert torch.equal(found.argsort(1), torch.cdist(x, y).argsort(1, descending=True))
    tiny = confident_similarity(x, one(x), y, one(y), 1e-14)
    assert_close(tiny, 3 / torch.cdist(x, y) ** 2, dtype=torch.float32)


def test_gradients_by_differences():
    arguments = make(4, 3, 3)
    check_gradients(confident_similarity, *arguments)
    values = torch.randn(3, 2, generator=torch.Generator().manual_seed(1))
    check_gradients(similarity_pool, *arguments, values)


def test_gradients_of_tiles_are_those_of_the_whole(monkeypatch):
    monkeypatch.setattr(tiled, "_PAIRS", 10)
    arguments = [a.requires_grad_() for a in [*make(7, 5), torch.randn(5, 2, dtype=torch.float64)]]
    expected = torch.autograd.grad(similarity_pool_reference(*arguments).square().sum(), arguments)
    found = torch.autograd.grad(similarity_pool(*arguments).square().sum(), arguments)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other)


def test_the_operators_keep_torch_s_rules():
    arguments = [argument.requires_grad_() for argument in make(4, 3)]
    check_operator(op.similarity_operator, arguments)
    check_operator(op.pool_operator, (*arguments, torch.randn(3, 2, dtype=torch.float64, requires_grad=True), "torch"))


@pytest.mark.parametrize("k", [1, 4, 30])
def test_the_most_similar_of_all_tiles(monkeypatch, k):
    monkeypatch.setattr(tiled, "_tiles", lambda rows, columns: small_tiles(rows, columns, 5, 4))
    arguments = make(13, 30)
    with poisoned_memory():
        similarity, index = most_similar(*arguments, k)
    expected, whose = most_similar_reference(*arguments, k)
    assert_close(similarity, expected)
    assert torch.equal(index, whose)


def test_the_pool_of_all_tiles(monkeypatch):
    monkeypatch.setattr(tiled, "_tiles", lambda rows, columns: small_tiles(rows, columns, 5, 4))
    arguments, values = make(13, 30), torch.randn(30, 3, dtype=torch.float64)
    with poisoned_memory():
        found = similarity_pool(*arguments, values)
    assert_close(found, similarity_pool_reference(*arguments, values))


def small_tiles(rows, columns, high, wide):
    for top in range(0, rows, high):
        for left in range(0, columns, wide):
            yield slice(top, min(top + high, rows)), slice(left, min(left + wide, columns))


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3000, 9000), (5, 0)])
def test_tiles_cover_every_pair_once(rows, columns):
    seen = torch.zeros(rows, columns, dtype=torch.int8)
    for across, along in tiled._tiles(rows, columns):
        seen[across, along] += 1
    assert (seen == 1).all()


def test_half_inputs_are_computed_in_float32():
    arguments = make(4, 3, dtype=torch.bfloat16)
    assert confident_similarity(*arguments).dtype == torch.float32


def test_autocast_does_not_round_inside():
    arguments = make(40, 30, 20, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = confident_similarity(*arguments)
        similarity, _ = most_similar(*arguments, 3)
    assert torch.equal(found, confident_similarity(*arguments))
    assert torch.equal(similarity, most_similar(*arguments, 3)[0])


def test_what_does_not_fit_is_refused():
    x, c, y, d, zeta = make()
    with pytest.raises(InputError, match="do not fit"):
        confident_similarity(x, c[:, :2], y, d, zeta)
    with pytest.raises(InputError, match="do not fit"):
        confident_similarity(x, c, y[:, :2], d[:, :2], zeta)
    for k in (0, 6):
        with pytest.raises(InputError, match=f"the {k} most similar of 5"):
            most_similar(x, c, y, d, zeta, k)
    with pytest.raises(InputError, match="values"):
        similarity_pool(x, c, y, d, zeta, x)


@INTERPRETED
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(("rows", "others", "features", "k"), [(19, 70, 5, 3), (3, 9, 40, 9), (1, 1, 1, 1)])
def test_kernels_against_reference(dtype, rows, others, features, k):
    pytest.importorskip("triton")
    arguments = make(rows, others, features, dtype)
    wide = [argument.double() for argument in arguments]
    expected, whose = most_similar_reference(*wide, k)
    values = torch.randn(others, 33, dtype=dtype)
    with poisoned_memory():
        similarity, index = most_similar(*arguments, k, implementation="triton")
        pooled = similarity_pool(*arguments, values, implementation="triton")
    assert_close(similarity, expected, dtype=dtype)
    assert torch.equal(index, whose)
    assert_close(pooled, similarity_pool_reference(*wide, values.double()), dtype=dtype)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_kernels_on_cuda():
    pytest.importorskip("triton")
    arguments = [argument.cuda() for argument in make(300, 700, 37, torch.float32)]
    expected, _ = most_similar_reference(*(a.double() for a in arguments), 10)
    similarity, index = most_similar(*arguments, 10, implementation="triton")
    assert_close(similarity, expected)
    whole = confident_similarity_reference(*(a.double() for a in arguments))
    assert_close(whole.gather(1, index), expected)
    values = torch.randn(700, 50, device="cuda")
    pooled = similarity_pool(*arguments, values, implementation="triton")
    assert_close(pooled, similarity_pool_reference(*(a.double() for a in arguments), values.double()))
