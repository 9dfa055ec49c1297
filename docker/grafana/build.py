"""The Grafana dashboards, made by Grafana's typed builders: `python docker/grafana/build.py` writes dashboards/*.json.

Two boards: operations (is it up, is it fast, does it answer, what changed) and model (is it faithful, do scores and
photos look like the reference). A test holds the files to this module and every query to a running Prometheus.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from grafana_foundation_sdk.builders import barchart, common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

FOLDER = Path(__file__).resolve().parent / "dashboards"
SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
"""The Prometheus that the board's variable names; at first the one that is provisioned."""

JOB = 'job="lamegan"'
MODEL = f'{JOB}, model_digest=~"$model"'
HEIGHT, HALF, QUARTER = 8, 12, 6

Panel = timeseries.Panel | stat.Panel | barchart.Panel


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL expression and how its series are called."""

    expr: str
    legend: str = ""


def target(query: Query, number: int, *, instant: bool = False) -> prometheus.Dataquery:
    """The query as a panel's target."""
    made = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(chr(ord("A") + number))
    made = made.datasource(SOURCE)
    return made.instant().format(PromQueryFormat.TIME_SERIES) if instant else made.range()


def lines(
    title: str, unit: str, about: str, *queries: Query, span: int = HALF, top: float | None = None, stack: bool = False
) -> timeseries.Panel:
    """Series over time."""
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    panel = timeseries.Panel().title(title).description(about).unit(unit).datasource(SOURCE).span(span).height(HEIGHT)
    panel = panel.legend(legend.show_legend(True)).fill_opacity(8).line_width(2)
    panel = panel if top is None else panel.min(0).max(top)
    if stack:
        panel = panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL)).fill_opacity(40)
    for number, query in enumerate(queries):
        panel = panel.with_target(target(query, number))
    return panel


def number(
    title: str, unit: str, about: str, query: Query, steps: tuple[tuple[float | None, str], ...], decimals: int = 0
) -> stat.Panel:
    """One figure in the colour of its state; `steps` are (from, colour), the first from None."""
    thresholds = dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE)
    thresholds = thresholds.steps([models.Threshold(value=value, color=colour) for value, colour in steps])
    panel = stat.Panel().title(title).description(about).unit(unit).datasource(SOURCE).span(QUARTER).height(4)
    panel = panel.thresholds(thresholds).color_mode(BigValueColorMode.BACKGROUND).decimals(decimals)
    return panel.with_target(target(query, 0))


def bars(title: str, about: str, *queries: Query) -> barchart.Panel:
    """Shares of buckets side by side, at the end of the chosen time."""
    panel = barchart.Panel().title(title).description(about).unit("percentunit").datasource(SOURCE).span(HALF)
    panel = panel.height(HEIGHT).orientation(VizOrientation.VERTICAL).x_field("upper")
    for place, query in enumerate(queries):
        panel = panel.with_target(target(query, place, instant=True).format(PromQueryFormat.TABLE))
    return panel.with_transformation(
        models.DataTransformerConfig(id_val="joinByField", options={"byField": "upper", "mode": "outer"})
    )


def board(uid: str, title: str, *, by_model: bool = False) -> dashboard.Dashboard:
    """An empty board with marks where models and alerts changed; `by_model`: it can be cut down to one model."""
    made = dashboard.Dashboard(title).uid(uid).tags(["lamegan"]).time("now-24h", "now").refresh("1m").readonly()
    made = made.timezone("browser").annotation(
        dashboard.AnnotationQuery()
        .name("Alerts")
        .datasource(SOURCE)
        .enable(True)
        .icon_color("red")
        .expr('ALERTS{alertstate="firing", alertname=~"Lamegan.+"}')
    )
    source = dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
    made = made.with_variable(source.current(models.VariableOption(text="Prometheus", value="prometheus")))
    if not by_model:
        return made
    variable = dashboard.QueryVariable("model").label("Model digest").datasource(SOURCE)
    variable = variable.query("label_values(lamegan_model_info, model_digest)").include_all(True).all_value(".+")
    variable = variable.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
    return made.with_variable(variable.multi(True).current(models.VariableOption(text="All", value="$__all")))


def operations() -> dashboard.Dashboard:
    """What whoever runs the machines asks first."""
    up, fast, work, change = _up(), _fast(), _work(), _changes()
    made = board("lamegan-operations", "LaMEGAN: operations")
    for title, panels in (("Is it up", up), ("Is it fast", fast), ("Does it answer", work), ("What changed", change)):
        made = _with_row(made, title, panels)
    return made


def model() -> dashboard.Dashboard:
    """What the owner of the model asks."""
    made = board("lamegan-model", "LaMEGAN: model", by_model=True)
    made = _with_row(made, "Is it faithful", _faithful())
    made = _with_row(made, "Scores beside the reference", _scores())
    made = _with_row(made, "Photos beside the reference", _photos())
    return _with_row(made, "What changed", _changes())


