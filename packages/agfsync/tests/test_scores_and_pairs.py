"""Property 12 of the method, the invariants of pairs, and what the released scorers and pair builder got wrong."""

import io

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from PIL import Image

from auscult.agfsync import PairsConfig, Scorers, read_pairs, score_candidates, select_pairs
from auscult.agfsync.config import PRESETS, ScoreConfig
from auscult.agfsync.images import open_image, pixel_hash, write_image
from auscult.agfsync.pairs import combine, variance_shares, write_pairs
from auscult.agfsync.scoring.aesthetics import LaionHead
from auscult.agfsync.scoring.clip import CLIPScorer, features
from auscult.agfsync.scoring.judges import Verdict, hard_verdict
from auscult.agfsync.scoring.parsing import parse_answer
from auscult.core.errors import AuscultError, InputError
from auscult.core.runs import RunStore

EXAMPLE = np.array([[75.0, 28, 55], [100, 26, 50], [50, 31, 70]])


def table(scores, id="p", **extras):
    scored = [
        {
            "id": id,
            "k": k,
            "vqa": v,
            "clip": c,
            "aesthetic": a,
            "extras": {"pixels": f"{id}{k}", "black": False, **extras},
        }
        for k, (v, c, a) in enumerate(scores)
    ]
    pictures = [
        {"id": id, "k": k, "prompt": f"caption {id}", "path": f"images/{id}_{k}.png"} for k in range(len(scores))
    ]
    return scored, pictures


@pytest.mark.parametrize(
    ("text", "meaning"),
    [("Yes.", "yes"), ("yes, it is", "yes"), ("no", "no"), ("No, there is not", "no"), ("both", "unparsed"),
     ("not sure", "unparsed"), ("snow", "unparsed"), ("brown", "unparsed"), ("b", "no"), ("a", "yes"), ("true", "yes"),
     ("False!", "no"), ("a dog", "unparsed"), ("", "unparsed"), ("yesterday", "unparsed"), ("(A) yes", "yes")],
)  # fmt: skip
def test_what_an_answer_means(text, meaning):
    assert parse_answer(text) == meaning


def test_the_vqa_score_is_the_share_of_yes():
    assert hard_verdict(["yes", "no", "both", "Yes"]).score == 50
    assert hard_verdict(["both"]).answers == ["unparsed"]
    assert np.isnan(Verdict([], []).score)


def test_the_worked_example_of_the_weighted_sum():
    assert combine(EXAMPLE, PairsConfig()).tolist() == pytest.approx([47.15, 54.30, 41.55])
    (pair,) = select_pairs(*table(EXAMPLE), PairsConfig())
    assert (pair["good_k"], pair["bad_k"]) == (1, 2)
    assert pair["margin"] == pytest.approx(12.75)
    assert pair["sub_scores_good"] == [100, 26, 50]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_shift_of_a_scorer_or_a_scale_of_all_weights_changes_no_pair(preset):
    random = np.random.default_rng(0)
    for _ in range(20):
        raw = random.normal(50, 10, (6, 3))
        first = select_pairs(*table(raw), PairsConfig(preset=preset))
        shifted = select_pairs(*table(raw + np.array([5, -3, 11])), PairsConfig(preset=preset))
        scaled = select_pairs(*table(raw), PairsConfig(weights=tuple(7 * w for w in PRESETS[preset])))
        ends = [[(pair["good_k"], pair["bad_k"]) for pair in found] for found in (first, shifted, scaled)]
        assert ends[0] == ends[1] == ends[2]


@pytest.mark.parametrize("strategy", ["best_worst", "top_bottom_k", "all_above_margin", "best_random"])
@pytest.mark.parametrize("normalize", ["none", "zscore", "minmax", "rank"])
@pytest.mark.parametrize("aggregate", ["weighted_sum", "majority_vote", "pareto"])
def test_every_pair_is_ordered_and_of_one_prompt(strategy, normalize, aggregate):
    random = np.random.default_rng(1)
    config = PairsConfig(strategy=strategy, normalize=normalize, aggregate=aggregate)
    scores, pictures = [], []
    for id in "abc":
        more = table(random.integers(0, 4, (5, 3)).astype(float), id)
        scores, pictures = scores + more[0], pictures + more[1]
    pairs = select_pairs(scores, pictures, config)
    assert pairs
    for pair in pairs:
        assert pair["score_good"] > pair["score_bad"]
        assert pair["good_k"] != pair["bad_k"]
        assert pair["good_path"].startswith(f"images/{pair['id']}_")
        assert pair["bad_path"].startswith(f"images/{pair['id']}_")
    if strategy == "best_worst":
        assert len(pairs) <= 3
    order = random.permutation(len(scores))
    again = select_pairs([scores[i] for i in order], pictures[::-1], config)
    ends = [sorted((pair["id"], pair["good_k"], pair["bad_k"]) for pair in one) for one in (again, pairs)]
    assert ends[0] == ends[1]


