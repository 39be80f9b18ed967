//! `admin`: what operators do.

use futures::stream::TryStreamExt;
use godfs_core::DfsPath;

use super::args::{AdminVerb, ScrubArgs};
use super::backup;
use super::context::Context;
use super::failure::{Failure, Outcome};
use super::output::Output;
use super::progress::Progress;
use super::view::Scrubbed;

/// Runs `admin`.
pub(super) async fn admin(context: &Context, verb: &AdminVerb, output: &mut Output) -> Outcome {
    match verb {
        AdminVerb::Scrub(args) => scrub(context, args, output).await,
        AdminVerb::Backup(args) => backup::backup(context, args, output).await,
    }
}

/// The most findings that are kept for `--json`; the counts go on.
const MAX_FINDINGS: usize = 10_000;

async fn scrub(context: &Context, args: &ScrubArgs, output: &mut Output) -> Outcome {
    let path = DfsPath::parse(&args.path)?;
    // Everything is more than what has a name: files that are unlinked and still open, for one.
    let mut steps = context.client.scrub((!path.is_root()).then(|| path.clone())).await?;
    let progress = Progress::count(Some(0), context.quiet());
    let mut sum = Scrubbed::new(path.to_string());
    while let Some(step) = steps.try_next().await? {
        (sum.checked, sum.total, sum.bytes) = (step.checked, step.total, step.bytes);
        (sum.corrupt, sum.failed) = (step.corrupt, step.failed);
        progress.set(step.checked, step.total);
        for finding in step.findings {
            if !output.json() {
                progress.suspended(|| output.line(&finding).and_then(|()| output.flush()))?;
            } else if sum.findings.len() < MAX_FINDINGS {
                sum.findings.push(finding);
            }
        }
    }
    progress.clear();
    if output.json() {
        output.object(&sum)?;
    } else {
        output.line(&line(&sum))?;
    }
    if sum.clean() { Ok(()) } else { Err(Failure::Said(1)) }
}

fn line(sum: &Scrubbed) -> String {
    let Scrubbed { checked, total, bytes, corrupt, failed, .. } = sum;
    format!("{checked} of {total} replicas checked, {bytes} bytes: {corrupt} corrupt, {failed} could not be checked")
}

impl Scrubbed {
    fn new(path: String) -> Self {
        Self { path, checked: 0, total: 0, bytes: 0, corrupt: 0, failed: 0, findings: Vec::new() }
    }

    /// Whether every replica was checked and good.
    fn clean(&self) -> bool {
        self.corrupt == 0 && self.failed == 0 && self.checked >= self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_checked_and_good_is_clean() {
        let clean = Scrubbed { checked: 3, total: 3, ..Scrubbed::new("/".into()) };
        assert!(clean.clean() && Scrubbed::new("/".into()).clean());
        assert!(!Scrubbed { corrupt: 1, ..clean.clone() }.clean());
        assert!(!Scrubbed { failed: 1, ..clean.clone() }.clean());
        assert!(!Scrubbed { checked: 2, ..clean.clone() }.clean());
        assert_eq!(line(&clean), "3 of 3 replicas checked, 0 bytes: 0 corrupt, 0 could not be checked");
    }
}
