import pytest
from pydantic import ValidationError

from safelight.cli.server import settings
from safelight.errors import BadField
from safelight.settings import Settings, names, unknown_names


def test_the_command_line_comes_before_the_environment_and_leaves_its_neighbours(monkeypatch):
    monkeypatch.setenv("SAFELIGHT_SERVER__HOST", "0.0.0.0")
    monkeypatch.setenv("SAFELIGHT_SERVER__PORT", "1")
    chosen = settings(server__port=9)

    assert (chosen.server.host, chosen.server.port) == ("0.0.0.0", 9)


def test_a_name_that_nobody_knows_is_told_with_the_nearest_that_is_known():
    assert unknown_names({"SAFELIGHT_LIMITS__MAX_BYTE": "1", "PATH": "x"}) == {
        "SAFELIGHT_LIMITS__MAX_BYTE": "SAFELIGHT_LIMITS__MAX_BYTES",
    }


def test_a_mistyped_name_stops_the_start(monkeypatch):
    monkeypatch.setenv("SAFELIGHT_LIMIT__MAX_BYTES", "1")

    with pytest.raises(BadField, match="SAFELIGHT_LIMITS__MAX_BYTES"):
        settings()


def test_a_value_out_of_range_names_its_setting(monkeypatch):
    monkeypatch.setenv("SAFELIGHT_SERVER__PORT", "99999")

    with pytest.raises(BadField, match="SAFELIGHT_SERVER__PORT"):
        settings()


