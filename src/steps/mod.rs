//! Steps: what an image is made of, above its base. A file a step.
//!
//! An [`overlay`] is one of three kinds, decided by what is on the disk: a [`folder`] of files, a folder with an
//! executable `tar` ([`script`]), or a tar file ([`archive`]). [`files`] are stated in the manifest itself.
//!
//! Packages of Debian's kind are each a layer ([`deb`]); [`packages`] configures a set of them, with a [`skeleton`] below
//! a base's, and [`initramfs`] makes what its kernels start with.
//!
//! A [`hook`] is a script that runs in the image or beside it; [`first_boot`] brings those that run in the booted image.

pub mod archive;
pub mod deb;
pub mod files;
pub mod first_boot;
pub mod folder;
pub mod hook;
pub mod host_tools;
pub mod initramfs;
pub mod overlay;
pub mod packages;
pub mod script;
pub mod skeleton;
pub mod tools;
