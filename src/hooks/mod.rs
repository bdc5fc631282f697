//! Hooks: what is known of other tools' ways with scripts: which names count, in which order, what an element is.
//!
//! Nothing here reads a file, starts a program or knows the manifest. A caller brings the names that a folder holds, or
//! the text of a file as a [`Source`](crate::fault::Source), and gets back what runs, what does not, and why not.
//!
//! Three dialects are known ([`names::Dialect`]): scripts in the order of a list, as mkve's `hooks-lists`; those of a
//! folder as Debian's run-parts(8) has them; those of diskimage-builder's `dib-run-parts`. Of diskimage-builder's
//! elements there is more to know: where they say what they need ([`element`]), which packages they ask for
//! ([`package_installs`]), and what these are called in a distribution ([`pkg_map`]). The words for when a script runs
//! are shared by all ([`phase::Phase`]).

mod document;
pub mod element;
pub mod names;
pub mod order;
pub mod package_installs;
pub mod phase;
pub mod pkg_map;
