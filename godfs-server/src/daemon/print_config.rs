//! `--print-config`: every setting of a daemon, its value, and where it came from.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};
use godfs_core::{Error, ErrorKind, Result};
use serde::Serialize;

use super::config::{Layered, layered};

const FLAG: &str = "print-config";
/// What stands in the help of a flag before what holds without it.
const DEFAULT: &str = "[default: ";

/// What a daemon was asked for.
pub(super) enum Asked<T> {
    /// To run with these settings.
    Run(T),
    /// To say what its settings are, which it has done.
    Printed(ExitCode),
}

/// Reads flags, variables and the file; with `--print-config` says what came of it. Ends the process where flags are wrong.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] naming the file and what is wrong in it.
pub(super) fn read<T: Layered + CommandFactory + FromArgMatches>() -> Result<Asked<T>> {
    let command = with_flag(T::command());
    let matches = command.clone().get_matches();
    let flags = T::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let path = flags.file().map(Path::to_path_buf);
    let settings = layered(flags)?;
    let Some(format) = matches.get_one::<String>(FLAG) else { return Ok(Asked::Run(settings)) };
    let found = found(&command, &matches, path.as_deref())?;
    let printed = match format.as_str() {
        "json" => serde_json::to_string_pretty(&found).unwrap_or_default(),
        _ => table(&found),
    };
    Ok(Asked::Printed(print(&printed)))
}

/// Somebody who reads no further is no failure.
fn print(text: &str) -> ExitCode {
    use std::io::Write as _;
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

fn with_flag(command: Command) -> Command {
    let flag = Arg::new(FLAG)
        .long(FLAG)
        .value_name("FORMAT")
        .value_parser(["table", "json"])
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("table")
        .help("Say what every setting is and where it comes from, as a table or as json, and end");
    command.arg(flag)
}

/// One setting.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Setting {
    name: String,
    /// As it would be written in a flag or in the file; `None` where it is not set and nothing stands in for it.
    value: Option<String>,
    source: String,
}

/// All settings, in the order of the help.
fn found(command: &Command, matches: &ArgMatches, path: Option<&Path>) -> Result<Vec<Setting>> {
    let file = match path {
        Some(path) => Some((path, parsed(path)?)),
        None => None,
    };
    let arguments = command.get_arguments().filter(|argument| is_setting(argument));
    Ok(arguments.map(|argument| setting(argument, matches, file.as_ref().map(|(path, keys)| (*path, keys)))).collect())
}

/// Help, version and this flag itself do something else.
fn is_setting(argument: &Arg) -> bool {
    let acts = matches!(argument.get_action(), ArgAction::Set | ArgAction::Append | ArgAction::SetTrue);
    acts && argument.get_id() != FLAG && argument.get_long().is_some()
}

fn parsed(path: &Path) -> Result<toml::Table> {
    let invalid = |what: String| Error::new(ErrorKind::InvalidArgument, format!("settings {}: {what}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| invalid(error.to_string()))?;
    text.parse().map_err(|error: toml::de::Error| invalid(error.to_string()))
}

fn setting(argument: &Arg, matches: &ArgMatches, file: Option<(&Path, &toml::Table)>) -> Setting {
    let name = argument.get_long().unwrap_or_default().to_owned();
    let given = |source: String| {
        let value = match argument.get_action() {
            ArgAction::SetTrue => "true".to_owned(),
            _ => {
                let values = matches.get_raw(argument.get_id().as_str()).into_iter().flatten();
                values.map(|value| value.to_string_lossy()).collect::<Vec<_>>().join(",")
            }
        };
        (Some(value), source)
    };
    let (value, source) = match matches.value_source(argument.get_id().as_str()) {
        Some(ValueSource::CommandLine) => given(format!("flag --{name}")),
        Some(ValueSource::EnvVariable) => {
            let variable = argument.get_env().unwrap_or_default().to_string_lossy();
            given(format!("variable {variable}"))
        }
        _ => match file.and_then(|(path, keys)| Some((path, key(keys, &name)?))) {
            Some((path, value)) => (Some(written(value)), format!("file {}", path.display())),
            None => {
                let value = default(argument);
                let source = if value.is_some() { "default" } else { "not set" };
                (value, source.to_owned())
            }
        },
    };
    Setting { name, value, source }
}

/// A key of the file, in a section or in none.
fn key<'a>(keys: &'a toml::Table, name: &str) -> Option<&'a toml::Value> {
    let sections = keys.values().filter_map(toml::Value::as_table);
    keys.get(name).or_else(|| sections.into_iter().find_map(|section| section.get(name)))
}

