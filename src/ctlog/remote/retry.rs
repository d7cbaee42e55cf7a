//! Whether and when the same bytes are sent to the same log again.

use std::time::Duration;

use reqwest::StatusCode;
use time::OffsetDateTime;

use super::error::Fault;

/// What was tried with one log for one certificate.
#[derive(Debug, Default)]
pub(super) struct Retries {
    /// Times it asked for patience.
    busy: u32,
    /// Whether it was asked again after a fault.
    was_repeated: bool,
}

impl Retries {
    /// How long to wait before the next attempt; nothing, where there is to be none. `dice` spreads
    /// those who wait.
    pub(super) fn pause(&mut self, fault: &Fault, dice: u8) -> Option<Duration> {
        match fault {
            Fault::Busy { retry_after, .. } => {
                let backoff = FIRST_PAUSE.saturating_mul(1 << self.busy.min(16));
                self.busy += 1;
                // What the log asks for is never undercut; who asks for nothing is not hammered.
                Some(match retry_after {
                    Some(pause) => (*pause).max(FIRST_PAUSE / 2) + spread(FIRST_PAUSE, dice),
                    None => {
                        let backoff = backoff.min(LONGEST_PAUSE);
                        backoff / 2 + spread(backoff / 2, dice)
                    }
                })
            }
            Fault::Unreachable(_) | Fault::Broken(_) if !self.was_repeated => {
                self.was_repeated = true;
                Some(FIRST_PAUSE / 2 + spread(FIRST_PAUSE, dice))
            }
            Fault::Unreachable(_)
            | Fault::Broken(_)
            | Fault::OutOfService
            | Fault::Over
            | Fault::Slow
            | Fault::Refused { .. }
            | Fault::Lied(_) => None,
        }
    }
}

/// What a status other than 200 means. `text` is what the log said, for people.
pub(super) fn judge(status: StatusCode, retry_after: Option<Duration>, text: String) -> Fault {
    match status {
        StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_MANY_REQUESTS
        | StatusCode::SERVICE_UNAVAILABLE => Fault::Busy {
            status: status.as_u16(),
            retry_after,
        },
        status if status.is_server_error() => Fault::Broken(status.as_u16()),
        status => Fault::Refused {
            status: status.as_u16(),
            text,
        },
    }
}

/// RFC 9110 section 10.2.3: "Retry-After = HTTP-date / delay-seconds".
pub(super) fn retry_after(header: &str, now: OffsetDateTime) -> Option<Duration> {
    let header = header.trim();
    if !header.is_empty() && header.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are longer than anybody waits.
        return Some(Duration::from_secs(header.parse().unwrap_or(1 << 32)));
    }
    let date: OffsetDateTime = httpdate::parse_http_date(header).ok()?.into();
    // A date that has passed means now.
    Some((date - now).try_into().unwrap_or(Duration::ZERO))
}

fn spread(over: Duration, dice: u8) -> Duration {
    over * u32::from(dice) / 256
}

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-23 12:00:00 UTC);

    fn busy(retry_after: Option<Duration>) -> Fault {
        Fault::Busy {
            status: 429,
            retry_after,
        }
    }

    #[test]
    fn a_form_of_retry_after_is_not_understood() {
        for (header, seconds) in [
            ("0", Some(0)),
            ("5", Some(5)),
            (" 30 ", Some(30)),
            ("Mon, 23 Nov 2026 12:00:07 GMT", Some(7)),
            ("Monday, 23-Nov-26 12:00:07 GMT", Some(7)),
            ("Mon Nov 23 12:00:07 2026", Some(7)),
            ("Mon, 23 Nov 2026 11:00:00 GMT", Some(0)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(retry_after(header, NOW), expected, "{header:?}");
        }
        let endless = retry_after("99999999999999999999999", NOW).unwrap();
        assert!(endless > Duration::from_hours(24));
    }

    #[test]
    fn a_status_is_taken_for_another_kind() {
        for status in [408, 429, 503] {
            let status = StatusCode::from_u16(status).unwrap();
            let fault = judge(status, Some(Duration::from_secs(3)), String::new());
            assert!(matches!(fault, Fault::Busy { .. }), "{fault:?}");
        }
        for status in [500, 502, 504, 599] {
            let known = StatusCode::from_u16(status).unwrap();
            assert_eq!(judge(known, None, String::new()), Fault::Broken(status));
        }
        for status in [201, 204, 301, 307, 400, 403, 404, 405, 410, 413] {
            let known = StatusCode::from_u16(status).unwrap();
            let fault = judge(known, None, "no".to_owned());
            let text = "no".to_owned();
            assert_eq!(fault, Fault::Refused { status, text });
        }
    }

    #[test]
    fn the_log_is_asked_sooner_than_it_said() {
        let asked = Duration::from_secs(3);
        for dice in [0, 1, 128, 255] {
            let pause = Retries::default().pause(&busy(Some(asked)), dice).unwrap();
            assert!(pause >= asked, "{pause:?}");
            assert!(pause < asked + FIRST_PAUSE, "{pause:?}");
            let pause = Retries::default().pause(&busy(Some(Duration::ZERO)), dice);
            assert!(pause.unwrap() >= FIRST_PAUSE / 2);
        }
    }

    #[test]
    fn pauses_do_not_grow_or_grow_without_end() {
        let mut retries = Retries::default();
        let pauses: Vec<_> = (0..40)
            .map(|_| retries.pause(&busy(None), 255).unwrap())
            .collect();
        assert!(pauses[0] <= FIRST_PAUSE);
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]));
        assert!(pauses[3] > pauses[0] * 4);
        assert!(pauses.iter().all(|pause| *pause <= LONGEST_PAUSE));
        let low = Retries::default().pause(&busy(None), 0).unwrap();
        assert!(low < pauses[0], "everybody comes back at the same moment");
    }

    #[test]
    fn faults_are_repeated_more_than_once_and_refusals_at_all() {
        for fault in [Fault::Broken(500), Fault::Unreachable("reset".to_owned())] {
            let mut retries = Retries::default();
            assert!(retries.pause(&fault, 7).is_some());
            assert!(retries.pause(&fault, 7).is_none());
            assert!(retries.pause(&busy(None), 7).is_some());
            assert!(retries.pause(&fault, 7).is_none());
        }
        let text = String::new();
        let refused = Fault::Refused { status: 400, text };
        for fault in [refused, Fault::Slow, Fault::Over, Fault::OutOfService] {
            assert!(Retries::default().pause(&fault, 7).is_none(), "{fault:?}");
        }
    }
}
