"""Stage 3: several pictures of each prompt, from the model that is to be tuned.

Picture k of a prompt has a seed of its own, from which its initial latents and the noise on its prompt
embedding are drawn. Neither depends on the batch, the order, the shard or what was there before; and since
every call of the model has the same number of rows, nor do the pictures, down to the last bit.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from auscult.agfsync.config import CandidatesConfig
from auscult.agfsync.images import is_black, is_present, pixel_hash, write_image
from auscult.core.device import derive_seed
from auscult.core.errors import InputError
from auscult.core.progress import progress

if TYPE_CHECKING:
    from torch import Tensor

    from auscult.core.runs import RunStore


@dataclass(frozen=True)
class Job:
    """One picture to make."""

    id: str
    prompt: str
    k: int
    seed: int
    noise_seed: int
    noise_std: float


def plan(prompts: Iterable[dict[str, Any]], config: CandidatesConfig, seed: int) -> list[Job]:
    """Return every picture that a run needs.

    Parameters
    ----------
    prompts
        Rows with ``id`` and ``prompt``.
    config
        Of the stage.
    seed
        Of the run.
    """
    jobs = []
    for row in prompts:
        for k in range(config.num_candidates):
            clean = config.diversity == "seed_only" or (k == 0 and config.keep_first_clean)
            own = 0 if config.diversity == "embed_noise" else k
            jobs.append(
                Job(
                    str(row["id"]), row["prompt"], k, derive_seed(seed, "latents", str(row["id"]), own),
                    derive_seed(seed, "embedding", str(row["id"]), k), 0.0 if clean else config.embed_noise_std,
                )
            )  # fmt: skip
    return jobs


def generate_candidates(
    prompts: Sequence[dict[str, Any]],
    pipeline: Any,
    config: CandidatesConfig,
    *,
    seed: int,
    store: "RunStore",
    shard: tuple[int, int] = (0, 1),
) -> list[dict[str, Any]]:
    """Draw the pictures that a store does not hold yet, and return the rows of all.

    Parameters
    ----------
    prompts
        Rows with ``id`` and ``prompt``.
    pipeline
        From :func:`load_pipeline`, or any pipeline of SD or SDXL.
    config
        Of the stage.
    seed
        Of the run.
    store
        Where rows go; pictures go to ``images/`` in its folder.
    shard
        ``(rank, world_size)``: this process makes every world_size-th prompt, into a store of its own.

    Returns
    -------
    list of dict
        ``id, k, prompt, path, seed, noise_seed, embed_noise_std, model, revision, scheduler, steps, guidance,
        height, width, batch_size, black, pixels`` (a digest), in the order of prompts and k.
    """
    rank, world = shard
    if not 0 <= rank < world:
        raise InputError(f"shard {rank} of {world} does not exist: use 0 to {world - 1}")
    jobs = plan(list(prompts)[rank::world], config, seed)
    settings = _settings(pipeline, config)
    for name in ("height", "width"):
        if settings[name] % pipeline.vae_scale_factor:
            raise InputError(
                f"{name} is {settings[name]}, which does not fit the VAE: use a multiple of {pipeline.vae_scale_factor}"
            )
    todo = [job for job in jobs if not _is_done(job, store, config)]
    with progress("Drawing candidates", len(todo)) as advance:
        for done, pixels in draw(todo, pipeline, config):
            with store.batch():
                for job, picture in zip(done, pixels, strict=True):
                    _keep(job, picture, store, settings, config)
            advance(len(done))
    return [store[key_of(job)] for job in jobs]


def key_of(job: Job) -> str:
    """Return the key of a picture's row in the store."""
    return f"{job.id}/{job.k}"


