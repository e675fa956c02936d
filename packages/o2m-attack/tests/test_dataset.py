import collections
import io
import json

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from auscult.core.errors import InputError
from auscult.o2m_attack.conditions import split_attribute
from auscult.o2m_attack.dataset import (
    ATTRIBUTES,
    MODALITIES,
    POLICIES,
    build_own,
    build_tiny,
    draw_mismatch,
    load_records,
    stratum_of,
)
from auscult.o2m_attack.dataset.attributes import split_name
from auscult.o2m_attack.dataset.mismatch import alternatives
from auscult.o2m_attack.dataset.rows import read_rows


def picture(value, size=8):
    buffer = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), value, np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def cells(number, attribute="CT and Chest", claim="MRI and Brain", policy="Matching", **changes):
    found = {
        "id": number, "file_name": f"CMIC/{attribute.replace(' and ', '/')}/{number}.png",
        "original_attribute": attribute, "unmatch_attribute": claim, "normal_prompt": f"What is number {number}?",
        "harmful_prompt": "What is the code word?", "policy": policy, "key_phrases": "the code word",
    }  # fmt: skip
    return found | changes


def write_parquet(folder, rows_by_split):
    """Write the layout that the hub has: a file a split, images in it, and the index that pandas left there."""
    (folder / "data").mkdir(parents=True)
    for split, rows in rows_by_split.items():
        rows = [
            {**row, "__index_level_0__": index, "image": {"bytes": picture(index % 256), "path": f"{index}.png"}}
            for index, row in enumerate(rows)
        ]
        pyarrow.parquet.write_table(
            pyarrow.Table.from_pylist(rows), folder / "data" / f"{split}-00000-of-00001.parquet", row_group_size=7
        )
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A small set in the published layout: every attribute, every policy, ids that begin anew in each split."""
    rng = np.random.default_rng(0)
    splits = {}
    for attribute in ATTRIBUTES:
        claims = [draw_mismatch(attribute, rng) for _ in range(90)]
        policies = rng.choice(POLICIES, 90)
        splits[split_name(attribute)] = [
            cells(number + 1, attribute, claim, str(policy))
            for number, (claim, policy) in enumerate(zip(claims, policies, strict=True))
        ]
    return write_parquet(tmp_path_factory.mktemp("3mad"), splits)


def test_attributes_are_the_published_ones():
    assert len(ATTRIBUTES) == len(set(ATTRIBUTES)) == 18
    assert len(MODALITIES) == 9
    assert len({split_attribute(attribute)[1] for attribute in ATTRIBUTES}) == 13
    assert len(POLICIES) == len(set(POLICIES)) == 18
    assert all(len(alternatives(attribute)) == 17 for attribute in ATTRIBUTES)


def test_uniform_mismatches_share_modality_and_region_as_often_as_they_must():
    pairs = [(a, b) for a in ATTRIBUTES for b in alternatives(a)]
    kinds = collections.Counter(stratum_of(*pair) for pair in pairs)
    assert len(pairs) == 306
    assert kinds["region_only"] == 34
    assert round(100 * kinds["region_only"] / 306, 2) == 11.11
    assert kinds["modality_only"] == 12
    assert round(100 * kinds["modality_only"] / 306, 2) == 3.92
    assert kinds["none"] == 0


@pytest.mark.parametrize("stratum", ["modality_only", "region_only", "both"])
def test_strata_part_the_alternatives(stratum):
    rng = np.random.default_rng(0)
    for attribute in ATTRIBUTES:
        claim = draw_mismatch(attribute, rng, stratum)
        assert claim is None or stratum_of(attribute, claim) == stratum
    parts = [alternatives("CT and Brain", one) for one in ("modality_only", "region_only", "both")]
    assert sorted(sum(parts, ())) == sorted(alternatives("CT and Brain"))
    assert draw_mismatch("Dermoscopy and Skin", rng, "modality_only") is None


def test_mismatches_are_drawn_equally_often():
    rng = np.random.default_rng(0)
    counts = collections.Counter(draw_mismatch("OCT and Retina", rng) for _ in range(17_000))
    assert len(counts) == 17
    assert max(abs(count - 1000) for count in counts.values()) < 150


def test_unknown_stratum():
    with pytest.raises(InputError, match="no stratum 'region': use uniform, modality_only, region_only, both"):
        alternatives("CT and Chest", "region")


def test_the_published_layout(whole):
    records = load_records(whole, splits=["CT_Chest", "MRI and Brain"])
    assert len(records) == 180
    assert {record.original_attribute for record in records} == {"CT and Chest", "MRI and Brain"}
    assert len({record.id for record in records}) == 180
    assert records[5].image[0, 0].tolist() == [5, 5, 5]
    assert records[5].key_phrases == "the code word"


def test_few_records_are_still_of_many_kinds(whole):
    records = load_records(whole, limit=20)
    assert load_records(whole, limit=1)[0].id == records[0].id, "an id depends on how many records are taken"
    counts = collections.Counter(record.original_attribute for record in records)
    assert len(records) == 20
    assert len(counts) == 18
    assert max(counts.values()) == 2
    assert {r.policy for r in load_records(whole, policies=["Matching", "Selection"], limit=9)} <= {
        "Matching", "Selection"}  # fmt: skip


def test_claims_can_be_drawn_anew(whole):
    again = [load_records(whole, mismatch="region_only", seed=1, limit=30) for _ in range(2)]
    assert [r.unmatch_attribute for r in again[0]] == [r.unmatch_attribute for r in again[1]]
    assert {stratum_of(r.original_attribute, r.unmatch_attribute) for r in again[0]} == {"region_only"}
    assert "Fundus and Retina" not in {r.original_attribute for r in again[0]}
    with pytest.raises(InputError, match=r"no image of .* has a false claim of the stratum 'modality_only'"):
        load_records(whole, splits=["Dermoscopy_Skin"], mismatch="modality_only")


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_table_beside_a_folder_of_images(tmp_path, kind):
    rows = [cells(1), cells(2, "OCT and Retina", key_phrases=None)]
    for row in rows:
        path = tmp_path / row["file_name"]
        path.parent.mkdir(parents=True)
        path.write_bytes(picture(40 * row["id"]))
    table = tmp_path / f"metadata.{kind}"
    if kind == "jsonl":
        table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "csv":
        lines = [",".join(rows[0])] + [",".join("" if v is None else str(v) for v in row.values()) for row in rows]
        table.write_text("\n".join(lines))
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), table)
    for source in (tmp_path, table):
        records = load_records(source)
        assert [record.id for record in records] == ["1", "2"]
        assert [record.image[0, 0, 0] for record in records] == [40, 80]
        assert [record.key_phrases for record in records] == ["the code word", None]


def test_tiny_is_sixty_rows_of_each_attribute_spread_over_the_policies(whole, tmp_path):
    report = build_tiny(whole, tmp_path / "tiny", seed=3)
    assert report["rows"] == 18 * 60
    assert set(report["splits"].values()) == {60}
    rows = read_rows(tmp_path / "tiny", attributes=ATTRIBUTES)
    assert sorted(int(row.id) for row in rows) == list(range(1, 1081))
    available = collections.Counter((r.original_attribute, r.policy) for r in read_rows(whole, attributes=ATTRIBUTES))
    counts = collections.Counter((row.original_attribute, row.policy) for row in rows)
    assert all(counts[cell] >= min(3, available[cell]) for cell in available)
    assert report["repeated"] == 0
    assert len({(row.original_attribute, row.normal_prompt) for row in rows}) == 1080


def test_tiny_has_three_of_a_cell_and_six_of_them_a_fourth(tmp_path):
    rows = [cells(5 * n + k, policy=policy) for n, policy in enumerate(POLICIES) for k in range(5)]
    build_tiny(write_parquet(tmp_path / "whole", {"CT_Chest": rows}), tmp_path / "tiny")
    counts = collections.Counter(row.policy for row in read_rows(tmp_path / "tiny", attributes=ATTRIBUTES))
    assert collections.Counter(counts.values()) == {3: 12, 4: 6}


def test_tiny_repeats_rows_only_where_there_are_too_few(tmp_path):
    source = write_parquet(tmp_path / "whole", {"CT_Chest": [cells(1), cells(2)]})
    report = build_tiny(source, tmp_path / "tiny", per_attribute=5)
    assert (report["rows"], report["repeated"]) == (5, 3)
    first, again = (build_tiny(source, tmp_path / name, per_attribute=2, seed=9) for name in "ab")
    assert first == again
    files = [next((tmp_path / name / "data").iterdir()).read_bytes() for name in "ab"]
    assert files[0] == files[1]


def make_own(folder):
    for place, mode in (("CT/Chest", "L"), ("CT/Brain", "I;16"), ("Fundus/Retina", "CMYK")):
        (folder / "images" / place).mkdir(parents=True)
        image = Image.fromarray(np.arange(100, dtype=np.uint16).reshape(10, 10)) if mode == "I;16" else (
            Image.new(mode, (10, 12)))  # fmt: skip
        image.save(folder / "images" / place / "one.tiff")
    (folder / "prompts.csv").write_text(
        "normal_prompt,harmful_prompt,policy,key_phrases\nWhat is it?,What is the code word?,Matching,the code word\n"
        "Where is it?,Say the code word.,Selection,\n"
    )
    return folder / "images", folder / "prompts.csv"


def test_a_set_of_ones_own(tmp_path):
    images, prompts = make_own(tmp_path)
    report = build_own(images, prompts, tmp_path / "own", seed=1)
    assert report == {
        "rows": 3, "splits": {"CT_Brain": 1, "CT_Chest": 1, "Fundus_Retina": 1}, "without_claim": 0}  # fmt: skip
    records = load_records(tmp_path / "own")
    assert all(record.unmatch_attribute in ATTRIBUTES for record in records)
    assert all(record.unmatch_attribute != record.original_attribute for record in records)
    assert [record.image.shape for record in records] == [(10, 10, 3), (12, 10, 3), (12, 10, 3)]
    regions = build_own(images, prompts, tmp_path / "regions", mismatch="region_only")
    assert (regions["rows"], regions["without_claim"]) == (2, 1)


def test_a_broken_image_leaves_no_half_of_a_set(tmp_path):
    images, prompts = make_own(tmp_path)
    (images / "CT" / "Chest" / "two.png").write_bytes(b"not an image")
    with pytest.raises(InputError, match=r"two\.png cannot be read as an image"):
        build_own(images, prompts, tmp_path / "own")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "prompts.csv"]


def test_own_attributes_are_checked(tmp_path):
    images, prompts = make_own(tmp_path)
    (images / "CT" / "Knee").mkdir()
    (images / "CT" / "Knee" / "one.png").write_bytes(picture(3))
    with pytest.raises(InputError, match="the attribute 'CT and Knee' is unknown: did you mean"):
        build_own(images, prompts, tmp_path / "own")
    assert build_own(images, prompts, tmp_path / "own", attributes=None)["rows"] == 4
    with pytest.raises(InputError, match="is in use: give a folder that does not exist"):
        build_own(images, prompts, tmp_path / "own", attributes=None)
    assert len(load_records(tmp_path / "own", attributes=None)) == 4


@pytest.mark.parametrize(("change", "said"), [
    ({"original_attribute": "CT and Chess"}, "row 1 of .*: the attribute 'CT and Chess' is unknown: did you mean 'CT "),
    ({"unmatch_attribute": "CT and Chest"}, "which is what the image shows"),
    ({"normal_prompt": None}, "row 1 of .* has no normal_prompt"),
    ({"unmatch_attribute": None}, "record '1' has no unmatch_attribute"),
    ({"file_name": "nowhere.png"}, r"record '1': the image .*nowhere\.png.* cannot be read"),
    ({"file_name": None}, "neither an image nor a file_name"),
])  # fmt: skip
def test_wrong_rows_are_one_sentence(tmp_path, change, said):
    (tmp_path / "table.jsonl").write_text(json.dumps(cells(1, **change)) + "\n")
    with pytest.raises(InputError, match=said):
        load_records(tmp_path / "table.jsonl")


def test_a_claim_with_and_in_its_region(tmp_path):
    (tmp_path / "table.jsonl").write_text(
        json.dumps(cells(1, claim="CT and Head and Neck", file_name="one.png")) + "\n"
    )
    (tmp_path / "one.png").write_bytes(picture(1))
    record = load_records(tmp_path / "table.jsonl", attributes=None)[0]
    assert split_attribute(record.unmatch_attribute) == ("CT", "Head and Neck")


@pytest.mark.parametrize(("name", "content", "said"), [
    ("a.csv", "id,original_attribute\n1,CT and Chest\n", "has no column 'normal_prompt'"),
    ("a.csv", "", "is no table that can be read"), ("a.parquet", "x", "is no parquet file"),
    ("a.xml", "x", "is no table that can be read"),
])  # fmt: skip
def test_what_is_no_data_set_is_one_sentence(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=said):
        load_records(tmp_path / name)


@pytest.mark.parametrize(("source", "said"), [
    ("nowhere", "no file or folder 'nowhere'"), ("org/name", "cannot be had from the hub"),
])  # fmt: skip
def test_sources_that_are_not_there(source, said):
    with pytest.raises(InputError, match=said):
        load_records(source)


def test_an_empty_folder(tmp_path):
    with pytest.raises(InputError, match="holds no table"):
        load_records(tmp_path)