def test_rows_are_matched_by_id_and_k_not_by_position():
    scores, pictures = table(EXAMPLE, "x")
    more = table(EXAMPLE[::-1], "y")
    pairs = select_pairs(more[0] + scores, pictures + more[1])
    assert {pair["id"]: (pair["good_k"], pair["bad_k"]) for pair in pairs} == {"x": (1, 2), "y": (1, 0)}
    with pytest.raises(InputError, match="no candidate"):
        select_pairs(scores, more[1])


def test_equal_scores_and_equal_pictures_give_no_pair():
    assert select_pairs(*table([[50, 20, 30]] * 4)) == []
    assert select_pairs(*table([[50, 20, 30], [60, 20, 30]], pixels="same")) == []
    assert select_pairs(*table([[50, 20, 30]])) == []
    assert select_pairs(*table(EXAMPLE), PairsConfig(min_margin=12.8)) == []


def test_sums_keep_what_half_precision_would_lose():
    scores = table([[70.0, 30.0, 50.0], [70.0, 30.01, 50.0]])
    (pair,) = select_pairs(*scores)
    assert pair["good_k"] == 1
    assert np.float16(0.35 * 70 + 0.55 * 30 + 0.1 * 50) == np.float16(0.35 * 70 + 0.55 * 30.01 + 0.1 * 50)


def test_nan_and_black_pictures_stay_out():
    scores, pictures = table([[100.0, 30, 60], [90, 30, 60], [float("nan"), 31, 60], [10, 20, 30]])
    scores[3]["extras"]["black"] = True
    (pair,) = select_pairs(scores, pictures)
    assert (pair["good_k"], pair["bad_k"]) == (0, 1)


def test_a_score_that_nobody_has_is_named():
    scores, pictures = table([[None, 30.0, 60.0], [None, 20.0, 50.0]])
    with pytest.raises(InputError, match="vqa"):
        select_pairs(scores, pictures)
    (pair,) = select_pairs(scores, pictures, PairsConfig(preset="clip_aes"))
    assert pair["good_k"] == 0


def test_a_constant_score_counts_nothing_when_normalised():
    raw = EXAMPLE.copy()
    raw[:, 0] = 60
    for how in ("zscore", "minmax", "rank"):
        assert np.isfinite(combine(raw, PairsConfig(normalize=how))).all()
        assert np.ptp(combine(raw, PairsConfig(normalize=how, weights=(1, 0, 0)))) == 0


def test_variance_shares_sum_to_one_and_follow_the_spread():
    scored = table(EXAMPLE)[0]
    shares = variance_shares(scored, PairsConfig())
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares, key=shares.get) == "vqa"
    # As they count: z-scores have a variance of one each.
    shares = variance_shares(scored, PairsConfig(normalize="zscore"))
    squares = np.square([0.35, 0.55, 0.10])
    np.testing.assert_allclose(list(shares.values()), squares / squares.sum())
    assert variance_shares(scored, PairsConfig(weights=(0, 1, 0))) == {"vqa": 0, "clip": 1, "aesthetic": 0}


@pytest.mark.parametrize(
    "options",
    [
        {"preset": "none"},
        {"weights": (0, 0, 0)},
        {"weights": (-1, 1, 1)},
        {"weights": (float("nan"), 1, 1)},
        {"min_margin": -1},
    ],
)
def test_settings_of_pairs_that_make_no_sense(options):
    with pytest.raises(InputError):
        PairsConfig(**options)


class Fixed:
    """A scorer that says what it was told to."""

    def __init__(self, yes=(1.0,), rating=50.0):
        self.yes, self.rating, self.pictures = list(yes), rating, 0

    def ask(self, images, questions):
        self.pictures += len(images)
        return [Verdict(["yes"] * len(asked), self.yes * len(asked)) for asked in questions]

    def rate(self, images, embeddings):
        return np.full(len(images), self.rating)


