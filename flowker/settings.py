"""Every knob once: name, type, default and why. docs/settings.md is compared with this class by a test.

Names without prefix are the ones that Flowker deployments use already; ours begin with FLOWKER_. All problems are
told in one message, an unknown FLOWKER_ name among them: a typing error must not silently mean the default.
"""

import difflib
import ipaddress
import os
import re
from collections.abc import Container, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from flowker import __version__
from flowker.storage.database import DatabaseUnusable, has_files, without_password
from flowker.storage.keys import decode_key

PREFIX = "FLOWKER_"


class InvalidSettings(Exception):
    """The environment cannot be used; the message lists every problem, a line each."""


def _split(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _network(value: str) -> str:
    return str(ipaddress.ip_network(value, strict=False))


def _address(value: str) -> str:
    if not _ADDRESS.fullmatch(value) or int(value.rpartition(":")[2]) > PORT_MAX:
        raise ValueError(f"must be :<port> or <address>:<port> with a port up to {PORT_MAX}, like [::1]:4021")
    return value


def _store(value: str) -> str:
    if has_files(value) and not re.match("sqlite:///.", value):
        raise ValueError("must be sqlite:///<path of a file> or postgresql://<server>/<database>")
    try:
        without_password(value)
    except DatabaseUnusable as error:
        raise ValueError(str(error)) from None
    return value


_ADDRESS = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s/\[\]]*):[0-9]{1,5}")

PORT_MAX = 65_535


Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
Networks = Annotated[tuple[Annotated[str, BeforeValidator(_network)], ...], BeforeValidator(_split)]


