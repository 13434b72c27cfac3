"""The settings: read once, checked whole, and every problem told at once."""

import base64

import pytest

from flowker.settings import InvalidSettings, Settings, load_settings


def problems_of(**environment: str) -> list[str]:
    with pytest.raises(InvalidSettings) as refused:
        load_settings(environment)
    return str(refused.value).splitlines()


def test_an_empty_environment_gives_the_defaults() -> None:
    """Nothing has to be set to start."""
    settings = load_settings({})

    assert settings == Settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 4021)
    assert settings.database_url == "sqlite:///flowker.db"


def test_settings_are_read_by_their_names_and_types() -> None:
    """Text from the environment becomes numbers, truth values and lists."""
    settings = load_settings(
        {
            "API_KEY_ENABLED": "false",
            "LOG_LEVEL": "debug",
            "FLOWKER_WORKERS": " 8 ",
            "FLOWKER_SHUTDOWN_GRACE_SECONDS": "0.5",
            "FLOWKER_DATABASE_URL": "sqlite:////var/lib/flowker.db",
        }
    )

    assert settings.api_key_enabled is False
    assert settings.log_level == "debug"
    assert settings.workers == 8
    assert settings.shutdown_grace_seconds == 0.5
    assert settings.database_url == "sqlite:////var/lib/flowker.db"


def test_settings_do_not_change_after_they_were_read() -> None:
    """One process has one configuration."""
    settings = load_settings({})

    with pytest.raises(ValueError, match="frozen"):
        settings.workers = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "keys"),
    [("one", ("one",)), ("old, new", ("old", "new")), ("one,,", ("one",)), ("", ()), (" , ", ())],
)
def test_keys_are_separated_by_commas(text: str, keys: tuple[str, ...]) -> None:
    """Empty places between the commas are no keys: an empty key would let everybody in."""
    settings = load_settings({"API_KEY": text})

    assert settings.api_key == keys


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        (":4021", "127.0.0.1", 4021),
        (":0", "127.0.0.1", 0),
        ("0.0.0.0:80", "0.0.0.0", 80),  # noqa: S104 - read, not bound
        ("localhost:65535", "localhost", 65535),
        ("[::1]:4021", "::1", 4021),
        ("[::]:4021", "::", 4021),
    ],
)
def test_a_server_address_is_a_host_and_a_port(address: str, host: str, port: int) -> None:
    """Without a host it is the loopback interface; an IPv6 address stands in brackets."""
    settings = load_settings({"SERVER_ADDRESS": address})

    assert (settings.host, settings.port) == (host, port)


@pytest.mark.parametrize(
    "address",
    ["", "4021", "localhost", ":65536", ":99999", ":-1", "http://localhost:80", "a b:80", "[::1:80", ":80\n:"],
)
def test_an_address_that_cannot_be_bound_is_refused(address: str) -> None:
    """The start says so, not the operating system later."""
    problems = problems_of(SERVER_ADDRESS=address)

    assert problems == [
        "SERVER_ADDRESS: must be :<port> or <address>:<port> with a port up to 65535, like [::1]:4021"
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_KEY_ENABLED", "perhaps"),
        ("SSRF_ALLOW_PRIVATE", "2"),
        ("LOG_LEVEL", "loud"),
        ("VERSION", ""),
        ("FLOWKER_DATABASE_URL", "mysql://localhost/flowker"),
        ("FLOWKER_DATABASE_URL", "sqlite:///"),
        ("FLOWKER_ENGINE", "steam"),
        ("FLOWKER_WORKERS", "0"),
        ("FLOWKER_WORKERS", "10001"),
        ("FLOWKER_WORKERS", "many"),
        ("FLOWKER_WRITE_QUEUE_MAX", "0"),
        ("FLOWKER_SHUTDOWN_GRACE_SECONDS", "-1"),
        ("FLOWKER_SHUTDOWN_GRACE_SECONDS", "nan"),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name(name: str, value: str) -> None:
    """The line begins with the name of the setting."""
    [problem] = problems_of(**{name: value})

    assert problem.startswith(f"{name}: ")


def test_all_problems_are_told_at_once() -> None:
    """Nobody mends a configuration one start at a time."""
    problems = problems_of(
        FLOWKER_WORKERS="0", LOG_LEVEL="loud", FLOWKER_EGRESS_ALLOW="10.0.0.0/8, nowhere", FLOWKER_WORKRES="4"
    )

    assert [problem.partition(":")[0] for problem in problems] == [
        "FLOWKER_WORKRES",
        "LOG_LEVEL",
        "FLOWKER_WORKERS",
        "FLOWKER_EGRESS_ALLOW.1",
    ]


POSTGRESQL = "postgresql://flowker:canary@db.example/flowker?sslmode=require"
KEY = base64.b64encode(bytes(32)).decode()
NO_FILE = "none is set, and with PostgreSQL there is no file to keep one in"


def test_postgresql_is_a_database() -> None:
    """Its URL is libpq's, and not shown with the settings."""
    settings = load_settings(
        {"FLOWKER_DATABASE_URL": POSTGRESQL, "API_KEY": "k", "FLOWKER_SECRET_KEY": KEY}, serving=True
    )

    assert settings.database_url == POSTGRESQL
    assert "canary" not in repr(settings)


@pytest.mark.parametrize(
    "url",
    ["postgresql://flowker:can@ary@db/flowker", "postgresql://flowker:can/ary@db/f", "postgresql://db/f?canary=1"],
)
def test_a_postgresql_url_that_cannot_be_read_is_not_repeated(url: str) -> None:
    """The password is somewhere in it."""
    [problem] = problems_of(FLOWKER_DATABASE_URL=url)

    assert problem == (
        "FLOWKER_DATABASE_URL: the database URL cannot be read; are user and password percent-encoded?"
    )


def test_a_service_on_postgresql_needs_its_keys_from_the_settings() -> None:
    """All of it is told at once, with what else is wrong."""
    with pytest.raises(InvalidSettings) as refused:
        load_settings({"FLOWKER_DATABASE_URL": POSTGRESQL, "FLOWKER_WORKERS": "0"}, serving=True)

    assert str(refused.value).splitlines() == [
        "FLOWKER_WORKERS: Input should be greater than or equal to 1",
        f"API_KEY: {NO_FILE}",
        f"FLOWKER_SECRET_KEY: {NO_FILE} (openssl rand -base64 32)",
    ]


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({}, ["API_KEY", "FLOWKER_SECRET_KEY"]),
        ({"API_KEY_ENABLED": "false"}, ["FLOWKER_SECRET_KEY"]),
        ({"API_KEY": "k", "FLOWKER_SECRET_KEY": "short"}, ["FLOWKER_SECRET_KEY"]),
        ({"API_KEY_ENABLED": "perhaps", "FLOWKER_SECRET_KEY": "short"}, ["API_KEY_ENABLED", "FLOWKER_SECRET_KEY"]),
    ],
)
def test_what_is_missing_is_told_once(environment: dict[str, str], names: list[str]) -> None:
    """What is there and wrong is not missing; without authentication no key is needed."""
    with pytest.raises(InvalidSettings) as refused:
        load_settings({"FLOWKER_DATABASE_URL": POSTGRESQL, **environment}, serving=True)

    assert [line.partition(":")[0] for line in str(refused.value).splitlines()] == names


