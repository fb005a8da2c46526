//! Sessions, holds and approvals that survive a restart.
