import hashlib
import os

import pytest

from configs.errors import StorageError
from storage.objects import ObjectStore


@pytest.fixture
def objects(tmp_path):
    return ObjectStore(tmp_path / "objects")


def test_object_is_named_by_its_hash(objects):
    digest = objects.put(b"liver")

    assert digest == hashlib.sha256(b"liver").hexdigest()
    assert objects.path(digest).name == digest
    assert objects.read(digest) == b"liver"


def test_equal_bytes_are_stored_once(objects):
    first = objects.path(objects.put(b"same")).stat().st_ino

    assert objects.path(objects.put(b"same")).stat().st_ino == first
    assert len(list(objects.digests())) == 1


def test_altered_object_is_refused(objects):
    digest = objects.put(b"liver")
    objects.path(digest).write_bytes(b"spleen")

    assert not objects.is_intact(digest)
    with pytest.raises(StorageError, match="was altered"):
        objects.read(digest)


def test_missing_object_is_refused(objects):
    with pytest.raises(StorageError, match="is missing"):
        objects.read("0" * 64)


def test_failed_rename_leaves_nothing_behind(objects, monkeypatch):
    def full(*_):
        raise OSError(28, "no space left on device")

    monkeypatch.setattr("pathlib.Path.rename", full)

    with pytest.raises(StorageError, match="no space left"):
        objects.put(b"liver")

    assert list(objects.digests()) == []
    assert objects.clear_incoming() == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder_is_a_clear_error(objects):
    objects.put(b"first")
    objects.root.chmod(0o500)

    with pytest.raises(StorageError, match="could not be written"):
        objects.put(b"second")


def test_what_a_killed_writer_left_is_cleared(objects):
    objects.put(b"whole")
    (objects.root / "incoming" / "half.1.ab").write_bytes(b"ha")

    assert objects.clear_incoming() == 1
    assert len(list(objects.digests())) == 1
