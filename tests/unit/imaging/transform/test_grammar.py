"""The native grammar: every option reads as it should, and nothing else reads at all."""

import contextlib
import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.imaging.transform.strategies import specs

from safelight.errors import BadOption
from safelight.imaging import PRESETS, Format
from safelight.imaging.transform import (
    Animation,
    Fit,
    Flip,
    Focal,
    Gravity,
    Metadata,
    Padding,
    Profile,
    Region,
    Rgba,
    Spec,
    is_transform,
    parse,
    parse_request,
)
from safelight.imaging.transform.grammar import MAX_TEXT
from safelight.imaging.transform.options import EXTENSIONS, NAMES, OPTIONS
from safelight.imaging.transform.spec import AUTO_QUALITY, MAX_RADIUS

GOOD = {
    "full": {},
    "w=300": {"width": 300},
    "width=300": {"width": 300},
    "h=8192": {"height": 8192},
    "w=1,h=1,fit=cover": {"width": 1, "height": 1, "fit": Fit.COVER},
    "fit=fill,h=2,w=3": {"width": 3, "height": 2, "fit": Fit.FILL},
    "fit=cover,g=north-east,h=2,w=3": {"width": 3, "height": 2, "fit": Fit.COVER, "gravity": Gravity.NORTH_EAST},
    "fit=cover,gravity=top,h=2,w=3": {"width": 3, "height": 2, "fit": Fit.COVER, "gravity": Gravity.NORTH},
    "fit=cover,g=centre,h=2,w=3": {"width": 3, "height": 2, "fit": Fit.COVER},
    "fit=crop,g=auto,h=2,w=3": {"width": 3, "height": 2, "fit": Fit.CROP, "gravity": Gravity.AUTO},
    "fit=crop,g=0.3x0.7,h=2,w=3": {"width": 3, "height": 2, "fit": Fit.CROP, "gravity": Focal(0.3, 0.7)},
    "fit=crop,g=0x1,h=2,w=3": {"width": 3, "height": 2, "fit": Fit.CROP, "gravity": Focal(0, 1)},
    "c=1:2:3:4": {"crop": Region(1, 2, 3, 4)},
    "crop=10p:0p:12.345p:50p": {"crop": Region(10, 0, 12.345, 50, is_percent=True)},
    "t=10": {"trim": 10},
    "r=90": {"rotate": 90},
    "fl=h": {"flip": Flip.H},
    "p=5,bg=336699": {"pad": Padding(5, 5, 5, 5), "background": Rgba(0x33, 0x66, 0x99)},
    "p=5:6,bg=#369": {"pad": Padding(5, 6, 5, 6), "background": Rgba(0x33, 0x66, 0x99)},
    "p=1:2:3:4,bg=3698": {"pad": Padding(1, 2, 3, 4), "background": Rgba(0x33, 0x66, 0x99, 0x88)},
    "p=1,bg=transparent": {"pad": Padding(1, 1, 1, 1)},
    "bl=5.5": {"blur": 5.5},
    "sh=1": {"sharpen": 1},
    "br=0.5,co=1.25,sa=2,ga=0.1": {"brightness": 0.5, "contrast": 1.25, "saturation": 2, "gamma": 0.1},
    "gr=true": {"grayscale": True},
    "gr=false": {},
    "du=000:fff": {"duotone": (Rgba(0, 0, 0), Rgba(255, 255, 255))},
    "th=128": {"threshold": 128},
    "th=1,gr=true,sa=2,du=000:f00": {"threshold": 1},
    "ra=12": {"radius": 12},
    "ra=max": {"radius": MAX_RADIUS},
    "q=1": {"quality": 1},
    "an=first": {"animation": Animation.FIRST},
    "an=keep": {},
    "pg=1": {},
    "page=3,an=first": {"page": 3},
    "q=auto": {"quality": AUTO_QUALITY},
    "mb=20000": {"max_bytes": 20_000},
    "md=copyright,icc=keep": {"metadata": Metadata.COPYRIGHT, "icc": Profile.KEEP},
    "fit=cover,g=focal,h=2,w=3": {"width": 3, "height": 2, "fit": Fit.COVER, "gravity": Gravity.FOCAL},
    "f=webp": {},
    "w=300,dpr=1.5": {"width": 450},
    "dpr=1.25,h=2,p=1,ra=10,w=1,bl=2": {"width": 1, "height": 3, "pad": Padding(1, 1, 1, 1), "radius": 13, "blur": 2.5},
    "dpr=4,ra=max": {"radius": MAX_RADIUS},
    "w=300,fit=scale-down,g=center,t=0,r=0,p=0,bl=0,sh=0,br=1,co=1,sa=1,ga=1,ra=0,dpr=1,q=80,pr=true": {"width": 300},
}


@pytest.mark.parametrize("text", GOOD)
def test_an_option_means_what_the_table_says(text):
    assert parse(f"{text}.webp") == Spec(format=Format.WEBP, **GOOD[text])


