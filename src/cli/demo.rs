//! `vouchsafe demo`
use super::Failure;
pub(super) async fn run() -> Result<(), Failure> {
    Ok(())
}
