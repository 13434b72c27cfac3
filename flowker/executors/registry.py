"""The catalog: what can be called, through whom, and what starts an execution."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from flowker.executors import http, midaz, s3, tracer, triggers
from flowker.executors.calls import Call, OutgoingRequest
from flowker.executors.shapes import Shape
from flowker.jsonschema import Schema


@dataclass(frozen=True)
class Provider:
    """A kind of far side; `config_schema` is the JSON Schema of its configurations, opened and in clear."""

    id: str
    name: str
    description: str
    version: str
    config_schema: Shape
    probe: Callable[[Mapping[str, Any]], OutgoingRequest]
    """The request that tests a configuration, with the credentials as a call sends them, or `CallRefused`."""

    @cached_property
    def config(self) -> Schema:
        """What checks a configuration."""
        return Schema(self.config_schema)


@dataclass(frozen=True)
class Executor:
    """A way to call a provider; `prepare` makes the request of a call or raises `CallRefused`.

    `foresee` tells of a node's own path and members which of them `prepare` will always refuse, and why. `load`
    imports what no other executor needs: in a thread, before the first call.
    """

    id: str
    provider_id: str
    name: str
    category: str
    version: str
    input_schema: Shape
    prepare: Callable[[Call], OutgoingRequest]
    foresee: Callable[[str, Mapping[str, Any]], Mapping[str, str]] = lambda *_: {}
    load: Callable[[], None] = lambda: None

    @cached_property
    def input(self) -> Schema:
        """What checks an input before a call, where its node wants that."""
        return Schema(self.input_schema)


@dataclass(frozen=True)
class Trigger:
    """A way to start an execution; `parameter_schema` is the JSON Schema of what its node says."""

    id: str
    name: str
    version: str
    parameter_schema: Shape

    @cached_property
    def parameters(self) -> Schema:
        """What checks the parameters."""
        return Schema(self.parameter_schema)


_PROVIDERS = (
    Provider("http", "HTTP", "Any service that speaks HTTP.", "v1", http.CONFIG_SCHEMA, http.probe),
    Provider("midaz", "Midaz", "A ledger of accounts and transactions.", "v1", midaz.CONFIG_SCHEMA, midaz.probe),
    Provider("s3", "S3", "Objects in a bucket of Amazon S3 or alike.", "v1", s3.CONFIG_SCHEMA, s3.probe),
    Provider("tracer", "Tracer", "Decides on transactions by rules.", "v1", tracer.CONFIG_SCHEMA, tracer.probe),
)

_EXECUTORS = (
    Executor("http.request", "http", "HTTP request", "HTTP", "v1", http.INPUT_SCHEMA, http.prepare, http.foresee),
    Executor(
        "midaz.create-transaction",
        "midaz",
        "Create transaction",
        "Midaz",
        "v1",
        midaz.CREATE_TRANSACTION_SCHEMA,
        midaz.prepare_create_transaction,
    ),
    Executor(
        "midaz.create-account",
        "midaz",
        "Create account",
        "Midaz",
        "v1",
        midaz.CREATE_ACCOUNT_SCHEMA,
        midaz.prepare_create_account,
    ),
    Executor(
        "midaz.get-account",
        "midaz",
        "Get account",
        "Midaz",
        "v1",
        midaz.GET_ACCOUNT_SCHEMA,
        midaz.prepare_get_account,
    ),
    Executor(
        "midaz.get-account-balance",
        "midaz",
        "Get account balance",
        "Midaz",
        "v1",
        midaz.GET_ACCOUNT_BALANCE_SCHEMA,
        midaz.prepare_get_account_balance,
    ),
    Executor(
        *("s3.put-object", "s3", "Put object", "S3", "v1", s3.INPUT_SCHEMA),
        *(s3.prepare_put_object, s3.foresee, s3.load),
    ),
    Executor(
        *("s3.get-object", "s3", "Get object", "S3", "v1", s3.INPUT_SCHEMA),
        *(s3.prepare_get_object, s3.foresee, s3.load),
    ),
    Executor(
        "tracer.validate-transaction",
        "tracer",
        "Validate transaction",
        "Tracer",
        "v1",
        tracer.VALIDATE_TRANSACTION_SCHEMA,
        tracer.prepare_validate_transaction,
    ),
    Executor(
        "tracer.list-validations",
        "tracer",
        "List validations",
        "Tracer",
        "v1",
        tracer.LIST_VALIDATIONS_SCHEMA,
        tracer.prepare_list_validations,
    ),
)

_TRIGGERS = (Trigger("webhook", "Webhook", "v1", triggers.WEBHOOK_SCHEMA),)

PROVIDERS: Mapping[str, Provider] = {provider.id: provider for provider in _PROVIDERS}

EXECUTORS: Mapping[str, Executor] = {executor.id: executor for executor in _EXECUTORS}

TRIGGERS: Mapping[str, Trigger] = {trigger.id: trigger for trigger in _TRIGGERS}
