//! Ids of tool calls, where a format has none or takes fewer than another.

/// The longest id `OpenAI` takes.
const LONGEST: usize = 40;

/// An id for a call that has none: the same for the same call, another for another.
pub(super) fn made(parts: &[&str]) -> String {
    format!("call_{:016x}", hash(parts))
}

/// The id in letters, digits, `_` and `-` (Anthropic takes no others), at most 40 of them
/// (`OpenAI` takes no more). Most are so already; others become one that depends on all of them.
pub(super) fn plain(id: &str) -> String {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if (1..=LONGEST).contains(&id.len()) && id.bytes().all(legal) {
        return id.to_owned();
    }
    made(&[id])
}

/// Nine letters and digits, which is all Mistral takes.
pub(super) fn nine(id: &str) -> String {
    if id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return id.to_owned();
    }
    format!("{:09x}", hash(&[id]) & 0xf_ffff_ffff)
}

/// FNV-1a, which is no secret and stays the same from build to build.
fn hash(parts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for byte in part.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_change_only_where_they_must_and_always_alike() {
        assert_eq!(plain("toolu_01A-b"), "toolu_01A-b");
        assert_ne!(plain("functions.get:0"), plain("functions.get:1"));
        assert_eq!(plain("functions.get:0"), plain("functions.get:0"));
        assert_eq!(plain(&"x".repeat(50)).len(), 21);
        assert_eq!(nine("D681PevKs"), "D681PevKs");
        assert_eq!(nine("call_abc").len(), 9);
        assert_ne!(nine("call_a"), nine("call_b"));
        assert_ne!(made(&["a", "bc"]), made(&["ab", "c"]));
    }
}
