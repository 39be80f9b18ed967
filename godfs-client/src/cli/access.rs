//! `chmod`, `chown`, `chgrp`, `getfacl`, `setfacl`, `getfattr`, `setfattr`: who may do what, and what is known besides.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use godfs_core::namespace::{
    Acl, AclChange, AclEntry, AclSubject, XattrMode, check_principal, parse_acl, parse_acl_subjects,
};
use godfs_core::{DfsPath, Error, ErrorKind, Result};

use super::args::{ChgrpArgs, ChmodArgs, ChownArgs, GetfaclArgs, GetfattrArgs, SetfaclArgs, SetfattrArgs};
use super::context::Context;
use super::failure::{Failure, Outcome};
use super::mode::{self, ModeChange};
use super::output::Output;
use super::view;
use crate::FileStatus;

/// Does something with each of `paths` and, where asked for, with all below them but symbolic links, each directory before what it holds. What fails does not stop the rest.
async fn each(
    context: &Context,
    paths: &[String],
    recursive: bool,
    mut work: impl AsyncFnMut(&DfsPath, &FileStatus) -> Outcome,
) -> Outcome {
    context
        .each(paths, async |path| {
            let path = DfsPath::parse(path)?;
            let status = context.client.stat(&path).await?;
            let directory = status.is_dir();
            work(&path, &status).await?;
            if !(recursive && directory) {
                return Ok(());
            }
            let visit = async |path: DfsPath, status: FileStatus| {
                // What a link leads to may lie elsewhere.
                if status.is_symlink() {
                    return Ok(());
                }
                context.pass(work(&path, &status).await)
            };
            context.each_below(&path, crate::WalkOptions::new(), visit).await
        })
        .await
}

/// Runs `chmod`.
pub(super) async fn chmod(context: &Context, args: &ChmodArgs) -> Outcome {
    let change = ModeChange::parse(&args.mode).map_err(Failure::Usage)?;
    each(context, &args.paths, args.recursive, async |path, status| {
        let mode = change.apply(status.mode, status.is_dir());
        Ok(context.client.set_mode(path, mode).await?)
    })
    .await
}

/// Runs `chown`.
pub(super) async fn chown(context: &Context, args: &ChownArgs) -> Outcome {
    let (user, group) = match args.owner.split_once(':') {
        Some((user, group)) => (user, group),
        None => (args.owner.as_str(), ""),
    };
    set_owner(context, &args.paths, args.recursive, (user, group)).await
}

/// Runs `chgrp`.
pub(super) async fn chgrp(context: &Context, args: &ChgrpArgs) -> Outcome {
    set_owner(context, &args.paths, args.recursive, ("", &args.group)).await
}

/// Empty names leave what is there.
async fn set_owner(context: &Context, paths: &[String], recursive: bool, (user, group): (&str, &str)) -> Outcome {
    let given = |what, name: &'_ str| -> Result<Option<String>> {
        if name.is_empty() {
            return Ok(None);
        }
        check_principal(what, name)?;
        Ok(Some(name.to_owned()))
    };
    let (user, group) = (given("user", user)?, given("group", group)?);
    if user.is_none() && group.is_none() {
        return Err(Failure::Usage("no user or group is named".to_owned()));
    }
    each(context, paths, recursive, async |path, _| {
        Ok(context.client.set_owner(path, user.as_deref(), group.as_deref()).await?)
    })
    .await
}

/// Runs `getfacl`.
pub(super) async fn getfacl(context: &Context, args: &GetfaclArgs, output: &mut Output) -> Outcome {
    let mut first = true;
    each(context, &args.paths, args.recursive, async |path, _| {
        let acl = context.client.acl(path).await?;
        if output.json() {
            return output.object(&view::Acl {
                path: path.to_string(),
                user: acl.owner.user.clone(),
                group: acl.owner.group.clone(),
                mode: mode::octal(acl.owner.mode),
                entries: acl.entries.iter().map(ToString::to_string).collect(),
            });
        }
        // Lists of several are told apart by an empty line.
        if !std::mem::take(&mut first) {
            output.line("")?;
        }
        output.line(&acl_text(path, &acl))
    })
    .await
}

