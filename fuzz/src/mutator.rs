//! Inputs from inputs, by a seed alone: the same seed makes the same inputs on every machine.

use crate::INPUT_BYTES_MAX;

/// Integers at which lengths and counts go wrong.
const TELLING: [u64; 14] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x0400_0000,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_fffe,
    0xffff_ffff_ffff_ffff,
];

#[derive(Debug)]
pub struct Mutator {
    state: u64,
}

impl Mutator {
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// One of the inputs, changed in a few places; sometimes with a piece of another one.
    ///
    /// # Panics
    /// Without any input.
    pub fn next(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        assert!(!inputs.is_empty(), "there is something to begin with");
        let mut bytes = inputs[self.below(inputs.len())].clone();
        for _ in 0..=self.below(6) {
            let other = &inputs[self.below(inputs.len())];
            self.change(&mut bytes, other);
        }
        bytes.truncate(INPUT_BYTES_MAX);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        if bytes.is_empty() {
            bytes.push(self.byte());
            return;
        }
        let at = self.below(bytes.len());
        let length = 1 + self.below(self.small(bytes.len() - at));
        match self.below(10) {
            0 => bytes[at] ^= 1 << self.below(8),
            1 => bytes[at] = self.byte(),
            2 => bytes[at] = bytes[at].wrapping_add(1),
            3 => bytes[at] = bytes[at].wrapping_sub(1),
            4 => {
                let width = [1, 2, 4, 8][self.below(4)];
                let value = TELLING[self.below(TELLING.len())];
                let little = self.below(2) == 0;
                let mut number = if little { value.to_le_bytes() } else { value.to_be_bytes() };
                if !little {
                    number.rotate_left(8 - width);
                }
                let end = (at + width).min(bytes.len());
                bytes[at..end].copy_from_slice(&number[..end - at]);
            }
            5 => {
                bytes.drain(at..at + length);
            }
            6 => {
                let copied = bytes[at..at + length].to_vec();
                let to = self.below(bytes.len() + 1);
                bytes.splice(to..to, copied);
            }
            7 => {
                let value = self.byte();
                bytes.splice(at..at, std::iter::repeat_n(value, length));
            }
            8 => bytes.truncate(at),
            _ if other.is_empty() => {}
            _ => {
                let from = self.below(other.len());
                let taken = 1 + self.below(self.small(other.len() - from));
                let end = if self.below(2) == 0 { at } else { (at + taken).min(bytes.len()) };
                bytes.splice(at..end, other[from..from + taken].iter().copied());
            }
        }
    }

    /// Mostly a few bytes, now and then all there are.
    fn small(&self, most: usize) -> usize {
        if self.state.is_multiple_of(8) { most } else { most.min(24) }
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).expect("below 256")
    }

    /// Splitmix64.
    fn below(&mut self, end: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        usize::try_from(z % end as u64).expect("below a length")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_inputs_again_and_another_seed_others() {
        let inputs = vec![b"some bytes".to_vec(), vec![0; 300], Vec::new()];
        let made = |seed| {
            let mut mutator = Mutator::new(seed);
            (0..500).map(|_| mutator.next(&inputs)).collect::<Vec<_>>()
        };
        assert_eq!(made(1), made(1));
        assert_ne!(made(1), made(2));
        assert!(made(1).iter().all(|input| input.len() <= INPUT_BYTES_MAX));
    }
}