def test_the_processes_of_a_server_share_what_the_machine_decides_and_nothing_that_somebody_has_set(monkeypatch):
    monkeypatch.setenv("SAFELIGHT_DELIVERY__MAX_RENDERS", "6")
    whole = settings(server__workers=2)
    share = whole.of_one_process()

    assert share.develop.slots == max(1, whole.develop.slots // 2)
    assert share.auth.hashes_at_once == max(1, whole.auth.hashes_at_once // 2)
    assert share.delivery.render_memory_bytes == max(64 * 1024**2, whole.delivery.render_memory_bytes // 2)
    assert share.delivery.max_renders == 6
    assert settings(server__workers=64).of_one_process().develop.slots == 1
    assert settings(server__workers=1).of_one_process() == settings(server__workers=1)


def test_settings_do_not_change_once_read():
    with pytest.raises(ValidationError):
        Settings().server.port = 1  # type: ignore[misc]


def test_every_setting_says_what_it_means():
    assert [name for name, _, _, meaning in names() if not meaning.endswith(".")] == []


def test_a_server_is_alone_only_on_its_own_files_with_one_process():
    assert Settings().is_alone
    assert not Settings(server={"workers": 2}).is_alone
    assert not Settings(storage={"url": "s3://pictures"}).is_alone
    assert not Settings(catalog={"url": "postgresql://db/safelight"}).is_alone
    assert not Settings(workflows={"url": "postgresql://db/safelight"}).is_alone


def test_an_address_of_a_bucket_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv("SAFELIGHT_STORAGE__URL", "https://bucket")

    with pytest.raises(BadField, match="SAFELIGHT_STORAGE__URL"):
        settings()


@pytest.mark.parametrize(
    ("fields", "search", "workflows"),
    [
        ({}, "sqlite", "sqlite"),
        ({"catalog": {"url": "postgresql://db/a"}}, "postgresql://db/a", "postgresql://db/a"),
        ({"catalog": {"url": "dynamodb://images"}}, "none", "sqlite"),
        (
            {
                "catalog": {"url": "dynamodb://images"},
                "search": {"url": "postgresql://db/b"},
                "workflows": {"url": "postgresql://db/c"},
            },
            "postgresql://db/b",
            "postgresql://db/c",
        ),
    ],
    ids=["files", "PostgreSQL", "DynamoDB alone", "DynamoDB with both"],
)
def test_search_and_workflows_are_where_the_records_are_unless_told_otherwise(fields, search, workflows):
    chosen = Settings(**fields)

    assert (chosen.search_url, chosen.workflows_url) == (search, workflows)


@pytest.mark.parametrize("name", ["SAFELIGHT_SEARCH__URL", "SAFELIGHT_WORKFLOWS__URL"])
def test_an_address_of_a_search_or_an_engine_that_there_is_not_is_refused(monkeypatch, name):
    monkeypatch.setenv(name, "mongodb://host")

    with pytest.raises(BadField, match=name):
        settings()


def test_versions_outlive_the_trash(monkeypatch):
    monkeypatch.setenv("SAFELIGHT_TRASH__DAYS", "90")
    with pytest.raises(BadField, match="SAFELIGHT_BUCKET__NONCURRENT_DAYS.*SAFELIGHT_TRASH__DAYS"):
        settings()
    monkeypatch.setenv("SAFELIGHT_BUCKET__NONCURRENT_DAYS", "0")
    assert settings().trash.days == 90


@pytest.mark.parametrize(
    ("name", "value"),
    (
        ("IP_ALLOW", "10.0.0.0/8,everybody"),
        ("CORS_ORIGINS", "shop.example"),
        ("QUEUE_ARN", "incoming"),
    ),
)
def test_a_wish_for_the_buckets_that_makes_no_sense_is_named(monkeypatch, name, value):
    monkeypatch.setenv(f"SAFELIGHT_BUCKET__{name}", value)
    with pytest.raises(BadField, match=f"SAFELIGHT_BUCKET__{name}"):
        settings()


def test_no_secret_is_told_when_a_setting_is_wrong(monkeypatch):
    monkeypatch.setenv("SAFELIGHT_CATALOG__SECRET_KEY", "hush")
    monkeypatch.setenv("SAFELIGHT_TRASH__DAYS", "90")
    with pytest.raises(BadField) as raised:
        settings()
    assert "hush" not in str(raised.value)
    monkeypatch.setenv("SAFELIGHT_CACHE__URL", "valkey:/user:hush@host")
    with pytest.raises(BadField, match="SAFELIGHT_CACHE__URL") as raised:
        settings()
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize("url", ("temporal://host:7233/pictures", "temporals://[::1]:7233/a.b1c2", "sqlite", "postgresql://db/c"))
def test_durable_work_may_be_on_files_postgresql_or_temporal(url):
    chosen = Settings(workflows={"url": url})

    assert chosen.workflows_url == url
    assert chosen.is_on_temporal == url.startswith("temporal")


@pytest.mark.parametrize("url", ("temporal://", "temporal://host/a/b", "temporal:host", "mysql://db", "temporal://ho st"))
def test_durable_work_is_kept_nowhere_else(url):
    with pytest.raises(ValidationError, match="temporal://host:7233/namespace"):
        Settings(workflows={"url": url})


@pytest.mark.parametrize("queue", ("", "it's", "a b", "-a", "x" * 65))
def test_a_queue_is_a_plain_word(queue):
    with pytest.raises(ValidationError, match="queue"):
        Settings(workflows={"queue": queue})


@pytest.mark.parametrize(
    ("extra", "driver", "given"),
    (
        ("postgres", "psycopg", {"catalog": {"url": "postgresql://db/c"}}),
        ("postgres", "psycopg", {"workflows": {"url": "postgresql://db/c"}}),
        ("dynamodb", "aiobotocore", {"catalog": {"url": "dynamodb://eu-west-1/pictures"}}),
        ("s3", "obstore", {"storage": {"url": "s3://pictures"}}),
        ("s3", "obstore", {"remote": {"s3_region": "eu-west-1"}}),
        ("s3", "aiobotocore", {"events": {"sqs_url": "https://sqs.example/1/q"}}),
        ("valkey", "valkey", {"cache": {"url": "valkey://host:6379/0"}}),
        ("temporal", "temporalio", {"workflows": {"url": "temporal://host:7233"}}),
    ),
)
def test_a_backend_whose_driver_is_not_installed_stops_the_start_and_is_told_how_to_be_had(monkeypatch, extra, driver, given):
    Settings(**given)
    Settings()
    monkeypatch.setattr("safelight.settings.find_spec", lambda name: None if name == driver else object())
    Settings()

    with pytest.raises(ValidationError, match=rf"`make install`.*safelight\[{extra}\]"):
        Settings(**given)
