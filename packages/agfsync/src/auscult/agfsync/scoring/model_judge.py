"""Judges that run here: BLIP-2 as in the released code, and any image-text-to-text model with a chat template."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from auscult.agfsync.config import ScoreConfig
from auscult.agfsync.scoring.judges import Verdict, hard_verdict, yes_probability
from auscult.core.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

BLIP2_PROMPT = "Question: {question} Choices:['yes','no'] Answer:"
CHAT_PROMPT = "{question} Answer with yes or no only."


class Blip2Judge:
    """BLIP-2 with the released code's wording; the picture is encoded once, however many questions it gets.

    Parameters
    ----------
    config
        ``vqa_model`` is a BLIP-2 with an encoder-decoder or a decoder as its language model.
    """

    def __init__(self, config: ScoreConfig) -> None:
        from transformers import AutoProcessor, Blip2ForConditionalGeneration

        self._config = config
        self._processor, self._model = _load(config, AutoProcessor, Blip2ForConditionalGeneration)
        if not self._model.config.text_config.is_encoder_decoder:
            self._processor.tokenizer.padding_side = "left"  # a decoder goes on from the last token
        self.vision_passes = 0

    def ask(self, images: "Sequence[Image]", questions: Sequence[Sequence[str]]) -> list[Verdict]:
        """Return one verdict a picture."""
        return [self._about(image, asked) for image, asked in zip(images, questions, strict=True)]

    def _about(self, image: "Image", questions: Sequence[str]) -> Verdict:
        import torch

        if not questions:
            return Verdict([], [])
        texts = [BLIP2_PROMPT.format(question=question) for question in questions]
        inputs = self._processor(images=image, text=texts[:1], return_tensors="pt").to(self._model.device)
        pixels = inputs["pixel_values"].to(self._model.dtype)
        replies, chances = [], []
        size = self._config.batch_size
        with torch.inference_mode(), _one_vision_pass(self._model, self) as answer_from:
            for start in range(0, len(texts), size):
                part = texts[start : start + size]
                batch = self._processor(images=[image] * len(part), text=part, return_tensors="pt", padding=True)
                batch = batch.to(self._model.device)
                batch["pixel_values"] = answer_from(pixels, len(part))
                reply, chance = _generate(self._model, self._processor.tokenizer, batch, self._config.vqa_mode)
                replies += reply
                chances += chance
        return Verdict(hard_verdict(replies).answers, chances) if chances else hard_verdict(replies)


class ChatJudge:
    """Any ``AutoModelForImageTextToText`` whose processor has a chat template (Qwen-VL, LLaVA and their kind).

    Parameters
    ----------
    config
        ``vqa_model`` is the model; ``batch_size`` counts pairs of picture and question.
    """

    def __init__(self, config: ScoreConfig) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self._config = config
        self._processor, self._model = _load(config, AutoProcessor, AutoModelForImageTextToText)
        self._processor.tokenizer.padding_side = "left"

    def ask(self, images: "Sequence[Image]", questions: Sequence[Sequence[str]]) -> list[Verdict]:
        """Return one verdict a picture."""
        import torch

        pairs = [(image, text) for image, asked in zip(images, questions, strict=True) for text in asked]
        replies: list[str] = []
        chances: list[float] = []
        with torch.inference_mode():
            for start in range(0, len(pairs), self._config.batch_size):
                part = pairs[start : start + self._config.batch_size]
                batch = self._processor(
                    images=[image for image, _ in part], text=[self._prompt(text) for _, text in part],
                    return_tensors="pt", padding=True,
                ).to(self._model.device)  # fmt: skip
                if "pixel_values" in batch:
                    batch["pixel_values"] = batch["pixel_values"].to(self._model.dtype)
                reply, chance = _generate(self._model, self._processor.tokenizer, batch, self._config.vqa_mode)
                replies += reply
                chances += chance
        verdicts, start = [], 0
        for asked in questions:
            own = slice(start, start + len(asked))
            start += len(asked)
            hard = hard_verdict(replies[own])
            verdicts.append(Verdict(hard.answers, chances[own]) if chances else hard)
        return verdicts

    def _prompt(self, question: str) -> str:
        content = [{"type": "image"}, {"type": "text", "text": CHAT_PROMPT.format(question=question)}]
        text: str = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        return text


def _generate(model: Any, tokenizer: Any, batch: Any, mode: str) -> tuple[list[str], list[float]]:
    """Return replies in words, and in soft mode the chance of yes from the first token's logits."""
    soft = mode == "soft"
    out = model.generate(
        **batch, do_sample=False, max_new_tokens=1 if soft else 8, output_logits=True, return_dict_in_generate=True
    )
    steps = len(out.logits)
    replies: list[str] = tokenizer.batch_decode(out.sequences[:, -steps:], skip_special_tokens=True)
    if not soft:
        return replies, []
    return replies, yes_probability(out.logits[0], _tokens(tokenizer, "yes"), _tokens(tokenizer, "no"))


def _tokens(tokenizer: Any, word: str) -> list[int]:
    """Return the tokens that a word may begin a reply with."""
    found = set()
    for text in (word, word.capitalize(), f" {word}", f" {word.capitalize()}"):
        ids = tokenizer(text, add_special_tokens=False).input_ids
        ids = [token for token in ids if tokenizer.decode([token]).strip()]
        if ids and ids[0] != tokenizer.unk_token_id and tokenizer.decode(ids[:1]).strip().lower() == word:
            found.add(ids[0])
    return sorted(found)


def _load(config: ScoreConfig, processor_class: Any, model_class: Any) -> tuple[Any, Any]:
    import torch

    from auscult.core.device import choose_device, choose_dtype

    device = choose_device(config.device)
    dtype = getattr(torch, choose_dtype(device, config.dtype))
    try:
        processor = processor_class.from_pretrained(config.vqa_model)
        model = model_class.from_pretrained(config.vqa_model, dtype=dtype)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"the judge {config.vqa_model!r} cannot be loaded ({reason}): give a folder or an ID"
        ) from error
    return processor, model.to(device).eval()


class _one_vision_pass:  # reads as a context manager
    """Let BLIP-2 encode a picture once and answer every batch of questions from that."""

    def __init__(self, model: Any, counter: Any) -> None:
        self._model, self._counter = model, counter
        self._known: Any = None

    def __enter__(self) -> Any:
        original = self._model.vision_model.forward

        def once(pixel_values: Any, **options: Any) -> Any:
            if self._known is None:
                self._counter.vision_passes += 1
                self._known = original(pixel_values=pixel_values[:1], **options)
            rows = len(pixel_values)
            known = self._known
            return type(known)(
                last_hidden_state=known.last_hidden_state.expand(rows, -1, -1),
                pooler_output=None if known.pooler_output is None else known.pooler_output.expand(rows, -1),
            )

        self._model.vision_model.forward = once
        return lambda pixels, rows: pixels.expand(rows, -1, -1, -1)

    def __exit__(self, *_: object) -> None:
        del self._model.vision_model.forward
