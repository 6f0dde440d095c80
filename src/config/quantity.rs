//! Quantities with their units: `64 MB`, `20 MB/s`, `160 Mbit/s`. Units are decimal, as lines and
//! disks are sold: 1 MB is 1,000,000 bytes.

use std::ops::RangeInclusive;

use super::error::ConfigError;
use super::raw::{Section, Text};

/// A size: bytes.
pub(super) fn read_size(
    section: &Section<'_>,
    key: &str,
    range: RangeInclusive<u64>,
) -> Result<Option<u64>, ConfigError> {
    let wanted = "must be a size such as `64 MB`: kB, MB or GB (1 MB is 1,000,000 bytes)";
    read(section, key, range, ("", wanted), |unit| {
        SIZES.iter().find(|(name, _)| *name == unit).map(|(_, bytes)| bytes * 8)
    })
}

/// How much in which time: bytes a second.
pub(super) fn read_bandwidth(
    section: &Section<'_>,
    key: &str,
    range: RangeInclusive<u64>,
) -> Result<Option<u64>, ConfigError> {
    let wanted = "must be such as `20 MB/s` or `160 Mbit/s`: kB, MB, GB, kbit, Mbit or Gbit, `/s` \
                  (1 MB is 1,000,000 bytes)";
    read(section, key, range, ("/s", wanted), |unit| {
        let unit = unit.strip_suffix("/s")?;
        SIZES.iter().find_map(|(name, units)| match *name == unit {
            true => Some(units * 8),
            false => (name.strip_suffix('B')? == unit.strip_suffix("bit")?).then_some(*units),
        })
    })
}

/// `suffix` is what the unit ends in, `wanted` what to say of anything else; `bits` says how many
/// bits a unit has.
fn read(
    section: &Section<'_>,
    key: &str,
    range: RangeInclusive<u64>,
    (suffix, wanted): (&str, &str),
    bits: impl Fn(&str) -> Option<u64>,
) -> Result<Option<u64>, ConfigError> {
    if section.has_number(key) {
        return Err(section.place_of(key).error(format!("{wanted}, in quotes")));
    }
    let Some(Text { value, place }) = section.text(key)? else { return Ok(None) };
    let end = value.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(value.len());
    let (number, unit) = value.split_at(end);
    let unit = bits(unit.strip_prefix(' ').unwrap_or(unit));
    let bytes = unit.and_then(|bits| multiply(number, bits)).map(|bits| bits / 8);
    let bytes = bytes.ok_or_else(|| place.error(wanted))?;
    match u64::try_from(bytes) {
        Ok(bytes) if range.contains(&bytes) => Ok(Some(bytes)),
        _ => {
            let bounds = [range.start(), range.end()].map(|bytes| show_size(*bytes));
            Err(place.error(format!("must be {0}{suffix} to {1}{suffix}", bounds[0], bounds[1])))
        }
    }
}

/// `1.25` times so many, rounded down. At most 12 digits on either side of the point.
fn multiply(number: &str, times: u64) -> Option<u128> {
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| {
        let fits = (1..=12).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        fits.then(|| text.parse::<u128>().ok()).flatten()
    };
    let (whole, fraction) = (digits(whole)?, digits(part)?);
    let scale = 10u128.pow(part.len() as u32); // at most 12
    Some((whole * scale + fraction) * u128::from(times) / scale)
}

/// So many bytes with the unit that suits them.
pub(super) fn show_size(bytes: u64) -> String {
    let unit = SIZES.iter().rev().find(|(_, unit)| bytes >= *unit);
    let Some((name, unit)) = unit else { return format!("{bytes} B") };
    let (whole, rest) = (bytes / unit, bytes % unit);
    let part = format!("{:03}", rest / (unit / 1000));
    match part.trim_end_matches('0') {
        "" => format!("{whole} {name}"),
        part => format!("{whole}.{part} {name}"),
    }
}

/// In bytes, rising.
const SIZES: [(&str, u64); 3] = [("kB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000)];
