//! Numbers and times for people.

use std::time::{Duration, UNIX_EPOCH};

/// Bytes: all digits, or, for people, three of them and a unit of 1,024s: `512`, `1.5K`, `12G`.
pub(super) fn size(bytes: u64, human: bool) -> String {
    if human { short_size(bytes) } else { bytes.to_string() }
}

/// Bytes in a unit of 1,024s: `512`, `1.5K`, `12G`. Rounded up, so that what is not empty does not look so.
pub(super) fn short_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["", "K", "M", "G", "T", "P", "E"];
    if bytes < 1024 {
        return bytes.to_string();
    }
    let mut unit = usize::try_from(bytes.ilog2() / 10).unwrap_or(0);
    let mut tenths = (u128::from(bytes) * 10).div_ceil(1 << (10 * unit));
    if tenths > 10_230 && unit + 1 < UNITS.len() {
        unit += 1;
        tenths = (u128::from(bytes) * 10).div_ceil(1 << (10 * unit));
    }
    if tenths < 100 {
        format!("{}.{}{}", tenths / 10, tenths % 10, UNITS[unit])
    } else {
        format!("{}{}", tenths.div_ceil(10), UNITS[unit])
    }
}

/// A moment, given in milliseconds since 1970, to the second, UTC: `2026-01-31T12:00:00Z`.
pub(super) fn time(ms: u64) -> String {
    /// 9999-12-31T23:59:59Z, the last that has four digits of year.
    const LAST_SECOND: u64 = 253_402_300_799;
    let moment = UNIX_EPOCH + Duration::from_secs((ms / 1_000).min(LAST_SECOND));
    humantime::format_rfc3339_seconds(moment).to_string()
}

/// A share in whole percent, rounded up as `df` does; `-` of nothing.
pub(super) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    format!("{}%", (u128::from(part) * 100).div_ceil(u128::from(whole)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_keep_their_digits() {
        for (bytes, shown) in [
            (0, "0"),
            (1023, "1023"),
            (1024, "1.0K"),
            (1025, "1.1K"),
            (1536, "1.5K"),
            (10 << 10, "10K"),
            ((1 << 20) - 1, "1.0M"),
            (128 << 20, "128M"),
            (1 << 30, "1.0G"),
            (u64::MAX, "16E"),
        ] {
            assert_eq!(short_size(bytes), shown, "{bytes}");
        }
        assert_eq!(size(1536, false), "1536");
        assert_eq!(size(1536, true), "1.5K");
    }

    #[test]
    fn times_and_shares() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(1_767_225_600_999), "2026-01-01T00:00:00Z");
        assert_eq!(time(u64::MAX), "9999-12-31T23:59:59Z");
        assert_eq!((percent(0, 0).as_str(), percent(1, 1_000).as_str(), percent(5, 5).as_str()), ("-", "1%", "100%"));
    }
}
