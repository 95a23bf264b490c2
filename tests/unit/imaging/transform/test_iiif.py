"""IIIF's grammar: every spelling of a request and the Spec that it is, the canonical path, and what is refused by which name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.errors import BadOption
from safelight.imaging.transform import Size, Source, plan
from safelight.imaging.transform.iiif import FORMATS, QUALITIES, Api, Most, parse, scale_factors, sizes
from safelight.imaging.transform.pyramid import TILE

MOST = Most(4096)
SMALL = Size(600, 400)
LARGE = Size(10_000, 7_001)


def wish(text, api=Api.V3, most=MOST):
    return parse(api, text.split("/"), most)


# A path, the native words for it in a picture of 600 x 400, and its canonical path.
SAME = {
    "full/max/0/default.jpg": ("full.jpg", "full/max/0/default.jpg"),
    "0,0,600,400/600,400/0/color.jpg": ("full.jpg", "full/max/0/default.jpg"),
    "0,0,9000,9000/pct:100/360/default.jpg": ("full.jpg", "full/max/0/default.jpg"),
    "full/300,/0/default.webp": ("fit=fill,h=200,w=300.webp", "full/300,200/0/default.webp"),
    "full/,200/0/default.webp": ("fit=fill,h=200,w=300.webp", "full/300,200/0/default.webp"),
    "full/pct:50/0/default.webp": ("fit=fill,h=200,w=300.webp", "full/300,200/0/default.webp"),
    "full/!300,9999/0/default.webp": ("fit=fill,h=200,w=300.webp", "full/300,200/0/default.webp"),
    "full/!9999,200/0/default.webp": ("fit=fill,h=200,w=300.webp", "full/300,200/0/default.webp"),
    "full/!9999,9999/0/default.webp": ("full.webp", "full/max/0/default.webp"),
    "full/0300,0100/00/default.png": ("fit=fill,h=100,w=300.png", "full/300,100/0/default.png"),
    "full/1,/0/default.png": ("fit=fill,h=1,w=1.png", "full/1,1/0/default.png"),
    "full/pct:0.001/0/default.png": ("fit=fill,h=1,w=1.png", "full/1,1/0/default.png"),
    "full/^1200,/0/default.png": ("fit=fill,h=800,w=1200.png", "full/^1200,800/0/default.png"),
    "full/^300,/0/default.png": ("fit=fill,h=200,w=300.png", "full/300,200/0/default.png"),
    "full/^!900,900/0/default.png": ("fit=fill,h=600,w=900.png", "full/^900,600/0/default.png"),
    "full/^pct:150/0/default.png": ("fit=fill,h=600,w=900.png", "full/^900,600/0/default.png"),
    "full/^max/0/default.jpg": ("fit=fill,h=2731,w=4096.jpg", "full/^max/0/default.jpg"),
    "full/^4096,2731/0/default.jpg": ("fit=fill,h=2731,w=4096.jpg", "full/^max/0/default.jpg"),
    "square/max/0/default.jpg": ("c=100:0:400:400.jpg", "100,0,400,400/max/0/default.jpg"),
    "100,50,300,200/max/0/default.jpg": ("c=100:50:300:200.jpg", "100,50,300,200/max/0/default.jpg"),
    "500,300,300,200/max/0/default.jpg": ("c=500:300:100:100.jpg", "500,300,100,100/max/0/default.jpg"),
    "pct:50,50,100,100/50,/0/default.jpg": ("c=300:200:300:200,fit=fill,h=33,w=50.jpg", "300,200,300,200/50,33/0/default.jpg"),
    "pct:16.6666,0.5,0.0001,20/max/0/default.jpg": ("c=100:2:1:80.jpg", "100,2,1,80/max/0/default.jpg"),
    "full/300,/90/default.jpg": ("fit=fill,h=300,r=90,w=200.jpg", "full/300,200/90/default.jpg"),
    "full/max/!0/default.jpg": ("fl=h.jpg", "full/max/!0/default.jpg"),
    "full/max/!90/default.jpg": ("fl=h,r=270.jpg", "full/max/!90/default.jpg"),
    "full/max/!180/default.jpg": ("fl=v.jpg", "full/max/!180/default.jpg"),
    "full/max/270.0/gray.jpg": ("gr=true,r=270.jpg", "full/max/270/gray.jpg"),
    "full/max/0/bitonal.png": ("th=128.png", "full/max/0/bitonal.png"),
    "full/max/%30/d%65fault.jpg": ("full.jpg", "full/max/0/default.jpg"),
}
SAME_2 = {
    "full/full/0/default.jpg": ("full.jpg", "full/full/0/default.jpg"),
    "full/max/0/default.jpg": ("full.jpg", "full/full/0/default.jpg"),
    "full/300,200/0/default.jpg": ("fit=fill,h=200,w=300.jpg", "full/300,/0/default.jpg"),
    "full/,200/0/default.jpg": ("fit=fill,h=200,w=300.jpg", "full/300,/0/default.jpg"),
    "full/300,100/0/default.jpg": ("fit=fill,h=100,w=300.jpg", "full/300,100/0/default.jpg"),
    "full/1200,/0/default.jpg": ("fit=fill,h=800,w=1200.jpg", "full/1200,/0/default.jpg"),
    "full/pct:200/0/default.jpg": ("fit=fill,h=800,w=1200.jpg", "full/1200,/0/default.jpg"),
    "full/!1200,1200/0/default.jpg": ("full.jpg", "full/full/0/default.jpg"),
}


@pytest.mark.parametrize(("api", "path"), [*((Api.V3, path) for path in SAME), *((Api.V2, path) for path in SAME_2)])
def test_a_path_is_one_spec_and_one_canonical_path(api, path):
    native, canonical = (SAME if api is Api.V3 else SAME_2)[path]

    assert wish(path, api).spec(SMALL).text == native
    assert wish(path, api).canonical(SMALL) == canonical
    assert wish(canonical, api).spec(SMALL).text == native


REFUSED = {
    "region": (
        "",
        "Full",
        "1,2,3",
        "1,2,3,4,5",
        "0,0,0,9",
        "0,0,9,0",
        "-1,0,9,9",
        "600,0,9,9",
        "0,400,9,9",
        "1.5,0,9,9",
        "pct:100,0,9,9",
    )
    + ("pct:1,2,3", "pct:0,0,0,9", "pct:1e1,0,9,9", "pct:.5,0,9,9", "x", "%FF", "1٣,0,9,9", "9999999999,0,9,9", " full"),
    "size": (
        "",
        "full",
        "0,",
        ",0",
        ",",
        "9",
        "9,9,9",
        "!9,",
        "!,9",
        "!",
        "^",
        "pct:",
        "pct:0",
        "pct:-1",
        "pct:101",
        "pct:1e1",
        "601,",
        ",401",
    )
    + ("601,10", "10,401", "^4097,", "^pct:999999999", "^99999999999,1", "max^", "^^max", "%FF", "9,9%20"),
    "rotation": ("", "x", "-90", "361", "450", "45", "90.5", "!", "!!0", "0!", "1e2", "%FF", "nan"),
    "quality": ("", "Default", "native", "grey", "colour", "%FF"),
    "format": ("", "gif", "tif", "jp2", "pdf", "avif", "JPG", "jpeg", "jpg%20"),
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in REFUSED.items() for text in texts])
def test_what_is_wrong_is_refused_by_its_name(name, text):
    parts = {"region": "full", "size": "max", "rotation": "0", "quality": "default", "format": "jpg"} | {name: text}
    path = "{region}/{size}/{rotation}/{quality}.{format}".format(**parts)

    with pytest.raises(BadOption) as refused:
        parse(Api.V3, path.split("/"), MOST).spec(SMALL)
    assert refused.value.extra["option"] == name


def test_a_file_without_a_format_lacks_the_format():
    for file in ("default", "defaultjpg", ".", ""):
        with pytest.raises(BadOption) as refused:
            wish(f"full/max/0/{file}")
        assert refused.value.extra["option"] == "format"


def test_what_2_1_has_is_not_3_0_and_the_other_way_round():
    for text, api in (
        ("full/full/0/default.jpg", Api.V3),
        ("full/^max/0/default.jpg", Api.V2),
        ("full/^300,/0/default.jpg", Api.V2),
    ):
        with pytest.raises(BadOption, match="size"):
            wish(text, api)


def test_a_picture_beyond_the_limits_comes_as_large_as_they_allow():
    assert wish("full/max/0/default.jpg").settled(LARGE)[1] == (4096, 2868)
    assert wish("full/!9000,9000/0/default.jpg").settled(LARGE)[1] == (4096, 2868)
    assert wish("full/max/0/default.jpg").canonical(LARGE) == "full/max/0/default.jpg"
    assert wish("full/max/0/default.jpg", most=Most(8192)).settled(Size(9000, 9000))[1] == (5792, 5792)
    for text in ("full/pct:100/0/default.jpg", "full/10000,/0/default.jpg", "full/10000,7001/0/default.jpg"):
        with pytest.raises(BadOption, match="size"):
            wish(text).settled(LARGE)
    with pytest.raises(BadOption, match="size"):
        wish("full/full/0/default.jpg", Api.V2).settled(LARGE)


def test_sizes_and_scale_factors_are_halvings():
    assert sizes(LARGE, MOST) == ((313, 219), (625, 438), (1250, 875), (2500, 1750))
    assert sizes(Size(900, 600), MOST) == ((450, 300), (900, 600))
    assert sizes(Size(100, 60), MOST) == ((100, 60),)
    assert sizes(Size(1, 1), MOST) == ((1, 1),)
    assert scale_factors(LARGE) == (1, 2, 4, 8, 16, 32)
    assert scale_factors(Size(TILE, 9)) == (1,)


originals = st.builds(Size, st.integers(1, 12_000), st.integers(1, 12_000))


@given(originals)
def test_whatever_info_json_names_is_made_at_that_size_and_kept(original):
    for api in Api:
        for width, height in sizes(original, MOST):
            for said in (f"{width},{height}", f"{width},") if api is Api.V2 else (f"{width},{height}",):
                made = wish(f"full/{said}/0/default.jpg", api)
                assert made.settled(original)[1] == (width, height)
                assert made.is_promised(original)


@given(originals, st.data())
def test_a_viewers_tiles_are_kept_and_their_neighbours_are_not(original, data):
    factor = data.draw(st.sampled_from(scale_factors(original)))
    side = TILE * factor
    x = data.draw(st.integers(0, (original.width - 1) // side)) * side
    y = data.draw(st.integers(0, (original.height - 1) // side)) * side
    width, height = min(side, original.width - x), min(side, original.height - y)
    size = f"{-(-width // factor)},{-(-height // factor)}"
    tile = wish(f"{x},{y},{width},{height}/{size}/0/default.jpg")

    assert tile.settled(original)[0] == (x, y, width, height)
    assert tile.is_promised(original)
    for other in (f"{x},{y},{width},{height}/{size}/90/default.jpg", f"{x},{y},{width},{height}/{size}/0/gray.jpg"):
        assert not wish(other).is_promised(original)
    if width > 1 and x:
        assert not wish(f"{x - 1},{y},{width},{height}/{size}/0/default.jpg").is_promised(original)


pixels = st.integers(0, 12_000)
shares = st.integers(0, 10**6).map(lambda n: f"{n / 10**4:.4f}")
regions = st.sampled_from(("full", "square")) | st.builds("{},{},{},{}".format, pixels, pixels, pixels, pixels)
regions |= st.builds("pct:{},{},{},{}".format, shares, shares, shares, shares)
a_size = st.builds("{}{},{}".format, st.sampled_from(("", "!")), pixels | st.just(""), pixels | st.just("")) | shares.map(
    "pct:{}".format
)
paths = st.builds(
    "{}/{}{}/{}{}/{}.{}".format,
    regions,
    st.sampled_from(("", "^")),
    a_size | st.just("max"),
    st.sampled_from(("", "!")),
    st.sampled_from((0, 90, 180, 270)),
    st.sampled_from(QUALITIES),
    st.sampled_from(tuple(FORMATS)),
)


@given(paths, originals)
def test_a_result_is_of_the_size_that_was_settled_and_the_canonical_path_means_the_same(path, original):
    try:
        made = wish(path)
        spec = made.spec(original)
    except BadOption:
        return
    box, target = made.settled(original)
    again = wish(made.canonical(original))

    assert MOST.allows(target)
    assert 0 <= box.left < box.left + box.width <= original.width
    assert 0 <= box.top < box.top + box.height <= original.height
    assert plan(spec, Source.whole(*original)).canvas == (target if made.rotate in {0, 180} else target[::-1])
    assert again.spec(original) == spec
    assert again.canonical(original) == made.canonical(original)
