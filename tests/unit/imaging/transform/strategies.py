"""Any valid transform, as the values that a Spec takes."""

from hypothesis import strategies as st

from safelight.imaging.transform import (
    Animation,
    Edge,
    Fit,
    Flip,
    Focal,
    Gravity,
    Layer,
    Margin,
    Metadata,
    Padding,
    Position,
    Profile,
    Region,
    Rgba,
    Scale,
    Spec,
    Watermark,
)
from safelight.imaging.transform.spec import AUTO_QUALITY, FORMATS, MAX_PAD, MAX_RADIUS, MAX_SIDE

levels = st.integers(0, 255)
colours = st.builds(Rgba, levels, levels, levels, st.sampled_from((0, 1, 128, 254, 255)))
focals = st.builds(Focal, st.floats(0, 1), st.floats(0, 1))


def hundredths(least, most):
    return st.integers(round(least * 100), round(most * 100)).map(lambda value: value / 100)


def regions(most):
    pixels = st.builds(Region, st.integers(0, most), st.integers(0, most), st.integers(1, most), st.integers(1, most))
    per_cent = st.builds(
        lambda *thousandths: Region(*(value / 1000 for value in thousandths), is_percent=True),
        st.integers(0, 99_999),
        st.integers(0, 99_999),
        st.integers(1, 100_000),
        st.integers(1, 100_000),
    )
    return pixels | per_cent


pixels = st.integers(-1024, 1024)
margins = st.builds(Margin, pixels, pixels) | st.builds(Margin, hundredths(-50, 50), hundredths(-50, 50), st.just(True))
shares = st.builds(Scale, hundredths(1, 100), hundredths(1, 100))
words = st.text(st.characters(categories=("L", "N", "P", "S")) | st.sampled_from("%,/= .\n"), min_size=1, max_size=20).map(
    lambda text: f"x{text}"
)


def watermarks():
    """Any, of words or of a picture."""
    alike = {
        "position": st.sampled_from(Position),
        "margin": st.none() | margins,
        "opacity": hundredths(0, 100),
        "rotate": st.integers(-360, 360),
        "edge": st.none() | st.sampled_from(Edge),
        "layer": st.sampled_from(Layer),
    }
    lettered = st.builds(Watermark, text=words.filter(lambda text: text.count("\n") < 4), colour=colours, scale=shares, **alike)
    own = hundredths(0.01, 40).map(lambda times: Scale(times, times, is_own=True))
    drawn = st.builds(Watermark, image=st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True), scale=shares | own, **alike)
    return lettered | drawn


def specs(*, side=MAX_SIDE, pad=MAX_PAD, source=20_000, formats=(*FORMATS, None), trim=True, searched=True, marked=False):
    """Mostly nothing is said of most options, as in life; `side`, `pad` and `source` bound the work, and so does `searched`."""

    def maybe(strategy, usual):
        return st.just(usual) | strategy

    return st.builds(
        Spec,
        format=st.sampled_from(formats),
        width=maybe(st.integers(1, side), 0),
        height=maybe(st.integers(1, side), 0),
        fit=st.sampled_from(Fit),
        gravity=st.sampled_from(Gravity) | focals,
        crop=maybe(regions(source), None),
        trim=maybe(st.integers(0, 100), 0) if trim else st.just(0),
        rotate=st.sampled_from((0, 90, 180, 270)),
        flip=st.sampled_from(Flip),
        background=maybe(colours, None),
        pad=maybe(st.builds(Padding, *[st.integers(0, pad)] * 4), Padding()),
        blur=maybe(hundredths(0.3, 100), 0),
        sharpen=maybe(hundredths(0, 10), 0),
        edges=maybe(hundredths(0.1, 10), 0),
        pixelate=maybe(st.integers(0, 1024), 0),
        lift=maybe(hundredths(-100, 100), 0),
        brightness=maybe(hundredths(0, 4), 1),
        contrast=maybe(hundredths(0, 4), 1),
        saturation=maybe(hundredths(0, 4), 1),
        gamma=maybe(hundredths(0.1, 5), 1),
        grayscale=st.booleans(),
        duotone=maybe(st.tuples(colours, colours), None),
        threshold=maybe(st.integers(0, 255), 0),
        radius=maybe(st.integers(0, MAX_RADIUS), 0),
        quality=maybe(st.integers(1, 100) | st.just(AUTO_QUALITY) if searched else st.integers(1, 100), 0),
        progressive=st.booleans(),
        max_bytes=maybe(st.integers(500, 9_999_999), 0) if searched else st.just(0),
        animation=st.sampled_from(Animation),
        page=maybe(st.integers(1, 1000), 1) if searched else st.just(1),
        metadata=st.sampled_from(Metadata),
        icc=st.sampled_from(Profile),
        watermark=maybe(watermarks(), None) if marked else st.none(),
    )
