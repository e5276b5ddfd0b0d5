//! What is read of a certificate: when it ends.
//!
//! Trust is judged by rustls, which tells nothing of the time that is left. Must never panic, whatever the bytes are.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The last moment at which a certificate (X.509, DER) is valid; `None` when it cannot be read.
pub fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let (signed, _) = tagged(certificate, SEQUENCE)?;
    let (body, _) = tagged(signed, SEQUENCE)?;
    // Version (left out in the oldest), serial number, algorithm, issuer; then the validity.
    let rest = tagged(body, VERSION).map_or(body, |(_, rest)| rest);
    let (.., rest) = value(rest)?;
    let (.., rest) = value(rest)?;
    let (.., rest) = value(rest)?;
    let (validity, _) = tagged(rest, SEQUENCE)?;
    let (.., rest) = value(validity)?;
    let (tag, time, _) = value(rest)?;
    moment(tag, std::str::from_utf8(time).ok()?)
}

fn moment(tag: u8, text: &str) -> Option<Timestamp> {
    let digits = text.strip_suffix('Z')?;
    let full = match tag {
        // Years from 50 on are of the last century (RFC 5280).
        UTC_TIME if digits.get(..2)? >= "50" => format!("19{digits}"),
        UTC_TIME => format!("20{digits}"),
        GENERALIZED_TIME => digits.to_owned(),
        _ => return None,
    };
    if full.len() != 14 {
        return None;
    }
    let time = DateTime::strptime("%Y%m%d%H%M%S", &full).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

fn tagged(der: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, inner, rest) = value(der)?;
    (tag == wanted).then_some((inner, rest))
}

/// Tag and content of the first value, and what follows it.
fn value(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0_usize, |n, b| n << 8 | usize::from(*b)), rest)
        }
        _ => return None,
    };
    let (inner, rest) = rest.split_at_checked(length)?;
    Some((tag, inner, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A certificate that has only what is read of it.
    fn certificate(tag: u8, time: &str, version: bool) -> Vec<u8> {
        let tlv = |tag: u8, inner: &[u8]| [&[tag, 0x82, (inner.len() >> 8) as u8, inner.len() as u8], inner].concat();
        let validity = [tlv(UTC_TIME, b"250101000000Z"), tlv(tag, time.as_bytes())].concat();
        let version = if version { tlv(VERSION, &[2, 1, 2]) } else { Vec::new() };
        let body = [version, tlv(2, &[7; 20]), tlv(SEQUENCE, &[]), tlv(SEQUENCE, &[5; 300]), tlv(SEQUENCE, &validity)];
        tlv(SEQUENCE, &tlv(SEQUENCE, &body.concat()))
    }

    #[test]
    fn the_end_is_read_in_both_ways_of_writing_it() {
        for (tag, time, wanted) in [
            (UTC_TIME, "270301123059Z", Some("2027-03-01T12:30:59Z")),
            (UTC_TIME, "500101000000Z", Some("1950-01-01T00:00:00Z")),
            (GENERALIZED_TIME, "20530229000000Z", None),
            (GENERALIZED_TIME, "20520228000000Z", Some("2052-02-28T00:00:00Z")),
            (UTC_TIME, "2703011230Z", None),
            (2, "270301123059Z", None),
        ] {
            let wanted: Option<Timestamp> = wanted.map(|time| time.parse().unwrap());
            for version in [true, false] {
                assert_eq!(not_after(&certificate(tag, time, version)), wanted, "{time}");
            }
        }
    }

    proptest! {
        #[test]
        fn bytes_that_are_none_are_none(cut in 0usize..500, at in 0usize..500, byte in any::<u8>()) {
            let mut der = certificate(UTC_TIME, "270301123059Z", true);
            der.truncate(cut);
            if let Some(b) = der.get_mut(at) {
                *b = byte;
            }
            not_after(&der);
        }
    }
}
