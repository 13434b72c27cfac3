"""The composition root: settings in, one running service out. The only place that chooses parts."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import structlog
import yaml
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from flowker.engine.accepting import Accepting
from flowker.engine.admission import Admission
from flowker.engine.clock import Clock, SystemClock
from flowker.engine.definitions import Definitions
from flowker.engine.embedded import EmbeddedEngine
from flowker.engine.refusals import Refusals
from flowker.engine.routes import Routes
from flowker.engine.steps import Steps
from flowker.engine.tallies import Tallies
from flowker.engine.tenure import Tenure
from flowker.executors.breaker import Breakers
from flowker.executors.client import Caller
from flowker.executors.connectivity import Connectivity
from flowker.http.contract import DocumentError
from flowker.http.document import Described, build_asgi, describe, load
from flowker.http.security import ApiKeys
from flowker.logs import configure_logs
from flowker.operations import (
    audit_events,
    catalog,
    dashboards,
    executions,
    executor_configurations,
    health,
    provider_configurations,
    webhooks,
    workflows,
)
from flowker.operations.context import Context
from flowker.release import VALID_SHA256
from flowker.settings import InvalidSettings, Settings, load_settings
from flowker.storage import keys
from flowker.storage.audit_verification import Verifier
from flowker.storage.database import EngineLock, Store, has_files, path_beside, upgrade, vault_beside
from flowker.storage.vault import Vault

OPERATION_MODULES: tuple[ModuleType, ...] = (
    audit_events,
    catalog,
    dashboards,
    executions,
    executor_configurations,
    health,
    provider_configurations,
    webhooks,
    workflows,
)

LOCK_WAIT_S = 10.0
"""How long a start waits for the process that had the store before: longer than a reload takes."""

STAND_BY_AFTER_S = 1.0
"""The same where the start then stands by, instead of giving up."""

LAST_S = 1.0
"""What is left for the store at least when the engine has taken all of the grace time. One that works needs much less
to write what waits for it: more than it writes in 150 ms is not accepted."""

log = structlog.get_logger(__name__)


class StoreInUse(Exception):
    """Another process drives the executions of this store."""


@dataclass(frozen=True, slots=True)
class Service:
    """A service that is put together and not started: `asgi` starts and stops it through its lifespan."""

    context: Context
    asgi: ASGIApp
    start: Callable[[], Awaitable[None]]
    stop: Callable[..., Awaitable[None]]
    """Takes the seconds that what is under way may take, if they are not those of the settings."""


def create() -> ASGIApp:
    """The application of this process's environment, for `uvicorn --factory flowker.app:create`."""
    settings = load_settings(serving=True)
    configure_logs(settings.log_level)
    return build(settings).asgi


def build(settings: Settings, clock: Clock | None = None) -> Service:
    """Put a service together from its settings."""
    clock = clock or SystemClock()
    tallies = Tallies()
    breakers = Breakers()
    store = Store(settings.database_url, queue_max=settings.write_queue_max)
    caller = Caller(egress_allow=settings.egress_networks)
    vault = open_vault(settings)
    definitions = Definitions(store, vault)
    lock = EngineLock(settings.database_url)
    # What was accepted is finished, whatever else is asked for; requests can be refused for lack of room.
    owing = store.owing()
    engine = EmbeddedEngine(
        owing,
        definitions.owing(),
        Steps(owing, vault, caller, clock, breakers, tallies),
        clock,
        tallies,
        workers=settings.workers,
        grace_s=settings.shutdown_grace_seconds,
        shared=lock.may_be_lost,
    )
    tenure = Tenure(lock, engine, partial(_prepare, settings, vault), clock)
    refusals = Refusals(store, clock)
    admission = Admission(tallies)
    context = Context(
        store=store,
        engine=engine,
        accepting=Accepting(store, engine, clock, tallies),
        admission=admission,
        definitions=definitions,
        routes=Routes(store),
        refusals=refusals,
        vault=vault,
        connectivity=Connectivity(caller),
        breakers=breakers,
        tallies=tallies,
        verifier=Verifier(store, vault),
        clock=clock,
        version=settings.version,
        started_at=time.monotonic(),
    )
    life = _Life(lock, tenure, store, caller, refusals, settings.shutdown_grace_seconds)
    asgi = build_asgi(
        shipped_document(),
        bind(context, OPERATION_MODULES),
        keys=_keys(settings),
        lifespan=life.span,
        trusted_proxies=settings.trusted_proxies,
        refuses=admission.refuses,
    )
    return Service(context, _with_cors(asgi, settings), life.start, life.stop)


