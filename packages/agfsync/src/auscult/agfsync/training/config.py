"""The settings of :class:`~auscult.agfsync.training.trainer.DiffusionDPOTrainer`."""

from dataclasses import dataclass, field

from transformers import TrainingArguments

from auscult.agfsync.training.losses import LossType, check_objective
from auscult.core.errors import InputError

NORM_BETA = 1.0


@dataclass
class DiffusionDPOConfig(TrainingArguments):
    """Training arguments of transformers with those of Diffusion-DPO; names follow TRL's ``DPOConfig``.

    Parameters
    ----------
    beta
        Strength of the tie to the reference; left out, 2000 for SD and 5000 for SDXL, 1 for ``agfsync_norm``.
    loss_type
        ``sigmoid``, ``hinge``, ``ipo`` or ``agfsync_norm``; see
        :func:`~auscult.agfsync.training.losses.diffusion_dpo_loss`.
    batch_norm_compat
        With ``agfsync_norm``: norms over the whole batch, as in AGFSync's released code.
    precompute_ref_log_probs
        Compute the reference's errors once, before training, instead of in every step; needs ``ref_draws``.
    sync_ref_model, ref_model_mixup_alpha, ref_model_sync_steps
        With full fine-tuning, let the reference follow the policy by TRL's callback: every so many steps it becomes
        alpha times the policy and 1 - alpha times itself.
    ref_draws
        Different draws of timestep and noise that a pair is trained with; 0 draws anew in every step.
    split_backward
        Back-propagate the two images of a pair one after the other: the same gradients, about half the memory for
        activations, one more forward pass.
    timestep_set
        The only timesteps to train on, such as 249, 499, 749, 999 for SDXL-Turbo; empty for all.
    sample_latents
        Draw latents anew from the cached posterior in every step; otherwise its mean is used.
    guard_window
        Steps over which the guard averages: if the policy denoises both images of the pairs worse than the
        reference over that window, ``guard_action`` is taken. 0 is no guard.
    guard_action
        ``warn`` or ``stop``.
    """

    learning_rate: float = field(default=1e-5, metadata={"help": "Initial learning rate: 1e-5 with LoRA, 1e-6 full."})
    logging_steps: float = field(default=10, metadata={"help": "Steps between two lines of the log."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "Must stay false: all columns are used."})
    label_names: list[str] | None = field(default_factory=list, metadata={"help": "Must stay empty: no labels."})
    # transformers' parser of arguments needs None first.
    report_to: None | str | list[str] = field(default="none", metadata={"help": "Trackers to report to."})  # noqa: RUF036
    beta: float | None = field(
        default=None,
        metadata={"help": "Tie to the reference; 2000 (SD), 5000 (SDXL) or 1 (agfsync_norm) if left out."},
    )
    loss_type: LossType = field(default="sigmoid", metadata={"help": "sigmoid, hinge, ipo or agfsync_norm."})
    batch_norm_compat: bool = field(
        default=False, metadata={"help": "With agfsync_norm: norms over the whole batch, as released."}
    )
    precompute_ref_log_probs: bool = field(
        default=False, metadata={"help": "Compute the reference's errors once, before training."}
    )
    sync_ref_model: bool = field(default=False, metadata={"help": "Let a reference that is a copy follow the policy."})
    ref_model_mixup_alpha: float = field(default=0.6, metadata={"help": "Weight of the policy when it does."})
    ref_model_sync_steps: int = field(default=512, metadata={"help": "Steps between two times that it does."})
    ref_draws: int = field(
        default=0, metadata={"help": "Draws of timestep and noise a pair is trained with; 0: anew in every step."}
    )
    split_backward: bool = field(
        default=False, metadata={"help": "Back-propagate the two images of a pair one after the other."}
    )
    timestep_set: list[int] = field(
        default_factory=list, metadata={"help": "The only timesteps to train on; empty for all."}
    )
    sample_latents: bool = field(
        default=True, metadata={"help": "Draw latents anew from the cached posterior in every step."}
    )
    guard_window: int = field(
        default=0, metadata={"help": "Steps over which the guard on rising errors averages; 0 is no guard."}
    )
    guard_action: str = field(default="warn", metadata={"help": "What the guard does: warn or stop."})

    def __post_init__(self) -> None:
        """Check the settings against each other."""
        if self.loss_type == "agfsync_norm" and self.beta is None:
            self.beta = NORM_BETA
        check_objective(self.beta if self.beta is not None else 2000.0, self.loss_type, self.batch_norm_compat)
        if self.ref_draws < 0 or self.guard_window < 0:
            raise InputError(f"ref_draws is {self.ref_draws} and guard_window {self.guard_window}: use 0 or more")
        if self.precompute_ref_log_probs and not self.ref_draws:
            raise InputError("precompute_ref_log_probs needs a number of draws to compute: set ref_draws, such as 8")
        if self.sync_ref_model and self.precompute_ref_log_probs:
            raise InputError("precomputed errors are of one fixed reference: leave out sync_ref_model or precomputing")
        if not 0 <= self.ref_model_mixup_alpha <= 1 or self.ref_model_sync_steps < 1:
            raise InputError(
                f"ref_model_mixup_alpha is {self.ref_model_mixup_alpha} and ref_model_sync_steps "
                f"{self.ref_model_sync_steps}: use 0 to 1, and 1 or more"
            )
        if self.guard_action not in ("warn", "stop"):
            raise InputError(f"guard_action is {self.guard_action!r}: use warn or stop")
        if self.split_backward and self.batch_norm_compat:
            raise InputError("split_backward and batch_norm_compat exclude each other: switch one of them off")
        if any(step < 0 for step in self.timestep_set):
            raise InputError(f"timestep_set is {self.timestep_set}: timesteps are 0 or more")
        if self.remove_unused_columns:
            raise InputError("remove_unused_columns would drop the latents: leave it false")
        super().__post_init__()  # type: ignore[no-untyped-call]
