import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from auscult.core.errors import InputError
from auscult.o2m_attack.defences import (
    STOPPED,
    AskingDetector,
    BitDepth,
    Defence,
    ExampleEncoder,
    Jpeg,
    PerplexityFilter,
    ResizePad,
    SimilarityDetector,
    SmoothText,
    threshold_for,
)
from auscult.o2m_attack.defences.texts import language_surprise
from auscult.o2m_attack.judges import reference39, refuses_at_start
from auscult.o2m_attack.targets.protocol import Query
from auscult.o2m_attack.transfer import ClaimedQuery

IMAGE = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)


class Echo:
    """Says what it was asked, and remembers it."""

    name = "echo"

    def __init__(self):
        self.queries = []

    def generate(self, queries, *, max_new_tokens=64):
        self.queries += queries
        return [f"{query.question}{query.suffix}" for query in queries]


def query(question="Is it?", suffix="", claim="CT and Chest", image=IMAGE):
    return ClaimedQuery(image, question, suffix, claim=claim)


def test_jpeg_is_what_the_file_holds():
    content = io.BytesIO()
    Image.fromarray(IMAGE).save(content, format="JPEG", quality=60, subsampling=0)
    np.testing.assert_array_equal(Jpeg(60).change(query()).image, np.asarray(Image.open(content)))


def test_jpeg_removes_what_a_perturbation_adds():
    smooth = np.repeat(np.linspace(60, 190, 32).astype(np.uint8)[None, :, None], 32, 0).repeat(3, 2)
    signs = np.random.default_rng(1).choice([-4, 4], smooth.shape)
    changed = np.clip(smooth + signs, 0, 255).astype(np.uint8)
    left = Jpeg(50).change(query(image=changed)).image.astype(float) - smooth
    assert np.abs(left).mean() < 0.7 * np.abs(signs).mean()


@pytest.mark.parametrize("bits", range(1, 8))
def test_bit_depth_leaves_so_many_levels_and_twice_is_once(bits):
    ramp = np.arange(256, dtype=np.uint8)[None, :, None].repeat(8, 0).repeat(3, 2)
    once = BitDepth(bits).change(query(image=ramp))
    assert len(np.unique(once.image)) == 2**bits
    assert np.abs(once.image.astype(float) - ramp).max() <= 127.5 / (2**bits - 1) + 0.5
    np.testing.assert_array_equal(BitDepth(bits).change(once).image, once.image)


def test_resize_and_pad_keeps_size_and_repeats():
    changed = ResizePad(0.5, seed=3).change(query())
    assert changed.image.shape == IMAGE.shape
    assert changed.image.dtype == np.uint8
    np.testing.assert_array_equal(changed.image, ResizePad(0.5, seed=3).change(query()).image)
    black = {(ResizePad(0.5, seed=seed).change(query()).image.sum(2) == 0).sum() for seed in range(5)}
    assert len(black) > 1
    np.testing.assert_array_equal(ResizePad(1.0).change(query()).image, IMAGE)


@pytest.mark.parametrize("defence", [Jpeg(75), BitDepth(4), ResizePad(0.9), SmoothText(1, 0.0)])
def test_text_and_claim_pass_through_image_defences(defence):
    echo = Echo()
    assert isinstance(defence, Defence)
    assert defence.generate(echo, [query("Is it?", " x"), query("Or?")]) == ["Is it? x", "Or?"]
    assert [one.claim for one in echo.queries] == ["CT and Chest"] * 2


def test_smoothing_answers_as_most_copies_do():
    class Voter(Echo):
        def generate(self, queries, *, max_new_tokens=64):
            self.queries += queries
            return [["Sorry, no.", "Sure.", "Sure!", "Sorry.", "Sure?"][index % 5] for index in range(len(queries))]

    voter = Voter()
    assert SmoothText(5, 0.5, refuses=reference39).generate(voter, [query("Tell me."), query("Well?")]) == ["Sure."] * 2
    assert SmoothText(4, 0.5, refuses=reference39).generate(Voter(), [query()]) == ["Sorry, no."]
    asked = [one.question for one in voter.queries[:5]]
    assert len(set(asked)) > 1
    assert {len(one) for one in asked} == {len("Tell me.")}


def test_smoothing_changes_about_the_rate_and_repeats():
    echo = Echo()
    text = "a" * 4000
    first, again = (SmoothText(1, 0.1, seed=1).generate(echo, [query(text)])[0] for _ in range(2))
    assert first == again
    assert 300 < sum(letter != "a" for letter in first) < 480


