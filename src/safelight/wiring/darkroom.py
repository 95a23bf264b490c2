"""Darkroom: where pixels are made, and what keeps that within its bounds."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from safelight.concurrency import AtHand, Believed, Bell, ByteLru, Gate
from safelight.domain.ids import ImageId, TenantId
from safelight.imaging import Sandbox
from safelight.imaging.transform import Watermark
from safelight.observability import Instruments
from safelight.services.delivered import Known
from safelight.services.development import Development
from safelight.services.pyramids import Pyramids
from safelight.services.turns import Turns
from safelight.settings import Settings
from safelight.wiring.keeping import Keeping
from safelight.wiring.parts import Clock, Part
from safelight.wiring.rules import decode_limits, recipe

Ink = Callable[[TenantId, Watermark], Awaitable[bytes]]
"""Makes the PNG of a watermark."""


@dataclass(frozen=True)
class Darkroom:
    """The sandbox and all who share it."""

    sandbox: Sandbox
    gate: Gate
    """Renders of one process, by the bytes that they decode to."""
    turns: Turns
    pyramids: Pyramids
    development: Development
    at_hand: AtHand[str]
    known: Believed[ImageId, Known]
    """What delivery knows of an image for a moment."""
    bell: Bell[ImageId]
    """Rung when an image has changed."""
    part: Part


def make_darkroom(settings: Settings, keeping: Keeping, clock: Clock, instruments: Instruments, ink: Ink) -> Darkroom:
    """By the settings of developing and delivering; the sandbox forks when it is opened."""
    sandbox = Sandbox(slots=settings.develop.slots, limits=decode_limits(settings))
    known: Believed[ImageId, Known] = Believed(ttl_s=2.0, size=10_000, now=time.monotonic)
    bell: Bell[ImageId] = Bell(also=known.drop)
    at_hand: AtHand[str] = AtHand()
    gate = Gate(
        capacity=settings.delivery.render_memory_bytes,
        most=settings.delivery.max_renders,
        queue=settings.delivery.max_waiting,
    )
    turns = Turns(keeping.shared)
    buckets = keeping.buckets
    headers: ByteLru[str] = ByteLru(1024**2, largest_bytes=64 * 1024)
    pyramids = Pyramids(buckets.originals, buckets.renditions, sandbox, gate, turns, instruments, headers)
    development = Development(
        keeping.catalog,
        buckets,
        keeping.search,
        sandbox,
        recipe(settings),
        ink,
        clock,
        bell,
        instruments,
        # One more than is decoded at a time: its bytes are fetched while the others are busy, and nobody else's wait in memory.
        Gate(capacity=settings.develop.slots + 1, queue=2 * settings.develop.waiting),
        at_hand,
        pyramids,
        settings.develop.tiled_pixels,
    )
    part = Part("sandbox", sandbox.open, sandbox.close, sandbox.ping)
    return Darkroom(sandbox, gate, turns, pyramids, development, at_hand, known, bell, part)