def candidates(folder, values):
    rows = []
    for k, value in enumerate(values):
        pixels = np.full((32, 32, 3), value, np.uint8)
        write_image(pixels, folder / f"images/p_{k}.png")
        rows.append({"id": "p", "k": k, "prompt": "a red circle", "path": f"images/p_{k}.png", "black": value == 0,
                     "pixels": pixel_hash(Image.fromarray(pixels))})  # fmt: skip
    return rows


def test_scoring_resumes_and_leaves_black_pictures_out(tmp_path):
    rows = candidates(tmp_path, [10, 0, 200])
    judge = Fixed()
    questions = {"p": [{"question": "Is there a circle?"}]}
    for expected in (2, 2):  # the second call scores nothing
        with RunStore.open(tmp_path / "scores", config={}) as store:
            found = score_candidates(
                rows, questions, Scorers(judge, None, judge), folder=tmp_path, store=store, batch_size=1
            )
        assert judge.pictures == expected
    assert [row["vqa"] for row in found] == [100, None, 100]
    assert found[1]["extras"]["black"]


class Failing(Fixed):
    """A judge that gets no answer about some pictures, of a grey value each."""

    def __init__(self, values):
        super().__init__()
        self.values = values

    def ask(self, images, questions):
        self.pictures += len(images)
        failed = [image.getpixel((0, 0))[0] in self.values for image in images]
        return [Verdict(["failed"], [float("nan")]) if no else Verdict(["yes"], [1.0]) for no in failed]


def test_a_picture_without_all_answers_has_no_score_and_is_asked_about_again(tmp_path):
    from auscult.agfsync.evaluation import by_element_type

    rows = candidates(tmp_path, [10, 100, 200])
    questions = {"p": [{"question": "Is there a circle?", "element_type": "shape"}]}

    def scored(judge):
        with RunStore.open(tmp_path / "scores", config={}) as store:
            return score_candidates(rows, questions, Scorers(judge, None, None), folder=tmp_path, store=store)

    judge = Failing({10, 100, 200})
    for expected in (3, 6):
        with pytest.raises(AuscultError, match="no question about 3 pictures"):
            scored(judge)
        assert judge.pictures == expected
    found = scored(Failing({100}))
    assert [row["vqa"] for row in found] == pytest.approx([100, float("nan"), 100], nan_ok=True)
    assert by_element_type(found, questions) == {"shape": 100}
    # An outage makes no picture the worse one.
    assert select_pairs(found, rows, PairsConfig(weights=(1, 0, 0))) == []
    judge = Fixed()
    assert [row["vqa"] for row in scored(judge)] == [100, 100, 100]
    assert judge.pictures == 1


def test_a_picture_that_was_replaced_is_neither_scored_nor_paired(tmp_path):
    rows = candidates(tmp_path, [10, 100])
    found = table([[1.0, 1, 1], [2, 2, 2]])[0]
    for row, picture in zip(found, rows, strict=True):
        row["extras"] = {"pixels": picture["pixels"], "black": False}
    pairs = select_pairs(found, rows)
    write_image(np.full((32, 32, 3), 11, np.uint8), tmp_path / rows[0]["path"])
    with RunStore.open(tmp_path / "s", config={}) as store, pytest.raises(InputError, match=r"p_0\.png is another"):
        score_candidates(rows, {}, Scorers(None, None, Fixed()), folder=tmp_path, store=store)
    with pytest.raises(InputError, match=r"p_0\.png is another"):
        write_pairs(pairs, tmp_path, tmp_path / "pairs.parquet")
    (tmp_path / rows[0]["path"]).unlink()
    with pytest.raises(InputError, match=r"p_0\.png is missing"):
        write_pairs(pairs, tmp_path, tmp_path / "pairs.parquet")


def test_a_scorer_that_returns_nan_is_kept_as_such(tmp_path):
    rows = candidates(tmp_path, [10, 100])
    with RunStore.open(tmp_path / "scores", config={}) as store:
        found = score_candidates(
            rows, {}, Scorers(None, None, Fixed(rating=float("nan"))), folder=tmp_path, store=store
        )
    assert all(np.isnan(row["aesthetic"]) for row in found)
    assert select_pairs(found, rows, PairsConfig(weights=(0, 0, 1))) == []


