//! The header of the PROXY protocol, versions 1 and 2: who the client of a load balancer is.
//!
//! [`HeaderReader`] is fed the first octets of a connection and says how many more it surely needs, so that none of what
//! follows the header (a TLS handshake, say) is ever taken away from the stream. It does no I/O. What it does not do:
//! it decides about nobody's trust, and it passes over the TLVs of version 2 without a look at them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What version 2 begins with (section 2.2 of the specification).
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// What version 1 begins with (section 2.1).
const WORD: &[u8] = b"PROXY ";
/// Shortest header of all: `PROXY UNKNOWN` CRLF. Version 2 has 16 octets at least.
const SHORTEST: usize = 15;
/// Longest header of version 1 with its CRLF, as the specification says.
const LONGEST_V1: usize = 107;
/// Octets of version 2 before its addresses.
const FIXED_V2: usize = 16;
/// Most octets of addresses and TLVs. The length field would allow 65,535; certificates of clients, which are the longest
/// TLVs in use, fit.
const LONGEST_V2: usize = 4096;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyHeader {
    /// The client's address, as the load balancer saw it; IPv4 as IPv4.
    Client(SocketAddr),
    /// It is about the load balancer itself (LOCAL, a health check), or about something that has no IP address (UNKNOWN,
    /// UNSPEC, a Unix socket): the connection's own address counts.
    Own,
}

/// Why something is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ProxyError {
    /// The connection does not begin with a header.
    #[error("there is no PROXY header")]
    Missing,
    /// It begins like one and is malformed.
    #[error("the PROXY header is malformed")]
    Malformed,
    /// A version, command, address family or transport that is not known, or not TCP.
    #[error("the PROXY header is of an unknown kind")]
    Unsupported,
    /// It is longer than it may be.
    #[error("the PROXY header is too long")]
    TooLong,
}

/// How far a reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyProgress {
    /// The header has at least so many octets more; never 0.
    Needs(usize),
    /// The header is whole.
    Done(ProxyHeader),
}

/// Reads one header from octets that come in pieces.
#[derive(Debug, Default)]
pub struct HeaderReader {
    held: Vec<u8>,
}

impl HeaderReader {
    /// Octets that every header has at least: what to read first.
    pub const FIRST: usize = SHORTEST;

    /// A reader at the beginning of a connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes octets: as many as were asked for, or fewer. More than that would be lost.
    ///
    /// # Errors
    /// What came is no header.
    pub fn feed(&mut self, octets: &[u8]) -> Result<ProxyProgress, ProxyError> {
        self.held.extend_from_slice(octets);
        let held = self.held.as_slice();
        let like = |start: &[u8]| held.iter().zip(start).all(|(a, b)| a == b);
        if like(&SIGNATURE) {
            version_2(held)
        } else if like(WORD) {
            version_1(held)
        } else {
            Err(ProxyError::Missing)
        }
    }
}

/// `PROXY TCP4 source destination port port` CRLF.
fn version_1(held: &[u8]) -> Result<ProxyProgress, ProxyError> {
    if held.len() < SHORTEST {
        return Ok(ProxyProgress::Needs(SHORTEST - held.len()));
    }
    let Some(end) = held.iter().position(|byte| *byte == b'\n') else {
        let needs = if held.ends_with(b"\r") { 1 } else { 2 };
        return if held.len() + needs > LONGEST_V1 {
            Err(ProxyError::TooLong)
        } else {
            Ok(ProxyProgress::Needs(needs))
        };
    };
    let line = held[..end].strip_suffix(b"\r").filter(|_| end + 1 == held.len());
    let line = line.and_then(|line| std::str::from_utf8(line).ok()).ok_or(ProxyError::Malformed)?;
    line_of_version_1(line).map(ProxyProgress::Done)
}

fn line_of_version_1(line: &str) -> Result<ProxyHeader, ProxyError> {
    let mut words = line.split(' ').skip(1);
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        // What follows is to be ignored.
        return Ok(ProxyHeader::Own);
    }
    let rest: Vec<&str> = words.collect();
    let [source, destination, port, other_port] = rest.as_slice() else {
        return Err(ProxyError::Malformed);
    };
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    if !matches!(family, "TCP4" | "TCP6") {
        return Err(ProxyError::Unsupported);
    }
    let (Some(ip), Some(_), Some(port), Some(_)) =
        (address(source), address(destination), port_number(port), port_number(other_port))
    else {
        return Err(ProxyError::Malformed);
    };
    Ok(ProxyHeader::Client(SocketAddr::new(ip.to_canonical(), port)))
}

