//! What the process uses, from `/proc/self`.

/// The kernel counts processor time for user programs in hundredths of a second.
const TICKS_PER_SECOND: f64 = 100.0;
const PAGE_BYTES: u64 = 4096;

#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Use {
    pub(super) memory_bytes: u64,
    pub(super) system_seconds: f64,
    pub(super) user_seconds: f64,
}

/// Zeroes where there is no such file system.
pub(super) fn read() -> Use {
    let memory_bytes = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_ascii_whitespace().nth(1)?.parse::<u64>().ok())
        .map_or(0, |pages| pages * PAGE_BYTES);
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let (user_seconds, system_seconds) = times(&stat).unwrap_or_default();
    Use { memory_bytes, system_seconds, user_seconds }
}

/// Fields 14 and 15; the second one, the program's name, may hold blanks and ends with a parenthesis.
fn times(stat: &str) -> Option<(f64, f64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut seconds = || Some(fields.next()?.parse::<f64>().ok()? / TICKS_PER_SECOND);
    Some((seconds()?, seconds()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_a_name_with_blanks() {
        let stat = "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0";
        assert_eq!(times(stat), Some((2.5, 0.5)));
        assert_eq!(times(""), None);
    }
}
