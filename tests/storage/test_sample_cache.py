from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from configs.errors import StorageError
from storage.sample_cache import SampleCache, sample_key

KEY = sample_key({"content": "a"})


@pytest.fixture
def cache(tmp_path: Path) -> SampleCache:
    return SampleCache(tmp_path / "cache")


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "image": rng.random((7, 8, 9)).astype(np.float16),
        "labels": rng.integers(0, 256, (2, 7, 8, 9), np.uint8),
        "centres": np.zeros((0, 3), np.int32),
    }


def flip_byte(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_what_was_put_comes_back_mapped(cache: SampleCache) -> None:
    cache.put(KEY, arrays(), {"case": "c-1"})

    stored = cache.get(KEY)

    assert stored is not None
    assert stored.facts == {"case": "c-1"}
    for name, expected in arrays().items():
        found = stored.arrays[name]
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    assert isinstance(stored.arrays["image"].base, np.memmap)
    assert stored.file_bytes == cache.path(KEY).stat().st_size


def test_writing_into_a_mapped_array_leaves_the_file_alone(cache: SampleCache) -> None:
    cache.put(KEY, arrays(), {})
    before = cache.path(KEY).read_bytes()
    stored = cache.get(KEY)
    assert stored is not None

    stored.arrays["image"][:] = 1

    assert cache.path(KEY).read_bytes() == before


def test_equal_content_has_equal_bytes(cache: SampleCache) -> None:
    cache.put(KEY, arrays(), {"b": 1, "a": 2})
    first = cache.path(KEY).read_bytes()
    cache.put(KEY, arrays(), {"a": 2, "b": 1})

    assert cache.path(KEY).read_bytes() == first


def test_an_unknown_key_is_none(cache: SampleCache) -> None:
    assert cache.get(KEY) is None


@pytest.mark.parametrize("length", [0, 20, 60, 4096, -1])
def test_a_file_cut_short_is_none(cache: SampleCache, length: int) -> None:
    cache.put(KEY, arrays(), {})
    path = cache.path(KEY)
    path.write_bytes(path.read_bytes()[:length])

    assert SampleCache(cache.root, verify=False).get(KEY) is None


@pytest.mark.parametrize("place", [0, 9, 100])
def test_an_altered_header_is_none(cache: SampleCache, place: int) -> None:
    cache.put(KEY, arrays(), {})
    flip_byte(cache.path(KEY), place)

    assert SampleCache(cache.root, verify=False).get(KEY) is None


def test_an_altered_voxel_is_none_and_the_file_can_be_made_again(cache: SampleCache) -> None:
    cache.put(KEY, arrays(), {})
    flip_byte(cache.path(KEY), 4096 + 100)

    assert cache.get(KEY) is None
    cache.put(KEY, arrays(), {})
    assert cache.get(KEY) is not None


def test_a_file_under_another_key_is_none(cache: SampleCache) -> None:
    other = sample_key({"content": "b"})
    cache.put(KEY, arrays(), {})
    cache.path(other).parent.mkdir(parents=True)
    cache.path(KEY).rename(cache.path(other))

    assert cache.get(other) is None


def test_a_failed_write_leaves_nothing(cache: SampleCache) -> None:
    cache.root.write_text("a file where the folder should be")

    with pytest.raises(StorageError, match="free some disk"):
        cache.put(KEY, arrays(), {})


def test_an_interrupted_write_leaves_no_file(
    cache: SampleCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stop)

    with pytest.raises(KeyboardInterrupt):
        cache.put(KEY, arrays(), {})

    assert [path for path in cache.root.rglob("*") if path.is_file()] == []


def test_trimming_deletes_what_was_opened_longest_ago(cache: SampleCache) -> None:
    keys = [sample_key({"content": number}) for number in range(3)]
    for number, key in enumerate(keys):
        cache.put(key, arrays(number), {})
        os.utime(cache.path(key), (number, number))
    (cache.root / "00").mkdir(exist_ok=True)
    left = cache.root / "00" / ".left by a killed writer"
    left.write_bytes(b"x" * 10)
    os.utime(left, (0, 0))
    (cache.root / "00" / ".being written").write_bytes(b"x")
    size = cache.path(keys[0]).stat().st_size
    mapped = cache.get(keys[0])

    freed = cache.trim(2 * size)

    assert freed == size + 10
    assert [path.name for path in (cache.root / "00").glob(".*")] == [".being written"]
    assert [cache.path(key).exists() for key in keys] == [True, False, True]
    assert mapped is not None
    assert mapped.arrays["image"].any()


def test_every_fact_decides_on_the_key() -> None:
    keys = {
        sample_key({"content": "a", "spacing_mm": [1.5, 1.5, 1.5]}),
        sample_key({"content": "a", "spacing_mm": [1.5, 1.5, 2.0]}),
        sample_key({"content": "b", "spacing_mm": [1.5, 1.5, 1.5]}),
    }

    assert len(keys) == 3
