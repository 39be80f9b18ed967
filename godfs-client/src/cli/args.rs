//! What can be said on the command line.

use std::ffi::OsString;

use clap::{ArgAction, Args, Parser, Subcommand};

use super::bench::{self, BenchVerb};
use super::find::{FindArgs, TreeArgs};
use super::mode::ModeChange;
use super::quota::QuotaVerb;
use super::size::{ByteSize, Moment, Span};
use super::tail::TailArgs;
use super::trash::TrashVerb;
use super::watch::WatchArgs;
use crate::{ClientSettings, CreateOptions, ETag, Hedging, LocalReads, ReplaceNodes};

/// The most replicas that a file may ask for.
const MAX_REPLICATION: i64 = 512;

const EXIT_CODES: &str = "\
Exit codes:
  0 done   1 failed   2 usage   3 not found   4 exists   5 refused   6 unreachable

Paths that must exist may hold patterns, in quotes so that the shell leaves them: * ? [ab] [a-z] [!a], and \\ for the next
character as it is. One that matches nothing is taken as it stands.

Examples:
  godfs --fs godfs://127.0.0.1:4700 ls -l /
  export GODFS_FS=godfs://nn1:4700,nn2:4700
  godfs put -r logs /archive
  godfs ls '/logs/2026-*/*.gz'
  godfs report --json";

const QUOTA_EXAMPLES: &str = "\
Examples:
  godfs quota set --names 100000 --bytes 3T /home/alice
  godfs quota show '/home/*'
  godfs quota clear /home/alice";

const TRASH_EXAMPLES: &str = "\
Examples:
  godfs trash list
  godfs trash restore 20261124T014500-4711
  godfs trash empty --older-than 7days";

const ADMIN_EXAMPLES: &str = "\
Examples:
  godfs admin scrub /models
  godfs admin backup metadata.godfs";

/// Works with files in a GoDFS cluster.
#[derive(Debug, Parser)]
#[command(name = "godfs", version, after_help = EXIT_CODES, arg_required_else_help = true)]
#[command(disable_help_subcommand = true, max_term_width = 110)]
pub(super) struct Cli {
    /// The cluster: godfs://HOST:PORT[,HOST:PORT], its namenodes
    #[arg(long, global = true, env = "GODFS_FS", value_name = "URL", hide_env_values = true)]
    pub(super) fs: Option<String>,
    /// Act as USER[:GROUP,GROUP] instead of the user and groups that this process runs as. The namenode takes your word
    #[arg(long, global = true, env = "GODFS_USER", value_name = "USER", hide_env_values = true)]
    pub(super) user: Option<String>,
    /// Print results, and errors on stderr, as JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Copy local files into the cluster
    Put(PutArgs),
    /// Write local files at the end of one in the cluster
    Append(AppendArgs),
    /// Copy files out of the cluster
    Get(GetArgs),
    /// Write files to stdout
    Cat(CatArgs),
    /// Write the end of files to stdout, and what is written at it
    Tail(TailArgs),
    /// List directories
    Ls(LsArgs),
    /// Show what is known of files and directories
    Stat(StatArgs),
    /// Make directories
    Mkdir(MkdirArgs),
    /// Remove files and directories
    Rm(RmArgs),
    /// Rename or move files and directories
    Mv(MvArgs),
    /// Make files shorter
    Truncate(TruncateArgs),
    /// Join files to the end of another, without copying
    Concat(ConcatArgs),
    /// List files that are being written
    OpenFiles(OpenFilesArgs),
    /// Close files whose writer is gone
    Recover(RecoverArgs),
    /// Have two files or directories change places
    Exchange(ExchangeArgs),
    /// Make symbolic links
    Ln(LnArgs),
    /// Show where symbolic links lead
    Readlink(ReadlinkArgs),
    /// Copy files within the cluster
    Cp(CpArgs),
    /// Make empty files, or set the time of those that exist
    Touch(TouchArgs),
    /// Show the room of the cluster
    Df(DfArgs),
    /// Show the room that files and directories take
    Du(DuArgs),
    /// Limit what directories may hold
    #[command(subcommand, after_help = QUOTA_EXAMPLES)]
    Quota(QuotaVerb),
    /// List, restore or remove what was deleted
    #[command(subcommand, after_help = TRASH_EXAMPLES)]
    Trash(TrashVerb),
    /// Search directories
    Find(FindArgs),
    /// Show what lies below directories as a tree
    Tree(TreeArgs),
    /// Show changes as they happen
    Watch(WatchArgs),
    /// Print the CRC32C of files
    Checksum(ChecksumArgs),
    /// Set how many replicas files have
    Setrep(SetrepArgs),
    /// Set the permission bits of files and directories
    Chmod(ChmodArgs),
    /// Give files and directories to another user
    Chown(ChownArgs),
    /// Give files and directories to another group
    Chgrp(ChgrpArgs),
    /// Show access control lists
    Getfacl(GetfaclArgs),
    /// Change access control lists
    Setfacl(SetfaclArgs),
    /// Show extended attributes
    Getfattr(GetfattrArgs),
    /// Set or remove extended attributes
    Setfattr(SetfattrArgs),
    /// Show where the chunks of files lie
    Locate(LocateArgs),
    /// Show the state of the cluster
    Report(ReportArgs),
    /// Measure the cluster
    #[command(subcommand, after_help = bench::BENCH_EXAMPLES)]
    Bench(BenchVerb),
    /// Operate the cluster
    #[command(subcommand, after_help = ADMIN_EXAMPLES)]
    Admin(AdminVerb),
    /// Print what makes a shell complete the words of this command
    Completions(CompletionsArgs),
}

