//! A Railway look-alike with real state, for the demo and the tests.
