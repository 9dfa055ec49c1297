"""The composition root: settings in, a whole service out."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI

from service.api.app import build_api
from service.api.dependencies import Audit, Dependencies, Offer, Readiness
from service.api.limits.api_keys import ApiKeys
from service.api.limits.rate_limit import RateLimit
from service.api.limits.request_body import BodyLimits, BodyReader
from service.api.limits.worker_pool import WorkerLimits, WorkerPool
from service.api.middleware.admission import AdmissionRules
from service.api.sub_path import SubPath
from service.dicom.answer import load_dicom_enhancer
from service.drift.reference import SiteReference, find_references
from service.engine.engine import Engine, EngineOptions
from service.engine.thread_trial import ThreadTrial
from service.engine.threads import usable_cores
from service.errors import AuditUnavailable, LameganError
from service.monitoring.audit import AuditLog
from service.monitoring.logs import get_logger
from service.monitoring.metrics import Metrics
from service.monitoring.served_models import ModelFacts
from service.monitoring.tracing import start_tracing
from service.pipeline import Assessor, EnhanceDefaults, Enhancer
from service.pipeline.processes import ProcessEnhancer
from service.registry.card import ModelCard
from service.registry.shipped import default_folder, holds_model, shipped_folders
from service.registry.signature import TrustedKeys
from service.registry.store import ModelStore
from service.serving.model_pool import ModelPool, ServedModel
from service.serving.model_reloader import ModelReloader
from service.settings import MOST_THREADS, Settings, warm_sizes
from service.vocabulary import Policy


class Service:
    """Everything that one process serves with."""

    def __init__(self, settings: Settings, on_fatal: Callable[[LameganError], None] = lambda _error: None) -> None:
        """Put the parts together; `on_fatal` is told when no model can be served.

        Raises:
            ConfigurationError: the settings contradict each other or the machine.
        """
        self._settings = settings
        self._on_fatal = on_fatal
        self._log = get_logger("lamegan.service")
        self._references: dict[str, SiteReference] = {}
        self.metrics = Metrics(settings.otel_exemplars)
        self.tracing = start_tracing(settings.otel_endpoint, version("lamegan"), settings.otel_exemplars)
        self.store = model_store(settings)
        # Where processes make the photos, this one's engine is for DICOM objects: it is neither warmed nor tried out.
        own = settings.model_copy(update={"infer_threads": settings.infer_threads or 1})
        loader = engine_loader(own if settings.processes else settings, self.metrics)
        warmed = [] if settings.processes else warm_sizes(settings)
        self.model_pool = ModelPool(self.store, settings.model, loader, warmed, engine_options(settings).precision_of)
        workers = settings.processes or settings.workers or min(usable_cores(), MOST_THREADS)
        self.enhancer, in_process = self._enhancers(settings)
        self.pool = WorkerPool(WorkerLimits(workers, settings.queue_capacity, settings.deadline_s))
        self.keys = ApiKeys(settings.keys_file) if settings.keys_file else None
        self.audit = AuditLog(settings.audit_dir, settings.audit_max_bytes) if settings.audit_dir else None
        self.readiness = Readiness()
        self._reloader = ModelReloader(self.store.state_file, self.start, self.load_models)
        api = build_api(self._parts(settings, in_process), self._lifespan)
        self.app, self.gate = api.app, api.gate
        self._describe_work()

    def reload(self) -> None:
        """Follow the store's choice of model soon (SIGHUP, or the active choice changed)."""
        self._reloader.wake()

    def drain(self) -> None:
        """Take no new work; readiness says so."""
        self.readiness.not_ready("The service is shutting down.")
        self.metrics.ready.set(0)
        self.gate.drain()

    def load_models(self) -> None:
        """Put the store's choice into service, and say in logs and metrics how it went.

        Raises:
            LameganError: nothing could be put into service, and nothing was before.
        """
        try:
            change = self.model_pool.reload()
        except LameganError as error:
            self.metrics.reloads.labels("failed").inc()
            self._log.error("models not loaded", code=error.code, reason=error.detail)
            raise
        if isinstance(self.enhancer, ProcessEnhancer):
            for model in self.model_pool.models():
                if model.card.reference == change.default:
                    self.enhancer.prepare(model.card)
        for reference, reason in change.faults:
            self.metrics.reloads.labels("failed").inc()
            self._log.error("model not loaded", model=reference, reason=reason, serving=change.default)
        self._references = self._read_references()
        models = self.model_pool.models()
        self.metrics.name_models(self._model_facts())
        served = {model.card.reference: model for model in models}
        for reference in change.loaded:
            self.metrics.reloads.labels("succeeded").inc()
            self._log.info(
                "model loaded",
                model=reference,
                provider=served[reference].accelerator,
                precision=served[reference].precision,
                signed_by=served[reference].signed_by,
                default=change.default,
                workers=self.pool.limits.threads,
            )
        for card in (model.card for model in models if model.card.reference in change.loaded):
            if not card.calibrated:
                self._log.warning(
                    "model not calibrated",
                    model=card.reference,
                    reason="The card states no calibrated guardrail thresholds; strict built-in ones hold.",
                    floors=card.floors.model_dump(exclude_none=True),
                )

    @asynccontextmanager
    async def _lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        self.pool.start()
        if isinstance(self.enhancer, ProcessEnhancer):
            self.enhancer.start()
        self._reloader.start()
        try:
            yield
        finally:
            self._reloader.stop()
            self.pool.close(self._settings.shutdown_grace_s)
            if isinstance(self.enhancer, ProcessEnhancer):
                self.enhancer.close()
            self.model_pool.close()
            self._close_audit()
            if self.tracing is not None:
                self.tracing.close()

    def start(self) -> bool:
        """Load the models for the first time; False when that failed."""
        try:
            self.load_models()
        except LameganError as error:
            self.readiness.not_ready(error.detail)
            self._on_fatal(error)
            return False
        self.readiness.ready()
        self.metrics.ready.set(1)
        return True

    def _close_audit(self) -> None:
        if self.audit is not None:
            self._log.info("audit log closed", line=self.audit.head.number, hash=self.audit.head.hash)
            try:
                self.audit.close()
            except AuditUnavailable as error:
                self._log.error("audit log not durable", reason=error.detail)

    def _enhancers(self, settings: Settings) -> tuple[Enhancer, Enhancer]:
        """What enhances photos, in processes of its own or on this one's threads; and what does on threads always."""
        defaults = EnhanceDefaults(Policy(settings.policy), settings.jpeg_quality, settings.max_pixels)
        in_process = Enhancer(self.model_pool, defaults)
        if not settings.processes:
            return in_process, in_process
        of, shapes = engine_options(settings.model_copy(update={"device": "cpu"})).precision_of, warm_sizes(settings)

        def weights(card: ModelCard) -> bytes:
            return self.store.weights(card, of(card.variants))

        trial = None if settings.infer_threads else ThreadTrial(_kept(settings, "threads.json"))
        return ProcessEnhancer(self.model_pool, defaults, settings.processes, weights, shapes, trial), in_process

    def _parts(self, settings: Settings, in_process: Enhancer) -> Dependencies:
        return Dependencies(
            enhancer=self.enhancer,
            dicom=load_dicom_enhancer(in_process),
            assessor=Assessor(settings.max_pixels),
            model_pool=self.model_pool,
            pool=self.pool,
            reader=BodyReader(BodyLimits(settings.max_body_bytes, settings.body_timeout_s, settings.body_memory_bytes)),
            metrics=self.metrics,
            audit=Audit(self.audit, settings.audit_required),
            keys=self.keys,
            rate=RateLimit(settings.rate_per_key_per_s),
            rules=AdmissionRules(settings.protect_metrics, settings.protect_page, settings.max_in_flight),
            readiness=self.readiness,
            offer=Offer(version("lamegan"), settings.max_pixels, settings.rate_per_key_per_s),
            cors_origins=settings.cors_origins,
            serve_metrics=settings.metrics_port is None,
            place=SubPath(settings.root_path, settings.trusted_proxies),
            tracing=self.tracing,
        )

    def _describe_work(self) -> None:
        self.metrics.gpu_wanted.set(self._settings.device == "cuda")
        self.metrics.queue_capacity.set(self.pool.limits.capacity)
        self.metrics.queue_depth.set_function(lambda: self.pool.depth)
        self.metrics.follow_models(self._model_facts)

    def _model_facts(self) -> list[ModelFacts]:
        return [model_facts(model, self._reference_of(model)) for model in self.model_pool.models()]

    def _reference_of(self, model: ServedModel) -> SiteReference | None:
        """The site's own, made of what this precision answered; else of the model's other file."""
        of_file = self._references.get(model.card.file.sha256)
        return self._references.get(model.card.digest_in(model.precision), of_file)

    def _read_references(self) -> dict[str, SiteReference]:
        """The site's own references; one that cannot be read is logged and left out."""
        if self._settings.references_dir is None:
            return {}
        found, faults = find_references(self._settings.references_dir)
        for fault in faults:
            self._log.error("reference not loaded", reason=fault.detail)
        return found


