//! Traces for OpenTelemetry, asked for by its own environment variables: a span for each request for
//! a certificate, one for each step of it, and the W3C trace context in and out.
//!
//! Spans leave in batches, from a thread of their own. A collector that is down costs spans and one
//! log line, and nothing waits for it.

use reqwest::header::HeaderMap;
use tracing::Span;
use tracing::field::Empty;

#[cfg(feature = "otlp")]
pub(super) use exporter::layer;
#[cfg(feature = "otlp")]
mod exporter;

/// What the environment asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// No traces.
    Nothing,
    /// Traces to a collector.
    Otlp,
    /// Something that this program does not do.
    Unsupported(String),
}

/// Reads what the environment asks for. Without any of the variables there are no traces: unlike
/// the specification's default, nobody knocks at a collector that nobody named.
pub(super) fn wanted(variable: impl Fn(&str) -> Option<String>) -> Wanted {
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Wanted::Nothing;
    }
    let is_named = [
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    ]
    .into_iter()
    .any(|name| variable(name).is_some());
    match variable("OTEL_TRACES_EXPORTER").as_deref() {
        None if !is_named => return Wanted::Nothing,
        Some("none") => return Wanted::Nothing,
        None | Some("otlp") => {}
        Some(other) => {
            let sentence = format!("OTEL_TRACES_EXPORTER is {other}; otlp and none are possible");
            return Wanted::Unsupported(sentence);
        }
    }
    let protocol = variable("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
        .or_else(|| variable("OTEL_EXPORTER_OTLP_PROTOCOL"));
    match protocol.as_deref() {
        None | Some("http/protobuf") => Wanted::Otlp,
        Some(other) => Wanted::Unsupported(format!(
            "OTEL_EXPORTER_OTLP_PROTOCOL is {other}; http/protobuf is possible"
        )),
    }
}

/// The span of a request that came with these headers, as a part of its caller's trace if they say
/// so.
pub fn request(headers: &HeaderMap, name: &'static str) -> Span {
    let span = tracing::debug_span!(
        target: "vouchsafe::request",
        "request",
        otel.name = name,
        otel.kind = "server",
        otel.status_code = Empty,
        http.response.status_code = Empty,
    );
    #[cfg(feature = "otlp")]
    exporter::join(&span, headers);
    #[cfg(not(feature = "otlp"))]
    let _ = headers;
    span
}

/// Ends the span of a request with the status of its answer.
pub fn answered(span: &Span, status: u16) {
    span.record("http.response.status_code", status);
    if status >= 500 {
        span.record("otel.status_code", "ERROR");
    }
}

/// The headers that make what another server does a part of this trace. None, where there is none.
pub fn outgoing() -> HeaderMap {
    #[cfg(feature = "otlp")]
    return exporter::outgoing();
    #[cfg(not(feature = "otlp"))]
    HeaderMap::new()
}

/// Sends what waits, for a few seconds if need be.
pub fn close() {
    #[cfg(feature = "otlp")]
    exporter::close();
}

/// Nothing is exported by a program that was built without it.
#[cfg(not(feature = "otlp"))]
pub(super) fn layer<S>() -> (Option<tracing_subscriber::layer::Identity>, Option<String>) {
    let sentence = match wanted(|name| std::env::var(name).ok()) {
        Wanted::Nothing => None,
        Wanted::Otlp => Some("this program was built without the feature otlp".to_owned()),
        Wanted::Unsupported(sentence) => Some(sentence),
    };
    (None, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn asks(variables: &[(&str, &str)]) -> Wanted {
        wanted(|name| {
            let mut all = variables.iter();
            let found = all.find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn traces_are_sent_where_nobody_asked_for_them() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
        assert_eq!(asks(&[]), Wanted::Nothing);
        assert_eq!(asks(&[("OTEL_SERVICE_NAME", "ca")]), Wanted::Nothing);
        assert_eq!(
            asks(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]),
            Wanted::Nothing
        );
        assert_eq!(
            asks(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]),
            Wanted::Nothing
        );
        assert_eq!(
            asks(&[endpoint, ("OTEL_SDK_DISABLED", "true")]),
            Wanted::Nothing
        );
        assert_eq!(asks(&[endpoint]), Wanted::Otlp);
        assert_eq!(asks(&[("OTEL_TRACES_EXPORTER", "otlp")]), Wanted::Otlp);
    }

    #[test]
    fn what_is_not_there_is_taken_for_something_else() {
        for unsupported in [
            ("OTEL_TRACES_EXPORTER", "console"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ] {
            let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
            let asked = asks(&[endpoint, unsupported]);
            assert!(
                matches!(&asked, Wanted::Unsupported(sentence) if sentence.contains(unsupported.1)),
                "{asked:?}"
            );
        }
    }
}
