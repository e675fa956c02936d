"""The trainer of Diffusion-DPO, in the shape of TRL's preference trainers."""

import contextlib
import copy
import warnings
from collections import defaultdict, deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import Trainer, TrainerCallback

from auscult.agfsync.training.config import DiffusionDPOConfig
from auscult.agfsync.training.draws import Noised, noise_pairs
from auscult.agfsync.training.export import load_adapter, save_adapter
from auscult.agfsync.training.losses import DPOLossOutput, PairErrors, preference_loss
from auscult.agfsync.training.reference import (
    REFERENCE,
    ReferenceErrors,
    as_reference,
    items_digest,
    keep_reference,
    weights_digest,
)
from auscult.core.device import leave_group_at_exit
from auscult.core.errors import InputError
from auscult.core.kernels.paired_error import paired_error

SD_BETA, SDXL_BETA = 2000.0, 5000.0
_EVALUATION_SEED = 1
CONDITIONS = ("prompt_embeds", "pooled", "time_ids_w", "time_ids_l")


class DiffusionDPOTrainer(Trainer):
    """Tune a UNet on preference pairs.

    Parameters
    ----------
    model
        A ``UNet2DConditionModel``, trained in place.
    ref_model
        The reference of full fine-tuning; left out, a frozen copy of the model, or no copy where its errors are
        computed before training. With LoRA the reference is the model with its adapter off, or with a frozen copy
        of the adapter where training goes on from one.
    args
        See :class:`~auscult.agfsync.training.config.DiffusionDPOConfig`.
    train_dataset, eval_dataset
        Map-style data whose items are dicts of tensors (see :class:`~auscult.agfsync.training.cache.PairCache`):
        ``pair`` (), ``mean_w``, ``std_w``, ``mean_l``, ``std_l`` (C, h, w), ``prompt_embeds`` (T, D); for SDXL
        ``pooled`` (P,), ``time_ids_w``, ``time_ids_l`` (6,).
    noise_scheduler
        The noise schedule of the model, from diffusers.
    peft_config
        A ``LoraConfig``: train a new adapter. Left out, all weights are trained, or the adapter that the model has.
    callbacks, optimizers
        As for ``transformers.Trainer``.

    Notes
    -----
    Logged are ``rewards/chosen``, ``rewards/rejected``, ``rewards/accuracies`` and ``rewards/margins`` as TRL
    does, and ``errors/chosen_excess`` and ``errors/rejected_excess``: the policy's error above the reference's.

    Raises
    ------
    InputError
        For data without a column, or settings that do not fit the model.
    """

    args: DiffusionDPOConfig
    model: Any

    def __init__(
        self,
        model: Any,
        ref_model: Any = None,
        args: DiffusionDPOConfig | None = None,
        train_dataset: Dataset[dict[str, Tensor]] | None = None,
        eval_dataset: Dataset[dict[str, Tensor]] | None = None,
        noise_scheduler: Any = None,
        peft_config: Any = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
    ) -> None:
        args = args if args is not None else DiffusionDPOConfig(output_dir="diffusion-dpo")
        if noise_scheduler is None:
            raise InputError("noise_scheduler is missing: give the pipeline's scheduler")
        found = list(getattr(model, "peft_config", None) or ())
        if found and (peft_config is not None or len(found) > 1):
            raise InputError(
                f"the model has the adapter {found[0]!r} already: leave peft_config out to train it on, if it is the "
                "only one, or fuse and unload what it has (pipeline.fuse_lora, pipeline.unload_lora_weights)"
            )
        if peft_config is not None:
            model.requires_grad_(False)
            model.add_adapter(peft_config)
        self.adapter: str | None = found[0] if found else "default" if peft_config is not None else None
        if self.adapter:
            if ref_model is not None:
                raise InputError("with an adapter the reference is the model as training found it: leave ref_model out")
            from diffusers.training_utils import cast_training_params

            # Small updates of half-precision adapters round to nothing.
            model.requires_grad_(False)
            model.set_adapter(self.adapter)
            cast_training_params(model, dtype=torch.float32)
            if found:
                keep_reference(model, self.adapter)
        is_sdxl = getattr(model.config, "addition_embed_type", None) == "text_time"
        self.beta = args.beta if args.beta is not None else SDXL_BETA if is_sdxl else SD_BETA
        self.noise_scheduler = noise_scheduler
        self.reference_errors: ReferenceErrors | None = None
        self._metrics: dict[str, dict[str, list[float]]] = {"train": defaultdict(list), "eval": defaultdict(list)}
        self._excess: deque[tuple[float, float]] = deque(maxlen=max(args.guard_window, 1))
        denoiser = _Denoiser(model)
        super().__init__(
            model=denoiser, args=args, data_collator=stack, train_dataset=train_dataset, eval_dataset=eval_dataset,
            callbacks=callbacks, optimizers=optimizers,
        )  # fmt: skip
        leave_group_at_exit()
        self.ref_model: Any = None
        if not self.adapter and not args.precompute_ref_log_probs:
            self.ref_model = copy.deepcopy(model) if ref_model is None else ref_model
            self.ref_model.requires_grad_(False).eval().to(args.device)
        elif ref_model is not None:
            self.ref_model = ref_model.requires_grad_(False).eval().to(args.device)
        if args.sync_ref_model:
            if self.ref_model is None:
                raise InputError(
                    "with an adapter there is no copy of the reference to follow: leave sync_ref_model out"
                )
            from trl.trainer.callbacks import SyncRefModelCallback

            self.add_callback(SyncRefModelCallback(self.ref_model, self.accelerator))

    @property
    def unet(self) -> Any:
        """The UNet that is trained."""
        return self.accelerator.unwrap_model(self.model).unet

    def train(
        self, resume_from_checkpoint: str | bool | None = None, trial: Any = None, ignore_keys_for_eval: Any = None
    ) -> Any:
        """Train, from the beginning or from a checkpoint; see ``transformers.Trainer.train``."""
        if self.args.precompute_ref_log_probs and self.reference_errors is None:
            self.reference_errors = self._precompute()
        return super().train(resume_from_checkpoint, trial, ignore_keys_for_eval)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the loss of a batch of pairs, and with ``return_outputs`` the :class:`DPOLossOutput` too."""
        errors = self._errors(model, inputs, self._draw(inputs))
        output = preference_loss(
            errors, beta=self.beta, loss_type=self.args.loss_type, batch_norm_compat=self.args.batch_norm_compat
        )
        self._record(output, errors)
        return (output.loss, output) if return_outputs else output.loss

    def training_step(self, model: nn.Module, inputs: dict[str, Tensor], num_items_in_batch: Any = None) -> Tensor:
        """Do one step of a batch: forward and backward, at once or one half of the pairs after the other."""
        if self.args.split_backward:
            loss = self._split_step(model, inputs)
        else:
            loss = super().training_step(model, inputs, num_items_in_batch)
        self._guard()
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log what the steps since the last line gave on average."""
        mode = "train" if self.model.training else "eval"
        prefix = "" if mode == "train" else "eval_"
        means = {f"{prefix}{name}": sum(values) / len(values) for name, values in self._metrics[mode].items()}
        self._metrics[mode].clear()
        super().log({**logs, **means}, start_time)

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Tensor], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[Tensor, None, None]:
        """Return the loss of a batch of the evaluation data, whose draws are always the same."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            return self.compute_loss(model, inputs).detach(), None, None

    def _draw(self, batch: dict[str, Tensor], numbers: Sequence[int] | None = None) -> Noised:
        training = self.model.training
        return noise_pairs(
            batch,
            self._numbers(batch) if numbers is None else numbers,
            self.noise_scheduler,
            seed=self.args.seed if training or numbers is not None else self.args.seed + _EVALUATION_SEED,
            timestep_set=self.args.timestep_set,
            sample_latents=self.args.sample_latents,
        )

    def _numbers(self, batch: dict[str, Tensor]) -> list[int]:
        """Return the number of each pair's draw in this step; of the evaluation, it is always the first."""
        if not self.model.training:
            return [0] * len(batch["pair"])
        step = self.state.global_step
        if not self.args.ref_draws:
            return [step] * len(batch["pair"])
        # Neighbouring pairs should not meet the same number in step.
        return [(step + pair) % self.args.ref_draws for pair in batch["pair"].tolist()]

    def _errors(self, model: nn.Module, batch: dict[str, Tensor], drawn: Noised) -> PairErrors:
        policy = model(drawn.noisy, drawn.timesteps, conditions_of(batch))
        elements = policy[0].numel()
        if self.reference_errors is not None and self.model.training:
            error = (policy.double() - drawn.target.double()).square().flatten(1).mean(1)
            known = self.reference_errors.of(batch["pair"], self._numbers(batch))
            error_w, error_l = error.chunk(2)
            return PairErrors(error_w, error_l, error_w - known[0], error_l - known[1], elements)
        error, difference = paired_error(policy, self._reference(batch, drawn), drawn.target)
        error_w, error_l = error.chunk(2)
        difference_w, difference_l = difference.chunk(2)
        return PairErrors(error_w, error_l, difference_w, difference_l, elements)

    @torch.no_grad()
    def _reference(self, batch: dict[str, Tensor], drawn: Noised) -> Tensor:
        """Return the reference's predictions for exactly what the policy saw."""
        unet = self.unet
        with self.accelerator.autocast():  # as accelerate runs the policy
            if self.adapter:
                with as_reference(unet, self.adapter):
                    result: Tensor = _Denoiser.predict(unet, drawn.noisy, drawn.timesteps, conditions_of(batch))
                return result
            if self.ref_model is None:
                raise InputError("there is no reference model to evaluate with: give ref_model, or do not precompute")
            noisy = drawn.noisy.to(self.ref_model.dtype)  # it may be narrower than the policy
            result = _Denoiser.predict(self.ref_model, noisy, drawn.timesteps, conditions_of(batch))
            return result

    @torch.no_grad()
    def _precompute(self) -> ReferenceErrors:
        """Compute, or read from the output folder, the reference's errors of every pair and draw."""
        path = Path(str(self.args.output_dir)) / "reference-errors.safetensors"
        data: Any = self.train_dataset
        key = {
            "reference": self._digest_of_base(),
            "data": getattr(data, "fingerprint", None) or items_digest(data), "pairs": len(data),
            "precision": str(self.accelerator.mixed_precision), "draws": self.args.ref_draws,
            "seed": self.args.seed, "timesteps": self.args.timestep_set, "sample_latents": self.args.sample_latents,
            "schedule": {k: v for k, v in dict(self.noise_scheduler.config).items() if not k.startswith("_")},
        }  # fmt: skip
        known = ReferenceErrors.load(path, key)
        if known is not None:
            return known
        self.model.eval()
        rows: list[Tensor] = []
        pairs: list[int] = []
        for batch in DataLoader(data, self.args.per_device_train_batch_size, collate_fn=stack):
            batch = self._prepare_inputs(batch)
            found = []
            for number in range(self.args.ref_draws):
                drawn = self._draw(batch, [number] * len(batch["pair"]))
                if self.adapter or self.ref_model is not None:
                    predicted = self._reference(batch, drawn)
                else:
                    with self.accelerator.autocast():
                        predicted = _Denoiser.predict(self.unet, drawn.noisy, drawn.timesteps, conditions_of(batch))
                error = (predicted.double() - drawn.target.double()).square().flatten(1).mean(1)
                found.append(torch.stack(error.chunk(2), 1).cpu())
            rows.append(torch.stack(found, 1))
            pairs += batch["pair"].tolist()
        self.model.train()
        computed = ReferenceErrors(torch.cat(rows), pairs)
        if self.is_world_process_zero():
            computed.save(path, key)
        return computed

    def _digest_of_base(self) -> str:
        if self.adapter:
            weights = self.unet.state_dict().items()
            kept = {name: value for name, value in weights if "lora_" not in name or f".{REFERENCE}." in name}
            base = nn.Module()
            for index, (name, value) in enumerate(sorted(kept.items())):
                base.register_buffer(f"{index}_{name.replace('.', '_')}", value)
            return weights_digest(base)
        return weights_digest(self.ref_model if self.ref_model is not None else self.unet)

    def _split_step(self, model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
        """Take the gradient of the loss by each image's error first, then of the errors one half at a time."""
        model.train()
        batch = self._prepare_inputs(inputs)
        drawn = self._draw(batch)
        with torch.no_grad(), self.compute_loss_context_manager():
            errors = self._errors(model, batch, drawn)
        leaves = [tensor.requires_grad_() for tensor in (errors.error_w, errors.error_l)]
        own = [leaf - leaf.detach() for leaf in leaves]  # zeros with a gradient
        moving = PairErrors(
            leaves[0], leaves[1], errors.difference_w + own[0], errors.difference_l + own[1], errors.elements
        )
        output = preference_loss(moving, beta=self.beta, loss_type=self.args.loss_type)
        slopes = torch.autograd.grad(output.loss, leaves)
        self._record(output, errors)
        count = len(slopes[0])
        condition = conditions_of(batch)
        for half, slope in enumerate(slopes):
            rows = slice(half * count, (half + 1) * count)
            part_of = {name: value[rows] for name, value in condition.items()}
            last = half == 1
            with contextlib.nullcontext() if last else self.accelerator.no_sync(model):
                with self.compute_loss_context_manager():
                    policy = model(drawn.noisy[rows], drawn.timesteps[rows], part_of)
                    wide = torch.float64 if policy.dtype == torch.float64 else torch.float32
                    error = (policy.to(wide) - drawn.target[rows].to(wide)).square().flatten(1).mean(1)
                    part = (slope.to(error.dtype) * error).sum()
                self.accelerator.backward(part / self.current_gradient_accumulation_steps)
        return output.loss.detach() / self.current_gradient_accumulation_steps

    def _record(self, output: DPOLossOutput, errors: PairErrors) -> None:
        mode = "train" if self.model.training else "eval"
        excess = errors.difference_w.detach().mean(), errors.difference_l.detach().mean()
        values = {
            "rewards/chosen": output.reward_w.mean(), "rewards/rejected": output.reward_l.mean(),
            "rewards/accuracies": output.implicit_accuracy, "rewards/margins": output.margin.mean(),
            "errors/chosen_excess": excess[0], "errors/rejected_excess": excess[1],
        }  # fmt: skip
        stacked = torch.stack([value.detach().double().reshape(()) for value in values.values()])[None]
        means = self.accelerator.gather(stacked.float() if stacked.device.type == "mps" else stacked).mean(0).tolist()
        for name, value in zip(values, means, strict=True):
            self._metrics[mode][name].append(value)
        if mode == "train":
            self._excess.append((means[4], means[5]))

    def _guard(self) -> None:
        """Warn or stop where the policy has become worse than the reference on both images of the pairs."""
        window = self.args.guard_window
        if not window or len(self._excess) < window:
            return
        chosen, rejected = (sum(values) / window for values in zip(*self._excess, strict=True))
        if chosen > 0 and rejected > 0:
            self._excess.clear()
            warnings.warn(
                f"over the last {window} batches the policy denoises both images of the pairs worse than the "
                f"reference (by {chosen:.2e} and {rejected:.2e}): lower the learning rate or beta",
                stacklevel=2,
            )
            if self.args.guard_action == "stop":
                self.control.should_training_stop = True

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        folder = Path(str(output_dir if output_dir is not None else self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        if self.adapter:
            save_adapter(self.unet, folder, self.adapter)
        else:
            self.unet.save_pretrained(folder / "unet")
        if self.args.sync_ref_model:
            self.ref_model.save_pretrained(folder / "reference")
        torch.save(self.args, folder / "training_args.bin")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        folder = Path(resume_from_checkpoint)
        if self.adapter:
            load_adapter(self.unet, folder, self.adapter)
            return
        self.unet.load_state_dict(_weights_of(folder / "unet"))
        if self.args.sync_ref_model:
            self.ref_model.load_state_dict(_weights_of(folder / "reference"))


class _Denoiser(nn.Module):
    """A UNet as transformers' Trainer and DDP want a model: one module, tensors in, one tensor out."""

    accepts_loss_kwargs = False

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, noisy: Tensor, timesteps: Tensor, conditions: dict[str, Tensor]) -> Tensor:
        return self.predict(self.unet, noisy, timesteps, conditions)

    def train(self, mode: bool = True) -> "_Denoiser":
        """Switch between training and evaluation; the trainer asks in every step, so not again where it is so."""
        return self if self.training == self.unet.training == mode else super().train(mode)

    def gradient_checkpointing_enable(self, **_: Any) -> None:
        """Do what transformers asks for, in the words of diffusers."""
        self.unet.enable_gradient_checkpointing()

    @staticmethod
    def predict(unet: Any, noisy: Tensor, timesteps: Tensor, conditions: dict[str, Tensor]) -> Tensor:
        added = None
        if "text_embeds" in conditions:
            added = {"text_embeds": conditions["text_embeds"], "time_ids": conditions["time_ids"]}
        states = conditions["encoder_hidden_states"].to(noisy.dtype)
        result: Tensor = unet(noisy, timesteps, states, added_cond_kwargs=added, return_dict=False)[0]
        return result


def _weights_of(folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    path = folder / "diffusion_pytorch_model.safetensors"
    if not path.exists():
        raise InputError(f"{folder.parent} holds no {folder.name}: give a checkpoint of a training of the same kind")
    return load_file(path)


def conditions_of(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return what conditions the network, for both halves (2B, ...): text alike, SDXL's sizes and crops of each."""
    found = {"encoder_hidden_states": batch["prompt_embeds"].repeat(2, 1, 1)}
    if "pooled" in batch:
        found["text_embeds"] = batch["pooled"].repeat(2, 1)
        found["time_ids"] = torch.cat([batch["time_ids_w"], batch["time_ids_l"]])
    return found


def stack(items: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Collate items of the data into a batch."""
    needed = {"pair", "mean_w", "std_w", "mean_l", "std_l", "prompt_embeds"}
    if missing := needed - items[0].keys():
        raise InputError(f"the data has no column {sorted(missing)[0]!r}: make it with cache_pairs")
    return {name: torch.stack([torch.as_tensor(item[name]) for item in items]) for name in items[0]}
