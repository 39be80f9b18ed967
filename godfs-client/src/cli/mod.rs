//! The command line `godfs`, as library code: [`main_from`] is a whole `main`.
//!
//! ```text
//! godfs --fs godfs://HOST:PORT[,HOST:PORT] VERB …
//! ```
//!
//! | module | what |
//! |---|---|
//! | `args` | what can be said, and the help |
//! | `failure`, `output`, `view` | exit codes and errors; results as text or JSON; the shapes of the JSON |
//! | `target`, `transfer` | the rules of cp(1), once for `put`, `get` and `cp` |
//! | `mode` | permission bits as people read and write them |
//! | `local` | local files, published only when whole |
//! | `put`, `get`, `cp`, `ls`, `stat`, `names`, `links`, `open_files`, `content`, `usage`, `locate`, `report`, `admin`, `access` | the verbs |
//! | `find`, `globs` | searching; patterns in paths, expanded before a verb runs |
//! | `bench` | the load generator |
//! | [`size`] | sizes and durations as people write them |
//!
//! It uses the public interface of the client and nothing else of it.

mod access;
mod admin;
mod args;
mod backup;
mod bench;
mod content;
mod context;
mod cp;
mod failure;
mod find;
mod format;
mod get;
mod globs;
mod links;
mod local;
mod locate;
mod ls;
mod mode;
mod names;
mod open_files;
mod output;
#[cfg_attr(unix, path = "platform_unix.rs")]
#[cfg_attr(not(unix), path = "platform_other.rs")]
mod platform;
mod progress;
mod put;
mod quota;
mod report;
pub mod size;
mod stat;
mod tail;
mod target;
mod touch;
mod transfer;
mod trash;
mod usage;
mod view;
mod watch;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::error::ErrorKind as ClapErrorKind;
use clap::{CommandFactory, Parser};
use godfs_core::Error;
use tokio::runtime::Builder;

use self::args::{Cli, Verb};
use self::context::{Context, Login};
use self::failure::{Failure, Outcome, USAGE, json_line, say_line};
use self::output::Output;
use self::platform::Interrupts;

/// Runs the command line `args`, the first of which is the name of the program, to its end.
///
/// Blocks, in a runtime of its own; must not be called inside another. Results go to stdout and errors to stderr. The exit code: 0
/// done, 1 failed, 2 usage, 3 not found, 4 exists, 5 refused, 6 unreachable, 128 and a signal's number when that signal ended it.
#[must_use]
pub fn main_from<I>(args: I) -> ExitCode
where
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    let mut args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    find::two_dashes(&mut args);
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error, args.iter().any(|arg| arg == "--json")),
    };
    let (verb, json) = (cli.verb.name(), cli.json);
    let Err(failure) = run(cli) else { return ExitCode::SUCCESS };
    if let Some(line) = failure.line(verb, json) {
        say_line(&line);
    }
    ExitCode::from(failure.exit_code())
}

/// Says what is wrong with the command line, or gives the help that it asks for.
fn not_understood(error: &clap::Error, json: bool) -> ExitCode {
    let asked = matches!(error.kind(), ClapErrorKind::DisplayHelp | ClapErrorKind::DisplayVersion);
    if json && !asked {
        say_line(&json_line("usage", error.to_string().trim()));
    } else {
        // Whoever closed the stream does not want to read it.
        let _ = error.print();
    }
    if asked { ExitCode::SUCCESS } else { ExitCode::from(USAGE) }
}

fn run(cli: Cli) -> Outcome {
    if let Verb::Completions(args) = &cli.verb {
        return completions(args.shell);
    }
    if let Verb::Bench(verb) = &cli.verb
        && let Some(outcome) = bench::without_cluster(verb, &mut Output::stdout(cli.json))
    {
        return outcome;
    }
    let Some(url) = cli.fs.clone().filter(|url| !url.is_empty()) else {
        return Err(Failure::Usage(
            "no cluster is named; give --fs godfs://HOST:PORT[,HOST:PORT] or set GODFS_FS".to_owned(),
        ));
    };
    // A load needs all cores; the rest starts and ends faster with one.
    let mut builder = match cli.verb {
        Verb::Bench(_) => Builder::new_multi_thread(),
        _ => Builder::new_current_thread(),
    };
    let runtime = builder.enable_all().build().map_err(|error| Error::io("start the async runtime", error))?;
    let outcome = runtime.block_on(with_client(cli, &url));
    // A thread that still waits for stdin must not hold up the end.
    runtime.shutdown_background();
    outcome
}

