//! `vouchsafe log adopt`

use std::path::Path;

use crate::cli::{ConfigArgument, Failure, terminal};
use crate::config::Either;
use crate::ctlog::guard;

pub(super) async fn run(ConfigArgument { config }: ConfigArgument) -> Result<(), Failure> {
    let config = Either::read(&config)?;
    let logs = config.logs();
    let log = logs.config()?;
    let Some(mark) = &log.high_water else {
        return Err("log.high-water is not set; it names the file to make".into());
    };
    let directory = mark.parent().filter(|above| !above.as_os_str().is_empty());
    logs.check_owner(directory.unwrap_or_else(|| Path::new(".")))?;
    let size = guard::adopt(&log, mark, logs.signer()?.verifier()).await?;
    terminal::result(format_args!(
        "{} remembers the log {} at {size} entries",
        mark.display(),
        log.origin
    ))?;
    Ok(())
}
