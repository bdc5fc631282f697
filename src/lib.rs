//! imgbuild: a Makefile for images.
//!
//! Rooms, bottom to top; a room uses only rooms above it in this list.

pub mod fault;
pub mod wording;
pub mod key;
pub mod lang;
pub mod codec;
pub mod layer;
pub mod store;
pub mod tree;
pub mod sandbox;
pub mod work;
pub mod bases;
pub mod steps;
pub mod outputs;
pub mod manifest;
pub mod editor;
pub mod cli;
