//! Seeds: how they are written, and where a random one comes from.

use std::io::Read;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The forms a seed is written in, for error messages.
pub const FORMS: &str = "a decimal or 0x-hexadecimal number up to 18446744073709551615 (0xffffffffffffffff), or a 40-digit commit hash";

/// Whether the text is meant as a seed, well-formed or not: so that `99999999999999999999` is a seed out of range, not a missing file.
pub fn looks_like_seed(text: &str) -> bool {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    number || digits.is_some_and(|d| d.bytes().all(|b| b.is_ascii_hexdigit())) || is_commit(text)
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Reads a seed. Of a commit hash, the first 16 digits are the seed.
///
/// # Errors
/// One sentence that names what is accepted.
pub fn parse_seed(text: &str) -> Result<u64, String> {
    let hex = |digits: &str| u64::from_str_radix(digits, 16).map_err(|_| ());
    let parsed = if is_commit(text) {
        hex(&text[..16])
    } else if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        if digits.starts_with('+') { Err(()) } else { hex(digits) }
    } else if text.starts_with('+') {
        Err(())
    } else {
        text.parse().map_err(|_| ())
    };
    parsed.map_err(|()| {
        let wrong = if looks_like_seed(text) { "is out of range for a seed" } else { "is not a seed" };
        format!("`{text}` {wrong}; accepted: {FORMS}")
    })
}

/// A start for a batch that names none: 48 bits of the operating system's randomness, short enough to paste and exact in every JSON reader.
pub fn random_seed() -> u64 {
    let mut bytes = [0; 8];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    let raw = match read {
        Ok(()) => u64::from_le_bytes(bytes),
        Err(_) => {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
            xxh3_64_with_seed(&now.to_le_bytes(), u64::from(std::process::id()))
        }
    };
    raw >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_decimal_hex_or_a_commit() {
        assert_eq!(parse_seed("42"), Ok(42));
        assert_eq!(parse_seed("0x2A"), Ok(42));
        assert_eq!(parse_seed("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(parse_seed("0123456789abcdef0123456789abcdef01234567"), Ok(0x0123_4567_89ab_cdef));
        for wrong in ["", "+1", "0x+1", "0x", "-1", "1.5", "18446744073709551616", "0x10000000000000000", "latest", "12ab"] {
            assert!(parse_seed(wrong).is_err(), "{wrong} was accepted");
        }
    }

    #[test]
    fn the_sentence_says_what_is_wrong_and_what_is_accepted() {
        let sentence = parse_seed("18446744073709551616").unwrap_err();
        assert!(sentence.contains("out of range") && sentence.contains("0xffffffffffffffff"), "{sentence}");
        assert!(parse_seed("seven").unwrap_err().contains("is not a seed"));
    }

    #[test]
    fn random_seeds_are_short() {
        assert!(random_seed() < 1 << 48);
    }
}
