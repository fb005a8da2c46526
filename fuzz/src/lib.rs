//! Fuzz targets: every place that reads bytes of an agent, a peer or a file, and what must hold there
//! beyond not crashing.
//!
//! Each file below `tests/` is one target. As an ordinary test it runs for about a second on random
//! mutations of its seeds; `cargo bolero test --sanitizer NONE TARGET` drives the same code with a
//! coverage-guided engine on a stable toolchain. Random bytes alone rarely get past a parser's first
//! branch, so [`mutated`] reads the engine's bytes as *edits of a seed*: a guided engine still sees
//! through to what each byte does.

/// Reads `choices` as a seed to start from and edits to make, and gives the edited seed.
///
/// Every third input or so has no seed at all: then the choices themselves are the input. Total, and
/// the same choices always give the same input.
pub fn mutated(seeds: &[&[u8]], dictionary: &[&[u8]], choices: &[u8]) -> Vec<u8> {
    let mut choices = Choices(choices);
    let start = choices.byte() as usize;
    let Some(seed) = seeds.get(start % (seeds.len() + seeds.len() / 2 + 1)) else {
        return choices.0.to_vec();
    };
    let mut bytes = seed.to_vec();
    // Few edits: most of what a parser accepts lies near what it was made to accept.
    let edits = choices.byte() % 8;
    for _ in 0..edits {
        let place = choices.place(bytes.len());
        match choices.byte() % 6 {
            0 => bytes.insert(place, choices.byte()),
            1 => {
                let end = place + choices.place(bytes.len() - place);
                bytes.drain(place..end);
            }
            2 => {
                if let Some(byte) = bytes.get_mut(place) {
                    *byte ^= 1 << (choices.byte() % 8);
                }
            }
            3 => {
                let word = dictionary.get(choices.byte() as usize % dictionary.len().max(1));
                let word = word.copied().unwrap_or_default();
                bytes.splice(place..place, word.iter().copied());
            }
            4 => {
                // Repeat a stretch: nesting and lengths are made of this.
                let end = place + choices.place((bytes.len() - place).min(64));
                let times = 1 << (choices.byte() % 8);
                let stretch = bytes[place..end].repeat(times);
                if bytes.len() + stretch.len() < 1 << 16 {
                    bytes.splice(place..place, stretch);
                }
            }
            _ => {
                // Swap what lies around the place, as a reordering of fields does.
                let second = bytes.split_off(place);
                bytes.splice(0..0, second);
            }
        }
    }
    bytes
}

/// The engine's bytes, taken one by one; when they are used up, zeroes.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    /// A number from zero up to and including `most`.
    fn place(&mut self, most: usize) -> usize {
        let number = usize::from(self.byte()) << 8 | usize::from(self.byte());
        number % (most + 1)
    }
}
