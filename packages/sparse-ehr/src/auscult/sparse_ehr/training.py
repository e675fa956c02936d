"""Training of one PRISM model: AdamW, early stopping on the average precision of held-out stays, checkpoints.

Every epoch draws its batches and its dropout from streams of its own, so a run that was killed goes on from its
last checkpoint and, on a CPU, ends with the same weights as one that was not.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from auscult.core.canonical import digest
from auscult.core.device import choose_device, choose_dtype, derive_seed, generator, leave_group_at_exit
from auscult.core.errors import ConfigError, InputError
from auscult.core.files import replace_atomically
from auscult.core.progress import progress
from auscult.core.risk import auprc, auroc, log_loss
from auscult.sparse_ehr.forward import forward, to_tensors
from auscult.sparse_ehr.inputs import Inputs
from auscult.sparse_ehr.nn.config import check_types
from auscult.sparse_ehr.nn.prism import Prism

_CLIP = 1.0
_WARM_UP = 0.05


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained.

    Parameters
    ----------
    max_epochs
        Passes over the training stays at most; the learning rate falls along a cosine to zero at their end.
    patience
        Epochs without a better average precision on the held-out stays after which training ends.
    batch_size
        Stays of a step, over all processes.
    learning_rate, weight_decay
        Of AdamW.
    prototype_init
        Where prototypes start after the first epoch: ``"latent"``, centres of the training patients as the model
        represents them; ``"input"``, centres of their last step's inputs through a random map, as released.
    device
        As :func:`auscult.core.device.choose_device` takes it; a launcher of several processes chooses for itself.

    Raises
    ------
    ConfigError
        For a number that makes no sense.
    """

    max_epochs: int = 12
    patience: int = 6
    batch_size: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    prototype_init: Literal["latent", "input"] = "latent"
    device: str = "auto"

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("max_epochs", "patience", "batch_size", "learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}, but must be positive and finite")
        if not 0 <= self.weight_decay < math.inf:
            raise ConfigError(f"weight_decay is {self.weight_decay}: give 0 or more, and a finite number")


def train(
    model: Prism,
    inputs: Inputs,
    label: NDArray[np.bool_],
    held_out: Inputs,
    held_out_label: NDArray[np.bool_],
    config: TrainingConfig,
    *,
    seed: int,
    checkpoint: Path | None = None,
) -> list[dict[str, float]]:
    """Train a model in place, leave it with the weights of its best epoch, and return what each epoch was like.

    Parameters
    ----------
    model
        Freshly made, on the CPU; it is there again at the end.
    inputs, label
        Training stays; ``label`` [N].
    held_out, held_out_label
        Stays that decide when to stop.
    config
        How.
    seed
        Of batches, dropout and the first prototypes.
    checkpoint
        A file to keep the state in after every epoch, and to go on from where it exists.

    Raises
    ------
    InputError
        Where the checkpoint belongs to another model, configuration or data, or training diverges.
    """
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    handlers = [DistributedDataParallelKwargs(find_unused_parameters=True)]
    accelerator = Accelerator(device_placement=False, kwargs_handlers=handlers)
    leave_group_at_exit()
    device = choose_device(config.device) if accelerator.num_processes == 1 else str(accelerator.device)
    model.to(device)
    parallel: nn.Module = accelerator.prepare_model(model, device_placement=False)
    # One update for all parameters: a loop over small ones takes longer than the arithmetic.
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, foreach=True
    )
    run = _Run(model, optimizer, config, seed, inputs, label, held_out, held_out_label)
    run.resume(checkpoint)
    devices = [device] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices=devices), progress("Training", total=config.max_epochs) as advance:
        advance(run.epoch)
        while not run.is_over():
            torch.manual_seed(derive_seed(seed, "epoch", run.epoch))
            loss = _one_epoch(accelerator, parallel, run, device)
            run.refuse_divergence(loss)
            for buffer in model.buffers():
                _synchronize(accelerator, buffer)
            if run.epoch == 0:
                _place_prototypes(run, device)
            logits = forward(model, held_out, device=device).logits
            run.refuse_divergence(logits)
            run.note(loss, _of_first_process(accelerator, logits, device), held_out_label)
            if checkpoint is not None and accelerator.is_main_process:
                run.save(checkpoint)
            advance(1)
    model.load_state_dict(run.best)
    accelerator.unwrap_model(parallel, keep_fp32_wrapper=False)
    model.to("cpu").eval()
    return run.history


