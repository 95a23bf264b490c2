"""Which adapter keeps which promise: the only room that knows. `build(settings)` makes the services, `open` connects them."""

from safelight.adapters.storage._keyring import keep_secret
from safelight.wiring.backends import s3_options, source_at, vault_at, wishes
from safelight.wiring.build import build
from safelight.wiring.elsewhere import Backend, Look, backends
from safelight.wiring.keys import hex_keys, secret_keys
from safelight.wiring.overrides import Overrides
from safelight.wiring.parts import Clock, Opening, Part, Safelight, utc_now
from safelight.wiring.places import Place, claimed, rehearse

__all__ = [
    "Backend",
    "Clock",
    "Look",
    "Opening",
    "Overrides",
    "Part",
    "Place",
    "Safelight",
    "backends",
    "build",
    "claimed",
    "hex_keys",
    "keep_secret",
    "rehearse",
    "s3_options",
    "secret_keys",
    "source_at",
    "utc_now",
    "vault_at",
    "wishes",
]
