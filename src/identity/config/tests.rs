use super::*;
use crate::identity::issuer::IssuerUrl;

/// The idioms of files written for Fulcio: anchors under a key nobody knows, aliases as values and,
/// without a space before the colon, as keys.
const FULCIO: &str = r#"
define:
  - &forge "forge-workflow"
oidc-issuers:
  https://accounts.example:
    issuer-url: https://accounts.example
    client-id: sigstore
    type: email
    contact: somebody@example.com
    description: "people"
  https://oauth2.example/auth:
    issuer-url: https://oauth2.example/auth
    client-id: sigstore
    type: email
    issuer-claim: $.federated_claims.connector_id
    skip-email-verification: true
    environment: production
  https://token.forge.example:
    issuer-url: https://token.forge.example
    client-id: sigstore
    type: ci-provider
    ci-provider: *forge
meta-issuers:
  # a comment
  https://token.forge.example/*:
    client-id: sigstore
    type: ci-provider
    ci-provider: *forge
ci-issuer-metadata:
  *forge:
    default-template-values:
      url: "https://forge.example"
      environment: ""
    extension-templates:
      github-workflow-trigger: "event_name"
      source-repository-ref: refs/{{if eq .ref_type "branch"}}heads/{{ else }}tags/{{end}}{{ .ref }}
      deployment-environment: ""
      subject: "sub"
    subject-alternative-name-template: "{{ .url }}/{{ .job_workflow_ref }}"
"#;

const FULCIO_JSON: &str = r#"{
  "OIDCIssuers": {
    "https://accounts.example": {
      "IssuerURL": "https://accounts.example", "ClientID": "sigstore", "Type": "email"
    },
    "https://oauth2.example/auth": {
      "IssuerURL": "https://oauth2.example/auth", "ClientID": "sigstore", "Type": "email",
      "IssuerClaim": "$.federated_claims.connector_id", "SkipEmailVerification": true
    },
    "https://token.forge.example": {
      "IssuerURL": "https://token.forge.example", "ClientID": "sigstore",
      "Type": "ci-provider", "CiProvider": "forge-workflow"
    }
  },
  "MetaIssuers": {
    "https://token.forge.example/*": {
      "ClientID": "sigstore", "Type": "ci-provider", "CIProvider": "forge-workflow"
    }
  },
  "CIIssuerMetadata": {
    "forge-workflow": {
      "DefaultTemplateValues": { "url": "https:\/\/forge.example", "environment": "" },
      "ExtensionTemplates": {
        "GithubWorkflowTrigger": "event_name",
        "SourceRepositoryRef": "refs/{{if eq .ref_type \"branch\"}}heads/{{ else }}tags/{{end}}{{ .ref }}",
        "subject": "sub"
      },
      "SubjectAlternativeNameTemplate": "{{ .url }}/{{ .job_workflow_ref }}"
    }
  }
}"#;

fn read(text: &str) -> Result<Config, ConfigError> {
    Config::from_text(text, Options::default())
}

/// The line and the words that the refusal of a text must have.
fn refuse(text: &str, line: usize, words: &[&str]) {
    let error = read(text).unwrap_err();
    let said = error.to_string();
    assert_eq!(error.line, Some(line), "{said}\n{text}");
    for word in words {
        assert!(said.contains(word), "{said:?} does not say {word:?}");
    }
}

/// An issuer of type email with these lines added or changed; the block begins in line two.
fn email(url: &str, lines: &[&str]) -> String {
    let mut text = format!("oidc-issuers:\n  {url}:\n");
    for (name, value) in [
        ("issuer-url", url),
        ("client-id", "sigstore"),
        ("type", "email"),
    ] {
        if !lines.iter().any(|line| line.starts_with(name)) {
            text += &format!("    {name}: {value}\n");
        }
    }
    for line in lines {
        text += &format!("    {line}\n");
    }
    text
}

#[test]
fn a_file_written_for_fulcio_is_refused_or_misread() {
    let config = read(FULCIO).unwrap();
    let issuers: Vec<_> = config
        .issuers
        .iter()
        .map(|(which, terms)| terms.describe(which))
        .collect();
    let urls: Vec<_> = issuers.iter().map(|issuer| issuer.url.clone()).collect();
    assert_eq!(
        urls,
        [
            IssuerUrl::Fixed("https://accounts.example".into()),
            IssuerUrl::Fixed("https://oauth2.example/auth".into()),
            IssuerUrl::Fixed("https://token.forge.example".into()),
            IssuerUrl::Wildcard("https://token.forge.example/*".into()),
        ]
    );
    let types: Vec<_> = issuers.iter().map(|issuer| issuer.issuer_type).collect();
    assert_eq!(types, ["email", "email", "ci-provider", "ci-provider"]);
    let claims: Vec<_> = issuers
        .iter()
        .map(|issuer| issuer.challenge_claim.as_str())
        .collect();
    assert_eq!(claims, ["email", "email", "sub", "sub"]);
    let skips: Vec<_> = issuers
        .iter()
        .map(|issuer| issuer.skip_email_verification)
        .collect();
    assert_eq!(skips, [false, true, false, false]);
    assert!(issuers.iter().all(|issuer| issuer.audience == "sigstore"));
    assert_eq!(config.warnings().len(), 1, "{:?}", config.warnings());
    assert!(config.warnings()[0].contains("\"subject\""));
}

