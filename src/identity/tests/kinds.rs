//! Tokens of every type of issuer, and what exactly each becomes: the name, what is signed, and every
//! extension with the bytes it has in a certificate.

use super::*;
use crate::certificate::extensions::Extension::{self, *};
use crate::identity::unverified::SignedPayload;

fn principal(issuer: &str, mut claims: Json) -> Result<Principal, PrincipalError> {
    let text = include_str!("../../../testdata/issuers/every-type.yaml");
    let config = Config::from_text(text, Options::default()).unwrap();
    let (_, terms) = config
        .issuers
        .iter()
        .find(|(which, _)| match which {
            Which::Fixed(url) => url == issuer,
            Which::Matching(pattern) => pattern.matches(issuer),
        })
        .unwrap();
    let members = claims.as_object_mut().unwrap();
    members.insert("iss".to_owned(), json!(issuer));
    members.insert("aud".to_owned(), json!("sigstore"));
    members.insert("exp".to_owned(), json!(NOW + 300));
    let subject = json!("the subject");
    members.entry("sub").or_insert(subject);
    let payload = SignedPayload::pretend(claims);
    let claims = Claims::check(payload, issuer, &terms.audience, at(0)).unwrap();
    terms.kind.principal(issuer, &claims)
}

/// Everything of a principal, and nothing else.
fn expect(issuer: &str, claims: Json, name: (&str, &str), more: &[(Extension, &str)]) {
    let subject = claims["sub"].as_str().unwrap_or("the subject").to_owned();
    let principal = principal(issuer, claims).unwrap();
    assert_eq!((principal.name.kind(), principal.name.as_str()), name);
    let mut all = vec![
        (Issuer, issuer),
        (IssuerV2, issuer),
        (TokenSubject, &subject),
    ];
    all.extend(more);
    all.sort_by_key(|(extension, _)| *extension);
    assert_eq!(principal.extensions.iter().collect::<Vec<_>>(), all);
    assert_eq!(principal.issuer, issuer);
    assert_eq!(principal.subject, subject);
}

/// Every claim that must be there is missed by its name, and is not allowed to be anything else.
fn expect_claims(issuer: &str, claims: &Json, needed: &[&str]) {
    for name in needed {
        let mut without = claims.clone();
        without.as_object_mut().unwrap().remove(*name);
        let said = reason(principal(issuer, without));
        assert!(
            said.contains(&format!("no claim {name:?}")),
            "{name}: {said}"
        );
        for wrong in [json!(null), json!(["x"]), json!(true), json!(1.5)] {
            let mut with = claims.clone();
            with[*name] = wrong;
            let said = reason(principal(issuer, with));
            assert!(
                said.contains(&format!("{name:?} has the wrong type")),
                "{name}: {said}"
            );
        }
        if claims[*name].is_string() {
            let mut empty = claims.clone();
            empty[*name] = json!("");
            let said = reason(principal(issuer, empty));
            assert!(
                said.contains(&format!("no claim {name:?}")),
                "{name}: {said}"
            );
        }
    }
}

const WORKFLOWS: &str = "https://workflows.example.com";

fn workflow() -> Json {
    json!({
        "job_workflow_ref": "acme/build/.github/workflows/release.yml@refs/tags/v1",
        "job_workflow_sha": "aaaa", "event_name": "push", "sha": "bbbb", "workflow": "Release & test",
        "repository": "acme/app", "ref": "refs/heads/main", "runner_environment": "github-hosted",
        "repository_id": "123", "repository_owner": "acme", "repository_owner_id": "45",
        "repository_visibility": "public", "workflow_ref": "acme/app/.github/workflows/ci.yml@refs/heads/main",
        "workflow_sha": "cccc", "run_id": "678", "run_attempt": "2", "environment": "not for this type",
    })
}