def draw(
    jobs: Sequence[Job], pipeline: Any, config: CandidatesConfig
) -> Iterator[tuple[Sequence[Job], npt.NDArray[np.uint8]]]:
    """Yield batches of jobs and their pixels [n, H, W, 3]; every call of the model has ``batch_size`` rows."""
    import torch

    for start in range(0, len(jobs), config.batch_size):
        batch = list(jobs[start : start + config.batch_size])
        filled = batch + [batch[-1]] * (config.batch_size - len(batch))
        with torch.inference_mode():
            images = pipeline(**inputs_of(filled, pipeline, config), output_type="np").images
        yield batch, (np.asarray(images[: len(batch)]) * 255).round().clip(0, 255).astype(np.uint8)


def inputs_of(jobs: Sequence[Job], pipeline: Any, config: CandidatesConfig) -> dict[str, Any]:
    """Return the arguments of one call of a pipeline: latents, noisy embeddings and a generator of each job."""
    import torch

    device, dtype = pipeline.unet.device, pipeline.unet.dtype
    unique = list(dict.fromkeys(job.prompt for job in jobs))
    place = {prompt: index for index, prompt in enumerate(unique)}
    # One prompt at a time, so that an embedding does not depend on which others share its batch.
    encoded = [_encode(pipeline, prompt, guided=config.guidance_scale > 1) for prompt in unique]
    rows = [place[job.prompt] for job in jobs]
    inputs: dict[str, Any] = {
        "num_inference_steps": config.steps, "guidance_scale": config.guidance_scale,
        "height": config.height, "width": config.width,
    }  # fmt: skip
    noise_sources = [torch.Generator().manual_seed(job.noise_seed) for job in jobs]
    for name in ("prompt_embeds", "pooled_prompt_embeds", "negative_prompt_embeds", "negative_pooled_prompt_embeds"):
        if encoded[0].get(name) is None:
            continue
        embeds = torch.stack([encoded[row][name] for row in rows])
        if not name.startswith("negative"):
            noise = torch.stack(
                [job.noise_std * torch.randn(embeds.shape[1:], generator=source)
                 for job, source in zip(jobs, noise_sources, strict=True)]
            )  # fmt: skip
            noisy = torch.tensor([job.noise_std > 0 for job in jobs], device=device)
            noisy = noisy.reshape(-1, *[1] * (embeds.ndim - 1))
            # A clean embedding keeps its bits, whatever type a sum would have.
            embeds = torch.where(noisy, embeds + noise.to(device, embeds.dtype), embeds)
        inputs[name] = embeds
    # Schedulers such as LCM's draw noise in every step.
    inputs["generator"] = [torch.Generator().manual_seed(derive_seed(job.seed, "steps")) for job in jobs]
    inputs["latents"] = torch.stack([initial_latents(job.seed, pipeline, config) for job in jobs]).to(device, dtype)
    return inputs


def initial_latents(seed: int, pipeline: Any, config: CandidatesConfig) -> "Tensor":
    """Return the initial latents (C, h, w) of a seed, drawn on the CPU in float32."""
    import torch

    factor = pipeline.vae_scale_factor
    side = pipeline.unet.config.sample_size
    shape = (
        pipeline.unet.config.in_channels,
        config.height // factor if config.height else side,
        config.width // factor if config.width else side,
    )
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _encode(pipeline: Any, prompt: str, *, guided: bool) -> dict[str, Any]:
    found = pipeline.encode_prompt(
        [prompt], device=pipeline.unet.device, num_images_per_prompt=1, do_classifier_free_guidance=guided
    )
    names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
    return {name: None if value is None else value[0] for name, value in zip(names, found, strict=False)}


def _settings(pipeline: Any, config: CandidatesConfig) -> dict[str, Any]:
    factor, side = pipeline.vae_scale_factor, pipeline.unet.config.sample_size
    return {
        "model": config.model, "revision": config.revision, "scheduler": type(pipeline.scheduler).__name__,
        "steps": config.steps, "guidance": config.guidance_scale, "height": config.height or side * factor,
        "width": config.width or side * factor, "batch_size": config.batch_size,
    }  # fmt: skip


