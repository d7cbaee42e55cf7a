//! The page that Prometheus collects.

use super::{ExternalLog, GRPC_CODES, Gauges, Grpc, LOG_OUTCOMES, Metrics, OUTCOMES, Reconciled};
use crate::telemetry::exposition::{Counter, Exposition, as_f64};
use crate::telemetry::steps::STEPS;
use crate::telemetry::{audit, families as f, process};

impl Metrics {
    /// Everything, for whoever collects it.
    pub fn render(&self, gauges: &Gauges) -> String {
        let mut page = Exposition::default();
        self.render_fulcio(&mut page);
        self.render_own(&mut page, gauges);
        render_process(&mut page);
        page.into_text()
    }

    /// What there is of a log that runs alone.
    pub fn render_log(&self, ready: &[(&'static str, bool)], size: u64) -> String {
        let mut page = Exposition::default();
        page.family(&f::BUILD_INFO, [(vec![VERSION], 1.0)]);
        self.render_logged(&mut page, size);
        render_ready(&mut page, ready);
        self.render_tls(&mut page);
        render_process(&mut page);
        page.into_text()
    }

    fn render_fulcio(&self, page: &mut Exposition) {
        page.family(&f::NEW_CERTS, [plain(count(&self.new_certs))]);
        let http = self.http.all();
        let latencies = http
            .iter()
            .map(|((code, method), cell)| (vec![*code, *method], &cell.latency));
        page.histograms(&f::API_LATENCY, latencies);
        let requests = http
            .iter()
            .map(|((code, method), cell)| (vec![*code, *method], count(&cell.requests)));
        page.family(&f::HTTP_REQUESTS, requests);
        page.family(
            &f::FULCIO_BUILD_INFO,
            [(vec![VERSION, REVISION, BUILD_DATE, "none"], 1.0)],
        );
        let calls = |of: fn(&Grpc) -> &Counter| {
            let all = self.grpc.iter();
            all.map(move |grpc| (vec![grpc.kind, grpc.service, grpc.method], count(of(grpc))))
        };
        page.family(&f::GRPC_STARTED, calls(|grpc| &grpc.started));
        let handled = self.grpc.iter().flat_map(|grpc| {
            let codes = GRPC_CODES.iter().zip(&grpc.handled);
            codes.map(|(code, handled)| {
                let labels = vec![grpc.kind, grpc.service, grpc.method, *code];
                (labels, count(handled))
            })
        });
        page.family(&f::GRPC_HANDLED, handled);
        page.family(&f::GRPC_RECEIVED, calls(|grpc| &grpc.received));
        page.family(&f::GRPC_SENT, calls(|grpc| &grpc.sent));
    }

    fn render_own(&self, page: &mut Exposition, gauges: &Gauges) {
        let Gauges {
            ready,
            outstanding: (outstanding, capacity),
            log_size,
            external_logs,
            ca_expiry,
            config: (generation, loaded, is_failing),
            issuers,
        } = gauges;
        page.family(&f::BUILD_INFO, [(vec![VERSION], 1.0)]);
        let issuers = issuers.get(..MAX_ISSUERS).unwrap_or(issuers);
        // Before its first request too an issuer has its series: rates need a zero to start from.
        for issuer in issuers {
            for outcome in OUTCOMES {
                let key = (issuer.issuer.clone(), outcome);
                drop(self.issuance.of(&key, Counter::default));
            }
        }
        let issuance = self.issuance.all();
        let issuance = issuance
            .iter()
            .map(|((issuer, outcome), cell)| (vec![issuer.as_str(), outcome.name()], count(cell)));
        page.family(&f::ISSUANCE, issuance);
        let refusals = self.refusals.all();
        let refusals = refusals
            .iter()
            .map(|(reason, cell)| (vec![*reason], count(cell)));
        page.family(&f::REFUSALS, refusals);
        let durations = OUTCOMES.iter().zip(&self.durations);
        let durations = durations.map(|(outcome, durations)| (vec![outcome.name()], durations));
        page.histograms(&f::ISSUANCE_DURATION, durations);
        let steps = STEPS.iter().zip(&self.steps);
        let steps = steps.map(|(step, durations)| (vec![step.name()], durations));
        page.histograms(&f::STEP_DURATION, steps);
        match log_size {
            Some(entries) => self.render_logged(page, *entries),
            None => self.render_external_logs(page, external_logs),
        }
        page.histograms(&f::LEDGER_BATCH, [(vec![], &self.ledger.sizes)]);
        page.histograms(&f::LEDGER_COMMIT, [(vec![], &self.ledger.durations)]);
        page.family(&f::OUTSTANDING, [plain(size(*outstanding))]);
        page.family(&f::CAPACITY, [plain(size(*capacity))]);
        render_ready(page, ready);
        let failing = issuers
            .iter()
            .map(|keys| (vec![keys.issuer.as_str()], size(keys.failing)));
        page.family(&f::KEYS_FAILING, failing);
        let fetched = issuers
            .iter()
            .filter_map(|keys| Some((vec![keys.issuer.as_str()], seconds(keys.fetched?))));
        page.family(&f::KEYS_FETCHED, fetched);
        page.family(&f::CA_EXPIRY, [plain(seconds(*ca_expiry))]);
        self.render_tls(page);
        page.family(&f::CONFIG_GENERATION, [plain(as_f64(*generation))]);
        page.family(&f::CONFIG_LOADED, [plain(seconds(*loaded))]);
        page.family(&f::CONFIG_FAILING, [plain(flag(*is_failing))]);
        self.render_reconciled(page);
        let audit = audit::state();
        page.family(&f::AUDIT_WRITTEN, [plain(as_f64(audit.written))]);
        page.family(&f::AUDIT_LOST, [plain(as_f64(audit.lost))]);
        page.family(&f::AUDIT_WAITING, [plain(size(audit.waiting))]);
        page.family(&f::AUDIT_FAILING, [plain(flag(audit.is_failing))]);
    }

    fn render_reconciled(&self, page: &mut Exposition) {
        let Reconciled {
            finished,
            trouble,
            unrecorded,
            is_failing,
        } = &self.reconciliation;
        // Before the first comparison nothing was found because nobody has looked.
        let found = |cell| (finished.value() > 0).then(|| plain(count(cell)));
        page.family(&f::RECONCILED, found(finished));
        page.family(&f::RECONCILIATION_TROUBLE, found(trouble));
        page.family(&f::RECONCILIATION_UNRECORDED, found(unrecorded));
        page.family(&f::RECONCILIATION_FAILING, [plain(count(is_failing))]);
    }

    fn render_logged(&self, page: &mut Exposition, size: u64) {
        page.histograms(&f::LOG_BATCH, [(vec![], &self.log.sizes)]);
        page.histograms(&f::LOG_COMMIT, [(vec![], &self.log.durations)]);
        page.family(&f::LOG_SIZE, [plain(as_f64(size))]);
        let log_busy = self.log_busy.all();
        let log_busy = log_busy
            .iter()
            .map(|(reason, cell)| (vec![*reason], count(cell)));
        page.family(&f::LOG_BUSY, log_busy);
        self.publishing.render(page);
        self.witnesses.render(page);
        let log_http = self.log_http.all();
        let log_http = log_http
            .iter()
            .map(|((code, method), cell)| (vec![*code, *method], count(cell)));
        page.family(&f::LOG_REQUESTS, log_http);
    }

    fn render_tls(&self, page: &mut Exposition) {
        let tls = self.tls_expiry.all();
        let tls = tls
            .iter()
            .map(|(listener, expiry)| (vec![*listener], count(expiry)));
        page.family(&f::TLS_EXPIRY, tls);
        let failing = self.tls_failing.all();
        let failing = failing
            .iter()
            .map(|(listener, is_failing)| (vec![*listener], count(is_failing)));
        page.family(&f::TLS_FAILING, failing);
    }

    fn render_external_logs(&self, page: &mut Exposition, logs: &[ExternalLog]) {
        // Before its first certificate too a log has its series: rates need a zero to start from.
        for log in logs {
            for outcome in LOG_OUTCOMES {
                let key = (log.url.clone(), outcome);
                drop(self.external_log.of(&key, Counter::default));
            }
        }
        let counts = self.external_log.all();
        let counts = counts
            .iter()
            .map(|((log, outcome), cell)| (vec![log.as_str(), *outcome], count(cell)));
        page.family(&f::EXTERNAL_LOG, counts);
        let times = self.external_log_times.all();
        let times = times
            .iter()
            .map(|(log, times)| (vec![log.as_str()], &**times));
        page.histograms(&f::EXTERNAL_LOG_DURATION, times);
        let labelled = |of: fn(&ExternalLog) -> bool| {
            let logs = logs.iter();
            logs.map(move |log| (vec![log.url.as_str()], flag(of(log))))
        };
        page.family(&f::EXTERNAL_LOG_USABLE, labelled(|log| log.is_usable));
        page.family(&f::EXTERNAL_LOG_SUSPECT, labelled(|log| log.is_suspect));
    }
}

fn render_process(page: &mut Exposition) {
    let ticks = process::cpu_ticks().map(|ticks| as_f64(ticks) / process::TICKS_PER_SECOND);
    page.family(&f::CPU, ticks.map(plain));
    let resident = process::resident_bytes().map(as_f64);
    page.family(&f::RESIDENT, resident.map(plain));
    let files = process::open_files().map(|files| plain(size(files)));
    page.family(&f::OPEN_FILES, files);
}

fn render_ready(page: &mut Exposition, ready: &[(&'static str, bool)]) {
    let ready = ready
        .iter()
        .map(|(check, good)| (vec![*check], flag(*good)));
    page.family(&f::READY, ready);
}

pub(super) const fn plain<'a>(value: f64) -> (Vec<&'a str>, f64) {
    (Vec::new(), value)
}

pub(super) fn count(counter: &Counter) -> f64 {
    as_f64(counter.value())
}

fn size(count: usize) -> f64 {
    u32::try_from(count).unwrap_or(u32::MAX).into()
}

fn seconds(timestamp: i64) -> f64 {
    as_f64(u64::try_from(timestamp).unwrap_or_default())
}

fn flag(is_set: bool) -> f64 {
    u8::from(is_set).into()
}

const VERSION: &str = env!("CARGO_PKG_VERSION");
const REVISION: &str = match option_env!("VOUCHSAFE_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};
const BUILD_DATE: &str = match option_env!("VOUCHSAFE_BUILD_DATE") {
    Some(date) => date,
    None => "unknown",
};

/// Entries of the configuration that have series of their own.
const MAX_ISSUERS: usize = 150;
