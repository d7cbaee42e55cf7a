//! The claims of the demo provider's tokens, and which of them a caller may choose.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{ProviderError, Shape};

/// A claim that a caller may choose.
pub(super) struct OpenClaim {
    pub(super) name: &'static str,
    /// Its value where the caller chooses none; empty where the token then lacks it.
    pub(super) usual: &'static str,
    /// What it must be, to complete "… must be".
    pub(super) rule: &'static str,
    pub(super) holds: fn(&str) -> bool,
}

impl OpenClaim {
    pub(super) const fn malformed(&self) -> ProviderError {
        ProviderError::Malformed {
            name: self.name,
            rule: self.rule,
        }
    }
}

/// The claims a caller may choose.
pub(super) const fn open(shape: Shape) -> &'static [OpenClaim] {
    match shape {
        Shape::Github => &[REPOSITORY, REF, EVENT_NAME, ENVIRONMENT],
        Shape::Google => &[SERVICE_ACCOUNT, ACCOUNT_NUMBER],
        Shape::Email => &[EMAIL, SUBJECT, CONNECTOR],
    }
}

/// What a token of this shape says of its bearer: the usual values, where none are chosen.
pub(super) fn claims(
    shape: Shape,
    chosen: &BTreeMap<String, String>,
) -> Result<Value, ProviderError> {
    for name in chosen.keys() {
        if open(shape).iter().all(|claim| claim.name != name) {
            return Err(unknown(shape, name));
        }
    }
    let mut values = BTreeMap::new();
    for claim in open(shape) {
        let value = match chosen.get(claim.name) {
            Some(value) if (claim.holds)(value) => value,
            Some(_) => return Err(claim.malformed()),
            None => claim.usual,
        };
        values.insert(claim.name, value);
    }
    let value = |claim: OpenClaim| values.get(claim.name).copied().unwrap_or_default();
    Ok(match shape {
        Shape::Github => github(
            value(REPOSITORY),
            value(REF),
            value(EVENT_NAME),
            value(ENVIRONMENT),
        ),
        Shape::Google => json!({
            "sub": value(ACCOUNT_NUMBER), "azp": value(ACCOUNT_NUMBER),
            "email": value(SERVICE_ACCOUNT), "email_verified": true,
        }),
        Shape::Email => email(value(SUBJECT), value(EMAIL), value(CONNECTOR)),
    })
}

pub(super) fn unknown(shape: Shape, name: &str) -> ProviderError {
    ProviderError::Unknown {
        name: name.to_owned(),
        open: choices(shape),
    }
}

/// What can be chosen for a token of this shape, as a list.
pub(super) fn choices(shape: Shape) -> String {
    let claims = open(shape).iter().map(|claim| claim.name);
    let names: Vec<&str> = std::iter::once(AUDIENCE.name).chain(claims).collect();
    names.join(", ")
}

/// The claims of a job of GitHub Actions in an invented repository.
fn github(repository: &str, git_ref: &str, event: &str, environment: &str) -> Value {
    let (owner, _) = repository.split_once('/').unwrap_or((repository, ""));
    let workflow = format!("{repository}/.github/workflows/release.yml@{git_ref}");
    let commit = "1f2d3c4b5a69788796a5b4c3d2e1f00112233445";
    let ref_type = if git_ref.starts_with("refs/tags/") {
        "tag"
    } else {
        "branch"
    };
    let mut claims = json!({
        "sub": format!("repo:{repository}:ref:{git_ref}"),
        "ref": git_ref, "ref_type": ref_type, "ref_protected": "true", "sha": commit,
        "repository": repository, "repository_id": "700000001",
        "repository_owner": owner, "repository_owner_id": "700000002", "repository_visibility": "public",
        "actor": "example-person", "actor_id": "700000003",
        "workflow": "Release", "workflow_ref": workflow, "workflow_sha": commit,
        "job_workflow_ref": workflow, "job_workflow_sha": commit,
        "event_name": event, "base_ref": "", "head_ref": "",
        "run_id": "9000000001", "run_number": "42", "run_attempt": "1",
        "runner_environment": "github-hosted", "check_run_id": "9000000002",
    });
    if let (Value::Object(claims), false) = (&mut claims, environment.is_empty()) {
        // A job that deploys is named by where it deploys to, not by its branch.
        let subject = format!("repo:{repository}:environment:{environment}");
        claims.insert("sub".to_owned(), subject.into());
        claims.insert("environment".to_owned(), environment.into());
    }
    claims
}

