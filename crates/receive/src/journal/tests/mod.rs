//! The journal on a disk that does what a test says, and on a real one.

mod crash;
mod faults;
mod groups;
mod kit;
