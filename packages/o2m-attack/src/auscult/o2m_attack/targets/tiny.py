"""Tiny models of the real classes with random weights, made on the spot: for tests, benchmarks and a first try."""

from collections.abc import Iterable
from typing import Any

import torch

from auscult.core.errors import InputError
from auscult.o2m_attack.targets.llava import LlavaTarget

_TEXTS = (
    "USER: This image is about CT and Chest. What colour is the marker? ASSISTANT: Sure, here is what the image shows",
    "USER: This image is about MRI and Brain. Which name is on the label? ASSISTANT: Sure, here is how to name it",
    "a small word list for a tokenizer that reads plain English, figures 0 1 2 3 4 5 6 7 8 9, marks ! ? * + - . , : ;",
)


def tiny_llava(
    kind: str = "llava",
    *,
    seed: int = 0,
    hidden: int = 32,
    layers: int = 2,
    heads: int = 2,
    image_size: int = 28,
    patch_size: int = 14,
    vocabulary: int = 320,
    embedding: int | None = None,
    context: int = 1024,
    dtype: str = "float32",
    texts: Iterable[str] = _TEXTS,
    **options: Any,
) -> LlavaTarget:
    """Return a random model of ``LlavaForConditionalGeneration`` or, with ``llava_next``, its successor.

    Parameters
    ----------
    kind
        ``llava`` or ``llava_next``.
    seed
        Of the weights.
    hidden, layers, heads
        Sizes of vision tower and language model alike.
    image_size, patch_size
        Of the vision tower.
    vocabulary
        Tokens at most; ``texts`` are what the tokenizer learns from.
    embedding
        Rows of the embedding matrix, more than there are tokens, as large models have; None for one a token.
    context
        Positions that the language model is made for.
    dtype
        ``float32``, ``float64`` or ``bfloat16``.
    options
        Further arguments of :class:`~auscult.o2m_attack.targets.llava.LlavaTarget`.

    Raises
    ------
    InputError
        There is no such kind.
    """
    import transformers

    if kind not in ("llava", "llava_next"):
        raise InputError(f"there is no tiny model {kind!r}: use llava or llava_next")
    tokenizer = tiny_tokenizer(texts, vocabulary)
    vision = transformers.CLIPVisionConfig(
        hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=layers, num_attention_heads=heads,
        image_size=image_size, patch_size=patch_size, projection_dim=hidden,
    )  # fmt: skip
    language = transformers.LlamaConfig(
        hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=heads, vocab_size=embedding or len(tokenizer), max_position_embeddings=context,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    shared = {
        "vision_config": vision, "text_config": language, "vision_feature_layer": -1,
        "image_token_index": tokenizer.convert_tokens_to_ids("<image>"),
    }  # fmt: skip
    model: Any
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "llava":
            model = transformers.LlavaForConditionalGeneration(transformers.LlavaConfig(**shared))
        else:
            grid = [[image_size, 2 * image_size], [2 * image_size, image_size], [2 * image_size, 2 * image_size]]
            model = transformers.LlavaNextForConditionalGeneration(
                transformers.LlavaNextConfig(**shared, image_grid_pinpoints=grid)
            )
        _spread(model)
    options.setdefault("name", f"tiny-{kind}-{seed}")
    return LlavaTarget(model.to(getattr(torch, dtype)), tokenizer, tiny_image_processor(kind, image_size), **options)


def tiny_tokenizer(texts: Iterable[str], vocabulary: int = 320) -> Any:
    """Return a byte-level BPE tokenizer that was trained on texts, with ``<image>`` and the usual special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<s>", "</s>", "<unk>", "<image>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(list(texts), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    wrap: Any = PreTrainedTokenizerFast
    return wrap(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"}, clean_up_tokenization_spaces=False,
    )  # fmt: skip


def tiny_image_processor(kind: str, image_size: int) -> Any:
    """Return the PIL image processor of a kind of model, for images of a size."""
    size = {"height": image_size, "width": image_size}
    if kind == "llava":
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

        return CLIPImageProcessorPil(size={"shortest_edge": image_size}, crop_size=size)
    from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

    grid = [[image_size, 2 * image_size], [2 * image_size, image_size], [2 * image_size, 2 * image_size]]
    return LlavaNextImageProcessorPil(size=size, crop_size=size, image_grid_pinpoints=grid)


def _spread(model: Any) -> None:
    """Make random weights large enough that inputs matter: fresh ones of 0.02 answer nearly the same to everything."""
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=1.0 / parameter[0].numel() ** 0.5)