fn written(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(values) => values.iter().map(written).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// What holds when nobody says anything, as the help has it.
fn default(argument: &Arg) -> Option<String> {
    if matches!(argument.get_action(), ArgAction::SetTrue) {
        return Some("false".to_owned());
    }
    let help = argument.get_help()?.to_string();
    let (_, rest) = help.rsplit_once(DEFAULT)?;
    let value = rest.split([']', ',']).next()?;
    Some(value.trim().to_owned())
}

fn table(settings: &[Setting]) -> String {
    let shown = |setting: &Setting| setting.value.clone().unwrap_or_else(|| "-".to_owned());
    let width = |of: &dyn Fn(&Setting) -> usize| settings.iter().map(of).max().unwrap_or(0);
    let (names, values) = (width(&|setting| setting.name.len()), width(&|setting| shown(setting).len()));
    let line = |setting: &Setting| format!("{:names$}  {:values$}  {}", setting.name, shown(setting), setting.source);
    settings.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::datanode::DatanodeArgs;
    use super::super::dev::DevArgs;
    use super::super::namenode::NamenodeArgs;
    use super::*;
    use crate::NamenodeSettings;

    fn of<T: CommandFactory>(flags: &[&str], path: Option<&Path>) -> Vec<Setting> {
        let command = with_flag(T::command());
        let matches = command.clone().get_matches_from([&["daemon"], flags].concat());
        found(&command, &matches, path).expect("read")
    }

    fn named<'a>(settings: &'a [Setting], name: &str) -> (Option<&'a str>, &'a str) {
        let setting = settings.iter().find(|setting| setting.name == name).expect("a setting");
        (setting.value.as_deref(), &setting.source)
    }

    #[test]
    fn every_setting_says_where_it_came_from() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("godfs.toml");
        fs::write(&path, "dir = \"/d\"\n[cluster]\ndead-after = \"9s\"\nreplication = 2\n").expect("write");
        let settings = of::<NamenodeArgs>(&["--replication", "1", "--init"], Some(&path));
        let file = format!("file {}", path.display());
        assert_eq!(named(&settings, "dir"), (Some("/d"), &*file));
        assert_eq!(named(&settings, "dead-after"), (Some("9s"), &*file));
        assert_eq!(named(&settings, "replication"), (Some("1"), "flag --replication"));
        assert_eq!(named(&settings, "init"), (Some("true"), "flag --init"));
        assert_eq!(named(&settings, "repair-grace"), (Some("5s"), "default"));
        assert_eq!(named(&settings, "listen"), (Some("127.0.0.1:4700"), "default"));
        assert!(!settings.iter().any(|setting| setting.name == FLAG || setting.name == "help"));
        assert_eq!(named(&of::<NamenodeArgs>(&[], None), "dir"), (None, "not set"));
        // A fault in the table would show as a panic.
        assert_eq!(table(&settings).lines().count(), settings.len());
    }

    #[test]
    fn the_defaults_in_the_help_are_those_that_hold() {
        let all = of::<NamenodeArgs>(&[], None);
        let settings = all.iter().filter(|setting| !["config", "dir", "init"].contains(&&*setting.name));
        let flags = settings.filter_map(|setting| {
            let value = setting.value.as_deref()?;
            Some(format!("--{}={value}", setting.name))
        });
        let args = NamenodeArgs::try_parse_from(["daemon".to_owned()].into_iter().chain(flags)).expect("valid");
        let (said, held) = (args.cluster.settings(), NamenodeSettings::default());
        assert_eq!(format!("{said:?}"), format!("{held:?}"));
    }

    #[test]
    fn every_daemon_has_it() {
        for settings in [of::<NamenodeArgs>(&[], None), of::<DatanodeArgs>(&[], None), of::<DevArgs>(&[], None)] {
            assert!(settings.len() > 5, "{settings:?}");
        }
    }
}
