import gzip
import io

import nibabel
import numpy as np
import pytest

from configs.errors import CaseError, Reason, UsageError
from storage.corrections import correct, put_mask, store_correction, stored_mask, whole_box
from storage.grid import Grid, box_shape, box_slices
from storage.labels import ABSENT
from storage.masks import encode_mask
from storage.objects import ObjectStore
from storage.region_file import empty_mask, region_ct, region_mask
from storage.uploaded_mask import read_uploaded_mask

SHAPE = (30, 26, 20)
REGION = ((4, 20), (6, 22), (3, 15))
LIMIT = 1 << 20

OBLIQUE = np.array(
    [[-2.9, 0.3, 0.2, 40.0], [0.3, 2.8, -0.6, -30.0], [0.1, 0.4, 4.9, 100.0], [0, 0, 0, 1]]
)
AFFINES = {
    "ras": np.diag([3.0, 3.0, 5.0, 1.0]),
    "lps": np.array([[-3.0, 0, 0, 50], [0, -3, 0, 60], [0, 0, 5, 0], [0, 0, 0, 1]]),
    "oblique": OBLIQUE,
    "permuted": OBLIQUE[:, [2, 0, 1, 3]],
}


@pytest.fixture(params=sorted(AFFINES))
def grid(request):
    return Grid.from_affine(SHAPE, AFFINES[request.param])


@pytest.fixture
def plain():
    return Grid.from_affine(SHAPE, AFFINES["lps"])


@pytest.fixture
def objects(tmp_path):
    return ObjectStore(tmp_path / "objects")


def block(grid, start, stop):
    mask = np.zeros(grid.ras_shape, bool)
    mask[start:stop, 8:14, 6:12] = True
    return mask


def put(objects, grid, mask):
    return put_mask(objects, encode_mask(mask, whole_box(grid), grid))


def clipped(grid, region=REGION):
    return tuple((lo, min(hi, n)) for (lo, hi), n in zip(region, grid.ras_shape, strict=True))


def region_of(grid, mask):
    return region_mask(mask[box_slices(clipped(grid))], clipped(grid), grid)


def packed(voxels, affine):
    buffer = io.BytesIO()
    holder = nibabel.FileHolder(fileobj=buffer)
    image = nibabel.Nifti1Image(voxels, affine)
    image.file_map["image"] = holder
    image.to_file_map()
    return gzip.compress(buffer.getvalue())


def loaded(data):
    return nibabel.Nifti1Image.from_bytes(gzip.decompress(data))


def read(data, grid, **changes):
    values = {"region_ras": clipped(grid), "max_bytes": LIMIT, **changes}
    return read_uploaded_mask(data, grid, **values)


def test_downloaded_region_comes_back_as_it_went(grid):
    mask = block(grid, 6, 12)

    upload = read(region_of(grid, mask), grid)

    assert upload.box_ras == clipped(grid)
    assert upload.value == 1
    np.testing.assert_array_equal(upload.mask_ras, mask[box_slices(clipped(grid))])


def test_region_keeps_world_positions_and_hounsfield_units(grid):
    rng = np.random.default_rng(0)
    hu = rng.integers(-1000, 2000, box_shape(clipped(grid)), dtype=np.int16)

    image = nibabel.as_closest_canonical(loaded(region_ct(hu, clipped(grid), grid)))

    np.testing.assert_array_equal(np.asarray(image.dataobj), hu)
    corner = [start for start, _ in clipped(grid)]
    expected = np.array(grid.ras_affine) @ [*corner, 1]
    np.testing.assert_allclose(image.affine @ [0, 0, 0, 1], expected, atol=1e-4)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
@pytest.mark.parametrize("flip", [None, 0, 2])
def test_any_axis_order_of_the_same_grid_is_the_same_mask(grid, axes, flip):
    mask = block(grid, 6, 12)
    image = loaded(region_of(grid, mask))
    voxels, affine = np.asarray(image.dataobj).transpose(axes), image.affine[:, [*axes, 3]]
    if flip is not None:
        affine = affine.copy()
        affine[:3, 3] += affine[:3, flip] * (voxels.shape[flip] - 1)
        affine[:3, flip] *= -1
        voxels = np.flip(voxels, flip)

    upload = read(packed(np.ascontiguousarray(voxels), affine), grid)

    np.testing.assert_array_equal(upload.mask_ras, mask[box_slices(clipped(grid))])


def test_whole_grid_is_accepted_and_so_is_one_label_value(plain):
    mask = block(plain, 6, 12)
    voxels = np.array(plain.array_from_ras(mask)).astype(np.float32) * 7

    upload = read(packed(voxels, plain.affine_matrix), plain)

    assert (upload.box_ras, upload.value) == (whole_box(plain), 7)
    np.testing.assert_array_equal(upload.mask_ras, mask)


def test_empty_template_lies_on_the_grid_and_holds_nothing(grid):
    upload = read(empty_mask(grid), grid, region_ras=None)

    assert upload.mask_ras.shape == grid.ras_shape
    assert upload.value is None


def shifted(affine, axis, mm):
    moved = affine.copy()
    moved[axis, 3] += mm
    return moved


