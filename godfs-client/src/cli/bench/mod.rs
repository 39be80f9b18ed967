//! `bench`: a load generator against any running cluster.
//!
//! A phase is a name, a number of operations and what one operation does; [`measure`] runs it and gives its figures. Each kind
//! of load is a file of its own that sets the stage, measures one or more phases, and clears away what it made.

mod args;
mod daemons;
mod data;
mod hflush;
mod lanes;
mod measure;
mod meta;
mod mixed;
mod names;
mod random;
mod raw;
mod read;
mod small;
mod small_calls;
mod stall;
mod table;
mod write;

pub(super) use self::args::{BENCH_EXAMPLES, BenchVerb};
pub(super) use self::raw::without_cluster;
use super::context::Context;
use super::failure::Outcome;
use super::output::Output;
use super::view::Measured;

/// Runs `bench`.
pub(super) async fn bench(context: &Context, verb: &BenchVerb, output: &mut Output) -> Outcome {
    let phases = match verb {
        BenchVerb::Write(args) => write::write(context, args).await?,
        BenchVerb::Read(args) => read::read(context, args).await?,
        BenchVerb::Random(args) => random::random(context, args).await?,
        BenchVerb::Meta(args) => meta::meta(context, args).await?,
        BenchVerb::Small(args) => small::small(context, args).await?,
        BenchVerb::Hflush(args) => hflush::hflush(context, args).await?,
        BenchVerb::Mixed(args) => mixed::mixed(context, args).await?,
        BenchVerb::Stall(args) => stall::stall(context, args).await?,
        // They need no cluster: were done before one was looked for.
        BenchVerb::Raw(_) | BenchVerb::RawPart(_) => return without_cluster(verb, output).unwrap_or(Ok(())),
    };
    show(&phases, output)
}

fn show(phases: &[Measured], output: &mut Output) -> Outcome {
    if output.json() {
        return output.object(&phases);
    }
    table::table(phases).lines().try_for_each(|line| output.line(line))
}
