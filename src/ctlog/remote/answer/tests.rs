use super::*;
use crate::ctlog::entry::leaf_index_extension;
use crate::ctlog::signer::LogSigner;
use crate::ctlog::testing::{at, signer};
use serde_json::{Value, json};

fn body() -> EntryBody {
    EntryBody::precertificate(&[0x1a; 32], b"to be signed").unwrap()
}

/// What an honest log answers about `body`.
fn answer(signer: &LogSigner, body: &EntryBody, timestamp_ms: u64, extensions: &[u8]) -> Value {
    let leaf = body.merkle_tree_leaf_with(timestamp_ms, extensions);
    let signature = signer.sign(&leaf).unwrap();
    let sct = Sct {
        log_id: signer.verifier().log_id(),
        timestamp_ms,
        extensions: extensions.to_vec(),
        signature,
    };
    json!({
        "sct_version": 0,
        "id": STANDARD.encode(sct.log_id),
        "timestamp": timestamp_ms,
        "extensions": STANDARD.encode(extensions),
        "signature": STANDARD.encode(sct.digitally_signed()),
    })
}

fn checked(answer: &Value) -> Result<Appended, Fault> {
    let key = signer(1);
    check(
        answer.to_string().as_bytes(),
        key.verifier(),
        &body(),
        at(0),
    )
}

fn lie(answer: &Value) -> Lie {
    match checked(answer) {
        Err(Fault::Lied(lie)) => lie,
        other => panic!("{other:?} for {answer}"),
    }
}

fn now_ms() -> u64 {
    milliseconds(at(0))
}

#[test]
fn an_honest_answer_is_refused() {
    for (extensions, index) in [
        (&[][..], None),
        (&leaf_index_extension(7)[..], Some(7)),
        // Of another type, beside it or alone.
        (&[9, 0, 2, 1, 1], None),
        (&[9, 0, 0, 0, 0, 5, 0, 0, 0, 1, 0], Some(256)),
    ] {
        let told = answer(&signer(1), &body(), now_ms(), extensions);
        let appended = checked(&told).unwrap();
        assert_eq!(appended.index, index);
        assert_eq!(appended.sct.extensions, extensions);
        assert!(signer(1).verifier().verifies_sct(&appended.sct, &body()));
    }
    // Members that nobody knows are the log's own affair.
    let mut told = answer(&signer(1), &body(), now_ms(), &[]);
    told["ct_extensions"] = json!(null);
    checked(&told).unwrap();
}

#[test]
fn another_logs_or_certificates_timestamp_is_believed() {
    let other_key = answer(&signer(2), &body(), now_ms(), &[]);
    assert_eq!(lie(&other_key), Lie::OtherLog);
    let mut borrowed_name = other_key;
    borrowed_name["id"] = json!(STANDARD.encode(signer(1).verifier().log_id()));
    assert_eq!(lie(&borrowed_name), Lie::Signature);
    let other = EntryBody::precertificate(&[0x1a; 32], b"to be signee").unwrap();
    let other_body = answer(&signer(1), &other, now_ms(), &[]);
    assert_eq!(lie(&other_body), Lie::Signature);
    let other = EntryBody::precertificate(&[0x1b; 32], b"to be signed").unwrap();
    let other_issuer = answer(&signer(1), &other, now_ms(), &[]);
    assert_eq!(lie(&other_issuer), Lie::Signature);
    let other = EntryBody::x509(b"to be signed").unwrap();
    let final_certificate = answer(&signer(1), &other, now_ms(), &[]);
    assert_eq!(lie(&final_certificate), Lie::Signature);
}

#[test]
fn what_the_log_adds_is_not_under_its_signature() {
    let good = answer(&signer(1), &body(), now_ms(), &leaf_index_extension(7));
    let mut other_time = good.clone();
    other_time["timestamp"] = json!(now_ms() + 1);
    assert_eq!(lie(&other_time), Lie::Signature);
    let mut other_index = good.clone();
    other_index["extensions"] = json!(STANDARD.encode(leaf_index_extension(8)));
    assert_eq!(lie(&other_index), Lie::Signature);
    let mut no_index = good;
    no_index["extensions"] = json!("");
    assert_eq!(lie(&no_index), Lie::Signature);
}

