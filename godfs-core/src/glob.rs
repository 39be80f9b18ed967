//! Patterns for names, as shells have them.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};
use crate::path::MAX_NAME_BYTES;

/// The longest pattern, in bytes: one name with every byte escaped, and room for sets.
pub const MAX_GLOB_BYTES: usize = 4 * MAX_NAME_BYTES;

/// A pattern for one name: `*` any run of characters, `?` any one, `[ab]`, `[a-z]`, `[!a]` one of a set or not, `\` takes the next
/// character as it is. It covers the whole name.
///
/// Matching takes at most the product of both lengths, and no memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// This character.
    One(char),
    /// Any character.
    Any,
    /// Any characters, or none.
    Run,
    /// One in these ranges, or in none of them.
    Set { ranges: Vec<(char, char)>, not: bool },
}

impl Glob {
    /// Parses `text`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a pattern that is too long, ends in `\`, or has a set that does not end or holds a range from a
    /// later character to an earlier one.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |why: &str| Err(Error::new(ErrorKind::InvalidArgument, format!("pattern {text:?}: {why}")));
        if text.len() > MAX_GLOB_BYTES {
            let message = format!("a pattern of {} bytes, the limit is {MAX_GLOB_BYTES}", text.len());
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let mut parts = Vec::new();
        let mut rest = text.chars();
        while let Some(next) = rest.next() {
            parts.push(match next {
                // Several in a row say no more than one.
                '*' if parts.last() == Some(&Part::Run) => continue,
                '*' => Part::Run,
                '?' => Part::Any,
                '[' => match set(&mut rest) {
                    Ok(set) => set,
                    Err(why) => return refuse(why),
                },
                '\\' => match rest.next() {
                    Some(plain) => Part::One(plain),
                    None => return refuse("ends in \\"),
                },
                plain => Part::One(plain),
            });
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// Whether `text` is a pattern that can match more than one name.
    #[must_use]
    pub fn is_pattern(text: &str) -> bool {
        let mut rest = text.chars();
        while let Some(next) = rest.next() {
            match next {
                '*' | '?' | '[' => return true,
                '\\' => drop(rest.next()),
                _ => {}
            }
        }
        false
    }

    /// The one name that a text means which [is no pattern](Self::is_pattern): without the `\` that protect its characters.
    #[must_use]
    pub fn unescaped(text: &str) -> String {
        let mut rest = text.chars();
        let mut plain = String::with_capacity(text.len());
        while let Some(next) = rest.next() {
            // A last one protects nothing and stands for itself.
            plain.push(if next == '\\' { rest.next().unwrap_or(next) } else { next });
        }
        plain
    }

    /// The pattern as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it covers `name`.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let (mut part, mut rest) = (0, name);
        // Where the last run stands, and what was left of the name when it took its last character. Going back to an earlier run
        // could not help: this one can take all that one could.
        let mut run: Option<(usize, &str)> = None;
        loop {
            match (self.parts.get(part), rest.chars().next()) {
                (Some(Part::Run), _) => {
                    part += 1;
                    run = Some((part, rest));
                    continue;
                }
                (None, None) => return true,
                (Some(one), Some(next)) if one.covers(next) => {
                    part += 1;
                    rest = &rest[next.len_utf8()..];
                    continue;
                }
                _ => {}
            }
            let Some((after, taken)) = run else { return false };
            let mut left = taken.chars();
            if left.next().is_none() {
                return false;
            }
            (part, rest) = (after, left.as_str());
            run = Some((after, rest));
        }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Part {
    fn covers(&self, next: char) -> bool {
        match self {
            Self::One(one) => *one == next,
            Self::Any => true,
            Self::Run => false,
            Self::Set { ranges, not } => ranges.iter().any(|(from, to)| (*from..=*to).contains(&next)) != *not,
        }
    }
}

/// A set, whose `[` was taken. A `]` in front stands for itself.
fn set(rest: &mut std::str::Chars<'_>) -> std::result::Result<Part, &'static str> {
    const OPEN: &str = "a [ has no ]";
    let mut peek = rest.clone();
    let not = matches!(peek.next(), Some('!' | '^'));
    if not {
        rest.next();
    }
    let mut ranges = Vec::new();
    loop {
        let from = match rest.next().ok_or(OPEN)? {
            ']' if !ranges.is_empty() => return Ok(Part::Set { ranges, not }),
            '\\' => rest.next().ok_or(OPEN)?,
            plain => plain,
        };
        let mut ahead = rest.clone();
        let to = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(to)) if to != ']' => {
                *rest = ahead;
                if to == '\\' { rest.next().ok_or(OPEN)? } else { to }
            }
            _ => from,
        };
        if from > to {
            return Err("a range goes from a later character to an earlier one");
        }
        ranges.push((from, to));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_whole_names() {
        for (pattern, yes, no) in [
            ("", &[""][..], &["a"][..]),
            ("a", &["a"], &["", "b", "aa"]),
            ("*", &["", "a", "ü.txt"], &[]),
            ("*.txt", &[".txt", "a.txt", "a.b.txt"], &["txt", "a.txt.gz"]),
            ("a*b*c", &["abc", "aXbYc", "abcbc", "aabbcc"], &["ab", "acb", "abcd"]),
            ("a**b", &["ab", "axxb"], &["a", "b"]),
            ("?", &["a", "ü", "]"], &["", "ab"]),
            ("a?c*", &["abc", "aücd"], &["ac"]),
            ("[abc]", &["a", "c"], &["d", "", "ab"]),
            ("[a-cx]", &["b", "x"], &["d", "-"]),
            ("[!a-c]", &["d"], &["a", ""]),
            ("[]]", &["]"], &["["]),
            ("[a-]", &["a", "-"], &["b"]),
            (r"[\]\-]", &["]", "-"], &["\\"]),
            (r"\*\?\[\\", &["*?[\\"], &["a?[\\"]),
        ] {
            let glob = Glob::parse(pattern).unwrap();
            for name in yes {
                assert!(glob.matches(name), "{pattern} {name}");
            }
            for name in no {
                assert!(!glob.matches(name), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn bad_patterns_are_refused() {
        for bad in ["[", "[a", "[]", "[z-a]", "\\", "a[!", "[\\", &"a".repeat(MAX_GLOB_BYTES + 1)] {
            assert_eq!(Glob::parse(bad).unwrap_err().kind(), ErrorKind::InvalidArgument, "{bad}");
        }
    }

    #[test]
    fn what_protects_a_pattern_is_taken_off() {
        for (text, pattern, plain) in [
            ("a", false, "a"),
            ("a*", true, "a*"),
            (r"a\*", false, "a*"),
            (r"\[a\]", false, "[a]"),
            (r"a\\", false, r"a\"),
        ] {
            assert_eq!(Glob::is_pattern(text), pattern, "{text}");
            if !pattern {
                assert_eq!(Glob::unescaped(text), plain);
                assert!(Glob::parse(text).unwrap().matches(plain));
            }
        }
    }

    /// Exponential matchers take longer than anyone waits.
    #[test]
    fn many_runs_take_no_time() {
        let glob = Glob::parse(&("a*".repeat(120) + "b")).unwrap();
        assert!(!glob.matches(&"a".repeat(255)));
        assert!(glob.matches(&("a".repeat(254) + "b")));
    }
}
