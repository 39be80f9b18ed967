//! `touch`: the times of files and directories.

use godfs_core::env::{Clock, SystemClock};
use godfs_core::{DfsPath, ErrorKind};

use super::args::TouchArgs;
use super::context::Context;
use super::failure::Outcome;
use crate::CreateOptions;

/// The times to set, in milliseconds since 1970; `None` leaves one as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Times {
    modified: Option<u64>,
    accessed: Option<u64>,
}

/// Runs `touch`.
pub(super) async fn touch(context: &Context, args: &TouchArgs) -> Outcome {
    let client = &context.client;
    let reference = match &args.reference {
        None => None,
        Some(path) => {
            let status = client.stat(&DfsPath::parse(path)?).await?;
            Some((status.modified_ms, status.accessed_ms))
        }
    };
    context
        .each(&args.paths, async |path| {
            let path = DfsPath::parse(path)?;
            // Twice when another makes the file between our look and our attempt to make it, and once more to set the times of a
            // file that we made.
            for _ in 0..3 {
                let times = times(args, reference, SystemClock.wall_ms());
                match client.set_times(&path, times.modified, times.accessed).await {
                    Err(error) if error.kind() == ErrorKind::NotFound && args.no_create => return Ok(()),
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    other => return Ok(other?),
                }
                match client.put(&path, bytes::Bytes::new(), CreateOptions::new()).await {
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                    // What is new has the time of now.
                    Ok(_) if args.date.is_none() && reference.is_none() => return Ok(()),
                    Ok(_) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(())
        })
        .await
}

/// What to set: both times unless one is named.
fn times(args: &TouchArgs, reference: Option<(u64, u64)>, now: u64) -> Times {
    let (modified, accessed) = match (args.date, reference) {
        (Some(date), _) => (date.0, date.0),
        (None, Some(reference)) => reference,
        (None, None) => (now, now),
    };
    let both = args.modified == args.accessed;
    Times {
        modified: (both || args.modified).then_some(modified),
        accessed: (both || args.accessed).then_some(accessed),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::{Cli, Verb};
    use super::*;

    fn asked(words: &str, reference: Option<(u64, u64)>) -> (Option<u64>, Option<u64>) {
        let cli = Cli::try_parse_from(["godfs", "touch"].into_iter().chain(words.split(' '))).expect(words);
        let Verb::Touch(args) = &cli.verb else { panic!("{words} is touch") };
        let Times { modified, accessed } = times(args, reference, 7_000);
        (modified, accessed)
    }

    #[test]
    fn sets_what_touch_sets() {
        assert_eq!(asked("/a", None), (Some(7_000), Some(7_000)));
        assert_eq!(asked("-m /a", None), (Some(7_000), None));
        assert_eq!(asked("-a /a", None), (None, Some(7_000)));
        assert_eq!(asked("-am -d @1.5 /a", None), (Some(1_500), Some(1_500)));
        assert_eq!(asked("-a -d 1970-01-01T00:00:02Z /a", None), (None, Some(2_000)));
        assert_eq!(asked("-d 1970-01-02 /a", None), (Some(86_400_000), Some(86_400_000)));
        assert_eq!(asked("-r /b /a", Some((1, 2))), (Some(1), Some(2)));
        assert_eq!(asked("-mr /b /a", Some((1, 2))), (Some(1), None));
    }
}
