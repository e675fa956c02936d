"""The configuration of a run: one section a stage, read from one YAML file.

What a run can be told is here and nowhere else; :func:`commented_example` writes a file with every key.
"""

from dataclasses import dataclass, fields
from typing import Any, Literal

from auscult.core.errors import InputError

PRESETS: dict[str, tuple[float, float, float]] = {
    "paper": (0.35, 0.55, 0.10),
    "clip_aes": (0.0, 0.85, 0.15),
    "vqa_only": (0.90, 0.0, 0.01),
    "vqa_aes": (0.70, 0.0, 0.30),
}
"""Weights of VQA, CLIP, aesthetics: "paper" as recalled from it (not confirmed), the others from the released code."""

LCM_STEPS = 5
_WRITERS = ("endpoint", "local")


def _refuse_below(config: Any, **least: float) -> None:
    """Refuse values that are below the least possible one; None is a value that was left out."""
    for name, low in least.items():
        value = getattr(config, name)
        if value is not None and not value >= low:
            raise InputError(f"{name} is {value}: use {low} or more")


def _refuse_unused(config: Any, choice: str, **users: tuple[str, ...]) -> None:
    """Refuse values that were given, but which the choice does not use."""
    chosen = getattr(config, choice)
    for name, choices in users.items():
        if chosen not in choices and getattr(config, name) != type(config).__dataclass_fields__[name].default:
            raise InputError(
                f"{name} is given, but {choice} is {chosen}: leave it out, or set {choice} to {choices[0]}"
            )


@dataclass(frozen=True, kw_only=True)
class LLMConfig:
    """Who writes prompts, questions or answers.

    Parameters
    ----------
    model
        The name that the server knows, or the ID or folder of a local chat model.
    base_url
        The server's address, such as http://127.0.0.1:8000/v1 (backend ``endpoint``).
    temperature, max_tokens
        Sent with every request.
    attempts
        How often one request is answered at most until it can be used; after that it is given up and counted.
    """

    model: str = ""
    base_url: str = ""
    temperature: float = 0.9
    max_tokens: int = 4096
    attempts: int = 5

    def __post_init__(self) -> None:
        _refuse_below(self, max_tokens=1, attempts=1, temperature=0)


@dataclass(frozen=True, kw_only=True)
class DedupConfig:
    """What counts as a repetition.

    Parameters
    ----------
    method
        ``exact`` (case and spaces aside), ``ngram`` (Jaccard of letter trigrams) or ``embedding`` (cosine).
    threshold
        From which similarity on the later text is dropped.
    model
        A sentence encoder (ID or folder) for ``embedding``.
    """

    method: Literal["exact", "ngram", "embedding"] = "ngram"
    threshold: float = 0.9
    model: str = "BAAI/bge-large-en-v1.5"

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise InputError(f"threshold is {self.threshold}: use a similarity above 0 and up to 1")


@dataclass(frozen=True, kw_only=True)
class PromptsConfig:
    """Stage 1: what is to be drawn.

    Parameters
    ----------
    backend
        ``template`` (offline sentences), ``shapes`` (captions of the shapes world), ``file`` (your own .txt or
        .jsonl), ``endpoint`` or ``local`` (a language model).
    path
        The file of ``file``: a prompt a line, or objects with ``prompt``, and ``id`` and ``category`` if you have them.
    categories
        A YAML file of your own themes and examples; left out, the twelve that come along.
    per_request, requests
        Prompts asked for at a time, and how often for each category. ``template`` and ``shapes`` write as many.
    """

    backend: Literal["template", "shapes", "file", "endpoint", "local"] = "shapes"
    path: str | None = None
    categories: str | None = None
    per_request: int = 20
    requests: int = 1
    llm: LLMConfig = LLMConfig()
    dedup: DedupConfig = DedupConfig()

    def __post_init__(self) -> None:
        if self.backend == "file" and not self.path:
            raise InputError("the backend file needs a path: give a .txt or .jsonl file of prompts")
        _refuse_unused(self, "backend", path=("file",), categories=("template", *_WRITERS), llm=_WRITERS)
        _refuse_below(self, per_request=1, requests=1)


