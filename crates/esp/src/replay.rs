//! The anti-replay window (RFC 4303 section 3.4.3) as a ring of blocks that never shifts (RFC 6479), with the extended
//! sequence numbers of RFC 4304.

/// Bits of one block.
const BLOCK: u64 = 64;

/// Why a sequence number is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayError {
    /// Zero is never sent (RFC 4303 section 2.2).
    Zero,
    /// Left of the window.
    TooOld,
    /// Seen before.
    Replayed,
}

/// Which sequence numbers of one inbound SA have been received.
#[derive(Clone, Debug)]
pub struct ReplayWindow {
    /// Sequence numbers to the left of `highest` that are told apart, `highest` included. 0: no check.
    size: u32,
    extended: bool,
    highest: u64,
    /// A power of two of blocks, at least one more than the window needs: the redundant block of RFC 6479.
    blocks: Box<[u64]>,
}

impl ReplayWindow {
    /// The largest window: 128 KiB of bitmap.
    pub const MAX_SIZE: u32 = 1 << 20;

    /// A window of `size` packets, at most [`Self::MAX_SIZE`]; 0 switches the check off. `extended` for 64-bit numbers.
    pub fn new(size: u32, extended: bool) -> Self {
        let size = size.min(Self::MAX_SIZE);
        let blocks = if size == 0 { 0 } else { (u64::from(size).div_ceil(BLOCK) + 1).next_power_of_two() };
        Self { size, extended, highest: 0, blocks: vec![0; blocks as usize].into_boxed_slice() }
    }

    /// The highest number received.
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// The whole sequence number of a packet that carries `low`, if the packet may be new. Nothing is remembered: that is
    /// [`mark`](Self::mark), once the packet is authentic (RFC 4303 section 3.4.3).
    pub fn check(&self, low: u32) -> Result<u64, ReplayError> {
        let sequence = if self.extended { self.extend(low)? } else { u64::from(low) };
        if sequence == 0 {
            return Err(ReplayError::Zero);
        }
        if self.size == 0 || sequence > self.highest {
            return Ok(sequence);
        }
        if self.highest - sequence >= u64::from(self.size) {
            return Err(ReplayError::TooOld);
        }
        let (block, bit) = self.position(sequence);
        match self.blocks.get(block) {
            Some(bits) if bits & bit != 0 => Err(ReplayError::Replayed),
            _ => Ok(sequence),
        }
    }

    /// Remembers an authentic packet's number, as [`check`](Self::check) returned it. True if it is the highest so far.
    pub fn mark(&mut self, sequence: u64) -> bool {
        let newest = sequence > self.highest;
        if newest {
            let blocks = self.blocks.len() as u64;
            let (old, new) = (self.highest / BLOCK, sequence / BLOCK);
            // RFC 6479 section 2: blocks that the window enters are cleared instead of shifting.
            for entered in 0..(new - old).min(blocks) {
                let index = (new - entered) % blocks;
                if let Some(bits) = self.blocks.get_mut(index as usize) {
                    *bits = 0;
                }
            }
            self.highest = sequence;
        }
        if self.size != 0 {
            let (block, bit) = self.position(sequence);
            if let Some(bits) = self.blocks.get_mut(block) {
                *bits |= bit;
            }
        }
        newest
    }

    fn position(&self, sequence: u64) -> (usize, u64) {
        let index = (sequence / BLOCK) & (self.blocks.len() as u64).saturating_sub(1);
        (index as usize, 1 << (sequence % BLOCK))
    }