BAD = {
    "": "",
    "thumb_300": "thumb_300",
    "full,w=3": "full",
    "w=3,full": "full",
    ",w=3": "",
    "w=3,": "",
    "w=3,,h=3": "",
    "w": "width",
    "w=": "width",
    "=3": "",
    "W=3": "W",
    " w=3": " w",
    "w=3&h=3": "width",
    "w=3=3": "width",
    "w=0": "width",
    "w=8193": "width",
    "w=4097,dpr=2": "width",
    "w=-1": "width",
    "w=+1": "width",
    "w=1e3": "width",
    "w=1.0": "width",
    "w=0x10": "width",
    "w=1_0": "width",
    "w= 1": "width",
    "w=1\n": "width",
    "w=007": "width",
    "w=nan": "width",
    "w=inf": "width",
    "w=" + "9" * 400: "width",
    "w=３００": "width",
    "w=٣": "width",
    "w=²": "width",
    "ｗ=3": "\\uff57",
    "\ud800=3": "\\ud800",
    "wídth=3": "w\\xeddth",
    "w=3,w=3": "width",
    "w=3,width=4": "width",
    "gravity=top,g=top": "gravity",
    "fit=squeeze": "fit",
    "fit=Cover": "fit",
    "g=middle": "gravity",
    "g=1.1x0": "gravity",
    "g=0.5": "gravity",
    "g=0.5x": "gravity",
    "g=-0.5x0.5": "gravity",
    "g=nanxnan": "gravity",
    "g=0.12345x0": "gravity",
    "c=1:2:3": "crop",
    "c=1:2:3:4:5": "crop",
    "c=0:0:0:4": "crop",
    "c=0:0:4:0": "crop",
    "c=0:0:9999999:1": "crop",
    "c=10p:0:5p:5p": "crop",
    "c=10p:0p:0p:5p": "crop",
    "c=100p:0p:5p:5p": "crop",
    "c=0p:0p:101p:5p": "crop",
    "c=-1:0:5:5": "crop",
    "t=101": "trim",
    "t=border": "trim",
    "r=45": "rotate",
    "r=360": "rotate",
    "r=-90": "rotate",
    "fl=": "flip",
    "fl=vh": "flip",
    "bg=red": "background",
    "bg=12345": "background",
    "bg=##fff": "background",
    "bg=ﬀﬀﬀ": "background",
    "p=1:2:3": "pad",
    "p=1025": "pad",
    "p=600,dpr=2": "pad",
    "p=-1": "pad",
    "p=1:2:3:4:5": "pad",
    "bl=0.1": "blur",
    "bl=101": "blur",
    "bl=60,dpr=2": "blur",
    "bl=1e1": "blur",
    "bl=.5": "blur",
    "bl=5.": "blur",
    "bl=nan": "blur",
    "bl=1.234": "blur",
    "sh=11": "sharpen",
    "sh=-1": "sharpen",
    "br=4.01": "brightness",
    "co=-1": "contrast",
    "sa=inf": "saturation",
    "ga=0": "gamma",
    "ga=0.09": "gamma",
    "gr=yes": "grayscale",
    "gr=1": "grayscale",
    "du=fff": "duotone",
    "du=fff:": "duotone",
    "du=fff:transparent": "duotone",
    "th=256": "threshold",
    "th=-1": "threshold",
    "ra=4097": "radius",
    "ra=MAX": "radius",
    "dpr=0.5": "dpr",
    "dpr=4.01": "dpr",
    "dpr=0": "dpr",
    "dpr=1.001": "dpr",
    "dpr=nan": "dpr",
    "f=avif": "format",
    "f=auto": "format",
    "f=original": "format",
    "f=tiff": "format",
    "q=0": "quality",
    "q=101": "quality",
    "q=AUTO": "quality",
    "an=true": "animation",
    "pg=0": "page",
    "pg=1001": "page",
    "mb=0": "max_bytes",
    "mb=499": "max_bytes",
    "mb=auto": "max_bytes",
    "md=all": "metadata",
    "icc=p3": "icc",
    "pr=no": "progressive",
    "dl=a/b": "download",
    "dl=..": "download",
    'dl=a"b': "download",
    "dl=a\r\nb": "download",
    "dl=a\u202eb": "download",
    "dl=" + "x" * 101: "download",
    "watermark=a.b": "watermark",
    "watermark=a b": "watermark",
    "wm=" + "a" * 65: "watermark",
    "wmt=": "watermark_text",
    "wmt= %0A ": "watermark_text",
    "wmt=a%00b": "watermark_text",
    "wmt=a\tb": "watermark_text",
    "wmt=a%FF": "watermark_text",
    "wmt=a\u202eb": "watermark_text",
    "wmt=a\ud800": "watermark_text",
    "wmt=" + "a" * 101: "watermark_text",
    "wmt=a%0Ab%0Ac%0Ad%0Ae": "watermark_text",
    "wm=logo,wmt=a": "watermark",
    "wmp=north": "watermark_position",
    "wmt=a,wmp=auto": "watermark_position",
    "wmt=a,wmm=5:5:5": "watermark_margin",
    "wmt=a,wmm=5:5p": "watermark_margin",
    "wmt=a,wmm=1.5": "watermark_margin",
    "wmt=a,wmm=1025": "watermark_margin",
    "wmt=a,wmm=51p": "watermark_margin",
    "wmt=a,wms=0": "watermark_scale",
    "wmt=a,wms=101": "watermark_scale",
    "wmt=a,wms=5:5:5": "watermark_scale",
    "wmt=a,wms=1x": "watermark_scale",
    "wm=a,wms=41x": "watermark_scale",
    "wm=a,wms=2x:2x": "watermark_scale",
    "wm=a,wmc=fff": "watermark_colour",
    "wmt=a,wmo=101": "watermark_opacity",
    "wmt=a,wmr=361": "watermark_rotate",
    "wmt=a,wmr=1.5": "watermark_rotate",
    "wmt=a,wme=glow": "watermark_edge",
    "wmt=a,wml=paper": "watermark_layer",
    "w=" + "1" * MAX_TEXT: "options",
}


