"""What a command says of settings that will not do: which one and how, and nothing that may be a secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from safelight.cli.server import refusal
from safelight.settings import Settings

SECTIONS = sorted(name for name, field in Settings.model_fields.items() if issubclass(field.annotation, BaseModel))
SECRET = "hunter2-of-everybody"


def wrong(*where: str, given: object, kind: str = "wrong") -> ValidationError:
    detail = InitErrorDetails(type=PydanticCustomError(kind, "that will not do"), loc=where, input=given)
    return ValidationError.from_exception_data("Settings", [detail])


def refused(**given: object) -> str:
    with pytest.raises(ValidationError) as caught:
        Settings(**given)
    return refusal(caught.value)


def test_what_is_no_section_is_the_one_setting_that_may_be_told_alone():
    assert set(Settings.model_fields) - set(SECTIONS) == {"data_dir"}


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("given", [{"password": SECRET}, f'{{"password": "{SECRET}"}}', [SECRET]], ids=["table", "text", "list"])
def test_of_a_whole_section_nothing_is_told(section, given):
    assert refusal(wrong(section, given=given)) == f"SAFELIGHT_{section.upper()}: that will not do."


def test_of_an_object_inside_a_section_nothing_is_told():
    given = Settings.model_fields["mail"].annotation(password=SECRET)

    assert SECRET not in refusal(wrong("mail", "host", given=given))
    assert SECRET not in refusal(wrong("mail", "host", given={"a": SECRET}))


def test_what_a_setting_that_nobody_knows_holds_is_not_told():
    said = refused(mail={"pasword": SECRET})

    assert said.startswith("SAFELIGHT_MAIL__PASWORD: ")
    assert SECRET not in said


def test_a_section_that_is_no_table_is_not_told():
    assert SECRET not in refused(mail=SECRET)


def test_a_plain_value_is_told():
    assert refused(server={"port": 70_000}).endswith(" (got 70000).")
    assert refused(data_dir=7).endswith(" (got 7).")
    assert "hush" not in refused(mail={"password": ["hush"]})


def test_an_address_is_not_told_since_it_may_have_a_password_in_it():
    assert SECRET not in refused(server={"public_url": f"ftp://me:{SECRET}@example.org"})


def test_two_settings_together_are_named_by_the_message():
    assert refused(server={"tls_cert": Path("a.pem")}) == (
        "SAFELIGHT_SERVER__TLS_CERT and SAFELIGHT_SERVER__TLS_KEY go together."
    )
