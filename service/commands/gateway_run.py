"""The work of `lamegan gateway`: the gateway in the foreground."""

from __future__ import annotations

import logging
import signal
import threading
from pathlib import Path
from types import FrameType

from service.commands.console import quiet_decoders
from service.composition import engine_options, model_store
from service.dicom.answer import load_dicom_enhancer
from service.dicom.gateway.config import GatewayConfig, read_config
from service.dicom.gateway.gateway import Gateway
from service.dicom.gateway.monitor import MonitorServer
from service.errors import ConfigurationError
from service.monitoring.gateway_metrics import GatewayMetrics
from service.monitoring.logs import configure_logs, get_logger
from service.pipeline import EnhanceDefaults, Enhancer
from service.serving.single_model import SingleModel
from service.settings import read_settings
from service.vocabulary import Policy


def run(file: Path) -> None:
    """Run the gateway that `file` configures until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: the file makes no sense, an address is taken, or the spool cannot be opened.
        LameganError: the model cannot be loaded.
    """
    settings = read_settings(allow_anonymous=True)
    configure_logs(settings.log_level, settings.log_format)
    config = read_config(file)
    stopped = until_told_to_stop()
    quiet_decoders()
    defaults = EnhanceDefaults(
        Policy(config.work.policy or settings.policy), settings.jpeg_quality, settings.max_pixels
    )
    store = model_store(settings)
    model = config.work.model
    with SingleModel(store, model or settings.model, engine_options(settings), as_default=model is None) as generators:
        _run(config, Enhancer(generators, defaults), stopped)


def _run(config: GatewayConfig, enhancer: Enhancer, stopped: threading.Event) -> None:
    dicom = load_dicom_enhancer(enhancer)
    if dicom is None:
        raise ConfigurationError("The gateway needs the extra `dicom` (pip install 'lamegan[dicom]').")
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)  # its lines quote what was sent
    metrics = GatewayMetrics(config.spool.least_free_bytes)
    gateway = Gateway(config, dicom, metrics)
    monitor = MonitorServer(config.monitor, gateway.spool, metrics)
    monitor.start()
    try:
        gateway.start()
        listening = gateway.listener.port if gateway.listener else None
        get_logger("lamegan.gateway").info("gateway started", port=listening, monitor=monitor.port)
        stopped.wait()
    finally:
        gateway.stop()
        monitor.stop()
        get_logger("lamegan.gateway").info("gateway stopped")


def until_told_to_stop() -> threading.Event:
    """An event that SIGTERM and SIGINT set."""
    stopped = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    return stopped
