"""thumbor's grammar: its parts in their order, its arithmetic, and what it refuses by name."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safelight.errors import BadOption, TooManyPixels
from safelight.imaging.transform import Size, read_named
from safelight.imaging.transform import parse as parse_native
from safelight.imaging.transform.plan import Source, plan
from safelight.imaging.transform.thumbor import FILTERS, parse

ID = "01j00000000000000000000000"


NAMED = read_named({"draft": "wmt=Draft,wms=80,wmr=-30"})


def text(path, size=(600, 400)):
    return parse(f"{path}/{ID}" if path else ID, NAMED).wish.spec(Size(*size)).text.rpartition(".")[0]


# Paths for a picture of 600 x 400, and the native words for them.
SAME = {
    "": "full",
    "300x200": "fit=cover,h=200,w=300",
    "300x": "fit=contain,w=300",
    "x200": "fit=contain,h=200",
    "0x200": "fit=contain,h=200",
    "0x0": "full",
    "origx200": "fit=cover,h=200,w=600",
    "origxorig": "fit=cover,h=400,w=600",
    "-300x200": "fit=cover,fl=h,h=200,w=300",
    "300x-200": "fit=cover,fl=v,h=200,w=300",
    "-x-": "r=180",
    "-0x0": "fl=h",
    "fit-in/300x300": "h=300,w=300",
    "adaptive-fit-in/300x400": "h=300,w=400",
    "full-fit-in/300x300": "fit=fill,h=300,w=450",
    "adaptive-full-fit-in/300x400": "fit=fill,h=300,w=450",
    "fit-in/900x900/filters:upscale()": "fit=contain,h=900,w=900",
    "900x900/filters:no_upscale()": "fit=cover,h=400,w=600",
    "300x100/filters:stretch()": "fit=fill,h=100,w=300",
    "100x100/left/top": "fit=cover,g=north-west,h=100,w=100",
    "100x100/right": "fit=cover,g=east,h=100,w=100",
    "100x100/bottom": "fit=cover,g=south,h=100,w=100",
    "100x100/center/middle": "fit=cover,h=100,w=100",
    "100x100/left/smart": "fit=cover,g=auto,h=100,w=100",
    "10x20:110x220": "c=10:20:100:200",
    "10x20:9999x9999/50x": "c=10:20:590:380,fit=contain,w=50",
    "0x0:600x400": "full",
    "0x0:0x0/50x": "fit=contain,w=50",
    "trim": "t=1",
    "trim:top-left:50/100x": "fit=contain,t=29,w=100",
    "trim:173": "t=100",
    "filters:quality(80):blur(4):grayscale()": "bl=4,gr=true",
    "filters:blur(7,2)": "bl=2",
    "filters:sharpen(2,1.0,true)": "sh=2",
    "filters:brightness(20):contrast(-50):saturation(1.3)": "co=0.25,li=20,sa=1.3",
    "filters:brightness(-100)": "li=-100",
    "filters:rotate(90)": "r=270",
    "300x100/filters:rotate(90)": "fit=cover,h=300,r=270,w=100",
    "-300x100/filters:rotate(90)": "fit=cover,fl=v,h=300,r=270,w=100",
    "filters:rotate(-180)": "r=180",
    "fit-in/300x300/filters:fill(ff0000)": "bg=ff0000,h=300,p=50:0,w=300",
    "fit-in/301x301/filters:fill(black,true)": "bg=000000,h=301,p=50:0,w=301",
    "fit-in/300x201/filters:fill(blue)": "bg=0000ff,h=201,p=0:0:1:0,w=300",
    "fit-in/700x500/filters:fill(transparent)": "h=500,p=50,w=700",
    "300x300/filters:fill(red)": "fit=cover,h=300,w=300",
    "filters:round_corner(20,255,0,0)": "bg=ff0000,ra=20",
    "filters:round_corner(20|20,0,0,0,true)": "ra=20",
    "100x100/filters:focal(0x0:120x80)": "fit=cover,g=0.1x0.1,h=100,w=100",
    "300x0:600x400/100x100/filters:focal(0x0:120x80)": "c=300:0:300:400,fit=cover,h=100,w=100",
    "300x200/filters:proportion(0.5)": "fit=cover,h=100,w=150",
    "fit-in/300x300/filters:proportion(0.5)": "fit=fill,h=100,w=150",
    "filters:proportion(0.25)": "fit=fill,h=100,w=150",
    "filters:strip_icc():strip_exif()": "full",
    "filters:max_bytes(20000)": "mb=20000",
    "filters:background_color(red)": "bg=ff0000",
    f"fit-in/300x200/filters:watermark({ID},10,20,50)": f"h=200,w=300,wm={ID},wmm=10:20,wmo=50,wmp=north-west,wms=1x",
    f"fit-in/300x200/filters:watermark({ID},-10,20,0)": f"h=200,w=300,wm={ID},wmm=10:20,wmo=100,wmp=north-east,wms=1x",
    f"fit-in/300x200/filters:watermark(safelight://{ID},-0,-10p,0,20)": f"h=200,w=300,wm={ID},wmm=0:20,wmo=100,wms=20:100",
    f"fit-in/300x200/filters:watermark({ID},center,center,0,none,30)": f"h=200,w=300,wm={ID},wmo=100,wmp=center,wms=100:30",
    f"fit-in/300x200/filters:watermark({ID},center,5,0,20,30)": f"h=200,w=300,wm={ID},wmm=0:5,wmo=100,wmp=north,wms=20:30",
    f"filters:watermark({ID},repeat,repeat,70)": f"wm={ID},wmm=0,wmo=30,wmp=tile,wms=1x",
    "filters:watermark(draft,10,10,70)": "wmm=10,wmo=30,wmp=north-west,wmr=330,wms=80,wmt=Draft",
    f"filters:watermark({ID},0,0,100)": "full",
}


@pytest.mark.parametrize(("path", "native"), SAME.items())
def test_paths_become_native_words(path, native):
    assert text(path) == parse_native(f"{native}.png").text.removesuffix(".png")


REFUSED = {
    "debug/300x200": "debug",
    "meta/300x200": "meta",
    "trim:bottom-right": "trim",
    "trim:175": "trim",
    "trim/0x0:10x10": "trim",
    "trim/origx10": "orig",
    "trim/fit-in/9x9/filters:fill(red)": "trim",
    "50x50:10x10": "crop",
    "9000x100": "width",
    "100x9000": "height",
    "smart/300x200": "options",
    "300x200/100x100": "options",
    "300x200/unknown": "options",
    "fit-in/5000x5000/filters:fill(red)": "fill",
    "fit-in/300x300/filters:fill(red):rotate(90)": "rotate",
    "fit-in/300x300/filters:fill(auto)": "fill",
    "fit-in/300x300/filters:fill(red):round_corner(5,0,0,0)": "fill",
    "filters:quality(0)": "quality",
    "filters:quality(101)": "quality",
    "filters:quality()": "quality",
    "filters:quality(1,2)": "quality",
    "filters:quality(80):quality(80)": "quality",
    "filters:format(heic)": "format",
    "filters:blur(0.1)": "blur",
    "filters:blur(nan)": "blur",
    "filters:sharpen(2,5.0,true)": "sharpen",
    "filters:brightness(101)": "brightness",
    "filters:saturation(-1)": "saturation",
    "filters:rotate(45)": "rotate",
    "filters:round_corner(20|10,0,0,0)": "round_corner",
    "filters:round_corner(20,256,0,0)": "round_corner",
    "filters:focal(10x10:10x10)": "focal",
    "filters:focal(5000x5000:6000x6000)": "focal",
    "smart/filters:focal(0x0:9x9)": "focal",
    "filters:proportion(0)": "proportion",
    "filters:upscale():no_upscale()": "no_upscale",
    "filters:max_bytes(100)": "max_bytes",
    "filters:watermark(http://example.com/a.png,0,0,0)": "watermark",
    "filters:watermark(draft,0,0)": "watermark",
    "filters:watermark(draft,repeat,0,0)": "watermark",
    "filters:watermark(draft,left,0,0)": "watermark",
    "filters:watermark(draft,2000,0,0)": "watermark",
    "filters:watermark(draft,0,0,101)": "watermark",
    "filters:watermark(draft,0,0,0,200)": "watermark",
    "trim/filters:watermark(draft,10p,0,0)": "watermark",
    "filters:equalize()": "equalize",
    "filters:quality(80": "filters",
    "filters:": "filters",
    "filters:quality(80)x": "filters",
}


@pytest.mark.parametrize(("path", "named"), REFUSED.items())
def test_what_cannot_be_is_refused_by_name(path, named):
    with pytest.raises(BadOption) as caught:
        text(path)

    assert caught.value.extra["option"] == named


@pytest.mark.parametrize("name", FILTERS)
def test_every_example_is_good(name):
    if FILTERS[name].example:
        text(f"300x200/filters:{FILTERS[name].example}")


@pytest.mark.parametrize(
    ("source", "scheme", "name"),
    (
        (ID, "safelight", ID),
        (f"safelight://{ID}", "safelight", ID),
        (f"safelight%3A%2F%2F{ID}", "safelight", ID),
        (f"safelight:/{ID}", "safelight", ID),
        ("https://example.com/a//b.jpg", "https", "example.com/a//b.jpg"),
        ("https%3A%2F%2Fexample.com%2Fa%3Fb%3Dc", "https", "example.com/a?b=c"),
        ("300x200", "safelight", "300x200"),
        ("smart", "safelight", "smart"),
    ),
)
def test_a_source_is_read_as_it_is_meant(source, scheme, name):
    for before in ("", "10x10/", "fit-in/10x10/filters:quality(5)/"):
        found = parse(before + source).origin
        assert (found.scheme, found.name) == (scheme, name)


@pytest.mark.parametrize("path", ("", "300x200/", "%FF", "a" * 5000))
def test_a_path_that_means_nothing_is_refused(path):
    with pytest.raises(BadOption):
        parse(path)


parts = st.sampled_from(
    (
        "trim",
        "trim:9",
        "10x10:300x200",
        "0x5:9x9",
        "fit-in",
        "adaptive-fit-in",
        "full-fit-in",
        "300x200",
        "-0x0",
        "origx50",
        "x1",
        "5x-7",
    )
    + (
        "left",
        "top",
        "smart",
        *(f"filters:{entry.example}" for entry in FILTERS.values() if entry.example),
        "filters:quality(5):rotate(90)",
    )
)


@settings(max_examples=400, deadline=None)
@given(st.lists(parts, max_size=6), st.integers(1, 20_000), st.integers(1, 20_000))
def test_whatever_is_asked_of_whatever_picture_is_a_spec_or_a_refusal(said, width, height):
    try:
        spec = parse("/".join((*said, ID))).wish.spec(Size(width, height))
        plan(spec, Source.of(width, height))
    except (BadOption, TooManyPixels):
        pass
