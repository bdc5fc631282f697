//! The only room that starts a program.
