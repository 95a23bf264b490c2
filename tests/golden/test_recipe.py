"""Recipes pixel by pixel: the mark is in every rendition and in nothing else, and what a recipe leaves out is not made."""

import io
import os
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageSequence
from tests.golden.samples import decoded, encoded

from safelight.domain.recipes import checked
from safelight.imaging import PRESETS, Format, Preset, Recipe, Sandbox
from safelight.imaging.pipeline import develop, render
from safelight.imaging.transform import Original, parse_request, settle
from safelight.imaging.transform.apply import lesser_side, transform

GREEN, RED = (20, 160, 60), (220, 20, 30)
TWO = (Preset("thumb_150", 150), Preset("thumb_300", 300))


def ground(size=(900, 600)):
    return encoded(Image.new("RGB", size, GREEN), "PNG")


def logo():
    return encoded(Image.new("RGBA", (100, 60), (*RED, 255)), "PNG")


def recipe(**said):
    said = {"watermark": "wm=01jabcdefghjkmnpqrstvwxyz0,wmo=100,wmm=0,wms=50,wmp=south-east"} | said
    return checked("shop", said).over(Recipe(presets=TWO, master_side=900))


def reds(data):
    """How much of the picture is the mark's."""
    pixels = np.asarray(decoded(data).convert("RGB"), int)
    return float((np.abs(pixels - RED).max(axis=2) < 40).mean())


def test_the_mark_is_in_every_rendition_and_not_in_the_master_the_placeholder_or_the_hash():
    plain, made = (
        develop(ground(), Recipe(presets=TWO, master_side=900)),
        develop(ground(), recipe(formats=["webp", "jpeg", "avif"]), mark=logo()),
    )

    assert {(file.preset, file.format) for file in made.files} == {
        *((preset.name, format) for preset in TWO for format in (Format.WEBP, Format.JPEG, Format.AVIF)),
        ("master", Format.JPEG),
        ("master_600", Format.JPEG),
    }
    for file in made.files:
        if file.preset.startswith("master"):
            assert reds(file.data) == 0
            assert file.data == plain.file(file.preset, Format.JPEG).data
        else:
            assert 0.15 < reds(file.data) < 0.26, (file.preset, file.format)  # half of either side, the logo's shape kept
            assert decoded(file.data).convert("RGB").getpixel((file.width - 5, file.height - 5))[0] > 180
            assert decoded(file.data).convert("RGB").getpixel((5, 5))[1] > 140
    assert (made.thumbhash, made.dominant_color, made.phash) == (plain.thumbhash, plain.dominant_color, plain.phash)


def test_every_frame_of_an_animation_carries_it():
    frames = [Image.new("RGB", (300, 200), (20, 160, 60 + 20 * number)) for number in range(4)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=[50, 60, 70, 80])

    made = develop(file.getvalue(), recipe(), mark=logo()).file("thumb_300", Format.WEBP)

    played = [np.asarray(frame.convert("RGB"), int) for frame in ImageSequence.Iterator(decoded(made.data))]
    assert len(played) == 4
    for frame in played:
        assert (np.abs(frame[-5, -5] - RED) < 40).all()
        assert frame[5, 5][1] > 140


@pytest.mark.parametrize(
    "ground_of", [Image.new("L", (400, 300), 120), Image.new("RGBA", (400, 300), (20, 160, 60, 0))], ids=["grey", "clear"]
)
def test_grey_and_clear_pictures_carry_it_in_its_colours(ground_of):
    made = develop(encoded(ground_of, "PNG"), recipe(), mark=logo()).file("thumb_300", Format.WEBP)

    assert decoded(made.data).convert("RGBA").getpixel((295, 220))[0] > 180
    assert decoded(made.data).convert("RGBA").getpixel((295, 220))[3] == 255