/// A port in decimal without a zero in front.
fn port_number(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits && (text.len() == 1 || !text.starts_with('0')))
}

/// Sixteen fixed octets, then addresses and TLVs of the length that they tell.
fn version_2(held: &[u8]) -> Result<ProxyProgress, ProxyError> {
    // All reads before the fixed part is whole ask for no more than the shortest header of either version.
    if held.len() < SHORTEST {
        return Ok(ProxyProgress::Needs(SHORTEST - held.len()));
    }
    let Some((fixed, rest)) = held.split_first_chunk::<FIXED_V2>() else {
        return Ok(ProxyProgress::Needs(FIXED_V2 - held.len()));
    };
    let [.., command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if command >> 4 != 2 {
        return Err(ProxyError::Unsupported);
    }
    if length > LONGEST_V2 {
        return Err(ProxyError::TooLong);
    }
    match length.checked_sub(rest.len()) {
        Some(0) => {}
        Some(needs) => return Ok(ProxyProgress::Needs(needs)),
        None => return Err(ProxyError::Malformed),
    }
    let header = match command & 0xf {
        0 => ProxyHeader::Own,
        1 => source_of_version_2(family, rest)?,
        _ => return Err(ProxyError::Unsupported),
    };
    Ok(ProxyProgress::Done(header))
}

fn source_of_version_2(family: u8, addresses: &[u8]) -> Result<ProxyHeader, ProxyError> {
    let client = |ip: IpAddr, port: [u8; 2]| {
        ProxyHeader::Client(SocketAddr::new(ip.to_canonical(), u16::from_be_bytes(port)))
    };
    match family {
        0x00 => Ok(ProxyHeader::Own),
        // TCP over IPv4: two addresses, two ports.
        0x11 => {
            let [a, b, c, d, _, _, _, _, high, low, _, _, ..] = *addresses else {
                return Err(ProxyError::Malformed);
            };
            Ok(client(Ipv4Addr::new(a, b, c, d).into(), [high, low]))
        }
        // TCP over IPv6.
        0x21 => {
            let Some((all, _)) = addresses.split_first_chunk::<36>() else {
                return Err(ProxyError::Malformed);
            };
            let Some(ip) = all.first_chunk::<16>() else { return Err(ProxyError::Malformed) };
            Ok(client(Ipv6Addr::from(*ip).into(), [all[32], all[33]]))
        }
        // A Unix socket of streams has no address that could matter here.
        0x31 if addresses.len() >= 216 => Ok(ProxyHeader::Own),
        0x31 => Err(ProxyError::Malformed),
        _ => Err(ProxyError::Unsupported),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds exactly what is asked for; the header and what was not read.
    fn read(mut octets: &[u8]) -> (Result<ProxyHeader, ProxyError>, &[u8]) {
        let (mut reader, mut needs) = (HeaderReader::new(), SHORTEST);
        loop {
            let Some((now, rest)) = octets.split_at_checked(needs) else {
                return (Err(ProxyError::Missing), octets);
            };
            octets = rest;
            match reader.feed(now) {
                Ok(ProxyProgress::Needs(more)) => {
                    assert!(more > 0);
                    needs = more;
                }
                Ok(ProxyProgress::Done(header)) => return (Ok(header), octets),
                Err(error) => return (Err(error), octets),
            }
        }
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut octets = SIGNATURE.to_vec();
        octets.extend([command, family]);
        octets.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        octets.extend_from_slice(body);
        octets
    }

    fn client(text: &str) -> ProxyHeader {
        ProxyHeader::Client(text.parse().unwrap())
    }

    #[test]
    fn version_1_headers() {
        for (line, header) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.1 4711 25\r\n", client("192.0.2.1:4711")),
            ("PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n", client("[2001:db8::1]:1")),
            ("PROXY TCP6 ::ffff:192.0.2.1 ::1 9 25\r\n", client("192.0.2.1:9")),
            ("PROXY UNKNOWN\r\n", ProxyHeader::Own),
            ("PROXY UNKNOWN ffff::1 and whatever\r\n", ProxyHeader::Own),
        ] {
            let octets = format!("{line}EHLO x\r\n");
            assert_eq!(read(octets.as_bytes()), (Ok(header), &b"EHLO x\r\n"[..]), "{line}");
        }
    }

    #[test]
    fn what_is_no_header_of_version_1() {
        for (line, error) in [
            ("EHLO mail.example.org\r\n", ProxyError::Missing),
            ("PROXY\tTCP4 192.0.2.1 192.0.2.2 1 2\r\n", ProxyError::Missing),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", ProxyError::Malformed),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n", ProxyError::Malformed),
            ("PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n", ProxyError::Malformed),
            ("PROXY TCP4 2001:db8::1 192.0.2.2 1 2\r\n", ProxyError::Malformed),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n", ProxyError::Malformed),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n", ProxyError::Malformed),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n", ProxyError::Malformed),
            ("PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n", ProxyError::Malformed),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n", ProxyError::Malformed),
            ("PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n", ProxyError::Unsupported),
        ] {
            assert_eq!(read(line.as_bytes()).0, Err(error), "{line}");
        }
        let long = format!("PROXY UNKNOWN {}", "x".repeat(200));
        assert_eq!(read(long.as_bytes()).0, Err(ProxyError::TooLong));
    }

    #[test]
    fn version_2_headers() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 0x12, 0x67, 0, 25];
        let mut with_tlv = v4.to_vec();
        with_tlv.extend([0x04, 0, 3, 1, 2, 3]);
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(&"2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        v6[32..34].copy_from_slice(&[0, 7]);
        for (octets, header) in [
            (v2(0x21, 0x11, &v4), Ok(client("192.0.2.1:4711"))),
            (v2(0x21, 0x11, &with_tlv), Ok(client("192.0.2.1:4711"))),
            (v2(0x21, 0x21, &v6), Ok(client("[2001:db8::1]:7"))),
            (v2(0x20, 0x11, &v4), Ok(ProxyHeader::Own)),
            (v2(0x20, 0x00, &[]), Ok(ProxyHeader::Own)),
            (v2(0x21, 0x00, &[1, 2, 3]), Ok(ProxyHeader::Own)),
            (v2(0x21, 0x31, &[0; 216]), Ok(ProxyHeader::Own)),
            (v2(0x21, 0x31, &[0; 215]), Err(ProxyError::Malformed)),
            (v2(0x21, 0x11, &v4[..11]), Err(ProxyError::Malformed)),
            (v2(0x21, 0x21, &v6[..35]), Err(ProxyError::Malformed)),
            (v2(0x21, 0x12, &v4), Err(ProxyError::Unsupported)),
            (v2(0x22, 0x11, &v4), Err(ProxyError::Unsupported)),
            (v2(0x11, 0x11, &v4), Err(ProxyError::Unsupported)),
            (v2(0x21, 0x11, &[0; LONGEST_V2 + 1]), Err(ProxyError::TooLong)),
        ] {
            let mut all = octets.clone();
            all.extend_from_slice(b"\x16\x03\x01");
            let (found, rest) = read(&all);
            assert_eq!(found, header, "{octets:02x?}");
            assert!(found.is_err() || rest == b"\x16\x03\x01");
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_safe(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&octets);
            let mut behind = SIGNATURE.to_vec();
            behind.extend(&octets);
            let _ = read(&behind);
            let _ = read(&[WORD, &octets].concat());
        }

        #[test]
        fn nothing_behind_a_header_is_asked_for(
            ip in any::<[u8; 4]>(), port in any::<u16>(), tlvs in proptest::collection::vec(any::<u8>(), 0..99),
        ) {
            let address = SocketAddr::new(IpAddr::from(ip), port);
            let line = format!("PROXY TCP4 {} 127.0.0.1 {port} 25\r\nbehind", address.ip());
            prop_assert_eq!(read(line.as_bytes()), (Ok(ProxyHeader::Client(address)), &b"behind"[..]));
            let [high, low] = port.to_be_bytes();
            let mut body = [&ip[..], &[127, 0, 0, 1, high, low, 0, 25], &tlvs].concat();
            body = v2(0x21, 0x11, &body);
            body.extend_from_slice(b"behind");
            prop_assert_eq!(read(&body), (Ok(ProxyHeader::Client(address)), &b"behind"[..]));
        }
    }
}
