"""The model against a plain NumPy form of sections 3 to 5 in float64, with loops and the tiled attention."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from auscult.core.testing.kernels import assert_close
from auscult.sparse_ehr.nn import Prism, PrismConfig

WIDTHS, STATIC, STEPS = (2, 1, 1), 2, 6
FEATURES = STATIC + len(WIDTHS)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.log1p(np.exp(x))


def gru(x, w, u, b, c, seen=None):
    """Return the states of one GRU over x [T, P]; a step that is not seen keeps the state."""
    h, states = np.zeros(u.shape[1]), []
    for t, step in enumerate(x):
        if seen is not None and not seen[t]:
            states.append(h)
            continue
        gates, from_state = w @ step + b, u @ h + c
        size = len(h)
        r = sigmoid(gates[:size] + from_state[:size])
        z = sigmoid(gates[size : 2 * size] + from_state[size : 2 * size])
        n = np.tanh(gates[2 * size :] + r * from_state[2 * size :])
        h = (1 - z) * n + z * h
        states.append(h)
    return np.array(states)


def share(config, raw):
    return sigmoid(raw) if config.constrain else raw


def similarity(config, zeta, x, c, y, d):
    if config.similarity == "cosine":
        return (1 + x @ y / np.sqrt((x @ x) * (y @ y))) / 2
    if config.similarity == "euclidean":
        c = d = np.ones(len(x))
    total = 0.0
    for f in range(len(x)):
        total += (1 - zeta) * (x[f] - y[f]) ** 2 + zeta * np.exp(1 - c[f]) * np.exp(1 - d[f])
    return len(x) / total


def encode(config, p, values, static, hours):
    """Return the states [T, F, C] of one patient."""
    steps = len(values)
    states = np.zeros((steps, FEATURES, config.channel))
    for j in range(STATIC):
        states[:, j] = static[j] * p["static.weight"][j] + p["static.bias"][j]
    column = 0
    for i, width in enumerate(WIDTHS):
        part = values[:, column : column + width]
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        w, u, b, c = (p[f"dynamic.{name}"][i] for name in names)
        states[:, STATIC + i] = gru(part, w[:, :width], u, b, c, np.isfinite(hours[:, i]) if config.hard_mask else None)
        column += width
    return states


def attend(config, p, states, hours, rate):
    """Return calibrated states [T, F, C], confidence and attention [T, F] of one patient."""
    steps = len(states)
    linear = {
        name: states @ p[f"attention.{name}.weight"].T + p[f"attention.{name}.bias"]
        for name in ("query", "key", "value")
    }
    query = linear["query"][-1]
    scores = np.zeros((FEATURES, steps, FEATURES))
    for a in range(FEATURES):
        for t in range(steps):
            for f in range(FEATURES):
                scores[a, t, f] = query[a] @ linear["key"][t, f] / np.sqrt(config.channel)
    weights = np.exp(scores - scores.max((1, 2), keepdims=True))
    weights /= weights.sum((1, 2), keepdims=True)
    alpha = weights.mean(0)
    gamma = p["attention.confidence.gamma.raw"]
    gamma = softplus(gamma) + 1e-3 if config.constrain else gamma
    confidence = np.zeros((steps, FEATURES))
    for t in range(steps):
        for f in range(FEATURES):
            tau = 0.0 if f < STATIC else hours[t, f - STATIC] / (config.horizon / 2)
            if not config.explicit_never:
                tau = min(tau, 2.0)
            if tau == (np.inf if config.explicit_never else 2.0):
                confidence[t, f] = config.use_rate * p["attention.confidence.beta"] * rate[f - STATIC]
                continue
            tau *= config.use_time
            strength = alpha[t, f] * (steps * FEATURES if config.rescale_attention else 1)
            if config.confidence_from == "missingness":
                strength = 1
            confidence[t, f] = np.tanh(strength / (gamma[f] * np.log(np.e + (1 - alpha[t, f]) * tau)))
    if not config.confidence:
        confidence[:] = 1
    mixed_in = confidence
    if config.normalize_confidence:
        mixed_in = np.maximum(confidence, 0) / np.maximum(confidence, 0).sum()
    mu = share(config, p["attention.mu.raw"]) if config.calibrated_attention else 0
    calibrated = mu * mixed_in + (1 - mu) * weights
    if config.attention_apply == "paid":
        out = np.zeros_like(states)
        for a in range(FEATURES):
            out[-1, a] = sum(calibrated[a, t, f] * linear["value"][t, f] for t in range(steps) for f in range(FEATURES))
        return states + out, confidence, alpha
    # As released: rows tiled over time, transposed, times the values of all cells.
    tiled = np.tile(calibrated.reshape(FEATURES, -1), (steps, 1))
    out = tiled.T @ linear["value"].reshape(steps * FEATURES, -1)
    return states + out.reshape(states.shape), confidence, alpha


def oracle(config, p, rate, patients):
    """Return logits, confidence, prototypes' numbers and similarities of patients (values, static, hours)."""
    kept = [encode(config, p, *patient) for patient in patients]
    attended = [attend(config, p, states, hours, rate) for states, (_, _, hours) in zip(kept, patients, strict=True)]
    x = np.array([states[-1].mean(1) for states, _, _ in attended])
    pool = (lambda c: c.mean(0)) if config.confidence_pool == "mean" else (lambda c: c[-1])
    c = np.array([pool(confidence) for _, confidence, _ in attended])
    centres, sure = p["prototypes.centres"], p["prototypes.confidence"]
    zeta, eta = share(config, p["prototypes.zeta.raw"]), share(config, p["eta.raw"]) if config.prototypes else 0
    rows, rows_sure = np.vstack([x, centres]), np.vstack([c, sure])
    count, batch = len(centres), len(x)
    adjacency = np.zeros((count, batch + count))
    for k in range(count):
        for j in range(batch + count):
            own = j == batch + k
            adjacency[k, j] = 1 if own else similarity(config, zeta, centres[k], sure[k], rows[j], rows_sure[j])
    if config.graph_normalization == "row":
        adjacency /= adjacency.sum(1, keepdims=True)
    elif config.graph_normalization == "symmetric":
        adjacency /= np.sqrt(adjacency.sum(1, keepdims=True) * adjacency.sum(0))
    mixed = adjacency @ (rows @ p["prototypes.weight"]) + p["prototypes.bias"]
    embedding = sigmoid(mixed @ p["prototypes.out.weight"].T + p["prototypes.out.bias"])
    found = np.array(
        [[similarity(config, zeta, x[b], c[b], centres[k], sure[k]) for k in range(count)] for b in range(batch)]
    )
    logits = []
    for b, (states, _, _) in enumerate(attended):
        w = states.reshape(len(states), -1) @ p["fuse.weight"].T + p["fuse.bias"]
        u = eta * embedding[found[b].argmax()] + (1 - eta) * w
        layer, last = u @ p["embed.weight"].T + p["embed.bias"], []
        if config.normalize_steps:
            layer = (layer - layer.mean(1, keepdims=True)) / np.sqrt(layer.var(1, keepdims=True) + 1e-5)
            layer = layer * p["normalize.weight"] + p["normalize.bias"]
        for name in ("first", "second"):
            layer = gru(layer, *(p[f"{name}.{part}"][0] for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")))
            last.append(layer[-1])
        logits.append((p["predict.weight"] @ np.mean(last, 0) + p["predict.bias"])[0])
        if config.direct_readout:
            logits[-1] += (p["readout.weight"] @ states[-1].reshape(-1) + p["readout.bias"])[0]
    return np.array(logits), [confidence for _, confidence, _ in attended], found, embedding


def make_patients(seed=0, count=5, lengths=None):
    """Return float64 tensors: values, static, hours with variables never and lately observed, lengths."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(count, STEPS, sum(WIDTHS), generator=generator, dtype=torch.float64)
    static = torch.randn(count, STATIC, generator=generator, dtype=torch.float64)
    hours = torch.randint(0, 47, (count, STEPS, len(WIDTHS)), generator=generator).double()
    hours[:, :2, 1] = torch.inf
    hours[::2, :, 2] = torch.inf
    return values, static, hours, torch.tensor(lengths or [STEPS] * count)


def make_model(config, seed=0):
    torch.manual_seed(seed)
    model = Prism(config, torch.tensor([0.9, 0.5, 0.1])).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.rand_like(parameter))
    return model


CORRECTED = PrismConfig(WIDTHS, STATIC, channel=3, hidden=4, n_prototypes=3, dropout=0.0, state_dropout=0.0)
CONFIGS = {
    "released": PrismConfig.released(WIDTHS, STATIC, channel=3, hidden=4, n_prototypes=3),
    "corrected": CORRECTED,
    "paid, last": replace(CORRECTED, attention_apply="paid", confidence_pool="last"),
    "one repair": PrismConfig.released(WIDTHS, STATIC, channel=3, hidden=4, rescale_attention=True),
    "symmetric, euclidean, masked": replace(
        CORRECTED, graph_normalization="symmetric", similarity="euclidean", hard_mask=True
    ),
    "cosine, reliability": replace(CORRECTED, similarity="cosine", confidence_from="missingness"),
    "no confidence, no prototypes": replace(CORRECTED, confidence=False, prototypes=False),
    "no rate, no time, not calibrated": replace(CORRECTED, use_rate=False, use_time=False, calibrated_attention=False),
}


@pytest.mark.parametrize("lengths", [None, [6, 3, 1, 5, 2]])
@pytest.mark.parametrize("name", CONFIGS)
def test_equal_to_the_oracle(name, lengths):
    config = CONFIGS[name]
    model = make_model(config)
    values, static, hours, length = make_patients(lengths=lengths)
    p = {key: value.double().numpy().copy() for key, value in model.state_dict().items()}
    patients = [(values[b, :n].numpy(), static[b].numpy(), hours[b, :n].numpy()) for b, n in enumerate(length.tolist())]
    rates = p["rate"][STATIC:]  # which are kept in float32
    logits, confidence, found, embedding = oracle(config, p, rates, patients)
    beyond = torch.arange(STEPS) >= length[:, None]
    values[beyond] = torch.nan
    hours[beyond] = torch.nan
    output = model.train()(values, static, hours, length=length)
    close = partial(torch.testing.assert_close, rtol=1e-10, atol=1e-11)
    close(output.logits.detach(), torch.tensor(logits))
    close(output.similarity, torch.tensor(found))
    for b, n in enumerate(length.tolist()):
        close(output.confidence[b, :n].detach(), torch.tensor(confidence[b]))
        assert not output.confidence[b, n:].any()
    if config.prototype_update == "batch":
        close(model.prototypes.centres, torch.tensor(embedding))


@pytest.mark.parametrize("config", [CONFIGS["released"], CONFIGS["corrected"]], ids=["released", "corrected"])
def test_the_cheap_attention_is_the_tiled_one(config):
    """2: values and gradients, to the last digits of float64."""
    from auscult.sparse_ehr.nn.attention import CalibratedAttention

    torch.manual_seed(0)
    module, (batch, steps, features, channel) = CalibratedAttention(config).double(), (3, STEPS, FEATURES, 3)
    states = torch.randn(batch, steps, features, channel, dtype=torch.float64)
    tau = torch.rand(batch, steps, features, dtype=torch.float64)
    never, rate = torch.rand(batch, steps, features) < 0.3, torch.rand(features, dtype=torch.float64)
    valid = torch.ones(batch, steps, dtype=torch.bool)

    def tiled(states):
        tokens = steps * features
        query, key, value = module.query(states[:, -1]), module.key(states), module.value(states)
        attention = (query @ key.reshape(batch, tokens, channel).transpose(1, 2) / channel**0.5).softmax(2)
        received = attention.mean(1).view(batch, steps, features)
        sure = module.confidence(received, tau, never, rate, torch.full((batch, 1, 1), tokens))
        if config.normalize_confidence:
            sure = sure / sure.sum((1, 2), keepdim=True)
        mu = module.mu()
        calibrated = (mu * sure.view(batch, 1, tokens) + (1 - mu) * attention).repeat(1, steps, 1)
        return states + (calibrated.transpose(1, 2) @ value.reshape(batch, tokens, channel)).view(states.shape)

    results = []
    for form in (tiled, lambda states: module(states, tau, never, rate, valid)[0]):
        leaf = states.clone().requires_grad_()
        out = form(leaf)
        results.append([out, *torch.autograd.grad(out.square().sum(), [leaf, *module.parameters()])])
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_float32_is_close_to_float64():
    values, static, hours, length = make_patients()
    wide = make_model(CONFIGS["corrected"]).eval()
    narrow = make_model(CONFIGS["corrected"]).eval().float()
    expected = wide(values, static, hours, length=length)
    found = narrow(values.float(), static.float(), hours.float(), length=length)
    assert_close(found.logits, expected.logits, dtype=torch.float32)
    assert_close(found.confidence, expected.confidence, dtype=torch.float32)