class Settings(BaseModel, frozen=True, extra="forbid", str_strip_whitespace=True):
    """The configuration of one process, read once from the environment."""

    server_address: Annotated[str, AfterValidator(_address)] = Field(
        ":4021",
        alias="SERVER_ADDRESS",
        description="Address and port to listen on; without an address it is the loopback interface.",
    )
    api_key: Names = Field(
        (),
        alias="API_KEY",
        description="Accepted API keys, separated by commas, so that a key can be replaced without downtime.",
    )
    api_key_enabled: bool = Field(
        True,
        alias="API_KEY_ENABLED",
        description="Whether requests need an API key. Switching it off is warned about at every start.",
    )
    ssrf_allow_private: bool = Field(
        False,
        alias="SSRF_ALLOW_PRIVATE",
        description="Whether executors may call every private and loopback address; prefer FLOWKER_EGRESS_ALLOW.",
    )
    cors_allowed_origins: Names = Field(
        (),
        alias="CORS_ALLOWED_ORIGINS",
        description="Origins whose pages may call the API, separated by commas; none by default.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", alias="LOG_LEVEL", description="The least severe messages that are logged."
    )
    version: str = Field(
        __version__, alias="VERSION", min_length=1, description="The version that health and version endpoints tell."
    )
    database_url: Annotated[str, AfterValidator(_store)] = Field(
        "sqlite:///flowker.db",
        alias="FLOWKER_DATABASE_URL",
        repr=False,
        description="Where everything is stored: `sqlite:///<path>` or `postgresql://<user>:<password>@<server>/<database>`.",
    )
    secret_key: Names = Field(
        (),
        alias="FLOWKER_SECRET_KEY",
        description="Keys that seal stored secrets: 32 bytes in base64, separated by commas; the first one seals.",
    )
    engine: Literal["embedded"] = Field(
        "embedded", alias="FLOWKER_ENGINE", description="What drives executions: this process itself."
    )
    workers: int = Field(
        256,
        alias="FLOWKER_WORKERS",
        ge=1,
        le=10_000,
        description="How many executions make progress at the same time; waiting ones do not count.",
    )
    write_queue_max: int = Field(
        10_000,
        alias="FLOWKER_WRITE_QUEUE_MAX",
        ge=1,
        le=1_000_000,
        description="How many changes may wait for the writer; beyond it requests are refused at once.",
    )
    connections_max: int = Field(
        1_000,
        alias="FLOWKER_CONNECTIONS_MAX",
        ge=1,
        le=100_000,
        description="How many clients may be connected; a further one takes the place of an idle one, or is refused.",
    )
    egress_allow: Networks = Field(
        (),
        alias="FLOWKER_EGRESS_ALLOW",
        description="Networks that executors may call although they are private, separated by commas (10.0.0.0/8).",
    )
    trusted_proxies: Networks = Field(
        (),
        alias="FLOWKER_TRUSTED_PROXIES",
        description="Networks of the proxies whose X-Forwarded-For tells the client's address, separated by commas.",
    )
    shutdown_delay_seconds: float = Field(
        0.0,
        alias="FLOWKER_SHUTDOWN_DELAY_SECONDS",
        ge=0,
        le=3600,
        description="How long a stop goes on as before and only says that it is not ready; for load balancers.",
    )
    shutdown_grace_seconds: float = Field(
        20.0,
        alias="FLOWKER_SHUTDOWN_GRACE_SECONDS",
        ge=0,
        le=3600,
        description="How long a stop then waits for what is in flight; executions cut off go on at the next start.",
    )

    @field_validator("secret_key")
    @classmethod
    def _are_keys(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            try:
                decode_key(text)
            except ValueError:
                raise ValueError("every key must be 32 bytes in base64 (openssl rand -base64 32)") from None
        return value

    @property
    def secret_keys(self) -> tuple[bytes, ...]:
        """The keys that open stored secrets; the first of them seals."""
        return tuple(decode_key(text) for text in self.secret_key)

    @property
    def egress_networks(self) -> tuple[str, ...]:
        """The networks that executors may call although they are private."""
        return ("0.0.0.0/0", "::/0") if self.ssrf_allow_private else self.egress_allow

    @property
    def host(self) -> str:
        """The address to bind, an IPv6 one without its brackets."""
        return self.server_address.rpartition(":")[0].strip("[]") or "127.0.0.1"

    @property
    def port(self) -> int:
        return int(self.server_address.rpartition(":")[2])


def load_settings(environment: Mapping[str, str] = os.environ, *, serving: bool = False) -> Settings:
    """Read the settings, or raise `InvalidSettings` with every problem. Whoever is `serving` needs more of them."""
    known = {str(field.alias) for field in Settings.model_fields.values()}
    problems = [
        _unknown(name, known) for name in sorted(environment) if name.startswith(PREFIX) and name not in known
    ]
    given = {name: environment[name] for name in known if name in environment}
    bad: set[int | str] = set()
    try:
        settings = Settings.model_validate(given)
    except ValidationError as error:
        problems += [_told(item) for item in error.errors()]
        bad = {item["loc"][0] for item in error.errors()}
        settings = Settings.model_validate({name: value for name, value in given.items() if name not in bad})
    if serving:
        problems += _missing(settings, bad)
    if problems:
        raise InvalidSettings("\n".join(problems))
    return settings


def _missing(settings: Settings, bad: Container[int | str]) -> Iterator[str]:
    """What a service needs from its settings because no file beside its database can hold it.

    A setting that is there and `bad` is not missing.
    """
    if has_files(settings.database_url):
        return
    if settings.api_key_enabled and not settings.api_key and "API_KEY_ENABLED" not in bad:
        yield f"API_KEY: {_NO_FILE}"
    if not settings.secret_key and "FLOWKER_SECRET_KEY" not in bad:
        yield f"FLOWKER_SECRET_KEY: {_NO_FILE} (openssl rand -base64 32)"


_NO_FILE = "none is set, and with PostgreSQL there is no file to keep one in"


def _told(problem: ErrorDetails) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where}: {problem['msg'].removeprefix('Value error, ')}"


def _unknown(name: str, known: set[str]) -> str:
    # Without the prefix, which every such name has: FLOWKER_API_KEY is nearest to API_KEY.
    by_rest = {one.removeprefix(PREFIX): one for one in known}
    near = difflib.get_close_matches(name.removeprefix(PREFIX), by_rest, n=1)
    return f"{name}: no setting has this name" + (f"; did you mean {by_rest[near[0]]}?" if near else "")