    /// The high half from where the window stands (RFC 4303 appendix A2.1). A resynchronisation after the loss of 2^32
    /// packets (appendix A3) is not attempted: the peer's IKE finds the SA dead long before.
    fn extend(&self, low: u32) -> Result<u64, ReplayError> {
        // Without a window the nearer of the two readings is taken.
        let window = if self.size == 0 { 1 << 31 } else { self.size };
        let (top_high, top_low) = ((self.highest >> 32) as u32, self.highest as u32);
        let bottom = top_low.wrapping_sub(window - 1);
        let high = if top_low >= window - 1 {
            // Case A: the window lies within one subspace.
            if low >= bottom { Some(top_high) } else { top_high.checked_add(1) }
        } else {
            // Case B: the window spans two.
            if low >= bottom { top_high.checked_sub(1) } else { Some(top_high) }
        };
        let high = high.ok_or(ReplayError::TooOld)?;
        Ok(u64::from(high) << 32 | u64::from(low))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn refuses_zero_old_and_seen() {
        let mut window = ReplayWindow::new(64, false);
        assert_eq!(window.check(0), Err(ReplayError::Zero));
        assert!(window.mark(window.check(100).unwrap()));
        assert_eq!(window.check(100), Err(ReplayError::Replayed));
        assert_eq!(window.check(36), Err(ReplayError::TooOld));
        assert_eq!(window.check(37), Ok(37));
        assert!(!window.mark(37));
        assert_eq!(window.check(37), Err(ReplayError::Replayed));
        assert_eq!(window.highest(), 100);
    }

    #[test]
    fn window_zero_accepts_everything_but_zero() {
        let mut window = ReplayWindow::new(0, false);
        for sequence in [5, 5, 1, u32::MAX, 5] {
            let sequence = window.check(sequence).unwrap();
            window.mark(sequence);
        }
        assert_eq!(window.check(0), Err(ReplayError::Zero));
    }

    #[test]
    fn extended_numbers_cross_the_subspace() {
        let mut window = ReplayWindow::new(128, true);
        window.mark(0xffff_fff0);
        assert_eq!(window.check(0xffff_fff1), Ok(0xffff_fff1));
        assert_eq!(window.check(0), Ok(1 << 32));
        assert_eq!(window.check(5), Ok((1 << 32) + 5));
        window.mark((1 << 32) + 5);
        assert_eq!(window.check(0xffff_fff1), Ok(0xffff_fff1));
        assert_eq!(window.check(0xffff_fff0), Err(ReplayError::Replayed));
        assert_eq!(window.check(5), Err(ReplayError::Replayed));
        // Far to the left of the bottom edge is read as far to the right.
        assert_eq!(window.check(0x8000_0000), Ok((1 << 32) + 0x8000_0000));
        // Nothing lies before the first subspace.
        assert_eq!(ReplayWindow::new(64, true).check(u32::MAX), Err(ReplayError::TooOld));
        // Nor after the last.
        let mut window = ReplayWindow::new(64, true);
        window.mark(u64::MAX - 10);
        assert_eq!(window.check(3), Err(ReplayError::TooOld));
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(
            size in prop_oneof![1u32..200, Just(1024), Just(4096)],
            extended: bool,
            start in prop_oneof![Just(0u64), Just(0xffff_ff00u64)],
            steps in prop::collection::vec((-300i64..300, prop::bool::weighted(0.05)), 1..200),
        ) {
            let mut window = ReplayWindow::new(size, extended);
            let mut seen = BTreeSet::new();
            let mut highest = 0u64;
            if start > 0 {
                window.mark(start);
                seen.insert(start);
                highest = start;
            }
            for (step, leap) in steps {
                let step = if leap { step * 100 } else { step };
                let Some(sequence) = highest.checked_add_signed(step) else { continue };
                if !extended && sequence > u64::from(u32::MAX) { continue }
                let expected = if sequence == 0 {
                    Err(ReplayError::Zero)
                } else if highest >= u64::from(size) && sequence <= highest - u64::from(size) {
                    Err(ReplayError::TooOld)
                } else if seen.contains(&sequence) {
                    Err(ReplayError::Replayed)
                } else {
                    Ok(sequence)
                };
                // Left of an extended window the number is read as one of the next subspace.
                if extended && expected == Err(ReplayError::TooOld) { continue }
                if extended && expected == Err(ReplayError::Zero) && highest >= u64::from(size) { continue }
                prop_assert_eq!(window.check(sequence as u32), expected);
                if expected.is_ok() {
                    prop_assert_eq!(window.mark(sequence), sequence > highest);
                    seen.insert(sequence);
                    highest = highest.max(sequence);
                }
                prop_assert_eq!(window.highest(), highest);
            }
        }
    }
}