def test_pictures_of_other_depths_keep_their_brightness_or_are_refused(tmp_path, monkeypatch):
    for value in (0, 40000, 65535):
        Image.fromarray(np.full((8, 8), value, np.uint16)).save(tmp_path / "grey.png")
        assert open_image(tmp_path / "grey.png").getpixel((0, 0)) == (value // 257,) * 3
    for kind in (np.int32, np.float32):
        Image.fromarray(np.ones((8, 8), kind)).save(tmp_path / "wide.tif")
        with pytest.raises(InputError, match="32 bits"):
            open_image(tmp_path / "wide.tif")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(InputError, match=r"grey\.png cannot be read"):
        open_image(tmp_path / "grey.png")


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_picture_that_cannot_be_read_is_named(tmp_path, damage):
    rows = candidates(tmp_path, [10, 100])
    path = tmp_path / rows[1]["path"]
    content = path.read_bytes()
    path.unlink()
    if damage == "truncated":
        path.write_bytes(content[:50])
    with RunStore.open(tmp_path / "scores", config={}) as store, pytest.raises(InputError, match=r"p_1\.png"):
        score_candidates(rows, {}, Scorers(None, None, Fixed()), folder=tmp_path, store=store)


def test_clip_outputs_may_be_tensors_or_objects():
    tensor = torch.ones(1, 3)
    assert features(tensor) is tensor
    assert features(type("Output", (), {"pooler_output": tensor})()) is tensor


@pytest.fixture(scope="module")
def clip():
    from auscult.agfsync.shapes import models

    torch.manual_seed(0)
    return CLIPScorer(models.make_clip().eval(), models.make_tokenizer())


def test_clip_scores_are_cosines_whatever_the_batch(clip):
    images = [Image.fromarray(np.full((40, 32, 3), value, np.uint8)) for value in (10, 90, 250)]
    image, text = clip.embed_images(images), clip.embed_texts(["a red circle", "two blue squares", "a green triangle"])
    assert np.linalg.norm(image, axis=1) == pytest.approx(1, abs=1e-6)
    score = clip.score(image, text)
    assert ((score >= 0) & (score <= 100)).all()
    assert clip.embed_images(images[1:2]) == pytest.approx(image[1:2], abs=1e-5)
    cosine = (image * text).sum(1)
    assert score == pytest.approx(100 * np.maximum(cosine, 0), abs=1e-4)
    clip._scale = "logit"
    assert clip.score(image, text) == pytest.approx(cosine * clip._model.logit_scale.exp().item(), rel=1e-5)
    clip._scale = "cosine"


def test_clip_and_aesthetics_share_one_embedding_of_a_picture(clip, monkeypatch):
    given, embed = [], clip.embed_images
    monkeypatch.setattr(clip, "embed_images", lambda images: given.append(embed(images)) or given[-1])
    rated = Fixed()
    monkeypatch.setattr(rated, "rate", lambda images, embeddings: given.append(embeddings) or np.zeros(len(images)))
    images = [Image.fromarray(np.full((32, 32, 3), value, np.uint8)) for value in (10, 250)]
    Scorers(None, clip, rated).score(images, ["a red circle"] * 2, [[], []])
    assert len(given) == 2
    assert given[0] is given[1]


def test_long_captions_are_cut_at_tokens_not_at_characters(clip):
    spaced = "a red circle" + " " * 80 + "left of two green triangles"
    assert np.array_equal(clip.embed_texts([spaced]), clip.embed_texts([" ".join(spaced.split())]))
    assert not np.allclose(clip.embed_texts([spaced]), clip.embed_texts([spaced[:77]]))
    assert clip.embed_texts(["red " * 500]).shape == (1, 64)


def test_chunks_of_a_long_caption_count_alike():
    whole, cut = (CLIPScorer.load(ScoreConfig(clip_long=long)) for long in ("chunks", "truncate"))
    room = whole._model.config.text_config.max_position_embeddings - 2
    parts = [" ".join(["red"] * room), " ".join(["blue"] * room), "a green circle"]
    assert len(whole._tokenizer(parts[0]).input_ids) == room + 2
    alone = cut.embed_texts(parts)
    found = whole.embed_texts(["two squares", " ".join(parts), parts[1]])
    assert np.allclose(found[1], alone.mean(0), atol=1e-6)
    assert np.allclose(found[[0, 2]], cut.embed_texts(["two squares", parts[1]]), atol=1e-6)
    assert np.allclose(cut.embed_texts([" ".join(parts)]), alone[:1], atol=1e-6)
    image = cut.embed_images([Image.new("RGB", (32, 32), "red")] * 3)
    assert whole.score(image[:1], found[1:2]) == pytest.approx(np.maximum(100 * (image * alone).sum(1).mean(), 0))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_the_laion_head_is_its_five_layers(tmp_path, suffix):
    torch.manual_seed(0)
    sizes = {0: (768, 1024), 2: (1024, 128), 4: (128, 64), 6: (64, 16), 7: (16, 1)}
    layers = {i: torch.nn.Linear(*size) for i, size in sizes.items()}
    state = {
        f"layers.{i}.{name}": value.detach() for i, layer in layers.items() for name, value in layer.named_parameters()
    }
    path = tmp_path / f"head{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        from safetensors.torch import save_file

        save_file(state, path)
    embeddings = torch.nn.functional.normalize(torch.randn(4, 768), dim=1)
    expected = embeddings
    for layer in layers.values():
        expected = layer(expected)
    found = LaionHead(path).rate([], embeddings.numpy())
    assert found == pytest.approx(10 * expected[:, 0].detach().numpy(), abs=1e-4)
    with pytest.raises(InputError, match="768"):
        LaionHead(path).rate([], np.ones((1, 512), np.float32))


def test_a_file_that_is_no_head_is_refused(tmp_path):
    (tmp_path / "head.pth").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"head\.pth"):
        LaionHead(tmp_path / "head.pth")


