"""Spec: equal requests are equal values, whatever they were said in."""

from dataclasses import replace
from math import inf, nan

import pytest
from hypothesis import given, settings
from tests.unit.imaging.transform.strategies import specs

from safelight.errors import BadOption
from safelight.imaging import Format
from safelight.imaging.transform import Fit, Flip, Focal, Rgba, Spec, Watermark, parse
from safelight.imaging.transform.options import OPTIONS
from safelight.imaging.transform.spec import FORMATS

EQUAL = (
    ("wmt=a,wmo=0.webp", "full.webp"),
    ("wmt=a,wmr=-30.webp", "wmt=a,wmr=330.webp"),
    ("wmt=a,wmr=360,wms=25:25.webp", "wmt=a.webp"),
    ("wmt= a .webp", "wmt=a.webp"),
    ("wmt=e\u0301.webp", "wmt=\u00e9.webp"),
    ("wmt=a,wmp=bottom.webp", "watermark_text=a,watermark_position=south.webp"),
    ("wmt=a,wmm=2p,wme=outline,wmc=ffff.webp", "wmt=a.webp"),
    ("wmt=a,wmp=tile,wmm=5p.webp", "wmt=a,wmp=tile.webp"),
    ("wm=a,wme=none,wml=canvas.webp", "wm=a.webp"),
    ("wmt=a,wmm=-10:20,dpr=2.webp", "wmt=a,wmm=-20:40.webp"),
    ("wm=a,wms=1x,dpr=1.5.webp", "wm=a,wms=1.5x.webp"),
    ("wmt=a,wms=20,wmm=1p,dpr=3.webp", "wmt=a,wms=20,wmm=1p.webp"),
    ("w=300,h=200.webp", "height=200,width=300.webp"),
    ("w=300,dpr=2.webp", "w=600.webp"),
    ("w=300,fit=cover.webp", "w=300,fit=contain.webp"),
    ("w=300,fit=cover,g=auto.webp", "w=300,fit=fill.webp"),
    ("w=300,fit=crop,g=north.webp", "w=300.webp"),
    ("fit=cover.webp", "full.webp"),
    ("w=300,h=200,g=auto.webp", "w=300,h=200.webp"),
    ("fl=hv.webp", "r=180.webp"),
    ("r=180,fl=hv.webp", "full.webp"),
    ("r=180,fl=h.webp", "fl=v.webp"),
    ("r=90,fl=v.webp", "r=270,fl=h.webp"),
    ("gr=true.webp", "sa=0.webp"),
    ("gr=true,sa=3.webp", "gr=true.webp"),
    ("du=000:fff,gr=true,sa=2.webp", "du=000:fff.webp"),
    ("bg=fff.jpg", "full.jpg"),
    ("an=first.jpg", "full.jpg"),
    ("an=first,pg=2.webp", "pg=2.webp"),
    ("md=keep,icc=keep.gif", "full.gif"),
    ("q=auto.png", "full.png"),
    ("bg=f000,p=1.webp", "p=1.webp"),
    ("bg=FF0000,p=1.webp", "bg=f00,p=1.webp"),
    ("bg=fff,p=1.jpg", "p=1.jpg"),
    ("bg=ff000080,p=1.jpg", "bg=ff7f7f,p=1.jpg"),
    ("c=0p:0p:100p:100p.webp", "full.webp"),
    ("q=80.webp", "full.webp"),
    ("q=60.avif", "full.avif"),
    ("q=3.png", "full.png"),
    ("pr=false.webp", "full.webp"),
    ("ra=4096.webp", "ra=max.webp"),
)


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_two_ways_to_say_the_same_are_one_value(one, other):
    assert parse(one) == parse(other)
    assert parse(one).text == parse(other).text
    assert hash(parse(one)) == hash(parse(other))


