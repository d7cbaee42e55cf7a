//! Keys that come and go, and providers that do.

use super::*;

const HOUR: i64 = 3600;

async fn verdict(
    issuers: &Issuers,
    provider: &Provider,
    key: &TestKey,
    second: i64,
) -> Result<Principal, IdentityError> {
    let token = key.sign(&claims(&provider.url(), second));
    let verdict = issuers.authenticate(&token, at(second)).await;
    // What goes on behind an answer is over before the next question.
    if provider.answers() {
        issuers.fixed[&provider.url()].1.settle().await;
    }
    verdict
}

#[tokio::test]
async fn a_new_key_is_refused_until_the_old_ones_run_out() {
    let (old, new) = (TestKey::new("old", 1), TestKey::new("new", 2));
    let provider = Provider::start(&[&old]).await;
    let issuers = trusting(&[&provider]);
    assert!(verdict(&issuers, &provider, &old, 0).await.is_ok());
    provider.publish(&[&old, &new]);
    // Too soon after the last fetch to ask again.
    let early = verdict(&issuers, &provider, &new, 9).await;
    assert_eq!(refusal(early), SignatureError::Key);
    assert_eq!(provider.fetches(), 1);
    assert!(verdict(&issuers, &provider, &new, 10).await.is_ok());
    assert!(verdict(&issuers, &provider, &old, 11).await.is_ok());
    assert_eq!(provider.fetches(), 2);
    // The same name for another key.
    let reused = TestKey::new("new", 3);
    provider.publish(&[&reused]);
    assert!(verdict(&issuers, &provider, &reused, 30).await.is_ok());
    assert_eq!(provider.fetches(), 3);
}

#[tokio::test]
async fn a_withdrawn_key_stays_trusted() {
    let (old, new) = (TestKey::new("old", 1), TestKey::new("new", 2));
    let provider = Provider::start(&[&old]).await;
    let issuers = trusting(&[&provider]);
    assert!(verdict(&issuers, &provider, &old, 0).await.is_ok());
    provider.publish(&[&new]);
    assert!(verdict(&issuers, &provider, &old, 40 * 60).await.is_ok());
    assert_eq!(provider.fetches(), 1);
    let late = verdict(&issuers, &provider, &old, HOUR).await;
    assert_eq!(refusal(late), SignatureError::Key);
    assert_eq!(provider.fetches(), 2);
    assert!(verdict(&issuers, &provider, &new, HOUR).await.is_ok());
}

#[tokio::test]
async fn the_publishers_time_to_live_is_taken_beyond_reason() {
    for (control, fresh, stale) in [
        ("max-age=1", 44, 60),
        ("no-store", 44, 60),
        ("max-age=600", 440, 600),
        ("max-age=99999999", 32_000, 12 * HOUR),
        ("", 44 * 60, HOUR),
        ("nonsense", 44 * 60, HOUR),
    ] {
        let key = TestKey::new("k", 1);
        let provider = Provider::start(&[&key]).await;
        provider.cache_control(control);
        let issuers = trusting(&[&provider]);
        assert!(verdict(&issuers, &provider, &key, 0).await.is_ok());
        assert!(verdict(&issuers, &provider, &key, fresh).await.is_ok());
        assert_eq!(provider.fetches(), 1, "{control}");
        assert!(verdict(&issuers, &provider, &key, stale).await.is_ok());
        assert_eq!(provider.fetches(), 2, "{control}");
    }
}

#[tokio::test]
async fn renewing_keys_makes_somebody_wait() {
    let (old, new) = (TestKey::new("old", 1), TestKey::new("new", 2));
    let provider = Provider::start(&[&old]).await;
    let issuers = trusting(&[&provider]);
    assert!(verdict(&issuers, &provider, &old, 0).await.is_ok());
    provider.hang();
    // Three quarters of the hour are over: the answer does not wait for the provider.
    assert!(verdict(&issuers, &provider, &old, 46 * 60).await.is_ok());
    provider.publish(&[&old, &new]);
    provider.go_on();
    // This one joins the refresh that is running.
    assert!(verdict(&issuers, &provider, &new, 46 * 60).await.is_ok());
    assert_eq!(provider.fetches(), 2);
}

