//! Permission bits, as people read them.

use super::view::Entry;

const SET_USER_ID: u16 = 0o4000;
const SET_GROUP_ID: u16 = 0o2000;
const STICKY: u16 = 0o1000;

/// Four digits.
pub(super) fn octal(mode: u16) -> String {
    format!("{mode:04o}")
}

/// As `ls -l` shows them, with the kind in front: `drwxr-xr-x` and a blank.
pub(super) fn of_entry(entry: &Entry) -> String {
    let kind = match entry.kind {
        "directory" => 'd',
        "symlink" => 'l',
        _ => '-',
    };
    let mode = u16::from_str_radix(&entry.mode, 8).unwrap_or(0);
    format!("{kind}{}", letters(mode))
}

/// `rwxr-xr-x`, with `s` and `t` where the special bits stand.
fn letters(mode: u16) -> String {
    let mut text = String::with_capacity(9);
    for (shift, special, set, unset) in [(6, SET_USER_ID, 's', 'S'), (3, SET_GROUP_ID, 's', 'S'), (0, STICKY, 't', 'T')]
    {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, mode & special != 0) {
            (true, false) => 'x',
            (false, false) => '-',
            (true, true) => set,
            (false, true) => unset,
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_have_letters() {
        for (mode, expected) in [
            (0o755, "rwxr-xr-x"),
            (0o640, "rw-r-----"),
            (0o1777, "rwxrwxrwt"),
            (0o1776, "rwxrwxrwT"),
            (0o2750, "rwxr-s---"),
            (0o6600, "rwS--S---"),
            (0, "---------"),
        ] {
            assert_eq!(letters(mode), expected);
        }
        assert_eq!((octal(0o7), octal(0o1777)), ("0007".to_owned(), "1777".to_owned()));
    }
}