#[test]
fn the_same_document_in_json_means_something_else() {
    let (yaml, json) = (read(FULCIO).unwrap(), read(FULCIO_JSON).unwrap());
    assert_eq!(yaml.issuers, json.issuers);
    let broken = FULCIO_JSON.replace("\"email\"", "\"emial\"");
    let error = read(&broken).unwrap_err();
    assert!(error.message.contains("emial"), "{error}");
    assert_eq!(error.line, Some(5), "{error}");
    // A flow mapping that is YAML but not JSON.
    let flow = "{oidc-issuers: {'https://a.example': {issuer-url: 'https://a.example', client-id: s, type: email}}}";
    assert_eq!(read(flow).unwrap().issuers.len(), 1);
}

#[test]
fn of_two_equal_keys_the_last_one_wins() {
    let block = email("https://a.example", &[]);
    let again = block.strip_prefix("oidc-issuers:\n").unwrap();
    refuse(
        &format!("{block}{again}"),
        6,
        &["https://a.example", "twice"],
    );
    refuse(&format!("{block}{block}"), 6, &["oidc-issuers", "twice"]);
    refuse(
        &email("https://a.example", &["client-id: a", "client-id: b"]),
        6,
        &["client-id"],
    );
    refuse(
        &email("https://a.example", &["ClientID: a", "client-id: b"]),
        6,
        &["client-id"],
    );
    for (line, key) in [
        ("    extension-templates:", "    extension-templates: {}\n"),
        ("      url: ", "      url: x\n"),
        (
            "      github-workflow-trigger: ",
            "      github-workflow-trigger: x\n",
        ),
        (
            "  *forge:",
            "  forge-workflow: {subject-alternative-name-template: x}\n",
        ),
    ] {
        let at = FULCIO.find(line).unwrap();
        let text = format!("{}{key}{}", &FULCIO[..at], &FULCIO[at..]);
        let error = read(&text).unwrap_err();
        let expected = FULCIO[..at].lines().count() + 2;
        assert!(error.message.contains("twice"), "{line}: {error}");
        // A mapping's own line where the second key is an alias, which has none.
        assert!(
            error.line == Some(expected) || line.contains('*'),
            "{line}: {error}"
        );
    }
}

#[test]
fn a_mistake_in_an_issuer_starts_the_server() {
    let url = "https://a.example";
    refuse(
        &email(url, &["issuer-url: https://a.example/"]),
        3,
        &["issuer-url", url],
    );
    refuse(&email(url, &["issuer-url:"]), 3, &["issuer-url"]);
    refuse(
        &email(url, &["client-id: \"\""]),
        3,
        &["client-id", "empty"],
    );
    refuse(&email(url, &["client-id: ~"]), 3, &["client-id"]);
    refuse(
        &email(url, &["type: kubernetes"]),
        3,
        &["kubernetes", "email and ci-provider"],
    );
    refuse(&email(url, &["type:"]), 3, &["type is missing"]);
    refuse(
        &email(url, &["issuer-claim: federated"]),
        3,
        &["issuer-claim"],
    );
    refuse(
        &email(url, &["type: ci-provider"]),
        3,
        &["needs a ci-provider"],
    );
    refuse(
        &email(
            url,
            &["type: ci-provider", "ci-provider: x", "issuer-claim: $.a"],
        ),
        3,
        &["only the type email"],
    );
    refuse(&email(url, &["ca-cert: nonsense"]), 3, &["ca-cert"]);
    refuse(
        &email(url, &["jwks-host: keys.example/x"]),
        3,
        &["jwks-host"],
    );
    refuse(
        &email(url, &["skip-email-verification: perhaps"]),
        6,
        &["skip-email-verification"],
    );
    refuse(&email(url, &["internal: \"yes\""]), 6, &["internal"]);
    refuse(&email("http://a.example", &[]), 3, &["https"]);
    refuse(&email("https://10.0.0.1", &[]), 3, &["internal"]);
    refuse(&email("http://127.0.0.1:99", &[]), 3, &["development"]);
    refuse(&email("https://a.example/*", &[]), 3, &["meta-issuers"]);
    refuse(&email("https://a.example?x=1", &[]), 3, &["'?'"]);
    refuse(
        "oidc-issuers:\n  https://a.example: email\n",
        2,
        &["https://a.example"],
    );
    refuse("oidc-issuers: [1]\n", 1, &["oidc-issuers"]);
    refuse("oidc-issuers:\n  <<: x\n", 2, &["merge"]);
    refuse("oidc-issuers:\n  a: \"x\n", 3, &[]);
    for nothing in ["", "{}", "oidc-issuers:\n", "define: []\n"] {
        assert!(read(nothing).is_err(), "{nothing:?}");
    }
}

