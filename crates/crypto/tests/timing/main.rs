//! Evidence that what is secret does not show in the time that a call takes: samples of several classes
//! of input, measured in random order and compared by Welch's t-test, as dudect does (Reparaz, Balasch
//! and Verbauwhede, "Dude, is my code constant time?", 2017).
//!
//! These take minutes, want an optimised build and a quiet machine, and so run with the soaks:
//! `cargo test --release -p jadeseal-crypto --test timing -- --ignored --nocapture --test-threads 1`.
//! Each algorithm has a module of its own here.

mod dudect;
mod rsa;
mod sm2;
