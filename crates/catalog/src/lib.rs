//! What operations mean: provider packs and pure recognisers.