#[tokio::test]
async fn ten_thousand_unknown_keys_make_ten_thousand_requests() {
    let (key, unknown) = (TestKey::new("k", 1), TestKey::new("unknown", 2));
    let (provider, other) = (
        Provider::start(&[&key]).await,
        Provider::start(&[&key]).await,
    );
    let issuers = Arc::new(trusting(&[&provider, &other]));
    assert!(verdict(&issuers, &provider, &key, 0).await.is_ok());
    let token = unknown.sign(&claims(&provider.url(), 20));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (issuers, token) = (Arc::clone(&issuers), token.clone());
        tasks.spawn(async move {
            for _ in 0..100 {
                let result = issuers.authenticate(&token, at(20)).await;
                assert_eq!(refusal(result), SignatureError::Key);
            }
        });
    }
    // Meanwhile good tokens, of this issuer and of another, are as good as ever.
    assert!(verdict(&issuers, &provider, &key, 20).await.is_ok());
    assert!(verdict(&issuers, &other, &key, 20).await.is_ok());
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    assert_eq!(provider.fetches(), 2);
    assert_eq!(other.fetches(), 1);
}

#[tokio::test]
async fn everyone_who_waits_asks_for_himself() {
    let key = TestKey::new("k", 1);
    let provider = Provider::start(&[&key]).await;
    let issuers = Arc::new(trusting(&[&provider]));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let token = key.sign(&claims(&provider.url(), 0));
        let issuers = Arc::clone(&issuers);
        tasks.spawn(async move { issuers.authenticate(&token, at(0)).await });
    }
    while let Some(task) = tasks.join_next().await {
        assert!(task.unwrap().is_ok());
    }
    assert_eq!(provider.fetches(), 1);
}

#[tokio::test]
async fn a_caller_who_hangs_up_spoils_it_for_the_others() {
    let key = TestKey::new("k", 1);
    let provider = Provider::start(&[&key]).await;
    let issuers = Arc::new(trusting(&[&provider]));
    provider.hang();
    let token = key.sign(&claims(&provider.url(), 0));
    let caller = {
        let (issuers, token) = (Arc::clone(&issuers), token.clone());
        tokio::spawn(async move { issuers.authenticate(&token, at(0)).await })
    };
    while provider.asked("") == 0 {
        tokio::task::yield_now().await;
    }
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    provider.go_on();
    assert!(issuers.authenticate(&token, at(1)).await.is_ok());
    assert_eq!(provider.fetches(), 1);
}

