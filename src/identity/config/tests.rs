use super::*;
use crate::certificate::extensions::Extension;
use crate::identity::issuer::IssuerUrl;
use crate::identity::{IdentityError, Issuers, Patience};

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
      "IssuerClaim": "$.federated_claims.connector_id", "SkipEmailVerification": true,
      "Environment": "production"
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
    assert_eq!(config.warnings().len(), 2, "{:?}", config.warnings());
    assert!(config.warnings()[0].contains("\"subject\""));
    assert!(config.warnings()[1].contains("skip-email-verification"));
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
        &email(url, &["type: custom"]),
        3,
        &["\"custom\"", "email, kubernetes, spiffe"],
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
    refuse("meta-issuers:\n$ hu.ex", 2, &[]);
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
    assert_eq!(config.issuers.len(), 14);
}

#[test]
fn a_file_with_every_type_and_trick_is_refused_or_misread() {
    let config = read(include_str!("../../../testdata/issuers/every-type.yaml")).unwrap();
    let told: Vec<(String, &str, &str)> = config
        .issuers
        .iter()
        .map(|(which, terms)| {
            let url = match which {
                Which::Fixed(url) => url.clone(),
                Which::Matching(pattern) => pattern.as_str().to_owned(),
            };
            (url, terms.kind.name(), terms.environment.as_str())
        })
        .collect();
    let told: Vec<_> = told
        .iter()
        .map(|(url, kind, environment)| (url.as_str(), *kind, *environment))
        .collect();
    assert_eq!(
        told,
        [
            ("https://accounts.example.com", "email", ""),
            ("https://login.example.com/auth", "email", "production"),
            ("https://login.example.net/auth", "email", "staging"),
            ("https://workflows.example.com", "github-workflow", ""),
            ("https://pipelines.example.com", "gitlab-pipeline", ""),
            ("https://jobs.example.com", "buildkite-job", ""),
            ("https://builds.example.com", "codefresh-workflow", ""),
            ("https://identities.example.com", "chainguard-identity", ""),
            ("https://workloads.example.com", "spiffe", ""),
            ("https://users.example.com", "uri", ""),
            ("https://names.example.com", "username", ""),
            ("https://kubernetes.default.svc", "kubernetes", ""),
            ("https://forge.example.com", "ci-provider", ""),
            ("https://*.clusters.example.com/id/*", "kubernetes", ""),
            ("https://clusters.example.net/*", "kubernetes", ""),
            ("https://clusters.example.net/*/", "kubernetes", ""),
            ("https://clusters.example.net/*/*", "kubernetes", ""),
            ("https://forge.example.com/*", "ci-provider", ""),
        ]
    );
    let in_cluster: Vec<bool> = config
        .issuers
        .iter()
        .map(|(_, terms)| terms.in_cluster)
        .collect();
    assert_eq!(in_cluster.iter().filter(|is| **is).count(), 1);
    assert!(in_cluster[11]);
    assert_eq!(config.warnings().len(), 1, "{:?}", config.warnings());
    assert!(config.warnings()[0].contains("\"owner\""));
}

#[test]
fn the_types_that_are_older_than_templates_have_lost_theirs() {
    for name in kinds::BUILT_IN {
        assert!(!built_in(name).unwrap().rules.is_empty(), "{name}");
    }
    assert!(built_in("ci-provider").is_err());
    let document = super::read(BUILT_IN, Options::default()).unwrap();
    assert_eq!(document.warnings, [""; 0]);
    assert_eq!(document.providers.len(), kinds::BUILT_IN.len());
}

