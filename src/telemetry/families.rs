//! Every series this process can show, as a table. `docs/observability.md` has the same rows.

/// What stands above the samples of one name.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// The name; of a histogram the part before `_bucket`, `_sum` and `_count`.
    pub name: &'static str,
    /// How its numbers behave.
    pub kind: Kind,
    /// The labels of each sample, in order. Their values come from closed sets.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

/// How the numbers of a family behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations in buckets.
    Histogram,
}

impl Kind {
    /// Its name in the exposition.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Declares the families and the list of all of them, in the order in which they are shown.
macro_rules! families {
    ($($constant:ident = $kind:ident $name:literal $labels:tt $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Family = Family {
                name: $name,
                kind: Kind::$kind,
                labels: &$labels,
                help: $help,
            };
        )*
        /// All of them.
        pub const FAMILIES: &[&Family] = &[$(&$constant),*];
    };
}

families! {
    // The names that Fulcio's dashboards and alerts ask for.
    NEW_CERTS = Counter "fulcio_new_certs" [] "Certificates issued.";
    API_LATENCY = Histogram "fulcio_api_latency" ["code", "method"] "Time to answer an HTTP request, in seconds.";
    HTTP_REQUESTS = Counter "http_requests_total" ["code", "method"] "HTTP requests answered.";
    FULCIO_BUILD_INFO = Gauge "fulcio_build_info" ["version", "revision", "build_date", "goversion"] "Always 1; the labels say what is running.";
    GRPC_STARTED = Counter "grpc_server_started_total" ["grpc_type", "grpc_service", "grpc_method"] "gRPC calls begun.";
    GRPC_HANDLED = Counter "grpc_server_handled_total" ["grpc_type", "grpc_service", "grpc_method", "grpc_code"] "gRPC calls answered.";
    GRPC_RECEIVED = Counter "grpc_server_msg_received_total" ["grpc_type", "grpc_service", "grpc_method"] "gRPC messages received.";
    GRPC_SENT = Counter "grpc_server_msg_sent_total" ["grpc_type", "grpc_service", "grpc_method"] "gRPC messages sent.";

    BUILD_INFO = Gauge "vouchsafe_build_info" ["version"] "Always 1; the label says what is running.";
    ISSUANCE = Counter "vouchsafe_issuance_total" ["issuer", "outcome"] "Requests that came as far as issuance, by the configured issuer they belong to.";
    REFUSALS = Counter "vouchsafe_refusals_total" ["reason"] "Requests without a certificate, by the reason that callers are told.";
    ISSUANCE_DURATION = Histogram "vouchsafe_issuance_duration_seconds" ["outcome"] "Time from a parsed request to its outcome, queue included, in seconds.";
    STEP_DURATION = Histogram "vouchsafe_step_duration_seconds" ["step"] "Time of one step of issuance, in seconds.";
    LOG_BATCH = Histogram "vouchsafe_log_batch_entries" [] "Entries of one commit of the transparency log.";
    LOG_COMMIT = Histogram "vouchsafe_log_commit_duration_seconds" [] "Time of one commit of the transparency log, in seconds.";
    LOG_SIZE = Gauge "vouchsafe_log_tree_size" [] "Entries in the transparency log.";
    LOG_BUSY = Counter "vouchsafe_log_turned_away_total" ["reason"] "Entries that the transparency log had no room for.";
    LOG_PUBLISHED_SIZE = Gauge "vouchsafe_log_published_size" [] "Entries in the checkpoint that was published last; nothing where the log is not published.";
    LOG_PUBLISHED = Gauge "vouchsafe_log_published_timestamp_seconds" [] "When the published log was last found or made equal to ours.";
    LOG_PUBLISH_FAILURES = Counter "vouchsafe_log_publish_failures_total" [] "Attempts to publish the log that failed and were put off.";
    LOG_PUBLISH_STOPPED = Gauge "vouchsafe_log_publish_stopped" [] "1 if the publisher has stopped for good: what is published contradicts the log.";
    LOG_WITNESSED_SIZE = Gauge "vouchsafe_log_witnessed_size" ["witness"] "Entries in the tree that a witness has cosigned last.";
    LOG_WITNESSED = Gauge "vouchsafe_log_witnessed_timestamp_seconds" ["witness"] "When a witness last cosigned.";
    LOG_WITNESS_FAILURES = Counter "vouchsafe_log_witness_failures_total" ["witness"] "Questions to a witness without a cosignature that verifies.";
    LOG_REQUESTS = Counter "vouchsafe_log_requests_total" ["code", "method"] "HTTP requests to the transparency log.";
    EXTERNAL_LOG = Counter "vouchsafe_external_log_total" ["log", "outcome"] "Certificates sent to somebody else's transparency log, by what became of them.";
    EXTERNAL_LOG_DURATION = Histogram "vouchsafe_external_log_duration_seconds" ["log"] "Time that somebody else's transparency log took for a certificate, repetitions included, in seconds.";
    EXTERNAL_LOG_USABLE = Gauge "vouchsafe_external_log_usable" ["log"] "1 if certificates are sent to this log.";
    EXTERNAL_LOG_SUSPECT = Gauge "vouchsafe_external_log_suspect" ["log"] "1 if this log gave an answer that must not get into a certificate, and is left alone.";
    LEDGER_BATCH = Histogram "vouchsafe_ledger_batch_rows" [] "Rows of one commit of the ledger.";
    LEDGER_COMMIT = Histogram "vouchsafe_ledger_commit_duration_seconds" [] "Time of one commit of the ledger, in seconds.";
    OUTSTANDING = Gauge "vouchsafe_issuing_outstanding" [] "Requests being issued or waiting for it.";
    CAPACITY = Gauge "vouchsafe_issuing_capacity" [] "Requests that may be issued or wait at the same time.";
    READY = Gauge "vouchsafe_ready" ["check"] "1 if this check of /readyz is good.";
    KEYS_FAILING = Gauge "vouchsafe_issuer_keys_failing" ["issuer"] "Issuers of this configured entry whose keys could not be fetched when last tried.";
    KEYS_FETCHED = Gauge "vouchsafe_issuer_keys_fetched_timestamp_seconds" ["issuer"] "When keys of this configured entry were last fetched; nothing before the first time.";
    CA_EXPIRY = Gauge "vouchsafe_ca_expiry_timestamp_seconds" [] "When the first certificate of the authority's chain ends.";
    TLS_EXPIRY = Gauge "vouchsafe_tls_expiry_timestamp_seconds" ["listener"] "When the certificate of a listener ends.";
    TLS_FAILING = Gauge "vouchsafe_tls_reload_failing" ["listener"] "1 if the files of a listener's certificate were refused when last read, and an older one is shown.";
    CONFIG_GENERATION = Gauge "vouchsafe_config_generation" [] "Configurations of issuers taken into force since the start; 1 is the one of the start.";
    CONFIG_LOADED = Gauge "vouchsafe_config_last_success_timestamp_seconds" [] "When the issuers in force were read.";
    CONFIG_FAILING = Gauge "vouchsafe_config_reload_failing" [] "1 if the issuers' file was refused when last read, and an older one is in force.";
    RECONCILED = Gauge "vouchsafe_ledger_audit_last_success_timestamp_seconds" [] "When ledger and log were last compared to the end; nothing before the first time.";
    RECONCILIATION_TROUBLE = Gauge "vouchsafe_ledger_audit_differences" [] "Differences between ledger and log that nothing innocent explains, found since the last full comparison began.";
    RECONCILIATION_UNRECORDED = Gauge "vouchsafe_ledger_audit_unrecorded" [] "Logged certificates without a row in the ledger, as a crash leaves them, found since the last full comparison began.";
    RECONCILIATION_FAILING = Gauge "vouchsafe_ledger_audit_failing" [] "1 if the last comparison of ledger and log could not be carried through.";
    AUDIT_WRITTEN = Counter "vouchsafe_audit_written_total" [] "Audit records written.";
    AUDIT_LOST = Counter "vouchsafe_audit_lost_total" [] "Audit records of refused requests for which there was no room.";
    AUDIT_WAITING = Gauge "vouchsafe_audit_waiting" [] "Audit records that wait to be written.";
    AUDIT_FAILING = Gauge "vouchsafe_audit_failing" [] "1 if audit records cannot be written at the moment.";

    CPU = Counter "process_cpu_seconds_total" [] "Processor time used, in seconds.";
    RESIDENT = Gauge "process_resident_memory_bytes" [] "Resident memory.";
    OPEN_FILES = Gauge "process_open_fds" [] "Open file descriptors.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_lists_the_series_that_are_shown() {
        let text = std::fs::read_to_string("docs/observability.md").unwrap();
        let (_, table) = text.split_once("| series |").unwrap();
        let rows = table
            .lines()
            .skip(2)
            .take_while(|line| line.starts_with('|'));
        let documented: Vec<&str> = rows.collect();
        let shown: Vec<String> = FAMILIES
            .iter()
            .map(|family| {
                let labels: Vec<_> = family
                    .labels
                    .iter()
                    .map(|label| format!("`{label}`"))
                    .collect();
                let labels = match labels.is_empty() {
                    true => "none".to_owned(),
                    false => labels.join(", "),
                };
                let (name, kind, help) = (family.name, family.kind.name(), family.help);
                format!("| `{name}` | {kind} | {labels} | {help} |")
            })
            .collect();
        assert_eq!(documented, shown);
    }
}
