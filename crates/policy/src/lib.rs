//! Manifest, trust, and the Cedar policy that decides.