@pytest.mark.parametrize(
    "options",
    [{"vqa": "none", "clip": "none", "aesthetic": "none"}, {"aesthetic": "laion"}, {"vqa": "blip2"},
     {"vqa": "endpoint", "vqa_model": "m"}],
)  # fmt: skip
def test_scorers_without_what_they_need_are_refused(options):
    with pytest.raises(InputError):
        ScoreConfig(**options)


def jpeg(value):
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def test_pairs_written_are_read_as_the_published_layout(tmp_path):
    rows = candidates(tmp_path, [10, 100, 200])
    scores = table([[75.0, 28, 55], [100, 26, 50], [50, 31, 70]])[0]
    for score, row in zip(scores, rows, strict=True):
        score["extras"]["pixels"] = row["pixels"]
    pairs = select_pairs(scores, rows)
    write_pairs(pairs, tmp_path, tmp_path / "pairs.parquet")
    (found,) = read_pairs(tmp_path / "pairs.parquet")
    assert found["caption"] == "a red circle"
    assert found["good_jpg"] == (tmp_path / "images/p_1.png").read_bytes()
    assert found["margin"] == pairs[0]["margin"]


def test_pairs_of_others(tmp_path):
    hub = [
        {
            "caption": "x",
            "good_jpg": {"bytes": jpeg(1), "path": None},
            "bad_jpg": {"bytes": jpeg(2), "path": None},
        }
    ]
    pick = [{"caption": "y", "jpg_0": jpeg(1), "jpg_1": jpeg(2), "label_0": label} for label in (1.0, 0.0, 0.5)]
    for name, rows in (("hub", hub), ("pick", pick)):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / f"{name}.parquet")
    assert read_pairs(tmp_path / "hub.parquet")[0]["good_jpg"] == jpeg(1)
    picked = read_pairs(tmp_path / "pick.parquet")
    assert [row["good_jpg"] == jpeg(1) for row in picked] == [True, False]
    assert len(read_pairs(tmp_path)) == 3
    folder = tmp_path / "folders"
    for side, value in (("good", 1), ("bad", 2)):
        (folder / side).mkdir(parents=True)
        (folder / side / "0.jpg").write_bytes(jpeg(value))
    with pytest.raises(InputError, match=r"0\.txt"):
        read_pairs(folder)
    (folder / "good" / "0.txt").write_text("z\n", "utf-8")
    assert read_pairs(folder)[0]["caption"] == "z"
    (folder / "bad" / "1.jpg").write_bytes(jpeg(3))
    with pytest.raises(InputError, match=r"1\.jpg has no counterpart"):
        read_pairs(folder)
    rows = [{"caption": "x", "good_jpg": jpeg(1), "bad_jpg": jpeg(value)} for value in (1, 2)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "same.parquet")
    assert len(read_pairs(tmp_path / "same.parquet")) == 1
    for caption in (None, " "):
        pyarrow.parquet.write_table(
            pyarrow.Table.from_pylist([rows[1], {**rows[1], "caption": caption}]), tmp_path / "same.parquet"
        )
        with pytest.raises(InputError, match=r"pair 2 .*caption"):
            read_pairs(tmp_path / "same.parquet")


def test_what_is_no_pairs_is_refused(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        read_pairs(tmp_path / "nowhere.parquet")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(InputError, match="torn"):
        read_pairs(tmp_path / "torn.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"text": ["x"]}), tmp_path / "other.parquet")
    with pytest.raises(InputError, match="text"):
        read_pairs(tmp_path / "other.parquet")
