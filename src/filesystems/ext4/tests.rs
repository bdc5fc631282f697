//! File systems that real tools make and a real kernel fills, read without it.

mod damaged;
mod layouts;
mod made;
mod waiting;