@pytest.mark.parametrize(
    ("voxels", "change"),
    [
        (np.zeros(SHAPE, np.uint8), lambda a: shifted(a, 0, 3.0)),
        (np.zeros(SHAPE, np.uint8), lambda a: a @ np.diag([-1, 1, 1, 1])),
        (np.zeros(SHAPE, np.uint8), lambda a: a @ np.diag([1, 1, 1.02, 1])),
        (np.zeros((30, 26, 19), np.uint8), lambda a: a),
    ],
    ids=["shifted", "mirrored", "stretched", "cut"],
)
def test_another_grid_is_refused_with_both_grids_named(plain, voxels, change):
    with pytest.raises(UsageError, match=r"must lie on the grid .* got .* without resampling"):
        read(packed(voxels, change(plain.affine_matrix)), plain)


def test_region_is_refused_where_the_whole_is_asked_for(plain):
    with pytest.raises(UsageError, match="grid of the CT it is for"):
        read(region_of(plain, block(plain, 6, 12)), plain, region_ras=None)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1, 2], "met 0 and 1, 2;"),
        (range(1, 40), r"met 0 and 1, 2, 3, 4, 5, 6, 7, 8, \.\.\.;"),
        ([-3], "got -3"),
        ([0.5], "got 0.5"),
    ],
)
def test_foreign_values_are_refused_and_named(plain, values, words):
    voxels = np.zeros(SHAPE, np.float32)
    for number, value in enumerate(values):
        voxels[number % 30, number // 30, 4] = value

    with pytest.raises(UsageError, match=words):
        read(packed(voxels, plain.affine_matrix), plain)


def test_not_a_number_is_refused(plain):
    voxels = np.zeros(SHAPE, np.float32)
    voxels[3, 4, 5] = np.nan

    with pytest.raises(CaseError, match="NaN"):
        read(packed(voxels, plain.affine_matrix), plain)


def test_oversize_is_refused_before_it_is_looked_at(plain):
    with pytest.raises(UsageError, match="at most 100 bytes, got 101"):
        read(bytes(101), plain, max_bytes=100)


def test_what_expands_past_the_grid_is_refused(plain):
    content = gzip.decompress(empty_mask(plain))

    with pytest.raises(CaseError) as caught:
        read(gzip.compress(content + bytes(16 << 20)), plain)

    assert caught.value.reason == Reason.EXPANDS_PAST_LIMIT


def test_a_huge_declared_shape_is_refused_by_its_header(plain):
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.float64)
    header.set_data_shape((30000, 30000, 30000))
    header.set_sform(plain.affine_matrix, code=1)
    header["pixdim"][1:4] = 1
    header["vox_offset"] = 352

    with pytest.raises(UsageError, match="must lie on the grid"):
        read(gzip.compress(header.binaryblock + bytes(4)), plain)


@pytest.mark.parametrize(
    "data",
    [b"", b"no image at all", gzip.compress(b"nor this")],
    ids=["empty", "text", "compressed"],
)
def test_what_is_no_image_is_refused(plain, data):
    with pytest.raises(CaseError):
        read(data, plain)


def test_correction_counts_changed_voxels_and_keeps_the_base_outside_the_region(objects, plain):
    base = block(plain, 6, 12)
    base[28, 24, 18] = True
    wanted = block(plain, 7, 13)
    upload = read(region_of(plain, wanted), plain)

    made = correct(objects, plain, upload, base=put(objects, plain, base), neighbours={})

    assert made.voxels_changed == 2 * 6 * 6
    label, linked = store_correction(objects, made, transfer=())
    after = stored_mask(objects, label, plain)
    assert after[28, 24, 18]
    after[28, 24, 18] = False
    np.testing.assert_array_equal(after, wanted)
    assert linked == {}


def test_overlap_is_counted_and_taken_from_the_neighbour_when_asked(objects, plain):
    upload = read(region_of(plain, block(plain, 6, 13)), plain)
    theirs = put(objects, plain, block(plain, 12, 18))
    neighbours = {"stomach": ("p", theirs), "spleen": ("p", ABSENT)}

    made = correct(
        objects, plain, upload, base=put(objects, plain, block(plain, 6, 9)), neighbours=neighbours
    )

    assert [(one.structure, one.voxels) for one in made.overlaps] == [("stomach", 36)]
    _, linked = store_correction(objects, made, transfer=["stomach"])
    rest = stored_mask(objects, linked["stomach"].mask, plain)
    np.testing.assert_array_equal(rest, block(plain, 13, 18))


def test_neighbour_that_loses_everything_becomes_absent(objects, plain):
    upload = read(region_of(plain, block(plain, 6, 13)), plain)
    neighbours = {"stomach": ("p", put(objects, plain, block(plain, 10, 12)))}

    made = correct(objects, plain, upload, base=ABSENT, neighbours=neighbours)

    _, linked = store_correction(objects, made, transfer=["stomach"])
    assert linked["stomach"].mask == ABSENT


def test_mask_at_the_cut_of_the_region_is_pointed_out(objects, plain):
    mask = np.zeros(plain.ras_shape, bool)
    mask[4, 8, 6] = True

    made = correct(objects, plain, read(region_of(plain, mask), plain), base=ABSENT, neighbours={})

    assert made.reaches_border


def test_empty_and_unchanged_masks_are_refused(objects, plain):
    mask = block(plain, 6, 12)
    empty = read(region_of(plain, mask & False), plain)
    same = read(region_of(plain, mask), plain)

    with pytest.raises(UsageError, match="choose `absent`"):
        correct(objects, plain, empty, base=ABSENT, neighbours={})
    with pytest.raises(UsageError, match="choose `accept`"):
        correct(objects, plain, same, base=put(objects, plain, mask), neighbours={})