impl Verb {
    /// How it reads files.
    pub(super) fn reading(&self) -> ReadArgs {
        match self {
            Self::Get(args) => args.reading,
            Self::Cat(args) => args.reading,
            Self::Bench(verb) => verb.reading(),
            _ => ReadArgs::default(),
        }
    }

    /// The word that names it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Put(_) => "put",
            Self::Append(_) => "append",
            Self::Get(_) => "get",
            Self::Cat(_) => "cat",
            Self::Tail(_) => "tail",
            Self::Ls(_) => "ls",
            Self::Stat(_) => "stat",
            Self::Mkdir(_) => "mkdir",
            Self::Rm(_) => "rm",
            Self::Mv(_) => "mv",
            Self::Truncate(_) => "truncate",
            Self::Concat(_) => "concat",
            Self::OpenFiles(_) => "open-files",
            Self::Recover(_) => "recover",
            Self::Exchange(_) => "exchange",
            Self::Ln(_) => "ln",
            Self::Readlink(_) => "readlink",
            Self::Cp(_) => "cp",
            Self::Touch(_) => "touch",
            Self::Df(_) => "df",
            Self::Du(_) => "du",
            Self::Quota(_) => "quota",
            Self::Trash(_) => "trash",
            Self::Find(_) => "find",
            Self::Tree(_) => "tree",
            Self::Watch(_) => "watch",
            Self::Checksum(_) => "checksum",
            Self::Setrep(_) => "setrep",
            Self::Chmod(_) => "chmod",
            Self::Chown(_) => "chown",
            Self::Chgrp(_) => "chgrp",
            Self::Getfacl(_) => "getfacl",
            Self::Setfacl(_) => "setfacl",
            Self::Getfattr(_) => "getfattr",
            Self::Setfattr(_) => "setfattr",
            Self::Locate(_) => "locate",
            Self::Report(_) => "report",
            Self::Bench(_) => "bench",
            Self::Admin(_) => "admin",
            Self::Completions(_) => "completions",
        }
    }
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  godfs completions bash > ~/.local/share/bash-completion/completions/godfs
  godfs completions zsh > ~/.zfunc/_godfs
  godfs completions fish > ~/.config/fish/completions/godfs.fish")]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(super) shell: clap_complete::Shell,
}

/// How files are made.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct LayoutArgs {
    /// Replicas, 1 to 512 [default: the cluster's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_REPLICATION))]
    pub(super) replication: Option<u32>,
    /// Bytes a chunk, a multiple of 4K from 64K to 4G [default: the cluster's]
    #[arg(long, value_name = "SIZE")]
    pub(super) chunk_size: Option<ByteSize>,
    /// When another datanode takes the place of one that fails in the middle of a chunk: never, when-small (one or half of them left) or
    /// always [default: when-small]
    #[arg(long, value_name = "WHEN", hide_short_help = true)]
    pub(super) replace_nodes: Option<ReplaceNodes>,
}

