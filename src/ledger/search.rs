//! What is looked for, in the words of both databases.

use time::{Duration, OffsetDateTime};

use super::store::Store;
use super::{LedgerError, Query, Row};

/// What a row must be besides; everything that is left out is as it may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Within {
    /// The first time of issuance.
    pub since: Option<OffsetDateTime>,
    /// The first time of issuance that is too late.
    pub until: Option<OffsetDateTime>,
    /// The token's issuer, exactly.
    pub issuer: Option<String>,
    /// The token's subject, exactly.
    pub subject: Option<String>,
}

/// A condition: what stands before the value, and the value, which is bound and never written into the
/// statement.
pub(super) type Condition<'a> = (&'static str, Value<'a>);

/// What is bound.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
    Number(i64),
}

/// The newest rows of a store that are looked for.
pub(super) async fn search(
    store: &dyn Store,
    query: Option<&Query>,
    within: &Within,
    limit: u32,
) -> Result<Vec<Row>, LedgerError> {
    let mut conditions = conditions(query, within);
    if conditions.iter().any(|(_, value)| value.is_in_no_text()) {
        return Ok(Vec::new());
    }
    // There is an index for each of them.
    if query.is_some() {
        return store.find(&conditions, limit).await;
    }
    // For the others every row is looked at, a part at a time: no server answers any question for ever.
    let mut found = Vec::new();
    let mut upto = store.newest().await?;
    while upto > 0 && found.len() < limit as usize {
        let above = (upto - ROWS).max(0);
        let (is_too_new, is_last) = match oldest(store, above).await? {
            Some(oldest) => (
                within
                    .until
                    .is_some_and(|until| oldest > until.saturating_add(DISORDER)),
                within
                    .since
                    .is_some_and(|since| oldest < since.saturating_sub(DISORDER)),
            ),
            None => (false, false),
        };
        if !is_too_new {
            conditions.push(("id >", Value::Number(above)));
            conditions.push(("id <=", Value::Number(upto)));
            let left = limit - u32::try_from(found.len()).unwrap_or(limit);
            found.extend(store.find(&conditions, left).await?);
            conditions.truncate(conditions.len() - 2);
        }
        if is_last {
            break;
        }
        upto = above;
    }
    Ok(found)
}

/// When the first row after that number was issued, if that can be told.
async fn oldest(store: &dyn Store, after: i64) -> Result<Option<OffsetDateTime>, LedgerError> {
    let first = store.rows_after(after, 1).await?.into_iter().next();
    Ok(first.and_then(|(_, row)| Some(row.ok()?.issued_at)))
}

fn conditions<'a>(query: Option<&'a Query>, within: &'a Within) -> Vec<Condition<'a>> {
    let Within {
        since,
        until,
        issuer,
        subject,
    } = within;
    let query = query.map(|query| match query {
        Query::Identity(identity) => ("identity =", Value::Text(identity)),
        Query::Serial(serial) => ("serial =", Value::Bytes(serial)),
        Query::Sha256(sha256) => ("sha256 =", Value::Bytes(sha256)),
    });
    let time = |time: &OffsetDateTime| Value::Number(time.unix_timestamp());
    let others = [
        since.as_ref().map(|since| ("issued_at >=", time(since))),
        until.as_ref().map(|until| ("issued_at <", time(until))),
        issuer
            .as_deref()
            .map(|issuer| ("issuer =", Value::Text(issuer))),
        subject
            .as_deref()
            .map(|subject| ("subject =", Value::Text(subject))),
    ];
    query
        .into_iter()
        .chain(others.into_iter().flatten())
        .collect()
}

impl Value<'_> {
    /// No text of PostgreSQL has such an octet, and it would refuse the question.
    fn is_in_no_text(&self) -> bool {
        matches!(self, Self::Text(text) if text.contains('\0'))
    }
}

/// Rows are numbered as they are written; by how much their times of issuance may be out of that order,
/// where the clocks of several servers are.
const DISORDER: Duration = Duration::HOUR;
/// Looked at in one question.
const ROWS: i64 = if cfg!(test) { 8 } else { 10_000 };