def _with_row(made: dashboard.Dashboard, title: str, panels: tuple[Panel, ...]) -> dashboard.Dashboard:
    made = made.with_row(dashboard.Row(title))
    for panel in panels:
        made = made.with_panel(panel)
    return made


def _numbered(built: models.Dashboard) -> models.Dashboard:
    """`built` with an id for each panel, by which links name them."""
    for place, panel in enumerate(built.panels or (), start=1):
        panel.id_val = place
    return built


def _up() -> tuple[Panel, ...]:
    good_high = ((None, "red"), (1, "green"))
    good_low = ((None, "green"), (1, "red"))
    return (
        number("Replicas ready", "none", "LameganDown below 1.", Query(f"sum(lamegan_ready{{{JOB}}})"), good_high),
        number(
            "Alerts that page",
            "none",
            "Firing now; see the runbook.",
            Query('count(ALERTS{alertstate="firing", severity="page", alertname=~"Lamegan.+"}) or vector(0)'),
            good_low,
        ),
        number(
            "Answered, last hour",
            "percentunit",
            "Photos that were neither refused nor failed; the objective is 99.5 %.",
            Query(
                'clamp_min(1 - 0.005 * max(lamegan:slo_burn:ratio{slo="availability", window="1h"}), 0) or vector(1)'
            ),
            ((None, "red"), (0.99, "orange"), (0.995, "green")),
            decimals=2,
        ),
        number(
            "Answered in 2 s, last hour",
            "percentunit",
            "The objective is 99 %.",
            Query('clamp_min(1 - 0.01 * max(lamegan:slo_burn:ratio{slo="latency", window="1h"}), 0) or vector(1)'),
            ((None, "red"), (0.98, "orange"), (0.99, "green")),
            decimals=2,
        ),
    )


def _fast() -> tuple[Panel, ...]:
    def quantile(q: float) -> str:
        rate = f'sum by (le) (rate(lamegan_request_seconds_bucket{{{JOB}, route="/enhance"}}[$__rate_interval]))'
        return f"histogram_quantile({q}, {rate})"

    stages = f"lamegan_stage_seconds_sum{{{JOB}}}[$__rate_interval]"
    counts = f"lamegan_stage_seconds_count{{{JOB}}}[$__rate_interval]"
    return (
        lines(
            "Time of an answer",
            "s",
            "POST /enhance, arrival to answer.",
            *(Query(quantile(q), f"{q:.0%}") for q in (0.5, 0.95, 0.99)),
        ),
        lines(
            "Where the time goes",
            "s",
            "Mean seconds of each stage of a photo, on top of each other.",
            Query(f"sum by (stage) (rate({stages})) / sum by (stage) (rate({counts}))", "{{stage}}"),
            stack=True,
        ),
        lines(
            "Burn rate of the month's budgets",
            "none",
            "Above 14.4 over an hour or 6 over six hours pages.",
            Query('max by (slo, window) (lamegan:slo_burn:ratio{window=~"1h|6h"})', "{{slo}} {{window}}"),
        ),
        lines(
            "Queue",
            "none",
            "Accepted photos that wait, and how many may.",
            Query(f"sum(lamegan_queue_depth{{{JOB}}})", "waiting"),
            Query(f"sum(lamegan_queue_capacity{{{JOB}}})", "capacity"),
            Query(f"sum(lamegan_requests_in_flight{{{JOB}}})", "requests in flight"),
        ),
    )


def _work() -> tuple[Panel, ...]:
    requests = f'lamegan_requests_total{{{JOB}, route="/enhance"}}[$__rate_interval]'
    failures = f'lamegan_requests_total{{{JOB}, route="/enhance", code!="ok"}}[$__rate_interval]'
    return (
        lines("Photos a second", "reqps", "POST /enhance.", Query(f"sum(rate({requests}))", "photos")),
        lines(
            "Requests by status",
            "reqps",
            "POST /enhance.",
            Query(f"sum by (status) (rate({requests}))", "{{status}}"),
            stack=True,
        ),
        lines(
            "Failures by code",
            "reqps",
            "What went wrong, and what callers sent wrong.",
            Query(f"sum by (code) (rate({failures}))", "{{code}}"),
        ),
        lines(
            "Photos in one run",
            "none",
            "Mean batch size of the model.",
            Query(
                f"sum(rate(lamegan_batch_size_sum{{{JOB}}}[$__rate_interval]))"
                f" / sum(rate(lamegan_batch_size_count{{{JOB}}}[$__rate_interval]))",
                "batch",
            ),
        ),
    )