impl LayoutArgs {
    /// Adds what was asked for to `options`.
    pub(super) fn apply(&self, mut options: CreateOptions) -> CreateOptions {
        if let Some(replicas) = self.replication {
            options = options.replication(replicas);
        }
        if let Some(size) = self.chunk_size {
            options = options.chunk_size(size.0);
        }
        if let Some(when) = self.replace_nodes {
            options = options.replace_nodes(when);
        }
        options
    }
}

/// How files are read.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(super) struct ReadArgs {
    /// When a second datanode is asked for bytes that one has not given: off (after 1.5s of silence), after a time such as 80ms, or at a percentile
    /// of the latest waits such as p95 [default: off]
    #[arg(long, value_name = "WHEN", hide_short_help = true)]
    pub(super) hedge: Option<Hedging>,
    /// Whether bytes on datanodes of this machine are read from their files: auto (where possible) or never [default: auto]
    #[arg(long, value_name = "WHETHER", hide_short_help = true)]
    pub(super) local: Option<LocalReads>,
}

impl ReadArgs {
    /// Adds what was asked for to `settings`.
    pub(super) fn apply(&self, settings: &mut ClientSettings) {
        if let Some(hedge) = self.hedge {
            settings.hedging = hedge;
        }
        if let Some(local) = self.local {
            settings.local_reads = local;
        }
    }
}

#[derive(Args, Debug)]
#[command(override_usage = "godfs put [OPTIONS] <LOCAL>... <PATH>")]
#[command(after_help = "\
A file appears under its name only when it is whole; nothing remains of one that failed. A directory that does not exist
yet appears whole as well; one that exists is filled file by file.

Examples:
  godfs put model.bin /models/
  godfs put -r logs /archive
  tar c . | godfs put - /backup.tar
  godfs put --parents --mode 640 report.pdf /reports/2026/11/
  godfs put --if-match 17-4242 table.csv /table.csv
  godfs put -f --replication 2 --chunk-size 16M new.csv /data.csv")]
