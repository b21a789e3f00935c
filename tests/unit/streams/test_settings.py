"""Settings: a wrong one is named, with what was expected."""

from pathlib import Path

import pytest

from streams.settings import Settings, SettingsError, load_settings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for variable in list(os.environ):
        if variable.upper().startswith("PREFSTREAM"):
            monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)


def load(text: str, **overrides: object) -> Settings:
    file = Path("shop.toml")
    file.write_text(text)
    return load_settings(file, **overrides)


def test_without_a_file_every_setting_has_a_default() -> None:
    settings = load_settings()
    assert (settings.group, settings.keyspace) == ("prefstream", "prefstream")
    assert settings.kafka.bootstrap_servers == "simulator"
    assert settings.store.kind == "sqlite"


def test_a_namespace_is_part_of_the_group_and_the_keyspace() -> None:
    settings = load('namespace = "shop1"')
    assert (settings.group, settings.keyspace) == ("shop1.prefstream", "shop1_prefstream")


def test_the_file_in_the_folder_is_read_without_being_named() -> None:
    Path("prefstream.toml").write_text("[ranking]\nk = 7\n")
    assert load_settings().ranking.k == 7


def test_the_caller_wins_over_the_environment_which_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: a table of the caller's replaced the file's whole table."""
    monkeypatch.setenv("PREFSTREAM_SERVER__PORT", "2")
    monkeypatch.setenv("PREFSTREAM_RANKING__K", "3")
    text = '[server]\nhost = "0.0.0.0"\nport = 1\n[ranking]\nk = 1\nexclude_purchased_days = 2.5\n'
    settings = load(text, server={"port": 4})
    assert (settings.server.host, settings.server.port) == ("0.0.0.0", 4)
    assert (settings.ranking.k, settings.ranking.exclude_purchased_days) == (3, 2.5)


def test_a_file_may_be_named_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("other.toml").write_text("[ranking]\nk = 9\n")
    monkeypatch.setenv("PREFSTREAM_CONFIG", "other.toml")
    assert load_settings().ranking.k == 9


def test_lists_and_secrets_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFSTREAM_STORE__CASSANDRA__HOSTS", '["a", "b"]')
    monkeypatch.setenv("PREFSTREAM_KAFKA__SASL__USERNAME", "shop")
    monkeypatch.setenv("PREFSTREAM_KAFKA__SASL__PASSWORD", "hunter2")
    settings = load_settings()
    assert settings.store.cassandra.hosts == ["a", "b"]
    assert settings.kafka.sasl is not None
    assert settings.kafka.sasl.password.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(settings)


WRONG = {
    "no TOML": ("[kafka", ["shop.toml", "TOML"]),
    "an unknown section": ("[kafak]\n", ["kafak is no setting"]),
    "an unknown setting": ("[kafka]\nbroker = 1\n", ["kafka.broker is no setting"]),
    "a wrong type": ('[server]\nport = "http"\n', ["server.port is 'http'", "integer"]),
    "out of range": ("[server]\nport = 70000\n", ["server.port is 70000", "65535"]),
    "zero seconds": ("[checkpoint]\ninterval_s = 0\n", ["checkpoint.interval_s is 0", "greater than 0"]),
    "NaN": ("[checkpoint]\ninterval_s = nan\n", ["checkpoint.interval_s is nan"]),
    "infinity": ("[kafka]\nsession_timeout_s = inf\n", ["kafka.session_timeout_s is inf", "finite"]),
    "not one of the choices": ('[store]\nkind = "redis"\n', ["store.kind is 'redis'", "'sqlite' or 'cassandra'"]),
    "a namespace that no topic can have": ('namespace = "My Shop"', ["namespace is 'My Shop'", "pattern"]),
    "heartbeats too slow": (
        "[kafka]\nsession_timeout_s = 4.0\n",
        ["heartbeat_interval_s is 3.0", "at most half of session_timeout_s (4.0)"],
    ),
    "a file that is not there": ('[kafka.tls]\nca_file = "no.pem"\n', ["kafka.tls", "ca_file", "'no.pem'"]),
    "half of a log-in": ('[kafka.sasl]\nusername = "u"\n', ["kafka.sasl.password", "required"]),
    "several at once": ("[ranking]\nk = 0\n[profiles]\nhistory = 0\n", ["ranking.k is 0", "profiles.history is 0"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_setting_is_named_with_what_was_expected(case: str) -> None:
    text, said = WRONG[case]
    with pytest.raises(SettingsError) as caught:
        load(text)
    sentence = str(caught.value)
    assert [part for part in said if part not in sentence] == [], sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_a_key_without_its_certificate_is_half_a_setting() -> None:
    Path("key.pem").write_text("")
    with pytest.raises(SettingsError, match="cert_file and key_file come together"):
        load('[kafka.tls]\nkey_file = "key.pem"\n')


@pytest.mark.parametrize(
    "text", ['[kafka.sasl]\nusername = "u"\npassword = ["hunter2"]\n', '[kafka]\nsasl = "hunter2"\n']
)
def test_a_secret_of_a_wrong_type_is_not_shown(text: str) -> None:
    """Regression: the sentence quoted the value."""
    with pytest.raises(SettingsError, match=r"kafka\.sasl") as caught:
        load(text)
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_missing_is_named() -> None:
    with pytest.raises(SettingsError, match=r"no settings file 'gone.toml'.*--config"):
        load_settings(Path("gone.toml"))


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("PREFSTREAM_KAFAK__PORT", "1", "PREFSTREAM_KAFAK__PORT names no setting"),
        ("PREFSTREAM_SERVER__PROT", "1", "server.prot is no setting"),
        ("PREFSTREAM_SERVER__PORT", "http", "server.port is 'http'"),
        ("PREFSTREAM_KAFKA__TLS__ENABLED", "perhaps", "kafka.tls.enabled is 'perhaps'"),
        ("PREFSTREAM_STORE__CASSANDRA__HOSTS", "a,b", "JSON"),
    ],
)
def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert said in str(caught.value)


def test_settings_cannot_be_changed_by_accident() -> None:
    settings = load_settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.ranking.k = 3