@dataclass(frozen=True, kw_only=True)
class QuestionsConfig:
    """Stage 2: what can be asked about a picture of each prompt; the right answer is always yes.

    Parameters
    ----------
    backend
        ``template`` (offline), ``shapes``, ``endpoint`` or ``local``.
    samples
        Replies to put together for a prompt (the released code takes 6).
    min_questions, max_questions
        A prompt with fewer is dropped; further ones are left out.
    """

    backend: Literal["template", "shapes", "endpoint", "local"] = "shapes"
    samples: int = 1
    min_questions: int = 5
    max_questions: int | None = None
    llm: LLMConfig = LLMConfig()
    dedup: DedupConfig = DedupConfig(threshold=0.8)

    def __post_init__(self) -> None:
        _refuse_below(self, samples=1, min_questions=0, max_questions=max(self.min_questions, 1))
        _refuse_unused(self, "backend", llm=_WRITERS)


@dataclass(frozen=True, kw_only=True)
class CandidatesConfig:
    """Stage 3: several pictures of each prompt, from the model that is to be tuned.

    Parameters
    ----------
    model
        The ID or folder of a pipeline of SD 1.4, 1.5, 2.x or SDXL, or ``shapes``.
    num_candidates
        Pictures a prompt.
    embed_noise_std
        Of the noise on the prompt embedding; the unconditional one stays clean.
    keep_first_clean
        Whether picture 0 gets no such noise.
    diversity
        ``both`` (paper: noise and initial latents differ), ``embed_noise`` (one initial latent a prompt) or
        ``seed_only`` (no noise).
    preset
        ``lcm`` fuses ``lcm_lora``, takes LCM's scheduler, 5 steps and no guidance.
    steps, guidance_scale
        Of the sampler.
    batch_size
        Pictures a pass. It is fixed: the last batch is filled up, so that a picture does not depend on it.
    height, width
        Left out, the model's own.
    image_format
        ``png`` or ``webp`` files, lossless, or ``parquet`` (the bytes in one file).
    """

    model: str = "shapes"
    revision: str | None = None
    num_candidates: int = 8
    embed_noise_std: float = 0.1
    keep_first_clean: bool = True
    diversity: Literal["both", "embed_noise", "seed_only"] = "both"
    preset: Literal["lcm"] | None = None
    lcm_lora: str = "latent-consistency/lcm-lora-sdv1-5"
    steps: int = 15
    guidance_scale: float = 4.5
    batch_size: int = 8
    height: int | None = None
    width: int | None = None
    image_format: Literal["png", "webp", "parquet"] = "png"
    device: str = "auto"
    dtype: str = "auto"

    def __post_init__(self) -> None:
        _refuse_below(self, num_candidates=1, steps=1, batch_size=1, height=1, width=1, embed_noise_std=0)
        if self.preset == "lcm":
            object.__setattr__(self, "steps", LCM_STEPS)
            object.__setattr__(self, "guidance_scale", 1.0)


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """Stage 4: three scores of every picture, each on a nominal scale of 0 to 100.

    Parameters
    ----------
    vqa
        ``shapes``, ``blip2``, ``transformers`` (any image-text-to-text model), ``endpoint`` or ``none``.
    vqa_model, vqa_base_url
        Whose it is.
    vqa_mode
        ``hard`` counts yes; ``soft`` averages P(yes) / (P(yes) + P(no)).
    clip
        ``shapes``, the ID or folder of a CLIP model, or ``none``.
    clip_scale
        ``cosine`` (100 max(cos, 0)) or ``logit`` (with the model's temperature, as in the released code).
    clip_long
        A caption with more tokens than CLIP takes: ``truncate`` it, or average the cosines of its ``chunks``.
    aesthetic
        ``shapes``, ``laion`` (needs ``aesthetic_head``) or ``none``.
    aesthetic_head
        The file of the LAION predictor's weights, for embeddings of the same CLIP.
    batch_size
        Pictures, or pairs of picture and question, a pass.
    """

    vqa: Literal["shapes", "blip2", "transformers", "endpoint", "none"] = "shapes"
    vqa_model: str = ""
    vqa_base_url: str = ""
    vqa_mode: Literal["hard", "soft"] = "hard"
    clip: str = "shapes"
    clip_scale: Literal["cosine", "logit"] = "cosine"
    clip_long: Literal["truncate", "chunks"] = "truncate"
    aesthetic: Literal["shapes", "laion", "none"] = "shapes"
    aesthetic_head: str | None = None
    batch_size: int = 32
    device: str = "auto"
    dtype: str = "auto"

    def __post_init__(self) -> None:
        _refuse_below(self, batch_size=1)
        _refuse_unused(self, "vqa", vqa_model=("blip2", "transformers", "endpoint"), vqa_base_url=("endpoint",))
        _refuse_unused(self, "aesthetic", aesthetic_head=("laion",))
        if (self.vqa, self.clip, self.aesthetic) == ("none", "none", "none"):
            raise InputError("every scorer is none: choose one of vqa, clip and aesthetic")
        if self.aesthetic == "laion" and (not self.aesthetic_head or self.clip in ("none", "shapes")):
            raise InputError("aesthetic laion needs aesthetic_head (the .pth file) and a CLIP ViT-L/14 as clip")
        if self.vqa in ("blip2", "transformers", "endpoint") and not self.vqa_model:
            raise InputError(f"vqa {self.vqa} needs vqa_model")
        if self.vqa == "endpoint" and not self.vqa_base_url:
            raise InputError("vqa endpoint needs vqa_base_url, such as http://127.0.0.1:8000/v1")