#[test]
fn a_type_lacks_what_it_needs_or_has_what_it_cannot_use() {
    let url = "https://a.example.com";
    for (lines, says) in [
        (&["type: spiffe"][..], "needs a spiffe-trust-domain"),
        (
            &["type: spiffe", "spiffe-trust-domain: 'Not valid'"],
            "not a name",
        ),
        (
            &["type: spiffe", "spiffe-trust-domain: https://a.example"],
            "not a name",
        ),
        (&["type: uri"], "needs a subject-domain"),
        (
            &["type: uri", "subject-domain: example.com"],
            "has a scheme",
        ),
        (
            &["type: uri", "subject-domain: http://example.com"],
            "same scheme",
        ),
        (
            &["type: uri", "subject-domain: https://example.org"],
            "registered domain",
        ),
        (&["type: username"], "needs a subject-domain"),
        (
            &["type: username", "subject-domain: https://example.com"],
            "bare host",
        ),
        (
            &["type: username", "subject-domain: example.org"],
            "registered domain",
        ),
        (
            &["type: kubernetes", "issuer-claim: $.a"],
            "only the type email",
        ),
        (
            &["type: github-workflow", "issuer-claim: $.a"],
            "only the type email",
        ),
        (
            &["type: email", "name-prefix: https://b.example"],
            "only the type kubernetes",
        ),
        (
            &["type: kubernetes", "name-prefix: https://b.example/"],
            "name-prefix",
        ),
        (&["type: email", "in-cluster: true"], "in-cluster"),
        (&["type: kubernetes", "in-cluster: perhaps"], "in-cluster"),
        (&["type: custom"], "not supported"),
    ] {
        let error = read(&email(url, lines)).unwrap_err();
        assert!(error.to_string().contains(says), "{lines:?}: {error}");
        assert!(
            error.line.is_some_and(|line| line >= 3),
            "{lines:?}: {error}"
        );
    }
    for lines in [
        &["type: spiffe", "spiffe-trust-domain: example.com"][..],
        &[
            "type: spiffe",
            "spiffe-trust-domain: spiffe://other.example",
        ],
        &["type: uri", "subject-domain: https://example.com"],
        &["type: uri", "subject-domain: https://b.example.com"],
        &["type: username", "subject-domain: a.example.com"],
        &["type: kubernetes", "name-prefix: https://b.example/x"],
        &["type: chainguard-identity"],
        &["type: github-workflow", "ci-provider: unused"],
    ] {
        let config = read(&email(url, lines)).unwrap();
        assert_eq!(config.warnings(), [""; 0], "{lines:?}");
    }
    // Two owners below one public suffix.
    for (issuer, domain) in [
        ("https://a.co.uk", "https://b.co.uk"),
        ("https://a.github.io", "https://b.github.io"),
    ] {
        let text = email(issuer, &["type: uri", &format!("subject-domain: {domain}")]);
        assert!(read(&text).is_err(), "{issuer} {domain}");
    }
    refuse(
        "meta-issuers:\n  https://*.a.example/x:\n    client-id: s\n    type: spiffe\n    spiffe-trust-domain: a.example\n",
        3,
        &["oidc-issuers only"],
    );
    refuse(
        "meta-issuers:\n  https://*.co.uk/x:\n    client-id: s\n    type: email\n",
        3,
        &["registered"],
    );
    refuse(
        "meta-issuers:\n  https://*.a.example/x:\n    client-id: s\n    type: username\n",
        3,
        &["needs a subject-domain"],
    );
}

#[test]
fn a_type_that_nobody_knows_issues_or_keeps_the_others_from_it() {
    let url = "https://b.example";
    let text = email("https://a.example", &[])
        + &email(url, &["type: custom", "challenge-claim: sub"]).replace("oidc-issuers:\n", "");
    let config = read(&text).unwrap();
    assert_eq!(config.issuers.len(), 1);
    assert_eq!(config.warnings().len(), 1);
    assert!(config.warnings()[0].contains("custom") && config.warnings()[0].contains(url));
}