#[test]
fn a_github_workflow_is_somebody_else() {
    let signer = "https://github.com/acme/build/.github/workflows/release.yml@refs/tags/v1";
    expect(
        WORKFLOWS,
        workflow(),
        ("uri", signer),
        &[
            (GithubWorkflowTrigger, "push"),
            (GithubWorkflowSha, "bbbb"),
            (GithubWorkflowName, "Release & test"),
            (GithubWorkflowRepository, "acme/app"),
            (GithubWorkflowRef, "refs/heads/main"),
            (BuildSignerUri, signer),
            (BuildSignerDigest, "aaaa"),
            (RunnerEnvironment, "github-hosted"),
            (SourceRepositoryUri, "https://github.com/acme/app"),
            (SourceRepositoryDigest, "bbbb"),
            (SourceRepositoryRef, "refs/heads/main"),
            (SourceRepositoryIdentifier, "123"),
            (SourceRepositoryOwnerUri, "https://github.com/acme"),
            (SourceRepositoryOwnerIdentifier, "45"),
            (
                BuildConfigUri,
                "https://github.com/acme/app/.github/workflows/ci.yml@refs/heads/main",
            ),
            (BuildConfigDigest, "cccc"),
            (BuildTrigger, "push"),
            (
                RunInvocationUri,
                "https://github.com/acme/app/actions/runs/678/attempts/2",
            ),
            (SourceRepositoryVisibilityAtSigning, "public"),
        ],
    );
    let needed: Vec<String> = workflow().as_object().unwrap().keys().cloned().collect();
    let needed: Vec<&str> = needed.iter().map(String::as_str).collect();
    let needed: Vec<&str> = needed
        .into_iter()
        .filter(|name| *name != "environment")
        .collect();
    assert_eq!(needed.len(), 16);
    expect_claims(WORKFLOWS, &workflow(), &needed);
}

#[test]
fn a_ref_that_is_a_path_changes_or_collapses_the_name() {
    let name = |git_ref: &str| {
        let mut claims = workflow();
        claims["job_workflow_ref"] = json!(format!("o/r/w.yml@refs/heads/{git_ref}"));
        principal(WORKFLOWS, claims)
    };
    for (git_ref, written) in [
        ("feat#1", "feat%231"),
        ("q?x", "q%3Fx"),
        ("a b", "a%20b"),
        ("é", "%C3%A9"),
    ] {
        let principal = name(git_ref).unwrap();
        let expected = format!("https://github.com/o/r/w.yml@refs/heads/{written}");
        assert_eq!(principal.name.to_string(), expected);
        assert_eq!(
            principal.extensions.value(BuildSignerUri),
            Some(expected.as_str())
        );
    }
    for git_ref in [
        "100%",
        "%zz",
        "a//b",
        "../../../../x",
        "a/",
        "%2e%2e/x",
        "a\n",
        "\u{202e}",
    ] {
        assert!(!reason(name(git_ref)).is_empty(), "{git_ref}");
    }
    for (claim, value) in [
        ("job_workflow_ref", "o/r/../../x"),
        ("job_workflow_ref", "../x"),
        ("repository", "o//r"),
        ("repository_owner", ".."),
        ("workflow_ref", "/o/r"),
        ("run_id", "../1"),
    ] {
        let mut claims = workflow();
        claims[claim] = json!(value);
        let said = reason(principal(WORKFLOWS, claims));
        assert!(said.contains("segment"), "{claim}: {said}");
    }
}

