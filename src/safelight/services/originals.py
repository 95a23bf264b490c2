"""Originals: one version's file as the sandbox takes it, and what the record knows of it. Called by delivery and pyramids."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import AsyncIterator

import structlog

from safelight.domain.images import Image, Version
from safelight.errors import DamagedObject
from safelight.imaging import Format
from safelight.imaging.transform import Original
from safelight.ports.storage import Storage

log = structlog.get_logger()


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
async def descriptor(storage: Storage, image: Image, version: Version) -> AsyncIterator[int]:
    """The version's file in memory, as a child can map it; gone with the block. Raises Missing, DamagedObject."""
    fd = await fetched(storage, image, version)
    try:
        yield fd
    finally:
        os.close(fd)


async def fetched(storage: Storage, image: Image, version: Version) -> int:
    """The same, to be closed by the caller. Nothing is ever made of bytes that are not those that came in."""
    opened = await storage.open(image.key_of_version(version.number))
    fd = os.memfd_create("original", os.MFD_CLOEXEC)
    digest = hashlib.sha256()
    try:
        async for chunk in opened.chunks:
            digest.update(chunk)
            os.write(fd, chunk)
        if digest.hexdigest() != version.sha256:
            log.error("image.original_damaged", image_id=image.id, version=version.number)
            raise DamagedObject
    except BaseException:
        os.close(fd)
        raise
    return fd
