//! The Merkle tree of RFC 6962 §2.1, kept as its frontier: the roots of the perfect subtrees that the
//! entries so far make up. Appending and taking the root cost O(log n) memory and time, so a ledger of
//! a million entries costs no more per entry than one of ten.

use sha2::{Digest as _, Sha256};
use tagout_core::Digest;

/// The leaf hash of an entry's bytes: SHA-256(0x00 || entry).
pub(crate) fn leaf(entry: &[u8]) -> Digest {
    Digest::from_bytes(
        Sha256::new()
            .chain_update([0])
            .chain_update(entry)
            .finalize()
            .into(),
    )
}

/// A tree that can only grow.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    size: u64,
    /// Roots of perfect subtrees, largest first; one for each bit that is set in `size`.
    frontier: Vec<Digest>,
}

impl Tree {
    /// How many leaves.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf by its hash.
    pub(crate) fn push(&mut self, leaf: Digest) {
        let mut subtree = leaf;
        let mut merged = self.size;
        while merged & 1 == 1 {
            if let Some(left) = self.frontier.pop() {
                subtree = node(&left, &subtree);
            }
            merged >>= 1;
        }
        self.frontier.push(subtree);
        self.size += 1;
    }

    /// The root; of no leaves, the hash of the empty string.
    pub(crate) fn root(&self) -> Digest {
        self.frontier
            .iter()
            .rev()
            .copied()
            .reduce(|right, left| node(&left, &right))
            .unwrap_or_else(|| Digest::of(b""))
    }
}

/// SHA-256(0x01 || left || right).
fn node(left: &Digest, right: &Digest) -> Digest {
    Digest::from_bytes(
        Sha256::new()
            .chain_update([1])
            .chain_update(left.as_bytes())
            .chain_update(right.as_bytes())
            .finalize()
            .into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 6962 §2.1, word for word: split at the largest power of two smaller than n.
    fn by_definition(leaves: &[Vec<u8>]) -> Digest {
        match leaves {
            [] => Digest::of(b""),
            [only] => leaf(only),
            more => {
                let split = more.len().next_power_of_two() / 2;
                node(
                    &by_definition(&more[..split]),
                    &by_definition(&more[split..]),
                )
            }
        }
    }

    /// The vectors of the Certificate Transparency reference implementation.
    #[test]
    fn roots_are_those_of_certificate_transparency() {
        let leaves: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let mut tree = Tree::default();
        assert_eq!(
            tree.root().to_string(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        for bytes in leaves {
            tree.push(leaf(bytes));
        }
        assert_eq!(
            tree.root().to_string(),
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
        );
    }

    proptest! {
        #[test]
        fn the_frontier_gives_the_root_of_the_definition(
            leaves in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..4), 0..70)
        ) {
            let mut tree = Tree::default();
            for bytes in &leaves {
                tree.push(leaf(bytes));
            }
            prop_assert_eq!(tree.size(), leaves.len() as u64);
            prop_assert_eq!(tree.root(), by_definition(&leaves));
        }
    }
}
