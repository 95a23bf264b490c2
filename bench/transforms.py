"""What a transform by URL costs: CPU milliseconds from the master of a 12-megapixel photograph, the least of five rounds in turns.

$ python tests/photographs.py fetch camera
$ python bench/transforms.py
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.photographs import photographs

from safelight.imaging import Format
from safelight.imaging.pipeline import develop
from safelight.imaging.spec import File, lesser_sides
from safelight.imaging.transform import parse
from safelight.imaging.transform.apply import lesser_side, transform
from safelight.imaging.transform.spec import Spec

TEXTS = (
    "w=300,h=300.webp",
    "fit=cover,h=600,w=600.webp",
    "fit=cover,g=auto,h=600,w=600.webp",
    "h=600,w=600.avif",
    "h=600,w=600.jpg",
    "h=1200,w=1200.webp",
    "h=300,t=10,w=300.webp",
)


def made(spec: Spec, masters: dict[int, bytes], width: int, height: int) -> File:
    side = lesser_side(spec, width, height)
    return transform(masters[side], spec, source_width=width, source_height=height, is_lesser=side > 0)


def main() -> None:
    masters = []
    for path in sorted(photographs("camera"))[:8]:
        developed = develop(path.read_bytes())
        by_side = {0: developed.file("master", Format.JPEG).data}
        for side in lesser_sides(max(developed.header.width, developed.header.height)):
            by_side[side] = developed.file(f"master_{side}", Format.JPEG).data
        masters.append((by_side, developed.header.width, developed.header.height))
    best = dict.fromkeys(TEXTS, float("inf"))
    bytes_ = dict.fromkeys(TEXTS, 0.0)
    for _ in range(5):
        for text in TEXTS:
            started = time.process_time()
            files = [made(parse(text), *master) for master in masters]
            best[text] = min(best[text], (time.process_time() - started) * 1000 / len(masters))
            bytes_[text] = sum(len(file.data) for file in files) / len(masters) / 1000
    print("| transform | CPU ms | kB |\n|---|---|---|")
    for text in TEXTS:
        print(f"| `{text}` | {best[text]:.0f} | {bytes_[text]:.1f} |")


if __name__ == "__main__":
    main()
