//! What fuzz targets and property tests run: any octets as a text with listings in it.

use crate::listing::{self, Listings};

/// Reads octets as a text with listings of any dialect.
pub fn listing(data: &[u8]) -> Listings {
    listing::read(&String::from_utf8_lossy(data))
}
