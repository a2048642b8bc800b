//! What fuzz targets and property tests run: any octets as a log or as what a source gave, with what a diagnosis promises.

use crate::{Finding, Log, Severity, listed, observed};
use model::{Listing, ObservedSa};

/// Reads octets as a log, at once and in pieces.
///
/// # Panics
/// Where a promise is broken: the pieces matter, or a finding is not whole.
pub fn log(data: &[u8]) {
    let mut whole = Log::default();
    whole.feed(data);
    let report = whole.finish();
    let mut pieces = Log::default();
    data.chunks(13).for_each(|piece| pieces.feed(piece));
    assert_eq!(pieces.finish(), report);
    check(&report.findings);
}

/// Judges what was read from a listing.
///
/// # Panics
/// Where a finding is not whole.
pub fn listing(series: &[Listing]) {
    check(&listed(series));
}

/// Judges what was read from a capture.
///
/// # Panics
/// Where a finding is not whole.
pub fn capture(sas: &[ObservedSa]) {
    check(&observed(sas));
}

/// A finding has a peer, a reason, evidence, and a remedy for each cause; a fault has a cause.
fn check(findings: &[Finding]) {
    for finding in findings {
        assert_eq!(finding.causes.len(), finding.remedy.len());
        assert!(!finding.why.is_empty() && !finding.evidence.is_empty());
        assert!(finding.severity <= Severity::Info || !finding.causes.is_empty());
    }
}