def model_store(settings: Settings) -> ModelStore:
    """The store that `settings` name.

    The default folder is that of the working directory where it holds a model, else that which came with the program.
    """
    folder = settings.models_dir
    if "models_dir" not in settings.model_fields_set:
        folder = default_folder(folder)
    trusted = TrustedKeys(settings.trusted_keys_file) if settings.trusted_keys_file else None
    return ModelStore(folder, settings.state_dir, trusted)


def searched_folders(settings: Settings) -> list[Path]:
    """Where a model that `settings` name was looked for, for whoever is told that it is absent."""
    folder = model_store(settings).folder
    everywhere = "models_dir" not in settings.model_fields_set and not holds_model(folder)
    return [folder, *(shipped_folders() if everywhere else [])]


def engine_options(settings: Settings) -> EngineOptions:
    """How `settings` want the generator to run."""
    return EngineOptions(
        device=settings.device,
        allow_cpu_fallback=settings.allow_cpu_fallback,
        threads=settings.infer_threads,
        trial=ThreadTrial(_kept(settings, "threads.json"), _tell_unwritten if settings.state_dir else None),
        max_batch=settings.max_batch,
        max_wait_s=settings.max_wait_ms / 1000,
        precision=settings.precision,
        cuda_graphs=settings.cuda_graphs,
        tensorrt_cache=_kept(settings, "tensorrt") if settings.tensorrt else None,
    )


