//! Who the process runs as, on Unix. Names come from the two files that every system has; directory services are not asked, since that takes the C
//! library's resolver.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use rustix::process::{getegid, geteuid, getgroups};

/// The most bytes of a file of names that are read; larger ones belong to a directory service.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// The name of the user, where it is known, and those of the groups, the one of new files first.
pub(super) fn user_and_groups() -> (Option<String>, Vec<String>) {
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    let mut numbers = vec![group];
    numbers.extend(
        getgroups().unwrap_or_default().into_iter().map(rustix::process::Gid::as_raw).filter(|&other| other != group),
    );
    let users = File::open("/etc/passwd").map_or_else(|_| vec![None], |file| names(file, &[user]));
    let groups = File::open("/etc/group").map_or_else(|_| vec![None; numbers.len()], |file| names(file, &numbers));
    let groups = groups.into_iter().zip(numbers).map(|(name, number)| name.unwrap_or_else(|| number.to_string()));
    (users.into_iter().next().flatten(), groups.collect())
}

/// The names of `numbers` in a file of lines `name:…:number:…`.
fn names(file: impl Read, numbers: &[u32]) -> Vec<Option<String>> {
    let mut names = vec![None; numbers.len()];
    for line in BufReader::new(file.take(MAX_FILE_BYTES)).split(b'\n').map_while(Result::ok) {
        let Ok(line) = String::from_utf8(line) else { continue };
        let mut fields = line.split(':');
        let (name, number) = (fields.next(), fields.nth(1).and_then(|number| number.parse::<u32>().ok()));
        let (Some(name), Some(number)) = (name, number) else { continue };
        for (at, _) in numbers.iter().enumerate().filter(|(_, wanted)| **wanted == number) {
            // As everywhere, the first line counts.
            names[at].get_or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_get_their_names() {
        let file = "root:x:0:\n\n# note\nbad\nstaff:x:50:a,b\nother:x:50:\n\u{e4}:x:7:\n+::::\n";
        let found = names(file.as_bytes(), &[50, 0, 9]);
        assert_eq!(found, [Some("staff".to_owned()), Some("root".to_owned()), None]);
        assert_eq!(names(&b"\xff:x:1:\nok:x:1:"[..], &[1]), [Some("ok".to_owned())]);
    }
}
