"""Small random models of the kinds that score pictures, made on the spot, for tests and benchmarks."""

from pathlib import Path
from typing import Any


def make_word_tokenizer(words: list[str], **tokens: str) -> Any:
    """Return a tokenizer with one token a word; further words are unknown."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    every = [*special.values(), *tokens.values(), *words]
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys(every))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    make: Any = PreTrainedTokenizerFast
    return make(
        tokenizer_object=tokenizer, model_max_length=128, additional_special_tokens=list(tokens.values()), **special
    )


def save_tiny_blip2(folder: str | Path) -> None:
    """Write a BLIP-2 of random weights with its processor, in the layout of the released ones."""
    import torch
    from transformers import (
        Blip2Config,
        Blip2ForConditionalGeneration,
        Blip2Processor,
        Blip2QFormerConfig,
        Blip2VisionConfig,
        OPTConfig,
    )
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    torch.manual_seed(0)
    tokenizer = make_word_tokenizer(["yes", "no", "Is", "there", "a", "red", "Question:", "Answer:"], image="<image>")
    vision: Any = Blip2VisionConfig
    vision = vision(
        hidden_size=64, intermediate_size=128, num_hidden_layers=4, num_attention_heads=4, image_size=64, patch_size=8
    )
    qformer: Any = Blip2QFormerConfig
    qformer = qformer(
        vocab_size=32,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        encoder_hidden_size=64,
    )
    text: Any = OPTConfig
    text = text(
        vocab_size=len(tokenizer), hidden_size=32, ffn_dim=64, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=128, word_embed_proj_dim=32, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    config: Any = Blip2Config
    config = config(
        vision_config=vision.to_dict(), qformer_config=qformer.to_dict(), text_config=text.to_dict(),
        num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    model: Any = Blip2ForConditionalGeneration(config)
    model.save_pretrained(folder)
    images: Any = BlipImageProcessorPil
    processor: Any = Blip2Processor
    processor(images(size={"height": 64, "width": 64}), tokenizer, num_query_tokens=4).save_pretrained(folder)


def save_tiny_writer(folder: str | Path) -> None:
    """Write a Llama of random weights with a chat template."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    tokenizer = make_word_tokenizer(["a", "red", "fox", "SYSTEM:", "USER:", "ASSISTANT:"])
    tokenizer.chat_template = (
        "{% for message in messages %}{{ message['role'] | upper }}: {{ message['content'] }} {% endfor %}ASSISTANT:"
    )
    config: Any = LlamaConfig
    config = config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model: Any = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def save_tiny_chat_model(folder: str | Path) -> None:
    """Write a LLaVA of random weights with processor and chat template."""
    import torch
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    torch.manual_seed(0)
    tokenizer = make_word_tokenizer(["yes", "no", "Is", "there", "a", "red", "USER:", "ASSISTANT:"], image="<image>")
    vision: Any = CLIPVisionConfig
    vision = vision(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
    )
    text: Any = LlamaConfig
    text = text(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    config: Any = LlavaConfig
    config = config(
        vision_config=vision, text_config=text, image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_select_strategy="default",
    )  # fmt: skip
    model: Any = LlavaForConditionalGeneration(config)
    model.save_pretrained(folder)
    template = (
        "{% for message in messages %}USER: {% for part in message['content'] %}{% if part['type'] == 'image' %}"
        "<image> {% else %}{{ part['text'] }} {% endif %}{% endfor %}{% endfor %}ASSISTANT:"
    )
    images: Any = CLIPImageProcessorPil
    processor: Any = LlavaProcessor
    processor(
        image_processor=images(size={"height": 28, "width": 28}, crop_size={"height": 28, "width": 28}),
        tokenizer=tokenizer,
        patch_size=14, vision_feature_select_strategy="default", num_additional_image_tokens=1, chat_template=template,
    ).save_pretrained(folder)  # fmt: skip