#[test]
fn extensions_that_readers_stumble_over_are_taken_because_they_are_signed() {
    let twice = [leaf_index_extension(1), leaf_index_extension(2)].concat();
    for extensions in [
        &[0][..],
        &[0, 0],
        &[0, 0, 5, 0, 0, 0, 0],
        &[0, 0, 4, 0, 0, 0, 0],
        &[0, 0, 6, 0, 0, 0, 0, 0, 0],
        &[9, 0, 3, 1, 1],
        b"garbage",
        &twice,
        &[9, 0, 0, 9, 0, 0],
    ] {
        let told = answer(&signer(1), &body(), now_ms(), extensions);
        assert_eq!(lie(&told), Lie::Extensions, "{extensions:?}");
    }
}

#[test]
fn a_time_just_outside_the_window_is_taken_or_one_just_inside_refused() {
    for ahead_ms in [-600_000_i64, -1, 0, 60_000] {
        let time = now_ms().checked_add_signed(ahead_ms).unwrap();
        let told = answer(&signer(1), &body(), time, &[]);
        assert!(checked(&told).is_ok(), "{ahead_ms}");
    }
    for ahead_ms in [-600_001_i64, 60_001, 86_400_000] {
        let time = now_ms().checked_add_signed(ahead_ms).unwrap();
        let told = answer(&signer(1), &body(), time, &[]);
        assert_eq!(lie(&told), Lie::Time(ahead_ms.into()));
    }
    for time in [0, u64::MAX] {
        let told = answer(&signer(1), &body(), time, &[]);
        assert!(matches!(lie(&told), Lie::Time(_)), "{time}");
    }
}

#[test]
fn something_else_is_read_as_a_timestamp() {
    let good = answer(&signer(1), &body(), now_ms(), &[]);
    let mut version_2 = good.clone();
    version_2["sct_version"] = json!(1);
    assert_eq!(lie(&version_2), Lie::Sct(SctError::Version(1)));
    for (member, value) in [
        ("id", json!(STANDARD.encode([1; 31]))),
        ("id", json!(STANDARD.encode([1; 33]))),
        ("id", json!("not base64")),
        ("id", json!(null)),
        ("sct_version", json!("0")),
        ("sct_version", json!(256)),
        ("timestamp", json!(-1)),
        ("timestamp", json!("now")),
        ("timestamp", json!(1.5)),
        ("extensions", json!(null)),
        ("extensions", json!(STANDARD.encode(vec![0; 1 << 16]))),
        ("signature", json!("")),
        ("signature", json!(STANDARD.encode([4, 3, 0, 9, 1]))),
        ("signature", json!(STANDARD.encode([4, 1, 0, 1, 1]))),
        ("signature", json!(STANDARD.encode([2, 3, 0, 1, 1]))),
        ("signature", json!(STANDARD.encode([4, 3, 0, 1, 1, 1]))),
    ] {
        let mut told = good.clone();
        told[member] = value.clone();
        assert!(
            matches!(checked(&told), Err(Fault::Lied(_))),
            "{member}: {value}"
        );
    }
    for member in ["sct_version", "id", "timestamp", "extensions", "signature"] {
        let mut told = good.clone();
        told.as_object_mut().unwrap().remove(member);
        assert!(
            matches!(lie(&told), Lie::NotATimestamp(_)),
            "without {member}"
        );
    }
    let page = b"<!doctype html><title>Please log in</title>";
    let told = check(page, signer(1).verifier(), &body(), at(0));
    assert!(matches!(told, Err(Fault::Lied(Lie::NotATimestamp(_)))));
}

#[test]
fn half_an_answer_makes_a_log_a_suspect() {
    let good = answer(&signer(1), &body(), now_ms(), &[]).to_string();
    for length in 0..good.len() {
        let told = check(
            &good.as_bytes()[..length],
            signer(1).verifier(),
            &body(),
            at(0),
        );
        assert!(
            matches!(told, Err(Fault::Unreachable(_))),
            "{length}: {told:?}"
        );
    }
}
