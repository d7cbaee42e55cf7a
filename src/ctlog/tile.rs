//! Paths of tiles, as a tiled log serves them below its prefix.
//!
//! ```text
//! tile/<level>/<N>          256 hashes          tile/data/<N>          256 entries
//! tile/<level>/<N>.p/<W>    the first W hashes  tile/data/<N>.p/<W>    the first W entries
//! ```
//!
//! N is written in groups of three digits, every group but the last behind an `x`: 1234067 is
//! `x001/x234/067`. Each tile has one name only, so that caches hold it once; [`TilePath::parse`]
//! knows nothing else.

use super::merkle::{TILE_LEVELS, TILE_WIDTH};
use core::fmt;

/// The name of a tile of hashes or of a tile of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TilePath {
    /// Hashes of one tile level.
    Hashes {
        /// Tile level, 0 to 5.
        level: u8,
        /// Zero-based position in the level.
        n: u64,
        /// Hashes asked for, 1 to 256.
        width: u16,
    },
    /// Log entries.
    Data {
        /// Zero-based position: the tile begins with entry `n * 256`.
        n: u64,
        /// Entries asked for, 1 to 256.
        width: u16,
    },
}

impl TilePath {
    /// Reads a path, which begins with `tile/`. Anything that is not the one name of a tile (a
    /// leading zero, a width of 0 or 256, a missing or superfluous `x`) names nothing.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let (kind, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let (n, width) = match rest.split_once(".p/") {
            None => (rest, FULL),
            Some((n, width)) => (n, parse_width(width)?),
        };
        let n = parse_n(n)?;
        if kind == "data" {
            return Some(Self::Data { n, width });
        }
        let &[digit] = kind.as_bytes() else {
            return None;
        };
        let level = digit.checked_sub(b'0')?;
        (level < TILE_LEVELS).then_some(Self::Hashes { level, n, width })
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (n, width) = match *self {
            Self::Hashes { level, n, width } => {
                write!(f, "tile/{level}/")?;
                (n, width)
            }
            Self::Data { n, width } => {
                write!(f, "tile/data/")?;
                (n, width)
            }
        };
        write_n(f, n / GROUP)?;
        write!(f, "{:03}", n % GROUP)?;
        if width < FULL {
            write!(f, ".p/{width}")?;
        }
        Ok(())
    }
}

fn write_n(f: &mut fmt::Formatter<'_>, leading: u64) -> fmt::Result {
    if leading == 0 {
        return Ok(());
    }
    write_n(f, leading / GROUP)?;
    write!(f, "x{:03}/", leading % GROUP)
}

fn parse_n(text: &str) -> Option<u64> {
    let (leading, last) = match text.rsplit_once('/') {
        None => ("", text),
        Some((leading, last)) => (leading, last),
    };
    let mut n = 0_u64;
    if !leading.is_empty() {
        for group in leading.split('/') {
            n = n
                .checked_mul(GROUP)?
                .checked_add(parse_group(group.strip_prefix('x')?)?)?;
            // A first group of zeros would be a second name for a smaller number.
            if n == 0 {
                return None;
            }
        }
    } else if text.len() != last.len() {
        return None;
    }
    n.checked_mul(GROUP)?.checked_add(parse_group(last)?)
}

fn parse_group(digits: &str) -> Option<u64> {
    let is_group = digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_group { digits.parse().ok() } else { None }
}

fn parse_width(digits: &str) -> Option<u16> {
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    let width = if is_number {
        digits.parse().ok()?
    } else {
        return None;
    };
    (width < FULL).then_some(width)
}

/// The width of a full tile.
pub const FULL: u16 = TILE_WIDTH as u16;

const GROUP: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_those_of_the_tiled_log_format() {
        for (text, path) in [
            (
                "tile/0/000",
                TilePath::Hashes {
                    level: 0,
                    n: 0,
                    width: 256,
                },
            ),
            (
                "tile/1/999.p/1",
                TilePath::Hashes {
                    level: 1,
                    n: 999,
                    width: 1,
                },
            ),
            (
                "tile/5/x001/000.p/255",
                TilePath::Hashes {
                    level: 5,
                    n: 1000,
                    width: 255,
                },
            ),
            (
                "tile/data/x001/x234/067",
                TilePath::Data {
                    n: 1_234_067,
                    width: 256,
                },
            ),
            (
                "tile/data/x001/x000/000.p/10",
                TilePath::Data {
                    n: 1_000_000,
                    width: 10,
                },
            ),
        ] {
            assert_eq!(TilePath::parse(text), Some(path));
            assert_eq!(path.to_string(), text);
        }
    }

    #[test]
    fn a_second_name_for_a_tile_names_nothing() {
        for text in [
            "",
            "tile",
            "tile/",
            "tile/0",
            "tile/0/",
            "tile/0/0",
            "tile/0/0000",
            "tile/0/00a",
            "tile/0/+00",
            "tile/0/x000/000",
            "tile/0/x000/x001/000",
            "tile/0/001/000",
            "tile/0/x001",
            "tile/0/x001/",
            "tile/0//001",
            "tile/0/x001/x002",
            "tile/0/X001/002",
            "tile/6/000",
            "tile/00/000",
            "tile/-1/000",
            "tile//000",
            "tile/names/000",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p/+1",
            "tile/0/000.p/",
            "tile/0/000.p",
            "tile/0/000.p/1/",
            "tile/0/000.p/1.p/1",
            "/tile/0/000",
            "tile/0/000/",
            "tile/data/x018/x446/x744/x073/x709/x551/x616",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert_eq!(TilePath::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(n in 0..1_u64 << 40, level in 0..6_u8, width in 1..=256_u16) {
            for path in [TilePath::Hashes { level, n, width }, TilePath::Data { n, width }] {
                prop_assert_eq!(TilePath::parse(&path.to_string()), Some(path));
            }
        }

        #[test]
        fn what_is_read_is_written_back(text in "tile/[0-6]/(x?[0-9]{1,3}/){0,3}[0-9]{3}(.p/[0-9]{1,3})?") {
            if let Some(path) = TilePath::parse(&text) {
                prop_assert_eq!(path.to_string(), text);
            }
        }
    }
}
