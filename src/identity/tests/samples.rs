//! The shipped configuration, held against tokens such as the providers issue.

use super::*;
use crate::certificate::extensions::Extension::{self, *};
use crate::identity::unverified::SignedPayload;

/// Who a token with these claims is, under the shipped configuration.
fn principal(issuer: &str, mut claims: Json) -> Result<Principal, PrincipalError> {
    let text = include_str!("../../../config/issuers.yaml");
    let config = Config::from_text(text, Options::default()).unwrap();
    let mut entries = config.issuers.iter();
    let (_, terms) = entries
        .find(|(which, _)| match which {
            Which::Fixed(url) => url == issuer,
            Which::Matching(pattern) => pattern.matches(issuer),
        })
        .unwrap();
    let members = claims.as_object_mut().unwrap();
    members.insert("iss".to_owned(), json!(issuer));
    members.insert("aud".to_owned(), json!("sigstore"));
    members.insert("sub".to_owned(), json!("the subject"));
    members.insert("exp".to_owned(), json!(NOW + 300));
    let payload = SignedPayload::pretend(claims);
    let claims = Claims::check(payload, issuer, &terms.audience, at(0)).unwrap();
    terms.kind.principal(issuer, &claims)
}

/// Everything that stands in a certificate besides issuer and subject.
fn expect(issuer: &str, claims: Json, name: &str, values: &[(Extension, &str)]) {
    let principal = principal(issuer, claims).unwrap();
    assert_eq!(principal.name.to_string(), name);
    assert_eq!(principal.challenge, "the subject");
    let mut all = vec![
        (Issuer, issuer),
        (IssuerV2, issuer),
        (TokenSubject, "the subject"),
    ];
    all.extend(values);
    all.sort_by_key(|(extension, _)| *extension);
    assert_eq!(principal.extensions.iter().collect::<Vec<_>>(), all);
}

fn github() -> Json {
    json!({
        "job_workflow_ref": "acme/build/.github/workflows/release.yml@refs/tags/v1",
        "job_workflow_sha": "aaaa", "event_name": "push", "sha": "bbbb", "workflow": "Release & test",
        "repository": "acme/app", "ref": "refs/heads/main", "runner_environment": "github-hosted",
        "repository_id": "123", "repository_owner": "acme", "repository_owner_id": "45",
        "repository_visibility": "public", "workflow_ref": "acme/app/.github/workflows/ci.yml@refs/heads/main",
        "workflow_sha": "cccc", "run_id": "678", "run_attempt": "2",
    })
}

const GITHUB: &str = "https://token.actions.githubusercontent.com";

#[test]
fn a_github_workflow_is_somebody_else() {
    for issuer in [
        GITHUB,
        "https://token.actions.githubusercontent.com/acme-corp",
    ] {
        expect(
            issuer,
            github(),
            "https://github.com/acme/build/.github/workflows/release.yml@refs/tags/v1",
            &[
                (GithubWorkflowTrigger, "push"),
                (GithubWorkflowSha, "bbbb"),
                (GithubWorkflowName, "Release & test"),
                (GithubWorkflowRepository, "acme/app"),
                (GithubWorkflowRef, "refs/heads/main"),
                (
                    BuildSignerUri,
                    "https://github.com/acme/build/.github/workflows/release.yml@refs/tags/v1",
                ),
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
    }
    let mut deploying = github();
    deploying["environment"] = json!("production");
    let principal = principal(GITHUB, deploying).unwrap();
    assert_eq!(
        principal.extensions.value(DeploymentEnvironment),
        Some("production")
    );
}

#[test]
fn a_github_token_without_a_claim_is_enough() {
    for claim in github().as_object().unwrap().keys() {
        let mut claims = github();
        claims.as_object_mut().unwrap().remove(claim);
        let error = principal(GITHUB, claims).unwrap_err().to_string();
        assert!(error.contains(&format!("{claim:?}")), "{error}");
        assert!(!error.contains("acme"), "{error}");
    }
}

#[test]
fn a_gitlab_pipeline_is_somebody_else() {
    let claims = |kind: &str| {
        json!({
            "ci_config_ref_uri": "gitlab.com/acme/app//.gitlab-ci.yml@refs/heads/main",
            "ci_config_sha": "aaaa", "runner_environment": "gitlab-hosted", "project_path": "acme/app",
            "sha": "bbbb", "ref": "main", "ref_type": kind, "project_id": "7", "namespace_path": "acme",
            "namespace_id": "8", "pipeline_source": "push", "job_id": "1234567890",
            "project_visibility": "private", "environment": "prod",
        })
    };
    let config = "https://gitlab.com/acme/app//.gitlab-ci.yml@refs/heads/main";
    for (kind, git_ref) in [("branch", "refs/heads/main"), ("tag", "refs/tags/main")] {
        expect(
            "https://gitlab.com",
            claims(kind),
            config,
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
                    "https://gitlab.com/acme/app/-/jobs/1234567890",
                ),
                (SourceRepositoryVisibilityAtSigning, "private"),
                (DeploymentEnvironment, "prod"),
            ],
        );
    }
    // Where the pipeline's definition is not in the project, its commit is null.
    let mut remote = claims("branch");
    remote["ci_config_sha"] = json!(null);
    let principal = principal("https://gitlab.com", remote).unwrap();
    assert_eq!(principal.extensions.value(BuildConfigDigest), Some("<nil>"));
}

