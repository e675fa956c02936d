"""Writing a tuned model so that plain diffusers loads it: an adapter, or a whole pipeline."""

from pathlib import Path
from typing import Any

from auscult.core.errors import InputError

ADAPTER_FILE = "pytorch_lora_weights.safetensors"


def save_adapter(unet: Any, folder: Path, name: str = "default") -> Path:
    """Write an adapter of a UNet for ``pipeline.load_lora_weights(folder)`` and return the file's path."""
    from diffusers import StableDiffusionPipeline
    from peft import get_peft_model_state_dict

    # In peft's own names: diffusers' older ones know attention only, and a mixture of both loads in part.
    StableDiffusionPipeline.save_lora_weights(
        folder,
        unet_lora_layers=get_peft_model_state_dict(unet, adapter_name=name),
        unet_lora_adapter_metadata=unet.peft_config[name].to_dict(),
    )
    return folder / ADAPTER_FILE


def load_adapter(unet: Any, folder: Path, name: str = "default") -> None:
    """Put the weights of a saved adapter into an adapter that a UNet has."""
    from diffusers import StableDiffusionPipeline
    from diffusers.utils import convert_unet_state_dict_to_peft
    from peft import set_peft_model_state_dict

    if not (folder / ADAPTER_FILE).exists():
        raise InputError(f"{folder} holds no {ADAPTER_FILE}: give a checkpoint of a LoRA training")
    state, _ = StableDiffusionPipeline.lora_state_dict(folder)
    own = {name.removeprefix("unet."): value for name, value in state.items() if name.startswith("unet.")}
    result = set_peft_model_state_dict(unet, convert_unet_state_dict_to_peft(own), adapter_name=name)
    if result is not None and result.unexpected_keys:
        raise InputError(
            f"the adapter in {folder} does not fit the model: {result.unexpected_keys[0]!r} is unknown to it"
        )