#[test]
fn a_gitlab_pipeline_is_somebody_else() {
    let issuer = "https://pipelines.example.com";
    let claims = || {
        json!({
            "project_path": "acme/app", "pipeline_source": "push", "pipeline_id": "3",
            "ci_config_ref_uri": "gitlab.com/acme/app//.gitlab-ci.yml@refs/heads/main",
            "job_id": "3659681386", "ref": "main", "ref_type": "branch", "namespace_path": "acme",
            "namespace_id": "8", "project_id": "7", "sha": "bbbb", "runner_environment": "gitlab-hosted",
            "runner_id": 12, "ci_config_sha": "aaaa", "project_visibility": "private",
        })
    };
    let config = "https://gitlab.com/acme/app//.gitlab-ci.yml@refs/heads/main";
    for (kind, git_ref) in [("branch", "refs/heads/main"), ("tag", "refs/tags/main")] {
        let mut claims = claims();
        claims["ref_type"] = json!(kind);
        expect(
            issuer,
            claims,
            ("uri", config),
            &[
                (BuildSignerUri, config),
                (BuildSignerDigest, "aaaa"),
                (RunnerEnvironment, "gitlab-hosted"),
                (SourceRepositoryUri, "https://gitlab.com/acme/app"),
                (SourceRepositoryDigest, "bbbb"),
                (SourceRepositoryRef, git_ref),
                (SourceRepositoryIdentifier, "7"),
                (SourceRepositoryOwnerUri, "https://gitlab.com/acme"),
                (SourceRepositoryOwnerIdentifier, "8"),
                (BuildConfigUri, config),
                (BuildConfigDigest, "aaaa"),
                (BuildTrigger, "push"),
                (
                    RunInvocationUri,
                    "https://gitlab.com/acme/app/-/jobs/3659681386",
                ),
                (SourceRepositoryVisibilityAtSigning, "private"),
            ],
        );
    }
    expect_claims(
        issuer,
        &claims(),
        &[
            "project_path",
            "pipeline_source",
            "pipeline_id",
            "ci_config_ref_uri",
            "job_id",
            "ref",
            "ref_type",
            "namespace_path",
            "namespace_id",
            "project_id",
            "sha",
            "runner_environment",
            "runner_id",
        ],
    );
    for absent in [json!(null), json!("")] {
        let mut claims = claims();
        claims["ci_config_sha"] = absent;
        claims.as_object_mut().unwrap().remove("project_visibility");
        let extensions = principal(issuer, claims).unwrap().extensions;
        assert_eq!(extensions.value(BuildConfigDigest), None);
        assert_eq!(extensions.value(BuildSignerDigest), None);
        assert_eq!(extensions.value(SourceRepositoryVisibilityAtSigning), None);
    }
    for (claim, value, says) in [
        ("runner_id", json!(0), "not allowed"),
        ("runner_id", json!("12"), "wrong type"),
        ("ref_type", json!("commit"), "not allowed"),
        ("ci_config_sha", json!(1), "wrong type"),
        ("project_path", json!("acme/../x"), "segment"),
        ("ci_config_ref_uri", json!("/x"), "host"),
    ] {
        let mut claims = claims();
        claims[claim] = value;
        let said = reason(principal(issuer, claims));
        assert!(said.contains(says), "{claim}: {said}");
    }
}

#[test]
fn a_buildkite_job_is_somebody_else() {
    let issuer = "https://jobs.example.com";
    let claims = json!({"organization_slug": "acme-inc", "pipeline_slug": "bash-example"});
    let name = "https://buildkite.com/acme-inc/bash-example";
    expect(issuer, claims.clone(), ("uri", name), &[]);
    expect_claims(issuer, &claims, &["organization_slug", "pipeline_slug"]);
    let said = reason(principal(
        issuer,
        json!({"organization_slug": "..", "pipeline_slug": "x"}),
    ));
    assert!(said.contains("segment"), "{said}");
}

