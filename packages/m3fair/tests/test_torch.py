import numpy as np
import pytest

from auscult.core.errors import InputError
from auscult.m3fair import Reweigher

pytestmark = pytest.mark.torch


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    sex = rng.integers(0, 2, 200)
    x = np.column_stack([np.ones(200), rng.normal(size=200), sex])
    y = (rng.random(200) < 0.3 + 0.3 * sex).astype(int)
    return x, y, Reweigher().fit_weights({"sex": sex}, y)


def test_property_13_full_batch_gradient_is_that_of_the_weighted_log_loss(rows):
    """The gradient of scikit-learn's weighted log loss, by its formula X'(w (p - y)) / n."""
    import torch

    from auscult.m3fair.torch import normalize_weights, weighted_bce

    x, y, w = rows
    beta = torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64, requires_grad=True)
    normal = normalize_weights(w).double()
    weighted_bce(torch.as_tensor(x) @ beta, torch.as_tensor(y), normal).backward()
    p = 1 / (1 + np.exp(-x @ beta.detach().numpy()))
    np.testing.assert_allclose(beta.grad.numpy(), x.T @ (normal.numpy() * (p - y)) / len(y), rtol=1e-12)


def test_batches_of_any_size_add_up_to_the_full_batch(rows):
    import torch

    from auscult.m3fair.torch import normalize_weights, weighted_bce

    x, y, w = (torch.as_tensor(part) for part in rows)
    weight, logits = normalize_weights(w).double(), x.sum(dim=1)
    whole = weighted_bce(logits, y, weight, reduction="sum")
    parts = [
        weighted_bce(logits[i : i + 30], y[i : i + 30], weight[i : i + 30], reduction="sum") for i in range(0, 200, 30)
    ]
    torch.testing.assert_close(sum(parts), whole)
    torch.testing.assert_close(
        weighted_bce(logits, y, weight, reduction="none").mean(), weighted_bce(logits, y, weight)
    )


def test_the_sampler_balances_what_the_weights_balance(rows):
    import torch

    from auscult.m3fair.torch import weighted_sampler

    x, y, w = rows
    drawn = np.array(list(weighted_sampler(w, num_samples=100_000, generator=torch.Generator().manual_seed(0))))
    rates = [y[drawn][x[drawn, 2] == sex].mean() for sex in (0, 1)]
    assert rates[0] == pytest.approx(rates[1], abs=0.02)
    again = list(weighted_sampler(w, num_samples=100_000, generator=torch.Generator().manual_seed(0)))
    assert again == drawn.tolist()


def test_dataset_wraps_tuples_mappings_and_bare_items():
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    from auscult.m3fair.torch import WeightedDataset

    data = TensorDataset(torch.arange(4.0), torch.arange(4))
    *_, weight = next(iter(DataLoader(WeightedDataset(data, [1, 2, 3, 2]), batch_size=4)))
    assert weight.tolist() == [0.5, 1.0, 1.5, 1.0]
    assert WeightedDataset([{"x": 1}], [5.0])[0]["weight"] == 1.0
    assert WeightedDataset(["text"], [5.0])[0] == ("text", torch.tensor(1.0))
    assert len(WeightedDataset(data, [1, 1, 1, 1])) == 4


def test_wrong_input_is_named():
    import torch

    from auscult.m3fair.torch import WeightedDataset, normalize_weights, weighted_bce

    with pytest.raises(InputError, match="shapes"):
        weighted_bce(torch.zeros(2), torch.zeros(3), torch.ones(2))
    with pytest.raises(InputError, match="reduction"):
        weighted_bce(torch.zeros(2), torch.zeros(2), torch.ones(2), reduction="average")
    with pytest.raises(InputError, match="all 0"):
        normalize_weights([0.0, 0.0])
    with pytest.raises(InputError, match="-1"):
        normalize_weights([1.0, -1.0])
    with pytest.raises(InputError, match="3 weights for 2 items"):
        WeightedDataset([1, 2], [1, 1, 1])
