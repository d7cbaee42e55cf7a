//! When a log is left alone.
//!
//! ```text
//!             faults in a row, or one lie
//!   closed ──────────────────────────────▶ open ◀─┐
//!      ▲                                    │     │ a look or a try that fails
//!      │ a good answer           cool-down, │     │
//!      └────────────── half open ◀──────────┘ ────┘
//!                                a look that is good
//! ```
//!
//! Half open, one certificate at a time is sent to find out. Time is an argument: nothing happens in
//! here by itself.

use std::time::{Duration, Instant};

/// The state of one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Breaker(State);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed {
        /// In a row.
        faults: u32,
    },
    Open {
        until: Instant,
        why: Why,
    },
    HalfOpen {
        /// When the certificate was sent that is to find out, if one is under way.
        trying: Option<Instant>,
        why: Why,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Faults,
    Lie,
}

/// How an attempt with a certificate ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// With a timestamp that holds.
    Good,
    /// With a refusal: the log is there and works.
    Refused,
    /// Without an answer.
    Fault,
    /// With a wrong answer.
    Lie,
}

/// A log as others are told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// In use.
    Good,
    /// Back, and being tried with one certificate at a time.
    Tried,
    /// Left alone after faults.
    Down,
    /// Left alone after an answer that must not get into a certificate.
    Suspect,
}

impl Condition {
    /// Its name in log lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Tried => "tried",
            Self::Down => "down",
            Self::Suspect => "suspect",
        }
    }

    /// Whether certificates are sent to it.
    #[must_use]
    pub const fn is_usable(self) -> bool {
        matches!(self, Self::Good | Self::Tried)
    }
}

impl Breaker {
    /// Of a log that was just looked at.
    pub(super) const fn new() -> Self {
        Self(State::Closed { faults: 0 })
    }

    /// Whether a certificate may be sent now. It must be told afterwards how that ended.
    pub(super) fn admits(&mut self, now: Instant) -> bool {
        match &mut self.0 {
            State::Closed { .. } => true,
            State::Open { .. } => false,
            State::HalfOpen { trying, .. } => {
                // Whoever was sent and never told its end is given up.
                let is_free = trying.is_none_or(|since| now >= since + LOST);
                if is_free {
                    *trying = Some(now);
                }
                is_free
            }
        }
    }

    pub(super) fn ended(&mut self, how: Ended, now: Instant) {
        self.0 = match (how, self.0) {
            (Ended::Lie, _) => State::suspect(now),
            // Of a suspect only an answer to a certificate sent after the cool-down counts.
            (Ended::Good, open @ State::Open { why: Why::Lie, .. })
            | (Ended::Refused | Ended::Fault, open @ State::Open { .. }) => open,
            (Ended::Refused, State::HalfOpen { why: Why::Lie, .. }) => State::HalfOpen {
                trying: None,
                why: Why::Lie,
            },
            (Ended::Good, _) | (Ended::Refused, State::Closed { .. } | State::HalfOpen { .. }) => {
                State::Closed { faults: 0 }
            }
            (Ended::Fault, State::Closed { faults }) if faults + 1 < FAULTS => {
                State::Closed { faults: faults + 1 }
            }
            (Ended::Fault, State::Closed { .. }) => State::down(now),
            (Ended::Fault, State::HalfOpen { why, .. }) => State::Open {
                until: now + COOL_DOWN,
                why,
            },
        };
    }

    /// Whether it is time to look whether the log is back.
    pub(super) fn wants_look(&self, now: Instant) -> bool {
        match self.0 {
            State::Open { until, .. } => now >= until,
            State::Closed { .. } | State::HalfOpen { .. } => false,
        }
    }

    /// The log was looked at: at the start, or after [`Self::wants_look`].
    pub(super) fn looked(&mut self, is_good: bool, now: Instant) {
        self.0 = match (is_good, self.0) {
            (true, State::Open { why, .. }) => State::HalfOpen { trying: None, why },
            (false, State::Open { why, .. } | State::HalfOpen { why, .. }) => State::Open {
                until: now + COOL_DOWN,
                why,
            },
            (false, State::Closed { .. }) => State::down(now),
            (true, as_it_is @ (State::Closed { .. } | State::HalfOpen { .. })) => as_it_is,
        };
    }

    pub(super) fn condition(&self) -> Condition {
        match self.0 {
            State::Closed { .. } => Condition::Good,
            State::HalfOpen { .. } => Condition::Tried,
            State::Open {
                why: Why::Faults, ..
            } => Condition::Down,
            State::Open { why: Why::Lie, .. } => Condition::Suspect,
        }
    }
}

impl State {
    fn down(now: Instant) -> Self {
        Self::Open {
            until: now + COOL_DOWN,
            why: Why::Faults,
        }
    }

    fn suspect(now: Instant) -> Self {
        Self::Open {
            until: now + SUSPICION,
            why: Why::Lie,
        }
    }
}

