//! `vouchsafe log rotate`

use time::{Duration, OffsetDateTime};

use crate::cli::{ConfigArgument, Failure, now, terminal, time};
use crate::config::rotate::{Rotated, Shard, rotate};
use crate::ctlog::Window;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The path below which the next log will be mounted, as /log-2027; it is named after it for good
    #[arg(long)]
    prefix: String,
    /// The first end of a certificate that the next log takes, as 2027-01-01T00:00:00Z
    #[arg(long, value_parser = time)]
    window_start: Option<OffsetDateTime>,
    /// The first end of a certificate that it does not take any more
    #[arg(long, value_parser = time)]
    window_end: Option<OffsetDateTime>,
    /// By when the server will have been started again; verifiers believe the present log so long. A day
    /// from now, if left out
    #[arg(long, value_parser = time)]
    until: Option<OffsetDateTime>,
    #[command(flatten)]
    config: ConfigArgument,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments {
        prefix,
        window_start,
        window_end,
        until,
        config: ConfigArgument { config },
    } = arguments;
    let shard = Shard {
        prefix: &prefix,
        window: Window {
            start: window_start,
            end: window_end,
        },
        until: until.unwrap_or_else(|| now() + Duration::DAY),
    };
    let Rotated {
        before,
        origin,
        directory,
    } = rotate(&config, &shard, now()).await?;
    let file = config.display();
    terminal::say(format_args!(
        "The next log is {origin}, with its key and database in {}.",
        directory.display()
    ));
    terminal::say(format_args!(
        "  1. Give verifiers the new trusted root: vouchsafe trust trusted-root --config {file}"
    ));
    terminal::say(format_args!(
        "  2. Start the server again: until then it goes on with {before}, then it only shows it."
    ));
    terminal::say(format_args!(
        "  3. Move the old private key away; nothing needs it any more."
    ));
    Ok(())
}
