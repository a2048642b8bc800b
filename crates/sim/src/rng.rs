//! Random numbers that are the same in every run.

/// xoshiro256**, seeded through SplitMix64, both as published by Blackman and Vigna. Fit for simulations only: whoever
/// sees its output can tell all that follows.
#[derive(Clone, Debug)]
pub struct Rng([u64; 4]);

impl Rng {
    /// The sequence with this number.
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        Self(std::array::from_fn(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }))
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number below `bound`; 0 if that is 0. The bias is at most `bound` in 2^64.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.number() % bound }
    }

    /// True in `per_mille` of a thousand cases.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1000) < u64::from(per_mille)
    }

    /// A sequence of its own, for one node.
    pub fn fork(&mut self) -> Self {
        Self::new(self.number())
    }
}

impl crypto::Random for Rng {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let octets = self.number().to_le_bytes();
            chunk.copy_from_slice(&octets[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crypto::Random;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let (mut a, mut b, mut c) = (Rng::new(7), Rng::new(7), Rng::new(8));
        let (mut x, mut y, mut z) = ([0; 37], [0; 37], [0; 37]);
        a.fill(&mut x);
        b.fill(&mut y);
        c.fill(&mut z);
        assert_eq!(x, y);
        assert_ne!(x, z);
        assert_ne!(a.fork().number(), a.fork().number());
    }

    #[test]
    fn chances_are_about_right() {
        let mut rng = Rng::new(3);
        let hits = (0..10_000).filter(|_| rng.chance(200)).count();
        assert!((1_850..2_150).contains(&hits), "{hits} of 10000 at 200 per mille");
        assert!(!rng.chance(0) && rng.chance(1000) && rng.below(0) == 0);
    }
}