pub(super) struct PutArgs {
    /// Copy directories with all below them
    #[arg(short, long)]
    pub(super) recursive: bool,
    /// Replace files that exist
    #[arg(short, long)]
    pub(super) force: bool,
    /// Replace the file only if it is still in this state, which `stat` shows
    #[arg(long, value_name = "ETAG", conflicts_with_all = ["recursive", "force"])]
    pub(super) if_match: Option<ETag>,
    /// Make the directories that are missing above the target, and the target itself where it must be a directory
    #[arg(short, long)]
    pub(super) parents: bool,
    /// Permission bits of the files, octal or such as u=rw,g=r,o= [default: 0644]
    #[arg(short, long, value_name = "MODE", value_parser = ModeChange::parse)]
    pub(super) mode: Option<ModeChange>,
    /// Don't wait for the disks of the datanodes before a file is closed
    #[arg(long)]
    pub(super) no_sync: bool,
    #[command(flatten)]
    pub(super) layout: LayoutArgs,
    /// Local files, or - for stdin; last, the path in the cluster
    #[arg(required = true, num_args = 2.., value_name = "LOCAL|PATH")]
    pub(super) paths: Vec<OsString>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
The file must exist and have no writer. What was written before something failed stays. What comes from stdin is shown to readers
whenever no more comes for a moment.

Examples:
  godfs append today.log /logs/all.log
  tail -f app.log | godfs append - /logs/app.log")]
pub(super) struct AppendArgs {
    /// A local file, or - for stdin
    #[arg(value_name = "LOCAL")]
    pub(super) local: OsString,
    /// The file in the cluster
    #[arg(value_name = "PATH")]
    pub(super) path: String,
}

#[derive(Args, Debug)]
#[command(override_usage = "godfs get [OPTIONS] <PATH>... <LOCAL>")]
#[command(after_help = "\
A file appears under its name only when it is whole and on disk; nothing remains of one that failed. A directory that does
not exist yet appears whole as well; one that exists is filled file by file.

Examples:
  godfs get /models/model.bin .
  godfs get -r /archive/logs logs
  godfs get /backup.tar - | tar x")]
pub(super) struct GetArgs {
    /// Copy directories with all below them
    #[arg(short, long)]
    pub(super) recursive: bool,
    /// Replace files that exist
    #[arg(short, long)]
    pub(super) force: bool,
    #[command(flatten)]
    pub(super) reading: ReadArgs,
    /// Paths in the cluster; last, the local file or directory, or - for stdout
    #[arg(required = true, num_args = 2.., value_name = "PATH|LOCAL")]
    pub(super) paths: Vec<OsString>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  godfs cat /notes.txt
  godfs cat /logs/a /logs/b | grep error")]
pub(super) struct CatArgs {
    #[command(flatten)]
    pub(super) reading: ReadArgs,
    /// Files, one after another
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<String>,
}

#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
#[command(after_help = "\
The columns of -l: kind and permissions, replicas, user, group, bytes, time of the last change (UTC), name, target of a
link. -R prints whole paths, each directory before what it holds.

Examples:
  godfs ls /
  godfs ls -lh /models
  godfs ls -R --json /archive
  godfs ls --after part-00999 /table
  godfs ls --locations --json /models")]
pub(super) struct LsArgs {
    /// Show kind, permissions, replicas, owner, size and time too
    #[arg(short, long)]
    pub(super) long: bool,
    /// Show sizes such as 1.5G
    #[arg(short, long)]
    pub(super) human: bool,
    /// List all below too
    #[arg(short = 'R', long)]
    pub(super) recursive: bool,
    /// Only names that come after this one in a directory, by their bytes
    #[arg(long, value_name = "NAME", conflicts_with = "recursive")]
    pub(super) after: Option<String>,
    /// Show where the chunks of files lie, too, as `locate` does
    #[arg(long, conflicts_with = "recursive")]
    pub(super) locations: bool,
    /// Directories and files
    #[arg(value_name = "PATH", default_value = "/")]
    pub(super) paths: Vec<String>,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
With --json, prints an object a path, each on a line. Its etag is what `put --if-match` takes.

Examples:
  godfs stat /models/model.bin
  godfs stat -L /models/live
  godfs stat --json /models | jq .modified_ms")]
pub(super) struct StatArgs {
    /// Show what symbolic links lead to, not them
    #[arg(short = 'L', long)]
    pub(super) dereference: bool,
    /// Show what has this inode, and its path
    #[arg(long, value_name = "INODE", conflicts_with = "paths", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) id: Option<u64>,
    /// Files and directories
    #[arg(required_unless_present = "id", value_name = "PATH")]
    pub(super) paths: Vec<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  godfs mkdir /models
  godfs mkdir -p /a/b/c
  godfs mkdir -m 1777 /tmp")]
pub(super) struct MkdirArgs {
    /// Make missing parents, and accept a directory that exists
    #[arg(short, long)]
    pub(super) parents: bool,
    /// Permission bits of the directories named, octal or such as u=rwx,go= [default: 0755]
    #[arg(short, long, value_name = "MODE", value_parser = ModeChange::parse)]
    pub(super) mode: Option<ModeChange>,
    /// Directories to make
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  godfs rm /old.csv
  godfs rm -r /archive/2019
  godfs rm -rf --skip-trash /scratch")]
pub(super) struct RmArgs {
    /// Remove directories with all below them
    #[arg(short, long, visible_short_alias = 'R')]
    pub(super) recursive: bool,
    /// Don't mind what does not exist
    #[arg(short, long)]
    pub(super) force: bool,
    /// For good, at once
    #[arg(long)]
    pub(super) skip_trash: bool,
    /// Files and directories
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<String>,
}

#[derive(Args, Debug)]
#[command(override_usage = "godfs mv [OPTIONS] <SOURCE>... <TARGET>")]
#[command(after_help = "\
Examples:
  godfs mv /a.csv /b.csv
  godfs mv /a.csv /b.csv /archive
  godfs mv -f /new.csv /data.csv")]
pub(super) struct MvArgs {
    /// Replace files that exist
    #[arg(short, long)]
    pub(super) force: bool,
    /// What to move; last, where to
    #[arg(required = true, num_args = 2.., value_name = "PATH")]
    pub(super) paths: Vec<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Files are only made shorter, and must have no writer. Waits until the datanodes have cut what they hold.

Examples:
  godfs truncate -s 0 /logs/app.log
  godfs truncate -s 1M /scratch/a /scratch/b")]
pub(super) struct TruncateArgs {
    /// Bytes to keep
    #[arg(short, long, value_name = "SIZE")]
    pub(super) size: ByteSize,
    /// Files
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
The chunks of the sources move to the end of the target in one step, and the sources are gone. All must have the same
chunk size. Files so small that the namenode keeps them get a chunk first; only their bytes are copied.

Examples:
  godfs concat /logs/all.log /logs/monday.log /logs/tuesday.log
  godfs concat /parts/0 /parts/1 /parts/2")]
pub(super) struct ConcatArgs {
    /// The file that gets the chunks
    #[arg(value_name = "TARGET")]
    pub(super) target: String,
    /// The files that give them, in their order
    #[arg(required = true, value_name = "SOURCE")]
    pub(super) sources: Vec<String>,
}

#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
#[command(after_help = "\
The columns: bytes so far, the writer's session and name, path. Where the writer is gone, or a file is being cut, it is
the namenode that has it: `- recovery`. Only superusers may ask.

Examples:
  godfs open-files
  godfs open-files --json | jq '.[].path'")]
pub(super) struct OpenFilesArgs {
    /// Show sizes such as 1.5G
    #[arg(short, long)]
    pub(super) human: bool,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
What the writer flushed is kept. Should it still be there, it loses its lease. Without this a file is recovered once its
writer has been silent for the session timeout.

Examples:
  godfs recover /logs/app.log
  godfs recover --timeout 5m /logs/a /logs/b")]
pub(super) struct RecoverArgs {
    /// How long to wait for each file to be closed
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    pub(super) timeout: Span,
    /// Files
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Both names are there at every moment. Neither may lie in the other.

Examples:
  godfs exchange /models/live /models/next
  godfs exchange /a.csv /b.csv")]
pub(super) struct ExchangeArgs {
    /// A file or directory
    #[arg(value_name = "PATH")]
    pub(super) first: String,
    /// The other one
    #[arg(value_name = "PATH")]
    pub(super) second: String,
}

#[derive(Args, Debug)]
#[command(after_help = "\
A target that does not begin with / is looked for from the directory of the link. Nothing need be there. There are no
hard links: without -s nothing is made.

Examples:
  godfs ln -s /models/v7 /models/live
  godfs ln -s v7 /models/live
  godfs ln -s ../shared/table.csv /jobs")]
pub(super) struct LnArgs {
    /// Make a symbolic link, the only kind there is
    #[arg(short, long)]
    pub(super) symbolic: bool,
    /// Where the link leads
    #[arg(value_name = "TARGET")]
    pub(super) target: String,
    /// The link, or the directory that gets it under the name of its target
    #[arg(value_name = "LINK")]
    pub(super) link: String,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  godfs readlink /models/live
  godfs readlink --json /models/live | jq -r .target")]
pub(super) struct ReadlinkArgs {
    /// Symbolic links
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<String>,
}

#[derive(Args, Debug)]
#[command(override_usage = "godfs cp [OPTIONS] <SOURCE>... <TARGET>")]
#[command(after_help = "\
A file appears under its name only when it is whole. A copy has the replication and chunk size of its source unless told
otherwise.

Examples:
  godfs cp /a.csv /b.csv
  godfs cp -r /models /models.old
  godfs cp -f /a /b /existing")]
pub(super) struct CpArgs {
    /// Copy directories with all below them
    #[arg(short, long, visible_short_alias = 'R')]
    pub(super) recursive: bool,
    /// Replace files that exist
    #[arg(short, long)]
    pub(super) force: bool,
    #[command(flatten)]
    pub(super) layout: LayoutArgs,
    /// What to copy; last, where to
    #[arg(required = true, num_args = 2.., value_name = "PATH")]
    pub(super) paths: Vec<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  godfs touch /jobs/done
  godfs touch -c /data.csv
  godfs touch -d 2026-11-24T08:30:00Z /data.csv
  godfs touch -m -d @1795000000 /data.csv
  godfs touch -r /original.csv /copy.csv")]
pub(super) struct TouchArgs {
    /// Don't make files that do not exist
    #[arg(short = 'c', long)]
    pub(super) no_create: bool,
    /// Set the time of the last read alone, unless -m is given too
    #[arg(short = 'a')]
    pub(super) accessed: bool,
    /// Set the time of the last change alone, unless -a is given too
    #[arg(short = 'm')]
    pub(super) modified: bool,
    /// The time to set, such as 2026-11-24T08:30:00Z, or @SECONDS since 1970 [default: now]
    #[arg(short, long, value_name = "TIME")]
    pub(super) date: Option<Moment>,
    /// Set the times that this file or directory of the cluster has
    #[arg(short, long, value_name = "PATH", conflicts_with = "date")]
    pub(super) reference: Option<String>,
    /// Files and directories
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<String>,
}

#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
#[command(after_help = "\
Examples:
  godfs df -h
  godfs df --json")]
pub(super) struct DfArgs {
    /// Show sizes such as 1.5G
    #[arg(short, long)]
    pub(super) human: bool,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
#[command(after_help = "\
A line for each entry of a directory, and one for the directory with all below it. The columns: bytes of the files, the same
times their replicas, files, directories, path. The namenode keeps these counts: a large tree takes no longer than a small one.

Examples:
  godfs du /
  godfs du -s -h /models /archive")]
pub(super) struct DuArgs {
    /// Only the line of each PATH itself
    #[arg(short, long)]
    pub(super) summarize: bool,
    /// Show sizes such as 1.5G
    #[arg(short, long)]
    pub(super) human: bool,
    /// Files and directories
    #[arg(value_name = "PATH", default_value = "/")]
    pub(super) paths: Vec<String>,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
The checksum is that of the bytes alone: files of equal content have equal ones, whatever their chunk size.

Examples:
  godfs checksum /a.csv /b.csv")]
pub(super) struct ChecksumArgs {
    /// Files
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Returns at once; replicas are made or removed in the background. `godfs locate` shows how far that is.

Examples:
  godfs setrep 2 /scratch/big.bin
  godfs setrep -r 3 /models
  godfs setrep 1 /scratch/a /scratch/b")]
pub(super) struct SetrepArgs {
    /// All files below directories too
    #[arg(short, long, visible_short_alias = 'R')]
    pub(super) recursive: bool,
    /// Replicas, 1 to 512
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_REPLICATION))]
    pub(super) replication: u32,
    /// Files and directories
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
MODE is octal, such as 750, or symbolic as with chmod(1), such as u=rwX,g-w,o=. Where there is an access control list, the
group's bits are its mask.

Examples:
  godfs chmod 750 /home/alice
  godfs chmod -R u=rwX,g=rX,o= /home/alice
  godfs chmod +t /tmp")]
pub(super) struct ChmodArgs {
    /// All below directories too
    #[arg(short = 'R', long, visible_short_alias = 'r')]
    pub(super) recursive: bool,
    /// The bits, or how they change
    #[arg(value_name = "MODE")]
    pub(super) mode: String,
    /// Files and directories
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Another user takes the superuser; another group, the owner, who must be a member of it.

Examples:
  godfs chown alice /home/alice
  godfs chown -R alice:staff /home/alice
  godfs chown :staff /shared")]
pub(super) struct ChownArgs {
    /// All below directories too
    #[arg(short = 'R', long, visible_short_alias = 'r')]
    pub(super) recursive: bool,
    /// The user, the group, or both
    #[arg(value_name = "USER[:GROUP]")]
    pub(super) owner: String,
    /// Files and directories
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  godfs chgrp staff /shared
  godfs chgrp -R staff /home/alice")]
pub(super) struct ChgrpArgs {
    /// All below directories too
    #[arg(short = 'R', long, visible_short_alias = 'r')]
    pub(super) recursive: bool,
    /// The group
    #[arg(value_name = "GROUP")]
    pub(super) group: String,
    /// Files and directories
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
With --json, prints an object a path, each on a line: {\"path\",\"user\",\"group\",\"mode\",\"entries\":[\"user::rwx\",…]}.

Examples:
  godfs getfacl /shared
  godfs getfacl -R --json /shared")]
pub(super) struct GetfaclArgs {
    /// All below directories too
    #[arg(short = 'R', long, visible_short_alias = 'r')]
    pub(super) recursive: bool,
    /// Files and directories
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<String>,
}

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
#[command(after_help = "\
An entry is [default:](user|group|mask|other):[NAME]:RIGHTS, several with commas in between. Named entries and the owning
group are bounded by the mask, which is made anew to allow them all unless it is given. What is made in a directory with default
entries gets these in place of the umask. Several changes of one call are made in the order -b -k --set -x -m. With -R,
default entries go to directories only.

Examples:
  godfs setfacl -m user:bob:r-x,group:dev:rwx /shared
  godfs setfacl -R -m user:bob:r-x,default:user:bob:r-x /shared
  godfs setfacl -x user:bob /shared
  godfs setfacl --set user::rwx,group::r-x,other::--- /shared
  godfs setfacl -b /shared")]
pub(super) struct SetfaclArgs {
    /// Add entries, or give those that are there other rights
    #[arg(short, long, group = "change", value_name = "ENTRIES")]
    pub(super) modify: Option<String>,
    /// Remove entries; their rights are not given
    #[arg(short = 'x', long, group = "change", value_name = "ENTRIES")]
    pub(super) remove: Option<String>,
    /// Replace all entries
    #[arg(long, group = "change", value_name = "ENTRIES", conflicts_with_all = ["remove_all", "remove_default"])]
    pub(super) set: Option<String>,
    /// Remove all but the base entries
    #[arg(short = 'b', long, group = "change")]
    pub(super) remove_all: bool,
    /// Remove the default entries
    #[arg(short = 'k', long, group = "change")]
    pub(super) remove_default: bool,
    /// All below directories too
    #[arg(short = 'R', long, visible_short_alias = 'r')]
    pub(super) recursive: bool,
    /// Files and directories
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Prints names, and with -d or -n values: in quotes, or as base64 after 0s. With --json, prints an object a path, each on a line:
  {\"path\",\"attributes\":[{\"name\",\"value\",\"base64\"}]} where value is null unless it is UTF-8.
Attributes under trusted. are for the superuser.

Examples:
  godfs getfattr -d /models/model.bin
  godfs getfattr -n user.origin --only-values /models/model.bin
  godfs getfattr -R --json /models")]
pub(super) struct GetfattrArgs {
    /// Print values too
    #[arg(short, long)]
    pub(super) dump: bool,
    /// This attribute, which must be there
    #[arg(short, long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Print values as they are, and nothing else
    #[arg(long)]
    pub(super) only_values: bool,
    /// All below directories too
    #[arg(short = 'R', long, visible_short_alias = 'r')]
    pub(super) recursive: bool,
    /// Files and directories
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Names begin with user. or, for the superuser, trusted. A value is text, in quotes or not, hexadecimal after 0x or base64
after 0s.

Examples:
  godfs setfattr -n user.origin -v 'run 17' /models/model.bin
  godfs setfattr --create -n user.digest -v 0x00ff /models/model.bin
  godfs setfattr -x user.origin /models/model.bin")]
pub(super) struct SetfattrArgs {
    /// The attribute to set
    #[arg(short, long, value_name = "NAME", required_unless_present = "remove", conflicts_with = "remove")]
    pub(super) name: Option<String>,
    /// Its value [default: empty]
    #[arg(short, long, value_name = "VALUE", conflicts_with = "remove")]
    pub(super) value: Option<String>,
    /// The attribute to remove
    #[arg(short = 'x', long, value_name = "NAME")]
    pub(super) remove: Option<String>,
    /// It must not be there yet
    #[arg(long, conflicts_with_all = ["remove", "replace"])]
    pub(super) create: bool,
    /// It must be there
    #[arg(long, conflicts_with = "remove")]
    pub(super) replace: bool,
    /// All below directories too
    #[arg(short = 'R', long, visible_short_alias = 'r')]
    pub(super) recursive: bool,
    /// Files and directories
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
With --json, prints an object a path, each on a line:
  {\"path\",\"length\",\"replication\",\"chunks\":[{\"id\",\"offset\",\"generation\",\"length\",
   \"replicas\":[{\"node\",\"address\",\"state\",\"live\"}]}]}
where state is one of rbw rwr finalized temporary corrupt.

Examples:
  godfs locate /models/model.bin
  godfs locate --json /models/model.bin | jq '.chunks | length'")]
pub(super) struct LocateArgs {
    /// Files, also those being written
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<String>,
}

#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
#[command(after_help = "\
While `complete` is false the namenode is still counting, and the counts are lower bounds.

Examples:
  godfs report
  godfs report --json | jq .under_replicated")]
pub(super) struct ReportArgs {
    /// Show sizes such as 1.5G
    #[arg(short, long)]
    pub(super) human: bool,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

#[derive(Debug, Subcommand)]
pub(super) enum AdminVerb {
    /// Have replicas read and checked against their checksums; wait for the outcome
    Scrub(ScrubArgs),
    /// Save all metadata of the running cluster to a file
    Backup(BackupArgs),
}

#[derive(Args, Debug)]
#[command(after_help = "\
The file holds every row at one moment, with checksums, and is checked before it gets its name. `godfs-namenode import` makes a namenode of
it. The bytes of chunks are on the datanodes and not in it.

Examples:
  godfs admin backup metadata.godfs
  godfs admin backup metadata.godfs --json")]
pub(super) struct BackupArgs {
    /// Replace a file that exists
    #[arg(short, long)]
    pub(super) force: bool,
    /// The local file
    #[arg(value_name = "FILE")]
    pub(super) file: std::path::PathBuf,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Exits with 1 when a replica was corrupt or could not be checked. What is corrupt is repaired from the good replicas.

Examples:
  godfs admin scrub
  godfs admin scrub --now /models --json")]
pub(super) struct ScrubArgs {
    /// Start at once, ahead of the datanodes' own slow rounds; what it always does
    #[arg(long)]
    now: bool,
    /// A file, or a directory with all below it
    #[arg(value_name = "PATH", default_value = "/")]
    pub(super) path: String,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_agree_with_one_another() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_has_examples_and_its_own_name() {
        fn check(command: &clap::Command) {
            command.get_subcommands().for_each(check);
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Examples:\n  godfs "), "{}", command.get_name());
        }
        check(&Cli::command());
        for (words, name) in [("ls", "ls"), ("bench read --path /", "bench"), ("setrep 2 /a", "setrep")] {
            let cli = Cli::try_parse_from(["godfs"].into_iter().chain(words.split(' '))).expect(words);
            assert_eq!(cli.verb.name(), name);
        }
    }

    #[test]
    fn json_and_fs_stand_anywhere() {
        for words in
            ["--json --fs a:1 admin scrub", "admin --json scrub --fs a:1", "admin scrub --now / --json --fs a:1"]
        {
            let cli = Cli::try_parse_from(["godfs"].into_iter().chain(words.split(' '))).expect(words);
            assert!(cli.json && cli.fs.as_deref() == Some("a:1"), "{words}");
        }
    }

    #[test]
    fn refuses_what_can_not_be_meant() {
        for words in [
            "put /a",
            "get /a",
            "mv /a",
            "cp /a",
            "setrep 0 /a",
            "put --replication 513 a /a",
            "put --mode rw a /a",
            "put --replace-nodes sometimes a /a",
            "mkdir -m 10000 /a",
            "touch -d tomorrow /a",
            "touch -d @1 -r /b /a",
            "bench read",
            "cat",
            "chmod 750",
            "chown /a",
            "setfacl /a",
            "setfacl -b --set user::rwx /a",
            "setfattr /a",
            "setfattr -n user.a -x user.b /a",
            "setfattr -x user.a -v 1 /a",
            "setfattr --create --replace -n user.a /a",
            "tail",
            "cat --hedge p100 /a",
            "cat --local always /a",
            "tail -n x /a",
            "tail -n 1 -c 1 /a",
            "fly",
        ] {
            let error = Cli::try_parse_from(["godfs"].into_iter().chain(words.split(' '))).expect_err(words);
            assert_eq!(error.exit_code(), 2, "{words}");
        }
        for words in [
            "chmod u-w,o= /a",
            "setfacl -Rb -m user:a:r-- /a",
            "setfattr -n user.a -v 1 /a /b",
            "ls -lhR /a",
            "rm -rf /a",
            "cat --hedge 80ms --local never /a",
            "bench stall --kill 4 --role reader --hedge p95",
            "tail -fn +3 /a /b",
            "tail -c 1M -F --until-closed /a",
            "put - /a",
            "put --replace-nodes always a /a",
            "put -p -m u=rw,go= a /a/",
            "mkdir -pm 1777 /a/b",
            "touch -amc -d @1.5 /a",
            "touch -d 2026-11-24 /a",
            "df -h",
            "put -rf -- -odd /a",
        ] {
            Cli::try_parse_from(["godfs"].into_iter().chain(words.split(' '))).expect(words);
        }
    }
}