/// As getfacl(1) prints it, and setfacl reads it.
fn acl_text(path: &DfsPath, acl: &Acl) -> String {
    let mut text = format!("# file: {path}\n# owner: {}\n# group: {}", acl.owner.user, acl.owner.group);
    let special = acl.owner.mode >> 9;
    if special != 0 {
        let letter = |bit: u16, letter: char| if special & bit != 0 { letter } else { '-' };
        text += &format!("\n# flags: {}{}{}", letter(4, 's'), letter(2, 's'), letter(1, 't'));
    }
    for entry in &acl.entries {
        text += &format!("\n{entry}");
        let masked = entry.place.subject.name().is_some() || entry.place.subject == AclSubject::Group;
        let mask =
            |other: &&AclEntry| other.place.default == entry.place.default && other.place.subject == AclSubject::Mask;
        if let Some(mask) = acl.entries.iter().find(mask).filter(|mask| masked && entry.rights & !mask.rights != 0) {
            let effective = AclEntry { rights: entry.rights & mask.rights, ..entry.clone() }.to_string();
            text += &format!("\t#effective:{}", &effective[effective.len() - 3..]);
        }
    }
    text
}

/// Runs `setfacl`.
pub(super) async fn setfacl(context: &Context, args: &SetfaclArgs) -> Outcome {
    let mut changes = Vec::new();
    if args.remove_all {
        changes.push(AclChange::RemoveAll);
    }
    if args.remove_default {
        changes.push(AclChange::RemoveDefault);
    }
    if let Some(text) = &args.set {
        changes.push(AclChange::Replace(parse_acl(text)?));
    }
    if let Some(text) = &args.remove {
        changes.push(AclChange::Remove(parse_acl_subjects(text)?));
    }
    if let Some(text) = &args.modify {
        changes.push(AclChange::Modify(parse_acl(text)?));
    }
    each(context, &args.paths, args.recursive, async |path, status| {
        for change in &changes {
            if let Some(change) = fitting(change, args.recursive && !status.is_dir()) {
                context.client.set_acl(path, &change).await?;
            }
        }
        Ok(())
    })
    .await
}

/// A change without what is about default lists, where `plain` says that these do not matter: files on the way through a tree have none. `None` when nothing is left.
fn fitting(change: &AclChange, plain: bool) -> Option<AclChange> {
    if !plain {
        return Some(change.clone());
    }
    let access =
        |entries: &[AclEntry]| -> Vec<_> { entries.iter().filter(|entry| !entry.place.default).cloned().collect() };
    let change = match change {
        AclChange::Modify(entries) => AclChange::Modify(access(entries)),
        AclChange::Replace(entries) => AclChange::Replace(access(entries)),
        AclChange::Remove(places) => AclChange::Remove(places.iter().filter(|place| !place.default).cloned().collect()),
        AclChange::RemoveDefault => return None,
        AclChange::RemoveAll => AclChange::RemoveAll,
    };
    match &change {
        AclChange::Modify(entries) if entries.is_empty() => None,
        AclChange::Remove(places) if places.is_empty() => None,
        _ => Some(change),
    }
}

/// Runs `getfattr`.
pub(super) async fn getfattr(context: &Context, args: &GetfattrArgs, output: &mut Output) -> Outcome {
    each(context, &args.paths, args.recursive, async |path, _| {
        let client = &context.client;
        let found = match &args.name {
            Some(name) => vec![(name.clone(), client.xattr(path, name).await?)],
            None => client.xattrs(path).await?,
        };
        if output.json() {
            let attributes = found.iter().map(|(name, value)| view::Xattr {
                name: name.clone(),
                value: std::str::from_utf8(value).ok().map(str::to_owned),
                base64: STANDARD.encode(value),
            });
            return output.object(&view::Xattrs { path: path.to_string(), attributes: attributes.collect() });
        }
        if args.only_values {
            return found.iter().try_for_each(|(_, value)| output.bytes(value));
        }
        // Nothing is said of what has none.
        if found.is_empty() {
            return Ok(());
        }
        let mut text = format!("# file: {path}\n");
        for (name, value) in &found {
            let shown = if args.dump || args.name.is_some() {
                format!("{name}={}\n", shown(value))
            } else {
                format!("{name}\n")
            };
            text += &shown;
        }
        output.line(&text)
    })
    .await
}