def _changes() -> tuple[Panel, ...]:
    return (
        lines(
            "Models in service",
            "none",
            "Replicas by model, version and device.",
            Query(
                f"count by (name, version, provider) (lamegan_model_info{{{JOB}}})",
                "{{name}}/{{version}} on {{provider}}",
            ),
        ),
        lines(
            "Reloads and starts",
            "none",
            "Models loaded, models refused, and replicas started within an hour.",
            Query(f"sum by (outcome) (increase(lamegan_model_reloads_total{{{JOB}}}[1h]))", "{{outcome}}"),
            Query(f"sum(changes(process_start_time_seconds{{{JOB}}}[1h]))", "restarts"),
        ),
        lines(
            "Memory",
            "bytes",
            "Of each replica's process, and of its first GPU.",
            Query(f"process_resident_memory_bytes{{{JOB}}}", "{{instance}}"),
            Query(f"lamegan_gpu_memory_used_bytes{{{JOB}}}", "{{instance}} GPU"),
        ),
        lines(
            "CPU and open files",
            "none",
            "Cores in use, and open files in hundreds.",
            Query(f"rate(process_cpu_seconds_total{{{JOB}}}[$__rate_interval])", "{{instance}} cores"),
            Query(f"process_open_fds{{{JOB}}} / 100", "{{instance}} files / 100"),
        ),
    )


def _faithful() -> tuple[Panel, ...]:
    def of(series: str) -> str:
        return f'{series}{{{MODEL}, measure=~"lassim|lassim_worst"}}'

    return (
        lines(
            "Mean LaSSIM",
            "none",
            "By window; dashed is not drawn: the reference is the series of that name.",
            Query(of("lamegan:measure_mean:value"), "{{measure}} {{window}}"),
            Query(of("lamegan:reference_mean:value"), "{{measure}} reference"),
        ),
        lines(
            "Verdicts",
            "percentunit",
            "Share of photos in the last hour (of at least forty).",
            Query(
                f'lamegan:verdict_share:ratio{{{MODEL}, window="1h"}}',
                "{{verdict}}",
            ),
            top=1,
        ),
        lines(
            "Divergence above noise",
            "none",
            "Jensen-Shannon, bits; the ticket is at 0.08.",
            Query(f"{of('lamegan:measure_js:bits')} - lamegan:measure_js_noise:bits", "{{measure}} {{window}}"),
        ),
        lines(
            "Population stability index",
            "none",
            "Nats; only for those who are used to it.",
            Query(of("lamegan:measure_psi:nats"), "{{measure}} {{window}}"),
        ),
        lines(
            "Colour shift",
            "none",
            "Mean CIEDE2000 to the input.",
            Query(
                f"sum by (model_digest) (rate(lamegan_delta_e_mean_sum{{{MODEL}}}[1h]))"
                f" / sum by (model_digest) (rate(lamegan_delta_e_mean_count{{{MODEL}}}[1h]))",
                "{{model_digest}}",
            ),
        ),
        lines(
            "Blended back",
            "percentunit",
            "Mean share of the input in what was delivered.",
            Query(
                f"sum by (model_digest) (rate(lamegan_blend_share_sum{{{MODEL}}}[1h]))"
                f" / sum by (model_digest) (rate(lamegan_blend_share_count{{{MODEL}}}[1h]))",
                "{{model_digest}}",
            ),
            top=1,
        ),
    )


def _scores() -> tuple[Panel, ...]:
    return tuple(
        _beside(measure, title, f'{MODEL}, measure="{measure}"')
        for measure, title in (("lassim", "LaSSIM"), ("lassim_worst", "Worst region"))
    )


def _photos() -> tuple[Panel, ...]:
    titles = (("sharpness", "Sharpness"), ("exposure", "Exposure"), ("contrast", "Contrast"), ("megapixels", "Size"))
    shares = tuple(_beside(f"input_{name}", title, f'{JOB}, measure="input_{name}"') for name, title in titles)
    shift = lines(
        "Shift of the photos",
        "none",
        "Of the mean, in standard deviations of the reference; the ticket is at 0.5.",
        Query(f'lamegan:measure_shift:deviations{{{JOB}, measure=~"input_.+"}}', "{{measure}} {{window}}"),
    )
    return (*shares, shift)


def _beside(measure: str, title: str, labels: str) -> Panel:
    return bars(
        title,
        f"{measure}: share of photos up to each bound in the last day, beside the reference.",
        Query(f'avg by (upper) (lamegan:measure_share:ratio{{{labels}, window="1d"}})', "last day"),
        Query(f"avg by (upper) (lamegan:reference_share:avg{{{labels}}})", "reference"),
    )


BOARDS: dict[str, Callable[[], dashboard.Dashboard]] = {"operations": operations, "model": model}


def rendered(name: str) -> str:
    """The JSON of a board."""
    return JSONEncoder(sort_keys=True, indent=2).encode(_numbered(BOARDS[name]().build())) + "\n"


def main() -> None:
    """Write every board."""
    for name in BOARDS:
        (FOLDER / f"{name}.json").write_text(rendered(name), encoding="utf-8")


if __name__ == "__main__":
    main()
