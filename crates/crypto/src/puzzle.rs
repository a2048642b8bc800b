//! Puzzles (RFC 8019 sections 7.1.3 and 7.2.3): work that takes long to do and is quickly checked.

use crate::Prf;

/// How many keys a solution has (section 7.1.3).
pub const PUZZLE_KEYS: usize = 4;

/// Find four different keys of one length, so that prf(key, content) ends in at least so many zero bits with each.
#[derive(Clone, Debug)]
pub struct Puzzle {
    /// The function.
    pub prf: Prf,
    /// Zero bits at the end of its output; 0 leaves it to who solves it.
    pub difficulty: u8,
    /// What the function is computed of: a cookie, or Nr and SPIr.
    pub content: Vec<u8>,
}

impl Puzzle {
    /// Zero bits at the end of prf(key, content).
    fn zero_bits(&self, key: &[u8]) -> u32 {
        let output = self.prf.compute(key, &[&self.content]);
        let zeros = output.expose().iter().rev().take_while(|octet| **octet == 0).count();
        let last = output.expose().iter().rev().find(|octet| **octet != 0).map_or(0, |octet| octet.trailing_zeros());
        u32::try_from(zeros * 8).unwrap_or(u32::MAX).saturating_add(last)
    }

    /// The zero bits that a solution has with each of its keys at least. `None` if it has not the form of one: four
    /// different keys of one length, from one octet to the preferred length of the function (section 8.2).
    pub fn check(&self, solution: &[u8]) -> Option<u32> {
        let length = solution.len() / PUZZLE_KEYS;
        if !solution.len().is_multiple_of(PUZZLE_KEYS) || !(1..=self.prf.key_len()).contains(&length) {
            return None;
        }
        let keys: Vec<&[u8]> = solution.chunks_exact(length).collect();
        let twice = |(at, key): (usize, &&[u8])| keys.iter().take(at).any(|other| other == key);
        if keys.iter().enumerate().any(twice) {
            return None;
        }
        keys.iter().map(|key| self.zero_bits(key)).min()
    }
}

/// Solves a puzzle piece by piece.
#[derive(Clone, Debug)]
pub struct PuzzleSolver {
    puzzle: Puzzle,
    next: u32,
    left: u64,
    found: Vec<u8>,
}

/// More keys than this times the expected number of one are not tried: that happens to nobody.
const PATIENCE: u64 = 64;

impl PuzzleSolver {
    /// Begins.
    pub fn new(puzzle: Puzzle) -> Self {
        let left = PATIENCE << puzzle.difficulty.min(57);
        Self { puzzle, next: 0, left, found: Vec::new() }
    }

    /// Tries as many keys. Returns whether there is more to do.
    pub fn work(&mut self, keys: u32) -> bool {
        for _ in 0..keys {
            if self.is_over() {
                return false;
            }
            let key = self.next.to_be_bytes();
            if self.puzzle.zero_bits(&key) >= self.puzzle.difficulty.into() {
                self.found.extend_from_slice(&key);
            }
            self.left -= 1;
            match self.next.checked_add(1) {
                Some(next) => self.next = next,
                None => self.left = 0,
            }
        }
        !self.is_over()
    }

    fn is_over(&self) -> bool {
        self.left == 0 || self.is_solved()
    }

    fn is_solved(&self) -> bool {
        self.found.len() == PUZZLE_KEYS * size_of::<u32>()
    }

    /// The solution, once there is one.
    pub fn solution(&self) -> Option<&[u8]> {
        self.is_solved().then_some(&self.found[..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::PrfId;

    fn octets(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    /// The cookie of RFC 8019 section 4.4.
    fn example(difficulty: u8) -> Puzzle {
        let content = octets("739ae7492d8a810cf5e8dc0f9626c9dda773c5a3");
        Puzzle { prf: Prf::new(PrfId::HMAC_SHA2_256).unwrap(), difficulty, content }
    }

    /// The keys that Python's `hmac` finds first. The numbers of section 4.4 itself do not come out of its cookie with
    /// HMAC-SHA-256, nor with any other hash of hashlib, whichever of the two is the key.
    #[test]
    fn the_first_keys_are_those_that_another_program_finds() {
        for (prf, keys, bits) in KNOWN {
            let puzzle = Puzzle { prf: Prf::new(prf).unwrap(), ..example(13) };
            let mut solver = PuzzleSolver::new(puzzle.clone());
            while solver.work(1000) {}
            assert_eq!(solver.solution().unwrap(), octets(&keys.concat()));
            let found = keys.map(|key| puzzle.zero_bits(&octets(key)));
            assert_eq!(found, bits);
            assert_eq!(puzzle.check(&octets(&keys.concat())), bits.into_iter().min());
        }
    }

    const KNOWN: [(PrfId, [&str; 4], [u32; 4]); 2] = [
        (PrfId::HMAC_SHA2_256, ["000000df", "000028b7", "000036fb", "0000c515"], [13, 13, 13, 16]),
        (PrfId::HMAC_SHA2_512, ["0000440d", "0000544b", "00009542", "0000a3a6"], [13, 14, 15, 13]),
    ];

    #[test]
    fn what_is_solved_is_right_and_nothing_else_is() {
        for prf in [PrfId::HMAC_SHA1, PrfId::HMAC_SHA2_512, PrfId::AES128_XCBC, PrfId::AES128_CMAC] {
            let puzzle = Puzzle { prf: Prf::new(prf).unwrap(), ..example(8) };
            let mut solver = PuzzleSolver::new(puzzle.clone());
            while solver.work(16) {
                assert!(solver.solution().is_none());
            }
            let solution = solver.solution().unwrap().to_vec();
            assert!(puzzle.check(&solution).unwrap() >= 8);
            let other = Puzzle { content: b"another".to_vec(), ..puzzle.clone() };
            assert!(other.check(&solution).unwrap() < 8);
            // One of the four is not enough, and no key counts twice.
            let mut wrong = solution.clone();
            wrong[3] = wrong[3].wrapping_add(1);
            assert!(puzzle.check(&wrong).unwrap() < 8);
            assert_eq!(puzzle.check(&solution[..4].repeat(4)), None);
        }
        let puzzle = example(8);
        for length in [0, 1, 2, 3, 5, 6, 7, 9, 4 * 33, 65_531] {
            assert_eq!(puzzle.check(&vec![7; length]), None, "{length} octets");
        }
        assert!(puzzle.check(&(0..128).collect::<Vec<u8>>()).is_some(), "keys of 32 octets");
    }

    #[test]
    fn work_is_bounded() {
        // Nothing ends in so many zero bits; the solver ends all the same when all keys were tried.
        let mut solver = PuzzleSolver { next: u32::MAX - 5, ..PuzzleSolver::new(example(255)) };
        assert!(solver.work(5));
        assert!(!solver.work(5));
        assert!(solver.solution().is_none());
        let mut solver = PuzzleSolver { left: 3, ..PuzzleSolver::new(example(200)) };
        assert!(!solver.work(1000));
        assert_eq!(solver.next, 3);
    }
}