def test_commands_beside_a_service_need_none_of_its_keys() -> None:
    """Who verifies the audit trail of a database needs its address."""
    settings = load_settings({"FLOWKER_DATABASE_URL": POSTGRESQL})

    assert (settings.api_key, settings.secret_key) == ((), ())


def test_an_unknown_name_of_ours_is_refused_with_the_nearest_one() -> None:
    """A typing error must not silently mean the default."""
    problems = problems_of(FLOWKER_API_KEY="k", FLOWKER_DATABASE="sqlite:///other.db", FLOWKER_ZZZ="1")

    assert problems == [
        "FLOWKER_API_KEY: no setting has this name; did you mean API_KEY?",
        "FLOWKER_DATABASE: no setting has this name; did you mean FLOWKER_DATABASE_URL?",
        "FLOWKER_ZZZ: no setting has this name",
    ]


def test_names_without_our_prefix_are_other_peoples() -> None:
    """The environment of a process is full of names that mean nothing to us."""
    settings = load_settings({"PATH": "/bin", "LOG_LEVELS": "debug", "flowker_workers": "1"})

    assert settings == Settings()


def test_egress_networks_are_the_ones_allowed() -> None:
    """Networks are written in one form, whatever form they came in."""
    settings = load_settings({"FLOWKER_EGRESS_ALLOW": "10.1.2.3/8,192.168.0.1, fd00::/8"})

    assert settings.egress_networks == ("10.0.0.0/8", "192.168.0.1/32", "fd00::/8")


def test_no_private_network_is_allowed_by_default() -> None:
    """Whoever wants executors to reach inwards has to say so."""
    assert load_settings({}).egress_networks == ()


def test_allowing_private_addresses_allows_every_network() -> None:
    """The older, wider switch wins over the list."""
    settings = load_settings({"SSRF_ALLOW_PRIVATE": "true", "FLOWKER_EGRESS_ALLOW": "10.0.0.0/8"})

    assert settings.egress_networks == ("0.0.0.0/0", "::/0")


def test_no_proxy_is_trusted_by_default() -> None:
    """And those that are named are networks, in one form."""
    assert load_settings({}).trusted_proxies == ()
    assert load_settings({"FLOWKER_TRUSTED_PROXIES": "10.1.2.3/8, ::1"}).trusted_proxies == ("10.0.0.0/8", "::1/128")


def test_secret_keys_are_32_bytes_in_base64() -> None:
    """Several, so that one can be replaced; the first one seals."""
    first, second = bytes(range(32)), bytes(32)
    text = ",".join(base64.b64encode(key).decode() for key in (first, second))

    assert load_settings({"FLOWKER_SECRET_KEY": text}).secret_keys == (first, second)


@pytest.mark.parametrize("text", ["canary", "Y2FuYXJ5", f"{base64.b64encode(bytes(32)).decode()},canary"])
def test_a_secret_key_that_is_none_is_refused_without_being_told(text: str) -> None:
    """The message goes to a log."""
    with pytest.raises(InvalidSettings, match="FLOWKER_SECRET_KEY: every key must be 32 bytes in base64") as refused:
        load_settings({"FLOWKER_SECRET_KEY": text})

    assert "canary" not in str(refused.value)


@pytest.mark.parametrize("name", ["FLOWKER_EGRESS_ALLOW", "FLOWKER_TRUSTED_PROXIES"])
def test_a_network_that_is_none_is_refused_by_its_place(name: str) -> None:
    """The place counts from 0, as in every field path."""
    [problem] = problems_of(**{name: "10.0.0.0/8,10.0.0.0/33"})

    assert problem.startswith(f"{name}.1: ")
