"""Train a classifier of PyPOTS on arrays of a file and write its test probabilities to another.

Runs in the environment of requirements.txt, without auscult: ``python classify.py GRUD in.npz out.npz --seed 0``.
"""

import argparse
import time
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from pypots import classification
from pypots.imputation.brits.data import DatasetForBRITS
from pypots.optim import Adam
from torch.utils.data import DataLoader

# PyPOTS has no default sizes, and those of its tests are toys. These are of its README's example for SAITS, and of that
# order for the others.
SIZES = {
    "GRUD": {"rnn_hidden_size": 256},
    "BRITS": {"rnn_hidden_size": 256},
    "SAITS": {"n_layers": 2, "d_model": 256, "n_heads": 4, "d_k": 64, "d_v": 64, "d_ffn": 128, "dropout": 0.1},
    "Raindrop": {"n_layers": 2, "n_heads": 2, "d_ffn": 256, "dropout": 0.3},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=SIZES)
    parser.add_argument("arrays", type=Path, help="X_train, y_train, X_validation, y_validation, X_test")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--patience", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(chosen.seed)
    np.random.seed(chosen.seed)  # noqa: NPY002  # what PyPOTS draws from
    arrays = np.load(chosen.arrays)
    _, steps, features = arrays["X_train"].shape
    sizes = dict(SIZES[chosen.model])
    if chosen.model == "Raindrop":
        sizes["d_model"] = 4 * features
    begin = time.perf_counter()
    with TemporaryDirectory() as folder:
        model = getattr(classification, chosen.model)(
            n_steps=steps, n_features=features, n_classes=2, **sizes, epochs=chosen.epochs, patience=chosen.patience,
            optimizer=Adam(lr=1e-3, weight_decay=1e-5), device="cpu", saving_path=folder,
        )  # fmt: skip
        fit(model, *({"X": arrays[f"X_{part}"], "y": arrays[f"y_{part}"]} for part in ("train", "validation")))
        fitted = time.perf_counter()
        names = [name.removeprefix("X_") for name in arrays.files if name.startswith("X_test")]
        probability = {f"p_{name}": np.asarray(model.predict_proba({"X": arrays[f"X_{name}"]}))[:, 1] for name in names}
    np.savez(
        chosen.out, **probability, seconds=fitted - begin, version=version("pypots"), torch=version("torch"),
        options=f"{sizes}, Adam 1e-3 weight decay 1e-5, batch 32, {chosen.epochs} epochs, patience {chosen.patience}",
    )  # fmt: skip


def fit(model: Any, train: dict[str, np.ndarray], validation: dict[str, np.ndarray]) -> None:
    """Fit a model; BRITS step by step, as its own ``fit`` of PyPOTS 1.5 validates on the training part."""
    if not isinstance(model, classification.BRITS):
        model.fit(train, validation)
        return
    loaders = [
        DataLoader(DatasetForBRITS(part, return_X_ori=False, return_y=True), model.batch_size, shuffle=part is train)
        for part in (train, validation)
    ]
    model._train_model(*loaders)
    model.model.load_state_dict(model.best_model_dict)


if __name__ == "__main__":
    main()