@dataclass(frozen=True, kw_only=True)
class PairsConfig:
    """Stage 5: which picture is preferred to which.

    Parameters
    ----------
    preset
        Weights of VQA, CLIP and aesthetics: ``paper``, ``clip_aes``, ``vqa_only`` or ``vqa_aes``.
    weights
        Your own three instead.
    normalize
        Of each score over the pictures of a prompt: ``none`` (as released), ``zscore``, ``minmax`` or ``rank``.
    aggregate
        ``weighted_sum``, ``majority_vote`` (pairwise wins over scorers) or ``pareto`` (better in no score worse).
    strategy
        ``best_worst``, ``top_bottom_k``, ``all_above_margin`` or ``best_random``.
    k
        Of ``top_bottom_k``.
    min_margin
        A pair needs more than this.
    """

    preset: str = "paper"
    weights: tuple[float, float, float] | None = None
    normalize: Literal["none", "zscore", "minmax", "rank"] = "none"
    aggregate: Literal["weighted_sum", "majority_vote", "pareto"] = "weighted_sum"
    strategy: Literal["best_worst", "top_bottom_k", "all_above_margin", "best_random"] = "best_worst"
    k: int = 2
    min_margin: float = 0.0

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise InputError(f"there is no preset {self.preset!r}: use {', '.join(PRESETS)}")
        if not all(0 <= weight < float("inf") for weight in self.used_weights) or not any(self.used_weights):
            raise InputError(f"the weights are {self.used_weights}: use numbers of 0 or more, not all 0")
        _refuse_below(self, min_margin=0, k=1)

    @property
    def used_weights(self) -> tuple[float, float, float]:
        """The three weights that count."""
        return self.weights if self.weights is not None else PRESETS[self.preset]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Stage 6: Diffusion-DPO.

    Parameters
    ----------
    model
        The pipeline to tune; left out, the candidates'.
    pairs
        Pairs of your own instead of stage 5's: a parquet file, or a folder.
    resolution
        Of the training images; left out, the model's own.
    lora_rank
        0 trains all weights.
    lora_targets
        What the adapter is on: ``attention``, or ``all`` (feed-forward layers and convolutions of the blocks too).
    steps, batch_size, gradient_accumulation, learning_rate, warmup_steps
        Of the optimisation, with a cosine schedule. The batch size counts pairs.
    beta, loss_type, ref_draws, split_backward, gradient_checkpointing, timestep_set, guard_window
        See :class:`auscult.agfsync.DiffusionDPOConfig`. With ``ref_draws`` the reference's errors are computed
        before training.
    save_steps
        Steps between two checkpoints.
    """

    model: str | None = None
    pairs: str | None = None
    resolution: int | None = None
    lora_rank: int = 16
    lora_targets: Literal["attention", "all"] = "attention"
    steps: int = 1000
    batch_size: int = 8
    gradient_accumulation: int = 8
    learning_rate: float = 1e-5
    warmup_steps: int = 0
    beta: float | None = None
    loss_type: Literal["sigmoid", "hinge", "ipo", "agfsync_norm"] = "sigmoid"
    ref_draws: int = 8
    split_backward: bool = False
    gradient_checkpointing: bool = False
    timestep_set: tuple[int, ...] = ()
    guard_window: int = 0
    save_steps: int = 250
    device: str = "auto"
    dtype: str = "auto"

    def __post_init__(self) -> None:
        _refuse_below(
            self, resolution=1, lora_rank=0, steps=1, batch_size=1, gradient_accumulation=1, warmup_steps=0,
            ref_draws=0, guard_window=0, save_steps=1,
        )  # fmt: skip
        for name in ("learning_rate", "beta"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise InputError(f"{name} is {value}: use a number above 0")
        if any(step < 0 for step in self.timestep_set):
            raise InputError(f"timestep_set is {self.timestep_set}: timesteps are 0 or more")


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Stage 7: base against tuned, with the same seeds.

    Parameters
    ----------
    prompts
        A file of captions; left out, the run's own prompts (``shapes``: held-out captions).
    num_prompts, images_per_prompt
        How many.
    confidence
        Of the intervals.
    hps
        Also score by HPS ``v2.0`` or ``v2.1``, whose package ``hpsv2`` has to be installed. Their numbers are not
        comparable.
    """

    prompts: str | None = None
    num_prompts: int = 64
    images_per_prompt: int = 4
    confidence: float = 0.95
    hps: Literal["v2.0", "v2.1"] | None = None

    def __post_init__(self) -> None:
        _refuse_below(self, num_prompts=1, images_per_prompt=1)
        if not 0 < self.confidence < 1:
            raise InputError(f"confidence is {self.confidence}: use a number between 0 and 1, such as 0.95")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """All sections of a run, and its seed."""

    seed: int = 0
    prompts: PromptsConfig = PromptsConfig()
    questions: QuestionsConfig = QuestionsConfig()
    candidates: CandidatesConfig = CandidatesConfig()
    score: ScoreConfig = ScoreConfig()
    pairs: PairsConfig = PairsConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed is {self.seed}: use 0 to {2**32 - 1}")
        shapes = (self.prompts.backend == "shapes", self.questions.backend == "shapes")
        if shapes[1] and not shapes[0] and self.prompts.backend != "file":
            raise InputError(
                "questions of the shapes world need its prompts: set prompts.backend to shapes or file, or another "
                "questions.backend"
            )

    @property
    def trained_model(self) -> tuple[str, str | None]:
        """The model that is tuned and its revision: the training's own, or the candidates'."""
        if self.train.model in (None, self.candidates.model):
            return self.candidates.model, self.candidates.revision
        return self.train.model, None


