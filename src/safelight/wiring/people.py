"""People: who signs in, by what, and what is believed of it for how long."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from safelight.concurrency import Believed
from safelight.domain.accounts import Actor, ApiKey
from safelight.domain.people import Patience
from safelight.passkeys import RelyingParty
from safelight.ports.outbound import Outbound
from safelight.services.accounts import Accounts
from safelight.services.api_keys import ApiKeys
from safelight.services.factors import Factors
from safelight.services.issuers import TrustedIssuers
from safelight.services.key_sets import KeySets
from safelight.services.links import Links
from safelight.services.lockout import Lockout
from safelight.services.outside import Outside
from safelight.services.passkeys import Passkeys
from safelight.services.post import Codes
from safelight.services.relay import Relay
from safelight.services.secondleg import SecondLeg
from safelight.services.signin import SignIn
from safelight.services.signup import SignUp
from safelight.services.standing import Standing
from safelight.services.stepup import StepUp
from safelight.services.tickets import Challenges, Tickets
from safelight.services.tokens import BELIEVED_S, Bearers, Tokens
from safelight.settings import Settings
from safelight.wiring.keeping import Keeping
from safelight.wiring.keys import PEPPER, RECOVERY, catalog_keys, derived
from safelight.wiring.parts import Clock
from safelight.wiring.rules import (
    key_set_rules,
    make_passwords,
    settled_terms,
)


@dataclass(frozen=True)
class People:
    """The services of users, tokens, keys and issuers."""

    accounts: Accounts
    api_keys: ApiKeys
    issuers: TrustedIssuers
    signup: SignUp
    signin: SignIn
    tokens: Tokens
    step_up: StepUp
    second_leg: SecondLeg
    factors: Factors
    passkeys: Passkeys
    links: Links
    forget: Callable[[], None]
    """Believe no token and no key that was seen before."""


def make_people(
    settings: Settings, keeping: Keeping, clock: Clock, relay: Relay, standing: Standing, codes: Codes, outbound: Outbound
) -> People:
    """By the settings of signing in. Raises BadField for an issuer of the settings that cannot be trusted."""
    catalog, secrets_of = keeping.catalog, partial(derived, catalog_keys(settings))
    believed: Believed[bytes, tuple[Actor, float]] = Believed(ttl_s=BELIEVED_S, size=10_000, now=time.monotonic)
    keys_believed: Believed[str, tuple[Actor, ApiKey]] = Believed(ttl_s=BELIEVED_S, size=10_000, now=time.monotonic)
    tokens = Tokens(
        catalog,
        clock,
        settings.issuer,
        settings.auth.audience,
        settings.auth.algorithm,
        timedelta(seconds=settings.auth.access_s),
        rings=Believed(ttl_s=BELIEVED_S, size=1, now=time.monotonic),
        forget=believed.clear,
    )
    settled = settled_terms(settings)
    key_sets = KeySets(outbound, key_set_rules(settings), now=time.monotonic)
    outside = Outside(
        catalog,
        key_sets,
        clock,
        settled={one.issuer: tuple(each for each in settled if each.issuer == one.issuer) for one in settled},
        known=Believed(ttl_s=BELIEVED_S, size=1_000, now=time.monotonic),
        tenants=Believed(ttl_s=BELIEVED_S, size=1_000, now=time.monotonic),
    )

    def forget_issuers() -> None:
        outside.forget()
        believed.clear()

    def forget() -> None:
        believed.clear()
        keys_believed.clear()

    passwords = make_passwords(settings, keeping.rings[PEPPER])
    patience = timedelta(seconds=settings.auth.longest_wait_s)
    lockout = Lockout(
        catalog,
        clock,
        secrets_of("names of failures")[0],
        account=Patience(free=settings.auth.account_failures, longest=patience),
        address=Patience(free=settings.auth.address_failures, longest=patience),
    )
    recovery_keys = keeping.rings[RECOVERY]
    step_up = StepUp(catalog, clock, relay, passwords, lockout, tokens, timedelta(seconds=settings.auth.step_up_s), recovery_keys)
    tickets = Tickets(secrets_of("sign-in tickets"))
    refresh_life = timedelta(seconds=settings.auth.refresh_s)
    signin = SignIn(catalog, clock, relay, passwords, lockout, tokens, refresh_life, step_up, tickets)
    bearers = Bearers({tokens.name: tokens}, clock, believed, outside.issuer)
    party = RelyingParty(settings.passkey_domain, settings.mail.product, settings.passkey_origins)
    open_tenants = frozenset(settings.auth.signup_tenants.split())
    return People(
        accounts=Accounts(catalog, clock, keys_believed, bearers, standing, settings.trash.days),
        api_keys=ApiKeys(catalog, clock, keys_believed.clear, step_up),
        issuers=TrustedIssuers(
            catalog, key_sets, step_up, clock, tokens.name, settled, settings.issuers.is_http_allowed, forget_issuers
        ),
        signup=SignUp(catalog, clock, relay, passwords, lockout, codes, open_tenants, believed.clear),
        signin=signin,
        tokens=tokens,
        step_up=step_up,
        second_leg=SecondLeg(catalog, clock, relay, passwords, lockout, signin, tickets, recovery_keys),
        factors=Factors(catalog, clock, relay, step_up, recovery_keys, settings.mail.product, believed.clear),
        passkeys=Passkeys(catalog, clock, relay, party, Challenges(secrets_of("passkey challenges")), signin, step_up),
        links=Links(catalog, clock, passwords, lockout, standing, secrets_of("passes of links")),
        forget=forget,
    )