#[test]
fn a_codefresh_workflow_is_somebody_else() {
    let issuer = "https://builds.example.com";
    let claims = json!({
        "account_id": "a1", "account_name": "acme", "pipeline_id": "p2", "pipeline_name": "oidc-test/get-token",
        "workflow_id": "w3", "scm_repo_url": "https://code.example/acme/app", "scm_ref": "main",
        "runner_environment": "hybrid",
    });
    expect(
        issuer,
        claims.clone(),
        (
            "uri",
            "https://g.codefresh.io/acme/oidc-test/get-token:a1/p2",
        ),
        &[
            (BuildSignerUri, "https://g.codefresh.io/build/w3"),
            (RunnerEnvironment, "hybrid"),
            (SourceRepositoryUri, "https://code.example/acme/app"),
            (SourceRepositoryRef, "main"),
            (BuildConfigUri, "https://g.codefresh.io/api/pipelines/p2"),
            (RunInvocationUri, "https://g.codefresh.io/build/w3"),
        ],
    );
    expect_claims(
        issuer,
        &claims,
        &["account_id", "pipeline_id", "workflow_id"],
    );
    let by_hand = json!({
        "account_id": "a1", "account_name": "acme", "pipeline_id": "p2", "pipeline_name": "t",
        "workflow_id": "w3", "platform_url": "https://platform.example",
    });
    expect(
        issuer,
        by_hand,
        ("uri", "https://platform.example/acme/t:a1/p2"),
        &[
            (BuildSignerUri, "https://platform.example/build/w3"),
            (BuildConfigUri, "https://platform.example/api/pipelines/p2"),
            (RunInvocationUri, "https://platform.example/build/w3"),
        ],
    );
    for (claim, value) in [
        ("account_name", json!("")),
        ("pipeline_name", json!("../x")),
        ("platform_url", json!("platform.example")),
        ("platform_url", json!("https://user@platform.example")),
        ("platform_url", json!(1)),
    ] {
        let mut wrong = claims.clone();
        wrong[claim] = value;
        assert!(!reason(principal(issuer, wrong)).is_empty(), "{claim}");
    }
}

#[test]
fn a_kind_of_subject_is_somebody_else() {
    for (issuer, subject, name) in [
        (
            "https://workloads.example.com",
            "spiffe://workloads.example/ns/a/sa/b",
            ("uri", "spiffe://workloads.example/ns/a/sa/b"),
        ),
        (
            "https://users.example.com",
            "https://example.com/users/1",
            ("uri", "https://example.com/users/1"),
        ),
        (
            "https://names.example.com",
            "alice",
            ("username", "alice!example.com"),
        ),
        (
            "https://identities.example.com",
            "0123/4567",
            ("uri", "https://identities.example.com/0123/4567"),
        ),
    ] {
        expect(issuer, json!({"sub": subject}), name, &[]);
    }
    for issuer in [
        "https://kubernetes.default.svc",
        "https://eu-1.clusters.example.com/id/0A1B",
        "https://clusters.example.net/tenant/",
    ] {
        expect(
            issuer,
            json!({
                "sub": "system:serviceaccount:foo:baz",
                "kubernetes.io": {"namespace": "foo", "serviceaccount": {"name": "baz"}},
            }),
            (
                "uri",
                "https://kubernetes.io/namespaces/foo/serviceaccounts/baz",
            ),
            &[],
        );
    }
    let people = json!({"email": "a@b.example", "email_verified": true});
    expect(
        "https://accounts.example.com",
        people,
        ("email", "a@b.example"),
        &[],
    );
}

#[test]
fn a_template_of_a_file_written_for_fulcio_means_something_else() {
    expect(
        "https://forge.example.com/acme",
        json!({
            "job_workflow_ref": "acme/app/ci.yml@feat#1", "event_name": "push", "ref": "v1",
            "ref_type": "tag", "forge/definition": "d 1", "forge/rerun": false, "environment": "prod",
        }),
        // Here a number sign begins a fragment, unlike in the older types.
        ("uri", "https://forge.example/acme/app/ci.yml@feat#1"),
        &[
            (GithubWorkflowTrigger, "push"),
            (BuildSignerUri, "https://forge.example/d 1"),
            (SourceRepositoryRef, "refs/tags/v1"),
            (RunnerEnvironment, "\"\""),
            (DeploymentEnvironment, "prod"),
        ],
    );
}
