"""``ssimbad colorize``: users' own drawings, by real tiny networks; the third table of docs/bad-input.md."""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import save_file

from ssimbad import colorizer
from ssimbad.colorize import colorize
from ssimbad.config.files import load
from ssimbad.data.layers import Layers
from ssimbad.data.store import Split, to_pixels, to_unit
from ssimbad.data.xdog import sketch_of
from ssimbad.errors import UserError
from ssimbad.files import read_json, write_json
from ssimbad.layout import Results
from ssimbad.methods import Run, methods, rows
from ssimbad.methods.ssimbad import METHOD
from ssimbad.networks.schema import UNetConfig
from ssimbad.noise.transforms import RATIONAL, Phi
from ssimbad.rng import image_noise
from ssimbad.training import checkpoint
from tests.conftest import REPOSITORY, picture, run_cli, run_phase, table_of, tiny_values

SIZE = 32
TRAINED = [name for name, row in rows().items() if row.stage != "none"]


def save_row(folder: Path, row: str, /, **changes: Any) -> Path:
    """A row's checkpoint with fresh weights; ``changes`` are the header's, ``section`` its method's."""
    name, stage = Run(row).method, Run(row).stage
    values, kind = tiny_values(), methods()[name]
    section = kind.section and kind.section.model_validate(
        {k: v for k, v in values[name].items() if k in kind.section.model_fields}
        | changes.pop("section", {})
    )
    unet, phi = UNetConfig.model_validate(values["unet"]), Phi(RATIONAL, 0.3, 0.002, 80.0)
    header = {
        "row": row,
        "method": name,
        "section": section and section.model_dump(mode="json"),
        "unet": values["unet"],
        "phi": phi.to_dict(),
        "size": SIZE,
    }
    if stage == "refine" and Run(row).on_images:
        header["refinement"] = values[name]["refinement"] | {"steps": 3}
    path = folder / f"{row}.safetensors"
    checkpoint.save(path, checkpoint.build(name, section, unet, phi, 42), header | changes)
    return path


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("networks")
    return {row: save_row(folder, row) for row in TRAINED}


def face(width: int, height: int, line: int = 3) -> Image.Image:
    """A sketch: three ellipses."""
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    for box in ((0.1, 0.1, 0.9, 0.9), (0.3, 0.35, 0.4, 0.5), (0.6, 0.35, 0.7, 0.5)):
        scaled = [share * side for share, side in zip(box, (width, height) * 2, strict=True)]
        draw.ellipse(scaled, outline="black", width=line)
    return image


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """Two sketches, a picture and three references."""
    for folder in ("sketches", "references"):
        (tmp_path / folder).mkdir()
    face(90, 70).save(tmp_path / "sketches/one.png")
    face(40, 64, 2).save(tmp_path / "sketches/two.png")
    picture(7, 60, 50).save(tmp_path / "picture.png")
    picture(1, 50, 40).save(tmp_path / "references/a.png")
    picture(2, 40, 70).save(tmp_path / "references/b.jpg")
    picture(3).save(tmp_path / "references/c.webp")
    return tmp_path


def run(path: Path, inputs: Path, **changes: Any) -> None:
    given: dict[str, Any] = {
        "checkpoint_path": path,
        "sketch": inputs / "sketches/one.png",
        "image": None,
        "references": [inputs / "references/a.png"],
        "out": inputs / "out.png",
        "layers": False,
        "crop": None,
        "steps": None,
        "guidance": None,
        "seed": 42,
        "device_name": "cpu",
        "quiet": True,
    }
    colorize(**(given | changes))


def made(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image).astype(int)


@pytest.mark.parametrize("row", TRAINED)
def test_any_trained_row(networks: dict[str, Path], inputs: Path, row: str) -> None:
    run(networks[row], inputs)
    assert made(inputs / "out.png").shape == (70, 90, 3)