def _image_name(job: Job, config: CandidatesConfig) -> str:
    suffix = "png" if config.image_format == "parquet" else config.image_format
    return f"images/{job.id}_{job.k}.{suffix}"


def _is_done(job: Job, store: "RunStore", config: CandidatesConfig) -> bool:
    """Whether the row is stored and its picture opens; a picture that was lost is made again."""
    key = key_of(job)
    if key not in store:
        return False
    return store[key]["path"] is None or is_present(store.folder / store[key]["path"])


def _keep(
    job: Job, picture: npt.NDArray[np.uint8], store: "RunStore", settings: dict[str, Any], config: CandidatesConfig
) -> None:
    from PIL import Image

    name = _image_name(job, config)
    write_image(picture, store.folder / name)
    if key_of(job) in store:
        return
    store.put(
        key_of(job),
        {
            "id": job.id, "k": job.k, "prompt": job.prompt, "path": name, "seed": job.seed,
            "noise_seed": job.noise_seed, "embed_noise_std": job.noise_std, **settings,
            "black": is_black(picture), "pixels": pixel_hash(Image.fromarray(picture)),
        },
    )  # fmt: skip


def export_parquet(rows: Sequence[dict[str, Any]], folder: Path, path: Path) -> None:
    """Write rows and the bytes of their pictures into one parquet file."""
    import pyarrow
    import pyarrow.parquet

    from auscult.core.files import replace_atomically

    table = pyarrow.Table.from_pylist([{**row, "image": (folder / row["path"]).read_bytes()} for row in rows])
    replace_atomically(path, lambda partial: pyarrow.parquet.write_table(table, partial))


def load_pipeline(config: CandidatesConfig) -> Any:
    """Return the pipeline that a configuration names, on its device; ``shapes`` is the one that comes along.

    Raises
    ------
    InputError
        The model is no pipeline of SD or SDXL, or is not to be had here.
    """
    import torch
    from diffusers import AutoPipelineForText2Image

    from auscult.core.device import choose_device, choose_dtype

    device = choose_device(config.device)
    dtype = getattr(torch, choose_dtype(device, config.dtype))
    return prepare(open_pipeline(config.model, config.revision, dtype, AutoPipelineForText2Image).to(device), config)


def prepare(pipeline: Any, config: CandidatesConfig) -> Any:
    """Make a pipeline, which may have an adapter, draw as a configuration wants it, and return it."""
    from diffusers import LCMScheduler

    if config.preset == "lcm":
        if pipeline.get_list_adapters():
            pipeline.fuse_lora()
            pipeline.unload_lora_weights()
        add_adapter(pipeline, config.lcm_lora)
        pipeline.fuse_lora()
        pipeline.scheduler = LCMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def add_adapter(pipeline: Any, source: str | Path) -> None:
    """Load a LoRA into a pipeline, with one sentence where it cannot be had or is of another model."""
    try:
        pipeline.load_lora_weights(source)
    except Exception as error:  # the hub's client has errors of its own, and torch those of sizes
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"the adapter {str(source)!r} cannot be loaded ({reason}): give a folder or an ID of one for this model"
        ) from error


def open_pipeline(model: str, revision: str | None, dtype: Any, loader: Any) -> Any:
    """Return a pipeline by ID, folder or ``shapes``, with one sentence where it cannot be had."""
    from auscult.agfsync.shapes.models import load_pipeline as load_shapes

    if model == "shapes":
        return load_shapes().to(dtype)
    try:
        pipeline = loader.from_pretrained(model, revision=revision, torch_dtype=dtype)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"the model {model!r} cannot be loaded ({reason}): give a folder or an ID that is at hand"
        ) from error
    if not hasattr(pipeline, "unet") or not hasattr(pipeline, "encode_prompt"):
        raise InputError(f"{model!r} is a {type(pipeline).__name__}: the candidates come from SD or SDXL (a UNet)")
    return pipeline