#[test]
fn a_mistake_between_two_parts_has_no_line() {
    let text = FULCIO.replace("*forge:", "other:");
    let error = read(&text).unwrap_err();
    assert!(error.message.contains("forge-workflow"), "{error}");
    assert_eq!(error.line, Some(18), "{error}");
    let patterns = |one: &str, other: &str| {
        format!(
            "meta-issuers:\n  {one}:\n    client-id: s\n    type: email\n  {other}:\n    client-id: s\n    type: email\n"
        )
    };
    refuse(
        &patterns("https://*.a.example/x", "https://b.a.example/*"),
        5,
        &["https://*.a.example/x", "https://b.a.example/*", "luck"],
    );
    assert!(read(&patterns("https://a.example/*", "https://a.example/*/")).is_ok());
    refuse(
        &patterns("https://a.example/*", "https://*.example/x"),
        6,
        &["labels"],
    );
    refuse(
        &patterns("https://a.example/*", "http://b.example/*"),
        6,
        &["https"],
    );
}

#[test]
fn a_template_that_cannot_work_is_found_at_the_first_request() {
    for (old, new, line, words) in [
        (
            "\"event_name\"",
            "\"{{ range .a }}x{{ end }}\"",
            35,
            ["range", "byte 4", "github-workflow-trigger"],
        ),
        (
            "\"event_name\"",
            "\"{{ .a | html }}\"",
            35,
            ["pipes", "byte", "github-workflow-trigger"],
        ),
        (
            "{{end}}{{ .ref }}",
            "{{ .ref }}",
            36,
            ["`end`", "byte 6", "source-repository-ref"],
        ),
        (
            "\"{{ .url }}/{{ .job_workflow_ref }}\"",
            "\"{{ .url }/x\"",
            39,
            ["template", "byte", "subject-alternative-name-template"],
        ),
        (
            "\"{{ .url }}/{{ .job_workflow_ref }}\"",
            "\" \"",
            31,
            ["subject-alternative-name-template", "empty", "forge"],
        ),
    ] {
        let text = FULCIO
            .replace(old, new)
            .replace("*forge:", "forge-workflow:");
        let error = read(&text).unwrap_err();
        for word in words {
            assert!(
                error.message.contains(word),
                "{error} does not say {word:?}"
            );
        }
        assert_eq!(error.line, Some(line), "{error}");
    }
}

#[test]
fn an_unknown_key_goes_unnoticed() {
    let text = email("https://a.example", &["client_id: x", "audience: y"]) + "unknown: 1\n";
    let config = read(&text).unwrap();
    for key in ["client_id", "audience", "unknown"] {
        let told = config
            .warnings()
            .iter()
            .any(|warning| warning.contains(&format!("{key:?}")));
        assert!(told, "{key}: {:?}", config.warnings());
    }
}

#[test]
fn a_certificate_of_our_own_root_is_not_taken() {
    let key = rcgen::KeyPair::generate().unwrap();
    let root = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    let pem = root.self_signed(&key).unwrap().pem();
    let mut lines = vec!["ca-cert: |".to_owned()];
    lines.extend(pem.lines().map(|line| format!("  {line}")));
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let config = read(&email("https://a.example", &lines)).unwrap();
    assert_eq!(config.issuers[0].1.roots.len(), 1);
}

#[test]
fn an_enormous_or_explosive_file_is_read() {
    assert!(read(&" ".repeat(MAX_TEXT + 1)).is_err());
    let mut bomb = "a: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        let list = vec![alias; 9].join(",");
        bomb += &format!("a{level}: &a{level} [{list}]\n");
    }
    assert!(read(&bomb).is_err());
    assert!(read(&"[".repeat(1_000)).is_err());
    assert!(read(&("{\"a\":".repeat(1_000))).is_err());
}

#[test]
fn the_shipped_configuration_is_broken() {
    let config = read(include_str!("../../../config/issuers.yaml")).unwrap();
    assert_eq!(config.warnings(), [""; 0]);
    let fixed = config
        .issuers
        .iter()
        .filter(|(which, _)| matches!(which, Which::Fixed(_)));
    assert_eq!(fixed.count(), 9);
    assert_eq!(config.issuers.len(), 11);
}