@pytest.mark.parametrize("text", BAD, ids=lambda text: ascii(text)[1:40])
def test_what_is_no_option_is_refused_and_named(text):
    with pytest.raises(BadOption) as caught:
        parse(f"{text}.webp")

    assert caught.value.extra["option"] == BAD[text]
    caught.value.detail.encode()


@pytest.mark.parametrize("extension", ("", "heic", "tiff", "svg", "WEBP", "webp ", "jpe", "é"))
def test_an_unknown_extension_is_refused(extension):
    with pytest.raises(BadOption) as caught:
        parse(f"w=300.{extension}")

    assert caught.value.extra["option"] == "extension"


def test_without_an_extension_there_is_no_transform():
    with pytest.raises(BadOption):
        parse("w=300")


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_the_extension_decides_the_format(extension):
    spec = parse(f"w=300,f={extension}.{extension}")

    assert (spec.format or extension) == EXTENSIONS[extension]
    assert parse(f"w=300.{extension}") == spec


def test_both_spellings_of_jpeg_agree():
    assert parse("f=jpeg,w=3.jpg") == parse("f=jpg,w=3.jpeg") == parse("w=3.jpg")


def test_a_download_name_is_apart_from_the_pixels():
    request = parse_request("w=300,dl=Grüße 2.final.webp")

    assert request.spec == parse("w=300.webp")
    assert request.download == "Grüße 2.final"
    assert request.filename(Format.WEBP) == "Grüße 2.final.webp"
    assert parse_request("w=300.webp").filename(Format.WEBP) == ""


def test_no_preset_is_a_transform():
    assert not any(is_transform(preset.name) for preset in PRESETS)
    assert is_transform("full")
    assert is_transform("w=300")


def test_short_names_are_nobody_elses():
    assert len(NAMES) == sum(1 + bool(option.short) for option in OPTIONS)


@settings(max_examples=300, deadline=None)
@given(specs(marked=True))
def test_the_text_of_a_spec_reads_as_the_same_spec(spec):
    text = spec.text

    assert parse(text) == spec
    assert parse(text).text == text
    assert is_transform(text.rpartition(".")[0])
    assert len(text) <= MAX_TEXT
    assert "/" not in text
    if spec.watermark is None:
        assert set(text) <= set(string.ascii_lowercase + string.digits + "=,:.-"), "needs percent-encoding"


_names = st.sampled_from(sorted(NAMES)) | st.text(max_size=4)
_values = st.text(max_size=12) | st.sampled_from(
    ("300", "1.5", "true", "auto", "0.5x0.5", "cover", "fff", "1:2:3:4", "nan", "-0", "1e9", "∞", "0" * 30)
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(_names, _values), max_size=6), st.sampled_from(sorted(EXTENSIONS)) | st.text(max_size=5))
@example([("bl", "0.3"), ("dpr", "1")], "webp")
def test_any_text_is_a_transform_or_a_bad_option(pairs, extension):
    text = ",".join(f"{name}={value}" for name, value in pairs) + "." + extension

    try:
        spec = parse(text)
    except BadOption as error:
        assert error.extra["option"] is not None
    else:
        assert parse(spec.text) == spec


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60))
def test_noise_is_a_bad_option(text):
    with contextlib.suppress(BadOption):
        parse(text)


@settings(max_examples=100, deadline=None)
@given(specs(marked=True), st.data())
def test_the_order_and_the_names_do_not_matter(spec, data):
    options, _, extension = spec.text.rpartition(".")
    pairs = [part.partition("=") for part in options.split(",") if options != "full"]
    pairs = [
        (data.draw(st.sampled_from([NAMES[n].name, NAMES[n].short or n])), v) for n, _, v in data.draw(st.permutations(pairs))
    ]

    assert parse((",".join(f"{n}={v}" for n, v in pairs) or "full") + "." + extension) == spec