def engine_loader(settings: Settings, metrics: Metrics | None = None) -> Callable[[bytes], Engine]:
    """What makes an engine of a model file's bytes, on the device that `settings` name."""
    options = engine_options(settings)

    def count_batch(size: int) -> None:
        if metrics is not None:
            metrics.batch_size.observe(size)

    return lambda weights: Engine(weights, options, count_batch)


def _tell_unwritten(error: OSError) -> None:
    get_logger("lamegan.service").warning(
        "state not written",
        reason=f"LAMEGAN_STATE_DIR: {error.strerror}.",
        effect="Photos are served; the trial of threads runs again at the next start; no model can be activated.",
    )


def _kept(settings: Settings, name: str) -> Path:
    """Where `name` is kept across restarts: in the state folder, else among the user's caches."""
    if settings.state_dir is not None:
        return settings.state_dir / name
    caches = os.environ.get("XDG_CACHE_HOME")
    return (Path(caches) if caches else Path("~/.cache").expanduser()) / "lamegan" / name


def model_facts(model: ServedModel, reference: SiteReference | None = None) -> ModelFacts:
    """What the metrics say of a model in service; `reference` takes the place of its card's distributions."""
    card = model.card
    facts = ModelFacts(
        card.name,
        card.version,
        card.digest_in(model.precision),
        model.accelerator,
        card.calibrated,
        card.reference_counts(),
        precision=model.precision,
    )
    if reference is None:
        return facts
    return replace(facts, references={**facts.references, **reference.counts}, reference_name=reference.label)