@dataclass(frozen=True, slots=True)
class _Life:
    """What has to be started and stopped, in which order."""

    lock: EngineLock
    tenure: Tenure
    store: Store
    caller: Caller
    refusals: Refusals
    grace_s: float

    async def start(self) -> None:
        may_be_lost = self.lock.may_be_lost
        if not await self.tenure.take(STAND_BY_AFTER_S if may_be_lost else LOCK_WAIT_S) and not may_be_lost:
            raise StoreInUse("another process drives this store; stop it first, or use another database")
        await self.store.start()
        await self.caller.start()
        await self.tenure.start()
        await self.refusals.start()

    async def stop(self, grace_s: float | None = None) -> None:
        """All within the grace time. What comes after the engine has a moment at least, and no more if it is over."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + (self.grace_s if grace_s is None else grace_s)
        await self.tenure.stop(grace_s)
        ends_at = max(ends_at, loop.time() + LAST_S)
        await self.refusals.stop(ends_at - loop.time())
        await self.caller.stop()
        # Who may still write keeps the lock, which then ends with the process.
        if await self.store.stop(max(0.0, ends_at - loop.time())):
            await self.tenure.release(max(0.0, ends_at - loop.time()))
        else:
            log.error("stopped without the store: it does not answer")

    @asynccontextmanager
    async def span(self, _: Any) -> AsyncIterator[None]:
        await self.start()
        try:
            yield
        finally:
            await self.stop()


def open_vault(settings: Settings) -> Vault:
    """The vault with the keys of the settings, else with those beside the database."""
    return Vault(lambda: settings.secret_keys) if settings.secret_key else vault_beside(settings.database_url)


def _prepare(settings: Settings, vault: Vault) -> None:
    """Bring the store up to this version. Raise `KeysUnusable` at the start, rather than with the first secret."""
    upgrade(settings.database_url, vault)
    if not settings.secret_key and has_files(settings.database_url):
        keys.check(path_beside(settings.database_url, keys.SUFFIX))


def document_path() -> Path:
    """The document: beside the package in an installed wheel, at the top of a checkout."""
    packaged = Path(str(files("flowker") / "flowker.yaml"))
    return packaged if packaged.exists() else packaged.parent.parent / "openapi" / "flowker.yaml"


@cache
def shipped_document() -> Described:
    """The document as it was when this process first asked for it, however many services it builds."""
    return describe(document_path(), VALID_SHA256)


def check_document(path: Path) -> list[str]:
    """What is wrong with a document, and with the handlers for it; nothing is started."""
    try:
        build_asgi(load(path), bind(None, OPERATION_MODULES), keys=None)
    except (DocumentError, OSError, ValueError, yaml.YAMLError) as error:
        return str(error).splitlines()
    except KeyError as error:
        return [f"the document has no {error}"]
    return []


def bind(context: Context | None, modules: Iterable[ModuleType]) -> dict[str, Callable[..., Any]]:
    """Every operation of the modules by its operationId, with the context filled in."""
    return {
        _operation_id(name): partial(function, context)
        for module in modules
        for name, function in vars(module).items()
        if asyncio.iscoroutinefunction(function)
        and not name.startswith("_")
        and function.__module__ == module.__name__
    }


def _operation_id(function_name: str) -> str:
    first, *others = function_name.split("_")
    return first + "".join(word.capitalize() for word in others)


def _keys(settings: Settings) -> ApiKeys | None:
    if not settings.api_key_enabled:
        return None
    if not settings.api_key:
        raise InvalidSettings("API_KEY: no key is set; set one, or API_KEY_ENABLED=false to answer everybody")
    return ApiKeys(settings.api_key)


def _with_cors(asgi: ASGIApp, settings: Settings) -> ASGIApp:
    if not settings.cors_allowed_origins:
        return asgi
    return CORSMiddleware(
        asgi,
        allow_origins=settings.cors_allowed_origins,
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=["*"],
        expose_headers=["ETag", "Location", "X-Webhook-Workflow-ID", "X-Webhook-Execution-ID"],
    )