def test_a_perplexity_filter_stops_what_no_one_would_write():
    defence = PerplexityFilter(lambda texts: [float(text.count("}")) for text in texts], 2.0)
    assert defence.generate(Echo(), [query(), query(suffix=" }}}"), query(suffix=" }}")]) == [
        "Is it?", STOPPED, "Is it? }}"]  # fmt: skip


def test_surprise_is_the_worst_window_of_the_models_own_loss(llava):
    import torch

    surprise = language_surprise(llava.language, llava.tokenizer, window=4)
    text = "What colour is the marker? } ] ~ }"
    ids = torch.tensor([llava.tokenizer(text)["input_ids"]])
    with torch.inference_mode():
        states = llava.model.model.language_model(input_ids=ids).last_hidden_state
        logits = llava.model.lm_head(states)[0, :-1]
    losses = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none").tolist()
    expected = max(np.mean(losses[start : start + 4]) for start in range(len(losses) - 3))
    assert surprise([text])[0] == pytest.approx(expected, abs=1e-5)
    assert surprise([""]) == [0.0]


def test_a_mismatch_is_seen_by_its_similarity():
    class Encoder:
        def cosine(self, images, texts):
            return np.array([1.0 if text == "a picture of CT and Chest" else 0.1 for text in texts])

    defence = SimilarityDetector(Encoder(), 0.5, template="a picture of {claim}")
    said = defence.generate(Echo(), [query(), query(claim="MRI and Brain"), Query(IMAGE, "no claim")])
    assert said == ["Is it?", STOPPED, "no claim"]


def test_a_model_can_be_asked_itself():
    class Sees(Echo):
        def generate(self, queries, *, max_new_tokens=64):
            self.queries += queries
            return ["Yes, it does." if "CT and Chest" in one.question else "No." for one in queries]

    sees = Sees()
    defence = AskingDetector()
    assert defence.stops(sees, [query(suffix=" }}"), query(claim="MRI and Brain", suffix=" }}")]) == [False, True]
    assert [one.suffix for one in sees.queries] == ["", ""], "the optimised suffix is not part of the check"


def test_similarity_to_examples():
    rng = np.random.default_rng(0)
    images = {name: [np.full((8, 8, 3), value, np.uint8) + rng.integers(0, 9, (8, 8, 3), dtype=np.uint8)
                     for _ in range(4)] for name, value in (("a", 20), ("b", 200))}  # fmt: skip
    encoder = ExampleEncoder(
        lambda found: [np.concatenate([i.mean((0, 1)), 255 - i.mean((0, 1))]) for i in found], images
    )
    scores = encoder.cosine([images["a"][0], images["a"][0], images["b"][0], images["b"][0]], ["a", "b", "a", "c"])
    assert scores[0] > 0.9
    assert scores[1] < 0
    assert scores[2] < 0
    assert scores[3] == -1


def test_thresholds_cost_no_more_than_they_may():
    scores = list(np.random.default_rng(0).normal(size=200))
    for above in (True, False):
        for share in (0.0, 0.05, 0.2):
            threshold = threshold_for(scores, false_alarms=share, above=above)
            stopped = np.mean([score > threshold if above else score < threshold for score in scores])
            assert stopped <= share
            assert stopped > share - 0.01
    with pytest.raises(InputError, match="0 scores"):
        threshold_for([], above=True)


def test_a_stopped_request_is_a_refusal_to_every_judge():
    assert reference39(STOPPED)
    assert refuses_at_start(STOPPED)


@pytest.mark.parametrize(("make", "said"), [
    (lambda: Jpeg(0), "quality is 0"), (lambda: BitDepth(8), "bit depth is 8"), (lambda: ResizePad(0), "scale is 0"),
    (lambda: SmoothText(0), "copies is 0"), (lambda: SmoothText(3, 1.5), "rate is 1.5"),
])  # fmt: skip
def test_settings_out_of_range(make, said):
    with pytest.raises(InputError, match=said):
        make()


def test_names_tell_settings_apart():
    made = [Jpeg(75), Jpeg(50), BitDepth(3), BitDepth(4), ResizePad(0.9), ResizePad(0.8), SmoothText(3), SmoothText(5),
            ResizePad(0.9, seed=1), ResizePad(0.901), SmoothText(3, seed=1), SmoothText(3, 0.051), AskingDetector(),
            AskingDetector("Is it {claim}?"), PerplexityFilter(len, 2.001), PerplexityFilter(len, 2.002),
            *(SimilarityDetector(None, level) for level in (0.301, 0.302)),
            SimilarityDetector(None, 0.301, "A {claim}")]  # fmt: skip
    assert len({one.name for one in made}) == len(made)
    assert replace(Jpeg(75), quality=50) == Jpeg(50)