/// In quotes where it is text, else `0s` and base64, as [`value_of`] reads it.
fn shown(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) if !text.contains(char::is_control) => {
            format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
        }
        _ => format!("0s{}", STANDARD.encode(value)),
    }
}

/// Runs `setfattr`.
pub(super) async fn setfattr(context: &Context, args: &SetfattrArgs) -> Outcome {
    let value = args.value.as_deref().map_or_else(|| Ok(Bytes::new()), value_of)?;
    let mode = match (args.create, args.replace) {
        (true, _) => XattrMode::Create,
        (_, true) => XattrMode::Replace,
        _ => XattrMode::Any,
    };
    each(context, &args.paths, args.recursive, async |path, _| {
        let client = &context.client;
        match (&args.name, &args.remove) {
            (Some(name), _) => Ok(client.set_xattr(path, name, value.clone(), mode).await?),
            (None, Some(name)) => Ok(client.remove_xattr(path, name).await?),
            (None, None) => Ok(()),
        }
    })
    .await
}

/// A value as it is written on the command line: hexadecimal after `0x`, base64 after `0s`, else text, in quotes or not.
fn value_of(text: &str) -> Result<Bytes> {
    let bad = |why: String| Error::new(ErrorKind::InvalidArgument, format!("the value {text:?} {why}"));
    if let Some(encoded) = text.strip_prefix("0s") {
        return STANDARD.decode(encoded).map(Bytes::from).map_err(|error| bad(format!("is no base64: {error}")));
    }
    if let Some(digits) = text.strip_prefix("0x") {
        let bytes: Option<Vec<u8>> = (digits.len().is_multiple_of(2) && digits.is_ascii())
            .then(|| {
                digits
                    .as_bytes()
                    .chunks(2)
                    .map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()))
                    .collect()
            })
            .flatten();
        return bytes.map(Bytes::from).ok_or_else(|| bad("is no hexadecimal".to_owned()));
    }
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(quoted) => Ok(quoted.replace("\\\"", "\"").replace("\\\\", "\\").into()),
        None => Ok(text.to_owned().into()),
    }
}

#[cfg(test)]
mod tests {
    use godfs_core::namespace::Owner;

    use super::*;

    #[test]
    fn values_are_read_as_they_are_shown() {
        for value in [&b""[..], b"text", b"with \"quotes\" and \\", b"\xff\x00", "\u{e4}".as_bytes(), b"line\n"] {
            assert_eq!(value_of(&shown(value)).expect("valid"), value, "{}", shown(value));
        }
        assert_eq!(value_of("0x00ff").expect("valid"), &[0, 255][..]);
        for text in ["0x0", "0xgg", "0s?", "0x\u{e4}"] {
            assert_eq!(value_of(text).expect_err(text).kind(), ErrorKind::InvalidArgument);
        }
    }

    #[test]
    fn lists_look_as_elsewhere() {
        let acl = Acl {
            owner: Owner { user: "a".into(), group: "g".into(), mode: 0o3740 },
            entries: parse_acl("user::rwx,user:b:rwx,group::r-x,mask::r--,other::---,default:user::rwx")
                .expect("valid"),
        };
        let expected = "# file: /d\n# owner: a\n# group: g\n# flags: -st\nuser::rwx\nuser:b:rwx\t#effective:r--\ngroup::r-x\t#effective:r--\nmask::r--\nother::---\ndefault:user::rwx";
        assert_eq!(acl_text(&DfsPath::parse("/d").expect("valid"), &acl), expected);
    }

    #[test]
    fn files_in_a_tree_are_spared_what_only_directories_have() {
        let change = AclChange::Modify(parse_acl("user:b:r--,default:user:b:r--").expect("valid"));
        assert_eq!(fitting(&change, false).as_ref(), Some(&change));
        assert_eq!(fitting(&change, true), Some(AclChange::Modify(parse_acl("user:b:r--").expect("valid"))));
        let default = AclChange::Modify(parse_acl("default:user:b:r--").expect("valid"));
        assert_eq!((fitting(&default, true), fitting(&AclChange::RemoveDefault, true)), (None, None));
    }
}
