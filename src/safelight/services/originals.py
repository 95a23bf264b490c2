"""Originals: one version's file as the sandbox takes it, and what the record knows of it. Called by delivery and pyramids."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator

from safelight.domain.images import Image, Version
from safelight.imaging import Format
from safelight.imaging.transform import Original
from safelight.ports.storage import Storage


def delivered_version(image: Image) -> Version:
    """The one whose renditions are delivered now."""
    return next(version for version in image.versions if version.number == image.developed_version)


def original_of(image: Image, version: Version) -> Original:
    """What the record knows of a version's file."""
    return Original(
        format=Format("svg" if version.media_type == Format.SVG.media_type else version.media_type.removeprefix("image/")),
        width=version.width,
        height=version.height,
        frames=version.frames,
        has_alpha=image.has_alpha,
        profile=str(image.metadata.get("public", {}).get("icc_profile", "")),
        focal_point=image.focal_point,
    )


@contextlib.asynccontextmanager
async def descriptor(storage: Storage, key: str) -> AsyncIterator[int]:
    """The object in memory, as a file that a child can map; gone with the block. Raises Missing."""
    opened = await storage.open(key)
    fd = os.memfd_create("original", os.MFD_CLOEXEC)
    try:
        async for chunk in opened.chunks:
            os.write(fd, chunk)
        yield fd
    finally:
        os.close(fd)
