//! Sizes and durations as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Deserializer};

/// A number of bytes: `4096`, `64K`, `128MiB`, `1.5G`. `K`, `M`, `G`, `T` with or without `iB` are powers of 1,024; `KB`, `MB`, `GB`,
/// `TB` are powers of 1,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let refused = || format!("{text:?} is not a size such as 4096, 64K, 128MiB or 1.5G");
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: f64 = number.parse().map_err(|_| refused())?;
        let factor: f64 = match unit.trim().to_ascii_uppercase().as_str() {
            "" | "B" => 1.0,
            "K" | "KIB" => 1024.0,
            "M" | "MIB" => 1024.0 * 1024.0,
            "G" | "GIB" => 1024.0 * 1024.0 * 1024.0,
            "T" | "TIB" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
            "KB" => 1e3,
            "MB" => 1e6,
            "GB" => 1e9,
            "TB" => 1e12,
            _ => return Err(refused()),
        };
        let bytes = number * factor;
        if bytes < 9_007_199_254_740_992.0 { Ok(Self(bytes as u64)) } else { Err(format!("{text:?} is too large")) }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut scaled = self.0;
        let mut unit = 0;
        while scaled >= 1024 && scaled.is_multiple_of(1024) && unit < 4 {
            scaled /= 1024;
            unit += 1;
        }
        write!(f, "{scaled}{}", ["", "KiB", "MiB", "GiB", "TiB"][unit])
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(bytes) => Ok(Self(bytes)),
            Written::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

/// A moment as people write it: `2026-11-24T08:30:00Z`, `2026-11-24 08:30:00`, `2026-11-24` (all in UTC), or seconds since 1970
/// behind an `@`. In milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub u64);

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?} is not a time such as 2026-11-24T08:30:00Z or @1795000000");
        let since = match text.strip_prefix('@') {
            Some(seconds) if seconds.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => {
                let seconds: f64 = seconds.parse().map_err(|_| refused())?;
                Duration::try_from_secs_f64(seconds).map_err(|_| refused())?
            }
            Some(_) => return Err(refused()),
            None => {
                let midnight = format!("{text}T00:00:00Z");
                let moment = humantime::parse_rfc3339_weak(if text.contains([':']) { text } else { &midnight });
                moment.map_err(|_| refused())?.duration_since(UNIX_EPOCH).map_err(|_| refused())?
            }
        };
        u64::try_from(since.as_millis()).map(Self).map_err(|_| refused())
    }
}

/// A duration as people write it: `500ms`, `5s`, `3weeks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text)
            .map(Self)
            .map_err(|error| format!("{text:?} is not a duration such as 500ms or 5s: {error}"))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_shows() {
        for (text, bytes, shown) in [
            ("4096", 4096, "4KiB"),
            ("64K", 65_536, "64KiB"),
            ("128 MiB", 134_217_728, "128MiB"),
            ("1.5g", 1_610_612_736, "1536MiB"),
            ("1GB", 1_000_000_000, "1000000000"),
            ("0", 0, "0"),
        ] {
            let size: ByteSize = text.parse().expect(text);
            assert_eq!((size.0, size.to_string().as_str()), (bytes, shown));
        }
        for text in ["", "K", "-1", "1X", "1..5", "99999999T"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn reads_durations() {
        assert_eq!("500ms".parse(), Ok(Span(Duration::from_millis(500))));
        assert_eq!("3weeks".parse(), Ok(Span(Duration::from_secs(3 * 7 * 86_400))));
        for text in ["", "5", "-1s", "soon"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
