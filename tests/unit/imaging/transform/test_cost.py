"""estimate: no less than what a process really takes. A fresh process each, since memory once taken is kept for the next."""

import subprocess
import sys

import pytest

from safelight.imaging.transform import Source, estimate, parse

MEASURE = """
import sys
import numpy as np
import pyvips
from safelight.imaging.transform import Fonts, parse
from safelight.imaging.transform.apply import transform
from safelight.imaging.transform.lettering import drawn

noise = np.random.default_rng(1).normal(128, 20, (1536, 2048, 3)).clip(0, 255).astype(np.uint8)
master = pyvips.Image.new_from_array(noise).jpegsave_buffer(Q=90)
transform(master, parse("w=8.webp"), source_width=2048, source_height=1536)
memory = lambda name: next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))
open("/proc/self/clear_refs", "w").write("5")
before = memory("VmRSS")
spec = parse(sys.argv[1])
mark = drawn(spec.watermark, Fonts()) if spec.watermark else b""
transform(master, spec, source_width=2048, source_height=1536, mark=mark)
print(memory("VmHWM") - before)
"""


@pytest.mark.parametrize(
    "text",
    (
        "w=300.webp",
        "q=100.avif",
        "fit=fill,h=1500,ra=max,w=3000.webp",
        "fit=fill,h=1500,ra=max,w=3000.avif",
        "fit=fill,h=2000,sa=2,sh=1,w=2000.jpg",
        "bl=20,t=10.gif",
        "fit=fill,h=1500,w=3000,wmt=Draft,wmp=tile,wmr=30,wms=100.webp",
    ),
)
def test_no_transform_takes_more_than_estimated(text):
    told = estimate(parse(text), Source.of(2048, 1536))

    ran = subprocess.run([sys.executable, "-c", MEASURE, text], capture_output=True, text=True, check=True)
    assert int(ran.stdout) <= told <= 8 * int(ran.stdout) + 16_000_000