def test_what_is_made_on_request_carries_it_in_the_same_place():
    one = recipe()
    made = develop(ground(), one, mark=logo())
    watermark = checked("shop", {"watermark": one.watermark}).mark

    asked = render(made.file("master", Format.JPEG).data, side=300, format=Format.WEBP, watermark=watermark, mark=logo())

    ahead = np.asarray(decoded(made.file("thumb_300", Format.WEBP).data).convert("RGB"), int)
    later = np.asarray(decoded(asked.data).convert("RGB"), int)
    assert np.abs(ahead - later).mean() < 2


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
@pytest.mark.parametrize("size", [(800, 500), (90, 60), (6000, 300)], ids=["usual", "small", "panorama"])
def test_a_size_of_its_own_is_what_delivery_would_make(size, format):
    data = encoded(Image.effect_noise(size, 60).convert("RGB"), format)
    sizes = {"card": {"width": 200, "height": 150, "fit": "cover"}, "wide": {"width": 300}}
    made = develop(data, checked("shop", {"sizes": sizes, "formats": ["webp"], "renditions": ["thumb_150"]}).over(Recipe()))

    card, wide = made.file("card", Format.WEBP), made.file("wide", Format.WEBP)
    assert (card.width, card.height) == (200, 150)
    assert wide.width == min(300, size[0])
    request = parse_request("w=300,fit=scale-down,q=80.webp")
    settled = settle(request, Original(format=Format[format], width=size[0], height=size[1]), "", max_animation_pixels=10**8)
    assert settled.needs_original is False
    side = lesser_side(settled.spec, *size)
    master = made.file(f"master_{side}" if side else "master", Format.JPEG)
    asked = transform(master.data, settled.spec, source_width=size[0], source_height=size[1], is_lesser=side > 0)
    assert wide.data == asked.data


def test_sizes_of_its_own_play_where_presets_do():
    frames = [Image.new("RGB", (300, 200), (20, 160, 60 + 20 * number)) for number in range(4)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=[50, 60, 70, 80])
    made = develop(
        file.getvalue(), checked("shop", {"sizes": {"card": {"width": 100, "height": 100, "fit": "cover"}}}).over(Recipe())
    )

    assert decoded(made.file("card", Format.WEBP).data).n_frames == 4
    assert getattr(decoded(made.file("card", Format.JPEG).data), "n_frames", 1) == 1


def test_a_recipe_makes_no_more_than_it_says():
    made = develop(ground(), recipe(renditions=["thumb_150"], formats=["avif"], analysis=["colours"], watermark=""))

    assert [(file.preset, file.format) for file in made.files] == [
        ("master", Format.JPEG),
        ("master_600", Format.JPEG),
        ("thumb_150", Format.AVIF),
    ]
    assert (made.thumbhash, made.phash) == (b"", "")
    assert made.dominant_color


def test_a_better_quality_is_a_larger_file():
    noise = Image.effect_noise((600, 400), 60).convert("RGB")
    low, high = (
        develop(
            encoded(noise, "PNG"),
            recipe(watermark="", quality={"webp": q, "jpeg": q, "avif": q}, formats=["webp", "jpeg", "avif"]),
        )
        for q in (20, 90)
    )

    for format in (Format.WEBP, Format.JPEG, Format.AVIF):
        assert len(low.file("thumb_300", format).data) < 0.7 * len(high.file("thumb_300", format).data)


async def test_the_sandbox_makes_the_same():
    one = replace(recipe(formats=["jpeg"], sizes={"card": {"width": 80, "height": 80, "fit": "cover"}}), presets=PRESETS[:2])
    fd = os.memfd_create("original")
    os.write(fd, ground())
    async with Sandbox(slots=1) as sandbox:
        made = await sandbox.develop(fd, one, mark=logo())
        bare = await sandbox.develop(fd, replace(one, watermark="", analysis=()))
    os.close(fd)

    for file in develop(ground(), one, mark=logo()).files:
        assert made.file(file.preset, file.format).data == file.data
    assert (bare.thumbhash, bare.dominant_color, bare.phash) == (b"", "", "")
    assert reds(bare.file("thumb_150", Format.JPEG).data) == 0