#[test]
fn a_buildkite_job_is_somebody_else() {
    expect(
        "https://agent.buildkite.com",
        json!({
            "organization_slug": "acme", "pipeline_slug": "example", "build_number": 1234567,
            "job_id": "0184990a", "runner_environment": "self-hosted", "build_commit": "aaaa",
            "build_source": "webhook",
        }),
        "https://buildkite.com/acme/example",
        &[
            (RunnerEnvironment, "self-hosted"),
            (SourceRepositoryDigest, "aaaa"),
            (BuildTrigger, "webhook"),
            (
                RunInvocationUri,
                "https://buildkite.com/acme/example/builds/1234567#0184990a",
            ),
        ],
    );
}

#[test]
fn a_circleci_job_is_somebody_else() {
    let definition = "https://circleci.com/api/v2/projects/p-1/pipeline-definitions/d-1";
    for (rerun, environment) in [
        (json!("true"), "ssh-rerun"),
        (json!(true), "ssh-rerun"),
        (json!(false), "\"\""),
    ] {
        expect(
            "https://oidc.circleci.com/org/acme",
            json!({
                "oidc.circleci.com/project-id": "p-1", "oidc.circleci.com/pipeline-definition-id": "d-1",
                "oidc.circleci.com/pipeline-id": "l-1", "oidc.circleci.com/workflow-id": "w-1",
                "oidc.circleci.com/job-id": "j-1", "oidc.circleci.com/ssh-rerun": rerun,
                "oidc.circleci.com/vcs-ref": "refs/heads/main",
            }),
            definition,
            &[
                (BuildSignerUri, definition),
                (
                    BuildConfigUri,
                    "https://circleci.com/api/v2/pipeline/l-1/config",
                ),
                (RunnerEnvironment, environment),
                (SourceRepositoryRef, "refs/heads/main"),
                (
                    RunInvocationUri,
                    "https://app.circleci.com//workflow/w-1/job/j-1",
                ),
            ],
        );
    }
}

#[test]
fn a_codefresh_build_is_somebody_else() {
    let claims = json!({
        "account_name": "acme", "pipeline_name": "tools/build",
        "account_id": "0123456789abcdef01234567", "pipeline_id": "89abcdef0123456789abcdef",
        "workflow_id": "fedcba987654321001234567",
    });
    let values = |host: &str| {
        [
            (
                BuildSignerUri,
                format!("https://{host}/build/fedcba987654321001234567"),
            ),
            (
                BuildConfigUri,
                format!("https://{host}/api/pipelines/89abcdef0123456789abcdef"),
            ),
            (
                RunInvocationUri,
                format!("https://{host}/build/fedcba987654321001234567"),
            ),
        ]
    };
    for host in ["g.codefresh.io", "platform.example"] {
        let mut claims = claims.clone();
        if host != "g.codefresh.io" {
            claims["platform_url"] = json!(format!("https://{host}"));
        }
        let values = values(host);
        let values: Vec<_> = values
            .iter()
            .map(|(extension, value)| (*extension, value.as_str()))
            .collect();
        let name = format!(
            "https://{host}/acme/tools/build:0123456789abcdef01234567/89abcdef0123456789abcdef"
        );
        expect("https://oidc.codefresh.io", claims, &name, &values);
    }
}

#[test]
fn a_buddy_pipeline_is_somebody_else() {
    let pipeline = "https://eu.buddy.works/acme/app/pipelines/pipeline/42";
    expect(
        "https://eu-oidc.buddyusercontent.com",
        json!({
            "base_url": "https://eu.buddy.works", "workspace_domain": "acme", "project_name": "app",
            "pipeline_id": 42, "execution_id": 7, "triggered_on": "CLICK",
            "runner_environment": "platform-hosted",
        }),
        pipeline,
        &[
            (BuildSignerUri, pipeline),
            (BuildTrigger, "CLICK"),
            (RunnerEnvironment, "platform-hosted"),
            (SourceRepositoryUri, "https://eu.buddy.works/acme/app"),
            (SourceRepositoryOwnerUri, "https://eu.buddy.works/acme"),
            (
                RunInvocationUri,
                "https://eu.buddy.works/acme/app/pipelines/pipeline/42/execution/7",
            ),
        ],
    );
}