DIFFERENT = (
    ("wmt=a.webp", "full.webp"),
    ("wmt=a.webp", "wm=a.webp"),
    ("wmt=a.webp", "wmt=A.webp"),
    ("wmt=a%0Ab.webp", "wmt=a b.webp"),
    ("p=9,wmt=a,wml=canvas.webp", "p=9,wmt=a.webp"),
    ("ra=9,wmt=a,wml=canvas.webp", "ra=9,wmt=a.webp"),
    ("full.webp", "full.jpg"),
    ("full.auto", "full.webp"),
    ("bg=fff,p=1.webp", "p=1.webp"),
    ("bg=fff,p=1.auto", "p=1.auto"),
    ("q=60.webp", "full.webp"),
    ("q=80.auto", "full.auto"),
    ("pr=false.jpg", "full.jpg"),
    ("bg=f00.webp", "full.webp"),
    ("an=first.webp", "full.webp"),
    ("an=first.auto", "full.auto"),
    ("q=auto.jpg", "full.jpg"),
    ("q=auto.auto", "full.auto"),
    ("mb=1000.png", "full.png"),
    ("r=90,fl=h.webp", "r=270,fl=h.webp"),
    ("fit=cover,g=0.5x0.5,h=2,w=2.webp", "fit=cover,h=2,w=2.webp"),
)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_may_differ_in_pixels_differs(one, other):
    assert parse(one) != parse(other)
    assert parse(one).text != parse(other).text


@settings(max_examples=200, deadline=None)
@given(specs(marked=True))
def test_the_normal_form_is_its_own_normal_form(spec):
    assert replace(spec) == spec


@settings(max_examples=200, deadline=None)
@given(specs(formats=(None,), marked=True))
def test_deciding_the_format_later_gives_what_the_extension_would_have_given(spec):
    options = spec.text.rpartition(".")[0]

    for format in FORMATS:
        assert spec.resolved(format) == parse(f"{options}.{format.extension}")
        assert spec.resolved(format).resolved(Format.PNG) == spec.resolved(format)


@pytest.mark.parametrize("format", (Format.TIFF, Format.HEIC, Format.SVG))
def test_formats_that_only_come_in_do_not_go_out(format):
    with pytest.raises(BadOption):
        Spec(format=format)


@pytest.mark.parametrize("value", (nan, inf, -inf, -1, 1e300, True))
@pytest.mark.parametrize(
    "name", ("width", "height", "trim", "radius", "quality", "blur", "sharpen", "brightness", "gamma", "max_bytes", "page")
)
def test_other_grammars_get_no_nonsense_in_either(name, value):
    with pytest.raises(BadOption) as caught:
        Spec(format=Format.WEBP, **{name: value})

    assert caught.value.extra["option"] == name


def test_fractions_of_a_pixel_are_refused():
    with pytest.raises(BadOption):
        Spec(format=Format.WEBP, width=1.5)


def test_focal_points_lie_in_the_picture():
    for x, y in ((-0.1, 0), (0, 1.1), (nan, 0)):
        with pytest.raises(BadOption):
            Focal(x, y)


def test_paper_is_clear_where_the_format_can_be_and_white_where_not():
    assert parse("p=1.webp").paper.alpha == 0
    assert parse("p=1.jpg").paper == Rgba(255, 255, 255)
    assert parse("p=1,bg=00000080.jpg").paper == Rgba(127, 127, 127)


def test_the_canonical_text_is_sorted_and_short():
    assert parse("width=300,height=200,fit=cover,gravity=auto,quality=70.auto").text == "fit=cover,g=auto,h=200,q=70,w=300.auto"


def test_every_field_is_an_option_and_every_option_a_field_but_those_resolved_before():
    fields = set(Spec.__dataclass_fields__)

    marks = {option.name for option in OPTIONS if option.name.startswith("watermark")}
    assert {option.name for option in OPTIONS} - fields - marks == {"dpr", "download"}
    assert {f"watermark_{name}" for name in Watermark.__dataclass_fields__} - {"watermark_image"} == marks - {"watermark"}
    assert fields <= {option.name for option in OPTIONS}


def test_the_values_are_what_they_say():
    assert Fit.COVER.cuts
    assert Fit.CROP.cuts
    assert not Fit.CROP.enlarges
    assert not Fit.SCALE_DOWN.enlarges
    assert parse("fl=v.webp").flip is Flip.V