async fn with_client(mut cli: Cli, url: &str) -> Outcome {
    let user = cli.user.clone().filter(|user| !user.is_empty());
    let login = Login { url: url.to_owned(), user, reading: cli.verb.reading() };
    let context = Context::new(login.clone().connect().await?, login, cli.verb.name(), cli.json);
    let mut output = Output::stdout(cli.json);
    globs::expand(&context.client, &mut cli.verb).await?;
    if !leaves_traces(&cli.verb) {
        let outcome = finish(&context, Box::pin(verb(&cli, &context, &mut output)).await, &mut output);
        context.end().await;
        return outcome;
    }
    let mut interrupts = Interrupts::listen()?;
    // An interrupted verb is dropped where it stands; `end` clears away what it leaves.
    let outcome = tokio::select! {
        outcome = Box::pin(verb(&cli, &context, &mut output)) => outcome,
        signal = interrupts.next() => Err(Failure::Interrupted(signal)),
    };
    let outcome = finish(&context, outcome, &mut output);
    // A second signal ends at once; `end` may be dropped where it stands too.
    tokio::select! {
        () = context.end() => outcome,
        signal = interrupts.next() => Err(Failure::Interrupted(signal)),
    }
}

/// Prints what makes a shell complete the words of this command.
fn completions(shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "godfs", &mut script);
    let mut output = Output::stdout(false);
    output.bytes(&script)?;
    output.flush()
}

/// Whether something is to be cleared away when the verb is interrupted. The others just end, as any program.
fn leaves_traces(verb: &Verb) -> bool {
    matches!(verb, Verb::Put(_) | Verb::Append(_) | Verb::Get(_) | Verb::Cp(_) | Verb::Bench(_) | Verb::Admin(_))
}

async fn verb(cli: &Cli, context: &Context, output: &mut Output) -> Outcome {
    match &cli.verb {
        Verb::Put(args) => put::put(context, args).await,
        Verb::Append(args) => put::append(context, args).await,
        Verb::Get(args) => get::get(context, args).await,
        Verb::Cat(args) => content::cat(context, args).await,
        Verb::Tail(args) => tail::tail(context, args, output).await,
        Verb::Ls(args) => ls::ls(context, args, output).await,
        Verb::Stat(args) => stat::stat(context, args, output).await,
        Verb::Mkdir(args) => names::mkdir(context, args).await,
        Verb::Rm(args) => names::rm(context, args).await,
        Verb::Mv(args) => names::mv(context, args).await,
        Verb::Truncate(args) => names::truncate(context, args).await,
        Verb::Concat(args) => names::concat(context, args).await,
        Verb::OpenFiles(args) => open_files::open_files(context, args, output).await,
        Verb::Recover(args) => open_files::recover(context, args).await,
        Verb::Exchange(args) => names::exchange(context, args).await,
        Verb::Ln(args) => links::ln(context, args).await,
        Verb::Readlink(args) => links::readlink(context, args, output).await,
        Verb::Cp(args) => cp::cp(context, args).await,
        Verb::Touch(args) => touch::touch(context, args).await,
        Verb::Df(args) => usage::df(context, args, output).await,
        Verb::Du(args) => usage::du(context, args, output).await,
        Verb::Trash(verb) => trash::trash(context, verb, output).await,
        Verb::Quota(verb) => quota::quota(context, verb, output).await,
        Verb::Find(args) => find::find(context, args, output).await,
        Verb::Tree(args) => find::tree(context, args, output).await,
        Verb::Watch(args) => watch::watch(context, args, output).await,
        Verb::Checksum(args) => content::checksum(context, args, output).await,
        Verb::Setrep(args) => names::setrep(context, args).await,
        Verb::Chmod(args) => access::chmod(context, args).await,
        Verb::Chown(args) => access::chown(context, args).await,
        Verb::Chgrp(args) => access::chgrp(context, args).await,
        Verb::Getfacl(args) => access::getfacl(context, args, output).await,
        Verb::Setfacl(args) => access::setfacl(context, args).await,
        Verb::Getfattr(args) => access::getfattr(context, args, output).await,
        Verb::Setfattr(args) => access::setfattr(context, args).await,
        Verb::Locate(args) => locate::locate(context, args, output).await,
        Verb::Report(args) => report::report(context, args, output).await,
        Verb::Bench(verb) => bench::bench(context, verb, output).await,
        Verb::Admin(verb) => admin::admin(context, verb, output).await,
        // Needs no cluster: was done before one was looked for.
        Verb::Completions(args) => completions(args.shell),
    }
}

/// Writes out what is left, and gives the outcome with all that was said on the way.
fn finish<W: Write>(context: &Context, outcome: Outcome, output: &mut Output<W>) -> Outcome {
    let flushed = output.flush();
    outcome.and(flushed).and_then(|()| context.outcome())
}
