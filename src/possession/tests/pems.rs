//! PEM as clients write it, and PEM that is two things at once.

use super::*;

/// The P-256 fixture with its body wrapped at `column` by `end`, and the proof that goes with it.
fn wrapped(column: usize, end: &str) -> String {
    let text = fixture_text("p256.pem");
    let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    let lines: Vec<&str> = body
        .as_bytes()
        .chunks(column)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN PUBLIC KEY-----{end}{}{end}-----END PUBLIC KEY-----",
        lines.join(end)
    )
}

fn accepted(text: &str) -> bool {
    prove_key(text, fixture("p256.sig")).is_ok()
}

#[test]
fn every_layout_of_real_clients_is_read() {
    for column in [1, 7, 64, 76, 1000] {
        for end in ["\n", "\r\n", "\n\n", " \t\r\n"] {
            let text = wrapped(column, end);
            assert!(accepted(&text), "{column} {end:?}");
            assert!(accepted(&format!("\n {text}{end}\n")), "{column} {end:?}");
        }
    }
}

#[test]
fn a_signing_request_in_one_line_is_read() {
    let pem = pem("CERTIFICATE REQUEST", &fixture_der("csr-p256-sha256.pem"));
    let key = prove_csr(fixture("csr-p256-sha256.pem")).unwrap();
    assert_eq!(prove_csr(pem.trim_end()), Ok(key.clone()));
    assert_eq!(prove_csr(pem.replace('\n', "\r\n")), Ok(key));
}

#[test]
fn anything_but_one_block_is_refused() {
    let one = wrapped(64, "\n");
    let two = unparseable(Malformed::NotOneBlock);
    for text in [
        format!("a comment\n{one}"),
        format!("{one}\na comment"),
        format!("{one}\n-----BEGIN PUBLIC KEY-----"),
        format!("\0{one}"),
        one.replace("-----BEGIN", "----BEGIN"),
        one.replace("PUBLIC KEY-----\n", "PUBLIC KEY----\n"),
        one.replace("-----END PUBLIC", "-----END CERTIFICATE"),
        one.replace("-----END PUBLIC KEY-----", ""),
        one.replace("KEY-----\n", "KEY-----"),
        one.replace("\n-----END", "-----END"),
        one.replace('\n', "\r"),
        one.replace('\n', "\\n"),
        "-----BEGIN PUBLIC KEY-----".to_owned(),
        "-----END PUBLIC KEY-----".to_owned(),
        "-----BEGIN -----END -----".to_owned(),
        "-----BEGIN -----".to_owned(),
    ] {
        assert_eq!(prove_key(text.clone(), "x"), two, "{text:?}");
    }
    for text in [
        format!("{one}\n{one}"),
        format!("{one}{one}"),
        one.replace("KEY-----\nM", "KEY-----\nProc-Type: 4,ENCRYPTED\n\nM"),
    ] {
        assert_eq!(
            prove_key(text.clone(), "x"),
            unparseable(Malformed::Base64),
            "{text:?}"
        );
    }
}

#[test]
fn a_second_block_cannot_hide_behind_another_label() {
    let key = wrapped(64, "\n");
    let csr = fixture_text("csr-p256-sha256.pem");
    assert!(prove_key(format!("{key}\n{csr}"), fixture("p256.sig")).is_err());
    assert!(prove_csr(format!("{csr}{key}")).is_err());
}

#[test]
fn base64_is_exact() {
    let text = wrapped(1000, "\n");
    let (begin, rest) = text.split_once("-----\n").unwrap();
    let (body, end) = rest.split_once('\n').unwrap();
    // 91 octets end in "==" with four bits unused in the letter before.
    assert!(body.ends_with("=="));
    let unpadded = body.trim_end_matches('=');
    let (most, last) = unpadded.split_at(unpadded.len() - 1);
    let stray_bits = char::from(last.as_bytes()[0] + 1);
    for body in [
        unpadded.to_owned(),
        format!("{body}="),
        format!("{unpadded}=A="),
        format!("{most}{stray_bits}=="),
        format!("{}-{}", &body[..40], &body[41..]),
        format!("{}\u{a0}{}", &body[..40], &body[40..]),
        format!("{}\0{}", &body[..40], &body[40..]),
    ] {
        let text = format!("{begin}-----\n{body}\n{end}");
        assert_eq!(
            prove_key(text, "x"),
            unparseable(Malformed::Base64),
            "{body:?}"
        );
    }
    let nothing = prove_key(format!("{begin}-----\n{end}"), "x");
    assert_eq!(nothing, unparseable(Malformed::Der));
}

#[test]
fn labels_are_those_of_the_field() {
    let der = fixture_der("p256.pem");
    for label in [
        "EC PUBLIC KEY",
        "CERTIFICATE",
        "CERTIFICATE REQUEST",
        "public key",
        "",
    ] {
        let got = prove_key(pem(label, &der), "x");
        assert_eq!(got, unparseable(Malformed::Label), "{label:?}");
    }
    let csr = fixture_der("csr-p256-sha256.pem");
    for label in ["PUBLIC KEY", "CERTIFICATE", "X CERTIFICATE REQUEST"] {
        let got = prove_csr(pem(label, &csr));
        assert_eq!(
            got,
            Err(PossessionError::CsrUnparseable(Malformed::Label)),
            "{label:?}"
        );
    }
    let got = prove_key(pem("RSA PUBLIC KEY", &der), "x");
    assert_eq!(got, unparseable(Malformed::Der));
}