#[test]
fn a_listed_issuer_of_unknown_type_is_taken_through_a_pattern() {
    let text = "oidc-issuers:\n  https://issuer.example/one:\n    issuer-url: https://issuer.example/one\n    \
                client-id: sigstore\n    type: custom\n    challenge-claim: sub\n\
                meta-issuers:\n  https://issuer.example/*:\n    client-id: sigstore\n    type: uri\n    \
                subject-domain: https://issuer.example\n";
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let config = read(text).unwrap();
    let issuers = Issuers::new(config, Patience::default()).unwrap();
    let now = time::macros::datetime!(2026-01-01 00:00 UTC);
    let found = issuers.find("https://issuer.example/one", now);
    assert!(
        matches!(found, Err(IdentityError::UnknownIssuer)),
        "{found:?}"
    );
    assert!(issuers.find("https://issuer.example/two", now).is_ok());
}

#[test]
fn the_pods_token_goes_to_a_stranger_unsaid() {
    let kubernetes = |url: &str, more: &str| {
        email(url, &["type: kubernetes", more]).replace("oidc-issuers:\n", "")
    };
    let cluster = |text: &str| {
        let config = read(&format!("oidc-issuers:\n{text}")).unwrap();
        let all = config.issuers.iter();
        let in_cluster: Vec<_> = all
            .map(|(_, terms)| (terms.in_cluster, terms.reach))
            .collect();
        (in_cluster, config.warnings().len())
    };
    let (inside, outside) = ((true, Reach::Internal), (false, Reach::Public));
    let far = kubernetes("https://far.example/x", "description: x");
    assert_eq!(cluster(&far), (vec![outside], 0));
    let own = kubernetes("https://kubernetes.default.svc", "description: x");
    let long = kubernetes(
        "https://kubernetes.default.svc.cluster.local",
        "description: x",
    );
    assert_eq!(cluster(&long), (vec![inside], 0));
    // As with Fulcio, one that is listed beside our own is asked in the same way, but not silently.
    assert_eq!(cluster(&format!("{own}{far}")), (vec![inside, inside], 1));
    let not = kubernetes("https://far.example/x", "in-cluster: false");
    assert_eq!(cluster(&format!("{own}{not}")), (vec![inside, outside], 0));
    let named = kubernetes(
        "https://kubernetes.default.svc.evil.example",
        "in-cluster: false",
    );
    assert_eq!(cluster(&named), (vec![outside], 0));
}

#[test]
fn rules_for_claims_are_ignored_or_misread() {
    let provider = |lines: &str| {
        format!(
            "oidc-issuers:\n  https://a.example:\n    issuer-url: https://a.example\n    client-id: s\n    type: ci-provider\n    ci-provider: x\nci-issuer-metadata:\n  x:\n    subject-alternative-name-template: 'https://h.example/{{{{ .p }}}}'\n{lines}"
        )
    };
    let good = "    claims: {p: text, q: optional, r: number, s: a | b}\n    joined: [subject-alternative-name]\n";
    assert!(read(&provider(good)).unwrap().warnings().is_empty());
    refuse(
        &provider("    claims:\n      p: string\n"),
        11,
        &["`text`", "\"string\""],
    );
    refuse(
        &provider("    joined: [build-signer-uri]\n"),
        9,
        &["no template for \"build-signer-uri\""],
    );
    refuse(&provider("    joined: x\n"), 10, &["joined"]);
}

#[test]
fn the_reference_leaves_out_a_type_or_a_key() {
    let reference = include_str!("../../../docs/issuers.md");
    for kind in kinds::TYPES {
        assert!(reference.contains(&format!("| `{kind}` |")), "{kind}");
    }
    for key in rows::TEXTS
        .into_iter()
        .chain(["skipemailverification", "internal", "incluster"])
    {
        let documented = reference
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
            .any(|documented| documented.replace('-', "") == key);
        assert!(documented, "{key}");
    }
    for extension in Extension::ALL {
        if Extension::from_template_key(extension.name()).is_some() {
            assert!(
                reference.contains(&format!("`{}`", extension.name())),
                "{extension:?}"
            );
        }
    }
    // The samples are configurations.
    let samples = reference.split("```yaml\n").skip(1);
    let samples: Vec<&str> = samples
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(!samples.is_empty());
    for sample in samples {
        let config = read(sample).unwrap();
        assert_eq!(config.warnings(), [""; 0], "{sample}");
    }
}
