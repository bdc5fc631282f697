//! Steps: what an image is made of, above its base. A file a step.
//!
//! An [`overlay`] is one of three kinds, decided by what is on the disk: a [`folder`] of files, a folder with an
//! executable `tar` ([`script`]), or a tar file ([`archive`]). [`files`] are stated in the manifest itself.

pub mod archive;
pub mod files;
pub mod folder;
pub mod overlay;
pub mod script;