def commented_example() -> str:
    """Return a configuration with every key, its default and what it means."""
    from auscult.core.config import dump_config

    lines = [
        "# agfsync: from prompts to a tuned model. Every key has its default here; leave out what you do not change."
    ]
    for section in fields(RunConfig):
        value = getattr(RunConfig(), section.name)
        lines.append("")
        if not hasattr(value, "__dataclass_fields__"):
            lines.append(f"{section.name}: {value}")
            continue
        lines.append(f"{section.name}:  # {_summary(type(value))}")
        notes = _notes(type(value))
        text = dump_config(value).splitlines()
        for line in text:
            key = line.split(":")[0]
            if key in notes and not line.startswith(" "):
                lines.extend(f"  # {note}" for note in notes[key])
            lines.append(f"  {line}")
    return "\n".join(lines) + "\n"


def _summary(cls: type) -> str:
    return (cls.__doc__ or "").strip().splitlines()[0]


def _notes(cls: type) -> dict[str, list[str]]:
    """Return the parameters of a numpydoc docstring, with the lines that describe them; shared by names in a row."""
    found: dict[str, list[str]] = {}
    names: list[str] = []
    for line in (cls.__doc__ or "").splitlines()[1:]:
        if line.startswith("    ") and not line.startswith("     ") and line.strip(" -") and "Parameters" not in line:
            names = [name.strip() for name in line.split(",")]
            found[names[0]] = []
        elif names and line.strip(" -"):
            found[names[0]].append(line.strip().replace("``", ""))
    return found


def as_dict(config: Any) -> dict[str, Any]:
    """Return the fields of a section as a mapping."""
    return {item.name: getattr(config, item.name) for item in fields(config)}
