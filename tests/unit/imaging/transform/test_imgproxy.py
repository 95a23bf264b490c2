"""imgproxy's grammar: every row of its table, its arithmetic, and what it refuses by name."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safelight.errors import BadOption, TooManyPixels
from safelight.imaging import Format
from safelight.imaging.transform import Original, Size
from safelight.imaging.transform import parse as parse_native
from safelight.imaging.transform.grammar import read_named
from safelight.imaging.transform.imgproxy import OPTIONS, PAID, SECURITY, TABLE, parse, read_presets
from safelight.imaging.transform.plan import Source, plan

ID = "01j00000000000000000000000"


MARK = "wm=logo,wme=shadow,wmr=45"
NAMED = read_named({"default": f"{MARK},wmo=80,wmp=west,wms=9"})


def text(options, size=(600, 400), presets=None):
    order = parse(f"/{options}/plain/{ID}@png".replace("//", "/"), presets, NAMED)
    return order.wish.spec(Size(*size)).text.removesuffix(".png")


def quality(order, accept=""):
    original = Original(format=Format.JPEG, width=600, height=400)
    return order.request(original, accept, max_animation_pixels=1_000_000).spec.quality


# Options for a picture of 600 x 400, and the native words for them.
SAME = {
    "rs:fit:300:300": "h=300,w=300",
    "rs:fit:300:300:1": "fit=contain,h=300,w=300",
    "rs:fill:300:300": "fit=crop,h=300,w=300",
    "resize:fill:300:300:true": "fit=cover,h=300,w=300",
    "rs:fill-down:900:300": "fit=aspect-crop,h=300,w=900",
    "rs:fill-down:900:300:1": "fit=cover,h=300,w=900",
    "rs:force:300:300:1": "fit=fill,h=300,w=300",
    "rs:force:300:300": "fit=fill,h=300,w=300",
    "rs:force:900:300": "fit=fill,h=200,w=600",
    "rs:auto:300:200": "fit=crop,h=200,w=300",
    "rs:auto:200:300": "h=300,w=200",
    "rs::300:200": "h=200,w=300",
    "s:300": "w=300",
    "s::200": "h=200",
    "size:300:200:0": "h=200,w=300",
    "w:300/h:200": "h=200,w=300",
    "w:300/w:200": "w=200",
    "w:0/h:0": "full",
    "width:900": "w=900",
    "w:900/el:1": "fit=contain,w=900",
    "w:300/rt:force": "fit=fill,h=400,w=300",
    "w:300/dpr:1.5": "w=450",
    "rs:fill:200:200:1/dpr:2": "fit=cover,h=400,w=400",
    "rs:fill:200:200/dpr:2": "c=100:0:400:400,fit=fill,h=400,w=400",
    "rs:fill:300:300/dpr:2": "c=100:0:400:400,fit=fill,h=400,w=400",
    "rs:fill:150:150/dpr:2": "c=100:0:400:400,fit=fill,h=300,w=300",
    "z:0.5": "h=200,w=300",
    "z:0.5:0.25": "fit=fill,h=100,w=300",
    "w:100/z:2": "w=200",
    "z:2": "full",
    "z:2/el:1": "fit=fill,h=800,w=1200",
    "w:100/h:100/mw:300": "c=200:100:200:200,fit=fill,h=100,w=100",
    "w:100/mh:200": "c=200:0:200:400,fit=fill,h=200,w=100",
    "s:300:300:1:1": "fit=pad,h=300,w=300",
    "s:300:300:0:1": "h=300,p=50:0,w=300",
    "s:300:300/ex:1:so": "h=300,p=100:0:0:0,w=300",
    "s:300:300/ex:1:no:0:10": "h=300,p=10:0:90:0,w=300",
    "s:300:300/ex:0": "h=300,w=300",
    "s:700:500/ex:1": "h=500,p=50,w=700",
    "s:700:500/ex:1:fp:0:1": "h=500,p=100:100:0:0,w=700",
    "s:300:300/exar:1": "h=300,p=50:0,w=300",
    "s:600:600/extend_ar:1:nowe": "h=600,p=0:0:200:0,w=600",
    "rs:fill:200:200:1/g:no": "fit=cover,g=north,h=200,w=200",
    "rs:fill:200:200:1/g:sowe": "fit=cover,g=south-west,h=200,w=200",
    "rs:fill:200:200:1/g:sm": "fit=cover,g=auto,h=200,w=200",
    "rs:fill:200:200:1/g:fp:0.25:0.75": "fit=cover,g=0.25x0.75,h=200,w=200",
    "rs:fill:200:200:1/g:we:25": "c=50:0:400:400,fit=fill,h=200,w=200",
    "rs:fill:200:200:1/g:ea:0.1": "c=140:0:400:400,fit=fill,h=200,w=200",
    "c:200:100": "c=200:150:200:100",
    "c:200:100:nowe": "c=0:0:200:100",
    "c:200:100:nowe:10:20": "c=10:20:200:100",
    "c:0.5:0.5:soea": "c=300:200:300:200",
    "c:0:100/g:no": "c=0:0:600:100",
    "c:9999:9999": "full",
    "c:300:300:we/rs:fill:100:100:1/g:fp:0.5:0": "c=0:50:300:300,fit=cover,g=0.25x0.125,h=100,w=100",
    "t:10": "t=10",
    "trim:0.2": "t=1",
    "t:": "full",
    "pd:10": "p=10",
    "padding:1:2:3:4": "p=1:2:3:4",
    "pd:1:2": "p=1:2",
    "pd:10/pd::5": "p=10:5",
    "pd:10/bg:f00": "bg=ff0000,p=10",
    "pd:10/bg:1:2:3": "bg=010203,p=10",
    "pd:10/bg:f00/bg:": "p=10",
    "w:300/pd:10/dpr:2": "p=20,w=600",
    "ar:1": "full",
    "rot:90/w:100": "r=90,w=100",
    "rot:-90": "r=270",
    "rotate:720": "full",
    "fl:1": "fl=h",
    "fl:0:1": "fl=v",
    "flip:1:1": "r=180",
    "rot:90/rs:fill:100:100:1/g:no": "fit=cover,g=west,h=100,r=90,w=100",
    "rot:180/rs:fill:100:100:1/g:noea": "fit=cover,g=south-west,h=100,r=180,w=100",
    "rot:270/rs:fill:100:100:1/g:no": "fit=cover,g=east,h=100,r=270,w=100",
    "rot:270/fl:1/rs:fill:100:100:1/g:we": "fit=cover,fl=h,g=south,h=100,r=270,w=100",
    "fl:1/c:100:100:nowe": "c=500:0:100:100,fl=h",
    "rot:90/c:100:50:nowe": "c=0:300:50:100,r=90",
    "rot:90/rs:fill:100:100:1/g:fp:0:0": "fit=cover,g=0x1,h=100,r=90,w=100",
    "bl:2.5": "bl=2.5",
    "bl:0": "full",
    "sh:0.7": "ed=0.7",
    "pix:10": "px=10",
    "wm:0": "full",
    "wm:0.5/wm:0": "full",
    "w:300/wm:0.5": f"w=300,{MARK},wmp=center,wmo=40,wms=1x",
    "w:300/watermark:1:soea:10:20:0.2": f"w=300,{MARK},wmo=80,wmm=10:20,wms=20",
    "w:300/wm:1:no:0.1:0.1": f"w=300,{MARK},wmo=80,wmp=north,wmm=30:20,wms=1x",
    "w:300/wm:1:ce:-5:5:1": f"w=300,{MARK},wmo=80,wmp=center,wmm=-5:5,wms=100",
    "w:300/wm:1:re:10:20": f"w=300,{MARK},wmo=80,wmp=tile,wmm=10:20,wms=1x",
    "w:150/dpr:2/wm:1:noea:10:20": f"w=300,{MARK},wmo=80,wmp=north-east,wmm=20:40,wms=2x",
    "w:300/pd:10/wm:1:no:0:0.1:0.5": f"w=300,p=10,{MARK},wmo=80,wmp=north,wmm=0:22,wms=50,wml=canvas",
    "sm:1/kcr:0/scp:t/eth:false/raw:0/skp:": "full",
    "sm:0": "md=keep",
    "kcr:1": "md=copyright",
    "kcr:1/sm:0": "md=keep",
    "scp:0": "icc=keep",
    "mb:20000": "mb=20000",
    "mb:0": "full",
    "bg:f00": "bg=ff0000",
    "q:60/w:10": "w=10",
    "cb:anything/exp:4102444800/fn:cat/att:1": "full",
}


@pytest.mark.parametrize(("options", "native"), SAME.items())
def test_options_become_native_words(options, native):
    assert text(options) == parse_native(f"{native}.png").text.removesuffix(".png")


# The name that the refusal gives.
REFUSED = {
    "w:x": "w",
    "w:-1": "w",
    "w:99999999": "w",
    "w:9000": "width",
    "h:1:2": "h",
    "rs:fancy:1:1": "rs",
    "rt:": "rt",
    "dpr:0": "dpr",
    "z:-1": "z",
    "z:1e3": "z",
    "el:maybe": "el",
    "ex:1:sm": "ex",
    "ex:1:no:1:2:3": "ex",
    "s:5000:5000/ex:1": "extend",
    "g:xx": "g",
    "g:fp:2:0": "g",
    "g:fp:0.5": "g",
    "g:sm:1:1": "g",
    "g:no:1:1:1": "g",
    "c:-1:5": "c",
    "c:100:100:sm": "crop",
    "c:100:100/g:sm": "crop",
    "c:100:100/t:5": "crop",
    "t:5/rs:auto:100:100": "resizing_type",
    "t:5/mw:900/w:5": "trim",
    "t:5/ex:1/s:300:300": "trim",
    "t:5/rs:fill:9:9:1/g:fp:0:0": "gravity",
    "t:101": "t",
    "t:5:ff0000": "t",
    "t:5::1": "t",
    "pd:1:2:3:4:5": "pd",
    "pd:2000": "padding",
    "ar:0": "ar",
    "rot:45": "rot",
    "bg:12": "bg",
    "bg:1:2": "bg",
    "bg:256:0:0": "bg",
    "bl:0.1": "bl",
    "bl:nan": "bl",
    "bl:101": "bl",
    "sh:11": "sh",
    "pix:2000": "pixelate",
    "wm:1.5": "wm",
    "wm:-0.5": "wm",
    "wm:nan": "wm",
    "wm:0.5:fp:1:1": "wm",
    "wm:0.5:sm": "wm",
    "wm:0.5:ch": "wm",
    "wm:0.5:ce:2000": "watermark",
    "wm:0.5:ce:0:0:2": "wm",
    "wm:0.5:ce:0:0:0.001": "wm",
    "wm:0.5:ce:0:0:0.5:1": "wm",
    "t:5/wm:0.5:noea:0.1": "watermark",
    "eth:1": "eth",
    "q:101": "q",
    "fq:webp": "fq",
    "fq:bmp:5": "fq",
    "mb:499": "max_bytes",
    "f:tiff": "f",
    "f:best": "f",
    "skp:svg": "skp",
    "raw:1": "raw",
    "fn:a%2Fb": "fn",
    "fn:%FF": "fn",
    "fn:****:1": "fn",
    "exp:soon": "exp",
    "pr:nobody": "preset",
    "colour:red": "colour",
    "ra:lanczos3": "ra",
    "msr:5": "msr",
}


@pytest.mark.parametrize(("options", "named"), REFUSED.items())
def test_what_cannot_be_is_refused_by_name(options, named):
    with pytest.raises(BadOption) as caught:
        text(options)

    assert caught.value.extra["option"] == named


@pytest.mark.parametrize("name", sorted(PAID | SECURITY))
def test_paid_and_security_options_say_what_they_are(name):
    assert name not in OPTIONS
    with pytest.raises(BadOption, match="Pro|setting"):
        text(f"{name}:1")


@pytest.mark.parametrize("option", TABLE, ids=lambda option: option.names[0])
def test_every_name_of_an_option_means_the_same(option):
    if option.example:
        arguments = option.example.partition(":")[2]
        assert len({text(f"w:500/h:300/{name}:{arguments}", presets={}) for name in option.names}) == 1


@pytest.mark.parametrize(
    ("path", "option"),
    (
        ("", "source"),
        ("/", "source"),
        ("/w:1/plain/", "source"),
        ("/w:1/plain/%FF", "source"),
        (f"/w:1/plain/{ID}@png@webp", "extension"),
        (f"/w:1/plain/{ID}@exe", "extension"),
        ("/w:1/enc/abc", "enc"),
        ("/w:1/a*b", "source"),
        ("/w:1/a", "source"),
        ("/w:1/_w", "source"),
        ("/w:1/plain/safelight://", "source"),
        (f"/fill/300/200/sm/0/plain/{ID}", "source"),
        ("/" + "w:1/" * 65 + f"plain/{ID}", "options"),
        (f"/w:1/plain/{'a' * 5000}", "options"),
    ),
)
def test_a_path_that_means_nothing_is_refused(path, option):
    with pytest.raises(BadOption) as caught:
        order = parse(path)
        assert order.origin.name != ID

    assert caught.value.extra["option"] == option


@pytest.mark.parametrize(
    ("source", "scheme", "name"),
    (
        (ID, "safelight", ID),
        (f"safelight://{ID}", "safelight", ID),
        (f"SAFELIGHT://{ID}", "safelight", ID),
        ("https://example.com/a//b%3Fc=d", "https", "example.com/a//b?c=d"),
        ("https:/example.com/a", "https", "example.com/a"),
        ("s3://bucket/a%40b", "s3", "bucket/a@b"),
        ("local:///a", "safelight", "local:///a"),
        ("../../etc/passwd", "safelight", "../../etc/passwd"),
    ),
)
def test_a_source_is_read_as_it_is_meant(source, scheme, name):
    plain = parse(f"/w:1/plain/{source}@png").origin
    assert (plain.scheme, plain.name) == (scheme, name)

    decoded = source.replace("%3F", "?").replace("%40", "@")
    encoded = base64.urlsafe_b64encode(decoded.encode()).decode()
    assert parse(f"/w:1/{encoded}.png").origin == plain
    assert parse(f"/w:1/{encoded[:3]}/{encoded[3:]}").origin == plain


def test_quality_goes_by_the_format_that_is_delivered():
    order = parse(f"/fq:webp:50:avif:40/plain/{ID}")

    assert quality(order, "image/avif,image/webp") == 40
    assert quality(order, "image/webp") == 50
    assert quality(order, "*/*") == 0
    assert quality(parse(f"/q:70/fq:webp:50/plain/{ID}@webp")) == 70


def test_presets_are_overridden_by_what_follows_them():
    presets = read_presets("default=q:70/bg:f00, thumb=rs:fill:80:80:1/g:no , grey=pr:thumb/pix:4,")

    assert text("pr:grey/g:so", presets=presets) == "bg=ff0000,fit=cover,g=south,h=80,px=4,w=80"
    assert text("preset:thumb:grey/w:90", presets=presets) == "bg=ff0000,fit=cover,g=north,h=80,px=4,w=90"
    assert quality(parse(f"/plain/{ID}@webp", presets)) == 70


@pytest.mark.parametrize(
    "setting", ("thumb", "thumb=", "=w:1", "a=w:1,a=w:2", "a=nothing:1", "a=pr:a", "a=pr:b,b=pr:a", "a=pr:b", "a=w")
)
def test_presets_that_cannot_work_are_told_at_the_start(setting):
    with pytest.raises(ValueError, match=r"."):
        read_presets(setting)


words = st.sampled_from([name for option in TABLE for name in option.names])
numbers = st.one_of(
    st.integers(-2, 700).map(str),
    st.sampled_from(("", "0.25", "1.5", "1", "0", "f00", "sm", "fp", "no", "soea", "fill", "force", "auto", "webp")),
)
options = st.builds(lambda name, arguments: ":".join((name, *arguments)), words, st.lists(numbers, min_size=1, max_size=4))
sides = st.integers(1, 20_000)


@settings(max_examples=400, deadline=None)
@given(st.lists(options, max_size=6).map("/".join), sides, sides)
def test_whatever_is_asked_of_whatever_picture_is_a_spec_or_a_refusal(said, width, height):
    try:
        spec = parse(f"/{said}/plain/{ID}".replace("//", "/")).wish.spec(Size(width, height))
        plan(spec, Source.of(width, height))
    except (BadOption, TooManyPixels):
        pass


def test_an_installation_without_a_default_watermark_says_so():
    with pytest.raises(BadOption) as caught:
        parse(f"/wm:0.5/plain/{ID}@png")

    assert caught.value.extra["option"] == "watermark"
    assert parse(f"/wm:0/plain/{ID}@png").wish.spec(Size(600, 400)).watermark is None


def test_a_preset_may_carry_the_watermark_so_that_every_picture_does():
    presets = read_presets("default=wm:1:soea:10:10:0.2", NAMED)

    assert text("w:300", presets=presets) == parse_native(f"w=300,{MARK},wmo=80,wmm=10,wms=20.png").text.removesuffix(".png")
    with pytest.raises(ValueError, match="no watermark"):
        read_presets("default=wm:1:soea:10:10:0.2")
