//! Prometheus' text format, version 0.0.4: written, and the three kinds of number that are kept for it.
//!
//! ```text
//! # HELP name One sentence.
//! # TYPE name counter
//! name{label="value"} 7
//! ```
//!
//! OpenMetrics would be younger, but there a counter's name ends in `_total`, which those of Fulcio
//! do not.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::families::Family;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Some more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// This instead, for a number that is not a count.
    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// So many.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Observations, counted in buckets. One costs two atomic additions.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One more than there are bounds, not cumulated.
    buckets: Box<[Counter]>,
    /// The sum in millionths, so that it can be added to without a lock.
    sum_millionths: Counter,
}

impl Histogram {
    /// An empty one with these upper bounds, in ascending order.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            buckets: (0..=bounds.len()).map(|_| Counter::default()).collect(),
            sum_millionths: Counter::default(),
        }
    }

    /// A duration, in seconds.
    pub fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.put(duration.as_secs_f64(), micros);
    }

    /// A number of things.
    pub fn observe_count(&self, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.put(count.into(), u64::from(count) * 1_000_000);
    }

    fn put(&self, value: f64, millionths: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.increment();
        }
        self.sum_millionths.add(millionths);
    }
}

/// Cells by the values of their labels. Every caller's keys come from a closed set; the bound holds
/// all the same.
#[derive(Debug)]
pub struct Cells<K, C> {
    cells: RwLock<BTreeMap<K, Arc<C>>>,
}

impl<K: Ord + Clone, C> Cells<K, C> {
    /// None yet.
    pub const fn new() -> Self {
        Self {
            cells: RwLock::new(BTreeMap::new()),
        }
    }

    /// The cell of these values; nothing, if it would be one too many.
    pub fn of(&self, key: &K, new: impl FnOnce() -> C) -> Option<Arc<C>> {
        let cells = self.cells.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = cells.get(key) {
            return Some(Arc::clone(cell));
        }
        drop(cells);
        let mut cells = self.cells.write().unwrap_or_else(PoisonError::into_inner);
        if cells.len() >= MAX_CELLS && !cells.contains_key(key) {
            return None;
        }
        let cell = cells.entry(key.clone()).or_insert_with(|| Arc::new(new()));
        Some(Arc::clone(cell))
    }

    /// All of them, in the order of their keys.
    pub fn all(&self) -> Vec<(K, Arc<C>)> {
        let cells = self.cells.read().unwrap_or_else(PoisonError::into_inner);
        let all = cells.iter();
        all.map(|(key, cell)| (key.clone(), Arc::clone(cell)))
            .collect()
    }
}

impl<K: Ord + Clone, C> Default for Cells<K, C> {
    fn default() -> Self {
        Self::new()
    }
}

/// A page of samples, family by family.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

impl Exposition {
    /// Begins a family and writes its samples, each with the values of the family's labels.
    pub fn family<'a>(
        &mut self,
        family: &Family,
        samples: impl IntoIterator<Item = (Vec<&'a str>, f64)>,
    ) {
        self.head(family);
        for (values, value) in samples {
            let labels = pairs(family, &values);
            self.line(family.name, &labels, value);
        }
    }

    /// The same for histograms.
    pub fn histograms<'a>(
        &mut self,
        family: &Family,
        samples: impl IntoIterator<Item = (Vec<&'a str>, &'a Histogram)>,
    ) {
        self.head(family);
        for (values, histogram) in samples {
            let labels = pairs(family, &values);
            let comma = if labels.is_empty() { "" } else { "," };
            let name = format!("{}_bucket", family.name);
            let mut count = 0;
            let bounds = histogram.bounds.iter().map(f64::to_string);
            let bounds = bounds.chain(["+Inf".to_owned()]);
            for (bound, bucket) in bounds.zip(&histogram.buckets) {
                count += bucket.value();
                let labels = format!("{labels}{comma}le=\"{bound}\"");
                self.line(&name, &labels, as_f64(count));
            }
            let sum = as_f64(histogram.sum_millionths.value()) / 1e6;
            self.line(&format!("{}_sum", family.name), &labels, sum);
            self.line(&format!("{}_count", family.name), &labels, as_f64(count));
        }
    }

    /// The page.
    pub fn into_text(self) -> String {
        self.text
    }

    fn head(&mut self, family: &Family) {
        let Family {
            name, kind, help, ..
        } = family;
        let kind = kind.name();
        // Writing to a string does not fail.
        _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: f64) {
        _ = match labels {
            "" => writeln!(self.text, "{name} {value}"),
            labels => writeln!(self.text, "{name}{{{labels}}} {value}"),
        };
    }
}

/// Counts beyond 2^53 lose their last digits, which nobody sees.
#[expect(
    clippy::cast_precision_loss,
    clippy::as_conversions,
    reason = "there is no other way, and the loss is told above"
)]
pub(super) const fn as_f64(count: u64) -> f64 {
    count as f64
}

fn pairs(family: &Family, values: &[&str]) -> String {
    let mut text = String::new();
    for (label, value) in family.labels.iter().zip(values) {
        let comma = if text.is_empty() { "" } else { "," };
        _ = write!(text, "{comma}{label}=\"");
        for c in value.chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                c => text.push(c),
            }
        }
        text.push('"');
    }
    text
}

/// More than any closed set here has, and few enough for whoever stores them.
const MAX_CELLS: usize = 512;

#[cfg(test)]
mod tests {
    use super::super::families::{API_LATENCY, LOG_BATCH, REFUSALS};
    use super::*;

    #[test]
    fn a_label_cannot_end_itself_or_its_line() {
        let mut page = Exposition::default();
        page.family(&REFUSALS, [(vec!["a\"b\\c\nd"], 1.0)]);
        let text = page.into_text();
        let last = text.lines().last().unwrap();
        assert_eq!(last, r#"vouchsafe_refusals_total{reason="a\"b\\c\nd"} 1"#);
    }

    #[test]
    fn a_value_on_a_bound_counts_above_it() {
        let histogram = Histogram::new(&[1.0, 2.5]);
        for count in [1, 2, 3] {
            histogram.observe_count(count);
        }
        let mut page = Exposition::default();
        page.histograms(&LOG_BATCH, [(vec![], &histogram)]);
        let expected = "vouchsafe_log_batch_entries_bucket{le=\"1\"} 1\n\
                        vouchsafe_log_batch_entries_bucket{le=\"2.5\"} 2\n\
                        vouchsafe_log_batch_entries_bucket{le=\"+Inf\"} 3\n\
                        vouchsafe_log_batch_entries_sum 6\n\
                        vouchsafe_log_batch_entries_count 3\n";
        assert!(page.into_text().ends_with(expected));

        let latency = Histogram::new(&[0.005]);
        latency.observe(Duration::from_millis(4));
        let mut page = Exposition::default();
        page.histograms(&API_LATENCY, [(vec!["200", "get"], &latency)]);
        let text = page.into_text();
        let bucket = r#"fulcio_api_latency_bucket{code="200",method="get",le="0.005"} 1"#;
        assert!(text.contains(bucket), "{text}");
        assert!(
            text.contains(r#"_sum{code="200",method="get"} 0.004"#),
            "{text}"
        );
    }

    #[test]
    fn cells_grow_without_bound() {
        let cells: Cells<usize, Counter> = Cells::new();
        for key in 0..10_000 {
            if let Some(cell) = cells.of(&key, Counter::default) {
                cell.increment();
            }
        }
        assert_eq!(cells.all().len(), MAX_CELLS);
        assert!(cells.of(&0, Counter::default).is_some());
    }
}
