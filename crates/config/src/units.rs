//! Durations such as `1h30m` and sizes such as `50MiB`, read and written.

use std::time::Duration;

/// `count` KiB (1,024 octets) in octets.
pub(crate) const fn kib(count: u64) -> u64 {
    count << 10
}
/// `count` MiB in octets.
pub(crate) const fn mib(count: u64) -> u64 {
    count << 20
}
/// `count` GiB in octets.
pub(crate) const fn gib(count: u64) -> u64 {
    count << 30
}
/// A duration of whole milliseconds.
pub(crate) const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}
/// A duration of whole seconds.
pub(crate) const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}
/// A duration of whole minutes.
pub(crate) const fn mins(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}
/// A duration of whole hours.
pub(crate) const fn hours(count: u64) -> Duration {
    Duration::from_secs(count * 3600)
}
/// A duration of days of 24 hours.
pub(crate) const fn days(count: u64) -> Duration {
    Duration::from_secs(count * 86_400)
}

/// Units of time in milliseconds, from large to small.
const TIME: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
/// Units of size in octets, from large to small.
const SIZE: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Splits off leading decimal digits.
fn number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// Reads a duration: numbers with the units `d`, `h`, `m`, `s` and `ms`, from large to small, each at most once, without
/// blanks: `5m`, `1h30m`, `250ms`. `None` if the text is anything else or too large.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut total: u64 = 0;
    let mut rest = text;
    let mut units = TIME.iter();
    while !rest.is_empty() {
        let (count, tail) = number(rest)?;
        let end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (_, factor) = units.find(|(unit, _)| *unit == &tail[..end])?;
        total = total.checked_add(count.checked_mul(*factor)?)?;
        rest = &tail[end..];
    }
    (!text.is_empty()).then(|| Duration::from_millis(total))
}

/// Writes a duration so that [`parse_duration`] reads the same one; what is below a millisecond is cut off.
pub fn format_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, factor) in TIME {
        if rest >= factor {
            text.push_str(&format!("{}{unit}", rest / factor));
            rest %= factor;
        }
    }
    text
}

/// Reads a size: a number with one of the units `B`, `KiB`, `MiB`, `GiB`, `TiB` (powers of 1,024), or without a unit in
/// octets. `None` if the text is anything else or too large.
pub fn parse_size(text: &str) -> Option<u64> {
    let (count, unit) = number(text)?;
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    if unit.is_empty() {
        return Some(count);
    }
    let (_, factor) = SIZE.iter().find(|(name, _)| *name == unit)?;
    count.checked_mul(*factor)
}

/// Writes a size with the largest unit that divides it, so that [`parse_size`] reads the same one.
pub fn format_size(octets: u64) -> String {
    SIZE.iter()
        .find(|(_, factor)| octets != 0 && octets.is_multiple_of(*factor))
        .map_or_else(|| "0B".to_owned(), |(unit, factor)| format!("{}{unit}", octets / factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        assert_eq!(parse_duration("1h30m"), Some(mins(90)));
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_duration("5d"), Some(days(5)));
        assert_eq!(parse_duration("90s"), Some(secs(90)));
        for bad in [
            "",
            "5",
            "m",
            "5x",
            "1m1h",
            "1m1m",
            "-1s",
            "1.5h",
            "5 m",
            "99999999999999999999s",
            "9999999999999999d",
        ] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_are_read() {
        assert_eq!(parse_size("50MiB"), Some(mib(50)));
        assert_eq!(parse_size("4096"), Some(4096));
        assert_eq!(parse_size("19 MiB"), Some(mib(19)));
        for bad in ["", "MiB", "5MB", "5M", "5mib", "-5B", "1.5MiB", "99999999TiB", "5MiBx"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        // A small generator of spread values: multiplication by an odd constant visits all residues.
        let mut state: u64 = 1;
        for shift in (0..64).cycle().take(4096) {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let value = state >> shift;
            let duration = Duration::from_millis(value);
            assert_eq!(parse_duration(&format_duration(duration)), Some(duration), "{value}");
            assert_eq!(parse_size(&format_size(value)), Some(value), "{value}");
        }
        assert_eq!(parse_duration(&format_duration(Duration::ZERO)), Some(Duration::ZERO));
        assert_eq!(format_duration(mins(60)), "1h");
        assert_eq!(format_size(kib(1024)), "1MiB");
    }
}
