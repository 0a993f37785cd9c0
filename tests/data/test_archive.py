"""Archives of images: the folder's bytes, or one line: the second table of docs/bad-input.md."""

import io
import json
import re
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ssimbad.data.prepare import prepare
from ssimbad.data.schema import DataConfig
from ssimbad.data.sources import archive
from ssimbad.errors import UserError
from tests.conftest import REPOSITORY, picture, table_of, tiny_values

A = "train_data/reference/a.png"
ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".zip")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The published layout: four images to train on and three to test, by path."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = {}
    for part, names, seed in (("train_data", "abcd", 0), ("test_data", "xyz", 50)):
        for kind in ("reference", "sketch"):
            for i, name in enumerate(names):
                with io.BytesIO() as stream:
                    picture(seed + i + 100 * (kind == "sketch")).save(stream, "PNG")
                    found[f"{part}/{kind}/{name}.png"] = stream.getvalue()
    return found


def pack(path: Path, files: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, data in files.items():
                packed.writestr(name, data)
        return path
    packer = {".tar": "", ".bz2": "bz2", ".tbz2": "bz2", ".xz": "xz", ".txz": "xz"}
    with tarfile.open(path, f"w:{packer.get(path.suffix, 'gz')}") as tape:  # type: ignore[call-overload]
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tape.addfile(member, io.BytesIO(data))
    return path


def add(path: Path, kind: bytes, name: str, target: str = "") -> None:
    """Append a link or device to a plain tar."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    with tarfile.open(path, "a") as tape:
        tape.addfile(member)


def stored(path: Path) -> dict[str, bytes]:
    """The store of what is at ``path``, every file of it."""
    values = tiny_values()["data"] | {"source": "folder", "size": 32}
    expect = {"train": 4, "test": 3}
    values["folder"] = {"path": str(path), "validation": 0.25, "test": 0.25, "expect": expect}
    store = path.parent / f"store of {path.name}"
    prepare(DataConfig.model_validate(values), 0, store)
    return {file.name: file.read_bytes() for file in store.iterdir()}


def as_folder(files: dict[str, bytes], root: Path) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_archive_gives_the_folders_store_byte_for_byte(
    files: dict[str, bytes], tmp_path: Path, ending: str
) -> None:
    folder = stored(as_folder(files, tmp_path / "in"))
    assert stored(pack(tmp_path / f"in{ending}", files)) == folder
    assert not list(tmp_path.rglob("unpacked"))


ACCEPTED: dict[str, Callable[[dict[str, bytes]], dict[str, bytes]]] = {
    "one folder around everything": lambda f: {f"faces/set/{k}": v for k, v in f.items()},
    "other files in the archive": lambda f: (
        f | {"readme.txt": b"mine", "__MACOSX/._a.png": b"not one", "train_data/reference/n": b""}
    ),
}


@pytest.mark.parametrize("name", ACCEPTED)
@pytest.mark.parametrize("ending", [".tar.gz", ".zip"])
def test_accepted(files: dict[str, bytes], tmp_path: Path, name: str, ending: str) -> None:
    folder = stored(as_folder(files, tmp_path / "in"))
    assert stored(pack(tmp_path / f"in{ending}", ACCEPTED[name](files))) == folder


@pytest.mark.parametrize(
    ("encoding", "name"),
    [("cp932", "表紙"), ("cp932", "ソ十能"), ("gbk", "誠"), ("utf-8", "顔é"), ("cp437", "été")],
)
@pytest.mark.parametrize("ending", [".tar", ".zip"])
def test_names_of_other_systems_are_read(
    files: dict[str, bytes], tmp_path: Path, ending: str, encoding: str, name: str
) -> None:
    """As Windows' own packer writes them: in the system's encoding, which is not said."""
    if (ending, encoding) == (".tar", "cp437"):
        return  # for one name by itself there is no telling
    stand_in = "Q" * len(name.encode(encoding))
    changed = {path.replace("/a.png", f"/{stand_in}.png"): data for path, data in files.items()}
    path = pack(tmp_path / f"in{ending}", changed)
    old, new = (f"/{stem}.png".encode(encoding) for stem in (stand_in, name))
    data = path.read_bytes().replace(old, new)
    path.write_bytes(data if ending == ".zip" else checked(data))
    manifest = json.loads(stored(path)["manifest.json"])
    assert name in {item["name"] for item in manifest["items"]}


def checked(tape: bytes) -> bytes:
    """A tar whose headers have their checksums again."""
    blocks = bytearray(tape)
    for at in range(0, len(blocks), 512):
        if blocks[at + 257 : at + 262] == b"ustar":
            blocks[at + 148 : at + 156] = b" " * 8
            blocks[at + 148 : at + 156] = f"{sum(blocks[at : at + 512]):06o}\0 ".encode()
    return bytes(blocks)


def zip_link(path: Path) -> None:
    info = zipfile.ZipInfo("train_data/reference/e.png")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as packed:
        packed.writestr(info, "/etc/passwd")


def encrypted(path: Path) -> None:
    """Sets the flag of the first file in both places that state it."""
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


Files = dict[str, bytes]
REFUSED: dict[str, list[tuple[str, Callable[[Files], Files], Callable[[Path], object], str]]] = {}


def refused(
    name: str,
    told: str,
    change: Callable[[Files], Files] = lambda files: files,
    damage: Callable[[Path], object] = lambda path: None,
    endings: tuple[str, ...] = (".tar", ".tar.gz", ".zip"),
) -> None:
    REFUSED[name] = REFUSED.get(name, []) + [(e, change, damage, told) for e in endings]


refused(
    "fault of the images in it",
    rf"in\S+/{A}: not readable as an image",
    lambda f: f | {A: b"not one"},
)
refused("path that leads out", r"/\.\./x\.png: leads out", lambda f: f | {"../x.png": b""})
refused("path that leads out", r"/a/\.\./\.\./x: leads out", lambda f: f | {"a/../../x": b""})
refused("absolute path", r"//tmp/x\.png: leads out", lambda f: f | {"/tmp/x.png": b""})
refused("path with backslashes", "x.png: leads out", lambda f: f | {"..\\x.png": b""})
refused("link in the archive", "e.png: is a link", damage=zip_link, endings=(".zip",))
for _kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
    refused(
        "link in the archive",
        "e.png: is a link",
        damage=lambda p, kind=_kind: add(p, kind, "train_data/reference/e.png", "/etc/passwd"),
        endings=(".tar",),
    )
refused(
    "device in the archive",
    "e.png: is no regular file",
    damage=lambda p: add(p, tarfile.CHRTYPE, "train_data/reference/e.png"),
    endings=(".tar",),
)
refused("one path twice", "a.png: stands in it twice", lambda f: f | {f"./{A}": f[A]})
refused(
    "control characters in a path",
    r"a\\n\\x1b\[31mb.png: control characters in the name",
    lambda f: f | {"train_data/reference/a\n\x1b[31mb.png": f[A]},
)
refused(
    "archive that unpacks to far more than its size",
    "unpacks to more than [01] MiB",
    lambda f: f | {"train_data/reference/e.png": bytes(1 << 22)},
    endings=(".tar.gz", ".zip"),
)
refused(
    "line separator in a path",
    r"a\\u2028b.png: a line separator in the name",
    lambda f: f | {"train_data/reference/a\u2028b.png": f[A]},
)
refused("encrypted archive", "encrypted", damage=encrypted, endings=(".zip",))
refused("truncated archive", "not readable as an archive", damage=cut)
refused("not an archive", "not readable as an archive", damage=lambda p: p.write_bytes(b"no" * 999))
refused("missing archive", r"data\.folder\.path: .*: no such file", damage=lambda p: p.unlink())


def test_the_documentation_lists_what_is_tested() -> None:
    told = table_of(REPOSITORY / "docs/bad-input.md", "Archives of images")
    assert list(told) == [*ACCEPTED, *REFUSED]
    for name, what in told.items():
        assert what.startswith(("accepted", "ignored") if name in ACCEPTED else "refused")


@pytest.mark.parametrize(
    ("name", "case"), [(name, case) for name, cases in REFUSED.items() for case in cases]
)
def test_refused(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, case: tuple
) -> None:
    ending, change, damage, told = case
    # What is a hundred MiB in earnest is one here.
    monkeypatch.setattr(archive, "_SLACK", 1 << 20)
    (tmp_path / "deep/deeper").mkdir(parents=True)
    path = pack(tmp_path / f"deep/deeper/in{ending}", change(files))
    damage(path)
    with pytest.raises(UserError) as caught:
        stored(path)
    assert re.search(told, str(caught.value)), str(caught.value)
    assert str(path) in str(caught.value)
    assert "unpacked" not in str(caught.value)
    assert all(line.isprintable() for line in str(caught.value).splitlines())
    assert {p.name for p in tmp_path.rglob("*") if p.is_file()} <= {path.name}


def test_a_header_that_unpacks_to_far_more_is_not_read_whole(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "_SLACK", 1 << 20)
    path = tmp_path / "in.tar.gz"
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tape:
        member = tarfile.TarInfo("a.png")
        member.pax_headers = {"comment": "a" * (1 << 23)}
        tape.addfile(member)
    with pytest.raises(UserError, match="unpacks to more than 1 MiB"):
        stored(path)


def test_all_faults_are_told_at_once(files: Files, tmp_path: Path) -> None:
    path = pack(tmp_path / "in.zip", files | {A: b"not one", "../x.png": b"", "/y.png": b""})
    with pytest.raises(UserError) as caught:
        stored(path)
    assert len(str(caught.value).splitlines()) == 3
