//! Dates of the protocol: `date-time` of APPEND and INTERNALDATE, `date` of SEARCH, and the Date field of a message.

use crate::scan::{Scanned, Scanner, syntax};
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::Offset;
use std::fmt;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A moment and the zone in which it was written. Prints as RFC 9051's date-time without the quotes:
/// `17-Jul-1996 02:44:25 -0700`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InternalDate {
    timestamp: Timestamp,
    offset_minutes: i16,
}

impl InternalDate {
    /// A moment, written in UTC.
    pub fn utc(timestamp: Timestamp) -> Self {
        Self { timestamp, offset_minutes: 0 }
    }

    /// A moment and its zone's offset east of Greenwich in minutes; `None` beyond a day.
    pub fn new(timestamp: Timestamp, offset_minutes: i16) -> Option<Self> {
        (offset_minutes.unsigned_abs() < 24 * 60).then_some(Self { timestamp, offset_minutes })
    }

    /// Parses `d-Mon-yyyy hh:mm:ss +hhmm`, the day with one digit, two, or a space and one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut scanner = Scanner::new(text.as_bytes(), 1);
        let date = scan_date_time_text(&mut scanner).ok()?;
        scanner.finish().ok().map(|()| date)
    }

    /// The moment.
    pub fn timestamp(self) -> Timestamp {
        self.timestamp
    }

    /// Minutes east of Greenwich.
    pub fn offset_minutes(self) -> i16 {
        self.offset_minutes
    }

    /// The day in the date's own zone: what BEFORE, ON and SINCE compare (RFC 9051 §6.4.4).
    pub fn date(self) -> Date {
        self.civil().date()
    }

    fn civil(self) -> DateTime {
        let seconds = i32::from(self.offset_minutes) * 60;
        Offset::from_seconds(seconds).unwrap_or(Offset::UTC).to_datetime(self.timestamp)
    }
}

impl fmt::Display for InternalDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let civil = self.civil();
        let month = MONTHS[usize::from(civil.month().unsigned_abs().clamp(1, 12)) - 1];
        let sign = if self.offset_minutes < 0 { '-' } else { '+' };
        let offset = self.offset_minutes.unsigned_abs();
        write!(
            f,
            "{:>2}-{month}-{:04} {:02}:{:02}:{:02} {sign}{:02}{:02}",
            civil.day(),
            civil.year().max(0),
            civil.hour(),
            civil.minute(),
            civil.second(),
            offset / 60,
            offset % 60
        )
    }
}

/// The Date field of a message (RFC 5322 §3.3, with the obsolete forms), for SENTBEFORE, SENTON and SENTSINCE.
/// The value is what follows the colon; `None` if it is no date.
pub fn parse_message_date(value: &[u8]) -> Option<InternalDate> {
    let text = String::from_utf8_lossy(value.get(..value.len().min(512))?);
    let parsed = mail_parser::DateTime::parse_rfc822(text.trim())?;
    let civil = DateTime::new(
        i16::try_from(parsed.year).ok()?,
        i8::try_from(parsed.month).ok()?,
        i8::try_from(parsed.day).ok()?,
        i8::try_from(parsed.hour).ok()?,
        i8::try_from(parsed.minute).ok()?,
        i8::try_from(parsed.second).ok()?.min(59),
        0,
    )
    .ok()?;
    let offset = i16::from(parsed.tz_hour) * 60 + i16::from(parsed.tz_minute);
    from_civil(civil, if parsed.tz_before_gmt { -offset } else { offset })
}

fn from_civil(civil: DateTime, offset_minutes: i16) -> Option<InternalDate> {
    let offset = Offset::from_seconds(i32::from(offset_minutes) * 60).ok()?;
    InternalDate::new(offset.to_timestamp(civil).ok()?, offset_minutes)
}

/// `"17-Jul-1996 02:44:25 -0700"` with its quotes.
pub(crate) fn scan_date_time(scanner: &mut Scanner<'_>) -> Scanned<InternalDate> {
    scanner.expect(b'"', "a date is missing")?;
    let date = scan_date_time_text(scanner)?;
    scanner.expect(b'"', "the date is malformed")?;
    Ok(date)
}

