//! Permission bits, as people read and write them.

use super::view::Entry;

const SET_USER_ID: u16 = 0o4000;
const SET_GROUP_ID: u16 = 0o2000;
const STICKY: u16 = 0o1000;
/// The clauses of one symbolic change that are read; nobody writes more.
const MAX_CLAUSES: usize = 100;
/// What is changed where nobody is named, as with chmod(1), leaves these bits.
const UMASK: u16 = 0o022;

/// A change of permission bits, as chmod(1) takes it: octal, or such as `u=rwX,g-w,+t`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ModeChange {
    To(u16),
    By(Vec<Clause>),
}

/// `ugoa`, an operator, and letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Clause {
    /// The bits that belong to those named; 0 when nobody is.
    whose: u16,
    operator: char,
    letters: String,
}

impl ModeChange {
    /// Reads one; what is wrong with it, for people, otherwise.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is no mode: it is octal, such as 750, or symbolic, such as u=rwx,g-w,o=");
        if text.starts_with(|first: char| first.is_ascii_digit()) {
            let mode = u16::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
            return mode.map(Self::To).ok_or_else(bad);
        }
        let mut clauses = Vec::new();
        for part in text.split(',') {
            let end = part.find(['+', '-', '=']).ok_or_else(bad)?;
            let (named, mut rest) = part.split_at(end);
            let mut whose = 0;
            for letter in named.chars() {
                whose |= match letter {
                    'u' => 0o4700,
                    'g' => 0o2070,
                    'o' => 0o1007,
                    'a' => 0o7777,
                    _ => return Err(bad()),
                };
            }
            // Several operators may follow one another: `u+x-w`.
            while let Some(operator) = rest.chars().next() {
                let after = &rest[1..];
                let end = after.find(['+', '-', '=']).unwrap_or(after.len());
                let letters = &after[..end];
                let copies = matches!(letters, "u" | "g" | "o");
                if !copies && letters.contains(|letter| !"rwxXst".contains(letter)) || clauses.len() == MAX_CLAUSES {
                    return Err(bad());
                }
                clauses.push(Clause { whose, operator, letters: letters.to_owned() });
                rest = &after[end..];
            }
        }
        Ok(Self::By(clauses))
    }

    /// The bits that come of `mode`.
    pub(super) fn apply(&self, mode: u16, directory: bool) -> u16 {
        match self {
            Self::To(mode) => *mode,
            Self::By(clauses) => clauses.iter().fold(mode, |mode, clause| clause.apply(mode, directory)),
        }
    }
}

impl Clause {
    fn apply(&self, mode: u16, directory: bool) -> u16 {
        let (whose, left) = if self.whose == 0 { (0o7777, UMASK) } else { (self.whose, 0) };
        let mut bits = 0;
        for letter in self.letters.chars() {
            bits |= match letter {
                'r' => 0o444,
                'w' => 0o222,
                'x' => 0o111,
                // For directories, and for files that somebody may execute already.
                'X' if directory || mode & 0o111 != 0 => 0o111,
                's' => SET_USER_ID | SET_GROUP_ID,
                't' => STICKY,
                'u' => (mode >> 6 & 7) * 0o111,
                'g' => (mode >> 3 & 7) * 0o111,
                'o' => (mode & 7) * 0o111,
                _ => 0,
            };
        }
        let bits = bits & whose & !left;
        match self.operator {
            '+' => mode | bits,
            '-' => mode & !bits,
            _ => {
                // A directory keeps the bits that it hands on, unless they are named.
                let kept = if directory { SET_USER_ID | SET_GROUP_ID } else { 0 };
                mode & !(whose & !kept) | bits
            }
        }
    }
}

/// Four digits.
pub(super) fn octal(mode: u16) -> String {
    format!("{mode:04o}")
}

/// As `ls -l` shows them, with the kind in front, and a plus where there is an access control list: `drwxr-xr-x+`.
pub(super) fn of_entry(entry: &Entry) -> String {
    let kind = match entry.kind {
        "directory" => 'd',
        "symlink" => 'l',
        _ => '-',
    };
    let mode = u16::from_str_radix(&entry.mode, 8).unwrap_or(0);
    format!("{kind}{}{}", letters(mode), if entry.acl { "+" } else { "" })
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
    fn changes_are_those_of_chmod() {
        for (text, mode, directory, expected) in [
            ("750", 0o1777, false, 0o750),
            ("02755", 0, true, 0o2755),
            ("0", 0o7777, true, 0),
            ("u+x", 0o644, false, 0o744),
            ("go-rwx", 0o755, false, 0o700),
            ("a=r", 0o6777, false, 0o444),
            ("a=r", 0o6777, true, 0o6444),
            ("u=rwx,g=rx,o=", 0o7, false, 0o750),
            ("g=u,o=g", 0o640, false, 0o666),
            ("u+x-w", 0o644, false, 0o544),
            ("+x", 0o644, false, 0o755),
            ("+w", 0o444, false, 0o644),
            ("a+X", 0o644, false, 0o644),
            ("a+X", 0o744, false, 0o755),
            ("a+X", 0o644, true, 0o755),
            ("+t,g+s", 0o777, true, 0o3777),
            ("u-s,o-t", 0o5777, true, 0o777),
            ("u=", 0o4755, false, 0o055),
        ] {
            let change = ModeChange::parse(text).expect(text);
            assert_eq!(change.apply(mode, directory), expected, "{text} of {mode:o}");
        }
        let many = vec!["u+x"; 101].join(",");
        for text in ["", "8", "77777", "10000", "rwx", "u+q", "z+x", "u+x,", "u+ug", "+\u{e4}", &many] {
            ModeChange::parse(text).expect_err(text);
        }
    }

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