SIZES = [(32, 32), (31, 47), (200, 91), (7, 3), (1, 50), (333, 500), (1300, 900)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("option", ["sketch", "image"])
def test_any_size(
    networks: dict[str, Path], inputs: Path, size: tuple[int, int], option: str
) -> None:
    (face(*size) if option == "sketch" else picture(5, *size)).save(inputs / "in.png")
    options = {"sketch": None, "image": None, option: inputs / "in.png"}
    run(networks["ssimbad"], inputs, **options)
    result = made(inputs / "out.png")
    assert result.shape == (size[1], size[0], 3)
    if option == "sketch":
        lines = made(inputs / "in.png").max(-1) == 0
        assert (result[lines] == 0).all()


def test_at_the_network_s_size_the_colours_are_its_own(
    networks: dict[str, Path], inputs: Path
) -> None:
    image = picture(8, SIZE, SIZE)
    image.save(inputs / "é one.png")
    picture(9, SIZE, SIZE).save(inputs / "reference.png")
    references = [inputs / "reference.png"]
    run(
        networks["ssimbad_refined"],
        inputs,
        sketch=None,
        image=inputs / "é one.png",
        references=references,
        seed=5,
    )
    method, header = checkpoint.load(networks["ssimbad_refined"])
    sketch = sketch_of(np.asarray(image), 5, "é one")
    sampling = METHOD.sampling.model_validate(METHOD.usual_sampling | {"steps": 3})
    with torch.inference_mode():
        images = method.colorize(
            to_unit(torch.from_numpy(sketch)[None, None]),
            to_unit(torch.tensor(made(references[0])).permute(2, 0, 1)[None]),
            lambda draw: image_noise(5, ["é one"], SIZE, draw),
            sampling,
        )
    own = to_pixels(images)[0].permute(1, 2, 0).numpy().astype(int)
    assert header["refinement"]["steps"] == 3
    assert np.abs(made(inputs / "out.png") - own * (sketch[..., None] > 0)).max() <= 1


def test_trained_row_colorizes(prepared: Results, inputs: Path) -> None:
    results = Results(inputs / "results")
    for part in ("data", "phi"):
        shutil.copytree(prepared.root / part, results.root / part)
    values = tiny_values()
    values["train"] |= {"steps": 2, "checkpoint_every": 1, "warmup": 0}
    run_phase(values, "train", results, "edm")
    split = Split(results.data, "test")
    Image.fromarray(split.images[0]).save(inputs / "face.png")
    run(results.checkpoint("edm"), inputs, references=[inputs / "face.png"])
    assert made(inputs / "out.png").shape == (70, 90, 3)
    # In its results folder it samples as its run chose, unless something else is asked for.
    run_phase(values, "sweep", results, "edm")
    choice = read_json(results.choice("edm"))
    choice["sampling"] = METHOD.usual_sampling | {"steps": 7, "guidance": 2.0}
    write_json(results.choice("edm"), choice)
    given = {"references": [inputs / "face.png"]}
    run(results.checkpoint("edm"), inputs, out=inputs / "chosen.png", **given)
    moved = inputs / "moved" / "edm.safetensors"
    moved.parent.mkdir()
    shutil.copy2(results.checkpoint("edm"), moved)
    run(moved, inputs, out=inputs / "asked.png", **given, steps=7, guidance=2.0)
    assert (made(inputs / "chosen.png") != made(inputs / "out.png")).any()
    assert np.array_equal(made(inputs / "chosen.png"), made(inputs / "asked.png"))
    write_json(results.choice("edm"), choice | {"checkpoint": "another"})
    run(results.checkpoint("edm"), inputs, out=inputs / "again.png", **given)
    assert np.array_equal(made(inputs / "again.png"), made(inputs / "out.png"))
    manifest = read_json(results.data / "manifest.json")
    assert checkpoint.read_header(results.checkpoint("edm"))["size"] == manifest["size"] == SIZE


def test_folders_and_several_references(networks: dict[str, Path], inputs: Path) -> None:
    (inputs / "sketches/two.png").rename(inputs / "sketches/二 é {x}.png")
    (inputs / "sketches/notes.txt").write_text("no image")
    out = inputs / "new/out"
    run(
        networks["ssimbad"],
        inputs,
        sketch=inputs / "sketches",
        references=[inputs / "references", inputs / "picture.png"],
        out=out,
    )
    assert {p.name for p in out.iterdir()} == {
        f"{s}_{r}.png" for s in ("one", "二 é {x}") for r in ("a", "b", "c", "picture")
    }
    assert made(out / "二 é {x}_b.png").shape == (64, 40, 3)
    colours = [made(out / f"one_{r}.png") for r in ("a", "b")]
    assert np.abs(colours[0] - colours[1]).max() > 8


def test_a_folder_of_one_is_answered_by_a_folder(networks: dict[str, Path], inputs: Path) -> None:
    (inputs / "sketches/two.png").unlink()
    run(networks["ssimbad"], inputs, sketch=inputs / "sketches", out=inputs / "out")
    assert [p.name for p in (inputs / "out").iterdir()] == ["one_a.png"]


@pytest.mark.parametrize("row", ["ssimbad", "animediffusion", "scft"])
def test_neither_order_nor_batch_nor_company_changes_an_image(
    networks: dict[str, Path], inputs: Path, monkeypatch: pytest.MonkeyPatch, row: str
) -> None:
    references = [inputs / "references", inputs / "picture.png"]
    for out, batch, order in (("x", 16, 1), ("y", 3, -1)):
        monkeypatch.setattr(colorizer, "_BATCH", batch)
        run(
            networks[row],
            inputs,
            sketch=inputs / "sketches",
            references=references[::order],
            out=inputs / out,
        )
    run(networks[row], inputs, references=[inputs / "references/b.jpg"])
    names = {p.name for p in (inputs / "x").iterdir()}
    assert len(names) == 8
    for name in names:
        assert np.abs(made(inputs / "x" / name) - made(inputs / "y" / name)).max() <= 1
    assert np.abs(made(inputs / "x/one_b.png") - made(inputs / "out.png")).max() <= 1


@pytest.mark.parametrize("change", [{"seed": 7}, {"steps": 5}, {"guidance": 3.0}])
@pytest.mark.parametrize("row", ["ssimbad", "edm_refined", "animediffusion"])
def test_options_change_the_image(
    networks: dict[str, Path], inputs: Path, row: str, change: dict
) -> None:
    run(networks[row], inputs)
    run(networks[row], inputs, out=inputs / "other.png", **change)
    assert np.abs(made(inputs / "out.png") - made(inputs / "other.png")).max() > 2
    run(networks[row], inputs, out=inputs / "again.png", **change)
    assert np.array_equal(made(inputs / "again.png"), made(inputs / "other.png"))


def test_usual_sampling_is_the_default_config_s() -> None:
    config = load([])
    for name, method in methods().items():
        if method.sampling is not None:
            sampling = method.sampling.model_validate(method.usual_sampling)
            assert sampling == getattr(config, name).sampling


def test_transparent_line_art_comes_out_opaque_and_coloured(
    networks: dict[str, Path], inputs: Path
) -> None:
    drawn = face(90, 70)
    drawn.putalpha(Image.eval(drawn.convert("L"), lambda v: 255 - v))
    Image.merge("RGBA", (*Image.new("RGB", drawn.size).split(), drawn.getchannel("A"))).save(
        inputs / "art.png"
    )
    run(networks["ssimbad"], inputs, sketch=inputs / "art.png")
    result = made(inputs / "out.png")
    assert result.shape == (70, 90, 3)
    lines = np.asarray(face(90, 70).convert("L")) == 0
    assert (result[lines] == 0).all()
    assert result[~lines].mean() > 30
    face(90, 70).save(inputs / "sketches/art.png")
    run(networks["ssimbad"], inputs, sketch=inputs / "sketches/art.png", out=inputs / "same.png")
    assert np.array_equal(result, made(inputs / "same.png"))


@pytest.mark.parametrize("option", ["sketch", "image"])
def test_a_cut_out_keeps_its_shape(networks: dict[str, Path], inputs: Path, option: str) -> None:
    drawn = face(90, 70) if option == "sketch" else picture(4, 90, 70)
    shape = Image.new("L", drawn.size, 0)
    ImageDraw.Draw(shape).ellipse((5, 5, 85, 65), fill=255)
    drawn.putalpha(shape)
    drawn.save(inputs / "cut.png")
    options = {"sketch": None, "image": None, option: inputs / "cut.png"}
    run(networks["ssimbad"], inputs, **options)
    assert np.array_equal(made(inputs / "out.png")[..., 3], np.asarray(shape))


def test_outputs_replace_those_of_their_names_and_no_others(
    networks: dict[str, Path], inputs: Path
) -> None:
    out = inputs / "out"
    out.mkdir()
    (out / "one_a.png").write_text("old")
    (out / "mine.txt").write_text("mine")
    run(networks["ssimbad"], inputs, sketch=inputs / "sketches", out=out)
    assert {p.name for p in out.iterdir()} == {"one_a.png", "two_a.png", "mine.txt"}
    assert made(out / "one_a.png").shape == (70, 90, 3)


def over(lines: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Porter and Duff's *over* in real numbers, rounded to 8 bits: RGBA."""
    lines, colours = lines.astype(float), colours.astype(float)
    if colours.shape[2] == 3:
        colours = np.dstack([colours, np.full(colours.shape[:2], 255.0)])
    a, b = lines[..., 3:] / 255, colours[..., 3:] / 255
    alpha = a + b * (1 - a)
    mixed = (lines[..., :3] * a + colours[..., :3] * b * (1 - a)) / np.maximum(alpha, 1e-9)
    found = np.dstack([mixed, alpha * 255]).round()
    return np.where(a > 0, found, colours).astype(int)


@pytest.mark.parametrize("option", ["sketch", "image"])
@pytest.mark.parametrize("shape", ["opaque", "cut out"])
def test_layers_add_up_to_the_output(
    networks: dict[str, Path], inputs: Path, option: str, shape: str
) -> None:
    drawn = face(90, 70) if option == "sketch" else picture(4, 90, 70)
    # Grey lines, and an edge of every alpha.
    drawn = drawn.resize((180, 140), Image.Resampling.BICUBIC)
    if shape == "cut out":
        drawn.putalpha(
            Image.linear_gradient("L").resize(drawn.size).point(lambda v: min(2 * v, 255))
        )
    drawn.save(inputs / "in.png")
    options = {"sketch": None, "image": None, option: inputs / "in.png"}
    run(networks["ssimbad"], inputs, **options)
    plain = (inputs / "out.png").read_bytes()
    (inputs / "out.png").unlink()
    run(networks["ssimbad"], inputs, **options, layers=True)
    assert (inputs / "out.png").read_bytes() == plain
    colours, lines = made(inputs / "out.colours.png"), made(inputs / "out.lines.png")
    output = made(inputs / "out.png")
    assert output.shape[2] == colours.shape[2] == (3 if shape == "opaque" else 4)
    assert (lines[..., :3] == 0).all()
    assert 0 < (lines[..., 3] > 0).mean() < 1
    assert np.array_equal(over(lines, colours)[..., : output.shape[2]], output)
    # What is below is no darker for the lines.
    assert colours[lines[..., 3] == 255][:, :3].max() > 30
    assert output[lines[..., 3] == 255][:, :3].max() == 0


def test_an_openraster_file_is_what_painting_programs_expect(
    networks: dict[str, Path], inputs: Path
) -> None:
    face(700, 400).save(inputs / "in.png")
    run(networks["ssimbad"], inputs, sketch=inputs / "in.png", layers=True)
    content = (inputs / "out.ora").read_bytes()
    # The type can be read off the file's first bytes.
    assert content[30:54] == b"mimetypeimage/openraster"
    with zipfile.ZipFile(inputs / "out.ora") as archive:
        assert archive.testzip() is None
        first = archive.infolist()[0]
        assert (first.filename, first.compress_type) == ("mimetype", zipfile.ZIP_STORED)
        image = ElementTree.fromstring(archive.read("stack.xml"))
        assert (image.tag, image.get("w"), image.get("h")) == ("image", "700", "400")
        (stack,) = image
        layers = [(layer.tag, layer.get("name"), layer.get("src")) for layer in stack]
        assert layers == [
            ("layer", "lines", "data/lines.png"),
            ("layer", "colours", "data/colours.png"),
        ]

        def pixels(name: str) -> np.ndarray:
            with Image.open(archive.open(name)) as image:
                assert image.format == "PNG"
                return np.asarray(image).astype(int)

        assert np.array_equal(pixels("data/lines.png"), made(inputs / "out.lines.png"))
        assert np.array_equal(pixels("data/colours.png"), made(inputs / "out.colours.png"))
        assert np.array_equal(pixels("mergedimage.png"), made(inputs / "out.png"))
        assert max(pixels("Thumbnails/thumbnail.png").shape) == 256
    run(networks["ssimbad"], inputs, sketch=inputs / "in.png", layers=True)
    assert (inputs / "out.ora").read_bytes() == content


def test_layers_of_several_drawings_lie_in_their_folder(
    networks: dict[str, Path], inputs: Path
) -> None:
    out = inputs / "out"
    run(networks["ssimbad"], inputs, sketch=inputs / "sketches", out=out, layers=True)
    endings = ("png", "colours.png", "lines.png", "ora")
    assert {p.name for p in out.iterdir()} == {
        f"{n}_a.{e}" for n in ("one", "two") for e in endings
    }


@pytest.mark.parametrize("option", ["sketch", "image"])
def test_a_crop_is_colorized_as_a_drawing_of_its_own_and_the_rest_stays(
    networks: dict[str, Path], inputs: Path, option: str
) -> None:
    whole = Image.new("RGB", (300, 200), "white") if option == "sketch" else picture(4, 300, 200)
    part = face(90, 70) if option == "sketch" else whole.crop((60, 40, 150, 110))
    whole.paste(part, (60, 40))
    ImageDraw.Draw(whole).line((0, 150, 299, 190), fill=(180, 40, 40), width=2)
    for folder, drawn in (("whole", whole), ("part", part)):
        (inputs / folder).mkdir()
        drawn.save(inputs / folder / "x.png")
    options = {"sketch": None, "image": None}
    cropped = {**options, option: inputs / "whole/x.png"}
    run(networks["ssimbad"], inputs, **cropped, crop="60,40,90,70", layers=True)
    run(
        networks["ssimbad"],
        inputs,
        **{**options, option: inputs / "part/x.png"},
        out=inputs / "p.png",
    )
    expected = np.asarray(whole).astype(int)
    expected[40:110, 60:150] = made(inputs / "p.png")
    assert np.array_equal(made(inputs / "out.png"), expected)
    lines, colours = made(inputs / "out.lines.png"), made(inputs / "out.colours.png")
    assert np.array_equal(over(lines, colours)[..., :3], expected)
    assert (lines[40:110, 60:150, 3] > 0).any()


def test_quiet_says_nothing(
    networks: dict[str, Path], inputs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(networks["ssimbad"], inputs)
    assert capfd.readouterr() == ("", "")
    run(networks["ssimbad"], inputs, quiet=False)
    assert "colorize: 100%" in capfd.readouterr().err


@pytest.mark.kill
def test_an_interruption_leaves_what_was_there(
    networks: dict[str, Path], inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = inputs / "out"
    out.mkdir()
    (out / "one_a.png").write_text("old")
    finished = colorizer._Drawings.finished

    def interrupted(self: Any, drawing: Any, *given: Any) -> Layers:
        if drawing.name == "two":
            raise KeyboardInterrupt
        return finished(self, drawing, *given)

    monkeypatch.setattr(colorizer._Drawings, "finished", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(networks["ssimbad"], inputs, sketch=inputs / "sketches", out=out)
    assert [p.name for p in out.iterdir()] == ["one_a.png"]
    assert (out / "one_a.png").read_text() == "old"


def truncated(inputs: Path) -> dict:
    path = inputs / "sketches/one.png"
    path.write_bytes(path.read_bytes()[:60])
    return {}


def empty(inputs: Path) -> dict:
    (inputs / "empty").mkdir()
    return {"references": [inputs / "empty"]}


def existing_folder(inputs: Path) -> dict:
    (inputs / "out").mkdir()
    return {"out": inputs / "out"}


def existing_file(inputs: Path) -> dict:
    (inputs / "out").write_text("mine")
    return {"out": inputs / "out", "sketch": inputs / "sketches"}


def one_stem(inputs: Path) -> dict:
    picture(1).save(inputs / "references/a.jpg")
    return {"references": [inputs / "references"], "out": inputs / "out"}


def one_name(inputs: Path) -> dict:
    """x with y_z, and x_y with z."""
    (inputs / "sketches/one.png").rename(inputs / "sketches/x.png")
    (inputs / "sketches/two.png").rename(inputs / "sketches/x_y.png")
    (inputs / "references/a.png").rename(inputs / "references/y_z.png")
    (inputs / "references/b.jpg").rename(inputs / "references/z.jpg")
    given = [inputs / "references/y_z.png", inputs / "references/z.jpg"]
    return {"sketch": inputs / "sketches", "references": given, "out": inputs / "out"}


def folder_in_the_way(inputs: Path) -> dict:
    (inputs / "out/two_a.png").mkdir(parents=True)
    return {"sketch": inputs / "sketches", "out": inputs / "out"}


def control_characters(inputs: Path) -> dict:
    path = inputs / "a\n\x1b[31mb.png"
    face(40, 40).save(path)
    return {"sketch": path}


def layer_in_the_way(inputs: Path) -> dict:
    (inputs / "out.lines.png").mkdir()
    return {"layers": True}


def layer_that_is_an_input(inputs: Path) -> dict:
    (inputs / "sketches/one.png").rename(inputs / "out.colours.png")
    return {"sketch": inputs / "out.colours.png", "layers": True}


def unwritable(inputs: Path) -> dict:
    (inputs / "file").write_text("mine")
    return {"out": inputs / "file/out.png"}


def foreign(inputs: Path) -> dict:
    save_file({"w": torch.zeros(1)}, inputs / "foreign.safetensors")
    return {"checkpoint_path": inputs / "foreign.safetensors"}


def shortened(inputs: Path) -> dict:
    path = save_row(inputs, "ssimbad")
    path.write_bytes(path.read_bytes()[:-100])
    return {"checkpoint_path": path}


def untrained(inputs: Path) -> dict:
    return {"checkpoint_path": save_row(inputs, "ssimbad", row="reference")}


def sizeless(inputs: Path) -> dict:
    return {"checkpoint_path": save_row(inputs, "ssimbad", size=None)}


def undropped(inputs: Path) -> dict:
    path = save_row(inputs, "edm", section={"conditioning_dropout": 0.0})
    return {"checkpoint_path": path, "guidance": 2.0}


def scft(**options: Any) -> Callable[[Path], dict]:
    return lambda inputs: {"checkpoint_path": save_row(inputs, "scft"), **options}


def given(**options: Any) -> Callable[[Path], dict]:
    """Options; paths are text, within the inputs' folder."""

    def placed(inputs: Path) -> dict:
        return {k: inputs / v if isinstance(v, str) else v for k, v in options.items()}

    return placed


REFUSED: dict[str, tuple[Callable[[Path], dict], str]] = {
    "neither sketch nor image": (given(sketch=None), "colorize: give --sketch or --image"),
    "both sketch and image": (given(image="picture.png"), "colorize: give --sketch or --image"),
    "missing sketch": (given(sketch="no.png"), "--sketch: {}/no.png: no such file or folder"),
    "missing image": (
        given(sketch=None, image="no.png"),
        "--image: {}/no.png: no such file or folder",
    ),
    "missing reference": (
        lambda inputs: {"references": [inputs / "no.png"]},
        "--reference: {}/no.png: no such file or folder",
    ),
    "unreadable sketch": (truncated, "{}/sketches/one.png: not readable as an image ("),
    "folder without images": (empty, "{}/empty: holds no PNG, JPEG or WebP image"),
    "control characters in a drawing's name": (
        control_characters,
        r"{}/a\n\x1b[31mb.png: control characters in the name",
    ),
    "one output, a folder": (existing_folder, "--out: {}/out: is a folder; one image is written"),
    "output that is no PNG": (given(out="out.jpg"), "--out: {}/out.jpg: must end in .png"),
    "several outputs, a file": (existing_file, "--out: {}/out: is a file; several images are"),
    "several outputs, named like a file": (
        given(sketch="sketches"),
        "--out: {}/out.png: several images are written into a folder, not a file",
    ),
    "two references of one stem": (one_stem, "{}/out/one_a.png: would be written twice: "),
    "two pairs of one name": (one_name, "{}/out/x_y_z.png: would be written twice: "),
    "output that is an input": (
        given(out="sketches/one.png"),
        "{}/sketches/one.png: is an input, and would be overwritten",
    ),
    "folder in an output's place": (folder_in_the_way, "{}/out/two_a.png: is a folder"),
    "folder in a layer's place": (layer_in_the_way, "{}/out.lines.png: is a folder"),
    "layer that is an input": (layer_that_is_an_input, "{}/out.colours.png: is an input, and"),
    "place that cannot be written": (unwritable, "--out: {}/file/out.png: not writable ("),
    "no checkpoint": (given(checkpoint_path="no"), "{}/no: no such file"),
    "checkpoint of another program": (foreign, "{}/foreign.safetensors: not a checkpoint of"),
    "truncated weights": (shortened, "{}/ssimbad.safetensors: not a checkpoint of ssimbad, or dam"),
    "row that is not trained": (
        untrained,
        "{}/ssimbad.safetensors: is of 'reference', no trained row: those are animediffusion, ",
    ),
    "checkpoint without its images' size": (sizeless, "{}/ssimbad.safetensors: does not say the"),
    "guidance of a row that dropped no condition": (
        undropped,
        "guidance: row 'edm' was never trained without its condition",
    ),
    "guidance of a row without": (scft(guidance=2.0), "guidance: row 'scft' has no guidance"),
    "steps of a row without": (scft(steps=2), "steps: row 'scft' has no steps"),
    "steps out of range": (given(steps=0), "steps: 0: input should be greater than or equal"),
    "guidance out of range": (given(guidance=-1.0), "guidance: -1.0: input should be greater"),
    "guidance that is no number": (given(guidance=float("nan")), "guidance: nan: input should"),
    "crop that is no four numbers": (
        lambda inputs: {"crop": "1,2,x,4"},
        "crop: 1,2,x,4: must be x,y,w,h: whole pixels, w and h above 0",
    ),
    "crop of nothing": (lambda inputs: {"crop": "1,2,0,4"}, "crop: 1,2,0,4: must be x,y,w,h"),
    "crop beyond the drawing": (
        lambda inputs: {"crop": "80,0,11,5"},
        "crop: 80,0,11,5: is not within {}/sketches/one.png (90 × 70 pixels)",
    ),
    "device that is not there": (
        lambda inputs: {"device_name": "mps"},
        "device: mps: torch can use no GPU of Apple's here",
    ),
    "unknown device": (
        lambda inputs: {"device_name": "gpu"},
        "device: gpu: must be auto, cpu, mps, cuda or cuda:N",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(networks: dict[str, Path], inputs: Path, name: str) -> None:
    change, told = REFUSED[name]
    options = change(inputs)
    before = {p: p.read_bytes() for p in inputs.rglob("*") if p.is_file()}
    with pytest.raises(UserError) as caught:
        run(options.pop("checkpoint_path", networks["ssimbad"]), inputs, **options)
    message = str(caught.value)
    assert message.startswith(told.format(inputs))
    assert message.isprintable()
    assert {p: p.read_bytes() for p in inputs.rglob("*") if p.is_file()} == before


def test_the_documentation_lists_what_is_tested() -> None:
    told = table_of(REPOSITORY / "docs/bad-input.md", "Colorizing your own drawings")
    assert list(told) == [*REFUSED]
    assert all(what.startswith("refused") for what in told.values())


def test_all_faults_are_told_at_once_by_the_command(
    networks: dict[str, Path], inputs: Path
) -> None:
    truncated(inputs)
    (inputs / "references/c.webp").write_bytes(b"")
    done = run_cli(
        *("colorize", "--checkpoint", str(networks["ssimbad"]), "--device", "cpu"),
        *("--sketch", str(inputs / "sketches"), "--out", str(inputs / "out")),
        *("--reference", str(inputs / "references"), str(inputs / "picture.png")),
    )
    assert done.returncode == 1
    told = done.stderr.splitlines()
    assert len(told) == 2
    assert told[0].startswith(f"ssimbad: {inputs}/sketches/one.png: not readable as an image")
    assert told[1].startswith(f"ssimbad: {inputs}/references/c.webp: not readable as an image")
    assert not (inputs / "out").exists()


def test_the_command(networks: dict[str, Path], inputs: Path) -> None:
    done = run_cli(
        *("colorize", "--checkpoint", str(networks["ssimbad_refined"]), "--device", "cpu"),
        *("--sketch", str(inputs / "sketches/one.png"), "--out", str(inputs / "by command.png")),
        *("--reference", str(inputs / "references/a.png"), "--steps", "4", "--guidance", "1.5"),
        *("--seed", "3", "--crop", "5,6,70,50", "--layers", "--quiet"),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    given = {"steps": 4, "guidance": 1.5, "seed": 3, "crop": "5,6,70,50", "layers": True}
    run(networks["ssimbad_refined"], inputs, **given)
    for ending in (".png", ".colours.png", ".lines.png"):
        by_command = made(inputs / f"by command{ending}")
        assert np.abs(by_command - made(inputs / f"out{ending}")).max() <= 1
    assert (inputs / "by command.ora").exists()