fn scan_date_time_text(scanner: &mut Scanner<'_>) -> Scanned<InternalDate> {
    const MALFORMED: &str = "the date is malformed";
    scanner.eat(b' ');
    let date = scan_date_text(scanner)?;
    scanner.space()?;
    let hour = scan_digits(scanner, 2)?;
    scanner.expect(b':', MALFORMED)?;
    let minute = scan_digits(scanner, 2)?;
    scanner.expect(b':', MALFORMED)?;
    let second = scan_digits(scanner, 2)?;
    scanner.space()?;
    let east = if scanner.eat(b'+') {
        1
    } else {
        scanner.expect(b'-', MALFORMED)?;
        -1
    };
    let zone = scan_digits(scanner, 4)?;
    if zone % 100 > 59 || zone > 2359 || second > 60 {
        return syntax(MALFORMED);
    }
    let small = |value: i16| i8::try_from(value).unwrap_or(i8::MAX);
    // A leap second is written as the second before it: the calendar here has none.
    DateTime::new(
        date.year(),
        date.month(),
        date.day(),
        small(hour),
        small(minute),
        small(second.min(59)),
        0,
    )
    .ok()
    .and_then(|civil| from_civil(civil, east * (zone / 100 * 60 + zone % 100)))
    .map_or(syntax(MALFORMED), Ok)
}

/// `1-Feb-1994`, with or without quotes.
pub(crate) fn scan_date(scanner: &mut Scanner<'_>) -> Scanned<Date> {
    let quoted = scanner.eat(b'"');
    let date = scan_date_text(scanner)?;
    if quoted {
        scanner.expect(b'"', "the date is malformed")?;
    }
    Ok(date)
}

fn scan_date_text(scanner: &mut Scanner<'_>) -> Scanned<Date> {
    const MALFORMED: &str = "the date is malformed";
    let day = scanner.take_while(|octet| octet.is_ascii_digit());
    let day = match day {
        [_] | [_, _] => day.iter().fold(0i8, |sum, digit| sum * 10 + (digit - b'0') as i8),
        _ => return syntax(MALFORMED),
    };
    scanner.expect(b'-', MALFORMED)?;
    let name = scanner.take_while(|octet| octet.is_ascii_alphabetic());
    let month = MONTHS.iter().position(|month| month.as_bytes().eq_ignore_ascii_case(name));
    scanner.expect(b'-', MALFORMED)?;
    let year = scan_digits(scanner, 4)?;
    let month = month.and_then(|index| i8::try_from(index + 1).ok()).unwrap_or_default();
    Date::new(year, month, day).or(syntax(MALFORMED))
}

/// Exactly `count` digits (at most four).
fn scan_digits(scanner: &mut Scanner<'_>, count: usize) -> Scanned<i16> {
    let digits = scanner.take_while(|octet| octet.is_ascii_digit());
    if digits.len() != count {
        return syntax("the date is malformed");
    }
    Ok(digits.iter().fold(0, |sum, digit| sum * 10 + i16::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn internal_dates() {
        let date = InternalDate::parse("17-Jul-1996 02:44:25 -0700").unwrap();
        assert_eq!(date.timestamp().to_string(), "1996-07-17T09:44:25Z");
        assert_eq!(date.to_string(), "17-Jul-1996 02:44:25 -0700");
        assert_eq!(
            InternalDate::parse(" 1-Feb-1994 00:00:00 +0130").unwrap().to_string(),
            " 1-Feb-1994 00:00:00 +0130"
        );
        assert_eq!(
            InternalDate::parse("1-feb-1994 23:59:60 +0000").unwrap().to_string(),
            " 1-Feb-1994 23:59:59 +0000"
        );
        for bad in [
            "31-Feb-1994 00:00:00 +0000",
            "1-Foo-1994 00:00:00 +0000",
            "1-Feb-94 00:00:00 +0000",
            "1-Feb-1994 24:00:00 +0000",
            "1-Feb-1994 00:00:00 0000",
            "1-Feb-1994 00:00:00 +2400",
            "1-Feb-1994 00:00:00 +0060",
            "1-Feb-1994",
            "",
        ] {
            assert_eq!(InternalDate::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_day_is_the_zones() {
        let date = InternalDate::parse("17-Jul-1996 23:44:25 -0700").unwrap();
        assert_eq!(date.date(), Date::constant(1996, 7, 17));
        assert_eq!(InternalDate::utc(date.timestamp()).date(), Date::constant(1996, 7, 18));
    }

    #[test]
    fn message_dates() {
        let date = parse_message_date(b" Mon, 7 Feb 1994 21:52:25 -0800 (PST)\r\n").unwrap();
        assert_eq!(date.to_string(), " 7-Feb-1994 21:52:25 -0800");
        for bad in [&b"yesterday"[..], b"", b"\xff\xfe", b"99 Foo 99999 99:99:99 +9999"] {
            assert_eq!(parse_message_date(bad), None);
        }
    }

    proptest! {
        #[test]
        fn dates_round_trip(seconds in -60_000_000_000i64..250_000_000_000, offset in -1439i16..1440) {
            let date = InternalDate::new(Timestamp::from_second(seconds).unwrap(), offset).unwrap();
            prop_assert_eq!(InternalDate::parse(&date.to_string()), Some(date));
        }

        #[test]
        fn message_dates_never_panic(value in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse_message_date(&value);
        }
    }
}