/// The claims of a person, who may have signed in to the issuer through another one.
fn email(subject: &str, email: &str, connector: &str) -> Value {
    let mut claims = json!({"sub": subject, "email": email, "email_verified": true});
    if let (Value::Object(claims), false) = (&mut claims, connector.is_empty()) {
        let federated = json!({"connector_id": connector, "user_id": subject});
        claims.insert("federated_claims".to_owned(), federated);
    }
    claims
}

fn is_repository(value: &str) -> bool {
    let is_name = |name: &str| name.bytes().any(|b| b.is_ascii_alphanumeric());
    value.split_once('/').is_some_and(|(owner, name)| {
        is_made_of(owner, 39, b"-")
            && is_name(owner)
            && is_made_of(name, 100, b"-_.")
            && is_name(name)
    })
}

fn is_ref(value: &str) -> bool {
    let name = value
        .strip_prefix("refs/heads/")
        .or_else(|| value.strip_prefix("refs/tags/"));
    name.is_some_and(|name| {
        is_made_of(name, 150, b"-_./+")
            && name
                .split('/')
                .all(|part| !part.is_empty() && !part.contains(".."))
    })
}

fn is_word(value: &str) -> bool {
    is_made_of(value, 50, b"-_")
}

fn is_email(value: &str) -> bool {
    value.split_once('@').is_some_and(|(local, domain)| {
        is_made_of(local, 64, b"-_.+")
            && is_made_of(domain, 100, b"-.")
            && domain.split('.').all(|label| !label.is_empty())
    })
}

fn is_service_account(value: &str) -> bool {
    is_email(value) && value.ends_with(".gserviceaccount.com")
}

fn is_number(value: &str) -> bool {
    (1..=21).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit())
}

fn is_https(value: &str) -> bool {
    value
        .strip_prefix("https://")
        .is_some_and(|rest| is_made_of(rest, 150, b"-_./"))
}

fn is_tame(value: &str) -> bool {
    is_made_of(value, 200, b"-_.@/:+")
}

/// One to `longest` ASCII letters, digits and `marks`.
fn is_made_of(value: &str, longest: usize, marks: &[u8]) -> bool {
    (1..=longest).contains(&value.len())
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || marks.contains(&b))
}

pub(super) const AUDIENCE: OpenClaim = OpenClaim {
    name: "audience",
    usual: "sigstore",
    rule: "up to 200 letters, digits and marks of -_.@/:+",
    holds: is_tame,
};
const REPOSITORY: OpenClaim = OpenClaim {
    name: "repository",
    usual: "example-org/example-repo",
    rule: "a repository as owner/name",
    holds: is_repository,
};
const REF: OpenClaim = OpenClaim {
    name: "ref",
    usual: "refs/heads/main",
    rule: "a branch or tag as refs/heads/… or refs/tags/…",
    holds: is_ref,
};
const EVENT_NAME: OpenClaim = OpenClaim {
    name: "event_name",
    usual: "push",
    rule: "the name of an event, such as push",
    holds: is_word,
};
const ENVIRONMENT: OpenClaim = OpenClaim {
    name: "environment",
    usual: "",
    rule: "the name of an environment, such as production",
    holds: is_word,
};
const SERVICE_ACCOUNT: OpenClaim = OpenClaim {
    name: "email",
    usual: "builder@example-project.iam.gserviceaccount.com",
    rule: "the address of a service account, below gserviceaccount.com",
    holds: is_service_account,
};
const ACCOUNT_NUMBER: OpenClaim = OpenClaim {
    name: "sub",
    usual: "100000000000000000001",
    rule: "up to 21 digits",
    holds: is_number,
};
const EMAIL: OpenClaim = OpenClaim {
    name: "email",
    usual: "developer@example.com",
    rule: "an e-mail address of ASCII letters, digits and marks of -_.+",
    holds: is_email,
};
const SUBJECT: OpenClaim = OpenClaim {
    name: "sub",
    usual: "developer-1",
    rule: "up to 200 letters, digits and marks of -_.@/:+",
    holds: is_tame,
};
const CONNECTOR: OpenClaim = OpenClaim {
    name: "connector",
    usual: "",
    rule: "the https:// URL of the issuer that the person signed in with",
    holds: is_https,
};