class _Run:
    """The state of a training: all that a checkpoint holds."""

    def __init__(
        self, model: Prism, optimizer: torch.optim.Optimizer, config: TrainingConfig, seed: int, inputs: Inputs,
        label: NDArray[np.bool_], held_out: Inputs, held_out_label: NDArray[np.bool_],
    ) -> None:  # fmt: skip
        self.model, self.optimizer, self.config, self.seed = model, optimizer, config, seed
        self.inputs, self.label = inputs, label
        self.epoch, self.best_epoch, self.best_score = 0, -1, -math.inf
        self.best: dict[str, Tensor] = {}
        self.history: list[dict[str, float]] = []
        settings = {name: value for name, value in vars(config).items() if name != "device"}
        arrays = [*vars(inputs).values(), label, *vars(held_out).values(), held_out_label]
        data = [(array.shape, hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()) for array in arrays]
        self.identity = digest([settings, vars(model.config), seed, data])

    def is_over(self) -> bool:
        """Return whether the last epoch is done, or patience is at its end."""
        return self.epoch >= self.config.max_epochs or self.epoch - 1 - self.best_epoch >= self.config.patience

    def refuse_divergence(self, found: ArrayLike) -> None:
        """Raise where a number is not finite that an epoch gave."""
        if not np.isfinite(found).all():
            rate = self.config.learning_rate
            raise InputError(f"training diverged at epoch {self.epoch} with learning_rate {rate}: give a lower one")

    def note(self, loss: float, logits: NDArray[np.float32], label: NDArray[np.bool_]) -> None:
        """Note how an epoch went, and keep the weights if it was the best."""
        with np.errstate(over="ignore"):  # of a risk of 0
            risk = 1 / (1 + np.exp(-logits.astype(np.float64)))
        measured = {"auprc": auprc(label, risk), "auroc": auroc(label, risk), "log_loss": log_loss(label, risk)}
        self.history.append({"epoch": self.epoch, "loss": loss, **measured})
        # Without a case there is no average precision.
        score = measured["auprc"] if math.isfinite(measured["auprc"]) else -measured["log_loss"]
        if score > self.best_score or not self.best:
            self.best_score, self.best_epoch = score, self.epoch
            self.best = {name: value.detach().cpu().clone() for name, value in self.model.state_dict().items()}
        self.epoch += 1

    def save(self, path: Path) -> None:
        """Write everything, all or nothing."""
        state = {
            "identity": self.identity, "epoch": self.epoch, "best_epoch": self.best_epoch,
            "best_score": self.best_score, "best": self.best, "history": self.history,
            "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(),
        }  # fmt: skip
        replace_atomically(path, lambda partial: torch.save(state, partial))

    def resume(self, path: Path | None) -> None:
        """Take up what a checkpoint holds, if there is one."""
        if path is None or not path.exists():
            return
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever a damaged archive makes of torch's reader
            raise InputError(f"the checkpoint {path} cannot be read ({error}): delete it to train anew") from None
        if state["identity"] != self.identity:
            raise InputError(f"the checkpoint {path} is of another model or other data: delete it to train anew")
        self.epoch, self.best_epoch, self.best_score = state["epoch"], state["best_epoch"], state["best_score"]
        self.best, self.history = state["best"], state["history"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])


def _one_epoch(accelerator: Any, model: nn.Module, run: _Run, device: str) -> float:
    config, total = run.config, 0.0
    model.train()
    batches = list(_batches(len(run.inputs), config.batch_size, run.seed, run.epoch, accelerator.num_processes))
    half = choose_dtype(device) == "bfloat16"
    for number, batch in enumerate(batches):
        rows = batch[accelerator.process_index :: accelerator.num_processes]
        rate = config.learning_rate * _share(run.epoch + number / len(batches), config.max_epochs)
        for group in run.optimizer.param_groups:
            group["lr"] = rate
        target = torch.from_numpy(run.label[rows]).to(device, torch.float32)
        with torch.autocast(device.partition(":")[0], torch.bfloat16, enabled=half):
            logits = model(*to_tensors(run.inputs.rows(rows), device)).logits
        loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), target)
        run.optimizer.zero_grad()
        accelerator.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), _CLIP)
        run.optimizer.step()
        total += loss.item() * len(rows)
    return total / sum(len(batch) for batch in batches) * float(accelerator.num_processes)


def _synchronize(accelerator: Any, tensor: Tensor) -> None:
    """Give every process the first one's values."""
    if accelerator.num_processes > 1:
        torch.distributed.broadcast(tensor, 0)


def _of_first_process(accelerator: Any, array: NDArray[np.float32], device: str) -> NDArray[np.float32]:
    """Return the first process's array, so that all decide alike."""
    tensor = torch.from_numpy(array).to(device)
    _synchronize(accelerator, tensor)
    return tensor.cpu().numpy()


def _batches(count: int, size: int, seed: int, epoch: int, processes: int) -> Iterator[NDArray[np.intp]]:
    """Yield the rows of each step, all nearly as many; every process takes the same number of them."""
    order = generator(seed, "order", epoch).permutation(count)
    for batch in np.array_split(order, math.ceil(count / size)):
        share = len(batch) // processes * processes
        yield batch[:share] if share else np.resize(batch, processes)


def _share(epoch: float, epochs: int) -> float:
    """Return the share of the learning rate: a line up, then a cosine down."""
    warm = _WARM_UP * epochs
    return (epoch + 0.1) / (warm + 0.1) if epoch < warm else 0.5 * (1 + math.cos(math.pi * epoch / epochs))


def _place_prototypes(run: _Run, device: str) -> None:
    """Put the prototypes at the centres of the training patients (k-means++)."""
    from sklearn.cluster import KMeans

    model, inputs = run.model, run.inputs
    found = forward(model, inputs, device=device)
    run.refuse_divergence(found.summary)
    latent = run.config.prototype_init == "latent"
    points = (found.summary if latent else np.column_stack([inputs.static, inputs.values[:, -1]])).astype(np.float64)
    count = model.config.n_prototypes
    distinct = len(np.unique(points, axis=0))
    start = derive_seed(run.seed, "prototypes") % 2**32
    means = KMeans(min(count, distinct), n_init=1, random_state=start).fit(points)
    member = means.labels_
    # Where there are fewer different patients than prototypes, some prototypes are equal.
    index = np.resize(np.arange(len(means.cluster_centers_)), count)
    centres = torch.tensor(means.cluster_centers_[index], dtype=torch.float32)
    if not latent:
        centres = nn.Linear(centres.shape[1], model.config.n_features)(centres).detach()
    sure = np.stack([found.summary_confidence[member == k].mean(0) for k in index])
    model.prototypes.initialize(centres.to(device), torch.from_numpy(sure).to(device))
