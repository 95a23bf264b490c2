"""The chain of the audit trail as values: it holds for what was sealed, and for nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.domain.audit import (
    ERASED,
    PRUNED,
    Broken,
    Checkpoint,
    Entry,
    Head,
    Origin,
    Verifier,
    anchor_from,
    genesis,
    is_action,
    pseudonym,
    seal,
    sealed_document,
    sealed_from,
)
from safelight.domain.ids import TenantId, UserId
from safelight.errors import BadField

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def entry(n: int = 0, **fields: object) -> Entry:
    told = {
        "chain": "t",
        "id": f"{n:026}",
        "at": NOON,
        "action": "image.edited",
        "actor": "a" * 32,
        "origin": Origin(address="192.0.2.1"),
    }
    return Entry(**{**told, **fields}).committed()


def verify(sealed, *, start=None, anchors=None, head=None) -> None:
    start = start or genesis("t")
    verifier = Verifier("t", start, anchors or {})
    for one in sealed:
        verifier.take(one)
    last = Checkpoint(sealed[-1].number, sealed[-1].hash)
    verifier.end(head or Head(last, start))


def test_the_hash_of_an_entry_is_what_the_page_about_it_says():
    """By hand, so that others can verify without us."""
    import hashlib

    (one,) = seal([entry(origin=None, actor="system", action="audit.ü")], genesis("t"))
    text = (
        '{"action":"audit.ü","actor":"system","at":"2026-01-01T12:00:00.000000Z","chain":"t","commitment":"","count":1,'
        f'"id":"{0:026}","number":1,"object":"","result":"done"}}'
    )
    first = hashlib.sha256(b"safelight audit t").hexdigest()

    assert one.hash == hashlib.sha256(f"{first}\n{text}".encode()).hexdigest()


@given(st.lists(st.text(max_size=20), min_size=1, max_size=8), st.data())
def test_a_chain_holds_until_any_entry_is_altered(actions, data):
    sealed = seal([entry(n, action=action) for n, action in enumerate(actions)], genesis("t"))
    verify(sealed)
    at = data.draw(st.integers(0, len(sealed) - 1))
    altered = replace(sealed[at], entry=replace(sealed[at].entry, action=sealed[at].entry.action + "x"))

    with pytest.raises(Broken) as found:
        verify([*sealed[:at], altered, *sealed[at + 1 :]])
    assert found.value.number == at + 1


@given(st.text(max_size=20), st.text(max_size=20), st.integers(1, 10**9))
def test_an_export_comes_back_as_it_was(action, agent, count):
    (one,) = seal([entry(action=action, count=count, origin=Origin(agent=agent))], genesis("t"))

    assert sealed_from(sealed_document(one)) == one


@pytest.mark.parametrize(
    "line",
    [
        {},
        {"number": 1},
        {**sealed_document(seal([entry()], genesis("t"))[0]), "origin": 7},
        {**sealed_document(seal([entry()], genesis("t"))[0]), "at": "x"},
    ],
)
def test_what_is_no_entry_is_refused(line):
    with pytest.raises(BadField):
        sealed_from(line)


def test_an_entry_sealed_in_one_chain_does_not_hold_in_another():
    sealed = seal([entry(chain="other")], genesis("other"))

    with pytest.raises(Broken, match="another chain"):
        verify(sealed)


def test_a_chain_rewritten_from_some_entry_on_holds_only_until_a_noted_head_is_asked():
    sealed = seal([entry(n) for n in range(5)], genesis("t"))
    forged = sealed[:2] + seal([entry(n, action="nothing") for n in range(2, 5)], Checkpoint(2, sealed[1].hash))
    verify(forged)

    with pytest.raises(Broken, match="noted elsewhere"):
        verify(forged, anchors={4: sealed[3].hash})


def test_a_missing_origin_is_fine_when_the_erasure_is_told_and_not_before():
    gone = replace(entry(), origin=None)
    told = entry(1, action=ERASED, actor="b" * 32, object="user/" + "a" * 32)
    verify(seal([gone, told], genesis("t")))

    with pytest.raises(Broken, match="no erasure is told"):
        verify(seal([told, gone], genesis("t")))


def test_a_beginning_may_be_gone_when_the_pruning_is_told():
    sealed = seal([entry(n) for n in range(3)], genesis("t"))
    start = Checkpoint(2, sealed[1].hash)
    told = entry(3, action=PRUNED, actor="system", object=f"checkpoint/{start}")
    verify(sealed[2:] + seal([told], Checkpoint(3, sealed[2].hash)), start=start)

    with pytest.raises(Broken, match="no pruning is told"):
        verify(sealed[2:], start=start)


@pytest.mark.parametrize(
    "text", ["", "1", "1:", "x:" + "0" * 64, "1:" + "0" * 63, "1:" + "Z" * 64, "-1:" + "0" * 64, "9" * 30 + ":" + "0" * 64]
)
def test_what_is_no_anchor_is_refused(text):
    with pytest.raises(BadField):
        anchor_from(text)


def test_a_pattern_means_the_actions_under_a_name():
    assert is_action("image.*", "image.trashed")
    assert not is_action("image.*", "images.trashed")
    assert not is_action("image.*", "image")
    assert is_action("image.trashed", "image.trashed")


def test_a_pseudonym_says_nothing_without_its_key_and_differs_between_tenants():
    names = {pseudonym(key, TenantId(tenant), UserId("u")) for key in (b"k", b"l") for tenant in "st"}

    assert len(names) == 4
    assert all(len(name) == 32 for name in names)


def test_an_address_cannot_be_found_again_by_trying_all():
    assert Origin(address="192.0.2.1").commitment != Origin(address="192.0.2.1").commitment
