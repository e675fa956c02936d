"""The token ids of a prompt, by segment, and which suffixes survive being written out and read again.

A suffix is optimised as ids but used as text. So slices are never found in growing strings: the whole rendered prompt
is encoded once, cut at the image and around the suffix, and a candidate counts only if encoding the whole prompt with
its text gives exactly its ids in its place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from auscult.core.errors import InputError
from auscult.o2m_attack.conditions import Request, Templates

_SUFFIX = "\u241fsuffix\u241f"
_TARGET = "\u241ftarget\u241f"
_PLAIN_CHAT = "USER: {turn} ASSISTANT:"
# Pieces that most tokenizers read one by one, however many follow each other.
_NEUTRAL = (" !", "!", " x", "x", " *", "*", " .", " a", "a ")


@dataclass(frozen=True)
class Segments:
    """The token ids of a prompt, but for image and suffix: before, image, between, suffix, after, target."""

    before: list[int]
    between: list[int]
    after: list[int]
    target: list[int]
    texts: tuple[str, str]
    """What stands in the rendered prompt before and behind the suffix."""


class Prompts:
    """How a model's chat is written and read.

    Parameters
    ----------
    tokenizer
        A fast tokenizer of transformers.
    image_token
        The text that stands for the image.
    templates
        The wordings of questions, turns and targets.
    chat
        The conversation around ``{turn}``, up to where the assistant begins, for a model without a chat template.
    chat_template
        The model's Jinja template; None takes the tokenizer's, if it has one.

    Raises
    ------
    InputError
        The tokenizer cannot say where a token stands in the text, or does not know the image token.
    """

    def __init__(
        self,
        tokenizer: Any,
        image_token: str,
        *,
        templates: Templates | None = None,
        chat: str | None = None,
        chat_template: str | None = None,
    ) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise InputError(
                f"{type(tokenizer).__name__} is no fast tokenizer, which alone says where a token stands in the text: "
                "convert it (transformers does so where it can)"
            )
        if chat is not None and chat.count("{turn}") != 1:
            raise InputError(f"chat is {chat!r}: it needs {{turn}} once")
        ids = tokenizer.encode(image_token, add_special_tokens=False)
        if len(ids) != 1:
            raise InputError(f"the tokenizer reads the image token {image_token!r} as {len(ids)} tokens: add it as one")
        self.tokenizer = tokenizer
        self.image_token = image_token
        self.image_token_id = int(ids[0])
        self.templates = templates or Templates()
        self._template = None if chat else chat_template or getattr(tokenizer, "chat_template", None)
        self._chat = chat or _PLAIN_CHAT

    def render(self, question: str, suffix: str) -> str:
        """Return the prompt as text, the image as its token."""
        before, behind = self._around_suffix(question)
        return before + suffix + behind

    def encode(self, text: str | Sequence[str], **options: Any) -> Any:
        """Return what the tokenizer makes of prompts, with the beginning-of-text token exactly once."""
        first = text if isinstance(text, str) else text[0]
        begin = self.tokenizer.bos_token
        return self.tokenizer(text, add_special_tokens=not (begin and first.startswith(begin)), **options)

    def split_at_image(self, ids: list[int]) -> tuple[list[int], list[int]]:
        """Return the ids before and behind the image token.

        Raises
        ------
        InputError
            It is not there exactly once.
        """
        if ids.count(self.image_token_id) != 1:
            raise InputError(
                f"the prompt holds {self.image_token!r} {ids.count(self.image_token_id)} times: it stands for the "
                "image and may not be part of a question"
            )
        place = ids.index(self.image_token_id)
        return ids[:place], ids[place + 1 :]

    def segments(self, request: Request, suffix: str) -> tuple[Segments, list[int]]:
        """Return the segments of a prompt and the ids of a suffix in its place.

        Raises
        ------
        InputError
            The tokenizer merges the suffix with its surroundings.
        """
        texts = self._around_suffix(request.question)
        text = texts[0] + suffix + texts[1]
        encoded = self.encode(text, return_offsets_mapping=True)
        ids = list(encoded["input_ids"])
        before, rest = self.split_at_image(ids)
        places = list(encoded["offset_mapping"])[len(before) + 1 :]
        start, stop = len(texts[0]), len(texts[0]) + len(suffix)
        if suffix:
            inside = [index for index, (low, high) in enumerate(places) if start <= low and high <= stop and low < high]
            if not inside:
                raise _merged(suffix)
            first, last = inside[0], inside[-1] + 1
        else:
            behind = [index for index, (_, high) in enumerate(places) if high > start]
            # At least one position has to follow what is cached.
            first = last = max(0, min([*behind, len(rest) - 1]))
        target = self._target_ids(text, ids, request)
        found = Segments(before, rest[:first], rest[last:], target, texts)
        suffix_ids = rest[first:last]
        if suffix and (self.suffix_text(found, suffix_ids) != suffix or not self.survives(found, [suffix_ids])[0]):
            raise _merged(suffix)
        return found, suffix_ids

    def neutral_suffix(self, request: Request, length: int) -> str:
        """Return a plain suffix of so many tokens, which survives in its place.

        Raises
        ------
        InputError
            No repetition of a token does.
        """
        if length == 0:
            return ""
        for piece in _NEUTRAL:
            for text in (piece * length, (piece * length).strip()):
                try:
                    if text and len(self.segments(request, text)[1]) == length:
                        return text
                except InputError:
                    continue
        base, _ = self.segments(request, "")
        allowed = (~self.forbidden()).nonzero().flatten().tolist()
        survivors = [[one] * length for one in allowed]
        for start in range(0, len(survivors), 512):
            page = survivors[start : start + 512]
            for ids, kept in zip(page, self.survives(base, page), strict=True):
                text = self.suffix_text(base, ids)
                if kept and text.strip():
                    try:
                        if self.segments(request, text)[1] == ids:
                            return text
                    except InputError:
                        continue
        raise InputError(
            f"the tokenizer merges every plain suffix of {length} tokens: give initial_suffix, or another suffix_length"
        )

    def suffix_text(self, segments: Segments, ids: Sequence[int]) -> str:
        """Return the text of suffix ids in their place, with a space in front where the first token has one."""
        return self._suffix_texts(segments, [list(ids)])[0]

    def survives(self, segments: Segments, candidates: Sequence[Sequence[int]]) -> list[bool]:
        """Return for each candidate whether its text, in the whole prompt, is encoded as its ids again."""
        if not candidates:
            return []
        texts = self._suffix_texts(segments, candidates)
        encoded = self.encode([segments.texts[0] + text + segments.texts[1] for text in texts])["input_ids"]
        front = [*segments.before, self.image_token_id, *segments.between]
        # Chat templates strip a turn, so that a suffix with space at its end would not be what the model reads.
        return [
            list(ids) == [*front, *candidate, *segments.after] and text == text.rstrip() and text.strip() != ""
            for ids, candidate, text in zip(encoded, candidates, texts, strict=True)
        ]

    def forbidden(self, *, allow_non_ascii: bool = False) -> Tensor:
        """Return a mask [len(tokenizer)] of the ids that no suffix may hold.

        Special and added tokens, the image's among them, tokens of no text, and, unless allowed, all that is not
        printable ASCII.
        """
        unprintable, non_ascii = self._unusable
        return unprintable if allow_non_ascii else unprintable | non_ascii

    @cached_property
    def _unusable(self) -> tuple[Tensor, Tensor]:
        size = len(self.tokenizer)
        texts = self.tokenizer.batch_decode([[one] for one in range(size)], skip_special_tokens=False)
        broken = torch.tensor([not text.isprintable() or text == "" or "\ufffd" in text for text in texts])
        special = {*self.tokenizer.all_special_ids, *self.tokenizer.added_tokens_decoder, self.image_token_id}
        broken[[one for one in special if one < size]] = True
        return broken, torch.tensor([not text.isascii() for text in texts])

    def _suffix_texts(self, segments: Segments, candidates: Sequence[Sequence[int]]) -> list[str]:
        """Decode behind what stands between image and suffix, so that a leading space is not lost."""
        front = segments.between
        given = [[*front, *candidate] for candidate in candidates]
        options = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
        start = self.tokenizer.decode(front, **options)
        texts: list[str] = self.tokenizer.batch_decode(given, **options)
        return [text[len(start) :] if text.startswith(start) else text for text in texts]

    def _around_suffix(self, question: str) -> tuple[str, str]:
        turn = self.templates.turn.format(question=question, image=self.image_token, suffix=_SUFFIX)
        rendered = self._rendered(turn)
        before, found, behind = rendered.partition(_SUFFIX)
        if not found or behind.count(_SUFFIX) or question.strip() not in before:
            raise InputError(
                "the chat template does not put the user's turn into the prompt as it is: give chat, such as "
                f"{_PLAIN_CHAT!r}"
            )
        return before, behind

    def _rendered(self, turn: str, reply: str | None = None) -> str:
        if not self._template:
            return self._chat.replace("{turn}", turn) + (" " + reply if reply else "")
        for content in ([{"type": "text", "text": turn}], turn):
            messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
            if reply is not None:
                answer = [{"type": "text", "text": reply}] if isinstance(content, list) else reply
                messages.append({"role": "assistant", "content": answer})
            try:
                text: str = self.tokenizer.apply_chat_template(
                    messages, chat_template=self._template, tokenize=False, add_generation_prompt=reply is None
                )
            except Exception as error:  # a template is a program of the model's author
                failure = error
                continue
            if turn.strip() in text and "'type'" not in text:
                return text
            failure = ValueError("the user's turn is not in the result")
        raise InputError(f"the chat template cannot be used ({failure}): give chat, such as {_PLAIN_CHAT!r}")

    def _target_ids(self, prompt: str, prompt_ids: list[int], request: Request) -> list[int]:
        """Return the ids of the target as the assistant would go on with it."""
        lead = self._lead(prompt)
        ids = list(self.encode(prompt + lead + request.target)["input_ids"])
        if ids[: len(prompt_ids)] == prompt_ids and len(ids) > len(prompt_ids):
            return ids[len(prompt_ids) :]
        return list(self.tokenizer(lead + request.target, add_special_tokens=False)["input_ids"])

    def _lead(self, prompt: str) -> str:
        """Return what the chat template puts between the open assistant's turn and its first word."""
        if self._template:
            turn = "turn"
            opened, answered = self._rendered(turn), self._rendered(turn, _TARGET)
            if answered.startswith(opened) and _TARGET in answered:
                return answered[len(opened) : answered.index(_TARGET)]
        return "" if prompt[-1:].isspace() or not (prompt[-1:].isalnum() or prompt.endswith(":")) else " "


def _merged(suffix: str) -> InputError:
    return InputError(
        f"the tokenizer merges the suffix {suffix!r} with what stands around it, or reads it in another way once it is "
        "written out: give another initial_suffix, such as one that begins and ends with a word of its own"
    )
