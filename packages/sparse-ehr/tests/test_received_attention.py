import pytest
import torch

from auscult.core.testing.kernels import check_gradients
from auscult.sparse_ehr.nn import received
from auscult.sparse_ehr.nn.received import received_attention


def make_attention(patients=5, queries=3, keys=7, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(*shape, generator=generator, dtype=dtype)
        for shape in ((patients, queries, 4), (patients, keys, 4), (patients, queries, 2))
    )
    valid = torch.rand(patients, keys, generator=generator) < 0.7
    valid[:, 0] = True
    return query, key, value, valid


def test_against_the_attention_as_a_whole():
    query, key, value, valid = make_attention()
    attention = (query @ key.transpose(1, 2)).masked_fill(~valid[:, None], -torch.inf).softmax(2)
    found = received_attention(query, key, value, valid)
    torch.testing.assert_close(found, attention.transpose(1, 2) @ value)
    assert (found[~valid] == 0).all()


def test_gradients():
    query, key, value, valid = make_attention()
    check_gradients(lambda q, k, v: received_attention(q, k, v, valid), query, key, value)


@pytest.mark.parametrize("block", [1, 2 * 3 * 7 * 8])
def test_the_size_of_a_block_changes_nothing(block, monkeypatch):
    def run():
        query, key, value, valid = make_attention()
        inputs = [tensor.requires_grad_() for tensor in (query, key, value)]
        out = received_attention(*inputs, valid)
        out.square().sum().backward()
        return [out.detach(), *(tensor.grad for tensor in inputs)]

    whole = run()
    monkeypatch.setitem(received._BLOCK, "cpu", block)
    for found, expected in zip(run(), whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_a_key_that_is_hidden_has_no_gradient_even_where_it_is_large():
    query, key, value, valid = make_attention(dtype=torch.float32)
    key = torch.where(valid[..., None], key, 1e6).requires_grad_()
    received_attention(query, key, value, valid).square().sum().backward()
    assert (key.grad[~valid] == 0).all()
    assert key.grad.isfinite().all()