/// Certificates in a row without an answer, after which a log is left alone.
const FAULTS: u32 = 3;
/// How long it is left alone, before it is looked at and between two looks.
const COOL_DOWN: Duration = Duration::from_secs(2);
/// The same after a lie, which is nothing that passes by itself.
const SUSPICION: Duration = Duration::from_secs(60);
/// Longer than any certificate is on its way.
const LOST: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn moment() -> Instant {
        crate::telemetry::tick()
    }

    fn after(now: Instant, seconds: u64) -> Instant {
        now + Duration::from_secs(seconds)
    }

    /// Open after faults.
    fn down(now: Instant) -> Breaker {
        let mut breaker = Breaker::new();
        for _ in 0..FAULTS {
            assert!(breaker.admits(now));
            breaker.ended(Ended::Fault, now);
        }
        assert_eq!(breaker.condition(), Condition::Down);
        breaker
    }

    /// Open after a lie.
    fn suspect(now: Instant) -> Breaker {
        let mut breaker = Breaker::new();
        breaker.ended(Ended::Lie, now);
        assert_eq!(breaker.condition(), Condition::Suspect);
        breaker
    }

    #[test]
    fn a_few_faults_far_apart_take_a_log_out_of_service() {
        let now = moment();
        let mut breaker = Breaker::new();
        for _ in 0..10 {
            breaker.ended(Ended::Fault, now);
            breaker.ended(Ended::Fault, now);
            breaker.ended(Ended::Good, now);
            breaker.ended(Ended::Fault, now);
            breaker.ended(Ended::Fault, now);
            breaker.ended(Ended::Refused, now);
        }
        assert_eq!(breaker.condition(), Condition::Good);
        assert!(breaker.admits(now));
        breaker.ended(Ended::Fault, now);
        breaker.ended(Ended::Fault, now);
        assert!(breaker.admits(now));
        breaker.ended(Ended::Fault, now);
        assert!(!breaker.admits(now));
    }

    #[test]
    fn an_open_log_is_sent_certificates_before_somebody_looked() {
        let now = moment();
        let mut breaker = down(now);
        assert!(!breaker.wants_look(after(now, 1)));
        assert!(!breaker.admits(after(now, 3600)), "no look, no certificate");
        assert!(breaker.wants_look(after(now, 2)));
        breaker.looked(false, after(now, 2));
        assert!(!breaker.wants_look(after(now, 3)));
        assert!(!breaker.admits(after(now, 3)));
        assert!(breaker.wants_look(after(now, 4)));
        breaker.looked(true, after(now, 4));
        assert_eq!(breaker.condition(), Condition::Tried);
        assert!(breaker.admits(after(now, 4)));
    }

    #[test]
    fn a_log_that_is_tried_gets_a_crowd() {
        let now = moment();
        let mut breaker = down(now);
        breaker.looked(true, after(now, 2));
        assert!(breaker.admits(after(now, 2)));
        assert!(!breaker.admits(after(now, 2)), "one at a time");
        breaker.ended(Ended::Good, after(now, 3));
        assert_eq!(breaker.condition(), Condition::Good);
        assert!(breaker.admits(after(now, 3)) && breaker.admits(after(now, 3)));

        let mut breaker = down(now);
        breaker.looked(true, after(now, 2));
        assert!(breaker.admits(after(now, 2)));
        breaker.ended(Ended::Fault, after(now, 3));
        assert_eq!(breaker.condition(), Condition::Down, "one fault is enough");
        assert!(!breaker.wants_look(after(now, 4)));
        assert!(breaker.wants_look(after(now, 5)));
    }

    #[test]
    fn a_certificate_whose_end_nobody_told_blocks_a_log_for_good() {
        let now = moment();
        let mut breaker = down(now);
        breaker.looked(true, after(now, 2));
        assert!(breaker.admits(after(now, 2)));
        assert!(!breaker.admits(after(now, 21)));
        assert!(breaker.admits(after(now, 22)));
    }

    #[test]
    fn a_suspect_is_let_off_by_an_old_answer_or_a_refusal() {
        let now = moment();
        for how in [Ended::Good, Ended::Refused, Ended::Fault] {
            let mut breaker = suspect(now);
            breaker.ended(how, after(now, 1));
            assert_eq!(breaker, suspect(now), "{how:?}");
        }
        let mut breaker = suspect(now);
        assert!(!breaker.wants_look(after(now, 59)));
        assert!(breaker.wants_look(after(now, 60)));
        breaker.looked(true, after(now, 60));
        assert!(breaker.admits(after(now, 60)));
        breaker.ended(Ended::Refused, after(now, 61));
        assert_eq!(breaker.condition(), Condition::Tried);
        assert!(breaker.admits(after(now, 61)));
        breaker.ended(Ended::Good, after(now, 62));
        assert_eq!(breaker.condition(), Condition::Good);
    }

    #[test]
    fn a_lie_is_overlooked_in_some_state() {
        let now = moment();
        let mut tried = down(now);
        tried.looked(true, after(now, 2));
        for mut breaker in [Breaker::new(), down(now), tried, suspect(now)] {
            breaker.ended(Ended::Lie, after(now, 9));
            assert_eq!(breaker, suspect(after(now, 9)));
            assert!(!breaker.admits(after(now, 9)));
        }
    }

    #[test]
    fn faults_of_others_prolong_the_time_for_which_a_log_is_left_alone() {
        let now = moment();
        let mut breaker = down(now);
        for how in [Ended::Fault, Ended::Refused] {
            breaker.ended(how, after(now, 1));
            assert_eq!(breaker, down(now), "{how:?}");
        }
        breaker.ended(Ended::Good, after(now, 1));
        assert_eq!(breaker.condition(), Condition::Good, "it works after all");
    }

    #[test]
    fn a_log_that_is_down_at_the_start_is_in_use() {
        let now = moment();
        let mut breaker = Breaker::new();
        breaker.looked(false, now);
        assert_eq!(breaker.condition(), Condition::Down);
        breaker.looked(true, after(now, 2));
        assert_eq!(breaker.condition(), Condition::Tried);
        let mut breaker = Breaker::new();
        breaker.looked(true, now);
        assert_eq!(breaker.condition(), Condition::Good);
    }
}