#[tokio::test]
async fn an_outage_of_the_provider_is_ours_at_once_or_hidden_for_ever() {
    let key = TestKey::new("k", 1);
    let provider = Provider::start(&[&key]).await;
    let issuers = trusting(&[&provider]);
    assert!(verdict(&issuers, &provider, &key, 0).await.is_ok());
    provider.fail(StatusCode::SERVICE_UNAVAILABLE, "");
    // Keys that were good an hour ago serve on, but not for longer than a day.
    for second in [HOUR, 2 * HOUR, 2 * HOUR + 1, 24 * HOUR - 1] {
        let result = verdict(&issuers, &provider, &key, second).await;
        assert!(result.is_ok(), "{second}: {result:?}");
    }
    let gone = verdict(&issuers, &provider, &key, 24 * HOUR).await;
    assert_eq!(fault(gone), ProviderError::Status(503));
    // Back again: believed as soon as it may be asked.
    provider.recover();
    let early = verdict(&issuers, &provider, &key, 24 * HOUR + 1).await;
    assert_eq!(fault(early), ProviderError::Status(503));
    assert!(
        verdict(&issuers, &provider, &key, 24 * HOUR + 20)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_key_that_came_during_an_outage_is_refused_for_good() {
    let (old, new) = (TestKey::new("k", 1), TestKey::new("l", 2));
    let provider = Provider::start(&[&old]).await;
    let issuers = trusting(&[&provider]);
    assert!(verdict(&issuers, &provider, &old, 0).await.is_ok());
    provider.publish(&[&new]);
    provider.fail(StatusCode::SERVICE_UNAVAILABLE, "");
    for second in [HOUR, HOUR + 20] {
        let unknown = verdict(&issuers, &provider, &new, second).await;
        assert_eq!(fault(unknown), ProviderError::Status(503), "{second}");
    }
    // Back again: the first token with the new key is waited for, not refused.
    provider.recover();
    assert!(verdict(&issuers, &provider, &new, HOUR + 40).await.is_ok());
}

#[tokio::test]
async fn a_dead_or_slow_provider_holds_up_another() {
    let key = TestKey::new("k", 1);
    let (dead, slow) = (
        Provider::start(&[&key]).await,
        Provider::start(&[&key]).await,
    );
    let good = Provider::start(&[&key]).await;
    let patience = Patience {
        connect: Duration::from_secs(1),
        total: Duration::from_secs(1),
    };
    let blocks: String = [&dead, &slow, &good]
        .map(|one| email(&one.url(), ""))
        .concat();
    let issuers = Arc::new(impatient(&format!("oidc-issuers:\n{blocks}"), patience));
    let dead_url = dead.url();
    dead.die().await;
    slow.hang();
    let waiting = {
        let issuers = Arc::clone(&issuers);
        let token = key.sign(&claims(&slow.url(), 0));
        tokio::spawn(async move { issuers.authenticate(&token, at(0)).await })
    };
    while slow.asked("") == 0 {
        tokio::task::yield_now().await;
    }
    assert!(verdict(&issuers, &good, &key, 0).await.is_ok());
    assert!(!waiting.is_finished(), "the slow one is still waited for");
    let token = key.sign(&claims(&dead_url, 0));
    let result = issuers.authenticate(&token, at(0)).await;
    assert!(matches!(fault(result), ProviderError::Unreachable(_)));
    assert_eq!(fault(waiting.await.unwrap()), ProviderError::Slow);
    // Known to be in trouble, it is not waited for again so soon.
    let again = verdict(&issuers, &slow, &key, 5).await;
    assert_eq!(fault(again), ProviderError::Slow);
    assert_eq!(slow.asked(""), 1);
    slow.go_on();
    assert!(verdict(&issuers, &slow, &key, 10).await.is_ok());
}

#[tokio::test]
async fn an_ambiguous_or_broken_key_set_replaces_a_good_one() {
    let (key, twin) = (TestKey::new("k", 1), TestKey::new("k", 2));
    let provider = Provider::start(&[&key]).await;
    let issuers = trusting(&[&provider]);
    assert!(verdict(&issuers, &provider, &key, 0).await.is_ok());
    let ambiguous = json!({"keys": [twin.jwk(), key.jwk()]}).to_string();
    let hours = (1..).map(|hour| hour * HOUR);
    for (second, text) in hours.zip([ambiguous.as_str(), "", "{}", "[]", "{\"keys\":1}"]) {
        provider.publish_text(text.to_owned());
        assert!(
            verdict(&issuers, &provider, &key, second).await.is_ok(),
            "{text}"
        );
        let forged = verdict(&issuers, &provider, &twin, second).await;
        assert_eq!(refusal(forged), SignatureError::Signature, "{text}");
    }
    assert_eq!(provider.fetches(), 6);
    let fresh = trusting(&[&provider]);
    provider.publish_text(ambiguous);
    let result = verdict(&fresh, &provider, &key, 0).await;
    assert_eq!(fault(result), ProviderError::Keys(KeySetError::Duplicate));
}
