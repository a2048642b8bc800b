//! The kernel's counters of packets that IPsec dropped, for all SAs and policies of a namespace: `/proc/net/xfrm_stat`
//! (Documentation/networking/xfrm_proc.rst). A kernel without `CONFIG_XFRM_STATISTICS` has none.

use std::collections::BTreeMap;

/// Where they are: of the namespace of the calling thread.
const PLACE: &str = "/proc/thread-self/net/xfrm_stat";

/// So many are read.
const MOST: usize = 128;

/// The counters by name, without those that are zero; none where the kernel does not have them.
pub fn xfrm_statistics() -> BTreeMap<String, u64> {
    std::fs::read_to_string(PLACE).map(|text| parse(&text)).unwrap_or_default()
}

fn parse(text: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let (name, count) = line.split_once(char::is_whitespace)?;
        let count = count.trim().parse().ok().filter(|count| *count > 0)?;
        name.starts_with("Xfrm").then(|| (name.to_string(), count))
    };
    text.lines().take(MOST).filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_by_their_names() {
        let text = "XfrmInError             \t0\nXfrmInNoStates          \t17\nXfrmInTmplMismatch      \t3\nelse 4\nXfrmOutPolBlock x\n";
        let found: Vec<(String, u64)> = parse(text).into_iter().collect();
        assert_eq!(found, [("XfrmInNoStates".to_string(), 17), ("XfrmInTmplMismatch".to_string(), 3)]);
        assert!(parse("").is_empty());
    }
}
