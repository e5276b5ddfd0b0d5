//! Seeded bytes and numbers: the same seed and name always give the same content, on every machine.

/// Numbers that look random and are the same in every run.
pub struct Dice(blake3::OutputReader);

impl Dice {
    /// Dice for one purpose.
    pub fn new(seed: u64, purpose: &str) -> Self {
        Self(blake3::Hasher::new().update(&seed.to_le_bytes()).update(purpose.as_bytes()).finalize_xof())
    }

    /// A number below `limit`, which must not be 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes) % limit
    }

    /// A number between both, small ones as likely as ten times larger ones: how file sizes are spread.
    pub fn size(&mut self, from: u64, to: u64) -> u64 {
        let (from, to) = ((from.max(1) as f64).ln(), (to as f64).ln());
        let at = self.below(1 << 32) as f64 / (1u64 << 32) as f64;
        (from + (to - from) * at).exp() as u64
    }

    /// So many bytes.
    pub fn bytes(&mut self, len: u64) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(len).expect("it fits in memory")];
        self.0.fill(&mut bytes);
        bytes
    }

    /// One of them; there must be one.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}
