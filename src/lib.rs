//! imgbuild: a Makefile for images.
//!
//! The library behind the program `imgbuild`. A manifest says which images there are; a graph of it is planned; steps
//! that are out of date run, and make layers; outputs are written from stacks of layers.
//!
//! Rooms, bottom to top; a room uses only rooms above it in this list.
//!
//! - [`fault`], [`wording`]: a message, a place, a way out; counts, lists, "did you mean"
//! - [`key`]: canonical text and its digest; the difference of two
//! - [`lang`]: the language, knowing no particular word
//! - [`codec`]: compressed streams
//! - [`layer`]: tar and index; write, read, merge
//! - [`store`]: layers, records, journals; whole or not at all
//! - [`tree`]: what the project's folders hold, known again without being read again
//! - [`filesystems`]: file systems on disks, read without mounting them
//! - [`sandbox`]: the only room that starts a program
//! - [`deb`]: Debian's archive: index, signatures, fetching, unpacking, solving
//! - [`work`]: what every step is
//! - [`hooks`]: other tools' ways with scripts: which names count, in which order, what an element is
//! - [`steps`], [`bases`], [`outputs`]: the words, one file each
//! - [`manifest`]: what was asked for
//! - [`lock`]: what the names of packages stood for
//! - [`resolve`]: which packages the manifest's names stand for
//! - [`editor`]: from the words, the schema and the manual
//! - [`plan`]: what that means: the graph, each step's state, and why
//! - [`exec`]: doing it
//! - [`cli`]: the edge: the only room that prints, exits, or reads the environment

pub mod fault;
pub mod wording;
pub mod key;
pub mod lang;
pub mod codec;
pub mod layer;
pub mod store;
pub mod tree;
pub mod filesystems;
pub mod sandbox;
pub mod deb;
pub mod work;
pub mod hooks;
pub mod steps;
pub mod bases;
pub mod outputs;
pub mod manifest;
pub mod lock;
pub mod resolve;
pub mod editor;
pub mod plan;
pub mod exec;
pub mod cli;
