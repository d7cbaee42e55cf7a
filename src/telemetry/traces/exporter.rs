//! The way of spans to a collector: OTLP over HTTP, by this program's own client.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_http::{HeaderExtractor, HeaderInjector, HttpClient, HttpError};
use opentelemetry_http::{Request, Response};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use reqwest::header::HeaderMap;
use tokio::runtime::Handle;
use tracing::level_filters::LevelFilter;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

use super::{Wanted, wanted};

/// The layer that makes spans of what the environment asks for, and a sentence for the log about
/// what cannot be had. Within a tokio runtime.
pub(in super::super) fn layer<S>() -> (Option<impl Layer<S>>, Option<String>)
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    match wanted(|name| std::env::var(name).ok()) {
        Wanted::Nothing => return (None, None),
        Wanted::Unsupported(sentence) => return (None, Some(sentence)),
        Wanted::Otlp => {}
    }
    let provider = match provider() {
        Ok(provider) => provider,
        Err(error) => return (None, Some(format!("no exporter: {error}"))),
    };
    let ours = Targets::new()
        .with_target("vouchsafe::request", LevelFilter::DEBUG)
        .with_target("vouchsafe::step", LevelFilter::DEBUG);
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("vouchsafe"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_level(false)
        .with_filter(ours);
    // Only the first call of a process has an effect, here as there.
    drop(PROVIDER.set(provider));
    (Some(layer), None)
}

pub(super) fn join(span: &Span, headers: &HeaderMap) {
    if PROVIDER.get().is_none() || span.is_disabled() {
        return;
    }
    let parent = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
    if parent.span().span_context().is_valid() {
        // An error says that there is no layer, and then no span that could have a parent.
        drop(span.set_parent(parent));
    }
}

pub(super) fn outgoing() -> HeaderMap {
    let mut headers = HeaderMap::new();
    if PROVIDER.get().is_some() {
        let context = Span::current().context();
        TraceContextPropagator::new().inject_context(&context, &mut HeaderInjector(&mut headers));
    }
    headers
}

pub(super) fn close() {
    if let Some(provider) = PROVIDER.get()
        && let Err(error) = provider.shutdown_with_timeout(CLOSING)
    {
        tracing::warn!(%error, "the last spans were not delivered");
    }
}

fn provider() -> Result<SdkTracerProvider, Box<dyn std::error::Error + Send + Sync>> {
    let timeout = [
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
        "OTEL_EXPORTER_OTLP_TIMEOUT",
    ]
    .into_iter()
    .find_map(|name| std::env::var(name).ok()?.parse().ok());
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(timeout.map_or(PATIENCE, Duration::from_millis))
        .build()?;
    let courier = Courier {
        http,
        runtime: Handle::try_current()?,
        is_failing: AtomicBool::new(false),
    };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(courier)
        .build()?;
    let mut resource = Resource::builder();
    let says = |variable: &str, what: &str| {
        let value = std::env::var(variable).unwrap_or_default();
        !value.is_empty() && value.contains(what)
    };
    let is_named =
        says("OTEL_SERVICE_NAME", "") || says("OTEL_RESOURCE_ATTRIBUTES", "service.name=");
    if !is_named {
        resource = resource.with_service_name("vouchsafe");
    }
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource.build())
        .build())
}

/// Carries batches to the collector. The exporter's thread is not of any runtime, so the request is
/// made on ours.
#[derive(Debug)]
struct Courier {
    http: reqwest::Client,
    runtime: Handle,
    is_failing: AtomicBool,
}

#[async_trait]
impl HttpClient for Courier {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let http = self.http.clone();
        let sent = self.runtime.spawn(async move {
            let request = reqwest::Request::try_from(request)?;
            let response = http.execute(request).await?;
            // A collector's answer says nothing that is needed.
            let status = response.status();
            Ok::<_, reqwest::Error>(status)
        });
        let failure = match sent.await? {
            Ok(status) if status.is_success() => None,
            Ok(status) => Some((format!("status {status}"), Some(status))),
            Err(error) => Some((error.without_url().to_string(), None)),
        };
        let was_failing = self.is_failing.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            None => {
                if was_failing {
                    tracing::info!("the collector of traces takes spans again");
                }
                Ok(Response::new(Bytes::new()))
            }
            Some((reason, status)) => {
                if !was_failing {
                    tracing::warn!(
                        reason,
                        "the collector of traces takes no spans; they are lost"
                    );
                }
                let status = status.ok_or(reason)?;
                Ok(Response::builder().status(status).body(Bytes::new())?)
            }
        }
    }
}

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// How long a collector may take for a batch, if the environment does not say.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the end waits for the last batch.
const CLOSING: Duration = Duration::from_secs(5);
