"""Which files of the given paths intake should look at, and why it leaves the others."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.errors import CaseError, UsageError
from storage.nifti_header import dicom_error, is_dicom

_IMAGE_SUFFIXES = (".nii", ".nii.gz")
_LABEL_FOLDER = re.compile(r"(segmentations?|labels?|masks?)([^a-z].*)?|labels?(tr|ts|va)", re.I)
_LABEL_FILE = re.compile(r"(.*[_.-])?(labels?|masks?|seg|segmentations?)", re.I)
_SYSTEM_FOLDERS = ("__MACOSX",)
_DICOM_START = 132


@dataclass(frozen=True, slots=True)
class SkippedPath:
    """A file or folder that intake leaves alone.

    Attributes:
        path: Where it is.
        why: The rule that it falls under, in words.
    """

    path: Path
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundImages:
    """What the given paths hold.

    Attributes:
        images: Files to inspect, each once, sorted by path.
        refused: Folders with DICOM files, each once however many slices it has, sorted, each with
            the error that intake quarantines it for.
        skipped: What was left alone and why, sorted by path; hidden names are not listed.
    """

    images: tuple[Path, ...]
    refused: tuple[tuple[Path, CaseError], ...]
    skipped: tuple[SkippedPath, ...]


def find_images(paths: Sequence[Path]) -> FoundImages:
    """Expand files and folders to the images in them.

    A file that is named itself is always taken. In folders, at any depth:

    - ``.nii`` and ``.nii.gz`` files are taken, in any case of the suffix;
    - hidden files and folders (a name that starts with ".") and ``__MACOSX`` are passed over;
    - folders whose name is segmentation(s), label(s) or mask(s), alone or followed by something
      that is no letter (``labels_v2``), and ``labelsTr``, ``labelsTs``, ``labelsVa`` are skipped;
    - files whose name before the suffix is, or ends after ``_``, ``-`` or ``.`` in, label(s),
      mask(s), seg or segmentation(s) (``combined_labels.nii.gz``) are skipped where another image
      lies beside them; alone, they are taken;
    - DICOM files (``.dcm``, or no suffix and DICM at byte 128) are refused once per folder;
    - links are followed, but no folder and no file is visited twice;
    - every other file is skipped.

    Raises:
        UsageError: A path does not exist.
    """
    search = _Search()
    for path in paths:
        if not path.exists():
            raise UsageError(f"every path must exist, got {path}")
        if path.is_dir():
            search.visit_folder(path)
        else:
            search.take(path)
    return FoundImages(
        images=tuple(sorted(search.images)),
        refused=tuple(
            (folder, dicom_error(folder.name)) for folder in sorted(search.dicom_folders)
        ),
        skipped=tuple(sorted(search.skipped, key=lambda skipped: skipped.path)),
    )


class _Search:
    """What was found so far; folders and files are known by their resolved paths."""

    def __init__(self) -> None:
        self.images: list[Path] = []
        self.dicom_folders: list[Path] = []
        self.skipped: list[SkippedPath] = []
        self._seen: set[Path] = set()

    def take(self, path: Path) -> None:
        """Add a file unless it was found under another name."""
        if self._is_new(path):
            self.images.append(path)

    def visit_folder(self, root: Path) -> None:
        """Add what a folder holds, depth first."""
        if not self._is_new(root):
            return
        for folder, names in self._walk(root):
            self._sort_files(folder, names)

    def _walk(self, root: Path) -> Iterator[tuple[Path, list[str]]]:
        for at, folder_names, file_names in os.walk(root, followlinks=True, onerror=self._unread):
            folder = Path(at)
            folder_names[:] = [
                name for name in sorted(folder_names) if self._is_searched(folder / name)
            ]
            yield folder, sorted(name for name in file_names if not _is_hidden(name))

    def _is_searched(self, folder: Path) -> bool:
        if _is_hidden(folder.name):
            return False
        if _LABEL_FOLDER.fullmatch(folder.name):
            self.skipped.append(SkippedPath(folder, "a folder of labels"))
            return False
        return self._is_new(folder)

    def _sort_files(self, folder: Path, names: list[str]) -> None:
        images = [name for name in names if name.lower().endswith(_IMAGE_SUFFIXES)]
        has_ct = any(not _is_label_file(name) for name in images)
        has_dicom = False
        for name in names:
            path = folder / name
            if name in images and not (has_ct and _is_label_file(name)):
                self.take(path)
            elif name in images:
                self.skipped.append(SkippedPath(path, "labels beside a CT, by its name"))
            elif _is_dicom_file(path):
                has_dicom = True
            else:
                self.skipped.append(SkippedPath(path, "not a .nii or .nii.gz file"))
        if has_dicom:
            self.dicom_folders.append(folder)

    def _unread(self, error: OSError) -> None:
        path = Path(str(error.filename))
        self.skipped.append(SkippedPath(path, f"cannot be read: {error.strerror}"))

    def _is_new(self, path: Path) -> bool:
        resolved = path.resolve()
        if resolved in self._seen:
            return False
        self._seen.add(resolved)
        return True


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _SYSTEM_FOLDERS


def _is_label_file(name: str) -> bool:
    stem = re.sub(r"\.nii(\.gz)?$", "", name, flags=re.I)
    return _LABEL_FILE.fullmatch(stem) is not None


def _is_dicom_file(path: Path) -> bool:
    if path.suffix.lower() in (".dcm", ".dicom"):
        return True
    if (path.suffix and not path.suffix[1:].isdigit()) or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return is_dicom(file.read(_DICOM_START))
    except OSError:
        return False
