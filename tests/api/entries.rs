//! `get-entries` over a log of thousands: every span of it, whatever tiles it begins and ends in, and no
//! more memory for a large answer than for a small one.

use std::fs;
use std::ops::Range;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use serde_json::Value;
use vouchsafe::config::LogConfig;
use vouchsafe::ctlog::entry::{Entry, EntryBody};

use super::alone::{Alone, get};
use super::process::Program;
use super::seed::grow;

/// A log of so many entries with octets of this number each, and the program that serves it.
async fn serve(size: u64, octets: usize) -> (Alone, Program) {
    let alone = Alone::make("");
    alone.change("rfc6962-reads: false", "rfc6962-reads: true");
    let config = LogConfig::read(&alone.config()).unwrap();
    let logs = config.logs();
    let entry = move |number| {
        let body = EntryBody::precertificate(&[0x1a; 32], &tbs(number, octets)).unwrap();
        Entry::precertificate(body, &precertificate(number, octets), Arc::new([])).unwrap()
    };
    grow(
        &logs.config().unwrap(),
        &logs.signer().unwrap(),
        size,
        entry,
    )
    .await;
    let program = alone.serve();
    (alone, program)
}

/// Of another length for each entry, so that no two of them are alike.
fn tbs(number: u64, octets: usize) -> Vec<u8> {
    let more = usize::try_from(number % 61).unwrap();
    [&number.to_be_bytes()[..], &vec![0x5a; octets + more]].concat()
}

fn precertificate(number: u64, octets: usize) -> Vec<u8> {
    [&tbs(number, octets)[..], &[0x5c; 80]].concat()
}

/// The entries that are answered, as `leaf_input` and `extra_data`.
async fn entries(url: &str, start: u64, end: u64) -> Vec<(Vec<u8>, Vec<u8>)> {
    let path = format!("{url}/ct/v1/get-entries?start={start}&end={end}");
    let (status, body) = get(&path).await;
    assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
    let answer: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(answer.as_object().unwrap().len(), 1);
    let octets = |value: &Value| STANDARD.decode(value.as_str().unwrap()).unwrap();
    let entries = answer["entries"].as_array().unwrap().iter();
    let both = entries.map(|entry| (octets(&entry["leaf_input"]), octets(&entry["extra_data"])));
    both.collect()
}

fn u24(octets: &[u8]) -> Vec<u8> {
    let length = u32::try_from(octets.len()).unwrap().to_be_bytes();
    [&length[1..], octets].concat()
}

#[tokio::test]
async fn every_span_of_a_log_of_thousands_is_answered_in_one_piece() {
    let (alone, program) = serve(SIZE, 40).await;
    let (status, sth) = get(&format!("{}/ct/v1/get-sth", alone.url)).await;
    let sth: Value = serde_json::from_slice(&sth).unwrap();
    assert_eq!((status, &sth["tree_size"]), (200, &SIZE.into()));

    // All of it takes two questions, and another library makes the signed tree of it.
    let mut all = entries(&alone.url, 0, u64::MAX).await;
    assert_eq!(all.len(), 10_000);
    all.extend(entries(&alone.url, 10_000, u64::MAX).await);
    assert_eq!(all.len() as u64, SIZE);
    let mut tree = MemoryBackedTree::<sha2::Sha256, Vec<u8>>::new();
    for (number, (leaf_input, extra_data)) in (0..).zip(&all) {
        tree.push(leaf_input.clone());
        // u24 precertificate, and a chain of none above it.
        let expected = [u24(&precertificate(number, 40)), vec![0, 0, 0]].concat();
        assert!(*extra_data == expected, "extra_data of entry {number}");
        let holds = leaf_input
            .windows(8)
            .any(|part| part == number.to_be_bytes());
        assert!(holds, "another entry stands at {number}");
    }
    let root = STANDARD.encode(tree.root().as_bytes());
    assert_eq!(sth["sha256_root_hash"], root.as_str());

    let spans: [(u64, u64, Range<usize>); 16] = [
        (0, 0, 0..1),
        (0, 14, 0..15),
        (0, 15, 0..16),
        (0, 16, 0..17),
        (0, 255, 0..256),
        (255, 255, 255..256),
        (255, 256, 255..257),
        (256, 511, 256..512),
        (100, 4_000, 100..4_001),
        (1, 10_000, 1..10_001),
        (1, 10_001, 1..10_001),
        (511, 5_120, 511..5_121),
        (9_999, 10_239, 9_999..10_240),
        (10_239, 10_240, 10_239..10_241),
        (10_300, 10_300, 10_300..10_301),
        (10_290, 20_000, 10_290..10_301),
    ];
    for (start, end, expected) in spans {
        let answered = entries(&alone.url, start, end).await;
        assert!(answered == all[expected], "{start} to {end}");
    }
    for beyond in [SIZE, SIZE + 1, u64::MAX] {
        let path = format!(
            "{}/ct/v1/get-entries?start={beyond}&end={beyond}",
            alone.url
        );
        assert_eq!(get(&path).await.0, 400, "{beyond}");
    }
    drop(program);
}

/// Entries as large as they may be, in an answer of nearly a hundred megabytes, read by four at a time.
#[tokio::test]
async fn the_largest_answer_takes_no_more_memory_than_a_small_one() {
    let (alone, program) = serve(LARGE, 60_000).await;
    assert_eq!(entries(&alone.url, 0, 31).await.len(), 32);
    let before = most_memory(&program);
    let path = format!("{}/ct/v1/get-entries?start=0&end=9999", alone.url);
    let readers = (0..4).map(|_| {
        let path = path.clone();
        tokio::spawn(async move {
            let mut answer = reqwest::get(path).await.unwrap();
            let mut read = 0;
            while let Some(chunk) = answer.chunk().await.unwrap() {
                read += chunk.len();
            }
            read
        })
    });
    let readers: Vec<_> = readers.collect();
    for reader in readers {
        let read = reader.await.unwrap();
        assert!(read > 80 << 20, "only {read} octets");
    }
    let more = most_memory(&program) - before;
    assert!(more < 64 << 10, "{more} KiB for answers that were streamed");
}

/// The most memory that a process has had so far, in KiB.
fn most_memory(program: &Program) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", program.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.unwrap().trim().trim_end_matches(" kB");
    number.parse().unwrap()
}

/// Ten thousand, and a part of a tile more.
const SIZE: u64 = 10_301;
const LARGE: u64 = 600;
